//! What ractor's supervision events mean to us, in one place.

use std::time::Duration;

use ractor::{ActorCell, ActorId, SupervisionEvent};

use crate::event::ExitCause;

/// How long an actor may take to stop in order before it is killed. Stopping awaits no peer for longer than this.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(2);

/// The reason to stop an actor that shows no sign of life. It is a failure of that actor, however it takes the order.
pub(super) const SILENT: &str = "it showed no sign of life";

/// The end of a child: which, and how. The child's state is dropped here, before anybody can start its successor.
pub(super) fn exit_of(event: SupervisionEvent) -> Option<(ActorId, ExitCause)> {
    match event {
        SupervisionEvent::ActorTerminated(child, state, reason) => {
            drop(state);
            let cause = match reason.as_deref() {
                Some("killed") => ExitCause::Killed,
                Some("actor_task_cancelled") => ExitCause::Cancelled,
                Some(SILENT) => ExitCause::Failed(SILENT.to_owned()),
                Some(_) => ExitCause::Requested,
                None => ExitCause::Normal,
            };
            Some((child.get_id(), cause))
        }
        SupervisionEvent::ActorFailed(child, error) => {
            Some((child.get_id(), ExitCause::Failed(error.to_string())))
        }
        SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => None,
    }
}

/// Stops an actor in order, and kills it if it takes too long.
pub(super) async fn stop_or_kill(actor: ActorCell, grace: Duration) {
    // An error means that it has ended already, or that the grace is over; a kill settles both.
    if actor.stop_and_wait(Some("stop".to_owned()), Some(grace)).await.is_err() {
        let _ = actor.kill_and_wait(Some(grace)).await;
    }
}

#[cfg(test)]
mod tests {
    use ractor::{Actor, ActorProcessingErr, ActorRef};
    use tokio::sync::mpsc;

    use super::*;

    struct Child;
    enum Order {
        Fail,
        Wait,
    }

    impl Actor for Child {
        type Msg = Order;
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _: ActorRef<Order>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }

        async fn handle(
            &self,
            _: ActorRef<Order>,
            order: Order,
            _: &mut (),
        ) -> Result<(), ActorProcessingErr> {
            match order {
                Order::Fail => Err("broken".into()),
                Order::Wait => std::future::pending().await,
            }
        }
    }

    struct Parent;

    impl Actor for Parent {
        type Msg = ();
        type State = mpsc::Sender<ExitCause>;
        type Arguments = mpsc::Sender<ExitCause>;

        async fn pre_start(
            &self,
            _: ActorRef<()>,
            exits: mpsc::Sender<ExitCause>,
        ) -> Result<Self::State, ActorProcessingErr> {
            Ok(exits)
        }

        async fn handle_supervisor_evt(
            &self,
            _: ActorRef<()>,
            event: SupervisionEvent,
            exits: &mut Self::State,
        ) -> Result<(), ActorProcessingErr> {
            if let Some((_, cause)) = exit_of(event) {
                exits.try_send(cause)?;
            }
            Ok(())
        }
    }

    async fn exit_after(end: impl FnOnce(&ActorRef<Order>)) -> ExitCause {
        let (exits, mut seen) = mpsc::channel(4);
        let (parent, _) = Actor::spawn(None, Parent, exits).await.unwrap();
        let (child, _) = Actor::spawn_linked(None, Child, (), parent.get_cell()).await.unwrap();
        end(&child);
        let cause = seen.recv().await.unwrap();
        parent.stop(None);
        cause
    }

    #[tokio::test]
    async fn each_way_to_end_is_told_from_the_others() {
        assert_eq!(exit_after(|child| child.kill()).await, ExitCause::Killed);
        assert_eq!(exit_after(|child| child.stop(Some("stop".into()))).await, ExitCause::Requested);
        assert_eq!(exit_after(|child| child.stop(None)).await, ExitCause::Normal);
        let silent = exit_after(|child| child.stop(Some(SILENT.into()))).await;
        assert_eq!(silent, ExitCause::Failed(SILENT.into()));
        let failed = exit_after(|child| child.cast(Order::Fail).unwrap()).await;
        assert_eq!(failed, ExitCause::Failed("broken".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_actor_that_does_not_stop_is_killed() {
        let (child, _) = Actor::spawn(None, Child, ()).await.unwrap();
        child.cast(Order::Wait).unwrap();
        stop_or_kill(child.get_cell(), STOP_GRACE).await;
        assert_eq!(child.get_status(), ractor::ActorStatus::Stopped);
    }
}
