//! One call, from the handle's side: handed to the router of the moment, answered by it or by its end.
//!
//! ```text
//! made ──▶ placed ──▶ answered
//!   │         │ its router ended before any server has seen it
//!   │         ▼
//!   └──▶ in turn ──▶ answered           no router at the moment, or no room before it
//! ```
//!
//! The usual way is a state machine without memory of its own; what happens seldom is an async function.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Poller, Poll};

use ractor::ActorRef;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::caching::CachePath;
use super::rounds::Rounds;
use crate::actors::CurrentActors;
use crate::actors::intake::{Arrival, CancelOnDrop};
use crate::actors::router::messages::{Port, RouterMsg, RouterReply, Submission};
use crate::actors::update_queue::UpdateQueue;
use crate::call::{Call, Reply};
use crate::call_update::CallUpdate;
use crate::duration::later;
use crate::error::{CallError, CallErrorKind};
use crate::id::{CallId, RequestId};
use crate::offer::EntryKind;
use crate::policy::catalogue::Catalogue;
use crate::policy::routing::Answer;
use crate::spans::CallSpan;

/// How a call is named whose router ended without a word of it. None does: it would be a fault of ours.
const UNNAMED: &str = "a call";

/// The answer to come of one call. Dropping it cancels the call.
#[must_use = "a call that is not awaited is cancelled"]
pub struct CallFuture {
    progress: Progress,
    /// Where the host answers servers: what a result that asks back needs.
    rounds: Option<Box<Rounds>>,
    started: Option<Instant>,
    span: CallSpan,
}

/// Where the updates of a call go, if anybody listens.
pub(super) type UpdateSender = Option<mpsc::Sender<CallUpdate>>;

enum Progress {
    /// The host is asked whether it is to be made.
    Proposed(Pin<Box<dyn Future<Output = Result<CallFuture, CallError>> + Send>>),
    Made {
        id: CallId,
        call: Arc<Call>,
        current_actors: watch::Receiver<CurrentActors>,
        updates: UpdateSender,
    },
    Placed {
        word: oneshot::Receiver<RouterReply>,
        guard: CancelOnDrop,
        trip: CallContext,
    },
    InTurn(Pin<Box<dyn Future<Output = Answer> + Send>>),
    Over,
}

/// What a call keeps from one router to the next.
pub(super) struct CallContext {
    pub id: CallId,
    pub started: Instant,
    pub current_actors: watch::Receiver<CurrentActors>,
    updates: UpdateSender,
}

impl CallFuture {
    /// Nothing is done before it is polled; its time begins then.
    pub(super) fn new(
        id: CallId,
        call: Arc<Call>,
        current_actors: watch::Receiver<CurrentActors>,
        updates: UpdateSender,
    ) -> Self {
        let progress = Progress::Made { id, call, current_actors, updates };
        Self { progress, rounds: None, started: None, span: CallSpan::none() }
    }

    /// The call that `proposal` gives. Its time begins when that has given it.
    pub(super) fn after(proposal: impl Future<Output = Result<Self, CallError>> + Send + 'static) -> Self {
        let progress = Progress::Proposed(Box::pin(proposal));
        Self { progress, rounds: None, started: None, span: CallSpan::none() }
    }

    /// The same, whose answer ends this span.
    pub(super) fn under(mut self, span: CallSpan) -> Self {
        self.span = span;
        self
    }

    /// The same, made again with the host's answers where a result asks back.
    pub(super) fn with_rounds(mut self, rounds: Rounds) -> Self {
        self.rounds = Some(Box::new(rounds));
        self
    }

    /// An answer is the call's last word, unless it asks back and the host has something to say: then the call goes on.
    fn last_word(&mut self, answer: Answer) -> Option<Answer> {
        let Some(rounds) = &self.rounds else { return Some(answer) };
        let asked = answer.as_ref().ok().and_then(|reply| rounds.asked(reply));
        match (answer, asked, self.started, self.rounds.take()) {
            (Ok(reply), Some(asked), Some(started), Some(rounds)) => {
                self.progress = Progress::InTurn(Box::pin(rounds.go_on(started, reply, asked)));
                None
            }
            (answer, ..) => Some(answer),
        }
    }

    /// Its time began `at` another moment than that of its first poll: it shares a deadline with other calls.
    pub(super) fn begun(mut self, at: Instant) -> Self {
        self.started = Some(at);
        self
    }

