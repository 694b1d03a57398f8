//! Sets up a troupe.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ractor::{Actor, ActorCell};
use rand::Rng;
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use super::before_call::{BeforeCall, Denied, ProposedCall};
use super::{EventStream, Inner, Troupe, pins};
use crate::actors::questions::HostHandlers;
use crate::actors::registry::registration::{Registration, wrong_files};
use crate::actors::registry::roster::Roster;
use crate::actors::root::messages::RegisterError;
use crate::actors::root::{RegisteredSource, RootActor, RootArguments, StrategiesFactory};
use crate::actors::{CurrentActors, Tasks, meters};
use crate::call::Call;
use crate::config::{
    ConfigError, ConfigFile, DiscoverySettings, LoosePermissions, OnChange, Server, Settings, SourceConfig,
};
use crate::discovery::{Source, source_named};
use crate::error::RpcError;
use crate::event::{Event, Origin};
use crate::id::{ServerId, SourceId};
use crate::policy::classify::Judge;
use crate::policy::pins::{Pinning, Pins};
use crate::policy::strategy::{Strategies, Strategy, UnknownStrategy};
use crate::question::{ElicitResult, Handlers, Root, ServerRequest};
use crate::transport::Connector;

crate::error::debug_as_display!(StartError);

/// The place of the first server that a host registers by hand, behind all that a configuration may name.
const REGISTERED_ORDER: u64 = 1 << 32;

/// Why a troupe did not start.
#[derive(thiserror::Error)]
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

/// A source as the host gives it.
struct GivenSource {
    name: String,
    /// What is wrong with it is told when the troupe starts.
    source: Result<Arc<dyn Source>, ConfigError>,
    /// The settings' unless said.
    rules: Option<DiscoverySettings>,
}

/// Sets up a troupe.
#[must_use = "a builder does nothing until it is started"]
pub struct TroupeBuilder {
    settings: Settings,
    servers: Vec<(Server, Option<Arc<dyn Connector>>)>,
    /// Those of them that a configuration describes, by their ids: a mistake costs one of these alone.
    of_file: BTreeSet<String>,
    extra: Vec<Arc<dyn Fn() -> Box<dyn Strategy> + Send + Sync>>,
    judge: Judge,
    handlers: Handlers,
    before_call: BeforeCall,
    sources: Vec<GivenSource>,
    /// The sources that a configuration describes.
    described: Vec<SourceConfig>,
    /// What of that configuration others may write.
    loose: Vec<LoosePermissions>,
    /// Servers that it has switched off.
    disabled: Vec<ServerId>,
    left_out: bool,
    pinning: Option<Pinning>,
    seed: Option<u64>,
}

impl TroupeBuilder {
    pub(super) fn new() -> Self {
        Self {
            settings: Settings::default(),
            servers: Vec::new(),
            of_file: BTreeSet::new(),
            extra: Vec::new(),
            judge: Judge::Standard,
            handlers: Handlers::default(),
            before_call: BeforeCall::default(),
            sources: Vec::new(),
            described: Vec::new(),
            loose: Vec::new(),
            disabled: Vec::new(),
            left_out: false,
            pinning: None,
            seed: None,
        }
    }

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

    /// Adds a source of servers, under a name of the host's choice. Where several name one id it belongs to the source that
    /// was added first; servers of the host's own come before all of them.
    pub fn source(self, name: impl Into<String>, source: impl Source) -> Self {
        self.add_source(name.into(), Ok(Arc::new(source)), None)
    }

    /// Adds a source of servers whose answers are judged by rules of their own instead of the settings'
    /// [`discovery`](Settings::discovery).
    pub fn source_with(self, name: impl Into<String>, source: impl Source, rules: DiscoverySettings) -> Self {
        self.add_source(name.into(), Ok(Arc::new(source)), Some(rules))
    }

    fn add_source(
        mut self,
        name: String,
        source: Result<Arc<dyn Source>, ConfigError>,
        rules: Option<DiscoverySettings>,
    ) -> Self {
        self.sources.push(GivenSource { name, source, rules });
        self
    }

    /// Takes servers, sources and settings from a `servers.json`.
    pub fn config(mut self, file: ConfigFile) -> Self {
        file.log_mistakes();
        self.settings = file.settings;
        self.left_out = !file.left_out.is_empty();
        self.disabled = file.disabled.iter().filter_map(|id| ServerId::new(id).ok()).collect();
        self.loose.extend(file.loose);
        self.described.extend(file.sources.iter().cloned());
        for config in &file.sources {
            self = self.add_source(config.name.clone(), source_named(config), config.rules.clone());
        }
        self.of_file.extend(file.servers.iter().map(|server| server.id().to_owned()));
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
        self.judge = Judge::Host(Arc::new(classify));
        self
    }

