//! One timer per actor: it sends the actor a message when its earliest appointment is due.

use std::time::Duration;

use ractor::{ActorRef, Message};
use tokio::time::Instant;

use super::tasks::{OwnedTask, Tasks};
use crate::duration::later;

/// As many rings in a row may be for one moment: an owner that works its appointments off in pieces needs some.
const REPEATED_MAX: u32 = 10_000;

/// How long the alarm rests between rings when its owner leaves an appointment where it is: the owner stays reachable, and its
/// thread is free in between.
const REST: Duration = Duration::from_millis(10);

/// A timer that holds the earliest of its owner's appointments.
///
/// It is set again after each message. A later appointment leaves the armed one alone: it fires early, finds nothing
/// to do and is set again, which costs less than arming a timer for every message.
///
/// An owner that asks for a time at which it then does nothing would be rung for ever, without time passing. In a debug build
/// that is a panic, so that tests find it; in a release build the alarm rests between its rings.
pub(super) struct Alarm {
    tasks: Tasks,
    armed: Option<(Instant, OwnedTask)>,
    repeats: Repeats,
}

/// Counts the rings in a row after which the owner asked for the same time again, or for an earlier one.
#[derive(Default)]
struct Repeats {
    /// What the last ring was for, until the next appointment is made.
    rang_for: Option<Instant>,
    count: u32,
}

impl Repeats {
    fn rang(&mut self, at: Instant) {
        self.rang_for = Some(at);
    }

    /// Whether the owner has left an appointment at `at` undone too often.
    fn too_many(&mut self, at: Instant) -> bool {
        match self.rang_for.take() {
            Some(rang_for) if at <= rang_for => self.count = self.count.saturating_add(1),
            Some(_) => self.count = 0,
            None => {}
        }
        self.count >= REPEATED_MAX
    }
}

impl Alarm {
    /// A timer without an appointment.
    pub(super) fn new(tasks: Tasks) -> Self {
        Self { tasks, armed: None, repeats: Repeats::default() }
    }

    /// Makes sure that `message` reaches `owner` at `at` or earlier.
    pub(super) fn set<M: Message>(
        &mut self,
        at: Option<Instant>,
        owner: &ActorRef<M>,
        message: impl FnOnce() -> M + Send + 'static,
    ) {
        let Some(at) = at else { return };
        if self.armed.as_ref().is_some_and(|(armed, _)| *armed <= at) {
            return;
        }
        let at = if self.repeats.too_many(at) {
            debug_assert!(false, "{} does nothing at the time that it asks for", std::any::type_name::<M>());
            if self.armed.is_some() {
                return;
            }
            later(Instant::now(), REST)
        } else {
            at
        };
        let owner = owner.clone();
        let task = self.tasks.spawn(async move {
            tokio::time::sleep_until(at).await;
            // An owner that has ended needs no alarm.
            let _ = owner.cast(message());
        });
        self.armed = Some((at, task));
    }

    /// The alarm has rung; the next appointment arms it anew.
    pub(super) fn rang(&mut self) {
        if let Some((at, _)) = self.armed.take() {
            self.repeats.rang(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_appointment_that_is_asked_for_again_after_each_ring_is_noticed() {
        let mut repeats = Repeats::default();
        let at = Instant::now();
        for _ in 0..REPEATED_MAX - 1 {
            repeats.rang(at);
            assert!(!repeats.too_many(at), "pieces of work are allowed");
        }
        repeats.rang(at);
        assert!(repeats.too_many(at));
        // And as long as nothing is done about it, whatever else the owner does.
        assert!(repeats.too_many(at));
    }

    #[test]
    fn an_appointment_that_moves_on_is_no_repeat() {
        let mut repeats = Repeats::default();
        let mut at = Instant::now();
        for _ in 0..2 * REPEATED_MAX {
            repeats.rang(at);
            at = later(at, Duration::from_nanos(1));
            assert!(!repeats.too_many(at));
        }
    }

    #[test]
    fn appointments_between_two_rings_count_once() {
        let mut repeats = Repeats::default();
        let at = Instant::now();
        repeats.rang(at);
        for _ in 0..2 * REPEATED_MAX {
            assert!(!repeats.too_many(at));
        }
    }
}
