//! The troupe from a shell: a tour of what it does, and commands against your own `servers.json`.

mod absent;
mod announce;
mod arguments;
mod configuration;
mod diagnostics;
mod hints;
mod import;
mod load;
mod manual;
mod metrics;
mod output;
mod pins;
mod reload;
mod serve;
mod signals;
mod skipped;
mod tour;
mod waiting;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand, ValueEnum};
use mcp_troupe::{
    Call, CallError, CallStream, CallUpdate, ConfigFile, ConfigWatch, Event, EventStream, LogLevel, Priority,
    Reply, Server, ServerInfo, StartError, Tool, Troupe, TroupeBuilder,
};
use serde_json::json;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use absent::Absent;
use arguments::Mistake;
use configuration::Reader;
use output::{note, say};
use signals::{Stop, aside};
use skipped::Skipped;
use waiting::{note_while_waiting, while_calling, while_waiting};

/// Many MCP servers as one dependable tool set.
#[derive(Parser)]
#[command(name = "mcp-troupe", version, about)]
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
    /// Print the merged catalogue of tools: a line each on a terminal, else JSON; who is missing and what is left out goes to stderr.
    #[command(after_help = TOOLS_HELP)]
    Tools(ToolsArgs),
    /// Print the pins of all tools as JSON, for `pins.file` of the configuration: after somebody has looked at the tools.
    #[command(after_help = PIN_HELP)]
    Pin(PinArgs),
    /// Say every mistake of a configuration, and warnings, with their places; start nothing.
    #[command(after_help = CHECK_HELP)]
    Check(File),
    /// Make one `servers.json` out of the MCP configurations of other clients on this machine; start nothing.
    #[command(after_help = IMPORT_HELP)]
    Import(import::ImportArgs),
    /// Print the JSON schema of `servers.json`, for editors.
    #[command(after_help = SCHEMA_HELP)]
    Schema,
    /// Make one call; its result goes to stdout.
    #[command(after_help = CALL_HELP)]
    Call(CallArgs),
    /// Make calls as fast as they are answered, and account for every one.
    #[command(after_help = LOAD_HELP)]
    Load(load::LoadArgs),
    /// Serve all servers as one MCP server, to the client that starts this: put it into its configuration in place of them.
    #[command(after_help = SERVE_HELP)]
    Serve(serve::ServeArgs),
    /// Watch the supervision tree, live: status, breakers, pools, latencies, events. Logs are shown only with `2>FILE`.
    #[command(after_help = WATCH_HELP)]
    Watch(watch::WatchArgs),
    /// Announce a server in a directory until interrupted.
    #[command(after_help = ANNOUNCE_HELP)]
    Announce(announce::AnnounceArgs),
    /// Print what completes these commands in a shell.
    #[command(after_help = COMPLETIONS_HELP)]
    Completions(manual::CompletionsArgs),
    /// Print the manual page.
    #[command(after_help = MAN_HELP)]
    Man(manual::ManArgs),
}

const TOOLS_HELP: &str = "Examples:
  mcp-troupe tools --config servers.json
  mcp-troupe tools --json
  mcp-troupe tools | jq -r '.[].exposed'
  mcp-troupe tools --strict --wait 90s   # exit 1 where a server is not ready";
const PIN_HELP: &str = "Examples:
  mcp-troupe pin --output pins.json
  mcp-troupe pin --config servers.json --wait 90s";
const CHECK_HELP: &str = "Examples:
  mcp-troupe check
  mcp-troupe check ~/.config/agent/servers.json";
const IMPORT_HELP: &str = "Examples:
  mcp-troupe import --dry-run                  # what is found, a line for each file
  mcp-troupe import --output servers.json && mcp-troupe check
  mcp-troupe import --from cursor --from codex --output servers.json
What is left out or changed, and why, goes to stderr. Exit 1 where no server is found.";
const COMPLETIONS_HELP: &str = "Examples:
  mcp-troupe completions bash > ~/.local/share/bash-completion/completions/mcp-troupe
  mcp-troupe completions zsh > ~/.zfunc/_mcp-troupe
  mcp-troupe completions fish > ~/.config/fish/completions/mcp-troupe.fish";
