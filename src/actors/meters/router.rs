//! The router's figures.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Label, counter, gauge, histogram};
use tokio::time::Instant;

use super::names;
use crate::call::Request;
use crate::duration::later;
use crate::id::{GroupId, ServerId};
use crate::policy::routing::{Figures, Settled};

/// Tools that have series of their own. A server that renames its tools again and again must not fill the host's memory
/// and its monitoring; calls of the tools beyond count without a name.
const TOOLS_MAX: usize = 10_000;

/// Servers that have a counter of their own. Directories name new ones for as long as the troupe runs.
const SERVERS_MAX: usize = 10_000;

/// How often gauges are written while something happens: to count what waits may take as long as placing a call.
const GAUGES_EVERY: Duration = Duration::from_millis(100);

/// The handles that the router writes to. What it writes to for each call is looked up and not named.
pub(crate) struct RouterMeters {
    /// Of a tool of a group, or of everything else of a kind of request; each at the place that is kept below.
    tools: Vec<ToolMeters>,
    groups: HashMap<GroupId, Places>,
    /// What was not found in any group.
    groupless: Places,
    late: HashMap<ServerId, Counter>,
    retries: Counter,
    hedges: Counter,
    hedges_won: Counter,
    retries_refused: Counter,
    open: Gauge,
    high: Gauge,
    normal: Gauge,
    low: Gauge,
    /// As they were written last.
    written: Figures,
    /// Gauges are not written before this.
    next: Instant,
    /// Something has happened since they were written.
    stale: bool,
}

/// Where the meters of one group are.
#[derive(Default)]
struct Places {
    tools: HashMap<Arc<str>, usize>,
    /// Of the requests for other things.
    others: HashMap<Request, usize>,
}

impl Places {
    fn get(&self, request: Request, tool: &str) -> Option<usize> {
        match request {
            Request::Tool => self.tools.get(tool).copied(),
            Request::Resource | Request::Prompt | Request::Completion(_) => {
                self.others.get(&request).copied()
            }
        }
    }

    fn set(&mut self, request: Request, tool: Arc<str>, place: usize) {
        match request {
            Request::Tool => self.tools.insert(tool, place),
            Request::Resource | Request::Prompt | Request::Completion(_) => {
                self.others.insert(request, place)
            }
        };
    }
}

struct ToolMeters {
    /// What they are told by.
    labels: Vec<Label>,
    duration: Histogram,
    /// The few that occur, by outcome.
    outcomes: Vec<(&'static str, Counter)>,
    shed: Option<Counter>,
}

impl ToolMeters {
    fn new(labels: Vec<Label>) -> Self {
        let duration = histogram!(names::CALL_DURATION, labels.clone());
        Self { labels, duration, outcomes: Vec::new(), shed: None }
    }

    fn ended(&mut self, outcome: &'static str, duration: Duration) {
        self.duration.record(duration);
        let known = self.outcomes.iter().find(|(known, _)| *known == outcome);
        match known {
            Some((_, counter)) => counter.increment(1),
            None => {
                let mut labels = self.labels.clone();
                labels.push(Label::new("outcome", outcome));
                let counter = counter!(names::CALLS, labels);
                counter.increment(1);
                self.outcomes.push((outcome, counter));
            }
        }
    }

    fn shed(&mut self) {
        let labels = &self.labels;
        self.shed.get_or_insert_with(|| counter!(names::SHED_CALLS, labels.clone())).increment(1);
    }
}

impl RouterMeters {
    pub(crate) fn new() -> Self {
        let queued = |priority: &'static str| gauge!(names::QUEUED_CALLS, "priority" => priority);
        Self {
            tools: Vec::new(),
            groups: HashMap::new(),
            groupless: Places::default(),
            late: HashMap::new(),
            retries: counter!(names::RETRIES),
            hedges: counter!(names::HEDGES),
            hedges_won: counter!(names::HEDGES_WON),
            retries_refused: counter!(names::RETRIES_REFUSED),
            open: gauge!(names::OPEN_CALLS),
            high: queued("high"),
            normal: queued("normal"),
            low: queued("low"),
            written: Figures::default(),
            next: Instant::now(),
            stale: false,
        }
    }

    /// A call is over.
    pub(crate) fn settled(&mut self, settled: &Settled<'_>) {
        self.tool(settled).ended(settled.outcome, settled.duration);
    }

    /// A call was refused since too many wait.
    pub(crate) fn shed(&mut self, settled: &Settled<'_>) {
        self.tool(settled).shed();
    }

    /// Answers of a server came when nobody waited for them.
    pub(crate) fn late(&mut self, server: &ServerId, answers: u64) {
        if let Some(counter) = self.late.get(server) {
            return counter.increment(answers);
        }
        if self.late.len() >= SERVERS_MAX {
            // Those that are gone need none, the others are found again.
            self.late.clear();
        }
        let counter = counter!(names::LATE_ANSWERS, "server" => server.to_string());
        counter.increment(answers);
        self.late.insert(server.clone(), counter);
    }

    /// The router has done what it had to do.
    pub(crate) fn turned(&mut self, now: Instant, figures: impl FnOnce() -> Figures) {
        self.stale = now < self.next;
        if self.stale {
            return;
        }
        self.next = later(now, GAUGES_EVERY);
        let (former, figures) = (self.written, figures());
        self.written = figures;
        self.open.set(figures.open as f64);
        self.high.set(figures.queued.high as f64);
        self.normal.set(figures.queued.normal as f64);
        self.low.set(figures.queued.low as f64);
        self.retries.increment(figures.retries - former.retries);
        self.hedges.increment(figures.hedges - former.hedges);
        self.hedges_won.increment(figures.hedges_won - former.hedges_won);
        self.retries_refused.increment(figures.retries_refused - former.retries_refused);
    }

    /// When the figures are to be written, if they are not what they were.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        self.stale.then_some(self.next)
    }

    fn tool(&mut self, settled: &Settled<'_>) -> &mut ToolMeters {
        let places = match settled.group {
            Some(group) => self.groups.get(group),
            None => Some(&self.groupless),
        };
        let place = places.and_then(|places| places.get(settled.request, settled.tool));
        let place = place.unwrap_or_else(|| self.new_tool(settled));
        &mut self.tools[place]
    }

    /// The place of one that has none yet.
    fn new_tool(&mut self, Settled { request, group, tool, .. }: &Settled<'_>) -> usize {
        // The few kinds of requests without a name are the rest.
        let named = self.tools.len() < TOOLS_MAX;
        let tool = if named { Arc::clone(tool) } else { "".into() };
        let group = group.filter(|_| named);
        let places = match group {
            Some(group) => self.groups.entry(group.clone()).or_default(),
            None => &mut self.groupless,
        };
        if let Some(place) = places.get(*request, &tool) {
            return place;
        }
        let place = self.tools.len();
        let group = group.map(GroupId::to_string).unwrap_or_default();
        self.tools.push(ToolMeters::new(vec![
            Label::new("request", request.name()),
            Label::new("group", group),
            Label::new("tool", tool.to_string()),
        ]));
        places.set(*request, tool, place);
        place
    }
}

/// Nothing is open at a router that has ended; the next one counts from nothing.
impl Drop for RouterMeters {
    fn drop(&mut self) {
        for gauge in [&self.open, &self.high, &self.normal, &self.low] {
            gauge.set(0.0);
        }
    }
}
