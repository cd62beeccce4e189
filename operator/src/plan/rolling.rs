//! Restarting servers onto a new revision: one at a time, each step gated on the quorum.
//!
//! Where a rollout stands is worked out anew each pass from the revisions of the pods. What the
//! status recorded is read back only to do less: the last revision that all servers ran in good
//! health, which pods that are lost come back on, and why the rollout was given up.

use std::collections::BTreeSet;
use std::time::Duration;

use super::halting::{Halt, halt};
use super::provision::template_revision;
use super::scene::{Scene, Server};
use super::step::{Draft, Restart, Step};
use super::templates::{self, Templates};
use super::{MemberState, counted};
use crate::crd::status::HaltCause;
use crate::desired::{Desired, Revision};
use crate::inventory::{Inventory, Kind, Process};
use crate::quorum::{ServerId, majority};
use crate::view::{Led, QuorumView};

/// Without a quorum, a server that does not run is left alone for this long: it may come back as
/// it is, and a quorum with it.
const QUORUM_LOSS_GRACE_SECONDS: i64 = 60;

/// Seconds after the grace period within which a kubelet that lives has removed a pod.
const SHUTDOWN_SLACK_SECONDS: i64 = 60;

/// Where a rollout stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Rolling {
    /// The revision the spec asks for.
    pub target: String,
    /// The last revision that all servers ran in good health.
    pub last_good: Option<String>,
    /// Servers whose pods run the target.
    pub updated: BTreeSet<ServerId>,
    /// Servers whose pods run another revision.
    pub stale: BTreeSet<ServerId>,
    /// What is being done about it.
    pub phase: Phase,
    /// Whose turn it is, as soon as that is safe: one server while a leader is known, and without
    /// one those that cannot run as they are.
    pub next: BTreeSet<ServerId>,
    /// What each StatefulSet is to make pods of.
    pub templates: Templates,
}

/// What is being done about a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// There has been none: the ensemble has not run any revision in good health yet.
    Founding,
    /// All servers run the target, or have no pods.
    Complete,
    /// Servers are being restarted.
    Rolling,
    /// The spec forbids restarts.
    Paused,
    /// It was given up, for this reason.
    Halted(Halt),
}

impl Rolling {
    /// Nothing is known of the pods.
    pub fn unknown(desired: &Desired) -> Self {
        Self {
            target: desired.revision.hash(),
            last_good: None,
            updated: BTreeSet::new(),
            stale: BTreeSet::new(),
            phase: Phase::Founding,
            next: BTreeSet::new(),
            templates: Templates::new(),
        }
    }
}

/// Works out where the rollout stands.
pub fn assess(scene: &Scene<'_>) -> Rolling {
    let target = scene.desired.revision.hash();
    let ids = |on_target: bool| -> BTreeSet<ServerId> {
        let servers = scene.servers().filter(|server| {
            server
                .revision()
                .is_some_and(|revision| (revision == Some(target.as_str())) == on_target)
        });
        servers.map(|server| server.member.id).collect()
    };
    let (updated, stale) = (ids(true), ids(false));
    let last_good = last_good(scene, &target, &updated);
    let unproven = last_good.as_ref().is_some_and(|good| *good != target);
    let phase = match halt(scene, &target, unproven) {
        Some(halt) => Phase::Halted(halt),
        None if stale.is_empty() && last_good.is_none() => Phase::Founding,
        None if stale.is_empty() && !unproven => Phase::Complete,
        None if scene.desired.rollout.paused => Phase::Paused,
        None => Phase::Rolling,
    };
    let good = last_good
        .as_ref()
        .filter(|_| unproven)
        .and_then(|good| Some(&scene.inventory.revisions.as_ref().ok()?.get(good)?.revision));
    let next = next(scene, &phase, &target, last_good.as_deref());
    let templates = match (&phase, good) {
        (Phase::Halted(_), Some(good)) => templates::all(scene, good),
        _ => templates::templates(scene, good, &next),
    };
    Rolling { target, last_good, updated, stale, phase, next, templates }
}

