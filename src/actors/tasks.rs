//! Tasks that end with their owner, counted, so that the end of a troupe is the end of all it started.

use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The tasks of one troupe. Each holds a receiver for as long as it lives; nothing is ever sent.
#[derive(Clone)]
pub(crate) struct Tasks(Arc<watch::Sender<()>>);

/// Counts among a troupe's tasks for as long as it is kept: for what an actor starts and does not own, such as a process
/// that has to be waited for when its link is gone.
#[derive(Clone)]
pub(crate) struct Alive {
    _counted: watch::Receiver<()>,
}

impl Tasks {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(())))
    }

    /// Counts something until it is dropped.
    pub(crate) fn alive(&self) -> Alive {
        Alive { _counted: self.0.subscribe() }
    }

    /// Starts `future`.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> OwnedTask {
        let alive = self.alive();
        // Not a block that awaits it, which would have room for it twice.
        OwnedTask(tokio::spawn(future.map(move |()| drop(alive))))
    }

    /// Waits until none is left.
    pub(crate) async fn ended(&self) {
        self.0.closed().await;
    }

    /// How many there are.
    #[cfg(feature = "testkit")]
    pub(crate) fn living(&self) -> usize {
        self.0.receiver_count()
    }
}

/// A task that is aborted when its handle is dropped. A detached task would survive the kill of its actor.
pub(crate) struct OwnedTask(JoinHandle<()>);

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
