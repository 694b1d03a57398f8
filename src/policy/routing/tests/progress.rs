use super::*;
use crate::error::Deadline;
use crate::protocol::notes::ProgressNote;

const SECOND: Duration = Duration::from_secs(1);

fn house(change: impl FnOnce(&mut Settings)) -> House {
    House::new("round-robin", change).with(&[("a", "g", &["t"]), ("b", "g", &["t"])], 4)
}

/// One of whose servers has room for one call.
fn narrow_house() -> House {
    House::new("round-robin", |_| ()).with(&[("a", "g", &["t"])], 1)
}

fn streamed(mut call: Call) -> Call {
    call.streamed = true;
    call
}

impl House {
    fn hear(&mut self, server: &str, attempt: AttemptId, update: Option<Update>) {
        let updates = vec![AttemptUpdate { attempt, update, resets_idle: true }];
        self.routing.heard(&id(server), Incarnation::FIRST, updates, self.now, &mut self.out);
    }

    fn last_interest(&self) -> Interest {
        self.out.dispatched.last().expect("something was dispatched").1.interest
    }

    fn is_idle(&self, call: u64) -> bool {
        matches!(self.error_of(call), CallErrorKind::DeadlineExceeded { deadline: Deadline::Idle, .. })
    }
}

#[test]
fn updates_are_asked_for_only_where_somebody_wants_them() {
    let mut house = house(|_| ());
    house.call(Call::tool("t"));
    assert_eq!(house.last_interest(), Interest::Result);
    house.call(Call::tool("t").idle_timeout(SECOND));
    assert_eq!(house.last_interest(), Interest::Liveness);
    house.call(streamed(Call::tool("t")));
    assert_eq!(house.last_interest(), Interest::Updates);
}

