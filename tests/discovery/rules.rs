//! What the answers of a source do to a troupe.

use std::time::Duration;

use mcp_troupe::discovery::{Skipped, SourceError};
use mcp_troupe::event::{Origin, ServerStatus, SourceStatus};
use mcp_troupe::id::SourceId;
use mcp_troupe::testkit::{ScriptedServer, ScriptedSource};
use mcp_troupe::{Call, CallErrorKind, ConfigFile, Event, Readiness, RegisterError, Server, Troupe};

use super::common::{echo, end, event, kind};
use super::{discovering, playing, plays, prompt, replica, scripted, source, stands};

fn origin(source: &str) -> Origin {
    Origin::Source(SourceId::new(source).unwrap())
}

/// A call that the server holds until the test lets it go.
async fn hold(
    troupe: &Troupe,
    server: &ScriptedServer,
) -> tokio::task::JoinHandle<Result<mcp_troupe::Reply, mcp_troupe::CallError>> {
    let call = tokio::spawn(troupe.call(Call::tool("hold")));
    server.wait_for(|seen| seen.calls.contains_key("hold")).await;
    call
}

#[tokio::test]
async fn a_server_that_a_source_names_joins_and_its_origin_is_recorded() {
    let (server, directory) = (scripted().await, ScriptedSource::new());
    let troupe = discovering(&directory).await;
    let mut events = troupe.events();
    directory.answer([replica("a", &server).metadata("version", "1.4")]);
    let found = event(&mut events, |event| matches!(event, Event::ServerDiscovered { .. })).await;
    assert!(matches!(found, Event::ServerDiscovered { server, source, .. }
        if server == "a" && source == "directory"));
    troupe.ready(Readiness::All).await.unwrap();
    assert_eq!(troupe.call(echo()).await.unwrap().server, "a");
    let info = &troupe.servers()[0];
    assert_eq!((&info.origin, info.metadata["version"].as_str()), (&origin("directory"), "1.4"));
    let stats = source(&troupe).await;
    assert_eq!((stats.status, stats.servers, stats.failures), (SourceStatus::Good, 1, 0));
    assert!(stats.answered_ago.is_some());
    end(troupe).await;
}

#[tokio::test]
async fn what_a_found_server_leaves_to_the_troupe_is_as_the_present_settings_say() {
    let (server, directory) = (scripted().await, ScriptedSource::new());
    directory.answer([replica("a", &server)]);
    let troupe = discovering(&directory).await;
    troupe.ready(Readiness::All).await.unwrap();
    let former = troupe.servers()[0].incarnation;
    let mut file = ConfigFile::parse("{\"mcpServers\": {}}").unwrap();
    file.settings = prompt();
    file.settings.pool.max = 2;
    assert_eq!(troupe.apply(file).await.unwrap().settings, ["troupe.pool.max"]);
    let again = || directory.answer([replica("a", &server)]);
    again();
    while troupe.servers()[0].incarnation == former {
        tokio::task::yield_now().await;
    }
    let present = troupe.servers()[0].incarnation;
    let answers = directory.answers();
    again();
    while directory.answers() == answers {
        tokio::task::yield_now().await;
    }
    troupe.ready(Readiness::All).await.unwrap();
    assert_eq!(troupe.servers()[0].incarnation, present, "nothing else has changed");
    end(troupe).await;
}

