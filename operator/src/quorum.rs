//! Arithmetic of majorities and zones.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Id of a server, 1 to 255, unique in its ensemble for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServerId(pub u8);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The smallest number of `voters` that any other such number overlaps.
pub fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// The most voters that a zone may hold if its loss is to leave a majority of `voters`.
pub fn zone_max(voters: usize) -> usize {
    voters.saturating_sub(majority(voters))
}

/// `voters` spread over `zones` as evenly as can be; the first zones hold one more.
pub fn spread(voters: usize, zones: usize) -> Vec<usize> {
    (0..zones).map(|zone| voters / zones + usize::from(zone < voters % zones)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_that_holds_zone_max_can_be_lost_and_one_more_cannot() {
        for voters in 1..=11 {
            assert!(voters - zone_max(voters) >= majority(voters));
            assert!(voters - (zone_max(voters) + 1) < majority(voters));
        }
    }

    #[test]
    fn zone_max_of_an_odd_count_is_half_of_what_remains_without_one() {
        for voters in (1..=11).step_by(2) {
            assert_eq!(zone_max(voters), (voters - 1) / 2);
            assert_eq!(zone_max(voters), voters.div_ceil(2) - 1);
        }
    }

    #[test]
    fn a_spread_loses_nobody_and_differs_by_at_most_one() {
        for voters in 1..=11 {
            for zones in 1..=voters {
                let spread = spread(voters, zones);
                assert_eq!(spread.iter().sum::<usize>(), voters);
                assert!(spread.iter().max().unwrap() - spread.iter().min().unwrap() <= 1);
            }
        }
    }
}
