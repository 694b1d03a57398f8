//! How calls reach the router: a queue beside its mailbox, so that one message announces all that wait.
//!
//! Whoever puts a call into an empty queue announces it; until the router has taken them out, what others add needs no
//! message of its own. A router that works at its limit so takes many calls for the price of one message.
//!
//! What is still in the queue when the router ends goes back to its handle, as a [`Submission`] does wherever it is dropped:
//! every call that is submitted gets its word.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use ractor::ActorRef;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::unconstrained;
use tokio::time::Instant;

use crate::actors::router::messages::{RouterMsg, Submission};
use crate::id::CallId;

/// Calls that may wait to be taken out. Handles beyond that wait for their turn; the router takes out all there are, and
/// what it may hold is bounded by its own limits.
const WAITING_MAX: usize = 1024;

/// Calls that the router takes out before it looks at its other messages.
const TAKEN_AT_ONCE: usize = 256;

/// A call that a handle began at `started`.
pub(crate) struct Arrival {
    pub id: CallId,
    pub started: Instant,
    pub submission: Submission,
}

/// The handles' side.
#[derive(Clone)]
pub(crate) struct Intake {
    queue: mpsc::Sender<Arrival>,
    announced: Arc<AtomicBool>,
}

/// The router's side.
pub(crate) struct Arrivals {
    queue: mpsc::Receiver<Arrival>,
    announced: Arc<AtomicBool>,
    /// Empty between two looks.
    taken: Vec<Arrival>,
}

/// Tells the router that the caller left, unless the answer came first.
pub(crate) struct CancelOnDrop {
    router: ActorRef<RouterMsg>,
    id: Option<CallId>,
}

impl CancelOnDrop {
    /// For a call that the router was handed.
    pub(crate) fn new(router: ActorRef<RouterMsg>, id: CallId) -> Self {
        Self { router, id: Some(id) }
    }

    /// The router.
    pub(crate) fn router(&self) -> &ActorRef<RouterMsg> {
        &self.router
    }

    /// The answer came.
    pub(crate) fn disarm(&mut self) {
        self.id = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            // A router that has ended knows no calls.
            let _ = self.router.cast(RouterMsg::Cancel(id));
        }
    }
}

/// Both sides of one router's intake.
pub(crate) fn intake() -> (Intake, Arrivals) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let announced = Arc::new(AtomicBool::new(false));
    (
        Intake { queue: sender, announced: announced.clone() },
        Arrivals { queue: receiver, announced, taken: Vec::new() },
    )
}

impl Intake {
    /// Hands a call to the router. One that has ended drops it, and so gives it back.
    ///
    /// # Errors
    /// The call, if the queue is full: then [`submit_in_turn`](Self::submit_in_turn).
    pub(crate) fn submit(&self, router: &ActorRef<RouterMsg>, arrival: Arrival) -> Result<(), Arrival> {
        match self.queue.try_send(arrival) {
            Ok(()) => announce(&self.announced, router),
            Err(TrySendError::Full(arrival)) => return Err(arrival),
            Err(TrySendError::Closed(arrival)) => drop(arrival),
        }
        Ok(())
    }

    /// Hands a call to the router when there is room.
    pub(crate) async fn submit_in_turn(&self, router: &ActorRef<RouterMsg>, arrival: Arrival) {
        if self.queue.send(arrival).await.is_ok() {
            announce(&self.announced, router);
        }
    }
}

impl Arrivals {
    /// How many calls wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Takes out what waits, in its order.
    pub(crate) fn take(&mut self, router: &ActorRef<RouterMsg>, mut each: impl FnMut(Arrival)) {
        // Before the queue is looked at: a call that comes after the look is announced anew. A swap and no store: it acquires
        // what a handle released that found its call announced already, so that the look sees that call.
        self.announced.swap(false, Ordering::SeqCst);
        // Not `try_recv`, which blocks the thread while a handle is about to add a call: that one will announce it.
        // Unconstrained, since a spent budget would look like an empty queue.
        let taken = unconstrained(self.queue.recv_many(&mut self.taken, TAKEN_AT_ONCE)).now_or_never();
        self.taken.drain(..).for_each(&mut each);
        if taken == Some(TAKEN_AT_ONCE) {
            announce(&self.announced, router);
        }
    }
}

/// Closes the queue in order, so that each call goes back to its handle, the last one that was just being added too. A queue
/// that is merely dropped keeps what is added at that moment for as long as a handle lives, and that handle would wait for it.
impl Drop for Arrivals {
    fn drop(&mut self) {
        self.queue.close();
        let mut queue = std::mem::replace(&mut self.queue, mpsc::channel(1).1);
        // Without a runtime there is nobody left who waits.
        if let Ok(runtime) = Handle::try_current() {
            // Nobody owns it: it ends with the last call that was being added, which takes no time.
            runtime.spawn(async move { while queue.recv().await.is_some() {} });
        }
    }
}

fn announce(announced: &AtomicBool, router: &ActorRef<RouterMsg>) {
    if !announced.swap(true, Ordering::SeqCst) {
        // A router that has ended gives back what it was brought.
        let _ = router.cast(RouterMsg::Calls);
    }
}
