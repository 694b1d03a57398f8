//! What was agreed with one server, and how it is spoken to.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::MODERN_VERSION;
use super::envelope::{Writer, slice_of};
use crate::config::Dialect;
use crate::error::RpcError;
use crate::json::RawJson;

/// The era of MCP that a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// 2026-07-28: every request carries version and capabilities; there is no handshake.
    Modern,
    /// 2025-11-25 and before: `initialize` first.
    Legacy,
}

/// The constant part of a modern request's `_meta`, without its braces. Nothing optional is declared, since nothing
/// optional is handled.
pub(super) fn modern_meta() -> String {
    format!(
        concat!(
            r#""io.modelcontextprotocol/protocolVersion":"{version}","#,
            r#""io.modelcontextprotocol/clientCapabilities":{{}},"#,
            r#""io.modelcontextprotocol/clientInfo":{client}"#
        ),
        version = MODERN_VERSION,
        client = client_info(),
    )
}

/// How this client introduces itself.
pub(super) fn client_info() -> &'static str {
    concat!(r#"{"name":"mcp-troupe","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#)
}

/// What was agreed with one server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Session(Arc<Agreed>);

#[derive(Debug)]
struct Agreed {
    dialect: Dialect,
    /// None in the tool-execute dialect.
    era: Option<Era>,
    version: String,
    /// What the server calls itself: for display only.
    server_name: Option<String>,
    meta: String,
}

/// The envelope of the tool-execute dialect.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Executed<'a> {
    #[serde(borrow)]
    tool_name: &'a RawValue,
    #[serde(borrow)]
    result: &'a RawValue,
}

impl Session {
    pub(super) fn new(dialect: Dialect, era: Option<Era>, version: String, server_name: Option<String>) -> Self {
        let meta = match era {
            Some(Era::Modern) => modern_meta(),
            Some(Era::Legacy) | None => String::new(),
        };
        Self(Arc::new(Agreed { dialect, era, version, server_name, meta }))
    }

    /// The era; none in the tool-execute dialect.
    pub fn era(&self) -> Option<Era> {
        self.0.era
    }

    /// The protocol version.
    pub fn version(&self) -> &str {
        &self.0.version
    }

    /// What the server calls itself: for display only.
    pub fn server_name(&self) -> Option<&str> {
        self.0.server_name.as_deref()
    }

