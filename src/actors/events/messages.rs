//! What the events actor is told.

use tokio::sync::mpsc;

use crate::event::Event;

/// What the events actor is told.
pub(crate) enum EventsMsg {
    /// By any actor: something happened.
    Emit(Event),
    /// By a handle: somebody wants to know.
    Subscribe(mpsc::Sender<Event>),
}
