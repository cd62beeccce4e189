//! The tree itself: lookup, the primitive changes, freezing and sharing.
//!
//! Everything that changes a znode goes through `change_node`, `insert_node` or `remove_node`, so
//! that the digest can be kept beside the tree without ever being computed whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use jute::ErrorCode;
use jute::data::{Acl, StatPersisted, permission};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::acl::AclList;
use crate::acl_table::{self, AclTable, FrozenAcls};
use crate::digest;
use crate::node::{Owner, Znode};
use crate::node_map::NodeMap;
use crate::path;

/// The replicated state: znodes, sessions, and the zxid up to which they are current.
///
/// Changed only by [`apply`](DataTree::apply), apart from [`set_config`](DataTree::set_config).
pub struct DataTree {
    pub(crate) nodes: NodeMap,
    pub(crate) acls: AclTable,
    /// Timeout in milliseconds by session id.
    pub(crate) sessions: OrdMap<i64, i32>,
    /// Paths of the ephemerals by the session that owns them; no entry is empty.
    ephemerals: BTreeMap<i64, BTreeSet<Arc<str>>>,
    digest: u64,
    pub(crate) last_zxid: i64,
    data_size: u64,
    mark: u64,
}

/// Where a new znode comes from: a create transaction, or a snapshot.
pub(crate) struct NewNode<'a> {
    pub(crate) path: &'a str,
    pub(crate) data: Option<&'a [u8]>,
    pub(crate) acl: i64,
    pub(crate) stat: StatPersisted,
}

const ZERO_STAT: StatPersisted = StatPersisted {
    czxid: 0,
    mzxid: 0,
    ctime_ms: 0,
    mtime_ms: 0,
    version: 0,
    cversion: 0,
    aversion: 0,
    ephemeral_owner: 0,
    pzxid: 0,
};

impl DataTree {
    /// A tree of `/`, `/zookeeper`, `/zookeeper/quota` and `/zookeeper/config`, as every new
    /// server has it. `hash_seed` should be random per process: it keeps clients from choosing
    /// paths that collide. It never shows in any output.
    #[must_use]
    pub fn new(hash_seed: u64) -> Self {
        let mut tree = Self::empty(hash_seed);
        for path in [path::ROOT, path::ZOOKEEPER, path::QUOTA] {
            tree.insert_node(&NewNode {
                path,
                data: Some(b""),
                acl: acl_table::OPEN,
                stat: ZERO_STAT,
            });
        }
        tree.ensure_config_node();
        tree
    }

    /// A tree without even a root, to be filled from a snapshot.
    pub(crate) fn empty(hash_seed: u64) -> Self {
        Self {
            nodes: NodeMap::new(hash_seed),
            acls: AclTable::new(hash_seed),
            sessions: OrdMap::new(),
            ephemerals: BTreeMap::new(),
            digest: 0,
            last_zxid: 0,
            data_size: 0,
            mark: 0,
        }
    }

    /// Adds the configuration node where it is missing (data of servers before 3.5). The world may
    /// read it and only `super` may change it; the odd ACL version is that of Java.
    pub(crate) fn ensure_config_node(&mut self) {
        if self.nodes.get(path::ZOOKEEPER).is_some() && self.nodes.get(path::CONFIG).is_none() {
            let acl = AclList::from_wire(&[Acl { perms: permission::READ, ..Acl::OPEN }]);
            let acl = self.acls.add_use(acl);
            let stat = StatPersisted { aversion: -1, ..ZERO_STAT };
            self.insert_node(&NewNode { path: path::CONFIG, data: Some(b""), acl, stat });
        }
    }

    /// Writes the ensemble configuration into its node, which every server does for itself when it
    /// adopts a configuration; `version` is the zxid the configuration is named by. The node is
    /// outside the digest.
    pub fn set_config(&mut self, text: &[u8], version: i64, wall_ms: i64) {
        self.replace_data(path::CONFIG, Some(text), -1, version, wall_ms);
    }

    /// The znode at `path`. The empty path is an alias of the root.
    #[inline]
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Znode> {
        self.nodes.get(if path.is_empty() { path::ROOT } else { path })
    }

    /// The ACL of a znode of this tree.
    #[inline]
    #[must_use]
    pub fn acl(&self, node: &Znode) -> &AclList {
        self.acls.get(node.acl)
    }

    /// The newest transaction in the tree.
    #[must_use]
    pub const fn last_zxid(&self) -> i64 {
        self.last_zxid
    }

    /// What the owner of the tree has marked it with: whoever was told the same number may read it. Not part of the state.
    #[must_use]
    pub const fn mark(&self) -> u64 {
        self.mark
    }

