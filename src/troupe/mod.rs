//! The handle that hosts hold.

mod before_call;
mod builder;
mod caching;
mod call_future;
mod call_stream;
mod check;
mod config_watch;
mod event_stream;
mod fanout;
mod lease;
#[cfg(feature = "gateway")]
mod newcomers;
mod offers;
mod pins;
mod plan;
mod rounds;
mod search;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use ractor::ActorRef;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::actors::cache::messages::CacheMsg;
use crate::actors::events::messages::EventsMsg;
use crate::actors::questions::HostHandlers;
use crate::actors::registry::registration::{Registration, WrongFiles, wrong_files};
use crate::actors::registry::roster::Roster;
use crate::actors::root::messages::{ApplyError, RegisterError, Rest, RootMsg};
use crate::actors::router::messages::RouterMsg;
use crate::actors::server::messages::{BreakerOrder, ServerMsg, ServerReport};
use crate::actors::{CurrentActors, Tasks, ask, update_queue};
use crate::call::Call;
use crate::config::{Applied, ConfigError, ConfigFile, Server, Settings};
use crate::duration::later;
use crate::error::{CallError, debug_as_display};
use crate::event::{BreakerTransition, Origin, ServerStatus};
use crate::id::{CallId, ServerId};
use crate::policy::catalogue::Tool;
use crate::policy::named_tools::{self, MissingTool};
use crate::policy::strategy::UnknownStrategy;
use crate::stats::{ServerInfo, ServerStats, Stats, Totals};
use crate::transport::Connector;

use call_future::UpdateSender;
use rounds::Rounds;

#[cfg(feature = "gateway")]
pub(crate) use newcomers::RosterChanges;

use before_call::BeforeCall;
pub use before_call::{Denied, ProposedCall};
pub use builder::{StartError, TroupeBuilder};
pub use caching::{CacheControl, CacheError, Cached};
pub use call_future::CallFuture;
pub use call_stream::CallStream;
pub use config_watch::{ConfigFileError, ConfigWatch};
pub use event_stream::EventStream;
pub use fanout::{Answers, AnyFailure, CallAnyError};
pub use lease::Lease;
pub use offers::{CatalogueChanges, Subscription, SubscriptionEnded};

/// How long the figures of one server are waited for; an actor that answers later is shown without them.
const FIGURES_WAIT: Duration = Duration::from_secs(1);

/// How long an order waits for the next life of a server whose last one has just ended or is to be replaced. The first restarts
/// follow within milliseconds.
const NEXT_LIFE_WAIT: Duration = Duration::from_secs(1);

/// How long [`Troupe::ready`] and [`Troupe::settled`] wait at most: as long as a program may take that is downloaded before it
/// starts. Servers that fail are not waited for so long.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// What [`Troupe::ready`] waits for. A server that is idle, since it is started on demand, counts as ready, unless it could not be
/// started last time; see [`ServerInfo::is_ready`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Readiness {
    /// Each server is ready, or an attempt to reach it has failed, with its reason. Sources of servers are waited for until each
    /// has answered, or failed, once.
    ///
    /// The usual choice: every server that works is there, and one that is down costs no more than its first attempt.
    #[default]
    Settled,
    /// At least one is ready.
    Any,
    /// Every one is ready that is in service: all but those that were drained. Sources of servers are waited for until each has
    /// answered, or failed, once.
    All,
    /// At least so many are ready.
    Quorum(usize),
    /// Each of these is ready.
    Named(Vec<String>),
}

impl Readiness {
    fn met_by(&self, roster: &Roster) -> bool {
        if !roster.told {
            return false;
        }
        let ready = ServerInfo::is_ready;
        let count = roster.entries.iter().filter(|entry| ready(&entry.info)).count();
        match self {
            Self::Settled => {
                roster.complete && roster.entries.iter().all(|entry| entry.settled || is_resting(&entry.info))
            }
            Self::Any => count > 0,
            Self::All => {
                roster.complete
                    && roster.entries.iter().all(|entry| ready(&entry.info) || is_resting(&entry.info))
            }
            Self::Quorum(wanted) => count >= *wanted,
            Self::Named(ids) => ids.iter().all(|id| {
                roster.entries.iter().any(|entry| entry.info.id == id.as_str() && ready(&entry.info))
            }),
        }
    }
}

