//! A scripted server as an HTTP server: it keeps the rules of Streamable HTTP, and checks that its client does.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::brain::{self, Act};
use super::telling::Telling;
use super::{Guest, HttpManners, Observed, Plan, ScriptedEra};

type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// What of a message the headers must say too.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Value,
}

/// Serves one connection until its client leaves, or the plan cuts it.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    manners: HttpManners,
    mut plan: watch::Receiver<Plan>,
    guest: Guest,
) {
    let epoch = plan.borrow_and_update().epoch;
    let seen = plan.clone();
    let answer = service_fn(|request| {
        let (plan, guest) = (seen.clone(), &guest);
        async move { answer(request, manners, plan, guest).await }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
    tokio::select! { biased;
        // A plan that is gone cuts everything.
        _ = plan.wait_for(|plan| plan.epoch != epoch) => {}
        // How a connection ends is its client's business.
        _ = connection => {}
    }
}

/// Answers one request. An error drops the connection.
async fn answer(
    request: Request<Incoming>,
    manners: HttpManners,
    mut plan: watch::Receiver<Plan>,
    guest: &Guest,
) -> Result<Reply, io::Error> {
    // A plan that is gone ends the connection by itself.
    let _ = plan.wait_for(|plan| !plan.deaf).await;
    let (head, body) = request.into_parts();
    let refusal = plan.borrow().refusal.clone();
    if let Some(refusal) = refusal {
        let mut reply = text(StatusCode::from_u16(refusal.status).unwrap_or_default(), "text/html", "<html>");
        for (name, value) in &refusal.headers {
            if let (Ok(name), Ok(value)) =
                (http::HeaderName::try_from(name), http::HeaderValue::try_from(value))
            {
                reply.headers_mut().insert(name, value);
            }
        }
        return Ok(reply);
    }
    match head.method {
        Method::POST if manners.old => Ok(status(StatusCode::METHOD_NOT_ALLOWED)),
        Method::GET if manners.old => {
            let event = Bytes::from_static(b"event: endpoint\ndata: /messages?s=1\n\n");
            let held = stream::once(async move { Ok(Frame::data(event)) }).chain(stream::pending());
            Ok(events(held.boxed()))
        }
        Method::POST => {
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            if manners.serial {
                // What is seen ends with the server, as its connections do.
                let _ = guest.observed.subscribe().wait_for(|seen| seen.listening == 0).await;
            }
            post(&head.headers, body, manners, plan, guest).await
        }
        Method::GET => Ok(listen(&head.headers, manners, plan, guest)),
        Method::DELETE => Ok(end_session(&head.headers, guest)),
        _ => Ok(status(StatusCode::METHOD_NOT_ALLOWED)),
    }
}

async fn post(
    headers: &HeaderMap,
    body: Bytes,
    manners: HttpManners,
    plan: watch::Receiver<Plan>,
    guest: &Guest,
) -> Result<Reply, io::Error> {
    let Ok(said) = serde_json::from_slice::<Said>(&body) else {
        return Ok(rpc_error(StatusCode::BAD_REQUEST, -32700, "no JSON"));
    };
    let era = plan.borrow().era;
    let initializes = said.method.as_deref() == Some("initialize");
    let wrong = match era {
        ScriptedEra::Modern => wrong_modern(headers, &said, &plan),
        ScriptedEra::Legacy => wrong_legacy(headers, initializes),
    };
    if let Some(wrong) = wrong {
        guest.observed.send_modify(|observed| observed.wrong_headers.push(wrong.clone()));
        let code = if era == ScriptedEra::Modern { -32020 } else { -32600 };
        return Ok(rpc_error(StatusCode::BAD_REQUEST, code, &wrong));
    }
    let (mut session, mut home) = (None, None);
    if manners.sessions && era == ScriptedEra::Legacy {
        match (initializes, session_of(headers)) {
            (true, _) => session = Some(begin_session(&guest.observed)),
            (false, None) => {
                return Ok(rpc_error(StatusCode::BAD_REQUEST, -32000, "Bad Request: Server not initialized"));
            }
            (false, Some(id)) if !guest.observed.borrow().sessions.contains(&id) => {
                return Ok(rpc_error(StatusCode::NOT_FOUND, -32001, "Session not found"));
            }
            (false, Some(id)) => home = Some(id),
        }
    }
    // From before it is seen to be asked.
    let mut telling = Telling::new(&plan.borrow());
    let acts = brain::answer(&body, &plan, guest, home.as_deref());
    if let [Act::Listen { id, resources }] = acts.as_slice() {
        let acknowledged = telling.listen(id.clone(), resources.clone());
        return Ok(events(tell(plan, telling, vec![acknowledged])));
    }
    let Some(id) = said.id.filter(|_| said.method.is_some()) else {
        return Ok(status(StatusCode::ACCEPTED));
    };
    let watched = Watched { id: id.as_u64(), observed: guest.observed.clone(), done: false };
    let mut reply = respond(acts, manners, watched).await?;
    if let Some(session) = session.and_then(|session| session.parse().ok()) {
        reply.headers_mut().insert("mcp-session-id", session);
    }
    Ok(reply)
}

/// What about the headers of a modern request does not say what its body says.
fn wrong_modern(headers: &HeaderMap, said: &Said, plan: &watch::Receiver<Plan>) -> Option<String> {
    let told = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).and_then(plain);
    let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !accepts.contains("application/json") || !accepts.contains("text/event-stream") {
        return Some(format!("accept: {accepts}"));
    }
    let method = said.method.as_deref()?;
    if method == "initialize" {
        // A modern server answers it as any method that it does not know.
        return None;
    }
    let version = &said.params["_meta"]["io.modelcontextprotocol/protocolVersion"];
    let mut expected = vec![
        ("mcp-protocol-version", version.as_str().map(str::to_owned)),
        ("mcp-method", Some(method.to_owned())),
    ];
    if method == "resources/read" {
        expected.push(("mcp-name", said.params["uri"].as_str().map(str::to_owned)));
    }
    if method == "prompts/get" {
        expected.push(("mcp-name", said.params["name"].as_str().map(str::to_owned)));
    }
    if method == "tools/call" {
        let name = said.params["name"].as_str().unwrap_or_default();
        expected.push(("mcp-name", Some(name.to_owned())));
        for (header, argument) in plan.borrow().mirrored.get(name).into_iter().flatten() {
            let value = match &said.params["arguments"][argument] {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            };
            if told(&format!("mcp-param-{header}")) != value {
                return Some(format!("mcp-param-{header} is not {value:?}"));
            }
        }
    }
    expected.into_iter().find_map(|(name, value)| {
        (told(name) != value).then(|| format!("{name} is {:?} and not {value:?}", told(name)))
    })
}

/// What a value says that is written in base64 where it is no plain text.
fn plain(value: &str) -> Option<String> {
    match value.strip_prefix("=?base64?").and_then(|value| value.strip_suffix("?=")) {
        Some(encoded) => STANDARD.decode(encoded).ok().and_then(|text| String::from_utf8(text).ok()),
        None => Some(value.to_owned()),
    }
}

fn wrong_legacy(headers: &HeaderMap, initializes: bool) -> Option<String> {
    let version = headers.get("mcp-protocol-version").and_then(|version| version.to_str().ok());
    let right = match version {
        None => initializes,
        // The second is the probe of a client that speaks both eras.
        Some(version) => !initializes && matches!(version, "2025-11-25" | "2026-07-28"),
    };
    (!right).then(|| format!("mcp-protocol-version is {version:?}"))
}

fn session_of(headers: &HeaderMap) -> Option<String> {
    headers.get("mcp-session-id").and_then(|id| id.to_str().ok()).map(str::to_owned)
}

fn begin_session(observed: &watch::Sender<Observed>) -> String {
    let mut id = String::new();
    observed.send_modify(|observed| {
        observed.sessions_begun += 1;
        id = format!("session-{}", observed.sessions_begun);
        observed.sessions.insert(id.clone());
    });
    id
}

fn end_session(headers: &HeaderMap, guest: &Guest) -> Reply {
    let Some(id) = session_of(headers) else { return status(StatusCode::METHOD_NOT_ALLOWED) };
    let mut known = false;
    guest.observed.send_modify(|observed| {
        known = observed.sessions.remove(&id);
        observed.kept.remove(&id);
        observed.sessions_ended += u64::from(known);
    });
    status(if known { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND })
}

/// The stream of what the server says unasked.
fn listen(
    headers: &HeaderMap,
    manners: HttpManners,
    mut plan: watch::Receiver<Plan>,
    guest: &Guest,
) -> Reply {
    if plan.borrow().era == ScriptedEra::Modern || !manners.listens {
        let mut reply = status(StatusCode::METHOD_NOT_ALLOWED);
        reply.headers_mut().insert(ALLOW, http::HeaderValue::from_static("POST"));
        return reply;
    }
    if manners.sessions
        && !session_of(headers).is_some_and(|id| guest.observed.borrow().sessions.contains(&id))
    {
        return status(StatusCode::NOT_FOUND);
    }
    let open = Open::new(guest.observed.clone());
    let telling = Telling::everything(&plan.borrow_and_update());
    let told = tell(plan, telling, Vec::new()).map(move |frame| {
        // It goes with the stream.
        let _ = &open;
        frame
    });
    events(told.boxed())
}

/// Counts a stream for as long as it is open.
struct Open(watch::Sender<Observed>);

impl Open {
    fn new(observed: watch::Sender<Observed>) -> Self {
        observed.send_modify(|observed| {
            observed.listeners += 1;
            observed.listening += 1;
        });
        Self(observed)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|observed| observed.listening = observed.listening.saturating_sub(1));
    }
}

