//! A call and its reply.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::duration::micros;
use crate::error::RpcError;
use crate::id::{ConnectionId, GroupId, Incarnation, RequestId, ServerId};
use crate::json::RawJson;
use crate::json::members::{members, string};
use crate::news::LogLevel;
use crate::refusal::Refusal;
use crate::spans::SharedSpan;
use crate::trace_context::{InvalidTraceContext, TraceContext};

/// How urgent a call is. Orders the queue of calls that wait for a free slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// Somebody waits for it.
    High,
    /// The default.
    #[default]
    Normal,
    /// Background work: the first to be shed.
    Low,
}

impl Priority {
    /// All priorities, most urgent first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];
}

/// How one attempt counts for the health of its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeClass {
    /// The server did its work, also where the tool reported an error of its own.
    Success,
    /// The server failed.
    Failure,
    /// The server refused for lack of capacity: counts in the ratio only.
    Overload,
    /// Says nothing about the server: the caller's own mistake, or the caller left.
    Ignored,
}

/// How one attempt ended, as a classifier sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptEnd {
    /// The server answered with a result.
    Result(RawJson),
    /// The server answered with a JSON-RPC error.
    Rpc(RpcError),
    /// The server answered with a status and no message.
    Refused(Refusal),
    /// The server's answer is no valid response.
    InvalidResponse(String),
    /// The link broke before the answer.
    ConnectionLost {
        /// How.
        reason: String,
        /// Whether the server may have received the request.
        sent: bool,
    },
    /// The request exceeds the size limit of messages; nothing was sent.
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The call's deadline passed before the answer.
    DeadlineExceeded,
    /// The caller left before the answer.
    Cancelled,
}

impl AttemptEnd {
    /// A short, stable name for counters: `ok`, or that of the call's error.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Result(_) => "ok",
            Self::Rpc(_) => "rpc-error",
            Self::Refused(refusal) => refusal.name(),
            Self::InvalidResponse(_) => "invalid-response",
            Self::ConnectionLost { .. } => "connection-lost",
            Self::TooLarge { .. } => "too-large",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The longest deadline: as good as none, and still a time that can be calculated with.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Keeps calls with one key on one server of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Affinity {
    pub key: String,
    pub strict: bool,
}

/// What a call has to do with the response cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum CacheUse {
    /// As its tool's rule says.
    #[default]
    Usual,
    /// Its result is fetched, and kept.
    Refresh,
    /// None.
    Bypass,
}

/// A leased connection, as its user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseKey {
    pub server: ServerId,
    pub incarnation: Incarnation,
    pub connection: ConnectionId,
}

/// What a call is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Errand {
    /// A tool, wherever the troupe sends it.
    Tool,
    /// A tool, on this connection and no other.
    Leased(LeaseKey),
    /// A lease of the server, or of one of the group, that the call's `tool` names.
    Lease,
}

/// What a call asks of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Request {
    /// To run a tool.
    Tool,
    /// To read a resource.
    Resource,
    /// To fill in a prompt.
    Prompt,
    /// To propose values for an argument.
    Completion(Completes),
}

impl Request {
    /// A short, stable name, for spans and counters.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Resource => "resource",
            Self::Prompt => "prompt",
            Self::Completion(_) => "completion",
        }
    }
}

/// What the argument belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Completes {
    Prompt,
    Template,
}

/// Which servers a call may go to, besides offering the tool.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Selector {
    pub server: Option<String>,
    pub group: Option<String>,
    /// All of them must be among the server's tags.
    pub tags: Vec<String>,
}

impl Selector {
    /// Only this server.
    pub(crate) fn server(server: &ServerId) -> Self {
        Self { server: Some(server.as_str().to_owned()), ..Self::default() }
    }

    /// Whether it picks a server of this id, this group and these tags.
    pub(crate) fn picks(&self, id: &ServerId, group: &GroupId, tags: &[String]) -> bool {
        self.server.as_ref().is_none_or(|server| id.as_str() == server)
            && self.group.as_ref().is_none_or(|wanted| group.as_str() == wanted)
            && self.tags.iter().all(|tag| tags.contains(tag))
    }

