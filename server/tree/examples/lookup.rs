//! Measures the tree: nanoseconds per lookup and per transaction, bytes per znode, freezing.
//!
//! `cargo run --release -p zab-tree --example lookup -- [ZNODES] [BYTES OF DATA]`
//!
//! Times are processor time. Figures depend on whether the tree fits into the processor's cache, so lookups are measured on
//! all znodes in random order (the worst case) and on a hot set of 10 000.
#![allow(clippy::print_stdout, reason = "a measurement prints")]

use std::hint::black_box;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use jute::data::Acl;
use jute::request::{CreateRequest, SetDataRequest};
use jute::txn::decode_log_payload;
use jute::{Encode, OpCode};
use tree::snapshot::Progress;
use tree::{ApplyMode, DataTree, Prep, PrepRequest, TreeWriter};

/// Processor time of this (only) thread in nanoseconds: other programs do not count.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default()
}

struct Bench {
    tree: DataTree,
    prep: Prep,
    zxid: i64,
}

impl Bench {
    /// Prepares all of `writes`, then applies them, in batches as a server does.
    fn write(&mut self, what: &str, op: OpCode, writes: impl Iterator<Item = Bytes>) {
        let mut writes = writes.peekable();
        let (mut count, mut prepare_ns, mut apply_ns) = (0, 0, 0);
        while writes.peek().is_some() {
            let bodies: Vec<Bytes> = writes.by_ref().take(1000).collect();
            count += bodies.len() as u64;
            let start = cpu_ns();
            let payloads: Vec<Bytes> = bodies.iter().map(|body| self.prepare(op, body)).collect();
            let prepared = cpu_ns();
            let mut changes = Vec::new();
            for payload in &payloads {
                let decoded = decode_log_payload(payload).expect("our own payload");
                let (header, txn) = (decoded.header, decoded.txn);
                black_box(self.tree.apply(&header, &txn, ApplyMode::Live, &mut changes));
                self.prep.applied(header.zxid);
            }
            apply_ns += cpu_ns() - prepared;
            prepare_ns += prepared - start;
        }
        println!(
            "{what}: prepare {} ns, decode and apply {} ns",
            prepare_ns / count,
            apply_ns / count
        );
    }

    fn prepare(&mut self, op: OpCode, body: &[u8]) -> Bytes {
        self.zxid += 1;
        let (zxid, cxid, time_ms) = (self.zxid, 1, 1_700_000_000_000);
        let request = PrepRequest { session: 1, cxid, op, body, auth: &[], zxid, time_ms };
        self.prep.prepare(&self.tree, &request)
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
    let count = (rounds * paths.len()) as u64;
    let start = cpu_ns();
    for path in std::iter::repeat_n(paths, rounds).flatten() {
        black_box(tree.get(black_box(path)).map(|node| node.path().len()));
    }
    let found_ns = (cpu_ns() - start) / count;
    let mut out = BytesMut::with_capacity(1 << 17);
    let start = cpu_ns();
    for path in std::iter::repeat_n(paths, rounds).flatten() {
        let node = tree.get_data(black_box(path), &[]).expect("it was created");
        node.data().encode(&mut out);
        node.stat().encode(&mut out);
        if out.len() > 1 << 16 {
            out.clear();
        }
    }
    let read_ns = (cpu_ns() - start) / count;
    println!("{what}: lookup {found_ns} ns, getData with encoding {read_ns} ns");
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|it| it.parse::<usize>());
    let count = arguments.next().and_then(Result::ok).unwrap_or(1_000_000);
    let length = arguments.next().and_then(Result::ok).unwrap_or(100);
    let data = vec![7; length];

    let mut bench = Bench { tree: DataTree::new(0x5eed), prep: Prep::new(), zxid: 0 };
    let timeout_ms = 10_000_i32.to_bytes();
    bench.write("createSession", OpCode::CreateSession, std::iter::once(timeout_ms));
    let create = |path: String| {
        let acl = Some(vec![Acl::OPEN]);
        CreateRequest { path: &path, data: Some(&data), acl, flags: 0 }.to_bytes()
    };
    let parents = (0..1000).map(|i| format!("/bench/dir-{i:04}"));
    let parents = std::iter::once("/bench".to_owned()).chain(parents);
    bench.write("create parents", OpCode::Create, parents.map(create));
    let before = resident_bytes();
    bench.write("create", OpCode::Create, (0..count).map(|i| create(path(i))));
    let used = resident_bytes() - before;
    println!("{count} znodes of {length} bytes: {} resident bytes per znode", used / count);

    let all: Vec<String> = shuffled(count).map(path).collect();
    lookups(&bench.tree, "random of all", &all);
    let hot: Vec<String> = shuffled(count).take(10_000).map(path).collect();
    lookups(&bench.tree, "hot 10 000", &hot);

    let set = |path: &String| SetDataRequest { path, data: Some(&data), version: -1 }.to_bytes();
    bench.write("setData", OpCode::SetData, all.iter().take(200_000).map(set));

    let start = Instant::now();
    let frozen = bench.tree.freeze();
    println!("freeze: {} µs", start.elapsed().as_micros());
    bench.write("first setData after it", OpCode::SetData, all.iter().take(1).map(set));
    bench.write("setData while frozen", OpCode::SetData, all.iter().take(200_000).map(set));

    let (mut out, mut bytes, start) = (BytesMut::new(), 0, cpu_ns());
    let mut writer = TreeWriter::new(frozen);
    loop {
        let progress = writer.next_chunk(1 << 16, &mut out);
        bytes += out.len();
        out.clear();
        if progress == Progress::Done {
            break;
        }
    }
    println!("snapshot: {bytes} bytes in {} ms", (cpu_ns() - start) / 1_000_000);
}
