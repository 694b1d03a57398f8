//! Servers that are started on demand: by the first call that needs them, and until nothing has needed them for a while.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{child, end, event, kind, servers_json};
use futures_util::future::join_all;
use mcp_troupe::config::{PoolSettings, Start};
use mcp_troupe::event::ServerStatus;
use mcp_troupe::question::ElicitResult;
use mcp_troupe::testkit::{
    Fault, MemoryConnector, Script, ScriptedBuilder, ScriptedEra, ScriptedServer, Target, inject,
};
use mcp_troupe::transport::{BoxFuture, Connector, DialError, Link};
use mcp_troupe::{
    Call, CallErrorKind, ConfigFile, Event, EventStream, Readiness, Server, ServerInfo, Settings, Troupe,
};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

const SECS: fn(u64) -> Duration = Duration::from_secs;

/// The idle timeout of the servers here.
const IDLE: Duration = Duration::from_secs(600);

/// A way to a server in memory that can be closed or held up, and counts how often it is tried.
#[derive(Clone)]
struct Way {
    name: &'static str,
    line: MemoryConnector,
    closed: Arc<AtomicBool>,
    held: watch::Sender<bool>,
    dials: Arc<AtomicUsize>,
}

impl Way {
    fn to(server: ScriptedBuilder) -> (ScriptedServer, Self) {
        let (server, line) = server.start_in_memory();
        let (closed, dials) = (Arc::default(), Arc::default());
        (server, Self { name: "way", line, closed, held: watch::Sender::new(false), dials })
    }

    fn dials(&self) -> usize {
        self.dials.load(Ordering::SeqCst)
    }

    /// Who goes it waits until it is not held any more.
    fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::SeqCst);
    }
}

impl Connector for Way {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, DialError>> {
        self.dials.fetch_add(1, Ordering::SeqCst);
        if self.closed.load(Ordering::SeqCst) {
            return Box::pin(async { Err(std::io::Error::other("the way is closed").into()) });
        }
        let mut held = self.held.subscribe();
        Box::pin(async move {
            let _ = held.wait_for(|held| !held).await;
            self.line.connect().await
        })
    }

    fn endpoint(&self) -> String {
        self.name.to_owned()
    }
}

fn echo() -> ScriptedBuilder {
    ScriptedServer::builder().tool("echo", Script::Echo).tool("hold", Script::Hold)
}

fn on_demand(id: &str) -> Server {
    Server::custom(id).start(Start::OnDemand)
}

/// A troupe of one server that is idle, since it has listed and nothing has needed it.
async fn idle_one(server: ScriptedBuilder) -> (ScriptedServer, Way, Troupe, EventStream) {
    let (server, way) = Way::to(server);
    let troupe = Troupe::builder().server_via(on_demand("s"), way.clone()).seed(7).start().await.unwrap();
    let mut events = troupe.events();
    becomes(&mut events, ServerStatus::Idle).await;
    assert_eq!(way.dials(), 1, "it was started once, to be listed");
    (server, way, troupe, events)
}

/// The next time that a server becomes this. Gives the reason.
async fn becomes(events: &mut EventStream, status: ServerStatus) -> Option<String> {
    let told = |event: &Event| matches!(event, Event::ServerStatusChanged { to, .. } if *to == status);
    let Event::ServerStatusChanged { reason, .. } = event(events, told).await else { unreachable!() };
    reason
}

/// Waits until a server stands so.
async fn until(troupe: &Troupe, wanted: impl Fn(&ServerInfo) -> bool) {
    let mut events = troupe.events();
    while !troupe.servers().iter().any(&wanted) {
        events.next().await.expect("the troupe goes on");
    }
}

/// Whole seconds since then, by the clock of the test.
fn secs_since(begun: Instant) -> u64 {
    Instant::now().saturating_duration_since(begun).as_secs()
}

/// As a process has it.
fn one_connection() -> PoolSettings {
    let mut pool = PoolSettings::default();
    pool.max = 1;
    pool
}

fn status(troupe: &Troupe) -> ServerStatus {
    troupe.servers()[0].status
}

fn call() -> Call {
    Call::tool("echo").args(json!({"n": 1}))
}

