//! Those who call, and what they see.

use std::io::IsTerminal;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use mcp_troupe::testkit::{AnswerChecker, ScriptedServer};
use mcp_troupe::{Call, CallError, CallErrorKind, Priority, Reply};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::Chaos;
use super::memory;
use super::schedule::{Kills, Schedule};

/// The share of the calls after which the memory is measured for the first time: by then everything was killed once, and
/// what stays allocated for good is there.
const WARM_UP: f64 = 0.3;

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
    /// Resident bytes, without the account, after the warm-up.
    pub warm_bytes: Option<u64>,
}

impl Account {
    fn new() -> Self {
        let histogram = Histogram::new(3).expect("three significant digits are within hdrhistogram's 0 to 5");
        Self {
            crossed: 0,
            kill_to_error_us: histogram.clone(),
            latency_us: histogram,
            elapsed: Duration::ZERO,
            warm_bytes: None,
        }
    }
}

/// The callers of one run.
pub struct Callers {
    checker: AnswerChecker,
    calls: u64,
    concurrency: u32,
    servers: u32,
    next: Arc<AtomicU64>,
    /// When something was struck last.
    strikes: watch::Sender<Option<Instant>>,
    /// One for all callers: histograms of their own would be most of the memory that is measured.
    account: watch::Sender<Account>,
}

impl Callers {
    pub fn new(checker: &AnswerChecker, chaos: &Chaos) -> Self {
        Self {
            checker: checker.clone(),
            calls: chaos.calls,
            concurrency: chaos.concurrency,
            servers: chaos.servers,
            next: Arc::default(),
            strikes: watch::Sender::new(None),
            account: watch::Sender::new(Account::new()),
        }
    }

    /// Where the schedule notes its strikes.
    pub fn strikes(&self) -> watch::Sender<Option<Instant>> {
        self.strikes.clone()
    }

    /// Makes all calls while the schedule strikes.
    pub async fn run(self, schedule: Schedule, quiet: bool) -> (Account, (Kills, Vec<ScriptedServer>)) {
        let begun = Instant::now();
        let mut callers = self.start();
        let (done, stop) = watch::channel(false);
        let strikes = tokio::spawn(schedule.run(stop));
        let bar = tokio::spawn(show_progress(self.next.clone(), self.calls, done.subscribe(), quiet));
        while let Some(caller) = callers.join_next().await {
            if let Err(error) = caller {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        let mut account = self.account.send_replace(Account::new());
        account.elapsed = Instant::now().saturating_duration_since(begun);
        done.send_replace(true);
        // The bar ends with the callers.
        let _ = bar.await;
        match strikes.await {
            Ok(struck) => (account, struck),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn start(&self) -> JoinSet<()> {
        let (end, warm) = (self.calls, (self.calls as f64 * WARM_UP) as u64);
        let mut callers = JoinSet::new();
        for _ in 0..self.concurrency {
            let (checker, next) = (self.checker.clone(), self.next.clone());
            let (strikes, account) = (self.strikes.subscribe(), self.account.clone());
            callers.spawn(one_caller(checker, self.servers, next, warm..end, strikes, account));
        }
        callers
    }
}

async fn one_caller(
    checker: AnswerChecker,
    servers: u32,
    next: Arc<AtomicU64>,
    measured: Range<u64>,
    strikes: watch::Receiver<Option<Instant>>,
    account: watch::Sender<Account>,
) {
    let claim = |n: u64| (n < measured.end).then_some(n + 1);
    while let Ok(n) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim) {
        if n == measured.start {
            let warm_bytes = memory::resident_without(memory::account(&checker, servers));
            account.send_modify(|account| account.warm_bytes = warm_bytes);
        }
        let begun = Instant::now();
        let answer = checker.call(call(n)).await;
        let now = Instant::now();
        let latency = now.saturating_duration_since(begun);
        let (crossed, since_strike) = match &answer {
            Ok(reply) => (!belongs(reply, n), None),
            Err(error) => (false, strikes.borrow().filter(|_| is_of_a_strike(error))),
        };
        account.send_modify(|account| {
            account.crossed += u64::from(crossed);
            // Histograms that resize by themselves take every value.
            let _ = account.latency_us.record(us(latency));
            if let Some(strike) = since_strike {
                let _ = account.kill_to_error_us.record(us(now.saturating_duration_since(strike)));
            }
        });
    }
}

/// Whether an error is what a strike causes.
fn is_of_a_strike(error: &CallError) -> bool {
    matches!(
        error.kind(),
        CallErrorKind::ConnectionLost { .. } | CallErrorKind::ServerDown { .. } | CallErrorKind::Interrupted
    )
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