    /// The selector in words, for errors.
    pub(crate) fn describe(&self) -> String {
        let mut parts = Vec::new();
        if let Some(server) = &self.server {
            parts.push(format!("server {server}"));
        }
        if let Some(group) = &self.group {
            parts.push(format!("group {group}"));
        }
        if !self.tags.is_empty() {
            parts.push(format!("tags {}", self.tags.join(", ")));
        }
        if parts.is_empty() { "any server".to_owned() } else { parts.join(", ") }
    }
}

/// One call: of a tool, for a resource, a prompt or a completion.
///
/// ```
/// use std::time::Duration;
/// use mcp_troupe::{Call, Priority};
/// use serde_json::json;
///
/// let call = Call::tool("file.read")
///     .args(json!({"path": "documents/test.md"}))
///     .priority(Priority::High)
///     .timeout(Duration::from_secs(5));
/// # drop(call);
/// ```
#[derive(Debug, Clone)]
#[must_use = "a call does nothing until it is given to Troupe::call"]
pub struct Call {
    /// The name of the tool or prompt, the URI of the resource.
    pub(crate) tool: String,
    pub(crate) request: Request,
    pub(crate) errand: Errand,
    /// The arguments, or what is wrong with them; told when the call is made.
    pub(crate) args: Result<Option<RawJson>, String>,
    pub(crate) selector: Selector,
    pub(crate) priority: Priority,
    pub(crate) affinity: Option<Affinity>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) log_level: Option<LogLevel>,
    /// Its caller wants to hear what is told of it.
    pub(crate) streamed: bool,
    pub(crate) idempotent: bool,
    pub(crate) hedged: bool,
    pub(crate) cache: CacheUse,
    pub(crate) identity: Option<String>,
    pub(crate) meta: Result<Option<RawJson>, String>,
    /// Answers to what an earlier result asked.
    pub(crate) input: Option<Box<Input>>,
    /// Joins `meta` when the call is made.
    trace: Option<Box<TraceContext>>,
    /// The parent of its attempts' spans, where somebody listens.
    pub(crate) span: Option<SharedSpan>,
}

/// Answers to what a result asked, sent with the call that is made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    /// By the keys of what was asked.
    pub responses: RawJson,
    /// What the server wants back as it gave it.
    pub state: Option<RawJson>,
}

impl Input {
    /// The size of its text in bytes.
    pub fn len(&self) -> usize {
        self.responses.len() + self.state.as_ref().map_or(0, RawJson::len)
    }
}

impl Call {
    /// A call of `tool`: its bare name, `group/tool`, or its exposed name `group__tool`.
    pub fn tool(tool: impl Into<String>) -> Self {
        Self::of(Request::Tool, tool.into())
    }

    /// Reads the resource with this URI, from a server that lists it or a template that it follows. A URI that nobody lists,
    /// such as one out of a tool's result, is read from the servers that the call selects by [`server`](Self::server),
    /// [`group`](Self::group) or [`tag`](Self::tag). Safe to repeat.
    pub fn resource(uri: impl Into<String>) -> Self {
        Self::of(Request::Resource, uri.into()).idempotent()
    }

    /// Gets a prompt: its bare name, `group/prompt`, or its exposed name; its arguments are texts. Safe to repeat.
    pub fn prompt(prompt: impl Into<String>) -> Self {
        Self::of(Request::Prompt, prompt.into()).idempotent()
    }

    /// Asks for values that an argument of a prompt may have, which begin with what the user has typed. Safe to repeat.
    pub fn complete_prompt(
        prompt: impl Into<String>,
        argument: impl Into<String>,
        typed: impl Into<String>,
    ) -> Self {
        Self::completion(Completes::Prompt, prompt.into(), argument.into(), typed.into())
    }

    /// Asks for values that a variable of a resource template may have, which begin with what the user has typed. Safe to
    /// repeat.
    pub fn complete_template(
        template: impl Into<String>,
        variable: impl Into<String>,
        typed: impl Into<String>,
    ) -> Self {
        Self::completion(Completes::Template, template.into(), variable.into(), typed.into())
    }