const MAN_HELP: &str = "Examples:
  mcp-troupe man | man -l -
  mcp-troupe man --output ~/.local/share/man/man1";
const SCHEMA_HELP: &str = "Example:
  mcp-troupe schema > servers.schema.json
With \"$schema\": \"./servers.schema.json\" in servers.json editors complete and check its keys.";
const CALL_HELP: &str = r#"Examples:
  mcp-troupe call file.read '{"path":"documents/test.md"}'
  mcp-troupe call file.read path=documents/test.md
  mcp-troupe call files/file.write @arguments.json
  echo '{"n": 1}' | mcp-troupe call echo -
Of key=value a value that is JSON is taken as that: n=1 is a number, n='"1"' a text.

Exit codes:
  0    the tool's result is on stdout
  1    there is no result: the last line of stderr is the error, as JSON (on a terminal: as a sentence)
  2    the command line, the arguments or the configuration is wrong
  3    the tool reports an error of its own, isError (0 with --allow-tool-error)
  130  interrupted; the call was cancelled at its server"#;
const LOAD_HELP: &str = "Examples:
  mcp-troupe load echo message=hi --concurrency 8 --duration 10s
  mcp-troupe load echo --calls 1000 --json | jq .latency_us
Ctrl-C ends it, cancels the calls that are open and prints the account so far. After an error
that says when to call again, a caller waits that long. Where nobody offers the tool, it ends at
once; with --reload it goes on. Exit 1 where no call succeeded.";
const SERVE_HELP: &str = r#"Example, in the configuration of a client:
  {"mcpServers": {"troupe": {"command": "mcp-troupe", "args": ["serve", "--stdio", "--config", "/home/me/servers.json"]}}}
Logs go to stderr. It ends when the client closes its stdin."#;
const WATCH_HELP: &str = "Examples:
  mcp-troupe watch --config servers.json
  mcp-troupe watch --once > picture.txt";
const ANNOUNCE_HELP: &str = r#"Example:
  mcp-troupe announce --config servers.json files-1 '{"url":"ws://10.0.0.7:3000","group":"files"}'"#;

/// Where the servers are named.
#[derive(Args, Clone)]
struct Config {
    /// The `servers.json`, or - for stdin.
    #[arg(long, default_value = "servers.json")]
    config: PathBuf,
}

/// The same for commands that take nothing else.
#[derive(Args, Clone)]
struct File {
    /// The same as --config FILE.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    #[command(flatten)]
    config: Config,
}

impl File {
    fn path(&self) -> &Path {
        self.file.as_deref().unwrap_or(&self.config.config)
    }
}

/// How long servers are waited for.
#[derive(Args, Clone, Copy)]
struct Wait {
    /// How long to wait for servers that have neither answered nor failed.
    #[arg(long, default_value = "60s", value_parser = duration)]
    wait: Duration,
}

#[derive(Args)]
struct ToolsArgs {
    #[command(flatten)]
    file: File,
    #[command(flatten)]
    wait: Wait,
    /// Exit with 1 where a server is not ready, or is left out for a mistake.
    #[arg(long)]
    strict: bool,
    /// Print JSON on a terminal too, where else each tool is one line.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct PinArgs {
    #[command(flatten)]
    file: File,
    /// Write them to this file; it is left as it is where not all can be pinned.
    #[arg(long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    wait: Wait,
}

