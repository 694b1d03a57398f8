//! What tools and prompts are called at the gateway.
//!
//! Who gets a name is decided by the order of the configuration and never by who has come up first. A name that was given keeps
//! its meaning for as long as the process lives: a host that lets a tool be called without asking lets nobody else's.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::config::{NameSettings, Prefix};
use crate::id::GroupId;
use crate::policy::names::{bare_within, exposed, exposed_within};

/// Names without a group that are remembered: more than any catalogue has.
const GIVEN_MAX: usize = 100_000;

/// Something that wants a name.
#[derive(Debug, Clone)]
pub(super) struct Named<'c> {
    /// Its group.
    pub group: &'c GroupId,
    /// Its name on its servers.
    pub name: &'c Arc<str>,
    /// Its name in the catalogue, which tells whether another one would be called the same.
    pub exposed: &'c str,
    /// The place of its group in the configuration.
    pub order: usize,
    /// What the operator calls it.
    pub renamed: Option<&'c str>,
}

/// Which names without a group were given to whom, since the process began.
#[derive(Debug, Default)]
pub(crate) struct GivenNames(HashMap<String, (GroupId, Arc<str>)>);

impl GivenNames {
    /// Whether the name is, or may become, that of this one.
    fn is_free_for(&self, name: &str, named: &Named<'_>) -> bool {
        self.0.get(name).is_none_or(|(group, own)| group == named.group && own == named.name)
    }

    fn give(&mut self, name: &str, named: &Named<'_>) {
        if self.0.len() < GIVEN_MAX {
            self.0.insert(name.to_owned(), (named.group.clone(), named.name.clone()));
        }
    }
}

