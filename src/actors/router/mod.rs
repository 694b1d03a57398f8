//! RouterActor: owns every open call, the queues, the strategy, the affinity table and the retry budget.
//!
//! All judgement is in [`Routing`]; this actor carries it out. It holds every reply port. However it ends, what it holds
//! is dropped, and in that moment every caller is told: a call that no server has seen goes back to its handle, which takes
//! it to the next router; one that a server may have seen is interrupted.

pub(crate) mod messages;

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, ActorStatus};
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::messages::{Port, RouterMsg, RouterReply};
use super::Context;
use super::alarm::Alarm;
use super::intake::{Arrival, Arrivals};
use super::meters::RouterMeters;
use super::watching::{AttemptSpans, LateAnswers, ShedCalls};
use crate::actors::root::messages::RootMsg;
use crate::actors::server::messages::ServerMsg;
use crate::call::Call;
use crate::call_update::CallUpdate;
use crate::error::CallError;
use crate::event::Event;
use crate::id::{AttemptId, RouterLife, ServerId};
use crate::offer::EntryKind;
use crate::policy::catalogue::Catalogue;
use crate::policy::routing::{Abandoned, Answer, CancelReason, Dispatch, Outlet, Routing, Settled};
use crate::policy::strategy::Strategies;

/// What the router is started with.
pub(crate) struct RouterArguments {
    pub context: Context,
    pub root: ActorRef<RootMsg>,
    pub life: RouterLife,
    pub strategies: Strategies,
    pub arrivals: Arrivals,
    /// Where it says what became of its calls when it ends.
    pub last_word: oneshot::Sender<Abandoned>,
}

/// The router's state.
pub(crate) struct RouterState {
    routing: Routing<Port, ActorRef<ServerMsg>>,
    hands: RouterEffects,
    arrivals: Arrivals,
    root: ActorRef<RootMsg>,
    alarm: Alarm,
    last_word: Option<oneshot::Sender<Abandoned>>,
    /// Set while shutting down: when the remaining calls are ended.
    drain_until: Option<Instant>,
}

/// Carries out what the routing decides. What goes to one server in one turn goes in one message: calls are gathered, and sent
/// when the turn is done, or before something else is said to their server.
struct RouterEffects {
    router: RouterLife,
    dispatches: Vec<(ActorRef<ServerMsg>, Vec<Dispatch>)>,
    /// Calls of the last message: turns under load are alike.
    usual: usize,
    context: Context,
    spans: AttemptSpans,
    shed: ShedCalls,
    late: LateAnswers,
    meters: RouterMeters,
}

impl RouterEffects {
    fn new(context: Context, router: RouterLife) -> Self {
        Self {
            router,
            dispatches: Vec::new(),
            usual: 0,
            spans: AttemptSpans::default(),
            shed: ShedCalls::new(context.clone()),
            late: LateAnswers::new(context.clone()),
            context,
            meters: RouterMeters::new(),
        }
    }

    /// Sends every server what is gathered for it.
    fn send_all(&mut self) {
        for (server, batch) in self.dispatches.drain(..) {
            self.usual = batch.len();
            // The end of a server's actor is reported, and loses what it was given.
            let _ = server.cast(ServerMsg::Dispatch { router: self.router, batch });
        }
    }

    /// Sends a server what is gathered for it.
    fn send_gathered(&mut self, server: &ActorRef<ServerMsg>) {
        if let Some(at) = self.dispatches.iter().position(|(other, _)| other.get_id() == server.get_id()) {
            let (server, batch) = self.dispatches.swap_remove(at);
            // The end of a server's actor is reported, and loses what it was given.
            let _ = server.cast(ServerMsg::Dispatch { router: self.router, batch });
        }
    }
}

impl Outlet<Port, ActorRef<ServerMsg>> for RouterEffects {
    fn answer(&mut self, port: Port, answer: Answer) {
        port.say(RouterReply::Answer(answer));
    }

    fn unknown(&mut self, port: Port, error: CallError, kind: EntryKind, catalogue: &Arc<Catalogue>) {
        port.say(RouterReply::Unknown { error, kind, catalogue: catalogue.clone() });
    }

