//! A stdio server that behaves as badly as its arguments say: what the tests start as a child process.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use mcp_troupe::testkit::{Script, ScriptedEra, ScriptedServer};
use serde_json::json;

/// Serves the tools `echo`, `steps` (reports three steps of progress, then is `echo`), `hold` (never answers), `pids` (its own process id, and that of its child), `exit` (ends the
/// process with code 3) and `hang-up` (closes stdout and goes on living).
#[derive(Parser)]
struct Cli {
    /// Speak the era before 2026-07-28.
    #[arg(long)]
    legacy: bool,
    /// Print so many lines on stdout first, none of them a message.
    #[arg(long, default_value_t = 0)]
    banner: usize,
    /// Complain on stderr, and end with this code.
    #[arg(long)]
    fail: Option<u8>,
    /// Add a line with this name to a file, `NAME=FILE`, so that starts can be counted.
    #[arg(long)]
    count: Option<String>,
    /// Write this line to stderr.
    #[arg(long)]
    say: Option<String>,
    /// Use so much time of a processor before reading the first message, as an interpreter does.
    #[arg(long, value_parser = humantime::parse_duration)]
    burn: Option<Duration>,
    /// Think so long before reading the first message.
    #[arg(long, value_parser = humantime::parse_duration)]
    slow: Option<Duration>,
    /// Never answer.
    #[arg(long)]
    silent: bool,
    /// Write to stderr without an end.
    #[arg(long)]
    flood: bool,
    /// Start a process of its own, which does nothing for long.
    #[arg(long)]
    fork: bool,
    /// Live on when stdin ends, and when asked to terminate.
    #[arg(long)]
    stubborn: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Err(error)) = cli.count.as_deref().map(count) {
        eprintln!("count: {error}");
        return ExitCode::FAILURE;
    }
    if let Some(line) = &cli.say {
        eprintln!("{line}");
    }
    if let Some(time) = cli.burn {
        burn(time);
    }
    if let Some(code) = cli.fail {
        eprintln!("no such table: users");
        return ExitCode::from(code);
    }
    let child = match cli.fork.then(|| std::process::Command::new("sleep").arg("1000").spawn()).transpose() {
        Ok(child) => child.map(|child| child.id()),
        Err(error) => {
            eprintln!("sleep: {error}");
            return ExitCode::FAILURE;
        }
    };
    if cli.stubborn {
        ignore_terminate();
    }
    (0..cli.banner).for_each(|n| println!("npm notice {n}"));
    if cli.flood {
        std::thread::spawn(|| {
            loop {
                eprintln!("all work and no play makes a dull server");
            }
        });
    }
    if let Some(slow) = cli.slow {
        tokio::time::sleep(slow).await;
    }
    let pids = json!({"content": [], "structuredContent": {"pid": std::process::id(), "child": child}});
    let mut server = ScriptedServer::builder()
        .era(if cli.legacy { ScriptedEra::Legacy } else { ScriptedEra::Modern })
        .tool("echo", Script::Echo)
        .tool("steps", Script::ProgressBefore { steps: 3, next: Script::Echo.into() })
        .tool("hold", Script::Hold)
        .tool("pids", Script::Reply(pids.to_string()))
        .tool("exit", Script::Cut)
        .tool("hang-up", Script::Cut);
    if cli.silent {
        server = server.black_hole();
    }
    let seen = server.serve_stdio().await;
    if seen.calls.contains_key("exit") {
        eprintln!("ordered to exit");
        // Its stdin is still open.
        std::process::exit(3);
    }
    if seen.calls.contains_key("hang-up") {
        close_stdout();
        std::future::pending::<()>().await;
    }
    if cli.stubborn {
        std::future::pending::<()>().await;
    }
    ExitCode::SUCCESS
}

/// Adds a line to a file, in one write, since others do the same.
fn count(name_and_file: &str) -> std::io::Result<()> {
    let (name, file) = name_and_file.split_once('=').ok_or(std::io::ErrorKind::InvalidInput)?;
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)?
        .write_all(format!("{name}\n").as_bytes())
}

/// Uses so much time of a processor: time that passes while others have it does not count.
fn burn(time: Duration) {
    let begun = tokio::time::Instant::now();
    let used = || match std::fs::read_to_string("/proc/thread-self/schedstat") {
        Ok(stat) => stat.split(' ').next().and_then(|used| used.parse().ok()).map(Duration::from_nanos),
        Err(_) => None,
    };
    // Where the system does not tell, the time that passes must do.
    let used = || used().unwrap_or_else(|| tokio::time::Instant::now().saturating_duration_since(begun));
    let mut work = 0u64;
    while used() < time {
        for step in 0..1_000_000u64 {
            work = std::hint::black_box(work.wrapping_mul(31).wrapping_add(step));
        }
    }
}

/// From now on a request to terminate is heard, and not followed.
fn ignore_terminate() {
    #[cfg(unix)]
    if let Err(error) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        eprintln!("SIGTERM: {error}");
    }
}

/// Closes the pipe that stdout is, and puts something harmless in its place.
fn close_stdout() {
    #[cfg(unix)]
    if let Err(error) = std::fs::File::options()
        .write(true)
        .open("/dev/null")
        .and_then(|null| Ok(rustix::stdio::dup2_stdout(null)?))
    {
        eprintln!("stdout: {error}");
    }
}