fn last_good(scene: &Scene<'_>, target: &str, updated: &BTreeSet<ServerId>) -> Option<String> {
    let all_well = matches!(scene.view, QuorumView::Healthy(_))
        && updated.len() == scene.ensemble.voters()
        && scene.members.iter().all(|state| *state == MemberState::Up);
    if all_well {
        return Some(target.to_owned());
    }
    scene.inventory.recorded.rollout.as_ref()?.last_good.clone()
}

/// Whose turn it is.
fn next(
    scene: &Scene<'_>,
    phase: &Phase,
    target: &str,
    last_good: Option<&str>,
) -> BTreeSet<ServerId> {
    match (phase, scene.view) {
        (Phase::Rolling, QuorumView::Healthy(led) | QuorumView::Unsettled { led, .. }) => {
            next_with_quorum(scene, led, target).into_iter().collect()
        }
        (Phase::Rolling, QuorumView::NoQuorum { .. }) => {
            let stuck = stuck(scene, target);
            if last_good.is_none_or(|good| good == target) {
                return stuck;
            }
            // An unproven revision is tried on one server first, and more of it would not help if
            // that one does not run either.
            let recorded = scene.inventory.recorded.rollout.as_ref();
            let restarting = recorded.is_some_and(|rollout| rollout.restarting.is_some());
            let suspect = |server: Server<'_>| server.runs(target) && server.is_stopped();
            let wait = restarting || scene.servers().any(suspect);
            stuck.into_iter().take(usize::from(!wait)).collect()
        }
        // Nothing is touched that may be needed to find lost writes.
        (Phase::Halted(Halt { cause: HaltCause::CommittedWentBack, .. }), _) => BTreeSet::new(),
        (Phase::Halted(_), QuorumView::NoQuorum { .. }) => {
            last_good.map(|good| stuck(scene, good)).unwrap_or_default()
        }
        _ => BTreeSet::new(),
    }
}

/// Those that are down first, then zone after zone, the leader last.
fn next_with_quorum(scene: &Scene<'_>, led: &Led, target: &str) -> Option<ServerId> {
    let zones = &scene.ensemble.topology.zones;
    let stale =
        scene.servers().filter(|server| server.revision().is_some_and(|r| r != Some(target)));
    let next = stale.min_by_key(|Server { member, state, .. }| {
        let zone = zones.iter().position(|zone| zone.name == member.zone);
        (**state == MemberState::Up, member.id == led.leader, zone, member.id)
    });
    next.map(|server| server.member.id)
}

/// Servers that have not run for a while, on another revision than `wanted`.
fn stuck(scene: &Scene<'_>, wanted: &str) -> BTreeSet<ServerId> {
    // Before the ensemble has formed there is nothing that could come back.
    let formed = scene.inventory.recorded.bootstrapped;
    let grace = if formed { QUORUM_LOSS_GRACE_SECONDS } else { 0 };
    scene
        .servers()
        .filter(|server| server.is_stopped() && !server.runs(wanted))
        .filter(|server| server.not_ready_seconds(scene.now).is_some_and(|down| down >= grace))
        .map(|server| server.member.id)
        .collect()
}

/// Plans at most one restart of a server that may be running, or says why none.
pub fn plan(scene: &Scene<'_>, rolling: &Rolling, draft: &mut Draft) {
    if let Err(why) = &scene.inventory.pods {
        return draft.wait(
            "PodsUnknown",
            format!("The pods could not be listed, so no server is restarted: {why}."),
        );
    }
    if let Phase::Halted(halt) = &rolling.phase {
        draft.wait(halt.reason(), halt.sentence());
        if rolling.next.is_empty() {
            return;
        }
    } else if rolling.stale.is_empty() && rolling.phase != Phase::Rolling {
        for server in scene.servers() {
            draft.wait_for("MemberDown", sentence(scene, &server));
        }
        return quorum_wait(scene, draft);
    }
    if rolling.phase == Phase::Paused {
        return draft.wait(
            "RolloutPaused",
            format!(
                "spec.rollout.paused is true, so these are not restarted: {}.",
                list(&rolling.stale)
            ),
        );
    }
    if let Some(set) = unobserved_set(scene.inventory) {
        return draft.wait(
            "TemplatePending",
            format!("Kubernetes has not taken note of the new template of StatefulSet {set} yet."),
        );
    }
    match scene.view {
        QuorumView::Healthy(led) => restart_next(scene, rolling, led, draft),
        QuorumView::NoQuorum { .. } => restart_stuck(scene, rolling, draft),
        QuorumView::Unknown { .. } | QuorumView::Unsettled { .. } => quorum_wait(scene, draft),
    }
}

