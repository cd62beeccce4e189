//! What the connections of a shard share: watches, limits, numbers, and what is to be passed on.
//!
//! Everything that concerns one connection is a method here that is handed the connection, found once per frame or
//! answer.

use tree::{DataTree, WatchTable};
use zab::Zxid;

use super::connection::{Connection, State};
use super::{Counters, Limits, Micros};
use crate::io::Input;
use crate::request::{Client, ConnectionId, ShardId};

#[derive(Debug)]
pub(super) struct Books {
    pub(super) id: ShardId,
    pub(super) limits: Limits,
    /// `user:hash` of the identity that may do everything.
    pub(super) super_digest: Option<String>,
    pub(super) watches: WatchTable,
    /// The newest transaction the core has told of.
    pub(super) seen: Zxid,
    pub(super) serving: bool,
    /// The mark of the trees that may be read while it serves.
    pub(super) mark: u64,
    /// Connections whose next request is a read that has to wait until the shard has heard of all the tree shows.
    pub(super) stuck: Vec<ConnectionId>,
    /// Connections heard of since that was last reported.
    pub(super) touched: Vec<ConnectionId>,
    pub(super) for_core: Vec<Input>,
    pub(super) woken: Vec<ConnectionId>,
    pub(super) counters: Counters,
    /// When the current call began.
    pub(super) now: Micros,
    /// How long the answered writes took, in microseconds, since that was last asked for.
    pub(super) waits_us: Vec<u64>,
}

impl Books {
    pub(super) fn new(id: ShardId, limits: Limits, super_digest: Option<String>) -> Self {
        Self {
            id,
            limits,
            super_digest,
            watches: WatchTable::new(),
            seen: Zxid::ZERO,
            serving: false,
            mark: 0,
            stuck: Vec::new(),
            touched: Vec::new(),
            for_core: Vec::new(),
            woken: Vec::new(),
            counters: Counters::default(),
            now: Micros::default(),
            waits_us: Vec::new(),
        }
    }

    /// A connection as the core names it.
    pub(super) fn client(&self, it: &Connection) -> Client {
        Client { shard: self.id, connection: it.id }
    }

    /// See [`Shard::may_read`](super::Shard::may_read).
    pub(super) fn may_read(&self, tree: &DataTree) -> bool {
        let is_told = self.watches.path_count() == 0 || self.seen >= Zxid(tree.last_zxid());
        // While it does not serve, no connection has a session to read for.
        !self.serving || (tree.mark() == self.mark && is_told)
    }

    /// A frame was added to the output of a connection.
    pub(super) fn count_sent(&mut self, it: &mut Connection) {
        self.counters.sent += 1;
        it.sent += 1;
    }

    /// Lets the shell look at the output of a connection.
    pub(super) fn wake(&mut self, it: &mut Connection) {
        it.wake(&mut self.woken);
    }

    /// Ends a connection once its output is written.
    pub(super) fn close(&mut self, it: &mut Connection) {
        it.state = State::Closing;
        it.pending.clear();
        self.wake(it);
    }
}
