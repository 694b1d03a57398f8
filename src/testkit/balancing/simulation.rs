//! The run: events in the order of their virtual times.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Exp, LogNormal};
use tokio::time::Instant;

use super::figures::{Account, Figures};
use super::scenario::{self, Behaviour, SPAN, Scenario};
use crate::call::{OutcomeClass, Priority};
use crate::config::MailboxSettings;
use crate::id::ServerId;
use crate::policy::breaker::{Admission, Breaker, Permit};
use crate::policy::mailbox::{Mailbox, Pushed};
use crate::policy::strategy::{Candidate, Candidates, Load, Pick, Strategy};

/// Calls of this first stretch do not count.
const WARM_UP: Duration = Duration::from_secs(5);

/// What a call takes at the usual speed, in seconds: the mean and the standard deviation as a share of it.
const SERVICE_MEAN: f64 = 0.010;
const SERVICE_DEVIATION: f64 = 1.0;

/// Users, each with an affinity key of its own, in whose names the calls are made.
const USERS: u64 = 1_000;

/// Lets `strategy` balance the calls of a scenario. The calls, when they come and what they take, depend on the seed alone: all
/// strategies meet the same ones. A run makes some 300,000 calls, which takes about a second in a debug build.
pub fn simulate(scenario: &Scenario, strategy: &mut dyn Strategy, seed: u64) -> Figures {
    let mut simulation = Simulation::new(scenario, strategy, seed);
    while let Some(Event { at, what, .. }) = simulation.events.pop() {
        simulation.happen(what, at);
    }
    simulation.close()
}

/// A call of a user.
#[derive(Debug, Clone, Copy)]
struct Call {
    arrived: Instant,
    /// What it takes at the usual speed.
    work: Duration,
    user: u64,
}

/// A call that a server has.
#[derive(Debug)]
struct Sent {
    call: Call,
    permit: Permit,
    at: Instant,
}

/// The callers.
struct Callers {
    rng: SmallRng,
    /// Seconds from a call to the next one.
    pause: Exp<f64>,
    /// Seconds.
    work: LogNormal<f64>,
}

/// A server during a run.
struct Server<'a> {
    id: ServerId,
    plan: &'a scenario::Server,
    joined: bool,
    load: Load,
    breaker: Breaker,
    /// When the breaker is next looked at, if that is planned.
    wakes: Option<Instant>,
    /// Calls that it has: those that it works on, and those that wait in it.
    in_flight: usize,
    working: usize,
    waiting: VecDeque<Sent>,
    /// Calls that it was ever given.
    given: u64,
}

struct Event {
    at: Instant,
    /// Of two events at one time, the one that was planned first comes first.
    order: u64,
    what: What,
}

enum What {
    /// A call arrives.
    Arrival,
    /// A server joins.
    Join(usize),
    /// A call that a server worked on has ended.
    End(usize, Sent, OutcomeClass),
    /// Time alone changes a breaker.
    Wake(usize),
}

impl Ord for Event {
    /// The earliest is the greatest: it is on top of the heap.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Event {}

/// The servers as the strategy sees them.
struct Fleet<'a> {
    servers: &'a [Server<'a>],
    in_flight_max: usize,
    now: Instant,
}

impl Candidates for Fleet<'_> {
    fn len(&self) -> usize {
        self.servers.len()
    }

    fn get(&self, index: usize) -> Option<Candidate<'_>> {
        let server = self.servers.get(index)?;
        let lets_through = match server.breaker.admission(self.now) {
            Admission::Free => true,
            Admission::Probing { permits } => permits > 0,
            Admission::Rejecting { .. } => false,
        };
        (server.joined && lets_through && server.in_flight < self.in_flight_max).then_some(Candidate {
            server: &server.id,
            weight: server.plan.weight,
            in_flight: server.in_flight,
            load: &server.load,
        })
    }
}

struct Simulation<'a> {
    scenario: &'a Scenario,
    strategy: &'a mut dyn Strategy,
    begun: Instant,
    callers: Callers,
    /// Calls that no server takes.
    waiting: Mailbox<Call>,
    servers: Vec<Server<'a>>,
    events: BinaryHeap<Event>,
    planned: u64,
    account: Account,
    /// Of the strategy and the breakers; the callers have their own.
    rng: SmallRng,
}

impl<'a> Simulation<'a> {
    fn new(scenario: &'a Scenario, strategy: &'a mut dyn Strategy, seed: u64) -> Self {
        let speed: f64 = scenario.servers.iter().map(scenario::Server::mean_speed).sum();
        let rate = scenario.utilisation * speed * scenario.workers as f64 / SERVICE_MEAN;
        let servers = scenario.servers.iter().enumerate().map(|(n, plan)| Server {
            id: ServerId::new(format!("server-{n}")).expect("letters, digits and '-'"),
            plan,
            joined: plan.joins.is_zero(),
            load: Load::new(),
            breaker: Breaker::new(scenario.breaker.clone()),
            wakes: None,
            in_flight: 0,
            working: 0,
            waiting: VecDeque::new(),
            given: 0,
        });
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut simulation = Self {
            scenario,
            strategy,
            begun: Instant::now(),
            callers: Callers {
                rng: SmallRng::from_rng(&mut rng),
                pause: Exp::new(rate).expect("servers that can do something are called"),
                work: LogNormal::from_mean_cv(SERVICE_MEAN, SERVICE_DEVIATION).expect("valid constants"),
            },
            waiting: Mailbox::new(&MailboxSettings::default()),
            servers: servers.collect(),
            events: BinaryHeap::new(),
            planned: 0,
            account: Account::new(),
            rng,
        };
        simulation.plan(simulation.begun, What::Arrival);
        for (n, server) in scenario.servers.iter().enumerate().filter(|(_, server)| !server.joins.is_zero()) {
            simulation.plan(simulation.begun + server.joins, What::Join(n));
        }
        simulation
    }

