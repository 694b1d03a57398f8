//! When a crashed server actor is started again.
//!
//! After Erlang/OTP: permanent, transient and temporary children, and an intensity of so many restarts in a window.
//! Unlike there, too many restarts end nobody: the server is quarantined, alone, and tried again slowly for ever.

use std::collections::VecDeque;
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use crate::config::{RestartKind, RestartSettings};
use crate::event::ExitCause;

use super::backoff::Backoff;

/// What follows an actor's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is started again.
    Restart {
        /// After this time.
        after: Duration,
    },
    /// It ended too often; it is started again slowly.
    Quarantine {
        /// After this time.
        after: Duration,
    },
    /// It is not started again.
    Leave,
}

/// The restarts of one server actor.
#[derive(Debug, Clone)]
pub(crate) struct RestartPolicy {
    settings: RestartSettings,
    backoff: Backoff,
    /// When restarts were granted; never more than the window may hold.
    granted: VecDeque<Instant>,
    total: u64,
}

impl RestartPolicy {
    /// A policy that has granted nothing yet.
    pub(crate) fn new(settings: RestartSettings) -> Self {
        Self { backoff: Backoff::new(settings.backoff.clone()), settings, granted: VecDeque::new(), total: 0 }
    }

    /// Decides what follows an end.
    ///
    /// The start that ends a quarantine does not count against the window: it is what the quarantine grants.
    pub(crate) fn decide(&mut self, cause: &ExitCause, now: Instant, rng: &mut dyn Rng) -> Decision {
        let restarts = match (cause, self.settings.kind) {
            (ExitCause::Requested, _) | (_, RestartKind::Temporary) => false,
            (ExitCause::Normal, kind) => kind == RestartKind::Permanent,
            (
                ExitCause::Failed(_) | ExitCause::Killed | ExitCause::Cancelled | ExitCause::StartFailed(_),
                RestartKind::Permanent | RestartKind::Transient,
            ) => true,
        };
        if !restarts {
            return Decision::Leave;
        }
        self.total += 1;
        self.forget_old(now);
        if self.granted.len() >= self.settings.restarts_max as usize {
            return Decision::Quarantine { after: self.settings.quarantine };
        }
        self.granted.push_back(now);
        Decision::Restart { after: self.backoff.next(now, rng) }
    }

    /// The server became ready.
    pub(crate) fn ready(&mut self, now: Instant) {
        self.backoff.good(now);
    }

    /// Restarts ever.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Restarts within the window.
    pub(crate) fn in_window(&mut self, now: Instant) -> u32 {
        self.forget_old(now);
        u32::try_from(self.granted.len()).unwrap_or(u32::MAX)
    }

    fn forget_old(&mut self, now: Instant) {
        while self
            .granted
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) >= self.settings.window)
        {
            self.granted.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn policy(kind: RestartKind) -> (RestartPolicy, SmallRng) {
        let settings = RestartSettings { kind, ..RestartSettings::default() };
        (RestartPolicy::new(settings), SmallRng::seed_from_u64(1))
    }

    #[test]
    fn a_kill_is_abnormal_and_a_request_is_final() {
        let now = Instant::now();
        let (mut transient, mut rng) = policy(RestartKind::Transient);
        assert!(matches!(transient.decide(&ExitCause::Killed, now, &mut rng), Decision::Restart { .. }));
        assert_eq!(transient.decide(&ExitCause::Normal, now, &mut rng), Decision::Leave);
        let (mut permanent, mut rng) = policy(RestartKind::Permanent);
        assert!(matches!(permanent.decide(&ExitCause::Normal, now, &mut rng), Decision::Restart { .. }));
        assert_eq!(permanent.decide(&ExitCause::Requested, now, &mut rng), Decision::Leave);
        let (mut temporary, mut rng) = policy(RestartKind::Temporary);
        assert_eq!(temporary.decide(&ExitCause::Killed, now, &mut rng), Decision::Leave);
    }

    #[test]
    fn a_crash_loop_is_quarantined_and_never_given_up() {
        let mut now = Instant::now();
        let (mut policy, mut rng) = policy(RestartKind::Permanent);
        for _ in 0..10 {
            assert!(matches!(policy.decide(&ExitCause::Killed, now, &mut rng), Decision::Restart { .. }));
        }
        let quarantined = Decision::Quarantine { after: Duration::from_secs(60) };
        assert_eq!(policy.decide(&ExitCause::Killed, now, &mut rng), quarantined);
        now += Duration::from_secs(60);
        assert!(matches!(policy.decide(&ExitCause::Killed, now, &mut rng), Decision::Restart { .. }));
        assert_eq!((policy.total(), policy.in_window(now)), (12, 1));
    }

    #[test]
    fn the_first_restart_follows_within_ten_milliseconds() {
        let (mut policy, mut rng) = policy(RestartKind::Permanent);
        let Decision::Restart { after } = policy.decide(&ExitCause::Killed, Instant::now(), &mut rng) else {
            panic!()
        };
        assert!(after <= Duration::from_millis(10));
    }
}
