//! A scripted MCP server: it answers well, badly or not at all, as the test says, and tells what it saw.

mod brain;
mod http;
mod ledger;
mod script;
mod telling;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_util::codec::{FramedRead, FramedWrite};

use ledger::Ledger;
pub use ledger::read_ledger;
pub use script::{Compute, Script, ScriptedCall, Step};
use wire::Wire;

use super::memory::{MemoryConnector, MemoryListener, pair};
use crate::config::Dialect;
use crate::transport::stdio::{Line, Lines};

/// Which eras a scripted server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptedEra {
    /// Only 2026-07-28.
    Modern,
    /// Only 2025-11-25.
    Legacy,
}

/// What the server does, as its connections read it at each message.
#[derive(Debug, Clone)]
struct Plan {
    era: ScriptedEra,
    dialect: Dialect,
    tools: BTreeMap<String, Script>,
    /// Texts by URI.
    resources: BTreeMap<String, String>,
    templates: Vec<String>,
    /// Texts by name.
    prompts: BTreeMap<String, String>,
    /// How it wants to be used.
    instructions: Option<String>,
    /// Tells of changes, and takes subscriptions.
    tells: bool,
    /// How long its lists and resources stay fresh, where it says so.
    ttl_ms: Option<u64>,
    /// Resources that changed, in order.
    updates: Vec<String>,
    page_size: usize,
    /// Connections of an earlier epoch are dropped.
    epoch: u64,
    /// Held answers up to this number are let go.
    releases: u64,
    /// Grows when the clients are to be told that the tools changed.
    announcements: u64,
    /// Reads nothing any more, and so answers no ping either.
    deaf: bool,
    /// How many requests of each method are left without an answer, ever.
    neglected: BTreeMap<String, u64>,
    /// Over HTTP: answers every request so.
    refusal: Option<Refused>,
    /// Arguments that a tool wants mirrored, each with its header.
    mirrored: BTreeMap<String, Vec<(String, String)>>,
    /// What the definitions of tools say beside their names, such as descriptions.
    said: BTreeMap<String, Map<String, Value>>,
    /// Where the numbers of calls are written down.
    ledger: Option<Ledger>,
}

/// An HTTP answer without a message.
#[derive(Debug, Clone)]
struct Refused {
    status: u16,
    headers: Vec<(String, String)>,
}

/// How the server behaves over HTTP.
#[derive(Debug, Clone, Copy, Default)]
struct HttpManners {
    /// Answers with a stream of events.
    events: bool,
    /// Keeps sessions, in the legacy era.
    sessions: bool,
    /// Has a stream for what it says unasked, in the legacy era.
    listens: bool,
    /// Answers nothing else while that is open.
    serial: bool,
    /// Speaks the transport before this one.
    old: bool,
}

/// What carries the messages.
#[derive(Debug, Clone, Copy)]
enum Carrier {
    WebSocket(Manners),
    Http(HttpManners),
}

/// How the server receives its guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    /// Accepts, and never says a word.
    BlackHole,
    /// Answers the upgrade request with a status.
    Refuse(u16),
}

/// Connections that wait to be accepted: as many as tokio's own listeners have.
const BACKLOG: u32 = 1024;

/// Calls of a checker that are counted, a byte each: more than a test makes, less than a mistake could ask for.
const NUMBERS_MAX: usize = 1 << 28;

/// What the server has seen.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Observed {
    /// Calls, by tool.
    pub calls: BTreeMap<String, u64>,
    /// Calls that asked for progress.
    pub progress_asked: u64,
    /// Levels from which on calls asked for log messages, in order.
    pub log_levels: Vec<String>,
    /// Ids of requests that were called off.
    pub cancelled: Vec<u64>,
    /// Methods of the handshakes, in order.
    pub handshakes: Vec<String>,
    /// Pages of the tool list that were asked for.
    pub listings: u64,
    /// Requests for or about resources and prompts, and for what changes, by method.
    pub requests: BTreeMap<String, u64>,
    /// Resources that connections were subscribed to, ever.
    pub subscribed: BTreeSet<String>,
    /// Connections that are open.
    pub connections: usize,
    /// Connections ever.
    pub accepted: u64,
    /// How often each call of an [`AnswerChecker`](super::AnswerChecker) arrived, by its number.
    pub executions: Vec<u8>,
    /// Requests that were left without an answer as [`ScriptedServer::neglect`] orders, by method.
    pub neglected: BTreeMap<String, u64>,
    /// What calls of [`Script::Keep`] keep, by connection or session.
    pub kept: BTreeMap<String, String>,
    /// Sessions that are known, over HTTP.
    pub sessions: BTreeSet<String>,
    /// Sessions ever.
    pub sessions_begun: u64,
    /// Sessions that their clients ended.
    pub sessions_ended: u64,
    /// Streams for what the server says unasked, ever.
    pub listeners: u64,
    /// Of these, those that are open.
    pub listening: u64,
    /// Pings of clients, ever.
    pub pings: u64,
    /// What the last client to introduce itself declared that it answers.
    pub declared: Option<serde_json::Value>,
    /// Questions to clients, ever.
    pub questions: u64,
    /// What clients answered to questions, by id.
    pub answers: BTreeMap<String, serde_json::Value>,
    /// What was wrong with the headers of requests.
    pub wrong_headers: Vec<String>,
}

