//! What callers choose: names that nobody has, selectors of all kinds. None of it fills a table or holds up others.

use super::*;
use crate::policy::catalogue::compared;
use crate::policy::routing::placing::ROUTES_MAX;

/// A server that offers `t` and has these tags.
fn tagged(house: &mut House, server: &str, order: usize, tags: impl Iterator<Item = usize>, slots: usize) {
    let spec = tags.fold(Server::custom(server).group("g"), |spec, tag| spec.tag(format!("t{tag}")));
    let spec = spec.settle(&Settings::default(), order).unwrap();
    house.routing.joined(Arc::new(spec), Incarnation::FIRST, Some(server.to_owned()), up(slots), house.now);
}

/// Asks for the tags whose bits are set.
fn asking_for(bits: usize) -> Call {
    let tags = (0..usize::BITS as usize).filter(|tag| bits & 1 << tag != 0);
    tags.fold(Call::tool("t"), |call, tag| call.tag(format!("t{tag}")))
}

#[test]
fn names_that_nobody_has_cost_the_router_no_comparison() {
    let names: Vec<String> = (0..9_000).map(|n| format!("tool_{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &names)], 8);
    let before = compared();
    for n in 0..1_000 {
        let longest = format!("{n:x>193}");
        let tool = house.call(Call::tool(longest.clone()));
        assert!(matches!(house.error_of(tool), CallErrorKind::UnknownTool { .. }));
        let prompt = house.call(Call::prompt(longest));
        assert!(matches!(house.error_of(prompt), CallErrorKind::UnknownPrompt { .. }));
    }
    // Those that wait look again at each change.
    house.join("late", "late", 9, Incarnation::FIRST, Standing::beginning());
    let waiting: Vec<u64> = (0..100).map(|n| house.call(Call::tool(format!("tool_of_late_{n}")))).collect();
    for _ in 0..10 {
        let (catalogue, now) = (house.routing.catalogue.clone(), house.now);
        house.routing.catalogue(catalogue, now, &mut house.out);
    }
    house.standing("late", Standing { listed: false, ..down() });
    assert!(waiting.iter().all(|call| matches!(house.error_of(*call), CallErrorKind::Unavailable { .. })));
    assert_eq!(compared(), before);
}

#[test]
fn what_is_too_long_is_refused_before_it_is_looked_up() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    for call in [Call::tool("x".repeat(20_000)), Call::tool("t").affinity("x".repeat(20_000))] {
        let call = house.call(call);
        let CallErrorKind::TooLong { length, .. } = house.error_of(call) else { panic!("looked up") };
        assert_eq!(*length, 20_000);
    }
    let told = house.answer_of(0).unwrap().as_ref().unwrap_err().to_string();
    assert!(told.len() < 500, "{} bytes", told.len());
    assert!(house.out.dispatched.is_empty());
}

#[test]
fn an_unknown_name_is_told_with_a_bounded_number_of_servers_that_may_have_it() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    for n in 0..1_000 {
        let dark = Standing { listed: false, ..down() };
        house.join(&format!("dark-{n}"), "dark", n, Incarnation::FIRST, dark);
    }
    let call = house.call(Call::tool("u"));
    let CallErrorKind::Unavailable { servers } = house.error_of(call) else { panic!("known") };
    assert_eq!(servers.len(), 32);
}

#[test]
fn selectors_that_differ_each_time_fill_no_table() {
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["t"])], 8);
    tagged(&mut house, "a", 0, 0..14, 8);
    for bits in 0..1 << 14 {
        house.call(asking_for(bits));
        house.succeed_last();
    }
    assert!(house.routing.route_of.len() <= ROUTES_MAX);
    assert_eq!(house.routing.routes.len(), 1, "they all mean the same server");
    let twice = house.call(Call::tool("t").tag("t1").tag("t2").tag("t1"));
    house.succeed_last();
    assert!(house.answer_of(twice).is_some());
}

#[test]
fn sets_of_servers_that_differ_each_time_are_forgotten_and_a_call_that_waits_is_not() {
    // Each has all tags but its own: asking for tags leaves out the servers with these numbers.
    let names: Vec<String> = (0..14).map(|n| format!("s{n:02}")).collect();
    let servers: Vec<(&str, &str, &[&str])> =
        names.iter().map(|name| (name.as_str(), "g", &["t"] as &[&str])).collect();
    let mut house = House::new("round-robin", |_| {}).with(&servers, 8);
    for (n, name) in names.iter().enumerate() {
        let slots = if n == 13 { 1 } else { 8 };
        tagged(&mut house, name, n, (0..14).filter(|tag| *tag != n), slots);
    }
    house.call(Call::tool("t").server("s13"));
    let (busy, attempt) = house.last();
    let waiting = house.call(Call::tool("t").server("s13"));
    let mut most = 0;
    for round in 0..2 {
        for bits in 0..(1 << 14) - 1_usize {
            // Servers other than the busy one are left.
            if bits & ((1 << 13) - 1) != (1 << 13) - 1 {
                house.call(asking_for(bits));
                house.succeed_last();
                most = most.max(house.routing.routes.len());
            }
        }
        assert!(most <= ROUTES_MAX, "{most} routes in round {round}");
    }
    assert_eq!(house.routing.route_of_set.len(), house.routing.routes.len());
    assert!(house.answer_of(waiting).is_none());
    house.succeed(&busy, attempt);
    assert_eq!(house.last().1.call, CallId(waiting));
    house.succeed_last();
    assert!(house.answer_of(waiting).unwrap().is_ok());
    assert!(house.routing.waiting.is_empty());
}

#[test]
fn a_server_that_is_given_up_wakes_nobody_who_waits_for_another() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    for late in ["late-1", "late-2"] {
        house.join(late, late, 9, Incarnation::FIRST, Standing::beginning());
    }
    let call = house.call(Call::tool("u"));
    house.standing("late-1", Standing { listed: false, ..down() });
    assert!(house.answer_of(call).is_none());
    house.standing("late-2", Standing { listed: false, ..down() });
    assert!(matches!(house.error_of(call), CallErrorKind::Unavailable { .. }));
}

#[test]
fn a_call_whose_caller_left_before_it_came_is_not_made() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    house.out.left.push(house.next);
    let call = house.call(Call::tool("t"));
    assert!(house.out.dispatched.is_empty() && house.answer_of(call).is_none());
    let stats = house.routing.stats(house.now);
    assert_eq!((stats.open_calls, stats.outcomes.get("cancelled")), (0, Some(&1)));
}