#[tokio::test]
async fn a_change_of_address_lets_calls_finish_at_the_old_one() {
    let (old, new, directory) = (scripted().await, scripted().await, ScriptedSource::new());
    directory.answer([replica("a", &old)]);
    let troupe = discovering(&directory).await;
    troupe.ready(Readiness::Any).await.unwrap();
    let held = hold(&troupe, &old).await;
    let mut events = troupe.events();
    directory.answer([replica("a", &new)]);
    let moved = event(&mut events, |event| matches!(event, Event::ServerMoved { .. })).await;
    assert!(matches!(moved, Event::ServerMoved { from, to, .. } if from != to));
    while new.calls("echo") == 0 {
        assert!(troupe.call(echo()).await.is_ok());
    }
    old.release();
    assert!(held.await.unwrap().is_ok());
    old.wait_for(|seen| seen.connections == 0).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_is_no_longer_named_finishes_what_it_has() {
    let (a, b, directory) = (scripted().await, scripted().await, ScriptedSource::new());
    directory.answer([replica("a", &a)]);
    let troupe = discovering(&directory).await;
    troupe.ready(Readiness::Any).await.unwrap();
    let held = hold(&troupe, &a).await;
    directory.answer([replica("b", &b)]);
    plays(&troupe, &["b"]).await;
    troupe.ready(Readiness::Named(vec!["b".into()])).await.unwrap();
    assert_eq!(troupe.call(echo()).await.unwrap().server, "b");
    a.release();
    assert!(held.await.unwrap().is_ok());
    a.wait_for(|seen| seen.connections == 0).await;
    end(troupe).await;
}

#[tokio::test]
async fn one_that_returns_while_it_leaves_joins_again_when_it_has_left() {
    let (a, b, directory) = (scripted().await, scripted().await, ScriptedSource::new());
    directory.answer([replica("a", &a), replica("b", &b)]);
    let troupe = discovering(&directory).await;
    troupe.ready(Readiness::All).await.unwrap();
    let held = tokio::spawn(troupe.call(Call::tool("hold").server("a")));
    a.wait_for(|seen| seen.calls.contains_key("hold")).await;
    let mut events = troupe.events();
    directory.answer([replica("b", &b)]);
    event(&mut events, |event| matches!(event, Event::ServerWithdrawn { server, .. } if server == "a")).await;
    directory.answer([replica("a", &a), replica("b", &b)]);
    while directory.answers() < 3 {
        tokio::task::yield_now().await;
    }
    a.release();
    assert!(held.await.unwrap().is_ok());
    event(&mut events, |event| matches!(event, Event::ServerDiscovered { server, .. } if server == "a"))
        .await;
    plays(&troupe, &["a", "b"]).await;
    end(troupe).await;
}

#[tokio::test]
async fn what_needs_no_other_connection_changes_on_the_one_there_is() {
    let (server, directory) = (scripted().await, ScriptedSource::new());
    directory.answer([replica("a", &server)]);
    let troupe = discovering(&directory).await;
    troupe.ready(Readiness::Any).await.unwrap();
    let tagged = || echo().tag("eu");
    assert!(matches!(kind(troupe.call(tagged()).await), CallErrorKind::NoMatch { .. }));
    let mut events = troupe.events();
    directory.answer([replica("a", &server).group("other").tag("eu").weight(7)]);
    event(&mut events, |event| matches!(event, Event::ServerMoved { .. })).await;
    while troupe.call(tagged()).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(troupe.call(Call::tool("other/echo")).await.unwrap().group, "other");
    assert_eq!(server.observed().accepted, 1);
    end(troupe).await;
}

#[tokio::test]
async fn a_source_that_fails_changes_nothing_and_says_so_once() {
    let (server, directory) = (scripted().await, ScriptedSource::new());
    directory.answer([replica("a", &server)]);
    let troupe = discovering(&directory).await;
    troupe.ready(Readiness::Any).await.unwrap();
    let mut events = troupe.events();
    directory.fail(SourceError::Unavailable("no leader".into()));
    while source(&troupe).await.failures < 5 {
        assert!(troupe.call(echo()).await.is_ok());
    }
    let stats = source(&troupe).await;
    assert_eq!((stats.status, stats.servers), (SourceStatus::Failing, 1));
    assert_eq!(stats.reason.as_deref(), Some("unavailable: no leader"));
    directory.answer([replica("a", &server)]);
    let mut failed = 0;
    event(&mut events, |event| {
        failed += u32::from(matches!(event, Event::DiscoveryFailed { .. }));
        assert!(!matches!(event, Event::ServerWithdrawn { .. }));
        matches!(event, Event::DiscoveryRecovered { servers: 1, .. })
    })
    .await;
    assert_eq!(failed, 1);
    assert_eq!(server.observed().accepted, 1, "the server was left alone");
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_silent_is_told_and_asked_again() {
    let directory = ScriptedSource::new();
    let troupe = discovering(&directory).await;
    let mut events = troupe.events();
    let failed = event(&mut events, |event| matches!(event, Event::DiscoveryFailed { .. })).await;
    assert!(matches!(failed, Event::DiscoveryFailed { reason, .. } if reason == "no answer within 10s"));
    directory.watched(3).await;
    end(troupe).await;
}

#[tokio::test]
async fn an_answer_without_servers_is_believed_when_it_is_repeated() {
    let (server, directory) = (scripted().await, ScriptedSource::new());
    directory.answer([replica("a", &server)]);
    let troupe = discovering(&directory).await;
    troupe.ready(Readiness::Any).await.unwrap();
    let mut events = troupe.events();
    directory.answer([]);
    event(&mut events, |event| matches!(event, Event::DiscoveryDoubted { known: 1, .. })).await;
    assert_eq!(playing(&troupe), ["a"]);
    // The watch would wait for a change: the answer is looked up anew.
    event(&mut events, |event| matches!(event, Event::ServerWithdrawn { .. })).await;
    directory.watched(2).await;
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_servers_wipes_nothing_for_as_long_as_it_is_doubted() {
    let directory = ScriptedSource::new();
    directory.answer([Server::websocket("a", "ws://127.0.0.1:1")]);
    let troupe = Troupe::builder().source("directory", directory.clone()).start().await.unwrap();
    plays(&troupe, &["a"]).await;
    directory.answer([]);
    let doubted = stands(&troupe, SourceStatus::Doubted).await;
    assert_eq!(doubted.reason.as_deref(), Some("it names no server, and 1 are known"));
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(playing(&troupe), ["a"]);
    plays(&troupe, &[]).await;
    assert_eq!(source(&troupe).await.status, SourceStatus::Good);
    end(troupe).await;
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_skipped_and_named_and_the_others_join() {
    let (server, directory) = (scripted().await, ScriptedSource::new());
    let troupe = discovering(&directory).await;
    let mut events = troupe.events();
    let garbage = Skipped::new("/mcp/b", "record: expected value");
    let bad = Server::websocket("c", "ws://h").weight(0);
    directory.answer_beside([bad, replica("a", &server), replica("a", &server)], [garbage]);
    let mut told = Vec::new();
    while told.len() < 3 {
        let skipped = event(&mut events, |event| matches!(event, Event::RecordSkipped { .. })).await;
        let Event::RecordSkipped { record, reason, .. } = skipped else { unreachable!() };
        told.push(format!("{record}: {reason}"));
    }
    assert_eq!(
        told,
        [
            "/mcp/b: record: expected value",
            "a: the id stands twice",
            "c: c.weight: 0 is not between 1 and 1000"
        ]
    );
    troupe.ready(Readiness::All).await.unwrap();
    assert_eq!(source(&troupe).await.skipped, 3);
    // The same mistakes again are no news.
    directory.answer_beside([Server::websocket("c", "ws://h").weight(0), replica("d", &server)], []);
    event(&mut events, |event| {
        assert!(!matches!(event, Event::RecordSkipped { .. }));
        matches!(event, Event::ServerDiscovered { .. })
    })
    .await;
    end(troupe).await;
}

#[tokio::test]
async fn servers_of_the_hosts_are_never_touched() {
    let (own, other, directory) = (scripted().await, scripted().await, ScriptedSource::new());
    let builder = Troupe::builder().settings(prompt()).source("directory", directory.clone());
    let troupe = builder.server(replica("configured", &own)).start().await.unwrap();
    troupe.register(replica("registered", &own)).await.unwrap();
    let mut events = troupe.events();
    directory.answer([replica("configured", &other), replica("registered", &other), replica("z", &other)]);
    for (id, holder) in [("configured", Origin::Configured), ("registered", Origin::Registered)] {
        let conflict = event(&mut events, |event| matches!(event, Event::ClaimConflict { .. })).await;
        let Event::ClaimConflict { server, claimed_by, holder: told } = conflict else { unreachable!() };
        assert_eq!((server.as_str(), claimed_by.as_str(), told), (id, "directory", holder));
    }
    directory.answer([replica("z", &other)]);
    plays(&troupe, &["configured", "registered", "z"]).await;
    let refused = troupe.register(replica("z", &own)).await;
    assert!(matches!(refused, Err(RegisterError::AlreadyRegistered(_))));
    // One that the host gives another description is the host's from then on.
    troupe.replace(replica("z", &own)).await.unwrap();
    directory.answer([replica("y", &other)]);
    plays(&troupe, &["configured", "registered", "y", "z"]).await;
    end(troupe).await;
}

#[tokio::test]
async fn an_id_that_two_sources_name_is_the_first_ones_and_the_conflict_is_told() {
    let (a, b) = (scripted().await, scripted().await);
    let (first, second) = (ScriptedSource::new(), ScriptedSource::new());
    let builder = Troupe::builder().settings(prompt());
    let troupe =
        builder.source("first", first.clone()).source("second", second.clone()).start().await.unwrap();
    let mut events = troupe.events();
    second.answer([replica("s", &b), replica("t", &b)]);
    plays(&troupe, &["s", "t"]).await;
    first.answer([replica("s", &a)]);
    let conflict = event(&mut events, |event| matches!(event, Event::ClaimConflict { .. })).await;
    assert!(matches!(conflict, Event::ClaimConflict { server, claimed_by, holder }
        if server == "s" && claimed_by == "second" && holder == origin("first")));
    assert_eq!(troupe.servers()[0].origin, origin("first"));
    a.wait_for(|seen| seen.accepted > 0).await;
    // The first lets go of it: the second's stands.
    first.answer([]);
    event(&mut events, |event| matches!(event, Event::ServerMoved { source, .. } if source == "second"))
        .await;
    assert_eq!(playing(&troupe), ["s", "t"]);
    end(troupe).await;
}

#[tokio::test]
async fn a_found_server_that_the_host_sends_away_stays_away() {
    let (a, b, directory) = (scripted().await, scripted().await, ScriptedSource::new());
    directory.answer([replica("a", &a), replica("b", &b)]);
    let troupe = discovering(&directory).await;
    troupe.ready(Readiness::All).await.unwrap();
    troupe.unregister("a").await.unwrap();
    directory.answer([replica("a", &a).weight(5), replica("b", &b)]);
    plays(&troupe, &["b"]).await;
    while directory.answers() < 2 {
        tokio::task::yield_now().await;
    }
    directory.answer([replica("b", &b)]);
    while directory.answers() < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(playing(&troupe), ["b"]);
    directory.answer([replica("a", &a), replica("b", &b)]);
    plays(&troupe, &["a", "b"]).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_server_for_which_there_is_no_room_joins_when_there_is() {
    let (server, directory) = (scripted().await, ScriptedSource::new());
    let mut settings = prompt();
    settings.limits.servers_max = 2;
    let builder = Troupe::builder().settings(settings).source("directory", directory.clone());
    let troupe = builder.server(replica("x", &server)).start().await.unwrap();
    let mut events = troupe.events();
    directory.answer([replica("a", &server), replica("b", &server)]);
    let skipped = event(&mut events, |event| matches!(event, Event::RecordSkipped { .. })).await;
    assert!(matches!(skipped, Event::RecordSkipped { record, reason, .. }
        if record == "b" && reason == "the troupe has 2 servers already, which is its limit"));
    plays(&troupe, &["a", "x"]).await;
    troupe.unregister("x").await.unwrap();
    plays(&troupe, &["a", "b"]).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_call_waits_for_the_first_word_of_the_sources() {
    let (server, directory) = (scripted().await, ScriptedSource::new());
    let troupe = discovering(&directory).await;
    let call = tokio::spawn(troupe.call(echo()));
    directory.watched(1).await;
    assert!(troupe.ready_within(Readiness::All, Duration::from_millis(50)).await.is_err());
    directory.answer([replica("a", &server)]);
    assert_eq!(call.await.unwrap().unwrap().server, "a");
    end(troupe).await;
}

#[tokio::test]
async fn a_source_that_is_down_at_start_holds_up_no_call() {
    let (server, directory) = (scripted().await, ScriptedSource::new());
    directory.fail(SourceError::Unreachable("refused".into()));
    let builder = Troupe::builder().settings(prompt()).source("directory", directory.clone());
    let troupe = builder.server(replica("a", &server)).start().await.unwrap();
    assert!(troupe.call(echo()).await.is_ok());
    troupe.ready(Readiness::All).await.unwrap();
    assert!(matches!(kind(troupe.call(Call::tool("nobody's")).await), CallErrorKind::UnknownTool { .. }));
    end(troupe).await;
}

#[tokio::test]
async fn a_drained_server_that_moves_goes_on_resting() {
    let (old, new, directory) = (scripted().await, scripted().await, ScriptedSource::new());
    directory.answer([replica("a", &old)]);
    let troupe = discovering(&directory).await;
    troupe.ready(Readiness::Any).await.unwrap();
    troupe.drain("a", Duration::from_secs(30)).await.unwrap();
    let mut events = troupe.events();
    directory.answer([replica("a", &new)]);
    event(&mut events, |event| matches!(event, Event::ServerMoved { .. })).await;
    assert_eq!(troupe.servers()[0].status, ServerStatus::Stopped);
    troupe.resume("a").await.unwrap();
    troupe.ready(Readiness::Any).await.unwrap();
    assert!(troupe.call(echo()).await.is_ok());
    assert_eq!((old.calls("echo"), new.calls("echo")), (0, 1));
    end(troupe).await;
}

#[tokio::test]
async fn a_source_with_a_bad_name_or_bad_rules_is_a_clear_error() {
    let start = |builder: mcp_troupe::TroupeBuilder| async { builder.start().await.unwrap_err().to_string() };
    let source = ScriptedSource::new;
    let error = start(Troupe::builder().source("a/b", source())).await;
    assert!(error.starts_with("discovery.a/b: "), "{error}");
    let error = start(Troupe::builder().source("a", source()).source("a", source())).await;
    assert_eq!(error, "discovery.a: two sources have this name");
    let mut rules = prompt().discovery;
    rules.empty_answers = 0;
    let error = start(Troupe::builder().source_with("a", source(), rules)).await;
    assert!(error.starts_with("discovery.a.rules.emptyAnswers: "), "{error}");
}

#[tokio::test]
async fn a_server_for_which_there_was_no_room_joins_when_the_limit_is_raised() {
    let (server, directory) = (scripted().await, ScriptedSource::new());
    let mut settings = prompt();
    settings.limits.servers_max = 2;
    let builder = Troupe::builder().settings(settings.clone()).source("directory", directory.clone());
    let troupe = builder.server(replica("x", &server)).start().await.unwrap();
    let mut events = troupe.events();
    directory.answer([replica("a", &server), replica("b", &server)]);
    event(&mut events, |event| matches!(event, Event::RecordSkipped { .. })).await;
    plays(&troupe, &["a", "x"]).await;
    let mut file = ConfigFile::parse("{\"mcpServers\": {}}").unwrap();
    file.servers = vec![replica("x", &server)];
    file.settings = settings;
    file.settings.limits.servers_max = 10;
    let applied = troupe.apply(file).await.unwrap();
    assert_eq!(applied.settings, ["troupe.limits.serversMax"]);
    // By itself: the source has nothing new to say.
    plays(&troupe, &["a", "b", "x"]).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_plays_and_is_named_stays_when_the_source_names_more_than_there_is_room_for() {
    let (server, directory) = (scripted().await, ScriptedSource::new());
    let mut settings = prompt();
    settings.limits.servers_max = 2;
    directory.answer([replica("b", &server), replica("c", &server)]);
    let builder = Troupe::builder().settings(settings).source("directory", directory.clone());
    let troupe = builder.start().await.unwrap();
    plays(&troupe, &["b", "c"]).await;
    let (mut events, mut other_events) = (troupe.events(), troupe.events());
    directory.answer([replica("a", &server), replica("b", &server), replica("c", &server)]);
    let told = event(&mut events, |event| {
        matches!(event, Event::ServerWithdrawn { .. } | Event::ServerDiscovered { .. })
    });
    let skipped = event(&mut other_events, |event| matches!(event, Event::RecordSkipped { .. }));
    tokio::select! { biased;
        told = told => panic!("{told:?}"),
        _ = skipped => {}
    }
    assert_eq!(playing(&troupe), ["b", "c"]);
    end(troupe).await;
}
