//! What can go wrong with a call, said so that a host can decide: was it sent, may it be repeated, and when.

use std::fmt;
use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::call::head;
use crate::duration::{about, millis, optional_ms, rounded};
use crate::event::{ExitCause, ServerStatus};
use crate::id::{GroupId, RequestId, ServerId};
use crate::json::RawJson;
use crate::offer::URI_BYTES_MAX;
use crate::peer_text::OneLine;
use crate::refusal::{Refusal, RefusalKind};

/// Bytes of a tool's name or a URI that an error's sentence shows: more than any name has.
const SHOWN_BYTES_MAX: usize = 256;

/// The least that a caller is told to wait for a server that is not up: whoever calls again at once, while the server is dialled
/// or just before, would only spin.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);

/// Errors that hosts return from `main`, which prints their `Debug`: they read as their `Display`.
macro_rules! debug_as_display {
    ($($error:ty),+ $(,)?) => {$(
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
    )+};
}
pub(crate) use debug_as_display;

debug_as_display!(CallError);

/// A JSON-RPC error as the peer sent it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("the server answered with error {code}: {}", OneLine(.message))]
pub struct RpcError {
    /// The peer's code; the reserved ones lie between -32768 and -32000.
    pub code: i64,
    /// The peer's message: untrusted text.
    pub message: String,
    /// The peer's data, unread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<RawJson>,
}

impl RpcError {
    /// Unparsable message.
    pub const PARSE_ERROR: i64 = -32700;
    /// No valid request.
    pub const INVALID_REQUEST: i64 = -32600;
    /// No such method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// Wrong parameters, among them unknown tools.
    pub const INVALID_PARAMS: i64 = -32602;
    /// The server failed.
    pub const INTERNAL_ERROR: i64 = -32603;
    /// The headers of a request do not say what its body says.
    pub const HEADER_MISMATCH: i64 = -32020;

    /// Whether the peer refused the request before it did anything: the caller's own mistake.
    pub fn is_rejection(&self) -> bool {
        matches!(
            self.code,
            Self::PARSE_ERROR
                | Self::INVALID_REQUEST
                | Self::METHOD_NOT_FOUND
                | Self::INVALID_PARAMS
                | Self::HEADER_MISMATCH
        )
    }
}

/// What is known about the effect of a call that ended in an error.
///
/// Nothing is *not sent* or *rejected* unless that is certain: whoever is told so may make the call again. The page
/// The page [`guide::outcomes`](crate::guide::outcomes) has every end of a call on every transport, with what is known then, whether the
/// call moves or is repeated, and the test that shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// No byte of it reached a server: repeating it is safe.
    NotSent,
    /// It may have been carried out: only the host can know whether repeating it is safe.
    Unknown,
    /// The server refused it without carrying it out.
    Rejected,
    /// The server tried it and failed; what it had done by then is its own business.
    Failed,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSent => "not sent",
            Self::Unknown => "unknown",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        })
    }
}

/// A server that could not take a call, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UnavailableServer {
    /// The server.
    pub server: ServerId,
    /// Its status: ready, where its circuit breaker is open or what it offers is blocked.
    pub status: ServerStatus,
    /// Why it takes no calls.
    pub reason: String,
    /// How long to wait before the call is worth another try; never 0, and none where nobody can tell.
    #[serde(
        rename = "retry_after_ms",
        serialize_with = "optional_ms",
        skip_serializing_if = "Option::is_none"
    )]
    pub retry_after: Option<Duration>,
}

impl UnavailableServer {
    /// A server of this status, the reason if there is one, and how long it is until the next attempt to reach it.
    pub(crate) fn new(
        server: ServerId,
        status: ServerStatus,
        reason: Option<String>,
        next_attempt: Option<Duration>,
    ) -> Self {
        let reason = reason.unwrap_or_else(|| {
            let usual = match status {
                ServerStatus::Connecting => "it has not answered yet",
                ServerStatus::Ready => "its circuit breaker is open",
                ServerStatus::Disconnected => "its connection ended",
                ServerStatus::Idle => "it is started by the next call",
                ServerStatus::Restarting | ServerStatus::Quarantined => "its actor ended",
                ServerStatus::Draining => "it finishes the calls that it has",
                ServerStatus::Stopped => "it is out of service",
                ServerStatus::Disabled => "the configuration has switched it off",
            };
            usual.to_owned()
        });
        let retry_after = match status {
            ServerStatus::Ready | ServerStatus::Draining | ServerStatus::Stopped | ServerStatus::Disabled => {
                next_attempt
            }
            ServerStatus::Connecting
            | ServerStatus::Disconnected
            | ServerStatus::Idle
            | ServerStatus::Restarting
            | ServerStatus::Quarantined => Some(next_attempt.unwrap_or_default()),
        };
        Self { server, status, reason, retry_after: retry_after.map(|after| after.max(RETRY_AFTER_MIN)) }
    }
}

