//! What a server answers where it does not do what it was asked.

use rmcp::ErrorData;
use rmcp::model::ErrorCode;
use serde_json::json;

/// A refusal: an integer code for the protocol, a name for programs, and a sentence for people that names the thing
/// and tells nothing of what lies outside the server's bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: i32,
    pub name: &'static str,
    pub message: String,
}

impl Refusal {
    /// The caller asked for something that is wrong or not allowed.
    pub fn new(name: &'static str, message: impl Into<String>) -> Self {
        Self { code: -32602, name, message: message.into() }
    }

    /// The work took too long.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self { code: -32003, name: "TIMEOUT", message: message.into() }
    }

    /// The caller may not touch this.
    pub fn denied(name: &'static str, message: impl Into<String>) -> Self {
        Self { code: -32004, name, message: message.into() }
    }

    /// The server itself failed.
    pub fn internal(message: impl Into<String>) -> Self {
        Self { code: -32603, name: "INTERNAL_ERROR", message: message.into() }
    }
}

/// Characters of a refusal's message. Some of it may be the caller's own words, at any length: the name of a tool, of
/// a parameter, a statement.
const MESSAGE_CHARS_MAX: usize = 2_000;

impl From<Refusal> for ErrorData {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, name, mut message } = refusal;
        if let Some((end, _)) = message.char_indices().nth(MESSAGE_CHARS_MAX) {
            message.truncate(end);
            message.push('…');
        }
        Self::new(ErrorCode(code), message, Some(json!({"code": name})))
    }
}
