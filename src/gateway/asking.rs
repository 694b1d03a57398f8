//! What servers have asked of the client, and it has yet to answer.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;

use tokio::sync::oneshot;

use super::channel::{ASKED_MAX, Answered};

/// Requests of servers that are open at one client, by the ids that they have there.
#[derive(Debug, Default)]
pub(super) struct Asking {
    open: BTreeMap<u64, oneshot::Sender<Answered>>,
    last: u64,
}

impl Asking {
    /// Whether the client may be asked more.
    pub(super) fn has_room(&self) -> bool {
        self.open.len() < ASKED_MAX
    }

    /// The client is asked: under the id that is returned.
    pub(super) fn asked(&mut self, port: oneshot::Sender<Answered>) -> u64 {
        self.last = self.last.saturating_add(1);
        self.open.insert(self.last, port);
        self.last
    }

    /// The client answers. What it was not asked, or answers once more, is nothing.
    pub(super) fn answered(&mut self, id: u64, answer: Answered) {
        if let Some(port) = self.open.remove(&id) {
            // Whoever asked may have taken it back in this moment.
            let _ = port.send(answer);
        }
    }

    /// Waits until somebody takes a request back, and forgets it. For ever, where none is open.
    pub(super) async fn taken_back(&mut self) -> u64 {
        let id = poll_fn(|poller| {
            let mut open = self.open.iter_mut();
            let closed = open.find_map(|(id, port)| port.poll_closed(poller).is_ready().then_some(*id));
            closed.map_or(Poll::Pending, Poll::Ready)
        });
        let id = id.await;
        self.open.remove(&id);
        id
    }
}
