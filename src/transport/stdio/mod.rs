//! MCP over stdio: the server is a child process, with one JSON-RPC message per line on its stdin and stdout.
//!
//! ```text
//! connector ── starts a process ──▶ link    stdin, stdout: dropped or closed by its user
//!                                  supervisor  the process itself, its stderr: lives until the process is reaped
//! ```
//!
//! No shell stands between: the command and its arguments are run as they are given, with a minimal environment. The
//! process leads a process group of its own, which ends with it; what leaves that group (`setsid`) is not followed. Where
//! there are no process groups (Windows), the process alone is ended.
//!
//! A process is started when those of the same server that are on their way out are gone: they might be in each other's
//! way, and a pool of one means one.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::process::Command;
use tokio::sync::{mpsc, oneshot, watch};

use super::{BoxFuture, Connector, DialError, Link};
use crate::config::{AllVariables, InheritEnv, shown};
use crate::secret::Secret;
use crate::transport::redact::find::{secret_arguments, secret_parts, secrets_of_variable};
use crate::transport::redact::mask::Mask;

#[cfg(unix)]
mod exits;
mod link;
mod process;
mod stderr;
mod supervisor;

#[cfg(feature = "testkit")]
pub(crate) use super::lines::{Line, Lines};
use link::StdioLink;
use process::{Pipes, Process};
use supervisor::ChildSupervisor;

// They look at processes through /proc.
#[cfg(all(test, target_os = "linux"))]
mod tests;

/// What a server inherits of this process's environment: what the SDKs of the protocol pass on, and where to find
/// languages, time zones and temporary files. Everything else may be a secret that is none of its business.
#[cfg(not(windows))]
const INHERITED: [&str; 11] =
    ["HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"];
#[cfg(windows)]
const INHERITED: [&str; 15] = [
    "APPDATA",
    "COMSPEC",
    "HOMEDRIVE",
    "HOMEPATH",
    "LOCALAPPDATA",
    "PATH",
    "PATHEXT",
    "PROCESSOR_ARCHITECTURE",
    "PROGRAMFILES",
    "SYSTEMDRIVE",
    "SYSTEMROOT",
    "TEMP",
    "TMP",
    "USERNAME",
    "USERPROFILE",
];

/// What leads out of the networks of companies, in capital letters or small ones: proxies, and the authorities of their TLS.
/// Without it no `npx` or `uvx` reaches its registry there.
const INHERITED_OF_NETWORKS: [&str; 8] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
];

/// How the variables begin that say where programs keep their files: caches of what was downloaded among them.
const INHERITED_OF_FOLDERS: &str = "XDG_";

/// In how many troupes a program runs, each within the one before: by that one that starts itself as its server finds it out.
const DEPTH: &str = "MCP_TROUPE_DEPTH";

/// Orders to a supervisor that it has not taken: two to hold something and one to end, with some room.
const ORDERS_MAX: usize = 4;

/// How a server's process is started.
#[derive(Clone)]
#[non_exhaustive]
pub struct StdioOptions {
    /// The server, as the log of its stderr names it.
    pub server: String,
    /// The program: a path, or a name that is looked up in `PATH`.
    pub command: String,
    /// Its arguments. We never show them; what stands behind options such as `--api-key` is taken out of what it says, too.
    pub args: Vec<String>,
    /// Variables on top of the inherited ones. Their values are never shown.
    pub env: BTreeMap<String, Secret>,
    /// The folder it runs in; this process's own unless said.
    pub cwd: Option<PathBuf>,
    /// Further variables of this process that it inherits.
    pub inherit: InheritEnv,
    /// Values that are taken out of what it writes to stderr, beside those of `env`. They are never shown.
    pub masked: Vec<Secret>,
    /// The longest message that is accepted, in bytes.
    pub message_bytes_max: usize,
}

impl StdioOptions {
    /// A program with its arguments, and the defaults of the settings for the rest.
    pub fn new(command: impl Into<String>, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            server: String::new(),
            command: command.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            cwd: None,
            inherit: InheritEnv::default(),
            masked: Vec::new(),
            message_bytes_max: crate::config::Settings::default().limits.message_bytes_max,
        }
    }
}

impl fmt::Debug for StdioOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdioOptions")
            .field("server", &self.server)
            .field("command", &shown::command(&self.command))
            .field("args", &format_args!("[{} of them]", self.args.len()))
            .field("env", &shown::names(self.env.keys()))
            .field("cwd", &self.cwd)
            .field("inherit", &self.inherit)
            .field("masked", &format_args!("[{} of them]", self.masked.len()))
            .field("message_bytes_max", &self.message_bytes_max)
            .finish()
    }
}

/// Starts processes of one server.
#[derive(Debug)]
pub struct StdioConnector {
    options: StdioOptions,
    /// Each process that is on its way out holds a receiver; nothing is ever sent.
    endings: watch::Sender<()>,
    /// Made anew for each process, since it looks at files and variables; what a text asks for it has no time for that.
    mask: watch::Sender<Arc<Mask>>,
}

