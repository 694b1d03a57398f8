//! One request of the client and all that comes of it: an answer, a stream of messages, a refusal, silence.
//!
//! ```text
//! ask ──▶ judge the head ──▶ JSON: one answer
//!  ▲            │        └─▶ events: message after message ──ends early──▶ pause ─┐
//!  │            └─▶ no answer: what that means                                    │
//!  └──────────────────────────── the stream again, from its last event ◀──────────┘
//! ```
//!
//! An exchange that is called off is dropped at once, and its connection with it. One whose answer is in reads its body to
//! the end, for a moment, so that the connection can be used again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::header::{ACCEPT, ACCEPT_ENCODING};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;
use tokio::time::{Instant, sleep, timeout};

use super::HttpOptions;
use super::body::{Collected, collect};
use super::client::{Body, Client, Reply, Unanswered};
use super::head;
use super::headers::{EVENTS, IDENTITY, LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID};
use super::refused::{REFUSAL_BYTES_MAX, Said};
use super::sse::{Event, Events, Kind, TooLarge};
use crate::config::BackoffSettings;
use crate::error::Effect;
use crate::net::root_of;
use crate::policy::backoff;
use crate::refusal::{Refusal, RefusalKind};
use crate::transport::{Failure, LinkError};

/// The shortest id of a session that is kept secret.
const SESSION_BYTES_MIN: usize = 8;

/// How long a server may take to take a notice. Only the one that ends the handshake is of consequence.
const NOTICE_MAX: Duration = Duration::from_secs(10);

/// Bytes of a notice for which it may take a second more: the host's answers may be large, and lines slow.
const NOTICE_BYTES_PER_SECOND: u64 = 64 << 10;

/// How long the end of a body is waited for after its answer: in general it follows at once.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// How long a stream is waited for whose server names no time.
const RESUME_AFTER: Duration = Duration::from_secs(1);

/// The shortest time between two attempts to go on with a stream.
const RETRY_MIN: Duration = Duration::from_millis(50);

/// The longest time that a server may ask to wait: what waits longer has no use for the stream.
const RETRY_MAX: Duration = Duration::from_secs(3600);

/// Attempts in a row to go on with the stream of a request that bring no event.
const RESUMES_MAX: u32 = 8;

/// The pause before the stream of a request is asked for again grows by this much for each time in a row that brought no
/// message: a server that lets its clients ask again and again is asked some times at its own pace, then more seldom.
const RESUME_FACTOR: f64 = 1.3;

/// As far as that; further only where the server asks for it.
const RESUME_PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long after a doubt was believed no session is doubted that began later: a server that has lost its sessions knows the new ones.
const DOUBT_PAUSE: Duration = Duration::from_secs(60);

/// What all exchanges of a server share.
pub(super) struct Target {
    pub uri: Uri,
    /// The operator's headers, and who is asking.
    pub headers: HeaderMap,
    pub message_bytes_max: usize,
    /// Whether a stream of what the server says unasked is asked for. A hint that links share: one that is lost is learned anew.
    streams: AtomicBool,
    began: Instant,
    /// When a doubt of a session was believed last, in milliseconds since it began; 0 if none was. A hint as well.
    doubted: AtomicU64,
}

impl Target {
    pub(super) fn new(uri: Uri, headers: HeaderMap, options: &HttpOptions) -> Self {
        let streams = AtomicBool::new(options.stream);
        let (began, doubted) = (Instant::now(), AtomicU64::new(0));
        Self { uri, headers, message_bytes_max: options.message_bytes_max, streams, began, doubted }
    }

    /// Whether a stream of what the server says unasked is asked for.
    pub(super) fn streams(&self) -> bool {
        self.streams.load(Ordering::Relaxed)
    }

