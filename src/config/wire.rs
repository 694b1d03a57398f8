//! What language a server speaks, and when it is started.

use serde::{Deserialize, Serialize};

/// The vocabulary of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Dialect {
    /// The Model Context Protocol.
    #[default]
    Mcp,
    /// `rpc.discover`, `tool.list`, `tool.execute`; results nested as `{toolName, result}`.
    ToolExecute,
}

/// When a server is started, or its connections are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// With the troupe, or as soon as it is registered; it runs for as long as it is.
    #[default]
    AtOnce,
    /// By the first call that needs it, where its tools are known from before. It is stopped when nothing has needed it for its
    /// idle timeout.
    OnDemand,
}

/// Which era of MCP a server is taken to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EraChoice {
    /// Found by a probe, which costs a fresh server one round trip.
    #[default]
    Auto,
    /// 2026-07-28: no handshake.
    Modern,
    /// 2025-11-25 and before: `initialize` first.
    Legacy,
}