/// The events of what it tells unasked.
fn tell(
    plan: watch::Receiver<Plan>,
    telling: Telling,
    first: Vec<String>,
) -> BoxStream<'static, Result<Frame<Bytes>, io::Error>> {
    let state = (plan, telling, VecDeque::from(first));
    let told = stream::unfold(state, |(mut plan, mut telling, mut waiting)| async move {
        loop {
            if let Some(message) = waiting.pop_front() {
                return Some((Ok(Frame::data(event(&message))), (plan, telling, waiting)));
            }
            plan.changed().await.ok()?;
            waiting.extend(telling.news(&plan.borrow_and_update()));
        }
    });
    told.boxed()
}

/// Notes that a client went away before it had its answer.
struct Watched {
    id: Option<u64>,
    observed: watch::Sender<Observed>,
    done: bool,
}

impl Watched {
    fn done(&mut self) {
        self.done = true;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.done {
            self.observed.send_modify(|observed| observed.cancelled.extend(self.id));
        }
    }
}

async fn respond(acts: Vec<Act>, manners: HttpManners, mut watched: Watched) -> Result<Reply, io::Error> {
    if acts.is_empty() {
        // Silence.
        return std::future::pending().await;
    }
    if acts.iter().any(|act| matches!(act, Act::Cut)) {
        watched.done();
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    if let [Act::Status(status, said)] = acts.as_slice() {
        watched.done();
        return Ok(text(StatusCode::from_u16(*status).unwrap_or_default(), "application/json", said));
    }
    let single = match acts.as_slice() {
        [Act::Say(_) | Act::Later(_)] => !manners.events,
        _ => false,
    };
    if single {
        let said = match acts.into_iter().next() {
            Some(Act::Say(said)) => Some(said),
            Some(Act::Later(later)) => later.await.into_iter().next(),
            Some(
                Act::Subscribe { .. }
                | Act::Listen { .. }
                | Act::Cut
                | Act::Break(_)
                | Act::InTurn(_)
                | Act::Status(..),
            )
            | None => None,
        };
        let Some(said) = said else { return std::future::pending().await };
        watched.done();
        return Ok(text(StatusCode::OK, "application/json", &said));
    }
    let told = stream::unfold((brain::in_turn(acts), watched), |(mut acts, mut watched)| async move {
        match acts.next().await {
            Some(Act::Say(message)) => Some((Ok(Frame::data(event(&message))), (acts, watched))),
            Some(Act::Break(message)) => {
                let half = event(&message).slice(..message.len() / 2);
                Some((Ok(Frame::data(half)), (brain::in_turn(vec![Act::Cut]), watched)))
            }
            Some(Act::Cut) => {
                watched.done();
                Some((Err(io::ErrorKind::BrokenPipe.into()), (acts, watched)))
            }
            // Acts that come in turn hold no others.
            Some(
                Act::Later(_) | Act::InTurn(_) | Act::Subscribe { .. } | Act::Listen { .. } | Act::Status(..),
            )
            | None => {
                watched.done();
                None
            }
        }
    });
    Ok(events(told.boxed()))
}

fn event(message: &str) -> Bytes {
    format!("event: message\ndata: {message}\n\n").into()
}

fn events(frames: BoxStream<'static, Result<Frame<Bytes>, io::Error>>) -> Reply {
    let mut reply = Response::new(UnsyncBoxBody::new(StreamBody::new(frames)));
    reply.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("text/event-stream"));
    reply
}

fn text(status: StatusCode, content: &'static str, body: &str) -> Reply {
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes())).map_err(|never: Infallible| match never {});
    let mut reply = Response::new(UnsyncBoxBody::new(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content));
    reply
}

fn status(status: StatusCode) -> Reply {
    let mut reply = text(status, "text/plain", "");
    reply.headers_mut().remove(CONTENT_TYPE);
    reply
}

/// An error that names no request, as many servers send it.
fn rpc_error(status: StatusCode, code: i64, message: &str) -> Reply {
    let error = json!({"jsonrpc": "2.0", "id": null, "error": {"code": code, "message": message}});
    text(status, "application/json", &error.to_string())
}
