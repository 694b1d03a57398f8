//! The handle that hosts hold.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use futures_util::future::join_all;
use ractor::{Actor, ActorCell, ActorRef};
use rand::Rng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::actors::events::EventsMsg;
use crate::actors::registry::{Registration, Roster};
use crate::actors::root::{RegisterError, RootActor, RootArguments, RootMsg, StrategiesFactory};
use crate::actors::router::RouterMsg;
use crate::actors::server::{BreakerOrder, ServerMsg};
use crate::actors::{Stage, ask};
use crate::call::{Call, Reply};
use crate::config::{ConfigError, ConfigFile, Server, Settings};
use crate::error::{CallError, CallErrorKind};
use crate::event::{BreakerTransition, Event, ServerStatus};
use crate::id::{CallId, RequestId, ServerId};
use crate::policy::catalogue::Tool;
use crate::policy::classify::{Classifier, classify};
use crate::policy::routing::Answer;
use crate::policy::strategy::{Strategies, Strategy, UnknownStrategy};
use crate::stats::{ServerInfo, ServerStats, Stats, Totals};
use crate::transport::{self, Connector};

/// How long the figures of one server are waited for; an actor that answers later is shown without them.
const FIGURES_WAIT: Duration = Duration::from_secs(1);

/// Why a troupe did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Two servers have one id, or there are too many.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The strategy that the settings name does not exist.
    #[error(transparent)]
    Strategy(#[from] UnknownStrategy),
    /// The root actor did not start.
    #[error("the troupe's root did not start: {0}")]
    Root(String),
}

/// Which servers must be ready before [`Troupe::ready`] returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// At least one.
    Any,
    /// Every one.
    All,
    /// At least so many.
    Quorum(usize),
    /// Each of these.
    Named(Vec<String>),
}

impl Readiness {
    fn met_by(&self, roster: &Roster) -> bool {
        if !roster.told {
            return false;
        }
        let ready = |info: &ServerInfo| info.status == ServerStatus::Ready;
        let count = roster.entries.iter().filter(|entry| ready(&entry.info)).count();
        match self {
            Self::Any => count > 0,
            Self::All => count == roster.entries.len(),
            Self::Quorum(wanted) => count >= *wanted,
            Self::Named(ids) => ids.iter().all(|id| {
                roster.entries.iter().any(|entry| entry.info.id == id.as_str() && ready(&entry.info))
            }),
        }
    }
}

