//! What a leader keeps for its clients and learners: session deadlines, proposals in flight, waiting `sync`s.

use std::collections::VecDeque;

use jute::OpCode;
use zab::{LinkId, Zxid};

use crate::request::{Client, Order, Origin, Request};
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
    /// How it stands to the reads before it.
    pub order: Order,
}

/// A leader's books. They begin empty with its term and are dropped with it.
#[derive(Debug)]
pub struct Leading {
    /// Deadlines of all sessions.
    pub tracker: SessionTracker,
    /// Proposals not delivered yet, in order of zxid.
    proposed: VecDeque<Proposed>,
    /// `sync`s of clients of this server, each due when the proposal before it is delivered.
    client_syncs: VecDeque<(Zxid, Client, i32)>,
    /// `sync`s of learners, each due right behind the COMMIT of the proposal before it, on the same link: the learner
    /// pairs it with the requests of the same session around it.
    learner_syncs: VecDeque<(Zxid, LinkId)>,
}

impl Leading {
    /// The books of a new term.
    #[must_use]
    pub fn new(tracker: SessionTracker) -> Self {
        Self {
            tracker,
            proposed: VecDeque::new(),
            client_syncs: VecDeque::new(),
            learner_syncs: VecDeque::new(),
        }
    }

    /// Remembers who waits for a proposal.
    pub fn propose(&mut self, zxid: Zxid, origin: Origin, order: Order, request: &Request) {
        let Request { xid, op, .. } = *request;
        self.proposed.push_back(Proposed { zxid, origin, xid, op, order });
    }

    /// Remembers a `sync` of a client of this server. Returns true when nothing is in flight, so that it is due at once.
    pub fn client_sync(&mut self, client: Client, xid: i32) -> bool {
        match self.proposed.back() {
            None => true,
            Some(last) => {
                self.client_syncs.push_back((last.zxid, client, xid));
                false
            }
        }
    }

    /// Remembers a `sync` of a learner; `committed` is the newest zxid whose COMMIT was sent. Returns true when that is
    /// the newest there is, so that it is due at once.
    pub fn learner_sync(&mut self, link: LinkId, committed: Zxid) -> bool {
        match self.proposed.back() {
            Some(last) if last.zxid > committed => {
                self.learner_syncs.push_back((last.zxid, link));
                false
            }
            _ => true,
        }
    }

    /// The client of this server whose reads must be answered before `zxid` is applied.
    #[must_use]
    pub fn reads_before(&self, zxid: Zxid) -> Option<Client> {
        match self.proposed.front()? {
            Proposed {
                origin: Origin::Client(client), order: Order::AfterReads, zxid: it, ..
            } if *it == zxid => Some(*client),
            _ => None,
        }
    }

    /// Takes out the waiter of the proposal delivered now.
    pub fn delivered(&mut self, zxid: Zxid) -> Option<Proposed> {
        let first = self.proposed.front()?;
        assert!(first.zxid >= zxid, "{zxid} is delivered after {}", first.zxid);
        if first.zxid == zxid { self.proposed.pop_front() } else { None }
    }

    /// Takes out the next `sync` of a client that is due after the delivery of `zxid`.
    pub fn due_client_sync(&mut self, zxid: Zxid) -> Option<(Client, i32)> {
        let due = self.client_syncs.pop_front_if(|(after, ..)| *after <= zxid);
        due.map(|(_, client, xid)| (client, xid))
    }

    /// Takes out the `sync`s of the learner behind `link` that are due after its COMMIT of `zxid`; how many they are.
    pub fn due_learner_syncs(&mut self, link: LinkId, zxid: Zxid) -> usize {
        let before = self.learner_syncs.len();
        self.learner_syncs.retain(|(after, it)| *it != link || *after > zxid);
        before - self.learner_syncs.len()
    }

    /// A link is down: nothing more is owed to it.
    pub fn forget_link(&mut self, link: LinkId) {
        self.learner_syncs.retain(|(_, it)| *it != link);
    }

    /// Proposals in flight.
    #[must_use]
    pub fn proposed_len(&self) -> usize {
        self.proposed.len()
    }
}
