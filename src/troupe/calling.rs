//! One call, from the handle's side: handed to the router of the moment, answered by it or by its end.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::actors::Stage;
use crate::actors::intake::Arrival;
use crate::actors::router::{RouterMsg, Submission, Word};
use crate::call::{Call, Reply};
use crate::error::{CallError, CallErrorKind};
use crate::id::{CallId, RequestId};
use crate::policy::routing::Answer;

/// The answer to come of one call. Dropping it cancels the call.
#[must_use = "a call that is not awaited is cancelled"]
pub struct CallFuture(pub(super) Pin<Box<dyn Future<Output = Answer> + Send>>);

impl Future for CallFuture {
    type Output = Result<Reply, CallError>;

    fn poll(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(poller)
    }
}

impl fmt::Debug for CallFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallFuture")
    }
}

/// Tells the router that the caller left, unless the answer came first.
struct CancelOnDrop {
    router: ActorRef<RouterMsg>,
    id: Option<CallId>,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            // A router that has ended knows no calls.
            let _ = self.router.cast(RouterMsg::Cancel(id));
        }
    }
}

/// Hands a call to the current router and waits for its word. A call that comes back goes to
/// the next router.
pub(super) async fn perform(
    id: CallId,
    mut call: Box<Call>,
    stage: watch::Receiver<Stage>,
    patience: Duration,
) -> Answer {
    let started = Instant::now();
    let until = started + patience;
    let tool = call.tool.clone();
    loop {
        let (port, word) = oneshot::channel();
        let arrival = Arrival { id, started, submission: Submission::new(call, port) };
        let submitted = match submit(arrival, &stage) {
            Ok(router) => Some(router),
            Err(arrival) => submit_in_turn(arrival, stage.clone(), until).await,
        };
        let Some(router) = submitted else { return Err(unplaced(CallErrorKind::Closed, &tool)) };
        match word_of(&router, id, word).await {
            Some(Word::Answer(answer)) => return answer,
            Some(Word::Back(back)) => call = back,
            None => return Err(unplaced(CallErrorKind::Interrupted, &tool)),
        }
        if !tokio::time::timeout_at(until, another(&router, &stage)).await.unwrap_or_default() {
            return Err(unplaced(CallErrorKind::Closed, &tool));
        }
    }
}

/// What a router says of a call. It has a word for each, however it ends: its intake gives back what it never took, and its
/// state says what became of the rest. None would be a fault of ours, which still leaves no caller waiting.
async fn word_of(router: &ActorRef<RouterMsg>, id: CallId, word: oneshot::Receiver<Word>) -> Option<Word> {
    let mut guard = CancelOnDrop { router: router.clone(), id: Some(id) };
    let said = word.await.ok();
    guard.id = None;
    said
}

/// Hands a call to the router of the moment, which is returned.
///
/// # Errors
/// The call, if there is none now, or no room.
fn submit(arrival: Arrival, stage: &watch::Receiver<Stage>) -> Result<ActorRef<RouterMsg>, Arrival> {
    let stage = stage.borrow();
    let Stage { router: Some(router), intake: Some(intake), .. } = &*stage else { return Err(arrival) };
    intake.submit(router, arrival).map(|()| router.clone())
}

/// The same; waits for a router and for room. None when the troupe has ended.
async fn submit_in_turn(
    arrival: Arrival,
    mut stage: watch::Receiver<Stage>,
    until: Instant,
) -> Option<ActorRef<RouterMsg>> {
    let found = tokio::time::timeout_at(until, stage.wait_for(|stage| stage.router.is_some()));
    let (router, intake) = {
        let found = found.await.ok()?.ok()?;
        (found.router.clone()?, found.intake.clone()?)
    };
    intake.submit_in_turn(&router, arrival).await;
    Some(router)
}

/// Waits until `former` plays no more. False when the troupe has ended.
async fn another(former: &ActorRef<RouterMsg>, stage: &watch::Receiver<Stage>) -> bool {
    let mut stage = stage.clone();
    let other = |stage: &Stage| stage.router.as_ref().is_none_or(|router| router.get_id() != former.get_id());
    stage.wait_for(other).await.is_ok()
}

/// An error of a call that no router has answered.
fn unplaced(kind: CallErrorKind, tool: &str) -> CallError {
    CallError::new(kind, RequestId::random(), tool, None, 0)
}
