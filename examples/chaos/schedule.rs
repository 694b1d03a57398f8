//! What is struck and what is ordered, when, and how long it takes until all is whole again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::ValueEnum;
use hdrhistogram::Histogram;
use mcp_troupe::event::ServerStatus;
use mcp_troupe::testkit::{Fault, Target, inject};
use mcp_troupe::{Call, ConfigFile, DrainError, Event, EventStream, Settings, Troupe};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Chaos;
use super::cast::{Cast, Trouble};
use super::subscribers::Subscribers;

/// How long a deed, and the recovery from it, may take before the run goes on without it. One that takes this long is
/// counted as such.
const RECOVERY_MAX: Duration = Duration::from_secs(10);

/// How long a stopped server stays away at most, and how long a line is bad.
const AWAY_MAX: Duration = Duration::from_millis(20);

/// How long a drain waits for calls and leases.
const DRAIN_WITHIN: Duration = Duration::from_millis(200);

/// How long after a deed its company strikes, at most.
const COMPANY_AFTER_MAX: Duration = Duration::from_millis(3);

/// How long the fall of what was struck is waited for. A connection that was about to close in order falls unseen.
const FALL_MAX: Duration = Duration::from_millis(500);

/// Between two looks at whether something has come to be.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Recoveries that are told in words; the rest is counted.
const TOLD_MAX: usize = 20;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Deed {
    /// A connection is killed.
    Connection,
    /// The actor of a server is killed.
    ServerActor,
    /// The router is killed.
    Router,
    /// The registry is killed, and with it every server actor.
    Registry,
    /// The server itself: its process, as far as its clients can tell.
    Server,
    /// The line to a server.
    Line,
    /// The server forgets its sessions.
    Sessions,
    /// It is drained and resumed, sometimes while it drains.
    Drain,
    /// It gets another description.
    Replace,
    /// It is unregistered and registered again.
    Reregister,
    /// A configuration that its connections serve as well.
    Amend,
    /// A configuration that they do not.
    Move,
    /// A configuration without it, and one with it.
    Leave,
}

impl Deed {
    pub fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::ServerActor => "server-actor",
            Self::Router => "router",
            Self::Registry => "registry",
            Self::Server => "server",
            Self::Line => "line",
            Self::Sessions => "sessions",
            Self::Drain => "drain",
            Self::Replace => "replace",
            Self::Reregister => "reregister",
            Self::Amend => "amend",
            Self::Move => "move",
            Self::Leave => "leave",
        }
    }
}

/// The deeds of one kind.
pub struct Record {
    pub deeds: u64,
    /// From the kill (of a server: from its return; of an order: from its end) until all is well again, in microseconds.
    pub to_ready_us: Histogram<u64>,
    /// Recoveries that took longer than is waited for.
    pub not_recovered: u64,
}

impl Default for Record {
    fn default() -> Self {
        let to_ready_us =
            Histogram::new(3).expect("three significant digits are within hdrhistogram's 0 to 5");
        Self { deeds: 0, to_ready_us, not_recovered: 0 }
    }
}

/// What was done.
#[derive(Default)]
pub struct Deeds {
    pub records: BTreeMap<Deed, Record>,
    /// The first recoveries that did not come, in words.
    pub told: Vec<String>,
}

/// One step as it is drawn: nothing of it depends on what happened before.
#[derive(Debug)]
struct Step {
    pause: f64,
    deed: Deed,
    /// Which of the servers that can be struck so.
    victim: usize,
    fault: Fault,
    /// Which connection.
    index: usize,
    away: Duration,
    trouble: Trouble,
    /// The order comes while another one is still carried out, or changes nothing.
    odd: bool,
    company: Option<Company>,
}

/// A kill beside an order.
#[derive(Debug)]
struct Company {
    after: Duration,
    victim: usize,
    prey: Deed,
}

