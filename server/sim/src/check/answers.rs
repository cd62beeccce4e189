//! What clients may rely on, held against what they were told.

use jute::event::{EventType, WatcherEvent};
use jute::multi::{MultiResponse, MultiResult};
use jute::request::xid;
use jute::response::{
    Create2Response, GetChildren2Response, GetDataResponse, PathResponse, ReplyHeader, StatResponse,
};
use jute::{Decode, DecodeError, ErrorCode, OpCode, Reader};

use super::{Check, Committed, Kind, Seen};
use crate::client::{Armed, Client, Request, Sent};

/// The zxid of events that are made up for a client that comes back.
const MADE_UP: i64 = -1;

/// What an answer means for the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A write was acknowledged.
    Acknowledged { zxid: i64 },
    /// The session is over, as asked.
    Closed,
    /// The session is over.
    Expired,
    /// Anything else.
    Other,
}

impl Check {
    /// A frame has come to a client with a session.
    pub(crate) fn on_answer(&mut self, me: usize, client: &mut Client, answer: &[u8]) -> Heard {
        let mut reader = Reader::new(answer);
        let header = match ReplyHeader::decode(&mut reader) {
            Ok(header) => header,
            Err(error) => return self.broken(&error),
        };
        if header.xid == xid::NOTIFICATION {
            match WatcherEvent::decode(&mut reader) {
                Ok(event) => self.on_event(me, client, header.zxid, &event),
                Err(error) => return self.broken(&error),
            }
            return Heard::Other;
        }
        let Some(sent) = client.sent.pop_front().filter(|sent| sent.xid == header.xid) else {
            let what = format!("client {me} got an answer to {}, not to its oldest", header.xid);
            self.fail("FifoReplies", what);
            return Heard::Other;
        };
        match self.on_reply(me, client, &sent, header, &mut reader) {
            Ok(heard) => heard,
            Err(error) => self.broken(&error),
        }
    }

    fn broken(&mut self, error: &DecodeError) -> Heard {
        self.fail("Wire", error.to_string());
        Heard::Other
    }

    fn on_reply(
        &mut self,
        me: usize,
        client: &mut Client,
        sent: &Sent,
        header: ReplyHeader,
        reader: &mut Reader<'_>,
    ) -> Result<Heard, DecodeError> {
        let zxid = header.zxid;
        if header.err == ErrorCode::SessionExpired.code() {
            return Ok(Heard::Expired);
        }
        if zxid > self.model.last() {
            let what = format!("client {me} was shown {zxid:#x}, which is not committed");
            self.fail("ReadCommitted", what);
        }
        if zxid < client.seen {
            let what = format!(
                "client {me} was told {zxid:#x} after {:#x}, for {:?}",
                client.seen, sent.request
            );
            self.fail("MonotonicSession", what);
        }
        client.seen = client.seen.max(zxid);
        self.check_watches(me, client, zxid);
        if sent.request.is_write() {
            return self.on_write(me, client, sent, header, reader);
        }
        self.on_read(me, client, sent, header, reader)?;
        Ok(Heard::Other)
    }

    fn on_write(
        &mut self,
        me: usize,
        client: &mut Client,
        sent: &Sent,
        header: ReplyHeader,
        reader: &mut Reader<'_>,
    ) -> Result<Heard, DecodeError> {
        let session = client.session.map(|(id, _)| id).unwrap_or_default();
        let committed = self.model.committed(session, sent.xid);
        let failed = header.err != 0 || has_failed(sent, reader)?;
        let is_it = committed.filter(|it| {
            it.zxid <= header.zxid
                && it.failed == failed
                && (it.op == sent.request.op() || it.op == OpCode::Error)
        });
        let Some(Committed { zxid, .. }) = is_it else {
            let what = format!(
                "client {me} was told {header:?} for {:?} with xid {}; committed: {committed:?}",
                sent.request, sent.xid
            );
            self.fail("AcknowledgedWrite", what);
            return Ok(Heard::Other);
        };
        if zxid <= sent.acknowledged {
            let what = format!(
                "client {me} was told {zxid:#x}, but asked after {:#x} was acknowledged",
                sent.acknowledged
            );
            self.fail("LinearizableWrites", what);
        }
        if client.read >= zxid {
            let what = format!(
                "client {me} read at {:#x} before it was told of its own later write {zxid:#x}",
                client.read
            );
            self.fail("NoReadAhead", what);
        }
        if !failed {
            self.check_created(me, sent, zxid, reader)?;
        }
        if sent.request == Request::Close {
            return Ok(Heard::Closed);
        }
        Ok(Heard::Acknowledged { zxid })
    }

