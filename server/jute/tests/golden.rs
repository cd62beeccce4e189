//! Bytes that Apache ZooKeeper wrote (see `testdata/README.md`) are read, and written again the same.

#[path = "records/table.rs"]
mod table;

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use jute::codec::{Decode, DecodeError, Encode, Reader, Trailing};
use jute::data::Id;
use jute::election::{Hello, Notification, PeerState};
use jute::event::WatcherEvent;
use jute::multi::{MultiRequest, MultiResponse, MultiResult};
use jute::password::session_password;
use jute::quorum::{PacketType, QUORUM_AUTH_MAGIC, QuorumAuthPacket, QuorumPacket, take_packet};
use jute::request::*;
use jute::response::*;
use jute::txn::{FileHeader, MultiMember, Txn, decode_log_payload};
use jute::{ErrorCode, OpCode};
use table::{TABLE, golden};

fn record(name: &str) -> Vec<u8> {
    golden("records.hex").into_iter().find(|(found, _)| found == name).expect(name).1
}

#[test]
fn every_java_record_is_read_and_written_again_the_same() {
    let decoders: BTreeMap<_, _> = TABLE.iter().copied().collect();
    let mut lines = golden("records.hex");
    lines.extend(golden("election.hex"));
    let mut unseen: BTreeSet<_> = decoders.keys().copied().collect();
    unseen.remove("LogPayload");
    for (name, bytes) in &lines {
        // Written in another form than read: see the tests of their own.
        if name == "LogPayloadCreateV0" || name == "IdCesu8" {
            unseen.remove(name.as_str());
            continue;
        }
        let decoder = decoders.get(name.as_str()).expect(name);
        assert_eq!(decoder(bytes).as_deref(), Ok(&bytes[..]), "{name}");
        unseen.remove(name.as_str());
    }
    assert_eq!(unseen, BTreeSet::new(), "records without golden bytes");
}

#[test]
fn every_proper_prefix_of_a_java_record_is_truncated() {
    for (name, bytes) in golden("records.hex") {
        let Some((_, decoder)) = TABLE.iter().find(|(known, _)| *known == name) else {
            continue;
        };
        for end in 0..bytes.len() {
            match decoder(&bytes[..end]) {
                Err(error) => assert!(error.is_truncated(), "{name} cut to {end} bytes: {error}"),
                Ok(_) => {
                    let lacks_trailing_field = bytes.len() - end == 1
                        && name.starts_with("Connect")
                        || bytes.len() - end == 8 && name == "LearnerInfo";
                    assert!(lacks_trailing_field, "{name} cut to {end} bytes");
                }
            }
        }
    }
}

#[test]
fn null_and_empty_are_told_apart() {
    let null = record("CreateRequestNull");
    let null = CreateRequest::decode_all(&null).unwrap();
    assert_eq!((null.data, null.acl), (None, None));
    let empty = record("CreateRequestEmpty");
    let empty = CreateRequest::decode_all(&empty).unwrap();
    assert_eq!((empty.data, empty.acl), (Some(&b""[..]), Some(vec![])));
}

#[test]
fn surrogates_in_an_acl_id_become_the_character_that_was_meant() {
    let bytes = record("IdCesu8");
    let id = Id::decode_all(&bytes).unwrap();
    assert_eq!(id.id, "a\u{1f600}b\u{fffd}");
    let utf8 = id.to_bytes();
    assert_eq!(Id::decode_all(&utf8).unwrap(), id);
}

#[test]
fn a_read_only_byte_that_is_missing_is_not_false() {
    let bytes = record("ConnectResponse");
    let with = ConnectResponse::decode_all(&bytes).unwrap();
    assert_eq!((with.read_only, bytes.len()), (Trailing(Some(false)), 37));
    let without = ConnectResponse::decode_all(&bytes[..36]).unwrap();
    assert_eq!(without.read_only, Trailing(None));
    assert_eq!(without.to_bytes(), &bytes[..36]);
}

#[test]
fn constants_are_those_of_java() {
    assert_eq!(FileHeader::LOG.to_bytes(), record("LogFileHeader"));
    assert_eq!(FileHeader::SNAPSHOT.to_bytes(), record("SnapshotFileHeader"));
    let auth = record("QuorumAuthPacket");
    assert_eq!(QuorumAuthPacket::decode_all(&auth).unwrap().magic, QUORUM_AUTH_MAGIC);
}

#[test]
fn packets_are_taken_from_a_stream_one_by_one() {
    let (first, second) = (record("QuorumPacket"), record("QuorumPacketBare"));
    let stream = [&first[..], &second[..]].concat();
    let mut buffer = BytesMut::new();
    let mut taken = Vec::new();
    for byte in stream {
        buffer.extend_from_slice(&[byte]);
        taken.extend(take_packet(&mut buffer, 100).unwrap());
    }
    assert_eq!(taken, [first, second]);
    let packet = QuorumPacket::decode_all(&taken[1]).unwrap();
    assert_eq!(packet, QuorumPacket::bare(PacketType::UpToDate, -1));

    let error = take_packet(&mut BytesMut::from(&taken[0][..]), 5).unwrap_err();
    assert_eq!(
        error.to_string(),
        "QuorumPacket.data at byte 12: expected a length from -1 to 5, found 7"
    );
}

