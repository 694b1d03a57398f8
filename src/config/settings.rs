//! The settings of a troupe, each with its default, its unit and the reason for its value.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{CacheSettings, ConfigError, DiscoverySettings, PinSettings, Start, duration};
use crate::duration::TIME_MAX;

/// The most of anything that is counted: places of a queue, entries of a table, tries. At some hundred bytes for the smallest
/// of them a million fill the memory of a small machine; more would be no bound.
pub(super) const COUNT_MAX: u32 = 1_000_000;

/// The most connections of one server, and the most leases of it: each is a socket or a process, and a process may usually
/// have some thousand of both.
const CONNECTIONS_MAX: u32 = 1_000;

/// The most intervals of silence that make a link dead, and tries of one call: more would be the same as never and no limit.
const TRIES_MAX: u32 = 1_000;

/// The largest message, in bytes: it is one piece of memory, and there may be several of each connection.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// The limit for a handshake that no setting names: a server that is there answers at once.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a probe waits unless its setting says otherwise.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// The same for a process, which has to come up first: downloads of `npx` and `uvx` took up to 30 s where they were measured.
const PROCESS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// All settings of a troupe. `Settings::default()` is what the table of [`guide::configuration`](crate::guide::configuration) shows.
///
/// Each time is a year at most, which is as good as for ever and can still be calculated with. Each number has a limit as well:
/// a million, unless the key says another.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Settings {
    /// Name of the balancing strategy: `peak-ewma`, `round-robin`, `least-connections`, `weighted`, `rendezvous`,
    /// or one that the host added. Default `peak-ewma`: the only one that is both load-aware and failure-aware.
    pub strategy: String,
    /// Deadline of a call that names none, whose tool and server name none: 30 s.
    #[serde(with = "duration::Text")]
    pub call_timeout: Duration,
    /// Deadlines by tool name: bare, `group/tool` or `group__tool`, however a call spells it. They go before the server's and `callTimeout`.
    #[serde(with = "duration::TextByName")]
    pub tool_timeouts: BTreeMap<String, Duration>,
    /// Ends a call sooner whose server works on it and tells nothing of it for so long; progress and log messages of the
    /// call start this time anew. None by default: most servers tell nothing before they answer.
    #[serde(with = "duration::OptionalText")]
    pub call_idle_timeout: Option<Duration>,
    /// What a bare tool name means that several groups offer.
    pub collisions: Collisions,
    /// Share of the servers that can take a call which breakers may hold back at once, 0 to 1: 1, all of them. With less,
    /// the least bad of them is tried when more are open than this: never reject everything because everything looks bad.
    pub ejection_max: f64,
    /// How many starts, dial and handshake together, may be under way at once: 32, so that a hundred servers are no
    /// stampede. One that takes longer than half a second no longer counts. Processes have a limit of their own,
    /// `processes.startConcurrency`.
    pub start_concurrency: usize,
    /// When servers are started that name no time of their own: `at-once`, or `on-demand`, by the first call that needs them.
    pub start: Start,
    /// A server that is started on demand is stopped when nothing has needed it for so long: 10 min, so that a pause in a
    /// conversation costs no start.
    #[serde(with = "duration::Text")]
    pub idle_timeout: Duration,
    /// How long shutdown waits for open calls before it ends them: 30 s.
    #[serde(with = "duration::Text")]
    pub shutdown_drain: Duration,
    /// How long the host's handler may take for a question of a server's: 5 min, as somebody may have to be asked. The call
    /// that it belongs to has a deadline of its own.
    #[serde(with = "duration::Text")]
    pub server_request_timeout: Duration,
    /// Events that one subscriber may leave unread before it loses some and is told how many: 1,024.
    pub events_capacity: usize,
    /// Circuit breakers, one per server.
    pub breaker: BreakerSettings,
    /// Connection pools, one per server.
    pub pool: PoolSettings,
    /// How lost links are noticed.
    pub liveness: LivenessSettings,
    /// Delays between attempts to reconnect.
    pub reconnect: BackoffSettings,
    /// Starts of stdio servers.
    pub processes: ProcessSettings,
    /// Restarts of server actors that crashed.
    pub restart: RestartSettings,
    /// Queues of calls that wait for a free slot.
    pub mailbox: MailboxSettings,
    /// Sticky calls.
    pub affinity: AffinitySettings,
    /// Repeated attempts.
    pub retry: RetrySettings,
    /// Pins of tool definitions: none, so that nothing is checked.
    pub pins: Option<PinSettings>,
    /// A file in which the lists of servers are kept for the next run, which shows them until the servers have listed anew:
    /// none. It is for this user alone (0600), and so is its folder (0700), which is made where there is none.
    pub known_lists: Option<PathBuf>,
    /// Kept results.
    pub cache: CacheSettings,
    /// How far the answers of sources of servers are believed.
    pub discovery: DiscoverySettings,
    /// Whether a mistake in one server refuses the whole configuration: `false`, so that it costs that server alone.
    pub strict: bool,
    /// Which further variables of this process's environment stdio servers inherit: none.
    pub inherit_env: InheritEnv,
    /// Limits on sizes and tables.
    pub limits: LimitSettings,
}

