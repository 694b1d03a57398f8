//! What is said on the wire: the JSON-RPC envelope, the eras of MCP and the tool-execute dialect.
//!
//! Nothing here knows a socket or a clock. Params and results pass through as raw bytes: the client reads ids, methods
//! and errors, and the few fields of a handshake or a tool list that it acts on.

mod capabilities;
pub(crate) mod envelope;
#[cfg(any(test, fuzzing))]
#[cfg_attr(not(fuzzing), expect(unreachable_pub, reason = "it is public where it is fuzzed"))]
pub mod fuzzing;
pub(crate) mod handshake;
pub(crate) mod listing;
mod mirror;
pub(crate) mod notes;
#[cfg(feature = "gateway")]
pub(crate) mod server;
mod session;

pub(crate) use capabilities::Declared;
pub(crate) use mirror::Mirrors;
pub(crate) use session::{Era, Known, Notice, Session};
pub(crate) use session::{
    LISTEN_METHOD, cancelled_id, encode_answer, own_request, subscribe_method, updated_uri,
};

/// The modern version that is spoken.
pub(crate) const MODERN_VERSION: &str = "2026-07-28";

/// The legacy versions that are known, best first.
pub(crate) const LEGACY_VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
