//! Sessions end when they should: never before their timeout, and at some time after it.

use std::collections::BTreeSet;

use bytes::Buf;
use replica::{Input, PeerMessage, SessionId};
use zab::{Message, Millis};

use super::{Check, name};

impl Check {
    /// A process is told something; what it says of sessions counts for them.
    pub(crate) fn on_heard(&mut self, host: usize, now: Millis, input: &Input) {
        let heard = &mut self.servers[host].heard;
        match input {
            Input::Touched { sessions } => heard.extend(sessions.iter().map(|it| (*it, now))),
            Input::Connect { connect, .. } => drop(heard.insert(connect.session, now)),
            Input::Message { message: PeerMessage::Revalidate { session, .. }, .. } => {
                heard.insert(*session, now);
            }
            Input::Message {
                message: PeerMessage::Zab(Message::Ping { sessions, .. }), ..
            } => {
                let mut sessions = sessions.clone();
                while let (Ok(session), Ok(_)) = (sessions.try_get_i64(), sessions.try_get_i32()) {
                    heard.insert(SessionId(session), now);
                }
            }
            _ => {}
        }
    }

    /// A server leads from now on: every session has all its time.
    pub(crate) fn on_leading(&mut self, host: usize, now: Millis) {
        self.servers[host].leads_since = now;
    }

    /// The leader ends a session that has been silent for too long.
    pub(crate) fn on_expired(
        &mut self,
        host: usize,
        now: Millis,
        session: SessionId,
        timeout_ms: u64,
    ) {
        let server = &self.servers[host];
        let heard = server.heard.get(&session).copied().unwrap_or_default();
        let silent_ms = now.since(heard.max(server.leads_since));
        if silent_ms < timeout_ms {
            let what = format!(
                "{} ends session {session} after {silent_ms} ms, its timeout is {timeout_ms} ms",
                name(host)
            );
            self.fail("SessionExpiry", what);
        }
    }

    /// A session that should have ended: it is nobody's of `clients`.
    pub(crate) fn dead_session(&self, clients: &BTreeSet<i64>) -> Option<SessionId> {
        let mut sessions = self.model.tree().sessions();
        sessions.find(|(id, _)| !clients.contains(id)).map(|(id, _)| SessionId(id))
    }
}