/// `{:#}` leaves out when it is next tried, for who does not wait for that.
impl fmt::Display for UnavailableServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stands = match self.status {
            ServerStatus::Connecting => "is starting",
            ServerStatus::Ready => "takes no such calls",
            ServerStatus::Disconnected => "is down",
            ServerStatus::Idle => "is idle",
            ServerStatus::Restarting => "is restarting",
            ServerStatus::Quarantined => "is quarantined",
            ServerStatus::Draining => "is draining",
            ServerStatus::Stopped => "is stopped",
            ServerStatus::Disabled => "is disabled",
        };
        match self.reason.strip_prefix("starting ").filter(|_| self.status == ServerStatus::Connecting) {
            // The reason says the same with more.
            Some(rest) => write!(f, "{} {stands} {rest}", self.server)?,
            None => write!(f, "{} {stands}: {}", self.server, self.reason)?,
        }
        let told = self.status != ServerStatus::Connecting && !f.alternate();
        match self.retry_after.filter(|_| told) {
            Some(after) => write!(f, ", next attempt in {}", about(after)),
            None => Ok(()),
        }
    }
}

/// The times that bound a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Deadline {
    /// That of the whole call, from its start to its answer.
    Total,
    /// That of silence: how long a server that works on it may tell nothing of it.
    Idle,
}

impl Deadline {
    /// What may have set it.
    fn set_by(self) -> &'static str {
        match self {
            Self::Total => "set by the call, or by toolTimeouts, the server's timeout or callTimeout",
            Self::Idle => "set by the call, or by callIdleTimeout",
        }
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Total => "deadline",
            Self::Idle => "idle deadline",
        })
    }
}

/// The ways in which a call ends without a result.
///
/// The page [`guide::errors`](crate::guide::errors) has of each kind when it comes, its effect, whether it is retryable, and what to
/// do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallErrorKind {
    /// The arguments are no JSON object.
    #[error("invalid arguments: {reason}")]
    InvalidArguments {
        /// What is wrong with them.
        reason: String,
    },
    /// The call's options contradict the settings.
    #[error("invalid options: {reason}")]
    InvalidOptions {
        /// How.
        reason: String,
    },
    /// The host's hook ([`TroupeBuilder::before_call`](crate::TroupeBuilder::before_call)) did not let it be made.
    #[error("denied by the host: {reason}")]
    Denied {
        /// Why.
        reason: String,
    },
    /// A name, URI, selector or key of the call is longer than any that could be meant: it was not looked up.
    #[error("too long: {length} {what}, the limit is {limit}; {remedy}")]
    TooLong {
        /// What is too long, with what its length is counted in.
        what: &'static str,
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
        /// What to do.
        remedy: &'static str,
    },
    /// An entry of the call's trace context is not what W3C says.
    #[error("invalid {entry}: {reason}")]
    InvalidTraceContext {
        /// `traceparent`, `tracestate` or `baggage`.
        entry: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No server offers the tool. Every server that could is known, and has listed its tools; else the kind is
    /// [`Unavailable`](Self::Unavailable).
    #[error("unknown tool{}{}", if blocked.is_empty() { near_names(near) } else { String::new() }, left_out(blocked))]
    UnknownTool {
        /// Names that look alike, best first.
        near: Vec<String>,
        /// Servers that offer it and where it is blocked, since it is not what its pin says.
        blocked: Vec<UnavailableServer>,
    },
    /// No server offers the prompt. As for tools, every server that could has said so.
    #[error("unknown prompt{}", near_names(near))]
    UnknownPrompt {
        /// Names that look alike, best first.
        near: Vec<String>,
    },
    /// No server lists the resource, or a template that it follows. As for tools, every server that could has said so.
    #[error("unknown resource")]
    UnknownResource,
    /// Several groups offer a prompt of that name.
    #[error("ambiguous prompt name: name one of {}", candidates.join(", "))]
    AmbiguousPrompt {
        /// The qualified names to choose from.
        candidates: Vec<String>,
    },
    /// Several groups have a resource of that URI.
    #[error("ambiguous resource: select one of the groups {}", groups.join(", "))]
    AmbiguousResource {
        /// The groups to choose from.
        groups: Vec<String>,
    },
    /// Several groups offer a tool of that name.
    #[error("ambiguous tool name: name one of {}", candidates.join(", "))]
    AmbiguousTool {
        /// The qualified names to choose from.
        candidates: Vec<String>,
    },
    /// No server that offers the tool matches the call's selector, or there is none to lease.
    #[error("no server that could take it matches {selector}")]
    NoMatch {
        /// What was asked for, in words.
        selector: String,
    },
    /// Every server that offers the tool, prompt or resource, or may offer it, is down, or its breaker is open. Those that were
    /// never up may offer it: what they have is not known yet.
    #[error("{}", nobody_available(servers))]
    Unavailable {
        /// Each of them, with its reason.
        servers: Vec<UnavailableServer>,
    },
    /// Too many calls wait already.
    #[error("overloaded: {waiting} calls wait, the limit is {limit} (mailbox.capacity)")]
    Overloaded {
        /// Calls that wait.
        waiting: usize,
        /// The limit that was reached.
        limit: usize,
        /// When there may be room again, by the pace of the last answers.
        retry_after: Option<Duration>,
    },
    /// The deadline passed.
    #[error("{} ({})", deadline_passed(*deadline, *timeout, *sent), deadline.set_by())]
    DeadlineExceeded {
        /// Which one.
        deadline: Deadline,
        /// The time that it gave.
        timeout: Duration,
        /// Whether a server may have received it.
        sent: bool,
    },
    /// The server answered with a JSON-RPC error.
    #[error(transparent)]
    Rpc(RpcError),
    /// The server, or a proxy before it, answered with a status and no message.
    #[error("{0}")]
    Refused(Refusal),
    /// The link broke.
    #[error("connection lost: {reason}")]
    ConnectionLost {
        /// How it broke.
        reason: String,
        /// Whether the server may have received the call.
        sent: bool,
    },
    /// The server's actor ended.
    #[error("server down: {cause}")]
    ServerDown {
        /// How it ended.
        cause: ExitCause,
        /// Whether the server may have received the call.
        sent: bool,
    },
    /// The lease has ended: its connection, and what the server kept for it, are gone.
    #[error("the lease has ended: {reason}")]
    LeaseEnded {
        /// Why.
        reason: String,
    },
    /// The server's answer is no valid response.
    #[error("invalid response: {reason}")]
    InvalidResponse {
        /// What is wrong with it.
        reason: String,
    },
    /// The result asks for input that the host's handlers did not give.
    #[error("the server's question was not answered: {reason}")]
    Unanswered {
        /// Why.
        reason: String,
    },
    /// The request exceeds the size limit of messages.
    #[error("the request has {bytes} bytes, the limit is {limit} (limits.messageBytesMax)")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The router ended while the call was open.
    #[error("interrupted: the router was restarted")]
    Interrupted,
    /// The troupe shuts down.
    #[error("the troupe is shutting down")]
    ShuttingDown {
        /// Whether a server may have received the call.
        sent: bool,
    },
    /// The troupe has ended.
    #[error("the troupe has ended")]
    Closed,
}

