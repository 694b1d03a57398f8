//! Attempts after the first.

use super::*;
use crate::refusal::Refusal;

#[test]
fn an_unsent_call_moves_to_another_server_and_is_no_attempt() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let call = house.call(Call::tool("t"));
    let (first, attempt) = house.last();
    house.end(&first, attempt, lost(false));
    let (second, attempt) = house.last();
    assert_ne!(first, second);
    house.succeed(&second, attempt);
    assert_eq!(house.answer_of(call).unwrap().as_ref().unwrap().attempts, 1);
}

#[test]
fn a_sent_call_is_retried_only_if_it_was_declared_safe() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let plain = house.call(Call::tool("t"));
    let (server, attempt) = house.last();
    house.end(&server, attempt, lost(true));
    let error = house.answer_of(plain).unwrap().as_ref().unwrap_err();
    assert_eq!((error.effect(), error.attempts()), (Effect::Unknown, 1));

    let safe = house.call(Call::tool("t").idempotent());
    let (first, attempt) = house.last();
    house.end(&first, attempt, lost(true));
    let (second, attempt) = house.last();
    assert_ne!(first, second, "the server that lost it is passed over");
    house.succeed(&second, attempt);
    assert_eq!(house.answer_of(safe).unwrap().as_ref().unwrap().attempts, 2);
}

#[test]
fn a_sent_call_that_finds_no_second_server_does_not_end_as_unsent() {
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["t"])], 8);
    let call = house.call(Call::tool("t").idempotent());
    let (server, attempt) = house.last();
    house.routing.standing(&id(&server), Incarnation::FIRST, down(), house.now, &mut house.out);
    house.end(&server, attempt, lost(true));
    let error = house.answer_of(call).unwrap().as_ref().unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::Unavailable { .. }), "{error}");
    assert_eq!((error.effect(), error.attempts()), (Effect::Unknown, 1));
}

#[test]
fn the_second_retry_waits_and_the_attempts_end() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let call = house.call(Call::tool("t").idempotent());
    for retry in 0..2 {
        let (server, attempt) = house.last();
        house.end(&server, attempt, lost(true));
        assert_eq!(house.out.dispatched.len(), 2, "the first retry is at once, retry {retry} is not");
    }
    house.wait(50);
    assert_eq!(house.out.dispatched.len(), 3);
    let (server, attempt) = house.last();
    house.end(&server, attempt, lost(true));
    let error = house.answer_of(call).unwrap().as_ref().unwrap_err();
    assert_eq!(error.attempts(), 3);
    assert_eq!(error.earlier_servers().len(), 2);
}

#[test]
fn a_retry_that_could_only_come_after_the_deadline_is_not_waited_for() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let call = house.call(Call::tool("t").idempotent().timeout(Duration::from_millis(20)));
    for _ in 0..2 {
        let (server, attempt) = house.last();
        house.end(&server, attempt, lost(true));
    }
    assert!(matches!(house.error_of(call), CallErrorKind::ConnectionLost { sent: true, .. }));
}

#[test]
fn retries_end_with_the_budget() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    for _ in 0..200 {
        house.call(Call::tool("t").idempotent());
        let (server, attempt) = house.last();
        house.end(&server, attempt, lost(true));
        house.routing.end_all(house.now, &mut house.out);
        house.routing.draining = false;
    }
    let stats = house.routing.stats(house.now);
    assert!(stats.retries < 60 && stats.retries_refused > 0, "{stats:?}");
}

fn broken() -> AttemptEnd {
    AttemptEnd::Rpc(RpcError { code: RpcError::INTERNAL_ERROR, message: "broken".into(), data: None })
}

#[test]
fn a_safe_call_that_one_server_fails_is_answered_by_another() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let call = house.call(Call::tool("t").idempotent());
    let (first, attempt) = house.last();
    house.end(&first, attempt, broken());
    let second = house.succeed_last();
    let reply = house.answer_of(call).unwrap().as_ref().unwrap();
    assert_eq!((reply.server.as_str(), reply.attempts), (second.as_str(), 2));
    assert_eq!(reply.earlier_servers, [id(&first)]);
}

