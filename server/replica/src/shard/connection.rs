//! One client connection: where it is in its life, what it has proved, what it waits for, what it must be sent.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use jute::{OpCode, OwnedId};
use zab::Zxid;

use super::{Limits, Micros};
use crate::io::Outcome;
use crate::request::{AuthIds, ConnectionId, Order, SessionId};

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its first frame has not come.
    Fresh,
    /// The core decides about its session; nothing more is read until then.
    Handshaking(Answer),
    /// It has a session.
    Ready,
    /// It is closed once its output is out; nothing more is read.
    Closing,
}

/// The form of the connect response: older clients do not know the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// With the read-only byte.
    WithReadOnly,
    /// Without it.
    WithoutReadOnly,
}

/// A request that waits, in the order of arrival.
#[derive(Debug)]
pub(super) enum Pending {
    /// At the core.
    Write {
        /// The client's number.
        xid: i32,
        /// What it asked.
        op: OpCode,
        /// When it came.
        arrived: Micros,
        /// The record of a `sync`, which is also its answer; empty for the others.
        body: Bytes,
        /// The core's answer, when it came before it was its turn. Rare, so kept out of line.
        answer: Option<Box<(Zxid, Outcome)>>,
    },
    /// A read behind a write of its own session: the whole frame.
    Read(Bytes),
}

impl Pending {
    /// Whether the tree will differ after it.
    fn is_change(&self) -> bool {
        matches!(self, Self::Write { op, .. } if *op != OpCode::Sync)
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) state: State,
    /// Its session, once it has one.
    pub(super) session: Option<SessionId>,
    pub(super) auth: AuthIds,
    pub(super) pending: VecDeque<Pending>,
    pub(super) output: BytesMut,
    /// Whether it was heard of since the shard last reported that.
    pub(super) touched: bool,
    /// Whether the shell will be told to look at its output.
    pub(super) woken: bool,
    /// Frames received and sent, for status pages.
    pub(super) received: u64,
    pub(super) sent: u64,
    /// The newest zxid an answer had. Clients remember the last one they were told, and find a server that is at
    /// least as far: it must never go back.
    pub(super) told: i64,
}

impl Connection {
    /// A connection from `address`, which is its first identity (scheme `ip`).
    pub(super) fn new(id: ConnectionId, address: IpAddr) -> Self {
        let ip = OwnedId { scheme: "ip".to_owned(), id: address.to_canonical().to_string() };
        Self {
            id,
            state: State::Fresh,
            session: None,
            auth: Arc::from([ip]),
            pending: VecDeque::new(),
            output: BytesMut::new(),
            touched: false,
            woken: false,
            received: 0,
            sent: 0,
            told: 0,
        }
    }

    /// Lets the shell look at its output: its id is added to `woken`, once.
    pub(super) fn wake(&mut self, woken: &mut Vec<ConnectionId>) {
        if !std::mem::replace(&mut self.woken, true) {
            woken.push(self.id);
        }
    }

    /// Whether its next frame may be taken.
    pub(super) fn may_receive(&self, limits: &Limits) -> bool {
        match self.state {
            State::Fresh | State::Ready => {
                self.pending.len() < limits.pending_len_max
                    && self.output.len() < limits.output_bytes_max
            }
            State::Handshaking(_) | State::Closing => false,
        }
    }

    /// How a write that comes now stands to the reads before it: those behind the last write that changes something
    /// have to be answered before this one is applied.
    pub(super) fn order(&self) -> Order {
        let mut since = self.pending.iter().rev().take_while(|it| !it.is_change());
        match since.any(|it| matches!(it, Pending::Read(_))) {
            true => Order::AfterReads,
            false => Order::Free,
        }
    }

    /// Adds an identity it has proved.
    pub(super) fn add_identity(&mut self, id: OwnedId) {
        if !self.auth.contains(&id) {
            self.auth = self.auth.iter().cloned().chain([id]).collect();
        }
    }
}
