//! RootActor: owns the settled configuration, the registrations, and which actors play at the moment.
//!
//! Its children depend on each other in their order, so it restarts them `rest_for_one`: the end of the events actor
//! ends the registry and the router, the end of the registry ends the router, the end of the router ends nothing else.
//! The registrations are kept here, so that none is lost with the registry. The cache depends on none of the others and none
//! on it, and so does the actor that each source of servers has.

pub(crate) mod messages;
mod sources;

mod apply;

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use self::messages::Bequest;
use self::messages::{RegisterError, Rest, RootMsg};
use super::cache::{CacheActor, CacheArguments};
use super::events::EventsActor;
use super::intake::{Intake, intake};
use super::known_lists::{KnownListsActor, KnownListsArguments};
use super::numbers::{DrainOrder, Numbers, PastNumbers, RegistrationId};
use super::questions::HostHandlers;
use super::registry::messages::deliver;
use super::registry::{RegistryActor, RegistryArguments};
use super::router::{RouterActor, RouterArguments};
use super::starts::{StartsActor, StartsArguments};
use super::supervision::{STOP_GRACE, exit_of, stop_or_kill};
use super::{Context, CurrentActors, Tasks, ask, meters};
use crate::actors::cache::messages::{CacheMsg, Caching};
use crate::actors::events::messages::EventsMsg;
use crate::actors::known_lists::messages::KnownListsMsg;
use crate::actors::registry::messages::{RegistryMsg, Taken};
use crate::actors::registry::registration::{Enrolment, Registration};
use crate::actors::registry::roster::Roster;
use crate::actors::router::messages::RouterMsg;
use crate::actors::starts::messages::StartsMsg;
use crate::config::{LoosePermissions, Settings, SourceConfig};
use crate::duration::later;
use crate::event::{Event, ExitCause, Origin};
use crate::id::{GroupId, Incarnation, RouterLife, ServerId};
use crate::policy::classify::Judge;
use crate::policy::pins::Pinning;
use crate::policy::response_cache::Sweep;
use crate::policy::routing::Abandoned;
use crate::policy::strategy::Strategies;

pub(crate) use sources::RegisteredSource;
use sources::Sources;

/// Restarts of its own children that the root grants within [`RESTARTS_WINDOW`]. These actors hold no sockets and parse
/// nothing; if they end this often the fault is in this library, and the host's supervisor should know.
const RESTARTS_MAX: usize = 1_000;
const RESTARTS_WINDOW: Duration = Duration::from_secs(60);

/// Makes the strategies for a router; each life of the router gets its own.
pub(crate) type StrategiesFactory = Arc<dyn Fn() -> Strategies + Send + Sync>;

/// What the root is started with.
pub(crate) struct RootArguments {
    /// The handles see them change.
    pub settings: watch::Sender<Arc<Settings>>,
    /// Who hears all events, those of the start included.
    pub first_subscriber: Option<mpsc::Sender<Event>>,
    pub registrations: Vec<Registration>,
    pub sources: Vec<RegisteredSource>,
    /// The sources as the configuration describes them.
    pub described: Vec<SourceConfig>,
    /// What of the configuration others than its owner may write.
    pub loose: Vec<LoosePermissions>,
    /// Servers that the configuration has switched off.
    pub disabled: Vec<ServerId>,
    /// Whether it describes servers that are left out, for mistakes in them.
    pub left_out: bool,
    pub pinning: Option<Arc<Pinning>>,
    pub strategies: StrategiesFactory,
    pub judge: Judge,
    pub host_handlers: HostHandlers,
    pub seed: u64,
    pub tasks: Tasks,
    pub current_actors: watch::Sender<CurrentActors>,
    pub roster: watch::Sender<Arc<Roster>>,
}

/// A registered server.
struct Registered {
    registration: Registration,
    numbers: Numbers,
    leaving: bool,
    /// What takes its place when it has left: a configuration names its id again.
    next: Option<Registration>,
    /// It was drained and rests, or is about to.
    pause: Option<Pause>,
}

/// A server that is to rest.
struct Pause {
    order: DrainOrder,
    /// Who waits for that.
    waiting: Vec<oneshot::Sender<Rest>>,
}

