//! What actors let others see of calls: the spans of their attempts, and, gathered, how many were refused and how many answers
//! came too late.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::Span;

use super::Context;
use crate::actors::pump::messages::Violations;
use crate::call::Call;
use crate::event::Event;
use crate::id::{AttemptId, ConnectionId, GroupId, ServerId};
use crate::number_map::NumberMap;
use crate::policy::routing::Settled;
use crate::policy::tally::Tally;
use crate::spans;

/// The spans of attempts that are under way, for those who listen.
#[derive(Default)]
pub(super) struct AttemptSpans(NumberMap<AttemptId, Span>);

impl AttemptSpans {
    /// A server has an attempt of a call.
    pub(super) fn began(&mut self, attempt: AttemptId, call: &Call, server: &ServerId) {
        if let Some(span) = spans::attempt(call, server, attempt.number) {
            self.0.insert(attempt, span);
        }
    }

    /// An attempt is over.
    pub(super) fn ended(&mut self, attempt: AttemptId, outcome: &'static str, latency: Duration) {
        if !self.0.is_empty()
            && let Some(span) = self.0.remove(&attempt)
        {
            spans::end_attempt(&span, outcome, latency);
        }
    }
}

/// The tool whose calls are shed: none where it was not looked up, or where there are too many; and the limit.
type ShedTool = (Option<(GroupId, Arc<str>)>, usize);

/// Calls that were refused since too many wait.
pub(super) struct ShedCalls {
    context: Context,
    tally: Tally<ShedTool>,
}

impl ShedCalls {
    pub(super) fn new(context: Context) -> Self {
        Self { context, tally: Tally::new() }
    }

    /// Counts one.
    pub(super) fn count(&mut self, Settled { group, tool, .. }: &Settled<'_>, limit: usize, now: Instant) {
        let resolved = group.filter(|_| !tool.is_empty()).map(|group| (group.clone(), Arc::clone(tool)));
        let key = Some((resolved, limit)).filter(|key| self.tally.knows(key)).unwrap_or((None, limit));
        if self.tally.count(key.clone(), 1, now) {
            self.tell(key, 1);
        }
    }

    /// Tells what is due.
    pub(super) fn tell_due(&mut self, now: Instant) {
        for (key, calls) in self.tally.due(now) {
            self.tell(key, calls);
        }
    }

    /// When there is something to tell, at the earliest.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.tally.due_at()
    }

    fn tell(&self, (resolved, limit): ShedTool, calls: u64) {
        let (group, tool) = resolved.map(|(group, tool)| (group, tool.to_string())).unzip();
        self.context.emit(Event::CallsShed { group, tool, calls, limit });
    }
}

/// What was not told yet is told when the actor ends.
impl Drop for ShedCalls {
    fn drop(&mut self) {
        for (key, calls) in self.tally.take() {
            self.tell(key, calls);
        }
    }
}

/// Answers that nobody waited for.
pub(super) struct LateAnswers {
    context: Context,
    tally: Tally<ServerId>,
}

impl LateAnswers {
    pub(super) fn new(context: Context) -> Self {
        Self { context, tally: Tally::new() }
    }

    /// Counts some of a server's.
    pub(super) fn count(&mut self, server: &ServerId, answers: u64, now: Instant) {
        if self.tally.count(server.clone(), answers, now) {
            self.tell(server.clone(), answers);
        }
    }

    /// Tells what is due.
    pub(super) fn tell_due(&mut self, now: Instant) {
        for (server, answers) in self.tally.due(now) {
            self.tell(server, answers);
        }
    }

    /// When there is something to tell, at the earliest.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.tally.due_at()
    }

    fn tell(&self, server: ServerId, answers: u64) {
        self.context.emit(Event::LateAnswers { server, answers });
    }
}

/// What was not told yet is told when the actor ends.
impl Drop for LateAnswers {
    fn drop(&mut self) {
        for (server, answers) in self.tally.take() {
            self.tell(server, answers);
        }
    }
}

/// What a server should not have sent.
pub(super) struct ToldViolations {
    context: Context,
    server: ServerId,
    tally: Tally<()>,
    /// The connection and the words of the first that was not told yet.
    first: Option<(ConnectionId, String)>,
}

impl ToldViolations {
    pub(super) fn new(context: Context, server: ServerId) -> Self {
        Self { context, server, tally: Tally::new(), first: None }
    }

    /// Counts what came over a connection.
    pub(super) fn count(&mut self, connection: ConnectionId, violations: Violations, now: Instant) {
        let Violations { count, first } = violations;
        self.first.get_or_insert((connection, first));
        if self.tally.count((), count, now) {
            self.tell(count);
        }
    }

    /// Tells what is due.
    pub(super) fn tell_due(&mut self, now: Instant) {
        for ((), violations) in self.tally.due(now) {
            self.tell(violations);
        }
    }

    /// When there is something to tell, at the earliest.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.tally.due_at()
    }

    fn tell(&mut self, violations: u64) {
        if let Some((connection, reason)) = self.first.take() {
            let server = self.server.clone();
            self.context.emit(Event::ProtocolViolation { server, connection, reason, violations });
        }
    }
}

/// What was not told yet is told when the actor ends.
impl Drop for ToldViolations {
    fn drop(&mut self) {
        for ((), violations) in self.tally.take() {
            self.tell(violations);
        }
    }
}
