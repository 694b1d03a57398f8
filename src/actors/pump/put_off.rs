//! Answers that a peer puts off, and gives on the stream of what it says unasked.
//!
//! They belong on the stream of their request, which is asked for again. Some servers send them on whichever stream they have
//! first. What comes there may as well be another client's answer, where a server tells everybody everything; so it counts
//! only for a request whose own stream the peer has ended without the answer. It may come before that end, and is held until
//! then.

use crate::number_map::NumberMap;
use crate::protocol::envelope::Response;

/// Answers that are held; a peer sends few so.
const HELD_MAX: usize = 64;

/// Their size together, in bytes: each may be as large as a message may be.
const HELD_BYTES_MAX: usize = 1 << 20;

/// What is known of one request.
enum Known {
    /// Its stream was ended; the answer may come on another.
    Waits,
    /// What came on another stream while its own was open, and the size of the frame.
    Held(Box<Response>, usize),
}

/// What is known of a link's requests.
#[derive(Default)]
pub(super) struct PutOff {
    known: NumberMap<u64, Known>,
    held: usize,
    bytes: usize,
}

impl PutOff {
    /// The peer put off the answer to a request. Gives it if it came before.
    pub(super) fn put_off(&mut self, id: u64) -> Option<Response> {
        let held = self.forget(id);
        if held.is_none() {
            self.known.insert(id, Known::Waits);
        }
        held
    }

    /// An answer to the request `id`, which is open, came in a frame of so many bytes on the stream of what is said unasked.
    /// Gives it back if it counts.
    pub(super) fn answered(&mut self, id: u64, response: Response, bytes: usize) -> Option<Response> {
        match self.known.get(&id) {
            Some(Known::Waits) => {
                self.known.remove(&id);
                Some(response)
            }
            // The first one counts, as anywhere.
            Some(Known::Held(..)) => None,
            None => {
                if self.held < HELD_MAX && self.bytes.saturating_add(bytes) <= HELD_BYTES_MAX {
                    self.held += 1;
                    self.bytes += bytes;
                    self.known.insert(id, Known::Held(Box::new(response), bytes));
                }
                None
            }
        }
    }

    /// Requests were given up: of others than these nothing is kept.
    pub(super) fn keep(&mut self, is_open: impl Fn(u64) -> bool) {
        let over: Vec<u64> = self.known.keys().copied().filter(|id| !is_open(*id)).collect();
        for id in over {
            self.forget(id);
        }
    }

    /// The request has ended.
    pub(super) fn forget(&mut self, id: u64) -> Option<Response> {
        match self.known.remove(&id)? {
            Known::Waits => None,
            Known::Held(response, bytes) => {
                self.held -= 1;
                self.bytes -= bytes;
                Some(*response)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::RpcError;

    fn answer(text: &str) -> Response {
        Response { id: Some(1), outcome: Err(RpcError { code: 1, message: text.to_owned(), data: None }) }
    }

    fn text(response: Option<Response>) -> Option<String> {
        response.map(|response| response.outcome.unwrap_err().message)
    }

    #[test]
    fn an_answer_counts_once_its_request_is_put_off() {
        let mut put_off = PutOff::default();
        assert_eq!(text(put_off.answered(1, answer("early"), 10)), None, "its own stream is open");
        assert_eq!(text(put_off.answered(1, answer("twice"), 10)), None);
        assert_eq!(text(put_off.put_off(1)).as_deref(), Some("early"));
        assert_eq!(text(put_off.put_off(2)), None);
        assert_eq!(text(put_off.put_off(2)), None, "its stream was asked for again, and ended alike");
        assert_eq!(text(put_off.answered(2, answer("late"), 10)).as_deref(), Some("late"));
    }

    #[test]
    fn a_request_that_has_ended_gives_its_room_back() {
        let mut put_off = PutOff::default();
        put_off.answered(1, answer("large"), HELD_BYTES_MAX);
        put_off.answered(2, answer("none"), 1);
        assert_eq!(text(put_off.put_off(2)), None, "there is no room");
        put_off.forget(1);
        put_off.answered(3, answer("room"), HELD_BYTES_MAX);
        assert_eq!(text(put_off.put_off(3)).as_deref(), Some("room"));
        put_off.put_off(4);
        put_off.answered(5, answer("given up"), HELD_BYTES_MAX);
        put_off.keep(|_| false);
        assert!(put_off.known.is_empty() && put_off.bytes == 0 && put_off.held == 0);
        for id in 10..10 + HELD_MAX as u64 + 1 {
            put_off.answered(id, answer("small"), 1);
        }
        assert_eq!(text(put_off.put_off(10 + HELD_MAX as u64)), None, "nor for one more");
        assert_eq!(text(put_off.put_off(10)).as_deref(), Some("small"));
    }
}
