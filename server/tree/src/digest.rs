//! The digest of a tree, version 2 of ZooKeeper: the sum (wrapping, 64 bits) over all znodes of
//! the CRC32 of path, data and Stat. It changes by the old and the new term of a changed znode, so
//! keeping it costs 60 bytes of CRC per change; servers that hold the same tree have the same one.
//!
//! Not covered: ACLs, sessions, and everything below `/zookeeper/` (quota nodes and the
//! configuration are written locally). The root counts with the empty path. The CRC of path and
//! data is kept in the znode, so that a change of the Stat of a parent does not read its data; so is
//! the term itself, so that a change computes only the new one.

use jute::data::StatPersisted;

use crate::path;

/// The version of the algorithm, as written into logs and snapshots.
pub const VERSION: i32 = jute::txn::TxnDigest::VERSION;

/// CRC32 of the first part of a term: path and data.
pub(crate) fn content_crc(path: &str, data: Option<&[u8]>) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    if path != path::ROOT {
        crc.update(path.as_bytes());
    }
    crc.update(data.unwrap_or_default());
    crc.finalize()
}

/// The term in the sum of a znode with this path, [`content_crc`] and Stat.
pub(crate) fn term(path: &str, content_crc: u32, stat: &StatPersisted) -> u32 {
    if path.strip_prefix(path::ZOOKEEPER).is_some_and(|rest| rest.starts_with('/')) {
        return 0;
    }
    let mut bytes = [0; 60];
    bytes[0..8].copy_from_slice(&stat.czxid.to_be_bytes());
    bytes[8..16].copy_from_slice(&stat.mzxid.to_be_bytes());
    bytes[16..24].copy_from_slice(&stat.pzxid.to_be_bytes());
    bytes[24..32].copy_from_slice(&stat.ctime_ms.to_be_bytes());
    bytes[32..40].copy_from_slice(&stat.mtime_ms.to_be_bytes());
    bytes[40..44].copy_from_slice(&stat.version.to_be_bytes());
    bytes[44..48].copy_from_slice(&stat.cversion.to_be_bytes());
    bytes[48..52].copy_from_slice(&stat.aversion.to_be_bytes());
    bytes[52..60].copy_from_slice(&stat.ephemeral_owner.to_be_bytes());
    let mut crc = crc32fast::Hasher::new_with_initial(content_crc);
    crc.update(&bytes);
    crc.finalize()
}

/// The sum after a znode's term has changed; 0 stands for no znode.
pub(crate) fn exchange(sum: u64, before: u32, after: u32) -> u64 {
    sum.wrapping_sub(u64::from(before)).wrapping_add(u64::from(after))
}
