//! What is decided and not yet applied, laid over the tree.
//!
//! The newest decided state of each changed znode and session, with the zxid that decided it. Once
//! that transaction is applied the tree shows the same, and the entry goes. The digest of the tree
//! as it will be is carried along, so that every transaction can name the digest it leads to.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use foldhash::quality::FixedState;
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

/// The newest decision about one path; no node: it is deleted.
#[derive(Clone, Debug)]
struct Decision {
    zxid: i64,
    node: Option<PendingNode>,
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
    Node(Arc<str>),
    Session(i64),
}

/// What was before a decision, to take it back.
#[derive(Debug)]
struct Undo {
    path: Arc<str>,
    before: Option<Decision>,
    digest: Option<u64>,
}

/// A point to which decisions can be taken back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    undo: usize,
    order: usize,
}

#[derive(Debug, Default)]
pub(super) struct Outstanding {
    nodes: HashMap<Arc<str>, Decision, FixedState>,
    sessions: HashMap<i64, SessionDecision, FixedState>,
    /// Ephemerals among `nodes`, by owner.
    owned: BTreeSet<(i64, Arc<str>)>,
    /// Every decision, in order of zxid.
    order: VecDeque<(i64, Subject)>,
    /// The digest after the last decision; absent when nothing is outstanding.
    digest: Option<u64>,
    undo: Vec<Undo>,
}

impl Outstanding {
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// The znode as it will be when all decided is applied.
    pub(super) fn node(&self, tree: &DataTree, path: &str) -> Option<Cow<'_, PendingNode>> {
        if let Some(decision) = self.nodes.get(path) {
            return decision.node.as_ref().map(Cow::Borrowed);
        }
        let node = tree.get(path)?;
        Some(Cow::Owned(PendingNode {
            stat: node.stat,
            num_children: node.num_children(),
            acl: tree.acl(node).clone(),
            content_crc: node.content_crc,
        }))
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
        let in_tree = tree.ephemerals_of(session).filter(|path| !self.nodes.contains_key(*path));
        pending.chain(in_tree).cloned().collect()
    }

    /// Notes what a znode will be after the transaction `zxid`; nothing: it will be deleted.
    pub(super) fn put(
        &mut self,
        tree: &DataTree,
        zxid: i64,
        path: &str,
        node: Option<PendingNode>,
    ) {
        let term = |node: Option<&PendingNode>| {
            node.map_or(0, |node| digest::term_of(path, node.content_crc, &node.stat))
        };
        let before = term(self.node(tree, path).as_deref());
        let digest = self.digest(tree).wrapping_sub(before).wrapping_add(term(node.as_ref()));
        let path: Arc<str> = match self.nodes.get_key_value(path) {
            Some((path, _)) => path.clone(),
            None => path.into(),
        };
        let before = self.replace(&path, Some(Decision { zxid, node }));
        self.undo.push(Undo { path: path.clone(), before, digest: self.digest });
        self.digest = Some(digest);
        self.order.push_back((zxid, Subject::Node(path)));
    }

    /// Notes that a session is created or closed by the transaction `zxid`.
    pub(super) fn put_session(&mut self, zxid: i64, session: i64, alive: bool) {
        self.sessions.insert(session, SessionDecision { zxid, alive });
        self.order.push_back((zxid, Subject::Session(session)));
    }

    /// Starts a group of decisions about znodes that may have to be taken back.
    pub(super) fn mark(&mut self) -> Mark {
        self.undo.clear();
        Mark { undo: 0, order: self.order.len() }
    }

    /// Takes back all decisions since `mark`.
    pub(super) fn take_back(&mut self, mark: Mark) {
        while self.undo.len() > mark.undo {
            let Some(Undo { path, before, digest }) = self.undo.pop() else {
                break;
            };
            self.replace(&path, before);
            self.digest = digest;
        }
        self.order.truncate(mark.order);
    }

    /// Forgets the decisions up to `zxid`: the tree shows them.
    pub(super) fn applied(&mut self, zxid: i64) {
        while let Some((decided, _)) = self.order.front()
            && *decided <= zxid
        {
            match self.order.pop_front() {
                Some((decided, Subject::Node(path))) => {
                    if self.nodes.get(&path).is_some_and(|it| it.zxid == decided) {
                        self.replace(&path, None);
                    }
                }
                Some((decided, Subject::Session(session))) => {
                    if self.sessions.get(&session).is_some_and(|it| it.zxid == decided) {
                        self.sessions.remove(&session);
                    }
                }
                None => break,
            }
        }
        if self.order.is_empty() {
            self.digest = None;
        }
        self.undo.clear();
    }

    fn replace(&mut self, path: &Arc<str>, decision: Option<Decision>) -> Option<Decision> {
        let session_of = |decision: &Option<Decision>| decision.as_ref()?.node.as_ref()?.session();
        let owner = session_of(&decision);
        let before = match decision {
            Some(decision) => self.nodes.insert(path.clone(), decision),
            None => self.nodes.remove(path),
        };
        if let Some(session) = session_of(&before) {
            self.owned.remove(&(session, path.clone()));
        }
        if let Some(session) = owner {
            self.owned.insert((session, path.clone()));
        }
        before
    }
}
