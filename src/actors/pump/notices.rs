//! What a link writes beside requests: answers to the peer, cancellations, pings.
//!
//! What a peer asks is answered at once, and it may ask without reading. So while many such replies wait, the link is read
//! no further: the peer must read first, and the time that it takes for that is watched.
//!
//! Nothing else stops the reading. An honest peer may write a large message before it reads on; if we waited with our reading
//! until it had read a large answer of the host's, each would wait for the other. While many of these wait the peer's
//! further questions are refused.

use std::collections::VecDeque;

use crate::transport::Outbound;

/// Replies that wait before reading stops: as many frames as one turn reads, each of which may ask something.
const REPLIES_MAX: usize = 256;

/// Answers of the host that wait before further questions are refused: no more than there may be replies.
const ANSWERS_MAX: usize = REPLIES_MAX;

/// Their size in bytes: they may be large, and those to questions that are being answered still come.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Where a notice comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cause {
    /// From us: a cancellation or a ping. Our requests bound these.
    Own,
    /// The peer asked what is answered without the host, which costs it nothing.
    Peer,
    /// The host answered a question of the peer's.
    Host,
}

/// Frames of our own that go before requests.
#[derive(Debug, Default)]
pub(super) struct Notices {
    queue: VecDeque<(Cause, Outbound)>,
    /// Replies that wait.
    replies: usize,
    /// Answers of the host that wait.
    answers: usize,
    /// Their bytes.
    answer_bytes: usize,
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
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether so many wait that nothing more is read which could add to them.
    pub(super) fn are_many(&self) -> bool {
        self.replies >= REPLIES_MAX
    }

    /// Whether so many answers of the host wait that no question may add to them.
    pub(super) fn hold_many_answers(&self) -> bool {
        self.answers >= ANSWERS_MAX || self.answer_bytes >= ANSWER_BYTES_MAX
    }

    pub(super) fn push(&mut self, cause: Cause, notice: Outbound) {
        match cause {
            Cause::Own => {}
            Cause::Peer => self.replies += 1,
            Cause::Host => {
                self.answers += 1;
                self.answer_bytes += bytes_of(&notice);
            }
        }
        self.queue.push_back((cause, notice));
    }

    pub(super) fn pop(&mut self) -> Option<Outbound> {
        let (cause, notice) = self.queue.pop_front()?;
        match cause {
            Cause::Own => {}
            Cause::Peer => self.replies -= 1,
            Cause::Host => {
                self.answers -= 1;
                self.answer_bytes -= bytes_of(&notice);
            }
        }
        if self.queue.is_empty() {
            // A flood is over: its memory is not kept for a link that idles.
            self.queue.shrink_to(REPLIES_MAX / 8);
        }
        Some(notice)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn many_replies_stop_the_reading_until_one_has_left() {
        let mut notices = Notices::default();
        notices.push(Cause::Peer, Outbound::Notice(Bytes::from_static(b"first")));
        (1..REPLIES_MAX).for_each(|_| notices.push(Cause::Peer, Outbound::Ping));
        assert_eq!((notices.are_many(), notices.hold_many_answers()), (true, false));
        assert_eq!(notices.pop(), Some(Outbound::Notice(Bytes::from_static(b"first"))));
        assert!(!notices.are_many());
        while notices.pop().is_some() {}
        assert_eq!((notices.replies, notices.is_empty()), (0, true));
    }

    #[test]
    fn answers_of_the_host_and_what_is_our_own_stop_no_reading() {
        let mut notices = Notices::default();
        (0..2 * REPLIES_MAX).for_each(|_| notices.push(Cause::Own, Outbound::Ping));
        notices.push(Cause::Host, Outbound::Notice(Bytes::from(vec![b' '; ANSWER_BYTES_MAX])));
        assert_eq!((notices.are_many(), notices.hold_many_answers()), (false, true));
        while notices.pop().is_some() {}
        assert_eq!((notices.hold_many_answers(), notices.answer_bytes), (false, 0));
        (0..ANSWERS_MAX).for_each(|_| notices.push(Cause::Host, Outbound::Notice(Bytes::new())));
        assert_eq!((notices.are_many(), notices.hold_many_answers()), (false, true));
    }
}
