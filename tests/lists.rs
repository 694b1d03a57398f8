//! Lists that fail, are lost, or change all the time: what a server offers is known again by itself, and nobody else pays for it.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{end, event};
use mcp_troupe::config::PoolSettings;
use mcp_troupe::testkit::{MemoryConnector, MemoryListener, MemoryPeer, pair};
use mcp_troupe::{Call, Event, Readiness, Server, Troupe};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

/// Longer than every delay that there is.
const LONG: Duration = Duration::from_secs(600);

/// A request as the server sees it.
struct Asked {
    /// The number of its connection, from 0.
    connection: usize,
    id: u64,
    method: String,
    params: Value,
}

impl Asked {
    fn result(&self, result: &Value) -> Option<String> {
        Some(json!({"jsonrpc": "2.0", "id": self.id, "result": result}).to_string())
    }

    fn error(&self, code: i64, message: &str) -> Option<String> {
        let error = json!({"code": code, "message": message});
        Some(json!({"jsonrpc": "2.0", "id": self.id, "error": error}).to_string())
    }

    /// The answer of a server that declares these capabilities in this era, and has the tool `t` and empty lists.
    fn usual(&self, modern: bool, capabilities: &Value) -> Option<String> {
        match self.method.as_str() {
            "server/discover" if modern => {
                self.result(&json!({"supportedVersions": ["2026-07-28"], "capabilities": capabilities}))
            }
            "initialize" => {
                self.result(&json!({"protocolVersion": "2025-06-18", "capabilities": capabilities}))
            }
            "tools/list" => self.result(&json!({"tools": [{"name": "t"}]})),
            "resources/list" => self.result(&json!({"resources": [{"uri": "x:1"}]})),
            "resources/templates/list" => self.result(&json!({"resourceTemplates": []})),
            "prompts/list" => self.result(&json!({"prompts": []})),
            "resources/subscribe" | "resources/unsubscribe" => self.result(&json!({})),
            _ => self.error(-32601, "no such method"),
        }
    }
}

/// How a server goes on after a request.
enum Then {
    /// With this answer, or none.
    Answer(Option<String>),
    /// With this answer, and this after it.
    AnswerAnd(Option<String>, String),
    /// By closing the connection.
    Close,
}

/// Where requests go to be answered: one after the other, whichever connection they came over.
type Brain = mpsc::Sender<(Asked, oneshot::Sender<Then>)>;

fn brain(mut answer: impl FnMut(Asked) -> Then + Send + 'static) -> Brain {
    let (brain, mut requests) = mpsc::channel::<(Asked, oneshot::Sender<Then>)>(16);
    tokio::spawn(async move {
        while let Some((asked, port)) = requests.recv().await {
            // Its connection may have ended.
            let _ = port.send(answer(asked));
        }
    });
    brain
}

/// Plays a server over links in memory; `answer` is asked for each request.
fn play(mut listener: MemoryListener, answer: impl FnMut(Asked) -> Then + Send + 'static) {
    let brain = brain(answer);
    tokio::spawn(async move {
        let mut connection = 0;
        while let Some(peer) = listener.accept().await {
            tokio::spawn(serve(peer, connection, brain.clone()));
            connection += 1;
        }
    });
}

async fn serve(mut peer: MemoryPeer, connection: usize, brain: Brain) {
    while let Some(frame) = peer.recv().await {
        let Some(asked) = asked(&frame, connection) else { continue };
        let (port, then) = oneshot::channel();
        brain.send((asked, port)).await.unwrap();
        let frames = match then.await.unwrap() {
            Then::Answer(frame) => [frame, None],
            Then::AnswerAnd(frame, more) => [frame, Some(more)],
            Then::Close => return,
        };
        for frame in frames.into_iter().flatten() {
            peer.send(frame).await;
        }
    }
}

/// The request that a frame is, if it is one.
fn asked(frame: &[u8], connection: usize) -> Option<Asked> {
    let mut message: Value = serde_json::from_slice(frame).unwrap();
    let id = message["id"].as_u64()?;
    let method = message["method"].as_str().unwrap_or_default().to_owned();
    Some(Asked { connection, id, method, params: message["params"].take() })
}

