//! What is written is read back the same, and no bytes whatever make a decoder panic.

#[path = "records/table.rs"]
mod table;

use bytes::BytesMut;
use jute::OpCode;
use jute::codec::{Decode, Encode};
use jute::data::{Acl, Id};
use jute::election::{Hello, Notification, PeerState};
use jute::frame;
use jute::quorum::{PacketType, QuorumPacket, SessionTouch, decode_touches, take_packet};
use jute::request::{CreateRequest, SetWatches};
use jute::txn::{
    CreateTxn, LogPayload, MultiMember, Txn, TxnDigest, TxnHeader, decode_log_payload,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use table::{TABLE, golden};

fn data() -> impl Strategy<Value = Option<Vec<u8>>> {
    option::of(vec(any::<u8>(), 0..50))
}

fn ids() -> impl Strategy<Value = Vec<(i32, String, String)>> {
    vec((any::<i32>(), ".{0,8}", ".{0,8}"), 0..4)
}

fn acl(ids: &[(i32, String, String)]) -> Vec<Acl<'_>> {
    ids.iter()
        .map(|(perms, scheme, id)| Acl { perms: *perms, id: Id { scheme, id: id.into() } })
        .collect()
}

fn strs(strings: &[String]) -> Vec<&str> {
    strings.iter().map(String::as_str).collect()
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_what_they_mean_is_stable(bytes in vec(any::<u8>(), 0..200)) {
        for (name, decoder) in TABLE {
            // Reading may accept what writing would not produce (a bool of 2), but only once.
            if let Ok(written) = decoder(&bytes) {
                prop_assert_eq!(decoder(&written), Ok(written.clone()), "{}", name);
            }
        }
    }

    #[test]
    fn damaged_java_bytes_never_panic(at in any::<prop::sample::Index>(), byte: u8) {
        for (name, mut bytes) in golden("records.hex") {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            for (known, decoder) in TABLE {
                if *known == name || *known == "LogPayload" {
                    let _ = decoder(&bytes);
                }
            }
        }
    }

    #[test]
    fn requests_round_trip(path in ".*", data in data(), ids in option::of(ids()), flags: i32) {
        let request = CreateRequest {
            path: &path,
            data: data.as_deref(),
            acl: ids.as_deref().map(acl),
            flags,
        };
        let bytes = request.to_bytes();
        prop_assert_eq!(CreateRequest::decode_all(&bytes), Ok(request));
    }

    #[test]
    fn lists_round_trip(zxid: i64, first in vec(".*", 0..5), second in vec(".*", 0..5)) {
        let request = SetWatches {
            relative_zxid: zxid,
            data: strs(&first),
            exist: vec![],
            child: strs(&second),
        };
        let bytes = request.to_bytes();
        prop_assert_eq!(SetWatches::decode_all(&bytes), Ok(request));
    }

    #[test]
    fn log_payloads_round_trip(
        numbers: (i64, i32, i64, i64),
        path in "/.*",
        data in data(),
        ids in ids(),
        ephemeral: bool,
        parent_cversion: i32,
        digest in option::of(any::<i64>()),
        in_multi: bool,
    ) {
        let create = CreateTxn {
            path: &path,
            data: data.as_deref(),
            acl: acl(&ids),
            ephemeral,
            parent_cversion,
        };
        let (op, txn) = if in_multi {
            let member = MultiMember { op: OpCode::Create2, txn: Txn::Create(create) };
            (OpCode::Multi, Txn::Multi(vec![member.clone(), member]))
        } else {
            (OpCode::Create, Txn::Create(create))
        };
        let (client_id, cxid, zxid, time_ms) = numbers;
        let payload = LogPayload {
            header: TxnHeader { client_id, cxid, zxid, time_ms, op },
            txn,
            digest: digest.map(|digest| TxnDigest { version: TxnDigest::VERSION, digest }),
        };
        let bytes = payload.to_bytes();
        prop_assert_eq!(decode_log_payload(&bytes), Ok(payload));
    }

    #[test]
    fn closed_sessions_round_trip(paths in option::of(vec("/.*", 0..4)), digest in option::of(any::<i64>())) {
        let op = OpCode::CloseSession;
        let payload = LogPayload {
            header: TxnHeader { client_id: 1, cxid: 2, zxid: 3, time_ms: 4, op },
            txn: Txn::CloseSession { paths: paths.as_deref().map(strs) },
            digest: digest.map(|digest| TxnDigest { version: TxnDigest::VERSION, digest }),
        };
        let bytes = payload.to_bytes();
        prop_assert_eq!(decode_log_payload(&bytes), Ok(payload));
    }

    #[test]
    fn election_messages_round_trip(
        server_id in 0..i64::MAX,
        addresses in vec("[a-z:0-9]{1,9}", 0..3),
        numbers: (i64, i64, i64, i64),
        config in ".*",
    ) {
        let hello = Hello { server_id, addresses: strs(&addresses) };
        let bytes = hello.to_bytes();
        prop_assert_eq!(Hello::decode_all(&bytes), Ok(hello));
        let (leader, zxid, election_epoch, peer_epoch) = numbers;
        let vote = Notification {
            state: PeerState::Looking,
            leader,
            zxid,
            election_epoch,
            peer_epoch,
            version: Notification::VERSION,
            config: Some(&config),
        };
        let bytes = vote.to_bytes();
        prop_assert_eq!(Notification::decode_all(&bytes), Ok(vote));
    }

    #[test]
    fn streams_are_cut_back_into_what_was_written(
        bodies in vec(vec(any::<u8>(), 0..40), 0..6),
        chunk in 1..30usize,
    ) {
        let mut frames = BytesMut::new();
        let mut packets = BytesMut::new();
        for body in &bodies {
            frame::write(&mut frames, |out| out.extend_from_slice(body));
            QuorumPacket::with_data(PacketType::Proposal, 7, body).encode(&mut packets);
        }
        let (mut buffer, mut taken) = (BytesMut::new(), Vec::new());
        for chunk in frames.chunks(chunk) {
            buffer.extend_from_slice(chunk);
            while let Some(body) = frame::take(&mut buffer, 40).unwrap() {
                taken.push(body.to_vec());
            }
        }
        prop_assert_eq!(&taken, &bodies);

        let (mut buffer, mut taken) = (BytesMut::new(), Vec::new());
        for chunk in packets.chunks(chunk) {
            buffer.extend_from_slice(chunk);
            while let Some(packet) = take_packet(&mut buffer, 60).unwrap() {
                taken.push(QuorumPacket::decode_all(&packet).unwrap().data.unwrap().to_vec());
            }
        }
        prop_assert_eq!(&taken, &bodies);
    }

    #[test]
    fn touched_sessions_round_trip(sessions in vec((any::<i64>(), any::<i32>()), 0..5)) {
        let touch = |(session_id, timeout_ms)| SessionTouch { session_id, timeout_ms };
        let touches: Vec<_> = sessions.into_iter().map(touch).collect();
        let mut data = BytesMut::new();
        touches.iter().for_each(|touch| touch.encode(&mut data));
        prop_assert_eq!(decode_touches(&data), Ok(touches));
    }
}

