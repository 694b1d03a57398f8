//! The JSON-RPC 2.0 envelope, read without touching what it carries.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::RpcError;
use crate::json::RawJson;

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// An answer to a request of ours.
    Response(Response),
    /// An answer to a request of ours that has neither result nor error.
    Hollow {
        /// The id of the request.
        id: u64,
    },
    /// The peer asks something. Its ids are a space of their own: whatever has a method is no answer.
    Request {
        /// The peer's id, echoed verbatim in the answer.
        id: RawJson,
        /// What it asks.
        method: String,
        /// With what.
        params: Option<RawJson>,
    },
    /// The peer tells something.
    Notification {
        /// What it tells.
        method: String,
        /// With what.
        params: Option<RawJson>,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The id of our request; none where it is null, missing, or of a kind that we never give.
    pub id: Option<u64>,
    /// The result, a slice of the frame; or the error. Where a peer sends both, the error counts.
    pub outcome: Result<RawJson, RpcError>,
}

/// A frame that is no JSON-RPC message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no JSON-RPC message: {reason}")]
pub struct Malformed {
    /// What is wrong, without the frame's content.
    pub reason: String,
}

/// The members of an envelope, borrowed from its frame.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    // Not an Option: `"result": null` is a result.
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// Tells a null from a missing member.
fn present<'de: 'a, 'a, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// An error object, with whatever of it is in order.
#[derive(Deserialize)]
struct WrittenError<'a> {
    #[serde(borrow, default)]
    code: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// Reads a frame and gives each message in it to `each`: usually one; a batch of 2025-03-26 has several, and one bad
/// element does not hide the good ones.
///
/// # Errors
/// [`Malformed`] if the frame, or an element of it, is no JSON-RPC message.
pub fn decode(frame: Bytes, mut each: impl FnMut(Incoming)) -> Result<(), Malformed> {
    if frame.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
        return message(&frame, &frame).map(each);
    }
    let elements: Vec<&RawValue> = serde_json::from_slice(&frame).map_err(|error| malformed(&error))?;
    let mut worst = if elements.is_empty() { Err(Malformed { reason: "an empty batch".to_owned() }) } else { Ok(()) };
    for element in elements {
        match message(&frame, element.get().as_bytes()) {
            Ok(incoming) => each(incoming),
            Err(malformed) => worst = Err(malformed),
        }
    }
    worst
}

fn malformed(error: &serde_json::Error) -> Malformed {
    // serde_json's sentence names line and column, and may quote a value: the place is enough.
    Malformed { reason: format!("{:?} error at column {}", error.classify(), error.column()).to_lowercase() }
}

/// Reads one message, which is a part of `frame`.
fn message(frame: &Bytes, text: &[u8]) -> Result<Incoming, Malformed> {
    let envelope: Envelope<'_> = serde_json::from_slice(text).map_err(|error| malformed(&error))?;
    let slice = |raw: &RawValue| slice_of(frame, raw);
    let Envelope { id, method, params, result, error } = envelope;
    let id = id.filter(|id| id.get() != "null");
    if let Some(method) = method {
        let (method, params) = (method.into_owned(), params.map(slice));
        return Ok(match id {
            Some(id) => Incoming::Request { id: slice(id), method, params },
            None => Incoming::Notification { method, params },
        });
    }
    let outcome = match (error.filter(|error| error.get() != "null"), result) {
        (Some(error), _) => Err(rpc_error(frame, error)),
        (None, Some(result)) => Ok(slice(result)),
        (None, None) => {
            let none = || Malformed { reason: "neither method nor result nor error".to_owned() };
            return own_id(id).map(|id| Incoming::Hollow { id }).ok_or_else(none);
        }
    };
    Ok(Incoming::Response(Response { id: own_id(id), outcome }))
}

/// An id, if it is of the kind that we give.
fn own_id(id: Option<&RawValue>) -> Option<u64> {
    id.and_then(|id| id.get().parse().ok())
}

/// The part of the frame that `raw` borrows, shared and not copied.
pub(super) fn slice_of(frame: &Bytes, raw: &RawValue) -> RawJson {
    RawJson::trusted(frame.slice_ref(raw.get().as_bytes()))
}

/// An error is an error also where its members are missing or odd.
fn rpc_error(frame: &Bytes, raw: &RawValue) -> RpcError {
    let written: WrittenError<'_> = serde_json::from_str(raw.get()).unwrap_or(WrittenError {
        code: None,
        message: Some(raw),
        data: None,
    });
    let text = |raw: &RawValue| {
        serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_| raw.get().to_owned())
    };
    RpcError {
        code: written.code.and_then(|code| code.get().parse().ok()).unwrap_or_default(),
        message: written.message.map(text).unwrap_or_default(),
        data: written.data.map(|data| slice_of(frame, data)),
    }
}

