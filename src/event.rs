//! What the troupe tells its host as it happens. Every event is a snapshot: nothing in it changes later.

mod shown;

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::call_update::LogLevel;
use crate::config::OnChange;
use crate::duration::{ms, optional_ms};
use crate::id::{ConnectionId, GroupId, Incarnation, ServerId, SourceId};
use crate::offer::EntryKind;
use crate::pin::Pin;

/// Where a server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ServerStatus {
    /// Its actor dials, or shakes hands.
    Connecting,
    /// At least one connection is usable, and its tools are known.
    Ready,
    /// No connection; the next attempt waits for its time.
    Disconnected,
    /// It is started on demand and does not run: no call has needed it yet, or none for its idle timeout. Its tools are those
    /// that it listed last, and the next call starts it.
    Idle,
    /// Its actor ended and waits for its restart.
    Restarting,
    /// Its actor ended too often and waits for a slow retry.
    Quarantined,
    /// It takes no new calls and finishes those it has.
    Draining,
    /// It was drained or unregistered, or the troupe shuts down.
    Stopped,
    /// The configuration has switched it off: it is not started.
    Disabled,
}

impl ServerStatus {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Connecting,
        Self::Ready,
        Self::Disconnected,
        Self::Idle,
        Self::Restarting,
        Self::Quarantined,
        Self::Draining,
        Self::Stopped,
        Self::Disabled,
    ];
}

impl fmt::Display for ServerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "connecting",
            Self::Ready => "ready",
            Self::Disconnected => "disconnected",
            Self::Idle => "idle",
            Self::Restarting => "restarting",
            Self::Quarantined => "quarantined",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Disabled => "disabled",
        })
    }
}

/// How a server came to the troupe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "origin", content = "source")]
#[non_exhaustive]
pub enum Origin {
    /// It was given to the builder, or stands in the configuration.
    Configured,
    /// The host registered it, or gave it another description, while the troupe played.
    Registered,
    /// This source found it.
    Source(SourceId),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => f.write_str("the configuration"),
            Self::Registered => f.write_str("the host"),
            Self::Source(source) => write!(f, "the source {source}"),
        }
    }
}

/// Where a source of servers stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SourceStatus {
    /// It was asked and has not answered yet.
    Asking,
    /// Its last answer was good.
    Good,
    /// It names no server, which is not believed yet.
    Doubted,
    /// It has no answer, and is asked again.
    Failing,
}

impl fmt::Display for SourceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asking => "asking",
            Self::Good => "good",
            Self::Doubted => "doubted",
            Self::Failing => "failing",
        })
    }
}

/// How an actor ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "exit", content = "reason")]
#[non_exhaustive]
pub enum ExitCause {
    /// By itself, in order.
    Normal,
    /// Because it was asked to.
    Requested,
    /// A handler failed or panicked.
    Failed(String),
    /// It was killed.
    Killed,
    /// Its task was cancelled.
    Cancelled,
    /// It could not start.
    StartFailed(String),
}

impl fmt::Display for ExitCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("it ended"),
            Self::Requested => f.write_str("it was stopped"),
            Self::Failed(reason) => write!(f, "it failed: {reason}"),
            Self::Killed => f.write_str("it was killed"),
            Self::Cancelled => f.write_str("its task was cancelled"),
            Self::StartFailed(reason) => write!(f, "it could not start: {reason}"),
        }
    }
}

/// The state of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// No call passes.
    Open,
    /// A few calls pass, to see whether the server has recovered.
    HalfOpen,
    /// No call passes, by order of the host.
    ForcedOpen,
    /// All calls pass, and nothing is counted.
    Disabled,
    /// All calls pass; transitions are reported as they would have been.
    MetricsOnly,
}

impl BreakerState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Closed, Self::Open, Self::HalfOpen, Self::ForcedOpen, Self::Disabled, Self::MetricsOnly];
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::ForcedOpen => "forced-open",
            Self::Disabled => "disabled",
            Self::MetricsOnly => "metrics-only",
        })
    }
}

