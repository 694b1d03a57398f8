//! What the benches share: the ways to make a call that they compare, callers that keep so many calls in flight, a server to
//! call, and the report at the end.

// Each bench uses its own part.
#![allow(dead_code)]
// A bench measures real time; tokio's clock can be paused.
#![allow(clippy::disallowed_types)]

pub mod bare;
pub mod callers;
pub mod child;
pub mod paths;
pub mod pure;
pub mod report;
pub mod sdk;
pub mod system;
mod websocket;

pub use ::echo;