/// The servers did not become ready in time: where each of them stands.
#[derive(Debug, Clone)]
pub struct NotReady {
    /// Each server, by id.
    pub servers: Vec<ServerInfo>,
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the servers are not ready in time")?;
        for (index, info) in self.servers.iter().enumerate() {
            f.write_str(if index == 0 { ": " } else { "; " })?;
            write!(f, "{} is {}", info.id, info.status)?;
            if let Some(reason) = &info.reason {
                write!(f, " ({reason})")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for NotReady {}

/// No server of that id, or the troupe has ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no server {0:?} is playing")]
pub struct UnknownServer(pub String);

/// Sets up a troupe.
#[must_use = "a builder does nothing until it is started"]
pub struct TroupeBuilder {
    settings: Settings,
    servers: Vec<(Server, Option<Arc<dyn Connector>>)>,
    extra: Vec<Arc<dyn Fn() -> Box<dyn Strategy> + Send + Sync>>,
    classifier: Classifier,
    seed: Option<u64>,
}

impl TroupeBuilder {
    /// Adds a server.
    pub fn server(mut self, server: Server) -> Self {
        self.servers.push((server, None));
        self
    }

    /// Adds a server that is reached through a connector of the host's own.
    pub fn server_via(mut self, server: Server, connector: impl Connector) -> Self {
        self.servers.push((server, Some(Arc::new(connector))));
        self
    }

    /// Takes servers and settings from a `servers.json`.
    pub fn config(mut self, file: ConfigFile) -> Self {
        self.settings = file.settings;
        self.servers.extend(file.servers.into_iter().map(|server| (server, None)));
        self
    }

    /// Replaces all settings.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Names the balancing strategy.
    pub fn strategy(mut self, name: impl Into<String>) -> Self {
        self.settings.strategy = name.into();
        self
    }

    /// Adds a strategy; `make` is asked for a new one whenever a router starts.
    pub fn add_strategy<S: Strategy>(mut self, make: impl Fn() -> S + Send + Sync + 'static) -> Self {
        self.extra.push(Arc::new(move || Box::new(make())));
        self
    }

    /// Replaces the judgement of which ends of a call count against a server's health.
    pub fn classifier(
        mut self,
        classify: impl Fn(&crate::call::AttemptEnd) -> crate::call::OutcomeClass + Send + Sync + 'static,
    ) -> Self {
        self.classifier = Arc::new(classify);
        self
    }

    /// Makes every random choice repeatable.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Starts the troupe. It returns as soon as the actors stand; servers become ready by themselves, see
    /// [`Troupe::ready`].
    ///
    /// # Errors
    /// A mistake in the configuration, an id that stands twice, or an unknown strategy. A server that cannot be reached
    /// is no error.
    pub async fn start(self) -> Result<Troupe, StartError> {
        self.begin(None).await
    }

    /// Starts the troupe under an actor of the host's: its root is linked to `supervisor`, which learns of its end.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_linked(self, supervisor: ActorCell) -> Result<Troupe, StartError> {
        self.begin(Some(supervisor)).await
    }

    async fn begin(self, supervisor: Option<ActorCell>) -> Result<Troupe, StartError> {
        let Self { settings, servers, extra, classifier, seed } = self;
        settings.check().map_err(|error| error.under("troupe"))?;
        let settings = Arc::new(settings);
        let strategies = strategies(extra, settings.strategy.clone())?;
        let count = servers.len();
        if count > settings.limits.servers_max {
            return Err(RegisterError::TooMany(settings.limits.servers_max).into());
        }
        let mut registrations: Vec<Registration> = Vec::with_capacity(count);
        for (order, (server, connector)) in servers.into_iter().enumerate() {
            let registration = registration(server, connector, &settings, order)?;
            if registrations.iter().any(|known| known.spec.id == registration.spec.id) {
                return Err(RegisterError::AlreadyRegistered(registration.spec.id.clone()).into());
            }
            registrations.push(registration);
        }
        let (stage, stage_seen) = watch::channel(Stage::default());
        let (roster, roster_seen) = watch::channel(Arc::new(Roster::default()));
        let arguments = RootArguments {
            settings: settings.clone(),
            registrations,
            strategies,
            classifier,
            seed: seed.unwrap_or_else(|| rand::rng().next_u64()),
            stage,
            roster,
        };
        let started = match supervisor {
            Some(supervisor) => Actor::spawn_linked(None, RootActor, arguments, supervisor).await,
            None => Actor::spawn(None, RootActor, arguments).await,
        };
        let (root, _) = started.map_err(|error| StartError::Root(error.to_string()))?;
        Ok(Troupe(Arc::new(Inner {
            root,
            stage: stage_seen,
            roster: roster_seen,
            settings,
            next_call: AtomicU64::new(0),
            next_order: AtomicU64::new(count as u64),
        })))
    }
}

/// Makes the factory of each router's strategies, after trying it once.
fn strategies(
    extra: Vec<Arc<dyn Fn() -> Box<dyn Strategy> + Send + Sync>>,
    name: String,
) -> Result<StrategiesFactory, StartError> {
    let make = move || -> Result<Strategies, StartError> {
        let mut strategies = Strategies::with_builtin();
        for strategy in &extra {
            strategies.insert(strategy()).map_err(|error| ConfigError::new("strategy", error.to_string()))?;
        }
        strategies.select(&name)?;
        Ok(strategies)
    };
    make()?;
    Ok(Arc::new(move || make().unwrap_or_else(|_| Strategies::with_builtin())))
}

/// Checks a server and finds the way to it.
fn registration(
    server: Server,
    connector: Option<Arc<dyn Connector>>,
    settings: &Settings,
    order: usize,
) -> Result<Registration, ConfigError> {
    let spec = server.settle(&settings.pool, &settings.breaker, order)?;
    let connector = match connector {
        Some(connector) => connector,
        None => transport::connector(&spec.endpoint, settings.limits.message_bytes_max)
            .map_err(|error| ConfigError::new(format!("{}.url", spec.id), error.to_string()))?,
    };
    Ok(Registration { spec: Arc::new(spec), connector })
}

/// A company of supervised servers: the handle that hosts clone and share.
///
/// When the last handle is dropped the troupe ends at once, and open calls with it; [`shutdown`](Self::shutdown) lets
/// them finish first.
#[derive(Clone)]
pub struct Troupe(Arc<Inner>);

struct Inner {
    root: ActorRef<RootMsg>,
    stage: watch::Receiver<Stage>,
    roster: watch::Receiver<Arc<Roster>>,
    settings: Arc<Settings>,
    /// Numbers calls over all lives of the router.
    next_call: AtomicU64,
    /// Numbers registrations.
    next_order: AtomicU64,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.root.stop(None);
    }
}

impl fmt::Debug for Troupe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roster = self.0.roster.borrow();
        let servers = roster.entries.iter().map(|entry| (&entry.info.id, entry.info.status));
        f.debug_map().entries(servers).finish()
    }
}

