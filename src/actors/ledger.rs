//! What outlives a server actor: its breaker, its figures, its backoff, what it learned of the peer, who is subscribed.
//!
//! ```text
//! Life 1 ──ends, or is asked to hand over──▶ Bequest ──▶ registry ──▶ Life 2, that begins or plays
//!                                                │ dropped unread, with a mailbox
//!                                                └──▶ root ──▶ the registry of the moment
//! ```
//!
//! Figures are in one place at any time: they are moved, and added where they arrive, so that none is counted twice. A
//! life that was replaced and still finishes something leaves what it counts after that in the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::actors::registry::registration::{Registration, Way};
use crate::config::Settings;
use crate::event::BreakerState;
use crate::id::{Incarnation, ServerId};
use crate::policy::backoff::Backoff;
use crate::policy::breaker::Breaker;
use crate::policy::starts::StartRecord;
use crate::protocol::Known;
use crate::protocol::handshake::Greeting;
use crate::stats::{LatencyStats, Outcomes, ServerDetails};

/// The weight of a new sample in the average latency.
const EWMA_ALPHA: f64 = 0.3;

/// Parts of a URI's path that are looked at for what it may be a part of: deeper ones nobody subscribes to, and a URI may be all of
/// signs.
const WHOLES_MAX: usize = 64;

/// Latencies above this are counted as this: no call lasts longer than an hour.
const LATENCY_MAX: Duration = Duration::from_secs(3600);

/// A subscription as the server's lives have it: they count its changes, and see whether its handle still holds it. Its end is seen
/// wherever somebody looks: an order to end it could come to a life that is over. The handle in turn sees the end of the last life.
pub(crate) type Changes = watch::Sender<u64>;

/// Handed from one life of a server actor to the next, by way of the registry, so that neither a crash loop nor another
/// description resets anything. It is no `Clone`: figures that were in two places would be counted twice.
pub(crate) struct Ledger {
    /// How the server was reached of which breaker, backoff and what is known tell.
    of: Way,
    pub breaker: Breaker,
    pub reconnect: Backoff,
    /// How the starts of its process went.
    pub starts: StartRecord,
    pub outcomes: Outcomes,
    pub latency: Latencies,
    /// Found by the first handshake; later ones need not ask.
    pub known: Option<Known>,
    /// What the server said of itself then.
    pub(crate) details: Option<Arc<ServerDetails>>,
    /// How it is greeted where that is not known.
    pub greeting: Greeting,
    /// Resources that hosts subscribed to, with the handles that hold them.
    pub subscriptions: BTreeMap<String, Vec<Changes>>,
}

impl Ledger {
    /// The ledger of a server that is new.
    pub(crate) fn new(of: &Registration, settings: &Settings) -> Self {
        Self {
            breaker: Breaker::new(of.spec.breaker.clone()),
            reconnect: Backoff::new(settings.reconnect.clone()),
            starts: StartRecord::new(settings.processes.backoff.clone()),
            outcomes: Outcomes::new(),
            latency: Latencies::new(),
            known: None,
            details: None,
            greeting: Greeting::default(),
            subscriptions: BTreeMap::new(),
            of: of.way(),
        }
    }

    /// The same for a server that is described so from now on: what was learned of one at another address is not so of this
    /// one. What the host ordered, figures and subscriptions are the server's, wherever it is; at the same address breaker and
    /// backoff are as well, over whichever connections it is reached.
    pub(crate) fn described(&mut self, now: &Registration, settings: &Settings) {
        if self.of.is_as_good_as(&now.way()) {
            return;
        }
        if self.of.leads_to_the_same(&now.way()) {
            self.of = now.way();
            self.breaker.set(now.spec.breaker.clone());
            // It was found out in another era, or dialect.
            self.known = None;
            self.details = None;
            self.greeting = Greeting::default();
            return;
        }
        let Self { breaker, outcomes, latency, subscriptions, .. } =
            std::mem::replace(self, Self::new(now, settings));
        if breaker.state() == BreakerState::ForcedOpen {
            self.breaker.force_open();
        }
        (self.outcomes, self.latency, self.subscriptions) = (outcomes, latency, subscriptions);
    }

    /// What is passed on: the figures are moved, all else is as good in two places.
    pub(crate) fn passed_on(&mut self) -> Self {
        self.forget_ended_subscriptions();
        Self {
            of: self.of.clone(),
            breaker: self.breaker.clone(),
            reconnect: self.reconnect.clone(),
            starts: self.starts.clone(),
            outcomes: std::mem::take(&mut self.outcomes),
            latency: std::mem::replace(&mut self.latency, Latencies::new()),
            known: self.known,
            details: self.details.clone(),
            greeting: self.greeting,
            subscriptions: self.subscriptions.clone(),
        }
    }

