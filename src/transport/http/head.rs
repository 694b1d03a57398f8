//! What the head of an answer says. Its texts are the server's: they are told, and so cut short.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::headers::SESSION_ID;
use crate::config::shown_location;
use crate::net::retry_after;
use crate::refusal::Refusal;

/// The most of a header that is told.
const TOLD_CHARS_MAX: usize = 256;

/// The longest session id that is sent back with every request. Some servers keep a whole encrypted state in it, of 4 KiB and
/// more; common servers take 8 KiB and more of headers.
const SESSION_ID_BYTES_MAX: usize = 8 << 10;

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn brief(text: &str) -> String {
    text.chars().take(TOLD_CHARS_MAX).collect()
}

/// The content type without its parameters.
pub(super) fn content_type(headers: &HeaderMap) -> String {
    let value = text(headers, CONTENT_TYPE).unwrap_or_default();
    brief(value.split(';').next().unwrap_or_default().trim()).to_ascii_lowercase()
}

/// An encoding of the content that was not asked for.
pub(super) fn encoding(headers: &HeaderMap) -> Option<String> {
    text(headers, CONTENT_ENCODING).filter(|encoding| *encoding != "identity").map(brief)
}

/// The session that the server begins, which may be too long to be sent back.
pub(super) fn session(headers: &HeaderMap) -> Result<Option<HeaderValue>, String> {
    let Some(id) = headers.get(SESSION_ID) else { return Ok(None) };
    if id.len() > SESSION_ID_BYTES_MAX {
        return Err(format!("its session id has more than {SESSION_ID_BYTES_MAX} bytes"));
    }
    let mut id = id.clone();
    id.set_sensitive(true);
    Ok(Some(id))
}

/// What a status means that is no success.
pub(super) fn refusal(status: StatusCode, headers: &HeaderMap) -> Refusal {
    let location = text(headers, LOCATION).map(|location| brief(&shown_location(location)));
    Refusal::new(status.as_u16(), location, retry_after(headers))
}
