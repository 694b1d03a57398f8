//! What a seed does to the world.

use std::time::Duration;

use mcp_troupe::testkit::{Fault, Target};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// How many servers there are: two replicas of one group, and one alone.
pub const SERVERS: usize = 3;

/// How long faults are injected.
pub const FAULTS: Duration = Duration::from_secs(12);

/// The longest time that a partition, a delay or a crash lasts.
const LONGEST_MS: u64 = 4_000;

/// What happens to the network or a host.
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
    /// The server's host crashes; it starts again at the end.
    Crash,
}

/// One step of the plan.
#[derive(Debug, Clone)]
pub enum Step {
    Begin(Trouble, usize),
    End(Trouble, usize),
    /// The server drops its connections.
    Cut(usize),
}

/// What a seed does, by time.
pub struct Plan {
    /// How long a message takes to or from each server where nothing is wrong. On one link all take the same time: what
    /// ends at one moment ends in an order that actors' tables hide, and the run must not depend on it.
    pub latencies: Vec<Duration>,
    /// To the network and the hosts.
    pub steps: Vec<(Duration, Step)>,
    /// To our own actors.
    pub strikes: Vec<(Duration, Target, Fault)>,
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let at = |rng: &mut SmallRng| Duration::from_millis(rng.random_range(500..FAULTS.as_millis() as u64));
        let latencies = (0..SERVERS).map(|_| Duration::from_millis(rng.random_range(1..25))).collect();
        let mut steps = Vec::new();
        for _ in 0..rng.random_range(2..8) {
            let (begin, server) = (at(&mut rng), rng.random_range(0..SERVERS));
            let end = begin + Duration::from_millis(rng.random_range(10..LONGEST_MS));
            let trouble = match rng.random_range(0..6) {
                0 => Trouble::Partition,
                1 => Trouble::Deafen,
                2 => Trouble::Mute,
                3 => Trouble::Hold,
                4 => Trouble::Slow(Duration::from_millis(rng.random_range(100..1_000))),
                _ => Trouble::Crash,
            };
            steps.push((begin, Step::Begin(trouble, server)));
            steps.push((end.min(FAULTS), Step::End(trouble, server)));
        }
        for _ in 0..rng.random_range(0..3) {
            steps.push((at(&mut rng), Step::Cut(rng.random_range(0..SERVERS))));
        }
        steps.sort_by_key(|(at, _)| *at);
        let mut strikes: Vec<_> = (0..rng.random_range(1..8))
            .map(|_| {
                let (target, fault) = strike(&mut rng);
                (at(&mut rng), target, fault)
            })
            .collect();
        strikes.sort_by_key(|(at, _, _)| *at);
        Self { latencies, steps, strikes }
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

/// The name of a server, and of its host.
pub fn name(server: usize) -> String {
    format!("server-{server}")
}
