//! Whatever no crash can explain is refused, with the file, the place and a reason.

#![allow(clippy::unwrap_used)]

#[path = "support/crash_disk.rs"]
mod crash_disk;
#[path = "support/txns.rs"]
mod txns;

use std::sync::Arc;

use crash_disk::{CrashDisk, Fate};
use store::{Dir, Disk, Empty, Error, Options, Recovered, Store, Written};
use tree::DataTree;
use zab::{Epoch, Epochs, Zxid};

const OPTIONS: Options =
    Options { segment_bytes: 16 * 1024, history_bytes: 1 << 20, empty: Empty::IsNew, hash_seed: 7 };

fn open_with(disk: &CrashDisk, options: Options) -> Result<(Store, Recovered), Error> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Store::open(disk, options)
}

fn open(disk: &CrashDisk) -> Result<(Store, Recovered), Error> {
    open_with(disk, OPTIONS)
}

fn zxid(counter: u32) -> Zxid {
    Zxid::new(Epoch(1), counter)
}

fn accept(store: &mut Store, accepted: u32, current: u32) {
    let epochs = Epochs { accepted: Epoch(accepted), current: Epoch(current) };
    store.save_epochs(epochs).unwrap();
}

fn append(store: &mut Store, tree: &mut DataTree, counters: std::ops::RangeInclusive<u32>) {
    for counter in counters {
        let payload = txns::create(tree, zxid(counter), 100);
        store.append(zxid(counter), &payload).unwrap();
        store.sync().unwrap();
    }
}

fn snapshot(store: &mut Store, tree: &DataTree) {
    let writer = store.begin_snapshot(tree.freeze()).unwrap();
    assert_eq!(writer.write(&mut |_| {}).unwrap(), Written::Durable);
}

/// Transactions 1 to 30; snapshots at 0, 10 and 20; a log file after each.
fn sound() -> CrashDisk {
    let disk = CrashDisk::default();
    let (mut store, found) = open(&disk).unwrap();
    let mut tree = found.tree;
    accept(&mut store, 1, 1);
    append(&mut store, &mut tree, 1..=10);
    snapshot(&mut store, &tree);
    append(&mut store, &mut tree, 11..=20);
    snapshot(&mut store, &tree);
    append(&mut store, &mut tree, 21..=30);
    disk
}

const SNAPSHOT: &str = "snapshot.100000014";
const LOG: &str = "log.100000015";

/// Bytes of one record: payload with header, path, data, ACL and digest, and 13 more.
fn record_bytes() -> usize {
    let payload = txns::create(&mut txns::empty_tree(), zxid(21), 100);
    payload.len() + 13
}

/// Changes one file.
fn damage(disk: &CrashDisk, dir: Dir, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = disk.get(dir, name).unwrap();
    change(&mut bytes);
    disk.put(dir, name, &bytes);
}

/// Opening must fail and say all of this; and it must have changed nothing.
#[track_caller]
fn refused(disk: &CrashDisk, expected: &[&str]) {
    let before = disk.operations();
    let error = open(disk).expect_err("accepted").to_string();
    for part in expected {
        assert!(error.contains(part), "{error:?} does not say {part:?}");
    }
    assert_eq!(disk.operations(), before, "something was changed");
    // It is no better the second time.
    assert_eq!(open(disk).expect_err("accepted").to_string(), error);
}

#[test]
fn the_sound_directory_is_accepted() {
    let (_, found) = open(&sound()).unwrap();
    assert_eq!(found.last, zxid(30));
    assert_eq!(found.report.snapshot, zxid(20));
    assert_eq!(found.report.transactions_replayed, 10);
    assert_eq!(found.recent.len(), 30);
}

#[test]
fn a_flipped_bit_in_any_durable_record_is_refused() {
    let record = record_bytes();
    for index in 0..10 {
        let disk = sound();
        let offset = 16 + index * record;
        damage(&disk, Dir::Log, LOG, |bytes| bytes[offset + 40] ^= 1);
        refused(&disk, &[LOG, &format!("offset {offset}"), "checksum", "durable"]);
    }
}

