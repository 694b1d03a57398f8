//! What the commands print. Whoever reads it may leave: a pipe that is closed takes nothing more, and that is no error. A disk that
//! is full is one: what was asked for is not there, and the command must not end as if it were.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::waiting;

/// A line on stdout.
macro_rules! say {
    () => { $crate::output::stdout(format_args!("\n")) };
    ($($words:tt)*) => { $crate::output::stdout(format_args!("{}\n", format_args!($($words)*))) };
}

/// A line on stderr.
macro_rules! note {
    ($($words:tt)*) => { $crate::output::stderr(format_args!("{}\n", format_args!($($words)*))) };
}

pub(crate) use {note, say};

/// Whether something could not be printed, and somebody was there to read it.
static LOST: AtomicBool = AtomicBool::new(false);

/// A text that steers no terminal: what servers say is in it. Line breaks are ours as well, and stay.
pub fn harmless(text: &str) -> String {
    // Some turn the direction of what stands behind them.
    let turns =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t' || turns(c);
    let mut harmless = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            // As in JSON, which it may be.
            c if steers(c) => harmless.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => harmless.push(c),
        }
    }
    harmless
}

/// Prints to stdout; what a program reads letter for letter, and what a terminal shows so that nothing steers it.
pub fn stdout(words: Arguments<'_>) {
    let stdout = io::stdout();
    let text = if stdout.is_terminal() { harmless(&words.to_string()) } else { words.to_string() };
    let mut stdout = stdout.lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            if !LOST.swap(true, Ordering::Relaxed) {
                note!("stdout cannot be written: {error}");
            }
        }
        // Nobody may read it any more.
        Ok(()) | Err(_) => {}
    }
}

/// Whether something of the result was lost on its way out.
pub fn is_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Prints to stderr.
pub fn stderr(words: Arguments<'_>) {
    draw(format_args!("{}", harmless(&words.to_string())));
}

/// Lines on stderr that may be long, such as what becomes of a server: a terminal has them broken between words, and what goes on
/// is indented.
pub fn account(text: &str) {
    if !for_people() {
        return stderr(format_args!("{text}\n"));
    }
    for line in text.lines() {
        stderr(format_args!("{}\n", broken(line)));
    }
}

/// A line that is broken between words to the width of the terminal.
pub fn broken(line: &str) -> String {
    let inner = line.len() - line.trim_start().len();
    let indent = " ".repeat(inner + 2);
    let options = textwrap::Options::new(waiting::width())
        .subsequent_indent(&indent)
        // A URL or a path that is longer than a line is for copying.
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    textwrap::fill(line, options)
}

/// Prints to stderr what steers the terminal on purpose.
pub fn draw(words: Arguments<'_>) {
    // As above.
    let _ = io::stderr().lock().write_fmt(words);
}

/// Pretty JSON on stdout.
pub fn json(value: &impl Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => say!("{text}"),
        Err(error) => note!("no JSON: {error}"),
    }
}

/// One line of JSON on stderr.
pub fn json_line_to_stderr(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => note!("{text}"),
        Err(error) => note!("no JSON: {error}"),
    }
}

/// Whether people read stderr: else it is for programs, and has neither colours nor what is drawn over.
pub fn for_people() -> bool {
    io::stderr().is_terminal()
}

/// Whether stderr has colours: on a terminal, unless `NO_COLOR` is set and not empty.
pub fn colours() -> bool {
    for_people() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_written_out_and_line_breaks_and_letters_stay() {
        for (said, shown) in [
            ("a\n\tb", "a\n\tb"),
            ("\u{1b}[2J\u{7f}\r\u{9b}", "\\u001b[2J\\u007f\\u000d\\u009b"),
            ("pay \u{202e}001\u{202c} now", "pay \\u202e001\\u202c now"),
            (
                "\u{200e}\u{200f}\u{2028}\u{2029}\u{2066}\u{2069}",
                "\\u200e\\u200f\\u2028\\u2029\\u2066\\u2069",
            ),
            ("שלום, é, 日本 \u{200d}", "שלום, é, 日本 \u{200d}"),
        ] {
            assert_eq!(harmless(said), shown);
        }
    }
}
