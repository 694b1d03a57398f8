//! Starts of processes: few at once, each with the time that it needs, whatever dies meanwhile.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{child, end, event, start_with};
use mcp_troupe::event::ServerStatus;
use mcp_troupe::stats::Starting;
use mcp_troupe::testkit::{Fault, MemoryConnector, MemoryListener, Target, inject, pair};
use mcp_troupe::transport::{BoxFuture, Connector, DialError, Link};
use mcp_troupe::{Call, Event, EventStream, Readiness, Server, Settings, Troupe};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

const SECS: fn(u64) -> Duration = Duration::from_secs;

/// A link in memory that counts as a process of this machine.
struct Process(MemoryConnector);

impl Connector for Process {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, DialError>> {
        self.0.connect()
    }

    fn endpoint(&self) -> String {
        "process".to_owned()
    }

    fn starts_process(&self) -> bool {
        true
    }
}

/// What the processes of a test do.
#[derive(Clone)]
struct Play {
    /// How long each takes before it reads.
    slow: Duration,
    /// None of them answers before this is true.
    open: watch::Receiver<bool>,
    /// How many were started and have not answered the handshake, now and at most.
    starting: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    /// How many were started.
    started: Arc<AtomicUsize>,
}

/// Counts one that is starting, until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Play {
    /// All answer after `slow` of their own, once it is opened.
    fn new(slow: Duration) -> (Self, watch::Sender<bool>) {
        let (opener, open) = watch::channel(false);
        let play =
            Self { slow, open, starting: Arc::default(), most: Arc::default(), started: Arc::default() };
        (play, opener)
    }

    /// As a server of the modern era answers.
    fn answer(request: &Value, tool: &str) -> Value {
        let result = match request["method"].as_str().unwrap() {
            "server/discover" => json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}),
            "tools/list" => json!({"tools": [{"name": tool, "inputSchema": {"type": "object"}}]}),
            "initialize" => {
                let error = json!({"code": -32601, "message": "Method not found"});
                return json!({"jsonrpc": "2.0", "id": request["id"], "error": error});
            }
            _ => json!({"content": []}),
        };
        json!({"jsonrpc": "2.0", "id": request["id"], "result": result})
    }

    /// Plays the server `id`, with a tool of the same name.
    async fn serve(self, id: String, mut listener: MemoryListener) {
        while let Some(mut peer) = listener.accept().await {
            let (mut play, id) = (self.clone(), id.clone());
            play.started.fetch_add(1, Ordering::SeqCst);
            let now = play.starting.fetch_add(1, Ordering::SeqCst) + 1;
            let mut counted = Some(Counted(play.starting.clone()));
            play.most.fetch_max(now, Ordering::SeqCst);
            tokio::spawn(async move {
                let begun = Instant::now();
                let mut waiting = VecDeque::new();
                let ready = async {
                    _ = play.open.wait_for(|open| *open).await;
                    tokio::time::sleep_until(begun + play.slow).await;
                };
                tokio::pin!(ready);
                // It ends with its link, as a process with its pipes.
                loop {
                    tokio::select! {
                        () = &mut ready => break,
                        frame = peer.recv() => match frame {
                            Some(frame) => waiting.push_back(frame),
                            None => return,
                        },
                    }
                }
                loop {
                    let frame = match waiting.pop_front() {
                        Some(frame) => frame,
                        None => match peer.recv().await {
                            Some(frame) => frame,
                            None => return,
                        },
                    };
                    drop(counted.take());
                    let request: Value = serde_json::from_slice(&frame).unwrap();
                    if request["id"].is_u64() && !peer.send(Self::answer(&request, &id).to_string()).await {
                        return;
                    }
                }
            });
        }
    }
}

/// A troupe of so many processes.
async fn troupe(play: &Play, servers: usize, settings: impl FnOnce(&mut Settings)) -> (Troupe, EventStream) {
    let mut given = Settings::default();
    // The handshake of a connector of the host's has no longer time by itself.
    given.pool.handshake_timeout = Some(SECS(60));
    settings(&mut given);
    let mut builder = Troupe::builder().seed(7).settings(given);
    for n in 0..servers {
        let (connector, listener) = pair(64);
        tokio::spawn(play.clone().serve(format!("t{n}"), listener));
        builder = builder.server_via(Server::custom(format!("s{n}")), Process(connector));
    }
    let troupe = builder.start().await.unwrap();
    let events = troupe.events();
    (troupe, events)
}

