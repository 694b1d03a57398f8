//! Servers that are idle: which is started, for which calls, and how often it is told.

use super::*;
use crate::error::UnavailableServer;

fn idle() -> Standing {
    Standing::idle()
}

/// One that could not be started last time, and may not be tried yet.
fn rests() -> Standing {
    Standing { reconnecting_soon: false, reason: Some("no such program".into()), ..idle() }
}

fn starting() -> Standing {
    Standing { listed: true, ..Standing::beginning() }
}

fn replicas() -> House {
    let servers: &[(&str, &str, &[&str])] = &[("a", "g", &["t"]), ("b", "g", &["t"]), ("c", "g", &["t"])];
    House::new("round-robin", |_| {}).with(servers, 1)
}

fn all_idle() -> House {
    let mut house = replicas();
    for server in ["a", "b", "c"] {
        house.standing(server, idle());
    }
    house
}

#[test]
fn many_calls_to_an_idle_server_tell_it_once_and_are_dispatched_when_it_is_ready() {
    let mut house = House::new("peak-ewma", |_| {}).with(&[("a", "g", &["t"])], 8);
    house.standing("a", idle());
    assert!(house.out.needed.is_empty(), "nobody has called");
    let calls: Vec<u64> = (0..100).map(|_| house.call(Call::tool("t"))).collect();
    assert_eq!((house.out.needed.len(), house.out.dispatched.len()), (1, 0));
    house.standing("a", starting());
    house.standing("a", up(100));
    assert_eq!((house.out.needed.len(), house.out.dispatched.len()), (1, 100));
    assert!(calls.iter().all(|call| house.answer_of(*call).is_none()));
}

#[test]
fn a_ready_replica_goes_before_one_that_would_have_to_be_started() {
    let mut house = replicas();
    house.standing("a", idle());
    house.standing("b", idle());
    house.call(Call::tool("t"));
    assert_eq!((house.last().0.as_str(), house.out.needed.len()), ("c", 0));
    // It is busy: now one of the others is started, and only one.
    house.call(Call::tool("t"));
    house.call(Call::tool("t"));
    assert_eq!((house.out.dispatched.len(), house.out.needed.as_slice()), (1, &["a".to_owned()][..]));
    house.standing("a", starting());
    house.call(Call::tool("t"));
    assert_eq!(house.out.needed.len(), 1, "it is on its way");
    house.standing("a", up(1));
    assert_eq!((house.last().0.as_str(), house.out.needed.len()), ("a", 2), "that is busy as well");
    assert_eq!(house.out.needed[1], "b");
}

#[test]
fn where_one_cannot_be_started_the_next_one_is_and_where_none_can_the_call_fails_with_the_reasons() {
    let mut house = all_idle();
    let call = house.call(Call::tool("t"));
    for server in ["a", "b", "c"] {
        assert_eq!(house.out.needed.last().unwrap(), server);
        house.standing(server, starting());
        house.standing(server, rests());
    }
    let CallErrorKind::Unavailable { servers } = house.error_of(call) else { panic!("it has failed") };
    let told = |server: &UnavailableServer| (server.status, server.reason.clone());
    assert!(servers.iter().all(|server| told(server) == (ServerStatus::Idle, "no such program".into())));
    house.call(Call::tool("t"));
    assert_eq!(house.out.needed.len(), 3, "each rests after its failure");
    house.standing("b", Standing { reconnecting_soon: true, ..rests() });
    house.call(Call::tool("t"));
    assert_eq!((house.out.needed.len(), house.out.needed[3].as_str()), (4, "b"));
}

#[test]
fn a_server_that_is_stopped_while_calls_wait_for_it_is_told_again() {
    let mut house = House::new("peak-ewma", |_| {}).with(&[("a", "g", &["t"])], 8);
    house.call(Call::tool("t"));
    let (server, attempt) = house.last();
    // It was stopped when the call was on its way, and gives it back.
    house.routing.refused(&id(&server), Incarnation::FIRST, attempt, house.now, &mut house.out);
    assert!(house.out.needed.is_empty(), "as far as is known it runs");
    house.standing("a", idle());
    assert_eq!(house.out.needed, ["a"]);
    // Its next life is idle as well.
    house.join("a", "g", 0, Incarnation(2), idle());
    house.routing.standing(&id("a"), Incarnation(2), idle(), house.now, &mut house.out);
    assert_eq!(house.out.needed, ["a", "a"]);
}

#[test]
fn an_open_breaker_of_an_idle_server_is_not_woken_and_says_so() {
    let mut house = House::new("peak-ewma", |_| {}).with(&[("a", "g", &["t"])], 8);
    let retry_after = Some(Duration::from_secs(3));
    house.standing("a", Standing { admission: Admission::Rejecting { retry_after }, ..idle() });
    let call = house.call(Call::tool("t"));
    let CallErrorKind::Unavailable { servers } = house.error_of(call) else { panic!("it has failed") };
    assert_eq!(
        (servers[0].reason.as_str(), servers[0].retry_after),
        ("its circuit breaker is open", retry_after)
    );
    house.standing("a", Standing { admission: Admission::Probing { permits: 1 }, ..idle() });
    house.call(Call::tool("t"));
    assert_eq!(house.out.needed, ["a"]);
}

