//! The state as every committed transaction left it, so that each answer can be held against the state it claims to
//! show.
//!
//! An answer carries the zxid of the state it was read from. So no search is needed: it must be exactly what the model
//! had at that zxid.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jute::OpCode;
use jute::data::Stat;
use jute::txn::{Txn, TxnHeader};
use tree::{ApplyMode, Change, ChangeKind, DataTree};
use zab::Zxid;

use crate::history::Digests;

/// A znode as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) stat: Stat,
    pub(crate) children: Vec<String>,
}

/// What a watch waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The znode itself, there or not.
    Data,
    /// Its children.
    Children,
}

/// A committed transaction, as far as answers are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) zxid: i64,
    pub(crate) op: OpCode,
    pub(crate) failed: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Model {
    tree: DataTree,
    /// Every state of every path, with the zxid that made it; `None`: not there.
    states: BTreeMap<Arc<str>, Vec<(i64, Option<Seen>)>>,
    /// What watches are to be told of, by path, oldest first.
    changes: [BTreeMap<String, Vec<i64>>; 2],
    /// By session and xid. A client never uses an xid twice.
    committed: BTreeMap<(i64, i32), Committed>,
}

/// The digests of a tree: of its znodes, of its sessions.
pub(crate) fn digests(tree: &DataTree) -> Digests {
    let mut sessions = 0_u64;
    for (id, timeout_ms) in tree.sessions() {
        sessions = (sessions ^ id.cast_unsigned()).wrapping_mul(0x0000_0100_0000_01b3)
            ^ u64::from(timeout_ms.unsigned_abs());
    }
    (tree.digest(), sessions)
}

impl Model {
    pub(super) fn new(hash_seed: u64) -> Self {
        Self {
            tree: DataTree::new(hash_seed),
            states: BTreeMap::new(),
            changes: Default::default(),
            committed: BTreeMap::new(),
        }
    }

    /// Takes the next committed transaction; a sentence when it cannot be one.
    pub(super) fn apply(&mut self, zxid: Zxid, payload: &Bytes) -> Result<Digests, String> {
        let decoded = jute::txn::decode_log_payload(payload)
            .map_err(|error| format!("{zxid} was committed and cannot be read: {error}"))?;
        let (header, txn) = (decoded.header, decoded.txn);
        if header.zxid != zxid.0 {
            return Err(format!("{zxid} carries another zxid: {:#x}", header.zxid));
        }
        let mut changes = Vec::new();
        self.tree.apply(&header, &txn, ApplyMode::Live, &mut changes);
        for change in &changes {
            self.note(change);
        }
        self.check_sessions(&header)?;
        let failed = match &txn {
            Txn::Error { .. } => true,
            Txn::Multi(members) => members.iter().any(|it| matches!(it.txn, Txn::Error { .. })),
            _ => false,
        };
        let TxnHeader { client_id, cxid, op, .. } = header;
        let before =
            self.committed.insert((client_id, cxid), Committed { zxid: zxid.0, op, failed });
        if before.is_some() && cxid != 0 {
            return Err(format!("request {cxid} of session {client_id:#x} is committed twice"));
        }
        Ok(digests(&self.tree))
    }

    /// Ephemeral znodes exist if and only if their session does.
    fn check_sessions(&self, header: &TxnHeader) -> Result<(), String> {
        let session = header.client_id;
        let owns = self.tree.ephemerals_of(session).next();
        match owns {
            Some(path) if self.tree.session_timeout_ms(session).is_none() => {
                Err(format!("{path} outlives its session {session:#x}"))
            }
            _ => Ok(()),
        }
    }

    fn note(&mut self, change: &Change) {
        let path = &*change.path;
        let parent = match path.rfind('/') {
            Some(0) | None => "/",
            Some(end) => &path[..end],
        };
        self.remember(change.zxid, path);
        self.changed(Kind::Data, path, change.zxid);
        if change.kind == ChangeKind::DataChanged {
            return;
        }
        self.remember(change.zxid, parent);
        self.changed(Kind::Children, parent, change.zxid);
        if change.kind == ChangeKind::Deleted {
            self.changed(Kind::Children, path, change.zxid);
        }
    }

    fn changed(&mut self, kind: Kind, path: &str, zxid: i64) {
        self.changes[kind as usize].entry(path.to_owned()).or_default().push(zxid);
    }

    fn remember(&mut self, zxid: i64, path: &str) {
        let state = self.tree.get(path).map(|node| Seen {
            data: node.data().map(<[u8]>::to_vec),
            stat: node.stat(),
            children: node.children().map(str::to_owned).collect(),
        });
        let states = self.states.entry(Arc::from(path)).or_default();
        if states.last().is_some_and(|(last, _)| *last == zxid) {
            states.pop();
        }
        states.push((zxid, state));
    }

    /// The state of a path as of `zxid`; the outer `None` when nothing ever happened to it.
    pub(crate) fn at(&self, path: &str, zxid: i64) -> Option<Option<&Seen>> {
        let states = self.states.get(path)?;
        let position = states.partition_point(|(at, _)| *at <= zxid);
        Some(position.checked_sub(1).and_then(|position| states[position].1.as_ref()))
    }

    /// The first change after `zxid` that a watch on `path` is to be told of.
    pub(crate) fn change_after(&self, kind: Kind, path: &str, zxid: i64) -> Option<i64> {
        let changes = self.changes[kind as usize].get(path)?;
        changes.get(changes.partition_point(|at| *at <= zxid)).copied()
    }

    /// The committed transaction of a request.
    pub(crate) fn committed(&self, session: i64, xid: i32) -> Option<Committed> {
        self.committed.get(&(session, xid)).copied()
    }

    /// The newest committed zxid.
    pub(crate) fn last(&self) -> i64 {
        self.tree.last_zxid()
    }

    /// The state now.
    pub(crate) fn tree(&self) -> &DataTree {
        &self.tree
    }

    /// Every path that was ever there.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.states.keys().map(|path| path.to_string()).collect()
    }
}