impl Observed {
    fn executed(&mut self, number: u64) {
        let Ok(number @ ..NUMBERS_MAX) = usize::try_from(number) else { return };
        if self.executions.len() <= number {
            self.executions.resize(number + 1, 0);
        }
        self.executions[number] = self.executions[number].saturating_add(1);
    }
}

/// Sets up a scripted server.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct ScriptedBuilder {
    plan: Plan,
    door: Door,
    manners: Manners,
    http: Option<HttpManners>,
}

/// How the server behaves as a WebSocket peer.
#[derive(Debug, Clone, Copy)]
struct Manners {
    subprotocol: bool,
    pongs: bool,
    lists_connection: bool,
}

impl ScriptedBuilder {
    /// Adds a tool.
    pub fn tool(mut self, name: impl Into<String>, script: Script) -> Self {
        self.plan.tools.insert(name.into(), script);
        self
    }

    /// Has a resource with this text.
    pub fn resource(mut self, uri: impl Into<String>, text: impl Into<String>) -> Self {
        self.plan.resources.insert(uri.into(), text.into());
        self
    }

    /// Lists this template. What follows it is read if it is a [`resource`](Self::resource) that is not listed: one whose URI
    /// begins with `hidden:`.
    pub fn template(mut self, template: impl Into<String>) -> Self {
        self.plan.templates.push(template.into());
        self
    }

    /// Has a prompt with this text, behind which it puts its arguments.
    pub fn prompt(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.plan.prompts.insert(name.into(), text.into());
        self
    }

    /// Declares that it tells when its tools change and takes subscriptions, and does.
    pub fn tells_changes(mut self) -> Self {
        self.plan.tells = true;
        self
    }

    /// Says in the handshake how it wants to be used.
    pub fn instructions(mut self, text: impl Into<String>) -> Self {
        self.plan.instructions = Some(text.into());
        self
    }

    /// Says of its lists and resources that they stay fresh for so long.
    pub fn fresh_for(mut self, time: Duration) -> Self {
        self.plan.ttl_ms = Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// The era it speaks; modern unless said.
    pub fn era(mut self, era: ScriptedEra) -> Self {
        self.plan.era = era;
        self
    }

    /// The dialect it speaks; MCP unless said.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.plan.dialect = dialect;
        self
    }

    /// Tools on one page of the list; all of them unless said.
    pub fn page_size(mut self, size: usize) -> Self {
        self.plan.page_size = size.max(1);
        self
    }

    /// Accepts connections and never says a word.
    pub fn black_hole(mut self) -> Self {
        self.door = Door::BlackHole;
        self
    }

    /// Answers upgrade requests with an HTTP status.
    pub fn refuse_upgrade(mut self, status: u16) -> Self {
        self.door = Door::Refuse(status);
        self
    }

    /// Knows no WebSocket subprotocol.
    pub fn without_subprotocol(mut self) -> Self {
        self.manners.subprotocol = false;
        self
    }

    /// Answers no ping.
    pub fn without_pongs(mut self) -> Self {
        self.manners.pongs = false;
        self
    }

    /// Speaks Streamable HTTP and answers with JSON.
    pub fn http(mut self) -> Self {
        self.http.get_or_insert_default();
        self
    }

    fn http_manners(mut self, change: impl FnOnce(&mut HttpManners)) -> Self {
        change(self.http.get_or_insert_default());
        self
    }

    /// Speaks Streamable HTTP and answers with streams of events.
    pub fn http_events(self) -> Self {
        self.http_manners(|manners| manners.events = true)
    }

