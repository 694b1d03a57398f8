//! What a peer tells beside its answers: progress and log messages, of calls that want them.
//!
//! A call that wants updates gives its id as the token for progress, which so is unique on the link. A log message names no
//! request: it is a call's only where it came on the stream of that call's answer, and otherwise the server's. Each call
//! and each link passes on so many a second; what comes beyond that is counted. So a flood costs its reading and no more,
//! and fills no mailbox.

use std::task::Context as Poller;
use std::time::Duration;

use tokio::time::Instant;

use super::notices::Cause;
use super::{InFlight, Pump, answer_of};
use crate::actors::pump::messages::Report;
use crate::actors::pump::messages::{Logged, Notifications};
use crate::call_update::{LastUpdates, LogLevel};
use crate::id::AttemptId;
use crate::json::RawJson;
use crate::number_map::NumberMap;
use crate::policy::rate::{Allowance, Rate};
use crate::policy::routing::{AttemptUpdate, Dispatch, Interest, Update};
use crate::protocol::notes::{LogNote, ProgressNote};

/// What one attempt may tell. Nobody reads a thousand reports a second, and a burst is as long as what a stream holds.
const UPDATES: Rate = Rate::per_second(1_000, 256);

/// Log messages of a server that belong to no call and are passed on; a stack trace of some lines passes whole.
const LOGS: Rate = Rate::per_second(50, 100);

/// Log messages beyond that which are passed on before an answer: a few calls in a row have their last words, and a flood among
/// many answers is none.
const LAST_LOGS: Rate = Rate::per_second(1, 5);

/// How old such a message may be.
const LAST_LOG_AGE_MAX: Duration = Duration::from_secs(1);

/// The largest log message that is handed to a call, in bytes: a call's stream may hold many of them.
const LOG_BYTES_MAX: usize = 64 << 10;

/// An update that may not pass yet is held back for so long, then told, unless a later one of its kind takes its place. So whoever
/// watches a call sees where it stands, though its server tells nothing more.
const HELD_FOR: Duration = Duration::from_millis(100);

/// What is heard of one attempt that wants updates.
pub(super) struct Hearing {
    interest: Interest,
    log_level: Option<LogLevel>,
    allowance: Allowance,
    /// The last progress.
    progress: Option<f64>,
    /// How many updates were not passed on, which has not been told yet.
    missed: u64,
    /// The last of those.
    last: LastUpdates<Update>,
}

impl Hearing {
    /// Of an attempt, if it wants any.
    pub(super) fn of(dispatch: &Dispatch, now: Instant) -> Option<Box<Self>> {
        (dispatch.interest != Interest::Result).then(|| {
            Box::new(Self {
                interest: dispatch.interest,
                log_level: dispatch.call.options().log_level,
                allowance: Allowance::new(UPDATES, now),
                progress: None,
                missed: 0,
                last: LastUpdates::new(),
            })
        })
    }

    /// Adds to `notifications` what was told of `attempt`, as far as that is wanted and may pass.
    fn pass(
        &mut self,
        attempt: AttemptId,
        update: Option<Update>,
        resets_idle: bool,
        notifications: &mut Option<Box<Notifications>>,
        now: Instant,
    ) {
        let update = update.filter(|_| self.interest == Interest::Updates);
        if update.is_none() && !resets_idle {
            return;
        }
        if self.allowance.take(now) {
            // None before: a flood that does not pass leaves nothing to report.
            let updates = &mut notifications.get_or_insert_default().updates;
            if let Some(update) = &update {
                self.missed += u64::from(self.last.overtaken_by(update));
                updates.extend(self.tell_lagged(attempt));
            }
            updates.push(AttemptUpdate { attempt, update, resets_idle });
        } else if let Some(update) = update {
            self.missed += u64::from(self.last.keep(update));
        }
    }

    /// How many were not passed on since that was told last.
    fn tell_lagged(&mut self, attempt: AttemptId) -> Option<AttemptUpdate> {
        let missed = std::mem::take(&mut self.missed);
        let update = Some(Update::Lagged(missed));
        (missed > 0).then_some(AttemptUpdate { attempt, update, resets_idle: false })
    }