#[test]
fn a_call_that_its_only_server_fails_is_not_tried_there_again() {
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["t"])], 8);
    let call = house.call(Call::tool("t").idempotent());
    let (server, attempt) = house.last();
    house.end(&server, attempt, broken());
    assert!(matches!(house.error_of(call), CallErrorKind::Rpc(_)));
}

#[test]
fn the_callers_own_mistake_is_not_repeated_elsewhere() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let call = house.call(Call::tool("t").idempotent());
    let (server, attempt) = house.last();
    let wrong = RpcError { code: RpcError::INVALID_PARAMS, message: "no".into(), data: None };
    house.end(&server, attempt, AttemptEnd::Rpc(wrong));
    assert!(matches!(house.error_of(call), CallErrorKind::Rpc(_)));
}

#[test]
fn the_operators_list_names_tools_bare_or_with_their_group() {
    for (declared, repeated) in [("t", true), ("g/t", true), ("other/t", false), ("u", false)] {
        let settings = |settings: &mut Settings| settings.retry.idempotent_tools = vec![declared.to_owned()];
        let mut house = House::new("round-robin", settings).with(TWO, 8);
        let call = house.call(Call::tool("g/t"));
        let (server, attempt) = house.last();
        house.end(&server, attempt, lost(true));
        assert_eq!(house.answer_of(call).is_none(), repeated, "{declared}");
    }
}

#[test]
fn what_is_declared_of_one_groups_tool_is_not_so_of_another_groups_whatever_becomes_of_the_server() {
    let settings = |settings: &mut Settings| settings.retry.idempotent_tools = vec!["files/t".to_owned()];
    let servers: &[(&str, &str, &[&str])] = &[("a", "g", &["t"]), ("b", "g", &["t"]), ("f", "files", &["t"])];
    let described = |server: &str, group: &str| {
        let spec = Server::custom(server).group(group);
        Arc::new(spec.settle(&Settings::default(), 0).unwrap())
    };
    for fate in ["it left", "it is of the other group", "its next life is of the other group"] {
        let mut house = House::new("round-robin", settings).with(servers, 8);
        let call = house.call(Call::tool("t").group("g").timeout(Duration::from_secs(60)));
        let (server, attempt) = house.last();
        let now = house.now;
        match fate {
            "it left" => house.routing.left(&id(&server), now, &mut house.out),
            "it is of the other group" => {
                house.routing.amended(described(&server, "files"), now, &mut house.out);
                house.end(&server, attempt, lost(true));
            }
            _ => {
                let (spec, handle) = (described(&server, "files"), Some(server.clone()));
                house.routing.replaced(spec, Incarnation(2), handle, up(8), now, &mut house.out);
                house.end(&server, attempt, lost(true));
            }
        }
        assert!(house.answer_of(call).is_some_and(Result::is_err), "{fate}: it may have been carried out");
        assert_eq!(house.out.dispatched.len(), 1, "{fate}");
    }
}

/// A house that knows that calls of `t` take 10 ms.
fn paced(change: impl FnOnce(&mut Settings)) -> House {
    let mut house = House::new("round-robin", change).with(TWO, 8);
    let group = crate::id::GroupId::new("g").unwrap();
    for _ in 0..100 {
        house.routing.hedge_delays.observe(&group, &"t".into(), Duration::from_millis(10), house.now);
    }
    house
}