/// Which tool, with which arguments, on which servers.
#[derive(Args, Clone)]
struct Target {
    /// The tool: its name, `group/tool` or `group__tool`.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    tool: String,
    /// Its arguments: a JSON object, key=value ..., @FILE, or - for stdin.
    arguments: Vec<String>,
    /// Only this server.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    server: Option<String>,
    /// Only servers of this group.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    group: Option<String>,
    /// Only servers with this tag; given more than once, with all of them.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    tag: Vec<String>,
    /// How urgent it is.
    #[arg(long, value_enum, default_value = "normal")]
    priority: Urgency,
    /// Keeps calls with one key on one server, for as long as the command runs.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    affinity: Option<String>,
    /// The deadline, such as 5s.
    #[arg(long, value_parser = some_time)]
    timeout: Option<Duration>,
    /// How long the server may tell nothing of the call while it works on it, such as 20s.
    #[arg(long, value_parser = some_time)]
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
    /// Leaves in the file the servers alone that the call can go to, where it says so by their names: nobody waits for programs that
    /// are started for nothing. Where it contradicts itself all stay, so that the error can tell whom it may have meant.
    fn keep_those_that_are_meant(&self, file: &mut ConfigFile) {
        let is_group = |group: &&str| file.servers.iter().any(|server| server.group_name() == *group);
        let named = self.tool.split_once('/').map(|(group, _)| group).filter(is_group);
        let meant = |server: &Server| {
            self.server.as_ref().is_none_or(|id| server.id() == id)
                && self.group.as_ref().is_none_or(|group| server.group_name() == group)
                && named.is_none_or(|group| server.group_name() == group)
        };
        if file.servers.iter().any(meant) {
            file.servers.retain(meant);
        }
    }

    /// The server or the group that an option names.
    fn chosen(&self) -> Option<&str> {
        self.server.as_deref().or(self.group.as_deref())
    }

    /// Says what is wrong with the command line, and what to do.
    fn misused(&self, what: &str, hint: &str) -> u8 {
        if output::for_people() {
            output::account(&format!("{what}\nhint: {hint}"));
        } else {
            output::json_line_to_stderr(&json!({
                "error": "invalid-arguments",
                "message": what,
                "hint": hint,
                "tool": self.tool,
                "retryable": false,
            }));
        }
        MISUSED
    }

    /// The call, unless its arguments are wrong, which is told.
    async fn call(&self, config: &Path, stop: &Stop) -> Result<Call, u8> {
        if is_configuration(&self.tool) {
            let file = &self.tool;
            let what = format!("{file} is a file, and a tool is expected here");
            return Err(self.misused(&what, &format!("name the configuration with --config {file}")));
        }
        let read = match self.arguments.as_slice() {
            [one] if matches!(one.as_str(), "-" | "@-") && configuration::is_stdin(config) => {
                Err(arguments::stdin_is_taken())
            }
            given => {
                let given = given.to_vec();
                aside(stop, move || arguments::read(&given)).await?
            }
        };
        let arguments = read.map_err(|Mistake { what, hint }| {
            let what = if output::for_people() { format!("the tool's arguments: {what}") } else { what };
            self.misused(&what, &hint)
        })?;
        let mut call = Call::tool(&self.tool).raw_args(&arguments).priority(match self.priority {
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
        Ok(call)
    }
}

/// Whether this names a configuration that is there, which some commands take without `--config`.
fn is_configuration(tool: &str) -> bool {
    let path = Path::new(tool);
    path.extension().is_some_and(|extension| extension == "json" || extension == "jsonc") && path.is_file()
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
    /// Ask the server to log about the call from this level on; the same as --progress besides.
    #[arg(long, value_parser = levels())]
    log_level: Option<LogLevel>,
    /// Exit with 0 also where the tool reports an error of its own (isError).
    #[arg(long)]
    allow_tool_error: bool,
}

/// A time as people write it.
fn duration(text: &str) -> Result<Duration, String> {
    const HOW: &str = "write a number with its unit, such as 300ms, 5s or 2m";
    humantime::parse_duration(text).map_err(|_| HOW.to_owned())
}

/// The same where no time at all would leave nothing to do.
fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("write a time that is longer than 0s".to_owned()),
        some => Ok(some),
    }
}

/// The levels by their names, which are told and completed.
fn levels() -> impl TypedValueParser<Value = LogLevel> {
    let names = PossibleValuesParser::new(LogLevel::ALL.map(LogLevel::name));
    names.try_map(|name| LogLevel::named(&name).ok_or("no such level"))
}

/// Calls did not succeed.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const MISUSED: u8 = 2;
/// The tool answered with an error of its own.
const TOOL_ERROR: u8 = 3;