/// Why an attempt to reach a server failed.
async fn not_reached(events: &mut EventStream) -> String {
    let down =
        |event: &Event| matches!(event, Event::ServerStatusChanged { to: ServerStatus::Disconnected, .. });
    let Event::ServerStatusChanged { reason, .. } = event(events, down).await else { panic!() };
    reason.unwrap()
}

fn one_at_a_time(settings: &mut Settings) {
    settings.processes.start_concurrency = Some(1);
}

fn before(troupe: &Troupe) -> Vec<usize> {
    let servers = troupe.servers().into_iter().filter_map(|info| match info.starting {
        Some(Starting::Waiting { before, .. }) => Some(before),
        _ => None,
    });
    let mut before: Vec<usize> = servers.collect();
    before.sort_unstable();
    before
}

#[tokio::test(start_paused = true)]
async fn each_waits_for_its_turn_says_so_and_its_time_begins_with_it() {
    let (play, opener) = Play::new(SECS(40));
    let (troupe, mut events) = troupe(&play, 6, one_at_a_time).await;
    // The last one has to wait for 200 s, and this call with it.
    let call = tokio::spawn(troupe.call(Call::tool("t5").timeout(SECS(600))));
    sleep(SECS(2)).await;
    assert_eq!(before(&troupe), [0, 1, 2, 3, 4]);
    let reasons: Vec<String> = troupe.servers().into_iter().filter_map(|info| info.reason).collect();
    assert!(reasons.contains(&"waits for its turn to start: 3 before it".to_owned()), "{reasons:?}");
    assert!(
        reasons.contains(&"starting for 2s, 1m at most (pool.handshakeTimeout)".to_owned()),
        "{reasons:?}"
    );
    // Whoever stops waiting for them is told the same.
    let missing = troupe.settled_within(Duration::ZERO).await;
    assert!(missing.len() == 6 && missing.iter().all(|info| info.reason.is_some()), "{missing:?}");
    let begun = Instant::now();
    opener.send_replace(true);
    assert!(call.await.unwrap().is_ok());
    troupe.ready_within(Readiness::All, SECS(600)).await.unwrap();
    assert_eq!(begun.elapsed_secs(), 238, "one after the other, 40 s each");
    assert_eq!((play.started.load(Ordering::SeqCst), play.most.load(Ordering::SeqCst)), (6, 1));
    assert!(troupe.servers().iter().all(|info| info.starting.is_none() && info.reason.is_none()));
    let mut told = BTreeMap::<&str, usize>::new();
    end(troupe).await;
    while let Some(news) = events.next().await {
        match news {
            Event::ServerStarting { before: Some(_), .. } => *told.entry("waits").or_default() += 1,
            Event::ServerStarting { limit: Some(limit), .. } => {
                assert_eq!(limit, SECS(60));
                *told.entry("starts").or_default() += 1;
            }
            Event::ServerStatusChanged { to: ServerStatus::Disconnected, reason, .. } => panic!("{reason:?}"),
            _ => {}
        }
    }
    assert_eq!(told["starts"], 6);
    assert!((5..=20).contains(&told["waits"]), "{told:?}");
}

trait ElapsedSecs {
    fn elapsed_secs(self) -> u64;
}

impl ElapsedSecs for Instant {
    fn elapsed_secs(self) -> u64 {
        Instant::now().saturating_duration_since(self).as_secs()
    }
}

