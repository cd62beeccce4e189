//! What other servers say above Zab: forwarded requests, questions about sessions, trees.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use zab::{LinkId, Message};

use super::{Replica, Role, established};
use crate::io::{Now, Outcome, Output, PeerMessage, ShardOutput};
use crate::request::{Order, Origin, SessionId};
use crate::session_tracker::Owner;

/// Messages of peers.
impl Replica {
    pub(super) fn message(
        &mut self,
        now: Now,
        link: LinkId,
        message: PeerMessage,
        outputs: &mut Vec<Output>,
    ) {
        match message {
            PeerMessage::Zab(message) => {
                if let Message::Ping { sessions, .. } = &message {
                    self.learner_touched(now, sessions.clone());
                }
                self.tell_peer(now, zab::Input::Message { link, message }, outputs);
            }
            PeerMessage::Snapshot { to, tree } => {
                self.received = Some(tree);
                let message = Message::Snap { to };
                self.tell_peer(now, zab::Input::Message { link, message }, outputs);
                self.received = None;
            }
            PeerMessage::Request(request) => {
                // Only a serving leader answers; a learner of an older term hears of it by its link.
                if matches!(self.role, Role::Leading(_)) {
                    self.submit(now, Origin::Learner(link), Order::Free, request, outputs);
                }
            }
            PeerMessage::Revalidate { session, timeout_ms } => {
                if let Role::Leading(leading) = &mut self.role {
                    let valid = leading.tracker.resume(now.monotonic, session, timeout_ms);
                    leading.tracker.set_owner(session, Owner::Learner(link));
                    let message = PeerMessage::Revalidated { session, valid };
                    let due = leading.owe(link, self.peer.committed(), message);
                    outputs.extend(due.map(|message| Output::Send { link, message }));
                }
            }
            PeerMessage::Revalidated { session, valid } => {
                let Role::Learning(learning) = &mut self.role else {
                    return;
                };
                let Some((client, connect)) = learning.revalidated(session) else {
                    return;
                };
                let timeout_ms = self.config.session_timeout_ms(connect.timeout_ms);
                outputs.push(Output::Shard(if valid {
                    established(client, session, timeout_ms)
                } else {
                    ShardOutput::Refused { client }
                }));
            }
            PeerMessage::Sync => {
                let Role::Learning(learning) = &mut self.role else {
                    return;
                };
                // What was committed before this was said may still wait for our own disk.
                learning.sync_is_due_after(self.peer.committed());
                self.answer_learner_syncs(outputs);
            }
        }
    }

    /// Answers the `sync`s of our clients whose time has come.
    pub(super) fn answer_learner_syncs(&mut self, outputs: &mut Vec<Output>) {
        if !matches!(&self.role, Role::Learning(learning) if learning.has_syncs_due()) {
            return;
        }
        let applied = self.applied();
        while let Role::Learning(learning) = &mut self.role
            && let Some((client, xid)) = learning.synced(applied)
        {
            self.reply(client, xid, applied, Outcome::Synced, outputs);
        }
    }

    /// The sessions in a learner's PING: pairs of id and timeout, to the end.
    fn learner_touched(&mut self, now: Now, mut sessions: Bytes) {
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        while let (Ok(session), Ok(_timeout_ms)) = (sessions.try_get_i64(), sessions.try_get_i32())
        {
            leading.tracker.touch(now.monotonic, SessionId(session));
        }
    }

    /// What a learner answers to a PING: the sessions its clients touched.
    pub(super) fn take_touched(&mut self) -> Bytes {
        let Role::Learning(learning) = &mut self.role else {
            return Bytes::new();
        };
        let touched = learning.take_touched();
        let tree = self.tree.read();
        let mut sessions = BytesMut::with_capacity(touched.len() * 12);
        for session in touched {
            if let Some(timeout_ms) = tree.session_timeout_ms(session.0) {
                sessions.put_i64(session.0);
                sessions.put_i32(timeout_ms);
            }
        }
        sessions.freeze()
    }
}
