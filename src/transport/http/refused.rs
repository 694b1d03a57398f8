//! What a body says that came with a status which is no success, and whether it says that the link's session is lost.
//!
//! A request whose session a server does not know was not carried out: it is sent again over the next session, declared
//! safe or not. A tool's own error must never be taken for that, and tools have errors of any code and any words, many of
//! them about some session: of a browser, a database, a checkout. So it is believed only as the protocol has it (404), or as
//! the official SDKs say it: with 400, in a message that names no request of ours, since what looks for the session stands
//! before what reads requests; or in exactly their words. Of other servers a message that names no request, or a sentence, is
//! believed with any status that says that the request was not carried out, where it speaks of an unknown session and of
//! nothing else: *Invalid session*, but not *the browser session not found*.
//!
//! What may be the answer to a call and cannot be read as one is believed in nothing: by the status the call was not carried out, by
//! what may stand there it was. Whether it may be is seen by how the body begins, not by its type alone, since servers give any type:
//!
//! | the body | what it is |
//! | --- | --- |
//! | is compressed | unread |
//! | is one JSON-RPC answer, as it is or as an event | that answer |
//! | is a list or a stream of several, or has an id and neither result nor error | unread |
//! | is events that hold no answer | the first sentence among them |
//! | begins as JSON or as events, and is cut off, over 64 KiB, no JSON or no UTF-8 | unread |
//! | is another JSON object | the sentence in its `detail`, `message`, `title`, `reason` or `error`, if it has one |
//! | is an error without the protocol, and names another request | that sentence, which says nothing of the session |
//! | begins otherwise, such as a page or a sentence | that sentence; nothing where it is cut off or over 64 KiB |
//! | never comes | unread; nothing where its type is that of a page or a picture |
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

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::body::Incoming;
use serde::de::IgnoredAny;
use tokio::time::timeout;

use super::body::beginning;
use super::head;
use super::sse::Events;
use crate::error::RpcError;
use crate::json::members::members;
use crate::protocol::envelope::{
    Incoming as Message, Response as Answer, decode_exchange, names_protocol, names_request, quoted, sentence,
};

/// The most of a refusal's body that is read for a message in it.
pub(super) const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// Some servers put it before a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How long the body of a refusal is waited for. It comes with its head, unless something is wrong.
const REFUSAL_WAIT: Duration = Duration::from_secs(5);

/// Codes with which the official SDKs say that they do not know a session.
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

/// One of these stands in every sentence about an unknown session: what is unknown.
const SUBJECTS: &str =
    "session sessions sessionid session_id session-id mcp-session-id initialized initialised uninitialized";

/// And one of these: that it is.
const LACKS: &str = "not no invalid expired unknown missing required terminated stale doesn't isn't lost gone ended \
    unrecognized must cannot uninitialized timed without inactive";

/// What else such a sentence is made of. With any other word it may be about a session of something else.
const BESIDE: &str = "a again active an and any bad be been call client connection does error exist exists first for found \
    given has have header http id ids in include initialize is it longer mcp new non-initialize or out please provided \
    re-initialize recognized reinitialize request requests server start such the this to transport valid was with";

/// What a body says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// An answer.
    Answer { frame: Bytes, to: Option<u64>, error: Option<RpcError> },
    /// A sentence.
    Words(String),
    /// The same in an error that names another request. Whoever wrote it has read some request, so it says nothing of the session.
    Misaddressed(String),
    /// What may be an answer, and could not be read as one: too large, cut off, or of another form.
    Unread,
    /// Nothing that can be understood.
    Nothing,
}

/// A message with one sentence is no longer, in bytes: of larger answers nobody asks whether they are one.
const SENTENCE_BYTES_MAX: usize = 1 << 10;

fn text_of(body: &[u8]) -> &str {
    std::str::from_utf8(body).unwrap_or_default().trim_start_matches('\u{feff}')
}

fn has_error(body: &[u8]) -> bool {
    members(text_of(body), ["error"]).is_ok_and(|found| found[0].is_some())
}

/// A body, as far as it was read.
struct Body {
    content_type: String,
    /// It is compressed, or the like, which was not asked for.
    encoded: bool,
    bytes: Bytes,
    whole: bool,
}

impl Said {
    /// Reads the body that came on the exchange of the request `to`, as much of it as there is room and time for.
    pub(super) async fn read(headers: &HeaderMap, body: Incoming, to: Option<u64>) -> Self {
        let mut gathered = BytesMut::new();
        let whole = timeout(REFUSAL_WAIT, beginning(body, REFUSAL_BYTES_MAX, &mut gathered)).await;
        let body = Body {
            content_type: head::content_type(headers),
            encoded: head::encoding(headers).is_some(),
            bytes: gathered.freeze(),
            whole: whole == Ok(true),
        };
        Self::of(body, to)
    }