#[test]
fn a_slow_call_is_hedged_on_another_server_and_the_loser_called_off() {
    let mut house = paced(|_| {});
    let call = house.call(Call::tool("t").hedged());
    let (first, slow) = house.last();
    house.wait(5);
    assert_eq!(house.out.dispatched.len(), 1, "it is not slow yet");
    house.wait(10);
    let (second, fast) = house.last();
    assert_ne!(first, second);
    house.succeed(&second, fast);
    let reply = house.answer_of(call).unwrap().as_ref().unwrap();
    assert_eq!((reply.server.as_str(), reply.attempts), (second.as_str(), 2));
    assert_eq!(house.out.cancelled, [(first.clone(), slow, CancelReason::AnsweredElsewhere)]);
    house.succeed(&first, slow);
    let stats = house.routing.stats(house.now);
    assert_eq!((stats.hedges, stats.hedges_won, stats.late_answers, stats.in_flight), (1, 1, 1, 0));
}

#[test]
fn the_first_attempt_may_still_win() {
    let mut house = paced(|_| {});
    let call = house.call(Call::tool("t").hedged());
    let (first, slow) = house.last();
    house.wait(15);
    let (second, hedge) = house.last();
    house.succeed(&first, slow);
    assert_eq!(house.answer_of(call).unwrap().as_ref().unwrap().server, first.as_str());
    assert_eq!(house.out.cancelled, [(second, hedge, CancelReason::AnsweredElsewhere)]);
    assert_eq!(house.routing.stats(house.now).hedges_won, 0);
}

#[test]
fn a_hedged_call_fails_only_when_both_attempts_have() {
    for first_goes_first in [true, false] {
        let mut house = paced(|settings| settings.retry.attempts_max = 2);
        let call = house.call(Call::tool("t").hedged());
        let first = house.last();
        house.wait(15);
        let second = house.last();
        let (one, other) = if first_goes_first { (first, second) } else { (second, first) };
        house.end(&one.0, one.1, lost(true));
        assert!(house.answer_of(call).is_none());
        house.end(&other.0, other.1, broken());
        let error = house.answer_of(call).unwrap().as_ref().unwrap_err();
        assert!(matches!(error.kind(), CallErrorKind::Rpc(_)), "{error}");
        assert_eq!((error.attempts(), error.earlier_servers()), (2, &[id(&one.0)][..]));
    }
}

#[test]
fn a_hedge_is_paid_from_the_budget() {
    let mut house = paced(|settings| {
        settings.retry.budget_ratio = 0.1;
        settings.retry.budget_min_per_second = 0;
    });
    for _ in 0..100 {
        house.call(Call::tool("t").hedged().timeout(Duration::from_millis(40)));
        house.wait(20);
        house.wait(30);
    }
    let stats = house.routing.stats(house.now);
    assert_eq!(stats.hedges, 10, "one call of ten");
    assert_eq!(stats.in_flight, 0);
}

#[test]
fn a_hedge_that_finds_no_server_costs_nothing() {
    let mut house = paced(|_| {});
    house.call(Call::tool("t").hedged());
    let other = if house.last().0 == "a" { "b" } else { "a" };
    house.out.gone.push(other.to_owned());
    let before = house.routing.budget.balance(house.now);
    house.wait(100);
    assert_eq!((house.out.dispatched.len(), house.routing.stats(house.now).hedges), (1, 0));
    assert_eq!(house.routing.budget.balance(house.now), before);
}

#[test]
fn a_hedge_without_a_budget_is_a_mistake_that_is_told() {
    let mut house = paced(|settings| {
        settings.retry.budget_ratio = 0.0;
        settings.retry.budget_min_per_second = 0;
    });
    let call = house.call(Call::tool("t").hedged());
    assert!(matches!(house.error_of(call), CallErrorKind::InvalidOptions { .. }));
}

#[test]
fn calls_that_were_not_declared_safe_are_never_hedged() {
    let mut house = paced(|_| {});
    house.call(Call::tool("t").idempotent());
    house.wait(100);
    assert_eq!(house.out.dispatched.len(), 1);
}

fn forgotten() -> AttemptEnd {
    AttemptEnd::SessionLost { reason: "the session was lost".into() }
}

