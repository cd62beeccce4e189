//! Restarting servers onto a new revision: one at a time, each step gated on the quorum.
//!
//! Where a rollout stands is worked out anew each pass from the revisions of the pods. Two records
//! in the status are read back, and both only ever make the operator do less: the last revision
//! that all servers ran in good health, which a halted rollout pins the template to, and the
//! revision that was given up, which is not tried again.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::MemberState;
use super::provision::template_revision;
use super::step::{Draft, Restart, Step};
use crate::desired::{Desired, Ensemble, Member, Revision};
use crate::inventory::{Inventory, Kind, Pod, Process, Ready};
use crate::quorum::{ServerId, majority};
use crate::view::{Led, QuorumView, pod, report};

/// How much longer a server that reports progress of its recovery has to come back.
const RECOVERING_FACTOR: i64 = 10;

/// Where a rollout stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Rolling {
    /// The revision the spec asks for.
    pub target: String,
    /// The revision that templates make pods of: the target, unless the rollout is halted.
    pub pinned: Revision,
    /// The last revision that all servers ran in good health.
    pub last_good: Option<String>,
    /// Servers whose pods run the target.
    pub updated: BTreeSet<ServerId>,
    /// Servers whose pods run another revision.
    pub stale: BTreeSet<ServerId>,
    /// What is being done about it.
    pub phase: Phase,
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
    Halted(String),
}

impl Rolling {
    /// Nothing is known of the pods.
    pub fn unknown(desired: &Desired) -> Self {
        Self {
            target: desired.revision.hash(),
            pinned: desired.revision.clone(),
            last_good: None,
            updated: BTreeSet::new(),
            stale: BTreeSet::new(),
            phase: Phase::Founding,
        }
    }
}

/// Works out where the rollout stands.
pub fn assess(
    desired: &Desired,
    ensemble: &Ensemble,
    inventory: &Inventory,
    members: &[MemberState],
    view: &QuorumView,
    now: Timestamp,
) -> Rolling {
    let target = desired.revision.hash();
    let recorded = inventory.recorded.rollout.as_ref();
    let mut last_good = recorded.and_then(|rollout| rollout.last_good.clone());
    let runs = |member: &&Member| {
        let revision = pod(member, inventory).filter(|pod| !pod.terminating)?.revision.as_deref();
        Some(revision == Some(target.as_str()))
    };
    let ids = |runs_target: bool| -> BTreeSet<ServerId> {
        let members = ensemble.members.iter().filter(|member| runs(member) == Some(runs_target));
        members.map(|member| member.id).collect()
    };
    let (updated, stale) = (ids(true), ids(false));
    let all_up = members.iter().all(|state| *state == MemberState::Up);
    if all_up && updated.len() == ensemble.voters() && matches!(view, QuorumView::Healthy(_)) {
        last_good = Some(target.clone());
    }
    let new_revision = last_good.as_ref().is_some_and(|good| *good != target);
    let halted = new_revision
        .then(|| halted(desired, ensemble, inventory, members, &updated, now))
        .flatten();
    let pinned = halted
        .as_ref()
        .and_then(|_| inventory.revisions.as_ref().ok()?.get(last_good.as_ref()?))
        .map_or_else(|| desired.revision.clone(), |stored| stored.revision.clone());
    let phase = match halted {
        Some(reason) => Phase::Halted(reason),
        None if stale.is_empty() && last_good.is_none() => Phase::Founding,
        None if stale.is_empty() && !new_revision => Phase::Complete,
        None if desired.rollout.paused => Phase::Paused,
        None => Phase::Rolling,
    };
    Rolling { target, pinned, last_good, updated, stale, phase }
}