/// How long the tasks of a command that was ended may take to be dropped.
const RUNTIME_END_WAIT: Duration = Duration::from_millis(500);

/// What logs upgrade requests whole, tokens and all, stays below that, whatever the environment asks for.
const UPGRADE_REQUESTS: &str = "tungstenite::handshake::client=debug";

/// What who writes `--a 1` for an argument of the tool is told below what clap says.
const NO_OPTIONS: &str = "hint: the arguments of a tool are no options: write a=1, or a JSON object";

/// The command line, or the end of the program with what is wrong with it.
fn cli() -> Cli {
    Cli::try_parse().unwrap_or_else(|mut error| {
        let mut words = std::env::args_os().skip(1);
        let command = words.find(|word| !word.to_string_lossy().starts_with('-'));
        let of_tool = command.is_some_and(|command| command == "call" || command == "load");
        let long_name = |kind| match error.get(kind) {
            Some(ContextValue::String(option)) => option.strip_prefix("--"),
            _ => None,
        };
        let unknown = long_name(ContextKind::InvalidArg)
            .filter(|_| of_tool && error.kind() == ErrorKind::UnknownArgument);
        let is_argument = unknown.is_some();
        let is_slip = unknown
            .zip(long_name(ContextKind::SuggestedArg))
            .is_some_and(|(unknown, option)| absent::are_alike(unknown, option));
        if is_argument && !is_slip {
            // Any option that begins so, and a way that leads to the next error.
            for advice in [ContextKind::SuggestedArg, ContextKind::Suggested, ContextKind::Usage] {
                error.remove(advice);
            }
        }
        // Whoever reads it may leave.
        let _ = error.print();
        if is_argument {
            note!("\n{NO_OPTIONS}");
        }
        std::process::exit(error.exit_code())
    })
}

fn main() -> ExitCode {
    let cli = cli();
    let usual = match &cli.command {
        // Its stderr is for its own error, which says why; not for what becomes of other servers meanwhile.
        Some(Command::Call(_)) => "off",
        // The servers of the tour refuse on purpose; what they refuse is shown where it happens.
        _ => "warn,audit=off,rmcp=error",
    };
    let mut filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(usual))
        .add_directive(UPGRADE_REQUESTS.parse().expect("it is a directive"));
    // Its span stands around all that actors do, and tells a user nothing.
    if !std::env::var("RUST_LOG").is_ok_and(|wanted| wanted.contains("ractor")) {
        filter = filter.add_directive("ractor=warn".parse().expect("it is a directive"));
    }
    // Where the terminal shows a picture, a log would be written across it.
    let shown = match &cli.command {
        Some(Command::Watch(args)) => args.is_live(),
        Some(Command::Load(args)) => args.watch && std::io::stdout().is_terminal(),
        Some(
            Command::Tour
            | Command::Tools(_)
            | Command::Check(_)
            | Command::Import(_)
            | Command::Pin(_)
            | Command::Schema
            | Command::Call(_)
            | Command::Serve(_)
            | Command::Announce(_)
            | Command::Completions(_)
            | Command::Man(_),
        )
        | None => false,
    };
    let logs = if shown && std::io::stderr().is_terminal() {
        BoxMakeWriter::new(std::io::sink)
    } else {
        BoxMakeWriter::new(|| waiting::BetweenLines)
    };
    let log = tracing_subscriber::fmt()
        .with_writer(logs)
        .with_ansi(output::colours())
        // A stderr that nobody reads any more is no reason to write to it.
        .log_internal_errors(false)
        .with_env_filter(filter);
    // Who has not asked for a log reads what goes wrong between other lines.
    match output::for_people() && std::env::var_os("RUST_LOG").is_none() {
        true => log.compact().without_time().with_target(false).init(),
        false => log.init(),
    }
    let mut builder = if cli.current_thread {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    match builder.enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(run(cli.command.unwrap_or(Command::Tour)));
            // What is left of the troupe is dropped, which kills its processes; a thread that reads stdin or keys is left alone.
            runtime.shutdown_timeout(RUNTIME_END_WAIT);
            ExitCode::from(if code == 0 && output::is_lost() { FAILED } else { code })
        }
        Err(error) => {
            note!("no runtime: {error}");
            ExitCode::from(FAILED)
        }
    }
}

