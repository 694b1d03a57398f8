//! The sources of servers: their actors, where each stands, and what their answers mean for the registrations.
//!
//! What is to happen to a server is asked of the [`Membership`] whenever something changed that concerns it: an answer, the
//! passing of time, an order of the host, the end of a server that left. So nothing is kept here of what was ordered before.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use super::{Ending, Registered, RootState};
use crate::actors::Tasks;
use crate::actors::alarm::Alarm;
use crate::actors::discovery::messages::{DiscoveryMsg, Snapshot};
use crate::actors::discovery::{DiscoveryActor, DiscoveryArguments};
use crate::actors::registry::messages::RegistryMsg;
use crate::actors::registry::registration::Registration;
use crate::actors::root::messages::RootMsg;
use crate::actors::supervision::{STOP_GRACE, stop_or_kill};
use crate::config::{DiscoverySettings, LoosePermissions, RestartKind, RestartSettings, Settings};
use crate::discovery::{Source, SourceError};
use crate::duration::later;
use crate::event::{Event, ExitCause, Origin, SourceStatus};
use crate::id::{ServerId, SourceId};
use crate::policy::membership::{Accepted, Conflict, Membership, Present, Step};
use crate::policy::restart::{Decision, RestartPolicy};
use crate::stats::SourceStats;

/// Servers that sources find come after all that the host registers, where the order of registrations decides.
const FOUND_ORDER: usize = usize::MAX / 2;

/// A source that the host gave, checked.
pub(crate) struct RegisteredSource {
    pub id: SourceId,
    /// Where it looks, for people.
    pub place: String,
    pub source: Arc<dyn Source>,
    pub rules: DiscoverySettings,
}

/// A source as the root sees it.
struct Seat {
    registered: RegisteredSource,
    order: usize,
    /// None while it waits for its restart.
    actor: Option<ActorRef<DiscoveryMsg>>,
    restart: RestartPolicy,
    restart_at: Option<Instant>,
    /// It has answered, or failed, at least once.
    spoken: bool,
    status: SourceStatus,
    reason: Option<String>,
    answered_at: Option<Instant>,
    next_watch: Option<Instant>,
    failures: u32,
    /// What could not be read of the last answer, and why.
    skipped: BTreeMap<String, String>,
    /// What of the source others may write: it was told.
    loose: Vec<LoosePermissions>,
}

/// All sources.
pub(super) struct Sources {
    seats: Vec<Seat>,
    membership: Membership<Registration>,
    /// Servers for which the troupe has no room.
    unplaced: BTreeSet<ServerId>,
    alarm: Alarm,
    rng: SmallRng,
    seed: u64,
}

impl Sources {
    pub(super) fn new(sources: Vec<RegisteredSource>, settings: &Settings, seed: u64, tasks: Tasks) -> Self {
        let membership = Membership::new(sources.iter().map(|registered| {
            (registered.id.clone(), registered.rules.clone(), registered.source.removal_grace())
        }));
        // Whatever becomes of server actors: without its actor a source would never be heard again.
        let restarts = RestartSettings { kind: RestartKind::Permanent, ..settings.restart.clone() };
        let seats = sources.into_iter().enumerate().map(|(order, registered)| Seat {
            registered,
            order,
            actor: None,
            restart: RestartPolicy::new(restarts.clone()),
            restart_at: None,
            spoken: false,
            status: SourceStatus::Asking,
            reason: None,
            answered_at: None,
            next_watch: None,
            failures: 0,
            skipped: BTreeMap::new(),
            loose: Vec::new(),
        });
        let mut hasher = DefaultHasher::new();
        (seed, "sources").hash(&mut hasher);
        Self {
            seats: seats.collect(),
            membership,
            unplaced: BTreeSet::new(),
            alarm: Alarm::new(tasks),
            rng: SmallRng::seed_from_u64(hasher.finish()),
            seed,
        }
    }

    /// Whether this was told of the last answer of one of them.
    pub(super) fn have_told(&self, loose: &LoosePermissions) -> bool {
        self.seats.iter().any(|seat| seat.loose.contains(loose))
    }

