//! The response cache: which answers are kept, for how long and for whom, and which calls wait for one request.
//!
//! ```text
//! ask ─▶ fresh ───────────────────────────────▶ hit
//!   │ ─▶ stale, within its window ────────────▶ hit, and one request in the background
//!   │ ─▶ the same is under way ──▶ follow ─────▶ its answer, its error, or its lead
//!   └──▶ lead ──▶ finished ──▶ kept, if it may be and nothing was cleared since it began
//!            └──▶ abandoned ─▶ the next of those who wait leads
//! ```
//!
//! It owns no call: whoever leads makes its own, and whoever follows has its own deadline. So the loss of all of this costs
//! requests and never an answer. `P` is where a call's word goes.

mod clearing;
mod flights;
mod key;
mod rules;
mod store;
#[cfg(test)]
mod tests;
mod verdict;

use std::time::Duration;

use tokio::time::Instant;

pub(crate) use clearing::Sweep;
pub(crate) use flights::FlightId;
pub use key::CachedKind;
pub(crate) use key::{Kept, Place, Question, Whose};
pub(crate) use rules::{Rules, Terms};
pub(crate) use verdict::{Verdict, excuses, is_own, judge};

use crate::call::Priority;
use crate::config::CacheSettings;
use crate::duration::later;
use crate::error::CallError;
use crate::peer_text::reason;
use crate::policy::rate::{Allowance, Rate};
use crate::stats::CacheStats;
use clearing::Clearings;
use flights::Flights;
use store::{Age, Entry, Store};

/// How often entries are looked through for those whose time is over. They are given to nobody before that; it only frees
/// their memory.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// How often changes that are told have entries looked through for them at once. It costs a look at each, and those who tell
/// are others. What is cleared is given to nobody before that either.
const DROPS: Rate = Rate::per_second(1, 16);

/// Entries that were dropped since something was cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// What was cleared, in words.
    pub what: String,
    pub entries: usize,
}

/// Changes that were noted, and whose entries have yet to be dropped.
#[derive(Debug, Default)]
struct Undropped {
    first: Option<Sweep>,
    more: usize,
}

impl Undropped {
    fn note(&mut self, sweep: Sweep) {
        if self.first.is_none() {
            self.first = Some(sweep);
        } else {
            self.more += 1;
        }
    }

    fn what(self) -> Option<String> {
        let first = self.first?;
        Some(match self.more {
            0 => reason(first),
            more => format!("{} and {more} more", reason(first)),
        })
    }
}

/// Where the word for a call goes.
pub(crate) trait Port {
    /// Whether nobody waits for it any more.
    fn is_closed(&self) -> bool;
}

/// Whether a kept answer will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Demand {
    /// It will.
    #[default]
    Usual,
    /// The answer has to be fetched now.
    Fetched,
}

/// What a call wants.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub place: Place,
    pub terms: Terms,
    pub priority: Priority,
    pub demand: Demand,
}

/// What becomes of a call that asks.
#[derive(Debug)]
pub(crate) enum Asked<P> {
    /// It has its answer.
    Hit(P, Kept),
    /// It has its answer, which is stale: one request is to be made in the background.
    Stale(P, Kept, FlightId),
    /// It makes the request.
    Lead(P, FlightId),
    /// It waits for one.
    Follow,
    /// It goes its own way: too many wait.
    Alone(P),
}

/// What a flight brought.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// An answer, and what may be done with it.
    Answer(Kept, Verdict),
    /// An error that concerns all who asked the same.
    Failed(CallError),
}

/// What those who followed a flight are given.
#[derive(Debug, Clone)]
pub(crate) enum Shared {
    /// The answer.
    Answer(Kept),
    /// Its error.
    Failed(CallError),
    /// Nothing; each makes its own request.
    Nothing,
}

/// The response cache's state and judgement.
pub(crate) struct ResponseCache<P> {
    store: Store,
    flights: Flights<P>,
    clearings: Clearings,
    counted: CacheStats,
    /// When entries are next looked through.
    sweep_at: Option<Instant>,
    undropped: Undropped,
    drops: Allowance,
    /// When entries are next looked through for changes.
    drop_at: Option<Instant>,
}

