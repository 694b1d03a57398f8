//! Whether a server works on requests while its stream of what it says unasked is open.
//!
//! Some work on one request at a time, and to them an open stream is one: nothing else is answered. Such a server is found out
//! where nothing has been answered since the stream was opened, not even a ping, and something is as soon as it is closed. Who
//! has answered anything beside an open stream is never suspected again.
//!
//! ```text
//! open, unproven ──a request waits──▶ asked (ping) ──silence──▶ closed ──an answer──▶ no stream any more
//!        │ an answer                      │ an answer             │ silence
//!        ▼                                ▼                       ▼
//!      proven ◀───────────────────────────┴────── opened again ◀─ late ──an answer
//! ```

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// How long a request may wait before the server is asked whether it hears anything at all: most answers come sooner, and a
/// listing has ten seconds.
const SUSPECT_AFTER: Duration = Duration::from_secs(3);

/// How long the answer to a ping may take, and how soon an answer comes once the stream is closed that has held it up.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

type Timer = Pin<Box<Sleep>>;

/// What is known of it.
#[derive(Debug, Default)]
pub(super) enum Beside {
    /// It answers while the stream is open, or there is none.
    #[default]
    Proven,
    /// The stream was opened, and nothing has been answered since. The timer runs from the first request.
    Unproven(Option<Timer>),
    /// It was asked.
    Asked(Timer),
    /// The stream was closed.
    Closed(Timer),
    /// Nothing was answered after that either: the stream was not at fault.
    Late,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Ask,
    Close,
    /// The stream is to be opened again.
    Open,
    /// It is asked for no more.
    GiveUp,
}

impl Beside {
    /// The stream was asked for.
    pub fn opened(&mut self) {
        *self = Self::Unproven(None);
    }

    /// What time makes of it; `waits`: requests are under way.
    pub fn poll(&mut self, waits: bool, poller: &mut Context<'_>) -> Option<Next> {
        loop {
            let timer = match self {
                Self::Unproven(None) if waits => {
                    *self = Self::Unproven(Some(Box::pin(sleep(SUSPECT_AFTER))));
                    continue;
                }
                Self::Unproven(Some(timer)) | Self::Asked(timer) | Self::Closed(timer) => timer,
                Self::Proven | Self::Unproven(None) | Self::Late => return None,
            };
            if timer.as_mut().poll(poller).is_pending() {
                return None;
            }
            let again = Box::pin(sleep(ANSWER_WITHIN));
            let (next, then) = match self {
                Self::Unproven(_) => (Some(Next::Ask), Self::Asked(again)),
                Self::Asked(_) => (Some(Next::Close), Self::Closed(again)),
                Self::Proven | Self::Closed(_) | Self::Late => (None, Self::Late),
            };
            *self = then;
            if next.is_some() {
                // The timer that runs now wakes whoever polls again.
                poller.waker().wake_by_ref();
                return next;
            }
        }
    }

    /// The server has answered something.
    pub fn answered(&mut self) -> Option<Next> {
        match std::mem::take(self) {
            Self::Proven | Self::Unproven(_) | Self::Asked(_) => None,
            Self::Closed(_) => Some(Next::GiveUp),
            Self::Late => Some(Next::Open),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::time::Instant;

    use super::*;

    /// What is to be done next while requests wait, and when.
    async fn next(beside: &mut Beside) -> (Option<Next>, u64) {
        let begun = Instant::now();
        let step = poll_fn(|poller| match beside.poll(true, poller) {
            Some(next) => Poll::Ready(Some(next)),
            None if matches!(beside, Beside::Proven | Beside::Late) => Poll::Ready(None),
            None => Poll::Pending,
        });
        (step.await, Instant::now().saturating_duration_since(begun).as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_answers_only_when_its_stream_is_closed_has_none_any_more() {
        let mut beside = Beside::default();
        beside.opened();
        assert_eq!(next(&mut beside).await, (Some(Next::Ask), SUSPECT_AFTER.as_secs()));
        assert_eq!(next(&mut beside).await, (Some(Next::Close), ANSWER_WITHIN.as_secs()));
        assert_eq!(beside.answered(), Some(Next::GiveUp));
        assert!(matches!(beside, Beside::Proven));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_slow_by_itself_gets_its_stream_again_and_is_suspected_no_more() {
        let mut beside = Beside::default();
        beside.opened();
        assert_eq!(next(&mut beside).await.0, Some(Next::Ask));
        assert_eq!(next(&mut beside).await.0, Some(Next::Close));
        assert_eq!(next(&mut beside).await, (None, ANSWER_WITHIN.as_secs()));
        assert_eq!(beside.answered(), Some(Next::Open));
        assert_eq!((beside.answered(), next(&mut beside).await.0), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_answers_a_ping_or_anything_else_keeps_its_stream() {
        let mut beside = Beside::default();
        beside.opened();
        assert_eq!(next(&mut beside).await.0, Some(Next::Ask));
        assert_eq!((beside.answered(), next(&mut beside).await.0), (None, None));
        beside.opened();
        assert_eq!((beside.answered(), next(&mut beside).await.0), (None, None));
    }
}
