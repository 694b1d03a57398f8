//! What server-everything has beside tools, and what it asks back.

use std::time::Duration;

use mcp_troupe::question::Root;
use mcp_troupe::{Call, ElicitResult, Event, Readiness, Reply, Server, Settings, Troupe};
use serde_json::{Value, json};

use super::common::{end, event};
use super::{PATIENCE, servers};

/// A host that answers everything.
async fn host(servers: impl IntoIterator<Item = Server>) -> Troupe {
    let mut settings = Settings::default();
    settings.pool.handshake_timeout = Some(PATIENCE);
    let builder = Troupe::builder()
        .settings(settings)
        .on_elicitation(|question| async move { Ok(ElicitResult::Accept(Some(question.defaults()))) })
        .on_sampling(|_| async {
            Ok(json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "sampled"}}))
        })
        .on_roots(|_| async { Ok(vec![Root { uri: "file:///work".into(), name: Some("work".into()) }]) });
    let troupe =
        servers.into_iter().fold(builder, |builder, server| builder.server(server)).start().await.unwrap();
    troupe.ready_within(Readiness::All, PATIENCE).await.unwrap();
    troupe
}

async fn text(troupe: &Troupe, call: Call) -> String {
    let reply: Reply = troupe.call(call.timeout(Duration::from_secs(60))).await.unwrap();
    reply.text().unwrap()
}

#[tokio::test]
async fn its_resources_and_prompts_are_read_completed_and_subscribed_to() {
    let Some(npm) = servers::npm() else { return };
    let everything = npm.everything_over_http().await;
    let troupe =
        host([npm.everything("offers").server("child"), Server::http("http", everything.url())]).await;
    let mut events = troupe.events();
    for group in ["child", "http"] {
        let fixed = "demo://resource/static/document/features.md";
        assert!(text(&troupe, Call::resource(fixed).group(group)).await.contains("Features"), "{group}");
        let dynamic = "demo://resource/dynamic/text/7";
        assert!(text(&troupe, Call::resource(dynamic).group(group)).await.contains("Resource 7"), "{group}");
        let prompt = Call::prompt(format!("{group}/args-prompt")).args(json!({"city": "Oslo"}));
        assert!(text(&troupe, prompt).await.contains("Oslo"), "{group}");
        let complete = Call::complete_prompt(format!("{group}/completable-prompt"), "department", "Eng");
        let completed: Value = troupe.call(complete).await.unwrap().raw().unwrap();
        assert_eq!(completed["completion"]["values"], json!(["Engineering"]), "{group}");

        let held = troupe.subscribe_at(group, dynamic).await.unwrap();
        text(&troupe, Call::tool(format!("{group}/toggle-subscriber-updates"))).await;
        let told = event(&mut events, |event| matches!(event, Event::ResourceUpdated { .. })).await;
        assert_eq!(told, Event::ResourceUpdated { server: held.server().clone(), uri: dynamic.into() });
        text(&troupe, Call::tool(format!("{group}/toggle-subscriber-updates"))).await;
    }
    end(troupe).await;
}

#[tokio::test]
async fn what_it_asks_is_answered_by_the_hosts_handlers() {
    let Some(npm) = servers::npm() else { return };
    let everything = npm.everything_over_http().await;
    let troupe = host([npm.everything("asks").server("child"), Server::http("http", everything.url())]).await;
    for group in ["child", "http"] {
        let call = |tool: &str| Call::tool(format!("{group}/{tool}"));
        assert!(text(&troupe, call("get-roots-list")).await.contains("file:///work"), "{group}");
        let sampled = call("trigger-sampling-request").args(json!({"prompt": "hello"}));
        assert!(text(&troupe, sampled).await.contains("sampled"), "{group}");
        let elicited = text(&troupe, call("trigger-elicitation-request")).await;
        assert!(elicited.contains("accept") || elicited.contains("provided"), "{group}: {elicited}");
    }
    end(troupe).await;
}
