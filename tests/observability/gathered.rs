//! What happens often is told seldom, with its count.

use std::time::Duration;

use mcp_troupe::testkit::{Fault, Script, ScriptedServer, Target, inject};
use mcp_troupe::{Call, CallErrorKind, Event, EventStream, Server, Troupe};
use tokio::task::JoinSet;

use super::common::{end, event, kind, ready};
use super::{Alone, in_memory};

/// A server that holds one call, and four that wait for it.
async fn full() -> (Alone, Troupe, JoinSet<()>) {
    let (server, troupe) = in_memory([("hold", Script::Hold)], |settings| {
        settings.pool.max = 1;
        settings.pool.in_flight_max = 1;
        settings.mailbox.capacity = 4;
    })
    .await;
    let mut callers = JoinSet::new();
    for _ in 0..5 {
        let call = troupe.call(Call::tool("hold"));
        callers.spawn(async move { drop(call.await) });
    }
    server.wait_for(|seen| seen.calls.contains_key("hold")).await;
    while troupe.stats().await.router.queued.normal < 4 {
        tokio::task::yield_now().await;
    }
    (server, troupe, callers)
}

/// The next event about calls that were shed: their group and tool, how many, and the limit.
async fn shed(events: &mut EventStream) -> (String, u64, usize) {
    let told = event(events, |event| matches!(event, Event::CallsShed { .. })).await;
    let Event::CallsShed { group, tool, calls, limit } = told else { unreachable!() };
    (format!("{}/{}", group.unwrap(), tool.unwrap()), calls, limit)
}

#[tokio::test(start_paused = true)]
async fn an_overload_is_told_when_it_begins_and_then_once_a_second() {
    let (_server, troupe, _callers) = full().await;
    let mut events = troupe.events();
    for _ in 0..100 {
        assert!(matches!(kind(troupe.call(Call::tool("hold")).await), CallErrorKind::Overloaded { .. }));
    }
    let begun = tokio::time::Instant::now();
    assert_eq!(shed(&mut events).await, ("group/hold".to_owned(), 1, 4));
    assert_eq!(shed(&mut events).await, ("group/hold".to_owned(), 99, 4));
    let gathered = tokio::time::Instant::now().saturating_duration_since(begun);
    assert!((900..=1002).contains(&gathered.as_millis()), "{gathered:?}");
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_gathered_is_told_when_the_router_ends() {
    let (_server, troupe, _callers) = full().await;
    let mut events = troupe.events();
    for _ in 0..3 {
        assert!(troupe.call(Call::tool("hold")).await.is_err());
    }
    assert_eq!(shed(&mut events).await.1, 1);
    inject(&troupe, Target::Router, Fault::Kill).await.unwrap();
    assert_eq!(shed(&mut events).await.1, 2);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_waits_for_are_gathered_by_server() {
    let (_server, troupe) = in_memory([("twice", Script::Double)], |_| ()).await;
    let mut events = troupe.events();
    for _ in 0..20 {
        troupe.call(Call::tool("twice")).await.unwrap();
    }
    let (mut answers, mut told) = (0, 0);
    while answers < 20 {
        let next = tokio::time::timeout(Duration::from_secs(5), events.next()).await;
        let next = next.expect("all are told within seconds").unwrap();
        if let Event::LateAnswers { server, answers: more } = next {
            assert_eq!(server.as_str(), "s");
            answers += more;
            told += 1;
        }
    }
    assert_eq!((answers, told), (20, 2));
    end(troupe).await;
}

#[tokio::test]
async fn the_routers_restart_says_what_became_of_its_calls() {
    let server = ScriptedServer::builder().tool("hold", Script::Hold).start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let mut events = troupe.events();
    for target in [Target::Router, Target::Registry] {
        let before = server.observed().calls.get("hold").copied().unwrap_or_default();
        let calls: Vec<_> = (0..3).map(|_| tokio::spawn(troupe.call(Call::tool("hold")))).collect();
        server.wait_for(|seen| seen.calls.get("hold").is_some_and(|calls| *calls == before + 3)).await;
        inject(&troupe, target.clone(), Fault::Kill).await.unwrap();
        for call in calls {
            assert!(matches!(kind(call.await.unwrap()), CallErrorKind::Interrupted));
        }
        let told = event(&mut events, |event| {
            matches!(event, Event::RouterRestarted { .. } | Event::RegistryRestarted { .. })
        })
        .await;
        let (interrupted, handed_back) = match told {
            Event::RouterRestarted { interrupted, handed_back, .. } => {
                assert_eq!(target, Target::Router);
                (interrupted, handed_back)
            }
            Event::RegistryRestarted { interrupted, handed_back, .. } => (interrupted, handed_back),
            other => panic!("{other:?}"),
        };
        assert_eq!((interrupted, handed_back), (3, 0), "{target:?}");
    }
    end(troupe).await;
}
