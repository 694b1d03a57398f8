mod accounts;
mod bounds;
mod demanding;
mod leasing;
mod naming;
mod once;
mod pausing;
mod progress;
mod repeating;
mod tiers;

use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use super::*;
use crate::call::{AttemptEnd, Granted, LeaseKey, OutcomeClass, Priority};
use crate::config::{Collisions, Server, Settings};
use crate::error::{Effect, RpcError};
use crate::event::{ExitCause, ServerStatus};
use crate::json::RawJson;
use crate::policy::breaker::Admission;
use crate::policy::catalogue::{Definition, Offer, ServerOffer};

/// A stage of names: ports are numbers, servers are their ids.
#[derive(Default)]
struct Script {
    answers: Vec<(u64, Answer)>,
    handed_back: Vec<(u64, Arc<Call>)>,
    dispatched: Vec<(String, Dispatch)>,
    cancelled: Vec<(String, AttemptId, CancelReason)>,
    told: Vec<(u64, CallUpdate)>,
    /// Idle servers that were told that calls wait for them.
    needed: Vec<String>,
    released: watch::Sender<Vec<LeaseKey>>,
    /// Ports that nobody waits at.
    left: Vec<u64>,
    /// Ports whose error names what nobody offers.
    looked_for_near: Vec<u64>,
    /// Servers whose actor is gone.
    gone: Vec<String>,
    /// How attempts ended.
    ended: Vec<(AttemptId, &'static str)>,
    /// The pauses of servers that were told to the host.
    overloaded: Vec<Duration>,
}

impl Outlet<u64, String> for Script {
    fn answer(&mut self, port: u64, answer: Answer) {
        self.answers.push((port, answer));
    }

    fn unknown(&mut self, port: u64, error: CallError, _: EntryKind, _: &Arc<Catalogue>) {
        self.looked_for_near.push(port);
        self.answers.push((port, Err(error)));
    }

    fn left(&self, port: &u64) -> bool {
        self.left.contains(port)
    }

    fn dispatch(&mut self, server: &String, dispatch: Dispatch) -> bool {
        if self.gone.contains(server) {
            return false;
        }
        self.dispatched.push((server.clone(), dispatch));
        true
    }

    fn need(&mut self, server: &String) {
        self.needed.push(server.clone());
    }

    fn hand_back(&mut self, port: u64, call: Arc<Call>) {
        self.handed_back.push((port, call));
    }

    fn tell(&mut self, port: &mut u64, update: CallUpdate) {
        self.told.push((*port, update));
    }

    fn ended(&mut self, attempt: AttemptId, outcome: &'static str, _: Duration) {
        self.ended.push((attempt, outcome));
    }

    fn cancel(&mut self, server: &String, attempt: AttemptId, reason: CancelReason) {
        self.cancelled.push((server.clone(), attempt, reason));
    }

    fn overloaded(&mut self, _: &ServerId, retry_after: Duration) {
        self.overloaded.push(retry_after);
    }
}

/// The routing with its stage and a clock.
struct House {
    routing: Routing<u64, String>,
    out: Script,
    now: Instant,
    next: u64,
    tools: Vec<ServerOffer>,
    /// Groups of servers that have not listed.
    registered: Vec<crate::id::GroupId>,
    collisions: Collisions,
}

fn id(server: &str) -> ServerId {
    ServerId::new(server).unwrap()
}

fn up(slots: usize) -> Standing {
    Standing {
        status: ServerStatus::Ready,
        listed: true,
        slots,
        reconnecting_soon: false,
        ..Standing::beginning()
    }
}

fn down() -> Standing {
    Standing {
        status: ServerStatus::Disconnected,
        reconnecting_soon: false,
        listed: true,
        reason: Some("refused".into()),
        ..Standing::beginning()
    }
}

impl House {
    fn new(strategy: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        let mut strategies = Strategies::with_builtin();
        strategies.select(strategy).unwrap();
        Self {
            collisions: settings.collisions,
            routing: Routing::new(Arc::new(settings), strategies, 7),
            out: Script::default(),
            now: Instant::now(),
            next: 0,
            tools: Vec::new(),
            registered: Vec::new(),
        }
    }

