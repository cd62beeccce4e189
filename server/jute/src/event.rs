//! Watches: events, states, and the modes in which a watch can be set.

use crate::record::{numbers, record};

numbers! {
    /// What happened to a znode.
    EventType is "an event type" {
        /// The state of the session changed; no znode is meant.
        None = -1,
        /// It was created.
        NodeCreated = 1,
        /// It was deleted.
        NodeDeleted = 2,
        /// Its data were replaced.
        NodeDataChanged = 3,
        /// A child was created or deleted.
        NodeChildrenChanged = 4,
        /// Made up by client libraries, never sent.
        DataWatchRemoved = 5,
        /// Made up by client libraries, never sent.
        ChildWatchRemoved = 6,
        /// Made up by client libraries, never sent.
        PersistentWatchRemoved = 7,
    }
}

numbers! {
    /// The state of a session as an event reports it; servers send `SyncConnected` only.
    KeeperState is "a session state" {
        /// No connection.
        Disconnected = 0,
        /// Connected.
        SyncConnected = 3,
        /// Authentication failed.
        AuthFailed = 4,
        /// Connected to a read-only server.
        ConnectedReadOnly = 5,
        /// SASL succeeded.
        SaslAuthenticated = 6,
        /// The session was closed by this client.
        Closed = 7,
        /// The session is gone.
        Expired = -112,
    }
}

record! {
    /// The body of a notification (xid -1).
    WatcherEvent<'a> { event: EventType, state: KeeperState, path: &'a str }
}

numbers! {
    /// The mode of an AddWatch request.
    AddWatchMode is "an addWatch mode" {
        /// Fires for the znode and its children until removed.
        Persistent = 0,
        /// Fires for the whole subtree until removed.
        PersistentRecursive = 1,
    }
}

numbers! {
    /// Which watches CheckWatches and RemoveWatches mean.
    WatcherType is "a watcher type" {
        /// One-shot child watches.
        Children = 1,
        /// One-shot data and exist watches.
        Data = 2,
        /// Any watch.
        Any = 3,
        /// Persistent watches.
        Persistent = 4,
        /// Persistent recursive watches.
        PersistentRecursive = 5,
    }
}
