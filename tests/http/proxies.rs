//! Proxies of the environment: used where that is configured, and only there.

use std::process::Output;

use super::common::{example, servers_json};
use super::raw::{Do, RawServer, answer, modern};

/// Lists the tools of a server by the orchestrator, in an environment with this proxy.
async fn list(server: &str, key: &str, proxy: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("servers.json");
    let file = format!(r#"{{"mcpServers":{{"s":{{"url":"{server}/mcp"{key}}}}}}}"#);
    std::fs::write(&config, servers_json(file)).unwrap();
    let mut command = example("orchestrator");
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
