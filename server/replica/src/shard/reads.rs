//! Requests that are answered from the tree, right here.

use bytes::{Bytes, BytesMut};
use jute::codec::encode_length;
use jute::multi::{MultiOp, MultiRequest, MultiResponse, MultiResult};
use jute::request::{PathRequest, ReadRequest, RequestHeader};
use jute::response::{CountResponse, GetDataResponse, ListResponse, ReplyHeader, WhoAmIResponse};
use jute::{Decode, Encode, ErrorCode, OpCode, OwnedId, Reader};
use tree::{DataTree, WatchKind, Znode};

use super::books::Books;
use super::connection::Connection;

/// The zxid in the header of an answer to an operation that is not known, as Java gives it.
const NO_ZXID: i64 = -1;

impl Books {
    /// Answers one read.
    pub(super) fn read(&mut self, tree: &DataTree, it: &mut Connection, frame: &Bytes) {
        let mut reader = Reader::new(frame);
        let Ok(header) = RequestHeader::decode(&mut reader) else {
            return self.close(it);
        };
        let Some(op) = OpCode::from_code(header.op).filter(|op| is_read(*op)) else {
            self.answer(it, header.xid, NO_ZXID, |_, _| Err(ErrorCode::Unimplemented));
            return self.close(it);
        };
        let zxid = tree.last_zxid();
        if is_about_watches(op) {
            return self.watch_request(tree, it, header.xid, op, &mut reader);
        }
        let mut watch = None;
        self.answer(it, header.xid, zxid, |it, out| {
            let result = answer_read(tree, it, op, &mut reader, out)?;
            watch = result.watch;
            result.outcome
        });
        if let Some((kind, path)) = watch {
            self.watch(kind, path, it.id, zxid);
        }
    }

    /// Writes an answer: what `body` writes, or its error alone.
    pub(super) fn answer(
        &mut self,
        it: &mut Connection,
        xid: i32,
        zxid: i64,
        body: impl FnOnce(&Connection, &mut BytesMut) -> Result<(), ErrorCode>,
    ) {
        // A read behind an earlier write may have shown more than the write answered now.
        let zxid = if zxid < 0 { zxid } else { zxid.max(it.told) };
        it.told = it.told.max(zxid);
        let mut output = std::mem::take(&mut it.output);
        jute::frame::write(&mut output, |out| {
            let start = out.len();
            ReplyHeader { xid, zxid, err: 0 }.encode(out);
            if let Err(code) = body(it, out) {
                out.truncate(start);
                ReplyHeader { xid, zxid, err: code.code() }.encode(out);
            }
        });
        it.output = output;
        self.count_sent(it);
    }
}

fn is_read(op: OpCode) -> bool {
    is_about_watches(op)
        || matches!(
            op,
            OpCode::Ping
                | OpCode::Exists
                | OpCode::GetData
                | OpCode::GetAcl
                | OpCode::GetChildren
                | OpCode::GetChildren2
                | OpCode::MultiRead
                | OpCode::GetEphemerals
                | OpCode::GetAllChildrenNumber
                | OpCode::WhoAmI
        )
}

fn is_about_watches(op: OpCode) -> bool {
    matches!(
        op,
        OpCode::SetWatches
            | OpCode::SetWatches2
            | OpCode::AddWatch
            | OpCode::RemoveWatches
            | OpCode::CheckWatches
    )
}

/// What came of a read: the watch it sets stands even behind some errors.
struct Read<'a> {
    watch: Option<(WatchKind, &'a str)>,
    outcome: Result<(), ErrorCode>,
}

impl<'a> Read<'a> {
    fn plain(outcome: Result<(), ErrorCode>) -> Self {
        Self { watch: None, outcome }
    }

    /// A read that sets its watch only when it succeeds.
    fn watching(
        kind: WatchKind,
        request: &ReadRequest<'a>,
        outcome: Result<(), ErrorCode>,
    ) -> Self {
        let watch = (request.watch && outcome.is_ok()).then_some((kind, request.path));
        Self { watch, outcome }
    }
}

