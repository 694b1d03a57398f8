//! One `servers.json` out of the configurations of other clients.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]
// The parts of the program that its command alone needs.
#![allow(dead_code)]

mod command;
#[path = "../../../../tests/common/mod.rs"]
mod common;
#[path = "../../src/import/entries.rs"]
mod entries;
#[path = "../../src/import/merge.rs"]
mod merge;
#[path = "../../src/import/own.rs"]
mod own;
#[path = "../../src/import/places.rs"]
mod places;
mod texts;
#[path = "../../src/import/translate.rs"]
mod translate;
mod where_they_are;
