//! The rows of the servers: as many columns as there is room for.

use mcp_troupe::event::{BreakerState, ServerStatus, SourceStatus};
use mcp_troupe::stats::ServerStats;
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};

use super::words::{self, count, latency};

/// What the branch before a name takes.
const BRANCH: usize = 2;

/// Columns of a name: at least, and at most, which is all of the longest id.
const NAME: (usize, usize) = (13, 64);

/// A column: its title, its width, how soon it is left out for want of room (the higher the sooner), and what it shows.
struct Column {
    title: &'static str,
    width: usize,
    rank: u8,
    side: Side,
    cell: fn(&ServerStats) -> Span<'static>,
}

/// Which side of a column its text is on.
#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
}

/// The highest rank: that of the latencies, which are noted below the row where they have no columns.
const RANK_MAX: u8 = 6;

/// The columns behind the name, in their order. Those up to rank 5 fill 80 columns.
const COLUMNS: [Column; 10] = [
    Column { title: "status", width: 12, rank: 0, side: Side::Left, cell: |s| status(s.status) },
    Column { title: "life", width: 4, rank: 5, side: Side::Right, cell: |s| number(s.incarnation.0) },
    Column { title: "restarts", width: 8, rank: 4, side: Side::Right, cell: |s| number(s.restarts) },
    Column { title: "breaker", width: 9, rank: 1, side: Side::Left, cell: breaker },
    Column { title: "pool", width: 6, rank: 3, side: Side::Right, cell: pool },
    Column {
        title: "flight",
        width: 6,
        rank: 2,
        side: Side::Right,
        cell: |s| number(s.pool.in_flight as u64),
    },
    Column { title: "calls", width: 6, rank: 2, side: Side::Right, cell: |s| number(calls(s)) },
    Column { title: "errors", width: 6, rank: 1, side: Side::Right, cell: errors },
    Column {
        title: "p50",
        width: 6,
        rank: RANK_MAX,
        side: Side::Right,
        cell: |s| measured(s, s.latency.p50),
    },
    Column {
        title: "p99",
        width: 6,
        rank: RANK_MAX,
        side: Side::Right,
        cell: |s| measured(s, s.latency.p99),
    },
];

/// The columns that there is room for.
pub struct Table {
    name: usize,
    columns: Vec<&'static Column>,
}

impl Table {
    /// The columns for names of these, in so much room. Names give way first, down to their least width, then columns.
    pub fn of<'n>(names: impl Iterator<Item = &'n str>, width: usize) -> Self {
        let room = width.saturating_sub(BRANCH + NAME.0);
        let of_rank = |rank: u8| COLUMNS.iter().filter(move |column| column.rank <= rank);
        let taken = |rank: u8| of_rank(rank).map(|column| column.width + 1).sum::<usize>();
        let rank = (0..=RANK_MAX).rev().find(|rank| taken(*rank) <= room).unwrap_or_default();
        let longest = names.map(str::len).max().unwrap_or_default();
        let left = width.saturating_sub(BRANCH + taken(rank)).max(NAME.0);
        Self { name: longest.clamp(NAME.0, NAME.1).min(left), columns: of_rank(rank).collect() }
    }

    /// Whether the latencies have columns of their own.
    pub fn has_latencies(&self) -> bool {
        self.columns.iter().any(|column| column.rank == RANK_MAX)
    }

    /// The line above the rows.
    pub fn titles(&self) -> Line<'static> {
        let mut spans = vec![Span::raw(" ".repeat(BRANCH)), self.name("server")];
        for column in &self.columns {
            spans.extend(placed(Span::styled(column.title, Style::new().bold()), column));
        }
        Line::from(spans)
    }

    /// One server.
    pub fn row(&self, branch: &'static str, server: &ServerStats) -> Line<'static> {
        let mut spans = vec![Span::raw(branch), self.name(server.id.as_str())];
        for column in &self.columns {
            spans.extend(placed((column.cell)(server), column));
        }
        Line::from(spans)
    }

    /// A name in the column of names.
    pub fn name(&self, name: &str) -> Span<'static> {
        let short = words::fitted(Line::raw(name.to_owned()), self.name).to_string();
        Span::styled(format!("{short:<0$}", self.name), Style::new().bold())
    }
}

/// A text in its column, and the blank before it.
fn placed(text: Span<'static>, column: &Column) -> [Span<'static>; 2] {
    let blanks = " ".repeat(column.width.saturating_sub(text.width()));
    match column.side {
        Side::Left => [Span::raw(" "), Span::styled(format!("{}{blanks}", text.content), text.style)],
        Side::Right => [Span::raw(format!(" {blanks}")), text],
    }
}

/// Where a server stands.
fn status(status: ServerStatus) -> Span<'static> {
    let colour = match status {
        ServerStatus::Ready => Color::Green,
        ServerStatus::Connecting | ServerStatus::Restarting | ServerStatus::Draining => Color::Yellow,
        ServerStatus::Disconnected | ServerStatus::Quarantined => Color::Red,
        _ => Color::Reset,
    };
    Span::styled(status.to_string(), Style::new().fg(colour))
}

/// Where a source stands, in the column of the servers' status.
pub fn source_status(status: SourceStatus) -> Span<'static> {
    let colour = match status {
        SourceStatus::Good => Color::Green,
        SourceStatus::Asking | SourceStatus::Doubted => Color::Yellow,
        SourceStatus::Failing => Color::Red,
        _ => Color::Reset,
    };
    Span::styled(format!("{:<12}", status.to_string()), Style::new().fg(colour))
}

fn breaker(server: &ServerStats) -> Span<'static> {
    let Some(breaker) = &server.breaker else { return Span::raw("-") };
    let (word, colour) = match breaker.state {
        BreakerState::Closed => ("closed", Color::Green),
        BreakerState::Open => ("open", Color::Red),
        BreakerState::HalfOpen => ("half-open", Color::Yellow),
        BreakerState::ForcedOpen => ("forced", Color::Red),
        BreakerState::Disabled => ("disabled", Color::Reset),
        BreakerState::MetricsOnly => ("metrics", Color::Reset),
        _ => ("other", Color::Reset),
    };
    Span::styled(word, Style::new().fg(colour))
}

/// Open, busy and the most that there may be; nothing where the actor does not answer.
fn pool(server: &ServerStats) -> Span<'static> {
    let pool = &server.pool;
    if pool.max == 0 {
        Span::raw("-")
    } else {
        Span::raw(format!("{}/{}/{}", pool.ready, pool.busy, pool.max))
    }
}

fn calls(server: &ServerStats) -> u64 {
    server.outcomes.values().sum()
}

fn errors(server: &ServerStats) -> Span<'static> {
    let errors = calls(server) - server.outcomes.get("ok").copied().unwrap_or_default();
    let style = if errors == 0 { Style::new() } else { Style::new().fg(Color::Red) };
    Span::styled(count(errors), style)
}

fn measured(server: &ServerStats, time: std::time::Duration) -> Span<'static> {
    Span::raw(if server.latency.samples == 0 { "-".to_owned() } else { latency(time) })
}

fn number(number: u64) -> Span<'static> {
    Span::raw(count(number))
}