    /// Over HTTP and in the legacy era: keeps sessions, and refuses requests without one.
    pub fn sessions(self) -> Self {
        self.http_manners(|manners| manners.sessions = true)
    }

    /// Over HTTP and in the legacy era: has a stream for what it says unasked.
    pub fn listening_stream(self) -> Self {
        self.http_manners(|manners| manners.listens = true)
    }

    /// Answers no request while its [stream](Self::listening_stream) is open.
    pub fn serial_stream(self) -> Self {
        self.http_manners(|manners| manners.serial = true)
    }

    /// Says in its answer to a WebSocket upgrade request that the connection is kept, too, as proxies do.
    pub fn lists_connection(mut self) -> Self {
        self.manners.lists_connection = true;
        self
    }

    /// Speaks the HTTP+SSE transport of 2024-11-05.
    pub fn old_http(self) -> Self {
        self.http_manners(|manners| manners.old = true)
    }

    /// A tool wants this argument mirrored into this header: its schema says so, and over HTTP it insists.
    pub fn mirrored(
        mut self,
        tool: impl Into<String>,
        header: impl Into<String>,
        argument: impl Into<String>,
    ) -> Self {
        self.plan.mirrored.entry(tool.into()).or_default().push((header.into(), argument.into()));
        self
    }

    /// A tool's definition has these members as well, or instead: a JSON object.
    ///
    /// # Panics
    /// If it is none.
    pub fn says(mut self, tool: impl Into<String>, members: Value) -> Self {
        self.plan.said.insert(tool.into(), object(members));
        self
    }

    /// Says of a tool that it changes nothing (`readOnlyHint`).
    pub fn read_only(mut self, tool: impl Into<String>) -> Self {
        let hint = object(serde_json::json!({"annotations": {"readOnlyHint": true}}));
        self.plan.said.entry(tool.into()).or_default().extend(hint);
        self
    }

    /// Writes the number of each call of an [`AnswerChecker`](super::AnswerChecker) into this file when it arrives, so that a
    /// process that is killed leaves its account behind: see [`read_ledger`].
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn ledger(mut self, file: impl AsRef<Path>) -> Self {
        self.plan.ledger = Some(Ledger::open(file.as_ref()));
        self
    }

    /// Starts it on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start(self) -> ScriptedServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on the loopback");
        let address = listener.local_addr().expect("a bound listener has an address");
        let mut server = self.prepare(Some(address));
        server.listen(listener);
        server
    }

    /// Starts it in memory, for tests under paused time.
    pub fn start_in_memory(self) -> (ScriptedServer, MemoryConnector) {
        let (connector, listener) = pair(1024);
        let mut server = self.prepare(None);
        let (plan, observed) = (server.plan.subscribe(), server.observed.clone());
        server.tasks.spawn(accept_in_memory(listener, plan, observed));
        (server, connector)
    }

    /// Serves the one client that holds the other ends of this process's stdin and stdout, until it leaves or a script cuts
    /// the connection: for a program that a test starts as a stdio server. Returns what it has seen.
    ///
    /// The runtime that runs it cannot end by itself while stdin is open; the program ends with `std::process::exit`.
    pub async fn serve_stdio(self) -> Observed {
        let server = self.prepare(None);
        if server.door == Door::BlackHole {
            std::future::pending::<()>().await;
        }
        let incoming = FramedRead::new(tokio::io::stdin(), Lines::new(usize::MAX));
        let incoming = incoming.filter_map(|line| {
            std::future::ready(match line {
                Ok(Line::Whole(line)) => Some(line),
                Ok(Line::TooLong { .. }) | Err(_) => None,
            })
        });
        let outgoing = FramedWrite::new(tokio::io::stdout(), Lines::new(usize::MAX));
        brain::serve(incoming, outgoing, server.plan.subscribe(), Guest::new(&server.observed)).await;
        server.observed()
    }

    /// Makes it without a place of its own: connections come in by its [`entrance`](ScriptedServer::entrance) alone, as
    /// from a simulated network.
    pub fn build(self) -> ScriptedServer {
        self.prepare(None)
    }

    fn prepare(self, address: Option<SocketAddr>) -> ScriptedServer {
        ScriptedServer {
            plan: watch::Sender::new(self.plan),
            observed: watch::Sender::new(Observed::default()),
            door: self.door,
            carrier: self.http.map_or(Carrier::WebSocket(self.manners), Carrier::Http),
            address,
            held_port: None,
            tasks: JoinSet::new(),
        }
    }
}

