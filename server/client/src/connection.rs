//! The task behind a client: dials, holds one connection at a time, matches answers to requests,
//! pings, and dials again when the connection breaks.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use jute::event::WatcherEvent;
use jute::frame;
use jute::request::{ConnectRequest, RequestHeader, xid};
use jute::response::{ConnectResponse, ReplyHeader};
use jute::{Decode, Encode, ErrorCode, OpCode, Reader, Trailing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::call::{Call, Reply, Shared, State};
use crate::config::Session;
use crate::error::Error;
use crate::event::Event;
use crate::watches::{Kind, Watches};

/// The longest answer taken: what a Java client allows by default, 4 MiB.
const ANSWER_LIMIT: usize = 4 << 20;

/// Pause between attempts to connect.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Everything the task knows and keeps from one connection to the next.
pub(crate) struct Task {
    pub(crate) servers: Vec<String>,
    /// Asked for, then as granted.
    pub(crate) session_timeout: Duration,
    pub(crate) session: Option<Session>,
    pub(crate) calls: mpsc::UnboundedReceiver<Call>,
    pub(crate) events: mpsc::UnboundedSender<Event>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) watches: Watches,
    /// Auth packets the server has accepted: sent again on every connection.
    pub(crate) auth: Vec<Bytes>,
}

