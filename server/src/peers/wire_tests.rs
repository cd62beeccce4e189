//! Bytes as Java 3.9 sends them, and every message there and back.

use super::*;

const TXN: &[u8] = b"txn bytes";

fn bytes_of(hex: &str) -> Bytes {
    let hex: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    hex.chunks(2).map(byte).collect()
}

fn encoded(message: &PeerMessage, to: FarEnd) -> Bytes {
    let mut out = BytesMut::new();
    encode(message, to, &mut out);
    out.freeze()
}

/// Who receives what is sent to `to`.
fn sender(to: FarEnd) -> FarEnd {
    match to {
        FarEnd::Leader => FarEnd::Learner,
        FarEnd::Learner => FarEnd::Leader,
    }
}

fn request() -> Request {
    Request {
        session: SessionId(0x0100_0000_0000_00ab),
        xid: 7,
        op: OpCode::SetData,
        body: Bytes::from_static(b"body"),
        auth: [OwnedId { scheme: "ip".to_owned(), id: "::1".to_owned() }].into(),
    }
}

/// A message, the end that receives it, and its bytes.
type Golden = (PeerMessage, FarEnd, &'static str);

/// A packet of Zab.
fn zab(message: Message, to: FarEnd, hex: &'static str) -> Golden {
    (PeerMessage::Zab(message), to, hex)
}

/// The packets of discovery and synchronization.
fn synchronization() -> Vec<Golden> {
    use FarEnd::{Leader, Learner};
    let zxid = Zxid::new(Epoch(2), 5);
    let info = |membership| Message::LearnerInfo {
        id: ServerId(3),
        membership,
        accepted: Epoch(2),
        config_version: 1 << 32,
    };
    vec![
        zab(
            info(Membership::Voter),
            Leader,
            "0000000b 0000000200000000 00000014 0000000000000003 00010000 0000000100000000 ffffffff",
        ),
        zab(
            info(Membership::Observer),
            Leader,
            "00000010 0000000200000000 00000014 0000000000000003 00010000 0000000100000000 ffffffff",
        ),
        zab(
            Message::LeaderInfo { epoch: Epoch(3) },
            Learner,
            "00000011 0000000300000000 00000004 00010000 ffffffff",
        ),
        zab(
            Message::AckEpoch { current: Some(Epoch(2)), last: zxid },
            Leader,
            "00000012 0000000200000005 00000004 00000002 ffffffff",
        ),
        zab(
            Message::AckEpoch { current: None, last: zxid },
            Leader,
            "00000012 0000000200000005 00000004 ffffffff ffffffff",
        ),
        zab(Message::Diff { to: zxid }, Learner, "0000000d 0000000200000005 ffffffff ffffffff"),
        zab(Message::Trunc { to: zxid }, Learner, "0000000e 0000000200000005 ffffffff ffffffff"),
    ]
}

/// The packets of broadcast and those of the servers above it.
fn broadcast() -> Vec<Golden> {
    use FarEnd::{Leader, Learner};
    let payload = Bytes::from_static(TXN);
    let zxid = Zxid::new(Epoch(2), 5);
    let session = SessionId(0x0100_0000_0000_00ab);
    vec![
        zab(
            Message::Propose { zxid, payload: payload.clone() },
            Learner,
            "00000002 0000000200000005 00000009 74786e206279746573 ffffffff",
        ),
        zab(Message::Ack { zxid }, Leader, "00000003 0000000200000005 ffffffff ffffffff"),
        zab(Message::Commit { zxid }, Learner, "00000004 0000000200000005 ffffffff ffffffff"),
        zab(
            Message::Inform { zxid, payload },
            Learner,
            "00000008 0000000200000005 00000009 74786e206279746573 ffffffff",
        ),
        zab(
            Message::NewLeader { epoch: Epoch(3), config: Bytes::from_static(b"version=0") },
            Learner,
            "0000000a 0000000300000000 00000009 76657273696f6e3d30 ffffffff",
        ),
        zab(Message::UpToDate, Learner, "0000000c ffffffffffffffff ffffffff ffffffff"),
        zab(
            Message::Ping { zxid, sessions: Bytes::new() },
            Learner,
            "00000005 0000000200000005 ffffffff ffffffff",
        ),
        zab(
            Message::Ping { zxid, sessions: Bytes::new() },
            Leader,
            "00000005 0000000200000005 00000000 ffffffff",
        ),
        (
            PeerMessage::Request(request()),
            Leader,
            "00000001 ffffffffffffffff 00000014 01000000000000ab 00000007 00000005 626f6479 \
             00000001 00000002 6970 00000003 3a3a31",
        ),
        (
            PeerMessage::Revalidate { session, timeout_ms: 4000 },
            Leader,
            "00000006 ffffffffffffffff 0000000c 01000000000000ab 00000fa0 ffffffff",
        ),
        (
            PeerMessage::Revalidated { session, valid: true },
            Learner,
            "00000006 ffffffffffffffff 00000009 01000000000000ab 01 ffffffff",
        ),
        (PeerMessage::Sync, Learner, "00000007 0000000000000000 ffffffff ffffffff"),
    ]
}

#[test]
fn every_message_has_the_bytes_of_java_and_comes_back_the_same() {
    for (message, to, hex) in synchronization().into_iter().chain(broadcast()) {
        let bytes = bytes_of(hex);
        assert_eq!(encoded(&message, to), bytes, "{message:?}");
        let Received::Message(read) = decode(&bytes, sender(to)).unwrap() else {
            panic!("{message:?} came back as a snapshot");
        };
        assert_eq!(format!("{read:?}"), format!("{message:?}"));
        assert_eq!(encoded(&read, to), bytes, "{message:?}");
    }
}

#[test]
fn a_snap_packet_announces_a_tree() {
    let message = PeerMessage::Zab(Message::Snap { to: Zxid(9) });
    let bytes = encoded(&message, FarEnd::Learner);
    assert_eq!(bytes, bytes_of("0000000f 0000000000000009 ffffffff ffffffff"));
    let read = decode(&bytes, FarEnd::Leader).unwrap();
    assert!(matches!(read, Received::Snapshot { to: Zxid(9) }), "{read:?}");
}

#[test]
fn a_learner_of_before_3_5_has_no_configuration_version() {
    let short = bytes_of("0000000b 0000000200000000 0000000c 0000000000000003 00010000 ffffffff");
    let Ok(Received::Message(PeerMessage::Zab(info))) = decode(&short, FarEnd::Learner) else {
        panic!("12 bytes are enough");
    };
    let expected = Message::LearnerInfo {
        id: ServerId(3),
        membership: Membership::Voter,
        accepted: Epoch(2),
        config_version: 0,
    };
    assert_eq!(info, expected);
}

#[test]
fn a_packet_that_means_nothing_is_named() {
    for (hex, sentence) in [
        (
            "0000000b 0000000200000000 00000008 0000000000000003 ffffffff",
            "FollowerInfo: LearnerInfo.protocol_version at byte 8: expected 4 bytes, 0 are left",
        ),
        (
            "00000012 0000000200000005 00000004 fffffffe ffffffff",
            "AckEpoch: expected an epoch or -1, found -2",
        ),
        (
            "00000009 0000000200000005 00000008 0000000000000001 ffffffff",
            "CommitAndActivate: reconfiguration is not supported",
        ),
        (
            "00000001 ffffffffffffffff 00000010 01000000000000ab 00000007 000003e7 ffffffff",
            "Request: ForwardedRequest.op at byte 0: expected an operation, found 999",
        ),
    ] {
        let error = decode(&bytes_of(hex), FarEnd::Learner).unwrap_err();
        assert_eq!(error.to_string(), sentence);
    }
}

#[test]
fn a_notification_has_the_bytes_of_java_and_comes_back_the_same() {
    let notification = Notification {
        state: PeerState::Leading,
        vote: Vote { epoch: Epoch(2), zxid: Zxid::new(Epoch(2), 5), leader: ServerId(3) },
        round: 4,
    };
    let framed = encode_notification(&notification, "version=0");
    let bytes = bytes_of(
        "00000035 00000002 0000000000000003 0000000200000005 0000000000000004 0000000000000002 \
         00000002 00000009 76657273696f6e3d30",
    );
    assert_eq!(framed, bytes);
    assert_eq!(decode_notification(&bytes[4..]), Ok(notification));
}

#[test]
fn the_empty_vote_of_a_java_observer_loses_against_every_other() {
    let bytes = bytes_of(
        "00000000 8000000000000000 8000000000000000 0000000000000001 8000000000000000 00000002 \
         00000000",
    );
    let vote = decode_notification(&bytes).unwrap().vote;
    let least = Vote { epoch: Epoch(0), zxid: Zxid(0), leader: ServerId(1) };
    assert!(vote < least);
    // And it leaves as it came.
    assert_eq!(vote.leader.0.cast_signed(), i64::MIN);
}
