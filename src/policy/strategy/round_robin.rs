//! Each server in turn.
//!
//! Every set of servers has a cursor of its own: with one for all, two sets that are called alternately would each see every
//! second number, and half of their servers would get nothing. The cursor is the position of the last choice, so that the
//! turn goes on from there when servers stop or start admitting.
//!
//! It sees neither speed nor failures. A server that is slower than its share asks for gathers a queue, and its callers wait in
//! it for as long as the pool's settings let it grow (`pool.inFlightMax` on each of `pool.max` connections).

use std::collections::HashMap;

use rand::RngExt;

use super::{Candidates, Pick, Strategy};

/// Sets of which the cursor is kept: at least the last 512 that were used, at most 1,024. Far more than the tool groups of
/// a troupe; what is forgotten begins at a random place.
const CURSORS_MAX: usize = 1024;

/// `round-robin`: each server of a set in turn, whatever its weight and load.
#[derive(Debug, Default)]
pub struct RoundRobin {
    /// Last choice by set, of the sets used since the maps last changed places.
    recent: HashMap<u64, usize>,
    /// Those used before that; forgotten when `recent` is full.
    older: HashMap<u64, usize>,
}

impl RoundRobin {
    fn last(&self, set: u64) -> Option<usize> {
        self.recent.get(&set).or_else(|| self.older.get(&set)).copied()
    }

    fn remember(&mut self, set: u64, position: usize) {
        if self.recent.len() >= CURSORS_MAX / 2 && !self.recent.contains_key(&set) {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(set, position);
    }
}

impl Strategy for RoundRobin {
    fn name(&self) -> &str {
        "round-robin"
    }

    fn pick(&mut self, candidates: &dyn Candidates, pick: Pick<'_>) -> Option<usize> {
        if candidates.is_empty() {
            return None;
        }
        let len = candidates.len();
        // A random start: were it the first server, it would get one call more of each set.
        let last = self.last(pick.set).unwrap_or_else(|| pick.rng.random_range(0..len));
        let picked =
            (1..=len).map(|step| (last + step) % len).find(|index| candidates.get(*index).is_some())?;
        self.remember(pick.set, picked);
        Some(picked)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Strategy;
    use super::super::tests::{Servers, rng};
    use super::*;
    use proptest::prelude::*;
    use rand::rngs::SmallRng;
    use tokio::time::Instant;

    fn pick(strategy: &mut RoundRobin, servers: &Servers, set: u64, rng: &mut SmallRng) -> Option<usize> {
        strategy.pick(servers, Pick { set, key: None, now: Instant::now(), rng })
    }

    #[test]
    fn fault_c7_two_groups_called_alternately_use_all_their_servers() {
        let (mut strategy, mut rng) = (RoundRobin::default(), rng(1));
        let (one, two) = (Servers::fresh(2), Servers::fresh(2));
        let mut counts = [[0; 2]; 2];
        for _ in 0..100 {
            counts[0][pick(&mut strategy, &one, 1, &mut rng).unwrap()] += 1;
            counts[1][pick(&mut strategy, &two, 2, &mut rng).unwrap()] += 1;
        }
        assert_eq!(counts, [[50, 50], [50, 50]]);
    }

    #[test]
    fn a_server_that_comes_back_does_not_disturb_the_turn_of_the_others() {
        let (mut strategy, mut rng) = (RoundRobin::default(), rng(2));
        let mut servers = Servers::fresh(3);
        while pick(&mut strategy, &servers, 1, &mut rng) != Some(0) {}
        servers.admits[1] = false;
        assert_eq!(pick(&mut strategy, &servers, 1, &mut rng), Some(2));
        servers.admits[1] = true;
        assert_eq!(pick(&mut strategy, &servers, 1, &mut rng), Some(0));
        assert_eq!(pick(&mut strategy, &servers, 1, &mut rng), Some(1));
    }

    #[test]
    fn the_turn_survives_a_list_that_became_shorter() {
        let (mut strategy, mut rng) = (RoundRobin::default(), rng(3));
        while pick(&mut strategy, &Servers::fresh(9), 1, &mut rng) != Some(8) {}
        assert!(pick(&mut strategy, &Servers::fresh(2), 1, &mut rng).unwrap() < 2);
    }

    #[test]
    fn cursors_are_bounded_and_a_set_in_use_keeps_its_own() {
        let (mut strategy, mut rng) = (RoundRobin::default(), rng(4));
        let servers = Servers::fresh(2);
        let mut expected = pick(&mut strategy, &servers, 0, &mut rng).unwrap();
        for set in 1..10_000 {
            pick(&mut strategy, &servers, set, &mut rng);
            expected = 1 - expected;
            assert_eq!(pick(&mut strategy, &servers, 0, &mut rng), Some(expected));
            assert!(strategy.recent.len() + strategy.older.len() <= CURSORS_MAX);
        }
    }

    #[test]
    fn a_pick_looks_at_few_of_many_servers() {
        let (mut strategy, mut rng) = (RoundRobin::default(), rng(5));
        let servers = Servers::fresh(3000);
        (0..1000).for_each(|_| assert!(pick(&mut strategy, &servers, 1, &mut rng).is_some()));
        assert_eq!(servers.looks.get(), 1000);
    }

    proptest! {
        #[test]
        fn shares_differ_by_at_most_one_over_a_stable_set(
            before in prop::collection::vec(any::<bool>(), 1..20),
            admits in prop::collection::vec(any::<bool>(), 1..20),
            picks in 0usize..200,
            seed in any::<u64>(),
        ) {
            let (mut strategy, mut rng) = (RoundRobin::default(), rng(seed));
            let mut servers = Servers::fresh(before.len());
            servers.admits = before;
            (0..7).for_each(|_| { pick(&mut strategy, &servers, 1, &mut rng); });
            let mut servers = Servers::fresh(admits.len());
            servers.admits = admits.clone();
            let mut counts = vec![0; admits.len()];
            for _ in 0..picks {
                if let Some(picked) = pick(&mut strategy, &servers, 1, &mut rng) {
                    counts[picked] += 1;
                }
            }
            let counts: Vec<i32> = counts.into_iter().zip(&admits).filter(|(_, a)| **a).map(|(n, _)| n).collect();
            if let (Some(least), Some(most)) = (counts.iter().min(), counts.iter().max()) {
                prop_assert!(most - least <= 1);
                prop_assert_eq!(counts.iter().sum::<i32>(), picks as i32);
            }
        }
    }
}
