//! What the servers offer, merged into one immutable snapshot.
//!
//! Servers of one group that offer a tool are replicas. The same name in two groups is a collision: a second server
//! never takes a name away from the first, and a bare name that several groups offer is settled by the configuration.
//! The same holds for resources, their templates and prompts.

mod effect;
mod entries;
mod function;
mod name_index;
mod near;
mod template;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::config::{Collisions, ToolChoice};
use crate::id::{GroupId, ServerId};
use crate::json::RawJson;
use crate::offer::EntryKind;
use crate::policy::names::Prefixes;
use crate::protocol::listing::real_name;

pub(crate) use effect::Effect;
pub use entries::{Prompt, Resource, ResourceTemplate, Tool};
pub use function::ToolFunction;
use name_index::NameIndex;
#[cfg(test)]
pub(crate) use near::work::compared;

/// Bytes of URIs and templates that are compared for one URI in one group: thousands of usual ones, and less than a tenth of a
/// millisecond.
const TEMPLATE_BYTES_MAX: usize = 256 << 10;

/// One thing as one server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Definition {
    /// Its name, URI or template.
    pub name: String,
    /// The server's whole entry, unread.
    pub definition: RawJson,
}

/// All that one server offers. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Offer {
    /// Its tools.
    pub tools: Arc<[Definition]>,
    /// Its resources.
    pub resources: Arc<[Definition]>,
    /// The templates of further resources.
    pub templates: Arc<[Definition]>,
    /// Its prompts.
    pub prompts: Arc<[Definition]>,
    /// It has resources, listed or not.
    pub reads: bool,
    /// Tools that it offers and that are left out, since what it says of them is not what their pins say.
    pub blocked: Arc<[Definition]>,
}

impl Offer {
    /// The things of one kind.
    pub(crate) fn of(&self, kind: EntryKind) -> &Arc<[Definition]> {
        match kind {
            EntryKind::Tool => &self.tools,
            EntryKind::Resource => &self.resources,
            EntryKind::ResourceTemplate => &self.templates,
            EntryKind::Prompt => &self.prompts,
        }
    }

    /// The same without the tools that its operator does not want. One whose own name is not legal is meant by that, and by
    /// the one that it goes by.
    pub(crate) fn chosen(mut self, choice: &ToolChoice) -> Self {
        if !choice.is_all() {
            let offers = |Definition { name, definition }: &&Definition| match real_name(name, definition) {
                Some(own) => choice.offers_either(&own, name),
                None => choice.offers(name),
            };
            let chosen =
                |tools: &Arc<[Definition]>| tools.iter().filter(offers).cloned().collect::<Arc<[_]>>();
            (self.tools, self.blocked) = (chosen(&self.tools), chosen(&self.blocked));
        }
        self
    }

    /// The same, to be changed.
    pub(crate) fn of_mut(&mut self, kind: EntryKind) -> &mut Arc<[Definition]> {
        match kind {
            EntryKind::Tool => &mut self.tools,
            EntryKind::Resource => &mut self.resources,
            EntryKind::ResourceTemplate => &mut self.templates,
            EntryKind::Prompt => &mut self.prompts,
        }
    }
}

/// What one server of the troupe offers.
#[derive(Debug, Clone)]
pub(crate) struct ServerOffer {
    /// The server.
    pub server: ServerId,
    /// Its group.
    pub group: GroupId,
    /// Its place among the registrations.
    pub order: usize,
    /// What it says of its tools is believed.
    pub trusted: bool,
    /// It has listed this in this run; else it is what it listed at its last one.
    pub confirmed: bool,
    /// What it offers.
    pub offer: Offer,
}

/// What a name means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resolution<'a, E = Tool> {
    /// One thing.
    Found(&'a E),
    /// The same name in several groups, over which calls are balanced.
    Several(Vec<&'a E>),
    /// Several things; these are their qualified names, or their groups where URIs are asked for.
    Ambiguous(Vec<String>),
    /// None. Names that look alike are another question, see [`Catalogue::near`].
    Unknown,
}

/// What all servers offer, as one immutable snapshot; see [`Troupe::catalogue`](crate::Troupe::catalogue).
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    version: u64,
    collisions: Collisions,
    tools: NameIndex<Tool>,
    resources: NameIndex<Resource>,
    templates: NameIndex<ResourceTemplate>,
    prompts: NameIndex<Prompt>,
    /// Servers that have resources, listed or not.
    readers: HashSet<ServerId>,
    /// The groups that are registered.
    groups: HashSet<GroupId>,
    /// Who offers a tool that was left out, by its name. Most catalogues have none.
    blocked: BTreeMap<String, Vec<(GroupId, ServerId)>>,
    /// What is believed of each tool, by its place; none where no server is trusted.
    effects: Vec<Effect>,
}

