//! The events of a troupe, as a host reads them.

use std::fmt;

use tokio::sync::{mpsc, watch};

use crate::actors::events::messages::EventsMsg;
use crate::actors::{CurrentActors, ask};
use crate::event::Event;

/// The events of a troupe, in their order. Reads slowly, misses some: then [`Event::Lagged`] says how many.
pub struct EventStream {
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) current_actors: watch::Receiver<CurrentActors>,
    pub(super) capacity: usize,
}

impl EventStream {
    /// The next event; `None` when the troupe has ended.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.recv().await {
                return Some(event);
            }
            // The events actor has ended. If another one plays, the stream goes on with it.
            self.current_actors.changed().await.ok()?;
            let actor = self.current_actors.borrow_and_update().events.clone()?;
            let (sender, events) = mpsc::channel(self.capacity);
            self.events = events;
            let _ = actor.cast(EventsMsg::Subscribe(sender));
        }
    }
}

impl EventStream {
    /// The events that were told until now and are not read yet, without waiting for more. So after the answer of a call it gives
    /// what happened before that, such as what the server logged.
    pub async fn drain(&mut self) -> Vec<Event> {
        let actor = self.current_actors.borrow().events.clone();
        if let Some(actor) = actor {
            // One that has ended has told all that it had to tell.
            let _ = ask(&actor, EventsMsg::Flush).await;
        }
        std::iter::from_fn(|| self.events.try_recv().ok()).take(self.capacity).collect()
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventStream")
    }
}
