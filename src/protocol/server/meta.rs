//! What a client's request says in its `_meta`: by that it is modern or not.

use super::message::{not_once, rpc_error};
use crate::call_update::LogLevel;
use crate::error::RpcError;
use crate::json::RawJson;
use crate::json::members::{each_member, given, members_once, string};
use crate::protocol::{LEGACY_VERSIONS, MODERN_VERSION};

/// The error of a request under a version that is not spoken.
const UNSUPPORTED_VERSION: i64 = -32022;

/// The longest token for progress that is kept, in bytes: as for ids.
const TOKEN_BYTES_MAX: usize = 256;

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
const PROGRESS_TOKEN: &str = "progressToken";

/// What is between this client and us, and goes no further.
const OURS: [&str; 5] = [VERSION, CAPABILITIES, CLIENT_INFO, LOG_LEVEL, PROGRESS_TOKEN];

/// The `_meta` of a client's request.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ClientMeta {
    /// What makes it a modern one; none of a request that belongs to a legacy session.
    pub modern: Option<ModernMeta>,
    /// Under which token it wants to hear of progress, as it was written.
    pub progress_token: Option<RawJson>,
    /// What is passed on to the server.
    pub rest: Option<RawJson>,
}

/// What a modern request says of its client.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ModernMeta {
    /// What the client can: an object.
    pub capabilities: RawJson,
    /// From which level on it wants to hear what is logged; nothing unless said.
    pub log_level: Option<LogLevel>,
}

/// Reads the `_meta` of a request.
///
/// # Errors
/// What is answered where it is wrong.
pub(crate) fn read_meta(params: Option<&RawJson>) -> Result<ClientMeta, RpcError> {
    let wrong = |message: &str| rpc_error(RpcError::INVALID_PARAMS, message);
    let Some(params) = params else { return Ok(ClientMeta::default()) };
    let in_params = members_once(params.as_str(), ["_meta"]);
    let [meta] = in_params.map_err(|wrong| not_once("the params", RpcError::INVALID_PARAMS, wrong))?;
    let Some(meta) = given(meta) else { return Ok(ClientMeta::default()) };
    let members = members_once(meta, OURS);
    let members = members.map_err(|wrong| not_once("_meta", RpcError::INVALID_PARAMS, wrong))?;
    let [version, capabilities, _, log_level, token] = members;
    let slice = |raw: &str| RawJson::trusted(params.bytes().slice_ref(raw.as_bytes()));
    let progress_token = match given(token) {
        Some(token) if !is_token(token) => {
            return Err(wrong("the progressToken must be a string or a number of at most 256 bytes"));
        }
        // In bytes of its own: it is kept until the answer, and the arguments beside it may be large.
        token => token.map(|raw| RawJson::trusted(raw.to_owned().into())),
    };
    let modern = match version {
        None => None,
        Some(version) => {
            let Some(version) = string(version) else {
                return Err(wrong("the protocolVersion in _meta must be a string"));
            };
            let Some(capabilities) = capabilities.filter(|raw| raw.starts_with('{')) else {
                return Err(wrong(
                    "_meta must have io.modelcontextprotocol/clientCapabilities: an object, empty where there are none",
                ));
            };
            if version != MODERN_VERSION {
                return Err(unsupported(&version));
            }
            let log_level = match given(log_level) {
                None => None,
                Some(raw) => {
                    let level = string(raw).and_then(|name| LogLevel::named(&name));
                    Some(level.ok_or_else(|| wrong("the logLevel in _meta is no level"))?)
                }
            };
            Some(ModernMeta { capabilities: slice(capabilities), log_level })
        }
    };
    Ok(ClientMeta {
        modern,
        progress_token,
        rest: rest(meta).map(|rest| rest.unwrap_or_else(|| slice(meta))),
    })
}

/// Whether this may be a token: a string or a number that is not too long.
fn is_token(raw: &str) -> bool {
    matches!(raw.as_bytes(), [b'"' | b'-' | b'0'..=b'9', ..]) && raw.len() <= TOKEN_BYTES_MAX
}

