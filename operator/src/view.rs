//! What the servers' reports add up to: does a quorum serve, and who is synchronized?

use std::collections::BTreeSet;
use std::time::Duration;

use crate::crd::status::{Position, Role};
use crate::desired::{Desired, Ensemble, Member};
use crate::exposition::ServerReport;
use crate::inventory::{Inventory, Pod, Process};
use crate::quorum::{ServerId, majority};

/// A leader that a majority follows, in one sample. Two samples agree when these are equal; the
/// UIDs make sure that they speak of the same pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Led {
    /// The leader.
    pub leader: ServerId,
    /// Its epoch.
    pub epoch: i64,
    /// Version of the configuration that the majority has.
    pub config_version: i64,
    /// Voters in step with it, itself included.
    pub synced: BTreeSet<ServerId>,
    /// UIDs of the pods of those voters.
    pub pods: BTreeSet<String>,
}

/// What is known of the quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuorumView {
    /// Too few servers can be seen to tell. The operator may be the one that is cut off.
    Unknown {
        /// Servers that answered or are known to be stopped.
        seen: usize,
    },
    /// A majority can be seen, and it follows no leader.
    NoQuorum {
        /// Servers that answered.
        answered: usize,
    },
    /// A quorum serves, but samples have not agreed about it for long enough to act on it.
    Unsettled {
        /// The latest sample.
        led: Led,
        /// How long samples must agree.
        needed: Duration,
    },
    /// A quorum serves.
    Healthy(Led),
}

impl QuorumView {
    /// Works it out. `agreed_for` of the inventory is how long [`led`] has been the same.
    pub fn new(desired: &Desired, ensemble: &Ensemble, inventory: &Inventory) -> Self {
        if let Some(led) = led(ensemble, inventory) {
            let needed = desired.agreement();
            if inventory.agreed_for >= needed {
                return Self::Healthy(led);
            }
            return Self::Unsettled { led, needed };
        }
        let answered = ensemble.members.iter().filter(|m| report(m, inventory).is_some()).count();
        let seen = ensemble
            .members
            .iter()
            .filter(|member| report(member, inventory).is_some() || is_stopped(member, inventory))
            .count();
        if seen < majority(ensemble.voters()) {
            return Self::Unknown { seen };
        }
        Self::NoQuorum { answered }
    }

    /// The leader and its followers, settled or not.
    pub fn led(&self) -> Option<&Led> {
        match self {
            Self::Healthy(led) | Self::Unsettled { led, .. } => Some(led),
            Self::NoQuorum { .. } | Self::Unknown { .. } => None,
        }
    }
}

/// How far the leader of `led` has committed.
pub fn committed(ensemble: &Ensemble, inventory: &Inventory, led: &Led) -> Option<Position> {
    Some(report(ensemble.member(led.leader)?, inventory)?.committed)
}

/// What `member` said, if it was that member in the pod that is known now.
pub fn report<'a>(member: &Member, inventory: &'a Inventory) -> Option<&'a ServerReport> {
    let report = inventory.reports.get(&member.pod)?.as_ref().ok()?;
    (report.id == member.id && pod(member, inventory).is_some()).then_some(report)
}

/// The pod of `member`, if the pods are known and it has one.
pub fn pod<'a>(member: &Member, inventory: &'a Inventory) -> Option<&'a Pod> {
    inventory.pods.as_ref().ok()?.get(&member.pod)
}

/// Whether `member` is known not to run: it has no pod, or the kubelet says that it stopped.
fn is_stopped(member: &Member, inventory: &Inventory) -> bool {
    let Ok(pods) = &inventory.pods else {
        return false;
    };
    pods.get(&member.pod).is_none_or(|pod| pod.process != Process::Running)
}

/// The leader that a majority follows: the only one that leads in the highest epoch anybody is in,
/// followed by a majority in that epoch and configuration, and with a majority synchronized.
pub fn led(ensemble: &Ensemble, inventory: &Inventory) -> Option<Led> {
    let needed = majority(ensemble.voters());
    let reports: Vec<(&Member, &ServerReport)> =
        ensemble.members.iter().filter_map(|m| Some((m, report(m, inventory)?))).collect();
    let epoch = reports.iter().map(|(_, report)| report.epoch).max()?;
    let mut leaders = reports.iter().filter(|(_, report)| {
        report.epoch == epoch
            && (report.role == Role::Leader
                || (report.role == Role::Standalone && ensemble.voters() == 1))
    });
    let (leader, claim) = leaders.next()?;
    if leaders.next().is_some() || !claim.serving {
        return None;
    }
    let followers = reports.iter().filter(|(member, report)| {
        member.id == leader.id
            || (report.role == Role::Follower
                && report.leader == Some(leader.id)
                && report.epoch == epoch
                && report.config_version == claim.config_version)
    });
    if followers.count() < needed {
        return None;
    }
    // What the leader says of a pod that has been replaced since does not count.
    let synced: BTreeSet<ServerId> = ensemble
        .members
        .iter()
        .filter(|member| member.id == leader.id || claim.synced.contains(&member.id))
        .filter(|member| pod(member, inventory).is_some_and(|pod| !pod.terminating))
        .map(|member| member.id)
        .collect();
    if synced.len() < needed {
        return None;
    }
    let pods = ensemble
        .members
        .iter()
        .filter(|member| synced.contains(&member.id))
        .filter_map(|member| Some(pod(member, inventory)?.uid.clone()))
        .collect();
    Some(Led { leader: leader.id, epoch, config_version: claim.config_version, synced, pods })
}
