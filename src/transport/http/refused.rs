//! What a body says that came with a status which is no success, and whether it says that the link's session is lost.
//!
//! A request whose session a server does not know was not carried out: it is sent again over the next session, declared
//! safe or not. A tool's own error must never be taken for that, and tools have errors of any code and any words, many of
//! them about some session: of a browser, a database, a checkout. So it is believed only as the protocol has it (404), or as
//! the official SDKs say it: with 400, in a message that names no request of ours, since what looks for the session stands
//! before what reads requests; or in exactly their words.
//!
//! | who | status | body |
//! | --- | --- | --- |
//! | TypeScript | 404 | -32001, *Session not found*; no id |
//! | TypeScript | 400 | -32000, *Bad Request: Server not initialized*, *… Mcp-Session-Id header is required*; no id |
//! | TypeScript, by its examples | 400 | -32000, *Bad Request: No valid session ID provided*; no id |
//! | Python | 404 | -32600, *Not Found: Session has been terminated*, *… Invalid or expired session ID*; an id of its own |
//! | Python | 400 | -32600, *Bad Request: Missing session ID*; an id of its own |
//! | Python, before it said 404 | 400 | the sentence *Bad Request: No valid session ID provided* |
//! | C# | 404 | 32001 or -32001, *Session not found*; no id of ours |
//! | Go | 404 | the sentence *session not found* |
//! | Rust | 404 | the sentence *Not Found: Session not found* |
//! | Rust | 400 | the sentence *Bad Request: Session ID is required* |

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::body::{Collected, collect};
use super::head;
use crate::error::RpcError;
use crate::protocol::envelope::{Incoming as Message, Response as Answer, decode};

/// The most of a refusal's body that is read for a message in it.
pub(super) const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// How long the body of a refusal is waited for. It comes with its head, unless something is wrong.
const REFUSAL_WAIT: Duration = Duration::from_secs(5);

/// Codes with which servers say that they do not know a session.
const CODES: [i64; 4] = [-32000, -32001, 32001, RpcError::INVALID_REQUEST];

/// What the official SDKs say of a session that they do not know.
const WORDS: [&str; 9] = [
    "session not found",
    "no valid session id provided",
    "server not initialized",
    "mcp-session-id header is required",
    "missing session id",
    "session id is required",
    "session has been terminated",
    "invalid or expired session id",
    "invalid session id",
];

/// What they put before it.
const PREFIXES: [&str; 2] = ["bad request: ", "not found: "];

/// What a body says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// An answer.
    Answer { frame: Bytes, to: Option<u64>, error: Option<RpcError> },
    /// A sentence.
    Words(String),
    /// Nothing that can be understood.
    Nothing,
}

impl Said {
    /// Reads a body.
    pub async fn read(headers: &HeaderMap, body: Incoming) -> Self {
        let collected = timeout(REFUSAL_WAIT, collect(headers, body, REFUSAL_BYTES_MAX)).await;
        match collected {
            Ok(Collected::Whole(body)) => Self::of(&head::content_type(headers), body),
            Ok(Collected::TooLarge | Collected::Broken(_)) | Err(_) => Self::Nothing,
        }
    }

    fn of(content_type: &str, body: Bytes) -> Self {
        if content_type != "application/json" {
            return String::from_utf8(body.into()).map_or(Self::Nothing, Self::Words);
        }
        let mut answer = None;
        let decoded = decode(body.clone(), |message| match message {
            Message::Response(Answer { id, outcome }) => answer = Some((id, outcome.err())),
            // Some servers make up an id, such as "server-error", where they know of none.
            Message::Foreign { outcome, .. } => answer = Some((None, outcome.err())),
            Message::Hollow { .. } | Message::Request { .. } | Message::Notification { .. } => {}
        });
        match (decoded, answer) {
            (Ok(()), Some((to, error))) => Self::Answer { frame: body, to, error },
            (Ok(()) | Err(_), _) => Self::Nothing,
        }
    }

    /// Whether it is the answer to this request: who wrote it has read that.
    pub fn answers(&self, request: u64) -> bool {
        matches!(self, Self::Answer { to: Some(to), .. } if *to == request)
    }

