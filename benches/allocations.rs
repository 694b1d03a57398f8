//! How often a call allocates, through the whole troupe and through a bare pump. The echo server is in the same process and
//! allocates as well, the same for both: what the troupe adds is the difference, which does not depend on the machine.
//!
//! `cargo bench --bench allocations` fails when the difference is above what stands here by more than 5 %.

use paths::{Path, paths};

mod paths;

/// Counts every allocation of the process.
#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// What the troupe adds to each call: blocks and bytes, as measured last.
const KNOWN: [(u64, &str); 2] = [(18, "blocks"), (2742, "bytes")];

/// Calls one after the other, after which tables and buffers have their size.
const WARM_UP: u64 = 2_000;

/// Calls that are counted.
const CALLS: u64 = 10_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let [(_, bare), (_, troupe)] = paths().await;
    let (bare, troupe) = (per_call(&bare).await, per_call(&troupe).await);
    println!("{:>8} {:>12} {:>12} {:>12} {:>12}", "per call", "bare pump", "troupe", "difference", "known");
    let mut grown = false;
    for (n, (known, what)) in KNOWN.into_iter().enumerate() {
        let added = troupe[n].saturating_sub(bare[n]);
        println!("{what:>8} {:>12} {:>12} {added:>12} {known:>12}", bare[n], troupe[n]);
        grown |= added * 100 > known * 105;
    }
    if grown {
        eprintln!("a call allocates more than it did");
        std::process::exit(1);
    }
}

/// Blocks and bytes that are allocated for each call.
async fn per_call(path: &Path) -> [u64; 2] {
    for _ in 0..WARM_UP {
        path.call().await;
    }
    let before = dhat::HeapStats::get();
    for _ in 0..CALLS {
        path.call().await;
    }
    let after = dhat::HeapStats::get();
    [(after.total_blocks - before.total_blocks) / CALLS, (after.total_bytes - before.total_bytes) / CALLS]
}
