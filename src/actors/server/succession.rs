//! What one life of a server leaves to the next one: figures, breaker, subscriptions. A life that is replaced hands them on
//! while it still finishes what it has.

use tokio::time::Instant;

use super::ServerState;
use crate::actors::ledger::{Legacy, Tenure};
use crate::actors::root::messages::Bequest;

impl ServerState {
    /// Another life takes this one's place: it is given what is the server's. What is counted here from now on follows at
    /// the end of this life.
    pub(super) fn hand_over(&mut self) {
        let whole = self.carried.tenure == Tenure::Held;
        let ledger = self.ledger().passed_on();
        self.carried.tenure = Tenure::Passed;
        self.carried.leave(ledger, whole);
    }

    /// Takes what an earlier life left.
    pub(super) fn inherit(&mut self, bequest: Bequest, now: Instant) {
        let Legacy { whole, ledger: left, server: _, incarnation: _ } = bequest.open();
        let brought = if whole && matches!(self.carried.tenure, Tenure::Coming { .. }) {
            self.carried.tenure = Tenure::Held;
            let ledger = self.ledger();
            // What this life has seen of the peer is newer.
            let (known, details) = (ledger.known, ledger.details.take());
            let brought = ledger.succeed(left);
            (ledger.known, ledger.details) = (known.or(ledger.known), details.or(ledger.details.take()));
            ledger.breaker.inherit(now);
            let state = ledger.breaker.state();
            self.meters.shows(state);
            brought
        } else {
            self.ledger().add(left)
        };
        self.obey(now);
        self.note_what_is_told_already(brought);
        self.listening.reconsider();
    }

    /// What should have come did not: this life makes do with what it has.
    pub(super) fn wait_no_longer(&mut self, now: Instant) {
        if let Tenure::Coming { by } = self.carried.tenure
            && by <= now
        {
            tracing::warn!(server = %self.spec.id, "the life before has handed nothing over");
            self.carried.tenure = Tenure::Held;
        }
    }

    /// Does what the host ordered of the breaker, whichever life was told last: one that was late with it has said so to the
    /// host.
    fn obey(&mut self, now: Instant) {
        let held_open = self.numbers.held_open();
        if self.speaks_for_the_server()
            && let Some(transition) = self.ledger().breaker.obey(held_open, now)
        {
            self.announce(transition);
        }
    }

    /// Whether the server's breaker may hold back what this life does not know of yet.
    pub(super) fn is_waiting_for_its_ledger(&self) -> bool {
        matches!(self.carried.tenure, Tenure::Coming { .. })
    }

    /// Whether it speaks for the server: whoever asks a life that has handed over gets no answer, and asks the next one.
    pub(super) fn speaks_for_the_server(&self) -> bool {
        self.carried.tenure != Tenure::Passed
    }

    /// The host has given an order to the breaker: what it decides is later than all that may come from another life.
    pub(super) fn decide(&mut self) {
        if self.is_waiting_for_its_ledger() {
            self.carried.tenure = Tenure::Held;
        }
    }
}
