//! What one line of a client's is.

use bytes::Bytes;

use super::id::ClientId;
use crate::error::RpcError;
use crate::json::RawJson;
use crate::json::members::{NotOnce, each_element, given, members_once, string};
use crate::json::scan::{Fault, Scan};
use crate::protocol::envelope::{self, slice_of};

/// Levels of nesting of a message: as many as the parsers of most servers follow.
const DEPTH_MAX: usize = 128;

/// A message of a client's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ClientMessage {
    /// It asks something.
    Request {
        /// Its id, which the answer repeats.
        id: ClientId,
        /// What it asks.
        method: String,
        /// With what: an object, if there is anything.
        params: Option<RawJson>,
    },
    /// It tells something.
    Notification {
        /// What it tells.
        method: String,
        /// With what.
        params: Option<RawJson>,
    },
    /// It answers a request of ours.
    Response {
        /// The id that it answers, as it was written.
        id: RawJson,
        /// What it says.
        outcome: Result<RawJson, RpcError>,
    },
}

/// A line that is no message, and what is answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refused {
    /// The id of the request, where it is known.
    pub id: Option<ClientId>,
    /// Why.
    pub error: RpcError,
}

/// An error without data.
pub(super) fn rpc_error(code: i64, message: impl Into<String>) -> RpcError {
    RpcError { code, message: message.into(), data: None }
}

/// An error about the request as such.
pub(super) fn invalid(message: impl Into<String>) -> RpcError {
    rpc_error(RpcError::INVALID_REQUEST, message)
}

/// What is wrong with the members of `what`.
pub(super) fn not_once(what: &str, code: i64, wrong: NotOnce) -> RpcError {
    match wrong {
        NotOnce::NoObject => rpc_error(code, format!("{what} must be an object")),
        NotOnce::Twice(name) => {
            rpc_error(code, format!("{what} has the member {name:?} twice: send it once"))
        }
    }
}

/// Reads a line.
///
/// # Errors
/// What is answered where it is no message.
pub(crate) fn read(line: Bytes) -> Result<ClientMessage, Refused> {
    let refused = |error| Refused { id: None, error };
    let parse_error = |what: String| refused(rpc_error(RpcError::PARSE_ERROR, what));
    let text = std::str::from_utf8(&line)
        .map_err(|error| parse_error(format!("no UTF-8 at byte {}", error.valid_up_to())))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_ascii();
    if text.starts_with('[') {
        let whole = each_element(text, |_| ());
        whole.map_err(|fault| parse_error(format!("no JSON: {fault}")))?;
        return Err(refused(invalid("batches are not taken: send each message on a line of its own")));
    }
    if let Err(fault) = one_value(text) {
        return Err(parse_error(format!("no JSON: {fault}")));
    }
    let names = ["jsonrpc", "id", "method", "params", "result", "error"];
    let [protocol, id, method, params, result, error] = members_once(text, names)
        .map_err(|wrong| refused(not_once("the message", RpcError::INVALID_REQUEST, wrong)))?;
    let known = id.map(ClientId::read);
    let own = known.clone().and_then(Result::ok);
    let refused = |error| Refused { id: own.clone(), error };
    if depth(text) > DEPTH_MAX {
        return Err(refused(invalid(format!("the message is nested more than {DEPTH_MAX} levels deep"))));
    }
    if protocol.and_then(string).as_deref() != Some("2.0") {
        return Err(refused(invalid("the member \"jsonrpc\" must be \"2.0\"")));
    }
    let Some(method) = method else {
        let outcome = match (given(error), result) {
            (Some(error), _) => Err(envelope::rpc_error(&line, error)),
            (None, Some(result)) => Ok(slice_of(&line, result)),
            (None, None) => {
                return Err(refused(invalid("the message has neither a method nor a result nor an error")));
            }
        };
        // An error of the client's about something that it could not read names no request.
        let id = id.map_or_else(RawJson::null, |id| slice_of(&line, id));
        return Ok(ClientMessage::Response { id, outcome });
    };
    let Some(method) = string(method) else {
        return Err(refused(invalid("the method must be a string")));
    };
    let params = match given(params) {
        Some(params) if params.starts_with('{') => Some(slice_of(&line, params)),
        Some(_) => {
            let error = rpc_error(RpcError::INVALID_PARAMS, "the params must be an object");
            return Err(refused(error));
        }
        None => None,
    };
    match known {
        Some(Ok(id)) => Ok(ClientMessage::Request { id, method, params }),
        Some(Err(wrong)) => Err(refused(invalid(wrong))),
        None => Ok(ClientMessage::Notification { method, params }),
    }
}

