//! RootActor: owns the settled configuration, the registrations, and which actors play at the moment.
//!
//! Its children depend on each other in their order, so it restarts them `rest_for_one`: the end of the events actor
//! ends the registry and the router, the end of the registry ends the router, the end of the router ends nothing else.
//! The registrations are kept here, so that none is lost with the registry. The cache depends on none of the others and none
//! on it, and so does the actor that each source of servers has.

mod sources;

mod apply;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::cache::{CacheActor, CacheArguments, CacheMsg, Caching};
use super::discovery::Census;
#[cfg(feature = "testkit")]
use super::discovery::DiscoveryMsg;
use super::events::{EventsActor, EventsMsg};
use super::intake::{Intake, intake};
use super::questions::Desk;
use super::registry::{Registration, RegistryActor, RegistryArguments, RegistryMsg, Roster, WrongFiles};
use super::router::{RouterActor, RouterArguments, RouterMsg};
use super::supervision::{STOP_GRACE, exit_of, stop_or_kill};
use super::{Context, Stage, Tasks, meters};
use crate::config::{Applied, ConfigFile, LoosePermissions, Settings, SourceConfig};
use crate::discovery::SourceError;
use crate::event::{Event, ExitCause, Origin};
use crate::id::{GroupId, ServerId, SourceId};
use crate::policy::classify::Classifier;
use crate::policy::pins::Pinning;
use crate::policy::response_cache::Sweep;
use crate::policy::routing::Abandoned;
use crate::policy::strategy::{Strategies, UnknownStrategy};
use crate::stats::SourceStats;

pub use apply::ApplyError;
pub(crate) use sources::RegisteredSource;
use sources::Sources;

/// Restarts of its own children that the root grants within [`RESTARTS_WINDOW`]. These actors hold no sockets and parse
/// nothing; if they end this often the fault is in this library, and the host's supervisor should know.
const RESTARTS_MAX: usize = 1_000;
const RESTARTS_WINDOW: Duration = Duration::from_secs(60);

/// Makes the strategies for a router; each life of the router gets its own.
pub(crate) type StrategiesFactory = Arc<dyn Fn() -> Strategies + Send + Sync>;

/// Why a server was not registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The id is taken, or its former owner has not finished yet.
    #[error("the server id {0} is registered already")]
    AlreadyRegistered(ServerId),
    /// The troupe has as many servers as it may have.
    #[error("the troupe has {0} servers already, which is its limit")]
    TooMany(usize),
    /// The description is wrong.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The troupe has ended or is shutting down.
    #[error("the troupe has ended")]
    Closed,
}

/// What the root is told.
pub(crate) enum RootMsg {
    /// By a handle: a new server.
    Register { registration: Registration, port: oneshot::Sender<Result<(), RegisterError>> },
    /// By a handle: a server leaves. Answers whether there was one.
    Unregister { server: ServerId, port: oneshot::Sender<bool> },
    /// By a handle: another description of a server. Answers whether there is one.
    Replace { registration: Registration, port: oneshot::Sender<bool> },
    /// By a handle: a server finishes what it has until then, and rests. Dropped where there is none.
    Drain { server: ServerId, until: Instant, port: oneshot::Sender<()> },
    /// By a handle: a server that rests goes on. Answers whether there is one that does.
    Resume { server: ServerId, port: oneshot::Sender<bool> },
    /// By a handle: another strategy.
    SetStrategy { name: String, port: oneshot::Sender<Result<(), UnknownStrategy>> },
    /// By a handle: another configuration, and what is wrong with the files that it names. Answered with what it changes and
    /// its number.
    Apply {
        file: Box<ConfigFile>,
        wrong: WrongFiles,
        port: oneshot::Sender<Result<(Applied, u64), ApplyError>>,
    },
    /// By the registry: a server that left is gone, its id is free.
    Forgotten(ServerId),
    /// By a discovery actor: the servers of its source. It goes on when `heard` is dropped.
    Found { source: SourceId, census: Census, heard: oneshot::Sender<()> },
    /// By a discovery actor: its source has no answer; it is asked again then.
    SourceFailed { source: SourceId, error: SourceError, retry_at: Instant },
    /// By a handle: the figures of the sources.
    Sources(oneshot::Sender<Vec<SourceStats>>),
    /// By the alarm.
    Due,
    /// By the testkit: the actor of a source.
    #[cfg(feature = "testkit")]
    SourceActor { source: SourceId, port: oneshot::Sender<Option<ActorRef<DiscoveryMsg>>> },
    /// By a handle: end, in order.
    Shutdown,
    /// By the router: no call is open any more.
    Drained { interrupted: usize },
}

