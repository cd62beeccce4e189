//! Answers from the core, in the order of the session, and the reads that waited behind them.

use jute::{ErrorCode, OpCode};
use tree::{DataTree, TxnResult};
use zab::Zxid;

use super::Shard;
use super::connection::Pending;
use crate::io::Outcome;
use crate::request::ConnectionId;

impl Shard {
    /// Answers the oldest request of a connection.
    ///
    /// # Panics
    /// When the core answers anything but the oldest request it has from this connection.
    pub(super) fn reply(
        &mut self,
        tree: &DataTree,
        connection: ConnectionId,
        xid: i32,
        zxid: Zxid,
        outcome: &Outcome,
    ) {
        let Some(it) = self.connections.get_mut(&connection) else {
            return;
        };
        // Closed while the core was busy with it.
        let Some(oldest) = it.pending.pop_front() else {
            return;
        };
        let Pending::Write { xid: oldest_xid, op, arrived, body } = oldest else {
            panic!("a read of {connection:?} stands where the core's answer {xid} belongs")
        };
        assert_eq!(oldest_xid, xid, "answers come in the order of the requests");
        self.woken.push(connection);
        self.waits_us.push(self.now.0.saturating_sub(arrived.0));
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
                out.extend_from_slice(&body);
                Ok(())
            }
            Outcome::Error(code) => Err(*code),
        });
        if op == OpCode::CloseSession {
            return self.close(connection);
        }
        self.resume_reads(tree, connection);
    }
}
