//! What profiles let clients see.

use mcp_troupe::config::{Prefix, ProfileSettings};
use mcp_troupe::testkit::{Script, ScriptedServer};
use mcp_troupe::{ConfigFile, GatewaySettings, Server, Troupe};
use serde_json::{Value, json};

use crate::client::{Client, modern};
use crate::common::{end, ready, servers_json};

/// The settings of a file, which the schema takes as the parser does.
fn settings(gateway: Value) -> GatewaySettings {
    let text = servers_json(json!({"mcpServers": {}, "gateway": gateway}));
    ConfigFile::parse(&text).unwrap().gateway
}

async fn servers() -> (Vec<ScriptedServer>, Troupe) {
    let builder = || {
        ScriptedServer::builder()
            .tool("read", Script::Echo)
            .read_only("read")
            .tool("write", Script::Echo)
            .resource("file:///a", "a")
            .prompt("greet", "Hello")
            .instructions("Use me.")
    };
    let (files, db) = (builder().start().await, builder().start().await);
    let troupe = ready([
        Server::websocket("files", files.url()).trusted(),
        Server::websocket("db", db.url()).tag("storage"),
    ])
    .await;
    (vec![files, db], troupe)
}

async fn listed(client: &mut Client, method: &str, member: &str, key: &str) -> Vec<String> {
    let answer = client.ask(json!({"id": 1, "method": method})).await;
    let list = answer["result"][member].as_array().unwrap().iter();
    list.map(|one| one[key].as_str().unwrap().to_owned()).collect()
}

async fn code(client: &mut Client, method: &str, params: Value) -> Value {
    client.ask(json!({"id": 1, "method": method, "params": params})).await["error"]["code"].clone()
}

#[tokio::test]
async fn what_a_profile_hides_is_unknown_in_every_way() {
    let (servers, troupe) = servers().await;
    let settings = settings(json!({"profiles": {
        "reader": {"readOnly": true, "exclude": ["db/*"], "rename": {"files/read": "open"}},
        "storage": {"include": ["tag:storage"]},
    }}));
    let gateway = troupe.gateway(settings).unwrap();
    let refused = gateway.clone().profile("nobody").unwrap_err();
    assert_eq!(refused.to_string(), "there is no profile \"nobody\": gateway.profiles names reader, storage");
    let mut client = Client::at(gateway.clone().profile("reader").unwrap());
    assert_eq!(client.initialize().await["instructions"], "files: Use me.");
    assert_eq!(listed(&mut client, "tools/list", "tools", "name").await, ["open"]);
    assert_eq!(listed(&mut client, "prompts/list", "prompts", "name").await, ["files__greet"]);
    assert_eq!(listed(&mut client, "resources/list", "resources", "uri").await, ["file:///a"]);
    for name in ["files__read", "files__write", "db__read", "db__write", "read", "files/read"] {
        assert_eq!(code(&mut client, "tools/call", json!({"name": name})).await, -32602, "{name}");
    }
    assert_eq!(code(&mut client, "prompts/get", json!({"name": "db__greet"})).await, -32602);
    assert_eq!(code(&mut client, "resources/read", json!({"uri": "db+file:///a"})).await, -32002);
    assert!(
        client.ask(json!({"id": 1, "method": "tools/call", "params": {"name": "open"}})).await["result"]
            .is_object()
    );
    // Clients that share a gateway do not see the same.
    let list = json!({"id": 1, "method": "tools/list", "params": {"_meta": modern()}});
    assert_eq!(client.ask(list).await["result"]["cacheScope"], "private");
    client.end().await;
    let mut client = Client::at(gateway.profile("storage").unwrap());
    client.initialize().await;
    assert_eq!(listed(&mut client, "tools/list", "tools", "name").await, ["db__read", "db__write"]);
    client.end().await;
    assert!(servers.iter().all(|server| server.calls("write") == 0));
    assert_eq!(servers[1].observed().calls.len(), 0);
    end(troupe).await;
}

#[tokio::test]
async fn names_may_stand_without_their_groups() {
    let (_servers, troupe) = servers().await;
    for (prefix, names) in [
        (Prefix::Always, &["db__read", "db__write", "files__read", "files__write"][..]),
        (Prefix::OnCollision, &["db__read", "db__write", "read", "write"]),
        (Prefix::Never, &["read", "write"]),
    ] {
        let mut settings = GatewaySettings::default();
        settings.names.prefix = prefix;
        let mut client = Client::with(&troupe, settings);
        client.initialize().await;
        assert_eq!(listed(&mut client, "tools/list", "tools", "name").await, names, "{prefix:?}");
        client.end().await;
    }
    end(troupe).await;
}

#[test]
fn what_is_wrong_with_the_settings_is_told_by_its_key() {
    for (gateway, key) in [
        (json!({"startWait": "soon"}), "gateway.startWait"),
        (json!({"names": {"max": 7}}), "gateway.names.max"),
        (json!({"names": {"prefix": "sometimes"}}), "gateway.names.prefix"),
        (json!({"listen": ["127.0.0.1:8700"]}), "gateway.listen"),
        (json!({"colour": 1}), "gateway.colour"),
        (json!({"profiles": {"p": {"include": [""]}}}), "gateway.profiles.p.include"),
        (json!({"profiles": {"p": {"mode": "search"}}}), "gateway.profiles.p.mode"),
        (json!({"profiles": {"p": {"rename": {"a/b": "c", "a/d": "c"}}}}), "gateway.profiles.p.rename"),
    ] {
        let text = json!({"mcpServers": {}, "gateway": gateway}).to_string();
        let error = ConfigFile::parse(&text).unwrap_err();
        assert_eq!(error.key, key, "{error}");
    }
    assert_eq!(settings(json!({})), GatewaySettings::default());
    let _ = ProfileSettings::default();
}
