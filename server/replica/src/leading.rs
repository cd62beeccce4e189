//! What a leader keeps for its clients and learners: session deadlines, proposals in flight, waiting `sync`s.

use std::collections::VecDeque;

use jute::OpCode;
use zab::{LinkId, Zxid};

use crate::io::PeerMessage;
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

/// A message that goes right behind the COMMIT of `after`, on the same link.
///
/// SYNC: the learner pairs it with the requests of the session around it. REVALIDATE: a client that moved to the learner
/// gets no answer of a request it had in flight elsewhere.
#[derive(Debug)]
struct Owed {
    after: Zxid,
    link: LinkId,
    message: PeerMessage,
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
    /// What learners are to be told behind commits.
    owed: Vec<Owed>,
}

impl Leading {
    /// The books of a new term.
    #[must_use]
    pub fn new(tracker: SessionTracker) -> Self {
        Self { tracker, proposed: VecDeque::new(), client_syncs: VecDeque::new(), owed: Vec::new() }
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

    /// Remembers what a learner is to be told once all that is in flight now is committed; `committed` is the newest zxid
    /// whose COMMIT was sent. Gives the message back when nothing is in flight, so that it is due at once.
    pub fn owe(
        &mut self,
        link: LinkId,
        committed: Zxid,
        message: PeerMessage,
    ) -> Option<PeerMessage> {
        match self.proposed.back() {
            Some(last) if last.zxid > committed => {
                self.owed.push(Owed { after: last.zxid, link, message });
                None
            }
            _ => Some(message),
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

    /// Takes out what the learner behind `link` is to be told after its COMMIT of `zxid`, in order.
    pub fn due_to_learner(&mut self, link: LinkId, zxid: Zxid) -> Vec<PeerMessage> {
        if self.owed.is_empty() {
            return Vec::new();
        }
        let all = std::mem::take(&mut self.owed).into_iter();
        let (due, owed): (Vec<_>, _) = all.partition(|it| it.link == link && it.after <= zxid);
        self.owed = owed;
        due.into_iter().map(|it| it.message).collect()
    }

    /// A link is down: nothing more is owed to it.
    pub fn forget_link(&mut self, link: LinkId) {
        self.owed.retain(|it| it.link != link);
    }

    /// Proposals in flight.
    #[must_use]
    pub fn proposed_len(&self) -> usize {
        self.proposed.len()
    }
}
