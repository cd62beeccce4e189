//! Which request comes next.

use crate::ledger::Ledger;
use crate::requests::Request;
use crate::workload::{Operation, Workload};

/// Picks the next request.
pub(super) struct Chooser {
    deck: Vec<Operation>,
    keys: u32,
    random: u64,
    stamps: u64,
}

impl Chooser {
    pub(super) fn new(workload: &Workload) -> Self {
        Self {
            deck: workload.mix.deck(),
            keys: workload.keys,
            random: 0x9e37_79b9_7f4a_7c15,
            stamps: 0,
        }
    }

    pub(super) fn choose(&mut self, session: usize, ledger: &mut Ledger) -> Request {
        let random = self.next_random();
        let below = |bits: u64, limit: u64| ((bits & 0xffff_ffff) * limit) >> 32;
        let card = below(random, self.deck.len() as u64) as usize;
        match self.deck[card] {
            Operation::Create => create(ledger),
            Operation::Delete => match ledger.take_created(session) {
                Some(number) => Request { operation: Operation::Delete, target: number, stamp: 0 },
                None => create(ledger),
            },
            operation => {
                self.stamps += 1;
                Request {
                    operation,
                    target: below(random >> 32, u64::from(self.keys)) as u32,
                    stamp: self.stamps,
                }
            }
        }
    }

    /// Marsaglia's xorshift64: every run draws the same numbers.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

fn create(ledger: &mut Ledger) -> Request {
    let number = ledger.next_number();
    Request { operation: Operation::Create, target: number, stamp: number.into() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::workload::{Mix, Pace, PathShape};

    fn chooser(mix: &str) -> Chooser {
        Chooser::new(&Workload {
            mix: mix.parse::<Mix>().unwrap(),
            sessions: 1,
            pace: Pace::Outstanding(1),
            value_bytes: 8,
            keys: 10,
            paths: PathShape::Short,
            warm_up: Duration::ZERO,
            measured: Duration::from_secs(1),
        })
    }

    #[test]
    fn operations_come_in_their_shares_and_all_keys_alike() {
        let (mut chooser, mut ledger) = (chooser("90/10"), Ledger::new(10, 1));
        let mut reads = 0;
        let mut keys = [0; 10];
        for _ in 0..100_000 {
            let request = chooser.choose(0, &mut ledger);
            reads += u32::from(request.operation == Operation::Get);
            keys[request.target as usize] += 1;
        }
        assert!((89_000..91_000).contains(&reads), "{reads}");
        assert!(keys.iter().all(|count| (9_500..10_500).contains(count)), "{keys:?}");
    }

    #[test]
    fn only_what_was_created_is_deleted_and_once() {
        let (mut chooser, mut ledger) = (chooser("delete"), Ledger::new(10, 1));
        let created = chooser.choose(0, &mut ledger);
        assert_eq!(created.operation, Operation::Create);
        assert_eq!(chooser.choose(0, &mut ledger).operation, Operation::Create);
        ledger.acknowledge_create(0, created.target);
        let deleted = chooser.choose(0, &mut ledger);
        assert_eq!(deleted.operation, Operation::Delete);
        assert_eq!(deleted.target, created.target);
        assert_eq!(chooser.choose(0, &mut ledger).operation, Operation::Create);
    }
}
