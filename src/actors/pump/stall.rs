//! How long a peer takes for what was written: a large message on a slow line may take minutes, as long as it moves.

use std::pin::Pin;
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// Runs while something that was written is not taken, and anew whenever some of it was.
#[derive(Default)]
pub(super) struct Stall(Option<Waiting>);

struct Waiting {
    /// How much had been taken when the time began.
    taken: u64,
    until: Pin<Box<Sleep>>,
}

/// What a look at the peer's reading finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// It goes on.
    Moves,
    /// Nothing was taken since the last look, and the time is not over.
    Rests,
    /// Nothing was taken for too long.
    Stopped,
}

impl Stall {
    /// All was taken.
    pub(super) fn over(&mut self) {
        self.0 = None;
    }

    /// Something still waits; `taken` grows with what is taken. The task is woken when `limit` is over.
    pub(super) fn watch(&mut self, taken: u64, limit: Duration, poller: &mut Poller<'_>) -> Reading {
        let waiting = self.0.get_or_insert_with(|| Waiting { taken, until: Box::pin(sleep(limit)) });
        let moved = std::mem::replace(&mut waiting.taken, taken) != taken;
        if moved {
            waiting.until.set(sleep(limit));
        }
        match (waiting.until.as_mut().poll(poller), moved) {
            (Poll::Ready(()), _) => Reading::Stopped,
            (Poll::Pending, true) => Reading::Moves,
            (Poll::Pending, false) => Reading::Rests,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::{Instant, advance};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    async fn look(stall: &mut Stall, taken: u64) -> Reading {
        poll_fn(|poller| Poll::Ready(stall.watch(taken, LIMIT, poller))).await
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_begins_anew_with_every_byte_and_ends_without_any() {
        let mut stall = Stall::default();
        assert_eq!(look(&mut stall, 0).await, Reading::Rests);
        for taken in 1..20 {
            advance(LIMIT - Duration::from_secs(1)).await;
            assert_eq!(look(&mut stall, taken).await, Reading::Moves);
        }
        let begun = Instant::now();
        let ended = poll_fn(|poller| match stall.watch(19, LIMIT, poller) {
            Reading::Stopped => Poll::Ready(Instant::now()),
            Reading::Moves | Reading::Rests => Poll::Pending,
        });
        let took = ended.await.saturating_duration_since(begun);
        assert!(took >= LIMIT && took < LIMIT + Duration::from_secs(1), "{took:?}");
        stall.over();
        assert_eq!(look(&mut stall, 19).await, Reading::Rests);
    }
}
