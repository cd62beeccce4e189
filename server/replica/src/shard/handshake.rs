//! The first frame of a connection and its answer; `auth` requests.

use std::collections::BTreeMap;

use bytes::Bytes;
use jute::request::{AuthPacket, ConnectRequest, xid};
use jute::response::{ConnectResponse, ReplyHeader};
use jute::{Decode, Encode, ErrorCode, Reader, Trailing};
use tree::DataTree;

use super::books::Books;
use super::connection::{Answer, Connection, State};
use super::{Fault, REQUEST_HEADER_BYTES, Shard};
use crate::io::Input;
use crate::request::{Connect, ConnectionId, SessionId};

impl Books {
    /// Takes the connect request.
    pub(super) fn handshake(
        &mut self,
        tree: &DataTree,
        it: &mut Connection,
        frame: &Bytes,
    ) -> Result<(), Fault> {
        let request = ConnectRequest::decode(&mut Reader::new(frame))?;
        if !self.serving {
            // No fault of the client's: it tries the next server. One line per client would hide what matters.
            self.close(it);
            return Ok(());
        }
        if request.last_zxid_seen > tree.last_zxid() {
            let (seen, here) = (request.last_zxid_seen, tree.last_zxid());
            return Err(Fault(format!(
                "the client has seen zxid {seen:#x}, this server is at {here:#x}: it must try another"
            )));
        }
        it.state = State::Handshaking(match request.read_only {
            Trailing(Some(_)) => Answer::WithReadOnly,
            Trailing(None) => Answer::WithoutReadOnly,
        });
        let connect = Connect {
            timeout_ms: request.timeout_ms,
            session: SessionId(request.session_id),
            password: Bytes::copy_from_slice(request.password.unwrap_or_default()),
        };
        self.for_core.push(Input::Connect { client: self.client(it), connect });
        Ok(())
    }

    fn answer_handshake(
        &mut self,
        it: &mut Connection,
        session: SessionId,
        timeout_ms: i32,
        password: &[u8],
    ) {
        let response = ConnectResponse {
            protocol_version: 0,
            timeout_ms,
            session_id: session.0,
            password: Some(password),
            read_only: Trailing(match it.state {
                State::Handshaking(Answer::WithReadOnly) => Some(false),
                _ => None,
            }),
        };
        jute::frame::write(&mut it.output, |out| response.encode(out));
        self.count_sent(it);
        self.wake(it);
    }

    /// Takes an `auth` request. It overtakes requests that wait, as in Java: it changes what later ones may do.
    pub(super) fn authenticate(&mut self, it: &mut Connection, frame: &Bytes) -> Result<(), Fault> {
        let packet = AuthPacket::decode(&mut Reader::new(&frame[REQUEST_HEADER_BYTES..]))?;
        let err = match packet.scheme {
            "digest" => {
                let proof = packet.auth.unwrap_or_default();
                for id in tree::acl::authenticate_digest(proof, self.super_digest.as_deref()) {
                    it.add_identity(id);
                }
                0
            }
            // The address was taken from the socket; asking for it changes nothing.
            "ip" => 0,
            _ => ErrorCode::AuthFailed.code(),
        };
        let header = ReplyHeader { xid: xid::AUTH, zxid: 0, err };
        jute::frame::write(&mut it.output, |out| header.encode(out));
        self.count_sent(it);
        if err != 0 {
            self.close(it);
        }
        Ok(())
    }
}

impl Shard {
    /// The core has established the session.
    pub(super) fn established(
        &mut self,
        connection: ConnectionId,
        session: SessionId,
        timeout_ms: i32,
        password: &[u8],
    ) {
        let Some(it) = handshaking(&mut self.connections, connection) else {
            return;
        };
        self.books.answer_handshake(it, session, timeout_ms, password);
        it.state = State::Ready;
        it.session = Some(session);
        // The session came back over a new connection before the old one was seen to be gone.
        if let Some(old) = self.sessions.insert(session, connection)
            && old != connection
        {
            self.close(old);
        }
    }

    /// The core knows no such session: told by zeros, then closed.
    pub(super) fn refused(&mut self, connection: ConnectionId) {
        if let Some(it) = handshaking(&mut self.connections, connection) {
            self.books.answer_handshake(it, SessionId(0), 0, &[0; 16]);
            self.books.close(it);
        }
    }
}

/// The connection, if it still waits for the core's word about its session.
fn handshaking(
    connections: &mut BTreeMap<ConnectionId, Connection>,
    connection: ConnectionId,
) -> Option<&mut Connection> {
    connections.get_mut(&connection).filter(|it| matches!(it.state, State::Handshaking(_)))
}
