//! The whole surface of a server's core: all that can wake a [`Replica`](crate::Replica) and all it can do.
//!
//! The contract of [`zab::io`] holds here too: outputs are carried out in order, storage is one FIFO, links are FIFO,
//! and what must wait for the disk waits for an input. On top of it come clients (through shards), the state machine
//! and snapshots.

use bytes::Bytes;
use jute::ErrorCode;
use tree::{Change, DataTree, FrozenTree, TxnResult};
use zab::{AppendId, Epochs, LinkId, Message, Millis, Notification, ServerId, Zxid};

use crate::request::{Client, Connect, Order, Request, SessionId, ShardId};

/// The two clocks of a moment. Decisions use `monotonic`; `wall_ms` only becomes data (ctime, mtime, session ids).
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// A monotonic clock.
    pub monotonic: Millis,
    /// Milliseconds since 1970, as the host believes.
    pub wall_ms: i64,
}

/// What crosses a quorum link: Zab's packets and those of the server above it.
#[derive(Debug)]
pub enum PeerMessage {
    /// A packet of Zab. A received `Message::Snap` comes as `Snapshot` instead.
    Zab(Message),
    /// SNAP with its tree, received whole. Never sent: see `Output::SendSnapshot`.
    Snapshot {
        /// The zxid the tree stands for.
        to: Zxid,
        /// The tree.
        tree: Box<DataTree>,
    },
    /// REQUEST, learner to leader.
    Request(Request),
    /// REVALIDATE, learner to leader: is this session alive, and may I own it?
    Revalidate {
        /// The session.
        session: SessionId,
        /// Its timeout in milliseconds.
        timeout_ms: i32,
    },
    /// REVALIDATE, leader to learner: the answer. FIFO per link.
    Revalidated {
        /// The session.
        session: SessionId,
        /// Whether it is alive.
        valid: bool,
    },
    /// SYNC, leader to learner: the oldest `sync` you forwarded is due. FIFO per link.
    Sync,
}

/// All that can wake a replica.
#[derive(Debug)]
pub enum Input {
    /// The deadline of `wake_at` has come.
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
        message: PeerMessage,
    },
    /// This append and all before it are on stable storage.
    Durable {
        /// The newest durable append.
        append: AppendId,
    },
    /// These epochs are on stable storage.
    EpochsSaved {
        /// As in `Output::SaveEpochs`.
        epochs: Epochs,
    },
    /// The log ends at `after`, durably.
    Truncated {
        /// As in `Output::Truncate`.
        after: Zxid,
        /// The state as of `after`, when `Output::Truncate` asked to rebuild it.
        tree: Option<Box<DataTree>>,
    },
    /// The snapshot is on stable storage.
    SnapshotInstalled {
        /// As in `Output::InstallSnapshot`.
        zxid: Zxid,
    },
    /// The first frame of a client connection.
    Connect {
        /// Who.
        client: Client,
        /// What it wants.
        connect: Connect,
    },
    /// A write or `sync` of a client.
    Request {
        /// Who.
        client: Client,
        /// What.
        request: Request,
        /// How it stands to the session's reads before it.
        order: Order,
    },
    /// The answer to `ShardOutput::CatchUp`: the shard has heard of all that was said before it.
    CaughtUp {
        /// Which.
        shard: ShardId,
    },
    /// A client connection ended. Its session lives on until it is closed or expires.
    Disconnected {
        /// Who.
        client: Client,
        /// The session it had, if the handshake was done.
        session: Option<SessionId>,
    },
    /// Sessions whose clients were heard since the last such input.
    Touched {
        /// Which.
        sessions: Vec<SessionId>,
    },
    /// The server is about to stop: hand leadership over if we have it. Answered by `Output::HandedOff`.
    HandOff,
}

