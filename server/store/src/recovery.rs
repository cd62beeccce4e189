//! What is on the disk, made into a history: the newest good snapshot and the log after it.
//!
//! Nothing is changed here. A crash can leave exactly one flaw, a torn tail of the newest log file,
//! and only that is reported as something to cut; anything else is refused, because going on would
//! drop transactions that may have been acknowledged.

use std::collections::VecDeque;
use std::path::PathBuf;

use bytes::Bytes;
use jute::txn::{TxnDigest, decode_log_payload};
use tree::{ApplyMode, Change, DataTree};
use zab::Zxid;

use crate::disk::Dir;
use crate::error::{Error, Result};
use crate::files::Files;
use crate::reader::{Reader, Tail};
use crate::segment;
use crate::snapshot_file::{self, Form};
use crate::txn_log::may_follow;

/// What a start found and did, for the log of the server and for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The directory was empty and has been initialized.
    pub initialized: bool,
    /// The snapshot that was loaded.
    pub snapshot: Zxid,
    /// Newer snapshots that are damaged, and how. The log made up for them.
    pub snapshots_skipped: Vec<(PathBuf, String)>,
    /// Transactions applied on top of the snapshot.
    pub transactions_replayed: u64,
    /// The tree is not the one whose digest the leader logged with the last transaction: this
    /// server and that leader have diverged, or one of them computes digests wrongly. Reported, not
    /// refused, as in Apache ZooKeeper.
    pub digest_differs: bool,
    /// The torn tail that was cut, if there was one.
    pub cut: Option<Cut>,
    /// The log did not lead up to the snapshot, which a leader sent in place of it. It was removed.
    pub log_replaced: bool,
}

/// A torn tail: what a crash left of a write that was never reported durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file.
    pub path: PathBuf,
    /// Its length in bytes afterwards.
    pub offset: u64,
    /// What was wrong with the tail.
    pub what: String,
}

/// What to do to the newest log files before anything is appended.
#[derive(Debug, Default)]
pub(crate) struct Repair {
    /// Cut this file to this length and sync it.
    pub(crate) torn: Option<(String, u64)>,
    /// Give back the prepared space of this file.
    pub(crate) trim: Option<(String, u64)>,
    /// Remove these files: they hold no record, or those of another history.
    pub(crate) empty: Vec<String>,
    /// Write this part of a file once more, as it was read, and sync it.
    pub(crate) unsure: Option<Unsure>,
}

/// What was read and may be in the memory of the system only. When a sync fails, the system may keep what it could not
/// write and take it for written (ext4 does); no later sync would write it.
#[derive(Debug)]
pub(crate) struct Unsure {
    pub(crate) name: String,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// The state of the disk as a history.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) tree: DataTree,
    pub(crate) last: Zxid,
    pub(crate) recent: Recent,
    pub(crate) report: Report,
    pub(crate) repair: Repair,
}

/// The log files, oldest first.
pub(crate) fn logs(files: &Files) -> Result<Vec<Zxid>> {
    let names = files.list(Dir::Log)?;
    let mut logs: Vec<_> = names.iter().filter_map(|n| segment::zxid_of(n)).collect();
    logs.sort_unstable();
    Ok(logs)
}

