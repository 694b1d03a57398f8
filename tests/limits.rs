//! Settings at their limits: what is let through plays, and what is beyond is refused by its key and its limit.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{echo, end};
use mcp_troupe::config::{BreakerSettings, DiscoverySettings, LivenessSettings, PoolSettings};
use mcp_troupe::discovery::{Answer, BoxFuture, FileSource, Next, Source, SourceError, Watch};
use mcp_troupe::testkit::{Fault, MemoryConnector, Script, ScriptedServer, ScriptedSource, Target, inject};
use mcp_troupe::transport::http::{HttpConnector, HttpOptions};
use mcp_troupe::transport::websocket::{WebSocketConnector, WebSocketOptions};
use mcp_troupe::transport::{Connector, DialError, Link};
use mcp_troupe::{Call, ConfigFile, Event, Readiness, Server, Settings, Troupe};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Panics of this process that no test ordered. Actors and tasks catch theirs, so that only the hook sees them all.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    let former = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&"ordered by the testkit") {
            PANICS.fetch_add(1, Ordering::SeqCst);
            former(panic);
        }
    }));
}

/// A configuration that says all that has a limit.
fn full() -> Value {
    let mut troupe = serde_json::to_value(Settings::default()).unwrap();
    troupe["strict"] = json!(true);
    troupe["callIdleTimeout"] = json!("1m");
    troupe["pool"]["handshakeTimeout"] = json!("10s");
    troupe["processes"]["startConcurrency"] = json!(4);
    troupe["toolTimeouts"] = json!({"echo": "1s"});
    troupe["knownLists"] = json!("known-lists.json");
    troupe["pins"] = json!({"file": "pins.json", "onChange": "warn"});
    troupe["breaker"]["slowCall"] = json!("1s");
    troupe["discovery"]["removalGrace"] = json!("1s");
    troupe["cache"]["trustedTtl"] = json!("1m");
    troupe["cache"]["tools"] =
        json!({"echo": {"ttl": "1m", "staleWhileRevalidate": "1s", "staleIfError": "1s", "scope": "shared"}});
    let (pool, breaker) = (troupe["pool"].clone(), troupe["breaker"].clone());
    let rules = troupe["discovery"].clone();
    json!({
        "mcpServers": {"a": {"url": "ws://h", "timeout": "1s", "weight": 7, "pool": pool, "breaker": breaker}},
        "discovery": [{"type": "file", "path": "servers.d", "interval": "1s", "rules": rules}],
        "troupe": troupe,
    })
}

/// A value of the configuration: where it stands, and how errors name it.
#[derive(Debug, Clone)]
struct Leaf {
    pointer: String,
    key: String,
    value: Value,
}

fn leaves(value: &Value) -> Vec<Leaf> {
    fn walk(value: &Value, pointer: String, key: String, found: &mut Vec<Leaf>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(name, member)| {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                walk(member, format!("{pointer}/{name}"), key, found);
            }),
            Value::Array(items) => items.iter().enumerate().for_each(|(n, item)| {
                walk(item, format!("{pointer}/{n}"), format!("{key}[{n}]"), found);
            }),
            Value::Null => panic!("{key} is not said: say it, so that its limit is tested"),
            _ => found.push(Leaf { pointer, key, value: value.clone() }),
        }
    }
    let mut found = Vec::new();
    walk(value, String::new(), String::new(), &mut found);
    found
}

impl Leaf {
    fn is_time(&self) -> bool {
        self.value.as_str().is_some_and(|text| humantime::parse_duration(text).is_ok())
    }

    fn put(
        &self,
        configuration: &Value,
        value: impl Into<Value>,
    ) -> Result<ConfigFile, mcp_troupe::ConfigError> {
        let mut changed = configuration.clone();
        *changed.pointer_mut(&self.pointer).unwrap() = value.into();
        ConfigFile::parse(&changed.to_string())
    }