impl Pause {
    /// Tells everybody who waits.
    fn tell(&mut self, rest: Rest) {
        for port in self.waiting.drain(..) {
            // Whoever waited may have left.
            let _ = port.send(rest);
        }
    }
}

impl Registered {
    fn new(registration: Registration, numbers: Numbers) -> Self {
        Self { registration, numbers, leaving: false, next: None, pause: None }
    }

    /// As the registry is given it.
    fn enrolment(&self) -> Enrolment {
        let (registration, numbers) = (self.registration.clone(), self.numbers.clone());
        Enrolment { registration, numbers, paused: self.pause.as_ref().map(|pause| pause.order) }
    }
}

/// The actors that play.
struct Children {
    events: ActorRef<EventsMsg>,
    registry: ActorRef<RegistryMsg>,
    router: ActorRef<RouterMsg>,
    router_life: RouterLife,
    intake: Intake,
    cache: ActorRef<CacheMsg>,
    starts: ActorRef<StartsMsg>,
    /// None where no setting names their file.
    known_lists: Option<ActorRef<KnownListsMsg>>,
    /// What the router says of its calls when it ends.
    last_word: oneshot::Receiver<Abandoned>,
    context: Context,
}

/// How far shutdown has come.
enum Ending {
    No,
    Draining,
    Drained { interrupted: usize },
}

/// The root's state.
pub(crate) struct RootState {
    settings: Arc<Settings>,
    settings_shown: watch::Sender<Arc<Settings>>,
    /// The configuration that was applied last.
    configuration: Taken,
    registered: BTreeMap<ServerId, Registered>,
    past: PastNumbers,
    /// Orders to let a server rest, ever.
    drains: u64,
    /// What lives left that no registry could be given yet: there will be another one.
    undelivered: Vec<Bequest>,
    sources: Sources,
    /// The sources as the configuration described them at the start: they do not change while the troupe plays.
    described: Vec<SourceConfig>,
    /// What of the last configuration others may write: it was told.
    loose: Vec<LoosePermissions>,
    strategies: StrategiesFactory,
    /// The source of every random choice; each cast gets another one, so that lives differ.
    seed: u64,
    current_actors: watch::Sender<CurrentActors>,
    roster: watch::Sender<Arc<Roster>>,
    /// Which calls the cache has to do with, by the present settings.
    caching: Option<Arc<Caching>>,
    children: Children,
    ending: Ending,
    restarts: VecDeque<Instant>,
}

/// Supervises the company; see the module's page.
pub(crate) struct RootActor;

