//! The fault table: what must hold when something breaks, each row on real sockets. Where a row is about time alone, time
//! is virtual and the link in memory.
//!
//! | what happens | where |
//! | --- | --- |
//! | a server is refused, or a black hole, at start; many servers start, some of them dead | `starting` |
//! | a server dies, comes back, is slow, fails, crashes in a loop | `servers` |
//! | a peer vanishes, reads nothing, talks garbage, storms | `wire` |
//! | a child process is killed, exits, hangs, floods, refuses to end | `children` |
//! | an actor of ours is killed or panics, at any moment | `actors` |
//! | too many callers, a caller that leaves, a shutdown under load | `pressure` |

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod actors;
// It looks at processes through /proc.
#[cfg(target_os = "linux")]
mod children;
#[path = "../common/mod.rs"]
mod common;
mod dials;
mod load;
mod pressure;
mod servers;
mod starting;
mod wire;