fn answer_read<'a>(
    tree: &DataTree,
    connection: &Connection,
    op: OpCode,
    reader: &mut Reader<'a>,
    out: &mut BytesMut,
) -> Result<Read<'a>, ErrorCode> {
    let ids = &connection.auth[..];
    Ok(match op {
        OpCode::GetData => {
            let request: ReadRequest<'a> = record(reader)?;
            let node = tree.get_data(request.path, ids).map(|node| data(node, out));
            Read::watching(WatchKind::Data, &request, node)
        }
        OpCode::Exists => {
            let request: ReadRequest<'a> = record(reader)?;
            let outcome = tree.exists(request.path, ids).map(|node| node.stat().encode(out));
            // A watch on what is not there yet waits for it to come.
            let sets = request.watch && matches!(outcome, Ok(()) | Err(ErrorCode::NoNode));
            let watch = sets.then_some((WatchKind::Data, request.path));
            Read { watch, outcome }
        }
        OpCode::GetChildren | OpCode::GetChildren2 => {
            let request: ReadRequest<'a> = record(reader)?;
            let outcome = tree.get_children(request.path, ids).map(|node| {
                children(node, out);
                if op == OpCode::GetChildren2 {
                    node.stat().encode(out);
                }
            });
            Read::watching(WatchKind::Child, &request, outcome)
        }
        OpCode::GetAcl => {
            let request: PathRequest<'a> = record(reader)?;
            Read::plain(tree.get_acl(request.path, ids).map(|(acl, stat)| {
                acl.encode(out);
                stat.encode(out);
            }))
        }
        OpCode::Ping => Read::plain(Ok(())),
        OpCode::MultiRead => Read::plain(multi_read(tree, ids, reader, out)),
        OpCode::GetEphemerals => {
            let request: PathRequest<'a> = record(reader)?;
            let session = connection.session.unwrap_or_default();
            let items = tree.get_ephemerals(session.0, request.path).collect();
            ListResponse { items }.encode(out);
            Read::plain(Ok(()))
        }
        OpCode::GetAllChildrenNumber => {
            let request: PathRequest<'a> = record(reader)?;
            let count = tree.get_all_children_number(request.path, ids);
            Read::plain(count.map(|count| CountResponse { count }.encode(out)))
        }
        OpCode::WhoAmI => {
            who_am_i(ids, out);
            Read::plain(Ok(()))
        }
        _ => Read::plain(Err(ErrorCode::Unimplemented)),
    })
}

/// A record that cannot be read is the client's fault, but the frame around it was sound: Java answers, so do we.
pub(super) fn record<'a, T: Decode<'a>>(reader: &mut Reader<'a>) -> Result<T, ErrorCode> {
    T::decode(reader).map_err(|_| ErrorCode::MarshallingError)
}

fn data(node: &Znode, out: &mut BytesMut) {
    GetDataResponse { data: node.data(), stat: node.stat() }.encode(out);
}

fn children(node: &Znode, out: &mut BytesMut) {
    let names = node.children();
    encode_length(names.len(), out);
    for name in names {
        name.encode(out);
    }
}

fn multi_read(
    tree: &DataTree,
    ids: &[OwnedId],
    reader: &mut Reader<'_>,
    out: &mut BytesMut,
) -> Result<(), ErrorCode> {
    let request: MultiRequest<'_> = record(reader)?;
    let result = |op: &MultiOp<'_>| match op {
        MultiOp::GetData(request) => tree.get_data(request.path, ids).map(|node| {
            MultiResult::GetData(GetDataResponse { data: node.data(), stat: node.stat() })
        }),
        MultiOp::GetChildren(request) => tree.get_children(request.path, ids).map(|node| {
            MultiResult::GetChildren(ListResponse { items: node.children().collect() })
        }),
        _ => Err(ErrorCode::MarshallingError),
    };
    let results =
        request.ops.iter().map(|op| result(op).unwrap_or_else(|it| MultiResult::Error(it.code())));
    MultiResponse { results: results.collect() }.encode(out);
    Ok(())
}

fn who_am_i(ids: &[OwnedId], out: &mut BytesMut) {
    let client_info = ids
        .iter()
        .map(|id| jute::data::ClientInfo {
            auth_scheme: &id.scheme,
            // The hash of a digest is as good as its password to a dictionary.
            user: id.id.split(':').next().unwrap_or_default().into(),
        })
        .collect();
    WhoAmIResponse { client_info }.encode(out);
}
