//! A whole server without I/O: consensus, the tree, sessions, and the requests of clients and learners.
//!
//! The replica owns the order of things. Zab decides what is committed; here that becomes changes of the tree,
//! answers and watch events. Whatever role it plays, a write takes the same way: it becomes a transaction at the leader, comes
//! back committed, is applied, and answers whoever waits for it *here*.

mod commits;
mod peers;
mod requests;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use jute::OpCode;
use tree::{Change, DataTree, Prep, SharedTree};
use zab::{LinkId, Peer, Zxid};

use crate::config::{Config, Mode};
use crate::io::{Input, Now, Output, Report, ShardOutput};
use crate::leading::Leading;
use crate::learning::Learning;
use crate::read_order::ReadOrder;
use crate::request::{Client, Order, Origin, Request, SessionId, ShardId};
use crate::session_tracker::SessionIds;

/// The books of the current role.
#[derive(Debug)]
enum Role {
    Looking,
    Leading(Box<Leading>),
    Learning(Box<Learning>),
}

/// Numbers for status pages, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Transactions proposed as leader.
    pub proposed: u64,
    /// Transactions applied.
    pub applied: u64,
    /// Learners that were sent the whole tree.
    pub snapshots_sent: u64,
    /// Learners that were brought up to date by DIFF.
    pub diffs_sent: u64,
    /// Sessions expired as leader.
    pub sessions_expired: u64,
}

/// What a server found on its disk.
#[derive(Debug)]
pub struct Recovered {
    /// The history, as the consensus core needs it.
    pub history: zab::Recovered,
    /// The state after the last transaction of the history.
    pub tree: SharedTree,
    /// Transactions that were applied on top of the snapshot it started from: they count for the next one.
    pub replayed_txns: u64,
}

/// One server.
#[derive(Debug)]
pub struct Replica {
    config: Config,
    peer: Peer,
    /// What the peer wants done, being translated. Kept between calls to reuse its memory.
    from_peer: Vec<zab::Output>,
    read_order: ReadOrder,
    /// The shard that must catch up before anything else is done.
    catching_up: Option<ShardId>,
    /// What the peer wanted done when that shard was asked, not done yet. Empty while nobody catches up.
    held: VecDeque<zab::Output>,
    /// What came in meanwhile. Empty while nobody catches up.
    waiting: VecDeque<Input>,
    tree: SharedTree,
    prep: Prep,
    /// What the transaction being applied changes. Empty between calls.
    changes: Vec<Change>,
    role: Role,
    /// Counts the changes of role: the mark of the tree.
    mark: u64,
    /// The link to the leader we dialed last.
    dialed: Option<LinkId>,
    /// The tree received by SNAP just now, until the peer has said what becomes of it.
    received: Option<Box<DataTree>>,
    /// Trees received by SNAP that are not durable yet, oldest first. A link may break while one is being written, and the
    /// leader send a newer one.
    installing: VecDeque<Box<DataTree>>,
    session_ids: SessionIds,
    /// Transactions applied since the last snapshot, and the number at which the next is due.
    applied_since_snapshot: u32,
    last_snapshot: zab::Millis,
    snapshot_due: u32,
    counters: Counters,
}

impl Replica {
    /// A server that starts from what was found on disk.
    pub fn new(config: Config, recovered: Recovered, now: Now, outputs: &mut Vec<Output>) -> Self {
        let Recovered { history, tree, replayed_txns } = recovered;
        let mut from_peer = Vec::new();
        let peer = match config.mode {
            Mode::Standalone => Peer::standalone(config.zab.clone(), history, &mut from_peer),
            Mode::Ensemble => Peer::new(config.zab.clone(), history, now.monotonic, &mut from_peer),
        };
        let session_ids = SessionIds::new(config.zab.id.0, now.wall_ms);
        let snapshot_due = snapshot_interval(config.snapshot_txns, config.zab.id.0);
        let prep = Prep::new();
        let mut replica = Self {
            config,
            peer,
            from_peer,
            read_order: ReadOrder::default(),
            catching_up: None,
            held: VecDeque::new(),
            waiting: VecDeque::new(),
            tree,
            prep,
            changes: Vec::new(),
            role: Role::Looking,
            mark: 0,
            dialed: None,
            received: None,
            installing: VecDeque::new(),
            session_ids,
            applied_since_snapshot: u32::try_from(replayed_txns).unwrap_or(u32::MAX),
            last_snapshot: now.monotonic,
            snapshot_due,
            counters: Counters::default(),
        };
        replica.carry_out(now, outputs);
        replica
    }

    /// Takes one input and says what must be done about it.
    pub fn handle(&mut self, now: Now, input: Input, outputs: &mut Vec<Output>) {
        match (input, self.catching_up) {
            (input @ Input::CaughtUp { .. }, _) | (input, None) => self.take(now, input, outputs),
            // It is due again afterwards.
            (Input::Tick, Some(_)) => {}
            (input, Some(_)) => self.waiting.push_back(input),
        }
    }

