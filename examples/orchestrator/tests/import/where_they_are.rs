//! Where the files of clients are looked for.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::places::{Client, Place, System, places};

const HOME: &str = "/home/me";
const PROJECT: &str = "/home/me/shop";

fn of(system: System, variables: &[(&str, &str)]) -> Vec<Place> {
    let variable = |wanted: &str| {
        let found = variables.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| OsString::from(value))
    };
    let profiles = |folder: &Path| match folder.ends_with("Code/User/profiles") {
        true => vec!["b2".into(), "-1a".into()],
        false => Vec::new(),
    };
    places(system, Some(Path::new(HOME)), Path::new(PROJECT), &variable, &profiles)
}

fn paths(places: &[Place], client: Client) -> Vec<&str> {
    places.iter().filter(|place| place.client == client).map(|place| place.path.to_str().unwrap()).collect()
}

#[test]
fn each_system_keeps_the_settings_of_a_user_in_its_own_folder() {
    for (system, variables, folder) in [
        (System::Linux, vec![], "/home/me/.config"),
        (System::Linux, vec![("XDG_CONFIG_HOME", "/xdg"), ("APPDATA", "/roaming")], "/xdg"),
        (System::Linux, vec![("XDG_CONFIG_HOME", "no/absolute/path")], "/home/me/.config"),
        (System::MacOs, vec![("XDG_CONFIG_HOME", "/xdg")], "/home/me/Library/Application Support"),
        (System::Windows, vec![("APPDATA", "/roaming")], "/roaming"),
        (System::Windows, vec![], "/home/me/AppData/Roaming"),
    ] {
        let found = of(system, &variables);
        let desktop = format!("{folder}/Claude/claude_desktop_config.json");
        assert_eq!(paths(&found, Client::ClaudeDesktop), [desktop]);
        let vscode = paths(&found, Client::VsCode);
        assert!(vscode.contains(&&*format!("{folder}/Code/User/mcp.json")), "{vscode:?}");
        let extension = format!(
            "{folder}/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json"
        );
        assert!(paths(&found, Client::Cline).contains(&&*extension), "{system:?}");
        let extension =
            format!("{folder}/Code/User/globalStorage/rooveterinaryinc.roo-cline/settings/mcp_settings.json");
        assert!(paths(&found, Client::Roo).contains(&&*extension), "{system:?}");
    }
}

#[test]
fn what_stands_in_the_home_is_there_on_each_system_and_a_projects_own_beside_it() {
    for system in [System::Linux, System::MacOs, System::Windows] {
        let found = of(system, &[]);
        for (client, expected) in [
            (
                Client::ClaudeCode,
                [
                    ".claude.json",
                    ".claude/settings.json",
                    "shop/.claude/settings.json",
                    "shop/.claude/settings.local.json",
                    "shop/.mcp.json",
                ]
                .as_slice(),
            ),
            (Client::Cursor, &[".cursor/mcp.json", "shop/.cursor/mcp.json"]),
            (Client::Windsurf, &[".codeium/windsurf/mcp_config.json"]),
            (Client::Gemini, &[".gemini/settings.json", "shop/.gemini/settings.json"]),
            (Client::Codex, &[".codex/config.toml", "shop/.codex/config.toml"]),
            (Client::Kiro, &[".kiro/settings/mcp.json", "shop/.kiro/settings/mcp.json"]),
        ] {
            let expected: Vec<String> = expected.iter().map(|path| format!("{HOME}/{path}")).collect();
            assert_eq!(paths(&found, client), expected, "{system:?}");
        }
        let of_project: BTreeSet<&str> = found
            .iter()
            .filter(|place| place.project.as_deref() == Some(Path::new(PROJECT)))
            .map(|place| place.path.strip_prefix(PROJECT).unwrap().to_str().unwrap())
            .collect();
        let expected = [
            ".claude/settings.json",
            ".claude/settings.local.json",
            ".codex/config.toml",
            ".cursor/mcp.json",
            ".gemini/settings.json",
            ".kiro/settings/mcp.json",
            ".mcp.json",
            ".roo/mcp.json",
            ".vscode/mcp.json",
        ];
        assert_eq!(of_project, expected.into());
    }
}

#[test]
fn clients_that_were_told_another_folder_are_found_there() {
    let variables = [("CLAUDE_CONFIG_DIR", "/claude"), ("CODEX_HOME", "/codex")];
    let found = of(System::Linux, &variables);
    assert_eq!(paths(&found, Client::ClaudeCode)[0], "/claude/.claude.json");
    assert_eq!(paths(&found, Client::Codex)[0], "/codex/config.toml");
    let root = |client| &found.iter().find(|place| place.client == client).unwrap().root;
    assert_eq!((root(Client::Codex), root(Client::Cursor)), (&PathBuf::from("/codex"), &PathBuf::from(HOME)));
}

#[test]
fn no_file_is_looked_for_twice_and_without_a_home_the_projects_are_left() {
    let here = Path::new(HOME);
    let found = places(System::Linux, Some(here), here, &|_| None, &|_| vec!["p".into()]);
    let distinct: BTreeSet<&Path> = found.iter().map(|place| place.path.as_path()).collect();
    assert_eq!(distinct.len(), found.len());
    assert!(found.iter().find(|place| place.path.ends_with(".cursor/mcp.json")).unwrap().project.is_none());
    let found = places(System::Linux, None, here, &|_| None, &|_| Vec::new());
    assert!(!found.is_empty() && found.iter().all(|place| place.project.is_some()));
}

#[test]
fn profiles_of_an_editor_and_folders_of_one_on_another_machine_are_looked_at() {
    let found = of(System::Linux, &[]);
    let vscode = paths(&found, Client::VsCode);
    let user = "/home/me/.config/Code/User";
    let first =
        ["mcp.json", "profiles/-1a/mcp.json", "profiles/b2/mcp.json"].map(|path| format!("{user}/{path}"));
    assert_eq!(vscode[..3], first.each_ref().map(String::as_str));
    for server in [".vscode-server", ".vscode-server-insiders", ".vscodium-server"] {
        assert!(vscode.contains(&&*format!("/home/me/{server}/data/User/mcp.json")), "{vscode:?}");
    }
    for server in [".vscode-server", ".cursor-server", ".windsurf-server"] {
        let storage = format!("/home/me/{server}/data/User/globalStorage");
        for (client, path) in [
            (Client::Cline, "saoudrizwan.claude-dev/settings/cline_mcp_settings.json"),
            (Client::Roo, "rooveterinaryinc.roo-cline/settings/mcp_settings.json"),
        ] {
            assert!(paths(&found, client).contains(&&*format!("{storage}/{path}")), "{server}");
        }
    }
    let many = |_: &Path| (0..1_000).map(|n| n.to_string().into()).collect();
    let found = places(System::Linux, Some(Path::new(HOME)), Path::new(PROJECT), &|_| None, &many);
    assert!(paths(&found, Client::VsCode).len() < 700, "it is bounded");
}
