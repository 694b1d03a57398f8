//! The lines of a picture, each as long as what it says.

use std::ops::Range;

use mcp_troupe::event::{BreakerState, ServerStatus};
use mcp_troupe::stats::{ServerStats, SourceStats, Totals};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};

use super::Snapshot;
use super::table::{Table, source_status};
use super::words::{count, latency, several, span};

/// From this width on a server's endpoint is shown.
const WIDE: usize = 110;

/// Lines of notes about one server that is not ready: its reason is what somebody looks for, and others want to be seen too.
const NOTE_LINES_MAX: usize = 3;

/// Between two things that are said on one line.
const AND: &str = " · ";

/// What is above all: the troupe, its servers, its router, its calls.
pub fn summary(snapshot: &Snapshot) -> Vec<Line<'static>> {
    let (router, totals) = (&snapshot.stats.router, &snapshot.stats.totals);
    let disabled = snapshot.stats.servers.iter().filter(|server| server.status == ServerStatus::Disabled);
    let disabled = disabled.count();
    let label = |label: &'static str, said: String| {
        Line::from(vec![Span::styled(format!("{label:<9}"), Style::new().bold()), Span::raw(said)])
    };
    let up = span(snapshot.at.saturating_duration_since(snapshot.begun));
    let queued = router.queued;
    let waiting = queued.high + queued.normal + queued.low;
    let calls: u64 = router.outcomes.values().sum();
    let ok = router.outcomes.get("ok").copied().unwrap_or_default();
    let mut errors: Vec<_> = router.outcomes.iter().filter(|(name, _)| **name != "ok").collect();
    errors.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
    let errors: Vec<String> = errors.iter().map(|(name, times)| format!("{times} {name}")).collect();
    let kinds = if errors.is_empty() { String::new() } else { format!(": {}", errors.join(", ")) };
    let share = 100.0 * (calls - ok) as f64 / calls.max(1) as f64;
    vec![
        Line::from(vec![
            Span::styled("mcp-troupe", Style::new().bold()),
            Span::raw(format!("{AND}{}{AND}up {up}", snapshot.title)),
        ]),
        label("servers", servers(totals, disabled)),
        label(
            "router",
            format!(
                "{}{AND}{} open: {} in flight, {waiting} queued ({} high, {} normal, {} low)",
                router.strategy, router.open_calls, router.in_flight, queued.high, queued.normal, queued.low
            ),
        ),
        label(
            "calls",
            format!("{}: {} ok, {} errors ({share:.1} %){kinds}", count(calls), count(ok), count(calls - ok)),
        ),
        label(
            "attempts",
            format!(
                "{}{AND}mean {}{AND}{} retried, {} hedged, {} refused{AND}{} late{AND}{} bound",
                count(totals.requests),
                if totals.requests == 0 { "-".to_owned() } else { latency(totals.average_response_time) },
                router.retries,
                router.hedges,
                router.retries_refused,
                router.late_answers,
                router.affinity_bindings
            ),
        ),
        Line::default(),
    ]
}

/// How many servers there are, and how many of them are ready. Those that are switched off are none that should be.
fn servers(totals: &Totals, disabled: usize) -> String {
    let mut parts = vec![format!("{} ready", totals.healthy_servers)];
    let not = totals.unhealthy_servers.saturating_sub(disabled);
    parts.extend((totals.idle_servers > 0).then(|| format!("{} idle", totals.idle_servers)));
    parts.extend((disabled > 0).then(|| format!("{disabled} disabled")));
    parts.extend((not > 0 || disabled == 0).then(|| format!("{not} not")));
    format!("{}: {}", totals.servers, parts.join(", "))
}

