//! All learners of a leader, and the quorum questions asked about them.
//!
//! Only voters count, whatever a learner calls itself (ZOOKEEPER-2959), and only while their link is up: a learner that
//! comes back may have been truncated below what it acked before.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::core::{Core, close, send};
use crate::ensemble::{Ensemble, Membership, ServerId};
use crate::io::{LearnerStatus, LinkId, Output};
use crate::message::Message;
use crate::progress::{Progress, Stage};
use crate::zxid::{Millis, Zxid};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Learners {
    by_id: BTreeMap<ServerId, Progress>,
    by_link: BTreeMap<LinkId, ServerId>,
    /// Links whose other end has not said who it is, with the time they came up.
    strangers: BTreeMap<LinkId, Millis>,
    /// Kept for its memory: what each voter has acked, while the majority's is looked for.
    acked: Vec<Zxid>,
}

impl Learners {
    pub(crate) fn add_stranger(&mut self, link: LinkId, now: Millis) {
        self.strangers.insert(link, now);
    }

    /// Takes a link out of the strangers, when it is one.
    pub(crate) fn take_stranger(&mut self, link: LinkId) -> bool {
        self.strangers.remove(&link).is_some()
    }

    /// Adds a learner; an older link of the same learner is superseded.
    pub(crate) fn add(&mut self, progress: Progress, outputs: &mut Vec<Output>) {
        self.drop_learner(progress.id, "superseded by a newer link of this learner", outputs);
        self.by_link.insert(progress.link, progress.id);
        self.by_id.insert(progress.id, progress);
    }

