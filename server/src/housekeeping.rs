//! Work on the disk that nobody waits for, each kind on a thread of its own: writing snapshots and deleting what they
//! make superfluous; filling the next log file with zeros.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use parking_lot::Mutex;
use store::{Maintenance, SnapshotWriter, Written};

use crate::status::Timing;

/// Numbers for status pages.
#[derive(Debug, Default)]
pub struct SnapshotCounters {
    /// Snapshots written.
    pub written: Mutex<Timing>,
    /// Snapshots that failed. The log still holds everything.
    pub failures: AtomicU64,
    is_writing: AtomicBool,
}

/// The ends of both threads that others hold. Cheap to clone; the threads end with the last clone.
#[derive(Clone, Debug)]
pub struct Housekeeping {
    snapshots: Sender<SnapshotWriter>,
    segments: Sender<()>,
    counters: Arc<SnapshotCounters>,
}

impl Housekeeping {
    /// Starts both threads, and the first segment at once. `snapshots_max` snapshots are kept.
    #[must_use]
    pub fn start(maintenance: Maintenance, snapshots_max: usize) -> Self {
        let counters = Arc::new(SnapshotCounters::default());
        let (snapshots, writers) = channel();
        let (segments, wishes) = channel();
        let (counted, kept) = (counters.clone(), maintenance.clone());
        spawn("snapshot", move || write_snapshots(&writers, &kept, snapshots_max, &counted));
        spawn("segment", move || prepare_segments(&wishes, &maintenance));
        let housekeeping = Self { snapshots, segments, counters };
        housekeeping.prepare_segment();
        housekeeping
    }

    /// Whether a snapshot is being written.
    #[must_use]
    pub fn is_writing_snapshot(&self) -> bool {
        self.counters.is_writing.load(Ordering::Acquire)
    }

    /// Writes a snapshot.
    pub fn write_snapshot(&self, snapshot: SnapshotWriter) {
        self.counters.is_writing.store(true, Ordering::Release);
        self.snapshots.send(snapshot).expect("the thread lives as long as its queue");
    }

    /// Makes the next log file ready.
    pub fn prepare_segment(&self) {
        self.segments.send(()).expect("the thread lives as long as its queue");
    }

    /// Numbers for status pages.
    #[must_use]
    pub fn counters(&self) -> &SnapshotCounters {
        &self.counters
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).expect("a thread can be started");
}

fn write_snapshots(
    writers: &Receiver<SnapshotWriter>,
    maintenance: &Maintenance,
    snapshots_max: usize,
    counters: &SnapshotCounters,
) {
    for writer in writers {
        let (zxid, start) = (writer.zxid(), Instant::now());
        match writer.write(&mut |_bytes| {}) {
            Ok(Written::Durable) => {
                let took_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
                counters.written.lock().record(start.elapsed());
                tracing::info!(%zxid, took_ms, "snapshot written");
            }
            Ok(Written::Outdated) => {
                tracing::info!(%zxid, "snapshot thrown away: history was replaced meanwhile");
            }
            Err(error) => {
                counters.failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%zxid, %error, "snapshot failed; the log still holds everything");
            }
        }
        if let Err(error) = maintenance.remove_old(snapshots_max) {
            tracing::warn!(%error, "old snapshots and logs could not be deleted");
        }
        counters.is_writing.store(false, Ordering::Release);
    }
}

fn prepare_segments(wishes: &Receiver<()>, maintenance: &Maintenance) {
    for () in wishes {
        if let Err(error) = maintenance.prepare_segment() {
            tracing::warn!(%error, "the next log file could not be prepared; syncs will be slower");
        }
    }
}
