//! What a connection is told when the core's word comes in an unusual order.

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};

use bytes::BytesMut;
use jute::codec::Encode;
use jute::request::{ConnectRequest, PathRequest, ReadRequest, RequestHeader, SetDataRequest, xid};
use jute::response::ReplyHeader;
use jute::txn::{SetDataTxn, Txn, TxnHeader};
use jute::{Decode, OpCode, Reader, Trailing};
use replica::shard::{Limits, Micros};
use replica::{Changes, Client, ConnectionId, Outcome, SessionId, Shard, ShardId, ShardOutput};
use tree::{ApplyMode, DataTree, TxnResult};
use zab::Zxid;

const CLIENT: Client = Client { shard: ShardId(0), connection: ConnectionId(1) };

/// A shard with one client that has a session.
fn connected(tree: &DataTree) -> Shard {
    let limits =
        Limits { frame_bytes_max: 1 << 20, pending_len_max: 10, output_bytes_max: 1 << 20 };
    let mut shard = Shard::new(ShardId(0), limits, None);
    shard.on_core(Micros(0), tree, ShardOutput::Serving { mark: 0 });
    shard.open(CLIENT.connection, IpAddr::V4(Ipv4Addr::LOCALHOST));
    let request = ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        timeout_ms: 1000,
        session_id: 0,
        password: None,
        read_only: Trailing(None),
    };
    let mut frame = BytesMut::new();
    jute::frame::write(&mut frame, |out| request.encode(out));
    receive(&mut shard, tree, frame);
    let (session, timeout_ms, password) = (SessionId(5), 1000, [0; 16]);
    let established = ShardOutput::Established { client: CLIENT, session, timeout_ms, password };
    shard.on_core(Micros(0), tree, established);
    shard.output(CLIENT.connection).unwrap().clear();
    shard
}

fn receive(shard: &mut Shard, tree: &DataTree, mut bytes: BytesMut) {
    shard.receive(Micros(0), tree, CLIENT.connection, &mut bytes).unwrap();
}

fn ask(shard: &mut Shard, tree: &DataTree, xid: i32, op: OpCode, body: &impl Encode) {
    let mut bytes = BytesMut::new();
    jute::frame::write(&mut bytes, |out| {
        RequestHeader { xid, op: op.code() }.encode(out);
        body.encode(out);
    });
    receive(shard, tree, bytes);
}

fn set(shard: &mut Shard, tree: &DataTree, xid: i32) {
    ask(shard, tree, xid, OpCode::SetData, &SetDataRequest { path: "/", data: None, version: -1 });
}

/// The xids of the answers since the last call, with their zxids.
fn told(shard: &mut Shard) -> Vec<(i32, i64)> {
    let mut output = std::mem::take(shard.output(CLIENT.connection).unwrap());
    let mut told = Vec::new();
    while let Some(frame) = jute::frame::take(&mut output, 1 << 20).unwrap() {
        let header = ReplyHeader::decode(&mut Reader::new(&frame)).unwrap();
        told.push((header.xid, header.zxid));
    }
    told
}

/// Commits a change of the root, made by anyone, and says what changed.
fn change(tree: &mut DataTree, zxid: i64) -> Changes {
    let header = TxnHeader { client_id: 9, cxid: 1, zxid, time_ms: 0, op: OpCode::SetData };
    let txn = Txn::SetData(SetDataTxn { path: "/", data: None, version: 1 });
    let mut changes = Vec::new();
    tree.apply(&header, &txn, ApplyMode::Live, &mut changes);
    Changes::take(&mut changes)
}

fn reply(xid: i32, zxid: i64, outcome: Outcome) -> ShardOutput {
    ShardOutput::Reply { client: CLIENT, xid, zxid: Zxid(zxid), outcome }
}

#[test]
fn a_write_that_overtakes_a_sync_is_answered_behind_it() {
    let tree = DataTree::new(0);
    let mut shard = connected(&tree);
    ask(&mut shard, &tree, 1, OpCode::Sync, &PathRequest { path: "/" });
    set(&mut shard, &tree, 2);
    let failed = Outcome::Txn(TxnResult::Error { code: -101 });
    shard.on_core(Micros(0), &tree, reply(2, 7, failed));
    assert_eq!(told(&mut shard), []);
    shard.on_core(Micros(0), &tree, reply(1, 8, Outcome::Synced));
    // The zxid never goes back: a client remembers the last one.
    assert_eq!(told(&mut shard), [(1, 8), (2, 8)]);
}

#[test]
fn a_read_behind_a_write_waits_for_the_events_of_all_it_shows() {
    let mut tree = DataTree::new(0);
    let mut shard = connected(&tree);
    ask(&mut shard, &tree, 1, OpCode::GetData, &ReadRequest { path: "/", watch: true });
    assert_eq!(told(&mut shard), [(1, 0)]);
    set(&mut shard, &tree, 2);
    ask(&mut shard, &tree, 3, OpCode::GetData, &ReadRequest { path: "/", watch: false });
    // The core has applied the client's write, which failed, and another change behind it, and now tells of both.
    let failed = Outcome::Txn(TxnResult::Error { code: -103 });
    let changes = change(&mut tree, 6);
    shard.on_core(
        Micros(0),
        &tree,
        ShardOutput::Applied { zxid: Zxid(5), changes: Changes::Few(None) },
    );
    shard.on_core(Micros(0), &tree, reply(2, 5, failed));
    assert_eq!(told(&mut shard), [(2, 5)]);
    shard.on_core(Micros(0), &tree, ShardOutput::Applied { zxid: Zxid(6), changes });
    assert_eq!(told(&mut shard), [(xid::NOTIFICATION, 6), (3, 6)]);
}

#[test]
fn nothing_is_read_from_a_tree_with_another_mark() {
    let mut tree = DataTree::new(0);
    let mut shard = connected(&tree);
    assert!(shard.may_read(&tree));
    // What is committed may be read before the shard has heard of it, if it owes no events.
    change(&mut tree, 6);
    assert!(shard.may_read(&tree));
    // The server has lost its leader, and may take in what is not committed; the shard has not heard yet.
    tree.set_mark(1);
    assert!(!shard.may_read(&tree));
    shard.on_core(Micros(0), &tree, ShardOutput::Halted);
    shard.on_core(Micros(0), &tree, ShardOutput::Serving { mark: 1 });
    assert!(shard.may_read(&tree));
}