    /// The largest number that is taken, from the words of the error that names it.
    fn limit(&self, configuration: &Value) -> u64 {
        let tried = [u64::from(u32::MAX), u64::MAX].map(|value| self.put(configuration, value));
        let refused = tried.into_iter().find_map(Result::err);
        let refused = refused.unwrap_or_else(|| panic!("{} has no limit", self.key));
        assert_eq!(refused.key, self.key, "{refused}");
        let mut numbers =
            refused.reason.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok());
        numbers.next_back().unwrap_or_else(|| panic!("{refused} names no limit"))
    }
}

#[test]
fn every_time_and_every_number_has_a_limit_that_its_error_names() {
    let full = full();
    ConfigFile::parse(&full.to_string()).unwrap();
    let (mut times, mut numbers) = (0, 0);
    for leaf in leaves(&full) {
        let taken = |value: Value| match leaf.put(&full, value) {
            // One of two keys whose order counts.
            Err(error) => error.reason.contains("is more than"),
            Ok(_) => true,
        };
        if leaf.is_time() {
            times += 1;
            assert!(taken(json!("366days")), "{}", leaf.key);
            for beyond in ["366days 1ns", "9000years", "500000000000y"] {
                let error = leaf.put(&full, beyond).expect_err(&leaf.key);
                assert_eq!((&error.key, &*error.reason), (&leaf.key, "must be a year at most"));
            }
        } else if leaf.value.is_u64() {
            numbers += 1;
            let limit = leaf.limit(&full);
            assert!(taken(json!(limit)), "{}: {limit}", leaf.key);
            let error = leaf.put(&full, limit + 1).expect_err(&leaf.key);
            assert_eq!(error.key, leaf.key);
            assert!(error.reason.contains(&limit.to_string()), "{error}");
        } else if leaf.value.is_f64() {
            numbers += 1;
            let error = leaf.put(&full, 1e300).expect_err(&leaf.key);
            assert!(error.key == leaf.key && error.reason.contains("between"), "{error}");
        }
    }
    assert!(times > 60 && numbers > 50, "{times} times and {numbers} numbers: they are no longer found");
}

/// What may stand in a place, the smallest first.
fn choices(leaf: &Leaf, full: &Value) -> Vec<Value> {
    if leaf.key.ends_with("pool.min") {
        // Each is opened.
        return vec![json!(1), json!(2)];
    }
    match &leaf.value {
        Value::String(_) if leaf.is_time() => {
            vec![json!("1ns"), json!("1ms"), leaf.value.clone(), json!("366days")]
        }
        Value::String(text) => {
            let names = [
                &["peak-ewma", "round-robin", "least-connections", "weighted", "rendezvous"][..],
                &["enabled", "disabled", "metrics-only"],
                &["permanent", "transient", "temporary"],
                &["error", "first", "balance"],
                &["shared", "affinity", "identity"],
            ];
            let alike = names.into_iter().find(|names| names.contains(&text.as_str()));
            alike.unwrap_or(&[text]).iter().map(|name| json!(name)).collect()
        }
        Value::Number(number) if number.is_u64() => {
            vec![json!(1), leaf.value.clone(), json!(leaf.limit(full))]
        }
        Value::Number(_) if leaf.key.ends_with("factor") => vec![json!(1.0), json!(2.0), json!(100.0)],
        Value::Number(_) => vec![json!(1.0), json!(1e-9), json!(0.5), json!(0.0)],
        // Otherwise a mistake in the server would be none of the whole.
        Value::Bool(_) if leaf.key == "troupe.strict" => vec![json!(true)],
        Value::Bool(_) => vec![json!(true), json!(false)],
        other => vec![other.clone()],
    }
}

/// A configuration of extreme values that is let through: what is refused takes the smallest value instead.
fn allowed(picks: &[usize], places: &[(Leaf, Vec<Value>)], full: &Value) -> Value {
    let mut configuration = full.clone();
    for (pick, (leaf, choices)) in picks.iter().zip(places) {
        *configuration.pointer_mut(&leaf.pointer).unwrap() = choices[pick % choices.len()].clone();
    }
    while let Err(refused) = ConfigFile::parse(&configuration.to_string()) {
        let (leaf, choices) =
            places.iter().find(|(leaf, _)| leaf.key == refused.key).unwrap_or_else(|| panic!("{refused}"));
        let value = configuration.pointer_mut(&leaf.pointer).unwrap();
        assert_ne!(*value, choices[0], "{refused}");
        *value = choices[0].clone();
    }
    configuration
}