/// What the root is started with.
pub(crate) struct RootArguments {
    /// The handles see them change.
    pub settings: watch::Sender<Arc<Settings>>,
    pub registrations: Vec<Registration>,
    pub sources: Vec<RegisteredSource>,
    /// The sources as the configuration describes them.
    pub described: Vec<SourceConfig>,
    /// What of the configuration others than its owner may write.
    pub loose: Vec<LoosePermissions>,
    pub pinning: Option<Arc<Pinning>>,
    pub strategies: StrategiesFactory,
    pub classifier: Classifier,
    pub desk: Desk,
    pub seed: u64,
    pub tasks: Tasks,
    pub stage: watch::Sender<Stage>,
    pub roster: watch::Sender<Arc<Roster>>,
}

/// A registered server.
struct Registered {
    registration: Registration,
    leaving: bool,
    /// What takes its place when it has left: a configuration names its id again.
    next: Option<Registration>,
    /// It was drained and rests.
    paused: bool,
}

impl Registered {
    fn new(registration: Registration) -> Self {
        Self { registration, leaving: false, next: None, paused: false }
    }
}

/// The actors that play.
struct Cast {
    events: ActorRef<EventsMsg>,
    registry: ActorRef<RegistryMsg>,
    router: ActorRef<RouterMsg>,
    intake: Intake,
    cache: ActorRef<CacheMsg>,
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
    /// How many configurations were applied.
    configuration: u64,
    registered: BTreeMap<ServerId, Registered>,
    sources: Sources,
    /// The sources as the configuration described them at the start: they do not change while the troupe plays.
    described: Vec<SourceConfig>,
    /// What of the last configuration others may write: it was told.
    loose: Vec<LoosePermissions>,
    strategies: StrategiesFactory,
    /// The source of every random choice; each cast gets another one, so that lives differ.
    seed: u64,
    stage: watch::Sender<Stage>,
    roster: watch::Sender<Arc<Roster>>,
    /// Which calls the cache has to do with, by the present settings.
    caching: Option<Arc<Caching>>,
    cast: Cast,
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
            settings: settings_shown,
            registrations,
            sources,
            described,
            loose,
            pinning,
            strategies,
            classifier,
            desk,
            seed,
            tasks,
            stage,
            roster,
        } = arguments;
        let settings = settings_shown.borrow().clone();
        let sources = Sources::new(sources, &settings, seed, tasks.clone());
        let (events, _) = EventsActor::spawn_linked(None, EventsActor, (), myself.get_cell()).await?;
        let context = Context {
            dial_gate: Arc::new(tokio::sync::Semaphore::new(
                settings.start_concurrency.min(tokio::sync::Semaphore::MAX_PERMITS),
            )),
            settings: settings.clone(),
            stage: stage.subscribe(),
            events: events.clone(),
            pinning,
            classifier,
            desk,
            tasks,
            seed,
        };
        let beginning = registrations.iter().map(|registration| (registration.clone(), false)).collect();
        let registry = start_registry(&myself, &context, beginning, sources.complete(), 0, &roster).await?;
        let (router, intake, last_word) = start_router(&myself, &context, &strategies).await?;
        let cache = start_cache(&myself, &context, &roster).await?;
        let registered = registrations
            .into_iter()
            .map(|registration| (registration.spec.id.clone(), Registered::new(registration)));
        let mut state = RootState {
            settings,
            settings_shown,
            configuration: 0,
            registered: registered.collect(),
            sources,
            described,
            loose: Vec::new(),
            strategies,
            seed,
            stage,
            caching: Caching::new(&context.settings, roster.subscribe()),
            roster,
            cast: Cast { events, registry, router, intake, last_word, cache, context },
            ending: Ending::No,
            restarts: VecDeque::new(),
        };
        state.enter();
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
                let _ = port.send(state.replace(registration));
            }
            RootMsg::Drain { server, until, port } => state.drain(server, until, port),
            RootMsg::Resume { server, port } => {
                let _ = port.send(state.resume(server));
            }
            RootMsg::Found { source, census, heard } => {
                state.found(&source, census, now);
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
            RootMsg::Forgotten(server) => state.forgotten(&server),
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
        if child == state.cast.cache.get_id() {
            return state.cache_ended(&myself, cause, now).await;
        }
        let Cast { events, registry, router, .. } = &state.cast;
        let from = if child == router.get_id() {
            Child::Router
        } else if child == registry.get_id() {
            Child::Registry
        } else if child == events.get_id() {
            Child::Events
        } else {
            // One of an earlier cast, which was stopped on purpose.
            return Ok(());
        };
        if let Ending::Draining = state.ending {
            // Nobody is left who could answer; the ports were dropped, and the handles know.
            return myself.cast(RootMsg::Drained { interrupted: 0 }).map_err(Into::into);
        }
        state.grant_restart(now)?;
        let Abandoned { interrupted, handed_back } = state.restart(&myself, from).await?;
        meters::router_restarted();
        state.cast.context.emit(match from {
            Child::Router => Event::RouterRestarted { cause, interrupted, handed_back },
            Child::Registry | Child::Events => Event::RegistryRestarted { cause, interrupted, handed_back },
        });
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<RootMsg>, state: &mut RootState) -> Result<(), ActorProcessingErr> {
        // No stage: handles that look for a router learn that there is none to come.
        state.stage.send_replace(Stage::default());
        state.sources.end().await;
        stop_or_kill(state.cast.router.get_cell(), STOP_GRACE).await;
        stop_or_kill(state.cast.cache.get_cell(), STOP_GRACE).await;
        stop_or_kill(state.cast.registry.get_cell(), 4 * STOP_GRACE).await;
        let interrupted = match state.ending {
            Ending::Drained { interrupted } => interrupted,
            Ending::No | Ending::Draining => 0,
        };
        state.cast.context.emit(Event::ShutdownCompleted { interrupted });
        // Drained, so that the last event is delivered.
        let events = state.cast.events.get_cell();
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
    registrations: Vec<(Registration, bool)>,
    complete: bool,
    configuration: u64,
    roster: &watch::Sender<Arc<Roster>>,
) -> Result<ActorRef<RegistryMsg>, ActorProcessingErr> {
    let arguments = RegistryArguments {
        context: context.clone(),
        root: myself.clone(),
        registrations,
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
    strategies: &StrategiesFactory,
) -> Result<(ActorRef<RouterMsg>, Intake, oneshot::Receiver<Abandoned>), ActorProcessingErr> {
    let (intake, arrivals) = intake();
    let (last_word, heard) = oneshot::channel();
    let (context, root) = (context.clone(), myself.clone());
    let mut strategies = strategies();
    // The settings' strategy was there when it was chosen; without it the default one plays.
    let _ = strategies.select(&context.settings.strategy);
    let arguments = RouterArguments { context, root, strategies, arrivals, last_word };
    let (router, _) = RouterActor::spawn_linked(None, RouterActor, arguments, myself.get_cell()).await?;
    Ok((router, intake, heard))
}

async fn start_cache(
    myself: &ActorRef<RootMsg>,
    context: &Context,
    roster: &watch::Sender<Arc<Roster>>,
) -> Result<ActorRef<CacheMsg>, ActorProcessingErr> {
    let arguments = CacheArguments {
        settings: context.settings.clone(),
        stage: context.stage.clone(),
        roster: roster.subscribe(),
        tasks: context.tasks.clone(),
    };
    let (cache, _) = CacheActor::spawn_linked(None, CacheActor, arguments, myself.get_cell()).await?;
    Ok(cache)
}

impl RootState {
    /// Publishes who plays, then lets the registry introduce itself to the router.
    fn enter(&self) {
        self.publish();
        // A registry that has just ended is about to be replaced.
        let _ = self.cast.registry.cast(RegistryMsg::RouterUp);
    }

    /// Publishes who plays.
    fn publish(&self) {
        let Cast { events, router, intake, cache, .. } = &self.cast;
        self.stage.send_replace(Stage {
            router: Some(router.clone()),
            intake: Some(intake.clone()),
            patience: self.settings.call_timeout,
            events: Some(events.clone()),
            caching: self.caching.clone(),
            cache: Some(cache.clone()),
            #[cfg(feature = "testkit")]
            registry: Some(self.cast.registry.clone()),
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
        self.cast.cache = start_cache(myself, &self.cast.context, &self.roster).await?;
        self.publish();
        self.cast.context.emit(Event::CacheRestarted { cause });
        Ok(())
    }

    /// What the servers of a group said may no longer be so.
    fn clear_group(&self, group: &GroupId) {
        // A cache that has ended keeps nothing.
        let _ = self.cast.cache.cast(CacheMsg::Changed(vec![Sweep::Group(group.clone())]));
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
            stop_or_kill(self.cast.router.get_cell(), STOP_GRACE).await;
        }
        if from < Child::Registry {
            stop_or_kill(self.cast.registry.get_cell(), 4 * STOP_GRACE).await;
        }
        if from == Child::Events {
            let (events, _) = EventsActor::spawn_linked(None, EventsActor, (), myself.get_cell()).await?;
            self.cast.context.events = events.clone();
            self.cast.events = events;
        }
        self.cast.context.seed = self.seed;
        // Those that were leaving have left with the registry.
        let mut left: Vec<ServerId> = Vec::new();
        if from <= Child::Registry {
            // What its servers told meanwhile is lost with it.
            let _ = self.cast.cache.cast(CacheMsg::Changed(vec![Sweep::Everything]));
            // Dials of the former registry's servers ended with them; their places at the gate are free.
            let leaving = self.registered.iter().filter(|(_, registered)| registered.leaving);
            left = leaving.map(|(server, _)| server.clone()).collect();
            self.settle_leaving();
            let registrations: Vec<(Registration, bool)> = self
                .registered
                .values()
                .map(|registered| (registered.registration.clone(), registered.paused))
                .collect();
            let (context, complete) = (&self.cast.context, self.sources.complete());
            self.cast.registry =
                start_registry(myself, context, registrations, complete, self.configuration, &self.roster)
                    .await?;
        }
        let next = start_router(myself, &self.cast.context, &self.strategies).await?;
        let last_word;
        (self.cast.router, self.cast.intake, last_word) = next;
        // It was said when the former router's state was dropped, before its end was told.
        let abandoned = std::mem::replace(&mut self.cast.last_word, last_word).try_recv();
        self.enter();
        left.iter().for_each(|server| self.room_for(server));
        Ok(abandoned.unwrap_or_default())
    }

    /// Tells what of a new configuration others may write, unless it was told of the last one.
    fn tell_loose(&mut self, loose: Vec<LoosePermissions>) {
        for loose in loose.iter().filter(|loose| !self.loose.contains(loose)) {
            tracing::warn!("{loose}");
            self.cast.context.emit(Event::LoosePermissions(loose.clone()));
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

    /// The server, unless it is leaving.
    fn staying(&mut self, server: &ServerId) -> Option<&mut Registered> {
        self.registered.get_mut(server).filter(|registered| !registered.leaving)
    }

    fn replace(&mut self, registration: Registration) -> bool {
        let Some(registered) = self.staying(&registration.spec.id) else { return false };
        let former = std::mem::replace(&mut registered.registration, registration.clone());
        self.clear_group(&former.spec.group);
        let server = registration.spec.id.clone();
        let _ = self.cast.registry.cast(RegistryMsg::Replace(registration));
        // A server that a source found is the host's from now on.
        self.reconcile(&server);
        true
    }

    fn drain(&mut self, server: ServerId, until: Instant, port: oneshot::Sender<()>) {
        let Some(registered) = self.staying(&server) else { return };
        registered.paused = true;
        // A registry that has just ended took the server with it; its successor lets it rest.
        let _ = self.cast.registry.cast(RegistryMsg::Drain { server, until, port });
    }

    fn resume(&mut self, server: ServerId) -> bool {
        let Some(registered) = self.staying(&server).filter(|registered| registered.paused) else {
            return false;
        };
        registered.paused = false;
        let _ = self.cast.registry.cast(RegistryMsg::Resume(server));
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
                let group = registered.registration.spec.group.clone();
                self.clear_group(&group);
                let _ = self.cast.registry.cast(RegistryMsg::Unregister(server));
                true
            }
            // It leaves for good.
            Some(registered) => registered.next.take().is_some(),
            None => false,
        }
    }

    /// A server that left is gone; what was to take its place does.
    fn forgotten(&mut self, server: &ServerId) {
        let Some(registered) = self.registered.remove(server) else { return };
        if let (Some(next), Ending::No) = (registered.next, &self.ending) {
            self.enrol(next);
        }
        self.room_for(server);
    }

    /// Those that were leaving have left with their registry.
    fn settle_leaving(&mut self) {
        let settled = std::mem::take(&mut self.registered).into_iter().filter_map(|(server, registered)| {
            if registered.leaving {
                registered.next.map(|next| (server, Registered::new(next)))
            } else {
                Some((server, registered))
            }
        });
        self.registered = settled.collect();
    }

    /// Adds a server whose id is free.
    fn enrol(&mut self, registration: Registration) {
        self.registered.insert(registration.spec.id.clone(), Registered::new(registration.clone()));
        // A registry that has just ended is replaced by one that is given all registrations.
        let _ = self.cast.registry.cast(RegistryMsg::Register { registration, paused: false });
    }

    fn begin_ending(&mut self) {
        match self.ending {
            Ending::Draining | Ending::Drained { .. } => {}
            Ending::No => {
                self.ending = Ending::Draining;
                self.sources.stop();
                self.cast.context.emit(Event::ShutdownStarted);
                let until = crate::duration::later(Instant::now(), self.settings.shutdown_drain);
                // A router that has just ended has answered everything; its end is told, and ends the draining.
                let _ = self.cast.router.cast(RouterMsg::Drain { until });
                let _ = self.cast.cache.cast(CacheMsg::Drain);
            }
        }
    }
}
