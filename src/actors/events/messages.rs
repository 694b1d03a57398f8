//! What the events actor is told.

use tokio::sync::{mpsc, oneshot};

use crate::event::Event;

/// What the events actor is told.
pub(crate) enum EventsMsg {
    /// By any actor: something happened.
    Emit(Event),
    /// By a handle: somebody wants to know.
    Subscribe(mpsc::Sender<Event>),
    /// By a handle: what was told before this is to be handed on first.
    Flush(oneshot::Sender<()>),
}
