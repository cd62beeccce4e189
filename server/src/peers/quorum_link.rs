//! One link between a leader and a learner: its queue, its writer and its reader.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use jute::{Decode, Encode, quorum};
use replica::{Input, PeerMessage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tree::snapshot::{Fed, Progress, TreeReader, TreeWriter};
use tree::{DataTree, FrozenTree};
use zab::{LinkId, Message, Zxid};

use crate::peers::wire::{self, FarEnd, Received, SNAPSHOT_END, SNAPSHOT_END_LEN};

/// Bytes of the buffers that are read into: many small packets, and a piece of a tree that is decoded in well under a
/// millisecond. Transactions stay in the buffer they came in, for as long as the history in memory holds them: it is used
/// up before there is another.
const READ_LEN: usize = 64 * 1024;

/// Room that is worth a read, in bytes.
const READ_LEN_MIN: usize = 8 * 1024;

/// Bytes of a tree that are encoded at a time.
const TREE_CHUNK_LEN: usize = 128 * 1024;

/// A queue buffer larger than this is given back rather than kept for the next messages.
const SPARE_LEN_MAX: usize = 1024 * 1024;

/// How long a closed link waits for the other side to take what was sent, after all of it has left.
const LINGER: Duration = Duration::from_secs(1);

/// Hands inputs to the core: see [`CoreSink::inputs`](crate::core_sink::CoreSink::inputs).
pub type Deliver = Box<dyn Fn(&mut Vec<Input>)>;

/// What every link must keep to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a link may accept not a single byte before it is cut off. No shorter than `initLimit`: a learner that
    /// writes its first snapshot to disk does not read meanwhile. Within `syncLimit` the core sees to it.
    pub silence_limit: Duration,
    /// Bytes that may wait for a link, trees not counted.
    pub queue_bytes_max: usize,
    /// Bytes that one field of a packet may have.
    pub packet_bytes_max: usize,
    /// As in [`DataTree::new`].
    pub hash_seed: u64,
}

/// One link, dialed or accepted.
pub(super) struct Link {
    pub(super) id: LinkId,
    far: FarEnd,
    peer: Cell<Option<SocketAddr>>,
    queue: RefCell<Queue>,
    /// Rung when there is something to write, or when the state changed.
    wake: Notify,
    state: Cell<State>,
    /// Rung when the state changed.
    changed: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Closed by the core: what is queued is sent, what comes in is dropped.
    Closed,
    /// The queue is full: the link ends now.
    Overflowed,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    /// Bytes in `items`, without trees, and in the write under way.
    bytes: usize,
    spare: BytesMut,
}

enum Item {
    Packets(BytesMut),
    Tree(Box<TreeWriter>),
}

impl Queue {
    /// Appends to the last buffer, so that one write carries all.
    fn push(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        if !matches!(self.items.back(), Some(Item::Packets(_))) {
            let spare = std::mem::take(&mut self.spare);
            self.items.push_back(Item::Packets(spare));
        }
        if let Some(Item::Packets(buffer)) = self.items.back_mut() {
            let before = buffer.len();
            encode(buffer);
            self.bytes += buffer.len() - before;
        }
    }
}

impl Link {
    pub(super) fn new(id: LinkId, far: FarEnd) -> Self {
        Self {
            id,
            far,
            peer: Cell::new(None),
            queue: RefCell::default(),
            wake: Notify::new(),
            state: Cell::new(State::Open),
            changed: Notify::new(),
        }
    }

    /// The link has its stream.
    pub(super) fn connected(&self, stream: &TcpStream) {
        self.peer.set(stream.peer_addr().ok());
    }

    /// The other side's address, for the log.
    pub(super) fn peer(&self) -> String {
        self.peer.get().map_or("nowhere yet".to_owned(), |peer| peer.to_string())
    }

    pub(super) fn push_message(&self, message: &PeerMessage, bytes_max: usize) {
        if self.state.get() == State::Overflowed {
            return;
        }
        let mut queue = self.queue.borrow_mut();
        // With something in the queue the writer is awake, or will be.
        let was_empty = queue.items.is_empty();
        queue.push(|out| wire::encode(message, self.far, out));
        if queue.bytes > bytes_max {
            self.enter(State::Overflowed);
        }
        if was_empty {
            self.wake.notify_one();
        }
    }

