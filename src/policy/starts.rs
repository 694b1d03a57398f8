//! Starts of processes: how many run at once, in which order the others follow, and how long each may take.
//!
//! A start costs this machine's time. Too many at once make each so slow that all are given up and begin again, and none
//! of them ever ends; so there is a limit, each start counts until its process has answered or is gone, and one that was
//! given up gets more time. In that time beyond the first attempt's it counts no more.
//!
//! | waits | when it may start |
//! | --- | --- |
//! | a first attempt: a new server, a lost one, a further connection | before all that failed last time |
//! | an attempt after one that failed | in at most half of the starts at once, after at most eight first attempts |
//!
//! So servers that never answer hold up those that would, once, and no server waits for ever.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use super::backoff::Backoff;
use crate::config::BackoffSettings;
use crate::number_map::{NumberMap, OwnNumber};

/// First attempts that may start before an attempt after a failure that could start as well: as many as a message of low
/// priority is overtaken by.
const OVERTAKES_MAX: u32 = 8;

/// The longest time for a handshake that doubling leads to. Nobody watches a download for longer, and a process that
/// hangs keeps its place among the starts for as long as this.
const DOUBLED_MAX: Duration = Duration::from_secs(5 * 60);

/// Names one start, from the moment it is asked for. None is given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StartId(pub u64);

impl OwnNumber for StartId {}

/// Whether the last start of the same server's process failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// It did not, or there was none.
    First,
    /// It did.
    Again,
}

/// Which starts run, and which wait for their turn; see the module's page.
#[derive(Debug)]
pub(crate) struct Starts {
    limit: usize,
    last: u64,
    running: NumberMap<StartId, Attempt>,
    /// Of those that run.
    again_running: usize,
    /// Those that wait, in the order in which they asked.
    first: BTreeSet<StartId>,
    again: BTreeSet<StartId>,
    /// First attempts that started while one after a failure could have.
    overtaken: u32,
}

impl Starts {
    /// Nothing runs yet; `limit` starts may, one at least.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            last: 0,
            running: NumberMap::default(),
            again_running: 0,
            first: BTreeSet::new(),
            again: BTreeSet::new(),
            overtaken: 0,
        }
    }

    /// Someone wants to start a process, and waits from now on.
    pub(crate) fn ask(&mut self, attempt: Attempt) -> StartId {
        self.last = self.last.saturating_add(1);
        let id = StartId(self.last);
        match attempt {
            Attempt::First => self.first.insert(id),
            Attempt::Again => self.again.insert(id),
        };
        id
    }

    /// The next that may start, which runs from now on. To be asked until there is none.
    pub(crate) fn next(&mut self) -> Option<StartId> {
        if self.running.len() >= self.limit {
            return None;
        }
        let again_may = self.again_running < self.limit.div_ceil(2) && !self.again.is_empty();
        let turn = if again_may && (self.first.is_empty() || self.overtaken >= OVERTAKES_MAX) {
            Attempt::Again
        } else {
            Attempt::First
        };
        let id = match turn {
            Attempt::First => self.first.pop_first()?,
            Attempt::Again => self.again.pop_first()?,
        };
        match turn {
            Attempt::First if again_may => self.overtaken = self.overtaken.saturating_add(1),
            Attempt::First => {}
            Attempt::Again => {
                self.again_running = self.again_running.saturating_add(1);
                self.overtaken = 0;
            }
        }
        self.running.insert(id, turn);
        Some(id)
    }

    /// A start is over, or is not wanted any more. One that is not known is over already.
    pub(crate) fn over(&mut self, id: StartId) {
        if self.running.remove(&id) == Some(Attempt::Again) {
            self.again_running = self.again_running.saturating_sub(1);
        }
        self.first.remove(&id);
        self.again.remove(&id);
    }

    /// Those that wait, in about the order in which they will start.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = StartId> {
        self.first.iter().chain(&self.again).copied()
    }

    /// How many run.
    #[cfg(test)]
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }
}

/// How the starts of one server's process went.
#[derive(Debug, Clone)]
pub(crate) struct StartRecord {
    backoff: Backoff,
    /// Since one last succeeded.
    failed: bool,
    /// Those since one last succeeded that were given up for the time they took.
    timeouts: u32,
}

impl StartRecord {
    /// Nothing was started yet.
    pub(crate) fn new(backoff: BackoffSettings) -> Self {
        Self { backoff: Backoff::new(backoff), failed: false, timeouts: 0 }
    }

    /// What the next attempt is.
    pub(crate) fn attempt(&self) -> Attempt {
        if self.failed { Attempt::Again } else { Attempt::First }
    }

    /// How long the next attempt may take, where `limit` is the time of a first one.
    pub(crate) fn limit(&self, limit: Duration) -> Duration {
        let doubled = limit.saturating_mul(1u32.checked_shl(self.timeouts).unwrap_or(u32::MAX));
        doubled.min(DOUBLED_MAX.max(limit))
    }