async fn run(command: Command) -> u8 {
    // What is over within moments is ended by the signal itself.
    let stop = match command {
        Command::Check(file) => return diagnostics::check(file.path()),
        Command::Import(args) => return import::run(&args),
        Command::Schema => {
            output::json(&ConfigFile::schema());
            return 0;
        }
        Command::Completions(args) => return manual::completions(&args),
        Command::Man(args) => return manual::man(&args),
        // There it means that the file is to be read again.
        Command::Load(ref args) => Stop::listen(!args.reload),
        _ => Stop::listen(true),
    };
    // Who asks twice does not want to wait for anything.
    tokio::select! { biased;
        code = stop.asked_twice() => code,
        code = carry_out(command, &stop) => code,
    }
}

async fn carry_out(command: Command, stop: &Stop) -> u8 {
    match command {
        Command::Tour => match stop.unless(tour::play()).await {
            Ok(Ok(())) => 0,
            Ok(Err(error)) => {
                note!("the tour failed: {error}");
                FAILED
            }
            Err(code) => code,
        },
        Command::Tools(args) => tools(&args, stop).await,
        Command::Pin(args) => pin(&args, stop).await,
        Command::Check(_)
        | Command::Import(_)
        | Command::Schema
        | Command::Completions(_)
        | Command::Man(_) => 0,
        Command::Call(args) => call(&args, stop).await,
        Command::Load(args) => load::run(&args, stop).await,
        Command::Serve(args) => serve::run(&args, stop).await,
        Command::Watch(args) => watch::run(&args, stop).await,
        Command::Announce(args) => announce::run(&args, stop).await,
    }
}

/// Starts a troupe from a configuration, or says what is wrong with it.
async fn start(path: &Path, stop: &Stop) -> Result<(Troupe, Absent), u8> {
    start_from(&mut configuration::watch(path), path, None, stop).await
}

/// The same, with all that is told from the start on.
async fn start_listening(path: &Path, stop: &Stop) -> Result<(Troupe, EventStream, Absent), u8> {
    let mut file = configuration::read(&mut configuration::watch(path), path, stop).await?;
    let absent = Absent::of(&file);
    configuration::tell_mistakes(path, &mut file);
    let (troupe, events) = play(file, path, Reader::People).await?;
    Ok((troupe, events, absent))
}

/// The same for a file that is followed; of its servers those alone that are `meant`, where somebody is.
async fn start_from(
    watch: &mut ConfigWatch,
    path: &Path,
    meant: Option<&Target>,
    stop: &Stop,
) -> Result<(Troupe, Absent), u8> {
    let mut file = configuration::read(watch, path, stop).await?;
    let absent = Absent::of(&file);
    configuration::tell_mistakes(path, &mut file);
    meant.into_iter().for_each(|target| target.keep_those_that_are_meant(&mut file));
    Ok((play(file, path, Reader::People).await?.0, absent))
}

/// Starts a troupe for one call and tells no mistake of a server, unless no server is left. The log has them, for who asks for it.
async fn start_quietly(path: &Path, target: &Target, stop: &Stop) -> Result<(Troupe, Absent), u8> {
    let reader = Reader::of_call();
    let mut file = configuration::read_for(reader, &mut configuration::watch(path), path, stop).await?;
    let absent = Absent::of(&file);
    if nobody_is_left(&file) && reader == Reader::People {
        configuration::tell_mistakes(path, &mut file);
    }
    target.keep_those_that_are_meant(&mut file);
    Ok((play(file, path, reader).await?.0, absent))
}

/// Starts a troupe of what a file describes, or says why it cannot be played.
async fn play(file: ConfigFile, path: &Path, reader: Reader) -> Result<(Troupe, EventStream), u8> {
    play_built(file, path, reader, |builder| builder).await
}

