//! Histories of transactions as an outside observer knows them: a tree whose every path from the root is a history.
//!
//! A transaction with all that came before it has one number, its [`NodeId`]. Whether two servers have the same history
//! is then one comparison, and what a truncation leaves is an ancestor.

use std::collections::BTreeMap;

use bytes::Bytes;
use zab::Zxid;

use crate::trace::hash_bytes;

/// A history: its last transaction, and by that all before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(usize);

/// The history without any transaction.
pub(crate) const EMPTY: NodeId = NodeId(0);

/// The digests of a state: of its znodes, of its sessions.
pub(crate) type Digests = (i64, u64);

#[derive(Debug)]
struct Node {
    parent: NodeId,
    /// How many transactions the history has.
    len: usize,
    zxid: Zxid,
    payload: Bytes,
    /// What some server had after applying it.
    digests: Option<Digests>,
}

/// All histories there ever were.
#[derive(Debug)]
pub(crate) struct Histories {
    nodes: Vec<Node>,
    children: BTreeMap<(NodeId, Zxid, u64), NodeId>,
}

impl Histories {
    pub(crate) fn new() -> Self {
        let root =
            Node { parent: EMPTY, len: 0, zxid: Zxid::ZERO, payload: Bytes::new(), digests: None };
        Self { nodes: vec![root], children: BTreeMap::new() }
    }

    /// `before` with one more transaction.
    pub(crate) fn append(&mut self, before: NodeId, zxid: Zxid, payload: &Bytes) -> NodeId {
        let next = NodeId(self.nodes.len());
        let node = *self.children.entry((before, zxid, hash_bytes(payload))).or_insert(next);
        if node == next {
            let len = self.len(before) + 1;
            let payload = payload.clone();
            self.nodes.push(Node { parent: before, len, zxid, payload, digests: None });
        }
        node
    }

    pub(crate) fn len(&self, node: NodeId) -> usize {
        self.nodes[node.0].len
    }

    pub(crate) fn zxid(&self, node: NodeId) -> Zxid {
        self.nodes[node.0].zxid
    }

    pub(crate) fn parent(&self, node: NodeId) -> NodeId {
        self.nodes[node.0].parent
    }

    pub(crate) fn payload(&self, node: NodeId) -> &Bytes {
        &self.nodes[node.0].payload
    }

    /// What is left of a history without the transactions after `zxid`.
    pub(crate) fn up_to(&self, mut node: NodeId, zxid: Zxid) -> NodeId {
        while self.zxid(node) > zxid {
            node = self.parent(node);
        }
        node
    }

    /// Whether `node` begins with all of `prefix`.
    pub(crate) fn contains(&self, mut node: NodeId, prefix: NodeId) -> bool {
        while self.len(node) > self.len(prefix) {
            node = self.parent(node);
        }
        node == prefix
    }

    /// Remembers the digests of the state after this history; the others' when they are not the same.
    pub(crate) fn check_digests(&mut self, node: NodeId, digests: Digests) -> Result<(), Digests> {
        let known = *self.nodes[node.0].digests.get_or_insert(digests);
        if known == digests { Ok(()) } else { Err(known) }
    }
}