impl Actor for RootActor {
    type Msg = RootMsg;
    type State = RootState;
    type Arguments = RootArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<RootMsg>,
        arguments: RootArguments,
    ) -> Result<RootState, ActorProcessingErr> {
        let RootArguments {
            first_subscriber,
            settings: settings_shown,
            registrations,
            sources,
            described,
            loose,
            disabled,
            left_out,
            pinning,
            strategies,
            judge,
            host_handlers,
            seed,
            tasks,
            current_actors,
            roster,
        } = arguments;
        let settings = settings_shown.borrow().clone();
        let sources = Sources::new(sources, &settings, seed, tasks.clone());
        let (events, _) =
            EventsActor::spawn_linked(None, EventsActor, first_subscriber, myself.get_cell()).await?;
        let context = Context {
            dial_gate: Arc::new(tokio::sync::Semaphore::new(
                settings.start_concurrency.min(tokio::sync::Semaphore::MAX_PERMITS),
            )),
            settings: settings.clone(),
            current_actors: current_actors.subscribe(),
            events: events.clone(),
            pinning,
            judge,
            host_handlers,
            tasks,
            seed,
        };
        let mut past = PastNumbers::default();
        let registered: BTreeMap<ServerId, Registered> = registrations
            .into_iter()
            .map(|registration| {
                let server = registration.spec.id.clone();
                let numbers = past.joins(&server);
                (server, Registered::new(registration, numbers))
            })
            .collect();
        let beginning = registered.values().map(Registered::enrolment).collect();
        let configuration = Taken { number: 0, disabled: disabled.into(), left_out };
        let complete = sources.complete();
        let registry =
            start_registry(&myself, &context, beginning, complete, configuration.clone(), &roster).await?;
        let router_life = RouterLife(1);
        let (router, intake, last_word) = start_router(&myself, &context, router_life, &strategies).await?;
        let cache = start_cache(&myself, &context).await?;
        let starts = start_starts(&myself, &context).await?;
        let known_lists = start_known_lists(&myself, &context).await?;
        let mut state = RootState {
            settings,
            settings_shown,
            configuration,
            registered,
            past,
            drains: 0,
            undelivered: Vec::new(),
            sources,
            described,
            loose: Vec::new(),
            strategies,
            seed,
            current_actors,
            caching: Caching::new(&context.settings, roster.subscribe()),
            roster,
            children: Children {
                events,
                registry,
                router,
                router_life,
                intake,
                last_word,
                cache,
                starts,
                known_lists,
                context,
            },
            ending: Ending::No,
            restarts: VecDeque::new(),
        };
        state.enter();
        state.introduce_known_lists();
        state.tell_loose(loose);
        state.start_sources(&myself, Instant::now()).await?;
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<RootMsg>,
        message: RootMsg,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        let now = Instant::now();
        match message {
            RootMsg::Register { registration, port } => {
                let _ = port.send(state.register(registration));
            }
            RootMsg::Unregister { server, port } => {
                let _ = port.send(state.unregister(server));
            }
            RootMsg::Replace { registration, port } => {
                let last = state.last_life(&registration.spec.id);
                let _ = port.send(last.filter(|_| state.replace(registration)));
            }
            RootMsg::Drain { server, until, port } => state.drain(server, until, port),
            RootMsg::Resume { server, port } => {
                let last = state.last_life(&server);
                let _ = port.send(last.filter(|_| state.resume(server)));
            }
            RootMsg::Found { source, snapshot, heard } => {
                state.found(&source, snapshot, now);
                drop(heard);
            }
            RootMsg::SourceFailed { source, error, retry_at } => {
                state.source_failed(&source, &error, retry_at, now);
            }
            RootMsg::Sources(port) => {
                let _ = port.send(state.sources.stats(now));
            }
            RootMsg::Due => state.due(&myself, now).await?,
            #[cfg(feature = "testkit")]
            RootMsg::SourceActor { source, port } => {
                let _ = port.send(state.sources.actor(&source));
            }
            RootMsg::SetStrategy { name, port } => {
                let _ = port.send(state.set_strategy(name));
            }
            RootMsg::Apply { file, wrong, port } => {
                let _ = port.send(state.apply(*file, &wrong));
            }
            RootMsg::Rested { server, order } => state.rested(&server, order),
            RootMsg::Forgotten { server, registration } => state.forgotten(&server, registration),
            RootMsg::Bequest(bequest) => {
                let back = deliver(bequest, &state.children.registry);
                state.undelivered.extend(back);
            }
            RootMsg::Shutdown => state.begin_ending(),
            RootMsg::Drained { interrupted } => {
                state.ending = Ending::Drained { interrupted };
                myself.stop(Some("shutdown".to_owned()));
            }
        }
        state.await_sources(&myself);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<RootMsg>,
        event: SupervisionEvent,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        let Some((child, cause)) = exit_of(event) else { return Ok(()) };
        let now = Instant::now();
        if state.source_ended(child, &cause, now) {
            state.await_sources(&myself);
            return Ok(());
        }
        if child == state.children.cache.get_id() {
            return state.cache_ended(&myself, cause, now).await;
        }
        if child == state.children.starts.get_id() {
            return state.starts_ended(&myself, cause, now).await;
        }
        if state.children.known_lists.as_ref().is_some_and(|known_lists| known_lists.get_id() == child) {
            return state.known_lists_ended(&myself, cause, now).await;
        }
        let Children { events, registry, router, .. } = &state.children;
        let from = if child == router.get_id() {
            Child::Router
        } else if child == registry.get_id() {
            Child::Registry
        } else if child == events.get_id() {
            Child::Events
        } else {
            // One of an earlier children, which was stopped on purpose.
            return Ok(());
        };
        if let Ending::Draining = state.ending {
            // Nobody is left who could answer; the ports were dropped, and the handles know.
            return myself.cast(RootMsg::Drained { interrupted: 0 }).map_err(Into::into);
        }
        state.grant_restart(now)?;
        let Abandoned { interrupted, handed_back } = state.restart(&myself, from).await?;
        meters::router_restarted();
        state.children.context.emit(match from {
            Child::Router => Event::RouterRestarted { cause, interrupted, handed_back },
            Child::Registry | Child::Events => Event::RegistryRestarted { cause, interrupted, handed_back },
        });
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<RootMsg>, state: &mut RootState) -> Result<(), ActorProcessingErr> {
        // Handles that wait for a router learn that there is none to come.
        state.current_actors.send_replace(CurrentActors::default());
        state.sources.end().await;
        stop_or_kill(state.children.router.get_cell(), STOP_GRACE).await;
        stop_or_kill(state.children.cache.get_cell(), STOP_GRACE).await;
        stop_or_kill(state.children.registry.get_cell(), 4 * STOP_GRACE).await;
        stop_or_kill(state.children.starts.get_cell(), STOP_GRACE).await;
        if let Some(known_lists) = &state.children.known_lists {
            // A disk that hangs holds up nobody for longer; what it has then is the last whole file.
            let _ = timeout(STOP_GRACE, ask(known_lists, KnownListsMsg::Finish)).await;
            stop_or_kill(known_lists.get_cell(), STOP_GRACE).await;
        }
        let interrupted = match state.ending {
            Ending::Drained { interrupted } => interrupted,
            Ending::No | Ending::Draining => 0,
        };
        state.children.context.emit(Event::ShutdownCompleted { interrupted });
        // Drained, so that the last event is delivered.
        let events = state.children.events.get_cell();
        if events.drain_and_wait(Some(STOP_GRACE)).await.is_err() {
            events.kill();
        }
        Ok(())
    }
}

