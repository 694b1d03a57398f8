//! What happened, as far as a picture tells it.

use std::collections::{BTreeMap, VecDeque};

use mcp_troupe::Event;
use mcp_troupe::event::BreakerState;
use mcp_troupe::id::ServerId;
use mcp_troupe::stats::ServerStats;
use tokio::time::Instant;

use super::words;

/// Events that are kept: more than a screen shows.
const EVENTS_MAX: usize = 100;

/// Something that happened, in words; what happens again takes the place of what was told before.
#[derive(Clone)]
pub struct Told {
    /// When.
    pub at: Instant,
    /// What it is about: a server, a source, or the troupe.
    pub whom: String,
    /// What happened.
    pub words: String,
    /// How often, as far as it is remembered.
    pub times: u32,
    /// Its words say how often.
    counts: bool,
}

/// What is remembered of one server.
#[derive(Clone, Default)]
pub struct Memory {
    /// The last that happened to it.
    pub last: Option<Told>,
    /// Why its breaker is in the state that it is in.
    pub breaker: Option<String>,
}

/// The last events, and the last of each server.
#[derive(Clone, Default)]
pub struct Story {
    events: VecDeque<Told>,
    servers: BTreeMap<ServerId, Memory>,
}

impl Story {
    /// Takes an event in.
    pub fn tell(&mut self, event: &Event, at: Instant) {
        let (whom, words) = words::event(event);
        // A server that is dialled again and again has one line of the picture, not all; it counts by itself.
        let counts = matches!(event, Event::ServerStatusChanged { from, to, .. } if from == to);
        let same = self
            .events
            .iter()
            .position(|told| told.whom == whom && (told.words == words || counts && told.counts));
        let before = same.and_then(|place| self.events.remove(place)).map_or(0, |told| told.times);
        let times = if counts { 1 } else { before.saturating_add(1) };
        let told = Told { at, whom, words, times, counts };
        if let Some(server) = subject(event) {
            let memory = self.servers.entry(server.clone()).or_default();
            memory.last = Some(told.clone());
            if let Event::BreakerChanged { transition, .. } = event {
                let closed = transition.to == BreakerState::Closed;
                memory.breaker = (!closed).then(|| transition.reason.to_string());
            }
        }
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(told);
    }

    /// Forgets all servers but these.
    pub fn keep(&mut self, servers: &[ServerStats]) {
        self.servers.retain(|id, _| servers.binary_search_by(|server| server.id.cmp(id)).is_ok());
    }

    /// The last events, the newest at the end.
    pub fn last(&self, count: usize) -> impl Iterator<Item = &Told> {
        self.events.range(self.events.len().saturating_sub(count)..)
    }

    /// What is remembered of a server.
    pub fn of(&self, server: &ServerId) -> Option<&Memory> {
        self.servers.get(server)
    }
}

/// The server that an event is about.
fn subject(event: &Event) -> Option<&ServerId> {
    match event {
        Event::ServerRegistered { server, .. }
        | Event::ServerStatusChanged { server, .. }
        | Event::ServerDown { server, .. }
        | Event::ConnectionOpened { server, .. }
        | Event::ConnectionLost { server, .. }
        | Event::BreakerChanged { server, .. }
        | Event::CatalogueChanged { server, .. }
        | Event::EntrySkipped { server, .. }
        | Event::ResourceUpdated { server, .. }
        | Event::SubscriptionFailed { server, .. }
        | Event::ProtocolViolation { server, .. }
        | Event::ServerDiscovered { server, .. }
        | Event::ServerMoved { server, .. }
        | Event::PinBroken { server, .. }
        | Event::ToolUnpinned { server, .. }
        | Event::PinnedToolMissing { server, .. }
        | Event::ServerLogged { server, .. }
        | Event::ServerOverloaded { server, .. }
        | Event::ServerWithdrawn { server, .. } => Some(server),
        _ => None,
    }
}
