//! Times code that waits for nothing.

use std::time::{Duration, Instant as WallClock};

use super::report::Spread;

/// Runs of each way: many and short, so that on a busy machine some are left alone.
const RUNS: usize = 25;

/// How long one run lasts at least.
const RUN: Duration = Duration::from_millis(5);

/// One turn of a way to do something.
pub type Turn<'a> = Box<dyn FnMut() + 'a>;

/// How long the turns of one way took, in nanoseconds, run by run.
pub struct Timed(Vec<f64>);

impl Timed {
    pub fn nanoseconds(&self) -> Spread {
        Spread::of(self.0.iter().copied())
    }

    /// The shortest run. Whatever is above it was something else on the machine, so it repeats itself.
    pub fn least(&self) -> f64 {
        self.nanoseconds().min
    }

    /// This over another, run by run.
    pub fn over(&self, other: &Self) -> Spread {
        Spread::of(self.0.iter().zip(&other.0).map(|(one, other)| one / other))
    }
}

/// Times each way in turn, several times over, so that all of them see the same machine.
pub fn alternate(ways: Vec<Turn<'_>>) -> Vec<Timed> {
    let mut ways: Vec<(Turn<'_>, u32)> = ways
        .into_iter()
        .map(|mut way| {
            let turns = calibrate(&mut way);
            (way, turns)
        })
        .collect();
    let mut timed: Vec<Timed> = ways.iter().map(|_| Timed(Vec::with_capacity(RUNS))).collect();
    for _ in 0..RUNS {
        for ((way, turns), Timed(times)) in ways.iter_mut().zip(&mut timed) {
            times.push(time(way, *turns).as_nanos() as f64 / f64::from(*turns));
        }
    }
    timed
}

/// How many turns fill a run.
fn calibrate(way: &mut Turn<'_>) -> u32 {
    let mut turns = 1;
    while time(way, turns) < RUN {
        turns *= 2;
    }
    turns
}

fn time(way: &mut Turn<'_>, turns: u32) -> Duration {
    let begun = WallClock::now();
    (0..turns).for_each(|_| way());
    begun.elapsed()
}
