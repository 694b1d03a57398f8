//! What the cache is told, and what it says to the calls that ask.

use std::sync::Arc;

use ractor::ActorRef;
use tokio::sync::{oneshot, watch};

use crate::actors::registry::roster::Roster;
use crate::call::Call;
use crate::config::Settings;
use crate::error::CallError;
use crate::id::CallId;
use crate::policy::response_cache::{
    Fetched, FlightId, Kept, Place, Rules, Sweep, Terms, Verdict, Wanted, is_own, judge,
};
use crate::policy::routing::Answer;
use crate::stats::CacheStats;

/// What handles need to tell which calls the cache has to do with: an immutable snapshot.
pub(crate) struct Caching {
    pub rules: Rules,
    pub settings: Arc<Settings>,
    pub roster: watch::Receiver<Arc<Roster>>,
}

impl Caching {
    /// None if nothing is kept.
    pub(crate) fn new(settings: &Arc<Settings>, roster: watch::Receiver<Arc<Roster>>) -> Option<Arc<Self>> {
        let rules = Rules::new(&settings.cache);
        let keeps = settings.cache.declared || !rules.is_empty();
        keeps.then(|| Arc::new(Self { rules, settings: settings.clone(), roster }))
    }

    /// What may be done with an answer, and a copy of it that holds no more memory than it shows.
    pub(super) fn fetched(&self, terms: &Terms, answer: &Answer) -> Option<Fetched> {
        let reply = match answer {
            Ok(reply) => reply,
            Err(error) if is_own(error.kind()) => return None,
            Err(error) => return Some(Fetched::Failed(error.clone())),
        };
        let fits = reply.result.len() <= self.settings.cache.entry_bytes_max;
        let (verdict, result) = match judge(terms, &reply.result) {
            Verdict::Keep(_) | Verdict::KeepForEveryone(_) if !fits => (Verdict::Share, reply.result.clone()),
            keep @ (Verdict::Keep(_) | Verdict::KeepForEveryone(_)) => (keep, reply.result.detached()),
            other @ (Verdict::Share | Verdict::Alone) => (other, reply.result.clone()),
        };
        let (server, group, tool) = (reply.server.clone(), reply.group.clone(), reply.tool.as_str().into());
        Some(Fetched::Answer(Kept { server, group, tool, result }, verdict))
    }
}

/// The duty to make a request that others may wait for. Dropped without a report, it passes on to one of those.
pub(crate) struct Lead {
    flight: Option<FlightId>,
    cache: ActorRef<CacheMsg>,
}

impl Lead {
    pub(super) fn new(flight: FlightId, cache: &ActorRef<CacheMsg>) -> Self {
        Self { flight: Some(flight), cache: cache.clone() }
    }

    /// The request has its answer.
    pub(crate) fn report(mut self, caching: &Caching, terms: &Terms, answer: &Answer) {
        let Some(fetched) = caching.fetched(terms, answer) else { return };
        if let Some(flight) = self.flight.take() {
            // A cache that has ended has nobody waiting.
            let _ = self.cache.cast(CacheMsg::Finished { flight, fetched: Box::new(fetched) });
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if let Some(flight) = self.flight.take() {
            let _ = self.cache.cast(CacheMsg::Abandoned(flight));
        }
    }
}

/// What a call that asked is told, once.
pub(crate) enum CacheReply {
    /// The answer.
    Answer(Kept),
    /// The error of an equal call.
    Failed(CallError),
    /// It makes the request, for itself and for others.
    Lead(Lead),
    /// It makes its request for itself.
    Alone,
}

/// A call that asks.
pub(crate) struct Asking {
    pub wanted: Wanted,
    /// The call itself: its request is made when it was answered with a stale result.
    pub call: (CallId, Arc<Call>),
    pub caching: Arc<Caching>,
}

/// What the cache is told.
pub(crate) enum CacheMsg {
    /// By a handle: a call asks.
    Ask { asking: Box<Asking>, port: oneshot::Sender<CacheReply> },
    /// By who leads: the answer.
    Finished { flight: FlightId, fetched: Box<Fetched> },
    /// By who leads: it left without one.
    Abandoned(FlightId),
    /// By a handle: is there a stale answer in place of this error?
    Excuse { place: Place, terms: Terms, error: CallError, port: oneshot::Sender<Option<Kept>> },
    /// By a handle: a call was, or may have been, carried out that clears these.
    Wrote(Vec<Sweep>),
    /// By the root, the registry and server actors: servers, tools or resources changed. From each server at most as often as
    /// [`Updates`](crate::policy::updates::Updates) tells, and before answers; noted at once, whatever is kept.
    Changed(Vec<Sweep>),
    /// By a handle: the host clears. Answered with the number of results.
    Clear { sweep: Sweep, port: oneshot::Sender<usize> },
    /// By the root: the rules changed.
    Rules,
    /// By the root: the troupe is shutting down. New calls are the router's to refuse.
    Drain,
    /// By a handle: the figures.
    Stats(oneshot::Sender<CacheStats>),
    /// By the alarm.
    Due,
    /// By the testkit: panic in this handler.
    #[cfg(feature = "testkit")]
    Panic,
}