#[test]
fn damage_before_the_last_write_is_told_from_a_torn_tail_even_after_a_power_cut() {
    // What was written after the last sync, the mark that covers all of it, is lost.
    let record = record_bytes();
    for index in 0..9 {
        let disk = sound().after_crash(Fate::Lost);
        let offset = 16 + index * record;
        damage(&disk, Dir::Log, LOG, |bytes| bytes[offset + 40] ^= 1);
        refused(&disk, &[LOG, &format!("offset {offset}"), "checksum", "durable"]);
    }
}

#[test]
fn a_flipped_bit_anywhere_in_a_log_loses_nothing_silently() {
    let end = 16 + 10 * record_bytes() + 8;
    for byte in 0..end {
        let disk = sound();
        damage(&disk, Dir::Log, LOG, |bytes| bytes[byte] ^= 0x80);
        match open(&disk) {
            Err(error) => assert!(error.to_string().contains(LOG), "byte {byte}: {error}"),
            // The dbid, and the mark, carry no transaction.
            Ok((_, found)) => assert_eq!(found.last, zxid(30), "byte {byte}"),
        }
    }
}

#[test]
fn a_hole_of_zeros_followed_by_data_is_refused() {
    let record = record_bytes();
    let disk = sound();
    damage(&disk, Dir::Log, LOG, |bytes| {
        bytes[16 + 3 * record..16 + 4 * record].fill(0);
    });
    let offset = format!("offset {}", 16 + 3 * record);
    refused(&disk, &[LOG, &offset, "no record", "durable"]);
}

#[test]
fn a_hole_in_a_java_log_is_refused_as_well() {
    let record = record_bytes();
    let disk = sound();
    damage(&disk, Dir::Log, LOG, |bytes| {
        bytes[8..16].fill(0);
        bytes[16 + 3 * record..16 + 4 * record].fill(0);
    });
    refused(&disk, &[LOG, "no record", "a good record follows at offset"]);
}

#[test]
fn a_bad_checksum_in_a_java_log_is_refused_even_in_the_last_record() {
    let record = record_bytes();
    for index in [0, 5, 9] {
        let disk = sound();
        damage(&disk, Dir::Log, LOG, |bytes| {
            bytes[8..16].fill(0);
            let end = 16 + 10 * record;
            bytes[end..].fill(0);
            bytes[16 + index * record + 50] ^= 1;
        });
        refused(&disk, &[LOG, "checksum"]);
    }
}

#[test]
fn a_length_that_points_beyond_the_file_does_not_pass_for_a_torn_tail() {
    let record = record_bytes();
    let disk = sound();
    damage(&disk, Dir::Log, LOG, |bytes| {
        bytes[8..16].fill(0);
        bytes[16 + 4 * record + 8] = 0x10;
    });
    refused(&disk, &[LOG, "the file ends", "a good record follows"]);
}

#[test]
fn a_missing_log_file_is_refused() {
    let disk = sound();
    disk.remove(Dir::Data, SNAPSHOT).unwrap();
    disk.remove(Dir::Log, "log.10000000b").unwrap();
    refused(&disk, &[LOG, "offset 16", "transaction 1:21 follows 1:10, expected 1:11"]);
}

#[test]
fn a_log_directory_that_was_lost_is_refused() {
    let disk = sound();
    for name in disk.list(Dir::Log).unwrap() {
        disk.remove(Dir::Log, &name).unwrap();
    }
    refused(&disk, &["Log", "not the log directory", "zab-log", "end with 1:20"]);
    // With the snapshots lost as well it is a server without data, which has to learn.
    for name in disk.list(Dir::Data).unwrap() {
        disk.remove(Dir::Data, &name).unwrap();
    }
    let suspect = Options { empty: Empty::IsSuspect, ..OPTIONS };
    assert!(!open_with(&disk, suspect).unwrap().1.trusted);
}

