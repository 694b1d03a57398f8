//! The command line as its users run it: a program with a configuration file.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/common/mod.rs"]
mod common;
#[path = "../src/load/percent.rs"]
mod percent;
#[path = "../src/waiting/words.rs"]
mod waiting;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use common::{child_path, program, servers_json};
use mcp_troupe::testkit::{Script, ScriptedBuilder, ScriptedServer, Step};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

fn orchestrator() -> Command {
    program("mcp-troupe")
}

/// A folder with a configuration file.
fn config(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("servers.json");
    std::fs::write(&file, servers_json(text)).unwrap();
    (folder, file)
}

async fn run(command: &str, config_text: &str, arguments: &[&str]) -> Output {
    let (_folder, file) = config(config_text);
    orchestrator().arg(command).arg("--config").arg(file).args(arguments).output().await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn echo() -> ScriptedServer {
    ScriptedServer::builder().tool("echo", Script::Echo).start().await
}

#[tokio::test]
async fn one_good_server_of_three_answers_though_one_is_refused_and_one_is_silent() {
    let (good, silent) = (echo().await, ScriptedServer::builder().black_hole().start().await);
    let mut refused = echo().await;
    refused.stop_listening().await;
    let servers = json!({"mcpServers": {
        "refused": {"url": refused.url()}, "silent": {"url": silent.url()}, "good": {"url": good.url()},
    }});
    let output = run("call", &servers.to_string(), &["echo", r#"{"n": 1.50}"#]).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains(r#""structuredContent":{"n": 1.50}"#), "{}", text(&output.stdout));
}

#[tokio::test]
async fn servers_that_a_source_names_are_called_and_a_mistake_in_a_source_names_its_key() {
    let (server, folder) = (echo().await, tempfile::tempdir().unwrap());
    let found = json!({"mcpServers": {"found": {"url": server.url()}}}).to_string();
    std::fs::write(folder.path().join("a.json"), found).unwrap();
    let config = json!({"mcpServers": {}, "discovery": [{"type": "file", "path": folder.path()}]});
    let output = run("call", &config.to_string(), &["echo", r#"{"n": 1.50}"#]).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains(r#""structuredContent":{"n": 1.50}"#), "{}", text(&output.stdout));
    let config = json!({"mcpServers": {}, "discovery": [{"type": "file", "pfad": "x"}]});
    let output = run("tools", &config.to_string(), &[]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("discovery[0].pfad: unknown key"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn tools_of_a_server_that_is_down_are_shown_from_the_last_run_as_not_confirmed() {
    let (mut server, folder) = (echo().await, tempfile::tempdir().unwrap());
    let config = json!({
        "mcpServers": {"s": {"url": server.url()}},
        "troupe": {"knownLists": folder.path().join("cache/known-lists.json")},
    })
    .to_string();
    let confirmed = |output: &Output| {
        let tools: Value = serde_json::from_slice(&output.stdout).unwrap();
        (tools[0]["name"].clone(), tools[0]["confirmed"].clone())
    };
    let output = run("tools", &config, &[]).await;
    assert_eq!(confirmed(&output), (json!("echo"), json!(true)));
    server.stop_listening().await;
    let output = run("tools", &config, &[]).await;
    assert_eq!(confirmed(&output), (json!("echo"), json!(false)));
    assert!(text(&output.stderr).contains("s is disconnected"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn a_setting_for_a_tool_that_nobody_offers_is_a_mistake() {
    let server = echo().await;
    let of = |tool: &str| {
        let rules = json!({tool: {"ttl": "5s"}});
        json!({"mcpServers": {"s": {"url": server.url()}}, "troupe": {"cache": {"tools": rules}}}).to_string()
    };
    let output = run("tools", &of("ehco"), &[]).await;
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    assert!(told.contains(r#"the tool "ehco", which no server offers, did you mean echo?"#), "{told}");
    assert_eq!(run("tools", &of("echo"), &[]).await.status.code(), Some(0));
    for (settings, mistake) in [
        (json!({"retry": {"idempotentTools": ["s/echo", "s__echo", "echo", "ehco"]}}), true),
        (json!({"retry": {"hedgedTools": ["t/echo"]}}), true),
        (json!({"toolTimeouts": {"s__ehco": "1s"}}), true),
        (json!({"retry": {"hedgedTools": ["s__echo"]}, "toolTimeouts": {"s/echo": "1s"}}), false),
        // What servers would offer that do not play is not known.
        (
            json!({"toolTimeouts": {"off/echo": "1s", "other": "1s", "off__x": "1s"}, "off": {"disabled": true}}),
            false,
        ),
        (
            json!({"toolTimeouts": {"off/echo": "1s", "other": "1s", "off__x": "1s"}, "off": {"weight": 0}}),
            false,
        ),
        (json!({"toolTimeouts": {"s/other": "1s", "other": "1s"}, "off": {"disabled": true}}), true),
    ] {
        let mut settings = settings;
        let mut servers = json!({"mcpServers": {"s": {"url": server.url()}}});
        if let Some(mut off) = settings.as_object_mut().unwrap().remove("off") {
            off["command"] = json!("true");
            servers["mcpServers"]["off"] = off;
        }
        servers["troupe"] = settings;
        let output = run("tools", &servers.to_string(), &[]).await;
        let told = text(&output.stderr);
        assert_eq!(told.matches("which no server offers").count(), usize::from(mistake), "{told}");
        assert_eq!(output.status.code(), Some(if mistake { 2 } else { 0 }), "{told}");
    }
    let output = run("check", &of("s/e cho"), &[]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("troupe.cache.tools.s/e cho"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn servers_that_are_child_processes_are_started_called_and_ended() {
    let child = child_path();
    let servers = json!({"mcpServers": {
        "absent": {"command": "no-such-server"},
        "broken": {"command": child, "args": ["--fail", "7"]},
        "good": {"command": child, "args": ["--banner", "2"]},
    }});
    let output = run("call", &servers.to_string(), &["echo", "{\n\"n\":\n1.50}"]).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains(r#""structuredContent":{ "n": 1.50}"#), "{}", text(&output.stdout));
    let output = run("call", &servers.to_string(), &["nothing"]).await;
    let told: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&told["error"], &told["retryable"]), (&json!("unavailable"), &json!(true)));
    let reasons = told["servers"].to_string();
    assert!(reasons.contains("cannot start no-such-server: No such file"), "{reasons}");
    assert!(
        reasons.contains(r#"exited with code 7; its stderr ends with \"no such table: users\""#),
        "{reasons}"
    );
}

#[tokio::test]
async fn an_error_is_one_line_of_json_and_exit_1() {
    let server = echo().await;
    let servers = json!({"mcpServers": {"s": {"url": server.url()}}}).to_string();
    for (arguments, error) in
        [(vec!["ecko"], "unknown-tool"), (vec!["echo", "{}", "--server", "other"], "no-match")]
    {
        let output = run("call", &servers, &arguments).await;
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()), "{arguments:?}");
        let told: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(told["error"], error, "{arguments:?}");
    }
}

#[tokio::test]
async fn arguments_that_are_none_are_exit_2_with_a_hint_before_anything_starts() {
    let server = echo().await;
    let servers = json!({"mcpServers": {"s": {"url": server.url()}}}).to_string();
    for (arguments, what, hint) in [
        (vec!["[1]"], "no JSON object", r#"'{"message":"hi"}'"#),
        (
            vec!["{message:hi}"],
            r#"line 1, column 2: a key in "double quotes" is expected"#,
            r#"'{"message":"hi"}'"#,
        ),
        (vec![r#"{"a":}"#], "line 1, column 6: a value is expected", r#"'{"message":"hi"}'"#),
        (vec![r#"{"a":"b""#], "a bracket or a quote is not closed", r#"'{"message":"hi"}'"#),
        (vec!["{message:", "hi}"], "several are given", r#"'{"message":"hi"}'"#),
        (vec!["hi"], "neither JSON nor key=value", "message=hi"),
        (vec!["=hi"], "neither JSON nor key=value", "message=hi"),
        (vec!["a=1", "a=2"], "a is given twice", r#"a='["a","b"]'"#),
        (vec!["@no-such-file"], "no-such-file: No such file", "@FILE"),
    ] {
        for command in ["call", "load"] {
            let output = run(command, &servers, &[vec!["echo"], arguments.clone()].concat()).await;
            assert_eq!(
                (output.status.code(), text(&output.stdout)),
                (Some(2), String::new()),
                "{arguments:?}"
            );
            let told: Value = serde_json::from_slice(&output.stderr).unwrap();
            assert_eq!(told["error"], "invalid-arguments");
            assert!(told["message"].as_str().unwrap().contains(what), "{told}");
            assert!(told["hint"].as_str().unwrap().contains(hint), "{told}");
        }
    }
    assert_eq!(server.observed().accepted, 0);
}

#[tokio::test]
async fn arguments_are_json_or_pairs_or_a_file_or_stdin() {
    let server = echo().await;
    let (folder, file) = config(&json!({"mcpServers": {"s": {"url": server.url()}}}).to_string());
    let arguments = folder.path().join("arguments.json");
    std::fs::write(&arguments, r#"{"n": 1.50}"#).unwrap();
    let from_file = format!("@{}", arguments.display());
    for (given, sent) in [
        (vec![], "{}"),
        (vec![r#"{"n": 1.50}"#], r#"{"n": 1.50}"#),
        (vec!["n=1.50", "who=me and you", "on=true"], r#"{"n":1.50,"who":"me and you","on":true}"#),
        (
            vec![r#"n="1""#, "list=[1, 2]", "url=http://h/?a=b"],
            r#"{"n":"1","list":[1, 2],"url":"http://h/?a=b"}"#,
        ),
        (vec!["none=", "id=007"], r#"{"none":"","id":"007"}"#),
        (vec![&*from_file], r#"{"n": 1.50}"#),
        (vec!["-"], r#"{"n": 2.50}"#),
    ] {
        let mut call = orchestrator();
        let mut call = call.args(["call", "--config"]).arg(&file).arg("echo").args(&given);
        call = call.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut call = call.spawn().unwrap();
        // One that reads no stdin may have ended.
        let _ = call.stdin.take().unwrap().write_all(br#"{"n": 2.50}"#).await;
        let output = call.wait_with_output().await.unwrap();
        let echoed = format!(r#""structuredContent":{sent}"#);
        assert!(
            text(&output.stdout).contains(&echoed),
            "{given:?}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
    }
}

#[tokio::test]
async fn a_tools_own_error_is_printed_and_is_exit_3_unless_it_is_allowed() {
    let server =
        ScriptedServer::builder().tool("fail", Script::ToolError("no such user".into())).start().await;
    let servers = json!({"mcpServers": {"s": {"url": server.url()}}}).to_string();
    for (arguments, code) in [(vec!["fail"], 3), (vec!["fail", "--allow-tool-error"], 0)] {
        let output = run("call", &servers, &arguments).await;
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(code), String::new()));
        assert!(text(&output.stdout).contains("no such user"), "{}", text(&output.stdout));
    }
    let output = run("load", &servers, &["fail", "--calls", "3", "--json"]).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["errors"]), (Some(1), &json!({"tool-error": 3})), "{report}");
}

#[tokio::test]
async fn a_load_without_a_success_is_exit_1() {
    let server = echo().await;
    let servers = json!({"mcpServers": {"s": {"url": server.url()}}}).to_string();
    let output = run("load", &servers, &["ecko", "--calls", "20", "--json"]).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), &report["errors"]),
        (Some(1), &json!({"unknown-tool": 20})),
        "{report}"
    );
    // Nor does one begin to call where no server is there.
    let output = run("load", r#"{"mcpServers":{"gone":{"url":"ws://127.0.0.1:1"}}}"#, &["echo"]).await;
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
    let told = text(&output.stderr);
    assert!(
        told.starts_with("gone is ") && told.ends_with("\nno call is made: no server is ready\n"),
        "{told}"
    );
}

#[tokio::test]
async fn a_load_of_a_tool_that_nobody_offers_ends_at_once_and_says_why() {
    let server = echo().await;
    let servers = json!({"mcpServers": {"s": {"url": server.url()}}}).to_string();
    // Longer than any test runs.
    let arguments = ["ecko", "--duration", "1h", "--concurrency", "4"];
    let output = run("load", &servers, &arguments).await;
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("4 calls: 0 ok, 4 failed, 0 lost"), "{told}");
    assert!(
        told.ends_with("error unknown-tool: 4, the first: ecko: unknown tool, did you mean echo?\n"),
        "{told}"
    );
    let output = run("load", &servers, &[&arguments[..], &["--json"]].concat()).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let first = report["first_errors"]["unknown-tool"].as_str().unwrap();
    assert!(
        first.contains("did you mean echo? (request ") && report["errors"]["unknown-tool"] == 4,
        "{report}"
    );
    // No server has seen them: they are no measure of one.
    assert_eq!((&report["latency_us"], &report["calls_per_s"]), (&Value::Null, &json!(0.0)), "{report}");
}

#[tokio::test]
async fn a_time_without_a_unit_or_of_nothing_is_refused_with_what_to_write() {
    for (arguments, told) in [
        (["call", "echo", "--timeout", "5"], "write a number with its unit, such as 300ms, 5s or 2m"),
        (["call", "echo", "--timeout", "0s"], "write a time that is longer than 0s"),
        (["call", "echo", "--idle-timeout", "soon"], "write a number with its unit"),
        (["load", "echo", "--duration", "0s"], "write a time that is longer than 0s"),
    ] {
        let output = orchestrator().args(arguments).output().await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(told), "{}", text(&output.stderr));
    }
}

#[tokio::test]
async fn a_load_says_what_a_tool_reports_as_its_own_error() {
    let server =
        ScriptedServer::builder().tool("full", Script::ToolError("disk\nis full".into())).start().await;
    let servers = json!({"mcpServers": {"s": {"url": server.url()}}}).to_string();
    let output = run("load", &servers, &["full", "--calls", "3"]).await;
    let told = text(&output.stdout);
    assert!(told.contains("error tool-error: 3, the first: disk is full"), "{told}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_load_that_is_interrupted_while_it_waits_says_for_whom_and_has_no_latencies() {
    let silent = ScriptedServer::builder().black_hole().start().await;
    let (_folder, file) = config(&json!({"mcpServers": {"s": {"url": silent.url()}}}).to_string());
    let mut load = orchestrator();
    let load = load.args(["load", "--config"]).arg(&file).args(["echo", "--json"]);
    let load = load.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    silent.wait_for(|seen| seen.accepted == 1).await;
    send(&load, rustix::process::Signal::INT);
    let output = load.wait_with_output().await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["calls"]), (Some(130), &json!(0)), "{report}");
    assert_eq!(report["latency_us"], Value::Null);
    assert!(text(&output.stderr).starts_with("s is connecting"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn a_load_waits_as_long_as_an_error_says_before_it_calls_again() {
    // One that is reached once, so that the load begins, and never again.
    let mut gone = echo().await;
    let good = ScriptedServer::builder().tool("other", Script::Echo).start().await;
    let folder = tempfile::tempdir().unwrap();
    let servers = json!({
        "mcpServers": {"gone": {"url": gone.url()}, "good": {"url": good.url()}},
        "troupe": {"knownLists": folder.path().join("lists.json")},
    })
    .to_string();
    assert!(run("tools", &servers, &[]).await.status.success());
    gone.stop_listening().await;
    let arguments = ["echo", "--duration", "3s", "--concurrency", "1", "--json"];
    let output = run("load", &servers, &arguments).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    // Each error says 100 ms at least, so that 3 s have room for some thirty; without a pause there are thousands.
    let calls = report["calls"].as_u64().unwrap();
    assert!(output.status.code() == Some(1) && (1..=31).contains(&calls), "{report}");
    assert!(report["first_errors"]["unavailable"].as_str().unwrap().contains("server gone is "), "{report}");
}

#[tokio::test]
async fn a_server_that_is_down_or_still_starting_is_no_matter_of_a_call_to_another() {
    let (good, silent) = (echo().await, ScriptedServer::builder().black_hole().start().await);
    let servers = json!({"mcpServers": {
        "good": {"url": good.url()}, "starting": {"url": silent.url()}, "absent": {"command": "no-such-server"},
        "refused": {"url": "ws://127.0.0.1:1"}, "exits": {"command": child_path(), "args": ["--fail", "7"]},
    }});
    let output = run("call", &servers.to_string(), &["echo", "n=1"]).await;
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    assert_eq!(text(&output.stdout).lines().count(), 1);
    // A tool that the server which is up does not have waits for no other one.
    let output = run("call", &servers.to_string(), &["good/ecko"]).await;
    let told: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&told["error"], &told["near"]), (&json!("unknown-tool"), &json!(["good/echo"])));
}

#[tokio::test]
async fn a_name_by_which_a_tool_is_chosen_and_that_none_has_is_told() {
    let server = echo().await;
    for (key, offered) in [("includeTools", 0), ("excludeTools", 1)] {
        let servers = json!({"mcpServers": {"s": {"url": server.url(), key: ["ecko"]}}}).to_string();
        let output = run("tools", &servers, &[]).await;
        let tools: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let told = text(&output.stderr);
        assert!(
            tools.len() == offered
                && told.contains(&format!(
                    "{key} of s names the tool ecko, which it does not have: did you mean echo?"
                )),
            "{key}: {told}"
        );
    }
}

#[tokio::test]
async fn what_a_server_says_steers_no_terminal() {
    let message = "\u{1b}[31mexploded\u{7}\nsecond".to_owned();
    let server = ScriptedServer::builder().tool("bad", Script::Error { code: -32000, message }).start().await;
    let servers = json!({"mcpServers": {"s": {"url": server.url()}}}).to_string();
    let call = run("call", &servers, &["bad"]).await;
    let load = run("load", &servers, &["bad", "--calls", "1"]).await;
    for told in [text(&call.stderr), text(&load.stdout)] {
        assert!(told.contains("exploded"), "{told}");
        assert!(!told.contains(|c: char| c.is_control() && c != '\n'), "{told:?}");
    }
}

#[tokio::test]
async fn a_name_that_is_none_is_told_with_those_that_there_are() {
    let server = echo().await;
    let servers = json!({
        "mcpServers": {"files": {"url": server.url(), "tags": ["eu", "fast"]}},
        "discovery": [{"type": "file", "path": "no-such-folder"}],
    })
    .to_string();
    for (arguments, hint) in [
        (&["echo", "--tag", "eu", "--tag", "us"][..], "no server has the tag us: there are eu, fast"),
        (&["nosuch/echo"], "there is no server or group nosuch: there are files"),
        (&["--server", "nosuch", "echo"], "there is no server or group nosuch: there are files"),
        (&["files/ecko"], "source file is failing"),
    ] {
        let output = run("call", &servers, arguments).await;
        let told: Value = serde_json::from_slice(&output.stderr).unwrap();
        let said = told["hint"].as_str().unwrap_or_default();
        assert!(said.contains(hint), "{arguments:?}: {told}");
    }
}

#[tokio::test]
async fn a_call_that_says_whom_it_means_starts_no_other_server() {
    let (server, other) = (echo().await, echo().await);
    let servers = json!({"mcpServers": {
        "a": {"url": server.url()},
        "b": {"url": other.url(), "group": "g"},
    }})
    .to_string();
    for arguments in [&["a/echo"][..], &["--server", "a", "echo"], &["--group", "a", "echo"]] {
        let output = run("call", &servers, arguments).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(other.observed().accepted, 0, "{arguments:?}");
    }
    // What names nobody may be anybody's.
    let output = run("call", &servers, &["echo"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("ambiguous"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn an_ambiguous_name_is_told_with_all_who_offer_it_however_many_have_listed_first() {
    let server = echo().await;
    let ids = ["a", "b", "c", "d"];
    let servers: serde_json::Map<String, Value> =
        ids.iter().map(|id| ((*id).to_owned(), json!({"url": server.url()}))).collect();
    let servers = json!({ "mcpServers": servers }).to_string();
    let output = run("call", &servers, &["echo"]).await;
    let told: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(told["error"], "ambiguous-tool", "{told}");
    let said = told.to_string();
    for id in ids {
        assert!(said.contains(&format!("{id}/echo")), "{told}");
    }
}

#[tokio::test]
async fn options_that_do_not_go_together_are_told_with_what_does() {
    let server = echo().await;
    let servers = json!({"mcpServers": {
        "r1": {"url": server.url(), "group": "rep", "tags": ["east"]},
        "a": {"url": server.url(), "tags": ["west"]},
    }});
    let none = json!({"mcpServers": {}});
    let off = json!({"mcpServers": {"a": {"command": "x", "disabled": true}}});
    for (servers, arguments, hint) in [
        (&servers, &["--server", "rep", "echo"][..], "rep is a group: write --group rep"),
        (&servers, &["--server", "r1", "a/echo"], "r1 is of the group rep, and a/echo is one of a"),
        (&servers, &["--group", "r1", "echo"], "r1 is a server: write --server r1"),
        (&servers, &["--group", "rep", "a/echo"], "--group says rep, and a/echo is one of a"),
        (&servers, &["--group", "a", "--server", "r1", "echo"], "r1 is of the group rep, not of a"),
        (
            &servers,
            &["--tag", "east", "--tag", "west", "echo"],
            "no server has all of these tags: east, west",
        ),
        (&none, &["echo"], "the configuration names no server"),
        (&off, &["echo"], "the one server of the configuration is switched off"),
    ] {
        let output = run("call", &servers.to_string(), arguments).await;
        let told: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(told["hint"], hint, "{arguments:?}: {told}");
        let nobody = arguments.len() == 1;
        let kind = if nobody { "unknown-tool" } else { "no-match" };
        assert_eq!(told["error"], kind, "{arguments:?}: {told}");
    }
}

#[tokio::test]
async fn a_server_whose_id_another_one_has_is_told_by_its_name() {
    let server = echo().await;
    let servers =
        json!({"mcpServers": {"my echo": {"command": "true"}, "my-echo": {"url": server.url()}}}).to_string();
    let output = run("call", &servers, &["my echo/echo"]).await;
    let told: Value = serde_json::from_slice(&output.stderr).unwrap();
    let reason = told["left_out"]["my echo"].as_str().unwrap_or_default();
    assert!(reason.contains("becomes the id my-echo, as another name does"), "{told}");
    assert!(told["hint"].as_str().unwrap_or_default().contains("my echo is left out"), "{told}");
    let output = run("call", &servers, &["nope"]).await;
    let told: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(told["left_out"].as_object().map(|left_out| left_out.len()), Some(1), "{told}");
    // The mistake of another one is not its own.
    let both = json!({"mcpServers": {"my echo": {"command": "true"}, "my-echo": {"comand": "x"}, "s": {"url": server.url()}}});
    let both = both.to_string();
    let output = run("call", &both, &["my-echo/echo"]).await;
    assert!(text(&output.stderr).contains("comand"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn the_error_of_a_call_is_the_last_line_also_below_a_log() {
    let server = echo().await;
    let (_folder, file) = config(&json!({"mcpServers": {"s": {"url": server.url()}}}).to_string());
    let mut call = orchestrator();
    let call = call.env("RUST_LOG", "info").args(["call", "--config"]).arg(&file).arg("ecko");
    let told = text(&call.output().await.unwrap().stderr);
    assert!(told.contains("shutdown completed"), "{told}");
    let last: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!(last["error"], "unknown-tool");
}

#[tokio::test]
async fn a_tool_that_the_configuration_switches_off_is_told_with_the_key_that_does() {
    let server = ScriptedServer::builder()
        .tool("echo", Script::Echo)
        .tool("crash", Script::Echo)
        .tool("sleep", Script::Echo)
        .start()
        .await;
    let servers = json!({"mcpServers": {
        "calc": {"url": server.url(), "disabledTools": ["crash"]},
        "few": {"url": server.url(), "includeTools": "echo"},
        "all": {"url": server.url(), "group": "many", "tools": ["*"], "excludeTools": "sleep"},
    }})
    .to_string();
    for (arguments, hint) in [
        (&["calc/crash"][..], Some("crash is switched off in the configuration (disabledTools of calc)")),
        (&["crash", "--server", "calc"], Some("crash is switched off in the configuration")),
        (
            &["few/crash"],
            Some("few offers only the tools that the configuration names (includeTools of few)"),
        ),
        (&["many/sleep"], Some("sleep is switched off in the configuration (excludeTools of all)")),
        (&["many/nosuch"], None),
        (&["nosuch"], None),
    ] {
        let output = run("call", &servers, arguments).await;
        let told: Value = serde_json::from_slice(&output.stderr).unwrap();
        let said = told["hint"].as_str();
        let is_right = hint.map_or(said.is_none(), |hint| said.is_some_and(|said| said.starts_with(hint)));
        assert!(is_right, "{arguments:?}: {told}");
    }
}

/// A server that answers each HTTP request with these bytes and ends the connection. Returns its address.
async fn answering(bytes: &'static [u8]) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = socket.read(&mut request).await;
                let _ = socket.write_all(bytes).await;
                let _ = socket.shutdown().await;
                // What is not read would reset the connection.
                while socket.read(&mut request).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
    address.to_string()
}

#[tokio::test]
async fn an_address_that_may_be_wrong_is_told_with_what_to_look_at() {
    for (answer, hint) in [
        (
            &b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"[..],
            "is the path in the url of s right? Often it ends in /mcp",
        ),
        (b"", "is s a WebSocket server? Then its url begins with ws:// or wss://"),
        (
            b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "give s a token that it takes, by its bearer or headers; this program logs in nowhere (OAuth)",
        ),
    ] {
        let url = format!("http://{}/", answering(answer).await);
        let servers = json!({"mcpServers": {"s": {"url": url}}}).to_string();
        let tools = text(&run("tools", &servers, &[]).await.stderr);
        assert!(tools.contains(&format!("  hint: {hint}\n")), "{tools}");
        let call = run("call", &servers, &["s/echo"]).await;
        let told: Value = serde_json::from_slice(&call.stderr).unwrap();
        assert_eq!(told["hint"], hint, "{told}");
    }
}

#[tokio::test]
async fn the_catalogue_of_those_that_are_there_is_no_failure_unless_that_is_asked_for() {
    let good = echo().await;
    let servers = json!({"mcpServers": {
        "good": {"url": good.url()}, "refused": {"url": "ws://127.0.0.1:1"}, "absent": {"command": "no-such-server"},
    }});
    for (arguments, code) in [(vec![], 0), (vec!["--strict"], 1)] {
        let output = run("tools", &servers.to_string(), &arguments).await;
        let (told, tools) = (text(&output.stderr), serde_json::from_slice::<Value>(&output.stdout).unwrap());
        assert_eq!((output.status.code(), &tools[0]["name"]), (Some(code), &json!("echo")), "{told}");
        // A line each, without colours.
        let lines: Vec<&str> = told.lines().filter(|line| !line.contains("WARN")).collect();
        assert_eq!((lines.len(), lines[2].trim_start().starts_with("hint: ")), (3, true), "{told}");
        assert!(
            lines[0].starts_with("absent is ") && lines[0].contains("cannot start no-such-server"),
            "{told}"
        );
        assert!(lines[1].starts_with("refused is ") && !told.contains('\u{1b}'), "{told}");
    }
}

#[tokio::test]
async fn logs_are_lines_for_people_and_have_no_colours_off_a_terminal() {
    let (_folder, file) = config(r#"{"mcpServers":{"gone":{"url":"ws://127.0.0.1:1"}}}"#);
    let mut tools = orchestrator();
    let tools = tools.args(["tools", "--config"]).arg(&file).env("RUST_LOG", "info");
    let told = text(&tools.output().await.unwrap().stderr);
    assert!(told.contains("mcp_troupe::events: gone: connecting → disconnected: "), "{told}");
    for unwanted in ["\u{1b}", "Actor{", "ServerStatusChanged", "Some("] {
        assert!(!told.contains(unwanted), "{unwanted}: {told}");
    }
    // A call says nothing but its own error, unless it is asked.
    let mut call = orchestrator();
    let call = call.args(["call", "--config"]).arg(&file).arg("echo");
    let told = text(&call.output().await.unwrap().stderr);
    assert_eq!(told.lines().count(), 1, "{told}");
    let told = text(&call.env("RUST_LOG", "info").output().await.unwrap().stderr);
    assert!(told.lines().count() > 1, "{told}");
}

#[test]
fn who_waits_is_told_for_whom_in_one_line_of_the_terminal() {
    let words =
        |starting: &[(&str, Option<&str>)], width| waiting::words(starting, Duration::from_secs(4), width);
    assert_eq!(words(&[("git", None)], 80), "4s · git is starting");
    let two = [("npx", Some("added 12 packages")), ("git", None)];
    assert_eq!(words(&two[..1], 80), "4s · npx: added 12 packages");
    // No name is cut off by what another one does.
    assert_eq!(words(&two, 80), "4s · 2 are starting: npx, git");
    assert_eq!(words(&[], 80), "4s · waiting for the answer");
    let of_call = |known, starting: &[(&str, Option<&str>)]| {
        waiting::words_of_call("ecko", known, starting, Duration::from_secs(4), 80)
    };
    assert_eq!(of_call(false, &two), "4s · ecko is not known yet and waits for 2 servers: npx, git");
    assert_eq!(of_call(false, &two[1..]), "4s · ecko is not known yet and waits for git");
    assert_eq!(of_call(true, &two[..1]), "4s · ecko waits for npx: added 12 packages");
    assert_eq!(of_call(true, &[]), "4s · waiting for the answer");
    let others = |starting: &[(&str, Option<&str>)]| {
        waiting::words_of_others("ecko", starting, Duration::from_secs(1), 80)
    };
    assert_eq!(others(&two), "1s · npx, git may have ecko too, and are starting");
    assert_eq!(others(&two[1..]), "1s · git may have ecko too, and is starting");
    let steering = [("npx", Some("\u{1b}[2J\nwide 端"))];
    for width in 1..60 {
        let line = words(&steering, width);
        assert!(ratatui::text::Line::raw(&*line).width() < width, "{width}: {line:?}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}

#[tokio::test]
async fn where_there_is_no_configuration_it_is_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for command in [vec!["tools"], vec!["load", "echo"], vec!["check"], vec!["watch", "--once"]] {
        let output = orchestrator().args(&command).current_dir(folder.path()).output().await.unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        for part in ["servers.json: there is no such file", "--config FILE", r#"{"mcpServers": {"#, "schema"]
        {
            assert!(told.contains(part), "{command:?}: {told}");
        }
        let smallest = told.lines().find(|line| line.trim_start().starts_with('{')).unwrap();
        mcp_troupe::ConfigFile::parse(smallest).unwrap();
    }
    let output = orchestrator().args(["call", "echo"]).current_dir(folder.path()).output().await.unwrap();
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), &error["error"], &error["message"]),
        (Some(2), &json!("invalid-configuration"), &json!("servers.json: there is no such file"))
    );
    assert!(error["hint"].as_str().unwrap().contains("mcp-troupe import"), "{error}");
}

#[tokio::test]
async fn programs_have_one_line_of_json_where_the_configuration_of_a_call_is_wrong() {
    let server = echo().await;
    let good = json!({"url": server.url()});
    for (servers, message) in [
        ("{".to_owned(), "servers.json:1:1: error: is no JSON"),
        (r#"{"mcpServers":{},"troupe":{"colour":1}}"#.to_owned(), ":1:28: error: troupe.colour: unknown key"),
        (
            json!({"mcpServers": {"a": good}, "troupe": {"strategy": "fastest"}}).to_string(),
            ": no strategy is called",
        ),
        (json!({"mcpServers": {"a": {"comand": "x"}, "b": {"url": 7}}}).to_string(), ": no server is left: "),
        (
            json!({"mcpServers": {"a": {"comand": "x"}}}).to_string(),
            ": error: mcpServers.a.comand: unknown key",
        ),
    ] {
        let (folder, _file) = config(&servers);
        let mut call = orchestrator();
        let output = call.args(["call", "echo"]).current_dir(folder.path()).output().await.unwrap();
        let told = text(&output.stderr);
        assert_eq!((output.status.code(), told.lines().count()), (Some(2), 1), "{servers}: {told}");
        let error: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(error["error"], "invalid-configuration");
        assert!(error["message"].as_str().unwrap().contains(message), "{servers}: {error}");
    }
}

#[tokio::test]
async fn who_writes_the_arguments_of_a_tool_as_options_is_told_how() {
    for (arguments, hinted, advised) in [
        (&["call", "add", "--a", "1"][..], true, None),
        (&["load", "add", "--a=1"], true, None),
        (&["--current-thread", "call", "add", "--nothing-like-it"], true, None),
        (&["call", "add", "--timout", "5s"], true, Some("--timeout")),
        (&["call", "add", "--timeout", "x"], false, None),
        (&["call", "add", "--timeout", "-1s"], false, None),
        (&["tools", "--a"], false, None),
    ] {
        let output = orchestrator().args(arguments).output().await.unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        let hint = "hint: the arguments of a tool are no options: write a=1";
        assert_eq!(stderr.contains(hint), hinted, "{arguments:?}: {stderr}");
        assert!(advised.is_none_or(|advised| stderr.contains(advised)), "{arguments:?}: {stderr}");
        assert!(!hinted || !stderr.contains("--affinity"), "{arguments:?}: {stderr}");
    }
}

/// Runs a command with this on its stdin.
async fn fed(arguments: &[&str], given: &str) -> Output {
    let mut command = orchestrator();
    let command = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(given.as_bytes()).await.unwrap();
    child.wait_with_output().await.unwrap()
}

#[tokio::test]
async fn a_configuration_comes_through_a_pipe_too() {
    let server = echo().await;
    let servers = json!({"mcpServers": {"s": {"url": server.url()}, "typo": {"comand": "x"}}}).to_string();
    for stdin in ["-", "/dev/stdin"] {
        if cfg!(not(unix)) && stdin != "-" {
            continue;
        }
        let output = fed(&["call", "--config", stdin, "echo", "n=1"], &servers).await;
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
        let output = fed(&["tools", "--config", stdin], &servers).await;
        let told = text(&output.stderr);
        assert!(output.status.success() && told.contains("stdin:1:"), "{told}");
        let output = fed(&["check", stdin], &servers).await;
        assert_eq!(text(&output.stdout), "2 servers: 1 plays, 1 left out, 1 mistake\n");
        // It cannot be read twice, nor again.
        let output = fed(&["call", "--config", stdin, "echo", "-"], &servers).await;
        assert_eq!(output.status.code(), Some(2));
        assert!(
            text(&output.stderr).contains("stdin is the configuration already"),
            "{}",
            text(&output.stderr)
        );
        let output = fed(&["load", "--config", stdin, "echo", "--reload"], &servers).await;
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("--reload"), "{}", text(&output.stderr));
        for broken in ["", "{"] {
            let output = fed(&["tools", "--config", stdin], broken).await;
            assert_eq!(output.status.code(), Some(2));
            assert!(text(&output.stderr).contains("error: "), "{}", text(&output.stderr));
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_pipe_that_nobody_writes_is_waited_for_until_somebody_interrupts() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("servers.json");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut tools = orchestrator();
    let tools = tools.args(["tools", "--config"]).arg(&pipe).stdout(Stdio::piped()).stderr(Stdio::piped());
    let tools = tools.spawn().unwrap();
    // It is there when somebody reads it: a writer waits for that.
    let writer =
        tokio::task::spawn_blocking(move || std::fs::File::options().write(true).open(pipe).unwrap());
    let writer = writer.await.unwrap();
    send(&tools, rustix::process::Signal::INT);
    let output = tools.wait_with_output().await.unwrap();
    drop(writer);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(130), String::new()));
}

#[tokio::test]
async fn each_command_has_examples_in_its_help() {
    for command in ["tools", "pin", "check", "import", "schema", "call", "load", "watch", "announce"] {
        let output = orchestrator().args([command, "--help"]).output().await.unwrap();
        assert!(
            text(&output.stdout).contains(&format!("  mcp-troupe {command}")),
            "{}",
            text(&output.stdout)
        );
    }
}

#[tokio::test]
async fn only_commands_that_wait_for_servers_take_how_long() {
    for (command, waits) in [
        ("tools", true),
        ("pin", true),
        ("load", true),
        ("watch", true),
        ("check", false),
        ("call", false),
        ("announce", false),
    ] {
        let output = orchestrator().args([command, "--help"]).output().await.unwrap();
        assert_eq!(text(&output.stdout).contains("--wait <"), waits, "{command}");
    }
}

#[cfg(unix)]
fn send(child: &tokio::process::Child, signal: rustix::process::Signal) {
    let process = rustix::process::Pid::from_raw(child.id().unwrap() as i32).unwrap();
    rustix::process::kill_process(process, signal).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn an_interrupted_call_is_cancelled_at_its_server() {
    use rustix::process::Signal;

    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let server = echo().await;
        server.set_script("echo", Script::Hold);
        let (_folder, file) = config(&json!({"mcpServers": {"s": {"url": server.url()}}}).to_string());
        let mut call = orchestrator();
        let call = call.args(["call", "--config"]).arg(&file).args(["echo", "n=1"]);
        let call = call.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        server.wait_for(|seen| seen.calls.get("echo") == Some(&1)).await;
        send(&call, signal);
        server.wait_for(|seen| seen.cancelled.len() == 1).await;
        let output = call.wait_with_output().await.unwrap();
        assert_eq!(
            (output.status.code(), text(&output.stdout), text(&output.stderr)),
            (Some(code), String::new(), String::new())
        );
    }
}

#[cfg(unix)]
#[tokio::test]
async fn an_interrupted_load_prints_its_account_so_far() {
    let server = echo().await;
    server.set_script("echo", Script::Hold);
    let (_folder, file) = config(&json!({"mcpServers": {"s": {"url": server.url()}}}).to_string());
    let mut load = orchestrator();
    let load = load.args(["load", "--config"]).arg(&file);
    let load = load.args(["echo", "--concurrency", "8", "--duration", "1h", "--json"]);
    let load = load.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    server.wait_for(|seen| seen.calls.get("echo") == Some(&8)).await;
    server.release();
    server.wait_for(|seen| seen.calls.get("echo") == Some(&16)).await;
    send(&load, rustix::process::Signal::INT);
    server.wait_for(|seen| seen.cancelled.len() == 8).await;
    let output = load.wait_with_output().await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let figures = ["calls", "ok", "cancelled", "lost"].map(|key| report[key].as_u64().unwrap());
    assert_eq!((output.status.code(), figures), (Some(130), [16, 8, 8, 0]), "{report}");
}

#[cfg(unix)]
#[tokio::test]
async fn who_interrupts_twice_waits_for_nothing() {
    use rustix::process::{Pid, Signal, test_kill_process};

    // It tells its process id, and takes neither the end of its stdin nor SIGTERM for a reason to end.
    let stubborn = json!({"command": "sh", "args": ["-c", "trap '' TERM; echo pid $$ >&2; exec sleep 60"]});
    let (_folder, file) = config(&json!({"mcpServers": {"s": stubborn}}).to_string());
    let mut call = orchestrator();
    let call = call.args(["call", "--config"]).arg(&file).arg("echo").env("RUST_LOG", "info");
    let mut call = call.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = tokio::io::BufReader::new(call.stderr.take().unwrap()).lines();
    let child = loop {
        let line = told.next_line().await.unwrap().unwrap();
        if let Some((_, pid)) = line.split_once("pid ") {
            let pid = pid.split(' ').next().unwrap();
            break Pid::from_raw(pid.parse().unwrap()).unwrap();
        }
    };
    send(&call, Signal::INT);
    send(&call, Signal::TERM);
    assert!(matches!(call.wait().await.unwrap().code(), Some(130 | 143)));
    // Nobody gave it the seconds in which servers may end; it was killed, and whoever takes in orphans reaps it.
    while test_kill_process(child).is_ok_and(|()| !is_dead(child)) {
        tokio::task::yield_now().await;
    }
}

/// Whether a process has ended and waits to be reaped.
#[cfg(unix)]
fn is_dead(process: rustix::process::Pid) -> bool {
    let stat =
        std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

#[cfg(unix)]
#[tokio::test]
async fn a_closed_pipe_ends_every_command_quietly() {
    let server = echo().await;
    let (_folder, file) = config(&json!({"mcpServers": {"s": {"url": server.url()}}}).to_string());
    let file = file.to_str().unwrap();
    for arguments in [
        vec![],
        vec!["schema"],
        vec!["--help"],
        vec!["tools", "--config", file],
        vec!["pin", "--config", file],
        vec!["call", "--config", file, "echo"],
        vec!["load", "--config", file, "echo", "--calls", "2"],
        vec!["watch", "--config", file, "--once"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = orchestrator().args(&arguments).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let output = output.wait_with_output().await.unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{arguments:?}");
    }
    // The same of stderr.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let failed =
        orchestrator().args(["call", "--config", file, "ecko"]).stderr(writer).status().await.unwrap();
    assert_eq!(failed.code(), Some(1));
}

#[tokio::test]
async fn a_wrong_configuration_names_its_key_and_is_exit_2() {
    for (text_of_file, named) in [
        (r#"{"mcpServers":{"a":{"url":"ws://h","wieght":1}}}"#, "mcpServers.a.wieght"),
        (r#"{"mcpServers":{"a":{"args":["x"]}}}"#, "mcpServers.a.command"),
        (r#"{"mcpServers":{"a":{"url":"ws://u:p@h"}}}"#, "a.url"),
        (r#"{"mcpServers":{},"troupe":{"strategy":"fastest"}}"#, "peak-ewma"),
        (
            r#"{"mcpServers":{"a":{"url":"ws://h"},"a":{"url":"ws://h"}},"troupe":{"strict":true}}"#,
            "stands twice",
        ),
        ("{", "servers.json"),
    ] {
        let output = run("call", text_of_file, &["echo"]).await;
        assert_eq!(output.status.code(), Some(2), "{text_of_file}");
        assert!(text(&output.stderr).contains(named), "{text_of_file}: {}", text(&output.stderr));
    }
}

#[tokio::test]
async fn a_check_says_every_mistake_with_its_place() {
    let broken = "{\"mcpServers\":{\n\"a\":{\"url\":\"ws://u:p@h\"},\n\"b\":{\"command\":\"x\",\"url\":\"ws://h\"}},\n\"troupe\":{\"strategy\":\"fastest\",\"pool\":{\"min\":0}}}";
    let output = run("check", broken, &[]).await;
    let told = text(&output.stderr);
    let heads: Vec<&str> = told.lines().filter(|line| line.contains("servers.json:")).collect();
    assert_eq!((output.status.code(), heads.len()), (Some(2), 4), "{told}");
    let places = [
        ":2:12: error: mcpServers.a.url",
        ":3:26: error: mcpServers.b.url",
        ":4:22: error: troupe.strategy",
        ":4:46: error: troupe.pool.min",
    ];
    for (line, place) in heads.iter().zip(places) {
        assert!(line.contains(place), "{place}: {line}");
    }
    assert_eq!(text(&output.stdout), "refused for line 4, 4 mistakes\n");
    let good = run("check", r#"{"mcpServers":{"a":{"command":"true"}}}"#, &[]).await;
    assert_eq!((good.status.code(), text(&good.stderr)), (Some(0), String::new()));
    assert_eq!(text(&good.stdout), "1 server, no mistakes\n");
    // A file is right on another machine too.
    let absent = run("check", r#"{"mcpServers":{"a":{"command":"no-such-program"}}}"#, &[]).await;
    let told = text(&absent.stderr);
    assert!(absent.status.success() && told.contains("warning: mcpServers.a.command: there is no"), "{told}");
    assert_eq!(text(&absent.stdout), "1 server, no mistakes, 1 warning\n");
}

#[tokio::test]
async fn a_check_writes_as_compilers_do_and_tells_warnings_apart() {
    let file = r#"{
  // of three clients
  "theme": "dark",
  "mcpServers": {
    "good": { "command": "npx -y foo", "autoApprove": ["a"] },
    "old": { "type": "sse", "url": "http://127.0.0.1:9/sse" },
    "slow": { "command": "cat", "timeout": 60, },
    "off": { "command": "cat", "disabled": true, "wieght": 1 },
  },
}"#;
    let output = run("check", file, &[]).await;
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert_eq!(
        text(&output.stdout),
        "4 servers: 1 plays, 1 switched off, 2 left out, 2 mistakes, 3 warnings\n"
    );
    for part in [
        ":3:3: warning: theme: has no meaning here",
        ":5:26: warning: mcpServers.good.command:",
        "\n   6 |     \"old\": { \"type\": \"sse\", \"url\": \"http://127.0.0.1:9/sse\" },\n     |                      ^^^^^\n     = name",
        ":7:44: error: mcpServers.slow.timeout:",
        "     = write \"60s\": 60 is probably meant in seconds",
        ":8:50: warning: mcpServers.off.wieght: unknown key",
        "did you mean `weight`?",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(told.lines().all(|line| line.contains("servers.json:") || line.chars().count() <= 80), "{told}");
}

#[tokio::test]
async fn a_mistake_in_one_server_is_told_and_the_others_are_called() {
    let server = echo().await;
    let servers =
        json!({"s": {"url": server.url()}, "old": {"type": "sse", "url": "http://127.0.0.1:9/sse"}});
    let lenient = json!({"mcpServers": servers}).to_string();
    let output = run("call", &lenient, &["echo"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let tools = run("tools", &lenient, &[]).await;
    let told = text(&tools.stderr);
    assert!(tools.status.success(), "{told}");
    assert!(told.contains("error: mcpServers.old.type: ") && !told.contains("WARN"), "{told}");
    let strict = json!({"mcpServers": servers, "troupe": {"strict": true}});
    let output = run("call", &strict.to_string(), &["echo"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("error: mcpServers.old.type: "), "{}", text(&output.stderr));
}

#[tokio::test]
async fn a_call_says_nothing_of_the_mistakes_of_servers_that_it_does_not_need() {
    let server = ScriptedServer::builder()
        .tool("echo", Script::Echo)
        .tool("bad", Script::Error { code: -32000, message: "no".into() })
        .start()
        .await;
    let (_folder, file) =
        config(&json!({"mcpServers": {"a": {"url": server.url()}, "bad": {"comand": "x"}}}).to_string());
    let mut call = orchestrator();
    let call = call.args(["call", "--config"]).arg(&file).arg("a/echo");
    let output = call.output().await.unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let told = text(&call.env("RUST_LOG", "warn").output().await.unwrap().stderr);
    assert!(told.contains("WARN") && told.contains("mcpServers.bad.comand: unknown key"), "{told}");
    // An error of a server that was found has nothing to do with them either.
    let mut call = orchestrator();
    let output = call.args(["call", "--config"]).arg(&file).arg("a/bad").output().await.unwrap();
    let told: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&told["error"], told.get("left_out")), (&json!("rpc-error"), None), "{told}");
}

#[tokio::test]
async fn a_call_that_finds_nobody_has_the_servers_with_a_mistake_in_its_error() {
    let server = echo().await;
    let gone = "ws://127.0.0.1:1".to_owned();
    for (url, arguments, error, left_out) in [
        (server.url(), &["ecko"][..], "unknown-tool", &["bad", "old"][..]),
        (server.url(), &["a/ecko"], "unknown-tool", &[]),
        (gone.clone(), &["--server", "a", "echo"], "unavailable", &[]),
        (server.url(), &["echo", "--tag", "none"], "no-match", &["bad", "old"]),
        (server.url(), &["bad/echo"], "unknown-tool", &["bad"]),
        (server.url(), &["old__echo"], "unknown-tool", &["old"]),
        (server.url(), &["echo", "--server", "old"], "no-match", &["old"]),
        (gone, &["echo"], "unavailable", &["bad", "old"]),
    ] {
        let old = json!({"type": "sse", "url": "http://127.0.0.1:9/sse"});
        let servers = json!({"mcpServers": {"a": {"url": url}, "bad": {"comand": "x"}, "old": old}});
        let output = run("call", &servers.to_string(), arguments).await;
        let line = text(&output.stderr);
        assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{arguments:?}: {line}");
        let told: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(told["error"], error, "{line}");
        let told = told["left_out"].as_object().cloned().unwrap_or_default();
        assert!(told.keys().eq(left_out), "{arguments:?}: {line}");
        for (server, reason) in &told {
            let reason = reason.as_str().unwrap();
            assert!(reason.starts_with(&format!("mcpServers.{server}.")), "{line}");
        }
    }
}

#[tokio::test]
async fn a_call_without_any_server_that_is_right_says_what_is_wrong_and_is_exit_2() {
    let output = run("call", r#"{"mcpServers":{"bad":{"comand":"x"}}}"#, &["bad/echo"]).await;
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("error: mcpServers.bad.comand: ") && told.contains("no server is left"), "{told}");
}

#[tokio::test]
async fn entries_that_are_left_out_of_a_list_are_told_with_their_number_and_the_reason_of_the_first() {
    let bad = |numbers: std::ops::Range<u32>| -> ScriptedBuilder {
        let add = |builder: ScriptedBuilder, n: u32| builder.tool(format!("bad\u{7}{n}"), Script::Echo);
        numbers.fold(ScriptedServer::builder(), add)
    };
    let empty = bad(1..5).start().await;
    let servers = json!({"mcpServers": {"e": {"url": empty.url()}}}).to_string();
    let output = run("tools", &servers, &[]).await;
    let told = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout).trim()), (Some(0), "[]"), "{told}");
    let of_e = "e: 4 tools left out: bad\\u00071: its name has a control character";
    assert!(told.ends_with(&format!("servers.json: no server offers a tool\n{of_e}\n")), "{told}");
    assert_eq!(told.lines().count(), 2, "{told}");
    let mixed = ScriptedServer::builder().tool("echo", Script::Echo).resource("x:\nforged: 1", "text");
    let (many, mixed) = (bad(0..150).start().await, mixed.start().await);
    let good = echo().await;
    let servers = json!({"mcpServers": {
        "e": {"url": empty.url()}, "good": {"url": good.url()}, "many": {"url": many.url()},
        "mixed": {"url": mixed.url()},
    }});
    let output = run("tools", &servers.to_string(), &[]).await;
    let told = text(&output.stderr);
    let of_many = "many: 150 tools left out: bad\\u00070: its name has a control character";
    let of_mixed = "mixed: 1 resource left out: x:\\u000aforged: 1: its URI has a control character";
    assert_eq!(told.lines().collect::<Vec<_>>(), [of_e, of_many, of_mixed]);
    let tools: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), tools.len()), (Some(0), 2));
}

#[tokio::test]
async fn one_picture_of_the_tree_is_plain_text_and_shows_why_a_server_is_down() {
    let (good, mut refused) = (echo().await, echo().await);
    refused.stop_listening().await;
    let servers = json!({"mcpServers": {"good": {"url": good.url()}, "refused": {"url": refused.url()}}});
    for arguments in [["--wait", "2s", "--once"], ["--wait", "2s", "--width=100"]] {
        let output = run("watch", &servers.to_string(), &arguments).await;
        let (shown, told) = (text(&output.stdout), text(&output.stderr));
        assert_eq!((output.status.code(), told.as_str()), (Some(0), ""), "{shown}");
        let after = |name: &str| -> Vec<&str> {
            shown.lines().skip_while(|line| !line.starts_with(name)).take(2).collect()
        };
        assert!(
            shown.starts_with("mcp-troupe · ") && shown.contains("servers  2: 1 ready, 1 not"),
            "{shown}"
        );
        assert!(after("├ good")[0].contains("ready           1        0 closed     1/0/5"), "{shown}");
        assert!(after("└ refused")[1].contains("Connection refused"), "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }
}

#[tokio::test]
async fn the_schema_is_printed_and_judges_files_as_the_parser_does() {
    let output = orchestrator().arg("schema").output().await.unwrap();
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &schema), (Some(0), &mcp_troupe::ConfigFile::schema()));
    let file = json!({"$schema": "./servers.schema.json", "mcpServers": {"s": {"url": "ws://h"}}});
    assert!(jsonschema::is_valid(&schema, &file));
    let checked = run("check", &file.to_string(), &[]).await;
    assert_eq!((checked.status.code(), text(&checked.stderr)), (Some(0), String::new()));
}

#[tokio::test]
async fn the_catalogue_is_printed_as_json() {
    let server = echo().await;
    let output = run("tools", &json!({"mcpServers": {"s": {"url": server.url()}}}).to_string(), &[]).await;
    let tools: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((tools[0]["name"].as_str(), tools[0]["exposed"].as_str()), (Some("echo"), Some("s__echo")));
}

#[tokio::test]
async fn a_load_is_split_as_the_strategy_says_and_accounts_for_every_call() {
    let (a, b) = (echo().await, echo().await);
    let servers = json!({
        "mcpServers": {"a": {"url": a.url(), "group": "g"}, "b": {"url": b.url(), "group": "g"}},
        "troupe": {"strategy": "round-robin"},
    });
    let arguments = ["echo", "--calls", "2000", "--concurrency", "16", "--wait-all", "--json"];
    let output = run("load", &servers.to_string(), &arguments).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (report["calls"].as_u64(), report["ok"].as_u64(), report["lost"].as_u64()),
        (Some(2000), Some(2000), Some(0))
    );
    assert_eq!(report["per_server"], json!({"a": 1000, "b": 1000}));
}

#[test]
fn a_share_is_nothing_or_all_only_where_it_is() {
    for (count, of, told) in [
        (0, 0, "0.0 %"),
        (0, 9, "0.0 %"),
        (9, 9, "100.0 %"),
        (2, 7979, "<0.1 %"),
        (7977, 7979, ">99.9 %"),
        (1, 1000, "0.1 %"),
        (999, 1000, "99.9 %"),
        (1, 3, "33.3 %"),
    ] {
        assert_eq!(percent::percent(count, of), told, "{count} of {of}");
    }
}

#[tokio::test]
async fn a_replica_that_dies_in_the_middle_of_a_load_loses_no_call() {
    let (mut a, b) = (echo().await, echo().await);
    let servers = json!({
        "mcpServers": {"a": {"url": a.url(), "group": "g"}, "b": {"url": b.url(), "group": "g"}},
        "troupe": {"strategy": "round-robin"},
    });
    let (_folder, file) = config(&servers.to_string());
    let load = orchestrator()
        .args(["load", "--config"])
        .arg(file)
        .args(["echo", "--calls", "40000", "--concurrency", "32", "--wait-all", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    a.wait_for(|seen| seen.calls.get("echo").is_some_and(|calls| *calls > 500)).await;
    a.stop_listening().await;
    let before = b.calls("echo");
    b.wait_for(|seen| seen.calls.get("echo").is_some_and(|calls| *calls > before + 500)).await;
    // The load waits at the other one until this one is back; else it might end before.
    b.set_script("echo", Script::Hold);
    a.resume().await;
    let stopped = a.calls("echo");
    a.wait_for(|seen| seen.connections > 0).await;
    b.set_script("echo", Script::Echo);
    b.release();
    a.wait_for(|seen| seen.calls.get("echo").is_some_and(|calls| *calls > stopped)).await;
    let output = load.wait_with_output().await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report["answered"].as_u64(), report["lost"].as_u64()), (Some(40_000), Some(0)), "{report}");
    let errors: u64 = report["errors"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(report["ok"].as_u64().unwrap() + errors, 40_000);
}

/// A load whose callers all wait at one server.
async fn held_load(a: &ScriptedServer, file: &Path) -> tokio::process::Child {
    a.set_script("echo", Script::Hold);
    let load = orchestrator()
        .args(["load", "--reload", "--config"])
        .arg(file)
        .args(["echo", "--calls", "2000", "--concurrency", "32", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    a.wait_for(|seen| seen.calls.get("echo") == Some(&32)).await;
    load
}

/// A file is never seen half written.
fn rewrite(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}

#[tokio::test]
async fn a_changed_file_is_taken_under_load_and_no_call_is_lost() {
    let (a, b) = (echo().await, echo().await);
    let of = |name: &str, server: &ScriptedServer| {
        json!({"mcpServers": {name: {"url": server.url(), "group": "g"}}}).to_string()
    };
    let (_folder, file) = config(&of("a", &a));
    let mut load = held_load(&a, &file).await;
    rewrite(&file, &of("b", &b));
    let mut told = tokio::io::BufReader::new(load.stderr.take().unwrap()).lines();
    // From then on no call goes to the one that leaves; it would hold those that came after the release.
    let line = told.next_line().await.unwrap().unwrap();
    assert!(line.contains("added: b; removed: a"), "{line}");
    a.release();
    let output = load.wait_with_output().await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let figures = ["calls", "ok", "lost", "reloads"].map(|key| report[key].as_u64().unwrap());
    assert_eq!(figures, [2000, 2000, 0, 1], "{report}");
    assert_eq!(report["per_server"], json!({"a": 32, "b": 1968}));
}

#[tokio::test]
async fn a_server_that_gets_a_mistake_under_load_is_told_to_go_on_as_before() {
    let a = echo().await;
    let of = |others: Value| {
        let mut servers = json!({"a": {"url": a.url()}});
        servers.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
        json!({"mcpServers": servers}).to_string()
    };
    let (_folder, file) = config(&of(json!({})));
    let mut load = held_load(&a, &file).await;
    rewrite(&file, &of(json!({"a": {"url": 7}, "new": {"url": 7}})));
    let mut told = tokio::io::BufReader::new(load.stderr.take().unwrap()).lines();
    let line = loop {
        let line = told.next_line().await.unwrap().unwrap();
        if line.starts_with("reloaded: ") {
            break line;
        }
    };
    let kept = "left out for their mistakes: new; kept as they were for their mistakes: a";
    assert!(line.ends_with(kept), "{line}");
    a.set_script("echo", Script::Echo);
    a.release();
    let output = load.wait_with_output().await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report["ok"].as_u64(), report["reloads"].as_u64()), (Some(2000), Some(1)), "{report}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_hangup_reads_the_file_again_and_a_broken_one_is_refused_whole_where_it_is_strict() {
    let (a, b) = (echo().await, echo().await);
    let (_folder, file) = config(&json!({"mcpServers": {"a": {"url": a.url()}}}).to_string());
    let mut load = held_load(&a, &file).await;
    rewrite(
        &file,
        &json!({
            "mcpServers": {"b": {"url": b.url()}, "c": {"url": 7}}, "troupe": {"strict": true}
        })
        .to_string(),
    );
    let process = rustix::process::Pid::from_raw(load.id().unwrap() as i32).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::HUP).unwrap();
    let mut told = tokio::io::BufReader::new(load.stderr.take().unwrap()).lines();
    let line = told.next_line().await.unwrap().unwrap();
    assert!(line.contains("the old configuration goes on"), "{line}");
    let line = told.next_line().await.unwrap().unwrap();
    assert!(line.contains("error: mcpServers.c.url"), "{line}");
    a.set_script("echo", Script::Echo);
    a.release();
    let output = load.wait_with_output().await.unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report["ok"].as_u64(), report["reloads"].as_u64()), (Some(2000), Some(0)), "{report}");
    assert_eq!(b.observed().accepted, 0);
}

#[tokio::test]
async fn prometheus_scrapes_a_load_while_it_runs() {
    let a = echo().await;
    let (_folder, file) = config(&json!({"mcpServers": {"a": {"url": a.url()}}}).to_string());
    let mut load = orchestrator()
        .args(["load", "--metrics", "127.0.0.1:0", "--config"])
        .arg(file)
        .args(["echo", "--calls", "1000000000", "--concurrency", "2"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = tokio::io::BufReader::new(load.stderr.take().unwrap()).lines();
    let line = told.next_line().await.unwrap().unwrap();
    let address = line.strip_prefix("metrics at http://").and_then(|line| line.strip_suffix("/metrics"));
    let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
    let counted = r#"mcp_troupe_calls_total{request="tool",group="a",tool="echo",outcome="ok"}"#;
    let page = loop {
        let page = scrape(&address).await;
        if page.contains(counted) {
            break page;
        }
    };
    for shown in [
        "# TYPE mcp_troupe_call_duration_seconds histogram",
        r#"mcp_troupe_call_duration_seconds_bucket{request="tool",group="a",tool="echo",le="0.001"}"#,
        "# HELP mcp_troupe_calls_total Calls that ended.",
        r#"mcp_troupe_server_up{server="a"} 1"#,
    ] {
        assert!(page.contains(shown), "{shown} is missing:\n{page}");
    }
    load.kill().await.unwrap();
}

/// What is served there, headers included.
async fn scrape(address: &str) -> String {
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    socket.read_to_string(&mut page).await.unwrap();
    page
}

#[tokio::test]
async fn the_tour_ends_well() {
    // As it is where it is installed.
    let output = orchestrator().env_remove("CARGO").output().await.unwrap();
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for part in ["# Test Document", "alice@example.com", "order_items", "it was killed", "it answers again"] {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    // The figures are a line for each server under their title, and what to do next is the last that is seen.
    let figures = shown.lines().skip_while(|line| *line != "— the figures").skip(1);
    assert_eq!(figures.take_while(|line| !line.is_empty()).count(), 3, "{shown}");
    assert!(shown.lines().rev().take(3).all(|line| line.starts_with("  mcp-troupe ")), "{shown}");
}

#[tokio::test]
async fn pins_are_printed_and_hold_when_they_are_named() {
    let server = echo().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pins.json");
    let config = json!({
        "mcpServers": {"s": {"url": server.url()}}, "troupe": {"pins": {"file": file, "onChange": "block"}}});
    let config = config.to_string();
    // A shell makes the file before the program runs.
    std::fs::write(&file, "").unwrap();
    let output = run("pin", &config, &[]).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let pins: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(pins["servers"]["s"]["echo"].as_str().unwrap().starts_with("sha256:"), "{pins}");
    let output = run("check", &config, &[]).await;
    assert!(text(&output.stderr).contains("troupe.pins.file"), "{}", text(&output.stderr));
    std::fs::write(&file, pins.to_string()).unwrap();
    assert!(run("call", &config, &["echo"]).await.status.success());
    server.say("echo", json!({"description": "another"}));
    let output = run("call", &config, &["echo"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("its pin"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn nothing_is_pinned_while_a_server_is_down() {
    let (good, refused) = (echo().await, ScriptedServer::builder().refuse_upgrade(503).start().await);
    let config = json!({"mcpServers": {"good": {"url": good.url()}, "refused": {"url": refused.url()}}});
    let output = run("pin", &config.to_string(), &["--wait", "200ms"]).await;
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(
        output.stdout.is_empty() && told.contains("nothing is pinned") && told.contains("\nrefused is "),
        "{told}"
    );
    assert!(told.contains("hint: ") && told.contains("\"disabled\": true"), "{told}");
}

#[tokio::test]
async fn pins_in_a_file_are_replaced_whole_or_stay() {
    let (good, refused) = (echo().await, ScriptedServer::builder().refuse_upgrade(503).start().await);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pins.json");
    std::fs::write(&file, "reviewed").unwrap();
    let into = ["--output", file.to_str().unwrap(), "--wait", "200ms"];
    let config = json!({"mcpServers": {"good": {"url": good.url()}, "refused": {"url": refused.url()}}});
    assert_eq!(run("pin", &config.to_string(), &into).await.status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "reviewed");
    let config = json!({"mcpServers": {"good": {"url": good.url()}}});
    let output = run("pin", &config.to_string(), &into).await;
    assert!(output.status.success() && output.stdout.is_empty(), "{}", text(&output.stderr));
    let read = || serde_json::from_str::<Value>(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let pins = read();
    assert!(pins["servers"]["good"]["echo"].is_string(), "{pins}");
    // Those of a server that is switched off stay, and those of one that is not described any more go with a word.
    let mut more = pins.clone();
    more["servers"]["refused"] = pins["servers"]["good"].clone();
    more["servers"]["gone"] = pins["servers"]["good"].clone();
    std::fs::write(&file, more.to_string()).unwrap();
    let off = json!({"command": "x", "disabled": true});
    let config = json!({"mcpServers": {"good": {"url": good.url()}, "refused": off, "new": off}});
    let output = run("pin", &config.to_string(), &into).await;
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let names: Vec<String> = read()["servers"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["good", "refused"]);
    assert!(told.contains("switched off: new\n") && told.contains("no such server: gone\n"), "{told}");
    std::fs::write(&file, "").unwrap();
    let config = json!({"mcpServers": {}, "troupe": {"pins": {"file": file}}}).to_string();
    let told = text(&run("check", &config, &[]).await.stderr);
    assert!(told.contains("hint: `mcp-troupe pin --output FILE`"), "{told}");
}

#[tokio::test]
async fn a_load_starts_whom_it_names_and_makes_no_call_where_all_others_are_switched_off() {
    let (server, other) = (echo().await, echo().await);
    let servers = json!({"mcpServers": {"a": {"url": server.url()}, "b": {"url": other.url()}}}).to_string();
    for arguments in [&["a/echo"][..], &["--server", "a", "echo"]] {
        let output = run("load", &servers, &[arguments, &["--calls", "2"]].concat()).await;
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(other.observed().accepted, 0, "{arguments:?}");
    }
    let servers =
        r#"{"mcpServers":{"gone":{"url":"ws://127.0.0.1:1"},"off":{"command":"x","disabled":true}}}"#;
    let output = run("load", servers, &["echo", "--json", "--duration", "1s"]).await;
    let account: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((account["calls"].as_u64(), output.status.code()), (Some(0), Some(1)), "{account}");
}

#[tokio::test]
async fn a_load_tells_apart_what_the_cache_answered() {
    let server = echo().await;
    let servers = json!({
        "mcpServers": {"a": {"url": server.url()}}, "troupe": {"cache": {"tools": {"echo": {"ttl": "1h"}}}},
    });
    let arguments = ["echo", "--calls", "20", "--concurrency", "1"];
    let output = run("load", &servers.to_string(), &arguments).await;
    let told = text(&output.stdout);
    assert!(told.contains("20 ok") && told.contains("/s by servers"), "{told}");
    assert!(told.contains("  19 were answered from the cache"), "{told}");
    let output = run("load", &servers.to_string(), &[&arguments[..], &["--json"]].concat()).await;
    let account: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((account["sent"].as_u64(), account["cached"].as_u64()), (Some(1), Some(19)), "{account}");
}

#[tokio::test]
async fn a_group_that_nobody_has_who_plays_is_told_with_the_servers_that_are_left_out() {
    let server = echo().await;
    let servers = json!({"mcpServers": {"a": {"url": server.url(), "group": "g"}, "bad": {"comand": "x", "group": "g2"}}});
    for arguments in [&["--group", "g2", "b"][..], &["g2/b"]] {
        let output = run("call", &servers.to_string(), arguments).await;
        let told: Value = serde_json::from_slice(&output.stderr).unwrap();
        let hint = told["hint"].as_str().unwrap_or_default();
        assert!(hint.ends_with("(left out: bad)"), "{told}");
        assert!(told["left_out"]["bad"].is_string(), "{told}");
    }
    let output = run("call", &servers.to_string(), &["g/b"]).await;
    let told: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert!(told.get("left_out").is_none(), "{told}");
}

#[tokio::test]
async fn progress_and_log_messages_go_to_stderr_while_the_result_goes_to_stdout() {
    let half = Step::Progress { progress: 1.0, total: Some(2.0), message: Some("half".into()) };
    let log = Step::Log { level: "warning".into(), data: json!("slow disk") };
    let steps = vec![half, log, Step::progress(2.0)];
    let server = ScriptedServer::builder()
        .http_events()
        .tool("long", Script::Tell { steps, next: Script::Echo.into() })
        .start()
        .await;
    let servers = json!({"mcpServers": {"s": {"url": server.url()}}}).to_string();
    let output =
        run("call", &servers, &["--progress", "--log-level", "warning", "long", r#"{"n": 1.50}"#]).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "s: 1 of 2: half\ns: warning: \"slow disk\"\ns: 2\n");
    assert!(text(&output.stdout).contains(r#""structuredContent":{"n": 1.50}"#), "{}", text(&output.stdout));
    assert_eq!(server.observed().log_levels, ["warning"]);
    let quiet = run("call", &servers, &["long"]).await;
    assert!(quiet.status.success());
    assert_eq!(text(&quiet.stderr), "");
}

#[tokio::test]
async fn a_call_of_which_nothing_is_heard_ends_with_an_error_that_says_so() {
    let server = ScriptedServer::builder().tool("silent", Script::Silence).start().await;
    let servers = json!({"mcpServers": {"s": {"url": server.url()}}}).to_string();
    let output = run("call", &servers, &["--idle-timeout", "50ms", "silent"]).await;
    assert_eq!(output.status.code(), Some(1));
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&error["error"], &error["deadline"]), (&json!("deadline-exceeded"), &json!("idle")));
    let wrong = run("call", &servers, &["--progress", "--log-level", "loud", "silent"]).await;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("emergency"), "{}", text(&wrong.stderr));
}

#[tokio::test]
async fn check_sums_up_each_kind_of_mistake_as_what_it_costs() {
    let good = r#""a":{"command":"true"}"#;
    let troupe = |key: &str| format!(r#"{{"mcpServers":{{{good}}},"troupe":{{{key}}}}}"#);
    for (config, summary) in [
        (
            format!(r#"{{"mcpServers":{{{good},"a":{{"command":"false"}}}}}}"#),
            "2 servers: 1 plays, 1 left out, 1 mistake",
        ),
        (
            format!(
                r#"{{"mcpServers":{{{good},"b":{{"comand":"x"}},"c c":{{"command":"true"}},"c/c":{{"command":"true"}}}}}}"#
            ),
            "4 servers: 2 play, 2 left out, 2 mistakes",
        ),
        (troupe(r#""strategy":"fastest""#), "refused, 1 mistake"),
        (troupe(r#""pins":{"file":"/no/such/pins.json"}"#), "refused, 1 mistake"),
        (troupe(r#""callTimeout":"0s""#), "refused, 1 mistake"),
        (troupe(r#""collisions":"last""#), "refused, 1 mistake"),
        (troupe(r#""pool":{"min":9}"#), "refused, 1 mistake"),
        (troupe(r#""breaker":{"mode":"on"}"#), "refused, 1 mistake"),
        (troupe(r#""cache":{"tools":{"s/e cho":{"ttl":"5s"}}}"#), "refused, 1 mistake"),
        (troupe(r#""toolTimeouts":{"a":"0s"}"#), "refused, 1 mistake"),
        (troupe(r#""knownLists":7"#), "refused, 1 mistake"),
        (troupe(r#""knownLists":"~/""#), "refused, 1 mistake"),
        (troupe(r#""pins":["pins.json"]"#), "refused, 1 mistake"),
        (troupe(r#""strategy":"fastest","colour":1"#), "refused, 2 mistakes"),
        (
            "{\"mcpServers\":{\n\"a\":{\"comand\":\"x\"}},\n\"troupe\":{\"colour\":1}}".to_owned(),
            "refused for line 3, 2 mistakes",
        ),
        (troupe(r#""strict":true,"strategy":"fastest""#), "refused, 1 mistake"),
        (troupe(r#""strategy":"weighted""#), "1 server, no mistakes"),
    ] {
        let output = run("check", &config, &[]).await;
        let code = if summary.ends_with("no mistakes") { 0 } else { 2 };
        assert_eq!(
            (output.status.code(), text(&output.stdout).trim_end()),
            (Some(code), summary),
            "{config}"
        );
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_check_warns_of_known_lists_that_would_not_be_used() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lists.json");
    let config =
        json!({"mcpServers": {"a": {"command": "true"}}, "troupe": {"knownLists": path}}).to_string();
    for (mode, warned) in [(0o700, false), (0o755, true)] {
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let output = run("check", &config, &[]).await;
        let told = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert_eq!(told.contains("troupe.knownLists: is not used"), warned, "{mode:o}: {told}");
    }
    // It is broken between words.
    let unbroken = |told: &[u8]| text(told).split_whitespace().collect::<Vec<_>>().join(" ");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(&path, r#"{"theirs": true}"#).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let told = unbroken(&run("check", &config, &[]).await.stderr);
    assert!(told.contains("is not used: it is no file of known lists"), "{told}");
    std::fs::File::create(&path).unwrap().set_len((16 << 20) + 1).unwrap();
    let told = unbroken(&run("check", &config, &[]).await.stderr);
    assert!(told.contains("troupe.knownLists: is not used") && told.contains("larger than"), "{told}");
    let no_folder = path.join("known.json").display().to_string();
    let config = json!({"mcpServers": {"a": {"command": "true"}}, "troupe": {"knownLists": no_folder}});
    let told = unbroken(&run("check", &config.to_string(), &[]).await.stderr);
    assert!(told.contains("troupe.knownLists: is not used"), "{told}");
}

#[tokio::test]
async fn whoever_is_named_and_does_not_play_is_told_beside_whoever_does() {
    let server = echo().await;
    let servers = json!({"mcpServers": {
        "a": {"url": server.url()}, "bad": {"comand": "x"}, "c": {"url": server.url()},
        "g": {"url": server.url(), "tags": ["x"]},
    }})
    .to_string();
    for (arguments, says) in [
        (&["--server", "a", "--group", "bad", "echo"][..], "bad is left out of the configuration"),
        (&["--server", "a", "--group", "nope", "echo"], "there is no server or group nope"),
        (&["--server", "a", "bad/echo"], "bad is left out of the configuration"),
        (&["--server", "a", "--group", "c", "echo"], "a is of the group a, not of c"),
        (&["--tag", "x", "ech"], "with --tag x there is g/echo"),
    ] {
        let output = run("call", &servers, arguments).await;
        let told: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert!(told["hint"].as_str().unwrap_or_default().contains(says), "{arguments:?}: {told}");
    }
}

#[tokio::test]
async fn each_error_of_a_start_says_what_leads_on() {
    let (good, mut refused) = (echo().await, echo().await);
    refused.stop_listening().await;
    let down = json!({"mcpServers": {"r": {"url": refused.url()}}}).to_string();
    let told: Value = serde_json::from_slice(&run("call", &down, &["echo"]).await.stderr).unwrap();
    assert!(told["hint"].as_str().unwrap_or_default().starts_with("is r running?"), "{told}");
    let load = run("load", &down, &["--json", "--calls", "1", "echo"]).await;
    assert_eq!(load.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&load.stdout).unwrap();
    assert_eq!((&report["calls"], &report["ok"]), (&json!(0), &json!(0)));
    assert!(report["not_ready"]["r"].as_str().unwrap().contains("refused"), "{report}");
    let of = |troupe: Value| json!({"mcpServers": {"s": {"url": good.url()}}, "troupe": troupe}).to_string();
    let no_pins = of(json!({"pins": {"file": "/no/such/pins.json"}}));
    let told: Value = serde_json::from_slice(&run("call", &no_pins, &["echo"]).await.stderr).unwrap();
    assert!(
        told["hint"].as_str().unwrap_or_default().starts_with("`mcp-troupe pin --output FILE` puts"),
        "{told}"
    );
    let wrong_key = of(json!({"colour": 1}));
    let told = text(&run("tools", &wrong_key, &[]).await.stderr);
    assert!(told.contains("nothing is started"), "{told}");
    let told: Value = serde_json::from_slice(&run("call", &wrong_key, &["echo"]).await.stderr).unwrap();
    assert!(told["message"].as_str().unwrap().ends_with("; nothing is started"), "{told}");
    let folder = tempfile::tempdir().unwrap();
    for command in [&["tools"][..], &["call", "echo"]] {
        let output = orchestrator().args(command).arg("--config").arg(folder.path()).output().await.unwrap();
        assert!(text(&output.stderr).contains("it is a folder: name"), "{}", text(&output.stderr));
    }
    let (_folder, file) = config(&down);
    let large = file.with_file_name("large.json");
    std::fs::File::create(&large).unwrap().set_len((16 << 20) + 1).unwrap();
    let output = run("call", &down, &["echo", &format!("@{}", large.display())]).await;
    let told: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert!(told["hint"].as_str().unwrap().contains("16 MiB at most"), "{told}");
    for (name, says) in [("config.toml", "import --from codex"), ("goose.yaml", "write the same as JSON")] {
        let theirs = file.with_file_name(name);
        std::fs::write(&theirs, "theirs = 1").unwrap();
        for command in ["check", "tools"] {
            let output = orchestrator().arg(command).arg(&theirs).output().await.unwrap();
            assert!(text(&output.stderr).contains(says), "{name}: {}", text(&output.stderr));
        }
    }
}

#[tokio::test]
async fn a_picture_tells_those_that_are_switched_off_apart_and_has_no_empty_line_for_them() {
    let server = echo().await;
    let servers =
        json!({"mcpServers": {"off": {"command": "true", "disabled": true}, "s": {"url": server.url()}}});
    let shown = text(&run("watch", &servers.to_string(), &["--once"]).await.stdout);
    assert!(shown.contains("servers  2: 1 ready, 1 disabled\n"), "{shown}");
    assert!(shown.lines().all(|line| line.trim() != "│"), "{shown}");
}

#[tokio::test]
async fn a_file_is_taken_without_its_option_where_nothing_else_stands_and_told_elsewhere() {
    let server = echo().await;
    let (_folder, file) = config(&json!({"mcpServers": {"s": {"url": server.url()}}}).to_string());
    for command in [vec!["check"], vec!["tools"], vec!["pin"], vec!["watch", "--once"]] {
        let output = orchestrator().args(&command).arg(&file).output().await.unwrap();
        assert_eq!(output.status.code(), Some(0), "{command:?}: {}", text(&output.stderr));
        let both =
            orchestrator().args(&command).arg(&file).arg("--config").arg(&file).output().await.unwrap();
        assert_eq!(both.status.code(), Some(2), "{command:?}");
    }
    for command in ["call", "load"] {
        let output = orchestrator().arg(command).arg(&file).arg("echo").output().await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{command}");
        let hint = format!("name the configuration with --config {}", file.display());
        assert!(text(&output.stderr).contains(&hint), "{command}: {}", text(&output.stderr));
    }
}

#[cfg(unix)]
#[tokio::test]
async fn what_others_may_write_is_told_once_whoever_reads_it() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("servers.json");
    // Two sources that read the same: a folder, and a file in it.
    std::fs::create_dir(folder.path().join("more")).unwrap();
    let other = folder.path().join("more/one.json");
    std::fs::write(&other, r#"{"mcpServers":{}}"#).unwrap();
    let sources = json!([
        {"type": "file", "name": "folder", "path": folder.path().join("more")},
        {"type": "file", "name": "file", "path": other},
    ]);
    std::fs::write(&file, json!({"mcpServers": {}, "discovery": sources}).to_string()).unwrap();
    let open = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    open(&file, 0o666);
    open(&other, 0o666);
    open(&folder.path().join("more"), 0o777);
    for command in ["check", "tools"] {
        let output = orchestrator().arg(command).arg(&file).env("RUST_LOG", "info").output().await.unwrap();
        let told = text(&output.stderr);
        let told: Vec<&str> =
            told.lines().filter(|line| line.contains("may be written by everyone")).collect();
        assert_eq!(told.len(), 3, "{command}: {told:#?}");
        for path in [&*file, &*other, &*folder.path().join("more")] {
            let of = |line: &&&str| line.contains(&format!("{} may be", path.display()));
            assert_eq!(told.iter().filter(of).count(), 1, "{command}: {told:#?}");
        }
    }
}

#[tokio::test]
async fn completions_and_manual_pages_know_every_command() {
    let commands =
        ["tools", "pin", "check", "import", "schema", "call", "load", "watch", "announce", "completions"];
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = orchestrator().args(["completions", shell]).output().await.unwrap();
        let script = text(&output.stdout);
        assert!(output.status.success(), "{shell}: {}", text(&output.stderr));
        assert!(commands.iter().all(|command| script.contains(command)), "{shell}: {script}");
    }
    let page = orchestrator().arg("man").output().await.unwrap();
    assert!(page.status.success() && text(&page.stdout).contains(".TH mcp-troupe 1"), "{page:?}");
    let folder = tempfile::tempdir().unwrap();
    let written = orchestrator().args(["man", "--output"]).arg(folder.path()).output().await.unwrap();
    assert!(written.status.success(), "{}", text(&written.stderr));
    for command in commands {
        assert!(folder.path().join(format!("mcp-troupe-{command}.1")).exists(), "{command}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn bash_completes_options_and_their_values_of_each_command() {
    let script = text(&orchestrator().args(["completions", "bash"]).output().await.unwrap().stdout);
    let function = script.split_once("() {").unwrap().0.trim();
    for (words, offers) in [
        (vec!["ch"], "check"),
        (vec!["call", "--pri"], "--priority"),
        (vec!["call", "--priority", ""], "normal"),
        (vec!["load", "--rel"], "--reload"),
        (vec!["completions", "el"], "elvish"),
        (vec!["import", "--from", "code"], "codex"),
    ] {
        let line: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let ask = format!(
            "{script}\nCOMP_WORDS=(mcp-troupe {}); COMP_CWORD={}\n{function} mcp-troupe \"${{COMP_WORDS[-1]}}\" \
             \"${{COMP_WORDS[-2]}}\"\necho \"${{COMPREPLY[@]}}\"",
            line.join(" "),
            words.len(),
        );
        let bash = Command::new("bash").args(["--norc", "-c", &ask]).output().await.unwrap();
        let (offered, told) = (text(&bash.stdout), text(&bash.stderr));
        assert!(offered.split_whitespace().any(|word| word == offers), "{words:?}: {offered} {told}");
    }
}

#[tokio::test]
async fn a_shell_that_nobody_knows_is_told_with_what_to_write() {
    let output = orchestrator().arg("completions").env("SHELL", "/bin/tcsh").output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("mcp-troupe completions bash"), "{}", text(&output.stderr));
    let output = orchestrator().args(["man", "--output", "/proc/no/such"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("/proc/no/such: "), "{}", text(&output.stderr));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_cannot_be_written_is_told_and_is_exit_1() {
    let server = echo().await;
    let (_folder, file) = config(&json!({"mcpServers": {"s": {"url": server.url()}}}).to_string());
    let file = file.to_str().unwrap();
    let commands: [&[&str]; 9] = [
        &["tour"],
        &["tools", "--config", file],
        &["pin", "--config", file],
        &["check", file],
        &["schema"],
        &["call", "--config", file, "echo"],
        &["load", "--config", file, "echo", "--duration", "1ms"],
        &["watch", "--config", file, "--once"],
        &["completions", "bash"],
    ];
    for command in commands {
        // A device on which every write fails, as on a disk that is full.
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let child = orchestrator().args(command).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().await.unwrap();
        let told = text(&output.stderr);
        // Without a mistake a check has nothing to say on stdout.
        let silent = command[0] == "check" && told.is_empty();
        assert_eq!(output.status.code(), Some(if silent { 0 } else { 1 }), "{command:?}: {told}");
        assert_eq!(
            told.matches("stdout cannot be written: ").count(),
            usize::from(!silent),
            "{command:?}: {told}"
        );
    }
}

#[tokio::test]
async fn who_is_called_and_does_not_play_is_told_with_the_reason() {
    let server = echo().await;
    let written = json!({"mcpServers": {
        "My Notes": {"url": server.url()}, "wrong": {"comand": "x"},
        "off": {"url": server.url(), "disabled": true}, "files": {"url": server.url()},
        "second": {"url": server.url(), "group": "files"},
    }});
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("servers.json");
    std::fs::write(&file, written.to_string()).unwrap();
    let run = async |arguments: &[&str]| {
        let (command, rest) = arguments.split_first().unwrap();
        let output =
            orchestrator().arg(command).arg("--config").arg(&file).args(rest).output().await.unwrap();
        (output.status.code(), self::text(&output.stderr))
    };
    for (arguments, hint) in [
        (
            &["call", "wrong/echo"][..],
            "wrong is left out of the configuration: mcpServers.wrong.comand: unknown key",
        ),
        (&["call", "wrong__echo"], "wrong is left out of the configuration"),
        (&["call", "off/echo"], "off is switched off"),
        (
            &["call", "second/echo"],
            "second is a server of the group files: write files/TOOL, or --server second",
        ),
        (&["call", "My Notes/echo"], "My Notes is called My-Notes here"),
        (&["call", "flies/echo"], "there is no server or group flies: did you mean files?"),
        (&["call", "echo", "--server", "of"], "there is no server or group of: did you mean off?"),
    ] {
        let (code, told) = run(arguments).await;
        let error: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(code, Some(1), "{told}");
        assert!(error["hint"].as_str().unwrap_or_default().starts_with(hint), "{arguments:?}: {told}");
    }
    let (code, told) = run(&["call", "files/ecko"]).await;
    let last: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (code, &last["hint"], &last["near"][0]),
        (Some(1), &Value::Null, &json!("files/echo")),
        "{told}"
    );
    assert_eq!(run(&["tools", "--strict"]).await.0, Some(1), "a server is left out");
    let picture = orchestrator().args(["watch", "--once", "--config"]).arg(&file).output().await.unwrap();
    let picture = self::text(&picture.stdout);
    assert!(picture.contains("(left out: wrong)"), "{picture}");
}
