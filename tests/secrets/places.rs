//! Where people put secrets, right and wrong.

use mcp_troupe::testkit::ScriptedServer;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

/// What every secret has in it, and no output may have.
pub const CORE: &str = "7391S3CRET4602";

/// The same as a number, for whoever forgets the quotes.
pub const NUMBER: u64 = 739_146_023_310;

/// Where a text has a secret in it.
pub fn leak(text: &str) -> Option<String> {
    let at = text.find(CORE).or_else(|| text.find(&NUMBER.to_string()[..10]))?;
    let (before, from) = text.split_at(at);
    let before: String = before.chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect();
    Some(before + &from.chars().take(80).collect::<String>())
}

/// A secret with the characters that end a part of a URL, a word of a shell or a text of JSON.
pub fn secret() -> impl Strategy<Value = String> {
    let edge = "[a-zA-Z0-9/?#@:%=+&;,.\\-_~$!'\"\\\\ {}]{0,3}";
    (edge, edge).prop_map(|(before, after)| format!("{before}{CORE}{after}"))
}

/// URLs, most of them misspelt, with a secret where people put one.
pub fn url() -> impl Strategy<Value = String> {
    let scheme = prop_oneof![
        4 => "(http|https|ws|wss)://",
        1 => "(http|wss)(:/|:|//|;//|:\\\\\\\\|)",
        1 => Just(String::new()),
        1 => Just(" https://".to_owned()),
        1 => Just("htps://".to_owned()),
    ];
    let rest = prop_oneof![
        Just("alice:SECRET@127.0.0.1:1/mcp"),
        Just("SECRET@127.0.0.1:1/mcp"),
        Just("SECRET:@localhost/mcp"),
        Just("alice:SECRET@SECRET@h/mcp"),
        Just("127.0.0.1:1/mcp?key=SECRET"),
        Just("127.0.0.1:1/mcp#SECRET"),
        Just("127.0.0.1:1/mcp;key=SECRET"),
        Just("127.0.0.1:1/api/mcp/s/SECRET/mcp"),
    ];
    (scheme, rest, secret()).prop_map(|(scheme, rest, secret)| scheme + &rest.replace("SECRET", &secret))
}

/// A configuration of one server, or of one source, that has each key which can be a place for secrets, most of them where
/// they belong.
pub fn configuration() -> impl Strategy<Value = Value> {
    let server = prop_oneof![
        (url(), secret()).prop_map(|(url, s)| json!({
            "url": url, "bearer": s, "headers": {"X-Key": s}, "tls": {"caFile": pem(&s)}, "group": "g",
            "tags": ["t"], "weight": 7, "priority": 1, "timeout": "5s", "pool": {"min": 1}, "trusted": true,
        })),
        (url(), secret()).prop_map(
            |(url, s)| json!({"type": "http", "url": url, "headers": {"Authorization": s}, "proxy": "none"})
        ),
        (url(), secret()).prop_map(|(url, s)| json!({"type": "ws", "url": url, "subprotocol": ["mcp", s]})),
        (url(), secret())
            .prop_map(|(url, s)| json!({"url": url, "headers": {format!("Authorization: {s}"): "x"}})),
        secret().prop_map(
            |s| json!({"command": "no-such-command", "args": ["--token", s], "env": {"TOKEN": s}, "cwd": "/"})
        ),
        secret().prop_map(|s| json!({"command": format!("no-such-command --token {s}")})),
        secret().prop_map(|s| json!({"command": format!("TOKEN={s} no-such-command")})),
        secret().prop_map(|s| json!({"command": "x", "env": {format!("TOKEN={s}"): ""}})),
        secret().prop_map(|s| json!({"command": "x", "env": {"TOKEN": format!("${{vault:{s}}}")}})),
        secret().prop_map(|s| json!({"command": "x", "apiKey": s, "token": s})),
        secret().prop_map(|s| json!({"command": "x", "args": [format!("${{NONE:-{s}}}")], "wieght": s})),
        (url(), secret())
            .prop_map(|(url, s)| json!({"httpUrl": url, "transport": s, "autoApprove": {"x": s}})),
        secret().prop_map(|s| json!({"command": "x", "env": {"T": s}, "disabled": true, "type": s})),
        secret().prop_map(|s| json!({"command": "x", format!("apiKey: {s}"): 1})),
        secret().prop_map(|s| json!({"url": "wss://h", "tls": {"certFile": pem(&s), "keyFile": pem(&s)}})),
    ];
    let source = prop_oneof![
        (url(), secret()).prop_map(|(url, s)| json!({
            "type": "consul", "url": url, "service": "s", "token": s, "tls": {"key": pem(&s), "certificate": pem(&s)},
            "defaults": {"url": url, "group": "g"}, "headers": {"X-Key": s, format!("Authorization: {s}"): "x"},
        })),
        (url(), secret()).prop_map(|(url, s)| json!({
            "type": "etcd", "endpoints": [url], "prefix": "/p/", "user": "u", "password": s, "tls": {"caFile": pem(&s)},
        })),
        secret().prop_map(|s| json!({"type": "dns", "srv": "_mcp._tcp.h", "nameServers": [s]})),
        secret().prop_map(|s| json!({"type": "file", "path": "/nowhere", "token": s})),
        secret().prop_map(|s| json!({"type": s})),
    ];
    prop_oneof![
        3 => server.prop_map(|server| json!({"mcpServers": {"a": server}})),
        1 => source.prop_map(|source| json!({"mcpServers": {}, "discovery": [source]})),
        1 => secret().prop_map(|s| json!({"mcpServers": s})),
        1 => secret().prop_map(|s| json!({"mcpServers": {"a": s}})),
        1 => secret().prop_map(|s| json!({"mcpServers": {}, "servers": {"a": {"env": {"T": s}}}})),
    ]
}

