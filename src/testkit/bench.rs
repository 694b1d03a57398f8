//! The pure parts of the call path, without actors and sockets, for the benches of this crate. No part of the public face.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::call::{AttemptEnd, Call, OutcomeClass};
use crate::call_update::CallUpdate;
use crate::config::{Collisions, PoolSettings, Server, Settings};
use crate::error::CallError;
use crate::event::ServerStatus;
use crate::id::{AttemptId, CallId, GroupId, Incarnation, ServerId};
use crate::json::RawJson;
use crate::offer::EntryKind;
use crate::policy::catalogue::{Catalogue, Definition, Offer, Resolution, ServerOffer};
use crate::policy::routing::{Answer, CancelReason, Completion, Dispatch, Outlet, Routing, Standing};
use crate::policy::search::SearchIndex;
use crate::policy::strategy::Strategies;
use crate::protocol::envelope::{Incoming, decode};

/// Time between two turns. Far below any deadline, for as many calls as may wait.
const STEP: Duration = Duration::from_micros(10);

/// What an attempt takes.
const LATENCY: Duration = Duration::from_millis(1);

/// The one tool, or the first.
const TOOL: &str = "search";

/// Reads one frame as the pump does. Returns the size of the results in it.
pub fn read(frame: Bytes) -> usize {
    let mut bytes = 0;
    let read = decode(frame, |incoming| match incoming {
        Incoming::Response(response) => bytes += response.outcome.map_or(0, |result| result.len()),
        Incoming::Foreign { .. }
        | Incoming::MissingOutcome { .. }
        | Incoming::Request { .. }
        | Incoming::Notification { .. } => {}
    });
    read.map_or(0, |()| bytes)
}

/// How the servers of a [`Round`] belong together. All offer a tool of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    /// They are replicas.
    OneGroup,
    /// Each is a group of its own, and calls name it.
    OwnGroups,
}

/// The router's judgement over so many ready servers, with so many calls in its queue.
pub struct Round {
    routing: Routing<(), usize>,
    stage: Stage,
    servers: Vec<ServerId>,
    tools: Vec<String>,
    now: Instant,
    calls: u64,
    result: RawJson,
}

/// Takes note of the last dispatch; servers are numbers.
#[derive(Default)]
struct Stage {
    dispatched: Option<(usize, AttemptId)>,
    answers: u64,
}

impl Outlet<(), usize> for Stage {
    fn answer(&mut self, (): (), answer: Answer) {
        self.answers += u64::from(answer.is_ok());
    }

    fn unknown(&mut self, (): (), _: CallError, _: EntryKind, _: &Arc<Catalogue>) {}

    fn left(&self, (): &()) -> bool {
        false
    }

    fn hand_back(&mut self, (): (), _: Arc<Call>) {}

    fn dispatch(&mut self, server: &usize, dispatch: Dispatch) -> bool {
        self.dispatched = Some((*server, dispatch.attempt));
        true
    }

    fn need(&mut self, _: &usize) {}

    fn tell(&mut self, (): &mut (), _: CallUpdate) {}

    fn cancel(&mut self, _: &usize, _: AttemptId, _: CancelReason) {}
}

fn server_id(number: usize) -> ServerId {
    ServerId::new(format!("server-{number}")).expect("plain characters")
}

impl Round {
    /// Sets the stage. Where calls are queued, each server works on one call and has no room for another.
    pub fn new(strategy: &str, company: Company, servers: usize, queued: usize) -> Self {
        let mut settings = Settings::default();
        settings.mailbox.capacity = queued + 1;
        settings.limits.open_calls_max = servers + queued + 1;
        let mut strategies = Strategies::with_builtin();
        strategies.select(strategy).expect("a built-in strategy");
        let mut round = Self {
            routing: Routing::new(Arc::new(settings), strategies, 7),
            stage: Stage::default(),
            servers: (0..servers).map(server_id).collect(),
            tools: vec![TOOL.to_owned()],
            now: Instant::now(),
            calls: 0,
            result: RawJson::from_text("{}").expect("JSON"),
        };
        let slots = if queued > 0 { 1 } else { PoolSettings::default().in_flight_max };
        round.introduce(company, slots);
        if queued > 0 {
            (0..servers + queued).for_each(|_| round.submit());
        }
        round
    }

