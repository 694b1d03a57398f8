//! Files that a configuration names: certificates, `servers.json`, folders of servers.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::{echo, end, event};
use mcp_troupe::config::TlsOptions;
use mcp_troupe::discovery::FileSource;
use mcp_troupe::event::SourceStatus;
use mcp_troupe::testkit::{Script, ScriptedServer};
use mcp_troupe::{ApplyError, ConfigFile, ConfigWatch, Event, Readiness, RegisterError, Server, Troupe};
use serde_json::{Value, json};

async fn scripted() -> ScriptedServer {
    ScriptedServer::builder().tool("echo", Script::Echo).start().await
}

fn file(servers: Value) -> ConfigFile {
    ConfigFile::parse(&json!({"mcpServers": servers}).to_string()).unwrap()
}

/// A server whose certificate authority is in a file that is not there.
fn without_its_file(id: &str) -> Server {
    Server::http(id, "https://127.0.0.1:1/mcp").tls(TlsOptions::new().ca_file("/nowhere/ca.pem"))
}

/// Writes a file as careful programs do: whole, or not at all.
fn write(path: &Path, text: impl ToString) {
    let new = path.with_extension("new");
    fs::write(&new, text.to_string()).unwrap();
    fs::rename(new, path).unwrap();
}

#[tokio::test]
async fn a_file_that_cannot_be_used_refuses_its_server_by_its_key_and_nothing_else() {
    let started = Troupe::builder().server(without_its_file("a")).start().await;
    assert!(started.unwrap_err().to_string().starts_with("a.tls.caFile: "));
    let server = scripted().await;
    let troupe = Troupe::builder().config(file(json!({"s": {"url": server.url()}}))).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let refused = troupe.register(without_its_file("a")).await.unwrap_err();
    assert!(matches!(refused, RegisterError::Config(error) if error.key == "a.tls.caFile"));
    let refused = troupe.replace(without_its_file("s")).await.unwrap_err();
    assert!(refused.to_string().starts_with("s.tls.caFile: "), "{refused}");
    let other = json!({"b": {"url": "https://127.0.0.1:1/mcp", "tls": {"caFile": "/nowhere/ca.pem"}}});
    let left_out = file(other);
    assert_eq!(left_out.diagnostics[0].error.key, "mcpServers.b.tls.caFile");
    // As where the file vanishes after the configuration was read: it costs its server, or the whole where that is strict.
    let vanished = |strict: bool| {
        let mut vanished = file(json!({"s": {"url": server.url()}}));
        vanished.settings.strict = strict;
        vanished.servers.push(without_its_file("b"));
        vanished
    };
    let applied = troupe.apply(vanished(false)).await.unwrap();
    assert_eq!(applied.left_out, ["b"]);
    assert_eq!(applied.unchanged, ["s"]);
    let refused = troupe.apply(vanished(true)).await.unwrap_err();
    assert!(matches!(refused, ApplyError::Config(error) if error.key == "mcpServers.b.tls.caFile"));
    let started = Troupe::builder().config(vanished(false)).start().await.unwrap();
    started.ready(Readiness::All).await.unwrap();
    assert_eq!(started.servers().len(), 1);
    end(started).await;
    assert!(Troupe::builder().config(vanished(true)).start().await.is_err());
    assert!(troupe.call(echo()).await.is_ok());
    assert_eq!(troupe.servers().len(), 1);
    end(troupe).await;
}

#[tokio::test]
async fn a_file_that_vanished_concerns_no_server_that_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&ca, authority.cert.pem()).unwrap();
    let described = || file(json!({"a": {"url": "https://127.0.0.1:1/mcp", "tls": {"caFile": ca}}}));
    let troupe = Troupe::builder().config(described()).start().await.unwrap();
    fs::remove_file(&ca).unwrap();
    let applied = troupe.apply(described()).await.unwrap();
    assert_eq!((applied.left_out.len(), applied.changes_anything()), (1, false));
    assert_eq!(troupe.servers().len(), 1);
    end(troupe).await;
}

#[tokio::test]
async fn a_server_of_a_source_whose_file_cannot_be_used_is_passed_over_alone() {
    let (server, folder) = (scripted().await, tempfile::tempdir().unwrap());
    let bad = json!({"url": "https://127.0.0.1:1/mcp", "tls": {"caFile": "/nowhere/ca.pem"}});
    let path = folder.path().join("servers.json");
    write(&path, json!({"mcpServers": {"bad": bad, "good": {"url": server.url()}}}));
    let files = FileSource::new(&path).every(Duration::from_millis(5));
    let troupe = Troupe::builder().source("files", files).start().await.unwrap();
    let mut events = troupe.events();
    let skipped = event(&mut events, |event| matches!(event, Event::RecordSkipped { .. })).await;
    assert!(matches!(skipped, Event::RecordSkipped { record, reason, .. }
        if record == "bad" && reason.starts_with("bad.tls.caFile: ")));
    troupe.ready(Readiness::All).await.unwrap();
    assert!(troupe.call(echo()).await.is_ok());
    end(troupe).await;
}