    fn completion(of: Completes, name: String, argument: String, typed: String) -> Self {
        let args = serde_json::json!({"argument": {"name": argument, "value": typed}});
        Self::of(Request::Completion(of), name).args(args).idempotent()
    }

    fn of(request: Request, name: String) -> Self {
        Self {
            tool: name,
            request,
            errand: Errand::Tool,
            args: Ok(None),
            selector: Selector::default(),
            priority: Priority::default(),
            affinity: None,
            timeout: None,
            idle_timeout: None,
            log_level: None,
            streamed: false,
            idempotent: false,
            hedged: false,
            cache: CacheUse::default(),
            identity: None,
            meta: Ok(None),
            input: None,
            trace: None,
            span: None,
        }
    }

    /// The arguments: anything that serialises to a JSON object. What does not is reported by the call.
    pub fn args(mut self, args: impl Serialize) -> Self {
        self.args = object("the arguments", RawJson::from_value(&args));
        self
    }

    /// The arguments as JSON text that is passed on unchanged.
    pub fn raw_args(mut self, json: impl Into<String>) -> Self {
        self.args = object("the arguments", RawJson::from_text(json));
        self
    }

    /// Only this server.
    pub fn server(mut self, server: impl Into<String>) -> Self {
        self.selector.server = Some(server.into());
        self
    }

