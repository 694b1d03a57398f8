//! What was cleared, and when: so that nothing that was asked before is used after.
//!
//! Moments are numbered. A request has the number of the moment at which it began, and so has the entry that is made of its
//! answer; each clearing notes its own for what it concerns. An answer counts only if its request began after every clearing
//! that concerns it. To clear costs the same however much is kept, and reaches requests that are still under way.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::key::{CachedKind, Question};
use super::rules::Terms;
use crate::config::ToolName;
use crate::id::GroupId;

/// Names of groups and tools that are told apart; beyond that everything is cleared, which is always right.
const NAMES_MAX: usize = 10_000;

/// The number of a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(u64);

/// What is cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sweep {
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
pub struct Clearings {
    now: Moment,
    everything: Moment,
    kinds: HashMap<CachedKind, Moment>,
    groups: HashMap<GroupId, Moment>,
    hinted: HashMap<GroupId, Moment>,
    /// By name first, so that to look one up needs no copy of it.
    tools: HashMap<String, HashMap<Option<GroupId>, Moment>>,
    /// By kind, group and name, or by kind and group alone.
    others: HashMap<(CachedKind, GroupId, Option<Arc<str>>), Moment>,
}

impl Clearings {
    /// A new moment, after all others.
    pub fn next(&mut self) -> Moment {
        self.now.0 += 1;
        self.now
    }

    /// Notes a clearing.
    pub fn note(&mut self, sweep: &Sweep) {
        let at = self.next();
        match sweep {
            Sweep::Everything => *self = Self { now: at, everything: at, ..Self::default() },
            Sweep::Kind(kind) => {
                self.kinds.insert(*kind, at);
            }
            Sweep::Group(group) => {
                self.groups.insert(group.clone(), at);
            }
            Sweep::Hinted(group) => {
                self.hinted.insert(group.clone(), at);
            }
            Sweep::Of { kind, group, name } => {
                self.others.insert((*kind, group.clone(), name.clone()), at);
            }
            Sweep::Tool(ToolName { group, tool }) => {
                self.tools.entry(tool.clone()).or_default().insert(group.clone(), at);
            }
        }
        let names = self.groups.len()
            + self.hinted.len()
            + self.others.len()
            + self.tools.values().map(HashMap::len).sum::<usize>();
        if names > NAMES_MAX {
            self.note(&Sweep::Everything);
        }
    }

    /// Whether an answer still counts whose request began then.
    pub fn spare(&self, question: &Question, terms: &Terms, begun: Moment) -> bool {
        let Question { kind, group, name, .. } = question;
        let hinted = match terms {
            Terms::Hinted(_) => self.hinted.get(group),
            Terms::Ruled(_) | Terms::Declared => None,
        };
        let tool = self.tools.get(&**name).filter(|_| *kind == CachedKind::Tool);
        let tool = tool.into_iter().flatten().filter(|(of, _)| of.as_ref().is_none_or(|of| of == group));
        let cleared = [Some(&self.everything), self.kinds.get(kind), self.groups.get(group), hinted];
        let of = |name: Option<&Arc<str>>| match kind {
            CachedKind::Tool => None,
            CachedKind::Resource | CachedKind::Prompt => {
                self.others.get(&(*kind, group.clone(), name.cloned()))
            }
        };
        let others = [of(None), of(Some(name))];
        let cleared = cleared.into_iter().chain(others).flatten();
        cleared.chain(tool.map(|(_, at)| at)).all(|at| *at < begun)
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
