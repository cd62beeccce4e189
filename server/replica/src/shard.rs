//! The client side of a server, for one share of its connections.
//!
//! A shard takes bytes in and puts bytes out; sockets are the shell's. It answers reads itself from the tree it is
//! handed, in the order of each session, and collects everything else for the core. The caller's part:
//! - hand it all that the core said ([`Shard::on_core`]) before it lets it answer reads from a newer tree;
//! - pass [`Shard::take_for_core`] on after each call, and write out the output of [`Shard::take_woken`] connections.

mod books;
mod connection;
mod handshake;
mod reads;
mod replies;
mod watching;

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use jute::frame::FrameError;
use jute::request::RequestHeader;
use jute::{Decode, OpCode, Reader};
use tree::DataTree;
use zab::Zxid;

use self::books::Books;
use self::connection::{Connection, Pending, State};
use crate::io::{Input, ShardOutput};
use crate::request::{Client, ConnectionId, Request, SessionId, ShardId};

/// Bounds of one connection. Beyond them its socket is not read until it has caught up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the longest frame (`jute.maxbuffer`).
    pub frame_bytes_max: usize,
    /// Requests that wait for the core or behind one that does.
    pub pending_len_max: usize,
    /// Bytes of output not written yet.
    pub output_bytes_max: usize,
}

/// Why a connection is closed by its own fault: a sentence for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub String);

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Self {
        Self(error.to_string())
    }
}

impl From<jute::DecodeError> for Fault {
    fn from(error: jute::DecodeError) -> Self {
        Self(error.to_string())
    }
}

/// Microseconds on a monotonic clock that the caller owns; only for measuring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micros(pub u64);

/// Numbers for status pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames received.
    pub received: u64,
    /// Frames sent.
    pub sent: u64,
    /// Connections now.
    pub connections: u64,
    /// Watches now.
    pub watches: u64,
    /// Requests that wait for the core, or behind one that does.
    pub outstanding: u64,
}

/// Numbers of one connection, for status pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionCounters {
    /// Which.
    pub connection: ConnectionId,
    /// Frames received.
    pub received: u64,
    /// Frames sent.
    pub sent: u64,
    /// Requests that wait for the core, or behind one that does.
    pub outstanding: u64,
}

/// The client side of a server.
#[derive(Debug)]
pub struct Shard {
    books: Books,
    connections: BTreeMap<ConnectionId, Connection>,
    sessions: BTreeMap<SessionId, ConnectionId>,
}

impl Shard {
    /// A shard without connections, of a server that does not serve yet.
    #[must_use]
    pub fn new(id: ShardId, limits: Limits, super_digest: Option<String>) -> Self {
        Self {
            books: Books::new(id, limits, super_digest),
            connections: BTreeMap::new(),
            sessions: BTreeMap::new(),
        }
    }

    /// A client connected.
    pub fn open(&mut self, connection: ConnectionId, address: IpAddr) {
        self.connections.insert(connection, Connection::new(connection, address));
    }

    /// A connection is gone, whoever ended it. Its session lives on.
    pub fn closed(&mut self, connection: ConnectionId) {
        let Some(gone) = self.connections.remove(&connection) else {
            return;
        };
        self.books.watches.remove_watcher(watching::watcher(connection));
        let session = gone.session;
        if let Some(session) = session
            && self.sessions.get(&session) == Some(&connection)
        {
            self.sessions.remove(&session);
        }
        let client = Client { shard: self.books.id, connection };
        self.books.for_core.push(Input::Disconnected { client, session });
    }

    /// Takes the whole frames at the beginning of `input`, as far as the connection may go on now.
    ///
    /// # Errors
    /// A [`Fault`] when the stream cannot be read any further: the caller logs it once and closes the connection.
    pub fn receive(
        &mut self,
        now: Micros,
        tree: &DataTree,
        connection: ConnectionId,
        input: &mut BytesMut,
    ) -> Result<(), Fault> {
        let Self { books, connections, .. } = self;
        let Some(it) = connections.get_mut(&connection) else {
            return Ok(());
        };
        books.now = now;
        while it.may_receive(&books.limits) {
            let Some(frame) = jute::frame::take(input, books.limits.frame_bytes_max)? else {
                break;
            };
            books.counters.received += 1;
            it.received += 1;
            books.frame(tree, it, frame)?;
        }
        Ok(())
    }

    /// Whether the next frame of this connection may be taken.
    #[must_use]
    pub fn may_receive(&self, connection: ConnectionId) -> bool {
        self.connections.get(&connection).is_some_and(|it| it.may_receive(&self.books.limits))
    }

    /// The bytes to write to a connection; `None` when it is gone.
    pub fn output(&mut self, connection: ConnectionId) -> Option<&mut BytesMut> {
        self.connections.get_mut(&connection).map(|it| &mut it.output)
    }

    /// Whether the connection is to be closed as soon as its output is written.
    #[must_use]
    pub fn is_closing(&self, connection: ConnectionId) -> bool {
        self.connections.get(&connection).is_none_or(|it| it.state == State::Closing)
    }

    /// Connections that got output, or are to be closed, by something else than their own `receive`.
    pub fn take_woken(&mut self) -> Vec<ConnectionId> {
        let woken = std::mem::take(&mut self.books.woken);
        for connection in &woken {
            if let Some(it) = self.connections.get_mut(connection) {
                it.woken = false;
            }
        }
        woken
    }

    /// What the core must be told, in order.
    pub fn take_for_core(&mut self) -> Vec<Input> {
        std::mem::take(&mut self.books.for_core)
    }