    fn poll_answer(&mut self, poller: &mut Poller<'_>) -> Poll<Answer> {
        loop {
            let answer = match std::mem::replace(&mut self.progress, Progress::Over) {
                Progress::Proposed(mut proposal) => match proposal.as_mut().poll(poller) {
                    Poll::Pending => {
                        self.progress = Progress::Proposed(proposal);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(call)) => {
                        let (started, span) = (self.started.or(call.started), self.span.take());
                        *self = Self { started, span, ..call };
                        continue;
                    }
                    Poll::Ready(Err(denied)) => Err(denied),
                },
                Progress::Made { id, call, current_actors, updates } => {
                    let started = *self.started.get_or_insert_with(Instant::now);
                    self.progress = CallContext { id, started, current_actors, updates }.begin(call);
                    continue;
                }
                Progress::Placed { mut word, mut guard, trip } => match Pin::new(&mut word).poll(poller) {
                    Poll::Pending => {
                        self.progress = Progress::Placed { word, guard, trip };
                        return Poll::Pending;
                    }
                    Poll::Ready(said) => {
                        guard.disarm();
                        match said {
                            Ok(RouterReply::Answer(answer)) => answer,
                            Ok(RouterReply::Unknown { error, kind, catalogue }) => {
                                let named = with_near_names(error, kind, catalogue);
                                self.progress = Progress::InTurn(Box::pin(async { Err(named.await) }));
                                continue;
                            }
                            Ok(RouterReply::Back(call)) => {
                                self.progress = trip.go_on(call, Some(guard.router().clone()));
                                continue;
                            }
                            Err(_) => Err(unplaced(CallErrorKind::Interrupted, UNNAMED)),
                        }
                    }
                },
                Progress::InTurn(mut answer) => match answer.as_mut().poll(poller) {
                    Poll::Pending => {
                        self.progress = Progress::InTurn(answer);
                        return Poll::Pending;
                    }
                    Poll::Ready(answer) => answer,
                },
                Progress::Over => panic!("a call was polled after its answer"),
            };
            if let Some(answer) = self.last_word(answer) {
                return Poll::Ready(answer);
            }
        }
    }
}

impl Future for CallFuture {
    type Output = Result<Reply, CallError>;

    fn poll(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<Self::Output> {
        let polled = self.poll_answer(poller);
        if let Poll::Ready(answer) = &polled {
            self.span.end(answer);
        }
        polled
    }
}

impl fmt::Debug for CallFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallFuture")
    }
}

impl CallContext {
    /// Hands a new call to the router of the moment, or to the cache, where that has to do with it.
    fn begin(self, call: Arc<Call>) -> Progress {
        let current_actors = self.current_actors.borrow();
        // What the router refuses for its length is looked up nowhere before.
        let caching = current_actors.caching.as_ref().filter(|_| call.too_long().is_none());
        if let Some(detour) = caching.and_then(|caching| CachePath::of(&call, caching, &current_actors)) {
            drop(current_actors);
            return Progress::InTurn(Box::pin(detour.perform(self, call)));
        }
        let (port, word) = port(&self.updates);
        let arrival = Arrival { id: self.id, started: self.started, submission: Submission::new(call, port) };
        let submitted = current_actors.submit(arrival);
        drop(current_actors);
        match submitted {
            Ok(router) => Progress::Placed { word, guard: CancelOnDrop::new(router, self.id), trip: self },
            Err(arrival) => self.go_on(arrival.submission.withdraw(), None),
        }
    }

    /// Goes on to a router that has room, another one than `former`.
    fn go_on(self, call: Arc<Call>, former: Option<ActorRef<RouterMsg>>) -> Progress {
        Progress::InTurn(Box::pin(self.perform(call, former)))
    }

    /// The call's way to its answer without the cache; from a router that had it, to another one.
    pub(super) async fn perform(
        self,
        mut call: Arc<Call>,
        mut former: Option<ActorRef<RouterMsg>>,
    ) -> Answer {
        let Self { id, started, current_actors, updates } = self;
        // A call that no router takes is given up at its deadline.
        let until = later(started, call.timeout.unwrap_or_else(|| current_actors.borrow().default_timeout));
        loop {
            if let Some(former) = &former
                && !tokio::time::timeout_at(until, another(former, &current_actors)).await.unwrap_or_default()
            {
                return Err(unplaced_round(CallErrorKind::Closed, &call));
            }
            let (port, word) = port(&updates);
            let arrival = Arrival { id, started, submission: Submission::new(call, port) };
            let Some(router) = submit_in_turn(arrival, current_actors.clone(), until).await else {
                return Err(match word.await {
                    Ok(RouterReply::Back(call)) => unplaced_round(CallErrorKind::Closed, &call),
                    Ok(RouterReply::Answer(_) | RouterReply::Unknown { .. }) | Err(_) => {
                        unplaced(CallErrorKind::Closed, UNNAMED)
                    }
                });
            };
            match word_of(&router, id, word).await {
                Some(RouterReply::Answer(answer)) => return answer,
                Some(RouterReply::Unknown { error, kind, catalogue }) => {
                    return Err(with_near_names(error, kind, catalogue).await);
                }
                Some(RouterReply::Back(back)) => call = back,
                None => return Err(unplaced(CallErrorKind::Interrupted, UNNAMED)),
            }
            former = Some(router);
        }
    }
}