    fn left(&self, port: &Port) -> bool {
        port.word.is_closed()
    }

    fn hand_back(&mut self, port: Port, call: Arc<Call>) {
        port.say(RouterReply::Back(call));
    }

    fn tell(&mut self, port: &mut Port, update: CallUpdate) {
        if let Some(updates) = &mut port.updates {
            updates.tell(update);
        }
    }

    fn dispatch(&mut self, server: &ActorRef<ServerMsg>, dispatch: Dispatch) -> bool {
        if server.get_status() >= ActorStatus::Stopping {
            return false;
        }
        match self.dispatches.iter_mut().find(|(other, _)| other.get_id() == server.get_id()) {
            Some((_, batch)) => batch.push(dispatch),
            None => {
                let mut batch = Vec::with_capacity(self.usual.max(1));
                batch.push(dispatch);
                self.dispatches.push((server.clone(), batch));
            }
        }
        true
    }

    fn need(&mut self, server: &ActorRef<ServerMsg>) {
        // Its next life tells where it stands, and is told anew.
        let _ = server.cast(ServerMsg::Needed);
    }

    fn cancel(&mut self, server: &ActorRef<ServerMsg>, attempt: AttemptId, reason: CancelReason) {
        self.send_gathered(server);
        // A server that has ended works on nothing.
        let _ = server.cast(ServerMsg::Cancel { attempt, reason });
    }

    fn began(&mut self, attempt: AttemptId, call: &Call, server: &ServerId) {
        self.spans.began(attempt, call, server);
    }

    fn ended(&mut self, attempt: AttemptId, outcome: &'static str, latency: Duration) {
        self.spans.ended(attempt, outcome, latency);
    }

    fn settled(&mut self, settled: &Settled<'_>) {
        self.meters.settled(settled);
    }

    fn overloaded(&mut self, server: &ServerId, retry_after: Duration) {
        self.context.emit(Event::ServerOverloaded { server: server.clone(), retry_after });
    }

    fn shed(&mut self, shed: &Settled<'_>, limit: usize, now: Instant) {
        self.shed.count(shed, limit, now);
        self.meters.shed(shed);
    }

    fn late(&mut self, server: &ServerId, answers: u64, now: Instant) {
        self.late.count(server, answers, now);
        self.meters.late(server, answers);
    }
}

/// A router that was killed, or panicked.
impl Drop for RouterState {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl RouterState {
    /// The router ends: every caller is told.
    fn abandon(&mut self) {
        let mut abandoned = self.routing.abandon(Instant::now(), &mut self.hands);
        self.hands.send_all();
        if let Some(last_word) = self.last_word.take() {
            // These go back to their handles by themselves.
            abandoned.handed_back += self.arrivals.waiting();
            // A root that has ended asks nothing.
            let _ = last_word.send(abandoned);
        }
    }

    /// Submits the calls that wait in the intake.
    fn take_calls(&mut self, myself: &ActorRef<RouterMsg>, now: Instant) {
        let Self { routing, arrivals, hands, .. } = self;
        arrivals.take(myself, |Arrival { id, started, mut submission }| {
            if let Some((call, port)) = submission.call.take() {
                routing.submit(id, call, started, port, now, hands);
            }
        });
    }

    /// Tells the root once nothing is left to answer.
    fn finish_draining(&mut self, now: Instant) {
        let Some(until) = self.drain_until else { return };
        let open = self.routing.open_calls();
        if open > 0 && now < until {
            return;
        }
        let interrupted = self.routing.end_all(now, &mut self.hands);
        self.hands.send_all();
        self.drain_until = None;
        // Without a root the whole troupe is ending anyway.
        let _ = self.root.cast(RootMsg::Drained { interrupted });
    }
}

/// Routes calls; see the module's page.
pub(crate) struct RouterActor;

impl Actor for RouterActor {
    type Msg = RouterMsg;
    type State = RouterState;
    type Arguments = RouterArguments;