fn quorum_wait(scene: &Scene<'_>, draft: &mut Draft) {
    let voters = scene.ensemble.voters();
    match scene.view {
        QuorumView::Healthy(_) => {}
        QuorumView::Unknown { seen } => draft.wait(
            "QuorumUnknown",
            format!(
                "Only {seen} of {} can be seen, fewer than a majority. The operator may be the \
                 one that is cut off, so it does nothing.",
                counted(voters, "server")
            ),
        ),
        QuorumView::NoQuorum { answered } => draft.wait(
            "NoQuorum",
            format!(
                "No majority follows a leader; {answered} of {} answer.",
                counted(voters, "server")
            ),
        ),
        QuorumView::Unsettled { needed, .. } => draft.wait_until(
            needed.saturating_sub(scene.inventory.agreed_for),
            "Confirming",
            format!(
                "A quorum serves; samples must agree about it for {} s before it counts.",
                needed.as_secs()
            ),
        ),
    }
}

/// Without a quorum only servers that do not run, on a revision that is no longer wanted, are
/// replaced: they cannot form a quorum as they are, and nothing that runs is touched.
fn restart_stuck(scene: &Scene<'_>, rolling: &Rolling, draft: &mut Draft) {
    for server in scene.servers().filter(|s| rolling.next.contains(&s.member.id)) {
        draft.steps.extend(restart(scene, rolling, &server, ""));
    }
    quorum_wait(scene, draft);
}

fn restart_next(scene: &Scene<'_>, rolling: &Rolling, led: &Led, draft: &mut Draft) {
    // A server that is away, or on the new revision and not back: none other may go.
    let mut away = false;
    for server in scene.servers() {
        let stale = rolling.stale.contains(&server.member.id);
        if stale && matches!(server.state, MemberState::Down(_)) {
            continue;
        }
        let sentence = sentence(scene, &server);
        away |= sentence.is_some();
        draft.wait_for("MemberDown", sentence);
    }
    if away {
        return;
    }
    let mut updated = scene.servers().filter(|s| rolling.updated.contains(&s.member.id));
    if let Some(unsettled) = updated.find(|server| !server.is_settled(scene)) {
        let left = unsettled.seconds_to_settle(scene).unsigned_abs();
        return draft.wait_until(
            Duration::from_secs(left),
            "Settling",
            settling(scene, &unsettled),
        );
    }
    let Some(server) = scene.servers().find(|s| rolling.next.contains(&s.member.id)) else {
        return;
    };
    let voters = scene.ensemble.voters();
    let id = server.member.id;
    let remaining = led.synced.iter().filter(|synced| **synced != id).count();
    if remaining < majority(voters) && voters > 1 {
        return draft.wait(
            "MajorityAtRisk",
            format!(
                "Without server {id} only {remaining} of {voters} voters would be synchronized, \
                 but a majority is {}.",
                majority(voters)
            ),
        );
    }
    let note = match (id == led.leader, voters) {
        (_, 1) => " (the only voter: clients wait until it is back)",
        (true, _) => " (the leader, last: it hands over before it exits)",
        (false, _) => "",
    };
    draft.steps.extend(restart(scene, rolling, &server, note));
}

fn settling(scene: &Scene<'_>, server: &Server<'_>) -> String {
    let seconds = server.settling_seconds(scene.desired);
    let id = server.member.id;
    match server.pod.map_or(0, |pod| pod.crashes) {
        crashes if server.is_flapping() => format!(
            "Server {id} crashed {crashes} times on the new revision; the next one goes after \
             {seconds} s without a crash."
        ),
        _ => format!("Server {id} is back; the next one goes after {seconds} s of good health."),
    }
}