impl CallErrorKind {
    /// A short, stable name of the kind, for counters and machine-readable output.
    pub fn name(&self) -> &'static str {
        match self {
            Self::InvalidArguments { .. } => "invalid-arguments",
            Self::InvalidOptions { .. } => "invalid-options",
            Self::Denied { .. } => "denied",
            Self::TooLong { .. } => "too-long",
            Self::InvalidTraceContext { .. } => "invalid-trace-context",
            Self::UnknownTool { .. } => "unknown-tool",
            Self::UnknownPrompt { .. } => "unknown-prompt",
            Self::UnknownResource => "unknown-resource",
            Self::AmbiguousTool { .. } => "ambiguous-tool",
            Self::AmbiguousPrompt { .. } => "ambiguous-prompt",
            Self::AmbiguousResource { .. } => "ambiguous-resource",
            Self::NoMatch { .. } => "no-match",
            Self::Unavailable { .. } => "unavailable",
            Self::Overloaded { .. } => "overloaded",
            Self::DeadlineExceeded { .. } => "deadline-exceeded",
            Self::Rpc(_) => "rpc-error",
            Self::Refused(refusal) => refusal.name(),
            Self::ConnectionLost { .. } => "connection-lost",
            Self::ServerDown { .. } => "server-down",
            Self::LeaseEnded { .. } => "lease-ended",
            Self::InvalidResponse { .. } => "invalid-response",
            Self::Unanswered { .. } => "unanswered",
            Self::TooLarge { .. } => "too-large",
            Self::Interrupted => "interrupted",
            Self::ShuttingDown { .. } => "shutting-down",
            Self::Closed => "closed",
        }
    }

    /// What it says about the effect of the attempt that ended so; for that of the whole call see
    /// [`CallError::outcome`].
    pub fn effect(&self) -> Effect {
        match self {
            Self::InvalidArguments { .. }
            | Self::InvalidOptions { .. }
            | Self::Denied { .. }
            | Self::TooLong { .. }
            | Self::InvalidTraceContext { .. }
            | Self::UnknownTool { .. }
            | Self::UnknownPrompt { .. }
            | Self::UnknownResource
            | Self::AmbiguousTool { .. }
            | Self::AmbiguousPrompt { .. }
            | Self::AmbiguousResource { .. }
            | Self::NoMatch { .. }
            | Self::Unavailable { .. }
            | Self::Overloaded { .. }
            | Self::TooLarge { .. }
            | Self::LeaseEnded { .. }
            | Self::Closed => Effect::NotSent,
            Self::DeadlineExceeded { sent, .. }
            | Self::ConnectionLost { sent, .. }
            | Self::ServerDown { sent, .. }
            | Self::ShuttingDown { sent } => {
                if *sent {
                    Effect::Unknown
                } else {
                    Effect::NotSent
                }
            }
            Self::Rpc(error) if error.is_rejection() => Effect::Rejected,
            Self::Rpc(_) => Effect::Failed,
            Self::Refused(refusal) => refusal.effect(),
            Self::InvalidResponse { .. } | Self::Unanswered { .. } | Self::Interrupted => Effect::Unknown,
        }
    }
}

/// A call that ended without a result: what happened, to which call, on which server, after how many attempts.
///
/// Its [`Display`](fmt::Display) is one line. `{:#}` is for people at a terminal who made one call: each server has a line of its own,
/// and the request's id, which stands in logs, is left out.
#[derive(Clone, PartialEq, Eq)]
pub struct CallError(Box<Details>);

