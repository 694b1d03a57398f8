//! Whether a server that is started on demand runs: from the first need of it until nothing has needed it for its idle timeout.
//!
//! ```text
//! Asking ──its lists are known──▶ Idle ◀──unused for the idle timeout── Running
//!    │                              │                                      ▲
//!    │ they are not                 │ needed                               │
//!    └──────────────────────────────┴──────────────────────────────────────┘
//! ```
//!
//! - What is in use never stops, nor what is just being started or listed: who waits for that has a deadline of their own.
//! - A server that cannot be started is tried for as long as one that nothing uses runs, and then left alone until it is
//!   needed again. So a broken server that nobody uses costs nothing.
//! - A server that is started at once always runs.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Start;
use crate::duration::later;

/// Whether one server runs; see the module's page.
#[derive(Debug, Clone)]
pub(crate) struct Demand {
    start: Start,
    idle_timeout: Duration,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Whether what it listed at its last run is known has yet to be said.
    Asking,
    /// It does not run, and nothing needs it.
    Idle,
    Running {
        /// Nothing uses it since then; none while something does, or before that was looked at.
        unused_since: Option<Instant>,
        /// It was needed, and has not been ready since: who needed it has yet to use it.
        awaited: bool,
    },
}

/// How a life of a server's actor begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begins {
    /// By starting it.
    Running,
    /// Without it.
    Idle,
    /// By waiting until it is said whether what it listed at its last run is known.
    Asking,
}

impl Begins {
    /// Of a server whose lists are known (`listed`) or looked for (`looking`), and which ran in the life before.
    pub(crate) fn of(start: Start, listed: bool, looking: bool, ran: bool) -> Self {
        match start {
            Start::AtOnce => Self::Running,
            Start::OnDemand if listed && ran => Self::Running,
            Start::OnDemand if listed => Self::Idle,
            Start::OnDemand if looking => Self::Asking,
            // Who does not know what it offers cannot need it: it is started to be listed.
            Start::OnDemand => Self::Running,
        }
    }
}

/// What goes on with a server at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Activity {
    /// Somebody uses it: it has calls, leases, subscriptions, or questions that the host has yet to answer.
    pub in_use: bool,
    /// It is being started, or its lists are being fetched.
    pub under_way: bool,
    /// It takes calls.
    pub ready: bool,
}

/// What follows for the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is started.
    Starts,
    /// It is stopped.
    Stops,
}

impl Demand {
    /// As a life begins.
    pub(crate) fn new(start: Start, idle_timeout: Duration, begins: Begins) -> Self {
        let state = match begins {
            // Whoever is to be listed is awaited by nobody, and yet has its time when it is ready.
            Begins::Running => State::Running { unused_since: None, awaited: true },
            Begins::Idle => State::Idle,
            Begins::Asking => State::Asking,
        };
        Self { start, idle_timeout, state }
    }

    /// It is described anew.
    pub(crate) fn described(&mut self, start: Start, idle_timeout: Duration) {
        let former = std::mem::replace(&mut self.start, start);
        self.idle_timeout = idle_timeout;
        if let State::Running { unused_since, .. } = &mut self.state
            && former != start
        {
            *unused_since = None;
        }
    }

    /// Whether it does not run, and nothing needs it.
    pub(crate) fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Whether it is to be connected.
    pub(crate) fn runs(&self) -> bool {
        match self.state {
            State::Running { .. } => true,
            State::Asking | State::Idle => false,
        }
    }

    /// What it listed at its last run is known, or not.
    pub(crate) fn answered(&mut self, known: bool) -> Option<Change> {
        match self.state {
            State::Asking if known => {
                self.state = State::Idle;
                None
            }
            State::Asking => Some(self.run()),
            State::Idle | State::Running { .. } => None,
        }
    }

    /// Somebody needs it. While it is asked what it listed nobody can know that they do.
    pub(crate) fn needed(&mut self) -> Option<Change> {
        match &mut self.state {
            State::Idle => Some(self.run()),
            State::Running { unused_since, awaited } => {
                (*unused_since, *awaited) = (None, true);
                None
            }
            State::Asking => None,
        }
    }

    /// To be asked after all that happens, and when [`due_at`](Self::due_at) comes.
    pub(crate) fn observe(&mut self, activity: Activity, now: Instant) -> Option<Change> {
        let wanted = self.start == Start::AtOnce || activity.in_use;
        match &mut self.state {
            State::Asking | State::Idle if wanted => Some(self.run()),
            State::Asking | State::Idle => None,
            State::Running { unused_since, awaited } => {
                if wanted {
                    *unused_since = None;
                } else if activity.ready && std::mem::take(awaited) {
                    *unused_since = Some(now);
                } else {
                    unused_since.get_or_insert(now);
                }
                if self.due_at(activity).is_none_or(|at| at > now) {
                    return None;
                }
                self.state = State::Idle;
                Some(Change::Stops)
            }
        }
    }

    /// When it is to be looked at again, if nothing happens until then.
    pub(crate) fn due_at(&self, activity: Activity) -> Option<Instant> {
        match self.state {
            State::Running { unused_since, .. } if !activity.in_use && !activity.under_way => {
                unused_since.map(|since| later(since, self.idle_timeout))
            }
            State::Running { .. } | State::Asking | State::Idle => None,
        }
    }