#[test]
fn a_packet_that_never_ends_is_refused_at_the_limit() {
    let whole = record("QuorumPacket");
    let mut buffer = BytesMut::from(&whole[..whole.len() - 1]);
    assert_eq!(take_packet(&mut buffer, whole.len()), Ok(None));
    assert!(take_packet(&mut buffer, whole.len() - 1).unwrap_err().is_truncated());
}

#[test]
fn a_java_member_says_hello_and_votes() {
    let lines = golden("election.hex");
    let hello = Hello::decode_all(&lines[0].1).unwrap();
    assert_eq!(hello.server_id, 2);
    assert!(hello.addresses[0].starts_with("127.0.0.1:"), "{hello:?}");

    let bytes = &lines[1].1;
    let vote = Notification::decode_all(bytes).unwrap();
    assert_eq!((vote.state, vote.leader, vote.version), (PeerState::Looking, 2, 2));
    assert!(vote.config.unwrap().ends_with("\nversion=0"));

    // The shorter bodies of older servers are read by their length.
    let old = Notification::decode_all(&bytes[..40]).unwrap();
    assert_eq!(old, Notification { version: 0, config: None, ..vote.clone() });
    let oldest = Notification::decode_all(&bytes[..28]).unwrap();
    assert_eq!(oldest, Notification { peer_epoch: vote.zxid >> 32, ..old });
}

#[test]
fn every_payload_of_a_java_log_is_read_and_written_again_the_same() {
    let lines = golden("log.hex");
    let mut ops = Vec::new();
    for (number, bytes) in &lines {
        let payload = decode_log_payload(bytes).unwrap();
        assert_eq!(payload.to_bytes(), bytes, "{payload:?}");
        assert_eq!(payload.header.op.code().to_string(), *number);
        let failed = matches!(payload.txn, Txn::Error { .. });
        assert_eq!(payload.digest.is_none(), failed, "only errors have no digest: {payload:?}");
        ops.push(payload.header.op);
    }
    use OpCode::*;
    let expected = [
        CreateSession,
        Create,
        SetData,
        Create2,
        Create,
        CreateContainer,
        CreateTtl,
        SetAcl,
        Multi,
        Multi,
        Error,
        Error,
        Delete,
        CloseSession,
        CreateSession,
        CloseSession,
    ];
    assert_eq!(ops, expected);
}

#[test]
fn a_java_log_tells_closed_sessions_and_failed_multis() {
    let lines = golden("log.hex");
    let txn = |at: usize| decode_log_payload(&lines[at].1).unwrap().txn;

    let Txn::Multi(members) = txn(9) else { panic!("{:?}", txn(9)) };
    let ops: Vec<_> = members.iter().map(|MultiMember { op, .. }| *op).collect();
    assert_eq!(ops, [OpCode::SetData, OpCode::Error, OpCode::Error]);
    assert_eq!(members[1].txn, Txn::Error { code: ErrorCode::NoNode.code() });
    assert_eq!(members[2].txn, Txn::Error { code: ErrorCode::RuntimeInconsistency.code() });
    assert!(txn(9).is_failed() && !txn(8).is_failed());

    assert_eq!(txn(13), Txn::CloseSession { paths: Some(vec!["/a/empty0000000001", "/m"]) });
    let bodiless = decode_log_payload(&lines[15].1).unwrap();
    assert_eq!(bodiless.txn, Txn::CloseSession { paths: None });
    assert!(bodiless.digest.is_some());
    let undigested = decode_log_payload(&lines[15].1[..32]).unwrap();
    assert_eq!((undigested.txn, undigested.digest), (Txn::CloseSession { paths: None }, None));
}

#[test]
fn a_create_of_an_old_log_has_no_parent_cversion() {
    let bytes = record("LogPayloadCreateV0");
    let payload = decode_log_payload(&bytes).unwrap();
    let Txn::Create(create) = &payload.txn else { panic!("{payload:?}") };
    assert_eq!((create.path, create.parent_cversion, payload.digest), ("/old", -1, None));
}

#[test]
fn both_sides_of_a_java_session_are_read_and_written_again_the_same() {
    let mut asked = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (at, (side, bytes)) in golden("session.hex").iter().enumerate() {
        let again = match (at, side.as_str()) {
            (0, ">") => ConnectRequest::decode_all(bytes).map(|request| request.to_bytes()),
            (1, "<") => ConnectResponse::decode_all(bytes).map(|response| {
                let password = session_password(response.session_id);
                assert_eq!(response.password, Some(&password[..]));
                response.to_bytes()
            }),
            (_, ">") => request_again(bytes, &mut asked),
            _ => response_again(bytes, &asked, &mut seen),
        };
        assert_eq!(again.as_deref(), Ok(&bytes[..]), "frame {at}");
    }
    assert!(seen.len() > 20, "answers seen: {seen:?}");
}

