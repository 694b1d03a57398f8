//! Who uses the troupe: callers, users of leases, holders of subscriptions, and whoever runs it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use mcp_troupe::testkit::AnswerChecker;
use mcp_troupe::{Call, CallErrorKind, ConfigFile, Priority, Reply, Subscription, Troupe};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::plan::{FAULTS, Order, PROCESS, SERVERS, SESSIONS, name};
use super::world::{MS, PATIENCE, Stage, Trace, settings};

/// How long a call of the tool `long` takes: longer than every time limit of the settings.
pub const LONG: Duration = Duration::from_millis(2_500);

/// Bytes that some calls carry: at the pace of a line that crawls they take longer than every time limit.
const LARGE: usize = 20_000;

fn faults_go_on() -> bool {
    turmoil::sim_elapsed().unwrap() < FAULTS
}

/// Calls until the faults are over.
pub async fn caller(seed: u64, checker: AnswerChecker, leased: Leased, trace: Trace) {
    let mut rng = SmallRng::seed_from_u64(seed);
    while faults_go_on() {
        tokio::time::sleep(MS(rng.random_range(1..100))).await;
        let tool = ["echo", "echo", "connection"][rng.random_range(0..3)];
        let mut call = Call::tool(tool).priority(Priority::ALL[rng.random_range(0..3)]);
        if rng.random_range(0..20) == 0 {
            call = call.args(json!({"text": "x".repeat(LARGE)}));
        }
        call = match rng.random_range(0..5) {
            0 => call.group(name(SESSIONS)),
            1 => call.group(name(PROCESS)),
            2 => call.server(name(rng.random_range(0..SERVERS))),
            _ => call.group("replicas"),
        };
        call = match rng.random_range(0..3) {
            0 => call.idempotent(),
            1 => call.timeout(MS(rng.random_range(1..1_000))),
            _ => call,
        };
        let number = checker.calls();
        match checker.call(call).await {
            Ok(reply) => {
                if tool == "connection" {
                    leased.meets_nobody(&reply);
                }
                trace.note(format_args!("call {number}: {} after {}", reply.server, reply.attempts));
            }
            Err(error) => {
                trace.note(format_args!("call {number}: {} ({:?})", error.kind().name(), error.effect()));
            }
        }
    }
}

/// Makes calls that take longer than every time limit but their own, until the faults are over.
pub async fn patient_caller(checker: AnswerChecker, trace: Trace) {
    while faults_go_on() {
        let number = checker.calls();
        let call = Call::tool("long").group("replicas").timeout(LONG + PATIENCE);
        let answer = checker.call(call).await;
        let told = answer.map(|reply| reply.server).map_err(|error| (error.kind().name(), error.effect()));
        trace.note(format_args!("long call {number}: {told:?}"));
        tokio::time::sleep(MS(50)).await;
    }
}

/// The connections that belong to leases, each with its user. A server counts its connections and uses no number twice.
#[derive(Debug, Clone, Default)]
pub struct Leased(Rc<RefCell<BTreeMap<(String, u64), u64>>>);

/// The server and the number of the connection that a reply came over.
fn connection_of(reply: &Reply) -> (String, u64) {
    let said: serde_json::Value = reply.structured().unwrap();
    (reply.server.to_string(), said["connection"].as_u64().unwrap())
}

impl Leased {
    /// A call that came over no lease was not made over the connection of one.
    fn meets_nobody(&self, reply: &Reply) {
        let connection = connection_of(reply);
        let user = self.0.borrow().get(&connection).copied();
        assert_eq!(user, None, "a call of everybody's came over the leased connection {connection:?}");
    }

    /// A call over a lease came over its own connection.
    fn is_mine(&self, user: u64, mine: &mut Option<(String, u64)>, reply: &Reply) {
        let connection = connection_of(reply);
        match mine {
            Some(mine) => assert_eq!(*mine, connection, "a lease changed its connection"),
            None => {
                let other = self.0.borrow_mut().insert(connection.clone(), user);
                assert_eq!(other, None, "{connection:?} is leased twice");
                *mine = Some(connection);
            }
        }
    }
}

