//! What was agreed with one server, and how it is spoken to.
//!
//! | | modern | legacy | tool-execute |
//! | --- | --- | --- | --- |
//! | a call | `tools/call` | `tools/call` | `tool.execute`, its result nested once |
//! | the list | `tools/list` | `tools/list` | `tool.list` |
//! | calling off | `notifications/cancelled` | the same | no word for it |
//! | `_meta` | version, capabilities, client; then the host's | the host's | the host's |
//!
//! Arguments and the host's entries for `_meta` are written as the host wrote them, byte by byte. A `progressToken` among
//! those is left out: what a server reports under it could not be told from reports under one of ours.

use std::sync::Arc;

use bytes::Bytes;

use super::envelope::{self, FrameMemory, Writer, slice_of};
use super::{Declared, MODERN_VERSION};
use crate::call::{Call, Completes, Input, Request};
use crate::call_update::LogLevel;
use crate::config::Dialect;
use crate::error::RpcError;
use crate::json::RawJson;
use crate::json::members::{each_member, members, string};
use crate::offer::{EntryKind, Kinds};
use crate::stats::ServerDetails;

/// The keys of `_meta` that this client writes itself in the modern era: a host's entry would promise the server a version or a
/// capability that nobody here keeps. Other keys of the protocol's, such as those of extensions, are the host's.
const RESERVED_META: [&str; 4] = [
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/logLevel",
];

/// The entry of `_meta` that asks for progress.
const PROGRESS_TOKEN: &str = "progressToken";

/// What a request says in its `_meta`, beside what the era wants.
#[derive(Clone, Copy, Default)]
struct RequestMeta<'a> {
    /// The host's entries, a JSON object.
    host: Option<&'a RawJson>,
    /// Asks for progress under this token. The tool-execute dialect has no word for it.
    progress_token: Option<u64>,
    /// Asks for log messages from this level on. Only the modern era has a word for it.
    log_level: Option<LogLevel>,
    /// What the caller can, where that is not what is told for all calls. Only the modern era has a place for it.
    capabilities: Option<&'a str>,
}

/// The era of MCP that a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// 2026-07-28: every request carries version and capabilities; there is no handshake.
    Modern,
    /// 2025-11-25 and before: `initialize` first.
    Legacy,
}

/// The constant part of a modern request's `_meta`, without its braces. `capabilities` is the JSON object of what this client
/// answers.
pub(super) fn modern_meta(capabilities: &str) -> String {
    format!(
        concat!(
            r#""io.modelcontextprotocol/protocolVersion":"{version}","#,
            r#""io.modelcontextprotocol/clientCapabilities":{capabilities},"#,
            r#""io.modelcontextprotocol/clientInfo":{client}"#
        ),
        version = MODERN_VERSION,
        capabilities = capabilities,
        client = client_info(),
    )
}

/// How this client introduces itself.
pub(super) fn client_info() -> &'static str {
    concat!(r#"{"name":"mcp-troupe","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#)
}

/// The request that asks a modern server to tell of changes.
pub(crate) const LISTEN_METHOD: &str = "subscriptions/listen";

/// The request that asks a legacy server to tell of changes of a resource, or no longer.
pub(crate) fn subscribe_method(wanted: bool) -> &'static str {
    if wanted { "resources/subscribe" } else { "resources/unsubscribe" }
}

/// What a link of a server needs not ask, since an earlier one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// The era that it speaks.
    pub era: Era,
    /// What it said that it has.
    pub declared: Declared,
}

/// What was agreed with one server. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Session(Arc<Agreed>);

#[derive(Debug)]
struct Agreed {
    dialect: Dialect,
    /// None in the tool-execute dialect.
    era: Option<Era>,
    version: String,
    /// What the server says of itself: for display only. None where it was not asked.
    details: Option<Arc<ServerDetails>>,
    /// What the server says that it has.
    declared: Declared,
    /// The constant entries of `_meta`, written once; empty where the dialect and the era ask for none.
    meta: String,
}

