use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::rules::Lifetime;
use super::*;
use crate::call::Selector;
use crate::config::ToolName;
use crate::error::CallErrorKind;
use crate::id::{GroupId, RequestId, ServerId};
use crate::json::RawJson;
use crate::json::canonical::canonical;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A caller, by number, who may leave.
#[derive(Debug, Clone)]
struct Caller(u32, Rc<Cell<bool>>);

impl Port for Caller {
    fn is_closed(&self) -> bool {
        self.1.get()
    }
}

fn caller(number: u32) -> Caller {
    Caller(number, Rc::new(Cell::new(false)))
}

fn cache_of(entries_max: usize, bytes_max: usize) -> ResponseCache<Caller> {
    let mut settings = CacheSettings::default();
    (settings.entries_max, settings.bytes_max) = (entries_max, bytes_max);
    ResponseCache::new(&settings, 1_000, Instant::now())
}

fn cache() -> ResponseCache<Caller> {
    cache_of(1_000, 1 << 20)
}

const RULED: Terms =
    Terms::Ruled(Lifetime { ttl: secs(60), while_revalidate: Duration::ZERO, if_error: Duration::ZERO });

fn question(kind: CachedKind, tool: &str, arguments: &str) -> Arc<Question> {
    let group = GroupId::new("g").unwrap();
    let arguments = canonical(&RawJson::from_text(arguments).unwrap()).unwrap();
    Arc::new(Question { kind, group, name: tool.into(), selector: Selector::default(), arguments })
}

fn wanted(tool: &str, arguments: &str) -> Wanted {
    let place = Place { question: question(CachedKind::Tool, tool, arguments), whose: Whose::Everyone };
    Wanted { place, terms: RULED, priority: Priority::Normal, demand: Demand::Usual }
}

