//! For tests, ours and those of hosts: faults of the troupe's own actors, a scripted MCP server, in-memory links,
//! a simulation of balancing.
//!
//! ```
//! use mcp_troupe::testkit::{Fault, ScriptedServer, Target, inject};
//! use mcp_troupe::{Call, Readiness, Server, Troupe};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = ScriptedServer::builder().tool("echo", Default::default()).start().await;
//! let troupe = Troupe::builder().server(Server::websocket("echo", server.url())).start().await?;
//! troupe.ready(Readiness::All).await?;
//!
//! inject(&troupe, Target::server("echo"), Fault::Kill).await?;
//! let reply = troupe.call(Call::tool("echo").idempotent()).await?; // waits for the restart
//! assert_eq!(reply.server.as_str(), "echo");
//! troupe.shutdown().await;
//! # Ok(())
//! # }
//! ```

pub mod balancing;
#[doc(hidden)]
pub mod bench;
mod checker;
mod faults;
mod memory;
mod proxy;
mod scripted;
mod source;

pub use checker::{AnswerChecker, Tally, Violations};
pub use faults::{Fault, NoSuchActor, Target, inject, living_actors, living_tasks};
pub use memory::{MemoryConnector, MemoryListener, MemoryPeer, pair};
pub use proxy::{FaultProxy, Line};
pub use scripted::{
    Compute, Entrance, Observed, Script, ScriptedBuilder, ScriptedCall, ScriptedEra, ScriptedServer, Step,
    read_ledger,
};
pub use source::ScriptedSource;
