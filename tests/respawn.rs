//! A server that dies a thousand times: each time it is started again and answers, and nothing of the dead stays behind.
//! The test counts what its whole process holds, so it is alone in its file.

// It looks at the process through /proc.
#![cfg(target_os = "linux")]
// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{child, echo, end, kind, start_with};
use mcp_troupe::config::BreakerMode;
use mcp_troupe::{Call, CallErrorKind, Readiness, Settings};

const DEATHS: usize = 1_000;

/// Deaths after which buffers and tables have their size.
const WARM_UP: usize = 200;

/// What the memory may grow by in the deaths that follow: a few pages of the allocator, but no KiB for each death.
const GROWTH_KIB_MAX: u64 = 512;

/// Open files of this process.
fn files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Children of this process that have ended and were not reaped.
fn zombies() -> usize {
    let own = std::process::id().to_string();
    let stats = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        Some((fields.next()? == "Z") && (fields.next()? == own))
    });
    stats.filter(|zombie| *zombie).count()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn after_a_thousand_deaths_there_is_no_zombie_no_open_file_and_no_memory_more() {
    let eager = |settings: &mut Settings| {
        settings.reconnect.min = Duration::from_millis(1);
        settings.reconnect.max = Duration::from_millis(1);
        settings.breaker.mode = BreakerMode::Disabled;
    };
    let troupe = start_with(eager, [child("s", [])]).await;
    troupe.ready(Readiness::All).await.unwrap();
    let mut before = (0, 0);
    for death in 0..DEATHS {
        if death == WARM_UP {
            before = (files(), resident_kib());
        }
        let lost = kind(troupe.call(Call::tool("exit")).await);
        assert!(matches!(lost, CallErrorKind::ConnectionLost { sent: true, .. }), "{lost}");
        assert!(troupe.call(echo()).await.is_ok(), "death {death}");
    }
    let after = (files(), resident_kib());
    assert_eq!(zombies(), 0);
    assert_eq!(after.0, before.0, "files were left open");
    println!("resident memory: {} KiB after {WARM_UP} deaths, {} KiB after {DEATHS}", before.1, after.1);
    assert!(after.1 <= before.1 + GROWTH_KIB_MAX, "{} KiB became {} KiB", before.1, after.1);
    end(troupe).await;
    assert_eq!(zombies(), 0);
}
