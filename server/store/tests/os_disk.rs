//! The store on a real file system.

#![allow(clippy::unwrap_used)]

#[path = "support/txns.rs"]
mod txns;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use store::{Options, OsDisk, Recovered, Store, Written};
use zab::{Epoch, Epochs, Zxid};

fn open(data: &Path, log: &Path) -> store::Result<(Store, Recovered)> {
    let options = Options { segment_bytes: 64 * 1024, ..Options::default() };
    Store::open(Arc::new(OsDisk::open(data, log)?), options)
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory.join("version-2")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_server_finds_its_history_again() {
    let home = tempfile::tempdir().unwrap();
    let (data, log) = (home.path().join("a/data"), home.path().join("log"));
    let (mut store, found) = open(&data, &log).unwrap();
    let mut tree = found.tree;
    let epochs = Epochs { accepted: Epoch(1), current: Epoch(1) };
    store.save_epochs(epochs).unwrap();
    store.maintenance().prepare_segment().unwrap();
    for counter in 1..=100 {
        let zxid = Zxid::new(Epoch(1), counter);
        let payload = txns::create(&mut tree, zxid, 20);
        store.append(zxid, &payload).unwrap();
        if counter % 10 == 0 {
            assert_eq!(store.sync().unwrap(), zxid);
        }
        if counter == 50 {
            // On its own thread, while the log goes on.
            let writer = store.begin_snapshot(tree.freeze()).unwrap();
            let written = std::thread::spawn(move || writer.write(&mut |_| {}));
            assert_eq!(written.join().unwrap().unwrap(), Written::Durable);
        }
    }
    drop(store);
    let there = ["acceptedEpoch", "currentEpoch", "snapshot.0", "snapshot.100000032"];
    assert_eq!(names(&data), [&there[..], &["zab-log-exists", "zab.lock"]].concat());
    assert_eq!(names(&log), ["log.100000001", "log.100000033", "zab-log", "zab.lock"]);
    let (_, found) = open(&data, &log).unwrap();
    assert_eq!(found.last, Zxid::new(Epoch(1), 100));
    assert_eq!(found.tree.digest(), tree.digest());
    assert_eq!(found.epochs, epochs);
    assert_eq!(found.recent.len(), 100);
    // The space that was prepared and not used is given back.
    let size = fs::metadata(log.join("version-2/log.100000033")).unwrap().len();
    assert!(size < 16 * 1024, "{size}");
}

#[test]
fn a_directory_in_use_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let (data, log) = (home.path().join("data"), home.path().join("log"));
    let first = OsDisk::open(&data, &log).unwrap();
    let error = OsDisk::open(&home.path().join("other"), &log).unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
    assert!(error.to_string().contains("log/version-2"), "{error}");
    drop(first);
    OsDisk::open(&data, &log).unwrap();
}

#[test]
fn a_failure_names_the_operation_and_the_path() {
    let home = tempfile::tempdir().unwrap();
    let blocked = home.path().join("blocked");
    fs::write(&blocked, b"").unwrap();
    let error = OsDisk::open(&blocked, &blocked).unwrap_err().to_string();
    assert!(error.contains("cannot create directory"), "{error}");
    assert!(error.contains("blocked/version-2"), "{error}");
}