/// A group that has a thing, and its servers that do.
pub(crate) type Holders<'a> = (&'a GroupId, &'a [ServerId]);

impl Catalogue {
    /// Nothing.
    pub(crate) fn empty() -> Self {
        Self::default()
    }

    /// Merges what the servers offer, where no other groups are registered.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn merge(
        version: u64,
        servers: impl IntoIterator<Item = ServerOffer>,
        collisions: Collisions,
    ) -> Self {
        Self::merge_among(version, servers, [], collisions)
    }

    /// Merges what the servers offer. `registered` are the groups of all servers, also of those that offer nothing yet.
    pub(crate) fn merge_among(
        version: u64,
        servers: impl IntoIterator<Item = ServerOffer>,
        registered: impl IntoIterator<Item = GroupId>,
        collisions: Collisions,
    ) -> Self {
        let mut servers: Vec<ServerOffer> = servers.into_iter().collect();
        let groups: HashSet<GroupId> =
            registered.into_iter().chain(servers.iter().map(|offer| offer.group.clone())).collect();
        let prefixes = Arc::new(Prefixes::of(&groups));
        servers.sort_by_key(|offer| offer.order);
        let readers = servers.iter().filter(|offer| offer.offer.reads);
        let mut blocked: BTreeMap<String, Vec<(GroupId, ServerId)>> = BTreeMap::new();
        for (offer, tool) in
            servers.iter().flat_map(|offer| offer.offer.blocked.iter().map(move |tool| (offer, tool)))
        {
            // Models ask for it by the names that they would see.
            let group = offer.group.as_str();
            let exposed =
                [false, true].map(|ambiguous| crate::policy::names::exposed(group, &tool.name, ambiguous));
            // A long name is the same either way.
            let names: BTreeSet<String> = std::iter::once(tool.name.clone()).chain(exposed).collect();
            for name in names {
                blocked.entry(name).or_default().push((offer.group.clone(), offer.server.clone()));
            }
        }
        let tools = NameIndex::merge(&servers, &prefixes);
        Self {
            version,
            collisions,
            effects: effect::of(&tools, &servers),
            tools,
            resources: NameIndex::merge(&servers, &prefixes),
            templates: NameIndex::merge(&servers, &prefixes),
            prompts: NameIndex::merge(&servers, &prefixes),
            groups,
            readers: readers.map(|offer| offer.server.clone()).collect(),
            blocked,
        }
    }

    /// Grows whenever something changes.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All tools, by group and name.
    pub fn tools(&self) -> impl ExactSizeIterator<Item = &Tool> {
        self.tools.entries()
    }

    /// What is believed of a tool's effect.
    pub(crate) fn effect(&self, tool: &Tool) -> Effect {
        self.effects.get(tool.index).copied().unwrap_or_default()
    }

    /// All resources that servers list, by group and URI.
    pub fn resources(&self) -> impl ExactSizeIterator<Item = &Resource> {
        self.resources.entries()
    }

    /// The templates of further resources, by group and template.
    pub fn resource_templates(&self) -> impl ExactSizeIterator<Item = &ResourceTemplate> {
        self.templates.entries()
    }

    /// All prompts, by group and name.
    pub fn prompts(&self) -> impl ExactSizeIterator<Item = &Prompt> {
        self.prompts.entries()
    }

    /// The place of a group among the registrations of those that offer something.
    #[cfg(feature = "gateway")]
    pub(crate) fn order_of(&self, group: &GroupId) -> Option<usize> {
        self.tools.order_of(group)
    }

    /// The tool at a place.
    pub(crate) fn tool(&self, index: usize) -> &Tool {
        self.tools.at(index)
    }

    /// The servers that offer the thing at a place.
    pub(crate) fn servers_of(&self, kind: EntryKind, index: usize) -> &[ServerId] {
        match kind {
            EntryKind::Tool => self.tools.servers_of(index),
            EntryKind::Resource => self.resources.servers_of(index),
            EntryKind::ResourceTemplate => self.templates.servers_of(index),
            EntryKind::Prompt => self.prompts.servers_of(index),
        }
    }

    /// Whether somebody offers a tool whose own name this is, in `group` if that is given.
    pub(crate) fn offers(&self, tool: &str, group: Option<&str>) -> bool {
        self.tools.offers(tool, group)
    }

    /// Whether a name that an operator writes means this tool: its own name, `group/tool`, `group__tool`, or the name by which models
    /// know it. Of one that could be several groups' by its beginning none is meant but by that last one.
    pub(crate) fn means(&self, name: &str, group: &str, tool: &str) -> bool {
        self.tools.means(name, group, tool)
    }

    /// Whether a name begins as the exposed names of a registered group do.
    pub(crate) fn claims(&self, name: &str) -> bool {
        self.tools.claims(name)
    }

    /// Whether a group was registered when this was made.
    pub(crate) fn knows_group(&self, group: &GroupId) -> bool {
        self.groups.contains(group)
    }

    /// Whether a server has resources, listed or not.
    pub(crate) fn reads(&self, server: &ServerId) -> bool {
        self.readers.contains(server)
    }

    /// Servers that offer a tool of this name, bare, qualified or exposed, and whose definition of it is not what its pin says.
    pub(crate) fn blocked(&self, name: &str) -> impl Iterator<Item = &ServerId> {
        let (group, bare) = name.split_once('/').map_or((None, name), |(group, bare)| (Some(group), bare));
        let offering = self.blocked.get(bare).into_iter().flatten();
        offering.filter(move |(of, _)| group.is_none_or(|group| *of == group)).map(|(_, server)| server)
    }

    /// What `name` means: a bare name, `group/tool`, or an exposed name; a bare one within `group`, if that is given. One that
    /// begins as exposed names of registered groups do means nothing of others. Of
    /// several tools that it may mean, those count that `admits` picks, if it picks any.
    pub(crate) fn resolve(
        &self,
        name: &str,
        group: Option<&str>,
        admits: impl Fn(&Tool) -> bool,
    ) -> Resolution<'_> {
        self.tools.resolve(name, group, self.collisions, admits)
    }

    /// Names that look like one that nobody knows, best first; none for what goes by its URI. Takes some tens of
    /// microseconds: no actor asks that for a call.
    pub(crate) fn near(&self, kind: EntryKind, name: &str) -> Vec<String> {
        match kind {
            EntryKind::Tool => self.tools.near(name),
            EntryKind::Prompt => self.prompts.near(name),
            EntryKind::Resource | EntryKind::ResourceTemplate => Vec::new(),
        }
    }

    /// Every tool that `name` may mean, one for each group that offers it, whatever is said of collisions.
    pub(crate) fn meanings(&self, name: &str, group: Option<&str>) -> Vec<&Tool> {
        self.tools.meanings(name, group)
    }

    /// What a prompt's name means, as [`resolve`](Self::resolve) says it of a tool's.
    pub(crate) fn resolve_prompt(
        &self,
        name: &str,
        group: Option<&str>,
        admits: impl Fn(&Prompt) -> bool,
    ) -> Resolution<'_, Prompt> {
        self.prompts.resolve(name, group, self.collisions, admits)
    }

    /// What a URI means among the resources that are listed.
    pub(crate) fn resolve_resource(
        &self,
        uri: &str,
        group: Option<&str>,
        admits: impl Fn(&Resource) -> bool,
    ) -> Resolution<'_, Resource> {
        self.resources.resolve(uri, group, self.collisions, admits)
    }

    /// What a template means, written as its servers write it.
    pub(crate) fn resolve_template(
        &self,
        template: &str,
        group: Option<&str>,
        admits: impl Fn(&ResourceTemplate) -> bool,
    ) -> Resolution<'_, ResourceTemplate> {
        self.templates.resolve(template, group, self.collisions, admits)
    }

    /// Who has a resource, by the lists or else by the templates: one group with its servers, or several where they are
    /// balanced over.
    ///
    /// # Errors
    /// The groups, where it is not settled which of them is meant.
    pub(crate) fn holders(&self, uri: &str, group: Option<&str>) -> Result<Vec<Holders<'_>>, Vec<String>> {
        Ok(match self.resolve_resource(uri, group, |_| true) {
            Resolution::Found(resource) => vec![(&resource.group, &resource.servers)],
            Resolution::Several(resources) => {
                resources.into_iter().map(|one| (&one.group, one.servers.as_slice())).collect()
            }
            Resolution::Ambiguous(groups) => return Err(groups),
            Resolution::Unknown => match self.resolve_by_template(uri, group, |_| true) {
                Resolution::Found(template) => vec![(&template.group, &template.servers)],
                Resolution::Several(templates) => {
                    templates.into_iter().map(|one| (&one.group, one.servers.as_slice())).collect()
                }
                Resolution::Ambiguous(groups) => return Err(groups),
                Resolution::Unknown => Vec::new(),
            },
        })
    }

    /// The template that a URI follows which nobody lists. Of each group only the first templates are compared that begin as
    /// the URI does, up to [`TEMPLATE_BYTES_MAX`]: the router asks this for a call, and peers write the templates.
    pub(crate) fn resolve_by_template(
        &self,
        uri: &str,
        group: Option<&str>,
        admits: impl Fn(&ResourceTemplate) -> bool,
    ) -> Resolution<'_, ResourceTemplate> {
        // They stand by group.
        let (mut compared, mut of): (usize, Option<GroupId>) = (0, None);
        let follows = |template: &ResourceTemplate| {
            let ResourceTemplate { template, group, .. } = template;
            if of.as_ref() != Some(group) {
                (compared, of) = (0, Some(group.clone()));
            }
            if template::shared_beginning(uri, template).is_none() || compared > TEMPLATE_BYTES_MAX {
                return false;
            }
            compared += uri.len() + template.len();
            template::follows(uri, template)
        };
        self.templates.resolve_those(follows, group, self.collisions, admits)
    }
}

