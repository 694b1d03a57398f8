//! Over stdio.

use std::time::Duration;

use mcp_troupe::event::ServerStatus;
use mcp_troupe::{Call, CallErrorKind, Deadline, EraChoice, Event, Readiness};
use serde_json::json;

use super::common::{end, event, kind, start, start_with};
use super::{
    PATIENCE, call, everything_holds, is_modern, long_operation_holds, ready, refused, servers, time_holds,
};

#[tokio::test]
async fn server_everything_answers_whether_its_era_is_probed_or_known() {
    let Some(npm) = servers::npm() else { return };
    let program = npm.everything("eras");
    let troupe = ready([program.server("auto"), program.server("legacy").era(EraChoice::Legacy)]).await;
    for server in ["auto", "legacy"] {
        everything_holds(&troupe, server).await;
    }
    end(troupe).await;
}

#[tokio::test]
async fn what_npx_has_to_download_is_ready_at_its_first_attempt_by_default() {
    let cache = tempfile::tempdir().unwrap();
    let Some(server) = servers::downloaded(cache.path()) else { return };
    let troupe = start([server]).await;
    let mut events = troupe.events();
    let ends = |event: &Event| matches!(event, Event::ConnectionOpened { .. } | Event::ConnectionLost { .. });
    let first = event(&mut events, ends).await;
    assert!(matches!(first, Event::ConnectionOpened { .. }), "{first:?}");
    troupe.ready_within(Readiness::All, PATIENCE).await.unwrap();
    everything_holds(&troupe, "downloaded").await;
    end(troupe).await;
}

#[tokio::test]
async fn what_no_server_offers_is_told_with_the_names_that_are_near() {
    let Some(npm) = servers::npm() else { return };
    let troupe = ready([npm.everything("near").server("everything")]).await;
    let CallErrorKind::UnknownTool { near, .. } = kind(troupe.call(Call::tool("get-sun")).await) else {
        panic!()
    };
    assert_eq!(near.first().map(String::as_str), Some("get-sum"));
    end(troupe).await;
}

#[tokio::test]
async fn a_legacy_server_that_is_said_to_be_modern_is_told_with_the_remedy() {
    let Some(npm) = servers::npm() else { return };
    let server = npm.everything("wrong").server("everything").era(EraChoice::Modern);
    let troupe = start_with(|settings| settings.pool.handshake_timeout = Some(PATIENCE), [server]).await;
    let mut events = troupe.events();
    let refused = event(&mut events, |event| {
        matches!(event, Event::ServerStatusChanged { to: ServerStatus::Disconnected, reason: Some(_), .. })
    })
    .await;
    let Event::ServerStatusChanged { reason: Some(reason), .. } = refused else { panic!() };
    assert!(reason.contains("set its era to auto or legacy"), "{reason}");
    end(troupe).await;
}

#[tokio::test]
async fn server_filesystem_lists_writes_and_reads_in_its_folder_and_nowhere_else() {
    let Some(npm) = servers::npm() else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "alpha").unwrap();
    std::fs::create_dir(folder.path().join("b")).unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let troupe = ready([npm.filesystem(folder.path()).server("files")]).await;
    let list = call(&troupe, "list_directory", json!({"path": path("")})).await;
    assert_eq!(list.text().unwrap(), "[FILE] a.txt\n[DIR] b");
    call(&troupe, "write_file", json!({"path": path("b/c.txt"), "content": "gr\u{fc}n\n"})).await;
    assert_eq!(std::fs::read_to_string(path("b/c.txt")).unwrap(), "gr\u{fc}n\n");
    let read = call(&troupe, "read_text_file", json!({"path": path("b/c.txt")})).await;
    assert_eq!(read.text().unwrap(), "gr\u{fc}n\n");
    let outside = call(&troupe, "read_text_file", json!({"path": "/etc/hostname"})).await;
    assert!(refused(&outside).contains("Access denied"), "{}", outside.result);
    end(troupe).await;
}