/// Why the rollout to the target is given up, if it is: a server on it has not come back in time,
/// or it was given up before and no server on it has come back since.
fn halted(
    desired: &Desired,
    ensemble: &Ensemble,
    inventory: &Inventory,
    members: &[MemberState],
    updated: &BTreeSet<ServerId>,
    now: Timestamp,
) -> Option<String> {
    let on_target: Vec<(&Member, &MemberState)> = ensemble
        .members
        .iter()
        .zip(members)
        .filter(|(member, _)| updated.contains(&member.id))
        .collect();
    let failed = on_target.iter().find_map(|(member, state)| {
        let MemberState::Down(why) = state else {
            return None;
        };
        let Ready::NotSince(since) = pod(member, inventory)?.ready else {
            return None;
        };
        let recovering = report(member, inventory).is_some_and(|said| said.recovery().is_some());
        let factor = if recovering { RECOVERING_FACTOR } else { 1 };
        let allowed = desired.rollout.member_timeout_seconds.saturating_mul(factor);
        (now.duration_since(since).as_secs() > allowed).then(|| {
            format!(
                "server {} ({}) did not come back on the new revision within {allowed} s: {why}",
                member.id, member.pod
            )
        })
    });
    let recorded = inventory.recorded.rollout.as_ref();
    let target = desired.revision.hash();
    let given_up = recorded.filter(|r| r.halted_revision.as_ref() == Some(&target));
    let back =
        !on_target.is_empty() && on_target.iter().all(|(_, state)| **state == MemberState::Up);
    failed.or_else(|| given_up.filter(|_| !back)?.halted_reason.clone())
}

/// What the next restart is decided from.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// What is wanted.
    pub desired: &'a Desired,
    /// The ensemble.
    pub ensemble: &'a Ensemble,
    /// What is known.
    pub inventory: &'a Inventory,
    /// The condition of each member.
    pub members: &'a [MemberState],
    /// The quorum.
    pub view: &'a QuorumView,
    /// The time.
    pub now: Timestamp,
}

