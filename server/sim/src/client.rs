//! A simulated client: real frames out, real frames in, and a memory of what it asked and was told.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use jute::codec::Encode;
use jute::data::{Acl, CreateMode};
use jute::multi::{MultiOp, MultiRequest};
use jute::request::{
    CheckVersionRequest, ConnectRequest, CreateRequest, DeleteRequest, PathRequest, ReadRequest,
    RequestHeader, SetDataRequest, SetWatches, xid,
};
use jute::{OpCode, Trailing};

use crate::check::Kind;
use crate::random::Random;
use crate::trace::Time;

/// What can happen to a client. Each concerns one attempt to be connected.
#[derive(Debug)]
pub(crate) enum ClientEvent {
    /// Time to do something.
    Wake,
    /// Bytes of the server.
    Bytes(Bytes),
    /// The server or the network ended the connection.
    Closed,
    /// The client looks whether the server is still there.
    Watchdog,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Create {
        path: String,
        data: String,
        mode: CreateMode,
        with_stat: bool,
    },
    Set {
        path: String,
        data: String,
    },
    Delete {
        path: String,
    },
    /// Creates and changes znodes, all or nothing.
    Multi {
        create: String,
        set: String,
        delete: Option<String>,
        data: String,
    },
    Get {
        path: String,
        watch: bool,
    },
    Exists {
        path: String,
        watch: bool,
    },
    Children {
        path: String,
        watch: bool,
    },
    Sync {
        path: String,
    },
    SetWatches,
    Ping,
    Close,
}

impl Request {
    pub(crate) fn op(&self) -> OpCode {
        match self {
            Self::Create { with_stat: false, .. } => OpCode::Create,
            Self::Create { with_stat: true, .. } => OpCode::Create2,
            Self::Set { .. } => OpCode::SetData,
            Self::Delete { .. } => OpCode::Delete,
            Self::Multi { .. } => OpCode::Multi,
            Self::Get { .. } => OpCode::GetData,
            Self::Exists { .. } => OpCode::Exists,
            Self::Children { .. } => OpCode::GetChildren2,
            Self::Sync { .. } => OpCode::Sync,
            Self::SetWatches => OpCode::SetWatches,
            Self::Ping => OpCode::Ping,
            Self::Close => OpCode::CloseSession,
        }
    }

    /// Whether it becomes a transaction.
    pub(crate) fn is_write(&self) -> bool {
        matches!(
            self,
            Self::Create { .. }
                | Self::Set { .. }
                | Self::Delete { .. }
                | Self::Multi { .. }
                | Self::Close
        )
    }
}

/// A request without an answer.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) xid: i32,
    pub(crate) request: Request,
    /// The newest zxid that any client had been told when this was sent.
    pub(crate) acknowledged: i64,
}

/// A watch the client counts on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Armed {
    /// The state it was set at.
    pub(crate) zxid: i64,
    /// Whether the znode was there.
    pub(crate) on_existing: bool,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Disconnected,
    Connecting,
    Ready,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) random: Random,
    pub(crate) state: State,
    /// Counts connections.
    pub(crate) attempt: u32,
    pub(crate) host: usize,
    pub(crate) session: Option<(i64, [u8; 16])>,
    /// The newest zxid an answer to this session had.
    pub(crate) seen: i64,
    /// The newest zxid a read of this session showed.
    pub(crate) read: i64,
    next_xid: i32,
    pub(crate) sent: VecDeque<Sent>,
    pub(crate) input: BytesMut,
    pub(crate) watches: BTreeMap<(Kind, String), Armed>,
    /// The server has not taken over the watches of the last connection yet.
    pub(crate) is_rearming: bool,
    pub(crate) heard_at: Time,
    /// The last arrivals: bytes come in order.
    pub(crate) to_server_at: Time,
    pub(crate) from_server_at: Time,
    /// Writes that were acknowledged, since the faults ended.
    pub(crate) acknowledged_since_heal: u64,
    values: u64,
}

/// Parents of what clients make; few, so that clients meet.
const PARENTS: [&str; 3] = ["/a", "/b", "/c"];

/// The most bytes of a value.
const VALUE_BYTES_MAX: u64 = 60;

impl Client {
    pub(crate) fn new(random: Random) -> Self {
        Self {
            random,
            state: State::Disconnected,
            attempt: 0,
            host: 0,
            session: None,
            seen: 0,
            read: 0,
            next_xid: 1,
            sent: VecDeque::new(),
            input: BytesMut::new(),
            watches: BTreeMap::new(),
            is_rearming: false,
            heard_at: 0,
            to_server_at: 0,
            from_server_at: 0,
            acknowledged_since_heal: 0,
            values: 0,
        }
    }

    /// Forgets a session that is over.
    pub(crate) fn forget_session(&mut self) {
        self.session = None;
        self.seen = 0;
        self.read = 0;
        self.watches.clear();
    }

    fn path(&mut self) -> String {
        let parent = self.random.pick(&PARENTS);
        match self.random.below(5) {
            0 => parent.to_owned(),
            _ => format!("{parent}/{}", self.random.pick(&["k", "l", "m", "n"])),
        }
    }

    fn value(&mut self, me: usize) -> String {
        self.values += 1;
        let padding = self.random.below(VALUE_BYTES_MAX) as usize;
        format!("{me}.{}{}", self.values, "-".repeat(padding))
    }

