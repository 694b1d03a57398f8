//! Those who call, and what they see.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use mcp_troupe::testkit::{AnswerChecker, ScriptedServer};
use mcp_troupe::{Call, CallErrorKind, Priority, Reply};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::Chaos;
use super::schedule::{Kills, Schedule};

/// Calls that are made before the memory is measured for the first time, of a hundred.
const WARM_UP_SHARE: u64 = 2;

/// How often the progress bar moves.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// The arguments of a call, which its answer must carry.
#[derive(Serialize, Deserialize)]
struct Number {
    n: u64,
}

/// What the callers saw.
pub struct Account {
    /// Answers that belong to another call.
    pub crossed: u64,
    /// From the last strike to each error that it may have caused, in microseconds.
    pub kill_to_error_us: Histogram<u64>,
    /// How long the calls took, in microseconds.
    pub latency_us: Histogram<u64>,
    pub elapsed: Duration,
}

impl Account {
    fn new() -> Self {
        let histogram = Histogram::new(3).expect("three significant digits are within hdrhistogram's 0 to 5");
        Self {
            crossed: 0,
            kill_to_error_us: histogram.clone(),
            latency_us: histogram,
            elapsed: Duration::ZERO,
        }
    }

    fn add(&mut self, other: &Self) {
        self.crossed += other.crossed;
        // Both resize by themselves.
        let _ = self.kill_to_error_us.add(&other.kill_to_error_us);
        let _ = self.latency_us.add(&other.latency_us);
    }
}

/// The callers of one run.
pub struct Callers {
    checker: AnswerChecker,
    calls: u64,
    concurrency: u32,
    next: Arc<AtomicU64>,
    /// When something was struck last.
    strikes: watch::Sender<Option<Instant>>,
}

impl Callers {
    pub fn new(checker: &AnswerChecker, chaos: &Chaos) -> Self {
        Self {
            checker: checker.clone(),
            calls: chaos.calls,
            concurrency: chaos.concurrency,
            next: Arc::default(),
            strikes: watch::Sender::new(None),
        }
    }

    /// Where the schedule notes its strikes.
    pub fn strikes(&self) -> watch::Sender<Option<Instant>> {
        self.strikes.clone()
    }

    /// Makes the first calls, so that what stays allocated for good is there.
    pub async fn warm_up(&self) {
        self.call_until(self.calls * WARM_UP_SHARE / 100).join_all().await;
    }

    /// Makes the other calls while the schedule strikes.
    pub async fn run(self, schedule: Schedule, quiet: bool) -> (Account, (Kills, Vec<ScriptedServer>)) {
        let begun = Instant::now();
        let mut callers = self.call_until(self.calls);
        let (done, stop) = watch::channel(false);
        let strikes = tokio::spawn(schedule.run(stop));
        let bar = tokio::spawn(show_progress(self.next.clone(), self.calls, done.subscribe(), quiet));
        let mut total = Account::new();
        while let Some(account) = callers.join_next().await {
            match account {
                Ok(account) => total.add(&account),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        total.elapsed = Instant::now().saturating_duration_since(begun);
        done.send_replace(true);
        // The bar ends with the callers.
        let _ = bar.await;
        match strikes.await {
            Ok(struck) => (total, struck),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn call_until(&self, end: u64) -> JoinSet<Account> {
        let mut callers = JoinSet::new();
        for _ in 0..self.concurrency {
            let (checker, next, strikes) =
                (self.checker.clone(), self.next.clone(), self.strikes.subscribe());
            callers.spawn(one_caller(checker, next, end, strikes));
        }
        callers
    }
}

async fn one_caller(
    checker: AnswerChecker,
    next: Arc<AtomicU64>,
    end: u64,
    strikes: watch::Receiver<Option<Instant>>,
) -> Account {
    let mut account = Account::new();
    let claim = |n: u64| (n < end).then_some(n + 1);
    while let Ok(n) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim) {
        let begun = Instant::now();
        let answer = checker.call(call(n)).await;
        let now = Instant::now();
        let latency = now.saturating_duration_since(begun);
        // A histogram that resizes by itself takes every value.
        let _ = account.latency_us.record(us(latency));
        match answer {
            Ok(reply) => account.crossed += u64::from(!belongs(&reply, n)),
            Err(error) => {
                let struck = matches!(
                    error.kind(),
                    CallErrorKind::ConnectionLost { .. }
                        | CallErrorKind::ServerDown { .. }
                        | CallErrorKind::Interrupted
                );
                if let Some(at) = strikes.borrow().filter(|_| struck) {
                    let _ = account.kill_to_error_us.record(us(now.saturating_duration_since(at)));
                }
            }
        }
    }
    account
}

/// The n-th call: every second one may be repeated, every third is of another priority.
fn call(n: u64) -> Call {
    let call = Call::tool("echo").args(Number { n }).priority(Priority::ALL[(n % 3) as usize]);
    if n.is_multiple_of(2) { call.idempotent() } else { call }
}

fn belongs(reply: &Reply, n: u64) -> bool {
    reply.structured::<Number>().is_ok_and(|number| number.n == n)
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Moves a bar on a terminal until the callers are done.
async fn show_progress(next: Arc<AtomicU64>, calls: u64, mut done: watch::Receiver<bool>, quiet: bool) {
    if quiet || !std::io::stderr().is_terminal() {
        return;
    }
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {pos} calls, {per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(calls).with_style(style);
    let mut tick = tokio::time::interval(PROGRESS_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !*done.borrow_and_update() {
        tick.tick().await;
        bar.set_position(next.load(Ordering::Relaxed));
    }
    bar.finish_and_clear();
}
