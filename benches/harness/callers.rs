//! Callers that keep so many calls in flight, and what they see.

use std::future::Future;
use std::time::{Duration, Instant as WallClock};

/// Something that can be called, by many at once.
pub trait Callee: Clone + Send + Sync + 'static {
    /// Makes a call. Their numbers are those of the callers at first, and go on from there.
    fn call(&self, number: usize) -> impl Future<Output = ()> + Send;
}

/// What the callers saw.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub calls: usize,
    pub calls_per_s: f64,
    /// Half of the calls took at most this long.
    pub p50: Duration,
}

/// Makes calls, `depth` at a time, for so long.
pub async fn measure(callee: &impl Callee, depth: usize, time: Duration) -> Seen {
    let begun = WallClock::now();
    let callers: Vec<_> = (0..depth)
        .map(|caller| {
            let callee = callee.clone();
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                let mut now = begun;
                while now - begun < time {
                    callee.call(caller + depth * latencies.len()).await;
                    let then = std::mem::replace(&mut now, WallClock::now());
                    latencies.push(now - then);
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
    let calls = latencies.len();
    let (_, p50, _) = latencies.select_nth_unstable(calls / 2);
    Seen { calls, calls_per_s: calls as f64 / elapsed.as_secs_f64(), p50: *p50 }
}

/// Makes so many calls, `depth` at a time, and nothing else that could be counted.
pub async fn make(callee: &impl Callee, depth: usize, calls: usize) {
    let callers: Vec<_> = (0..depth)
        .map(|caller| {
            let callee = callee.clone();
            tokio::spawn(async move {
                for number in (caller..calls).step_by(depth) {
                    callee.call(number).await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("a caller ends in order");
    }
}
