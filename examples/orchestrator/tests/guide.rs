//! The commands of the guide's page, run as they are written, in the order in which they are written.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/common/mod.rs"]
mod common;

use common::{program_path, repository, skipping};
use tokio::process::Command;

/// What a line of the page begins with that runs the command line.
const RUN: &str = "cargo run -- ";

/// The lines of its first block of commands that begin so.
fn commands() -> Vec<String> {
    let page = std::fs::read_to_string(repository().join("src/guide/command_line.md")).unwrap();
    let blocks = page.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    let block = blocks.into_iter().find(|block| block.contains(RUN)).unwrap();
    block.lines().filter_map(|line| line.strip_prefix(RUN)).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_commands_of_the_page_run_as_they_are_written() {
    let commands = commands();
    assert!(commands.len() >= 8, "{commands:?}");
    for server in ["files_server", "database_server"] {
        if !repository().join("target/debug").join(server).exists() {
            let why = "the example servers are not built there: cargo build -p mcp-troupe-examples";
            return skipping::skip("examples", "the_commands_of_the_page", why);
        }
    }
    for arguments in commands {
        let mut shell = Command::new("sh");
        let shell = shell.arg("-c").arg(format!("\"$MCP_TROUPE\" {arguments}")).current_dir(repository());
        let output = shell.env("MCP_TROUPE", program_path("mcp-troupe")).output().await.unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments}: {told}");
    }
}