    fn of(body: Body, to: Option<u64>) -> Self {
        let Body { content_type, encoded, bytes, whole } = body;
        if encoded {
            // It cannot be read, whatever its type says.
            return if whole && bytes.is_empty() { Self::Nothing } else { Self::Unread };
        }
        let bytes =
            if bytes.starts_with(BYTE_ORDER_MARK) { bytes.slice(BYTE_ORDER_MARK.len()..) } else { bytes };
        // Events and messages come under other types, and under none, as well.
        let fields = [&b"data:"[..], b"event:", b"id:", b"retry:", b":"];
        let begins = bytes.trim_ascii_start();
        if content_type == "text/event-stream" || fields.iter().any(|field| begins.starts_with(field)) {
            return Self::of_events(&bytes, whole, to);
        }
        let first = bytes.iter().copied().find(|byte| !byte.is_ascii_whitespace());
        match (first, whole) {
            (Some(b'{' | b'['), true) => Self::of_json(bytes, to),
            (Some(b'{' | b'['), false) => Self::Unread,
            // What begins otherwise is no message, wherever it would have gone on to.
            (Some(_), false) => Self::Nothing,
            (Some(_) | None, true) if content_type == "application/json" => Self::Nothing,
            (Some(_) | None, true) => String::from_utf8(bytes.into()).map_or(Self::Nothing, Self::Words),
            (None, false) if is_page(&content_type) => Self::Nothing,
            (None, false) => Self::Unread,
        }
    }

    /// Of an object or a list that is whole.
    fn of_json(body: Bytes, asked: Option<u64>) -> Self {
        let is_json =
            std::str::from_utf8(&body).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        if !is_json {
            return Self::Unread;
        }
        let (mut answers, mut hollow) = (Vec::new(), false);
        let decoded = decode_exchange(
            body.clone(),
            asked,
            |_| false,
            |message| match message {
                Message::Response(Answer { id, outcome }) => answers.push((id, outcome.err())),
                // Some servers make up an id, such as "server-error", where they know of none.
                Message::Foreign { outcome, .. } => answers.push((None, outcome.err())),
                // It has an id and says nothing: whoever wrote it has read the request.
                Message::MissingOutcome { .. } => hollow = true,
                Message::Request { .. } | Message::Notification { .. } => {}
            },
        );
        match (decoded, answers.len()) {
            (Ok(()), 1) if !hollow => {
                let (to, error) = answers.remove(0);
                Self::Answer { frame: body, to, error }
            }
            (Ok(()), 0) if !hollow => sentence(text_of(&body)).map_or(Self::Nothing, Self::Words),
            // Of several, one may be the answer.
            (Ok(()), _) => Self::Unread,
            // Who names the protocol may be the server, and have carried the request out by then.
            (Err(_), 0) if names_protocol(text_of(&body)) => Self::Unread,
            (Err(malformed), 0) if !hollow => {
                let words = sentence(text_of(&body)).or(malformed.words().map(str::to_owned));
                let words = words.filter(|words| !words.is_empty());
                let claimed = names_request(text_of(&body));
                words.map_or(Self::Nothing, if claimed { Self::Misaddressed } else { Self::Words })
            }
            // One element of it is no message, and another may be the answer.
            (Err(_), _) => Self::Unread,
        }
    }

    /// Of the events of a stream. What is no whole answer may have been one, and of several any.
    fn of_events(body: &Bytes, whole: bool, to: Option<u64>) -> Self {
        let mut events = Events::new(REFUSAL_BYTES_MAX);
        events.feed(body);
        let (mut found, mut words) = (None, None);
        while let Ok(Some(event)) = events.next() {
            match Self::of_event(event.data, to) {
                answer @ Self::Answer { .. } if found.is_none() => found = Some(answer),
                Self::Answer { .. } | Self::Unread => return Self::Unread,
                said @ (Self::Words(_) | Self::Misaddressed(_)) => words = words.or(Some(said)),
                Self::Nothing => {}
            }
        }
        // The last event may have been cut off.
        let ended = ["\n\n", "\r\n\r\n", "\r\r"].iter().any(|end| body.ends_with(end.as_bytes()));
        match found.or(words) {
            None if whole && body.trim_ascii().is_empty() => Self::Nothing,
            said if whole && ended => said.unwrap_or(Self::Nothing),
            Some(answer @ Self::Answer { .. }) if whole => answer,
            Some(_) | None => Self::Unread,
        }
    }

