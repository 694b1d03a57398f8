//! What is known of a call's effect, for every way in which it ends: each row of `src/guide/outcomes.md` that no other suite shows.
//!
//! Servers count what arrives and what they carry out. So *not sent* means that it never arrived, *rejected* that it was
//! not carried out, and a call that is not declared safe is carried out once at most, whatever it is told.
//!
//! | what | where |
//! | --- | --- |
//! | statuses, answers and their places, connections that break, over HTTP | `http` |
//! | sessions of legacy HTTP servers | `sessions` |
//! | what a server answers, over every transport and in both dialects | `answers` |
//! | queues, deadlines, callers who leave, actors that end, leases, drains, shutdown | `waiting` |

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod answers;
#[path = "../common/mod.rs"]
mod common;
mod http;
#[path = "../http/raw.rs"]
#[allow(dead_code)]
mod raw;
mod sessions;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what a server carries out.
#[derive(Clone, Default)]
struct Executions(Arc<AtomicU64>);

impl Executions {
    /// One more; gives the number of it, from 1.
    fn add(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}
