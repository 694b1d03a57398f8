//! A call: what it asks for, of whom, and on what terms.

mod attempt;
mod bounds;
mod content;
mod options;
mod reply;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

pub use attempt::{AttemptEnd, OutcomeClass};
pub(crate) use bounds::head;
pub use content::{Content, ResourceBody};
pub(crate) use options::{Affinity, CacheUse, Input, Options, Selector};
pub use reply::{InputRequired, Reply, ReplyError};

use crate::call_update::LogLevel;
use crate::error::RpcError;
use crate::id::{ConnectionId, Incarnation, RequestId, ServerId};
use crate::json::RawJson;
use crate::question::{ElicitResult, Handlers, Root, ServerRequest};
use crate::spans::SharedSpan;
use crate::trace_context::InvalidTraceContext;

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

/// The longest deadline: as good as none, and still a time that can be calculated with.
pub(crate) const TIMEOUT_MAX: Duration = crate::duration::TIME_MAX;

/// A leased connection, as its user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseKey {
    pub server: ServerId,
    pub incarnation: Incarnation,
    pub connection: ConnectionId,
}

/// A lease in somebody's hands, or on its way there: wherever it is dropped, it ends.
pub(crate) struct Granted {
    key: Option<LeaseKey>,
    end: Box<dyn Fn(LeaseKey) + Send + Sync>,
}

impl Granted {
    /// A lease that `end` ends, at the life that gave it.
    pub(crate) fn new(key: LeaseKey, end: impl Fn(LeaseKey) + Send + Sync + 'static) -> Self {
        Self { key: Some(key), end: Box::new(end) }
    }

    /// How it is named.
    pub(crate) fn key(&self) -> &LeaseKey {
        self.key.as_ref().expect("it is taken out by the drop alone")
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            (self.end)(key);
        }
    }
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)
    }
}

