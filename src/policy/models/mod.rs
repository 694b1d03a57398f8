//! The policies against reference models: plain lists that do the same slowly and plainly. Random steps are taken by
//! both, and every answer is compared; a difference is shrunk to the fewest steps that show it.
//!
//! A model that is applied to a step notes in `output` what the policy has to answer.

mod breaker;
mod calls;
mod demand;
mod leases;
mod mailbox;
mod membership;
mod pool;
mod restart;
mod starts;

use std::time::Duration;

/// Times of models are milliseconds from the start.
const MS: fn(u64) -> Duration = Duration::from_millis;
