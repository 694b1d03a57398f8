//! Two users with leases, whose answers and states must never mix.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mcp_troupe::testkit::AnswerChecker;
use mcp_troupe::{Call, CallError, CallErrorKind, Lease, Reply, Troupe};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::task::JoinSet;

use super::callers::{Kept, Mark, Numbers};
use super::cast::{GROUP, User};

/// Tasks of one user, each with leases of its own.
const HOLDERS: u64 = 3;

/// Leases that one task has at once. Some rest in its drawer while their servers get other lives.
const LEASES_MAX: usize = 3;

/// Calls on a lease before another one is turned to.
const CALLS_MAX: u32 = 8;

/// How long a user thinks at most.
const THOUGHT_MAX: Duration = Duration::from_millis(8);

/// How a lease says that it ended because its holder let go of it, or left before it had it. Of one that is held that is
/// untrue: somebody else's end ended it.
const LET_GO: [&str; 2] = ["released", "nobody waits"];

/// What the holders have in common.
#[derive(Clone)]
pub struct Leasing {
    pub troupe: Troupe,
    pub checker: AnswerChecker,
    pub numbers: Numbers,
    /// By a server's number, whether it keeps something for a connection.
    pub keeping: Arc<[bool]>,
    /// Leases ever.
    pub leases: Arc<AtomicU64>,
}

impl Leasing {
    /// Begins to lease, until all calls are made.
    pub fn start(&self, seed: u64) -> JoinSet<()> {
        let mut holders = JoinSet::new();
        for user in User::ALL {
            for number in 0..HOLDERS {
                let rng = SmallRng::seed_from_u64(seed ^ ((number + 1) << 8) ^ user as u64);
                holders.spawn(Holder { leasing: self.clone(), user, rng, drawer: Vec::new() }.run());
            }
        }
        holders
    }
}

/// A lease and what is known of its connection.
struct Held {
    lease: Lease,
    number: u64,
    keeps: bool,
    /// Something is kept there.
    kept: bool,
}

/// A task of one user.
struct Holder {
    leasing: Leasing,
    user: User,
    rng: SmallRng,
    drawer: Vec<Held>,
}

impl Holder {
    async fn run(mut self) {
        while self.leasing.numbers.taken() < self.leasing.numbers.end() {
            let room = self.drawer.len() < LEASES_MAX;
            if self.drawer.is_empty() || (room && self.rng.random_bool(0.3)) {
                self.take().await;
            }
            if !self.drawer.is_empty() {
                let at = self.rng.random_range(0..self.drawer.len());
                let held = self.drawer.swap_remove(at);
                if let Some(held) = self.use_it(held).await {
                    self.drawer.push(held);
                }
            }
            // Also one that has rested since a former life of its server.
            if !self.drawer.is_empty() && self.rng.random_bool(0.3) {
                let at = self.rng.random_range(0..self.drawer.len());
                drop(self.drawer.swap_remove(at));
            }
            tokio::time::sleep(self.rng.random_range(Duration::ZERO..THOUGHT_MAX)).await;
        }
    }

    async fn take(&mut self) {
        let server = self.rng.random_range(0..self.leasing.keeping.len());
        let of = if self.rng.random_bool(0.2) { GROUP.to_owned() } else { format!("s{server}") };
        // While its server falls there is none to be had.
        let Ok(lease) = self.leasing.troupe.lease(of).await else { return };
        let number = lease.server().as_str().strip_prefix('s').and_then(|number| number.parse().ok());
        let keeps = number.and_then(|number: usize| self.leasing.keeping.get(number).copied());
        let number = self.leasing.leases.fetch_add(1, Ordering::Relaxed);
        self.drawer.push(Held { lease, number, keeps: keeps.unwrap_or_default(), kept: false });
    }

    /// Makes some calls. Gives the lease back if it goes on.
    async fn use_it(&mut self, mut held: Held) -> Option<Held> {
        for _ in 0..self.rng.random_range(1..=CALLS_MAX) {
            let n = self.leasing.numbers.take()?;
            let tool = ["keep", "kept", "echo"][self.rng.random_range(0..3)];
            let mark = Mark { user: self.user.mark().to_owned(), n, lease: Some(held.number) };
            let call = Call::tool(tool).args(&mark).identity(self.user.mark());
            match self.leasing.checker.call_on(&held.lease, call).await {
                Ok(reply) => self.check(&mut held, tool, &mark, &reply),
                Err(error) => return self.mourn(&held, &error).then_some(held),
            }
        }
        Some(held)
    }

    /// Whether an answer is this call's, and the state of the connection this lease's.
    fn check(&self, held: &mut Held, tool: &str, mark: &Mark, reply: &Reply) {
        let (mine, state) = if tool == "echo" {
            (reply.structured::<Mark>().is_ok_and(|answered| answered == *mark), true)
        } else {
            match reply.structured::<Kept>() {
                Ok(Kept { now, before: Some(before) }) => {
                    let ours = before.lease == mark.lease && before.user == mark.user;
                    (now == *mark, ours && held.keeps)
                }
                // What was kept has gone: the connection is another one.
                Ok(Kept { now, before: None }) => (now == *mark, !held.kept),
                Err(_) => (false, true),
            }
        };
        if !(mine && state && reply.server == *held.lease.server()) {
            self.leasing.checker.note_crossed(|| {
                let answer: Result<Value, _> = reply.structured();
                format!(
                    "{tool} of {mark:?} on a lease of {} was answered with {answer:?}",
                    held.lease.server()
                )
            });
        }
        held.kept |= tool == "keep" && held.keeps;
    }

    /// Looks at why a call failed. `true` if the lease goes on.
    fn mourn(&self, held: &Held, error: &CallError) -> bool {
        let CallErrorKind::LeaseEnded { reason } = error.kind() else {
            // What the lease itself has to say is told to the next call.
            return true;
        };
        if LET_GO.iter().any(|words| reason.contains(words)) {
            self.leasing.checker.note_crossed(|| {
                let server = held.lease.server();
                format!("lease {} of {server}, which {} held, ended: {reason}", held.number, self.user.mark())
            });
        }
        false
    }
}