/// Names that are only in `new`, only in `old`, and in both with another definition.
pub(crate) fn differences(old: &[Definition], new: &[Definition]) -> (Vec<String>, Vec<String>, Vec<String>) {
    let before: BTreeMap<&str, &RawJson> =
        old.iter().map(|entry| (entry.name.as_str(), &entry.definition)).collect();
    let after: BTreeMap<&str, &RawJson> =
        new.iter().map(|entry| (entry.name.as_str(), &entry.definition)).collect();
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

    fn offer(server: &str, group: &str, order: usize, tools: &[&str]) -> ServerOffer {
        let tools = tools.iter().map(|name| Definition {
            name: (*name).to_owned(),
            definition: RawJson::from_value(&json!({"name": name, "by": server})).unwrap(),
        });
        ServerOffer {
            server: ServerId::new(server).unwrap(),
            group: GroupId::new(group).unwrap(),
            order,
            trusted: false,
            confirmed: true,
            offer: Offer { tools: tools.collect(), ..Offer::default() },
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
            Resolution::Found(tool) => name_index::qualified(tool),
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
    fn a_name_means_one_tool_of_each_group_that_offers_it() {
        let catalogue = merged(Collisions::First);
        let meanings = |name: &str, group| -> Vec<String> {
            catalogue.meanings(name, group).into_iter().map(name_index::qualified).collect()
        };
        assert_eq!(meanings("read", None), ["beta/read", "alpha/read"]);
        assert_eq!(meanings("read", Some("alpha")), ["alpha/read"]);
        assert_eq!(meanings("alpha/read", None), ["alpha/read"]);
        assert_eq!(meanings("alpha__read", None), ["alpha/read"]);
        assert!(meanings("alpha__read", Some("beta")).is_empty());
        assert!(meanings("beta/read", Some("alpha")).is_empty());
        assert!(meanings("raed", None).is_empty());
    }

    #[test]
    fn an_unknown_name_is_answered_with_those_that_look_alike() {
        let catalogue = merged(Collisions::Error);
        let near = |name: &str| {
            assert_eq!(catalogue.resolve(name, None, |_| true), Resolution::Unknown);
            catalogue.near(EntryKind::Tool, name)
        };
        assert_eq!(near("wirte"), ["write"]);
        assert_eq!(near("raed"), ["alpha/read", "beta/read"]);
        assert_eq!(near("beta/raed")[0], "beta/read");
        assert_eq!(near("beta__raed")[0], "beta__read", "in the form that was asked for");
        assert_eq!(near("beta/wirte")[0], "beta/write");
        assert_eq!(near("beta__wirte")[0], "beta__write");
        assert!(near("zzz").is_empty());
        assert!(matches!(catalogue.resolve("beta/read", Some("alpha"), |_| true), Resolution::Unknown));
    }

    #[test]
    fn an_own_name_that_begins_as_a_registered_group_takes_no_calls_from_that() {
        let definition = RawJson::from_value(&serde_json::json!({"name": "files/read"})).unwrap();
        let mut other = offer("o", "other", 0, &[]);
        other.offer.tools = [Definition { name: "files_read".to_owned(), definition }].into();
        let group = |name: &str| GroupId::new(name).unwrap();
        let among = |groups: &[&str]| {
            let groups = groups.iter().map(|name| group(name));
            Catalogue::merge_among(1, [other.clone()], groups, Collisions::Error)
        };
        // It is registered and has yet to list.
        let both = among(&["other", "files"]);
        assert_eq!(both.resolve("files/read", None, |_| true), Resolution::Unknown);
        assert!(both.meanings("files/read", None).is_empty());
        assert_eq!(found(both.resolve("other/files/read", None, |_| true)), "other/files_read");
        let alone = among(&["other"]);
        assert_eq!(found(alone.resolve("files/read", None, |_| true)), "other/files_read");
    }

    #[test]
    fn replicas_that_know_a_tool_by_different_names_share_the_offered_one_alone() {
        let replica = |server: &str, own: &str| {
            let definition = RawJson::from_value(&serde_json::json!({"name": own})).unwrap();
            let mut replica = offer(server, "g", 0, &[]);
            replica.offer.tools = [Definition { name: "a_b".to_owned(), definition }].into();
            replica
        };
        let differ = Catalogue::merge(1, [replica("s", "a/b"), replica("t", "a b")], Collisions::Error);
        for own in ["a/b", "a b"] {
            assert_eq!(
                differ.resolve(own, None, |_| true),
                Resolution::Unknown,
                "it is another tool of the other"
            );
        }
        assert_eq!(found(differ.resolve("a_b", None, |_| true)), "g/a_b");
        let agree = Catalogue::merge(1, [replica("s", "a/b"), replica("t", "a/b")], Collisions::Error);
        assert_eq!(found(agree.resolve("a/b", None, |_| true)), "g/a_b");
    }

    #[test]
    fn a_name_that_was_joined_to_its_group_by_another_sign_is_told_with_a_slash() {
        let catalogue = merged(Collisions::Error);
        let (group, name) = (catalogue.tool(0).group.clone(), catalogue.tool(0).name.clone());
        for sign in [".", ":", "-", "__"] {
            let near = catalogue.near(EntryKind::Tool, &format!("{group}{sign}{name}"));
            if sign != "__" {
                assert_eq!(near.first(), Some(&format!("{group}/{name}")), "{sign}");
            }
            assert!(near.len() <= 5, "{near:?}");
        }
    }

    #[test]
    fn a_tool_that_is_called_as_one_of_another_group_is_exposed_takes_no_calls_from_that() {
        let files = offer("s", "files", 1, &["read"]);
        let other = offer("t", "other", 0, &["files__read"]);
        let catalogue = Catalogue::merge(1, [files, other], Collisions::First);
        let group = |name: &str| match catalogue.resolve(name, None, |_| true) {
            Resolution::Found(tool) => format!("{} of {}", tool.name, tool.group),
            _ => "nobody".to_owned(),
        };
        assert_eq!(group("files__read"), "read of files", "as models call it");
        assert_eq!(group("other__files__read"), "files__read of other");
        assert_eq!(group("other/files__read"), "files__read of other");
        let meant = catalogue.meanings("files__read", None);
        assert_eq!(meant.iter().map(|tool| tool.group.as_str()).collect::<Vec<_>>(), ["files"]);
    }

    #[test]
    fn a_name_of_a_group_that_is_registered_is_nobody_elses_while_that_group_offers_nothing() {
        let other = || {
            let mut other = offer("t", "other", 0, &["files__read", "db__read"]);
            other.offer.prompts = other.offer.tools.clone();
            other
        };
        let files = GroupId::new("files").unwrap();
        let catalogue = Catalogue::merge_among(1, [other()], [files], Collisions::First);
        for name in ["files__read", "files__gone"] {
            assert_eq!(catalogue.resolve(name, None, |_| true), Resolution::Unknown);
            assert_eq!(catalogue.resolve_prompt(name, None, |_| true), Resolution::Unknown);
            assert!(catalogue.meanings(name, None).is_empty());
        }
        let meant = |name, group| found(catalogue.resolve(name, group, |_| true));
        assert_eq!(meant("files__read", Some("other")), "other/files__read");
        assert_eq!(meant("other/files__read", None), "other/files__read");
        assert_eq!(meant("other__files__read", None), "other/files__read");
        assert_eq!(catalogue.meanings("files__read", Some("other")).len(), 1);
        assert_eq!(meant("db__read", None), "other/db__read", "there is no such group");
        // A server may call its tools as it is called itself.
        let own = Catalogue::merge(1, [offer("s", "files", 1, &["files__read"]), other()], Collisions::Error);
        assert_eq!(found(own.resolve("files__read", None, |_| true)), "files/files__read");
        // With no such group a bare name is what it is called.
        let alone = Catalogue::merge(1, [other()], Collisions::First);
        assert_eq!(found(alone.resolve("files__read", None, |_| true)), "other/files__read");
    }

    #[test]
    fn an_exposed_name_that_two_groups_could_have_is_nobodys_whoever_has_listed() {
        let groups = || ["a", "a__b", "my.files", "my_files"].map(|group| GroupId::new(group).unwrap());
        let a = || offer("s", "a", 0, &["b__c", "d"]);
        let ab = || offer("t", "a__b", 1, &["c"]);
        let mine = || offer("u", "my_files", 2, &["read"]);
        let all = Catalogue::merge_among(1, [a(), ab(), mine()], groups(), Collisions::First);
        let exposed = |catalogue: &Catalogue| -> Vec<(String, String)> {
            catalogue.tools().map(|tool| (name_index::qualified(tool), tool.exposed.clone())).collect()
        };
        for some in [vec![a()], vec![ab()], vec![mine()], vec![ab(), mine()]] {
            let catalogue = Catalogue::merge_among(2, some, groups(), Collisions::First);
            for name in ["a__b__c", "my_files__read"] {
                assert_eq!(catalogue.resolve(name, None, |_| true), Resolution::Unknown, "{name}");
            }
            let before = exposed(&all);
            assert!(exposed(&catalogue).iter().all(|tool| before.contains(tool)), "names stay");
        }
        assert_eq!(found(all.resolve("a__d", None, |_| true)), "a/d");
    }

    #[test]
    fn a_group_with_thousands_of_long_templates_takes_no_more_than_its_share_and_hides_no_other() {
        let of = |server: &str, order: usize, templates: Vec<String>| {
            let definition = RawJson::from_value(&json!({})).unwrap();
            let each = |name: String| Definition { name, definition: definition.clone() };
            ServerOffer {
                server: ServerId::new(server).unwrap(),
                group: GroupId::new(server).unwrap(),
                order,
                trusted: false,
                confirmed: true,
                offer: Offer { templates: templates.into_iter().map(each).collect(), ..Offer::default() },
            }
        };
        let long = |n: usize| format!("db:///{{t}}{}{n}", "/x".repeat(4_000));
        let offers =
            [of("a", 0, (0..1_000).map(long).collect()), of("b", 1, vec!["db:///{t}/rows".to_owned()])];
        let catalogue = Catalogue::merge(1, offers, Collisions::Error);
        let found = |uri: &str| match catalogue.resolve_by_template(uri, None, |_| true) {
            Resolution::Found(template) => Some(template.group.to_string()),
            _ => None,
        };
        assert_eq!(found("db:///users/rows").as_deref(), Some("b"));
        assert_eq!(found(&long(10).replace("{t}", "users")).as_deref(), Some("a"));
        assert_eq!(found(&long(999).replace("{t}", "users")), None, "it is beyond the share of its group");
    }

    #[test]
    fn a_near_name_is_found_among_thousands_by_few_comparisons() {
        let names: Vec<String> = (0..9_000).map(|n| format!("tool_{n:04}_of_many")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).chain(["customer.search"]).collect();
        let catalogue = Catalogue::merge(1, [offer("s", "g", 0, &names)], Collisions::Error);
        let longest = "tool_of_many_".repeat(15);
        for (asked, found) in [("costumer.serach", Some("customer.search")), (&longest[..193], None)] {
            let before = compared();
            assert_eq!(catalogue.near(EntryKind::Tool, asked).first().map(String::as_str), found);
            assert!(compared() - before <= 32, "{} names were compared", compared() - before);
        }
        // Long ones are compared with even fewer.
        let long: Vec<String> = (0..1_000).map(|n| format!("{n}_{}", "tool_of_many_".repeat(9))).collect();
        let long: Vec<&str> = long.iter().map(String::as_str).collect();
        let catalogue = Catalogue::merge(1, [offer("s", "g", 0, &long)], Collisions::Error);
        let before = compared();
        assert!(!catalogue.near(EntryKind::Tool, &format!("1_{}x", "tool_of_many_".repeat(9))).is_empty());
        assert!(compared() - before <= 4, "{} names were compared", compared() - before);
    }

    #[test]
    fn exposed_names_are_unique_even_where_originals_meet() {
        let catalogue = Catalogue::merge(1, [offer("s", "g", 0, &["a.b", "a_b"])], Collisions::Error);
        let exposed: Vec<&str> = catalogue.tools().map(|tool| tool.exposed.as_str()).collect();
        assert_ne!(exposed[0], exposed[1]);
        assert_eq!(found(catalogue.resolve(exposed[0], None, |_| true)), "g/a.b");
    }

    #[test]
    fn a_tool_that_is_blocked_is_not_offered_and_it_is_known_why() {
        let mut server = offer("b1", "beta", 0, &["read"]);
        server.offer.blocked = offer("b1", "beta", 0, &["write"]).offer.tools;
        let catalogue = Catalogue::merge(1, [server], Collisions::Error);
        assert!(matches!(catalogue.resolve("write", None, |_| true), Resolution::Unknown));
        let blocked = |name: &str| catalogue.blocked(name).map(ServerId::as_str).collect::<Vec<_>>();
        assert_eq!((blocked("write"), blocked("beta/write")), (vec!["b1"], vec!["b1"]));
        assert_eq!(blocked("beta__write"), ["b1"]);
        assert!(blocked("alpha/write").is_empty() && blocked("read").is_empty());
        assert!(blocked("alpha__write").is_empty());
    }

    #[test]
    fn differences_are_told_by_name() {
        let old = offer("s", "g", 0, &["a", "b"]).offer.tools;
        let new = offer("t", "g", 0, &["b", "c"]).offer.tools;
        let owned = |name: &str| vec![name.to_owned()];
        assert_eq!(differences(&old, &new), (owned("c"), owned("a"), owned("b")));
        assert_eq!(differences(&old, &old), (vec![], vec![], vec![]));
    }

    #[test]
    fn a_uri_is_found_by_itself_or_by_the_template_that_it_follows() {
        let listed = |names: &[&str]| -> Arc<[Definition]> {
            let definition = |name: &&str| Definition {
                name: (*name).to_owned(),
                definition: RawJson::from_value(&json!({"uri": name})).unwrap(),
            };
            names.iter().map(definition).collect()
        };
        let offer = |server: &str, resources: &[&str], templates: &[&str]| ServerOffer {
            server: ServerId::new(server).unwrap(),
            group: GroupId::new(server).unwrap(),
            order: 0,
            trusted: false,
            confirmed: true,
            offer: Offer {
                resources: listed(resources),
                templates: listed(templates),
                reads: true,
                ..Offer::default()
            },
        };
        let offers = [offer("a", &["file:///x/1"], &["db:///{t}"]), offer("b", &["file:///x/1"], &[])];
        let catalogue = Catalogue::merge(1, offers, Collisions::Error);
        let groups = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(
            catalogue.resolve_resource("file:///x/1", None, |_| true),
            Resolution::Ambiguous(groups),
            "a URI has slashes, and is no qualified name"
        );
        let Resolution::Found(found) = catalogue.resolve_resource("file:///x/1", Some("b"), |_| true) else {
            panic!()
        };
        assert_eq!((&*found.uri, found.group.as_str()), ("file:///x/1", "b"));
        assert!(matches!(catalogue.resolve_by_template("db:///t", None, |_| true), Resolution::Found(_)));
        assert!(matches!(catalogue.resolve_by_template("db:///t/u", None, |_| true), Resolution::Unknown));
        assert!(catalogue.reads(&ServerId::new("b").unwrap()));
    }
}
