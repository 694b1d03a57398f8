//! What servers ask back, and who answers for the host.
//!
//! A server may ask for input of the user's (elicitation), for a completion by the host's model (sampling) and for the
//! folders it may look at (roots). Legacy servers ask by requests of their own while they work on a call; modern ones end the
//! call with a result that asks, and it is made once more with the answers. Both lead to the same handlers: those that the host
//! gave to the call, and else those that it gave to its builder. What has no handler is not declared to servers.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::RpcError;
use crate::id::{RequestId, ServerId};
use crate::json::RawJson;

/// What a server wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ServerRequestKind {
    /// Input of the user's, by a form.
    Elicitation,
    /// That the user visits a page, for what must not pass through this client.
    UrlElicitation,
    /// A completion by the host's model.
    Sampling,
    /// The folders that it may look at.
    Roots,
}

impl ServerRequestKind {
    /// What a request with this method and these params asks for; none if it is no question.
    pub(crate) fn of(method: &str, params: &RawJson) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Mode<'a> {
            #[serde(borrow, default)]
            mode: Option<std::borrow::Cow<'a, str>>,
        }
        match method {
            "elicitation/create" => {
                let mode = params.parse_borrowed::<Mode<'_>>().ok().and_then(|params| params.mode);
                match mode.as_deref() {
                    None | Some("form") => Some(Self::Elicitation),
                    Some("url") => Some(Self::UrlElicitation),
                    Some(_) => None,
                }
            }
            "sampling/createMessage" => Some(Self::Sampling),
            "roots/list" => Some(Self::Roots),
            _ => None,
        }
    }
}

/// One question of a server's. All of it but `server` is the server's word: untrusted.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerRequest {
    /// Who asks, as the operator names it.
    pub server: ServerId,
    /// What for.
    pub kind: ServerRequestKind,
    /// The params of its request, unread; an empty object where it sent none.
    pub params: RawJson,
    /// The call on whose behalf it asks, as its reply or error names it; none where that is not certain.
    ///
    /// It is certain where a result asks back, where the request comes on the HTTP stream of the call's answer, and on a leased
    /// connection while one call is open on it and none before it was given up. Other requests over stdio, WebSocket, and the
    /// stream of what an HTTP server tells unasked name no call: they go to the builder's handlers. What a server asks on the
    /// stream of a call that is over is refused.
    pub call: Option<RequestId>,
}

impl ServerRequest {
    pub(crate) fn new(server: ServerId, kind: ServerRequestKind, params: RawJson) -> Self {
        Self { server, kind, params, call: None }
    }

    /// What the user is to be shown, where it is an elicitation with a message.
    pub fn message(&self) -> Option<String> {
        self.member("message")?.as_str().map(str::to_owned)
    }

    /// The page that the user is to visit, where it is such an elicitation. It is never fetched here.
    pub fn url(&self) -> Option<String> {
        self.member("url")?.as_str().map(str::to_owned)
    }

    /// The values that the requested form names as defaults, by field: what the user begins with, and the answer of a host
    /// that accepts without asking.
    pub fn defaults(&self) -> Map<String, Value> {
        let schema = self.member("requestedSchema");
        let fields = schema.as_ref().and_then(|schema| schema.get("properties")?.as_object());
        let defaults = fields
            .into_iter()
            .flatten()
            .filter_map(|(field, described)| Some((field.clone(), described.get("default")?.clone())));
        defaults.collect()
    }

    fn member(&self, name: &str) -> Option<Value> {
        self.params.parse::<Map<String, Value>>().ok()?.remove(name)
    }
}

/// What became of an elicitation.
#[derive(Debug, Clone, PartialEq)]
pub enum ElicitResult {
    /// The user agreed, with the form's values; with none where there was no form.
    Accept(Option<Map<String, Value>>),
    /// The user said no.
    Decline,
    /// The user turned away without an answer.
    Cancel,
}

impl ElicitResult {
    fn answer(self) -> Result<RawJson, RpcError> {
        #[derive(Serialize)]
        struct Answer {
            action: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            content: Option<Map<String, Value>>,
        }
        let (action, content) = match self {
            Self::Accept(content) => ("accept", content),
            Self::Decline => ("decline", None),
            Self::Cancel => ("cancel", None),
        };
        told(&Answer { action, content })
    }
}

/// A folder that servers may look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Root {
    /// Its address, `file://…`.
    pub uri: String,
    /// Its name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

