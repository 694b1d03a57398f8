//! The answers that are kept, within a bound on their number and on their bytes.
//!
//! What has to go when there is no room is quick_cache's choice: entries that were used again since they came stay before
//! those that came once, so that a walk over many files does not push out what is asked for all the time.

use std::cell::Cell;
use std::hash::RandomState;
use std::time::Duration;

use quick_cache::unsync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use tokio::time::Instant;

use super::clearing::{Clearings, Moment};
use super::key::{Kept, Place};
use super::rules::{Lifetime, Terms};

/// Lifetimes end after this at the latest; a longer one would only leave the range of the clock.
const AGE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// A kept answer.
pub(super) struct Entry {
    pub kept: Kept,
    pub terms: Terms,
    /// When its request began.
    pub begun: Moment,
    fresh_until: Instant,
    revalidate_until: Instant,
    excused_until: Instant,
    bytes: usize,
}

impl Entry {
    /// An answer that came now.
    pub(super) fn new(
        kept: Kept,
        terms: Terms,
        begun: Moment,
        lifetime: &Lifetime,
        bytes: usize,
        now: Instant,
    ) -> Self {
        let fresh_until = later(now, lifetime.ttl);
        Self {
            kept,
            terms,
            begun,
            fresh_until,
            revalidate_until: later(fresh_until, lifetime.while_revalidate),
            excused_until: later(fresh_until, lifetime.if_error),
            bytes,
        }
    }

    /// How old it is, in terms of what it may be used for.
    pub(super) fn age(&self, now: Instant) -> Age {
        if now < self.fresh_until {
            Age::Fresh
        } else if now < self.revalidate_until {
            Age::Stale
        } else if now < self.excused_until {
            Age::Excused
        } else {
            Age::Over
        }
    }

    /// Whether it may be given out where no server can answer.
    pub(super) fn is_excused(&self, now: Instant) -> bool {
        now < self.fresh_until.max(self.excused_until)
    }
}

fn later(at: Instant, by: Duration) -> Instant {
    crate::duration::later(at, by.min(AGE_MAX))
}

/// What an entry may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// For every call.
    Fresh,
    /// For every call, while it is fetched anew.
    Stale,
    /// Where no server can answer.
    Excused,
    /// For nothing.
    Over,
}

/// Weighs an entry by its bytes, and a small one as if it had its full share of them: so the weights' bound is one on the
/// number of entries as well.
#[derive(Clone)]
struct Weight {
    bytes_min: u64,
}

impl Weighter<Place, Entry> for Weight {
    fn weight(&self, _: &Place, entry: &Entry) -> u64 {
        self.bytes_min.max(entry.bytes as u64)
    }
}

/// The kept answers. Arguments are text that others choose, hence a hasher with a random key.
pub(super) struct Store {
    cache: Cache<Place, Entry, Weight, RandomState, DefaultLifecycle<Place, Entry>>,
    bytes_max: usize,
    evictions: u64,
}

impl Store {
    /// Nothing. At most so many entries, and so many bytes.
    pub(super) fn new(entries_max: usize, bytes_max: usize) -> Self {
        let bytes_min = (bytes_max as u64).div_ceil(entries_max.max(1) as u64);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(entries_max)
            .weight_capacity(bytes_max as u64)
            .build()
            .expect("both capacities are given");
        let lifecycle = DefaultLifecycle::default();
        let cache = Cache::with_options(options, Weight { bytes_min }, RandomState::new(), lifecycle);
        Self { cache, bytes_max, evictions: 0 }
    }

    /// What is kept there, if it still counts. Being asked for is a use.
    pub(super) fn get(&self, place: &Place, clearings: &Clearings) -> Option<&Entry> {
        self.cache.get(place).filter(|entry| clearings.spare(&place.question, &entry.terms, entry.begun))
    }

    /// Keeps an answer, unless one is there whose request began later, or it is larger than all entries may be together.
    /// Whether it is kept.
    pub(super) fn keep(&mut self, place: Place, entry: Entry) -> bool {
        let former = self.cache.peek(&place);
        if entry.bytes > self.bytes_max || former.is_some_and(|former| former.begun > entry.begun) {
            return false;
        }
        let before = self.cache.len() + usize::from(former.is_none());
        self.cache.insert(place, entry);
        self.evictions += before.saturating_sub(self.cache.len()) as u64;
        true
    }

    /// Drops what no longer counts. Says how much of it was cleared, and not merely old.
    pub(super) fn sweep(&mut self, clearings: &Clearings, now: Instant) -> usize {
        let cleared = Cell::new(0);
        self.cache.retain(|place, entry| {
            if entry.age(now) == Age::Over {
                return false;
            }
            let spared = clearings.spare(&place.question, &entry.terms, entry.begun);
            cleared.set(cleared.get() + usize::from(!spared));
            spared
        });
        cleared.get()
    }

    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }

    /// The bytes of all entries.
    pub(super) fn bytes(&self) -> usize {
        self.cache.iter().map(|(_, entry)| entry.bytes).sum()
    }

    /// Entries that had to go for want of room, ever.
    pub(super) fn evictions(&self) -> u64 {
        self.evictions
    }
}