impl Troupe {
    /// Begins to set up a troupe.
    pub fn builder() -> TroupeBuilder {
        TroupeBuilder {
            settings: Settings::default(),
            servers: Vec::new(),
            extra: Vec::new(),
            classifier: Arc::new(classify),
            seed: None,
        }
    }

    /// Waits until the servers are ready, for at most `within`.
    ///
    /// # Errors
    /// [`NotReady`] with each server's state when the time is over or the troupe has ended.
    pub async fn ready_within(&self, readiness: Readiness, within: Duration) -> Result<(), NotReady> {
        let mut roster = self.0.roster.clone();
        let met = roster.wait_for(|roster| readiness.met_by(roster));
        match tokio::time::timeout(within, met).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NotReady { servers: self.servers() }),
        }
    }

    /// Waits until the servers are ready, for at most ten seconds.
    ///
    /// # Errors
    /// As [`ready_within`](Self::ready_within).
    pub async fn ready(&self, readiness: Readiness) -> Result<(), NotReady> {
        self.ready_within(readiness, Duration::from_secs(10)).await
    }

    /// Calls a tool. The future gives the call's one answer; dropping it cancels the call, and the server is told.
    ///
    /// # Errors
    /// A [`CallError`] says what happened, whether the call may have been carried out, and whether and when to try
    /// again. A tool that reports an error of its own is a [`Reply`], see [`Reply::is_error`].
    pub fn call(&self, call: Call) -> CallFuture {
        let id = CallId(self.0.next_call.fetch_add(1, Ordering::Relaxed));
        let stage = self.0.stage.clone();
        let patience = call.timeout.unwrap_or(self.0.settings.call_timeout);
        CallFuture(Box::pin(perform(id, call, stage, patience)))
    }

    /// The merged catalogue of tools, by group and name.
    pub fn tools(&self) -> Vec<Tool> {
        self.0.roster.borrow().catalogue.tools().cloned().collect()
    }

    /// Where each server stands, by id.
    pub fn servers(&self) -> Vec<ServerInfo> {
        self.0.roster.borrow().entries.iter().map(|entry| entry.info.clone()).collect()
    }

    /// What happens from now on.
    pub fn events(&self) -> EventStream {
        let (sender, events) = mpsc::channel(self.0.settings.events_capacity);
        if let Some(actor) = &self.0.stage.borrow().events {
            // An actor that has just ended leaves a stream that ends at once, and is then asked for anew.
            let _ = actor.cast(EventsMsg::Subscribe(sender));
        }
        EventStream { events, stage: self.0.stage.clone(), capacity: self.0.settings.events_capacity }
    }

    /// The figures of this moment. A server whose actor does not answer is shown with what is known of it.
    pub async fn stats(&self) -> Stats {
        let roster = self.0.roster.borrow().clone();
        let router = self.0.stage.borrow().router.clone();
        let servers =
            join_all(roster.entries.iter().map(|entry| server_stats(&entry.info, entry.actor.as_ref())));
        let routed = async {
            match router {
                Some(router) => ask(&router, RouterMsg::Stats).await.ok(),
                None => None,
            }
        };
        let (servers, router) = tokio::join!(servers, routed);
        let totals = Totals::over(&servers);
        Stats { servers, router: router.unwrap_or_default(), totals }
    }

    /// Adds a server.
    ///
    /// # Errors
    /// A wrong description, an id that is taken, too many servers, or a troupe that has ended.
    pub async fn register(&self, server: Server) -> Result<(), RegisterError> {
        self.enrol(server, None).await
    }

    /// Adds a server that is reached through a connector of the host's own.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub async fn register_via(&self, server: Server, connector: impl Connector) -> Result<(), RegisterError> {
        self.enrol(server, Some(Arc::new(connector))).await
    }

    async fn enrol(
        &self,
        server: Server,
        connector: Option<Arc<dyn Connector>>,
    ) -> Result<(), RegisterError> {
        let order = self.0.next_order.fetch_add(1, Ordering::Relaxed) as usize;
        let registration = registration(server, connector, &self.0.settings, order)?;
        ask(&self.0.root, |port| RootMsg::Register { registration, port })
            .await
            .unwrap_or(Err(RegisterError::Closed))
    }

    /// Removes a server. It gets no new calls, finishes those it has (for at most the shutdown drain), and is gone.
    ///
    /// # Errors
    /// [`UnknownServer`] if there is none of that id.
    pub async fn unregister(&self, server: &str) -> Result<(), UnknownServer> {
        let unknown = || UnknownServer(server.to_owned());
        let id = ServerId::new(server).map_err(|_| unknown())?;
        match ask(&self.0.root, |port| RootMsg::Unregister { server: id, port }).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(unknown()),
        }
    }

    /// Changes the balancing strategy for all calls from now on.
    ///
    /// # Errors
    /// [`UnknownStrategy`] names those that exist.
    pub async fn set_strategy(&self, name: &str) -> Result<(), UnknownStrategy> {
        let gone = || UnknownStrategy { name: name.to_owned(), known: Vec::new() };
        let router = self.0.stage.borrow().router.clone().ok_or_else(gone)?;
        let name = name.to_owned();
        ask(&router, |port| RouterMsg::SetStrategy { name, port }).await.unwrap_or_else(|_| Err(gone()))
    }

    /// The circuit breaker of a server.
    pub fn breaker(&self, server: impl Into<String>) -> BreakerControl<'_> {
        BreakerControl { troupe: self, server: server.into() }
    }

    /// Ends the troupe in order: new calls are refused, open ones may finish for the configured drain, the rest is
    /// answered, and every actor has ended when this returns. May be called more than once.
    pub async fn shutdown(&self) {
        // A root that has ended has nothing left to shut down.
        let _ = self.0.root.cast(RootMsg::Shutdown);
        let _ = self.0.root.get_cell().wait(None).await;
    }

    /// The actor of a server.
    fn server_actor(&self, server: &str) -> Option<ActorRef<ServerMsg>> {
        let roster = self.0.roster.borrow();
        roster.entries.iter().find(|entry| entry.info.id == server).and_then(|entry| entry.actor.clone())
    }
}