/// Variables of the environment that stdio servers inherit, beside those that tell where things are, such as `PATH`, `HOME`,
/// and the variables of proxies and authorities.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "invalid value: another one, expected a list of names, or `all`")]
pub enum InheritEnv {
    /// These, by their names.
    Names(Vec<String>),
    /// All of them.
    All(AllVariables),
}

/// The word `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum AllVariables {
    /// Each variable of this process.
    All,
}

impl Default for InheritEnv {
    fn default() -> Self {
        Self::Names(Vec::new())
    }
}

impl InheritEnv {
    /// Checks that each is the name of a variable.
    fn check(&self) -> Result<(), ConfigError> {
        match self {
            Self::Names(names) if names.len() > COUNT_MAX as usize => {
                Err(ConfigError::new("inheritEnv", "has more than a million names"))
            }
            Self::Names(names) if names.iter().any(|name| name.is_empty() || name.contains(['=', '\0'])) => {
                Err(ConfigError::new("inheritEnv", "has a name that is empty, or has a = or NUL"))
            }
            Self::Names(_) | Self::All(_) => Ok(()),
        }
    }
}

/// What a bare tool name means that several groups offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Collisions {
    /// An error that lists the candidates: two groups may mean different things by one name.
    #[default]
    Error,
    /// The group that was configured first.
    First,
    /// All of them, as if they were replicas.
    Balance,
}

/// Whether a breaker guards, and whether it acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum BreakerMode {
    /// Counts outcomes and opens.
    #[default]
    Enabled,
    /// Lets everything through and counts nothing.
    Disabled,
    /// Counts outcomes and reports what it would have done, but lets everything through.
    MetricsOnly,
}

/// The circuit breaker of one server.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct BreakerSettings {
    /// Whether it guards and acts.
    pub mode: BreakerMode,
    /// Consecutive failures that open it: 5.
    pub failure_threshold: u32,
    /// Share of failures in the monitoring period that opens it, 0 to 1: 0.5.
    pub failure_ratio: f64,
    /// Calls in the monitoring period below which no ratio opens it: 20, so that two bad calls of three do not.
    pub minimum_calls: u32,
    /// A successful call that takes longer counts as slow; none by default, since tools differ by orders of magnitude.
    #[serde(with = "duration::OptionalText")]
    pub slow_call: Option<Duration>,
    /// Share of slow calls in the monitoring period that opens it, 0 to 1: 0.9.
    pub slow_call_ratio: f64,
    /// The window of the ratios, in ten buckets: 300 s.
    #[serde(with = "duration::Text")]
    pub monitoring_period: Duration,
    /// Successes that close a half-open breaker: 2.
    pub success_threshold: u32,
    /// Calls that a half-open breaker lets through at once: 2.
    pub half_open_permits: u32,
    /// How long half-open waits for the outcome of a call before it opens again: 30 s. A success that comes later counts all
    /// the same.
    #[serde(with = "duration::Text")]
    pub half_open_timeout: Duration,
    /// How long the first opening lasts: 30 s. It doubles with each trip that follows.
    #[serde(with = "duration::Text")]
    pub open_for: Duration,
    /// The longest opening: 5 min.
    #[serde(with = "duration::Text")]
    pub open_for_max: Duration,
    /// Random share by which an opening may be longer, 0 to 1: 0.1, so that breakers of many hosts do not close as one.
    pub jitter: f64,
    /// A closed stretch this long forgets earlier trips: 5 min.
    #[serde(with = "duration::Text")]
    pub quiet_period: Duration,
}