/// A key that was pasted in place of the path of its file.
fn pem(secret: &str) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n")
}

/// What becomes of a value that somebody writes as another type.
#[derive(Debug, Clone, Copy)]
pub enum Slip {
    Listed,
    Wrapped,
    Number,
    Nested,
}

pub fn slip() -> impl Strategy<Value = Slip> {
    prop_oneof![Just(Slip::Listed), Just(Slip::Wrapped), Just(Slip::Number), Just(Slip::Nested)]
}

impl Slip {
    fn make(self, value: Value) -> Value {
        match self {
            Self::Listed => json!([value]),
            Self::Wrapped => json!({"value": value}),
            // A number where one belongs may be told: it is out of its range.
            Self::Number if !value.is_number() => json!(NUMBER),
            Self::Number => json!([NUMBER]),
            // serde takes a list for an object, and so this for the path of a file.
            Self::Nested => json!([pem(CORE), {"value": CORE}, [NUMBER]]),
        }
    }
}

/// All places of a value, as JSON pointers; not the value itself.
pub fn places(value: &Value) -> Vec<String> {
    let below = |key: &str, value: &Value| {
        let at = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
        let deeper = places(value).into_iter().map(|place| format!("{at}{place}")).collect::<Vec<_>>();
        std::iter::once(at.clone()).chain(deeper).collect::<Vec<_>>()
    };
    match value {
        Value::Object(entries) => entries.iter().flat_map(|(key, value)| below(key, value)).collect(),
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(n, value)| below(&n.to_string(), value)).collect()
        }
        _ => Vec::new(),
    }
}

/// The text of a configuration, as it is or with a slip: a value of another type, a key that stands twice, a text that ends too
/// early.
pub fn text() -> impl Strategy<Value = String> {
    let slipped =
        (configuration(), any::<prop::sample::Index>(), slip()).prop_map(|(mut value, place, slip)| {
            let places = places(&value);
            let found = value.pointer_mut(place.get::<String>(&places)).expect("it is there");
            *found = slip.make(found.take());
            value.to_string()
        });
    let cut = (configuration(), any::<prop::sample::Index>()).prop_map(|(value, at)| {
        let text = value.to_string();
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        text[..*at.get(&ends)].to_owned()
    });
    let twice = secret().prop_map(|s| {
        let s = json!(s);
        format!(r#"{{"mcpServers": {{"a": {{"url": {s}, "url": {s}}}, "a": {s}}}}}"#)
    });
    let quoteless =
        secret().prop_map(|s| format!(r#"{{"mcpServers": {{"a": {{"bearer": {s}, "url": "wss://h"}}}}}}"#));
    prop_oneof![
        3 => configuration().prop_map(|value| value.to_string()),
        4 => slipped,
        1 => cut,
        1 => twice,
        1 => quoteless,
    ]
}

/// Configurations of all kinds, the same in each run.
pub fn drawn(count: usize) -> Vec<Value> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| configuration().new_tree(&mut runner).unwrap().current()).collect()
}

/// Servers that are described rightly, with secrets where services have them, at two addresses that answer and one where
/// nobody is.
pub async fn right(live: &[ScriptedServer; 2]) -> Value {
    let [websocket, http] = live.each_ref().map(|server| server.url().trim_end_matches('/').to_owned());
    let http = http.trim_end_matches("/mcp").to_owned();
    json!({"mcpServers": {
        "websocket": {"url": format!("{websocket}/api/{CORE}/mcp?key={CORE}"), "bearer": CORE},
        "http": {"url": format!("{http}/mcp?key={CORE}"), "headers": {"X-Key": CORE}},
        "lost": {"url": format!("{http}/api/{CORE}/mcp"), "bearer": CORE},
        "gone": {"url": format!("wss://127.0.0.1:1/api/{CORE}/mcp?key={CORE}#{CORE}"), "subprotocol": [CORE]},
        "gone-http": {"url": format!("http://127.0.0.1:1/api/{CORE}/mcp;key={CORE}"), "bearer": CORE},
        "line": {"command": format!("no-such-command --token {CORE}"), "env": {"T": CORE}},
        "variable": {"command": format!("TOKEN={CORE} no-such-command"), "args": [CORE]},
        "looked-up": {"url": format!("http://127.0.0.1:1/${{NONE:-{CORE}}}")},
        "stderr": {"command": "sh", "args": ["-c", "echo $1 >&2; exit 1", "sh", format!("${{NONE:-{CORE}}}")]},
    }})
}
