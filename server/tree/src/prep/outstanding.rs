//! What is decided and not yet applied, laid over the tree.
//!
//! The newest decided state of each changed znode and session, with the zxid that decided it. Once
//! that transaction is applied the tree shows the same, and the entry goes. The digest of the tree
//! as it will be is carried along, so that every transaction can name the digest it leads to.
//!
//! A path is hashed once for a decision, with the hash of the tree: the same number finds it in the
//! tree, here, and here again when it goes.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use foldhash::quality::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use jute::data::StatPersisted;

use crate::acl::AclList;
use crate::digest;
use crate::node::Owner;
use crate::tree::DataTree;

/// What deciding needs to know of a znode.
#[derive(Clone, Debug)]
pub(super) struct PendingNode {
    pub(super) stat: StatPersisted,
    pub(super) num_children: i32,
    pub(super) acl: AclList,
    pub(super) content_crc: u32,
}

impl PendingNode {
    fn session(&self) -> Option<i64> {
        match Owner::from_persisted(self.stat.ephemeral_owner) {
            Owner::Session(session) => Some(session),
            Owner::Nobody | Owner::Container | Owner::Ttl { .. } => None,
        }
    }
}

/// A path and what will be there when all decided is applied.
#[derive(Debug)]
pub(super) struct Place<'p> {
    path: &'p str,
    hash: u64,
    /// The path as the tree or an earlier decision holds it.
    shared: Option<Arc<str>>,
    /// What the znode adds to the digest; 0 without one.
    term: u32,
    pub(super) node: Option<PendingNode>,
}

/// The newest decision about one path; no node: it is deleted.
#[derive(Clone, Debug)]
struct Decision {
    path: Arc<str>,
    hash: u64,
    zxid: i64,
    node: Option<PendingNode>,
    term: u32,
}

impl Decision {
    fn session(&self) -> Option<i64> {
        self.node.as_ref()?.session()
    }
}

/// Whether a session was created or closed last.
#[derive(Clone, Copy, Debug)]
struct SessionDecision {
    zxid: i64,
    alive: bool,
}

/// What a decision was about.
#[derive(Debug)]
enum Subject {
    Node { path: Arc<str>, hash: u64 },
    Session(i64),
}

/// What was before a decision, to take it back.
#[derive(Debug)]
struct Undo {
    path: Arc<str>,
    hash: u64,
    before: Option<Decision>,
    digest: Option<u64>,
}

/// Decisions about znodes that may have to be taken back.
#[derive(Debug)]
struct Group {
    undo: Vec<Undo>,
    /// Length of `order` before the first of them.
    order_len: usize,
}

#[derive(Debug, Default)]
pub(super) struct Outstanding {
    nodes: HashTable<Decision>,
    sessions: HashMap<i64, SessionDecision, FixedState>,
    /// Ephemerals among `nodes`, by owner.
    owned: BTreeSet<(i64, Arc<str>)>,
    /// Every decision, in order of zxid.
    order: VecDeque<(i64, Subject)>,
    /// The digest after the last decision; absent when nothing is outstanding.
    digest: Option<u64>,
    /// Present between `begin` and `keep` or `take_back`.
    group: Option<Group>,
}