impl std::error::Error for CallError {}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&if f.alternate() { self.lines() } else { self.sentence() })
    }
}

/// The parts of a [`CallError`]; boxed, so that a `Result` of a call stays small.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Details {
    kind: CallErrorKind,
    request_id: RequestId,
    tool: String,
    group: Option<GroupId>,
    server: Option<ServerId>,
    attempts: u32,
    turned_away: u32,
    earlier_servers: Vec<ServerId>,
    /// Names that look like what nobody who is up offers, where the kind has no place for them.
    near: Vec<String>,
    /// Servers that it waited for when its deadline passed.
    awaited: Vec<UnavailableServer>,
}

impl CallError {
    /// An error of the call `request_id` to `tool`.
    pub(crate) fn new(
        kind: CallErrorKind,
        request_id: RequestId,
        tool: impl Into<String>,
        server: Option<ServerId>,
        attempts: u32,
    ) -> Self {
        let mut tool = tool.into();
        tool.truncate(head(&tool, URI_BYTES_MAX).len());
        let (earlier_servers, near, awaited) = (Vec::new(), Vec::new(), Vec::new());
        let group = None;
        Self(Box::new(Details {
            kind,
            request_id,
            tool,
            group,
            server,
            attempts,
            turned_away: 0,
            earlier_servers,
            near,
            awaited,
        }))
    }

    /// The same with the group of the tool.
    pub(crate) fn of_group(mut self, group: Option<GroupId>) -> Self {
        self.0.group = group;
        self
    }

    /// The same where the call was carried out in part before, by so many attempts.
    pub(crate) fn after_attempts(mut self, attempts: u32) -> Self {
        self.0.attempts = self.0.attempts.saturating_add(attempts);
        self
    }

    /// The same with the servers that lost or failed earlier attempts.
    pub(crate) fn after_servers(mut self, servers: Vec<ServerId>) -> Self {
        self.0.earlier_servers = servers;
        self
    }

    /// The same where servers turned the call away so often before.
    pub(crate) fn after_refusals(mut self, turned_away: u32) -> Self {
        self.0.turned_away = turned_away;
        self
    }

    /// The same with the servers that it waited for.
    pub(crate) fn after_waiting_for(mut self, servers: Vec<UnavailableServer>) -> Self {
        self.0.awaited = servers;
        self
    }

    /// The same with names that look like the one that nobody knows.
    pub(crate) fn with_near(mut self, names: Vec<String>) -> Self {
        let Details { kind, near: beside, .. } = &mut *self.0;
        match kind {
            CallErrorKind::UnknownTool { near, .. } | CallErrorKind::UnknownPrompt { near } => *near = names,
            _ => *beside = names,
        }
        self
    }

    /// The error of another call that met a call of `tool` in place of a request of its own.
    pub(crate) fn shared_with(&self, tool: &str) -> Self {
        let Details { kind, server, attempts, turned_away, earlier_servers, near, awaited, .. } = &*self.0;
        let mut own = Self::new(kind.clone(), RequestId::random(), tool, server.clone(), *attempts);
        own.0.near.clone_from(near);
        own.0.awaited.clone_from(awaited);
        own.after_servers(earlier_servers.clone()).after_refusals(*turned_away)
    }

    /// What happened.
    pub fn kind(&self) -> &CallErrorKind {
        &self.0.kind
    }

    /// The id of the call.
    pub fn request_id(&self) -> &RequestId {
        &self.0.request_id
    }

    /// The tool as the call named it; no more of it than a URI may have.
    pub fn tool(&self) -> &str {
        &self.0.tool
    }

    /// The group that offers the tool, if there was one to choose.
    pub fn group(&self) -> Option<&GroupId> {
        self.0.group.as_ref()
    }

    /// The server of the last attempt, if there was one.
    pub fn server(&self) -> Option<&ServerId> {
        self.0.server.as_ref()
    }

    /// How many attempts were made; not those of which a server said that it did nothing, unless it was the last.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// How often a server turned the call away before: with a status that says that it did nothing, such as 429. The call
    /// waited then for as long as the server said, or went to another one.
    pub fn turned_away(&self) -> u32 {
        self.0.turned_away
    }

    /// The servers that lost or failed the attempts before the last one, in order.
    pub fn earlier_servers(&self) -> &[ServerId] {
        &self.0.earlier_servers
    }

    /// Names that look like the one that nobody offers, best first; in the form in which it was asked for.
    pub fn near_names(&self) -> &[String] {
        match &self.0.kind {
            CallErrorKind::UnknownTool { near, .. } | CallErrorKind::UnknownPrompt { near } => near,
            _ => &self.0.near,
        }
    }

    /// Servers that a call waited for when its deadline passed before it was sent, with what keeps each: those that may offer what
    /// it names and have not listed their tools, or that offer it and took no call. 32 at most, and none where all that it waited
    /// for was room.
    pub fn awaited(&self) -> &[UnavailableServer] {
        &self.0.awaited
    }

    /// What is known about the call's effect: that of the last attempt, unless an earlier one may have done something.
    pub fn effect(&self) -> Effect {
        match self.0.kind.effect() {
            Effect::NotSent if self.0.attempts > 0 => Effect::Unknown,
            Effect::Rejected | Effect::Failed if self.0.attempts > 1 => Effect::Unknown,
            of_the_last => of_the_last,
        }
    }

