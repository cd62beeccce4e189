//! Transactions: what a leader proposes, what the log keeps, what every server applies.
//!
//! A log payload, and the data of a PROPOSAL, is a [`TxnHeader`], the transaction its type names,
//! and usually a [`TxnDigest`]. Two old forms carry no mark and are told by where the payload ends:
//! a create without `parent_cversion` and a closeSession without body.

use bytes::BytesMut;

use crate::codec::{Decode, DecodeError, Encode, Expected, Reader};
use crate::data::Acl;
use crate::op_code::OpCode;
use crate::record::record;

record! {
    /// Stands before every transaction.
    #[derive(Copy)]
    TxnHeader {
        /// The session that asked for it.
        client_id: i64,
        /// The xid of the request in that session.
        cxid: i32,
        zxid: i64,
        /// Leader's wall clock, milliseconds since 1970.
        time_ms: i64,
        op: OpCode,
    }
}

impl TxnHeader {
    /// Bytes on the wire.
    pub const SIZE: usize = 32;
}

record! {
    /// Create and Create2. The owner of an ephemeral is the header's `client_id`.
    CreateTxn<'a> {
        path: &'a str,
        data: Option<&'a [u8]>,
        acl: Vec<Acl<'a>>,
        ephemeral: bool,
        /// The parent's internal cversion afterwards; -1 (from old logs): one more than before.
        parent_cversion: i32,
    }
}

record! {
    /// Create as servers before 3.4 logged it.
    CreateTxnV0<'a> {
        path: &'a str,
        data: Option<&'a [u8]>,
        acl: Vec<Acl<'a>>,
        ephemeral: bool,
    }
}

record! {
    /// CreateTtl.
    CreateTtlTxn<'a> {
        path: &'a str,
        data: Option<&'a [u8]>,
        acl: Vec<Acl<'a>>,
        parent_cversion: i32,
        ttl_ms: i64,
    }
}

record! {
    /// CreateContainer.
    CreateContainerTxn<'a> {
        path: &'a str,
        data: Option<&'a [u8]>,
        acl: Vec<Acl<'a>>,
        parent_cversion: i32,
    }
}

record! {
    /// Delete and DeleteContainer.
    DeleteTxn<'a> { path: &'a str }
}

record! {
    /// SetData and Reconfig; `version` is the new one (-1 for Reconfig).
    SetDataTxn<'a> { path: &'a str, data: Option<&'a [u8]>, version: i32 }
}

record! {
    /// SetAcl; `version` is the new one.
    SetAclTxn<'a> { path: &'a str, acl: Vec<Acl<'a>>, version: i32 }
}

record! {
    /// Check, in a multi; changes nothing.
    CheckVersionTxn<'a> { path: &'a str, version: i32 }
}

record! {
    /// CreateSession.
    #[derive(Copy)]
    CreateSessionTxn { timeout_ms: i32 }
}

record! {
    /// CloseSession: the ephemeral znodes that go with it.
    CloseSessionTxn<'a> { paths: Vec<&'a str> }
}

record! {
    /// A write that failed.
    #[derive(Copy)]
    ErrorTxn { err: i32 }
}

record! {
    /// Digest of the whole tree after the transaction.
    #[derive(Copy)]
    TxnDigest {
        /// Version of the algorithm, 2 today.
        version: i32,
        digest: i64,
    }
}

impl TxnDigest {
    /// Bytes on the wire.
    pub const SIZE: usize = 12;
    /// The only version of the algorithm in use.
    pub const VERSION: i32 = 2;
}

