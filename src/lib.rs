//! Many MCP servers as one dependable tool set.
//!
//! `mcp-troupe` is a client for agent hosts that use many [Model Context Protocol] servers at once. Each server is
//! played by a supervised actor with its own connections and circuit breaker; one router holds every open call, so that
//! each is answered exactly once; what crashes is restarted, and one bad server never hurts another.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use mcp_troupe::{Call, Priority, Server, Troupe};
//! use serde_json::json;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let troupe = Troupe::builder()
//!     .server(Server::websocket("files-1", "ws://127.0.0.1:3000").group("files"))
//!     .server(Server::websocket("files-2", "ws://127.0.0.1:3001").group("files"))
//!     .server(Server::websocket("db", "ws://127.0.0.1:3002").timeout(Duration::from_secs(5)))
//!     .start()
//!     .await?;
//! for missing in troupe.settled().await {
//!     eprintln!("{missing}");
//! }
//!
//! let call = Call::tool("file.read").args(json!({"path": "documents/test.md"})).priority(Priority::High);
//! match troupe.call(call).await {
//!     Ok(reply) => println!("{} says {}", reply.server, reply.text()?),
//!     Err(error) => eprintln!("{error}; retry: {}", error.retryable()),
//! }
//! troupe.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//! - `http` (default): the Streamable HTTP transport, with rustls for `https`.
//! - `stdio` (default): the stdio transport, servers as child processes.
//! - `websocket` (default): the WebSocket transport, with rustls for `wss`.
//! - `consul`, `dns`, `etcd`: servers named there, see [`discovery`]; `etcd` needs `protoc` at build time.
//! - `gateway`: the whole troupe served as one MCP server, see [`guide::gateway`].
//! - `metrics`: figures for the host's metrics, see [`observability`].
//! - `testkit`: faults of the troupe's own actors, a scripted MCP server, in-memory links and a simulation of balancing, for
//!   tests.
//! - `schema`: the JSON schema of `servers.json`, `ConfigFile::schema`.
//! - `full`: all of them.
//!
//! [Model Context Protocol]: https://modelcontextprotocol.io

// docs.rs says of each item which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(missing_docs, unreachable_pub)]
// A sum of times panics where no clock holds it: `duration::later` and the saturating methods do not. Tests add as they like.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

/// The README's quick start compiles; the other pages are the [`guide`].
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod actors;
mod call;
mod call_update;
pub mod config;
pub mod discovery;
mod duration;
pub mod error;
pub mod event;
#[cfg(feature = "gateway")]
mod gateway;
pub mod guide;
pub mod id;
mod json;
#[cfg(feature = "gateway")]
mod listen;
#[cfg(any(feature = "http", feature = "websocket"))]
mod net;
mod number_map;
pub mod observability;
pub mod offer;
mod peer_text;
mod pin;
mod policy;
mod protocol;
pub mod question;
mod refusal;
mod secret;
mod spans;
pub mod stats;
#[cfg(feature = "testkit")]
// Its times are those of tests.
#[allow(clippy::arithmetic_side_effects)]
pub mod testkit;
pub mod token;
mod trace_context;
pub mod transport;
mod troupe;

pub use actors::root::messages::{ApplyError, RegisterError};
#[cfg(fuzzing)]
#[doc(hidden)]
pub use protocol::fuzzing;

pub use actors::server::messages::SubscribeError;
pub use call::{
    AttemptEnd, Call, Content, InputRequired, OutcomeClass, Priority, Reply, ReplyError, ResourceBody,
};
pub use call_update::{CallUpdate, LogLevel, LogMessage, Progress};
pub use config::{
    Applied, ConfigError, ConfigFile, Diagnostic, DiagnosticKind, Dialect, EraChoice, GatewaySettings,
    OnChange, Server, Settings, Severity, Start, Variables,
};
pub use error::{CallError, CallErrorKind, Deadline, Effect, RpcError};
pub use event::Event;
#[cfg(feature = "gateway")]
pub use gateway::{ClientChannel, Gateway, ServeError, UnknownProfile};
pub use json::RawJson;
pub use pin::{InvalidPin, Pin};
pub use policy::catalogue::{Catalogue, Prompt, Resource, ResourceTemplate, Tool, ToolFunction};
pub use policy::classify::classify;
pub use policy::filter::{Hint, ToolFilter};
pub use policy::named_tools::MissingTool;
pub use policy::pins::Pins;
pub use policy::plan::{Plan, PlanError, PlanOutcome, StepOutcome};
pub use policy::response_cache::CachedKind;
pub use policy::search::ToolMatch;
pub use question::{ElicitResult, ServerRequest};
pub use refusal::{Refusal, RefusalKind};
pub use secret::Secret;
pub use stats::{ServerDetails, ServerInfo, Stats};
pub use token::TokenProvider;
pub use troupe::{
    Answers, AnyFailure, BreakerControl, CacheControl, CacheError, Cached, CallAnyError, CallFuture,
    CallStream, CatalogueChanges, ConfigFileError, ConfigWatch, Denied, DrainError, EventStream, Lease,
    NotReady, ProposedCall, Readiness, ReplaceError, StartError, Subscription, SubscriptionEnded, Troupe,
    TroupeBuilder, UnknownServer,
};

/// Former names, for one more version.
#[doc(hidden)]
mod former {
    #[deprecated(note = "is called `Effect`")]
    pub type Delivery = crate::Effect;
    #[deprecated(note = "is called `CallUpdate`")]
    pub type CallNews = crate::CallUpdate;
    #[deprecated(note = "is called `ServerRequest`")]
    pub type Question = crate::ServerRequest;
    #[deprecated(note = "is called `ElicitResult`")]
    pub type Elicited = crate::ElicitResult;
}
#[doc(hidden)]
#[expect(deprecated, reason = "whoever uses them is told")]
pub use former::{CallNews, Delivery, Elicited, Question};

/// How a server is chosen among replicas: the built-in strategies, and what hosts need to add their own.
pub mod strategy {
    pub use crate::policy::strategy::{
        Candidate, Candidates, DuplicateStrategy, LeastConnections, Load, PeakEwma, Pick, Rendezvous,
        RoundRobin, Strategy, UnknownStrategy, Weighted,
    };
}