    fn take(&mut self, now: Now, input: Input, outputs: &mut Vec<Output>) {
        match input {
            Input::Tick => self.tick(now, outputs),
            Input::Message { link, message } => self.message(now, link, message, outputs),
            Input::Truncated { after, tree } => {
                if let Some(tree) = tree {
                    self.replace_tree(*tree);
                }
                self.tell_peer(now, zab::Input::Truncated { after }, outputs);
            }
            Input::SnapshotInstalled { zxid } => {
                let tree = self.installing.pop_front().expect("a snapshot came in before");
                self.replace_tree(*tree);
                self.applied_since_snapshot = 0;
                self.tell_peer(now, zab::Input::SnapshotInstalled { zxid }, outputs);
            }
            Input::Connect { client, connect } => self.connect(now, client, connect, outputs),
            Input::Request { client, request, order } => {
                self.submit(now, Origin::Client(client), order, request, outputs);
            }
            Input::CaughtUp { shard } => self.caught_up(now, shard, outputs),
            Input::Disconnected { .. } => {}
            Input::Touched { sessions } => self.touched(now, &sessions),
            Input::Notification { from, notification } => {
                self.tell_peer(now, zab::Input::Notification { from, notification }, outputs);
            }
            Input::LinkAccepted { link } => {
                self.tell_peer(now, zab::Input::LinkAccepted { link }, outputs);
            }
            Input::LinkDialed { link } => {
                self.tell_peer(now, zab::Input::LinkDialed { link }, outputs);
            }
            Input::LinkDown { link } => {
                if let Role::Leading(leading) = &mut self.role {
                    leading.forget_link(link);
                }
                self.tell_peer(now, zab::Input::LinkDown { link }, outputs);
            }
            Input::Durable { append } => {
                self.tell_peer(now, zab::Input::Durable { append }, outputs);
            }
            Input::EpochsSaved { epochs } => {
                self.tell_peer(now, zab::Input::EpochsSaved { epochs }, outputs);
            }
            Input::HandOff => self.tell_peer(now, zab::Input::HandOff, outputs),
        }
    }

    /// When the next `Input::Tick` is due.
    #[must_use]
    pub fn wake_at(&self) -> Option<zab::Millis> {
        let sessions = match &self.role {
            Role::Leading(leading) => leading.tracker.wake_at(),
            Role::Looking | Role::Learning(_) => None,
        };
        [self.peer.wake_at(), sessions].into_iter().flatten().min()
    }

    /// The consensus core's numbers.
    #[must_use]
    pub fn status(&self) -> zab::Status {
        self.peer.status()
    }

    /// Requests that wait for a commit or for the leader.
    #[must_use]
    pub fn outstanding_len(&self) -> usize {
        match &self.role {
            Role::Looking => 0,
            Role::Leading(leading) => leading.proposed_len(),
            Role::Learning(learning) => learning.forwarded_len(),
        }
    }

    /// Numbers for status pages.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The tree, shared with the shards.
    #[must_use]
    pub fn tree(&self) -> &SharedTree {
        &self.tree
    }

    /// The last zxid in the tree.
    fn applied(&self) -> Zxid {
        Zxid(self.tree.read().last_zxid())
    }

    fn replace_tree(&mut self, mut tree: DataTree) {
        tree.set_mark(self.mark);
        *self.tree.write() = tree;
    }

    fn tell_peer(&mut self, now: Now, input: zab::Input, outputs: &mut Vec<Output>) {
        self.peer.handle(now.monotonic, input, &mut self.from_peer);
        self.carry_out(now, outputs);
    }

    fn tick(&mut self, now: Now, outputs: &mut Vec<Output>) {
        if let Role::Leading(leading) = &mut self.role {
            for session in leading.tracker.expire(now.monotonic) {
                self.counters.sessions_expired += 1;
                outputs.push(Output::Report(Report::SessionExpired { session }));
                self.close_expired(now, session, outputs);
            }
        }
        self.tell_peer(now, zab::Input::Tick, outputs);
    }

    fn close_expired(&mut self, now: Now, session: SessionId, outputs: &mut Vec<Output>) {
        let request = Request {
            session,
            xid: 0,
            op: OpCode::CloseSession,
            body: Bytes::new(),
            auth: Arc::from([]),
        };
        self.propose(now, Origin::Server, Order::Free, &request, outputs);
    }
}

/// A handshake's answer: the password is a function of the session id.
fn established(client: Client, session: SessionId, timeout_ms: i32) -> ShardOutput {
    let password = jute::password::session_password(session.0);
    ShardOutput::Established { client, session, timeout_ms, password }
}

/// Transactions until the next snapshot: between half of `snapshot_txns` and all of it, by `salt`.
fn snapshot_interval(snapshot_txns: u32, salt: u64) -> u32 {
    let half = (snapshot_txns / 2).max(1);
    // Fibonacci hashing: neighbouring server ids land far apart.
    let spread = (salt.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32;
    half + spread % half
}
