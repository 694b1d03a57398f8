//! The circuit breaker of one server.
//!
//! ```text
//!            failures in a row, failure ratio, slow ratio
//!   Closed ─────────────────────────────────────────────▶ Open
//!     ▲                                                     │ its time is over, or the server was reached again
//!     │ enough successes                                    ▼
//!     └──────────────────────────────────────────────── HalfOpen ──one failure, or no outcome in time──▶ Open
//! ```
//!
//! Two signals trip it. Failures in a row catch a dead server within moments, whatever the traffic; the ratio over a
//! window catches one that fails most but not all of its calls. Half-open lets a fixed number of calls through, so that
//! a recovering server is not buried. Each permit carries the generation of the state that gave it: an outcome of an
//! earlier state says nothing about the present one. The one exception is a probe that succeeds after half-open has given up
//! waiting for it: a server whose calls take longer than that works all the same, and would never be let back otherwise. So
//! successes of probes add up until one fails.
//!
//! A permit says what it is. A *probe* holds one of the places of a half-open state for as long as it exists, wherever it is
//! dropped. A *bypass* was given without asking: it takes no place, gives none back and decides nothing unless the breaker is
//! closed anyway.
//!
//! After Resilience4j (states, ratios), sony/gobreaker (generations) and linkerd2-proxy's unified breaker (both signals
//! at once, growing probe delays).

mod window;

use std::sync::{Arc, Weak};
use std::time::Duration;

use rand::{Rng, RngExt};
use tokio::time::Instant;

use crate::call::OutcomeClass;
use crate::config::{BreakerMode, BreakerSettings};
use crate::duration::later;
use crate::event::{BreakerState, BreakerTransition, TransitionReason};
use crate::stats::BreakerStats;

use window::{Counts, Window};

/// Leave to make one call. It is handed back once, by [`Breaker::record`]; one that is dropped on the way says nothing of
/// the server, and a place that it held is free again.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is dropped tells the breaker nothing of its call"]
pub(crate) struct Permit(Kind);

/// What a permit was given for.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// The breaker was closed.
    Ordinary { generation: u64 },
    /// The breaker was half-open. The one owner: the breaker sees when it is gone.
    Probe(Arc<Probe>),
    /// The breaker was not asked, or only watches and would have refused.
    Bypass { generation: u64 },
}

/// A call that a half-open breaker let through.
#[derive(Debug, PartialEq, Eq)]
struct Probe {
    /// Of the half-open state.
    generation: u64,
    /// Of the row of probes that it belongs to; see [`Breaker`].
    row: u64,
    since: Instant,
}

/// What a selector may assume of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Calls pass.
    Free,
    /// So many more calls pass.
    Probing {
        /// How many.
        permits: u32,
    },
    /// No call passes.
    Rejecting {
        /// For how long, if that is known.
        retry_after: Option<Duration>,
    },
}

/// A call was not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rejected {
    /// When a call may pass again, if that is known.
    pub retry_after: Option<Duration>,
}

/// The state with what belongs to it alone.
#[derive(Debug, Clone)]
enum State {
    Closed {
        since: Instant,
    },
    Open {
        until: Instant,
        by_links: bool,
    },
    /// With the probes that it gave; at most as many exist as there are places.
    HalfOpen {
        probes: Vec<Weak<Probe>>,
    },
    ForcedOpen,
}

/// How many probes exist.
fn out(probes: &[Weak<Probe>]) -> u32 {
    probes.iter().filter(|probe| probe.strong_count() > 0).count() as u32
}

/// The breaker. Plain data: a server's next life is given its last one's.
#[derive(Debug, Clone)]
pub(crate) struct Breaker {
    settings: BreakerSettings,
    /// None until the first call: a breaker needs no clock to be made.
    state: Option<State>,
    generation: u64,
    /// Numbers the rows of probes. A row lasts until a probe or a link fails, the breaker closes or is ordered about: not
    /// only one half-open state, since a probe may take longer than that waits for it.
    row: u64,
    /// Successes of the present row.
    proven: u32,
    window: Window,
    consecutive: u32,
    /// How many of the consecutive failures were lost links.
    consecutive_links: u32,
    /// Trips since the last quiet stretch; each doubles the next opening.
    trips_in_row: u32,
    trips: u64,
}

impl Breaker {
    /// A closed breaker.
    pub(crate) fn new(settings: BreakerSettings) -> Self {
        Self {
            window: Window::new(settings.monitoring_period),
            settings,
            state: None,
            generation: 0,
            row: 0,
            proven: 0,
            consecutive: 0,
            consecutive_links: 0,
            trips_in_row: 0,
            trips: 0,
        }
    }

