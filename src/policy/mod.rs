//! Pure decisions: no async, no I/O, no clock. `now` and randomness are arguments, so that every rule is tested
//! without a runtime and repeats itself under one seed.

pub(crate) mod affinity;
pub(crate) mod backoff;
pub(crate) mod breaker;
pub(crate) mod calls;
pub(crate) mod catalogue;
pub(crate) mod classify;
pub(crate) mod demand;
mod described;
pub(crate) mod filter;
#[cfg(feature = "gateway")]
pub(crate) mod gateway;
pub(crate) mod hedge;
pub(crate) mod known_lists;
pub(crate) mod leases;
pub(crate) mod mailbox;
pub(crate) mod membership;
#[cfg(test)]
mod models;
pub(crate) mod named_tools;
mod names;
pub(crate) mod pins;
pub(crate) mod plan;
pub(crate) mod pool;
pub(crate) mod rate;
pub(crate) mod reload;
pub(crate) mod response_cache;
pub(crate) mod restart;
pub(crate) mod retry;
pub(crate) mod routing;
pub(crate) mod search;
pub(crate) mod selection;
pub(crate) mod slots;
pub(crate) mod starts;
pub(crate) mod strategy;
pub(crate) mod tally;
pub(crate) mod updates;