    /// Of one event: a message, or a sentence as it is.
    fn of_event(data: Bytes, to: Option<u64>) -> Self {
        match data.iter().find(|byte| !byte.is_ascii_whitespace()) {
            None => Self::Nothing,
            Some(b'{' | b'[') => Self::of_json(data, to),
            Some(_) => String::from_utf8(data.into()).map_or(Self::Unread, Self::Words),
        }
    }

    /// What it says in words, as far as they are shown with the `status`. A page for people says nothing that fits a line.
    pub(super) fn words(&self, status: StatusCode) -> Option<String> {
        let words = match self {
            Self::Words(words) | Self::Misaddressed(words) => words.trim(),
            Self::Answer { error: Some(error), .. } => error.message.trim(),
            Self::Answer { error: None, .. } | Self::Unread | Self::Nothing => return None,
        };
        let is_status = |words: &str| {
            let words = words.strip_prefix(status.as_str()).unwrap_or(words);
            let words = words.trim_matches([' ', ':', '.', '!']);
            words.is_empty()
                || status.canonical_reason().is_some_and(|reason| reason.eq_ignore_ascii_case(words))
        };
        let fits = !(words.is_empty() || words.starts_with('<') || is_status(words));
        fits.then(|| quoted(words))
    }

    /// Whether it is the answer to this request, whose writer has read that; or may be.
    pub(super) fn may_answer(&self, request: u64) -> bool {
        match self {
            Self::Answer { to, .. } => *to == Some(request),
            Self::Unread => true,
            Self::Words(_) | Self::Misaddressed(_) | Self::Nothing => false,
        }
    }

    /// Of what came as the answer to the request `to`.
    pub(super) fn of_answer(frame: &Bytes, to: Option<u64>) -> Self {
        let read = (frame.len() <= SENTENCE_BYTES_MAX).then(|| Self::of_json(frame.clone(), to));
        // What is no message ends no call. What has an error and nothing else of a message ends one.
        let is_error = || has_error(frame);
        let ends =
            |said: &Self| matches!(said, Self::Answer { .. }) || matches!(said, Self::Words(_)) && is_error();
        read.filter(ends).unwrap_or(Self::Nothing)
    }

    /// Whether it says that its `session` is not known and names no request, whatever its status. That leaves open whether the
    /// request was carried out, which is not made again; but further ones would fare alike.
    pub(super) fn doubts_session(&self, session: &HeaderValue) -> bool {
        match self {
            Self::Words(words) => is_about_it(words, session),
            Self::Answer { error: Some(error), to: None, .. } => is_about_it(&error.message, session),
            Self::Answer { .. } | Self::Misaddressed(_) | Self::Unread | Self::Nothing => false,
        }
    }

    /// Whether a server that says so with `status` did not carry out a request, since it does not know its `session`. `asks`:
    /// the request was a message, and not the wish for the rest of a stream, for which the server may have no address.
    pub(super) fn knows_no_session(&self, status: StatusCode, session: &HeaderValue, asks: bool) -> bool {
        // By the protocol it is 404; some say that what is over is gone.
        let gone = matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
        let refused = matches!(status.as_u16(), 400 | 409 | 412 | 422 | 428 | 440);
        if !(gone || refused) {
            return false;
        }
        match self {
            // It may be the answer.
            Self::Unread => false,
            Self::Nothing | Self::Misaddressed(_) => gone && asks,
            Self::Words(words) => gone && asks || is_about_it(words, session),
            // It was carried out.
            Self::Answer { error: None, to, .. } => gone && to.is_none() && asks,
            // What has read the id of a request may have carried it out.
            Self::Answer { error: Some(error), to: Some(_), .. } => {
                CODES.contains(&error.code) && is_exactly(&error.message)
            }
            Self::Answer { error: Some(error), to: None, .. } => {
                gone && asks || is_about_it(&error.message, session)
            }
        }
    }
}

/// Whether a content type is that of a page for people, or of a picture, and of no answer.
fn is_page(content_type: &str) -> bool {
    let kind = content_type.split('/').next().unwrap_or_default();
    matches!(
        content_type,
        "text/html" | "text/css" | "application/xhtml+xml" | "application/xml" | "text/xml"
    ) || matches!(kind, "image" | "audio" | "video" | "font")
}

/// Whether these are an SDK's words, and no others.
fn is_exactly(words: &str) -> bool {
    let words = words.trim().to_lowercase();
    let bare = PREFIXES.iter().find_map(|prefix| words.strip_prefix(prefix)).unwrap_or(&words);
    WORDS.contains(&bare)
}