impl Step {
    fn draw(rng: &mut SmallRng, deeds: &[Deed]) -> Self {
        let one_of = |rng: &mut SmallRng| rng.random_range(0..usize::MAX >> 1);
        let prey = [Deed::Connection, Deed::ServerActor, Deed::Router, Deed::Registry];
        let pause = rng.random_range(0.5..1.5);
        let deed = *deeds.choose(rng).unwrap_or(&Deed::Connection);
        let company = Company {
            after: rng.random_range(Duration::ZERO..COMPANY_AFTER_MAX),
            victim: one_of(rng),
            prey: *prey.choose(rng).unwrap_or(&Deed::Connection),
        };
        Self {
            pause,
            deed,
            victim: one_of(rng),
            fault: *[Fault::Kill, Fault::Stop, Fault::Panic].choose(rng).unwrap_or(&Fault::Kill),
            index: rng.random_range(0..3),
            away: rng.random_range(Duration::from_millis(1)..AWAY_MAX),
            trouble: *Trouble::ALL.choose(rng).unwrap_or(&Trouble::Cut),
            odd: rng.random_bool(0.3),
            company: rng.random_bool(0.4).then_some(company),
        }
    }
}

/// The seeded schedule.
pub struct Schedule {
    troupe: Troupe,
    settings: Settings,
    cast: Cast,
    subscribers: Subscribers,
    rng: SmallRng,
    every: Duration,
    /// What may be done.
    among: Vec<Deed>,
    strikes: watch::Sender<Option<Instant>>,
    deeds: Deeds,
    /// Deeds so far, for those who watch.
    count: watch::Sender<u64>,
}

impl Schedule {
    pub fn new(
        troupe: &Troupe,
        settings: &Settings,
        (cast, subscribers): (Cast, Subscribers),
        (seed, chaos): (u64, &Chaos),
        strikes: watch::Sender<Option<Instant>>,
    ) -> Self {
        let rng = SmallRng::seed_from_u64(seed);
        let among =
            if chaos.deeds.is_empty() { Deed::value_variants().to_vec() } else { chaos.deeds.clone() };
        let (troupe, settings) = (troupe.clone(), settings.clone());
        let count = watch::Sender::new(0);
        Self {
            troupe,
            settings,
            cast,
            subscribers,
            rng,
            every: chaos.every,
            among,
            strikes,
            deeds: Deeds::default(),
            count,
        }
    }

    pub fn count(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    /// Strikes until it is stopped. Gives back who played.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) -> (Deeds, Cast, Subscribers) {
        loop {
            let step = Step::draw(&mut self.rng, &self.among);
            let pause = self.every.mul_f64(step.pause);
            if tokio::time::timeout(pause, stop.wait_for(|stop| *stop)).await.is_ok() {
                return (self.deeds, self.cast, self.subscribers);
            }
            let Some(victim) = self.victim(&step) else { continue };
            self.play(&step, victim).await;
            self.count.send_modify(|count| *count += 1);
        }
    }

    async fn play(&mut self, step: &Step, victim: usize) {
        let mut events = self.troupe.events();
        let struck = tokio::time::timeout(RECOVERY_MAX, self.strike(step, victim, &mut events)).await;
        let since = match struck {
            Ok(Ok(Some(since))) => Some(since),
            // There was nothing to strike.
            Ok(Ok(None)) => return,
            Ok(Err(error)) => {
                self.tell(format!("{error}, at {step:?}"));
                None
            }
            Err(_) => {
                self.tell(format!("not done within {RECOVERY_MAX:?}: {step:?} of s{victim}"));
                None
            }
        };
        if since.is_none() {
            // What is not recovered from is counted once, and not with each step that follows.
            let _ = tokio::time::timeout(RECOVERY_MAX, self.restore(victim)).await;
        }
        let stands = tokio::time::timeout(RECOVERY_MAX, stands(&self.troupe, &self.cast, victim)).await;
        if stands.is_err() {
            let servers = self.troupe.servers();
            let servers: Vec<String> =
                servers.iter().map(|server| format!("{} {}", server.id, server.status)).collect();
            self.tell(format!("after {step:?} of s{victim}: {}", servers.join(", ")));
        }
        let record = self.deeds.records.entry(step.deed).or_default();
        record.deeds += 1;
        match (since, stands) {
            (Some(since), Ok(())) => {
                let took = Instant::now().saturating_duration_since(since);
                // A histogram that resizes by itself takes every value.
                let _ = record.to_ready_us.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            }
            (None, _) | (_, Err(_)) => record.not_recovered += 1,
        }
    }

    fn tell(&mut self, what: String) {
        if self.deeds.told.len() < TOLD_MAX {
            self.deeds.told.push(what);
        }
    }