fn restart(scene: &Scene<'_>, rolling: &Rolling, server: &Server<'_>, note: &str) -> Option<Step> {
    let pod = server.pod?;
    let new = rolling.templates.get(&server.member.zone)?;
    if server.runs(&new.hash()) {
        return None;
    }
    let old = pod.revision.as_ref().and_then(|revision| {
        Some(&scene.inventory.revisions.as_ref().ok()?.get(revision)?.revision)
    });
    let restart = Restart {
        server: server.member.id,
        pod: server.member.pod.clone(),
        uid: pod.uid.clone(),
        why: format!("{}{note}", difference(old, new)),
    };
    Some(match pod.process {
        Process::Running => Step::Evict(restart),
        Process::Stopped { .. } => {
            Step::ReplaceStopped { restart, resource_version: pod.resource_version.clone() }
        }
    })
}

/// What a restart is for, in words.
fn difference(old: Option<&Revision>, new: &Revision) -> String {
    let Some(old) = old else {
        return "its revision is not known".to_owned();
    };
    let mut what = Vec::new();
    if old.image != new.image {
        what.push(format!("image {} → {}", old.image, new.image));
    }
    if old.config != new.config {
        let keys: BTreeSet<&String> = old.config.keys().chain(new.config.keys()).collect();
        let changed: Vec<&str> = keys
            .into_iter()
            .filter(|key| old.config.get(*key) != new.config.get(*key))
            .map(String::as_str)
            .collect();
        what.push(format!("config {}", changed.join(", ")));
    }
    if old.restart_nonce != new.restart_nonce {
        what.push(format!("restartNonce {:?} → {:?}", old.restart_nonce, new.restart_nonce));
    }
    if old.pods != new.pods
        || old.pull_policy != new.pull_policy
        || old.pull_secrets != new.pull_secrets
    {
        what.push("pod settings".to_owned());
    }
    what.join(", ")
}

/// A StatefulSet whose controller has not seen its latest template: a pod deleted now could come
/// back from the old one.
fn unobserved_set(inventory: &Inventory) -> Option<String> {
    let objects = inventory.objects.as_ref().ok()?;
    objects.iter().filter(|(key, _)| key.kind == Kind::StatefulSet).find_map(|(key, live)| {
        let seen = live["status"]["observedGeneration"].as_i64();
        let unseen = seen.is_none() || seen != live["metadata"]["generation"].as_i64();
        (unseen || template_revision(live).is_none()).then(|| key.name.clone())
    })
}

/// What to say of a server that is not up.
fn sentence(scene: &Scene<'_>, server: &Server<'_>) -> Option<String> {
    let named = format!("Server {} ({})", server.member.id, server.member.pod);
    let restarting = scene.inventory.recorded.rollout.as_ref().and_then(|r| r.restarting.as_ref());
    let grace = scene.desired.revision.pods.termination_grace_period_seconds;
    let is_late = restarting.is_some_and(|restarting| {
        restarting.id == i32::from(server.member.id.0)
            && scene.now.duration_since(restarting.since.0).as_secs()
                > grace + SHUTDOWN_SLACK_SECONDS
    });
    match server.state {
        MemberState::Up => None,
        MemberState::Missing => Some(format!("{named} has no pod yet.")),
        MemberState::Terminating if is_late => Some(format!(
            "{named} should have been gone after {grace} s and is not: its node may be cut off, \
             where it may still run, so its pod is not removed by force."
        )),
        MemberState::Terminating => Some(format!("{named} is shutting down.")),
        MemberState::Down(why) => Some(format!("{named} is not up: {why}.")),
        MemberState::Unknown => Some(format!("{named} cannot be looked at.")),
    }
}

fn list(ids: &BTreeSet<ServerId>) -> String {
    let ids: Vec<String> = ids.iter().map(|id| format!("server {id}")).collect();
    ids.join(", ")
}
