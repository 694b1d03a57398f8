//! What the servers of a run are like.

use std::time::Duration;

use crate::config::{BreakerMode, BreakerSettings, PoolSettings};

/// Servers of every scenario: more than `peak-ewma` scans, so that it draws two.
const SERVERS: usize = 10;

/// Calls that a server works on at once; the others wait in it.
const WORKERS: usize = 8;

/// Of the server with which something is wrong.
const ODD_ONE: usize = 3;

/// When something is wrong, or a server joins: late enough that the strategies know their servers, and early enough that
/// the time after it shows as well.
const TROUBLE: Duration = Duration::from_secs(20);
const RECOVERY: Duration = Duration::from_secs(40);

/// How long a server that joins cold is slow.
const COLD_FOR: Duration = Duration::from_secs(10);

/// Speed of a server that is ten times slower than the others.
const SLOW: f64 = 0.1;

/// How long an antagonist takes part of a server, and its speed meanwhile.
const BURST: Duration = Duration::from_secs(5);
const BESIDE_ANTAGONIST: f64 = 0.25;

/// How long calls arrive.
pub(super) const SPAN: Duration = Duration::from_secs(60);

/// How servers answer for a minute, and how many calls there are for them: ten servers that work on eight calls each, 10 ms
/// per call on average (log-normal, standard deviation 10 ms) at their usual speed.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) servers: Vec<Server>,
    /// Calls, as a share of what the servers can do in the span.
    pub(super) utilisation: f64,
    /// Calls that a server works on at once.
    pub(super) workers: usize,
    /// Calls that a server is given at once.
    pub(super) in_flight_max: usize,
    pub(super) breaker: BreakerSettings,
}

/// A server of a scenario.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub weight: u32,
    /// When it joins.
    pub joins: Duration,
    /// What it does from when on, in order of time.
    pub phases: Vec<(Duration, Behaviour)>,
}

/// How a server treats the calls that it begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Behaviour {
    /// At this multiple of the usual speed.
    Works(f64),
    /// They fail after this time.
    Fails(Duration),
}

impl Server {
    /// One that works at this speed.
    fn of_speed(speed: f64) -> Self {
        Self { weight: 100, joins: Duration::ZERO, phases: vec![(Duration::ZERO, Behaviour::Works(speed))] }
    }

    /// What it does at this time.
    pub(super) fn behaviour(&self, time: Duration) -> Behaviour {
        let begun = self.phases.iter().rev().find(|(from, _)| *from <= time);
        begun.map_or(Behaviour::Works(1.0), |(_, behaviour)| *behaviour)
    }

    /// Its mean speed over the span. While it fails it counts as usual: it is asked in the belief that it works.
    pub(super) fn mean_speed(&self) -> f64 {
        let ends = self.phases.iter().skip(1).map(|(from, _)| *from).chain([SPAN]);
        let worked = self.phases.iter().zip(ends).map(|((from, behaviour), end)| {
            let present = end.saturating_sub(self.joins.max(*from));
            match behaviour {
                Behaviour::Works(speed) => present.as_secs_f64() * speed,
                Behaviour::Fails(_) => present.as_secs_f64(),
            }
        });
        worked.sum::<f64>() / SPAN.as_secs_f64()
    }
}

impl Scenario {
    fn new(name: &'static str, about: &'static str, utilisation: f64) -> Self {
        Self {
            name,
            about,
            servers: vec![Server::of_speed(1.0); SERVERS],
            utilisation,
            workers: WORKERS,
            in_flight_max: usize::MAX,
            breaker: BreakerSettings { mode: BreakerMode::Disabled, ..BreakerSettings::default() },
        }
    }

    /// Something is wrong with one server for 20 s.
    fn trouble(mut self, trouble: Behaviour) -> Self {
        self.servers[ODD_ONE].phases.extend([(TROUBLE, trouble), (RECOVERY, Behaviour::Works(1.0))]);
        self
    }

    fn breaking(self, name: &'static str, about: &'static str) -> Self {
        Self { name, about, breaker: BreakerSettings::default(), ..self }
    }

    /// All servers are equal.
    pub fn equal() -> Self {
        Self::new("A", "equal servers", 0.85)
    }

