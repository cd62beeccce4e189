//! A responder that keeps the manners of a server and does nothing: the generator's own bound.
//!
//! Every write is acknowledged and none is kept, so reading back finds it out.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::{BufMut, BytesMut};
use jute::codec::{Decode, Encode, Trailing};
use jute::data::Stat;
use jute::request::ConnectRequest;
use jute::response::{ConnectResponse, GetChildren2Response, GetDataResponse, StatResponse};
use jute::{OpCode, frame};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::cpu;
use crate::load::{self, Target};
use crate::report::Outcome;
use crate::workload::Workload;

/// How often a stub looks whether it shall end.
const LOOK_AROUND: Duration = Duration::from_millis(20);

/// Key of the listener; connections count up from 1.
const LISTENER: u64 = 0;

/// How a stub behaves.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// Size of the data it answers, in bytes.
    pub value_bytes: usize,
    /// Stands still for the second duration after each of the first, as a server that collects
    /// garbage.
    pub stall: Option<(Duration, Duration)>,
}

/// Serves the connections of `listener` until `stop` is set.
pub fn serve(listener: &TcpListener, behaviour: Behaviour, stop: &AtomicBool) -> Result<()> {
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let data = epoll::EventData::new_u64(LISTENER);
    epoll::add(&epoll, listener, data, epoll::EventFlags::IN)?;
    let mut stub = Stub {
        epoll,
        connections: BTreeMap::new(),
        next_id: LISTENER,
        answers: Answers::new(behaviour.value_bytes),
        buffer: vec![0; 256 << 10],
    };
    let mut events = Vec::with_capacity(256);
    let timeout = Timespec::try_from(LOOK_AROUND).context("20 ms fit")?;
    let mut last_stall = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        match epoll::wait(&stub.epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some((every, length)) = behaviour.stall
            && last_stall.elapsed() >= every
        {
            thread::sleep(length);
            last_stall = Instant::now();
        }
        for event in events.drain(..) {
            match event.data.u64() {
                LISTENER => stub.accept(listener)?,
                id => stub.serve(id),
            }
        }
    }
    Ok(())
}

/// A stub in a thread of its own; it ends when dropped.
#[derive(Debug)]
pub struct Background {
    address: SocketAddr,
    stop: std::sync::Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<Result<()>>>,
}

impl Background {
    /// Starts a stub on a free port of loopback, on processor `cpu` if one is named.
    pub fn start(behaviour: Behaviour, cpu: Option<usize>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let stopped = std::sync::Arc::clone(&stop);
        let thread = thread::spawn(move || {
            if let Some(cpu) = cpu {
                crate::cpu::pin_to(cpu)?;
            }
            serve(&listener, behaviour, &stopped)
        });
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its failure shows as a broken connection of the load.
            let _ = thread.join();
        }
    }
}

struct Stub {
    epoll: OwnedFd,
    connections: BTreeMap<u64, Connection>,
    next_id: u64,
    answers: Answers,
    buffer: Vec<u8>,
}

struct Connection {
    socket: TcpStream,
    partial: Vec<u8>,
    out: Vec<u8>,
    in_session: bool,
}

impl Stub {
    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        loop {
            let socket = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            socket.set_nodelay(true)?;
            self.next_id += 1;
            let data = epoll::EventData::new_u64(self.next_id);
            epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
            let connection =
                Connection { socket, partial: Vec::new(), out: Vec::new(), in_session: false };
            self.connections.insert(self.next_id, connection);
        }
    }

    fn serve(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.serve(&mut self.buffer, &mut self.answers).is_none()
        {
            // Closing the socket takes it out of the epoll set too.
            self.connections.remove(&id);
        }
    }
}

