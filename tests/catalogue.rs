//! What hosts see of the tools: found by what they do, picked by where they come from and what they say.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use common::{end, event, ready};
use mcp_troupe::testkit::{Script, ScriptedServer};
use mcp_troupe::{Event, Hint, Server, ToolFilter, ToolMatch, Troupe};
use serde_json::json;

async fn files_and_mail() -> (Troupe, ScriptedServer, ScriptedServer) {
    let files = ScriptedServer::builder()
        .tool("read_csv", Script::Echo)
        .says("read_csv", json!({"description": "Reads a table.", "annotations": {"readOnlyHint": true}}))
        .tool("removeFile", Script::Echo)
        .says("removeFile", json!({"description": "Deletes a file for ever."}))
        .start()
        .await;
    let mail = ScriptedServer::builder()
        .tool("send", Script::Echo)
        .says(
            "send",
            json!({"description": "Sends a message with files.", "annotations": {"destructiveHint": false}}),
        )
        .start()
        .await;
    let troupe = ready([
        Server::websocket("files", files.url()).tag("storage"),
        Server::websocket("mail", mail.url()).tag("office"),
    ])
    .await;
    (troupe, files, mail)
}

fn names(found: &[ToolMatch]) -> Vec<&str> {
    found.iter().map(|found| &*found.tool.name).collect()
}

#[tokio::test]
async fn tools_are_found_by_what_they_do() {
    let (troupe, _files, _mail) = files_and_mail().await;
    assert_eq!(names(&troupe.search("read a csv file", 10).await), ["read_csv", "removeFile", "send"]);
    assert_eq!(names(&troupe.search("deleting files", 1).await), ["removeFile"]);
    assert!(troupe.search("weather", 10).await.is_empty());
    let of_mail = ToolFilter::new().tag("office");
    assert_eq!(names(&troupe.search_where("files", 10, &of_mail).await), ["send"]);
    end(troupe).await;
}

#[tokio::test]
async fn a_search_after_a_change_knows_the_change() {
    let (troupe, files, _mail) = files_and_mail().await;
    assert!(troupe.search("archive", 10).await.is_empty());
    let mut events = troupe.events();
    files.set_script("archive", Script::Echo);
    files.announce_tools();
    event(&mut events, |event| matches!(event, Event::CatalogueChanged { .. })).await;
    // Told before the catalogue is published.
    while troupe.tools().len() < 4 {
        tokio::task::yield_now().await;
    }
    assert_eq!(names(&troupe.search("archive", 10).await), ["archive"]);
    end(troupe).await;
}

#[tokio::test]
async fn tools_are_picked_by_where_they_come_from_and_what_they_say() {
    let (troupe, _files, _mail) = files_and_mail().await;
    let picked = |filter: ToolFilter| -> Vec<String> {
        troupe.tools_where(&filter).iter().map(|tool| tool.name.to_string()).collect()
    };
    assert_eq!(picked(ToolFilter::new().group("mail")), ["send"]);
    assert_eq!(picked(ToolFilter::new().server("files").tag("storage")), ["read_csv", "removeFile"]);
    assert_eq!(picked(ToolFilter::new().says(Hint::ReadOnly)), ["read_csv"]);
    assert_eq!(picked(ToolFilter::new().denies(Hint::Destructive)), ["read_csv", "send"]);
    end(troupe).await;
}
