//! How this server introduces itself, and which version is spoken.

use super::message::{not_once, rpc_error};
use super::meta::supported;
use crate::error::RpcError;
use crate::json::RawJson;
use crate::json::members::{given, members_once, string};
use crate::protocol::LEGACY_VERSIONS;

/// What this server calls itself.
pub(crate) const SERVER_INFO: &str =
    concat!(r#"{"name":"mcp-troupe","title":"MCP Troupe","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);

/// What this server can, whatever its upstreams offer: those may come later, and an empty list is a list.
const CAPABILITIES: &str = concat!(
    r#"{"completions":{},"logging":{},"prompts":{"listChanged":true},"resources":{"listChanged":true},"#,
    r#""tools":{"listChanged":true}}"#,
);

/// What a legacy session is agreed on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Agreed {
    /// The version.
    pub version: &'static str,
    /// What the client can: an object.
    pub capabilities: RawJson,
}

/// Reads the params of `initialize`. A version that is known is spoken; in place of another one the newest legacy one.
///
/// # Errors
/// What is answered where they are wrong.
pub(crate) fn agree(params: Option<&RawJson>) -> Result<Agreed, RpcError> {
    let wrong = |message: &str| rpc_error(RpcError::INVALID_PARAMS, message);
    let text = params.map_or("{}", RawJson::as_str);
    let read = members_once(text, ["protocolVersion", "capabilities"]);
    let [version, capabilities] =
        read.map_err(|wrong| not_once("the params", RpcError::INVALID_PARAMS, wrong))?;
    let version = given(version).and_then(string).ok_or_else(|| wrong("protocolVersion must be a string"))?;
    let version = LEGACY_VERSIONS.into_iter().find(|known| *known == version).unwrap_or(LEGACY_VERSIONS[0]);
    let capabilities = match given(capabilities) {
        // In bytes of their own, for as long as the session lives.
        Some(raw) if raw.starts_with('{') => RawJson::trusted(raw.to_owned().into()),
        Some(_) => return Err(wrong("capabilities must be an object")),
        None => RawJson::empty_object(),
    };
    Ok(Agreed { version, capabilities })
}

/// The result of `initialize`.
pub(crate) fn initialize_result(version: &str, instructions: Option<&str>) -> String {
    let instructions = written(instructions);
    format!(
        r#"{{"protocolVersion":"{version}","capabilities":{CAPABILITIES},"serverInfo":{SERVER_INFO}{instructions}}}"#
    )
}

/// The result of `server/discover`. What it says changes with this process alone, but for the instructions.
pub(crate) fn discover_result(instructions: Option<&str>, ttl_ms: u64) -> String {
    format!(
        r#"{{"resultType":"complete","supportedVersions":{},"capabilities":{CAPABILITIES}{},"ttlMs":{ttl_ms},"cacheScope":"private","_meta":{{"io.modelcontextprotocol/serverInfo":{SERVER_INFO}}}}}"#,
        supported(),
        written(instructions),
    )
}

fn written(instructions: Option<&str>) -> String {
    let text = |text: &str| format!(r#","instructions":{}"#, serde_json::Value::from(text));
    instructions.map(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn agreed(params: &str) -> Result<Agreed, RpcError> {
        agree(Some(&RawJson::from_text(params).unwrap()))
    }

    #[test]
    fn a_version_that_is_known_is_spoken_and_the_newest_legacy_one_in_place_of_others() {
        for version in LEGACY_VERSIONS {
            assert_eq!(agreed(&format!(r#"{{"protocolVersion":"{version}"}}"#)).unwrap().version, version);
        }
        for version in ["2026-07-28", "2099-01-01", ""] {
            assert_eq!(
                agreed(&format!(r#"{{"protocolVersion":"{version}"}}"#)).unwrap().version,
                "2025-11-25"
            );
        }
        assert_eq!(agreed("{}").unwrap_err().code, -32602);
        assert_eq!(agreed(r#"{"protocolVersion":"2025-11-25","capabilities":7}"#).unwrap_err().code, -32602);
    }

    #[test]
    fn the_results_are_json_with_what_clients_look_for() {
        let result: Value =
            serde_json::from_str(&initialize_result("2025-11-25", Some("a \"word\""))).unwrap();
        assert_eq!(result["serverInfo"]["name"], "mcp-troupe");
        assert_eq!(result["instructions"], "a \"word\"");
        let result: Value = serde_json::from_str(&discover_result(None, 1000)).unwrap();
        assert_eq!(result["supportedVersions"].as_array().unwrap().len(), 5);
        assert!(result.get("instructions").is_none() && result["ttlMs"] == 1000);
        assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "mcp-troupe");
    }
}
