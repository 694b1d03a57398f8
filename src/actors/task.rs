//! Tasks that end with their owner.

use tokio::task::JoinHandle;

/// A task that is aborted when its handle is dropped. A detached task would survive the kill of its actor.
pub(super) struct OwnedTask(JoinHandle<()>);

impl OwnedTask {
    /// Starts `future`.
    pub fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
