use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::protocol::envelope::{Incoming, decode};

fn session(dialect: Dialect, era: Option<Era>) -> Session {
    Session::new(dialect, era, "v".into(), None, Declared::default(), "{}")
}

fn every_session() -> [Session; 3] {
    [
        session(Dialect::Mcp, Some(Era::Modern)),
        session(Dialect::Mcp, Some(Era::Legacy)),
        session(Dialect::ToolExecute, None),
    ]
}

fn value(frame: &Bytes) -> Value {
    serde_json::from_slice(frame).unwrap()
}

fn raw(text: &str) -> RawJson {
    RawJson::from_text(text).unwrap()
}

#[test]
fn a_modern_call_carries_version_capabilities_and_client_and_after_them_the_hosts_entries() {
    let session = session(Dialect::Mcp, Some(Era::Modern));
    let meta = json!({"traceparent": "00-1", "n": 7.0});
    let call = Call::tool("a name of the host's").args(json!({})).meta(&meta);
    let frame = session.encode_call(&mut FrameMemory::default(), 7, "file.read", &call, None);
    let written = value(&frame);
    assert_eq!((written["jsonrpc"].as_str(), written["id"].as_u64()), (Some("2.0"), Some(7)));
    let params = &written["params"];
    assert_eq!(params["name"], "file.read");
    assert_eq!(
        params["_meta"],
        json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": {"name": "mcp-troupe", "version": env!("CARGO_PKG_VERSION")},
            "traceparent": "00-1",
            "n": 7.0,
        })
    );
    let text = std::str::from_utf8(&frame).unwrap();
    assert!(text.contains(r#""n":7.0"#), "{text}");
}

#[test]
fn a_call_that_answers_carries_the_answers_and_the_state_to_the_letter() {
    let session = session(Dialect::Mcp, Some(Era::Modern));
    let params = |state: Option<&str>| {
        let call = Call::tool("t").input(json!({"k": {"action": "decline"}}), state.map(raw));
        value(&session.encode_call(&mut FrameMemory::default(), 1, "t", &call, None))["params"].clone()
    };
    let answered = params(Some(r#""c3RhdGU=""#));
    assert_eq!(answered["inputResponses"], json!({"k": {"action": "decline"}}));
    assert_eq!(answered["requestState"], "c3RhdGU=");
    assert_eq!(params(None).get("requestState"), None);
    assert!(Call::tool("t").input(json!([1]), None).args.is_err());
}

#[test]
fn a_host_cannot_speak_for_the_client_in_a_modern_call() {
    let session = session(Dialect::Mcp, Some(Era::Modern));
    let meta = raw(
        r#"{"io.modelcontextprotocol/protocolVersion":"9","a":1,"io.modelcontextprotocol\u002fclientCapabilities":{"roots":{}}}"#,
    );
    let frame = session.encode_call(&mut FrameMemory::default(), 1, "t", &Call::tool("t").meta(&meta), None);
    let text = std::str::from_utf8(&frame).unwrap();
    assert_eq!(text.matches("protocolVersion").count(), 1, "{text}");
    assert_eq!(text.matches("clientCapabilities").count(), 1, "{text}");
    assert_eq!(value(&frame)["params"]["_meta"]["a"], 1);
}

#[test]
fn a_legacy_call_carries_no_meta_but_the_hosts() {
    let session = session(Dialect::Mcp, Some(Era::Legacy));
    let call = json!({"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{}}});
    assert_eq!(
        value(&session.encode_call(&mut FrameMemory::default(), 1, "t", &Call::tool("t"), None)),
        call
    );
    let meta = raw(r#" { "a" : 1 } "#);
    assert_eq!(
        value(&session.encode_call(&mut FrameMemory::default(), 1, "t", &Call::tool("t").meta(&meta), None))
            ["params"]["_meta"],
        json!({"a":1})
    );
}

#[test]
fn a_call_asks_for_progress_and_log_messages_where_its_server_has_words_for_that() {
    let call = Call::tool("t").log_level(LogLevel::Warning);
    let asked = |session: &Session| {
        let frame = session.encode_call(&mut FrameMemory::default(), 7, "t", &call, Some(7));
        value(&frame)["params"]["_meta"].clone()
    };
    let [modern, legacy, other] = every_session().map(|session| asked(&session));
    assert_eq!(modern["progressToken"], 7);
    assert_eq!(modern["io.modelcontextprotocol/logLevel"], "warning");
    assert_eq!(legacy, json!({"progressToken": 7}));
    assert_eq!(other, Value::Null);
}

#[test]
fn no_progress_token_but_ours_is_ever_written() {
    let mut call = Call::tool("t");
    call.options_mut().meta = Ok(Some(raw(r#"{"progressToken":7,"a":1,"progress\u0054oken":8}"#)));
    for session in every_session() {
        for (token, expected) in [(None, Value::Null), (Some(9), json!(9))] {
            let frame = session.encode_call(&mut FrameMemory::default(), 1, "t", &call, token);
            let meta = value(&frame)["params"]["_meta"].clone();
            assert_eq!(meta["a"], 1);
            let expected = if session.era().is_some() { expected } else { Value::Null };
            assert_eq!(meta["progressToken"], expected);
            assert!(std::str::from_utf8(&frame).unwrap().matches("rogress").count() <= 1);
        }
    }
}

#[test]
fn lists_and_cancellations_are_whole_messages_in_both_eras() {
    for era in [Era::Modern, Era::Legacy] {
        let session = session(Dialect::Mcp, Some(era));
        let list = value(&session.encode_list(3, EntryKind::Tool, Some("a\"b")));
        assert_eq!(
            (list["method"].as_str(), list["params"]["cursor"].as_str()),
            (Some("tools/list"), Some("a\"b"))
        );
        assert_eq!(list["params"].get("_meta").is_some(), era == Era::Modern);
        assert_eq!(value(&session.encode_list(3, EntryKind::Tool, Some("")))["params"]["cursor"], "");
        assert_eq!(value(&session.encode_list(3, EntryKind::Tool, None))["params"].get("cursor"), None);
        let cancel = value(&session.encode_cancel(3, "why").unwrap());
        assert_eq!(cancel["method"], "notifications/cancelled");
        assert_eq!((cancel["params"]["requestId"].as_u64(), cancel.get("id")), (Some(3), None));
    }
}

#[test]
fn the_tool_execute_dialect_has_its_own_words() {
    let session = session(Dialect::ToolExecute, None);
    let call =
        json!({"jsonrpc":"2.0","id":1,"method":"tool.execute","params":{"name":"file.read","arguments":{}}});
    assert_eq!(
        value(&session.encode_call(&mut FrameMemory::default(), 1, "file.read", &Call::tool("t"), None)),
        call
    );
    assert_eq!(
        value(&session.encode_list(1, EntryKind::Tool, None)),
        json!({"jsonrpc":"2.0","id":1,"method":"tool.list"})
    );
    assert!(session.encode_cancel(1, "").is_none());
}

#[test]
fn the_tool_execute_envelope_is_taken_off_once_and_without_a_copy() {
    let session = session(Dialect::ToolExecute, None);
    let wrapped = raw(r#"{"toolName":"t","result": {"toolName":"t","result":1.00} }"#);
    let bytes = wrapped.bytes().clone();
    let inner = session.unwrap_result(wrapped).unwrap();
    assert_eq!(inner.as_str(), r#"{"toolName":"t","result":1.00}"#);
    assert!(bytes.as_ptr_range().contains(&inner.as_bytes().as_ptr()), "it was copied");
}

#[test]
fn a_tool_execute_result_without_its_envelope_passes_as_it_is() {
    let session = session(Dialect::ToolExecute, None);
    // A list of two, the first a string, stands where a derived struct would see name and result.
    for bare in [
        r#"{"rows":[]}"#,
        "[1]",
        r#"["a.txt","b.txt"]"#,
        "null",
        r#"{"toolName":1,"result":2}"#,
        r#"{"result":2}"#,
    ] {
        assert_eq!(session.unwrap_result(raw(bare)).unwrap().as_str(), bare);
    }
}

#[test]
fn an_mcp_result_is_never_unwrapped() {
    let text = r#"{"toolName":"t","result":1}"#;
    assert_eq!(session(Dialect::Mcp, Some(Era::Legacy)).unwrap_result(raw(text)).unwrap().as_str(), text);
}

#[test]
fn a_servers_ping_is_answered_and_nothing_else_is_known() {
    assert_eq!(value(&early_answer(&raw("\"x\""), "ping")), json!({"jsonrpc":"2.0","id":"x","result":{}}));
    let long = "x".repeat(10_000);
    for method in ["roots/list", "sampling/createMessage", "elicitation/create", &long] {
        let frame = early_answer(&raw("0"), method);
        let answer = value(&frame);
        assert_eq!((answer["id"].as_u64(), answer["error"]["code"].as_i64()), (Some(0), Some(-32601)));
        assert!(frame.len() < 200, "what the server said is said back");
    }
}

#[test]
fn only_what_is_acted_on_is_news() {
    assert_eq!(Notice::of("notifications/tools/list_changed"), Notice::ListChanged(EntryKind::Tool));
    assert_eq!(Notice::of("notifications/progress"), Notice::Progress);
    assert_eq!(Notice::of("notifications/message"), Notice::Log);
    for other in ["notifications/initialized", "notifications/tools/list", ""] {
        assert_eq!(Notice::of(other), Notice::Other);
    }
}

/// Texts of JSON values, with what a parser that goes through numbers, maps or strings would change.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("1.10000000000000000000000001".to_owned()),
        Just("-0.0e-0".to_owned()),
        Just("1E999".to_owned()),
        Just("123456789012345678901234567890".to_owned()),
        Just(r#""\u00e9\ud83d\ude00\/""#.to_owned()),
        ".*".prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[ {} ]", items.join(" ,"))),
            object_text(inner),
        ]
    })
}

/// Texts of objects: keys in any order, some of them twice.
fn object_text(member: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop::collection::vec(("[a-c]{1,2}", member), 0..4).prop_map(|members| {
        let members: Vec<String> =
            members.iter().map(|(key, value)| format!(r#""{key}" : {value}"#)).collect();
        format!("{{{}}}", members.join(",\t"))
    })
}

proptest! {
    #[test]
    fn a_call_is_read_back_with_its_arguments_unchanged(
        id in any::<u64>(),
        tool in ".*",
        args in object_text(json_text()),
        meta in prop::option::of(object_text(json_text())),
    ) {
        for session in every_session() {
            let mut call = Call::tool("t").raw_args(args.as_str());
            call.options_mut().meta = Ok(meta.as_deref().map(raw));
            let frame = session.encode_call(&mut FrameMemory::default(), id, &tool, &call, None);
            let mut seen = Vec::new();
            decode(frame, |incoming| seen.push(incoming)).unwrap();
            let Some(Incoming::Request { id: read, params: Some(params), .. }) = seen.pop() else { panic!() };
            prop_assert_eq!(read.as_str(), id.to_string());
            let [name, written] = members(params.as_str(), ["name", "arguments"]).unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(name.unwrap()).unwrap(), tool.as_str());
            prop_assert_eq!(written.unwrap(), args.as_str());
        }
    }

    #[test]
    fn a_result_is_the_exact_text_that_the_server_wrote(result in json_text()) {
        let frame = Bytes::from(format!(r#"{{"jsonrpc":"2.0","result":{result},"id":1}}"#));
        let mut seen = Vec::new();
        decode(frame, |incoming| seen.push(incoming)).unwrap();
        let Some(Incoming::Response(response)) = seen.pop() else { panic!() };
        let read = session(Dialect::Mcp, Some(Era::Modern)).unwrap_result(response.outcome.unwrap());
        let expected = result.starts_with('{').then_some(result.as_str());
        prop_assert_eq!(read.as_ref().map(RawJson::as_str), expected, "what is no object is none");
    }

    #[test]
    fn lists_and_cancellations_are_read_back(id in any::<u64>(), text in ".*") {
        for session in every_session() {
            for frame in [Some(session.encode_list(id, EntryKind::Tool, Some(&text))), session.encode_cancel(id, &text)] {
                let Some(frame) = frame else { continue };
                let mut seen = 0;
                decode(frame, |_| seen += 1).unwrap();
                prop_assert_eq!(seen, 1);
            }
        }
    }
}
