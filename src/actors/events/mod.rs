//! EventsActor: owns the subscribers of the event stream.

pub(crate) mod messages;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use self::messages::EventsMsg;
use crate::event::Event;

/// One subscriber and what it missed.
struct Subscriber {
    events: mpsc::Sender<Event>,
    missed: u64,
}

impl Subscriber {
    /// Hands on an event, or counts it where the subscriber has no room. `false` if the subscriber is gone.
    fn tell(&mut self, event: &Event) -> bool {
        if self.missed > 0 {
            match self.events.try_send(Event::Lagged { missed: self.missed }) {
                Ok(()) => self.missed = 0,
                Err(TrySendError::Full(_)) => {
                    self.missed += 1;
                    return true;
                }
                Err(TrySendError::Closed(_)) => return false,
            }
        }
        match self.events.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.missed += 1;
                true
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }
}

/// Fans events out; a slow subscriber loses events and is told how many, and holds up nobody.
pub(crate) struct EventsActor;

/// The subscribers.
pub(crate) struct EventsState {
    subscribers: Vec<Subscriber>,
}

impl Actor for EventsActor {
    type Msg = EventsMsg;
    type State = EventsState;
    /// Who hears everything from the first event on.
    type Arguments = Option<mpsc::Sender<Event>>;

    async fn pre_start(
        &self,
        _: ActorRef<EventsMsg>,
        first: Option<mpsc::Sender<Event>>,
    ) -> Result<EventsState, ActorProcessingErr> {
        let subscribers = first.into_iter().map(|events| Subscriber { events, missed: 0 }).collect();
        Ok(EventsState { subscribers })
    }

    async fn handle(
        &self,
        _: ActorRef<EventsMsg>,
        message: EventsMsg,
        state: &mut EventsState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            EventsMsg::Emit(event) => {
                match &event {
                    // Operators are to see it who do not follow what happens.
                    Event::LoosePermissions(_) => tracing::warn!(target: "mcp_troupe::events", "{event}"),
                    _ => tracing::info!(target: "mcp_troupe::events", "{event}"),
                }
                state.subscribers.retain_mut(|subscriber| subscriber.tell(&event));
            }
            EventsMsg::Subscribe(events) => {
                state.subscribers.retain(|subscriber| !subscriber.events.is_closed());
                state.subscribers.push(Subscriber { events, missed: 0 });
            }
            // It is all done in the order in which it was told.
            EventsMsg::Flush(port) => _ = port.send(()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: usize) -> Event {
        Event::StrategyChanged { strategy: n.to_string() }
    }

    #[test]
    fn a_slow_subscriber_is_told_how_much_it_missed() {
        let (events, mut seen) = mpsc::channel(2);
        let mut subscriber = Subscriber { events, missed: 0 };
        for n in 0..5 {
            assert!(subscriber.tell(&event(n)));
        }
        assert_eq!(seen.try_recv().unwrap(), event(0));
        assert_eq!(seen.try_recv().unwrap(), event(1));
        assert!(subscriber.tell(&event(5)));
        assert_eq!(seen.try_recv().unwrap(), Event::Lagged { missed: 3 });
        assert_eq!(seen.try_recv().unwrap(), event(5));
    }

    #[test]
    fn a_subscriber_that_left_is_forgotten() {
        let (events, seen) = mpsc::channel(2);
        let mut subscriber = Subscriber { events, missed: 0 };
        drop(seen);
        assert!(!subscriber.tell(&event(0)));
    }
}
