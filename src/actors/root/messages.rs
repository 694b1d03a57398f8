//! What the root is told, and what it answers.

use ractor::{ActorRef, MessagingErr};
use tokio::sync::oneshot;
use tokio::time::Instant;

#[cfg(feature = "testkit")]
use crate::actors::discovery::messages::DiscoveryMsg;
use crate::actors::discovery::messages::Snapshot;
use crate::actors::ledger::Legacy;
use crate::actors::numbers::{DrainOrder, RegistrationId};
use crate::actors::registry::registration::{Registration, WrongFiles};
use crate::config::{Applied, ConfigError, ConfigFile};
use crate::discovery::SourceError;
use crate::id::{Incarnation, ServerId, SourceId};
use crate::policy::strategy::UnknownStrategy;
use crate::stats::SourceStats;

crate::error::debug_as_display!(RegisterError, ApplyError);

/// Why a server was not registered.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The id is taken, or its former owner has not finished yet.
    #[error("the server id {0} is registered already")]
    AlreadyRegistered(ServerId),
    /// The troupe has as many servers as it may have.
    #[error("the troupe has {0} servers already, which is its limit")]
    TooMany(usize),
    /// The description is wrong.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The troupe has ended or is shutting down.
    #[error("the troupe has ended")]
    Closed,
}

/// Why a configuration was refused. Nothing of it was taken.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// It has a mistake.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The strategy that it names does not exist.
    #[error(transparent)]
    Strategy(#[from] UnknownStrategy),
    /// The troupe would have more servers than it may have, those included that have yet to finish.
    #[error("the troupe would have more than {0} servers, which is its limit")]
    TooMany(usize),
    /// The troupe has ended or is shutting down.
    #[error("the troupe has ended")]
    Closed,
}

/// What became of a server that was to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It rests.
    Rests,
    /// It was resumed before it did.
    Resumed,
}

/// What the root is told.
pub(crate) enum RootMsg {
    /// By a handle: a new server.
    Register { registration: Registration, port: oneshot::Sender<Result<(), RegisterError>> },
    /// By a handle: a server leaves. Answers whether there was one.
    Unregister { server: ServerId, port: oneshot::Sender<bool> },
    /// By a handle: another description of a server. Answered, if there is one, with its last life before that.
    Replace { registration: Registration, port: oneshot::Sender<Option<Incarnation>> },
    /// By a handle: a server finishes what it has until then, and rests. Dropped where there is none.
    Drain { server: ServerId, until: Instant, port: oneshot::Sender<Rest> },
    /// By a handle: a server that rests goes on. Answered, if there is one that does, with its last life before that.
    Resume { server: ServerId, port: oneshot::Sender<Option<Incarnation>> },
    /// By a handle: another strategy.
    SetStrategy { name: String, port: oneshot::Sender<Result<(), UnknownStrategy>> },
    /// By a handle: another configuration, and what is wrong with the files that it names. Answered with what it changes and
    /// its number.
    Apply {
        file: Box<ConfigFile>,
        wrong: WrongFiles,
        port: oneshot::Sender<Result<(Applied, u64), ApplyError>>,
    },
    /// By the registry: a server that was drained rests.
    Rested { server: ServerId, order: DrainOrder },
    /// By the registry: a server that left is gone, its id is free.
    Forgotten { server: ServerId, registration: RegistrationId },
    /// By its own drop: what a life left came to a registry, or to a life, that has ended.
    Bequest(Bequest),
    /// By a discovery actor: the servers of its source. It goes on when `heard` is dropped.
    Found { source: SourceId, snapshot: Snapshot, heard: oneshot::Sender<()> },
    /// By a discovery actor: its source has no answer; it is asked again then.
    SourceFailed { source: SourceId, error: SourceError, retry_at: Instant },
    /// By a handle: the figures of the sources.
    Sources(oneshot::Sender<Vec<SourceStats>>),
    /// By the alarm.
    Due,
    /// By the testkit: the actor of a source.
    #[cfg(feature = "testkit")]
    SourceActor { source: SourceId, port: oneshot::Sender<Option<ActorRef<DiscoveryMsg>>> },
    /// By a handle: end, in order.
    Shutdown,
    /// By the router: no call is open any more.
    Drained { interrupted: usize },
}

/// Carries what a life left to those who play on. It cannot be lost on its way: dropped unread, with the mailbox of a
/// registry or of another life that has ended, it goes to the root, which has it delivered.
pub(crate) struct Bequest {
    legacy: Option<Box<Legacy>>,
    root: ActorRef<RootMsg>,
}

impl Bequest {
    pub(crate) fn new(legacy: Legacy, root: &ActorRef<RootMsg>) -> Self {
        Self { legacy: Some(Box::new(legacy)), root: root.clone() }
    }

    /// What it carries.
    pub(crate) fn open(mut self) -> Legacy {
        *self.legacy.take().expect("it is taken out here alone, and by its drop")
    }
}

impl Drop for Bequest {
    fn drop(&mut self) {
        if let Some(legacy) = self.legacy.take() {
            let again = Self { legacy: Some(legacy), root: self.root.clone() };
            if let Err(MessagingErr::SendErr(RootMsg::Bequest(mut back))) =
                self.root.cast(RootMsg::Bequest(again))
            {
                // Without a root the whole troupe is ending.
                back.legacy = None;
            }
        }
    }
}