/// What a call is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A tool, wherever the troupe sends it.
    Tool,
    /// A tool, on this connection and no other.
    OnLease(Box<LeaseKey>),
    /// A lease of the server, or of one of the group, that the call's `tool` names.
    OpenLease,
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
    pub(crate) purpose: Purpose,
    /// The arguments, or what is wrong with them; told when the call is made.
    pub(crate) args: Result<Option<RawJson>, String>,
    pub(crate) priority: Priority,
    pub(crate) timeout: Option<Duration>,
    /// Its caller wants to hear what is told of it.
    pub(crate) streamed: bool,
    /// It is one of the calls that a call to several servers is.
    pub(crate) one_of_several: bool,
    pub(crate) idempotent: bool,
    pub(crate) hedged: bool,
    /// Behind one pointer, and none where nothing is said: so a call is small where it is moved.
    options: Option<Box<Options>>,
    /// The parent of its attempts' spans, where somebody listens.
    pub(crate) span: Option<SharedSpan>,
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
            purpose: Purpose::Tool,
            args: Ok(None),
            priority: Priority::default(),
            timeout: None,
            streamed: false,
            one_of_several: false,
            idempotent: false,
            hedged: false,
            options: None,
            span: None,
        }
    }

    /// What it says beside, and what is usual for the rest.
    pub(crate) fn options(&self) -> &Options {
        static USUAL: Options = Options::USUAL;
        self.options.as_deref().unwrap_or(&USUAL)
    }

    /// To say something beside.
    pub(crate) fn options_mut(&mut self) -> &mut Options {
        self.options.get_or_insert_with(|| Box::new(Options::USUAL))
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

    /// The arguments as a client of ours wrote them, known to be an object.
    #[cfg(feature = "gateway")]
    pub(crate) fn passing_on(mut self, arguments: RawJson) -> Self {
        self.args = Ok(Some(arguments));
        self
    }

    /// Only this server.
    pub fn server(mut self, server: impl Into<String>) -> Self {
        self.options_mut().selector.server = Some(server.into());
        self
    }

    /// Only servers of this group.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.options_mut().selector.group = Some(group.into());
        self
    }

    /// Only servers with this tag; several calls ask for several tags.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        let (tags, tag) = (&mut self.options_mut().selector.tags, tag.into());
        // In order and once, so that what asks for the same is the same.
        if let Err(place) = tags.binary_search(&tag) {
            tags.insert(place, tag);
        }
        self
    }

    /// How urgent it is; [`Priority::Normal`] unless said.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Prefers the server that answered this key first, for as long as it takes calls; then the next one that answers.
    pub fn affinity(mut self, key: impl Into<String>) -> Self {
        self.options_mut().affinity = Some(Affinity { key: key.into(), strict: false });
        self
    }

    /// Like [`affinity`](Self::affinity), but fails where the bound server takes no calls.
    pub fn strict_affinity(mut self, key: impl Into<String>) -> Self {
        self.options_mut().affinity = Some(Affinity { key: key.into(), strict: true });
        self
    }

    /// The deadline, from now to the answer, with queueing and retries: a year at most. Goes before every configured one.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout.min(TIMEOUT_MAX));
        self
    }

    /// Ends the call sooner where its server works on it and tells nothing of it for so long: progress and log messages
    /// of the call start this time anew, those of any attempt that is under way; time in a queue does not count. The
    /// deadline ([`timeout`](Self::timeout)) is never extended. A question that the server asks the host is no update of a
    /// call, and the time that its answer takes counts. Asks the server for progress; one that reports none has
    /// so long for its answer. Goes before the configured one (`callIdleTimeout`).
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.options_mut().idle_timeout = Some(timeout.min(TIMEOUT_MAX));
        self
    }

    /// Asks the server to log about this call from this level on, for [`Troupe::call_stream`](crate::Troupe::call_stream).
    /// A modern server logs nothing unasked. A legacy one has one level for a whole connection, which others use as well:
    /// it is not touched, and of what such a server logs the stream gets no messages below this level.
    pub fn log_level(mut self, level: LogLevel) -> Self {
        self.options_mut().log_level = Some(level);
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
        self.options_mut().identity = Some(identity.into());
        self
    }

    /// Neither takes a kept result nor waits for an equal call, and its own result is not kept.
    pub fn bypass_cache(mut self) -> Self {
        self.options_mut().cache = CacheUse::Bypass;
        self
    }

    /// Takes no kept result; its own is kept, where results of its tool are.
    pub fn refresh(mut self) -> Self {
        self.options_mut().cache = CacheUse::Refresh;
        self
    }

    /// Entries for the request's `_meta`: anything that serialises to a JSON object. The entries of W3C's trace context have
    /// setters of their own, such as [`traceparent`](Self::traceparent), which go before those that are given here. A
    /// `progressToken` among them is left out: progress is asked for by
    /// [`Troupe::call_stream`](crate::Troupe::call_stream) and [`idle_timeout`](Self::idle_timeout), under tokens of the
    /// troupe's own.
    pub fn meta(mut self, meta: impl Serialize) -> Self {
        self.options_mut().meta = object("_meta", RawJson::from_value(&meta));
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
        self.options_mut().input = Some(Input { responses, state });
        self
    }

    /// The span that the server's work belongs to, as W3C's `traceparent` says it: written into the request's `_meta`, so
    /// that the server can join the trace. One of another form is reported by the call, as
    /// [`InvalidTraceContext`](crate::CallErrorKind::InvalidTraceContext).
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.options_mut().trace.get_or_insert_default().set_traceparent(traceparent.into());
        self
    }

    /// What tracing systems note beside the [`traceparent`](Self::traceparent), as W3C's `tracestate` says it.
    pub fn tracestate(mut self, tracestate: impl Into<String>) -> Self {
        self.options_mut().trace.get_or_insert_default().set_tracestate(tracestate.into());
        self
    }

    /// What goes along with the trace, as W3C's `baggage` says it: the server reads it.
    pub fn baggage(mut self, baggage: impl Into<String>) -> Self {
        self.options_mut().trace.get_or_insert_default().set_baggage(baggage.into());
        self
    }

    /// Answers what the server asks on behalf of this call by a form, before the builder's handler
    /// ([`TroupeBuilder::on_elicitation`](crate::TroupeBuilder::on_elicitation)); see [`on_server_request`](Self::on_server_request)
    /// for what that means.
    pub fn on_elicitation<F>(mut self, handle: impl Fn(ServerRequest) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<ElicitResult, RpcError>> + Send + 'static,
    {
        self.handlers_mut().elicitation(handle);
        self
    }

    /// The same for a page that the user is to visit.
    pub fn on_url_elicitation<F>(
        mut self,
        handle: impl Fn(ServerRequest) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<ElicitResult, RpcError>> + Send + 'static,
    {
        self.handlers_mut().url_elicitation(handle);
        self
    }

    /// The same for a completion by the host's model.
    pub fn on_sampling<F, A>(mut self, handle: impl Fn(ServerRequest) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<A, RpcError>> + Send + 'static,
        A: Serialize + 'static,
    {
        self.handlers_mut().sampling(handle);
        self
    }

    /// The same for the folders that the server may look at.
    pub fn on_roots<F>(mut self, handle: impl Fn(ServerRequest) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Vec<Root>, RpcError>> + Send + 'static,
    {
        self.handlers_mut().roots(handle);
        self
    }

    /// Answers whatever the server asks on behalf of this call, before the builder's handlers: for hosts that serve several
    /// users, whose requests must not be mixed up. `handle` gives the result that the protocol wants for that kind.
    ///
    /// A modern server is told with the call what its handlers answer, unless [`capabilities`](Self::capabilities) says it. A legacy
    /// one was told when its connection was opened what the builder's handlers answer, and asks nothing else. Which call a
    /// request belongs to is not always certain, see [`ServerRequest::call`]: what is not goes to the builder's handlers alone.
    ///
    /// When the call ends, what its handlers still work on is dropped. At most 4 requests of one call are open at once. The
    /// result may hold a user's answer: it is neither kept by the cache nor shared with equal calls, and the call is not hedged.
    ///
    /// ```
    /// use mcp_troupe::question::ServerRequestKind;
    /// use mcp_troupe::{Call, RawJson, RpcError};
    ///
    /// let call = Call::tool("book").on_server_request(|request| async move {
    ///     match request.kind {
    ///         ServerRequestKind::Elicitation => Ok(RawJson::from_text(r#"{"action":"decline"}"#).expect("it is JSON")),
    ///         _ => Err(RpcError { code: RpcError::METHOD_NOT_FOUND, message: "not here".into(), data: None }),
    ///     }
    /// });
    /// # drop(call);
    /// ```
    pub fn on_server_request<F>(mut self, handle: impl Fn(ServerRequest) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<RawJson, RpcError>> + Send + 'static,
    {
        self.handlers_mut().every(handle);
        self
    }

    /// What the caller of this call can, a JSON object as `clientCapabilities` has it, such as `{"elicitation": {}}`: told to modern
    /// servers in place of what follows from the handlers. For hosts that pass on what their own client said. A result that
    /// asks for what nobody here answers comes back as it is, see [`Reply::input_required`].
    pub fn capabilities(mut self, capabilities: impl Serialize) -> Self {
        self.options_mut().capabilities = object("the capabilities", RawJson::from_value(&capabilities));
        self
    }

    /// The same call, under the public id that an earlier round of it had.
    pub(crate) fn named(mut self, request_id: RequestId) -> Self {
        self.options_mut().request_id = Some(request_id);
        self
    }

    /// The same call, as one of those that a call to several servers is.
    pub(crate) fn one_of_several(mut self) -> Self {
        self.one_of_several = true;
        self
    }

    fn handlers_mut(&mut self) -> &mut Handlers {
        Arc::make_mut(self.options_mut().handlers.get_or_insert_default())
    }

    /// Whether it is its caller's alone: another one's answer may be in its result, or another result be right for them.
    pub(crate) fn is_personal(&self) -> bool {
        let Options { handlers, capabilities, .. } = self.options();
        handlers.is_some() || !matches!(capabilities, Ok(None))
    }

    /// The call as it is made, where `handlers` answer for all calls: with everything that goes into its `_meta`.
    pub(crate) fn sealed(mut self, handlers: &Handlers) -> Self {
        if self.is_personal() {
            let Options { handlers: own, capabilities, .. } = self.options();
            let declared = match (capabilities, own) {
                (Ok(Some(capabilities)), _) => capabilities.as_str().into(),
                (_, Some(own)) => own.or(handlers).capabilities().into(),
                (_, None) => handlers.capabilities().into(),
            };
            let options = self.options_mut();
            options.declared = Some(declared);
            options.cache = CacheUse::Bypass;
            self.hedged = false;
        }
        let Options { trace, meta, .. } = self.options();
        if let (Some(trace), Ok(meta)) = (trace, meta)
            && trace.mistake().is_none()
        {
            let joined = trace.joined(meta.as_ref());
            self.options_mut().meta =
                joined.map(Some).map_err(|error| format!("_meta is no JSON object: {error}"));
        }
        self
    }

    /// What is wrong with the entries of its trace context.
    pub(crate) fn trace_mistake(&self) -> Option<InvalidTraceContext> {
        self.options().trace.as_ref()?.mistake()
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
        self.options().meta.as_ref().ok().and_then(Option::as_ref)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_are_no_object_are_told() {
        let told = Call::tool("t").args([1, 2]).args.unwrap_err();
        assert_eq!(told, "the arguments must be a JSON object, not [1,2]");
        assert!(Call::tool("t").raw_args("{oops").args.is_err());
        assert!(Call::tool("t").raw_args(" {\"a\":1}").args.is_ok());
    }

    #[test]
    fn a_call_with_a_user_of_its_own_is_neither_hedged_nor_kept() {
        let plain = Call::tool("t").hedged().sealed(&Handlers::default());
        assert!(
            plain.hedged && plain.options().cache == CacheUse::Usual && plain.options().declared.is_none()
        );
        for call in [
            Call::tool("t").on_elicitation(|_| async { Ok(ElicitResult::Cancel) }),
            Call::tool("t").capabilities(serde_json::json!({})),
        ] {
            let sealed = call.hedged().sealed(&Handlers::default());
            assert!(!sealed.hedged && sealed.options().cache == CacheUse::Bypass);
        }
    }
}
