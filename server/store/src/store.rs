//! The store of one server, owned by one thread.

use std::sync::Arc;

use bytes::Bytes;
use tree::{DataTree, FrozenTree};
use zab::{Epoch, Epochs, Zxid};

use crate::disk::{Dir, Disk};
use crate::error::{Error, Result};
use crate::files::Files;
use crate::maintenance::{Gate, Maintenance, SnapshotWriter};
use crate::recovery::{self, History, Report};
use crate::snapshot_file::Source;
use crate::txn_log::TxnLog;
use crate::{cut, epoch_file, log_marker, segment, snapshot_file};

/// Says that an empty data directory is the right one (`zookeeper-server-initialize` of Apache
/// ZooKeeper makes it).
const INITIALIZE: &str = "initialize";

/// Present while a server that lost its data, or never had any, has not yet adopted a leader's
/// history.
const UNTRUSTED: &str = "untrusted";

/// What an empty directory means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// A new server (`zookeeper.db.autocreate`, the default there).
    IsNew,
    /// Lost data, unless a file `initialize` says otherwise: the server must learn before it may
    /// vote.
    IsSuspect,
}

/// How to open a store.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Length of a prepared log file in bytes; the log rolls when it is full. Below 2 GiB.
    pub segment_bytes: u64,
    /// How many bytes of the newest transactions to return from `open`.
    pub history_bytes: usize,
    /// What an empty directory means.
    pub empty: Empty,
    /// Seed of the tree's hash tables; random in production, fixed where runs must repeat.
    pub hash_seed: u64,
}

impl Default for Options {
    /// 64 MiB log files, as Apache ZooKeeper preallocates, and as much history.
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            history_bytes: 64 * 1024 * 1024,
            empty: Empty::IsNew,
            hash_seed: 0,
        }
    }
}

/// What was on the disk.
#[derive(Debug)]
pub struct Recovered {
    /// The state after the last transaction in the log.
    pub tree: DataTree,
    /// The epoch files. `current` may be older than the epoch of `last`: history is durable before
    /// its epoch is.
    pub epochs: Epochs,
    /// The last zxid of snapshot and log together.
    pub last: Zxid,
    /// The newest transactions, oldest first, contiguous, ending with `last`; may be empty.
    pub recent: Vec<(Zxid, Bytes)>,
    /// Whether the server may vote with what it has.
    pub trusted: bool,
    /// What was done.
    pub report: Report,
}

/// Log, snapshots and epochs of one server.
///
/// Everything blocks. After the first failure every further call fails: what is on the disk is
/// unknown then, and only a new start can tell.
#[derive(Debug)]
pub struct Store {
    files: Files,
    gate: Gate,
    log: TxnLog,
    epochs: Epochs,
    trusted: bool,
    options: Options,
    failed: Option<String>,
}