#[tokio::test(start_paused = true)]
async fn no_place_is_lost_whatever_dies_while_it_starts_or_waits() {
    let (play, opener) = Play::new(SECS(0));
    let two = |settings: &mut Settings| settings.processes.start_concurrency = Some(2);
    let (troupe, _events) = troupe(&play, 12, two).await;
    sleep(SECS(1)).await;
    assert_eq!((play.starting.load(Ordering::SeqCst), before(&troupe).len()), (2, 10));
    // Those that start and those that wait, by every way to end.
    for (n, fault) in [Fault::Kill, Fault::Stop, Fault::Panic, Fault::Kill].into_iter().enumerate() {
        inject(&troupe, Target::server(format!("s{n}")), fault).await.unwrap();
        sleep(SECS(1)).await;
        inject(&troupe, Target::connection(format!("s{}", n + 4)), fault).await.unwrap();
        sleep(SECS(1)).await;
        assert_eq!(play.starting.load(Ordering::SeqCst), 2, "after {fault:?}");
    }
    troupe.unregister("s8").await.unwrap();
    let drained = tokio::spawn({
        let troupe = troupe.clone();
        async move { troupe.drain("s9", SECS(1)).await }
    });
    sleep(SECS(3)).await;
    drained.await.unwrap().unwrap();
    troupe.resume("s9").await.unwrap();
    inject(&troupe, Target::Registry, Fault::Kill).await.unwrap();
    sleep(SECS(5)).await;
    assert_eq!(play.starting.load(Ordering::SeqCst), 2);
    assert_eq!(play.most.load(Ordering::SeqCst), 2);
    for fault in [Fault::Kill, Fault::Panic, Fault::Stop] {
        inject(&troupe, Target::Starts, fault).await.unwrap();
        sleep(SECS(1)).await;
    }
    opener.send_replace(true);
    troupe.ready_within(Readiness::All, SECS(600)).await.unwrap();
    assert_eq!(play.starting.load(Ordering::SeqCst), 0);
    for n in (0..12).filter(|n| *n != 8) {
        troupe.call(Call::tool(format!("t{n}"))).await.unwrap();
    }
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_nobody_who_waits_for_a_turn() {
    let (play, _opener) = Play::new(SECS(0));
    let (troupe, _events) = troupe(&play, 20, one_at_a_time).await;
    sleep(SECS(1)).await;
    let begun = Instant::now();
    end(troupe).await;
    assert!(begun.elapsed_secs() < 5);
}

#[tokio::test(start_paused = true)]
async fn one_that_was_ended_by_the_limit_has_twice_the_time_and_says_why() {
    let (play, opener) = Play::new(SECS(100));
    opener.send_replace(true);
    let (troupe, mut events) = troupe(&play, 1, |_| {}).await;
    let begun = Instant::now();
    let reason = not_reached(&mut events).await;
    assert_eq!(reason, "no handshake within 1m (pool.handshakeTimeout)");
    sleep(SECS(3)).await;
    let reason = troupe.servers()[0].reason.clone().unwrap();
    assert!(
        reason.contains("2m at most") && reason.contains("before that: no handshake within 1m"),
        "{reason}"
    );
    troupe.ready_within(Readiness::All, SECS(600)).await.unwrap();
    assert!((160..163).contains(&begun.elapsed_secs()), "{}", begun.elapsed_secs());
    assert_eq!(play.started.load(Ordering::SeqCst), 2);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn servers_that_never_answer_hold_up_those_that_would_once() {
    let (hang, _never) = Play::new(SECS(0));
    let (well, opener) = Play::new(SECS(1));
    opener.send_replace(true);
    let mut given = Settings::default();
    given.pool.handshake_timeout = Some(SECS(60));
    given.processes.start_concurrency = Some(4);
    let mut builder = Troupe::builder().seed(7).settings(given);
    for n in 0..24 {
        let (connector, listener) = pair(64);
        let play = if n < 8 { &hang } else { &well };
        tokio::spawn(play.clone().serve(format!("t{n}"), listener));
        builder = builder.server_via(Server::custom(format!("s{n:02}")), Process(connector));
    }
    let troupe = builder.start().await.unwrap();
    let begun = Instant::now();
    let good = (8..24).map(|n| format!("s{n:02}")).collect();
    troupe.ready_within(Readiness::Named(good), SECS(3600)).await.unwrap();
    // Eight that hang on four places for a minute, and sixteen that take a second.
    assert!(begun.elapsed_secs() <= 125, "{}", begun.elapsed_secs());
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_again_and_again_keeps_the_only_place_no_longer_than_a_first_attempt_may() {
    let (hang, _never) = Play::new(SECS(0));
    let (well, opener) = Play::new(SECS(1));
    opener.send_replace(true);
    let (connector, listener) = pair(64);
    tokio::spawn(hang.clone().serve("t0".to_owned(), listener));
    let mut given = Settings::default();
    given.pool.handshake_timeout = Some(SECS(60));
    one_at_a_time(&mut given);
    let builder = Troupe::builder().seed(7).settings(given);
    let troupe = builder.server_via(Server::custom("hangs"), Process(connector)).start().await.unwrap();
    let mut events = troupe.events();
    // Its next attempt may take five minutes.
    let tried_for_long = |troupe: &Troupe| {
        troupe
            .servers()
            .iter()
            .any(|info| info.reason.as_ref().is_some_and(|reason| reason.contains("5m at most")))
    };
    while !tried_for_long(&troupe) {
        event(&mut events, |_| true).await;
    }
    let begun = Instant::now();
    for n in 1..4 {
        let (connector, listener) = pair(64);
        tokio::spawn(well.clone().serve(format!("t{n}"), listener));
        troupe.register_via(Server::custom(format!("s{n}")), Process(connector)).await.unwrap();
    }
    let good = (1..4).map(|n| format!("s{n}").as_str().into()).collect();
    troupe.ready_within(Readiness::Named(good), SECS(3600)).await.unwrap();
    assert!(begun.elapsed_secs() <= 64, "{}", begun.elapsed_secs());
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn connections_of_one_round_fail_once_and_a_failed_start_is_counted() {
    let (play, _never) = Play::new(SECS(0));
    let several = |settings: &mut Settings| {
        (settings.pool.min, settings.pool.max) = (4, 4);
        settings.processes.start_concurrency = Some(8);
    };
    let (troupe, mut events) = troupe(&play, 1, several).await;
    for number in 1..=3 {
        let down = |event: &Event| {
            matches!(event, Event::ServerStatusChanged { to: ServerStatus::Disconnected, .. })
        };
        let Event::ServerStatusChanged { attempts, reason, .. } = event(&mut events, down).await else {
            panic!()
        };
        let minutes = 1 << (number - 1);
        assert_eq!(attempts, number, "{reason:?}");
        assert!(reason.unwrap().starts_with(&format!("no handshake within {minutes}m")));
    }
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_the_handshake_that_comes_after_it_is_no_call_and_no_answer_to_nobody() {
    let (connector, mut listener) = pair(64);
    let troupe = Troupe::builder().server_via(Server::custom("s"), connector).start().await.unwrap();
    let mut events = troupe.events();
    tokio::spawn(async move {
        let mut peer = listener.accept().await.unwrap();
        while let Some(frame) = peer.recv().await {
            let request: Value = serde_json::from_slice(&frame).unwrap();
            let late = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "late"}});
            let (id, result) = match request["method"].as_str().unwrap() {
                "initialize" => {
                    let info = json!({"name": "slow", "version": "1"});
                    let capabilities = json!({"tools": {}});
                    let result = json!({"protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": info});
                    (&request["id"], result)
                }
                "tools/list" => {
                    assert!(peer.send(late.to_string()).await);
                    (&request["id"], json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]}))
                }
                "tools/call" => {
                    // A second answer to it is one to nobody.
                    assert!(peer.send(late.to_string()).await);
                    (&request["id"], json!({"content": []}))
                }
                _ => continue,
            };
            assert!(peer.send(json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()).await);
        }
    });
    troupe.ready(Readiness::All).await.unwrap();
    let outcomes = troupe.stats().await.servers[0].outcomes.clone();
    assert!(outcomes.is_empty(), "{outcomes:?}");
    troupe.call(Call::tool("t")).await.unwrap();
    let outcomes = troupe.stats().await.servers[0].outcomes.clone();
    assert_eq!((outcomes["ok"], outcomes["late-answer"]), (1, 1));
    end(troupe).await;
    let mut late = 0;
    while let Some(news) = events.next().await {
        if let Event::LateAnswers { answers, .. } = news {
            late += answers;
        }
    }
    assert_eq!(late, 1);
}

