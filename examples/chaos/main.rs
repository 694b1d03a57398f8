//! Chaos on real threads: calls without a pause over every transport, leases and subscriptions of two users, while a seeded
//! schedule kills connections, server actors, the router, the registry and the servers themselves, makes lines bad, and
//! replaces, drains, unregisters and reconfigures servers in between.
//!
//! Every call is accounted for, at its caller and at the servers. Exit 1 if one was lost, doubled or late; if an error said
//! something untrue of its call's effect; if a call was executed twice without leave; if an answer or the state of a lease
//! was another user's; or if something did not recover.
//!
//! ```sh
//! cargo run --release -p mcp-troupe-examples --bin chaos -- --calls 1000000 --seed 7
//! ```

mod callers;
mod cast;
mod ending;
mod memory;
mod report;
mod schedule;
mod subscribers;
mod users;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use mcp_troupe::testkit::AnswerChecker;
use mcp_troupe::{Readiness, Settings, Troupe};
use rand::Rng;
use tokio::sync::watch;
use tokio::time::Instant;

use callers::{Callers, Numbers};
use cast::Cast;
use report::Report;
use schedule::{Deed, Schedule};
use subscribers::Subscribers;
use users::Leasing;

/// The deadline of a call that names none. Long after every recovery.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// How often the run says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Kills everything that can be killed, again and again, and accounts for every call.
#[derive(Parser, Debug, Clone)]
#[command(version)]
struct Chaos {
    /// How many calls are made.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    calls: u64,
    /// Callers at once, beside those that hold leases.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    concurrency: u32,
    /// Servers, all of one group; seven are one of each kind.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=100))]
    servers: u32,
    /// Repeats a schedule; a random one is chosen and printed if there is none.
    #[arg(long)]
    seed: Option<u64>,
    /// The mean time from one recovery to what is done next.
    #[arg(long, default_value = "20ms", value_parser = pause)]
    every: Duration,
    /// Only these deeds, such as router,replace; else all of them.
    #[arg(long, value_delimiter = ',')]
    deeds: Vec<Deed>,
    /// Worker threads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Be a server over stdin and stdout, and write the numbers of calls into this file.
    #[arg(long, hide = true)]
    child: Option<PathBuf>,
}

/// A pause between kills: with none, nothing would ever recover.
fn pause(text: &str) -> Result<Duration, String> {
    let pause = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_millis(1)..=Duration::from_secs(60)).contains(&pause) {
        Ok(pause)
    } else {
        Err("it must lie between 1ms and 1m".to_owned())
    }
}

fn main() -> ExitCode {
    let chaos = Chaos::parse();
    let mut runtime = match chaos.child {
        Some(_) => tokio::runtime::Builder::new_current_thread(),
        None => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.worker_threads(chaos.threads as usize).enable_all().build();
    let played = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        runtime.block_on(async {
            match &chaos.child {
                Some(ledger) => cast::serve_child(ledger).await,
                None => play(chaos).await,
            }
        })
    });
    match played {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Plays the whole run. `true` if nothing was violated.
async fn play(chaos: Chaos) -> Result<bool, String> {
    schedule::silence_ordered_panics();
    let seed = chaos.seed.unwrap_or_else(|| rand::rng().next_u64());
    let settings = settings();
    let cast = Cast::start(chaos.servers, chaos.calls).await?;
    let troupe = start(&cast, settings.clone(), seed).await?;
    let checker = AnswerChecker::new(&troupe, &settings);
    checker.reserve(chaos.calls as usize);
    let subscribers = Subscribers::start(&troupe, &checker, &cast).await?;
    let numbers = Numbers::new(chaos.calls);
    let callers = Callers::new(&checker, &numbers, &chaos);
    let leasing = Leasing {
        troupe: troupe.clone(),
        checker: checker.clone(),
        numbers: numbers.clone(),
        keeping: cast.keeping().into(),
        leases: Arc::default(),
    };
    let schedule = Schedule::new(&troupe, &settings, (cast, subscribers), (seed, &chaos), callers.strikes());

    let begun = Instant::now();
    let (done, stop) = watch::channel(false);
    let progress = tokio::spawn(tell_progress(numbers.clone(), schedule.count(), begun, chaos.json));
    let schedule = tokio::spawn(schedule.run(stop));
    let mut crowd = [callers.start(), leasing.start(seed)];
    let left_callers = ending::all_done(&mut crowd, &numbers).await;
    let account = callers.account(begun);
    progress.abort();
    done.send_replace(true);
    let (deeds, cast, subscribers) = schedule.await.map_err(|error| error.to_string())?;

    let leases = leasing.leases.load(std::sync::atomic::Ordering::Relaxed);
    let ending = ending::look(&troupe, &cast, &subscribers, left_callers).await;
    let after = memory::resident_without(memory::account(&checker, chaos.servers));
    let verdict = checker.verdict_by(cast.arrivals()?);
    drop((crowd, subscribers));
    let ending = ending.shut_down(&troupe).await;
    let report = Report {
        seed,
        chaos: &chaos,
        account: &account,
        leases,
        deeds: &deeds,
        verdict: &verdict,
        ending: &ending,
        memory: account.warm_bytes.zip(after),
    };
    report.print();
    Ok(report.is_clean())
}

/// Ordinary settings, but for delays that would only make the run longer: a crash, a loss or an open breaker is followed by
/// the next attempt at once, and what leaves is waited for a second.
fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.call_timeout = CALL_TIMEOUT;
    settings.restart.backoff.min = Duration::from_millis(1);
    settings.restart.backoff.max = Duration::from_millis(1);
    // Every crash here is ordered; a quarantine would only show that the limit works.
    settings.restart.restarts_max = 1_000_000;
    settings.reconnect.min = Duration::from_millis(1);
    settings.reconnect.max = Duration::from_millis(5);
    settings.breaker.open_for = Duration::from_millis(50);
    settings.breaker.open_for_max = Duration::from_millis(200);
    settings.breaker.half_open_timeout = Duration::from_secs(1);
    settings.pool.connect_timeout = Duration::from_secs(1);
    settings.pool.handshake_timeout = Some(Duration::from_secs(2));
    settings.pool.list_timeout = Duration::from_secs(2);
    settings.shutdown_drain = Duration::from_secs(1);
    settings
}

async fn start(cast: &Cast, settings: Settings, seed: u64) -> Result<Troupe, String> {
    let mut builder = Troupe::builder().settings(settings).seed(seed);
    for (number, member) in cast.members.iter().enumerate() {
        if Cast::is_configured(number) {
            builder = builder.server(member.describe());
        }
    }
    let troupe = builder.start().await.map_err(|error| error.to_string())?;
    for (number, member) in cast.members.iter().enumerate() {
        if !Cast::is_configured(number) {
            troupe.register(member.describe()).await.map_err(|error| error.to_string())?;
        }
    }
    troupe.ready(Readiness::All).await.map_err(|error| error.to_string())?;
    Ok(troupe)
}

/// Says in lines how far the run is.
async fn tell_progress(numbers: Numbers, mut deeds: watch::Receiver<u64>, begun: Instant, quiet: bool) {
    if quiet {
        return;
    }
    let mut tick = tokio::time::interval(PROGRESS_INTERVAL);
    tick.tick().await;
    loop {
        let now = tick.tick().await;
        let secs = now.saturating_duration_since(begun).as_secs_f64();
        let taken = numbers.taken();
        let share = 100.0 * taken as f64 / numbers.end() as f64;
        let deeds = *deeds.borrow_and_update();
        println!("{secs:>7.1} s  {taken:>9} calls ({share:>3.0} %)  {deeds:>6} deeds");
    }
}
