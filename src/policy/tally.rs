//! What happens often is told seldom, with its count: once when it begins, and then gathered.
//!
//! An overload refuses thousands of calls a second. Told one by one they would crowd everything else out of the event
//! stream, and cost most when there is least to spare.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// How long what follows is gathered after it was told. People and dashboards look by the second.
const GATHERED_FOR: Duration = Duration::from_secs(1);

/// Keys that are counted by themselves within that time; more would be the storm that this is to prevent.
const KEYS_MAX: usize = 256;

/// Counts by key, told at most once a second for each.
#[derive(Debug)]
pub(crate) struct Tally<K> {
    rows: HashMap<K, Row>,
    /// When a row has something to tell, or is over; at the earliest.
    due_at: Option<Instant>,
}

#[derive(Debug)]
struct Row {
    told_at: Instant,
    /// What happened since.
    gathered: u64,
}

impl<K: Hash + Eq + Clone + Ord> Tally<K> {
    /// Nothing happened yet.
    pub(crate) fn new() -> Self {
        Self { rows: HashMap::new(), due_at: None }
    }

    /// Whether `key` is counted by itself, or could be.
    pub(crate) fn knows(&self, key: &K) -> bool {
        self.rows.len() < KEYS_MAX || self.rows.contains_key(key)
    }

    /// Counts `n`. True if they are to be told at once; if not they are told when they are [`due`](Self::due).
    #[must_use = "what is not told now must be told later"]
    pub(crate) fn count(&mut self, key: K, n: u64, now: Instant) -> bool {
        if let Some(row) = self.rows.get_mut(&key) {
            row.gathered += n;
            return false;
        }
        self.rows.insert(key, Row { told_at: now, gathered: 0 });
        self.due_at.get_or_insert(crate::duration::later(now, GATHERED_FOR));
        true
    }

    /// When [`due`](Self::due) has something to do, at the earliest.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// What was gathered and is to be told now. A key that was quiet meanwhile is forgotten, and told at once the next
    /// time.
    #[inline]
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(K, u64)> {
        if self.due_at.is_none_or(|at| at > now) { Vec::new() } else { self.tell(now) }
    }

    fn tell(&mut self, now: Instant) -> Vec<(K, u64)> {
        let mut told = Vec::new();
        self.rows.retain(|key, row| {
            if crate::duration::later(row.told_at, GATHERED_FOR) > now {
                return true;
            }
            if row.gathered > 0 {
                told.push((key.clone(), std::mem::take(&mut row.gathered)));
                row.told_at = now;
                return true;
            }
            false
        });
        self.due_at = self.rows.values().map(|row| crate::duration::later(row.told_at, GATHERED_FOR)).min();
        told.sort_unstable();
        told
    }

    /// All that was gathered, before its time: nothing is counted after it.
    pub(crate) fn take(&mut self) -> Vec<(K, u64)> {
        let rows = std::mem::take(&mut self.rows).into_iter().map(|(key, row)| (key, row.gathered));
        let mut gathered: Vec<(K, u64)> = rows.filter(|(_, count)| *count > 0).collect();
        gathered.sort_unstable();
        gathered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_is_told_at_once_and_the_rest_of_a_second_together() {
        let now = Instant::now();
        let mut tally = Tally::new();
        assert!(tally.count("a", 1, now));
        assert!((1..1000).all(|n| !tally.count("a", 1, now + n * MS)));
        assert_eq!(tally.due(now + 999 * MS), []);
        assert_eq!(tally.due_at(), Some(now + 1000 * MS));
        assert_eq!(tally.due(now + 1000 * MS), [("a", 999)]);
        assert!(!tally.count("a", 2, now + 1500 * MS));
        assert_eq!(tally.due(now + 1999 * MS), []);
        assert_eq!(tally.due(now + 2000 * MS), [("a", 2)]);
    }

    #[test]
    fn what_was_quiet_for_a_second_is_forgotten() {
        let now = Instant::now();
        let mut tally = Tally::new();
        assert!(tally.count("a", 1, now));
        assert_eq!(tally.due(now + 1000 * MS), []);
        assert_eq!(tally.due_at(), None);
        assert!(tally.count("a", 1, now + 1001 * MS));
    }

    #[test]
    fn keys_do_not_wait_for_each_other() {
        let now = Instant::now();
        let mut tally = Tally::new();
        assert!(tally.count("a", 1, now));
        assert!(tally.count("b", 1, now + 600 * MS));
        assert!(!tally.count("b", 1, now + 700 * MS) && !tally.count("a", 1, now + 700 * MS));
        assert_eq!(tally.due(now + 1000 * MS), [("a", 1)]);
        assert_eq!(tally.due_at(), Some(now + 1600 * MS));
        assert_eq!(tally.due(now + 1600 * MS), [("b", 1)]);
    }

    #[test]
    fn nothing_is_counted_twice_or_lost_and_keys_are_bounded() {
        let now = Instant::now();
        let mut tally = Tally::new();
        let mut told = 0;
        for n in 0..10_000_u64 {
            let at = now + n as u32 * MS;
            let key = if tally.knows(&(n % 1000)) { n % 1000 } else { u64::MAX };
            told += u64::from(tally.count(key, 1, at));
            told += tally.due(at).into_iter().map(|(_, count)| count).sum::<u64>();
            assert!(tally.rows.len() <= KEYS_MAX + 1);
        }
        told += tally.take().into_iter().map(|(_, count)| count).sum::<u64>();
        assert_eq!(told, 10_000);
    }
}
