//! The log being written: group commit into prepared files.
//!
//! - A file is named after its first record. It was written full of zeros and synced before it got
//!   that name, so a `sync` into it changes no size and allocates no block: the file system commits
//!   nothing but our bytes.
//! - All that was appended since the last `sync` is one write and one `fdatasync`.
//! - A file found at start is never written to again; the first append starts a new one.

use bytes::Bytes;
use zab::Zxid;

use crate::disk::Dir;
use crate::error::{Error, Result};
use crate::files::{Files, OpenFile};
use crate::reader::BATCH_BYTES_MAX;
use crate::segment::{self, END_BYTES, HEADER_BYTES};

/// The file that becomes the next log file. Not `log.…`: Apache ZooKeeper would read it.
const PREPARED: &str = "prepared-log";
const PREPARED_TEMPORARY: &str = "prepared-log.tmp";
/// The same, made by the log itself because nothing was prepared; another name because both may
/// happen at once.
const HURRIED_TEMPORARY: &str = "prepared-log.hurried.tmp";

/// Size of a file made in a hurry, inside a sync: a few milliseconds' work.
const HURRIED_BYTES: u64 = 1024 * 1024;

/// Whether `next` may follow `last` in a log.
///
/// Inside an epoch zxids are contiguous. A new epoch starts at counter 1, whatever epochs were
/// skipped. A standalone Apache ZooKeeper knows no epochs and just counts: after 0:4294967295 comes
/// 1:0, which is `last + 1` too.
pub(crate) fn may_follow(last: Zxid, next: Zxid) -> bool {
    next == last.next() || (next.epoch() > last.epoch() && next.counter() == 1)
}

/// Makes the next log file ready, if it is not: full of zeros, durable. Takes long; not for the
/// thread that syncs.
pub(crate) fn prepare(files: &Files, bytes: u64) -> Result<()> {
    if files.exists(Dir::Log, PREPARED)? {
        return Ok(());
    }
    files.create_zeroed(Dir::Log, PREPARED_TEMPORARY, &segment::header(), bytes)?;
    files.rename(Dir::Log, PREPARED_TEMPORARY, PREPARED)?;
    files.sync_dir(Dir::Log)
}

/// The file records go to.
#[derive(Debug)]
struct Active {
    file: OpenFile,
    /// How far it was prepared.
    size: u64,
    /// Where the next record goes. Everything before is durable.
    end: u64,
}

/// Records not yet written.
#[derive(Debug)]
struct Batch {
    first: Zxid,
    last: Zxid,
    bytes: Vec<u8>,
}

/// The writing end of the log.
#[derive(Debug)]
pub(crate) struct TxnLog {
    files: Files,
    active: Option<Active>,
    batches: Vec<Batch>,
    /// Kept for its capacity.
    spare: Vec<u8>,
    segment_bytes: u64,
    last: Zxid,
    durable: Zxid,
    rolls: u64,
}

impl TxnLog {
    /// A log whose history ends, durably, with `last`.
    pub(crate) fn new(files: Files, segment_bytes: u64, last: Zxid) -> Self {
        Self {
            files,
            active: None,
            batches: Vec::new(),
            spare: Vec::new(),
            segment_bytes,
            last,
            durable: last,
            rolls: 0,
        }
    }

    /// The newest appended.
    pub(crate) fn last(&self) -> Zxid {
        self.last
    }

    /// The newest durable.
    pub(crate) fn durable(&self) -> Zxid {
        self.durable
    }

    /// How many files were started.
    pub(crate) fn rolls(&self) -> u64 {
        self.rolls
    }

    /// Takes a transaction into the next batch.
    pub(crate) fn append(&mut self, zxid: Zxid, payload: &Bytes) {
        assert!(
            may_follow(self.last, zxid),
            "{zxid} cannot follow {} in the log: zxids are contiguous in an epoch, \
             and a new epoch starts at counter 1",
            self.last
        );
        assert_eq!(segment::zxid(payload), zxid, "the payload carries the zxid it is logged under");
        let fits = |batch: &Batch| {
            batch.bytes.len() as u64 + segment::record_bytes(payload.len()) <= BATCH_BYTES_MAX
        };
        if !self.batches.last().is_some_and(fits) {
            self.batches.push(Batch {
                first: zxid,
                last: zxid,
                bytes: std::mem::take(&mut self.spare),
            });
        }
        let batch = self.batches.last_mut().expect("pushed above if missing");
        segment::push_record(&mut batch.bytes, payload);
        batch.last = zxid;
        self.last = zxid;
    }

    /// Makes everything appended durable.
    pub(crate) fn sync(&mut self) -> Result<()> {
        for batch in std::mem::take(&mut self.batches) {
            self.write(batch)?;
        }
        Ok(())
    }

    /// Lets the next append start a new file.
    pub(crate) fn roll(&mut self) -> Result<()> {
        let Some(mut active) = self.active.take() else {
            return Ok(());
        };
        // Gives back the prepared space. Needs no sync: zeros at the end mean the same.
        active.file.truncate(active.end + END_BYTES)
    }

    /// Forgets what was not written and goes on after `last`, the durable end of what is on disk
    /// now.
    pub(crate) fn reset(&mut self, last: Zxid) {
        self.active = None;
        self.batches.clear();
        self.last = last;
        self.durable = last;
    }

    fn write(&mut self, mut batch: Batch) -> Result<()> {
        let length = batch.bytes.len() as u64;
        let fits = |active: &Active| {
            length <= BATCH_BYTES_MAX && active.end + length + END_BYTES <= active.size
        };
        if !self.active.as_ref().is_some_and(fits) {
            self.roll()?;
            self.active = Some(self.start(batch.first)?);
        }
        let active = self.active.as_mut().expect("started above if missing");
        let end = active.end + length;
        batch.bytes.extend_from_slice(&segment::end(end, active.end));
        // To the end of its page, in zeros: a prepared file is not in the cache, and a page that is
        // overwritten whole is not read first.
        let padded_end = (end + END_BYTES).next_multiple_of(active.file.page_bytes());
        if padded_end <= active.size {
            batch.bytes.resize((padded_end - active.end) as usize, 0);
        }
        active.file.write_at(active.end, &batch.bytes)?;
        active.file.sync()?;
        active.end = end;
        // Not synced: it costs one system call, and reaches the disk with the next batch or by
        // itself.
        active.file.write_at(end, &segment::end(end, end))?;
        self.durable = batch.last;
        batch.bytes.clear();
        self.spare = batch.bytes;
        Ok(())
    }

    /// Gives the prepared file its name.
    fn start(&mut self, first: Zxid) -> Result<Active> {
        let name = segment::name(first);
        match self.files.rename(Dir::Log, PREPARED, &name) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let bytes = self.segment_bytes.min(HURRIED_BYTES);
                let header = segment::header();
                self.files.create_zeroed(Dir::Log, HURRIED_TEMPORARY, &header, bytes)?;
                self.files.rename(Dir::Log, HURRIED_TEMPORARY, &name)?;
            }
            other => other?,
        }
        self.files.sync_dir(Dir::Log)?;
        let file = self.files.open(Dir::Log, &name)?;
        self.rolls += 1;
        Ok(Active { size: file.size()?, file, end: HEADER_BYTES })
    }
}
