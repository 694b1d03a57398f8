//! Whether all is whole again when everything is over.

use std::collections::BTreeSet;
use std::time::Duration;

use mcp_troupe::testkit::{living_actors, living_tasks};
use mcp_troupe::{Readiness, Troupe};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::CALL_TIMEOUT;
use super::callers::Numbers;
use super::cast::Cast;
use super::schedule;
use super::subscribers::Subscribers;

/// How long any one thing may take to be whole again.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the troupe may take to end.
const SHUTDOWN_MAX: Duration = Duration::from_secs(30);

/// How long no call may be made before the callers count as lost with their calls.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What was not whole again.
pub struct Ending {
    /// Callers that never came back with their answer.
    pub left_callers: usize,
    /// Servers that did not become ready, or did not answer.
    pub unanswering: BTreeSet<String>,
    /// Resources of whose changes nobody was told though somebody subscribed to them.
    pub silent: BTreeSet<String>,
    /// Connections that are leased though nobody holds a lease.
    pub left_leases: usize,
    /// Calls that are open in the router though nobody waits for any.
    pub left_open: usize,
    /// Actors and tasks that live after shutdown.
    pub left_actors: usize,
    pub left_tasks: usize,
    /// The shutdown did not end.
    pub hangs: bool,
}

impl Ending {
    pub fn is_whole(&self) -> bool {
        let Self {
            left_callers,
            unanswering,
            silent,
            left_leases,
            left_open,
            left_actors,
            left_tasks,
            hangs,
        } = self;
        let left = left_callers + left_leases + left_open + left_actors + left_tasks;
        unanswering.is_empty() && silent.is_empty() && left == 0 && !hangs
    }

    /// Ends the troupe, and looks at what is left of it.
    pub async fn shut_down(mut self, troupe: &Troupe) -> Self {
        self.hangs = tokio::time::timeout(SHUTDOWN_MAX, troupe.shutdown()).await.is_err();
        self.left_actors = living_actors(troupe);
        self.left_tasks = living_tasks(troupe);
        self
    }
}

/// Waits until all have made their calls. Returns how many never came back.
pub async fn all_done(crowd: &mut [JoinSet<()>], numbers: &Numbers) -> usize {
    let (mut taken, mut moved) = (0, Instant::now());
    loop {
        for group in crowd.iter_mut() {
            while let Some(ended) = group.try_join_next() {
                if let Err(error) = ended {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
        }
        let left: usize = crowd.iter().map(JoinSet::len).sum();
        let now = Instant::now();
        if numbers.taken() != taken {
            (taken, moved) = (numbers.taken(), now);
        }
        let patience = if taken == numbers.end() { CALL_TIMEOUT + PATIENCE } else { STALLED_AFTER };
        if left == 0 || now.saturating_duration_since(moved) > patience {
            return left;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Looks at everything, now that nobody strikes any more.
pub async fn look(troupe: &Troupe, cast: &Cast, subscribers: &Subscribers, left_callers: usize) -> Ending {
    // Who is not ready by then does not answer either.
    let _ = troupe.ready_within(Readiness::All, PATIENCE).await;
    let mut unanswering = BTreeSet::new();
    for member in &cast.members {
        if tokio::time::timeout(PATIENCE, schedule::answers(troupe, &member.id)).await.is_err() {
            unanswering.insert(member.id.clone());
        }
    }
    let silent = subscribers.silent(cast, PATIENCE).await;
    let until = Instant::now() + PATIENCE;
    let (left_leases, left_open) = loop {
        let stats = troupe.stats().await;
        let leased: usize = stats.servers.iter().map(|server| server.pool.leased).sum();
        let left = (leased, stats.router.open_calls);
        if left == (0, 0) || Instant::now() >= until {
            break left;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    Ending {
        left_callers,
        unanswering,
        silent,
        left_leases,
        left_open,
        left_actors: 0,
        left_tasks: 0,
        hangs: false,
    }
}
