//! The retry budget: retries as a share of calls, so that they cannot multiply an outage.
//!
//! A token window after Finagle's and Tower's budgets (`tower::retry::budget::TpsBudget`): each call deposits a part of
//! a token, each retry withdraws a whole one, and what is older than the window counts no more. A small reserve lets a
//! quiet troupe retry at all.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::RetrySettings;

/// Slots of the window.
const SLOTS: u32 = 10;

/// Deposits and withdrawals of one slot.
#[derive(Debug, Clone, Copy)]
struct Slot {
    began: Instant,
    calls: u64,
    retries: u64,
}

/// The budget of the whole troupe.
#[derive(Debug, Clone)]
pub(crate) struct RetryBudget {
    ratio: f64,
    reserve: f64,
    window: Duration,
    slots: VecDeque<Slot>,
}

impl RetryBudget {
    /// A budget in which nothing has happened yet.
    pub(crate) fn new(settings: &RetrySettings) -> Self {
        Self {
            ratio: settings.budget_ratio,
            reserve: f64::from(settings.budget_min_per_second) * settings.budget_window.as_secs_f64(),
            window: settings.budget_window,
            slots: VecDeque::with_capacity(SLOTS as usize + 1),
        }
    }

    /// A call was made.
    pub(crate) fn deposit(&mut self, now: Instant) {
        self.slot(now).calls += 1;
    }

    /// Asks for a retry.
    #[must_use]
    pub(crate) fn withdraw(&mut self, now: Instant) -> bool {
        let granted = self.balance(now) >= 1.0;
        if granted {
            self.slot(now).retries += 1;
        }
        granted
    }

    /// A retry that was granted at this moment was not made.
    pub(crate) fn give_back(&mut self, now: Instant) {
        let slot = self.slot(now);
        slot.retries = slot.retries.saturating_sub(1);
    }

    /// Retries that are left.
    pub(crate) fn balance(&mut self, now: Instant) -> f64 {
        self.forget_old(now);
        let (calls, retries) = self
            .slots
            .iter()
            .fold((0, 0), |(calls, retries), slot| (calls + slot.calls, retries + slot.retries));
        self.reserve + self.ratio * calls as f64 - retries as f64
    }

    fn forget_old(&mut self, now: Instant) {
        while self.slots.front().is_some_and(|slot| now.saturating_duration_since(slot.began) >= self.window)
        {
            self.slots.pop_front();
        }
    }

    /// The slot of `now`.
    fn slot(&mut self, now: Instant) -> &mut Slot {
        self.forget_old(now);
        let fresh = self.slots.back().is_none_or(|slot| {
            now.saturating_duration_since(slot.began) >= (self.window / SLOTS).max(Duration::from_nanos(1))
        });
        if fresh {
            self.slots.push_back(Slot { began: now, calls: 0, retries: 0 });
        }
        self.slots.back_mut().expect("a slot was just made where there was none")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_calls_may_be_retried_beside_the_reserve() {
        let mut budget = RetryBudget::new(&RetrySettings::default());
        let now = Instant::now();
        (0..1000).for_each(|_| budget.deposit(now));
        let granted = (0..1000).filter(|_| budget.withdraw(now)).count();
        assert_eq!(granted, 110);
    }

    #[test]
    fn a_quiet_troupe_can_retry_and_old_calls_count_no_more() {
        let mut budget = RetryBudget::new(&RetrySettings::default());
        let now = Instant::now();
        assert!(budget.withdraw(now));
        (0..1000).for_each(|_| budget.deposit(now));
        let later = now + Duration::from_secs(10);
        assert_eq!(budget.balance(later), 10.0);
    }

    #[test]
    fn a_retry_that_was_not_made_is_there_for_another_call() {
        let mut budget = RetryBudget::new(&RetrySettings::default());
        let now = Instant::now();
        let before = budget.balance(now);
        assert!(budget.withdraw(now));
        budget.give_back(now);
        budget.give_back(now);
        assert_eq!(budget.balance(now), before);
    }

    #[test]
    fn the_window_holds_a_bounded_number_of_slots() {
        let mut budget = RetryBudget::new(&RetrySettings::default());
        let mut now = Instant::now();
        for _ in 0..10_000 {
            budget.deposit(now);
            now += Duration::from_millis(7);
            assert!(budget.slots.len() <= SLOTS as usize + 1);
        }
    }

    #[test]
    fn calls_leave_the_window_one_part_after_the_other() {
        let settings = RetrySettings::default();
        let mut budget = RetryBudget::new(&settings);
        let begun = Instant::now();
        for tenth in 0..10 {
            (0..100).for_each(|_| budget.deposit(begun + settings.budget_window / 10 * tenth));
        }
        let reserve = RetryBudget::new(&settings).balance(begun);
        let left = |budget: &mut RetryBudget, tenth| {
            let balance = budget.balance(begun + settings.budget_window / 10 * tenth);
            ((balance - reserve) / settings.budget_ratio).round()
        };
        assert_eq!(left(&mut budget, 9), 1000.0);
        assert_eq!(left(&mut budget, 12), 700.0);
        assert_eq!(left(&mut budget, 15), 400.0);
        assert_eq!(left(&mut budget, 19), 0.0);
    }
}