    /// Which server it meets, if one can be met so.
    fn victim(&self, step: &Step) -> Option<usize> {
        let members = &self.cast.members;
        let can = |number: &usize| match step.deed {
            Deed::Line => members[*number].is_behind_a_line(),
            Deed::Sessions => members[*number].has_sessions(),
            Deed::Replace | Deed::Reregister => !Cast::is_configured(*number),
            Deed::Amend | Deed::Move | Deed::Leave => Cast::is_configured(*number),
            Deed::Connection
            | Deed::ServerActor
            | Deed::Router
            | Deed::Registry
            | Deed::Server
            | Deed::Drain => true,
        };
        let able: Vec<usize> = (0..members.len()).filter(can).collect();
        able.get(step.victim.checked_rem(able.len())?).copied()
    }

    /// Does it. Returns from when the recovery is measured; none if there was nothing to strike.
    async fn strike(
        &mut self,
        step: &Step,
        victim: usize,
        events: &mut EventStream,
    ) -> Result<Option<Instant>, String> {
        // Some other resources change meanwhile.
        self.cast.members[step.index % self.cast.members.len()].update("meanwhile");
        let now = Instant::now();
        self.strikes.send_replace(Some(now));
        let id = self.cast.members[victim].id.clone();
        match step.deed {
            Deed::Connection | Deed::ServerActor | Deed::Router | Deed::Registry => {
                if !kill(&self.troupe, step.deed, &id, step.index, step.fault).await {
                    return Ok(None);
                }
                let servers = self.cast.members.iter().map(|member| member.id.clone()).collect();
                // What has not fallen by then stands, or is not ready.
                let _ = tokio::time::timeout(FALL_MAX, fallen(step.deed, &id, servers, events)).await;
                return Ok(Some(now));
            }
            Deed::Server => {
                let troupe = self.troupe.clone();
                self.cast.members[victim].fall(&troupe, step.away).await;
            }
            Deed::Line => self.cast.members[victim].trouble(step.trouble, step.away).await,
            Deed::Sessions => self.cast.members[victim].forget_sessions(),
            Deed::Drain | Deed::Replace | Deed::Reregister | Deed::Amend | Deed::Move | Deed::Leave => {
                let troupe = self.troupe.clone();
                let members = self.cast.members.len();
                let company = async {
                    if let Some(company) = &step.company {
                        tokio::time::sleep(company.after).await;
                        let id = format!("s{}", company.victim % members);
                        // Between two lives there is nobody to strike.
                        kill(&troupe, company.prey, &id, 0, Fault::Kill).await;
                    }
                };
                let (ordered, ()) = tokio::join!(self.order(step, victim, &id), company);
                ordered?;
            }
        }
        Ok(Some(Instant::now()))
    }