fn request_again(bytes: &[u8], asked: &mut BTreeMap<i32, OpCode>) -> Result<Bytes, DecodeError> {
    let reader = &mut Reader::new(bytes);
    let header = RequestHeader::decode(reader)?;
    let op = OpCode::from_code(header.op).expect("a known operation");
    asked.insert(header.xid, op);
    let record = match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer => {
            CreateRequest::decode(reader)?.to_bytes()
        }
        OpCode::CreateTtl => CreateTtlRequest::decode(reader)?.to_bytes(),
        OpCode::Delete => DeleteRequest::decode(reader)?.to_bytes(),
        OpCode::Exists | OpCode::GetData | OpCode::GetChildren | OpCode::GetChildren2 => {
            ReadRequest::decode(reader)?.to_bytes()
        }
        OpCode::SetData => SetDataRequest::decode(reader)?.to_bytes(),
        OpCode::GetAcl | OpCode::Sync | OpCode::GetEphemerals | OpCode::GetAllChildrenNumber => {
            PathRequest::decode(reader)?.to_bytes()
        }
        OpCode::SetAcl => SetAclRequest::decode(reader)?.to_bytes(),
        OpCode::Multi | OpCode::MultiRead => MultiRequest::decode(reader)?.to_bytes(),
        OpCode::CheckWatches | OpCode::RemoveWatches => WatchesRequest::decode(reader)?.to_bytes(),
        OpCode::AddWatch => AddWatchRequest::decode(reader)?.to_bytes(),
        OpCode::Reconfig => ReconfigRequest::decode(reader)?.to_bytes(),
        OpCode::Auth => AuthPacket::decode(reader)?.to_bytes(),
        OpCode::WhoAmI | OpCode::CloseSession => Bytes::new(),
        other => panic!("not in this session: {other}"),
    };
    reader.finish()?;
    Ok([header.to_bytes(), record].concat().into())
}

fn response_again(
    bytes: &[u8],
    asked: &BTreeMap<i32, OpCode>,
    seen: &mut BTreeSet<OpCode>,
) -> Result<Bytes, DecodeError> {
    let reader = &mut Reader::new(bytes);
    let header = ReplyHeader::decode(reader)?;
    let op = match header.xid {
        xid::NOTIFICATION => OpCode::Notification,
        xid => asked[&xid],
    };
    seen.insert(op);
    if header.err != 0 {
        assert!(ErrorCode::from_code(header.err).is_some(), "{header:?}");
        reader.finish()?;
        return Ok(header.to_bytes());
    }
    let record = match op {
        OpCode::Notification => WatcherEvent::decode(reader)?.to_bytes(),
        OpCode::Create | OpCode::Sync => PathResponse::decode(reader)?.to_bytes(),
        OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
            Create2Response::decode(reader)?.to_bytes()
        }
        OpCode::Exists | OpCode::SetData | OpCode::SetAcl => {
            StatResponse::decode(reader)?.to_bytes()
        }
        OpCode::GetData => GetDataResponse::decode(reader)?.to_bytes(),
        OpCode::GetChildren | OpCode::GetEphemerals => ListResponse::decode(reader)?.to_bytes(),
        OpCode::GetChildren2 => GetChildren2Response::decode(reader)?.to_bytes(),
        OpCode::GetAcl => GetAclResponse::decode(reader)?.to_bytes(),
        OpCode::GetAllChildrenNumber => CountResponse::decode(reader)?.to_bytes(),
        OpCode::WhoAmI => WhoAmIResponse::decode(reader)?.to_bytes(),
        OpCode::AddWatch => ErrorResponse::decode(reader)?.to_bytes(),
        OpCode::Multi | OpCode::MultiRead => MultiResponse::decode(reader)?.to_bytes(),
        OpCode::Delete | OpCode::CheckWatches | OpCode::RemoveWatches => Bytes::new(),
        OpCode::Auth | OpCode::CloseSession => Bytes::new(),
        other => panic!("not in this session: {other}"),
    };
    reader.finish()?;
    Ok([header.to_bytes(), record].concat().into())
}

#[test]
fn a_failed_multi_is_answered_with_one_error_per_member() {
    let bytes = record("MultiResponseFailed");
    let response = MultiResponse::decode_all(&bytes).unwrap();
    let expected = [0, ErrorCode::NoNode.code(), ErrorCode::RuntimeInconsistency.code()];
    assert_eq!(response.results, expected.map(MultiResult::Error));
}