/// The connection pool of one server.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct PoolSettings {
    /// Connections that are kept open: 1.
    pub min: usize,
    /// The most connections: 5. A thousand at most.
    pub max: usize,
    /// Requests in flight on one connection: 256.
    pub in_flight_max: usize,
    /// Another connection is opened while each has more requests in flight than this: 1, since some servers work through
    /// a connection one request at a time.
    pub busy_at: usize,
    /// A connection beyond `min` that was idle this long is closed: 5 min.
    #[serde(with = "duration::Text")]
    pub idle_timeout: Duration,
    /// Leases at once, each a connection beside those above: 16. A thousand at most.
    pub leases_max: usize,
    /// A lease that was unused this long ends: 60 s.
    #[serde(with = "duration::Text")]
    pub lease_idle_timeout: Duration,
    /// Limit for opening the link: 5 s.
    #[serde(with = "duration::Text")]
    pub connect_timeout: Duration,
    /// Limit for the handshake after that: 60 s for a stdio server, since `npx` and `uvx` download what they start, and
    /// 10 s for others. The time that a process waits for its turn to start does not count. A process that was ended by
    /// this limit gets twice the time at its next attempt, up to five minutes.
    #[serde(with = "duration::OptionalText")]
    pub handshake_timeout: Option<Duration>,
    /// How long the probe for the modern era waits for its answer before `initialize` is sent as well: 2 s, or half of
    /// `handshakeTimeout` where that is shorter. Whichever the server answers then counts, so that a server that is slow to
    /// start loses nothing by it.
    #[serde(with = "duration::Text")]
    pub probe_timeout: Duration,
    /// Limit for listing the tools, all pages together: 10 s.
    #[serde(with = "duration::Text")]
    pub list_timeout: Duration,
}

/// How lost links are noticed.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct LivenessSettings {
    /// A link from which nothing was heard this long is pinged: 10 s.
    #[serde(with = "duration::Text")]
    pub ping_interval: Duration,
    /// Intervals of silence that make it dead: 2. A thousand at most.
    pub misses_max: u32,
    /// A peer that takes nothing of what waits to be written for this long is dead: 10 s.
    #[serde(with = "duration::Text")]
    pub write_timeout: Duration,
}

/// Starts of stdio servers, which are processes of this machine.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct ProcessSettings {
    /// How many processes may be starting at once, each until it has answered the handshake or is gone: twice the cores of
    /// this machine, and `startConcurrency` at most. Their starts cost its time, and more of them at once make each slower.
    pub start_concurrency: Option<usize>,
    /// Delays before a process is started again that ended before it answered the handshake, or did not answer in time:
    /// 1 s, three times as long after each further one, 60 s at most.
    pub backoff: BackoffSettings,
}

/// Exponential delays with jitter.
///
/// Its [`Default`] begins at 100 ms and doubles up to 30 s. The settings that have one say where theirs is another.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct BackoffSettings {
    /// The first delay.
    #[serde(with = "duration::Text")]
    pub min: Duration,
    /// The longest delay.
    #[serde(with = "duration::Text")]
    pub max: Duration,
    /// What each delay is multiplied with.
    pub factor: f64,
    /// Random share of the delay, 0 to 1: 0.5 means half to all of it.
    pub jitter: f64,
    /// After it has held for so long, the next failure begins at `min` again.
    #[serde(with = "duration::Text")]
    pub reset_after: Duration,
}

/// Which ends of a server actor are followed by a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RestartKind {
    /// Every end that nobody asked for.
    #[default]
    Permanent,
    /// Abnormal ends only: an error, a panic or a kill.
    Transient,
    /// None.
    Temporary,
}