    pub(super) fn push_snapshot(&self, to: Zxid, tree: FrozenTree) {
        let mut queue = self.queue.borrow_mut();
        let announced = PeerMessage::Zab(Message::Snap { to });
        queue.push(|out| wire::encode(&announced, self.far, out));
        queue.items.push_back(Item::Tree(Box::new(TreeWriter::new(tree))));
        queue.push(|out| SNAPSHOT_END.encode(out));
        self.wake.notify_one();
    }

    pub(super) fn close(&self) {
        self.enter(State::Closed);
        self.wake.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.get() == State::Closed
    }

    /// Waits until the core closes the link.
    pub(super) async fn closed(&self) {
        while !self.is_closed() {
            self.changed.notified().await;
        }
    }

    async fn overflowed(&self) {
        while self.state.get() != State::Overflowed {
            self.changed.notified().await;
        }
    }

    fn enter(&self, state: State) {
        self.state.set(state);
        self.changed.notify_one();
    }
}

/// Sends and receives until the link ends; says why.
pub(super) async fn serve(
    link: &Link,
    mut stream: TcpStream,
    limits: &Limits,
    deliver: &Deliver,
) -> io::Error {
    let (reader, writer) = stream.split();
    tokio::select! {
        end = send(link, writer, limits.silence_limit) => end,
        end = receive(link, reader, limits, deliver) => end,
        () = link.overflowed() => {
            let waiting = link.queue.borrow().bytes;
            other(format!("the other side does not keep up: {waiting} bytes wait for it"))
        }
    }
}

/// Writes what is queued, in order; after the core closed the link, to the end.
async fn send(link: &Link, mut writer: WriteHalf<'_>, silence_limit: Duration) -> io::Error {
    loop {
        let item = link.queue.borrow_mut().items.pop_front();
        let outcome = match item {
            Some(Item::Packets(packets)) => {
                write_packets(link, &mut writer, packets, silence_limit).await
            }
            Some(Item::Tree(tree)) => write_tree(*tree, &mut writer, silence_limit).await,
            None if link.is_closed() => {
                // The rest is in the hands of the system. Reading on for a moment keeps it from being thrown away by
                // a reset, which unread input would cause.
                let outcome = writer.shutdown().await;
                sleep(LINGER).await;
                outcome.and(Err(io::ErrorKind::ConnectionAborted.into()))
            }
            None => {
                link.wake.notified().await;
                Ok(())
            }
        };
        if let Err(error) = outcome {
            return error;
        }
    }
}

async fn write_packets(
    link: &Link,
    writer: &mut WriteHalf<'_>,
    mut packets: BytesMut,
    silence_limit: Duration,
) -> io::Result<()> {
    while packets.has_remaining() {
        let written = write_some(writer, &packets, silence_limit).await?;
        packets.advance(written);
        link.queue.borrow_mut().bytes -= written;
    }
    if packets.try_reclaim(1) && packets.capacity() <= SPARE_LEN_MAX {
        link.queue.borrow_mut().spare = packets;
    }
    Ok(())
}

/// Writes a tree in pieces, and lets everyone else go first between two of them.
async fn write_tree(
    mut tree: TreeWriter,
    writer: &mut WriteHalf<'_>,
    silence_limit: Duration,
) -> io::Result<()> {
    let mut chunk = BytesMut::with_capacity(TREE_CHUNK_LEN + 4096);
    let mut progress = Progress::More;
    while progress == Progress::More {
        progress = tree.next_chunk(TREE_CHUNK_LEN, &mut chunk);
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let written = write_some(writer, rest, silence_limit).await?;
            rest = &rest[written..];
        }
        chunk.clear();
        yield_now().await;
    }
    Ok(())
}

