//! One run: a host with the troupe and its callers, a host for each server, and the network between them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mcp_troupe::config::Start;
use mcp_troupe::event::ServerStatus;
use mcp_troupe::testkit::{
    AnswerChecker, Fault, Script, ScriptedEra, ScriptedServer, Target, inject, living_actors,
};
use mcp_troupe::{Call, Event, Readiness, RegisterError, Server, Settings, Troupe};
use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_local};
use turmoil::Sim;
use turmoil::net::TcpListener;

use super::network::{Dialer, Line, PORT, Way};
use super::plan::{FAULTS, Order, PROCESS, Plan, SERVERS, SESSIONS, Step, Trouble, name};
use super::users::{LONG, Leased, RESOURCE, Subscriptions, caller, carry_out, lease_user, patient_caller};

/// The host of the troupe.
const TROUPE: &str = "troupe";

/// Callers, each with one call at a time.
const CALLERS: u64 = 4;

/// Users of leases, each with one lease at a time.
const LEASE_USERS: u64 = 2;

/// How long a call may take.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// After the last fault everything is ready within this time: a crash loop's quarantine, and the longest opening of a
/// breaker, are over by then.
const LIVENESS: Duration = Duration::from_secs(10);

/// Milliseconds.
pub const MS: fn(u64) -> Duration = Duration::from_millis;

/// How a run went.
pub struct Run {
    /// Every step, with its time.
    pub trace: Vec<String>,
    /// Calls that were answered with a result.
    pub answered: u64,
}

/// What is told of a run, line by line.
#[derive(Clone)]
pub struct Trace {
    lines: Rc<RefCell<Vec<String>>>,
    /// Sees each line as it comes.
    follow: fn(&str),
}

impl Trace {
    pub fn note(&self, line: impl std::fmt::Display) {
        self.note_at(turmoil::sim_elapsed().unwrap_or_default(), line);
    }

    fn note_at(&self, at: Duration, line: impl std::fmt::Display) {
        let line = format!("{:>7.3} {line}", at.as_secs_f64());
        (self.follow)(&line);
        self.lines.borrow_mut().push(line);
    }
}

/// Settings with times as short as the run: the defaults would outlast it.
pub fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.call_timeout = PATIENCE;
    settings.shutdown_drain = MS(2_000);
    settings.liveness.ping_interval = MS(500);
    settings.liveness.write_timeout = MS(1_000);
    settings.pool.connect_timeout = MS(1_000);
    settings.pool.handshake_timeout = Some(MS(1_500));
    settings.pool.probe_timeout = MS(500);
    settings.pool.list_timeout = MS(1_500);
    settings.reconnect.max = MS(1_000);
    settings.processes.backoff.min = MS(100);
    settings.processes.backoff.max = MS(1_000);
    settings.restart.backoff.max = MS(1_000);
    settings.restart.quarantine = MS(2_000);
    settings.breaker.open_for = MS(1_000);
    settings.breaker.open_for_max = MS(2_000);
    settings.breaker.half_open_timeout = MS(1_000);
    settings
}

/// Connections of a server, as kept open and at most; and how long it runs unused, where it is started on demand.
type Terms = ((usize, usize), Option<Duration>);

/// A server, and what befalls it.
struct World {
    server: ScriptedServer,
    line: Arc<Line>,
    /// Drops the connections that are open.
    cut: Notify,
    /// It takes no second connection.
    single: Cell<bool>,
}

/// Runs a seed to its end; `follow` sees each line of its trace as it comes.
///
/// # Panics
/// When a call is lost, doubled, late or untrue, a lease meets another one, or something is not ready again in time.
pub fn simulate(seed: u64, follow: fn(&str)) -> Run {
    let Plan { latencies, legacy, pools, idles, steps, strikes, orders } = Plan::of(seed);
    let worlds: Vec<Rc<World>> = legacy.iter().enumerate().map(|(n, legacy)| world(n, *legacy)).collect();
    let trace = Trace { lines: Rc::default(), follow };
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(FAULTS + LONG + PATIENCE + LIVENESS + LIVENESS)
        .tick_duration(MS(2))
        .enable_random_order()
        .build();
    for (number, world) in worlds.iter().enumerate().filter(|(number, _)| *number != PROCESS) {
        let world = world.clone();
        sim.host(name(number), move || listen(world.clone()));
    }
    let answered = Rc::new(Cell::new(0));
    let done = answered.clone();
    let terms = pools.into_iter().zip(idles).collect();
    let on_stage = play(seed, terms, strikes, orders, worlds.clone(), trace.clone());
    sim.client(TROUPE, async move {
        done.set(on_stage.await);
        Ok(())
    });
    for (number, latency) in latencies.iter().enumerate().filter(|(number, _)| *number != PROCESS) {
        sim.set_link_latency(TROUPE, name(number), *latency);
    }
    let mut steps = steps.into_iter().peekable();
    while !sim.step().unwrap() {
        while let Some((_, step)) = steps.next_if(|(at, _)| *at <= sim.elapsed()) {
            trace.note_at(sim.elapsed(), format_args!("{step:?}"));
            apply(&step, &mut sim, &latencies, &worlds);
        }
    }
    Run { trace: trace.lines.take(), answered: answered.get() }
}

