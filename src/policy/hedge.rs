//! When to ask a second server: after the time within which a given share of a tool's calls is answered.
//!
//! J. Dean, L. A. Barroso, "The Tail at Scale" (CACM 56(2), 2013): a hedge that waits for the 95th percentile adds about
//! 5 % load and cuts the tail to that of two servers at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use crate::id::GroupId;

/// How long latencies are gathered before the older half is forgotten: long enough for a quiet tool to have some, short
/// enough that a morning's load says nothing about the afternoon.
const HALF: Duration = Duration::from_secs(30);

/// Latencies below which a percentile is a guess, and no call is hedged.
const SAMPLES_MIN: u64 = 20;

/// Tools whose latencies are kept, about 4 KiB each; calls of further ones are not hedged.
const TOOLS_MAX: usize = 1024;

/// The shortest delay: a second attempt costs about as much as waiting this long.
const DELAY_MIN: Duration = Duration::from_millis(1);

/// The longest latency that is told apart.
const LATENCY_MAX_US: u64 = 3_600_000_000;

/// The latencies of hedged tools.
#[derive(Debug)]
pub(crate) struct HedgeDelays {
    percentile: f64,
    tools: HashMap<(GroupId, Arc<str>), Latencies>,
}

/// The latencies of one tool, in two halves.
#[derive(Debug)]
struct Latencies {
    current: Histogram<u32>,
    former: Histogram<u32>,
    turned_at: Instant,
}

impl HedgeDelays {
    /// Nothing is known yet. `percentile` is a share, 0 to 1.
    pub(crate) fn new(percentile: f64) -> Self {
        Self { percentile, tools: HashMap::new() }
    }

    /// A call of the tool was answered after `latency`.
    pub(crate) fn observe(&mut self, group: &GroupId, tool: &Arc<str>, latency: Duration, now: Instant) {
        let key = (group.clone(), tool.clone());
        if self.tools.len() >= TOOLS_MAX && !self.tools.contains_key(&key) {
            return;
        }
        let latencies = self.tools.entry(key).or_insert_with(|| Latencies::new(now));
        latencies.turn(now);
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        // It lies within the bounds.
        let _ = latencies.current.record(us.clamp(1, LATENCY_MAX_US));
    }

    /// How long the first attempt is given before a second server is asked. `None` while too little is known.
    pub(crate) fn delay(&mut self, group: &GroupId, tool: &Arc<str>, now: Instant) -> Option<Duration> {
        let latencies = self.tools.get_mut(&(group.clone(), tool.clone()))?;
        latencies.turn(now);
        let enough = |half: &&Histogram<u32>| half.len() >= SAMPLES_MIN;
        let half = [&latencies.former, &latencies.current].into_iter().find(enough)?;
        let delay = Duration::from_micros(half.value_at_quantile(self.percentile));
        Some(delay.max(DELAY_MIN))
    }
}

impl Latencies {
    fn new(now: Instant) -> Self {
        // One significant digit is enough for a delay, and the bounds are in order.
        let half = Histogram::new_with_bounds(1, LATENCY_MAX_US, 1).expect("constant, valid bounds");
        Self { former: half.clone(), current: half, turned_at: now }
    }

    /// Lets the older half go when its time is over.
    fn turn(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.turned_at);
        if age < HALF {
            return;
        }
        std::mem::swap(&mut self.former, &mut self.current);
        self.current.reset();
        if age >= 2 * HALF {
            self.former.reset();
        }
        self.turned_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn fed(latencies: impl IntoIterator<Item = u64>, now: Instant) -> (HedgeDelays, GroupId, Arc<str>) {
        let (group, tool): (_, Arc<str>) = (GroupId::new("g").expect("a valid id"), "t".into());
        let mut delays = HedgeDelays::new(0.95);
        latencies.into_iter().for_each(|ms| delays.observe(&group, &tool, MS(ms), now));
        (delays, group, tool)
    }

    #[test]
    fn a_call_is_hedged_after_the_percentile_of_its_tool() {
        let now = Instant::now();
        let (mut delays, group, tool) = fed(1..=100, now);
        let delay = delays.delay(&group, &tool, now).expect("enough is known");
        assert!((MS(90)..=MS(105)).contains(&delay), "{delay:?}");
    }

    #[test]
    fn nothing_is_hedged_before_enough_is_known() {
        let now = Instant::now();
        let (mut delays, group, tool) = fed(1..20, now);
        assert_eq!(delays.delay(&group, &tool, now), None);
        assert_eq!(delays.delay(&group, &"other".into(), now), None);
    }

    #[test]
    fn latencies_are_forgotten_after_a_minute_at_the_latest() {
        let now = Instant::now();
        let (mut delays, group, tool) = fed(1..=100, now);
        assert!(delays.delay(&group, &tool, now + HALF).is_some());
        assert_eq!(delays.delay(&group, &tool, now + 3 * HALF), None);
    }

    #[test]
    fn each_half_ends_at_its_last_moment_and_not_with_the_next_question() {
        let now = Instant::now();
        let (mut delays, group, tool) = fed(1..=100, now);
        for (at, known) in [(HALF, true), (2 * HALF - MS(1), true), (2 * HALF, false)] {
            assert_eq!(delays.delay(&group, &tool, now + at).is_some(), known, "after {at:?}");
        }
    }

    #[test]
    fn a_delay_is_never_shorter_than_what_a_second_attempt_costs() {
        let now = Instant::now();
        let (mut delays, group, tool) = fed([0; 50], now);
        assert_eq!(delays.delay(&group, &tool, now), Some(DELAY_MIN));
    }

    #[test]
    fn the_table_of_tools_is_bounded() {
        let now = Instant::now();
        let (mut delays, group, _) = fed([], now);
        for tool in 0..2 * TOOLS_MAX {
            delays.observe(&group, &tool.to_string().into(), MS(1), now);
        }
        assert_eq!(delays.tools.len(), TOOLS_MAX);
    }
}
