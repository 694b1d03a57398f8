//! What is killed, when, and how long it takes to be whole again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hdrhistogram::Histogram;
use mcp_troupe::event::ServerStatus;
use mcp_troupe::testkit::{Fault, ScriptedServer, Target, inject};
use mcp_troupe::{Call, Event, EventStream, Troupe};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a recovery may take before the run goes on without it. A recovery that takes this long is counted as such.
const RECOVERY_MAX: Duration = Duration::from_secs(10);

/// How long a stopped server stays away.
const SERVER_AWAY: Duration = Duration::from_millis(5);

/// The id of a server.
pub fn id(number: usize) -> String {
    format!("s{number}")
}

/// What is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Prey {
    Connection,
    ServerActor,
    Router,
    Registry,
    /// The server itself: its process, as far as its clients can tell.
    Server,
}

impl Prey {
    const ALL: [Self; 5] = [Self::Connection, Self::ServerActor, Self::Router, Self::Registry, Self::Server];

    pub fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::ServerActor => "server actor",
            Self::Router => "router",
            Self::Registry => "registry",
            Self::Server => "server",
        }
    }
}

/// The kills of one kind.
pub struct Record {
    pub kills: u64,
    /// From the kill (of a server: from its return) until all is well again, in microseconds.
    pub to_ready_us: Histogram<u64>,
    /// Recoveries that took longer than is waited for.
    pub not_recovered: u64,
}

impl Default for Record {
    fn default() -> Self {
        let to_ready_us =
            Histogram::new(3).expect("three significant digits are within hdrhistogram's 0 to 5");
        Self { kills: 0, to_ready_us, not_recovered: 0 }
    }
}

/// All kills, by kind.
pub type Kills = BTreeMap<Prey, Record>;

/// The seeded schedule.
pub struct Schedule {
    troupe: Troupe,
    servers: Vec<ScriptedServer>,
    rng: SmallRng,
    every: Duration,
    strikes: watch::Sender<Option<Instant>>,
    kills: Kills,
}

impl Schedule {
    pub fn new(
        troupe: &Troupe,
        servers: Vec<ScriptedServer>,
        seed: u64,
        every: Duration,
        strikes: watch::Sender<Option<Instant>>,
    ) -> Self {
        let rng = SmallRng::seed_from_u64(seed);
        Self { troupe: troupe.clone(), servers, rng, every, strikes, kills: Kills::new() }
    }

    /// Strikes until it is stopped. Gives the servers back.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> (Kills, Vec<ScriptedServer>) {
        loop {
            let pause = self.every.mul_f64(self.rng.random_range(0.5..1.5));
            if tokio::time::timeout(pause, stop.wait_for(|stop| *stop)).await.is_ok() {
                return (self.kills, self.servers);
            }
            let prey = Prey::ALL[self.rng.random_range(0..Prey::ALL.len())];
            let number = self.rng.random_range(0..self.servers.len());
            let fault = [Fault::Kill, Fault::Stop, Fault::Panic][self.rng.random_range(0..3)];
            let mut events = self.troupe.events();
            let Some(since) = self.strike(prey, number, fault).await else { continue };
            let server = id(number);
            let recovered = self.recovered(prey, &server, &mut events);
            let recovered = tokio::time::timeout(RECOVERY_MAX, recovered).await.is_ok();
            let took = Instant::now().saturating_duration_since(since);
            let record = self.kills.entry(prey).or_default();
            record.kills += 1;
            if recovered {
                // A histogram that resizes by itself takes every value.
                let _ = record.to_ready_us.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            } else {
                record.not_recovered += 1;
            }
        }
    }

    /// Strikes. Returns from when the recovery is measured; none if there was nothing to strike.
    async fn strike(&mut self, prey: Prey, number: usize, fault: Fault) -> Option<Instant> {
        let server = id(number);
        let target = match prey {
            Prey::Connection => Target::connection(server),
            Prey::ServerActor => Target::server(server),
            Prey::Router => Target::Router,
            Prey::Registry => Target::Registry,
            Prey::Server => {
                self.strikes.send_replace(Some(Instant::now()));
                self.servers[number].stop_listening().await;
                tokio::time::sleep(SERVER_AWAY).await;
                self.servers[number].resume().await;
                return Some(Instant::now());
            }
        };
        let now = Instant::now();
        self.strikes.send_replace(Some(now));
        inject(&self.troupe, target, fault).await.ok().map(|()| now)
    }

    /// Waits until what was struck has been seen to fall, and stands again.
    async fn recovered(&self, prey: Prey, server: &str, events: &mut EventStream) {
        let mut fallen = false;
        let mut waiting: BTreeSet<String> = match prey {
            Prey::Connection | Prey::Router => BTreeSet::new(),
            Prey::ServerActor | Prey::Server => BTreeSet::from([server.to_owned()]),
            Prey::Registry => (0..self.servers.len()).map(id).collect(),
        };
        while !(fallen && waiting.is_empty()) {
            match events.next().await {
                Some(Event::ConnectionLost { server: lost, .. }) => {
                    fallen |= matches!(prey, Prey::Connection | Prey::Server) && lost == server;
                }
                Some(Event::ServerDown { server: down, .. }) => {
                    fallen |= prey == Prey::ServerActor && down == server
                }
                Some(Event::RouterRestarted { .. }) => fallen |= prey == Prey::Router,
                Some(Event::RegistryRestarted { .. }) => fallen |= prey == Prey::Registry,
                // A server that is back before its last connection was missed has been ready all the time.
                Some(Event::ConnectionOpened { server, .. }) if fallen && prey == Prey::Server => {
                    waiting.remove(server.as_str());
                }
                Some(Event::ServerStatusChanged { server, to: ServerStatus::Ready, .. }) => {
                    waiting.remove(server.as_str());
                }
                Some(_) => {}
                None => return,
            }
        }
        // The last step of every recovery: a call is answered again.
        while self.troupe.call(Call::tool("echo")).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}

/// Panics that the schedule ordered are no news; all others are told as ever.
pub fn silence_ordered_panics() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&"ordered by the testkit") {
            told(panic);
        }
    }));
}
