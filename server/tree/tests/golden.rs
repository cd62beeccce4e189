//! Against Java: the log and the client conversation of a ZooKeeper 3.9.5 server, as captured for
//! `jute` (see `jute/testdata/README.md`). Java's digests after every transaction must be those of
//! our tree, and our leader must decide its requests as it did, to the byte.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use bytes::{Bytes, BytesMut};
use jute::data::ClientInfo;
use jute::request::{AuthPacket, RequestHeader};
use jute::response::{GetChildren2Response, ReplyHeader};
use jute::txn::{Txn, decode_log_payload};
use jute::{Decode, Encode, OpCode, OwnedId, Reader};
use tree::{ApplyMode, DataTree, Prep, PrepRequest, TxnResult};

const LOG: &str = include_str!("../../jute/testdata/log.hex");
const SESSION: &str = include_str!("../../jute/testdata/session.hex");

fn lines(text: &str) -> Vec<(&str, Bytes)> {
    let line = |line: &'static str| {
        let (name, hex) = line.split_once(' ').unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (name, (0..hex.len()).step_by(2).map(byte).collect())
    };
    let text: &'static str = if std::ptr::eq(text, LOG) { LOG } else { SESSION };
    text.lines().filter(|it| !it.starts_with('#')).map(line).collect()
}

#[test]
fn the_digest_after_each_transaction_of_a_java_log_is_javas() {
    let mut tree = DataTree::new(3);
    let mut compared = 0;
    for (_, payload) in lines(LOG) {
        let decoded = decode_log_payload(&payload).unwrap();
        tree.apply(&decoded.header, &decoded.txn, ApplyMode::Live, &mut Vec::new());
        if let Some(digest) = decoded.digest {
            assert_eq!(tree.digest(), digest.digest, "after {:?}", decoded.txn);
            compared += 1;
        }
    }
    assert!(compared > 10);
}

/// What our leader would have made of a request that the Java server logged as `payload`.
fn decided(
    prep: &mut Prep,
    tree: &DataTree,
    op: OpCode,
    body: &[u8],
    auth: &[OwnedId],
    payload: &Bytes,
) -> Bytes {
    let header = decode_log_payload(payload).unwrap().header;
    prep.prepare(
        tree,
        &PrepRequest {
            session: header.client_id,
            cxid: header.cxid,
            op,
            body,
            auth,
            zxid: header.zxid,
            time_ms: header.time_ms,
        },
    )
}

/// The reply frame to `xid`, without the zxid, which depends on when Java answered.
fn reply_to(xid: i32, frames: &[(&str, Bytes)]) -> Option<(ReplyHeader, Bytes)> {
    frames.iter().filter(|(direction, _)| *direction == "<").find_map(|(_, frame)| {
        let mut reader = Reader::new(frame);
        let header = ReplyHeader::decode(&mut reader).ok()?;
        (header.xid == xid).then(|| (header, Bytes::copy_from_slice(reader.rest())))
    })
}

