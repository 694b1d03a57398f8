//! CacheActor: owns the results that are kept, and the calls that wait for the request of an equal one.
//!
//! It depends on nobody and nobody on it: a call asks it before it goes to the router, and where it has ended, at whatever
//! moment, the call goes to the router by itself. Its death loses what was kept, and no call. Judgement is
//! [`ResponseCache`]'s.
//!
//! The one thing that it starts by itself is a request for a result that was given out stale: the very call that was answered
//! so, which makes its request after its answer.

pub(crate) mod messages;

use std::collections::HashMap;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use self::messages::{Asking, CacheMsg, CacheReply, Caching, Lead};
use super::alarm::Alarm;
use super::intake::{Arrival, CancelOnDrop};
use super::tasks::OwnedTask;
use super::{CurrentActors, Tasks};
use crate::actors::router::messages::{RouterReply, Submission};
use crate::call::Call;
use crate::config::Settings;
use crate::event::Event;
use crate::id::CallId;
use crate::policy::response_cache::{
    Asked, Dropped, Fetched, FlightId, Port, ResponseCache, Shared, Sweep, Terms,
};
use crate::policy::routing::Answer;

/// What the cache is started with.
pub(crate) struct CacheArguments {
    pub settings: Arc<Settings>,
    pub current_actors: watch::Receiver<CurrentActors>,
    pub tasks: Tasks,
}

/// The cache's state.
pub(crate) struct CacheState {
    cache: ResponseCache<oneshot::Sender<CacheReply>>,
    current_actors: watch::Receiver<CurrentActors>,
    tasks: Tasks,
    /// Requests for results that were given out stale.
    refreshing: HashMap<FlightId, OwnedTask>,
    draining: bool,
    alarm: Alarm,
}

impl Port for oneshot::Sender<CacheReply> {
    fn is_closed(&self) -> bool {
        oneshot::Sender::is_closed(self)
    }
}

/// Keeps results; see the module's page.
pub(crate) struct CacheActor;

impl Actor for CacheActor {
    type Msg = CacheMsg;
    type State = CacheState;
    type Arguments = CacheArguments;

