//! Requests as bytes: one template an operation, copied and patched for every request.

use bytes::BytesMut;
use jute::codec::Encode;
use jute::data::Acl;
use jute::request::{
    CreateRequest, DeleteRequest, PathRequest, ReadRequest, RequestHeader, SetDataRequest, xid,
};
use jute::{OpCode, frame};

use crate::namespace::{self, created_path, key_path};
use crate::workload::{Operation, Workload};

/// Where the xid stands in a frame: behind its length.
const XID_AT: usize = 4;

/// Where the path stands in a frame: behind its length, the header and the path's length.
const PATH_AT: usize = 16;

/// Digits of a created znode's number, the end of its path.
const NUMBER_DIGITS: usize = 10;

/// The beginning of every value tells who wrote it, if the value is long enough.
pub const STAMP_BYTES: usize = 8;

/// A request about to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
    pub operation: Operation,
    /// The key's number, or the created znode's for create and delete; ignored for children.
    pub target: u32,
    /// The beginning of the value, for set and create.
    pub stamp: u64,
}

struct Template {
    frame: Vec<u8>,
    /// Where the value begins, when it is stamped.
    stamp_at: Option<usize>,
}

/// All the requests of a workload.
pub struct Requests {
    templates: [Template; Operation::ALL.len()],
    key_paths: Vec<u8>,
    key_path_bytes: usize,
    created_path_bytes: usize,
    value: Vec<u8>,
}

impl Requests {
    /// Encodes the requests of `workload`; `run` tells its created znodes from those of others.
    #[must_use]
    pub fn new(workload: &Workload, run: u32) -> Self {
        let key = key_path(workload.paths, 0);
        let created = created_path(run, 0);
        let value = value(workload.value_bytes);
        let key_paths: Vec<u8> =
            (0..workload.keys).flat_map(|key| key_path(workload.paths, key).into_bytes()).collect();
        Self {
            templates: Operation::ALL
                .map(|operation| Template::new(operation, &key, &created, &value)),
            key_path_bytes: key.len(),
            created_path_bytes: created.len(),
            key_paths,
            value,
        }
    }

    /// Appends `request` as a frame.
    pub fn append(&self, out: &mut Vec<u8>, xid: i32, request: Request) {
        let template = &self.templates[request.operation as usize];
        let start = out.len();
        out.extend_from_slice(&template.frame);
        let frame = &mut out[start..];
        frame[XID_AT..XID_AT + 4].copy_from_slice(&xid.to_be_bytes());
        match request.operation {
            Operation::Get | Operation::Exists | Operation::Set | Operation::Sync => {
                let from = request.target as usize * self.key_path_bytes;
                frame[PATH_AT..PATH_AT + self.key_path_bytes]
                    .copy_from_slice(&self.key_paths[from..from + self.key_path_bytes]);
            }
            Operation::Create | Operation::Delete => {
                let end = PATH_AT + self.created_path_bytes;
                write_digits(&mut frame[end - NUMBER_DIGITS..end], request.target);
            }
            Operation::Children => {}
        }
        if let Some(at) = template.stamp_at {
            frame[at..at + STAMP_BYTES].copy_from_slice(&request.stamp.to_be_bytes());
        }
    }

    /// The value that a set or create with this stamp has written.
    #[must_use]
    pub fn stamped_value(&self, stamp: u64) -> Vec<u8> {
        let mut value = self.value.clone();
        if let Some(head) = value.first_chunk_mut::<STAMP_BYTES>() {
            *head = stamp.to_be_bytes();
        }
        value
    }
}

impl Template {
    fn new(operation: Operation, key: &str, created: &str, value: &[u8]) -> Self {
        let data = Some(value);
        let mut out = BytesMut::new();
        frame::write(&mut out, |out| {
            RequestHeader { xid: 0, op: operation.op_code().code() }.encode(out);
            match operation {
                Operation::Get | Operation::Exists => read(key).encode(out),
                Operation::Children => read(namespace::CREATED).encode(out),
                Operation::Sync => PathRequest { path: key }.encode(out),
                Operation::Set => SetDataRequest { path: key, data, version: -1 }.encode(out),
                Operation::Create => create(created, data).encode(out),
                Operation::Delete => DeleteRequest { path: created, version: -1 }.encode(out),
            }
        });
        let value_at = |path: &str| PATH_AT + path.len() + 4;
        let stamp_at = match operation {
            Operation::Set => Some(value_at(key)),
            Operation::Create => Some(value_at(created)),
            _ => None,
        };
        Self { frame: out.to_vec(), stamp_at: stamp_at.filter(|_| value.len() >= STAMP_BYTES) }
    }
}

