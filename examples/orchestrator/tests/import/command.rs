//! The command as its users run it, each time with a home of its own.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use super::common::{program, servers_json};

/// A home, a project in it, and what clients have there.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new(files: &[(&str, &str)]) -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(machine.path("shop")).unwrap();
        for (path, text) in files {
            machine.put(path, text);
        }
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn put(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn orchestrator(&self) -> Command {
        let mut command = program("mcp-troupe");
        for name in ["XDG_CONFIG_HOME", "CLAUDE_CONFIG_DIR", "CODEX_HOME", "APPDATA"] {
            command.env_remove(name);
        }
        command.env("HOME", self.folder.path()).current_dir(self.path("shop"));
        command
    }

    async fn import(&self, arguments: &[&str]) -> (i32, String, String) {
        told(self.orchestrator().arg("import").args(arguments).output().await.unwrap())
    }

    /// The servers that are printed, and what is told; the result must pass `check`.
    async fn imported(&self) -> (Value, String) {
        let (code, stdout, stderr) = self.import(&[]).await;
        assert_eq!(code, 0, "{stderr}");
        self.put("shop/imported.json", servers_json(&stdout));
        let check = self.orchestrator().args(["check", "--config", "imported.json"]).output().await.unwrap();
        let (code, _, found) = told(check);
        assert_eq!(code, 0, "{found}\n{stdout}");
        let value: Value = serde_json::from_str(&stdout).unwrap();
        (value["mcpServers"].clone(), stderr)
    }
}

fn told(output: Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn names(servers: &Value) -> Vec<&str> {
    servers.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The lines about a file.
fn lines_of<'t>(told: &'t str, file: &str) -> Vec<&'t str> {
    told.lines().filter(|line| line.contains(file)).collect()
}

