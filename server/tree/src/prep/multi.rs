//! Multi: all of a list of writes, or none.
//!
//! Each member is decided against the tree as the members before it will leave it. When one fails,
//! what was decided for those before it is taken back, and the transaction says so: every member
//! an error, 0 before the one that failed, -2 (not tried) behind it. That transaction is still of
//! type multi and commits like any other.

use bytes::{BufMut, BytesMut};
use jute::data::CreateMode;
use jute::multi::{MultiOp, MultiRequest};
use jute::request::CreateRequest;
use jute::txn::{MultiMember, Txn, TxnHeader};
use jute::{Decode, Encode, ErrorCode, Reader};

use super::outstanding::Outstanding;
use super::{Desk, PrepRequest};
use crate::tree::DataTree;

/// Decides a multi and writes its transaction behind the header in `out`. A failed member is no
/// error here.
pub(super) fn decide(
    outstanding: &mut Outstanding,
    tree: &DataTree,
    request: &PrepRequest<'_>,
    out: &mut BytesMut,
) -> Result<(), ErrorCode> {
    let multi = MultiRequest::decode(&mut Reader::new(request.body));
    let ops = multi.map_err(|_| ErrorCode::MarshallingError)?.ops;
    if !ops.iter().all(is_readable) {
        return Err(ErrorCode::MarshallingError);
    }
    outstanding.begin();
    out.put_i32(length(ops.len()));
    for (index, op) in ops.iter().enumerate() {
        let mut desk = Desk { outstanding, tree, request };
        if let Err(code) = desk.decide_member(op, out) {
            outstanding.take_back();
            out.truncate(TxnHeader::SIZE);
            failed(index, ops.len(), code).encode(out);
            return Ok(());
        }
    }
    outstanding.keep();
    Ok(())
}

/// Java cannot read a multi with reads in it, or with a create flag that it cannot use.
fn is_readable(op: &MultiOp<'_>) -> bool {
    match op {
        MultiOp::Create(CreateRequest { flags, .. })
        | MultiOp::Create2(CreateRequest { flags, .. })
        | MultiOp::CreateContainer(CreateRequest { flags, .. }) => CreateMode::from_code(*flags)
            .is_some_and(|mode| {
                !matches!(mode, CreateMode::PersistentTtl | CreateMode::PersistentSequentialTtl)
            }),
        op => !op.is_read(),
    }
}

impl<'a> Desk<'a> {
    /// Decides one member and writes type, length and transaction.
    fn decide_member(&mut self, op: &MultiOp<'_>, out: &mut BytesMut) -> Result<(), ErrorCode> {
        out.put_i32(op.op().code());
        let length_at = out.len();
        out.put_i32(0);
        match op {
            MultiOp::Create(create)
            | MultiOp::Create2(create)
            | MultiOp::CreateContainer(create) => self.create(op.op(), create, out)?,
            MultiOp::CreateTtl(create) => self.create_ttl(create)?,
            MultiOp::Delete(delete) => self.delete(delete, out)?,
            MultiOp::SetData(set) => self.set_data(set, out)?,
            MultiOp::Check(check) => self.check(check, out)?,
            MultiOp::GetChildren(_) | MultiOp::GetData(_) => {
                return Err(ErrorCode::MarshallingError);
            }
        }
        let written = length(out.len() - length_at - 4);
        out[length_at..length_at + 4].copy_from_slice(&written.to_be_bytes());
        Ok(())
    }
}

fn failed(index: usize, count: usize, code: ErrorCode) -> Vec<MultiMember<'static>> {
    let member = |at: usize| {
        let code = match at.cmp(&index) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => code.code(),
            std::cmp::Ordering::Greater => ErrorCode::RuntimeInconsistency.code(),
        };
        MultiMember { op: jute::OpCode::Error, txn: Txn::Error { code } }
    };
    (0..count).map(member).collect()
}

fn length(length: usize) -> i32 {
    i32::try_from(length).expect("a frame is shorter than 2 GiB")
}