    /// Whether a server that says so with `status` did not carry out a request, since it does not know its session.
    pub fn knows_no_session(&self, status: StatusCode) -> bool {
        let (not_found, bad) = (status == StatusCode::NOT_FOUND, status == StatusCode::BAD_REQUEST);
        match self {
            Self::Nothing => not_found,
            Self::Words(words) => not_found || bad && is_exactly(words),
            // It was carried out.
            Self::Answer { error: None, to, .. } => not_found && to.is_none(),
            Self::Answer { error: Some(error), to, .. } => {
                let exactly = || CODES.contains(&error.code) && is_exactly(&error.message);
                // What has read the id of a request may have carried it out.
                match to {
                    Some(_) => (not_found || bad) && exactly(),
                    None => not_found || bad && CODES.contains(&error.code) && speaks_of_it(&error.message),
                }
            }
        }
    }
}

/// Whether these are an SDK's words, and no others.
fn is_exactly(words: &str) -> bool {
    let words = words.trim().to_lowercase();
    let bare = PREFIXES.iter().find_map(|prefix| words.strip_prefix(prefix)).unwrap_or(&words);
    WORDS.contains(&bare)
}

/// Whether an SDK's words are among these.
fn speaks_of_it(words: &str) -> bool {
    let words = words.to_lowercase();
    WORDS.iter().any(|known| words.contains(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn believed(status: u16, content_type: &str, body: &str) -> bool {
        let said = Said::of(content_type, Bytes::copy_from_slice(body.as_bytes()));
        said.knows_no_session(StatusCode::from_u16(status).expect("a status"))
    }

    fn error(id: &str, code: i64, message: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#)
    }

    const JSON: &str = "application/json";

    #[test]
    fn what_the_official_sdks_say_of_an_unknown_session_is_believed() {
        for (status, id, code, message) in [
            (404, "null", -32001, "Session not found"),
            (400, "null", -32000, "Bad Request: Server not initialized"),
            (400, "null", -32000, "Bad Request: Mcp-Session-Id header is required"),
            (400, "null", -32000, "Bad Request: No valid session ID provided"),
            (404, r#""server-error""#, -32600, "Not Found: Session has been terminated"),
            (404, r#""server-error""#, -32600, "Not Found: Invalid or expired session ID"),
            (400, r#""server-error""#, -32600, "Bad Request: Missing session ID"),
            (404, r#""""#, 32001, "Session not found"),
        ] {
            assert!(believed(status, JSON, &error(id, code, message)), "{status} {message}");
        }
        for (status, sentence) in [
            (400, "Bad Request: No valid session ID provided"),
            (404, "session not found\n"),
            (404, "Not Found: Session not found"),
            (400, "Bad Request: Session ID is required"),
            (404, ""),
            (404, "<html>nothing here</html>"),
        ] {
            assert!(believed(status, "text/plain", sentence), "{status} {sentence}");
        }
    }

    #[test]
    fn an_error_of_the_requests_own_is_no_lost_session_unless_it_is_in_an_sdks_very_words() {
        for status in [400, 404] {
            for (code, message) in [
                (-32000, "the browser session not found, after the click"),
                (-32001, "checkout: session has been terminated"),
                (-32000, "charged the card, then the browser session was closed"),
                (-32601, "Session not found"),
                (-32602, "no such record"),
                (0, "session not found"),
            ] {
                assert!(!believed(status, JSON, &error("7", code, message)), "{status} {code} {message}");
            }
            assert!(believed(status, JSON, &error("7", -32001, "Session not found")), "{status}");
            assert!(!believed(status, JSON, r#"{"id":7,"result":{}}"#), "{status}");
        }
    }

    #[test]
    fn no_other_status_says_that_a_session_is_lost() {
        for status in (100..1000).filter(|status| ![400, 404].contains(status)) {
            assert!(!believed(status, JSON, &error("null", -32001, "Session not found")), "{status}");
            assert!(!believed(status, "text/plain", "Session not found"), "{status}");
            assert!(!believed(status, "", ""), "{status}");
        }
    }

    #[test]
    fn a_bad_request_that_says_something_else_is_no_lost_session() {
        assert!(!believed(400, JSON, &error("null", -32000, "the database session was closed")));
        assert!(!believed(400, JSON, &error("null", -32004, "session not found")));
        assert!(!believed(400, "text/plain", "no valid session id provided by the browser"));
        assert!(!believed(400, "", ""));
    }
}
