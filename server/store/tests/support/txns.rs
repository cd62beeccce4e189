//! Transactions to log, and the trees they make.

// Each test uses a part of it.
#![allow(dead_code)]

use bytes::{Bytes, BytesMut};
use jute::codec::Encode;
use jute::data::Acl;
use jute::op_code::OpCode;
use jute::txn::{CreateTxn, LogPayload, Txn, TxnDigest, TxnHeader, decode_log_payload};
use tree::{ApplyMode, DataTree};
use zab::Zxid;

/// An empty tree as of the beginning.
pub(crate) fn empty_tree() -> DataTree {
    DataTree::new(7)
}

/// A transaction that creates `/<zxid>` with so many bytes of data, and applies it.
pub(crate) fn create(tree: &mut DataTree, zxid: Zxid, data_bytes: usize) -> Bytes {
    let header = TxnHeader { client_id: 1, cxid: 2, zxid: zxid.0, time_ms: 3, op: OpCode::Create };
    let path = format!("/{:x}", zxid.0);
    let data: Vec<u8> = (0..data_bytes).map(|i| (i * 7 + zxid.0 as usize) as u8 | 1).collect();
    let txn = Txn::Create(CreateTxn {
        path: &path,
        data: Some(&data),
        acl: vec![Acl::OPEN],
        ephemeral: false,
        parent_cversion: -1,
    });
    tree.apply(&header, &txn, ApplyMode::Live, &mut Vec::new());
    let digest = Some(TxnDigest { version: tree::DIGEST_VERSION, digest: tree.digest() });
    let mut payload = BytesMut::new();
    LogPayload { header, txn, digest }.encode(&mut payload);
    assert!(decode_log_payload(&payload).is_ok());
    payload.freeze()
}
