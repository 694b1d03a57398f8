//! What a server tells of a call before it answers.

use std::fmt;

use serde::Serialize;

use crate::call::Reply;
use crate::error::CallError;
use crate::id::ServerId;
use crate::json::RawJson;

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
