//! What a server actor knows of the start of its process.

use std::time::Duration;

use tokio::time::Instant;

use crate::duration::later;
use crate::id::ConnectionId;
use crate::stats::Starting;

/// How often hosts are told of one start: enough to see that it goes on, and few lines of a log.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// The start of a process.
#[derive(Debug, Default)]
pub(super) struct StartsState {
    /// How far it is. Of several that start at once, the one that was told of last.
    pub present: Option<(ConnectionId, Starting)>,
    /// How long calls will still wait for the server when its process has been given its turn.
    pub hope_left: Option<Duration>,
    /// When hosts are next told how it goes on.
    tells_at: Option<Instant>,
}

impl StartsState {
    /// The start of a connection's process is over, however it ended.
    pub(super) fn over(&mut self, connection: ConnectionId) {
        if self.present.take_if(|(present, _)| *present == connection).is_some() {
            self.hope_left = None;
            self.tells_at = None;
        }
    }

    /// How far it is.
    pub(super) fn shown(&self) -> Option<Starting> {
        self.present.as_ref().map(|(_, starting)| starting.clone())
    }

    /// Whether hosts are told: when it begins to wait, when it starts, and at times how that goes on.
    pub(super) fn may_tell(&mut self, next: &Starting, now: Instant) -> bool {
        let begins = match (self.present.as_ref().map(|(_, present)| present), next) {
            (None | Some(Starting::Waiting { .. }), Starting::Running { .. })
            | (None, Starting::Waiting { .. }) => true,
            (Some(Starting::Running { .. }), _) | (Some(Starting::Waiting { .. }), _) => false,
        };
        let due = begins || self.tells_at.is_none_or(|at| at <= now);
        if due {
            self.tells_at = Some(later(now, TELL_EVERY));
        }
        due
    }
}