impl Session {
    pub(super) fn new(
        dialect: Dialect,
        era: Option<Era>,
        version: String,
        details: Option<ServerDetails>,
        declared: Declared,
        capabilities: &str,
    ) -> Self {
        let meta = match era {
            Some(Era::Modern) => modern_meta(capabilities),
            Some(Era::Legacy) | None => String::new(),
        };
        Self(Arc::new(Agreed { dialect, era, version, details: details.map(Arc::new), declared, meta }))
    }

    /// The same, of whose details `redact` makes others.
    pub(crate) fn redacted(&self, redact: impl Fn(String) -> String) -> Self {
        let Agreed { dialect, era, version, details, declared, meta } = &*self.0;
        let (version, meta) = (version.clone(), meta.clone());
        let details = details.as_ref().map(|details| Arc::new(details.redacted(redact)));
        Self(Arc::new(Agreed { dialect: *dialect, era: *era, version, details, declared: *declared, meta }))
    }

    /// The era; none in the tool-execute dialect.
    #[cfg(test)]
    pub(crate) fn era(&self) -> Option<Era> {
        self.0.era
    }

    /// The protocol version.
    pub(crate) fn version(&self) -> &str {
        &self.0.version
    }

    /// What the server calls itself: for display only.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.0.details.as_ref()?.name.as_deref()
    }

    /// What the server says of itself, where it was asked.
    pub(crate) fn details(&self) -> Option<&Arc<ServerDetails>> {
        self.0.details.as_ref()
    }

    /// What later links of this server need not ask again; nothing in the tool-execute dialect.
    pub(crate) fn known(&self) -> Option<Known> {
        Some(Known { era: self.0.era?, declared: self.0.declared })
    }

    /// The method of a call.
    pub(crate) fn call_method(&self, request: Request) -> &'static str {
        match (request, self.0.dialect) {
            (Request::Tool, Dialect::Mcp) => "tools/call",
            (Request::Tool, Dialect::ToolExecute) => "tool.execute",
            (Request::Resource, _) => "resources/read",
            (Request::Prompt, _) => "prompts/get",
            (Request::Completion(_), _) => "completion/complete",
        }
    }

    /// The method of a request for a page of a list.
    pub(crate) fn list_method(&self, kind: EntryKind) -> &'static str {
        match (kind, self.0.dialect) {
            (EntryKind::Tool, Dialect::Mcp) => "tools/list",
            (EntryKind::Tool, Dialect::ToolExecute) => "tool.list",
            (EntryKind::Resource, _) => "resources/list",
            (EntryKind::ResourceTemplate, _) => "resources/templates/list",
            (EntryKind::Prompt, _) => "prompts/list",
        }
    }

    /// A call of something that the server calls `name`. Progress is asked for under `progress`, where the dialect has a
    /// word for it.
    pub(crate) fn encode_call(
        &self,
        memory: &mut FrameMemory,
        id: u64,
        name: &str,
        call: &Call,
        progress: Option<u64>,
    ) -> Bytes {
        let method = self.call_method(call.request);
        let (args, input) = (call.right_args(), call.options().input.as_ref());
        let (host, log_level) = (call.right_meta(), call.options().log_level);
        let capabilities = call.options().declared.as_deref();
        let meta = RequestMeta { host, progress_token: progress, log_level, capabilities };
        let args = args.map_or("{}", RawJson::as_str);
        let host =
            host.map_or(0, RawJson::len) + input.map_or(0, Input::len) + capabilities.map_or(0, str::len);
        let room = name.len() + args.len() + host + self.0.meta.len() + 64;
        memory.frame(Writer::request_bytes(method, room), |writer| {
            writer.begin_request(id, method);
            match call.request {
                Request::Tool | Request::Prompt => {
                    writer.raw(r#","params":{"name":"#).string(name).raw(r#","arguments":"#).raw(args);
                }
                Request::Resource => {
                    writer.raw(r#","params":{"uri":"#).string(name);
                }
                Request::Completion(of) => {
                    let (kind, key) = match of {
                        Completes::Prompt => ("ref/prompt", "name"),
                        Completes::Template => ("ref/resource", "uri"),
                    };
                    writer.raw(r#","params":{"ref":{"type":"#).string(kind).raw(",").string(key);
                    writer.raw(":").string(name).raw("}");
                    let written = each_member(args, |key, value| {
                        writer.raw(",").string(key).raw(":").raw(value);
                    });
                    debug_assert!(written.is_ok(), "a call takes nothing but an object for its arguments");
                }
            }
            if let Some(Input { responses, state }) = input {
                writer.raw(r#","inputResponses":"#).raw(responses.as_str());
                if let Some(state) = state {
                    writer.raw(r#","requestState":"#).raw(state.as_str());
                }
            }
            self.write_meta(writer, meta);
            writer.raw("}");
        })
    }

    /// A request for a page of a list.
    pub(crate) fn encode_list(&self, id: u64, kind: EntryKind, cursor: Option<&str>) -> Bytes {
        let method = self.list_method(kind);
        match self.0.dialect {
            Dialect::ToolExecute => Writer::request(id, method, 0).finish(),
            Dialect::Mcp => {
                let mut writer = Writer::request(id, method, self.0.meta.len() + 64);
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

    /// Asks a modern server to tell of changes: of these lists, and of these resources.
    pub(crate) fn encode_listen<'a>(
        &self,
        id: u64,
        changes: Kinds,
        resources: impl Iterator<Item = &'a String>,
    ) -> Bytes {
        let mut writer = Writer::request(id, LISTEN_METHOD, self.0.meta.len() + 256);
        writer.raw(r#","params":{"notifications":{"#);
        let mut separator = "";
        for kind in changes.iter() {
            let member = match kind {
                EntryKind::Tool => "toolsListChanged",
                EntryKind::Resource => "resourcesListChanged",
                EntryKind::Prompt => "promptsListChanged",
                // They are told of with the resources.
                EntryKind::ResourceTemplate => continue,
            };
            writer.raw(separator).string(member).raw(":true");
            separator = ",";
        }
        let mut resources = resources.peekable();
        if resources.peek().is_some() {
            writer.raw(separator).raw(r#""resourceSubscriptions":["#);
            for (index, uri) in resources.enumerate() {
                writer.raw(if index == 0 { "" } else { "," }).string(uri);
            }
            writer.raw("]");
        }
        writer.raw("}");
        self.write_meta(&mut writer, RequestMeta::default());
        writer.raw("}").finish()
    }

    /// Asks a legacy server to tell of changes of a resource, or no longer.
    pub(crate) fn encode_subscribe(&self, id: u64, uri: &str, wanted: bool) -> Bytes {
        let mut writer = Writer::request(id, subscribe_method(wanted), uri.len() + 64);
        writer.raw(r#","params":{"uri":"#).string(uri).raw("}").finish()
    }

    /// Calls a request off; the tool-execute dialect has no word for it.
    pub(crate) fn encode_cancel(&self, id: u64, reason: &str) -> Option<Bytes> {
        match self.0.dialect {
            Dialect::ToolExecute => None,
            Dialect::Mcp => {
                let mut writer = Writer::notification("notifications/cancelled");
                writer.raw(r#","params":{"requestId":"#).number(id).raw(r#","reason":"#).string(reason);
                self.write_meta(&mut writer, RequestMeta::default());
                Some(writer.raw("}").finish())
            }
        }
    }

    /// Writes `_meta`: ours, and after it the host's entries. Of those, the modern era keeps the reserved ones out, so
    /// that no key stands there twice.
    fn write_meta(&self, writer: &mut Writer, meta: RequestMeta<'_>) {
        let Agreed { dialect, era, meta: ours, .. } = &*self.0;
        let token = meta.progress_token.filter(|_| *dialect == Dialect::Mcp);
        let level = meta.log_level.filter(|_| *era == Some(Era::Modern));
        if ours.is_empty() && token.is_none() && meta.host.is_none() {
            return;
        }
        writer.raw(r#","_meta":{"#);
        match meta.capabilities.filter(|_| *era == Some(Era::Modern)) {
            Some(capabilities) => writer.raw(&modern_meta(capabilities)),
            None => writer.raw(ours),
        };
        let mut separator = if ours.is_empty() { "" } else { "," };
        if let Some(token) = token {
            writer.raw(separator).raw(r#""progressToken":"#).number(token);
            separator = ",";
        }
        if let Some(level) = level {
            writer.raw(separator).raw(r#""io.modelcontextprotocol/logLevel":"#).string(level.name());
            separator = ",";
        }
        if let Some(host) = meta.host {
            let reserved = |key: &str| *era == Some(Era::Modern) && RESERVED_META.contains(&key);
            let written = each_member(host.as_str(), |key, value| {
                if !reserved(key) && key != PROGRESS_TOKEN {
                    writer.raw(separator).string(key).raw(":").raw(value);
                    separator = ",";
                }
            });
            debug_assert!(written.is_ok(), "a call takes nothing but an object for its _meta");
        }
        writer.raw("}");
    }

    /// The result of a call: in the tool-execute dialect without its envelope, taken off once. A result that has none
    /// passes as it is. None for what is no result: in MCP each is an object.
    pub(crate) fn unwrap_result(&self, result: RawJson) -> Option<RawJson> {
        match self.0.dialect {
            Dialect::Mcp => Some(result).filter(|result| result.as_str().starts_with('{')),
            Dialect::ToolExecute => {
                let inner = match members(result.as_str(), ["toolName", "result"]) {
                    Ok([Some(tool), Some(inner)]) if tool.starts_with('"') => {
                        Some(slice_of(result.bytes(), inner))
                    }
                    Ok(_) | Err(_) => None,
                };
                Some(inner.unwrap_or(result))
            }
        }
    }
}

/// The answer to a request of the server's.
pub(crate) fn encode_answer(id: &RawJson, answered: &Result<RawJson, RpcError>) -> Bytes {
    let mut writer = Writer::answer(id);
    match answered {
        Ok(result) => writer.raw(r#","result":"#).raw(result.as_str()).finish(),
        Err(RpcError { code, message, data }) => {
            writer.raw(r#","error":{"code":"#).raw(&code.to_string());
            writer.raw(r#","message":"#).string(message);
            if let Some(data) = data {
                writer.raw(r#","data":"#).raw(data.as_str());
            }
            writer.raw("}").finish()
        }
    }
}

/// The answer to a request that comes before the handshake is done: nothing but `ping` is known yet.
pub(super) fn early_answer(id: &RawJson, method: &str) -> Bytes {
    let unknown = || RpcError {
        code: RpcError::METHOD_NOT_FOUND,
        message: "this client has no such method".to_owned(),
        data: None,
    };
    let known = (method == "ping").then(RawJson::empty_object);
    encode_answer(id, &known.ok_or_else(unknown))
}

/// What a notification means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A list changed: of resources, that of their templates may have changed as well.
    ListChanged(EntryKind),
    /// A resource changed.
    ResourceUpdated,
    /// A subscription stands.
    Acknowledged,
    /// The server takes back a question, or gives up a request of ours.
    Cancelled,
    /// How far a call has come.
    Progress,
    /// A message of the server's log.
    Log,
    /// Nothing that is acted on.
    Other,
}

impl Notice {
    /// The meaning of `method`.
    pub(crate) fn of(method: &str) -> Self {
        match method {
            "notifications/tools/list_changed" => Self::ListChanged(EntryKind::Tool),
            "notifications/resources/list_changed" => Self::ListChanged(EntryKind::Resource),
            "notifications/prompts/list_changed" => Self::ListChanged(EntryKind::Prompt),
            "notifications/resources/updated" => Self::ResourceUpdated,
            "notifications/subscriptions/acknowledged" => Self::Acknowledged,
            "notifications/cancelled" => Self::Cancelled,
            "notifications/progress" => Self::Progress,
            "notifications/message" => Self::Log,
            _ => Self::Other,
        }
    }
}

/// The URI that a `notifications/resources/updated` names.
pub(crate) fn updated_uri(params: &RawJson) -> Option<String> {
    let [uri] = members(params.as_str(), ["uri"]).ok()?;
    string(uri?)
}

/// The id of ours that is written so, if it is one.
pub(crate) fn own_request(id: &str) -> Option<u64> {
    envelope::own_request(id)
}

/// The id that a `notifications/cancelled` names, as it is written.
pub(crate) fn cancelled_id(params: &RawJson) -> Option<&str> {
    let [id] = members(params.as_str(), ["requestId"]).ok()?;
    id
}

#[cfg(test)]
mod tests;