    /// Introduces servers given as `id`, `group` and tools; each with so many slots.
    fn with(mut self, servers: &[(&str, &str, &[&str])], slots: usize) -> Self {
        for (order, (server, group, tools)) in servers.iter().enumerate() {
            self.join(server, group, order, Incarnation::FIRST, up(slots));
            let tools = tools.iter().map(|name| Definition {
                name: (*name).to_owned(),
                definition: RawJson::from_value(&json!({"name": name})).unwrap(),
            });
            self.tools.push(ServerOffer {
                server: id(server),
                group: crate::id::GroupId::new(group).unwrap(),
                order,
                trusted: false,
                confirmed: true,
                offer: Offer { tools: tools.collect(), ..Offer::default() },
            });
        }
        let groups = self.registered.iter().cloned();
        let catalogue = Catalogue::merge_among(1, self.tools.drain(..), groups, self.collisions);
        self.routing.catalogue(Arc::new(catalogue), self.now, &mut self.out);
        self.routing.introduced(self.now, &mut self.out);
        self
    }

    fn join(&mut self, server: &str, group: &str, order: usize, life: Incarnation, standing: Standing) {
        let spec = Server::custom(server).group(group).tag(format!("tag-{server}"));
        let spec = spec.settle(&Settings::default(), order).unwrap();
        self.routing.joined(Arc::new(spec), life, Some(server.to_owned()), standing, self.now);
    }

    fn call(&mut self, call: Call) -> u64 {
        let port = self.next;
        self.next += 1;
        self.routing.submit(CallId(port), Arc::new(call), self.now, port, self.now, &mut self.out);
        port
    }

    fn standing(&mut self, server: &str, standing: Standing) {
        self.routing.standing(&id(server), Incarnation::FIRST, standing, self.now, &mut self.out);
    }

    /// The server that got the last dispatch, and the attempt.
    fn last(&self) -> (String, AttemptId) {
        let (server, dispatch) = self.out.dispatched.last().expect("something was dispatched");
        (server.clone(), dispatch.attempt)
    }

    fn end(&mut self, server: &str, attempt: AttemptId, end: AttemptEnd) {
        let class = crate::policy::classify::classify(&end);
        let batch = vec![Completion { attempt, end, class, latency: Duration::from_millis(5) }];
        self.routing.completed(&id(server), Incarnation::FIRST, batch, self.now, &mut self.out);
    }

    fn succeed(&mut self, server: &str, attempt: AttemptId) {
        self.end(server, attempt, AttemptEnd::Result(RawJson::from_value(&json!({})).unwrap()));
    }

    /// Lets time pass.
    fn wait(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.routing.tick(self.now, &mut self.out);
    }

    /// Answers the last dispatch.
    fn succeed_last(&mut self) -> String {
        let (server, attempt) = self.last();
        self.succeed(&server, attempt);
        server
    }

    fn answer_of(&self, port: u64) -> Option<&Answer> {
        let mut answers = self.out.answers.iter().filter(|(answered, _)| *answered == port);
        let first = answers.next();
        assert!(answers.next().is_none(), "call {port} was answered twice");
        first.map(|(_, answer)| answer)
    }

