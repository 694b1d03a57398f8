//! Figures about the troupe at one moment.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::Value;
use tokio::time::Instant;

use crate::duration::{about, micros, optional_ms, rounded};
use crate::event::{BreakerState, Origin, ServerStatus, SourceStatus};
use crate::id::{GroupId, Incarnation, ServerId, SourceId};
use crate::json::RawJson;

/// How often each kind of end occurred, by its stable name: `ok`, or the name of a
/// [`CallErrorKind`](crate::error::CallErrorKind).
pub type Outcomes = BTreeMap<&'static str, u64>;

/// Everything at once.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Each server, by id.
    pub servers: Vec<ServerStats>,
    /// The router.
    pub router: RouterStats,
    /// The sources of servers, in their order.
    pub sources: Vec<SourceStats>,
    /// The response cache.
    pub cache: CacheStats,
    /// Sums over the servers.
    pub totals: Totals,
}

/// A server of the troupe, as the roster shows it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerInfo {
    /// The server.
    pub id: ServerId,
    /// Its group.
    pub group: GroupId,
    /// Its tags, sorted.
    pub tags: Vec<String>,
    /// How it came to the troupe.
    pub origin: Origin,
    /// What its description notes beside.
    pub metadata: BTreeMap<String, String>,
    /// Where it is, without tokens.
    pub endpoint: String,
    /// Where it stands.
    pub status: ServerStatus,
    /// Why it is not ready, if it is not. Of one whose process is starting this tells how far that is, and why the attempt
    /// before it failed.
    pub reason: Option<String>,
    /// How far the start of its process is, if one is starting.
    pub starting: Option<Starting>,
    /// When it is next tried, if it is down.
    pub retry_at: Option<Instant>,
    /// Its life.
    pub incarnation: Incarnation,
    /// Restarts of its actor, ever.
    pub restarts: u64,
    /// Tools it offers; those of its last run until it has listed them, where that is known.
    pub tools: usize,
    /// What it last said of itself, once it has answered a handshake; in the tool-execute dialect it says nothing.
    pub details: Option<Arc<ServerDetails>>,
}

/// What a server says of itself in the handshake: untrusted text, without the secrets of its description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServerDetails {
    /// The version of MCP that is spoken with it.
    pub protocol_version: String,
    /// What it calls itself, 256 bytes at most.
    pub name: Option<String>,
    /// Its name for people, 256 bytes at most.
    pub title: Option<String>,
    /// Its own version, 256 bytes at most.
    pub version: Option<String>,
    /// How it wants to be used: a text for the model, 16 KiB at most.
    pub instructions: Option<String>,
    /// What it declares, such as `tools`, `logging`, `completions` and extensions: a JSON object, empty where it is larger than
    /// 16 KiB.
    pub capabilities: RawJson,
}

impl ServerDetails {
    /// The same, of whose texts `redact` makes others.
    pub(crate) fn redacted(&self, redact: impl Fn(String) -> String) -> Self {
        let redacted = |text: &Option<String>| text.clone().map(&redact);
        // Text by text: in JSON a secret may be written in many ways.
        let capabilities = self.capabilities.parse::<Value>().map(|said| redacted_json(said, &redact));
        let capabilities = capabilities.and_then(|shown| RawJson::from_value(&shown));
        Self {
            protocol_version: redact(self.protocol_version.clone()),
            name: redacted(&self.name),
            title: redacted(&self.title),
            version: redacted(&self.version),
            instructions: redacted(&self.instructions),
            capabilities: capabilities.unwrap_or_else(|_| RawJson::empty_object()),
        }
    }
}

/// A value, of whose texts and keys `redact` makes others.
fn redacted_json(value: Value, redact: &impl Fn(String) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(redact(text)),
        Value::Array(items) => items.into_iter().map(|item| redacted_json(item, redact)).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(key, value)| (redact(key), redacted_json(value, redact))).collect()
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other,
    }
}

/// How far the start of a server's process is.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Starting {
    /// It waits until fewer processes are starting (`processes.startConcurrency`).
    Waiting {
        /// How many are to start before it, as it was a second ago or less.
        before: usize,
        /// Since when it waits.
        since: Instant,
    },
    /// It was started, and has not answered the handshake.
    Running {
        /// When it was started.
        since: Instant,
        /// How long it may take: `pool.handshakeTimeout`, and more after an attempt that took longer.
        limit: Duration,
        /// What it last wrote to its stderr, 200 bytes at most, as it was a second ago or less: untrusted text.
        last_line: Option<String>,
    },
}