/// What is left without what is ours: none if that is nothing, and `Some(None)` if it is all.
fn rest(meta: &str) -> Option<Option<RawJson>> {
    let (mut text, mut left_out) = (String::from("{"), false);
    let read = each_member(meta, |key, value| {
        if OURS.contains(&key) {
            left_out = true;
            return;
        }
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&serde_json::Value::from(key).to_string());
        text.push(':');
        text.push_str(value);
    });
    debug_assert!(read.is_ok(), "it was read before");
    text.push('}');
    match text.len() {
        2 => None,
        _ if left_out => Some(Some(RawJson::trusted(text.into()))),
        _ => Some(None),
    }
}

/// The versions that are spoken, the newest first.
pub(super) fn supported() -> String {
    let versions = std::iter::once(MODERN_VERSION).chain(LEGACY_VERSIONS);
    format!("[{}]", versions.map(|version| format!("{version:?}")).collect::<Vec<_>>().join(","))
}

fn unsupported(requested: &str) -> RpcError {
    let requested = crate::peer_text::beginning(requested, 64);
    let data =
        format!(r#"{{"supported":{},"requested":{}}}"#, supported(), serde_json::Value::from(requested));
    RpcError {
        code: UNSUPPORTED_VERSION,
        message: "unsupported protocol version".to_owned(),
        data: RawJson::from_text(data).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(meta: &str) -> Result<ClientMeta, RpcError> {
        read_meta(Some(&RawJson::from_text(format!(r#"{{"_meta":{meta}}}"#)).unwrap()))
    }

    #[test]
    fn a_request_is_modern_by_its_version() {
        let meta = of(
            r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"x":1.0},"io.modelcontextprotocol/logLevel":"info"}"#,
        )
        .unwrap();
        let modern = meta.modern.unwrap();
        assert_eq!((modern.capabilities.as_str(), modern.log_level), (r#"{"x":1.0}"#, Some(LogLevel::Info)));
        assert_eq!(meta.rest, None);
        assert_eq!(of("{}").unwrap(), ClientMeta::default());
        assert_eq!(read_meta(None).unwrap(), ClientMeta::default());
    }

    #[test]
    fn what_is_not_ours_is_passed_on_as_it_was_written() {
        let rest = |meta| of(meta).unwrap().rest.map(|rest| rest.as_str().to_owned());
        assert_eq!(rest(r#"{ "a" : 1.0 , "a":2}"#).as_deref(), Some(r#"{ "a" : 1.0 , "a":2}"#));
        assert_eq!(rest(r#"{"progressToken":7, "x/y" : [1] }"#).as_deref(), Some(r#"{"x/y":[1]}"#));
        assert_eq!(rest(r#"{"progressToken":7}"#), None);
    }

    #[test]
    fn a_token_keeps_its_type() {
        let token = |meta| of(meta).unwrap().progress_token.map(|token| token.as_str().to_owned());
        assert_eq!(token(r#"{"progressToken":7}"#).as_deref(), Some("7"));
        assert_eq!(token(r#"{"progressToken":"7"}"#).as_deref(), Some("\"7\""));
        assert!(of(r#"{"progressToken":[]}"#).is_err());
    }

    #[test]
    fn a_modern_request_says_what_it_must() {
        let version = r#""io.modelcontextprotocol/protocolVersion""#;
        let capabilities = r#""io.modelcontextprotocol/clientCapabilities":{}"#;
        for (meta, code) in [
            (format!(r#"{{{version}:"2026-07-28"}}"#), -32602),
            (format!(r#"{{{version}:7,{capabilities}}}"#), -32602),
            (format!(r#"{{{version}:"2025-11-25",{capabilities}}}"#), -32022),
            (format!(r#"{{{version}:"2026-07-28",{version}:"2026-07-28",{capabilities}}}"#), -32602),
            (
                format!(
                    r#"{{{version}:"2026-07-28",{capabilities},"io.modelcontextprotocol/logLevel":"loud"}}"#
                ),
                -32602,
            ),
            ("[]".to_owned(), -32602),
        ] {
            assert_eq!(of(&meta).unwrap_err().code, code, "{meta}");
        }
        let data = of(&format!(r#"{{{version}:"2099-01-01",{capabilities}}}"#)).unwrap_err().data.unwrap();
        assert_eq!(
            data.as_str(),
            r#"{"supported":["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"],"requested":"2099-01-01"}"#
        );
    }
}
