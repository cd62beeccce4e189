//! One I/O shard at run time: the pure [`replica::Shard`] with its connections' tasks and its way to the core.
//!
//! Everything here stays on one thread. Shard 0 lives on the core's thread, so a request and its outcome cross no
//! thread at all; the others talk to the core through queues, a batch at a time.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use parking_lot::Mutex;
use replica::shard::{Fault, Limits, Micros};
use replica::{ConnectionId, Input, Shard, ShardId, ShardOutput};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tree::SharedTree;

use crate::core_loop::CoreHandle;
use crate::status::{ClientLine, Timing};

/// Numbers of one shard for status pages on another thread.
#[derive(Debug, Default)]
pub struct ShardCounters {
    /// Frames received.
    pub received: AtomicU64,
    /// Frames sent.
    pub sent: AtomicU64,
    /// Connections now.
    pub connections: AtomicU64,
    /// Watches now.
    pub watches: AtomicU64,
    /// Requests not answered yet.
    pub outstanding: AtomicU64,
    /// Bytes received.
    pub bytes_received: AtomicU64,
    /// Bytes sent.
    pub bytes_sent: AtomicU64,
    /// From the arrival of a request to its answer.
    pub latency: Mutex<Timing>,
    /// Each connection.
    pub clients: Mutex<Vec<ClientLine>>,
}

/// The way from a shard to the core.
#[derive(Clone)]
pub enum CorePort {
    /// On the same thread.
    Here(CoreHandle),
    /// On another thread.
    Elsewhere(UnboundedSender<Vec<Input>>),
}

impl CorePort {
    fn send(&self, inputs: Vec<Input>) {
        if inputs.is_empty() {
            return;
        }
        match self {
            Self::Here(core) => core.inputs(inputs),
            // The core is gone only when the process ends.
            Self::Elsewhere(queue) => drop(queue.send(inputs)),
        }
    }
}

/// A shard with its connections. Cheap to clone, bound to its thread.
#[derive(Clone)]
pub struct ShardLoop(Rc<Inner>);

struct Inner {
    shard: RefCell<Shard>,
    tree: SharedTree,
    /// Set once: the core of shard 0 is made after it.
    core: RefCell<Option<CorePort>>,
    sockets: RefCell<BTreeMap<ConnectionId, Socket>>,
    /// Wakes those that wait until the core's word has caught up with the tree.
    caught_up: Notify,
    next_connection: Cell<u64>,
    counters: Arc<ShardCounters>,
    started: Instant,
}

impl ShardLoop {
    /// A shard without connections.
    #[must_use]
    pub fn new(
        id: ShardId,
        limits: Limits,
        super_digest: Option<String>,
        tree: SharedTree,
    ) -> Self {
        Self(Rc::new(Inner {
            shard: RefCell::new(Shard::new(id, limits, super_digest)),
            tree,
            core: RefCell::new(None),
            sockets: RefCell::new(BTreeMap::new()),
            caught_up: Notify::new(),
            next_connection: Cell::new(0),
            counters: Arc::new(ShardCounters::default()),
            started: Instant::now(),
        }))
    }

    /// Tells the shard where the core is; before its first connection.
    pub fn attach(&self, core: CorePort) {
        *self.0.core.borrow_mut() = Some(core);
    }

    /// Numbers for status pages.
    #[must_use]
    pub fn counters(&self) -> Arc<ShardCounters> {
        self.0.counters.clone()
    }

    /// Registers a connection. The `Notify` wakes its task when there is output or an end.
    #[must_use]
    pub fn open(&self, address: SocketAddr) -> (ConnectionId, Rc<Notify>) {
        let connection = ConnectionId(self.0.next_connection.get());
        self.0.next_connection.set(connection.0 + 1);
        let waker = Rc::new(Notify::new());
        let socket = Socket { address, waker: waker.clone() };
        self.0.sockets.borrow_mut().insert(connection, socket);
        self.0.shard.borrow_mut().open(connection, address.ip());
        (connection, waker)
    }

