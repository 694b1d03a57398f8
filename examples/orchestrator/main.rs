//! The troupe from a shell: a tour of what it does, and commands against your own `servers.json`.

mod announce;
mod diagnostics;
mod load;
mod metrics;
mod output;
mod reload;
#[path = "../servers/mod.rs"]
mod servers;
mod signals;
mod tour;
mod watch;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use mcp_troupe::{
    Call, CallError, CallNews, CallStream, ConfigFile, ConfigWatch, LogLevel, Priority, Readiness, Reply,
    Troupe,
};
use serde_json::json;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// Many MCP servers as one dependable tool set.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Run on one thread; often faster over few connections.
    #[arg(long, global = true)]
    current_thread: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Start two example servers, call them, kill an actor in front of you (the default).
    Tour,
    /// Print the merged catalogue of tools as JSON.
    Tools(Config),
    /// Print the pins of all tools as JSON, for `pins.file` of the configuration: after somebody has looked at the tools.
    Pin(Config),
    /// Say every mistake of a configuration, and warnings, with their places; start nothing.
    Check(Config),
    /// Print the JSON schema of `servers.json`, for editors.
    Schema,
    /// Make one call; its result goes to stdout.
    Call(CallArgs),
    /// Make calls as fast as they are answered, and account for every one.
    Load(load::LoadArgs),
    /// Watch the supervision tree, live: status, breakers, pools, latencies, events. Logs are shown only with `2>FILE`.
    Watch(watch::WatchArgs),
    /// Announce a server in a directory until interrupted.
    Announce(announce::AnnounceArgs),
}

/// Where the servers are named.
#[derive(Args, Clone)]
struct Config {
    /// The `servers.json`.
    #[arg(long, default_value = "servers.json")]
    config: PathBuf,
    /// How long the servers may take to start, such as 60s where they are downloaded first; `call` has its --timeout for that.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    wait: Duration,
}