    /// The former name of [`effect`](Self::effect).
    #[deprecated(note = "is called `effect`")]
    #[doc(hidden)]
    pub fn outcome(&self) -> Effect {
        self.effect()
    }

    /// Whether the same call may simply be made again: nothing was carried out, and the cause may pass.
    pub fn retryable(&self) -> bool {
        match &self.0.kind {
            CallErrorKind::Unavailable { .. }
            | CallErrorKind::Overloaded { .. }
            | CallErrorKind::DeadlineExceeded { .. }
            | CallErrorKind::ConnectionLost { .. }
            | CallErrorKind::ServerDown { .. } => self.effect() == Effect::NotSent,
            CallErrorKind::Refused(refusal) => {
                refusal.kind == RefusalKind::Overloaded && self.effect() == Effect::Rejected
            }
            CallErrorKind::InvalidArguments { .. }
            | CallErrorKind::InvalidOptions { .. }
            | CallErrorKind::Denied { .. }
            | CallErrorKind::TooLong { .. }
            | CallErrorKind::InvalidTraceContext { .. }
            | CallErrorKind::UnknownTool { .. }
            | CallErrorKind::UnknownPrompt { .. }
            | CallErrorKind::UnknownResource
            | CallErrorKind::AmbiguousTool { .. }
            | CallErrorKind::AmbiguousPrompt { .. }
            | CallErrorKind::AmbiguousResource { .. }
            | CallErrorKind::NoMatch { .. }
            | CallErrorKind::Rpc(_)
            | CallErrorKind::LeaseEnded { .. }
            | CallErrorKind::InvalidResponse { .. }
            | CallErrorKind::Unanswered { .. }
            | CallErrorKind::TooLarge { .. }
            | CallErrorKind::Interrupted
            | CallErrorKind::ShuttingDown { .. }
            | CallErrorKind::Closed => false,
        }
    }

    /// How long to wait before a repetition has a chance, if that is known: of several servers the shortest time, and never 0.
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.0.kind {
            CallErrorKind::Unavailable { servers } => servers.iter().filter_map(|s| s.retry_after).min(),
            CallErrorKind::Overloaded { retry_after, .. } => *retry_after,
            CallErrorKind::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }

    /// What happened. Where nobody is known to offer what was asked for, those that are ready do not.
    fn what(&self) -> String {
        let Details { kind, group, server, .. } = &*self.0;
        match kind {
            CallErrorKind::Unavailable { servers }
                if group.is_none() && server.is_none() && servers.len() > 1 =>
            {
                format!("no server that is ready offers it, and these cannot be asked: {}", joined(servers))
            }
            kind => kind.to_string(),
        }
    }

    /// The same for people, in several lines where there is more to tell of servers.
    fn lines(&self) -> String {
        let Details { kind, tool, server, attempts, near, awaited, .. } = &*self.0;
        let place = server.as_ref().map(|server| format!(" on {server}")).unwrap_or_default();
        let (what, servers) = match kind {
            CallErrorKind::Unavailable { servers } => match servers.as_slice() {
                [only] => (format!("server {only:#}"), awaited),
                _ if self.0.group.is_some() || server.is_some() => {
                    ("no server is available".to_owned(), servers)
                }
                _ => ("no server that is ready offers it".to_owned(), servers),
            },
            CallErrorKind::DeadlineExceeded { deadline, timeout, sent } => {
                (deadline_passed(*deadline, *timeout, *sent), awaited)
            }
            kind => (kind.to_string(), awaited),
        };
        let unknown = match self.effect() {
            Effect::Unknown => ", and the call may have been carried out",
            Effect::NotSent | Effect::Rejected | Effect::Failed => "",
        };
        let attempts = if *attempts > 1 { format!(" ({attempts} attempts)") } else { String::new() };
        let attempts = format!("{attempts}{}", turned_away(self.0.turned_away));
        let (tool, near) = (shown_tool(tool), near_names(near));
        let mut text = format!("{tool}{place}: {what}{unknown}{near}{attempts}");
        if !servers.is_empty() {
            let waited = matches!(kind, CallErrorKind::DeadlineExceeded { .. });
            text.push_str(if waited { "\nit waited for:" } else { "\nthese cannot be asked:" });
            servers.iter().for_each(|server| text.push_str(&format!("\n  {server:#}")));
        }
        text
    }

    fn sentence(&self) -> String {
        let Details {
            kind: _,
            request_id,
            tool,
            group: _,
            server,
            attempts,
            turned_away: times,
            earlier_servers: _,
            near,
            awaited,
        } = &*self.0;
        let (near, awaited) = (near_names(near), waited_for(awaited));
        let place = server.as_ref().map(|server| format!(" on {server}")).unwrap_or_default();
        let unknown = match self.effect() {
            Effect::Unknown => ", effect unknown",
            Effect::NotSent | Effect::Rejected | Effect::Failed => "",
        };
        let plural = if *attempts == 1 { "" } else { "s" };
        let tool = shown_tool(tool);
        format!(
            "{tool}{place}: {}{awaited}{unknown}{near}{} (request {request_id}, {attempts} attempt{plural})",
            self.what(),
            turned_away(*times)
        )
    }
}

