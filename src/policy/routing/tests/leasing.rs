//! Leases: asked for, granted, used, ended.

use super::*;
use crate::call::Purpose;

const ONE: &[(&str, &str, &[&str])] = &[("a", "g", &["t"])];
const LINE: ConnectionId = ConnectionId(7);

fn key(server: &str) -> LeaseKey {
    LeaseKey { server: id(server), incarnation: Incarnation::FIRST, connection: LINE }
}

impl House {
    fn lease(&mut self, of: &str) -> u64 {
        let mut call = Call::tool(of);
        call.purpose = Purpose::OpenLease;
        self.call(call)
    }

    fn tell_of_lease(&mut self, server: &str, attempt: AttemptId, update: LeaseUpdate) {
        self.routing.leasing(&id(server), Incarnation::FIRST, attempt, update, self.now, &mut self.out);
    }

    /// The server grants a lease.
    fn grant(&mut self, server: &str, attempt: AttemptId) {
        let released = self.out.released.clone();
        let granted = Granted::new(key(server), move |key| released.send_modify(|keys| keys.push(key)));
        self.tell_of_lease(server, attempt, LeaseUpdate::Granted(granted));
    }

    /// A lease of server `a`.
    fn leased(&mut self) -> Box<LeaseKey> {
        let call = self.lease("a");
        let (server, attempt) = self.last();
        self.grant(&server, attempt);
        let reply = self.answer_of(call).unwrap().as_ref().unwrap();
        Box::new(reply.lease.as_ref().unwrap().key().clone())
    }

    fn call_on(&mut self, lease: &LeaseKey) -> u64 {
        let mut call = Call::tool("t").idempotent();
        call.purpose = Purpose::OnLease(Box::new(lease.clone()));
        self.call(call)
    }

    fn last_over(&self) -> Over {
        self.out.dispatched.last().unwrap().1.over
    }
}

#[test]
fn a_lease_is_of_the_server_of_that_name_or_of_one_of_the_group() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    house.lease("b");
    assert_eq!((house.last().0.as_str(), house.last_over()), ("b", Over::NewLease));
    house.lease("g");
    assert_eq!(house.out.dispatched.len(), 2);
}

#[test]
fn a_lease_of_nobody_is_a_clear_error() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let call = house.lease("nobody");
    let CallErrorKind::NoMatch { selector } = house.error_of(call) else { panic!("matched") };
    assert_eq!(selector, "server or group nobody");
}

#[test]
fn calls_on_a_lease_go_over_its_connection_and_take_no_shared_slot() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 1);
    let lease = house.leased();
    for _ in 0..5 {
        house.call_on(&lease);
        assert_eq!((house.last().0.as_str(), house.last_over()), ("a", Over::Leased(LINE)));
    }
    assert_eq!(house.routing.stats(house.now).in_flight, 0);
    house.succeed_last();
    assert_eq!(house.out.answers.len(), 2);
}

#[test]
fn a_call_on_a_lease_is_never_sent_anywhere_else() {
    for sent in [true, false] {
        let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
        let lease = house.leased();
        let call = house.call_on(&lease);
        let (server, attempt) = house.last();
        house.end(&server, attempt, lost(sent));
        assert!(matches!(house.error_of(call), CallErrorKind::ConnectionLost { .. }), "sent: {sent}");
    }
}

#[test]
fn a_lease_that_ended_says_why_and_that_nothing_was_sent() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let lease = house.leased();
    let call = house.call_on(&lease);
    let (server, attempt) = house.last();
    house.tell_of_lease(&server, attempt, LeaseUpdate::Ended { reason: "it was unused for 1m".into() });
    let error = house.answer_of(call).unwrap().as_ref().unwrap_err();
    assert_eq!((error.effect(), error.attempts()), (Effect::NotSent, 0));
    assert!(error.to_string().contains("unused for 1m"), "{error}");
}

#[test]
fn a_lease_does_not_outlive_its_servers_actor() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let lease = house.leased();
    let open = house.call_on(&lease);
    house.routing.server_down(
        &id("a"),
        Incarnation::FIRST,
        &ExitCause::Killed,
        down(),
        house.now,
        &mut house.out,
    );
    assert!(matches!(house.error_of(open), CallErrorKind::ServerDown { sent: true, .. }));
    house.join("a", "g", 0, Incarnation::FIRST.next(), up(8));
    let later = house.call_on(&lease);
    assert!(matches!(house.error_of(later), CallErrorKind::LeaseEnded { .. }));
}

#[test]
fn a_lease_whose_connection_cannot_be_opened_moves_within_its_group_and_ends() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let moving = house.lease("g");
    let (first, attempt) = house.last();
    house.end(&first, attempt, lost(false));
    let (second, attempt) = house.last();
    assert_ne!(first, second);
    house.grant(&second, attempt);
    assert!(house.answer_of(moving).unwrap().is_ok());

    let stuck = house.lease("a");
    let (server, attempt) = house.last();
    house.end(&server, attempt, lost(false));
    assert!(matches!(house.error_of(stuck), CallErrorKind::ConnectionLost { sent: false, .. }));
}

#[test]
fn a_lease_that_nobody_waits_for_any_more_is_given_back() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let call = house.lease("a");
    let (server, attempt) = house.last();
    house.routing.cancel(CallId(call), house.now, &mut house.out);
    assert_eq!(house.out.cancelled, [(server.clone(), attempt, CancelReason::CallerLeft)]);
    house.grant(&server, attempt);
    assert_eq!(*house.out.released.borrow(), [key(&server)]);
}