/// The children, in the order in which they depend on each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Child {
    Events,
    Registry,
    Router,
}

async fn start_registry(
    myself: &ActorRef<RootMsg>,
    context: &Context,
    enrolments: Vec<Enrolment>,
    complete: bool,
    configuration: Taken,
    roster: &watch::Sender<Arc<Roster>>,
) -> Result<ActorRef<RegistryMsg>, ActorProcessingErr> {
    let arguments = RegistryArguments {
        context: context.clone(),
        root: myself.clone(),
        enrolments,
        complete,
        configuration,
        roster: roster.clone(),
    };
    let (registry, _) =
        RegistryActor::spawn_linked(None, RegistryActor, arguments, myself.get_cell()).await?;
    Ok(registry)
}

async fn start_router(
    myself: &ActorRef<RootMsg>,
    context: &Context,
    life: RouterLife,
    strategies: &StrategiesFactory,
) -> Result<(ActorRef<RouterMsg>, Intake, oneshot::Receiver<Abandoned>), ActorProcessingErr> {
    let (intake, arrivals) = intake();
    let (last_word, heard) = oneshot::channel();
    let (context, root) = (context.clone(), myself.clone());
    let mut strategies = strategies();
    // The settings' strategy was there when it was chosen; without it the default one plays.
    let _ = strategies.select(&context.settings.strategy);
    let arguments = RouterArguments { context, root, life, strategies, arrivals, last_word };
    let (router, _) = RouterActor::spawn_linked(None, RouterActor, arguments, myself.get_cell()).await?;
    Ok((router, intake, heard))
}

async fn start_cache(
    myself: &ActorRef<RootMsg>,
    context: &Context,
) -> Result<ActorRef<CacheMsg>, ActorProcessingErr> {
    let arguments = CacheArguments {
        settings: context.settings.clone(),
        current_actors: context.current_actors.clone(),
        tasks: context.tasks.clone(),
    };
    let (cache, _) = CacheActor::spawn_linked(None, CacheActor, arguments, myself.get_cell()).await?;
    Ok(cache)
}

async fn start_starts(
    myself: &ActorRef<RootMsg>,
    context: &Context,
) -> Result<ActorRef<StartsMsg>, ActorProcessingErr> {
    // A system that does not tell its cores has one.
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let arguments =
        StartsArguments { limit: context.settings.process_starts(cores), tasks: context.tasks.clone() };
    let (starts, _) = StartsActor::spawn_linked(None, StartsActor, arguments, myself.get_cell()).await?;
    Ok(starts)
}

