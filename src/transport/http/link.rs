//! The link to one server: a session of the client, whose requests each travel alone.
//!
//! Each request is an [exchange](super::exchange) of its own; the link gathers what they bring. In the modern era there is
//! nothing to keep between them. In the legacy era the server may have given the link a session: it goes along with each
//! request, and a server that no longer knows it ends the link, so that the next one begins another. What such a server
//! says unasked comes by a stream that is held open beside the requests.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{FutureExt, Sink, Stream, StreamExt};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::beside::{self, Beside, Next};
use super::client::{Body, Client, ClientTasks};
use super::exchange::{
    Answered, Exchange, ExchangeEvent, ExchangeKind, SessionContext, Target, without_session,
};
use super::headers::{JSON, JSON_OR_EVENTS, METHOD, NAME, PARAM_PREFIX, value};
use crate::config::shown_url;
use crate::number_map::NumberMap;
use crate::protocol::{LEGACY_VERSIONS, MODERN_VERSION};
use crate::transport::{BoxFuture, Failure, Head, Inbound, Link, LinkError, Outbound};

/// Notices under way at once. More wait: a server that asks faster than it takes our answers is waited for.
const NOTICES_MAX: usize = 64;

/// Answered exchanges whose end is waited for, at once; beyond them connections are given up.
const DRAINING_MAX: usize = 64;

/// Inbound messages that are held while nobody takes them.
const HELD_MAX: usize = 64;

/// Their size together, in bytes, before no more are taken: each may be as large as a message may be.
const HELD_BYTES_MAX: usize = 1 << 20;

/// How long the end of a session is told for.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// Which era the link is in, which decides what goes along with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stance {
    /// It is being agreed on.
    Opening,
    Modern,
    Legacy,
    /// Another dialect: JSON-RPC alone.
    Plain,
}

/// Whether the server was told that the handshake is over. Requests wait for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Welcome {
    /// Nothing is to be told.
    None,
    /// The next notice tells it.
    Due,
    /// It is under way.
    UnderWay,
}

/// The size of a message.
fn bytes_of(inbound: &Inbound) -> usize {
    match inbound {
        Inbound::Message(frame)
        | Inbound::Unasked(frame)
        | Inbound::Beside { frame, .. }
        | Inbound::Answer { frame, .. }
        | Inbound::Refused { frame, .. } => frame.len(),
        Inbound::TooLarge { .. }
        | Inbound::Failed { .. }
        | Inbound::PutOff { .. }
        | Inbound::Leaving(_)
        | Inbound::Alive => 0,
    }
}

/// The link; see the module's page.
pub(super) struct HttpLink {
    /// The client and its tasks, until the link is closed.
    client: Option<(Client, ClientTasks)>,
    site: Arc<Target>,
    session_context: SessionContext,
    /// When the session began.
    session_since: Instant,
    stance: Stance,
    welcome: Welcome,
    exchanges: SelectAll<BoxStream<'static, (ExchangeKind, ExchangeEvent)>>,
    /// Those of notices. They bring no messages, and so move on also while nobody takes any: who takes none may be waiting
    /// for them.
    telling: SelectAll<BoxStream<'static, (ExchangeKind, ExchangeEvent)>>,
    /// The requests that wait for an answer, each with the way to call it off. The pool bounds them; held back here, a
    /// request would hold back the cancellations that make room for it.
    under_way: NumberMap<u64, oneshot::Sender<Answered>>,
    /// How many notices are under way.
    notices: usize,
    /// How many are done with.
    told: u64,
    /// Ends the stream of what the server says unasked.
    listening: Option<oneshot::Sender<Answered>>,
    /// The stream is asked for after the first answer: a server that it would keep from answering has told its tools by then.
    listens_next: bool,
    /// Whether the server works while that is open.
    beside: Beside,
    /// The highest id of the requests so far.
    newest: u64,
    heard: VecDeque<Inbound>,
    /// The server would not have the handshake end.
    unwelcome: Option<LinkError>,
    leaving: bool,
    closing: Option<BoxFuture<'static, ()>>,
}