/// `a` and `b` of the first priority, `c` of the second.
fn tiers() -> House {
    let mut house = replicas();
    let spec = Server::custom("c").group("g").priority(1).settle(&Settings::default(), 2).unwrap();
    house.routing.amended(Arc::new(spec), house.now, &mut house.out);
    house
}

#[test]
fn a_better_replica_that_is_idle_is_started_beside_the_call_that_a_worse_one_takes() {
    let mut house = tiers();
    house.standing("a", idle());
    house.standing("b", idle());
    house.call(Call::tool("t"));
    assert_eq!((house.last().0.as_str(), house.out.needed.as_slice()), ("c", &["a".to_owned()][..]));
}

#[test]
fn a_worse_replica_is_not_started_while_a_better_one_is_up_or_could_be() {
    let mut house = tiers();
    house.standing("b", down());
    house.standing("c", idle());
    for _ in 0..2 {
        house.call(Call::tool("t"));
    }
    assert_eq!((house.last().0.as_str(), house.out.needed.len()), ("a", 0), "it is waited for");
    house.standing("a", idle());
    assert_eq!(house.out.needed, ["a"]);
    house.standing("a", down());
    assert_eq!(house.out.needed, ["a", "c"], "all of the first are down");
}

#[test]
fn the_replica_that_a_call_is_bound_to_is_started_before_the_others() {
    let mut house = replicas();
    house.standing("a", down());
    house.standing("c", down());
    house.call(Call::tool("t").affinity("user"));
    assert_eq!(house.succeed_last(), "b");
    for server in ["a", "b", "c"] {
        house.standing(server, idle());
    }
    house.call(Call::tool("t").affinity("user"));
    assert_eq!(house.out.needed, ["b"]);
}

#[test]
fn a_lease_starts_an_idle_server_too() {
    let mut house = House::new("peak-ewma", |_| {}).with(&[("a", "g", &["t"])], 8);
    house.standing("a", idle());
    let mut call = Call::tool("a");
    call.purpose = crate::call::Purpose::OpenLease;
    house.call(call);
    assert_eq!(house.out.needed, ["a"]);
}

#[test]
fn who_could_not_be_listed_is_tried_again_for_a_call_that_it_may_take_and_for_no_other() {
    let mut house = House::new("peak-ewma", |_| {}).with(&[("a", "alpha", &["t"]), ("b", "beta", &[])], 8);
    let unlisted = Standing { listed: false, reason: Some("no such program".into()), ..idle() };
    house.standing("b", unlisted.clone());
    house.call(Call::tool("alpha/other"));
    assert!(house.out.needed.is_empty(), "it is of another group");
    let parked = house.call(Call::tool("beta/tool"));
    assert_eq!(
        (house.out.needed.as_slice(), house.answer_of(parked).is_none()),
        (&["b".to_owned()][..], true)
    );
    // While it rests nothing is promised, and nothing waits.
    house.standing("b", Standing { reconnecting_soon: false, ..unlisted.clone() });
    assert!(matches!(house.error_of(parked), CallErrorKind::Unavailable { .. }));
    house.standing("b", unlisted);
    assert_eq!(house.out.needed.len(), 1, "nobody waits for it any more");
}

#[test]
fn who_could_not_be_listed_is_tried_again_as_soon_as_it_may_be_while_a_call_waits_for_others() {
    let servers: &[(&str, &str, &[&str])] = &[("a", "beta", &["t"]), ("b", "beta", &[]), ("c", "beta", &[])];
    let mut house = House::new("peak-ewma", |_| {}).with(servers, 8);
    let unlisted = Standing { listed: false, reason: Some("no such program".into()), ..idle() };
    house.standing("c", Standing { listed: false, ..Standing::beginning() });
    house.standing("b", Standing { reconnecting_soon: false, ..unlisted.clone() });
    let parked = house.call(Call::tool("beta/tool"));
    assert!(house.out.needed.is_empty() && house.answer_of(parked).is_none(), "it waits for c");
    house.standing("b", unlisted.clone());
    assert_eq!(house.out.needed, ["b"]);
    // One that has listed does not have the tool.
    house.standing("a", idle());
    assert_eq!(house.out.needed, ["b"]);
}

#[test]
fn an_idle_server_of_known_lists_is_not_started_for_a_tool_that_nobody_lists() {
    let mut house = House::new("peak-ewma", |_| {}).with(&[("a", "g", &["t"])], 8);
    house.standing("a", idle());
    let call = house.call(Call::tool("g/other"));
    assert!(matches!(house.error_of(call), CallErrorKind::UnknownTool { .. }));
    assert!(house.out.needed.is_empty());
}

#[test]
fn a_new_router_starts_what_its_calls_wait_for() {
    let mut house = House::new("peak-ewma", |_| {});
    house.join("a", "g", 0, Incarnation::FIRST, idle());
    let call = house.call(Call::tool("t"));
    assert!(house.out.needed.is_empty(), "it has yet to be told what there is");
    let definition = RawJson::from_value(&json!({"name": "t"})).unwrap();
    house.tools.push(ServerOffer {
        server: id("a"),
        group: crate::id::GroupId::new("g").unwrap(),
        order: 0,
        trusted: false,
        confirmed: true,
        offer: Offer { tools: [Definition { name: "t".to_owned(), definition }].into(), ..Offer::default() },
    });
    let house = house.with(&[], 8);
    assert_eq!((house.out.needed.as_slice(), house.answer_of(call).is_none()), (&["a".to_owned()][..], true));
}
