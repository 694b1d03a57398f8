//! Messages to clients: each is one line, whatever the parts of it that others wrote say.

use bytes::Bytes;

use super::id::ClientId;
use crate::error::RpcError;

/// The answer to a request: `write` writes its result, which takes about `room` bytes.
pub(crate) fn result_line(id: &ClientId, room: usize, write: impl FnOnce(&mut String)) -> Bytes {
    let mut line = String::with_capacity(room.saturating_add(id.as_str().len()).saturating_add(48));
    line.push_str(r#"{"jsonrpc":"2.0","id":"#);
    line.push_str(id.as_str());
    line.push_str(r#","result":"#);
    write(&mut line);
    line.push('}');
    in_one_line(line)
}

/// The error of a request; of one whose id is not known, under null.
pub(crate) fn error_line(id: Option<&ClientId>, error: &RpcError) -> Bytes {
    let RpcError { code, message, data } = error;
    let data = data.as_ref().map(|data| format!(r#","data":{data}"#)).unwrap_or_default();
    let (id, message) = (id.map_or("null", ClientId::as_str), serde_json::Value::from(message.as_str()));
    in_one_line(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}{data}}}}}"#
    ))
}

/// A notification, with params that are an object.
pub(crate) fn notification_line(method: &str, params: Option<&str>) -> Bytes {
    let params = params.map(|params| format!(r#","params":{params}"#)).unwrap_or_default();
    in_one_line(format!(r#"{{"jsonrpc":"2.0","method":"{method}"{params}}}"#))
}

/// The same without line breaks: JSON has them between tokens alone, where a space means the same. Else a server could write lines
/// of its own to the client: an answer to another call, a question to its user.
pub(super) fn in_one_line(line: String) -> Bytes {
    let mut bytes = line.into_bytes();
    for byte in &mut bytes {
        if matches!(*byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::RawJson;

    fn id(written: &str) -> ClientId {
        ClientId::read(written).unwrap()
    }

    #[test]
    fn an_answer_repeats_the_id_to_the_letter() {
        for written in ["9007199254740993", "\"a\\u0062\"", "1.50"] {
            let line = result_line(&id(written), 2, |line| line.push_str("{}"));
            assert_eq!(line, format!(r#"{{"jsonrpc":"2.0","id":{written},"result":{{}}}}"#));
        }
        let error = RpcError { code: -32700, message: "no\n\"JSON\"".to_owned(), data: None };
        let expected = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no\n\"JSON\""}}"#;
        assert_eq!(error_line(None, &error), expected);
    }

    proptest! {
        #[test]
        fn a_message_is_one_line_wherever_its_parts_have_breaks(
            at in prop::collection::vec(0_usize..7, 0..12), breaks in "[\r\n \t]{1,3}",
        ) {
            let mut tokens = vec!["{", "\"a\"", ":", "[", "1", "]", "}"];
            for at in at {
                tokens.insert(at.min(tokens.len()), &breaks);
            }
            let text = tokens.concat();
            let data = RawJson::from_text(text.clone()).unwrap();
            let error = RpcError { code: 1, message: text.clone(), data: Some(data) };
            let lines = [
                result_line(&id("1"), text.len(), |line| line.push_str(&text)),
                error_line(Some(&id("1")), &error),
                notification_line("notifications/message", Some(&text)),
            ];
            for line in lines {
                prop_assert!(!line.iter().any(|byte| matches!(byte, b'\n' | b'\r')));
                let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
                prop_assert_eq!(&value["jsonrpc"], "2.0");
            }
        }
    }
}