impl<P: Port> ResponseCache<P> {
    /// Nothing kept and nobody waiting. At most `followers_max` calls wait for requests of others.
    pub(crate) fn new(settings: &CacheSettings, followers_max: usize, now: Instant) -> Self {
        Self {
            store: Store::new(settings.entries_max, settings.bytes_max),
            flights: Flights::new(followers_max),
            clearings: Clearings::default(),
            counted: CacheStats::default(),
            sweep_at: None,
            undropped: Undropped::default(),
            drops: Allowance::new(DROPS, now),
            drop_at: None,
        }
    }

    /// A call asks.
    pub(crate) fn ask(&mut self, wanted: Wanted, port: P, now: Instant) -> Asked<P> {
        let Wanted { place, terms, priority, demand } = wanted;
        let mut stale = None;
        match demand {
            Demand::Usual => {
                match self.found(&place, &terms).map(|entry| (entry.age(now), entry.kept.clone())) {
                    Some((Age::Fresh, kept)) => {
                        self.counted.hits += 1;
                        return Asked::Hit(port, kept);
                    }
                    Some((Age::Stale, kept)) => {
                        self.counted.stale_served += 1;
                        stale = Some(kept);
                    }
                    Some((Age::Excused | Age::Over, _)) | None => {}
                }
            }
            Demand::Fetched => {}
        }
        let joinable = match demand {
            Demand::Usual => self.flights.joinable(&place, priority),
            // What is under way may have been answered before this was asked for.
            Demand::Fetched => None,
        };
        let joinable = joinable
            .filter(|(_, flight)| self.clearings.spare(&place.question, &flight.terms, flight.begun))
            .map(|(id, _)| id);
        match (stale, joinable) {
            (Some(kept), Some(_)) => Asked::Hit(port, kept),
            (Some(kept), None) => Asked::Stale(port, kept, self.begin(place, terms, priority)),
            (None, Some(flight)) => match self.flights.join(flight, port, priority) {
                Ok(()) => {
                    self.counted.coalesced += 1;
                    Asked::Follow
                }
                Err(port) => Asked::Alone(port),
            },
            (None, None) => {
                self.counted.misses += 1;
                Asked::Lead(port, self.begin(place, terms, priority))
            }
        }
    }

    fn begin(&mut self, place: Place, terms: Terms, priority: Priority) -> FlightId {
        let begun = self.clearings.next();
        self.flights.begin(place, terms, begun, priority)
    }

    /// The entry that answers a call: its own, or everyone's where the answer itself says whose it is.
    fn found(&self, place: &Place, terms: &Terms) -> Option<&Entry> {
        let own = self.store.get(place, &self.clearings);
        match terms {
            Terms::Ruled(_) | Terms::Hinted(_) => own,
            Terms::Declared => own.or_else(|| self.store.get(&place.of_everyone(), &self.clearings)),
        }
    }

    /// A flight has its answer: who followed it is given that. An answer is kept if nothing was cleared since its request
    /// began.
    pub(crate) fn finished(&mut self, id: FlightId, fetched: Fetched, now: Instant) -> (Vec<P>, Shared) {
        let Some(flight) = self.flights.land(id) else { return (Vec::new(), Shared::Nothing) };
        let (place, terms, begun) = (flight.place.clone(), flight.terms, flight.begun);
        let followers: Vec<P> = flight.into_followers().collect();
        let shared = match fetched {
            Fetched::Answer(kept, verdict) => {
                let keep = match verdict {
                    Verdict::Keep(lifetime) => Some((place, lifetime)),
                    Verdict::KeepForEveryone(lifetime) => Some((place.of_everyone(), lifetime)),
                    Verdict::Share | Verdict::Alone => None,
                };
                if let Some((place, lifetime)) = keep
                    && self.clearings.spare(&place.question, &terms, begun)
                {
                    let bytes = place.bytes_with(&kept.result);
                    let entry = Entry::new(kept.clone(), terms, begun, &lifetime, bytes, now);
                    self.counted.stored += u64::from(self.store.keep(place, entry));
                    self.sweep_at.get_or_insert(later(now, SWEEP_EVERY));
                }
                match verdict {
                    Verdict::Keep(_) | Verdict::KeepForEveryone(_) | Verdict::Share => Shared::Answer(kept),
                    Verdict::Alone => Shared::Nothing,
                }
            }
            Fetched::Failed(error) => match self.excuse(&place, &terms, &error, now) {
                Some(kept) => {
                    self.counted.stale_served += followers.len() as u64;
                    Shared::Answer(kept)
                }
                None => Shared::Failed(error),
            },
        };
        (followers, shared)
    }