/// The servers differ: in their pace, and in what they offer beside `echo`.
fn world(number: usize, legacy: bool) -> Rc<World> {
    let pace = MS(5 * number as u64);
    let server = ScriptedServer::builder()
        .tool("echo", Script::After(pace, Script::Echo.into()))
        .tool("connection", Script::Connection)
        .tool("long", Script::After(LONG, Script::Echo.into()))
        .resource(RESOURCE, "0")
        .tells_changes()
        .era(if legacy { ScriptedEra::Legacy } else { ScriptedEra::Modern })
        .build();
    Rc::new(World { server, line: Arc::default(), cut: Notify::new(), single: Cell::new(false) })
}

/// Serves connections; a cut drops those that are open.
async fn listen(world: Rc<World>) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    let mut guests = JoinSet::new();
    loop {
        tokio::select! { biased;
            () = world.cut.notified() => guests.abort_all(),
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                if !(world.single.get() && world.server.observed().connections > 0) {
                    guests.spawn(world.server.entrance().admit(stream));
                }
            }
        }
    }
}

fn apply(step: &Step, sim: &mut Sim<'_>, latencies: &[Duration], worlds: &[Rc<World>]) {
    match step {
        Step::Begin(trouble, server) => {
            let (host, world) = (name(*server), &worlds[*server]);
            match trouble {
                Trouble::Partition => sim.partition(TROUPE, host),
                Trouble::Deafen => sim.partition_oneway(TROUPE, host),
                Trouble::Mute => sim.partition_oneway(host, TROUPE),
                Trouble::Hold => sim.hold(TROUPE, host),
                Trouble::Slow(latency) => sim.set_link_latency(TROUPE, host, *latency),
                Trouble::Crawl(bytes) => world.line.crawl(*bytes),
                Trouble::Single => world.single.set(true),
                Trouble::Neglect(method) => world.server.neglect(*method, u64::MAX),
                Trouble::Crash => sim.crash(host),
            }
        }
        Step::End(trouble, server) => {
            let (host, world) = (name(*server), &worlds[*server]);
            match trouble {
                Trouble::Partition | Trouble::Deafen | Trouble::Mute => sim.repair(TROUPE, host),
                Trouble::Hold => sim.release(TROUPE, host),
                Trouble::Slow(_) => sim.set_link_latency(TROUPE, host, latencies[*server]),
                Trouble::Crawl(_) => world.line.crawl(0),
                Trouble::Single => world.single.set(false),
                Trouble::Neglect(method) => world.server.attend(method),
                Trouble::Crash if sim.is_host_running(host.as_str()) => {}
                Trouble::Crash => sim.bounce(host),
            }
        }
        // A process has no listener that could be told.
        Step::Cut(server) if *server == PROCESS => worlds[*server].line.end_process(),
        Step::Cut(server) => worlds[*server].cut.notify_one(),
        Step::NeglectOnce(method, server) => worlds[*server].server.neglect(*method, 1),
        Step::Forget(server) => worlds[*server].line.forget_sessions(),
        Step::BreakOff(server) => worlds[*server].line.break_next(),
    }
}

/// What the troupe's host has.
pub struct Stage {
    pub troupe: Troupe,
    pub subscriptions: Rc<Subscriptions>,
    pub trace: Trace,
    worlds: Vec<Rc<World>>,
    terms: Vec<Terms>,
}

impl Stage {
    /// A server's description, and the way to it.
    pub fn server(&self, number: usize) -> (Server, Dialer) {
        described(number, self.terms[number], &self.worlds[number])
    }

    /// Registers a server that leaves, once it has left. Another order may do so first.
    pub async fn register(&self, number: usize) -> Result<(), String> {
        loop {
            let (described, way) = self.server(number);
            let registered = self.troupe.register_via(described, way).await;
            let leaves =
                self.troupe.servers().into_iter().any(|server| {
                    server.id.as_str() == name(number) && server.status == ServerStatus::Draining
                });
            match registered {
                Err(RegisterError::AlreadyRegistered(_)) if leaves => tokio::time::sleep(MS(50)).await,
                done => return done.map_err(|error| error.to_string()),
            }
        }
    }
}

fn described(number: usize, ((min, max), idle): Terms, world: &World) -> (Server, Dialer) {
    let mut pool = settings().pool;
    (pool.min, pool.max) = (min, max);
    let way = match number {
        SESSIONS => Way::Sessions(name(number)),
        PROCESS => Way::Process(world.server.entrance()),
        _ => Way::Network(name(number)),
    };
    let group = if number < SESSIONS { "replicas".to_owned() } else { name(number) };
    let server = Server::custom(name(number)).group(group).pool(pool);
    let server = match idle {
        Some(idle) => server.start(Start::OnDemand).idle_timeout(idle),
        None => server,
    };
    (server, Dialer::new(way, world.line.clone()))
}