impl Store {
    /// Recovers what is on the disk, cuts a torn tail of the log, and initializes an empty
    /// directory.
    ///
    /// # Errors
    /// `Corrupt` and `Refused` when the files are not what a crash can leave of a correct history;
    /// nothing is changed then. `Io` when the disk fails.
    pub fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Self, Recovered)> {
        let files = Files::new(disk);
        let found = recovery::recover(&files, options.history_bytes, options.hash_seed)?;
        let history = match found {
            Some(history) => history,
            None => initialize(&files, &options)?,
        };
        log_marker::check(&files, history.last)?;
        let epochs = epoch_file::read(&files, history.last.epoch())?;
        make_durable(&files)?;
        cut::repair(&files, &history.repair)?;
        epoch_file::complete(&files, epochs)?;
        log_marker::leave(&files)?;
        remove_leftovers(&files)?;
        let trusted = settle_trust(&files, options.empty, history.last, epochs)?;
        let store = Self {
            log: TxnLog::new(files.clone(), options.segment_bytes, history.last),
            files,
            gate: Gate::default(),
            epochs,
            trusted,
            options,
            failed: None,
        };
        let recovered = Recovered {
            tree: history.tree,
            epochs,
            last: history.last,
            recent: history.recent.into_vec(),
            trusted,
            report: history.report,
        };
        Ok((store, recovered))
    }

    /// The newest transaction appended.
    #[must_use]
    pub fn last(&self) -> Zxid {
        self.log.last()
    }

    /// The newest transaction that is durable.
    #[must_use]
    pub fn durable(&self) -> Zxid {
        self.log.durable()
    }

    /// The epochs on the disk.
    #[must_use]
    pub fn epochs(&self) -> Epochs {
        self.epochs
    }

    /// How many log files were started; when it grows, `Maintenance::prepare_segment` has something
    /// to do.
    #[must_use]
    pub fn rolls(&self) -> u64 {
        self.log.rolls()
    }

    /// Appends a transaction; durable after the next `sync`.
    ///
    /// # Errors
    /// Only `Poisoned`.
    ///
    /// # Panics
    /// When `zxid` does not follow the last one, is not the one inside the payload, or is of an
    /// epoch that was not accepted: the next start would refuse the log, and one gap in it stops
    /// every Apache ZooKeeper server it reaches.
    pub fn append(&mut self, zxid: Zxid, payload: &Bytes) -> Result<()> {
        assert!(
            zxid.epoch() <= self.epochs.accepted,
            "{zxid} is logged before its epoch is accepted; the last accepted is {}",
            self.epochs.accepted
        );
        self.guard(|store| {
            store.log.append(zxid, payload);
            Ok(())
        })
    }

    /// Makes everything appended durable, in one write and one sync; the newest durable zxid.
    ///
    /// # Errors
    /// When the disk fails; fatal.
    pub fn sync(&mut self) -> Result<Zxid> {
        self.guard(|store| {
            store.log.sync()?;
            Ok(store.log.durable())
        })
    }

    /// Makes everything appended durable, then the epochs: an epoch never vouches for history that
    /// may vanish (ZOOKEEPER-4643).
    ///
    /// # Errors
    /// When the disk fails; fatal.
    ///
    /// # Panics
    /// When an epoch would go back, or be adopted before it is accepted.
    pub fn save_epochs(&mut self, epochs: Epochs) -> Result<()> {
        self.guard(|store| {
            store.log.sync()?;
            epoch_file::save(&store.files, store.epochs, epochs)?;
            store.epochs = epochs;
            if !store.trusted && epochs.current > Epoch(0) {
                store.files.remove(Dir::Data, UNTRUSTED)?;
                store.files.sync_dir(Dir::Data)?;
                store.trusted = true;
            }
            Ok(())
        })
    }

    /// Drops every transaction and every snapshot after `after`, durably; `reload` gives the state
    /// that is left.
    ///
    /// # Errors
    /// `Refused` when `after` is neither in the log nor a snapshot, or no snapshot at or before it
    /// is left to start from. `Io` when the disk fails.
    pub fn truncate(&mut self, after: Zxid) -> Result<()> {
        self.guard(|store| {
            store.log.sync()?;
            if after >= store.log.last() {
                return Ok(());
            }
            let gate = store.gate.clone();
            let mut generation = gate.enter();
            *generation += 1;
            store.check_can_return_to(after)?;
            // In this order the log that is left always reaches back to the snapshots that are
            // left.
            for snapshot in snapshot_file::list(&store.files)?.iter().rev() {
                if snapshot.zxid > after {
                    store.files.remove(Dir::Data, &snapshot.name)?;
                }
            }
            store.files.sync_dir(Dir::Data)?;
            cut::cut_log(&store.files, after)?;
            store.log.reset(after);
            Ok(())
        })
    }

    /// Reads the state from the disk again.
    ///
    /// # Errors
    /// As `open`.
    pub fn reload(&mut self) -> Result<DataTree> {
        self.guard(|store| {
            store.log.sync()?;
            let history = recovery::recover(&store.files, 0, store.options.hash_seed)?;
            let last = history.as_ref().map(|history| history.last);
            match history {
                Some(history) if history.last == store.log.last() => Ok(history.tree),
                _ => Err(Error::Refused {
                    path: store.files.path(Dir::Log, ""),
                    what: format!(
                        "the history read back ends with {last:?}, expected {}",
                        store.log.last()
                    ),
                }),
            }
        })
    }

    /// Makes a snapshot received from a leader the state as of `zxid`, durably, and starts a new
    /// history there.
    ///
    /// # Errors
    /// When the disk fails; fatal.
    ///
    /// # Panics
    /// When the tree is newer than `zxid`, or `zxid` is of an epoch that was not accepted.
    pub fn install_snapshot(&mut self, zxid: Zxid, tree: &FrozenTree) -> Result<()> {
        assert!(
            tree.last_zxid() <= zxid.0,
            "the state received is as of {zxid}, not of {}",
            Zxid(tree.last_zxid())
        );
        assert!(
            zxid.epoch() <= self.epochs.accepted,
            "a snapshot of {zxid} comes before its epoch is accepted; the last accepted is {}",
            self.epochs.accepted
        );
        self.guard(|store| {
            let gate = store.gate.clone();
            let mut generation = gate.enter();
            *generation += 1;
            store.log.reset(store.log.durable());
            // Nothing that is replayed on top of the new snapshot may survive it.
            cut::cut_log(&store.files, zxid)?;
            let temporary = snapshot_file::write_temporary(
                &store.files,
                Source::Leader,
                zxid,
                tree,
                &mut |_| {},
            )?;
            snapshot_file::publish(&store.files, &temporary, zxid)?;
            // The old history may hold transactions that the leader's does not. It must not be
            // found again.
            for snapshot in snapshot_file::list(&store.files)?.iter().rev() {
                if snapshot.zxid != zxid || snapshot.name != snapshot_file::name(zxid) {
                    store.files.remove(Dir::Data, &snapshot.name)?;
                }
            }
            store.files.sync_dir(Dir::Data)?;
            // Oldest first, each for good before the next: what a power cut leaves has no gap.
            for first in recovery::logs(&store.files)? {
                store.files.remove(Dir::Log, &segment::name(first))?;
                store.files.sync_dir(Dir::Log)?;
            }
            store.log.reset(zxid);
            Ok(())
        })
    }

    /// Begins a snapshot of the state as of some transaction that was appended: makes the log
    /// durable, lets it go on in a new file, and returns what writes the snapshot.
    ///
    /// # Errors
    /// When the disk fails; fatal.
    ///
    /// # Panics
    /// When the tree is newer than the log.
    pub fn begin_snapshot(&mut self, tree: FrozenTree) -> Result<SnapshotWriter> {
        assert!(
            tree.last_zxid() <= self.log.last().0,
            "the state is as of {}, but the log ends with {}",
            Zxid(tree.last_zxid()),
            self.log.last()
        );
        self.guard(|store| {
            store.log.sync()?;
            store.log.roll()?;
            let generation = *store.gate.enter();
            Ok(SnapshotWriter {
                files: store.files.clone(),
                gate: store.gate.clone(),
                generation,
                tree,
            })
        })
    }

    /// Housekeeping for another thread.
    #[must_use]
    pub fn maintenance(&self) -> Maintenance {
        Maintenance {
            files: self.files.clone(),
            gate: self.gate.clone(),
            segment_bytes: self.options.segment_bytes,
        }
    }

    /// Runs an operation unless one has failed before.
    fn guard<T>(&mut self, operation: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if let Some(first) = &self.failed {
            return Err(Error::Poisoned { first: first.clone() });
        }
        let result = operation(self);
        if let Err(error) = &result {
            self.failed = Some(error.to_string());
        }
        result
    }

    /// Whether there is a history that ends exactly with `after`.
    fn check_can_return_to(&self, after: Zxid) -> Result<()> {
        let snapshots = snapshot_file::list(&self.files)?;
        let refuse = |what| Err(Error::Refused { path: self.files.path(Dir::Log, ""), what });
        if snapshots.iter().all(|snapshot| snapshot.zxid > after) {
            return refuse(format!(
                "the history cannot be cut after {after}: no snapshot is that old"
            ));
        }
        if snapshots.iter().any(|snapshot| snapshot.zxid == after)
            || cut::log_has(&self.files, after)?
        {
            return Ok(());
        }
        refuse(format!("the history cannot be cut after {after}: it has no such transaction"))
    }
}

