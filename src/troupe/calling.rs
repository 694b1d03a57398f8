//! One call, from the handle's side: handed to the router of the moment, answered by it or by its end.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::actors::Stage;
use crate::actors::router::RouterMsg;
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

/// Hands a call to the current router and waits for the answer, or for the router's end.
pub(super) async fn perform(
    id: CallId,
    call: Call,
    stage: watch::Receiver<Stage>,
    patience: Duration,
) -> Answer {
    let started = Instant::now();
    let tool = call.tool.clone();
    let (mut port, mut answer) = oneshot::channel();
    let mut call = call;
    let router = loop {
        let Some(router) = current_router(stage.clone(), started + patience).await else {
            return Err(unplaced(CallErrorKind::Closed, &tool));
        };
        match router.cast(RouterMsg::Call { id, call, started, port }) {
            Ok(()) => break router,
            // A router that ended before it got the message never saw the call: the next one gets it.
            Err(ractor::MessagingErr::SendErr(RouterMsg::Call { call: back, port: unused, .. })) => {
                (call, port) = (back, unused);
                if wait_for_another(&router, stage.clone(), started + patience).await.is_err() {
                    return Err(unplaced(CallErrorKind::Closed, &tool));
                }
            }
            Err(_) => return Err(unplaced(CallErrorKind::Closed, &tool)),
        }
    };
    let cell = router.get_cell();
    let mut guard = CancelOnDrop { router, id: Some(id) };
    let answered = tokio::select! { biased;
        answered = &mut answer => answered.ok(),
        _ = cell.wait(None) => answer.try_recv().ok(),
    };
    guard.id = None;
    answered.unwrap_or_else(|| Err(unplaced(CallErrorKind::Interrupted, &tool)))
}

/// The router of the moment; waits while it is being replaced. None when the troupe has ended.
async fn current_router(mut stage: watch::Receiver<Stage>, until: Instant) -> Option<ActorRef<RouterMsg>> {
    let found = tokio::time::timeout_at(until, stage.wait_for(|stage| stage.router.is_some()));
    found.await.ok()?.ok()?.router.clone()
}

/// Waits until another router than `former` plays.
async fn wait_for_another(
    former: &ActorRef<RouterMsg>,
    mut stage: watch::Receiver<Stage>,
    until: Instant,
) -> Result<(), CallErrorKind> {
    let other = |stage: &Stage| stage.router.as_ref().is_none_or(|router| router.get_id() != former.get_id());
    match tokio::time::timeout_at(until, stage.wait_for(other)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(CallErrorKind::Closed),
    }
}

/// An error of a call that no router has answered.
fn unplaced(kind: CallErrorKind, tool: &str) -> CallError {
    CallError::new(kind, RequestId::random(), tool, None, 0)
}
