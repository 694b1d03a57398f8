//! The headers of the protocol, and how values that are no plain text travel in them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderName, HeaderValue};

/// The protocol version, on every request once it is known.
pub(super) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// The method of a modern request.
pub(super) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// What a modern request is about.
pub(super) const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// The session of a legacy server.
pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// The last event that was received of a stream.
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// How the headers begin into which parameters are mirrored.
pub(super) const PARAM_PREFIX: &str = "mcp-param-";

/// The two kinds of answers to a message.
pub(super) const JSON_OR_EVENTS: HeaderValue =
    HeaderValue::from_static("application/json, text/event-stream");
/// What a stream is asked for as.
pub(super) const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
/// What a body may be encoded as.
pub(super) const IDENTITY: HeaderValue = HeaderValue::from_static("identity");
/// What a message is sent as.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Headers that the transport itself sets.
pub(super) const RESERVED: [&str; 15] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// How a value begins and ends that is written in base64.
const ENCODED: (&str, &str) = ("=?base64?", "?=");

/// A value as a header carries it: plain ASCII as it is; in base64 what is not, what a receiver would trim, and what looks
/// like base64 already.
pub(super) fn value(text: &str) -> HeaderValue {
    let plain = text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    let padded = text.trim_matches([' ', '\t']).len() != text.len();
    let looks_encoded = text.len() >= ENCODED.0.len() + ENCODED.1.len()
        && text.starts_with(ENCODED.0)
        && text.ends_with(ENCODED.1);
    let written = if plain && !padded && !looks_encoded {
        text.to_owned()
    } else {
        format!("{}{}{}", ENCODED.0, STANDARD.encode(text), ENCODED.1)
    };
    HeaderValue::try_from(written).expect("visible ASCII, blanks and base64 are allowed in headers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_travel_as_they_are_and_others_in_base64() {
        for plain in ["us-west1", "a b", "", "42", "=?base64?", "x\ty"] {
            assert_eq!(value(plain), plain);
        }
        assert_eq!(value("Grüße"), "=?base64?R3LDvMOfZQ==?=");
        assert_eq!(value(" padded "), "=?base64?IHBhZGRlZCA=?=");
        assert_eq!(value("a\r\nb"), "=?base64?YQ0KYg==?=");
        assert_eq!(value("=?base64?eA==?="), "=?base64?PT9iYXNlNjQ/ZUE9PT89?=");
    }
}
