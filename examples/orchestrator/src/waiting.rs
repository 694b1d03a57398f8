//! A line on the terminal for who waits: which servers are still starting, and for how long.

mod words;

use std::collections::BTreeSet;
use std::fmt::Arguments;
use std::io::{self, Write};
use std::time::Duration;

use mcp_troupe::event::ServerStatus;
use mcp_troupe::id::ServerId;
use mcp_troupe::{ServerInfo, Tool, Troupe};
use tokio::time::{Instant, MissedTickBehavior};

use crate::{Target, output};
pub use words::fitted;
use words::{words, words_of_call, words_of_others};

/// Whoever waits for less needs no line.
const QUIET: Duration = Duration::from_millis(700);

/// How often it is drawn.
const INTERVAL: Duration = Duration::from_millis(250);

/// How long a bare name waits for servers that may have a tool of that name as well.
pub const NAMES_SETTLE: Duration = Duration::from_secs(3);

/// A terminal of unknown width.
const USUAL_WIDTH: usize = 80;

/// What clears the line on which the cursor stands.
const CLEARED: &str = "\r\x1b[K";

/// Where logs go: stderr, and on a terminal in the place of the line that is drawn there, which is drawn again below them.
pub struct BetweenLines;

impl Write for BetweenLines {
    fn write(&mut self, log: &[u8]) -> io::Result<usize> {
        // Whole: what is left over would come back, and be cleared itself.
        if output::for_people() {
            output::draw(format_args!("{CLEARED}"));
            String::from_utf8_lossy(log)
                .lines()
                .for_each(|line| output::draw(format_args!("{}\n", output::broken(line))));
        } else {
            io::stderr().lock().write_all(log)?;
        }
        Ok(log.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Does some work, and says on a terminal meanwhile which servers it waits for. Elsewhere it does the work alone.
pub async fn while_waiting<T>(troupe: &Troupe, work: impl Future<Output = T>) -> T {
    // One that has failed once is not waited for, however often it is tried again.
    let mut failed = BTreeSet::new();
    let line = |elapsed| {
        let servers = troupe.servers();
        let others = servers.iter().filter(|info| info.status != ServerStatus::Connecting);
        failed.extend(others.map(|info| info.id.clone()));
        words(&starting(&servers, |info| !failed.contains(&info.id)), elapsed, width())
    };
    while_saying(work, line).await
}

/// The same for a call, which waits for the servers alone that offer its tool, or may offer it.
pub async fn while_calling<T>(troupe: &Troupe, target: &Target, work: impl Future<Output = T>) -> T {
    let line = |elapsed| {
        let Target { tool, server, group, .. } = target;
        let offering = offering(troupe, target);
        let servers = troupe.servers();
        let named = group.as_deref().or_else(|| group_of(tool, &servers));
        let meant = |info: &ServerInfo| {
            server.as_ref().is_none_or(|server| info.id == **server)
                && named.is_none_or(|group| info.group == *group)
        };
        let waits =
            starting(&servers, |info| meant(info) && (offering.is_empty() || offering.contains(&info.id)));
        let others = starting(&servers, meant);
        if !offering.is_empty() && waits.is_empty() && !others.is_empty() && elapsed < NAMES_SETTLE {
            return words_of_others(tool, &others, elapsed, width());
        }
        words_of_call(tool, !offering.is_empty(), &waits, elapsed, width())
    };
    while_saying(work, line).await
}

/// The group that a tool's name begins with: `git/log`, `git__log`.
fn group_of<'t>(tool: &'t str, servers: &[ServerInfo]) -> Option<&'t str> {
    let named = tool.split_once('/').or_else(|| tool.split_once("__")).map(|(group, _)| group);
    named.filter(|group| servers.iter().any(|info| info.group == **group))
}

/// The servers that are known to have the tool of a call.
pub fn offering(troupe: &Troupe, target: &Target) -> Vec<ServerId> {
    let tool = &target.tool;
    let is_meant = |known: &Tool| {
        *known.name == **tool
            || *known.exposed == **tool
            || format!("{}/{}", known.group, known.name) == *tool
    };
    troupe.tools().into_iter().filter(is_meant).flat_map(|known| known.servers.to_vec()).collect()
}

/// A line on stderr that takes the place of the one which is drawn while somebody waits. That one is drawn again below it.
pub fn note_while_waiting(words: Arguments<'_>) {
    if output::for_people() {
        output::draw(format_args!("{CLEARED}"));
    }
    output::stderr(format_args!("{words}\n"));
}

async fn while_saying<T>(work: impl Future<Output = T>, mut line_at: impl FnMut(Duration) -> String) -> T {
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
            _ = ticks.tick() => line.draw(&line_at(Instant::now().saturating_duration_since(begun))),
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
        output::draw(format_args!("{CLEARED}{words}"));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.drawn {
            output::draw(format_args!("{CLEARED}"));
        }
    }
}

/// The width of the terminal.
pub fn width() -> usize {
    // One whose size nobody has set says that it has no columns.
    let size = ratatui::crossterm::terminal::size().ok().filter(|(columns, _)| *columns > 0);
    size.map_or(USUAL_WIDTH, |(columns, _)| columns.into())
}

/// Servers that have neither answered nor failed, and what is known of that.
fn starting(servers: &[ServerInfo], meant: impl Fn(&ServerInfo) -> bool) -> Vec<(&str, Option<&str>)> {
    let starting = servers.iter().filter(|info| info.status == ServerStatus::Connecting && meant(info));
    starting.map(|info| (info.id.as_str(), info.reason.as_deref())).collect()
}
