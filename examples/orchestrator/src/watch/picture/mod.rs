//! The picture of a troupe: a pure function of what is known of it at one moment, and of the room that there is.

mod lines;
mod story;
mod table;
mod words;

use std::ffi::OsString;

use mcp_troupe::{ServerInfo, Stats};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::text::Line;
use tokio::time::Instant;

pub use story::Story;
use table::Table;

/// Lines of the live picture that events take, with their title: a quarter of it, within these bounds.
const EVENT_LINES: std::ops::RangeInclusive<u16> = 4..=12;

/// Events of a picture that is printed once.
const EVENTS_ONCE: usize = 12;

/// What is known of a troupe at one moment.
pub struct Snapshot {
    /// What it plays.
    pub title: String,
    /// Its figures.
    pub stats: Stats,
    /// Its servers, as the roster shows them.
    pub servers: Vec<ServerInfo>,
    /// What happened.
    pub story: Story,
    /// When it began.
    pub begun: Instant,
    /// The moment.
    pub at: Instant,
}

impl Snapshot {
    fn table(&self, width: usize) -> Table {
        let (servers, sources) = (self.stats.servers.iter(), self.stats.sources.iter());
        let names = servers.map(|server| server.id.as_str()).chain(sources.map(|source| source.id.as_str()));
        Table::of(names, width)
    }
}

/// Whether words are coloured. The colours say nothing that the words do not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// They are.
    Coloured,
    /// They are not.
    Plain,
}

impl Look {
    /// As the variable `NO_COLOR` says: colours unless it is there and not empty.
    pub fn wanted(no_color: Option<OsString>) -> Self {
        if no_color.is_some_and(|value| !value.is_empty()) { Self::Plain } else { Self::Coloured }
    }
}

/// Which part of the tree is seen.
#[derive(Default)]
pub struct Scroll {
    /// Lines above it.
    offset: usize,
    /// Lines that were seen last.
    page: usize,
    /// The legend is seen in its place.
    legend: bool,
}

impl Scroll {
    /// One line up.
    pub fn up(&mut self) {
        self.offset = self.offset.saturating_sub(1);
    }

    /// One line down; drawing ends it at the last line.
    pub fn down(&mut self) {
        self.offset += 1;
    }

    /// One page up.
    pub fn page_up(&mut self) {
        self.offset = self.offset.saturating_sub(self.page);
    }

    /// One page down.
    pub fn page_down(&mut self) {
        self.offset += self.page;
    }

    /// The legend, or the tree again.
    pub fn explain(&mut self) {
        self.legend = !self.legend;
    }

    /// The tree again. Whether it was not seen.
    pub fn back(&mut self) -> bool {
        std::mem::take(&mut self.legend)
    }

    /// To the first line.
    pub fn first(&mut self) {
        self.offset = 0;
    }

    /// To the last line.
    pub fn last(&mut self) {
        self.offset = usize::MAX / 2;
    }
}

/// Draws the live picture: what is above all, the tree as far as there is room, the last events, and the keys.
pub fn draw(frame: &mut Frame<'_>, snapshot: &Snapshot, scroll: &mut Scroll, look: Look) {
    let area = frame.area();
    let (width, height) = (usize::from(area.width), area.height);
    let summary = lines::summary(snapshot);
    let table = snapshot.table(width);
    let (titles, tree) = (table.titles(), lines::tree(snapshot, &table, width));
    let events_height = (height / 4).clamp(*EVENT_LINES.start(), *EVENT_LINES.end());
    let [top, heading, middle, bottom, keys] = Layout::vertical([
        Constraint::Length(u16::try_from(summary.len()).unwrap_or(u16::MAX)),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(events_height),
        Constraint::Length(1),
    ])
    .areas(area);
    scroll.page = usize::from(middle.height).max(1);
    scroll.offset = scroll.offset.min(tree.len().saturating_sub(scroll.page));
    let seen = scroll.offset..(scroll.offset + scroll.page).min(tree.len());
    let footer = if scroll.legend { lines::keys_of_legend() } else { lines::keys(&seen, tree.len()) };
    if scroll.legend {
        let [place] = Layout::vertical([Constraint::Fill(1)]).areas(heading.union(middle).union(bottom));
        for (line, row) in lines::legend().into_iter().zip(place.rows()) {
            frame.render_widget(words::fitted(line, width), row);
        }
        for (line, row) in summary.into_iter().zip(top.rows()).chain([(footer, keys)]) {
            let line = words::fitted(line, width);
            frame.render_widget(if look == Look::Plain { words::colourless(line) } else { line }, row);
        }
        return;
    }
    let events = lines::events(snapshot, usize::from(bottom.height).saturating_sub(1));
    for (place, lines) in [
        (top, summary),
        (heading, vec![titles]),
        (middle, tree[seen].to_vec()),
        (bottom, events),
        (keys, vec![footer]),
    ] {
        for (line, row) in lines.into_iter().zip(place.rows()) {
            let line = words::fitted(line, width);
            frame.render_widget(if look == Look::Plain { words::colourless(line) } else { line }, row);
        }
    }
}

/// The whole picture as plain text, each line at most so wide.
pub fn plain(snapshot: &Snapshot, columns: u16) -> String {
    let width = usize::from(columns);
    let mut lines = lines::summary(snapshot);
    let table = snapshot.table(width);
    lines.push(table.titles());
    lines.extend(lines::tree(snapshot, &table, width));
    lines.extend(lines::events(snapshot, EVENTS_ONCE));
    let text = |line: Line<'static>| format!("{}\n", words::fitted(line, width).to_string().trim_end());
    lines.into_iter().map(text).collect()
}