impl HttpLink {
    /// A link that has sent nothing yet.
    pub(super) fn new(client: Client, tasks: ClientTasks, site: Arc<Target>) -> Self {
        Self {
            client: Some((client, tasks)),
            site,
            session_context: SessionContext::default(),
            session_since: Instant::now(),
            stance: Stance::Opening,
            welcome: Welcome::None,
            exchanges: SelectAll::new(),
            telling: SelectAll::new(),
            under_way: NumberMap::default(),
            notices: 0,
            told: 0,
            listening: None,
            listens_next: false,
            beside: Beside::default(),
            newest: 0,
            heard: VecDeque::new(),
            unwelcome: None,
            leaving: false,
            closing: None,
        }
    }

    /// An exchange for `kind`, as the link stands. `None` once the link is closed.
    fn exchange(&self, kind: ExchangeKind) -> Option<Exchange> {
        let (client, _) = self.client.as_ref()?;
        Some(Exchange {
            client: client.clone(),
            site: self.site.clone(),
            session_context: self.session_context.clone(),
            kind,
        })
    }

    fn post(exchange: &Exchange, frame: Bytes) -> Request<Body> {
        let mut request = exchange.bare(Method::POST);
        *request.body_mut() = Body::new(frame);
        let headers = request.headers_mut();
        headers.insert(ACCEPT, JSON_OR_EVENTS);
        headers.insert(CONTENT_TYPE, JSON);
        request
    }

    fn send_request(&mut self, id: u64, head: Head, frame: Bytes) {
        let initialize = head.method == "initialize";
        let harmless = initialize || head.method == "server/discover" || head.method.ends_with("/list");
        let exchange =
            self.exchange(ExchangeKind::Request { id, initialize, harmless }).filter(|_| !self.leaving);
        let Some(mut exchange) = exchange else {
            let failure = Failure::NotCarriedOut("the link takes no more requests".to_owned());
            return self.heard.push_back(Inbound::Failed { id, failure });
        };
        if self.stance == Stance::Opening {
            // The probe is a modern request already.
            let probe = head.method == "server/discover";
            exchange.session_context.version = probe.then(|| HeaderValue::from_static(MODERN_VERSION));
        }
        let mut request = Self::post(&exchange, frame);
        if exchange.session_context.version.as_ref().is_some_and(|version| version == MODERN_VERSION) {
            let headers = request.headers_mut();
            headers.insert(METHOD, HeaderValue::from_static(head.method));
            if let Some(name) = &head.name {
                headers.insert(NAME, value(name));
            }
            for (name, text) in &head.mirrored {
                // Names were checked when the tools were listed.
                if let Ok(name) = HeaderName::try_from(format!("{PARAM_PREFIX}{name}")) {
                    headers.insert(name, value(text));
                }
            }
        }
        let (release, released) = oneshot::channel();
        self.under_way.insert(id, release);
        self.newest = self.newest.max(id);
        self.exchanges.push(exchange.run(request, Some(released)));
    }

    fn send_notice(&mut self, frame: Bytes) {
        let Some(mut exchange) = self.exchange(ExchangeKind::Notice) else { return };
        if self.welcome == Welcome::Due {
            self.welcome = Welcome::UnderWay;
            exchange.session_context.welcomes = true;
        }
        self.notices += 1;
        let request = Self::post(&exchange, frame);
        self.telling.push(exchange.run(request, None));
    }

    /// Asks for the stream of what the server says unasked.
    fn listen(&mut self) {
        if self.leaving || !self.site.streams() {
            return;
        }
        let Some(exchange) = self.exchange(ExchangeKind::Listen) else { return };
        let (release, released) = oneshot::channel();
        self.listening = Some(release);
        let request = exchange.stream_request(None);
        self.exchanges.push(exchange.run(request, Some(released)));
        self.beside.opened(self.newest);
    }

