//! Everything at once, over HTTP: kills of every kind of actor, servers that forget, cut, refuse and go away, under load on
//! real threads. Every call has one answer, and what it says of the call's effect is true.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mcp_troupe::testkit::{
    AnswerChecker, Fault, Script, ScriptedBuilder, ScriptedEra, ScriptedServer, Target, inject,
};
use mcp_troupe::{Call, Readiness, Server, Settings, Troupe};
use serde_json::json;
use tokio::task::JoinSet;

use super::common::end;

/// Strikes of one run: each of the ten kinds three times.
const STRIKES: u64 = 30;

/// Callers at once.
const CALLERS: usize = 16;

/// Plays against two replicas of this kind.
async fn play(builder: impl Fn() -> ScriptedBuilder) {
    let mut servers = Vec::new();
    for _ in 0..2 {
        servers.push(builder().tool("echo", Script::Echo).start().await);
    }
    let settings = Settings::default();
    let replicas = ["a", "b"].into_iter().zip(&servers);
    let troupe = replicas
        .fold(Troupe::builder().settings(settings.clone()).seed(7), |builder, (id, server)| {
            builder.server(Server::http(id, server.url()).group("g"))
        })
        .start()
        .await
        .unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let checker = AnswerChecker::new(&troupe, &settings);
    let strikes = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (checker, strikes) = (checker.clone(), strikes.clone());
        callers.spawn(async move {
            let mut ok = 0_u64;
            while strikes.load(Ordering::Relaxed) < STRIKES {
                let call = Call::tool("echo").args(json!({"n": caller})).timeout(Duration::from_secs(20));
                let call = if caller % 2 == 0 { call.idempotent() } else { call };
                ok += u64::from(checker.call(call).await.is_ok());
            }
            ok
        });
    }
    for strike in 0..STRIKES {
        let victim = usize::try_from(strike / 10 % 2).unwrap();
        // Between two lives there is nobody to strike.
        match strike % 10 {
            0 => drop(inject(&troupe, Target::connection(["a", "b"][victim]), Fault::Kill).await),
            1 => drop(inject(&troupe, Target::connection(["a", "b"][victim]), Fault::Panic).await),
            2 => drop(inject(&troupe, Target::server(["a", "b"][victim]), Fault::Kill).await),
            3 => drop(inject(&troupe, Target::Router, Fault::Kill).await),
            4 => drop(inject(&troupe, Target::Registry, Fault::Kill).await),
            5 => servers[victim].cut_all(),
            6 => servers[victim].forget_sessions(),
            7 => servers[victim].refuse_with(503, &[("retry-after", "1")]),
            8 => servers[victim].refuse_no_more(),
            _ => {
                servers[victim].stop_listening().await;
                servers[victim].resume().await;
            }
        }
        // The next strike meets calls that came after this one.
        let answered =
            |servers: &[ScriptedServer]| servers.iter().map(|server| server.calls("echo")).sum::<u64>();
        let before = answered(&servers);
        while answered(&servers) < before + 50 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        strikes.fetch_add(1, Ordering::Relaxed);
    }
    let ok: u64 = callers.join_all().await.into_iter().sum();
    assert!(ok > 100 * STRIKES / 4, "{ok} calls were answered");
    troupe.ready(Readiness::All).await.unwrap();
    if let Err(violations) = checker.verdict(&servers) {
        panic!("{violations}");
    }
    for server in &servers {
        assert_eq!(server.observed().wrong_headers, Vec::<String>::new());
    }
    end(troupe).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_strikes_a_modern_server_each_call_has_one_true_answer() {
    play(|| ScriptedServer::builder().http_events()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_strikes_a_legacy_server_each_call_has_one_true_answer() {
    play(|| ScriptedServer::builder().era(ScriptedEra::Legacy).sessions().listening_stream()).await;
}
