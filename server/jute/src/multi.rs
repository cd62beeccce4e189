//! Multi and MultiRead: lists of operations and of results, each behind a [`MultiHeader`], closed
//! by one that says done.

use bytes::BytesMut;

use crate::codec::{Decode, DecodeError, Encode, Expected, Reader};
use crate::data::Stat;
use crate::op_code::OpCode;
use crate::record::record;
use crate::request::{
    CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest, ReadRequest,
    SetDataRequest,
};
use crate::response::{
    Create2Response, ErrorResponse, GetDataResponse, ListResponse, PathResponse,
};

record! {
    /// Stands before every member of a list.
    #[derive(Copy)]
    MultiHeader {
        op: i32,
        /// True in the header that closes the list.
        done: bool,
        /// -1 in requests; 0 or the member's error in responses.
        err: i32,
    }
}

/// Closes every list.
const END: MultiHeader = MultiHeader { op: -1, done: true, err: -1 };

/// A member of a multi request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is an operation and its request record")]
pub enum MultiOp<'a> {
    Create(CreateRequest<'a>),
    Create2(CreateRequest<'a>),
    CreateContainer(CreateRequest<'a>),
    CreateTtl(CreateTtlRequest<'a>),
    Delete(DeleteRequest<'a>),
    SetData(SetDataRequest<'a>),
    Check(CheckVersionRequest<'a>),
    GetChildren(ReadRequest<'a>),
    GetData(ReadRequest<'a>),
}

impl<'a> MultiOp<'a> {
    /// The operation.
    #[must_use]
    pub const fn op(&self) -> OpCode {
        match self {
            Self::Create(_) => OpCode::Create,
            Self::Create2(_) => OpCode::Create2,
            Self::CreateContainer(_) => OpCode::CreateContainer,
            Self::CreateTtl(_) => OpCode::CreateTtl,
            Self::Delete(_) => OpCode::Delete,
            Self::SetData(_) => OpCode::SetData,
            Self::Check(_) => OpCode::Check,
            Self::GetChildren(_) => OpCode::GetChildren,
            Self::GetData(_) => OpCode::GetData,
        }
    }

    /// True for the members of a MultiRead, which a Multi must not hold.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        matches!(self, Self::GetChildren(_) | Self::GetData(_))
    }

    fn decode_body(op: i32, offset: usize, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match OpCode::from_code(op) {
            Some(OpCode::Create) => Self::Create(Decode::decode(reader)?),
            Some(OpCode::Create2) => Self::Create2(Decode::decode(reader)?),
            Some(OpCode::CreateContainer) => Self::CreateContainer(Decode::decode(reader)?),
            Some(OpCode::CreateTtl) => Self::CreateTtl(Decode::decode(reader)?),
            Some(OpCode::Delete) => Self::Delete(Decode::decode(reader)?),
            Some(OpCode::SetData) => Self::SetData(Decode::decode(reader)?),
            Some(OpCode::Check) => Self::Check(Decode::decode(reader)?),
            Some(OpCode::GetChildren) => Self::GetChildren(Decode::decode(reader)?),
            Some(OpCode::GetData) => Self::GetData(Decode::decode(reader)?),
            _ => {
                return Err(unknown_member("an operation that a multi may hold", op, offset));
            }
        })
    }
}

impl Encode for MultiOp<'_> {
    fn encode(&self, out: &mut BytesMut) {
        MultiHeader { op: self.op().code(), done: false, err: -1 }.encode(out);
        match self {
            Self::Create(request) | Self::Create2(request) | Self::CreateContainer(request) => {
                request.encode(out);
            }
            Self::CreateTtl(request) => request.encode(out),
            Self::Delete(request) => request.encode(out),
            Self::SetData(request) => request.encode(out),
            Self::Check(request) => request.encode(out),
            Self::GetChildren(request) | Self::GetData(request) => request.encode(out),
        }
    }
}

/// The record of Multi and MultiRead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiRequest<'a> {
    /// The members, in order. May be empty.
    pub ops: Vec<MultiOp<'a>>,
}

impl Encode for MultiRequest<'_> {
    fn encode(&self, out: &mut BytesMut) {
        self.ops.iter().for_each(|op| op.encode(out));
        END.encode(out);
    }
}

impl<'a> Decode<'a> for MultiRequest<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        decode_list(reader, MultiOp::decode_body).map(|ops| Self { ops })
    }
}

/// A member of a multi response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is an operation and its response record")]
pub enum MultiResult<'a> {
    Create(PathResponse<'a>),
    /// Of Create2, CreateContainer and CreateTtl.
    Create2(Create2Response<'a>),
    Delete,
    SetData(Stat),
    Check,
    GetChildren(ListResponse<'a>),
    GetData(GetDataResponse<'a>),
    /// 0 for those before the failed member of a multi, its error, then -2 for those behind it.
    Error(i32),
}

impl<'a> MultiResult<'a> {
    /// The number in the member's header.
    #[must_use]
    pub const fn op(&self) -> OpCode {
        match self {
            Self::Create(_) => OpCode::Create,
            Self::Create2(_) => OpCode::Create2,
            Self::Delete => OpCode::Delete,
            Self::SetData(_) => OpCode::SetData,
            Self::Check => OpCode::Check,
            Self::GetChildren(_) => OpCode::GetChildren,
            Self::GetData(_) => OpCode::GetData,
            Self::Error(_) => OpCode::Error,
        }
    }

    fn decode_body(op: i32, offset: usize, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match OpCode::from_code(op) {
            Some(OpCode::Create) => Self::Create(Decode::decode(reader)?),
            Some(OpCode::Create2) => Self::Create2(Decode::decode(reader)?),
            Some(OpCode::Delete) => Self::Delete,
            Some(OpCode::SetData) => Self::SetData(Decode::decode(reader)?),
            Some(OpCode::Check) => Self::Check,
            Some(OpCode::GetChildren) => Self::GetChildren(Decode::decode(reader)?),
            Some(OpCode::GetData) => Self::GetData(Decode::decode(reader)?),
            Some(OpCode::Error) => Self::Error(ErrorResponse::decode(reader)?.err),
            _ => return Err(unknown_member("a result that a multi may hold", op, offset)),
        })
    }
}

impl Encode for MultiResult<'_> {
    fn encode(&self, out: &mut BytesMut) {
        let err = if let Self::Error(err) = self { *err } else { 0 };
        MultiHeader { op: self.op().code(), done: false, err }.encode(out);
        match self {
            Self::Create(response) => response.encode(out),
            Self::Create2(response) => response.encode(out),
            Self::Delete | Self::Check => {}
            Self::SetData(stat) => stat.encode(out),
            Self::GetChildren(response) => response.encode(out),
            Self::GetData(response) => response.encode(out),
            Self::Error(err) => err.encode(out),
        }
    }
}

/// The answer to Multi and MultiRead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiResponse<'a> {
    /// One result per member of the request, in order.
    pub results: Vec<MultiResult<'a>>,
}

impl Encode for MultiResponse<'_> {
    fn encode(&self, out: &mut BytesMut) {
        self.results.iter().for_each(|result| result.encode(out));
        END.encode(out);
    }
}

impl<'a> Decode<'a> for MultiResponse<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        decode_list(reader, MultiResult::decode_body).map(|results| Self { results })
    }
}

fn decode_list<'a, T>(
    reader: &mut Reader<'a>,
    decode_body: fn(i32, usize, &mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut members = Vec::new();
    loop {
        let offset = reader.offset();
        let header = MultiHeader::decode(reader)?;
        if header.done {
            return Ok(members);
        }
        members.push(decode_body(header.op, offset, reader)?);
    }
}

fn unknown_member(of: &'static str, op: i32, offset: usize) -> DecodeError {
    Reader::error_at(offset, Expected::Number { of, found: i64::from(op) }).named("MultiHeader.op")
}
