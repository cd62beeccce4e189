//! client: a small ZooKeeper client for this project's own tests, tools, demo and operator.
//!
//! ```no_run
//! use client::{Acl, Client, Config, CreateMode, Watch};
//!
//! # async fn example() -> client::Result<()> {
//! let (client, mut events) = Client::connect(Config::new("127.0.0.1:2181")).await?;
//! client.create("/a", b"one", &[Acl::OPEN], CreateMode::Persistent).await?;
//! let (data, stat) = client.get_data("/a", Watch::Set).await?;
//! client.set_data("/a", b"two", stat.version).await?;
//! assert!(matches!(events.recv().await, Some(client::Event::Connected { .. })));
//! client.close().await
//! # }
//! ```
//!
//! Requests are sent in the order in which they are started, without waiting for answers. One that
//! is in flight when the connection breaks fails with [`Error::ConnectionLoss`] and is never sent
//! again: only the caller knows whether that is safe. The session moves to another server by
//! itself, and watches and identities with it.

mod config;
mod error;
mod event;
mod watches;

mod results;

mod call;
mod connection;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use jute::multi::{MultiOp, MultiRequest, MultiResponse};
use jute::request::{
    AuthPacket, CreateRequest, DeleteRequest, PathRequest, ReadRequest, ReconfigRequest,
    SetAclRequest, SetDataRequest,
};
use jute::response::{
    Create2Response, GetAclResponse, GetChildren2Response, GetDataResponse, ListResponse,
    PathResponse, StatResponse,
};
use jute::{Decode, Encode, OpCode};
use tokio::sync::{mpsc, watch};

pub use call::{Answer, Reply};
pub use config::{Config, Order, Session};
pub use error::{Error, Result};
pub use event::Event;
pub use jute::ErrorCode;
pub use jute::data::{Acl, CreateMode, Id, Stat, permission};
pub use jute::event::EventType;
pub use results::{MultiOutcome, OwnedAcl};

use call::{Call, Shared, State};
use connection::Task;
use watches::{Kind, Watches};

/// Whether a read leaves a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// It does not.
    No,
    /// The next change is told as [`Event::Watch`].
    Set,
}

/// A session with an ensemble. Clones share it. When the last one is dropped without
/// [`close`](Self::close), the connection ends and the session expires by itself.
#[derive(Clone, Debug)]
pub struct Client {
    calls: mpsc::UnboundedSender<Call>,
    shared: Arc<Shared>,
}

/// Events in the order in which they arrived. It may be dropped.
pub type Events = mpsc::UnboundedReceiver<Event>;

impl Client {
    /// Opens a session, or goes on with `config.session`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`Error::NotConnected`] in time, [`Error::SessionExpired`] for a session that is gone.
    ///
    /// # Panics
    /// When `config.servers` is empty.
    pub async fn connect(config: Config) -> Result<(Self, Events)> {
        assert!(!config.servers.is_empty(), "a client needs at least one server");
        let (calls, called) = mpsc::unbounded_channel();
        let (tell, events) = mpsc::unbounded_channel();
        let state = State::Connecting("no attempt ended yet".into());
        let shared =
            Arc::new(Shared { last_zxid: AtomicI64::new(0), session: watch::Sender::new(state) });
        let task = Task {
            servers: config.ordered_servers(),
            session_timeout: Duration::from_millis(u64::from(config.session_timeout_ms)),
            session: config.session,
            calls: called,
            events: tell,
            shared: Arc::clone(&shared),
            watches: Watches::default(),
            auth: Vec::new(),
        };
        tokio::spawn(task.run());
        let client = Self { calls, shared };
        client.connected(config.connect_timeout_ms, &config.servers).await?;
        Ok((client, events))
    }