/// The servers with what there is to note of each, and the sources.
pub fn tree(snapshot: &Snapshot, table: &Table, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let servers = &snapshot.stats.servers;
    for (index, server) in servers.iter().enumerate() {
        let (branch, beside) = branches(index, servers.len());
        lines.push(table.row(branch, server));
        let most = if server.status == ServerStatus::Ready { 1 } else { NOTE_LINES_MAX };
        let notes = notes(server, snapshot, table, width);
        // The line of any other is kept for what there may be to note next.
        if server.status != ServerStatus::Disabled || !notes.is_empty() {
            lines.extend(note(beside, notes, width, most));
        }
    }
    if servers.is_empty() {
        lines.push(Line::raw("  none"));
    }
    let sources = &snapshot.stats.sources;
    if !sources.is_empty() {
        lines.push(Line::styled("  source", Style::new().bold()));
    }
    for (index, source) in sources.iter().enumerate() {
        let (branch, beside) = branches(index, sources.len());
        lines.push(Line::from(vec![
            Span::raw(branch),
            table.name(source.id.as_str()),
            Span::raw(" "),
            source_status(source.status),
            Span::raw(format!(" {}", looks(source))),
        ]));
        let place = std::iter::once(Span::raw(source.place.clone()));
        let notes = place.chain(source.reason.clone().map(alarming)).collect();
        lines.extend(note(beside, notes, width, NOTE_LINES_MAX));
    }
    lines
}

/// What leads to one of so many, and what stands before its second line.
fn branches(index: usize, count: usize) -> (&'static str, &'static str) {
    if index + 1 < count { ("├ ", "│ ") } else { ("└ ", "  ") }
}

/// What there is to note, broken between words into at most so many lines; what has no room stands at the end of the last.
fn note(beside: &'static str, notes: Vec<Span<'static>>, width: usize, most: usize) -> Vec<Line<'static>> {
    let begin = || vec![Span::raw(beside), Span::raw("  ")];
    let width_of = |spans: &[Span<'_>]| spans.iter().map(Span::width).sum::<usize>();
    let mut lines = vec![begin()];
    let mut line_begins = true;
    for (index, note) in notes.into_iter().enumerate() {
        let and = (index > 0).then(|| Span::raw(AND.trim()));
        let words = note.content.split_whitespace().map(|word| Span::styled(word.to_owned(), note.style));
        for word in and.into_iter().chain(words) {
            let line = lines.last().map_or(0, |line| width_of(line));
            if !line_begins && line + 1 + word.width() > width && lines.len() < most {
                lines.push(begin());
                line_begins = true;
            }
            let blank = (!line_begins).then(|| Span::styled(" ", word.style));
            let line = lines.last_mut().expect("there is one line at least");
            line.extend(blank.into_iter().chain([word]));
            line_begins = false;
        }
    }
    lines.into_iter().map(|spans| Line::from(spans).dim()).collect()
}

fn alarming(text: String) -> Span<'static> {
    Span::styled(text, Style::new().fg(Color::Red))
}

/// What there is to note of a server, the most important first: the end may have no room.
fn notes(server: &ServerStats, snapshot: &Snapshot, table: &Table, width: usize) -> Vec<Span<'static>> {
    let memory = snapshot.story.of(&server.id);
    let mut notes = Vec::new();
    if server.status != ServerStatus::Ready {
        // What somebody who looks on waits for; the reason may be long.
        notes.extend(server.next_attempt_in.map(|wait| Span::raw(format!("again in {}", span(wait)))));
        // One that is starting does what it should.
        let starts = server.status == ServerStatus::Connecting;
        notes.extend(server.reason.clone().map(|text| if starts { Span::raw(text) } else { alarming(text) }));
    }
    if let Some(breaker) = &server.breaker
        && matches!(breaker.state, BreakerState::Open | BreakerState::HalfOpen | BreakerState::ForcedOpen)
    {
        let why = memory.and_then(|memory| memory.breaker.clone());
        let why = why.unwrap_or_else(|| format!("opened {}", several(breaker.trips as usize, "time")));
        let wait = breaker.next_attempt_in.map_or(String::new(), |wait| format!(", for {}", span(wait)));
        notes.push(alarming(format!("breaker {}: {why}{wait}", breaker.state)));
    }
    if !table.has_latencies() && server.latency.samples > 0 {
        let (p50, p99) = (latency(server.latency.p50), latency(server.latency.p99));
        notes.push(Span::raw(format!("p50 {p50} p99 {p99}")));
    }
    if server.pool.leased > 0 {
        notes.push(Span::raw(format!("{} leased", server.pool.leased)));
    }
    if let Some(last) = memory.and_then(|memory| memory.last.as_ref()) {
        let ago = span(snapshot.at.saturating_duration_since(last.at));
        // The reason is said already.
        let said = server.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        notes.push(Span::raw(format!("{ago} ago: {}", last.words.replace(&said, ""))));
    }
    if width >= WIDE {
        let info = snapshot.servers.iter().find(|info| info.id == server.id);
        notes.extend(info.map(|info| Span::raw(info.endpoint.clone())));
    }
    notes
}