    /// Goes by other settings from now on. What it has seen of the server stays, and the state that it is in; one that acts now
    /// and did not, or the reverse, begins anew, unless the host holds it open.
    pub(crate) fn set(&mut self, settings: BreakerSettings) {
        if settings.mode != self.settings.mode && !self.is_forced_open() {
            *self = Self::new(settings);
            return;
        }
        if settings.monitoring_period != self.settings.monitoring_period {
            self.window = Window::new(settings.monitoring_period);
        }
        self.settings = settings;
    }

    /// Its state, as it is shown.
    pub(crate) fn state(&self) -> BreakerState {
        match self.settings.mode {
            BreakerMode::Disabled if !self.is_forced_open() => BreakerState::Disabled,
            BreakerMode::MetricsOnly if !self.is_forced_open() => BreakerState::MetricsOnly,
            BreakerMode::Enabled | BreakerMode::Disabled | BreakerMode::MetricsOnly => self.inner_state(),
        }
    }

    /// The state that it is in, or would be in if it acted.
    fn inner_state(&self) -> BreakerState {
        match self.state {
            None | Some(State::Closed { .. }) => BreakerState::Closed,
            Some(State::Open { .. }) => BreakerState::Open,
            Some(State::HalfOpen { .. }) => BreakerState::HalfOpen,
            Some(State::ForcedOpen) => BreakerState::ForcedOpen,
        }
    }

    fn is_forced_open(&self) -> bool {
        matches!(self.state, Some(State::ForcedOpen))
    }

    fn is_closed(&self) -> bool {
        matches!(self.state, None | Some(State::Closed { .. }))
    }

    fn acts(&self) -> bool {
        self.settings.mode == BreakerMode::Enabled
    }

    /// What a selector may assume at `now`.
    pub(crate) fn admission(&self, now: Instant) -> Admission {
        match &self.state {
            Some(State::ForcedOpen) => Admission::Rejecting { retry_after: None },
            _ if !self.acts() => Admission::Free,
            None | Some(State::Closed { .. }) => Admission::Free,
            Some(State::Open { until, .. }) => {
                Admission::Rejecting { retry_after: Some(until.saturating_duration_since(now)) }
            }
            Some(State::HalfOpen { probes }) => {
                Admission::Probing { permits: self.settings.half_open_permits.saturating_sub(out(probes)) }
            }
        }
    }