/// That a process waits for its turn to start, with so many before it.
pub(crate) fn waits_for_turn(before: usize) -> String {
    match before {
        // Those that are starting already are not before it, and take no more from it than their time.
        0 => "waits for its turn to start: it is the next".to_owned(),
        before => format!("waits for its turn to start: {before} before it"),
    }
}

impl Starting {
    /// As one sentence at this moment: `starting for 12s, 1m at most (pool.handshakeTimeout), says: fetching 3 of 9`.
    pub(crate) fn sentence(&self, now: Instant) -> String {
        match self {
            Self::Waiting { before, .. } => waits_for_turn(*before),
            Self::Running { since, limit, last_line } => {
                let seconds = Duration::from_secs(now.saturating_duration_since(*since).as_secs());
                let elapsed = match seconds {
                    Duration::ZERO => "less than 1s".to_owned(),
                    seconds => rounded(seconds).to_string(),
                };
                let limit = rounded(*limit);
                let said = last_line.as_ref().map(|line| format!(", says: {line}")).unwrap_or_default();
                format!("starting for {elapsed}, {limit} at most (pool.handshakeTimeout){said}")
            }
        }
    }

    /// The same, with the reason for which the attempt before failed.
    pub(crate) fn after(&self, former: Option<&str>, now: Instant) -> String {
        let former = former.map(|reason| format!("; before that: {reason}")).unwrap_or_default();
        self.sentence(now) + &former
    }
}

/// Times as those that have passed, since a moment by itself says nothing: `since: 12s ago`.
impl fmt::Debug for Starting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ago = |since: &Instant| rounded(Instant::now().saturating_duration_since(*since));
        match self {
            Self::Waiting { before, since } => f
                .debug_struct("Waiting")
                .field("before", before)
                .field("since", &format_args!("{} ago", ago(since)))
                .finish(),
            Self::Running { since, limit, last_line } => f
                .debug_struct("Running")
                .field("since", &format_args!("{} ago", ago(since)))
                .field("limit", limit)
                .field("last_line", last_line)
                .finish(),
        }
    }
}

/// The next attempt as the time that is left until then: `retry_at: in 3s`.
impl fmt::Debug for ServerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            group,
            tags,
            origin,
            metadata,
            endpoint,
            status,
            reason,
            starting,
            retry_at,
            incarnation,
            restarts,
            tools,
            details,
        } = self;
        let left = retry_at.map(|at| rounded(at.saturating_duration_since(Instant::now())));
        let left = left.map_or_else(|| "None".to_owned(), |left| format!("in {left}"));
        f.debug_struct("ServerInfo")
            .field("id", id)
            .field("group", group)
            .field("tags", tags)
            .field("origin", origin)
            .field("metadata", metadata)
            .field("endpoint", endpoint)
            .field("status", status)
            .field("reason", reason)
            .field("starting", starting)
            .field("retry_at", &format_args!("{left}"))
            .field("incarnation", incarnation)
            .field("restarts", restarts)
            .field("tools", tools)
            .field("details", details)
            .finish()
    }
}

/// As people are told of it, in one line: `ghost is disconnected (cannot start ghostd: No such file or directory), next attempt in 3s`.
/// `{:#}` leaves out when it is next tried, for who does not wait for that.
impl fmt::Display for ServerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.id, self.status)?;
        match &self.reason {
            Some(reason) => write!(f, " ({reason})")?,
            None if self.status == ServerStatus::Connecting => f.write_str(" (it has not answered yet)")?,
            None => {}
        }
        // One that is idle is not tried by itself.
        match self.retry_at.filter(|_| self.status != ServerStatus::Idle && !f.alternate()) {
            Some(at) => {
                let left = at.saturating_duration_since(Instant::now());
                write!(f, ", next attempt in {}", about(left))
            }
            None => Ok(()),
        }
    }
}

impl ServerInfo {
    /// Whether it takes calls: it is [`Ready`](ServerStatus::Ready), or [`Idle`](ServerStatus::Idle), so that the next call starts
    /// it. One that could not be started last time is not ready, and has a reason.
    pub fn is_ready(&self) -> bool {
        is_ready(self.status, self.reason.as_deref())
    }
}

/// Whether a server takes calls.
fn is_ready(status: ServerStatus, reason: Option<&str>) -> bool {
    match status {
        ServerStatus::Ready => true,
        ServerStatus::Idle => reason.is_none(),
        ServerStatus::Connecting
        | ServerStatus::Disconnected
        | ServerStatus::Restarting
        | ServerStatus::Quarantined
        | ServerStatus::Draining
        | ServerStatus::Stopped
        | ServerStatus::Disabled => false,
    }
}

