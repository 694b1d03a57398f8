//! What of its environment the command line uses and hands on: proxies, and the variables of child processes.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/common/mod.rs"]
mod common;
// The tests of the library use the rest of it.
#[allow(dead_code)]
#[path = "../../../tests/http/raw.rs"]
mod raw;

use std::process::Output;

use common::{program, servers_json};
use raw::{Do, RawServer, answer, modern};
use serde_json::{Value, json};

/// Lists the tools of a server by the command line, in an environment with this proxy.
async fn list(server: &str, key: &str, proxy: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("servers.json");
    let file = format!(r#"{{"mcpServers":{{"s":{{"url":"{server}/mcp"{key}}}}}}}"#);
    std::fs::write(&config, servers_json(file)).unwrap();
    let mut command = program("mcp-troupe");
    command.env("HTTP_PROXY", proxy).env("http_proxy", proxy).env_remove("NO_PROXY").env_remove("no_proxy");
    command.args(["tools", "--config"]).arg(&config).output().await.unwrap()
}

async fn server() -> RawServer {
    RawServer::start(|asked| modern(asked).unwrap_or_else(|| Do::Send(answer("404 Not Found", &[], ""))))
        .await
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_used_where_that_is_configured() {
    let proxy = server().await;
    let listed = list("http://files.invalid", r#","proxy":"environment""#, proxy.url()).await;
    let told = String::from_utf8_lossy(&listed.stdout);
    assert!(listed.status.success() && told.contains("\"t\""), "{listed:?}");
    assert!(proxy.asked().contains(&"POST tools/list".to_owned()));
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_left_alone_where_nothing_is_configured() {
    let (proxy, server) = (server().await, server().await);
    let listed = list(server.url(), "", proxy.url()).await;
    assert!(listed.status.success(), "{listed:?}");
    assert_eq!(proxy.asked(), Vec::<String>::new());
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
    let mut command = program("mcp-troupe");
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
