//! What the actor of the known lists is told.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::id::ServerId;
use crate::policy::catalogue::Offer;
use crate::policy::known_lists::{Fingerprint, KnownLists};

/// What the actor is told.
pub(crate) enum KnownListsMsg {
    /// By the registry: what did this server list at its last run? It is told, also that this is not known; and once more, if
    /// it turns out after all.
    LookUp(Lookup),
    /// By the registry: this is what a server lists.
    Keep { fingerprint: Fingerprint, offer: Offer },
    /// By its own task: what the file held.
    WasRead { lists: Arc<KnownLists>, problem: Option<Problem> },
    /// By its own task: who asked is answered.
    Answered,
    /// By its own task: the file was written, or not.
    WasWritten(Result<Arc<KnownLists>, Problem>),
    /// By the root: the troupe ends. Answered when what is to be written is written, or cannot be.
    Finish(oneshot::Sender<()>),
    /// By the alarm.
    Due,
    /// By the testkit: panic in this handler.
    #[cfg(feature = "testkit")]
    Panic,
}

/// A question for what a server listed at its last run.
pub(crate) struct Lookup {
    pub server: ServerId,
    pub fingerprint: Fingerprint,
    /// Arguments of its tools go into headers.
    pub mirrored: bool,
    /// What was listed, if that is known, goes to who asked.
    pub found: Box<dyn Fn(Option<Offer>) + Send + Sync>,
}

/// Why the file was not read or not written.
pub(crate) struct Problem {
    pub(super) reason: String,
    pub(super) course: Course,
}

/// What follows from a problem.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// It is nobody else's, and is written anew.
    Replace,
    /// It may pass: nothing is written now, and the next write tries again.
    TryAgain,
    /// It is somebody else's: nothing is written in this run.
    LeaveAlone,
}