    /// Marks the tree: see [`mark`](Self::mark).
    pub const fn set_mark(&mut self, mark: u64) {
        self.mark = mark;
    }

    /// The digest of the tree, in the bits that Java writes.
    #[must_use]
    pub const fn digest(&self) -> i64 {
        self.digest.cast_signed()
    }

    /// The number of znodes, the root counted once.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes of all paths and data, the root's path counted as empty.
    #[must_use]
    pub const fn data_size(&self) -> u64 {
        self.data_size
    }

    /// The number of ephemeral znodes.
    #[must_use]
    pub fn ephemeral_count(&self) -> usize {
        self.ephemerals.values().map(BTreeSet::len).sum()
    }

    /// The ephemerals of all sessions that own some, in order of session id and path.
    pub fn ephemerals(
        &self,
    ) -> impl Iterator<Item = (i64, impl ExactSizeIterator<Item = &str> + '_)> + '_ {
        self.ephemerals.iter().map(|(id, paths)| (*id, paths.iter().map(|path| &**path)))
    }

    /// The ephemerals of one session, in order.
    pub fn ephemerals_of(&self, session: i64) -> impl Iterator<Item = &Arc<str>> + '_ {
        self.ephemerals.get(&session).into_iter().flatten()
    }

    /// The timeout of a session in milliseconds, if the session exists.
    #[must_use]
    pub fn session_timeout_ms(&self, session: i64) -> Option<i32> {
        self.sessions.get(&session).copied()
    }

    /// All sessions with their timeouts in milliseconds, in order of id.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = (i64, i32)> + '_ {
        self.sessions.iter().map(|(id, timeout_ms)| (*id, *timeout_ms))
    }

    /// The state as it is now, for a snapshot. Takes time proportional to the number of chunks of
    /// the map of znodes (some 30 per 10⁶ znodes), copies no znode, and costs later writes a copy
    /// of what they touch.
    #[must_use]
    pub fn freeze(&self) -> FrozenTree {
        FrozenTree {
            nodes: self.nodes.clone(),
            acls: self.acls.freeze(),
            sessions: self.sessions.clone(),
            digest: self.digest(),
            last_zxid: self.last_zxid,
        }
    }

    /// Adds a znode below an existing parent (or the root) and returns it. Its ACL use must have
    /// been counted, its path must be free. The parent's Stat stays as it is.
    pub(crate) fn insert_node(&mut self, new: &NewNode<'_>) -> &Znode {
        let path: Arc<str> = new.path.into();
        let content_crc = digest::content_crc(new.path, new.data);
        let node = Znode {
            path: path.clone(),
            data: new.data.map(Arc::from),
            children: None,
            acl: new.acl,
            stat: new.stat,
            content_crc,
            term: digest::term(new.path, content_crc, &new.stat),
        };
        self.digest = digest::exchange(self.digest, 0, node.term);
        self.data_size += size_of_content(new.path, new.data);
        if let Owner::Session(session) = node.owner() {
            self.ephemerals.entry(session).or_default().insert(path.clone());
        }
        if let Some(parent) = path::parent(new.path) {
            let parent = self.nodes.get_mut(parent);
            parent.expect("the caller looked for the parent").add_child(path);
        }
        self.nodes.insert_new(node);
        self.nodes.get(new.path).expect("it was inserted just now")
    }

    /// Takes a znode out of the map and of its parent's children; its own children stay behind.
    pub(crate) fn remove_node(&mut self, path: &str) -> Option<Arc<Znode>> {
        let node = self.nodes.remove(path)?;
        self.digest = digest::exchange(self.digest, node.term, 0);
        self.data_size -= size_of_content(&node.path, node.data());
        self.acls.drop_use(node.acl);
        if let Owner::Session(session) = node.owner()
            && let Some(paths) = self.ephemerals.get_mut(&session)
        {
            paths.remove(path);
            if paths.is_empty() {
                self.ephemerals.remove(&session);
            }
        }
        if let Some(parent) = path::parent(path).and_then(|path| self.nodes.get_mut(path)) {
            parent.remove_child(path);
        }
        Some(node)
    }

    /// Changes the Stat of a znode and returns the znode.
    pub(crate) fn change_stat(
        &mut self,
        path: &str,
        change: impl FnOnce(&mut StatPersisted),
    ) -> Option<&Znode> {
        let node = self.nodes.get_mut(path)?;
        change(&mut node.stat);
        let (before, after) = node.renew_term();
        self.digest = digest::exchange(self.digest, before, after);
        Some(node)
    }

    /// Replaces the data of a znode and returns the znode.
    pub(crate) fn replace_data(
        &mut self,
        path: &str,
        data: Option<&[u8]>,
        version: i32,
        mzxid: i64,
        mtime_ms: i64,
    ) -> Option<&Znode> {
        let node = self.nodes.get_mut(path)?;
        self.data_size -= size_of_content(path, node.data());
        self.data_size += size_of_content(path, data);
        node.data = data.map(Arc::from);
        node.content_crc = digest::content_crc(path, data);
        node.stat.version = version;
        node.stat.mzxid = mzxid;
        node.stat.mtime_ms = mtime_ms;
        let (before, after) = node.renew_term();
        self.digest = digest::exchange(self.digest, before, after);
        Some(node)
    }

    /// Replaces the ACL of a znode; its ACL version is left to the caller.
    pub(crate) fn replace_acl(&mut self, path: &str, list: AclList) -> Result<(), ErrorCode> {
        let new = self.acls.add_use(list);
        match self.nodes.get_mut(path) {
            Some(node) => {
                let old = std::mem::replace(&mut node.acl, new);
                self.acls.drop_use(old);
                Ok(())
            }
            None => {
                self.acls.drop_use(new);
                Err(ErrorCode::NoNode)
            }
        }
    }
}

