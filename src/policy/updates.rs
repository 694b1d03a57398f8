//! Resources that a server says have changed, gathered, so that who is told of them is told at a bounded rate.
//!
//! What an honest server tells is told at once, so that who reads next reads what is there now. Of a flood what comes within a
//! moment is gathered and told together, each resource once. Those that somebody subscribed to are all kept apart. Of the
//! others a few are; beyond that all resources of the server count as changed, which is always right where it is about what
//! is kept of them.
//!
//! Before an answer is passed on the cache learns of everything that was gathered, whatever the rate
//! ([`sweep`](Updates::sweep)): there are as many answers as calls. Hosts still wait their time.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::rate::{Allowance, Rate};

use crate::duration::later;

/// How often something is told: ten times a second, and more at once than anybody changes by hand.
const TELLINGS: Rate = Rate::per_second(10, 64);

/// For each subscribed resource that is told the next telling comes later by this, so that a server has no more than a
/// thousand events a second.
const EVERY_RESOURCE: Duration = Duration::from_millis(1);

/// Resources without a subscription that are told apart. An honest server tells of those alone that it was asked about.
const OTHERS_MAX: usize = 100;

/// The longest URI that is kept, in bytes: none that is listed is longer.
const URI_BYTES_MAX: usize = 8 << 10;

/// What changed since it was told last.
#[derive(Debug)]
pub(crate) struct Updates {
    gathered: Updated,
    tellings: Allowance,
    /// Nothing is told before this.
    next_at: Option<Instant>,
}

/// Resources that changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Updated {
    /// Those that somebody subscribed to.
    pub subscribed: BTreeSet<String>,
    /// Those of the others that are told apart.
    pub others: BTreeSet<String>,
    /// Any other one may have changed, too.
    pub all: bool,
    /// Others that the cache knows of already: they may be parts of what somebody subscribed to.
    pub(crate) swept_others: BTreeSet<String>,
    /// Any may have changed, which the cache knows already.
    pub(crate) swept_all: bool,
    /// Those that somebody subscribed to and the cache knows of already; only hosts are to be told.
    pub swept: BTreeSet<String>,
}

impl Updated {
    fn is_empty(&self) -> bool {
        self.is_swept() && self.swept.is_empty() && self.swept_others.is_empty() && !self.swept_all
    }

    /// Whether the cache knows of everything.
    fn is_swept(&self) -> bool {
        self.subscribed.is_empty() && self.others.is_empty() && !self.all
    }
}

