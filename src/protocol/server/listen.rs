//! `subscriptions/listen`: a modern client wants to be told of changes, for as long as its request is open.

use bytes::Bytes;

use super::answer::notification_line;
use super::id::ClientId;
use super::message::{not_once, rpc_error};
use super::repair::modern_members;
use crate::error::RpcError;
use crate::json::RawJson;
use crate::json::members::{given, members_once};

/// The entry of `_meta` that names the request on whose behalf something is told.
const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

/// Of which lists a client wants to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Listened {
    pub tools: bool,
    pub prompts: bool,
    pub resources: bool,
}

impl Listened {
    /// Reads the params. Subscriptions to single resources are among what is passed over: they are not granted.
    ///
    /// # Errors
    /// What is answered where they are wrong.
    pub(crate) fn read(params: Option<&RawJson>) -> Result<Self, RpcError> {
        let wrong = |wrong| not_once("the params", RpcError::INVALID_PARAMS, wrong);
        let [wanted] =
            members_once(params.map_or("{}", RawJson::as_str), ["notifications"]).map_err(wrong)?;
        let Some(wanted) = given(wanted) else {
            return Err(rpc_error(RpcError::INVALID_PARAMS, "notifications must be an object"));
        };
        let names = ["toolsListChanged", "promptsListChanged", "resourcesListChanged"];
        let wrong = |wrong| not_once("notifications", RpcError::INVALID_PARAMS, wrong);
        let [tools, prompts, resources] =
            members_once(wanted, names).map_err(wrong)?.map(|said| said == Some("true"));
        Ok(Self { tools, prompts, resources })
    }
}

fn meta(id: &ClientId) -> String {
    format!(r#""_meta":{{"{SUBSCRIPTION_ID}":{}}}"#, id.as_str())
}

/// What is granted to a client that listens.
pub(crate) fn acknowledged_line(id: &ClientId, granted: Listened) -> Bytes {
    let named = [
        (granted.tools, r#""toolsListChanged":true"#),
        (granted.prompts, r#""promptsListChanged":true"#),
        (granted.resources, r#""resourcesListChanged":true"#),
    ];
    let granted: Vec<&str> = named.iter().filter(|(granted, _)| *granted).map(|(_, name)| *name).collect();
    let params = format!(r#"{{"notifications":{{{}}},{}}}"#, granted.join(","), meta(id));
    notification_line("notifications/subscriptions/acknowledged", Some(&params))
}

/// A list has changed, for a client that listens.
pub(crate) fn changed_line(method: &str, id: &ClientId) -> Bytes {
    notification_line(method, Some(&format!("{{{}}}", meta(id))))
}

/// The result of a request to listen, when nothing more comes.
pub(crate) fn listen_result(id: &ClientId) -> String {
    // One `_meta` has both.
    let members = modern_members();
    let members = members.strip_suffix('}').unwrap_or(&members);
    format!(r#"{{{members},"{SUBSCRIPTION_ID}":{}}}}}"#, id.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(params: &str) -> Result<Listened, RpcError> {
        Listened::read(Some(&RawJson::from_text(params).unwrap()))
    }

    #[test]
    fn what_is_granted_is_what_is_asked_for_of_what_there_is() {
        let wanted = read(
            r#"{"notifications":{"toolsListChanged":true,"promptsListChanged":false,"resourceSubscriptions":["file:///a"]}}"#,
        );
        let granted = wanted.unwrap();
        assert_eq!(granted, Listened { tools: true, ..Listened::default() });
        let line = acknowledged_line(&ClientId::read("\"a\"").unwrap(), granted);
        let told: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(
            told["params"],
            json!({"notifications": {"toolsListChanged": true}, "_meta": {SUBSCRIPTION_ID: "a"}})
        );
        for wrong in [
            "{}",
            r#"{"notifications":[]}"#,
            r#"{"notifications":{"toolsListChanged":true,"toolsListChanged":true}}"#,
        ] {
            assert_eq!(read(wrong).unwrap_err().code, -32602, "{wrong}");
        }
    }

    #[test]
    fn the_end_names_the_request() {
        let result: Value = serde_json::from_str(&listen_result(&ClientId::read("7").unwrap())).unwrap();
        assert_eq!(
            (&result["resultType"], &result["_meta"][SUBSCRIPTION_ID]),
            (&json!("complete"), &json!(7))
        );
        assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "mcp-troupe");
    }
}