    async fn pre_start(
        &self,
        _: ActorRef<CacheMsg>,
        arguments: CacheArguments,
    ) -> Result<CacheState, ActorProcessingErr> {
        let CacheArguments { settings, current_actors, tasks } = arguments;
        Ok(CacheState {
            cache: ResponseCache::new(&settings.cache, settings.limits.open_calls_max, Instant::now()),
            current_actors,
            refreshing: HashMap::new(),
            draining: false,
            alarm: Alarm::new(tasks.clone()),
            tasks,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<CacheMsg>,
        message: CacheMsg,
        state: &mut CacheState,
    ) -> Result<(), ActorProcessingErr> {
        let now = Instant::now();
        match message {
            CacheMsg::Ask { asking, port } => state.ask(&myself, *asking, port, now),
            CacheMsg::Finished { flight, fetched } => {
                state.refreshing.remove(&flight);
                state.finished(flight, *fetched, now);
            }
            CacheMsg::Abandoned(flight) => {
                state.refreshing.remove(&flight);
                if let Some(port) = state.cache.abandoned(flight) {
                    // If that one has left too, the lead is dropped here and passes on by the same way.
                    let _ = port.send(CacheReply::Lead(Lead::new(flight, &myself)));
                }
            }
            CacheMsg::Excuse { place, terms, error, port } => {
                let _ = port.send(state.cache.excused(&place, &terms, &error, now));
            }
            CacheMsg::Wrote(sweeps) => sweeps.iter().for_each(|sweep| state.cache.clear(sweep)),
            CacheMsg::Changed(sweeps) => {
                let dropped = state.cache.changed(sweeps, now);
                state.tell_dropped(dropped);
            }
            CacheMsg::Clear { sweep, port } => {
                let _ = port.send(state.clear_out(&sweep, now));
            }
            CacheMsg::Rules => {
                // What was kept by other rules may not be kept by these.
                state.clear_out(&Sweep::Everything, now);
            }
            CacheMsg::Drain => {
                state.draining = true;
                state.refreshing.clear();
            }
            CacheMsg::Stats(port) => {
                let _ = port.send(state.cache.stats());
            }
            CacheMsg::Due => {
                state.alarm.rang();
                let dropped = state.cache.tick(now);
                state.tell_dropped(dropped);
            }
            #[cfg(feature = "testkit")]
            CacheMsg::Panic => panic!("ordered by the testkit"),
        }
        state.alarm.set(state.cache.next_time(), &myself, || CacheMsg::Due);
        Ok(())
    }
}

impl CacheState {
    fn ask(
        &mut self,
        myself: &ActorRef<CacheMsg>,
        asking: Asking,
        port: oneshot::Sender<CacheReply>,
        now: Instant,
    ) {
        let Asking { wanted, call, caching } = asking;
        let terms = wanted.terms;
        // A caller that left meanwhile needs no word. A lead that it does not get passes on by its drop.
        if self.draining {
            let _ = port.send(CacheReply::Alone);
            return;
        }
        let _ = match self.cache.ask(wanted, port, now) {
            Asked::Hit(port, kept) => port.send(CacheReply::Answer(kept)),
            Asked::Lead(port, flight) => port.send(CacheReply::Lead(Lead::new(flight, myself))),
            Asked::Alone(port) => port.send(CacheReply::Alone),
            Asked::Follow => Ok(()),
            Asked::Stale(port, kept, flight) => {
                let lead = Lead::new(flight, myself);
                // In this order: a call that makes its request here makes none itself, and its id is used once.
                port.send(CacheReply::Answer(kept)).map(|()| self.refresh(flight, lead, call, caching, terms))
            }
        };
    }

    /// Fetches a result anew in the background.
    fn refresh(
        &mut self,
        flight: FlightId,
        lead: Lead,
        (id, call): (CallId, Arc<Call>),
        caching: Arc<Caching>,
        terms: Terms,
    ) {
        let current_actors = self.current_actors.clone();
        let task = self.tasks.spawn(async move {
            if let Some(answer) = request(id, call, current_actors).await {
                lead.report(&caching, &terms, &answer);
            }
        });
        self.refreshing.insert(flight, task);
    }

    fn finished(&mut self, flight: FlightId, fetched: Fetched, now: Instant) {
        let (ports, shared) = self.cache.finished(flight, fetched, now);
        for port in ports {
            // A caller that left meanwhile needs no answer.
            let _ = port.send(match &shared {
                Shared::Answer(kept) => CacheReply::Answer(kept.clone()),
                Shared::Failed(error) => CacheReply::Failed(error.clone()),
                Shared::Nothing => CacheReply::Alone,
            });
        }
    }

    /// Clears out, and tells subscribers where there was something.
    fn clear_out(&mut self, sweep: &Sweep, now: Instant) -> usize {
        let entries = self.cache.clear_out(sweep, now);
        self.tell_dropped((entries > 0).then(|| Dropped { what: sweep.to_string(), entries }));
        entries
    }

    fn tell_dropped(&self, dropped: Option<Dropped>) {
        if let Some(Dropped { what, entries }) = dropped {
            self.emit(Event::CacheCleared { what, entries });
        }
    }

    fn emit(&self, event: Event) {
        if let Some(events) = &self.current_actors.borrow().events {
            // No events actor means that the troupe is ending; nobody is left to be told.
            let _ = events.cast(super::events::messages::EventsMsg::Emit(event));
        }
    }
}

/// Makes a request that nobody waits for. None if no router takes it, or the router ends before a server has seen it: it
/// is made again when the result is asked for again.
async fn request(
    id: CallId,
    call: Arc<Call>,
    current_actors: watch::Receiver<CurrentActors>,
) -> Option<Answer> {
    let (port, word) = oneshot::channel();
    let arrival = Arrival { id, started: Instant::now(), submission: Submission::unheard(call, port) };
    let submitted = current_actors.borrow().submit(arrival);
    let mut guard = CancelOnDrop::new(submitted.ok()?, id);
    let said = word.await;
    guard.disarm();
    match said {
        Ok(RouterReply::Answer(answer)) => Some(answer),
        Ok(RouterReply::Unknown { error, kind: _, catalogue: _ }) => Some(Err(error)),
        Ok(RouterReply::Back(_)) | Err(_) => None,
    }
}
