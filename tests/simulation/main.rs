//! The troupe in a simulated network: every partition, delay, crash and kill comes from a seed, and the same seed gives
//! the same run. After the faults a liveness phase: everything must be ready again, and every call answered.
//!
//! ```text
//! cargo test --test simulation                           # the usual seeds
//! SIMULATION_SEEDS=5000 cargo test --test simulation     # more of them
//! SIMULATION_SEED=7 cargo test --test simulation tells -- --nocapture    # one of them, step by step
//! ```

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod network;
mod plan;
mod users;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use world::simulate;

/// Seeds that are run unless the environment says another number.
const SEEDS: u64 = 200;

/// Begins and ends a trace in the output.
const MARK: &str = "=====";

/// Says how a run is repeated when it fails.
struct Repeat(u64);

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(seed) = self;
            eprintln!(
                "seed {seed} failed; its steps: SIMULATION_SEED={seed} cargo test --test simulation tells -- --nocapture"
            );
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, and not {text:?}")))
}

#[test]
fn whatever_the_faults_everything_is_ready_again_and_every_call_has_one_true_answer() {
    let seeds = number("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let _repeat = Repeat(seed);
                    let run = simulate(seed, |_| ());
                    assert!(run.answered > 0, "nothing was answered under seed {seed}");
                }
            });
        }
    });
}

#[test]
fn the_same_seed_gives_the_same_trace_here_and_in_other_processes() {
    let here = simulate(7, |_| ()).trace;
    assert_eq!(here, simulate(7, |_| ()).trace, "in one process");
    assert_ne!(here, simulate(8, |_| ()).trace, "another seed is another run");
    for _ in 0..2 {
        assert_eq!(here, trace_of_another_process(7), "in another process");
    }
}

fn trace_of_another_process(seed: u64) -> Vec<String> {
    let told = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tells_the_steps_of_a_seed", "--nocapture"])
        .env("SIMULATION_SEED", seed.to_string())
        .output()
        .unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let lines = told.lines().skip_while(|line| *line != MARK).skip(1);
    lines.take_while(|line| *line != MARK).map(str::to_owned).collect()
}

/// Prints a run, for people and for the test above; without a seed in the environment there is nothing to tell.
#[test]
fn tells_the_steps_of_a_seed() {
    if let Some(seed) = number("SIMULATION_SEED") {
        println!("{MARK}");
        let _repeat = Repeat(seed);
        simulate(seed, |line| println!("{line}"));
        println!("{MARK}");
    }
}
