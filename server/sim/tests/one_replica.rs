//! One replica alone, told step by step what happens to it: the smallest worlds in which something once went wrong.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use jute::codec::Encode;
use jute::data::{Acl, CreateMode};
use jute::request::{CreateRequest, SetDataRequest};
use jute::{ErrorCode, OpCode};
use replica::{
    Client, Config, Connect, ConnectionId, Input, Mode, Now, Order, Outcome, Output, PeerMessage,
    Recovered, Replica, Report, Request, SessionId, ShardId, ShardOutput,
};
use tree::snapshot::{Fed, Progress, TreeReader, TreeWriter};
use tree::{DataTree, SharedTree, TxnResult};
use zab::{
    Ensemble, Epoch, LinkId, Membership, Message, Millis, Notification, PeerState, ServerId, Vote,
    Zxid,
};

struct Server {
    replica: Replica,
    tree: SharedTree,
    now_ms: u64,
    /// Storage answers wait until they are released.
    holds: bool,
    waiting: VecDeque<Input>,
    said: Vec<Output>,
}

impl Server {
    /// Server 1 of so many voters.
    fn new(voters: u64) -> Self {
        let members = (1..=voters).map(|id| (ServerId(id), Membership::Voter));
        let config = Config {
            zab: zab::Config {
                id: ServerId(1),
                ensemble: Ensemble::new(members),
                config_version: 0,
                config_text: Bytes::new(),
                tick_ms: 100,
                init_limit_ticks: 1000,
                sync_limit_ticks: 1000,
                finalize_wait_ms: 50,
                history_bytes_max: 1 << 20,
            },
            mode: Mode::Ensemble,
            session_timeout_ms_min: 1_000,
            session_timeout_ms_max: 10_000,
            snapshot_txns: 1000,
            snapshot_gap_ms_min: 0,
        };
        let tree = SharedTree::new(DataTree::new(0));
        let history = zab::Recovered { trusted: true, ..zab::Recovered::default() };
        let recovered = Recovered { history, tree: tree.clone(), replayed_txns: 0 };
        let mut outputs = Vec::new();
        let replica = Replica::new(config, recovered, now(0), &mut outputs);
        let mut server = Self {
            replica,
            tree,
            now_ms: 0,
            holds: false,
            waiting: VecDeque::new(),
            said: Vec::new(),
        };
        server.take(outputs);
        server.release();
        server
    }

    /// Server 1 follows server 3 in epoch 2, and serves.
    fn following() -> (Self, LinkId) {
        let mut server = Self::new(3);
        let link = server.dials();
        server.hear(link, Message::LeaderInfo { epoch: Epoch(2) });
        server.hear(link, Message::Diff { to: Zxid::ZERO });
        server.hear(link, Message::NewLeader { epoch: Epoch(2), config: Bytes::new() });
        server.hear(link, Message::UpToDate);
        (server, link)
    }

    /// Has it choose server 3; the link it dials.
    fn dials(&mut self) -> LinkId {
        let vote = Vote { epoch: Epoch(1), zxid: Zxid(9 << 32), leader: ServerId(3) };
        for id in [2, 3] {
            for state in [PeerState::Looking, PeerState::Following] {
                let state = if id == 3 && state == PeerState::Following {
                    PeerState::Leading
                } else {
                    state
                };
                let notification = Notification { state, vote, round: 1 << 20 };
                self.give(Input::Notification { from: ServerId(id), notification });
            }
        }
        let dialed = self.said.iter().rev().find_map(|output| match output {
            Output::Dial { link, .. } => Some(*link),
            _ => None,
        });
        let link = dialed.unwrap();
        self.give(Input::LinkDialed { link });
        link
    }

    fn hear(&mut self, link: LinkId, message: Message) {
        self.give(Input::Message { link, message: PeerMessage::Zab(message) });
    }

    fn give(&mut self, input: Input) {
        let mut outputs = Vec::new();
        self.replica.handle(now(self.now_ms), input, &mut outputs);
        self.take(outputs);
        if !self.holds {
            self.release();
        }
    }