    /// Whether each has answered, or failed, at least once.
    pub(super) fn complete(&self) -> bool {
        self.seats.iter().all(|seat| seat.spoken)
    }

    /// The actor of a source.
    #[cfg(feature = "testkit")]
    pub(super) fn actor(&self, source: &SourceId) -> Option<ActorRef<DiscoveryMsg>> {
        self.seats.iter().find(|seat| seat.registered.id == *source)?.actor.clone()
    }

    /// The host took a server away that a source found.
    pub(super) fn dismiss(&mut self, server: &ServerId) {
        self.membership.dismiss(server.clone());
    }

    /// What servers leave to the troupe has changed.
    pub(super) fn settings(&self, settings: &Arc<Settings>) {
        for actor in self.actors() {
            // One that has just ended is restarted with them.
            let _ = actor.cast(DiscoveryMsg::Settings(settings.clone()));
        }
    }

    /// Asks all of them to end.
    pub(super) fn stop(&self) {
        self.actors().for_each(|actor| actor.stop(Some("stop".to_owned())));
    }

    /// Ends all of them.
    pub(super) async fn end(&self) {
        join_all(self.actors().map(|actor| stop_or_kill(actor.get_cell(), STOP_GRACE))).await;
    }

    fn actors(&self) -> impl Iterator<Item = &ActorRef<DiscoveryMsg>> {
        self.seats.iter().filter_map(|seat| seat.actor.as_ref())
    }

    fn seat(&mut self, source: &SourceId) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.registered.id == *source)
    }

    /// The figures of this moment.
    pub(super) fn stats(&self, now: Instant) -> Vec<SourceStats> {
        let stats = self.seats.iter().map(|seat| SourceStats {
            id: seat.registered.id.clone(),
            place: seat.registered.place.clone(),
            status: seat.status,
            reason: seat.reason.clone(),
            servers: self.membership.known(&seat.registered.id),
            skipped: seat.skipped.len(),
            answered_ago: seat.answered_at.map(|at| now.saturating_duration_since(at)),
            next_look_in: seat.next_watch.map(|at| at.saturating_duration_since(now)),
            failures: seat.failures,
            restarts: seat.restart.total(),
        });
        stats.collect()
    }
}

impl RootState {
    /// Starts the actors of all sources that have none and are due.
    pub(super) async fn start_sources(
        &mut self,
        myself: &ActorRef<RootMsg>,
        now: Instant,
    ) -> Result<(), ActorProcessingErr> {
        let Sources { seats, seed, .. } = &mut self.sources;
        for seat in seats.iter_mut().filter(|seat| seat.actor.is_none()) {
            if seat.restart_at.is_some_and(|at| at > now) {
                continue;
            }
            // Another one for each life.
            *seed = seed.wrapping_add(1);
            let arguments = DiscoveryArguments {
                id: seat.registered.id.clone(),
                source: seat.registered.source.clone(),
                rules: seat.registered.rules.clone(),
                settings: self.settings.clone(),
                order: FOUND_ORDER + seat.order,
                root: myself.clone(),
                tasks: self.children.context.tasks.clone(),
                seed: *seed,
            };
            let (actor, _) =
                DiscoveryActor::spawn_linked(None, DiscoveryActor, arguments, myself.get_cell()).await?;
            seat.actor = Some(actor);
            seat.restart_at = None;
            seat.next_watch = None;
        }
        Ok(())
    }

    /// The actor of a source ended; its servers stay. `false` if it is no source's.
    pub(super) fn source_ended(&mut self, child: ActorId, cause: &ExitCause, now: Instant) -> bool {
        let Sources { seats, rng, .. } = &mut self.sources;
        let of = |seat: &&mut Seat| seat.actor.as_ref().is_some_and(|actor| actor.get_id() == child);
        let Some(seat) = seats.iter_mut().find(of) else { return false };
        seat.actor = None;
        if let Ending::No = self.ending {
            let after = match seat.restart.decide(cause, now, rng) {
                Decision::Restart { after } | Decision::Quarantine { after } => after,
                // Nobody but shutdown asks it to end.
                Decision::Leave => Duration::ZERO,
            };
            seat.restart_at = Some(later(now, after));
            seat.next_watch = seat.restart_at;
            let (source, cause) = (seat.registered.id.clone(), cause.clone());
            self.children.context.emit(Event::DiscoveryRestarted { source, cause });
        }
        true
    }

