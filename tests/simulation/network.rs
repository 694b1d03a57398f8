//! The ways to the servers: over the simulated network, whole or with each request alone, and to a process.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use mcp_troupe::testkit::Entrance;
use mcp_troupe::transport::websocket::{WebSocketConnector, WebSocketOptions};
use mcp_troupe::transport::{BoxFuture, Connector, DialError, Failure, Inbound, Link, LinkError, Outbound};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep};
use turmoil::net::TcpStream;

/// The port of every server.
pub const PORT: u16 = 80;

/// How often a line that crawls lets some bytes pass.
const CRAWL_TICK: Duration = Duration::from_millis(100);

/// Bytes that wait in a pipe to a process.
const PIPE_BYTES: usize = 64 << 10;

/// What befalls the way to one server.
#[derive(Debug, Default)]
pub struct Line {
    /// Bytes that pass in each tick; 0 for all of them.
    crawl: AtomicUsize,
    /// Grows when the server forgets its sessions.
    session: AtomicU64,
    /// The next request breaks off.
    breaks: AtomicBool,
    /// The server's ends of pipes, in their order: what ends at one moment is to end in the same order in each run.
    pipes: watch::Sender<Vec<AbortHandle>>,
}

impl Line {
    /// From now on so many bytes pass in each tick; 0 for all of them.
    pub fn crawl(&self, bytes: usize) {
        self.crawl.store(bytes, Ordering::Relaxed);
    }

    /// The sessions of now are forgotten.
    pub fn forget_sessions(&self) {
        self.session.fetch_add(1, Ordering::Relaxed);
    }

    /// The process ends, and with it every pipe to it.
    pub fn end_process(&self) {
        self.pipes.send_modify(|pipes| pipes.drain(..).for_each(|pipe| pipe.abort()));
    }

    /// The next request breaks off after it was sent.
    pub fn break_next(&self) {
        self.breaks.store(true, Ordering::Relaxed);
    }
}

/// How a server is reached.
#[derive(Clone)]
pub enum Way {
    /// Over the network to this host.
    Network(String),
    /// Over the network to this host, each request alone.
    Sessions(String),
    /// As a process of this machine.
    Process(Entrance),
}

/// Dials one server.
pub struct Dialer {
    way: Way,
    line: Arc<Line>,
    websocket: WebSocketConnector,
}

impl Dialer {
    pub fn new(way: Way, line: Arc<Line>) -> Self {
        let host = match &way {
            Way::Network(host) | Way::Sessions(host) => host,
            Way::Process(_) => "process",
        };
        let options = WebSocketOptions::new(format!("ws://{host}"));
        Self { websocket: WebSocketConnector::new(options).unwrap(), way, line }
    }

    async fn reach(&self, host: &str) -> Result<Box<dyn Link>, DialError> {
        let stream = TcpStream::connect((host, PORT)).await?;
        let next = Box::pin(tokio::time::sleep(Duration::ZERO));
        self.websocket.over(Crawling { stream, line: self.line.clone(), left: 0, next }).await
    }
}

impl Connector for Dialer {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, DialError>> {
        Box::pin(async move {
            match &self.way {
                Way::Network(host) => self.reach(host).await,
                Way::Sessions(host) => Ok(Alone::over(self.reach(host).await?, self.line.clone())),
                Way::Process(entrance) => {
                    let (near, far) = tokio::io::duplex(PIPE_BYTES);
                    let guest = tokio::spawn(entrance.clone().admit(far)).abort_handle();
                    self.line.pipes.send_modify(|pipes| pipes.push(guest));
                    Ok(Box::new(Unproven(self.websocket.over(near).await?)) as Box<dyn Link>)
                }
            }
        })
    }

    fn endpoint(&self) -> String {
        self.websocket.endpoint()
    }

    fn starts_process(&self) -> bool {
        matches!(self.way, Way::Process(_))
    }
}

/// A stream that may be slow to take what is written, and always takes some of it.
struct Crawling<S> {
    stream: S,
    line: Arc<Line>,
    /// Bytes that pass before the next tick.
    left: usize,
    next: Pin<Box<Sleep>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Crawling<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(poller, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Crawling<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let rate = this.line.crawl.load(Ordering::Relaxed);
        if rate == 0 {
            return Pin::new(&mut this.stream).poll_write(poller, bytes);
        }
        if this.left == 0 {
            ready!(this.next.as_mut().poll(poller));
            this.left = rate;
            this.next.as_mut().reset(Instant::now() + CRAWL_TICK);
        }
        let share = bytes.len().min(this.left);
        let written = ready!(Pin::new(&mut this.stream).poll_write(poller, &bytes[..share]))?;
        this.left -= written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(poller)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(poller)
    }
}