/// Why a connection ended.
enum End {
    /// It broke; dial again.
    Broken(String),
    /// The session is over.
    Over(Error),
    /// Nobody holds the client any more.
    Abandoned,
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// A connection with a session.
struct Connection {
    input: BytesMut,
    output: BytesMut,
    next_xid: i32,
    /// Requests sent, oldest first, with their xids.
    sent: VecDeque<(i32, Call)>,
    /// Auth requests sent; their answers all carry the same xid.
    sent_auth: VecDeque<Call>,
    /// Answers to expect for the auth packets of earlier connections.
    resent_auth: usize,
}

impl Task {
    /// Runs until the session is over or nobody holds the client any more.
    pub(crate) async fn run(mut self) {
        for attempt in 0.. {
            let server = self.servers[attempt % self.servers.len()].clone();
            let end = match self.dial(&server).await {
                Ok((socket, session)) => {
                    self.shared.session.send_replace(State::Connected(session));
                    self.tell(Event::Connected { server: server.clone(), session_id: session.id });
                    let end = self.serve(socket).await;
                    self.tell(Event::Disconnected);
                    end
                }
                Err(end) => end,
            };
            let error = match end {
                End::Broken(why) => {
                    let why = format!("{server}: {why}");
                    self.shared.session.send_replace(State::Connecting(why));
                    Error::ConnectionLoss
                }
                End::Over(error) => {
                    self.shared.session.send_replace(State::Over(error.clone()));
                    if error == Error::SessionExpired {
                        self.tell(Event::Expired);
                    }
                    self.calls.close();
                    error
                }
                End::Abandoned => return,
            };
            // What came meanwhile was not sent: its callers may decide anew.
            while let Ok(call) = self.calls.try_recv() {
                let _ = call.answer.send(Err(error.clone()));
            }
            if error != Error::ConnectionLoss || self.calls.is_closed() {
                return;
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    fn tell(&self, event: Event) {
        // Nobody needs to listen.
        let _ = self.events.send(event);
    }

    /// Connects to a server and gives it the session, or asks for one.
    async fn dial(&mut self, server: &str) -> std::result::Result<(TcpStream, Session), End> {
        let patience = self.session_timeout / self.servers.len().min(3) as u32;
        let deadline = Instant::now() + patience;
        let late = |_| End::Broken(format!("no session within {} ms", patience.as_millis()));
        let mut socket = timeout_at(deadline, TcpStream::connect(server)).await.map_err(late)??;
        socket.set_nodelay(true)?;

        let known = self.session;
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.shared.last_zxid.load(Ordering::Relaxed),
            timeout_ms: i32::try_from(self.session_timeout.as_millis()).unwrap_or(i32::MAX),
            session_id: known.map_or(0, |session| session.id),
            password: known.as_ref().map(|session| &session.password[..]).or(Some(&[0; 16])),
            read_only: Trailing(Some(false)),
        };
        let mut output = BytesMut::new();
        frame::write(&mut output, |out| request.encode(out));
        socket.write_all(&output).await?;

        let mut input = BytesMut::new();
        let answer = loop {
            match frame::take(&mut input, ANSWER_LIMIT) {
                Ok(Some(answer)) => break answer,
                Ok(None) => {}
                Err(error) => return Err(End::Broken(error.to_string())),
            }
            let read = timeout_at(deadline, socket.read_buf(&mut input)).await.map_err(late)??;
            if read == 0 {
                return Err(End::Broken("closed by the server before a session".into()));
            }
        };
        let response =
            ConnectResponse::decode_all(&answer).map_err(|error| End::Broken(error.to_string()))?;
        if response.timeout_ms <= 0 {
            return Err(End::Over(Error::SessionExpired));
        }
        let Some(password) = response.password.and_then(|bytes| bytes.try_into().ok()) else {
            return Err(End::Broken("a password that is not 16 bytes long".into()));
        };
        let session = Session { id: response.session_id, password };
        self.session = Some(session);
        self.session_timeout = Duration::from_millis(u64::from(response.timeout_ms.unsigned_abs()));
        Ok((socket, session))
    }

    /// Sends and receives until the connection ends, then fails what is still without an answer.
    async fn serve(&mut self, socket: TcpStream) -> End {
        let mut connection = Connection {
            input: BytesMut::new(),
            output: BytesMut::new(),
            next_xid: 1,
            sent: VecDeque::new(),
            sent_auth: VecDeque::new(),
            resent_auth: self.auth.len(),
        };
        for packet in &self.auth {
            connection.write(xid::AUTH, OpCode::Auth, packet);
        }
        let zxid = self.shared.last_zxid.load(Ordering::Relaxed);
        for request in self.watches.to_requests(zxid) {
            connection.write(xid::SET_WATCHES, OpCode::SetWatches, &request.to_bytes());
        }
        let end = match self.exchange(&mut connection, socket).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        let error = match &end {
            End::Over(error) => error.clone(),
            _ => Error::ConnectionLoss,
        };
        let sent = connection.sent.into_iter().map(|(_, call)| call);
        for call in sent.chain(connection.sent_auth) {
            let _ = call.answer.send(Err(error.clone()));
        }
        end
    }

    async fn exchange(
        &mut self,
        connection: &mut Connection,
        mut socket: TcpStream,
    ) -> std::result::Result<std::convert::Infallible, End> {
        let (mut reader, mut writer) = socket.split();
        let ping_after = self.session_timeout / 3;
        let silence_limit = self.session_timeout * 2 / 3;
        let mut heard = Instant::now();
        let mut sent = Instant::now();
        loop {
            tokio::select! {
                read = reader.read_buf(&mut connection.input) => {
                    if read? == 0 {
                        return Err(End::Broken("closed by the server".into()));
                    }
                    heard = Instant::now();
                    self.receive(connection)?;
                }
                () = sleep_until(heard + silence_limit) => {
                    return Err(End::Broken("the server is silent".into()));
                }
                written = writer.write_buf(&mut connection.output),
                    if connection.output.has_remaining() => { written?; }
                call = self.calls.recv() => {
                    connection.send(call.ok_or(End::Abandoned)?);
                    while let Ok(call) = self.calls.try_recv() {
                        connection.send(call);
                    }
                    sent = Instant::now();
                }
                () = sleep_until(sent + ping_after) => {
                    connection.write(xid::PING, OpCode::Ping, &[]);
                    sent = Instant::now();
                }
            }
        }
    }

    /// Handles every whole frame that has arrived.
    fn receive(&mut self, connection: &mut Connection) -> std::result::Result<(), End> {
        let broken = |what: String| End::Broken(format!("cannot go on: {what}"));
        loop {
            let bytes = match frame::take(&mut connection.input, ANSWER_LIMIT) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return Ok(()),
                Err(error) => return Err(broken(error.to_string())),
            };
            let mut reader = Reader::new(&bytes);
            let header =
                ReplyHeader::decode(&mut reader).map_err(|error| broken(error.to_string()))?;
            let body = bytes.slice_ref(reader.rest());
            match header.xid {
                xid::PING | xid::SET_WATCHES => self.saw(header.zxid),
                xid::NOTIFICATION => {
                    let event = WatcherEvent::decode_all(&body);
                    self.notify(header.zxid, &event.map_err(|error| broken(error.to_string()))?);
                }
                xid::AUTH if connection.resent_auth > 0 => connection.resent_auth -= 1,
                xid::AUTH => {
                    let call = connection.sent_auth.pop_front();
                    let call = call.ok_or_else(|| broken("an auth answer unasked".into()))?;
                    if header.err == 0 {
                        self.auth.push(call.body.clone());
                    }
                    self.complete(header, body, call)?;
                }
                xid => {
                    let (expected, call) = connection
                        .sent
                        .pop_front()
                        .ok_or_else(|| broken(format!("an answer with xid {xid} to no request")))?;
                    if expected != xid {
                        connection.sent.push_front((expected, call));
                        return Err(broken(format!("xid {xid} where {expected} is next")));
                    }
                    self.saw(header.zxid);
                    self.complete(header, body, call)?;
                }
            }
        }
    }

    fn complete(
        &mut self,
        header: ReplyHeader,
        body: Bytes,
        call: Call,
    ) -> std::result::Result<(), End> {
        let error = Error::from_wire(header.err);
        if let Some((kind, path)) = call.watch {
            // `exists` leaves a watch even where nothing exists.
            match (&error, call.op) {
                (None, _) => self.watches.arm(kind, path),
                (Some(Error::Zookeeper(ErrorCode::NoNode)), OpCode::Exists) => {
                    self.watches.arm(Kind::Exist, path);
                }
                _ => {}
            }
        }
        let answer = error.map_or(Ok(Reply { zxid: header.zxid, body }), Err);
        let closed = call.op == OpCode::CloseSession && answer.is_ok();
        // The caller may have stopped waiting.
        let _ = call.answer.send(answer);
        if closed { Err(End::Over(Error::Closed)) } else { Ok(()) }
    }

    fn notify(&mut self, zxid: i64, event: &WatcherEvent<'_>) {
        self.watches.fired(event.event, event.path);
        self.tell(Event::Watch { event: event.event, path: event.path.to_owned(), zxid });
    }

    /// Notes the zxid of an answer. Those of events do not count: a multi fires several events
    /// with one zxid, and a reconnect between them must not skip the rest.
    fn saw(&self, zxid: i64) {
        self.shared.last_zxid.fetch_max(zxid, Ordering::Relaxed);
    }
}

impl Connection {
    fn send(&mut self, call: Call) {
        if call.op == OpCode::Auth {
            self.write(xid::AUTH, call.op, &call.body);
            self.sent_auth.push_back(call);
            return;
        }
        let xid = self.next_xid;
        self.next_xid = self.next_xid.checked_add(1).unwrap_or(1);
        self.write(xid, call.op, &call.body);
        self.sent.push_back((xid, call));
    }

    fn write(&mut self, xid: i32, op: OpCode, body: &[u8]) {
        frame::write(&mut self.output, |out| {
            RequestHeader { xid, op: op.code() }.encode(out);
            out.extend_from_slice(body);
        });
    }
}
