//! The JSON-RPC 2.0 envelope, read without touching what it carries.
//!
//! Reading is generous, since a message that is refused leaves its caller waiting: `jsonrpc` is not looked at, unknown
//! members are passed over, of a member that is given twice the last counts, and an odd error is still an error. What a
//! message is follows from what it has:
//!
//! | it has | it is |
//! | --- | --- |
//! | a method and an id | a request |
//! | a method | a notification |
//! | an error, whatever else | a response: the error |
//! | a result | a response: the result |
//! | only an id of ours | hollow |
//! | none of these | malformed |
//!
//! An id of ours is a whole number: `7`, and `7.0`, which is the same one. Some servers echo it as text: `"7"` is taken for
//! it, and no other text is. What answers another id is told apart, since its caller waits in vain. A byte order mark before a
//! message is passed over.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::RpcError;
use crate::json::RawJson;
use crate::json::members::{each_element, given, members, string};
use crate::json::scan::{Fault, Scan};
use crate::peer_text::{ELLIPSIS, OneLine, cut};

/// What programs on .NET and PowerShell write before their first line, unless they are told not to.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// How the reason begins for which what somebody says in place of an answer is none.
const WORDS: &str = "it is no JSON-RPC message, and says: ";

/// What is shown of what a peer says that is no message, in bytes.
const WORDS_BYTES_MAX: usize = 200;