/// The figures of one server.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ServerStats {
    /// The server.
    pub id: ServerId,
    /// Its group.
    pub group: GroupId,
    /// How it came to the troupe.
    #[serde(flatten)]
    pub origin: Origin,
    /// Where it stands.
    pub status: ServerStatus,
    /// Why it is not ready, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it is next tried, if it is down.
    #[serde(
        rename = "next_attempt_in_ms",
        serialize_with = "optional_ms",
        skip_serializing_if = "Option::is_none"
    )]
    pub next_attempt_in: Option<Duration>,
    /// Its life.
    pub incarnation: Incarnation,
    /// Restarts of its actor, ever.
    pub restarts: u64,
    /// Tools it offers.
    pub tools: usize,
    /// Its breaker; none while its actor does not answer.
    pub breaker: Option<BreakerStats>,
    /// Its connections.
    pub pool: PoolStats,
    /// How fast it answers.
    pub latency: LatencyStats,
    /// How its attempts ended.
    pub outcomes: Outcomes,
}

/// A circuit breaker.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BreakerStats {
    /// Its state.
    pub state: BreakerState,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// Calls in the monitoring period.
    pub calls: u64,
    /// Failures in the monitoring period, overload included.
    pub failures: u64,
    /// Slow calls in the monitoring period.
    pub slow: u64,
    /// How often it opened, ever.
    pub trips: u64,
    /// When it lets calls through again, if it is open for a time.
    #[serde(
        rename = "next_attempt_in_ms",
        serialize_with = "optional_ms",
        skip_serializing_if = "Option::is_none"
    )]
    pub next_attempt_in: Option<Duration>,
}

/// A connection pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct PoolStats {
    /// Connections, with those that are being opened.
    pub total: usize,
    /// Connections that are usable.
    pub ready: usize,
    /// Usable ones that have requests in flight.
    pub busy: usize,
    /// The most that there may be.
    pub max: usize,
    /// Requests in flight.
    pub in_flight: usize,
    /// Connections beside these that are leased.
    pub leased: usize,
}

/// Latency of successful attempts, from the send to the answer, over the server's whole registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct LatencyStats {
    /// Attempts that were measured.
    pub samples: u64,
    /// Exponentially weighted moving average (alpha 0.3, begun with the first sample).
    #[serde(rename = "ewma_us", serialize_with = "us")]
    pub ewma: Duration,
    /// Half of them were at most this long.
    #[serde(rename = "p50_us", serialize_with = "us")]
    pub p50: Duration,
    /// Nine of ten were at most this long.
    #[serde(rename = "p90_us", serialize_with = "us")]
    pub p90: Duration,
    /// 99 of 100 were at most this long.
    #[serde(rename = "p99_us", serialize_with = "us")]
    pub p99: Duration,
    /// The longest.
    #[serde(rename = "max_us", serialize_with = "us")]
    pub max: Duration,
}

/// The router.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct RouterStats {
    /// The strategy's name.
    pub strategy: String,
    /// Calls without an answer.
    pub open_calls: usize,
    /// Those of them that wait for a server.
    pub queued: QueuedStats,
    /// Those of them that a server works on.
    pub in_flight: usize,
    /// Bindings in the affinity table.
    pub affinity_bindings: usize,
    /// Attempts after the first that may have been carried out twice.
    pub retries: u64,
    /// Second attempts beside a slow first one.
    pub hedges: u64,
    /// Hedges that answered before the first attempt did.
    pub hedges_won: u64,
    /// Retries and hedges that the budget refused.
    pub retries_refused: u64,
    /// Answers that came when their call had ended, or came twice; all dropped.
    pub late_answers: u64,
    /// How the calls ended.
    pub outcomes: Outcomes,
}

/// Calls that wait, by priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct QueuedStats {
    /// High.
    pub high: usize,
    /// Normal.
    pub normal: usize,
    /// Low.
    pub low: usize,
}

/// A source of servers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SourceStats {
    /// The source.
    pub id: SourceId,
    /// Where it looks.
    pub place: String,
    /// Where it stands.
    pub status: SourceStatus,
    /// Why it has no good answer, if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Servers of its last good answer.
    pub servers: usize,
    /// Records of its last answer that are no servers.
    pub skipped: usize,
    /// How long ago its last good answer came.
    #[serde(
        rename = "answered_ago_ms",
        serialize_with = "optional_ms",
        skip_serializing_if = "Option::is_none"
    )]
    pub answered_ago: Option<Duration>,
    /// When it is asked again; none while it waits for a change.
    #[serde(
        rename = "next_look_in_ms",
        serialize_with = "optional_ms",
        skip_serializing_if = "Option::is_none"
    )]
    pub next_look_in: Option<Duration>,
    /// Failed looks since the last good answer.
    pub failures: u32,
    /// Restarts of its actor, ever.
    pub restarts: u64,
}

