//! What a client sends: the connect request, then request headers each with its record.

use crate::codec::Trailing;
use crate::data::Acl;
use crate::record::record;

/// Xids with a meaning of their own; requests of a client count up from 1.
pub mod xid {
    /// Reply header of a watch event.
    pub const NOTIFICATION: i32 = -1;
    /// Ping and its reply.
    pub const PING: i32 = -2;
    /// Auth request and its reply.
    pub const AUTH: i32 = -4;
    /// SetWatches, SetWatches2 and their replies.
    pub const SET_WATCHES: i32 = -8;
}

record! {
    /// The first frame of a connection; it has no request header.
    ConnectRequest<'a> {
        /// Always 0.
        protocol_version: i32,
        last_zxid_seen: i64,
        /// The session timeout asked for.
        timeout_ms: i32,
        /// 0 asks for a new session.
        session_id: i64,
        password: Option<&'a [u8]>,
        /// Absent from older clients. True: a read-only server is good enough.
        read_only: Trailing<bool>,
    }
}

record! {
    /// Stands before every request but the first. `op` stays a number: the server must be able
    /// to answer `Unimplemented` to those it does not know.
    #[derive(Copy)]
    RequestHeader { xid: i32, op: i32 }
}

record! {
    /// Create, Create2 and CreateContainer.
    CreateRequest<'a> {
        path: &'a str,
        data: Option<&'a [u8]>,
        /// Null and empty are both refused by the server, with `InvalidAcl`.
        acl: Option<Vec<Acl<'a>>>,
        /// A [`CreateMode`](crate::data::CreateMode) number.
        flags: i32,
    }
}

record! {
    /// CreateTtl.
    CreateTtlRequest<'a> {
        path: &'a str,
        data: Option<&'a [u8]>,
        acl: Option<Vec<Acl<'a>>>,
        flags: i32,
        ttl_ms: i64,
    }
}

record! {
    /// Delete; version -1 means any.
    DeleteRequest<'a> { path: &'a str, version: i32 }
}

record! {
    /// Exists, GetData, GetChildren and GetChildren2: a path and whether to set a watch.
    ReadRequest<'a> { path: &'a str, watch: bool }
}

record! {
    /// SetData; version -1 means any.
    SetDataRequest<'a> { path: &'a str, data: Option<&'a [u8]>, version: i32 }
}

record! {
    /// GetAcl, Sync, GetEphemerals (a prefix) and GetAllChildrenNumber: a path and nothing else.
    PathRequest<'a> { path: &'a str }
}

record! {
    /// SetAcl; `version` is that of the ACL, -1 means any.
    SetAclRequest<'a> { path: &'a str, acl: Option<Vec<Acl<'a>>>, version: i32 }
}

record! {
    /// Check, in a multi.
    CheckVersionRequest<'a> { path: &'a str, version: i32 }
}

record! {
    /// CheckWatches and RemoveWatches.
    WatchesRequest<'a> {
        path: &'a str,
        /// A [`WatcherType`](crate::event::WatcherType) number.
        watcher_type: i32,
    }
}

record! {
    /// AddWatch.
    AddWatchRequest<'a> {
        path: &'a str,
        /// An [`AddWatchMode`](crate::event::AddWatchMode) number.
        mode: i32,
    }
}

record! {
    /// SetWatches: one-shot watches to arm, or to fire if they missed something since a zxid.
    SetWatches<'a> {
        relative_zxid: i64,
        data: Vec<&'a str>,
        exist: Vec<&'a str>,
        child: Vec<&'a str>,
    }
}

record! {
    /// SetWatches2: the same with persistent watches.
    SetWatches2<'a> {
        relative_zxid: i64,
        data: Vec<&'a str>,
        exist: Vec<&'a str>,
        child: Vec<&'a str>,
        persistent: Vec<&'a str>,
        persistent_recursive: Vec<&'a str>,
    }
}

record! {
    /// Reconfig: either joining and leaving servers or all new members.
    ReconfigRequest<'a> {
        joining: Option<&'a str>,
        leaving: Option<&'a str>,
        new_members: Option<&'a str>,
        /// Version of the configuration this is a change of, -1 means any.
        current_config_id: i64,
    }
}

record! {
    /// Auth (xid -4).
    AuthPacket<'a> {
        /// Always 0.
        auth_type: i32,
        scheme: &'a str,
        auth: Option<&'a [u8]>,
    }
}

record! {
    /// Sasl, both directions.
    SaslToken<'a> { token: Option<&'a [u8]> }
}