    fn error_of(&self, port: u64) -> &CallErrorKind {
        self.answer_of(port).expect("answered").as_ref().expect_err("an error").kind()
    }
}

fn lost(sent: bool) -> AttemptEnd {
    AttemptEnd::ConnectionLost { reason: "cut".into(), sent }
}

const TWO: &[(&str, &str, &[&str])] = &[("a", "g", &["t"]), ("b", "g", &["t"])];

#[test]
fn calls_to_two_groups_that_alternate_give_each_replica_half() {
    let servers: &[(&str, &str, &[&str])] = &[
        ("f1", "files", &["read"]),
        ("f2", "files", &["read"]),
        ("d1", "db", &["query"]),
        ("d2", "db", &["query"]),
    ];
    let mut house = House::new("round-robin", |_| {}).with(servers, 8);
    let mut count = std::collections::BTreeMap::<String, u32>::new();
    for _ in 0..100 {
        for tool in ["read", "query"] {
            house.call(Call::tool(tool));
            *count.entry(house.succeed_last()).or_default() += 1;
        }
    }
    assert_eq!(count.into_values().collect::<Vec<_>>(), [50, 50, 50, 50]);
}

#[test]
fn a_bare_name_of_several_groups_is_an_error_that_lists_them() {
    let servers: &[(&str, &str, &[&str])] = &[("a", "x", &["t"]), ("b", "y", &["t"])];
    let mut house = House::new("round-robin", |_| {}).with(servers, 8);
    let call = house.call(Call::tool("t"));
    let CallErrorKind::AmbiguousTool { candidates } = house.error_of(call) else { panic!("not ambiguous") };
    assert_eq!(candidates, &["x/t", "y/t"]);
    house.call(Call::tool("y/t"));
    assert_eq!(house.last().0, "b");
    for (call, server) in [
        (Call::tool("t").group("x"), "a"),
        (Call::tool("t").server("b"), "b"),
        (Call::tool("t").tag("tag-a"), "a"),
    ] {
        house.call(call);
        assert_eq!(house.last().0, server, "a selector tells which is meant");
    }
    let nowhere = house.call(Call::tool("t").server("c"));
    assert!(matches!(house.error_of(nowhere), CallErrorKind::NoMatch { .. }));
}

/// A server whose tools nobody knows, and that is not waited for.
fn dark() -> Standing {
    Standing { listed: false, ..down() }
}

#[test]
fn what_nobody_who_is_up_offers_is_unavailable_while_a_server_that_is_down_may_have_it() {
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["file.read"])], 8);
    house.join("dark", "dark", 9, Incarnation::FIRST, dark());
    for call in [
        Call::tool("file.raed"),
        Call::tool("dark/x"),
        Call::tool("dark__x"),
        Call::tool("file.read").server("dark"),
        Call::prompt("dark/x"),
        Call::resource("file:///x"),
    ] {
        let call = house.call(call);
        let CallErrorKind::Unavailable { servers } = house.error_of(call) else { panic!("unknown") };
        assert_eq!(servers.iter().map(|down| down.server.as_str()).collect::<Vec<_>>(), ["dark"]);
        let error = house.answer_of(call).unwrap().as_ref().unwrap_err();
        assert!(error.retryable() && error.retry_after() > Some(Duration::ZERO), "{error}");
        assert!(error.to_string().contains(": server dark is down: refused, next attempt in "), "{error}");
    }
}

#[test]
fn unknown_is_said_where_every_server_that_could_have_it_is_known() {
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["t"])], 8);
    house.join("dark", "dark", 9, Incarnation::FIRST, dark());
    for call in
        [Call::tool("g/u"), Call::tool("g__u"), Call::tool("u").server("a"), Call::tool("u").group("g")]
    {
        let call = house.call(call);
        assert!(matches!(house.error_of(call), CallErrorKind::UnknownTool { .. }));
        assert!(!house.answer_of(call).unwrap().as_ref().unwrap_err().retryable());
    }
    let call = house.call(Call::tool("no-such-group/u"));
    assert!(matches!(house.error_of(call), CallErrorKind::UnknownTool { .. }));
    let call = house.call(Call::prompt("g/u"));
    assert!(matches!(house.error_of(call), CallErrorKind::UnknownPrompt { .. }));
}

#[test]
fn a_name_of_a_group_that_may_still_list_waits_and_is_then_unavailable_whoever_else_calls_a_tool_so() {
    let long = "g".repeat(64);
    let cut = format!("{}_0123abcd", "g".repeat(55));
    let servers: &[(&str, &str, &[&str])] = &[("a", "other", &["github__x", "t"]), ("b", "git", &["hub__x"])];
    let mut house = House::new("round-robin", |_| {});
    for (server, group) in [("dark", "github"), ("long", long.as_str())] {
        house.join(server, group, 9, Incarnation::FIRST, Standing::beginning());
        house.registered.push(crate::id::GroupId::new(group).unwrap());
    }
    let mut house = house.with(servers, 8);
    for (server, name) in [("dark", "github__x"), ("dark", "github__y"), ("long", cut.as_str())] {
        house.standing(server, Standing::beginning());
        for call in [Call::tool(name), Call::prompt(name)] {
            let call = house.call(call);
            assert!(house.answer_of(call).is_none(), "{name}: its server is still coming");
            house.standing(server, dark());
            let CallErrorKind::Unavailable { servers } = house.error_of(call) else { panic!("{name}") };
            assert_eq!(servers.iter().map(|down| down.server.as_str()).collect::<Vec<_>>(), [server]);
            house.standing(server, Standing::beginning());
        }
    }
    assert!(house.out.dispatched.is_empty(), "nobody else gets it");
    house.standing("dark", up(8));
    let unknown = house.call(Call::tool("github__x"));
    assert!(matches!(house.error_of(unknown), CallErrorKind::UnknownTool { .. }), "it offers no such tool");
    for call in [Call::tool("github__x").group("other"), Call::tool("other/github__x")] {
        house.call(call);
        assert_eq!(house.last().0, "a");
    }
}