/// Reads everything. `None` when there is neither snapshot nor log.
pub(crate) fn recover(
    files: &Files,
    history_bytes: usize,
    hash_seed: u64,
) -> Result<Option<History>> {
    let logs = logs(files)?;
    let Some((tree, base, snapshots_skipped)) = newest_snapshot(files, hash_seed)? else {
        return match logs.first() {
            None => Ok(None),
            Some(first) => Err(Error::Refused {
                path: files.path(Dir::Log, &segment::name(*first)),
                what: "there is a log but no snapshot it starts from; the snapshots were lost"
                    .into(),
            }),
        };
    };
    let newest_seen = snapshots_skipped.first().map_or(base, |(zxid, ..)| *zxid);
    let skipped = snapshots_skipped.iter().map(|(zxid, ..)| *zxid).collect();
    let mut replay = Replay {
        files,
        base,
        history: History {
            tree,
            last: base,
            recent: Recent::new(history_bytes),
            report: Report {
                snapshot: base,
                snapshots_skipped: snapshots_skipped
                    .into_iter()
                    .map(|(_, path, what)| (path, what))
                    .collect(),
                ..Report::default()
            },
            repair: Repair::default(),
        },
        skipped,
        previous: None,
        digest: None,
        changes: Vec::new(),
        torn: None,
    };
    let start = logs.iter().rposition(|first| *first <= base.next()).unwrap_or(0);
    for first in &logs[start..] {
        replay.file(&segment::name(*first))?;
    }
    let last_logged = match replay.previous {
        None => last_record(files, &logs[..start])?,
        some => some,
    };
    let mut history = replay.finish();
    if history.last < newest_seen {
        return Err(Error::Refused {
            path: files.path(Dir::Data, &snapshot_file::name(newest_seen)),
            what: format!(
                "this snapshot is damaged, and the log after the older one of {base} ends with \
                 {}; \
                 the transactions between are lost",
                history.last
            ),
        });
    }
    if last_logged.is_some_and(|last| last < base) {
        // The power failed between a received snapshot and the removal of the log it replaces. The next transaction must not
        // make that log look as if it led up to it.
        let empty = logs.iter().map(|first| segment::name(*first)).collect();
        history.repair = Repair { empty, ..Repair::default() };
        history.report.cut = None;
        history.report.log_replaced = true;
        return Ok(Some(history));
    }
    extend_recent(files, &logs[..start], base, &mut history.recent)?;
    Ok(Some(history))
}

/// The last record in these log files.
fn last_record(files: &Files, logs: &[Zxid]) -> Result<Option<Zxid>> {
    for first in logs.iter().rev() {
        let mut reader = Reader::open(files, &segment::name(*first))?;
        let mut last = None;
        while let Some(record) = reader.next()? {
            last = Some(record.zxid);
        }
        if last.is_some() {
            return Ok(last);
        }
    }
    Ok(None)
}

/// The newest good snapshot with its zxid, and the damaged ones that are newer, newest first.
type NewestSnapshot = (DataTree, Zxid, Vec<(Zxid, PathBuf, String)>);

fn newest_snapshot(files: &Files, hash_seed: u64) -> Result<Option<NewestSnapshot>> {
    let mut snapshots = snapshot_file::list(files)?;
    snapshots.reverse();
    let mut skipped: Vec<(Zxid, PathBuf, String)> = Vec::new();
    for snapshot in snapshots {
        let path = files.path(Dir::Data, &snapshot.name);
        if snapshot.form == Form::Compressed {
            return Err(Error::Refused {
                path,
                what: "compressed snapshots are not supported yet; let Apache ZooKeeper take one \
                       without zookeeper.snapshot.compression.method"
                    .into(),
            });
        }
        match snapshot_file::load(files, &snapshot.name, snapshot.zxid, hash_seed)? {
            Ok(tree) => return Ok(Some((tree, snapshot.zxid, skipped))),
            Err(what) => skipped.push((snapshot.zxid, path, what)),
        }
    }
    match skipped.into_iter().next() {
        None => Ok(None),
        Some((_, path, what)) => Err(Error::Refused {
            path,
            what: format!("no good snapshot is left; the newest is damaged: {what}"),
        }),
    }
}

/// Carries the history along the log files.
struct Replay<'a> {
    files: &'a Files,
    base: Zxid,
    history: History,
    /// The damaged snapshots that are newer.
    skipped: Vec<Zxid>,
    /// The record before, whether it was applied or not.
    previous: Option<Zxid>,
    /// The digest that the leader computed for the tree after the last transaction.
    digest: Option<TxnDigest>,
    /// What watches would have been told; of no use here.
    changes: Vec<Change>,
    /// A torn tail, its file and the last good zxid before it; no record may follow, with one
    /// exception.
    torn: Option<(Cut, String, Zxid)>,
}

