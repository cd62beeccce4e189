//! One session of the load: its socket, what is on the way out, what is in flight.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jute::frame;
use jute::request::xid;

use crate::plain_client::{PlainClient, REPLY_LIMIT};
use crate::requests::{self, Request, Requests};

/// Session timeout asked for, in ms.
const TIMEOUT_MS: i32 = 30_000;

/// How long the end of a session may take.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// Nanoseconds since the load began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now_ns(self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).expect("no run takes 500 years")
    }
}

/// A request in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) request: Request,
    /// When it was sent or, in an open loop, should have been.
    pub(crate) at_ns: u64,
}

/// What is read of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply<'a> {
    pub(crate) xid: i32,
    pub(crate) err: i32,
    /// What stands behind the header.
    pub(crate) body: &'a [u8],
}

impl<'a> Reply<'a> {
    /// Reads the header of a reply, the zxid aside.
    pub(crate) fn parse(frame: &'a [u8]) -> Result<Self> {
        let (header, body) = frame
            .split_first_chunk::<16>()
            .with_context(|| format!("a reply of {} bytes has no header", frame.len()))?;
        let [x0, x1, x2, x3, .., e0, e1, e2, e3] = *header;
        Ok(Self {
            xid: i32::from_be_bytes([x0, x1, x2, x3]),
            err: i32::from_be_bytes([e0, e1, e2, e3]),
            body,
        })
    }

    /// `mzxid` of the Stat that is all of the body.
    pub(crate) fn modified_zxid(&self) -> Result<i64> {
        let mzxid = self.body.get(8..16).and_then(|field| field.try_into().ok());
        let mzxid = mzxid.context("a reply to setData holds no Stat")?;
        Ok(i64::from_be_bytes(mzxid))
    }
}

/// Requests in flight, oldest first: a server answers those of a session in order.
#[derive(Debug)]
pub(crate) struct InFlight {
    sent: VecDeque<Sent>,
    next_xid: i32,
}

impl InFlight {
    pub(crate) fn new(next_xid: i32) -> Self {
        Self { sent: VecDeque::new(), next_xid }
    }

    pub(crate) fn len(&self) -> usize {
        self.sent.len()
    }

    /// The xid that the next request gets.
    pub(crate) fn next_xid(&self) -> i32 {
        self.next_xid
    }

    pub(crate) fn push(&mut self, sent: Sent) {
        self.sent.push_back(sent);
        // Xids below 1 have meanings of their own.
        self.next_xid = self.next_xid.checked_add(1).unwrap_or(1);
    }

    /// The request that a reply is for. Pings and events are for none.
    ///
    /// # Errors
    /// When it is not the oldest in flight.
    pub(crate) fn answer(&mut self, reply_xid: i32) -> Result<Option<Sent>> {
        if matches!(reply_xid, xid::PING | xid::NOTIFICATION) {
            return Ok(None);
        }
        let oldest = self.sent.front().context("nothing was asked")?;
        let before = i64::from(self.next_xid) - self.sent.len() as i64;
        let expected = if before < 1 { before + i64::from(i32::MAX) } else { before };
        ensure!(
            i64::from(reply_xid) == expected,
            "xid {reply_xid} was answered, expected {expected}"
        );
        let oldest = *oldest;
        self.sent.pop_front();
        Ok(Some(oldest))
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Sent> {
        self.sent.drain(..)
    }
}

/// Whether a connection can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Up,
    /// Up, but the socket takes no more for now.
    Full,
    Down,
}

/// A session and its connection.
#[derive(Debug)]
pub(crate) struct Session {
    socket: TcpStream,
    out: Vec<u8>,
    written: usize,
    /// The beginning of a reply whose end has not come yet.
    partial: Vec<u8>,
    pub(crate) in_flight: InFlight,
    timeout_ns: u64,
    last_sent_ns: u64,
    pub(crate) link: Link,
}

