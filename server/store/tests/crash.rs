//! Cuts the power after every single operation on the disk, loses what was not synced in several
//! ways, and recovers.
//!
//! Whatever the moment: recovery succeeds; everything reported durable is there; what is there is a
//! prefix of what was appended, with the right tree; epochs vouch for no more history than there
//! is.

#![allow(clippy::unwrap_used)]

#[path = "support/crash_disk.rs"]
mod crash_disk;
#[path = "support/txns.rs"]
mod txns;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use crash_disk::{Chance, CrashDisk, Fate};
use store::{Disk, Empty, Error, Options, Recovered, Result, Store, Written};
use tree::DataTree;
use zab::{Epoch, Epochs, Zxid};

const OPTIONS: Options =
    Options { segment_bytes: 8192, history_bytes: 1 << 20, empty: Empty::IsNew, hash_seed: 7 };

fn open(disk: &CrashDisk) -> Result<(Store, Recovered)> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Store::open(disk, OPTIONS)
}

fn epochs(accepted: u32, current: u32) -> Epochs {
    Epochs { accepted: Epoch(accepted), current: Epoch(current) }
}

/// A server's life, and what may be found after its death at any moment.
struct Life {
    store: Store,
    tree: DataTree,
    /// Digest and payload by zxid. Zxids are never reused, so histories that were cut need no place
    /// of their own.
    known: BTreeMap<Zxid, (i64, Option<Bytes>)>,
    /// The history, oldest first.
    history: Vec<Zxid>,
    may_end_with: Vec<Zxid>,
    may_have_epochs: Vec<Epochs>,
    /// With these epochs on disk, this must be the last zxid.
    vouched: Option<(Epochs, Zxid)>,
}

impl Life {
    fn append(&mut self, zxid: Zxid, data_bytes: usize) -> Result<()> {
        let payload = txns::create(&mut self.tree, zxid, data_bytes);
        self.known.insert(zxid, (self.tree.digest(), Some(payload.clone())));
        self.may_end_with.push(zxid);
        self.history.push(zxid);
        self.store.append(zxid, &payload)
    }

    fn last(&self) -> Zxid {
        *self.history.last().unwrap()
    }

    fn sync(&mut self) -> Result<()> {
        let durable = self.store.sync()?;
        assert_eq!(durable, self.last());
        self.may_end_with = vec![durable];
        Ok(())
    }

    fn save_epochs(&mut self, new: Epochs) -> Result<()> {
        let old = self.store.epochs();
        self.may_have_epochs = vec![old, epochs(new.accepted.0, old.current.0), new];
        self.vouched = Some((new, self.last()));
        self.store.save_epochs(new)?;
        self.may_end_with = vec![self.last()];
        self.may_have_epochs = vec![new];
        self.vouched = None;
        Ok(())
    }

    fn truncate(&mut self, after: Zxid) -> Result<()> {
        self.may_end_with.extend(self.history.iter().filter(|z| **z >= after));
        self.store.truncate(after)?;
        self.history.retain(|zxid| *zxid <= after);
        self.may_end_with = vec![after];
        self.tree = self.store.reload()?;
        assert_eq!(self.tree.digest(), self.known[&after].0);
        Ok(())
    }

    fn install(&mut self, zxid: Zxid) -> Result<()> {
        // Another history, as a leader would send it.
        let mut tree = txns::empty_tree();
        for counter in 1..=20 {
            txns::create(&mut tree, Zxid::new(Epoch(90), counter), 50);
        }
        let payload = txns::create(&mut tree, zxid, 5);
        drop(payload);
        self.known.insert(zxid, (tree.digest(), None));
        // The log is cut first, to the last transaction that is not beyond the snapshot.
        let before = *self.history.iter().rfind(|z| **z <= zxid).unwrap();
        self.may_end_with.extend(self.history.iter().filter(|z| **z >= before));
        self.may_end_with.push(zxid);
        self.store.install_snapshot(zxid, &tree.freeze())?;
        self.may_end_with = vec![zxid];
        self.history = vec![zxid];
        self.tree = tree;
        Ok(())
    }

