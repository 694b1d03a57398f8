//! Calls of which nothing is heard, in virtual time.

use std::time::Duration;

use mcp_troupe::testkit::{Script, ScriptedEra, ScriptedServer, Step};
use mcp_troupe::{Call, CallErrorKind, Deadline, Server, Settings, Troupe};
use tokio::time::Instant;

use super::common::{end, kind};
use super::{account, heard, telling};

const SECOND: Duration = Duration::from_secs(1);

/// A troupe of one server with one tool, over links in memory.
async fn troupe(
    era: ScriptedEra,
    tool: Script,
    change: impl FnOnce(&mut Settings),
) -> (ScriptedServer, Troupe) {
    let (server, connector) = ScriptedServer::builder().era(era).tool("t", tool).start_in_memory();
    let mut settings = Settings::default();
    change(&mut settings);
    let builder = Troupe::builder().settings(settings).server_via(Server::custom("s"), connector).seed(7);
    let troupe = builder.start().await.unwrap();
    troupe.ready(mcp_troupe::Readiness::All).await.unwrap();
    (server, troupe)
}

fn call() -> Call {
    Call::tool("t").idle_timeout(SECOND).timeout(60 * SECOND)
}

/// Steps of progress, each after a while.
fn paced(reports: impl IntoIterator<Item = f64>, pause: Duration) -> Vec<Step> {
    reports.into_iter().flat_map(|progress| [Step::Pause(pause), Step::progress(progress)]).collect()
}

fn since(begun: Instant) -> u128 {
    Instant::now().saturating_duration_since(begun).as_millis()
}

#[tokio::test(start_paused = true)]
async fn a_call_of_which_nothing_is_heard_ends_at_its_idle_deadline_and_the_server_is_told() {
    let (server, troupe) = troupe(ScriptedEra::Modern, Script::Silence, |_| ()).await;
    let begun = Instant::now();
    let ended = kind(troupe.call(call()).await);
    let told = CallErrorKind::DeadlineExceeded { deadline: Deadline::Idle, timeout: SECOND, sent: true };
    assert_eq!(ended, told);
    assert!((1_000..=1_002).contains(&since(begun)), "{}", since(begun));
    server.wait_for(|seen| !seen.cancelled.is_empty()).await;
    assert_eq!(troupe.stats().await.servers[0].pool.in_flight, 0);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn progress_keeps_a_long_call_alive_in_both_eras_whether_somebody_listens_or_not() {
    for era in [ScriptedEra::Modern, ScriptedEra::Legacy] {
        let steps = paced((1..=20).map(f64::from), 900 * SECOND / 1000);
        let (_server, troupe) = troupe(era, telling(steps), |_| ()).await;
        let begun = Instant::now();
        assert!(troupe.call(call()).await.is_ok());
        assert!((18_000..=18_050).contains(&since(begun)), "{}", since(begun));
        let (updates, answer) = heard(troupe.call_stream(call())).await;
        assert_eq!(updates.len(), 20);
        assert!(answer.is_ok());
        end(troupe).await;
    }
}

#[tokio::test(start_paused = true)]
async fn progress_never_extends_the_hard_deadline() {
    let steps = paced((1..=20).map(f64::from), 900 * SECOND / 1000);
    let (_server, troupe) = troupe(ScriptedEra::Modern, telling(steps), |_| ()).await;
    let begun = Instant::now();
    let ended = kind(troupe.call(call().timeout(5 * SECOND)).await);
    assert!(matches!(ended, CallErrorKind::DeadlineExceeded { deadline: Deadline::Total, .. }), "{ended}");
    assert!((5_000..=5_002).contains(&since(begun)), "{}", since(begun));
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn progress_that_does_not_grow_keeps_no_call_alive() {
    let (_server, troupe) =
        troupe(ScriptedEra::Modern, telling(paced([1.0; 20], 900 * SECOND / 1000)), |_| ()).await;
    let begun = Instant::now();
    let (updates, answer) = heard(troupe.call_stream(call())).await;
    assert!(matches!(kind(answer), CallErrorKind::DeadlineExceeded { deadline: Deadline::Idle, .. }));
    // The first is at 900 ms.
    assert!((1_900..=1_902).contains(&since(begun)), "{}", since(begun));
    assert_eq!(updates, ["s/1 1", "s/1 1"]);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn the_configured_idle_deadline_holds_for_calls_that_name_none() {
    let (_server, troupe) =
        troupe(ScriptedEra::Modern, Script::Silence, |settings| settings.call_idle_timeout = Some(SECOND))
            .await;
    let begun = Instant::now();
    let ended = kind(troupe.call(Call::tool("t")).await);
    assert!(matches!(ended, CallErrorKind::DeadlineExceeded { deadline: Deadline::Idle, .. }), "{ended}");
    let longer = kind(troupe.call(Call::tool("t").idle_timeout(2 * SECOND)).await);
    assert!(matches!(longer, CallErrorKind::DeadlineExceeded { timeout, .. } if timeout == 2 * SECOND));
    assert!((3_000..=3_004).contains(&since(begun)), "{}", since(begun));
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_keeps_a_call_alive_though_few_of_it_are_passed_on() {
    let mut steps = Vec::new();
    for n in 0..20u32 {
        let reports = (0..5_000).map(|step| Step::progress(f64::from(n * 5_000 + step)));
        steps.extend(reports.chain([Step::Pause(900 * SECOND / 1000)]));
    }
    let (_server, troupe) = troupe(ScriptedEra::Modern, telling(steps), |_| ()).await;
    assert!(troupe.call(call()).await.is_ok());
    let (updates, answer) = heard(troupe.call_stream(call())).await;
    let (told, missed) = account(&updates);
    assert_eq!(told + missed, 100_000);
    // Each of the twenty bursts passes as far as the allowance of an attempt goes, and in the pause its last report.
    assert_eq!(told, 20 * 257);
    assert!(answer.is_ok());
    end(troupe).await;
}
