//! What is made of the texts of other clients.

use std::path::{Path, PathBuf};

use mcp_troupe::{ConfigFile, Variables};
use serde_json::{Value, json};

use super::entries::{Entries, Written, entries};
use super::merge::Merge;
use super::own::Own;
use super::places::{Client, Place, Shape};
use super::translate::{Surroundings, Taken, translate};

const PROJECT: &str = "/projects/shop";

fn place(client: Client) -> Place {
    let shape = match client {
        Client::ClaudeCode => Shape::Projects,
        Client::ClaudeDesktop | Client::Gemini => Shape::Settings,
        Client::Codex => Shape::Toml,
        _ => Shape::Servers,
    };
    Place { client, path: "file".into(), shape, root: "/".into(), project: None }
}

fn variables() -> Variables {
    Variables::new().environment(|name| (name == "TOKEN").then(|| "s3cr3t".into())).workspace("/written")
}

/// Only these are there.
fn resolve(path: &Path) -> Option<PathBuf> {
    let there = ["/opt/orchestrator", "/projects/shop/server.py", "/projects/shop/bin/start"];
    if path == Path::new("/usr/bin/link") {
        return Some("/opt/orchestrator".into());
    }
    there.iter().map(PathBuf::from).find(|known| known == path)
}

fn translated(written: &Written) -> Result<Taken, String> {
    let variables = variables();
    let own = Own { path: Path::new("/opt/orchestrator"), resolve: &resolve };
    translate(written, &Surroundings { own, variables: &variables, is_set: &|name| name == "TOKEN" })
}

fn written(client: Client, value: Value) -> Written {
    Written { client, name: "s".to_owned(), value, project: None, switched_off: None }
}

fn one(client: Client, value: Value) -> Result<Taken, String> {
    translated(&written(client, value))
}

/// The entry of one that is taken without a warning.
fn plain(client: Client, value: Value) -> Value {
    let taken = one(client, value).unwrap();
    assert!(taken.warnings.is_empty(), "{taken:?}");
    Value::Object(taken.entry)
}

/// What a file of this client says, read in the project.
fn read(client: Client, text: &str) -> Result<Entries, String> {
    entries(&place(client), text, Path::new(PROJECT))
}

fn names(client: Client, text: &str) -> Vec<(String, Option<PathBuf>, bool)> {
    let found = read(client, text).unwrap().servers;
    found.into_iter().map(|found| (found.name, found.project, found.switched_off.is_some())).collect()
}

/// The names of the servers of a file, and the parts of it that are passed over.
fn passed_over(client: Client, text: &str) -> (Vec<String>, Vec<(String, String)>) {
    let Entries { servers, passed_over } = read(client, text).unwrap();
    (servers.into_iter().map(|found| found.name).collect(), passed_over)
}

