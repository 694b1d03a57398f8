//! The whole troupe as one MCP server, over channels in memory.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod client;
mod lists;
mod messages;
mod offers;
mod profiles;
mod questions;
mod updates;
