//! One timer per actor: it sends the actor a message when its earliest appointment is due.

use ractor::{ActorRef, Message};
use tokio::time::Instant;

use super::tasks::{OwnedTask, Tasks};

/// A timer that holds the earliest of its owner's appointments.
///
/// It is set again after each message. A later appointment leaves the armed one alone: it fires early, finds nothing
/// to do and is set again, which costs less than arming a timer for every message.
pub(super) struct Alarm {
    tasks: Tasks,
    armed: Option<(Instant, OwnedTask)>,
}

impl Alarm {
    /// A timer without an appointment.
    pub fn new(tasks: Tasks) -> Self {
        Self { tasks, armed: None }
    }

    /// Makes sure that `message` reaches `owner` at `at` or earlier.
    pub fn set<M: Message>(
        &mut self,
        at: Option<Instant>,
        owner: &ActorRef<M>,
        message: impl FnOnce() -> M + Send + 'static,
    ) {
        let Some(at) = at else { return };
        if self.armed.as_ref().is_some_and(|(armed, _)| *armed <= at) {
            return;
        }
        let owner = owner.clone();
        let task = self.tasks.spawn(async move {
            tokio::time::sleep_until(at).await;
            // An owner that has ended needs no alarm.
            let _ = owner.cast(message());
        });
        self.armed = Some((at, task));
    }

    /// The alarm has rung; the next appointment arms it anew.
    pub fn rang(&mut self) {
        self.armed = None;
    }
}
