//! What a server tells of a call before it answers.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::call::Reply;
use crate::error::CallError;
use crate::id::ServerId;
use crate::json::RawJson;

/// The longest text of a server's that is kept of a progress report or a log message, in bytes: room for a sentence or a
/// stack trace, and still little where many wait to be read.
pub(crate) const TEXT_BYTES_MAX: usize = 4096;

/// The longest reason that is kept of what a server says in an error, in bytes. A reason is copied into events, standings
/// and the error of every call that its server's group cannot take, so it is a sentence and no stack trace.
pub(crate) const REASON_BYTES_MAX: usize = 1024;

/// What is told of one call, in its order. [`Answer`](Self::Answer) comes last, and once.
///
/// MCP knows no partial results: a tool's result comes whole, with the answer. A server that has something to show
/// before says it in the message of its progress.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CallUpdate {
    /// How far a server has come.
    Progress(Progress),
    /// What a server logs about the call.
    Log(LogMessage),
    /// So many reports and log messages were lost here: the server told more than may be passed on in the time, or the
    /// stream was read too slowly.
    Lagged(u64),
    /// The answer.
    Answer(Result<Reply, CallError>),
}

/// The last updates of each kind that could not be passed on, in their order: how far it came, and what it said last.
#[derive(Debug)]
pub(crate) struct LastUpdates<T>(Vec<T>);

impl<T> LastUpdates<T> {
    /// The kinds that there are: progress and log messages.
    pub(crate) const KINDS: usize = 2;

    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Keeps these in the place of the ones before of their kind. Says whether there were such.
    pub(crate) fn keep(&mut self, update: T) -> bool {
        let kind = std::mem::discriminant(&update);
        let before = self.0.iter().position(|kept| std::mem::discriminant(kept) == kind);
        if let Some(before) = before {
            self.0.remove(before);
        }
        self.0.push(update);
        before.is_some()
    }

    /// A later one of its kind is told: what is kept of that kind is not the last any more. Says whether there was such.
    pub(crate) fn overtaken_by(&mut self, update: &T) -> bool {
        let kind = std::mem::discriminant(update);
        let before = self.0.len();
        self.0.retain(|kept| std::mem::discriminant(kept) != kind);
        self.0.len() < before
    }

    /// Takes out what is kept.
    pub(crate) fn take(&mut self) -> Vec<T> {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How far a server has come with a call, in its own words.
///
/// By the rules it grows from report to report of one attempt; a server may break them. When a call is made once more
/// (a retry, a hedge), the next attempt begins anew.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Progress {
    /// The server.
    pub server: ServerId,
    /// Which attempt of the call it works on, from 1. Where a call is hedged two are under way at once.
    pub attempt: u32,
    /// How far, in units of its own.
    pub progress: f64,
    /// How far it has to go, if it knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
    /// What it is at: untrusted text, cut after 4 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// `3 of 4: almost there`
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.progress)?;
        if let Some(total) = self.total {
            write!(f, " of {total}")?;
        }
        match &self.message {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

/// What a server logs about a call.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LogMessage {
    /// The server.
    pub server: ServerId,
    /// Which attempt of the call it is about, from 1.
    pub attempt: u32,
    /// How grave it is.
    pub level: LogLevel,
    /// Which part of the server says it: untrusted text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logger: Option<String>,
    /// What it says: any JSON, unread. One of more than 64 KiB counts as missed.
    pub data: RawJson,
}

/// How grave a log message is, as in syslog (RFC 5424); ordered from the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// For who looks for a fault.
    Debug,
    /// What happens in general.
    Info,
    /// Worth knowing, and in order.
    Notice,
    /// Something may be wrong.
    Warning,
    /// Something failed.
    Error,
    /// A part of the server failed.
    Critical,
    /// Somebody has to act at once.
    Alert,
    /// The server is of no use any more.
    Emergency,
}

impl LogLevel {
    /// All levels, the least first.
    pub const ALL: [Self; 8] = [
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Alert,
        Self::Emergency,
    ];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }

    /// The level of that name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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
    fn levels_are_found_by_their_names_and_ordered_by_gravity() {
        for level in LogLevel::ALL {
            assert_eq!(LogLevel::named(&level.name().to_uppercase()), Some(level));
            assert_eq!(serde_json::to_string(&level).unwrap(), format!("{:?}", level.name()));
        }
        assert!(LogLevel::ALL.is_sorted());
        assert_eq!(LogLevel::named("loud"), None);
    }

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

    #[test]
    fn progress_is_told_in_a_line() {
        let mut progress = Progress {
            server: ServerId::new("s").unwrap(),
            attempt: 1,
            progress: 3.0,
            total: Some(4.5),
            message: Some("soon".into()),
        };
        assert_eq!(progress.to_string(), "3 of 4.5: soon");
        (progress.total, progress.message) = (None, None);
        assert_eq!(progress.to_string(), "3");
    }
}
