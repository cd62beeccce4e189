//! Watches of a shard's connections: setting, firing, and the requests about them.

use bytes::BytesMut;
use jute::event::{AddWatchMode, KeeperState, WatcherEvent, WatcherType};
use jute::request::{AddWatchRequest, SetWatches, SetWatches2, WatchesRequest, xid};
use jute::response::{ErrorResponse, ReplyHeader};
use jute::{Encode, ErrorCode, OpCode, Reader};
use tree::watch::Rearmed;
use tree::{Change, DataTree, WatchKind, WatcherId};

use super::Shard;
use super::books::Books;
use super::connection::Connection;
use super::reads::record;
use crate::request::ConnectionId;

/// The zxid in the header of events that are made up by setWatches, as Java gives it.
const MADE_UP_ZXID: i64 = -1;

/// A connection as the watch table names it.
pub(super) fn watcher(connection: ConnectionId) -> WatcherId {
    WatcherId(connection.0)
}

impl Shard {
    /// Tells the watchers of these changes.
    pub(super) fn fire(&mut self, changes: &[Change]) {
        let Self { books: Books { watches, woken, counters, .. }, connections, .. } = self;
        for change in changes {
            watches.fire(change, &mut |WatcherId(id), event| {
                let Some(it) = connections.get_mut(&ConnectionId(id)) else {
                    return;
                };
                if event.may_be_told_to(&it.auth) {
                    notify(&mut it.output, event.zxid, &event.to_wire());
                    counters.sent += 1;
                    it.sent += 1;
                    it.wake(woken);
                }
            });
        }
    }
}

impl Books {
    /// Sets a watch for a connection that was shown the tree at `zxid`.
    pub(super) fn watch(
        &mut self,
        kind: WatchKind,
        path: &str,
        connection: ConnectionId,
        zxid: i64,
    ) {
        self.watches.add(kind, path, watcher(connection), zxid);
    }

    /// Answers a request about watches.
    pub(super) fn watch_request(
        &mut self,
        tree: &DataTree,
        it: &mut Connection,
        xid: i32,
        op: OpCode,
        reader: &mut Reader<'_>,
    ) {
        let outcome = match op {
            OpCode::SetWatches => record(reader).map(|request: SetWatches<'_>| {
                let (persistent, persistent_recursive) = (Vec::new(), Vec::new());
                let SetWatches { relative_zxid, data, exist, child } = request;
                let all = SetWatches2 {
                    relative_zxid,
                    data,
                    exist,
                    child,
                    persistent,
                    persistent_recursive,
                };
                self.set_watches(tree, it, &all);
                None
            }),
            OpCode::SetWatches2 => record(reader).map(|request: SetWatches2<'_>| {
                self.set_watches(tree, it, &request);
                None
            }),
            OpCode::AddWatch => record(reader)
                .and_then(|request| self.add_watch(tree, it.id, &request))
                .map(|()| Some(ErrorResponse { err: 0 })),
            OpCode::RemoveWatches => record(reader)
                .and_then(|request| self.some_watches(it.id, &request, WatchTableUse::Remove))
                .map(|()| None),
            _ => record(reader)
                .and_then(|request| self.some_watches(it.id, &request, WatchTableUse::Check))
                .map(|()| None),
        };
        self.answer(it, xid, tree.last_zxid(), |_, out| {
            if let Some(body) = outcome? {
                body.encode(out);
            }
            Ok(())
        });
    }

    /// Re-arms the watches of a client that came back, or tells it what they missed.
    fn set_watches(&mut self, tree: &DataTree, it: &mut Connection, request: &SetWatches2<'_>) {
        let lists = tree::watch::SetWatches {
            relative_zxid: request.relative_zxid,
            data: &request.data,
            exist: &request.exist,
            child: &request.child,
            persistent: &request.persistent,
            persistent_recursive: &request.persistent_recursive,
        };
        for rearmed in lists.evaluate(tree) {
            match rearmed {
                Rearmed::Missed { event, path } => {
                    let event = WatcherEvent { event, state: KeeperState::SyncConnected, path };
                    notify(&mut it.output, MADE_UP_ZXID, &event);
                    self.count_sent(it);
                }
                Rearmed::Armed { kind, path } => {
                    self.watch(kind, path, it.id, tree.last_zxid());
                }
            }
        }
    }

    fn add_watch(
        &mut self,
        tree: &DataTree,
        connection: ConnectionId,
        request: &AddWatchRequest<'_>,
    ) -> Result<(), ErrorCode> {
        let kind = match AddWatchMode::from_code(request.mode) {
            Some(AddWatchMode::Persistent) => WatchKind::Persistent,
            Some(AddWatchMode::PersistentRecursive) => WatchKind::PersistentRecursive,
            None => return Err(ErrorCode::MarshallingError),
        };
        self.watch(kind, request.path, connection, tree.last_zxid());
        Ok(())
    }

    /// Removes the watches that are meant, or only looks whether there are any.
    fn some_watches(
        &mut self,
        connection: ConnectionId,
        request: &WatchesRequest<'_>,
        what: WatchTableUse,
    ) -> Result<(), ErrorCode> {
        let kinds: &[WatchKind] = match WatcherType::from_code(request.watcher_type) {
            Some(WatcherType::Children) => &[WatchKind::Child],
            Some(WatcherType::Data) => &[WatchKind::Data],
            Some(WatcherType::Persistent) => &[WatchKind::Persistent],
            Some(WatcherType::PersistentRecursive) => &[WatchKind::PersistentRecursive],
            Some(WatcherType::Any) => &[
                WatchKind::Child,
                WatchKind::Data,
                WatchKind::Persistent,
                WatchKind::PersistentRecursive,
            ],
            None => return Err(ErrorCode::MarshallingError),
        };
        let watcher = watcher(connection);
        let mut found = false;
        for kind in kinds {
            found |= match what {
                WatchTableUse::Check => self.watches.contains(*kind, request.path, watcher),
                WatchTableUse::Remove => self.watches.remove(*kind, request.path, watcher),
            };
        }
        if found { Ok(()) } else { Err(ErrorCode::NoWatcher) }
    }
}

/// What to do with the watches that are meant.
#[derive(Clone, Copy, Debug)]
enum WatchTableUse {
    Check,
    Remove,
}

fn notify(out: &mut BytesMut, zxid: i64, event: &WatcherEvent<'_>) {
    jute::frame::write(out, |out| {
        ReplyHeader { xid: xid::NOTIFICATION, zxid, err: 0 }.encode(out);
        event.encode(out);
    });
}
