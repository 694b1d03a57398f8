//! One run: a host with the troupe and its callers, a host for each server, and the network between them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mcp_troupe::testkit::{AnswerChecker, Entrance, Script, ScriptedServer, inject, living_actors};
use mcp_troupe::transport::websocket::{WebSocketConnector, WebSocketOptions};
use mcp_troupe::transport::{BoxFuture, Connector, DialError, Link};
use mcp_troupe::{Call, Priority, Readiness, Server, Settings, Troupe};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use turmoil::Sim;
use turmoil::net::{TcpListener, TcpStream};

use super::plan::{FAULTS, Plan, SERVERS, Step, Trouble, name};

/// The host of the troupe.
const TROUPE: &str = "troupe";

/// The port of every server.
const PORT: u16 = 80;

/// Callers, each with one call at a time.
const CALLERS: u64 = 4;

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// After the last fault everything is ready within this time: a crash loop's quarantine, and the longest opening of a
/// breaker, are over by then.
const LIVENESS: Duration = Duration::from_secs(10);

const MS: fn(u64) -> Duration = Duration::from_millis;

/// How a run went.
pub struct Run {
    /// Every step, with its time.
    pub trace: Vec<String>,
    /// Calls that were answered with a result.
    pub answered: u64,
}

#[derive(Clone)]
struct Trace {
    lines: Rc<RefCell<Vec<String>>>,
    /// Sees each line as it comes.
    follow: fn(&str),
}

impl Trace {
    fn note(&self, line: impl std::fmt::Display) {
        self.note_at(turmoil::sim_elapsed().unwrap_or_default(), line);
    }

    fn note_at(&self, at: Duration, line: impl std::fmt::Display) {
        let line = format!("{:>7.3} {line}", at.as_secs_f64());
        (self.follow)(&line);
        self.lines.borrow_mut().push(line);
    }
}

/// Dials within the simulated network.
struct Dialer {
    host: String,
    websocket: WebSocketConnector,
}

impl Dialer {
    fn to(host: String) -> Self {
        let options = WebSocketOptions {
            url: format!("ws://{host}"),
            message_bytes_max: 1 << 20,
            ..WebSocketOptions::default()
        };
        Self { host, websocket: WebSocketConnector::new(options).unwrap() }
    }
}

impl Connector for Dialer {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, DialError>> {
        Box::pin(async move {
            let stream = TcpStream::connect((self.host.as_str(), PORT)).await?;
            self.websocket.over(stream).await
        })
    }

    fn endpoint(&self) -> String {
        self.websocket.endpoint()
    }
}

/// Settings with times as short as the run: the defaults would outlast it.
fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.call_timeout = PATIENCE;
    settings.liveness.ping_interval = MS(500);
    settings.liveness.write_timeout = MS(1_000);
    settings.pool.connect_timeout = MS(1_000);
    settings.pool.handshake_timeout = MS(1_500);
    settings.pool.probe_timeout = MS(500);
    settings.pool.list_timeout = MS(1_500);
    settings.reconnect.max = MS(1_000);
    settings.restart.backoff.max = MS(1_000);
    settings.restart.quarantine = MS(2_000);
    settings.breaker.open_for = MS(1_000);
    settings.breaker.open_for_max = MS(2_000);
    settings.breaker.half_open_timeout = MS(1_000);
    settings
}

/// Runs a seed to its end; `follow` sees each line of its trace as it comes.
///
/// # Panics
/// When a call is lost, doubled, late or untrue, or something is not ready again in time.
pub fn simulate(seed: u64, follow: fn(&str)) -> Run {
    let Plan { latencies, steps, strikes } = Plan::of(seed);
    let servers: Rc<Vec<ScriptedServer>> = Rc::new((0..SERVERS).map(server).collect());
    let cuts: Vec<Arc<Notify>> = (0..SERVERS).map(|_| Arc::default()).collect();
    let trace = Trace { lines: Rc::default(), follow };
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(FAULTS + PATIENCE + LIVENESS + LIVENESS)
        .tick_duration(MS(2))
        .enable_random_order()
        .build();
    for (number, server) in servers.iter().enumerate() {
        let (entrance, cut) = (server.entrance(), cuts[number].clone());
        sim.host(name(number), move || listen(entrance.clone(), cut.clone()));
    }
    let answered = Rc::new(RefCell::new(0));
    let on_stage = play(seed, strikes, servers.clone(), trace.clone(), answered.clone());
    sim.client(TROUPE, async move {
        on_stage.await;
        Ok(())
    });
    for (number, latency) in latencies.iter().enumerate() {
        sim.set_link_latency(TROUPE, name(number), *latency);
    }
    let mut steps = steps.into_iter().peekable();
    while !sim.step().unwrap() {
        while let Some((_, step)) = steps.next_if(|(at, _)| *at <= sim.elapsed()) {
            trace.note_at(sim.elapsed(), format_args!("{step:?}"));
            apply(&step, &mut sim, &latencies, &cuts);
        }
    }
    let (trace, answered) = (trace.lines.take(), answered.take());
    Run { trace, answered }
}

/// The servers differ: in their pace, and in what they offer beside `echo`.
fn server(number: usize) -> ScriptedServer {
    let pace = MS(5 * number as u64);
    ScriptedServer::builder().tool("echo", Script::After(pace, Script::Echo.into())).build()
}

