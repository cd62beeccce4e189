//! What a learner keeps for its clients: requests it forwarded, questions it asked, sessions it heard from.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jute::OpCode;
use zab::{LinkId, Zxid};

use crate::request::{Client, Connect, Order, SessionId};

/// A request on its way through the leader.
#[derive(Clone, Copy, Debug)]
pub struct Forwarded {
    /// Who asked.
    pub client: Client,
    /// The client's number for it.
    pub xid: i32,
    /// What was asked.
    pub op: OpCode,
    /// How it stands to the reads before it.
    pub order: Order,
    /// The end of the log when it was forwarded: its transaction comes later.
    pub after: Zxid,
}

impl Forwarded {
    /// Whether the committed transaction `zxid` of this session is what came of the request. A client that moves here may
    /// count its requests anew while one under the same xid is still on its way by the server it left: what was proposed
    /// before ours was forwarded is not ours.
    fn is_answered_by(&self, xid: i32, zxid: Zxid) -> bool {
        self.xid == xid && self.after < zxid
    }
}

/// A learner's books under one leader. They are dropped with the link to it.
#[derive(Debug)]
pub struct Learning {
    /// The link to the leader.
    pub link: LinkId,
    /// Forwarded writes, in order per session. The answer is the committed transaction with the same session and xid.
    forwarded: BTreeMap<SessionId, VecDeque<Forwarded>>,
    /// Forwarded `sync`s: the leader answers in order.
    syncs: VecDeque<(Client, i32)>,
    /// Answered `sync`s, each with what must be applied before the client is told.
    syncs_due: VecDeque<(Zxid, Client, i32)>,
    /// Asked revalidations: the leader answers in order.
    revalidations: VecDeque<(Client, Connect)>,
    /// Sessions heard since the last PING.
    touched: BTreeSet<SessionId>,
}

impl Learning {
    /// The books under the leader behind `link`.
    #[must_use]
    pub fn new(link: LinkId) -> Self {
        Self {
            link,
            forwarded: BTreeMap::new(),
            syncs: VecDeque::new(),
            syncs_due: VecDeque::new(),
            revalidations: VecDeque::new(),
            touched: BTreeSet::new(),
        }
    }

    /// Remembers a forwarded write.
    pub fn forward(&mut self, session: SessionId, forwarded: Forwarded) {
        self.forwarded.entry(session).or_default().push_back(forwarded);
    }

    /// The client whose reads must be answered before the transaction that answers its request is applied.
    #[must_use]
    pub fn reads_before(&self, session: SessionId, xid: i32, zxid: Zxid) -> Option<Client> {
        let first = self.forwarded.get(&session)?.front()?;
        (first.is_answered_by(xid, zxid) && first.order == Order::AfterReads)
            .then_some(first.client)
    }

    /// Takes out the request that a delivered transaction answers, if it is one of ours.
    ///
    /// The oldest request of the session is meant when the xid agrees; a session's own `closeSession` and the leader's (an
    /// expiry, xid 0) are told apart by it.
    pub fn answered(&mut self, session: SessionId, xid: i32, zxid: Zxid) -> Option<Forwarded> {
        let waiting = self.forwarded.get_mut(&session)?;
        let answered = waiting.pop_front_if(|first| first.is_answered_by(xid, zxid));
        if waiting.is_empty() {
            self.forwarded.remove(&session);
        }
        answered
    }

    /// Remembers a forwarded `sync`.
    pub fn sync(&mut self, client: Client, xid: i32) {
        self.syncs.push_back((client, xid));
    }

    /// The leader has answered the oldest `sync`: its client is told when `after` is applied.
    pub fn sync_is_due_after(&mut self, after: Zxid) {
        if let Some((client, xid)) = self.syncs.pop_front() {
            self.syncs_due.push_back((after, client, xid));
        }
    }

    /// Whether an answered `sync` waits for what must be applied before it.
    #[must_use]
    pub fn has_syncs_due(&self) -> bool {
        !self.syncs_due.is_empty()
    }

    /// Takes out the oldest answered `sync` that needs no more than `applied`.
    pub fn synced(&mut self, applied: Zxid) -> Option<(Client, i32)> {
        let due = self.syncs_due.pop_front_if(|(after, ..)| *after <= applied);
        due.map(|(_, client, xid)| (client, xid))
    }

    /// Remembers a question about a session.
    pub fn revalidate(&mut self, client: Client, connect: Connect) {
        self.revalidations.push_back((client, connect));
    }

    /// Takes out the oldest question, if it was about `session`.
    pub fn revalidated(&mut self, session: SessionId) -> Option<(Client, Connect)> {
        self.revalidations.pop_front_if(|(_, connect)| connect.session == session)
    }

    /// A session was heard of.
    pub fn touch(&mut self, session: SessionId) {
        self.touched.insert(session);
    }

    /// Takes out the sessions heard since the last call.
    pub fn take_touched(&mut self) -> BTreeSet<SessionId> {
        std::mem::take(&mut self.touched)
    }

    /// Whether nothing is on its way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.forwarded.is_empty()
    }

    /// Requests on their way.
    #[must_use]
    pub fn forwarded_len(&self) -> usize {
        self.forwarded.values().map(VecDeque::len).sum()
    }
}