#[tokio::test]
async fn a_process_that_is_starting_shows_what_it_writes_and_says_it_when_it_is_given_up() {
    let brief = |settings: &mut Settings| settings.pool.handshake_timeout = Some(SECS(3));
    let troupe = start_with(brief, [child("s", ["--say", "fetching 3 of 9", "--silent"])]).await;
    let mut events = troupe.events();
    let says =
        |event: &Event| matches!(event, Event::ServerStatusChanged { to: ServerStatus::Disconnected, .. });
    let shown = loop {
        tokio::select! {
            told = event(&mut events, says) => panic!("it was never shown: {told:?}"),
            () = sleep(Duration::from_millis(20)) => {}
        }
        let info = troupe.servers().remove(0);
        if let Some(Starting::Running { last_line: Some(line), limit, .. }) = info.starting {
            assert_eq!((line.as_str(), limit), ("fetching 3 of 9", SECS(3)));
            break info.reason.unwrap();
        }
    };
    assert!(shown.ends_with("3s at most (pool.handshakeTimeout), says: fetching 3 of 9"), "{shown}");
    let reason = not_reached(&mut events).await;
    assert_eq!(
        reason,
        "no handshake within 3s (pool.handshakeTimeout); its stderr ends with \"fetching 3 of 9\""
    );
    end(troupe).await;
}

