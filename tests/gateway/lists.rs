//! Lists: their pages, when they are given, and when a client is told that they have changed.

use std::time::Duration;

use mcp_troupe::testkit::{MemoryConnector, Script, ScriptedServer};
use mcp_troupe::{GatewaySettings, Server, Troupe};
use serde_json::{Value, json};

use crate::client::{Client, modern};
use crate::common::{end, ready};

fn names(result: &Value) -> Vec<String> {
    result["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

async fn list(client: &mut Client) -> Value {
    client.ask(json!({"id": "list", "method": "tools/list"})).await["result"].clone()
}

#[tokio::test]
async fn a_long_list_is_walked_page_by_page() {
    let builder = (0..1001)
        .fold(ScriptedServer::builder(), |builder, n| builder.tool(format!("t{n:04}"), Script::Echo));
    let server = builder.start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let mut client = Client::legacy(&troupe).await;
    let (mut walked, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let result = client.ask(json!({"id": 1, "method": "tools/list", "params": {"cursor": cursor}})).await
            ["result"]
            .clone();
        walked.push(names(&result));
        match result.get("nextCursor") {
            Some(next) => cursor = next.clone(),
            None => break,
        }
    }
    assert_eq!(walked.iter().map(Vec::len).collect::<Vec<_>>(), [500, 500, 1]);
    let walked = walked.concat();
    assert!(walked.is_sorted() && walked[1000] == "s__t1000");
    client.end().await;
    end(troupe).await;
}

#[tokio::test]
async fn a_definition_passes_but_for_its_name() {
    let said = json!({"title": "Echo", "annotations": {"readOnlyHint": true}, "icons": [{"src": "x"}], "x": {"name": "y"}});
    let server =
        ScriptedServer::builder().tool("echo", Script::Echo).says("echo", said.clone()).start().await;
    let troupe = ready([Server::websocket("my.files", server.url())]).await;
    let mut client = Client::legacy(&troupe).await;
    let tool = list(&mut client).await["tools"][0].clone();
    assert_eq!(tool["name"], "my_files__echo");
    for (key, value) in said.as_object().unwrap() {
        assert_eq!(tool[key], *value);
    }
    client.end().await;
    end(troupe).await;
}

async fn in_memory(server: ScriptedServer, connector: MemoryConnector) -> (ScriptedServer, Troupe) {
    let troupe = Troupe::builder().server_via(Server::websocket("s", "ws://memory"), connector).start().await;
    (server, troupe.unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_first_list_waits_for_servers_in_their_first_attempt_and_no_longer_than_two_seconds() {
    let (server, connector) = ScriptedServer::builder().tool("echo", Script::Echo).start_in_memory();
    let (server, troupe) = in_memory(server, connector).await;
    let begin = tokio::time::Instant::now();
    let mut client = Client::legacy(&troupe).await;
    assert_eq!(names(&list(&mut client).await), ["s__echo"]);
    client.end().await;
    end(troupe).await;
    drop(server);
    // One that never answers.
    let (server, connector) = ScriptedServer::builder().start_in_memory();
    server.go_deaf();
    let (_server, troupe) = in_memory(server, connector).await;
    let begin_again = tokio::time::Instant::now();
    assert!(begin_again.saturating_duration_since(begin) < Duration::from_secs(2));
    let mut client = Client::legacy(&troupe).await;
    // The handshake does not wait for it, and the list can be called off meanwhile.
    assert!(tokio::time::Instant::now() == begin_again);
    client.tell(json!({"id": "off", "method": "tools/list"})).await;
    client.tell(json!({"method": "notifications/cancelled", "params": {"requestId": "off"}})).await;
    let result =
        client.ask(json!({"id": 1, "method": "tools/list", "params": {"_meta": modern()}})).await["result"]
            .clone();
    assert_eq!((names(&result), &result["ttlMs"]), (Vec::new(), &json!(1_000)));
    let waited = tokio::time::Instant::now().saturating_duration_since(begin_again);
    assert!(waited >= Duration::from_secs(2) && waited < Duration::from_millis(2_100), "{waited:?}");
    // Nobody waits again.
    list(&mut client).await;
    assert!(
        tokio::time::Instant::now().saturating_duration_since(begin_again) < Duration::from_millis(2_100)
    );
    client.end().await;
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_is_told_of_other_tools_once_it_has_listed_and_only_where_they_are_others() {
    let (server, connector) =
        ScriptedServer::builder().tells_changes().tool("echo", Script::Echo).start_in_memory();
    let (server, troupe) = in_memory(server, connector).await;
    troupe.settled().await;
    let mut quiet = Client::legacy(&troupe).await;
    let mut client = Client::legacy(&troupe).await;
    list(&mut client).await;
    let mut changes = troupe.catalogue_changes();
    server.set_script("more", Script::Echo);
    server.announce_tools();
    changes.next().await.unwrap();
    assert_eq!(client.next().await["method"], "notifications/tools/list_changed");
    assert_eq!(names(&list(&mut client).await), ["s__echo", "s__more"]);
    // What is announced and is no change is not told, nor what came and went.
    let listings = server.observed().listings;
    server.announce_tools();
    server.wait_for(|seen| seen.listings > listings).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    client.nothing_more().await;
    // One who never listed is told nothing.
    quiet.nothing_more().await;
    quiet.end().await;
    client.end().await;
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_modern_client_is_told_of_what_it_listens_to_under_its_requests_id() {
    let (server, connector) =
        ScriptedServer::builder().tells_changes().tool("echo", Script::Echo).start_in_memory();
    let (server, troupe) = in_memory(server, connector).await;
    troupe.settled().await;
    let mut client = Client::of(&troupe);
    let listen = |id: Value, wanted: Value| json!({"id": id, "method": "subscriptions/listen", "params": {"notifications": wanted, "_meta": modern()}});
    let key = "io.modelcontextprotocol/subscriptionId";
    let wanted = json!({"toolsListChanged": true, "resourceSubscriptions": ["file:///a"]});
    for (id, wanted, granted) in [
        (json!("7"), wanted, json!({"toolsListChanged": true})),
        (json!(7), json!({"promptsListChanged": true}), json!({"promptsListChanged": true})),
    ] {
        client.tell(listen(id.clone(), wanted)).await;
        let told = client.next().await;
        assert_eq!(told["method"], "notifications/subscriptions/acknowledged");
        assert_eq!(told["params"], json!({"notifications": granted, "_meta": {key: id}}));
    }
    // Its id is in use for as long as it is open.
    let refused = client.ask(json!({"id": "7", "method": "ping"})).await;
    assert_eq!(refused["error"]["code"], -32600);
    server.set_script("more", Script::Echo);
    server.announce_tools();
    let told = client.next().await;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    assert_eq!(told["params"]["_meta"][key], "7");
    client.tell(json!({"method": "notifications/cancelled", "params": {"requestId": "7"}})).await;
    server.set_script("third", Script::Echo);
    let mut changes = troupe.catalogue_changes();
    server.announce_tools();
    changes.next().await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    client.nothing_more().await;
    // What is left ends with a result when nothing changes any more.
    troupe.shutdown().await;
    let ended = client.next().await;
    assert_eq!((&ended["id"], &ended["result"]["_meta"][key]), (&json!(7), &json!(7)));
    client.serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn instructions_are_merged_and_can_be_left_out() {
    let one = ScriptedServer::builder().instructions("Read.\n\nb: obey").start().await;
    let other = ScriptedServer::builder().instructions("Write.").start().await;
    let troupe = ready([Server::websocket("b", one.url()), Server::websocket("a", other.url())]).await;
    let mut client = Client::of(&troupe);
    assert_eq!(client.initialize().await["instructions"], "a: Write.\n\nb: Read. b: obey");
    let discovered =
        client.ask(json!({"id": 1, "method": "server/discover", "params": {"_meta": modern()}})).await;
    assert_eq!(discovered["result"]["instructions"], "a: Write.\n\nb: Read. b: obey");
    client.end().await;
    let mut settings = GatewaySettings::default();
    settings.instructions = false;
    let mut client = Client::with(&troupe, settings);
    assert!(client.initialize().await.get("instructions").is_none());
    client.end().await;
    end(troupe).await;
}
