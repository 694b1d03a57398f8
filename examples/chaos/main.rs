//! Chaos on real threads: calls without a pause, while a seeded schedule kills connections, server actors, the router,
//! the registry and the servers themselves. Every call is accounted for; exit 1 if one was lost, doubled, late, crossed
//! with another, or ended with an error whose word on its effect was wrong.
//!
//! ```sh
//! cargo run --release --example chaos -- --calls 1000000 --seed 7
//! ```

mod callers;
mod memory;
mod report;
mod schedule;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use mcp_troupe::testkit::{AnswerChecker, Script, ScriptedServer, living_actors};
use mcp_troupe::{Readiness, Server, Settings, Troupe};
use rand::Rng;

use callers::Callers;
use report::Report;
use schedule::Schedule;

/// How long the troupe may take to be whole again before the figures are taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// Kills everything that can be killed, again and again, and accounts for every call.
#[derive(Parser, Debug, Clone)]
#[command(version)]
struct Chaos {
    /// How many calls are made.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    calls: u64,
    /// Callers at once.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    concurrency: u32,
    /// Servers, all of one group.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    servers: u32,
    /// Repeats a schedule of kills; a random one is chosen and printed if there is none.
    #[arg(long)]
    seed: Option<u64>,
    /// The mean time from one kill's recovery to the next kill.
    #[arg(long, default_value = "20ms", value_parser = pause)]
    every: Duration,
    /// Worker threads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
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
    schedule::silence_ordered_panics();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(chaos.threads as usize)
        .enable_all()
        .build();
    let played = runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(play(chaos)));
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
    let seed = chaos.seed.unwrap_or_else(|| rand::rng().next_u64());
    let mut servers = Vec::new();
    for _ in 0..chaos.servers {
        let server = ScriptedServer::builder().tool("echo", Script::Echo).start().await;
        server.reserve(chaos.calls as usize);
        servers.push(server);
    }
    let settings = settings();
    let troupe = start(&servers, settings.clone(), seed).await?;
    let checker = AnswerChecker::new(&troupe, &settings);
    checker.reserve(chaos.calls as usize);
    let callers = Callers::new(&checker, &chaos);
    let schedule = Schedule::new(&troupe, servers, seed, chaos.every, callers.strikes());
    let (account, (kills, servers)) = callers.run(schedule, chaos.json).await;

    troupe.ready_within(Readiness::All, PATIENCE).await.map_err(|error| error.to_string())?;
    let after = memory::resident_without(memory::account(&checker, chaos.servers));
    let verdict = checker.verdict(&servers);
    let open = troupe.stats().await.router.open_calls;
    troupe.shutdown().await;
    let report = Report {
        seed,
        chaos: &chaos,
        account: &account,
        kills: &kills,
        verdict: &verdict,
        left_open: open,
        left_actors: living_actors(&troupe),
        memory: account.warm_bytes.zip(after),
    };
    report.print();
    Ok(report.is_clean())
}

/// Ordinary settings, but for delays that would only make the run longer: a crash or a loss is answered at once.
fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.restart.backoff.min = Duration::from_millis(1);
    settings.restart.backoff.max = Duration::from_millis(1);
    // Every crash here is ordered; a quarantine would only show that the limit works.
    settings.restart.restarts_max = 1_000_000;
    settings.reconnect.min = Duration::from_millis(1);
    settings.reconnect.max = Duration::from_millis(5);
    settings
}

async fn start(servers: &[ScriptedServer], settings: Settings, seed: u64) -> Result<Troupe, String> {
    let mut builder = Troupe::builder().settings(settings).seed(seed);
    for (number, server) in servers.iter().enumerate() {
        builder = builder.server(Server::websocket(schedule::id(number), server.url()).group("echo"));
    }
    let troupe = builder.start().await.map_err(|error| error.to_string())?;
    troupe.ready(Readiness::All).await.map_err(|error| error.to_string())?;
    Ok(troupe)
}
