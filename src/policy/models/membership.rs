use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use tokio::time::Instant;

use crate::config::DiscoverySettings;
use crate::id::{ServerId, SourceId};
use crate::policy::membership::{Accepted, Membership, Present, Step as Decision};

use super::MS;

const GRACE: u64 = 300;
const EMPTY_ANSWERS: u32 = 2;
const EMPTY_AFTER: u64 = 400;
const FLAPS_MAX: usize = 4;
const WINDOW: u64 = 2_000;
const HOLD: u64 = 700;

const SOURCES: [&str; 2] = ["first", "second"];
const SERVERS: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Step {
    /// A source answers with these servers, and speaks unintelligibly of those.
    Answer(usize, BTreeMap<&'static str, u32>, BTreeSet<&'static str>),
    Failed(usize),
    /// The host takes a server away.
    Dismiss(&'static str),
    Pass(u64),
}

/// Everything that a source ever said.
#[derive(Debug, Clone, Default)]
struct Said {
    /// Of each server: when what is said of it changed, and to what.
    of: BTreeMap<&'static str, Vec<(u64, Option<u32>)>>,
    /// When the answers without servers came, since the last other one.
    empty: Vec<u64>,
}

impl Said {
    fn last(&self, server: &str) -> Option<u32> {
        self.of.get(server).and_then(|said| said.last()?.1)
    }

    /// What stands, worked out from the beginning.
    fn stands(&self, server: &str, now: u64) -> Option<u32> {
        let said = self.of.get(server)?;
        let mut stands = None;
        for (index, (at, says)) in said.iter().enumerate() {
            let until = said.get(index + 1).map_or(now, |next| next.0);
            let before = said[..index].iter().filter(|earlier| earlier.0 + WINDOW > *at).count();
            let grace = if says.is_none() { GRACE } else { 0 };
            let hold = if before >= FLAPS_MAX { HOLD } else { 0 };
            if at + grace.max(hold) <= until {
                stands = *says;
            }
        }
        stands
    }
}

#[derive(Debug, Clone)]
struct World {
    now: u64,
    said: [Said; 2],
    dismissed: BTreeSet<&'static str>,
    believed: Option<bool>,
}

impl World {
    /// Whose a server is, and as what.
    fn wanted(&self, server: &str) -> Option<(usize, u32)> {
        if self.dismissed.contains(server) {
            return None;
        }
        (0..SOURCES.len()).find_map(|source| Some((source, self.said[source].stands(server, self.now)?)))
    }

    fn named(&self, server: &str) -> bool {
        self.said.iter().any(|said| said.stands(server, self.now).is_some())
    }

    fn believes(&mut self, source: usize, servers: &BTreeMap<&'static str, u32>) -> bool {
        let now = self.now;
        let said = &mut self.said[source];
        let knows = SERVERS.iter().any(|server| said.stands(server, now).is_some());
        if !servers.is_empty() || !knows {
            said.empty.clear();
            return true;
        }
        said.empty.push(now);
        let long = now - said.empty[0] >= EMPTY_AFTER;
        let believed = long && said.empty.len() >= EMPTY_ANSWERS as usize;
        if believed {
            said.empty.clear();
        }
        believed
    }
}

impl ReferenceStateMachine for World {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let world = Self { now: 0, said: Default::default(), dismissed: BTreeSet::new(), believed: None };
        Just(world).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        let server = || prop::sample::select(SERVERS.to_vec());
        let source = || 0..SOURCES.len();
        let answer = (
            source(),
            prop::collection::btree_map(server(), 1u32..3, 0..=3),
            prop::collection::btree_set(server(), 0..2),
        );
        prop_oneof![
            8 => answer.prop_map(|(source, servers, unread)| Step::Answer(source, servers, unread)),
            1 => source().prop_map(Step::Failed),
            1 => server().prop_map(Step::Dismiss),
            6 => (0u64..500).prop_map(Step::Pass),
        ]
        .boxed()
    }

    fn apply(mut world: Self, step: &Step) -> Self {
        world.believed = None;
        match step {
            Step::Answer(source, servers, unread) => {
                let believed = world.believes(*source, servers);
                world.believed = Some(believed);
                if believed {
                    for server in SERVERS {
                        let says = match servers.get(server) {
                            None if unread.contains(server) => continue,
                            says => says.copied(),
                        };
                        if world.said[*source].last(server) != says {
                            world.said[*source].of.entry(server).or_default().push((world.now, says));
                        }
                    }
                }
            }
            Step::Failed(source) => world.said[*source].empty.clear(),
            Step::Dismiss(server) => {
                if world.named(server) {
                    world.dismissed.insert(server);
                }
            }
            Step::Pass(ms) => world.now += ms,
        }
        let gone: Vec<&str> = world.dismissed.iter().copied().filter(|server| !world.named(server)).collect();
        world.dismissed.retain(|server| !gone.contains(server));
        world
    }
}

