//! One client connection: where it is in its life, what it has proved, what it waits for, what it must be sent.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use jute::{OpCode, OwnedId};
use zab::Zxid;

use super::Micros;
use crate::io::Outcome;
use crate::request::{AuthIds, SessionId};

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
        /// The core's answer, when it came before it was its turn.
        answer: Option<(Zxid, Outcome)>,
    },
    /// A read behind a write of its own session: the whole frame.
    Read(Bytes),
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) state: State,
    /// Its session, once it has one.
    pub(super) session: Option<SessionId>,
    pub(super) auth: AuthIds,
    pub(super) pending: VecDeque<Pending>,
    pub(super) output: BytesMut,
    /// Whether it was heard of since the shard last reported that.
    pub(super) touched: bool,
    /// The newest zxid an answer had. Clients remember the last one they were told, and find a server that is at
    /// least as far: it must never go back.
    pub(super) told: i64,
}

impl Connection {
    /// A connection from `address`, which is its first identity (scheme `ip`).
    pub(super) fn new(address: IpAddr) -> Self {
        let ip = OwnedId { scheme: "ip".to_owned(), id: address.to_canonical().to_string() };
        Self {
            state: State::Fresh,
            session: None,
            auth: Arc::from([ip]),
            pending: VecDeque::new(),
            output: BytesMut::new(),
            touched: false,
            told: 0,
        }
    }

    /// Adds an identity it has proved.
    pub(super) fn add_identity(&mut self, id: OwnedId) {
        if !self.auth.contains(&id) {
            self.auth = self.auth.iter().cloned().chain([id]).collect();
        }
    }
}
