//! Whether a server works on requests while its stream of what it says unasked is open.
//!
//! Some work on one request at a time, and to them an open stream is one: nothing else is answered. Such a server is found out
//! where nothing that was asked since has been answered, not even a ping, and something is as soon as the stream is closed. One
//! that was merely busy with a slow request looks the same once. So the stream is opened a second time, with more patience, and
//! given up if that ends alike. What was asked before the stream proves nothing: it may have been worked on before it.
//!
//! ```text
//! open, unproven ──a request waits──▶ asked (ping) ──silence──▶ closed ──an answer──▶ paused ──time──▶ opened again
//!        │ an answer to                   │ an answer             │ silence                                │ and closed
//!        │ a later request                │ to it                 ▼                                        ▼ again: no
//!        ▼                                │                      late ──an answer──▶ opened again        stream any more
//!      proven ◀───────────────────────────┘
//! ```

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// How long a request may wait before the server is asked whether it hears anything at all: most answers come sooner, and a
/// listing has ten seconds.
const SUSPECT_AFTER: Duration = Duration::from_secs(3);

/// The same the second time, at most. It is twice the time that the server took for its answer the first time: it may be slow.
const SUSPECT_AFTER_MAX: Duration = Duration::from_secs(60);

/// How long the answer to a ping may take, and how soon an answer comes once the stream is closed that has held it up.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How long a server that was suspected goes without the stream: what it was busy with is over by then.
const PAUSE: Duration = Duration::from_secs(30);

type Timer = Pin<Box<Sleep>>;

/// What is known of it.
#[derive(Debug, Default)]
enum State {
    /// It answers while the stream is open, or there is none.
    #[default]
    Proven,
    /// The stream was opened, and nothing that was asked since has been answered. The timer runs from the first request that
    /// waits.
    Unproven(Option<Timer>),
    /// It was asked.
    Asked(Timer),
    /// The stream was closed.
    Closed(Timer),
    /// Nothing was answered after that either: the stream may not be at fault.
    Late,
    /// Something was: the stream is opened again after a while.
    Paused(Timer),
}

/// The watch over one link's stream.
#[derive(Debug)]
pub(super) struct Beside {
    state: State,
    /// The newest request of the time when the stream was asked for.
    newest: u64,
    /// How often the stream was asked for.
    openings: u32,
    /// How long a request may wait.
    patience: Duration,
    /// When the first one began to wait.
    since: Option<Instant>,
    /// The stream was closed for a suspicion before.
    suspected: bool,
}

/// What the server has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// The request with this id.
    Request(u64),
    /// The ping that was sent at this opening.
    Ping(u32),
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// A ping is to be sent, which belongs to this opening.
    Ask(u32),
    Close,
    /// The stream is to be opened again.
    Open,
    /// It is asked for no more.
    GiveUp,
}

impl Default for Beside {
    fn default() -> Self {
        Self {
            state: State::Proven,
            newest: 0,
            openings: 0,
            patience: SUSPECT_AFTER,
            since: None,
            suspected: false,
        }
    }
}

impl Beside {
    /// The stream was asked for, after all requests up to `newest`: their ids grow.
    pub(super) fn opened(&mut self, newest: u64) {
        self.state = State::Unproven(None);
        self.newest = newest;
        self.openings = self.openings.saturating_add(1);
    }

    /// There is no stream, and none is waited for.
    pub(super) fn ended(&mut self) {
        self.state = State::Proven;
    }

    /// What time makes of it; `waits`: requests are under way.
    pub(super) fn poll(&mut self, waits: bool, poller: &mut Context<'_>) -> Option<Next> {
        loop {
            let timer = match &mut self.state {
                State::Unproven(None) if waits => {
                    self.since = Some(Instant::now());
                    self.state = State::Unproven(Some(Box::pin(sleep(self.patience))));
                    continue;
                }
                State::Unproven(Some(timer))
                | State::Asked(timer)
                | State::Closed(timer)
                | State::Paused(timer) => timer,
                State::Proven | State::Unproven(None) | State::Late => return None,
            };
            if timer.as_mut().poll(poller).is_pending() {
                return None;
            }
            let again = Box::pin(sleep(ANSWER_WITHIN));
            let (next, then) = match &self.state {
                State::Unproven(_) => (Some(Next::Ask(self.openings)), State::Asked(again)),
                State::Asked(_) => (Some(Next::Close), State::Closed(again)),
                // Whoever opens it says so.
                State::Paused(_) => (Some(Next::Open), State::Proven),
                State::Proven | State::Closed(_) | State::Late => (None, State::Late),
            };
            self.state = then;
            if next.is_some() {
                // The timer that runs now wakes whoever polls again.
                poller.waker().wake_by_ref();
                return next;
            }
        }
    }

    /// The server has answered something.
    pub(super) fn answered(&mut self, what: Answered) -> Option<Next> {
        let proves = match what {
            Answered::Request(id) => id > self.newest,
            Answered::Ping(opening) => opening == self.openings,
        };
        match std::mem::take(&mut self.state) {
            State::Unproven(_) | State::Asked(_) if proves => None,
            State::Closed(_) | State::Late if self.suspected => Some(Next::GiveUp),
            State::Closed(_) => {
                self.suspect();
                self.state = State::Paused(Box::pin(sleep(PAUSE)));
                None
            }
            State::Late => {
                self.suspect();
                Some(Next::Open)
            }
            as_before @ (State::Proven | State::Unproven(_) | State::Asked(_) | State::Paused(_)) => {
                self.state = as_before;
                None
            }
        }
    }