    fn take(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Append { append, .. } => self.waiting.push_back(Input::Durable { append }),
                Output::SaveEpochs { epochs } => {
                    self.waiting.push_back(Input::EpochsSaved { epochs });
                }
                Output::InstallSnapshot { zxid, .. } => {
                    self.waiting.push_back(Input::SnapshotInstalled { zxid });
                }
                other => self.said.push(other),
            }
        }
    }

    /// The disk has done all it was given.
    fn release(&mut self) {
        self.holds = false;
        while let Some(input) = self.waiting.pop_front() {
            self.give(input);
        }
    }

    /// A client connects to a session, 0 for a new one.
    fn connect(&mut self, client: Client, session: SessionId) {
        let password = jute::password::session_password(session.0);
        let password = Bytes::copy_from_slice(&password);
        let connect = Connect { timeout_ms: 1_000, session, password };
        self.give(Input::Connect { client, connect });
    }

    fn session_of(&self, client: Client) -> SessionId {
        let established = self.said.iter().rev().find_map(|output| match output {
            Output::Shard(ShardOutput::Established { client: to, session, .. })
                if *to == client =>
            {
                Some(*session)
            }
            _ => None,
        });
        established.unwrap()
    }

    /// The answers to a client, by xid.
    fn answers(&self, client: Client) -> Vec<(i32, &Outcome)> {
        let of = |output: &'_ Output| match output {
            Output::Shard(ShardOutput::Reply { client: to, .. }) => *to == client,
            _ => false,
        };
        let answers = self.said.iter().filter(|output| of(output));
        answers
            .filter_map(|output| match output {
                Output::Shard(ShardOutput::Reply { xid, outcome, .. }) => Some((*xid, outcome)),
                _ => None,
            })
            .collect()
    }
}

fn now(ms: u64) -> Now {
    Now { monotonic: Millis(ms), wall_ms: 1_700_000_000_000 + ms.cast_signed() }
}

fn client(connection: u64) -> Client {
    Client { shard: ShardId(0), connection: ConnectionId(connection) }
}

fn request(session: SessionId, xid: i32, op: OpCode, body: impl Encode) -> Request {
    let mut bytes = BytesMut::new();
    body.encode(&mut bytes);
    Request { session, xid, op, body: bytes.freeze(), auth: Arc::from([]) }
}

fn create(session: SessionId, xid: i32, path: &str) -> Request {
    let (data, acl) = (Some(&b""[..]), Some(vec![Acl::OPEN]));
    let body = CreateRequest { path, data, acl, flags: CreateMode::Persistent.code() };
    request(session, xid, OpCode::Create, body)
}

fn set(session: SessionId, xid: i32, path: &str) -> Request {
    let body = SetDataRequest { path, data: Some(b"new"), version: -1 };
    request(session, xid, OpCode::SetData, body)
}

fn close(session: SessionId, xid: i32) -> Request {
    Request { session, xid, op: OpCode::CloseSession, body: Bytes::new(), auth: Arc::from([]) }
}

fn is_moved(outcome: &Outcome) -> bool {
    let moved = ErrorCode::SessionMoved.code();
    matches!(outcome, Outcome::Txn(TxnResult::Error { code }) if *code == moved)
}

/// The payload of a committed create.
fn create_txn(session: SessionId, cxid: i32, zxid: Zxid, path: &str) -> Bytes {
    let header = jute::txn::TxnHeader {
        client_id: session.0,
        cxid,
        zxid: zxid.0,
        time_ms: 1,
        op: OpCode::Create,
    };
    let txn = jute::txn::Txn::Create(jute::txn::CreateTxn {
        path,
        data: Some(b""),
        acl: vec![Acl::OPEN],
        ephemeral: false,
        parent_cversion: -1,
    });
    let mut payload = BytesMut::new();
    jute::txn::LogPayload { header, txn, digest: None }.encode(&mut payload);
    payload.freeze()
}

/// A tree as a leader would send it.
fn tree_as_of(zxid: Zxid) -> Box<DataTree> {
    let mut writer = TreeWriter::new(DataTree::new(0).freeze());
    let mut bytes = BytesMut::new();
    while writer.next_chunk(1 << 20, &mut bytes) == Progress::More {}
    let mut reader = TreeReader::new(0);
    assert!(matches!(reader.feed(&bytes), Ok(Fed::Done { .. })));
    Box::new(reader.finish(zxid.0).unwrap())
}

/// A session that moved is not closed by its old connection, and goes on to expire like any other.
#[test]
fn a_close_that_is_refused_does_not_make_the_session_immortal() {
    let mut leader = Server::new(1);
    leader.connect(client(1), SessionId(0));
    let session = leader.session_of(client(1));
    let message = PeerMessage::Revalidate { session, timeout_ms: 1_000 };
    leader.give(Input::Message { link: LinkId(7), message });
    leader.give(Input::Request {
        client: client(1),
        request: close(session, 5),
        order: Order::Free,
    });
    assert!(matches!(leader.answers(client(1))[..], [(5, outcome)] if is_moved(outcome)));
    assert!(leader.tree.read().session_timeout_ms(session.0).is_some(), "it lives on");
    leader.now_ms = 5_000;
    leader.give(Input::Tick);
    let expired = |output: &Output| matches!(output, Output::Report(Report::SessionExpired { session: it }) if *it == session);
    assert!(leader.said.iter().any(expired), "nobody was heard of for 5 s, its timeout is 1 s");
    assert!(leader.tree.read().session_timeout_ms(session.0).is_none());
}

