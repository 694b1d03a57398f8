//! What a link writes beside requests: answers to the peer, cancellations, pings.
//!
//! What a peer asks is answered at once, and it may ask without reading. So while many answers wait, the link is read no
//! further: the peer must read first, and the time that it takes for that is watched.

use std::collections::VecDeque;

use crate::transport::Outbound;

/// Notices that wait before reading stops: as many frames as one turn reads, each of which may ask something.
const NOTICES_MAX: usize = 256;

/// Their size in bytes: answers of the host may be large.
const BYTES_MAX: usize = 1 << 20;

/// Frames of our own that go before requests.
#[derive(Debug, Default)]
pub(super) struct Notices {
    queue: VecDeque<Outbound>,
    bytes: usize,
}

/// The size of a notice's message.
fn bytes_of(notice: &Outbound) -> usize {
    match notice {
        Outbound::Notice(frame) | Outbound::Request { frame, .. } => frame.len(),
        Outbound::Cancel { frame, .. } => frame.as_ref().map_or(0, bytes::Bytes::len),
        Outbound::Ping => 0,
    }
}

impl Notices {
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether so many wait that nothing more is read which could add to them.
    pub fn are_many(&self) -> bool {
        self.queue.len() >= NOTICES_MAX || self.bytes >= BYTES_MAX
    }

    pub fn push(&mut self, notice: Outbound) {
        self.bytes += bytes_of(&notice);
        self.queue.push_back(notice);
    }

    pub fn pop(&mut self) -> Option<Outbound> {
        let notice = self.queue.pop_front()?;
        self.bytes -= bytes_of(&notice);
        if self.queue.is_empty() {
            // A flood is over: its memory is not kept for a link that idles.
            self.queue.shrink_to(NOTICES_MAX / 8);
        }
        Some(notice)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn few_large_ones_are_many_as_well_as_many_small_ones_and_they_leave_in_order() {
        let mut notices = Notices::default();
        (0..NOTICES_MAX).for_each(|_| notices.push(Outbound::Ping));
        assert!(notices.are_many());
        assert_eq!(notices.pop(), Some(Outbound::Ping));
        assert!(!notices.are_many());
        notices.push(Outbound::Notice(Bytes::from(vec![b' '; BYTES_MAX])));
        assert!(notices.are_many());
        while !notices.is_empty() {
            notices.pop();
        }
        assert_eq!((notices.are_many(), notices.bytes), (false, 0));
    }
}
