//! What must hold after every step, whatever happens to servers, disks and links.

use std::collections::BTreeMap;

use bytes::Bytes;
use zab::{Epoch, ServerId, Zxid};

use crate::disk::History;

/// The history of the world as an outside observer knows it.
#[derive(Debug, Default)]
pub(crate) struct Ghost {
    /// Every transaction that any serving peer delivered, in order.
    pub(crate) committed: History,
    leaders: BTreeMap<Epoch, ServerId>,
}

impl Ghost {
    /// Leadership2: an epoch never has two established leaders. LeaderLogCompleteness: an established leader has all
    /// that was committed before. And a majority has adopted the epoch on disk: `adopted` disks did.
    pub(crate) fn on_leader(
        &mut self,
        id: ServerId,
        epoch: Epoch,
        state: &[(Zxid, Bytes)],
        adopted: usize,
        majority: usize,
    ) {
        let first = *self.leaders.entry(epoch).or_insert(id);
        assert_eq!(first, id, "two leaders of epoch {epoch}");
        assert!(adopted >= majority, "only {adopted} disks adopted epoch {epoch} of s{id}");
        assert!(state.len() >= self.committed.len(), "s{id} leads without all that is committed");
    }

    /// PrefixConsistency: what a serving peer's state machine holds is what the others hold. `copies` counts the disks
    /// that hold a zxid, `majority` of which make it durable.
    pub(crate) fn on_served(
        &mut self,
        id: ServerId,
        state: &[(Zxid, Bytes)],
        copies: impl Fn(Zxid) -> usize,
        majority: usize,
    ) {
        // Only the end can be new or wrong: the rest was checked when it was the end.
        for (position, entry) in
            state.iter().enumerate().skip(self.committed.len().min(state.len().saturating_sub(1)))
        {
            match self.committed.get(position) {
                Some(known) => assert_eq!(known, entry, "s{id} delivered another transaction"),
                None => {
                    let held = copies(entry.0);
                    assert!(
                        held >= majority,
                        "{} is served but only {held} disks hold it",
                        entry.0
                    );
                    self.committed.push(entry.clone());
                }
            }
        }
    }

    /// As `on_served`, for a peer that begins to serve: all of it is compared.
    pub(crate) fn on_began_to_serve(
        &mut self,
        id: ServerId,
        state: &[(Zxid, Bytes)],
        copies: impl Fn(Zxid) -> usize,
        majority: usize,
    ) {
        for (known, entry) in self.committed.iter().zip(state) {
            assert_eq!(known, entry, "s{id} serves another transaction");
        }
        self.on_served(id, state, copies, majority);
    }

    /// CommittedLogDurability: a truncation never takes a committed transaction below a majority. (A learner may lose
    /// a copy that was not counted: the leader planned the cut before the others committed it.)
    pub(crate) fn on_truncate(
        &self,
        id: ServerId,
        history: &[(Zxid, Bytes)],
        after: Zxid,
        copies: impl Fn(Zxid) -> usize,
        majority: usize,
    ) {
        for (zxid, _) in history.iter().filter(|(zxid, _)| *zxid > after) {
            let committed = self.committed.iter().any(|(known, _)| known == zxid);
            assert!(!committed || copies(*zxid) > majority, "s{id} cuts committed {zxid}");
        }
    }
}