/// Gives each a name, in their order; none to whom there is no name left.
pub(super) fn names(
    all: &[Named<'_>],
    settings: &NameSettings,
    discovered: &HashSet<GroupId>,
    given: &mut GivenNames,
) -> Vec<Option<String>> {
    let mut in_order: Vec<usize> = (0..all.len()).collect();
    // The operator's own names first, so that no other one takes them.
    in_order.sort_by_key(|at| (all[*at].renamed.is_none(), all[*at].order));
    let mut taken: HashSet<String> = HashSet::with_capacity(all.len());
    let mut names = vec![None; all.len()];
    for at in in_order {
        let named = &all[at];
        let name = candidates(named, settings, discovered)
            .into_iter()
            .find(|(name, bare)| !taken.contains(name) && (!bare || given.is_free_for(name, named)));
        if let Some((name, bare)) = name {
            if bare {
                given.give(&name, named);
            }
            taken.insert(name.clone());
            names[at] = Some(name);
        }
    }
    names
}

/// What something may be called, best first, and whether that is without its group.
fn candidates(
    named: &Named<'_>,
    settings: &NameSettings,
    discovered: &HashSet<GroupId>,
) -> Vec<(String, bool)> {
    if let Some(renamed) = named.renamed {
        return vec![(renamed.to_owned(), false)];
    }
    let (group, name, max) = (named.group.as_str(), &**named.name, settings.max);
    // The catalogue knows which plain names several would have, also those that have not listed.
    let ambiguous = named.exposed != exposed(group, name, false);
    let prefixed = [
        (exposed_within(max, group, name, ambiguous), false),
        (exposed_within(max, group, name, true), false),
    ];
    let bare = (bare_within(max, group, name), true);
    match settings.prefix {
        Prefix::Never => vec![bare],
        // Who comes and goes by a directory never gets the name of another one.
        Prefix::OnCollision if !discovered.contains(named.group) => {
            std::iter::once(bare).chain(prefixed).collect()
        }
        Prefix::OnCollision | Prefix::Always => prefixed.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(name: &str) -> GroupId {
        GroupId::new(name).unwrap()
    }

    /// The names of `tools`, each of a group, of which the first in `order` was configured first.
    fn of(
        tools: &[(&str, &str)],
        order: &[&str],
        prefix: Prefix,
        given: &mut GivenNames,
    ) -> Vec<Option<String>> {
        let owned: Vec<(GroupId, Arc<str>, String)> =
            tools.iter().map(|(of, name)| (group(of), (*name).into(), exposed(of, name, false))).collect();
        let named: Vec<Named<'_>> = owned
            .iter()
            .map(|(group, name, exposed)| {
                let order = order.iter().position(|of| *of == group.as_str()).unwrap();
                Named { group, name, exposed, order, renamed: None }
            })
            .collect();
        let settings = NameSettings { prefix, max: 50 };
        names(&named, &settings, &HashSet::from([group("found")]), given)
    }

    fn texts(names: &[Option<String>]) -> Vec<&str> {
        names.iter().map(|name| name.as_deref().unwrap_or("-")).collect()
    }

    #[test]
    fn a_bare_name_is_that_of_the_group_that_was_configured_first() {
        let tools = [("a", "search"), ("b", "search"), ("b", "read")];
        for (prefix, order, expected) in [
            (Prefix::Always, ["a", "b"], ["a__search", "b__search", "b__read"]),
            (Prefix::OnCollision, ["a", "b"], ["search", "b__search", "read"]),
            (Prefix::OnCollision, ["b", "a"], ["a__search", "search", "read"]),
            (Prefix::Never, ["a", "b"], ["search", "-", "read"]),
            (Prefix::Never, ["b", "a"], ["-", "search", "read"]),
        ] {
            assert_eq!(
                texts(&of(&tools, &order, prefix, &mut GivenNames::default())),
                expected,
                "{prefix:?}"
            );
        }
    }

    #[test]
    fn a_name_that_was_given_is_never_another_ones() {
        let mut given = GivenNames::default();
        let early = of(&[("b", "search")], &["a", "b"], Prefix::OnCollision, &mut given);
        assert_eq!(texts(&early), ["search"]);
        let later = of(&[("a", "search"), ("b", "search")], &["a", "b"], Prefix::OnCollision, &mut given);
        assert_eq!(texts(&later), ["a__search", "search"]);
        // Nor when the one that had it is gone.
        let last = of(&[("a", "search")], &["a", "b"], Prefix::OnCollision, &mut given);
        assert_eq!(texts(&last), ["a__search"]);
    }

    #[test]
    fn a_group_that_was_discovered_is_always_named() {
        let names = of(&[("found", "search")], &["found"], Prefix::OnCollision, &mut GivenNames::default());
        assert_eq!(texts(&names), ["found__search"]);
    }

    #[test]
    fn a_long_name_is_cut_and_told_apart_by_a_hash() {
        let (one, other) = ("x".repeat(60), format!("{}y", "x".repeat(60)));
        let names = of(&[("a", &one), ("a", &other)], &["a"], Prefix::Always, &mut GivenNames::default());
        let names = texts(&names);
        assert!(names.iter().all(|name| name.len() == 50 && name.starts_with("a__xxx")), "{names:?}");
        assert_ne!(names[0], names[1]);
    }

    proptest! {
        #[test]
        fn names_are_legal_unique_and_the_same_again(
            tools in prop::collection::btree_set(("[abc_.]{1,3}", "[A-Za-z0-9_./ü-]{1,70}"), 1..20),
            prefix in prop_oneof![Just(Prefix::Always), Just(Prefix::OnCollision), Just(Prefix::Never)],
        ) {
            let tools: Vec<(&str, &str)> = tools.iter().map(|(of, name)| (of.as_str(), name.as_str())).collect();
            let order: Vec<&str> = tools.iter().map(|(of, _)| *of).collect();
            let mut given = GivenNames::default();
            let names = of(&tools, &order, prefix, &mut given);
            let told: Vec<&String> = names.iter().flatten().collect();
            let unique: HashSet<&&String> = told.iter().collect();
            prop_assert_eq!(unique.len(), told.len());
            for name in told {
                prop_assert!(!name.is_empty() && name.len() <= 50);
                prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')));
            }
            prop_assert_eq!(&names, &of(&tools, &order, prefix, &mut given));
        }
    }
}