    /// Only servers of this group.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.selector.group = Some(group.into());
        self
    }

    /// Only servers with this tag; several calls ask for several tags.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.selector.tags.push(tag.into());
        self.selector.tags.sort();
        self
    }

    /// How urgent it is; [`Priority::Normal`] unless said.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Prefers the server that last answered a call with this key; another one where that is not admitting.
    pub fn affinity(mut self, key: impl Into<String>) -> Self {
        self.affinity = Some(Affinity { key: key.into(), strict: false });
        self
    }

    /// Like [`affinity`](Self::affinity), but fails where the bound server takes no calls.
    pub fn strict_affinity(mut self, key: impl Into<String>) -> Self {
        self.affinity = Some(Affinity { key: key.into(), strict: true });
        self
    }

    /// The deadline, from now to the answer, with queueing and retries: a year at most. Goes before every configured one.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout.min(TIMEOUT_MAX));
        self
    }

    /// Ends the call sooner where its server works on it and tells nothing of it for so long: progress and log messages
    /// of the call start this time anew, those of any attempt that is under way; time in a queue does not count. The
    /// deadline ([`timeout`](Self::timeout)) is never extended. A question that the server asks the host is no news of a
    /// call, and the time that its answer takes counts. Asks the server for progress; one that reports none has
    /// so long for its answer. Goes before the configured one (`callIdleTimeout`).
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// Asks the server to log about this call from this level on, for [`Troupe::call_stream`](crate::Troupe::call_stream).
    /// A modern server logs nothing unasked. A legacy one has one level for a whole connection, which others use as well:
    /// it is not touched, and of what such a server logs the stream gets no messages below this level.
    pub fn log_level(mut self, level: LogLevel) -> Self {
        self.log_level = Some(level);
        self
    }

    /// Declares that repeating the call does no harm, so that it may be retried after its connection was lost.
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Asks a second server where the first takes longer than calls of this tool usually do, and takes the first answer;
    /// the other attempt is called off. Declares the call [`idempotent`](Self::idempotent) as well. Hedges are paid from
    /// the retry budget; while the tool's usual latency is not known yet there are none.
    pub fn hedged(mut self) -> Self {
        self.hedged = true;
        self.idempotent()
    }

    /// For whom it is made, such as a user of the host's: results that are kept by identity are shared only among calls with
    /// the same one. It stays in the troupe.
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// Neither takes a kept result nor waits for an equal call, and its own result is not kept.
    pub fn bypass_cache(mut self) -> Self {
        self.cache = CacheUse::Bypass;
        self
    }

    /// Takes no kept result; its own is kept, where results of its tool are.
    pub fn refresh(mut self) -> Self {
        self.cache = CacheUse::Refresh;
        self
    }

    /// Entries for the request's `_meta`: anything that serialises to a JSON object. The entries of W3C's trace context have
    /// setters of their own, such as [`traceparent`](Self::traceparent), which go before those that are given here. A
    /// `progressToken` among them is left out: progress is asked for by
    /// [`Troupe::call_stream`](crate::Troupe::call_stream) and [`idle_timeout`](Self::idle_timeout), under tokens of the
    /// troupe's own.
    pub fn meta(mut self, meta: impl Serialize) -> Self {
        self.meta = object("_meta", RawJson::from_value(&meta));
        self
    }

    /// Answers what a result asked, see [`Reply::input_required`]: `responses` is an object with an answer for each key of
    /// what was asked, `state` what came with it. To be made with the same tool and arguments, best on the same server.
    pub fn input(mut self, responses: impl Serialize, state: Option<RawJson>) -> Self {
        match object("the responses", RawJson::from_value(&responses)) {
            Ok(responses) => {
                let responses = responses.unwrap_or_else(RawJson::empty_object);
                self.answering(responses, state)
            }
            Err(wrong) => {
                self.args = Err(wrong);
                self
            }
        }
    }

    /// The same with an object that is known to be one.
    pub(crate) fn answering(mut self, responses: RawJson, state: Option<RawJson>) -> Self {
        self.input = Some(Box::new(Input { responses, state }));
        self
    }

    /// The span that the server's work belongs to, as W3C's `traceparent` says it: written into the request's `_meta`, so
    /// that the server can join the trace. One of another form is reported by the call, as
    /// [`InvalidTraceContext`](crate::CallErrorKind::InvalidTraceContext).
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.trace.get_or_insert_default().set_traceparent(traceparent.into());
        self
    }

    /// What tracing systems note beside the [`traceparent`](Self::traceparent), as W3C's `tracestate` says it.
    pub fn tracestate(mut self, tracestate: impl Into<String>) -> Self {
        self.trace.get_or_insert_default().set_tracestate(tracestate.into());
        self
    }

    /// What goes along with the trace, as W3C's `baggage` says it: the server reads it.
    pub fn baggage(mut self, baggage: impl Into<String>) -> Self {
        self.trace.get_or_insert_default().set_baggage(baggage.into());
        self
    }

    /// The call as it is made: with everything that goes into its `_meta`.
    pub(crate) fn sealed(mut self) -> Self {
        if let (Some(trace), Ok(meta)) = (&self.trace, &self.meta)
            && trace.mistake().is_none()
        {
            let joined = trace.joined(meta.as_ref());
            self.meta = joined.map(Some).map_err(|error| format!("_meta is no JSON object: {error}"));
        }
        self
    }

    /// What is wrong with the entries of its trace context.
    pub(crate) fn trace_mistake(&self) -> Option<InvalidTraceContext> {
        self.trace.as_ref()?.mistake()
    }

    /// The tool as the host named it. An attempt may still hold the call where the answer is not that attempt's.
    pub(crate) fn into_tool(self: Arc<Self>) -> String {
        Arc::try_unwrap(self).map_or_else(|shared| shared.tool.clone(), |call| call.tool)
    }

    /// The arguments, unless they are wrong: then the call is refused when it is made.
    pub(crate) fn right_args(&self) -> Option<&RawJson> {
        self.args.as_ref().ok().and_then(Option::as_ref)
    }

    /// The same of the entries for `_meta`.
    pub(crate) fn right_meta(&self) -> Option<&RawJson> {
        self.meta.as_ref().ok().and_then(Option::as_ref)
    }
}

/// Takes a JSON object and says of anything else what is wrong with it.
fn object(what: &str, json: Result<RawJson, serde_json::Error>) -> Result<Option<RawJson>, String> {
    match json {
        Ok(json) if json.is_object() => Ok(Some(json)),
        Ok(json) => {
            let shown: String = json.as_str().chars().take(40).collect();
            Err(format!("{what} must be a JSON object, not {shown}"))
        }
        Err(error) => Err(format!("{what} are no JSON: {error}")),
    }
}

