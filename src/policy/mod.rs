//! Pure decisions: no async, no I/O, no clock. `now` and randomness are arguments, so that every rule is tested
//! without a runtime and repeats itself under one seed.

pub mod affinity;
pub mod backoff;
pub mod breaker;
pub mod calls;
pub mod catalogue;
pub mod classify;
pub mod demand;
mod described;
pub mod filter;
pub mod hedge;
pub mod known_lists;
pub mod leases;
pub mod mailbox;
pub mod membership;
#[cfg(test)]
mod models;
mod names;
pub mod pins;
pub mod plan;
pub mod pool;
pub mod rate;
pub mod reload;
pub mod response_cache;
pub mod restart;
pub mod retry;
pub mod routing;
pub mod search;
pub mod selection;
pub mod starts;
pub mod strategy;
pub mod tally;
pub mod updates;
