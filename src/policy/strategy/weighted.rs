//! A random draw by weight: what the operator says a server can take, times how good it proves to be.
//!
//! Both factors lie between 1 and 1,000, so that neither a very fast server takes everything nor a bad one is cut off from
//! ever proving better. The merit is relative to the fastest candidate: an absolute scale would stop telling servers apart
//! where all are much faster, or much slower, than the scale's author thought of.
//!
//! It goes by calls that have ended, and slowly: a server that began to fail may still have half of its share 20 s later, since
//! its good calls before that weigh as much, and one that hangs keeps all of it until its calls end. Breakers and deadlines
//! guard against both; `peak-ewma` sees them itself.

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use super::{Candidate, Candidates, Pick, Strategy};
use crate::config::WEIGHT_MAX;

/// The best merit.
const MERIT_MAX: f64 = 1000.0;

/// Latencies below this count as equal: what differs there is the noise of the machine.
const LATENCY_FLOOR: Duration = Duration::from_millis(1);

/// The speed of a server that never answered, as a share of the fastest one's: it is drawn often enough to prove itself
/// soon, and gets less than the proven ones until it has.
const UNPROVEN_SPEED: f64 = 0.5;

/// `weighted`: a random draw in proportion to weight × (1 − error rate) × speed.
#[derive(Debug, Default)]
pub struct Weighted {
    /// Admitting candidates and the sums of the weights up to each; empty between picks, kept for its memory.
    sums: Vec<(usize, u64)>,
}

/// How good a server proves to be beside the fastest one: 1 to 1,000.
fn merit(candidate: &Candidate<'_>, fastest: Option<Duration>, now: Instant) -> u64 {
    let speed = match (candidate.load.mean(), fastest) {
        (Some(mean), Some(fastest)) => {
            fastest.max(LATENCY_FLOOR).as_secs_f64() / mean.max(LATENCY_FLOOR).as_secs_f64()
        }
        (None, _) | (_, None) => UNPROVEN_SPEED,
    };
    let health = 1.0 - candidate.load.error_rate(now);
    (MERIT_MAX * health * speed).clamp(1.0, MERIT_MAX).round() as u64
}

impl Strategy for Weighted {
    fn name(&self) -> &str {
        "weighted"
    }

    fn pick(&mut self, candidates: &dyn Candidates, pick: Pick<'_>) -> Option<usize> {
        let fastest = candidates.admitting().filter_map(|(_, candidate)| candidate.load.mean()).min();
        self.sums.clear();
        let mut sum = 0;
        for (index, candidate) in candidates.admitting() {
            sum += u64::from(candidate.weight.clamp(1, WEIGHT_MAX)) * merit(&candidate, fastest, pick.now);
            self.sums.push((index, sum));
        }
        if self.sums.is_empty() {
            return None;
        }
        let drawn = pick.rng.random_range(0..sum);
        let position = self.sums.partition_point(|(_, sum)| *sum <= drawn);
        self.sums.get(position).map(|(index, _)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Strategy;
    use super::super::tests::{Servers, rng, tally, tally_at};
    use super::*;
    use crate::call::OutcomeClass::{Failure, Success};
    use proptest::prelude::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn configured_weights_are_respected_however_small() {
        let mut servers = Servers::fresh(3);
        servers.weights = vec![1, 2, 3];
        (0..3).for_each(|index| servers.observe(index, MS(5), Success));
        let counts = tally(&mut Weighted::default(), &servers, 6000);
        assert!((850..1150).contains(&counts[0]) && (2800..3200).contains(&counts[2]), "{counts:?}");
    }

    #[test]
    fn fault_c3_a_slower_server_gets_less() {
        let mut servers = Servers::fresh(2);
        servers.observe(0, MS(2000), Success);
        servers.observe(1, MS(500), Success);
        let counts = tally(&mut Weighted::default(), &servers, 5000);
        assert!((850..1150).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn fault_c4_a_failing_server_gets_less() {
        let mut servers = Servers::fresh(2);
        (0..10).for_each(|_| servers.observe(0, MS(5), Success));
        (0..10).for_each(|_| servers.observe(1, MS(5), Success));
        (0..20).for_each(|_| servers.observe(1, MS(5), Failure));
        let counts = tally(&mut Weighted::default(), &servers, 4000);
        assert!((900..1250).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn fault_c5_a_fast_server_does_not_take_everything_and_a_new_one_gets_its_chance() {
        let mut servers = Servers::fresh(3);
        servers.observe(0, Duration::from_nanos(1), Success);
        servers.observe(1, MS(1000), Success);
        let counts = tally(&mut Weighted::default(), &servers, 100_000);
        assert!((60_000..70_000).contains(&counts[0]), "{counts:?}");
        assert!((20..200).contains(&counts[1]), "{counts:?}");
        assert!((30_000..36_000).contains(&counts[2]), "{counts:?}");
    }

    #[test]
    fn fault_c5_a_dead_server_is_all_but_left_alone_until_time_has_passed() {
        let mut servers = Servers::fresh(2);
        (0..1000).for_each(|_| servers.observe(0, MS(5), Success));
        (0..1000).for_each(|_| servers.observe(1, MS(1), Failure));
        let counts = tally(&mut Weighted::default(), &servers, 10_000);
        assert!(counts[1] < 50, "{counts:?}");
        let later = servers.start + Duration::from_secs(600);
        let counts = tally_at(&mut Weighted::default(), &servers, 10_000, later);
        assert!(counts[1] > 3000, "{counts:?}");
    }

    proptest! {
        #[test]
        fn the_draw_is_in_proportion_to_the_weights(
            weights in prop::collection::vec(1u32..=1000, 1..12),
            seed in any::<u64>(),
        ) {
            let mut servers = Servers::fresh(weights.len());
            servers.weights = weights.clone();
            let (mut strategy, mut rng, draws) = (Weighted::default(), rng(seed), 2000);
            let mut counts = vec![0u32; weights.len()];
            for _ in 0..draws {
                let pick = Pick { set: 0, key: None, now: servers.start, rng: &mut rng };
                counts[strategy.pick(&servers, pick).unwrap()] += 1;
            }
            let sum: u32 = weights.iter().sum();
            for (count, weight) in counts.iter().zip(weights) {
                let share = f64::from(weight) / f64::from(sum);
                let expected = share * f64::from(draws);
                // Six standard deviations and one: never by chance.
                let allowed = 6.0 * (expected * (1.0 - share)).sqrt() + 1.0;
                prop_assert!((f64::from(*count) - expected).abs() <= allowed, "{counts:?}");
            }
        }

        #[test]
        fn a_merit_lies_between_1_and_1000(
            samples in prop::collection::vec((0u64..100_000_000, any::<bool>()), 0..50),
            fastest in prop::option::of(0u64..100_000_000),
        ) {
            let mut servers = Servers::fresh(1);
            for (us, ok) in samples {
                servers.observe(0, Duration::from_micros(us), if ok { Success } else { Failure });
            }
            let merit = merit(&servers.get(0).unwrap(), fastest.map(Duration::from_micros), servers.start);
            prop_assert!((1..=1000).contains(&merit));
        }
    }
}