/// A scripted server; see [`builder`](Self::builder). It ends when it is dropped.
#[derive(Debug)]
pub struct ScriptedServer {
    plan: watch::Sender<Plan>,
    observed: watch::Sender<Observed>,
    door: Door,
    carrier: Carrier,
    address: Option<SocketAddr>,
    /// Bound and not listening: who connects is refused, and nobody else gets the port.
    held_port: Option<TcpSocket>,
    tasks: JoinSet<()>,
}

impl ScriptedServer {
    /// Begins to set up a server without tools.
    pub fn builder() -> ScriptedBuilder {
        ScriptedBuilder {
            plan: Plan {
                era: ScriptedEra::Modern,
                dialect: Dialect::Mcp,
                tools: BTreeMap::new(),
                resources: BTreeMap::new(),
                templates: Vec::new(),
                prompts: BTreeMap::new(),
                instructions: None,
                tells: false,
                ttl_ms: None,
                updates: Vec::new(),
                page_size: usize::MAX,
                epoch: 0,
                releases: 0,
                announcements: 0,
                deaf: false,
                neglected: BTreeMap::new(),
                refusal: None,
                mirrored: BTreeMap::new(),
                said: BTreeMap::new(),
                ledger: None,
            },
            door: Door::Open,
            manners: Manners { subprotocol: true, pongs: true, lists_connection: false },
            http: None,
        }
    }

    /// Where it is; empty if it has no port.
    pub fn url(&self) -> String {
        let scheme = match self.carrier {
            Carrier::WebSocket(_) => "ws",
            Carrier::Http(_) => "http",
        };
        self.address.map(|address| format!("{scheme}://{address}")).unwrap_or_default()
    }

    fn listen(&mut self, listener: TcpListener) {
        self.tasks.spawn(accept(listener, self.entrance()));
    }

    /// Where connections come in that the test brings itself, as from a simulated network.
    pub fn entrance(&self) -> Entrance {
        Entrance {
            door: self.door,
            carrier: self.carrier,
            plan: self.plan.subscribe(),
            observed: self.observed.clone(),
        }
    }

    /// Makes room for the numbers of so many calls of an [`AnswerChecker`](super::AnswerChecker).
    pub fn reserve(&self, calls: usize) {
        self.observed.send_modify(|observed| observed.executions.reserve_exact(calls.min(NUMBERS_MAX)));
    }

    /// Changes what a tool does, or adds one.
    pub fn set_script(&self, tool: impl Into<String>, script: Script) {
        self.plan.send_modify(|plan| {
            plan.tools.insert(tool.into(), script);
        });
    }

    /// Removes a tool.
    pub fn remove_tool(&self, tool: &str) {
        self.plan.send_modify(|plan| {
            plan.tools.remove(tool);
        });
    }

    /// Tells every client that the tools changed.
    pub fn announce_tools(&self) {
        self.plan.send_modify(|plan| plan.announcements += 1);
    }

    /// Lets go every answer that is held now.
    pub fn release(&self) {
        self.plan.send_modify(|plan| plan.releases += 1);
    }

    /// Drops every connection without a close frame.
    pub fn cut_all(&self) {
        self.plan.send_modify(|plan| plan.epoch += 1);
    }

    /// Stops reading: no message is answered any more, and no ping.
    pub fn go_deaf(&self) {
        self.plan.send_modify(|plan| plan.deaf = true);
    }

    /// Leaves so many more requests of this method without an answer. Calls of tools are answered by their scripts.
    pub fn neglect(&self, method: impl Into<String>, times: u64) {
        let method = method.into();
        let so_far = self.observed.borrow().neglected.get(&method).copied().unwrap_or_default();
        self.plan.send_modify(|plan| {
            plan.neglected.insert(method, so_far.saturating_add(times));
        });
    }

    /// Answers every request of this method again.
    pub fn attend(&self, method: &str) {
        self.plan.send_modify(|plan| {
            plan.neglected.remove(method);
        });
    }

    /// Over HTTP: answers every request with this status and these headers from now on.
    pub fn refuse_with(&self, status: u16, headers: &[(&str, &str)]) {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.plan.send_modify(|plan| plan.refusal = Some(Refused { status, headers }));
    }