    /// Who led a flight has left. The next of those who wait is to lead it, if one does.
    pub(crate) fn abandoned(&mut self, id: FlightId) -> Option<P> {
        let now = self.clearings.next();
        self.flights.promote(id, now)
    }

    /// A stale answer for a call that would end in this error, where there is one that may be used so.
    pub(crate) fn excused(
        &mut self,
        place: &Place,
        terms: &Terms,
        error: &CallError,
        now: Instant,
    ) -> Option<Kept> {
        let kept = self.excuse(place, terms, error, now)?;
        self.counted.stale_served += 1;
        Some(kept)
    }

    fn excuse(&self, place: &Place, terms: &Terms, error: &CallError, now: Instant) -> Option<Kept> {
        let entry =
            self.found(place, terms).filter(|entry| excuses(error.kind()) && entry.is_excused(now))?;
        Some(entry.kept.clone())
    }

    /// Clears: what is kept is given to nobody any more, and what is under way is not kept.
    pub(crate) fn clear(&mut self, sweep: &Sweep) {
        self.counted.invalidations += 1;
        self.clearings.note(sweep);
    }

    /// The same, and drops what is cleared at once. Says how many entries that were.
    pub(crate) fn clear_out(&mut self, sweep: &Sweep, now: Instant) -> usize {
        self.store.sweep(&self.clearings, now);
        self.clear(sweep);
        self.store.sweep(&self.clearings, now)
    }

    /// Others tell of changes, as often as they like: clears, and drops what is cleared now or, where that was done often,
    /// with the next [`tick`](Self::tick).
    pub(crate) fn changed(&mut self, sweeps: Vec<Sweep>, now: Instant) -> Option<Dropped> {
        let at_once = self.drop_at.is_none() && !sweeps.is_empty() && self.drops.take(now);
        if at_once {
            // What was cleared before is none of these changes'.
            self.store.sweep(&self.clearings, now);
        }
        for sweep in sweeps {
            self.clear(&sweep);
            self.undropped.note(sweep);
        }
        if at_once {
            return self.drop_cleared(now);
        }
        if self.undropped.first.is_some() {
            self.drop_at.get_or_insert(later(now, DROPS.interval));
        }
        None
    }

    fn drop_cleared(&mut self, now: Instant) -> Option<Dropped> {
        self.drop_at = None;
        let entries = self.store.sweep(&self.clearings, now);
        let what = std::mem::take(&mut self.undropped).what()?;
        (entries > 0).then_some(Dropped { what, entries })
    }

    /// When [`tick`](Self::tick) next has something to do.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        [self.sweep_at, self.drop_at].into_iter().flatten().min()
    }

    /// Drops what is given to nobody any more, when it is time.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<Dropped> {
        let dropped = if self.drop_at.is_some_and(|at| at <= now) { self.drop_cleared(now) } else { None };
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.store.sweep(&self.clearings, now);
            self.sweep_at = (self.store.len() > 0).then(|| later(now, SWEEP_EVERY));
        }
        dropped
    }

    /// The figures of this moment.
    pub(crate) fn stats(&self) -> CacheStats {
        CacheStats {
            evictions: self.store.evictions(),
            entries: self.store.len(),
            bytes: self.store.bytes(),
            ..self.counted
        }
    }
}
