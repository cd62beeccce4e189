//! One host: a disk, and while it runs a process made of production parts: replica, shard and store.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use replica::{ConnectionId, Input, Output, Replica, Shard};
use store::SnapshotWriter;
use tree::SharedTree;
use zab::{LinkId, Millis, Standing, Zxid};

use crate::disk::SimDisk;
use crate::history::NodeId;
use crate::log_worker::LogWorker;
use crate::profile::MS;
use crate::trace::Time;

/// What can happen to a running process.
#[derive(Debug)]
pub(crate) enum HostEvent {
    Input(Input),
    /// A tree has arrived whole.
    Snapshot {
        link: LinkId,
        to: Zxid,
        bytes: BytesMut,
        node: NodeId,
    },
    /// The timer set for this time goes off.
    Timer(Time),
    /// The log thread is done with its next step.
    LogStep,
    /// The snapshot thread is done.
    SnapshotWritten,
    /// The next log file is to be prepared.
    PrepareSegment,
    /// The shard reports whom it heard of.
    ReportTouched,
    /// A client connects.
    Accept {
        client: usize,
        attempt: u32,
    },
    /// Bytes of a client.
    Bytes {
        client: usize,
        attempt: u32,
        bytes: Bytes,
    },
    /// A client is gone.
    Gone {
        client: usize,
        attempt: u32,
    },
    /// Leadership is handed over, or that took too long: the process ends.
    Leave,
}

/// The server's end of a client connection.
#[derive(Debug)]
pub(crate) struct ClientEnd {
    pub(crate) client: usize,
    pub(crate) attempt: u32,
    pub(crate) input: BytesMut,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) replica: Replica,
    pub(crate) shard: Shard,
    pub(crate) tree: SharedTree,
    pub(crate) log: LogWorker,
    pub(crate) outputs: Vec<Output>,
    pub(crate) standing: Standing,
    pub(crate) started_at: Time,
    pub(crate) timer_at: Option<Time>,
    /// Ticks in the millisecond of the last one: time must pass.
    pub(crate) ticks: (Millis, u32),
    /// Reports of the log thread come one after the other.
    pub(crate) last_report_at: Time,
    /// Quorum links by number: the connection, and which end of it.
    pub(crate) links: BTreeMap<LinkId, (usize, usize)>,
    pub(crate) links_accepted: u64,
    pub(crate) clients: BTreeMap<ConnectionId, ClientEnd>,
    pub(crate) connections: u64,
    pub(crate) snapshot: Option<SnapshotWriter>,
    /// It was asked to leave.
    pub(crate) is_leaving: bool,
}

impl Process {
    /// Monotonic time in the process.
    pub(crate) fn monotonic(&self, now: Time) -> Millis {
        Millis((now - self.started_at) / MS)
    }

    /// The server's number of a client's connection.
    pub(crate) fn connection_of(&self, client: usize, attempt: u32) -> Option<ConnectionId> {
        let is_it = |end: &ClientEnd| end.client == client && end.attempt == attempt;
        self.clients.iter().find(|(_, end)| is_it(end)).map(|(id, _)| *id)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) config: replica::Config,
    pub(crate) disk: SimDisk,
    pub(crate) process: Option<Process>,
    /// Counts processes: events for an old one are dropped.
    pub(crate) incarnation: u32,
    pub(crate) is_paused: bool,
    /// What came in while it was paused.
    pub(crate) inbox: VecDeque<HostEvent>,
    /// It was started once with a data directory of its own.
    pub(crate) is_founded: bool,
    /// Until when its disk is slow.
    pub(crate) slow_until: Time,
    pub(crate) wall_ms: i64,
}