/// Restarts of server actors that crashed.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct RestartSettings {
    /// Which ends are followed by a restart.
    pub kind: RestartKind,
    /// Restarts within the window; one more quarantines the server: 10.
    pub restarts_max: u32,
    /// The sliding window: 60 s.
    #[serde(with = "duration::Text")]
    pub window: Duration,
    /// How long a quarantined server waits for its next start: 60 s.
    #[serde(with = "duration::Text")]
    pub quarantine: Duration,
    /// Delays between restarts; the default starts at 10 ms, since a crash of ours is no load on the peer.
    pub backoff: BackoffSettings,
    /// How often a server actor is asked for a sign of life: 5 s.
    #[serde(with = "duration::Text")]
    pub ping_interval: Duration,
    /// A server actor silent for longer is stopped, then killed: 15 s.
    #[serde(with = "duration::Text")]
    pub ping_timeout: Duration,
}

/// Queues of calls that wait for a free slot.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct MailboxSettings {
    /// Calls that may wait for one group: 4,096 (a few MiB of ordinary arguments).
    pub capacity: usize,
    /// Calls of a higher priority that may overtake a waiting lower one before it is served: 8.
    pub overtakes_max: u32,
}

/// Sticky calls.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct AffinitySettings {
    /// A binding unused this long is forgotten: 30 min.
    #[serde(with = "duration::Text")]
    pub ttl: Duration,
    /// Bindings that are kept; the longest unused goes first: 10,000.
    pub capacity: usize,
}

/// Repeated attempts.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct RetrySettings {
    /// Attempts of one call that may have reached a server: 3. A thousand at most.
    pub attempts_max: u32,
    /// Delays before the second retry of a call and those that follow, 50 ms to 2 s; the first goes to another server
    /// at once. A delay that would pass the call's deadline is not begun.
    pub backoff: BackoffSettings,
    /// Retries as a share of calls: 0.1.
    pub budget_ratio: f64,
    /// Retries per second that are always allowed, so that a quiet troupe can retry at all: 1.
    pub budget_min_per_second: u32,
    /// The window of the budget: 10 s.
    #[serde(with = "duration::Text")]
    pub budget_window: Duration,
    /// Tools (bare, `group/tool` or `group__tool`) that the operator declares safe to repeat.
    pub idempotent_tools: Vec<String>,
    /// Tools (bare, `group/tool` or `group__tool`) whose calls are hedged; declares them idempotent as well.
    pub hedged_tools: Vec<String>,
    /// The share of a tool's calls that are answered before a second server is asked: 0.95.
    pub hedge_percentile: f64,
}

/// Limits on sizes and tables.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct LimitSettings {
    /// One message of a peer or to it, in bytes: 16 MiB. A GiB at most.
    pub message_bytes_max: usize,
    /// Tools of one server: 10,000.
    pub tools_max: usize,
    /// Pages of one tool list: 1,000.
    pub pages_max: usize,
    /// Servers of the troupe: 10,000.
    pub servers_max: usize,
    /// Calls open at once, waiting and in flight: 100,000.
    pub open_calls_max: usize,
    /// Questions of servers that the host works on at once, for each connection: 16. More are refused.
    pub server_requests_max: usize,
    /// How often one call may be made again with answers to what its result asks: 8. A thousand at most.
    pub rounds_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            strategy: "peak-ewma".to_owned(),
            call_timeout: Duration::from_secs(30),
            call_idle_timeout: None,
            tool_timeouts: BTreeMap::new(),
            collisions: Collisions::default(),
            ejection_max: 1.0,
            start_concurrency: 32,
            start: Start::default(),
            idle_timeout: Duration::from_secs(10 * 60),
            shutdown_drain: Duration::from_secs(30),
            server_request_timeout: Duration::from_secs(300),
            events_capacity: 1024,
            breaker: BreakerSettings::default(),
            pool: PoolSettings::default(),
            liveness: LivenessSettings::default(),
            reconnect: BackoffSettings::default(),
            processes: ProcessSettings::default(),
            restart: RestartSettings::default(),
            mailbox: MailboxSettings::default(),
            affinity: AffinitySettings::default(),
            retry: RetrySettings::default(),
            pins: None,
            known_lists: None,
            cache: CacheSettings::default(),
            discovery: DiscoverySettings::default(),
            strict: false,
            inherit_env: InheritEnv::default(),
            limits: LimitSettings::default(),
        }
    }
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            mode: BreakerMode::default(),
            failure_threshold: 5,
            failure_ratio: 0.5,
            minimum_calls: 20,
            slow_call: None,
            slow_call_ratio: 0.9,
            monitoring_period: Duration::from_secs(300),
            success_threshold: 2,
            half_open_permits: 2,
            half_open_timeout: Duration::from_secs(30),
            open_for: Duration::from_secs(30),
            open_for_max: Duration::from_secs(300),
            jitter: 0.1,
            quiet_period: Duration::from_secs(300),
        }
    }
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            min: 1,
            max: 5,
            in_flight_max: 256,
            busy_at: 1,
            idle_timeout: Duration::from_secs(300),
            leases_max: 16,
            lease_idle_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: None,
            probe_timeout: PROBE_TIMEOUT,
            list_timeout: Duration::from_secs(10),
        }
    }
}