    /// A source answered.
    pub(super) fn found(&mut self, source: &SourceId, snapshot: Snapshot, now: Instant) {
        let Snapshot { servers, partial, mut unread, skipped, loose, next_watch } = snapshot;
        let Ending::No = self.ending else { return };
        let count = servers.len();
        if partial {
            unread.extend(self.sources.membership.standing(source).cloned());
        }
        let believed = self.sources.membership.answered(source, servers, &unread, now);
        let known = self.sources.membership.known(source);
        let context = self.children.context.clone();
        // The configuration names the files of its sources too, and sources may share a folder.
        let untold =
            |loose: &&LoosePermissions| !self.loose.contains(loose) && !self.sources.have_told(loose);
        let untold: Vec<LoosePermissions> = loose.iter().filter(untold).cloned().collect();
        let Some(seat) = self.sources.seat(source) else { return };
        seat.restart.ready(now);
        let former = std::mem::replace(&mut seat.skipped, skipped);
        for (record, reason) in
            seat.skipped.iter().filter(|(record, reason)| former.get(*record) != Some(reason))
        {
            let (source, record, reason) = (source.clone(), record.clone(), reason.clone());
            context.emit(Event::RecordSkipped { source, record, reason });
        }
        untold.into_iter().for_each(|loose| context.emit(Event::LoosePermissions(loose)));
        seat.loose = loose;
        match believed {
            Accepted::Yes => {
                if matches!(seat.status, SourceStatus::Failing | SourceStatus::Doubted) {
                    context.emit(Event::DiscoveryRecovered { source: source.clone(), servers: count });
                }
                seat.status = SourceStatus::Good;
                seat.reason = None;
                seat.failures = 0;
                seat.answered_at = Some(now);
                seat.next_watch = next_watch;
            }
            Accepted::NotYet { again_in, first } => {
                if first {
                    context.emit(Event::DiscoveryDoubted { source: source.clone(), known });
                }
                seat.status = SourceStatus::Doubted;
                seat.reason = Some(format!("it names no server, and {known} are known"));
                seat.next_watch = Some(later(now, again_in));
                if let Some(actor) = &seat.actor {
                    // One that has just ended looks again when it is restarted.
                    let _ = actor.cast(DiscoveryMsg::WatchAgain { after: again_in });
                }
            }
        }
        self.carry_out(now);
        self.spoken(source);
    }

    /// A source has no answer.
    pub(super) fn source_failed(
        &mut self,
        source: &SourceId,
        error: &SourceError,
        retry_at: Instant,
        now: Instant,
    ) {
        let Ending::No = self.ending else { return };
        self.sources.membership.failed(source);
        let context = self.children.context.clone();
        let Some(seat) = self.sources.seat(source) else { return };
        let reason = error.to_string();
        seat.failures = seat.failures.saturating_add(1);
        seat.next_watch = Some(retry_at);
        let told = seat.status == SourceStatus::Failing && seat.reason.as_ref() == Some(&reason);
        seat.status = SourceStatus::Failing;
        seat.reason = Some(reason.clone());
        if !told {
            let retry_in = Some(retry_at.saturating_duration_since(now));
            context.emit(Event::DiscoveryFailed { source: source.clone(), reason, retry_in });
        }
        self.spoken(source);
    }

    /// Once all have spoken for the first time, the registry is told.
    fn spoken(&mut self, source: &SourceId) {
        let before = self.sources.complete();
        if let Some(seat) = self.sources.seat(source) {
            seat.spoken = true;
        }
        if !before && self.sources.complete() {
            // A registry that has just ended is replaced by one that is told at its start.
            let _ = self.children.registry.cast(RegistryMsg::Complete);
        }
    }

    /// Carries out all that has become due.
    pub(super) fn carry_out(&mut self, now: Instant) {
        for server in self.sources.membership.touched(now) {
            self.reconcile(&server);
        }
    }

