//! One `servers.json` out of the configurations of other clients.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]
// The parts of the program that its command alone needs.
#![allow(dead_code)]

mod command;
#[path = "../common/mod.rs"]
mod common;
#[path = "../../examples/orchestrator/import/entries.rs"]
mod entries;
#[path = "../../examples/orchestrator/import/merge.rs"]
mod merge;
#[path = "../../examples/orchestrator/import/own.rs"]
mod own;
#[path = "../../examples/orchestrator/import/places.rs"]
mod places;
mod texts;
#[path = "../../examples/orchestrator/import/translate.rs"]
mod translate;
mod where_they_are;
