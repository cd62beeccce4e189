//! Watches of the connections of one I/O shard.
//!
//! A shard learns of changes some time after the tree shows them, without any lock between reading
//! and watching. So a watch remembers the zxid of the tree it was set on (the caller reads data and
//! zxid under one [`read`](crate::SharedTree::read)) and fires only for changes after it: no change
//! is missed, none that the client has already seen is told.
//!
//! As in ZooKeeper there are data and child watches, and a persistent watch counts as both. A
//! recursive watch is a data watch on all that is below: it never tells `NodeChildrenChanged`. A
//! change tells each watcher once per table; for a deletion, whoever was told by the data watches
//! is passed over by the child watches. A one-shot watch is used up even when the watcher may not
//! read the znode and so is not told.
//!
//! A path that nobody watches has no entry. A path with one watch, the most common, holds it
//! inline.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::quality::FixedState;
use hashbrown::HashMap;
use jute::OwnedId;
use jute::data::permission;
use jute::event::{EventType, KeeperState, WatcherEvent};

use crate::acl::AclList;
use crate::change::{Change, ChangeKind};
use crate::path;
use crate::tree::DataTree;

/// Who watches: a connection of the shard, named by the shard. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatcherId(pub u64);

/// The kinds of watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WatchKind {
    /// One-shot, set by getData and exists: creation, deletion, change of data.
    Data,
    /// One-shot, set by getChildren: deletion, change of the children.
    Child,
    /// Both of the above, until removed.
    Persistent,
    /// Creation, deletion and change of data of the znode and all below, until removed.
    PersistentRecursive,
}

impl WatchKind {
    const fn is_one_shot(self) -> bool {
        matches!(self, Self::Data | Self::Child)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// An event on its way to a watcher.
#[derive(Clone, Copy, Debug)]
pub struct WatchEvent<'a> {
    /// What happened.
    pub event: EventType,
    /// The path that is told: the znode of the change, or its parent.
    pub path: &'a str,
    /// The transaction; goes into the header of the notification.
    pub zxid: i64,
    acl: &'a AclList,
}

impl<'a> WatchEvent<'a> {
    /// True when a connection with these identities may be told. Ask before sending.
    #[must_use]
    pub fn may_be_told_to(&self, ids: &[OwnedId]) -> bool {
        self.acl.check(permission::READ, ids).is_ok()
    }

    /// The body of the notification.
    #[must_use]
    pub const fn to_wire(&self) -> WatcherEvent<'a> {
        WatcherEvent { event: self.event, state: KeeperState::SyncConnected, path: self.path }
    }
}

#[derive(Clone, Copy, Debug)]
struct Watch {
    watcher: WatcherId,
    kind: WatchKind,
    zxid: i64,
}

/// The watches on one path, by watcher and kind, with the zxid they were set at.
#[derive(Debug)]
enum Watches {
    One(Watch),
    Many(BTreeMap<(WatcherId, WatchKind), i64>),
}

impl Watches {
    fn insert(&mut self, watch: Watch) {
        match self {
            Self::One(first) => {
                let many = [*first, watch].map(|it| ((it.watcher, it.kind), it.zxid));
                *self = Self::Many(BTreeMap::from(many));
            }
            Self::Many(many) => {
                many.insert((watch.watcher, watch.kind), watch.zxid);
            }
        }
    }

    /// Removes a watch; true when none is left.
    fn remove(&mut self, watcher: WatcherId, kind: WatchKind) -> bool {
        match self {
            Self::One(watch) => watch.watcher == watcher && watch.kind == kind,
            Self::Many(many) => {
                many.remove(&(watcher, kind));
                many.is_empty()
            }
        }
    }

