//! A blocking client for what happens before and after a measurement.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use jute::codec::{Decode, Encode, Reader, Trailing};
use jute::request::{ConnectRequest, RequestHeader};
use jute::response::{ConnectResponse, ReplyHeader};
use jute::{ErrorCode, OpCode, frame};

/// The longest reply taken, in bytes; longer than any server sends.
pub const REPLY_LIMIT: usize = 64 << 20;

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Requests in flight in [`PlainClient::call_all`].
const WINDOW: usize = 256;

/// A session on one connection.
#[derive(Debug)]
pub struct PlainClient {
    socket: TcpStream,
    received: BytesMut,
    next_xid: i32,
    timeout_ms: i32,
}

/// A reply: the error, and what stood behind the header.
#[derive(Clone, Debug)]
pub struct Answer {
    /// 0 or the number of an error.
    pub err: i32,
    /// The record; empty after an error.
    pub body: Bytes,
}

impl Answer {
    /// The answer, or an error that says what was refused.
    pub fn expect_ok(self, what: impl FnOnce() -> String) -> Result<Bytes> {
        ensure!(self.err == 0, "{}: {}", what(), error_name(self.err));
        Ok(self.body)
    }
}

/// A record that is bytes already.
struct Encoded(Bytes);

impl Encode for Encoded {
    fn encode(&self, out: &mut BytesMut) {
        out.extend_from_slice(&self.0);
    }
}

/// The name of an error number, or the number.
#[must_use]
pub fn error_name(err: i32) -> String {
    match ErrorCode::from_code(err) {
        Some(code) => code.name().to_owned(),
        None => format!("error {err}"),
    }
}

impl PlainClient {
    /// Opens a new session at `address`, with a timeout of `timeout_ms` if the server grants it.
    pub fn connect(address: SocketAddr, timeout_ms: i32) -> Result<Self> {
        let socket = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("cannot connect to {address}"))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut client = Self { socket, received: BytesMut::new(), next_xid: 1, timeout_ms: 0 };
        client.shake_hands(timeout_ms).with_context(|| format!("no session at {address}"))?;
        Ok(client)
    }

    fn shake_hands(&mut self, timeout_ms: i32) -> Result<()> {
        let mut out = BytesMut::new();
        frame::write(&mut out, |out| {
            ConnectRequest {
                protocol_version: 0,
                last_zxid_seen: 0,
                timeout_ms,
                session_id: 0,
                password: Some(&[0; 16]),
                read_only: Trailing(Some(false)),
            }
            .encode(out);
        });
        self.socket.write_all(&out)?;
        let reply = self.receive_frame()?;
        let granted = ConnectResponse::decode_all(&reply)?;
        ensure!(granted.timeout_ms > 0, "the server refused a new session");
        self.timeout_ms = granted.timeout_ms;
        Ok(())
    }

    /// The socket, the next xid and the timeout granted, in ms; nothing is in flight.
    #[must_use]
    pub fn into_parts(self) -> (TcpStream, i32, i32) {
        (self.socket, self.next_xid, self.timeout_ms)
    }

    /// Sends one request and waits for its answer.
    pub fn call(&mut self, op: OpCode, body: &impl Encode) -> Result<Answer> {
        let mut out = BytesMut::new();
        let xid = self.append(&mut out, op, body);
        self.socket.write_all(&out)?;
        self.receive(xid)
    }

    /// Sends requests, whose records are `bodies`, several at a time, and hands their answers to
    /// `on_answer` in order, with the position of the request.
    pub fn call_all(
        &mut self,
        op: OpCode,
        bodies: impl IntoIterator<Item = Bytes>,
        mut on_answer: impl FnMut(usize, Answer) -> Result<()>,
    ) -> Result<()> {
        let mut bodies = bodies.into_iter().peekable();
        let mut index = 0;
        while bodies.peek().is_some() {
            let mut out = BytesMut::new();
            let xids: Vec<_> = bodies
                .by_ref()
                .take(WINDOW)
                .map(|body| self.append(&mut out, op, &Encoded(body)))
                .collect();
            self.socket.write_all(&out)?;
            for xid in xids {
                on_answer(index, self.receive(xid)?)?;
                index += 1;
            }
        }
        Ok(())
    }

    /// Ends the session.
    pub fn close(mut self) -> Result<()> {
        let mut out = BytesMut::new();
        let xid = self.append(&mut out, OpCode::CloseSession, &Encoded(Bytes::new()));
        self.socket.write_all(&out)?;
        self.receive(xid)?;
        Ok(())
    }

    fn append(&mut self, out: &mut BytesMut, op: OpCode, body: &impl Encode) -> i32 {
        let xid = self.next_xid;
        self.next_xid += 1;
        frame::write(out, |out| {
            RequestHeader { xid, op: op.code() }.encode(out);
            body.encode(out);
        });
        xid
    }

    fn receive(&mut self, xid: i32) -> Result<Answer> {
        let reply = self.receive_frame()?;
        let mut reader = Reader::new(&reply);
        let header = ReplyHeader::decode(&mut reader)?;
        ensure!(header.xid == xid, "xid {} was answered, expected {xid}", header.xid);
        Ok(Answer { err: header.err, body: reply.slice(reader.offset()..) })
    }

    fn receive_frame(&mut self) -> Result<Bytes> {
        let mut chunk = [0; 64 << 10];
        loop {
            if let Some(frame) = frame::take(&mut self.received, REPLY_LIMIT)? {
                return Ok(frame);
            }
            match self.socket.read(&mut chunk)? {
                0 => bail!("the server closed the connection"),
                size => self.received.extend_from_slice(&chunk[..size]),
            }
        }
    }
}
