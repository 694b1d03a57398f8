//! What was cleared, and when: so that nothing that was asked before is used after.
//!
//! Moments are numbered. A request has the number of the moment at which it began, and so has the entry that is made of its
//! answer; each clearing notes its own for what it concerns. An answer counts only if its request began after every clearing
//! that concerns it. To clear costs the same however much is kept, and reaches requests that are still under way.
//!
//! Names are told apart as far as there is room. What servers name is bounded for each group by itself: one that names too
//! much has all of that kind cleared in its own group, and nothing in another one.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::key::{CachedKind, Question};
use super::rules::Terms;
use crate::config::ToolName;
use crate::id::GroupId;

/// Groups that are told apart, tools that rules name without a group, and names in all groups together: as many as there may
/// be servers. Beyond that more is cleared than was asked for, which is always right.
const NAMES_MAX: usize = 10_000;

/// Names of one kind in one group that are told apart: as many as resources of one server can be subscribed to.
const GROUP_NAMES_MAX: usize = 1_000;

/// The number of a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Moment(u64);

/// What is cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sweep {
    Everything,
    Kind(CachedKind),
    Group(GroupId),
    Tool(ToolName),
    /// The resource or prompt of this name in this group, or all of its kind there.
    Of {
        kind: CachedKind,
        group: GroupId,
        name: Option<Arc<str>>,
    },
    /// What is kept by the word of this group's servers.
    Hinted(GroupId),
}

impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::Kind(kind) => write!(f, "all {kind}"),
            Self::Group(group) => write!(f, "the group {group}"),
            Self::Tool(tool) => write!(f, "the tool {tool}"),
            Self::Of { kind, group, name: None } => write!(f, "all {kind} of {group}"),
            Self::Of { group, name: Some(name), .. } => write!(f, "{name} of {group}"),
            Self::Hinted(group) => write!(f, "what {group} says it only reads"),
        }
    }
}

/// The clearings so far.
#[derive(Debug, Default)]
pub(super) struct Clearings {
    now: Moment,
    everything: Moment,
    kinds: HashMap<CachedKind, Moment>,
    /// Tools of whatever group, which rules name.
    tools: HashMap<String, Moment>,
    groups: HashMap<GroupId, InGroup>,
    /// How many names all groups have.
    names: usize,
    hasher: RandomState,
}

/// The clearings in one group.
#[derive(Debug, Default)]
struct InGroup {
    all: Moment,
    hinted: Moment,
    tools: Named,
    resources: Named,
    prompts: Named,
}

/// The clearings of one kind in one group.
#[derive(Debug, Default)]
struct Named {
    all: Moment,
    /// By the hash of the name, which may be long. Two names with one hash are cleared together.
    names: HashMap<u64, Moment>,
}

impl InGroup {
    fn of(&self, kind: CachedKind) -> &Named {
        match kind {
            CachedKind::Tool => &self.tools,
            CachedKind::Resource => &self.resources,
            CachedKind::Prompt => &self.prompts,
        }
    }

    fn of_mut(&mut self, kind: CachedKind) -> &mut Named {
        match kind {
            CachedKind::Tool => &mut self.tools,
            CachedKind::Resource => &mut self.resources,
            CachedKind::Prompt => &mut self.prompts,
        }
    }
}

impl Clearings {
    /// A new moment, after all others.
    pub(super) fn next(&mut self) -> Moment {
        self.now.0 += 1;
        self.now
    }

    /// Notes a clearing. It costs the same whatever was noted before.
    pub(super) fn note(&mut self, sweep: &Sweep) {
        let at = self.next();
        match sweep {
            Sweep::Everything => *self = Self { now: at, everything: at, ..Self::default() },
            Sweep::Kind(kind) => {
                self.kinds.insert(*kind, at);
            }
            Sweep::Group(group) => {
                self.names -= self.forget_group(group);
                self.group(group).all = at;
            }
            Sweep::Hinted(group) => self.group(group).hinted = at,
            Sweep::Of { kind, group, name: Some(name) } => self.note_name(*kind, group, name, at),
            Sweep::Of { kind, group, name: None } => self.note_kind(*kind, group, at),
            Sweep::Tool(ToolName { group: Some(group), tool }) => {
                self.note_name(CachedKind::Tool, group, tool, at);
            }
            Sweep::Tool(ToolName { group: None, tool }) => {
                self.tools.insert(tool.clone(), at);
            }
        }
        if self.groups.len() > NAMES_MAX || self.tools.len() > NAMES_MAX {
            self.note(&Sweep::Everything);
        }
    }

