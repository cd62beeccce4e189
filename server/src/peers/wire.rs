//! Messages of the core ⇄ packets of the wire. The only place that knows both.
//!
//! Between leader and learner the meaning of a packet may depend on who sends it (REVALIDATE, PING), so both
//! directions name the far end of the link.

use bytes::{Bytes, BytesMut};
use jute::codec::{DecodeError, encode_length};
use jute::data::{Id, OwnedId};
use jute::quorum::{
    ForwardedRequest, LearnerInfo, PROTOCOL_VERSION, PacketType, QuorumPacket, RevalidateAnswer,
    SessionTouch,
};
use jute::{Decode, Encode, OpCode, Trailing, election, frame};
use replica::{PeerMessage, Request, SessionId};
use zab::{Epoch, Membership, Message, Notification, PeerState, ServerId, Vote, Zxid};

/// Who is at the other end of a quorum link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FarEnd {
    /// We dialed: the leader.
    Leader,
    /// It dialed: a learner.
    Learner,
}

/// What a packet turned out to be.
#[derive(Debug)]
pub enum Received {
    /// A whole message.
    Message(PeerMessage),
    /// SNAP: the tree follows in the stream, then [`SNAPSHOT_END`].
    Snapshot {
        /// The zxid the tree stands for.
        to: Zxid,
    },
}

/// The text that ends a tree in the stream.
pub const SNAPSHOT_END: &str = "BenWasHere";

/// Bytes of [`SNAPSHOT_END`] with its length.
pub const SNAPSHOT_END_LEN: usize = 4 + SNAPSHOT_END.len();

/// Why a packet means nothing to us.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Its bytes do not fit its type.
    #[error("{packet}: {source}")]
    Malformed {
        /// Its type.
        packet: PacketType,
        /// What is wrong.
        source: DecodeError,
    },
    /// It is no packet.
    #[error(transparent)]
    NoPacket(#[from] DecodeError),
    /// Its type belongs to a feature that does not exist here.
    #[error("{0}: reconfiguration is not supported")]
    Unsupported(PacketType),
    /// A number in it is out of bounds.
    #[error("{packet}: expected {expected}, found {found}")]
    Number {
        /// Its type.
        packet: PacketType,
        /// What was expected.
        expected: &'static str,
        /// What was there.
        found: i64,
    },
}

/// Appends the packet of a message for the far end `to`.
///
/// # Panics
/// For `PeerMessage::Snapshot`, which is only ever received.
pub fn encode(message: &PeerMessage, to: FarEnd, out: &mut BytesMut) {
    let bare = |packet, zxid| QuorumPacket::bare(packet, zxid);
    let with = |packet, data: &dyn Encode, out: &mut BytesMut| {
        QuorumPacket::with_data(packet, -1, &data.to_bytes()).encode(out);
    };
    match message {
        PeerMessage::Zab(message) => encode_zab(message, to, out),
        PeerMessage::Snapshot { .. } => panic!("a tree is sent with its SNAP packet, not as one"),
        PeerMessage::Request(request) => encode_request(request, out),
        PeerMessage::Revalidate { session, timeout_ms } => {
            let touch = SessionTouch { session_id: session.0, timeout_ms: *timeout_ms };
            with(PacketType::Revalidate, &touch, out);
        }
        PeerMessage::Revalidated { session, valid } => {
            let answer = RevalidateAnswer { session_id: session.0, valid: *valid };
            with(PacketType::Revalidate, &answer, out);
        }
        PeerMessage::Sync => bare(PacketType::Sync, 0).encode(out),
    }
}