    fn snapshot(&mut self) -> Result<()> {
        let writer = self.store.begin_snapshot(self.tree.freeze())?;
        self.may_end_with = vec![self.last()];
        assert_eq!(writer.write(&mut |_| {})?, Written::Durable);
        Ok(())
    }
}

/// What the server does. Stops at the first error, which is the power cut.
fn live(life: &mut Life) -> Result<()> {
    let maintenance = life.store.maintenance();
    maintenance.prepare_segment()?;
    life.save_epochs(epochs(1, 0))?;
    life.save_epochs(epochs(1, 1))?;
    let zxid = |epoch, counter| Zxid::new(Epoch(epoch), counter);
    // Batches of one and of several sectors; the prepared file overflows once with and once without
    // a next one.
    for counter in 1..=12 {
        life.append(zxid(1, counter), 40 * counter as usize)?;
        if counter % 3 != 1 {
            life.sync()?;
        }
    }
    for counter in 13..=32 {
        life.append(zxid(1, counter), 700)?;
        if counter % 4 == 0 {
            life.sync()?;
        }
        if counter == 28 {
            maintenance.prepare_segment()?;
        }
    }
    life.snapshot()?;
    maintenance.prepare_segment()?;
    life.append(zxid(1, 33), 10)?;
    life.append(zxid(1, 34), 10_000)?;
    life.sync()?;
    // History is durable before its epoch.
    life.append(zxid(1, 35), 10)?;
    life.save_epochs(epochs(3, 1))?;
    life.append(zxid(3, 1), 300)?;
    life.append(zxid(3, 2), 300)?;
    life.save_epochs(epochs(3, 3))?;
    for counter in 3..=9 {
        life.append(zxid(3, counter), 100)?;
        life.snapshot()?;
    }
    maintenance.prepare_segment()?;
    maintenance.remove_old(3)?;
    life.append(zxid(3, 10), 2000)?;
    life.append(zxid(3, 11), 2000)?;
    life.sync()?;
    // A snapshot is begun, and history is cut behind its back.
    let outdated = life.store.begin_snapshot(life.tree.freeze())?;
    life.append(zxid(3, 12), 20)?;
    life.truncate(zxid(3, 8))?;
    assert_eq!(outdated.write(&mut |_| {})?, Written::Outdated);
    life.save_epochs(epochs(4, 3))?;
    life.append(zxid(4, 1), 60)?;
    life.append(zxid(4, 2), 60)?;
    life.sync()?;
    life.truncate(zxid(4, 1))?;
    life.save_epochs(epochs(5, 4))?;
    life.append(zxid(5, 1), 60)?;
    life.sync()?;
    // A leader replaces everything: once by something newer, once by something our log runs beyond.
    life.save_epochs(epochs(102, 5))?;
    life.install(zxid(100, 9))?;
    life.append(zxid(100, 10), 500)?;
    life.append(zxid(100, 11), 500)?;
    life.sync()?;
    life.snapshot()?;
    life.append(zxid(101, 1), 30)?;
    life.sync()?;
    life.install(zxid(100, 12))?;
    life.append(zxid(102, 1), 30)?;
    life.sync()
}

fn born(disk: &CrashDisk) -> Result<Life> {
    let (store, recovered) = open(disk)?;
    assert!(recovered.report.initialized && recovered.trusted);
    let digest = recovered.tree.digest();
    Ok(Life {
        store,
        tree: recovered.tree,
        known: BTreeMap::from([(Zxid::ZERO, (digest, None))]),
        history: vec![Zxid::ZERO],
        may_end_with: vec![Zxid::ZERO],
        may_have_epochs: vec![epochs(0, 0)],
        vouched: None,
    })
}