/// The same with a builder that is told more.
async fn play_built(
    file: ConfigFile,
    path: &Path,
    reader: Reader,
    told: impl FnOnce(TroupeBuilder) -> TroupeBuilder,
) -> Result<(Troupe, EventStream), u8> {
    if nobody_is_left(&file) {
        let none = format!("{}: no server is left", configuration::name(path).display());
        let first = configuration::first(path, &file.diagnostics);
        let message = format!("{none}: {first}");
        return Err(reader.told(&message, || note!("{none}")));
    }
    told(Troupe::builder().config(file)).start_with_events().await.map_err(|error| {
        let hint = match &error {
            StartError::Config(error) => diagnostics::hint(error),
            _ => None,
        };
        let hint = hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        let message = format!("{}: {error}{hint}", configuration::name(path).display());
        reader.told(&message, || configuration::tell_unplayable(path, &error))
    })
}

/// Whether all that a file names is left out.
fn nobody_is_left(file: &ConfigFile) -> bool {
    file.servers.is_empty() && file.sources.is_empty() && !file.left_out.is_empty()
}

/// The smallest configuration that does something.
const ONE_SERVER: &str = r#"{"mcpServers": {"time": {"command": "uvx", "args": ["mcp-server-time"]}}}"#;

/// What to do where there is no configuration.
fn no_file(path: &Path) -> String {
    let at_home = if path.starts_with("~") { "\nhint: a quoted ~ is no home folder" } else { "" };
    let path = path.display();
    format!(
        r#"{path}: there is no such file{at_home}
hint: `mcp-troupe import --output servers.json` makes one of the configurations of other clients
hint: name another one with --config FILE, or begin with one server:
  {ONE_SERVER}
hint: `mcp-troupe schema` prints what a configuration may say, for editors"#
    )
}

/// Says which servers are missing and why, a line each.
fn tell_missing(missing: &[ServerInfo]) {
    for server in missing {
        output::account(&format!("{server:#}"));
        if let Some(hint) = hints::of_address(server, server.reason.as_deref()) {
            output::account(&format!("  hint: {hint}"));
        }
    }
}

/// Those of the servers that are not ready.
fn not_ready(servers: &[ServerInfo]) -> Vec<ServerInfo> {
    servers.iter().filter(|info| !info.is_ready()).cloned().collect()
}

async fn tools(args: &ToolsArgs, stop: &Stop) -> u8 {
    let path = args.file.path();
    let (troupe, events, absent) = match start_listening(path, stop).await {
        Ok(started) => started,
        Err(code) => return code,
    };
    let mut skipped = Skipped::among(events);
    let settled = while_waiting(&troupe, troupe.settled_within(args.wait.wait));
    let missing = match stop.unless(skipped.during(settled)).await {
        Ok(missing) => missing,
        Err(code) => {
            troupe.shutdown().await;
            return code;
        }
    };
    // They are no reason to show nothing.
    tell_missing(&missing);
    let mut incomplete = !missing.is_empty() || absent.left_out().len() > 0;
    for source in &troupe.stats().await.sources {
        incomplete |= source.reason.is_some() || source.skipped > 0;
        if let Some(reason) = &source.reason {
            output::account(&format!("source {} is {}: {reason}", source.id, source.status));
        }
        if source.skipped > 0 {
            note!(
                "source {}: {} of its records are left out; RUST_LOG=info says which",
                source.id,
                source.skipped
            );
        }
    }
    let unknown = troupe.missing_tools();
    for setting in &unknown {
        note!("{}: {setting}", configuration::name(path).display());
    }
    let tools = troupe.tools();
    if tools.is_empty() && missing.is_empty() {
        note!("{}: no server offers a tool", configuration::name(path).display());
    }
    if !args.json && std::io::stdout().is_terminal() {
        tell_tools(&tools);
    } else {
        output::json(&as_json(&tools));
    }
    skipped.during(troupe.shutdown()).await;
    skipped.tell().await;
    match (unknown.is_empty(), args.strict && incomplete) {
        (false, _) => MISUSED,
        (true, true) => FAILED,
        (true, false) => 0,
    }
}