async fn start_known_lists(
    myself: &ActorRef<RootMsg>,
    context: &Context,
) -> Result<Option<ActorRef<KnownListsMsg>>, ActorProcessingErr> {
    let Some(path) = context.settings.known_lists.clone() else { return Ok(None) };
    let arguments = KnownListsArguments { context: context.clone(), path };
    let (known_lists, _) =
        KnownListsActor::spawn_linked(None, KnownListsActor, arguments, myself.get_cell()).await?;
    Ok(Some(known_lists))
}

impl RootState {
    /// Publishes who plays, then lets the registry introduce itself to the router.
    fn enter(&self) {
        self.publish();
        // A registry that has just ended is about to be replaced.
        let _ = self.children.registry.cast(RegistryMsg::RouterUp(self.children.router_life));
    }

    /// Publishes who plays.
    fn publish(&self) {
        let Children { events, router, intake, cache, starts, .. } = &self.children;
        self.current_actors.send_replace(CurrentActors {
            router: Some(router.clone()),
            intake: Some(intake.clone()),
            default_timeout: self.settings.call_timeout,
            events: Some(events.clone()),
            caching: self.caching.clone(),
            cache: Some(cache.clone()),
            starts: Some(starts.clone()),
            #[cfg(feature = "testkit")]
            known_lists: self.children.known_lists.clone(),
            #[cfg(feature = "testkit")]
            registry: Some(self.children.registry.clone()),
        });
    }

    /// The cache ended: calls that wait in it make their own way, and another one begins with nothing.
    async fn cache_ended(
        &mut self,
        myself: &ActorRef<RootMsg>,
        cause: ExitCause,
        now: Instant,
    ) -> Result<(), ActorProcessingErr> {
        match self.ending {
            Ending::No => {}
            Ending::Draining | Ending::Drained { .. } => return Ok(()),
        }
        self.grant_restart(now)?;
        self.children.cache = start_cache(myself, &self.children.context).await?;
        self.publish();
        self.children.context.emit(Event::CacheRestarted { cause });
        Ok(())
    }

    /// The actor that gives processes their turn ended: those that wait ask the next one.
    async fn starts_ended(
        &mut self,
        myself: &ActorRef<RootMsg>,
        cause: ExitCause,
        now: Instant,
    ) -> Result<(), ActorProcessingErr> {
        // While the troupe drains, a server may still be needed by a call that is open.
        self.grant_restart(now)?;
        tracing::error!(%cause, "the actor that starts processes ended");
        self.children.starts = start_starts(myself, &self.children.context).await?;
        self.publish();
        Ok(())
    }

    /// The actor of the known lists ended: the next one reads the file, and is told anew what servers list.
    async fn known_lists_ended(
        &mut self,
        myself: &ActorRef<RootMsg>,
        cause: ExitCause,
        now: Instant,
    ) -> Result<(), ActorProcessingErr> {
        self.grant_restart(now)?;
        tracing::error!(%cause, "the actor of the known lists ended");
        self.children.known_lists = start_known_lists(myself, &self.children.context).await?;
        self.publish();
        self.introduce_known_lists();
        Ok(())
    }

    /// Names the actor of the known lists to the registry, if there is one.
    fn introduce_known_lists(&self) {
        if let Some(known_lists) = &self.children.known_lists {
            // A registry that has just ended is replaced by one that is told.
            let _ = self.children.registry.cast(RegistryMsg::KnownListsUp(known_lists.clone()));
        }
    }

    /// What the servers of a group said may no longer be so.
    fn clear_group(&self, group: &GroupId) {
        // A cache that has ended keeps nothing.
        let _ = self.children.cache.cast(CacheMsg::Changed(vec![Sweep::Group(group.clone())]));
    }

    /// Counts a restart, or gives up: the children of the root end all the time.
    fn grant_restart(&mut self, now: Instant) -> Result<(), ActorProcessingErr> {
        while self.restarts.front().is_some_and(|at| now.saturating_duration_since(*at) >= RESTARTS_WINDOW) {
            self.restarts.pop_front();
        }
        if self.restarts.len() >= RESTARTS_MAX {
            return Err("the root's own children ended too often".into());
        }
        self.restarts.push_back(now);
        Ok(())
    }

