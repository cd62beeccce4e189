//! What restarts are decided from: all that is wanted and known, server by server.

use jiff::Timestamp;

use super::MemberState;
use crate::desired::{Desired, Ensemble, Member};
use crate::inventory::{Inventory, Pod, Process, Ready};
use crate::view::{QuorumView, pod};

/// Crashes of one pod that are put down to bad luck. One that crashes more often is not trusted
/// because it looks well for a moment.
const CRASHES_FORGIVEN: i32 = 1;
/// Seconds such a server must stay up to be trusted: after as long without a crash the kubelet
/// forgets its crashes too.
const CRASHED_READY_SECONDS: i64 = 600;

/// What is wanted, what is known, and the time.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// What is wanted.
    pub desired: &'a Desired,
    /// The ensemble.
    pub ensemble: &'a Ensemble,
    /// What is known.
    pub inventory: &'a Inventory,
    /// The condition of each member, in the order of ids.
    pub members: &'a [MemberState],
    /// The quorum.
    pub view: &'a QuorumView,
    /// The time.
    pub now: Timestamp,
}

/// A member of the ensemble, its condition, and its pod if it is known to have one.
#[derive(Clone, Copy)]
pub struct Server<'a> {
    /// The member.
    pub member: &'a Member,
    /// Its condition.
    pub state: &'a MemberState,
    /// Its pod.
    pub pod: Option<&'a Pod>,
}

impl<'a> Scene<'a> {
    /// The servers, in the order of ids.
    pub fn servers(&self) -> impl Iterator<Item = Server<'a>> + use<'a> {
        let inventory = self.inventory;
        let members = self.ensemble.members.iter().zip(self.members);
        members.map(move |(member, state)| Server { member, state, pod: pod(member, inventory) })
    }
}

impl<'a> Server<'a> {
    /// The revision of its pod, unless that is unknown or the pod is being deleted.
    pub fn revision(&self) -> Option<Option<&'a str>> {
        self.pod.filter(|pod| !pod.terminating).map(|pod| pod.revision.as_deref())
    }

    /// Whether its pod was made from the revision `hash`.
    pub fn runs(&self, hash: &str) -> bool {
        self.revision() == Some(Some(hash))
    }

    /// Whether it is between two pods, or it is not known whether it has one.
    pub fn is_between_pods(&self) -> bool {
        match self.state {
            MemberState::Missing | MemberState::Terminating | MemberState::Unknown => true,
            MemberState::Up | MemberState::Down(_) => false,
        }
    }

    /// Whether the kubelet says that its process does not run.
    pub fn is_stopped(&self) -> bool {
        self.pod.is_some_and(|pod| !pod.terminating && pod.process != Process::Running)
    }

    /// Whether it crashes too often to be trusted when it looks well.
    pub fn is_flapping(&self) -> bool {
        self.pod.is_some_and(|pod| pod.crashes > CRASHES_FORGIVEN)
    }

    /// Seconds it must have been ready before another server is restarted.
    pub fn settling_seconds(&self, desired: &Desired) -> i64 {
        let least = desired.rollout.min_ready_seconds;
        if self.is_flapping() { least.max(CRASHED_READY_SECONDS) } else { least }
    }

    /// Seconds until it has been ready for long enough, if it stays so: 0 if it has been.
    pub fn seconds_to_settle(&self, scene: &Scene<'_>) -> i64 {
        let least = self.settling_seconds(scene.desired);
        match self.pod.map(|pod| pod.ready) {
            Some(Ready::Since(since)) => (least - scene.now.duration_since(since).as_secs()).max(0),
            Some(Ready::NotSince(_)) | None => least,
        }
    }

    /// Whether it is up, and has been for long enough.
    pub fn is_settled(&self, scene: &Scene<'_>) -> bool {
        *self.state == MemberState::Up && self.seconds_to_settle(scene) == 0
    }

    /// Seconds since it was last ready, or since its pod was made.
    pub fn not_ready_seconds(&self, now: Timestamp) -> Option<i64> {
        match self.pod?.ready {
            Ready::NotSince(since) => Some(now.duration_since(since).as_secs()),
            Ready::Since(_) => None,
        }
    }
}