impl Outstanding {
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// The znode as it will be when all decided is applied.
    pub(super) fn place<'p>(&self, tree: &DataTree, path: &'p str) -> Place<'p> {
        let hash = tree.nodes.hash(path);
        if let Some(decision) = self.nodes.find(hash, |it| *it.path == *path) {
            let shared = Some(decision.path.clone());
            return Place { path, hash, shared, term: decision.term, node: decision.node.clone() };
        }
        match tree.nodes.get_hashed(hash, path) {
            None => Place { path, hash, shared: None, term: 0, node: None },
            Some(node) => {
                let pending = PendingNode {
                    stat: node.stat,
                    num_children: node.num_children(),
                    acl: tree.acl(node).clone(),
                    content_crc: node.content_crc,
                };
                let shared = Some(node.path.clone());
                Place { path, hash, shared, term: node.term, node: Some(pending) }
            }
        }
    }

    /// The digest the tree will have.
    pub(super) fn digest(&self, tree: &DataTree) -> u64 {
        self.digest.unwrap_or(tree.digest().cast_unsigned())
    }

    pub(super) fn is_alive(&self, tree: &DataTree, session: i64) -> bool {
        match self.sessions.get(&session) {
            Some(decision) => decision.alive,
            None => tree.session_timeout_ms(session).is_some(),
        }
    }

    /// The paths that will belong to a session, in order.
    pub(super) fn ephemerals_of(&self, tree: &DataTree, session: i64) -> BTreeSet<Arc<str>> {
        let first: Arc<str> = Arc::from("");
        let pending = self.owned.range((session, first)..);
        let pending = pending.take_while(|(owner, _)| *owner == session).map(|(_, path)| path);
        let is_undecided = |path: &Arc<str>| {
            self.nodes.find(tree.nodes.hash(path), |it| it.path == *path).is_none()
        };
        let in_tree = tree.ephemerals_of(session).filter(|path| is_undecided(path));
        pending.chain(in_tree).cloned().collect()
    }

    /// Notes that the znode at `place` will be what it says there after the transaction `zxid`; no
    /// node: it will be deleted.
    pub(super) fn put(&mut self, tree: &DataTree, zxid: i64, place: Place<'_>) {
        let Place { path, hash, shared, term: before, node } = place;
        let term = node.as_ref().map_or(0, |node| digest::term(path, node.content_crc, &node.stat));
        let digest = digest::exchange(self.digest(tree), before, term);
        let path = shared.unwrap_or_else(|| path.into());
        let decision = Decision { path: path.clone(), hash, zxid, node, term };
        let before = self.replace(&path, hash, Some(decision));
        if let Some(group) = &mut self.group {
            group.undo.push(Undo { path: path.clone(), hash, before, digest: self.digest });
        }
        self.digest = Some(digest);
        self.order.push_back((zxid, Subject::Node { path, hash }));
    }

    /// Notes that a session is created or closed by the transaction `zxid`.
    pub(super) fn put_session(&mut self, zxid: i64, session: i64, alive: bool) {
        self.sessions.insert(session, SessionDecision { zxid, alive });
        self.order.push_back((zxid, Subject::Session(session)));
    }

    /// Starts a group of decisions about znodes that may have to be taken back.
    pub(super) fn begin(&mut self) {
        self.group = Some(Group { undo: Vec::new(), order_len: self.order.len() });
    }

    /// The group stands.
    pub(super) fn keep(&mut self) {
        self.group = None;
    }

    /// Takes back all decisions of the group.
    pub(super) fn take_back(&mut self) {
        let Some(group) = self.group.take() else { return };
        for Undo { path, hash, before, digest } in group.undo.into_iter().rev() {
            self.replace(&path, hash, before);
            self.digest = digest;
        }
        self.order.truncate(group.order_len);
    }

    /// Forgets the decisions up to `zxid`: the tree shows them.
    pub(super) fn applied(&mut self, zxid: i64) {
        while let Some((decided, subject)) = self.order.pop_front_if(|(it, _)| *it <= zxid) {
            match subject {
                Subject::Node { path, hash } => self.forget(&path, hash, decided),
                Subject::Session(session) => {
                    if self.sessions.get(&session).is_some_and(|it| it.zxid == decided) {
                        self.sessions.remove(&session);
                    }
                }
            }
        }
        if self.order.is_empty() {
            self.digest = None;
        }
    }

    /// Drops the decision that `zxid` made about a path, unless a later one has replaced it.
    fn forget(&mut self, path: &Arc<str>, hash: u64, zxid: i64) {
        let is_it = |it: &Decision| it.zxid == zxid && it.path == *path;
        if let Ok(entry) = self.nodes.find_entry(hash, is_it) {
            let (gone, _) = entry.remove();
            if let Some(session) = gone.session() {
                self.owned.remove(&(session, gone.path));
            }
        }
    }

    fn replace(
        &mut self,
        path: &Arc<str>,
        hash: u64,
        decision: Option<Decision>,
    ) -> Option<Decision> {
        let owner = decision.as_ref().and_then(Decision::session);
        let before = match self.nodes.entry(hash, |it| it.path == *path, |it| it.hash) {
            Entry::Occupied(mut entry) => Some(match decision {
                Some(decision) => std::mem::replace(entry.get_mut(), decision),
                None => entry.remove().0,
            }),
            Entry::Vacant(entry) => {
                if let Some(decision) = decision {
                    entry.insert(decision);
                }
                None
            }
        };
        if let Some(session) = before.as_ref().and_then(Decision::session) {
            self.owned.remove(&(session, path.clone()));
        }
        if let Some(session) = owner {
            self.owned.insert((session, path.clone()));
        }
        before
    }
}
