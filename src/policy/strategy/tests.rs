//! Servers for the tests of all strategies, and what every strategy must hold to.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::{Candidate, Candidates, DuplicateStrategy, Load, Pick, Strategies, Strategy, hash_key};
use crate::call::OutcomeClass;
use crate::id::ServerId;

/// A set of servers.
pub(super) struct Servers {
    ids: Vec<ServerId>,
    pub start: Instant,
    pub weights: Vec<u32>,
    pub in_flight: Vec<usize>,
    pub loads: Vec<Load>,
    pub admits: Vec<bool>,
    /// How often a candidate was looked at.
    pub looks: Cell<usize>,
}

impl Servers {
    /// New servers of weight 100 that all admit.
    pub(super) fn fresh(count: usize) -> Self {
        Self {
            ids: (0..count).map(|n| ServerId::new(format!("server-{n:04}")).unwrap()).collect(),
            start: Instant::now(),
            weights: vec![100; count],
            in_flight: vec![0; count],
            loads: vec![Load::new(); count],
            admits: vec![true; count],
            looks: Cell::new(0),
        }
    }

    pub(super) fn observe(&mut self, index: usize, latency: Duration, class: OutcomeClass) {
        self.loads[index].observe(latency, class, self.start);
    }
}

impl Candidates for Servers {
    fn len(&self) -> usize {
        self.ids.len()
    }

    fn get(&self, index: usize) -> Option<Candidate<'_>> {
        self.looks.set(self.looks.get() + 1);
        self.admits.get(index)?.then(|| Candidate {
            server: &self.ids[index],
            weight: self.weights[index],
            in_flight: self.in_flight[index],
            load: &self.loads[index],
        })
    }
}

pub(super) fn rng(seed: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed)
}

/// How often each server is picked when nothing changes in between.
pub(super) fn tally(strategy: &mut dyn Strategy, servers: &Servers, picks: usize) -> Vec<usize> {
    tally_at(strategy, servers, picks, servers.start)
}

pub(super) fn tally_at(
    strategy: &mut dyn Strategy,
    servers: &Servers,
    picks: usize,
    now: Instant,
) -> Vec<usize> {
    let mut rng = rng(7);
    let mut counts = vec![0; servers.len()];
    for _ in 0..picks {
        counts[strategy.pick(servers, Pick { set: 0, key: None, now, rng: &mut rng }).unwrap()] += 1;
    }
    counts
}

/// How a simulated server answers every call.
#[derive(Clone, Copy)]
pub(super) struct Behaviour {
    pub latency: Duration,
    pub class: OutcomeClass,
}

/// Sends `calls` calls, one each `pause`, to new servers, and gives the share of each.
pub(super) fn run(
    strategy: &mut dyn Strategy,
    behaviours: &[Behaviour],
    pause: Duration,
    calls: u32,
) -> Vec<f64> {
    run_on(strategy, &mut Servers::fresh(behaviours.len()), behaviours, pause, calls)
}

pub(super) fn run_on(
    strategy: &mut dyn Strategy,
    servers: &mut Servers,
    behaviours: &[Behaviour],
    pause: Duration,
    calls: u32,
) -> Vec<f64> {
    let mut rng = rng(11);
    let mut ends: BinaryHeap<Reverse<(Instant, usize, Duration)>> = BinaryHeap::new();
    let mut counts = vec![0; servers.len()];
    for call in 0..calls {
        let now = servers.start + pause * call;
        while let Some(Reverse((at, index, latency))) = ends.pop() {
            if at > now {
                ends.push(Reverse((at, index, latency)));
                break;
            }
            servers.in_flight[index] -= 1;
            servers.loads[index].observe(latency, behaviours[index].class, at);
        }
        let index = strategy.pick(servers, Pick { set: 0, key: None, now, rng: &mut rng }).unwrap();
        counts[index] += 1;
        servers.in_flight[index] += 1;
        let latency = behaviours[index].latency.mul_f64(rng.random_range(0.8..1.2));
        ends.push(Reverse((now + latency, index, latency)));
    }
    counts.into_iter().map(|count| f64::from(count) / f64::from(calls)).collect()
}

