//! The connections on which servers elect: a hello, then framed notifications
//! ([`frame`](crate::frame) with [`ELECTION_FRAME_LIMIT`](crate::frame::ELECTION_FRAME_LIMIT)).

use bytes::{BufMut, BytesMut};

use crate::codec::{Decode, DecodeError, Encode, Expected, Reader, encode_length};
use crate::record::numbers;

/// First int64 of a hello with one address.
const HELLO_V1: i64 = -65536;
/// First int64 of a hello with `|`-joined addresses.
const HELLO_V2: i64 = -65535;

/// Longest address text of a hello, in bytes.
pub const HELLO_ADDRESS_LIMIT: usize = 2048;

/// What the dialling server says first.
///
/// It must leave in one write: a Java server reads the addresses with a single `read`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The server that dials.
    pub server_id: i64,
    /// Where it can be dialled back: `host:port`, IPv6 in brackets. None from servers before 3.5.
    /// One is sent as version 1, more as version 2, which only multi-address servers understand.
    pub addresses: Vec<&'a str>,
}

impl Encode for Hello<'_> {
    fn encode(&self, out: &mut BytesMut) {
        if self.addresses.is_empty() {
            return self.server_id.encode(out);
        }
        let version = if self.addresses.len() == 1 { HELLO_V1 } else { HELLO_V2 };
        version.encode(out);
        self.server_id.encode(out);
        self.addresses.join("|").as_str().encode(out);
    }
}

impl<'a> Decode<'a> for Hello<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let named = |error: DecodeError| error.named("Hello");
        let offset = reader.offset();
        let first = i64::decode(reader).map_err(named)?;
        if first >= 0 {
            return Ok(Self { server_id: first, addresses: Vec::new() });
        }
        if first != HELLO_V1 && first != HELLO_V2 {
            let expected = Expected::Number { of: "hello version -65536 or -65535", found: first };
            return Err(Reader::error_at(offset, expected).named("Hello"));
        }
        let server_id = i64::decode(reader).map_err(named)?;
        let offset = reader.offset();
        let length = i32::decode(reader).map_err(named)?;
        let size =
            usize::try_from(length).ok().filter(|size| (1..=HELLO_ADDRESS_LIMIT).contains(size));
        let Some(size) = size else {
            let expected = Expected::Length { limit: HELLO_ADDRESS_LIMIT, found: length };
            return Err(Reader::error_at(offset, expected).named("Hello.addresses"));
        };
        let bytes = reader.take(size).map_err(named)?;
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Reader::error_at(offset, Expected::Utf8).named("Hello.addresses"))?;
        let addresses = if first == HELLO_V1 { vec![text] } else { text.split('|').collect() };
        Ok(Self { server_id, addresses })
    }
}

numbers! {
    /// What a server does, as its notifications say.
    PeerState is "a peer state" {
        /// Electing.
        Looking = 0,
        /// Follows the leader it votes for.
        Following = 1,
        /// Leads.
        Leading = 2,
        /// Observes; its vote does not count.
        Observing = 3,
    }
}

/// A vote and its circumstances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification<'a> {
    /// What the sender does.
    pub state: PeerState,
    /// The server it votes for.
    pub leader: i64,
    /// That server's last logged zxid.
    pub zxid: i64,
    /// The sender's election round.
    pub election_epoch: i64,
    /// That server's current epoch.
    pub peer_epoch: i64,
    /// 2 since 3.5; 0 when the sender did not say.
    pub version: i32,
    /// The sender's configuration text; only from version 2 on.
    pub config: Option<&'a str>,
}

impl Notification<'_> {
    /// The version this project and every Java server since 3.5 send.
    pub const VERSION: i32 = 2;
    /// A body without epoch and version (3.3).
    const SIZE_WITHOUT_EPOCH: usize = 28;
    /// A body with an epoch, and a version that nobody may rely on (3.4).
    const SIZE_WITHOUT_CONFIG: usize = 40;
}

/// Written in the present form whatever `version` says about the configuration.
impl Encode for Notification<'_> {
    fn encode(&self, out: &mut BytesMut) {
        self.state.encode(out);
        out.put_i64(self.leader);
        out.put_i64(self.zxid);
        out.put_i64(self.election_epoch);
        out.put_i64(self.peer_epoch);
        out.put_i32(self.version);
        let config = self.config.unwrap_or_default();
        encode_length(config.len(), out);
        out.put_slice(config.as_bytes());
    }
}

/// Reads a whole body; the older forms are told by their length.
impl<'a> Decode<'a> for Notification<'a> {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let size = reader.rest().len();
        let named = |error: DecodeError| error.named("Notification");
        let mut notification = Self {
            state: PeerState::decode(reader).map_err(named)?,
            leader: i64::decode(reader).map_err(named)?,
            zxid: i64::decode(reader).map_err(named)?,
            election_epoch: i64::decode(reader).map_err(named)?,
            peer_epoch: 0,
            version: 0,
            config: None,
        };
        if size == Self::SIZE_WITHOUT_EPOCH {
            notification.peer_epoch = notification.zxid >> 32;
            return Ok(notification);
        }
        notification.peer_epoch = i64::decode(reader).map_err(named)?;
        let version = i32::decode(reader).map_err(named)?;
        if size == Self::SIZE_WITHOUT_CONFIG {
            return Ok(notification);
        }
        notification.version = version;
        if version > 1 {
            let config =
                <&str>::decode(reader).map_err(|error| error.named("Notification.config"))?;
            notification.config = Some(config);
        }
        Ok(notification)
    }
}
