//! Answers from the core, in the order of the session, and the reads that waited behind them.

use bytes::Bytes;
use jute::{ErrorCode, OpCode};
use tree::{DataTree, TxnResult};
use zab::Zxid;

use super::Shard;
use super::connection::Pending;
use crate::io::Outcome;
use crate::request::ConnectionId;

impl Shard {
    /// Takes the core's answer to a request and gives all answers whose turn has come. An answer may come before those
    /// to older requests: a `sync` goes another way than a write.
    ///
    /// # Panics
    /// When the core answers what this connection has not asked.
    pub(super) fn reply(
        &mut self,
        tree: &DataTree,
        connection: ConnectionId,
        xid: i32,
        zxid: Zxid,
        outcome: Outcome,
    ) {
        let Some(it) = self.connections.get_mut(&connection) else {
            return;
        };
        // Closed while the core was busy with it.
        if it.pending.is_empty() {
            return;
        }
        let asked = it.pending.iter_mut().find_map(|pending| match pending {
            Pending::Write { xid: asked, answer: answer @ None, .. } if *asked == xid => {
                Some(answer)
            }
            _ => None,
        });
        *asked.expect("the core answers what was asked") = Some((zxid, outcome));
        self.advance(tree, connection);
    }

    /// Answers the oldest requests of a connection, up to the first that has to wait: for the core, or, a read, until
    /// the shard has heard of every change that it would show.
    pub(super) fn advance(&mut self, tree: &DataTree, connection: ConnectionId) {
        let may_read = self.may_read(tree);
        while let Some(it) = self.connections.get_mut(&connection) {
            match it.pending.pop_front() {
                Some(Pending::Read(frame)) if may_read => {
                    self.read(tree, connection, &frame);
                    self.woken.push(connection);
                }
                Some(Pending::Write { xid, op, arrived, body, answer: Some((zxid, outcome)) }) => {
                    self.waits_us.push(self.now.0.saturating_sub(arrived.0));
                    self.answer_write(connection, xid, zxid, op, &body, &outcome);
                }
                Some(waiting) => {
                    if matches!(waiting, Pending::Read(_)) {
                        self.stuck.push(connection);
                    }
                    it.pending.push_front(waiting);
                    return;
                }
                None => return,
            }
        }
    }

    fn answer_write(
        &mut self,
        connection: ConnectionId,
        xid: i32,
        zxid: Zxid,
        op: OpCode,
        body: &Bytes,
        outcome: &Outcome,
    ) {
        self.woken.push(connection);
        let moved = ErrorCode::SessionMoved;
        if let Outcome::Error(code) = outcome
            && *code == moved
        {
            return self.close(connection);
        }
        if let Outcome::Txn(TxnResult::Error { code }) = outcome
            && *code == moved.code()
        {
            // Java never shows this error: the client finds out by losing the connection.
            return self.close(connection);
        }
        self.answer(connection, xid, zxid.0, |_, out| match outcome {
            Outcome::Txn(TxnResult::Error { code }) => {
                Err(ErrorCode::from_code(*code).unwrap_or(ErrorCode::SystemError))
            }
            Outcome::Txn(result) => {
                result.encode_body(out);
                Ok(())
            }
            // `sync` answers with the path that was asked for.
            Outcome::Synced => {
                out.extend_from_slice(body);
                Ok(())
            }
            Outcome::Error(code) => Err(*code),
        });
        if op == OpCode::CloseSession {
            self.close(connection);
        }
    }
}
