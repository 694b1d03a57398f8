//! Servers in files, on the real file system.

use std::fs;
use std::path::Path;
use std::time::Duration;

use mcp_troupe::discovery::FileSource;
use mcp_troupe::event::SourceStatus;
use mcp_troupe::testkit::ScriptedServer;
use mcp_troupe::{Event, Readiness, Troupe};
use serde_json::json;

use super::common::{echo, end, event, servers_json};
use super::{plays, prompt, scripted, stands};

/// Writes a file as careful programs do: whole, or not at all.
fn write(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

fn servers(servers: &[(&str, &ScriptedServer)]) -> String {
    let entries =
        servers.iter().map(|(id, server)| (id.to_string(), json!({"url": server.url(), "group": "echo"})));
    servers_json(json!({"mcpServers": entries.collect::<serde_json::Map<_, _>>()}))
}

async fn watching(path: &Path) -> Troupe {
    let files = FileSource::new(path).every(Duration::from_millis(5));
    Troupe::builder().settings(prompt()).source("files", files).start().await.unwrap()
}

#[tokio::test]
async fn a_file_that_changes_moves_adds_and_removes_servers() {
    let (a, b, folder) = (scripted().await, scripted().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("servers.json");
    write(&file, &servers(&[("a", &a)]));
    let troupe = watching(&file).await;
    troupe.ready(Readiness::All).await.unwrap();
    assert!(troupe.call(echo()).await.is_ok());
    write(&file, &servers(&[("a", &b), ("b", &b)]));
    plays(&troupe, &["a", "b"]).await;
    while b.calls("echo") == 0 {
        assert!(troupe.call(echo()).await.is_ok());
    }
    write(&file, &servers(&[("b", &b)]));
    plays(&troupe, &["b"]).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_file_that_is_missing_broken_or_half_written_changes_nothing_and_says_why() {
    let (a, folder) = (scripted().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("servers.json");
    let troupe = watching(&file).await;
    let missing = stands(&troupe, SourceStatus::Failing).await.reason.unwrap();
    assert!(missing.starts_with("not found: ") && missing.contains("servers.json"), "{missing}");
    write(&file, &servers(&[("a", &a)]));
    troupe.ready(Readiness::Any).await.unwrap();
    for broken in
        ["{\"mcpServers\": {\"a\": {\"ur", "[]", "{\"mcpServers\": {}, \"mcpServer\": {}}", "\u{fffd}"]
    {
        write(&file, broken);
        let reason = stands(&troupe, SourceStatus::Failing).await.reason.unwrap();
        assert!(reason.starts_with("unintelligible: servers.json: "), "{reason}");
        plays(&troupe, &["a"]).await;
        assert!(troupe.call(echo()).await.is_ok());
        write(&file, &servers(&[("a", &a)]));
        stands(&troupe, SourceStatus::Good).await;
    }
    fs::remove_file(&file).unwrap();
    stands(&troupe, SourceStatus::Failing).await;
    plays(&troupe, &["a"]).await;
    assert_eq!(a.observed().accepted, 1, "the server was left alone");
    end(troupe).await;
}

#[tokio::test]
async fn the_files_of_a_folder_come_and_go_and_a_broken_one_concerns_its_own_servers() {
    let (a, b, folder) = (scripted().await, scripted().await, tempfile::tempdir().unwrap());
    let at = |name: &str| folder.path().join(name);
    write(&at("a.json"), &servers(&[("a", &a)]));
    write(&at("b.json"), &servers(&[("b", &b)]));
    fs::write(at("readme.txt"), "no servers").unwrap();
    fs::write(at(".hidden.json"), "no servers").unwrap();
    let troupe = watching(folder.path()).await;
    plays(&troupe, &["a", "b"]).await;
    let mut events = troupe.events();
    write(&at("b.json"), "{");
    let skipped = event(&mut events, |event| matches!(event, Event::RecordSkipped { .. })).await;
    assert!(matches!(skipped, Event::RecordSkipped { record, .. } if record == "b.json"));
    write(&at("c.json"), &servers(&[("c", &b)]));
    plays(&troupe, &["a", "b", "c"]).await;
    // What is wrong with one server of a file concerns that one alone.
    write(&at("b.json"), r#"{"mcpServers": {"b": {"url": 7}, "d": {"url": "ws://127.0.0.1:1"}}}"#);
    plays(&troupe, &["a", "b", "c", "d"]).await;
    let skipped = event(&mut events, |event| matches!(event, Event::RecordSkipped { .. })).await;
    assert!(matches!(skipped, Event::RecordSkipped { record, reason, .. }
        if record == "b.json: b" && reason.starts_with("b.url: invalid type")));
    fs::remove_file(at("b.json")).unwrap();
    plays(&troupe, &["a", "c"]).await;
    // The last file gone is an answer without servers, which has to be repeated.
    fs::remove_file(at("a.json")).unwrap();
    fs::remove_file(at("c.json")).unwrap();
    event(&mut events, |event| matches!(event, Event::DiscoveryDoubted { .. })).await;
    plays(&troupe, &[]).await;
    end(troupe).await;
}

#[tokio::test]
async fn a_file_that_a_new_look_cannot_read_takes_no_server_with_it() {
    let (a, b, folder) = (scripted().await, scripted().await, tempfile::tempdir().unwrap());
    let place = folder.path().join("servers.d");
    let at = |name: &str| place.join(name);
    fs::create_dir(&place).unwrap();
    write(&at("a.json"), &servers(&[("a", &a)]));
    write(&at("b.json"), &servers(&[("b", &b)]));
    let troupe = watching(&place).await;
    plays(&troupe, &["a", "b"]).await;
    // The look ends with its folder. The next one finds a file that is just being written, and knows not what it had.
    let aside = folder.path().join("aside");
    fs::rename(&place, &aside).unwrap();
    stands(&troupe, SourceStatus::Failing).await;
    let mut events = troupe.events();
    fs::write(aside.join("b.json"), "{").unwrap();
    write(&aside.join("c.json"), &servers(&[("c", &a)]));
    fs::rename(&aside, &place).unwrap();
    plays(&troupe, &["a", "b", "c"]).await;
    let skipped = event(&mut events, |event| matches!(event, Event::RecordSkipped { .. })).await;
    assert!(matches!(skipped, Event::RecordSkipped { record, .. } if record == "b.json"));
    write(&at("b.json"), &servers(&[]));
    plays(&troupe, &["a", "c"]).await;
    end(troupe).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_that_leads_nowhere_for_a_moment_takes_no_server_with_it() {
    let (a, b, folder) = (scripted().await, scripted().await, tempfile::tempdir().unwrap());
    let at = |name: &str| folder.path().join(name);
    write(&at("b.1"), &servers(&[("b", &b)]));
    std::os::unix::fs::symlink(at("b.1"), at("b.json")).unwrap();
    write(&at("a.json"), &servers(&[("a", &a)]));
    let troupe = watching(folder.path()).await;
    plays(&troupe, &["a", "b"]).await;
    let mut events = troupe.events();
    fs::remove_file(at("b.1")).unwrap();
    let skipped = event(&mut events, |event| matches!(event, Event::RecordSkipped { .. })).await;
    assert!(matches!(skipped, Event::RecordSkipped { record, .. } if record == "b.json"));
    plays(&troupe, &["a", "b"]).await;
    fs::remove_file(at("b.json")).unwrap();
    plays(&troupe, &["a"]).await;
    end(troupe).await;
}
