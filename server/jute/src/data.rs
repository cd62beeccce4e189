//! What a znode is made of: ACL, Stat, creation modes, permission bits.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use crate::codec::{Decode, DecodeError, Encode, Reader};
use crate::record::{numbers, record};

/// Permission bits of an [`Acl`].
pub mod permission {
    /// Read data, Stat and children.
    pub const READ: i32 = 1;
    /// Replace data.
    pub const WRITE: i32 = 2;
    /// Create children.
    pub const CREATE: i32 = 4;
    /// Delete children.
    pub const DELETE: i32 = 8;
    /// Replace the ACL.
    pub const ADMIN: i32 = 16;
    /// All of them.
    pub const ALL: i32 = 31;
}

record! {
    /// An identity: `world:anyone`, `digest:user:hash`, `ip:10.0.0.0/8` …
    Id<'a> {
        scheme: &'a str,
        /// May hold characters beyond the BMP, which Java writes as CESU-8.
        id: Cow<'a, str>,
    }
}

/// An [`Id`] that owns its text: what a connection has proved outlives the frame it came in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "as in Id")]
pub struct OwnedId {
    pub scheme: String,
    pub id: String,
}

impl OwnedId {
    /// The same identity, borrowed.
    #[must_use]
    pub fn as_id(&self) -> Id<'_> {
        Id { scheme: &self.scheme, id: Cow::Borrowed(&self.id) }
    }
}

impl From<&Id<'_>> for OwnedId {
    fn from(id: &Id<'_>) -> Self {
        Self { scheme: id.scheme.to_owned(), id: id.id.clone().into_owned() }
    }
}

record! {
    /// What an identity may do, see [`permission`].
    Acl<'a> { perms: i32, id: Id<'a> }
}

impl Acl<'static> {
    /// `world:anyone` may do everything.
    pub const OPEN: Self =
        Self { perms: permission::ALL, id: Id { scheme: "world", id: Cow::Borrowed("anyone") } };
}

record! {
    /// An identity of the own connection, as WhoAmI answers it.
    ClientInfo<'a> { auth_scheme: &'a str, user: Cow<'a, str> }
}

/// What a client sees of a znode besides its data: 68 bytes on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Zxid that created the znode.
    pub czxid: i64,
    /// Zxid that last changed the data.
    pub mzxid: i64,
    /// Creation, milliseconds since 1970.
    pub ctime_ms: i64,
    /// Last change of the data, milliseconds since 1970.
    pub mtime_ms: i64,
    /// Changes of the data.
    pub version: i32,
    /// Changes of the children, as clients count them.
    pub cversion: i32,
    /// Changes of the ACL.
    pub aversion: i32,
    /// Session that owns an ephemeral znode, else 0 (containers and TTL znodes show 0 too).
    pub ephemeral_owner: i64,
    /// Bytes of data.
    pub data_length: i32,
    /// Number of children.
    pub num_children: i32,
    /// Zxid that last created or deleted a child.
    pub pzxid: i64,
}

impl Stat {
    /// Bytes on the wire.
    pub const SIZE: usize = 68;

    /// The binary form.
    #[must_use]
    pub fn to_array(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[0..8].copy_from_slice(&self.czxid.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.mzxid.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.ctime_ms.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.mtime_ms.to_be_bytes());
        bytes[32..36].copy_from_slice(&self.version.to_be_bytes());
        bytes[36..40].copy_from_slice(&self.cversion.to_be_bytes());
        bytes[40..44].copy_from_slice(&self.aversion.to_be_bytes());
        bytes[44..52].copy_from_slice(&self.ephemeral_owner.to_be_bytes());
        bytes[52..56].copy_from_slice(&self.data_length.to_be_bytes());
        bytes[56..60].copy_from_slice(&self.num_children.to_be_bytes());
        bytes[60..68].copy_from_slice(&self.pzxid.to_be_bytes());
        bytes
    }
}

impl Encode for Stat {
    fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&self.to_array());
    }
}

impl<'a> Decode<'a> for Stat {
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let bytes = reader.take(Self::SIZE).map_err(|error| error.named("Stat"))?;
        let mut fields = Reader::new(bytes);
        Ok(Self {
            czxid: i64::decode(&mut fields)?,
            mzxid: i64::decode(&mut fields)?,
            ctime_ms: i64::decode(&mut fields)?,
            mtime_ms: i64::decode(&mut fields)?,
            version: i32::decode(&mut fields)?,
            cversion: i32::decode(&mut fields)?,
            aversion: i32::decode(&mut fields)?,
            ephemeral_owner: i64::decode(&mut fields)?,
            data_length: i32::decode(&mut fields)?,
            num_children: i32::decode(&mut fields)?,
            pzxid: i64::decode(&mut fields)?,
        })
    }
}

record! {
    /// What a snapshot keeps of a znode besides data and ACL: 60 bytes.
    #[derive(Copy)]
    StatPersisted {
        czxid: i64,
        mzxid: i64,
        ctime_ms: i64,
        mtime_ms: i64,
        version: i32,
        /// Creations of children only; clients see `2 * this - num_children`.
        cversion: i32,
        aversion: i32,
        /// 0 none, a session, `i64::MIN` container, or `0xff << 56 | ttl_ms`.
        ephemeral_owner: i64,
        pzxid: i64,
    }
}

numbers! {
    /// The `flags` of a create request.
    CreateMode is "a create mode" {
        /// Stays until deleted.
        Persistent = 0,
        /// Goes with its session.
        Ephemeral = 1,
        /// Persistent, with a counter behind the name.
        PersistentSequential = 2,
        /// Ephemeral, with a counter behind the name.
        EphemeralSequential = 3,
        /// Deleted by the leader after its last child.
        Container = 4,
        /// Deleted by the leader when childless and unchanged for its TTL.
        PersistentTtl = 5,
        /// The same, with a counter behind the name.
        PersistentSequentialTtl = 6,
    }
}

impl CreateMode {
    /// True for the modes whose znode goes with its session.
    #[must_use]
    pub const fn is_ephemeral(self) -> bool {
        matches!(self, Self::Ephemeral | Self::EphemeralSequential)
    }

    /// True for the modes that put a counter behind the name.
    #[must_use]
    pub const fn is_sequential(self) -> bool {
        matches!(
            self,
            Self::PersistentSequential | Self::EphemeralSequential | Self::PersistentSequentialTtl
        )
    }
}