#[test]
fn a_server_that_is_about_to_be_dialled_is_worth_a_moment_and_never_none() {
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["t"])], 8);
    let due = Some(house.now);
    for standing in [
        Standing { retry_at: due, ..down() },
        down(),
        Standing { status: ServerStatus::Connecting, ..down() },
        Standing { status: ServerStatus::Quarantined, retry_at: due, ..down() },
    ] {
        house.standing("a", standing);
        let call = house.call(Call::tool("t"));
        let error = house.answer_of(call).unwrap().as_ref().unwrap_err();
        assert!(error.retryable() && error.retry_after() >= Some(Duration::from_millis(100)), "{error}");
    }
}

#[test]
fn a_deadline_that_has_passed_sends_nothing() {
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["t"])], 1);
    let call = house.call(Call::tool("t").timeout(Duration::ZERO));
    let error = house.answer_of(call).unwrap().as_ref().unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::DeadlineExceeded { sent: false, .. }), "{error}");
    assert_eq!((error.effect(), error.attempts()), (Effect::NotSent, 0));
    assert!(house.out.dispatched.is_empty());
    // Nor does one that passes in a queue, where room is made before the clock is looked at.
    house.call(Call::tool("t"));
    let (_, attempt) = house.last();
    let late = house.call(Call::tool("t").timeout(Duration::from_secs(1)));
    let patient = house.call(Call::tool("t"));
    house.now += Duration::from_secs(1);
    house.succeed("a", attempt);
    assert!(matches!(house.error_of(late), CallErrorKind::DeadlineExceeded { sent: false, .. }));
    assert_eq!(house.last().1.call, CallId(patient));
}

#[test]
fn a_deadline_that_passes_while_servers_are_still_coming_names_them_and_what_looks_alike() {
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["read"])], 8);
    for n in 0..40 {
        let late = format!("late-{n:02}");
        house.join(&late, &late, 9, Incarnation::FIRST, Standing::beginning());
    }
    let call = house.call(Call::tool("raed").timeout(Duration::from_secs(1)));
    let of_one = house.call(Call::tool("late-07/x").timeout(Duration::from_secs(1)));
    assert!(house.answer_of(call).is_none(), "not before everybody was asked");
    house.wait(1_000);
    let error = house.answer_of(call).unwrap().as_ref().unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::DeadlineExceeded { sent: false, .. }), "{error}");
    assert_eq!((error.awaited().len(), error.awaited()[0].server.as_str()), (32, "late-00"));
    assert!(error.to_string().contains("; waited for: late-00 is starting: "), "{error}");
    assert!(house.out.looked_for_near.contains(&call), "near names are found by whoever called");
    let error = house.answer_of(of_one).unwrap().as_ref().unwrap_err();
    assert_eq!(error.awaited().iter().map(|one| one.server.as_str()).collect::<Vec<_>>(), ["late-07"]);
    // So is one that another server offers, and that this one is asked for by its name.
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["read"])], 8);
    house.join("late", "late", 9, Incarnation::FIRST, Standing::beginning());
    let call = house.call(Call::tool("read").server("late").timeout(Duration::from_secs(1)));
    house.wait(1_000);
    let error = house.answer_of(call).unwrap().as_ref().unwrap_err();
    assert_eq!(error.awaited().iter().map(|one| one.server.as_str()).collect::<Vec<_>>(), ["late"]);
    // One that waits for room alone, or was sent, waits for no server.
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["t"])], 1);
    let second = Duration::from_secs(1);
    let sent = house.call(Call::tool("t").timeout(second));
    let queued = house.call(Call::tool("t").timeout(second));
    house.wait(1_000);
    for call in [sent, queued] {
        let error = house.answer_of(call).unwrap().as_ref().unwrap_err();
        assert!(error.awaited().is_empty() && !error.to_string().contains("waited for"), "{error}");
    }
}