#[test]
fn servers_are_found_where_each_client_has_them() {
    let name = |name: &str| vec![(name.to_owned(), None, false)];
    assert_eq!(names(Client::Cursor, r#"{"mcpServers":{"a":{"command":"c"}}}"#), name("a"));
    let commented = "\u{feff}{ // ours\n\"inputs\": [], \"servers\": {\"a\": {\"url\": \"http://h\",},}, }";
    assert_eq!(names(Client::VsCode, commented), name("a"));
    assert_eq!(names(Client::Cursor, r#"{"a":{"command":"c"}}"#), name("a"));
    assert_eq!(names(Client::Codex, "model = \"x\"\n[mcp_servers.a]\ncommand = \"c\"\n"), name("a"));
    assert_eq!(names(Client::ClaudeDesktop, r#"{"preferences":{},"mcpServers":{"a":{}}}"#), name("a"));
    for (client, empty) in [
        (Client::ClaudeDesktop, r#"{"preferences":{}}"#),
        (Client::Gemini, r#"{"tool":{"command":"c"}}"#),
        (Client::Cursor, r#"{"mcpServers":null}"#),
        (Client::Codex, ""),
    ] {
        assert_eq!(names(client, empty), [], "{empty}");
    }
}

#[test]
fn claude_code_has_servers_of_all_projects_and_of_single_ones() {
    let text = r#"{"numStartups":3,"mcpServers":{"a":{"command":"c"}},"projects":{
        "/projects/shop":{"mcpServers":{"b":{"command":"c"},"off":{"command":"c"}},"disabledMcpServers":["off"]},
        "/projects/blog":{"allowedTools":[]}
    }}"#;
    let shop = || Some(PathBuf::from("/projects/shop"));
    let expected =
        [("a".to_owned(), None, false), ("b".to_owned(), shop(), false), ("off".to_owned(), shop(), true)];
    assert_eq!(names(Client::ClaudeCode, text), expected);
}

#[test]
fn a_users_own_server_is_switched_off_where_the_project_one_is_in_says_so() {
    let text = r#"{"mcpServers":{"a":{"command":"c"},"b":{"command":"c"},"c":{"command":"c"}},"projects":{
        "/projects/shop":{"disabledMcpServers":["a"],"disabledMcpjsonServers":["c"]},
        "/projects/blog":{"disabledMcpServers":["b"]}
    }}"#;
    let off: Vec<bool> = names(Client::ClaudeCode, text).into_iter().map(|(_, _, off)| off).collect();
    assert_eq!(off, [true, false, false]);
}

#[test]
fn a_project_that_is_wrong_costs_no_other_and_not_the_users_own() {
    let text = r#"{"mcpServers":{"a":{"command":"c"}},"projects":{
        "/projects/blog":{"mcpServers":[]},
        "/projects/odd":7,
        "/projects/shop":{"mcpServers":{"b":{"command":"c"}}},
        "/projects/text":{"mcpServers":"s3cr3t"}
    }}"#;
    let (servers, wrong) = passed_over(Client::ClaudeCode, text);
    assert_eq!(servers, ["a", "b"]);
    let of = |folder: &str| (folder.to_owned(), "its mcpServers is no object".to_owned());
    let odd = ("/projects/odd".to_owned(), "it is no object".to_owned());
    assert_eq!(wrong, [of("/projects/blog"), odd, of("/projects/text")]);
    let text = r#"{"mcpServers":{"a":{"command":"c"}},"projects":["s3cr3t"]}"#;
    let (servers, wrong) = passed_over(Client::ClaudeCode, text);
    assert_eq!(servers, ["a"]);
    assert_eq!(wrong, [("projects".to_owned(), "it is no object".to_owned())]);
}

#[test]
fn servers_of_projects_are_taken_where_the_users_own_are_wrong() {
    let text = r#"{"mcpServers":[],"projects":{"/projects/shop":{"mcpServers":{"b":{"command":"c"}}}}}"#;
    let (servers, wrong) = passed_over(Client::ClaudeCode, text);
    assert_eq!(servers, ["b"]);
    assert_eq!(wrong, [("mcpServers".to_owned(), "it is no object".to_owned())]);
}

#[test]
fn servers_under_one_key_are_taken_where_the_other_key_has_none() {
    let (servers, wrong) =
        passed_over(Client::VsCode, r#"{"mcpServers":[],"servers":{"a":{"command":"c"}}}"#);
    assert_eq!(servers, ["a"]);
    assert_eq!(wrong, [("mcpServers".to_owned(), "it is no object".to_owned())]);
    let (servers, wrong) =
        passed_over(Client::VsCode, r#"{"mcpServers":null,"servers":{"a":{"command":"c"}}}"#);
    assert_eq!((servers, wrong), (vec!["a".to_owned()], Vec::new()));
}

#[test]
fn one_wrong_entry_costs_no_other_of_a_file_of_servers_alone() {
    let text = r#"{"$schema":"x","a":{"command":"c"},"b":{"comand":"c"},"inputs":[],"n":7}"#;
    let found = read(Client::Cursor, text).unwrap().servers;
    let taken: Vec<(&str, bool)> =
        found.iter().map(|found| (found.name.as_str(), translated(found).is_ok())).collect();
    assert_eq!(taken, [("a", true), ("b", false), ("n", false)]);
    assert_eq!(names(Client::Cursor, r#"{"theme":{"dark":true},"inputs":[]}"#), []);
}

#[test]
fn what_gemini_excludes_or_does_not_allow_is_switched_off() {
    let of = |lists: &str| {
        let text = format!(r#"{{"mcp":{lists},"mcpServers":{{"a":{{}},"b":{{}}}}}}"#);
        names(Client::Gemini, &text).into_iter().map(|(_, _, off)| off).collect::<Vec<_>>()
    };
    assert_eq!(of(r#"{"excluded":["a"]}"#), [true, false]);
    assert_eq!(of(r#"{"allowed":["a"]}"#), [false, true]);
    assert_eq!(of(r#"{"allowed":[]}"#), [false, false]);
}

#[test]
fn a_broken_text_is_one_reason_that_shows_nothing_of_it() {
    for (client, text, says) in [
        (Client::Cursor, "{\n\"mcpServers\": s3cr3t}", "line 2"),
        (Client::Cursor, r#"{"mcpServers":{"a":{"env":{"K":"s3cr3t}}}"#, "line 1"),
        (Client::Cursor, "", "empty"),
        (Client::Cursor, r#"["s3cr3t"]"#, "no object"),
        (Client::Cursor, r#"{"mcpServers":["s3cr3t"]}"#, "mcpServers is no object"),
        (Client::Codex, "a = 1\nkey = s3cr3t", "line 2: it is no TOML"),
        (Client::Codex, "mcp_servers = \"s3cr3t\"", "mcp_servers is no object"),
    ] {
        let reason = read(client, text).unwrap_err();
        assert!(reason.contains(says) && !reason.contains("s3cr3t") && !reason.contains('\n'), "{reason:?}");
    }
    let deep = format!("{{\"mcpServers\":{}", "[".repeat(100_000));
    read(Client::Cursor, &deep).unwrap_err();
    let deep = format!("a = {}", "[".repeat(100_000));
    read(Client::Codex, &deep).unwrap_err();
    let many: serde_json::Map<String, Value> = (0..1001).map(|n| (n.to_string(), json!({}))).collect();
    let reason = read(Client::Cursor, &json!({"mcpServers": many}).to_string()).unwrap_err();
    assert!(reason.contains("more than 1000"), "{reason}");
}

#[test]
fn spellings_of_other_clients_become_ours() {
    for (client, value, expected) in [
        (Client::Gemini, json!({"httpUrl": "http://h/mcp"}), json!({"url": "http://h/mcp"})),
        (Client::Windsurf, json!({"serverUrl": "http://h/mcp"}), json!({"url": "http://h/mcp"})),
        (Client::Kiro, json!({"url": "http://h/mcp", "transport": "http"}), json!({"url": "http://h/mcp"})),
        (Client::Cline, json!({"url": "http://h", "type": "streamableHttp"}), json!({"url": "http://h"})),
        (Client::Cline, json!({"command": "c", "transportType": "stdio"}), json!({"command": "c"})),
        (Client::Roo, json!({"url": "http://h", "type": "streamable-http"}), json!({"url": "http://h"})),
        (Client::VsCode, json!({"command": "c", "type": "stdio"}), json!({"command": "c"})),
        (
            Client::Gemini,
            json!({"command": "c", "excludeTools": ["x"]}),
            json!({"command": "c", "disabledTools": ["x"]}),
        ),
        (
            Client::Kiro,
            json!({"command": "c", "disabled": false, "autoApprove": []}),
            json!({"command": "c"}),
        ),
        (
            Client::Cline,
            json!({"command": "c", "url": "", "args": [], "env": {}, "headers": {}, "cwd": ""}),
            json!({"command": "c"}),
        ),
        (
            Client::Gemini,
            json!({"command": "c", "excludeTools": "x", "disabledTools": ["y", "x"], "includeTools": []}),
            json!({"command": "c", "disabledTools": ["y", "x"], "includeTools": []}),
        ),
        (Client::Kiro, json!({"command": "c", "disabled": true}), json!({"command": "c", "disabled": true})),
        (
            Client::Roo,
            json!({"command": "c", "alwaysAllow": ["x"]}),
            json!({"command": "c", "alwaysAllow": ["x"]}),
        ),
        (
            Client::VsCode,
            json!({"command": "c", "env": {"A": 1, "B": null}}),
            json!({"command": "c", "env": {"A": 1, "B": null}}),
        ),
        (
            Client::Gemini,
            json!({"command": "c", "args": ["$TOKEN", "a$5", "$$TOKEN"]}),
            json!({"command": "c", "args": ["${TOKEN}", "a$5", "$$TOKEN"]}),
        ),
        (
            Client::Cursor,
            json!({"command": "c", "args": ["$TOKEN"]}),
            json!({"command": "c", "args": ["$TOKEN"]}),
        ),
    ] {
        assert_eq!(plain(client, value.clone()), expected, "{value}");
    }
}

#[test]
fn the_keys_of_codex_become_ours() {
    let text = r#"
        [mcp_servers.local]
        command = "c"
        args = ["${HOME}"]
        env = { KEY = "s3cr3t" }
        env_vars = ["TOKEN", "UNSET"]
        startup_timeout_sec = 20.5
        tool_timeout_sec = 90
        enabled_tools = ["x"]
        disabled_tools = ["y"]
        enabled = false
        [mcp_servers.remote]
        url = "https://h/mcp"
        bearer_token_env_var = "TOKEN"
        http_headers = { "X-A" = "a" }
        env_http_headers = { "X-B" = "TOKEN" }
        startup_timeout_ms = 7000
    "#;
    let found = read(Client::Codex, text).unwrap().servers;
    let taken: Vec<Taken> = found.iter().map(|found| translated(found).unwrap()).collect();
    let local = json!({
        "command": "c", "args": ["$${HOME}"], "env": {"KEY": "s3cr3t", "TOKEN": "${env:TOKEN}"}, "timeout": "90s",
        "pool": {"handshakeTimeout": "20500ms", "max": 1}, "includeTools": ["x"], "disabledTools": ["y"],
        "disabled": true,
    });
    assert_eq!(Value::Object(taken[0].entry.clone()), local);
    assert_eq!(taken[0].warnings, ["the variable UNSET is not set here: it is left out"]);
    let remote = json!({
        "url": "https://h/mcp", "bearer": "${env:TOKEN}", "headers": {"X-A": "a", "X-B": "${env:TOKEN}"},
        "pool": {"handshakeTimeout": "7s", "max": 1},
    });
    assert_eq!((Value::Object(taken[1].entry.clone()), taken[1].warnings.len()), (remote, 0));
}

#[test]
fn a_timeout_without_a_unit_has_that_of_its_client() {
    for (client, number, expected) in [
        (Client::Gemini, json!(30000), Some("30s")),
        (Client::Kiro, json!(1500), Some("1500ms")),
        (Client::ClaudeCode, json!(60000), Some("60s")),
        (Client::ClaudeCode, json!(500), None),
        (Client::Roo, json!(60), Some("60s")),
        (Client::Cline, json!(3600), Some("3600s")),
        (Client::Cline, json!(0.5), Some("500ms")),
        (Client::Roo, json!(0), None),
        (Client::Kiro, json!(-1), None),
        (Client::Kiro, json!(1e300), None),
        (Client::Cursor, json!(60), None),
    ] {
        let taken = one(client, json!({"command": "c", "timeout": number})).unwrap();
        assert_eq!(taken.entry.get("timeout").and_then(Value::as_str), expected, "{client} {number}");
        assert_eq!(taken.warnings.len(), usize::from(expected.is_none()), "{taken:?}");
    }
    assert_eq!(plain(Client::Cursor, json!({"command": "c", "timeout": "5s"}))["timeout"], "5s");
}

#[test]
fn servers_of_the_old_transport_are_left_out() {
    for (client, value) in [
        (Client::Cursor, json!({"type": "sse", "url": "http://h"})),
        (Client::Kiro, json!({"transport": "SSE", "url": "http://h"})),
        (Client::Cline, json!({"url": "http://h"})),
        (Client::Gemini, json!({"url": "http://h/sse"})),
        (Client::Kiro, json!({"type": "sse", "url": "http://h", "disabled": true})),
    ] {
        let reason = one(client, value.clone()).unwrap_err();
        assert!(reason.contains("HTTP+SSE"), "{value}: {reason}");
    }
    let taken = one(Client::Windsurf, json!({"serverUrl": "http://h/sse/?k=v"})).unwrap();
    assert!(taken.warnings[0].contains("ends with /sse"), "{taken:?}");
}

#[test]
fn what_cannot_be_a_server_is_left_out_with_its_reason() {
    for (value, says) in [
        (json!("c"), "no object"),
        (json!({}), "say where the server is"),
        (json!({"command": " "}), "is empty"),
        (json!({"command": "c", "disabled": "yes"}), "disabled"),
        (json!({"type": "stdio", "url": "http://h"}), "url"),
        (json!({"type": "http", "url": "ws://h", "command": "c"}), "command"),
        (json!({"command": "c", "args": "x"}), "args"),
        (json!({"url": "http://h:99999"}), "url"),
        (json!({"url": "http://h", "command": "c"}), "url"),
        (json!({"command": "c", "weight": 0}), "weight"),
        (json!({"command": "c", "type": "docker"}), "type is not known"),
        (json!({"command": "c", "type": 1}), "type"),
    ] {
        let reason = one(Client::Cursor, value.clone()).unwrap_err();
        assert!(reason.contains(says) && !reason.contains('\n'), "{value}: {reason}");
    }
}

#[test]
fn no_reason_and_no_warning_shows_a_value() {
    for value in [
        json!({"command": "s3cr3t", "args": "s3cr3t"}),
        json!({"command": "c", "args": [["s3cr3t"]], "env": {"A": ["s3cr3t"]}}),
        json!({"command": "c", "env": {"A=s3cr3t": "x"}}),
        json!({"command": "c", "type": "s3cr3t"}),
        json!({"command": "c", "timeout": "s3cr3t"}),
        json!({"command": "c", "era": "s3cr3t"}),
        json!({"command": "c", "cwd": "${s3cr3t %}", "headers": {"A": "s3cr3t"}}),
        json!({"command": "c", "auth": {"key": "s3cr3t"}}),
        json!({"url": "http://me:s3cr3t@h/mcp"}),
        json!({"url": "s3cr3t", "bearer": "s3cr3t"}),
        json!({"url": "http://h", "headers": {"A": "${env:NONE} s3cr3t"}}),
        json!({"url": "http://h/s3cr3t/sse"}),
    ] {
        let told =
            one(Client::Cursor, value.clone()).map_or_else(|reason| vec![reason], |taken| taken.warnings);
        assert!(!told.is_empty() && !told.concat().contains("s3cr3t"), "{value}: {told:?}");
    }
}

#[test]
fn keys_without_a_meaning_here_are_left_out_with_a_warning() {
    let taken =
        one(Client::VsCode, json!({"command": "c", "gallery": true, "dev": {"watch": "x"}, "o\u{1b}x": 1}))
            .unwrap();
    assert_eq!(Value::Object(taken.entry), json!({"command": "c"}));
    assert_eq!(taken.warnings, ["keys without a meaning here are left out: dev, gallery, o\u{fffd}x"]);
}

#[test]
fn references_stay_and_what_has_no_value_here_is_switched_off() {
    let set = json!({"command": "c", "args": ["${TOKEN}", "${NONE:-x}"], "env": {"K": "${env:TOKEN}"}});
    assert_eq!(plain(Client::ClaudeCode, set.clone()), set);
    for (value, says) in [
        (json!({"command": "c", "env": {"K": "${env:NONE}"}}), "NONE is not set"),
        (json!({"command": "c", "args": ["${input:key}"]}), "${input:key} is not answered"),
        (json!({"url": "http://${NONE}/mcp"}), "NONE is not set"),
        (json!({"url": "http://h", "headers": {"A": "${command:pick}"}}), "unknown kind"),
    ] {
        let taken = one(Client::VsCode, value.clone()).unwrap();
        assert_eq!(taken.entry["disabled"], true, "{value}");
        assert!(taken.warnings[0].contains(says), "{taken:?}");
        for (key, kept) in value.as_object().unwrap() {
            assert_eq!(&taken.entry[key], kept);
        }
    }
    // A mistake beside it is one all the same.
    one(Client::VsCode, json!({"command": "c", "env": {"K": "${env:NONE}"}, "weight": 0})).unwrap_err();
}

#[test]
fn what_depends_on_the_folder_of_a_project_names_it() {
    let of = |value: Value| {
        let written = Written { project: Some(PROJECT.into()), ..written(Client::VsCode, value) };
        Value::Object(translated(&written).unwrap().entry)
    };
    for (value, expected) in [
        (
            json!({"command": "${workspaceFolder}/x", "args": ["${workspaceFolderBasename}"]}),
            json!({"command": "/projects/shop/x", "args": ["shop"]}),
        ),
        (
            json!({"command": "${CLAUDE_PROJECT_DIR:-.}/x", "args": ["${CLAUDE_PROJECT_DIR}"]}),
            json!({"command": "/projects/shop/x", "args": ["/projects/shop"]}),
        ),
        (json!({"command": "c", "cwd": "sub"}), json!({"command": "c", "cwd": "/projects/shop/sub"})),
        (json!({"command": "c", "cwd": "/abs"}), json!({"command": "c", "cwd": "/abs"})),
        // It is not built yet.
        (
            json!({"command": "./target/server"}),
            json!({"command": "/projects/shop/target/server", "cwd": "/projects/shop"}),
        ),
        (
            json!({"command": "node", "args": ["./dist/index.js"]}),
            json!({"command": "node", "args": ["./dist/index.js"], "cwd": "/projects/shop"}),
        ),
        (
            json!({"command": "out/server", "args": ["--config=./c.json"]}),
            json!({"command": "/projects/shop/out/server", "args": ["--config=./c.json"], "cwd": "/projects/shop"}),
        ),
        (
            json!({"command": "node", "args": ["--config=./c.json"]}),
            json!({"command": "node", "args": ["--config=./c.json"], "cwd": "/projects/shop"}),
        ),
        (
            json!({"command": "python", "args": ["server.py"]}),
            json!({"command": "python", "args": ["server.py"], "cwd": "/projects/shop"}),
        ),
        (
            json!({"command": "bin/start", "envFile": "x/.env"}),
            json!({"command": "/projects/shop/bin/start", "cwd": "/projects/shop", "envFile": "/projects/shop/x/.env"}),
        ),
        (json!({"command": "npx", "args": ["-y", "x"]}), json!({"command": "npx", "args": ["-y", "x"]})),
    ] {
        assert_eq!(of(value.clone()), expected, "{value}");
    }
    let taken = one(Client::Cursor, json!({"command": "c", "cwd": "${workspaceFolder}"})).unwrap();
    assert!(taken.warnings[0].contains("folder of the file that is written"), "{taken:?}");
}

#[test]
fn entries_that_start_this_program_are_left_out_however_they_do() {
    let own = [
        ("orchestrator", vec!["serve"]),
        ("/opt/orchestrator", vec![]),
        ("/usr/bin/link", vec![]),
        ("C:\\tools\\Orchestrator.exe", vec![]),
        ("mcp-troupe", vec![]),
        ("orchestrator serve", vec![]),
        ("npx", vec!["-y", "mcp-troupe"]),
        ("npx", vec!["-y", "@somebody/mcp-troupe@1.2", "serve"]),
        ("npx.cmd", vec!["--package=mcp-troupe", "start"]),
        ("npx -y mcp-troupe", vec![]),
        ("cmd", vec!["/c", "npx", "-y", "mcp-troupe"]),
        ("pnpm", vec!["dlx", "mcp-troupe"]),
        ("uvx", vec!["--from", "mcp-troupe==1.0", "x"]),
        ("uv", vec!["tool", "run", "mcp-troupe"]),
        ("sh", vec!["-c", "exec orchestrator serve"]),
        ("/bin/bash", vec!["-lc", "npx -y mcp-troupe"]),
        ("env", vec!["A=b", "orchestrator"]),
        ("cargo", vec!["run", "-p", "mcp-troupe-orchestrator", "--", "serve"]),
        ("cargo", vec!["run", "--manifest-path", "/src/mcp-troupe/Cargo.toml"]),
        ("cargo", vec!["run", "-q", "--bin=mcp-troupe"]),
    ];
    for (command, args) in own {
        let reason = one(Client::Cursor, json!({"command": command, "args": args})).unwrap_err();
        assert!(reason.contains("this program"), "{command} {args:?}: {reason}");
    }
    let nested = "sh -c ".repeat(20);
    let others = [
        ("npx", vec!["-y", "@modelcontextprotocol/server-filesystem", "/src/mcp-troupe"]),
        ("npx", vec!["-y", "mcp-troupe-notes"]),
        ("uvx", vec!["mcp-server-git", "--repository", "mcp-troupe"]),
        ("cargo", vec!["run", "--bin", "other", "--", "mcp-troupe"]),
        ("cargo", vec!["test", "-p", "mcp-troupe"]),
        ("sh", vec!["-c", "cat orchestrator"]),
        ("sh", vec!["-c", &nested]),
        ("sh", vec![]),
        ("my-orchestrator", vec![]),
        ("/opt/other", vec!["orchestrator"]),
    ];
    for (command, args) in others {
        one(Client::Cursor, json!({"command": command, "args": args})).unwrap();
    }
}

/// The names of these servers, put together.
fn merged(servers: &[(Client, &str, &str, Option<&str>)]) -> Value {
    let mut merge = Merge::default();
    for (client, name, command, project) in servers {
        let value = json!({"command": command, "autoApprove": [client.name()]});
        let written = Written {
            client: *client,
            name: (*name).to_owned(),
            value,
            project: project.map(PathBuf::from),
            switched_off: None,
        };
        merge.add(&written, translated(&written).unwrap().entry);
    }
    let text = merge.named().text().unwrap();
    let file = ConfigFile::parse(&text).unwrap();
    assert_eq!((file.left_out.len(), file.diagnostics.len()), (0, 0), "{text}");
    let value: Value = serde_json::from_str(&text).unwrap();
    let entries = value["mcpServers"].as_object().unwrap();
    entries.iter().map(|(name, entry)| (name.clone(), entry["command"].clone())).collect()
}

#[test]
fn equal_entries_are_one_and_different_ones_of_one_name_have_their_clients_in_it() {
    use Client::*;
    let equal = [(Cursor, "github", "c", None), (Kiro, "github", "c", None), (Roo, "GitHub", "c", None)];
    assert_eq!(merged(&equal), json!({"github": "c"}));
    let different = [(Cursor, "github", "c", None), (Kiro, "github", "d", None), (Roo, "github", "c", None)];
    assert_eq!(merged(&different), json!({"github-cursor": "c", "github-kiro": "d"}));
    let projects = [
        (ClaudeCode, "db", "a", None),
        (ClaudeCode, "db", "b", Some("/projects/shop")),
        (ClaudeCode, "db", "c", Some("/other/shop")),
    ];
    let expected = json!({"db-claude-code": "a", "db-claude-code-shop": "b", "db-claude-code-2": "c"});
    assert_eq!(merged(&projects), expected);
    // Names that become one id, and one that is another's new name.
    let meeting = [(Cursor, "a b", "x", None), (Kiro, "a/b", "y", None), (Roo, "a-b-kiro", "z", None)];
    assert_eq!(merged(&meeting), json!({"a b-cursor": "x", "a-b-kiro": "z", "a/b-kiro-2": "y"}));
}

#[test]
fn keys_are_written_in_the_order_in_which_people_do() {
    let mut merge = Merge::default();
    let written = written(Client::Cursor, json!({"env": {"A": "b"}, "command": "c", "args": ["x"]}));
    merge.add(&written, translated(&written).unwrap().entry);
    let text = merge.named().text().unwrap();
    let at = |key: &str| text.find(key).unwrap();
    assert!(at("command") < at("args") && at("args") < at("env") && text.ends_with("}\n"), "{text}");
}
