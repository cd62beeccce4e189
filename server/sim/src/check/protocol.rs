//! The invariants of the protocol, under the names they have in its specifications.

use bytes::Bytes;
use zab::{Epoch, LinkId, Phase, Standing, Status, Zxid};

use super::{Check, name};
use crate::history::{Digests, EMPTY, NodeId};

impl Check {
    /// A process begins with what was recovered.
    pub(super) fn on_started(&mut self, host: usize, node: NodeId) {
        let chain = self.path(node);
        let server = &mut self.servers[host];
        server.applied = chain.len();
        server.chain = chain;
        server.restoring = 0;
    }

    /// A process ended.
    pub(crate) fn on_stopped(&mut self, host: usize) {
        let server = &mut self.servers[host];
        server.is_serving = false;
        server.leads = None;
        server.acked.clear();
        server.heard.clear();
        server.installing.clear();
        server.chain.clear();
        server.applied = 0;
        server.restoring = 0;
    }

    fn path(&self, mut node: NodeId) -> Vec<NodeId> {
        let mut path = Vec::with_capacity(self.histories.len(node));
        while node != EMPTY {
            path.push(node);
            node = self.histories.parent(node);
        }
        path.reverse();
        path
    }

    /// The core adds to its log.
    pub(crate) fn on_append(&mut self, host: usize, zxid: Zxid, payload: &Bytes) {
        let before = self.servers[host].tip();
        if !zxid.follows(self.histories.zxid(before)) {
            let what = format!("{} logs {zxid} after {}", name(host), self.histories.zxid(before));
            self.fail("LogWithoutGaps", what);
        }
        let node = self.histories.append(before, zxid, payload);
        self.servers[host].chain.push(node);
    }

    /// The core cuts its log.
    pub(crate) fn on_truncate(&mut self, host: usize, after: Zxid) {
        let Self { histories, servers, .. } = self;
        let server = &mut servers[host];
        server.chain.truncate(server.chain.partition_point(|node| histories.zxid(*node) <= after));
        server.restoring += 1;
        server.applied = server.applied.min(server.chain.len());
        if histories.zxid(server.tip()) != after {
            let what = format!("{} is to cut after {after}, which it does not have", name(host));
            self.fail("HistoryConsistency", what);
        }
    }

    /// The core replaces its log by the snapshot it received.
    pub(crate) fn on_install(&mut self, host: usize, zxid: Zxid) {
        let node = self.servers[host].incoming;
        let chain = self.path(node);
        let server = &mut self.servers[host];
        server.installing.push_back(node);
        server.chain = chain;
        server.applied = 0;
        server.restoring += 1;
        if self.histories.zxid(node) != zxid {
            let what = format!("{} takes a snapshot of {zxid} for another", name(host));
            self.fail("HistoryConsistency", what);
        }
    }

    /// The tree was rebuilt and ends with `last`.
    pub(crate) fn on_restored(&mut self, host: usize, last: Zxid) {
        let Self { histories, servers, .. } = self;
        let server = &mut servers[host];
        server.restoring = server.restoring.saturating_sub(1);
        if server.restoring > 0 {
            return;
        }
        server.applied = server.chain.partition_point(|node| histories.zxid(*node) <= last);
        if histories.zxid(server.in_tree()) != last {
            let what = format!("{} rebuilt a tree as of {last}, not in its log", name(host));
            self.fail("HistoryConsistency", what);
        }
    }

    /// A transaction was applied to the tree.
    pub(crate) fn on_applied(&mut self, host: usize, zxid: Zxid) {
        let server = &mut self.servers[host];
        let next = server.chain.get(server.applied).copied();
        let Some(node) = next.filter(|node| self.histories.zxid(*node) == zxid) else {
            let what = format!("{} applies {zxid}, which is not next in its log", name(host));
            return self.fail("TotalOrder", what);
        };
        server.applied += 1;
        if server.is_serving {
            self.commit(host, node);
        }
    }

    /// PrefixConsistency, and the growth of the committed log.
    fn commit(&mut self, host: usize, node: NodeId) {
        let len = self.histories.len(node);
        if let Some(known) = len.checked_sub(1).and_then(|position| self.committed.get(position)) {
            if *known != node {
                let (zxid, known) = (self.histories.zxid(node), self.histories.zxid(*known));
                let what = format!(
                    "transaction number {len} is {zxid} at {}, {known} elsewhere",
                    name(host)
                );
                self.fail("PrefixConsistency", what);
            }
            return;
        }
        if len > self.committed.len() + 1 {
            self.commit(host, self.histories.parent(node));
        }
        if node == EMPTY || self.violation().is_some() {
            return;
        }
        if self.histories.parent(node) != self.committed() {
            let what = format!("{} goes on after another history", name(host));
            return self.fail("PrefixConsistency", what);
        }
        self.committed.push(node);
        self.check_quorum("AckedIsDurableOnQuorum", || format!("{} applies it", name(host)));
        let (zxid, payload) = (self.histories.zxid(node), self.histories.payload(node).clone());
        match self.model.apply(zxid, &payload) {
            Ok(digests) => self.check_digests(host, node, digests),
            Err(what) => self.fail("Integrity", what),
        }
    }