    /// A request was answered, in whichever way.
    fn has_answered(&mut self, what: beside::Answered) {
        if std::mem::take(&mut self.listens_next) {
            return self.listen();
        }
        let next = self.beside.answered(what);
        self.mind_stream(next);
    }

    /// Watches that the stream of what the server says unasked holds up no requests.
    fn watch_stream(&mut self, poller: &mut Context<'_>) {
        let next = self.beside.poll(!self.under_way.is_empty(), poller);
        self.mind_stream(next);
    }

    fn mind_stream(&mut self, next: Option<Next>) {
        match next {
            Some(Next::Ask(opening)) => {
                let Some(exchange) = self.exchange(ExchangeKind::Check { opening }) else { return };
                let ping = Bytes::from_static(br#"{"jsonrpc":"2.0","id":"stream","method":"ping"}"#);
                let request = Self::post(&exchange, ping);
                self.telling.push(exchange.run(request, None));
            }
            Some(Next::Close) => self.listening = None,
            Some(Next::Open) => self.listen(),
            Some(Next::GiveUp) => {
                tracing::warn!(
                    url = %shown_url(&self.site.uri.to_string()),
                    "the server answers nothing while its stream of events is open: it is asked for none any more"
                );
                self.site.streams_no_more();
            }
            None => {}
        }
    }

    fn take(&mut self, kind: ExchangeKind, heard: ExchangeEvent) {
        let is_answer = match &heard {
            ExchangeEvent::Message(_)
            | ExchangeEvent::Answer(_)
            | ExchangeEvent::Refused(_)
            | ExchangeEvent::Taken => true,
            ExchangeEvent::Failed(failure) => failure.is_an_answer(),
            ExchangeEvent::PutOff
            | ExchangeEvent::Session(_)
            | ExchangeEvent::Doubted(_)
            | ExchangeEvent::Over(_) => false,
        };
        match kind {
            ExchangeKind::Request { id, .. } if is_answer => self.has_answered(beside::Answered::Request(id)),
            ExchangeKind::Check { opening } if is_answer => {
                self.has_answered(beside::Answered::Ping(opening))
            }
            ExchangeKind::Request { .. }
            | ExchangeKind::Check { .. }
            | ExchangeKind::Notice
            | ExchangeKind::Listen => {}
        }
        match (kind, heard) {
            (ExchangeKind::Request { id, .. }, ExchangeEvent::Message(frame)) => {
                self.heard.push_back(Inbound::Beside { id, frame });
            }
            (
                ExchangeKind::Notice | ExchangeKind::Listen | ExchangeKind::Check { .. },
                ExchangeEvent::Message(frame),
            ) => {
                self.heard.push_back(Inbound::Unasked(frame));
            }
            // Without a session the server may say to all its clients what it says unasked.
            (ExchangeKind::Request { id, .. }, ExchangeEvent::PutOff)
                if self.session_context.session.is_some() =>
            {
                self.heard.push_back(Inbound::PutOff { id });
            }
            // It is a guess: those that are under way keep the session, and it is ended with the link.
            (_, ExchangeEvent::Doubted(error)) => {
                if !self.leaving && self.site.believes_doubt(self.session_since) {
                    self.take_no_more(error);
                }
            }
            (_, ExchangeEvent::Session(session)) => {
                self.session_context.session = Some(session);
                self.session_since = Instant::now();
            }
            (ExchangeKind::Request { id, .. }, ExchangeEvent::Answer(frame)) => {
                if self.under_way.remove(&id).is_some() {
                    self.heard.push_back(Inbound::Answer { id, frame });
                }
            }
            (ExchangeKind::Request { id, .. }, ExchangeEvent::Refused(frame)) => {
                if self.under_way.remove(&id).is_some() {
                    self.heard.push_back(Inbound::Refused { id, frame });
                }
            }
            (ExchangeKind::Request { id, .. }, ExchangeEvent::Failed(failure)) => self.failed(id, failure),
            (ExchangeKind::Request { id, .. }, ExchangeEvent::Over(error)) => {
                let words = error.to_string();
                let failure = match &error {
                    LinkError::SessionLost(_) => Failure::SessionLost(words),
                    _ => Failure::NotCarriedOut(words),
                };
                self.leave(error);
                self.failed(id, failure);
            }
            (ExchangeKind::Listen | ExchangeKind::Check { .. }, ExchangeEvent::Over(error)) => {
                self.leave(error)
            }
            // There is no stream, and none that could hold up anything.
            (ExchangeKind::Listen, ExchangeEvent::Taken) => self.beside.ended(),
            (ExchangeKind::Notice, ExchangeEvent::Taken) => self.noticed(Ok(())),
            (ExchangeKind::Notice, ExchangeEvent::Failed(failure)) => {
                self.noticed(Err(match failure {
                    Failure::Refused(refusal) => LinkError::Refused(refusal),
                    failure => {
                        LinkError::Protocol(format!("the end of the handshake was not taken: {failure}"))
                    }
                }));
            }
            (ExchangeKind::Notice, ExchangeEvent::Over(error)) => {
                self.noticed(Err(error.clone()));
                self.leave(error);
            }
            // A stream or a notice has no answer of its own, and a request is no notice.
            (
                ExchangeKind::Notice | ExchangeKind::Listen | ExchangeKind::Check { .. },
                ExchangeEvent::Answer(_) | ExchangeEvent::Refused(_),
            )
            | (ExchangeKind::Listen | ExchangeKind::Check { .. }, ExchangeEvent::Failed(_))
            | (ExchangeKind::Request { .. } | ExchangeKind::Check { .. }, ExchangeEvent::Taken)
            | (_, ExchangeEvent::PutOff) => {}
        }
    }

    fn failed(&mut self, id: u64, failure: Failure) {
        if self.under_way.remove(&id).is_some() {
            self.heard.push_back(Inbound::Failed { id, failure });
        }
    }

    /// A notice is done with. What becomes of most is of no interest; the one that ends the handshake must be taken.
    fn noticed(&mut self, taken: Result<(), LinkError>) {
        self.notices = self.notices.saturating_sub(1);
        self.told += 1;
        if self.welcome != Welcome::UnderWay {
            return;
        }
        self.welcome = Welcome::None;
        match taken {
            Ok(()) => self.listens_next = true,
            Err(error) => self.unwelcome = Some(error),
        }
    }

    fn leave(&mut self, error: LinkError) {
        if let LinkError::SessionLost(_) = error {
            // There is nothing left to end at the server.
            self.session_context.session = None;
        }
        self.listening = None;
        self.beside.ended();
        self.take_no_more(error);
    }

    /// What is under way comes to its own end.
    fn take_no_more(&mut self, error: LinkError) {
        if !std::mem::replace(&mut self.leaving, true) {
            self.heard.push_back(Inbound::Leaving(error));
        }
    }

    /// Whether the server has to take something before more is sent.
    fn is_held(&self) -> bool {
        self.welcome == Welcome::UnderWay || self.notices >= NOTICES_MAX
    }

    /// Moves the exchanges on for as long as there is room for what they bring.
    fn advance(&mut self, poller: &mut Context<'_>) {
        while let Poll::Ready(Some((kind, heard))) = self.telling.poll_next_unpin(poller) {
            self.take(kind, heard);
        }
        let mut bytes: usize = self.heard.iter().map(bytes_of).sum();
        while self.heard.len() < HELD_MAX && bytes < HELD_BYTES_MAX {
            match self.exchanges.poll_next_unpin(poller) {
                Poll::Ready(Some((kind, heard))) => {
                    self.take(kind, heard);
                    bytes += self.heard.back().map_or(0, bytes_of);
                }
                Poll::Ready(None) | Poll::Pending => return,
            }
        }
    }

    /// Ends the session at the server, then everything.
    fn close(&mut self) -> BoxFuture<'static, ()> {
        let farewell =
            self.exchange(ExchangeKind::Notice).filter(|exchange| exchange.session_context.session.is_some());
        self.under_way.clear();
        self.listening = None;
        self.exchanges.clear();
        self.telling.clear();
        let Some((client, tasks)) = self.client.take() else { return Box::pin(async {}) };
        Box::pin(async move {
            if let Some(exchange) = farewell {
                // A server may keep its sessions to itself (405), or be gone.
                let told = exchange.client.request(exchange.bare(Method::DELETE), None, false);
                let _ = timeout(FAREWELL_MAX, told).await;
            }
            drop(client);
            tasks.end().await;
        })
    }
}

