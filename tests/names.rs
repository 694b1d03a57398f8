//! What callers choose: names, selectors and keys, and calls that they call off before anybody has seen them.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use common::{echo, end, event, kind, ready};
use futures_util::poll;
use mcp_troupe::testkit::{Script, ScriptedServer};
use mcp_troupe::{Call, CallAnyError, CallErrorKind, Effect, Event, Plan, Server, StepOutcome};

#[tokio::test]
async fn names_that_can_be_nobodys_are_refused_with_their_limit_and_nothing_is_sent() {
    let server = ScriptedServer::builder().tool("echo", Script::Echo).start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let long = || "x".repeat(20_000);
    let limits = [
        (Call::tool(long()), 193),
        (Call::prompt(long()), 193),
        (Call::resource(long()), 8 << 10),
        (echo().server(long()), 64),
        (echo().group(long()), 64),
        (echo().tag(long()), 64),
        (echo().affinity(long()), 1 << 10),
        (echo().identity(long()), 1 << 10),
    ];
    for (call, limit) in limits {
        let error = troupe.call(call).await.unwrap_err();
        let CallErrorKind::TooLong { length, limit: told, .. } = error.kind() else { panic!("{error}") };
        assert_eq!((*length, *told), if limit == 8 << 10 { (20_000, 8 << 10) } else { (20_000, limit) });
        assert_eq!((error.effect(), error.attempts()), (Effect::NotSent, 0));
        assert!(!error.retryable() && error.to_string().len() < 500);
        assert!(error.tool().len() <= 8 << 10);
    }
    assert!(matches!(
        kind(troupe.lease(long()).await.map(|_| unreachable!())),
        CallErrorKind::TooLong { .. }
    ));
    let all = troupe.call_all(Call::tool(long())).await.unwrap_err();
    assert!(matches!(all.kind(), CallErrorKind::TooLong { .. }));
    let any = troupe.call_any(Call::tool(long())).await.unwrap_err();
    assert!(
        matches!(any, CallAnyError::Nobody(error) if matches!(error.kind(), CallErrorKind::TooLong { .. }))
    );
    assert!(troupe.subscribe(long()).await.unwrap_err().to_string().contains("20000 bytes"));
    let plan = Plan::new().step("long", Call::tool(long()));
    let outcome = troupe.run(plan).await.unwrap();
    assert!(outcome.steps().all(|(_, outcome)| !matches!(outcome, StepOutcome::Done(_))));
    let stats = troupe.stats().await;
    assert!(stats.router.outcomes.get("too-long").is_some_and(|refused| *refused >= 9));
    assert_eq!(server.calls("echo"), 0);
    end(troupe).await;
}

#[tokio::test]
async fn near_names_are_found_for_tools_and_prompts_whichever_way_they_are_asked_for() {
    let builder = ScriptedServer::builder().tool("file.read", Script::Echo);
    let server = builder.start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let near = |kind: CallErrorKind| match kind {
        CallErrorKind::UnknownTool { near, .. } => near,
        other => panic!("{other}"),
    };
    assert_eq!(near(kind(troupe.call(Call::tool("file.raed")).await)), ["file.read"]);
    // In the form that was asked for: a model has a list of that one.
    assert_eq!(near(kind(troupe.call(Call::tool("s/file.raed")).await)), ["s/file.read"]);
    assert_eq!(near(kind(troupe.call(Call::tool("s__file_raed")).await)), ["s__file_read"]);
    assert_eq!(
        near(troupe.call_all(Call::tool("file.raed")).await.unwrap_err().kind().clone()),
        ["file.read"]
    );
    let lease = troupe.lease("s").await.unwrap();
    assert_eq!(near(kind(lease.call(Call::tool("file.raed")).await)), ["file.read"]);
    drop(lease);
    end(troupe).await;
}

#[tokio::test]
async fn calls_that_are_called_off_in_the_intake_are_not_made() {
    let server =
        ScriptedServer::builder().tool("hold", Script::Hold).tool("echo", Script::Echo).start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    // On one thread the router sees nothing of it before all is said.
    let mut calls: Vec<_> = (0..1_000).map(|_| Box::pin(troupe.call(Call::tool("hold")))).collect();
    for call in &mut calls {
        assert!(poll!(call.as_mut()).is_pending());
    }
    // The newest first: most are called off while they are behind what the router takes out at once.
    while let Some(call) = calls.pop() {
        drop(call);
    }
    let stats = troupe.stats().await;
    assert_eq!((stats.router.open_calls, stats.router.in_flight), (0, 0));
    assert_eq!(stats.router.outcomes.get("cancelled"), Some(&1_000));
    troupe.call(echo()).await.unwrap();
    assert_eq!(server.calls("hold"), 0);
    end(troupe).await;
}

#[tokio::test]
async fn a_call_for_a_tool_that_is_gone_reaches_no_other_server_that_calls_one_of_its_own_so() {
    let files = ScriptedServer::builder().tool("read", Script::Echo).tells_changes().start().await;
    let other = ScriptedServer::builder()
        .tool("files__read", Script::Echo)
        .tool("files__late", Script::Echo)
        .tool("db__read", Script::Echo)
        .start()
        .await;
    let servers = || {
        let group = Server::websocket("f", files.url()).group("files");
        [Server::websocket("other", other.url()), group]
    };
    let troupe = ready(servers()).await;
    let mut events = troupe.events();
    let unknown = async |name: &str| {
        let calls = [
            troupe.call(Call::tool(name)).await.map(drop),
            troupe.call_any(Call::tool(name)).await.map(drop).map_err(|error| match error {
                CallAnyError::Nobody(error) => error,
                other => panic!("{other}"),
            }),
        ];
        calls.into_iter().all(|call| matches!(call.unwrap_err().kind(), CallErrorKind::UnknownTool { .. }))
    };
    troupe.call(Call::tool("files__read")).await.unwrap();
    assert_eq!((files.calls("read"), other.calls("files__read")), (1, 0));
    assert!(unknown("files__late").await, "what it never offered");
    files.remove_tool("read");
    files.announce_tools();
    event(&mut events, |event| matches!(event, Event::CatalogueChanged { .. })).await;
    assert!(unknown("files__read").await, "what it offers no more");
    assert_eq!((other.calls("files__read"), other.calls("files__late")), (0, 0));
    // Who means it says so.
    for name in ["other/files__read", "other__files__read"] {
        troupe.call(Call::tool(name)).await.unwrap();
    }
    troupe.call(Call::tool("files__read").group("other")).await.unwrap();
    assert_eq!(other.calls("files__read"), 3);
    troupe.call(Call::tool("db__read")).await.unwrap();
    end(troupe).await;
    // Before it has listed the call waits for it.
    let troupe = common::start(servers()).await;
    files.set_script("read", Script::Echo);
    troupe.call(Call::tool("files__read")).await.unwrap();
    assert_eq!(other.calls("files__read"), 3);
    end(troupe).await;
}