#[test]
fn a_gap_inside_a_log_file_is_refused() {
    let record = record_bytes();
    let disk = sound();
    damage(&disk, Dir::Log, LOG, |bytes| {
        bytes.drain(16 + 2 * record..16 + 3 * record);
        bytes[8..16].fill(0);
    });
    refused(&disk, &[LOG, "transaction 1:24 follows 1:22, expected 1:23"]);
}

#[test]
fn a_log_that_runs_backwards_is_refused() {
    let record = record_bytes();
    let disk = sound();
    damage(&disk, Dir::Log, LOG, |bytes| {
        bytes[8..16].fill(0);
        bytes.copy_within(16 + record..16 + 2 * record, 16 + 2 * record);
    });
    refused(&disk, &[LOG, "transaction 1:22 comes after 1:22"]);
}

#[test]
fn a_torn_tail_is_refused_in_any_file_but_the_newest() {
    let disk = sound();
    disk.remove(Dir::Data, SNAPSHOT).unwrap();
    let record = record_bytes();
    damage(&disk, Dir::Log, "log.10000000b", |bytes| bytes.truncate(16 + 9 * record + 20));
    refused(&disk, &["log.10000000b", "the log goes on in log.100000015"]);
}

#[test]
fn a_torn_tail_that_the_next_file_makes_good_is_no_loss() {
    // A Java server, or ours in between two times of a Java server, was killed while it wrote the last transaction of
    // this file. Java leaves the rest where it is and goes on in a new file with that same zxid.
    let record = record_bytes();
    for dbid in [None, Some([0; 8])] {
        let disk = sound();
        disk.remove(Dir::Data, SNAPSHOT).unwrap();
        damage(&disk, Dir::Log, "log.10000000b", |bytes| {
            if let Some(dbid) = dbid {
                bytes[8..16].copy_from_slice(&dbid);
            }
            let end = 16 + 10 * record;
            bytes.truncate(end);
            bytes.resize(end + 100, 7);
            // A record that is promised and was not written to its end.
            bytes[end + 8..end + 12].copy_from_slice(&1000_i32.to_be_bytes());
        });
        let (_, found) = open(&disk).unwrap();
        assert_eq!(found.last, zxid(30));
        assert!(found.report.cut.is_none());
    }
}

#[test]
fn a_large_damaged_java_log_is_refused_without_delay() {
    let record = record_bytes();
    let disk = sound();
    damage(&disk, Dir::Log, LOG, |bytes| {
        bytes[8..16].fill(0);
        bytes.truncate(16 + 3 * record);
        // Whatever: a record that claims to reach far, and more data than any write had.
        let mut chance = crash_disk::Chance(1);
        while bytes.len() < 16 << 20 {
            bytes.extend_from_slice(&chance.next().to_be_bytes());
        }
        bytes[16 + 3 * record + 8..16 + 3 * record + 12].copy_from_slice(&5000_i32.to_be_bytes());
    });
    let start = std::time::Instant::now();
    refused(&disk, &[LOG, "offset"]);
    assert!(start.elapsed().as_secs() < 20, "took {:?}", start.elapsed());
}

#[test]
fn a_log_without_any_snapshot_is_refused() {
    let disk = sound();
    for name in ["snapshot.0", "snapshot.10000000a", SNAPSHOT] {
        disk.remove(Dir::Data, name).unwrap();
    }
    refused(&disk, &["log.100000001", "no snapshot"]);
}

#[test]
fn a_lone_truncated_snapshot_is_refused() {
    let disk = CrashDisk::default();
    let bytes = sound().get(Dir::Data, SNAPSHOT).unwrap();
    disk.put(Dir::Data, SNAPSHOT, &bytes[..bytes.len() - 3]);
    refused(&disk, &[SNAPSHOT, "no good snapshot is left"]);
}