    /// The sessions heard since the last call. The caller asks a few times per tick.
    pub fn take_touched(&mut self) -> Option<Input> {
        let mut sessions = Vec::with_capacity(self.books.touched.len());
        for connection in self.books.touched.drain(..) {
            if let Some(it) = self.connections.get_mut(&connection) {
                it.touched = false;
                sessions.extend(it.session);
            }
        }
        (!sessions.is_empty()).then_some(Input::Touched { sessions })
    }

    /// Whether it may read this tree: it has heard of every change in it that it owes somebody an event for, and the tree
    /// is not one that holds what is not committed, by a server that serves no more, of which it has not heard yet.
    #[must_use]
    pub fn may_read(&self, tree: &DataTree) -> bool {
        self.books.may_read(tree)
    }

    /// How long each write took that was answered since the last call, in microseconds.
    pub fn take_waits_us(&mut self) -> impl Iterator<Item = u64> + '_ {
        self.books.waits_us.drain(..)
    }

    /// Frames sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.books.counters.sent
    }

    /// Numbers for status pages. Looks at every connection.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            connections: self.connections.len() as u64,
            watches: self.books.watches.watch_count() as u64,
            outstanding: self.connections.values().map(|it| it.pending.len() as u64).sum(),
            ..self.books.counters
        }
    }

    /// Numbers of every connection, in the order in which they were opened.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionCounters> + '_ {
        self.connections.values().map(|it| ConnectionCounters {
            connection: it.id,
            received: it.received,
            sent: it.sent,
            outstanding: it.pending.len() as u64,
        })
    }

    /// Takes what the core says. It may have something to say in return: see [`Shard::take_for_core`].
    pub fn on_core(&mut self, now: Micros, tree: &DataTree, output: ShardOutput) {
        self.books.now = now;
        match output {
            ShardOutput::Applied { zxid, changes } => {
                self.books.seen = self.books.seen.max(zxid);
                self.fire(changes.as_slice());
            }
            ShardOutput::Established { client, session, timeout_ms, password } => {
                self.established(client.connection, session, timeout_ms, &password);
            }
            ShardOutput::Refused { client } => self.refused(client.connection),
            ShardOutput::Reply { client, xid, zxid, outcome } => {
                if let Some(it) = self.connections.get_mut(&client.connection) {
                    self.books.reply(tree, it, xid, zxid, outcome);
                }
            }
            ShardOutput::CatchUp { shard } => {
                debug_assert_eq!(shard, self.books.id, "asked of another shard");
                self.books.for_core.push(Input::CaughtUp { shard });
            }
            ShardOutput::SessionClosed { session } => {
                if let Some(connection) = self.sessions.remove(&session) {
                    self.close(connection);
                }
            }
            ShardOutput::Serving { mark } => {
                self.books.serving = true;
                self.books.mark = mark;
                self.books.seen = Zxid(tree.last_zxid());
            }
            ShardOutput::Halted => self.halt(),
        }
        if !self.books.stuck.is_empty() && self.may_read(tree) {
            for connection in std::mem::take(&mut self.books.stuck) {
                if let Some(it) = self.connections.get_mut(&connection) {
                    self.books.advance(tree, it);
                }
            }
        }
    }

    /// Every connection is closed: its client looks for a server that has a leader.
    fn halt(&mut self) {
        self.books.serving = false;
        self.books.touched.clear();
        for it in self.connections.values_mut() {
            self.books.close(it);
        }
    }

    fn close(&mut self, connection: ConnectionId) {
        if let Some(it) = self.connections.get_mut(&connection) {
            self.books.close(it);
        }
    }
}

/// Frames of clients.
impl Books {
    fn frame(&mut self, tree: &DataTree, it: &mut Connection, frame: Bytes) -> Result<(), Fault> {
        let session = match (it.state, it.session) {
            (State::Fresh, _) => return self.handshake(tree, it, &frame),
            (State::Ready, Some(session)) => session,
            _ => return Ok(()),
        };
        if !std::mem::replace(&mut it.touched, true) {
            self.touched.push(it.id);
        }
        let header = RequestHeader::decode(&mut Reader::new(&frame))?;
        match OpCode::from_code(header.op) {
            Some(OpCode::Auth) => return self.authenticate(it, &frame),
            Some(op) if is_for_core(op) => {
                let body = frame.slice(REQUEST_HEADER_BYTES..);
                let (xid, order, auth) = (header.xid, it.order(), it.auth.clone());
                it.pending.push_back(Pending::Write {
                    xid,
                    op,
                    arrived: self.now,
                    body: if op == OpCode::Sync { body.clone() } else { Bytes::new() },
                    answer: None,
                });
                let request = Request { session, xid, op, body, auth };
                self.for_core.push(Input::Request { client: self.client(it), request, order });
            }
            _ if it.pending.is_empty() => self.read(tree, it, &frame),
            _ => it.pending.push_back(Pending::Read(frame)),
        }
        Ok(())
    }
}

/// Bytes of a request header: xid and operation.
const REQUEST_HEADER_BYTES: usize = 8;

/// Whether the operation changes state or asks the leader: everything else is answered here.
fn is_for_core(op: OpCode) -> bool {
    matches!(
        op,
        OpCode::Create
            | OpCode::Create2
            | OpCode::CreateContainer
            | OpCode::CreateTtl
            | OpCode::Delete
            | OpCode::DeleteContainer
            | OpCode::SetData
            | OpCode::SetAcl
            | OpCode::Multi
            | OpCode::Reconfig
            | OpCode::CloseSession
            | OpCode::Sync
    )
}
