//! Configuration files as other clients have them, each read by the table below.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod playing;

use std::collections::BTreeSet;
use std::path::PathBuf;

use mcp_troupe::{ConfigFile, Diagnostic, Server, Severity, Variables};

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/configurations/files"))
}

/// What the host of the files has: its workspace, a plugin, and some variables of the environment.
fn variables() -> Variables {
    let set = ["ISSUES_TOKEN", "SEARCH_KEY", "GEMINI_TEST_KEY"];
    Variables::new()
        .workspace(folder())
        .set("CLAUDE_PLUGIN_ROOT", "/plugin")
        .set("extensionPath", "/extension")
        .set("userHome", "/home/somebody")
        .environment(move |name| match name {
            "HOME" => Some("/home/somebody".into()),
            name => set.contains(&name).then(|| "s3cret".into()),
        })
}

fn read(name: &str) -> (String, Result<ConfigFile, mcp_troupe::ConfigError>, Vec<Diagnostic>) {
    let text = std::fs::read_to_string(folder().join(name)).unwrap();
    let file = ConfigFile::parse_with(&text, &variables());
    let mut found = ConfigFile::diagnose(&text, &variables());
    // Their programs and folders are on their writers' machines.
    let is_elsewhere = |reason: &str| reason.starts_with("there is no ") || reason.ends_with("is no folder");
    found.retain(|found| found.severity == Severity::Error || !is_elsewhere(&found.error.reason));
    (text, file, found)
}

/// A file, the ids of the servers that can be played, and warnings by words of theirs.
type Accepted<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);

const ACCEPTED: &[Accepted<'_>] = &[
    ("vscode-servers.json", &["tickets"], &[]),
    ("vscode-empty-inputs.json", &["shelf"], &[]),
    ("vscode-comments.json", &["library"], &[]),
    ("vscode-env-file.json", &["post"], &[]),
    ("vscode-numbers-in-env.json", &["clock"], &[]),
    ("vscode-gallery.json", &["pictures"], &["gallery", "version"]),
    ("vscode-dev.json", &["mine"], &["dev"]),
    ("claude-code-mcp.json", &["notes", "issues"], &[]),
    ("claude-code-default.json", &["crm"], &[]),
    ("claude-plugin-bare.json", &["deploys"], &[]),
    ("claude-plugin-bare-url.json", &["wiki", "mail"], &[]),
    (
        "claude-code-settings.json",
        &["pages"],
        &["numStartups: has no meaning here, nor have theme, projects"],
    ),
    ("claude-desktop.json", &["files"], &[]),
    ("claude-desktop-preferences.json", &["My-Database"], &["preferences: has no meaning"]),
    ("cursor-plain.json", &["search"], &[]),
    ("cursor-url-only.json", &["remote"], &[]),
    ("cursor-command-line.json", &["script"], &["belongs into its args"]),
    ("cursor-home.json", &["keys"], &[]),
    ("kiro-disabled.json", &["costs"], &[]),
    ("kiro-disabled-tools.json", &["tables"], &[]),
    ("kiro-transport.json", &["docs"], &[]),
    ("kiro-power.json", &["power"], &[]),
    ("kiro-disabled-sse.json", &["awake"], &["SSE transport is not supported"]),
    ("roo-always-allow.json", &["browser"], &[]),
    ("roo-names.json", &["my-own-server", "server-50b05a8b"], &[]),
    ("roo-streamable.json", &["stream"], &[]),
    ("cline-marketplace.json", &["github.com-some-owner-some-server"], &[]),
    ("cline-transport-type.json", &["feed"], &[]),
    ("cline-streamable.json", &["news"], &[]),
    ("gemini-http-url.json", &["api"], &[]),
    ("gemini-settings.json", &["sheets"], &["nor have selectedAuthType"]),
    ("gemini-extension.json", &["sky"], &["nor have version, contextFileName"]),
    ("gemini-exclude.json", &["shell"], &[]),
    ("windsurf-server-url.json", &["figures"], &[]),
    ("windsurf-disabled.json", &["two"], &[]),
    ("antigravity-comments.json", &["four"], &[]),
    ("copilot-local.json", &["five", "six"], &[]),
    ("byte-order-mark.json", &["eight"], &[]),
];

/// A file, the ids of the servers that play, the one that is left out, and what is said of it.
type InPart<'a> = (&'a str, &'a [&'a str], &'a str, &'a str);

