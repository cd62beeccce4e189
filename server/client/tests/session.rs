//! A client against a listener that plays a server by hand: what is sent, and what is not.
#![allow(clippy::unwrap_used, reason = "helpers of tests, like tests, stop at the first surprise")]

use bytes::BytesMut;
use client::{Client, Config, Error, ErrorCode, Event, EventType, Events, Session, Stat, Watch};
use jute::event::{KeeperState, WatcherEvent};
use jute::frame;
use jute::request::{ConnectRequest, ReadRequest, RequestHeader, SetWatches, xid};
use jute::response::{ConnectResponse, ReplyHeader, StatResponse};
use jute::{Decode, Encode, OpCode, Reader, Trailing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SESSION: Session = Session { id: 0x1_0000_0001, password: [7; 16] };

/// A connection as the server sees it.
struct Peer {
    socket: TcpStream,
    input: BytesMut,
}

impl Peer {
    async fn accept(listener: &TcpListener) -> Self {
        let (socket, _) = listener.accept().await.unwrap();
        Self { socket, input: BytesMut::new() }
    }

    async fn frame(&mut self) -> bytes::Bytes {
        loop {
            if let Some(frame) = frame::take(&mut self.input, 1 << 20).unwrap() {
                return frame;
            }
            assert_ne!(self.socket.read_buf(&mut self.input).await.unwrap(), 0, "client hung up");
        }
    }

    /// The next request, as its header and record.
    async fn request(&mut self) -> (RequestHeader, bytes::Bytes) {
        let frame = self.frame().await;
        let mut reader = Reader::new(&frame);
        let header = RequestHeader::decode(&mut reader).unwrap();
        (header, frame.slice_ref(reader.rest()))
    }

    async fn say(&mut self, records: &[&dyn Fn(&mut BytesMut)]) {
        let mut out = BytesMut::new();
        frame::write(&mut out, |out| records.iter().for_each(|record| record(out)));
        self.socket.write_all(&out).await.unwrap();
    }

    async fn answer(&mut self, xid: i32, zxid: i64, err: i32) {
        self.say(&[&|out| ReplyHeader { xid, zxid, err }.encode(out)]).await;
    }

    /// Reads the connect request and takes the session; `timeout_ms` 0 says that it expired.
    async fn greet(&mut self, timeout_ms: i32) -> (i64, i64) {
        let frame = self.frame().await;
        let request = ConnectRequest::decode_all(&frame).unwrap();
        let response = ConnectResponse {
            protocol_version: 0,
            timeout_ms,
            session_id: SESSION.id,
            password: Some(&SESSION.password),
            read_only: Trailing(Some(false)),
        };
        self.say(&[&|out| response.encode(out)]).await;
        (request.session_id, request.last_zxid_seen)
    }
}

async fn connected() -> (TcpListener, Peer, Client, Events) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config::new(&listener.local_addr().unwrap().to_string());
    let serve = async {
        let mut peer = Peer::accept(&listener).await;
        assert_eq!(peer.greet(6000).await, (0, 0));
        peer
    };
    let (peer, client) = tokio::join!(serve, Client::connect(config));
    let (client, mut events) = client.unwrap();
    assert!(matches!(events.recv().await, Some(Event::Connected { .. })));
    (listener, peer, client, events)
}

#[tokio::test]
async fn requests_in_flight_fail_when_the_connection_breaks_and_are_not_sent_again() {
    let (listener, mut peer, client, mut events) = connected().await;
    let request = ReadRequest { path: "/a", watch: false };
    let first = client.start(OpCode::Exists, &request);
    let second = client.start(OpCode::Exists, &request);
    let (header, _) = peer.request().await;
    assert_eq!(header, RequestHeader { xid: 1, op: OpCode::Exists.code() });
    peer.answer(1, 9, ErrorCode::NoNode.code()).await;
    assert_eq!(first.await.unwrap_err(), Error::Zookeeper(ErrorCode::NoNode));
    drop(peer);
    assert_eq!(second.await.unwrap_err(), Error::ConnectionLoss);
    assert_eq!(events.recv().await, Some(Event::Disconnected));

    let mut peer = Peer::accept(&listener).await;
    assert_eq!(peer.greet(6000).await, (SESSION.id, 9), "the same session, and what it has seen");
    assert!(matches!(events.recv().await, Some(Event::Connected { .. })));
    let third = client.start(OpCode::Sync, &request);
    let (header, _) = peer.request().await;
    assert_eq!(header, RequestHeader { xid: 1, op: OpCode::Sync.code() });
    drop(third);
}

#[tokio::test]
async fn armed_watches_are_set_again_on_the_next_connection_and_fired_ones_are_not() {
    let (listener, mut peer, client, mut events) = connected().await;
    let serve = async {
        for (xid, zxid) in [(1, 4), (2, 5)] {
            let (header, _) = peer.request().await;
            assert_eq!(header.xid, xid);
            let stat = StatResponse { stat: Stat::default() };
            let header = ReplyHeader { xid, zxid, err: 0 };
            peer.say(&[&|out| header.encode(out), &|out| stat.encode(out)]).await;
        }
        peer.request().await;
        peer.answer(3, 5, ErrorCode::NoNode.code()).await;
    };
    let ask = async {
        client.exists("/fires", Watch::Set).await.unwrap();
        client.exists("/stays", Watch::Set).await.unwrap();
        assert_eq!(client.exists("/none", Watch::Set).await, Ok(None));
    };
    tokio::join!(serve, ask);
    let event = EventType::NodeDataChanged;
    let header = ReplyHeader { xid: xid::NOTIFICATION, zxid: 6, err: 0 };
    let body = WatcherEvent { event, state: KeeperState::SyncConnected, path: "/fires" };
    peer.say(&[&|out| header.encode(out), &|out| body.encode(out)]).await;
    let fired = Event::Watch { event, path: "/fires".into(), zxid: 6 };
    assert_eq!(events.recv().await, Some(fired));
    drop(peer);

    let mut peer = Peer::accept(&listener).await;
    assert_eq!(peer.greet(6000).await, (SESSION.id, 5), "events do not count as seen");
    let (header, record) = peer.request().await;
    assert_eq!((header.xid, header.op), (xid::SET_WATCHES, OpCode::SetWatches.code()));
    let expected =
        SetWatches { relative_zxid: 5, data: vec!["/stays"], exist: vec!["/none"], child: vec![] };
    assert_eq!(SetWatches::decode_all(&record), Ok(expected));
    drop(client);
}

#[tokio::test]
async fn an_expired_session_fails_every_later_request() {
    let (listener, peer, client, mut events) = connected().await;
    drop(peer);
    let mut peer = Peer::accept(&listener).await;
    peer.greet(0).await;
    assert_eq!(events.recv().await, Some(Event::Disconnected));
    assert_eq!(events.recv().await, Some(Event::Expired));
    assert_eq!(client.sync("/").await, Err(Error::SessionExpired));
    assert_eq!(events.recv().await, None);
}

#[tokio::test]
async fn an_idle_session_is_kept_by_a_ping_every_third_of_its_timeout() {
    let (_listener, mut peer, client, _events) = connected().await;
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    let (header, _) = peer.request().await;
    assert_eq!((header.xid, header.op), (xid::PING, OpCode::Ping.code()));
    let waited = start.elapsed().as_millis();
    assert!((1900..=2100).contains(&waited), "{waited} ms");
    drop(client);
}
