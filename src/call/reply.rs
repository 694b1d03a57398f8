//! The answer to a call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::Granted;
use super::content::Content;
use crate::duration::micros;
use crate::id::{GroupId, RequestId, ServerId};
use crate::json::RawJson;
use crate::json::members::{members, string};

crate::error::debug_as_display!(ReplyError);

/// The answer to a call.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Reply {
    /// The call's id.
    pub request_id: RequestId,
    /// The server that answered.
    pub server: ServerId,
    /// Its group.
    pub group: GroupId,
    /// The name of the tool or prompt on that server, or the resource's URI.
    pub tool: String,
    /// The result as the server sent it, unread; in the tool-execute dialect without its envelope.
    pub result: RawJson,
    /// From the call to its answer, with queueing and retries.
    #[serde(rename = "duration_us", serialize_with = "us")]
    pub duration: Duration,
    /// Attempts that were made, this one included; 0 if it was `cached`.
    pub attempts: u32,
    /// The servers that lost or failed earlier attempts, in order.
    pub earlier_servers: Vec<ServerId>,
    /// Whether another call fetched the result: it was kept, or that call was equal to this one and under way. Then `server`
    /// and `tool` are those of that call; request id and duration are always this one's.
    pub cached: bool,
    /// The lease that was asked for. It ends with the last copy of it.
    #[serde(skip)]
    pub(crate) lease: Option<Arc<Granted>>,
}

fn us<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(micros(*duration))
}

/// What kind of result it is, in its server's words; none where it does not say.
fn result_type(result: &RawJson) -> Option<String> {
    let [kind] = members(result.as_str(), ["resultType"]).ok()?;
    string(kind?)
}

/// What a result asks before there is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InputRequired {
    /// The requests (`method`, `params`), by key. None where the call is only to be made again with `state`.
    pub requests: BTreeMap<String, RawJson>,
    /// What the server wants back with the answers, to the letter.
    pub state: Option<RawJson>,
}

/// The parts of a result that asks back.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asking<'a> {
    #[serde(borrow, default)]
    input_requests: BTreeMap<String, &'a RawValue>,
    #[serde(borrow, default)]
    request_state: Option<&'a RawValue>,
}

/// A result that has not the shape that was asked for.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The tool itself reported an error.
    #[error("the tool reported an error: {0}")]
    Tool(String),
    /// The server asks back before it gives a result; see [`Reply::result`].
    #[error("the server asks for input before it gives a result")]
    InputRequired,
    /// The result says that it is of a kind that this client never asked for.
    #[error("the result is of the unknown kind {0:?}")]
    UnknownKind(String),
    /// The result has no structured content.
    #[error("the result has no structured content")]
    NoStructuredContent,
    /// The result is no MCP result, or its content has another type.
    #[error("the result has another shape: {0}")]
    Shape(#[from] serde_json::Error),
}

/// The parts of an MCP tool result that the accessors of [`Reply`] read.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToolResult<'a> {
    #[serde(default, deserialize_with = "is_true")]
    is_error: bool,
    #[serde(borrow, default)]
    result_type: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    structured_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Vec<&'a RawValue>,
    /// Of a resource.
    #[serde(borrow, default)]
    contents: Vec<&'a RawValue>,
    /// Of a prompt.
    #[serde(borrow, default)]
    messages: Vec<Message<'a>>,
}

/// Whether a value says yes: `true`, and also what servers write in its place that know no type for it, such as `1` and `"true"`.
fn is_true<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let value = <&RawValue as serde::Deserialize>::deserialize(deserializer)?;
    match &*value.get().trim_matches('"').to_ascii_lowercase() {
        "true" | "1" => Ok(true),
        "false" | "0" | "null" | "" => Ok(false),
        _ => Err(serde::de::Error::custom("isError is neither true nor false")),
    }
}

/// One message of a prompt.
#[derive(serde::Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: &'a RawValue,
}

impl<'a> ToolResult<'a> {
    fn blocks(&self) -> impl Iterator<Item = Content<'a>> {
        let content = self.content.iter().map(|block| Content::block(block));
        let contents = self.contents.iter().map(|part| Content::of_resource(part));
        let messages = self.messages.iter().map(|message| Content::block(message.content));
        content.chain(contents).chain(messages)
    }

    fn text(&self) -> String {
        self.blocks().map(|block| block.to_string()).collect::<Vec<_>>().join("\n")
    }
}

