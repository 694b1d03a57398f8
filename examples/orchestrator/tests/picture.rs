//! The picture that `mcp-troupe watch` shows, drawn from figures that are made up.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/common/mod.rs"]
mod common;
#[path = "../src/watch/picture/mod.rs"]
mod picture;

use std::ffi::OsString;
use std::time::Duration;

use mcp_troupe::event::{
    BreakerState, BreakerTransition, Event, ServerStatus, SourceStatus, TransitionReason,
};
use mcp_troupe::id::{ConnectionId, Incarnation, ServerId};
use mcp_troupe::{Server, Troupe};
use picture::{Look, Scroll, Snapshot, Story, draw, plain};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use tokio::time::Instant;

const SECS: fn(u64) -> Duration = Duration::from_secs;

/// A troupe of so many servers at one moment: the first has done a lot, the second is down behind an open breaker.
async fn snapshot(servers: usize) -> Snapshot {
    let folder = tempfile::tempdir().unwrap();
    let source = mcp_troupe::discovery::FileSource::new(folder.path());
    let troupe = Troupe::builder().source("found", source).start().await.unwrap();
    let mut events = troupe.events();
    for number in 0..servers {
        // Nobody listens on port 1, and what becomes of that is overwritten below.
        let server = Server::websocket(format!("files-{number:03}"), "ws://127.0.0.1:1");
        troupe.register(server).await.unwrap();
    }
    while troupe.servers().len() < servers {
        common::event(&mut events, |_| true).await;
    }
    let (mut stats, servers) = (troupe.stats().await, troupe.servers());
    common::end(troupe).await;
    for server in &mut stats.servers {
        (server.status, server.reason, server.next_attempt_in) = (ServerStatus::Ready, None, None);
        (server.incarnation, server.restarts, server.outcomes) = (Incarnation(1), 0, Default::default());
        let breaker = server.breaker.as_mut().unwrap();
        (breaker.state, breaker.trips, breaker.next_attempt_in) = (BreakerState::Closed, 0, None);
        (server.pool.ready, server.pool.busy, server.pool.max, server.pool.in_flight) = (1, 0, 5, 0);
    }
    let first = &mut stats.servers[0];
    (first.incarnation, first.restarts) = (Incarnation(3), 2);
    (first.pool.ready, first.pool.busy, first.pool.in_flight) = (4, 3, 17);
    (first.latency.samples, first.latency.p50, first.latency.p99) = (1, Duration::from_micros(850), SECS(2));
    first.outcomes = [("ok", 1_234_567), ("server-lost", 12)].into();
    let second = &mut stats.servers[1];
    (second.status, second.next_attempt_in) = (ServerStatus::Disconnected, Some(SECS(7)));
    second.reason = Some("Connection refused (os error 111)".to_owned());
    let breaker = second.breaker.as_mut().unwrap();
    (breaker.state, breaker.trips, breaker.next_attempt_in) = (BreakerState::Open, 1, Some(SECS(95)));
    let totals = &mut stats.totals;
    (totals.servers, totals.healthy_servers, totals.unhealthy_servers) = (3, 2, 1);
    (totals.requests, totals.average_response_time) = (1_234_600, Duration::from_micros(12_345));
    let router = &mut stats.router;
    (router.open_calls, router.in_flight) = (21, 17);
    (router.queued.high, router.queued.normal, router.queued.low) = (0, 3, 1);
    router.outcomes = [("ok", 990), ("timeout", 3), ("unavailable", 7)].into();
    let source = &mut stats.sources[0];
    (source.status, source.servers, source.failures) = (SourceStatus::Failing, 2, 4);
    (source.reason, source.place) = (Some("permission denied".to_owned()), "/etc/mcp".to_owned());
    (source.answered_ago, source.next_look_in) = (Some(SECS(61)), Some(SECS(2)));
    let begun = Instant::now();
    let mut story = Story::default();
    let server = |number: usize| stats.servers[number].id.clone();
    story.tell(&lost(server(1), "reset by peer\u{1b}[2J\nworse"), begun + SECS(50));
    story.tell(&opened(server(1)), begun + SECS(52));
    Snapshot { title: "servers.json".to_owned(), stats, servers, story, begun, at: begun + SECS(3725) }
}

fn lost(server: ServerId, reason: &str) -> Event {
    Event::ConnectionLost { server, connection: ConnectionId(9), reason: reason.to_owned() }
}

fn opened(server: ServerId) -> Event {
    let reason = TransitionReason::ConsecutiveFailures { count: 5 };
    let mut transition = BreakerTransition::new(BreakerState::Closed, BreakerState::Open, reason);
    transition.open_for = Some(SECS(100));
    Event::BreakerChanged { server, transition }
}