    fn for_each(&self, mut visit: impl FnMut(Watch)) {
        match self {
            Self::One(watch) => visit(*watch),
            Self::Many(many) => {
                for ((watcher, kind), zxid) in many {
                    visit(Watch { watcher: *watcher, kind: *kind, zxid: *zxid });
                }
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(many) => many.len(),
        }
    }
}

/// The watches of one shard.
#[derive(Debug, Default)]
pub struct WatchTable {
    paths: HashMap<Arc<str>, Watches, FixedState>,
    /// What each watcher watches: the kinds, as bits, by path.
    watchers: HashMap<WatcherId, HashMap<Arc<str>, u8, FixedState>, FixedState>,
    /// While there are none, ancestors need not be looked up.
    recursive: usize,
    /// Reused between events: who is told, and who was told by the data watches.
    told: Vec<Watch>,
}

impl WatchTable {
    /// No watches.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a watch. `zxid` is the last zxid of the tree that the watcher was shown: changes up to
    /// it are not told. A watch that is set already stays as it was, with its older zxid.
    pub fn add(&mut self, kind: WatchKind, path: &str, watcher: WatcherId, zxid: i64) {
        // The empty path is an alias of the root, and events name the root.
        let path = if path.is_empty() { path::ROOT } else { path };
        let shared = match self.paths.get_key_value(path) {
            Some((path, _)) => path.clone(),
            None => path.into(),
        };
        let kinds = self.watchers.entry(watcher).or_default().entry(shared.clone()).or_default();
        if *kinds & kind.bit() != 0 {
            return;
        }
        *kinds |= kind.bit();
        self.recursive += usize::from(kind == WatchKind::PersistentRecursive);
        let watch = Watch { watcher, kind, zxid };
        match self.paths.get_mut(path) {
            Some(watches) => watches.insert(watch),
            None => {
                self.paths.insert(shared, Watches::One(watch));
            }
        }
    }

    /// True when the watch is set.
    #[must_use]
    pub fn contains(&self, kind: WatchKind, path: &str, watcher: WatcherId) -> bool {
        let path = if path.is_empty() { path::ROOT } else { path };
        let kinds = self.watchers.get(&watcher).and_then(|paths| paths.get(path));
        kinds.is_some_and(|kinds| kinds & kind.bit() != 0)
    }

    /// Takes a watch back; false when it was not set.
    pub fn remove(&mut self, kind: WatchKind, path: &str, watcher: WatcherId) -> bool {
        let path = if path.is_empty() { path::ROOT } else { path };
        let found = self.contains(kind, path, watcher);
        if found {
            self.forget(kind, path, watcher);
        }
        found
    }

    /// Takes back all watches of a watcher, in time proportional to their number.
    pub fn remove_watcher(&mut self, watcher: WatcherId) {
        for (path, kinds) in self.watchers.remove(&watcher).into_iter().flatten() {
            for kind in KINDS {
                if kinds & kind.bit() != 0 {
                    self.forget_on_path(kind, &path, watcher);
                }
            }
        }
    }