fn read() -> Wanted {
    wanted("read", r#"{"path":"a"}"#)
}

fn kept(result: &str) -> Kept {
    Kept {
        server: ServerId::new("s").unwrap(),
        group: GroupId::new("g").unwrap(),
        tool: "read".into(),
        result: RawJson::from_text(result).unwrap(),
    }
}

fn fetched(terms: &Terms, result: &str) -> Fetched {
    let kept = kept(result);
    let verdict = judge(terms, &kept.result);
    Fetched::Answer(kept, verdict)
}

fn failed(kind: CallErrorKind) -> Fetched {
    Fetched::Failed(CallError::new(kind, RequestId::random(), "read", None, 1))
}

fn led(asked: Asked<Caller>) -> FlightId {
    match asked {
        Asked::Lead(_, flight) => flight,
        other => panic!("{other:?}"),
    }
}

fn hit(asked: Asked<Caller>) -> String {
    match asked {
        Asked::Hit(_, kept) => kept.result.to_string(),
        other => panic!("{other:?}"),
    }
}

fn misses(asked: &Asked<Caller>) -> bool {
    matches!(asked, Asked::Lead(..))
}

/// Asks, leads and answers.
fn fill(cache: &mut ResponseCache<Caller>, wanted: Wanted, result: &str, now: Instant) {
    let terms = wanted.terms;
    let flight = led(cache.ask(wanted, caller(0), now));
    cache.finished(flight, fetched(&terms, result), now);
}

#[test]
fn a_result_is_given_out_until_its_time_is_over() {
    let (mut cache, now) = (cache(), Instant::now());
    fill(&mut cache, read(), "1", now);
    assert_eq!(hit(cache.ask(read(), caller(1), now + secs(59))), "1");
    assert!(misses(&cache.ask(read(), caller(1), now + secs(60))));
}

#[test]
fn fault_e2_what_a_write_made_wrong_is_not_given_out() {
    let (mut cache, now) = (cache(), Instant::now());
    fill(&mut cache, read(), "1", now);
    cache.clear(&Sweep::Tool(ToolName::parse("read").unwrap()));
    assert!(misses(&cache.ask(read(), caller(1), now)));
    assert_eq!(cache.stats().invalidations, 1);
}

#[test]
fn fault_e2_a_result_whose_request_began_before_a_write_is_not_kept_and_joined_by_nobody_after_it() {
    let (mut cache, now) = (cache(), Instant::now());
    let before = led(cache.ask(read(), caller(1), now));
    assert!(matches!(cache.ask(read(), caller(2), now), Asked::Follow));
    cache.clear(&Sweep::Everything);
    // Who asks after the write must not be told what was so before it.
    let after = led(cache.ask(read(), caller(3), now));
    let (followers, _) = cache.finished(before, fetched(&RULED, "1"), now);
    assert_eq!(followers.len(), 1);
    assert!(matches!(cache.ask(read(), caller(4), now), Asked::Follow));
    let (followers, _) = cache.finished(after, fetched(&RULED, "2"), now);
    assert_eq!(followers.len(), 1);
    assert_eq!(hit(cache.ask(read(), caller(5), now)), "2");
}

#[test]
fn an_older_answer_does_not_replace_a_newer_one() {
    let (mut cache, now) = (cache(), Instant::now());
    let older = led(cache.ask(read(), caller(1), now));
    let newer = led(cache.ask(Wanted { demand: Demand::Fetched, ..read() }, caller(2), now));
    cache.finished(newer, fetched(&RULED, "2"), now);
    cache.finished(older, fetched(&RULED, "1"), now);
    assert_eq!(hit(cache.ask(read(), caller(3), now)), "2");
}

#[test]
fn fault_e3_the_same_arguments_are_one_entry_however_they_are_written_and_others_are_not() {
    let (mut cache, now) = (cache(), Instant::now());
    fill(&mut cache, wanted("read", r#"{"a":{"x":1,"y":2},"b":1.50}"#), "1", now);
    let same = wanted("read", r#"{ "b":15e-1, "a":{"y":2.0,"x":1} }"#);
    assert_eq!(hit(cache.ask(same, caller(1), now)), "1");
    let large = r#"{"b":1.5,"a":{"x":1,"y":9007199254740993}}"#;
    fill(&mut cache, wanted("read", large), "2", now);
    for other in [
        wanted("read", r#"{"b":1.5,"a":{"x":2,"y":1}}"#),
        wanted("read", r#"{"b":1.5,"a":{"x":1,"y":9007199254740992}}"#),
        wanted("read2", r#"{"b":1.5,"a":{"x":1,"y":2}}"#),
    ] {
        assert!(misses(&cache.ask(other, caller(1), now)));
    }
}

#[test]
fn fault_e3_a_call_for_other_servers_is_another_question() {
    let (mut cache, now) = (cache(), Instant::now());
    fill(&mut cache, read(), "1", now);
    let mut other = (*read().place.question).clone();
    other.selector.tags.push("eu".into());
    let place = Place { question: Arc::new(other), whose: Whose::Everyone };
    assert!(misses(&cache.ask(Wanted { place, ..read() }, caller(1), now)));
    let mut other = (*read().place.question).clone();
    other.group = GroupId::new("h").unwrap();
    let place = Place { question: Arc::new(other), whose: Whose::Everyone };
    assert!(misses(&cache.ask(Wanted { place, ..read() }, caller(1), now)));
}

#[test]
fn fault_e4_a_result_that_is_null_or_false_hits() {
    let (mut cache, now) = (cache(), Instant::now());
    for (n, bare) in ["null", "false", "0", "\"\""].iter().enumerate() {
        let arguments = format!(r#"{{"n":{n}}}"#);
        fill(&mut cache, wanted("read", &arguments), bare, now);
        assert_eq!(hit(cache.ask(wanted("read", &arguments), caller(1), now)), *bare);
    }
}

#[test]
fn fault_e6_equal_calls_make_one_request() {
    let (mut cache, now) = (cache(), Instant::now());
    let flight = led(cache.ask(read(), caller(0), now));
    for n in 1..1_000 {
        assert!(matches!(cache.ask(read(), caller(n), now), Asked::Follow));
    }
    let (followers, shared) = cache.finished(flight, fetched(&RULED, "1"), now);
    assert_eq!(followers.iter().map(|caller| caller.0).collect::<Vec<_>>(), (1..1_000).collect::<Vec<_>>());
    assert!(matches!(shared, Shared::Answer(kept) if kept.result.as_str() == "1"));
    let stats = cache.stats();
    assert_eq!((stats.misses, stats.coalesced, stats.stored, stats.entries), (1, 999, 1, 1));
}

#[test]
fn fault_e6_entries_and_bytes_are_bounded_and_what_had_to_go_is_counted() {
    let now = Instant::now();
    for (entries_max, bytes_max) in [(50, 1 << 20), (1_000, 20_000)] {
        let mut cache = cache_of(entries_max, bytes_max);
        for n in 0..500 {
            let result = format!("\"{}\"", "x".repeat(n));
            fill(&mut cache, wanted("read", &format!(r#"{{"n":{n}}}"#)), &result, now);
            let stats = cache.stats();
            assert!(stats.entries <= entries_max && stats.bytes <= bytes_max, "{stats:?}");
            assert_eq!(stats.entries as u64 + stats.evictions, n as u64 + 1, "{stats:?}");
        }
    }
}

#[test]
fn what_is_used_all_the_time_outlives_a_walk_over_much_else() {
    let (mut cache, now) = (cache_of(50, 1 << 20), Instant::now());
    fill(&mut cache, read(), "1", now);
    for n in 0..1_000 {
        assert_eq!(hit(cache.ask(read(), caller(1), now)), "1");
        fill(&mut cache, wanted("read", &format!(r#"{{"n":{n}}}"#)), "2", now);
    }
}

#[test]
fn fault_e7_an_answer_is_shared_by_whom_it_is_for_and_nobody_else() {
    let (mut cache, now) = (cache(), Instant::now());
    let whose = |whose| Wanted { place: Place { whose, ..read().place }, ..read() };
    let all = [
        Whose::Everyone,
        Whose::Affinity("ann".into()),
        Whose::Affinity("ben".into()),
        Whose::Identity(None),
        Whose::Identity(Some("ann".into())),
        Whose::Identity(Some("ben".into())),
    ];
    for (n, who) in all.iter().enumerate() {
        fill(&mut cache, whose(who.clone()), &n.to_string(), now);
    }
    for (n, who) in all.iter().enumerate() {
        assert_eq!(hit(cache.ask(whose(who.clone()), caller(1), now)), n.to_string(), "{who:?}");
    }
}

#[test]
fn fault_e8_another_demand_than_the_usual_takes_nothing_kept_and_keeps() {
    let (mut cache, now) = (cache(), Instant::now());
    fill(&mut cache, read(), "1", now);
    let refresh = || Wanted { demand: Demand::Fetched, ..read() };
    let flight = led(cache.ask(refresh(), caller(1), now));
    let other = led(cache.ask(refresh(), caller(2), now));
    cache.finished(flight, fetched(&RULED, "2"), now);
    cache.finished(other, fetched(&RULED, "3"), now);
    assert_eq!(hit(cache.ask(read(), caller(3), now)), "3");
}

#[test]
fn fault_e8_the_entries_of_a_server_that_left_or_a_tool_that_changed_are_dropped() {
    let (mut cache, now) = (cache(), Instant::now());
    for (sweep, dropped) in [
        (Sweep::Group(GroupId::new("g").unwrap()), 2),
        (Sweep::Group(GroupId::new("h").unwrap()), 0),
        (Sweep::Tool(ToolName::parse("g/read").unwrap()), 1),
        (Sweep::Kind(CachedKind::Resource), 0),
        (Sweep::Everything, 2),
    ] {
        cache.clear_out(&Sweep::Everything, now);
        fill(&mut cache, read(), "1", now);
        fill(&mut cache, wanted("stat", "{}"), "2", now);
        assert_eq!(cache.clear_out(&sweep, now), dropped, "{sweep:?}");
        assert_eq!(cache.stats().entries, 2 - dropped);
    }
}

#[test]
fn who_leads_and_leaves_passes_the_lead_on_to_the_most_urgent_who_still_waits() {
    let (mut cache, now) = (cache(), Instant::now());
    let low = Wanted { priority: Priority::Low, ..read() };
    let flight = led(cache.ask(Wanted { priority: Priority::High, ..read() }, caller(0), now));
    let gone = caller(2);
    for (wanted, caller) in [(low, caller(1)), (read(), gone.clone()), (read(), caller(3))] {
        assert!(matches!(cache.ask(wanted, caller, now), Asked::Follow));
    }
    gone.1.set(true);
    assert_eq!(cache.abandoned(flight).unwrap().0, 3);
    // The answer is as new as the request that was made for it.
    let (followers, _) = cache.finished(flight, fetched(&RULED, "1"), now);
    assert_eq!(followers.len(), 1);
    assert_eq!(hit(cache.ask(read(), caller(4), now)), "1");
}

#[test]
fn a_flight_that_everybody_left_is_over() {
    let (mut cache, now) = (cache(), Instant::now());
    let flight = led(cache.ask(read(), caller(0), now));
    assert!(cache.abandoned(flight).is_none());
    let next = led(cache.ask(read(), caller(1), now));
    assert!(cache.finished(flight, fetched(&RULED, "1"), now).0.is_empty());
    cache.finished(next, fetched(&RULED, "2"), now);
    assert_eq!(hit(cache.ask(read(), caller(2), now)), "2");
}

#[test]
fn nobody_waits_for_a_less_urgent_request() {
    let (mut cache, now) = (cache(), Instant::now());
    led(cache.ask(Wanted { priority: Priority::Low, ..read() }, caller(0), now));
    led(cache.ask(read(), caller(1), now));
    assert!(matches!(cache.ask(read(), caller(2), now), Asked::Follow));
}

#[test]
fn an_error_is_shared_and_not_kept() {
    let (mut cache, now) = (cache(), Instant::now());
    let flight = led(cache.ask(read(), caller(0), now));
    cache.ask(read(), caller(1), now);
    let (_, shared) = cache.finished(flight, failed(CallErrorKind::Interrupted), now);
    assert!(matches!(shared, Shared::Failed(_)));
    let flight = led(cache.ask(read(), caller(2), now));
    cache.ask(read(), caller(3), now);
    let (_, shared) = cache.finished(flight, fetched(&RULED, r#"{"isError":true}"#), now);
    assert!(matches!(shared, Shared::Answer(_)));
    led(cache.ask(read(), caller(4), now));
    assert_eq!(cache.stats().stored, 0);
}

#[test]
fn a_question_back_is_for_who_asked_alone() {
    let (mut cache, now) = (cache(), Instant::now());
    let flight = led(cache.ask(read(), caller(0), now));
    cache.ask(read(), caller(1), now);
    let question_back = fetched(&RULED, r#"{"resultType":"input_required","requestState":"s"}"#);
    assert!(
        matches!(cache.finished(flight, question_back, now), (waiting, Shared::Nothing) if waiting.len() == 1)
    );
    led(cache.ask(read(), caller(2), now));
}

#[test]
fn only_so_many_wait() {
    let now = Instant::now();
    let mut cache = ResponseCache::new(&CacheSettings::default(), 2, Instant::now());
    led(cache.ask(read(), caller(0), now));
    let waiting = caller(1);
    assert!(matches!(cache.ask(read(), waiting.clone(), now), Asked::Follow));
    assert!(matches!(cache.ask(read(), caller(2), now), Asked::Follow));
    // More of them than there is room for, until those who left are noticed.
    for n in 3..20 {
        assert!(matches!(cache.ask(read(), caller(n), now), Asked::Alone(_)));
    }
}

#[test]
fn a_stale_result_is_given_out_while_one_request_fetches_it_anew() {
    let lifetime = Lifetime { ttl: secs(60), while_revalidate: secs(30), if_error: Duration::ZERO };
    let read = || Wanted { terms: Terms::Ruled(lifetime), ..read() };
    let (mut cache, now) = (cache(), Instant::now());
    fill(&mut cache, read(), "1", now);
    let later = now + secs(89);
    let Asked::Stale(_, stale, flight) = cache.ask(read(), caller(1), later) else { panic!() };
    assert_eq!(stale.result.as_str(), "1");
    assert_eq!(hit(cache.ask(read(), caller(2), later)), "1", "one request is enough");
    cache.finished(flight, fetched(&read().terms, "2"), later);
    assert_eq!(hit(cache.ask(read(), caller(3), later)), "2");
    assert_eq!(cache.stats().stale_served, 2);
    assert!(misses(&cache.ask(read(), caller(4), later + secs(90))));
}

#[test]
fn a_stale_result_takes_the_place_of_an_error_that_no_server_is_to_blame_for_long_enough() {
    let lifetime = Lifetime { ttl: secs(60), while_revalidate: Duration::ZERO, if_error: secs(30) };
    let read = || Wanted { terms: Terms::Ruled(lifetime), ..read() };
    let (mut cache, now) = (cache(), Instant::now());
    fill(&mut cache, read(), "1", now);
    let later = now + secs(89);
    let flight = led(cache.ask(read(), caller(1), later));
    cache.ask(read(), caller(2), later);
    let down = CallErrorKind::Unavailable { servers: vec![] };
    assert!(matches!(cache.finished(flight, failed(down.clone()), later), (_, Shared::Answer(_))));
    let error = |kind| CallError::new(kind, RequestId::random(), "read", None, 1);
    let mut excused = |kind, at| cache.excused(&read().place, &read().terms, &error(kind), at).is_some();
    assert!(excused(down.clone(), later));
    assert!(!excused(down.clone(), now + secs(90)));
    // What the server refuses must not be read from here.
    assert!(!excused(CallErrorKind::Refused(crate::Refusal::new(403, None, None)), later));
    cache.clear(&Sweep::Everything);
    assert!(cache.excused(&read().place, &read().terms, &error(down), later).is_none());
}

fn declared(kind: CachedKind, identity: Option<&str>) -> Wanted {
    let whose = Whose::Identity(identity.map(str::to_owned));
    let place = Place { question: question(kind, "file:///a", "{}"), whose };
    let terms = Terms::of(kind, None).unwrap();
    Wanted { place, terms, priority: Priority::Normal, demand: Demand::Usual }
}

#[test]
fn a_declared_result_is_kept_as_it_says_and_a_private_one_never_crosses_identities() {
    let (mut cache, now) = (cache(), Instant::now());
    let ann = || declared(CachedKind::Resource, Some("ann"));
    let ben = || declared(CachedKind::Resource, Some("ben"));
    fill(&mut cache, ann(), r#"{"ttlMs":5000,"cacheScope":"private"}"#, now);
    hit(cache.ask(ann(), caller(1), now));
    let flight = led(cache.ask(ben(), caller(2), now));
    led(cache.ask(declared(CachedKind::Resource, None), caller(3), now));
    // Nor does one that is under way, whose scope nobody knows yet.
    cache.finished(flight, fetched(&ben().terms, r#"{"ttlMs":5000,"cacheScope":"public","v":2}"#), now);
    assert!(hit(cache.ask(declared(CachedKind::Resource, Some("cid")), caller(4), now)).contains("\"v\":2"));
    assert!(hit(cache.ask(ann(), caller(5), now)).contains("private"));
    assert!(misses(&cache.ask(ann(), caller(6), now + secs(5))));
}

#[test]
fn a_result_that_declares_nothing_is_not_kept() {
    let (mut cache, now) = (cache(), Instant::now());
    for (kind, text) in [(CachedKind::Resource, "{}"), (CachedKind::Prompt, r#"{"ttlMs":-1}"#)] {
        fill(&mut cache, declared(kind, None), text, now);
        assert!(misses(&cache.ask(declared(kind, None), caller(1), now)));
    }
    assert_eq!(Terms::of(CachedKind::Tool, None), None);
}

#[test]
fn changes_that_are_told_often_hold_at_once_and_are_looked_through_for_at_a_bounded_rate() {
    let (mut cache, now) = (cache(), Instant::now());
    let updated = |name: &str| Sweep::Of {
        kind: CachedKind::Resource,
        group: GroupId::new("g").unwrap(),
        name: Some(name.into()),
    };
    let resource = |uri| {
        let place = Place { question: question(CachedKind::Resource, uri, "null"), whose: Whose::Everyone };
        Wanted { place, ..read() }
    };
    fill(&mut cache, resource("x:1"), "1", now);
    let dropped = cache.changed(vec![updated("x:1"), updated("x:2")], now).unwrap();
    assert_eq!((dropped.what.as_str(), dropped.entries), ("x:1 of g and 1 more", 1));
    // A flood: its words hold, and its walks are few.
    (0..1_000).for_each(|n| assert_eq!(cache.changed(vec![updated(&format!("y:{n}"))], now), None));
    fill(&mut cache, resource("x:1"), "2", now);
    assert_eq!(cache.changed(vec![updated("x:1")], now), None);
    assert_eq!(cache.stats().entries, 1, "it is dropped later");
    assert!(misses(&cache.ask(resource("x:1"), caller(1), now)), "and given to nobody before");
    let at = cache.next_time().unwrap();
    assert_eq!(at, now + secs(1));
    let dropped = cache.tick(at).unwrap();
    assert!(dropped.what.ends_with(" more") && dropped.entries == 1, "{dropped:?}");
    assert_eq!(cache.stats().entries, 0);
}

#[test]
fn the_memory_of_what_is_over_is_freed_without_being_asked_for() {
    let (mut cache, now) = (cache(), Instant::now());
    fill(&mut cache, read(), "1", now);
    let at = cache.next_time().unwrap();
    cache.tick(at);
    assert_eq!((cache.stats().entries, cache.stats().bytes), (0, 0));
    assert_eq!(cache.next_time(), None);
}

#[derive(Debug, Clone)]
enum Step {
    Ask { question: u8, fetched: bool },
    Finish { flight: usize, good: bool },
    Abandon(usize),
    Leave(usize),
    Clear(u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..3, prop::bool::weighted(0.1))
            .prop_map(|(question, fetched)| Step::Ask { question, fetched }),
        4 => (0usize..4, prop::bool::weighted(0.8)).prop_map(|(flight, good)| Step::Finish { flight, good }),
        1 => (0usize..4).prop_map(Step::Abandon),
        1 => (0usize..8).prop_map(Step::Leave),
        1 => (0u8..3).prop_map(Step::Clear),
        1 => (1u64..40).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Every result is the number of the moment at which its request began. Whoever is answered is told one that is newer than
    /// every clearing before it asked, and, unless it asked for nothing newer than usual, not older than its time to live.
    #[test]
    fn every_caller_gets_one_word_and_none_that_was_cleared_before_it_asked(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let (mut cache, mut now, mut moment) = (cache(), Instant::now(), 0u64);
        let start = now;
        let name = |question: u8| format!("t{question}");
        // Flights with their question, the moment and the time of their request.
        let mut flights: Vec<(FlightId, u8, u64, Instant)> = Vec::new();
        let mut cleared = [0u64; 3];
        // Who waits, with what its answer must not be older than.
        let mut waiting: Vec<(Caller, u64)> = Vec::new();
        let mut words = 0u32;
        let mut asked = 0u32;
        let mut left = 0u32;
        let age = |text: &str| -> (u64, u64) {
            let mut parts = text.trim_matches('"').split(' ').map(|part| part.parse().unwrap());
            (parts.next().unwrap(), parts.next().unwrap())
        };
        for step in steps {
            moment += 1;
            match step {
                Step::Ask { question, fetched } => {
                    let demand = if fetched { Demand::Fetched } else { Demand::Usual };
                    let caller = caller(asked);
                    asked += 1;
                    let wanted = Wanted { demand, ..wanted(&name(question), "{}") };
                    match cache.ask(wanted, caller.clone(), now) {
                        Asked::Hit(_, kept) => {
                            let (begun, came) = age(kept.result.as_str());
                            prop_assert!(!fetched && begun > cleared[usize::from(question)]);
                            prop_assert!(start + secs(came) + secs(60) > now);
                            words += 1;
                        }
                        Asked::Lead(_, flight) => {
                            flights.push((flight, question, moment, now));
                            words += 1;
                        }
                        Asked::Follow => waiting.push((caller, cleared[usize::from(question)])),
                        Asked::Stale(..) | Asked::Alone(_) => prop_assert!(false, "neither was asked for"),
                    }
                }
                Step::Finish { flight, good } if flight < flights.len() => {
                    let (id, _, begun, _) = flights.remove(flight);
                    let text = format!("\"{begun} {}\"", now.saturating_duration_since(start).as_secs());
                    let end = if good { fetched(&RULED, &text) } else { failed(CallErrorKind::Interrupted) };
                    for port in cache.finished(id, end, now).0.into_iter().filter(|port| !port.is_closed()) {
                        let place = waiting.iter().position(|(caller, _)| caller.0 == port.0);
                        let (_, newer_than) = waiting.remove(place.expect("nobody is answered twice"));
                        prop_assert!(begun > newer_than, "an answer from before a clearing");
                        words += 1;
                    }
                }
                Step::Abandon(flight) if flight < flights.len() => {
                    let (id, question, ..) = flights[flight];
                    match cache.abandoned(id) {
                        Some(port) => {
                            let place = waiting.iter().position(|(caller, _)| caller.0 == port.0);
                            waiting.remove(place.expect("nobody leads twice"));
                            flights[flight] = (id, question, moment, now);
                            words += 1;
                        }
                        None => {
                            flights.remove(flight);
                        }
                    }
                }
                Step::Leave(at) if at < waiting.len() => {
                    waiting.remove(at).0.1.set(true);
                    left += 1;
                }
                Step::Clear(question) => {
                    cache.clear(&Sweep::Tool(ToolName::parse(&name(question)).unwrap()));
                    cleared[usize::from(question)] = moment;
                }
                Step::Wait(some) => now += secs(some),
                Step::Finish { .. } | Step::Abandon(_) | Step::Leave(_) => {}
            }
        }
        for (id, ..) in flights {
            // Those who left may be answered as well; nobody hears it.
            let (ports, _) = cache.finished(id, failed(CallErrorKind::Interrupted), now);
            words += ports.iter().filter(|port| !port.is_closed()).count() as u32;
        }
        prop_assert_eq!(words + left, asked);
        prop_assert_eq!(cache.flights.len(), 0);
    }
}
