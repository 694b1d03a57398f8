//! `load`: calls as fast as they are answered, and an account of every one.

mod percent;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use mcp_troupe::event::ServerStatus;
use mcp_troupe::{Call, CallError, CallErrorKind, Effect, Readiness, ReplyError, ServerInfo, Troupe};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use self::percent::percent;
use crate::metrics::MetricsArgs;
use crate::output::{note, say};
use crate::reload::Reloading;
use crate::signals::Stop;
use crate::waiting::while_waiting;
use crate::{Config, FAILED, MISUSED, Target, Wait, configuration, output, start_from, tell_missing};

/// How a result counts in which the tool reports an error of its own.
const TOOL_ERROR: &str = "tool-error";

/// How long a caller waits after an error of which nobody knows how long it lasts, and that no server has seen.
const PAUSE_UNSENT: Duration = Duration::from_millis(100);

/// Characters of a tool's own error that are shown: it may be a page, and here it is one of many.
const TOOL_ERROR_SHOWN: usize = 200;

/// How often the progress bar moves.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Args)]
pub struct LoadArgs {
    #[command(flatten)]
    config: Config,
    #[command(flatten)]
    wait: Wait,
    #[command(flatten)]
    target: Target,
    /// Callers at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    concurrency: u32,
    /// How long new calls are made, such as 10s.
    #[arg(long, default_value = "10s", value_parser = crate::some_time)]
    duration: Duration,
    /// Make this many calls instead, however long they take.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    calls: Option<u64>,
    /// Wait for every server before the first call; else one that failed is not waited for.
    #[arg(long)]
    wait_all: bool,
    /// Take a changed configuration file, and on SIGHUP the file as it is, without losing a call.
    #[arg(long)]
    pub reload: bool,
    /// Show the supervision tree meanwhile, in place of the progress.
    #[arg(long)]
    pub watch: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    metrics: MetricsArgs,
}

/// Servers that an account without calls tells as not ready.
const NOT_READY_TOLD: usize = 32;

/// What one caller saw, and what all of them saw together.
struct Account {
    calls: u64,
    /// Calls that were open when the command was interrupted: they were cancelled at their servers.
    cancelled: u64,
    answered: u64,
    /// Calls of which a server may know.
    sent: u64,
    /// Calls that the cache answered.
    cached: u64,
    ok: u64,
    errors: BTreeMap<&'static str, u64>,
    /// Of each kind of error, what its first one said.
    first_errors: BTreeMap<&'static str, String>,
    per_server: BTreeMap<String, u64>,
    latency_us: Histogram<u64>,
}

impl Account {
    fn new() -> Self {
        let latency_us =
            Histogram::new(3).expect("three significant digits are within hdrhistogram's 0 to 5");
        Self {
            calls: 0,
            cancelled: 0,
            answered: 0,
            sent: 0,
            cached: 0,
            ok: 0,
            errors: BTreeMap::new(),
            first_errors: BTreeMap::new(),
            per_server: BTreeMap::new(),
            latency_us,
        }
    }

    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.cancelled += other.cancelled;
        self.answered += other.answered;
        self.sent += other.sent;
        self.cached += other.cached;
        self.ok += other.ok;
        for (kind, count) in &other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        for (kind, message) in &other.first_errors {
            self.first_errors.entry(kind).or_insert_with(|| message.clone());
        }
        for (server, count) in &other.per_server {
            *self.per_server.entry(server.clone()).or_default() += count;
        }
        // Both resize by themselves.
        let _ = self.latency_us.add(&other.latency_us);
    }
}

