//! How much of a message a result takes. It stands there twice: as a structure, and as a text that holds the same JSON.
//!
//! A message above the client's limit ends its connection, with everybody's calls on it. So what can grow is weighed
//! while it is gathered, and cut where it would not fit; [`answer`] holds every result against the limit once more.

use std::io::{self, Write};

use rmcp::ErrorData;
use rmcp::model::{CallToolResponse, CallToolResult};
use serde_json::Value;

use super::refusal::Refusal;

/// The largest message that goes either way: what clients take unless they are told otherwise.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// What rows, content or entries may weigh. The rest is for what goes with them: a statement of 10,000 characters, the
/// names of its tables, a path, and the message around the result.
pub const RESULT_WEIGHT_MAX: usize = MESSAGE_BYTES_MAX - (1 << 20);

/// The message around a result: its id and its version.
const ENVELOPE_BYTES: usize = 4 << 10;

/// What a value weighs.
pub fn of(value: &Value) -> usize {
    let mut scale = Scale(0);
    // The scale takes everything.
    let _ = serde_json::to_writer(&mut scale, value);
    scale.0
}

/// What a character weighs inside a string.
pub fn of_char(c: char) -> usize {
    match c {
        // Escaped once in the structure, twice in the text.
        '"' | '\\' => 2 + 4,
        '\u{8}' | '\u{c}' | '\n' | '\r' | '\t' => 2 + 3,
        c if c < ' ' => 6 + 7,
        c => 2 * c.len_utf8(),
    }
}

/// Makes a result an answer, if it fits into one.
pub fn answer(result: Value) -> Result<CallToolResponse, ErrorData> {
    let weight = of(&result);
    if weight > MESSAGE_BYTES_MAX - ENVELOPE_BYTES {
        let message = format!("it was done, but its result takes {weight} bytes: no message may be so large");
        return Err(Refusal::new("RESULT_TOO_LARGE", message).into());
    }
    Ok(CallToolResult::structured(result).into())
}

/// Counts the bytes of a JSON text as they stand in it and, escaped, in a string.
struct Scale(usize);

impl Write for Scale {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let escaped = bytes.iter().filter(|byte| matches!(byte, b'"' | b'\\')).count();
        self.0 += 2 * bytes.len() + escaped;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_weighs_what_it_takes_in_the_message() {
        for text in ["plain", "\"quoted\" \\", "\n\t\r\u{8}\u{c}", "\0\u{1f}\u{7f}", "é€😀", ""] {
            let value = serde_json::json!({"content": text});
            let result = CallToolResult::structured(value.clone());
            let whole = serde_json::to_string(&result).expect("a result is JSON").len();
            let empty = CallToolResult::structured(serde_json::json!({"content": ""}));
            let empty = serde_json::to_string(&empty).expect("a result is JSON").len();
            let around = of(&serde_json::json!({"content": ""}));
            assert_eq!(of(&value) - around, whole - empty, "{text:?}");
            assert_eq!(text.chars().map(of_char).sum::<usize>(), whole - empty, "{text:?}");
            assert!(whole < of(&value) + ENVELOPE_BYTES);
        }
    }
}