    /// A process was started and did not answer the handshake. Gives the delay before the next attempt.
    pub(crate) fn failed(&mut self, timed_out: bool, now: Instant, rng: &mut dyn Rng) -> Duration {
        self.failed = true;
        self.timeouts = self.timeouts.saturating_add(u32::from(timed_out));
        self.backoff.next(now, rng)
    }

    /// Starts since one last succeeded that failed.
    pub(crate) fn attempts(&self) -> u32 {
        self.backoff.attempts()
    }

    /// A process answered the handshake.
    pub(crate) fn succeeded(&mut self, now: Instant) {
        self.failed = false;
        self.timeouts = 0;
        self.backoff.good(now);
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;
    use crate::config::ProcessSettings;

    const SECS: fn(u64) -> Duration = Duration::from_secs;

    fn record() -> StartRecord {
        let backoff = BackoffSettings { jitter: 0.0, ..ProcessSettings::default().backoff };
        StartRecord::new(backoff)
    }

    fn all(starts: &mut Starts) -> Vec<u64> {
        std::iter::from_fn(|| starts.next()).map(|id| id.0).collect()
    }

    #[test]
    fn so_many_start_at_once_and_each_that_ends_lets_the_next_one_start() {
        let mut starts = Starts::new(2);
        (0..4).for_each(|_| _ = starts.ask(Attempt::First));
        assert_eq!(all(&mut starts), [1, 2]);
        assert_eq!(starts.waiting().map(|id| id.0).collect::<Vec<_>>(), [3, 4]);
        starts.over(StartId(3));
        assert!(all(&mut starts).is_empty(), "what waited had no place to give back");
        starts.over(StartId(1));
        starts.over(StartId(1));
        assert_eq!(all(&mut starts), [4], "a place is given back once");
    }

    #[test]
    fn what_failed_before_takes_half_of_the_places_at_most_and_lets_first_attempts_pass() {
        let mut starts = Starts::new(4);
        (0..4).for_each(|_| _ = starts.ask(Attempt::Again));
        assert_eq!(all(&mut starts), [1, 2]);
        (0..3).for_each(|_| _ = starts.ask(Attempt::First));
        assert_eq!(all(&mut starts), [5, 6]);
        starts.over(StartId(1));
        assert_eq!(all(&mut starts), [7], "a first attempt goes before");
        starts.over(StartId(5));
        assert_eq!(all(&mut starts), [3]);
    }

    #[test]
    fn what_failed_before_is_overtaken_by_so_many_and_then_starts() {
        let mut starts = Starts::new(1);
        let waits = starts.ask(Attempt::Again);
        (0..20).for_each(|_| _ = starts.ask(Attempt::First));
        let mut before = 0;
        while let Some(id) = starts.next().filter(|id| *id != waits) {
            before += 1;
            starts.over(id);
        }
        assert_eq!(before, OVERTAKES_MAX);
    }

    #[test]
    fn an_attempt_after_a_timeout_gets_twice_the_time_and_a_long_setting_stands() {
        let (mut record, now, mut rng) = (record(), Instant::now(), SmallRng::seed_from_u64(1));
        let mut limits = Vec::new();
        for _ in 0..5 {
            limits.push(record.limit(SECS(60)).as_secs());
            record.failed(true, now, &mut rng);
        }
        assert_eq!(limits, [60, 120, 240, 300, 300]);
        assert_eq!(record.limit(SECS(900)), SECS(900), "it is no shorter than what was set");
        assert_eq!(record.limit(Duration::MAX), Duration::MAX);
        (0..100).for_each(|_| _ = record.failed(true, now, &mut rng));
        assert_eq!(record.limit(SECS(60)), SECS(300));
        record.succeeded(now);
        assert_eq!((record.limit(SECS(60)), record.attempt()), (SECS(60), Attempt::First));
    }

    #[test]
    fn a_process_that_ends_is_started_again_after_longer_and_longer_times_and_has_no_more_of_it() {
        let (mut record, now, mut rng) = (record(), Instant::now(), SmallRng::seed_from_u64(1));
        let delays: Vec<u64> = (0..6).map(|_| record.failed(false, now, &mut rng).as_secs()).collect();
        assert_eq!(delays, [1, 3, 9, 27, 60, 60]);
        assert_eq!((record.limit(SECS(60)), record.attempt()), (SECS(60), Attempt::Again));
    }

    #[test]
    fn one_that_answers_and_ends_at_once_is_no_good_stretch() {
        let (mut record, now, mut rng) = (record(), Instant::now(), SmallRng::seed_from_u64(1));
        (0..2).for_each(|_| _ = record.failed(false, now, &mut rng));
        record.succeeded(now);
        assert_eq!(record.failed(false, now + SECS(1), &mut rng), SECS(9));
        record.succeeded(now + SECS(2));
        assert_eq!(record.failed(false, now + SECS(20), &mut rng), SECS(1));
    }
}