/// Whether a sentence says that this session is not known, and speaks of nothing else.
fn is_about_it(words: &str, session: &HeaderValue) -> bool {
    let words = match session.to_str() {
        Ok(id) if !id.is_empty() => words.replace(id, " "),
        Ok(_) | Err(_) => words.to_owned(),
    };
    let words = words.to_lowercase();
    let between = |c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_' | '\''));
    let (mut subject, mut lack) = (false, false);
    let words = words.split(between).map(|word| word.trim_matches('\'')).filter(|word| !word.is_empty());
    for word in words {
        let is_among = |words: &str| words.split(' ').any(|known| known == word);
        let (is_subject, is_lack) = (is_among(SUBJECTS), is_among(LACKS));
        if !(is_subject || is_lack || is_among(BESIDE)) {
            return false;
        }
        subject |= is_subject;
        lack |= is_lack;
    }
    subject && lack
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content_type: &str, bytes: impl AsRef<[u8]>) -> Said {
        let bytes = Bytes::copy_from_slice(bytes.as_ref());
        Said::of(Body { content_type: content_type.to_owned(), encoded: false, bytes, whole: true }, Some(7))
    }

    fn cut_off(content_type: &str, bytes: impl AsRef<[u8]>) -> Said {
        let bytes = Bytes::copy_from_slice(bytes.as_ref());
        Said::of(Body { content_type: content_type.to_owned(), encoded: false, bytes, whole: false }, Some(7))
    }

    fn believed(status: u16, content_type: &str, body: &str) -> bool {
        let said = of(content_type, body);
        let session = HeaderValue::from_static("s-1f00");
        said.knows_no_session(StatusCode::from_u16(status).expect("a status"), &session, true)
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
    fn what_may_be_an_answer_is_one_or_unread_whatever_its_type_and_says_nothing_of_a_session() {
        let answer = error("7", -32050, "charged the card");
        let event = format!("event: message\ndata: {answer}\n\n");
        for content_type in [JSON, "text/event-stream", "text/plain", "application/problem+json", ""] {
            let said = |body: &str| of(content_type, body);
            let whole = said(if content_type == "text/event-stream" { &event } else { &answer });
            assert!(matches!(whole, Said::Answer { to: Some(7), .. }), "{content_type}: {whole:?}");
            assert!(whole.may_answer(7) && !whole.may_answer(8), "{content_type}");
            for cut in [&answer[..answer.len() - 9], &event[..event.len() - 9]] {
                assert_eq!(said(cut), Said::Unread, "{content_type}: {cut}");
                assert!(!believed(404, content_type, cut), "{content_type}: {cut}");
            }
        }
        assert!(matches!(of("", &event), Said::Answer { to: Some(7), .. }));
        assert_eq!(of("text/event-stream", ""), Said::Nothing);
        let words = |body: &str| match of("text/event-stream", body) {
            Said::Words(words) => words,
            other => panic!("{body}: {other:?}"),
        };
        assert_eq!(words("data: slow down\n\n"), "slow down");
        assert_eq!(words("event: error\r\ndata: {\"error\":\"token expired\"}\r\n\r\n"), "token expired");
        assert_eq!(words(": hello\n\ndata: {\"detail\":\"slow\"}\n\n"), "slow");
        // What comes after the words may be the answer, and cut off.
        assert_eq!(
            of("text/event-stream", "data: slow down\n\ndata: {\"jsonrpc\":\"2.0\",\"id\":7"),
            Said::Unread
        );
        assert_eq!(
            of("text/event-stream", format!("data: slow down\n\n{event}").replace("\"id\":7", "\"id\":")),
            Said::Unread
        );
    }

    #[test]
    fn what_a_body_is_taken_for_is_seen_by_how_it_begins() {
        let answer = error("7", -32050, "charged the card");
        let event = format!("data: {answer}\n\n");
        for content_type in [JSON, "text/html", "text/plain", "application/octet-stream", ""] {
            let marked = [BYTE_ORDER_MARK, answer.as_bytes()].concat();
            assert!(matches!(of(content_type, &marked), Said::Answer { to: Some(7), .. }), "{content_type}");
            let no_text = [&answer.as_bytes()[..40], b"\xff\xfe", &answer.as_bytes()[40..]].concat();
            let other = error("8", -1, "x");
            let unread: [&[u8]; 8] = [
                format!("[{answer},{{}}]").into_bytes().leak(),
                format!(": hello\n{}", &event[..20]).into_bytes().leak(),
                format!("\n\nretry: 3\n{}", &event[..20]).into_bytes().leak(),
                &no_text,
                br#"{"jsonrpc":"2.0","id":7}"#,
                format!("[{answer},{other}]").into_bytes().leak(),
                format!("{event}data: {other}\n\n").into_bytes().leak(),
                format!("id: 3\n{}", &event[..20]).into_bytes().leak(),
            ];
            for body in unread {
                assert_eq!(of(content_type, body), Said::Unread, "{content_type} {body:?}");
            }
            for body in [&answer[..30], "  {", "[", "\u{feff}{\"jsonrpc\"", "data: {", "id: 1\ndata:"] {
                assert_eq!(cut_off(content_type, body), Said::Unread, "{content_type} {body}");
            }
            for body in ["<html>", "Bad Gateway: ", "\"a text", "<!doctype html><title>{"] {
                assert_eq!(cut_off(content_type, body), Said::Nothing, "{content_type} {body}");
            }
            let page = content_type == "text/html";
            let nothing_came = if page { Said::Nothing } else { Said::Unread };
            assert_eq!(cut_off(content_type, ""), nothing_came, "{content_type}");
            let body = |bytes: &'static [u8]| Body {
                content_type: content_type.to_owned(),
                encoded: true,
                bytes: Bytes::from_static(bytes),
                whole: true,
            };
            assert_eq!(Said::of(body(b"\x1f\x8b\x08"), Some(7)), Said::Unread, "{content_type}");
            assert_eq!(Said::of(body(b""), Some(7)), Said::Nothing, "{content_type}");
        }
    }

    #[test]
    fn pages_and_pictures_are_no_answers() {
        for (content_type, page) in
            [("text/html", true), ("image/png", true), ("text/plain", false), ("", false)]
        {
            assert_eq!(is_page(content_type), page, "{content_type}");
        }
    }

    #[test]
    fn no_other_status_says_that_a_session_is_lost() {
        for status in 100..1000 {
            let refuses = [400, 404, 409, 410, 412, 422, 428, 440].contains(&status);
            assert_eq!(
                believed(status, JSON, &error("null", -32001, "Session not found")),
                refuses,
                "{status}"
            );
            assert_eq!(believed(status, "text/plain", "Session not found"), refuses, "{status}");
            assert_eq!(believed(status, "", ""), [404, 410].contains(&status), "{status}");
        }
    }

    #[test]
    fn a_bad_request_that_says_something_else_is_no_lost_session() {
        assert!(!believed(400, JSON, &error("null", -32000, "the database session was closed")));
        assert!(!believed(400, JSON, &error("null", -32001, "the session of the user was not found")));
        assert!(!believed(400, JSON, &error("null", -32602, "no such record")));
        assert!(!believed(400, JSON, r#"{"detail":"checkout session expired"}"#));
        assert!(!believed(400, "text/plain", "session"));
        assert!(!believed(400, "text/html", "<html>Invalid session</html>"));
        assert!(!believed(400, "text/plain", "no valid session id provided by the browser"));
        assert!(!believed(400, "", ""));
    }

    #[test]
    fn what_other_servers_say_of_an_unknown_session_is_believed_where_they_speak_of_nothing_else() {
        for words in [
            "Invalid session",
            "Session expired or not found.",
            "Unknown session: s-1f00",
            "No session with ID s-1f00 found",
            "Session 's-1f00' does not exist",
            "Session terminated",
            "Session ID missing in request",
            "Session ID required in mcp-session-id header",
            "A valid session id is REQUIRED for non-initialize requests.",
            "No transport was found for sessionId",
            "Bad Request: Server not initialized",
            "Session not found, please re-initialize",
        ] {
            for status in [400, 404, 422] {
                assert!(believed(status, "text/plain", words), "{words}");
                assert!(believed(status, JSON, &error("null", -32004, words)), "{words}");
                assert!(believed(status, JSON, &error("\"server-error\"", -32602, words)), "{words}");
                let quoted = words.replace('"', "\\\"");
                for member in ["error", "detail", "message"] {
                    assert!(
                        believed(status, JSON, &format!(r#"{{"{member}":"{quoted}"}}"#)),
                        "{member} {words}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_stream_that_has_no_address_is_no_lost_session_unless_the_server_says_so() {
        let session = HeaderValue::from_static("s-1f00");
        let told = |content_type, body: &'static str| {
            let said = of(content_type, body);
            said.knows_no_session(StatusCode::NOT_FOUND, &session, false)
        };
        assert!(!told("", "") && !told("text/html", "<html>Cannot GET /mcp</html>"));
        assert!(!told(JSON, r#"{"detail":"Not Found"}"#));
        assert!(told("text/plain", "session not found"));
    }
}