#[test]
fn a_lost_session_moves_its_call_once_and_from_then_on_counts_as_an_attempt() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let call = house.call(Call::tool("t"));
    let (first, attempt) = house.last();
    house.end(&first, attempt, forgotten());
    let (second, attempt) = house.last();
    assert_ne!(first, second, "it moves, declared safe or not");
    house.end(&second, attempt, forgotten());
    assert_eq!(house.out.dispatched.len(), 2, "a server that says so again may have carried it out");
    let error = house.answer_of(call).unwrap().as_ref().unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::ConnectionLost { sent: true, .. }), "{error}");
    assert_eq!((error.effect(), error.attempts(), error.retryable()), (Effect::Unknown, 1, false));
}

#[test]
fn a_safe_call_whose_sessions_are_lost_again_and_again_has_its_attempts_and_no_more() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let call = house.call(Call::tool("t").idempotent());
    while house.answer_of(call).is_none() {
        let (server, attempt) = house.last();
        let before = house.out.dispatched.len();
        house.end(&server, attempt, forgotten());
        if house.out.dispatched.len() == before {
            house.wait(1_000);
        }
        assert!(house.out.dispatched.len() <= 4, "it moves for ever");
    }
    // The free one, and `attemptsMax`.
    assert_eq!(house.out.dispatched.len(), 4);
    assert_eq!(house.answer_of(call).unwrap().as_ref().unwrap_err().effect(), Effect::Unknown);
}

#[test]
fn a_server_that_turns_a_call_away_while_its_hedge_is_under_way_is_counted_as_such() {
    for hedge_is_turned_away in [false, true] {
        let mut house = paced(|_| {});
        let call = house.call(Call::tool("t").hedged());
        let first = house.last();
        house.wait(15);
        let hedge = house.last();
        let (away, stays) = if hedge_is_turned_away { (hedge, first) } else { (first, hedge) };
        let refusal = Refusal::new(429, None, Some(Duration::from_secs(1)));
        house.end(&away.0, away.1, AttemptEnd::Refused(refusal));
        assert!(house.answer_of(call).is_none(), "the other attempt goes on");
        house.end(&stays.0, stays.1, lost(true));
        // The one that was turned away was no attempt: the call has others left.
        let mut made = 1;
        while house.answer_of(call).is_none() {
            house.wait(5_000);
            let (server, attempt) = house.last();
            house.end(&server, attempt, lost(true));
            made += 1;
            assert!(made < 10, "it goes on for ever");
        }
        let error = house.answer_of(call).unwrap().as_ref().unwrap_err();
        assert_eq!((error.attempts(), error.turned_away()), (made, 1), "{error:#}");
    }
}

#[test]
fn the_operators_lists_name_a_tool_bare_or_whole_in_both_spellings_however_it_is_called() {
    for declared in ["t", "g/t", "g__t"] {
        for called in ["t", "g/t", "g__t"] {
            let mut house =
                House::new("round-robin", |settings| settings.retry.idempotent_tools = vec![declared.into()])
                    .with(TWO, 8);
            house.call(Call::tool(called));
            let (server, attempt) = house.last();
            house.end(&server, attempt, lost(true));
            assert_eq!(house.out.dispatched.len(), 2, "{declared}, called as {called}: made again");

            let mut house = paced(|settings| settings.retry.hedged_tools = vec![declared.into()]);
            house.call(Call::tool(called));
            house.wait(15);
            assert_eq!(house.out.dispatched.len(), 2, "{declared}, called as {called}: hedged");
        }
    }
    for declared in ["other", "h/t", "h__t", "g", "g/", "g_t", "gg/t", "g/t/t"] {
        let mut house =
            House::new("round-robin", |settings| settings.retry.idempotent_tools = vec![declared.into()])
                .with(TWO, 8);
        let call = house.call(Call::tool("t"));
        let (server, attempt) = house.last();
        house.end(&server, attempt, lost(true));
        assert!(house.answer_of(call).is_some_and(Result::is_err), "{declared} is another tool");
    }
}
