//! The rule of rules: every call has one answer, whatever happens in whatever order.

use proptest::prelude::*;
use proptest::strategy::Strategy;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Call {
        safety: u8,
        priority: u8,
    },
    Succeed(usize),
    Fail(usize),
    Lose {
        which: usize,
        sent: bool,
    },
    Refuse(usize),
    Cancel(u64),
    Down(usize),
    Up {
        server: usize,
        slots: usize,
    },
    Wait(u64),
    /// The router ends, and another one takes its place.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..3, 0u8..3).prop_map(|(safety, priority)| Step::Call { safety, priority }),
        3 => (0usize..8).prop_map(Step::Succeed),
        1 => (0usize..8).prop_map(Step::Fail),
        2 => (0usize..8, any::<bool>()).prop_map(|(which, sent)| Step::Lose { which, sent }),
        1 => (0usize..8).prop_map(Step::Refuse),
        1 => (0u64..40).prop_map(Step::Cancel),
        1 => (0usize..2).prop_map(Step::Down),
        2 => (0usize..2, 1usize..4).prop_map(|(server, slots)| Step::Up { server, slots }),
        1 => (0u64..2_000).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

fn house() -> House {
    let mut house = House::new("peak-ewma", |settings| settings.mailbox.capacity = 6).with(TWO, 2);
    let group = crate::id::GroupId::new("g").unwrap();
    for _ in 0..100 {
        house.routing.hedge_delays.observe(&group, &"t".into(), Duration::from_millis(500), house.now);
    }
    house
}

proptest! {
    #[test]
    fn every_call_is_answered_once_or_cancelled_and_no_slot_leaks(steps in prop::collection::vec(step(), 1..120)) {
        let names = ["a", "b"];
        let mut house = house();
        let mut lives = [Incarnation::FIRST; 2];
        let mut at_work: Vec<(String, Incarnation, AttemptId)> = Vec::new();
        let mut cancelled = 0usize;
        let mut seen = 0;
        for step in steps {
            match step {
                Step::Call { safety, priority } => {
                    let call = Call::tool("t").timeout(Duration::from_secs(3)).priority(Priority::ALL[priority as usize]);
                    house.call(match safety {
                        0 => call,
                        1 => call.idempotent(),
                        _ => call.hedged(),
                    });
                }
                Step::Fail(which) if which < at_work.len() => {
                    let (server, life, attempt) = at_work.swap_remove(which);
                    let error = RpcError { code: -32603, message: "broken".into(), data: None };
                    let batch = vec![Completion { attempt, end: AttemptEnd::Rpc(error), class: OutcomeClass::Failure, latency: Duration::ZERO }];
                    house.routing.completed(&id(&server), life, batch, house.now, &mut house.out);
                }
                Step::Succeed(which) if which < at_work.len() => {
                    let (server, life, attempt) = at_work.swap_remove(which);
                    let end = AttemptEnd::Result(RawJson::from_value(&json!({})).unwrap());
                    let batch = vec![Completion { attempt, end, class: OutcomeClass::Success, latency: Duration::ZERO }];
                    house.routing.completed(&id(&server), life, batch, house.now, &mut house.out);
                }
                Step::Lose { which, sent } if which < at_work.len() => {
                    let (server, life, attempt) = at_work.swap_remove(which);
                    let batch = vec![Completion { attempt, end: lost(sent), class: OutcomeClass::Failure, latency: Duration::ZERO }];
                    house.routing.completed(&id(&server), life, batch, house.now, &mut house.out);
                }
                Step::Refuse(which) if which < at_work.len() => {
                    let (server, life, attempt) = at_work.swap_remove(which);
                    house.routing.refused(&id(&server), life, attempt, house.now, &mut house.out);
                }
                Step::Cancel(call) => {
                    let before = house.routing.open_calls();
                    house.routing.cancel(CallId(call), house.now, &mut house.out);
                    cancelled += before - house.routing.open_calls();
                }
                Step::Down(server) => {
                    let name = names[server];
                    house.routing.server_down(&id(name), lives[server], &ExitCause::Killed, down(), house.now, &mut house.out);
                    lives[server] = lives[server].next();
                    house.join(name, "g", server, lives[server], down());
                }
                Step::Up { server, slots } => {
                    house.routing.standing(&id(names[server]), lives[server], up(slots), house.now, &mut house.out);
                }
                Step::Wait(ms) => {
                    house.now += Duration::from_millis(ms);
                    house.routing.tick(house.now, &mut house.out);
                }
                Step::Restart => {
                    let abandoned = house.routing.abandon(house.now, &mut house.out);
                    prop_assert_eq!(house.routing.open_calls(), 0);
                    house.routing = self::house().routing;
                    for (server, name) in names.into_iter().enumerate() {
                        house.join(name, "g", server, lives[server], up(2));
                    }
                    let back: Vec<(u64, Arc<Call>)> = house.out.handed_back.drain(..).collect();
                    prop_assert_eq!(abandoned.handed_back, back.len());
                    for (port, call) in back {
                        prop_assert!(at_work.iter().all(|(.., attempt)| attempt.call != CallId(port)), "a server has seen it");
                        house.routing.submit(CallId(port), call, house.now, port, house.now, &mut house.out);
                    }
                }
                Step::Succeed(_) | Step::Fail(_) | Step::Lose { .. } | Step::Refuse(_) => {}
            }
            for (server, dispatch) in house.out.dispatched.drain(..) {
                let life = lives[usize::from(server == "b")];
                at_work.push((server, life, dispatch.attempt));
            }
            seen = house.out.answers.len();
            prop_assert_eq!(house.next as usize, seen + cancelled + house.routing.open_calls());
            for (slot, view) in house.routing.views.entries() {
                let with = |call: &OpenCall<u64>| call.open_attempts().filter(|attempt| attempt.server == slot && attempt.shared).count();
                let attempts: usize = house.routing.calls.iter().map(|(_, call)| with(call)).sum();
                prop_assert_eq!(view.as_ref().map_or(0, |view| view.in_flight), attempts);
            }
        }
        house.routing.end_all(house.now, &mut house.out);
        seen = house.out.answers.len().max(seen);
        prop_assert_eq!(house.next as usize, seen + cancelled);
        let mut ports: Vec<u64> = house.out.answers.iter().map(|(port, _)| *port).collect();
        ports.sort_unstable();
        ports.dedup();
        prop_assert_eq!(ports.len(), seen, "a call was answered twice");
        prop_assert_eq!(house.routing.stats(house.now).in_flight, 0);
    }
}
