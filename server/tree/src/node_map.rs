//! The map from paths to znodes, built for two things at once: one lookup costs a hash and a few
//! dependent loads, and the whole map can be frozen in time that does not depend on its writers.
//!
//! Three levels, all behind `Arc`: chunks of buckets, buckets of znodes, znodes. A frozen map is a
//! copy of the top level, one reference count per chunk (about 30 for 10⁶ znodes). A later write
//! copies what it touches and only that: a chunk (256 counts), a bucket (some 130 counts) and the
//! znode. So the frozen map stays as it was, and neither side ever waits for the other.
//!
//! Buckets grow with the map by linear hashing: every insertion may split one bucket, so there is
//! no moment at which everything is rehashed.
//!
//! The order of hashing never shows: there is no iteration here.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::quality::FixedState;
use hashbrown::HashTable;

use crate::node::Znode;

/// Buckets per chunk: as many counts are touched by the first write to a chunk after a freeze.
const CHUNK: usize = 256;
/// Znodes per bucket, on average. More makes the upper levels smaller (they should stay in the
/// processor's cache), less makes the first write to a bucket after a freeze cheaper.
const LOAD: usize = 128;

#[derive(Clone, Default)]
struct Bucket {
    table: HashTable<Slot>,
}

/// The hash is kept to split and grow without touching the znodes.
#[derive(Clone)]
struct Slot {
    hash: u64,
    node: Arc<Znode>,
}

impl Slot {
    fn is(&self, hash: u64, path: &str) -> bool {
        self.hash == hash && *self.node.path == *path
    }
}

/// A persistent hash map of znodes by path. `clone` is a freeze.
#[derive(Clone)]
pub(crate) struct NodeMap {
    chunks: Vec<Arc<Vec<Arc<Bucket>>>>,
    buckets: usize,
    len: usize,
    hasher: FixedState,
}

impl NodeMap {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            chunks: vec![Arc::new(vec![Arc::default()])],
            buckets: 1,
            len: 0,
            hasher: FixedState::with_seed(seed),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The hash that the lookups of this map and of its copies use.
    #[inline]
    pub(crate) fn hash(&self, path: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(path.as_bytes());
        hasher.finish()
    }

    /// The bucket of a hash. It uses bits 32 and up; the table inside uses the low bits and the
    /// highest seven, so that the two choices stay independent.
    #[inline]
    fn bucket_of(&self, hash: u64) -> usize {
        let bits = (hash >> 32) as usize;
        // `buckets` lies in (limit / 2, limit]: those not split yet in this round take two shares.
        let limit = self.buckets.next_power_of_two();
        let bucket = bits & (limit - 1);
        if bucket < self.buckets { bucket } else { bits & (limit / 2 - 1) }
    }

    #[inline]
    fn bucket(&self, hash: u64) -> &Bucket {
        let bucket = self.bucket_of(hash);
        &self.chunks[bucket / CHUNK][bucket % CHUNK]
    }

    fn bucket_mut(&mut self, bucket: usize) -> &mut Bucket {
        let chunk = Arc::make_mut(&mut self.chunks[bucket / CHUNK]);
        Arc::make_mut(&mut chunk[bucket % CHUNK])
    }

    #[inline]
    pub(crate) fn get(&self, path: &str) -> Option<&Znode> {
        self.get_shared(path).map(|node| &**node)
    }

    #[inline]
    pub(crate) fn get_shared(&self, path: &str) -> Option<&Arc<Znode>> {
        self.get_hashed(self.hash(path), path)
    }

    /// As [`get_shared`](Self::get_shared), for a caller that knows the hash.
    #[inline]
    pub(crate) fn get_hashed(&self, hash: u64, path: &str) -> Option<&Arc<Znode>> {
        let slot = self.bucket(hash).table.find(hash, |slot| slot.is(hash, path))?;
        Some(&slot.node)
    }

    /// The znode, for a change: copied first when a frozen map shares it.
    pub(crate) fn get_mut(&mut self, path: &str) -> Option<&mut Znode> {
        let hash = self.hash(path);
        let bucket = self.bucket_of(hash);
        let slot = self.bucket_mut(bucket).table.find_mut(hash, |slot| slot.is(hash, path))?;
        Some(Arc::make_mut(&mut slot.node))
    }