impl Default for LivenessSettings {
    fn default() -> Self {
        Self { ping_interval: Duration::from_secs(10), misses_max: 2, write_timeout: Duration::from_secs(10) }
    }
}

impl Default for BackoffSettings {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(100),
            max: Duration::from_secs(30),
            factor: 2.0,
            jitter: 0.5,
            reset_after: Duration::from_secs(10),
        }
    }
}

impl Default for ProcessSettings {
    fn default() -> Self {
        Self {
            start_concurrency: None,
            backoff: BackoffSettings {
                min: Duration::from_secs(1),
                max: Duration::from_secs(60),
                factor: 3.0,
                ..BackoffSettings::default()
            },
        }
    }
}

impl Default for RestartSettings {
    fn default() -> Self {
        Self {
            kind: RestartKind::default(),
            restarts_max: 10,
            window: Duration::from_secs(60),
            quarantine: Duration::from_secs(60),
            backoff: BackoffSettings { min: Duration::from_millis(10), ..BackoffSettings::default() },
            ping_interval: Duration::from_secs(5),
            ping_timeout: Duration::from_secs(15),
        }
    }
}

impl Default for MailboxSettings {
    fn default() -> Self {
        Self { capacity: 4096, overtakes_max: 8 }
    }
}

impl Default for AffinitySettings {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(30 * 60), capacity: 10_000 }
    }
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            attempts_max: 3,
            backoff: BackoffSettings {
                min: Duration::from_millis(50),
                max: Duration::from_secs(2),
                ..BackoffSettings::default()
            },
            budget_ratio: 0.1,
            budget_min_per_second: 1,
            budget_window: Duration::from_secs(10),
            idempotent_tools: Vec::new(),
            hedged_tools: Vec::new(),
            hedge_percentile: 0.95,
        }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            message_bytes_max: 16 << 20,
            tools_max: 10_000,
            pages_max: 1_000,
            servers_max: 10_000,
            open_calls_max: 100_000,
            server_requests_max: 16,
            rounds_max: 8,
        }
    }
}

/// Refuses a zero where it would switch off what the key is for.
fn positive<T: PartialEq + Default>(key: &str, value: &T) -> Result<(), ConfigError> {
    if *value == T::default() { Err(ConfigError::new(key, "must be more than 0")) } else { Ok(()) }
}

/// Refuses a number above its limit.
pub(super) fn at_most<T: PartialOrd + std::fmt::Display>(
    key: &str,
    value: T,
    most: T,
) -> Result<(), ConfigError> {
    if value <= most { Ok(()) } else { Err(ConfigError::new(key, format!("must be {most} at most"))) }
}

/// Refuses a number that is 0, where it would switch off what the key is for, and one above its limit.
pub(super) fn number<T>(key: &str, value: T, most: T) -> Result<(), ConfigError>
where
    T: PartialOrd + Default + std::fmt::Display,
{
    positive(key, &value)?;
    at_most(key, value, most)
}

/// Refuses a number of anything that is counted which is 0, or too large.
pub(super) fn count(key: &str, value: usize) -> Result<(), ConfigError> {
    number(key, value, COUNT_MAX as usize)
}

/// Refuses a time that cannot be calculated with.
pub(super) fn bounded(key: &str, value: Duration) -> Result<(), ConfigError> {
    if value <= TIME_MAX { Ok(()) } else { Err(ConfigError::new(key, "must be a year at most")) }
}

/// Refuses a time of 0, where it would switch off what the key is for, and one that cannot be calculated with.
pub(super) fn time(key: &str, value: Duration) -> Result<(), ConfigError> {
    positive(key, &value)?;
    bounded(key, value)
}