/// What happens on the troupe's host. Returns how many calls were answered with a result.
async fn play(
    seed: u64,
    terms: Vec<Terms>,
    strikes: Vec<(Duration, Target, Fault)>,
    orders: Vec<(Duration, Order)>,
    worlds: Vec<Rc<World>>,
    trace: Trace,
) -> u64 {
    let settings = settings();
    let mut builder = Troupe::builder().settings(settings.clone()).seed(seed);
    for (number, world) in worlds.iter().enumerate() {
        let (described, way) = described(number, terms[number], world);
        builder = builder.server_via(described, way);
    }
    let troupe = builder.start().await.unwrap();
    let checker = AnswerChecker::new(&troupe, &settings);
    let subscriptions = Rc::new(Subscriptions::default());
    let stage =
        Rc::new(Stage { troupe: troupe.clone(), subscriptions: subscriptions.clone(), trace, worlds, terms });
    let trace = &stage.trace;

    let mut events = troupe.events();
    let (told, noted) = (trace.clone(), subscriptions.clone());
    let listener = spawn_local(async move {
        while let Some(event) = events.next().await {
            told.note(format_args!("{event:?}"));
            if let Event::ResourceUpdated { server, .. } = &event {
                noted.note(server.as_str());
            }
        }
    });
    let leased = Leased::default();
    let mut users = Vec::new();
    for n in 0..CALLERS {
        users.push(spawn_local(caller(seed ^ (n << 32), checker.clone(), leased.clone(), trace.clone())));
    }
    users.push(spawn_local(patient_caller(checker.clone(), trace.clone())));
    for n in 0..LEASE_USERS {
        let seed = seed ^ ((CALLERS + n) << 32);
        users.push(spawn_local(lease_user(n, seed, troupe.clone(), leased.clone(), trace.clone())));
    }
    users.push(spawn_local(subscriptions.clone().hold(troupe.clone(), trace.clone())));
    for (at, order) in orders {
        let stage = stage.clone();
        users.push(spawn_local(async move {
            wait_until(at).await;
            carry_out(order, stage).await;
        }));
    }
    for (at, target, fault) in strikes {
        wait_until(at).await;
        let struck = inject(&troupe, target.clone(), fault).await.is_ok();
        trace.note(format_args!("{fault:?} {target:?}: {struck}"));
    }
    for user in users {
        user.await.unwrap();
    }
    wait_until(FAULTS).await;
    trace.note("every caller has its answers");
    assert_eq!(checker.open_calls(), 0);
    restore(&stage).await;

    let within = |what| format!("{what} within {LIVENESS:?} of the last fault");
    let healing = async {
        // What is started on demand, and could not be, is tried again for calls alone.
        for number in (0..SERVERS).filter(|number| stage.terms[*number].1.is_some()) {
            while checker.call(Call::tool("echo").server(name(number))).await.is_err() {
                tokio::time::sleep(MS(50)).await;
            }
        }
        troupe.ready_within(Readiness::All, LIVENESS).await.unwrap();
        trace.note("everything is ready");
        for number in 0..SERVERS {
            while checker.call(Call::tool("echo").server(name(number))).await.is_err() {
                tokio::time::sleep(MS(50)).await;
            }
            trace.note(format_args!("{} answers", name(number)));
            hear_of_changes(number, &stage).await;
            trace.note(format_args!("{} tells of changes", name(number)));
        }
    };
    tokio::time::timeout(LIVENESS, healing)
        .await
        .unwrap_or_else(|_| panic!("{}", within("all answer and tell of changes again")));
    troupe.shutdown().await;
    assert_eq!(living_actors(&troupe), 0, "actors were left behind");
    listener.await.unwrap();
    let servers = stage.worlds.iter().map(|world| &world.server);
    let tally = checker.verdict(servers).unwrap_or_else(|violations| panic!("{violations}"));
    trace.note(format_args!("{tally:?}"));
    tally.ok
}

async fn wait_until(at: Duration) {
    tokio::time::sleep(at.saturating_sub(turmoil::sim_elapsed().unwrap())).await;
}

/// What orders that came between each other have left undone.
async fn restore(stage: &Stage) {
    for number in 0..SERVERS {
        // It does not rest: then there is nothing to do.
        let _ = stage.troupe.resume(&name(number)).await;
        let _ = stage.troupe.breaker(name(number)).reset().await;
    }
}

/// A subscription that is held tells of changes again.
async fn hear_of_changes(number: usize, stage: &Stage) {
    let (server, subscriptions) = (&stage.worlds[number].server, &stage.subscriptions);
    subscriptions.subscribe(&stage.troupe, number, &stage.trace).await;
    subscriptions.was_told(number);
    let mut state = 0;
    while !subscriptions.was_told(number) {
        state += 1;
        server.update_resource(RESOURCE, state.to_string());
        tokio::time::sleep(MS(100)).await;
    }
}