fn told(answer: &impl Serialize) -> Result<RawJson, RpcError> {
    RawJson::from_value(answer).map_err(|error| RpcError {
        code: RpcError::INTERNAL_ERROR,
        message: format!("the host's answer is no JSON: {error}"),
        data: None,
    })
}

/// Answers one kind of questions.
type Handler = Arc<dyn Fn(ServerRequest) -> BoxFuture<'static, Result<RawJson, RpcError>> + Send + Sync>;

/// A call on whose behalf a server may ask.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    /// Its public id.
    pub call: RequestId,
    /// Who answers for it, before those who answer for all calls.
    pub handlers: Option<Arc<Handlers>>,
}

/// Who answers the servers' questions.
#[derive(Clone, Default)]
pub(crate) struct Handlers {
    elicitation: Option<Handler>,
    url_elicitation: Option<Handler>,
    sampling: Option<Handler>,
    roots: Option<Handler>,
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.capabilities())
    }
}

impl Handlers {
    /// Forms are answered by `handle`.
    pub(crate) fn elicitation<F>(&mut self, handle: impl Fn(ServerRequest) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<ElicitResult, RpcError>> + Send + 'static,
    {
        self.elicitation = Some(elicited(handle));
    }

    /// Pages to visit are answered by `handle`.
    pub(crate) fn url_elicitation<F>(&mut self, handle: impl Fn(ServerRequest) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<ElicitResult, RpcError>> + Send + 'static,
    {
        self.url_elicitation = Some(elicited(handle));
    }

    /// Completions are answered by `handle`.
    pub(crate) fn sampling<F, A>(&mut self, handle: impl Fn(ServerRequest) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<A, RpcError>> + Send + 'static,
        A: Serialize + 'static,
    {
        self.sampling = Some(Arc::new(move |question| {
            let answer = handle(question);
            Box::pin(async move { told(&answer.await?) })
        }));
    }

    /// Folders are named by `handle`.
    pub(crate) fn roots<F>(&mut self, handle: impl Fn(ServerRequest) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<Vec<Root>, RpcError>> + Send + 'static,
    {
        #[derive(Serialize)]
        struct Roots {
            roots: Vec<Root>,
        }
        self.roots = Some(Arc::new(move |question| {
            let answer = handle(question);
            Box::pin(async move { told(&Roots { roots: answer.await? }) })
        }));
    }

    /// Questions of these kinds are answered by `handle`, with the result that the protocol wants for each.
    #[cfg(feature = "gateway")]
    pub(crate) fn some<F>(
        &mut self,
        kinds: &[ServerRequestKind],
        handle: impl Fn(ServerRequest) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Result<RawJson, RpcError>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |question| Box::pin(handle(question)));
        for kind in kinds {
            let place = match kind {
                ServerRequestKind::Elicitation => &mut self.elicitation,
                ServerRequestKind::UrlElicitation => &mut self.url_elicitation,
                ServerRequestKind::Sampling => &mut self.sampling,
                ServerRequestKind::Roots => &mut self.roots,
            };
            *place = Some(handler.clone());
        }
    }

    /// Questions of every kind are answered by `handle`, with the result that the protocol wants for that kind.
    pub(crate) fn every<F>(&mut self, handle: impl Fn(ServerRequest) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<RawJson, RpcError>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |question| Box::pin(handle(question)));
        *self = Self {
            elicitation: Some(handler.clone()),
            url_elicitation: Some(handler.clone()),
            sampling: Some(handler.clone()),
            roots: Some(handler),
        };
    }

    /// Those of either, these first.
    pub(crate) fn or(&self, other: &Self) -> Self {
        let either =
            |one: &Option<Handler>, other: &Option<Handler>| one.as_ref().or(other.as_ref()).cloned();
        Self {
            elicitation: either(&self.elicitation, &other.elicitation),
            url_elicitation: either(&self.url_elicitation, &other.url_elicitation),
            sampling: either(&self.sampling, &other.sampling),
            roots: either(&self.roots, &other.roots),
        }
    }

    /// Nobody answers anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.elicitation.is_none()
            && self.url_elicitation.is_none()
            && self.sampling.is_none()
            && self.roots.is_none()
    }

    /// Who answers questions of a kind.
    pub(crate) fn of(&self, kind: ServerRequestKind) -> Option<&Handler> {
        match kind {
            ServerRequestKind::Elicitation => self.elicitation.as_ref(),
            ServerRequestKind::UrlElicitation => self.url_elicitation.as_ref(),
            ServerRequestKind::Sampling => self.sampling.as_ref(),
            ServerRequestKind::Roots => self.roots.as_ref(),
        }
    }

    /// What is declared to servers: the JSON object of this client's capabilities.
    pub(crate) fn capabilities(&self) -> String {
        let mut declared = Vec::new();
        let modes: Vec<&str> = [
            self.elicitation.as_ref().map(|_| r#""form":{}"#),
            self.url_elicitation.as_ref().map(|_| r#""url":{}"#),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !modes.is_empty() {
            declared.push(format!(r#""elicitation":{{{}}}"#, modes.join(",")));
        }
        declared.extend(self.sampling.as_ref().map(|_| r#""sampling":{}"#.to_owned()));
        declared.extend(self.roots.as_ref().map(|_| r#""roots":{}"#.to_owned()));
        format!("{{{}}}", declared.join(","))
    }
}

fn elicited<F>(handle: impl Fn(ServerRequest) -> F + Send + Sync + 'static) -> Handler
where
    F: Future<Output = Result<ElicitResult, RpcError>> + Send + 'static,
{
    Arc::new(move |question| {
        let answer = handle(question);
        Box::pin(async move { answer.await?.answer() })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raw(value: &Value) -> RawJson {
        RawJson::from_value(value).unwrap()
    }

    #[test]
    fn what_is_declared_is_what_is_handled() {
        let mut handlers = Handlers::default();
        assert!(handlers.is_empty());
        assert_eq!(handlers.capabilities(), "{}");
        handlers.url_elicitation(|_| async { Ok(ElicitResult::Decline) });
        assert_eq!(handlers.capabilities(), r#"{"elicitation":{"url":{}}}"#);
        handlers.elicitation(|_| async { Ok(ElicitResult::Decline) });
        handlers.sampling(|_| async { Ok(json!({})) });
        handlers.roots(|_| async { Ok(Vec::new()) });
        assert_eq!(
            handlers.capabilities(),
            r#"{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{}}"#
        );
        assert!(!handlers.is_empty());
    }

    #[test]
    fn a_form_is_told_from_a_page_and_both_from_what_is_unknown() {
        let kind = |method: &str, params: Value| ServerRequestKind::of(method, &raw(&params));
        assert_eq!(kind("elicitation/create", json!({})), Some(ServerRequestKind::Elicitation));
        assert_eq!(kind("elicitation/create", json!({"mode": "form"})), Some(ServerRequestKind::Elicitation));
        assert_eq!(
            kind("elicitation/create", json!({"mode": "url"})),
            Some(ServerRequestKind::UrlElicitation)
        );
        assert_eq!(kind("elicitation/create", json!({"mode": "voice"})), None);
        assert_eq!(kind("tools/list", json!({})), None);
    }

    #[test]
    fn the_defaults_of_a_form_are_read_field_by_field() {
        let params = json!({"message": "Who?", "requestedSchema": {"type": "object", "properties": {
            "name": {"type": "string", "default": "Ada"}, "age": {"type": "integer"}, "sure": {"default": false}}}});
        let server = ServerId::new("s").unwrap();
        let question = ServerRequest::new(server.clone(), ServerRequestKind::Elicitation, raw(&params));
        assert_eq!(Value::from(question.defaults()), json!({"name": "Ada", "sure": false}));
        assert_eq!(question.message().as_deref(), Some("Who?"));
        let odd =
            ServerRequest::new(server, ServerRequestKind::Elicitation, raw(&json!({"requestedSchema": [1]})));
        assert!(odd.defaults().is_empty() && odd.message().is_none() && odd.url().is_none());
    }

    #[test]
    fn an_answer_has_the_shape_that_the_protocol_wants() {
        let content = json!({"a": 1}).as_object().cloned();
        let text = |answer: ElicitResult| answer.answer().unwrap().as_str().to_owned();
        assert_eq!(text(ElicitResult::Accept(content)), r#"{"action":"accept","content":{"a":1}}"#);
        assert_eq!(text(ElicitResult::Accept(None)), r#"{"action":"accept"}"#);
        assert_eq!(text(ElicitResult::Cancel), r#"{"action":"cancel"}"#);
    }
}