    /// Adds the figures and the subscriptions that another life left. Returns the resources of which a handle is new here.
    pub(crate) fn add(&mut self, left: Self) -> BTreeSet<String> {
        let mut brought = BTreeSet::new();
        let Self {
            of: _,
            breaker: _,
            reconnect: _,
            starts: _,
            outcomes,
            latency,
            known: _,
            details: _,
            greeting: _,
            subscriptions,
        } = left;
        for (outcome, count) in outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
        self.latency.add(&latency);
        for (uri, handles) in subscriptions {
            let held = self.subscriptions.entry(uri.clone()).or_default();
            for handle in handles {
                if held.iter().all(|known| !known.same_channel(&handle)) {
                    held.push(handle);
                    brought.insert(uri.clone());
                }
            }
        }
        self.forget_ended_subscriptions();
        brought
    }

    /// Takes all that another life left, in place of what it has itself of breaker, backoff and peer. Returns the resources of which a
    /// handle is new here.
    pub(crate) fn succeed(&mut self, left: Self) -> BTreeSet<String> {
        self.of = left.of.clone();
        self.breaker = left.breaker.clone();
        self.reconnect = left.reconnect.clone();
        self.starts = left.starts.clone();
        (self.known, self.greeting) = (left.known, left.greeting);
        self.details = left.details.clone();
        self.add(left)
    }

    /// Whether a handle holds a subscription.
    pub(crate) fn has_subscriptions(&self) -> bool {
        self.subscriptions.values().flatten().any(|handle| !handle.is_closed())
    }

    /// Forgets subscriptions that no handle holds. Says whether there were any.
    pub(crate) fn forget_ended_subscriptions(&mut self) -> bool {
        let before = self.subscriptions.len();
        self.subscriptions.retain(|_, handles| {
            handles.retain(|handle| !handle.is_closed());
            !handles.is_empty()
        });
        self.subscriptions.len() < before
    }

    /// A resource has changed, or may have: its subscriptions learn of it.
    pub(crate) fn note_change(&self, uri: &str) {
        for handle in self.subscriptions.get(uri).into_iter().flatten() {
            handle.send_modify(|changes| *changes = changes.wrapping_add(1));
        }
    }

    /// The resources that somebody has subscribed to and of which this may be a part, as its URI begins with theirs.
    pub(crate) fn wholes_of(&self, uri: &str) -> Vec<String> {
        if self.subscriptions.is_empty() {
            return Vec::new();
        }
        let ends = uri.match_indices(['/', '?', '#']).map(|(end, _)| end).take(WHOLES_MAX);
        let wholes = ends.flat_map(|end| [&uri[..end], &uri[..=end]]);
        wholes.filter(|whole| self.subscriptions.contains_key(*whole)).map(str::to_owned).collect()
    }

    /// Counts the end of an attempt.
    pub(crate) fn count(&mut self, outcome: &'static str) {
        *self.outcomes.entry(outcome).or_default() += 1;
    }
}

/// What a life left, on its way.
pub(crate) struct Legacy {
    pub server: ServerId,
    /// The life that left it.
    pub incarnation: Incarnation,
    /// Whether breaker and backoff are the server's. They are not where that life waited for those of an earlier one, or
    /// has handed its own on already.
    pub whole: bool,
    pub ledger: Ledger,
}

/// Whose breaker and backoff a life has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tenure {
    /// The life that it takes the place of has yet to hand them over. It is waited for until then: nothing is let through that
    /// the server's breaker might hold back.
    Coming {
        /// The moment from which on it makes do with what it has.
        by: Instant,
    },
    /// They are the server's.
    Held,
    /// They were handed on; this life finishes what it has.
    Passed,
}

/// Latencies of successful attempts.
pub(crate) struct Latencies {
    /// Microseconds, two significant digits: some 10 KiB when it has seen everything from a microsecond to an hour.
    histogram: Histogram<u32>,
    ewma_us: Option<f64>,
}

impl Latencies {
    fn new() -> Self {
        let histogram = Histogram::new(2).expect("two significant digits are within hdrhistogram's 0 to 5");
        Self { histogram, ewma_us: None }
    }

    /// Takes a sample.
    pub(crate) fn record(&mut self, latency: Duration) {
        let us = u64::try_from(latency.min(LATENCY_MAX).as_micros()).unwrap_or(u64::MAX);
        // A histogram that resizes by itself takes every value.
        let _ = self.histogram.record(us.max(1));
        let sample = us as f64;
        self.ewma_us = Some(self.ewma_us.map_or(sample, |mean| mean + EWMA_ALPHA * (sample - mean)));
    }

    /// What half of the answers took at most. None where there was none.
    pub(crate) fn usual(&self) -> Option<Duration> {
        let median = Duration::from_micros(self.histogram.value_at_quantile(0.5));
        (!self.histogram.is_empty()).then_some(median)
    }

    /// Adds the samples of another life. Each sample weighs the same in the average, whichever life took it.
    fn add(&mut self, other: &Self) {
        let (ours, theirs) = (self.histogram.len() as f64, other.histogram.len() as f64);
        self.ewma_us = match (self.ewma_us, other.ewma_us) {
            (Some(one), Some(two)) => Some((one * ours + two * theirs) / (ours + theirs).max(1.0)),
            (one, two) => one.or(two),
        };
        // A histogram that resizes by itself takes every value.
        let _ = self.histogram.add(&other.histogram);
    }