impl Replay<'_> {
    fn file(&mut self, name: &str) -> Result<()> {
        let mut reader = Reader::open(self.files, name)?;
        let mut records = 0_u64;
        while let Some(record) = reader.next()? {
            if records == 0 {
                self.begin(&reader, record.zxid)?;
            }
            records += 1;
            self.record(&reader, record.offset, record.zxid, record.payload)?;
        }
        if records > 0 {
            let (from, to) = (reader.durable()?, reader.offset());
            self.history.repair.unsure =
                (from < to).then(|| Unsure { name: name.to_owned(), from, to });
        }
        match reader.tail()? {
            Tail::Clean if records == 0 => self.history.repair.empty.push(name.to_owned()),
            Tail::Clean => {
                let used = reader.offset() + segment::END_BYTES;
                self.history.repair.trim = (reader.size() > used).then(|| (name.to_owned(), used));
            }
            Tail::Torn { what } => {
                let cut = Cut { path: reader.path().to_owned(), offset: reader.offset(), what };
                // The first of several is the one to report; those after it hold no record.
                let last = self.previous.unwrap_or(self.base);
                if self.torn.is_some() || records == 0 {
                    self.history.repair.empty.push(name.to_owned());
                }
                self.torn.get_or_insert((cut, name.to_owned(), last));
            }
            Tail::Damaged { what } => {
                return Err(Error::Corrupt {
                    path: reader.path().to_owned(),
                    offset: reader.offset(),
                    what,
                });
            }
        }
        Ok(())
    }

    /// A file has a record, `first`: all files before it must have ended well.
    fn begin(&mut self, reader: &Reader, first: Zxid) -> Result<()> {
        self.history.repair = Repair::default();
        let Some((cut, _, last)) = self.torn.take() else {
            return Ok(());
        };
        // Apache ZooKeeper never cuts a torn tail. It goes on in a new file when it starts, often after a snapshot. If the
        // very next transaction is there, nothing can have been lost.
        if last <= self.base || first == last.next() {
            return Ok(());
        }
        Err(Error::Corrupt {
            path: cut.path,
            offset: cut.offset,
            what: format!(
                "{}, and the log goes on in {}; a crash can only cut the newest file short",
                cut.what,
                reader.name()
            ),
        })
    }

    fn record(&mut self, reader: &Reader, offset: u64, zxid: Zxid, payload: Bytes) -> Result<()> {
        let corrupt = |what| Err(Error::Corrupt { path: reader.path().to_owned(), offset, what });
        if let Some(previous) = self.previous
            && zxid <= previous
        {
            return corrupt(format!("transaction {zxid} comes after {previous}"));
        }
        self.previous = Some(zxid);
        if zxid > self.base {
            let last = self.history.last;
            let is_missed = |snapshot: &Zxid| last < *snapshot && *snapshot < zxid;
            if !may_follow(last, zxid) || self.skipped.iter().any(is_missed) {
                return corrupt(format!(
                    "transaction {zxid} follows {last}, expected {} or the first of a later epoch; \
                     what was between is lost",
                    last.next()
                ));
            }
            if let Err(what) = self.apply(&payload) {
                return corrupt(format!("transaction {zxid} cannot be read: {what}"));
            }
            self.history.last = zxid;
            self.history.report.transactions_replayed += 1;
            self.history.recent.join(last);
        }
        self.history.recent.push(zxid, payload);
        Ok(())
    }

    fn apply(&mut self, payload: &[u8]) -> std::result::Result<(), String> {
        let payload = decode_log_payload(payload).map_err(|error| error.to_string())?;
        self.changes.clear();
        let tree = &mut self.history.tree;
        tree.apply(&payload.header, &payload.txn, ApplyMode::Replay, &mut self.changes);
        self.digest = payload.digest.filter(|digest| digest.version == tree::DIGEST_VERSION);
        Ok(())
    }

    fn finish(mut self) -> History {
        if let Some(digest) = self.digest
            && digest.digest != self.history.tree.digest()
        {
            self.history.report.digest_differs = true;
        }
        self.history.recent.join(self.history.last);
        if let Some((cut, name, _)) = self.torn {
            if !self.history.repair.empty.contains(&name) {
                self.history.repair.torn = Some((name, cut.offset));
            }
            self.history.report.cut = Some(cut);
        }
        self.history
    }
}