const ONE: &str = r#"{"mcpServers":{"one":{"command":"one"}}}"#;

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_servers_of_all_clients_become_one_file_that_check_takes() {
    let storage = ".config/Code/User/globalStorage";
    let cline = format!("{storage}/saoudrizwan.claude-dev/settings/cline_mcp_settings.json");
    let roo = format!("{storage}/rooveterinaryinc.roo-cline/settings/mcp_settings.json");
    let machine = Machine::new(&[
        (
            ".claude.json",
            r#"{"numStartups":1,"mcpServers":{"code":{"command":"code"}},"projects":{"/x":{"mcpServers":{"of-x":{"command":"x"}}}}}"#,
        ),
        ("shop/.mcp.json", r#"{"mcpServers":{"of-shop":{"type":"stdio","command":"s"}}}"#),
        (
            ".config/Claude/claude_desktop_config.json",
            r#"{"preferences":{},"mcpServers":{"desktop":{"command":"d"}}}"#,
        ),
        (".cursor/mcp.json", r#"{"mcpServers":{"github":{"url":"https://h/mcp","headers":{"A":"s3cr3t"}}}}"#),
        ("shop/.cursor/mcp.json", r#"{"mcpServers":{"github":{"command":"gh"}}}"#),
        (
            ".config/Code/User/mcp.json",
            r#"{"inputs":[],"servers":{"vs":{"command":"v","args":["${input:key}"]},}}"#,
        ),
        ("shop/.vscode/mcp.json", r#"{"servers":{"vs-shop":{"command":"${workspaceFolder}/v"}}}"#),
        (
            ".codeium/windsurf/mcp_config.json",
            r#"{"mcpServers":{"wind":{"serverUrl":"http://h/mcp","disabled":true}}}"#,
        ),
        (
            ".gemini/settings.json",
            r#"{"theme":"x","mcpServers":{"gem":{"httpUrl":"http://h/mcp","timeout":5000}}}"#,
        ),
        (".codex/config.toml", "[mcp_servers.codex]\ncommand = \"c\"\ntool_timeout_sec = 30\n"),
        (
            &cline,
            r#"{"mcpServers":{"github.com/owner/name":{"command":"cl","timeout":60,"old":1},"old":{"url":"http://h"}}}"#,
        ),
        (&roo, r#"{"mcpServers":{"roo":{"command":"r","alwaysAllow":["x"]},"desktop":{"command":"d"}}}"#),
        (".kiro/settings/mcp.json", r#"{"mcpServers":{"kiro":{"command":"k","disabledTools":["x"]}}}"#),
    ]);
    let (servers, told) = machine.imported().await;
    let project = std::fs::canonicalize(machine.path("shop")).unwrap();
    let expected = json!({
        "code": {"command": "code"},
        "of-x": {"command": "x"},
        "of-shop": {"command": "s"},
        "desktop": {"command": "d"},
        "github-cursor": {"url": "https://h/mcp", "headers": {"A": "s3cr3t"}},
        "github-cursor-shop": {"command": "gh"},
        "vs": {"command": "v", "args": ["${input:key}"], "disabled": true},
        "vs-shop": {"command": format!("{}/v", project.display())},
        "wind": {"url": "http://h/mcp", "disabled": true},
        "gem": {"url": "http://h/mcp", "timeout": "5s"},
        "codex": {"command": "c", "timeout": "30s"},
        "github.com/owner/name": {"command": "cl", "timeout": "60s"},
        "roo": {"command": "r", "alwaysAllow": ["x"]},
        "kiro": {"command": "k", "disabledTools": ["x"]},
    });
    assert_eq!(servers, expected, "{told}");
    let of_cline = lines_of(&told, &cline);
    assert!(of_cline[0].ends_with("(cline): taken: github.com/owner/name; left out: 1"), "{told}");
    assert!(lines_of(&told, &roo)[0].ends_with("(roo): taken: roo; known already: desktop"), "{told}");
    assert!(told.contains("  old: left out: without a type it speaks the old HTTP+SSE transport"), "{told}");
    assert!(told.contains("  vs: switched off: ${input:key} is not answered here"), "{told}");
    assert!(told.contains("(windsurf): taken: wind (switched off)\n"), "{told}");
    assert!(told.ends_with(
        "14 servers, 2 of them switched off; secrets may be in it, as they stand in those files\n"
    ));
    assert!(!told.contains("s3cr3t"), "{told}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn settings_are_looked_for_where_the_environment_says() {
    let machine = Machine::new(&[("xdg/Claude/claude_desktop_config.json", ONE)]);
    let mut import = machine.orchestrator();
    let import = import.arg("import").env("XDG_CONFIG_HOME", machine.path("xdg"));
    let (code, stdout, stderr) = told(import.output().await.unwrap());
    assert!(code == 0 && stdout.contains("\"one\""), "{stderr}");
}

#[tokio::test]
async fn a_file_that_is_there_is_replaced_only_where_that_is_asked_for() {
    let machine = Machine::new(&[(".cursor/mcp.json", ONE), ("shop/servers.json", "mine")]);
    let file = machine.path("shop/servers.json");
    let text = || std::fs::read_to_string(&file).unwrap();
    let (code, stdout, stderr) = machine.import(&["--output", "servers.json"]).await;
    assert_eq!((code, &*stdout, &*text()), (2, "", "mine"));
    assert_eq!(stderr, "servers.json: it is there already: --force replaces it\n");
    let (code, ..) = machine.import(&["--output", "servers.json", "--force", "--dry-run"]).await;
    assert_eq!((code, &*text()), (0, "mine"));
    let (code, stdout, stderr) = machine.import(&["--output", "servers.json", "--force"]).await;
    assert_eq!((code, &*stdout), (0, ""), "{stderr}");
    assert!(
        text().contains("\"one\"") && stderr.contains("servers.json: 1 server; it has mode 0600"),
        "{stderr}"
    );
    let (code, ..) = machine.import(&["--force"]).await;
    assert_eq!(code, 2);
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_no_regular_file_is_never_replaced_and_a_link_leads_to_the_file_that_is() {
    let machine = Machine::new(&[(".cursor/mcp.json", ONE), ("shop/real.json", "mine")]);
    let shop = machine.path("shop");
    assert!(std::process::Command::new("mkfifo").arg(shop.join("pipe")).status().unwrap().success());
    std::os::unix::fs::symlink("pipe", shop.join("to-pipe")).unwrap();
    std::os::unix::fs::symlink("real.json", shop.join("link.json")).unwrap();
    for output in ["pipe", "to-pipe", "."] {
        let (code, _, stderr) = machine.import(&["--output", output, "--force"]).await;
        assert!(code == 2 && stderr.contains("no regular file"), "{output}: {stderr}");
    }
    assert!(!std::fs::metadata(shop.join("pipe")).unwrap().is_file());
    let (code, _, stderr) = machine.import(&["--output", "link.json", "--force"]).await;
    assert_eq!(code, 0, "{stderr}");
    assert!(std::fs::symlink_metadata(shop.join("link.json")).unwrap().is_symlink());
    assert!(std::fs::read_to_string(shop.join("real.json")).unwrap().contains("\"one\""));
    // As elsewhere, this is stdout.
    let (code, stdout, _) = machine.import(&["--output", "-"]).await;
    assert!(code == 0 && stdout.contains("\"one\""), "{stdout}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_its_owners_alone_whatever_the_one_before_was() {
    use std::os::unix::fs::PermissionsExt;
    let machine = Machine::new(&[(".cursor/mcp.json", ONE), ("shop/loose.json", "{}")]);
    std::fs::set_permissions(machine.path("shop/loose.json"), std::fs::Permissions::from_mode(0o666))
        .unwrap();
    for arguments in [vec!["--output", "new.json"], vec!["--output", "loose.json", "--force"]] {
        let (code, _, stderr) = machine.import(&arguments).await;
        assert!(code == 0 && stderr.contains("mode 0600"), "{stderr}");
        let mode = std::fs::metadata(machine.path("shop").join(arguments[1])).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{arguments:?}");
    }
    let left: Vec<_> = std::fs::read_dir(machine.path("shop")).unwrap().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[tokio::test]
async fn a_dry_run_says_what_is_found_and_writes_nothing() {
    let machine = Machine::new(&[(".cursor/mcp.json", ONE)]);
    let (code, stdout, stderr) = machine.import(&["--dry-run", "--output", "servers.json"]).await;
    assert_eq!((code, &*stdout), (0, ""));
    assert!(
        stderr.contains("mcp.json (cursor): taken: one\n") && stderr.contains("1 server; nothing is written")
    );
    assert!(!machine.path("shop/servers.json").exists());
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_that_leads_to_nothing_is_told_as_such_and_stays() {
    let machine = Machine::new(&[(".cursor/mcp.json", ONE)]);
    std::os::unix::fs::symlink("nothing.json", machine.path("shop/out.json")).unwrap();
    for arguments in [&["--output", "out.json"][..], &["--output", "out.json", "--force"]] {
        let (code, _, stderr) = machine.import(arguments).await;
        assert!(code == 2 && stderr.contains("a link to a file that is not there"), "{stderr}");
        assert!(machine.path("shop/out.json").is_symlink() && !machine.path("shop/nothing.json").exists());
    }
}

#[tokio::test]
async fn what_switches_off_a_server_from_elsewhere_is_told() {
    let machine = Machine::new(&[
        ("shop/.mcp.json", ONE),
        (".claude/settings.json", r#"{"disabledMcpjsonServers":["one"]}"#),
        (".gemini/settings.json", r#"{"mcp":{"excluded":["two"]},"mcpServers":{"two":{"command":"two"}}}"#),
    ]);
    let (_, _, stderr) = machine.import(&["--dry-run"]).await;
    for said in ["one (switched off by disabledMcpjsonServers)", "two (switched off by mcp.excluded)"] {
        assert!(stderr.contains(said), "{said}: {stderr}");
    }
}

#[tokio::test]
async fn secrets_are_told_where_some_may_be_copied_and_servers_that_are_off_by_their_names() {
    let cursor = |server: Value| (".cursor/mcp.json", json!({"mcpServers": {"a": server}}).to_string());
    let secrets = "taken: a\n1 server; secrets may be in it, as they stand in those files\n";
    let off = "[mcp_servers.off]\ncommand = \"c\"\nenabled = false\n";
    for ((file, text), told) in [
        (cursor(json!({"command": "a"})), "taken: a\n1 server\n"),
        (cursor(json!({"command": "a", "env": {"T": "${env:HOME}"}})), "taken: a\n1 server\n"),
        (cursor(json!({"command": "a", "env": {"T": "${env:HOME}s3cr3t"}})), secrets),
        (cursor(json!({"command": "a", "env": {"T": "s3cr3t"}})), secrets),
        (cursor(json!({"url": "https://h/mcp", "headers": {"A": "Bearer s3cr3t"}})), secrets),
        (
            (".codex/config.toml", off.to_owned()),
            "taken: off (switched off)\n1 server, 1 of them switched off\n",
        ),
    ] {
        let machine = Machine::new(&[(file, &text)]);
        let (code, _, stderr) = machine.import(&[]).await;
        assert!(code == 0 && stderr.ends_with(told), "{text}: {stderr}");
    }
}

#[tokio::test]
async fn files_that_cannot_be_read_cost_a_line_each_and_nothing_else() {
    let machine = Machine::new(&[
        (".kiro/settings/mcp.json", ONE),
        (".cursor/mcp.json", "{\"mcpServers\": {\"a\": \"s3cr3t"),
        (".codex/config.toml", "x = [s3cr3t"),
        (".gemini/settings.json/is-a-folder", ""),
        ("shop/.roo/mcp.json", "[]"),
    ]);
    machine.put(".codeium/windsurf/mcp_config.json", b"\xff\xfe");
    let large = std::fs::File::create(machine.path(".claude.json")).unwrap();
    large.set_len((16 << 20) + 1).unwrap();
    let (servers, told) = machine.imported().await;
    assert_eq!(names(&servers), ["one"]);
    for (file, says) in [
        (".cursor/mcp.json", "line 1"),
        ("config.toml", "no TOML"),
        (".gemini/settings.json", "no regular file"),
        (".roo/mcp.json", "no object"),
        ("mcp_config.json", "UTF-8"),
        (".claude.json", "larger than 16777216 bytes"),
    ] {
        let lines = lines_of(&told, file);
        assert!(lines.len() == 1 && lines[0].contains("passed over: ") && lines[0].contains(says), "{told}");
    }
    assert!(!told.contains("s3cr3t") && told.lines().count() == 8, "{told}");
}

#[cfg(unix)]
#[tokio::test]
async fn links_to_elsewhere_and_pipes_are_passed_over_and_links_within_the_home_are_not() {
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("mcp.json"), ONE).unwrap();
    let machine = Machine::new(&[
        ("dotfiles/kiro.json", r#"{"mcpServers":{"linked":{"command":"c"}}}"#),
        ("outside-of-shop.json", ONE),
    ]);
    let link = |target: &Path, name: &str| {
        let path = machine.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    };
    link(&machine.path("dotfiles/kiro.json"), ".kiro/settings/mcp.json");
    link(&elsewhere.path().join("mcp.json"), ".cursor/mcp.json");
    link(elsewhere.path(), "shop/.roo");
    link(&machine.path("outside-of-shop.json"), "shop/.mcp.json");
    link(Path::new("/dev/zero"), ".claude.json");
    link(Path::new("nowhere"), ".gemini/settings.json");
    std::fs::create_dir_all(machine.path(".codex")).unwrap();
    let pipe = machine.path(".codex/config.toml");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let (servers, told) = machine.imported().await;
    assert_eq!(names(&servers), ["linked"], "{told}");
    for (file, says) in [
        (".cursor/mcp.json", "a link that leads out of"),
        (".roo/mcp.json", "a link that leads out of"),
        ("shop/.mcp.json", "a link that leads out of"),
        (".claude.json", "a link that leads out of"),
        (".gemini/settings.json", "No such file"),
        ("config.toml", "no regular file"),
    ] {
        let lines = lines_of(&told, file);
        assert!(lines.len() == 1 && lines[0].contains(says), "{file}: {told}");
    }
}

#[tokio::test]
async fn entries_that_start_this_program_are_left_out() {
    let own = super::common::program_path("mcp-troupe");
    let servers = json!({"mcpServers": {
        "by-path": {"command": own}, "by-name": {"command": "mcp-troupe", "args": ["serve"]},
        "by-npx": {"command": "npx", "args": ["-y", "mcp-troupe"]}, "other": {"command": "other"},
    }});
    let machine = Machine::new(&[(".cursor/mcp.json", &servers.to_string())]);
    let (servers, told) = machine.imported().await;
    assert_eq!(names(&servers), ["other"]);
    assert_eq!(lines_of(&told, "left out: it starts this program itself").len(), 3, "{told}");
}

#[tokio::test]
async fn what_claude_code_switches_off_in_a_project_stays_so() {
    let machine = Machine::new(&[
        (
            "shop/.mcp.json",
            r#"{"mcpServers":{"a":{"command":"a"},"b":{"command":"b"},"c":{"command":"c"},"d":{"command":"d"}}}"#,
        ),
        ("shop/.claude/settings.local.json", r#"{"disabledMcpjsonServers":["b"]}"#),
        ("shop/.claude/settings.json", "s3cr3t"),
        (".cursor/mcp.json", r#"{"mcpServers":{"a":{"command":"a"}}}"#),
    ]);
    let project = std::fs::canonicalize(machine.path("shop")).unwrap();
    let off = json!({"disabledMcpjsonServers": ["c"], "disabledMcpServers": ["d"]});
    machine.put(".claude.json", json!({"projects": {project.to_str().unwrap(): off}}).to_string());
    let (servers, told) = machine.imported().await;
    let disabled = |name: &str| servers[name].get("disabled") == Some(&json!(true));
    assert_eq!(["a", "b", "c", "d"].map(disabled), [false, true, true, true], "{servers}");
    assert!(lines_of(&told, "settings.local.json").is_empty(), "{told}");
    assert!(lines_of(&told, ".claude/settings.json").len() == 1 && !told.contains("s3cr3t"), "{told}");
}

#[tokio::test]
async fn a_users_own_server_that_claude_code_switches_off_in_this_project_stays_so() {
    let machine = Machine::new(&[]);
    let project = std::fs::canonicalize(machine.path("shop")).unwrap();
    let settings = json!({
        "mcpServers": {"a": {"command": "a"}, "b": {"command": "b"}, "c": {"command": "c"}},
        "projects": {
            project.to_str().unwrap(): {"disabledMcpServers": ["a"], "disabledMcpjsonServers": ["c"]},
            "/elsewhere": {"disabledMcpServers": ["b"]},
        },
    });
    machine.put(".claude.json", settings.to_string());
    let (servers, told) = machine.imported().await;
    let expected =
        json!({"a": {"command": "a", "disabled": true}, "b": {"command": "b"}, "c": {"command": "c"}});
    assert_eq!(servers, expected, "{told}");
    assert!(told.contains("3 servers, 1 of them switched off"), "{told}");
}

#[tokio::test]
async fn a_project_whose_servers_are_wrong_is_told_by_its_path_and_costs_no_other() {
    let long = format!("/projects/{}", "a-long-name/".repeat(8));
    let settings = json!({
        "mcpServers": {"own": {"command": "own"}},
        "projects": {
            long.as_str(): {"mcpServers": "s3cr3t"}, "/blog": {"mcpServers": []},
            "/shop": {"mcpServers": {"of-shop": {"command": "s"}}},
        },
    });
    let machine = Machine::new(&[(".claude.json", &settings.to_string())]);
    let (servers, told) = machine.imported().await;
    assert_eq!(servers, json!({"own": {"command": "own"}, "of-shop": {"command": "s"}}), "{told}");
    assert!(told.contains(".claude.json (claude-code): taken: own, of-shop\n"), "{told}");
    for project in ["/blog", long.as_str()] {
        let line = format!("  {project}: passed over: its mcpServers is no object\n");
        assert!(told.contains(&line), "{told}");
    }
    assert!(!told.contains("s3cr3t"), "{told}");
}

#[tokio::test]
async fn of_very_many_projects_that_are_wrong_the_first_are_told() {
    let wrong = |n: u32| (format!("/project-{n:02}"), json!({"mcpServers": []}));
    let projects: serde_json::Map<String, Value> = (0..25).map(wrong).collect();
    let settings = json!({"mcpServers": {"own": {"command": "own"}}, "projects": projects});
    let machine = Machine::new(&[(".claude.json", &settings.to_string())]);
    let (_, told) = machine.imported().await;
    assert_eq!(lines_of(&told, "/project-").len(), 20, "{told}");
    assert!(told.contains("  5 more: passed over\n"), "{told}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_of_the_shell_that_others_may_read_is_told_with_what_to_do() {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Stdio;
    let machine = Machine::new(&[(".cursor/mcp.json", ONE)]);
    let path = machine.path("shop/servers.json");
    for (mode, open) in [(0o644, true), (0o640, true), (0o604, true), (0o600, false)] {
        let file = std::fs::File::create(&path).unwrap();
        file.set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
        let import = machine.orchestrator().arg("import").stdout(file).stderr(Stdio::piped()).spawn();
        let (code, _, stderr) = told(import.unwrap().wait_with_output().await.unwrap());
        let last = stderr.lines().next_back().unwrap();
        assert_eq!((code, last.contains("run chmod 600 on it")), (0, open), "{mode:o}: {stderr}");
        assert!(std::fs::read_to_string(&path).unwrap().contains("\"one\""));
    }
    let (_, _, stderr) = machine.import(&[]).await;
    assert!(!stderr.contains("chmod"), "a pipe has no mode: {stderr}");
}

#[tokio::test]
async fn no_example_of_the_help_has_the_shell_make_the_file() {
    let machine = Machine::new(&[]);
    let (code, stdout, _) = machine.import(&["--help"]).await;
    let examples: Vec<&str> = stdout.lines().filter(|line| line.starts_with("  mcp-troupe ")).collect();
    assert!(code == 0 && examples.iter().all(|line| !line.contains('>')), "{stdout}");
    assert!(
        examples.contains(&"  mcp-troupe import --from cursor --from codex --output servers.json"),
        "{stdout}"
    );
}

#[tokio::test]
async fn only_the_clients_that_are_named_are_read() {
    let machine = Machine::new(&[
        (".cursor/mcp.json", ONE),
        (".kiro/settings/mcp.json", r#"{"mcpServers":{"two":{"command":"two"}}}"#),
    ]);
    let (code, stdout, stderr) = machine.import(&["--from", "kiro"]).await;
    assert!(code == 0 && stdout.contains("two") && !stdout.contains("one"), "{stdout}");
    assert!(!stderr.contains(".cursor"), "{stderr}");
}

#[tokio::test]
async fn another_project_than_the_folder_one_is_in_can_be_named() {
    let machine = Machine::new(&[
        ("shop/.mcp.json", ONE),
        ("blog/.mcp.json", r#"{"mcpServers":{"two":{"command":"python","args":["server.py"]}}}"#),
        ("blog/server.py", ""),
    ]);
    let (code, stdout, stderr) = machine.import(&["--project", "../blog"]).await;
    assert_eq!(code, 0, "{stderr}");
    let value: Value = serde_json::from_str(&stdout).unwrap();
    let blog = std::fs::canonicalize(machine.path("blog")).unwrap();
    let expected = json!({"two": {"command": "python", "args": ["server.py"], "cwd": blog}});
    assert_eq!(value["mcpServers"], expected);
}

#[tokio::test]
async fn where_nothing_is_found_nothing_is_written_and_the_exit_is_1() {
    let machine = Machine::new(&[(".cursor/mcp.json", r#"{"mcpServers":{}}"#)]);
    let (code, stdout, stderr) = machine.import(&["--output", "servers.json"]).await;
    assert_eq!((code, &*stdout), (1, ""));
    assert!(stderr.contains("(cursor): no servers") && stderr.contains("no server is found"), "{stderr}");
    assert!(stderr.contains("hint: the home folder ") && stderr.contains("--project FOLDER"), "{stderr}");
    assert!(!machine.path("shop/servers.json").exists());
    for (arguments, says) in [
        (["--project", "no-such-folder"], "no-such-folder: No such file"),
        (["--project", "../.cursor/mcp.json"], "it is no folder"),
        (["--output", "no-such-folder/servers.json"], "the folder that it is to be in is not there"),
    ] {
        let (code, _, stderr) = machine.import(&arguments).await;
        assert!(code == 2 && stderr.contains(says) && stderr.lines().count() == 1, "{stderr}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn servers_of_profiles_and_of_an_editor_on_another_machine_are_taken() {
    let one = |name: &str| format!(r#"{{"servers":{{"{name}":{{"command":"{name}"}}}}}}"#);
    let machine = Machine::new(&[
        (".config/Code/User/mcp.json", &one("own")),
        (".config/Code/User/profiles/-5f2a/mcp.json", &one("work")),
        (".config/Code/User/profiles/a-file", "no folder"),
        (".vscode-server/data/User/mcp.json", &one("remote")),
        (".vscode-server/data/User/profiles/x/mcp.json", &one("both")),
    ]);
    let (servers, told) = machine.imported().await;
    let mut names = names(&servers);
    names.sort_unstable();
    assert_eq!(names, ["both", "own", "remote", "work"], "{told}");
    assert_eq!(lines_of(&told, "profiles/-5f2a/mcp.json (vscode): taken: work").len(), 1, "{told}");
}
