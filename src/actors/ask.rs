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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ractor::{Actor, ActorProcessingErr};

    use super::*;

    struct Echo;

    impl Actor for Echo {
        type Msg = oneshot::Sender<()>;
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }

        async fn handle(
            &self,
            _: ActorRef<Self::Msg>,
            port: oneshot::Sender<()>,
            _: &mut (),
        ) -> Result<(), ActorProcessingErr> {
            let _ = port.send(());
            Ok(())
        }
    }

    /// Of askers whose push races the end of the mailbox one in a thousand or so would wait for ever, were the end not
    /// watched: some ten of the 9,000 here. It takes real threads to see.
    async fn end_under_questions(rounds: u32, end: impl Fn(&ActorRef<oneshot::Sender<()>>)) {
        for _ in 0..rounds {
            let (actor, _) = Actor::spawn(None, Echo, ()).await.unwrap();
            let askers: Vec<_> = (0..3)
                .map(|_| {
                    let actor = actor.clone();
                    tokio::spawn(async move { while ask(&actor, |port| port).await.is_ok() {} })
                })
                .collect();
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            end(&actor);
            for asker in askers {
                let ended = tokio::time::timeout(Duration::from_secs(30), asker).await;
                ended.expect("an asker waits for ever").unwrap();
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_asker_hangs_when_the_actor_is_killed() {
        // On a worker, where yielding lets the others run.
        tokio::spawn(end_under_questions(3_000, |actor| actor.kill())).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_asker_hangs_when_the_actor_is_stopped() {
        // On a worker, where yielding lets the others run.
        tokio::spawn(end_under_questions(3_000, |actor| actor.stop(None))).await.unwrap();
    }
}
