//! Requests of clients, here or behind a learner: handshakes, writes, `sync`.

use std::sync::Arc;

use bytes::Bytes;
use jute::{ErrorCode, OpCode};
use zab::Zxid;

use super::{Replica, Role, established};
use crate::io::{Now, Outcome, Output, PeerMessage, ShardOutput};
use crate::learning::Forwarded;
use crate::request::{Client, Connect, Order, Origin, Request, SessionId};
use crate::session_tracker::{Owner, SessionTracker};

/// Requests of clients, here or behind a learner.
impl Replica {
    pub(super) fn connect(
        &mut self,
        now: Now,
        client: Client,
        connect: Connect,
        outputs: &mut Vec<Output>,
    ) {
        if connect.session == SessionId(0) {
            let timeout_ms = self.config.session_timeout_ms(connect.timeout_ms);
            let request = Request {
                session: self.session_ids.next_id(),
                xid: 0,
                op: OpCode::CreateSession,
                body: Bytes::copy_from_slice(&timeout_ms.to_be_bytes()),
                auth: Arc::from([]),
            };
            self.submit(now, Origin::Client(client), Order::Free, request, outputs);
            return;
        }
        // The password is checked before anything is done: a wrong one must not cut a living connection.
        let session = connect.session;
        if !same(&connect.password, &jute::password::session_password(session.0)) {
            outputs.push(Output::Shard(ShardOutput::Refused { client }));
            return;
        }
        let timeout_ms = self.config.session_timeout_ms(connect.timeout_ms);
        match &mut self.role {
            Role::Looking => {}
            Role::Leading(leading) => {
                let valid = leading.tracker.resume(now.monotonic, session, timeout_ms);
                leading.tracker.set_owner(session, Owner::Leader);
                outputs.push(Output::Shard(if valid {
                    established(client, session, timeout_ms)
                } else {
                    ShardOutput::Refused { client }
                }));
            }
            Role::Learning(learning) => {
                learning.revalidate(client, connect);
                let message = PeerMessage::Revalidate { session, timeout_ms };
                outputs.push(Output::Send { link: learning.link, message });
            }
        }
    }

    pub(super) fn submit(
        &mut self,
        now: Now,
        origin: Origin,
        order: Order,
        request: Request,
        outputs: &mut Vec<Output>,
    ) {
        match &mut self.role {
            // The connection is being closed; nobody waits for an answer.
            Role::Looking => {}
            Role::Learning(learning) => {
                let Origin::Client(client) = origin else {
                    return;
                };
                let Request { session, xid, op, .. } = request;
                if op == OpCode::Sync {
                    learning.sync(client, xid);
                } else {
                    let after = self.peer.last_logged();
                    learning.forward(session, Forwarded { client, xid, op, order, after });
                }
                let message = PeerMessage::Request(request);
                outputs.push(Output::Send { link: learning.link, message });
            }
            Role::Leading(leading) if request.op == OpCode::Sync => match origin {
                Origin::Client(client) => {
                    if leading.client_sync(client, request.xid) {
                        self.synced(client, request.xid, outputs);
                    }
                }
                Origin::Learner(link) => {
                    let due = leading.owe(link, self.peer.committed(), PeerMessage::Sync);
                    outputs.extend(due.map(|message| Output::Send { link, message }));
                }
                Origin::Server => {}
            },
            Role::Leading(_) => self.propose(now, origin, order, &request, outputs),
        }
    }

    /// Turns a write into a proposal. Every write gets a zxid, those that fail too.
    pub(super) fn propose(
        &mut self,
        now: Now,
        origin: Origin,
        order: Order,
        request: &Request,
        outputs: &mut Vec<Output>,
    ) {
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        // A leader that is about to leave takes no more; its clients will ask its successor.
        let Some(zxid) = self.peer.next_zxid() else {
            return;
        };
        let prepared = tree::PrepRequest {
            session: request.session.0,
            cxid: request.xid,
            op: request.op,
            body: &request.body,
            auth: &request.auth,
            zxid: zxid.0,
            time_ms: now.wall_ms,
        };
        let tree = self.tree.read();
        let payload = match check_owner(&mut leading.tracker, origin, request.session) {
            Ok(()) => {
                if request.op == OpCode::CloseSession {
                    leading.tracker.remove(request.session);
                }
                self.prep.prepare(&tree, &prepared)
            }
            // A session that moved lives on, and must still expire.
            Err(code) => self.prep.refuse(&prepared, code),
        };
        drop(tree);
        self.counters.proposed += 1;
        leading.propose(zxid, origin, order, request);
        self.peer.propose(now.monotonic, payload, &mut self.from_peer);
        self.carry_out(now, outputs);
    }

    pub(super) fn touched(&mut self, now: Now, sessions: &[SessionId]) {
        match &mut self.role {
            Role::Looking => {}
            Role::Leading(leading) => {
                for session in sessions {
                    leading.tracker.touch(now.monotonic, *session);
                }
            }
            Role::Learning(learning) => {
                for session in sessions {
                    learning.touch(*session);
                }
            }
        }
    }

    pub(super) fn synced(&mut self, client: Client, xid: i32, outputs: &mut Vec<Output>) {
        let zxid = self.applied();
        self.reply(client, xid, zxid, Outcome::Synced, outputs);
    }

    pub(super) fn reply(
        &mut self,
        client: Client,
        xid: i32,
        zxid: Zxid,
        outcome: Outcome,
        outputs: &mut Vec<Output>,
    ) {
        self.read_order.answered(client);
        outputs.push(Output::Shard(ShardOutput::Reply { client, xid, zxid, outcome }));
    }
}

/// Refuses requests that come over another server than the one that owns the session.
fn check_owner(
    tracker: &mut SessionTracker,
    origin: Origin,
    session: SessionId,
) -> Result<(), ErrorCode> {
    let owner = match origin {
        Origin::Client(_) => Owner::Leader,
        Origin::Learner(link) => Owner::Learner(link),
        Origin::Server => return Ok(()),
    };
    tracker.check_owner(session, owner).map_err(|_moved| ErrorCode::SessionMoved)
}

/// Compares without telling by the time it takes how much was right.
fn same(given: &[u8], expected: &[u8]) -> bool {
    given.len() == expected.len()
        && given.iter().zip(expected).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}
