//! The servers that play: one group, over every transport and in both eras, some of them behind a bad line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mcp_troupe::testkit::{
    FaultProxy, Line, Script, ScriptedBuilder, ScriptedEra, ScriptedServer, read_ledger,
};
use mcp_troupe::{Call, EraChoice, Server, Troupe};

/// The group of all servers.
pub const GROUP: &str = "cast";

/// How long a slow call works: longer than what most strikes take, so that they meet calls under way.
const SLOW: Duration = Duration::from_millis(3);

/// What a failing tool says. Words like these make clients believe that a session is gone.
const FAILURE: &str = "charged the card, then the browser session was closed";

/// Who is told of changes, and holds leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum User {
    Alice,
    Bob,
}

impl User {
    pub const ALL: [Self; 2] = [Self::Alice, Self::Bob];

    /// The user's mark, which everything carries that is the user's.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Alice => "alice",
            Self::Bob => "bob",
        }
    }
}

/// How a server is reached, and what it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// WebSocket, modern.
    WebSocket,
    /// HTTP, modern, answers with JSON.
    HttpJson,
    /// A child process.
    Stdio,
    /// WebSocket, legacy, behind a bad line.
    LegacyWebSocket,
    /// HTTP, legacy, with sessions, answers with streams of events.
    LegacyHttpEvents,
    /// HTTP, modern, answers with streams of events, behind a bad line.
    HttpEvents,
    /// HTTP, legacy, with sessions, answers with JSON.
    LegacyHttpJson,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::WebSocket,
        Self::HttpJson,
        Self::Stdio,
        Self::LegacyWebSocket,
        Self::LegacyHttpEvents,
        Self::HttpEvents,
        Self::LegacyHttpJson,
    ];

    fn era(self) -> ScriptedEra {
        match self {
            Self::WebSocket | Self::HttpJson | Self::Stdio | Self::HttpEvents => ScriptedEra::Modern,
            Self::LegacyWebSocket | Self::LegacyHttpEvents | Self::LegacyHttpJson => ScriptedEra::Legacy,
        }
    }

    fn is_behind_a_line(self) -> bool {
        matches!(self, Self::LegacyWebSocket | Self::HttpEvents)
    }

    /// Whether the server keeps something for a connection: without a session there is nothing to keep it for.
    fn keeps(self) -> bool {
        !matches!(self, Self::HttpJson | Self::HttpEvents)
    }

    fn has_sessions(self) -> bool {
        matches!(self, Self::LegacyHttpEvents | Self::LegacyHttpJson)
    }
}

/// What serves.
enum Host {
    Scripted(ScriptedServer),
    /// A child process for each connection. They write into one ledger.
    Children {
        ledger: PathBuf,
    },
}

/// One server.
pub struct Member {
    pub id: String,
    kind: Kind,
    host: Host,
    line: Option<FaultProxy>,
    /// Grows with each description that needs connections of its own.
    life: u32,
    /// Grows with each description that does not.
    weight: u32,
}

impl Member {
    async fn start(number: usize, folder: &Path) -> Result<Self, String> {
        let (id, kind) = (format!("s{number}"), Kind::ALL[number % Kind::ALL.len()]);
        let host = match kind {
            Kind::Stdio => Host::Children { ledger: folder.join(&id) },
            _ => Host::Scripted(builder(kind, &id).start().await),
        };
        let line = match &host {
            Host::Scripted(server) if kind.is_behind_a_line() => {
                Some(FaultProxy::start(&server.url()).await.map_err(|error| error.to_string())?)
            }
            Host::Scripted(_) | Host::Children { .. } => None,
        };
        Ok(Self { id, kind, host, line, life: 0, weight: 100 })
    }

    /// How it is described at the moment.
    pub fn describe(&self) -> Server {
        let life = self.life.to_string();
        let described = match &self.host {
            Host::Children { ledger } => {
                // This program itself, as a server.
                let program = std::env::current_exe().unwrap_or_default();
                let arguments = ["--child".to_owned(), ledger.display().to_string()];
                let server = Server::stdio(&self.id, program.display().to_string(), arguments);
                server.env("CHAOS_LIFE", life)
            }
            Host::Scripted(server) => {
                let url = self.line.as_ref().map_or_else(|| server.url(), FaultProxy::url);
                let server = match self.kind {
                    Kind::WebSocket | Kind::LegacyWebSocket => Server::websocket(&self.id, url),
                    _ => Server::http(&self.id, url),
                };
                server.header("X-Life", life)
            }
        };
        // The line may eat the probe for the other era, and nothing is learned from that.
        let era = match self.kind.era() {
            ScriptedEra::Modern => EraChoice::Modern,
            ScriptedEra::Legacy => EraChoice::Legacy,
        };
        described.group(GROUP).weight(self.weight).era(era)
    }

    /// From now on it is described so that its connections serve no longer.
    pub fn move_on(&mut self) {
        self.life += 1;
    }

    /// From now on it is described otherwise, and its connections serve as well.
    pub fn amend(&mut self) {
        self.weight = if self.weight == 100 { 99 } else { 100 };
    }

    pub fn keeps(&self) -> bool {
        self.kind.keeps()
    }

    pub fn is_behind_a_line(&self) -> bool {
        self.line.is_some()
    }

    pub fn has_sessions(&self) -> bool {
        self.kind.has_sessions()
    }

