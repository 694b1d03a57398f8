//! Servers that ask to be left alone for some time.

use super::*;
use crate::refusal::Refusal;

const ONE: &[(&str, &str, &[&str])] = &[("a", "g", &["t"])];

fn overloaded(after_ms: u64) -> AttemptEnd {
    AttemptEnd::Refused(Refusal::new(429, None, Some(Duration::from_millis(after_ms))))
}

#[test]
fn a_server_that_asks_to_be_left_alone_gets_no_call_until_its_time_is_over_and_those_that_wait_then() {
    let mut house = House::new("round-robin", |_| {}).with(ONE, 8);
    let refused = house.call(Call::tool("t"));
    let (server, attempt) = house.last();
    house.end(&server, attempt, overloaded(1_000));
    let other = house.call(Call::tool("t"));
    house.standing("a", up(8));
    house.wait(999);
    assert_eq!(house.out.dispatched.len(), 1, "a report ends no pause");
    assert_eq!(house.routing.next_time(), Some(house.now + Duration::from_millis(1)));
    house.wait(1);
    assert_eq!(house.out.dispatched.len(), 3);
    for n in [1, 2] {
        let (server, attempt) = (house.out.dispatched[n].0.clone(), house.out.dispatched[n].1.attempt);
        house.succeed(&server, attempt);
    }
    for call in [refused, other] {
        assert_eq!(house.answer_of(call).unwrap().as_ref().unwrap().attempts, 1);
    }
}

#[test]
fn while_one_server_is_left_alone_its_replica_takes_the_calls() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    house.call(Call::tool("t"));
    let (first, attempt) = house.last();
    house.end(&first, attempt, overloaded(60_000));
    for _ in 0..4 {
        house.call(Call::tool("t"));
        assert_ne!(house.last().0, first);
    }
}

#[test]
fn a_call_whose_deadline_comes_before_ends_at_once_with_the_time_that_is_left() {
    let mut house = House::new("round-robin", |_| {}).with(ONE, 8);
    let short = || Call::tool("t").timeout(Duration::from_millis(500));
    let refused = house.call(short());
    let (server, attempt) = house.last();
    house.end(&server, attempt, overloaded(1_000));
    let error = house.answer_of(refused).unwrap().as_ref().unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::Refused(_)), "{error}");
    let late = house.call(short());
    let error = house.answer_of(late).unwrap().as_ref().unwrap_err();
    assert_eq!((error.effect(), error.retry_after()), (Effect::NotSent, Some(Duration::from_secs(1))));
}

#[test]
fn a_server_that_says_so_again_and_again_is_asked_as_often_as_a_call_may_be_made() {
    let mut house = House::new("round-robin", |_| {}).with(ONE, 8);
    let call = house.call(Call::tool("t").timeout(Duration::from_secs(100)));
    for asked in 1..=3 {
        assert_eq!(house.out.dispatched.len(), asked);
        let (server, attempt) = house.last();
        house.end(&server, attempt, overloaded(1_000));
        house.wait(1_000);
    }
    let error = house.answer_of(call).unwrap().as_ref().unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::Refused(_)), "{error}");
    assert_eq!(error.effect(), Effect::Rejected);
    assert_eq!((error.attempts(), error.turned_away()), (1, 2));
    assert!(format!("{error:#}").ends_with("(turned away 2 times before)"), "{error:#}");
}

#[test]
fn the_longest_pause_is_bounded_and_the_latest_word_counts_only_if_it_is_longer() {
    let mut house = House::new("round-robin", |_| {}).with(ONE, 8);
    let long = || Call::tool("t").timeout(Duration::from_secs(1_000));
    for _ in 0..2 {
        house.call(long());
    }
    let attempts: Vec<AttemptId> = house.out.dispatched.iter().map(|(_, sent)| sent.attempt).collect();
    house.end("a", attempts[0], overloaded(24 * 3_600_000));
    house.end("a", attempts[1], overloaded(1));
    house.wait(299_999);
    assert_eq!(house.out.dispatched.len(), 2);
    house.wait(1);
    assert_eq!(house.out.dispatched.len(), 4);
    assert_eq!(house.routing.pauses.len(), 0);
}

#[test]
fn a_pause_is_told_again_where_it_became_twice_as_long_as_what_is_left_of_the_one_that_was_told() {
    let mut house = House::new("round-robin", |_| {}).with(ONE, 8);
    for _ in 0..7 {
        house.call(Call::tool("t").timeout(Duration::from_secs(1_000)));
    }
    let attempts: Vec<AttemptId> = house.out.dispatched.iter().map(|(_, sent)| sent.attempt).collect();
    let asked = [999, 4_000, 3_000, 7_999, 8_000, 9_000, 16_000];
    for (attempt, ms) in attempts.into_iter().zip(asked) {
        house.end("a", attempt, overloaded(ms));
    }
    let told = |house: &House| house.out.overloaded.iter().map(Duration::as_secs).collect::<Vec<_>>();
    assert_eq!(
        told(&house),
        [4, 8, 16],
        "less than a second, less than before and a little more are nothing new"
    );
    // When it is over, the next one is news, however short.
    house.wait(16_000);
    let (server, attempt) = house.last();
    house.end(&server, attempt, overloaded(2_000));
    assert_eq!(told(&house), [4, 8, 16, 2]);
}