    /// What it asks next.
    pub(crate) fn draw(&mut self, me: usize) -> Request {
        let watch = self.random.one_in(4);
        match self.random.below(100) {
            0..15 => self.draw_create(me),
            15..40 => Request::Set { path: self.path(), data: self.value(me) },
            40..47 => Request::Delete { path: self.path() },
            47..52 => {
                let mine = format!("{}/x{me}", self.random.pick(&PARENTS));
                let delete = self.random.one_in(2).then(|| mine.clone());
                Request::Multi { create: mine, set: self.path(), delete, data: self.value(me) }
            }
            52..72 => Request::Get { path: self.path(), watch },
            72..82 => Request::Exists { path: self.path(), watch },
            82..94 => Request::Children { path: self.random.pick(&PARENTS).to_owned(), watch },
            94..97 => Request::Sync { path: "/a".to_owned() },
            97..99 => Request::Ping,
            _ if self.random.one_in(4) => Request::Close,
            _ => Request::Ping,
        }
    }

    fn draw_create(&mut self, me: usize) -> Request {
        let modes = [
            CreateMode::Persistent,
            CreateMode::Persistent,
            CreateMode::Ephemeral,
            CreateMode::EphemeralSequential,
            CreateMode::PersistentSequential,
        ];
        let mode = self.random.pick(&modes);
        let path = match mode {
            CreateMode::EphemeralSequential => format!("{}/s-", self.random.pick(&PARENTS)),
            // All below one parent: nobody deletes them.
            CreateMode::PersistentSequential if self.random.one_in(4) => "/c/p-".to_owned(),
            _ => self.path(),
        };
        // What others build on stays, and so few sequential znodes stay that lists remain short.
        let is_parent = PARENTS.contains(&path.as_str());
        let is_one_too_many = mode == CreateMode::PersistentSequential && path != "/c/p-";
        let mode = if is_parent || is_one_too_many { CreateMode::Persistent } else { mode };
        Request::Create { path, data: self.value(me), mode, with_stat: self.random.one_in(2) }
    }

    /// The first frame of a connection.
    pub(crate) fn connect_frame(&self, timeout_ms: i32, out: &mut BytesMut) {
        let (session_id, password) = self.session.unwrap_or_default();
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.seen,
            timeout_ms,
            session_id,
            password: Some(&password),
            read_only: Trailing(Some(false)),
        };
        jute::frame::write(out, |out| request.encode(out));
    }

    /// Adds a request to what is sent.
    pub(crate) fn ask(&mut self, request: Request, acknowledged: i64, out: &mut BytesMut) {
        let xid = match request {
            Request::Ping => xid::PING,
            Request::SetWatches => xid::SET_WATCHES,
            _ => {
                self.next_xid += 1;
                self.next_xid
            }
        };
        jute::frame::write(out, |out| {
            RequestHeader { xid, op: request.op().code() }.encode(out);
            self.encode_body(&request, out);
        });
        self.sent.push_back(Sent { xid, request, acknowledged });
    }

    fn encode_body(&self, request: &Request, out: &mut BytesMut) {
        match request {
            Request::Create { path, data, mode, .. } => create(path, data, *mode).encode(out),
            Request::Set { path, data } => set(path, data).encode(out),
            Request::Delete { path } => DeleteRequest { path, version: -1 }.encode(out),
            Request::Multi { create: path, set: other, delete, data } => {
                let mut ops = vec![
                    MultiOp::Create(create(path, data, CreateMode::Persistent)),
                    MultiOp::SetData(set(other, data)),
                    MultiOp::Check(CheckVersionRequest { path: other, version: -1 }),
                ];
                if let Some(path) = delete {
                    ops.push(MultiOp::Delete(DeleteRequest { path, version: 0 }));
                }
                MultiRequest { ops }.encode(out);
            }
            Request::Get { path, watch }
            | Request::Exists { path, watch }
            | Request::Children { path, watch } => {
                ReadRequest { path, watch: *watch }.encode(out);
            }
            Request::Sync { path } => PathRequest { path }.encode(out),
            Request::SetWatches => self.set_watches(out),
            Request::Ping | Request::Close => {}
        }
    }

    fn set_watches(&self, out: &mut BytesMut) {
        let of = |kind: Kind, on_existing: bool| {
            let meant = move |((k, _), armed): &(&(Kind, String), &Armed)| {
                *k == kind && armed.on_existing == on_existing
            };
            self.watches.iter().filter(meant).map(|((_, path), _)| path.as_str()).collect()
        };
        let request = SetWatches {
            relative_zxid: self.seen,
            data: of(Kind::Data, true),
            exist: of(Kind::Data, false),
            child: of(Kind::Children, true),
        };
        request.encode(out);
    }
}

fn create<'a>(path: &'a str, data: &'a str, mode: CreateMode) -> CreateRequest<'a> {
    let (data, acl) = (Some(data.as_bytes()), Some(vec![Acl::OPEN]));
    CreateRequest { path, data, acl, flags: mode.code() }
}

fn set<'a>(path: &'a str, data: &'a str) -> SetDataRequest<'a> {
    SetDataRequest { path, data: Some(data.as_bytes()), version: -1 }
}
