//! How an attempt of a call ends, and what that says of its server.

use serde::Serialize;

use crate::error::RpcError;
use crate::json::RawJson;
use crate::refusal::Refusal;

/// How one attempt counts for the health of its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutcomeClass {
    /// The server did its work, also where the tool reported an error of its own.
    Success,
    /// The server failed.
    Failure,
    /// The server refused for lack of capacity: counts in the ratio only.
    Overload,
    /// Says nothing about the server: the caller's own mistake, or the caller left.
    Ignored,
}

/// How one attempt ended, as a classifier sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptEnd {
    /// The server answered with a result.
    Result(RawJson),
    /// The server answered with a JSON-RPC error.
    Rpc(RpcError),
    /// The server answered with a status and no message.
    Refused(Refusal),
    /// The server's answer is no valid response.
    InvalidResponse(String),
    /// The link broke before the answer.
    ConnectionLost {
        /// How.
        reason: String,
        /// Whether the server may have received the request.
        sent: bool,
    },
    /// The server says that it did not carry the request out, since it no longer knows the session that it came with.
    SessionLost {
        /// Its words.
        reason: String,
    },
    /// The request exceeds the size limit of messages; nothing was sent.
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The call's deadline passed before the answer.
    DeadlineExceeded,
    /// The caller left before the answer.
    Cancelled,
}

impl AttemptEnd {
    /// A short, stable name for counters: `ok`, or that of the call's error.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Result(_) => "ok",
            Self::Rpc(_) => "rpc-error",
            Self::Refused(refusal) => refusal.name(),
            Self::InvalidResponse(_) => "invalid-response",
            Self::ConnectionLost { .. } | Self::SessionLost { .. } => "connection-lost",
            Self::TooLarge { .. } => "too-large",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::Cancelled => "cancelled",
        }
    }
}