/// Whether a server is out of service, or about to be, by order of the host or of the configuration.
fn is_resting(info: &ServerInfo) -> bool {
    matches!(info.status, ServerStatus::Draining | ServerStatus::Stopped | ServerStatus::Disabled)
}

/// The servers did not become ready in time: where each of them stands. Its text has a line for each that is not ready.
#[derive(Clone)]
pub struct NotReady {
    /// Each server, by id.
    pub servers: Vec<ServerInfo>,
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ready, missing): (Vec<_>, Vec<_>) = self.servers.iter().partition(|info| info.is_ready());
        let count = self.servers.len();
        write!(f, "the servers are not ready in time: {} of {count} are", ready.len())?;
        missing.into_iter().try_for_each(|info| write!(f, "\n  {info}"))
    }
}

impl std::error::Error for NotReady {}

debug_as_display!(NotReady, UnknownServer, ReplaceError, DrainError);

/// No server of that id, or the troupe has ended.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("no server {0:?} is playing")]
pub struct UnknownServer(pub String);

/// Why a server was not replaced.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplaceError {
    /// There is none of that id.
    #[error(transparent)]
    Unknown(#[from] UnknownServer),
    /// The new description is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Why a server was not drained.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DrainError {
    /// There is none of that id.
    #[error(transparent)]
    Unknown(#[from] UnknownServer),
    /// Calls need some time to finish.
    #[error("the drain limit must be more than 0")]
    NoTime,
    /// It was put back into service before it rested.
    #[error("the server {0} was resumed before it rested")]
    Resumed(ServerId),
}

/// A company of supervised servers: the handle that hosts clone and share.
///
/// When the last handle is dropped the troupe ends at once, and open calls with it; [`shutdown`](Self::shutdown) lets
/// them finish first.
#[derive(Clone)]
pub struct Troupe(Arc<Inner>);

struct Inner {
    root: ActorRef<RootMsg>,
    current_actors: watch::Receiver<CurrentActors>,
    roster: watch::Receiver<Arc<Roster>>,
    settings: watch::Receiver<Arc<Settings>>,
    tasks: Tasks,
    host_handlers: HostHandlers,
    /// Whom calls of tools are shown to before they are made.
    before_call: BeforeCall,
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
        TroupeBuilder::new()
    }

    /// Waits until each server is ready or has failed once, for at most a minute. Returns those that are not ready.
    ///
    /// This is how a host begins: what works is there, and who is missing has a reason.
    ///
    /// ```no_run
    /// # async fn host(troupe: mcp_troupe::Troupe) {
    /// for missing in troupe.settled().await {
    ///     eprintln!("{missing}"); // ghost is disconnected (cannot start ghostd: No such file or directory), next attempt in 3s
    /// }
    /// # }
    /// ```
    ///
    /// The same as [`ready`](Self::ready) with [`Readiness::Settled`]. Servers that are missing go on to be tried.
    pub async fn settled(&self) -> Vec<ServerInfo> {
        self.settled_within(READY_WITHIN).await
    }

    /// Waits until each server is ready or has failed once, for at most `within`. Returns those that are not ready.
    ///
    /// One that has done neither within that time is returned as well, as `connecting`.
    pub async fn settled_within(&self, within: Duration) -> Vec<ServerInfo> {
        // Who is not ready is no error here, nor is the end of the time.
        self.ready_within(Readiness::Settled, within).await.unwrap_or_else(|NotReady { servers }| servers)
    }

    /// Waits until the servers are ready as `readiness` says, for at most `within`. Returns those that are not ready.
    ///
    /// With [`Readiness::Settled`] servers that are not ready are no error, whether they failed or time was over: a host plays
    /// with those that it has. Nobody has to wait before a [`call`](Self::call).
    ///
    /// # Errors
    /// [`NotReady`] with each server's state when the time is over, or the troupe has ended.
    pub async fn ready_within(
        &self,
        readiness: Readiness,
        within: Duration,
    ) -> Result<Vec<ServerInfo>, NotReady> {
        let mut roster = self.0.roster.clone();
        let met = roster.wait_for(|roster| readiness.met_by(roster));
        let missing = |roster: &Roster| {
            let now = Instant::now();
            let entries = roster.entries.iter();
            let missing = entries.filter(|entry| !entry.info.is_ready() && !is_resting(&entry.info));
            missing.map(|entry| entry.info_at(now)).collect()
        };
        let met = tokio::time::timeout(within, met).await.map(|met| met.map(|roster| missing(&roster)));
        match met {
            Ok(Ok(missing)) => Ok(missing),
            Err(_) if readiness == Readiness::Settled => Ok(missing(&self.0.roster.borrow())),
            Ok(Err(_)) | Err(_) => Err(NotReady { servers: self.servers() }),
        }
    }

    /// Waits until the servers are ready as `readiness` says, for at most a minute. Returns those that are not ready.
    ///
    /// # Errors
    /// As [`ready_within`](Self::ready_within).
    pub async fn ready(&self, readiness: Readiness) -> Result<Vec<ServerInfo>, NotReady> {
        self.ready_within(readiness, READY_WITHIN).await
    }

    /// Calls a tool. The future gives the call's one answer; dropping it cancels the call, and the server is told.
    ///
    /// It may be made right after the start, without waiting for [`settled`](Self::settled) or [`ready`](Self::ready):
    ///
    /// - While no server that is up offers the tool, and one that may offer it is on its first attempt, the call waits, until its
    ///   deadline.
    /// - While the tool's server is `idle`, since it is started on demand, the call starts it and waits in the same way.
    /// - Where the tool's server was lost, the call waits for it for two seconds (a child process: five), since most come back at
    ///   once.
    /// - Where the tool's server is `disconnected` for longer, the call fails at once with
    ///   [`Unavailable`](crate::CallErrorKind::Unavailable): it was not sent, and [`retry_after`](CallError::retry_after) says when
    ///   the server is tried next.
    /// - [`UnknownTool`](crate::CallErrorKind::UnknownTool) means that no server has it: each that could was asked.
    ///
    /// A deadline of zero, or one that has passed, ends the call before anything is sent.
    ///
    /// # Errors
    /// A [`CallError`] says what happened, whether the call may have been carried out, and whether and when to try
    /// again. A tool that reports an error of its own is a [`Reply`](crate::Reply), see [`is_error`](crate::Reply::is_error).
    pub fn call(&self, call: Call) -> CallFuture {
        self.propose(call, None)
    }

    /// Calls a tool, and tells what its server tells of the call before it answers: progress, and log messages
    /// ([`Call::log_level`]). The answer comes last, and once. Dropping the stream cancels the call, and the server is told.
    ///
    /// Progress comes over every transport, log messages of a call over Streamable HTTP alone, where they come with its
    /// answer: elsewhere a log message names no request, and is told as [`Event::ServerLogged`](crate::Event::ServerLogged).
    /// The tool-execute dialect has neither. Where the call is made once more, its progress begins anew.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use mcp_troupe::{Call, CallUpdate, LogLevel, Troupe};
    ///
    /// # async fn index(troupe: Troupe) {
    /// let call = Call::tool("index").log_level(LogLevel::Warning);
    /// let call = call.timeout(Duration::from_secs(600)).idle_timeout(Duration::from_secs(20));
    /// let mut stream = troupe.call_stream(call);
    /// while let Some(update) = stream.next().await {
    ///     match update {
    ///         CallUpdate::Progress(progress) => println!("{progress}"),
    ///         CallUpdate::Log(log) => println!("{}: {}", log.level, log.data),
    ///         CallUpdate::Lagged(count) => println!("{count} reports were missed"),
    ///         CallUpdate::Answer(Ok(reply)) => println!("{}", reply.result),
    ///         CallUpdate::Answer(Err(error)) => eprintln!("{error}"),
    ///         _ => {}
    ///     }
    /// }
    /// # }
    /// ```
    pub fn call_stream(&self, mut call: Call) -> CallStream {
        call.streamed = true;
        let (sender, updates) = update_queue::channel();
        CallStream::new(self.propose(call, Some(sender)), updates)
    }

    fn begin(&self, call: Call, updates: UpdateSender) -> CallFuture {
        let handlers = &self.0.host_handlers.handlers;
        let call = Arc::new(call.sealed(handlers));
        if handlers.is_empty() && call.options().handlers.is_none() {
            return self.call_once(call, updates);
        }
        let rounds = Rounds::new(self, call.clone(), updates.clone());
        self.call_once(call, updates).with_rounds(rounds)
    }

    /// A call with a result that asks back as it is.
    fn call_once(&self, call: Arc<Call>, updates: UpdateSender) -> CallFuture {
        let id = CallId(self.0.next_call.fetch_add(1, Ordering::Relaxed));
        CallFuture::new(id, call, self.0.current_actors.clone(), updates)
    }

    /// Leases a connection of a server, or of one server of a group: for exchanges that live on one connection, such as
    /// a database transaction. The connection is opened for the lease and closed with it, and nobody else uses it.
    ///
    /// # Errors
    /// As a call: no server or group of that name, none that can be reached, as many leases as there may be, or the
    /// deadline of calls passed.
    pub async fn lease(&self, of: impl Into<String>) -> Result<Lease, CallError> {
        Lease::take(self, of.into()).await
    }

    /// The merged catalogue of tools, by group and name. Those of servers that have yet to list are there as well where they are
    /// known from the last run, see [`Tool::confirmed`].
    pub fn tools(&self) -> Vec<Tool> {
        self.0.roster.borrow().catalogue.tools().cloned().collect()
    }

    /// Where each server stands, by id.
    pub fn servers(&self) -> Vec<ServerInfo> {
        let now = Instant::now();
        self.0.roster.borrow().entries.iter().map(|entry| entry.info_at(now)).collect()
    }

    /// What happens from now on.
    pub fn events(&self) -> EventStream {
        let capacity = self.0.settings.borrow().events_capacity;
        let (sender, events) = mpsc::channel(capacity);
        if let Some(actor) = &self.0.current_actors.borrow().events {
            // An actor that has just ended leaves a stream that ends at once, and is then asked for anew.
            let _ = actor.cast(EventsMsg::Subscribe(sender));
        }
        EventStream { events, current_actors: self.0.current_actors.clone(), capacity }
    }

    /// The figures of this moment. A server whose actor does not answer is shown with what is known of it.
    pub async fn stats(&self) -> Stats {
        let roster = self.0.roster.borrow().clone();
        let router = self.0.current_actors.borrow().router.clone();
        let now = Instant::now();
        let servers = join_all(roster.entries.iter().map(|entry| self.server_stats(entry.info_at(now))));
        let routed = async {
            match router {
                Some(router) => ask(&router, RouterMsg::Stats).await.ok(),
                None => None,
            }
        };
        let sources = tokio::time::timeout(FIGURES_WAIT, ask(&self.0.root, RootMsg::Sources));
        let cache = self.0.current_actors.borrow().cache.clone();
        let cache = async {
            match cache {
                Some(cache) => ask(&cache, CacheMsg::Stats).await.ok(),
                None => None,
            }
        };
        let (servers, router, sources, cache) = tokio::join!(servers, routed, sources, cache);
        let sources = sources.ok().and_then(Result::ok).unwrap_or_default();
        let totals = Totals::over(&servers);
        Stats {
            servers,
            router: router.unwrap_or_default(),
            sources,
            cache: cache.unwrap_or_default(),
            totals,
        }
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
        let registration = self.registration(server, connector).await?;
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

    /// Gives a server another description, such as another address. Calls in flight finish at the old one (for at most the
    /// shutdown drain); new ones, from the return on, wait for the new one to be ready.
    ///
    /// # Errors
    /// A wrong description, or [`ReplaceError::Unknown`] if no server of that id is registered.
    pub async fn replace(&self, server: Server) -> Result<(), ReplaceError> {
        self.replace_by(server, None).await
    }

    /// Replaces a server by one that is reached through a connector of the host's own.
    ///
    /// # Errors
    /// As [`replace`](Self::replace).
    pub async fn replace_via(&self, server: Server, connector: impl Connector) -> Result<(), ReplaceError> {
        self.replace_by(server, Some(Arc::new(connector))).await
    }

    async fn replace_by(
        &self,
        server: Server,
        connector: Option<Arc<dyn Connector>>,
    ) -> Result<(), ReplaceError> {
        let id = server.id().to_owned();
        let registration = self.registration(server, connector).await?;
        let server = registration.spec.id.clone();
        match ask(&self.0.root, |port| RootMsg::Replace { registration, port }).await {
            Ok(Some(last)) => {
                // One that rests goes on to rest.
                self.seen(&server, |info| info.incarnation > last || is_resting(info)).await;
                Ok(())
            }
            Ok(None) | Err(_) => Err(UnknownServer(id).into()),
        }
    }

    /// What the root needs to play a server, once the files that its description names are found in order.
    async fn registration(
        &self,
        server: Server,
        connector: Option<Arc<dyn Connector>>,
    ) -> Result<Registration, ConfigError> {
        let mut wrong = match &connector {
            None => wrong_files([&server]).await,
            Some(_) => WrongFiles::new(),
        };
        let order = self.0.next_order.fetch_add(1, Ordering::Relaxed) as usize;
        let settings = self.0.settings.borrow().clone();
        let alive = self.0.tasks.alive();
        let registration = Registration::of(server, connector, &settings, order, Origin::Registered, alive)?;
        match wrong.pop_first() {
            Some((_, error)) => Err(error),
            None => Ok(registration),
        }
    }

    /// Takes a server out of service and keeps it registered: it gets no new calls, finishes those it has, and closes its
    /// connections. Returns when it rests; calls that are still open after `within` end with an error.
    /// [`resume`](Self::resume) puts it back.
    ///
    /// # Errors
    /// A limit of zero, no server of that id, or one that was resumed meanwhile.
    pub async fn drain(&self, server: &str, within: Duration) -> Result<(), DrainError> {
        if within.is_zero() {
            return Err(DrainError::NoTime);
        }
        let unknown = || UnknownServer(server.to_owned());
        let server = ServerId::new(server).map_err(|_| unknown())?;
        let until = later(Instant::now(), within);
        let order = |port| RootMsg::Drain { server: server.clone(), until, port };
        match ask(&self.0.root, order).await.map_err(|_| unknown())? {
            Rest::Rests => Ok(()),
            Rest::Resumed => Err(DrainError::Resumed(server)),
        }
    }

    /// Puts a drained server back into service.
    ///
    /// # Errors
    /// [`UnknownServer`] if no server of that id was drained.
    pub async fn resume(&self, server: &str) -> Result<(), UnknownServer> {
        let unknown = || UnknownServer(server.to_owned());
        let id = ServerId::new(server).map_err(|_| unknown())?;
        match ask(&self.0.root, |port| RootMsg::Resume { server: id.clone(), port }).await {
            Ok(Some(last)) => {
                self.seen(&id, |info| info.incarnation > last).await;
                Ok(())
            }
            Ok(None) | Err(_) => Err(unknown()),
        }
    }

    /// Changes the balancing strategy for all calls from now on.
    ///
    /// # Errors
    /// [`UnknownStrategy`] names those that exist.
    pub async fn set_strategy(&self, name: &str) -> Result<(), UnknownStrategy> {
        let order = |port| RootMsg::SetStrategy { name: name.to_owned(), port };
        let gone = |_| Err(UnknownStrategy { name: name.to_owned(), known: Vec::new() });
        ask(&self.0.root, order).await.unwrap_or_else(gone)?;
        self.router_heard().await;
        Ok(())
    }

    /// Makes the troupe what a new configuration describes, without losing a call: servers that are new join, those that it
    /// does not name leave and finish the calls they have, those that it describes otherwise change as by
    /// [`replace`](Self::replace), or in place where their connections serve the new description as well (group, tags,
    /// weight, `start`, `idleTimeout`, `timeout`). Servers whose description is the same are not touched. A server that joins becomes ready by
    /// itself, see [`ready`](Self::ready); one whose former life is still finishing joins after that.
    ///
    /// It concerns servers that were given to the builder or came by an earlier configuration. Those that the host gave
    /// by `register` or `replace`, or a connector of its own, are kept; [`Applied::kept`] names those that the
    /// configuration names as well. A server that rests goes on to rest.
    ///
    /// Of the settings `strategy`, `callTimeout`, `callIdleTimeout`, `toolTimeouts`, `ejectionMax`, `start`, `idleTimeout`, `breaker`,
    /// `pool`, `retry`, `cache.tools`, `cache.trustedTtl`, `cache.entryBytesMax`, `limits.serversMax` and `limits.openCallsMax` hold
    /// at once, for new calls and, where they concern servers, for these. The others hold from the next start on:
    /// [`Applied::pending`] names those that differ.
    ///
    /// Two configurations at once are taken one after the other.
    ///
    /// # Errors
    /// A mistake in the configuration, an unknown strategy, too many servers, or a troupe that has ended. Then nothing has
    /// changed.
    pub async fn apply(&self, file: ConfigFile) -> Result<Applied, ApplyError> {
        file.log_mistakes();
        let wrong = wrong_files(&file.servers).await;
        let file = Box::new(file);
        let answer = ask(&self.0.root, |port| RootMsg::Apply { file, wrong, port }).await;
        let (applied, number) = answer.unwrap_or(Err(ApplyError::Closed))?;
        // So that `servers` and `ready` speak of the new ones. If the troupe ends meanwhile they speak of none.
        let mut roster = self.0.roster.clone();
        let _ = roster.wait_for(|roster| roster.configuration >= number).await;
        self.router_heard().await;
        Ok(applied)
    }

    /// Waits until handles and router see what was ordered for a server, so that nobody takes its former life for the next one.
    async fn seen(&self, server: &ServerId, wanted: impl Fn(&ServerInfo) -> bool) {
        let mut roster = self.0.roster.clone();
        let seen = |roster: &Arc<Roster>| roster.entry(server).is_none_or(|entry| wanted(&entry.info));
        // It is ordered, and happens when whoever is late has come to it.
        let _ = tokio::time::timeout(NEXT_LIFE_WAIT, roster.wait_for(seen)).await;
        self.router_heard().await;
    }

    /// Waits until the router has heard what the root told it, so that calls from now on go by that.
    async fn router_heard(&self) {
        let router = self.0.current_actors.borrow().router.clone();
        if let Some(router) = router {
            // One that has ended is followed by one that is started with it.
            let _ = ask(&router, RouterMsg::Stats).await;
        }
    }

    /// The circuit breaker of a server.
    pub fn breaker(&self, server: impl Into<String>) -> BreakerControl<'_> {
        BreakerControl { troupe: self, server: server.into() }
    }

    /// Settings that name a tool that no server offers.
    ///
    /// Nobody can see these mistakes before the servers have listed their tools. A name counts when each server has that may offer it,
    /// which are those of the group in `group/tool`, and else all of them; [`Event::NamedToolMissing`](crate::Event::NamedToolMissing)
    /// tells it then. Of a server that is switched off, or was left out for a mistake, nobody knows what it would offer.
    pub fn missing_tools(&self) -> Vec<MissingTool> {
        let roster = self.0.roster.borrow().clone();
        let (listed, settings) = (roster.listed(), self.0.settings.borrow().clone());
        let missing = named_tools::named(&settings)
            .filter(|named| listed.settles(named.tool) && !named.is_offered(&roster.catalogue));
        missing.map(|named| named.missing(&roster.catalogue)).collect()
    }

    /// The response cache.
    pub fn cache(&self) -> CacheControl<'_> {
        CacheControl { troupe: self }
    }

    /// Ends the troupe in order: new calls are refused, open ones may finish for the configured drain, the rest is
    /// answered, and every actor and task has ended when this returns. May be called more than once.
    pub async fn shutdown(&self) {
        // A root that has ended has nothing left to shut down.
        let _ = self.0.root.cast(RootMsg::Shutdown);
        let _ = self.0.root.get_cell().wait(None).await;
        self.0.tasks.ended().await;
    }

    /// The figures of a server, as far as its actor tells them in time.
    async fn server_stats(&self, info: ServerInfo) -> ServerStats {
        let report = tokio::time::timeout(FIGURES_WAIT, self.server_report(&info.id)).await;
        server_stats(&info, report.ok().flatten())
    }

    async fn server_report(&self, server: &ServerId) -> Option<ServerReport> {
        let mut roster = self.0.roster.clone();
        loop {
            let actor = roster.borrow_and_update().entry(server)?.actor.clone()?;
            if let Ok(report) = ask(&actor, ServerMsg::Report).await {
                return Some(report);
            }
            // That life has ended or was replaced: the next one has the figures.
            roster.changed().await.ok()?;
        }
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

    /// The tasks of its actors, for the testkit.
    pub(crate) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// Who plays at the moment, for the testkit.
    pub(crate) fn current_actors(&self) -> CurrentActors {
        self.0.current_actors.borrow().clone()
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
    pub async fn force_close(&self) -> Result<Option<BreakerTransition>, UnknownServer> {
        self.order(BreakerOrder::ForceClose).await
    }

    /// The former name of [`force_close`](Self::force_close).
    ///
    /// # Errors
    /// [`UnknownServer`] if no such server is playing.
    #[deprecated(note = "is called `force_close`")]
    #[doc(hidden)]
    pub async fn close(&self) -> Result<Option<BreakerTransition>, UnknownServer> {
        self.force_close().await
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
        let mut roster = self.troupe.0.roster.clone();
        let until = later(Instant::now(), NEXT_LIFE_WAIT);
        loop {
            let actor = {
                let roster = roster.borrow_and_update();
                let entry = roster.entries.iter().find(|entry| entry.info.id == self.server.as_str());
                entry.filter(|entry| !is_resting(&entry.info)).ok_or_else(unknown)?.actor.clone()
            };
            if let Some(actor) = actor
                && let Ok(transition) = ask(&actor, |port| ServerMsg::Breaker { order, port }).await
            {
                return Ok(transition);
            }
            // That life has ended or was replaced: the order is the next one's.
            match tokio::time::timeout_at(until, roster.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(unknown()),
            }
        }
    }
}

/// The figures of one server, as far as they are told.
fn server_stats(info: &ServerInfo, report: Option<ServerReport>) -> ServerStats {
    let now = Instant::now();
    let (breaker, pool, latency, outcomes) = match report {
        Some(report) => (Some(report.breaker), report.pool, report.latency, report.outcomes),
        None => Default::default(),
    };
    ServerStats {
        id: info.id.clone(),
        group: info.group.clone(),
        origin: info.origin.clone(),
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