/// A transaction without its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Txn<'a> {
    /// Create, Create2.
    Create(CreateTxn<'a>),
    /// CreateTtl.
    CreateTtl(CreateTtlTxn<'a>),
    /// CreateContainer.
    CreateContainer(CreateContainerTxn<'a>),
    /// Delete, DeleteContainer.
    Delete(DeleteTxn<'a>),
    /// SetData, Reconfig.
    SetData(SetDataTxn<'a>),
    /// SetAcl.
    SetAcl(SetAclTxn<'a>),
    /// Check; in a multi only.
    Check(CheckVersionTxn<'a>),
    /// CreateSession.
    CreateSession {
        /// The session timeout granted.
        timeout_ms: i32,
    },
    /// CloseSession.
    CloseSession {
        /// The ephemeral znodes that go with the session; `None` from servers that do not list
        /// them, then whatever the session owns goes.
        paths: Option<Vec<&'a str>>,
    },
    /// A write that failed: burns a zxid, tells the asker, changes nothing.
    Error {
        /// An [`ErrorCode`](crate::error_code::ErrorCode) number, kept even when unknown.
        code: i32,
    },
    /// All or nothing. A multi with an error among its members failed and changes nothing: the
    /// members before the error still stand there as they were prepared, those behind it are
    /// errors too.
    Multi(Vec<MultiMember<'a>>),
}

/// A transaction inside a multi.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiMember<'a> {
    /// The type; the same transaction may come from more than one operation.
    pub op: OpCode,
    /// Anything but another multi, a session or an ACL change.
    pub txn: Txn<'a>,
}

impl<'a> Txn<'a> {
    /// True when it changes nothing: an error, or a multi that has one.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        match self {
            Self::Error { .. } => true,
            Self::Multi(members) => members.iter().any(|member| member.txn.is_failed()),
            _ => false,
        }
    }

    /// Reads the transaction of type `op` at the reader. A create must be in its present form.
    pub fn decode(op: OpCode, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match op {
            OpCode::SetAcl => Self::SetAcl(Decode::decode(reader)?),
            OpCode::CreateSession => {
                Self::CreateSession { timeout_ms: CreateSessionTxn::decode(reader)?.timeout_ms }
            }
            OpCode::CloseSession => {
                Self::CloseSession { paths: Some(CloseSessionTxn::decode(reader)?.paths) }
            }
            OpCode::Multi => {
                Self::Multi(Vec::decode(reader).map_err(|error| error.named("MultiTxn.txns"))?)
            }
            _ => Self::decode_member(op, reader)?,
        })
    }

    /// Reads a transaction of a type that may stand in a multi.
    fn decode_member(op: OpCode, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match op {
            OpCode::Create | OpCode::Create2 => Self::Create(Decode::decode(reader)?),
            OpCode::CreateTtl => Self::CreateTtl(Decode::decode(reader)?),
            OpCode::CreateContainer => Self::CreateContainer(Decode::decode(reader)?),
            OpCode::Delete | OpCode::DeleteContainer => Self::Delete(Decode::decode(reader)?),
            OpCode::SetData | OpCode::Reconfig => Self::SetData(Decode::decode(reader)?),
            OpCode::Check => Self::Check(Decode::decode(reader)?),
            OpCode::Error => Self::Error { code: ErrorTxn::decode(reader)?.err },
            _ => {
                let found = i64::from(op.code());
                let expected = Expected::Number { of: "a transaction type", found };
                return Err(Reader::error_at(reader.offset(), expected).named("TxnHeader.op"));
            }
        })
    }
}

impl Encode for Txn<'_> {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Create(txn) => txn.encode(out),
            Self::CreateTtl(txn) => txn.encode(out),
            Self::CreateContainer(txn) => txn.encode(out),
            Self::Delete(txn) => txn.encode(out),
            Self::SetData(txn) => txn.encode(out),
            Self::SetAcl(txn) => txn.encode(out),
            Self::Check(txn) => txn.encode(out),
            Self::CreateSession { timeout_ms } => timeout_ms.encode(out),
            Self::CloseSession { paths } => {
                if let Some(paths) = paths {
                    paths.encode(out);
                }
            }
            Self::Error { code } => code.encode(out),
            Self::Multi(members) => members.encode(out),
        }
    }
}

/// Type, length, transaction.
impl Encode for MultiMember<'_> {
    fn encode(&self, out: &mut BytesMut) {
        self.op.encode(out);
        crate::frame::write(out, |out| self.txn.encode(out));
    }
}