    /// Tells the watchers of a change, in the order in which ZooKeeper does: the znode's data
    /// watches, its child watches, the parent's child watches. `tell` must ask
    /// [`WatchEvent::may_be_told_to`] before it sends.
    pub fn fire(&mut self, change: &Change, tell: &mut impl FnMut(WatcherId, WatchEvent<'_>)) {
        if self.paths.is_empty() {
            return;
        }
        let path = &*change.path;
        let event = |event, path, acl| WatchEvent { event, path, zxid: change.zxid, acl };
        match change.kind {
            ChangeKind::Created => {
                self.fire_data(event(EventType::NodeCreated, path, &change.acl), tell);
            }
            ChangeKind::DataChanged => {
                self.fire_data(event(EventType::NodeDataChanged, path, &change.acl), tell);
                return;
            }
            ChangeKind::Deleted => {
                let deleted = event(EventType::NodeDeleted, path, &change.acl);
                let told = self.fire_data(deleted, tell);
                self.fire_child(deleted, &told, tell);
            }
        }
        if let Some(parent) = path::parent(path) {
            let changed = event(EventType::NodeChildrenChanged, parent, &change.parent_acl);
            self.fire_child(changed, &BTreeSet::new(), tell);
        }
    }

    /// Tells the data watches of a znode and the recursive watches above it; returns who was told.
    fn fire_data(
        &mut self,
        event: WatchEvent<'_>,
        tell: &mut impl FnMut(WatcherId, WatchEvent<'_>),
    ) -> BTreeSet<WatcherId> {
        let mut due = std::mem::take(&mut self.told);
        self.collect(event.path, event.zxid, |kind| kind != WatchKind::Child, &mut due);
        if self.recursive > 0 {
            let recursive = |kind| kind == WatchKind::PersistentRecursive;
            for ancestor in path::ancestors(event.path) {
                self.collect(ancestor, event.zxid, recursive, &mut due);
            }
        }
        let told = due.iter().map(|watch| watch.watcher).collect::<BTreeSet<_>>();
        for watcher in &told {
            tell(*watcher, event);
        }
        self.use_up(event.path, due);
        told
    }

    /// Tells the child watches of a znode, except those who were told already.
    fn fire_child(
        &mut self,
        event: WatchEvent<'_>,
        told: &BTreeSet<WatcherId>,
        tell: &mut impl FnMut(WatcherId, WatchEvent<'_>),
    ) {
        let mut due = std::mem::take(&mut self.told);
        let is_child = |kind| matches!(kind, WatchKind::Child | WatchKind::Persistent);
        self.collect(event.path, event.zxid, is_child, &mut due);
        let mut last = None;
        for watch in &due {
            // One watcher's kinds lie side by side.
            if last != Some(watch.watcher) && !told.contains(&watch.watcher) {
                tell(watch.watcher, event);
            }
            last = Some(watch.watcher);
        }
        self.use_up(event.path, due);
    }

    fn collect(
        &self,
        path: &str,
        zxid: i64,
        counts: impl Fn(WatchKind) -> bool,
        due: &mut Vec<Watch>,
    ) {
        if let Some(watches) = self.paths.get(path) {
            watches.for_each(|watch| {
                if counts(watch.kind) && zxid > watch.zxid {
                    due.push(watch);
                }
            });
        }
    }

    fn use_up(&mut self, path: &str, mut due: Vec<Watch>) {
        for watch in due.drain(..) {
            if watch.kind.is_one_shot() {
                self.forget(watch.kind, path, watch.watcher);
            }
        }
        self.told = due;
    }

    fn forget(&mut self, kind: WatchKind, path: &str, watcher: WatcherId) {
        self.forget_on_path(kind, path, watcher);
        let Some(paths) = self.watchers.get_mut(&watcher) else {
            return;
        };
        if let Some(kinds) = paths.get_mut(path) {
            *kinds &= !kind.bit();
            if *kinds == 0 {
                paths.remove(path);
            }
        }
        if paths.is_empty() {
            self.watchers.remove(&watcher);
        }
    }

    fn forget_on_path(&mut self, kind: WatchKind, path: &str, watcher: WatcherId) {
        if let Some(watches) = self.paths.get_mut(path)
            && watches.remove(watcher, kind)
        {
            self.paths.remove(path);
        }
        self.recursive -= usize::from(kind == WatchKind::PersistentRecursive);
    }

    /// Watched paths.
    #[must_use]
    pub fn path_count(&self) -> usize {
        self.paths.len()
    }

    /// Watchers with a watch.
    #[must_use]
    pub fn watcher_count(&self) -> usize {
        self.watchers.len()
    }

    /// Watches. Takes time proportional to the number of paths.
    #[must_use]
    pub fn watch_count(&self) -> usize {
        self.paths.values().map(Watches::len).sum()
    }

    /// The paths that a watcher watches, in order.
    #[must_use]
    pub fn paths_of(&self, watcher: WatcherId) -> BTreeSet<&str> {
        let paths = self.watchers.get(&watcher);
        paths.into_iter().flat_map(|paths| paths.keys()).map(|path| &**path).collect()
    }
}

const KINDS: [WatchKind; 4] =
    [WatchKind::Data, WatchKind::Child, WatchKind::Persistent, WatchKind::PersistentRecursive];

/// The lists of setWatches and setWatches2: what a client watched on its last connection.
#[derive(Clone, Debug, Default)]
pub struct SetWatches<'a> {
    /// The newest zxid the client has seen; what happened after it is told at once.
    pub relative_zxid: i64,
    /// Data watches on znodes that existed.
    pub data: &'a [&'a str],
    /// Data watches on znodes that did not.
    pub exist: &'a [&'a str],
    /// Child watches.
    pub child: &'a [&'a str],
    /// Persistent watches; missed events are gone.
    pub persistent: &'a [&'a str],
    /// Persistent recursive watches; missed events are gone.
    pub persistent_recursive: &'a [&'a str],
}

/// What is to be done about one entry of [`SetWatches`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rearmed<'a> {
    /// The watch missed something: tell it now, with zxid -1 in the header, and do not set it.
    Missed {
        /// What the client is told.
        event: EventType,
        /// The path.
        path: &'a str,
    },
    /// Set the watch, at the tree's last zxid.
    Armed {
        /// Its kind.
        kind: WatchKind,
        /// The path.
        path: &'a str,
    },
}