/// Serves connections; a cut drops those that are open.
async fn listen(entrance: Entrance, cut: Arc<Notify>) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    let mut guests = JoinSet::new();
    loop {
        tokio::select! { biased;
            () = cut.notified() => guests.abort_all(),
            accepted = listener.accept() => {
                guests.spawn(entrance.clone().admit(accepted?.0));
            }
        }
    }
}

fn apply(step: &Step, sim: &mut Sim<'_>, latencies: &[Duration], cuts: &[Arc<Notify>]) {
    match step {
        Step::Begin(trouble, server) => {
            let host = name(*server);
            match trouble {
                Trouble::Partition => sim.partition(TROUPE, host),
                Trouble::Deafen => sim.partition_oneway(TROUPE, host),
                Trouble::Mute => sim.partition_oneway(host, TROUPE),
                Trouble::Hold => sim.hold(TROUPE, host),
                Trouble::Slow(latency) => sim.set_link_latency(TROUPE, host, *latency),
                Trouble::Crash => sim.crash(host),
            }
        }
        Step::End(trouble, server) => {
            let host = name(*server);
            match trouble {
                Trouble::Partition | Trouble::Deafen | Trouble::Mute => sim.repair(TROUPE, host),
                Trouble::Hold => sim.release(TROUPE, host),
                Trouble::Slow(_) => sim.set_link_latency(TROUPE, host, latencies[*server]),
                Trouble::Crash if sim.is_host_running(host.as_str()) => {}
                Trouble::Crash => sim.bounce(host),
            }
        }
        Step::Cut(server) => cuts[*server].notify_one(),
    }
}

/// What happens on the troupe's host.
async fn play(
    seed: u64,
    strikes: Vec<(Duration, mcp_troupe::testkit::Target, mcp_troupe::testkit::Fault)>,
    servers: Rc<Vec<ScriptedServer>>,
    trace: Trace,
    answered: Rc<RefCell<u64>>,
) {
    let settings = settings();
    let builder =
        (0..SERVERS).fold(Troupe::builder().settings(settings.clone()).seed(seed), |builder, number| {
            let group = if number + 1 < SERVERS { "replicas" } else { "alone" };
            builder.server_via(Server::custom(name(number)).group(group), Dialer::to(name(number)))
        });
    let troupe = builder.start().await.unwrap();
    let checker = AnswerChecker::new(&troupe, &settings);

    let mut events = troupe.events();
    let told = trace.clone();
    let listener = tokio::task::spawn_local(async move {
        while let Some(event) = events.next().await {
            told.note(format_args!("{event:?}"));
        }
    });
    let callers: Vec<_> = (0..CALLERS)
        .map(|n| tokio::task::spawn_local(caller(seed ^ (n << 32), checker.clone(), trace.clone())))
        .collect();
    for (at, target, fault) in strikes {
        tokio::time::sleep(at.saturating_sub(turmoil::sim_elapsed().unwrap())).await;
        let struck = inject(&troupe, target.clone(), fault).await.is_ok();
        trace.note(format_args!("{fault:?} {target:?}: {struck}"));
    }
    for caller in callers {
        caller.await.unwrap();
    }
    trace.note("every caller has its answers");
    assert_eq!(checker.open_calls(), 0);

    let within = |what| format!("{what} within {LIVENESS:?} of the last fault");
    let healing = async {
        troupe.ready_within(Readiness::All, LIVENESS).await.unwrap();
        trace.note("everything is ready");
        for number in 0..SERVERS {
            while checker.call(Call::tool("echo").server(name(number))).await.is_err() {
                tokio::time::sleep(MS(50)).await;
            }
            trace.note(format_args!("{} answers", name(number)));
        }
    };
    tokio::time::timeout(LIVENESS, healing)
        .await
        .unwrap_or_else(|_| panic!("{}", within("all answer again")));
    troupe.shutdown().await;
    assert_eq!(living_actors(&troupe), 0, "actors were left behind");
    listener.await.unwrap();
    let tally = checker.verdict(servers.iter()).unwrap_or_else(|violations| panic!("{violations}"));
    trace.note(format_args!("{tally:?}"));
    *answered.borrow_mut() = tally.ok;
}

/// Calls until the faults are over.
async fn caller(seed: u64, checker: AnswerChecker, trace: Trace) {
    let mut rng = SmallRng::seed_from_u64(seed);
    while turmoil::sim_elapsed().unwrap() < FAULTS {
        tokio::time::sleep(MS(rng.random_range(1..100))).await;
        let mut call = Call::tool("echo").priority(Priority::ALL[rng.random_range(0..3)]);
        call = match rng.random_range(0..4) {
            0 => call.group("alone"),
            1 => call.server(name(rng.random_range(0..SERVERS))),
            _ => call.group("replicas"),
        };
        call = match rng.random_range(0..3) {
            0 => call.idempotent(),
            1 => call.timeout(MS(rng.random_range(1..1_000))),
            _ => call,
        };
        let number = checker.calls();
        match checker.call(call).await {
            Ok(reply) => trace.note(format_args!("call {number}: {} after {}", reply.server, reply.attempts)),
            Err(error) => {
                trace.note(format_args!("call {number}: {} ({:?})", error.kind().name(), error.outcome()));
            }
        }
    }
}
