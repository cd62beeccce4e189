//! Work beside the log, for other threads: writing snapshots, preparing log files, deleting old
//! ones.
//!
//! All of it meets the owner of the store only at the gate: whoever changes which snapshots count
//! holds it. A snapshot that was begun before the history was cut must not appear afterwards; it
//! would bring back what was cut (ZOOKEEPER-4837).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tree::FrozenTree;
use zab::Zxid;

use crate::disk::Dir;
use crate::error::Result;
use crate::files::Files;
use crate::snapshot_file::Source;
use crate::{recovery, retention, segment, snapshot_file, txn_log};

/// Counts how often history was cut or replaced.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<Mutex<u64>>);

impl Gate {
    /// Shuts everybody else out while snapshots are published or removed.
    pub(crate) fn enter(&self) -> MutexGuard<'_, u64> {
        // The counter is valid whatever its holder was doing when it panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is durable.
    Durable,
    /// History was cut or replaced meanwhile; it was thrown away.
    Outdated,
}

/// A snapshot to be written, on any thread, while the store goes on.
#[derive(Debug)]
pub struct SnapshotWriter {
    pub(crate) files: Files,
    pub(crate) gate: Gate,
    pub(crate) generation: u64,
    pub(crate) tree: FrozenTree,
}

impl SnapshotWriter {
    /// The zxid it stands for.
    #[must_use]
    pub fn zxid(&self) -> Zxid {
        Zxid(self.tree.last_zxid())
    }

    /// Writes it durably. `throttle` is called with the number of bytes written since the last
    /// call, about every mebibyte, and may sleep.
    ///
    /// # Errors
    /// When it cannot be written. Older snapshots and the log are untouched; the next start removes
    /// what was written.
    pub fn write(self, throttle: &mut dyn FnMut(usize)) -> Result<Written> {
        let zxid = self.zxid();
        let temporary =
            snapshot_file::write_temporary(&self.files, Source::Own, zxid, &self.tree, throttle)?;
        let generation = self.gate.enter();
        if *generation != self.generation {
            self.files.remove(Dir::Data, &temporary)?;
            return Ok(Written::Outdated);
        }
        snapshot_file::publish(&self.files, &temporary, zxid)?;
        Ok(Written::Durable)
    }
}

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Snapshots.
    pub snapshots: usize,
    /// Log files.
    pub logs: usize,
}

/// Housekeeping, on any thread.
#[derive(Clone, Debug)]
pub struct Maintenance {
    pub(crate) files: Files,
    pub(crate) gate: Gate,
    pub(crate) segment_bytes: u64,
}

impl Maintenance {
    /// Makes the next log file ready: full of zeros, synced. To be called at start and whenever the
    /// log has rolled (`Store::rolls`); does nothing when one is ready. Without it the log still
    /// works, with slower syncs.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn prepare_segment(&self) -> Result<()> {
        txn_log::prepare(&self.files, self.segment_bytes)
    }

    /// Deletes what recovery no longer needs: all but the newest `keep` snapshots (at least 3), and
    /// the log files before the oldest of those.
    ///
    /// # Errors
    /// When something cannot be read or deleted.
    pub fn remove_old(&self, keep: usize) -> Result<Removed> {
        let _gate = self.gate.enter();
        let snapshots = snapshot_file::list(&self.files)?;
        let mut all = Vec::new();
        let mut whole = Vec::new();
        for snapshot in &snapshots {
            all.push(snapshot.zxid);
            if snapshot_file::looks_whole(&self.files, &snapshot.name)? {
                whole.push(snapshot.zxid);
            }
        }
        let doomed = retention::choose(&all, &whole, &recovery::logs(&self.files)?, keep);
        for snapshot in snapshots {
            if doomed.snapshots.contains(&snapshot.zxid) {
                self.files.remove(Dir::Data, &snapshot.name)?;
            }
        }
        // A snapshot must not outlive the log it needs.
        self.files.sync_dir(Dir::Data)?;
        // Oldest first, each for good before the next: what a power cut leaves has no gap.
        for first in &doomed.logs {
            self.files.remove(Dir::Log, &segment::name(*first))?;
            self.files.sync_dir(Dir::Log)?;
        }
        Ok(Removed { snapshots: doomed.snapshots.len(), logs: doomed.logs.len() })
    }
}