#[test]
fn updates_reach_their_own_call_until_it_is_answered() {
    let mut house = house(|_| ());
    let (one, two) = (house.call(streamed(Call::tool("t"))), house.call(streamed(Call::tool("t"))));
    let [(first, attempt), (second, other)] =
        [0, 1].map(|n| (house.out.dispatched[n].0.clone(), house.out.dispatched[n].1.attempt));
    house.hear(&second, other, Some(Update::Lagged(2)));
    house.hear(&first, attempt, Some(Update::Lagged(1)));
    // Of a server that does not have it, and of a try that was not made.
    house.hear(&second, attempt, Some(Update::Lagged(9)));
    house.hear(&first, AttemptId { number: 7, ..attempt }, Some(Update::Lagged(9)));
    house.succeed(&first, attempt);
    house.hear(&first, attempt, Some(Update::Lagged(9)));
    let told: Vec<(u64, u64)> = house
        .out
        .told
        .iter()
        .map(|(port, update)| match update {
            CallUpdate::Lagged(n) => (*port, *n),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [(two, 2), (one, 1)]);
}

#[test]
fn progress_says_which_server_and_which_of_the_attempts_it_is_of() {
    let mut house = house(|_| ());
    house.call(streamed(Call::tool("t").idempotent()));
    let (first, attempt) = house.last();
    // Refused unread, then lost, then made once more.
    house.routing.refused(&id(&first), Incarnation::FIRST, attempt, house.now, &mut house.out);
    let report =
        |progress| Update::Progress(ProgressNote { token: None, progress, total: None, message: None });
    for _ in 0..2 {
        let (server, attempt) = house.last();
        house.hear(&server, attempt, Some(report(0.5)));
        house.end(&server, attempt, lost(true));
    }
    let told: Vec<(&str, u32)> = house
        .out
        .told
        .iter()
        .map(|(_, update)| match update {
            CallUpdate::Progress(told) => (told.server.as_str(), told.attempt),
            other => panic!("{other:?}"),
        })
        .collect();
    let servers = [1, 2].map(|n| house.out.dispatched[n].0.as_str());
    assert_eq!(told, [(servers[0], 1), (servers[1], 2)]);
}

#[test]
fn a_call_of_which_nothing_is_heard_ends_and_its_server_is_told() {
    let mut house = house(|_| ());
    let call = house.call(Call::tool("t").idle_timeout(SECOND));
    house.wait(999);
    assert!(house.answer_of(call).is_none());
    house.wait(1);
    let told = CallErrorKind::DeadlineExceeded { deadline: Deadline::Idle, timeout: SECOND, sent: true };
    assert_eq!(*house.error_of(call), told);
    assert!(matches!(house.out.cancelled[..], [(_, _, CancelReason::DeadlineExceeded)]));
}

#[test]
fn updates_extend_the_idle_deadline_and_never_the_hard_one() {
    let mut house = house(|_| ());
    let call = house.call(Call::tool("t").idle_timeout(SECOND).timeout(5 * SECOND));
    let (server, attempt) = house.last();
    for _ in 0..8 {
        house.wait(600);
        assert!(house.answer_of(call).is_none());
        house.hear(&server, attempt, None);
    }
    house.wait(200);
    let told = CallErrorKind::DeadlineExceeded { deadline: Deadline::Total, timeout: 5 * SECOND, sent: true };
    assert_eq!(*house.error_of(call), told);
}

#[test]
fn updates_that_do_not_reset_the_idle_timer_extend_nothing() {
    let mut house = house(|_| ());
    let call = house.call(Call::tool("t").idle_timeout(SECOND));
    let (server, attempt) = house.last();
    house.wait(900);
    let updates = vec![AttemptUpdate { attempt, update: None, resets_idle: false }];
    house.routing.heard(&id(&server), Incarnation::FIRST, updates, house.now, &mut house.out);
    house.wait(100);
    assert!(house.is_idle(call));
}

#[test]
fn the_configured_idle_deadline_holds_where_the_call_names_none() {
    let mut house = house(|settings| settings.call_idle_timeout = Some(SECOND));
    let (short, long) = (house.call(Call::tool("t")), house.call(Call::tool("t").idle_timeout(2 * SECOND)));
    house.wait(1000);
    assert!(house.is_idle(short) && house.answer_of(long).is_none());
    house.wait(1000);
    assert!(house.is_idle(long));
}

#[test]
fn time_in_a_queue_is_no_silence() {
    let mut house = narrow_house();
    let (_, queued) = (house.call(Call::tool("t")), house.call(Call::tool("t").idle_timeout(SECOND)));
    house.wait(10_000);
    assert!(house.answer_of(queued).is_none());
    house.succeed_last();
    house.wait(999);
    assert!(house.answer_of(queued).is_none());
    house.wait(1);
    assert!(house.is_idle(queued));
}

#[test]
fn the_next_attempt_has_all_of_the_time() {
    let mut house = house(|_| ());
    let call = house.call(Call::tool("t").idempotent().idle_timeout(SECOND));
    house.wait(900);
    let (server, attempt) = house.last();
    house.end(&server, attempt, lost(true));
    assert_ne!(house.last().1, attempt, "it was not made again");
    house.wait(900);
    assert!(house.answer_of(call).is_none());
    house.wait(100);
    assert!(house.is_idle(call));
}

#[test]
fn either_attempt_of_a_hedged_call_keeps_it_alive() {
    let mut house = house(|_| ());
    // The usual latency has to be known.
    for _ in 0..200 {
        house.call(Call::tool("t").hedged());
        house.wait(1);
        house.succeed_last();
    }
    let call = house.call(Call::tool("t").hedged().idle_timeout(SECOND).timeout(60 * SECOND));
    let (first, attempt) = house.last();
    house.wait(500);
    let (second, hedge) = house.last();
    assert_ne!(first, second, "it was not hedged");
    for n in 0..6 {
        house.wait(900);
        match n % 2 {
            0 => house.hear(&first, attempt, None),
            _ => house.hear(&second, hedge, None),
        }
    }
    assert!(house.answer_of(call).is_none());
    house.wait(1000);
    assert!(house.is_idle(call));
    assert_eq!(house.out.cancelled.len(), 2);
}