/// A port for one router, and where its word comes out.
fn port(updates: &UpdateSender) -> (Port, oneshot::Receiver<RouterReply>) {
    let (word, said) = oneshot::channel();
    let updates = updates.clone().map(|updates| Box::new(UpdateQueue::new(updates)));
    (Port { word, updates }, said)
}

/// What a router says of a call. It has a word for each, however it ends: its intake gives back what it never took, and its
/// state says what became of the rest. None would be a fault of ours, which still leaves no caller waiting.
async fn word_of(
    router: &ActorRef<RouterMsg>,
    id: CallId,
    word: oneshot::Receiver<RouterReply>,
) -> Option<RouterReply> {
    let mut guard = CancelOnDrop::new(router.clone(), id);
    let said = word.await.ok();
    guard.disarm();
    said
}

/// The same; waits for a router and for room. None when the troupe has ended.
async fn submit_in_turn(
    arrival: Arrival,
    mut current_actors: watch::Receiver<CurrentActors>,
    until: Instant,
) -> Option<ActorRef<RouterMsg>> {
    let found = tokio::time::timeout_at(
        until,
        current_actors.wait_for(|current_actors| current_actors.router.is_some()),
    );
    let (router, intake) = {
        let found = found.await.ok()?.ok()?;
        (found.router.clone()?, found.intake.clone()?)
    };
    intake.submit_in_turn(&router, arrival).await;
    Some(router)
}

/// Waits until the troupe has ended.
pub(super) async fn ended(mut current_actors: watch::Receiver<CurrentActors>) {
    // It says so by leaving.
    let _ = current_actors.wait_for(|_| false).await;
}

/// Waits until `former` plays no more. False when the troupe has ended.
async fn another(former: &ActorRef<RouterMsg>, current_actors: &watch::Receiver<CurrentActors>) -> bool {
    let mut current_actors = current_actors.clone();
    let other = |current_actors: &CurrentActors| {
        current_actors.router.as_ref().is_none_or(|router| router.get_id() != former.get_id())
    };
    current_actors.wait_for(other).await.is_ok()
}

/// Of so few names the comparing takes about as long as to hand it to another thread.
const FEW_NAMES: usize = 64;

/// Names are compared for one call at a time in the whole process, which takes some tens of microseconds each: a caller who
/// invents names without end keeps one thread busy, and none of those that others' calls run on.
static COMPARING: Semaphore = Semaphore::const_new(1);

/// The error with names that look like the one that nobody knows.
pub(super) async fn with_near_names(
    error: CallError,
    kind: EntryKind,
    catalogue: Arc<Catalogue>,
) -> CallError {
    if catalogue.tools().len() <= FEW_NAMES && catalogue.prompts().len() <= FEW_NAMES {
        let near = catalogue.near(kind, error.tool());
        return error.with_near(near);
    }
    // It is never closed.
    let turn = COMPARING.acquire().await;
    let name = error.tool().to_owned();
    // Its turn ends with the comparing, and not with a caller who leaves meanwhile.
    let compared = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        catalogue.near(kind, &name)
    });
    // A runtime that ends compares nothing more.
    let near = compared.await.unwrap_or_default();
    error.with_near(near)
}

/// The same of a call, which may be a later round of one that has an id already.
fn unplaced_round(kind: CallErrorKind, call: &Call) -> CallError {
    let request_id = call.options().request_id.clone().unwrap_or_else(RequestId::random);
    CallError::new(kind, request_id, &*call.tool, None, 0)
}

/// An error of a call that no router has answered.
pub(super) fn unplaced(kind: CallErrorKind, tool: &str) -> CallError {
    CallError::new(kind, RequestId::random(), tool, None, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Collisions;
    use crate::id::{GroupId, ServerId};
    use crate::json::RawJson;
    use crate::policy::catalogue::{Definition, Offer, ServerOffer, compared};

    #[tokio::test]
    async fn names_are_compared_on_no_thread_that_calls_run_on() {
        let others = (0..FEW_NAMES).map(|n| format!("tool_{n}"));
        let tools = others.chain(["customer.search".to_owned()]).map(|name| {
            let definition = RawJson::from_value(&serde_json::json!({"name": name})).unwrap();
            Definition { name, definition }
        });
        let offer = ServerOffer {
            server: ServerId::new("crm").unwrap(),
            group: GroupId::new("crm").unwrap(),
            order: 0,
            trusted: false,
            confirmed: true,
            offer: Offer { tools: tools.collect(), ..Offer::default() },
        };
        let catalogue = Arc::new(Catalogue::merge(1, [offer], Collisions::Error));
        let unknown = CallErrorKind::UnknownTool { near: Vec::new(), blocked: Vec::new() };
        let error = unplaced(unknown, "costumer.serach");
        let before = compared();
        let error = with_near_names(error, EntryKind::Tool, catalogue).await;
        let CallErrorKind::UnknownTool { near, .. } = error.kind() else { panic!("{error}") };
        assert_eq!(near, &["customer.search"]);
        assert_eq!(compared(), before);
    }
}