impl StdioConnector {
    /// A connector that starts processes so. Whether the command exists is seen when it is started: it may be installed
    /// later.
    pub fn new(options: StdioOptions) -> Self {
        Self { options, endings: watch::Sender::new(()), mask: watch::Sender::default() }
    }

    fn command(&self) -> Command {
        let StdioOptions { command, args, env, cwd, inherit, .. } = &self.options;
        let mut started = Command::new(command);
        started.args(args).env_clear();
        started.envs(std::env::vars_os().filter(|(name, _)| is_inherited(name, inherit)));
        started.envs(env.iter().map(|(name, value)| (name, value.expose())));
        let depth = std::env::var(DEPTH).ok().and_then(|depth| depth.parse().ok()).unwrap_or(0_u32);
        started.env(DEPTH, depth.saturating_add(1).to_string());
        if let Some(cwd) = cwd {
            started.current_dir(cwd);
        }
        started
    }

    fn start(&self) -> Result<Box<dyn Link>, DialError> {
        let (process, pipes) = Process::start(self.command()).map_err(|source| self.not_started(source))?;
        let Pipes { stdin, stdout, stderr } = pipes;
        let (orders, taken) = mpsc::channel(ORDERS_MAX);
        let (exit, exited) = oneshot::channel();
        let (said, last_line) = watch::channel(None);
        // It outlives its link on purpose, and ends by itself.
        let (mask, server) = (Arc::new(self.mask()), self.options.server.clone());
        self.mask.send_replace(mask.clone());
        tokio::spawn(ChildSupervisor::new(process, (stderr, said), mask, server, taken, exit).run());
        let limit = self.options.message_bytes_max;
        let ends = (exited, last_line);
        Ok(Box::new(StdioLink::new((stdin, stdout), limit, orders, ends, self.endings.clone())))
    }

    /// Takes out the values of its variables, also of those that are handed on by their names, and what references stood for.
    fn mask(&self) -> Mask {
        let StdioOptions { args, env, masked, inherit, .. } = &self.options;
        let names = match inherit {
            InheritEnv::Names(names) => names.as_slice(),
            // Most of all variables are no secrets, and would be missed in every line.
            InheritEnv::All(_) => &[],
        };
        let inherited = names.iter().filter_map(|name| Some((name, Secret::from(std::env::var(name).ok()?))));
        let inherited: Vec<(&String, Secret)> = inherited.collect();
        let variables = || env.iter().chain(inherited.iter().map(|(name, value)| (*name, value)));
        let of_variables = variables().flat_map(|(name, value)| secrets_of_variable(name, value.expose()));
        let of_masked = masked.iter().flat_map(|value| secret_parts(value.expose()));
        let within: Vec<Secret> = of_variables.chain(of_masked).collect();
        let of_args = secret_arguments(args);
        let values = variables().map(|(_, value)| value);
        Mask::of(values.chain(masked).chain(&within).chain(&of_args))
    }

    fn not_started(&self, source: io::Error) -> DialError {
        let StdioOptions { command, cwd, .. } = &self.options;
        let source = match cwd.as_ref().filter(|cwd| !cwd.is_dir()) {
            _ if source.kind() != io::ErrorKind::NotFound => source,
            // The system blames the command for it.
            Some(cwd) => io::Error::new(source.kind(), format!("its cwd {} is no folder", cwd.display())),
            None if command.contains(char::is_whitespace) => {
                let hint = format!("{source}; what follows a program's name belongs into its args");
                io::Error::new(source.kind(), hint)
            }
            None => {
                let hint = format!("{source}; install it, or write its whole path");
                io::Error::new(source.kind(), hint)
            }
        };
        DialError::Start { command: shown::command(command).into_owned(), source }
    }
}

/// Whether a variable of this process is passed on.
fn is_inherited(name: &OsStr, inherit: &InheritEnv) -> bool {
    let names = match inherit {
        InheritEnv::All(AllVariables::All) => return true,
        InheritEnv::Names(names) => names,
    };
    let Some(name) = name.to_str() else { return false };
    let capital = name.to_ascii_uppercase();
    // Where names are the same in any case, they come in any.
    let same = |known: &str| if cfg!(windows) { known.eq_ignore_ascii_case(name) } else { known == name };
    INHERITED.iter().any(|known| same(known))
        || INHERITED_OF_NETWORKS.contains(&&*capital)
        || name.starts_with(INHERITED_OF_FOLDERS)
        || names.iter().any(|known| same(known))
}

impl Connector for StdioConnector {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, DialError>> {
        Box::pin(async move {
            self.endings.closed().await;
            self.start()
        })
    }

    fn endpoint(&self) -> String {
        shown::command(&self.options.command).into_owned()
    }

    fn redact(&self, text: String) -> String {
        self.mask.borrow().text(text)
    }

    fn starts_process(&self) -> bool {
        true
    }
}