/// Passes a sink's part on to the link within.
macro_rules! sink_of {
    ($field:tt) => {
        fn poll_ready(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
            self.$field.poll_ready_unpin(poller)
        }

        fn poll_flush(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
            self.$field.poll_flush_unpin(poller)
        }

        fn poll_close(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
            self.$field.poll_close_unpin(poller)
        }
    };
}

/// A link to a process: it is open before anybody has proved to be there, and answers no pings.
struct Unproven(Box<dyn Link>);

impl Link for Unproven {
    fn pings(&self) -> bool {
        false
    }

    fn proves_life(&self) -> bool {
        false
    }
}

impl Stream for Unproven {
    type Item = Result<Inbound, LinkError>;

    fn poll_next(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(poller)
    }
}

impl Sink<Outbound> for Unproven {
    type Error = LinkError;

    sink_of!(0);

    fn start_send(mut self: Pin<&mut Self>, item: Outbound) -> Result<(), LinkError> {
        self.0.start_send_unpin(item)
    }
}

/// A link that is a session, in which each request travels alone: one may fail while the link goes on.
struct Alone {
    link: Box<dyn Link>,
    line: Arc<Line>,
    session: u64,
    /// What the link itself has to say.
    said: VecDeque<Inbound>,
    /// Requests that broke off: their answers go nowhere.
    broken: BTreeSet<u64>,
    leaving: bool,
}

impl Alone {
    fn over(link: Box<dyn Link>, line: Arc<Line>) -> Box<dyn Link> {
        let session = line.session.load(Ordering::Relaxed);
        Box::new(Self { link, line, session, said: VecDeque::new(), broken: BTreeSet::new(), leaving: false })
    }
}

/// The part of an answer by which it finds its request.
#[derive(Deserialize)]
struct Answer {
    id: Option<u64>,
    method: Option<String>,
}

/// The request that a frame answers.
fn answers(frame: &[u8]) -> Option<u64> {
    let read: Answer = serde_json::from_slice(frame).ok()?;
    read.id.filter(|_| read.method.is_none())
}

impl Link for Alone {
    fn pings(&self) -> bool {
        self.link.pings()
    }

    fn proves_life(&self) -> bool {
        false
    }
}

impl Stream for Alone {
    type Item = Result<Inbound, LinkError>;

    fn poll_next(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            // What is sent wakes the reader: there is no need to do so here.
            if let Some(said) = this.said.pop_front() {
                return Poll::Ready(Some(Ok(said)));
            }
            match ready!(this.link.poll_next_unpin(poller)) {
                Some(Ok(Inbound::Message(frame))) => match answers(&frame) {
                    Some(id) if this.broken.remove(&id) => {}
                    Some(id) => return Poll::Ready(Some(Ok(Inbound::Answer { id, frame }))),
                    None => return Poll::Ready(Some(Ok(Inbound::Message(frame)))),
                },
                other => return Poll::Ready(other),
            }
        }
    }
}

impl Sink<Outbound> for Alone {
    type Error = LinkError;

    sink_of!(link);

    fn start_send(mut self: Pin<&mut Self>, item: Outbound) -> Result<(), LinkError> {
        if let Outbound::Request { id, .. } = &item {
            let id = *id;
            if self.session != self.line.session.load(Ordering::Relaxed) {
                let reason = "the session was forgotten".to_owned();
                let failure = Failure::SessionLost(reason.clone());
                self.said.push_back(Inbound::Failed { id, failure });
                if !std::mem::replace(&mut self.leaving, true) {
                    self.said.push_back(Inbound::Leaving(LinkError::SessionLost(reason)));
                }
                return Ok(());
            }
            if self.line.breaks.swap(false, Ordering::Relaxed) {
                self.broken.insert(id);
                let failure = Failure::BrokenOff("its answer broke off".to_owned());
                self.said.push_back(Inbound::Failed { id, failure });
            }
        }
        self.link.start_send_unpin(item)
    }
}