    fn run(&mut self) -> Change {
        self.state = State::Running { unused_since: None, awaited: true };
        Change::Starts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECS: fn(u64) -> Duration = Duration::from_secs;
    const NOTHING: Activity = Activity { in_use: false, under_way: false, ready: false };
    const READY: Activity = Activity { ready: true, ..NOTHING };
    const IN_USE: Activity = Activity { in_use: true, ..READY };
    const STARTING: Activity = Activity { under_way: true, ..NOTHING };

    fn on_demand(begins: Begins) -> Demand {
        Demand::new(Start::OnDemand, SECS(60), begins)
    }

    #[test]
    fn one_that_is_started_at_once_always_runs() {
        let (mut demand, now) = (Demand::new(Start::AtOnce, SECS(60), Begins::Running), Instant::now());
        assert_eq!((demand.observe(READY, now), demand.observe(READY, now + SECS(9999))), (None, None));
        assert_eq!((demand.due_at(READY), demand.runs()), (None, true));
    }

    #[test]
    fn it_runs_from_the_first_need_until_it_is_unused_for_its_idle_timeout() {
        let (mut demand, now) = (on_demand(Begins::Idle), Instant::now());
        assert_eq!((demand.observe(NOTHING, now), demand.runs(), demand.is_idle()), (None, false, true));
        assert_eq!(
            (demand.needed(), demand.needed()),
            (Some(Change::Starts), None),
            "many needs start it once"
        );
        assert_eq!(demand.observe(IN_USE, now + SECS(5)), None);
        assert_eq!((demand.observe(READY, now + SECS(300)), demand.due_at(IN_USE)), (None, None));
        assert_eq!(
            demand.due_at(READY),
            Some(now + SECS(360)),
            "its time begins with the end of the last use"
        );
        assert_eq!(demand.observe(READY, now + SECS(359)), None);
        assert_eq!(demand.observe(READY, now + SECS(360)), Some(Change::Stops));
        assert!(demand.is_idle());
    }

    #[test]
    fn a_start_that_takes_longer_than_the_idle_timeout_is_waited_for_and_its_time_begins_when_it_is_ready() {
        let (mut demand, now) = (on_demand(Begins::Idle), Instant::now());
        demand.needed();
        assert_eq!((demand.observe(STARTING, now), demand.observe(STARTING, now + SECS(100))), (None, None));
        assert_eq!(
            (demand.observe(READY, now + SECS(101)), demand.due_at(READY)),
            (None, Some(now + SECS(161)))
        );
        // Being ready again after a lost link is no need.
        demand.observe(STARTING, now + SECS(120));
        demand.observe(READY, now + SECS(121));
        assert_eq!(demand.observe(READY, now + SECS(161)), Some(Change::Stops));
    }

    #[test]
    fn one_that_cannot_be_started_is_left_alone_after_its_idle_timeout_and_tried_when_it_is_needed() {
        let (mut demand, now) = (on_demand(Begins::Idle), Instant::now());
        demand.needed();
        for attempt in 0..6 {
            assert_eq!(demand.observe(STARTING, now + SECS(10 * attempt)), None);
            assert_eq!(demand.observe(NOTHING, now + SECS(10 * attempt + 1)), None);
        }
        assert_eq!(demand.observe(STARTING, now + SECS(60)), None, "an attempt comes to its end");
        assert_eq!(demand.observe(NOTHING, now + SECS(61)), Some(Change::Stops));
        assert_eq!(demand.observe(NOTHING, now + SECS(9999)), None);
        assert_eq!(demand.needed(), Some(Change::Starts));
    }

    #[test]
    fn who_waits_keeps_it_from_being_stopped() {
        let (mut demand, now) = (on_demand(Begins::Idle), Instant::now());
        demand.needed();
        demand.observe(READY, now);
        demand.needed();
        assert_eq!(
            (demand.observe(READY, now + SECS(60)), demand.due_at(READY)),
            (None, Some(now + SECS(120)))
        );
    }

    #[test]
    fn how_a_life_begins_follows_from_what_is_known() {
        use Begins::{Asking, Idle, Running};
        let begins = |listed, looking, ran| Begins::of(Start::OnDemand, listed, looking, ran);
        assert_eq!(begins(true, false, false), Idle);
        assert_eq!(begins(true, false, true), Running, "it goes on to run");
        assert_eq!([begins(false, true, false), begins(false, true, true)], [Asking; 2]);
        assert_eq!([begins(false, false, false), begins(false, false, true)], [Running; 2], "it has to list");
        assert_eq!(Begins::of(Start::AtOnce, true, true, false), Running);
    }

    #[test]
    fn nobody_can_need_what_is_not_known_and_what_is_in_use_runs_all_the_same() {
        let (mut demand, now) = (on_demand(Begins::Asking), Instant::now());
        assert_eq!((demand.needed(), demand.observe(NOTHING, now)), (None, None));
        assert_eq!((demand.answered(true), demand.is_idle()), (None, true));
        let mut unknown = on_demand(Begins::Asking);
        assert_eq!((unknown.answered(false), unknown.answered(false)), (Some(Change::Starts), None));
        assert_eq!(on_demand(Begins::Asking).observe(IN_USE, now), Some(Change::Starts));
    }

    #[test]
    fn another_description_takes_effect_in_the_state_that_it_meets() {
        let now = Instant::now();
        let mut idle = on_demand(Begins::Idle);
        idle.described(Start::AtOnce, SECS(60));
        assert_eq!(idle.observe(NOTHING, now), Some(Change::Starts));
        assert_eq!(idle.observe(READY, now + SECS(600)), None);
        idle.described(Start::OnDemand, SECS(60));
        assert_eq!(idle.observe(READY, now + SECS(600)), None, "its time begins now");
        assert_eq!(idle.observe(READY, now + SECS(659)), None);
        idle.described(Start::OnDemand, SECS(30));
        assert_eq!(idle.observe(READY, now + SECS(659)), Some(Change::Stops), "a shorter time holds at once");
    }
}
