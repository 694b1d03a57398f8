//! What the servers offer, merged into one immutable snapshot.
//!
//! Servers of one group that offer a tool are replicas. The same name in two groups is a collision: a second server
//! never takes a name away from the first, and a bare name that several groups offer is settled by the configuration.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::config::Collisions;
use crate::id::{GroupId, ServerId};
use crate::json::RawJson;

use super::names;

/// Near names that an unknown tool is answered with.
const NEAR_MAX: usize = 5;

/// Names that are compared for likeness; more would make a typo expensive.
const COMPARED_MAX: usize = 10_000;

/// Likeness (Jaro-Winkler) below which a name is no suggestion.
const LIKENESS_MIN: f64 = 0.8;

/// One tool as one server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolDefinition {
    /// Its name.
    pub name: String,
    /// The server's whole entry, unread.
    pub definition: RawJson,
}

/// What one server offers.
#[derive(Debug, Clone)]
pub struct ServerTools {
    /// The server.
    pub server: ServerId,
    /// Its group.
    pub group: GroupId,
    /// Its place among the registrations.
    pub order: usize,
    /// Its tools.
    pub tools: Arc<[ToolDefinition]>,
}

/// One tool of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tool {
    /// Its place in the catalogue.
    pub(crate) index: usize,
    /// The group.
    pub group: GroupId,
    /// Its name on the servers.
    pub name: Arc<str>,
    /// Its name for models: `group__tool`, unique in the catalogue.
    pub exposed: String,
    /// The description by the first server of the group that offers it, unread.
    pub definition: RawJson,
    /// The servers that offer it, by id.
    pub servers: Vec<ServerId>,
}

/// What a name means.
#[derive(Debug, PartialEq, Eq)]
pub enum Resolution<'a> {
    /// One tool.
    Found(&'a Tool),
    /// A tool of several groups, over which calls are balanced.
    Several(Vec<&'a Tool>),
    /// Several tools; these are their qualified names.
    Ambiguous(Vec<String>),
    /// None.
    Unknown {
        /// Names that look alike, best first.
        near: Vec<String>,
    },
}

/// The merged tools of all servers.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    version: u64,
    collisions: Collisions,
    tools: Vec<Tool>,
    /// Places by bare name; the group that was configured first comes first.
    by_name: HashMap<Arc<str>, Vec<usize>>,
    /// Places by group and bare name.
    by_group: HashMap<GroupId, HashMap<Arc<str>, usize>>,
    /// Places by exposed name.
    by_exposed: HashMap<String, usize>,
}

impl Catalogue {
    /// Nothing.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Merges what the servers offer.
    pub fn merge(
        version: u64,
        servers: impl IntoIterator<Item = ServerTools>,
        collisions: Collisions,
    ) -> Self {
        let mut servers: Vec<ServerTools> = servers.into_iter().collect();
        servers.sort_by_key(|offer| offer.order);
        let mut merged: BTreeMap<(GroupId, Arc<str>), Tool> = BTreeMap::new();
        let mut group_order: HashMap<GroupId, usize> = HashMap::new();
        for offer in &servers {
            group_order.entry(offer.group.clone()).or_insert(offer.order);
            for tool in offer.tools.iter() {
                let name: Arc<str> = tool.name.as_str().into();
                let entry = merged.entry((offer.group.clone(), name.clone())).or_insert_with(|| Tool {
                    index: 0,
                    group: offer.group.clone(),
                    name,
                    exposed: String::new(),
                    definition: tool.definition.clone(),
                    servers: Vec::new(),
                });
                // Each offer is one server's.
                if entry.servers.last() != Some(&offer.server) {
                    entry.servers.push(offer.server.clone());
                }
            }
        }
        let mut tools: Vec<Tool> = merged.into_values().collect();
        let mut seen: HashMap<String, usize> = HashMap::new();
        for tool in &tools {
            *seen.entry(names::exposed(tool.group.as_str(), &tool.name, false)).or_default() += 1;
        }
        let mut by_name: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
        let mut by_group: HashMap<GroupId, HashMap<Arc<str>, usize>> = HashMap::new();
        let mut by_exposed = HashMap::new();
        for (index, tool) in tools.iter_mut().enumerate() {
            tool.index = index;
            tool.servers.sort();
            let plain = names::exposed(tool.group.as_str(), &tool.name, false);
            let ambiguous = seen.get(&plain).is_some_and(|count| *count > 1);
            tool.exposed =
                if ambiguous { names::exposed(tool.group.as_str(), &tool.name, true) } else { plain };
            by_name.entry(tool.name.clone()).or_default().push(index);
            by_group.entry(tool.group.clone()).or_default().insert(tool.name.clone(), index);
            by_exposed.insert(tool.exposed.clone(), index);
        }
        for places in by_name.values_mut() {
            places.sort_by_key(|place| group_order.get(&tools[*place].group));
        }
        Self { version, collisions, tools, by_name, by_group, by_exposed }
    }