impl Session {
    /// Opens a session; its socket does not block from then on.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let (socket, next_xid, timeout_ms) =
            PlainClient::connect(address, TIMEOUT_MS)?.into_parts();
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            out: Vec::new(),
            written: 0,
            partial: Vec::new(),
            in_flight: InFlight::new(next_xid),
            timeout_ns: u64::try_from(timeout_ms)? * 1_000_000,
            last_sent_ns: 0,
            link: Link::Up,
        })
    }

    /// Appends a request to what is on the way out.
    pub(crate) fn ask(&mut self, requests: &Requests, sent: Sent) {
        requests.append(&mut self.out, self.in_flight.next_xid(), sent.request);
        self.in_flight.push(sent);
    }

    /// Appends a ping if the session has been silent for a third of its timeout.
    pub(crate) fn ping_if_silent(&mut self, now_ns: u64) -> bool {
        let silent = now_ns.saturating_sub(self.last_sent_ns) > self.timeout_ns / 3;
        if silent {
            self.out.extend_from_slice(&requests::ping());
            self.last_sent_ns = now_ns;
        }
        silent
    }

    /// Writes what the socket takes.
    pub(crate) fn flush(&mut self, now_ns: u64) {
        if self.out.is_empty() || self.link == Link::Down {
            return;
        }
        self.last_sent_ns = now_ns;
        match self.socket.write(&self.out[self.written..]) {
            Ok(size) => self.written += size,
            Err(error) if is_not_now(&error) => {}
            Err(_) => {
                self.link = Link::Down;
                return;
            }
        }
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
            self.link = Link::Up;
        } else {
            self.link = Link::Full;
            if self.written > self.out.len() / 2 {
                self.out.drain(..self.written);
                self.written = 0;
            }
        }
    }

    /// Reads once, and hands each reply to a request to `on_reply`, with the time of the read.
    /// `buffer` is working memory; it grows to the longest reply.
    pub(crate) fn receive(
        &mut self,
        buffer: &mut Vec<u8>,
        clock: Clock,
        mut on_reply: impl FnMut(u64, Sent, Reply<'_>) -> Result<()>,
    ) -> Result<()> {
        let carried = self.partial.len();
        if buffer.len() < 2 * carried {
            buffer.resize(2 * carried, 0);
        }
        buffer[..carried].copy_from_slice(&self.partial);
        let size = match self.socket.read(&mut buffer[carried..]) {
            Ok(0) => {
                self.link = Link::Down;
                return Ok(());
            }
            Ok(size) => size,
            Err(error) if is_not_now(&error) => return Ok(()),
            Err(_) => {
                self.link = Link::Down;
                return Ok(());
            }
        };
        let now_ns = clock.now_ns();
        let mut rest = &buffer[..carried + size];
        while let Some(body) = frame::peek(rest, REPLY_LIMIT)? {
            rest = &rest[4 + body.len()..];
            let reply = Reply::parse(body)?;
            if let Some(sent) = self.in_flight.answer(reply.xid)? {
                on_reply(now_ns, sent, reply)?;
            }
        }
        self.partial.clear();
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    /// Ends the session, so that the server has no expiry to do later. A server that does not
    /// answer is left alone.
    pub(crate) fn close(mut self) -> Result<()> {
        if self.link == Link::Down {
            return Ok(());
        }
        self.socket.set_nonblocking(false)?;
        self.socket.set_read_timeout(Some(CLOSE_PATIENCE))?;
        self.socket.set_write_timeout(Some(CLOSE_PATIENCE))?;
        let goodbye = requests::close_session(self.in_flight.next_xid());
        let mut received = [0; 4096];
        if self.socket.write_all(&goodbye).is_ok() {
            while matches!(self.socket.read(&mut received), Ok(1..)) {}
        }
        Ok(())
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn is_not_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Operation;

    fn sent(target: u32) -> Sent {
        Sent { request: Request { operation: Operation::Get, target, stamp: 0 }, at_ns: 0 }
    }

    #[test]
    fn a_reply_is_for_the_oldest_request_and_for_no_other() {
        let mut in_flight = InFlight::new(1);
        (10..13).for_each(|target| in_flight.push(sent(target)));
        assert_eq!(in_flight.answer(1).unwrap().unwrap().request.target, 10);
        assert!(in_flight.answer(xid::PING).unwrap().is_none());
        assert_eq!(in_flight.answer(3).unwrap_err().to_string(), "xid 3 was answered, expected 2");
        assert_eq!(in_flight.answer(2).unwrap().unwrap().request.target, 11);
        assert_eq!(in_flight.answer(3).unwrap().unwrap().request.target, 12);
        assert_eq!(in_flight.answer(4).unwrap_err().to_string(), "nothing was asked");
    }

    #[test]
    fn xids_stay_positive_when_they_run_out() {
        let mut in_flight = InFlight::new(i32::MAX - 1);
        for target in 0..4 {
            in_flight.push(sent(target));
        }
        for xid in [i32::MAX - 1, i32::MAX, 1, 2] {
            assert!(in_flight.answer(xid).unwrap().is_some(), "{xid}");
        }
    }

    #[test]
    fn the_header_of_a_reply_is_read_without_its_zxid() {
        let mut frame = [[0, 0, 0, 7], [9, 9, 9, 9], [9, 9, 9, 9], [255, 255, 255, 155]].concat();
        frame.extend_from_slice(&[0; 8]);
        frame.extend_from_slice(&77_i64.to_be_bytes());
        let reply = Reply::parse(&frame).unwrap();
        assert_eq!((reply.xid, reply.err), (7, -101));
        assert_eq!(reply.modified_zxid().unwrap(), 77);
        assert!(Reply::parse(&frame[..15]).is_err());
    }
}
