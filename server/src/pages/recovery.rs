//! How far a server has come with reading its data, for whoever waits for it.
//!
//! While it does, hardly anything else in the process reads: so the bytes that the process has read, as the system
//! counts them, are held against those that the newest snapshot and the log after it have. An estimate: the last log
//! file ends in zeros that nobody reads, and some of the log before the snapshot is read too.

use std::fs;
use std::path::Path;

use crate::config::ProcessConfig;
use crate::process_stats;

/// It is not over before it is.
const RATIO_MAX: f64 = 0.99;

/// The reading of the data, under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovery {
    bytes: u64,
    read_before: Option<u64>,
}

impl Recovery {
    /// Looks at what there is to read. Call before the reading begins.
    pub(super) fn ahead(process: &ProcessConfig) -> Self {
        let snapshots = files(&process.data_dir, "snapshot.");
        let logs = files(&process.data_log_dir, "log.");
        Self { bytes: bytes_to_read(&snapshots, &logs), read_before: process_stats::bytes_read() }
    }

    /// From 0 to nearly 1; 0 where the system does not tell.
    pub(super) fn ratio(&self) -> f64 {
        let read = process_stats::bytes_read().zip(self.read_before);
        match read {
            Some((now, before)) if self.bytes > 0 => {
                (now.saturating_sub(before) as f64 / self.bytes as f64).min(RATIO_MAX)
            }
            _ => 0.0,
        }
    }
}

/// A file of a transaction: the zxid in its name, and its bytes.
type ZxidFile = (u64, u64);

/// The files in a `dataDir` or `dataLogDir` whose names are `beginning` and a zxid.
fn files(directory: &Path, beginning: &str) -> Vec<ZxidFile> {
    let entries = fs::read_dir(directory.join("version-2")).into_iter().flatten().flatten();
    let file = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let zxid = u64::from_str_radix(name.strip_prefix(beginning)?, 16).ok()?;
        Some((zxid, entry.metadata().ok()?.len()))
    };
    entries.filter_map(file).collect()
}

/// The newest snapshot, and the log from the file that its next transaction is in.
fn bytes_to_read(snapshots: &[ZxidFile], logs: &[ZxidFile]) -> u64 {
    let (base, snapshot_bytes) = snapshots.iter().max().copied().unwrap_or_default();
    let first = logs.iter().map(|(zxid, _)| *zxid).filter(|zxid| *zxid <= base + 1).max();
    let after = logs.iter().filter(|(zxid, _)| *zxid >= first.unwrap_or(0));
    snapshot_bytes + after.map(|(_, bytes)| bytes).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_snapshot_and_the_log_after_it_are_read() {
        let logs = [(1, 1), (5, 10), (9, 100)];
        assert_eq!(bytes_to_read(&[(2, 1000), (7, 2000)], &logs), 2110);
        // Begun right behind the snapshot.
        assert_eq!(bytes_to_read(&[(8, 2000)], &logs), 2100);
        assert_eq!(bytes_to_read(&[], &[]), 0);
    }

    #[test]
    fn the_ratio_grows_and_never_says_that_all_is_done() {
        let directory = tempfile::tempdir().unwrap();
        let files_of = directory.path().join("version-2");
        fs::create_dir(&files_of).unwrap();
        for (name, bytes) in [("snapshot.7", 300_000), ("log.8", 200_000), ("log.1", 9_000_000)] {
            fs::write(files_of.join(name), vec![0; bytes]).unwrap();
        }
        let found = [files(directory.path(), "snapshot."), files(directory.path(), "log.")];
        let bytes = bytes_to_read(&found[0], &found[1]);
        assert_eq!(bytes, 500_000);
        let recovery = Recovery { bytes, read_before: process_stats::bytes_read() };
        fs::read(files_of.join("snapshot.7")).unwrap();
        let first = recovery.ratio();
        assert!(first >= 0.6, "{first}");
        fs::read(files_of.join("log.8")).unwrap();
        assert_eq!(recovery.ratio(), RATIO_MAX);
        let nothing = Recovery { bytes: 0, read_before: process_stats::bytes_read() };
        assert_eq!(nothing.ratio(), 0.0);
    }
}