/// All a replica can do.
#[derive(Debug)]
pub enum Output {
    /// Send an election notification; a newer one to the same server replaces one not yet sent.
    Notify {
        /// To whom.
        to: ServerId,
        /// What.
        notification: Notification,
    },
    /// Connect to the quorum port of `leader`.
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
        /// What; never `PeerMessage::Snapshot`.
        message: PeerMessage,
    },
    /// Send SNAP and the tree behind it; what is sent later on this link comes after the whole tree.
    SendSnapshot {
        /// Where.
        link: LinkId,
        /// The zxid the tree stands for.
        to: Zxid,
        /// The tree.
        tree: FrozenTree,
    },
    /// Close a link after what was sent on it.
    Close {
        /// Which.
        link: LinkId,
        /// Why, for the log.
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
    /// Drop every log entry and snapshot after `after`.
    Truncate {
        /// The last zxid to keep.
        after: Zxid,
        /// Whether the state must be rebuilt from disk and come back with the answer.
        rebuild: Rebuild,
    },
    /// Make this received snapshot durable in place of all history.
    InstallSnapshot {
        /// The zxid it stands for.
        zxid: Zxid,
        /// Its tree.
        tree: FrozenTree,
    },
    /// Write a periodic snapshot, in the background; nothing waits for it.
    TakeSnapshot {
        /// The zxid it stands for: everything up to it is committed.
        zxid: Zxid,
        /// Its tree.
        tree: FrozenTree,
    },
    /// Something for the shards.
    Shard(ShardOutput),
    /// A fact worth a log line or a metric.
    Report(Report),
    /// `Input::HandOff` is done.
    HandedOff,
}

/// Whether a truncation leaves the tree as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebuild {
    /// The tree holds nothing beyond the cut.
    Keep,
    /// The tree holds transactions that are cut away: load it anew.
    FromDisk,
}

/// What the core tells the shards. To one shard, in order; `Applied`, `Serving`, `Halted`, `SessionClosed` to all.
///
/// An answer comes before the tree shows any later write of the same session that has reads before it.
#[derive(Clone, Debug)]
pub enum ShardOutput {
    /// A transaction was applied: fire watches. Comes before the reply to its own request.
    Applied {
        /// Its zxid. A shard that has heard of it may answer reads from a tree that is as new.
        zxid: Zxid,
        /// What changed; nothing for a transaction that failed.
        changes: Changes,
    },
    /// A handshake succeeded.
    Established {
        /// To whom.
        client: Client,
        /// The session.
        session: SessionId,
        /// The negotiated timeout in milliseconds.
        timeout_ms: i32,
        /// Its password.
        password: [u8; 16],
    },
    /// A handshake failed: the session does not exist (any more) or the password is wrong.
    Refused {
        /// To whom.
        client: Client,
    },
    /// The answer to a request.
    Reply {
        /// To whom.
        client: Client,
        /// The client's number of the request.
        xid: i32,
        /// The zxid the request was given.
        zxid: Zxid,
        /// What came of it.
        outcome: Outcome,
    },
    /// Answer the reads that waited for what was said so far, then say `Input::CaughtUp`: the core applies nothing until
    /// then.
    CatchUp {
        /// Who is asked.
        shard: ShardId,
    },
    /// A session ended: its connection is closed, after the replies before this.
    SessionClosed {
        /// Which.
        session: SessionId,
    },
    /// The server serves clients from now on, from trees that bear this mark.
    Serving {
        /// See [`DataTree::mark`].
        mark: u64,
    },
    /// The server has no leader: all client connections are closed.
    Halted,
}

/// The changes of one transaction. Nearly always one, which then needs no memory of its own.
#[derive(Clone, Debug)]
pub enum Changes {
    /// At most one.
    Few(Option<Change>),
    /// Those of a multi or of a session's end.
    Many(Vec<Change>),
}

impl Changes {
    /// Takes all of `changes`, which is left empty.
    pub fn take(changes: &mut Vec<Change>) -> Self {
        match changes.len() {
            0 | 1 => Self::Few(changes.pop()),
            _ => Self::Many(std::mem::take(changes)),
        }
    }

    /// All of them, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Change] {
        match self {
            Self::Few(change) => change.as_slice(),
            Self::Many(changes) => changes,
        }
    }
}

/// What came of a request.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A transaction was applied (it may be an error transaction).
    Txn(TxnResult),
    /// `sync` is due.
    Synced,
    /// Refused without a transaction.
    Error(ErrorCode),
}

/// Facts for the log and the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The standing changed.
    Became(zab::Standing),
    /// The leader closes a session that was silent for longer than its timeout.
    SessionExpired {
        /// Which.
        session: SessionId,
    },
}