    pub(crate) fn at_link(&mut self, link: LinkId) -> Option<&mut Progress> {
        let id = self.by_link.get(&link)?;
        self.by_id.get_mut(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Progress> {
        self.by_id.values()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Progress> {
        self.by_id.values_mut()
    }

    pub(crate) fn contains(&self, id: ServerId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Forgets a link that is down.
    pub(crate) fn forget_link(&mut self, link: LinkId) -> Option<ServerId> {
        self.strangers.remove(&link);
        let id = self.by_link.remove(&link)?;
        self.by_id.remove(&id);
        Some(id)
    }

    /// Closes the link of a learner and forgets it.
    pub(crate) fn drop_learner(&mut self, id: ServerId, why: &str, outputs: &mut Vec<Output>) {
        if let Some(progress) = self.by_id.remove(&id) {
            self.by_link.remove(&progress.link);
            close(progress.link, why, outputs);
        }
    }

    /// Closes every link.
    pub(crate) fn drop_all(&mut self, why: &str, outputs: &mut Vec<Output>) {
        for link in self.by_link.keys().chain(self.strangers.keys()) {
            close(*link, why, outputs);
        }
        *self = Self::default();
    }

    /// Closes the links of those that did not say who they are within `limit_ms`.
    pub(crate) fn drop_silent_strangers(
        &mut self,
        now: Millis,
        limit_ms: u64,
        outputs: &mut Vec<Output>,
    ) {
        self.strangers.retain(|link, since| {
            let keep = now.since(*since) <= limit_ms;
            if !keep {
                close(*link, "no FOLLOWERINFO or OBSERVERINFO came", outputs);
            }
            keep
        });
    }

    /// Drops the learners that are silent or have not acked what was proposed long ago. `overdue`: where the log ended
    /// `sync_ms` ago, with the time of that.
    pub(crate) fn drop_laggards(
        &mut self,
        now: Millis,
        init_ms: u64,
        sync_ms: u64,
        overdue: Option<(Millis, Zxid)>,
        outputs: &mut Vec<Output>,
    ) {
        let mut lost = Vec::new();
        for progress in self.iter() {
            if !progress.is_synced() {
                // While the ensemble waits for others, the learner's silence is our doing.
                let waits_for_us =
                    matches!(progress.stage, Stage::Informed | Stage::Promised { .. });
                if !waits_for_us && now.since(progress.since) > init_ms {
                    lost.push((progress.id, "no answer within initLimit"));
                }
            } else if progress.is_silent(now, sync_ms) {
                lost.push((progress.id, "silent for longer than syncLimit"));
            } else if progress.membership == Membership::Voter
                && overdue.is_some_and(|(at, end)| progress.since <= at && progress.acked < end)
            {
                lost.push((progress.id, "a proposal was not acked within syncLimit"));
            }
        }
        for (id, why) in lost {
            self.drop_learner(id, why, outputs);
        }
    }

    /// Whether the synced voters and, if `own` says so, we ourselves are a majority.
    pub(crate) fn is_synced_quorum(&self, core: &Core, own: bool) -> bool {
        let synced = self.by_id.values().filter(|p| p.is_synced() && counts(core, p));
        let ids: Vec<_> = synced.map(|p| p.id).chain(own.then_some(core.id())).collect();
        core.config.ensemble.is_quorum(&ids)
    }

    /// The newest zxid that a majority of voters has on disk, `own` being ours.
    pub(crate) fn quorum_acked(&mut self, core: &Core, own: Zxid) -> Zxid {
        let synced = self.by_id.values().filter(|p| p.is_synced() && counts(core, p));
        self.acked.clear();
        self.acked.extend(synced.map(|p| p.acked).chain([own]));
        acked_by_majority(&core.config.ensemble, &mut self.acked)
    }

    /// Sends a proposal to the followers; observers learn of it when it is committed.
    pub(crate) fn send_proposal(&self, zxid: Zxid, payload: &Bytes, outputs: &mut Vec<Output>) {
        for progress in self.by_id.values().filter(|p| p.is_forwarding()) {
            if progress.membership == Membership::Voter {
                send(progress.link, Message::Propose { zxid, payload: payload.clone() }, outputs);
            }
        }
    }

    /// Sends COMMIT to the followers and INFORM to the observers.
    pub(crate) fn send_commit(&self, zxid: Zxid, payload: &Bytes, outputs: &mut Vec<Output>) {
        for progress in self.by_id.values().filter(|p| p.is_forwarding()) {
            let message = match progress.membership {
                Membership::Voter => Message::Commit { zxid },
                Membership::Observer => Message::Inform { zxid, payload: payload.clone() },
            };
            send(progress.link, message, outputs);
        }
    }

    /// Pings everyone that has its history.
    pub(crate) fn send_pings(&self, zxid: Zxid, outputs: &mut Vec<Output>) {
        for progress in self.by_id.values().filter(|p| p.is_forwarding()) {
            send(progress.link, Message::Ping { zxid, sessions: Bytes::new() }, outputs);
        }
    }

    /// The synced voter with the longest log, the highest id among equals: the one all would vote for.
    pub(crate) fn heir(&self, core: &Core) -> Option<&Progress> {
        let synced = self.by_id.values().filter(|p| p.is_synced() && counts(core, p));
        synced.max_by_key(|p| (p.acked, p.id))
    }

    pub(crate) fn status(&self) -> Vec<LearnerStatus> {
        let status = |p: &Progress| LearnerStatus {
            id: p.id,
            membership: p.membership,
            synced: p.is_synced(),
            acked: p.acked,
        };
        self.by_id.values().map(status).collect()
    }
}

/// Whether a learner's word has weight: it is a voter by our configuration and behaves as one.
pub(crate) fn counts(core: &Core, progress: &Progress) -> bool {
    progress.membership == Membership::Voter && core.config.ensemble.is_voter(progress.id)
}

/// The newest zxid that a majority has, given what each voter heard of has; the order of `acked` is lost.
pub(crate) fn acked_by_majority(ensemble: &Ensemble, acked: &mut [Zxid]) -> Zxid {
    acked.sort_unstable_by(|a, b| b.cmp(a));
    acked.get(ensemble.majority_len() - 1).copied().unwrap_or(Zxid::ZERO)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_majority_has_what_counting_heads_says(
            voters in 1_usize..8,
            acked in prop::collection::vec(0_i64..6, 0..8),
        ) {
            let ensemble = Ensemble::new(
                (0..voters).map(|id| (ServerId(id as u64), Membership::Voter)),
            );
            let mut acked: Vec<_> = acked.into_iter().take(voters).map(Zxid).collect();
            let brute = (0..6)
                .map(Zxid)
                .filter(|z| acked.iter().filter(|a| *a >= z).count() * 2 > voters)
                .max()
                .unwrap_or(Zxid::ZERO);
            prop_assert_eq!(acked_by_majority(&ensemble, &mut acked), brute);
        }
    }
}
