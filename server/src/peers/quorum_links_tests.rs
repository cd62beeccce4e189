//! A leader and a learner in one process, over real sockets; or one of them and a raw socket.

use bytes::{Bytes, BytesMut};
use jute::Encode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tree::DataTree;
use zab::Message;

use super::*;
use crate::peers::testing::{Heard, commit, member, run};
use crate::peers::wire;

const LEADER: ServerId = ServerId(2);
const DIALED: LinkId = LinkId::DIALED;
const DIALED_NEXT: LinkId = LinkId(LinkId::DIALED.0 + 1);

fn limits() -> Limits {
    Limits {
        silence_limit: Duration::from_secs(10),
        queue_bytes_max: 64 << 20,
        packet_bytes_max: 1 << 20,
        hash_seed: 1,
    }
}

/// Links of one server; the leader listens on `port` as far as they know.
fn start(listener: TcpListener, port: u16, limits: Limits) -> (QuorumLinks, Heard) {
    let heard = Heard::default();
    let settings = Settings {
        members: [(LEADER, member(port, 1))].into(),
        connect_timeout: Duration::from_secs(5),
        dial_limit: Duration::from_secs(10),
        limits,
    };
    (QuorumLinks::start(settings, listener, heard.clone()), heard)
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A leader, a learner that dialed it, and the leader's id of the link.
async fn pair() -> ((QuorumLinks, Heard), (QuorumLinks, Heard), LinkId) {
    let (port_of_leader, port) = listener().await;
    let leader = start(port_of_leader, port, limits());
    let learner = start(listener().await.0, port, limits());
    learner.0.dial(DIALED, LEADER);
    assert!(matches!(learner.1.next().await, Input::LinkDialed { link: DIALED }));
    let accepted = accepted(&leader.1).await;
    (leader, learner, accepted)
}

async fn accepted(heard: &Heard) -> LinkId {
    match heard.next().await {
        Input::LinkAccepted { link } => link,
        other => panic!("{other:?}"),
    }
}

/// A leader and a raw socket that plays a learner.
async fn leader_and_socket(limits: Limits) -> ((QuorumLinks, Heard), TcpStream, LinkId) {
    let (listener, port) = listener().await;
    let leader = start(listener, port, limits);
    let socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let link = accepted(&leader.1).await;
    (leader, socket, link)
}

async fn is_down(heard: &Heard, down: LinkId) {
    let input = heard.next().await;
    assert!(matches!(input, Input::LinkDown { link } if link == down), "{input:?}");
}

#[test]
fn messages_cross_in_order_and_the_end_is_reported_once() {
    run(async {
        let ((leader, by_leader), (learner, by_learner), accepted) = pair().await;
        assert!(accepted < LinkId::DIALED);
        for zxid in 1..=3 {
            leader.send(accepted, &commit(zxid));
        }
        for zxid in 1..=3 {
            assert_eq!(by_learner.commit(DIALED).await, zxid);
        }
        learner.send(DIALED, &commit(9));
        assert_eq!(by_leader.commit(accepted).await, 9);

        leader.send(accepted, &commit(4));
        leader.close(accepted, "enough");
        leader.send(accepted, &commit(5));
        assert_eq!(by_learner.commit(DIALED).await, 4, "what was sent before the end arrives");
        is_down(&by_learner, DIALED).await;
        learner.send(DIALED, &commit(10));
        learner.close(DIALED, "it is gone");
        sleep(Duration::from_millis(50)).await;
        assert!(by_leader.is_empty() && by_learner.is_empty());
    });
}

#[test]
fn a_leader_that_is_not_there_is_reported_after_five_tries() {
    run(async {
        let (nobody, port) = listener().await;
        drop(nobody);
        let (learner, heard) = start(listener().await.0, port, limits());
        let start = Instant::now();
        learner.dial(DIALED, LEADER);
        is_down(&heard, DIALED).await;
        // 100 + 200 + 400 + 800 ms of pauses.
        assert!(start.elapsed() >= Duration::from_millis(1500));
        learner.dial(DIALED_NEXT, ServerId(99));
        is_down(&heard, DIALED_NEXT).await;
    });
}

#[test]
fn a_dial_that_was_given_up_reports_nothing() {
    run(async {
        let (listener_of_leader, port) = listener().await;
        let (learner, heard) = start(listener().await.0, port, limits());
        learner.dial(DIALED, LEADER);
        learner.close(DIALED, "changed our mind");
        learner.dial(DIALED_NEXT, LEADER);
        assert!(matches!(heard.next().await, Input::LinkDialed { link: DIALED_NEXT }));
        assert!(heard.is_empty());
        drop(listener_of_leader);
    });
}

#[test]
fn a_snapshot_crosses_whole_and_in_its_place() {
    run(async {
        let ((leader, _), (_learner, by_learner), accepted) = pair().await;
        let mut tree = DataTree::new(3);
        let text: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        tree.set_config(&text, 5, 0);
        let to = Zxid(77);
        leader.send(accepted, &commit(1));
        leader.send_snapshot(accepted, to, tree.freeze());
        leader.send(accepted, &commit(2));
        tree.set_config(b"changed meanwhile", 6, 0);
        assert_eq!(by_learner.commit(DIALED).await, 1);
        let received = match by_learner.message(DIALED).await {
            PeerMessage::Snapshot { to: Zxid(77), tree } => tree,
            other => panic!("{other:?}"),
        };
        assert_eq!(received.get("/zookeeper/config").unwrap().data(), Some(&text[..]));
        assert_eq!(received.node_count(), tree.node_count());
        assert_eq!(by_learner.commit(DIALED).await, 2);
    });
}

#[test]
fn a_snapshot_has_the_bytes_that_java_expects() {
    run(async {
        let ((leader, _), mut socket, link) = leader_and_socket(limits()).await;
        leader.send_snapshot(link, Zxid(0x1_0000_0005), DataTree::new(3).freeze());
        leader.close(link, "done");
        let mut all = Vec::new();
        socket.read_to_end(&mut all).await.unwrap();
        let head = [0, 0, 0, 15, 0, 0, 0, 1, 0, 0, 0, 5];
        assert_eq!(all[..12], head);
        // No sessions follow the two nulls, and the tree ends in "/" before the mark.
        assert_eq!(all[12..24], [255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0]);
        assert!(all.ends_with(b"\0\0\0\x01/\0\0\0\x0aBenWasHere"));
    });
}

#[test]
fn a_snapshot_without_its_mark_ends_the_link() {
    run(async {
        let (port_of_leader, port) = listener().await;
        let (learner, heard) = start(listener().await.0, port, limits());
        learner.dial(DIALED, LEADER);
        let (mut leader, _) = port_of_leader.accept().await.unwrap();
        assert!(matches!(heard.next().await, Input::LinkDialed { link: DIALED }));
        let mut bytes = BytesMut::new();
        let snap = PeerMessage::Zab(Message::Snap { to: Zxid(5) });
        wire::encode(&snap, FarEnd::Learner, &mut bytes);
        let mut writer = tree::snapshot::TreeWriter::new(DataTree::new(3).freeze());
        writer.next_chunk(usize::MAX, &mut bytes);
        "BenWasGone".encode(&mut bytes);
        leader.write_all(&bytes).await.unwrap();
        is_down(&heard, DIALED).await;
    });
}

#[test]
fn a_packet_that_means_nothing_ends_the_link_after_those_before_it() {
    run(async {
        let ((_leader, heard), mut socket, link) = leader_and_socket(limits()).await;
        let mut bytes = BytesMut::new();
        wire::encode(&commit(1), FarEnd::Leader, &mut bytes);
        bytes.extend_from_slice(&[0, 0, 3, 231, 0, 0, 0, 0, 0, 0, 0, 0]);
        socket.write_all(&bytes).await.unwrap();
        assert_eq!(heard.commit(link).await, 1);
        is_down(&heard, link).await;

        let ((_leader, heard), mut socket, link) = leader_and_socket(limits()).await;
        let mut bytes = BytesMut::new();
        let snap = PeerMessage::Zab(Message::Snap { to: Zxid(5) });
        wire::encode(&snap, FarEnd::Leader, &mut bytes);
        socket.write_all(&bytes).await.unwrap();
        is_down(&heard, link).await;
    });
}

#[test]
fn packets_may_come_in_any_pieces() {
    run(async {
        let ((_leader, heard), mut socket, link) = leader_and_socket(limits()).await;
        socket.set_nodelay(true).unwrap();
        let mut bytes = BytesMut::new();
        wire::encode(&commit(1), FarEnd::Leader, &mut bytes);
        wire::encode(&commit(2), FarEnd::Leader, &mut bytes);
        for byte in bytes {
            socket.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(heard.commit(link).await, 1);
        assert_eq!(heard.commit(link).await, 2);
        drop(socket);
        is_down(&heard, link).await;
    });
}

fn large_proposal() -> PeerMessage {
    let payload = Bytes::from(vec![0; 1 << 20]);
    PeerMessage::Zab(Message::Propose { zxid: Zxid(1), payload })
}

#[test]
fn a_learner_that_does_not_keep_up_is_cut_off() {
    run(async {
        let limits = Limits { queue_bytes_max: 8 << 20, ..limits() };
        let ((leader, heard), socket, link) = leader_and_socket(limits).await;
        for _ in 0..9 {
            leader.send(link, &large_proposal());
        }
        is_down(&heard, link).await;
        drop(socket);
    });
}

#[test]
fn a_learner_that_takes_nothing_is_cut_off_in_time() {
    run(async {
        let limits = Limits { silence_limit: Duration::from_millis(300), ..limits() };
        let ((leader, heard), socket, link) = leader_and_socket(limits).await;
        let start = Instant::now();
        for _ in 0..32 {
            leader.send(link, &large_proposal());
        }
        is_down(&heard, link).await;
        assert!(start.elapsed() >= Duration::from_millis(300));
        drop(socket);
    });
}
