//! What a configuration's servers come to in a troupe.

use std::time::Duration;

use mcp_troupe::event::ServerStatus;
use mcp_troupe::testkit::{Script, ScriptedServer};
use mcp_troupe::{Call, CallErrorKind, ConfigFile, Readiness, Troupe};
use serde_json::{Value, json};

use super::common::{echo, end, example_path};

async fn scripted() -> ScriptedServer {
    ScriptedServer::builder().tool("echo", Script::Echo).tool("drop", Script::Echo).start().await
}

fn file(servers: Value) -> ConfigFile {
    ConfigFile::parse(&json!({"mcpServers": servers}).to_string()).unwrap()
}

fn stands(troupe: &Troupe) -> Vec<String> {
    troupe.servers().iter().map(|info| format!("{} {}", info.id, info.status)).collect()
}

#[tokio::test]
async fn a_server_that_is_switched_off_is_listed_and_not_dialled() {
    let (on, off) = (scripted().await, scripted().await);
    let described = |disabled: bool| {
        file(json!({"off": {"url": off.url(), "disabled": disabled}, "on": {"url": on.url()}}))
    };
    let troupe = Troupe::builder().config(described(true)).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    assert_eq!(stands(&troupe), ["off disabled", "on ready"]);
    assert_eq!(off.observed().accepted, 0);
    let applied = troupe.apply(described(false)).await.unwrap();
    assert_eq!(applied.added, ["off"]);
    troupe.ready(Readiness::All).await.unwrap();
    assert_eq!(stands(&troupe), ["off ready", "on ready"]);
    let applied = troupe.apply(described(true)).await.unwrap();
    assert_eq!(applied.removed, ["off"]);
    while stands(&troupe) != ["off disabled", "on ready"] {
        tokio::task::yield_now().await;
    }
    end(troupe).await;
}

#[tokio::test]
async fn a_tool_that_is_left_out_is_unknown_and_comes_back_with_the_configuration() {
    let server = scripted().await;
    let described = |keys: Value| {
        let mut described = json!({"url": server.url()});
        described.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        file(json!({"s": described}))
    };
    for keys in [
        json!({"disabledTools": ["drop"]}),
        json!({"tools": ["echo"]}),
        json!({"includeTools": ["*"], "excludeTools": ["drop"]}),
    ] {
        let troupe = Troupe::builder().config(described(keys)).start().await.unwrap();
        troupe.ready(Readiness::All).await.unwrap();
        let tools: Vec<String> = troupe.tools().iter().map(|tool| tool.name.to_string()).collect();
        assert_eq!(tools, ["echo"]);
        for call in [Call::tool("drop"), Call::tool("s/drop"), Call::tool("drop").server("s")] {
            let error = troupe.call(call).await.unwrap_err();
            assert!(matches!(error.kind(), CallErrorKind::UnknownTool { .. }), "{error}");
        }
        assert!(troupe.call(echo()).await.is_ok());
        let applied = troupe.apply(described(json!({}))).await.unwrap();
        assert_eq!(applied.amended, ["s"], "its connections go on");
        assert!(troupe.call(Call::tool("drop")).await.is_ok());
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_server_whose_description_becomes_wrong_goes_on_by_the_former_one() {
    let server = scripted().await;
    let good = json!({"url": server.url()});
    let troupe = Troupe::builder().config(file(json!({"a": good, "b": good}))).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let wrong = file(json!({"a": {"url": server.url(), "wieght": 1}, "c": {"url": 7}, "d": good}));
    let applied = troupe.apply(wrong).await.unwrap();
    assert_eq!(
        (applied.left_out, applied.removed, applied.added),
        (vec!["a".parse_id(), "c".parse_id()], vec!["b".parse_id()], vec!["d".parse_id()],)
    );
    assert!(troupe.call(echo().server("a")).await.is_ok());
    // It is removed when the file no longer names it.
    let applied = troupe.apply(file(json!({"d": good}))).await.unwrap();
    assert_eq!(applied.removed, ["a"]);
    end(troupe).await;
}

trait ParseId {
    fn parse_id(&self) -> mcp_troupe::id::ServerId;
}

impl ParseId for str {
    fn parse_id(&self) -> mcp_troupe::id::ServerId {
        mcp_troupe::id::ServerId::new(self).unwrap()
    }
}

/// The variables that a child process has, by what it answers.
async fn variables_of_a_child(troupe: Value, environment: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("servers.json");
    let out = folder.path().join("env");
    let script = format!("env > {}; exit 1", out.display());
    let servers =
        json!({"mcpServers": {"child": {"command": "sh", "args": ["-c", script]}}, "troupe": troupe});
    std::fs::write(&path, servers.to_string()).unwrap();
    let mut command = tokio::process::Command::new(example_path("orchestrator"));
    command.env_clear().envs(environment.iter().copied()).env("PATH", std::env::var_os("PATH").unwrap());
    let told = command.args(["tools", "--wait", "2s", "--config"]).arg(&path).output().await.unwrap();
    std::fs::read_to_string(&out).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&told.stderr)))
}

#[cfg(unix)]
#[tokio::test]
async fn child_processes_inherit_proxies_and_authorities_and_more_only_by_name() {
    let environment = [
        ("HTTPS_PROXY", "http://p:1"),
        ("no_proxy", "localhost"),
        ("SSL_CERT_FILE", "/ca.pem"),
        ("NODE_EXTRA_CA_CERTS", "/ca.pem"),
        ("REQUESTS_CA_BUNDLE", "/ca.pem"),
        ("XDG_CACHE_HOME", "/cache"),
        ("MY_TOKEN", "s3cret"),
        ("MY_FLAG", "1"),
    ];
    let always = [
        "HTTPS_PROXY=http://p:1",
        "no_proxy=localhost",
        "SSL_CERT_FILE=",
        "NODE_EXTRA",
        "REQUESTS_CA",
        "XDG_CACHE_HOME=/cache",
    ];
    for (inherit, further) in [
        (json!([]), &[][..]),
        (json!(["MY_FLAG", "NOT_SET"]), &["MY_FLAG=1"]),
        (json!("all"), &["MY_FLAG=1", "MY_TOKEN=s3cret"]),
    ] {
        let variables = variables_of_a_child(json!({"inheritEnv": inherit}), &environment).await;
        for expected in always.iter().chain(further) {
            assert!(variables.contains(expected), "{expected}: {variables}");
        }
        assert_eq!(variables.contains("MY_TOKEN"), inherit == json!("all"), "{variables}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_disabled_server_holds_up_nobody_who_waits_for_all() {
    let file = file(json!({"off": {"command": "no-such-program", "disabled": true}}));
    let troupe = Troupe::builder().config(file).start().await.unwrap();
    troupe.ready_within(Readiness::All, Duration::from_secs(1)).await.unwrap();
    assert_eq!(troupe.servers()[0].status, ServerStatus::Disabled);
    end(troupe).await;
}
