//! What servers tell of calls before they answer, and calls of which they tell nothing.

use tokio::time::Instant;

use super::{CancelReason, Outlet, Routing};
use crate::call::{Call, Purpose};
use crate::call_update::{CallUpdate, LogMessage, Progress};
use crate::error::{CallErrorKind, Deadline};
use crate::id::{AttemptId, Incarnation, ServerId};
use crate::policy::calls::{IdleTimer, OpenAttempt, OpenCall};
use crate::protocol::notes::{LogNote, ProgressNote};

/// What is wanted of a server beside its answer. What is not wanted is not asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Nothing.
    Result,
    /// Signs that it works on the call, whatever they say.
    Liveness,
    /// All that it tells of the call.
    Updates,
}

impl Interest {
    /// What is wanted for a call.
    pub(super) fn of<P>(call: &OpenCall<P>) -> Self {
        if call.call.streamed {
            Self::Updates
        } else if call.idle.is_some() {
            Self::Liveness
        } else {
            Self::Result
        }
    }
}

/// What a server tells of a call before it answers.
#[derive(Debug)]
pub(crate) enum Update {
    /// How far it has come.
    Progress(ProgressNote),
    /// What it logs.
    Log(LogNote),
    /// So many of these were not passed on.
    Lagged(u64),
}

impl Update {
    /// As the caller hears it.
    fn of(self, server: ServerId, attempt: u32) -> CallUpdate {
        match self {
            Self::Progress(ProgressNote { token: _, progress, total, message }) => {
                CallUpdate::Progress(Progress { server, attempt, progress, total, message })
            }
            Self::Log(LogNote { level, logger, data }) => {
                CallUpdate::Log(LogMessage { server, attempt, level, logger, data })
            }
            Self::Lagged(missed) => CallUpdate::Lagged(missed),
        }
    }
}

/// Something that was heard of an attempt.
#[derive(Debug)]
pub(crate) struct AttemptUpdate {
    /// Which attempt.
    pub attempt: AttemptId,
    /// What is told to the caller, if it listens.
    pub update: Option<Update>,
    /// It shows that the server works on the call.
    pub resets_idle: bool,
}

impl<P, S> Routing<P, S> {
    /// Something was heard of attempts of a server. What is about one that is over is passed over.
    pub(crate) fn heard(
        &mut self,
        server: &ServerId,
        incarnation: Incarnation,
        updates: Vec<AttemptUpdate>,
        now: Instant,
        out: &mut impl Outlet<P, S>,
    ) {
        let Some(slot) = self.slot_of(server, incarnation) else { return };
        for AttemptUpdate { attempt, update, resets_idle } in updates {
            let Some(call) = self.calls.get_mut(attempt.call) else { continue };
            let mut attempts = call.open_attempts();
            let is_it = |open: &OpenAttempt| (open.server, open.number) == (slot, attempt.number);
            let Some(open) = attempts.find(is_it) else { continue };
            if let Some(update) = update {
                out.tell(&mut call.port, update.of(server.clone(), open.attempt));
            }
            if resets_idle {
                self.calls.reset_idle(attempt.call, now);
            }
        }
    }

    /// The clock of a call that may not go unheard for long. To open a connection for a lease is no such work.
    pub(super) fn idle_clock(&self, call: &Call) -> Option<Box<IdleTimer>> {
        let timeout = call.options().idle_timeout.or(self.settings.call_idle_timeout);
        timeout
            .filter(|_| call.purpose != Purpose::OpenLease)
            .map(|timeout| Box::new(IdleTimer::new(timeout)))
    }

    /// Ends every call of which nothing was heard for too long.
    pub(super) fn end_idle(&mut self, now: Instant, out: &mut impl Outlet<P, S>) {
        while let Some(id) = self.calls.idle(now) {
            let Some(call) = self.settle(id, CancelReason::DeadlineExceeded, now, out) else { continue };
            let timeout = call.idle.as_ref().map_or(call.timeout, |idle| idle.timeout);
            let sent = call.may_have_been_sent();
            let kind = CallErrorKind::DeadlineExceeded { deadline: Deadline::Idle, timeout, sent };
            self.answer_error(*call, kind, now, out);
        }
    }
}