    /// The figures of this moment.
    pub(crate) fn stats(&self) -> LatencyStats {
        let quantile = |q: f64| Duration::from_micros(self.histogram.value_at_quantile(q));
        LatencyStats {
            samples: self.histogram.len(),
            ewma: Duration::from_secs_f64(self.ewma_us.unwrap_or_default() / 1e6),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            max: Duration::from_micros(self.histogram.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::Tasks;
    use crate::config::Server;
    use crate::event::Origin;

    #[test]
    fn the_average_begins_with_the_first_sample() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.stats().ewma, Duration::ZERO);
        for _ in 0..5 {
            latencies.record(Duration::from_millis(100));
            assert_eq!(latencies.stats().ewma, Duration::from_millis(100));
        }
    }

    #[test]
    fn percentiles_are_within_a_hundredth() {
        let mut latencies = Latencies::new();
        (1..=1000).for_each(|ms| latencies.record(Duration::from_millis(ms)));
        let p99 = latencies.stats().p99.as_secs_f64();
        assert!((0.98..1.0).contains(&p99), "{p99}");
        assert_eq!(latencies.stats().samples, 1000);
    }

    #[test]
    fn a_sample_beyond_an_hour_counts_as_an_hour() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::MAX);
        assert!(latencies.stats().max <= LATENCY_MAX + LATENCY_MAX / 100);
    }

    #[test]
    fn samples_of_two_lives_weigh_the_same() {
        let (mut one, mut other) = (Latencies::new(), Latencies::new());
        (0..3).for_each(|_| one.record(Duration::from_millis(100)));
        other.record(Duration::from_millis(500));
        one.add(&other);
        let stats = one.stats();
        assert_eq!((stats.samples, stats.ewma), (4, Duration::from_millis(200)));
        let mut none = Latencies::new();
        none.add(&Latencies::new());
        assert_eq!((none.stats().samples, none.stats().ewma), (0, Duration::ZERO));
        none.add(&one);
        assert_eq!(none.stats().ewma, stats.ewma);
    }

    fn registration(server: Server) -> Registration {
        let (settings, alive) = (Settings::default(), Tasks::new().alive());
        Registration::of(server, None, &settings, 0, Origin::Registered, alive).unwrap()
    }

    #[cfg(feature = "websocket")]
    #[test]
    fn figures_are_in_one_place_and_subscriptions_are_held_once() {
        let mut one = Ledger::new(&registration(Server::websocket("s", "ws://h")), &Settings::default());
        let (changes, _held) = watch::channel(0);
        one.subscriptions.insert("a".to_owned(), vec![changes]);
        one.count("ok");
        let mut two = one.passed_on();
        assert!(one.outcomes.is_empty());
        one.count("ok");
        two.add(one.passed_on());
        two.add(one);
        assert_eq!((two.outcomes["ok"], two.subscriptions["a"].len()), (2, 1));
    }

    #[cfg(feature = "websocket")]
    #[test]
    fn another_way_to_a_server_forgets_what_was_learned_of_the_former_one_and_not_the_hosts_order() {
        let (here, there) = (Server::websocket("s", "ws://h"), Server::websocket("s", "ws://i"));
        let (here, there, settings) = (registration(here), registration(there), Settings::default());
        let mut ledger = Ledger::new(&here, &settings);
        ledger.count("ok");
        ledger.breaker.link_lost(Instant::now(), &mut rand::rng());
        let failures = |ledger: &Ledger| ledger.breaker.stats(Instant::now()).consecutive_failures;
        ledger.described(&here, &settings);
        assert_eq!(failures(&ledger), 1);
        ledger.described(&there, &settings);
        assert_eq!((failures(&ledger), ledger.outcomes["ok"]), (0, 1));
        ledger.breaker.force_open();
        ledger.described(&here, &settings);
        assert_eq!(ledger.breaker.state(), BreakerState::ForcedOpen);
    }

    #[cfg(feature = "websocket")]
    #[test]
    fn what_is_passed_on_and_taken_in_has_no_subscription_that_nobody_holds() {
        let new = || Ledger::new(&registration(Server::websocket("s", "ws://h")), &Settings::default());
        let (mut registry, mut life) = (new(), new());
        for n in 0..3 {
            let (changes, held) = watch::channel(0);
            life.subscriptions.insert(format!("r:/{n}"), vec![changes]);
            registry.add(life.passed_on());
            drop(held);
        }
        assert!(registry.passed_on().subscriptions.is_empty());
        registry.add(life.passed_on());
        assert!(registry.subscriptions.is_empty());
    }

    #[cfg(feature = "websocket")]
    #[test]
    fn what_a_changed_resource_may_be_a_part_of_is_found_by_its_uri() {
        let mut ledger = Ledger::new(&registration(Server::websocket("s", "ws://h")), &Settings::default());
        for uri in ["file:///a", "file:///a/", "file:///ab", "file:///a/b.txt"] {
            ledger.subscriptions.insert(uri.to_owned(), vec![watch::channel(0).0]);
        }
        let wholes = ledger.wholes_of("file:///a/b.txt#L1");
        assert_eq!(wholes, ["file:///a", "file:///a/", "file:///a/b.txt"]);
    }
}