    fn group(&mut self, group: &GroupId) -> &mut InGroup {
        self.groups.entry(group.clone()).or_default()
    }

    /// Forgets what was noted of a group, since it is cleared whole. Says how many names that were.
    fn forget_group(&mut self, group: &GroupId) -> usize {
        let Some(former) = self.groups.remove(group) else { return 0 };
        [former.tools, former.resources, former.prompts].iter().map(|named| named.names.len()).sum()
    }

    fn note_name(&mut self, kind: CachedKind, group: &GroupId, name: &str, at: Moment) {
        let hash = self.hasher.hash_one(name);
        let room = self.names < NAMES_MAX;
        let named = self.group(group).of_mut(kind);
        if let Some(noted) = named.names.get_mut(&hash) {
            *noted = at;
        } else if room && named.names.len() < GROUP_NAMES_MAX {
            named.names.insert(hash, at);
            self.names += 1;
        } else {
            self.note_kind(kind, group, at);
        }
    }

    fn note_kind(&mut self, kind: CachedKind, group: &GroupId, at: Moment) {
        let former =
            std::mem::replace(self.group(group).of_mut(kind), Named { all: at, names: HashMap::new() });
        self.names -= former.names.len();
    }

    /// Whether an answer still counts whose request began then.
    pub(super) fn spare(&self, question: &Question, terms: &Terms, begun: Moment) -> bool {
        let Question { kind, group, name, .. } = question;
        let tool = match kind {
            CachedKind::Tool => self.tools.get(&**name),
            CachedKind::Resource | CachedKind::Prompt => None,
        };
        let anywhere = [Some(&self.everything), self.kinds.get(kind), tool].into_iter().flatten();
        let in_group = self.groups.get(group).map(|noted| {
            let hinted = match terms {
                Terms::Hinted(_) => Some(&noted.hinted),
                Terms::Ruled(_) | Terms::Declared => None,
            };
            let Named { all, names } = noted.of(*kind);
            let name = if names.is_empty() { None } else { names.get(&self.hasher.hash_one(&**name)) };
            [Some(&noted.all), Some(all), hinted, name].into_iter().flatten()
        });
        anywhere.chain(in_group.into_iter().flatten()).all(|at| *at < begun)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules::Lifetime;
    use super::*;

    fn question(kind: CachedKind, group: &str, name: &str) -> Question {
        let group = GroupId::new(group).unwrap();
        Question { kind, group, name: name.into(), selector: Default::default(), arguments: String::new() }
    }

    fn group(name: &str) -> GroupId {
        GroupId::new(name).unwrap()
    }

    #[test]
    fn a_resource_is_cleared_by_itself_or_with_all_of_its_group() {
        let (uri, other) =
            (question(CachedKind::Resource, "a", "x:1"), question(CachedKind::Resource, "a", "x:2"));
        let elsewhere = question(CachedKind::Resource, "b", "x:1");
        let mut clearings = Clearings::default();
        let before = clearings.next();
        let of = |name: Option<&str>| Sweep::Of {
            kind: CachedKind::Resource,
            group: group("a"),
            name: name.map(Into::into),
        };
        clearings.note(&of(Some("x:1")));
        let spared = |clearings: &Clearings, question| clearings.spare(question, &Terms::Declared, before);
        assert!(!spared(&clearings, &uri) && spared(&clearings, &other) && spared(&clearings, &elsewhere));
        clearings.note(&of(None));
        assert!(!spared(&clearings, &other) && spared(&clearings, &elsewhere));
        assert!(spared(&clearings, &question(CachedKind::Prompt, "a", "x:2")));
    }

    #[test]
    fn a_clearing_concerns_what_it_names_and_only_what_began_before() {
        let ruled = Terms::Ruled(Lifetime::default());
        let hinted = Terms::Hinted(Lifetime::default());
        let asked = [
            (question(CachedKind::Tool, "a", "read"), ruled),
            (question(CachedKind::Tool, "b", "read"), hinted),
            (question(CachedKind::Tool, "b", "stat"), ruled),
            (question(CachedKind::Resource, "a", "read"), Terms::Declared),
        ];
        let tool = |name| Sweep::Tool(ToolName::parse(name).unwrap());
        for (sweep, spared) in [
            (Sweep::Everything, [false, false, false, false]),
            (Sweep::Kind(CachedKind::Resource), [true, true, true, false]),
            (Sweep::Group(group("a")), [false, true, true, false]),
            (tool("read"), [false, false, true, true]),
            (tool("a/read"), [false, true, true, true]),
            (Sweep::Hinted(group("b")), [true, false, true, true]),
        ] {
            let mut clearings = Clearings::default();
            let before = clearings.next();
            clearings.note(&sweep);
            let after = clearings.next();
            for ((question, terms), spared) in asked.iter().zip(spared) {
                assert_eq!(clearings.spare(question, terms, before), spared, "{sweep:?} {question:?}");
                assert!(clearings.spare(question, terms, after));
            }
        }
    }

    #[test]
    fn a_flood_of_names_clears_its_own_kind_in_its_own_group_and_nothing_else() {
        let mut clearings = Clearings::default();
        let kept = [
            question(CachedKind::Resource, "good", "x:0"),
            question(CachedKind::Tool, "bad", "read"),
            question(CachedKind::Prompt, "bad", "review"),
        ];
        let own = question(CachedKind::Resource, "bad", "x:never named");
        let before = clearings.next();
        let updated = |n: usize| Sweep::Of {
            kind: CachedKind::Resource,
            group: group("bad"),
            name: Some(format!("x:{n}").into()),
        };
        (0..GROUP_NAMES_MAX).for_each(|n| clearings.note(&updated(n)));
        assert!(clearings.spare(&own, &Terms::Declared, before), "names are told apart");
        (GROUP_NAMES_MAX..20 * GROUP_NAMES_MAX).for_each(|n| clearings.note(&updated(n)));
        assert!(!clearings.spare(&own, &Terms::Declared, before));
        for question in kept {
            assert!(clearings.spare(&question, &Terms::Declared, before), "{question:?}");
        }
        assert!(clearings.names <= GROUP_NAMES_MAX);
        // The same by tools that a server changes again and again.
        let changed = |n: usize| Sweep::Tool(ToolName { group: Some(group("bad")), tool: format!("t{n}") });
        (0..2 * NAMES_MAX).for_each(|n| clearings.note(&changed(n)));
        assert!(clearings.spare(&question(CachedKind::Tool, "good", "read"), &Terms::Declared, before));
        clearings.note(&Sweep::Group(group("bad")));
        assert_eq!(clearings.names, 0, "what is cleared whole needs no names");
    }

    #[test]
    fn names_of_all_groups_together_are_bounded_and_who_comes_last_is_cleared_whole() {
        let mut clearings = Clearings::default();
        let before = clearings.next();
        let updated = |of: usize, n: usize| Sweep::Of {
            kind: CachedKind::Resource,
            group: group(&format!("g{of}")),
            name: Some(format!("x:{n}").into()),
        };
        for of in 0..NAMES_MAX / GROUP_NAMES_MAX {
            (0..GROUP_NAMES_MAX).for_each(|n| clearings.note(&updated(of, n)));
        }
        clearings.note(&updated(999, 0));
        assert_eq!(clearings.names, NAMES_MAX);
        let other = |of: &str| question(CachedKind::Resource, of, "other");
        assert!(clearings.spare(&other("g0"), &Terms::Declared, before));
        assert!(!clearings.spare(&other("g999"), &Terms::Declared, before));
    }

    #[test]
    fn more_names_than_are_told_apart_clear_everything() {
        let mut clearings = Clearings::default();
        let before = clearings.next();
        for n in 0..=NAMES_MAX {
            clearings.note(&Sweep::Group(group(&n.to_string())));
        }
        let other = question(CachedKind::Tool, "other", "read");
        assert!(!clearings.spare(&other, &Terms::Declared, before));
        assert!(clearings.groups.is_empty());
    }
}