    /// Takes the frames at the beginning of `input`. Answers go to the connection's output, the rest to the core.
    ///
    /// # Errors
    /// As [`Shard::receive`].
    pub async fn receive(
        &self,
        connection: ConnectionId,
        input: &mut BytesMut,
    ) -> Result<(), Fault> {
        loop {
            let caught_up = self.0.caught_up.notified();
            {
                let now = self.now();
                let tree = self.0.tree.read();
                let mut shard = self.0.shard.borrow_mut();
                if shard.may_read(&tree) {
                    let sent_before = shard.sent();
                    let result = shard.receive(now, &tree, connection, input);
                    let answered = shard.sent() - sent_before;
                    let took = Duration::from_micros(self.now().0 - now.0);
                    self.0.counters.latency.lock().record_many(took, answered);
                    result?;
                    break;
                }
            }
            // The tree is ahead of the core's word by some microseconds: an event may be owed first.
            caught_up.await;
        }
        self.settle();
        Ok(())
    }

    /// Whether the next frame of the connection may be read.
    #[must_use]
    pub fn may_receive(&self, connection: ConnectionId) -> bool {
        self.0.shard.borrow().may_receive(connection)
    }

    /// Takes the bytes to write; `None` when the connection is to be closed after them (or is gone).
    pub fn take_output(&self, connection: ConnectionId, output: &mut BytesMut) -> Flow {
        let mut shard = self.0.shard.borrow_mut();
        if let Some(waiting) = shard.output(connection) {
            if output.is_empty() {
                std::mem::swap(output, waiting);
            } else {
                output.extend_from_slice(waiting);
                waiting.clear();
            }
        }
        if shard.is_closing(connection) { Flow::Closing } else { Flow::Open }
    }

    /// The connection's socket is gone.
    pub fn closed(&self, connection: ConnectionId) {
        self.0.sockets.borrow_mut().remove(&connection);
        self.0.shard.borrow_mut().closed(connection);
        self.settle();
    }

    /// Takes what the core says. Called on the shard's thread.
    pub fn on_core(&self, outputs: impl IntoIterator<Item = ShardOutput>) {
        {
            let now = self.now();
            let tree = self.0.tree.read();
            let mut shard = self.0.shard.borrow_mut();
            for output in outputs {
                shard.on_core(now, &tree, output);
            }
            let mut latency = self.0.counters.latency.lock();
            for wait_us in shard.take_waits_us() {
                latency.record(Duration::from_micros(wait_us));
            }
        }
        self.0.caught_up.notify_waiters();
        self.settle();
    }

    /// Reports the sessions heard of and publishes the numbers, again and again.
    pub async fn keep_reporting(self, every: Duration) {
        let mut rounds = tokio::time::interval(every);
        loop {
            rounds.tick().await;
            self.report_touched();
        }
    }

    fn report_touched(&self) {
        let touched = self.0.shard.borrow_mut().take_touched();
        self.send(touched.into_iter().collect());
        self.count();
    }

    fn now(&self) -> Micros {
        Micros(u64::try_from(self.0.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn settle(&self) {
        let inputs = self.0.shard.borrow_mut().take_for_core();
        self.send(inputs);
        self.wake();
    }

    fn send(&self, inputs: Vec<Input>) {
        if let Some(core) = &*self.0.core.borrow() {
            core.send(inputs);
        }
    }

    fn wake(&self) {
        let woken = self.0.shard.borrow_mut().take_woken();
        let sockets = self.0.sockets.borrow();
        for connection in woken {
            if let Some(socket) = sockets.get(&connection) {
                socket.waker.notify_one();
            }
        }
    }

    /// Counts bytes that came in.
    pub fn count_received(&self, bytes: usize) {
        self.0.counters.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes that went out.
    pub fn count_sent(&self, bytes: usize) {
        self.0.counters.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Publishes the numbers for other threads.
    fn count(&self) {
        let now = self.0.shard.borrow().counters();
        let counters = &self.0.counters;
        counters.received.store(now.received, Ordering::Relaxed);
        counters.sent.store(now.sent, Ordering::Relaxed);
        counters.connections.store(now.connections, Ordering::Relaxed);
        counters.watches.store(now.watches, Ordering::Relaxed);
        counters.outstanding.store(now.outstanding, Ordering::Relaxed);
        let sockets = self.0.sockets.borrow();
        let mut clients = counters.clients.lock();
        clients.clear();
        clients.extend(self.0.shard.borrow().connections().filter_map(|it| {
            let address = sockets.get(&it.connection)?.address;
            let (queued, received, sent) = (it.outstanding, it.received, it.sent);
            Some(ClientLine { address, queued, received, sent })
        }));
    }
}

/// What is kept of a connection's socket, which its task owns.
struct Socket {
    address: SocketAddr,
    waker: Rc<Notify>,
}

/// Whether a connection goes on after its output is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It goes on.
    Open,
    /// It ends.
    Closing,
}
