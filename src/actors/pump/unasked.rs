//! What a peer tells unasked, on its way to the server actor: at a bounded rate, with nothing lost.
//!
//! Ends of calls are reported in the turn in which they come: there are as many as calls. What a peer decides alone
//! (that lists and resources changed, answers to nothing, oddities) is reported so many times a second and gathered in
//! between. So a flood costs its reading and fills no mailbox. A report of ended calls carries what was gathered until
//! then: the cache must not be behind an answer that has been passed on.

use std::pin::Pin;
use std::task::{Context as Poller, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::actors::pump::messages::Report;
use crate::policy::rate::{Allowance, Rate};

/// Reports of nothing else. Lists are gathered for as long before they are fetched again, and nobody sees the
/// difference.
const UNASKED: Rate = Rate::per_second(10, 10);

/// Names of resources that changed, in one report: more than a host may subscribe to, of servers that are alive.
const UPDATED_MAX: usize = 1_000;

/// The bytes of these names.
const UPDATED_BYTES_MAX: usize = 256 << 10;

/// When the next report of what came unasked may be sent.
pub(super) struct Unasked {
    allowance: Allowance,
    /// Runs while one is held back.
    held: Option<Pin<Box<Sleep>>>,
}

impl Unasked {
    pub(super) fn new(now: Instant) -> Self {
        Self { allowance: Allowance::new(UNASKED, now), held: None }
    }

    /// Whether a report of nothing else may be sent now; if not, the task is woken when it may.
    pub(super) fn may_pass(&mut self, poller: &mut Poller<'_>) -> bool {
        if let Some(held) = &mut self.held {
            if held.as_mut().poll(poller).is_pending() {
                return false;
            }
            self.held = None;
        }
        let now = Instant::now();
        if self.allowance.take(now) {
            return true;
        }
        let mut held = Box::pin(sleep_until(self.allowance.next_at(now)));
        let over = held.as_mut().poll(poller) == Poll::Ready(());
        self.held = Some(held);
        over
    }
}

impl Report {
    /// A resource of the peer's changed. Where that are too many to name, it is said that there are more.
    pub(super) fn note_update(&mut self, uri: String) {
        if self.updated.uris.contains(&uri) {
            return;
        }
        let bytes = self.updated.bytes + uri.len();
        if self.updated.uris.len() >= UPDATED_MAX || bytes > UPDATED_BYTES_MAX {
            self.updated.beyond = true;
            return;
        }
        self.updated.bytes = bytes;
        self.updated.uris.insert(uri);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_held_back_passes_when_its_time_has_come() {
        let begun = Instant::now();
        let mut unasked = Unasked::new(begun);
        let pass = async |unasked: &mut Unasked| {
            poll_fn(|poller| if unasked.may_pass(poller) { Poll::Ready(()) } else { Poll::Pending }).await;
            Instant::now().saturating_duration_since(begun)
        };
        for _ in 0..UNASKED.burst {
            assert_eq!(pass(&mut unasked).await, Duration::ZERO);
        }
        for n in 1..=20 {
            assert_eq!(pass(&mut unasked).await.as_millis() / 10, 10 * n);
        }
    }

    #[test]
    fn updates_beyond_what_is_named_are_not_forgotten() {
        let mut report = Report::default();
        for n in 0..UPDATED_MAX {
            report.note_update(format!("file:///{n}"));
            report.note_update("file:///0".to_owned());
        }
        assert_eq!((report.updated.uris.len(), report.updated.beyond), (UPDATED_MAX, false));
        report.note_update("file:///more".to_owned());
        assert_eq!((report.updated.uris.len(), report.updated.beyond), (UPDATED_MAX, true));
        let mut long = Report::default();
        long.note_update("x".repeat(UPDATED_BYTES_MAX + 1));
        assert_eq!((long.updated.uris.len(), long.updated.beyond), (0, true));
    }
}