    /// Replaces a child and those that depend on it. Returns what became of the calls of the former router.
    async fn restart(
        &mut self,
        myself: &ActorRef<RootMsg>,
        from: Child,
    ) -> Result<Abandoned, ActorProcessingErr> {
        self.seed = self.seed.wrapping_add(1);
        // The router first: its calls are answered before their servers go.
        if from < Child::Router {
            stop_or_kill(self.children.router.get_cell(), STOP_GRACE).await;
        }
        if from < Child::Registry {
            stop_or_kill(self.children.registry.get_cell(), 4 * STOP_GRACE).await;
        }
        if from == Child::Events {
            let (events, _) = EventsActor::spawn_linked(None, EventsActor, None, myself.get_cell()).await?;
            self.children.context.events = events.clone();
            self.children.events = events;
        }
        self.children.context.seed = self.seed;
        // Those that were leaving have left with the registry.
        let mut left: Vec<ServerId> = Vec::new();
        if from <= Child::Registry {
            // What its servers told meanwhile is lost with it.
            let _ = self.children.cache.cast(CacheMsg::Changed(vec![Sweep::Everything]));
            // Dials of the former registry's servers ended with them; their places at the gate are free.
            let leaving = self.registered.iter().filter(|(_, registered)| registered.leaving);
            left = leaving.map(|(server, _)| server.clone()).collect();
            self.settle_leaving();
            let enrolments = self.registered.values().map(Registered::enrolment).collect();
            let (context, complete) = (&self.children.context, self.sources.complete());
            self.children.registry = start_registry(
                myself,
                context,
                enrolments,
                complete,
                self.configuration.clone(),
                &self.roster,
            )
            .await?;
            for bequest in std::mem::take(&mut self.undelivered) {
                self.undelivered.extend(deliver(bequest, &self.children.registry));
            }
            // What was draining has ended with its registry, and the next one lets it rest.
            let pauses = self.registered.values_mut().filter_map(|registered| registered.pause.as_mut());
            pauses.for_each(|pause| pause.tell(Rest::Rests));
        }
        self.children.router_life = RouterLife(self.children.router_life.0 + 1);
        let next =
            start_router(myself, &self.children.context, self.children.router_life, &self.strategies).await?;
        let last_word;
        (self.children.router, self.children.intake, last_word) = next;
        // It was said when the former router's state was dropped, before its end was told.
        let abandoned = std::mem::replace(&mut self.children.last_word, last_word).try_recv();
        self.enter();
        if from <= Child::Registry {
            self.introduce_known_lists();
        }
        left.iter().for_each(|server| self.room_for(server));
        Ok(abandoned.unwrap_or_default())
    }

    /// Tells what of a new configuration others may write, unless it was told of the last one or of a source.
    fn tell_loose(&mut self, loose: Vec<LoosePermissions>) {
        for loose in
            loose.iter().filter(|loose| !self.loose.contains(loose) && !self.sources.have_told(loose))
        {
            self.children.context.emit(Event::LoosePermissions(loose.clone()));
        }
        self.loose = loose;
    }

    fn register(&mut self, registration: Registration) -> Result<(), RegisterError> {
        let id = registration.spec.id.clone();
        let limit = self.settings.limits.servers_max;
        match self.ending {
            Ending::No => {}
            Ending::Draining | Ending::Drained { .. } => return Err(RegisterError::Closed),
        }
        if self.registered.contains_key(&id) {
            return Err(RegisterError::AlreadyRegistered(id));
        }
        if self.registered.len() >= limit {
            return Err(RegisterError::TooMany(limit));
        }
        self.enrol(registration);
        self.reconcile(&id);
        Ok(())
    }

    /// The life of a server that was begun last.
    fn last_life(&self, server: &ServerId) -> Option<Incarnation> {
        self.registered.get(server).map(|registered| registered.numbers.last_life())
    }

    /// The server, unless it is leaving.
    fn staying(&mut self, server: &ServerId) -> Option<&mut Registered> {
        self.registered.get_mut(server).filter(|registered| !registered.leaving)
    }

    fn replace(&mut self, registration: Registration) -> bool {
        let Some(registered) = self.staying(&registration.spec.id) else { return false };
        let former = std::mem::replace(&mut registered.registration, registration.clone());
        self.clear_group(&former.spec.group);
        let server = registration.spec.id.clone();
        let _ = self.children.registry.cast(RegistryMsg::Replace(registration));
        // A server that a source found is the host's from now on.
        self.reconcile(&server);
        true
    }

