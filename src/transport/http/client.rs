//! The HTTP client of one link: its connections, the way to them, and their tasks.
//!
//! The client is hyper's own, with its pool of connections: over TLS it speaks HTTP/2 where the server does, else
//! HTTP/1.1 with a connection for each request under way. It runs its tasks on an executor that is given to it, so that
//! they end with their link.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::LOCATION;
use http::response::Parts;
use http::{Extensions, HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::rt::{Executor, Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::legacy::{Client as HyperClient, Error as ClientError};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tower_service::Service;

use super::HttpOptions;
use super::refused::Said;
use crate::config::shown_url;
use crate::duration::TIME_MAX;
use crate::net::root_of;
use crate::net::tls::Tls;
use crate::transport::tokens::Tokens;
use crate::transport::{BoxFuture, DialError};

/// How long a connection is kept without a request. Common servers (Node, uvicorn) close theirs after 5 s; a request that
/// meets such a close may or may not have been carried out.
const KEPT_IDLE: Duration = Duration::from_secs(4);

/// A connection that ends within this time after an answer on it was not closed for its rest: the server closes after each
/// answer, though it has promised to keep the connection.
const BROKEN_PROMISE: Duration = Duration::from_secs(1);

/// So often has that to be seen of a server that has kept others: it may have been restarted.
const BROKEN_PROMISES: u32 = 3;

/// Redirections of one request that are followed: one for a slash, one for a prefix, and no circle.
const REDIRECTIONS_MAX: usize = 3;

/// The most that Linux takes for its keepalive; with more it would have none.
const KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);
const KEEPALIVE_TRIES_MAX: u32 = 127;

/// The body of a request.
pub(super) type Body = Full<Bytes>;

/// How a request came to no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// There is no connection, so it was not sent.
    Unreachable(String),
    /// The connection broke: it may have been sent.
    Broken(String),
}

/// What a server replied.
pub(super) enum Reply {
    /// With this, whose body has yet to be read.
    Open(Response<Incoming>),
    /// That it will not have the token; the body was read.
    Refused { head: Parts, said: Said },
}

/// Sends requests to one server.
#[derive(Clone)]
pub(super) struct Client {
    hyper: HyperClient<Secured, Body>,
    /// The same without a pool: a connection for each request.
    fresh: HyperClient<Secured, Body>,
    trust: Arc<Trust>,
    tokens: Option<Tokens>,
}

/// Whether connections of a server are used again. Hints that its links share: one that is lost is learned anew.
#[derive(Debug)]
struct Trust {
    /// It closes connections that it has promised to keep.
    broken: AtomicBool,
    /// A connection was used twice.
    kept: AtomicBool,
    /// How often in a row one was closed, and none used twice.
    incidents: AtomicU32,
    since: Instant,
    /// When that was seen last, in milliseconds since then.
    last: AtomicU64,
}

impl Trust {
    fn new() -> Self {
        Self {
            broken: AtomicBool::new(false),
            kept: AtomicBool::new(false),
            incidents: AtomicU32::new(0),
            since: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    /// A used connection has brought another answer.
    fn kept(&self) {
        self.kept.store(true, Ordering::Relaxed);
        self.incidents.store(0, Ordering::Relaxed);
    }

    /// A connection ended at its next use, so soon after its last answer.
    fn broke(&self, rested: Duration) {
        if rested >= BROKEN_PROMISE {
            return;
        }
        let now = u64::try_from(Instant::now().saturating_duration_since(self.since).as_millis())
            .unwrap_or(u64::MAX);
        let rested = u64::try_from(rested.as_millis()).unwrap_or(u64::MAX);
        // All connections of a server end as one when that does.
        if now.saturating_sub(rested) <= self.last.swap(now, Ordering::Relaxed)
            && self.incidents.load(Ordering::Relaxed) > 0
        {
            return;
        }
        let incidents = self.incidents.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let enough = if self.kept.load(Ordering::Relaxed) { BROKEN_PROMISES } else { 1 };
        if incidents >= enough {
            self.broken.store(true, Ordering::Relaxed);
        }
    }
}

/// When a connection was used last. It lies with the connection.
#[derive(Debug, Clone)]
struct Used {
    since: Instant,
    /// In milliseconds since then, and 1 more; 0 while it has given no answer.
    last: Arc<AtomicU64>,
}

impl Used {
    fn new() -> Self {
        Self { since: Instant::now(), last: Arc::default() }
    }

    fn now(&self) -> u64 {
        u64::try_from(Instant::now().saturating_duration_since(self.since).as_millis())
            .unwrap_or(u64::MAX - 1)
    }

    /// An answer came over it.
    fn answered(&self) {
        self.last.store(self.now() + 1, Ordering::Relaxed);
    }

    /// How long ago the last answer came; none if there was none.
    fn rested(&self) -> Option<Duration> {
        let last = self.last.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_millis(self.now().saturating_sub(last)))
    }
}

impl Client {
    /// Sends a request and waits for the head of its answer. Where it is a `call`, an answer that names it is never a refusal.
    /// One that is `harmless` may be sent twice.
    pub(super) async fn request(
        &self,
        request: Request<Body>,
        call: Option<u64>,
        harmless: bool,
    ) -> Result<Reply, Unanswered> {
        match &self.tokens {
            Some(tokens) => self.request_with(tokens, request, call, harmless).await,
            None => self.send(request, call, harmless).await,
        }
    }