async fn troupe_of(connector: MemoryConnector, change: impl FnOnce(&mut PoolSettings)) -> Troupe {
    let mut pool = PoolSettings::default();
    change(&mut pool);
    let server = Server::custom("s").pool(pool);
    Troupe::builder().seed(7).server_via(server, connector).start().await.unwrap()
}

async fn ready(troupe: &Troupe) {
    timeout(LONG, troupe.ready(Readiness::All)).await.expect("ready in time").unwrap();
}

const LIST_CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;

#[tokio::test(start_paused = true)]
async fn a_first_list_that_failed_is_fetched_again_over_the_other_connection() {
    let (connector, listener) = pair(16);
    let mut lists = 0;
    play(listener, move |asked| {
        lists += u32::from(asked.method == "tools/list");
        Then::Answer(match asked.method.as_str() {
            "tools/list" if lists == 1 => asked.error(-32603, "warming up"),
            _ => asked.usual(false, &json!({})),
        })
    });
    let troupe = troupe_of(connector, |pool| pool.min = 2).await;
    ready(&troupe).await;
    assert_eq!(troupe.tools().len(), 1);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_first_list_that_is_lost_with_its_connection_is_fetched_again_over_the_other_one() {
    let (connector, listener) = pair(16);
    let mut lists = 0;
    play(listener, move |asked| {
        lists += u32::from(asked.method == "tools/list");
        if asked.method == "tools/list" && lists == 1 {
            return Then::Close;
        }
        // No other connection comes to be.
        let late = asked.connection > 1;
        Then::Answer(if late { None } else { asked.usual(false, &json!({})) })
    });
    let troupe = troupe_of(connector, |pool| pool.min = 2).await;
    ready(&troupe).await;
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_never_answered_holds_up_no_shutdown() {
    for silent in ["tools/list", "resources/list"] {
        let (connector, listener) = pair(16);
        let (asked_for, mut asked_for_it) = watch::channel(false);
        play(listener, move |asked| {
            let is_silent = asked.method == silent;
            asked_for.send_if_modified(|already| is_silent && !std::mem::replace(already, true));
            Then::Answer(if is_silent { None } else { asked.usual(false, &json!({"resources": {}})) })
        });
        let troupe = troupe_of(connector, |_| {}).await;
        asked_for_it.wait_for(|already| *already).await.unwrap();
        if silent == "tools/list" {
            let told = &troupe.servers()[0];
            assert_eq!(told.to_string(), "s is connecting (its list of tools is awaited)");
        }
        let begun = Instant::now();
        end(troupe).await;
        assert_eq!(Instant::now(), begun, "{silent}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_listed_beside_the_tools_is_listed_later() {
    for failing in ["resources/list", "prompts/list"] {
        let (connector, listener) = pair(16);
        let mut left = 5;
        play(listener, move |asked| {
            let fails = asked.method == failing && left > 0;
            left -= u32::from(fails);
            let declared = json!({"resources": {}, "prompts": {}});
            let prompts = json!({"prompts": [{"name": "p"}]});
            Then::Answer(match asked.method.as_str() {
                _ if fails => asked.error(-32603, "warming up"),
                "prompts/list" => asked.result(&prompts),
                _ => asked.usual(false, &declared),
            })
        });
        let troupe = troupe_of(connector, |_| ()).await;
        ready(&troupe).await;
        let found = async {
            while troupe.resources().is_empty() || troupe.prompts().is_empty() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        timeout(LONG, found).await.expect(failing);
        end(troupe).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_whose_list_failed_is_not_forgotten() {
    let (connector, listener) = pair(16);
    let mut lists = 0;
    play(listener, move |asked| {
        lists += u32::from(asked.method == "tools/list");
        match (asked.method.as_str(), lists) {
            ("tools/list", 1) => Then::AnswerAnd(asked.usual(false, &json!({})), LIST_CHANGED.to_owned()),
            ("tools/list", 2..5) => Then::Answer(asked.error(-32603, "busy")),
            ("tools/list", _) => Then::Answer(asked.result(&json!({"tools": [{"name": "new"}]}))),
            _ => Then::Answer(asked.usual(false, &json!({"tools": {"listChanged": true}}))),
        }
    });
    let troupe = troupe_of(connector, |_| ()).await;
    let mut events = troupe.events();
    let changed = |event: &Event| matches!(event, Event::CatalogueChanged { added, .. } if added == &["new"]);
    timeout(LONG, event(&mut events, changed)).await.expect("listed again");
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_takes_the_place_of_a_lost_one_is_asked_what_there_is_now() {
    let (connector, mut listener) = pair(16);
    let (cut, cuts) = watch::channel(false);
    // The first connection can be cut; the second one stays, so that the server is never without.
    tokio::spawn(async move {
        let mut peers = Vec::new();
        let answer = |asked: Asked| {
            let tool = if asked.connection < 2 { "t" } else { "new" };
            Then::Answer(match asked.method.as_str() {
                "tools/list" => asked.result(&json!({"tools": [{"name": tool}]})),
                _ => asked.usual(false, &json!({})),
            })
        };
        let brain = brain(answer);
        let mut connection = 0;
        while let Some(peer) = listener.accept().await {
            let (brain, mut cuts, number) = (brain.clone(), cuts.clone(), connection);
            peers.push(tokio::spawn(async move {
                let cut = async {
                    let _ = cuts.wait_for(|cut| *cut && number == 0).await;
                };
                tokio::select! {
                    () = serve(peer, number, brain) => {}
                    () = cut => {}
                }
            }));
            connection += 1;
        }
    });
    let troupe = troupe_of(connector, |pool| pool.min = 2).await;
    ready(&troupe).await;
    while troupe.stats().await.servers[0].pool.ready < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut events = troupe.events();
    cut.send_replace(true);
    let changed = |event: &Event| matches!(event, Event::CatalogueChanged { added, .. } if added == &["new"]);
    timeout(LONG, event(&mut events, changed)).await.expect("listed again");
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_server_declares_no_longer_when_it_is_reached_anew_is_gone() {
    let (connector, listener) = pair(16);
    play(listener, move |asked| {
        let declared = if asked.connection == 0 { json!({"resources": {}}) } else { json!({}) };
        match (asked.connection, asked.method.as_str()) {
            (0, "tools/call") => Then::Close,
            _ => Then::Answer(asked.usual(false, &declared)),
        }
    });
    let troupe = troupe_of(connector, |_| ()).await;
    ready(&troupe).await;
    assert_eq!(troupe.resources().len(), 1);
    let mut events = troupe.events();
    assert!(troupe.call(Call::tool("t")).await.is_err());
    let gone =
        |event: &Event| matches!(event, Event::CatalogueChanged { removed, .. } if removed == &["x:1"]);
    timeout(LONG, event(&mut events, gone)).await.expect("it is told");
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn entries_that_are_left_out_again_are_not_told_again_and_many_are_told_by_their_number() {
    let (connector, listener) = pair(16);
    let (seen, mut lists) = watch::channel(0_u32);
    let tools: Vec<Value> = (0..500).map(|n| json!({"name": format!("bad\u{7}name {n}")})).collect();
    play(listener, move |asked| match asked.method.as_str() {
        "tools/list" => {
            seen.send_modify(|lists| *lists += 1);
            Then::AnswerAnd(asked.result(&json!({"tools": tools})), LIST_CHANGED.to_owned())
        }
        _ => Then::Answer(asked.usual(false, &json!({"tools": {"listChanged": true}}))),
    });
    let troupe = troupe_of(connector, |_| ()).await;
    let mut events = troupe.events();
    lists.wait_for(|lists| *lists >= 8).await.unwrap();
    troupe.shutdown().await;
    let mut told = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Event::EntrySkipped { entry, .. } => told.push(entry),
            Event::Lagged { .. } => panic!("they push other events out"),
            _ => {}
        }
    }
    assert_eq!((told.len(), told[0].as_str(), told[100].as_str()), (101, "bad\u{7}name 0", "400 more"));
}

// microsoft/aspire#14375, BrowserOS#1005
#[tokio::test(start_paused = true)]
async fn a_server_that_tells_of_a_change_after_each_listing_is_listed_ever_more_seldom_until_one_differs() {
    let (connector, listener) = pair(16);
    let (seen, mut lists) = watch::channel(0_u32);
    let (tools, changed) = watch::channel(1);
    play(listener, move |asked| match asked.method.as_str() {
        "tools/list" => {
            seen.send_modify(|lists| *lists += 1);
            let tools: Vec<Value> =
                (0..*changed.borrow()).map(|n| json!({"name": format!("t{n}")})).collect();
            Then::AnswerAnd(asked.result(&json!({"tools": tools})), LIST_CHANGED.to_owned())
        }
        _ => Then::Answer(asked.usual(false, &json!({"tools": {"listChanged": true}}))),
    });
    let troupe = troupe_of(connector, |_| ()).await;
    ready(&troupe).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    let soon = *lists.borrow();
    assert!((2..=5).contains(&soon), "{soon} lists in 6 s");
    tokio::time::sleep(LONG).await;
    let later = *lists.borrow() - soon;
    assert!((15..=25).contains(&later), "{later} lists in {LONG:?}");
    // A change is seen within the longest rest, and the next one soon again.
    tools.send_replace(2);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(troupe.tools().len(), 2);
    lists.mark_unchanged();
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(lists.has_changed().unwrap());
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_lists_differ_all_the_time_is_listed_at_a_bounded_rate() {
    let (connector, listener) = pair(16);
    let (seen, lists) = watch::channel(0_u32);
    play(listener, move |asked| match asked.method.as_str() {
        "tools/list" => {
            seen.send_modify(|lists| *lists += 1);
            let tool = format!("t{}", *seen.borrow());
            Then::AnswerAnd(asked.result(&json!({"tools": [{"name": tool}]})), LIST_CHANGED.to_owned())
        }
        _ => Then::Answer(asked.usual(false, &json!({"tools": {"listChanged": true}}))),
    });
    let troupe = troupe_of(connector, |_| ()).await;
    ready(&troupe).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let listed = *lists.borrow();
    assert!((50..=130).contains(&listed), "{listed} lists in a minute");
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_listed_over_the_connection_of_a_lease() {
    let (connector, listener) = pair(16);
    let (seen, lists) = watch::channel(0_u32);
    play(listener, move |asked| match (asked.connection, asked.method.as_str()) {
        (0, "tools/call") => Then::Close,
        // The lease tells that the tools have changed.
        (1, "tools/call") => Then::AnswerAnd(asked.result(&json!({"content": []})), LIST_CHANGED.to_owned()),
        (1, "tools/list") => {
            seen.send_modify(|lists| *lists += 1);
            Then::Answer(asked.usual(false, &json!({})))
        }
        (0 | 1, _) => Then::Answer(asked.usual(false, &json!({"tools": {"listChanged": true}}))),
        // Nothing else comes to be.
        _ => Then::Answer(None),
    });
    let troupe = troupe_of(connector, |pool| pool.max = 1).await;
    ready(&troupe).await;
    let lease = troupe.lease("s").await.unwrap();
    assert!(troupe.call(Call::tool("t").timeout(Duration::from_secs(1))).await.is_err());
    lease.call(Call::tool("t")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(*lists.borrow(), 0);
    drop(lease);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_connection_that_is_refused_changes_nothing_of_the_first() {
    let (connector, mut listener) = pair(16);
    let (change, mut changes) = watch::channel(false);
    let (listed, mut lists) = watch::channel(0_u32);
    tokio::spawn(async move {
        let declared = json!({"tools": {"listChanged": true}, "resources": {"subscribe": true}});
        let answer = move |asked: Asked| {
            listed.send_modify(|lists| *lists += u32::from(asked.method == "resources/list"));
            match asked.method.as_str() {
                "tools/call" => None,
                "resources/read" => asked.result(&json!({"contents": [{"uri": "other:/x", "text": "read"}]})),
                _ => asked.usual(false, &declared),
            }
        };
        let mut peer = listener.accept().await.unwrap();
        // Every other dial is refused.
        drop(listener);
        loop {
            tokio::select! {
                frame = peer.recv() => {
                    let Some(frame) = frame else { return };
                    if let Some(frame) = asked(&frame, 0).and_then(&answer) {
                        peer.send(frame).await;
                    }
                }
                Ok(()) = changes.changed() => {
                    let changed = r#"{"jsonrpc":"2.0","method":"notifications/resources/list_changed"}"#;
                    peer.send(changed).await;
                }
            }
        }
    });
    let troupe = troupe_of(connector, |pool| (pool.max, pool.busy_at) = (2, 1)).await;
    ready(&troupe).await;
    let mut events = troupe.events();
    // Two calls at once want a second connection.
    let calls: Vec<_> = (0..2).map(|_| tokio::spawn(troupe.call(Call::tool("t")))).collect();
    event(&mut events, |event| matches!(event, Event::ConnectionLost { .. })).await;
    let _held = troupe.subscribe("x:1").await.expect("it takes subscriptions as before");
    let before = *lists.borrow();
    change.send_replace(true);
    timeout(LONG, lists.wait_for(|lists| *lists > before)).await.expect("its lists are heard of").unwrap();
    let read = troupe.call(Call::resource("other:/x").server("s")).await.expect("it has resources as before");
    assert_eq!(read.text().unwrap(), "read");
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn more_subscriptions_than_a_connection_holds_calls_are_all_said_again() {
    const RESOURCES: usize = 40;
    let (connector, listener) = pair(16);
    let uris: Vec<String> = (0..RESOURCES).map(|n| format!("x:{n}")).collect();
    let resources: Vec<Value> = uris.iter().map(|uri| json!({"uri": uri})).collect();
    let (seen, mut subscribed) = watch::channel(vec![BTreeSet::new(); 2]);
    let (cut, cuts) = watch::channel(false);
    play(listener, move |asked| match asked.method.as_str() {
        "resources/list" => Then::Answer(asked.result(&json!({"resources": resources}))),
        "resources/subscribe" => {
            let uri = asked.params["uri"].as_str().unwrap().to_owned();
            seen.send_modify(|subscribed| subscribed[asked.connection].extend([uri]));
            Then::Answer(asked.result(&json!({})))
        }
        "tools/call" if *cuts.borrow() && asked.connection == 0 => Then::Close,
        _ => Then::Answer(asked.usual(false, &json!({"resources": {"subscribe": true}}))),
    });
    let troupe = troupe_of(connector, |pool| (pool.max, pool.in_flight_max) = (1, 1)).await;
    ready(&troupe).await;
    let mut held = Vec::new();
    for uri in &uris {
        held.push(troupe.subscribe(uri.as_str()).await.unwrap());
    }
    subscribed.wait_for(|subscribed| subscribed[0].len() == RESOURCES).await.unwrap();
    cut.send_replace(true);
    assert!(troupe.call(Call::tool("t")).await.is_err());
    let again = subscribed.wait_for(|subscribed| subscribed[1].len() == RESOURCES);
    timeout(LONG, again).await.expect("all of them").unwrap();
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_did_not_take_a_wish_is_asked_again_later_and_when_it_is_reached_anew() {
    let (connector, listener) = pair(16);
    let (seen, mut wishes) = watch::channel(0_u32);
    play(listener, move |asked| match asked.method.as_str() {
        "subscriptions/listen" => {
            seen.send_modify(|wishes| *wishes += 1);
            Then::Answer(asked.error(-32603, "not now"))
        }
        "tools/call" => Then::Close,
        _ => Then::Answer(asked.usual(true, &json!({"tools": {"listChanged": true}}))),
    });
    let troupe = troupe_of(connector, |_| ()).await;
    ready(&troupe).await;
    wishes.wait_for(|wishes| *wishes == 1).await.unwrap();
    let begun = Instant::now();
    timeout(LONG, wishes.wait_for(|wishes| *wishes == 2)).await.expect("asked again").unwrap();
    let waited = Instant::now().saturating_duration_since(begun);
    assert!((60..LONG.as_secs()).contains(&waited.as_secs()), "{waited:?}");
    // Another process may answer now.
    let begun = Instant::now();
    assert!(troupe.call(Call::tool("t")).await.is_err());
    timeout(LONG, wishes.wait_for(|wishes| *wishes == 3)).await.expect("asked again").unwrap();
    assert!(Instant::now().saturating_duration_since(begun) < Duration::from_secs(60));
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_server_says_in_its_errors_is_kept_as_far_as_a_reason_goes() {
    let (connector, listener) = pair(16);
    let words = "x".repeat(4 << 20);
    play(listener, move |asked| Then::Answer(asked.error(-32603, &words)));
    let troupe = troupe_of(connector, |_| ()).await;
    let mut events = troupe.events();
    for _ in 0..3 {
        let down = |event: &Event| matches!(event, Event::ServerStatusChanged { reason: Some(_), .. });
        let told = format!("{:?}", event(&mut events, down).await);
        assert!(
            told.contains("the server refused the handshake") && told.len() < 2_000,
            "{} bytes",
            told.len()
        );
    }
    let error = troupe.call(Call::tool("s/t").timeout(Duration::from_secs(2))).await.unwrap_err();
    assert!(error.to_string().len() < 4_000, "{} bytes", error.to_string().len());
    assert!(troupe.servers()[0].reason.as_ref().is_some_and(|reason| reason.len() <= 1_024));
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_server_says_in_the_errors_of_its_lists_is_kept_as_far_as_a_reason_goes() {
    let words = "x".repeat(4 << 20);
    let page = json!({"tools": words});
    for unreadable in [false, true] {
        let (connector, listener) = pair(16);
        let (words, page) = (words.clone(), page.clone());
        play(listener, move |asked| {
            Then::Answer(match asked.method.as_str() {
                "tools/list" if unreadable => asked.result(&page),
                "tools/list" => asked.error(-32603, &words),
                _ => asked.usual(true, &json!({})),
            })
        });
        let troupe = troupe_of(connector, |_| ()).await;
        let mut events = troupe.events();
        let told = |event: &Event| matches!(event, Event::ServerStatusChanged { reason: Some(reason), .. } if reason.contains("its tools"));
        let told = format!("{:?}", event(&mut events, told).await);
        assert!(told.len() < 2_000, "{} bytes", told.len());
        end(troupe).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_never_answered_hides_no_other_one() {
    let (connector, listener) = pair(16);
    play(listener, move |asked| {
        Then::Answer(match asked.method.as_str() {
            "resources/list" => None,
            "prompts/list" => asked.result(&json!({"prompts": [{"name": "p"}]})),
            _ => asked.usual(false, &json!({"resources": {}, "prompts": {}})),
        })
    });
    let troupe = troupe_of(connector, |_| ()).await;
    tokio::time::sleep(LONG).await;
    assert_eq!(troupe.prompts().len(), 1, "ten minutes later");
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_always_fails_holds_up_no_change_of_another_one() {
    let (connector, listener) = pair(16);
    let mut called = false;
    play(listener, move |asked| {
        let declared = json!({"tools": {"listChanged": true}, "prompts": {}});
        match asked.method.as_str() {
            "prompts/list" => Then::Answer(asked.error(-32603, "broken")),
            "tools/list" if called => Then::Answer(asked.result(&json!({"tools": [{"name": "new"}]}))),
            "tools/call" => {
                called = true;
                Then::AnswerAnd(asked.result(&json!({"content": []})), LIST_CHANGED.to_owned())
            }
            _ => Then::Answer(asked.usual(false, &declared)),
        }
    });
    let troupe = troupe_of(connector, |_| ()).await;
    ready(&troupe).await;
    tokio::time::sleep(Duration::from_secs(301)).await;
    let mut events = troupe.events();
    troupe.call(Call::tool("t")).await.unwrap();
    let begun = Instant::now();
    let changed = |event: &Event| matches!(event, Event::CatalogueChanged { added, .. } if added == &["new"]);
    timeout(LONG, event(&mut events, changed)).await.expect("listed again");
    let took = Instant::now().saturating_duration_since(begun);
    assert!(took < Duration::from_secs(2), "the change of the tools was seen after {took:?}");
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_declared_no_longer_is_gone_also_where_the_first_list_fails() {
    let (connector, listener) = pair(16);
    let mut failed = false;
    play(listener, move |asked| {
        let declared = if asked.connection == 0 { json!({"resources": {}}) } else { json!({}) };
        match (asked.connection, asked.method.as_str()) {
            (0, "tools/call") => Then::Close,
            (1, "tools/list") if !failed => {
                failed = true;
                Then::Answer(asked.error(-32603, "warming up"))
            }
            _ => Then::Answer(asked.usual(false, &declared)),
        }
    });
    let troupe = troupe_of(connector, |_| ()).await;
    ready(&troupe).await;
    assert_eq!(troupe.resources().len(), 1);
    assert!(troupe.call(Call::tool("t")).await.is_err());
    tokio::time::sleep(LONG).await;
    assert_eq!(troupe.resources().len(), 0, "ten minutes later");
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_always_fails_has_no_other_one_fetched_again() {
    let (connector, listener) = pair(16);
    let (seen, lists) = watch::channel(0_u32);
    play(listener, move |asked| {
        Then::Answer(match asked.method.as_str() {
            "prompts/list" => asked.error(-32603, "broken"),
            "tools/list" => {
                seen.send_modify(|lists| *lists += 1);
                asked.result(&json!({"tools": [{"name": "t"}], "ttlMs": 86_400_000}))
            }
            _ => asked.usual(true, &json!({"prompts": {}})),
        })
    });
    let troupe = troupe_of(connector, |_| ()).await;
    ready(&troupe).await;
    tokio::time::sleep(LONG).await;
    let lists = *lists.borrow();
    assert!(lists <= 2, "{lists} lists of tools in ten minutes");
    end(troupe).await;
}

/// Virtual time passes only while nobody has anything to do: where an alarm rings all the time it stands still.
async fn nobody_works_for(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_drained_when_its_list_changes_costs_no_core() {
    let (connector, listener) = pair(16);
    play(listener, move |asked| match asked.method.as_str() {
        "tools/call" => Then::AnswerAnd(None, LIST_CHANGED.to_owned()),
        _ => Then::Answer(asked.usual(false, &json!({"tools": {"listChanged": true}}))),
    });
    let troupe = troupe_of(connector, |_| ()).await;
    ready(&troupe).await;
    let call = tokio::spawn(troupe.call(Call::tool("t")));
    tokio::time::sleep(Duration::from_millis(20)).await;
    let draining = tokio::spawn({
        let troupe = troupe.clone();
        async move { troupe.drain("s", Duration::from_secs(5)).await }
    });
    nobody_works_for(Duration::from_secs(2)).await;
    assert!(!draining.is_finished());
    call.abort();
    draining.await.unwrap().unwrap();
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_drained_with_an_idle_connection_costs_no_core() {
    let (connector, listener) = pair(16);
    let mut calls = 0;
    play(listener, move |asked| {
        Then::Answer(match asked.method.as_str() {
            "tools/call" => {
                calls += 1;
                if calls == 1 { None } else { asked.result(&json!({"content": []})) }
            }
            _ => asked.usual(false, &json!({})),
        })
    });
    let troupe = troupe_of(connector, |pool| {
        pool.max = 2;
        pool.busy_at = 1;
        pool.idle_timeout = Duration::from_millis(500);
    })
    .await;
    ready(&troupe).await;
    // Two at once: another connection is opened for them.
    let unanswered = tokio::spawn(troupe.call(Call::tool("t")));
    tokio::time::sleep(Duration::from_millis(20)).await;
    troupe.call(Call::tool("t")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(troupe.stats().await.servers[0].pool.ready, 2);
    let draining = tokio::spawn({
        let troupe = troupe.clone();
        async move { troupe.drain("s", Duration::from_secs(5)).await }
    });
    nobody_works_for(Duration::from_secs(2)).await;
    assert!(!draining.is_finished());
    unanswered.abort();
    draining.await.unwrap().unwrap();
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_idle_while_a_list_is_under_way_costs_no_core_and_is_closed_after_it() {
    let (connector, listener) = pair(16);
    let mut lists = 0;
    play(listener, move |asked| match asked.method.as_str() {
        "tools/list" => {
            lists += 1;
            Then::Answer(if lists > 1 { None } else { asked.usual(false, &json!({})) })
        }
        "tools/call" => Then::AnswerAnd(asked.result(&json!({"content": []})), LIST_CHANGED.to_owned()),
        _ => Then::Answer(asked.usual(false, &json!({"tools": {"listChanged": true}}))),
    });
    let troupe = troupe_of(connector, |pool| {
        pool.max = 2;
        pool.busy_at = 1;
        pool.idle_timeout = Duration::from_millis(500);
    })
    .await;
    ready(&troupe).await;
    // Two at once: another connection is opened for them.
    let (one, two) = tokio::join!(troupe.call(Call::tool("t")), troupe.call(Call::tool("t")));
    one.unwrap();
    two.unwrap();
    nobody_works_for(Duration::from_secs(3)).await;
    assert_eq!(troupe.stats().await.servers[0].pool.total, 2, "the list may be fetched over either");
    nobody_works_for(LONG).await;
    assert_eq!(troupe.stats().await.servers[0].pool.total, 1);
    end(troupe).await;
}