#[test]
fn a_lease_is_given_back_when_nobody_has_its_answer_any_more() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let call = house.lease("a");
    let (server, attempt) = house.last();
    house.grant(&server, attempt);
    let reply = house.answer_of(call).unwrap().clone();
    house.out.answers.clear();
    assert!(house.out.released.borrow().is_empty(), "a copy of the answer is left");
    drop(reply);
    assert_eq!(*house.out.released.borrow(), [key(&server)]);
}

#[test]
fn a_lease_of_a_life_that_was_replaced_is_known_to_a_new_router() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let spec = Server::custom("a").settle(&Settings::default(), 0).unwrap();
    let former = Incarnation(9);
    house.routing.retiring(Arc::new(spec), former, "a, before".to_owned(), house.now);
    house.call_on(&LeaseKey { incarnation: former, ..key("a") });
    assert_eq!((house.last().0.as_str(), house.last_over()), ("a, before", Over::Leased(LINE)));
    house.call(Call::tool("t").server("a"));
    assert_eq!(house.last().0, "a");
    house.routing.retired(&id("a"), former, house.now, &mut house.out);
    let over = house.call_on(&LeaseKey { incarnation: former, ..key("a") });
    assert!(matches!(house.error_of(over), CallErrorKind::LeaseEnded { .. }));
}

#[test]
fn as_many_leases_as_there_may_be_is_told_with_the_limit() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let call = house.lease("a");
    let (server, attempt) = house.last();
    house.tell_of_lease(&server, attempt, LeaseUpdate::Exhausted { limit: 16 });
    assert!(matches!(house.error_of(call), CallErrorKind::Overloaded { limit: 16, .. }));
}

#[test]
fn who_holds_a_lease_may_end_it_well_while_the_breaker_is_open() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let lease = house.leased();
    let open = Admission::Rejecting { retry_after: Some(Duration::from_secs(30)) };
    house.standing("a", Standing { admission: open, ..up(8) });
    house.call_on(&lease);
    assert_eq!(house.last_over(), Over::Leased(LINE));
}

#[test]
fn a_life_that_is_told_again_is_the_same_life() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    house.call(Call::tool("t").server("a"));
    house.join("a", "g", 0, Incarnation::FIRST, up(8));
    assert_eq!(house.routing.stats(house.now).in_flight, 1);
    house.succeed_last();
    assert_eq!(house.routing.stats(house.now).in_flight, 0);
    // Known as the present life, and so as no life that was replaced.
    let spec = Server::custom("a").settle(&Settings::default(), 0).unwrap();
    house.routing.retiring(Arc::new(spec), Incarnation::FIRST, "a, before".to_owned(), house.now);
    house.call(Call::tool("t").server("a"));
    assert_eq!(house.last().0, "a");
}

#[test]
fn a_call_on_a_lease_waits_for_a_new_routers_catalogue() {
    let mut house = House::new("round-robin", |_| {});
    // A new router: the registry has told of the server, and not yet of the tools.
    house.join("a", "g", 0, Incarnation::FIRST, up(8));
    let key = LeaseKey { server: id("a"), incarnation: Incarnation::FIRST, connection: LINE };
    let call = house.call_on(&key);
    assert!(house.answer_of(call).is_none(), "{:?}", house.answer_of(call));
    let mut house = house.with(&[("a", "g", &["t"])], 8);
    assert_eq!((house.last_over(), house.last().1.call), (Over::Leased(LINE), CallId(call)));
    house.succeed_last();
    assert!(house.answer_of(call).unwrap().is_ok());
}

#[test]
fn a_call_on_a_lease_of_a_tool_that_its_server_does_not_have_fails_when_the_router_knows_all() {
    let mut house = House::new("round-robin", |_| {});
    house.join("a", "g", 0, Incarnation::FIRST, up(8));
    let key = LeaseKey { server: id("a"), incarnation: Incarnation::FIRST, connection: LINE };
    let call = house.call_on(&key);
    let house = house.with(&[("a", "g", &["u"])], 8);
    assert!(matches!(house.error_of(call), CallErrorKind::UnknownTool { .. }));
}

#[test]
fn a_call_on_a_lease_has_the_time_of_its_tool_else_of_its_server_else_of_the_settings() {
    let second = Duration::from_secs(1);
    for (of_tools, of_server, holds) in [
        (&[("t", 2)][..], Some(5), 2),
        (&[("g/t", 3), ("t", 2)][..], Some(5), 3),
        (&[("g__t", 4)][..], None, 4),
        (&[("other", 2)][..], Some(5), 5),
        (&[][..], None, 9),
    ] {
        let mut house = House::new("round-robin", |settings| {
            settings.call_timeout = 9 * second;
            settings.tool_timeouts =
                of_tools.iter().map(|(tool, seconds)| ((*tool).to_owned(), *seconds * second)).collect();
        })
        .with(ONE, 8);
        let mut spec = Server::custom("a").group("g").tag("tag-a");
        if let Some(seconds) = of_server {
            spec = spec.timeout(seconds * second);
        }
        let spec = Arc::new(spec.settle(&Settings::default(), 0).unwrap());
        house.routing.joined(spec, Incarnation::FIRST, Some("a".to_owned()), up(8), house.now);
        let lease = house.leased();
        let call = house.call_on(&lease);
        assert!(house.answer_of(call).is_none());
        house.wait(holds * 1_000 - 1);
        assert!(house.answer_of(call).is_none(), "{of_tools:?}, {of_server:?}: too early");
        house.wait(1);
        let CallErrorKind::DeadlineExceeded { timeout, .. } = house.error_of(call) else {
            panic!("no deadline")
        };
        assert_eq!(timeout.as_secs(), holds, "{of_tools:?}, {of_server:?}");
    }
}
