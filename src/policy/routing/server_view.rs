//! What the router knows of each server: a view, kept current by the standings that server actors report.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Route;
use crate::config::ServerSpec;
use crate::duration::later;
use crate::error::UnavailableServer;
use crate::event::ServerStatus;
use crate::id::Incarnation;
use crate::policy::breaker::Admission;
use crate::policy::slots::{ServerSlot, Table};
use crate::policy::strategy::{Candidate, Candidates, Load};
use crate::stats::Starting;

/// How long after a server was added bare names wait for what it lists first. Two groups may mean different things by one name,
/// and which of them lists first is chance: a name that one of them has may be the other's as well. Most servers list within
/// this time; one that hangs must not hold up the calls to all others for longer.
const NAMES_SETTLE: Duration = Duration::from_secs(3);

/// Where a server stands, as its actor or its supervisor reports it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Standing {
    /// Its status.
    pub status: ServerStatus,
    /// Whether it may become ready within moments, so that waiting for it beats failing. Of one that is idle: whether it may be
    /// started now.
    pub reconnecting_soon: bool,
    /// Whether its tools are known.
    pub listed: bool,
    /// What its breaker lets through.
    pub admission: Admission,
    /// Requests that may be out at once: those that its ready connections can hold, and those that connections still have
    /// which take no new ones. There is room while fewer are in flight.
    pub slots: usize,
    /// Why it is not ready; while it is starting, why the last attempt failed.
    pub reason: Option<String>,
    /// How far the start of its process is.
    pub starting: Option<Starting>,
    /// When it is next tried.
    pub retry_at: Option<Instant>,
    /// Attempts to reach it that failed, since it was last in good order.
    pub attempts: u32,
}

impl Standing {
    /// A server that was just added: everything may come yet.
    pub(crate) fn beginning() -> Self {
        Self {
            status: ServerStatus::Connecting,
            reconnecting_soon: true,
            listed: false,
            admission: Admission::Free,
            slots: 0,
            reason: None,
            starting: None,
            retry_at: None,
            attempts: 0,
        }
    }

    /// A server that is started by the first call that needs it.
    pub(crate) fn idle() -> Self {
        Self { status: ServerStatus::Idle, listed: true, ..Self::beginning() }
    }

    /// Why it is not ready, as it is told at this moment.
    pub(crate) fn reason_at(&self, now: Instant) -> Option<String> {
        match &self.starting {
            Some(starting) => Some(starting.after(self.reason.as_deref(), now)),
            None => self.reason.clone(),
        }
    }
}

/// One server as the router sees it. `S` is how the server is reached.
pub(super) struct View<S> {
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
    /// It was told that it is needed since its last report.
    needed: bool,
    /// It was unregistered: it finishes what it has.
    pub leaving: bool,
    /// The server asked to be left alone until then.
    pub paused_until: Option<Instant>,
    /// Until when those who watch believe that.
    pub told_paused_until: Option<Instant>,
    /// When it was added.
    pub added: Instant,
    /// It had listed its tools when it was added, as where the router is new.
    pub listed_before: bool,
    /// When it listed them for the first time after that.
    pub listed_since: Option<Instant>,
}

/// What a server's standing is, where few are so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its breaker alone holds calls back, and not by order of the host.
    Ejected,
    /// It does not run, and may be started.
    Idle,
    Usual,
}

impl Kind {
    pub(super) fn of(standing: &Standing) -> Self {
        match (standing.status, &standing.admission) {
            (ServerStatus::Ready, Admission::Rejecting { retry_after: Some(_) }) => Self::Ejected,
            (ServerStatus::Idle, _) => Self::Idle,
            _ => Self::Usual,
        }
    }
}

/// How many servers are of each rare kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rare {
    pub ejected: usize,
    pub idle: usize,
}

impl Rare {
    /// A server was of one kind, if it was there, and is of another.
    pub(super) fn change(&mut self, former: Option<Kind>, now: Option<Kind>) {
        if let Some(count) = former.and_then(|kind| self.count(kind)) {
            *count -= 1;
        }
        if let Some(count) = now.and_then(|kind| self.count(kind)) {
            *count += 1;
        }
    }

