//! jute: the wire of ZooKeeper, as bytes and nothing else.
//!
//! Every record of the client protocol, the transaction log, the learner stream and the election,
//! with the numbers they use. Pure: bytes in, values out, and back. Decoding borrows from the
//! input and never panics; [`codec`] says the rules.
//!
//! A client asks for the data of `/a` with a watch (19 bytes):
//!
//! ```text
//! 00 00 00 0f              frame: 15 bytes follow           frame::write
//! 00 00 00 07              xid 7                            request::RequestHeader
//! 00 00 00 04              op 4, getData
//! 00 00 00 02  2f 61       path "/a"                        request::ReadRequest
//! 01                       watch
//! ```
//!
//! ```
//! use jute::codec::Encode;
//! use jute::request::{ReadRequest, RequestHeader};
//!
//! let mut out = bytes::BytesMut::new();
//! jute::frame::write(&mut out, |out| {
//!     RequestHeader { xid: 7, op: jute::OpCode::GetData.code() }.encode(out);
//!     ReadRequest { path: "/a", watch: true }.encode(out);
//! });
//! assert_eq!(&out[..], b"\0\0\0\x0f\0\0\0\x07\0\0\0\x04\0\0\0\x02/a\x01");
//! ```

pub mod codec;
pub mod frame;
mod record;

pub mod error_code;
pub mod op_code;

pub mod data;
pub mod event;

pub mod request;
pub mod response;

pub mod multi;

pub mod election;
pub mod quorum;
pub mod txn;

pub mod password;

pub use codec::{Decode, DecodeError, Encode, Reader, Trailing};
pub use data::OwnedId;
pub use error_code::ErrorCode;
pub use op_code::OpCode;