    /// When [`tick`](Self::tick) next has something to do.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        match &self.state {
            Some(State::Open { until, .. }) => Some(*until),
            Some(State::HalfOpen { probes }) => {
                let oldest = probes.iter().filter_map(|probe| Some(probe.upgrade()?.since)).min()?;
                // A time beyond all clocks does not come.
                oldest.checked_add(self.settings.half_open_timeout)
            }
            None | Some(State::Closed { .. } | State::ForcedOpen) => None,
        }
    }

    /// Does what time alone brings: ends an opening, gives up on probes that do not come back.
    pub(crate) fn tick(&mut self, now: Instant, rng: &mut dyn Rng) -> Option<BreakerTransition> {
        if self.wake_at().is_none_or(|at| at > now) {
            return None;
        }
        match self.state {
            Some(State::Open { .. }) => Some(self.half_open(TransitionReason::OpenTimeElapsed)),
            Some(State::HalfOpen { .. }) => {
                Some(self.trip(TransitionReason::ProbesTimedOut, false, now, rng))
            }
            None | Some(State::Closed { .. } | State::ForcedOpen) => None,
        }
    }

    /// Asks for leave to make a call.
    ///
    /// # Errors
    /// [`Rejected`] if no call passes now.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<Permit, Rejected> {
        match self.admission(now) {
            Admission::Rejecting { retry_after } => return Err(Rejected { retry_after }),
            Admission::Probing { permits: 0 } => return Err(Rejected { retry_after: None }),
            Admission::Free | Admission::Probing { .. } => {}
        }
        let Self { generation, row, .. } = *self;
        Ok(Permit(match self.state.get_or_insert(State::Closed { since: now }) {
            State::Closed { .. } => Kind::Ordinary { generation },
            State::HalfOpen { probes } => {
                probes.retain(|probe| probe.strong_count() > 0);
                if out(probes) < self.settings.half_open_permits {
                    let probe = Arc::new(Probe { generation, row, since: now });
                    probes.push(Arc::downgrade(&probe));
                    Kind::Probe(probe)
                } else {
                    // It only watches: this call would have been refused.
                    Kind::Bypass { generation }
                }
            }
            State::Open { .. } | State::ForcedOpen => Kind::Bypass { generation },
        }))
    }

    /// Leave to make a call although the breaker is open: it is a lease's, or the router decided that holding back every server
    /// is worse.
    pub(crate) fn bypass(&self) -> Permit {
        Permit(Kind::Bypass { generation: self.generation })
    }

    /// Takes the outcome of a call that was let through.
    pub(crate) fn record(
        &mut self,
        permit: Permit,
        class: OutcomeClass,
        latency: Duration,
        now: Instant,
        rng: &mut dyn Rng,
    ) -> Option<BreakerTransition> {
        if self.settings.mode == BreakerMode::Disabled {
            return None;
        }
        match permit.0 {
            Kind::Ordinary { generation } | Kind::Bypass { generation } => {
                // What was let through in another state, or past the breaker, says nothing about this one.
                if generation != self.generation || !self.is_closed() {
                    return None;
                }
            }
            Kind::Probe(probe) => {
                let (of_this_row, in_time) = (probe.row == self.row, probe.generation == self.generation);
                // Its place is free before anything is decided.
                drop(probe);
                // One that half-open gave up on proves that the server works, or else nothing that was not assumed before.
                if !of_this_row || !(in_time || class == OutcomeClass::Success) {
                    return None;
                }
            }
        }
        match class {
            OutcomeClass::Ignored => None,
            OutcomeClass::Success => self.succeeded(latency, now, rng),
            OutcomeClass::Failure => {
                self.consecutive = self.consecutive.saturating_add(1);
                self.failed(false, now, rng)
            }
            // Too busy is not broken: it moves the ratio, not the count of failures in a row.
            OutcomeClass::Overload => self.failed(false, now, rng),
        }
    }

    /// An established link broke: one failure, however many calls were on it.
    pub(crate) fn link_lost(&mut self, now: Instant, rng: &mut dyn Rng) -> Option<BreakerTransition> {
        match self.state {
            Some(State::Open { .. } | State::ForcedOpen) => None,
            _ if self.settings.mode == BreakerMode::Disabled => None,
            None | Some(State::Closed { .. } | State::HalfOpen { .. }) => {
                self.consecutive = self.consecutive.saturating_add(1);
                self.consecutive_links = self.consecutive_links.saturating_add(1);
                self.failed(true, now, rng)
            }
        }
    }

    /// The server was reached again after it had no link: proof of life. An opening that lost links alone brought about
    /// ends with it.
    pub(crate) fn reconnected(&mut self, _now: Instant) -> Option<BreakerTransition> {
        match self.state {
            Some(State::Open { by_links: true, .. }) => Some(self.half_open(TransitionReason::Reconnected)),
            None
            | Some(State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. } | State::ForcedOpen) => {
                None
            }
        }
    }

    /// A new life of the server's actor takes over: permits of the last one will never be recorded.
    pub(crate) fn inherit(&mut self, _now: Instant) {
        self.generation += 1;
        // What was proven stays so.
        self.row += 1;
        if let Some(State::HalfOpen { probes }) = &mut self.state {
            probes.clear();
        }
    }

    /// Lets nothing through until [`reset`](Self::reset) or [`force_close`](Self::force_close).
    pub(crate) fn force_open(&mut self) -> Option<BreakerTransition> {
        let from = self.state();
        if from == BreakerState::ForcedOpen {
            return None;
        }
        self.new_row();
        self.enter(State::ForcedOpen);
        Some(self.transition(from, TransitionReason::Ordered, None))
    }

    /// Closes at once; the memory of earlier trips stays.
    pub(crate) fn force_close(&mut self, now: Instant) -> Option<BreakerTransition> {
        let from = self.state();
        self.close(now);
        (self.state() != from).then(|| self.transition(from, TransitionReason::Ordered, None))
    }

    /// Closes at once and forgets everything but the number of trips.
    pub(crate) fn reset(&mut self, now: Instant) -> Option<BreakerTransition> {
        self.trips_in_row = 0;
        self.force_close(now)
    }

    /// Does what the host ordered of an earlier life, or of one that is yet to hand over: holds it open, or holds it open no more.
    pub(crate) fn obey(&mut self, held_open: bool, now: Instant) -> Option<BreakerTransition> {
        match held_open {
            true => self.force_open(),
            false if self.is_forced_open() => self.force_close(now),
            false => None,
        }
    }

    /// The figures at `now`.
    pub(crate) fn stats(&self, now: Instant) -> BreakerStats {
        let Counts { calls, failures, slow } = self.window.sum(now);
        let next_attempt_in = match self.state {
            Some(State::Open { until, .. }) if self.acts() => Some(until.saturating_duration_since(now)),
            None
            | Some(State::Closed { .. } | State::Open { .. } | State::HalfOpen { .. } | State::ForcedOpen) => {
                None
            }
        };
        BreakerStats {
            state: self.state(),
            consecutive_failures: self.consecutive,
            calls,
            failures,
            slow,
            trips: self.trips,
            next_attempt_in,
        }
    }

    // === transitions ===

    fn succeeded(&mut self, latency: Duration, now: Instant, rng: &mut dyn Rng) -> Option<BreakerTransition> {
        let slow = self.settings.slow_call.is_some_and(|limit| latency > limit);
        self.window.add(Counts { calls: 1, failures: 0, slow: u64::from(slow) }, now);
        self.consecutive = 0;
        self.consecutive_links = 0;
        if self.is_closed() {
            return if slow { self.judge(now, rng) } else { None };
        }
        // A probe, perhaps of a half-open state that has given up on it.
        self.proven = self.proven.saturating_add(1);
        if self.proven < self.settings.success_threshold {
            return None;
        }
        let from = self.inner_state();
        self.close(now);
        Some(self.transition(from, TransitionReason::ProbesSucceeded, None))
    }

    /// Counts a failure; `link` says that it is a lost link, and so that a new one may end what it brings about.
    fn failed(&mut self, link: bool, now: Instant, rng: &mut dyn Rng) -> Option<BreakerTransition> {
        self.window.add(Counts { calls: 1, failures: 1, slow: 0 }, now);
        match self.state {
            Some(State::HalfOpen { .. }) => {
                let by_links = link && self.only_links();
                Some(self.trip(TransitionReason::ProbeFailed, by_links, now, rng))
            }
            None | Some(State::Closed { .. }) => self.judge(now, rng),
            Some(State::Open { .. } | State::ForcedOpen) => None,
        }
    }

    /// Whether lost links are all that failed since the last success.
    fn only_links(&self) -> bool {
        self.consecutive > 0 && self.consecutive_links == self.consecutive
    }

    /// Trips a closed breaker if one of its signals says so.
    fn judge(&mut self, now: Instant, rng: &mut dyn Rng) -> Option<BreakerTransition> {
        if self.consecutive >= self.settings.failure_threshold {
            let reason = TransitionReason::ConsecutiveFailures { count: self.consecutive };
            let by_links = self.only_links();
            return Some(self.trip(reason, by_links, now, rng));
        }
        let Counts { calls, failures, slow } = self.window.sum(now);
        if calls < u64::from(self.settings.minimum_calls) {
            return None;
        }
        let share = |part: u64| part as f64 / calls as f64;
        if share(failures) >= self.settings.failure_ratio {
            let reason = TransitionReason::FailureRatio { ratio: share(failures) };
            return Some(self.trip(reason, false, now, rng));
        }
        if self.settings.slow_call.is_some() && share(slow) >= self.settings.slow_call_ratio {
            return Some(self.trip(TransitionReason::SlowCallRatio { ratio: share(slow) }, false, now, rng));
        }
        None
    }

    fn trip(
        &mut self,
        reason: TransitionReason,
        by_links: bool,
        now: Instant,
        rng: &mut dyn Rng,
    ) -> BreakerTransition {
        let from = self.inner_state();
        if let Some(State::Closed { since }) = self.state
            && now.saturating_duration_since(since) >= self.settings.quiet_period
        {
            self.trips_in_row = 0;
        }
        if reason != TransitionReason::ProbesTimedOut {
            self.new_row();
        }
        let open_for = self.opening(rng);
        self.trips_in_row = self.trips_in_row.saturating_add(1);
        self.trips += 1;
        self.enter(State::Open { until: later(now, open_for), by_links });
        self.transition(from, reason, Some(open_for))
    }

    /// How long the next opening lasts: doubled with each trip in a row, capped, then lengthened by the jitter.
    fn opening(&self, rng: &mut dyn Rng) -> Duration {
        let doublings = self.trips_in_row.min(30);
        let base = self.settings.open_for.saturating_mul(1 << doublings).min(self.settings.open_for_max);
        base.saturating_add(base.mul_f64(self.settings.jitter * rng.random::<f64>()))
    }

    fn half_open(&mut self, reason: TransitionReason) -> BreakerTransition {
        let from = self.inner_state();
        self.enter(State::HalfOpen { probes: Vec::new() });
        self.transition(from, reason, None)
    }

    fn close(&mut self, now: Instant) {
        self.new_row();
        self.enter(State::Closed { since: now });
        self.consecutive = 0;
        self.consecutive_links = 0;
        // What opened it is over; the ratio begins anew.
        self.window.clear();
    }

    /// What probes have proven so far counts no more, nor will what those prove that are still out.
    fn new_row(&mut self) {
        self.row += 1;
        self.proven = 0;
    }

    fn enter(&mut self, state: State) {
        self.state = Some(state);
        self.generation += 1;
    }

    fn transition(
        &self,
        from: BreakerState,
        reason: TransitionReason,
        open_for: Option<Duration>,
    ) -> BreakerTransition {
        BreakerTransition { from, to: self.inner_state(), reason, open_for }
    }
}

#[cfg(test)]
mod tests;
