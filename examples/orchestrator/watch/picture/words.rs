//! Figures and events in words, and words in the room that there is.

use std::fmt::Display;
use std::time::Duration;

use mcp_troupe::Event;
use mcp_troupe::event::ServerStatus;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

/// A number in at most six characters.
pub fn count(number: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M")];
    match UNITS.iter().find(|(size, _)| number >= *size) {
        Some((size, unit)) if number / size >= 1000 => format!("{}{unit}", number / size),
        Some((size, unit)) => format!("{:.1}{unit}", number as f64 / *size as f64),
        None => number.to_string(),
    }
}

/// A latency in at most six characters.
pub fn latency(duration: Duration) -> String {
    let us = duration.as_micros() as f64;
    match us {
        _ if us < 1e3 => format!("{us}µs"),
        _ if us < 9_950.0 => format!("{:.1}ms", us / 1e3),
        _ if us < 999_500.0 => format!("{:.0}ms", us / 1e3),
        _ if us < 99.95e6 => format!("{:.1}s", us / 1e6),
        _ => format!("{:.0}s", us / 1e6),
    }
}

/// How long ago something was, or how long it will be: in whole units, the largest two of them; below a second in tenths.
pub fn span(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let seconds = duration.as_secs();
    let parts = UNITS.iter().scan(seconds, |left, (size, unit)| {
        let whole = *left / size;
        *left %= size;
        Some((whole, unit))
    });
    let parts: Vec<String> = parts
        .skip_while(|(whole, _)| *whole == 0)
        .take(2)
        .filter(|(whole, _)| *whole > 0)
        .map(|(whole, unit)| format!("{whole}{unit}"))
        .collect();
    if parts.is_empty() { format!("0.{}s", duration.subsec_millis() / 100) } else { parts.join(" ") }
}

/// Some of one thing, or of several.
pub fn several(count: impl Display + PartialEq + From<u8>, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1_u8.into() { "" } else { "s" })
}