/// Makes sure that a text is one JSON value.
fn one_value(text: &str) -> Result<(), Fault> {
    let mut scan = Scan::new(text);
    scan.value()?;
    scan.end()
}

/// Levels of nesting of a text that is JSON.
fn depth(text: &str) -> usize {
    let (mut deepest, mut depth, mut in_string, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Result<ClientMessage, Refused> {
        read(Bytes::copy_from_slice(text.as_bytes()))
    }

    fn refused(text: &str) -> (Option<String>, i64) {
        let Refused { id, error } = of(text).unwrap_err();
        (id.map(|id| id.as_str().to_owned()), error.code)
    }

    #[test]
    fn a_message_is_what_its_members_say() {
        let ClientMessage::Request { id, method, params } =
            of(r#" {"jsonrpc":"2.0","id":9007199254740993,"method":"ping","params":{"a":1.0}} "#).unwrap()
        else {
            panic!()
        };
        assert_eq!(
            (id.as_str(), &*method, params.unwrap().as_str()),
            ("9007199254740993", "ping", r#"{"a":1.0}"#)
        );
        assert!(matches!(
            of(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).unwrap(),
            ClientMessage::Notification { params: None, .. }
        ));
        let ClientMessage::Response { id, outcome } =
            of(r#"{"jsonrpc":"2.0","id":"x","result":null}"#).unwrap()
        else {
            panic!()
        };
        assert_eq!((id.as_str(), outcome.unwrap().as_str()), ("\"x\"", "null"));
    }

    #[test]
    fn what_is_no_json_has_no_id() {
        for text in ["{", "{}}", "nonsense", r#"{"jsonrpc":"2.0","id":1,"method":"ping""#, "[1,"] {
            assert_eq!(refused(text), (None, RpcError::PARSE_ERROR), "{text}");
        }
        let broken =
            read(Bytes::from_static(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}")).unwrap_err();
        assert_eq!((broken.id, broken.error.code), (None, RpcError::PARSE_ERROR));
    }

    #[test]
    fn what_is_json_and_no_message_is_an_invalid_request() {
        for text in [
            "[]",
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
            "7",
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"tools/list"}"#,
        ] {
            assert_eq!(refused(text), (None, RpcError::INVALID_REQUEST), "{text}");
        }
        for text in [
            r#"{"id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
        ] {
            assert_eq!(refused(text), (Some("1".to_owned()), RpcError::INVALID_REQUEST), "{text}");
        }
        let array = r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}"#;
        assert_eq!(refused(array), (Some("1".to_owned()), RpcError::INVALID_PARAMS));
    }

    proptest! {
        #[test]
        fn whatever_comes_is_a_message_or_is_told_why_not(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..64),
                "[\\[\\]{}:,\"0-9a-z\\\\ ]{0,64}".prop_map(String::into_bytes),
            ],
            member in prop_oneof![
                Just(("id", "null")), Just(("id", "[1]")), Just(("method", "7")), Just(("params", "[]")), Just(("result", "1")),
                Just(("error", "{}")), Just(("jsonrpc", "\"2.0\"")),
            ],
        ) {
            let told = read(Bytes::from(bytes.clone()));
            if serde_json::from_slice::<serde_json::Value>(&bytes).is_err() {
                // What this parser lets pass and another does not are numbers and halves of characters.
                if let Err(Refused { id, error }) = &told {
                    prop_assert!(id.is_none() || error.code != RpcError::PARSE_ERROR);
                }
            } else {
                prop_assert!(!matches!(&told, Err(refused) if refused.error.code == RpcError::PARSE_ERROR));
            }
            // A member that is there twice is refused, wherever it stands.
            let (key, value) = member;
            let twice = format!(r#"{{"{key}":{value},"x":[],"{key}":{value}}}"#);
            prop_assert_eq!(of(&twice).unwrap_err().error.code, RpcError::INVALID_REQUEST);
        }
    }

    #[test]
    fn nesting_has_a_bound_and_brackets_in_strings_are_no_nesting() {
        let message = |levels: usize, text: &str| {
            let (open, close) = ("[".repeat(levels), "]".repeat(levels));
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":{open}"{text}"{close}}}}}"#)
        };
        assert!(of(&message(DEPTH_MAX - 2, r#"[[[{{\"[["#)).is_ok());
        assert_eq!(refused(&message(DEPTH_MAX - 1, "")), (Some("1".to_owned()), RpcError::INVALID_REQUEST));
        assert_eq!(refused(&message(100_000, "")).1, RpcError::INVALID_REQUEST);
    }
}