    /// The stream was closed, and now the server has answered.
    fn suspect(&mut self) {
        self.suspected = true;
        let waited =
            self.since.map_or(Duration::ZERO, |since| Instant::now().saturating_duration_since(since));
        self.patience = waited.saturating_mul(2).clamp(SUSPECT_AFTER, SUSPECT_AFTER_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    /// What is to be done next while requests wait, and after how many seconds.
    async fn next(beside: &mut Beside) -> (Option<Next>, u64) {
        let begun = Instant::now();
        let step = poll_fn(|poller| match beside.poll(true, poller) {
            Some(next) => Poll::Ready(Some(next)),
            None if matches!(beside.state, State::Proven | State::Late) => Poll::Ready(None),
            None => Poll::Pending,
        });
        (step.await, Instant::now().saturating_duration_since(begun).as_secs())
    }

    /// One whose stream was asked for after the request 7, and closed since nothing was answered.
    async fn suspected() -> Beside {
        let mut beside = Beside::default();
        beside.opened(7);
        assert_eq!(next(&mut beside).await, (Some(Next::Ask(1)), SUSPECT_AFTER.as_secs()));
        assert_eq!(next(&mut beside).await, (Some(Next::Close), ANSWER_WITHIN.as_secs()));
        beside
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_answers_only_when_its_stream_is_closed_twice_has_none_any_more() {
        let mut beside = suspected().await;
        assert_eq!(beside.answered(Answered::Request(8)), None);
        assert_eq!(next(&mut beside).await, (Some(Next::Open), PAUSE.as_secs()));
        beside.opened(8);
        assert_eq!(next(&mut beside).await, (Some(Next::Ask(2)), 10), "with twice the patience");
        assert_eq!(next(&mut beside).await, (Some(Next::Close), ANSWER_WITHIN.as_secs()));
        assert_eq!(beside.answered(Answered::Request(9)), Some(Next::GiveUp));
        assert_eq!(next(&mut beside).await.0, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_was_busy_when_its_stream_was_closed_gets_it_again_and_keeps_it() {
        let mut beside = suspected().await;
        assert_eq!(beside.answered(Answered::Ping(1)), None);
        assert_eq!(beside.answered(Answered::Request(8)), None, "what comes in the pause decides nothing");
        assert_eq!(next(&mut beside).await.0, Some(Next::Open));
        beside.opened(8);
        assert_eq!((beside.answered(Answered::Request(9)), next(&mut beside).await.0), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_slow_by_itself_gets_its_stream_again_with_the_patience_that_it_needs() {
        let mut beside = suspected().await;
        assert_eq!(next(&mut beside).await, (None, ANSWER_WITHIN.as_secs()));
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(beside.answered(Answered::Request(8)), Some(Next::Open));
        beside.opened(8);
        assert_eq!(next(&mut beside).await, (Some(Next::Ask(2)), 20), "it took ten seconds");
        assert_eq!((beside.answered(Answered::Request(9)), next(&mut beside).await.0), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_notices_the_end_of_its_stream_late_is_not_taken_for_proven() {
        let mut beside = suspected().await;
        assert_eq!(next(&mut beside).await.0, None);
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(beside.answered(Answered::Request(8)), Some(Next::Open));
        beside.opened(8);
        assert_eq!(next(&mut beside).await, (Some(Next::Ask(2)), SUSPECT_AFTER_MAX.as_secs()));
        assert_eq!(next(&mut beside).await.0, Some(Next::Close));
        assert_eq!(next(&mut beside).await.0, None);
        assert_eq!(beside.answered(Answered::Request(9)), Some(Next::GiveUp));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_answers_a_ping_or_anything_that_was_asked_later_keeps_its_stream() {
        let mut beside = Beside::default();
        beside.opened(7);
        assert_eq!(next(&mut beside).await.0, Some(Next::Ask(1)));
        assert_eq!((beside.answered(Answered::Ping(1)), next(&mut beside).await.0), (None, None));
        beside.opened(8);
        assert_eq!((beside.answered(Answered::Request(9)), next(&mut beside).await.0), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_what_was_asked_before_the_stream_proves_nothing() {
        let mut beside = Beside::default();
        beside.opened(7);
        assert_eq!(beside.answered(Answered::Request(7)), None);
        assert_eq!(next(&mut beside).await.0, Some(Next::Ask(1)), "before the server was asked");
        assert_eq!(beside.answered(Answered::Request(6)), None);
        assert_eq!(next(&mut beside).await.0, Some(Next::Close), "after it");
        assert_eq!(beside.answered(Answered::Request(8)), None);
        assert_eq!(next(&mut beside).await.0, Some(Next::Open));
        beside.opened(8);
        assert_eq!(beside.answered(Answered::Ping(1)), None, "a ping of the time before");
        assert_eq!(next(&mut beside).await.0, Some(Next::Ask(2)));
    }
}