#[tokio::test]
async fn secrets_that_a_file_of_a_source_takes_from_elsewhere_are_read_with_it() {
    use tokio::io::AsyncReadExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (path, token) = (folder.path().join("servers.json"), folder.path().join("token"));
    fs::write(&token, "s3cr3t\n").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let good = json!({"url": url, "bearer": format!("${{file:{}}}", token.display())});
    let bad = json!({"url": url, "bearer": "${file:/nowhere/token}"});
    write(&path, json!({"mcpServers": {"good": good, "bad": bad}}));
    let files = FileSource::new(&path).every(Duration::from_millis(5));
    let troupe = Troupe::builder().source("files", files).start().await.unwrap();
    let mut events = troupe.events();
    let skipped = event(&mut events, |event| matches!(event, Event::RecordSkipped { .. })).await;
    assert!(matches!(skipped, Event::RecordSkipped { record, reason, .. }
        if record.ends_with("bad") && reason.starts_with("bad.bearer: ") && reason.contains("/nowhere/token")));
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        assert!(stream.read_buf(&mut request).await.unwrap() > 0);
    }
    let request = String::from_utf8(request).unwrap().to_ascii_lowercase();
    assert!(request.contains("authorization: bearer s3cr3t\r\n"), "{request}");
    end(troupe).await;
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn pipe(path: &Path) {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Everything ends with the test, which it could not with a thread that waits for somebody to write.
    #[tokio::test]
    async fn a_pipe_in_the_place_of_a_file_is_told_and_holds_nothing_up() {
        let (server, folder) = (scripted().await, tempfile::tempdir().unwrap());
        let path = folder.path().join("servers.json");
        pipe(&path);
        let key = folder.path().join("client.key");
        pipe(&key);
        let tls = TlsOptions::new().ca_file(&key);
        let started = Troupe::builder().server(Server::http("a", "https://h").tls(tls)).start().await;
        assert!(started.unwrap_err().to_string().contains("no regular file"));
        let files = FileSource::new(&path).every(Duration::from_millis(5));
        let troupe = Troupe::builder().source("files", files).start().await.unwrap();
        let mut events = troupe.events();
        let failed = event(&mut events, |event| matches!(event, Event::DiscoveryFailed { .. })).await;
        assert!(
            matches!(failed, Event::DiscoveryFailed { reason, .. } if reason.contains("no regular file"))
        );
        write(&path, json!({"mcpServers": {"s": {"url": server.url()}}}));
        event(&mut events, |event| matches!(event, Event::DiscoveryRecovered { .. })).await;
        assert_eq!(troupe.stats().await.sources[0].status, SourceStatus::Good);
        end(troupe).await;
    }

    #[tokio::test]
    async fn files_that_start_commands_and_that_others_may_write_are_told_once_each() {
        let folder = tempfile::tempdir().unwrap();
        let (path, more) = (folder.path().join("servers.json"), folder.path().join("servers.d"));
        fs::create_dir(&more).unwrap();
        set(&more, 0o755);
        write(
            &path,
            json!({"mcpServers": {}, "discovery": [{"type": "file", "path": more, "interval": "5ms"}]}),
        );
        set(&path, 0o644);
        let mut watch = ConfigWatch::new(&path);
        let careful = watch.read().await.unwrap();
        assert_eq!(careful.loose, []);
        let troupe = Troupe::builder().config(careful).start().await.unwrap();
        let mut events = troupe.events();
        let is_loose = |event: &Event| matches!(event, Event::LoosePermissions(_));
        set(&path, 0o646);
        for _ in 0..2 {
            let loose = watch.read().await.unwrap();
            assert_eq!(loose.loose.len(), 1);
            troupe.apply(loose).await.unwrap();
        }
        let Event::LoosePermissions(told) = event(&mut events, is_loose).await else { unreachable!() };
        assert_eq!(told.path, path);
        set(&more, 0o777);
        let Event::LoosePermissions(told) = event(&mut events, is_loose).await else { unreachable!() };
        assert_eq!(told.path, more, "the first was told once");
        assert!(told.to_string().contains("everyone"), "{told}");
        end(troupe).await;
    }
}