impl Link for HttpLink {
    fn redact(&self, text: String) -> String {
        match &self.session_context.session {
            Some(session) => without_session(text, session),
            None => text,
        }
    }

    fn pings(&self) -> bool {
        // A request is the only question that there is, and the kernel watches its connection.
        false
    }

    fn proves_life(&self) -> bool {
        false
    }

    fn converses(&self) -> bool {
        false
    }

    fn agreed(&mut self, version: &str) {
        self.under_way.clear();
        self.stance = match version {
            MODERN_VERSION => Stance::Modern,
            legacy if LEGACY_VERSIONS.contains(&legacy) => Stance::Legacy,
            _ => Stance::Plain,
        };
        match self.stance {
            Stance::Modern | Stance::Legacy => {
                self.session_context.version = HeaderValue::from_str(version).ok()
            }
            Stance::Opening | Stance::Plain => {}
        }
        if self.stance == Stance::Legacy {
            self.session_context.resumes = true;
            self.welcome = Welcome::Due;
        }
    }

    fn taken(&self) -> Option<u64> {
        // Requests are written by tasks of their own, each at its pace; what can be waited for here is notices.
        Some(self.told)
    }

    fn answered(&mut self, id: u64) {
        if let Some(release) = self.under_way.remove(&id) {
            let beside = usize::from(self.listening.is_some());
            let draining = self.exchanges.len().saturating_sub(self.under_way.len() + beside);
            if draining <= DRAINING_MAX {
                // One that has ended by itself needs no word.
                let _ = release.send(Answered);
            }
        }
    }
}