/// Why a breaker changed its state.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
#[non_exhaustive]
pub enum TransitionReason {
    /// So many failures in a row.
    ConsecutiveFailures {
        /// How many.
        count: u32,
    },
    /// Too large a share of failures in the monitoring period.
    FailureRatio {
        /// The share, 0 to 1.
        ratio: f64,
    },
    /// Too large a share of slow calls in the monitoring period.
    SlowCallRatio {
        /// The share, 0 to 1.
        ratio: f64,
    },
    /// A call that half-open let through failed.
    ProbeFailed,
    /// The calls that half-open let through did not end in time.
    ProbesTimedOut,
    /// Enough calls that half-open let through succeeded.
    ProbesSucceeded,
    /// The opening is over.
    OpenTimeElapsed,
    /// The server could be reached again.
    Reconnected,
    /// The host ordered it.
    Ordered,
}

impl fmt::Display for TransitionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsecutiveFailures { count } => write!(f, "{count} failures in a row"),
            Self::FailureRatio { ratio } => write!(f, "{:.0} % of the calls failed", ratio * 100.0),
            Self::SlowCallRatio { ratio } => write!(f, "{:.0} % of the calls were slow", ratio * 100.0),
            Self::ProbeFailed => f.write_str("a call that was let through failed"),
            Self::ProbesTimedOut => f.write_str("the calls that were let through did not end in time"),
            Self::ProbesSucceeded => f.write_str("the calls that were let through succeeded"),
            Self::OpenTimeElapsed => f.write_str("the opening is over"),
            Self::Reconnected => f.write_str("the server was reached again"),
            Self::Ordered => f.write_str("the host ordered it"),
        }
    }
}

impl TransitionReason {
    /// A short, stable name of the reason, for counters.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ConsecutiveFailures { .. } => "consecutive-failures",
            Self::FailureRatio { .. } => "failure-ratio",
            Self::SlowCallRatio { .. } => "slow-call-ratio",
            Self::ProbeFailed => "probe-failed",
            Self::ProbesTimedOut => "probes-timed-out",
            Self::ProbesSucceeded => "probes-succeeded",
            Self::OpenTimeElapsed => "open-time-elapsed",
            Self::Reconnected => "reconnected",
            Self::Ordered => "ordered",
        }
    }
}

/// A change of a breaker's state.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BreakerTransition {
    /// The state before.
    pub from: BreakerState,
    /// The state after.
    pub to: BreakerState,
    /// Why.
    #[serde(flatten)]
    pub reason: TransitionReason,
    /// How long it stays open, if it opened for a time.
    #[serde(rename = "open_for_ms", serialize_with = "optional_ms", skip_serializing_if = "Option::is_none")]
    pub open_for: Option<Duration>,
}

impl BreakerTransition {
    /// A change for this reason, into a state that does not end by itself.
    pub fn new(from: BreakerState, to: BreakerState, reason: TransitionReason) -> Self {
        Self { from, to, reason, open_for: None }
    }
}

/// Whether a number says nothing.
fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