#[test]
fn a_length_that_lies_is_refused_without_making_room_for_it() {
    let mut bytes = BytesMut::new();
    1i64.encode(&mut bytes);
    i32::MAX.encode(&mut bytes);
    let error = SetWatches::decode_all(&bytes).unwrap_err();
    assert_eq!(error.to_string(), "SetWatches.data at byte 12: expected 4 bytes, 0 are left");
}

#[test]
fn frames_longer_than_the_limit_or_negative_are_refused_by_their_length() {
    let refused = |length: i32| frame::peek(&length.to_be_bytes(), 10).unwrap_err().to_string();
    assert_eq!(refused(11), "frame length 11: expected 0 to 10 bytes");
    assert_eq!(refused(-1), "frame length -1: expected 0 to 10 bytes");
    assert_eq!(frame::peek(&10i32.to_be_bytes(), 10), Ok(None));
    assert_eq!(frame::peek(&[0, 0, 0, 0, 9], 10), Ok(Some(&[][..])));
}

#[test]
fn a_multi_inside_a_multi_is_refused() {
    let member = MultiMember { op: OpCode::Multi, txn: Txn::Multi(vec![]) };
    let header = TxnHeader { client_id: 1, cxid: 2, zxid: 3, time_ms: 4, op: OpCode::Multi };
    let payload = LogPayload { header, txn: Txn::Multi(vec![member]), digest: None };
    let bytes = payload.to_bytes();
    assert_eq!(
        decode_log_payload(&bytes).unwrap_err().to_string(),
        "TxnHeader.op at byte 44: expected a transaction type, found 14"
    );
}

/// As Apache ZooKeeper 3.9.5 sends a failed multi to a learner that catches up.
#[test]
fn an_error_in_a_multi_may_keep_the_body_it_was_prepared_with() {
    let path = "/b";
    let prepared =
        CreateTxn { path, data: None, acl: vec![], ephemeral: false, parent_cversion: 1 };
    let header = TxnHeader { client_id: 1, cxid: 2, zxid: 3, time_ms: 4, op: OpCode::Multi };
    let member = MultiMember { op: OpCode::Error, txn: Txn::Create(prepared) };
    let payload = LogPayload { header, txn: Txn::Multi(vec![member]), digest: None };
    let bytes = payload.to_bytes();
    let decoded = decode_log_payload(&bytes).unwrap();
    assert!(decoded.txn.is_failed(), "{decoded:?}");
}
