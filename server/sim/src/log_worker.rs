//! The log thread and the housekeeping of one process, one step at a time, in the order of production: see `log_thread`
//! and `housekeeping` of the server.

use std::collections::VecDeque;

use bytes::Bytes;
use replica::{Input, Rebuild};
use store::{Maintenance, SnapshotWriter, Store};
use tree::FrozenTree;
use zab::{AppendId, Epochs, Zxid};

use crate::check::Check;
use crate::planted::Planted;

/// One piece of work, in the order of the core's outputs.
#[derive(Debug)]
pub(crate) enum LogTask {
    Append { append: AppendId, zxid: Zxid, payload: Bytes },
    SaveEpochs(Epochs),
    Truncate { after: Zxid, rebuild: Rebuild },
    TakeSnapshot { tree: FrozenTree },
    InstallSnapshot { zxid: Zxid, tree: FrozenTree },
}

/// What a step led to.
#[derive(Debug)]
pub(crate) enum Done {
    /// Something for the core.
    Report(Input),
    /// A snapshot for the other thread.
    Snapshot(SnapshotWriter),
    /// Nothing to tell.
    Silent,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct LogWorker {
    host: usize,
    store: Store,
    pub(crate) maintenance: Maintenance,
    /// What arrived while the last batch was written.
    queue: Vec<LogTask>,
    batch: VecDeque<LogTask>,
    unsynced: Option<AppendId>,
    rolls: u64,
    /// A snapshot is being written.
    pub(crate) is_writing: bool,
    /// A step is in the event queue.
    pub(crate) is_scheduled: bool,
    planted: Option<Planted>,
}

impl LogWorker {
    pub(crate) fn new(host: usize, store: Store, planted: Option<Planted>) -> Self {
        Self {
            host,
            maintenance: store.maintenance(),
            rolls: store.rolls(),
            store,
            queue: Vec::new(),
            batch: VecDeque::new(),
            unsynced: None,
            is_writing: false,
            is_scheduled: false,
            planted,
        }
    }

    pub(crate) fn submit(&mut self, tasks: &mut Vec<LogTask>) {
        for task in tasks.drain(..) {
            let early = self.planted == Some(Planted::EpochBeforeHistory);
            if early && matches!(task, LogTask::SaveEpochs(_)) {
                let is_other = |task: &LogTask| !matches!(task, LogTask::Append { .. });
                let position = self.queue.iter().rposition(is_other).map_or(0, |other| other + 1);
                self.queue.insert(position, task);
            } else {
                self.queue.push(task);
            }
        }
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.queue.is_empty() || !self.batch.is_empty() || self.unsynced.is_some()
    }

    /// Whether a log file was started since the last call: the next one is to be prepared.
    pub(crate) fn has_rolled(&mut self) -> bool {
        std::mem::replace(&mut self.rolls, self.store.rolls()) != self.store.rolls()
    }

    /// Takes appends, which cost nothing yet, up to the next task that does, and does that: a sync before everything
    /// else and at the end of a batch.
    pub(crate) fn step(&mut self, check: &mut Check) -> Result<Done, store::Error> {
        if self.batch.is_empty() && self.unsynced.is_none() {
            self.batch.extend(self.queue.drain(..));
        }
        while let Some(LogTask::Append { .. }) = self.batch.front() {
            if let Some(LogTask::Append { append, zxid, payload }) = self.batch.pop_front() {
                self.store.append(zxid, &payload)?;
                check.on_written(self.host, zxid, &payload);
                self.unsynced = Some(append);
            }
        }
        if let Some(append) = self.unsynced.take() {
            self.store.sync()?;
            check.on_synced(self.host);
            return Ok(Done::Report(Input::Durable { append }));
        }
        match self.batch.pop_front() {
            Some(task) => self.carry_out(task, check),
            None => Ok(Done::Silent),
        }
    }

    fn carry_out(&mut self, task: LogTask, check: &mut Check) -> Result<Done, store::Error> {
        let host = self.host;
        Ok(match task {
            LogTask::Append { .. } => Done::Silent,
            LogTask::SaveEpochs(epochs) => {
                let saved = match self.planted {
                    // The promise is on the disk; it is the reading of it that is at fault.
                    Some(Planted::ForgottenPromise) => Epochs {
                        accepted: epochs.accepted.max(self.store.epochs().accepted),
                        current: epochs.current.max(self.store.epochs().current),
                    },
                    _ => epochs,
                };
                self.store.save_epochs(saved)?;
                check.on_epochs_saved(host, saved);
                match self.planted {
                    Some(Planted::EpochReportedEarly) => Done::Silent,
                    _ => Done::Report(Input::EpochsSaved { epochs }),
                }
            }
            LogTask::Truncate { after, rebuild } => {
                if self.planted != Some(Planted::TruncSkipped) {
                    check.on_cutting(host, after);
                    self.store.truncate(after)?;
                    check.on_cut(host, after);
                }
                let tree = match rebuild {
                    Rebuild::FromDisk if self.planted == Some(Planted::TreeNotRebuilt) => None,
                    Rebuild::Keep => None,
                    Rebuild::FromDisk => Some(Box::new(self.store.reload()?)),
                };
                Done::Report(Input::Truncated { after, tree })
            }
            LogTask::TakeSnapshot { tree } => {
                if self.is_writing {
                    return Ok(Done::Silent);
                }
                let snapshot = self.store.begin_snapshot(tree)?;
                self.is_writing = true;
                Done::Snapshot(snapshot)
            }
            LogTask::InstallSnapshot { zxid, .. }
                if self.planted == Some(Planted::SnapshotNotPersisted) =>
            {
                Done::Report(Input::SnapshotInstalled { zxid })
            }
            LogTask::InstallSnapshot { zxid, tree } => {
                let target = check.on_installing(host, zxid);
                self.store.install_snapshot(zxid, &tree)?;
                check.on_installed(host, target);
                Done::Report(Input::SnapshotInstalled { zxid })
            }
        })
    }
}