/// The answer to a call.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Reply {
    /// The call's id.
    pub request_id: RequestId,
    /// The server that answered.
    pub server: ServerId,
    /// Its group.
    pub group: GroupId,
    /// The name of the tool or prompt on that server, or the resource's URI.
    pub tool: String,
    /// The result as the server sent it, unread; in the tool-execute dialect without its envelope.
    pub result: RawJson,
    /// From the call to its answer, with queueing and retries.
    #[serde(rename = "duration_us", serialize_with = "us")]
    pub duration: Duration,
    /// Attempts that were made, this one included; 0 if it was `cached`.
    pub attempts: u32,
    /// The servers that lost or failed earlier attempts, in order.
    pub lost_on: Vec<ServerId>,
    /// Whether another call fetched the result: it was kept, or that call was equal to this one and under way. Then `server`
    /// and `tool` are those of that call; request id and duration are always this one's.
    pub cached: bool,
    /// The lease that was asked for.
    #[serde(skip)]
    pub(crate) lease: Option<LeaseKey>,
}

fn us<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(micros(*duration))
}

/// What kind of result it is, in its server's words; none where it does not say.
pub(crate) fn result_type(result: &RawJson) -> Option<String> {
    let [kind] = members(result.as_str(), ["resultType"]).ok()?;
    string(kind?)
}

/// What a result asks before there is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InputRequired {
    /// The requests (`method`, `params`), by key. None where the call is only to be made again with `state`.
    pub requests: BTreeMap<String, RawJson>,
    /// What the server wants back with the answers, to the letter.
    pub state: Option<RawJson>,
}

/// The parts of a result that asks back.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asking<'a> {
    #[serde(borrow, default)]
    input_requests: BTreeMap<String, &'a RawValue>,
    #[serde(borrow, default)]
    request_state: Option<&'a RawValue>,
}

/// A result that has not the shape that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// The tool itself reported an error.
    #[error("the tool reported an error: {0}")]
    Tool(String),
    /// The server asks back before it gives a result; see [`Reply::result`].
    #[error("the server asks for input before it gives a result")]
    InputRequired,
    /// The result says that it is of a kind that this client never asked for.
    #[error("the result is of the unknown kind {0:?}")]
    UnknownKind(String),
    /// The result has no structured content.
    #[error("the result has no structured content")]
    NoStructuredContent,
    /// The result is no MCP result, or its content has another type.
    #[error("the result has another shape: {0}")]
    Shape(#[from] serde_json::Error),
}

/// The parts of an MCP tool result that the accessors of [`Reply`] read.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolResult<'a> {
    #[serde(default)]
    is_error: bool,
    #[serde(borrow, default)]
    result_type: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    structured_content: Option<&'a RawValue>,
    #[serde(default)]
    content: Vec<Content>,
    /// Of a resource.
    #[serde(default)]
    contents: Vec<Content>,
    /// Of a prompt.
    #[serde(default)]
    messages: Vec<Message>,
}

/// One block of content; only text is read.
#[derive(serde::Deserialize)]
struct Content {
    #[serde(default)]
    text: Option<String>,
}

/// One message of a prompt.
#[derive(serde::Deserialize)]
struct Message {
    content: Content,
}

impl ToolResult<'_> {
    fn text(&self) -> String {
        let messages = self.messages.iter().map(|message| &message.content);
        let blocks = self.content.iter().chain(&self.contents).chain(messages);
        blocks.filter_map(|block| block.text.as_deref()).collect::<Vec<_>>().join("\n")
    }
}

