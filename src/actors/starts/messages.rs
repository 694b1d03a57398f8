//! What the actor that gives turns to start is told.

use ractor::ActorRef;
use tokio::sync::{oneshot, watch};

use crate::policy::starts::{Attempt, StartId};

/// A turn to start a process. It ends when it is dropped, wherever that is: also in an answer that nobody took.
pub(crate) struct Turn {
    pub(super) id: StartId,
    pub(super) starts: ActorRef<StartsMsg>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // The successor of one that has ended does not count it.
        let _ = self.starts.cast(StartsMsg::Over(self.id));
    }
}

/// What the actor is told.
pub(crate) enum StartsMsg {
    /// By a connection's task: it wants to start a process. While it waits it is told how many are before it.
    Ask { attempt: Attempt, before: watch::Sender<Option<usize>>, port: oneshot::Sender<Turn> },
    /// By the drop of a turn: that start is over.
    Over(StartId),
    /// By the alarm.
    Due,
    /// By the testkit: panic in this handler.
    #[cfg(feature = "testkit")]
    Panic,
}