    /// Whether a doubt of a session that is as old as this is believed, now that there is one. A server that lost one session lost
    /// all that began before it. Of those that began later a doubt is believed after a pause alone: a tool may speak of sessions
    /// that are no business of ours, again and again, and others call the same server.
    pub(super) fn believes_doubt(&self, session_since: Instant) -> bool {
        let millis = |at: Instant| {
            let since = at.saturating_duration_since(self.began);
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
        };
        let (last, now) = (self.doubted.load(Ordering::Relaxed), millis(Instant::now()));
        if millis(session_since) <= last {
            return true;
        }
        let rested = last == 0 || now >= last.saturating_add(DOUBT_PAUSE.as_secs() * 1_000);
        // Of several doubts at once the first one counts.
        rested && self.doubted.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// An open stream was seen to hold up all requests: it is asked for no more.
    pub(super) fn streams_no_more(&self) {
        self.streams.store(false, Ordering::Relaxed);
    }
}

/// What a link has agreed on by the time that a request is made.
#[derive(Clone, Default)]
pub(super) struct SessionContext {
    pub version: Option<HeaderValue>,
    pub session: Option<HeaderValue>,
    /// Streams that end early can be asked for again: the legacy era has that.
    pub resumes: bool,
    /// A notice tells that the handshake is over, which may be told twice.
    pub welcomes: bool,
}

/// What an exchange is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExchangeKind {
    /// A request with this id. What only asks is harmless: it may be made twice.
    Request { id: u64, initialize: bool, harmless: bool },
    /// A notification, or an answer to the server.
    Notice,
    /// The stream of what the server says unasked.
    Listen,
    /// A question whether the server answers requests while that is open, asked at this opening; what it says does not matter.
    Check { opening: u32 },
}

/// What an exchange brings.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ExchangeEvent {
    /// A message of a stream.
    Message(Bytes),
    /// All that the server has to say to a request.
    Answer(Bytes),
    /// The same, with the status that says that the request is not as it should be.
    Refused(Bytes),
    /// A notice was taken; or the wish for a stream, of which the server has none.
    Taken,
    /// The stream of a request was ended without the answer, which the server will give later.
    PutOff,
    /// The server began a session.
    Session(HeaderValue),
    /// The server seems not to know the session any more. What was asked has its answer.
    Doubted(LinkError),
    /// It ended without an answer.
    Failed(Failure),
    /// It was not sent, or by the server's word not carried out, and nothing else will be: the link is over.
    Over(LinkError),
}

/// An answer was received by other means, or there is no hurry any more: the end of the body may be waited for.
pub(super) struct Answered;

/// One request and its answer.
pub(super) struct Exchange {
    pub client: Client,
    pub site: Arc<Target>,
    pub session_context: SessionContext,
    pub kind: ExchangeKind,
}

/// An exchange on its way.
struct Running {
    exchange: Exchange,
    stage: Stage,
    said: VecDeque<ExchangeEvent>,
    /// Where the stream can be gone on with.
    last_id: Option<HeaderValue>,
    retry: Option<Duration>,
    /// Attempts since the last event.
    attempts: u32,
    /// Attempts since the last message.
    barren: u32,
    /// The server has had such a stream.
    streamed: bool,
    /// The stream did not end but broke, as it does when its server dies.
    cut: bool,
}

enum Stage {
    Ask(Box<Request<Body>>),
    Hear { body: Incoming, events: Box<Events> },
    Pause(Duration),
    Done,
}