#[test]
fn a_tool_of_a_server_that_is_still_coming_is_waited_for() {
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["t"])], 8);
    house.join("late", "late", 9, Incarnation::FIRST, Standing::beginning());
    let call = house.call(Call::tool("u"));
    assert!(house.answer_of(call).is_none());
    house.standing("late", dark());
    assert!(matches!(house.error_of(call), CallErrorKind::Unavailable { .. }));
}

#[test]
fn a_name_that_no_server_which_is_coming_can_have_waits_for_none() {
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["t"])], 8);
    for late in ["late-1", "late-2"] {
        house.join(late, late, 9, Incarnation::FIRST, Standing::beginning());
    }
    for call in [Call::tool("g/u"), Call::tool("g__u"), Call::tool("u").server("a")] {
        let call = house.call(call);
        assert!(matches!(house.error_of(call), CallErrorKind::UnknownTool { .. }));
    }
    let waiting = [Call::tool("late-1/u"), Call::tool("late-1__u")].map(|call| house.call(call));
    assert!(waiting.iter().all(|call| house.answer_of(*call).is_none()));
    house.standing("late-1", dark());
    for call in waiting {
        assert!(
            matches!(house.error_of(call), CallErrorKind::Unavailable { .. }),
            "the other one has no say"
        );
    }
}

#[test]
fn before_the_registry_has_introduced_itself_calls_wait() {
    let mut house = House::new("round-robin", |_| {});
    let call = house.call(Call::tool("t"));
    assert!(house.answer_of(call).is_none());
    house.routing.introduced(house.now, &mut house.out);
    assert!(matches!(house.error_of(call), CallErrorKind::UnknownTool { .. }));
}

#[test]
fn selectors_narrow_the_candidates() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    for _ in 0..4 {
        house.call(Call::tool("t").server("b"));
        assert_eq!(house.last().0, "b");
        house.call(Call::tool("t").tag("tag-a"));
        assert_eq!(house.last().0, "a");
    }
    let call = house.call(Call::tool("t").tag("gold"));
    assert!(matches!(house.error_of(call), CallErrorKind::NoMatch { selector } if selector == "tags gold"));
}

#[test]
fn an_open_breaker_is_no_candidate_and_all_open_fails_fast_with_the_next_attempt() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let retry_after = Some(Duration::from_secs(3));
    let open = Standing { admission: Admission::Rejecting { retry_after }, ..up(8) };
    house.standing("a", open.clone());
    for _ in 0..4 {
        house.call(Call::tool("t"));
        assert_eq!(house.last().0, "b");
    }
    house.standing("b", open);
    let call = house.call(Call::tool("t"));
    let error = house.answer_of(call).unwrap().as_ref().unwrap_err();
    assert_eq!(error.retry_after(), retry_after);
    assert!(error.retryable());
}

#[test]
fn where_too_many_breakers_are_open_the_least_bad_server_is_tried() {
    let mut house = House::new("round-robin", |settings| settings.ejection_max = 0.5).with(TWO, 8);
    house.call(Call::tool("t"));
    let (bad, attempt) = house.last();
    house.end(&bad, attempt, AttemptEnd::InvalidResponse("no".into()));
    let open =
        Standing { admission: Admission::Rejecting { retry_after: Some(Duration::from_secs(3)) }, ..up(8) };
    house.standing("a", open.clone());
    house.standing("b", open);
    let tried = house.call(Call::tool("t"));
    assert!(house.answer_of(tried).is_none());
    assert_ne!(house.last().0, bad);
    assert!(house.out.dispatched.last().unwrap().1.bypass);
    let forced = Standing { admission: Admission::Rejecting { retry_after: None }, ..up(8) };
    house.standing("a", forced.clone());
    house.standing("b", forced);
    let refused = house.call(Call::tool("t"));
    assert!(
        matches!(house.error_of(refused), CallErrorKind::Unavailable { .. }),
        "an order of the host is obeyed"
    );
}

#[test]
fn a_half_open_server_gets_no_more_than_its_permits() {
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["t"])], 8);
    house.standing("a", Standing { admission: Admission::Probing { permits: 2 }, ..up(8) });
    for _ in 0..5 {
        house.call(Call::tool("t"));
    }
    assert_eq!(house.out.dispatched.len(), 2);
    house.standing("a", up(8));
    assert_eq!(house.out.dispatched.len(), 5);
}

