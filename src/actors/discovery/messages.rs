//! What a discovery actor is told, and what it finds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::actors::registry::registration::Registration;
use crate::config::{LoosePermissions, Settings};
use crate::discovery::{Answer, SourceError};
use crate::id::ServerId;

/// What a discovery actor is told.
pub(crate) enum DiscoveryMsg {
    /// By its task: the source answered. The task goes on when `heard` is dropped.
    Answered { task: u64, answer: Answer, heard: oneshot::Sender<()> },
    /// By its task, which is over.
    Failed { task: u64, error: SourceError },
    /// By the root: the answer was not believed; watch from the beginning.
    WatchAgain { after: Duration },
    /// By the root: what servers leave to the troupe has changed; it holds for them from the next answer on.
    Settings(Arc<Settings>),
    /// By the alarm.
    Due,
    /// By the testkit: panic in this handler.
    #[cfg(feature = "testkit")]
    Panic,
}

/// What a source has, ready to be registered.
pub(crate) struct Snapshot {
    pub servers: BTreeMap<ServerId, Registration>,
    /// Whether there may be others.
    pub partial: bool,
    /// Servers whose records could not be read.
    pub unread: BTreeSet<ServerId>,
    /// What could not be read, by what the source calls it, and why.
    pub skipped: BTreeMap<String, String>,
    /// What of the source others may write.
    pub loose: Vec<LoosePermissions>,
    /// When the source is asked again; none while it waits for a change.
    pub next_watch: Option<Instant>,
}
