//! Bare names while servers of other groups are about to list for the first time: the answer does not depend on who lists first.

use proptest::prelude::*;

use super::*;

const SECS: fn(u64) -> Duration = Duration::from_secs;

/// A server that has just been added.
fn starting() -> Standing {
    Standing::beginning()
}

/// A server of a group of its name.
struct Group {
    name: &'static str,
    tools: &'static [&'static str],
}

const FILES: Group = Group { name: "files", tools: &["write"] };
const NOTES: Group = Group { name: "notes", tools: &["write"] };
const OTHER: Group = Group { name: "other", tools: &["read"] };

/// These groups, of which none has listed.
fn house(groups: &[Group]) -> House {
    let mut house = House::new("round-robin", |_| ());
    for (order, group) in groups.iter().enumerate() {
        house.join(group.name, group.name, order, Incarnation::FIRST, starting());
    }
    house.routing.introduced(house.now, &mut house.out);
    house
}

/// A server lists: first the catalogue has its tools, then it says so.
fn list(house: &mut House, groups: &[&Group]) {
    let offers = groups.iter().enumerate().map(|(order, group)| ServerOffer {
        server: id(group.name),
        group: crate::id::GroupId::new(group.name).unwrap(),
        order,
        trusted: false,
        confirmed: true,
        offer: Offer {
            tools: group
                .tools
                .iter()
                .map(|tool| {
                    // As a name is offered that is not legal, or as the test says.
                    let legal = tool.replace('/', "_");
                    let (name, own) = tool.split_once('=').unwrap_or((&legal, tool));
                    let definition = RawJson::from_value(&json!({"name": own})).unwrap();
                    Definition { name: name.to_owned(), definition }
                })
                .collect(),
            ..Offer::default()
        },
    });
    let catalogue = Catalogue::merge(1, offers, house.collisions);
    house.routing.catalogue(Arc::new(catalogue), house.now, &mut house.out);
    for group in groups {
        house.routing.standing(&id(group.name), Incarnation::FIRST, up(8), house.now, &mut house.out);
    }
}

fn went_to(house: &House) -> Vec<&str> {
    house.out.dispatched.iter().map(|(server, _)| server.as_str()).collect()
}

#[test]
fn a_bare_name_waits_for_a_group_that_may_have_it_as_well() {
    let mut house = house(&[FILES, NOTES]);
    list(&mut house, &[&FILES]);
    let call = house.call(Call::tool("write"));
    assert!(went_to(&house).is_empty());
    list(&mut house, &[&FILES, &NOTES]);
    let Some((_, Err(error))) = house.out.answers.iter().find(|(port, _)| *port == call) else { panic!() };
    assert!(matches!(error.kind(), CallErrorKind::AmbiguousTool { .. }), "{error}");
    assert!(went_to(&house).is_empty());
}

#[test]
fn an_own_name_with_a_slash_is_no_groups_and_waits_as_a_bare_name_does() {
    let (files, notes) = (Group { name: "files", tools: &["a/b"] }, Group { name: "notes", tools: &["a/b"] });
    let mut house = house(&[FILES, NOTES, OTHER]);
    list(&mut house, &[&files]);
    let call = house.call(Call::tool("a/b"));
    assert!(went_to(&house).is_empty(), "whoever lists first has no claim");
    list(&mut house, &[&files, &notes, &OTHER]);
    let Some((_, Err(error))) = house.out.answers.iter().find(|(port, _)| *port == call) else { panic!() };
    assert!(matches!(error.kind(), CallErrorKind::AmbiguousTool { .. }), "{error}");
    house.call(Call::tool("notes/a/b"));
    assert_eq!(went_to(&house), ["notes"]);
}

#[test]
fn a_call_that_says_whom_it_means_waits_also_by_an_own_name_with_a_slash() {
    let files = Group { name: "files", tools: &["a/b"] };
    for call in [Call::tool("a/b").server("files"), Call::tool("a/b").group("files")] {
        let mut house = house(&[FILES, NOTES]);
        house.call(call);
        assert!(house.out.answers.is_empty(), "it has not listed");
        list(&mut house, &[&files]);
        assert_eq!(went_to(&house), ["files"]);
    }
}

#[test]
fn tools_of_one_own_name_that_are_offered_by_several_are_balanced_by_none() {
    // The second server has another tool that is truly called so.
    let (one, two) =
        (Group { name: "files", tools: &["a/b"] }, Group { name: "notes", tools: &["a_b_1=a/b", "a_b"] });
    let mut house = house(&[FILES, NOTES]);
    house.collisions = Collisions::Balance;
    list(&mut house, &[&one, &two]);
    let call = house.call(Call::tool("a/b"));
    let error = house.error_of(call);
    assert!(
        matches!(error, CallErrorKind::AmbiguousTool { candidates } if *candidates == ["files/a_b", "notes/a_b_1"])
    );
    assert!(went_to(&house).is_empty());
}