fn looks(source: &SourceStats) -> String {
    let mut said = vec![several(source.servers, "server")];
    if source.skipped > 0 {
        said.push(format!("{} skipped", source.skipped));
    }
    said.extend(source.answered_ago.map(|ago| format!("answered {} ago", span(ago))));
    if source.failures > 0 {
        said.push(format!("{} failed", source.failures));
    }
    said.extend(source.next_look_in.map(|wait| format!("next in {}", span(wait))));
    said.join(AND)
}

/// The last events under their title.
pub fn events(snapshot: &Snapshot, most: usize) -> Vec<Line<'static>> {
    let told = snapshot.story.last(most).map(|told| {
        let ago = span(snapshot.at.saturating_duration_since(told.at));
        let times = if told.times > 1 { format!(" ({} times)", told.times) } else { String::new() };
        Line::from(vec![Span::raw(format!("  {ago:>7} ago  {}: {}{times}", told.whom, told.words))])
    });
    std::iter::once(Line::styled("  events", Style::new().bold())).chain(told).collect()
}

/// What the keys do, and which lines of the tree are seen.
pub fn keys(seen: &Range<usize>, lines: usize) -> Line<'static> {
    let place = if seen.len() < lines {
        format!("{AND}lines {} to {} of {lines}: arrows, PgUp, PgDn", seen.start + 1, seen.end)
    } else {
        String::new()
    };
    Line::raw(format!("q leaves{AND}? explains{place}"))
}

/// The same while the legend is seen.
pub fn keys_of_legend() -> Line<'static> {
    Line::raw(format!("q leaves{AND}any other key goes back"))
}

/// What the words and figures of the picture mean, and what the keys do.
pub fn legend() -> Vec<Line<'static>> {
    const LEGEND: [(&str, &str); 17] = [
        ("status", "connecting · ready · disconnected, and tried again by itself"),
        ("", "idle, and started by the next call · restarting · draining · stopped"),
        ("", "quarantined, after many crashes · disabled by the configuration"),
        ("life", "of the server's actor: one more after each restart, replace or resume"),
        ("restarts", "how often that actor was restarted"),
        ("breaker", "closed: calls pass · open: none, for a time · half-open: a few do"),
        ("pool", "0/0/1: connections that are open, busy, and that there may be"),
        ("flight", "calls that the server works on"),
        ("calls", "attempts that the server had; errors: those that did not end well"),
        ("open", "calls without an answer: in flight at a server, or queued for one"),
        ("retried", "made again after a loss · hedged: asked of a second server as well"),
        ("refused", "repetitions that the retry budget did not allow"),
        ("late", "answers that came when their call had ended"),
        ("bound", "keys of affinity that are tied to a server"),
        ("p50 p99", "half of the answers, and 99 of 100, were at least as fast"),
        ("mean", "what an answer took on average: a few slow ones raise it, and no p50"),
        ("keys", "q: leave · ?: this page · arrows, PgUp, PgDn, Home, End: other lines"),
    ];
    let line = |(word, means): (&'static str, &'static str)| {
        Line::from(vec![Span::styled(format!("  {word:<9}"), Style::new().bold()), Span::raw(means)])
    };
    LEGEND.into_iter().map(line).collect()
}
