//! Prompts, resources, templates and completions.

use mcp_troupe::Server;
use mcp_troupe::testkit::{ScriptedEra, ScriptedServer};
use serde_json::{Value, json};

use crate::client::{Client, modern};
use crate::common::{end, ready};

async fn ask(client: &mut Client, method: &str, mut params: Value, is_modern: bool) -> Value {
    if is_modern {
        params["_meta"] = modern();
    }
    client.ask(json!({"id": 1, "method": method, "params": params})).await
}

#[tokio::test]
async fn what_servers_have_is_listed_read_and_got_in_each_pair_of_eras() {
    for era in [ScriptedEra::Legacy, ScriptedEra::Modern] {
        let builder = |who: &str| {
            ScriptedServer::builder()
                .era(era)
                .resource("file:///both", format!("both of {who}"))
                .resource(format!("file:///{who}"), format!("that of {who}"))
                .resource(format!("hidden:{who}/1"), format!("hidden of {who}"))
                .template(format!("hidden:{who}/{{rest}}"))
                .prompt("greet", format!("Hello from {who}:"))
        };
        let (one, two) = (builder("one").start().await, builder("two").start().await);
        // The second in the alphabet was configured first.
        let troupe = ready([Server::websocket("two", two.url()), Server::websocket("one", one.url())]).await;
        let mut client = Client::legacy(&troupe).await;
        for is_modern in [false, true] {
            let listed = ask(&mut client, "resources/list", json!({}), is_modern).await;
            let uris: Vec<&str> = listed["result"]["resources"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["uri"].as_str().unwrap())
                .collect();
            assert_eq!(uris, ["one+file:///both", "file:///one", "file:///both", "file:///two"]);
            assert_eq!(listed["result"].get("ttlMs").is_some(), is_modern);
            let listed = ask(&mut client, "resources/templates/list", json!({}), is_modern).await;
            assert_eq!(listed["result"]["resourceTemplates"].as_array().unwrap().len(), 2);
            for (uri, text) in [
                ("file:///both", "both of two"),
                ("one+file:///both", "both of one"),
                ("file:///one", "that of one"),
                ("hidden:one/1", "hidden of one"),
                ("hidden:two/1", "hidden of two"),
            ] {
                let read = ask(&mut client, "resources/read", json!({"uri": uri}), is_modern).await;
                assert_eq!(read["result"]["contents"][0]["text"], text, "{read}");
                assert_eq!(read["result"].get("cacheScope").is_some(), is_modern);
                assert!(!is_modern || read["result"]["resultType"] == "complete");
            }
            let code = if is_modern { -32602 } else { -32002 };
            for uri in ["secret:of nobody", "http://elsewhere/a"] {
                let read = ask(&mut client, "resources/read", json!({"uri": uri}), is_modern).await;
                assert_eq!(
                    (&read["error"]["code"], &read["error"]["data"]["uri"]),
                    (&json!(code), &json!(uri))
                );
            }
            // One that might be there is asked for where others of its kind are.
            let read = ask(&mut client, "resources/read", json!({"uri": "file:///nothing"}), is_modern).await;
            assert!([-32602, -32002].contains(&read["error"]["code"].as_i64().unwrap()), "{read}");
            let listed = ask(&mut client, "prompts/list", json!({}), is_modern).await;
            assert_eq!(listed["result"]["prompts"][0]["name"], "one__greet");
            let params = json!({"name": "two__greet", "arguments": {"who": "me"}});
            let got = ask(&mut client, "prompts/get", params, is_modern).await;
            assert!(got["result"]["messages"].to_string().contains("Hello from two:"), "{got}");
            let got = ask(&mut client, "prompts/get", json!({"name": "greet"}), is_modern).await;
            assert_eq!(got["error"]["code"], -32602);
        }
        client.end().await;
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_completion_goes_to_the_server_of_the_prompt_or_template() {
    let server = ScriptedServer::builder().prompt("greet", "Hello").template("x:{a}").start().await;
    let troupe = ready([Server::websocket("s", server.url())]).await;
    let mut client = Client::legacy(&troupe).await;
    let argument = json!({"name": "who", "value": "A"});
    for of in
        [json!({"type": "ref/prompt", "name": "s__greet"}), json!({"type": "ref/resource", "uri": "x:{a}"})]
    {
        let answer =
            ask(&mut client, "completion/complete", json!({"ref": of, "argument": argument}), false).await;
        assert!(answer["result"]["completion"].is_object(), "{answer}");
    }
    assert_eq!(server.observed().requests.get("completion/complete"), Some(&2));
    let unknown = json!({"ref": {"type": "ref/prompt", "name": "greet"}, "argument": argument});
    assert_eq!(ask(&mut client, "completion/complete", unknown, false).await["error"]["code"], -32602);
    client.end().await;
    end(troupe).await;
}