    /// Grows with every merge.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All tools, by group and name.
    pub fn tools(&self) -> impl ExactSizeIterator<Item = &Tool> {
        self.tools.iter()
    }

    /// The tool at a place.
    pub(crate) fn tool(&self, index: usize) -> &Tool {
        &self.tools[index]
    }

    /// What `name` means: a bare name, `group/tool`, or an exposed name; a bare one within `group`, if that is given. Of
    /// several tools that it may mean, those count that `admits` picks, if it picks any.
    pub fn resolve(&self, name: &str, group: Option<&str>, admits: impl Fn(&Tool) -> bool) -> Resolution<'_> {
        let (bare, group) = match name.split_once('/') {
            Some((within, bare)) if group.is_none_or(|group| group == within) => (bare, Some(within)),
            Some(_) => return self.unknown(name),
            None => (name, group),
        };
        let exposed = || {
            let exposed = self.by_exposed.get(name).map(|place| &self.tools[*place]);
            exposed.filter(|tool| group.is_none_or(|group| tool.group == group))
        };
        if let Some(group) = group {
            let place = self.by_group.get(group).and_then(|tools| tools.get(bare));
            let found = place.map(|place| &self.tools[*place]).or_else(exposed);
            return found.map_or_else(|| self.unknown(name), Resolution::Found);
        }
        let places = self.by_name.get(bare).map(Vec::as_slice).unwrap_or_default();
        let mut tools = places.iter().map(|place| &self.tools[*place]);
        let Some(first) = tools.next() else {
            return exposed().map_or_else(|| self.unknown(name), Resolution::Found);
        };
        let others: Vec<&Tool> = tools.collect();
        if others.is_empty() {
            return Resolution::Found(first);
        }
        let all: Vec<&Tool> = std::iter::once(first).chain(others).collect();
        let picked: Vec<&Tool> = all.iter().copied().filter(|tool| admits(tool)).collect();
        match (self.collisions, picked.as_slice()) {
            (_, []) => Resolution::Several(all),
            (_, [only]) => Resolution::Found(only),
            (Collisions::First, [first, ..]) => Resolution::Found(first),
            (Collisions::Balance, _) => Resolution::Several(picked),
            (Collisions::Error, _) => Resolution::Ambiguous(picked.into_iter().map(qualified).collect()),
        }
    }

    fn unknown(&self, name: &str) -> Resolution<'_> {
        let mut near: Vec<(f64, String)> = self
            .tools
            .iter()
            .take(COMPARED_MAX)
            .filter_map(|tool| {
                let qualified = qualified(tool);
                let best = strsim::jaro_winkler(name, &tool.name).max(strsim::jaro_winkler(name, &qualified));
                let shared = self.by_name.get(&tool.name).is_some_and(|places| places.len() > 1);
                let shown = if shared { qualified } else { tool.name.to_string() };
                (best >= LIKENESS_MIN).then_some((best, shown))
            })
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        near.truncate(NEAR_MAX);
        Resolution::Unknown { near: near.into_iter().map(|(_, name)| name).collect() }
    }
}

fn qualified(tool: &Tool) -> String {
    format!("{}/{}", tool.group, tool.name)
}

