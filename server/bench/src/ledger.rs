//! What a server has acknowledged, so that it can be held to it.

use std::collections::{BTreeSet, VecDeque};

/// The newest acknowledged write of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyWrite {
    /// The zxid of the write, from the `mzxid` it was answered with.
    pub zxid: i64,
    /// The beginning of the value written.
    pub stamp: u64,
}

/// The acknowledged writes of a run, and those that may or may not have happened.
#[derive(Debug)]
pub struct Ledger {
    keys: Vec<Option<KeyWrite>>,
    created: Vec<VecDeque<u32>>,
    doubtful_keys: BTreeSet<u32>,
    doubtful_created: Vec<u32>,
    next_number: u32,
}

impl Ledger {
    /// Nothing was written yet.
    #[must_use]
    pub fn new(keys: u32, sessions: usize) -> Self {
        Self {
            keys: vec![None; keys as usize],
            created: vec![VecDeque::new(); sessions],
            doubtful_keys: BTreeSet::new(),
            doubtful_created: Vec::new(),
            next_number: 0,
        }
    }

    /// A number for a znode to create, never given before.
    pub fn next_number(&mut self) -> u32 {
        self.next_number += 1;
        self.next_number
    }

    /// Takes the oldest znode that `session` has created, for deletion.
    pub fn take_created(&mut self, session: usize) -> Option<u32> {
        self.created[session].pop_front()
    }

    /// A set was acknowledged. Writes of several sessions may be told in any order: the zxid says
    /// which is the newest.
    pub fn acknowledge_set(&mut self, key: u32, write: KeyWrite) {
        let newest = &mut self.keys[key as usize];
        if newest.is_none_or(|newest| newest.zxid < write.zxid) {
            *newest = Some(write);
        }
    }

    /// A create was acknowledged.
    pub fn acknowledge_create(&mut self, session: usize, number: u32) {
        self.created[session].push_back(number);
    }

    /// A set was sent but never answered: the key may hold its value.
    pub fn doubt_set(&mut self, key: u32) {
        self.doubtful_keys.insert(key);
    }

    /// A create or delete was sent but never answered.
    pub fn doubt_created(&mut self, number: u32) {
        self.doubtful_created.push(number);
    }

    /// The keys whose newest write is known, with that write.
    pub fn written_keys(&self) -> impl Iterator<Item = (u32, KeyWrite)> {
        (0..)
            .zip(&self.keys)
            .filter(|(key, _)| !self.doubtful_keys.contains(key))
            .filter_map(|(key, write)| Some((key, (*write)?)))
    }

    /// The numbers of the znodes that must exist.
    pub fn existing(&self) -> impl Iterator<Item = u32> {
        self.created.iter().flatten().copied()
    }

    /// The numbers of the znodes that may exist: what has to be deleted to leave none behind.
    pub fn may_exist(&self) -> impl Iterator<Item = u32> {
        self.existing().chain(self.doubtful_created.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_write_with_the_largest_zxid_is_what_a_key_must_hold() {
        let mut ledger = Ledger::new(3, 1);
        for (key, zxid, stamp) in [(1, 10, 1), (1, 12, 2), (1, 11, 3), (2, 13, 4)] {
            ledger.acknowledge_set(key, KeyWrite { zxid, stamp });
        }
        ledger.doubt_set(2);
        let known: Vec<_> = ledger.written_keys().collect();
        assert_eq!(known, [(1, KeyWrite { zxid: 12, stamp: 2 })]);
    }

    #[test]
    fn a_znode_of_doubtful_fate_need_not_exist_but_is_cleaned_up() {
        let mut ledger = Ledger::new(1, 2);
        ledger.acknowledge_create(0, 5);
        ledger.acknowledge_create(1, 6);
        assert_eq!(ledger.take_created(0), Some(5));
        assert_eq!(ledger.take_created(0), None);
        ledger.doubt_created(5);
        assert_eq!(ledger.existing().collect::<Vec<_>>(), [6]);
        assert_eq!(ledger.may_exist().collect::<Vec<_>>(), [6, 5]);
    }
}