#[test]
fn a_leader_of_ours_decides_and_answers_the_requests_of_a_java_session_as_java_did() {
    let frames = lines(SESSION);
    let mut log = lines(LOG).into_iter().map(|(_, payload)| payload).peekable();
    let mut auth = vec![OwnedId { scheme: "ip".into(), id: "127.0.0.1".into() }];
    let (mut tree, mut prep) = (DataTree::new(3), Prep::new());
    let apply = |tree: &mut DataTree, prep: &mut Prep, payload: &Bytes| {
        let decoded = decode_log_payload(payload).unwrap();
        let result = tree.apply(&decoded.header, &decoded.txn, ApplyMode::Live, &mut Vec::new());
        prep.applied(decoded.header.zxid);
        result
    };

    let created = log.next().unwrap();
    let timeout_ms = 10_000_i32.to_bytes();
    let ours = decided(&mut prep, &tree, OpCode::CreateSession, &timeout_ms, &[], &created);
    assert_eq!(ours, created);
    apply(&mut tree, &mut prep, &ours);

    let (mut same_bytes, mut reads) = (0, 0);
    for (at, (direction, frame)) in frames.iter().enumerate().skip(2) {
        let mut reader = Reader::new(frame);
        if *direction == "<" {
            continue;
        }
        let Ok(header) = RequestHeader::decode(&mut reader) else { continue };
        let Some(op) = OpCode::from_code(header.op) else { continue };
        let body = reader.rest();
        if op == OpCode::Auth {
            let packet = AuthPacket::decode(&mut reader).unwrap();
            auth.extend(tree::acl::authenticate_digest(packet.auth.unwrap(), None));
            continue;
        }
        let logged = log.peek().map(|payload| decode_log_payload(payload).unwrap().header);
        if logged.is_some_and(|logged| logged.cxid == header.xid) {
            let java = log.next().unwrap();
            let payload = match op {
                // TTL znodes are switched off here and were on there.
                OpCode::CreateTtl => java.clone(),
                _ => decided(&mut prep, &tree, op, body, &auth, &java),
            };
            let failed_multi = matches!(
                decode_log_payload(&payload).unwrap().txn,
                Txn::Multi(members) if members.iter().any(|it| it.op == OpCode::Error)
            );
            // Java leaves those before the failed member in; we name all of them errors.
            if !failed_multi {
                assert_eq!(payload, java, "decision about {op} in frame {at}");
                same_bytes += 1;
            }
            let result = apply(&mut tree, &mut prep, &payload);
            check_reply(header.xid, &result, &frames[at..]);
        } else if check_read(&tree, op, body, &auth, header.xid, &frames[at..]) {
            reads += 1;
        }
    }
    assert!(same_bytes >= 10, "{same_bytes} decisions compared");
    assert!(reads >= 5, "{reads} reads compared");
}

fn check_reply(xid: i32, result: &TxnResult, frames: &[(&str, Bytes)]) {
    let Some((header, java)) = reply_to(xid, frames) else { return };
    let mut ours = BytesMut::new();
    result.encode_body(&mut ours);
    assert_eq!(header.err, result.err(), "err of the reply to {xid}");
    assert_eq!(ours, java, "reply to {xid}");
}

fn check_read(
    tree: &DataTree,
    op: OpCode,
    body: &[u8],
    auth: &[OwnedId],
    xid: i32,
    frames: &[(&str, Bytes)],
) -> bool {
    let Some((header, mut java)) = reply_to(xid, frames) else { return false };
    let mut reader = Reader::new(body);
    let Ok(path) = <&str>::decode(&mut reader) else { return false };
    let mut ours = BytesMut::new();
    let outcome = match op {
        OpCode::Exists => tree.exists(path, auth).map(|node| node.stat().encode(&mut ours)),
        OpCode::GetData => tree.get_data(path, auth).map(|node| {
            node.data().encode(&mut ours);
            node.stat().encode(&mut ours);
        }),
        OpCode::GetAcl => tree.get_acl(path, auth).map(|(acl, stat)| {
            acl.encode(&mut ours);
            stat.encode(&mut ours);
        }),
        OpCode::GetAllChildrenNumber => {
            tree.get_all_children_number(path, auth).map(|count| count.encode(&mut ours))
        }
        OpCode::GetChildren2 => tree.get_children(path, auth).map(|node| {
            jute::codec::encode_vector(node.children(), &mut ours);
            node.stat().encode(&mut ours);
            // Java answers names in the order of their hashes.
            let mut response = GetChildren2Response::decode_all(&java).unwrap();
            response.children.sort_unstable();
            java = response.to_bytes();
        }),
        _ => return false,
    };
    assert_eq!(outcome.map_or_else(|code| code.code(), |()| 0), header.err, "{op} {path}");
    assert_eq!(ours, java, "{op} {path}");
    true
}

#[test]
fn identities_are_named_as_java_names_them() {
    let ids = tree::acl::authenticate_digest(b"user:pass", None);
    let text = ClientInfo { auth_scheme: &ids[0].scheme, user: ids[0].id.as_str().into() };
    assert_eq!(text.user, "user:smGaoVKd/cQkjm7b88GyorAUz20=");
}
