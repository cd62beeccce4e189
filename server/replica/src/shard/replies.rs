//! Answers from the core, in the order of the session, and the reads that waited behind them.

use bytes::Bytes;
use jute::{ErrorCode, OpCode};
use tree::{DataTree, TxnResult};
use zab::Zxid;

use super::books::Books;
use super::connection::{Connection, Pending};
use crate::io::Outcome;

impl Books {
    /// Takes the core's answer to a request and gives all answers whose turn has come. An answer may come before those
    /// to older requests: a `sync` goes another way than a write.
    ///
    /// # Panics
    /// When the core answers what this connection has not asked.
    pub(super) fn reply(
        &mut self,
        tree: &DataTree,
        it: &mut Connection,
        xid: i32,
        zxid: Zxid,
        outcome: Outcome,
    ) {
        let asked = |pending: &Pending| match pending {
            Pending::Write { xid: asked, answer: None, .. } => *asked == xid,
            _ => false,
        };
        if let Some(Pending::Write { op, arrived, body, .. }) =
            it.pending.pop_front_if(|first| asked(first))
        {
            self.waits_us.push(self.now.0.saturating_sub(arrived.0));
            self.answer_write(it, xid, zxid, op, &body, &outcome);
            return self.advance(tree, it);
        }
        // Closed while the core was busy with it.
        if it.pending.is_empty() {
            return;
        }
        let early = it.pending.iter_mut().find(|pending| asked(pending));
        match early.expect("the core answers what was asked") {
            Pending::Write { answer, .. } => *answer = Some(Box::new((zxid, outcome))),
            Pending::Read(_) => unreachable!("a write was looked for"),
        }
    }

    /// Answers the oldest requests of a connection, up to the first that has to wait: for the core, or, a read, until
    /// the shard has heard of every change that it would show.
    pub(super) fn advance(&mut self, tree: &DataTree, it: &mut Connection) {
        loop {
            match it.pending.front_mut() {
                Some(Pending::Write { answer, .. }) if answer.is_none() => return,
                Some(Pending::Read(_)) if !self.may_read(tree) => return self.stuck.push(it.id),
                _ => {}
            }
            match it.pending.pop_front() {
                Some(Pending::Read(frame)) => {
                    self.read(tree, it, &frame);
                    self.wake(it);
                }
                Some(Pending::Write { xid, op, arrived, body, answer: Some(answer) }) => {
                    let (zxid, outcome) = *answer;
                    self.waits_us.push(self.now.0.saturating_sub(arrived.0));
                    self.answer_write(it, xid, zxid, op, &body, &outcome);
                }
                Some(Pending::Write { answer: None, .. }) | None => return,
            }
        }
    }

    fn answer_write(
        &mut self,
        it: &mut Connection,
        xid: i32,
        zxid: Zxid,
        op: OpCode,
        body: &Bytes,
        outcome: &Outcome,
    ) {
        self.wake(it);
        let moved = ErrorCode::SessionMoved;
        if let Outcome::Error(code) = outcome
            && *code == moved
        {
            return self.close(it);
        }
        if let Outcome::Txn(TxnResult::Error { code }) = outcome
            && *code == moved.code()
        {
            // Java never shows this error: the client finds out by losing the connection.
            return self.close(it);
        }
        self.answer(it, xid, zxid.0, |_, out| match outcome {
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
            self.close(it);
        }
    }
}