/// Starts, is called, crashes, loses its link, drains, rests, goes on and shuts down. What comes of the calls is nobody's
/// business here.
async fn plays(configuration: &Value) {
    let part = |pointer: &str| configuration.pointer(pointer).unwrap().clone();
    let mut settings: Settings = serde_json::from_value(part("/troupe")).unwrap();
    // Files of the configuration have tests of their own.
    (settings.pins, settings.known_lists) = (None, None);
    let pool: PoolSettings = serde_json::from_value(part("/mcpServers/a/pool")).unwrap();
    let breaker: BreakerSettings = serde_json::from_value(part("/mcpServers/a/breaker")).unwrap();
    let rules: DiscoverySettings = serde_json::from_value(part("/discovery/0/rules")).unwrap();
    let timeout = part("/mcpServers/a/timeout");
    let timeout = humantime::parse_duration(timeout.as_str().unwrap()).unwrap();
    let second = Duration::from_secs(1);
    let scripted = || ScriptedServer::builder().tool("echo", Script::Echo).start_in_memory();
    let ((server, connector), (_found, other)) = (scripted(), scripted());
    let described = Server::custom("a").group("g").pool(pool).breaker(breaker).timeout(timeout);
    let source = ScriptedSource::new();
    let name = |connector: &MemoryConnector| {
        let connector: std::sync::Arc<dyn Connector> = std::sync::Arc::new(connector.clone());
        source.answer_via([(Server::custom("b").group("g"), connector)]);
    };
    name(&other);
    let builder = Troupe::builder().settings(settings.clone()).server_via(described, connector);
    let troupe = builder.source_with("found", source.clone(), rules).seed(7).start().await.unwrap();
    let _events = troupe.events();
    let _ = troupe.ready_within(Readiness::Any, second).await;
    let call = || troupe.call(echo().timeout(second).idempotent().hedged().affinity("k").identity("i"));
    for fault in [Fault::Panic, Fault::Kill] {
        let (_, _) = tokio::join!(call(), call());
        if let Ok(Ok(lease)) = tokio::time::timeout(second, troupe.lease("a")).await {
            let _ = lease.call(echo().timeout(second)).await;
        }
        // One that crashed too often, or is not restarted, cannot be struck.
        let _ = inject(&troupe, Target::server("a"), fault).await;
        let _ = call().await;
        server.cut_all();
        let _ = call().await;
        let _ = inject(&troupe, Target::Source("found".to_owned()), fault).await;
        source.answer([]);
        let _ = call().await;
        name(&other);
        let _ = inject(&troupe, Target::Router, fault).await;
        let _ = call().await;
    }
    let _ = troupe.breaker("a").force_open().await;
    let _ = tokio::time::timeout(second, troupe.drain("a", Duration::MAX)).await;
    let _ = troupe.resume("a").await;
    let _ = troupe.breaker("a").reset().await;
    let _ = call().await;
    source.fail(SourceError::Silent(Duration::MAX));
    let _ = tokio::time::timeout(second, troupe.unregister("b")).await;
    let _ = call().await;
    end(troupe).await;
}

#[test]
fn whatever_is_let_through_starts_plays_drains_and_shuts_down_without_a_panic() {
    count_panics();
    let full = full();
    let places: Vec<(Leaf, Vec<Value>)> =
        leaves(&full).into_iter().map(|leaf| (leaf.clone(), choices(&leaf, &full))).collect();
    let run = |picks: &[usize]| {
        let configuration = allowed(picks, &places, &full);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(plays(&configuration));
        PANICS.swap(0, Ordering::SeqCst)
    };
    // All that is smallest, and all that is largest.
    for extreme in [0, usize::MAX] {
        let picks: Vec<usize> = places.iter().map(|(_, choices)| extreme.min(choices.len() - 1)).collect();
        assert_eq!(run(&picks), 0, "panics");
    }
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    let picks = proptest::collection::vec(0..64_usize, places.len());
    proptest::test_runner::TestRunner::new(config)
        .run(&picks, |picks| {
            prop_assert_eq!(run(&picks), 0, "panics");
            Ok(())
        })
        .unwrap();
}