#[cfg(feature = "testkit")]
impl Troupe {
    /// The root, for the testkit.
    pub(crate) fn root_actor(&self) -> ActorRef<RootMsg> {
        self.0.root.clone()
    }

    /// Who plays at the moment, for the testkit.
    pub(crate) fn stage(&self) -> Stage {
        self.0.stage.borrow().clone()
    }

    /// The actor of a server, for the testkit.
    pub(crate) fn actor_of(&self, server: &str) -> Option<ActorRef<ServerMsg>> {
        self.server_actor(server)
    }
}

/// Orders to the circuit breaker of one server.
#[derive(Debug)]
pub struct BreakerControl<'a> {
    troupe: &'a Troupe,
    server: String,
}

impl BreakerControl<'_> {
    /// Lets nothing through until it is reset.
    ///
    /// # Errors
    /// [`UnknownServer`] if no such server is playing.
    pub async fn force_open(&self) -> Result<Option<BreakerTransition>, UnknownServer> {
        self.order(BreakerOrder::ForceOpen).await
    }

    /// Closes it at once.
    ///
    /// # Errors
    /// [`UnknownServer`] if no such server is playing.
    pub async fn close(&self) -> Result<Option<BreakerTransition>, UnknownServer> {
        self.order(BreakerOrder::ForceClose).await
    }

    /// Closes it and forgets everything it has counted.
    ///
    /// # Errors
    /// [`UnknownServer`] if no such server is playing.
    pub async fn reset(&self) -> Result<Option<BreakerTransition>, UnknownServer> {
        self.order(BreakerOrder::Reset).await
    }

    async fn order(&self, order: BreakerOrder) -> Result<Option<BreakerTransition>, UnknownServer> {
        let unknown = || UnknownServer(self.server.clone());
        let actor = self.troupe.server_actor(&self.server).ok_or_else(unknown)?;
        ask(&actor, |port| ServerMsg::Breaker { order, port }).await.map_err(|_| unknown())
    }
}

/// The answer to come of one call. Dropping it cancels the call.
#[must_use = "a call that is not awaited is cancelled"]
pub struct CallFuture(Pin<Box<dyn Future<Output = Answer> + Send>>);

impl Future for CallFuture {
    type Output = Result<Reply, CallError>;

    fn poll(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(poller)
    }
}

impl fmt::Debug for CallFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallFuture")
    }
}