#[derive(Serialize)]
struct Report {
    calls: u64,
    answered: u64,
    /// Calls that a server may have seen.
    sent: u64,
    /// Calls that the cache answered.
    #[serde(skip_serializing_if = "is_zero")]
    cached: u64,
    ok: u64,
    errors: BTreeMap<&'static str, u64>,
    /// What the first error of each kind said.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    first_errors: BTreeMap<&'static str, String>,
    lost: u64,
    /// Servers that were not ready where no call was made, with what they are.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    not_ready: BTreeMap<String, String>,
    /// Calls that an interrupt cancelled.
    #[serde(skip_serializing_if = "is_zero")]
    cancelled: u64,
    per_server: BTreeMap<String, u64>,
    /// Of calls of which a server may know; none without any.
    latency_us: Option<Latency>,
    /// Of the same calls.
    calls_per_s: f64,
    duration_s: f64,
    /// Configurations that were taken, where they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    reloads: Option<u64>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Clone, Copy, Serialize)]
struct Latency {
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

/// When callers stop.
#[derive(Clone, Copy)]
enum Until {
    Time(Instant),
    Calls(u64),
}

impl Until {
    /// As much of a pause as there is time for.
    fn cut(self, pause: Duration) -> Duration {
        match self {
            Self::Time(end) => pause.min(end.saturating_duration_since(Instant::now())),
            Self::Calls(_) => pause,
        }
    }
}

/// Whether the same call fails in the same way whenever it is made, unless the configuration or what servers offer changes.
fn never_succeeds(kind: &CallErrorKind) -> bool {
    matches!(
        kind,
        CallErrorKind::InvalidArguments { .. }
            | CallErrorKind::InvalidOptions { .. }
            | CallErrorKind::Denied { .. }
            | CallErrorKind::TooLong { .. }
            | CallErrorKind::UnknownTool { .. }
            | CallErrorKind::AmbiguousTool { .. }
            | CallErrorKind::NoMatch { .. }
    )
}

/// How long a caller waits after an error. What no server has seen costs no time, and whoever calls again at once only spins.
fn pause_after(error: &CallError) -> Duration {
    match error.retry_after() {
        Some(after) if error.retryable() => after,
        _ if error.effect() == Effect::NotSent => PAUSE_UNSENT,
        _ => Duration::ZERO,
    }
}

/// The first words of what a tool says, in one line.
fn shortened(text: &str) -> String {
    let plain = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match plain.char_indices().nth(TOOL_ERROR_SHOWN) {
        Some((end, _)) => format!("{}…", &plain[..end]),
        None => plain,
    }
}

impl LoadArgs {
    /// Prints the account.
    fn tell(&self, report: &Report) {
        if self.json {
            output::json(report);
        } else {
            print(report);
        }
    }
}

pub async fn run(args: &LoadArgs, stop: &Stop) -> u8 {
    let call = match args.target.call(&args.config.config, stop).await {
        Ok(call) => call,
        Err(code) => return code,
    };
    if let Err(code) = args.metrics.serve() {
        return code;
    }
    let config = &args.config.config;
    if args.reload && configuration::is_stream(config) {
        note!("{}: it is no file that --reload could follow", configuration::name(config).display());
        return MISUSED;
    }
    let mut watch = configuration::watch(config);
    // A file that is followed may bring others.
    let meant = (!args.reload).then_some(&args.target);
    let troupe = match start_from(&mut watch, config, meant, stop).await {
        Ok((troupe, _)) => troupe,
        Err(code) => return code,
    };
    if let Err(code) = begin(&troupe, args, stop).await {
        let not_ready = crate::not_ready(&troupe.servers());
        if stop.code().is_some() {
            tell_missing(&not_ready);
        }
        // A program that reads the account gets one, whatever became of it.
        if stop.code().is_some() || args.json {
            let mut report = report(&Account::new(), 0.0);
            let of = |server: &ServerInfo| (server.id.to_string(), format!("{server:#}"));
            report.not_ready = not_ready.iter().map(of).take(NOT_READY_TOLD).collect();
            args.tell(&report);
        }
        troupe.shutdown().await;
        return code;
    }
    let reloading =
        match args.reload.then(|| Reloading::begin(&troupe, watch, args.config.config.clone())).transpose() {
            Ok(reloading) => reloading,
            Err(error) => {
                note!("SIGHUP cannot be heard: {error}");
                return FAILED;
            }
        };
    let begun = Instant::now();
    let playing = play(&troupe, args, &call, begun, stop);
    let total = if args.watch {
        crate::watch::during(&troupe, &args.config.config, playing).await
    } else {
        playing.await
    };
    let elapsed = Instant::now().saturating_duration_since(begun).as_secs_f64();
    let mut report = report(&total, elapsed);
    if let Some(reloading) = reloading {
        report.reloads = Some(reloading.end().await);
    }
    args.tell(&report);
    troupe.shutdown().await;
    match stop.code() {
        Some(code) => code,
        None if report.lost == 0 && report.ok > 0 => 0,
        None => FAILED,
    }
}

/// Waits for the servers, and says who is missing. Without any there is nothing to call.
async fn begin(troupe: &Troupe, args: &LoadArgs, stop: &Stop) -> Result<(), u8> {
    let wanted = if args.wait_all { Readiness::All } else { Readiness::Settled };
    let ready = while_waiting(troupe, troupe.ready_within(wanted, args.wait.wait));
    let missing = stop.unless(ready).await?.map_err(|not_ready| {
        tell_missing(&crate::not_ready(&not_ready.servers));
        note!("no call is made: not every server is ready");
        FAILED
    })?;
    tell_missing(&missing);
    let playing = troupe.servers().iter().filter(|info| info.status != ServerStatus::Disabled).count();
    if missing.is_empty() || missing.len() < playing {
        return Ok(());
    }
    note!("no call is made: no server is ready");
    Err(FAILED)
}

/// Runs all callers and adds up what they saw.
async fn play(troupe: &Troupe, args: &LoadArgs, call: &Call, begun: Instant, stop: &Stop) -> Account {
    let seen = Arc::new(AtomicU64::new(0));
    let (playing, over) = watch::channel(());
    let mut callers = JoinSet::new();
    for caller in 0..u64::from(args.concurrency) {
        let share = |calls: u64| {
            calls / u64::from(args.concurrency) + u64::from(caller < calls % u64::from(args.concurrency))
        };
        let until = match args.calls {
            Some(calls) => Until::Calls(share(calls)),
            None => Until::Time(begun + args.duration),
        };
        let (troupe, call) = (troupe.clone(), call.clone());
        let (seen, stop, reloads) = (seen.clone(), stop.clone(), args.reload);
        // Programs find a request in the log by its id.
        let told: Told =
            if args.json { CallError::to_string } else { |error: &CallError| format!("{error:#}") };
        callers.spawn(async move { one_caller(&troupe, &call, until, reloads, told, &seen, &stop).await });
    }
    let quiet = args.json || args.watch;
    let bar = tokio::spawn(show_progress(seen, over, args.calls, args.duration, begun, quiet));
    let mut total = Account::new();
    while let Some(account) = callers.join_next().await {
        match account {
            Ok(account) => total.add(&account),
            Err(error) => note!("a caller failed: {error}"),
        }
    }
    drop(playing);
    let _ = bar.await;
    total
}

/// How an error is told.
type Told = fn(&CallError) -> String;

/// Calls until its time is over. Where no call of it can ever succeed it ends at once, unless the configuration may change.
async fn one_caller(
    troupe: &Troupe,
    call: &Call,
    until: Until,
    reloads: bool,
    told: Told,
    seen: &AtomicU64,
    stop: &Stop,
) -> Account {
    let mut account = Account::new();
    let mut stopped = std::pin::pin!(stop.asked());
    let is_done = |account: &Account, now: Instant| match until {
        Until::Time(end) => now >= end,
        Until::Calls(calls) => account.calls >= calls,
    };
    loop {
        let now = Instant::now();
        if is_done(&account, now) {
            return account;
        }
        account.calls += 1;
        let answer = tokio::select! { biased;
            _ = &mut stopped => {
                account.cancelled += 1;
                return account;
            }
            answer = troupe.call(call.clone()) => answer,
        };
        account.answered += 1;
        seen.fetch_add(1, Ordering::Relaxed);
        // What no server has seen says nothing of how fast they are.
        if answer.as_ref().map_or_else(|error| error.effect() != Effect::NotSent, |reply| !reply.cached) {
            account.sent += 1;
            let latency = Instant::now().saturating_duration_since(now);
            // A histogram that resizes by itself takes every value.
            let _ = account.latency_us.record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        }
        account.cached += u64::from(answer.as_ref().is_ok_and(|reply| reply.cached));
        match answer {
            Ok(reply) if reply.is_error() => {
                *account.errors.entry(TOOL_ERROR).or_default() += 1;
                if let (false, Err(ReplyError::Tool(text))) =
                    (account.first_errors.contains_key(TOOL_ERROR), reply.text())
                {
                    account.first_errors.insert(TOOL_ERROR, shortened(&text));
                }
            }
            Ok(reply) => {
                account.ok += 1;
                match account.per_server.get_mut(reply.server.as_str()) {
                    Some(count) => *count += 1,
                    None => {
                        account.per_server.insert(reply.server.to_string(), 1);
                    }
                }
            }
            Err(error) => {
                let kind = error.kind().name();
                *account.errors.entry(kind).or_default() += 1;
                account.first_errors.entry(kind).or_insert_with(|| told(&error));
                if never_succeeds(error.kind()) && account.ok == 0 && !reloads {
                    return account;
                }
                // After the last call there is nothing to wait for.
                if is_done(&account, Instant::now()) {
                    return account;
                }
                let pause = tokio::time::sleep(until.cut(pause_after(&error)));
                tokio::select! { biased;
                    _ = &mut stopped => return account,
                    () = pause => {}
                }
            }
        }
    }
}

/// Moves a bar on a terminal until all callers have gone.
async fn show_progress(
    seen: Arc<AtomicU64>,
    mut over: watch::Receiver<()>,
    calls: Option<u64>,
    duration: Duration,
    begun: Instant,
    quiet: bool,
) {
    if quiet || !std::io::stderr().is_terminal() {
        while over.changed().await.is_ok() {}
        return;
    }
    let length = calls.unwrap_or(duration.as_millis() as u64);
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(length).with_style(style);
    let mut tick = tokio::time::interval(PROGRESS_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tick.tick().await;
        if over.has_changed().is_err() {
            break;
        }
        let answered = seen.load(Ordering::Relaxed);
        let elapsed = Instant::now().saturating_duration_since(begun);
        bar.set_position(if calls.is_some() { answered } else { elapsed.as_millis() as u64 }.min(length));
        let per_second = answered as f64 / elapsed.as_secs_f64().max(0.001);
        bar.set_message(format!("{answered} calls, {per_second:.0}/s"));
    }
    bar.finish_and_clear();
}

fn report(total: &Account, elapsed: f64) -> Report {
    let at = |quantile| total.latency_us.value_at_quantile(quantile);
    Report {
        calls: total.calls,
        answered: total.answered,
        sent: total.sent,
        cached: total.cached,
        ok: total.ok,
        errors: total.errors.clone(),
        first_errors: total.first_errors.clone(),
        lost: total.calls - total.answered - total.cancelled,
        not_ready: BTreeMap::new(),
        cancelled: total.cancelled,
        per_server: total.per_server.clone(),
        latency_us: (total.sent > 0).then(|| Latency {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: total.latency_us.max(),
        }),
        calls_per_s: if total.sent == 0 { 0.0 } else { total.sent as f64 / elapsed },
        duration_s: elapsed,
        reloads: None,
    }
}

fn print(report: &Report) {
    let Report { calls, answered, ok, lost, calls_per_s, duration_s, .. } = report;
    let failed = answered.saturating_sub(*ok);
    let rate = if report.sent == *answered {
        format!("{calls_per_s:.0}/s")
    } else {
        format!("{calls_per_s:.0}/s by servers")
    };
    say!("{calls} calls: {ok} ok, {failed} failed, {lost} lost, in {duration_s:.2} s: {rate}");
    if report.cached > 0 {
        say!("  {} were answered from the cache", report.cached);
    }
    let unsent = answered.saturating_sub(report.sent).saturating_sub(report.cached);
    if unsent > 0 {
        say!("  {unsent} reached no server");
    }
    if let Some(Latency { p50, p90, p99, p999, max }) = report.latency_us {
        say!("latency in µs: p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, max {max}");
    }
    for (server, count) in &report.per_server {
        say!("  {server}: {count} ({})", percent(*count, *ok));
    }
    if report.cancelled > 0 {
        say!("  interrupted: {} open calls were cancelled", report.cancelled);
    }
    if let Some(reloads) = report.reloads {
        say!("  configurations taken: {reloads}");
    }
    for (kind, count) in &report.errors {
        match report.first_errors.get(kind) {
            Some(message) => {
                let message = output::harmless(message).replace('\n', "\n    ");
                let text = format!("  error {kind}: {count}, the first: {message}");
                match std::io::stdout().is_terminal() {
                    true => text.lines().for_each(|line| say!("{}", output::broken(line))),
                    false => say!("{text}"),
                }
            }
            None => say!("  error {kind}: {count}"),
        }
    }
}