#[tokio::test]
async fn a_process_that_ends_before_it_answers_is_started_again_slowly() {
    let folder = tempfile::tempdir().unwrap();
    let count = format!("s={}", folder.path().join("starts").display());
    let troupe = start_with(|_| {}, [child("s", ["--count", &count, "--fail", "3"])]).await;
    let mut events = troupe.events();
    let mut delays = Vec::new();
    while delays.len() < 2 {
        let down = |event: &Event| {
            matches!(event, Event::ServerStatusChanged { to: ServerStatus::Disconnected, .. })
        };
        let Event::ServerStatusChanged { retry_in: Some(delay), .. } = event(&mut events, down).await else {
            panic!()
        };
        delays.push(delay);
    }
    assert!((Duration::from_millis(450)..=SECS(1)).contains(&delays[0]), "{delays:?}");
    assert!((Duration::from_millis(1450)..=SECS(3)).contains(&delays[1]), "{delays:?}");
    end(troupe).await;
}

/// `STARTS=100 cargo test --test starts many -- --nocapture` plays more of them.
#[tokio::test]
async fn many_slow_processes_at_once_are_all_ready_and_each_was_started_once() {
    let many = std::env::var("STARTS").ok().and_then(|starts| starts.parse().ok()).unwrap_or(30);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("starts");
    let servers = (0..many).map(|n| {
        let count = format!("s{n}={}", file.display());
        child(&format!("s{n}"), ["--legacy", "--burn", "1200ms", "--count", &count])
    });
    let begun = Instant::now();
    let troupe = start_with(|settings| settings.events_capacity = 100_000, servers.collect::<Vec<_>>()).await;
    let mut events = troupe.events();
    // Only so that the test ends: how long it takes is the machine's business.
    troupe.ready_within(Readiness::All, SECS(3600)).await.unwrap();
    println!("{many} processes, 1.2 s of a processor each: ready after {} s", begun.elapsed_secs());
    let mut starts = BTreeMap::<String, usize>::new();
    for name in std::fs::read_to_string(&file).unwrap().lines() {
        *starts.entry(name.to_owned()).or_default() += 1;
    }
    assert_eq!(starts.len(), many);
    assert!(starts.values().all(|starts| *starts == 1), "{starts:?}");
    for server in troupe.stats().await.servers {
        assert!(server.outcomes.is_empty(), "{:?}", server.outcomes);
    }
    end(troupe).await;
    while let Some(news) = events.next().await {
        assert!(!matches!(news, Event::LateAnswers { .. }), "{news:?}");
        if let Event::ServerStatusChanged { to: ServerStatus::Disconnected, reason: Some(reason), .. } = news
        {
            panic!("{reason}");
        }
    }
}