impl<'a> Decode<'a> for MultiMember<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let op = OpCode::decode(reader).map_err(|error| error.named("MultiTxn.type"))?;
        let data = <&[u8]>::decode(reader).map_err(|error| error.named("MultiTxn.data"))?;
        let start = reader.offset() - data.len();
        let mut member = Reader::new(data);
        let txn = Txn::decode_member(op, &mut member);
        // A Java leader that has applied a failed multi turns its prepared members into errors, but leaves them their
        // bodies; a later DIFF carries them like that. Their code then means nothing, and is not needed: the
        // multi failed and nobody waits for its answer.
        let rest_counts = op != OpCode::Error;
        let whole =
            txn.and_then(|txn| if rest_counts { member.finish().map(|()| txn) } else { Ok(txn) });
        let txn = whole.map_err(|mut error| {
            error.offset += start;
            error.named("MultiTxn.data")
        })?;
        Ok(Self { op, txn })
    }
}

/// A log payload, also the data of a PROPOSAL and of an INFORM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPayload<'a> {
    /// Who, when, zxid, type.
    pub header: TxnHeader,
    /// What changes.
    pub txn: Txn<'a>,
    /// Absent for failed writes and where digests are switched off.
    pub digest: Option<TxnDigest>,
}

impl Encode for LogPayload<'_> {
    fn encode(&self, out: &mut BytesMut) {
        self.header.encode(out);
        self.txn.encode(out);
        if let Some(digest) = &self.digest {
            digest.encode(out);
        }
    }
}

/// Reads a log payload to its last byte, in any form that a Java server since 3.3 has written.
pub fn decode_log_payload(bytes: &[u8]) -> Result<LogPayload<'_>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let header = TxnHeader::decode(&mut reader)?;
    let (txn, digest) = match header.op {
        OpCode::CloseSession if is_bodiless(reader.rest()) => {
            (Txn::CloseSession { paths: None }, decode_digest(&mut reader)?)
        }
        OpCode::Create => decode_create(&mut reader)?,
        op => (Txn::decode(op, &mut reader)?, decode_digest(&mut reader)?),
    };
    reader.finish().map_err(|error| error.named("TxnDigest"))?;
    Ok(LogPayload { header, txn, digest })
}

/// True when nothing but a digest follows the header of a closeSession. Read as a list of two
/// paths, a digest would leave no byte for the paths, and no path is empty.
fn is_bodiless(rest: &[u8]) -> bool {
    rest.is_empty()
        || rest.len() == TxnDigest::SIZE && rest.starts_with(&TxnDigest::VERSION.to_be_bytes())
}

/// A create in its present form, else in that of [`CreateTxnV0`], which no digest ever followed.
fn decode_create<'a>(reader: &mut Reader<'a>) -> Result<(Txn<'a>, Option<TxnDigest>), DecodeError> {
    let mut old = reader.clone();
    match CreateTxn::decode(reader) {
        Ok(create) => Ok((Txn::Create(create), decode_digest(reader)?)),
        Err(error) => match CreateTxnV0::decode(&mut old) {
            Ok(create) if old.is_empty() => {
                *reader = old;
                let CreateTxnV0 { path, data, acl, ephemeral } = create;
                let parent_cversion = -1;
                Ok((Txn::Create(CreateTxn { path, data, acl, ephemeral, parent_cversion }), None))
            }
            _ => Err(error),
        },
    }
}

fn decode_digest(reader: &mut Reader<'_>) -> Result<Option<TxnDigest>, DecodeError> {
    if reader.is_empty() { Ok(None) } else { TxnDigest::decode(reader).map(Some) }
}

record! {
    /// First bytes of a log or snapshot file.
    #[derive(Copy)]
    FileHeader {
        magic: i32,
        version: i32,
        /// 0 in logs, -1 in snapshots.
        dbid: i64,
    }
}

impl FileHeader {
    /// Bytes on disk.
    pub const SIZE: usize = 16;
    /// Header of a log file, magic "ZKLG".
    pub const LOG: Self = Self { magic: i32::from_be_bytes(*b"ZKLG"), version: 2, dbid: 0 };
    /// Header of a snapshot file, magic "ZKSN".
    pub const SNAPSHOT: Self = Self { magic: i32::from_be_bytes(*b"ZKSN"), version: 2, dbid: -1 };
}