    /// Answers servers that ask for input of the user's by a form, and tells servers that it does. A question goes to `handle`
    /// whether a server asks in the middle of a call or by a result that asks back; the call goes on with the answer.
    ///
    /// A handler that takes longer than [`Settings::server_request_timeout`] or panics is an error to the server that asked, which
    /// says what becomes of its call; no other question notices. What it may answer is the host's judgement: a question is a server's word, and the user should see
    /// who asks.
    ///
    /// ```
    /// use mcp_troupe::{ElicitResult, Troupe};
    ///
    /// let builder = Troupe::builder().on_elicitation(|question| async move {
    ///     println!("{} asks: {}", question.server, question.message().unwrap_or_default());
    ///     Ok(ElicitResult::Accept(Some(question.defaults())))
    /// });
    /// # drop(builder);
    /// ```
    pub fn on_elicitation<F>(mut self, handle: impl Fn(ServerRequest) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<ElicitResult, RpcError>> + Send + 'static,
    {
        self.handlers.elicitation(handle);
        self
    }

    /// The same for servers that ask the user to visit a page ([`ServerRequest::url`]), for what must not pass through this
    /// client. The host shows the address and opens it only if the user agrees.
    pub fn on_url_elicitation<F>(
        mut self,
        handle: impl Fn(ServerRequest) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<ElicitResult, RpcError>> + Send + 'static,
    {
        self.handlers.url_elicitation(handle);
        self
    }

    /// Answers servers that ask for a completion by the host's model. What `handle` gives is the result of
    /// `sampling/createMessage`: `role`, `content`, `model`, `stopReason`.
    pub fn on_sampling<F, A>(mut self, handle: impl Fn(ServerRequest) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<A, RpcError>> + Send + 'static,
        A: Serialize + 'static,
    {
        self.handlers.sampling(handle);
        self
    }

    /// Answers servers that ask which folders they may look at.
    pub fn on_roots<F>(mut self, handle: impl Fn(ServerRequest) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Vec<Root>, RpcError>> + Send + 'static,
    {
        self.handlers.roots(handle);
        self
    }

    /// Answers servers that ask something of these kinds.
    #[cfg(feature = "gateway")]
    pub(crate) fn asking<F>(
        mut self,
        kinds: &[crate::question::ServerRequestKind],
        handle: impl Fn(ServerRequest) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<crate::json::RawJson, RpcError>> + Send + 'static,
    {
        self.handlers.some(kinds, handle);
        self
    }

    /// Shows each call of a tool to `hook` before it is made: `hook` gives the call back, as it is or changed, or denies it. For
    /// approval by a user, rules by a tool's hints, arguments that the model must not choose, an audit of what was asked for.
    ///
    /// The call's deadline begins when the hook has answered, so a user may take their time; only calls to several servers at once
    /// share one that began before. Dropping the call drops the hook's future. A hook that panics denies. Calls of [`Plan`](crate::Plan)s, of [`call_any`](Troupe::call_any) and
    /// [`call_all`](Troupe::call_all) are shown one by one; resources, prompts, completions and leases are not. A call that is
    /// made once more by the troupe is the same call, and not shown again.
    ///
    /// ```
    /// use mcp_troupe::{Denied, Hint, Troupe};
    ///
    /// let builder = Troupe::builder().before_call(|proposed| async move {
    ///     match proposed.tool() {
    ///         Some(tool) if tool.says(Hint::ReadOnly) => Ok(proposed.into_call()),
    ///         // What a tool says of itself is its server's word: ask somebody about all others.
    ///         _ => Err(Denied::new("only tools that change nothing are used here")),
    ///     }
    /// });
    /// # drop(builder);
    /// ```
    pub fn before_call<F>(mut self, hook: impl Fn(ProposedCall) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Call, Denied>> + Send + 'static,
    {
        self.before_call = BeforeCall::new(hook);
        self
    }

    /// Compares what servers say of their tools with what they said when these pins were made; see [`Troupe::pins`]. In place of
    /// those that the settings name.
    pub fn pins(mut self, pins: Pins, on_change: OnChange) -> Self {
        self.pinning = Some(Pinning { pins, on_change });
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
    /// A mistake in the configuration, an id that stands twice, pins that cannot be read, or an unknown strategy. A server that cannot be reached
    /// is no error.
    pub async fn start(self) -> Result<Troupe, StartError> {
        self.begin(None, None).await
    }

    /// Starts the troupe, and gives its events from the first one on. [`Troupe::events`] begins later, when servers that start
    /// quickly have been told of already.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with_events(self) -> Result<(Troupe, EventStream), StartError> {
        // A channel without room cannot be made; the settings that ask for one are refused below.
        let capacity = self.settings.events_capacity.max(1);
        let (sender, events) = mpsc::channel(capacity);
        let troupe = self.begin(None, Some(sender)).await?;
        let current_actors = troupe.0.current_actors.clone();
        Ok((troupe, EventStream { events, current_actors, capacity }))
    }

    /// Starts the troupe under an actor of the host's: its root is linked to `supervisor`, which learns of its end.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_linked(self, supervisor: ActorCell) -> Result<Troupe, StartError> {
        self.begin(Some(supervisor), None).await
    }

    async fn begin(
        self,
        supervisor: Option<ActorCell>,
        first_subscriber: Option<mpsc::Sender<Event>>,
    ) -> Result<Troupe, StartError> {
        let Self {
            settings,
            servers,
            of_file,
            extra,
            judge,
            handlers,
            before_call,
            sources,
            described,
            loose,
            disabled,
            left_out,
            pinning,
            seed,
        } = self;
        settings.check().map_err(|error| error.under("troupe"))?;
        let pinning = match (pinning, &settings.pins) {
            (Some(given), _) => Some(given),
            (None, Some(named)) => {
                Some(pins::read_aside(named).await.map_err(|error| error.under("troupe"))?)
            }
            (None, None) => None,
        };
        let settings = Arc::new(settings);
        let strategies = strategies(extra, settings.strategy.clone())?;
        let host_handlers = HostHandlers {
            handlers: Arc::new(handlers),
            server_requests_max: settings.limits.server_requests_max,
            timeout: settings.server_request_timeout,
        };
        let tasks = Tasks::new();
        let count = servers.len();
        if count > settings.limits.servers_max {
            return Err(RegisterError::TooMany(settings.limits.servers_max).into());
        }
        let reached = servers.iter().filter(|(_, connector)| connector.is_none());
        let mut wrong = wrong_files(reached.map(|(server, _)| server)).await;
        let mut registrations: Vec<Registration> = Vec::with_capacity(count);
        for (order, (server, connector)) in servers.into_iter().enumerate() {
            let origin = Origin::Configured;
            if of_file.contains(server.id())
                && !settings.strict
                && let Some(error) = wrong.remove(server.id())
            {
                // A file that was there when the configuration was read may be gone by now.
                tracing::warn!(server = server.id(), "left out: {}", error.under("mcpServers"));
                continue;
            }
            let registration = Registration::of(server, connector, &settings, order, origin, tasks.alive())?;
            if let Some(error) = wrong.remove(registration.spec.id.as_str()) {
                return Err(error.into());
            }
            if registrations.iter().any(|known| known.spec.id == registration.spec.id) {
                return Err(RegisterError::AlreadyRegistered(registration.spec.id.clone()).into());
            }
            registrations.push(registration);
        }
        let sources = registered_sources(sources, &settings)?;
        let (current_actors, current_actors_seen) = watch::channel(CurrentActors::default());
        let (roster, roster_seen) = watch::channel(Arc::new(Roster::default()));
        let (settings, settings_seen) = watch::channel(settings);
        let arguments = RootArguments {
            host_handlers: host_handlers.clone(),
            settings,
            first_subscriber,
            registrations,
            sources,
            described,
            loose,
            disabled,
            left_out,
            pinning: pinning.map(Arc::new),
            strategies,
            judge,
            seed: seed.unwrap_or_else(|| rand::rng().next_u64()),
            tasks: tasks.clone(),
            current_actors,
            roster,
        };
        meters::describe();
        let started = match supervisor {
            Some(supervisor) => Actor::spawn_linked(None, RootActor, arguments, supervisor).await,
            None => Actor::spawn(None, RootActor, arguments).await,
        };
        let (root, _) = started.map_err(|error| StartError::Root(error.to_string()))?;
        Ok(Troupe(Arc::new(Inner {
            root,
            current_actors: current_actors_seen,
            roster: roster_seen,
            settings: settings_seen,
            tasks,
            host_handlers,
            before_call,
            next_call: AtomicU64::new(0),
            next_order: AtomicU64::new(REGISTERED_ORDER),
        })))
    }
}

/// Checks the sources' names and rules.
fn registered_sources(
    sources: Vec<GivenSource>,
    settings: &Settings,
) -> Result<Vec<RegisteredSource>, ConfigError> {
    let mut registered: Vec<RegisteredSource> = Vec::with_capacity(sources.len());
    for GivenSource { name, source, rules } in sources {
        let at = |key: &str| format!("discovery.{name}{key}");
        let id = SourceId::new(&name).map_err(|error| ConfigError::new(at(""), error.to_string()))?;
        if registered.iter().any(|known| known.id == id) {
            return Err(ConfigError::new(at(""), "two sources have this name"));
        }
        let rules = rules.unwrap_or_else(|| settings.discovery.clone());
        rules.check().map_err(|error| error.under(&at(".rules")))?;
        let source = source.map_err(|error| error.under(&at("")))?;
        registered.push(RegisteredSource { id, place: source.place(), source, rules });
    }
    Ok(registered)
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
