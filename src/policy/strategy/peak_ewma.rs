//! The cheaper of two random servers, by expected waiting time.
//!
//! A server costs its latency estimate ([`Load::peak_ewma`]) for each call that it works on and for the new one, divided by
//! its weight. The estimate sees failures as slow answers, so this strategy avoids slow, busy and failing servers alike.
//!
//! Two random candidates are nearly as good as the best of all, at a cost that does not grow (Mitzenmacher, "The Power of
//! Two Choices in Randomized Load Balancing", 2001); up to [`SCAN_MAX`] servers are cheap enough to look at all of them.
//!
//! The estimate of a server without work falls with time, so that it is tried again; one call in flight is that try, and
//! until it has ended the server costs what it cost before. So neither a server that was bad, nor a new one, nor one that
//! hangs gets more than a few calls before it has proved itself.
//!
//! [`Load::peak_ewma`]: super::Load::peak_ewma

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use super::{Candidate, Candidates, Pick, Strategy};

/// Sets up to this size are looked at as a whole: about as cheap as two draws, and better at the tail.
const SCAN_MAX: usize = 8;

/// Draws after which a scan is cheaper than hoping for another admitting server: with half of the servers admitting, one
/// pick in thirty comes to it.
const DRAWS_MAX: usize = 8;

/// Estimates below this count as equal, so that calls in flight decide there: what differs is the noise of the machine.
const LATENCY_FLOOR: Duration = Duration::from_micros(100);

/// `peak-ewma`: power of two choices over latency × (calls in flight + 1) / weight. The default.
#[derive(Debug, Default, Clone, Copy)]
pub struct PeakEwma;

/// The expected time that a call would take here, in seconds per unit of weight.
fn cost(candidate: &Candidate<'_>, now: Instant) -> f64 {
    let load = candidate.load;
    let estimate = match candidate.in_flight {
        // Nothing is known and nothing under way: the first call is how it becomes known.
        0 if load.is_untried() => return 0.0,
        0 => load.peak_ewma(now),
        _ => load.last_peak_ewma(),
    };
    let calls = candidate.in_flight as f64 + 1.0;
    estimate.max(LATENCY_FLOOR).as_secs_f64() * calls / f64::from(candidate.weight.max(1))
}

/// Two different admitting candidates, if they are found by a few random draws.
fn draw_two(candidates: &dyn Candidates, pick: &mut Pick<'_>) -> Option<[(usize, f64); 2]> {
    let mut first: Option<(usize, f64)> = None;
    for _ in 0..DRAWS_MAX {
        let index = pick.rng.random_range(0..candidates.len());
        if first.is_some_and(|(first, _)| first == index) {
            continue;
        }
        let Some(candidate) = candidates.get(index) else { continue };
        let drawn = (index, cost(&candidate, pick.now));
        match first {
            None => first = Some(drawn),
            Some(first) => return Some([first, drawn]),
        }
    }
    None
}

/// The cheapest; a random one of several.
fn cheapest(costs: impl Iterator<Item = (usize, f64)>, rng: &mut dyn rand::Rng) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    let mut equals = 0u32;
    for (index, cost) in costs {
        match best {
            Some((_, least)) if cost > least => continue,
            Some((_, least)) if cost == least => {
                equals += 1;
                if rng.random_range(0..equals) > 0 {
                    continue;
                }
            }
            Some(_) | None => equals = 1,
        }
        best = Some((index, cost));
    }
    best.map(|(index, _)| index)
}

impl Strategy for PeakEwma {
    fn name(&self) -> &str {
        "peak-ewma"
    }

    fn pick(&mut self, candidates: &dyn Candidates, mut pick: Pick<'_>) -> Option<usize> {
        if candidates.len() > SCAN_MAX
            && let Some(two) = draw_two(candidates, &mut pick)
        {
            return cheapest(two.into_iter(), pick.rng);
        }
        let Pick { now, rng, .. } = pick;
        cheapest(candidates.admitting().map(|(index, candidate)| (index, cost(&candidate, now))), rng)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Behaviour, Servers, rng, run, tally, tally_at};
    use super::*;
    use crate::call::OutcomeClass::{Failure, Ignored, Success};

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn pick(servers: &Servers, now: Instant) -> usize {
        PeakEwma.pick(servers, Pick { set: 0, key: None, now, rng: &mut rng(1) }).unwrap()
    }