/// Refuses the same of a time that may be left out.
pub(super) fn optional_time(key: &str, value: Option<Duration>) -> Result<(), ConfigError> {
    match value {
        Some(Duration::ZERO) => Err(ConfigError::new(key, "must be more than 0; leave it out for none")),
        Some(value) => bounded(key, value),
        None => Ok(()),
    }
}

/// Refuses a share outside 0 to 1.
fn share(key: &str, value: f64) -> Result<(), ConfigError> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::new(key, format!("{value} is no share: it must lie between 0 and 1")))
    }
}

/// Refuses a lower bound above its upper one.
fn ordered<T: PartialOrd + std::fmt::Debug>(low: (&str, T), high: (&str, T)) -> Result<(), ConfigError> {
    if low.1 <= high.1 {
        Ok(())
    } else {
        Err(ConfigError::new(low.0, format!("{:?} is more than {} ({:?})", low.1, high.0, high.1)))
    }
}

impl Settings {
    /// How many processes may be starting at once on a machine with so many cores.
    pub(crate) fn process_starts(&self, cores: usize) -> usize {
        let usual = || cores.saturating_mul(2).min(self.start_concurrency);
        self.processes.start_concurrency.unwrap_or_else(usual).max(1)
    }

    /// Checks every value; the error names the first key that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        time("callTimeout", self.call_timeout)?;
        for (tool, timeout) in &self.tool_timeouts {
            time(tool, *timeout).map_err(|error| error.under("toolTimeouts"))?;
        }
        optional_time("callIdleTimeout", self.call_idle_timeout)?;
        share("ejectionMax", self.ejection_max)?;
        count("startConcurrency", self.start_concurrency)?;
        time("idleTimeout", self.idle_timeout)?;
        time("shutdownDrain", self.shutdown_drain)?;
        time("serverRequestTimeout", self.server_request_timeout)?;
        count("eventsCapacity", self.events_capacity)?;
        self.breaker.check().map_err(|error| error.under("breaker"))?;
        self.pool.check().map_err(|error| error.under("pool"))?;
        self.liveness.check().map_err(|error| error.under("liveness"))?;
        self.reconnect.check().map_err(|error| error.under("reconnect"))?;
        self.processes.check().map_err(|error| error.under("processes"))?;
        self.restart.check().map_err(|error| error.under("restart"))?;
        count("mailbox.capacity", self.mailbox.capacity)?;
        number("mailbox.overtakesMax", self.mailbox.overtakes_max, COUNT_MAX)?;
        time("affinity.ttl", self.affinity.ttl)?;
        count("affinity.capacity", self.affinity.capacity)?;
        self.retry.check().map_err(|error| error.under("retry"))?;
        if let Some(pins) = &self.pins {
            pins.check().map_err(|error| error.under("pins"))?;
        }
        // `~/` is the home by now, whose own name would be taken for the file's.
        let is_folder =
            |path: &PathBuf| path.file_name().is_none() || path.to_string_lossy().ends_with(['/', '\\']);
        if self.known_lists.as_ref().is_some_and(is_folder) {
            return Err(ConfigError::new("knownLists", "must be the path of a file; leave it out for none"));
        }
        self.cache.check().map_err(|error| error.under("cache"))?;
        self.discovery.check().map_err(|error| error.under("discovery"))?;
        self.inherit_env.check()?;
        self.limits.check().map_err(|error| error.under("limits"))
    }
}

impl BreakerSettings {
    /// Checks every value; the error names the first key that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        number("failureThreshold", self.failure_threshold, COUNT_MAX)?;
        share("failureRatio", self.failure_ratio)?;
        positive("failureRatio", &self.failure_ratio)?;
        number("minimumCalls", self.minimum_calls, COUNT_MAX)?;
        optional_time("slowCall", self.slow_call)?;
        share("slowCallRatio", self.slow_call_ratio)?;
        positive("slowCallRatio", &self.slow_call_ratio)?;
        time("monitoringPeriod", self.monitoring_period)?;
        number("successThreshold", self.success_threshold, COUNT_MAX)?;
        number("halfOpenPermits", self.half_open_permits, COUNT_MAX)?;
        time("halfOpenTimeout", self.half_open_timeout)?;
        time("openFor", self.open_for)?;
        bounded("openForMax", self.open_for_max)?;
        ordered(("openFor", self.open_for), ("openForMax", self.open_for_max))?;
        share("jitter", self.jitter)?;
        bounded("quietPeriod", self.quiet_period)
    }
}

