//! A read is answered before later writes of its own session are applied.
//!
//! Reads wait at the shard, writes are applied by the core, and between two writes of one session there may be reads.
//! Before such a write is applied the core lets the shard catch up: hear of all that is applied, and answer the reads
//! that waited for it. That costs nothing where nobody pipelines reads between writes, and one exchange for all
//! sessions of a shard otherwise, not one for each write: after it the shard is up to date for everyone.

use std::collections::BTreeSet;

use crate::request::{Client, ConnectionId, ShardId};

/// Clients kept by name; beyond that all of a shard's clients count as behind.
const NAMED_MAX: usize = 10_000;

/// Which clients of one shard may wait for an answer that the shard was sent, but may not have heard of.
#[derive(Debug)]
enum Behind {
    /// Any of them.
    Anyone,
    /// These.
    Only(BTreeSet<ConnectionId>),
}

/// What the core knows of how far the shards have caught up.
#[derive(Debug, Default)]
pub(crate) struct ReadOrder {
    /// By shard; one that is missing has never caught up.
    behind: Vec<Behind>,
}

impl ReadOrder {
    /// A client is being told what came of a write or a `sync`.
    pub(crate) fn answered(&mut self, client: Client) {
        let Some(behind) = self.behind.get_mut(usize::from(client.shard.0)) else { return };
        if let Behind::Only(named) = behind {
            named.insert(client.connection);
            if named.len() > NAMED_MAX {
                *behind = Behind::Anyone;
            }
        }
    }

    /// Whether the client's reads behind what it was told last are answered.
    pub(crate) fn is_caught_up(&self, client: Client) -> bool {
        match self.behind.get(usize::from(client.shard.0)) {
            None | Some(Behind::Anyone) => false,
            Some(Behind::Only(named)) => !named.contains(&client.connection),
        }
    }

    /// The shard is asked to catch up: by the time it says that it has, it has heard of everything so far. What it is
    /// told meanwhile counts for the next time.
    pub(crate) fn asked(&mut self, shard: ShardId) {
        let index = usize::from(shard.0);
        while self.behind.len() <= index {
            self.behind.push(Behind::Anyone);
        }
        self.behind[index] = Behind::Only(BTreeSet::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(shard: u16, connection: u64) -> Client {
        Client { shard: ShardId(shard), connection: ConnectionId(connection) }
    }

    #[test]
    fn a_client_is_behind_from_its_answer_until_its_shard_has_caught_up() {
        let mut order = ReadOrder::default();
        assert!(!order.is_caught_up(client(1, 7)), "nothing is known yet");
        order.asked(ShardId(1));
        assert!(order.is_caught_up(client(1, 7)));
        assert!(!order.is_caught_up(client(0, 7)), "another shard");
        order.answered(client(1, 7));
        assert!(!order.is_caught_up(client(1, 7)));
        assert!(order.is_caught_up(client(1, 8)));
        order.asked(ShardId(1));
        assert!(order.is_caught_up(client(1, 7)));
    }

    #[test]
    fn beyond_the_bound_everyone_counts_as_behind() {
        let mut order = ReadOrder::default();
        order.asked(ShardId(0));
        for connection in 0..=NAMED_MAX as u64 {
            order.answered(client(0, connection));
        }
        assert!(!order.is_caught_up(client(0, u64::MAX)));
    }
}