/// Whole numbers from here on have neighbours that a floating-point number cannot tell apart.
const EXACT_BELOW: f64 = (1_u64 << 53) as f64;

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// An answer to a request of ours.
    Response(Response),
    /// An answer to an id that we never give: a text, a fraction, an object.
    Foreign {
        /// The id as the peer wrote it.
        id: RawJson,
        /// What it says.
        outcome: Result<RawJson, RpcError>,
    },
    /// An answer to a request of ours that has neither result nor error.
    MissingOutcome {
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

impl Incoming {
    /// The request that it answers, where it is an answer that names one.
    pub(crate) fn answered(&self) -> Option<u64> {
        match self {
            Self::Response(response) => response.id,
            Self::MissingOutcome { id } => Some(*id),
            Self::Foreign { .. } | Self::Request { .. } | Self::Notification { .. } => None,
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    /// The id of our request; none where it is null or missing.
    pub id: Option<u64>,
    /// The result, a slice of the frame; or the error. Where a peer sends both, the error counts.
    pub outcome: Result<RawJson, RpcError>,
}

/// A frame that is no JSON-RPC message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no JSON-RPC message: {reason}")]
pub(crate) struct Malformed {
    /// What is wrong, and the sentence in the frame where there is one, which is untrusted and may have a secret in it.
    pub reason: String,
}

impl Malformed {
    /// What somebody says in place of an answer, where it is that.
    pub(crate) fn words(&self) -> Option<&str> {
        self.reason.strip_prefix(WORDS)
    }
}

/// Reads a frame and gives each message in it to `each`: usually one; a batch of 2025-03-26 has several, and one bad
/// element does not hide the good ones. A batch is read as it goes: where it breaks off, what came before is given out.
///
/// # Errors
/// [`Malformed`] if the frame, or an element of it, is no JSON-RPC message; of several bad elements, the first.
pub(crate) fn decode(frame: Bytes, each: impl FnMut(Incoming)) -> Result<(), Malformed> {
    decode_by(message, frame, each)
}

/// The same of what came on the exchange of the request `to`, where gateways may answer in place of the peer: an error of
/// theirs is no message. Of other ids `given` says whether they were ever given to a request: their answers came to a wrong place.
///
/// # Errors
/// As [`decode`].
pub(crate) fn decode_exchange(
    frame: Bytes,
    to: Option<u64>,
    given: impl Fn(u64) -> bool,
    each: impl FnMut(Incoming),
) -> Result<(), Malformed> {
    decode_by(|frame, text| message_of_peer(frame, text, to, &given), frame, each)
}

fn decode_by(
    message: impl Fn(&Bytes, &str) -> Result<Incoming, Malformed>,
    frame: Bytes,
    mut each: impl FnMut(Incoming),
) -> Result<(), Malformed> {
    // Once for the whole frame; the parser need not check its slices again.
    let text = std::str::from_utf8(&frame)
        .map_err(|error| Malformed { reason: format!("no UTF-8 at byte {}", error.valid_up_to()) })?;
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    if !text.trim_ascii_start().starts_with('[') {
        return message(&frame, text).map(each);
    }
    // Read one by one: a vector of the elements could be many times larger than the frame.
    let mut empty = true;
    let mut judged = Ok(());
    let read = each_element(text, |element| {
        empty = false;
        match message(&frame, element) {
            Ok(incoming) => each(incoming),
            // Of several bad ones, the first is told.
            Err(malformed) if judged.is_ok() => judged = Err(malformed),
            Err(_) => {}
        }
    });
    read.map_err(malformed)?;
    if empty { Err(Malformed { reason: "an empty batch".to_owned() }) } else { judged }
}

/// Reads a frame that is all a peer has to say to the request `to`: an error in it that names no request of ours is its
/// answer, since servers make ids up for errors that they have before they have read the request.
///
/// # Errors
/// As [`decode_exchange`].
pub(crate) fn decode_answer(
    frame: Bytes,
    to: u64,
    given: impl Fn(u64) -> bool,
    mut each: impl FnMut(Incoming),
) -> Result<(), Malformed> {
    decode_exchange(frame, Some(to), given, |incoming| {
        each(match incoming {
            Incoming::Response(Response { id: None, outcome: Err(error) })
            | Incoming::Foreign { outcome: Err(error), .. } => {
                Incoming::Response(Response { id: Some(to), outcome: Err(error) })
            }
            other => other,
        });
    })
}

fn malformed(fault: Fault) -> Malformed {
    Malformed { reason: fault.to_string() }
}

/// Reads one message, which is a part of `frame`.
fn message(frame: &Bytes, text: &str) -> Result<Incoming, Malformed> {
    // The usual ones first.
    let names = ["id", "result", "error", "method", "params"];
    let [id, result, error, method, params] = members(text, names).map_err(malformed)?;
    let id = given(id);
    if let Some(method) = given(method) {
        let method =
            string(method).ok_or_else(|| Malformed { reason: "its method is no text".to_owned() })?;
        let params = given(params).map(|params| slice_of(frame, params));
        return Ok(match id {
            Some(id) => Incoming::Request { id: slice_of(frame, id), method, params },
            None => Incoming::Notification { method, params },
        });
    }
    let outcome = match (given(error), result) {
        (Some(error), _) => Err(rpc_error(frame, error)),
        // `"result": null` is a result.
        (None, Some(result)) => Ok(slice_of(frame, result)),
        (None, None) => {
            let none = || Malformed { reason: "neither method nor result nor error".to_owned() };
            return own_id(id).map(|id| Incoming::MissingOutcome { id }).ok_or_else(none);
        }
    };
    Ok(match (id, own_id(id)) {
        (Some(id), None) => Incoming::Foreign { id: slice_of(frame, id), outcome },
        (_, id) => Incoming::Response(Response { id, outcome }),
    })
}

/// Reads one message on the exchange of the request `to`, unless it is what somebody else may have written.
fn message_of_peer(
    frame: &Bytes,
    text: &str,
    to: Option<u64>,
    given: &impl Fn(u64) -> bool,
) -> Result<Incoming, Malformed> {
    let incoming = match message(frame, text) {
        Ok(incoming) => incoming,
        Err(malformed) if names_protocol(text) => return Err(malformed),
        // It may stand beside the answer, and is none.
        Err(Malformed { reason }) => {
            let says = sentence(text).map(|says| format!(", and says: {}", OneLine(&quoted(&says))));
            return Err(Malformed { reason: reason + &says.unwrap_or_default() });
        }
    };
    match &incoming {
        // Only who has read the request knows its id.
        Incoming::Response(Response { id: Some(id), .. }) if Some(*id) == to || given(*id) => Ok(incoming),
        Incoming::Response(Response { outcome: Err(error), .. })
        | Incoming::Foreign { outcome: Err(error), .. }
            if !is_of_protocol(error, text) =>
        {
            Err(words(&error.message))
        }
        _ => Ok(incoming),
    }
}

fn words(says: &str) -> Malformed {
    Malformed { reason: format!("{WORDS}{}", OneLine(&quoted(says))) }
}

/// What somebody says, as far as it is shown.
pub(crate) fn quoted(says: &str) -> String {
    let mut shown = cut(says.to_owned(), WORDS_BYTES_MAX);
    if shown.len() < says.len() {
        // So that no part of a secret is left where it was cut.
        shown.push_str(ELLIPSIS);
    }
    shown
}

/// The sentence in an object as frameworks for the web write it in place of a message.
pub(crate) fn sentence(object: &str) -> Option<String> {
    let keys = ["error_description", "detail", "message", "msg", "title", "reason", "error"];
    let said = |text: &str| members(text, keys).unwrap_or_default().into_iter().flatten().find_map(string);
    let within = |value: &str| match value.starts_with('[') {
        // Of several the first.
        true => {
            let mut first = None;
            let _ = each_element(value, |element| {
                if first.is_none() {
                    first = string(element).or_else(|| said(element));
                }
            });
            first
        }
        false => said(value),
    };
    let holders = || members(object, ["error", "detail", "errors"]).unwrap_or_default().into_iter().flatten();
    said(object).or_else(|| holders().find_map(within))
}

/// Whether an error that does not name the request is one of the protocol. Gateways, who know nothing of that, write
/// `{"error": "upstream request timeout"}`, or the status as a code.
fn is_of_protocol(error: &RpcError, message: &str) -> bool {
    error.code < 0 || error.code > 0 && names_protocol(message)
}

/// Whether an object has an id of the kind that we give.
#[cfg(feature = "http")]
pub(crate) fn names_request(object: &str) -> bool {
    members(object, ["id"]).is_ok_and(|found| own_id(given(found[0])).is_some())
}

/// Whether an object has the member `jsonrpc`.
pub(crate) fn names_protocol(object: &str) -> bool {
    members(object, ["jsonrpc"]).is_ok_and(|found| found[0].is_some())
}

/// The request of ours whose answer a frame is that cannot be read: one that is no UTF-8, is no JSON from some point on, or
/// of which the rest is missing. Its id counts where it stands beside a result or an error, outside of both, so that nothing
/// within them is taken for it.
pub(crate) fn answered_by_unreadable(frame: &[u8]) -> Option<u64> {
    beginning_of_answer(frame).flatten()
}

/// The same of a frame of which both ends are there. The id at its end counts where the beginning is that of an answer: a
/// request of the peer's has an id too, which may be the number of one of ours.
pub(crate) fn answered_by_ends(beginning: &[u8], end: &[u8]) -> Option<u64> {
    beginning_of_answer(beginning)?.or_else(|| id_at_end(end))
}

/// Reads the members of a message as far as that can be done. None if it is no answer, else the id if that was found.
fn beginning_of_answer(frame: &[u8]) -> Option<Option<u64>> {
    // What is no UTF-8 becomes a character that means nothing in JSON.
    let text = String::from_utf8_lossy(frame);
    let mut scan = Scan::new(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text));
    let (mut id, mut answers) = (None, false);
    scan.expect(b'{').ok()?;
    while let Ok(key) = scan.string() {
        if key == "method" {
            return None;
        }
        answers |= matches!(key, "result" | "error");
        if scan.expect(b':').is_err() {
            break;
        }
        let Ok(value) = scan.value() else { break };
        // A number that ends with the text may be the beginning of a larger one.
        if !scan.take(b',') {
            if scan.take(b'}') && key == "id" {
                id = own_id(Some(value));
            }
            break;
        }
        if key == "id" {
            id = own_id(Some(value));
        }
    }
    answers.then_some(id)
}

/// The id that is the last member of the outermost object.
fn id_at_end(end: &[u8]) -> Option<u64> {
    let end = end.trim_ascii_end().strip_suffix(b"}")?.trim_ascii_end();
    let comma = end.iter().rposition(|byte| matches!(byte, b','))?;
    let member = std::str::from_utf8(&end[comma + 1..]).ok()?.trim_ascii();
    let id = member.strip_prefix(r#""id""#)?.trim_ascii_start().strip_prefix(':')?;
    own_id(Some(id.trim_ascii_start()))
}

/// An id, if it is of the kind that we give: a number, or the same as text.
fn own_id(id: Option<&str>) -> Option<u64> {
    id.and_then(|written| own_number(written).or_else(|| echoed(written)))
}

/// The number that is written as text, as we write numbers.
fn echoed(written: &str) -> Option<u64> {
    let digits = written.strip_prefix('"')?.strip_suffix('"')?;
    let plain = digits == "0" || digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| plain)
}

/// The request of ours that a peer names by its id.
pub(super) fn own_request(written: &str) -> Option<u64> {
    own_id(Some(written))
}

/// The number that a peer means by `written`, if it is one that we could have given: also where it writes every number
/// with a fraction, or with an exponent.
pub(super) fn own_number(written: &str) -> Option<u64> {
    written.parse().ok().or_else(|| {
        let number = serde_json::from_str::<f64>(written).ok()?;
        // In this range the conversion loses nothing.
        ((0.0..EXACT_BELOW).contains(&number) && number.fract() == 0.0).then_some(number as u64)
    })
}

/// The part of the frame that `raw` borrows, shared and not copied.
pub(super) fn slice_of(frame: &Bytes, raw: &str) -> RawJson {
    RawJson::trusted(frame.slice_ref(raw.as_bytes()))
}

/// An error is an error also where its members are missing or odd: code 0, no message. An error or a message of another
/// type is told as its JSON text.
pub(super) fn rpc_error(frame: &Bytes, raw: &str) -> RpcError {
    let [code, message, data] = members(raw, ["code", "message", "data"]).unwrap_or([None, Some(raw), None]);
    let text = |raw: &str| string(raw).unwrap_or_else(|| raw.to_owned());
    RpcError {
        code: code.and_then(whole_number).unwrap_or_default(),
        message: given(message).map(text).unwrap_or_default(),
        data: given(data).map(|data| slice_of(frame, data)),
    }
}

/// A whole number, also where a peer writes every number with a fraction: `-32601.0`.
fn whole_number(text: &str) -> Option<i64> {
    let is_exact = |number: &f64| number.fract() == 0.0 && number.abs() < EXACT_BELOW;
    text.parse().ok().or_else(|| text.parse().ok().filter(is_exact).map(|number| number as i64))
}

/// Memory for the small frames of one link, used again when the link has written them: two allocations less for each.
#[derive(Debug, Default)]
pub(crate) struct FrameMemory(BytesMut);

impl FrameMemory {
    /// Some dozens of small frames, as many as a turn under load writes; still little for a link that idles.
    const BYTES: usize = 8 << 10;

    /// Larger frames get memory of their own, so that none of them is kept for ever.
    const FRAME_BYTES_MAX: usize = Self::BYTES / 4;

    /// A frame of about `bytes`, as `write` writes it.
    pub(crate) fn frame(&mut self, bytes: usize, write: impl FnOnce(&mut Writer)) -> Bytes {
        let small = bytes <= Self::FRAME_BYTES_MAX;
        if small && self.0.capacity() < bytes && !self.0.try_reclaim(bytes) {
            self.0 = BytesMut::with_capacity(Self::BYTES);
        }
        let mut writer =
            Writer(if small { std::mem::take(&mut self.0) } else { BytesMut::with_capacity(bytes) });
        write(&mut writer);
        let frame = writer.finish();
        if small {
            self.0 = writer.0;
        }
        frame
    }
}

/// Writes one message of ours.
pub(crate) struct Writer(BytesMut);

impl Writer {
    /// A request, as far as its method; `room` is for what follows.
    pub(crate) fn request(id: u64, method: &'static str, room: usize) -> Self {
        let mut writer = Self(BytesMut::with_capacity(Self::request_bytes(method, room)));
        writer.begin_request(id, method);
        writer
    }

    /// About the size of a request with so much behind its method.
    pub(crate) fn request_bytes(method: &str, room: usize) -> usize {
        64 + method.len() + room
    }

    /// Begins a request.
    pub(crate) fn begin_request(&mut self, id: u64, method: &'static str) -> &mut Self {
        // Methods of ours have nothing in them that is escaped.
        self.raw(r#"{"jsonrpc":"2.0","id":"#).number(id).raw(r#","method":""#).raw(method).raw("\"")
    }

    /// Begins a notification.
    pub(crate) fn notification(method: &str) -> Self {
        let mut writer = Self(BytesMut::with_capacity(128));
        writer.raw(r#"{"jsonrpc":"2.0","method":"#).string(method);
        writer
    }

    /// Begins an answer.
    pub(crate) fn answer(id: &RawJson) -> Self {
        let mut writer = Self(BytesMut::with_capacity(128));
        writer.raw(r#"{"jsonrpc":"2.0","id":"#).raw(id.as_str());
        writer
    }

    /// Text that is JSON already.
    pub(crate) fn raw(&mut self, json: &str) -> &mut Self {
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    /// A whole number.
    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        serde_json::to_writer((&mut self.0).writer(), &number)
            .expect("a number is JSON, and a buffer takes every write");
        self
    }

    /// A string, escaped.
    pub(crate) fn string(&mut self, text: &str) -> &mut Self {
        serde_json::to_writer((&mut self.0).writer(), text)
            .expect("a string is JSON, and a buffer takes every write");
        self
    }

    /// Ends the message.
    pub(crate) fn finish(&mut self) -> Bytes {
        self.0.extend_from_slice(b"}");
        self.0.split().freeze()
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
    fn the_order_the_spelling_and_the_number_of_keys_do_not_matter() {
        let answer =
            response(r#"{"result":{"id":9},"extra":[{"method":"x"}],"i\u0064":1,"id":2,"jsonrpc":"1.0"}"#);
        assert_eq!((answer.id, answer.outcome.unwrap().as_str()), (Some(2), r#"{"id":9}"#));
        assert_eq!(response("\n\t {\r\n\"id\" : 3 ,\"result\" : [ ] } \n").outcome.unwrap().as_str(), "[ ]");
    }

    #[test]
    fn two_answers_to_one_id_are_two_responses() {
        let (seen, decoded) = all(r#"[{"id":1,"result":1},{"id":1,"result":2}]"#);
        assert_eq!((seen.len(), decoded), (2, Ok(())));
        assert_eq!(response(r#"{"id":4242,"result":1}"#).id, Some(4242));
        assert_eq!(response(r#"{"id":18446744073709551615,"result":1}"#).id, Some(u64::MAX));
    }

    #[test]
    fn null_is_a_result() {
        assert_eq!(response(r#"{"id":1,"result":null}"#).outcome.unwrap().as_str(), "null");
    }

    #[test]
    fn an_id_that_we_never_gave_is_no_id() {
        for id in [
            r#""7.0""#,
            r#"" 7""#,
            r#""7 ""#,
            r#""07""#,
            r#""+7""#,
            r#""-7""#,
            r#""7e0""#,
            r#""\u0037""#,
            r#""18446744073709551616""#,
            "-1",
            "1.5",
            "18446744073709551616",
            "1e300",
            "{}",
            "true",
        ] {
            let read = one(&format!(r#"{{"id":{id},"result":1}}"#));
            let Incoming::Foreign { id: told, outcome: Ok(_) } = read else { panic!("{id}: {read:?}") };
            assert_eq!(told.as_str(), id);
        }
        assert_eq!(response(r#"{"id":null,"result":1}"#).id, None);
        assert_eq!(response(r#"{"result":{"version":"1.0.0"}}"#).id, None);
    }

    #[test]
    fn an_id_is_the_number_that_it_means_however_that_is_written() {
        for id in ["7", "7.0", "7.000", "7e0", "70e-1", "0.7E1"] {
            assert_eq!(response(&format!(r#"{{"id":{id},"result":1}}"#)).id, Some(7), "{id}");
            assert_eq!(one(&format!(r#"{{"id":{id}}}"#)), Incoming::MissingOutcome { id: 7 });
        }
        assert_eq!(response(r#"{"id":9007199254740993,"result":1}"#).id, Some(9_007_199_254_740_993));
    }

    #[test]
    fn an_id_that_is_echoed_as_text_is_the_number_that_was_sent() {
        for (written, meant) in [(r#""7""#, 7), (r#""0""#, 0), (r#""18446744073709551615""#, u64::MAX)] {
            assert_eq!(response(&format!(r#"{{"id":{written},"result":1}}"#)).id, Some(meant), "{written}");
            assert_eq!(own_request(written), Some(meant));
        }
        assert_eq!(one(r#"{"id":"7"}"#), Incoming::MissingOutcome { id: 7 });
        assert_eq!(response(r#"{"id":"7","error":{"code":1}}"#).id, Some(7));
    }

    #[test]
    fn whose_answer_an_unreadable_frame_is_follows_from_what_stands_outside_of_its_result() {
        for frame in [
            &b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"text\":\"caf\xe9\"}}"[..],
            b"{\"result\":{\"id\":9,\"text\":\"caf\xe9\"},\"id\":7}",
            b"\xef\xbb\xbf{\"id\":\"7\",\"result\":{\"x\":NaN}}",
            b"{\"id\":7,\"result\":{\"x\":\"tab\there\"}}",
            b"{\"id\":7,\"error\":{\"code\":1,",
            b"{ \"id\" : 7.0 , \"result\" : \"it breaks off",
        ] {
            assert_eq!(answered_by_unreadable(frame), Some(7), "{}", String::from_utf8_lossy(frame));
        }
        for frame in [
            &b"{\"id\":7,\"method\":\"ping\",\"result\":\xe9}"[..],
            b"{\"result\":{\"id\":7,\"x\":NaN},\"id\":7}",
            b"{\"id\":7,\"level\":NaN}",
            b"{\"result\":1,\"id\":7",
            b"[{\"id\":7,\"result\":\"\xe9\"}]",
            b"id: 7, result: caf\xe9",
            b"",
        ] {
            assert_eq!(answered_by_unreadable(frame), None, "{}", String::from_utf8_lossy(frame));
        }
        for (end, id) in [
            (r#"…"}]},"id":7}"#, Some(7)),
            (r#"…"}]} , "id" : "7" } "#, Some(7)),
            (r#"…"}]},"id":7}}"#, None),
            (r#"…,"jsonrpc":"2.0"}"#, None),
            (r#"…"text\"id\":7}"#, None),
            (r#""id":7}"#, None),
        ] {
            assert_eq!(id_at_end(end.as_bytes()), id, "{end}");
        }
        let end = br#"..."},"id":7}"#;
        for (beginning, id) in [
            (&br#"{"jsonrpc":"2.0","result":{"x":"..."#[..], Some(7)),
            (br#"{"id":8,"result":{"x":"..."#, Some(8)),
            (br#"{"method":"sampling/createMessage","params":{"x":"..."#, None),
            (br#"{"params":{"x":"..."#, None),
            (br#"["..."#, None),
        ] {
            assert_eq!(answered_by_ends(beginning, end), id, "{}", String::from_utf8_lossy(beginning));
        }
    }

    #[test]
    fn a_byte_order_mark_before_a_message_is_passed_over() {
        let frame = Bytes::from("\u{feff}{\"id\":7,\"result\":{\"a\":1}}");
        let mut seen = None;
        decode(frame.clone(), |incoming| seen = Some(incoming)).unwrap();
        let Some(Incoming::Response(Response { id: Some(7), outcome: Ok(result) })) = seen else { panic!() };
        assert_eq!(result.as_str(), r#"{"a":1}"#);
        assert_eq!(all("\u{feff}[{\"id\":1,\"result\":1},{\"id\":2,\"result\":1}]").0.len(), 2);
    }

    #[test]
    fn an_error_counts_whatever_it_lacks() {
        let error =
            response(r#"{"id":1,"error":{"code":0,"message":"Request cancelled"}}"#).outcome.unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (0, "Request cancelled"));
        assert_eq!(response(r#"{"id":1,"error":"bad"}"#).outcome.unwrap_err().message, "bad");
        assert_eq!(response(r#"{"id":1,"error":{}}"#).outcome.unwrap_err().code, 0);
        assert!(response(r#"{"id":1,"result":1,"error":{"code":5}}"#).outcome.is_err());
        assert!(response(r#"{"id":1,"result":1,"error":null}"#).outcome.is_ok());
        assert_eq!(response(r#"{"id":1,"error":[3,"x"]}"#).outcome.unwrap_err().message, r#"[3,"x"]"#);
        assert_eq!(
            response(r#"{"id":1,"error":{"code":"E","message":{"a":1}}}"#).outcome.unwrap_err().message,
            r#"{"a":1}"#
        );
        assert_eq!(response(r#"{"id":1,"error":{"code":-32601.0}}"#).outcome.unwrap_err().code, -32601);
        assert_eq!(response(r#"{"error":{"code":-32700,"message":"parse error"},"id":null}"#).id, None);
        let data = response(r#"{"id":1,"error":{"code":1,"message":"","data":{"a":1.0}}}"#)
            .outcome
            .unwrap_err()
            .data;
        assert_eq!(data.unwrap().as_str(), r#"{"a":1.0}"#);
    }

    #[test]
    fn an_answer_without_an_outcome_still_names_its_request() {
        assert_eq!(one(r#"{"id":7}"#), Incoming::MissingOutcome { id: 7 });
    }

    #[test]
    fn whatever_has_a_method_is_no_answer() {
        assert!(matches!(one(r#"{"id":0,"method":"ping"}"#), Incoming::Request { .. }));
        assert!(matches!(one(r#"{"id":null,"method":"x"}"#), Incoming::Notification { .. }));
        assert!(matches!(
            one(r#"{"method":"x","params":{}}"#),
            Incoming::Notification { params: Some(_), .. }
        ));
    }

    #[test]
    fn a_bad_element_of_a_batch_does_not_hide_the_good_ones() {
        let (seen, decoded) = all(r#"[{"id":1,"result":1},3,{"id":2,"result":2}]"#);
        assert_eq!(seen.len(), 2);
        assert!(decoded.is_err());
        assert!(all("[]").1.is_err());
        // An array is no message, whatever stands at the places of a message's members.
        assert!(all(r#"[[1,"ping"]]"#).0.is_empty());
    }

    #[test]
    fn an_error_that_names_nobody_answers_the_request_that_it_was_the_answer_to() {
        let answered = |frame: &'static str| {
            let mut seen = None;
            decode_answer(
                Bytes::from_static(frame.as_bytes()),
                7,
                |_| false,
                |incoming| seen = Some(incoming),
            )
            .unwrap();
            match seen {
                Some(Incoming::Response(response)) => response.id,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(answered(r#"{"id":null,"error":{"code":-32000,"message":""}}"#), Some(7));
        assert_eq!(answered(r#"{"id":"server-error","error":{"code":-32600,"message":""}}"#), Some(7));
        assert_eq!(answered(r#"{"id":9,"error":{"code":-32000,"message":""}}"#), Some(9));
        assert_eq!(answered(r#"{"id":null,"result":{}}"#), None);
    }

    #[test]
    fn a_batch_that_breaks_off_gives_out_what_came_before() {
        for frame in [r#"[{"id":1,"result":1},{"id":2,"resu"#, r#"[{"id":1,"result":1}] x"#] {
            let (seen, decoded) = all(frame);
            assert_eq!((seen.len(), decoded.is_err()), (1, true), "{frame}");
        }
    }

    #[test]
    fn what_is_no_utf_8_is_no_message_wherever_it_stands() {
        let frame = b"{\"id\":1,\"result\":1,\"unread\":\"\xff\"}";
        let told = decode(Bytes::from_static(frame), |_| panic!("it was given out")).unwrap_err();
        assert_eq!(told.to_string(), "no JSON-RPC message: no UTF-8 at byte 29");
        assert!(decode(Bytes::from_static(b"\x00\x01\x80garbage"), |_| {}).is_err());
    }

    #[test]
    fn what_is_no_message_is_told_without_its_content() {
        for frame in [
            "",
            "{",
            "null",
            "7",
            "\"secret\"",
            "{}",
            r#"{"id":"x"}"#,
            r#"{"id":1,"result":"#,
            r#"{"id":1,"method":7}"#,
            r#"{"id":1,"result":1}}"#,
            "\u{feff}{}",
        ] {
            let (_, decoded) = all(frame);
            let reason = decoded.unwrap_err().reason;
            assert!(!reason.contains("secret") && reason.len() < 100, "{frame}: {reason}");
        }
    }

    #[test]
    fn frames_share_memory_and_keep_what_they_say() {
        let mut memory = FrameMemory::default();
        let long = "x".repeat(2 * FrameMemory::FRAME_BYTES_MAX);
        let frames: Vec<Bytes> = (0..300)
            .map(|id| {
                let text = if id % 50 == 49 { long.as_str() } else { "short" };
                memory.frame(Writer::request_bytes("m", text.len()), |writer| {
                    writer.begin_request(id, "m").raw(r#","params":"#).string(text);
                })
            })
            .collect();
        for (id, frame) in frames.iter().enumerate() {
            let text = if id % 50 == 49 { long.as_str() } else { "short" };
            let told = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m","params":"{text}"}}"#);
            assert_eq!(frame, told.as_bytes());
        }
    }

    #[test]
    fn memory_is_used_again_when_its_frames_are_gone() {
        let mut memory = FrameMemory::default();
        let mut places = std::collections::BTreeSet::new();
        for id in 0..1000 {
            let frame = memory.frame(100, |writer| {
                writer.begin_request(id, "m");
            });
            places.insert(frame.as_ptr() as usize / FrameMemory::BYTES);
        }
        assert!(places.len() <= 2, "{} places", places.len());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            answered_by_unreadable(&bytes);
            answered_by_ends(&bytes, &bytes);
            let _ = decode(bytes.into(), |_| {});
        }

        #[test]
        fn no_text_that_looks_like_a_message_makes_it_panic(text in r#"[\[{]("(id|method|result|error|code)"|[0-9.eE+-]|null|"|[\[\]{},: \\]){0,40}"#) {
            let _ = decode(text.into(), |_| {});
        }

        #[test]
        fn what_is_written_is_read_back(id in any::<u64>(), method in prop::sample::select(vec!["tools/call", "ping"]), text in ".*") {
            let args = serde_json::to_string(&serde_json::json!({"text": text})).unwrap();
            let frame = Writer::request(id, method, args.len()).raw(r#","params":"#).raw(&args).finish();
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