impl Exchange {
    /// Begins. It is called off when the other end of `release`, if there is one, is dropped.
    pub(super) fn run(
        self,
        request: Request<Body>,
        release: Option<oneshot::Receiver<Answered>>,
    ) -> BoxStream<'static, (ExchangeKind, ExchangeEvent)> {
        let running = Running {
            exchange: self,
            stage: Stage::Ask(Box::new(request)),
            said: VecDeque::new(),
            last_id: None,
            retry: None,
            attempts: 0,
            barren: 0,
            streamed: false,
            cut: false,
        };
        stream::unfold((running, release), |(running, release)| running.next(release)).boxed()
    }

    /// Asks for the stream, from `last_id` on.
    pub(super) fn stream_request(&self, last_id: Option<&HeaderValue>) -> Request<Body> {
        let mut request = self.bare(Method::GET);
        request.headers_mut().insert(ACCEPT, EVENTS);
        if let Some(id) = last_id {
            request.headers_mut().insert(LAST_EVENT_ID, id.clone());
        }
        request
    }

    /// A request without a body, with what every request of the link carries.
    pub(super) fn bare(&self, method: Method) -> Request<Body> {
        let mut request = Request::new(Body::default());
        *request.method_mut() = method;
        *request.uri_mut() = self.site.uri.clone();
        let headers = request.headers_mut();
        headers.clone_from(&self.site.headers);
        // Without a word of it some servers take every encoding for welcome.
        headers.insert(ACCEPT_ENCODING, IDENTITY);
        if let Some(version) = &self.session_context.version {
            headers.insert(PROTOCOL_VERSION, version.clone());
        }
        if let Some(session) = &self.session_context.session {
            headers.insert(SESSION_ID, session.clone());
        }
        request
    }
}

/// How long a server may take to take a notice of so many bytes.
fn notice_max(bytes: u64) -> Duration {
    NOTICE_MAX.saturating_add(Duration::from_secs(bytes / NOTICE_BYTES_PER_SECOND))
}

type Next = ((ExchangeKind, ExchangeEvent), (Running, Option<oneshot::Receiver<Answered>>));

/// Waits until an exchange is called off, or its answer is in.
async fn released(release: &mut Option<oneshot::Receiver<Answered>>) -> Result<Answered, RecvError> {
    match release {
        Some(release) => release.await,
        None => std::future::pending().await,
    }
}