fn check(life: &Life, found: &Recovered, moment: &str) {
    let last = found.last;
    assert!(
        life.may_end_with.contains(&last),
        "{moment}: the history ends with {last}, expected one of {:?}",
        life.may_end_with
    );
    let digest = life.known[&last].0;
    assert_eq!(found.tree.digest(), digest, "{moment}: another tree at {last}");
    assert_eq!(found.tree.last_zxid(), last.0, "{moment}");
    assert!(!found.report.digest_differs, "{moment}");
    assert!(
        life.may_have_epochs.contains(&found.epochs),
        "{moment}: epochs {:?}, expected one of {:?}",
        found.epochs,
        life.may_have_epochs
    );
    if let Some((epochs, vouched)) = life.vouched
        && found.epochs == epochs
    {
        assert_eq!(last, vouched, "{moment}: the epoch is ahead of its history");
    }
    if let Some((newest, _)) = found.recent.last() {
        assert_eq!(*newest, last, "{moment}");
    }
    for (zxid, payload) in &found.recent {
        let known = life.known[zxid].1.as_ref();
        assert_eq!(Some(payload), known, "{moment}: {zxid} has changed");
    }
    // A gap would show as a zxid of the history that is missing from the middle.
    let recent: Vec<Zxid> = found.recent.iter().map(|(zxid, _)| *zxid).collect();
    let first = recent.first().copied().unwrap_or(last);
    let mut between = life.known.keys().filter(|z| (first..=last).contains(*z));
    assert!(
        recent.is_empty() || recent.iter().all(|zxid| between.any(|known| known == zxid)),
        "{moment}: {recent:?} is out of order"
    );
}

/// Goes on after a recovery, and finds what was written.
fn go_on(mut store: Store, found: Recovered, disk: &CrashDisk, moment: &str) {
    let mut tree = found.tree;
    let next = Zxid::new(Epoch(found.last.epoch().0 + 1), 1);
    let payload = txns::create(&mut tree, next, 900);
    let accepted = found.epochs.accepted.max(next.epoch());
    store.save_epochs(Epochs { accepted, ..found.epochs }).unwrap();
    store.append(next, &payload).unwrap();
    store.sync().unwrap();
    drop(store);
    let (_, again) = open(&disk.after_crash(Fate::Lost))
        .unwrap_or_else(|error| panic!("{moment}, gone on: {error}"));
    assert_eq!(again.last, next, "{moment}, gone on");
    assert_eq!(again.tree.digest(), tree.digest(), "{moment}, gone on");
    assert!(again.report.cut.is_none(), "{moment}, gone on: cut twice");
}

