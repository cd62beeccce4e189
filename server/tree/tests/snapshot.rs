//! Snapshots: what is written is what was frozen, what is read is what was written.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use bytes::BytesMut;
use jute::{Encode, OpCode};
use support::{Server, body, dump, snapshot};
use tree::snapshot::{Fed, Progress};
use tree::{DataTree, TreeReader, TreeWriter};

fn server() -> Server {
    let mut server = Server::default();
    let none = |_: &str| None;
    let acl = |key: &str| (key == "acl").then_some("world:anyone:rcwd,ip:10.0.0.0/8:a");
    let ephemeral = |key: &str| (key == "flags").then_some("e");
    let mut write = |name: &str, args: &[&str], key: &dyn Fn(&str) -> Option<&'static str>| {
        let (op, body) = body(name, args, &key).unwrap().unwrap();
        server.prepare(1, op, &body);
        server.apply_all();
    };
    write("session", &[], &none);
    write("create", &["/a", "data"], &none);
    write("create", &["/a/b", ""], &acl);
    write("create", &["/a/b/null"], &acl);
    write("create", &["/a/e", "x"], &ephemeral);
    write("container", &["/box", "c"], &none);
    write("create", &["/b", "z"], &none);
    server
}

#[test]
fn a_stream_may_be_cut_at_every_byte() {
    let tree = server().tree;
    let bytes = snapshot(&tree);
    for cut in 0..=bytes.len() {
        let mut reader = TreeReader::new(5);
        let first = reader.feed(&bytes[..cut]).unwrap();
        let trailing: Vec<u8> = bytes[cut..].iter().copied().chain(*b"BenWasHere").collect();
        if cut < bytes.len() {
            assert_eq!(first, Fed::NeedMore);
            let rest = bytes.len() - cut;
            assert_eq!(reader.feed(&trailing).unwrap(), Fed::Done { consumed: rest });
        } else {
            assert_eq!(first, Fed::Done { consumed: cut });
        }
        let copy = reader.finish(tree.last_zxid()).unwrap();
        assert_eq!(dump(&copy), dump(&tree), "cut at {cut}");
    }
}

#[test]
fn a_stream_may_come_byte_by_byte_and_be_written_in_small_pieces() {
    let tree = server().tree;
    let whole = snapshot(&tree);
    let mut writer = TreeWriter::new(tree.freeze());
    let mut reader = TreeReader::new(5);
    let mut written = Vec::new();
    let mut last = Fed::NeedMore;
    loop {
        let mut piece = BytesMut::new();
        let progress = writer.next_chunk(1, &mut piece);
        for byte in &piece {
            last = reader.feed(&[*byte]).unwrap();
        }
        written.extend_from_slice(&piece);
        if progress == Progress::Done {
            break;
        }
    }
    assert_eq!(written, whole);
    assert_eq!(last, Fed::Done { consumed: 1 });
    assert_eq!(dump(&reader.finish(tree.last_zxid()).unwrap()), dump(&tree));
}

#[test]
fn a_stream_that_ends_early_is_no_tree() {
    let tree = server().tree;
    let bytes = snapshot(&tree);
    let mut reader = TreeReader::new(5);
    reader.feed(&bytes[..bytes.len() - 1]).unwrap();
    let error = reader.finish(1).unwrap_err();
    assert!(error.to_string().contains("ends here"), "{error}");
}

#[test]
fn damage_is_refused_with_its_place() {
    let tree = DataTree::new(1);
    let good = snapshot(&tree).to_vec();
    let refused = |bytes: &[u8]| TreeReader::new(5).feed(bytes).unwrap_err();

    let mut negative = good.clone();
    negative[..4].copy_from_slice(&(-2_i32).to_be_bytes());
    assert_eq!(refused(&negative).offset, 0);

    // Sessions and ACL lists: 4 + 4 + one list; the first path follows.
    let list_at = 8;
    let mut unknown_list = good.clone();
    unknown_list[list_at + 7] = 77;
    let error = refused(&unknown_list);
    assert!(error.to_string().contains("ACL list 1, which is not in the stream"), "{error}");

    let mut out = BytesMut::new();
    out.extend_from_slice(&[0; 8]);
    "/orphan".encode(&mut out);
    out.extend_from_slice(&[0; 4 + 8 + 60]);
    let error = refused(&out);
    assert!(error.to_string().contains("/orphan comes before its parent"), "{error}");

    let mut huge = good;
    huge.truncate(8);
    huge[7] = 0;
    huge.extend_from_slice(&i32::MAX.to_be_bytes());
    let error = refused(&huge);
    assert!(error.to_string().contains("expected a length"), "{error}");
}

#[test]
fn a_frozen_tree_stays_as_it_was_under_later_writes() {
    let mut server = server();
    let none = |_: &str| None;
    for i in 0..500 {
        let (op, body) = body("create", &[&format!("/a/n{i:03}"), "x"], &none).unwrap().unwrap();
        server.prepare(1, op, &body);
    }
    server.apply_all();
    let before = dump(&server.tree);
    let frozen = server.tree.freeze();
    let second = frozen.clone();
    for i in (0..500).step_by(3) {
        for (name, args) in [
            ("set", vec![format!("/a/n{i:03}"), "changed".into()]),
            ("delete", vec![format!("/a/n{:03}", i + 1)]),
            ("create", vec![format!("/a/n{i:03}/child"), "new".into()]),
            ("setacl", vec![format!("/a/n{i:03}")]),
        ] {
            let acl = |key: &str| (key == "acl").then_some("world:anyone:r");
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let (op, body) = body(name, &args, &acl).unwrap().unwrap();
            server.prepare(1, op, &body);
        }
    }
    server.prepare(1, OpCode::CloseSession, &[]);
    server.apply_all();
    assert_ne!(dump(&server.tree), before);
    for frozen in [frozen, second] {
        let (zxid, digest) = (frozen.last_zxid(), frozen.digest());
        let mut bytes = BytesMut::new();
        TreeWriter::new(frozen).next_chunk(usize::MAX, &mut bytes);
        let mut reader = TreeReader::new(9);
        reader.feed(&bytes).unwrap();
        let copy = reader.finish(zxid).unwrap();
        assert_eq!(dump(&copy), before);
        assert_eq!(copy.digest(), digest);
    }
}
