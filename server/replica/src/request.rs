//! Requests of clients as the core sees them: who asked, for which session, and the raw body.
//!
//! The body stays in the bytes it came in. A learner forwards those bytes as they are, the leader decodes them once.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jute::OpCode;
use zab::LinkId;

/// The id of a client's session. Its first byte is the id of the server that made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub i64);

/// As ZooKeeper prints it: `0x` and lower-case hex.
impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The number of an I/O shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

/// One client connection of a shard. Never reused within a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A connection together with the shard that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client {
    /// The shard.
    pub shard: ShardId,
    /// The connection there.
    pub connection: ConnectionId,
}

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client connected to this server.
    Client(Client),
    /// A learner that forwarded it over this link.
    Learner(LinkId),
    /// This server itself: an expired session.
    Server,
}

/// What a connection has proved of its identity: (scheme, id) pairs, shared by its requests.
pub type AuthIds = Arc<[jute::OwnedId]>;

/// What must have happened before a write is applied, besides the writes before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Nothing.
    #[default]
    Free,
    /// The shard must have answered the session's reads that stand between this write and the one before it: a read
    /// never shows what its own session writes later.
    AfterReads,
}

/// A request that changes state, or `sync`.
#[derive(Clone, Debug)]
pub struct Request {
    /// The session it belongs to.
    pub session: SessionId,
    /// The client's number for it (`cxid` in transactions).
    pub xid: i32,
    /// What it asks for.
    pub op: OpCode,
    /// The record behind the request header, undecoded.
    pub body: Bytes,
    /// The identities it may act under.
    pub auth: AuthIds,
}

/// The first frame of a client connection.
#[derive(Clone, Debug)]
pub struct Connect {
    /// The timeout the client asks for, in milliseconds.
    pub timeout_ms: i32,
    /// 0 for a new session, else the session to resume.
    pub session: SessionId,
    /// The password of the session to resume.
    pub password: Bytes,
}