/// The screen after drawing.
fn screen(snapshot: &Snapshot, scroll: &mut Scroll, look: Look, size: (u16, u16)) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
    terminal.draw(|frame| draw(frame, snapshot, scroll, look)).unwrap();
    terminal.backend().clone()
}

/// Its rows, without the blanks at their ends.
fn rows(screen: &TestBackend) -> Vec<String> {
    let buffer = screen.buffer();
    let row = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..buffer.area.height).map(|y| row(y).trim_end().to_owned()).collect()
}

#[tokio::test]
async fn at_80_columns_the_state_of_a_server_is_one_row_and_what_there_is_to_note_another() {
    let picture = plain(&snapshot(3).await, 80);
    let expected = "\
mcp-troupe · servers.json · up 1h 2m
servers  3: 2 ready, 1 not
router   peak-ewma · 21 open: 17 in flight, 4 queued (0 high, 3 normal, 1 low)
calls    1000: 990 ok, 10 errors (1.0 %): 7 unavailable, 3 timeout
attempts 1.2M · mean 12ms · 0 retried, 0 hedged, 0 refused · 0 late · 0 bound

  server        status       life restarts breaker     pool flight  calls errors
├ files-000     ready           3        2 closed     4/3/5     17   1.2M     12
│   p50 850µs p99 2.0s
├ files-001     disconnected    1        0 open       1/0/5      0      0      0
│   again in 7s · Connection refused (os error 111) · breaker open: 5 failures
│   in a row, for 1m 35s · 1h 1m ago: breaker closed → open: 5 failures in a row
└ files-002     ready           1        0 closed     1/0/5      0      0      0

  source
└ found         failing      2 servers · answered 1m 1s ago · 4 failed · next i…
    /etc/mcp · permission denied
  events
    1h 1m ago  files-001: connection lost: reset by peer [2J worse
    1h 1m ago  files-001: breaker closed → open: 5 failures in a row
";
    assert_eq!(picture, expected);
}

#[tokio::test]
async fn at_120_columns_latencies_have_columns_and_notes_have_room() {
    let picture = plain(&snapshot(3).await, 120);
    let lines: Vec<&str> = picture.lines().skip(6).take(5).collect();
    let expected = [
        "  server        status       life restarts breaker     pool flight  calls errors    p50    p99",
        "├ files-000     ready           3        2 closed     4/3/5     17   1.2M     12  850µs   2.0s",
        "│   ws://127.0.0.1:1",
        "├ files-001     disconnected    1        0 open       1/0/5      0      0      0      -      -",
        "│   again in 7s · Connection refused (os error 111) · breaker open: 5 failures in a row, for 1m 35s · 1h 1m ago: breaker",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn no_line_is_wider_than_the_room_and_none_steers_the_terminal() {
    let mut snapshot = snapshot(3).await;
    snapshot.title = "端".repeat(200);
    for columns in 20..140 {
        for line in plain(&snapshot, columns).lines() {
            assert!(ratatui::text::Line::raw(line).width() <= usize::from(columns), "{columns}: {line}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }
}

#[tokio::test]
async fn the_live_picture_has_the_tree_the_events_and_the_keys_on_any_terminal() {
    let snapshot = snapshot(3).await;
    let rows_of = |size| rows(&screen(&snapshot, &mut Scroll::default(), Look::Coloured, size));
    for size in [(80, 24), (120, 40)] {
        let rows = rows_of(size);
        assert!(rows[7].starts_with("├ files-000     ready"), "{rows:#?}");
        let (last, events) = (rows.len() - 1, rows.iter().position(|row| row == "  events").unwrap());
        assert!(rows[events + 2].contains("breaker closed → open"), "{rows:#?}");
        assert!(rows[last].starts_with("q leaves"), "{rows:#?}");
    }
    // One that is far too small shows less, and that is all.
    for size in [(1, 1), (10, 3), (80, 8), (300, 2)] {
        rows_of(size);
    }
}

#[tokio::test]
async fn when_a_server_is_tried_again_is_seen_however_long_its_reason_is() {
    let mut snapshot = snapshot(3).await;
    snapshot.stats.servers[1].reason = Some("cannot start: ".repeat(20));
    let picture = plain(&snapshot, 80);
    assert!(picture.contains("│   again in 7s · cannot start: "), "{picture}");
}

#[tokio::test]
async fn a_key_explains_every_word_of_the_picture_and_takes_the_legend_away_again() {
    let snapshot = snapshot(3).await;
    let mut scroll = Scroll::default();
    let tree = rows(&screen(&snapshot, &mut scroll, Look::Coloured, (80, 24)));
    scroll.explain();
    let legend = rows(&screen(&snapshot, &mut scroll, Look::Coloured, (80, 24)));
    for word in
        ["status", "life", "restarts", "breaker", "pool", "flight", "calls", "open", "late", "bound", "keys"]
    {
        assert!(legend.iter().any(|row| row.starts_with(&format!("  {word} "))), "{word}: {legend:#?}");
    }
    assert!(legend.iter().all(|row| !row.ends_with('…')), "{legend:#?}");
    assert!(legend[23].starts_with("q leaves · any other key goes back"), "{legend:#?}");
    assert!(scroll.back() && !scroll.back());
    assert_eq!(rows(&screen(&snapshot, &mut scroll, Look::Coloured, (80, 24))), tree);
    // A small terminal shows the beginning.
    scroll.explain();
    screen(&snapshot, &mut scroll, Look::Plain, (20, 5));
}

#[tokio::test]
async fn many_servers_are_scrolled_to_the_last_and_no_further() {
    let snapshot = snapshot(40).await;
    let mut scroll = Scroll::default();
    let mut seen = |way: fn(&mut Scroll)| {
        way(&mut scroll);
        let rows = rows(&screen(&snapshot, &mut scroll, Look::Plain, (80, 24)));
        rows[7].trim_start_matches(['├', '│', '└', ' ']).split(' ').next().unwrap().to_owned() + &rows[23]
    };
    assert_eq!(seen(Scroll::up), "files-000q leaves · ? explains · lines 1 to 10 of 84: arrows, PgUp, PgDn");
    seen(Scroll::down);
    assert_eq!(
        seen(Scroll::down),
        "files-001q leaves · ? explains · lines 3 to 12 of 84: arrows, PgUp, PgDn"
    );
    assert!(seen(Scroll::page_down).ends_with("lines 13 to 22 of 84: arrows, PgUp, PgDn"));
    assert_eq!(
        seen(Scroll::down),
        "files-006q leaves · ? explains · lines 14 to 23 of 84: arrows, PgUp, PgDn"
    );
    let end = seen(Scroll::last);
    assert!(end.ends_with("lines 75 to 84 of 84: arrows, PgUp, PgDn"), "{end}");
    assert_eq!(seen(Scroll::page_down), end);
    assert!(seen(Scroll::page_up).ends_with("lines 65 to 74 of 84: arrows, PgUp, PgDn"));
    assert!(seen(Scroll::first).starts_with("files-000q"));
}

#[tokio::test]
async fn colours_add_nothing_to_the_words_and_are_left_out_where_that_is_asked_for() {
    let snapshot = snapshot(3).await;
    let drawn = |look| screen(&snapshot, &mut Scroll::default(), look, (80, 24));
    let (coloured, plain) = (drawn(Look::Coloured), drawn(Look::Plain));
    assert_eq!(rows(&coloured), rows(&plain));
    let colours = |screen: &TestBackend| {
        screen
            .buffer()
            .content
            .iter()
            .filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
            .count()
    };
    assert!(colours(&coloured) > 0);
    assert_eq!(colours(&plain), 0);
    let wanted = |value: Option<&str>| Look::wanted(value.map(OsString::from)) == Look::Coloured;
    assert_eq!([wanted(None), wanted(Some("")), wanted(Some("1"))], [true, true, false]);
}

#[tokio::test]
async fn a_server_that_is_gone_is_forgotten_and_events_are_kept_up_to_a_bound() {
    let Snapshot { stats, mut story, begun, .. } = snapshot(3).await;
    let (kept, gone) = (&stats.servers[1].id, ServerId::new("gone").unwrap());
    for number in 0..1000 {
        story.tell(&lost(gone.clone(), &number.to_string()), begun);
    }
    assert!(story.of(&gone).is_some());
    story.keep(&stats.servers);
    assert!(story.of(&gone).is_none() && story.of(kept).is_some());
    let last: Vec<&str> = story.last(usize::MAX).map(|told| told.words.as_str()).collect();
    assert_eq!((last.len(), last[99]), (100, "connection lost: 999"));
    // What happens again is one line, and the newest.
    story.tell(&lost(gone.clone(), "990"), begun);
    let last: Vec<_> = story.last(100).collect();
    assert_eq!((last.len(), last[99].words.as_str(), last[99].times), (100, "connection lost: 990", 2));
}