fn encode_zab(message: &Message, to: FarEnd, out: &mut BytesMut) {
    let bare = |packet, zxid: Zxid| QuorumPacket::bare(packet, zxid.0);
    let packet = match message {
        Message::LearnerInfo { id, membership, accepted, config_version } => {
            let packet = match membership {
                Membership::Voter => PacketType::FollowerInfo,
                Membership::Observer => PacketType::ObserverInfo,
            };
            let info = LearnerInfo {
                server_id: id.0.cast_signed(),
                protocol_version: PROTOCOL_VERSION,
                config_version: Trailing(Some(*config_version)),
            };
            let data = info.to_bytes();
            return QuorumPacket::with_data(packet, accepted.start().0, &data).encode(out);
        }
        Message::LeaderInfo { epoch } => {
            let data = PROTOCOL_VERSION.to_be_bytes();
            let zxid = epoch.start().0;
            return QuorumPacket::with_data(PacketType::LeaderInfo, zxid, &data).encode(out);
        }
        Message::AckEpoch { current, last } => {
            let data = current.map_or(-1, |epoch| epoch.0.cast_signed()).to_be_bytes();
            return QuorumPacket::with_data(PacketType::AckEpoch, last.0, &data).encode(out);
        }
        Message::Diff { to } => bare(PacketType::Diff, *to),
        Message::Trunc { to } => bare(PacketType::Trunc, *to),
        Message::Snap { to } => bare(PacketType::Snap, *to),
        Message::Propose { zxid, payload } => {
            QuorumPacket::with_data(PacketType::Proposal, zxid.0, payload)
        }
        Message::Ack { zxid } => bare(PacketType::Ack, *zxid),
        Message::Commit { zxid } => bare(PacketType::Commit, *zxid),
        Message::Inform { zxid, payload } => {
            QuorumPacket::with_data(PacketType::Inform, zxid.0, payload)
        }
        Message::NewLeader { epoch, config } => {
            QuorumPacket::with_data(PacketType::NewLeader, epoch.start().0, config)
        }
        Message::UpToDate => QuorumPacket::bare(PacketType::UpToDate, -1),
        // A Java leader fails on a learner's PING whose data is null rather than empty.
        Message::Ping { zxid, sessions } => match to {
            FarEnd::Leader => QuorumPacket::with_data(PacketType::Ping, zxid.0, sessions),
            FarEnd::Learner => bare(PacketType::Ping, *zxid),
        },
    };
    packet.encode(out);
}

/// Written field by field, because the body may be long and need not be copied twice.
fn encode_request(request: &Request, out: &mut BytesMut) {
    const HEAD_LEN: usize = 8 + 4 + 4;
    PacketType::Request.encode(out);
    (-1i64).encode(out);
    encode_length(HEAD_LEN + request.body.len(), out);
    let forwarded = ForwardedRequest {
        session_id: request.session.0,
        cxid: request.xid,
        op: request.op.code(),
        body: &request.body,
    };
    forwarded.encode(out);
    let ids: Vec<Id<'_>> = request.auth.iter().map(OwnedId::as_id).collect();
    // As Java: a request of the server itself has no list, one of a client is never without an identity.
    let ids = (!ids.is_empty()).then_some(ids);
    ids.encode(out);
}

/// Reads a packet that is nothing but its type and a zxid.
///
/// # Errors
/// As [`decode`].
pub fn decode_bare(packet: PacketType, zxid: i64, from: FarEnd) -> Result<Received, Error> {
    let zxid = Zxid(zxid);
    Ok(Received::Message(PeerMessage::Zab(match packet {
        PacketType::Ack => Message::Ack { zxid },
        PacketType::Commit => Message::Commit { zxid },
        // The others are rare, and what they say without data is decided in one place.
        _ => return decode(&QuorumPacket::bare(packet, zxid.0).to_bytes(), from),
    })))
}

/// Reads a whole packet that came from `from`. Payloads share its memory.
///
/// # Errors
/// The packet means nothing; the stream cannot be trusted any further.
pub fn decode(packet: &Bytes, from: FarEnd) -> Result<Received, Error> {
    let QuorumPacket { packet_type, zxid, data, authinfo } = QuorumPacket::decode_all(packet)?;
    let zxid = Zxid(zxid);
    let bytes = data.unwrap_or_default();
    let malformed = |source| Error::Malformed { packet: packet_type, source };
    let payload = || packet.slice_ref(bytes);
    let message = match packet_type {
        PacketType::FollowerInfo | PacketType::ObserverInfo => {
            let info = LearnerInfo::decode_all(bytes).map_err(malformed)?;
            Message::LearnerInfo {
                id: ServerId(info.server_id.cast_unsigned()),
                membership: match packet_type {
                    PacketType::FollowerInfo => Membership::Voter,
                    _ => Membership::Observer,
                },
                accepted: zxid.epoch(),
                config_version: info.config_version.0.unwrap_or(0),
            }
        }
        PacketType::LeaderInfo => Message::LeaderInfo { epoch: zxid.epoch() },
        PacketType::AckEpoch => {
            let epoch = i32::decode_all(bytes).map_err(malformed)?;
            Message::AckEpoch { current: current_epoch(epoch)?, last: zxid }
        }
        PacketType::Diff => Message::Diff { to: zxid },
        PacketType::Trunc => Message::Trunc { to: zxid },
        PacketType::Snap => return Ok(Received::Snapshot { to: zxid }),
        PacketType::Proposal => Message::Propose { zxid, payload: payload() },
        PacketType::Ack => Message::Ack { zxid },
        PacketType::Commit => Message::Commit { zxid },
        PacketType::Inform => Message::Inform { zxid, payload: payload() },
        PacketType::NewLeader => Message::NewLeader { epoch: zxid.epoch(), config: payload() },
        PacketType::UpToDate => Message::UpToDate,
        PacketType::Ping => Message::Ping { zxid, sessions: payload() },
        PacketType::CommitAndActivate | PacketType::InformAndActivate => {
            return Err(Error::Unsupported(packet_type));
        }
        PacketType::Request => {
            let request = decode_request(bytes, authinfo, packet).map_err(malformed)?;
            return Ok(Received::Message(PeerMessage::Request(request)));
        }
        PacketType::Revalidate => {
            let message = decode_revalidate(bytes, from).map_err(malformed)?;
            return Ok(Received::Message(message));
        }
        PacketType::Sync => return Ok(Received::Message(PeerMessage::Sync)),
    };
    Ok(Received::Message(PeerMessage::Zab(message)))
}

