//! A server actor's figures.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::names;
use crate::event::{BreakerState, BreakerTransition};
use crate::id::ServerId;

/// The handles that a server actor writes to.
pub(crate) struct ServerMeters {
    server: ServerId,
    duration: Histogram,
    /// The few that occur, by outcome.
    outcomes: Vec<(&'static str, Counter)>,
    late: Counter,
    connections: Gauge,
    /// What this life has added to the gauge: a life that finishes beside its successor has some too.
    connected: usize,
}

impl ServerMeters {
    pub(crate) fn new(server: &ServerId, breaker: BreakerState) -> Self {
        show_breaker(server, Some(breaker));
        Self {
            duration: histogram!(names::ATTEMPT_DURATION, "server" => server.to_string()),
            outcomes: Vec::new(),
            late: counter!(names::LATE_ANSWERS, "server" => server.to_string()),
            connections: gauge!(names::CONNECTIONS, "server" => server.to_string()),
            connected: 0,
            server: server.clone(),
        }
    }

    /// An attempt ended, so long after it was sent if it was.
    pub(crate) fn attempted(&mut self, outcome: &'static str, latency: Option<Duration>) {
        if let Some(latency) = latency {
            self.duration.record(latency);
        }
        let known = self.outcomes.iter().find(|(known, _)| *known == outcome);
        match known {
            Some((_, counter)) => counter.increment(1),
            None => {
                let server = self.server.to_string();
                let counter = counter!(names::ATTEMPTS, "server" => server, "outcome" => outcome);
                counter.increment(1);
                self.outcomes.push((outcome, counter));
            }
        }
    }

    /// Answers came when nobody waited for them.
    pub(crate) fn late(&self, answers: u64) {
        self.late.increment(answers);
    }

    /// There are so many usable connections.
    pub(crate) fn connected(&mut self, connections: impl FnOnce() -> usize) {
        let connections = connections();
        if connections != self.connected {
            self.connections.increment(connections as f64 - self.connected as f64);
            self.connected = connections;
        }
    }

    /// The breaker is in this state, and has changed for nobody.
    pub(crate) fn shows(&self, state: BreakerState) {
        show_breaker(&self.server, Some(state));
    }

    /// The breaker changed its state, and shows this one.
    pub(crate) fn transition(&self, transition: &BreakerTransition, state: BreakerState) {
        show_breaker(&self.server, Some(state));
        counter!(
            names::BREAKER_TRANSITIONS,
            "server" => self.server.to_string(),
            "to" => transition.to.to_string(),
            "reason" => transition.reason.name(),
        )
        .increment(1);
    }
}

/// A life that is over has no connections.
impl Drop for ServerMeters {
    fn drop(&mut self) {
        self.connected(|| 0);
    }
}

/// Shows which state a breaker has; none where its server is gone.
pub(super) fn show_breaker(server: &ServerId, state: Option<BreakerState>) {
    for other in BreakerState::ALL {
        let gauge =
            gauge!(names::BREAKER_STATE, "server" => server.to_string(), "state" => other.to_string());
        gauge.set(if state == Some(other) { 1.0 } else { 0.0 });
    }
}
