//! The leader's view of one learner.

use crate::ensemble::{Membership, ServerId};
use crate::io::LinkId;
use crate::zxid::{Epoch, Millis, Zxid};

/// How far a learner has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It told who it is and waits for the epoch.
    Informed,
    /// LEADERINFO is sent.
    Promising,
    /// It acknowledged the epoch and waits for its history. Its log ends with `last`; what was `committed` by then may
    /// have been so by what it acked over an earlier link.
    Promised { last: Zxid, committed: Zxid },
    /// History and NEWLEADER are sent; proposals are forwarded from now on.
    Syncing,
    /// It acked NEWLEADER: it counts.
    Synced,
    /// UPTODATE is sent.
    UpToDate,
}

/// One learner on one link.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) id: ServerId,
    pub(crate) link: LinkId,
    pub(crate) membership: Membership,
    /// The last epoch it had promised to when it came.
    pub(crate) accepted: Epoch,
    pub(crate) stage: Stage,
    /// The end of what it has on its disk: our committed history at its synchronization, then what it acked.
    /// Meaningful from `Syncing` on, counted from `Synced` on.
    pub(crate) acked: Zxid,
    /// When the present stage began.
    pub(crate) since: Millis,
    /// When it was last heard.
    pub(crate) heard: Millis,
}

/// What an ACK of a proposal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckVerdict {
    /// The next one.
    Advanced,
    /// Acked before, or not proposed at all: Java leaders ignore both.
    Ignored,
    /// An earlier proposal was skipped.
    Skipped { expected: Zxid },
}

impl Progress {
    pub(crate) fn new(
        id: ServerId,
        link: LinkId,
        membership: Membership,
        accepted: Epoch,
        now: Millis,
    ) -> Self {
        Self {
            id,
            link,
            membership,
            accepted,
            stage: Stage::Informed,
            acked: Zxid::ZERO,
            since: now,
            heard: now,
        }
    }

    pub(crate) fn enter(&mut self, stage: Stage, now: Millis) {
        self.stage = stage;
        self.since = now;
    }

    /// Whether it gets new proposals and pings.
    pub(crate) fn is_forwarding(&self) -> bool {
        matches!(self.stage, Stage::Syncing | Stage::Synced | Stage::UpToDate)
    }

    /// Whether it acked NEWLEADER.
    pub(crate) fn is_synced(&self) -> bool {
        matches!(self.stage, Stage::Synced | Stage::UpToDate)
    }

    /// Whether it was silent for longer than `limit_ms`.
    pub(crate) fn is_silent(&self, now: Millis, limit_ms: u64) -> bool {
        now.since(self.heard) > limit_ms
    }

    /// Takes the ACK of proposal `zxid` in `epoch`, whose log ends at `last`. ACKs come one by one and in order.
    pub(crate) fn on_ack(&mut self, zxid: Zxid, epoch: Epoch, last: Zxid) -> AckVerdict {
        let expected =
            if self.acked.epoch() == epoch { self.acked.next() } else { Zxid::new(epoch, 1) };
        if zxid <= self.acked || zxid > last {
            AckVerdict::Ignored
        } else if zxid == expected {
            self.acked = zxid;
            AckVerdict::Advanced
        } else {
            AckVerdict::Skipped { expected }
        }
    }
}