    /// Whether it counts these.
    pub(super) fn is_of<'s>(&self, standings: impl Iterator<Item = &'s Standing>) -> bool {
        let mut counted = Self::default();
        standings.for_each(|standing| counted.change(None, Some(Kind::of(standing))));
        *self == counted
    }

    fn count(&mut self, kind: Kind) -> Option<&mut usize> {
        match kind {
            Kind::Ejected => Some(&mut self.ejected),
            Kind::Idle => Some(&mut self.idle),
            Kind::Usual => None,
        }
    }
}

impl<S> View<S> {
    pub(super) fn new(
        spec: Arc<ServerSpec>,
        incarnation: Incarnation,
        handle: Option<S>,
        standing: Standing,
        now: Instant,
    ) -> Self {
        Self {
            spec,
            added: now,
            listed_before: standing.listed,
            listed_since: None,
            incarnation,
            handle,
            standing,
            load: Load::new(),
            in_flight: 0,
            probes: 0,
            refused: false,
            needed: false,
            leaving: false,
            paused_until: None,
            told_paused_until: None,
        }
    }

    /// Whether it had listed its tools when another server was added: then its names are settled.
    pub(super) fn had_listed(&self, added: Instant) -> bool {
        self.listed_before || self.listed_since.is_some_and(|since| since < added)
    }

    /// Until when bare names wait for what it lists first.
    pub(super) fn names_until(&self) -> Instant {
        later(self.added, NAMES_SETTLE)
    }

    /// Whether a bare name may turn out to be its as well: it has listed nothing yet, and its first attempt goes on.
    pub(super) fn may_share_names(&self) -> bool {
        let Standing { listed, attempts, .. } = self.standing;
        !listed && attempts == 0 && self.promises()
    }

    /// Takes a new report; what was held against the old one is forgotten.
    pub(super) fn report(&mut self, standing: Standing, now: Instant) {
        self.listed_since = self.listed_since.or(standing.listed.then_some(now));
        self.standing = standing;
        self.probes = 0;
        self.refused = false;
        self.needed = false;
    }

    /// Whether its breaker alone holds calls back, and not by order of the host.
    pub(super) fn ejected(&self) -> bool {
        Kind::of(&self.standing) == Kind::Ejected
    }

    /// Whether an ejected server could take a call, if its breaker were not asked.
    pub(super) fn admits_bypass(&self) -> bool {
        self.ejected()
            && self.handle.is_some()
            && !self.refused
            && !self.leaving
            && self.paused_until.is_none()
            && self.in_flight < self.standing.slots
    }

    /// Whether a call may be dispatched to it now.
    pub(super) fn admits(&self) -> bool {
        let gate = match self.standing.admission {
            Admission::Free => true,
            Admission::Probing { permits } => self.probes < permits as usize,
            Admission::Rejecting { .. } => false,
        };
        gate && self.handle.is_some()
            && self.standing.status == ServerStatus::Ready
            && !self.refused
            && !self.leaving
            && self.paused_until.is_none()
            && self.in_flight < self.standing.slots
    }

    /// Whether it is up, so that servers of a higher priority number are left alone: it admits, or is merely busy. One that is
    /// half-open and has all its probes is not, nor one that asked to be left alone.
    pub(super) fn stands(&self) -> bool {
        self.admits()
            || self.standing.status == ServerStatus::Ready
                && matches!(self.standing.admission, Admission::Free)
                && self.handle.is_some()
                && self.paused_until.is_none()
                && !self.leaving
    }

    /// Whether it does not run, and would start for a call that waits: it can be reached, its breaker lets calls through, and it
    /// does not rest after an attempt that failed.
    fn would_start(&self) -> bool {
        self.standing.status == ServerStatus::Idle
            && self.standing.reconnecting_soon
            && !matches!(self.standing.admission, Admission::Rejecting { .. })
            && !self.leaving
    }

    /// Whether a call that waits has to have it started.
    pub(super) fn is_to_be_started(&self) -> bool {
        self.would_start() && !self.needed && self.handle.is_some() && self.paused_until.is_none()
    }

