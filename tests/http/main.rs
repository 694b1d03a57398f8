//! Streamable HTTP on real sockets, in both eras: servers that behave and servers that do not.
//!
//! | what | where |
//! | --- | --- |
//! | calls, cancellation, the headers, one era or the other | `calls` |
//! | statuses, strange answers, streams that break off or never end | `refusals` |
//! | sessions, the stream of what a server says unasked, resumption | `sessions` |
//! | everything at once | `chaos` |
//! | tokens that a host gives | `tokens` |
//! | servers as the field has them: what real ones do against the rules | `field` |

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod calls;
mod chaos;
#[path = "../common/mod.rs"]
mod common;
mod field;
mod raw;
mod refusals;
mod sessions;
mod tokens;
