//! Writes and reads of one session, sent at once: every read shows the writes before it and none behind it.

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};

use bytes::{Bytes, BytesMut};
use jute::codec::Encode;
use jute::request::{ConnectRequest, ReadRequest, RequestHeader, SetDataRequest, xid};
use jute::response::{GetDataResponse, ReplyHeader};
use jute::{Decode, OpCode, Reader, Trailing};
use replica::shard::{Limits, Micros};
use replica::{Config, ConnectionId, Input, Mode, Now, Output, Recovered, Replica, Shard, ShardId};
use tree::{DataTree, SharedTree};
use zab::{AppendId, Ensemble, Membership, ServerId};

/// A standalone server whose disk reports what is durable only when it is asked to.
struct Server {
    replica: Replica,
    shard: Shard,
    tree: SharedTree,
    appended: AppendId,
}

impl Server {
    fn new() -> Self {
        let zab = zab::Config {
            id: ServerId(1),
            ensemble: Ensemble::new([(ServerId(1), Membership::Voter)]),
            config_version: 0,
            config_text: Bytes::new(),
            tick_ms: 1000,
            init_limit_ticks: 10,
            sync_limit_ticks: 5,
            finalize_wait_ms: 50,
            history_bytes_max: 1000,
        };
        let config = Config {
            zab,
            mode: Mode::Standalone,
            session_timeout_ms_min: 1000,
            session_timeout_ms_max: 10_000,
            snapshot_txns: 1000,
            snapshot_gap_ms_min: 0,
        };
        let history = zab::Recovered { trusted: true, ..zab::Recovered::default() };
        let tree = SharedTree::new(DataTree::new(0));
        let recovered = Recovered { history, tree: tree.clone(), replayed_txns: 0 };
        let limits =
            Limits { frame_bytes_max: 1 << 20, pending_len_max: 100, output_bytes_max: 1 << 20 };
        let shard = Shard::new(ShardId(0), limits, None);
        let mut outputs = Vec::new();
        let replica = Replica::new(config, recovered, Now::default(), &mut outputs);
        let mut server = Self { replica, shard, tree, appended: AppendId(0) };
        server.carry_out(outputs);
        server
    }

    fn handle(&mut self, inputs: Vec<Input>) {
        let mut outputs = Vec::new();
        for input in inputs {
            self.replica.handle(Now::default(), input, &mut outputs);
        }
        self.carry_out(outputs);
    }

    /// As the shell does: a batch of outputs is carried out when all of it is there.
    fn carry_out(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Append { append, .. } => self.appended = append,
                Output::Shard(output) => {
                    self.shard.on_core(Micros(0), &self.tree.read(), output);
                }
                _ => {}
            }
        }
        let inputs = self.shard.take_for_core();
        if !inputs.is_empty() {
            self.handle(inputs);
        }
    }

    /// Everything that was appended is durable now.
    fn sync(&mut self) {
        self.handle(vec![Input::Durable { append: self.appended }]);
    }
}

/// A client of its own connection.
struct Client {
    connection: ConnectionId,
    sent: BytesMut,
}

impl Client {
    fn connect(server: &mut Server, connection: u64) -> Self {
        let mut client = Self { connection: ConnectionId(connection), sent: BytesMut::new() };
        server.shard.open(client.connection, IpAddr::V4(Ipv4Addr::LOCALHOST));
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms: 5000,
            session_id: 0,
            password: None,
            read_only: Trailing(None),
        };
        jute::frame::write(&mut client.sent, |out| request.encode(out));
        client.send(server);
        server.sync();
        server.shard.output(client.connection).unwrap().clear();
        client
    }

    fn ask(&mut self, op: OpCode, body: &impl Encode) {
        jute::frame::write(&mut self.sent, |out| {
            RequestHeader { xid: 1, op: op.code() }.encode(out);
            body.encode(out);
        });
    }

    fn set(&mut self, data: &str) -> &mut Self {
        let data = Some(data.as_bytes());
        self.ask(OpCode::SetData, &SetDataRequest { path: "/", data, version: -1 });
        self
    }

    fn get(&mut self) -> &mut Self {
        self.ask(OpCode::GetData, &ReadRequest { path: "/", watch: false });
        self
    }

    fn get_watching(&mut self) -> &mut Self {
        self.ask(OpCode::GetData, &ReadRequest { path: "/", watch: true });
        self
    }

    /// Everything asked so far arrives at once.
    fn send(&mut self, server: &mut Server) {
        let tree = server.tree.clone();
        let received =
            server.shard.receive(Micros(0), &tree.read(), self.connection, &mut self.sent);
        received.unwrap();
        let inputs = server.shard.take_for_core();
        server.handle(inputs);
    }

    /// What it was told, a word each: `set`, `event`, or the data that was read.
    fn told(&self, server: &mut Server) -> Vec<String> {
        let mut output = std::mem::take(server.shard.output(self.connection).unwrap());
        let mut told = Vec::new();
        while let Some(frame) = jute::frame::take(&mut output, 1 << 20).unwrap() {
            let mut reader = Reader::new(&frame);
            let header = ReplyHeader::decode(&mut reader).unwrap();
            assert_eq!(header.err, 0);
            told.push(match GetDataResponse::decode(&mut reader) {
                _ if header.xid == xid::NOTIFICATION => "event".to_owned(),
                Ok(it) => String::from_utf8(it.data.unwrap().to_vec()).unwrap(),
                Err(_) => "set".to_owned(),
            });
        }
        told
    }
}

#[test]
fn a_read_between_two_writes_shows_the_first_though_both_become_durable_at_once() {
    let mut server = Server::new();
    let mut client = Client::connect(&mut server, 1);
    client.set("a").get().set("b").get().get().set("c").send(&mut server);
    server.sync();
    assert_eq!(client.told(&mut server), ["set", "a", "set", "b", "b", "set"]);
}

#[test]
fn a_watch_set_between_two_writes_tells_of_the_second() {
    let mut server = Server::new();
    let mut client = Client::connect(&mut server, 1);
    client.set("a").get_watching().set("b").send(&mut server);
    server.sync();
    assert_eq!(client.told(&mut server), ["set", "a", "event", "set"]);
}

#[test]
fn sessions_do_not_wait_for_each_others_reads() {
    let mut server = Server::new();
    let (mut one, mut two) = (Client::connect(&mut server, 1), Client::connect(&mut server, 2));
    one.set("a").get().send(&mut server);
    two.set("b").get().set("c").send(&mut server);
    one.set("d").get().send(&mut server);
    server.sync();
    // Each reads at least its own last write, and nothing it has not written or another has not.
    assert_eq!(two.told(&mut server), ["set", "b", "set"]);
    assert_eq!(one.told(&mut server), ["set", "b", "set", "d"]);
}