/// Writes one message of ours.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// Begins a request.
    pub fn request(id: u64, method: &str, room: usize) -> Self {
        let mut writer = Self(Vec::with_capacity(64 + method.len() + room));
        writer.raw(r#"{"jsonrpc":"2.0","id":"#).number(id).raw(r#","method":"#).string(method);
        writer
    }

    /// Begins a notification.
    pub fn notification(method: &str) -> Self {
        let mut writer = Self(Vec::with_capacity(128));
        writer.raw(r#"{"jsonrpc":"2.0","method":"#).string(method);
        writer
    }

    /// Begins an answer.
    pub fn answer(id: &RawJson) -> Self {
        let mut writer = Self(Vec::with_capacity(128));
        writer.raw(r#"{"jsonrpc":"2.0","id":"#).raw(id.as_str());
        writer
    }

    /// Text that is JSON already.
    pub fn raw(&mut self, json: &str) -> &mut Self {
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    /// A whole number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        serde_json::to_writer(&mut self.0, &number).expect("a number is JSON, and a vector takes every write");
        self
    }

    /// A string, escaped.
    pub fn string(&mut self, text: &str) -> &mut Self {
        serde_json::to_writer(&mut self.0, text).expect("a string is JSON, and a vector takes every write");
        self
    }

    /// Ends the message.
    pub fn finish(&mut self) -> Bytes {
        self.0.push(b'}');
        std::mem::take(&mut self.0).into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(frame: &str) -> (Vec<Incoming>, Result<(), Malformed>) {
        let mut seen = Vec::new();
        let decoded = decode(Bytes::copy_from_slice(frame.as_bytes()), |incoming| seen.push(incoming));
        (seen, decoded)
    }

    fn one(frame: &str) -> Incoming {
        let (mut seen, decoded) = all(frame);
        decoded.unwrap();
        assert_eq!(seen.len(), 1);
        seen.remove(0)
    }

    fn response(frame: &str) -> Response {
        match one(frame) {
            Incoming::Response(response) => response,
            other => panic!("{other:?} is no response"),
        }
    }

    #[test]
    fn a_result_is_the_exact_text_of_the_frame_and_shares_its_bytes() {
        let text = r#"{"z":1.000000000000000000010, "a":[1e999,"\u00e9"],"z":2}"#;
        let frame = Bytes::from(format!(r#" {{"id":7,"jsonrpc":"2.0", "result" : {text} }}"#));
        let mut seen = None;
        decode(frame.clone(), |incoming| seen = Some(incoming)).unwrap();
        let Some(Incoming::Response(Response { id: Some(7), outcome: Ok(result) })) = seen else { panic!() };
        assert_eq!(result.as_str(), text);
        assert!(frame.as_ptr_range().contains(&result.as_bytes().as_ptr()), "it was copied");
    }

    #[test]
    fn null_is_a_result() {
        assert_eq!(response(r#"{"id":1,"result":null}"#).outcome.unwrap().as_str(), "null");
    }

    #[test]
    fn an_id_that_we_never_gave_is_no_id() {
        for id in ["null", "\"7\"", "-1", "1.5", "18446744073709551616", "{}"] {
            assert_eq!(response(&format!(r#"{{"id":{id},"result":1}}"#)).id, None, "{id}");
        }
        assert_eq!(response(r#"{"result":{"version":"1.0.0"}}"#).id, None);
    }

    #[test]
    fn an_error_counts_whatever_it_lacks() {
        let error = response(r#"{"id":1,"error":{"code":0,"message":"Request cancelled"}}"#).outcome.unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (0, "Request cancelled"));
        assert_eq!(response(r#"{"id":1,"error":"bad"}"#).outcome.unwrap_err().message, "bad");
        assert_eq!(response(r#"{"id":1,"error":{}}"#).outcome.unwrap_err().code, 0);
        assert!(response(r#"{"id":1,"result":1,"error":{"code":5}}"#).outcome.is_err());
        assert!(response(r#"{"id":1,"result":1,"error":null}"#).outcome.is_ok());
        let data = response(r#"{"id":1,"error":{"code":1,"message":"","data":{"a":1.0}}}"#).outcome.unwrap_err().data;
        assert_eq!(data.unwrap().as_str(), r#"{"a":1.0}"#);
    }

    #[test]
    fn an_answer_without_an_outcome_still_names_its_request() {
        assert_eq!(one(r#"{"id":7}"#), Incoming::Hollow { id: 7 });
    }

    #[test]
    fn whatever_has_a_method_is_no_answer() {
        assert!(matches!(one(r#"{"id":0,"method":"ping"}"#), Incoming::Request { .. }));
        assert!(matches!(one(r#"{"id":null,"method":"x"}"#), Incoming::Notification { .. }));
        assert!(matches!(one(r#"{"method":"x","params":{}}"#), Incoming::Notification { params: Some(_), .. }));
    }

    #[test]
    fn a_bad_element_of_a_batch_does_not_hide_the_good_ones() {
        let (seen, decoded) = all(r#"[{"id":1,"result":1},3,{"id":2,"result":2}]"#);
        assert_eq!(seen.len(), 2);
        assert!(decoded.is_err());
        assert!(all("[]").1.is_err());
    }

    #[test]
    fn what_is_no_message_is_told_without_its_content() {
        for frame in ["", "{", "null", "7", "\"secret\"", "{}", r#"{"id":"x"}"#, r#"{"id":1,"result":"#, "\u{feff}{}"] {
            let (_, decoded) = all(frame);
            let reason = decoded.unwrap_err().reason;
            assert!(!reason.contains("secret") && reason.len() < 100, "{frame}: {reason}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(bytes.into(), |_| {});
        }

        #[test]
        fn what_is_written_is_read_back(id in any::<u64>(), method in ".*", text in ".*") {
            let args = serde_json::to_string(&serde_json::json!({"text": text})).unwrap();
            let frame = Writer::request(id, &method, args.len()).raw(r#","params":"#).raw(&args).finish();
            let mut seen = Vec::new();
            decode(frame, |incoming| seen.push(incoming)).unwrap();
            let Incoming::Request { id: read, method: asked, params } = seen.remove(0) else { panic!() };
            prop_assert_eq!(read.as_str(), id.to_string());
            prop_assert_eq!(asked, method);
            let params = params.unwrap();
            prop_assert_eq!(params.as_str(), args);
        }
    }
}
