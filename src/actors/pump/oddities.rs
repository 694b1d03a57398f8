//! What a peer should not send: how much of it there was, and how much is borne.

use tokio::time::Instant;

use crate::error::RpcError;
use crate::json::RawJson;
use crate::peer_text::{TEXT_BYTES_MAX, cut};
use crate::policy::rate::{Allowance, Rate};

/// Frames that are no messages and are passed over. Programs print where only messages belong: a log line, a stack trace, a
/// table of some thousand rows at once, a progress bar. Passing over one costs next to nothing; what comes faster for
/// long is no server that also prints, and is given up within seconds.
const NOISE: Rate = Rate::per_second(1_000, 10_000);

/// So many of them with no message in between end the link at any rate: this peer speaks another language. As many as
/// a slower flood brings in some minutes.
const NOISE_IN_A_ROW_MAX: u32 = 100_000;

/// The part of a foreign id that is told, in bytes: enough to see of what kind it is.
const ID_TOLD_MAX: usize = 64;

/// An error that names no request.
pub(super) fn error_to_nobody(error: RpcError) -> String {
    let RpcError { code, message, .. } = error;
    let error = RpcError { code, message: cut(message, TEXT_BYTES_MAX), data: None };
    format!("an error that names no request: {error}")
}

/// An answer to an id of a kind that is never given.
pub(super) fn foreign_answer(id: &RawJson) -> String {
    let told = id.as_str();
    let end = (0..=told.len().min(ID_TOLD_MAX)).rev().find(|end| told.is_char_boundary(*end));
    format!(
        "an answer to the id {}, which no request has: its ids are numbers",
        &told[..end.unwrap_or_default()]
    )
}

/// Frames of a peer that are no messages.
#[derive(Debug)]
pub(super) struct Noise {
    allowance: Allowance,
    in_a_row: u32,
}

impl Noise {
    pub(super) fn new(now: Instant) -> Self {
        Self { allowance: Allowance::new(NOISE, now), in_a_row: 0 }
    }

    /// A message came: the peer speaks our language.
    pub(super) fn message_came(&mut self) {
        self.in_a_row = 0;
    }

    /// Something came that is none.
    ///
    /// # Errors
    /// Why the peer is given up.
    pub(super) fn hear(&mut self, now: Instant) -> Result<(), String> {
        self.in_a_row += 1;
        if !self.allowance.take(now) {
            return Err(format!("it sent more than {} frames at once that were no messages", NOISE.burst));
        }
        if self.in_a_row >= NOISE_IN_A_ROW_MAX {
            return Err(format!("{NOISE_IN_A_ROW_MAX} frames in a row were no messages"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::actors::pump::messages::Violations;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn many_violations_are_a_count_and_the_words_of_the_first() {
        let mut violations = Violations::default();
        violations.note(|| "x".repeat(1 << 20));
        (0..1000).for_each(|_| violations.note(|| unreachable!("words of a later one")));
        assert_eq!((violations.count, violations.first.len()), (1001, TEXT_BYTES_MAX));
    }

    #[test]
    fn a_table_that_is_printed_and_a_steady_chatter_are_borne_and_a_flood_is_not() {
        let start = Instant::now();
        let mut noise = Noise::new(start);
        assert!((0..5_000).all(|_| noise.hear(start).is_ok()));
        noise.message_came();
        let later = start + Duration::from_secs(60);
        assert!((0..90_000).all(|line| noise.hear(later + line * MS).is_ok()));
        let mut flooded = Noise::new(start);
        // Ten a millisecond.
        let given_up = (0..100_000).find(|line| flooded.hear(start + *line / 10 * MS).is_err());
        assert!(given_up.is_some_and(|line| line < 12_000), "{given_up:?}");
    }

    #[test]
    fn a_peer_that_says_nothing_else_is_given_up_at_any_rate() {
        let start = Instant::now();
        let mut noise = Noise::new(start);
        let given_up = (1..).find(|line| noise.hear(start + *line * 2 * MS).is_err());
        assert_eq!(given_up, Some(NOISE_IN_A_ROW_MAX));
    }

    #[test]
    fn what_is_told_of_an_error_or_an_id_is_short() {
        let id = RawJson::from_text(format!("\"{}\"", "ü".repeat(1 << 20))).unwrap();
        assert!(foreign_answer(&id).len() < 200);
        let error = RpcError { code: 1, message: "x".repeat(1 << 20), data: Some(id) };
        assert!(error_to_nobody(error).len() < TEXT_BYTES_MAX + 200);
    }
}
