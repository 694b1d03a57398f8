//! Priorities of replicas.

use super::*;

/// Two servers of the first priority and one of the second.
fn house(slots: usize) -> House {
    let servers: &[(&str, &str, &[&str])] = &[("a", "g", &["t"]), ("b", "g", &["t"]), ("z", "g", &["t"])];
    let mut house = House::new("round-robin", |_| {}).with(servers, slots);
    let spec = Server::custom("z").group("g").priority(10);
    let spec = spec.settle(&Settings::default(), 2).unwrap();
    house.routing.amended(Arc::new(spec), house.now, &mut house.out);
    house
}

fn served_by(house: &mut House, calls: usize) -> Vec<String> {
    let served = (0..calls).map(|_| {
        house.call(Call::tool("t"));
        house.succeed_last()
    });
    let mut served: Vec<String> = served.collect();
    served.sort();
    served.dedup();
    served
}

fn open() -> Standing {
    Standing { admission: Admission::Rejecting { retry_after: Some(Duration::from_secs(1)) }, ..up(8) }
}

#[test]
fn the_second_priority_is_asked_only_while_all_of_the_first_are_down_and_no_longer() {
    let mut house = house(8);
    assert_eq!(served_by(&mut house, 6), ["a", "b"]);
    house.standing("a", down());
    assert_eq!(served_by(&mut house, 6), ["b"]);
    house.standing("b", open());
    assert_eq!(served_by(&mut house, 6), ["z"], "an open breaker is down, too");
    house.standing("a", up(8));
    assert_eq!(served_by(&mut house, 6), ["a"]);
}

#[test]
fn a_server_of_the_first_priority_that_is_merely_busy_is_waited_for() {
    let mut house = house(1);
    for _ in 0..2 {
        house.call(Call::tool("t"));
    }
    let waiting = house.call(Call::tool("t"));
    assert_eq!(house.out.dispatched.len(), 2);
    assert!(house.answer_of(waiting).is_none());
    // When the busy ones go down, those that wait go on to the second priority.
    house.standing("a", down());
    assert_eq!(house.out.dispatched.len(), 2);
    house.standing("b", down());
    assert_eq!(house.last().0, "z");
}

#[test]
fn one_that_is_about_to_come_back_holds_up_nobody_while_the_second_priority_is_up() {
    let mut house = house(8);
    for server in ["a", "b"] {
        house.standing(server, Standing { reconnecting_soon: true, ..down() });
    }
    assert_eq!(served_by(&mut house, 3), ["z"]);
    house.standing("z", down());
    let waiting = house.call(Call::tool("t"));
    assert!(house.answer_of(waiting).is_none(), "there is hope");
}

#[test]
fn a_half_open_server_gets_its_probes_and_the_second_priority_the_rest() {
    let mut house = house(8);
    house.standing("a", down());
    house.standing("b", Standing { admission: Admission::Probing { permits: 1 }, ..up(8) });
    house.call(Call::tool("t"));
    assert_eq!(house.last().0, "b");
    house.call(Call::tool("t"));
    assert_eq!(house.last().0, "z");
}

#[test]
fn a_retry_goes_on_to_the_second_priority_where_the_first_has_no_other_server() {
    let mut house = house(8);
    house.standing("b", down());
    house.call(Call::tool("t").idempotent());
    let (first, attempt) = house.last();
    assert_eq!(first, "a");
    house.end(&first, attempt, lost(true));
    assert_eq!(house.last().0, "z");
}
