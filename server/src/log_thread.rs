//! The thread that owns the store and does the blocking writes.
//!
//! Group commit needs no timer: one sync makes durable whatever arrived while the last one ran, and before it begins the
//! core may go first (measured: a third less time per write where both share a processor; where a stranger keeps that
//! processor busy all the time, fewer writes per second at the same latency). A failed write or sync
//! ends the process, because after it nobody knows what is on disk (ATC'20, "Can applications recover from fsync
//! failures?"); recovery decides at the next start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use replica::{Input, Rebuild};
use store::{SnapshotWriter, Store};
use tokio::sync::mpsc::UnboundedSender;
use tree::FrozenTree;
use zab::{AppendId, Epochs, Zxid};

use crate::housekeeping::Housekeeping;
use crate::status::Timing;

/// One piece of work, in the order of the core's outputs.
#[derive(Debug)]
pub enum LogTask {
    /// Append a transaction.
    Append {
        /// Its number.
        append: AppendId,
        /// Its zxid.
        zxid: Zxid,
        /// Its bytes.
        payload: Bytes,
    },
    /// Write the epoch files.
    SaveEpochs(Epochs),
    /// Cut the log.
    Truncate {
        /// The last zxid to keep.
        after: Zxid,
        /// Whether the tree must be loaded anew.
        rebuild: Rebuild,
    },
    /// Begin a periodic snapshot, which the snapshot thread writes.
    TakeSnapshot {
        /// The tree.
        tree: FrozenTree,
    },
    /// Replace all history by a snapshot.
    InstallSnapshot {
        /// The zxid it stands for.
        zxid: Zxid,
        /// Its tree.
        tree: FrozenTree,
    },
}

/// Numbers for status pages.
#[derive(Debug, Default)]
pub struct LogCounters {
    /// Syncs of the log.
    pub sync: Mutex<Timing>,
    /// Bytes appended.
    pub bytes: AtomicU64,
    /// Transactions appended.
    pub appends: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    tasks: Vec<LogTask>,
    is_closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

/// The core's end of the log thread.
#[derive(Debug)]
pub struct LogThread {
    shared: Arc<Shared>,
    counters: Arc<LogCounters>,
    thread: Option<JoinHandle<()>>,
}

impl LogThread {
    /// Starts the thread. What became durable is reported to `core`, snapshots to write and segments to prepare go to
    /// `housekeeping`.
    #[must_use]
    pub fn start(store: Store, core: UnboundedSender<Input>, housekeeping: Housekeeping) -> Self {
        let shared = Arc::new(Shared::default());
        let counters = Arc::new(LogCounters::default());
        let worker = Worker {
            rolls: store.rolls(),
            store,
            core,
            housekeeping,
            shared: shared.clone(),
            counters: counters.clone(),
            unsynced: None,
        };
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || worker.run())
            .expect("a thread can be started");
        Self { shared, counters, thread: Some(thread) }
    }

    /// Adds work; takes all of `tasks`. The queue is bounded by what clients and leader may have outstanding.
    pub fn submit(&self, tasks: &mut Vec<LogTask>) {
        if tasks.is_empty() {
            return;
        }
        self.shared.queue.lock().tasks.append(tasks);
        self.shared.arrived.notify_one();
    }

    /// Numbers for status pages.
    #[must_use]
    pub fn counters(&self) -> Arc<LogCounters> {
        self.counters.clone()
    }

    /// Finishes all work and ends the thread.
    pub fn finish(&mut self) {
        self.shared.queue.lock().is_closed = true;
        self.shared.arrived.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the log thread does not panic");
        }
    }
}

struct Worker {
    store: Store,
    core: UnboundedSender<Input>,
    housekeeping: Housekeeping,
    /// Log files started, as of the last look.
    rolls: u64,
    shared: Arc<Shared>,
    counters: Arc<LogCounters>,
    /// The newest append that is not synced yet.
    unsynced: Option<AppendId>,
}

impl Worker {
    fn run(mut self) {
        let mut tasks = Vec::new();
        loop {
            // The core was just told what is durable, and will answer it with more to write. On a busy processor it goes
            // first, so that the next sync carries that too; on an idle one this returns at once.
            std::thread::yield_now();
            {
                let mut queue = self.shared.queue.lock();
                while queue.tasks.is_empty() && !queue.is_closed {
                    self.shared.arrived.wait(&mut queue);
                }
                if queue.tasks.is_empty() {
                    return;
                }
                std::mem::swap(&mut queue.tasks, &mut tasks);
            }
            for task in tasks.drain(..) {
                if let Err(error) = self.carry_out(task) {
                    stop(&error);
                }
            }
            if let Err(error) = self.sync() {
                stop(&error);
            }
            if self.rolls != self.store.rolls() {
                self.rolls = self.store.rolls();
                self.housekeeping.prepare_segment();
            }
        }
    }

    fn carry_out(&mut self, task: LogTask) -> Result<(), store::Error> {
        match task {
            LogTask::Append { append, zxid, payload } => {
                self.counters.appends.fetch_add(1, Ordering::Relaxed);
                self.counters.bytes.fetch_add(payload.len() as u64, Ordering::Relaxed);
                self.store.append(zxid, &payload)?;
                self.unsynced = Some(append);
            }
            LogTask::SaveEpochs(epochs) => {
                self.sync()?;
                self.store.save_epochs(epochs)?;
                self.report(Input::EpochsSaved { epochs });
            }
            LogTask::Truncate { after, rebuild } => {
                self.sync()?;
                self.store.truncate(after)?;
                tracing::info!(%after, "log cut: the leader has no more of it");
                let tree = match rebuild {
                    Rebuild::Keep => None,
                    Rebuild::FromDisk => Some(Box::new(self.store.reload()?)),
                };
                self.report(Input::Truncated { after, tree });
            }
            LogTask::TakeSnapshot { tree } => {
                self.sync()?;
                // A frozen tree costs memory as the live one changes: one in the making is enough.
                if self.housekeeping.is_writing_snapshot() {
                    tracing::info!("snapshot left out: the last one is still being written");
                } else {
                    let snapshot: SnapshotWriter = self.store.begin_snapshot(tree)?;
                    self.housekeeping.write_snapshot(snapshot);
                }
            }
            LogTask::InstallSnapshot { zxid, tree } => {
                self.sync()?;
                self.store.install_snapshot(zxid, &tree)?;
                tracing::info!(%zxid, "history replaced by a snapshot of the leader");
                self.report(Input::SnapshotInstalled { zxid });
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), store::Error> {
        let Some(append) = self.unsynced.take() else { return Ok(()) };
        let start = Instant::now();
        self.store.sync()?;
        self.counters.sync.lock().record(start.elapsed());
        self.report(Input::Durable { append });
        Ok(())
    }

    fn report(&self, input: Input) {
        // The core is gone only when the process ends.
        let _ = self.core.send(input);
    }
}

/// Ends the process: acknowledging anything after a failed write could be a lie.
fn stop(error: &store::Error) -> ! {
    tracing::error!(%error, "the log cannot be written; the server stops");
    std::process::exit(EXIT_STORAGE.into());
}

/// Exit code of a server whose storage failed or is damaged.
pub const EXIT_STORAGE: u8 = 3;
