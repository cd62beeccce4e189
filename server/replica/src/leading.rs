//! What a leader keeps for its clients and learners: session deadlines, proposals in flight, waiting `sync`s.

use std::collections::VecDeque;

use jute::OpCode;
use zab::Zxid;

use crate::request::{Origin, Request};
use crate::session_tracker::SessionTracker;

/// A proposal whose commit somebody waits for.
#[derive(Clone, Copy, Debug)]
pub struct Proposed {
    /// Its zxid.
    pub zxid: Zxid,
    /// Who asked.
    pub origin: Origin,
    /// The client's number for it.
    pub xid: i32,
    /// What was asked.
    pub op: OpCode,
}

/// A leader's books. They begin empty with its term and are dropped with it.
#[derive(Debug)]
pub struct Leading {
    /// Deadlines of all sessions.
    pub tracker: SessionTracker,
    /// Proposals not delivered yet, in order of zxid.
    proposed: VecDeque<Proposed>,
    /// `sync`s, each due when the zxid before it is delivered.
    syncs: VecDeque<(Zxid, Origin, i32)>,
}

impl Leading {
    /// The books of a new term.
    #[must_use]
    pub fn new(tracker: SessionTracker) -> Self {
        Self { tracker, proposed: VecDeque::new(), syncs: VecDeque::new() }
    }

    /// Remembers who waits for a proposal.
    pub fn propose(&mut self, zxid: Zxid, origin: Origin, request: &Request) {
        let Request { xid, op, .. } = *request;
        self.proposed.push_back(Proposed { zxid, origin, xid, op });
    }

    /// Remembers a `sync`. Returns true when nothing is in flight, so that it is due at once.
    pub fn sync(&mut self, origin: Origin, xid: i32) -> bool {
        match self.proposed.back() {
            None => true,
            Some(last) => {
                self.syncs.push_back((last.zxid, origin, xid));
                false
            }
        }
    }

    /// Takes out the waiter of the proposal delivered now.
    pub fn delivered(&mut self, zxid: Zxid) -> Option<Proposed> {
        let first = self.proposed.front()?;
        assert!(first.zxid >= zxid, "{zxid} is delivered after {}", first.zxid);
        if first.zxid == zxid { self.proposed.pop_front() } else { None }
    }

    /// Takes out the next `sync` that is due after the delivery of `zxid`.
    pub fn due_sync(&mut self, zxid: Zxid) -> Option<(Origin, i32)> {
        let &(after, origin, xid) = self.syncs.front()?;
        if after > zxid {
            return None;
        }
        self.syncs.pop_front();
        Some((origin, xid))
    }

    /// Proposals in flight.
    #[must_use]
    pub fn proposed_len(&self) -> usize {
        self.proposed.len()
    }
}
