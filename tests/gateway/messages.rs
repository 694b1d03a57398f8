//! What is a message and what is not, in both eras.

use mcp_troupe::Server;
use mcp_troupe::testkit::{Script, ScriptedServer};
use serde_json::{Value, json};

use crate::client::{Client, modern};
use crate::common::{end, ready, start};

async fn troupe() -> (ScriptedServer, mcp_troupe::Troupe) {
    let server = ScriptedServer::builder().tool("echo", Script::Echo).start().await;
    let troupe = ready([Server::websocket("files", server.url())]).await;
    (server, troupe)
}

#[tokio::test]
async fn each_version_that_is_known_is_agreed_on_and_the_newest_legacy_one_in_place_of_others() {
    let (_server, troupe) = troupe().await;
    let mut client = Client::of(&troupe);
    for (asked, agreed) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-06-18", "2025-06-18"),
        ("2026-07-28", "2025-11-25"),
        ("x", "2025-11-25"),
    ] {
        let answer =
            client.ask(json!({"id": 1, "method": "initialize", "params": {"protocolVersion": asked}})).await;
        assert_eq!(answer["result"]["protocolVersion"], agreed);
        assert_eq!(answer["result"]["serverInfo"]["name"], "mcp-troupe");
    }
    client.end().await;
    end(troupe).await;
}

#[tokio::test]
async fn an_initialize_is_answered_whatever_servers_do() {
    let silent = ScriptedServer::builder().black_hole().start().await;
    let troupe = start([Server::websocket("silent", silent.url())]).await;
    let mut client = Client::of(&troupe);
    assert_eq!(client.initialize().await["protocolVersion"], "2025-11-25");
    client.nothing_more().await;
    client.end().await;
    end(troupe).await;
}

#[tokio::test]
async fn both_eras_are_served_on_one_channel() {
    let (_server, troupe) = troupe().await;
    let mut client = Client::of(&troupe);
    // A modern request needs nothing before it.
    let answer = client.ask(json!({"id": 1, "method": "tools/list", "params": {"_meta": modern()}})).await;
    let result = &answer["result"];
    assert_eq!((&result["resultType"], &result["cacheScope"]), (&json!("complete"), &json!("public")));
    assert_eq!((&result["ttlMs"], &result["tools"][0]["name"]), (&json!(60_000), &json!("files__echo")));
    assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "mcp-troupe");
    // A legacy one needs a session.
    let refused = client.ask(json!({"id": 2, "method": "tools/list"})).await;
    assert_eq!(refused["error"]["code"], -32602);
    let discovered = client.ask(json!({"id": 3, "method": "server/discover"})).await;
    assert_eq!(discovered["result"]["supportedVersions"].as_array().unwrap().len(), 5);
    client.initialize().await;
    let answer = client.ask(json!({"id": 4, "method": "tools/list"})).await;
    let members: Vec<&String> = answer["result"].as_object().unwrap().keys().collect();
    assert_eq!(members, ["tools"]);
    // The other era still needs nothing.
    let answer = client.ask(json!({"id": 5, "method": "tools/list", "params": {"_meta": modern()}})).await;
    assert_eq!(answer["result"]["resultType"], "complete");
    client.end().await;
    end(troupe).await;
}

#[tokio::test]
async fn what_the_modern_era_has_not_is_unknown_in_it() {
    let (_server, troupe) = troupe().await;
    let mut client = Client::legacy(&troupe).await;
    for method in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "no/such", "__proto__"] {
        let answer = client.ask(json!({"id": 1, "method": method, "params": {"_meta": modern()}})).await;
        assert_eq!(answer["error"]["code"], -32601, "{method}");
    }
    let answer = client.ask(json!({"id": 1, "method": "x".repeat(10_000)})).await;
    assert!(answer["error"]["message"].as_str().unwrap().len() < 200);
    client.end().await;
    end(troupe).await;
}

#[tokio::test]
async fn what_is_no_message_is_told_and_ends_nothing() {
    let (_server, troupe) = troupe().await;
    let mut client = Client::legacy(&troupe).await;
    for (line, id, code) in [
        ("{", Value::Null, -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping""#, Value::Null, -32700),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, Value::Null, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, Value::Null, -32600),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#, Value::Null, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, Value::Null, -32600),
        (r#"{"id":1,"method":"ping"}"#, json!(1), -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#, json!(1), -32602),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
            json!(1),
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":{},"_meta":{}}}"#,
            json!(1),
            -32602,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"nobody's"}}"#,
            json!(1),
            -32602,
        ),
    ] {
        let answer = client.refused(line).await;
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&id, &json!(code)), "{line}");
    }
    let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#, "x".repeat(300));
    assert_eq!(client.refused(&long).await["error"]["code"], -32600);
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":{}{}}}}}"#,
        "[".repeat(1000),
        "]".repeat(1000)
    );
    assert_eq!(client.refused(&deep).await["error"]["code"], -32600);
    client.write(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}\n").await;
    assert_eq!(client.next().await["error"]["code"], -32700);
    // Neither blank lines, nor answers that nobody waits for, nor notifications of any name have an answer.
    client
        .write(
            b"\n  \r\n{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}\n{\"jsonrpc\":\"2.0\",\"method\":\"x\"}\n",
        )
        .await;
    client.nothing_more().await;
    client.end().await;
    end(troupe).await;
}

#[tokio::test]
async fn a_line_may_come_in_pieces_and_without_its_end() {
    let (_server, troupe) = troupe().await;
    let mut client = Client::legacy(&troupe).await;
    for piece in
        [&b"{\"jsonrpc\":\"2.0\",\"id\":"[..], b"9007199254740993,\"met", b"hod\":\"ping\"}\r", b"\n"]
    {
        client.write(piece).await;
    }
    assert_eq!(client.next_line().await, r#"{"jsonrpc":"2.0","id":9007199254740993,"result":{}}"#);
    // What the end cuts off is answered as well as it can be.
    client.write(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}").await;
    let left = client.end().await;
    assert_eq!(left, ["{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n"]);
    end(troupe).await;
}

#[tokio::test]
async fn a_line_that_is_too_long_is_passed_over_and_its_request_is_told() {
    let (_server, troupe) = troupe().await;
    let mut client = Client::legacy(&troupe).await;
    let piece = vec![b'x'; 1 << 20];
    for (begin, last) in [
        (r#"{"jsonrpc":"2.0","id":"first","method":"tools/call","params":{"a":""#, r#""}}"#),
        (r#"{"method":"tools/call","params":{"a":""#, r#""},"jsonrpc":"2.0","id":"last"}"#),
    ] {
        client.write(begin).await;
        for _ in 0..17 {
            client.write(&piece).await;
        }
        client.line(last).await;
    }
    for id in ["first", "last"] {
        let answer = client.next().await;
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(id), &json!(-32600)));
    }
    client.nothing_more().await;
    client.end().await;
    end(troupe).await;
}