/// Which tool, with which arguments, on which servers.
#[derive(Args, Clone)]
struct Target {
    /// The tool: its name, `group/tool` or `group__tool`.
    tool: String,
    /// Its arguments, a JSON object.
    #[arg(default_value = "{}")]
    arguments: String,
    /// Only this server.
    #[arg(long)]
    server: Option<String>,
    /// Only servers of this group.
    #[arg(long)]
    group: Option<String>,
    /// Only servers with this tag; may be given more than once.
    #[arg(long)]
    tag: Vec<String>,
    /// How urgent it is.
    #[arg(long, value_enum, default_value = "normal")]
    priority: Urgency,
    /// Keeps calls with one key on one server.
    #[arg(long)]
    affinity: Option<String>,
    /// The deadline, such as 5s.
    #[arg(long, value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// How long the server may tell nothing of the call while it works on it, such as 20s.
    #[arg(long, value_parser = humantime::parse_duration)]
    idle_timeout: Option<Duration>,
    /// The call may be repeated without harm.
    #[arg(long)]
    idempotent: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Urgency {
    High,
    Normal,
    Low,
}

impl Target {
    fn call(&self) -> Call {
        let mut call = Call::tool(&self.tool).raw_args(&self.arguments).priority(match self.priority {
            Urgency::High => Priority::High,
            Urgency::Normal => Priority::Normal,
            Urgency::Low => Priority::Low,
        });
        if let Some(server) = &self.server {
            call = call.server(server);
        }
        if let Some(group) = &self.group {
            call = call.group(group);
        }
        for tag in &self.tag {
            call = call.tag(tag);
        }
        if let Some(key) = &self.affinity {
            call = call.affinity(key);
        }
        if let Some(timeout) = self.timeout {
            call = call.timeout(timeout);
        }
        if let Some(timeout) = self.idle_timeout {
            call = call.idle_timeout(timeout);
        }
        if self.idempotent {
            call = call.idempotent();
        }
        call
    }
}

#[derive(Args)]
struct CallArgs {
    #[command(flatten)]
    config: Config,
    #[command(flatten)]
    target: Target,
    /// Print what the server tells of the call before its answer, progress and log messages, to stderr.
    #[arg(long)]
    progress: bool,
    /// Ask the server to log about the call from this level on; goes with --progress.
    #[arg(long, value_parser = level, requires = "progress")]
    log_level: Option<LogLevel>,
}

fn level(name: &str) -> Result<LogLevel, String> {
    LogLevel::named(name).ok_or_else(|| {
        let names = LogLevel::ALL.map(LogLevel::name);
        format!("no such level: name one of {}", names.join(", "))
    })
}

/// Calls did not succeed.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const MISUSED: u8 = 2;

/// What logs upgrade requests whole, tokens and all, stays below that, whatever the environment asks for.
const UPGRADE_REQUESTS: &str = "tungstenite::handshake::client=debug";

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        // The servers of the tour refuse on purpose; what they refuse is shown where it happens.
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,audit=off,rmcp=error"))
        .add_directive(UPGRADE_REQUESTS.parse().expect("it is a directive"));
    let cli = Cli::parse();
    // Where the terminal shows a picture, a log would be written across it.
    let shown = match &cli.command {
        Some(Command::Watch(args)) => args.is_live(),
        Some(Command::Load(args)) => args.watch && std::io::stdout().is_terminal(),
        Some(
            Command::Tour
            | Command::Tools(_)
            | Command::Check(_)
            | Command::Pin(_)
            | Command::Schema
            | Command::Call(_)
            | Command::Announce(_),
        )
        | None => false,
    };
    let logs = if shown && std::io::stderr().is_terminal() {
        BoxMakeWriter::new(std::io::sink)
    } else {
        BoxMakeWriter::new(std::io::stderr)
    };
    tracing_subscriber::fmt().with_writer(logs).with_env_filter(filter).init();
    let mut builder = if cli.current_thread {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    match builder.enable_all().build() {
        Ok(runtime) => ExitCode::from(runtime.block_on(run(cli.command.unwrap_or(Command::Tour)))),
        Err(error) => {
            eprintln!("no runtime: {error}");
            ExitCode::from(FAILED)
        }
    }
}

async fn run(command: Command) -> u8 {
    match command {
        Command::Tour => match tour::play().await {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("the tour failed: {error}");
                FAILED
            }
        },
        Command::Tools(config) => tools(&config).await,
        Command::Pin(config) => pin(&config).await,
        Command::Check(config) => diagnostics::check(&config.config),
        Command::Schema => {
            output::json(&ConfigFile::schema());
            0
        }
        Command::Call(args) => call(&args).await,
        Command::Load(args) => load::run(&args).await,
        Command::Watch(args) => watch::run(&args).await,
        Command::Announce(args) => announce::run(&args).await,
    }
}

/// Starts a troupe from a file, or says what is wrong with it.
async fn start(path: &Path) -> Result<Troupe, u8> {
    start_from(&mut diagnostics::watch(path), path).await
}

/// The same for a file that is followed.
async fn start_from(watch: &mut ConfigWatch, path: &Path) -> Result<Troupe, u8> {
    let misused = |message: String| {
        eprintln!("{message}");
        MISUSED
    };
    let mut file = watch.read().await.map_err(|error| {
        diagnostics::tell_refusal(path, &error);
        MISUSED
    })?;
    diagnostics::tell_mistakes(path, &mut file);
    if file.servers.is_empty() && file.sources.is_empty() && !file.left_out.is_empty() {
        return Err(misused(format!("{}: no server is left", path.display())));
    }
    let started = Troupe::builder().config(file).start().await;
    started.map_err(|error| misused(format!("{}: {error}", path.display())))
}

/// The text of a configuration, or what is wrong with its file. A pipe or a device may never end.
fn text_of(path: &Path) -> Result<String, String> {
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    if !std::fs::metadata(path).map_err(told)?.is_file() {
        return Err(format!("{}: it is no regular file", path.display()));
    }
    let bytes = std::fs::read(path).map_err(told)?;
    String::from_utf8(bytes).map_err(|_| format!("{}: it is no text in UTF-8", path.display()))
}