/// A write that was on its way when its session moved to another server does not bring the session back.
#[test]
fn a_late_answer_does_not_take_the_session_from_its_new_server() {
    let mut leader = Server::new(1);
    leader.connect(client(1), SessionId(0));
    let session = leader.session_of(client(1));
    leader.holds = true;
    leader.give(Input::Request {
        client: client(1),
        request: create(session, 1, "/a"),
        order: Order::Free,
    });
    let link = LinkId(7);
    let message = PeerMessage::Revalidate { session, timeout_ms: 1_000 };
    leader.give(Input::Message { link, message });
    leader.release();
    leader.give(Input::Message { link, message: PeerMessage::Request(set(session, 2, "/a")) });
    let tree = leader.tree.read();
    assert_eq!(tree.get("/a").unwrap().data(), Some(&b"new"[..]), "refused as moved");
}

/// A client that counts its requests anew on every connection (as kazoo does) asks something under a number that it
/// used on another server, where the answer was still due.
#[test]
fn a_request_is_not_answered_by_an_older_one_with_the_same_number() {
    let (mut learner, link) = Server::following();
    let session = SessionId(0x0300_0000_0000_0001);
    // The session's earlier request, under xid 1 by way of another server: proposed, not committed.
    let old = Zxid::new(Epoch(2), 1);
    let payload = create_txn(session, 1, old, "/old");
    learner.hear(link, Message::Propose { zxid: old, payload });
    // The client comes here, and asks under xid 1 again.
    learner.connect(client(9), session);
    let message = PeerMessage::Revalidated { session, valid: true };
    learner.give(Input::Message { link, message });
    assert_eq!(learner.session_of(client(9)), session);
    learner.give(Input::Request {
        client: client(9),
        request: create(session, 1, "/new"),
        order: Order::Free,
    });
    learner.hear(link, Message::Commit { zxid: old });
    let answers = learner.answers(client(9));
    assert!(answers.is_empty(), "told {answers:?} of a request that is not even proposed");
    let new = Zxid::new(Epoch(2), 2);
    let payload = create_txn(session, 1, new, "/new");
    learner.hear(link, Message::Propose { zxid: new, payload });
    learner.hear(link, Message::Commit { zxid: new });
    let answers = learner.answers(client(9));
    let is_new = |outcome: &Outcome| matches!(outcome, Outcome::Txn(TxnResult::Create { path }) if **path == *"/new");
    assert!(matches!(answers[..], [(1, outcome)] if is_new(outcome)), "{answers:?}");
}

/// The link breaks while the snapshot of the leader is being written, and the same leader sends a newer one.
#[test]
fn a_second_snapshot_may_come_while_the_first_is_being_written() {
    let mut learner = Server::new(3);
    let link = learner.dials();
    learner.hear(link, Message::LeaderInfo { epoch: Epoch(2) });
    learner.holds = true;
    let first = Zxid::new(Epoch(1), 5);
    let message = PeerMessage::Snapshot { to: first, tree: tree_as_of(first) };
    learner.give(Input::Message { link, message });
    learner.give(Input::LinkDown { link });
    let link = learner.dials();
    learner.hear(link, Message::LeaderInfo { epoch: Epoch(2) });
    let second = Zxid::new(Epoch(1), 9);
    let message = PeerMessage::Snapshot { to: second, tree: tree_as_of(second) };
    learner.give(Input::Message { link, message });
    assert_eq!(learner.waiting.len(), 2, "{:?}", learner.waiting);
    // The first is done: the tree is that one, not the one that is not on the disk yet.
    let input = learner.waiting.pop_front().unwrap();
    learner.give(input);
    assert_eq!(learner.tree.read().last_zxid(), first.0);
    learner.release();
    assert_eq!(learner.tree.read().last_zxid(), second.0);
    learner.hear(link, Message::NewLeader { epoch: Epoch(2), config: Bytes::new() });
    learner.hear(link, Message::UpToDate);
    assert_eq!(learner.replica.status().last_committed, second);
}
