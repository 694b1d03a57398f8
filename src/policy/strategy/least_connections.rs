//! The server with the fewest calls in flight for its weight.
//!
//! It counts nothing itself: the counts are the router's, taken at the moment of the choice and given back at every kind of end,
//! so a burst spreads and switching strategies leaves nothing behind. It does not see failures: one that fails fast looks idle
//! and draws calls until its breaker opens, so `peak-ewma` is the better choice where that happens.

use std::cmp::Ordering;

use rand::RngExt;

use super::{Candidate, Candidates, Pick, Strategy};

/// `least-connections`: fewest calls in flight in proportion to the weight; among equals a draw by weight, so that also
/// idle servers share in proportion.
#[derive(Debug, Default, Clone, Copy)]
pub struct LeastConnections;

/// Compares `in_flight / weight` without dividing.
fn compare(a: &Candidate<'_>, b: &Candidate<'_>) -> Ordering {
    let scaled =
        |x: &Candidate<'_>, other: &Candidate<'_>| x.in_flight as u128 * u128::from(other.weight.max(1));
    scaled(a, b).cmp(&scaled(b, a))
}

impl Strategy for LeastConnections {
    fn name(&self) -> &str {
        "least-connections"
    }

    fn pick(&mut self, candidates: &dyn Candidates, pick: Pick<'_>) -> Option<usize> {
        let mut least: Option<(usize, Candidate<'_>)> = None;
        // Weights of all the equals so far: each replaces the choice with its share of them.
        let mut weights = 0;
        for (index, candidate) in candidates.admitting() {
            let weight = u64::from(candidate.weight.max(1));
            match least.as_ref().map_or(Ordering::Less, |(_, least)| compare(&candidate, least)) {
                Ordering::Greater => continue,
                Ordering::Less => weights = weight,
                Ordering::Equal => {
                    weights += weight;
                    if pick.rng.random_range(0..weights) >= weight {
                        continue;
                    }
                }
            }
            least = Some((index, candidate));
        }
        least.map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Servers, rng, tally};
    use super::*;
    use crate::policy::strategy::Strategies;
    use tokio::time::Instant;

    fn pick(servers: &Servers, rng: &mut dyn rand::Rng) -> usize {
        LeastConnections.pick(servers, Pick { set: 0, key: None, now: Instant::now(), rng }).unwrap()
    }

    #[test]
    fn the_least_busy_server_gets_the_call() {
        let mut servers = Servers::fresh(3);
        servers.in_flight = vec![3, 1, 2];
        assert_eq!(pick(&servers, &mut rng(1)), 1);
        servers.admits[1] = false;
        assert_eq!(pick(&servers, &mut rng(1)), 2);
    }

    #[test]
    fn a_heavier_server_may_be_busier() {
        let mut servers = Servers::fresh(2);
        servers.weights = vec![100, 300];
        servers.in_flight = vec![2, 5];
        assert_eq!(pick(&servers, &mut rng(1)), 1);
        servers.in_flight = vec![1, 4];
        assert_eq!(pick(&servers, &mut rng(1)), 0);
    }

    #[test]
    fn fault_c8_a_burst_spreads_evenly() {
        let mut servers = Servers::fresh(4);
        let mut rng = rng(1);
        for _ in 0..40 {
            let picked = pick(&servers, &mut rng);
            servers.in_flight[picked] += 1;
        }
        assert_eq!(servers.in_flight, [10; 4]);
    }

    #[test]
    fn fault_c8_ties_do_not_all_go_to_the_first() {
        let counts = tally(&mut LeastConnections, &Servers::fresh(4), 4000);
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn fault_c8_switching_strategies_leaves_no_counts() {
        let mut strategies = Strategies::with_builtin();
        let mut servers = Servers::fresh(2);
        let mut rng = rng(1);
        strategies.select("least-connections").unwrap();
        for _ in 0..10 {
            let pick = Pick { set: 0, key: None, now: Instant::now(), rng: &mut rng };
            let picked = strategies.active().pick(&servers, pick).unwrap();
            servers.in_flight[picked] += 1;
        }
        strategies.select("round-robin").unwrap();
        // All ten calls end while another strategy is active.
        servers.in_flight = vec![0, 0];
        strategies.select("least-connections").unwrap();
        let counts = tally(strategies.active(), &servers, 1000);
        assert!(counts.iter().all(|count| (400..600).contains(count)), "{counts:?}");
    }

    #[test]
    fn idle_servers_share_by_weight() {
        let mut servers = Servers::fresh(2);
        servers.weights = vec![1, 3];
        let counts = tally(&mut LeastConnections, &servers, 4000);
        assert!((2850..3150).contains(&counts[1]), "{counts:?}");
    }
}
