//! When a client is told that a list has changed.
//!
//! Each notice costs it a list, which may be a megabyte, and a model's cache of its prompt. So it is told only where its own list is
//! another one than it knows, not before it has listed at all, at first after a moment of quiet, and then at growing distances while
//! changes go on.

use std::time::Duration;

use tokio::time::Instant;

use crate::duration::later;

/// How long it must be quiet after a change: servers that start together list together.
const QUIET: Duration = Duration::from_millis(200);

/// The largest distance of two notices.
const DISTANCE_MAX: Duration = Duration::from_secs(10);

/// The notices about one list of one client.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    /// What the client knows: the hash of the list when it listed, or was last told. None before its first list.
    known: Option<u64>,
    due: Option<Instant>,
    /// The first change that has not been told.
    since: Option<Instant>,
    told_at: Option<Instant>,
    /// How long after that notice the next one may come.
    distance: Duration,
}

impl Notices {
    /// The client was given the list.
    pub(crate) fn listed(&mut self, hash: u64) {
        self.known = Some(hash);
        (self.due, self.since) = (None, None);
    }

    /// Whether the client has asked for the list.
    pub(crate) fn has_listed(&self) -> bool {
        self.known.is_some()
    }

    /// The list may have changed.
    pub(crate) fn changed(&mut self, hash: u64, now: Instant) {
        if self.known.is_none() {
            return;
        }
        if self.known == Some(hash) {
            (self.due, self.since) = (None, None);
            return;
        }
        let since = *self.since.get_or_insert(now);
        // One that goes on to change is told after the largest distance all the same.
        let quiet = later(now, QUIET).min(later(since, DISTANCE_MAX));
        let earliest = self.told_at.map_or(now, |told_at| later(told_at, self.distance));
        self.due = Some(quiet.max(earliest));
    }

    /// When the next notice is due, if there is one.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether the client is to be told now.
    pub(crate) fn take(&mut self, hash: u64, now: Instant) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        let since = self.since.take().unwrap_or(now);
        self.due = None;
        if self.known == Some(hash) {
            return false;
        }
        let calm = self.told_at.is_none_or(|told_at| since >= later(told_at, DISTANCE_MAX));
        self.distance = if calm { QUIET } else { self.distance.saturating_mul(2).min(DISTANCE_MAX) };
        self.told_at = Some(now);
        self.known = Some(hash);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes every `every`, for `changes` times. When notices come, in milliseconds from the first change.
    fn play(notices: &mut Notices, every: Duration, changes: u64) -> Vec<u128> {
        let begin = Instant::now();
        let (mut told, mut hash) = (Vec::new(), 100);
        let mut now = begin;
        for _ in 0..changes {
            hash += 1;
            notices.changed(hash, now);
            let next = now + every;
            while let Some(due) = notices.due().filter(|due| *due <= next) {
                if notices.take(hash, due) {
                    told.push((due - begin).as_millis());
                }
            }
            now = next;
        }
        if let Some(due) = notices.due()
            && notices.take(hash, due)
        {
            told.push((due - begin).as_millis());
        }
        told
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_told_before_the_first_list() {
        let mut notices = Notices::default();
        assert_eq!(play(&mut notices, Duration::from_secs(1), 3), [0_u128; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_change_is_told_after_a_moment_of_quiet() {
        let mut notices = Notices::default();
        notices.listed(1);
        assert_eq!(play(&mut notices, Duration::from_millis(50), 10), [650]);
    }

    #[tokio::test(start_paused = true)]
    async fn changes_that_go_on_are_told_at_growing_distances_of_ten_seconds_at_most() {
        let mut notices = Notices::default();
        notices.listed(1);
        let told = play(&mut notices, Duration::from_millis(250), 400);
        let distances: Vec<u128> = told.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let (last, growing) = distances.split_last().unwrap();
        assert!(growing.is_sorted() && *last <= 10_250, "{distances:?}");
        assert!(told.len() < 20 && distances.iter().all(|distance| *distance <= 10_250), "{told:?}");
        // After a calm stretch it is as at first.
        notices.changed(9_000, Instant::now() + Duration::from_secs(200));
        assert_eq!(notices.due(), Some(Instant::now() + Duration::from_secs(200) + QUIET));
        // No quiet at all.
        let mut notices = Notices::default();
        notices.listed(1);
        let told = play(&mut notices, Duration::from_millis(100), 1_000);
        assert_eq!(told[0], 10_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_is_again_what_the_client_knows_is_not_told() {
        let (mut notices, now) = (Notices::default(), Instant::now());
        notices.listed(1);
        notices.changed(2, now);
        notices.changed(1, now);
        assert_eq!(notices.due(), None);
        notices.changed(2, now);
        assert!(!notices.take(1, now + QUIET), "it changed back unseen");
        notices.changed(2, now);
        assert!(!notices.take(2, now) && notices.take(2, now + QUIET));
        // It was told that there is another one.
        notices.changed(2, now);
        assert_eq!(notices.due(), None);
    }
}