impl Running {
    /// The next thing that is heard.
    async fn next(mut self, mut release: Option<oneshot::Receiver<Answered>>) -> Option<Next> {
        loop {
            if let Some(heard) = self.said.pop_front() {
                return Some(((self.exchange.kind, heard), (self, release)));
            }
            if matches!(self.stage, Stage::Done) {
                return None;
            }
            tokio::select! { biased;
                released = released(&mut release) => {
                    if let Ok(Answered) = released {
                        self.drain().await;
                    }
                    return None;
                }
                () = self.advance() => {}
            }
            // A server that always has something to say must not keep the task to itself.
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Does the next step. It may be dropped half-way.
    async fn advance(&mut self) {
        match &mut self.stage {
            Stage::Done => {}
            Stage::Pause(delay) => {
                sleep(*delay).await;
                let request = self.exchange.stream_request(self.last_id.as_ref());
                self.stage = Stage::Ask(Box::new(request));
            }
            Stage::Ask(request) => {
                let request = std::mem::take(&mut **request);
                let bytes = request.body().size_hint().lower();
                let again = match self.exchange.kind {
                    ExchangeKind::Request { harmless, .. } => harmless,
                    ExchangeKind::Notice => self.exchange.session_context.welcomes,
                    ExchangeKind::Listen | ExchangeKind::Check { .. } => true,
                };
                let harmless = again || self.resumes();
                let asked = self.exchange.client.request(request, self.call(), harmless);
                let answer = match self.exchange.kind {
                    ExchangeKind::Notice | ExchangeKind::Check { .. } => timeout(notice_max(bytes), asked)
                        .await
                        .unwrap_or_else(|_| Err(Unanswered::Broken("it was not taken in time".to_owned()))),
                    ExchangeKind::Request { .. } | ExchangeKind::Listen => asked.await,
                };
                self.stage = Stage::Done;
                match answer {
                    Ok(Reply::Open(answer)) => self.judge(answer).await,
                    Ok(Reply::Refused { head, said }) => self.refused(head.status, &head.headers, said).await,
                    // The request itself was sent. Where nobody listens any more, its stream is gone with the server: to ask
                    // again and again would keep the caller from an answer that is known.
                    Err(Unanswered::Unreachable(words)) if self.resumes() => {
                        self.fail(Failure::BrokenOff(words));
                    }
                    Err(Unanswered::Unreachable(words)) => {
                        self.say(ExchangeEvent::Over(LinkError::Unreachable(words)))
                    }
                    Err(Unanswered::Broken(words)) => self.broke_off(&words),
                }
            }
            Stage::Hear { body, events } => match events.next() {
                Ok(Some(Event { kind: Kind::Message, data })) => {
                    // An event without content only carries an id. For an answer that is a step on the way to it.
                    if !data.is_empty() || self.exchange.kind != ExchangeKind::Listen {
                        self.attempts = 0;
                    }
                    if !data.is_empty() {
                        self.barren = 0;
                        let doubted = self.doubts_session(&data);
                        self.say(ExchangeEvent::Message(data));
                        self.begin_anew_if(doubted);
                    }
                }
                Ok(Some(Event { kind: Kind::Endpoint | Kind::Other, .. })) => {}
                Ok(None) => match body.frame().await {
                    Some(Ok(frame)) => {
                        if let Some(piece) = frame.data_ref() {
                            events.feed(piece);
                        }
                    }
                    Some(Err(error)) => {
                        self.cut = true;
                        self.broke_off(&format!("the stream broke: {}", root_of(&error)));
                    }
                    None => self.broke_off("the stream ended without the answer"),
                },
                Err(TooLarge) => {
                    let limit = self.exchange.site.message_bytes_max;
                    self.fail(Failure::Invalid(format!(
                        "an event is over the limit of {limit} bytes (limits.messageBytesMax)"
                    )));
                }
            },
        }
    }

    /// Whether it goes on with the stream of a request that was sent before.
    fn resumes(&self) -> bool {
        self.last_id.is_some() && matches!(self.exchange.kind, ExchangeKind::Request { .. })
    }

    fn say(&mut self, heard: ExchangeEvent) {
        self.said.push_back(heard);
    }

    /// Ends without an answer.
    fn fail(&mut self, failure: Failure) {
        self.stage = Stage::Done;
        self.say(ExchangeEvent::Failed(failure));
    }

    /// Reads the head of an answer.
    async fn judge(&mut self, answer: Response<Incoming>) {
        let listens = matches!(self.exchange.kind, ExchangeKind::Listen);
        let (head, body) = answer.into_parts();
        if !head.status.is_success() {
            let refusal = head::refusal(head.status, &head.headers);
            let said = match refusal.kind {
                // Nothing is told of these but their status.
                RefusalKind::Unauthorized | RefusalKind::Overloaded
                    if matches!(self.exchange.kind, ExchangeKind::Listen | ExchangeKind::Check { .. }) =>
                {
                    Said::Nothing
                }
                _ => Said::read(&head.headers, body, self.asked()).await,
            };
            return self.refused(head.status, &head.headers, said).await;
        }
        if let ExchangeKind::Request { initialize: true, .. } = self.exchange.kind {
            match head::session(&head.headers) {
                Ok(session) => self.said.extend(session.map(ExchangeEvent::Session)),
                Err(words) => return self.fail(Failure::Invalid(words)),
            }
        }
        if matches!(self.exchange.kind, ExchangeKind::Notice | ExchangeKind::Check { .. }) {
            return self.say(ExchangeEvent::Taken);
        }
        if let Some(encoding) = head::encoding(&head.headers) {
            let words = format!("its content encoding {encoding:?} was not asked for");
            return self.fail(Failure::Invalid(words));
        }
        let content = head::content_type(&head.headers);
        match content.as_str() {
            "text/event-stream" => {
                let events = Box::new(Events::new(self.exchange.site.message_bytes_max));
                self.streamed = true;
                self.stage = Stage::Hear { body, events };
            }
            "application/json" if !listens && !self.resumes() => self.take_answer(&head.headers, body).await,
            _ if listens => self.say(ExchangeEvent::Taken),
            _ if head.status == StatusCode::ACCEPTED || head.status == StatusCode::NO_CONTENT => {
                let words =
                    format!("it took the request with HTTP status {} and no answer", head.status.as_u16());
                self.fail(Failure::Invalid(words));
            }
            "" => self.fail(Failure::Invalid("its answer has no content type".to_owned())),
            "text/html" => {
                let reason =
                    "its answer is a page for people (text/html): is the URL's path right? Often it is /mcp";
                self.fail(Failure::Invalid(reason.to_owned()));
            }
            other => self.fail(Failure::Invalid(format!("its answer has the content type {other:?}"))),
        }
    }

    async fn take_answer(&mut self, headers: &HeaderMap, body: Incoming) {
        let limit = self.exchange.site.message_bytes_max;
        match collect(headers, body, limit).await {
            Collected::Whole(answer) => {
                let doubted = self.doubts_session(&answer);
                self.say(ExchangeEvent::Answer(answer));
                self.begin_anew_if(doubted);
            }
            Collected::TooLarge => {
                self.fail(Failure::Invalid(format!(
                    "the answer is over the limit of {limit} bytes (limits.messageBytesMax)"
                )));
            }
            Collected::Broken(words) => {
                self.fail(Failure::BrokenOff(format!("the answer broke off: {words}")))
            }
        }
    }

    /// The request that is made, unless it began earlier and only its stream is gone on with. One that opens a link carries
    /// nothing out: there a status says more than a message with it.
    fn call(&self) -> Option<u64> {
        match self.exchange.kind {
            ExchangeKind::Request { id, initialize: false, .. } if !self.resumes() => Some(id),
            ExchangeKind::Request { .. }
            | ExchangeKind::Notice
            | ExchangeKind::Listen
            | ExchangeKind::Check { .. } => None,
        }
    }

    /// A text without the id of the session, nor of one that is `given` with it.
    fn without_session(&self, text: String, given: Option<&HeaderValue>) -> String {
        let own = self.exchange.session_context.session.as_ref();
        own.into_iter().chain(given).fold(text, without_session)
    }

    /// The request that this is, whatever for.
    fn asked(&self) -> Option<u64> {
        match self.exchange.kind {
            ExchangeKind::Request { id, .. } => Some(id),
            ExchangeKind::Notice | ExchangeKind::Listen | ExchangeKind::Check { .. } => None,
        }
    }

    /// The session, where doubts of it count: what a call is answered with. Lists are asked for by the link itself, and a server may
    /// have none of a kind.
    fn doubtful(&self) -> Option<&HeaderValue> {
        let is_call = matches!(self.exchange.kind, ExchangeKind::Request { harmless: false, .. });
        self.exchange.session_context.session.as_ref().filter(|_| is_call && self.call().is_some())
    }

    /// Whether an answer to a call says that the session is not known, and names no request.
    fn doubts_session(&self, answer: &Bytes) -> bool {
        self.doubtful().is_some_and(|session| Said::of_answer(answer, self.asked()).doubts_session(session))
    }

    /// Has the link take no more calls, after what was heard, so that the next one begins another session.
    fn begin_anew_if(&mut self, doubted: bool) {
        if doubted {
            let words = "the server says that it does not know it".to_owned();
            self.say(ExchangeEvent::Doubted(LinkError::SessionDoubted(words)));
        }
    }

    /// Says what a status means that is no success.
    async fn refused(&mut self, status: StatusCode, headers: &HeaderMap, said: Said) {
        let doubted = self.doubtful().is_some_and(|session| said.doubts_session(session));
        self.say_refused(status, headers, said).await;
        let ends = self.said.iter().any(|heard| matches!(heard, ExchangeEvent::Over(_)));
        self.begin_anew_if(doubted && !ends);
    }

    async fn say_refused(&mut self, status: StatusCode, headers: &HeaderMap, said: Said) {
        let given = head::session(headers).ok().flatten();
        let words = said.words(status).map(|words| self.without_session(words, given.as_ref()));
        let refusal = Refusal { words, ..head::refusal(status, headers) };
        let asked = self.asked();
        let said = match refusal.kind {
            // These say more than a message does, unless that names the call: who wrote it may have carried the call out.
            RefusalKind::Unauthorized | RefusalKind::Overloaded
                if !self.call().is_some_and(|call| said.may_answer(call)) =>
            {
                Said::Nothing
            }
            RefusalKind::Unauthorized
            | RefusalKind::Overloaded
            | RefusalKind::WrongAddress
            | RefusalKind::Redirected
            | RefusalKind::Rejected
            | RefusalKind::Failed => said,
        };
        // A server that never had the stream may have no such address; of its sessions that says nothing.
        let can_know = self.exchange.kind != ExchangeKind::Listen || self.streamed;
        let session = self.exchange.session_context.session.as_ref().filter(|_| can_know);
        if session.is_some_and(|session| said.knows_no_session(status, session, !self.resumes())) {
            return self.lost_session("the server does not know it any more");
        }
        match self.exchange.kind {
            ExchangeKind::Listen if refusal.kind == RefusalKind::Overloaded || status.is_server_error() => {
                return self.broke_off(&refusal.to_string());
            }
            // The server has no such stream.
            ExchangeKind::Listen => return self.say(ExchangeEvent::Taken),
            ExchangeKind::Request { .. } if self.resumes() => return self.broke_off(&refusal.to_string()),
            ExchangeKind::Notice | ExchangeKind::Request { .. } | ExchangeKind::Check { .. } => {}
        }
        let names_another = matches!(&said, Said::Answer { to: Some(to), .. } if Some(*to) != asked);
        if (said == Said::Unread || names_another)
            && self.call().is_some()
            && refusal.effect() != Effect::Unknown
        {
            // By its status the call was not carried out; by what may be its answer it was.
            if refusal.kind == RefusalKind::Overloaded && refusal.retry_after.is_some() {
                // Others are told when to come again all the same.
                return self.fail(Failure::Refused(Refusal { kind: RefusalKind::Failed, ..refusal }));
            }
            let words = match names_another {
                true => format!("{refusal}; its body names another request"),
                false => format!("{refusal}, with a body that may be the answer and cannot be read"),
            };
            return self.fail(Failure::Invalid(words));
        }
        if let (Said::Answer { frame, to, error }, Some(_)) = (said, asked) {
            let certain = match error {
                // It names the request: who wrote it has read it.
                _ if to == asked => true,
                Some(_) if names_another => false,
                // What a gateway says for a server that it lost does not tell what that server did.
                Some(error) => refusal.effect() != Effect::Unknown || !error.is_rejection(),
                None => false,
            };
            if certain {
                let refused = status == StatusCode::BAD_REQUEST;
                return self.say(if refused {
                    ExchangeEvent::Refused(frame)
                } else {
                    ExchangeEvent::Answer(frame)
                });
            }
        }
        if let ExchangeKind::Request { initialize: true, .. } = self.exchange.kind
            && matches!(status.as_u16(), 400 | 404 | 405)
            && self.is_old_transport().await
        {
            let words = "the server speaks the old HTTP+SSE transport of 2024-11-05, which is not supported";
            return self.fail(Failure::Invalid(words.to_owned()));
        }
        self.fail(Failure::Refused(refusal));
    }

    /// Whether the server is one of the old transport: its stream begins with the address for messages.
    async fn is_old_transport(&self) -> bool {
        let request = self.exchange.stream_request(None);
        let Ok(Reply::Open(answer)) = self.exchange.client.request(request, None, true).await else {
            return false;
        };
        let (head, mut body) = answer.into_parts();
        if !head.status.is_success() || head::content_type(&head.headers) != "text/event-stream" {
            return false;
        }
        let mut events = Events::new(REFUSAL_BYTES_MAX);
        loop {
            match events.next() {
                Ok(Some(event)) => return event.kind == Kind::Endpoint,
                Ok(None) => {}
                Err(TooLarge) => return false,
            }
            match body.frame().await {
                Some(Ok(frame)) => frame.data_ref().into_iter().for_each(|piece| events.feed(piece)),
                Some(Err(_)) | None => return false,
            }
        }
    }

    fn lost_session(&mut self, words: &str) {
        self.stage = Stage::Done;
        if self.resumes() {
            // The request itself was sent while the session was known.
            self.fail(Failure::BrokenOff(format!("the session was lost: {words}")));
        }
        self.say(ExchangeEvent::Over(LinkError::SessionLost(words.to_owned())));
    }

    /// The answer, or the stream, broke off or never began. What can be gone on with is asked for again.
    fn broke_off(&mut self, words: &str) {
        if let Stage::Hear { events, .. } = &self.stage {
            self.retry = events.retry().or(self.retry);
            // An id that was taken back is none any more.
            if let Some(id) = events.id() {
                let id = HeaderValue::from_maybe_shared(id.clone()).ok();
                self.last_id = id.filter(|id| !id.is_empty());
            }
        }
        let before = self.attempts;
        self.attempts = self.attempts.saturating_add(1);
        match self.exchange.kind {
            ExchangeKind::Listen => {
                let delay = backoff::delay(&listen_again(), before, &mut rand::rng());
                self.stage = Stage::Pause(self.retry.map_or(delay, |retry| retry.min(RETRY_MAX).max(delay)));
            }
            ExchangeKind::Request { .. }
                if self.exchange.session_context.resumes
                    && self.last_id.is_some()
                    && before < RESUMES_MAX =>
            {
                // Whether the server is still there is soon known, and its caller waits for that.
                let cut = std::mem::take(&mut self.cut);
                let usual = if cut { RETRY_MIN } else { RESUME_AFTER };
                if !cut {
                    self.say(ExchangeEvent::PutOff);
                }
                let asked = self.retry.unwrap_or(usual).clamp(RETRY_MIN, RETRY_MAX);
                self.stage = Stage::Pause(resume_after(asked, self.barren));
                self.barren = self.barren.saturating_add(1);
            }
            ExchangeKind::Request { .. } | ExchangeKind::Notice | ExchangeKind::Check { .. } => {
                self.fail(Failure::BrokenOff(words.to_owned()))
            }
        }
    }

    /// Reads what is left of the body, for a moment.
    async fn drain(self) {
        if let Stage::Hear { mut body, .. } = self.stage {
            let end = async { while let Some(Ok(_)) = body.frame().await {} };
            // Where the end does not come, the connection is given up.
            let _ = timeout(DRAIN_MAX, end).await;
        }
    }
}

/// When the stream of a request is asked for again that has brought no message so often: as soon as the server asks for, and
/// later from time to time.
fn resume_after(asked: Duration, barren: u32) -> Duration {
    let factor = RESUME_FACTOR.powi(i32::try_from(barren.min(100)).unwrap_or(100));
    let grown = asked.as_secs_f64() * factor;
    Duration::from_secs_f64(grown.min(RESUME_PAUSE_MAX.as_secs_f64())).max(asked)
}

/// When the stream of what a server says unasked is asked for again: soon, since its end may be the server's; then
/// seldom.
fn listen_again() -> BackoffSettings {
    BackoffSettings {
        min: Duration::from_millis(100),
        max: Duration::from_secs(60),
        ..BackoffSettings::default()
    }
}

/// A text without the id of a session, which is as good as a password while that lasts. A short one is guessed anyway, and may be
/// a word of every text.
pub(super) fn without_session(text: String, session: &HeaderValue) -> String {
    match session.to_str() {
        Ok(session) if session.len() >= SESSION_BYTES_MIN => text.replace(session, "***"),
        Ok(_) | Err(_) => text,
    }
}