/// A folder with a file of known lists, and one that counts starts.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn lists(&self) -> PathBuf {
        self.0.path().join("cache/known-lists.json")
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        settings.known_lists = Some(self.lists());
        settings.start = Start::OnDemand;
        settings
    }

    fn count(&self) -> String {
        format!("s={}", self.0.path().join("starts").display())
    }

    fn starts(&self) -> usize {
        std::fs::read_to_string(self.0.path().join("starts")).unwrap_or_default().lines().count()
    }

    async fn start(&self, server: Server) -> Troupe {
        Troupe::builder().settings(self.settings()).server(server).seed(7).start().await.unwrap()
    }

    /// A run in which the server is listed.
    async fn learn(&self, server: Server) {
        let troupe = self.start(server).await;
        troupe.ready(Readiness::All).await.unwrap();
        assert!(troupe.tools().iter().all(|tool| tool.confirmed));
        end(troupe).await;
    }
}

/// Nothing was started, the server is usable, and its first calls, many at once, start it.
async fn is_started_by_its_first_call(folder: &Folder, server: Server) -> Troupe {
    let troupe = folder.start(server).await;
    assert!(troupe.settled().await.is_empty(), "{:?}", troupe.servers());
    let named = Readiness::Named(vec!["s".to_owned()]);
    for readiness in [Readiness::All, Readiness::Any, Readiness::Quorum(1), named] {
        assert!(troupe.ready(readiness).await.unwrap().is_empty());
    }
    let info = troupe.servers().remove(0);
    assert_eq!((info.status, info.is_ready(), info.reason.clone()), (ServerStatus::Idle, true, None));
    assert_eq!(info.to_string(), "s is idle");
    let tools = troupe.tools();
    assert!(!tools.is_empty() && tools.iter().all(|tool| !tool.confirmed));
    assert!(troupe.is_available(&tools[0].servers));
    let totals = troupe.stats().await.totals;
    assert_eq!((totals.healthy_servers, totals.idle_servers, totals.unhealthy_servers), (0, 1, 0));
    // What nobody lists is asked of nobody.
    assert!(matches!(kind(troupe.call(Call::tool("of-none")).await), CallErrorKind::UnknownTool { .. }));
    assert_eq!(status(&troupe), ServerStatus::Idle);
    troupe
}

#[tokio::test]
async fn a_process_of_known_lists_is_started_by_its_first_calls_once() {
    let folder = Folder::new();
    let count = folder.count();
    let server = || child("s", ["--count", &count]);
    folder.learn(server()).await;
    assert_eq!(folder.starts(), 1, "without known lists it is started to be listed");
    let troupe = is_started_by_its_first_call(&folder, server()).await;
    assert_eq!(folder.starts(), 1);
    let calls = join_all((0..100).map(|_| troupe.call(call()))).await;
    assert!(calls.iter().all(Result::is_ok), "{calls:?}");
    assert_eq!(folder.starts(), 2, "a hundred calls have started one process");
    assert!(troupe.tools().iter().all(|tool| tool.confirmed));
    end(troupe).await;
    // A run that needs it for nothing leaves what is known as it is.
    let troupe = is_started_by_its_first_call(&folder, server()).await;
    let begun = Instant::now();
    end(troupe).await;
    assert!(secs_since(begun) < 5, "there is nothing to wait for");
    assert_eq!(folder.starts(), 2);
}

