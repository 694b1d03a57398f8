//! One call with all that is told of it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as Poller, Poll};

use futures_util::Stream;
use tokio::sync::mpsc;

use super::CallFuture;
use crate::call::Reply;
use crate::call_update::CallUpdate;
use crate::error::CallError;

/// What is told of one call as it comes, and at last its answer; see [`Troupe::call_stream`](super::Troupe::call_stream).
/// Dropping it cancels the call, and the server is told.
///
/// It holds 256 reports and log messages that were not read; of what comes beyond them, and of more than a
/// thousand in a second, [`CallUpdate::Lagged`] says how many were lost, at the place where they were; only of a call that ends
/// without its server's answer the last of these counts may be lacking. The answer waits however long it takes to be read.
#[must_use = "a call that is not awaited is cancelled"]
pub struct CallStream {
    updates: mpsc::Receiver<CallUpdate>,
    call: Call,
}

enum Call {
    Open(CallFuture),
    Answered(Result<Reply, CallError>),
    Over,
}

impl CallStream {
    /// Of a call whose updates come out at `updates`. Nothing is done before it is polled.
    pub(super) fn new(call: CallFuture, updates: mpsc::Receiver<CallUpdate>) -> Self {
        Self { updates, call: Call::Open(call) }
    }

    /// What is told next; `None` after the answer. May be dropped at any time without losing anything.
    pub async fn next(&mut self) -> Option<CallUpdate> {
        std::future::poll_fn(|poller| self.poll(poller)).await
    }

    /// The answer alone; what is told before is passed over.
    ///
    /// # Errors
    /// As [`Troupe::call`](super::Troupe::call).
    ///
    /// # Panics
    /// If the answer was read before.
    pub async fn answer(mut self) -> Result<Reply, CallError> {
        loop {
            match self.next().await {
                Some(CallUpdate::Answer(answer)) => return answer,
                Some(CallUpdate::Progress(_) | CallUpdate::Log(_) | CallUpdate::Lagged(_)) => {}
                None => panic!("a call was asked for its answer after that"),
            }
        }
    }

    fn poll(&mut self, poller: &mut Poller<'_>) -> Poll<Option<CallUpdate>> {
        if let Call::Open(call) = &mut self.call
            && let Poll::Ready(answer) = Pin::new(call).poll(poller)
        {
            self.call = Call::Answered(answer);
        }
        if let Call::Open(_) = self.call {
            // A call that was answered with an error may still look for near names: nothing more is told, and its answer comes.
            return match self.updates.poll_recv(poller) {
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
                told @ Poll::Ready(Some(_)) => told,
            };
        }
        // What was told before the answer is there by the time that the answer is. It is not waited for: a task that has
        // used up its time would take the updates for late.
        if let Ok(update) = self.updates.try_recv() {
            return Poll::Ready(Some(update));
        }
        match std::mem::replace(&mut self.call, Call::Over) {
            Call::Answered(answer) => Poll::Ready(Some(CallUpdate::Answer(answer))),
            Call::Open(_) | Call::Over => Poll::Ready(None),
        }
    }
}

impl Stream for CallStream {
    type Item = CallUpdate;

    fn poll_next(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<Option<CallUpdate>> {
        self.poll(poller)
    }
}

impl fmt::Debug for CallStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallStream")
    }
}
