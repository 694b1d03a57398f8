//! The servers that `.ci/interop` brings: where they are, how they are started, and how a test without them says so.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use mcp_troupe::Server;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinSet;

use super::common::skipping;

/// Where this test's own programs are.
fn programs() -> String {
    format!("{}/tests/interop", super::common::repository().display())
}

/// `@modelcontextprotocol/server-everything` and `server-filesystem`, if they are there.
#[track_caller]
pub fn npm() -> Option<Npm> {
    installed("npm").map(Npm)
}

/// A server that `npx` downloads before it starts it, into a cache of its own, where the registry was there for
/// `.ci/interop`.
#[track_caller]
pub fn downloaded(cache: &Path) -> Option<Server> {
    installed("npm")?;
    let package = "@modelcontextprotocol/server-everything@2026.8.31";
    Some(Server::stdio("downloaded", "npx", ["-y", package]).env("npm_config_cache", text(cache)))
}

/// `mcp-server-time` on the first generation of its SDK, if it is there.
#[track_caller]
pub fn python_1() -> Option<Python> {
    installed("python-1").map(Python)
}

/// `mcp-server-time` on the second generation of its SDK, if it is there.
#[track_caller]
pub fn python_2() -> Option<Python> {
    installed("python-2").map(Python)
}

/// The folder of one kind of servers. Where it is missing, the test is skipped.
#[track_caller]
fn installed(kind: &str) -> Option<PathBuf> {
    let home = std::env::var_os("INTEROP_SERVERS").map_or_else(beside_the_build, PathBuf::from);
    let folder = home.join(kind);
    if folder.join(".installed").exists() {
        return Some(folder);
    }
    let thread = std::thread::current();
    // Where tests run one by one, it is the main thread; the place is the test's own as well.
    let place = std::panic::Location::caller().to_string().replace('/', "-");
    let test = thread.name().filter(|name| *name != "main").unwrap_or(&place);
    skipping::skip("interop", test, &format!("no servers of {kind}; .ci/interop brings them"));
    None
}

/// `target/interop`, wherever the target folder is.
fn beside_the_build() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).unwrap().join("interop")
}

/// A program that serves.
#[derive(Clone)]
pub struct Program {
    command: &'static str,
    arguments: Vec<String>,
    env: Vec<(&'static str, String)>,
}

impl Program {
    /// As a stdio server.
    pub fn server(&self, id: &str) -> Server {
        let server = Server::stdio(id, self.command, &self.arguments);
        self.env.iter().fold(server, |server, (name, value)| server.env(*name, value))
    }

    /// As an entry of a `servers.json`.
    pub fn json(&self) -> Value {
        let env: serde_json::Map<String, Value> =
            self.env.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({"command": self.command, "args": self.arguments, "env": env})
    }

    /// As a server that listens, until it has told where.
    async fn listen(self) -> Listening {
        let mut command = Command::new(self.command);
        command.args(&self.arguments).envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let port = told_port(&mut log).await;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        Listening { port, program: self, child, _log: tasks }
    }
}

/// Reads a log until the port stands in it.
async fn told_port(log: &mut Lines<BufReader<ChildStderr>>) -> u16 {
    let mut heard = Vec::new();
    while let Some(line) = log.next_line().await.unwrap() {
        let after = line.split_once("running on http://127.0.0.1:").map(|(_, after)| after);
        if let Some(after) = after {
            let digits = after.split(|c: char| !c.is_ascii_digit()).next().unwrap();
            return digits.parse().unwrap();
        }
        heard.push(line);
    }
    panic!("it ended before it listened: {heard:?}")
}

/// A server that listens on loopback. Dropping it kills it.
pub struct Listening {
    pub port: u16,
    program: Program,
    child: Child,
    _log: JoinSet<()>,
}

impl Listening {
    /// Where its MCP endpoint is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    /// Kills it, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Another one in its place, at the same port.
    pub async fn again(&self) -> Self {
        let mut program = self.program.clone();
        program.env.push(("PORT", self.port.to_string()));
        program.listen().await
    }
}

/// The servers from npm. They speak the legacy era.
pub struct Npm(PathBuf);

impl Npm {
    fn program(&self, package: &str, arguments: impl IntoIterator<Item = String>) -> Program {
        let script = self.0.join("node_modules/@modelcontextprotocol").join(package).join("dist/index.js");
        let arguments = std::iter::once(text(&script)).chain(arguments).collect();
        Program { command: "node", arguments, env: Vec::new() }
    }

    /// `server-everything` over stdio. It ignores the label, by which its process can be found.
    pub fn everything(&self, label: &str) -> Program {
        self.program("server-everything", ["stdio".to_owned(), label.to_owned()])
    }

    /// `server-everything` over Streamable HTTP.
    pub async fn everything_over_http(&self) -> Listening {
        let mut program = self.program("server-everything", ["streamableHttp".to_owned()]);
        let loopback = format!("{}/loopback.cjs", programs());
        program.arguments.splice(0..0, ["--require".to_owned(), loopback]);
        program.env.push(("PORT", "0".to_owned()));
        program.listen().await
    }

    /// `server-filesystem` of this folder.
    pub fn filesystem(&self, folder: &Path) -> Program {
        self.program("server-filesystem", [text(folder)])
    }
}

/// The time server from PyPI, on one generation of its SDK.
pub struct Python(PathBuf);

impl Python {
    fn program<const N: usize>(&self, arguments: [String; N]) -> Program {
        let env = vec![("PYTHONPATH", text(&self.0))];
        Program { command: "python3", arguments: arguments.into(), env }
    }

    /// Over stdio.
    pub fn time(&self) -> Program {
        self.program(["-m", "mcp_server_time", "--local-timezone", "UTC"].map(str::to_owned))
    }

    /// Over Streamable HTTP, which only the second generation serves without more ado.
    pub async fn time_over_http(&self) -> Listening {
        self.program([format!("{}/time_http.py", programs())]).listen().await
    }

    /// Over WebSocket, which only the first generation has.
    pub async fn time_over_websocket(&self) -> Listening {
        self.program([format!("{}/time_websocket.py", programs())]).listen().await
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
