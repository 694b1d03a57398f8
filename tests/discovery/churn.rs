//! Servers that are announced, moved and withdrawn at random while calls are made without a pause.
//!
//! `DISCOVERY_SECONDS=60 cargo test --features etcd --test discovery churn -- --nocapture` churns for a minute.

use std::collections::BTreeMap;
use std::time::Duration;

use mcp_troupe::event::{Origin, ServerStatus};
use mcp_troupe::testkit::{AnswerChecker, Script, ScriptedServer};
use mcp_troupe::{Readiness, Troupe};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::common::{echo, end};
use super::etcd::Etcd;
use super::prompt;

const SERVERS: usize = 20;
const CALLERS: usize = 8;

/// How long the churn goes on.
fn duration() -> Duration {
    let seconds = std::env::var("DISCOVERY_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(5))
}

/// Where each server is, as the troupe knows it.
fn roster(troupe: &Troupe) -> BTreeMap<String, String> {
    let servers = troupe.servers().into_iter();
    servers
        .filter(|info| info.status != ServerStatus::Draining && matches!(info.origin, Origin::Source(_)))
        .map(|info| (info.id.to_string(), info.endpoint.trim_end_matches('/').to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_hurt_by_servers_that_are_announced_moved_and_withdrawn_at_random() {
    let Some(etcd) = Etcd::start("no_call_is_hurt_by_servers_that_are_announced_moved_and_withdrawn").await
    else {
        return;
    };
    let mut places = Vec::new();
    for _ in 0..2 * SERVERS {
        places.push(ScriptedServer::builder().tool("echo", Script::Echo).start().await);
    }
    let mut truth: BTreeMap<String, String> = BTreeMap::new();
    let mut rng = SmallRng::seed_from_u64(11);
    for (n, place) in places.iter().take(SERVERS / 2).enumerate() {
        etcd.put(&format!("s{n}"), place).await;
        truth.insert(format!("s{n}"), place.url());
    }
    let mut settings = prompt();
    // Servers that change this often are damped, which has tests of its own.
    settings.discovery.flaps_max = 1_000;
    let troupe = etcd.troupe_with(settings).await;
    troupe.ready(Readiness::All).await.unwrap();
    let checker = AnswerChecker::new(&troupe, &prompt());
    let over = Instant::now() + duration();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let checker = checker.clone();
        callers.spawn(async move {
            while Instant::now() < over {
                // What goes wrong is in the account.
                let _ = checker.call(echo()).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }
    let (mut changes, mut slowest) = (0, Duration::ZERO);
    while Instant::now() < over {
        let id = format!("s{}", rng.random_range(0..SERVERS));
        let known = truth.contains_key(&id);
        // Some always stay, so that every call has a server to go to.
        if known && truth.len() > 3 && rng.random_bool(0.5) {
            etcd.delete(&id).await;
            truth.remove(&id);
        } else {
            let place = &places[rng.random_range(0..places.len())];
            etcd.put(&id, place).await;
            truth.insert(id, place.url());
        }
        let changed = Instant::now();
        while roster(&troupe) != truth {
            let took = Instant::now().saturating_duration_since(changed);
            assert!(
                took < Duration::from_secs(5),
                "after {took:?} {:?} play, not {truth:?}",
                roster(&troupe)
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        slowest = slowest.max(Instant::now().saturating_duration_since(changed));
        changes += 1;
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..500))).await;
    }
    callers.join_all().await;
    let tally = checker.verdict(&places).unwrap();
    println!(
        "{changes} changes, the slowest seen after {slowest:?}; {} calls, errors: {:?}",
        tally.calls, tally.errors
    );
    assert_eq!((tally.ok, tally.errors.len()), (tally.calls, 0), "{:?}", tally.errors);
    end(troupe).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_down_for_the_whole_run_changes_nothing_for_the_servers_that_are_known() {
    let Some(mut etcd) = Etcd::start("a_directory_that_is_down_for_the_whole_run").await else { return };
    let servers = [
        ScriptedServer::builder().tool("echo", Script::Echo).start().await,
        ScriptedServer::builder().tool("echo", Script::Echo).start().await,
    ];
    for (n, server) in servers.iter().enumerate() {
        etcd.put(&format!("s{n}"), server).await;
    }
    let troupe = etcd.troupe().await;
    troupe.ready(Readiness::All).await.unwrap();
    let known = roster(&troupe);
    etcd.kill();
    super::stands(&troupe, mcp_troupe::event::SourceStatus::Failing).await;
    let checker = AnswerChecker::new(&troupe, &prompt());
    let before = super::source(&troupe).await.failures;
    while super::source(&troupe).await.failures < before + 10 {
        for _ in 0..100 {
            checker.call(echo()).await.unwrap();
        }
    }
    checker.verdict(&servers).unwrap();
    assert_eq!(roster(&troupe), known);
    assert_eq!(servers.each_ref().map(|server| server.observed().accepted), [1, 1], "they were left alone");
    end(troupe).await;
}
