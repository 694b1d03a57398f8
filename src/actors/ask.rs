//! Questions to actors that cannot hang.

use ractor::{ActorRef, Message};
use tokio::sync::oneshot;

/// The actor ended before it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the actor has ended")]
pub(crate) struct Gone;

/// Sends a question and waits for its answer or for the actor's end, whichever comes first.
///
/// Watching the end is what makes it safe: a message that is pushed while the actor's mailbox is torn down stays in
/// the channel for as long as any sender lives, and the asker itself holds one, so its reply port would never drop.
pub(crate) async fn ask<M: Message, T: Send>(
    actor: &ActorRef<M>,
    question: impl FnOnce(oneshot::Sender<T>) -> M,
) -> Result<T, Gone> {
    let (port, mut answer) = oneshot::channel();
    actor.cast(question(port)).map_err(|_| Gone)?;
    let cell = actor.get_cell();
    tokio::select! { biased;
        answer = &mut answer => answer.map_err(|_| Gone),
        // The answer may have been given in the actor's last moments.
        _ = cell.wait(None) => answer.try_recv().map_err(|_| Gone),
    }
}