    /// Equal digests at equal zxid: of the znodes and of the sessions.
    fn check_digests(&mut self, host: usize, node: NodeId, digests: Digests) {
        if let Err(known) = self.histories.check_digests(node, digests) {
            let zxid = self.histories.zxid(node);
            let what = format!("at {zxid} {} has {digests:x?}, another {known:x?}", name(host));
            self.fail("EqualDigests", what);
        }
    }

    /// A batch of inputs is carried out; this is the tree.
    pub(crate) fn on_tree(&mut self, host: usize, last: Zxid, digests: impl FnOnce() -> Digests) {
        let server = &self.servers[host];
        if server.restoring > 0 {
            return;
        }
        let node = server.in_tree();
        if self.histories.zxid(node) == last {
            self.check_digests(host, node, digests());
        } else {
            let zxid = self.histories.zxid(node);
            let what = format!("the tree of {} is as of {last}, not of {zxid}", name(host));
            self.fail("TotalOrder", what);
        }
    }

    /// The standing changed.
    pub(crate) fn on_standing(&mut self, host: usize, standing: Standing) {
        self.servers[host].is_serving = standing != Standing::Looking;
        if standing == Standing::Looking {
            return;
        }
        let node = self.servers[host].in_tree();
        self.commit(host, node);
        if let Standing::Following { leader, epoch, .. } = standing {
            let leader = &self.servers[leader.0 as usize - 1];
            let (theirs, ours) = (leader.tip(), self.servers[host].tip());
            if leader.leads == Some(epoch) && !self.histories.contains(theirs, ours) {
                let what = format!("{} follows with a log its leader does not have", name(host));
                self.fail("ProcessConsistency", what);
            }
        }
    }

    /// Leadership1, Leadership2 and LeaderLogCompleteness.
    pub(crate) fn on_status(&mut self, host: usize, status: &Status) {
        let established = matches!(status.phase, Phase::Synchronization | Phase::Broadcast);
        let leads =
            (status.leader == Some(status.id) && established).then_some(status.epochs.accepted);
        let before = std::mem::replace(&mut self.servers[host].leads, leads);
        let Some(epoch) = leads.filter(|_| leads != before) else {
            return;
        };
        let others = self.servers.iter().enumerate().filter(|(other, _)| *other != host);
        if let Some((other, _)) = others.into_iter().find(|(_, it)| it.leads == Some(epoch)) {
            let what = format!("{} and {} both lead epoch {epoch}", name(host), name(other));
            self.fail("Leadership1", what);
        }
        let first = *self.leaders.entry(epoch).or_insert(host);
        if first != host {
            let what = format!("{} and {} have led epoch {epoch}", name(first), name(host));
            self.fail("Leadership2", what);
        }
        // A late one, whose promises were overtaken by those to a later epoch, can commit nothing any more.
        let is_overtaken = self.leaders.last_key_value().is_some_and(|(last, _)| *last > epoch);
        if !is_overtaken && !self.histories.contains(self.servers[host].tip(), self.committed()) {
            let missing = self.histories.zxid(self.committed());
            let what = format!("{} leads epoch {epoch} and lacks committed {missing}", name(host));
            self.fail("LeaderLogCompleteness", what);
        }
    }

    /// AckConsistency: what is acknowledged is on the disk, and acknowledged in order.
    pub(crate) fn on_ack(&mut self, host: usize, link: LinkId, zxid: Zxid) {
        let disk = &self.servers[host].disk;
        let floor = disk.floor;
        if zxid.counter() == 0 {
            let tip = self.servers[host].tip();
            if !self.histories.contains(floor, tip) {
                let (durable, end) = (self.histories.zxid(floor), self.histories.zxid(tip));
                let what = format!(
                    "{} acks NEWLEADER of epoch {} with a log to {end}, durable to {durable}",
                    name(host),
                    zxid.epoch()
                );
                self.fail("AckConsistency", what);
            }
            return;
        }
        let durable = self.histories.up_to(floor, zxid);
        if self.histories.zxid(durable) != zxid {
            let floor = self.histories.zxid(floor);
            let what = format!("{} acks {zxid}, its disk holds {floor}", name(host));
            self.fail("AckConsistency", what);
        }
        let before = self.servers[host].acked.insert(link, zxid);
        if before.is_some_and(|before| !zxid.follows(before)) {
            let what = format!("{} acks {zxid} after {before:?}", name(host));
            self.fail("AckConsistency", what);
        }
    }

    /// The epoch a server leads in phase 2 or 3.
    pub(crate) fn leads(&self, host: usize) -> Option<Epoch> {
        self.servers[host].leads
    }
}
