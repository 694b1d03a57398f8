//! The call path against its limit: one loopback WebSocket, 115-byte requests, small results, at several depths, through
//! the whole troupe and through a bare pump without actors. What counts are the ratios of one run.
//!
//! `cargo bench --bench call_path` prints the ratios and then criterion's own figures; `-- --quick` for a short look,
//! `-- --profile-time 10 current-thread/troupe/64` for a profiler.

// A bench measures real time; tokio's clock can be paused.
#![allow(clippy::disallowed_types)]

use std::time::{Duration, Instant as WallClock};

use criterion::{BenchmarkId, Criterion, Throughput};
use tokio::runtime::Runtime;

use paths::{Path, paths};

mod paths;

const DEPTHS: [usize; 3] = [1, 64, 256];

/// Runs of each measurement; the median counts.
const RUNS: usize = 5;

/// How long one run lasts.
const RUN: Duration = Duration::from_millis(700);

/// Keeps `depth` calls in flight until `calls` are made. Returns the time and the median latency.
async fn drive(path: &Path, depth: usize, until: Until) -> (u64, Duration, Duration) {
    let begun = WallClock::now();
    let callers: Vec<_> = (0..depth)
        .map(|_| {
            let path = path.clone();
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while match until {
                    Until::Time(limit) => begun.elapsed() < limit,
                    Until::Calls(calls) => (latencies.len() as u64) < calls.div_ceil(depth as u64),
                } {
                    let called = WallClock::now();
                    path.call().await;
                    latencies.push(called.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for caller in callers {
        latencies.extend(caller.await.expect("a caller ends in order"));
    }
    let elapsed = begun.elapsed();
    latencies.sort_unstable();
    (latencies.len() as u64, elapsed, latencies[latencies.len() / 2])
}

#[derive(Clone, Copy)]
enum Until {
    Time(Duration),
    Calls(u64),
}

fn runtimes() -> [(&'static str, Runtime); 2] {
    let current = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let two = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    [("current-thread", current.expect("a runtime")), ("two-threads", two.expect("a runtime"))]
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The table of ratios: runs of both paths alternate, so that both see the same machine.
fn ratios() {
    println!(
        "{:<16} {:>5} {:>14} {:>14} {:>12} {:>12}",
        "runtime", "depth", "bare calls/s", "troupe calls/s", "calls ratio", "p50 ratio"
    );
    for (name, runtime) in runtimes() {
        for depth in DEPTHS {
            let (mut bare_rates, mut troupe_rates, mut rates, mut medians) = (vec![], vec![], vec![], vec![]);
            for _ in 0..RUNS {
                let [bare, troupe] = runtime.block_on(async {
                    let [(_, bare), (_, troupe)] = paths().await;
                    [
                        drive(&bare, depth, Until::Time(RUN)).await,
                        drive(&troupe, depth, Until::Time(RUN)).await,
                    ]
                });
                let rate =
                    |(calls, elapsed, _): (u64, Duration, Duration)| calls as f64 / elapsed.as_secs_f64();
                bare_rates.push(rate(bare));
                troupe_rates.push(rate(troupe));
                rates.push(rate(troupe) / rate(bare));
                medians.push(troupe.2.as_secs_f64() / bare.2.as_secs_f64());
            }
            println!(
                "{name:<16} {depth:>5} {:>14.0} {:>14.0} {:>12.2} {:>12.2}",
                median(bare_rates),
                median(troupe_rates),
                median(rates),
                median(medians),
            );
        }
    }
}

fn main() {
    // Under a profiler the one path that was asked for is all that counts.
    if !std::env::args().any(|argument| argument == "--profile-time") {
        ratios();
    }
    let mut criterion = Criterion::default().configure_from_args();
    for (name, runtime) in runtimes() {
        let mut group = criterion.benchmark_group(format!("call_path/{name}"));
        group.throughput(Throughput::Elements(1));
        let paths = runtime.block_on(paths());
        for depth in DEPTHS {
            for (path_name, path) in &paths {
                group.bench_with_input(BenchmarkId::new(*path_name, depth), &depth, |bencher, depth| {
                    bencher.iter_custom(|calls| {
                        // Whole rounds of all callers; the time is scaled back to what was asked.
                        let rounds = calls.max(*depth as u64);
                        let (made, elapsed, _) = runtime.block_on(drive(path, *depth, Until::Calls(rounds)));
                        elapsed.mul_f64(calls as f64 / made as f64)
                    });
                });
            }
        }
        group.finish();
    }
    criterion.final_summary();
}
