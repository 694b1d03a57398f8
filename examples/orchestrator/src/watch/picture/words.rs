//! Figures and events in words, and words in the room that there is.

use std::fmt::Display;
use std::time::Duration;

use mcp_troupe::Event;
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
    (event.about().unwrap_or("troupe").to_owned(), event.what().to_string())
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