struct Named(&'static str);

impl Strategy for Named {
    fn name(&self) -> &str {
        self.0
    }

    fn pick(&mut self, candidates: &dyn Candidates, _: Pick<'_>) -> Option<usize> {
        candidates.admitting().map(|(index, _)| index).next()
    }
}

#[test]
fn the_built_in_strategies_are_known_and_peak_ewma_is_active() {
    let strategies = Strategies::with_builtin();
    let names = ["least-connections", "peak-ewma", "rendezvous", "round-robin", "weighted"];
    assert_eq!(strategies.names(), names);
    assert_eq!(strategies.active_name(), "peak-ewma");
}

#[test]
fn a_hosts_strategy_can_be_added_and_selected() {
    let mut strategies = Strategies::with_builtin();
    strategies.insert(Box::new(Named("first"))).unwrap();
    assert_eq!(strategies.active_name(), "peak-ewma");
    strategies.select("first").unwrap();
    assert_eq!(strategies.active().name(), "first");
    assert_eq!(strategies.active_name(), "first");
}

#[test]
fn a_name_is_given_once() {
    let mut strategies = Strategies::with_builtin();
    let taken = strategies.insert(Box::new(Named("weighted"))).unwrap_err();
    assert_eq!(taken, DuplicateStrategy { name: "weighted".to_owned() });
    assert_eq!(strategies.names().len(), 5);
}

#[test]
fn an_unknown_name_lists_the_known_ones_and_changes_nothing() {
    let mut strategies = Strategies::with_builtin();
    strategies.select("weighted").unwrap();
    let unknown = strategies.select("fastest").unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "no strategy is called \"fastest\"; there are least-connections, peak-ewma, rendezvous, round-robin, weighted"
    );
    assert_eq!(strategies.active_name(), "weighted");
}

/// A server at any moment of its life: weight, calls in flight, observed attempts, whether it admits.
type Moment = (u32, usize, Vec<(u64, OutcomeClass)>, bool);

fn moment() -> impl proptest::strategy::Strategy<Value = Moment> {
    let class = prop::sample::select(vec![
        OutcomeClass::Success,
        OutcomeClass::Failure,
        OutcomeClass::Overload,
        OutcomeClass::Ignored,
    ]);
    let observed = prop::collection::vec((0u64..10_000, class), 0..4);
    (prop_oneof![Just(0), 1u32..=1000, Just(u32::MAX)], 0usize..300, observed, any::<bool>())
}

proptest! {
    #[test]
    fn a_pick_always_admits_and_there_is_one_if_any_server_admits(
        moments in prop::collection::vec(moment(), 0..40),
        few in any::<bool>(),
        key in prop::option::of("[a-z]{0,8}"),
        seed in any::<u64>(),
    ) {
        let mut servers = Servers::fresh(moments.len());
        for (index, (weight, in_flight, observed, admits)) in moments.into_iter().enumerate() {
            servers.weights[index] = weight;
            servers.in_flight[index] = in_flight;
            // Few: one in eight of those that would, so that random draws mostly miss.
            servers.admits[index] = admits && (!few || index % 8 == 3);
            observed.into_iter().for_each(|(ms, class)| servers.observe(index, Duration::from_millis(ms), class));
        }
        let any = servers.admits.contains(&true);
        let mut strategies = Strategies::with_builtin();
        let mut rng = rng(seed);
        for name in strategies.names() {
            strategies.select(&name).unwrap();
            for later in 0..5 {
                let now = servers.start + Duration::from_secs(10 * later);
                let pick = Pick { set: 1, key: key.as_deref().map(hash_key), now, rng: &mut rng };
                let picked = strategies.active().pick(&servers, pick);
                prop_assert_eq!(picked.is_some(), any, "{}", name);
                prop_assert!(picked.is_none_or(|index| servers.admits[index]), "{}", name);
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_choices(seed in any::<u64>(), count in 1usize..30) {
        for name in Strategies::with_builtin().names() {
            let choices = || {
                let (mut strategies, mut rng) = (Strategies::with_builtin(), rng(seed));
                strategies.select(&name).unwrap();
                let servers = Servers::fresh(count);
                let mut choose = |_| {
                    let pick = Pick { set: 1, key: None, now: servers.start, rng: &mut rng };
                    strategies.active().pick(&servers, pick)
                };
                (0..20).map(&mut choose).collect::<Vec<_>>()
            };
            prop_assert_eq!(choices(), choices());
        }
    }
}
