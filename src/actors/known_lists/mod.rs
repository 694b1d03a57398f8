//! KnownListsActor: owns the file of known lists, in memory what it holds, and what servers have listed since it was written.
//!
//! ```text
//! registry ── LookUp ─▶ KnownListsActor ── Known ──▶ registry    what a server listed at its last run, to be shown until it lists
//!          ── Keep ──▶        │                                 what a server lists now
//!                             └──▶ one task at a time reads or writes the file, on a thread that may wait for the disk
//! ```
//!
//! It depends on nobody and nobody on it. Its successor reads the file again and is told again by the registry what servers list.
//! There is none where no setting names a file. Judgement is [`KnownLists`]'s.

pub(crate) mod messages;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::messages::{Course, KnownListsMsg, Lookup, Problem};
use super::Context;
use super::alarm::Alarm;
use super::tasks::OwnedTask;
use crate::actors::events::messages::EventsMsg;
use crate::config::{files, private};
use crate::duration::later;
use crate::event::Event;
use crate::id::ServerId;
use crate::peer_text;
use crate::policy::catalogue::Offer;
use crate::policy::known_lists::{FILE_BYTES_MAX, Fingerprint, KnownLists, SERVERS_MAX};

/// How long lists are gathered before the file is written: servers that start together list within moments.
const GATHER: Duration = Duration::from_secs(1);

/// How long after its start the actor tells of a file that it could not read: hosts have subscribed to events by then.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// How long servers are not taken for settled since it is not known what they listed at their last run: a disk that hangs holds
/// up nobody for longer.
const LOOKUP_WAIT_MAX: Duration = Duration::from_secs(2);

/// The time between two writes, whatever servers list: some change their lists all the time.
const WRITE_EVERY: Duration = Duration::from_secs(10);

/// The same after a write that failed: a full disk is not filled by asking it.
const WRITE_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// What the actor is started with.
pub(crate) struct KnownListsArguments {
    pub context: Context,
    pub path: PathBuf,
}

/// The actor's state.
pub(crate) struct KnownListsState {
    context: Context,
    path: PathBuf,
    /// What the file held when it was last read or written; none before that.
    lists: Option<Arc<KnownLists>>,
    /// Who asks, and until when they wait; none once they have been told that it is not known yet.
    lookups: BTreeMap<ServerId, (Lookup, Option<Instant>)>,
    /// What is to be written, of each description the last: no more than the file may have.
    unsaved: BTreeMap<Fingerprint, Offer>,
    /// What is being written.
    saving: BTreeMap<Fingerprint, Offer>,
    /// The file is not ours: nothing is written in this run.
    barred: bool,
    /// The last write failed, which was told.
    failing: bool,
    /// What was wrong with the file, and when that is told.
    untold: Option<(String, Instant)>,
    began: Instant,
    work: Option<OwnedTask>,
    /// Answers those who ask; it does not wait for the disk.
    answering: Option<OwnedTask>,
    /// No write before this.
    write_at: Instant,
    /// Who waits until all is written.
    finishing: Vec<oneshot::Sender<()>>,
    alarm: Alarm,
}

/// Keeps what servers list for the next run; see the module's page.
pub(crate) struct KnownListsActor;

impl Actor for KnownListsActor {
    type Msg = KnownListsMsg;
    type State = KnownListsState;
    type Arguments = KnownListsArguments;

    async fn pre_start(
        &self,
        _: ActorRef<KnownListsMsg>,
        KnownListsArguments { context, path }: KnownListsArguments,
    ) -> Result<KnownListsState, ActorProcessingErr> {
        Ok(KnownListsState {
            path,
            lists: None,
            lookups: BTreeMap::new(),
            unsaved: BTreeMap::new(),
            saving: BTreeMap::new(),
            barred: false,
            failing: false,
            untold: None,
            began: Instant::now(),
            work: None,
            answering: None,
            write_at: Instant::now(),
            finishing: Vec::new(),
            alarm: Alarm::new(context.tasks.clone()),
            context,
        })
    }

