//! The connections on which servers elect, by the rules of ZooKeeper's `QuorumCnxManager`.
//!
//! - A pair of servers has one connection, and keeps it only if the one with the larger id dialed it. The other one
//!   may dial too, but says hello, hangs up, and is dialed back: so a restarted server is noticed at once.
//! - Only the newest message to a server matters. One that was not sent yet is replaced, and the last one sent is
//!   sent again on a new connection; receivers are idempotent.
//! - A pair that has no connection keeps trying: soon at first, then every two seconds, and at once when there is
//!   something to say. Names are resolved for every dial.
//! - Servers that are not in the configuration are refused.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use jute::codec::Encode;
use jute::election::{HELLO_ADDRESS_LIMIT, Hello};
use jute::frame::{self, ELECTION_FRAME_LIMIT};
use jute::{Decode, Reader};
use replica::Input;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{sleep, timeout};
use zab::{Notification, ServerId};

use crate::config::{HostPort, Member};
use crate::core_sink::CoreSink;
use crate::peers::net::{self, Backoff};
use crate::peers::wire;

/// Connections that may be saying hello at a time: more than an ensemble has members that could start at once, few
/// enough not to use up the file descriptors.
const GREETING_MAX: usize = 256;

/// A connection younger than this is not given up for a hello that was probably sent before it came about.
const SETTLED_AFTER: Duration = Duration::from_millis(500);

/// Ids of strangers that are named in the log, each once.
const STRANGERS_NAMED_MAX: usize = 64;

/// What the links need to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This server.
    pub me: ServerId,
    /// All members, this one included.
    pub members: BTreeMap<ServerId, Member>,
    /// The configuration text that goes with every notification.
    pub config_text: String,
    /// How long a dial, and a hello, may take; also the silence after which a connection is given up.
    pub connect_timeout: Duration,
}

/// The links to all other members. Cheap to clone.
#[derive(Clone)]
pub struct ElectionLinks {
    shared: Rc<Shared>,
}

struct Shared {
    settings: Settings,
    hello: Bytes,
    peers: BTreeMap<ServerId, Peer>,
    strangers: RefCell<BTreeSet<i64>>,
}

/// One other member.
struct Peer {
    id: ServerId,
    address: HostPort,
    /// The newest message, not yet sent.
    pending: RefCell<Option<Bytes>>,
    /// The last message sent, for the next connection.
    last: RefCell<Option<Bytes>>,
    /// Rung when `pending` is filled.
    to_send: Notify,
    /// Rung to dial without waiting any longer.
    dial_now: Notify,
    /// Rung when a connection ended.
    disconnected: Notify,
    connection: RefCell<Option<Connection>>,
    /// Whether the last connection carried a message: the other side is there and speaks our language.
    heard: Cell<bool>,
}

struct Connection {
    since: Instant,
    task: AbortHandle,
}

impl ElectionLinks {
    /// Starts to accept on `listener` and to dial the other members. Within a `LocalSet`.
    ///
    /// # Panics
    /// When this server is not a member.
    pub fn start(settings: Settings, listener: TcpListener, sink: impl CoreSink) -> Self {
        let own = settings.members.get(&settings.me).expect("the configuration has our own line");
        let mut hello = BytesMut::new();
        let address = own.election_address().to_string();
        let server_id = settings.me.0.cast_signed();
        Hello { server_id, addresses: vec![&address] }.encode(&mut hello);
        let others = settings.members.iter().filter(|(id, _)| **id != settings.me);
        let peers = others.map(|(id, member)| (*id, Peer::new(*id, member))).collect();
        let strangers = RefCell::default();
        let shared = Rc::new(Shared { settings, hello: hello.freeze(), peers, strangers });
        spawn_local(accept(Rc::clone(&shared), listener, sink.clone()));
        for id in shared.peers.keys() {
            spawn_local(keep(Rc::clone(&shared), *id, sink.clone()));
        }
        Self { shared }
    }

    /// Sends `notification` to `to`, in place of any that was not sent yet. Nothing happens for unknown servers.
    pub fn notify(&self, to: ServerId, notification: &Notification) {
        let Some(peer) = self.shared.peers.get(&to) else { return };
        let message = wire::encode_notification(notification, &self.shared.settings.config_text);
        peer.pending.replace(Some(message));
        if peer.connection.borrow().is_some() {
            peer.to_send.notify_one();
        } else {
            peer.dial_now.notify_one();
        }
    }
}