    /// The resource of which a user is told, if the server can be made to tell.
    pub fn resource(&self, user: User) -> Option<String> {
        matches!(self.host, Host::Scripted(_)).then(|| resource(&self.id, user))
    }

    /// Changes the resources of both users.
    pub fn update(&self, text: &str) {
        if let Host::Scripted(server) = &self.host {
            User::ALL.iter().for_each(|user| server.update_resource(resource(&self.id, *user), text));
        }
    }

    /// The server falls, is away for a while, and returns. A child process is started again by whoever wants it.
    pub async fn fall(&mut self, troupe: &Troupe, away: Duration) {
        match &mut self.host {
            Host::Scripted(server) => {
                server.stop_listening().await;
                tokio::time::sleep(away).await;
                server.resume().await;
            }
            Host::Children { .. } => {
                // It ends over the call; or it had just ended.
                let _ = troupe.call(Call::tool("cut").server(&self.id).timeout(away.max(SLOW) * 10)).await;
            }
        }
    }

    pub fn forget_sessions(&self) {
        if let Host::Scripted(server) = &self.host {
            server.forget_sessions();
        }
    }

    /// The line is bad for a while.
    pub async fn trouble(&self, trouble: Trouble, lasting: Duration) {
        let Some(line) = &self.line else { return };
        match trouble {
            Trouble::Cut => line.cut(),
            Trouble::Stall => line.change(|line| line.stalled = true),
            Trouble::Refuse => {
                line.change(|line| line.refusing = true);
                line.cut();
            }
            Trouble::Slow => line.change(|line| {
                line.latency = Duration::from_millis(2);
                line.bandwidth = Some(1 << 20);
            }),
        }
        tokio::time::sleep(lasting).await;
        line.change(|line| *line = Line::default());
    }

    fn arrivals(&self) -> Result<Vec<u8>, String> {
        match &self.host {
            Host::Scripted(server) => Ok(server.observed().executions),
            // One that no process has written is empty.
            Host::Children { ledger } if !ledger.exists() => Ok(Vec::new()),
            Host::Children { ledger } => {
                read_ledger(ledger).map_err(|error| format!("{}: {error}", ledger.display()))
            }
        }
    }
}

/// What may be wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    Cut,
    Stall,
    Refuse,
    Slow,
}

impl Trouble {
    pub const ALL: [Self; 4] = [Self::Cut, Self::Stall, Self::Refuse, Self::Slow];
}

/// All servers.
pub struct Cast {
    pub members: Vec<Member>,
    /// The children's ledgers are in it.
    _folder: tempfile::TempDir,
}

impl Cast {
    /// Starts so many servers, with room for the account of so many calls.
    pub async fn start(servers: u32, calls: u64) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut members = Vec::new();
        for number in 0..servers as usize {
            let member = Member::start(number, folder.path()).await?;
            if let Host::Scripted(server) = &member.host {
                server.reserve(usize::try_from(calls).unwrap_or(usize::MAX));
            }
            members.push(member);
        }
        Ok(Self { members, _folder: folder })
    }

    /// Those that stand in the configuration; the host registers the others itself.
    pub fn is_configured(number: usize) -> bool {
        number % 2 == 1
    }

    /// Which of the servers keep something for a connection.
    pub fn keeping(&self) -> Vec<bool> {
        self.members.iter().map(Member::keeps).collect()
    }

    /// How often each call arrived, by its number.
    pub fn arrivals(&self) -> Result<impl Fn(u64) -> u32, String> {
        let ledgers: Vec<Vec<u8>> = self.members.iter().map(Member::arrivals).collect::<Result<_, _>>()?;
        Ok(move |number: u64| {
            let number = usize::try_from(number).unwrap_or(usize::MAX);
            ledgers.iter().filter_map(|ledger| ledger.get(number)).map(|count| u32::from(*count)).sum()
        })
    }
}

fn resource(id: &str, user: User) -> String {
    format!("note://{id}/{}", user.mark())
}

/// The tools that every server has.
fn tools(builder: ScriptedBuilder) -> ScriptedBuilder {
    builder
        .tool("echo", Script::Echo)
        .tool("slow", Script::After(SLOW, Script::Echo.into()))
        .tool("keep", Script::Keep)
        .tool("kept", Script::Kept)
        .tool("cut", Script::Cut)
        .tool("break", Script::Break)
        .tool("fail", Script::Status { status: 500, code: -32000, message: FAILURE.to_owned() })
}

fn builder(kind: Kind, id: &str) -> ScriptedBuilder {
    let builder = tools(ScriptedServer::builder()).era(kind.era()).tells_changes();
    let builder = User::ALL.iter().fold(builder, |builder, user| builder.resource(resource(id, *user), ""));
    match kind {
        Kind::WebSocket | Kind::LegacyWebSocket | Kind::Stdio => builder,
        Kind::HttpJson => builder.http(),
        Kind::HttpEvents => builder.http_events(),
        Kind::LegacyHttpEvents => builder.http_events().sessions().listening_stream(),
        Kind::LegacyHttpJson => builder.sessions().listening_stream(),
    }
}

/// Serves one client over stdin and stdout, as a child of this program, until it leaves or a call ends the process.
pub async fn serve_child(ledger: &Path) -> ! {
    tools(ScriptedServer::builder()).ledger(ledger).serve_stdio().await;
    // Its stdin may still be open.
    std::process::exit(0)
}