impl ProcessSettings {
    /// Checks every value; the error names the first key that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        if let Some(starts) = self.start_concurrency {
            count("startConcurrency", starts)?;
        }
        self.backoff.check().map_err(|error| error.under("backoff"))
    }
}

impl PoolSettings {
    /// The limit for the handshake, where nothing else is said of this kind of server.
    pub(crate) fn handshake_limit(&self, process: bool) -> Duration {
        let usual = if process { PROCESS_HANDSHAKE_TIMEOUT } else { HANDSHAKE_TIMEOUT };
        self.handshake_timeout.unwrap_or(usual)
    }

    /// How long the probe of a handshake that may take so long waits: half of that, where it would not end within it.
    pub(crate) fn probe_limit(&self, handshake: Duration) -> Duration {
        if self.probe_timeout > handshake { handshake / 2 } else { self.probe_timeout }
    }

    /// Checks every value; the error names the first key that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        number("min", self.min, CONNECTIONS_MAX as usize)?;
        number("max", self.max, CONNECTIONS_MAX as usize)?;
        ordered(("min", self.min), ("max", self.max))?;
        count("inFlightMax", self.in_flight_max)?;
        count("busyAt", self.busy_at)?;
        time("idleTimeout", self.idle_timeout)?;
        at_most("leasesMax", self.leases_max, CONNECTIONS_MAX as usize)?;
        time("leaseIdleTimeout", self.lease_idle_timeout)?;
        time("connectTimeout", self.connect_timeout)?;
        optional_time("handshakeTimeout", self.handshake_timeout)?;
        time("probeTimeout", self.probe_timeout)?;
        // The default gives way to a short handshake: nobody has written it.
        if self.probe_timeout != PROBE_TIMEOUT {
            let least = self.handshake_limit(false);
            ordered(("probeTimeout", self.probe_timeout), ("handshakeTimeout", least))?;
        }
        time("listTimeout", self.list_timeout)
    }
}

impl LivenessSettings {
    /// Checks every value; the error names the first key that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        time("pingInterval", self.ping_interval)?;
        number("missesMax", self.misses_max, TRIES_MAX)?;
        time("writeTimeout", self.write_timeout)
    }
}

impl BackoffSettings {
    /// Checks every value; the error names the first key that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        time("min", self.min)?;
        bounded("max", self.max)?;
        ordered(("min", self.min), ("max", self.max))?;
        if !(1.0..=100.0).contains(&self.factor) {
            return Err(ConfigError::new("factor", format!("{} is not between 1 and 100", self.factor)));
        }
        share("jitter", self.jitter)?;
        bounded("resetAfter", self.reset_after)
    }
}

impl RestartSettings {
    /// Checks every value; the error names the first key that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        at_most("restartsMax", self.restarts_max, COUNT_MAX)?;
        time("window", self.window)?;
        time("quarantine", self.quarantine)?;
        self.backoff.check().map_err(|error| error.under("backoff"))?;
        time("pingInterval", self.ping_interval)?;
        bounded("pingTimeout", self.ping_timeout)?;
        ordered(("pingInterval", self.ping_interval), ("pingTimeout", self.ping_timeout))
    }
}

impl LimitSettings {
    /// Checks every value; the error names the first key that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        number("messageBytesMax", self.message_bytes_max, MESSAGE_BYTES_MAX)?;
        count("toolsMax", self.tools_max)?;
        count("pagesMax", self.pages_max)?;
        count("serversMax", self.servers_max)?;
        count("openCallsMax", self.open_calls_max)?;
        count("serverRequestsMax", self.server_requests_max)?;
        number("roundsMax", self.rounds_max, TRIES_MAX)
    }
}

