//! What a client is told of a call that has no result.

use serde::Serialize;

use super::message::rpc_error;
use crate::call::Reply;
use crate::duration::millis;
use crate::error::{CallError, CallErrorKind, Effect, RpcError};
use crate::json::RawJson;
use crate::offer::URI_BYTES_MAX;
use crate::peer_text::beginning;

/// The codes that the protocol keeps for itself. What a server says there is between it and us, but for one.
const RESERVED: std::ops::RangeInclusive<i64> = -32099..=-32020;

/// A capability that the client lacks: its own business.
const MISSING_CAPABILITY: i64 = -32021;

/// A legacy server has no such resource; and it wants the user to visit a page.
const LEGACY_NOT_FOUND: i64 = -32002;
const LEGACY_URL_ELICITATION: i64 = -32042;

/// Too many requests of one client are open.
const BUSY: i64 = 1002;

/// What is known of an error of ours, for whoever wants to try again.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'e> {
    /// The kind's stable name.
    kind: &'e str,
    outcome: Effect,
    retryable: bool,
    request_id: Option<&'e str>,
    server: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl Data<'_> {
    fn written(&self) -> Option<RawJson> {
        RawJson::from_value(self).ok()
    }
}

/// What a client of this era is told of a failed call.
pub(crate) fn failure(error: &CallError, modern: bool) -> RpcError {
    if let CallErrorKind::Rpc(said) = error.kind() {
        return passed_on(said, modern);
    }
    let data = Data {
        kind: error.kind().name(),
        outcome: error.effect(),
        retryable: error.retryable(),
        request_id: Some(error.request_id().as_str()),
        server: error.server().map(|server| server.as_str()),
        retry_after_ms: error.retry_after().map(millis),
    };
    RpcError { code: code(error.kind()), message: error.to_string(), data: data.written() }
}

/// A request that nobody was sent, as so many of this client are open.
pub(crate) fn busy(limit: usize) -> RpcError {
    own(BUSY, "overloaded", true, format!("{limit} requests of this client are open: wait for one of them"))
}

/// A tool that is not known yet, and may be when those that are missing have come.
pub(crate) fn not_known_yet(name: &str, missing: &str) -> RpcError {
    own(
        1001,
        "unavailable",
        true,
        format!("unknown so far: {name}; these servers have not told what they offer: {missing}"),
    )
}

/// A resource that no server is known to have.
pub(crate) fn not_found(uri: &str, modern: bool) -> RpcError {
    #[derive(Serialize)]
    struct NotFound<'u> {
        uri: &'u str,
    }
    let code = if modern { RpcError::INVALID_PARAMS } else { LEGACY_NOT_FOUND };
    let data = RawJson::from_value(&NotFound { uri: beginning(uri, URI_BYTES_MAX) }).ok();
    RpcError { data, ..rpc_error(code, "resource not found") }
}

/// A result that asks what a client of the legacy era cannot be asked so.
pub(crate) fn unanswered(reply: &Reply) -> RpcError {
    let message = format!("the server {} asks back, which this client cannot answer", reply.server);
    of_reply(1008, "unanswered", message, reply)
}

/// A result that was not kept, as its client does not read.
pub(crate) fn lost(reply: &Reply) -> RpcError {
    let message = "the result is lost: this client reads too slowly".to_owned();
    of_reply(1014, "result-lost", message, reply)
}

/// A result that is none of the protocol's.
pub(crate) fn no_result(reply: &Reply) -> RpcError {
    let message = format!("the server {} answered with what is no result", reply.server);
    of_reply(1007, "invalid-response", message, reply)
}

/// An error about the answer of a server, who may have carried the call out.
fn of_reply(code: i64, kind: &str, message: String, reply: &Reply) -> RpcError {
    let data = Data {
        kind,
        outcome: Effect::Unknown,
        retryable: false,
        request_id: Some(reply.request_id.as_str()),
        server: Some(reply.server.as_str()),
        retry_after_ms: None,
    };
    RpcError { code, message, data: data.written() }
}

fn own(code: i64, kind: &str, retryable: bool, message: String) -> RpcError {
    let data = Data {
        kind,
        outcome: Effect::NotSent,
        retryable,
        request_id: None,
        server: None,
        retry_after_ms: None,
    };
    RpcError { code, message, data: data.written() }
}