/// Names that are only in `new`, only in `old`, and in both with another definition.
pub fn differences(
    old: &[ToolDefinition],
    new: &[ToolDefinition],
) -> (Vec<String>, Vec<String>, Vec<String>) {
    let before: BTreeMap<&str, &RawJson> =
        old.iter().map(|tool| (tool.name.as_str(), &tool.definition)).collect();
    let after: BTreeMap<&str, &RawJson> =
        new.iter().map(|tool| (tool.name.as_str(), &tool.definition)).collect();
    let added = after.keys().filter(|name| !before.contains_key(*name));
    let removed = before.keys().filter(|name| !after.contains_key(*name));
    let changed = after
        .iter()
        .filter(|(name, definition)| before.get(*name).is_some_and(|former| former != *definition));
    let owned = |name: &&str| (*name).to_owned();
    (added.map(owned).collect(), removed.map(owned).collect(), changed.map(|(name, _)| owned(name)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn offer(server: &str, group: &str, order: usize, tools: &[&str]) -> ServerTools {
        let tools = tools.iter().map(|name| ToolDefinition {
            name: (*name).to_owned(),
            definition: RawJson::from_value(&json!({"name": name, "by": server})).unwrap(),
        });
        ServerTools {
            server: ServerId::new(server).unwrap(),
            group: GroupId::new(group).unwrap(),
            order,
            tools: tools.collect(),
        }
    }

    fn merged(collisions: Collisions) -> Catalogue {
        let offers = [
            offer("b2", "beta", 1, &["read"]),
            offer("b1", "beta", 0, &["read", "write"]),
            offer("a1", "alpha", 2, &["read"]),
        ];
        Catalogue::merge(1, offers, collisions)
    }

    fn found(resolution: Resolution<'_>) -> String {
        match resolution {
            Resolution::Found(tool) => qualified(tool),
            other => panic!("{other:?} is no single tool"),
        }
    }

    #[test]
    fn replicas_are_one_tool_described_by_the_first_of_them() {
        let catalogue = merged(Collisions::Error);
        let tool = catalogue.tools().find(|tool| tool.group == "beta" && &*tool.name == "read").unwrap();
        assert_eq!(tool.servers.iter().map(ServerId::as_str).collect::<Vec<_>>(), ["b1", "b2"]);
        assert!(tool.definition.as_str().contains("b1"));
        assert_eq!(tool.exposed, "beta__read");
    }

    #[test]
    fn a_name_of_two_groups_is_settled_by_the_configuration() {
        let catalogue = merged(Collisions::Error);
        let candidates = vec!["beta/read".to_owned(), "alpha/read".to_owned()];
        assert_eq!(catalogue.resolve("read", None, |_| true), Resolution::Ambiguous(candidates));
        assert_eq!(found(catalogue.resolve("alpha/read", None, |_| true)), "alpha/read");
        assert_eq!(found(catalogue.resolve("read", Some("alpha"), |_| true)), "alpha/read");
        assert_eq!(found(catalogue.resolve("alpha__read", None, |_| true)), "alpha/read");
        assert_eq!(found(merged(Collisions::First).resolve("read", None, |_| true)), "beta/read");
        let balanced = merged(Collisions::Balance);
        assert!(
            matches!(balanced.resolve("read", None, |_| true), Resolution::Several(tools) if tools.len() == 2)
        );
        for collisions in [Collisions::Error, Collisions::First, Collisions::Balance] {
            let catalogue = merged(collisions);
            assert_eq!(found(catalogue.resolve("read", None, |tool| tool.group == "alpha")), "alpha/read");
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_those_that_look_alike() {
        let catalogue = merged(Collisions::Error);
        let Resolution::Unknown { near } = catalogue.resolve("wirte", None, |_| true) else { panic!() };
        assert_eq!(near, ["write"]);
        let Resolution::Unknown { near } = catalogue.resolve("raed", None, |_| true) else { panic!() };
        assert_eq!(near, ["alpha/read", "beta/read"]);
        assert_eq!(catalogue.resolve("zzz", None, |_| true), Resolution::Unknown { near: vec![] });
        assert!(matches!(
            catalogue.resolve("beta/read", Some("alpha"), |_| true),
            Resolution::Unknown { .. }
        ));
    }

    #[test]
    fn exposed_names_are_unique_even_where_originals_meet() {
        let catalogue = Catalogue::merge(1, [offer("s", "g", 0, &["a.b", "a_b"])], Collisions::Error);
        let exposed: Vec<&str> = catalogue.tools().map(|tool| tool.exposed.as_str()).collect();
        assert_ne!(exposed[0], exposed[1]);
        assert_eq!(found(catalogue.resolve(exposed[0], None, |_| true)), "g/a.b");
    }

    #[test]
    fn differences_are_told_by_name() {
        let old = offer("s", "g", 0, &["a", "b"]).tools;
        let new = offer("t", "g", 0, &["b", "c"]).tools;
        let owned = |name: &str| vec![name.to_owned()];
        assert_eq!(differences(&old, &new), (owned("c"), owned("a"), owned("b")));
        assert_eq!(differences(&old, &old), (vec![], vec![], vec![]));
    }
}