#[test]
fn high_priority_goes_first_when_a_slot_is_free_again() {
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["t"])], 1);
    house.call(Call::tool("t"));
    house.call(Call::tool("t").priority(Priority::Low));
    let high = house.call(Call::tool("t").priority(Priority::High));
    house.succeed_last();
    assert_eq!(house.last().1.call, CallId(high));
}

#[test]
fn a_full_queue_sheds_the_lowest_priority_and_says_so() {
    let mut house =
        House::new("round-robin", |settings| settings.mailbox.capacity = 2).with(&[("a", "g", &["t"])], 1);
    house.call(Call::tool("t"));
    house.call(Call::tool("t"));
    let low = house.call(Call::tool("t").priority(Priority::Low));
    let high = house.call(Call::tool("t").priority(Priority::High));
    assert!(matches!(house.error_of(low), CallErrorKind::Overloaded { limit: 2, .. }));
    assert!(house.answer_of(high).is_none());
    let more = house.call(Call::tool("t").priority(Priority::Low));
    assert!(matches!(house.error_of(more), CallErrorKind::Overloaded { .. }));
}

#[test]
fn an_answer_that_comes_late_or_twice_meets_no_entry() {
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["t"])], 8);
    let call = house.call(Call::tool("t").timeout(Duration::from_secs(1)));
    let (server, attempt) = house.last();
    house.now += Duration::from_secs(1);
    house.routing.tick(house.now, &mut house.out);
    assert!(matches!(house.error_of(call), CallErrorKind::DeadlineExceeded { sent: true, .. }));
    assert_eq!(house.out.cancelled, [(server.clone(), attempt, CancelReason::DeadlineExceeded)]);
    house.succeed(&server, attempt);
    house.succeed(&server, attempt);
    assert!(house.answer_of(call).is_some());
    assert_eq!(house.routing.stats(house.now).late_answers, 2);
}

#[test]
fn a_deadline_covers_the_time_in_the_queue() {
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["t"])], 1);
    house.call(Call::tool("t"));
    let queued = house.call(Call::tool("t").timeout(Duration::from_secs(1)));
    house.now += Duration::from_secs(1);
    house.routing.tick(house.now, &mut house.out);
    assert!(matches!(house.error_of(queued), CallErrorKind::DeadlineExceeded { sent: false, .. }));
    assert_eq!(house.routing.stats(house.now).queued, QueuedStats::default());
}

#[test]
fn deadlines_go_call_then_tool_then_server_then_settings() {
    let timeouts = |settings: &mut Settings| {
        settings.tool_timeouts.insert("slow".into(), Duration::from_secs(60));
    };
    let mut house = House::new("round-robin", timeouts);
    let spec = Server::custom("a").timeout(Duration::from_secs(7));
    let spec = spec.settle(&Settings::default(), 0).unwrap();
    house = house.with(&[("a", "a", &["t", "slow"])], 8);
    house.routing.joined(Arc::new(spec), Incarnation::FIRST, Some("a".into()), up(8), house.now);
    let deadline = |house: &House, call| house.routing.calls.get(CallId(call)).unwrap().timeout;
    let call = house.call(Call::tool("t"));
    assert_eq!(deadline(&house, call), Duration::from_secs(7));
    let call = house.call(Call::tool("slow"));
    assert_eq!(deadline(&house, call), Duration::from_secs(60));
    let call = house.call(Call::tool("slow").timeout(Duration::from_secs(1)));
    assert_eq!(deadline(&house, call), Duration::from_secs(1));
}

#[test]
fn a_tools_deadline_holds_however_the_call_and_the_setting_spell_it() {
    let secs = Duration::from_secs;
    for (key, other) in [("slow", None), ("g/slow", None), ("g__slow", None), ("g/slow", Some("slow"))] {
        let timeouts = |settings: &mut Settings| {
            settings.tool_timeouts.insert(key.into(), secs(60));
            settings.tool_timeouts.extend(other.map(|other| (other.to_owned(), secs(1))));
        };
        let mut house = House::new("round-robin", timeouts).with(&[("a", "g", &["t", "slow"])], 8);
        for written in ["slow", "g/slow", "g__slow"] {
            let call = house.call(Call::tool(written));
            let timeout = house.routing.calls.get(CallId(call)).unwrap().timeout;
            assert_eq!(timeout, secs(60), "{key} {other:?}: {written}");
        }
        let call = house.call(Call::tool("g/t"));
        assert_eq!(house.routing.calls.get(CallId(call)).unwrap().timeout, Settings::default().call_timeout);
    }
}

