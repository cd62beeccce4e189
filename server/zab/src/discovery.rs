//! Phase 1 on the leader: a new epoch that a quorum has promised to.
//!
//! The epoch is one more than any that a quorum of voters promised before, so every two leaders' quorums meet in a
//! voter that keeps the older one out. Then a quorum must acknowledge it, none of them with a history better than ours.

use std::collections::{BTreeMap, BTreeSet};

use crate::ensemble::{Ensemble, ServerId};
use crate::zxid::{Epoch, Zxid};

/// The state of a history: the last epoch adopted and the end of the log. More of both is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StateSummary {
    pub(crate) current: Epoch,
    pub(crate) last: Zxid,
}

impl StateSummary {
    /// Whether a learner with this summary knows of history that a leader with `leader` lacks.
    ///
    /// A former Java leader calls the end of its log `epoch:0` when it led without writing: a history that everyone
    /// who adopted that epoch has, hence not ahead.
    pub(crate) fn is_ahead_of(self, leader: Self) -> bool {
        if self.last.counter() == 0 && self.last.epoch() <= leader.current {
            return self.current > leader.current;
        }
        self > leader
    }
}

/// The leader's book of promises.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    accepted: BTreeMap<ServerId, Epoch>,
    acknowledged: BTreeSet<ServerId>,
    /// Voters that answered without a promise that counts: they gave it before, and it did not get here.
    withheld: BTreeSet<ServerId>,
}

impl Discovery {
    /// A voter told the last epoch it promised to.
    pub(crate) fn on_info(&mut self, id: ServerId, accepted: Epoch) {
        self.accepted.insert(id, accepted);
    }

    /// A voter promised to the new epoch and is not ahead of us.
    pub(crate) fn on_ack(&mut self, id: ServerId) {
        self.acknowledged.insert(id);
    }

    /// A voter has no promise for this epoch that counts.
    pub(crate) fn on_withheld(&mut self, id: ServerId) {
        self.withheld.insert(id);
    }

    /// A voter is gone before its promise could be used.
    pub(crate) fn forget(&mut self, id: ServerId) {
        self.accepted.remove(&id);
    }

    /// The new epoch, once a quorum of voters was heard.
    pub(crate) fn new_epoch(&self, ensemble: &Ensemble) -> Option<Epoch> {
        if !ensemble.is_quorum(self.accepted.keys()) {
            return None;
        }
        let voters = self.accepted.iter().filter(|(id, _)| ensemble.is_voter(**id));
        voters.map(|(_, accepted)| accepted.next()).max()
    }

    /// Whether a quorum is here and yet none of promises that count: another epoch would have it.
    pub(crate) fn is_spent(&self, ensemble: &Ensemble) -> bool {
        ensemble.is_quorum(self.acknowledged.union(&self.withheld))
            && !self.is_acknowledged(ensemble)
    }

    /// Whether a quorum of voters promised.
    pub(crate) fn is_acknowledged(&self, ensemble: &Ensemble) -> bool {
        ensemble.is_quorum(&self.acknowledged)
    }
}
