//! Texts of peers, as they are kept and told: cut, and in one line that steers no terminal.

use std::fmt::{self, Write as _};

/// The longest text of a server's that is kept of a progress report or a log message, in bytes: room for a sentence or a
/// stack trace, and still little where many wait to be read.
pub(crate) const TEXT_BYTES_MAX: usize = 4096;

/// The longest reason that is kept of what a server says in an error, in bytes. A reason is copied into events, standings
/// and the error of every call that its server's group cannot take, so it is a sentence and no stack trace.
pub(crate) const REASON_BYTES_MAX: usize = 1024;

/// A reason as it is kept: the beginning of what `told` says, in one line, marked where it goes on.
///
/// What lies beyond the limit is never copied, so that a large error costs no more than a small one.
pub(crate) fn reason(told: impl fmt::Display) -> String {
    let mut kept = Beginning { text: String::new(), bytes: REASON_BYTES_MAX - ELLIPSIS.len() };
    // An error says that there is more.
    if fmt::write(&mut Cleaned(&mut kept), format_args!("{told}")).is_err() {
        kept.text.push_str(ELLIPSIS);
    }
    kept.text
}

/// Marks a text that goes on.
pub(crate) const ELLIPSIS: &str = "…";

/// Takes the first `bytes` of what is written, and fails when there is more.
struct Beginning {
    text: String,
    bytes: usize,
}

impl fmt::Write for Beginning {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let room = self.bytes - self.text.len();
        let taken = beginning(piece, room);
        self.text.push_str(taken);
        if taken.len() < piece.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Writes what is written to it as one line.
struct Cleaned<'b>(&'b mut Beginning);

impl fmt::Write for Cleaned<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        // No more of it is looked at than there could be room for.
        let taken = beginning(piece, REASON_BYTES_MAX);
        write!(self.0, "{}", OneLine(taken))?;
        if taken.len() < piece.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// A text of a peer's in one line that steers no terminal: its control characters, and those that turn the direction of writing, are
/// written as Rust writes them, such as `\n` and `\u{1b}`.
pub(crate) struct OneLine<'t>(pub &'t str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(steers) {
            let (plain, behind) = rest.split_at(at);
            let mut characters = behind.chars();
            f.write_str(plain)?;
            for control in characters.next().into_iter().flat_map(char::escape_debug) {
                f.write_char(control)?;
            }
            rest = characters.as_str();
        }
        f.write_str(rest)
    }
}

/// Whether a character moves the cursor, colours, or turns what stands behind it around.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The longest beginning of a text that has at most `bytes`, and no broken character.
pub(crate) fn beginning(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

/// A text of a server's, cut where it is longer than `bytes`.
pub(crate) fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        text.truncate(beginning(&text, bytes).len());
        text.shrink_to_fit();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_its_characters() {
        assert_eq!(cut("grün".into(), 3), "gr");
        assert_eq!(cut("grün".into(), 5), "grün");
    }

    #[test]
    fn a_reason_is_whole_or_its_beginning_and_says_which() {
        let fits = "x".repeat(REASON_BYTES_MAX - ELLIPSIS.len());
        assert_eq!(reason(&fits), fits);
        let told = reason(format_args!("{}: {}", "ü".repeat(100), "ü".repeat(8 << 20)));
        assert!(told.len() <= REASON_BYTES_MAX && told.capacity() <= 2 * REASON_BYTES_MAX, "{}", told.len());
        assert!(told.starts_with("üü") && told.ends_with("ü…"), "{told}");
    }

    #[test]
    fn a_reason_is_one_line_that_steers_no_terminal() {
        let told = reason("backend \u{1b}[31mexploded\u{7}\nsecond \u{9b}2J");
        assert_eq!(told, r"backend \u{1b}[31mexploded\u{7}\nsecond \u{9b}2J");
        let error = crate::RpcError { code: 1, message: "a\rb".to_owned(), data: None };
        assert_eq!(error.to_string(), r"the server answered with error 1: a\rb");
    }
}
