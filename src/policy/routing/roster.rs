//! What the router knows of each server: a view, kept current by the standings that server actors report.

use std::sync::Arc;

use tokio::time::Instant;

use super::Route;
use crate::config::ServerSpec;
use crate::error::UnavailableServer;
use crate::event::ServerStatus;
use crate::id::Incarnation;
use crate::policy::breaker::Admission;
use crate::policy::strategy::{Candidate, Candidates, Load};

/// Where a server stands, as its actor or its supervisor reports it.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Its status.
    pub status: ServerStatus,
    /// Whether it may become ready within moments, so that waiting for it beats failing.
    pub hopeful: bool,
    /// Whether its tools are known.
    pub listed: bool,
    /// What its breaker lets through.
    pub admission: Admission,
    /// Requests that may be out at once: those that its ready connections can hold, and those that connections still have
    /// which take no new ones. There is room while fewer are in flight.
    pub slots: usize,
    /// Why it is not ready.
    pub reason: Option<String>,
    /// When it is next tried.
    pub retry_at: Option<Instant>,
}

impl Standing {
    /// A server that was just added: everything may come yet.
    pub fn beginning() -> Self {
        Self {
            status: ServerStatus::Connecting,
            hopeful: true,
            listed: false,
            admission: Admission::Free,
            slots: 0,
            reason: None,
            retry_at: None,
        }
    }
}

/// One server as the router sees it. `S` is how the server is reached.
pub struct View<S> {
    pub spec: Arc<ServerSpec>,
    pub incarnation: Incarnation,
    /// None while its actor waits for its next life.
    pub handle: Option<S>,
    pub standing: Standing,
    pub load: Load,
    /// Attempts of open calls that are with the server.
    pub in_flight: usize,
    /// Attempts dispatched to a half-open server since its last report.
    probes: usize,
    /// The server refused a dispatch since its last report.
    refused: bool,
    /// It was unregistered: it finishes what it has.
    pub leaving: bool,
}

impl<S> View<S> {
    pub fn new(
        spec: Arc<ServerSpec>,
        incarnation: Incarnation,
        handle: Option<S>,
        standing: Standing,
    ) -> Self {
        Self {
            spec,
            incarnation,
            handle,
            standing,
            load: Load::new(),
            in_flight: 0,
            probes: 0,
            refused: false,
            leaving: false,
        }
    }

    /// Takes a new report; what was held against the old one is forgotten.
    pub fn report(&mut self, standing: Standing) {
        self.standing = standing;
        self.probes = 0;
        self.refused = false;
    }

    /// Whether its breaker alone holds calls back, and not by order of the host.
    pub fn ejected(&self) -> bool {
        self.standing.status == ServerStatus::Ready
            && matches!(self.standing.admission, Admission::Rejecting { retry_after: Some(_) })
    }

    /// Whether an ejected server could take a call, if its breaker were not asked.
    pub fn admits_bypass(&self) -> bool {
        self.ejected()
            && self.handle.is_some()
            && !self.refused
            && !self.leaving
            && self.in_flight < self.standing.slots
    }

    /// Whether a call may be dispatched to it now.
    pub fn admits(&self) -> bool {
        let gate = match self.standing.admission {
            Admission::Free => true,
            Admission::Probing { permits } => self.probes < permits as usize,
            Admission::Rejecting { .. } => false,
        };
        gate && self.handle.is_some()
            && self.standing.status == ServerStatus::Ready
            && !self.refused
            && !self.leaving
            && self.in_flight < self.standing.slots
    }

    /// Whether it is up, so that servers of a higher priority number are left alone: it admits, or is merely busy. One that is
    /// half-open and has all its probes is not.
    pub fn stands(&self) -> bool {
        self.admits()
            || self.standing.status == ServerStatus::Ready
                && matches!(self.standing.admission, Admission::Free)
                && self.handle.is_some()
                && !self.leaving
    }

    /// Whether a call should rather wait for it than fail.
    pub fn promises(&self) -> bool {
        if self.leaving {
            return false;
        }
        match self.standing.status {
            ServerStatus::Ready => match self.standing.admission {
                Admission::Free | Admission::Probing { .. } => true,
                Admission::Rejecting { .. } => false,
            },
            ServerStatus::Connecting
            | ServerStatus::Disconnected
            | ServerStatus::Restarting
            | ServerStatus::Quarantined
            | ServerStatus::Draining
            | ServerStatus::Stopped
            | ServerStatus::Disabled => self.standing.hopeful,
        }
    }

    /// Counts a dispatch.
    pub fn dispatched(&mut self, shared: bool) {
        self.in_flight += usize::from(shared);
        self.probes += usize::from(shared);
    }

    /// Counts the end of an attempt.
    pub fn released(&mut self, shared: bool) {
        self.in_flight = self.in_flight.saturating_sub(usize::from(shared));
    }

    /// The server would not take what was dispatched.
    pub fn refused(&mut self) {
        self.refused = true;
    }

    /// Why it takes no calls, in words.
    pub fn unavailable(&self, now: Instant) -> UnavailableServer {
        let (reason, retry_after) = match (&self.standing.admission, self.standing.status) {
            (Admission::Rejecting { retry_after }, ServerStatus::Ready) => {
                ("its circuit breaker is open".to_owned(), *retry_after)
            }
            (_, status) => {
                let retry = self.standing.retry_at.map(|at| at.saturating_duration_since(now));
                let reason = match &self.standing.reason {
                    Some(reason) => format!("{status}: {reason}"),
                    None => status.to_string(),
                };
                (reason, retry)
            }
        };
        UnavailableServer { server: self.spec.id.clone(), reason, retry_after }
    }
}

/// The servers of one route, as a strategy sees them.
pub struct RouteCandidates<'a, S> {
    pub servers: &'a [usize],
    pub views: &'a [Option<View<S>>],
    /// A server that is passed over.
    pub avoid: Option<usize>,
    /// Servers of a higher priority number are passed over.
    pub tier: u16,
}

impl<'a, S> RouteCandidates<'a, S> {
    /// The servers of a route, but for one.
    pub fn of(route: &'a Route, views: &'a [Option<View<S>>], avoid: Option<usize>) -> Self {
        let mut candidates = Self { servers: &route.servers, views, avoid, tier: u16::MAX };
        if route.tiered {
            let up = candidates.servers.iter().filter(|place| avoid != Some(**place));
            let up = up.filter_map(|place| views[*place].as_ref()).filter(|view| view.stands());
            candidates.tier = up.map(|view| view.spec.priority).min().unwrap_or(u16::MAX);
        }
        candidates
    }
}

impl<S> Candidates for RouteCandidates<'_, S> {
    fn len(&self) -> usize {
        self.servers.len()
    }

    fn get(&self, index: usize) -> Option<Candidate<'_>> {
        let place = *self.servers.get(index)?;
        let view = self.views.get(place)?.as_ref()?;
        (self.avoid != Some(place) && view.spec.priority <= self.tier && view.admits()).then(|| Candidate {
            server: &view.spec.id,
            weight: view.spec.weight,
            in_flight: view.in_flight,
            load: &view.load,
        })
    }
}