    /// Gives an order to the troupe and waits until it is carried out.
    async fn order(&mut self, step: &Step, victim: usize, id: &str) -> Result<(), String> {
        match step.deed {
            Deed::Drain => {
                let drained = self.troupe.drain(id, DRAIN_WITHIN);
                let drained = if step.odd {
                    let resumed = async {
                        tokio::time::sleep(step.away).await;
                        self.troupe.resume(id).await
                    };
                    // The drain may be over, or not have begun.
                    tokio::join!(drained, resumed).0
                } else {
                    drained.await
                };
                // It may be in service already.
                let _ = self.troupe.resume(id).await;
                match drained {
                    // By the order beside it.
                    Err(DrainError::Resumed(_)) if step.odd => Ok(()),
                    other => other.map_err(|error| format!("drain of {id}: {error}")),
                }
            }
            Deed::Replace => {
                if !step.odd {
                    self.cast.members[victim].move_on();
                }
                let described = self.cast.members[victim].describe();
                self.troupe.replace(described).await.map_err(|error| error.to_string())
            }
            Deed::Reregister => {
                self.troupe.unregister(id).await.map_err(|error| error.to_string())?;
                let described = self.cast.members[victim].describe();
                // The id is taken for as long as the former life finishes.
                while self.troupe.register(described.clone()).await.is_err() {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                self.subscribers.renew(&self.cast.members[victim]).await
            }
            Deed::Amend => {
                self.cast.members[victim].amend();
                self.apply(None).await
            }
            Deed::Move => {
                self.cast.members[victim].move_on();
                self.apply(None).await
            }
            Deed::Leave => {
                self.apply(Some(victim)).await?;
                if !step.odd {
                    tokio::time::sleep(step.away).await;
                }
                self.apply(None).await?;
                self.subscribers.renew(&self.cast.members[victim]).await
            }
            Deed::Connection
            | Deed::ServerActor
            | Deed::Router
            | Deed::Registry
            | Deed::Server
            | Deed::Line
            | Deed::Sessions => Ok(()),
        }
    }

    /// Makes sure that a server plays again after an order that failed half-way.
    async fn restore(&mut self, victim: usize) {
        let member = &self.cast.members[victim];
        // Each of these fails where there is nothing to restore.
        let _ = self.troupe.resume(&member.id).await;
        if Cast::is_configured(victim) {
            let _ = self.apply(None).await;
        } else {
            let _ = self.troupe.register(member.describe()).await;
        }
    }

    /// Applies a configuration of all servers that stand in one, but for one of them.
    async fn apply(&self, without: Option<usize>) -> Result<(), String> {
        let file = configuration(&self.cast, &self.settings, without)?;
        self.troupe.apply(file).await.map(drop).map_err(|error| error.to_string())
    }
}

/// A configuration of the servers that stand in one, but for one of them.
fn configuration(cast: &Cast, settings: &Settings, without: Option<usize>) -> Result<ConfigFile, String> {
    let mut file = ConfigFile::parse(r#"{"mcpServers": {}}"#).map_err(|error| error.to_string())?;
    file.settings = settings.clone();
    let named = cast.members.iter().enumerate();
    let named = named.filter(|(number, _)| Cast::is_configured(*number) && Some(*number) != without);
    file.servers = named.map(|(_, member)| member.describe()).collect();
    Ok(file)
}

/// Injects a fault. `false` if there was nobody to strike.
async fn kill(troupe: &Troupe, prey: Deed, id: &str, index: usize, fault: Fault) -> bool {
    let target = match prey {
        Deed::Connection => Target::Connection { server: id.to_owned(), index },
        Deed::ServerActor => Target::server(id),
        Deed::Router => Target::Router,
        _ => Target::Registry,
    };
    inject(troupe, target, fault).await.is_ok()
}

/// Waits until what was struck has been seen to fall.
async fn fallen(prey: Deed, server: &str, servers: BTreeSet<String>, events: &mut EventStream) {
    let mut waiting = if prey == Deed::Registry { servers } else { BTreeSet::new() };
    let mut fallen = false;
    while !(fallen && waiting.is_empty()) {
        match events.next().await {
            Some(Event::ConnectionLost { server: lost, .. }) => {
                fallen |= prey == Deed::Connection && lost == server;
            }
            Some(Event::ServerDown { server: down, .. }) => {
                fallen |= prey == Deed::ServerActor && down == server;
            }
            Some(Event::RouterRestarted { .. }) => fallen |= prey == Deed::Router,
            Some(Event::RegistryRestarted { .. }) => fallen |= prey == Deed::Registry,
            Some(Event::ServerStatusChanged { server, to: ServerStatus::Ready, .. }) => {
                waiting.remove(server.as_str());
            }
            // One that was still being opened is told so.
            Some(Event::ServerStatusChanged { server: down, .. }) => {
                fallen |= prey == Deed::Connection && down == server;
            }
            // The fall may be among what was missed.
            Some(Event::Lagged { .. }) | None => return,
            Some(_) => {}
        }
    }
}

/// Waits until every server is ready, and the one that was struck answers.
pub async fn stands(troupe: &Troupe, cast: &Cast, victim: usize) {
    while !all_ready(troupe, cast) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    answers(troupe, &cast.members[victim].id).await;
}

/// Waits until a server answers.
pub async fn answers(troupe: &Troupe, id: &str) {
    while troupe.call(Call::tool("echo").server(id)).await.is_err() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn all_ready(troupe: &Troupe, cast: &Cast) -> bool {
    let servers = troupe.servers();
    let ready = servers.iter().filter(|server| server.status == ServerStatus::Ready);
    ready.count() == cast.members.len()
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