    /// Speeds from 0.3 to 1.7, which nobody has told the troupe.
    pub fn unequal() -> Self {
        let mut scenario = Self::new("B", "speeds 0.3 to 1.7", 0.85);
        for (n, server) in scenario.servers.iter_mut().enumerate() {
            *server = Server::of_speed(0.3 + 1.4 * n as f64 / (SERVERS - 1) as f64);
        }
        scenario
    }

    /// The same, and the configured weights say so.
    pub fn unequal_weighted() -> Self {
        let mut scenario =
            Self { name: "B weights", about: "the same, with true weights", ..Self::unequal() };
        for server in &mut scenario.servers {
            server.weight = (100.0 * server.mean_speed()).round() as u32;
        }
        scenario
    }

    /// At any time two servers are four times slower, other ones every 5 s.
    pub fn antagonists() -> Self {
        let mut scenario = Self::new("C", "two in turn four times slower", 0.75);
        let bursts = (SPAN.as_secs() / BURST.as_secs()) as usize;
        for (n, server) in scenario.servers.iter_mut().enumerate() {
            let turns = SERVERS / 2;
            let speed = |burst| if burst % turns == n / 2 { BESIDE_ANTAGONIST } else { 1.0 };
            server.phases =
                (0..bursts).map(|burst| (BURST * burst as u32, Behaviour::Works(speed(burst)))).collect();
        }
        scenario
    }

    /// One server is ten times slower for 20 s.
    pub fn one_slow() -> Self {
        Self::new("D", "one ten times slower for 20 s", 0.6).trouble(Behaviour::Works(SLOW))
    }

    /// The same, and no server is given more calls than the pool's default settings allow.
    pub fn one_slow_pooled() -> Self {
        let pool = PoolSettings::default();
        let in_flight_max = pool.max * pool.in_flight_max;
        Self {
            name: "D pool",
            about: "the same, at most 1,280 in flight each",
            in_flight_max,
            ..Self::one_slow()
        }
    }

    /// The same, and no server is given more calls than it works on at once.
    pub fn one_slow_limited() -> Self {
        let about = "the same, at most 8 in flight each";
        Self { name: "D limited", about, in_flight_max: WORKERS, ..Self::one_slow() }
    }

    /// One server fails each call within 0.5 ms for 20 s; there are no breakers.
    pub fn one_fails_fast() -> Self {
        Self::new("E", "one fails in 0.5 ms for 20 s", 0.6)
            .trouble(Behaviour::Fails(Duration::from_micros(500)))
    }

    /// One server fails each call after a second for 20 s; there are no breakers.
    pub fn one_fails_slowly() -> Self {
        Self::new("E slow", "one fails in 1 s for 20 s", 0.6)
            .trouble(Behaviour::Fails(Duration::from_secs(1)))
    }

    /// One server joins after 20 s.
    pub fn one_joins() -> Self {
        let mut scenario = Self::new("F", "one joins at 20 s", 0.75);
        scenario.servers[ODD_ONE].joins = TROUBLE;
        scenario
    }

    /// One server joins after 20 s, and is ten times slower for its first 10 s.
    pub fn one_joins_cold() -> Self {
        let mut scenario = Self { name: "F cold", about: "one joins, 10 s of it slow", ..Self::one_joins() };
        scenario.servers[ODD_ONE].phases =
            vec![(TROUBLE, Behaviour::Works(SLOW)), (TROUBLE + COLD_FOR, Behaviour::Works(1.0))];
        scenario
    }

    /// [`one_fails_fast`](Self::one_fails_fast), with breakers.
    pub fn one_fails_fast_breaking() -> Self {
        Self::one_fails_fast().breaking("G", "E with breakers")
    }

    /// [`one_fails_slowly`](Self::one_fails_slowly), with breakers.
    pub fn one_fails_slowly_breaking() -> Self {
        Self::one_fails_slowly().breaking("G slow", "E slow with breakers")
    }

    /// All of them.
    pub fn all() -> Vec<Self> {
        vec![
            Self::equal(),
            Self::unequal(),
            Self::unequal_weighted(),
            Self::antagonists(),
            Self::one_slow(),
            Self::one_slow_pooled(),
            Self::one_slow_limited(),
            Self::one_fails_fast(),
            Self::one_fails_fast_breaking(),
            Self::one_fails_slowly(),
            Self::one_fails_slowly_breaking(),
            Self::one_joins(),
            Self::one_joins_cold(),
        ]
    }

    /// Its short name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What happens in it, in some words.
    pub fn about(&self) -> &'static str {
        self.about
    }
}
