//! Balancing in virtual time: a strategy between a stream of calls and servers of which some are slow, fail or join late.
//!
//! A strategy is easily wrong in ways that no unit test of a single choice shows: a slow server whose queue grows, a failing
//! one that looks fast. Here it makes all the choices of a minute, under [`Scenario`]s that bring those ways about, and
//! [`Figures`] say what callers felt. `cargo bench -p mcp-troupe-benches --bench balancing` does so with the built-in strategies.
//!
//! ```text
//! calls ──▶ mailbox ──▶ strategy ──▶ server: queue ▸ workers ──▶ answer
//! Poisson   the router's  under test   breaker, load figures
//! ```
//!
//! Strategy, mailbox, breaker and load figures are the ones that a troupe runs; only time, calls and servers are made up. As
//! in a troupe, a server may be given more calls than it works on at once. They wait in it, whatever the others do meanwhile;
//! only some scenarios limit them. Calls are not repeated, keep to no deadline and no affinity, so that what is felt is the
//! strategy's doing alone.
//!
//! ```
//! use mcp_troupe::strategy::{Candidates, Pick, Strategy};
//! use mcp_troupe::testkit::balancing::{Scenario, simulate};
//!
//! /// All calls go to the first server that takes one.
//! struct First;
//!
//! impl Strategy for First {
//!     fn name(&self) -> &str {
//!         "first"
//!     }
//!
//!     fn pick(&mut self, candidates: &dyn Candidates, _: Pick<'_>) -> Option<usize> {
//!         candidates.admitting().map(|(index, _)| index).next()
//!     }
//! }
//!
//! let figures = simulate(&Scenario::equal(), &mut First, 1);
//! assert!(figures.jain < 0.9, "it is no balancing");
//! ```

mod figures;
mod scenario;
mod simulation;
#[cfg(test)]
mod tests;

pub use figures::Figures;
pub use scenario::Scenario;
pub use simulation::simulate;