impl Connection {
    /// Answers what has come; `None` ends the connection.
    fn serve(&mut self, buffer: &mut Vec<u8>, answers: &mut Answers) -> Option<()> {
        let carried = self.partial.len();
        if buffer.len() < 2 * carried {
            buffer.resize(2 * carried, 0);
        }
        buffer[..carried].copy_from_slice(&self.partial);
        let size = self.socket.read(&mut buffer[carried..]).ok()?;
        let mut rest = &buffer[..carried + size];
        let mut open = size > 0;
        while let Some(body) = frame::peek(rest, i32::MAX as usize).ok()? {
            rest = &rest[4 + body.len()..];
            if self.in_session {
                open &= answers.answer(&mut self.out, body)?;
            } else {
                greet(&mut self.out, body)?;
                self.in_session = true;
            }
        }
        self.partial.clear();
        self.partial.extend_from_slice(rest);
        // The socket blocks: a peer that does not read is waited for.
        self.socket.write_all(&self.out).ok()?;
        self.out.clear();
        open.then_some(())
    }
}

fn greet(out: &mut Vec<u8>, body: &[u8]) -> Option<()> {
    let asked = ConnectRequest::decode_all(body).ok()?;
    let mut reply = BytesMut::new();
    frame::write(&mut reply, |reply| {
        ConnectResponse {
            protocol_version: 0,
            timeout_ms: asked.timeout_ms,
            session_id: 1,
            password: Some(&[0; 16]),
            read_only: Trailing(Some(false)),
        }
        .encode(reply);
    });
    out.extend_from_slice(&reply);
    Some(())
}

/// The replies, encoded once.
struct Answers {
    zxid: i64,
    data: Vec<u8>,
    stat: Vec<u8>,
    children: Vec<u8>,
    empty: Vec<u8>,
}

impl Answers {
    fn new(value_bytes: usize) -> Self {
        let stat = Stat::decode_all(&[0; 68]).expect("a Stat is 68 bytes, zeros are one");
        let value = vec![b'x'; value_bytes];
        let data = Some(&value[..]);
        let children = Vec::new();
        Self {
            zxid: 0,
            data: reply(&GetDataResponse { data, stat }.to_bytes()),
            stat: reply(&StatResponse { stat }.to_bytes()),
            children: reply(&GetChildren2Response { children, stat }.to_bytes()),
            empty: reply(&[]),
        }
    }

    /// Appends the answer to a request. False: it was the session's end. `None`: no request.
    fn answer(&mut self, out: &mut Vec<u8>, request: &[u8]) -> Option<bool> {
        let (xid, rest) = request.split_first_chunk::<4>()?;
        let (op, body) = rest.split_first_chunk::<4>()?;
        let op = OpCode::from_code(i32::from_be_bytes(*op))?;
        let start = out.len();
        match op {
            OpCode::GetData => out.extend_from_slice(&self.data),
            OpCode::Exists | OpCode::SetData => out.extend_from_slice(&self.stat),
            OpCode::GetChildren2 => out.extend_from_slice(&self.children),
            OpCode::Create | OpCode::Sync => {
                let (length, _) = body.split_first_chunk::<4>()?;
                let path = body.get(..4 + i32::from_be_bytes(*length) as usize)?;
                out.extend_from_slice(&reply(path));
            }
            _ => out.extend_from_slice(&self.empty),
        }
        let frame = &mut out[start..];
        frame[4..8].copy_from_slice(xid);
        if op == OpCode::SetData {
            self.zxid += 1;
            let stat_zxids = [self.zxid.to_be_bytes(), self.zxid.to_be_bytes()].concat();
            frame[20..36].copy_from_slice(&stat_zxids);
        }
        Some(op != OpCode::CloseSession)
    }
}

/// A frame with a zeroed reply header and `record`.
fn reply(record: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame::write(&mut out, |out| {
        out.put_bytes(0, 16);
        out.extend_from_slice(record);
    });
    out.to_vec()
}

/// Loads a stub on the first processor from the last one: what the generator is capable of.
pub fn load_stub(workload: &Workload) -> Result<Outcome> {
    let cpus = cpu::allowed()?;
    let (first, last) = (cpus.first().copied(), cpus.last().copied());
    let behaviour = Behaviour { value_bytes: workload.value_bytes, stall: None };
    let stub = Background::start(behaviour, first)?;
    if let Some(last) = last {
        cpu::pin_to(last)?;
    }
    let target = Target { servers: vec![stub.address()], processes: Vec::new(), read_back: false };
    let outcome = load::run(workload, &target);
    cpu::spread_over(&cpus)?;
    outcome
}