    fn plan(&mut self, at: Instant, what: What) {
        self.events.push(Event { at, order: self.planned, what });
        self.planned += 1;
    }

    fn happen(&mut self, what: What, now: Instant) {
        match what {
            What::Arrival => return self.arrive(now),
            What::Join(place) => self.servers[place].joined = true,
            What::End(place, sent, class) => self.end(place, sent, class, now),
            What::Wake(place) => {
                let server = &mut self.servers[place];
                if server.wakes != Some(now) {
                    return;
                }
                server.breaker.tick(now, &mut self.rng);
                self.watch(place);
            }
        }
        self.serve(now);
    }

    fn arrive(&mut self, now: Instant) {
        let Callers { rng, pause, work } = &mut self.callers;
        let next = now + Duration::from_secs_f64(pause.sample(rng));
        let work = Duration::from_secs_f64(work.sample(rng));
        let call = Call { arrived: now, work, user: rng.random_range(0..USERS) };
        if next < self.begun + SPAN {
            self.plan(next, What::Arrival);
        }
        if self.waiting.is_empty() && self.dispatch(call, now) {
            return;
        }
        match self.waiting.push(Priority::Normal, call) {
            Pushed::Queued(_) => {}
            Pushed::Shed { shed, .. } => self.failed(shed),
            Pushed::Full(refused) => self.failed(refused),
        }
    }

    /// Hands a call to the server that the strategy chooses; `false` if none takes it.
    fn dispatch(&mut self, call: Call, now: Instant) -> bool {
        let fleet = Fleet { servers: &self.servers, in_flight_max: self.scenario.in_flight_max, now };
        let pick = Pick { set: 0, key: Some(call.user), now, rng: &mut self.rng };
        let Some(place) = self.strategy.pick(&fleet, pick) else { return false };
        let Some(server) = self.servers.get_mut(place) else { return false };
        let Ok(permit) = server.breaker.admit(now) else { return false };
        server.in_flight += 1;
        server.given += 1;
        self.account.in_flight_max = self.account.in_flight_max.max(server.in_flight);
        server.waiting.push_back(Sent { call, permit, at: now });
        self.watch(place);
        self.work(place, now);
        true
    }

    /// A server begins the next call that waits in it, if it can.
    fn work(&mut self, place: usize, now: Instant) {
        let server = &mut self.servers[place];
        if server.working >= self.scenario.workers {
            return;
        }
        let Some(sent) = server.waiting.pop_front() else { return };
        server.working += 1;
        let (takes, class) = match server.plan.behaviour(now.saturating_duration_since(self.begun)) {
            Behaviour::Works(speed) => (sent.call.work.div_f64(speed), OutcomeClass::Success),
            Behaviour::Fails(after) => (after, OutcomeClass::Failure),
        };
        self.plan(now + takes, What::End(place, sent, class));
    }

    fn end(&mut self, place: usize, sent: Sent, class: OutcomeClass, now: Instant) {
        let Sent { call, permit, at } = sent;
        let latency = now.saturating_duration_since(at);
        let server = &mut self.servers[place];
        server.in_flight -= 1;
        server.working -= 1;
        server.load.observe(latency, class, now);
        server.breaker.record(permit, class, latency, now, &mut self.rng);
        self.watch(place);
        self.work(place, now);
        match class {
            OutcomeClass::Success => self.succeeded(call, now),
            OutcomeClass::Failure | OutcomeClass::Overload | OutcomeClass::Ignored => self.failed(call),
        }
    }

    /// Hands out the calls that wait, as long as a server takes them.
    fn serve(&mut self, now: Instant) {
        while let Some(call) = self.waiting.peek().copied() {
            if !self.dispatch(call, now) {
                return;
            }
            self.waiting.pop();
        }
    }

    /// Plans to look at a breaker when time alone will change it.
    fn watch(&mut self, place: usize) {
        let server = &mut self.servers[place];
        let wakes = server.breaker.wake_at();
        if wakes != server.wakes {
            server.wakes = wakes;
            if let Some(at) = wakes {
                self.plan(at, What::Wake(place));
            }
        }
    }

    fn counts(&self, call: Call) -> bool {
        call.arrived >= self.begun + WARM_UP
    }

    fn succeeded(&mut self, call: Call, now: Instant) {
        if now >= self.begun + WARM_UP && now < self.begun + SPAN {
            self.account.in_time += 1;
        }
        if self.counts(call) {
            self.account.succeeded(now.saturating_duration_since(call.arrived));
        }
    }

    fn failed(&mut self, call: Call) {
        self.account.errors += u64::from(self.counts(call));
    }

    /// The end: nothing more will happen, and what still waits has waited in vain.
    fn close(mut self) -> Figures {
        while let Some(call) = self.waiting.pop() {
            self.failed(call);
        }
        let shares = self.servers.iter().map(|server| server.given as f64 / server.plan.mean_speed());
        self.account.close(SPAN - WARM_UP, &shares.collect::<Vec<_>>())
    }
}