fn turned_away(times: u32) -> String {
    match times {
        0 => String::new(),
        1 => " (turned away once before)".to_owned(),
        times => format!(" (turned away {times} times before)"),
    }
}

impl Serialize for CallError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("error", self.0.kind.name())?;
        map.serialize_entry("message", &format!("{}{}", self.what(), waited_for(&self.0.awaited)))?;
        map.serialize_entry("request_id", self.request_id())?;
        map.serialize_entry("tool", self.tool())?;
        if let Some(group) = self.group() {
            map.serialize_entry("group", group)?;
        }
        map.serialize_entry("server", &self.server())?;
        map.serialize_entry("attempts", &self.attempts())?;
        if self.0.turned_away > 0 {
            map.serialize_entry("turned_away", &self.0.turned_away)?;
        }
        if !self.0.earlier_servers.is_empty() {
            map.serialize_entry("earlier_servers", self.earlier_servers())?;
        }
        map.serialize_entry("effect", &self.effect())?;
        // Its former name, for one more version.
        map.serialize_entry("outcome", &self.effect())?;
        map.serialize_entry("retryable", &self.retryable())?;
        if let Some(after) = self.retry_after() {
            map.serialize_entry("retry_after_ms", &millis(after))?;
        }
        match &self.0.kind {
            CallErrorKind::Rpc(error) => map.serialize_entry("rpc", error)?,
            CallErrorKind::Refused(refusal) => map.serialize_entry("refusal", refusal)?,
            CallErrorKind::UnknownTool { near, blocked } => {
                map.serialize_entry("near", near)?;
                if !blocked.is_empty() {
                    map.serialize_entry("blocked", blocked)?;
                }
            }
            CallErrorKind::UnknownPrompt { near } => map.serialize_entry("near", near)?,
            CallErrorKind::AmbiguousTool { candidates } | CallErrorKind::AmbiguousPrompt { candidates } => {
                map.serialize_entry("candidates", candidates)?;
            }
            CallErrorKind::AmbiguousResource { groups } => map.serialize_entry("groups", groups)?,
            CallErrorKind::Unavailable { servers } => {
                map.serialize_entry("servers", servers)?;
                if !self.0.near.is_empty() {
                    map.serialize_entry("near", &self.0.near)?;
                }
            }
            CallErrorKind::DeadlineExceeded { deadline, .. } => {
                map.serialize_entry("deadline", deadline)?;
                if !self.0.awaited.is_empty() {
                    map.serialize_entry("servers", &self.0.awaited)?;
                }
                if !self.0.near.is_empty() {
                    map.serialize_entry("near", &self.0.near)?;
                }
            }
            CallErrorKind::UnknownResource
            | CallErrorKind::InvalidArguments { .. }
            | CallErrorKind::InvalidOptions { .. }
            | CallErrorKind::Denied { .. }
            | CallErrorKind::TooLong { .. }
            | CallErrorKind::InvalidTraceContext { .. }
            | CallErrorKind::NoMatch { .. }
            | CallErrorKind::Overloaded { .. }
            | CallErrorKind::ConnectionLost { .. }
            | CallErrorKind::ServerDown { .. }
            | CallErrorKind::LeaseEnded { .. }
            | CallErrorKind::InvalidResponse { .. }
            | CallErrorKind::Unanswered { .. }
            | CallErrorKind::TooLarge { .. }
            | CallErrorKind::Interrupted
            | CallErrorKind::ShuttingDown { .. }
            | CallErrorKind::Closed => {}
        }
        map.end()
    }
}

fn joined(servers: &[UnavailableServer]) -> String {
    servers.iter().map(UnavailableServer::to_string).collect::<Vec<_>>().join("; ")
}

fn waited_for(servers: &[UnavailableServer]) -> String {
    if servers.is_empty() { String::new() } else { format!("; waited for: {}", joined(servers)) }
}

pub(crate) fn near_names(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!(", did you mean {}?", near.join(", ")) }
}

fn left_out(blocked: &[UnavailableServer]) -> String {
    if blocked.is_empty() { String::new() } else { format!(" ({})", joined(blocked)) }
}

fn deadline_passed(deadline: Deadline, timeout: Duration, sent: bool) -> String {
    let when = if sent { "while the server worked" } else { "before it was sent to a server" };
    format!("{deadline} of {} exceeded {when}", rounded(timeout))
}

/// A tool as an error names it.
fn shown_tool(tool: &str) -> String {
    let cut = if tool.len() > SHOWN_BYTES_MAX { "…" } else { "" };
    format!("{}{cut}", head(tool, SHOWN_BYTES_MAX))
}