/// The membership, and what plays because of it.
struct Test {
    membership: Membership<u32>,
    plays: BTreeMap<ServerId, (SourceId, u32)>,
    start: Instant,
}

fn server(id: &str) -> ServerId {
    ServerId::new(id).unwrap()
}

fn source(index: usize) -> SourceId {
    SourceId::new(SOURCES[index]).unwrap()
}

impl Test {
    /// Carries out what has to happen, as the root does.
    fn carry_out(&mut self, also: Option<ServerId>, now: Instant) {
        let mut touched = self.membership.touched(now);
        touched.extend(also);
        for id in touched {
            let present = match self.plays.get(&id) {
                Some((source, description)) => Present::Found(source, description),
                None => Present::Nobody,
            };
            match self.membership.step(&id, &present) {
                Decision::Nothing => {}
                Decision::Join(source, description) => {
                    let joined = (source.clone(), *description);
                    assert_eq!(self.plays.insert(id, joined), None);
                }
                Decision::Change(source, description) => {
                    let changed = (source.clone(), *description);
                    assert_ne!(self.plays.insert(id, changed.clone()), Some(changed));
                }
                Decision::Leave => assert!(self.plays.remove(&id).is_some()),
            }
        }
    }
}

impl StateMachineTest for Test {
    type SystemUnderTest = Self;
    type Reference = World;

    fn init_test(_: &World) -> Self {
        let rules = DiscoverySettings {
            removal_grace: Some(MS(GRACE)),
            empty_answers: EMPTY_ANSWERS,
            empty_after: MS(EMPTY_AFTER),
            flaps_max: FLAPS_MAX as u32,
            flap_window: MS(WINDOW),
            flap_hold: MS(HOLD),
            ..DiscoverySettings::default()
        };
        let sources = (0..SOURCES.len()).map(|index| (source(index), rules.clone(), Duration::ZERO));
        Self { membership: Membership::new(sources), plays: BTreeMap::new(), start: Instant::now() }
    }

    fn apply(mut test: Self, world: &World, step: Step) -> Self {
        let now = test.start + MS(world.now);
        let mut also = None;
        match step {
            Step::Answer(index, servers, unread) => {
                let servers =
                    servers.into_iter().map(|(id, description)| (server(id), description)).collect();
                let unread = unread.into_iter().map(server).collect();
                let believed = test.membership.answered(&source(index), servers, &unread, now);
                assert_eq!(Some(believed == Accepted::Yes), world.believed);
            }
            Step::Failed(index) => test.membership.failed(&source(index)),
            Step::Dismiss(id) => {
                test.membership.dismiss(server(id));
                test.plays.remove(&server(id));
                also = Some(server(id));
            }
            Step::Pass(_) => {}
        }
        test.carry_out(also, now);
        test
    }

    fn check_invariants(test: &Self, world: &World) {
        let wanted: BTreeMap<ServerId, (SourceId, u32)> = SERVERS
            .iter()
            .filter_map(|id| {
                let (index, description) = world.wanted(id)?;
                Some((server(id), (source(index), description)))
            })
            .collect();
        assert_eq!(test.plays, wanted);
        let now = test.start + MS(world.now);
        assert!(test.membership.next_time().is_none_or(|at| at > now), "what is due was not carried out");
        for index in 0..SOURCES.len() {
            let stand = SERVERS.iter().filter(|id| world.said[index].stands(id, world.now).is_some()).count();
            assert_eq!(test.membership.known(&source(index)), stand);
        }
    }
}

prop_state_machine! {
    #[test]
    fn what_plays_is_what_the_sources_are_believed_to_have(sequential 1..150 => Test);
}