/// Takes leases, makes some calls over each and gives them back, until the faults are over.
pub async fn lease_user(user: u64, seed: u64, troupe: Troupe, leased: Leased, trace: Trace) {
    let mut rng = SmallRng::seed_from_u64(seed);
    while faults_go_on() {
        tokio::time::sleep(MS(rng.random_range(1..300))).await;
        let of = match rng.random_range(0..4) {
            0 => name(SESSIONS),
            1 => name(PROCESS),
            _ => "replicas".to_owned(),
        };
        let lease = match troupe.lease(of).await {
            Ok(lease) => lease,
            Err(error) => {
                trace.note(format_args!("user {user} got no lease: {}", error.kind().name()));
                continue;
            }
        };
        let mut mine = None;
        for _ in 0..rng.random_range(1..6) {
            match lease.call(Call::tool("connection")).await {
                Ok(reply) => leased.is_mine(user, &mut mine, &reply),
                Err(error) => {
                    if let CallErrorKind::LeaseEnded { reason } = error.kind() {
                        assert!(!reason.contains("released"), "the lease of user {user} ended: {reason}");
                        break;
                    }
                }
            }
            tokio::time::sleep(MS(rng.random_range(1..300))).await;
        }
        trace.note(format_args!("user {user} is done with {mine:?}"));
        if let Some(mine) = mine {
            leased.0.borrow_mut().remove(&mine);
        }
    }
}

/// The resource of each server.
pub const RESOURCE: &str = "sim:///state";

/// Subscriptions to the resource of each server, and which of them a change was told of.
#[derive(Default)]
pub struct Subscriptions {
    held: RefCell<BTreeMap<usize, Subscription>>,
    told: RefCell<BTreeSet<String>>,
}

impl Subscriptions {
    /// Subscribes wherever nothing is held, until the faults are over.
    pub async fn hold(self: Rc<Self>, troupe: Troupe, trace: Trace) {
        while faults_go_on() {
            for server in 0..SERVERS {
                self.subscribe(&troupe, server, &trace).await;
            }
            tokio::time::sleep(MS(100)).await;
        }
    }

    /// Subscribes at a server, unless a subscription is held.
    pub async fn subscribe(&self, troupe: &Troupe, server: usize, trace: &Trace) {
        if self.held.borrow().contains_key(&server) {
            return;
        }
        match troupe.subscribe_at(&name(server), RESOURCE).await {
            Ok(subscription) => {
                trace.note(format_args!("subscribed at {}", name(server)));
                self.held.borrow_mut().insert(server, subscription);
            }
            Err(error) => trace.note(format_args!("not subscribed at {}: {error}", name(server))),
        }
    }

    /// The server leaves: its subscription ends with its registration.
    fn leaves(&self, server: usize) {
        drop(self.held.borrow_mut().remove(&server));
    }

    /// A change at this server was told.
    pub fn note(&self, server: &str) {
        self.told.borrow_mut().insert(server.to_owned());
    }

    /// Whether a change at this server was told since the last time that this was asked.
    pub fn was_told(&self, server: usize) -> bool {
        self.told.borrow_mut().remove(&name(server))
    }
}

/// Carries out an order of the host's. What one order finds undone by another one is no mistake.
pub async fn carry_out(order: Order, stage: Rc<Stage>) {
    let troupe = &stage.troupe;
    let done = match order {
        Order::Replace(server) => {
            let (described, way) = stage.server(server);
            troupe.replace_via(described, way).await.map_err(|error| error.to_string())
        }
        Order::Rest(server, pause) => {
            let rested = troupe.drain(&name(server), MS(1_000)).await;
            stage.trace.note(format_args!("{} rests: {rested:?}", name(server)));
            tokio::time::sleep(pause).await;
            troupe.resume(&name(server)).await.map_err(|error| error.to_string())
        }
        Order::Leave(server, pause) => {
            stage.subscriptions.leaves(server);
            let left = troupe.unregister(&name(server)).await;
            stage.trace.note(format_args!("{} leaves: {left:?}", name(server)));
            tokio::time::sleep(pause).await;
            stage.register(server).await
        }
        Order::Apply(failures) => {
            let mut file = ConfigFile::parse(r#"{"mcpServers": {}}"#).unwrap();
            file.settings = settings();
            file.settings.breaker.failure_threshold = failures;
            troupe.apply(file).await.map(drop).map_err(|error| error.to_string())
        }
        Order::ForceOpen(server, pause) => {
            // Another order may have taken the server away.
            let _ = troupe.breaker(name(server)).force_open().await;
            tokio::time::sleep(pause).await;
            troupe.breaker(name(server)).reset().await.map(drop).map_err(|error| error.to_string())
        }
    };
    stage.trace.note(format_args!("{order:?}: {done:?}"));
}
