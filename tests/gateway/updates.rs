//! What clients are told of their calls before the answers.

use mcp_troupe::Server;
use mcp_troupe::testkit::{Script, ScriptedEra, ScriptedServer, Step};
use serde_json::{Value, json};

use crate::client::{Client, modern};
use crate::common::{end, ready};

fn log(level: &str, text: &str) -> Step {
    Step::Log { level: level.to_owned(), data: text.into() }
}

fn call(id: Value, token: Option<Value>, level: Option<&str>, is_modern: bool) -> Value {
    let mut meta = if is_modern { modern() } else { json!({}) };
    if let Some(token) = token {
        meta["progressToken"] = token;
    }
    if let Some(level) = level {
        meta["io.modelcontextprotocol/logLevel"] = level.into();
    }
    json!({"id": id, "method": "tools/call", "params": {"name": "s__steps", "_meta": meta}})
}

#[tokio::test]
async fn progress_comes_under_the_clients_own_token_grows_and_comes_before_the_answer() {
    let steps = [1.0, 0.5, 1.0, 2.5].map(Step::progress).to_vec();
    for era in [ScriptedEra::Legacy, ScriptedEra::Modern] {
        let tell = Script::Tell { steps: steps.clone(), next: Script::Echo.into() };
        let server = ScriptedServer::builder().era(era).tool("steps", tell).start().await;
        let troupe = ready([Server::websocket("s", server.url())]).await;
        let mut client = Client::legacy(&troupe).await;
        for (token, is_modern) in [(json!(7), false), (json!("7"), true), (json!(0), true)] {
            client.tell(call(json!("c"), Some(token.clone()), None, is_modern)).await;
            for progress in [json!(1), json!(2.5)] {
                let told = client.next().await;
                assert_eq!(told["method"], "notifications/progress");
                assert_eq!(told["params"], json!({"progressToken": token, "progress": progress}));
            }
            assert_eq!(client.next().await["id"], "c");
        }
        // Who gives no token is told nothing.
        assert!(client.ask(call(json!("c"), None, None, false)).await["result"].is_object());
        client.end().await;
        end(troupe).await;
    }
}

#[tokio::test]
async fn nothing_is_told_of_a_call_that_is_over() {
    let steps = vec![Step::progress(1.0), Step::Hold, Step::progress(2.0)];
    let tell = Script::Tell { steps, next: Script::Echo.into() };
    let server = ScriptedServer::builder().tool("steps", tell).start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let mut client = Client::legacy(&troupe).await;
    client.tell(call(json!(1), Some(json!("t")), None, false)).await;
    assert_eq!(client.next().await["params"]["progress"], 1);
    client.tell(json!({"method": "notifications/cancelled", "params": {"requestId": 1}})).await;
    server.wait_for(|seen| seen.cancelled.len() == 1).await;
    server.release();
    client.nothing_more().await;
    client.end().await;
    end(troupe).await;
}

#[tokio::test]
async fn what_a_server_logs_about_a_call_comes_to_a_client_that_asked_from_its_level_on() {
    let steps = vec![log("debug", "a"), log("warning", "b"), log("error", "c")];
    for era in [ScriptedEra::Legacy, ScriptedEra::Modern] {
        let tell = Script::Tell { steps: steps.clone(), next: Script::Echo.into() };
        let server = ScriptedServer::builder().era(era).http_events().tool("steps", tell).start().await;
        let troupe = ready([Server::http("s", server.url())]).await;
        let mut client = Client::legacy(&troupe).await;
        // Nobody asked.
        assert!(client.ask(call(json!(1), None, None, false)).await["result"].is_object());
        assert!(client.ask(call(json!(1), None, None, true)).await["result"].is_object());
        client.ask(json!({"id": 2, "method": "logging/setLevel", "params": {"level": "warning"}})).await;
        for is_modern in [false, true] {
            let level = is_modern.then_some("warning");
            client.tell(call(json!(1), None, level, is_modern)).await;
            for (level, text) in [("warning", "b"), ("error", "c")] {
                let told = client.next().await;
                assert_eq!(told["method"], "notifications/message", "{told}");
                assert_eq!(
                    (&told["params"]["level"], &told["params"]["data"]),
                    (&json!(level), &json!(text))
                );
            }
            assert_eq!(client.next().await["id"], 1);
        }
        // The level of the session is not that of a modern request.
        assert!(client.ask(call(json!(1), None, None, true)).await["result"].is_object());
        let refused =
            client.ask(json!({"id": 2, "method": "logging/setLevel", "params": {"level": "loud"}})).await;
        assert_eq!(refused["error"]["code"], -32602);
        client.end().await;
        end(troupe).await;
    }
}
