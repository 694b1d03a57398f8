//! What the router is told, and the one word that it says to each call.

use std::sync::Arc;

use ractor::ActorRef;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::actors::server::messages::ServerMsg;
use crate::actors::update_queue::UpdateQueue;
use crate::call::Call;
use crate::config::{ServerSpec, Settings};
use crate::error::CallError;
use crate::event::ExitCause;
use crate::id::{AttemptId, CallId, Incarnation, ServerId};
use crate::offer::EntryKind;
use crate::policy::catalogue::Catalogue;
use crate::policy::routing::{Answer, AttemptUpdate, Completion, LeaseUpdate, Standing};
use crate::stats::RouterStats;

/// What a call's handle hears from a router: one of these, once.
pub(crate) enum RouterReply {
    /// The answer.
    Answer(Answer),
    /// The answer, an error: nobody offers in this catalogue what the call names. Whoever called looks for near names of this
    /// kind.
    Unknown { error: CallError, kind: EntryKind, catalogue: Arc<Catalogue> },
    /// The router ended before any server has seen the call.
    Back(Arc<Call>),
}

/// Where a call's word goes, and what is told of it before that.
pub(crate) struct Port {
    pub word: oneshot::Sender<RouterReply>,
    /// Where updates of it go, if anybody wants them.
    pub updates: Option<Box<UpdateQueue>>,
}

impl Port {
    /// The last that is said.
    pub(super) fn say(self, word: RouterReply) {
        // What was missed of its updates is told before.
        drop(self.updates);
        // A caller that left meanwhile has no use for it.
        let _ = self.word.send(word);
    }
}

/// A call on its way to the router. If it never gets there, it goes back.
pub(crate) struct Submission {
    pub(super) call: Option<(Arc<Call>, Port)>,
}

impl Submission {
    pub(crate) fn new(call: Arc<Call>, port: Port) -> Self {
        Self { call: Some((call, port)) }
    }

    /// Of a call whose updates nobody wants.
    pub(crate) fn unheard(call: Arc<Call>, word: oneshot::Sender<RouterReply>) -> Self {
        Self::new(call, Port { word, updates: None })
    }

    /// Takes back a call that was not handed over.
    pub(crate) fn withdraw(mut self) -> Arc<Call> {
        self.call.take().expect("only the router takes the call out, and then drops the submission").0
    }
}

impl Drop for Submission {
    fn drop(&mut self) {
        if let Some((call, port)) = self.call.take() {
            port.say(RouterReply::Back(call));
        }
    }
}

/// What the router is told.
pub(crate) enum RouterMsg {
    /// By a handle, or by itself: calls wait in the intake.
    Calls,
    /// By a handle: the caller left.
    Cancel(CallId),
    /// By a server actor: updates of attempts came, then attempts ended.
    Completed {
        server: ServerId,
        incarnation: Incarnation,
        updates: Vec<AttemptUpdate>,
        batch: Vec<Completion>,
    },
    /// By a server actor: it would not take a dispatch; nothing was sent.
    Refused { server: ServerId, incarnation: Incarnation, attempt: AttemptId },
    /// By a server actor: what became of a lease.
    Leasing { server: ServerId, incarnation: Incarnation, attempt: AttemptId, update: LeaseUpdate },
    /// By the registry: a server's actor began a life.
    Joined {
        spec: Arc<ServerSpec>,
        incarnation: Incarnation,
        actor: Option<ActorRef<ServerMsg>>,
        standing: Standing,
    },
    /// By the registry: a server's description changed; another life takes the place of the present one.
    Replaced {
        spec: Arc<ServerSpec>,
        incarnation: Incarnation,
        actor: Option<ActorRef<ServerMsg>>,
        standing: Standing,
    },
    /// By the registry: a server's description changed, and its present life goes on.
    Amended(Arc<ServerSpec>),
    /// By the registry, to a new router: a life that was replaced finishes what it has.
    Retiring { spec: Arc<ServerSpec>, incarnation: Incarnation, actor: ActorRef<ServerMsg> },
    /// By the registry: a life that was replaced is over.
    Retired { server: ServerId, incarnation: Incarnation },
    /// By the registry: where a server stands.
    Standing { server: ServerId, incarnation: Incarnation, standing: Standing },
    /// By the registry: a server's actor ended.
    Down { server: ServerId, incarnation: Incarnation, cause: ExitCause, standing: Standing },
    /// By the registry: a server was unregistered and finishes what it has.
    Leaving(ServerId),
    /// By the registry: a life that was set aside is to finish what it has. It is told so behind what was dispatched to it:
    /// it ends when it has nothing, and would take what comes after that with it.
    Finish { actor: ActorRef<ServerMsg>, until: Instant },
    /// By the registry: a server is gone for good.
    Left(ServerId),
    /// By the registry: the tools changed.
    Catalogue(Arc<Catalogue>),
    /// By the registry: everything it knows has been told.
    Introduced,
    /// By the root: other settings, whose strategy exists.
    Settings(Arc<Settings>),
    /// By a handle: the figures.
    Stats(oneshot::Sender<RouterStats>),
    /// By the root: no new calls; `Drained` when the last is answered, or at `until`.
    Drain { until: Instant },
    /// By the alarm: a deadline may have passed.
    Due,
    /// By the testkit: panic in this handler.
    #[cfg(feature = "testkit")]
    Panic,
}