impl RetrySettings {
    /// Checks every value; the error names the first key that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        number("attemptsMax", self.attempts_max, TRIES_MAX)?;
        self.backoff.check().map_err(|error| error.under("backoff"))?;
        share("budgetRatio", self.budget_ratio)?;
        at_most("budgetMinPerSecond", self.budget_min_per_second, COUNT_MAX)?;
        time("budgetWindow", self.budget_window)?;
        share("hedgePercentile", self.hedge_percentile)?;
        positive("hedgePercentile", &self.hedge_percentile)?;
        for (key, tools) in [("idempotentTools", &self.idempotent_tools), ("hedgedTools", &self.hedged_tools)]
        {
            if !tools.is_empty() && !self.has_budget() {
                let reason = "needs a budget: budgetRatio and budgetMinPerSecond are both 0";
                return Err(ConfigError::new(key, reason));
            }
        }
        Ok(())
    }

    /// Whether the budget can ever grant a retry.
    pub(crate) fn has_budget(&self) -> bool {
        self.budget_ratio > 0.0 || self.budget_min_per_second > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Settings::default().check(), Ok(()));
    }

    #[test]
    fn a_mistake_names_its_key() {
        let mut settings = Settings::default();
        settings.pool.min = 9;
        assert_eq!(settings.check().unwrap_err().key, "pool.min");
        let mut settings = Settings::default();
        settings.restart.backoff.jitter = 2.0;
        assert_eq!(settings.check().unwrap_err().key, "restart.backoff.jitter");
    }

    #[test]
    fn a_deliberate_zero_is_refused_and_not_replaced() {
        let settings: Settings = serde_json::from_str(r#"{"callTimeout":"0s"}"#).unwrap();
        assert_eq!(settings.check().unwrap_err().key, "callTimeout");
        let settings: Settings = serde_json::from_str(r#"{"callIdleTimeout":"0s"}"#).unwrap();
        assert_eq!(settings.check().unwrap_err().key, "callIdleTimeout");
    }

    #[test]
    fn a_deadline_is_a_time_that_can_be_calculated_with() {
        let settings = Settings { call_timeout: Duration::MAX, ..Settings::default() };
        assert_eq!(settings.check().unwrap_err().key, "callTimeout");
    }

    #[test]
    fn processes_start_two_for_each_core_and_no_more_than_all_starts_unless_the_operator_says_a_number() {
        let mut settings = Settings::default();
        assert_eq!((settings.process_starts(2), settings.process_starts(64)), (4, 32));
        settings.start_concurrency = 3;
        assert_eq!(settings.process_starts(2), 3);
        settings.processes.start_concurrency = Some(7);
        assert_eq!(settings.process_starts(2), 7);
    }

    #[test]
    fn a_process_has_more_time_for_its_handshake_unless_the_operator_says_a_time() {
        let mut pool = PoolSettings::default();
        assert_eq!(
            (pool.handshake_limit(true), pool.handshake_limit(false)),
            (Duration::from_secs(60), Duration::from_secs(10))
        );
        pool.handshake_timeout = Some(Duration::from_secs(7));
        assert_eq!(pool.handshake_limit(true), pool.handshake_limit(false));
        pool.handshake_timeout = Some(Duration::from_secs(1));
        assert!(pool.check().is_ok(), "the default gives way");
        assert_eq!(pool.probe_limit(Duration::from_secs(1)), Duration::from_millis(500));
        assert_eq!(pool.probe_limit(Duration::from_secs(10)), Duration::from_secs(2));
        pool.handshake_timeout = None;
        pool.probe_timeout = Duration::from_secs(11);
        assert_eq!(pool.check().unwrap_err().key, "probeTimeout");
        let mut settings = Settings::default();
        settings.processes.start_concurrency = Some(0);
        assert_eq!(settings.check().unwrap_err().key, "processes.startConcurrency");
    }

    #[test]
    fn unknown_keys_and_bare_numbers_for_durations_are_errors() {
        assert!(serde_json::from_str::<Settings>(r#"{"callTimout":"1s"}"#).is_err());
        let error = serde_json::from_str::<Settings>(r#"{"callTimeout":30}"#).unwrap_err();
        assert!(error.to_string().contains("\"30s\""), "{error}");
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        let settings: Settings =
            serde_json::from_str(r#"{"callTimeout":"1m 30s","breaker":{"slowCall":"250ms"}}"#).unwrap();
        assert_eq!(settings.call_timeout, Duration::from_secs(90));
        assert_eq!(settings.breaker.slow_call, Some(Duration::from_millis(250)));
    }
}