/// The epoch in ACKEPOCH; -1 stands for none.
fn current_epoch(epoch: i32) -> Result<Option<Epoch>, Error> {
    match u32::try_from(epoch) {
        Ok(epoch) => Ok(Some(Epoch(epoch))),
        Err(_) if epoch == -1 => Ok(None),
        Err(_) => Err(Error::Number {
            packet: PacketType::AckEpoch,
            expected: "an epoch or -1",
            found: epoch.into(),
        }),
    }
}

fn decode_request(
    data: &[u8],
    authinfo: Option<Vec<Id<'_>>>,
    packet: &Bytes,
) -> Result<Request, DecodeError> {
    let forwarded = ForwardedRequest::decode_all(data)?;
    // Names the field when the number is no operation.
    let op = OpCode::decode_all(&forwarded.op.to_be_bytes())
        .map_err(|error| error.named("ForwardedRequest.op"))?;
    Ok(Request {
        session: SessionId(forwarded.session_id),
        xid: forwarded.cxid,
        op,
        body: packet.slice_ref(forwarded.body),
        auth: authinfo.unwrap_or_default().iter().map(OwnedId::from).collect(),
    })
}

fn decode_revalidate(data: &[u8], from: FarEnd) -> Result<PeerMessage, DecodeError> {
    Ok(match from {
        FarEnd::Learner => {
            let touch = SessionTouch::decode_all(data)?;
            let session = SessionId(touch.session_id);
            PeerMessage::Revalidate { session, timeout_ms: touch.timeout_ms }
        }
        FarEnd::Leader => {
            let answer = RevalidateAnswer::decode_all(data)?;
            let session = SessionId(answer.session_id);
            PeerMessage::Revalidated { session, valid: answer.valid }
        }
    })
}

/// An election message, framed. `config_text` is the sender's configuration.
#[must_use]
pub fn encode_notification(notification: &Notification, config_text: &str) -> Bytes {
    let state = match notification.state {
        PeerState::Looking => election::PeerState::Looking,
        PeerState::Following => election::PeerState::Following,
        PeerState::Leading => election::PeerState::Leading,
        PeerState::Observing => election::PeerState::Observing,
    };
    let vote = &notification.vote;
    let mut out = BytesMut::with_capacity(64 + config_text.len());
    frame::write(&mut out, |out| {
        election::Notification {
            state,
            leader: vote.leader.0.cast_signed(),
            zxid: vote.zxid.0,
            election_epoch: notification.round.cast_signed(),
            peer_epoch: vote.epoch.0.into(),
            version: election::Notification::VERSION,
            config: Some(config_text),
        }
        .encode(out);
    });
    out.freeze()
}

/// Reads the body of an election message. The sender's configuration is checked for its form and dropped: membership
/// comes from our own configuration.
///
/// # Errors
/// Why the bytes are no notification.
pub fn decode_notification(body: &[u8]) -> Result<Notification, DecodeError> {
    let wire = election::Notification::decode_all(body)?;
    let state = match wire.state {
        election::PeerState::Looking => PeerState::Looking,
        election::PeerState::Following => PeerState::Following,
        election::PeerState::Leading => PeerState::Leading,
        election::PeerState::Observing => PeerState::Observing,
    };
    // Java's observers vote for nobody: smallest long as leader, zxid and epoch. Such a vote must lose against all.
    let epoch = u32::try_from(wire.peer_epoch.max(0)).map_err(|_| {
        let expected =
            jute::codec::Expected::Number { of: "a 32-bit epoch", found: wire.peer_epoch };
        jute::Reader::error_at(28, expected).named("Notification.peer_epoch")
    })?;
    Ok(Notification {
        state,
        vote: Vote {
            epoch: Epoch(epoch),
            zxid: Zxid(wire.zxid),
            leader: ServerId(wire.leader.cast_unsigned()),
        },
        round: wire.election_epoch.cast_unsigned(),
    })
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
