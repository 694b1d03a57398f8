//! Servers that are child processes: killed, failing, noisy, stubborn, and with children of their own.

use std::path::Path;
use std::time::Duration;

use mcp_troupe::config::PoolSettings;
use mcp_troupe::event::BreakerState;
use mcp_troupe::testkit::{Fault, Target, inject};
use mcp_troupe::{Call, CallErrorKind, Event, Readiness, Server, Settings, Troupe};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::task::JoinSet;

use super::common::{child, child_path, echo, end, event, kind, ready, start, start_with};

/// The process of a server, and the child that it has if it was told to `--fork`.
async fn pids(troupe: &Troupe) -> (i32, Option<i32>) {
    let reply = troupe.call(Call::tool("pids")).await.unwrap();
    let told: Value = reply.structured().unwrap();
    let pid = |key: &str| told[key].as_i64().and_then(|pid| i32::try_from(pid).ok());
    (pid("pid").unwrap(), pid("child"))
}

fn exists(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Whether a process runs; one that has ended and waits to be reaped does not.
fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// Waits until a call is on its way to the server.
async fn in_flight(troupe: &Troupe, calls: usize) {
    while troupe.stats().await.servers[0].pool.in_flight < calls {
        tokio::task::yield_now().await;
    }
}

/// Waits until the first server could not be reached for a reason that begins so, and gives it.
async fn down(troupe: &Troupe, begin: &str) -> String {
    loop {
        let reason = troupe.servers().first().and_then(|info| info.reason.clone()).unwrap_or_default();
        if reason.starts_with(begin) {
            return reason;
        }
        tokio::task::yield_now().await;
    }
}

/// Redials within a millisecond, and no breaker: for tests of what comes again and again.
fn eager(settings: &mut Settings) {
    settings.reconnect.min = Duration::from_millis(1);
    settings.reconnect.max = Duration::from_millis(1);
    settings.processes.backoff = settings.reconnect.clone();
    settings.breaker.mode = mcp_troupe::config::BreakerMode::Disabled;
}

#[tokio::test]
async fn a_child_that_is_killed_in_the_middle_of_a_call_is_told_and_its_successor_answers() {
    let troupe = ready([child("s", [])]).await;
    let (pid, _) = pids(&troupe).await;
    let call = tokio::spawn(troupe.call(Call::tool("hold")));
    in_flight(&troupe, 1).await;
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let CallErrorKind::ConnectionLost { reason, sent: true } = kind(call.await.unwrap()) else { panic!() };
    assert!(reason.contains("killed by signal 9"), "{reason}");
    let (successor, _) = pids(&troupe).await;
    assert_ne!(pid, successor);
    assert!(!exists(pid), "it was not reaped");
    end(troupe).await;
}

#[tokio::test]
async fn a_call_waits_for_the_successor_of_a_killed_child_though_that_is_slow_to_start() {
    let troupe = ready([child("s", ["--slow", "2500ms"])]).await;
    let mut events = troupe.events();
    let (pid, _) = pids(&troupe).await;
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    event(&mut events, |event| matches!(event, Event::ConnectionLost { .. })).await;
    assert_ne!(pids(&troupe).await.0, pid);
    end(troupe).await;
}

#[tokio::test]
async fn a_child_that_exits_tells_its_code_and_its_last_words() {
    let troupe = ready([child("s", [])]).await;
    let CallErrorKind::ConnectionLost { reason, sent: true } = kind(troupe.call(Call::tool("exit")).await)
    else {
        panic!()
    };
    assert_eq!(reason, "the server's process exited with code 3; its stderr ends with \"ordered to exit\"");
    assert!(troupe.call(echo()).await.is_ok());
    end(troupe).await;
}

#[tokio::test]
async fn a_child_that_closes_its_stdout_is_ended_and_another_started() {
    let troupe = ready([child("s", [])]).await;
    let (pid, _) = pids(&troupe).await;
    let CallErrorKind::ConnectionLost { reason, .. } = kind(troupe.call(Call::tool("hang-up")).await) else {
        panic!()
    };
    assert!(reason.contains("its stdout has ended"), "{reason}");
    assert_ne!(pids(&troupe).await.0, pid);
    assert!(!exists(pid), "two of them are too many");
    end(troupe).await;
}

#[tokio::test]
async fn nothing_of_a_stubborn_child_and_its_children_is_left_after_shutdown() {
    let troupe = ready([child("s", ["--stubborn", "--fork"])]).await;
    let (pid, grandchild) = pids(&troupe).await;
    let grandchild = grandchild.unwrap();
    assert!(runs(pid) && runs(grandchild));
    end(troupe).await;
    assert!(!exists(pid), "it was not reaped");
    assert!(!runs(grandchild));
}

#[tokio::test]
async fn a_killed_actor_takes_its_process_and_its_children_with_it() {
    let troupe = start_with(eager, [child("s", ["--fork"])]).await;
    troupe.ready(Readiness::All).await.unwrap();
    let (mut pid, mut grandchild) = pids(&troupe).await;
    for target in [Target::connection("s"), Target::server("s"), Target::Registry, Target::Events] {
        inject(&troupe, target.clone(), Fault::Kill).await.unwrap();
        let next = loop {
            // The first call may meet the end itself.
            if let Ok(reply) = troupe.call(Call::tool("pids").idempotent()).await {
                let told: Value = reply.structured().unwrap();
                if told["pid"] != pid {
                    break told;
                }
            }
            tokio::task::yield_now().await;
        };
        assert!(!exists(pid), "{target:?}: it was not reaped");
        assert!(!runs(grandchild.unwrap()), "{target:?}");
        pid = i32::try_from(next["pid"].as_i64().unwrap()).unwrap();
        grandchild = next["child"].as_i64().map(|pid| i32::try_from(pid).unwrap());
    }
    end(troupe).await;
    assert!(!exists(pid));
}

#[tokio::test]
async fn a_troupe_that_is_dropped_leaves_no_process() {
    let troupe = ready([child("s", [])]).await;
    let (pid, _) = pids(&troupe).await;
    drop(troupe);
    while exists(pid) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_told_and_started_when_it_appears() {
    let folder = tempfile::tempdir().unwrap();
    let command = folder.path().join("late-server");
    let troupe = start_with(eager, [Server::stdio("s", command.to_str().unwrap(), ["--token=s3cret"])]).await;
    let reason = down(&troupe, "cannot start").await;
    assert!(reason.contains("late-server: No such file") && !reason.contains("s3cret"), "{reason}");
    // One that takes no notice of its arguments.
    let late = format!("#!/bin/sh\nexec {}\n", child_path().display());
    let unfinished = folder.path().join("unfinished");
    std::fs::write(&unfinished, late).unwrap();
    std::fs::set_permissions(&unfinished, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::rename(unfinished, command).unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    assert!(troupe.call(echo()).await.is_ok());
    end(troupe).await;
}

#[tokio::test]
async fn a_child_that_exits_at_once_is_told_and_hurts_nobody_else() {
    let troupe = start([child("bad", ["--fail", "9"]), child("good", [])]).await;
    assert!(troupe.call(echo().timeout(Duration::from_secs(60))).await.is_ok());
    let reason = down(&troupe, "during the handshake the server's process exited with").await;
    assert!(
        reason.ends_with("exited with code 9; its stderr ends with \"no such table: users\""),
        "{reason}"
    );
    let error = kind(troupe.call(Call::tool("users")).await);
    assert!(
        matches!(&error, CallErrorKind::Unavailable { servers } if servers[0].server.as_str() == "bad"),
        "{error:?}"
    );
    end(troupe).await;
}

#[tokio::test]
async fn a_crash_loop_opens_the_breaker() {
    let quick = |settings: &mut Settings| settings.reconnect.max = settings.reconnect.min;
    let troupe = start_with(quick, [child("s", [])]).await;
    let mut events = troupe.events();
    let opened = |event: &Event| matches!(event, Event::BreakerChanged { transition, .. } if transition.to == BreakerState::Open);
    let crashes = async {
        loop {
            let _ = troupe.call(Call::tool("exit")).await;
        }
    };
    tokio::select! { biased;
        _ = event(&mut events, opened) => {}
        () = crashes => {}
    }
    end(troupe).await;
}

#[tokio::test]
async fn a_banner_before_the_first_message_is_passed_over() {
    for era in [None, Some("--legacy")] {
        let arguments = ["--banner", "100"].into_iter().chain(era);
        let troupe = ready([child("s", arguments)]).await;
        assert!(troupe.call(echo()).await.is_ok());
        end(troupe).await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_program_that_sends_back_what_it_is_sent_is_told_as_that() {
    let troupe = start([Server::stdio("cat", "cat", [""; 0])]).await;
    down(&troupe, "it sends back what it is sent: that is no MCP server").await;
    end(troupe).await;
}

#[tokio::test]
async fn a_child_that_never_answers_is_given_up_and_what_it_said_instead_is_told() {
    let brief = |settings: &mut Settings| {
        settings.pool.probe_timeout = Duration::from_millis(20);
        settings.pool.handshake_timeout = Some(Duration::from_millis(300));
    };
    let troupe = start_with(brief, [child("s", ["--banner", "3", "--silent"])]).await;
    // A busy machine may not get it as far as its banner each time.
    down(
        &troupe,
        "no handshake within 300ms (pool.handshakeTimeout); it sent 3 times something that is no MCP message, first \"",
    )
    .await;
    end(troupe).await;
}

#[tokio::test]
async fn a_child_that_is_slow_to_start_is_waited_for_in_either_era() {
    for era in [None, Some("--legacy")] {
        let impatient = |settings: &mut Settings| settings.pool.probe_timeout = Duration::from_millis(20);
        let arguments = ["--slow", "200ms"].into_iter().chain(era);
        let troupe = start_with(impatient, [child("s", arguments)]).await;
        troupe.ready(Readiness::All).await.unwrap();
        assert!(troupe.call(echo()).await.is_ok());
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_successor_that_never_answers_is_not_taken_for_ready() {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"if [ -e broken ]; then exec "$0" --silent; else exec "$0"; fi"#;
    let program = child_path();
    let server = Server::stdio("s", "sh", ["-c", script, program.to_str().unwrap()]).cwd(folder.path());
    let brief = |settings: &mut Settings| {
        settings.pool.probe_timeout = Duration::from_millis(20);
        settings.pool.handshake_timeout = Some(Duration::from_millis(500));
    };
    let troupe = start_with(brief, [server]).await;
    troupe.ready(Readiness::All).await.unwrap();
    std::fs::write(folder.path().join("broken"), "").unwrap();
    assert!(matches!(kind(troupe.call(Call::tool("exit")).await), CallErrorKind::ConnectionLost { .. }));
    down(&troupe, "no handshake within 500ms").await;
    end(troupe).await;
}

#[tokio::test]
async fn a_flood_on_stderr_disturbs_no_call() {
    let troupe = ready([child("s", ["--flood"])]).await;
    for _ in 0..100 {
        assert!(troupe.call(echo()).await.is_ok());
    }
    end(troupe).await;
}

#[tokio::test]
async fn there_is_one_process_unless_the_pool_says_more() {
    for (max, most) in [(None, 1), (Some(3), 3)] {
        let server = child("s", []);
        let server = match max {
            None => server,
            Some(max) => {
                let mut pool = PoolSettings::default();
                pool.max = max;
                server.pool(pool)
            }
        };
        let troupe = ready([server]).await;
        let mut held = JoinSet::new();
        while held.len() < 20 || troupe.stats().await.servers[0].pool.ready < most {
            held.spawn(troupe.call(Call::tool("hold")));
            in_flight(&troupe, held.len()).await;
        }
        assert_eq!(troupe.stats().await.servers[0].pool.total, most);
        held.abort_all();
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_lease_is_a_process_of_its_own_that_ends_with_it() {
    let troupe = ready([child("s", [])]).await;
    let (shared, _) = pids(&troupe).await;
    let lease = troupe.lease("s").await.unwrap();
    let told: Value = lease.call(Call::tool("pids")).await.unwrap().structured().unwrap();
    let leased = i32::try_from(told["pid"].as_i64().unwrap()).unwrap();
    assert_ne!(leased, shared);
    drop(lease);
    while exists(leased) {
        tokio::task::yield_now().await;
    }
    assert_eq!(pids(&troupe).await.0, shared);
    end(troupe).await;
}
