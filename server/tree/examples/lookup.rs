//! Measures the tree: nanoseconds per lookup and per transaction, bytes per znode, freezing.
//!
//! `cargo run --release -p zab-tree --example lookup -- [ZNODES] [BYTES OF DATA]`
//!
//! Figures depend on whether the tree fits into the processor's cache, so lookups are measured on
//! all znodes in random order (the worst case) and on a hot set of 10 000.
#![allow(clippy::print_stdout, reason = "a measurement prints")]

use std::hint::black_box;
use std::time::Instant;

use bytes::BytesMut;
use jute::data::Acl;
use jute::request::{CreateRequest, SetDataRequest};
use jute::txn::decode_log_payload;
use jute::{Encode, OpCode};
use tree::snapshot::Progress;
use tree::{ApplyMode, DataTree, Prep, PrepRequest, TreeWriter};

struct Bench {
    tree: DataTree,
    prep: Prep,
    zxid: i64,
    prep_ns: u128,
    apply_ns: u128,
}

impl Bench {
    fn write(&mut self, op: OpCode, body: &[u8]) {
        self.zxid += 1;
        let (zxid, cxid, time_ms) = (self.zxid, 1, 1_700_000_000_000);
        let request = PrepRequest { session: 1, cxid, op, body, auth: &[], zxid, time_ms };
        let start = Instant::now();
        let payload = self.prep.prepare(&self.tree, &request);
        let prepared = Instant::now();
        let decoded = decode_log_payload(&payload).expect("our own payload");
        let (header, txn) = (decoded.header, decoded.txn);
        let mut changes = Vec::new();
        black_box(self.tree.apply(&header, &txn, ApplyMode::Live, &mut changes));
        self.prep.applied(zxid);
        self.prep_ns += (prepared - start).as_nanos();
        self.apply_ns += prepared.elapsed().as_nanos();
    }

    fn report(&mut self, what: &str, count: usize) {
        let (prep, apply) = (self.prep_ns as usize / count, self.apply_ns as usize / count);
        println!("{what}: prepare {prep} ns, decode and apply {apply} ns");
        (self.prep_ns, self.apply_ns) = (0, 0);
    }
}

fn path(i: usize) -> String {
    format!("/bench/dir-{:04}/node-{i:09}", i % 1000)
}

/// A full-period walk over `0..count` that jumps about.
fn shuffled(count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |i| (i * 2_654_435_761) % count)
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or_default() * 4096
}

fn lookups(tree: &DataTree, what: &str, paths: &[String]) {
    let rounds = 4_000_000 / paths.len().max(1) + 1;
    let (mut count, start) = (0, Instant::now());
    let mut out = BytesMut::with_capacity(1 << 20);
    for _ in 0..rounds {
        for path in paths {
            black_box(tree.get(black_box(path)).map(|node| node.path().len()));
            count += 1;
        }
    }
    let found = start.elapsed().as_nanos() / count;
    let (mut count, start) = (0, Instant::now());
    for _ in 0..rounds {
        for path in paths {
            let node = tree.get_data(black_box(path), &[]).expect("it was created");
            node.data().encode(&mut out);
            node.stat().encode(&mut out);
            if out.len() > 1 << 19 {
                out.clear();
            }
            count += 1;
        }
    }
    let read = start.elapsed().as_nanos() / count;
    println!("{what}: lookup {found} ns, getData with encoding {read} ns");
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|it| it.parse::<usize>());
    let count = arguments.next().and_then(Result::ok).unwrap_or(1_000_000);
    let length = arguments.next().and_then(Result::ok).unwrap_or(100);
    let data = vec![7; length];

    let before = resident_bytes();
    let (tree, prep) = (DataTree::new(0x5eed), Prep::new());
    let mut bench = Bench { tree, prep, zxid: 0, prep_ns: 0, apply_ns: 0 };
    bench.write(OpCode::CreateSession, &10_000_i32.to_bytes());
    let create = |bench: &mut Bench, path: &str| {
        let acl = Some(vec![Acl::OPEN]);
        let request = CreateRequest { path, data: Some(&data), acl, flags: 0 };
        bench.write(OpCode::Create, &request.to_bytes());
    };
    create(&mut bench, "/bench");
    (0..1000).for_each(|i| create(&mut bench, &format!("/bench/dir-{i:04}")));
    (bench.prep_ns, bench.apply_ns) = (0, 0);
    (0..count).for_each(|i| create(&mut bench, &path(i)));
    bench.report("create", count);
    let used = resident_bytes() - before;
    println!("{count} znodes of {length} bytes: {} bytes per znode", used / count);

    let all: Vec<String> = shuffled(count).map(path).collect();
    lookups(&bench.tree, "random of all", &all);
    let hot: Vec<String> = shuffled(count).take(10_000).map(path).collect();
    lookups(&bench.tree, "hot 10 000", &hot);

    let set = |bench: &mut Bench, path: &str| {
        let request = SetDataRequest { path, data: Some(&data), version: -1 };
        bench.write(OpCode::SetData, &request.to_bytes());
    };
    all.iter().take(200_000).for_each(|path| set(&mut bench, path));
    bench.report("setData", all.len().min(200_000));

    let start = Instant::now();
    let frozen = bench.tree.freeze();
    println!("freeze: {} µs", start.elapsed().as_micros());
    let start = Instant::now();
    set(&mut bench, &all[0]);
    println!("first write after it: {} µs", start.elapsed().as_micros());
    (bench.prep_ns, bench.apply_ns) = (0, 0);
    all.iter().take(200_000).for_each(|path| set(&mut bench, path));
    bench.report("setData while frozen", all.len().min(200_000));

    let (mut out, mut bytes, start) = (BytesMut::new(), 0, Instant::now());
    let mut writer = TreeWriter::new(frozen);
    loop {
        let progress = writer.next_chunk(1 << 16, &mut out);
        bytes += out.len();
        out.clear();
        if progress == Progress::Done {
            break;
        }
    }
    println!("snapshot: {bytes} bytes in {} ms", start.elapsed().as_millis());
}
