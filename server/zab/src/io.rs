//! The whole surface of the crate: all that can wake a [`Peer`](crate::Peer) and all it can do.
//!
//! The contract:
//! - Outputs are carried out in order, unconditionally.
//! - All storage outputs (`Append`, `SaveEpochs`, `Truncate`, `InstallSnapshot`) are carried out by one store in the
//!   order given, and each is durable before the next begins or both become durable together. So
//!   *history → fsync → epoch → ack* needs only the right order of outputs.
//! - What must wait for the disk is emitted only after the matching input (`Durable`, `EpochsSaved`, …) came back.
//! - Links are FIFO; a broken link is reported once, a lost message never. Inputs for a link that was closed or
//!   reported down are ignored.

use bytes::Bytes;

use crate::ensemble::{Membership, ServerId};
use crate::message::{Message, Notification};
use crate::zxid::{Epoch, Epochs, Zxid};

/// One connection of the quorum port, dialed or accepted. Never reused within a process.
///
/// The peer numbers the links it dials, the caller those it accepts: the top bit keeps the two apart, so the caller
/// numbers below [`LinkId::DIALED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

impl LinkId {
    /// The first id of a dialed link.
    pub const DIALED: Self = Self(1 << 63);

    /// Whether the peer dialed this link.
    #[must_use]
    pub fn is_dialed(self) -> bool {
        self >= Self::DIALED
    }
}

/// The number of one append, counting from 1 in the life of the process. `Durable` names it, so a late report about
/// an entry that was truncated meanwhile cannot be mistaken for its successor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppendId(pub u64);

/// What was found on disk at start.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The epoch files.
    pub epochs: Epochs,
    /// The last zxid of snapshot and log together.
    pub last: Zxid,
    /// The newest entries of the log, oldest first and without a gap, ending at `last`; may be empty (then history
    /// begins after `last`). Already applied by the caller.
    pub recent: Vec<(Zxid, Bytes)>,
    /// Whether this server's database may be trusted to hold what it once acknowledged. A server that finds nothing
    /// on disk, unless told to initialize, must not vote until it has been synchronized (vote weight 0).
    pub trusted: bool,
}

/// All that can wake a peer.
#[derive(Clone, Debug)]
pub enum Input {
    /// The deadline of `wake_at` has come (or any other moment: harmless).
    Tick,
    /// An election notification arrived.
    Notification {
        /// The sender.
        from: ServerId,
        /// What it says.
        notification: Notification,
    },
    /// Someone connected to our quorum port.
    LinkAccepted {
        /// The new link.
        link: LinkId,
    },
    /// The link asked for by `Output::Dial` is up.
    LinkDialed {
        /// The link.
        link: LinkId,
    },
    /// A link failed, could not be dialed, or was closed by the other side.
    LinkDown {
        /// The link.
        link: LinkId,
    },
    /// A packet arrived.
    Message {
        /// Where.
        link: LinkId,
        /// What.
        message: Message,
    },
    /// This append and all before it are on stable storage.
    Durable {
        /// The newest append that is durable.
        append: AppendId,
    },
    /// These epochs are on stable storage.
    EpochsSaved {
        /// As in `Output::SaveEpochs`.
        epochs: Epochs,
    },
    /// The log ends at `after` now, durably, and the state machine holds nothing beyond it.
    Truncated {
        /// As in `Output::Truncate`.
        after: Zxid,
    },
    /// The snapshot received last is on stable storage and in the state machine; older history is gone.
    SnapshotInstalled {
        /// As in `Output::InstallSnapshot`.
        zxid: Zxid,
    },
    /// The server is about to stop: give leadership away if we have it. Answered by `Output::HandedOff`.
    HandOff,
}

/// All a peer can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send an election notification; a newer one to the same server replaces one not yet sent.
    Notify {
        /// To whom.
        to: ServerId,
        /// What.
        notification: Notification,
    },
    /// Connect to the quorum port of `leader`; answered by `LinkDialed` or `LinkDown`.
    Dial {
        /// The id the link shall have.
        link: LinkId,
        /// Whom to dial.
        leader: ServerId,
    },
    /// Send a packet.
    Send {
        /// Where.
        link: LinkId,
        /// What. After `Message::Snap` the state machine as it stands at this point of the outputs must follow.
        message: Message,
    },
    /// Close a link after what was sent on it.
    Close {
        /// Which.
        link: LinkId,
        /// Why, for the log: a sentence.
        why: String,
    },
    /// Append a transaction to the log.
    Append {
        /// The number to report.
        append: AppendId,
        /// Its zxid.
        zxid: Zxid,
        /// Its bytes.
        payload: Bytes,
    },
    /// Write both epoch files.
    SaveEpochs {
        /// What to write.
        epochs: Epochs,
    },
    /// Drop every log entry and snapshot after `after`; rebuild the state machine from disk if it holds more.
    Truncate {
        /// The last zxid to keep.
        after: Zxid,
    },
    /// Make the snapshot that came with the last `Message::Snap` the state: drop log entries after `zxid`, write the
    /// snapshot durably, then adopt it.
    InstallSnapshot {
        /// The zxid it stands for.
        zxid: Zxid,
    },
    /// Apply a transaction. In order of zxid, each exactly once.
    Deliver {
        /// Its zxid.
        zxid: Zxid,
        /// Its bytes.
        payload: Bytes,
    },
    /// The role changed. Clients are served only between `Serving` and the next `Looking`.
    Became(Standing),
    /// `Input::HandOff` is done: another server leads, or there was nothing to hand over, or it took too long.
    HandedOff,
}

/// What a peer is, as far as clients and people are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Has no leader; clients are not served.
    Looking,
    /// Leads a quorum that has adopted `epoch`: proposals are accepted from now on.
    Leading {
        /// The epoch.
        epoch: Epoch,
    },
    /// Learns from `leader` and is up to date.
    Following {
        /// The leader.
        leader: ServerId,
        /// Its epoch.
        epoch: Epoch,
        /// Our own part.
        membership: Membership,
    },
}

/// The phases of Zab, for people and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Phase 0.
    Election,
    /// Phase 1.
    Discovery,
    /// Phase 2.
    Synchronization,
    /// Phase 3.
    Broadcast,
}

/// Numbers for status pages; read, never logic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This server.
    pub id: ServerId,
    /// Where it is in the protocol.
    pub phase: Phase,
    /// What it is to clients.
    pub standing: Standing,
    /// The leader it follows or is, if any.
    pub leader: Option<ServerId>,
    /// The epoch files.
    pub epochs: Epochs,
    /// The last zxid in the log.
    pub last_logged: Zxid,
    /// The last zxid known durable here.
    pub last_durable: Zxid,
    /// The last zxid delivered.
    pub last_committed: Zxid,
    /// On a leader: its learners, in order of id. A voter is `synced` only after its NEWLEADER ack.
    pub learners: Vec<LearnerStatus>,
    /// Elections this process took part in (times it went to LOOKING).
    pub elections: u64,
    /// How long the last finished election took.
    pub election_ms: u64,
}

/// A leader's view of one learner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnerStatus {
    /// The learner.
    pub id: ServerId,
    /// Its part.
    pub membership: Membership,
    /// Whether it has acked NEWLEADER of this epoch.
    pub synced: bool,
    /// The last zxid it acked (or its sync target for observers).
    pub acked: Zxid,
}