    fn drain(&mut self, server: ServerId, until: Instant, port: oneshot::Sender<Rest>) {
        let next = DrainOrder(self.drains + 1);
        let Some(registered) = self.staying(&server) else { return };
        let pause = registered.pause.get_or_insert(Pause { order: next, waiting: Vec::new() });
        // Who has left is not kept for as long as the others wait.
        pause.waiting.retain(|port| !port.is_closed());
        pause.waiting.push(port);
        let order = pause.order;
        self.drains = self.drains.max(order.0);
        // A registry that has just ended took the server with it; its successor lets it rest.
        let _ = self.children.registry.cast(RegistryMsg::Drain { server, until, order });
    }

    /// A server rests by this order, unless it was resumed since.
    fn rested(&mut self, server: &ServerId, order: DrainOrder) {
        let pause = self.staying(server).and_then(|registered| registered.pause.as_mut());
        if let Some(pause) = pause.filter(|pause| pause.order == order) {
            pause.tell(Rest::Rests);
        }
    }

    fn resume(&mut self, server: ServerId) -> bool {
        let Some(mut pause) = self.staying(&server).and_then(|registered| registered.pause.take()) else {
            return false;
        };
        pause.tell(Rest::Resumed);
        let _ = self.children.registry.cast(RegistryMsg::Resume(server));
        true
    }

    fn unregister(&mut self, server: ServerId) -> bool {
        let found = |registered: &Registered| matches!(registered.registration.origin, Origin::Source(_));
        if self.registered.get(&server).is_some_and(found) {
            self.sources.dismiss(&server);
        }
        self.leave(server)
    }

    /// Lets a server finish what it has and leave. Answers whether there is one that stayed.
    fn leave(&mut self, server: ServerId) -> bool {
        match self.registered.get_mut(&server) {
            Some(registered) if !registered.leaving => {
                registered.leaving = true;
                // Who waits for its rest learns that there is no such server any more.
                registered.pause = None;
                let group = registered.registration.spec.group.clone();
                self.clear_group(&group);
                let _ = self.children.registry.cast(RegistryMsg::Unregister(server));
                true
            }
            // It leaves for good.
            Some(registered) => registered.next.take().is_some(),
            None => false,
        }
    }

    /// A server that left is gone; what was to take its place does.
    fn forgotten(&mut self, server: &ServerId, registration: RegistrationId) {
        // A registry that has ended may have said so of a server whose id has another one by now.
        let meant = |registered: &Registered| registered.numbers.registration() == registration;
        if !self.registered.get(server).is_some_and(meant) {
            return;
        }
        let Some(registered) = self.registered.remove(server) else { return };
        self.past.left(server.clone(), &registered.numbers);
        if let (Some(next), Ending::No) = (registered.next, &self.ending) {
            self.enrol(next);
        }
        self.room_for(server);
    }

    /// Those that were leaving have left with their registry.
    fn settle_leaving(&mut self) {
        for (server, registered) in std::mem::take(&mut self.registered) {
            let stays = if registered.leaving {
                self.past.left(server.clone(), &registered.numbers);
                let Some(next) = registered.next else { continue };
                Registered::new(next, self.past.joins(&server))
            } else {
                registered
            };
            self.registered.insert(server, stays);
        }
    }

    /// Adds a server whose id is free.
    fn enrol(&mut self, registration: Registration) {
        let server = registration.spec.id.clone();
        let registered = Registered::new(registration, self.past.joins(&server));
        let enrolment = registered.enrolment();
        self.registered.insert(server, registered);
        // A registry that has just ended is replaced by one that is given all registrations.
        let _ = self.children.registry.cast(RegistryMsg::Register(enrolment));
    }

    fn begin_ending(&mut self) {
        match self.ending {
            Ending::Draining | Ending::Drained { .. } => {}
            Ending::No => {
                self.ending = Ending::Draining;
                self.sources.stop();
                self.children.context.emit(Event::ShutdownStarted);
                let until = later(Instant::now(), self.settings.shutdown_drain);
                // A router that has just ended has answered everything; its end is told, and ends the draining.
                let _ = self.children.router.cast(RouterMsg::Drain { until });
                let _ = self.children.cache.cast(CacheMsg::Drain);
            }
        }
    }
}
