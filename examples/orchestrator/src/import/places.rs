//! Where clients keep the configurations of their MCP servers, on each system.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// A client whose configuration is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Client {
    ClaudeCode,
    ClaudeDesktop,
    Cursor,
    #[value(name = "vscode")]
    VsCode,
    Windsurf,
    Gemini,
    Codex,
    Cline,
    Roo,
    Kiro,
}

impl Client {
    /// Its name, as it stands in the names of servers.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::ClaudeDesktop => "claude-desktop",
            Self::Cursor => "cursor",
            Self::VsCode => "vscode",
            Self::Windsurf => "windsurf",
            Self::Gemini => "gemini",
            Self::Codex => "codex",
            Self::Cline => "cline",
            Self::Roo => "roo",
            Self::Kiro => "kiro",
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A kind of system, by where its programs keep the settings of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    Linux,
    MacOs,
    Windows,
}

impl System {
    /// The one that this program runs on. Other Unix systems keep settings where Linux does.
    pub fn here() -> Self {
        if cfg!(windows) {
            Self::Windows
        } else if cfg!(target_os = "macos") {
            Self::MacOs
        } else {
            Self::Linux
        }
    }
}

/// What a file holds beside servers, which says where they stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Servers, and maybe nothing else.
    Servers,
    /// All settings of a client.
    Settings,
    /// The settings of Claude Code, with servers of single projects.
    Projects,
    /// Settings of Claude Code without servers, which may switch off those of a project.
    Switches,
    /// The settings of Codex, in TOML.
    Toml,
}

/// A file that a client may keep servers in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub client: Client,
    pub path: PathBuf,
    pub shape: Shape,
    /// The folder that a link may not lead out of.
    pub root: PathBuf,
    /// The folder of the project whose file it is; none for a user's own.
    pub project: Option<PathBuf>,
}

/// Editors that are VS Code underneath; the first ones read its `mcp.json` too.
const EDITORS: [&str; 5] = ["Code", "Code - Insiders", "VSCodium", "Cursor", "Windsurf"];
const EDITORS_OF_VSCODE: usize = 3;

/// Where those that run on this machine for an editor on another one keep what is this machine's, in the home; the first ones are
/// VS Code's.
const REMOTE: [&str; 5] =
    [".vscode-server", ".vscode-server-insiders", ".vscodium-server", ".cursor-server", ".windsurf-server"];
const REMOTE_OF_VSCODE: usize = 3;

/// Profiles of one editor that are looked at: more than anybody has.
const PROFILES_MAX: usize = 100;

/// Where the extensions Cline and Roo keep their servers, below an editor's user folder.
const OF_CLINE: &str = "globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json";
const OF_ROO: &str = "globalStorage/rooveterinaryinc.roo-cline/settings/mcp_settings.json";