    /// Sends it with a token. One that the server refuses is replaced, once: the request was not carried out, unless the body
    /// is the answer to it, or may be. Then the next request has another token.
    async fn request_with(
        &self,
        tokens: &Tokens,
        mut request: Request<Body>,
        call: Option<u64>,
        harmless: bool,
    ) -> Result<Reply, Unanswered> {
        let none = |error| Unanswered::Unreachable(format!("no token: {error}"));
        let lent = tokens.lend().await.map_err(none)?;
        lent.put(request.headers_mut());
        let answer = match self.send(request.clone(), call, harmless).await? {
            Reply::Open(answer) => answer,
            refused @ Reply::Refused { .. } => return Ok(refused),
        };
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(Reply::Open(answer));
        }
        let (head, body) = answer.into_parts();
        let said = match call {
            Some(_) => Said::read(&head.headers, body, call).await,
            None => Said::Nothing,
        };
        if call.is_some_and(|call| said.may_answer(call)) {
            tokens.refuse(&lent, &head.headers).await;
            return Ok(Reply::Refused { head, said });
        }
        match tokens.renew(&lent, &head.headers).await {
            Ok(fresh) => {
                fresh.put(request.headers_mut());
                self.send(request, call, harmless).await
            }
            Err(_) => Ok(Reply::Refused { head, said }),
        }
    }

    /// Sends it where the server points to, within its own origin: there method, body and credentials are as good. What may be the
    /// answer is one, whatever the server says of another place: it is sent nowhere else, unless it is harmless.
    async fn send(
        &self,
        mut request: Request<Body>,
        call: Option<u64>,
        harmless: bool,
    ) -> Result<Reply, Unanswered> {
        let mut followed = 0;
        loop {
            let answer = self.send_once(request.clone(), harmless).await?;
            let there = redirection(request.uri(), answer.status(), answer.headers());
            let Some(there) = there.filter(|_| followed < REDIRECTIONS_MAX) else {
                return Ok(Reply::Open(answer));
            };
            if !harmless {
                let (head, body) = answer.into_parts();
                let said = Said::read(&head.headers, body, call).await;
                if matches!(said, Said::Answer { .. } | Said::Unread) {
                    return Ok(Reply::Refused { head, said });
                }
            }
            *request.uri_mut() = there;
            followed += 1;
        }
    }

    /// A used connection may be closed at the moment at which it is used again. What is harmless is sent once more then, over a
    /// fresh one; and where the server has promised to keep it, its connections are used once each from now on.
    async fn send_once(
        &self,
        request: Request<Body>,
        harmless: bool,
    ) -> Result<Response<Incoming>, Unanswered> {
        if self.trust.broken.load(Ordering::Relaxed) {
            return self.fresh.request(request).await.map_err(|error| unanswered(&error));
        }
        let error = match self.hyper.request(request.clone()).await {
            Ok(answer) => {
                if let Some(used) = answer.extensions().get::<Used>() {
                    if used.rested().is_some() {
                        self.trust.kept();
                    }
                    used.answered();
                }
                return Ok(answer);
            }
            Err(error) => error,
        };
        let told = unanswered(&error);
        let Some(rested) = rest_before(&error).filter(|_| matches!(told, Unanswered::Broken(_))) else {
            return Err(told);
        };
        self.trust.broke(rested);
        if !harmless {
            return Err(told);
        }
        self.fresh.request(request).await.map_err(|error| unanswered(&error))
    }
}

/// How long the connection of a failed request had rested since its last answer, if it was a used one of HTTP/1.
fn rest_before(error: &ClientError) -> Option<Duration> {
    let connected = error.connect_info().filter(|connected| !connected.is_negotiated_h2())?;
    let mut told = Extensions::new();
    connected.get_extras(&mut told);
    told.get::<Used>()?.rested()
}