    async fn post_start(
        &self,
        myself: ActorRef<KnownListsMsg>,
        state: &mut KnownListsState,
    ) -> Result<(), ActorProcessingErr> {
        state.tend(&myself, Instant::now());
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<KnownListsMsg>,
        message: KnownListsMsg,
        state: &mut KnownListsState,
    ) -> Result<(), ActorProcessingErr> {
        let now = Instant::now();
        match message {
            KnownListsMsg::LookUp(lookup) => state.look_up(lookup, now),
            KnownListsMsg::Answered => state.answering = None,
            KnownListsMsg::Keep { fingerprint, offer } => state.keep(fingerprint, offer, now),
            KnownListsMsg::WasRead { lists, problem } => {
                state.work = None;
                state.lists = Some(lists);
                if let Some(problem) = problem {
                    // A write that fails by the same says nothing new.
                    state.failing = true;
                    state.fails(problem, later(state.began, TELL_AFTER));
                }
            }
            KnownListsMsg::WasWritten(written) => state.written(written, now),
            KnownListsMsg::Finish(port) => state.finishing.push(port),
            KnownListsMsg::Due => state.alarm.rang(),
            #[cfg(feature = "testkit")]
            KnownListsMsg::Panic => panic!("ordered by the testkit"),
        }
        state.tend(&myself, now);
        Ok(())
    }
}

impl KnownListsState {
    fn look_up(&mut self, lookup: Lookup, now: Instant) {
        // What was listed in this run has passed its pins.
        let listed = self.unsaved.get(&lookup.fingerprint).or_else(|| self.saving.get(&lookup.fingerprint));
        match listed.cloned() {
            Some(offer) => lookup.answer(Some(offer)),
            // One for each server that there is: what was asked of it before is of a registry that has ended, or of a
            // description that it has no more.
            None => {
                let server = lookup.server.clone();
                self.lookups.insert(server, (lookup, Some(later(now, LOOKUP_WAIT_MAX))));
            }
        }
    }

    fn keep(&mut self, fingerprint: Fingerprint, offer: Offer, now: Instant) {
        if self.barred {
            return;
        }
        if self.unsaved.is_empty() {
            self.write_at = self.write_at.max(later(now, GATHER));
        }
        if self.unsaved.len() >= SERVERS_MAX && !self.unsaved.contains_key(&fingerprint) {
            // The disk hangs while servers are described anew and anew; the file has no room for more either.
            self.unsaved.pop_first();
        }
        self.unsaved.insert(fingerprint, offer);
    }

    fn written(&mut self, written: Result<Arc<KnownLists>, Problem>, now: Instant) {
        self.work = None;
        let saving = std::mem::take(&mut self.saving);
        match written {
            Ok(lists) => {
                self.lists = Some(lists);
                self.failing = false;
                self.write_at = later(now, WRITE_EVERY);
            }
            Err(problem) => {
                self.write_at = later(now, WRITE_AGAIN_AFTER);
                for (fingerprint, offer) in saving {
                    if self.unsaved.len() < SERVERS_MAX {
                        self.unsaved.entry(fingerprint).or_insert(offer);
                    }
                }
                // While the troupe ends nothing is tried again.
                self.barred |= problem.course == Course::LeaveAlone || !self.finishing.is_empty();
                if !std::mem::replace(&mut self.failing, true) {
                    self.fails(problem, now);
                }
            }
        }
    }

    /// The file was not read or not written, which hosts are told at this time.
    fn fails(&mut self, Problem { reason, course }: Problem, at: Instant) {
        self.barred |= course == Course::LeaveAlone;
        let reason = peer_text::reason(reason);
        tracing::warn!(path = %self.path.display(), %reason, "the file of known lists cannot be used");
        self.untold = Some((reason, at));
    }

    /// Tells hosts what is due.
    fn tell(&mut self, now: Instant) {
        let ends = !self.finishing.is_empty();
        let Some((reason, _)) = self.untold.take_if(|(_, at)| *at <= now || ends) else { return };
        let event = Event::KnownListsFailed { path: self.path.clone(), reason };
        // The events actor may have been replaced since this one began.
        let current_actors = self.context.current_actors.borrow();
        let _ = current_actors.events.as_ref().unwrap_or(&self.context.events).cast(EventsMsg::Emit(event));
    }

    /// Begins the work that is due.
    fn tend(&mut self, myself: &ActorRef<KnownListsMsg>, now: Instant) {
        self.tell(now);
        if self.barred {
            self.unsaved.clear();
        }
        if self.work.is_none() {
            if self.lists.is_none() {
                self.work = Some(self.read(myself.clone()));
            } else if !self.unsaved.is_empty() && (self.write_at <= now || !self.finishing.is_empty()) {
                self.work = Some(self.write(myself.clone()));
            } else if self.unsaved.is_empty() {
                for port in self.finishing.drain(..) {
                    // Whoever waited may have left.
                    let _ = port.send(());
                }
            }
        }
        if self.answering.is_none() && !self.lookups.is_empty() {
            self.answering = self.answer(myself.clone());
        }
        for (lookup, until) in self.lookups.values_mut() {
            if until.take_if(|until| *until <= now).is_some() {
                lookup.answer(None);
            }
        }
        let write_at = (self.work.is_none() && !self.unsaved.is_empty()).then_some(self.write_at);
        let tell_at = self.untold.as_ref().map(|(_, at)| *at);
        let waits_until = self.lookups.values().filter_map(|(_, until)| *until).min();
        let next = [write_at, tell_at, waits_until].into_iter().flatten().min();
        self.alarm.set(next, myself, || KnownListsMsg::Due);
    }