fn as_json(tools: &[Tool]) -> Vec<serde_json::Value> {
    tools
        .iter()
        .map(|tool| {
            json!({
                "group": tool.group,
                "name": tool.name,
                "exposed": tool.exposed,
                "servers": tool.servers,
                "confirmed": tool.confirmed,
                "definition": tool.definition,
            })
        })
        .collect()
}

/// A line for each tool, as wide as the terminal: the name to call it by, and the first words of what it does.
fn tell_tools(tools: &[Tool]) {
    /// Columns of a longer name are its own.
    const NAME_MAX: usize = 32;
    let names = tools.iter().map(|tool| tool.exposed.chars().count());
    let longest = names.max().unwrap_or_default().min(NAME_MAX);
    for tool in tools {
        let unconfirmed = if tool.confirmed { "" } else { "(from the last run) " };
        let described = tool.description().unwrap_or_default();
        let line = format!("{:<longest$}  {unconfirmed}{}", tool.exposed, described.trim_start());
        let line = line.split(['\n', '\r']).next().unwrap_or_default().trim_end();
        say!("{}", waiting::fitted(line, waiting::width()));
    }
}

async fn pin(args: &PinArgs, stop: &Stop) -> u8 {
    let path = args.file.path();
    let mut file = match configuration::read(&mut configuration::watch(path), path, stop).await {
        Ok(file) => file,
        Err(code) => return code,
    };
    configuration::tell_mistakes(path, &mut file);
    if !(file.left_out.is_empty() && file.repeated.is_empty()) {
        note!("nothing is pinned: the tools of servers that are left out are not known");
        return MISUSED;
    }
    let switched_off: BTreeSet<String> = file.disabled.iter().cloned().collect();
    // The pins that are about to be made may not be there yet.
    file.settings.pins = None;
    // Those that are started on demand are started, to be listed.
    file.settings.known_lists = None;
    let troupe = match Troupe::builder().config(file).start().await {
        Ok(troupe) => troupe,
        Err(error) => {
            configuration::tell_unplayable(path, &error);
            return MISUSED;
        }
    };
    // Without the pins of a server that is down it would not be pinned any more.
    let settled = stop.unless(while_waiting(&troupe, troupe.settled_within(args.wait.wait))).await;
    let code = match settled {
        Ok(missing) if missing.is_empty() => {
            if troupe.tools().is_empty() {
                note!("{}: no server offers a tool", configuration::name(path).display());
            }
            let pins = troupe.pins().await;
            match &args.output {
                None => {
                    pins::tell_unpinned(&pins, &switched_off);
                    output::json(&pins);
                    0
                }
                Some(file) => pins::write(file, pins, &switched_off),
            }
        }
        Ok(missing) => {
            note!("nothing is pinned, since not every server is ready:");
            tell_missing(&missing);
            output::account(
                "hint: mend what is missing, or switch it off (\"disabled\": true) to pin the others",
            );
            FAILED
        }
        Err(code) => code,
    };
    troupe.shutdown().await;
    code
}

async fn call(args: &CallArgs, stop: &Stop) -> u8 {
    let mut request = match args.target.call(&args.config.config, stop).await {
        Ok(request) => request,
        Err(code) => return code,
    };
    let (troupe, absent) = match start_quietly(&args.config.config, &args.target, stop).await {
        Ok(started) => started,
        Err(code) => return code,
    };
    if let Some(level) = args.log_level {
        request = request.log_level(level);
    }
    let answer = async {
        match args.progress || args.log_level.is_some() {
            true => {
                let told = told(troupe.call_stream(request), troupe.events(), &troupe, &args.target);
                while_calling(&troupe, &args.target, told).await
            }
            false => {
                let called = beside_pauses(troupe.call(request), troupe.events(), &troupe, &args.target);
                while_calling(&troupe, &args.target, called).await
            }
        }
    };
    // Dropped, the call is cancelled at its server.
    let code = match stop.unless(answer).await {
        Ok(Ok(reply)) => {
            say!("{}", reply.result);
            if reply.is_error() && !args.allow_tool_error { TOOL_ERROR } else { 0 }
        }
        Ok(Err(error)) => {
            let hint = hints::of_call(args, &troupe, &absent, &error).await;
            // Whoever reads it need not wait for the end; unless a log goes on until then, which the error is to follow.
            let logs = std::env::var("RUST_LOG").is_ok_and(|wanted| !matches!(&*wanted, "" | "off"));
            if logs {
                troupe.shutdown().await;
            }
            tell_failed(args, &absent, &error, hint);
            FAILED
        }
        Err(code) => code,
    };
    troupe.shutdown().await;
    code
}

