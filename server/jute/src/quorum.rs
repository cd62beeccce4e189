//! The stream between a leader and its learners: packets back to back, without outer length.

use bytes::{Buf, Bytes, BytesMut};

use crate::codec::{Decode, DecodeError, Encode, Reader, Trailing};
use crate::data::Id;
use crate::record::{numbers, record};

numbers! {
    /// The type of a [`QuorumPacket`]. "M" is the leader (or an observer's master), "L" the learner.
    PacketType is "a quorum packet type" {
        /// L→M: a client's request; data is a [`ForwardedRequest`].
        Request = 1,
        /// M→L: a log payload to append.
        Proposal = 2,
        /// L→M: the proposal of this zxid is durable here.
        Ack = 3,
        /// M→L: the proposal of this zxid has its quorum.
        Commit = 4,
        /// Both: M asks, L answers with the sessions it heard from ([`SessionTouch`] repeated).
        Ping = 5,
        /// Both: may this session move here?
        Revalidate = 6,
        /// Both: flush.
        Sync = 7,
        /// M→observer: proposal and commit in one.
        Inform = 8,
        /// M→L: commit of a reconfiguration; data is an int64, the designated leader.
        CommitAndActivate = 9,
        /// M→L: the history is complete, adopt the epoch; data is the configuration text.
        NewLeader = 10,
        /// L→M: greeting of a voter; data is a [`LearnerInfo`].
        FollowerInfo = 11,
        /// M→L: serve.
        UpToDate = 12,
        /// M→L: synchronization by the transactions you lack.
        Diff = 13,
        /// M→L: cut your log after this zxid.
        Trunc = 14,
        /// M→L: a whole snapshot follows, outside of packets.
        Snap = 15,
        /// L→M: greeting of an observer.
        ObserverInfo = 16,
        /// M→L: the new epoch; data is the protocol version, an int32.
        LeaderInfo = 17,
        /// L→M: promise to the epoch; data is the learner's current epoch, an int32, or -1.
        AckEpoch = 18,
        /// M→observer: CommitAndActivate and Inform in one.
        InformAndActivate = 19,
    }
}

/// The protocol version in [`LearnerInfo`] and LEADERINFO.
pub const PROTOCOL_VERSION: i32 = 0x1_0000;

record! {
    /// One packet.
    QuorumPacket<'a> {
        packet_type: PacketType,
        zxid: i64,
        data: Option<&'a [u8]>,
        /// Identities of the client, in [`PacketType::Request`].
        authinfo: Option<Vec<Id<'a>>>,
    }
}

impl<'a> QuorumPacket<'a> {
    /// A packet that is nothing but its type and a zxid.
    #[must_use]
    pub const fn bare(packet_type: PacketType, zxid: i64) -> Self {
        Self { packet_type, zxid, data: None, authinfo: None }
    }

    /// A packet with data.
    #[must_use]
    pub const fn with_data(packet_type: PacketType, zxid: i64, data: &'a [u8]) -> Self {
        Self { packet_type, zxid, data: Some(data), authinfo: None }
    }
}

/// Takes the packet at the beginning of `buffer` out of it if it is nothing but its type and a zxid, as most are;
/// `None` when it is another, or not all there, in which case `buffer` is left as it was.
pub fn take_bare(buffer: &mut BytesMut) -> Option<(PacketType, i64)> {
    let (packet, _) = buffer.split_first_chunk::<BARE_SIZE>()?;
    let (head, ends) = packet.split_at(BARE_SIZE - NO_DATA_NO_AUTHINFO.len());
    if ends != NO_DATA_NO_AUTHINFO {
        return None;
    }
    let mut reader = Reader::new(head);
    let packet_type = PacketType::decode(&mut reader).ok()?;
    let zxid = i64::decode(&mut reader).ok()?;
    buffer.advance(BARE_SIZE);
    Some((packet_type, zxid))
}

/// Two lengths of -1.
const NO_DATA_NO_AUTHINFO: [u8; 8] = [0xff; 8];
const BARE_SIZE: usize = 4 + 8 + NO_DATA_NO_AUTHINFO.len();