/// Where an answer sends its request, if that is the same origin and the request stays as it is (307, 308).
fn redirection(from: &Uri, status: StatusCode, headers: &HeaderMap) -> Option<Uri> {
    if !matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT) {
        return None;
    }
    let location = headers.get(LOCATION)?.to_str().ok()?;
    let location = location.split_once('#').map_or(location, |(location, _)| location);
    if let Some(path) = location.strip_prefix('/') {
        let mut parts = from.clone().into_parts();
        // `//host/path` would be another one.
        let there = format!("/{path}").parse().ok().filter(|_| !path.starts_with('/'));
        parts.path_and_query = Some(there?);
        return Uri::from_parts(parts).ok();
    }
    let there: Uri = location.parse().ok()?;
    (origin(&there)? == origin(from)?).then_some(there)
}

/// Scheme, host and port. None of an address with user info.
fn origin(uri: &Uri) -> Option<(&str, String, u16)> {
    let scheme = uri.scheme_str()?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let port = authority.port_u16().or(match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    });
    Some((scheme, authority.host().to_ascii_lowercase(), port?))
}

fn unanswered(error: &ClientError) -> Unanswered {
    let words = root_of(error);
    // hyper gives a request that it never began to write back as cancelled.
    let cancelled = error.source().and_then(|cause| cause.downcast_ref::<hyper::Error>());
    if error.is_connect() || cancelled.is_some_and(hyper::Error::is_canceled) {
        Unanswered::Unreachable(words)
    } else {
        Unanswered::Broken(words)
    }
}

/// Makes the clients of a server's links.
pub(super) struct Clients {
    way: Secured,
    ping_interval: Duration,
    silence_max: Duration,
    /// Where the tokens of requests come from, if the server wants any.
    pub tokens: Option<Tokens>,
    /// For requests that a proxy passes on.
    pub proxy_authorization: Option<HeaderValue>,
    trust: Arc<Trust>,
}

impl Clients {
    /// Clients of the server at `uri`, through the proxy that is meant for it.
    ///
    /// # Errors
    /// [`DialError::InvalidEndpoint`] if `proxies` name a proxy of a kind that is not known.
    pub(super) fn new(
        uri: &Uri,
        options: &HttpOptions,
        tls: Tls,
        proxies: Option<&Matcher>,
    ) -> Result<Self, DialError> {
        let liveness = &options.liveness;
        // A host may give options that no settings have checked.
        let ping_interval = liveness.ping_interval.min(TIME_MAX);
        let silence_max = ping_interval.saturating_mul(liveness.misses_max.saturating_add(1)).min(TIME_MAX);
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(options.connect_timeout));
        // A peer that vanished without a word is noticed by the kernel, which counts in whole seconds.
        let second = Duration::from_secs(1);
        let kernels = ping_interval.clamp(second, KEEPALIVE_MAX);
        tcp.set_keepalive(Some(kernels));
        tcp.set_keepalive_interval(Some(kernels));
        tcp.set_keepalive_retries(Some(liveness.misses_max.min(KEEPALIVE_TRIES_MAX)));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(silence_max.max(second)));
        let mut proxy_authorization = None;
        let way = match proxies.and_then(|proxies| proxies.intercept(uri)) {
            None => Way::Direct(tcp),
            Some(proxy) if proxy.uri().scheme_str() != Some("http") => {
                let reason = format!("the proxy {} is no http:// proxy", shown_url(&proxy.uri().to_string()));
                return Err(DialError::InvalidEndpoint { reason });
            }
            Some(proxy) if uri.scheme_str() == Some("https") => {
                let tunnel = Tunnel::new(proxy.uri().clone(), tcp);
                Way::Tunnel(match proxy.basic_auth() {
                    Some(authorization) => tunnel.with_auth(authorization.clone()),
                    None => tunnel,
                })
            }
            Some(proxy) => {
                proxy_authorization = proxy.basic_auth().cloned();
                Way::Forward { tcp, proxy: proxy.uri().clone() }
            }
        };
        let way = Secured { way, tls };
        let trust = Arc::new(Trust::new());
        Ok(Self { way, ping_interval, silence_max, tokens: None, proxy_authorization, trust })
    }

    /// A client whose tasks end with `tasks`.
    pub(super) fn make(&self, tasks: &ClientTasks) -> Client {
        let mut builder = HyperClient::builder(Spawner(tasks.0.subscribe()));
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT_IDLE)
            .http2_keep_alive_interval(self.ping_interval)
            .http2_keep_alive_timeout(self.silence_max.saturating_sub(self.ping_interval));
        let hyper = builder.build(self.way.clone());
        let fresh = builder.pool_max_idle_per_host(0).build(self.way.clone());
        Client { hyper, fresh, trust: self.trust.clone(), tokens: self.tokens.clone() }
    }
}

/// The tasks of one link's client. They end when this is dropped; each holds a receiver for as long as it lives.
pub(super) struct ClientTasks(watch::Sender<()>);