#[tokio::test]
async fn no_connection_is_opened_before_the_first_call_over_websocket_and_http() {
    for http in [false, true] {
        let builder = if http { echo().http() } else { echo() };
        let (folder, server) = (Folder::new(), builder.start().await);
        let described =
            || if http { Server::http("s", server.url()) } else { Server::websocket("s", server.url()) };
        folder.learn(described()).await;
        let before = server.observed();
        let troupe = is_started_by_its_first_call(&folder, described()).await;
        let seen = server.observed();
        assert_eq!((seen.accepted, seen.listings), (before.accepted, before.listings));
        let calls = join_all((0..100).map(|_| troupe.call(call()))).await;
        assert!(calls.iter().all(Result::is_ok), "{calls:?}");
        assert_eq!(server.calls("echo"), 100);
        end(troupe).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_nothing_needs_is_stopped_after_its_idle_timeout_and_started_by_the_next_call() {
    let (server, way, troupe, mut events) = idle_one(echo()).await;
    assert_eq!((server.observed().connections, troupe.stats().await.servers[0].pool.total), (0, 0));
    for round in 2..5 {
        let begun = Instant::now();
        troupe.call(call()).await.unwrap();
        assert_eq!((way.dials(), secs_since(begun)), (round, 0));
        assert!(troupe.tools().iter().all(|tool| tool.confirmed), "what it lists in this run stays known");
        let begun = Instant::now();
        becomes(&mut events, ServerStatus::Idle).await;
        assert_eq!(secs_since(begun), IDLE.as_secs());
        server.wait_for(|seen| seen.connections == 0).await;
    }
    sleep(SECS(24 * 3600)).await;
    assert_eq!((way.dials(), status(&troupe)), (4, ServerStatus::Idle), "nothing is done for it");
    end(troupe).await;
}

#[tokio::test]
async fn it_is_stopped_in_order_over_each_transport_and_started_again() {
    let brief = |server: Server| server.start(Start::OnDemand).idle_timeout(Duration::from_millis(300));
    let (web, http) = (echo().start().await, echo().era(ScriptedEra::Legacy).http().sessions().start().await);
    let servers = [
        brief(Server::websocket("web", web.url())),
        brief(Server::http("http", http.url())),
        brief(child("process", [])),
    ];
    let troupe = common::start(servers).await;
    let all_idle = |troupe: &Troupe| troupe.servers().iter().all(|info| info.status == ServerStatus::Idle);
    let mut processes = std::collections::BTreeSet::new();
    for round in 1..=3 {
        let mut events = troupe.events();
        for server in ["web", "http", "process"] {
            troupe.call(call().server(server)).await.unwrap();
        }
        let reply = troupe.call(Call::tool("pids")).await.unwrap();
        let pids: serde_json::Value = reply.structured().unwrap();
        processes.insert(pids.to_string());
        while !all_idle(&troupe) {
            events.next().await.expect("the troupe goes on");
        }
        web.wait_for(|seen| seen.connections == 0).await;
        http.wait_for(|seen| seen.sessions.is_empty() && seen.sessions_ended >= round).await;
        assert_eq!(processes.len() as u64, round, "another process each time");
        for server in troupe.stats().await.servers {
            assert!(server.outcomes.keys().all(|outcome| *outcome == "ok"), "{:?}", server.outcomes);
        }
    }
    let mut events = troupe.events();
    end(troupe).await;
    while let Some(news) = events.next().await {
        assert!(!matches!(news, Event::ConnectionLost { .. }), "{news:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_idle_timeout_is_the_servers_and_begins_with_the_end_of_the_last_call() {
    let (server, way) = Way::to(echo());
    let described = on_demand("s").idle_timeout(SECS(5));
    let troupe = Troupe::builder().server_via(described, way.clone()).seed(7).start().await.unwrap();
    let mut events = troupe.events();
    let long = troupe.call(Call::tool("hold").timeout(SECS(3600)));
    let long = tokio::spawn(long);
    server.wait_for(|seen| seen.calls.contains_key("hold")).await;
    sleep(SECS(60)).await;
    assert_eq!(status(&troupe), ServerStatus::Ready, "a call is under way");
    let begun = Instant::now();
    server.release();
    long.await.unwrap().unwrap();
    becomes(&mut events, ServerStatus::Idle).await;
    assert_eq!((secs_since(begun), way.dials()), (5, 1));
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_and_a_list_that_take_longer_than_the_idle_timeout_are_waited_for() {
    let (server, way) = Way::to(echo());
    way.hold(true);
    let described = on_demand("s").idle_timeout(SECS(1));
    let troupe = Troupe::builder().server_via(described, way.clone()).seed(7).start().await.unwrap();
    for _ in 0..3 {
        let waits = tokio::spawn(troupe.call(call()));
        until(&troupe, |info| info.status == ServerStatus::Connecting).await;
        sleep(SECS(4)).await;
        way.hold(false);
        waits.await.unwrap().unwrap();
        until(&troupe, |info| info.status == ServerStatus::Idle).await;
        way.hold(true);
    }
    assert_eq!((server.calls("echo"), way.dials()), (3, 3));
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn leases_and_subscriptions_hold_it_and_start_it() {
    for era in [ScriptedEra::Modern, ScriptedEra::Legacy] {
        let (server, way, troupe, mut events) =
            idle_one(echo().resource("file:///a", "a").tells_changes().era(era)).await;
        let lease = troupe.lease("s").await.unwrap();
        // It ends by itself when it is unused for a minute; used, it does not.
        for _ in 0..30 {
            lease.call(call()).await.unwrap();
            sleep(SECS(50)).await;
        }
        assert_eq!(status(&troupe), ServerStatus::Ready);
        drop(lease);
        becomes(&mut events, ServerStatus::Idle).await;
        let dials = way.dials();
        let subscription = troupe.subscribe("file:///a").await.unwrap();
        sleep(IDLE * 3).await;
        assert_eq!((status(&troupe), way.dials()), (ServerStatus::Ready, dials + 1));
        server.update_resource("file:///a", "b");
        event(&mut events, |event| matches!(event, Event::ResourceUpdated { .. })).await;
        drop(subscription);
        becomes(&mut events, ServerStatus::Idle).await;
        troupe.read_resource("file:///a").await.unwrap();
        assert_eq!(way.dials(), dials + 2, "a read starts it as a call does");
        end(troupe).await;
    }
}

#[tokio::test(start_paused = true)]
async fn many_who_subscribe_to_an_idle_server_start_it_once() {
    let (_server, way, troupe, _events) = idle_one(echo().resource("file:///a", "a").tells_changes()).await;
    let held = join_all((0..20).map(|_| troupe.subscribe("file:///a"))).await;
    assert!(held.iter().all(Result::is_ok));
    assert_eq!(way.dials(), 2);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_question_that_the_host_has_yet_to_answer_holds_it() {
    let ask = Script::Ask { method: "elicitation/create".into(), params: r#"{"message":"?"}"#.into() };
    let (_server, way) = Way::to(echo().tool("ask", ask).era(ScriptedEra::Legacy));
    let mut settings = Settings::default();
    settings.server_request_timeout = SECS(3600);
    let described = on_demand("s").idle_timeout(SECS(60));
    let troupe = Troupe::builder()
        .settings(settings)
        .server_via(described, way.clone())
        .on_elicitation(|_| async {
            sleep(SECS(1800)).await;
            Ok(ElicitResult::Decline)
        })
        .seed(7)
        .start()
        .await
        .unwrap();
    let mut events = troupe.events();
    // The call is over long before the question is.
    let over = kind(troupe.call(Call::tool("ask").timeout(SECS(1))).await);
    assert!(matches!(over, CallErrorKind::DeadlineExceeded { .. }), "{over}");
    let begun = Instant::now();
    becomes(&mut events, ServerStatus::Idle).await;
    assert!((1800..1870).contains(&secs_since(begun)), "{}", secs_since(begun));
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_started_says_why_and_is_left_alone_until_it_is_needed() {
    let (_server, way, troupe, mut events) = idle_one(echo()).await;
    way.close(true);
    let failed = kind(troupe.call(call()).await);
    let CallErrorKind::Unavailable { servers } = &failed else { panic!("{failed}") };
    assert!(servers[0].reason.contains("the way is closed"), "{failed}");
    // It is tried as any other server for as long as it would have run, and then not at all.
    let reason = becomes(&mut events, ServerStatus::Idle).await.unwrap();
    assert!(reason.contains("the way is closed"), "{reason}");
    let tried = way.dials();
    assert!((10..100).contains(&tried), "{tried}");
    sleep(SECS(24 * 3600)).await;
    assert_eq!(way.dials(), tried, "a broken server that nobody uses costs nothing");
    let missing = troupe.settled().await;
    assert!(missing.len() == 1 && !missing[0].is_ready(), "{missing:?}");
    assert!(
        missing[0].to_string().starts_with("s is idle (") && missing[0].reason.is_some(),
        "{}",
        missing[0]
    );
    let totals = troupe.stats().await.totals;
    assert_eq!((totals.idle_servers, totals.unhealthy_servers), (0, 1));
    let failed = kind(troupe.call(call()).await);
    assert!(matches!(failed, CallErrorKind::Unavailable { .. }) && way.dials() > tried, "{failed}");
    way.close(false);
    becomes(&mut events, ServerStatus::Ready).await;
    troupe.call(call()).await.unwrap();
    assert!(troupe.settled().await.is_empty());
    becomes(&mut events, ServerStatus::Idle).await;
    assert_eq!(troupe.servers()[0].reason, None);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_could_not_even_be_listed_is_tried_again_by_a_call_that_it_may_take() {
    let (_server, way) = Way::to(echo());
    way.close(true);
    let troupe = Troupe::builder().server_via(on_demand("s"), way.clone()).seed(7).start().await.unwrap();
    let mut events = troupe.events();
    assert_eq!(troupe.settled().await.len(), 1);
    becomes(&mut events, ServerStatus::Idle).await;
    sleep(SECS(24 * 3600)).await;
    let tried = way.dials();
    way.close(false);
    assert!(matches!(kind(troupe.call(Call::tool("other/echo")).await), CallErrorKind::UnknownTool { .. }));
    assert_eq!(way.dials(), tried, "it is of another group");
    troupe.call(Call::tool("s/echo")).await.unwrap();
    assert_eq!(way.dials(), tried + 1);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_kill_of_its_actor_starts_it_only_where_it_ran() {
    for fault in [Fault::Kill, Fault::Panic, Fault::Stop] {
        let (server, way, troupe, mut events) = idle_one(echo()).await;
        inject(&troupe, Target::server("s"), fault).await.unwrap();
        becomes(&mut events, ServerStatus::Idle).await;
        let first = troupe.servers()[0].incarnation;
        sleep(SECS(3600)).await;
        assert_eq!((way.dials(), status(&troupe)), (1, ServerStatus::Idle), "{fault:?}");
        troupe.call(call()).await.unwrap();
        inject(&troupe, Target::server("s"), fault).await.unwrap();
        until(&troupe, |info| info.status == ServerStatus::Ready && info.incarnation > first).await;
        assert_eq!(way.dials(), 3, "{fault:?}: one that ran goes on to run");
        until(&troupe, |info| info.status == ServerStatus::Idle).await;
        // In the middle of its start.
        way.hold(true);
        let waits = tokio::spawn(troupe.call(call()));
        until(&troupe, |info| info.status == ServerStatus::Connecting).await;
        inject(&troupe, Target::server("s"), fault).await.unwrap();
        sleep(SECS(1)).await;
        way.hold(false);
        waits.await.unwrap().unwrap();
        assert_eq!(server.calls("echo"), 2, "{fault:?}");
        end(troupe).await;
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_an_idle_server_survive_the_death_of_everybody_else() {
    for target in [Target::Router, Target::Starts, Target::Registry] {
        let (server, way, troupe, _events) = idle_one(echo()).await;
        way.hold(true);
        let waits: Vec<_> = (0..10).map(|_| tokio::spawn(troupe.call(call().timeout(SECS(120))))).collect();
        until(&troupe, |info| info.status == ServerStatus::Connecting).await;
        inject(&troupe, target.clone(), Fault::Kill).await.unwrap();
        sleep(SECS(1)).await;
        way.hold(false);
        for waits in waits {
            waits.await.unwrap().unwrap();
        }
        assert_eq!(server.calls("echo"), 10, "{target:?}");
        end(troupe).await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_drains_leaves_and_comes_back_without_being_started() {
    let (_server, way, troupe, _events) = idle_one(echo()).await;
    let begun = Instant::now();
    troupe.drain("s", SECS(60)).await.unwrap();
    assert_eq!(status(&troupe), ServerStatus::Stopped);
    troupe.resume("s").await.unwrap();
    until(&troupe, |info| info.status == ServerStatus::Idle).await;
    assert!(troupe.settled().await.is_empty());
    troupe.call(call()).await.unwrap();
    assert_eq!(way.dials(), 2);
    until(&troupe, |info| info.status == ServerStatus::Idle).await;
    let mut events = troupe.events();
    troupe.unregister("s").await.unwrap();
    event(&mut events, |event| matches!(event, Event::ServerUnregistered { .. })).await;
    assert_eq!((way.dials(), secs_since(begun)), (2, IDLE.as_secs()));
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_server_at_another_address_is_started_to_be_listed() {
    let (_server, _way, troupe, mut events) = idle_one(echo()).await;
    let (_other, elsewhere) = Way::to(ScriptedServer::builder().tool("another", Script::Echo));
    let elsewhere = Way { name: "another way", ..elsewhere };
    troupe.replace_via(on_demand("s"), elsewhere.clone()).await.unwrap();
    becomes(&mut events, ServerStatus::Ready).await;
    assert_eq!(elsewhere.dials(), 1);
    assert_eq!(troupe.tools()[0].name.as_ref(), "another");
    end(troupe).await;
}

#[tokio::test]
async fn a_reload_changes_how_it_is_started_and_leaves_what_runs_alone() {
    let server = echo().start().await;
    let file = |start: &str| {
        let text =
            json!({"mcpServers": {"s": {"url": server.url(), "start": start, "idleTimeout": "200ms"}}});
        ConfigFile::parse(&servers_json(text)).unwrap()
    };
    let troupe = Troupe::builder().config(file("at-once")).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let mut events = troupe.events();
    let applied = troupe.apply(file("on-demand")).await.unwrap();
    assert_eq!((applied.amended.len(), applied.replaced.len()), (1, 0), "{applied}");
    becomes(&mut events, ServerStatus::Idle).await;
    assert_eq!(server.observed().accepted, 1, "it was not connected anew");
    troupe.apply(file("at-once")).await.unwrap();
    becomes(&mut events, ServerStatus::Ready).await;
    assert_eq!(server.observed().accepted, 2);
    // For all servers at once.
    let all = |start: &str| {
        let servers = json!({"s": {"url": server.url()}});
        let text = json!({"mcpServers": servers, "troupe": {"start": start, "idleTimeout": "200ms"}});
        ConfigFile::parse(&servers_json(text)).unwrap()
    };
    let applied = troupe.apply(all("on-demand")).await.unwrap();
    assert_eq!((applied.amended.len(), applied.pending.len()), (1, 0), "{applied}");
    assert_eq!(applied.settings, ["troupe.idleTimeout", "troupe.start"]);
    becomes(&mut events, ServerStatus::Idle).await;
    troupe.call(call()).await.unwrap();
    assert_eq!(server.observed().accepted, 3);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_ready_replica_takes_the_calls_and_an_idle_one_those_that_it_has_no_room_for() {
    let ((one, first), (two, second)) = (Way::to(echo()), Way::to(echo()));
    let mut settings = Settings::default();
    (settings.pool.max, settings.pool.in_flight_max) = (1, 2);
    let troupe = Troupe::builder()
        .settings(settings)
        .server_via(Server::custom("one").group("g"), first)
        .server_via(on_demand("two").group("g"), second.clone())
        .seed(7)
        .start()
        .await
        .unwrap();
    let mut events = troupe.events();
    becomes(&mut events, ServerStatus::Idle).await;
    for _ in 0..20 {
        troupe.call(call()).await.unwrap();
    }
    assert_eq!((one.calls("echo"), two.calls("echo"), second.dials()), (20, 0, 1));
    // It is full: the other one is started for what waits.
    let held: Vec<_> = (0..2).map(|_| tokio::spawn(troupe.call(Call::tool("hold")))).collect();
    one.wait_for(|seen| seen.calls.get("hold") == Some(&2)).await;
    troupe.call(call()).await.unwrap();
    assert_eq!((two.calls("echo"), second.dials()), (1, 2));
    one.release();
    for held in held {
        held.await.unwrap().unwrap();
    }
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_to_all_servers_starts_those_that_are_idle() {
    let ((one, first), (two, second)) = (Way::to(echo()), Way::to(echo()));
    let troupe = Troupe::builder()
        .server_via(on_demand("one"), first)
        .server_via(on_demand("two"), second)
        .seed(7)
        .start()
        .await
        .unwrap();
    until(&troupe, |info| info.id == "two" && info.status == ServerStatus::Idle).await;
    let answers = troupe.call_all(call()).await.unwrap();
    assert!(answers.values().all(Result::is_ok), "{answers:?}");
    assert_eq!((one.calls("echo"), two.calls("echo")), (1, 1));
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn what_it_offers_otherwise_when_it_is_started_again_is_told() {
    let (server, _way, troupe, mut events) = idle_one(echo().tool("old", Script::Echo)).await;
    server.remove_tool("old");
    server.set_script("new", Script::Echo);
    // It waits for the list, and what that has not is unknown.
    assert!(troupe.call(Call::tool("old")).await.is_err());
    let told = event(&mut events, |event| matches!(event, Event::CatalogueChanged { .. })).await;
    let Event::CatalogueChanged { added, removed, .. } = told else { unreachable!() };
    assert_eq!((added, removed), (vec!["new".to_owned()], vec!["old".to_owned()]));
    troupe.call(Call::tool("new")).await.unwrap();
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_kept_result_is_given_without_starting_it() {
    let (_server, way) = Way::to(echo());
    let mut settings = Settings::default();
    settings.cache = serde_json::from_value(json!({"tools": {"s/echo": {"ttl": "1d"}}})).unwrap();
    let builder = Troupe::builder().settings(settings).server_via(on_demand("s"), way.clone()).seed(7);
    let troupe = builder.start().await.unwrap();
    let mut events = troupe.events();
    troupe.ready(Readiness::All).await.unwrap();
    troupe.call(call()).await.unwrap();
    becomes(&mut events, ServerStatus::Idle).await;
    assert!(troupe.call(call()).await.unwrap().cached);
    assert_eq!((way.dials(), status(&troupe)), (1, ServerStatus::Idle));
    end(troupe).await;
}

/// Calls that come in the very moment in which their server is stopped, in as many orders as there are seeds.
#[tokio::test(start_paused = true)]
async fn no_call_is_lost_or_made_twice_where_it_meets_the_stop() {
    for seed in 0..150 {
        let (server, way) = Way::to(echo());
        let described = on_demand("s").idle_timeout(SECS(1)).pool(one_connection());
        let troupe = Troupe::builder().server_via(described, way.clone()).seed(seed).start().await.unwrap();
        troupe.call(call()).await.unwrap();
        let mut made = 1;
        for round in 0..20 {
            sleep(SECS(1)).await;
            for _ in 0..(seed + round) % 17 {
                tokio::task::yield_now().await;
            }
            let calls = 1 + (seed + round) % 3;
            let answers = join_all((0..calls).map(|_| troupe.call(call()))).await;
            assert!(answers.iter().all(Result::is_ok), "seed {seed}: {answers:?}");
            made += calls;
        }
        assert_eq!(server.calls("echo"), made, "seed {seed}");
        assert!(way.dials() <= 22, "seed {seed}: {} dials", way.dials());
        end(troupe).await;
    }
}

/// The same on threads, where nothing is in step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_or_made_twice_on_several_threads_either() {
    let (server, way) = Way::to(echo());
    let described = on_demand("s").idle_timeout(Duration::from_millis(2));
    let troupe = Troupe::builder().server_via(described, way.clone()).seed(7).start().await.unwrap();
    let callers = (0..4_u64).map(|caller| {
        let troupe = troupe.clone();
        tokio::spawn(async move {
            for round in 0..200_u64 {
                troupe.call(call()).await.unwrap();
                sleep(Duration::from_micros(1_000 + (round * 37 + caller * 211) % 3_000)).await;
            }
        })
    });
    for caller in join_all(callers).await {
        caller.unwrap();
    }
    assert_eq!(server.calls("echo"), 800);
    end(troupe).await;
}

#[test]
fn a_wrong_way_to_be_started_is_told_with_those_that_there_are() {
    for (server, key, says) in [
        (json!({"start": "lazy"}), "start", "expected `at-once` or `on-demand`"),
        (json!({"idleTimeout": "0s"}), "idleTimeout", "must be more than 0"),
        (json!({"idleTimeout": 10}), "idleTimeout", "10m"),
    ] {
        let mut described = json!({"command": "cat"});
        described.as_object_mut().unwrap().extend(server.as_object().unwrap().clone());
        let found = ConfigFile::mistakes(&json!({"mcpServers": {"s": described}}).to_string());
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(found.len() == 1 && found[0].contains(&format!("mcpServers.s.{key}")), "{found:?}");
        assert!(found[0].contains(says) || key == "idleTimeout", "{found:?}");
        let found = ConfigFile::mistakes(&json!({"mcpServers": {}, "troupe": server}).to_string());
        assert!(found.len() == 1 && found[0].to_string().contains(&format!("troupe.{key}")), "{found:?}");
    }
}

#[test]
fn an_idle_timeout_without_effect_is_a_warning() {
    let warned = |server: serde_json::Value, troupe: serde_json::Value| {
        let mut described = json!({"command": "cat", "idleTimeout": "5m"});
        described.as_object_mut().unwrap().extend(server.as_object().unwrap().clone());
        let file = json!({"mcpServers": {"s": described}, "troupe": troupe}).to_string();
        let file = ConfigFile::parse(&file).unwrap();
        assert_eq!(file.servers.len(), 1, "it plays all the same");
        file.diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    for (server, troupe, idles) in [
        (json!({}), json!({}), false),
        (json!({"start": "at-once"}), json!({"start": "on-demand"}), false),
        (json!({"start": "on-demand"}), json!({}), true),
        (json!({}), json!({"start": "on-demand"}), true),
    ] {
        let told = warned(server, troupe);
        assert_eq!(told.is_empty(), idles, "{told}");
        assert!(idles || told.contains("mcpServers.s.idleTimeout: has no effect"), "{told}");
    }
}
