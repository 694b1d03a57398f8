//! What a server actor tells of itself.

use tokio::time::Instant;

use super::ServerState;
use crate::actors::registry::messages::RegistryMsg;
use crate::actors::server::messages::ServerReport;
use crate::config::Start;
use crate::event::ServerStatus;
use crate::policy::breaker::Admission;
use crate::policy::routing::Standing;
use crate::stats::PoolStats;

impl ServerState {
    /// Answers who asks for the figures, when they are the server's.
    pub(super) fn tell_figures(&mut self, now: Instant) {
        if self.asked.is_empty() || self.is_waiting_for_its_ledger() {
            return;
        }
        for port in std::mem::take(&mut self.asked) {
            // Whoever asked may have left.
            let _ = port.send(self.figures(now));
        }
    }

    fn figures(&self, now: Instant) -> ServerReport {
        let ledger = self.carried.ledger.as_ref().expect("the ledger leaves only when the state is dropped");
        ServerReport {
            breaker: ledger.breaker.stats(now),
            pool: PoolStats { leased: self.leases.len(), ..self.pool.stats() },
            latency: ledger.latency.stats(),
            outcomes: ledger.outcomes.clone(),
        }
    }

    pub(super) fn standing(&mut self, now: Instant) -> Standing {
        let known = self.offer.is_some() && !self.is_waiting_for_its_ledger();
        let idle = self.demand.is_idle();
        let rests = self.reconnect_at.is_some_and(|at| at > now);
        let status = if idle {
            ServerStatus::Idle
        } else if self.pool.is_ready() && known {
            ServerStatus::Ready
        } else if self.connections.values().any(|held| !held.closing && !held.leased) {
            ServerStatus::Connecting
        } else if self.spec.start == Start::OnDemand && !rests {
            // It waits for its lists, or for the end of what it had before it was idle.
            ServerStatus::Connecting
        } else {
            ServerStatus::Disconnected
        };
        let up = status == ServerStatus::Ready;
        Standing {
            status,
            reconnecting_soon: idle && !rests
                || self.starts.hope_left.is_some()
                || self.grace_until.is_some_and(|until| until > now),
            listed: self.listed || idle && (self.offer.is_some() || self.known.is_some()),
            admission: self.ledger().breaker.admission(now),
            slots: if self.drain_until.is_some() { 0 } else { self.pool.slots() },
            reason: if up { None } else { self.last_error.clone().or_else(|| self.waits_for(status)) },
            starting: if status == ServerStatus::Connecting { self.starts.shown() } else { None },
            retry_at: if up { None } else { self.reconnect_at.filter(|at| *at > now) },
            attempts: if up || idle && self.last_error.is_none() {
                0
            } else {
                let ledger = self.ledger();
                ledger.reconnect.attempts().max(ledger.starts.attempts())
            },
        }
    }

    /// What a server that has answered the handshake is waited for.
    fn waits_for(&self, status: ServerStatus) -> Option<String> {
        let asked = status == ServerStatus::Connecting && self.pool.is_ready() && self.offer.is_none();
        asked.then(|| "its list of tools is awaited".to_owned())
    }

    /// Tells the registry where the server stands, if that differs from what it was told last.
    pub(super) fn report(&mut self, now: Instant) {
        let standing = self.standing(now);
        let known = self.reported.as_ref().is_some_and(|reported| same(reported, &standing));
        // A half-open breaker's permits are counted by the router from report to report.
        let counted = matches!(standing.admission, Admission::Probing { .. });
        let lifts = self.refused && self.pool.in_flight() < self.pool.slots();
        if known && !counted && !lifts {
            return;
        }
        self.refused &= !lifts;
        self.reported = Some(standing.clone());
        let (server, incarnation) = (self.spec.id.clone(), self.incarnation);
        // Without a registry this life is ending.
        let _ = self.registry.cast(RegistryMsg::Report { server, incarnation, standing });
    }
}

/// Whether two standings mean the same to the router; the time left of an open breaker runs by itself.
fn same(a: &Standing, b: &Standing) -> bool {
    let gate = match (&a.admission, &b.admission) {
        (Admission::Rejecting { .. }, Admission::Rejecting { .. }) => true,
        (a, b) => a == b,
    };
    gate && (a.status, a.reconnecting_soon, a.listed, a.slots)
        == (b.status, b.reconnecting_soon, b.listed, b.slots)
        && (&a.reason, &a.starting, a.retry_at, a.attempts)
            == (&b.reason, &b.starting, b.retry_at, b.attempts)
}