    /// The same, with the last of each kind.
    fn tell_missed(&mut self, attempt: AttemptId) -> impl Iterator<Item = AttemptUpdate> + use<> {
        let lagged = self.tell_lagged(attempt);
        let last = self.last.take().into_iter();
        lagged.into_iter().chain(last.map(move |update| AttemptUpdate {
            attempt,
            update: Some(update),
            resets_idle: false,
        }))
    }

    /// Tells what was held back, as far as it may pass now. Says whether something is left.
    fn tell_held(
        &mut self,
        attempt: AttemptId,
        notifications: &mut Option<Box<Notifications>>,
        now: Instant,
    ) -> bool {
        if self.has_missed() && self.allowance.take(now) {
            let updates = &mut notifications.get_or_insert_default().updates;
            updates.extend(self.tell_missed(attempt));
        }
        self.has_missed()
    }

    /// Whether something was not passed on which has not been told yet.
    fn has_missed(&self) -> bool {
        self.missed > 0 || !self.last.is_empty()
    }
}

/// What a link has heard that was not passed on.
pub(super) struct Suppressed {
    unmatched: u64,
    logs_allowed: Allowance,
    last_allowed: Allowance,
    /// The last log message of the server that was not passed on.
    last_log: Option<(Logged, Instant)>,
    /// Those before it.
    logs: u64,
}

impl Suppressed {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            unmatched: 0,
            logs_allowed: Allowance::new(LOGS, now),
            last_allowed: Allowance::new(LAST_LOGS, now),
            last_log: None,
            logs: 0,
        }
    }

    /// Adds to a report the strays and, before answers, the last log message: it most often says how the call went, and no
    /// later one may come that could say how many were not passed on.
    pub(super) fn add_to(&mut self, report: &mut Report) {
        if !report.finished.is_empty()
            && let Some((last, at)) = &self.last_log
        {
            let now = Instant::now();
            if now.saturating_duration_since(*at) > LAST_LOG_AGE_MAX {
                // It says nothing of a call that ends now.
                self.last_log = None;
                self.logs += 1;
            } else if self.last_allowed.take(now) {
                let last = Logged { missed: std::mem::take(&mut self.logs), ..last.clone() };
                report.notifications.get_or_insert_default().logs.push(last);
                self.last_log = None;
            }
        }
        if self.unmatched > 0 {
            report.notifications.get_or_insert_default().unmatched += std::mem::take(&mut self.unmatched);
        }
    }

    /// The log message that was held back, if it may pass now.
    fn held_log(&mut self, now: Instant) -> Option<Logged> {
        if self.last_log.is_none() || !self.logs_allowed.take(now) {
            return None;
        }
        let (last, _) = self.last_log.take()?;
        Some(Logged { missed: std::mem::take(&mut self.logs), ..last })
    }

    /// A log message of the server, if it may pass now. Otherwise it is kept in the place of the one before it.
    fn pass_log(&mut self, note: LogNote, now: Instant) -> Option<Logged> {
        self.logs += u64::from(self.last_log.take().is_some());
        // Its text is cut: the note would keep the whole frame.
        let logged = Logged { level: note.level, text: note.text(), logger: note.logger, missed: 0 };
        if self.logs_allowed.take(now) {
            return Some(Logged { missed: std::mem::take(&mut self.logs), ..logged });
        }
        self.last_log = Some((logged, now));
        None
    }
}

/// What is heard of the call that is the request `id`, if it wants any updates.
fn hearing_of(in_flight: &mut NumberMap<u64, InFlight>, id: u64) -> Option<(AttemptId, &mut Hearing)> {
    match in_flight.get_mut(&id)? {
        InFlight::Call { attempt, hearing, .. } => Some((*attempt, hearing.as_deref_mut()?)),
        InFlight::List { .. } | InFlight::Listen { .. } | InFlight::Subscribe { .. } => None,
    }
}