/// Adds older transactions while they fit. Best effort: these files are only read to spare learners
/// a snapshot.
fn extend_recent(files: &Files, older: &[Zxid], base: Zxid, recent: &mut Recent) -> Result<()> {
    let snapshots = snapshot_file::list(files)?;
    for first in older.iter().rev() {
        if recent.room() == 0 {
            return Ok(());
        }
        let mut reader = Reader::open(files, &segment::name(*first))?;
        let mut earlier = Recent::new(recent.room());
        while let Some(record) = reader.next()? {
            earlier.push(record.zxid, record.payload);
        }
        // Across the snapshot only its own transaction proves that the log before it tells the same
        // history.
        let at_snapshot = recent.first().is_none_or(|oldest| oldest > base);
        if at_snapshot && earlier.last() != Some(base) {
            return Ok(());
        }
        // Nor does the beginning of an epoch follow what a snapshot lies behind.
        if let (Some(last), Some(oldest)) = (earlier.last(), recent.first())
            && snapshots.iter().any(|it| last < it.zxid && it.zxid < oldest)
        {
            return Ok(());
        }
        if reader.tail()? != Tail::Clean || !recent.prepend(earlier) {
            return Ok(());
        }
    }
    Ok(())
}

/// The newest transactions, contiguous, as many as fit.
#[derive(Debug)]
pub(crate) struct Recent {
    entries: VecDeque<(Zxid, Bytes)>,
    bytes: usize,
    bytes_max: usize,
    /// Whether older ones were dropped: nothing joins at the front any more.
    is_cut: bool,
}

impl Recent {
    fn new(bytes_max: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, bytes_max, is_cut: false }
    }

    fn first(&self) -> Option<Zxid> {
        self.entries.front().map(|(zxid, _)| *zxid)
    }

    /// Bytes of older transactions that may still be put in front.
    fn room(&self) -> usize {
        if self.is_cut { 0 } else { self.bytes_max - self.bytes }
    }

    fn last(&self) -> Option<Zxid> {
        self.entries.back().map(|(zxid, _)| *zxid)
    }

    /// Everything held must lead up to `last`; otherwise it belongs to another history and is
    /// forgotten. That a zxid is smaller proves nothing: a snapshot from a leader may have replaced
    /// the history this log tells.
    fn join(&mut self, last: Zxid) {
        if self.entries.back().is_some_and(|(zxid, _)| *zxid != last) {
            self.entries.clear();
            self.bytes = 0;
        }
    }

    fn push(&mut self, zxid: Zxid, payload: Bytes) {
        if let Some((last, _)) = self.entries.back()
            && !may_follow(*last, zxid)
        {
            self.entries.clear();
            self.bytes = 0;
        }
        self.bytes += payload.len();
        self.entries.push_back((zxid, payload));
        while self.bytes > self.bytes_max {
            let (_, dropped) = self.entries.pop_front().expect("bytes are those of entries");
            self.bytes -= dropped.len();
            self.is_cut = true;
        }
    }

    /// Puts earlier transactions in front; whether more of the kind may follow.
    fn prepend(&mut self, mut earlier: Self) -> bool {
        let joins = match (earlier.entries.back(), self.first()) {
            (Some((last, _)), Some(first)) => may_follow(*last, first),
            (last, None) => last.is_some(),
            (None, Some(_)) => false,
        };
        if joins {
            self.bytes += earlier.bytes;
            self.is_cut = earlier.is_cut;
            earlier.entries.append(&mut self.entries);
            self.entries = earlier.entries;
        }
        joins
    }

    pub(crate) fn into_vec(self) -> Vec<(Zxid, Bytes)> {
        self.entries.into()
    }
}