fn nobody_available(servers: &[UnavailableServer]) -> String {
    match servers {
        [] => "no server is available".to_owned(),
        [only] => format!("server {only}"),
        several => format!("no server is available ({})", joined(several)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: CallErrorKind) -> CallError {
        let attempts = u32::from(kind.effect() != Effect::NotSent);
        CallError::new(kind, RequestId::random(), "file.read", ServerId::new("files").ok(), attempts)
    }

    /// One of each kind, and of each effect that a kind may have.
    fn every_kind() -> Vec<CallErrorKind> {
        let rpc = |code| CallErrorKind::Rpc(RpcError { code, message: "no".into(), data: None });
        let refused = |status, retry_after| CallErrorKind::Refused(Refusal::new(status, None, retry_after));
        let mut kinds = vec![
            CallErrorKind::InvalidArguments { reason: String::new() },
            CallErrorKind::InvalidOptions { reason: String::new() },
            CallErrorKind::Denied { reason: String::new() },
            CallErrorKind::TooLong { what: "bytes", length: 2, limit: 1, remedy: "shorten it" },
            CallErrorKind::InvalidTraceContext { entry: "baggage", reason: "no" },
            CallErrorKind::UnknownTool { near: vec![], blocked: vec![] },
            CallErrorKind::UnknownPrompt { near: vec![] },
            CallErrorKind::UnknownResource,
            CallErrorKind::AmbiguousTool { candidates: vec![] },
            CallErrorKind::AmbiguousPrompt { candidates: vec![] },
            CallErrorKind::AmbiguousResource { groups: vec![] },
            CallErrorKind::NoMatch { selector: String::new() },
            CallErrorKind::Unavailable { servers: vec![] },
            CallErrorKind::Overloaded { waiting: 1, limit: 1, retry_after: None },
            rpc(RpcError::INVALID_PARAMS),
            rpc(RpcError::INTERNAL_ERROR),
            refused(401, None),
            refused(429, Some(Duration::from_secs(1))),
            refused(404, None),
            refused(303, None),
            refused(418, None),
            refused(500, None),
            CallErrorKind::LeaseEnded { reason: String::new() },
            CallErrorKind::InvalidResponse { reason: String::new() },
            CallErrorKind::Unanswered { reason: String::new() },
            CallErrorKind::TooLarge { bytes: 2, limit: 1 },
            CallErrorKind::Interrupted,
            CallErrorKind::Closed,
        ];
        for sent in [false, true] {
            let (deadline, timeout) = (Deadline::Total, Duration::from_secs(1));
            kinds.extend([
                CallErrorKind::DeadlineExceeded { deadline, timeout, sent },
                CallErrorKind::ConnectionLost { reason: String::new(), sent },
                CallErrorKind::ServerDown { cause: ExitCause::Killed, sent },
                CallErrorKind::ShuttingDown { sent },
            ]);
        }
        kinds
    }

    #[test]
    fn the_page_says_of_every_kind_what_its_error_does() {
        let page = include_str!("guide/errors.md");
        let rows = page.lines().filter(|line| line.starts_with("| `"));
        let mut told: Vec<[String; 3]> = rows
            .map(|row| {
                let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
                assert_eq!(cells.len(), 7, "{row}");
                [cells[1], cells[3], cells[4]].map(str::to_owned)
            })
            .collect();
        let mut true_of: Vec<[String; 3]> = every_kind()
            .into_iter()
            .map(|kind| {
                let error = error(kind);
                let retryable = if error.retryable() { "yes" } else { "no" };
                [error.kind().name().to_owned(), format!("{:?}", error.effect()), retryable.to_owned()]
            })
            .collect();
        told.sort();
        true_of.sort();
        assert_eq!(told, true_of);
    }

    #[test]
    fn people_read_of_each_server_in_a_line_of_its_own_and_of_no_ids() {
        let server = |id: &str, status, reason: &str, after| {
            let id = ServerId::new(id).unwrap();
            UnavailableServer::new(id, status, Some(reason.to_owned()), after)
        };
        let down = server("git", ServerStatus::Disconnected, "refused", Some(Duration::from_millis(4_074)));
        let starting = server("time", ServerStatus::Connecting, "starting for 3s, 1m at most", None);
        let of = |kind, server: Option<&str>, attempts| {
            let server = server.map(|server| ServerId::new(server).unwrap());
            CallError::new(kind, RequestId::random(), "log", server, attempts)
        };
        let several = vec![down.clone(), starting.clone()];
        let (two, one) = (
            CallErrorKind::Unavailable { servers: several },
            CallErrorKind::Unavailable { servers: vec![down] },
        );
        let late = |sent| {
            let (deadline, timeout) = (Deadline::Total, Duration::from_secs(3));
            CallErrorKind::DeadlineExceeded { deadline, timeout, sent }
        };
        let mut waited = of(late(false), None, 0);
        waited.0.awaited = vec![starting];
        let mut near = of(two.clone(), None, 0);
        near.0.near = vec!["git/log".to_owned()];
        for (error, told) in [
            (of(one, None, 0), "log: server git is down: refused"),
            (
                near,
                "log: no server that is ready offers it, did you mean git/log?\nthese cannot be asked:\n  \
                 git is down: refused\n  time is starting for 3s, 1m at most",
            ),
            (
                waited,
                "log: deadline of 3s exceeded before it was sent to a server\nit waited for:\n  time is starting for 3s, 1m at most",
            ),
            (
                of(late(true), Some("git"), 2),
                "log on git: deadline of 3s exceeded while the server worked, and the call may have been carried out (2 attempts)",
            ),
        ] {
            assert_eq!(format!("{error:#}"), told);
            assert!(error.to_string().contains("(request ") && !error.to_string().contains('\n'), "{error}");
        }
        let told = of(two, None, 0).to_string();
        assert!(told.contains("git is down: refused, next attempt in 5s; time is starting for 3s"), "{told}");
    }

    #[test]
    fn a_lost_call_says_that_its_outcome_is_unknown_and_is_not_retryable() {
        let lost = error(CallErrorKind::ConnectionLost { reason: "reset".into(), sent: true });
        assert_eq!(lost.effect(), Effect::Unknown);
        assert!(!lost.retryable());
        assert!(lost.to_string().contains("effect unknown"), "{lost}");
        assert!(error(CallErrorKind::ConnectionLost { reason: "reset".into(), sent: false }).retryable());
    }

    #[test]
    fn what_an_earlier_attempt_may_have_done_is_not_forgotten() {
        let after = |attempts, kind| CallError::new(kind, RequestId::random(), "file.write", None, attempts);
        let unavailable = CallErrorKind::Unavailable { servers: Vec::new() };
        let rejected = CallErrorKind::Rpc(RpcError { code: -32602, message: "no".into(), data: None });
        assert_eq!(after(0, unavailable.clone()).effect(), Effect::NotSent);
        assert_eq!(after(1, unavailable.clone()).effect(), Effect::Unknown);
        assert!(!after(1, unavailable).retryable());
        assert_eq!(after(1, rejected.clone()).effect(), Effect::Rejected);
        assert_eq!(after(2, rejected).effect(), Effect::Unknown);
        let failed = CallErrorKind::Rpc(RpcError { code: -32603, message: "no".into(), data: None });
        assert_eq!(after(1, failed.clone()).effect(), Effect::Failed);
        assert_eq!(after(2, failed).effect(), Effect::Unknown, "the first may have succeeded");
    }

    #[test]
    fn the_idle_deadline_says_that_it_is_the_one() {
        let of = |deadline| {
            error(CallErrorKind::DeadlineExceeded { deadline, timeout: Duration::from_secs(5), sent: true })
        };
        let (total, idle) = (of(Deadline::Total), of(Deadline::Idle));
        assert!(total.to_string().contains(": deadline of 5s exceeded while the server worked"), "{total}");
        assert!(idle.to_string().contains(": idle deadline of 5s exceeded"), "{idle}");
        assert!(serde_json::to_string(&idle).unwrap().contains(r#""deadline":"idle""#));
    }

    #[test]
    fn what_ends_at_a_limit_names_the_key_that_sets_it() {
        let deadline = |deadline, sent| CallErrorKind::DeadlineExceeded {
            deadline,
            timeout: Duration::from_secs(5),
            sent,
        };
        for (kind, key) in [
            (CallErrorKind::Overloaded { waiting: 1, limit: 1, retry_after: None }, "mailbox.capacity"),
            (CallErrorKind::TooLarge { bytes: 2, limit: 1 }, "limits.messageBytesMax"),
            (deadline(Deadline::Total, false), "callTimeout"),
            (deadline(Deadline::Total, true), "callTimeout"),
            (deadline(Deadline::Idle, true), "callIdleTimeout"),
        ] {
            let row = format!("| `{}`", kind.name());
            assert!(error(kind.clone()).to_string().contains(key), "{kind}");
            let page = include_str!("guide/errors.md").lines().filter(|line| line.starts_with(&row));
            assert!(page.clone().count() > 0 && page.into_iter().any(|line| line.contains(key)), "{row}");
        }
    }

    #[test]
    fn a_rejection_is_told_from_a_failure() {
        let rpc = |code| CallErrorKind::Rpc(RpcError { code, message: "no".into(), data: None });
        assert_eq!(rpc(RpcError::INVALID_PARAMS).effect(), Effect::Rejected);
        assert_eq!(rpc(RpcError::INTERNAL_ERROR).effect(), Effect::Failed);
        assert_eq!(rpc(-32003).effect(), Effect::Failed);
    }

    #[test]
    fn a_server_without_capacity_says_when_to_come_again_and_an_unauthorized_call_is_not_to_be_repeated() {
        let overloaded = error(CallErrorKind::Refused(Refusal::new(429, None, Some(Duration::from_secs(3)))));
        assert_eq!(overloaded.effect(), Effect::Rejected);
        assert!(overloaded.retryable());
        assert_eq!(overloaded.retry_after(), Some(Duration::from_secs(3)));
        let text = serde_json::to_string(&overloaded).unwrap();
        assert!(
            text.contains(r#""error":"server-overloaded""#) && text.contains(r#""status":429"#),
            "{text}"
        );
        assert!(!error(CallErrorKind::Refused(Refusal::new(401, None, None))).retryable());
        assert_eq!(error(CallErrorKind::Refused(Refusal::new(502, None, None))).effect(), Effect::Unknown);
    }

    #[test]
    fn the_json_form_carries_the_peers_error_whole() {
        let data = RawJson::from_text(r#"{"x":1.50}"#).unwrap();
        let error =
            error(CallErrorKind::Rpc(RpcError { code: -32003, message: "slow".into(), data: Some(data) }));
        let text = serde_json::to_string(&error).unwrap();
        assert!(text.contains(r#""data":{"x":1.50}"#), "{text}");
        assert!(text.contains(r#""error":"rpc-error""#), "{text}");
    }
}