impl Reply {
    /// Reads the result as an MCP tool result, and refuses one that is no success.
    fn success(&self) -> Result<ToolResult<'_>, ReplyError> {
        let result: ToolResult<'_> = self.result.parse_borrowed()?;
        match result.result_type.as_deref() {
            None | Some("complete") => {}
            Some("input_required") => return Err(ReplyError::InputRequired),
            Some(other) => return Err(ReplyError::UnknownKind(other.to_owned())),
        }
        if result.is_error { Err(ReplyError::Tool(result.text())) } else { Ok(result) }
    }

    /// What the server asks before it gives a result: where the host has handlers for all of it
    /// ([`TroupeBuilder::on_elicitation`](crate::TroupeBuilder::on_elicitation) and its kin) they have answered, and this
    /// is not seen. Otherwise the call is made again with [`Call::input`]. None for every other result.
    pub fn input_required(&self) -> Option<InputRequired> {
        if result_type(&self.result)? != "input_required" {
            return None;
        }
        let asking: Asking<'_> = self.result.parse_borrowed().ok()?;
        let owned = |raw: &RawValue| RawJson::trusted(self.result.bytes().slice_ref(raw.get().as_bytes()));
        Some(InputRequired {
            requests: asking.input_requests.into_iter().map(|(key, raw)| (key, owned(raw))).collect(),
            state: asking.request_state.map(owned),
        })
    }

    /// Whether the tool reported an error (`isError`). Parses the result's outer level.
    pub fn is_error(&self) -> bool {
        matches!(self.success(), Err(ReplyError::Tool(_)))
    }

    /// The text of the result, joined by line breaks: of a tool's content blocks, a resource's contents or a prompt's
    /// messages.
    ///
    /// # Errors
    /// [`ReplyError::Tool`] with the same text if the tool reported an error, and the other variants if the result is
    /// no tool result.
    pub fn text(&self) -> Result<String, ReplyError> {
        self.success().map(|result| result.text())
    }

    /// The result's `structuredContent`, parsed.
    ///
    /// # Errors
    /// As [`text`](Self::text), and [`ReplyError::NoStructuredContent`] or [`ReplyError::Shape`].
    pub fn structured<T: DeserializeOwned>(&self) -> Result<T, ReplyError> {
        let result = self.success()?;
        let content = result.structured_content.ok_or(ReplyError::NoStructuredContent)?;
        Ok(serde_json::from_str(content.get())?)
    }

    /// The whole result, parsed.
    ///
    /// # Errors
    /// [`ReplyError::Shape`] if it has another type.
    pub fn raw<T: DeserializeOwned>(&self) -> Result<T, ReplyError> {
        Ok(self.result.parse()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(result: &str) -> Reply {
        Reply {
            request_id: RequestId::random(),
            server: ServerId::new("files").unwrap(),
            group: GroupId::new("files").unwrap(),
            tool: "file.read".into(),
            result: RawJson::from_text(result).unwrap(),
            duration: Duration::ZERO,
            attempts: 1,
            lost_on: Vec::new(),
            cached: false,
            lease: None,
        }
    }

    #[test]
    fn arguments_that_are_no_object_are_told() {
        let told = Call::tool("t").args([1, 2]).args.unwrap_err();
        assert_eq!(told, "the arguments must be a JSON object, not [1,2]");
        assert!(Call::tool("t").raw_args("{oops").args.is_err());
        assert!(Call::tool("t").raw_args(" {\"a\":1}").args.is_ok());
    }

    #[test]
    fn a_tool_error_is_an_error_of_the_accessors_and_not_of_the_call() {
        let reply = reply(r#"{"content":[{"type":"text","text":"no such file"}],"isError":true}"#);
        assert!(reply.is_error());
        assert_eq!(reply.text().unwrap_err().to_string(), "the tool reported an error: no such file");
    }

    #[test]
    fn structured_content_is_parsed_and_text_joined() {
        let reply = reply(
            r#"{"resultType":"complete","content":[{"type":"text","text":"a"},{"type":"image"},{"type":"text","text":"b"}],
                "structuredContent":{"n":7}}"#,
        );
        assert_eq!(reply.text().unwrap(), "a\nb");
        assert_eq!(reply.structured::<serde_json::Value>().unwrap()["n"], 7);
    }

    #[test]
    fn a_question_back_is_no_result() {
        assert!(matches!(reply(r#"{"resultType":"input_required"}"#).text(), Err(ReplyError::InputRequired)));
        assert!(matches!(reply(r#"{"resultType":"task"}"#).text(), Err(ReplyError::UnknownKind(_))));
    }
}
