//! What a server says by a status in place of a message, as HTTP servers and the proxies before them do.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::duration::{about, optional_ms};
use crate::error::Effect;
use crate::peer_text::OneLine;

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RefusalKind {
    /// The credentials are missing, wrong or not enough: 401, 403.
    Unauthorized,
    /// The server has no capacity for it: 429, and 503 where it says when to come again.
    Overloaded,
    /// Nobody speaks MCP at this address: 301, 307, 308, 404, 405, 410.
    WrongAddress,
    /// Its answer is somewhere else, where only a browser would look for it: any other 3xx. It may have been carried out, as
    /// a form is before its 302 or 303.
    Redirected,
    /// It will not have this request: any other 4xx.
    Rejected,
    /// It, or a proxy before it, failed or lost patience: 5xx, 408, 499. A proxy says so also after the request has reached
    /// the server.
    Failed,
}

/// A request that was answered with a status and no message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Refusal {
    /// What it means.
    #[serde(rename = "refusal")]
    pub kind: RefusalKind,
    /// The status.
    pub status: u16,
    /// Where the server points to, as far as URLs are shown: `https://host/first/…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// What the server, or a proxy before it, says in its body where that is a sentence: at most 200 bytes and an ellipsis.
    /// Untrusted text, without the secrets of the server's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// When a repetition has a chance, if the server says so.
    #[serde(
        rename = "retry_after_ms",
        serialize_with = "optional_ms",
        skip_serializing_if = "Option::is_none"
    )]
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// The meaning of a status that is no success.
    pub fn new(status: u16, location: Option<String>, retry_after: Option<Duration>) -> Self {
        let kind = match status {
            401 | 403 => RefusalKind::Unauthorized,
            429 => RefusalKind::Overloaded,
            503 if retry_after.is_some() => RefusalKind::Overloaded,
            301 | 307 | 308 | 404 | 405 | 410 => RefusalKind::WrongAddress,
            300..=399 => RefusalKind::Redirected,
            408 | 499 => RefusalKind::Failed,
            400..=498 => RefusalKind::Rejected,
            _ => RefusalKind::Failed,
        };
        Self { kind, status, location, words: None, retry_after }
    }

    /// What it says about the effect of the request.
    pub fn effect(&self) -> Effect {
        match self.kind {
            RefusalKind::Unauthorized
            | RefusalKind::Overloaded
            | RefusalKind::WrongAddress
            | RefusalKind::Rejected => Effect::Rejected,
            RefusalKind::Redirected | RefusalKind::Failed => Effect::Unknown,
        }
    }

    /// Whether it was not carried out for a reason of this server's, so that another one may take it.
    pub(crate) fn moves(&self) -> bool {
        match self.kind {
            RefusalKind::Unauthorized | RefusalKind::Overloaded | RefusalKind::WrongAddress => true,
            RefusalKind::Redirected | RefusalKind::Rejected | RefusalKind::Failed => false,
        }
    }

    /// A short, stable name, for counters and machine-readable output.
    pub fn name(&self) -> &'static str {
        match self.kind {
            RefusalKind::Unauthorized => "unauthorized",
            RefusalKind::Overloaded => "server-overloaded",
            RefusalKind::WrongAddress => "wrong-address",
            RefusalKind::Redirected => "redirected",
            RefusalKind::Rejected => "refused",
            RefusalKind::Failed => "server-failed",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status;
        match self.kind {
            RefusalKind::Unauthorized => {
                write!(f, "unauthorized: the server answered with HTTP status {status}")?;
                match self.status {
                    403 => f.write_str(", what it is shown (bearer, headers) is not enough")?,
                    _ => f.write_str(", it wants a bearer or headers that it knows")?,
                }
            }
            RefusalKind::Overloaded => write!(f, "the server is overloaded: HTTP status {status}")?,
            RefusalKind::WrongAddress => write!(f, "no MCP server at this address: HTTP status {status}")?,
            RefusalKind::Redirected => {
                write!(f, "the server has its answer somewhere else: HTTP status {status}")?;
            }
            RefusalKind::Rejected => write!(f, "the server refused the request with HTTP status {status}")?,
            RefusalKind::Failed => write!(f, "the server failed with HTTP status {status}")?,
        }
        if let Some(location) = &self.location {
            write!(f, ", which points to {location}")?;
        }
        if let Some(after) = self.retry_after {
            write!(f, ", to be tried again in {}", about(after))?;
        }
        match &self.words {
            Some(words) => write!(f, ", and says: {}", OneLine(words)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16) -> RefusalKind {
        Refusal::new(status, None, None).kind
    }

    #[test]
    fn each_status_has_one_meaning() {
        assert_eq!([401, 403].map(kind), [RefusalKind::Unauthorized; 2]);
        assert_eq!([301, 307, 308, 404, 405, 410].map(kind), [RefusalKind::WrongAddress; 6]);
        assert_eq!([300, 302, 303, 304, 399].map(kind), [RefusalKind::Redirected; 5]);
        assert_eq!([400, 406, 413, 415, 421, 498].map(kind), [RefusalKind::Rejected; 6]);
        assert_eq!([408, 499, 500, 502, 503, 504, 599, 101, 999].map(kind), [RefusalKind::Failed; 9]);
        assert_eq!(kind(429), RefusalKind::Overloaded);
    }

    #[test]
    fn a_status_that_may_follow_an_execution_is_no_rejection_and_moves_nothing() {
        for status in 100..1000 {
            let refusal = Refusal::new(status, None, None);
            let may_follow = match status {
                301 | 307 | 308 => false,
                408 | 499 => true,
                400..=498 => false,
                _ => true,
            };
            assert_eq!(refusal.effect() == Effect::Unknown, may_follow, "{status}");
            assert!(!(may_follow && refusal.moves()), "{status}");
        }
    }

    #[test]
    fn only_a_503_that_says_when_to_come_again_is_known_not_to_have_been_carried_out() {
        let deliberate = Refusal::new(503, None, Some(Duration::from_secs(2)));
        assert_eq!((deliberate.kind, deliberate.effect()), (RefusalKind::Overloaded, Effect::Rejected));
        assert_eq!(Refusal::new(503, None, None).effect(), Effect::Unknown);
        assert!(deliberate.to_string().contains("2s"), "{deliberate}");
    }
}