    /// Over HTTP: answers again.
    pub fn refuse_no_more(&self) {
        self.plan.send_modify(|plan| plan.refusal = None);
    }

    /// Over HTTP: forgets every session.
    pub fn forget_sessions(&self) {
        self.observed.send_modify(|observed| {
            for session in std::mem::take(&mut observed.sessions) {
                observed.kept.remove(&session);
            }
        });
    }

    /// Wants an argument of a tool mirrored into a header from now on.
    pub fn mirror(&self, tool: &str, header: &str, argument: &str) {
        self.plan.send_modify(|plan| {
            plan.mirrored.entry(tool.to_owned()).or_default().push((header.to_owned(), argument.to_owned()));
        });
    }

    /// Says something else of a tool from now on: its definition has these members, a JSON object.
    ///
    /// # Panics
    /// If it is none.
    pub fn say(&self, tool: impl Into<String>, members: Value) {
        let (tool, members) = (tool.into(), object(members));
        self.plan.send_modify(|plan| {
            plan.said.insert(tool, members);
        });
    }

    /// Drops every connection and refuses new ones. The port stays its own.
    ///
    /// # Panics
    /// If another process takes the port in this moment.
    pub async fn stop_listening(&mut self) {
        self.cut_all();
        self.tasks.shutdown().await;
        self.observed.send_modify(|observed| observed.connections = 0);
        self.held_port = match self.address {
            Some(address) => Some(hold(address).await.expect("its port is still free")),
            None => None,
        };
    }

    /// Listens again, on the same port.
    ///
    /// # Panics
    /// If it had not stopped, or runs in memory.
    pub async fn resume(&mut self) {
        let port = self.held_port.take().expect("a server that has a port, and has stopped listening on it");
        self.listen(port.listen(BACKLOG).expect("a port that is held can be listened on"));
    }

    /// Changes a resource, and tells those who are subscribed to it.
    pub fn update_resource(&self, uri: impl Into<String>, text: impl Into<String>) {
        let uri = uri.into();
        self.plan.send_modify(|plan| {
            plan.resources.insert(uri.clone(), text.into());
            plan.updates.push(uri);
        });
    }

    /// What it has seen so far.
    pub fn observed(&self) -> Observed {
        self.observed.borrow().clone()
    }

    /// How often the call with this number of an [`AnswerChecker`](super::AnswerChecker) has arrived.
    pub fn executions(&self, number: u64) -> u32 {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        self.observed.borrow().executions.get(number).copied().unwrap_or_default().into()
    }

    /// Calls of a tool so far.
    pub fn calls(&self, tool: &str) -> u64 {
        self.observed.borrow().calls.get(tool).copied().unwrap_or_default()
    }

    /// Waits until it has seen what the test waits for.
    ///
    /// # Panics
    /// When that has not come after five minutes of the clock on the wall, paused time or not: so a test of what never happens
    /// fails by its name, and holds up none that follow.
    pub async fn wait_for(&self, mut seen: impl FnMut(&Observed) -> bool) {
        let mut observed = self.observed.subscribe();
        if seen(&observed.borrow_and_update()) {
            return;
        }
        let (ended, end) = std::sync::mpsc::channel::<()>();
        let (give_up, given_up) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            if end.recv_timeout(NEVER) == Err(RecvTimeoutError::Timeout) {
                let _ = give_up.send(());
            }
        });
        tokio::select! {
            // The sender is this server itself.
            _ = observed.wait_for(|observed| seen(observed)) => drop(ended),
            Ok(()) = given_up => panic!("what the test waits for was not seen: {:?}", self.observed()),
        }
    }
}

/// How long a test waits for what never happens.
const NEVER: Duration = Duration::from_secs(300);

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("{other} is no object"),
    }
}

/// How long a port may stay taken after its listener was closed: a child process that is being started holds copies of all
/// open sockets until its program runs.
const PORT_FREE_WITHIN: Duration = Duration::from_secs(2);