#[test]
fn a_caller_who_leaves_frees_the_slot_and_the_peer_is_told() {
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["t"])], 1);
    let first = house.call(Call::tool("t"));
    let second = house.call(Call::tool("t"));
    house.routing.cancel(CallId(first), house.now, &mut house.out);
    assert_eq!(house.out.cancelled[0].2, CancelReason::CallerLeft);
    assert_eq!(house.last().1.call, CallId(second));
}

#[test]
fn affinity_is_bound_by_success_and_follows_the_server_that_admits() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let call = Call::tool("t").affinity("user-7");
    house.call(call.clone());
    let (first, attempt) = house.last();
    house.end(&first, attempt, AttemptEnd::Rpc(RpcError { code: -32603, message: "no".into(), data: None }));
    assert_eq!(house.routing.stats(house.now).affinity_bindings, 0, "a failure binds nothing");
    house.call(call.clone());
    let bound = house.succeed_last();
    for _ in 0..5 {
        house.call(call.clone());
        assert_eq!(house.succeed_last(), bound);
    }
    house.standing(&bound, down());
    house.call(call.clone());
    let other = house.succeed_last();
    assert_ne!(other, bound);
    house.standing(&bound, up(8));
    house.call(call);
    assert_eq!(house.succeed_last(), other, "it was bound anew");
}

#[test]
fn a_call_that_was_sent_before_its_key_was_bound_binds_it_to_no_other_server() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let call = Call::tool("t").affinity("user-7");
    house.call(call.clone());
    let (first, attempt) = house.last();
    house.call(call.clone());
    let (second, later) = house.last();
    assert_ne!(first, second);
    house.succeed(&first, attempt);
    house.succeed(&second, later);
    for _ in 0..3 {
        house.call(call.clone());
        assert_eq!(house.succeed_last(), first);
    }
}

#[test]
fn strict_affinity_fails_where_its_server_takes_no_calls() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let call = Call::tool("t").strict_affinity("user-7");
    house.call(call.clone());
    let bound = house.succeed_last();
    house.standing(&bound, down());
    let failed = house.call(call);
    let CallErrorKind::Unavailable { servers } = house.error_of(failed) else { panic!("served") };
    assert_eq!(servers[0].server.as_str(), bound);
}

#[test]
fn a_dead_server_loses_its_calls_once_and_its_late_words_count_for_nothing() {
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["t"])], 8);
    let call = house.call(Call::tool("t"));
    let (_, attempt) = house.last();
    let waiting = Standing { status: ServerStatus::Restarting, reconnecting_soon: true, ..down() };
    let (now, out) = (house.now, &mut house.out);
    house.routing.server_down(&id("a"), Incarnation::FIRST, &ExitCause::Killed, waiting, now, out);
    assert!(matches!(house.error_of(call), CallErrorKind::ServerDown { cause: ExitCause::Killed, .. }));
    house.succeed("a", attempt);
    let next = house.call(Call::tool("t"));
    assert!(house.answer_of(next).is_none(), "calls wait for a restart that is moments away");
    house.join("a", "g", 0, Incarnation::FIRST.next(), up(8));
    let second = Incarnation::FIRST.next();
    house.routing.standing(&id("a"), second, up(8), house.now, &mut house.out);
    assert_eq!(house.last().1.call, CallId(next));
    house.standing("a", down());
    house.call(Call::tool("t"));
    assert_eq!(house.out.dispatched.len(), 3, "a report of the dead life changes nothing");
}

#[test]
fn a_server_whose_actor_is_gone_gets_no_call_and_another_one_does() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    house.out.gone.push("a".into());
    for _ in 0..4 {
        let call = house.call(Call::tool("t"));
        assert_eq!(house.last().0, "b");
        assert!(house.answer_of(call).is_none());
    }
}

#[test]
fn a_refused_dispatch_goes_to_another_server_at_once() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    house.call(Call::tool("t"));
    let (first, attempt) = house.last();
    house.routing.refused(&id(&first), Incarnation::FIRST, attempt, house.now, &mut house.out);
    assert_ne!(house.last().0, first);
}

#[test]
fn arguments_that_are_no_object_are_refused_before_anything_is_sent() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let call = house.call(Call::tool("t").args([1]));
    assert!(matches!(house.error_of(call), CallErrorKind::InvalidArguments { .. }));
    assert!(house.out.dispatched.is_empty());
}