#[tokio::test]
async fn mcp_server_time_answers_in_the_era_that_was_chosen_and_in_the_modern_one_by_itself() {
    let Some(python) = servers::python_2() else { return };
    let program = python.time();
    let troupe = ready([
        program.server("auto"),
        program.server("modern").era(EraChoice::Modern),
        program.server("legacy").era(EraChoice::Legacy),
    ])
    .await;
    for (server, modern) in [("auto", true), ("modern", true), ("legacy", false)] {
        assert_eq!(is_modern(&time_holds(&troupe, server).await), modern, "{server}");
    }
    end(troupe).await;
}

#[tokio::test]
async fn mcp_server_time_on_the_first_sdk_answers_whether_its_era_is_probed_or_known() {
    let Some(python) = servers::python_1() else { return };
    let program = python.time();
    let troupe = ready([program.server("auto"), program.server("legacy").era(EraChoice::Legacy)]).await;
    for server in ["auto", "legacy"] {
        assert!(!is_modern(&time_holds(&troupe, server).await));
    }
    end(troupe).await;
}

#[tokio::test]
async fn a_deadline_ends_a_long_call_and_the_server_goes_on() {
    let Some(npm) = servers::npm() else { return };
    let troupe = ready([npm.everything("deadline").server("everything")]).await;
    let long = Call::tool("trigger-long-running-operation").args(json!({"duration": 600, "steps": 600}));
    let answer = troupe.call(long.timeout(Duration::from_millis(300))).await;
    assert!(matches!(kind(answer), CallErrorKind::DeadlineExceeded { sent: true, .. }));
    everything_holds(&troupe, "everything").await;
    assert_eq!(troupe.servers()[0].incarnation.0, 1);
    end(troupe).await;
}

#[tokio::test]
async fn a_long_operation_tells_its_progress_before_its_answer() {
    let Some(npm) = servers::npm() else { return };
    let troupe = ready([npm.everything("progress").server("everything")]).await;
    long_operation_holds(&troupe).await;
    end(troupe).await;
}

#[tokio::test]
async fn an_operation_of_which_nothing_is_heard_ends_at_its_idle_deadline() {
    let Some(npm) = servers::npm() else { return };
    let troupe = ready([npm.everything("idle").server("everything")]).await;
    let long = Call::tool("trigger-long-running-operation").args(json!({"duration": 600, "steps": 1}));
    let ended = kind(troupe.call(long.idle_timeout(Duration::from_millis(200))).await);
    assert!(matches!(ended, CallErrorKind::DeadlineExceeded { deadline: Deadline::Idle, .. }), "{ended}");
    everything_holds(&troupe, "everything").await;
    end(troupe).await;
}

// It looks at processes through /proc.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_that_is_killed_in_the_middle_of_a_call_is_told_and_its_successor_answers() {
    use rustix::process::{Pid, Signal, kill_process};

    let Some(npm) = servers::npm() else { return };
    let label = format!("killed-by-{}", std::process::id());
    let troupe = ready([npm.everything(&label).server("everything")]).await;
    let long = Call::tool("trigger-long-running-operation").args(json!({"duration": 600, "steps": 600}));
    let call = tokio::spawn(troupe.call(long));
    while troupe.stats().await.servers[0].pool.in_flight == 0 {
        tokio::task::yield_now().await;
    }
    let pid = pid_of(&label);
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let CallErrorKind::ConnectionLost { reason, sent: true } = kind(call.await.unwrap()) else { panic!() };
    assert!(reason.contains("killed by signal 9"), "{reason}");
    troupe.ready_within(Readiness::All, PATIENCE).await.unwrap();
    everything_holds(&troupe, "everything").await;
    assert_ne!(pid_of(&label), pid);
    end(troupe).await;
}

/// The process with this argument.
#[cfg(target_os = "linux")]
fn pid_of(argument: &str) -> i32 {
    let has_it = |pid: &i32| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|one| one == argument.as_bytes())
    };
    let processes = std::fs::read_dir("/proc").unwrap();
    let pids = processes.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let found: Vec<i32> = pids.filter(has_it).collect();
    assert_eq!(found.len(), 1, "the processes {found:?} have it");
    found[0]
}