    fn introduce(&mut self, company: Company, slots: usize) {
        let standing = Standing {
            status: ServerStatus::Ready,
            reconnecting_soon: false,
            listed: true,
            slots,
            ..Standing::beginning()
        };
        let definition = RawJson::from_text(format!(r#"{{"name":"{TOOL}"}}"#)).expect("JSON");
        let tools: Arc<[Definition]> = [Definition { name: TOOL.to_owned(), definition }].into();
        let mut offers = Vec::new();
        for (number, server) in self.servers.iter().cloned().enumerate() {
            let group = match company {
                Company::OneGroup => GroupId::new("group").expect("plain characters"),
                Company::OwnGroups => GroupId::from(&server),
            };
            let spec = Server::custom(server.as_str()).group(group.as_str());
            let spec = spec.settle(&Settings::default(), number);
            let spec = Arc::new(spec.expect("a good server"));
            self.routing.joined(spec, Incarnation::FIRST, Some(number), standing.clone(), self.now);
            offers.push(ServerOffer {
                server,
                group,
                order: number,
                trusted: false,
                confirmed: true,
                offer: Offer { tools: tools.clone(), ..Offer::default() },
            });
        }
        if company == Company::OwnGroups {
            self.tools = self.servers.iter().map(|server| format!("{server}/{TOOL}")).collect();
        }
        let catalogue = Arc::new(Catalogue::merge(1, offers, Collisions::default()));
        self.routing.catalogue(catalogue, self.now, &mut self.stage);
        self.routing.introduced(self.now, &mut self.stage);
    }

    /// One call is admitted, one is given to a server, and one is settled: without a queue it is the same.
    ///
    /// # Panics
    /// When a call got no answer.
    pub fn turn(&mut self) {
        self.submit();
        let answers = self.stage.answers;
        let (server, attempt) = self.stage.dispatched.take().expect("a server works on a call");
        let end = AttemptEnd::Result(self.result.clone());
        let completion = Completion { attempt, end, class: OutcomeClass::Success, latency: LATENCY };
        let batch = vec![completion];
        self.now += STEP;
        let life = Incarnation::FIRST;
        self.routing.completed(&self.servers[server], life, batch, self.now, &mut self.stage);
        assert_eq!(self.stage.answers, answers + 1, "a result is an answer");
    }

    fn submit(&mut self) {
        let tool = self.tools[self.calls as usize % self.tools.len()].as_str();
        let id = CallId(self.calls);
        self.calls += 1;
        self.now += STEP;
        let call = Arc::new(Call::tool(tool));
        self.routing.submit(id, call, self.now, (), self.now, &mut self.stage);
    }
}

/// A catalogue to look names up in: so many servers, each a group of its own, with so many tools each, all named apart.
pub struct Names(Catalogue);

impl Names {
    /// Merges it.
    pub fn new(servers: usize, tools: usize) -> Self {
        let definition = RawJson::from_text("{}").expect("JSON");
        let offers = (0..servers).map(|number| {
            let server = server_id(number);
            let tool = |n| Definition { name: Self::name(number, n), definition: definition.clone() };
            let group = GroupId::from(&server);
            let tools = (0..tools).map(tool).collect();
            ServerOffer {
                server,
                group,
                order: number,
                trusted: false,
                confirmed: true,
                offer: Offer { tools, ..Offer::default() },
            }
        });
        Self(Catalogue::merge(1, offers, Collisions::default()))
    }

    /// The name of a server's tool.
    pub fn name(server: usize, tool: usize) -> String {
        format!("{TOOL}-{server}-{tool}")
    }

    /// Whether the name means one tool.
    pub fn finds(&self, name: &str) -> bool {
        matches!(self.0.resolve(name, None, |_| true), Resolution::Found(_))
    }
}

/// What the tools of [`Library`] do, and to what.
const VERBS: [&str; 20] = [
    "read", "write", "list", "delete", "search", "create", "update", "fetch", "copy", "move", "compare",
    "export", "import", "validate", "archive", "restore", "share", "rename", "count", "merge",
];
const NOUNS: [&str; 20] = [
    "file",
    "csv",
    "table",
    "issue",
    "repository",
    "message",
    "calendar",
    "user",
    "page",
    "image",
    "invoice",
    "branch",
    "ticket",
    "folder",
    "query",
    "report",
    "contact",
    "channel",
    "dashboard",
    "comment",
];

/// A catalogue of tools that say what they do, as servers do that people wrote.
pub struct Library(Catalogue);

impl Library {
    /// So many servers, each a group of its own, with so many tools each.
    pub fn new(servers: usize, tools: usize) -> Self {
        let offers = (0..servers).map(|number| {
            let server = server_id(number);
            let tool = |n: usize| Self::tool(number, n);
            let group = GroupId::from(&server);
            let tools = (0..tools).map(tool).collect();
            let offer = Offer { tools, ..Offer::default() };
            ServerOffer { server, group, order: number, trusted: false, confirmed: true, offer }
        });
        Self(Catalogue::merge(1, offers, Collisions::default()))
    }

    fn tool(server: usize, number: usize) -> Definition {
        let (verb, noun) =
            (VERBS[(server + number) % VERBS.len()], NOUNS[(server / 7 + number * 3) % NOUNS.len()]);
        let name = format!("{verb}_{noun}_{number}");
        let description = format!(
            "{verb}s one {noun} of the service {server} and returns what it found as text. Give the id or the path of the {noun}; an \
             error says which {noun} was not there. Results come in pages of at most one hundred entries."
        );
        let definition = serde_json::json!({"name": name, "title": format!("{verb} {noun}"), "description": description,
            "inputSchema": {"type": "object", "properties": {
                "path": {"type": "string", "description": format!("where the {noun} is")},
                "limit": {"type": "integer", "description": "how many entries to return at most"},
                "encoding": {"type": "string", "description": "how text is written, such as utf8"}}}});
        Definition { name, definition: RawJson::from_value(&definition).expect("JSON") }
    }

    /// Makes the index of its tools.
    pub fn index(&self) -> Index {
        Index(SearchIndex::of(&self.0))
    }
}

/// The index of a [`Library`].
pub struct Index(SearchIndex);

impl Index {
    /// How many tools a question may mean.
    pub fn finds(&self, query: &str) -> usize {
        self.0.search(query).len()
    }
}