    /// Adds a znode whose path is not in the map.
    pub(crate) fn insert_new(&mut self, node: Znode) {
        let hash = self.hash(&node.path);
        let bucket = self.bucket_of(hash);
        let slot = Slot { hash, node: Arc::new(node) };
        let table = &mut self.bucket_mut(bucket).table;
        assert!(
            table.find(hash, |other| other.is(hash, &slot.node.path)).is_none(),
            "znode {} is inserted twice",
            slot.node.path
        );
        table.insert_unique(hash, slot, |slot| slot.hash);
        self.len += 1;
        if self.len > self.buckets * LOAD {
            self.split_one();
        }
    }

    pub(crate) fn remove(&mut self, path: &str) -> Option<Arc<Znode>> {
        let hash = self.hash(path);
        let bucket = self.bucket_of(hash);
        let table = &mut self.bucket_mut(bucket).table;
        let slot = table.find_entry(hash, |slot| slot.is(hash, path)).ok()?.remove().0;
        if table.len() * 8 < table.capacity() {
            table.shrink_to(table.len() * 2, |slot| slot.hash);
        }
        self.len -= 1;
        Some(slot.node)
    }

    /// One step of linear hashing: the next bucket of the round gives half its znodes to a new one.
    fn split_one(&mut self) {
        let new = self.buckets;
        // With 2^k buckets a new round begins at bucket 0.
        let half = if new.is_power_of_two() { new } else { new.next_power_of_two() / 2 };
        let moves = |slot: &mut Slot| (slot.hash >> 32) as usize & (half * 2 - 1) == new;
        let old = &mut self.bucket_mut(new - half).table;
        let moved: Vec<Slot> = old.extract_if(moves).collect();
        let mut table = HashTable::with_capacity(moved.len());
        for slot in moved {
            table.insert_unique(slot.hash, slot, |slot| slot.hash);
        }
        let bucket = Arc::new(Bucket { table });
        if new.is_multiple_of(CHUNK) {
            self.chunks.push(Arc::new(vec![bucket]));
        } else {
            Arc::make_mut(&mut self.chunks[new / CHUNK]).push(bucket);
        }
        self.buckets += 1;
    }
}

#[cfg(test)]
mod tests {
    use jute::data::StatPersisted;

    use super::*;

    fn znode(path: &str, version: i32) -> Znode {
        let stat = StatPersisted {
            czxid: 0,
            mzxid: 0,
            ctime_ms: 0,
            mtime_ms: 0,
            version,
            cversion: 0,
            aversion: 0,
            ephemeral_owner: 0,
            pzxid: 0,
        };
        Znode {
            path: path.into(),
            data: None,
            children: None,
            acl: -1,
            stat,
            content_crc: 0,
            term: 0,
        }
    }

    fn path(i: usize) -> String {
        format!("/dir-{}/node-{i}", i % 7)
    }

    #[test]
    fn a_map_finds_what_it_holds_while_it_grows_over_many_chunks() {
        let mut map = NodeMap::new(42);
        let count = CHUNK * LOAD * 3 + 17;
        for i in 0..count {
            map.insert_new(znode(&path(i), 0));
        }
        assert_eq!(map.len(), count);
        assert!(map.chunks.len() >= 3);
        for i in 0..count {
            assert_eq!(map.get(&path(i)).unwrap().path(), path(i));
        }
        assert!(map.get(&path(count)).is_none());
        for i in (0..count).step_by(2) {
            assert_eq!(map.remove(&path(i)).unwrap().path(), path(i));
            assert!(map.remove(&path(i)).is_none());
        }
        for i in 0..count {
            assert_eq!(map.get(&path(i)).is_some(), i % 2 == 1);
        }
    }

    #[test]
    fn a_frozen_map_does_not_see_later_writes_and_copies_only_what_they_touch() {
        let mut map = NodeMap::new(7);
        let count = CHUNK * LOAD * 2;
        for i in 0..count {
            map.insert_new(znode(&path(i), 0));
        }
        let frozen = map.clone();
        map.get_mut(&path(3)).unwrap().stat.version = 9;
        map.remove(&path(4)).unwrap();
        map.insert_new(znode("/new", 0));
        assert_eq!(frozen.get(&path(3)).unwrap().stat.version, 0);
        assert!(frozen.get(&path(4)).is_some());
        assert!(frozen.get("/new").is_none());
        let shared = (0..count)
            .filter_map(|i| Some((map.get_shared(&path(i))?, frozen.get_shared(&path(i))?)))
            .filter(|(ours, theirs)| Arc::ptr_eq(ours, theirs))
            .count();
        assert_eq!(shared, count - 2);
    }
}
