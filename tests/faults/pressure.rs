//! Too many callers, callers that leave, a shutdown under load.

use std::time::Duration;

use futures_util::FutureExt;
use mcp_troupe::testkit::{AnswerChecker, Script, ScriptedServer};
use mcp_troupe::{Call, CallErrorKind, Event, Priority, Readiness, Server, Settings};
use tokio::task::JoinSet;

use super::common::{echo, end, event, kind, ready, start_with};
use super::load::{Load, two_replicas};

#[tokio::test]
async fn of_ten_thousand_callers_at_once_the_urgent_are_served_and_the_rest_told_to_come_again() {
    let server = ScriptedServer::builder().tool("echo", Script::Echo).start().await;
    let mut settings = Settings::default();
    settings.mailbox.capacity = 1_000;
    settings.pool.max = 1;
    settings.pool.in_flight_max = 50;
    let few = |all: &mut Settings| *all = settings.clone();
    let troupe = start_with(few, [Server::websocket("s", server.url())]).await;
    troupe.ready(Readiness::All).await.unwrap();
    let checker = AnswerChecker::new(&troupe, &settings);
    let mut callers = JoinSet::new();
    for n in 0..10_000 {
        // The urgent ones are fewer than may wait.
        let priority = match n % 20 {
            0 => Priority::High,
            1..10 => Priority::Normal,
            _ => Priority::Low,
        };
        let checker = checker.clone();
        callers.spawn(async move {
            let Err(error) = checker.call(echo().priority(priority)).await else { return (priority, 0) };
            let CallErrorKind::Overloaded { waiting, limit, retry_after } = error.kind() else {
                panic!("{error}")
            };
            assert!(waiting <= limit && *limit == 1_000);
            assert!(retry_after.is_some() && error.retryable());
            (priority, 1)
        });
    }
    let mut refused = [0; 3];
    for (priority, by_it) in callers.join_all().await {
        refused[Priority::ALL.iter().position(|each| *each == priority).unwrap()] += by_it;
    }
    let [high, normal, low] = refused;
    assert_eq!(high, 0, "an urgent call was refused");
    assert!(low > normal && normal > 0, "{refused:?}");
    let tally = checker.verdict([&server]).unwrap();
    assert_eq!(tally.ok + normal + low, 10_000);
    end(troupe).await;
}

#[tokio::test]
async fn a_caller_who_leaves_and_a_deadline_that_passes_are_told_to_the_server() {
    let server = ScriptedServer::builder().tool("hold", Script::Hold).start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let call = tokio::spawn(troupe.call(Call::tool("hold")));
    server.wait_for(|seen| seen.calls.contains_key("hold")).await;
    call.abort();
    server.wait_for(|seen| seen.cancelled.len() == 1).await;
    let answer = troupe.call(Call::tool("hold").timeout(Duration::from_millis(20))).await;
    assert!(matches!(kind(answer), CallErrorKind::DeadlineExceeded { .. }));
    server.wait_for(|seen| seen.cancelled.len() == 2).await;
    server.release();
    let stats = troupe.stats().await;
    assert_eq!((stats.router.open_calls, stats.router.in_flight), (0, 0));
    assert_eq!(stats.router.outcomes["cancelled"], 1);
    end(troupe).await;
}

#[tokio::test]
async fn shutdown_answers_every_open_call_and_refuses_new_ones() {
    let server = ScriptedServer::builder().tool("hold", Script::Hold).start().await;
    let brief = |settings: &mut Settings| settings.shutdown_drain = Duration::from_millis(50);
    let troupe = start_with(brief, [Server::websocket("s", server.url())]).await;
    let mut events = troupe.events();
    let call = tokio::spawn(troupe.call(Call::tool("hold")));
    server.wait_for(|seen| seen.calls.contains_key("hold")).await;
    troupe.shutdown().await;
    assert!(matches!(kind(call.await.unwrap()), CallErrorKind::ShuttingDown { sent: true }));
    assert!(matches!(kind(troupe.call(echo()).await), CallErrorKind::Closed));
    let done = event(&mut events, |event| matches!(event, Event::ShutdownCompleted { .. })).await;
    assert_eq!(done, Event::ShutdownCompleted { interrupted: 1 });
    assert!(events.next().await.is_none());
    troupe.shutdown().await;
    end(troupe).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_leave_at_once_leave_no_call_behind() {
    let server = ScriptedServer::builder().tool("hold", Script::Hold).start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let troupe = troupe.clone();
        callers.spawn(async move {
            for _ in 0..500 {
                assert!(troupe.call(Call::tool("hold")).now_or_never().is_none());
            }
        });
    }
    callers.join_all().await;
    let stats = troupe.stats().await;
    assert_eq!((stats.router.open_calls, stats.router.in_flight), (0, 0));
    end(troupe).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_under_load_answers_every_call() {
    let (_a, _b, troupe) = two_replicas().await;
    let load = Load::start(&troupe);
    let mut answered = 0;
    while answered == 0 {
        answered = troupe.stats().await.router.outcomes.get("ok").copied().unwrap_or_default();
        tokio::task::yield_now().await;
    }
    troupe.shutdown().await;
    let account = load.finish().await;
    assert!(account.ok > 0);
    for error in account.errors {
        assert!(matches!(error, CallErrorKind::ShuttingDown { .. } | CallErrorKind::Closed), "{error}");
    }
    end(troupe).await;
}