    /// Reads the file.
    fn read(&self, myself: ActorRef<KnownListsMsg>) -> OwnedTask {
        let path = self.path.clone();
        self.context.tasks.spawn(async move {
            let (lists, problem) = match files::aside(move || read(&path)).await {
                Ok(Ok(lists)) => (lists.unwrap_or_else(none), None),
                Ok(Err(problem)) => (none(), Some(problem)),
                // A runtime that is ending writes nothing either.
                Err(error) => {
                    (none(), Some(Problem { reason: error.to_string(), course: Course::LeaveAlone }))
                }
            };
            // Without its actor the next one reads it.
            let _ = myself.cast(KnownListsMsg::WasRead { lists: Arc::new(lists), problem });
        })
    }

    /// Answers who asks, when the file was read. Beside the actors, since lists are parsed and hashed for it.
    fn answer(&mut self, myself: ActorRef<KnownListsMsg>) -> Option<OwnedTask> {
        let lists = self.lists.clone()?;
        let lookups = std::mem::take(&mut self.lookups);
        let (settings, pinning) = (self.context.settings.clone(), self.context.pinning.clone());
        let answer = move || {
            for (lookup, _) in lookups.into_values() {
                let (limits, pinning) = (&settings.limits, pinning.as_deref());
                lookup.answer(lists.offer(
                    &lookup.fingerprint,
                    &lookup.server,
                    lookup.mirrored,
                    limits,
                    pinning,
                ));
            }
        };
        Some(self.context.tasks.spawn(async move {
            // A runtime that is ending answers nobody.
            let _ = files::aside(answer).await;
            let _ = myself.cast(KnownListsMsg::Answered);
        }))
    }

    /// Writes what is to be written beside what other processes have written since. A file that is gone, or broken, is
    /// written with all that this one has seen of it.
    fn write(&mut self, myself: ActorRef<KnownListsMsg>) -> OwnedTask {
        self.saving = std::mem::take(&mut self.unsaved);
        let (path, saving, seen) = (self.path.clone(), self.saving.clone(), self.lists.clone());
        let write = move || {
            let seen = || seen.map_or_else(none, |seen| (*seen).clone());
            let (mut lists, gone) = match read(&path) {
                Ok(Some(lists)) => (lists, false),
                Ok(None) | Err(Problem { course: Course::Replace, .. }) => (seen(), true),
                Err(problem) => return Err(problem),
            };
            if lists.keep(&saving, seconds()) || gone {
                private::replace(&path, &lists.written()).map_err(Problem::of_the_disk)?;
            }
            Ok(Arc::new(lists))
        };
        self.context.tasks.spawn(async move {
            let written = files::aside(write).await;
            let written = written.unwrap_or_else(|error| Err(Problem::of_the_disk(error)));
            // Without its actor nobody waits for it.
            let _ = myself.cast(KnownListsMsg::WasWritten(written));
        })
    }
}

impl Lookup {
    fn answer(&self, offer: Option<Offer>) {
        (self.found)(offer);
    }
}

impl Problem {
    /// One that may pass.
    fn of_the_disk(error: impl std::fmt::Display) -> Self {
        Self { reason: error.to_string(), course: Course::TryAgain }
    }
}

/// No lists, for a new file.
fn none() -> KnownLists {
    KnownLists::none(rand::random())
}

/// The time of this machine.
fn seconds() -> u64 {
    // A clock before 1970 is no clock.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Whether the file at this path can be used, or why not. Nothing is changed.
pub(crate) fn check(path: &Path) -> Result<(), String> {
    private::check(path).map_err(|error| error.to_string())?;
    read(path).map(drop).map_err(|problem| problem.reason)
}

/// Reads the file, if there is one.
fn read(path: &Path) -> Result<Option<KnownLists>, Problem> {
    // Whose file it is was not seen, so that it is not written either until it can be read.
    let file = private::read(path, FILE_BYTES_MAX as u64).map_err(Problem::of_the_disk)?;
    let Some(file) = file else { return Ok(None) };
    KnownLists::read(&file, seconds()).map(Some).map_err(|error| {
        let course = if error.may_be_replaced() { Course::Replace } else { Course::LeaveAlone };
        Problem { reason: error.to_string(), course }
    })
}