    async fn connected(&self, timeout_ms: u64, servers: &[String]) -> Result<()> {
        let mut state = self.shared.session.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Connecting(_)));
        let patience = Duration::from_millis(timeout_ms);
        if tokio::time::timeout(patience, settled).await.is_ok() {
            return match &*self.shared.session.borrow() {
                State::Over(error) => Err(error.clone()),
                _ => Ok(()),
            };
        }
        let last = match &*self.shared.session.borrow() {
            State::Connecting(last) => last.clone(),
            _ => "connected too late".into(),
        };
        Err(Error::NotConnected { servers: servers.join(","), waited_ms: timeout_ms, last })
    }

    /// The session, while some server holds it.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        match *self.shared.session.borrow() {
            State::Connected(session) => Some(session),
            _ => None,
        }
    }

    /// The highest zxid in any answer so far: what this client has surely seen.
    #[must_use]
    pub fn last_zxid(&self) -> i64 {
        self.shared.last_zxid.load(Ordering::Relaxed)
    }

    /// Starts any request now; the future is its answer. While no server is connected it waits for
    /// the next attempt to connect, and fails with it.
    pub fn start(&self, op: OpCode, request: &impl Encode) -> Answer {
        self.start_call(op, request.to_bytes(), None)
    }

    fn start_call(&self, op: OpCode, body: Bytes, watch: Option<(Kind, String)>) -> Answer {
        call::start(&self.calls, &self.shared, op, body, watch)
    }

    fn read(&self, op: OpCode, kind: Kind, path: &str, watch: Watch) -> Answer {
        let request = ReadRequest { path, watch: watch == Watch::Set };
        let armed = (watch == Watch::Set).then(|| (kind, path.to_owned()));
        self.start_call(op, request.to_bytes(), armed)
    }

    /// Creates a znode; answers its path, with the counter of a sequential one.
    pub async fn create(
        &self,
        path: &str,
        data: &[u8],
        acl: &[Acl<'_>],
        mode: CreateMode,
    ) -> Result<String> {
        let reply = self.start(OpCode::Create, &create_request(path, data, acl, mode)).await?;
        Ok(PathResponse::decode_all(&reply.body)?.path.to_owned())
    }

    /// Creates a znode; answers its path and Stat.
    pub async fn create2(
        &self,
        path: &str,
        data: &[u8],
        acl: &[Acl<'_>],
        mode: CreateMode,
    ) -> Result<(String, Stat)> {
        let reply = self.start(OpCode::Create2, &create_request(path, data, acl, mode)).await?;
        let response = Create2Response::decode_all(&reply.body)?;
        Ok((response.path.to_owned(), response.stat))
    }

    /// Deletes a znode of this version, -1 for any.
    pub async fn delete(&self, path: &str, version: i32) -> Result<()> {
        self.start(OpCode::Delete, &DeleteRequest { path, version }).await.map(|_| ())
    }

    /// The Stat of a znode, `None` when there is none.
    pub async fn exists(&self, path: &str, watch: Watch) -> Result<Option<Stat>> {
        match self.read(OpCode::Exists, Kind::Data, path, watch).await {
            Ok(reply) => Ok(Some(StatResponse::decode_all(&reply.body)?.stat)),
            Err(Error::Zookeeper(ErrorCode::NoNode)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The data of a znode (`None`: null, which is not empty) and its Stat.
    pub async fn get_data(&self, path: &str, watch: Watch) -> Result<(Option<Bytes>, Stat)> {
        let reply = self.read(OpCode::GetData, Kind::Data, path, watch).await?;
        data_and_stat(&reply.body)
    }

    /// Replaces the data of a znode of this version, -1 for any.
    pub async fn set_data(&self, path: &str, data: &[u8], version: i32) -> Result<Stat> {
        let request = SetDataRequest { path, data: Some(data), version };
        let reply = self.start(OpCode::SetData, &request).await?;
        Ok(StatResponse::decode_all(&reply.body)?.stat)
    }

    /// The names of the children, in no particular order.
    pub async fn get_children(&self, path: &str, watch: Watch) -> Result<Vec<String>> {
        let reply = self.read(OpCode::GetChildren, Kind::Child, path, watch).await?;
        Ok(owned(&ListResponse::decode_all(&reply.body)?.items))
    }

    /// The names of the children, in no particular order, and the Stat of the parent.
    pub async fn get_children2(&self, path: &str, watch: Watch) -> Result<(Vec<String>, Stat)> {
        let reply = self.read(OpCode::GetChildren2, Kind::Child, path, watch).await?;
        let response = GetChildren2Response::decode_all(&reply.body)?;
        Ok((owned(&response.children), response.stat))
    }

    /// Waits until the server has applied all that the leader had committed before.
    pub async fn sync(&self, path: &str) -> Result<()> {
        self.start(OpCode::Sync, &PathRequest { path }).await.map(|_| ())
    }

    /// Carries out all of `ops` or none.
    ///
    /// # Errors
    /// [`Error::MultiFailed`] names the operation that could not be done.
    pub async fn multi(&self, ops: Vec<MultiOp<'_>>) -> Result<Vec<MultiOutcome>> {
        let reply = self.start(OpCode::Multi, &MultiRequest { ops }).await?;
        results::multi_outcomes(&MultiResponse::decode_all(&reply.body)?)
    }

    /// The ACL of a znode and its Stat.
    pub async fn get_acl(&self, path: &str) -> Result<(Vec<OwnedAcl>, Stat)> {
        let reply = self.start(OpCode::GetAcl, &PathRequest { path }).await?;
        let response = GetAclResponse::decode_all(&reply.body)?;
        Ok((response.acl.iter().map(OwnedAcl::from).collect(), response.stat))
    }

    /// Replaces the ACL of a znode with this ACL version, -1 for any.
    pub async fn set_acl(&self, path: &str, acl: &[Acl<'_>], version: i32) -> Result<Stat> {
        let request = SetAclRequest { path, acl: Some(acl.to_vec()), version };
        let reply = self.start(OpCode::SetAcl, &request).await?;
        Ok(StatResponse::decode_all(&reply.body)?.stat)
    }

    /// Adds an identity, here and on every later connection of this client.
    pub async fn add_auth(&self, scheme: &str, auth: &[u8]) -> Result<()> {
        let request = AuthPacket { auth_type: 0, scheme, auth: Some(auth) };
        self.start(OpCode::Auth, &request).await.map(|_| ())
    }

    /// Changes the membership; answers the new configuration text.
    pub async fn reconfig(&self, request: &ReconfigRequest<'_>) -> Result<(Option<Bytes>, Stat)> {
        let reply = self.start(OpCode::Reconfig, request).await?;
        data_and_stat(&reply.body)
    }

    /// Ends the session; its ephemeral znodes are gone when this returns.
    pub async fn close(&self) -> Result<()> {
        self.start_call(OpCode::CloseSession, Bytes::new(), None).await.map(|_| ())
    }
}

fn create_request<'a>(
    path: &'a str,
    data: &'a [u8],
    acl: &[Acl<'a>],
    mode: CreateMode,
) -> CreateRequest<'a> {
    CreateRequest { path, data: Some(data), acl: Some(acl.to_vec()), flags: mode.code() }
}

fn data_and_stat(body: &Bytes) -> Result<(Option<Bytes>, Stat)> {
    let response = GetDataResponse::decode_all(body)?;
    Ok((response.data.map(|data| body.slice_ref(data)), response.stat))
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}