impl<R: FnMut(Report)> Pump<R> {
    /// The peer tells how far it has come with a call.
    pub(super) fn hear_progress(&mut self, params: Option<&RawJson>, now: Instant) {
        let Some(note) = params.and_then(ProgressNote::read) else { return self.suppressed.unmatched += 1 };
        let hearing = note.token.and_then(|token| hearing_of(&mut self.in_flight, token));
        let Some((attempt, hearing)) = hearing else { return self.suppressed.unmatched += 1 };
        // What does not grow is told as it came, and keeps no call alive.
        let grows = hearing.progress.is_none_or(|before| note.progress > before);
        if grows {
            hearing.progress = Some(note.progress);
        } else {
            self.suppressed.unmatched += 1;
        }
        hearing.pass(attempt, Some(Update::Progress(note)), grows, &mut self.report.notifications, now);
        let holds = hearing.has_missed();
        self.hold_back(holds);
    }

    /// The peer logs something, on the stream of the answer to the request `on` or on none.
    pub(super) fn hear_log(&mut self, params: Option<&RawJson>, on: Option<u64>, now: Instant) {
        let Some(note) = params.and_then(LogNote::read) else { return self.suppressed.unmatched += 1 };
        let hearing = on.and_then(|id| hearing_of(&mut self.in_flight, id));
        let Some((attempt, hearing)) = hearing else { return self.hear_log_of_server(note, now) };
        match hearing.interest {
            Interest::Updates => {
                let wanted = hearing.log_level.is_none_or(|least| note.level >= least);
                let fits = note.data.len() <= LOG_BYTES_MAX;
                hearing.missed += u64::from(wanted && !fits);
                // In bytes of its own: it waits in the call's stream, and would keep the whole frame there.
                let own = |note: LogNote| LogNote { data: note.data.detached(), ..note };
                let update = (wanted && fits).then(|| Update::Log(own(note)));
                hearing.pass(attempt, update, true, &mut self.report.notifications, now);
                let holds = hearing.has_missed();
                self.hold_back(holds);
            }
            Interest::Liveness | Interest::Result => {
                hearing.pass(attempt, None, true, &mut self.report.notifications, now);
                self.hear_log_of_server(note, now);
            }
        }
    }

    fn hear_log_of_server(&mut self, note: LogNote, now: Instant) {
        match self.suppressed.pass_log(note, now) {
            Some(logged) => self.report.notifications.get_or_insert_default().logs.push(logged),
            None => self.hold_back(true),
        }
    }

    /// Sets the time at which what is held back is told, if something is.
    fn hold_back(&mut self, holds: bool) {
        if holds && self.held.is_none() {
            self.held = Some(Box::pin(tokio::time::sleep(HELD_FOR)));
        }
    }

    /// Tells what was held back, when its time has come.
    pub(super) fn tell_held(&mut self, poller: &mut Poller<'_>) {
        while self.held.as_mut().is_some_and(|held| held.as_mut().poll(poller).is_ready()) {
            self.held = None;
            let now = Instant::now();
            let mut holds = false;
            for request in self.in_flight.values_mut() {
                if let InFlight::Call { attempt, hearing: Some(hearing), .. } = request {
                    holds |= hearing.tell_held(*attempt, &mut self.report.notifications, now);
                }
            }
            if let Some(logged) = self.suppressed.held_log(now) {
                self.report.notifications.get_or_insert_default().logs.push(logged);
            }
            self.hold_back(holds || self.suppressed.last_log.is_some());
        }
    }

    /// Takes a request out of flight. What was missed of it is told before its end.
    pub(super) fn remove_in_flight(&mut self, id: u64) -> Option<InFlight> {
        let mut request = self.in_flight.remove(&id)?;
        self.put_off.forget(id);
        if let InFlight::Subscribe { .. } = request {
            self.subscribing = self.subscribing.saturating_sub(1);
        }
        self.tell_missed(&mut request);
        if let InFlight::Call { asker: Some(asker), .. } = &request
            && asker.handlers.is_some()
        {
            for (id, answered) in self.questions.call_ended(&asker.call) {
                self.notices.push(Cause::Host, answer_of(&id, &answered));
            }
        }
        Some(request)
    }

    /// Tells what was not passed on of a request that ends.
    pub(super) fn tell_missed(&mut self, request: &mut InFlight) {
        if let InFlight::Call { attempt, hearing: Some(hearing), .. } = request
            && hearing.has_missed()
        {
            self.report.notifications.get_or_insert_default().updates.extend(hearing.tell_missed(*attempt));
        }
    }
}
