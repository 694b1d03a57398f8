//! Peers that answer late or never, read slowly or not at all, or print where messages belong.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use common::{end, event, kind, start_with};
use mcp_troupe::config::PoolSettings;
use mcp_troupe::event::ServerStatus;
use mcp_troupe::testkit::{Entrance, MemoryListener, MemoryPeer, Script, ScriptedServer, pair};
use mcp_troupe::transport::websocket::{WebSocketConnector, WebSocketOptions};
use mcp_troupe::transport::{BoxFuture, Connector, DialError, Link};
use mcp_troupe::{Call, CallErrorKind, Event, EventStream, Readiness, Server, Settings, Troupe};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A request that a peer got.
struct Asked {
    id: u64,
    method: String,
}

fn asked(frame: &[u8]) -> Option<Asked> {
    let value: Value = serde_json::from_slice(frame).unwrap();
    Some(Asked { id: value["id"].as_u64()?, method: value["method"].as_str()?.to_owned() })
}

fn result(id: u64, result: Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()
}

/// What a good server with the tool `t`, and a resource to subscribe to, says to a request of the legacy era.
fn good(request: &Asked) -> String {
    let Asked { id, method } = request;
    match method.as_str() {
        "server/discover" => {
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no"}}).to_string()
        }
        "initialize" => result(
            *id,
            json!({
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}, "resources": {"subscribe": true}},
                "serverInfo": {"name": "x"}
            }),
        ),
        "tools/list" => result(*id, json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]})),
        "resources/list" => result(*id, json!({"resources": [{"name": "a", "uri": "file:///a"}]})),
        _ => result(*id, json!({"content": []})),
    }
}

/// Answers with what `say` makes of a request and the number of its connection, until the link ends.
async fn serve(
    mut listener: MemoryListener,
    accepted: Arc<AtomicUsize>,
    say: impl Fn(usize, &Asked) -> Vec<String> + Clone + Send + 'static,
) {
    while let Some(mut peer) = listener.accept().await {
        let number = accepted.fetch_add(1, Ordering::SeqCst);
        let say = say.clone();
        tokio::spawn(async move {
            while let Some(frame) = peer.recv().await {
                let Some(request) = asked(&frame) else { continue };
                for message in say(number, &request) {
                    if !peer.send(message).await {
                        return;
                    }
                }
            }
        });
    }
}

/// A troupe with the server `s` over links in memory, and how many links there were.
async fn in_memory(
    pool: PoolSettings,
    say: impl Fn(usize, &Asked) -> Vec<String> + Clone + Send + 'static,
) -> (Troupe, EventStream, Arc<AtomicUsize>) {
    let (connector, listener) = pair(64);
    let accepted = Arc::new(AtomicUsize::new(0));
    let server = Server::custom("s").pool(pool);
    let troupe = Troupe::builder().seed(7).server_via(server, connector).start().await.unwrap();
    let events = troupe.events();
    tokio::spawn(serve(listener, accepted.clone(), say));
    (troupe, events, accepted)
}

fn pool(min: usize, max: usize) -> PoolSettings {
    let mut pool = PoolSettings::default();
    (pool.min, pool.max) = (min, max);
    pool
}