impl ClientTasks {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    /// Ends all tasks, and waits for their end. The client must be gone by then: it could begin new ones.
    pub(super) async fn end(self) {
        self.0.send_replace(());
        self.0.closed().await;
    }
}

/// Spawns tasks that end when their link does; a detached one would survive it.
#[derive(Clone)]
struct Spawner(watch::Receiver<()>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, task: F) {
        let mut end = self.0.clone();
        tokio::spawn(async move {
            tokio::select! { biased;
                // Told to end, or the link is gone.
                _ = end.changed() => {}
                () = task => {}
            }
        });
    }
}

/// How connections are made, and how the server is verified by the time that one is.
#[derive(Clone)]
struct Secured {
    way: Way,
    tls: Tls,
}

impl Service<Uri> for Secured {
    type Response = MaybeHttpsStream<Wire>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // As the way itself.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let Self { way, tls } = self.clone();
        Box::pin(async move {
            let config = tls.config().await?;
            let mut connector = HttpsConnectorBuilder::new()
                .with_tls_config((*config).clone())
                .https_or_http()
                .enable_all_versions()
                .wrap_connector(way);
            connector.call(server).await
        })
    }
}

/// How connections are made.
#[derive(Clone)]
enum Way {
    Direct(HttpConnector),
    /// Through a proxy that sees only that there is a connection.
    Tunnel(Tunnel<HttpConnector>),
    /// To a proxy that passes each request on.
    Forward {
        tcp: HttpConnector,
        proxy: Uri,
    },
}

impl Service<Uri> for Way {
    type Response = Wire;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Wire, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // All of them are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        match self {
            Self::Direct(tcp) => {
                let connecting = tcp.call(server);
                Box::pin(async move { Ok(Wire::new(connecting.await?, false)) })
            }
            Self::Tunnel(tunnel) => {
                let connecting = tunnel.call(server);
                Box::pin(async move { Ok(Wire::new(connecting.await?, false)) })
            }
            Self::Forward { tcp, proxy } => {
                let connecting = tcp.call(proxy.clone());
                Box::pin(async move { Ok(Wire::new(connecting.await?, true)) })
            }
        }
    }
}

/// One TCP connection, to the server or to a proxy that passes requests on.
struct Wire {
    stream: TokioIo<TcpStream>,
    forwarded: bool,
    used: Used,
}

impl Wire {
    fn new(stream: TokioIo<TcpStream>, forwarded: bool) -> Self {
        Self { stream, forwarded, used: Used::new() }
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        self.stream.connected().proxy(self.forwarded).extra(self.used.clone())
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(poller, buffer)
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(poller, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(poller)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(poller)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
        buffers: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(poller, buffers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_kept_a_connection_is_not_trusted_again_and_one_that_was_restarted_is() {
        const SOON: Duration = Duration::from_millis(5);
        let step = || tokio::time::sleep(10 * SOON);
        let broken = |trust: &Trust| trust.broken.load(Ordering::Relaxed);
        let never = Trust::new();
        step().await;
        never.broke(BROKEN_PROMISE);
        assert!(!broken(&never), "it was closed for its rest");
        never.broke(SOON);
        assert!(broken(&never));

        let restarted = Trust::new();
        restarted.kept();
        step().await;
        (0..50).for_each(|_| restarted.broke(SOON));
        step().await;
        restarted.broke(SOON);
        restarted.kept();
        step().await;
        restarted.broke(SOON);
        assert!(!broken(&restarted), "its connections ended together, and were kept after that");
        for _ in 0..2 {
            step().await;
            restarted.broke(SOON);
        }
        assert!(broken(&restarted));
    }

    #[test]
    fn only_the_same_origin_is_redirected_to() {
        let to = |status: u16, location: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, HeaderValue::from_static(location));
            let from = Uri::from_static("https://Host.example:8443/mcp?key=1");
            redirection(&from, StatusCode::from_u16(status).unwrap(), &headers).map(|uri| uri.to_string())
        };
        assert_eq!(to(307, "/mcp/").as_deref(), Some("https://Host.example:8443/mcp/"));
        assert_eq!(to(308, "/a?b=c#d").as_deref(), Some("https://Host.example:8443/a?b=c"));
        assert_eq!(to(307, "https://host.example:8443/x").as_deref(), Some("https://host.example:8443/x"));
        for elsewhere in [
            "http://host.example:8443/mcp/",
            "https://host.example/mcp/",
            "https://other.example:8443/mcp/",
            "https://user@host.example:8443/mcp/",
            "//other.example/mcp/",
            "mcp/",
            "",
        ] {
            assert_eq!(to(307, elsewhere), None, "{elsewhere}");
        }
        for status in [200, 301, 302, 303, 404] {
            assert_eq!(to(status, "/mcp/"), None, "{status}");
        }
    }
}
