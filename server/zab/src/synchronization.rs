//! Phase 2 on the leader: which packets give a learner the leader's history.
//!
//! Two logs that both hold the zxid *e:n* are equal up to it. So all that matters is the newest zxid that the learner
//! and we have in common, and it must be looked up exactly: that a zxid lies in the range of our history does not mean
//! that our history has it (ZOOKEEPER-1154).

use crate::core::{Core, send};
use crate::ensemble::Membership;
use crate::io::Output;
use crate::log_view::LogView;
use crate::message::Message;
use crate::progress::Progress;
use crate::zxid::{Epoch, Zxid};

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

/// DIFF, TRUNC or SNAP, the committed history, the outstanding proposals, NEWLEADER.
pub(crate) fn send_history(
    core: &Core,
    committed: Zxid,
    epoch: Epoch,
    progress: &Progress,
    plan: SyncPlan,
    outputs: &mut Vec<Output>,
) {
    let link = progress.link;
    let after = match plan {
        SyncPlan::Diff { after } => {
            send(link, Message::Diff { to: committed }, outputs);
            after
        }
        SyncPlan::Trunc { to } => {
            send(link, Message::Trunc { to }, outputs);
            to
        }
        SyncPlan::Snap => {
            let to = core.log.delivered();
            send(link, Message::Snap { to }, outputs);
            to
        }
    };
    for entry in core.log.entries_after(after) {
        let (zxid, payload) = (entry.zxid, entry.payload.clone());
        if zxid <= committed {
            send(link, Message::Propose { zxid, payload }, outputs);
            send(link, Message::Commit { zxid }, outputs);
        } else if progress.membership == Membership::Voter {
            send(link, Message::Propose { zxid, payload }, outputs);
        }
    }
    send(link, Message::NewLeader { epoch, config: core.config.config_text.clone() }, outputs);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::io::Recovered;

    fn zxid(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    /// A log that begins after `base` and holds these zxids.
    fn log(base: Zxid, zxids: &[(u32, u32)]) -> LogView {
        let mut log = LogView::new(Recovered { last: base, ..Recovered::default() }, 1000);
        for (epoch, counter) in zxids {
            log.append(zxid(*epoch, *counter), Bytes::new(), &mut Vec::new());
        }
        log
    }

    #[test]
    fn the_plan_follows_from_the_newest_common_zxid() {
        let ours = log(zxid(1, 3), &[(1, 4), (1, 5), (3, 1), (3, 2), (3, 3)]);
        let committed = zxid(3, 2);
        let diff = |epoch, counter| SyncPlan::Diff { after: zxid(epoch, counter) };
        let trunc = |epoch, counter| SyncPlan::Trunc { to: zxid(epoch, counter) };
        let cases = [
            ("nothing lacks", zxid(3, 2), diff(3, 2)),
            ("a prefix", zxid(1, 5), diff(1, 5)),
            ("all but the window", zxid(1, 3), diff(1, 3)),
            ("before the window", zxid(1, 2), SyncPlan::Snap),
            ("empty", Zxid::ZERO, SyncPlan::Snap),
            ("without a database", Zxid(-1), SyncPlan::Snap),
            ("a proposal that is not committed", zxid(3, 3), trunc(3, 2)),
            ("a tail of the same epoch", zxid(3, 9), trunc(3, 2)),
            ("a tail in the middle (ZOOKEEPER-1154)", zxid(1, 7), trunc(1, 5)),
            ("an epoch that we lack", zxid(2, 4), SyncPlan::Snap),
            ("a later epoch that we lack", zxid(4, 1), SyncPlan::Snap),
            ("the start of an epoch", zxid(3, 0), diff(1, 5)),
            ("the start of an epoch without writes", zxid(4, 0), diff(3, 2)),
            ("the start of an epoch before the window", zxid(1, 0), SyncPlan::Snap),
        ];
        for (case, learner_last, plan) in cases {
            assert_eq!(plan_sync(&ours, committed, learner_last), plan, "{case}");
        }
    }

    #[test]
    fn an_empty_learner_gets_a_diff_only_from_a_log_that_is_known_to_begin_at_the_beginning() {
        let whole = log(Zxid::ZERO, &[(1, 1), (1, 2)]);
        let plan = plan_sync(&whole, zxid(1, 2), Zxid::ZERO);
        assert_eq!(plan, SyncPlan::Diff { after: Zxid::ZERO });
        // After a restart the log begins with 1:1, but what came before that nobody knows (ZOOKEEPER-4352).
        let recovered = Recovered {
            last: zxid(1, 1),
            recent: vec![(zxid(1, 1), Bytes::new())],
            ..Recovered::default()
        };
        let restarted = LogView::new(recovered, 1000);
        assert_eq!(plan_sync(&restarted, zxid(1, 1), Zxid::ZERO), SyncPlan::Snap);
    }
}