impl Updates {
    /// Nothing changed yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self { gathered: Updated::default(), tellings: Allowance::new(TELLINGS, now), next_at: None }
    }

    /// A resource changed. The number of those that are subscribed to is the host's to bound.
    pub(crate) fn note(&mut self, uri: String, subscribed: bool) {
        let Updated { subscribed: wanted, others, all, swept, .. } = &mut self.gathered;
        if subscribed {
            // It changed again: the cache has to learn of that too, and hosts still once.
            swept.remove(&uri);
            wanted.insert(uri);
        } else if *all || others.contains(&uri) {
            // It counts already.
        } else if others.len() < OTHERS_MAX && uri.len() <= URI_BYTES_MAX {
            others.insert(uri);
        } else {
            self.note_all();
        }
    }

    /// Resources changed that nobody names.
    pub(crate) fn note_all(&mut self) {
        self.gathered.all = true;
        self.gathered.others.clear();
    }

    /// What is to be told now.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Updated> {
        if self.gathered.is_empty() || self.next_at.is_some_and(|at| at > now) {
            return None;
        }
        if !self.tellings.take(now) {
            self.next_at = Some(later(now, TELLINGS.interval));
            return None;
        }
        let updated = std::mem::take(&mut self.gathered);
        let told = updated.subscribed.len() + updated.swept.len();
        let told = u32::try_from(told).unwrap_or(u32::MAX);
        self.next_at = Some(later(now, EVERY_RESOURCE.saturating_mul(told)));
        Some(updated)
    }

    /// What the cache has to learn before an answer is passed on. Hosts are told of it when it is time. Beyond a few names
    /// it is all resources: a call must not cost a sweep for each name that a server can think of.
    pub(crate) fn sweep(&mut self) -> Option<Updated> {
        if self.gathered.is_swept() {
            return None;
        }
        let mut stale = std::mem::take(&mut self.gathered);
        self.gathered.swept = std::mem::take(&mut stale.swept);
        self.gathered.swept.extend(stale.subscribed.iter().cloned());
        self.gathered.swept_others = std::mem::take(&mut stale.swept_others);
        self.gathered.swept_others.extend(stale.others.iter().cloned());
        self.gathered.swept_all = std::mem::take(&mut stale.swept_all) | stale.all;
        if self.gathered.swept_others.len() > OTHERS_MAX {
            self.gathered.swept_others.clear();
            self.gathered.swept_all = true;
        }
        if stale.subscribed.len() + stale.others.len() > OTHERS_MAX {
            stale = Updated { all: true, ..Updated::default() };
        }
        Some(stale)
    }

    /// What was still to be told, where nothing follows.
    pub(crate) fn rest(&mut self) -> Option<Updated> {
        Some(std::mem::take(&mut self.gathered)).filter(|updated| !updated.is_empty())
    }

    /// When [`take`](Self::take) next has something, if nothing else happens.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.next_at.filter(|_| !self.gathered.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uris<const N: usize>(uris: [&str; N]) -> BTreeSet<String> {
        uris.map(str::to_owned).into()
    }

    #[test]
    fn what_an_honest_server_tells_is_told_at_once_and_a_flood_once_and_together() {
        let now = Instant::now();
        let mut updates = Updates::new(now);
        for n in 0..u64::from(TELLINGS.burst) {
            updates.note("a".into(), false);
            let told = updates.take(now).unwrap_or_else(|| panic!("the update {n} waits"));
            assert_eq!((told.subscribed, told.others, told.all), (uris([]), uris(["a"]), false));
        }
        assert_eq!((updates.take(now), updates.due_at()), (None, None), "there is nothing to tell");
        for (uri, subscribed) in [("a", true), ("b", false), ("a", true), ("b", false)] {
            updates.note(uri.into(), subscribed);
            assert_eq!(updates.take(now), None, "it is gathered");
        }
        let at = updates.due_at().unwrap();
        assert_eq!(at, now + TELLINGS.interval);
        let told = updates.take(at).unwrap();
        assert_eq!((told.subscribed, told.others, told.all), (uris(["a"]), uris(["b"]), false));
    }

    #[test]
    fn a_flood_of_names_counts_as_all_and_hides_no_subscribed_one() {
        let now = Instant::now();
        let mut updates = Updates::new(now);
        (0..10_000).for_each(|n| updates.note(format!("x:{n}"), false));
        updates.note("mine".into(), true);
        let told = updates.take(now).unwrap();
        assert_eq!((told.subscribed, told.others, told.all), (uris(["mine"]), uris([]), true));
        updates.note("x".repeat(URI_BYTES_MAX + 1), false);
        assert!(updates.take(now + EVERY_RESOURCE).unwrap().all, "a name that is too long to be kept");
    }

    #[test]
    fn the_cache_learns_of_everything_before_an_answer_and_hosts_once_when_it_is_time() {
        let now = Instant::now();
        let mut updates = Updates::new(now);
        while updates.tellings.take(now) {}
        updates.note("mine".into(), true);
        assert_eq!(updates.take(now), None, "hosts wait");
        for n in 0..1_000 {
            updates.note("mine".into(), true);
            updates.note(format!("x:{n}"), false);
            let stale = updates.sweep().unwrap();
            assert_eq!((stale.subscribed, stale.others.len(), stale.all), (uris(["mine"]), 1, false));
            assert_eq!((updates.sweep(), updates.take(now)), (None, None), "it is swept, and hosts wait");
        }
        let told = updates.take(updates.due_at().unwrap()).unwrap();
        assert_eq!((told.swept, told.subscribed, told.others), (uris(["mine"]), uris([]), uris([])));
        assert_eq!(updates.rest(), None);
    }

    #[test]
    fn a_sweep_of_many_names_is_one_of_all() {
        let mut updates = Updates::new(Instant::now());
        (0..=OTHERS_MAX).for_each(|n| updates.note(format!("x:{n}"), true));
        assert_eq!(updates.sweep(), Some(Updated { all: true, ..Updated::default() }));
        assert_eq!(updates.rest().unwrap().swept.len(), OTHERS_MAX + 1, "hosts learn of each");
    }

    #[test]
    fn a_server_has_no_more_than_a_thousand_events_a_second() {
        let begun = Instant::now();
        let mut updates = Updates::new(begun);
        let (mut now, mut told) = (begun, 0);
        while now < begun + Duration::from_secs(10) {
            (0..1_000).for_each(|n| updates.note(format!("x:{n}"), true));
            told += updates.take(now).map_or(0, |updated| updated.subscribed.len());
            now += Duration::from_millis(10);
        }
        assert!((5_000..=10_000).contains(&told), "{told}");
    }

    #[test]
    fn what_the_cache_learned_before_an_answer_is_still_told_to_hosts() {
        let now = Instant::now();
        let mut updates = Updates::new(now);
        updates.note("a/part".into(), false);
        assert_eq!(updates.sweep().map(|stale| stale.others), Some(uris(["a/part"])));
        assert!(updates.sweep().is_none(), "the cache knows it");
        let told = updates.take(now).expect("hosts do not");
        assert_eq!((told.swept_others, told.swept_all, told.others.len()), (uris(["a/part"]), false, 0));
        updates.note_all();
        assert!(updates.sweep().is_some_and(|stale| stale.all));
        assert!(updates.rest().is_some_and(|told| told.swept_all && !told.all));
        // However many names there are between two tellings.
        for n in 0..=OTHERS_MAX {
            updates.note(n.to_string(), false);
            updates.sweep();
        }
        assert!(updates.rest().is_some_and(|told| told.swept_all && told.swept_others.is_empty()));
    }
}