impl Peer {
    fn new(id: ServerId, member: &Member) -> Self {
        Self {
            id,
            address: member.election_address(),
            pending: RefCell::default(),
            last: RefCell::default(),
            to_send: Notify::new(),
            dial_now: Notify::new(),
            disconnected: Notify::new(),
            connection: RefCell::default(),
            heard: Cell::new(false),
        }
    }

    fn is_connected(&self) -> bool {
        self.connection.borrow().is_some()
    }

    /// Drops the connection, if there is one.
    fn disconnect(&self) {
        if let Some(connection) = self.connection.take() {
            connection.task.abort();
            self.disconnected.notify_one();
        }
    }
}

/// Accepts connections for ever.
async fn accept(shared: Rc<Shared>, listener: TcpListener, sink: impl CoreSink) {
    let greeting = Arc::new(Semaphore::new(GREETING_MAX));
    loop {
        let permit = Arc::clone(&greeting).acquire_owned().await.expect("it is never closed");
        match listener.accept().await {
            Ok((stream, from)) => {
                let (shared, sink) = (Rc::clone(&shared), sink.clone());
                spawn_local(async move {
                    match welcome(&shared, stream, sink).await {
                        Ok(()) => {}
                        // A server that stops, or a probe of the port: nothing was said, nothing is wrong.
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                            tracing::debug!(%from, %error, "election connection ended");
                        }
                        Err(error) => {
                            tracing::warn!(%from, %error, "election connection refused");
                        }
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept election connections");
                sleep(Backoff::FIRST).await;
            }
        }
    }
}

/// Reads the hello of a new connection and keeps, answers or refuses it.
async fn welcome(
    shared: &Rc<Shared>,
    mut stream: TcpStream,
    sink: impl CoreSink,
) -> io::Result<()> {
    let limit = shared.settings.connect_timeout;
    net::prepare(&stream, limit)?;
    let hello = timeout(limit, read_hello(&mut stream))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no hello in time"))??;
    let hello = Hello::decode_all(&hello).map_err(invalid)?;
    let id = ServerId(hello.server_id.cast_unsigned());
    if id == shared.settings.me {
        return Ok(());
    }
    let Some(peer) = shared.peers.get(&id) else {
        let mut strangers = shared.strangers.borrow_mut();
        if strangers.len() < STRANGERS_NAMED_MAX && strangers.insert(hello.server_id) {
            return Err(invalid(format!("server {id} is not in the configuration")));
        }
        return Ok(());
    };
    if id > shared.settings.me {
        connect(shared, peer, stream, sink);
        return Ok(());
    }
    // It has no connection, or lost the one we still believe in: we are the one to dial.
    let settled = |it: &Connection| it.since.elapsed() >= SETTLED_AFTER;
    if peer.connection.borrow().as_ref().is_none_or(settled) {
        peer.disconnect();
        peer.dial_now.notify_one();
    }
    Ok(())
}

/// The bytes of one hello and not one more, in however many pieces they come.
async fn read_hello(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 8];
    stream.read_exact(&mut bytes).await?;
    let first = i64::decode_all(&bytes).map_err(invalid)?;
    if first >= 0 {
        return Ok(bytes);
    }
    bytes.resize(20, 0);
    stream.read_exact(&mut bytes[8..]).await?;
    let length = i32::decode(&mut Reader::new(&bytes[16..])).map_err(invalid)?;
    // A length that is out of bounds is for the decoder to name.
    let length = usize::try_from(length).ok().filter(|length| *length <= HELLO_ADDRESS_LIMIT);
    bytes.resize(20 + length.unwrap_or(0), 0);
    stream.read_exact(&mut bytes[20..]).await?;
    Ok(bytes)
}

/// Dials one other member whenever there is no connection to it.
async fn keep(shared: Rc<Shared>, id: ServerId, sink: impl CoreSink) {
    let peer = &shared.peers[&id];
    let mut backoff = Backoff::new();
    let mut outage_logged = false;
    loop {
        if let Err(error) = reach(&shared, peer, &sink).await {
            if outage_logged {
                tracing::debug!(server = %id, %error, "still cannot reach");
            } else {
                tracing::info!(server = %id, %error, "cannot reach; trying on");
                outage_logged = true;
            }
        }
        while peer.is_connected() {
            peer.disconnected.notified().await;
        }
        if peer.heard.replace(false) {
            // It was there a moment ago.
            (backoff, outage_logged) = (Backoff::new(), false);
            if shared.settings.me > id {
                continue;
            }
            // It dials too, if it noticed: a Java server gives up the connection it has just made for a hello of ours.
        }
        // A connection that carried nothing counts as a failure: a server that does not know us hangs up at once.
        tokio::select! {
            () = sleep(backoff.next_pause()) => {}
            () = peer.dial_now.notified() => {}
        }
    }
}

/// Dials and says hello; keeps the connection if we are the one to keep it.
async fn reach(shared: &Rc<Shared>, peer: &Peer, sink: &impl CoreSink) -> io::Result<()> {
    let limit = shared.settings.connect_timeout;
    if peer.is_connected() {
        return Ok(());
    }
    let mut stream = net::dial(&peer.address, limit).await?;
    net::prepare(&stream, limit)?;
    if peer.is_connected() {
        return Ok(());
    }
    // In one write: a Java server reads the address with a single `read`.
    timeout(limit, stream.write_all(&shared.hello)).await??;
    if shared.settings.me > peer.id && !peer.is_connected() {
        connect(shared, peer, stream, sink.clone());
    }
    Ok(())
}

/// Makes `stream` the connection to `peer`, in place of any older one.
fn connect(shared: &Rc<Shared>, peer: &Peer, stream: TcpStream, sink: impl CoreSink) {
    let (shared, id) = (Rc::clone(shared), peer.id);
    let task = spawn_local(async move {
        let peer = &shared.peers[&id];
        let end = serve(peer, stream, sink).await;
        tracing::debug!(server = %id, reason = %end, "election connection ended");
        peer.connection.take();
        peer.disconnected.notify_one();
    });
    let connection = Connection { since: Instant::now(), task: task.abort_handle() };
    if let Some(old) = peer.connection.replace(Some(connection)) {
        old.task.abort();
    }
}

/// Sends and receives until one of both fails; says why.
async fn serve(peer: &Peer, mut stream: TcpStream, sink: impl CoreSink) -> io::Error {
    let (reader, writer) = stream.split();
    tokio::select! {
        end = send(peer, writer) => end,
        end = receive(peer, reader, sink) => end,
    }
}

async fn send(peer: &Peer, mut writer: WriteHalf<'_>) -> io::Error {
    if peer.pending.borrow().is_none() {
        let last = peer.last.borrow().clone();
        peer.pending.replace(last);
    }
    loop {
        let pending = peer.pending.take();
        if let Some(message) = pending {
            peer.last.replace(Some(message.clone()));
            if let Err(error) = writer.write_all(&message).await {
                return error;
            }
        } else {
            peer.to_send.notified().await;
        }
    }
}

async fn receive(peer: &Peer, mut reader: ReadHalf<'_>, sink: impl CoreSink) -> io::Error {
    let mut buffer = BytesMut::with_capacity(4096);
    let mut inputs = Vec::new();
    loop {
        match reader.read_buf(&mut buffer).await {
            Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
            Ok(_) => {}
            Err(error) => return error,
        }
        let end = take_messages(peer.id, &mut buffer, &mut inputs).err();
        if !inputs.is_empty() {
            peer.heard.set(true);
            sink.inputs(&mut inputs);
        }
        if let Some(error) = end {
            tracing::warn!(server = %peer.id, %error, "malformed election message");
            return error;
        }
        buffer.reserve(4096);
    }
}

/// Turns all whole frames of `buffer` into inputs.
fn take_messages(from: ServerId, buffer: &mut BytesMut, inputs: &mut Vec<Input>) -> io::Result<()> {
    while let Some(body) = frame::take(buffer, ELECTION_FRAME_LIMIT).map_err(invalid)? {
        let notification = wire::decode_notification(&body).map_err(invalid)?;
        inputs.push(Input::Notification { from, notification });
    }
    Ok(())
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
#[path = "election_links_tests.rs"]
mod tests;