#[test]
fn draining_refuses_new_calls_and_ends_the_open_ones() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let open = house.call(Call::tool("t"));
    house.routing.drain();
    let late = house.call(Call::tool("t"));
    assert!(matches!(house.error_of(late), CallErrorKind::ShuttingDown { sent: false }));
    assert!(house.answer_of(open).is_none());
    assert_eq!(house.routing.end_all(house.now, &mut house.out), 1);
    assert!(matches!(house.error_of(open), CallErrorKind::ShuttingDown { sent: true }));
}

#[test]
fn the_end_of_all_calls_dispatches_none_of_them() {
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["t"])], 1);
    let (sent, queued) = (house.call(Call::tool("t")), house.call(Call::tool("t")));
    house.routing.end_all(house.now, &mut house.out);
    assert!(matches!(house.error_of(sent), CallErrorKind::ShuttingDown { sent: true }));
    assert!(matches!(house.error_of(queued), CallErrorKind::ShuttingDown { sent: false }));
    assert_eq!(house.out.dispatched.len(), 1);
}

#[test]
fn switching_the_strategy_in_flight_keeps_the_counts_true() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    house.call(Call::tool("t"));
    let (busy, attempt) = house.last();
    house.routing.set_strategy("least-connections").unwrap();
    house.call(Call::tool("t"));
    let (idle, _) = house.last();
    assert_ne!(busy, idle);
    house.succeed(&busy, attempt);
    house.call(Call::tool("t"));
    assert_eq!(house.last().0, busy);
    assert!(house.routing.set_strategy("fastest").unwrap_err().to_string().contains("peak-ewma"));
}

#[test]
fn a_server_that_leaves_gets_no_new_calls_and_finishes_what_it_has() {
    let mut house = House::new("round-robin", |_| {}).with(TWO, 8);
    let call = house.call(Call::tool("t"));
    let (server, attempt) = house.last();
    house.routing.leaving(&id(&server), house.now, &mut house.out);
    for _ in 0..3 {
        house.call(Call::tool("t"));
        assert_ne!(house.last().0, server);
    }
    house.succeed(&server, attempt);
    assert!(house.answer_of(call).unwrap().is_ok());
}

#[test]
fn a_server_that_is_replaced_finishes_what_it_has_while_its_next_life_takes_what_is_new() {
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["t"])], 8);
    let (kept, cut) = (house.call(Call::tool("t")), house.call(Call::tool("t")));
    let attempts: Vec<AttemptId> = house.out.dispatched.iter().map(|(_, sent)| sent.attempt).collect();
    let spec = Server::custom("a").group("g");
    let spec = Arc::new(spec.settle(&Settings::default(), 0).unwrap());
    let next = Incarnation::FIRST.next();
    let handle = Some("a-next".to_owned());
    house.routing.replaced(spec, next, handle, Standing::beginning(), house.now, &mut house.out);

    let waiting = house.call(Call::tool("t"));
    assert!(house.answer_of(waiting).is_none(), "it waits for the next life to be ready");
    house.routing.standing(&id("a"), next, up(8), house.now, &mut house.out);
    assert_eq!(house.last().0, "a-next");
    house.succeed("a", attempts[0]);
    assert!(house.answer_of(kept).unwrap().is_ok());
    house.routing.retired(&id("a"), Incarnation::FIRST, house.now, &mut house.out);
    assert!(matches!(house.error_of(cut), CallErrorKind::ServerDown { sent: true, .. }));
    assert_eq!(house.routing.stats(house.now).in_flight, 1);
}

#[test]
fn a_router_that_ends_hands_back_what_no_server_has_seen_and_interrupts_the_rest() {
    let mut house = House::new("round-robin", |_| {}).with(&[("a", "g", &["t"])], 1);
    let (sent, queued) = (house.call(Call::tool("t")), house.call(Call::tool("t")));
    house.routing.abandon(house.now, &mut house.out);
    assert!(matches!(house.error_of(sent), CallErrorKind::Interrupted));
    assert!(house.answer_of(queued).is_none());
    assert_eq!(house.out.handed_back.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [queued]);
    assert_eq!(house.out.cancelled.len(), 1, "what is in flight is called off");
    assert_eq!(house.routing.open_calls(), 0);
}
