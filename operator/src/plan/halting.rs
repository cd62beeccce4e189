//! When a rollout is given up. Each pass judges anew from the pods and from what the status
//! recorded of this rollout; a new target is a new rollout, so a changed spec is always tried.

use jiff::Timestamp;

use super::MemberState;
use super::scene::{Scene, Server};
use crate::crd::status::{HaltCause, RolloutStatus};
use crate::view::{QuorumView, committed, report};

/// How much longer a server that reports progress of its recovery has to come back.
const RECOVERING_FACTOR: i64 = 10;
/// This many elections within [`STORM_SECONDS`] halt a rollout. One is due when the leader goes,
/// and one more is bad luck.
pub const STORM_ELECTIONS: usize = 3;
/// See [`STORM_ELECTIONS`].
const STORM_SECONDS: i64 = 600;

/// Why a rollout is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halt {
    /// The kind of reason.
    pub cause: HaltCause,
    /// The reason in words, as part of a sentence.
    pub why: String,
}

impl Halt {
    /// One word, in PascalCase.
    pub fn reason(&self) -> &'static str {
        match self.cause {
            HaltCause::ServerNotBack => "RolloutHalted",
            HaltCause::ElectionStorm => "ElectionStorm",
            HaltCause::CommittedWentBack => "CommittedWentBack",
        }
    }

    /// What it means, in sentences.
    pub fn sentence(&self) -> String {
        let why = &self.why;
        match self.cause {
            HaltCause::ServerNotBack => format!(
                "The rollout is halted: {why}. No other server is restarted, and a pod that is \
                 lost comes back on the last good revision, until this server is back or the spec \
                 changes."
            ),
            HaltCause::ElectionStorm => format!(
                "The rollout is halted: {why}. No server is restarted, and a pod that is lost \
                 comes back on the last good revision, until the spec changes."
            ),
            HaltCause::CommittedWentBack => format!(
                "Restarts are halted: {why}. Acknowledged writes may be lost: keep a copy of \
                 the volumes before anything else. No server is restarted until the spec changes."
            ),
        }
    }
}

/// Whether the rollout to `target` is given up. `unproven` tells whether there is another revision
/// that was good; without one there is nothing to go back to, and a server that does not come back
/// is simply waited for.
pub fn halt(scene: &Scene<'_>, target: &str, unproven: bool) -> Option<Halt> {
    let recorded = scene.inventory.recorded.rollout.as_ref();
    let rollout = recorded.filter(|rollout| rollout.target == target);
    let given_up = rollout
        .filter(|rollout| rollout.halted_revision.as_deref() == Some(target))
        .and_then(|rollout| {
            let cause = rollout.halted_cause.unwrap_or(HaltCause::ServerNotBack);
            Some(Halt { cause, why: rollout.halted_reason.clone()? })
        });
    if let Some(halt) = given_up.as_ref().filter(|h| h.cause != HaltCause::ServerNotBack) {
        return Some(halt.clone());
    }
    let stale = scene
        .servers()
        .any(|server| server.revision().is_some_and(|revision| revision != Some(target)));
    committed_went_back(scene, rollout)
        .or_else(|| rollout.filter(|_| stale).and_then(|r| election_storm(r, scene.now)))
        .or_else(|| {
            let on_target: Vec<Server<'_>> =
                scene.servers().filter(|server| server.runs(target)).collect();
            let back = !on_target.is_empty() && on_target.iter().all(|s| s.is_settled(scene));
            let lost = scene.servers().find_map(|server| not_back(scene, &server, target));
            lost.or(given_up.filter(|_| !back)).filter(|_| unproven)
        })
}

/// A leader that serves has committed all that any leader before it had committed. One that has
/// not was elected without acknowledged writes.
fn committed_went_back(scene: &Scene<'_>, rollout: Option<&RolloutStatus>) -> Option<Halt> {
    // Not a sample that has not been confirmed: a leader may still be at its last transactions.
    let QuorumView::Healthy(led) = scene.view else {
        return None;
    };
    let recorded = rollout.and_then(|rollout| rollout.committed);
    let before = scene.inventory.committed_before.max(recorded)?;
    let now = committed(scene.ensemble, scene.inventory, led)?;
    (now < before).then(|| Halt {
        cause: HaltCause::CommittedWentBack,
        why: format!(
            "the ensemble had committed {before}, but its leader, server {}, has committed no \
             further than {now}",
            led.leader
        ),
    })
}

fn election_storm(rollout: &RolloutStatus, now: Timestamp) -> Option<Halt> {
    let first = rollout.recent_elections.iter().rev().nth(STORM_ELECTIONS - 1)?;
    (now.duration_since(first.0).as_secs() <= STORM_SECONDS).then(|| Halt {
        cause: HaltCause::ElectionStorm,
        why: format!(
            "there were {STORM_ELECTIONS} elections within {STORM_SECONDS} s, so leaders do not \
             last"
        ),
    })
}

/// What to say of a server that was restarted onto `target` and is not back in time.
fn not_back(scene: &Scene<'_>, server: &Server<'_>, target: &str) -> Option<Halt> {
    let allowed = scene.desired.rollout.member_timeout_seconds;
    let (id, pod) = (server.member.id, &server.member.pod);
    let why = match server.state {
        MemberState::Down(why) if server.runs(target) => {
            let recovering =
                report(server.member, scene.inventory).is_some_and(|r| r.recovery().is_some());
            let allowed = allowed.saturating_mul(if recovering { RECOVERING_FACTOR } else { 1 });
            let down = server.not_ready_seconds(scene.now)?;
            // Each start of one that crashes may look well for a moment, so its pod's age counts.
            let age = server.pod?.created.filter(|_| server.is_flapping());
            let since = age.map_or(down, |age| scene.now.duration_since(age).as_secs());
            let crashes = server.pod.map_or(0, |pod| pod.crashes);
            let failed = if server.is_flapping() {
                format!("crashed {crashes} times on the new revision")
            } else {
                format!("did not come back on the new revision within {allowed} s")
            };
            (since > allowed).then(|| format!("server {id} ({pod}) {failed}: {why}"))
        }
        MemberState::Missing => {
            let restarting = scene.inventory.recorded.rollout.as_ref()?.restarting.as_ref()?;
            let gone = scene.now.duration_since(restarting.since.0).as_secs();
            (restarting.id == i32::from(id.0) && gone > allowed).then(|| {
                format!(
                    "server {id} ({pod}) was restarted and has had no pod for {allowed} s; the \
                     events of its StatefulSet say why"
                )
            })
        }
        _ => None,
    };
    why.map(|why| Halt { cause: HaltCause::ServerNotBack, why })
}
