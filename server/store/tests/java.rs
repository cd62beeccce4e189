//! Opens a data directory that Apache ZooKeeper 3.9.5 wrote.

#![allow(clippy::unwrap_used)]

#[path = "support/crash_disk.rs"]
mod crash_disk;

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use crash_disk::{CrashDisk, Fate};
use store::{Dir, Disk, Error, Options, Recovered, Store};
use tree::DataTree;
use zab::{Epochs, Zxid};

/// The digest that the Java server itself sealed into its snapshot as of the last transaction.
const DIGEST: i64 = 0x7_51e4_4a17;

fn testdata() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/java-3.9.5")
}

/// A disk with these files of the directory.
fn disk_with(names: &[&str]) -> CrashDisk {
    let disk = CrashDisk::default();
    for name in names {
        let dir = if name.starts_with("log.") { Dir::Log } else { Dir::Data };
        let bytes = std::fs::read(testdata().join(name)).unwrap();
        disk.put(dir, name, &bytes);
    }
    disk
}

fn open(disk: &CrashDisk) -> Result<(Store, Recovered), Error> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Store::open(disk, Options::default())
}

/// Everything a client sees, one line for each znode.
fn print(tree: &DataTree, path: &str, out: &mut String) {
    let node = tree.get(path).unwrap();
    let data = match node.data() {
        None => "null".to_owned(),
        Some(data) => format!("\"{}\"", String::from_utf8_lossy(data)),
    };
    let stat = node.stat();
    writeln!(
        out,
        "{path} {data} czxid={:x} mzxid={:x} pzxid={:x} v={} cv={} av={} owner={:x} n={}",
        stat.czxid,
        stat.mzxid,
        stat.pzxid,
        stat.version,
        stat.cversion,
        stat.aversion,
        stat.ephemeral_owner,
        stat.num_children
    )
    .unwrap();
    let mut children: Vec<String> = node.children().map(|name| name.to_string()).collect();
    children.sort();
    for child in children {
        print(tree, &format!("{}/{child}", path.trim_end_matches('/')), out);
    }
}

fn check(found: &Recovered) {
    let mut printed = String::new();
    print(&found.tree, "/", &mut printed);
    let expected = std::fs::read_to_string(testdata().join("expected.txt")).unwrap();
    assert_eq!(printed, expected);
    assert_eq!(found.tree.digest(), DIGEST);
    assert_eq!(found.last, Zxid(0x18));
    assert!(!found.report.digest_differs);
    // The second server's client vanished without closing its session.
    let sessions: Vec<_> = found.tree.sessions().collect();
    assert_eq!(sessions, [(0x0100_0029_47bf_0000, 30_000)]);
    // A standalone server keeps no epochs.
    assert_eq!(found.epochs, Epochs::default());
    assert!(found.trusted);
}

#[test]
fn the_newest_snapshot_and_the_log_after_it_give_the_tree_the_java_server_served() {
    let disk = disk_with(&["snapshot.0", "snapshot.14", "log.1", "log.15"]);
    let (_, found) = open(&disk).unwrap();
    check(&found);
    assert_eq!(found.report.snapshot, Zxid(0x14));
    assert_eq!(found.report.transactions_replayed, 4);
    // The snapshot's own transaction is in the log, so the log before it tells the same history.
    let recent: Vec<i64> = found.recent.iter().map(|(zxid, _)| zxid.0).collect();
    assert_eq!(recent, (1..=0x18).collect::<Vec<_>>());
    assert!(found.report.cut.is_none());
}

#[test]
fn the_whole_log_from_the_empty_snapshot_on_gives_the_same_tree() {
    let disk = disk_with(&["snapshot.0", "log.1", "log.15"]);
    let (_, found) = open(&disk).unwrap();
    check(&found);
    assert_eq!(found.report.transactions_replayed, 0x18);
}

#[test]
fn a_damaged_newest_snapshot_is_replaced_by_an_older_one_and_more_log() {
    let disk = disk_with(&["snapshot.0", "snapshot.14", "log.1", "log.15"]);
    let mut bytes = disk.get(Dir::Data, "snapshot.14").unwrap();
    bytes[600] ^= 1;
    disk.put(Dir::Data, "snapshot.14", &bytes);
    let (_, found) = open(&disk).unwrap();
    check(&found);
    assert_eq!(found.report.snapshot, Zxid::ZERO);
    assert_eq!(found.report.snapshots_skipped.len(), 1);
}

#[test]
fn every_flipped_bit_of_a_snapshot_is_noticed() {
    let good = std::fs::read(testdata().join("snapshot.14")).unwrap();
    for byte in 0..good.len() {
        // The dbid of the header is checked by nothing but the seal; so are all others.
        let mut bytes = good.clone();
        bytes[byte] ^= 0x10;
        let disk = disk_with(&[]);
        disk.put(Dir::Data, "snapshot.14", &bytes);
        let error = open(&disk).unwrap_err().to_string();
        assert!(error.contains("snapshot.14"), "byte {byte}: {error}");
    }
}

#[test]
fn seals_may_stop_where_older_servers_stopped() {
    let good = std::fs::read(testdata().join("snapshot.14")).unwrap();
    // Three seals, two (before 3.9), one (before 3.6).
    for cut in [0, 21, 21 + 33] {
        let disk = disk_with(&[]);
        disk.put(Dir::Data, "snapshot.14", &good[..good.len() - cut]);
        let (_, found) = open(&disk).unwrap();
        assert_eq!(found.last, Zxid(0x14));
    }
    // Anything between is a file that was cut short.
    for cut in (1..21).chain(22..54).chain(55..300) {
        let disk = disk_with(&[]);
        disk.put(Dir::Data, "snapshot.14", &good[..good.len() - cut]);
        assert!(open(&disk).is_err(), "cut by {cut} bytes");
    }
}

#[test]
fn a_java_log_torn_at_any_byte_is_cut_back_to_whole_transactions() {
    let whole = std::fs::read(testdata().join("log.15")).unwrap();
    for padding in [0, 4096] {
        for length in 0..whole.len() {
            let disk = disk_with(&["snapshot.14", "log.1"]);
            let mut torn = whole[..length].to_vec();
            torn.resize(length + padding, 0);
            disk.put(Dir::Log, "log.15", &torn);
            let (_, found) = open(&disk).unwrap();
            let kept = found.last.0;
            assert!((0x14..0x18).contains(&kept), "{length}: {kept:x}");
            // Cut durably: nothing is left to be found a second time.
            let (_, again) = open(&disk.after_crash(Fate::Lost)).unwrap();
            assert!(again.report.cut.is_none(), "{length}");
            assert_eq!(again.last.0, kept);
            assert_eq!(again.tree.digest(), found.tree.digest());
        }
    }
}

#[test]
fn a_java_server_that_went_on_after_a_torn_tail_is_believed() {
    // It never cuts the old file; it takes a snapshot at start and logs into a new file.
    let disk = disk_with(&["snapshot.0", "snapshot.14", "log.1", "log.15"]);
    let log = disk.get(Dir::Log, "log.1").unwrap();
    let torn = [&log[..], &log[16..80]].concat();
    disk.put(Dir::Log, "log.1", &torn);
    let (_, found) = open(&disk).unwrap();
    check(&found);
}
