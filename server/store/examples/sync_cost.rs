//! What a group commit costs on this machine, beside an ordinary append with `fdatasync`.
//!
//! `cargo run --release -p zab-store --example sync_cost [DIRECTORY]`

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use jute::codec::Encode;
use jute::op_code::OpCode;
use jute::txn::{LogPayload, SetDataTxn, Txn, TxnHeader};
use store::{Options, OsDisk, Store};
use zab::{Epoch, Epochs, Zxid};

const PAYLOAD_BYTES: usize = 200;
const ROUNDS: usize = 400;
const BATCHES: [usize; 3] = [1, 16, 256];

fn payload(zxid: Zxid) -> Bytes {
    let header = TxnHeader { client_id: 1, cxid: 2, zxid: zxid.0, time_ms: 3, op: OpCode::SetData };
    let txn = Txn::SetData(SetDataTxn {
        path: "/a",
        data: Some(&[b'x'; PAYLOAD_BYTES - 32 - 6 - 4 - 4]),
        version: 1,
    });
    let mut out = BytesMut::new();
    LogPayload { header, txn, digest: None }.encode(&mut out);
    assert_eq!(out.len(), PAYLOAD_BYTES);
    out.freeze()
}

fn report(what: &str, batch: usize, mut took: Vec<Duration>) {
    took.sort_unstable();
    let micros = |index: usize| took[index].as_nanos() as f64 / 1000.0;
    println!(
        "{what:<44} {batch:>4} records: p50 {:>7.1} µs  p99 {:>7.1} µs  {:>8.2} µs/record",
        micros(took.len() / 2),
        micros(took.len() * 99 / 100),
        micros(took.len() / 2) / batch as f64,
    );
}

fn naive(directory: &Path, batch: usize) -> std::io::Result<Vec<Duration>> {
    let path = directory.join("naive");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let start = Instant::now();
        let mut bytes = Vec::new();
        for record in 0..batch {
            let payload = payload(Zxid((round * batch + record) as i64));
            bytes.extend_from_slice(&u64::from(simd_adler32::adler32(&&payload[..])).to_be_bytes());
            bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes());
            bytes.extend_from_slice(&payload);
            bytes.push(b'B');
        }
        file.write_all(&bytes)?;
        file.sync_data()?;
        took.push(start.elapsed());
    }
    std::fs::remove_file(path)?;
    Ok(took)
}

struct Ours {
    store: Store,
    next: Zxid,
}

impl Ours {
    fn open(directory: &Path) -> store::Result<Self> {
        let disk = Arc::new(OsDisk::open(directory, directory)?);
        let (mut store, _) = Store::open(disk, Options::default())?;
        let start = Instant::now();
        store.maintenance().prepare_segment()?;
        println!("preparing a log file of 64 MiB took {:?}", start.elapsed());
        store.save_epochs(Epochs { accepted: Epoch(1), current: Epoch(1) })?;
        Ok(Self { store, next: Zxid::new(Epoch(1), 1) })
    }

    fn run(&mut self, batch: usize) -> store::Result<Vec<Duration>> {
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            for _ in 0..batch {
                self.store.append(self.next, &payload(self.next))?;
                self.next = self.next.next();
            }
            self.store.sync()?;
            took.push(start.elapsed());
        }
        Ok(took)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(parent)?;
    let mut ours = Ours::open(directory.path())?;
    // Interleaved, because a shared disk is not the same from minute to minute.
    for batch in BATCHES {
        let mut plain = Vec::new();
        let mut prepared = Vec::new();
        for _ in 0..2 {
            plain.extend(naive(directory.path(), batch)?);
            prepared.extend(ours.run(batch)?);
        }
        report("append to a growing file, fdatasync", batch, plain);
        report("Store::append, Store::sync (prepared file)", batch, prepared);
    }
    println!("log files started: {}", ours.store.rolls());
    Ok(())
}