    /// A created znode was created, under the path the client was told.
    fn check_created(
        &mut self,
        me: usize,
        sent: &Sent,
        zxid: i64,
        reader: &mut Reader<'_>,
    ) -> Result<(), DecodeError> {
        let Request::Create { path, data, with_stat, .. } = &sent.request else {
            return Ok(());
        };
        let (told, stat) = if *with_stat {
            let response = Create2Response::decode(reader)?;
            (response.path, Some(response.stat))
        } else {
            (PathResponse::decode(reader)?.path, None)
        };
        let there = self.model.at(told, zxid).flatten();
        let fits = told.starts_with(path.as_str())
            && there.is_some_and(|it| {
                it.data.as_deref() == Some(data.as_bytes())
                    && it.stat.czxid == zxid
                    && stat.is_none_or(|stat| stat == it.stat)
            });
        if !fits {
            let what = format!("client {me} created {told} at {zxid:#x}; there is {there:?}");
            self.fail("AcknowledgedWrite", what);
        }
        Ok(())
    }

    fn on_read(
        &mut self,
        me: usize,
        client: &mut Client,
        sent: &Sent,
        header: ReplyHeader,
        reader: &mut Reader<'_>,
    ) -> Result<(), DecodeError> {
        let ReplyHeader { zxid, err, .. } = header;
        let (path, watch) = match &sent.request {
            Request::Get { path, watch }
            | Request::Exists { path, watch }
            | Request::Children { path, watch } => (path, *watch),
            Request::SetWatches => {
                client.is_rearming = false;
                // A znode that came and went meanwhile is not told of: nothing is left to show it.
                for armed in client.watches.values_mut().filter(|armed| !armed.on_existing) {
                    armed.zxid = armed.zxid.max(zxid);
                }
                self.check_watches(me, client, zxid);
                return Ok(());
            }
            _ => return Ok(()),
        };
        client.read = client.read.max(zxid);
        let expected = self.model.at(path, zxid).flatten();
        let no_node = ErrorCode::NoNode.code();
        let fits = match (expected, &sent.request) {
            (None, _) => err == no_node,
            (Some(_), _) if err != 0 => false,
            (Some(seen), request) => shows(seen, request, reader)?,
        };
        let exists = expected.is_some();
        if !fits {
            let what = format!(
                "client {me} got another answer to {:?} at {zxid:#x} (error {err}) than {expected:?}",
                sent.request
            );
            self.fail("ReadState", what);
        }
        let is_exists = matches!(sent.request, Request::Exists { .. });
        if watch && (exists || is_exists) {
            let is_children = matches!(sent.request, Request::Children { .. });
            let kind = if is_children { Kind::Children } else { Kind::Data };
            let armed = Armed { zxid, on_existing: exists };
            client.watches.insert((kind, path.clone()), armed);
        }
        Ok(())
    }

    /// No answer shows a change that a watch still waits to be told of.
    fn check_watches(&mut self, me: usize, client: &Client, zxid: i64) {
        if client.is_rearming {
            return;
        }
        for ((kind, path), armed) in &client.watches {
            let change = self.model.change_after(*kind, path, armed.zxid);
            if let Some(change) = change.filter(|change| *change <= zxid) {
                let what = format!(
                    "client {me} was shown {zxid:#x} before the event of {change:#x} at {path}, \
                     watched ({kind:?}) since {:#x}",
                    armed.zxid
                );
                self.fail("EventBeforeData", what);
            }
        }
    }

    /// A watch fires once, for the first change after it was set.
    fn on_event(&mut self, me: usize, client: &mut Client, zxid: i64, event: &WatcherEvent<'_>) {
        let kinds: &[Kind] = match event.event {
            EventType::NodeDeleted => &[Kind::Data, Kind::Children],
            EventType::NodeChildrenChanged => &[Kind::Children],
            _ => &[Kind::Data],
        };
        let mut due = false;
        for kind in kinds {
            // Events made up for a client that comes back are one for each of its lists.
            if due && zxid == MADE_UP {
                break;
            }
            if let Some(armed) = client.watches.remove(&(*kind, event.path.to_owned())) {
                let change = self.model.change_after(*kind, event.path, armed.zxid);
                due |= change == Some(zxid) || (zxid == MADE_UP && change.is_some());
            }
        }
        if !due {
            let what = format!("client {me} got {:?} of {zxid:#x} that it did not wait for", event);
            self.fail("WatchOnce", what);
        }
    }
}

/// Whether a multi failed: its answer says so member by member.
fn has_failed(sent: &Sent, reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    if !matches!(sent.request, Request::Multi { .. }) {
        return Ok(false);
    }
    let response = MultiResponse::decode(reader)?;
    Ok(response.results.iter().any(|it| matches!(it, MultiResult::Error(_))))
}

/// Whether an answer shows a znode as it was.
fn shows(seen: &Seen, request: &Request, reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    Ok(match request {
        Request::Get { .. } => {
            let response = GetDataResponse::decode(reader)?;
            response.data == seen.data.as_deref() && response.stat == seen.stat
        }
        Request::Exists { .. } => StatResponse::decode(reader)?.stat == seen.stat,
        Request::Children { .. } => {
            let response = GetChildren2Response::decode(reader)?;
            let mut children = response.children;
            children.sort_unstable();
            children == seen.children && response.stat == seen.stat
        }
        _ => true,
    })
}