#[test]
fn a_damaged_snapshot_that_the_log_does_not_reach_is_refused() {
    let disk = sound();
    disk.remove(Dir::Log, LOG).unwrap();
    disk.remove(Dir::Log, "log.10000000b").unwrap();
    damage(&disk, Dir::Data, SNAPSHOT, |bytes| bytes[100] ^= 1);
    refused(&disk, &[SNAPSHOT, "ends with 1:10", "lost"]);
}

#[test]
fn a_damaged_snapshot_whose_transactions_no_log_has_is_refused() {
    // The snapshot came from a leader, in place of a history that ended in an earlier epoch. Java leaves the old log.
    let disk = CrashDisk::default();
    let (mut store, found) = open(&disk).unwrap();
    let mut tree = found.tree;
    accept(&mut store, 1, 1);
    append(&mut store, &mut tree, 1..=3);
    drop(store);
    let old_log = disk.get(Dir::Log, "log.100000001").unwrap();
    let (mut store, _) = open(&disk).unwrap();
    accept(&mut store, 3, 1);
    let last = Zxid::new(Epoch(2), 7);
    txns::create(&mut tree, last, 100);
    store.install_snapshot(last, &tree.freeze()).unwrap();
    accept(&mut store, 3, 3);
    let next = Zxid::new(Epoch(3), 1);
    store.append(next, &txns::create(&mut tree, next, 100)).unwrap();
    store.sync().unwrap();
    drop(store);
    disk.put(Dir::Log, "log.100000001", &old_log);
    let empty = sound().get(Dir::Data, "snapshot.0").unwrap();
    disk.put(Dir::Data, "snapshot.0", &empty);
    let (_, found) = open(&disk).unwrap();
    assert_eq!((found.last, found.recent.len()), (next, 1));
    damage(&disk, Dir::Data, "snapshot.200000007", |bytes| bytes[100] ^= 1);
    refused(&disk, &["log.300000001", "transaction 3:1 follows 1:3", "lost"]);
}

#[test]
fn a_compressed_snapshot_is_refused_only_when_it_is_the_newest() {
    let disk = sound();
    disk.put(Dir::Data, "snapshot.100000012.gz", b"whatever");
    assert!(open(&disk).is_ok());
    disk.put(Dir::Data, "snapshot.100000019.snappy", b"whatever");
    refused(&disk, &["snapshot.100000019.snappy", "not supported yet"]);
}

#[test]
fn epochs_that_contradict_each_other_or_the_log_are_refused() {
    let disk = sound();
    disk.put(Dir::Data, "currentEpoch", b"2");
    refused(&disk, &["acceptedEpoch", "accepted epoch is 1", "current epoch 2"]);
    let disk = sound();
    disk.put(Dir::Data, "currentEpoch", b"0");
    disk.put(Dir::Data, "acceptedEpoch", b"0");
    refused(&disk, &["acceptedEpoch", "accepted epoch is 0", "ends in epoch 1"]);
    let disk = sound();
    disk.put(Dir::Data, "acceptedEpoch", b"");
    refused(&disk, &["acceptedEpoch", "expected an epoch"]);
}

#[test]
fn a_promise_that_is_missing_is_refused() {
    let disk = sound();
    disk.remove(Dir::Data, "acceptedEpoch").unwrap();
    refused(&disk, &["acceptedEpoch", "missing", "currentEpoch says 1"]);
}

#[test]
fn epochs_without_any_history_are_refused() {
    let disk = CrashDisk::default();
    disk.put(Dir::Data, "acceptedEpoch", b"4");
    disk.put(Dir::Data, "currentEpoch", b"4");
    refused(&disk, &["epoch 4", "neither snapshot nor log"]);
}

#[test]
fn missing_epoch_files_are_those_of_the_last_transaction() {
    let disk = sound();
    disk.remove(Dir::Data, "acceptedEpoch").unwrap();
    disk.remove(Dir::Data, "currentEpoch").unwrap();
    let (_, found) = open(&disk).unwrap();
    assert_eq!((found.epochs.accepted, found.epochs.current), (Epoch(1), Epoch(1)));
    assert_eq!(disk.get(Dir::Data, "currentEpoch").unwrap(), b"1");
}