    #[test]
    fn a_ten_times_slower_server_gets_next_to_nothing() {
        for count in [3, 30] {
            let mut behaviours = vec![Behaviour { latency: MS(10), class: Success }; count];
            behaviours[0].latency = MS(100);
            let shares = run(&mut PeakEwma, &behaviours, MS(1), 20_000);
            assert!(shares[0] * 8.0 < shares[1], "{shares:?}");
        }
    }

    #[test]
    fn a_server_that_fails_fast_is_no_sink() {
        for count in [2, 3, 30] {
            let mut behaviours = vec![Behaviour { latency: MS(10), class: Success }; count];
            behaviours[0] = Behaviour { latency: Duration::from_micros(500), class: Failure };
            let shares = run(&mut PeakEwma, &behaviours, MS(2), 20_000);
            assert!(shares[0] < 0.001, "{shares:?}");
        }
    }

    #[test]
    fn a_server_whose_answers_say_nothing_is_no_sink() {
        let mut behaviours = [Behaviour { latency: MS(10), class: Success }; 3];
        behaviours[0] = Behaviour { latency: Duration::from_micros(500), class: Ignored };
        let shares = run(&mut PeakEwma, &behaviours, MS(20), 10_000);
        assert!(shares[0] < 0.01, "{shares:?}");
    }

    #[test]
    fn a_server_that_hangs_holds_few_calls() {
        let mut behaviours = [Behaviour { latency: MS(10), class: Success }; 3];
        behaviours[0] = Behaviour { latency: Duration::from_secs(3600), class: Failure };
        let mut servers = Servers::fresh(3);
        servers.observe(0, MS(10), Success);
        let shares = super::super::tests::run_on(&mut PeakEwma, &mut servers, &behaviours, MS(20), 5_000);
        assert!(servers.in_flight[0] <= 3, "{} calls hang; {shares:?}", servers.in_flight[0]);
    }

    #[test]
    fn equal_servers_share_equally() {
        let behaviours = [Behaviour { latency: MS(10), class: Success }; 4];
        let shares = run(&mut PeakEwma, &behaviours, MS(1), 20_000);
        assert!(shares.iter().all(|share| (0.2..0.3).contains(share)), "{shares:?}");
    }

    #[test]
    fn a_new_server_is_tried_at_once_and_not_flooded() {
        let mut servers = Servers::fresh(2);
        servers.observe(0, MS(10), Success);
        assert_eq!(pick(&servers, servers.start), 1);
        servers.in_flight[1] = 1;
        (0..50).for_each(|busy| {
            servers.in_flight[0] = busy;
            assert_eq!(pick(&servers, servers.start), 0, "with {busy} in flight");
        });
    }

    #[test]
    fn a_server_that_failed_is_tried_again_by_one_call_after_a_while() {
        let mut servers = Servers::fresh(2);
        servers.observe(0, MS(1), Failure);
        let later = servers.start + MS(70_000);
        servers.loads[1].observe(MS(10), Success, later);
        assert_eq!(pick(&servers, servers.start), 1);
        assert_eq!(pick(&servers, later), 0);
        servers.in_flight[0] = 1;
        assert_eq!(pick(&servers, later), 1);
    }

    #[test]
    fn a_heavier_server_may_be_busier() {
        let mut servers = Servers::fresh(2);
        (0..2).for_each(|index| servers.observe(index, MS(10), Success));
        servers.weights = vec![100, 300];
        servers.in_flight = vec![2, 7];
        assert_eq!(pick(&servers, servers.start), 1);
        servers.in_flight = vec![2, 9];
        assert_eq!(pick(&servers, servers.start), 0);
    }

    #[test]
    fn ties_are_broken_by_chance() {
        for count in [4, 20] {
            let counts = tally(&mut PeakEwma, &Servers::fresh(count), 1000 * count);
            assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
        }
    }

    #[test]
    fn latencies_below_the_noise_leave_the_choice_to_the_calls_in_flight() {
        let mut servers = Servers::fresh(2);
        servers.observe(0, Duration::ZERO, Success);
        servers.observe(1, Duration::from_micros(50), Success);
        servers.in_flight = vec![1, 0];
        let counts = tally_at(&mut PeakEwma, &servers, 100, servers.start);
        assert_eq!(counts, [0, 100]);
    }

    #[test]
    fn a_pick_looks_at_few_of_many_servers() {
        let mut servers = Servers::fresh(3000);
        (0..3000).step_by(10).for_each(|index| servers.admits[index] = false);
        tally(&mut PeakEwma, &servers, 1000);
        assert!(servers.looks.get() < 3000, "{} looks", servers.looks.get());
    }
}