    /// There is room for another server, or its id is free.
    pub(super) fn room_for(&mut self, server: &ServerId) {
        self.reconcile(server);
        if let Some(unplaced) = self.sources.unplaced.pop_first() {
            self.reconcile(&unplaced);
        }
    }

    /// There may be room for each that has found none: of those for whom there is none again, each is told once more.
    pub(super) fn try_unplaced(&mut self) {
        for server in std::mem::take(&mut self.sources.unplaced) {
            self.reconcile(&server);
        }
    }

    /// Does what has to happen to one server by what the sources say and what plays.
    pub(super) fn reconcile(&mut self, server: &ServerId) {
        let Ending::No = self.ending else { return };
        let present = match self.registered.get(server) {
            None => Present::Nobody,
            Some(Registered { leaving: true, .. }) => Present::Leaving,
            Some(Registered { registration, .. }) => match &registration.origin {
                Origin::Source(source) => Present::Found(source, registration),
                Origin::Configured | Origin::Registered => Present::Host,
            },
        };
        let step = match self.sources.membership.step(server, &present) {
            Step::Nothing => None,
            Step::Join(source, registration) | Step::Change(source, registration) => {
                Some((source.clone(), Some(registration.clone())))
            }
            Step::Leave => match present {
                Present::Found(source, _) => Some((source.clone(), None)),
                Present::Nobody | Present::Leaving | Present::Host => None,
            },
        };
        self.sources.unplaced.remove(server);
        match step {
            None => {}
            Some((source, Some(registration))) if self.registered.contains_key(server) => {
                self.change(source, registration);
            }
            Some((source, Some(registration))) => self.join(source, registration),
            Some((source, None)) => {
                self.children.context.emit(Event::ServerWithdrawn { server: server.clone(), source });
                self.leave(server.clone());
            }
        }
        let holder = self.registered.get(server).filter(|registered| !registered.leaving);
        let holder = holder.map(|registered| registered.registration.origin.clone());
        for Conflict { server, source, holder } in self.sources.membership.conflicts(server, holder.as_ref())
        {
            self.children.context.emit(Event::ClaimConflict { server, claimed_by: source, holder });
        }
    }

    fn join(&mut self, source: SourceId, registration: Registration) {
        let server = registration.spec.id.clone();
        let limit = self.settings.limits.servers_max;
        if self.registered.len() >= limit {
            let reason = format!("the troupe has {limit} servers already, which is its limit");
            let record = server.to_string();
            self.children.context.emit(Event::RecordSkipped { source, record, reason });
            self.sources.unplaced.insert(server);
            return;
        }
        let endpoint = registration.connector.endpoint();
        self.children.context.emit(Event::ServerDiscovered { server: server.clone(), source, endpoint });
        self.enrol(registration);
    }

    fn change(&mut self, source: SourceId, registration: Registration) {
        let Some(registered) = self.registered.get_mut(&registration.spec.id) else { return };
        let former = std::mem::replace(&mut registered.registration, registration.clone());
        self.children.context.emit(Event::ServerMoved {
            server: registration.spec.id.clone(),
            source,
            from: former.connector.endpoint(),
            to: registration.connector.endpoint(),
        });
        self.clear_group(&former.spec.group);
        let message = match registration.reaches_alike(&former) {
            true => RegistryMsg::Amend(registration),
            false => RegistryMsg::Replace(registration),
        };
        // As above.
        let _ = self.children.registry.cast(message);
    }

    /// Sets the alarm for what time alone brings about.
    pub(super) fn await_sources(&mut self, myself: &ActorRef<RootMsg>) {
        let Ending::No = self.ending else { return };
        let Sources { seats, membership, alarm, .. } = &mut self.sources;
        let restarts = seats.iter().filter_map(|seat| seat.restart_at);
        let next = restarts.chain(membership.next_time()).min();
        alarm.set(next, myself, || RootMsg::Due);
    }

    /// The alarm has rung.
    pub(super) async fn due(
        &mut self,
        myself: &ActorRef<RootMsg>,
        now: Instant,
    ) -> Result<(), ActorProcessingErr> {
        self.sources.alarm.rang();
        let Ending::No = self.ending else { return Ok(()) };
        self.carry_out(now);
        self.start_sources(myself, now).await
    }
}
