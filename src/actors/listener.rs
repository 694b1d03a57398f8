//! Where the news of one call go: a bounded queue that its stream reads.

use tokio::sync::mpsc;

use crate::news::CallUpdate;

/// News that wait to be read. A caller that does something else for a while misses nothing of a server that reports some
/// steps a second; beyond it what it misses is counted.
pub(crate) const WAITING_MAX: usize = 256;

/// The router's end. However it ends, what was missed is told last: a place of the queue is kept for that.
pub(crate) struct Listener {
    news: mpsc::Sender<CallUpdate>,
    /// News that found no place, which has not been told yet.
    missed: u64,
}

/// A queue for the news of one call.
pub(crate) fn channel() -> (mpsc::Sender<CallUpdate>, mpsc::Receiver<CallUpdate>) {
    mpsc::channel(WAITING_MAX + 1)
}

impl Listener {
    /// Of a queue into which nobody else puts anything.
    pub(crate) fn new(news: mpsc::Sender<CallUpdate>) -> Self {
        Self { news, missed: 0 }
    }

    /// Puts news into the queue, or counts them where it has no room.
    pub(crate) fn tell(&mut self, news: CallUpdate) {
        if self.missed > 0 && self.has_room() {
            self.tell_missed();
        }
        if self.has_room() {
            // The caller may have left; its cancellation is under way.
            let _ = self.news.try_send(news);
        } else {
            self.missed += match news {
                CallUpdate::Lagged(missed) => missed,
                CallUpdate::Progress(_) | CallUpdate::Log(_) | CallUpdate::Answer(_) => 1,
            };
        }
    }

    fn has_room(&self) -> bool {
        self.news.capacity() > 1
    }

    fn tell_missed(&mut self) {
        let _ = self.news.try_send(CallUpdate::Lagged(std::mem::take(&mut self.missed)));
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.missed > 0 {
            self.tell_missed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(news: &mut mpsc::Receiver<CallUpdate>) -> Vec<u64> {
        std::iter::from_fn(|| news.try_recv().ok())
            .map(|news| match news {
                CallUpdate::Lagged(missed) => missed,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn what_finds_no_place_is_counted_and_told_at_its_place() {
        let (sender, mut news) = channel();
        let mut listener = Listener::new(sender);
        // The numbers stand for news.
        (1..=WAITING_MAX as u64 + 7).for_each(|_| listener.tell(CallUpdate::Lagged(1)));
        for _ in 0..3 {
            assert!(news.try_recv().is_ok());
        }
        listener.tell(CallUpdate::Lagged(100));
        assert_eq!(told(&mut news)[WAITING_MAX - 3..], [7, 100]);
    }

    #[test]
    fn what_was_missed_is_told_at_the_end_even_where_nobody_read_anything() {
        let (sender, mut news) = channel();
        let mut listener = Listener::new(sender);
        (0..10_000).for_each(|_| listener.tell(CallUpdate::Lagged(1)));
        drop(listener);
        let told = told(&mut news);
        assert_eq!((told.len(), told.iter().sum::<u64>()), (WAITING_MAX + 1, 10_000));
    }
}