/// Errors of our own have codes that no protocol has: a client can tell them from its server's.
fn code(kind: &CallErrorKind) -> i64 {
    match kind {
        CallErrorKind::InvalidArguments { .. }
        | CallErrorKind::InvalidOptions { .. }
        | CallErrorKind::TooLong { .. }
        | CallErrorKind::InvalidTraceContext { .. }
        | CallErrorKind::UnknownTool { .. }
        | CallErrorKind::UnknownPrompt { .. }
        | CallErrorKind::UnknownResource
        | CallErrorKind::AmbiguousTool { .. }
        | CallErrorKind::AmbiguousPrompt { .. }
        | CallErrorKind::AmbiguousResource { .. } => RpcError::INVALID_PARAMS,
        CallErrorKind::Unavailable { .. } | CallErrorKind::NoMatch { .. } => 1001,
        CallErrorKind::Overloaded { .. } => BUSY,
        CallErrorKind::DeadlineExceeded { .. } => 1003,
        CallErrorKind::ConnectionLost { .. } => 1004,
        CallErrorKind::ServerDown { .. } => 1005,
        CallErrorKind::Refused(_) => 1006,
        CallErrorKind::InvalidResponse { .. } => 1007,
        CallErrorKind::Unanswered { .. } => 1008,
        CallErrorKind::TooLarge { .. } => 1009,
        CallErrorKind::Interrupted => 1010,
        CallErrorKind::ShuttingDown { .. } | CallErrorKind::Closed => 1011,
        CallErrorKind::Denied { .. } => 1012,
        CallErrorKind::LeaseEnded { .. } => 1013,
        CallErrorKind::Rpc(error) => error.code,
    }
}

/// A server's own error. It passes as it is, unless its code means something between this client and us.
fn passed_on(said: &RpcError, modern: bool) -> RpcError {
    match said.code {
        LEGACY_NOT_FOUND if modern => RpcError { code: RpcError::INVALID_PARAMS, ..said.clone() },
        LEGACY_URL_ELICITATION if modern => upstream(said),
        MISSING_CAPABILITY => said.clone(),
        // A legacy client knows this code of its own era.
        LEGACY_URL_ELICITATION => said.clone(),
        code if RESERVED.contains(&code) => upstream(said),
        _ => said.clone(),
    }
}

fn upstream(said: &RpcError) -> RpcError {
    #[derive(Serialize)]
    struct Within<'e> {
        upstream: &'e RpcError,
    }
    let data = RawJson::from_value(&Within { upstream: said }).ok();
    RpcError { data, ..rpc_error(RpcError::INTERNAL_ERROR, said.message.as_str()) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::id::{RequestId, ServerId};

    fn told(kind: CallErrorKind, modern: bool) -> (i64, Value) {
        let server = ServerId::new("files").unwrap();
        let error = CallError::new(kind, RequestId::random(), "read", Some(server), 1);
        let RpcError { code, data, .. } = failure(&error, modern);
        (code, data.map_or(Value::Null, |data| data.parse().unwrap()))
    }

    #[test]
    fn an_error_of_ours_says_what_is_known_of_the_call_under_a_code_that_no_protocol_has() {
        let (code, data) = told(CallErrorKind::ConnectionLost { reason: "cut".into(), sent: true }, true);
        assert_eq!(code, 1004);
        assert_eq!(
            (&data["outcome"], &data["retryable"], &data["server"], &data["kind"]),
            (&json!("unknown"), &json!(false), &json!("files"), &json!("connection-lost"))
        );
        assert!(data["requestId"].is_string());
    }

    #[test]
    fn a_servers_error_passes_unless_its_code_is_between_the_client_and_us() {
        let rpc = |code: i64| {
            CallErrorKind::Rpc(RpcError {
                code,
                message: "no".into(),
                data: Some(RawJson::from_text("{\"uri\":\"a\"}").unwrap()),
            })
        };
        for (said, modern, legacy) in [
            (-32602, -32602, -32602),
            (-1, -1, -1),
            (-32000, -32000, -32000),
            (-32021, -32021, -32021),
            (-32020, -32603, -32603),
            (-32022, -32603, -32603),
            (-32002, -32602, -32002),
            (-32042, -32603, -32042),
        ] {
            let (to_modern, data) = told(rpc(said), true);
            assert_eq!((to_modern, told(rpc(said), false).0), (modern, legacy), "{said}");
            match modern {
                -32603 => assert_eq!(data["upstream"]["code"], said),
                _ => assert_eq!(data["uri"], "a"),
            }
        }
    }
}