async fn until_ready(events: &mut EventStream) {
    let ready = |event: &Event| matches!(event, Event::ServerStatusChanged { to: ServerStatus::Ready, .. });
    event(events, ready).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_its_first_list_is_dialled_again() {
    let silent_once = |connection: usize, request: &Asked| match request.method.as_str() {
        "tools/list" if connection == 0 => Vec::new(),
        _ => vec![good(request)],
    };
    let (troupe, mut events, accepted) = in_memory(pool(1, 1), silent_once).await;
    until_ready(&mut events).await;
    assert_eq!(accepted.load(Ordering::SeqCst), 2);
    assert!(troupe.call(Call::tool("t")).await.is_ok());
    end(troupe).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_process_that_hangs_before_it_lists_its_tools_is_ended_and_another_one_started() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    // The first process agrees on the era and says no more; those after it cannot even do that.
    let script = r#"echo $$ >> "$PIDS"
        read line
        echo '{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}}'
        exec sleep 1000"#;
    let mut limits = pool(1, 1);
    limits.list_timeout = Duration::from_millis(100);
    let server =
        Server::stdio("s", "/bin/sh", ["-c", script]).env("PIDS", pids.to_str().unwrap()).pool(limits);
    let troupe = common::start([server]).await;
    let started = loop {
        let started = std::fs::read_to_string(&pids).unwrap_or_default();
        match started.lines().collect::<Vec<_>>().as_slice() {
            [first, _, ..] => break (*first).to_owned(),
            _ => sleep(Duration::from_millis(20)).await,
        }
    };
    assert!(!std::path::Path::new("/proc").join(started).exists(), "the first process lives");
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_whose_subscription_was_never_answered_is_given_back() {
    let deaf = |_: usize, request: &Asked| match request.method.as_str() {
        "resources/subscribe" | "tools/call" => Vec::new(),
        _ => vec![good(request)],
    };
    let (troupe, mut events, accepted) = in_memory(pool(1, 2), deaf).await;
    until_ready(&mut events).await;
    let held = troupe.subscribe("file:///a").await.unwrap();
    // Two at once want a second connection; the first one, with the subscription, is idle before it.
    let call = |seconds| troupe.call(Call::tool("t").timeout(Duration::from_secs(seconds)));
    let (first, second) = (tokio::spawn(call(5)), tokio::spawn(call(10)));
    while accepted.load(Ordering::SeqCst) < 2 {
        sleep(Duration::from_millis(10)).await;
    }
    let third = call(20);
    let (first, second, third) = tokio::join!(first, second, third);
    assert!(first.unwrap().is_err() && second.unwrap().is_err() && third.is_err());
    tokio::time::timeout(Duration::from_secs(600), async {
        while troupe.stats().await.servers[0].pool.total > 1 {
            sleep(Duration::from_secs(1)).await;
        }
    })
    .await
    .expect("two connections for a server that nobody calls");
    drop(held);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ends_over_a_call_that_is_never_answered_gives_its_connection_back() {
    let silent = |_: usize, request: &Asked| match request.method.as_str() {
        "tools/call" => Vec::new(),
        _ => vec![good(request)],
    };
    let (troupe, mut events, _) = in_memory(pool(1, 1), silent).await;
    until_ready(&mut events).await;
    let lease = troupe.lease("s").await.unwrap();
    let mut call = Box::pin(lease.call(Call::tool("t").timeout(Duration::from_secs(5))));
    tokio::select! {
        answer = &mut call => panic!("{answer:?}"),
        () = sleep(Duration::from_secs(1)) => {}
    }
    drop(lease);
    assert!(matches!(kind(call.await), CallErrorKind::DeadlineExceeded { sent: true, .. }));
    tokio::time::timeout(Duration::from_secs(5), async {
        while troupe.stats().await.servers[0].pool.leased > 0 {
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("the connection of the lease is never given back");
    end(troupe).await;
}

/// A line on which the server reads so many bytes in a tenth of a second.
struct SlowLine<S> {
    stream: S,
    bytes: usize,
    rest: Pin<Box<Sleep>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for SlowLine<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.rest.as_mut().poll(poller));
        let mut piece = buffer.take(self.bytes);
        ready!(Pin::new(&mut self.stream).poll_read(poller, &mut piece))?;
        let read = piece.filled().len();
        // What was read lies in the buffer already.
        let filled = buffer.filled().len() + read;
        buffer.initialize_unfilled_to(read);
        buffer.set_filled(filled);
        self.rest.set(sleep(Duration::from_millis(100)));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for SlowLine<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(poller, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(poller)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(poller)
    }
}

/// Reaches a scripted server over slow lines.
struct SlowConnector {
    websocket: WebSocketConnector,
    entrance: Entrance,
    bytes: usize,
}

impl SlowConnector {
    fn to(server: &ScriptedServer, bytes: usize) -> Self {
        let options = WebSocketOptions::new("ws://memory");
        Self { websocket: WebSocketConnector::new(options).unwrap(), entrance: server.entrance(), bytes }
    }
}

impl Connector for SlowConnector {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, DialError>> {
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(64 << 10);
            let rest = Box::pin(sleep(Duration::ZERO));
            tokio::spawn(self.entrance.clone().admit(SlowLine { stream: theirs, bytes: self.bytes, rest }));
            self.websocket.over(ours).await
        })
    }

    fn endpoint(&self) -> String {
        self.websocket.endpoint()
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_message_on_a_slow_line_that_moves_arrives() {
    let done = Script::Reply(r#"{"content":[]}"#.into());
    let server = ScriptedServer::builder().tool("take", done).build();
    // A megabyte in three seconds: the message takes three times as long as a peer may rest, and as it may leave a ping
    // without an answer.
    let connector = SlowConnector::to(&server, 32 << 10);
    let troupe = Troupe::builder().seed(7).server_via(Server::custom("s"), connector).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let args = json!({"text": "x".repeat(12 << 20)});
    let answer = troupe.call(Call::tool("take").args(args).timeout(Duration::from_secs(120))).await;
    assert!(answer.is_ok(), "{}", answer.unwrap_err());
    end(troupe).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_process_that_reads_slowly_is_not_given_up() {
    // It takes a large request piece by piece, with a rest after each, and answers in the end.
    let script = r#"read line
        echo '{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}}'
        read line
        echo '{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"t"}]}}'
        for piece in 1 2 3 4 5 6 7 8; do
            head -c 131072 > /dev/null
            sleep 0.2
        done
        echo '{"jsonrpc":"2.0","id":3,"result":{"content":[]}}'
        exec cat > /dev/null"#;
    let impatient = |settings: &mut Settings| settings.liveness.write_timeout = Duration::from_millis(700);
    let troupe = start_with(impatient, [Server::stdio("s", "/bin/sh", ["-c", script])]).await;
    troupe.ready(Readiness::All).await.unwrap();
    let args = json!({"text": "x".repeat(1 << 20)});
    let answer = troupe.call(Call::tool("t").args(args).timeout(Duration::from_secs(60))).await;
    assert!(answer.is_ok(), "{}", answer.unwrap_err());
    end(troupe).await;
}

#[tokio::test]
async fn lines_of_a_log_between_messages_end_no_connection() {
    let chatty = |_: usize, request: &Asked| {
        let mut said = Vec::new();
        if request.method == "tools/call" {
            // Text, and what begins like a message.
            said.extend((0..400).map(|line| format!("  File \"server.py\", line {line}, in handler")));
            said.extend((0..400).map(|line| format!("[INFO] {line}")));
            said.extend((0..400).map(|line| format!(r#"{{"level":30,"msg":"request {line}"}}"#)));
        }
        said.push(good(request));
        said
    };
    let (troupe, mut events, accepted) = in_memory(pool(1, 1), chatty).await;
    until_ready(&mut events).await;
    for _ in 0..3 {
        let answer = troupe.call(Call::tool("t")).await;
        assert!(answer.is_ok(), "{}", answer.unwrap_err());
    }
    assert_eq!(troupe.stats().await.servers[0].outcomes["protocol-violation"], 3 * 1_200);
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
    end(troupe).await;
}

#[tokio::test]
async fn a_peer_that_floods_with_what_is_no_message_is_given_up() {
    let flooding = |connection: usize, request: &Asked| match request.method.as_str() {
        "tools/call" if connection == 0 => vec!["yes".to_owned(); 100_000],
        _ => vec![good(request)],
    };
    let (troupe, mut events, _) = in_memory(pool(1, 1), flooding).await;
    until_ready(&mut events).await;
    let CallErrorKind::ConnectionLost { reason, sent: true } = kind(troupe.call(Call::tool("t")).await)
    else {
        panic!("it was answered")
    };
    assert!(reason.contains("no messages"), "{reason}");
    assert!(troupe.call(Call::tool("t")).await.is_ok(), "another connection takes its place");
    end(troupe).await;
}

#[tokio::test]
async fn an_answer_whose_id_is_the_same_number_as_text_too_is_the_answer_and_one_with_another_text_is_told() {
    let odd = |_: usize, request: &Asked| {
        let answer = good(request);
        let id = format!("\"id\":{}", request.id);
        if request.method != "tools/call" {
            return vec![answer];
        }
        let named = |name: &str| answer.replace(&id, &format!("\"id\":{name}"));
        let number = request.id;
        // Only the second is written as it was asked; what comes after it answers nothing.
        vec![
            named(&format!("\"{number}.0\"")),
            named(&format!("\"{number}\"")),
            named(&format!("{number}.0")),
        ]
    };
    let (troupe, mut events, _) = in_memory(pool(1, 1), odd).await;
    until_ready(&mut events).await;
    assert!(troupe.call(Call::tool("t")).await.is_ok());
    let told = event(&mut events, |event| matches!(event, Event::ProtocolViolation { .. })).await;
    let Event::ProtocolViolation { reason, violations: 1, .. } = told else { panic!("{told:?}") };
    assert!(reason.contains("no request has"), "{reason}");
    let outcomes = &troupe.stats().await.servers[0].outcomes;
    assert_eq!((outcomes["late-answer"], outcomes["protocol-violation"]), (2, 1));
    end(troupe).await;
}

/// How two calls end at once over one connection, where a server answers the second with this, and the first after that; and
/// how many connections there were.
async fn beside(
    odd: impl Fn(u64) -> Vec<u8> + Clone + Send + Sync + 'static,
) -> (CallErrorKind, bool, usize) {
    let (connector, mut listener) = pair(64);
    let server = Server::custom("s").pool(pool(1, 1));
    let troupe = Troupe::builder().seed(7).server_via(server, connector).start().await.unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    tokio::spawn(async move {
        while let Some(mut peer) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let odd = odd.clone();
            tokio::spawn(async move {
                let mut first = None;
                while let Some(frame) = peer.recv().await {
                    let Some(request) = asked(&frame) else { continue };
                    match first.take() {
                        _ if request.method != "tools/call" => drop(peer.send(good(&request)).await),
                        None => first = Some(good(&request)),
                        Some(first) => {
                            peer.send(odd(request.id)).await;
                            peer.send(first).await;
                        }
                    }
                }
            });
        }
    });
    troupe.ready(Readiness::All).await.unwrap();
    let first = tokio::spawn(troupe.call(Call::tool("t").timeout(Duration::from_secs(5))));
    tokio::task::yield_now().await;
    let second = tokio::spawn(troupe.call(Call::tool("t").timeout(Duration::from_secs(5))));
    let (one, other) = (first.await.unwrap(), second.await.unwrap());
    let ok = one.is_ok() || other.is_ok();
    let error = if one.is_err() { one } else { other };
    end(troupe).await;
    (kind(error), ok, accepted.load(Ordering::SeqCst))
}

// codebase-memory-mcp#511, technocore-chat#361
#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_read_ends_the_call_that_it_names_at_once_and_no_other() {
    for (odd, words) in [
        (&b"{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":{\"text\":\"caf\xe9\"}}"[..], "no UTF-8 at byte"),
        (b"{\"result\":{\"id\":99,\"text\":\"caf\xe9\"},\"id\":\"ID\"}", "no UTF-8 at byte"),
        (b"{\"id\":ID,\"result\":{\"x\":NaN}}", "syntax error at byte"),
        (b"{\"id\":ID,\"result\":{\"content\":[", "it breaks off"),
    ] {
        let say = move |id: u64| {
            let at = odd.windows(2).position(|two| two == b"ID").unwrap();
            [&odd[..at], id.to_string().as_bytes(), &odd[at + 2..]].concat()
        };
        let (error, other, connections) = beside(say).await;
        let CallErrorKind::InvalidResponse { reason } = error else { panic!("{error}") };
        assert!(reason.contains(words), "{reason}");
        assert!(other && connections == 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_and_names_no_call_ends_none() {
    for odd in [&b"caf\xe9"[..], b"[INFO] {\"id\":", b"{\"level\":30,\"msg\":\"caf\xe9\"}", b"{\"id\":4"] {
        let (error, other, connections) = beside(move |_| odd.to_vec()).await;
        assert!(matches!(error, CallErrorKind::DeadlineExceeded { .. }), "{error}");
        assert!(other && connections == 1);
    }
}

// helidon-mcp#65
#[tokio::test(start_paused = true)]
async fn an_error_that_names_no_request_ends_a_call_that_alone_can_be_meant() {
    let unnamed = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"what is this"}}"#;
    let refusing = move |_: usize, request: &Asked| match request.method.as_str() {
        "tools/call" => vec![unnamed.to_owned()],
        _ => vec![good(request)],
    };
    let (troupe, mut events, _) = in_memory(pool(1, 1), refusing).await;
    until_ready(&mut events).await;
    let call = |troupe: &Troupe| troupe.call(Call::tool("t").timeout(Duration::from_secs(5)));
    let error = call(&troupe).await.unwrap_err();
    let CallErrorKind::InvalidResponse { reason } = error.kind() else { panic!("{error}") };
    assert!(reason.contains("what is this"), "{reason}");
    assert_eq!(error.effect(), mcp_troupe::Effect::Unknown, "it may be about something else after all");
    // Two that wait: nobody knows which is meant.
    let (one, other) = tokio::join!(call(&troupe), call(&troupe));
    assert!(
        [one, other].into_iter().all(|answer| matches!(kind(answer), CallErrorKind::DeadlineExceeded { .. }))
    );
    // What a call is called off with may be what the next error is about, until something else is answered.
    let error = call(&troupe).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::DeadlineExceeded { .. }), "{error}");
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn an_error_about_the_end_of_the_handshake_costs_no_list_of_tools() {
    let unnamed = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"initialized?"}}"#;
    let odd = move |_: usize, request: &Asked| match request.method.as_str() {
        "tools/list" => vec![unnamed.to_owned(), good(request)],
        _ => vec![good(request)],
    };
    let (troupe, mut events, accepted) = in_memory(pool(1, 1), odd).await;
    until_ready(&mut events).await;
    assert!(troupe.call(Call::tool("t")).await.is_ok());
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
    end(troupe).await;
}

/// A server at the shell that answers a handshake without a probe, lists the tool `t`, and then does this.
#[cfg(unix)]
fn shell(rest: &str) -> Server {
    let script = format!(
        r#"case "$(head -n 1)" in *server/discover*) exit 1;; esac
        echo started >> "$STARTS"
        printf '{{"jsonrpc":"2.0","id":1,"result":{{"protocolVersion":"2025-06-18","capabilities":{{"tools":{{}}}}}}}}\n'
        read -r initialized
        read -r list
        printf '{{"jsonrpc":"2.0","id":2,"result":{{"tools":[{{"name":"t"}}]}}}}\n'
        {rest}
        while read -r more; do :; done"#
    );
    Server::stdio("s", "/bin/bash", ["-c".to_owned(), script])
}

// go-sdk#1177, lific#57
#[cfg(unix)]
#[tokio::test]
async fn a_process_that_exits_on_the_probe_is_started_anew_and_greeted_as_it_wants_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let starts = folder.path().join("starts");
    let script = r#"line=$(head -n 1); echo "$line" >> "$STARTS"
        case "$line" in *server/discover*) exit 1;; esac
        echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}}}}'
        read -r initialized; read -r list
        echo '{"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"t"}]}}'
        read -r call; exit 0"#;
    // Its last greeting is that of the process which is ready in the end.
    let server = Server::stdio("s", "/bin/bash", ["-c", script]).env("STARTS", starts.to_str().unwrap());
    let troupe = common::start([server]).await;
    let mut events = troupe.events();
    troupe.ready(Readiness::All).await.unwrap();
    // It exits over each call, and is not probed again.
    for _ in 0..2 {
        assert!(troupe.call(Call::tool("t").timeout(Duration::from_secs(20))).await.is_err());
        until_ready(&mut events).await;
    }
    let greeted = std::fs::read_to_string(&starts).unwrap();
    let probes = greeted.lines().filter(|line| line.contains("server/discover")).count();
    assert_eq!((probes, greeted.lines().count() >= 3), (1, true), "{greeted}");
    end(troupe).await;
}

// pmcp#82, DesktopCommanderMCP#658
#[cfg(unix)]
#[tokio::test]
async fn a_line_over_the_limit_costs_the_call_that_it_answers_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let starts = folder.path().join("starts");
    let long = |before: &str, after: &str| {
        format!("printf '{before}'; head -c 300000 /dev/zero | tr '\\0' x; printf '{after}\\n'")
    };
    for (long, found) in [
        (long(r#"{"id":3,"result":{"content":[],"x":""#, r#""}}"#), true),
        (long(r#"{"result":{"content":[],"x":""#, r#""},"id":3}"#), true),
        (long(r#"{"result":{"content":[],"x":""#, r#""},"id":3,"y":"z"}"#), false),
    ] {
        std::fs::write(&starts, "").unwrap();
        let rest =
            format!(r#"read -r one; read -r other; {long}; printf '{{"id":4,"result":{{"content":[]}}}}\n'"#);
        let server = shell(&rest).env("STARTS", starts.to_str().unwrap());
        let small = |settings: &mut Settings| settings.limits.message_bytes_max = 100_000;
        let troupe = start_with(small, [server]).await;
        troupe.ready(Readiness::All).await.unwrap();
        let call = || tokio::spawn(troupe.call(Call::tool("t").timeout(Duration::from_secs(10))));
        let (one, other) = (call(), call());
        let ended = [one.await.unwrap(), other.await.unwrap()];
        assert_eq!(ended.iter().filter(|answer| answer.is_ok()).count(), 1, "{long}");
        let error = ended.into_iter().find_map(Result::err).unwrap();
        match error.kind() {
            CallErrorKind::InvalidResponse { reason } => {
                assert!(found && reason.contains("over the limit of 100000 bytes"), "{reason}");
            }
            other => assert!(!found && matches!(other, CallErrorKind::DeadlineExceeded { .. }), "{other}"),
        }
        assert_eq!(std::fs::read_to_string(&starts).unwrap().lines().count(), 1, "the process lives");
        end(troupe).await;
    }
}

// The official TypeScript SDK writes the id of its requests last, and counts them as we do ours.
#[tokio::test]
async fn a_request_of_the_servers_over_the_limit_ends_no_call_that_has_its_number() {
    let asks = r#"printf '{"method":"sampling/createMessage","params":{"x":"'; head -c 300000 /dev/zero | tr '\0' x; printf '"},"jsonrpc":"2.0","id":3}\n'"#;
    let rest = format!(r#"read -r one; {asks}; printf '{{"id":3,"result":{{"content":[]}}}}\n'"#);
    let folder = tempfile::tempdir().unwrap();
    let server = shell(&rest).env("STARTS", folder.path().join("starts").to_str().unwrap());
    let small = |settings: &mut Settings| settings.limits.message_bytes_max = 100_000;
    let troupe = start_with(small, [server]).await;
    troupe.ready(Readiness::All).await.unwrap();
    let answer = troupe.call(Call::tool("t").timeout(Duration::from_secs(10))).await;
    assert!(answer.is_ok(), "{answer:?}");
    end(troupe).await;
}

// tungstenite-rs#548, gorilla/websocket#604
#[tokio::test]
async fn an_upgrade_whose_connection_header_is_a_list_is_one() {
    let server = ScriptedServer::builder().tool("echo", Script::Echo).lists_connection().start().await;
    let troupe = common::ready([Server::websocket("s", server.url())]).await;
    assert!(troupe.call(common::echo()).await.is_ok());
    end(troupe).await;
}

#[tokio::test]
async fn a_byte_order_mark_before_each_line_hides_no_message() {
    let marked = |_: usize, request: &Asked| vec![format!("\u{feff}{}", good(request))];
    let (troupe, mut events, _) = in_memory(pool(1, 1), marked).await;
    until_ready(&mut events).await;
    assert!(troupe.call(Call::tool("t")).await.is_ok());
    end(troupe).await;
}

/// Brings a peer to the point where its tools are known.
async fn introduce(peer: &mut MemoryPeer) {
    loop {
        let Some(request) = asked(&peer.recv().await.unwrap()) else { continue };
        let listed = request.method == "resources/templates/list";
        assert!(peer.send(good(&request)).await);
        if listed {
            return;
        }
    }
}

#[tokio::test]
async fn every_question_of_a_peer_that_reads_late_is_answered_in_order() {
    let (connector, mut listener) = pair(4);
    let troupe = Troupe::builder().seed(7).server_via(Server::custom("s"), connector).start().await.unwrap();
    let mut peer = listener.accept().await.unwrap();
    introduce(&mut peer).await;
    // Batches of which each is answered whole; reading stops in between, and goes on.
    let batches = 40;
    for batch in 0..batches {
        let pings = (0..100).map(|n| format!(r#"{{"id":{},"method":"ping"}}"#, batch * 100 + n));
        let frame = format!("[{}]", pings.collect::<Vec<_>>().join(","));
        if batch < 4 {
            assert!(peer.send(frame).await);
            continue;
        }
        // What it is answered is read to make room for the next.
        for n in 0..100 {
            let answer: Value = serde_json::from_slice(&peer.recv().await.unwrap()).unwrap();
            assert_eq!(answer["id"], (batch - 4) * 100 + n);
        }
        assert!(peer.send(frame).await);
    }
    for n in (batches - 4) * 100..batches * 100 {
        let answer: Value = serde_json::from_slice(&peer.recv().await.unwrap()).unwrap();
        assert_eq!(answer["id"], n);
    }
    drop(peer);
    end(troupe).await;
}

#[tokio::test]
async fn of_a_batch_that_asks_too_much_so_many_are_answered_and_the_rest_is_told() {
    let (connector, mut listener) = pair(64);
    let troupe = Troupe::builder().seed(7).server_via(Server::custom("s"), connector).start().await.unwrap();
    let mut events = troupe.events();
    let mut peer = listener.accept().await.unwrap();
    introduce(&mut peer).await;
    let batch = format!("[{}]", vec![r#"{"id":1,"method":"ping"}"#; 10_000].join(","));
    let long = format!(r#"{{"id":"{}","method":"ping"}}"#, "x".repeat(1 << 20));
    assert!(peer.send(batch).await && peer.send(long).await);
    assert!(peer.send(r#"{"id":"last","method":"ping"}"#).await);
    let mut answers = 0;
    loop {
        let answer: Value = serde_json::from_slice(&peer.recv().await.unwrap()).unwrap();
        if answer["id"] == "last" {
            break;
        }
        answers += 1;
    }
    assert_eq!(answers, 256);
    let told = event(&mut events, |event| matches!(event, Event::ProtocolViolation { .. })).await;
    let Event::ProtocolViolation { reason, .. } = told else { panic!("{told:?}") };
    assert!(reason.contains("256 requests in one frame"), "{reason}");
    assert_eq!(troupe.stats().await.servers[0].outcomes["protocol-violation"], 10_000 - 256 + 1);
    drop(peer);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_asks_without_end_and_reads_nothing_is_given_up() {
    let (connector, mut listener) = pair(4);
    let troupe = Troupe::builder().seed(7).server_via(Server::custom("s"), connector).start().await.unwrap();
    let mut events = troupe.events();
    let mut peer = listener.accept().await.unwrap();
    introduce(&mut peer).await;
    let mut sent = 0_u32;
    while peer.send(r#"{"id":1,"method":"ping"}"#).await {
        sent += 1;
    }
    assert!(sent < 1_000, "{sent} were read of which none could be answered");
    let lost = event(&mut events, |event| matches!(event, Event::ConnectionLost { .. })).await;
    let Event::ConnectionLost { reason, .. } = lost else { panic!("{lost:?}") };
    assert!(reason.contains("read nothing"), "{reason}");
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn violations_are_told_once_a_second_and_all_of_them_counted() {
    let (connector, mut listener) = pair(64);
    let troupe = Troupe::builder().seed(7).server_via(Server::custom("s"), connector).start().await.unwrap();
    let mut events = troupe.events();
    let mut peer = listener.accept().await.unwrap();
    introduce(&mut peer).await;
    let long = format!(r#"{{"id":null,"error":{{"code":1,"message":"{}"}}}}"#, "x".repeat(1 << 20));
    assert!(peer.send(long).await);
    for _ in 0..50 {
        for _ in 0..20 {
            assert!(peer.send(r#"{"id":null,"error":{"code":1,"message":"x"}}"#).await);
        }
        sleep(Duration::from_millis(100)).await;
    }
    let mut told = Vec::new();
    while told.iter().sum::<u64>() < 1_001 {
        let violation = event(&mut events, |event| matches!(event, Event::ProtocolViolation { .. })).await;
        let Event::ProtocolViolation { reason, violations, .. } = violation else { panic!() };
        assert!(reason.len() < 5_000, "{} bytes are told", reason.len());
        told.push(violations);
    }
    assert!(told.len() <= 7, "{told:?}");
    assert!(told[0] <= 21, "the first are told at once: {told:?}");
    drop(peer);
    end(troupe).await;
}

#[tokio::test]
async fn more_changes_of_resources_than_are_named_clear_what_is_kept_of_all() {
    let changing = |_: usize, request: &Asked| match request.method.as_str() {
        "resources/read" => {
            let contents = json!([{"uri": "file:///a", "text": "alpha"}]);
            let fresh = json!({"contents": contents, "ttlMs": 600_000, "cacheScope": "public"});
            vec![result(request.id, fresh)]
        }
        // It tells of very many others, in one message.
        "tools/call" => {
            let updated = |n| {
                let uri = format!("file:///other/{n}");
                json!({"method": "notifications/resources/updated", "params": {"uri": uri}}).to_string()
            };
            let batch = (0..2_000).map(updated).collect::<Vec<_>>().join(",");
            vec![format!("[{batch}]"), good(request)]
        }
        _ => vec![good(request)],
    };
    let (troupe, mut events, _) = in_memory(pool(1, 1), changing).await;
    until_ready(&mut events).await;
    let read = async || troupe.call(Call::resource("file:///a")).await.unwrap().cached;
    assert_eq!([read().await, read().await], [false, true]);
    troupe.call(Call::tool("t")).await.unwrap();
    while read().await {
        tokio::task::yield_now().await;
    }
    end(troupe).await;
}
