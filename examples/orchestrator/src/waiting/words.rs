//! What who waits is told, in one line.

use std::time::Duration;

use ratatui::text::Span;

/// The line, narrower than the terminal: `4s · 2 are starting: git, time`.
pub fn words(starting: &[(&str, Option<&str>)], elapsed: Duration, width: usize) -> String {
    let seconds = elapsed.as_secs();
    let line = match starting {
        [] => format!("{seconds}s · waiting for the answer"),
        [(id, None)] => format!("{seconds}s · {id} is starting"),
        [(id, Some(doing))] => format!("{seconds}s · {id}: {doing}"),
        // All names are worth more than what one of them does.
        several => {
            let ids: Vec<_> = several.iter().map(|(id, _)| *id).collect();
            format!("{seconds}s · {} are starting: {}", ids.len(), ids.join(", "))
        }
    };
    fitted(&line, width.saturating_sub(1))
}

/// The same for a call: `4s · ecko is not known yet and waits for 2 servers: git, time`. `known` says that a server offers the tool.
pub fn words_of_call(
    tool: &str,
    known: bool,
    starting: &[(&str, Option<&str>)],
    elapsed: Duration,
    width: usize,
) -> String {
    let seconds = elapsed.as_secs();
    let ids: Vec<_> = starting.iter().map(|(id, _)| *id).collect();
    let whom = match (ids.as_slice(), starting) {
        ([], _) => return words(&[], elapsed, width),
        (_, [(id, Some(doing))]) => format!("{id}: {doing}"),
        ([id], _) => (*id).to_owned(),
        (several, _) => format!("{} servers: {}", several.len(), several.join(", ")),
    };
    let what = if known { "waits" } else { "is not known yet and waits" };
    fitted(&format!("{seconds}s · {tool} {what} for {whom}"), width.saturating_sub(1))
}

/// The same for a call by a bare name that others may have as well: `1s · time may have echo too, and is starting`.
pub fn words_of_others(
    tool: &str,
    starting: &[(&str, Option<&str>)],
    elapsed: Duration,
    width: usize,
) -> String {
    let ids: Vec<_> = starting.iter().map(|(id, _)| *id).collect();
    let are = if ids.len() == 1 { "is" } else { "are" };
    let line = format!("{}s · {} may have {tool} too, and {are} starting", elapsed.as_secs(), ids.join(", "));
    fitted(&line, width.saturating_sub(1))
}

/// As much of a line as has room. What a server writes may steer the terminal, and a line that wraps cannot be cleared.
pub fn fitted(line: &str, room: usize) -> String {
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if Span::raw(&*line).width() <= room {
        return line;
    }
    let (mut part, mut left) = (String::new(), room.saturating_sub(1));
    for character in line.chars() {
        let columns = Span::raw(character.encode_utf8(&mut [0; 4]).to_owned()).width();
        if columns > left {
            break;
        }
        left -= columns;
        part.push(character);
    }
    if room > 0 {
        part.push('…');
    }
    part
}
