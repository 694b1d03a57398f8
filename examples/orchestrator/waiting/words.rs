//! What who waits is told, in one line.

use std::time::Duration;

use ratatui::text::Span;

/// The line, narrower than the terminal: `4s · starting: npx-server (added 12 packages)`.
pub fn words(starting: &[(&str, Option<&str>)], elapsed: Duration, width: usize) -> String {
    let each = starting.iter().map(|(id, doing)| match doing {
        Some(doing) => format!("{id} ({doing})"),
        None => (*id).to_owned(),
    });
    let seconds = elapsed.as_secs();
    let line = match starting {
        [] => format!("{seconds}s · waiting for the answer"),
        [_] => format!("{seconds}s · starting: {}", each.collect::<String>()),
        several => {
            format!("{seconds}s · {} are starting: {}", several.len(), each.collect::<Vec<_>>().join(", "))
        }
    };
    fitted(&line, width.saturating_sub(1))
}

/// As much of a line as has room. What a server writes may steer the terminal, and a line that wraps cannot be cleared.
fn fitted(line: &str, room: usize) -> String {
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