impl<'a> SetWatches<'a> {
    /// Compares the watches with the tree, in the order of the lists. No ACL is checked, as in
    /// Java: the client had these watches before.
    pub fn evaluate<'t>(&'t self, tree: &'t DataTree) -> impl Iterator<Item = Rearmed<'a>> + 't {
        let since = self.relative_zxid;
        let data = self.data.iter().map(move |path| match tree.get(path) {
            None => Rearmed::Missed { event: EventType::NodeDeleted, path },
            Some(node) if node.persisted().mzxid > since => {
                Rearmed::Missed { event: EventType::NodeDataChanged, path }
            }
            Some(_) => Rearmed::Armed { kind: WatchKind::Data, path },
        });
        let exist = self.exist.iter().map(move |path| match tree.get(path) {
            Some(_) => Rearmed::Missed { event: EventType::NodeCreated, path },
            None => Rearmed::Armed { kind: WatchKind::Data, path },
        });
        let child = self.child.iter().map(move |path| match tree.get(path) {
            None => Rearmed::Missed { event: EventType::NodeDeleted, path },
            Some(node) if node.persisted().pzxid > since => {
                Rearmed::Missed { event: EventType::NodeChildrenChanged, path }
            }
            Some(_) => Rearmed::Armed { kind: WatchKind::Child, path },
        });
        let persistent =
            self.persistent.iter().map(|path| Rearmed::Armed { kind: WatchKind::Persistent, path });
        let recursive = self
            .persistent_recursive
            .iter()
            .map(|path| Rearmed::Armed { kind: WatchKind::PersistentRecursive, path });
        data.chain(exist).chain(child).chain(persistent).chain(recursive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WATCHER: WatcherId = WatcherId(1);

    fn change(zxid: i64, kind: ChangeKind, path: &str) -> Change {
        let (acl, parent_acl) = (AclList::OPEN, AclList::OPEN);
        Change { zxid, kind, path: path.into(), acl, parent_acl }
    }

    fn fired(table: &mut WatchTable, change: &Change) -> Vec<String> {
        let mut events = Vec::new();
        table.fire(change, &mut |watcher, event| {
            events.push(format!("{} {} {}", watcher.0, event.event, event.path));
        });
        events
    }

    #[test]
    fn a_change_that_the_watcher_was_shown_already_does_not_fire() {
        let mut table = WatchTable::new();
        table.add(WatchKind::Data, "/a", WATCHER, 7);
        table.add(WatchKind::PersistentRecursive, "/", WATCHER, 8);
        assert!(fired(&mut table, &change(7, ChangeKind::DataChanged, "/a")).is_empty());
        let event = fired(&mut table, &change(8, ChangeKind::DataChanged, "/a"));
        assert_eq!(event, ["1 NodeDataChanged /a"]);
        // The one-shot watch is used up; the recursive one sees what comes after its zxid.
        let event = fired(&mut table, &change(9, ChangeKind::Deleted, "/a"));
        assert_eq!(event, ["1 NodeDeleted /a"]);
        assert!(!table.contains(WatchKind::Data, "/a", WATCHER));
        assert!(table.contains(WatchKind::PersistentRecursive, "/", WATCHER));
    }

    #[test]
    fn setting_a_watch_again_loses_no_change_that_is_still_on_its_way() {
        let mut table = WatchTable::new();
        table.add(WatchKind::Child, "/a", WATCHER, 5);
        table.add(WatchKind::Child, "/a", WATCHER, 7);
        let event = fired(&mut table, &change(6, ChangeKind::Created, "/a/b"));
        assert_eq!(event, ["1 NodeChildrenChanged /a"]);
        assert!(fired(&mut table, &change(8, ChangeKind::Created, "/a/c")).is_empty());
    }

    #[test]
    fn nothing_is_kept_for_paths_and_watchers_without_watches() {
        let mut table = WatchTable::new();
        for watcher in (0..50).map(WatcherId) {
            for kind in KINDS {
                table.add(kind, "/a", watcher, 0);
                table.add(kind, "/b", watcher, 0);
            }
        }
        assert_eq!(table.watch_count(), 400);
        assert!(table.remove(WatchKind::Data, "/b", WatcherId(3)));
        assert!(!table.remove(WatchKind::Data, "/b", WatcherId(3)));
        assert_eq!(fired(&mut table, &change(1, ChangeKind::Deleted, "/a")).len(), 50);
        assert_eq!(table.watch_count(), 299);
        (0..50).map(WatcherId).for_each(|watcher| table.remove_watcher(watcher));
        let counts = (table.path_count(), table.watcher_count(), table.watch_count());
        assert_eq!((counts, table.recursive), ((0, 0, 0), 0));
    }
}
