//! Quorum arithmetic against brute force.

use std::collections::BTreeSet;

use proptest::prelude::*;
use zab::{Ensemble, Membership, ServerId};

fn members() -> impl Strategy<Value = Vec<(ServerId, Membership)>> {
    prop::collection::btree_map(1_u64..12, prop::bool::ANY, 1..10)
        .prop_filter("someone must vote", |members| members.values().any(|voter| *voter))
        .prop_map(|members| {
            let membership = |voter| {
                if voter { Membership::Voter } else { Membership::Observer }
            };
            members.into_iter().map(|(id, voter)| (ServerId(id), membership(voter))).collect()
        })
}

proptest! {
    #[test]
    fn a_quorum_is_more_than_half_of_the_voters(
        members in members(),
        ids in prop::collection::vec((1_u64..14).prop_map(ServerId), 0..20),
    ) {
        let ensemble = Ensemble::new(members.clone());
        let voters: Vec<_> =
            members.iter().filter(|(_, m)| *m == Membership::Voter).map(|(id, _)| *id).collect();
        let heads = voters.iter().filter(|voter| ids.contains(voter)).count();
        prop_assert_eq!(ensemble.is_quorum(&ids), 2 * heads > voters.len());
    }

    #[test]
    fn any_two_quorums_share_a_voter(members in members()) {
        let ensemble = Ensemble::new(members.clone());
        let ids: Vec<ServerId> = members.iter().map(|(id, _)| *id).collect();
        let quorums: Vec<BTreeSet<ServerId>> = (0_u32..1 << ids.len())
            .map(|bits| {
                let chosen = ids.iter().enumerate().filter(|(i, _)| bits & (1 << i) != 0);
                chosen.map(|(_, id)| *id).collect::<BTreeSet<_>>()
            })
            .filter(|chosen| ensemble.is_quorum(chosen))
            .collect();
        for (position, a) in quorums.iter().enumerate() {
            for b in quorums.iter().skip(position) {
                prop_assert!(a.intersection(b).any(|id| ensemble.is_voter(*id)));
            }
        }
    }
}