impl Reply {
    /// Reads the result as an MCP tool result: a success, or an error of the tool.
    fn complete(&self) -> Result<ToolResult<'_>, ReplyError> {
        let result: ToolResult<'_> = self.result.parse_borrowed()?;
        match result.result_type.as_deref() {
            None | Some("complete") => Ok(result),
            Some("input_required") => Err(ReplyError::InputRequired),
            Some(other) => Err(ReplyError::UnknownKind(other.to_owned())),
        }
    }

    /// The same, and refuses one that is no success.
    fn success(&self) -> Result<ToolResult<'_>, ReplyError> {
        let result = self.complete()?;
        if result.is_error { Err(ReplyError::Tool(result.text())) } else { Ok(result) }
    }

    /// What the server asks before it gives a result: where the host has handlers for all of it
    /// ([`TroupeBuilder::on_elicitation`](crate::TroupeBuilder::on_elicitation) and its kin) they have answered, and this
    /// is not seen. Otherwise the call is made again with [`Call::input`](crate::Call::input). None for every other result.
    pub fn input_required(&self) -> Option<InputRequired> {
        if result_type(&self.result)? != "input_required" {
            return None;
        }
        let asking: Asking<'_> = self.result.parse_borrowed().ok()?;
        let owned = |raw: &RawValue| RawJson::trusted(self.result.bytes().slice_ref(raw.get().as_bytes()));
        Some(InputRequired {
            requests: asking.input_requests.into_iter().map(|(key, raw)| (key, owned(raw))).collect(),
            state: asking.request_state.map(owned),
        })
    }

    /// Whether the tool reported an error (`isError`). Parses the result's outer level.
    pub fn is_error(&self) -> bool {
        matches!(self.success(), Err(ReplyError::Tool(_)))
    }

    /// The content of the result, block by block: of a tool, of a resource that was read, or of a prompt's messages.
    ///
    /// Also that of a tool's error, which is meant for the model that called it: see [`is_error`](Self::is_error).
    ///
    /// # Errors
    /// [`ReplyError::InputRequired`], [`ReplyError::UnknownKind`] or [`ReplyError::Shape`] if the result has no content.
    pub fn content(&self) -> Result<Vec<Content<'_>>, ReplyError> {
        self.complete().map(|result| result.blocks().collect())
    }

    /// The content of the result as text, joined by line breaks.
    ///
    /// A block that is no text is one line that says what it is, such as `[image/png, 4 KiB]`: see [`Content`], and
    /// [`content`](Self::content) for the block itself.
    ///
    /// # Errors
    /// [`ReplyError::Tool`] with the same text if the tool reported an error, and the other variants if the result is
    /// no tool result.
    pub fn text(&self) -> Result<String, ReplyError> {
        self.success().map(|result| result.text())
    }

    /// The result's `structuredContent`, parsed.
    ///
    /// # Errors
    /// As [`text`](Self::text), and [`ReplyError::NoStructuredContent`] or [`ReplyError::Shape`].
    pub fn structured<T: DeserializeOwned>(&self) -> Result<T, ReplyError> {
        let result = self.success()?;
        let content = result.structured_content.ok_or(ReplyError::NoStructuredContent)?;
        Ok(serde_json::from_str(content.get())?)
    }

    /// The whole result, parsed.
    ///
    /// # Errors
    /// [`ReplyError::Shape`] if it has another type.
    pub fn raw<T: DeserializeOwned>(&self) -> Result<T, ReplyError> {
        Ok(self.result.parse()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(result: &str) -> Reply {
        Reply {
            request_id: RequestId::random(),
            server: ServerId::new("files").unwrap(),
            group: GroupId::new("files").unwrap(),
            tool: "file.read".into(),
            result: RawJson::from_text(result).unwrap(),
            duration: Duration::ZERO,
            attempts: 1,
            earlier_servers: Vec::new(),
            cached: false,
            lease: None,
        }
    }

    #[test]
    fn a_tool_error_is_an_error_of_the_accessors_and_not_of_the_call() {
        let reply = reply(r#"{"content":[{"type":"text","text":"no such file"}],"isError":true}"#);
        assert!(reply.is_error());
        for (said, is_error) in [
            ("true", true),
            ("1", true),
            ("\"true\"", true),
            ("null", false),
            ("0", false),
            ("\"false\"", false),
        ] {
            assert_eq!(
                self::reply(&format!(r#"{{"content":[],"isError":{said}}}"#)).is_error(),
                is_error,
                "{said}"
            );
        }
        assert_eq!(reply.text().unwrap_err().to_string(), "the tool reported an error: no such file");
    }

    #[test]
    fn structured_content_is_parsed_and_text_joined() {
        let reply = reply(
            r#"{"resultType":"complete","content":[{"type":"text","text":"a"},{"type":"image"},{"type":"text","text":"b"}],
                "structuredContent":{"n":7}}"#,
        );
        assert_eq!(reply.text().unwrap(), "a\n[image, 16 bytes]\nb");
        assert_eq!(reply.structured::<serde_json::Value>().unwrap()["n"], 7);
    }

    #[test]
    fn content_is_that_of_tools_errors_resources_and_prompts() {
        let error = reply(r#"{"content":[{"type":"text","text":"no such file"}],"isError":true}"#);
        assert_eq!(error.content().unwrap(), [Content::Text { text: "no such file".into() }]);
        let resource = reply(r#"{"contents":[{"uri":"file:///a","text":"alpha"}]}"#);
        assert_eq!(resource.text().unwrap(), "alpha");
        let prompt = reply(r#"{"messages":[{"role":"user","content":{"type":"text","text":"hello"}}]}"#);
        assert_eq!(prompt.text().unwrap(), "hello");
        assert!(matches!(reply(r#"{"content":7}"#).content(), Err(ReplyError::Shape(_))));
    }

    #[test]
    fn a_question_back_is_no_result() {
        assert!(matches!(reply(r#"{"resultType":"input_required"}"#).text(), Err(ReplyError::InputRequired)));
        assert!(matches!(reply(r#"{"resultType":"task"}"#).text(), Err(ReplyError::UnknownKind(_))));
    }
}