#[test]
fn an_empty_last_log_file_is_fine() {
    let header = &sound().get(Dir::Log, LOG).unwrap()[..16];
    for contents in [&[][..], header, &[header, &[0; 512]].concat()] {
        let disk = sound();
        disk.put(Dir::Log, "log.10000001f", contents);
        let (mut store, found) = open(&disk).unwrap();
        assert_eq!(found.last, zxid(30));
        let mut tree = found.tree;
        append(&mut store, &mut tree, 31..=31);
        assert_eq!(open(&disk.after_crash(Fate::Lost)).unwrap().1.last, zxid(31));
    }
}

#[test]
fn a_suspect_empty_directory_is_trusted_only_after_a_leader_was_followed() {
    let suspect = Options { empty: Empty::IsSuspect, ..OPTIONS };
    let disk = CrashDisk::default();
    let (store, found) = open_with(&disk, suspect).unwrap();
    assert!(!found.trusted);
    drop(store);
    let disk = disk.after_crash(Fate::Lost);
    let (mut store, found) = open_with(&disk, suspect).unwrap();
    assert!(!found.trusted, "a restart makes nothing trustworthy");
    accept(&mut store, 1, 0);
    append(&mut store, &mut txns::empty_tree(), 1..=3);
    let (_, found) = open_with(&disk.after_crash(Fate::Lost), suspect).unwrap();
    assert!(!found.trusted, "half a synchronization makes nothing trustworthy");
    accept(&mut store, 1, 1);
    let (_, found) = open_with(&disk.after_crash(Fate::Lost), suspect).unwrap();
    assert!(found.trusted);
}

#[test]
fn the_file_initialize_makes_an_empty_directory_trusted_once() {
    let suspect = Options { empty: Empty::IsSuspect, ..OPTIONS };
    let disk = CrashDisk::default();
    disk.put(Dir::Home, "initialize", b"");
    let (_, found) = open_with(&disk, suspect).unwrap();
    assert!(found.trusted);
    assert!(disk.get(Dir::Home, "initialize").is_none());
    let (_, found) = open_with(&disk.after_crash(Fate::Lost), suspect).unwrap();
    assert!(found.trusted);
}

#[test]
fn history_cannot_be_cut_to_a_transaction_it_does_not_have() {
    let disk = sound();
    let (mut store, _) = open(&disk).unwrap();
    let error = store.truncate(Zxid::new(Epoch(0), 7)).unwrap_err().to_string();
    assert!(error.contains("no such transaction"), "{error}");
    assert_eq!(open(&disk).unwrap().1.last, zxid(30));
}

#[test]
fn every_snapshot_that_is_kept_can_be_started_from() {
    let disk = sound();
    let (mut store, found) = open(&disk).unwrap();
    let mut tree = found.tree;
    for counter in 31..=35 {
        append(&mut store, &mut tree, counter..=counter);
        snapshot(&mut store, &tree);
    }
    append(&mut store, &mut tree, 36..=40);
    let removed = store.maintenance().remove_old(3).unwrap();
    assert_eq!((removed.snapshots, removed.logs), (5, 6));
    for name in ["snapshot.100000023", "snapshot.100000022"] {
        let (_, found) = open(&disk).unwrap();
        assert_eq!(found.last, zxid(40));
        assert_eq!(found.tree.digest(), tree.digest());
        damage(&disk, Dir::Data, name, |bytes| bytes[50] ^= 1);
    }
    let (_, found) = open(&disk).unwrap();
    assert_eq!(found.report.snapshot, zxid(33));
    assert_eq!(found.report.snapshots_skipped.len(), 2);
    assert_eq!((found.last, found.tree.digest()), (zxid(40), tree.digest()));
}