/// Something that happened in the troupe.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
#[non_exhaustive]
pub enum Event {
    /// A server was added.
    ServerRegistered {
        /// The server.
        server: ServerId,
        /// Its group.
        group: GroupId,
    },
    /// A server was removed.
    ServerUnregistered {
        /// The server.
        server: ServerId,
    },
    /// A server's status changed, or a server that is down was not reached once more.
    ///
    /// Each attempt that fails is told once, as `disconnected`, with its reason and the number of such attempts in a row. That
    /// a server which is down is dialled again is not told.
    ServerStatusChanged {
        /// The server.
        server: ServerId,
        /// Its life.
        incarnation: Incarnation,
        /// The status that was told before; the same where another attempt failed.
        from: ServerStatus,
        /// The status after.
        to: ServerStatus,
        /// Why, where there is a reason to tell.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// When it is tried again, if it is down.
        #[serde(
            rename = "retry_in_ms",
            serialize_with = "optional_ms",
            skip_serializing_if = "Option::is_none"
        )]
        retry_in: Option<Duration>,
        /// Attempts to reach it that failed in a row, its lost connection among them.
        #[serde(skip_serializing_if = "is_zero")]
        attempts: u32,
    },
    /// A server's actor ended.
    ServerDown {
        /// The server.
        server: ServerId,
        /// The life that ended.
        incarnation: Incarnation,
        /// How.
        cause: ExitCause,
        /// Restarts within the window so far.
        restarts_in_window: u32,
        /// When it is restarted, if it is.
        #[serde(
            rename = "restart_in_ms",
            serialize_with = "optional_ms",
            skip_serializing_if = "Option::is_none"
        )]
        restart_in: Option<Duration>,
    },
    /// A server's process waits for its turn to start, or is starting. Told when the one begins and the other, and at most
    /// every five seconds while something changes.
    ServerStarting {
        /// The server.
        server: ServerId,
        /// The connection that it is started for.
        connection: ConnectionId,
        /// How many start before it, if it waits for its turn.
        #[serde(skip_serializing_if = "Option::is_none")]
        before: Option<usize>,
        /// For how long it has been so.
        #[serde(rename = "elapsed_ms", serialize_with = "ms")]
        elapsed: Duration,
        /// How long its start may take (`pool.handshakeTimeout`), if it was started.
        #[serde(
            rename = "limit_ms",
            serialize_with = "optional_ms",
            skip_serializing_if = "Option::is_none"
        )]
        limit: Option<Duration>,
        /// What it last wrote to its stderr: untrusted text, 200 bytes at most.
        #[serde(skip_serializing_if = "Option::is_none")]
        last_line: Option<String>,
    },
    /// A connection was opened and is usable.
    ConnectionOpened {
        /// The server.
        server: ServerId,
        /// The connection.
        connection: ConnectionId,
        /// The protocol version that was agreed on; empty where the server names none.
        version: String,
        /// What the server calls itself: untrusted, for display only.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// A connection ended. One that could not be opened is told so where its server is ready over others, or it was to be
    /// leased; else by its server's status.
    ConnectionLost {
        /// The server.
        server: ServerId,
        /// The connection.
        connection: ConnectionId,
        /// How.
        reason: String,
    },
    /// A breaker changed its state.
    BreakerChanged {
        /// The server.
        server: ServerId,
        /// From what to what, and why.
        #[serde(flatten)]
        transition: BreakerTransition,
    },
    /// What a server offers was listed and differs from before. Tools that its configuration leaves out are not named.
    CatalogueChanged {
        /// The server.
        server: ServerId,
        /// What kind of things.
        kind: EntryKind,
        /// Names that are new.
        added: Vec<String>,
        /// Names that are gone.
        removed: Vec<String>,
        /// Names whose definition differs.
        changed: Vec<String>,
        /// So many names beyond those: an event has room for 64 KiB of them.
        #[serde(skip_serializing_if = "is_zero")]
        more: usize,
    },
    /// An entry of a list was left out of the catalogue, and was not when the list was fetched before. Of one list a hundred
    /// are told; of the others their number.
    EntrySkipped {
        /// The server.
        server: ServerId,
        /// What kind of thing it is.
        kind: EntryKind,
        /// Its name or URI, or its place in the list where it has none; `42 more` for those that are not told one by one.
        entry: String,
        /// Why.
        reason: String,
    },
    /// A resource that a host subscribed to changed; what it is now must be read.
    ResourceUpdated {
        /// The server.
        server: ServerId,
        /// The resource.
        uri: String,
    },
    /// A server does not tell of changes of some resources. What it refuses of all that it is asked at once, as it is over each
    /// new connection, is one event.
    SubscriptionFailed {
        /// The server.
        server: ServerId,
        /// The resources, eight at most.
        uris: Vec<String>,
        /// So many beyond those.
        #[serde(skip_serializing_if = "is_zero")]
        more: usize,
        /// Why: what it said of the first of them.
        reason: String,
    },
    /// What a server says of a tool is not what it said when the tool was pinned.
    PinBroken {
        /// The server.
        server: ServerId,
        /// The tool.
        tool: String,
        /// What it is pinned to.
        pinned: Pin,
        /// What its pin would be now.
        now: Pin,
        /// What follows.
        on_change: OnChange,
    },
    /// A server whose tools are pinned offers one that is not.
    ToolUnpinned {
        /// The server.
        server: ServerId,
        /// The tool.
        tool: String,
    },
    /// A server does not offer a tool that is pinned.
    PinnedToolMissing {
        /// The server.
        server: ServerId,
        /// The tool.
        tool: String,
    },
    /// A peer sent something that is no valid message, or answers nothing that was asked. Told when it begins, and then
    /// once a second with what came together.
    ProtocolViolation {
        /// The server.
        server: ServerId,
        /// The connection: of several, that of the first.
        connection: ConnectionId,
        /// What it was: of several, the first. It may hold untrusted text, cut after 4 KiB.
        reason: String,
        /// How many there were since the last that was told.
        violations: u64,
    },
    /// A server logged something that belongs to no call, or to one whose caller does not listen. Rate-limited.
    ServerLogged {
        /// The server.
        server: ServerId,
        /// How grave it is.
        level: LogLevel,
        /// Which part of the server says it: untrusted text.
        #[serde(skip_serializing_if = "Option::is_none")]
        logger: Option<String>,
        /// What it says, as text or JSON: untrusted, cut after 4 KiB.
        text: String,
        /// So many before it, of its connection, were not passed on.
        missed: u64,
    },
    /// A server said that it has no capacity (429, or 503 with `Retry-After`), and for how long. Calls wait for it that long, or go
    /// to its replicas. Told when it begins, and again when it says twice as long; of less than a second nothing is told.
    ServerOverloaded {
        /// The server.
        server: ServerId,
        /// For how long, five minutes at most.
        #[serde(rename = "retry_after_ms", serialize_with = "ms")]
        retry_after: Duration,
    },
    /// Calls were refused since too many waited, or because the server had as many leases as it may have. Told when it
    /// begins, and then once a second with what came together.
    CallsShed {
        /// The group of their tool; none for calls whose tool was not looked up, and beyond 256 tools in one second.
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<GroupId>,
        /// Their tool; none as above.
        #[serde(skip_serializing_if = "Option::is_none")]
        tool: Option<String>,
        /// How many.
        calls: u64,
        /// The limit that was reached.
        limit: usize,
    },
    /// A server answered what nobody waited for: a call that had ended, or none that was made. Told when it begins, and
    /// then gathered: the server's actor and the router, which see different ones of them, each tell at most once a second.
    LateAnswers {
        /// The server.
        server: ServerId,
        /// How many.
        answers: u64,
    },
    /// The router ended and was replaced.
    RouterRestarted {
        /// How it ended.
        cause: ExitCause,
        /// Open calls that a server may have seen; they were answered with `Interrupted`.
        interrupted: usize,
        /// Open calls that no server had seen; they went on to the next router.
        handed_back: usize,
    },
    /// The registry ended and was replaced, and with it all server actors and the router.
    RegistryRestarted {
        /// How it ended.
        cause: ExitCause,
        /// Open calls that a server may have seen; they were answered with `Interrupted`.
        interrupted: usize,
        /// Open calls that no server had seen; they went on to the next router.
        handed_back: usize,
    },
    /// The cache ended and was replaced; what was kept is lost, and no call.
    CacheRestarted {
        /// How it ended.
        cause: ExitCause,
    },
    /// Kept results were dropped: by the host, or since servers, tools or rules changed. What calls clear is not told one by
    /// one, see [`CacheStats::invalidations`](crate::stats::CacheStats::invalidations).
    CacheCleared {
        /// What was cleared, in words.
        what: String,
        /// How many results that were.
        entries: usize,
    },
    /// Every server has listed its tools, and none offers this one, which a setting names.
    NamedToolMissing {
        /// The setting, as a path below `troupe`: `retry.idempotentTools`.
        setting: String,
        /// The tool as the setting names it.
        tool: String,
        /// Names that look alike, best first.
        near: Vec<String>,
    },
    /// A source found a server, and it joined.
    ServerDiscovered {
        /// The server.
        server: ServerId,
        /// The source.
        source: SourceId,
        /// Where it is.
        endpoint: String,
    },
    /// What a source says of a server changed, or another source than before says it.
    ServerMoved {
        /// The server.
        server: ServerId,
        /// The source.
        source: SourceId,
        /// Where it was.
        from: String,
        /// Where it is; the same where something else changed.
        to: String,
    },
    /// No source names a server any more: it finishes what it has and leaves.
    ServerWithdrawn {
        /// The server.
        server: ServerId,
        /// The source that found it.
        source: SourceId,
    },
    /// A source names a server that belongs to somebody else, and is passed over.
    ClaimConflict {
        /// The server.
        server: ServerId,
        /// The source that is passed over.
        claimed_by: SourceId,
        /// Whose it is.
        #[serde(flatten)]
        holder: Origin,
    },
    /// A source names something that is no server, or none that can be used.
    RecordSkipped {
        /// The source.
        source: SourceId,
        /// What the source calls it.
        record: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A source has no answer; the last good one goes on to hold. Told when it begins and when its reason changes.
    DiscoveryFailed {
        /// The source.
        source: SourceId,
        /// Why.
        reason: String,
        /// When it is asked again.
        #[serde(
            rename = "retry_in_ms",
            serialize_with = "optional_ms",
            skip_serializing_if = "Option::is_none"
        )]
        retry_in: Option<Duration>,
    },
    /// A source names no server while some are known; they stay until it has said so often and long enough.
    DiscoveryDoubted {
        /// The source.
        source: SourceId,
        /// How many are known.
        known: usize,
    },
    /// A source that failed, or was doubted, has a good answer again.
    DiscoveryRecovered {
        /// The source.
        source: SourceId,
        /// How many servers it names.
        servers: usize,
    },
    /// The actor that asks a source ended, and is replaced; its servers stay.
    DiscoveryRestarted {
        /// The source.
        source: SourceId,
        /// How it ended.
        cause: ExitCause,
    },
    /// A file or a folder that starts commands may be written by others than its owner. Told once while that is so.
    LoosePermissions(crate::config::LoosePermissions),
    /// What a server listed at its last run (`knownLists`) is in the catalogue until it lists in this one. If that is the same,
    /// no [`CatalogueChanged`](Self::CatalogueChanged) follows.
    KnownListsShown {
        /// The server.
        server: ServerId,
        /// Its tools.
        tools: usize,
    },
    /// The file of known lists (`knownLists`) was not read or not written, and servers are listed without it. Told when it
    /// is read, if it cannot be used, and when writing it begins to fail.
    KnownListsFailed {
        /// The file.
        #[serde(serialize_with = "crate::config::permissions::shown")]
        path: std::path::PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// A new configuration was applied.
    ConfigurationApplied(Box<crate::config::Applied>),
    /// The strategy changed.
    StrategyChanged {
        /// Its name.
        strategy: String,
    },
    /// Shutdown began: new calls are refused.
    ShutdownStarted,
    /// Shutdown is complete: the last event.
    ShutdownCompleted {
        /// Open calls that had to be ended.
        interrupted: usize,
    },
    /// This subscriber read too slowly and lost events.
    Lagged {
        /// How many.
        missed: u64,
    },
}