/// Takes a port without listening on it.
async fn hold(address: SocketAddr) -> io::Result<TcpSocket> {
    let until = Instant::now() + PORT_FREE_WITHIN;
    loop {
        let socket = TcpSocket::new_v4()?;
        // Connections that were just cut linger on the port.
        socket.set_reuseaddr(true)?;
        match socket.bind(address) {
            Ok(()) => return Ok(socket),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Counts a connection for as long as it lives.
struct Guest {
    /// Its connection's number, from 1.
    number: u64,
    /// Set to end what is written half-way.
    broken: Arc<AtomicBool>,
    observed: watch::Sender<Observed>,
}

impl Guest {
    fn new(observed: &watch::Sender<Observed>) -> Self {
        observed.send_modify(|observed| {
            observed.connections += 1;
            observed.accepted += 1;
        });
        Self { number: observed.borrow().accepted, broken: Arc::default(), observed: observed.clone() }
    }

    /// Under which name something is kept for a connection.
    fn home(&self) -> String {
        format!("connection-{}", self.number)
    }

    /// Of what is written next only a part gets through.
    fn break_off(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.observed.send_modify(|observed| {
            observed.connections = observed.connections.saturating_sub(1);
            observed.kept.remove(&self.home());
        });
    }
}

/// Where connections come in; see [`ScriptedServer::entrance`].
#[derive(Debug, Clone)]
pub struct Entrance {
    door: Door,
    carrier: Carrier,
    plan: watch::Receiver<Plan>,
    observed: watch::Sender<Observed>,
}

impl Entrance {
    /// Serves one connection until it ends.
    pub async fn admit(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let guest = Guest::new(&self.observed);
        match self.door {
            Door::BlackHole => {
                let held = (stream, guest);
                std::future::pending::<()>().await;
                drop(held);
            }
            Door::Open => self.converse(stream, None, guest).await,
            Door::Refuse(status) => self.converse(stream, Some(status), guest).await,
        }
    }

    async fn converse(
        self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        refusal: Option<u16>,
        guest: Guest,
    ) {
        match self.carrier {
            Carrier::WebSocket(manners) => converse(stream, refusal, manners, self.plan, guest).await,
            Carrier::Http(manners) => http::serve(stream, manners, self.plan, guest).await,
        }
    }
}

async fn accept(listener: TcpListener, entrance: Entrance) {
    let mut guests = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        // Small answers should not wait for an acknowledgement; without it they are merely later.
        let _ = stream.set_nodelay(true);
        guests.spawn(entrance.clone().admit(stream));
        // Those that have gone are not kept.
        while guests.try_join_next().is_some() {}
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    refusal: Option<u16>,
    manners: Manners,
    plan: watch::Receiver<Plan>,
    guest: Guest,
) {
    // The signature is tungstenite's; its large error type is not ours to change.
    #[allow(clippy::result_large_err)]
    let answer = |request: &Request, mut response: Response| {
        if let Some(status) = refusal {
            let mut refused = ErrorResponse::new(None);
            *refused.status_mut() = ::http::StatusCode::from_u16(status).unwrap_or_default();
            return Err(refused);
        }
        let offered = request.headers().get(::http::header::SEC_WEBSOCKET_PROTOCOL);
        if manners.subprotocol && offered.is_some() {
            let value = ::http::HeaderValue::from_static("mcp");
            response.headers_mut().insert(::http::header::SEC_WEBSOCKET_PROTOCOL, value);
        }
        if manners.lists_connection {
            let value = ::http::HeaderValue::from_static("keep-alive, Upgrade");
            response.headers_mut().insert(::http::header::CONNECTION, value);
        }
        Ok(response)
    };
    let wire = Wire::new(stream, manners.pongs, guest.broken.clone());
    let Ok(socket) = accept_hdr_async(wire, answer).await else { return };
    let (sink, stream) = socket.split();
    let incoming = stream.filter_map(|received| {
        std::future::ready(match received {
            Ok(Message::Text(text)) => Some(Bytes::from(text)),
            _ => None,
        })
    });
    let outgoing = sink.with(|frame: Bytes| {
        let text = String::from_utf8_lossy(&frame).into_owned();
        std::future::ready(Ok::<_, tokio_tungstenite::tungstenite::Error>(Message::Text(Utf8Bytes::from(
            text,
        ))))
    });
    brain::serve(incoming, outgoing, plan, guest).await;
}

async fn accept_in_memory(
    mut listener: MemoryListener,
    plan: watch::Receiver<Plan>,
    observed: watch::Sender<Observed>,
) {
    let mut guests = JoinSet::new();
    while let Some(peer) = listener.accept().await {
        let (plan, observed) = (plan.clone(), observed.clone());
        guests.spawn(async move {
            let guest = Guest::new(&observed);
            let (incoming, outgoing) = peer.split();
            brain::serve(incoming, outgoing, plan, guest).await;
        });
        while guests.try_join_next().is_some() {}
    }
}
