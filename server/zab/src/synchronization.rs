//! Phase 2, the decision: which packets give a learner the leader's committed history.
//!
//! Two logs that both hold the zxid *e:n* are equal up to it. So all that matters is the newest zxid that the learner
//! and we have in common, and it must be looked up exactly: that a zxid lies in the range of our history does not mean
//! that our history has it (ZOOKEEPER-1154).

use crate::log_view::LogView;
use crate::zxid::Zxid;

/// How a learner is brought to the committed history. Committed entries after the common point follow, as PROPOSAL
/// and COMMIT pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncPlan {
    /// The learner's log is a prefix of ours: send what comes after `after`.
    Diff {
        /// The end of what the learner has.
        after: Zxid,
    },
    /// The learner has a tail that we lack: cut it, then send what comes after `to`.
    Trunc {
        /// The last zxid to keep.
        to: Zxid,
    },
    /// Nothing in common is known: send everything.
    Snap,
}

/// Plans the synchronization of a learner whose log ends at `learner_last` with the history of `log` up to `committed`.
///
/// - Our history has that zxid → DIFF.
/// - The newest zxid that we have below it is of the same epoch → TRUNC to that. The learner must have it, because
///   an epoch's zxids are contiguous. A cut across epochs is never asked for.
/// - `epoch:0`, the end of a Java leader's log that led without writing, is never cut: it stands for all of our history
///   before that epoch, if our window reaches below it.
/// - Else SNAP.
pub(crate) fn plan_sync(log: &LogView, committed: Zxid, learner_last: Zxid) -> SyncPlan {
    if learner_last == committed {
        return SyncPlan::Diff { after: learner_last };
    }
    let Some(common) = log.newest_up_to(learner_last.min(committed)) else {
        return SyncPlan::Snap;
    };
    if common == learner_last || learner_last.counter() == 0 {
        SyncPlan::Diff { after: common }
    } else if common.epoch() == learner_last.epoch() && common.counter() > 0 {
        SyncPlan::Trunc { to: common }
    } else {
        SyncPlan::Snap
    }
}