/// A source that advises, and promises, for ever.
struct ForEver(MemoryConnector);

impl Source for ForEver {
    fn watch(&self) -> Box<dyn Watch> {
        Box::new(Self(self.0.clone()))
    }

    fn place(&self) -> String {
        "for ever".to_owned()
    }

    fn removal_grace(&self) -> Duration {
        Duration::MAX
    }
}

impl Watch for ForEver {
    fn next(&mut self) -> BoxFuture<'_, Result<Answer, SourceError>> {
        Box::pin(async {
            // The second answer names nobody, which its grace holds off.
            let servers = [Server::custom("s")].into_iter().map(|server| {
                mcp_troupe::discovery::Found::through(server, std::sync::Arc::new(Slow(self.0.clone())))
            });
            Ok(Answer::of(servers, Next::OnChange { within: Duration::MAX }))
        })
    }
}

/// A connector of the host's whose starts may count for ever.
struct Slow(MemoryConnector);

impl Connector for Slow {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, DialError>> {
        self.0.connect()
    }

    fn endpoint(&self) -> String {
        self.0.endpoint()
    }

    fn start_hold(&self) -> Duration {
        Duration::MAX
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_hosts_source_and_connector_say_may_be_for_ever() {
    let (server, connector) = ScriptedServer::builder().tool("echo", Script::Echo).start_in_memory();
    let troupe = Troupe::builder().source("ever", ForEver(connector)).start().await.unwrap();
    let mut events = troupe.events();
    troupe.ready(Readiness::All).await.unwrap();
    troupe.call(echo().timeout(Duration::MAX).idle_timeout(Duration::MAX)).await.unwrap();
    server.cut_all();
    troupe.ready_within(Readiness::All, Duration::MAX).await.unwrap();
    troupe.call(echo()).await.unwrap();
    troupe.drain("s", Duration::MAX).await.unwrap();
    end(troupe).await;
    while let Some(event) = events.next().await {
        let crash = matches!(event, Event::ServerDown { .. } | Event::DiscoveryRestarted { .. });
        assert!(!crash, "{event:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_server_says_of_its_times_may_be_for_ever() {
    let builder = ScriptedServer::builder().tool("echo", Script::Echo).resource("r:/1", "text");
    let (server, connector) = builder.fresh_for(Duration::MAX).start_in_memory();
    let troupe = Troupe::builder().server_via(Server::custom("s"), connector).start().await.unwrap();
    let mut events = troupe.events();
    troupe.ready(Readiness::All).await.unwrap();
    for _ in 0..2 {
        troupe.call(Call::resource("r:/1")).await.unwrap();
    }
    let reads = || server.observed().requests["resources/read"];
    assert_eq!(reads(), 1, "it is kept");
    let listings = server.observed().listings;
    // A day and a tenth is the longest that anybody is believed.
    tokio::time::sleep(Duration::from_secs(27 * 3600)).await;
    troupe.call(Call::resource("r:/1")).await.unwrap();
    assert_eq!(reads(), 2, "but not for ever");
    assert!(server.observed().listings > listings);
    end(troupe).await;
    while let Some(event) = events.next().await {
        assert!(!matches!(event, Event::ServerDown { .. } | Event::CacheRestarted { .. }), "{event:?}");
    }
}

#[test]
fn options_that_no_settings_have_checked_make_connectors_all_the_same() {
    let mut liveness = LivenessSettings::default();
    liveness.ping_interval = Duration::MAX;
    liveness.misses_max = u32::MAX;
    let mut options = HttpOptions::new("http://127.0.0.1:1/mcp");
    options.liveness = liveness;
    options.message_bytes_max = usize::MAX;
    options.connect_timeout = Duration::MAX;
    HttpConnector::new(options).unwrap();
    let mut options = WebSocketOptions::new("ws://127.0.0.1:1");
    options.message_bytes_max = usize::MAX;
    WebSocketConnector::new(options).unwrap();
    let _ = FileSource::new("servers.d").every(Duration::MAX).watch();
    let _ = Call::tool("t").timeout(Duration::MAX);
}