    async fn pre_start(
        &self,
        _: ActorRef<RouterMsg>,
        arguments: RouterArguments,
    ) -> Result<RouterState, ActorProcessingErr> {
        let RouterArguments { context, root, life, strategies, arrivals, last_word } = arguments;
        let routing = Routing::new(context.settings.clone(), strategies, context.seed);
        let alarm = Alarm::new(context.tasks.clone());
        let hands = RouterEffects::new(context, life);
        let last_word = Some(last_word);
        Ok(RouterState { routing, hands, arrivals, root, alarm, last_word, drain_until: None })
    }

    async fn handle(
        &self,
        myself: ActorRef<RouterMsg>,
        message: RouterMsg,
        state: &mut RouterState,
    ) -> Result<(), ActorProcessingErr> {
        let now = Instant::now();
        if let RouterMsg::Calls | RouterMsg::Cancel(_) = message {
            // A call that is called off may still be in the intake. One that is further behind is seen to be called off
            // when it is taken out.
            state.take_calls(&myself, now);
        }
        let RouterState { routing, hands, .. } = state;
        match message {
            RouterMsg::Calls => {}
            RouterMsg::Cancel(id) => routing.cancel(id, now, hands),
            RouterMsg::Completed { server, incarnation, updates, batch } => {
                if !updates.is_empty() {
                    routing.heard(&server, incarnation, updates, now, hands);
                }
                routing.completed(&server, incarnation, batch, now, hands);
            }
            RouterMsg::Refused { server, incarnation, attempt } => {
                routing.refused(&server, incarnation, attempt, now, hands);
            }
            RouterMsg::Leasing { server, incarnation, attempt, update } => {
                routing.leasing(&server, incarnation, attempt, update, now, hands);
            }
            RouterMsg::Joined { spec, incarnation, actor, standing } => {
                routing.joined(spec, incarnation, actor, standing, now);
            }
            RouterMsg::Replaced { spec, incarnation, actor, standing } => {
                routing.replaced(spec, incarnation, actor, standing, now, hands);
            }
            RouterMsg::Amended(spec) => routing.amended(spec, now, hands),
            RouterMsg::Retiring { spec, incarnation, actor } => {
                routing.retiring(spec, incarnation, actor, now)
            }
            RouterMsg::Retired { server, incarnation } => {
                routing.retired(&server, incarnation, now, hands);
            }
            RouterMsg::Standing { server, incarnation, standing } => {
                routing.standing(&server, incarnation, standing, now, hands);
            }
            RouterMsg::Down { server, incarnation, cause, standing } => {
                routing.server_down(&server, incarnation, &cause, standing, now, hands);
            }
            RouterMsg::Leaving(server) => routing.leaving(&server, now, hands),
            RouterMsg::Finish { actor, until } => {
                // One that has just ended has nothing to finish; its end is reported.
                let _ = actor.cast(ServerMsg::Drain { until });
            }
            RouterMsg::Left(server) => routing.left(&server, now, hands),
            RouterMsg::Catalogue(catalogue) => routing.catalogue(catalogue, now, hands),
            RouterMsg::Introduced => routing.introduced(now, hands),
            RouterMsg::Settings(settings) => routing.change_settings(settings),
            RouterMsg::Stats(port) => {
                let _ = port.send(routing.stats(now));
            }
            RouterMsg::Drain { until } => {
                routing.drain();
                state.drain_until = Some(until);
            }
            RouterMsg::Due => {
                state.alarm.rang();
                routing.tick(now, hands);
            }
            #[cfg(feature = "testkit")]
            RouterMsg::Panic => panic!("ordered by the testkit"),
        }
        state.hands.send_all();
        let RouterState { routing, hands, .. } = state;
        let RouterEffects { shed, late, meters, .. } = hands;
        shed.tell_due(now);
        late.tell_due(now);
        meters.turned(now, || routing.figures());
        let told = [shed.due_at(), late.due_at(), meters.due_at()];
        state.finish_draining(now);
        let next = [state.routing.next_time(), state.drain_until].into_iter().chain(told).flatten().min();
        state.alarm.set(next, &myself, || RouterMsg::Due);
        Ok(())
    }

    async fn post_stop(
        &self,
        _: ActorRef<RouterMsg>,
        state: &mut RouterState,
    ) -> Result<(), ActorProcessingErr> {
        // At once, and not when its supervisor drops the state: that may be stopping itself.
        state.abandon();
        Ok(())
    }
}