impl Stream for HttpLink {
    type Item = Result<Inbound, LinkError>;

    fn poll_next(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.watch_stream(poller);
        if self.heard.is_empty() {
            self.advance(poller);
        }
        let told = self.heard.pop_front().map(Ok).or_else(|| self.unwelcome.take().map(Err));
        told.map_or(Poll::Pending, |told| Poll::Ready(Some(told)))
    }
}

impl Sink<Outbound> for HttpLink {
    type Error = LinkError;

    fn poll_ready(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        if self.is_held() {
            self.advance(poller);
        }
        if self.is_held() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn start_send(mut self: Pin<&mut Self>, item: Outbound) -> Result<(), LinkError> {
        match item {
            Outbound::Request { id, head, frame } => self.send_request(id, head, frame),
            Outbound::Cancel { id, frame } => {
                // Closing the answer says it to a modern server; to a legacy one that means nothing.
                let under_way = self.under_way.remove(&id).is_some();
                if let Some(frame) = frame.filter(|_| under_way && self.stance == Stance::Legacy) {
                    self.send_notice(frame);
                }
            }
            Outbound::Notice(frame) => self.send_notice(frame),
            Outbound::Ping => {}
        }
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        if self.is_held() {
            self.advance(poller);
        }
        match self.unwelcome.take() {
            Some(error) => Poll::Ready(Err(error)),
            None if self.is_held() => Poll::Pending,
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        let mut closing = match self.closing.take() {
            Some(closing) => closing,
            None => self.close(),
        };
        match closing.poll_unpin(poller) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => {
                self.closing = Some(closing);
                Poll::Pending
            }
        }
    }
}