/// Says why a call failed. A terminal has it in words, below the mistakes that it may come from; programs have one line.
fn tell_failed(args: &CallArgs, absent: &Absent, error: &CallError, hint: Option<String>) {
    let (tool, chosen) = (&args.target.tool, args.target.chosen());
    if output::for_people() {
        configuration::tell_first(&args.config.config, &absent.mistakes_of(tool, chosen, error));
        output::account(&format!("{error:#}"));
        hint.iter().for_each(|hint| output::account(&format!("hint: {hint}")));
    } else {
        let left_out = absent.left_out_of(tool, chosen, error);
        output::json_line_to_stderr(&Failed { error, hint, left_out });
    }
}

/// A call that failed, as programs read it.
#[derive(serde::Serialize)]
struct Failed<'e> {
    #[serde(flatten)]
    error: &'e CallError,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// Servers left out that the call may have meant, each with its first mistake.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    left_out: BTreeMap<&'e str, &'e str>,
}

/// Waits for a call's answer. Meanwhile it says on a terminal which of the call's servers has no capacity for it.
async fn beside_pauses<T>(
    called: impl Future<Output = T>,
    mut events: EventStream,
    troupe: &Troupe,
    target: &Target,
) -> T {
    if !output::for_people() {
        return called.await;
    }
    let mut called = std::pin::pin!(called);
    loop {
        tokio::select! { biased;
            answer = &mut called => return answer,
            Some(event) = events.next() => note_pause(&event, troupe, target),
        }
    }
}

fn note_pause(event: &Event, troupe: &Troupe, target: &Target) {
    if let Event::ServerOverloaded { server, .. } = event
        && waiting::offering(troupe, target).contains(server)
    {
        note_while_waiting(format_args!(
            "{event}; until then the call waits, unless another server takes it"
        ));
    }
}

/// Prints what is told of a call, a line each, until its answer. What servers log over stdio names no call: that of the servers
/// which have its tool is printed.
async fn told(
    mut stream: CallStream,
    mut events: EventStream,
    troupe: &Troupe,
    target: &Target,
) -> Result<Reply, CallError> {
    let log = |event: &Event| {
        note_pause(event, troupe, target);
        if let Event::ServerLogged { server, level, text, missed, .. } = event
            && waiting::offering(troupe, target).contains(server)
        {
            if *missed > 0 {
                note_while_waiting(format_args!(
                    "{server}: {missed} of its log messages left out: too many at once"
                ));
            }
            note_while_waiting(format_args!("{server}: {level}: {text}"));
        }
    };
    loop {
        let update = tokio::select! { biased;
            Some(event) = events.next() => {
                log(&event);
                continue;
            }
            update = stream.next() => update,
        };
        match update {
            Some(CallUpdate::Answer(answer)) => {
                events.drain().await.iter().for_each(log);
                return answer;
            }
            Some(CallUpdate::Progress(progress)) => {
                note_while_waiting(format_args!("{}: {progress}", progress.server))
            }
            Some(CallUpdate::Log(log)) => {
                note_while_waiting(format_args!("{}: {}: {}", log.server, log.level, log.data))
            }
            Some(CallUpdate::Lagged(missed)) => {
                note_while_waiting(format_args!("({missed} reports were missed)"))
            }
            Some(_) => {}
            None => unreachable!("a stream ends with its answer"),
        }
    }
}