async fn tools(config: &Config) -> u8 {
    let troupe = match start(&config.config).await {
        Ok(troupe) => troupe,
        Err(code) => return code,
    };
    // Servers that are down are shown as missing; they are no reason to show nothing.
    let ready = troupe.ready_within(Readiness::All, config.wait).await;
    if let Err(not_ready) = &ready {
        eprintln!("{not_ready}");
    }
    for source in &troupe.stats().await.sources {
        if let Some(reason) = &source.reason {
            eprintln!("source {} is {}: {reason}", source.id, source.status);
        }
        if source.skipped > 0 {
            eprintln!(
                "source {}: {} of its records are left out; RUST_LOG=info says which",
                source.id, source.skipped
            );
        }
    }
    let unknown = troupe.cache().unknown_tools();
    for rule in &unknown {
        eprintln!("{}: {rule}", config.config.display());
    }
    let tools: Vec<_> = troupe
        .tools()
        .iter()
        .map(|tool| {
            json!({
                "group": tool.group,
                "name": tool.name,
                "exposed": tool.exposed,
                "servers": tool.servers,
                "definition": tool.definition,
            })
        })
        .collect();
    output::json(&tools);
    troupe.shutdown().await;
    match (ready, unknown.is_empty()) {
        (_, false) => MISUSED,
        (Ok(()), true) => 0,
        (Err(_), true) => FAILED,
    }
}

async fn pin(config: &Config) -> u8 {
    let path = &config.config;
    let mut file = match diagnostics::watch(path).read().await {
        Ok(file) => file,
        Err(error) => {
            diagnostics::tell_refusal(path, &error);
            return MISUSED;
        }
    };
    diagnostics::tell_mistakes(path, &mut file);
    if !file.left_out.is_empty() {
        eprintln!("nothing is pinned: the tools of servers that are left out are not known");
        return MISUSED;
    }
    // The pins that are about to be made may not be there yet.
    file.settings.pins = None;
    let troupe = match Troupe::builder().config(file).start().await {
        Ok(troupe) => troupe,
        Err(error) => {
            eprintln!("{}: {error}", config.config.display());
            return MISUSED;
        }
    };
    // Without the pins of a server that is down it would not be pinned any more.
    let code = match troupe.ready_within(Readiness::All, config.wait).await {
        Ok(()) => {
            output::json(&troupe.pins().await);
            0
        }
        Err(not_ready) => {
            eprintln!("nothing is pinned: {not_ready}");
            FAILED
        }
    };
    troupe.shutdown().await;
    code
}

async fn call(args: &CallArgs) -> u8 {
    let troupe = match start(&args.config.config).await {
        Ok(troupe) => troupe,
        Err(code) => return code,
    };
    let mut request = args.target.call();
    if let Some(level) = args.log_level {
        request = request.log_level(level);
    }
    let answer = match args.progress {
        true => told(troupe.call_stream(request)).await,
        false => troupe.call(request).await,
    };
    let code = match answer {
        Ok(reply) => {
            println!("{}", reply.result);
            0
        }
        Err(error) => {
            output::json_line_to_stderr(&error);
            FAILED
        }
    };
    troupe.shutdown().await;
    code
}

/// Prints what is told of a call, a line each, until its answer.
async fn told(mut stream: CallStream) -> Result<Reply, CallError> {
    loop {
        match stream.next().await {
            Some(CallNews::Answer(answer)) => return answer,
            Some(CallNews::Progress(progress)) => eprintln!("{}: {progress}", progress.server),
            Some(CallNews::Log(log)) => eprintln!("{}: {}: {}", log.server, log.level, log.data),
            Some(CallNews::Missed(missed)) => eprintln!("({missed} reports were missed)"),
            Some(_) => {}
            None => unreachable!("a stream ends with its answer"),
        }
    }
}