#[test]
fn a_bare_name_that_turns_out_to_be_one_groups_goes_there() {
    let mut house = house(&[FILES, OTHER]);
    list(&mut house, &[&FILES]);
    house.call(Call::tool("write"));
    assert!(went_to(&house).is_empty());
    list(&mut house, &[&FILES, &OTHER]);
    assert_eq!(went_to(&house), ["files"]);
}

#[test]
fn a_name_that_says_its_group_waits_for_nobody() {
    let mut house = house(&[FILES, NOTES]);
    list(&mut house, &[&FILES]);
    for call in [
        Call::tool("files/write"),
        Call::tool("files__write"),
        Call::tool("write").group("files"),
        Call::tool("write").server("files"),
    ] {
        house.call(call);
    }
    assert_eq!(went_to(&house), ["files"; 4]);
}

#[test]
fn a_replica_is_not_waited_for() {
    let mut house = House::new("round-robin", |_| ());
    house.join("a", "files", 0, Incarnation::FIRST, starting());
    house.join("files", "files", 1, Incarnation::FIRST, starting());
    house.routing.introduced(house.now, &mut house.out);
    list(&mut house, &[&FILES]);
    house.call(Call::tool("write"));
    assert_eq!(went_to(&house), ["files"]);
}

#[test]
fn one_whose_first_attempt_failed_holds_up_nobody() {
    let mut house = house(&[FILES, NOTES]);
    list(&mut house, &[&FILES]);
    house.call(Call::tool("write"));
    assert!(went_to(&house).is_empty());
    let failed = Standing { attempts: 1, ..starting() };
    house.routing.standing(&id("notes"), Incarnation::FIRST, failed, house.now, &mut house.out);
    assert_eq!(went_to(&house), ["files"]);
}

#[test]
fn one_that_hangs_holds_up_bare_names_for_three_seconds_after_it_was_added_and_no_longer() {
    let mut house = house(&[FILES, NOTES]);
    list(&mut house, &[&FILES]);
    house.call(Call::tool("write"));
    let due = house.routing.next_time().unwrap();
    assert_eq!(due, house.now + SECS(3));
    house.now = due;
    house.routing.tick(house.now, &mut house.out);
    assert_eq!(went_to(&house), ["files"]);
    house.call(Call::tool("write"));
    assert_eq!(went_to(&house), ["files"; 2]);
    assert_ne!(house.routing.next_time(), Some(due));
}

#[test]
fn one_that_is_added_later_finds_the_names_of_others_settled() {
    let mut house = house(&[FILES]);
    list(&mut house, &[&FILES]);
    house.now += SECS(1);
    house.join("notes", "notes", 1, Incarnation::FIRST, starting());
    house.call(Call::tool("write"));
    assert_eq!(went_to(&house), ["files"]);
    list(&mut house, &[&FILES, &NOTES]);
    let call = house.call(Call::tool("write"));
    let Some((_, Err(error))) = house.out.answers.iter().find(|(port, _)| *port == call) else { panic!() };
    assert!(matches!(error.kind(), CallErrorKind::AmbiguousTool { .. }), "{error}");
}

#[test]
fn one_that_leaves_is_waited_for_no_longer() {
    let mut house = house(&[FILES, NOTES]);
    list(&mut house, &[&FILES]);
    house.call(Call::tool("write"));
    house.routing.leaving(&id("notes"), house.now, &mut house.out);
    assert_eq!(went_to(&house), ["files"]);
    house.routing.left(&id("notes"), house.now, &mut house.out);
    assert!(house.routing.naming.is_empty());
}

proptest! {
    #[test]
    fn where_a_bare_name_goes_does_not_depend_on_who_lists_first(
        order in Just(vec![0_usize, 1, 2]).prop_shuffle(),
        at in 0_usize..=3,
        shared in any::<bool>(),
    ) {
        let groups = [&FILES, &OTHER, if shared { &NOTES } else { &Group { name: "notes", tools: &[] } }];
        let mut house = House::new("round-robin", |_| ());
        // Which the registry tells first is chance as well.
        for group in order.iter().rev() {
            house.join(groups[*group].name, groups[*group].name, *group, Incarnation::FIRST, starting());
        }
        house.routing.introduced(house.now, &mut house.out);
        let mut listed: Vec<&Group> = Vec::new();
        let mut call = None;
        for (turn, group) in order.iter().enumerate() {
            if turn == at {
                call = Some(house.call(Call::tool("write")));
            }
            house.now += Duration::from_millis(900);
            listed.push(groups[*group]);
            list(&mut house, &listed);
        }
        let call = call.unwrap_or_else(|| house.call(Call::tool("write")));
        let refused = house.out.answers.iter().any(|(port, answer)| {
            *port == call && answer.as_ref().is_err_and(|error| matches!(error.kind(), CallErrorKind::AmbiguousTool { .. }))
        });
        let expected: &[&str] = if shared { &[] } else { &["files"] };
        prop_assert_eq!((refused, went_to(&house)), (shared, expected.to_vec()));
    }
}