/// A persistent znode that everybody may change.
#[must_use]
pub fn create<'a>(path: &'a str, data: Option<&'a [u8]>) -> CreateRequest<'a> {
    CreateRequest { path, data, acl: Some(vec![Acl::OPEN]), flags: 0 }
}

/// A read without a watch.
#[must_use]
pub fn read(path: &str) -> ReadRequest<'_> {
    ReadRequest { path, watch: false }
}

/// A ping, as a frame.
#[must_use]
pub fn ping() -> Vec<u8> {
    bare(xid::PING, OpCode::Ping)
}

/// The end of a session, as a frame.
#[must_use]
pub fn close_session(xid: i32) -> Vec<u8> {
    bare(xid, OpCode::CloseSession)
}

fn bare(xid: i32, op: OpCode) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame::write(&mut out, |out| {
        RequestHeader { xid, op: op.code() }.encode(out);
    });
    out.to_vec()
}

fn value(size: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(size).collect()
}

fn write_digits(out: &mut [u8], number: u32) {
    let mut rest = number;
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jute::codec::Decode;

    use super::*;
    use crate::workload::{Mix, Pace, PathShape};

    fn workload(paths: PathShape) -> Workload {
        Workload {
            mix: Mix::only(Operation::Get),
            sessions: 1,
            pace: Pace::Outstanding(1),
            value_bytes: 20,
            keys: 100,
            paths,
            warm_up: Duration::ZERO,
            measured: Duration::from_secs(1),
        }
    }

    fn sent(requests: &Requests, operation: Operation, target: u32, stamp: u64) -> Vec<u8> {
        let mut out = b"before".to_vec();
        let request = Request { operation, target, stamp };
        requests.append(&mut out, 77, request);
        let frame = frame::peek(&out[6..], 1 << 20).unwrap().unwrap();
        assert_eq!(out.len(), 6 + 4 + frame.len());
        let header = RequestHeader::decode_all(&frame[..8]).unwrap();
        assert_eq!((header.xid, header.op), (77, operation.op_code().code()));
        frame[8..].to_vec()
    }

    #[test]
    fn a_patched_template_is_the_request_as_encoded_in_full() {
        for shape in [PathShape::Short, PathShape::Deep] {
            let requests = Requests::new(&workload(shape), 0xbeef);
            let key = key_path(shape, 42);
            let created = created_path(0xbeef, 1_234_567);

            for operation in [Operation::Get, Operation::Exists] {
                let body = sent(&requests, operation, 42, 0);
                assert_eq!(ReadRequest::decode_all(&body).unwrap(), read(&key));
            }
            let body = sent(&requests, Operation::Sync, 42, 0);
            assert_eq!(PathRequest::decode_all(&body).unwrap().path, key);

            let value = requests.stamped_value(0x0102_0304_0506_0708);
            assert_eq!(value, b"\x01\x02\x03\x04\x05\x06\x07\x08ijklmnopqrst");
            let body = sent(&requests, Operation::Set, 42, 0x0102_0304_0506_0708);
            let set = SetDataRequest::decode_all(&body).unwrap();
            assert_eq!((set.path, set.data), (&key[..], Some(&value[..])));

            let body = sent(&requests, Operation::Create, 1_234_567, 0x0102_0304_0506_0708);
            let expected = create(&created, Some(&value));
            assert_eq!(CreateRequest::decode_all(&body).unwrap(), expected);

            let body = sent(&requests, Operation::Delete, 1_234_567, 0);
            assert_eq!(DeleteRequest::decode_all(&body).unwrap().path, created);

            let body = sent(&requests, Operation::Children, 0, 0);
            assert_eq!(ReadRequest::decode_all(&body).unwrap(), read("/bench/created"));
        }
    }

    #[test]
    fn values_too_short_for_a_stamp_are_left_alone() {
        let requests = Requests::new(&Workload { value_bytes: 7, ..workload(PathShape::Short) }, 0);
        let body = sent(&requests, Operation::Set, 1, !0);
        let set = SetDataRequest::decode_all(&body).unwrap();
        assert_eq!(set.data, Some(&b"abcdefg"[..]));
        assert_eq!(requests.stamped_value(!0), b"abcdefg");
    }
}