/// Plans at most one restart of a server that may be running, or says why none.
pub fn plan(scene: &Scene<'_>, rolling: &Rolling, draft: &mut Draft) {
    if let Phase::Halted(reason) = &rolling.phase {
        return draft.wait(
            "RolloutHalted",
            format!(
                "The rollout is halted: {reason}. No other server is touched, and pods are made \
                 from the last good revision until the spec changes."
            ),
        );
    }
    if rolling.stale.is_empty() && rolling.phase != Phase::Rolling {
        for (member, state) in scene.ensemble.members.iter().zip(scene.members) {
            if let Some(sentence) = sentence(member, state) {
                draft.wait("MemberDown", sentence);
            }
        }
        quorum_wait(scene.view, draft);
        return;
    }
    if rolling.phase == Phase::Paused {
        return draft.wait(
            "RolloutPaused",
            format!(
                "spec.rollout.paused is true: servers {} are not restarted.",
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
        QuorumView::Unknown { .. } | QuorumView::Unsettled { .. } => quorum_wait(scene.view, draft),
        QuorumView::NoQuorum { .. } => replace_stopped(scene, rolling, draft),
        QuorumView::Healthy(led) => restart_next(scene, rolling, led, draft),
    }
}

fn quorum_wait(view: &QuorumView, draft: &mut Draft) {
    match view {
        QuorumView::Healthy(_) => {}
        QuorumView::Unknown { seen } => draft.wait(
            "QuorumUnknown",
            format!(
                "Only {seen} servers can be seen, fewer than a majority. The operator may be the \
                 one that is cut off, so it does nothing."
            ),
        ),
        QuorumView::NoQuorum { answered } => draft.wait(
            "NoQuorum",
            format!("{answered} servers answer, but no majority follows a leader."),
        ),
        QuorumView::Unsettled { needed, .. } => draft.wait(
            "Confirming",
            format!(
                "A quorum serves; samples must agree about it for {} s before it counts.",
                needed.as_secs()
            ),
        ),
    }
}

/// Without a quorum only servers that do not run, on a revision that is no longer wanted, may be
/// replaced: they cannot form a quorum as they are, and nothing that runs is touched.
fn replace_stopped(scene: &Scene<'_>, rolling: &Rolling, draft: &mut Draft) {
    for member in scene.ensemble.members.iter().filter(|m| rolling.stale.contains(&m.id)) {
        let Some(pod) = pod(member, scene.inventory) else {
            continue;
        };
        if pod.process != Process::Running {
            draft.step(restart(scene, rolling, member, pod, ""));
        }
    }
    quorum_wait(scene.view, draft);
}

fn restart_next(scene: &Scene<'_>, rolling: &Rolling, led: &Led, draft: &mut Draft) {
    let members: Vec<(&Member, &MemberState)> =
        scene.ensemble.members.iter().zip(scene.members).collect();
    // A server that is away, or on the new revision and not back: none other may go.
    let mut away = false;
    for (member, state) in &members {
        let replaceable =
            matches!(state, MemberState::Down(_)) && rolling.stale.contains(&member.id);
        if let Some(sentence) = sentence(member, state).filter(|_| !replaceable) {
            draft.wait("MemberDown", sentence);
            away = true;
        }
    }
    if away {
        return;
    }
    if let Some(id) = settling(scene, rolling) {
        let seconds = scene.desired.rollout.min_ready_seconds;
        return draft.wait(
            "Settling",
            format!("Server {id} is back; the next one goes after {seconds} s of good health."),
        );
    }
    let zones: Vec<_> = scene.ensemble.topology.zones.iter().map(|zone| &zone.name).collect();
    let next = members.iter().filter(|(member, _)| rolling.stale.contains(&member.id)).min_by_key(
        |(member, state)| {
            let zone = zones.iter().position(|zone| **zone == member.zone);
            (**state == MemberState::Up, member.id == led.leader, zone, member.id)
        },
    );
    let Some((member, _)) = next else { return };
    let Some(pod) = pod(member, scene.inventory) else {
        return;
    };
    let needed = majority(scene.ensemble.voters());
    let remaining = led.synced.iter().filter(|id| **id != member.id).count();
    if remaining < needed && scene.ensemble.voters() > 1 {
        return draft.wait(
            "MajorityAtRisk",
            format!(
                "Without server {} only {remaining} of {} voters would be synchronized, but a \
                 majority is {needed}.",
                member.id,
                scene.ensemble.voters()
            ),
        );
    }
    let note = match (member.id == led.leader, scene.ensemble.voters()) {
        (_, 1) => " (the only voter: clients wait until it is back)",
        (true, _) => " (the leader, last: it hands over before it exits)",
        (false, _) => "",
    };
    draft.step(restart(scene, rolling, member, pod, note));
}

/// A server on the new revision that has not been ready for long enough.
fn settling(scene: &Scene<'_>, rolling: &Rolling) -> Option<ServerId> {
    let least = scene.desired.rollout.min_ready_seconds;
    let settled = |pod: &Pod| match pod.ready {
        Ready::Since(since) => scene.now.duration_since(since).as_secs() >= least,
        Ready::NotSince(_) => false,
    };
    scene
        .ensemble
        .members
        .iter()
        .filter(|member| rolling.updated.contains(&member.id))
        .find(|member| pod(member, scene.inventory).is_some_and(|pod| !settled(pod)))
        .map(|member| member.id)
}

fn restart(scene: &Scene<'_>, rolling: &Rolling, member: &Member, pod: &Pod, note: &str) -> Step {
    let old = pod.revision.as_ref().and_then(|revision| {
        Some(&scene.inventory.revisions.as_ref().ok()?.get(revision)?.revision)
    });
    let restart = Restart {
        server: member.id,
        pod: member.pod.clone(),
        uid: pod.uid.clone(),
        why: format!("{}{note}", difference(old, &rolling.pinned)),
    };
    if pod.process == Process::Running {
        return Step::Evict(restart);
    }
    Step::ReplaceStopped { restart, resource_version: pod.resource_version.clone() }
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

fn sentence(member: &Member, state: &MemberState) -> Option<String> {
    let named = format!("Server {} ({})", member.id, member.pod);
    match state {
        MemberState::Up => None,
        MemberState::Missing => Some(format!("{named} has no pod yet.")),
        MemberState::Terminating => Some(format!("{named} is shutting down.")),
        MemberState::Down(why) => Some(format!("{named} is not up: {why}.")),
    }
}

fn list(ids: &BTreeSet<ServerId>) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