const IN_PART: &[InPart<'_>] = &[
    ("vscode-input.json", &["maps"], "weather", "${input:key} is not answered here"),
    ("claude-code-sse.json", &["new"], "former", "SSE transport is not supported"),
    ("claude-code-unset.json", &["till"], "bank", "the variable NO_SUCH_KEY is not set"),
    ("kiro-timeout.json", &["lints"], "builds", "write \"120s\": 120000 is probably"),
    ("roo-timeout.json", &["quick"], "slow", "write \"300s\": 300 is probably"),
    ("cline-timeout.json", &[], "long", "write \"60s\": 60 is probably"),
    ("gemini-timeout.json", &["small"], "big", "write \"600s\": 600000 is probably"),
    ("names-that-meet.json", &["a-b"], "a/b", "becomes the id a-b"),
    ("port-beyond.json", &["near"], "far", "its port is larger than 65535"),
    ("bare-host.json", &["near"], "far", "write http:// or https:// before it"),
    ("large-scheme.json", &["near"], "far", "written in small letters"),
    ("port-word.json", &["near"], "far", "is no port, a number up to 65535"),
    ("typo-in-one.json", &["good"], "typo", "did you mean `command`?"),
    ("bare-typo-in-one.json", &["good", "web"], "typo", "did you mean `command`?"),
    ("bare-empty-one.json", &["good"], "empty", "by url or command"),
];

/// A file, the key at which it is refused as a whole, and why.
const REFUSED: &[(&str, &str, &str)] = &[
    ("codex.toml", "servers.json", "is no JSON"),
    ("both-keys.json", "servers", "put all servers under mcpServers"),
    ("misspelt-top-key.json", "mcp_servers", "did you mean `mcpServers`?"),
];

#[test]
fn the_files_of_other_clients_are_accepted_with_no_more_than_warnings() {
    for (name, ids, warnings) in ACCEPTED {
        let (text, file, found) = read(name);
        let file = file.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(file.servers.iter().map(Server::id).collect::<Vec<_>>(), *ids, "{name}: {found:?}");
        assert_eq!(file.left_out, [""; 0], "{name}");
        assert_eq!(found.len(), warnings.len(), "{name}: {found:?}");
        for (found, says) in found.iter().zip(*warnings) {
            assert_eq!(found.severity, Severity::Warning, "{name}: {found}");
            assert!(found.to_string().contains(says), "{name}: {found}");
        }
        // What is an editor's JSON the schema takes as well, unless it is switched off.
        if let Ok(value) = serde_json::from_str(&text)
            && file.disabled.is_empty()
        {
            assert!(jsonschema::is_valid(&ConfigFile::schema(), &value), "the schema refuses {name}");
        }
        assert!(!format!("{file:?}{found:?}").contains("s3cret"), "{name}");
    }
}

#[test]
fn a_mistake_names_its_one_server_and_the_others_play() {
    for (name, ids, wrong, says) in IN_PART {
        let (_, file, found) = read(name);
        let file = file.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(file.servers.iter().map(Server::id).collect::<Vec<_>>(), *ids, "{name}: {found:?}");
        assert_eq!((found.len(), found[0].server.as_deref()), (1, Some(*wrong)), "{name}: {found:?}");
        assert_eq!(found[0].severity, Severity::Error);
        assert!(found[0].to_string().contains(says), "{name}: {}", found[0]);
    }
}

#[test]
fn what_is_wrong_as_a_whole_is_refused_with_its_key() {
    for (name, key, says) in REFUSED {
        let (_, file, found) = read(name);
        let error = file.unwrap_err();
        assert_eq!(error.key, *key, "{name}");
        assert!(error.reason.contains(says) && found.len() == 1, "{name}: {found:?}");
    }
}

#[test]
fn each_file_is_in_a_table_and_most_are_accepted() {
    let named: BTreeSet<String> = ACCEPTED
        .iter()
        .map(|(name, ..)| *name)
        .chain(IN_PART.iter().map(|(name, ..)| *name))
        .chain(REFUSED.iter().map(|(name, ..)| *name))
        .map(str::to_owned)
        .collect();
    let files =
        std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> = files.filter(|name| name != ".env").collect();
    assert_eq!(named, files);
    assert!(ACCEPTED.len() >= 38 && files.len() >= 50);
}

#[test]
fn what_a_file_says_reaches_its_server() {
    let server = |name: &str| {
        let (_, file, _) = read(name);
        file.unwrap().servers.remove(0)
    };
    let none: [&str; 0] = [];
    let extension = Server::stdio("sky", "node", ["/extension/dist/index.js"]).cwd("/extension");
    let files = folder();
    let clock = Server::stdio("clock", "clock-server", none);
    let expected = [
        (
            "kiro-disabled-tools.json",
            Server::stdio("tables", "tables-server", none).without_tools(["drop_table", "truncate"]),
        ),
        ("vscode-env-file.json", Server::stdio("post", "post-server", none).cwd(&files).env("STAMPS", "12")),
        ("vscode-numbers-in-env.json", clock.env("PORT", "8080").env("VERBOSE", "true").env("ZONE", "UTC")),
        ("gemini-extension.json", extension),
        ("windsurf-server-url.json", Server::http("figures", "http://127.0.0.1:9/mcp")),
    ];
    for (name, expected) in expected {
        let server = server(name);
        assert_eq!(server.endpoint(), expected.endpoint(), "{name}");
    }
    let named = server("claude-desktop-preferences.json");
    assert_eq!(named.metadata_of("name"), Some("My Database"));
}
