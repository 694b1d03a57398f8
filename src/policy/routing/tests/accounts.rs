//! What is counted, what is told beside the answers, and what a change of settings keeps.

use super::*;
use crate::refusal::Refusal;

#[test]
fn calls_that_wait_are_counted_by_their_priority_and_those_that_ended_by_their_outcome() {
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["t"])], 1);
    house.call(Call::tool("t"));
    let urgent =
        [Priority::High, Priority::Normal, Priority::Normal, Priority::Low, Priority::Low, Priority::Low];
    for priority in urgent {
        house.call(Call::tool("t").priority(priority));
    }
    let figures = house.routing.figures();
    let QueuedStats { high, normal, low } = figures.queued;
    assert_eq!((figures.open, high, normal, low), (7, 1, 2, 3));
    house.succeed_last();
    house.succeed_last();
    let unknown = house.call(Call::tool("g/u"));
    assert!(house.answer_of(unknown).is_some());
    let outcomes = house.routing.stats(house.now).outcomes;
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), [("ok", 2), ("unknown-tool", 1)]);
}

#[test]
fn names_alike_are_looked_for_where_a_name_led_to_nobody_and_nowhere_else() {
    let servers: &[(&str, &str, &[&str])] = &[("a", "x", &["t"]), ("b", "y", &["t"])];
    let mut house = House::new("round-robin", |_| {}).with(servers, 8);
    let misspelt = [Call::tool("x/u"), Call::prompt("x/u")].map(|call| house.call(call));
    for call in [Call::tool("t"), Call::tool("t").server("c")] {
        house.call(call);
    }
    assert_eq!(house.out.looked_for_near, misspelt);
}

#[test]
fn an_attempt_that_is_called_off_has_the_outcome_of_why() {
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["t"])], 8);
    house.call(Call::tool("t").timeout(Duration::from_millis(10)));
    house.wait(10);
    let left = house.call(Call::tool("t"));
    house.routing.cancel(CallId(left), house.now, &mut house.out);
    let ended: Vec<_> = house.out.ended.iter().map(|(_, outcome)| *outcome).collect();
    assert_eq!(ended, ["deadline-exceeded", "cancelled"]);
}

#[test]
fn only_a_refusal_of_the_server_itself_pauses_it() {
    let after = Some(Duration::from_secs(60));
    for (status, pauses) in [(429, true), (503, true), (500, false), (401, false), (404, false)] {
        let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["t"])], 8);
        house.call(Call::tool("t").timeout(Duration::from_secs(600)));
        let (server, attempt) = house.last();
        house.end(&server, attempt, AttemptEnd::Refused(Refusal::new(status, None, after)));
        let before = house.out.dispatched.len();
        house.call(Call::tool("t").timeout(Duration::from_secs(600)));
        assert_eq!(house.out.dispatched.len() == before, pauses, "{status}");
    }
}

#[test]
fn settings_that_stay_the_same_keep_the_budget_and_others_begin_one_anew() {
    let spare = |settings: &mut Settings| {
        settings.retry.budget_ratio = 0.5;
        settings.retry.budget_min_per_second = 0;
    };
    let mut house = House::new("round-robin", spare).with(TWO, 8);
    for _ in 0..10 {
        house.call(Call::tool("t"));
        house.succeed_last();
    }
    let earned = house.routing.budget.balance(house.now);
    assert!(earned > 0.0);
    let mut settings = Settings::default();
    spare(&mut settings);
    settings.strategy = "weighted".to_owned();
    house.routing.change_settings(Arc::new(settings.clone()));
    assert_eq!(house.routing.budget.balance(house.now), earned);
    assert_eq!(house.routing.strategies.active_name(), "weighted");
    settings.retry.budget_ratio = 0.4;
    house.routing.change_settings(Arc::new(settings));
    assert!(house.routing.budget.balance(house.now) < earned);
}
