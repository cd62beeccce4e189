//! Who belongs to the ensemble, and what a majority of it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The id of one server (`myid`), 1 to 255 in a valid configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u64);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a member may do in the quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Membership {
    /// Votes in elections and its acks count.
    Voter,
    /// Learns what was committed; never counted.
    Observer,
}

/// The members of the ensemble under one configuration version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensemble {
    members: BTreeMap<ServerId, Membership>,
    voters: BTreeSet<ServerId>,
}

impl Ensemble {
    /// From the configured members.
    ///
    /// # Panics
    /// When there is no voter: such an ensemble cannot decide anything, the configuration parser refuses it.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = (ServerId, Membership)>) -> Self {
        let members: BTreeMap<_, _> = members.into_iter().collect();
        let voters: BTreeSet<_> =
            members.iter().filter(|(_, m)| **m == Membership::Voter).map(|(id, _)| *id).collect();
        assert!(!voters.is_empty(), "an ensemble needs at least one voter");
        Self { members, voters }
    }

    /// All members, in order of id.
    pub fn members(&self) -> impl Iterator<Item = (ServerId, Membership)> + '_ {
        self.members.iter().map(|(id, membership)| (*id, *membership))
    }

    /// The voters, in order of id.
    #[must_use]
    pub fn voters(&self) -> &BTreeSet<ServerId> {
        &self.voters
    }

    /// Whether `id` has a vote.
    #[must_use]
    pub fn is_voter(&self, id: ServerId) -> bool {
        self.voters.contains(&id)
    }

    /// How many voters make a majority.
    #[must_use]
    pub fn majority_len(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// Whether the voters among `ids` are a majority. Observers and strangers do not count (ZOOKEEPER-2959).
    #[must_use]
    pub fn is_quorum<'a>(&self, ids: impl IntoIterator<Item = &'a ServerId>) -> bool {
        let distinct: BTreeSet<_> = ids.into_iter().filter(|id| self.voters.contains(id)).collect();
        distinct.len() >= self.majority_len()
    }
}
