//! What servers say to each other, as types: election notifications and the leader/learner stream.
//!
//! One variant per packet of the ZooKeeper quorum protocol, under the name of the Zab paper or of the wire.
//! The mapping to bytes is the shell's; payloads are opaque here.

use bytes::Bytes;

use crate::ensemble::{Membership, ServerId};
use crate::vote::Vote;
use crate::zxid::{Epoch, Zxid};

/// What a server says of itself in an election notification (wire: `state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerState {
    /// Has no leader.
    Looking,
    /// Follows `Notification::vote.leader`.
    Following,
    /// Leads.
    Leading,
    /// Observes `Notification::vote.leader`.
    Observing,
}

/// One election message. Only the newest one to each peer matters; links may drop older ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The sender's state.
    pub state: PeerState,
    /// The sender's vote: the leader it wants (LOOKING) or has.
    pub vote: Vote,
    /// The sender's election round (logical clock).
    pub round: u64,
}

/// A packet of the leader/learner stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// FOLLOWERINFO / OBSERVERINFO, learner to leader: who I am and the last epoch I promised to.
    LearnerInfo {
        /// The learner.
        id: ServerId,
        /// Voter: FOLLOWERINFO, observer: OBSERVERINFO.
        membership: Membership,
        /// Its `acceptedEpoch`.
        accepted: Epoch,
        /// The version of the configuration it knows.
        config_version: i64,
    },
    /// LEADERINFO, leader to learner: the epoch that begins.
    LeaderInfo {
        /// The new epoch.
        epoch: Epoch,
    },
    /// ACKEPOCH, learner to leader.
    AckEpoch {
        /// The learner's `currentEpoch`; `None` (wire: -1) when it had promised to this epoch before: do not count it.
        current: Option<Epoch>,
        /// The last zxid in the learner's log.
        last: Zxid,
    },
    /// DIFF: proposals and commits that you lack follow.
    Diff {
        /// The last committed zxid of the leader.
        to: Zxid,
    },
    /// TRUNC: drop everything after `to`.
    Trunc {
        /// The last zxid to keep.
        to: Zxid,
    },
    /// SNAP: a whole tree as of `to` follows in the stream. The sender's shell puts the tree behind it; the
    /// receiver's shell hands over this message only when the tree has arrived whole.
    Snap {
        /// The zxid the tree stands for.
        to: Zxid,
    },
    /// PROPOSAL.
    Propose {
        /// The transaction's zxid.
        zxid: Zxid,
        /// The transaction, as it goes to the log.
        payload: Bytes,
    },
    /// ACK: `zxid` is on the learner's stable storage. `epoch:0` acks NEWLEADER (and later UPTODATE).
    Ack {
        /// What is acked. Acks are sent one by one and in order: Java leaders want it so.
        zxid: Zxid,
    },
    /// COMMIT: deliver the proposal `zxid`, which is the oldest pending one.
    Commit {
        /// What is committed.
        zxid: Zxid,
    },
    /// INFORM: proposal and commit in one, for observers.
    Inform {
        /// The transaction's zxid.
        zxid: Zxid,
        /// The transaction.
        payload: Bytes,
    },
    /// NEWLEADER: the history sent so far is the initial history of `epoch`.
    NewLeader {
        /// The epoch.
        epoch: Epoch,
        /// The configuration text, opaque.
        config: Bytes,
    },
    /// UPTODATE: a quorum has adopted the epoch; serve.
    UpToDate,
    /// PING, both ways.
    Ping {
        /// From a leader: the last zxid it proposed. From a learner: as received.
        zxid: Zxid,
        /// From a learner: the sessions its clients touched, opaque here. Empty from a leader.
        sessions: Bytes,
    },
}