    /// Whether it is on its way: being started, or about to be.
    pub(super) fn is_starting(&self) -> bool {
        match self.standing.status {
            ServerStatus::Ready => false,
            ServerStatus::Idle => self.needed && self.would_start(),
            ServerStatus::Connecting
            | ServerStatus::Disconnected
            | ServerStatus::Restarting
            | ServerStatus::Quarantined
            | ServerStatus::Draining
            | ServerStatus::Stopped
            | ServerStatus::Disabled => self.promises(),
        }
    }

    /// It was told that it is needed.
    pub(super) fn told_needed(&mut self) {
        self.needed = true;
    }

    /// Whether a call should rather wait for it than fail.
    pub(super) fn promises(&self) -> bool {
        if self.leaving {
            return false;
        }
        match self.standing.status {
            ServerStatus::Ready => match self.standing.admission {
                Admission::Free | Admission::Probing { .. } => true,
                Admission::Rejecting { .. } => false,
            },
            ServerStatus::Idle => self.would_start(),
            ServerStatus::Connecting
            | ServerStatus::Disconnected
            | ServerStatus::Restarting
            | ServerStatus::Quarantined
            | ServerStatus::Draining
            | ServerStatus::Stopped
            | ServerStatus::Disabled => self.standing.reconnecting_soon,
        }
    }

    /// Counts a dispatch.
    pub(super) fn dispatched(&mut self, shared: bool) {
        self.in_flight += usize::from(shared);
        self.probes += usize::from(shared);
    }

    /// Counts the end of an attempt.
    pub(super) fn released(&mut self, shared: bool) {
        self.in_flight = self.in_flight.saturating_sub(usize::from(shared));
    }

    /// The server would not take what was dispatched.
    pub(super) fn refused(&mut self) {
        self.refused = true;
    }

    /// Why it takes no calls, in words, and when it may.
    pub(super) fn unavailable(&self, now: Instant) -> UnavailableServer {
        let Standing { status, admission, retry_at, .. } = &self.standing;
        let wait = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(now));
        let (reason, next_attempt) = match (admission, status) {
            (Admission::Rejecting { retry_after }, ServerStatus::Ready) => (None, *retry_after),
            (Admission::Rejecting { retry_after }, ServerStatus::Idle) => {
                (Some("its circuit breaker is open".to_owned()), *retry_after)
            }
            (_, ServerStatus::Ready) if self.paused_until.is_some() => {
                let reason = "it takes no more requests for now, by its own word (Retry-After)";
                (Some(reason.to_owned()), wait(self.paused_until))
            }
            _ => (self.standing.reason_at(now), wait(*retry_at)),
        };
        UnavailableServer::new(self.spec.id.clone(), *status, reason, next_attempt)
    }
}

/// The servers of one route, as a strategy sees them.
pub(super) struct RouteCandidates<'a, S> {
    pub servers: &'a [ServerSlot],
    pub views: &'a Table<ServerSlot, Option<View<S>>>,
    /// A server that is passed over.
    pub avoid: Option<ServerSlot>,
    /// Servers of a higher priority number are passed over.
    pub tier: u16,
}

impl<'a, S> RouteCandidates<'a, S> {
    /// The servers of a route, but for one.
    pub(super) fn of(
        route: &'a Route,
        views: &'a Table<ServerSlot, Option<View<S>>>,
        avoid: Option<ServerSlot>,
    ) -> Self {
        let mut candidates = Self { servers: &route.servers, views, avoid, tier: u16::MAX };
        if route.tiered {
            let up = candidates.servers.iter().filter(|slot| avoid != Some(**slot));
            let up = up.filter_map(|slot| views[*slot].as_ref()).filter(|view| view.stands());
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
        let slot = *self.servers.get(index)?;
        let view = self.views.get(slot)?.as_ref()?;
        (self.avoid != Some(slot) && view.spec.priority <= self.tier && view.admits()).then(|| Candidate {
            server: &view.spec.id,
            weight: view.spec.weight,
            in_flight: view.in_flight,
            load: &view.load,
        })
    }
}
