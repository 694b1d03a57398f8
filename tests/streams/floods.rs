//! Servers that report more than anybody reads.

use mcp_troupe::config::PoolSettings;
use mcp_troupe::testkit::{Script, ScriptedBuilder, ScriptedServer, Step};
use mcp_troupe::{Call, CallUpdate, Server, Troupe};

use super::common::{NEVER, echo, end, ready};
use super::{account, heard, telling};

/// A troupe with one connection to one server, over which everything goes.
async fn narrow(builder: ScriptedBuilder) -> (ScriptedServer, Troupe) {
    let server = builder.tool("echo", Script::Echo).start().await;
    let mut pool = PoolSettings::default();
    pool.max = 1;
    let described = match server.url().starts_with("http") {
        true => Server::http("s", server.url()),
        false => Server::websocket("s", server.url()),
    };
    let troupe = ready([described.pool(pool)]).await;
    (server, troupe)
}

fn carriers() -> [ScriptedBuilder; 2] {
    [ScriptedServer::builder(), ScriptedServer::builder().http_events()]
}

#[tokio::test]
async fn every_report_of_a_flood_is_told_or_counted_as_missed() {
    for builder in carriers() {
        let (_server, troupe) = narrow(builder.tool("flood", telling([Step::Flood(20_000)]))).await;
        let (updates, answer) = heard(troupe.call_stream(Call::tool("flood"))).await;
        let (told, missed) = account(&updates);
        assert_eq!(told + missed, 20_000);
        assert!(told > 0, "all were missed");
        // How far it came at last is never missed.
        assert!(updates.last().is_some_and(|last| last.contains("20000")), "{:?}", updates.last());
        assert!(answer.is_ok());
        end(troupe).await;
    }
}

#[tokio::test]
async fn the_last_report_of_a_burst_is_told_though_its_server_tells_nothing_more() {
    for builder in carriers() {
        let (_server, troupe) =
            narrow(builder.tool("flood", telling([Step::Flood(20_000), Step::Hold]))).await;
        let mut stream = troupe.call_stream(Call::tool("flood"));
        let last = async {
            loop {
                match stream.next().await.expect("the call is open") {
                    CallUpdate::Progress(progress) if progress.progress == 20_000.0 => return,
                    CallUpdate::Answer(answer) => panic!("{answer:?}"),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(NEVER, last).await.expect("it is told");
        drop(stream);
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_stream_that_is_read_late_says_how_much_it_missed_and_has_its_answer() {
    let (_server, troupe) = narrow(ScriptedServer::builder().tool("t", telling([Step::Flood(2_000)]))).await;
    let mut stream = troupe.call_stream(Call::tool("t"));
    // It is polled once, so that the call begins, and then left alone until the router has answered.
    let first = stream.next().await;
    while !troupe.stats().await.router.outcomes.contains_key("ok") {
        tokio::task::yield_now().await;
    }
    let updates = heard(stream).await.0;
    assert!(updates.last().is_some_and(|last| last.contains("2000")), "{:?}", updates.last());
    let (mut told, missed) = account(&updates);
    told += u64::from(matches!(first, Some(CallUpdate::Progress(_))));
    assert_eq!(told + missed, 2_000);
    assert!(told <= 258, "{told} waited to be read");
    end(troupe).await;
}

#[tokio::test]
async fn a_flood_without_end_starves_nobody_and_ends_with_its_call() {
    for builder in carriers() {
        let (server, troupe) = narrow(builder.tool("flood", telling([Step::Flood(u64::MAX)]))).await;
        let mut stream = troupe.call_stream(Call::tool("flood"));
        assert!(matches!(stream.next().await, Some(CallUpdate::Progress(_))));
        // Over a WebSocket each answer comes behind all of the flood that the sockets hold.
        for _ in 0..3 {
            assert!(troupe.call(echo()).await.is_ok());
        }
        drop(stream);
        server.wait_for(|seen| !seen.cancelled.is_empty()).await;
        assert!(troupe.call(echo()).await.is_ok());
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_flood_of_progress_that_nobody_asked_for_costs_its_server_nothing_but_a_count() {
    let stray =
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
    let steps = vec![Step::Say(stray.to_owned()); 5_000];
    let (_server, troupe) = narrow(ScriptedServer::builder().tool("strays", telling(steps))).await;
    assert!(troupe.call(Call::tool("strays")).await.is_ok());
    assert!(troupe.call(echo()).await.is_ok());
    let stats = troupe.stats().await;
    assert_eq!(stats.servers[0].outcomes["stray-notice"], 5_000);
    end(troupe).await;
}