/// Tells the router that the caller left, unless the answer came first.
struct CancelOnDrop {
    router: ActorRef<RouterMsg>,
    id: Option<CallId>,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            // A router that has ended knows no calls.
            let _ = self.router.cast(RouterMsg::Cancel(id));
        }
    }
}

/// Hands a call to the current router and waits for the answer, or for the router's end.
async fn perform(id: CallId, call: Call, stage: watch::Receiver<Stage>, patience: Duration) -> Answer {
    let started = Instant::now();
    let tool = call.tool.clone();
    let (mut port, mut answer) = oneshot::channel();
    let mut call = call;
    let router = loop {
        let Some(router) = current_router(stage.clone(), started + patience).await else {
            return Err(unplaced(CallErrorKind::Closed, &tool));
        };
        match router.cast(RouterMsg::Call { id, call, started, port }) {
            Ok(()) => break router,
            // A router that ended before it got the message never saw the call: the next one gets it.
            Err(ractor::MessagingErr::SendErr(RouterMsg::Call { call: back, port: unused, .. })) => {
                (call, port) = (back, unused);
                if wait_for_another(&router, stage.clone(), started + patience).await.is_err() {
                    return Err(unplaced(CallErrorKind::Closed, &tool));
                }
            }
            Err(_) => return Err(unplaced(CallErrorKind::Closed, &tool)),
        }
    };
    let cell = router.get_cell();
    let mut guard = CancelOnDrop { router, id: Some(id) };
    let answered = tokio::select! { biased;
        answered = &mut answer => answered.ok(),
        _ = cell.wait(None) => answer.try_recv().ok(),
    };
    guard.id = None;
    answered.unwrap_or_else(|| Err(unplaced(CallErrorKind::Interrupted, &tool)))
}

/// The router of the moment; waits while it is being replaced. None when the troupe has ended.
async fn current_router(mut stage: watch::Receiver<Stage>, until: Instant) -> Option<ActorRef<RouterMsg>> {
    let found = tokio::time::timeout_at(until, stage.wait_for(|stage| stage.router.is_some()));
    found.await.ok()?.ok()?.router.clone()
}

/// Waits until another router than `former` plays.
async fn wait_for_another(
    former: &ActorRef<RouterMsg>,
    mut stage: watch::Receiver<Stage>,
    until: Instant,
) -> Result<(), CallErrorKind> {
    let other = |stage: &Stage| stage.router.as_ref().is_none_or(|router| router.get_id() != former.get_id());
    match tokio::time::timeout_at(until, stage.wait_for(other)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(CallErrorKind::Closed),
    }
}

/// An error of a call that no router has answered.
fn unplaced(kind: CallErrorKind, tool: &str) -> CallError {
    CallError::new(kind, RequestId::random(), tool, None, 0)
}

/// The figures of one server, as far as its actor tells them.
async fn server_stats(info: &ServerInfo, actor: Option<&ActorRef<ServerMsg>>) -> ServerStats {
    let report = match actor {
        Some(actor) => tokio::time::timeout(FIGURES_WAIT, ask(actor, ServerMsg::Report)).await.ok(),
        None => None,
    };
    let report = report.and_then(Result::ok);
    let now = Instant::now();
    let (breaker, pool, latency, outcomes) = match report {
        Some(report) => (Some(report.breaker), report.pool, report.latency, report.outcomes),
        None => Default::default(),
    };
    ServerStats {
        id: info.id.clone(),
        group: info.group.clone(),
        status: info.status,
        reason: info.reason.clone(),
        next_attempt_in: info.retry_at.map(|at| at.saturating_duration_since(now)),
        incarnation: info.incarnation,
        restarts: info.restarts,
        tools: info.tools,
        breaker,
        pool,
        latency,
        outcomes,
    }
}

/// The events of a troupe, in their order. Reads slowly, misses some: then [`Event::Lagged`] says how many.
pub struct EventStream {
    events: mpsc::Receiver<Event>,
    stage: watch::Receiver<Stage>,
    capacity: usize,
}

impl EventStream {
    /// The next event; `None` when the troupe has ended.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.recv().await {
                return Some(event);
            }
            // The events actor has ended. If another one plays, the stream goes on with it.
            self.stage.changed().await.ok()?;
            let actor = self.stage.borrow_and_update().events.clone()?;
            let (sender, events) = mpsc::channel(self.capacity);
            self.events = events;
            let _ = actor.cast(EventsMsg::Subscribe(sender));
        }
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventStream")
    }
}
