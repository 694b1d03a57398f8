//! Where the updates of one call go: a bounded queue that its stream reads.

use tokio::sync::mpsc;

use crate::call_update::{CallUpdate, LastUpdates};

/// Updates that wait to be read. A caller that does something else for a while misses nothing of a server that reports some
/// steps a second; beyond it what it misses is counted.
pub(crate) const WAITING_MAX: usize = 256;

/// Places of the queue that are kept for its end: how many were missed, and the last of each kind.
const KEPT: usize = 1 + LastUpdates::<CallUpdate>::KINDS;

/// The router's end of the queue. When it is dropped, the reader still gets how many updates were missed, and the last of each kind.
pub(crate) struct UpdateQueue {
    updates: mpsc::Sender<CallUpdate>,
    /// How many updates found no place, which has not been told yet.
    missed: u64,
    /// The last of those.
    last: LastUpdates<CallUpdate>,
}

/// A queue for the updates of one call.
pub(crate) fn channel() -> (mpsc::Sender<CallUpdate>, mpsc::Receiver<CallUpdate>) {
    mpsc::channel(WAITING_MAX + KEPT)
}

impl UpdateQueue {
    /// Of a queue into which nobody else puts anything.
    pub(crate) fn new(updates: mpsc::Sender<CallUpdate>) -> Self {
        Self { updates, missed: 0, last: LastUpdates::new() }
    }

    /// Puts an update into the queue, or counts it where there is no room.
    pub(crate) fn tell(&mut self, update: CallUpdate) {
        let places = 1 + usize::from(self.missed > 0);
        if self.updates.capacity() >= KEPT.saturating_add(places) {
            self.missed += u64::from(self.last.overtaken_by(&update));
            self.tell_missed();
            // The caller may have left; its cancellation is under way.
            let _ = self.updates.try_send(update);
        } else {
            self.missed += match update {
                CallUpdate::Lagged(missed) => missed,
                CallUpdate::Progress(_) | CallUpdate::Log(_) => u64::from(self.last.keep(update)),
                CallUpdate::Answer(_) => 1,
            };
        }
    }

    fn tell_missed(&mut self) {
        if self.missed > 0 {
            let _ = self.updates.try_send(CallUpdate::Lagged(std::mem::take(&mut self.missed)));
        }
    }
}

impl Drop for UpdateQueue {
    fn drop(&mut self) {
        self.tell_missed();
        for last in self.last.take() {
            let _ = self.updates.try_send(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call_update::{LogLevel, LogMessage, Progress};

    fn told(updates: &mut mpsc::Receiver<CallUpdate>) -> Vec<u64> {
        std::iter::from_fn(|| updates.try_recv().ok())
            .map(|update| match update {
                CallUpdate::Lagged(missed) => missed,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn what_finds_no_place_is_counted_and_told_at_its_place() {
        let (sender, mut updates) = channel();
        let mut queue = UpdateQueue::new(sender);
        // The numbers stand for updates.
        (1..=WAITING_MAX as u64 + 7).for_each(|_| queue.tell(CallUpdate::Lagged(1)));
        for _ in 0..3 {
            assert!(updates.try_recv().is_ok());
        }
        queue.tell(CallUpdate::Lagged(100));
        assert_eq!(told(&mut updates)[WAITING_MAX - 3..], [7, 100]);
    }

    #[test]
    fn the_last_of_each_kind_is_told_at_the_end_in_their_order_and_however_full_the_queue_is() {
        let (sender, mut updates) = channel();
        let mut queue = UpdateQueue::new(sender);
        let server = crate::id::ServerId::new("s").unwrap();
        for step in 0..1_000 {
            let server = &server;
            let progress = Progress {
                server: server.clone(),
                attempt: 1,
                progress: f64::from(step),
                total: None,
                message: None,
            };
            queue.tell(CallUpdate::Progress(progress));
            if step == 900 {
                let data = crate::json::RawJson::from_text("\"nearly\"").unwrap();
                let level = LogLevel::Info;
                let log = LogMessage { server: server.clone(), attempt: 1, level, logger: None, data };
                queue.tell(CallUpdate::Log(log));
            }
        }
        drop(queue);
        let mut missed = 0;
        let mut told = Vec::new();
        while let Ok(update) = updates.try_recv() {
            match update {
                CallUpdate::Progress(progress) => told.push(progress.progress.to_string()),
                CallUpdate::Log(log) => told.push(log.data.as_str().to_owned()),
                CallUpdate::Lagged(count) => missed += count,
                CallUpdate::Answer(_) => unreachable!(),
            }
        }
        assert_eq!(told[told.len() - 3..], ["255", "\"nearly\"", "999"]);
        assert_eq!(told.len() as u64 + missed, 1_001);
    }

    #[test]
    fn an_update_that_finds_room_takes_the_place_of_the_last_of_its_own_kind_alone() {
        let (sender, mut updates) = channel();
        let mut queue = UpdateQueue::new(sender);
        let server = crate::id::ServerId::new("s").unwrap();
        let log = |text: &str| {
            let data = crate::json::RawJson::from_text(text).unwrap();
            let (server, level) = (server.clone(), LogLevel::Info);
            CallUpdate::Log(LogMessage { server, attempt: 1, level, logger: None, data })
        };
        for step in 0..1_000 {
            let server = server.clone();
            let progress = f64::from(step);
            queue.tell(CallUpdate::Progress(Progress {
                server,
                attempt: 1,
                progress,
                total: None,
                message: None,
            }));
        }
        queue.tell(log("1"));
        (0..5).for_each(|_| drop(updates.try_recv().unwrap()));
        queue.tell(log("2"));
        drop(queue);
        let rest: Vec<String> = std::iter::from_fn(|| updates.try_recv().ok())
            .map(|update| match update {
                CallUpdate::Progress(progress) => progress.progress.to_string(),
                CallUpdate::Log(log) => log.data.as_str().to_owned(),
                CallUpdate::Lagged(missed) => format!("{missed} missed"),
                CallUpdate::Answer(_) => unreachable!(),
            })
            .collect();
        // 743 reports, and the first log message.
        assert_eq!(rest[rest.len() - 3..], ["744 missed", "2", "999"]);
    }

    #[test]
    fn what_was_missed_is_told_at_the_end_even_where_nobody_read_anything() {
        let (sender, mut updates) = channel();
        let mut queue = UpdateQueue::new(sender);
        (0..10_000).for_each(|_| queue.tell(CallUpdate::Lagged(1)));
        drop(queue);
        let told = told(&mut updates);
        assert_eq!((told.len(), told.iter().sum::<u64>()), (WAITING_MAX + 1, 10_000));
    }
}