/// Takes the packet at the beginning of `buffer` out of it without copying, still encoded; `None`
/// when it is not all there, in which case `buffer` is left as it was. A packet that cannot be
/// whole within `limit` bytes, and anything that can be no packet, is an error.
pub fn take_packet(buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, DecodeError> {
    let mut reader = Reader::with_length_limit(buffer, limit);
    match skip_packet(&mut reader) {
        Ok(()) => {
            let size = reader.offset();
            Ok(Some(buffer.split_to(size).freeze()))
        }
        Err(error) if error.is_truncated() && buffer.len() < limit => Ok(None),
        Err(error) => Err(error),
    }
}

/// Walks over a packet; stops at the first thing that can be none, even if more is to come.
fn skip_packet(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    PacketType::decode(reader).map_err(|error| error.named("QuorumPacket.packet_type"))?;
    i64::decode(reader)?;
    reader.buffer().map_err(|error| error.named("QuorumPacket.data"))?;
    let count = reader.length().map_err(|error| error.named("QuorumPacket.authinfo"))?;
    for _ in 0..count.unwrap_or(0) {
        Id::decode(reader)?;
    }
    Ok(())
}

record! {
    /// Data of FOLLOWERINFO and OBSERVERINFO.
    #[derive(Copy)]
    LearnerInfo {
        server_id: i64,
        protocol_version: i32,
        /// Version of the learner's configuration; absent before 3.5.
        config_version: Trailing<i64>,
    }
}

record! {
    /// Data of REVALIDATE from a learner, and an entry of its PING.
    #[derive(Copy)]
    SessionTouch { session_id: i64, timeout_ms: i32 }
}

record! {
    /// Data of REVALIDATE from the leader.
    #[derive(Copy)]
    RevalidateAnswer { session_id: i64, valid: bool }
}

/// The sessions in a learner's PING.
pub fn decode_touches(mut data: &[u8]) -> Result<Vec<SessionTouch>, DecodeError> {
    let mut touches = Vec::with_capacity(data.len() / 12);
    while data.has_remaining() {
        let mut reader = Reader::new(data);
        touches.push(SessionTouch::decode(&mut reader)?);
        data = reader.rest();
    }
    Ok(touches)
}

/// Data of REQUEST: a client's request on its way to the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedRequest<'a> {
    /// The session that asks.
    pub session_id: i64,
    /// Its xid.
    pub cxid: i32,
    /// The operation's number.
    pub op: i32,
    /// The request record as the client sent it: all the rest of the data.
    pub body: &'a [u8],
}

impl Encode for ForwardedRequest<'_> {
    fn encode(&self, out: &mut BytesMut) {
        self.session_id.encode(out);
        self.cxid.encode(out);
        self.op.encode(out);
        out.extend_from_slice(self.body);
    }
}

impl<'a> Decode<'a> for ForwardedRequest<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let header = |error: DecodeError| error.named("ForwardedRequest");
        Ok(Self {
            session_id: i64::decode(reader).map_err(header)?,
            cxid: i32::decode(reader).map_err(header)?,
            op: i32::decode(reader).map_err(header)?,
            body: reader.take_rest(),
        })
    }
}

/// Magic of a [`QuorumAuthPacket`].
pub const QUORUM_AUTH_MAGIC: i64 = 0u64.wrapping_sub(0xa0db_cafe_cafe_1234) as i64;

record! {
    /// SASL between servers, on election and learner connections.
    QuorumAuthPacket<'a> {
        /// [`QUORUM_AUTH_MAGIC`].
        magic: i64,
        /// 0 in progress, 1 success, -1 error.
        status: i32,
        token: Option<&'a [u8]>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_packet_without_data_is_taken_as_bare() {
        let encoded = |packet: QuorumPacket<'_>| BytesMut::from(&packet.to_bytes()[..]);
        let mut bare = encoded(QuorumPacket::bare(PacketType::Commit, 7));
        let mut cut = bare.clone();
        cut.truncate(BARE_SIZE - 1);
        bare.extend_from_slice(b"next");
        assert_eq!(take_bare(&mut bare), Some((PacketType::Commit, 7)));
        assert_eq!(&bare[..], b"next");
        let mut unknown = encoded(QuorumPacket::bare(PacketType::Commit, 7));
        unknown[3] = 99;
        for mut other in [
            cut,
            unknown,
            encoded(QuorumPacket::with_data(PacketType::Ping, 7, b"")),
            encoded(QuorumPacket {
                packet_type: PacketType::Request,
                zxid: -1,
                data: None,
                authinfo: Some(Vec::new()),
            }),
        ] {
            let before = other.clone();
            assert_eq!(take_bare(&mut other), None);
            assert_eq!(other, before);
        }
    }
}