fn cut_everywhere(fates: &[Fate]) {
    let whole = CrashDisk::default();
    let mut life = born(&whole).unwrap();
    live(&mut life).unwrap();
    let operations = whole.operations();
    assert!(operations > 200, "the life has only {operations} operations");
    for cut in 0..operations {
        let disk = CrashDisk::default();
        disk.dying_after(cut);
        let Ok(mut life) = born(&disk) else {
            for fate in fates {
                let moment = format!("cut at {cut}, {fate:?}, not yet born");
                let disk = disk.after_crash(*fate);
                let (_, found) = open(&disk).unwrap_or_else(|error| panic!("{moment}: {error}"));
                assert_eq!(found.last, Zxid::ZERO, "{moment}");
                assert_eq!(found.epochs, epochs(0, 0), "{moment}");
            }
            continue;
        };
        let death = live(&mut life).unwrap_err();
        assert!(matches!(death, Error::Io { .. }), "cut at {cut}: {death}");
        for fate in fates {
            let moment = format!("cut at {cut}, {fate:?}");
            let found_disk = disk.after_crash(*fate);
            // The power is cut again while the server recovers.
            let mut chance = Chance(cut);
            for _ in 0..2 {
                let again = found_disk.after_crash(Fate::Kept);
                let _ = open(again.dying_after(chance.next() % 8));
                let again = again.after_crash(Fate::Torn(chance.next()));
                let (_, found) =
                    open(&again).unwrap_or_else(|error| panic!("{moment}, twice: {error}"));
                check(&life, &found, &format!("{moment}, twice"));
            }
            let (store, found) =
                open(&found_disk).unwrap_or_else(|error| panic!("{moment}: {error}"));
            check(&life, &found, &moment);
            go_on(store, found, &found_disk, &moment);
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_it_wrote() {
    cut_everywhere(&[Fate::Kept]);
}

#[test]
fn a_power_cut_loses_nothing_that_was_reported_durable() {
    cut_everywhere(&[Fate::Lost]);
}

#[test]
fn torn_and_reordered_writes_never_stop_a_recovery() {
    let fates: Vec<Fate> = (1..=6).map(Fate::Torn).collect();
    cut_everywhere(&fates);
}

#[test]
fn after_a_failed_write_nothing_more_is_accepted() {
    let disk = CrashDisk::default();
    let (mut store, found) = open(&disk).unwrap();
    let mut tree = found.tree;
    store.save_epochs(epochs(1, 0)).unwrap();
    let payload = txns::create(&mut tree, Zxid::new(Epoch(1), 1), 10);
    store.append(Zxid::new(Epoch(1), 1), &payload).unwrap();
    disk.dying_after(3);
    let first = store.sync().unwrap_err();
    assert!(matches!(first, Error::Io { .. }), "{first}");
    // The disk works again. What it holds is unknown all the same.
    disk.dying_after(1000);
    let attempts = [
        store.sync().map(drop),
        store.append(Zxid::new(Epoch(1), 2), &payload),
        store.save_epochs(epochs(1, 1)),
        store.truncate(Zxid::ZERO),
        store.reload().map(drop),
        store.install_snapshot(Zxid::ZERO, &txns::empty_tree().freeze()),
        store.begin_snapshot(txns::empty_tree().freeze()).map(drop),
    ];
    for attempt in attempts {
        let error = attempt.unwrap_err();
        assert!(matches!(error, Error::Poisoned { .. }), "{error}");
        assert!(error.to_string().contains(&first.to_string()), "{error}");
    }
}

/// What a killed process has written and not synced is still shown to the next one, which reports it and builds on it.
#[test]
fn what_was_found_after_a_kill_is_not_lost_to_a_later_power_cut() {
    for operations_max in 0..40 {
        let disk = CrashDisk::default();
        let (mut store, mut tree) = (open(&disk).unwrap().0, txns::empty_tree());
        store.save_epochs(epochs(1, 1)).unwrap();
        disk.dying_after(operations_max);
        for counter in 1..4 {
            let zxid = Zxid::new(Epoch(1), counter);
            let payload = txns::create(&mut tree, zxid, 100);
            if store.append(zxid, &payload).and_then(|()| store.sync()).is_err() {
                break;
            }
        }
        drop(store);
        disk.dying_after(u64::MAX);
        let found = open(&disk).unwrap().1.last;
        let after = open(&disk.after_crash(Fate::Lost)).unwrap().1.last;
        assert_eq!(after, found, "killed after {operations_max} operations");
    }
}

/// When a sync has failed, the system may go on to show what it could not write, and take it for written.
#[test]
fn what_a_failed_sync_has_left_in_memory_is_not_built_on() {
    let zxid = |counter| Zxid::new(Epoch(1), counter);
    for synced in 0..4 {
        let disk = CrashDisk::default();
        let (mut store, mut tree) = (open(&disk).unwrap().0, txns::empty_tree());
        store.save_epochs(epochs(1, 1)).unwrap();
        for counter in 1..=synced {
            let payload = txns::create(&mut tree, zxid(counter), 300);
            store.append(zxid(counter), &payload).unwrap();
            store.sync().unwrap();
        }
        if synced == 0 {
            // The file is there; only its first record is not.
            store.maintenance().prepare_segment().unwrap();
        }
        let next = zxid(synced + 1);
        store.append(next, &txns::create(&mut tree, next, 900)).unwrap();
        disk.fail_next_sync();
        store.sync().unwrap_err();
        drop(store);
        // The process is started again; what it finds it reports, and builds on.
        let (mut store, found) = open(&disk).unwrap();
        let after = open(&disk.after_crash(Fate::Lost)).unwrap().1.last;
        assert_eq!(after, found.last, "{synced} synced before");
        let next = Zxid::new(Epoch(1), found.last.counter() + 1);
        store.append(next, &txns::create(&mut txns::empty_tree(), next, 10)).unwrap();
        store.sync().unwrap();
        assert_eq!(open(&disk.after_crash(Fate::Lost)).unwrap().1.last, next);
    }
}

/// A leader may send a snapshot of the very zxid that this server is writing one of: its own tail beyond that is of
/// another epoch.
#[test]
fn a_received_snapshot_and_one_of_our_own_do_not_get_into_one_file() {
    let disk = CrashDisk::default();
    let (mut store, found) = open(&disk).unwrap();
    let (mut ours, mut theirs) = (found.tree, txns::empty_tree());
    store.save_epochs(epochs(2, 1)).unwrap();
    for counter in 1..=3 {
        let zxid = Zxid::new(Epoch(1), counter);
        store.append(zxid, &txns::create(&mut ours, zxid, 100)).unwrap();
        txns::create(&mut theirs, zxid, 100);
    }
    // Every server writes this znode for itself: the two files are not the same byte for byte.
    theirs.set_config(b"server.1=a:2888:3888:participant", 0, 99);
    let last = Zxid::new(Epoch(1), 3);
    let writer = store.begin_snapshot(ours.freeze()).unwrap();
    let later = Zxid::new(Epoch(2), 1);
    store.append(later, &txns::create(&mut ours, later, 100)).unwrap();
    let mut received = Some(theirs.freeze());
    let written = writer.write(&mut |_| {
        if let Some(tree) = received.take() {
            store.install_snapshot(last, &tree).unwrap();
        }
    });
    assert_eq!(written.unwrap(), Written::Outdated);
    drop(store);
    for fate in [Fate::Kept, Fate::Lost] {
        let (_, found) = open(&disk.after_crash(fate)).unwrap();
        assert_eq!((found.last, found.tree.digest()), (last, theirs.digest()));
    }
}

/// The log of the history that a snapshot replaces must not be taken for what leads up to it. When the power fails before
/// it is removed, only the zxid of the snapshot tells the two apart; and in time the snapshot goes.
#[test]
fn a_replaced_history_is_never_joined_to_the_one_after_it() {
    let zxid = |epoch, counter| Zxid::new(Epoch(epoch), counter);
    let start = || {
        let disk = CrashDisk::default();
        let (mut store, found) = open(&disk).unwrap();
        let mut tree = found.tree;
        store.save_epochs(epochs(2, 2)).unwrap();
        for counter in 1..=3 {
            store.append(zxid(2, counter), &txns::create(&mut tree, zxid(2, counter), 50)).unwrap();
        }
        store.sync().unwrap();
        store.save_epochs(epochs(4, 2)).unwrap();
        (disk, store)
    };
    let mut theirs = txns::empty_tree();
    txns::create(&mut theirs, zxid(3, 5), 50);
    for operations_max in 0..40 {
        for fate in [Fate::Lost, Fate::Kept] {
            let (disk, mut store) = start();
            disk.dying_after(operations_max);
            let _ = store.install_snapshot(zxid(3, 5), &theirs.freeze());
            drop(store);
            let disk = disk.after_crash(fate);
            let (mut store, found) = open(&disk).unwrap();
            let (last, mut tree) = (found.last, found.tree);
            let mut next = Vec::new();
            // Snapshots come and go; three are kept.
            for counter in 1..=5 {
                let payload = txns::create(&mut tree, zxid(4, counter), 50);
                store.append(zxid(4, counter), &payload).unwrap();
                store.sync().unwrap();
                next.push(zxid(4, counter));
                let found = open(&disk.after_crash(Fate::Lost)).unwrap().1;
                let first_new = found.recent.iter().position(|(it, _)| it.epoch() == Epoch(4));
                let before =
                    first_new.and_then(|it| it.checked_sub(1)).map(|it| found.recent[it].0);
                let moment = format!("cut at {operations_max}, {fate:?}, {counter} later");
                assert!(
                    before.is_none_or(|it| it == last),
                    "{moment}: {before:?} leads to 4:1, not {last}"
                );
                let writer = store.begin_snapshot(tree.freeze()).unwrap();
                assert_eq!(writer.write(&mut |_| {}).unwrap(), Written::Durable);
                // The power may fail between the snapshots and the logs.
                let operations = disk.operations();
                disk.dying_after(counter as u64 % 4);
                let _ = store.maintenance().remove_old(3);
                disk.dying_after(u64::MAX - operations);
            }
        }
    }
}