    /// A call of a tool.
    pub fn encode_call(&self, id: u64, tool: &str, args: Option<&RawJson>, meta: Option<&RawJson>) -> Bytes {
        let method = match self.0.dialect {
            Dialect::Mcp => "tools/call",
            Dialect::ToolExecute => "tool.execute",
        };
        let room = tool.len() + args.map_or(2, RawJson::len) + meta.map_or(0, RawJson::len) + self.0.meta.len();
        let mut writer = Writer::request(id, method, room + 64);
        writer.raw(r#","params":{"name":"#).string(tool);
        writer.raw(r#","arguments":"#).raw(args.map_or("{}", RawJson::as_str));
        self.write_meta(&mut writer, meta);
        writer.raw("}").finish()
    }

    /// A request for a page of the tool list.
    pub fn encode_list(&self, id: u64, cursor: Option<&str>) -> Bytes {
        match self.0.dialect {
            Dialect::ToolExecute => Writer::request(id, "tool.list", 0).finish(),
            Dialect::Mcp => {
                let mut writer = Writer::request(id, "tools/list", self.0.meta.len() + 64);
                writer.raw(r#","params":{"#);
                let mut separator = "";
                if let Some(cursor) = cursor {
                    writer.raw(r#""cursor":"#).string(cursor);
                    separator = ",";
                }
                if !self.0.meta.is_empty() {
                    writer.raw(separator).raw(r#""_meta":{"#).raw(&self.0.meta).raw("}");
                }
                writer.raw("}").finish()
            }
        }
    }

    /// Calls a request off; the tool-execute dialect has no word for it.
    pub fn encode_cancel(&self, id: u64, reason: &str) -> Option<Bytes> {
        match self.0.dialect {
            Dialect::ToolExecute => None,
            Dialect::Mcp => {
                let mut writer = Writer::notification("notifications/cancelled");
                writer.raw(r#","params":{"requestId":"#).number(id).raw(r#","reason":"#).string(reason);
                self.write_meta(&mut writer, None);
                Some(writer.raw("}").finish())
            }
        }
    }

    /// Writes `_meta`: the host's entries, and after them ours, which win where a reader takes the last of two.
    fn write_meta(&self, writer: &mut Writer, host: Option<&RawJson>) {
        let entries = host.map(|host| {
            let text = host.as_str().trim();
            text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_default().trim()
        });
        let entries = entries.filter(|entries| !entries.is_empty());
        if entries.is_none() && self.0.meta.is_empty() {
            return;
        }
        writer.raw(r#","_meta":{"#).raw(entries.unwrap_or_default());
        if entries.is_some() && !self.0.meta.is_empty() {
            writer.raw(",");
        }
        writer.raw(&self.0.meta).raw("}");
    }

    /// The result of a call: in the tool-execute dialect without its envelope, taken off once. A result that has none
    /// passes as it is.
    pub fn unwrap_result(&self, result: RawJson) -> RawJson {
        match self.0.dialect {
            Dialect::Mcp => result,
            Dialect::ToolExecute => {
                let inner = match result.parse_borrowed::<Executed<'_>>() {
                    Ok(Executed { tool_name, result: inner }) if tool_name.get().starts_with('"') => {
                        Some(slice_of(result.bytes(), inner))
                    }
                    Ok(_) | Err(_) => None,
                };
                inner.unwrap_or(result)
            }
        }
    }

    /// The answer to a request of the server's.
    pub fn answer(&self, id: &RawJson, method: &str) -> Bytes {
        answer(id, method)
    }
}

/// The answer to a server's request: `ping` is answered; nothing else was declared, so nothing else is known.
pub(super) fn answer(id: &RawJson, method: &str) -> Bytes {
    let mut writer = Writer::answer(id);
    match method {
        "ping" => writer.raw(r#","result":{}"#).finish(),
        _ => {
            let message = format!("this client has no method {method}");
            writer.raw(r#","error":{"code":"#).raw(&RpcError::METHOD_NOT_FOUND.to_string());
            writer.raw(r#","message":"#).string(&message).raw("}").finish()
        }
    }
}

/// What a notification means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The tools changed.
    ToolsListChanged,
    /// Nothing that is acted on.
    Other,
}

impl Notice {
    /// The meaning of `method`.
    pub fn of(method: &str) -> Self {
        match method {
            "notifications/tools/list_changed" => Self::ToolsListChanged,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn session(dialect: Dialect, era: Option<Era>) -> Session {
        Session::new(dialect, era, "v".into(), None)
    }

    fn value(frame: &Bytes) -> Value {
        serde_json::from_slice(frame).unwrap()
    }

    fn raw(text: &str) -> RawJson {
        RawJson::from_text(text).unwrap()
    }

    #[test]
    fn a_modern_call_carries_version_and_capabilities_and_the_hosts_entries() {
        let session = session(Dialect::Mcp, Some(Era::Modern));
        let args = raw(r#"{"n":1.00}"#);
        let meta = raw(r#"{"traceparent":"00-1","io.modelcontextprotocol/protocolVersion":"9"}"#);
        let frame = session.encode_call(7, "file.read", Some(&args), Some(&meta));
        assert!(std::str::from_utf8(&frame).unwrap().contains(r#""arguments":{"n":1.00}"#));
        let params = &value(&frame)["params"];
        assert_eq!(params["_meta"]["io.modelcontextprotocol/protocolVersion"], MODERN_VERSION);
        assert_eq!(params["_meta"]["io.modelcontextprotocol/clientCapabilities"], json!({}));
        assert_eq!(params["_meta"]["traceparent"], "00-1");
    }

    #[test]
    fn a_legacy_call_carries_no_meta_of_ours() {
        let session = session(Dialect::Mcp, Some(Era::Legacy));
        let call = json!({"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{}}});
        assert_eq!(value(&session.encode_call(1, "t", None, None)), call);
        let meta = raw(r#" { "a" : 1 } "#);
        assert_eq!(value(&session.encode_call(1, "t", None, Some(&meta)))["params"]["_meta"], json!({"a":1}));
        let empty = raw("{ }");
        assert_eq!(value(&session.encode_call(1, "t", None, Some(&empty))), call);
    }

    #[test]
    fn lists_and_cancellations_are_whole_messages_in_both_eras() {
        for era in [Era::Modern, Era::Legacy] {
            let session = session(Dialect::Mcp, Some(era));
            let list = value(&session.encode_list(3, Some("a\"b")));
            assert_eq!(list["params"]["cursor"], "a\"b");
            assert_eq!(list["params"].get("_meta").is_some(), era == Era::Modern);
            assert_eq!(value(&session.encode_list(3, None))["params"].get("cursor"), None);
            let cancel = value(&session.encode_cancel(3, "why").unwrap());
            assert_eq!((cancel["params"]["requestId"].as_u64(), cancel.get("id")), (Some(3), None));
        }
    }

    #[test]
    fn the_tool_execute_dialect_has_its_own_words_and_takes_its_envelope_off_once() {
        let session = session(Dialect::ToolExecute, None);
        let call = value(&session.encode_call(1, "file.read", None, None));
        assert_eq!((call["method"].as_str(), call["params"]["name"].as_str()), (Some("tool.execute"), Some("file.read")));
        assert_eq!(value(&session.encode_list(1, None))["method"], "tool.list");
        assert!(session.encode_cancel(1, "").is_none());
        let unwrap = |text: &str| session.unwrap_result(raw(text)).as_str().to_owned();
        assert_eq!(unwrap(r#"{"toolName":"t","result":{"toolName":"t","result":1}}"#), r#"{"toolName":"t","result":1}"#);
        assert_eq!(unwrap(r#"{"rows":[]}"#), r#"{"rows":[]}"#);
        assert_eq!(unwrap("[1]"), "[1]");
    }

    #[test]
    fn a_servers_ping_is_answered_and_nothing_else_is_known() {
        let session = session(Dialect::Mcp, Some(Era::Legacy));
        assert_eq!(value(&session.answer(&raw("\"x\""), "ping")), json!({"jsonrpc":"2.0","id":"x","result":{}}));
        let answer = value(&session.answer(&raw("0"), "roots/list"));
        assert_eq!((answer["id"].as_u64(), answer["error"]["code"].as_i64()), (Some(0), Some(-32601)));
    }
}