/// The files of a user with this home, who works in this project, in the order in which they are told. `inside` lists the names in
/// a folder: those of an editor's profiles are chosen by the editor.
pub fn places(
    system: System,
    home: Option<&Path>,
    project: &Path,
    variable: &dyn Fn(&str) -> Option<OsString>,
    inside: &dyn Fn(&Path) -> Vec<OsString>,
) -> Vec<Place> {
    use Client::*;
    // What is no absolute path has no meaning in these variables, and would be looked up in the folder that one happens to be in.
    let folder = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let settings = match system {
        System::Linux => folder("XDG_CONFIG_HOME").or_else(|| home.map(|home| home.join(".config"))),
        System::MacOs => home.map(|home| home.join("Library/Application Support")),
        System::Windows => folder("APPDATA").or_else(|| home.map(|home| home.join("AppData/Roaming"))),
    };
    let mut found = Places { home, project, list: Vec::new() };
    let claude = folder("CLAUDE_CONFIG_DIR");
    found.of_user(ClaudeCode, claude.as_deref().or(home), ".claude.json", Shape::Projects);
    let claude = claude.or_else(|| home.map(|home| home.join(".claude")));
    found.of_user(ClaudeCode, claude.as_deref(), "settings.json", Shape::Switches);
    found.of_project(ClaudeCode, ".claude/settings.json", Shape::Switches);
    found.of_project(ClaudeCode, ".claude/settings.local.json", Shape::Switches);
    found.of_project(ClaudeCode, ".mcp.json", Shape::Servers);
    let settings = settings.as_deref();
    found.of_user(ClaudeDesktop, settings, "Claude/claude_desktop_config.json", Shape::Settings);
    found.of_user(Cursor, home, ".cursor/mcp.json", Shape::Servers);
    found.of_project(Cursor, ".cursor/mcp.json", Shape::Servers);
    let users = EDITORS[..EDITORS_OF_VSCODE].iter().map(|editor| (settings, format!("{editor}/User")));
    let remote = REMOTE[..REMOTE_OF_VSCODE].iter().map(|server| (home, format!("{server}/data/User")));
    for (base, user) in users.chain(remote) {
        found.of_user(VsCode, base, format!("{user}/mcp.json"), Shape::Servers);
        let folder = format!("{user}/profiles");
        let mut profiles = base.map(|base| inside(&base.join(&folder))).unwrap_or_default();
        profiles.sort();
        for profile in profiles.iter().take(PROFILES_MAX) {
            let below = Path::new(&folder).join(profile).join("mcp.json");
            found.of_user(VsCode, base, below, Shape::Servers);
        }
    }
    found.of_project(VsCode, ".vscode/mcp.json", Shape::Servers);
    found.of_user(Windsurf, home, ".codeium/windsurf/mcp_config.json", Shape::Servers);
    found.of_user(Gemini, home, ".gemini/settings.json", Shape::Settings);
    found.of_project(Gemini, ".gemini/settings.json", Shape::Settings);
    let codex = folder("CODEX_HOME").or_else(|| home.map(|home| home.join(".codex")));
    found.of_user(Codex, codex.as_deref(), "config.toml", Shape::Toml);
    found.of_project(Codex, ".codex/config.toml", Shape::Toml);
    for editor in EDITORS {
        found.of_user(Cline, settings, format!("{editor}/User/{OF_CLINE}"), Shape::Servers);
    }
    for server in REMOTE {
        found.of_user(Cline, home, format!("{server}/data/User/{OF_CLINE}"), Shape::Servers);
    }
    found.of_user(Cline, home, ".cline/data/settings/cline_mcp_settings.json", Shape::Servers);
    for editor in EDITORS {
        found.of_user(Roo, settings, format!("{editor}/User/{OF_ROO}"), Shape::Servers);
    }
    for server in REMOTE {
        found.of_user(Roo, home, format!("{server}/data/User/{OF_ROO}"), Shape::Servers);
    }
    found.of_project(Roo, ".roo/mcp.json", Shape::Servers);
    found.of_user(Kiro, home, ".kiro/settings/mcp.json", Shape::Servers);
    found.of_project(Kiro, ".kiro/settings/mcp.json", Shape::Servers);
    found.list
}

struct Places<'a> {
    home: Option<&'a Path>,
    project: &'a Path,
    list: Vec<Place>,
}

impl Places<'_> {
    fn of_user(&mut self, client: Client, base: Option<&Path>, below: impl AsRef<Path>, shape: Shape) {
        let Some(base) = base else { return };
        let path = base.join(below);
        // People keep such files elsewhere in their home, and link them.
        let root = self.home.filter(|home| path.starts_with(home)).unwrap_or(base).to_owned();
        self.list.push(Place { client, path, shape, root, project: None });
    }

    fn of_project(&mut self, client: Client, below: &str, shape: Shape) {
        let (path, root) = (self.project.join(below), self.project.to_owned());
        // In the home folder a client's file of the project is the user's own.
        if self.list.iter().all(|known| known.path != path) {
            self.list.push(Place { client, path, shape, project: Some(root.clone()), root });
        }
    }
}