/// The response cache, since its actor's last start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct CacheStats {
    /// Calls that were answered with a fresh result that was kept.
    pub hits: u64,
    /// Calls that might have been answered so and made their request.
    pub misses: u64,
    /// Calls that were answered with a stale result.
    pub stale_served: u64,
    /// Calls that waited for the request of an equal one.
    pub coalesced: u64,
    /// Results that were kept.
    pub stored: u64,
    /// Results that had to go for want of room.
    pub evictions: u64,
    /// How often results were cleared: by calls that write, by changes of servers and tools, by the host.
    pub invalidations: u64,
    /// Results that are kept. Those that were cleared or are too old may count for up to a minute.
    pub entries: usize,
    /// Their bytes, with those of their keys.
    pub bytes: usize,
}

/// Sums over the servers.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct Totals {
    /// Servers.
    pub servers: usize,
    /// Servers that are ready.
    pub healthy_servers: usize,
    /// Servers that are idle: started by the next call that needs them.
    pub idle_servers: usize,
    /// All others.
    pub unhealthy_servers: usize,
    /// Mean over all measured attempts of the servers' averages.
    #[serde(rename = "average_response_time_us", serialize_with = "us")]
    pub average_response_time: Duration,
    /// Attempts.
    pub requests: u64,
    /// Attempts that did not end `ok`.
    pub errors: u64,
    /// `errors / requests`; 0 without requests.
    pub error_rate: f64,
}

impl Totals {
    /// Sums up `servers`.
    pub(crate) fn over(servers: &[ServerStats]) -> Self {
        let healthy = servers.iter().filter(|s| s.status == ServerStatus::Ready).count();
        let able = servers.iter().filter(|s| is_ready(s.status, s.reason.as_deref())).count();
        let requests: u64 = servers.iter().flat_map(|s| s.outcomes.values()).sum();
        let ok: u64 = servers.iter().filter_map(|s| s.outcomes.get("ok")).sum();
        let samples: u64 = servers.iter().map(|s| s.latency.samples).sum();
        let weighted: f64 =
            servers.iter().map(|s| s.latency.ewma.as_secs_f64() * s.latency.samples as f64).sum();
        Self {
            servers: servers.len(),
            healthy_servers: healthy,
            idle_servers: able - healthy,
            unhealthy_servers: servers.len() - able,
            average_response_time: Duration::from_secs_f64(weighted / samples.max(1) as f64),
            requests,
            errors: requests - ok,
            error_rate: if requests == 0 { 0.0 } else { (requests - ok) as f64 / requests as f64 },
        }
    }
}

fn us<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(micros(*duration))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::duration::later;

    #[tokio::test(start_paused = true)]
    async fn moments_are_shown_as_the_time_to_them() {
        let now = Instant::now();
        let info = ServerInfo {
            id: ServerId::new("s").unwrap(),
            group: GroupId::from(&ServerId::new("s").unwrap()),
            tags: Vec::new(),
            origin: Origin::Configured,
            metadata: BTreeMap::new(),
            endpoint: "command".to_owned(),
            status: ServerStatus::Disconnected,
            reason: None,
            starting: Some(Starting::Waiting { before: 2, since: now }),
            retry_at: Some(later(now, Duration::from_secs(15))),
            incarnation: Incarnation::FIRST,
            restarts: 0,
            tools: 0,
            details: None,
        };
        tokio::time::advance(Duration::from_secs(12)).await;
        let shown = format!("{info:?}");
        for part in ["retry_at: in 3s,", "since: 12s ago", "status: Disconnected", "before: 2"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains("Instant") && !shown.contains("tv_sec"), "{shown}");
        let limit = Duration::from_secs(60);
        let running = Starting::Running { since: now, limit, last_line: None };
        assert_eq!(format!("{running:?}"), "Running { since: 12s ago, limit: 60s, last_line: None }");
        assert!(format!("{:?}", ServerInfo { retry_at: None, ..info }).contains("retry_at: None"));
    }

    #[test]
    fn secrets_are_found_in_capabilities_however_they_are_escaped() {
        let capabilities =
            RawJson::from_text(r#"{"experimental":{"key":"abc\/def\u002bghi"},"n":1}"#).unwrap();
        let said = ServerDetails {
            protocol_version: String::new(),
            name: None,
            title: None,
            version: None,
            instructions: None,
            capabilities,
        };
        let shown = said.redacted(|text| text.replace("abc/def+ghi", "…"));
        assert_eq!(shown.capabilities.as_str(), r#"{"experimental":{"key":"…"},"n":1}"#);
    }
}
