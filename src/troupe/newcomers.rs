//! Servers that have yet to tell what they offer: for who shows what is offered to somebody else.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::{Readiness, Troupe, is_resting};
use crate::actors::registry::roster::{Roster, RosterEntry};
use crate::event::ServerStatus;

/// What comes after a look at the servers.
pub(crate) struct RosterChanges(watch::Receiver<Arc<Roster>>);

impl RosterChanges {
    /// Waits until something has changed that a server is, or until this moment. False when the troupe has ended.
    pub(crate) async fn next_until(&mut self, until: Instant) -> bool {
        !matches!(timeout_at(until, self.0.changed()).await, Ok(Err(_)))
    }
}

impl Troupe {
    /// What changes from now on.
    pub(crate) fn roster_changes(&self) -> RosterChanges {
        let mut roster = self.0.roster.clone();
        roster.mark_unchanged();
        RosterChanges(roster)
    }

    /// Whether a server is in its first attempt, or has just been reached and has yet to list.
    pub(crate) fn has_newcomers(&self) -> bool {
        let roster = self.0.roster.borrow();
        !Readiness::Settled.met_by(&roster) || roster.entries.iter().any(has_yet_to_list)
    }

    /// Waits until there are no newcomers, or until this moment.
    pub(crate) async fn without_newcomers(&self, until: Instant) {
        let mut changes = self.roster_changes();
        while self.has_newcomers() && Instant::now() < until && changes.next_until(until).await {}
    }

    /// Whether a server is on its way that may tell of something nobody is known to offer.
    pub(crate) fn may_still_tell(&self) -> bool {
        let connecting = |entry: &RosterEntry| !entry.listed && entry.info.status == ServerStatus::Connecting;
        self.has_newcomers() || self.0.roster.borrow().entries.iter().any(connecting)
    }

    /// The servers that may offer what nobody is known to: those that have not told what they offer, by id.
    pub(crate) fn not_listed(&self) -> Vec<String> {
        let roster = self.0.roster.borrow();
        let silent = roster.entries.iter().filter(|entry| !entry.listed && !is_resting(&entry.info));
        silent.map(|entry| entry.info.id.to_string()).collect()
    }

    /// The deadline of calls that name none.
    pub(crate) fn call_timeout(&self) -> Duration {
        self.0.settings.borrow().call_timeout
    }
}

fn has_yet_to_list(entry: &RosterEntry) -> bool {
    !entry.listed && entry.info.status == ServerStatus::Ready
}
