//! One znode: path, data, Stat, children.

use std::fmt;
use std::sync::Arc;

use jute::data::{Stat, StatPersisted};

use crate::children::{self, Children};
use crate::digest;
use crate::path;

/// What `ephemeral_owner` of the persisted Stat says about the life of a znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// 0: stays until deleted.
    Nobody,
    /// Goes with this session.
    Session(i64),
    /// `i64::MIN`: goes some time after its last child.
    Container,
    /// `0xff << 56 | ttl`: goes when childless and unchanged for this long.
    Ttl {
        /// At most 2⁴⁰ − 1.
        ttl_ms: i64,
    },
}

const TTL_MARK: i64 = 0xff << 56;
const TTL_MAX_MS: i64 = (1 << 40) - 1;

impl Owner {
    /// Reads the persisted form. Session ids of a server 255, which share the first byte of the
    /// TTL form, are told from it by the reserved bits 40–55: only a TTL has them all zero.
    #[must_use]
    pub const fn from_persisted(owner: i64) -> Self {
        match owner {
            0 => Self::Nobody,
            i64::MIN => Self::Container,
            _ if owner & !TTL_MAX_MS == TTL_MARK && owner & TTL_MAX_MS != 0 => {
                Self::Ttl { ttl_ms: owner & TTL_MAX_MS }
            }
            _ => Self::Session(owner),
        }
    }

    /// The persisted form.
    #[must_use]
    pub const fn to_persisted(self) -> i64 {
        match self {
            Self::Nobody => 0,
            Self::Session(session) => session,
            Self::Container => i64::MIN,
            Self::Ttl { ttl_ms } => TTL_MARK | (ttl_ms & TTL_MAX_MS),
        }
    }
}

/// A znode. Copied when it changes after a freeze: path and data are shared by the copies.
#[derive(Clone)]
pub struct Znode {
    pub(crate) path: Arc<str>,
    pub(crate) data: Option<Arc<[u8]>>,
    /// Boxed and absent without children: most znodes are leaves.
    pub(crate) children: Option<Box<Children>>,
    pub(crate) acl: i64,
    pub(crate) stat: StatPersisted,
    /// CRC32 of path and data, the part of the digest that need not be read again when only the
    /// Stat changes.
    pub(crate) content_crc: u32,
    /// What the znode adds to the digest as it stands; see [`digest`].
    pub(crate) term: u32,
}

impl Znode {
    /// The full path; `/` for the root.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The data; null and empty differ.
    #[must_use]
    pub fn data(&self) -> Option<&[u8]> {
        self.data.as_deref()
    }

    /// The Stat as the log and snapshots keep it.
    #[must_use]
    pub const fn persisted(&self) -> &StatPersisted {
        &self.stat
    }

    /// Whether and with what it goes away by itself.
    #[must_use]
    pub const fn owner(&self) -> Owner {
        Owner::from_persisted(self.stat.ephemeral_owner)
    }

    /// The Stat as clients see it: `cversion` counts creations and deletions of children, owners
    /// of containers and TTL znodes are hidden.
    #[must_use]
    pub fn stat(&self) -> Stat {
        let num_children = self.num_children();
        let StatPersisted { czxid, mzxid, ctime_ms, mtime_ms, version, aversion, pzxid, .. } =
            self.stat;
        Stat {
            czxid,
            mzxid,
            ctime_ms,
            mtime_ms,
            version,
            // Every child was created, and those that are gone were deleted.
            cversion: self.stat.cversion.wrapping_mul(2).wrapping_sub(num_children),
            aversion,
            ephemeral_owner: match self.owner() {
                Owner::Session(session) => session,
                Owner::Nobody | Owner::Container | Owner::Ttl { .. } => 0,
            },
            data_length: self.data.as_ref().map_or(0, |data| length_i32(data.len())),
            num_children,
            pzxid,
        }
    }

    /// The number of children.
    #[must_use]
    pub fn num_children(&self) -> i32 {
        self.children.as_ref().map_or(0, |children| length_i32(children.len()))
    }

    /// The names of the children, in order.
    #[must_use]
    pub fn children(&self) -> ChildNames<'_> {
        ChildNames {
            paths: self.children.as_ref().map(|children| children.iter()),
            offset: path::name_offset(&self.path),
        }
    }

    /// Computes the term anew after a change; returns the one before and the new one.
    pub(crate) fn renew_term(&mut self) -> (u32, u32) {
        let term = digest::term(&self.path, self.content_crc, &self.stat);
        (std::mem::replace(&mut self.term, term), term)
    }

    pub(crate) fn next_child_after(&self, path: Option<&str>) -> Option<&Arc<str>> {
        self.children.as_ref()?.next_after(path)
    }

    pub(crate) fn add_child(&mut self, path: Arc<str>) {
        self.children.get_or_insert_with(|| Box::new(Children::new())).insert(path);
    }

    pub(crate) fn remove_child(&mut self, path: &str) {
        if let Some(children) = &mut self.children {
            children.remove(path);
            if children.len() == 0 {
                self.children = None;
            }
        }
    }
}

/// Lengths and counts are i32 on the wire; a tree of 2³¹ children does not fit into memory.
fn length_i32(length: usize) -> i32 {
    i32::try_from(length).expect("a length below 2 GiB")
}

impl fmt::Debug for Znode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Znode")
            .field("path", &self.path)
            .field("data_length", &self.data.as_ref().map(|data| data.len()))
            .field("num_children", &self.num_children())
            .field("acl", &self.acl)
            .field("stat", &self.stat)
            .finish_non_exhaustive()
    }
}

/// The names of a znode's children, in order.
pub struct ChildNames<'a> {
    paths: Option<children::Iter<'a>>,
    offset: usize,
}

impl<'a> Iterator for ChildNames<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.paths.as_mut()?.next().map(|path| &path[self.offset..])
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.paths.as_ref().map_or((0, Some(0)), Iterator::size_hint)
    }
}

impl ExactSizeIterator for ChildNames<'_> {}

impl fmt::Debug for ChildNames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildNames").field("left", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_survive_their_persisted_form() {
        for owner in [
            Owner::Nobody,
            Owner::Container,
            Owner::Ttl { ttl_ms: 1 },
            Owner::Ttl { ttl_ms: TTL_MAX_MS },
            Owner::Session(0x0100_0000_dcfa_7000),
            Owner::Session(-0x0012_3456_789a_bcde),
        ] {
            assert_eq!(Owner::from_persisted(owner.to_persisted()), owner);
        }
        assert_eq!(Owner::Ttl { ttl_ms: 5 }.to_persisted(), -0x0100_0000_0000_0000 | 5);
    }
}
