//! A line on the terminal for who waits: which servers are still starting, and for how long.

mod words;

use std::time::Duration;

use mcp_troupe::event::ServerStatus;
use mcp_troupe::{ServerInfo, Troupe};
use tokio::time::{Instant, MissedTickBehavior};

use crate::output;
use words::words;

/// Whoever waits for less needs no line.
const QUIET: Duration = Duration::from_millis(700);

/// How often it is drawn.
const INTERVAL: Duration = Duration::from_millis(250);

/// A terminal of unknown width.
const USUAL_WIDTH: usize = 80;

/// What clears the line on which the cursor stands.
const CLEARED: &str = "\r\x1b[K";

/// Does some work, and says on a terminal meanwhile which servers it waits for. Elsewhere it does the work alone.
pub async fn while_waiting<T>(troupe: &Troupe, work: impl Future<Output = T>) -> T {
    if !output::for_people() {
        return work.await;
    }
    let begun = Instant::now();
    let mut work = std::pin::pin!(work);
    let mut ticks = tokio::time::interval_at(begun + QUIET, INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // Dropped in the middle, by an interrupt, it leaves no half line either.
    let mut line = Line { drawn: false };
    loop {
        tokio::select! { biased;
            done = &mut work => return done,
            _ = ticks.tick() => line.draw(&words(&starting(&troupe.servers()), Instant::now().saturating_duration_since(begun), width())),
        }
    }
}

/// The line, cleared when it is dropped.
struct Line {
    drawn: bool,
}

impl Line {
    fn draw(&mut self, words: &str) {
        self.drawn = true;
        output::stderr(format_args!("{CLEARED}{words}"));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.drawn {
            output::stderr(format_args!("{CLEARED}"));
        }
    }
}

fn width() -> usize {
    ratatui::crossterm::terminal::size().map_or(USUAL_WIDTH, |(columns, _)| columns.into())
}

/// Servers that have neither answered nor failed, and what is known of that.
fn starting(servers: &[ServerInfo]) -> Vec<(&str, Option<&str>)> {
    let starting = servers.iter().filter(|info| info.status == ServerStatus::Connecting);
    starting.map(|info| (info.id.as_str(), info.reason.as_deref())).collect()
}