/// Whom an event is about, and what happened.
pub fn event(event: &Event) -> (String, String) {
    let troupe = || "troupe".to_owned();
    match event {
        Event::ServerRegistered { server, group } => {
            (server.to_string(), format!("joined, of group {group}"))
        }
        Event::ServerUnregistered { server } => (server.to_string(), "left".to_owned()),
        Event::ServerStatusChanged { server, from, to, reason, .. } => {
            // What begins anew tells the reason of what was before.
            let reason = reason.as_ref().filter(|_| *to != ServerStatus::Connecting);
            let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
            (server.to_string(), format!("{from} → {to}{reason}"))
        }
        Event::ServerDown { server, incarnation, cause, .. } => {
            (server.to_string(), format!("life {incarnation} is over, {cause}"))
        }
        Event::ServerStarting { server, before: Some(before), .. } => {
            (server.to_string(), format!("waits for its turn to start: {before} before it"))
        }
        Event::ServerStarting { server, elapsed, last_line, .. } => {
            let seconds = Duration::from_secs(elapsed.as_secs());
            let elapsed = humantime::format_duration(seconds);
            let said = last_line.as_ref().map(|line| format!(": {line}")).unwrap_or_default();
            (server.to_string(), format!("starting for {elapsed}{said}"))
        }
        Event::ConnectionOpened { server, version, .. } => {
            (server.to_string(), format!("connection opened {version}").trim_end().to_owned())
        }
        Event::ConnectionLost { server, reason, .. } => {
            (server.to_string(), format!("connection lost: {reason}"))
        }
        Event::BreakerChanged { server, transition } => {
            let (from, to, reason) = (transition.from, transition.to, transition.reason);
            (server.to_string(), format!("breaker {from} → {to}: {reason}"))
        }
        Event::OfferChanged { server, kind, added, removed, changed, more } => {
            let numbers =
                [("new", added.len()), ("gone", removed.len()), ("changed", changed.len()), ("more", *more)];
            let numbers = numbers.iter().filter(|(_, number)| *number > 0);
            let numbers: Vec<String> = numbers.map(|(what, number)| format!("{number} {what}")).collect();
            (server.to_string(), format!("{kind}s: {}", numbers.join(", ")))
        }
        Event::EntrySkipped { server, kind, entry, reason } => {
            (server.to_string(), format!("{kind} {entry} left out: {reason}"))
        }
        Event::ResourceUpdated { server, uri } => (server.to_string(), format!("resource {uri} changed")),
        Event::SubscriptionFailed { server, uri, reason } => {
            (server.to_string(), format!("does not tell of changes of {uri}: {reason}"))
        }
        Event::PinBroken { server, tool, .. } => {
            (server.to_string(), format!("tool {tool} is not what it was pinned to"))
        }
        Event::ToolUnpinned { server, tool } => (server.to_string(), format!("tool {tool} is not pinned")),
        Event::PinnedToolMissing { server, tool } => {
            (server.to_string(), format!("the pinned tool {tool} is missing"))
        }
        Event::ServerLogged { server, level, text, .. } => {
            (server.to_string(), format!("logs {level}: {text}"))
        }
        Event::ProtocolViolation { server, reason, violations, .. } => {
            (server.to_string(), format!("{}: {reason}", several(*violations, "violation")))
        }
        Event::CallsShed { tool, calls, limit, .. } => {
            let of = tool.as_deref().unwrap_or("several tools");
            (troupe(), format!("{} of {of} shed: {limit} wait", several(*calls, "call")))
        }
        Event::LateAnswers { server, answers } => {
            (server.to_string(), format!("{} that nobody waited for", several(*answers, "answer")))
        }
        Event::RouterRestarted { cause, interrupted, .. } => {
            (troupe(), format!("router restarted: {cause}; {} interrupted", several(*interrupted, "call")))
        }
        Event::RegistryRestarted { cause, interrupted, .. } => {
            (troupe(), format!("registry restarted: {cause}; {} interrupted", several(*interrupted, "call")))
        }
        Event::CacheRestarted { cause } => (troupe(), format!("cache restarted: {cause}")),
        Event::CacheCleared { what, entries } => {
            (troupe(), format!("cache: {} cleared, of {what}", several(*entries, "result")))
        }
        Event::CacheRuleUnknown { tool, .. } => {
            (troupe(), format!("cache: nobody offers {tool}, which has a rule"))
        }
        Event::ServerDiscovered { server, source, endpoint } => {
            (server.to_string(), format!("found by {source} at {endpoint}"))
        }
        Event::ServerMoved { server, source, to, .. } => {
            (server.to_string(), format!("moved to {to}, says {source}"))
        }
        Event::ServerWithdrawn { server, source } => (server.to_string(), format!("withdrawn by {source}")),
        Event::ClaimConflict { server, claimed_by, holder } => {
            (claimed_by.to_string(), format!("names {server}, which is that of {holder}"))
        }
        Event::RecordSkipped { source, record, reason } => {
            (source.to_string(), format!("record {record} skipped: {reason}"))
        }
        Event::DiscoveryFailed { source, reason, .. } => (source.to_string(), format!("no answer: {reason}")),
        Event::DiscoveryDoubted { source, known } => {
            (source.to_string(), format!("names none of the {known} that are known; not believed yet"))
        }
        Event::DiscoveryRecovered { source, servers } => {
            (source.to_string(), format!("answers again, names {}", several(*servers, "server")))
        }
        Event::DiscoveryRestarted { source, cause } => (source.to_string(), format!("restarted: {cause}")),
        Event::LoosePermissions(loose) => (troupe(), loose.to_string()),
        Event::ConfigurationApplied(applied) => (troupe(), format!("configuration applied: {applied}")),
        Event::StrategyChanged { strategy } => (troupe(), format!("strategy {strategy}")),
        Event::ShutdownStarted => (troupe(), "shutdown started".to_owned()),
        Event::ShutdownCompleted { .. } => (troupe(), "shutdown completed".to_owned()),
        Event::Lagged { missed } => (troupe(), format!("{missed} events missed")),
        other => (troupe(), format!("{other:?}")),
    }
}

/// A line in this much room: what has no room ends in an ellipsis, and characters that steer terminals, which a peer may
/// send, are blanks.
pub fn fitted(line: Line<'static>, width: usize) -> Line<'static> {
    let columns = |character: char| Span::raw(character.encode_utf8(&mut [0; 4]).to_owned()).width();
    let clean = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    let mut left = width;
    let (fits, style) = (line.width() <= width, line.style);
    let mut fitted = Vec::new();
    for span in line.spans {
        let text = clean(&span.content);
        if fits {
            fitted.push(Span::styled(text, span.style));
            continue;
        }
        let mut part = String::new();
        for character in text.chars() {
            // The last column is the ellipsis'.
            if columns(character) + 1 > left {
                part.push('…');
                fitted.push(Span::styled(part, span.style));
                return Line::from(fitted).style(style);
            }
            left -= columns(character);
            part.push(character);
        }
        fitted.push(Span::styled(part, span.style));
    }
    Line::from(fitted).style(style)
}

/// The same line without its colours.
pub fn colourless(line: Line<'static>) -> Line<'static> {
    let without = |style: Style| Style { fg: None, bg: None, ..style };
    let spans = line.spans.into_iter().map(|span| Span::styled(span.content, without(span.style)));
    Line::from(spans.collect::<Vec<_>>()).style(without(line.style))
}