/// Makes an empty directory a data directory, with a snapshot of the empty tree: from then on, a
/// log without a snapshot is a loss.
fn initialize(files: &Files, options: &Options) -> Result<History> {
    let epochs = epoch_file::read(files, Epoch(0))?;
    if epochs != Epochs::default() {
        return Err(Error::Refused {
            path: files.path(Dir::Data, ""),
            what: format!(
                "epoch {} was accepted here, but there is neither snapshot nor log; they were lost",
                epochs.accepted
            ),
        });
    }
    if options.empty == Empty::IsSuspect {
        files.create(Dir::Data, UNTRUSTED)?.sync()?;
        files.sync_dir(Dir::Data)?;
    }
    let tree = DataTree::new(options.hash_seed).freeze();
    let temporary =
        snapshot_file::write_temporary(files, Source::Own, Zxid::ZERO, &tree, &mut |_| {})?;
    snapshot_file::publish(files, &temporary, Zxid::ZERO)?;
    let mut history =
        recovery::recover(files, 0, options.hash_seed)?.expect("a snapshot was published just now");
    history.report.initialized = true;
    Ok(history)
}

/// Makes durable what was read. When only the process died, the system still shows what it
/// had written and not synced; nobody must build on that while a power cut can take it away.
fn make_durable(files: &Files) -> Result<()> {
    for dir in [Dir::Data, Dir::Log] {
        for name in files.list(dir)? {
            files.open(dir, &name)?.sync()?;
        }
        files.sync_dir(dir)?;
    }
    Ok(())
}

/// Whether the server may vote. Only an operator's word, or a leader's history, makes an empty
/// suspect trusted.
fn settle_trust(files: &Files, empty: Empty, last: Zxid, epochs: Epochs) -> Result<bool> {
    let initialize = files.exists(Dir::Home, INITIALIZE)?;
    let mut trusted = !files.exists(Dir::Data, UNTRUSTED)?;
    // The power may have failed after a leader's history was adopted and before that was noted.
    let has_adopted = epochs.current > Epoch(0);
    let may_be_empty = last == Zxid::ZERO && (initialize || empty == Empty::IsNew);
    if !trusted && (has_adopted || may_be_empty) {
        files.remove(Dir::Data, UNTRUSTED)?;
        files.sync_dir(Dir::Data)?;
        trusted = true;
    }
    if initialize {
        files.remove(Dir::Home, INITIALIZE)?;
        files.sync_dir(Dir::Home)?;
    }
    Ok(trusted)
}

/// Removes unfinished files. Whether that survives a crash does not matter.
fn remove_leftovers(files: &Files) -> Result<()> {
    for dir in [Dir::Data, Dir::Log] {
        for name in files.list(dir)? {
            if name.ends_with(".tmp") {
                files.remove(dir, &name)?;
            }
        }
    }
    Ok(())
}