/// One write, which fails when nothing at all can be written for too long.
async fn write_some(
    writer: &mut WriteHalf<'_>,
    bytes: &[u8],
    silence_limit: Duration,
) -> io::Result<usize> {
    match timeout(silence_limit, writer.write(bytes)).await {
        Ok(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
        Ok(outcome) => outcome,
        Err(_) => {
            let seconds = silence_limit.as_secs_f64();
            Err(other(format!("the other side takes nothing for {seconds} s")))
        }
    }
}

/// What the reader expects next.
enum Expecting {
    Packets,
    Tree { to: Zxid, reader: Box<TreeReader> },
    TreeEnd { to: Zxid, tree: Box<DataTree> },
}

/// Reads packets and trees, and hands over what each read completed with one call.
async fn receive(
    link: &Link,
    mut reader: ReadHalf<'_>,
    limits: &Limits,
    deliver: &Deliver,
) -> io::Error {
    let mut buffer = BytesMut::with_capacity(READ_LEN);
    let mut expecting = Expecting::Packets;
    let mut inputs = Vec::new();
    loop {
        match reader.read_buf(&mut buffer).await {
            Ok(0) if buffer.is_empty() => return other("closed by the other side"),
            Ok(0) => return other("closed by the other side within a message"),
            Ok(_) => {}
            Err(error) => return error,
        }
        if link.is_closed() {
            buffer.clear();
            continue;
        }
        let mut end = None;
        while end.is_none() {
            match step(link, expecting, &mut buffer, limits, &mut inputs) {
                Ok((next, Step::Again)) => expecting = next,
                Ok((next, Step::NeedMore)) => {
                    expecting = next;
                    break;
                }
                Err(error) => {
                    end = Some(error);
                    expecting = Expecting::Packets;
                }
            }
        }
        if !inputs.is_empty() {
            deliver(&mut inputs);
        }
        if let Some(error) = end {
            return error;
        }
        if buffer.capacity() - buffer.len() < READ_LEN_MIN {
            buffer.reserve(READ_LEN);
        }
    }
}

enum Step {
    Again,
    NeedMore,
}

/// Takes the next packet, piece of a tree, or end mark out of `buffer`.
fn step(
    link: &Link,
    expecting: Expecting,
    buffer: &mut BytesMut,
    limits: &Limits,
    inputs: &mut Vec<Input>,
) -> io::Result<(Expecting, Step)> {
    let mut message = |message| inputs.push(Input::Message { link: link.id, message });
    match expecting {
        Expecting::Packets => {
            let received = if let Some((packet_type, zxid)) = quorum::take_bare(buffer) {
                wire::decode_bare(packet_type, zxid, link.far)
            } else {
                let taken =
                    quorum::take_packet(buffer, limits.packet_bytes_max).map_err(invalid)?;
                let Some(packet) = taken else { return Ok((Expecting::Packets, Step::NeedMore)) };
                wire::decode(&packet, link.far)
            };
            match received.map_err(invalid)? {
                Received::Message(received) => message(received),
                Received::Snapshot { to } if link.far == FarEnd::Leader => {
                    let reader = Box::new(TreeReader::new(limits.hash_seed));
                    return Ok((Expecting::Tree { to, reader }, Step::Again));
                }
                Received::Snapshot { .. } => return Err(other("a learner sent a snapshot")),
            }
            Ok((Expecting::Packets, Step::Again))
        }
        Expecting::Tree { to, mut reader } => match reader.feed(buffer).map_err(invalid)? {
            Fed::NeedMore => {
                buffer.clear();
                Ok((Expecting::Tree { to, reader }, Step::NeedMore))
            }
            Fed::Done { consumed } => {
                buffer.advance(consumed);
                let tree = Box::new(reader.finish(to.0).map_err(invalid)?);
                Ok((Expecting::TreeEnd { to, tree }, Step::Again))
            }
        },
        Expecting::TreeEnd { to, tree } => {
            if buffer.len() < SNAPSHOT_END_LEN {
                return Ok((Expecting::TreeEnd { to, tree }, Step::NeedMore));
            }
            let mark = buffer.split_to(SNAPSHOT_END_LEN);
            if <&str>::decode_all(&mark) != Ok(SNAPSHOT_END) {
                return Err(other(format!("no {SNAPSHOT_END:?} behind the tree")));
            }
            message(PeerMessage::Snapshot { to, tree });
            Ok((Expecting::Packets, Step::Again))
        }
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn other(why: impl Into<String>) -> io::Error {
    io::Error::other(why.into())
}
