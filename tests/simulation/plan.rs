//! What a seed does to the world.

use std::time::Duration;

use mcp_troupe::testkit::{Fault, Target};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// How many servers there are: two replicas of one group, one that keeps sessions, and a process.
pub const SERVERS: usize = 4;

/// The server whose requests each travel alone, as over HTTP.
pub const SESSIONS: usize = 2;

/// The server that is a process of this machine: no network lies between.
pub const PROCESS: usize = 3;

/// How long faults are injected.
pub const FAULTS: Duration = Duration::from_secs(12);

/// The longest time that a partition, a delay or a crash lasts.
const LONGEST_MS: u64 = 4_000;

/// Requests that are left without an answer. Those of the other era are never made.
const NEGLECTED: [&str; 7] = [
    "server/discover",
    "initialize",
    "tools/list",
    "resources/list",
    "resources/subscribe",
    "subscriptions/listen",
    "ping",
];

/// What happens to the network or a host, and lasts for a while.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    /// Nothing passes between the troupe and the server.
    Partition,
    /// Nothing passes towards the server.
    Deafen,
    /// Nothing passes from the server.
    Mute,
    /// What is sent waits.
    Hold,
    /// Messages take this long.
    Slow(Duration),
    /// What the troupe writes moves on by so many bytes each tenth of a second.
    Crawl(usize),
    /// The server takes no second connection.
    Single,
    /// The server leaves every request of this method without an answer.
    Neglect(&'static str),
    /// The server's host crashes; it starts again at the end.
    Crash,
}

/// One step of the plan.
#[derive(Debug, Clone)]
pub enum Step {
    Begin(Trouble, usize),
    End(Trouble, usize),
    /// The server drops its connections; a process ends.
    Cut(usize),
    /// The server leaves the next request of this method without an answer.
    NeglectOnce(&'static str, usize),
    /// The server forgets its sessions.
    Forget(usize),
    /// The next request of the server's breaks off, after it has arrived.
    BreakOff(usize),
}

/// What the host orders, beside its calls.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    /// Another description of the same server.
    Replace(usize),
    /// The server rests, for so long after it has finished, and is resumed.
    Rest(usize, Duration),
    /// The server leaves, and is registered again after so long.
    Leave(usize, Duration),
    /// Another configuration: breakers that open after so many failures.
    Apply(u32),
    /// The breaker is opened by hand, and reset after so long.
    ForceOpen(usize, Duration),
}

/// What a seed does, by time.
pub struct Plan {
    /// How long a message takes to or from each server where nothing is wrong. On one link all take the same time: what
    /// ends at one moment ends in an order that actors' tables hide, and the run must not depend on it.
    pub latencies: Vec<Duration>,
    /// Which servers speak the legacy era.
    pub legacy: Vec<bool>,
    /// Connections of each server: those that are kept open, and the most.
    pub pools: Vec<(usize, usize)>,
    /// Servers that are started on demand, and how long each runs unused.
    pub idles: Vec<Option<Duration>>,
    /// To the network and the hosts.
    pub steps: Vec<(Duration, Step)>,
    /// To our own actors.
    pub strikes: Vec<(Duration, Target, Fault)>,
    /// By the host.
    pub orders: Vec<(Duration, Order)>,
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let at = |rng: &mut SmallRng| Duration::from_millis(rng.random_range(500..FAULTS.as_millis() as u64));
        let latencies = (0..SERVERS).map(|_| Duration::from_millis(rng.random_range(1..25))).collect();
        let legacy = (0..SERVERS).map(|_| rng.random()).collect();
        let pools = (0..SERVERS).map(|_| pool(&mut rng)).collect();
        let mut steps = Vec::new();
        for _ in 0..rng.random_range(2..10) {
            let (begin, server) = (at(&mut rng), rng.random_range(0..SERVERS));
            let end = begin + Duration::from_millis(rng.random_range(10..LONGEST_MS));
            let trouble = trouble(&mut rng, server);
            steps.push((begin, Step::Begin(trouble, server)));
            steps.push((end.min(FAULTS), Step::End(trouble, server)));
        }
        for _ in 0..rng.random_range(0..6) {
            let server = rng.random_range(0..SERVERS);
            let step = match rng.random_range(0..5) {
                0..2 => Step::Cut(server),
                2 => Step::NeglectOnce(NEGLECTED[rng.random_range(0..NEGLECTED.len())], server),
                3 => Step::Forget(SESSIONS),
                _ => Step::BreakOff(SESSIONS),
            };
            steps.push((at(&mut rng), step));
        }
        steps.sort_by_key(|(at, _)| *at);
        let mut strikes: Vec<_> = (0..rng.random_range(1..8))
            .map(|_| {
                let (target, fault) = strike(&mut rng);
                (at(&mut rng), target, fault)
            })
            .collect();
        strikes.sort_by_key(|(at, _, _)| *at);
        let mut orders: Vec<_> =
            (0..rng.random_range(0..6)).map(|_| (at(&mut rng), order(&mut rng))).collect();
        orders.sort_by_key(|(at, _)| *at);
        // Of numbers of their own: what a seed did before it does still.
        let mut rng = SmallRng::seed_from_u64(!seed);
        let idles = (0..SERVERS).map(|_| idle(&mut rng)).collect();
        Self { latencies, legacy, pools, idles, steps, strikes, orders }
    }
}

fn idle(rng: &mut SmallRng) -> Option<Duration> {
    rng.random_bool(0.3).then(|| Duration::from_millis(rng.random_range(5..500)))
}

fn pool(rng: &mut SmallRng) -> (usize, usize) {
    let min = rng.random_range(1..3);
    (min, rng.random_range(min..4))
}

fn trouble(rng: &mut SmallRng, server: usize) -> Trouble {
    let neglect = Trouble::Neglect(NEGLECTED[rng.random_range(0..NEGLECTED.len())]);
    // A process has no network that could fail.
    if server == PROCESS {
        return neglect;
    }
    match rng.random_range(0..9) {
        0 => Trouble::Partition,
        1 => Trouble::Deafen,
        2 => Trouble::Mute,
        3 => Trouble::Hold,
        4 => Trouble::Slow(Duration::from_millis(rng.random_range(100..1_000))),
        5 => Trouble::Crawl(rng.random_range(500..5_000)),
        6 => Trouble::Single,
        7 => neglect,
        _ => Trouble::Crash,
    }
}

fn strike(rng: &mut SmallRng) -> (Target, Fault) {
    let server = name(rng.random_range(0..SERVERS));
    let target = match rng.random_range(0..10) {
        0..4 => Target::Connection { server, index: 0 },
        4..7 => Target::Server(server),
        7..9 => Target::Router,
        _ => Target::Registry,
    };
    (target, [Fault::Kill, Fault::Stop][rng.random_range(0..2)])
}

fn order(rng: &mut SmallRng) -> Order {
    let server = rng.random_range(0..SERVERS);
    let pause = Duration::from_millis(rng.random_range(0..2_000));
    match rng.random_range(0..6) {
        0..2 => Order::Replace(server),
        2 => Order::Rest(server, pause),
        3 => Order::Leave(server, pause),
        4 => Order::Apply(rng.random_range(2..10)),
        _ => Order::ForceOpen(server, pause),
    }
}

/// The name of a server, and of its host.
pub fn name(server: usize) -> String {
    format!("server-{server}")
}