fn size_of_content(path: &str, data: Option<&[u8]>) -> u64 {
    let path = if path == path::ROOT { 0 } else { path.len() };
    (path + data.map_or(0, <[u8]>::len)) as u64
}

impl fmt::Debug for DataTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataTree")
            .field("last_zxid", &format_args!("{:#x}", self.last_zxid))
            .field("nodes", &self.nodes.len())
            .field("sessions", &self.sessions.len())
            .field("digest", &format_args!("{:#x}", self.digest))
            .finish_non_exhaustive()
    }
}

/// A [`DataTree`] as it was at one zxid, while the tree goes on. Clones are as cheap as freezing.
///
/// Dropping the last clone frees the copies that later writes made necessary: let that happen off
/// the thread that serves requests.
#[derive(Clone)]
pub struct FrozenTree {
    pub(crate) nodes: NodeMap,
    pub(crate) acls: FrozenAcls,
    pub(crate) sessions: OrdMap<i64, i32>,
    digest: i64,
    last_zxid: i64,
}

impl FrozenTree {
    /// The newest transaction in it.
    #[must_use]
    pub const fn last_zxid(&self) -> i64 {
        self.last_zxid
    }

    /// The digest of the tree at that transaction.
    #[must_use]
    pub const fn digest(&self) -> i64 {
        self.digest
    }

    /// The number of znodes.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }
}

impl fmt::Debug for FrozenTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrozenTree")
            .field("last_zxid", &format_args!("{:#x}", self.last_zxid))
            .field("nodes", &self.nodes.len())
            .finish_non_exhaustive()
    }
}

/// The tree as the threads of a server share it: the only lock in the server.
///
/// One thread writes, taking the lock once per batch of committed transactions; every I/O shard
/// reads, taking it once per batch of requests from a socket. So readers run in parallel, a batch
/// pays for one uncontended lock, and a read and the setting of its watch see one state. A
/// structure without any lock would have to pay per znode read (epochs, reference counts) what
/// this pays per batch.
#[derive(Clone, Debug)]
pub struct SharedTree(Arc<RwLock<DataTree>>);

impl SharedTree {
    /// Shares a tree.
    #[must_use]
    pub fn new(tree: DataTree) -> Self {
        Self(Arc::new(RwLock::new(tree)))
    }

    /// Access for one batch of reads. Do no I/O while holding it.
    pub fn read(&self) -> RwLockReadGuard<'_, DataTree> {
        self.0.read()
    }

    /// Access for one batch of transactions.
    pub fn write(&self) -> RwLockWriteGuard<'_, DataTree> {
        self.0.write()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_may_be_handed_to_other_threads() {
        fn is_shareable<T: Send + Sync>() {}
        is_shareable::<DataTree>();
        is_shareable::<FrozenTree>();
        is_shareable::<SharedTree>();
    }

    #[test]
    fn the_digest_kept_beside_the_configuration_node_ignores_it() {
        let mut tree = DataTree::new(1);
        tree.set_config(b"server.1=a:1:2:participant", 0x10_0000_0001, 5);
        let node = tree.get(path::CONFIG).unwrap();
        assert_eq!(node.data(), Some(&b"server.1=a:1:2:participant"[..]));
        assert_eq!((node.stat().mzxid, node.stat().version), (0x10_0000_0001, -1));
        assert_eq!((tree.digest(), tree.last_zxid()), (0x51c6_d660, 0));
    }
}
