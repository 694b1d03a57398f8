//! What one client is shown of the catalogue, under its names for it.

use std::collections::HashSet;
use std::sync::Arc;

use super::listed::{Entry, Listed};
use super::naming::{GivenNames, Named, names};
use super::offered::Offered;
use super::profile::{Profile, Tags};
use super::uris;
use crate::config::NameSettings;
use crate::id::GroupId;
use crate::json::members::{members, string};
use crate::policy::catalogue::{Catalogue, Effect, Resolution, Tool};
use crate::policy::names::mark;
use crate::protocol::server::renamed;

/// By what a view is made.
#[derive(Debug, Clone, Default)]
pub(crate) struct ViewRules {
    /// What things are called.
    pub names: NameSettings,
    /// What is seen of all that there is, and the profile's name; all, unless there is one.
    pub profile: Option<(String, Profile)>,
}

/// What is known of the servers beside what they offer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Servers {
    /// Groups of which a server was found by a source.
    pub discovered: HashSet<GroupId>,
    /// The tags of each server.
    pub tags: Tags,
}

/// The lists that a client may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum List {
    Tools,
    Prompts,
    Resources,
    Templates,
}

/// What a client is shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    tools: Listed,
    prompts: Listed,
    resources: Listed,
    templates: Listed,
    /// The groups that have resources or templates, in the order of the configuration.
    readers: Vec<GroupId>,
    /// Tools and prompts for which no name was left, as `group/name`.
    left_out: Vec<String>,
}

impl View {
    /// What `rules` let be seen of a catalogue.
    pub(crate) fn of(catalogue: &Catalogue, rules: &ViewRules, servers: &Servers, given: &mut Given) -> Self {
        let profile = rules.profile.as_ref().map(|(_, profile)| profile);
        let shows = |offered: &Offered<'_>, reads: bool| {
            profile.is_none_or(|profile| profile.shows(offered, &servers.tags, reads))
        };
        let mark_of = |list: &str| match &rules.profile {
            None => mark(&[list]),
            Some((name, _)) => mark(&[list, name]),
        };
        let order = |group: &GroupId| catalogue.order_of(group).unwrap_or(usize::MAX);
        let mut left_out = Vec::new();
        let mut named = |offered: Vec<Offered<'_>>, given: &mut GivenNames, list: &str| {
            let named: Vec<Named<'_>> = offered
                .iter()
                .map(|one| Named {
                    group: one.group,
                    name: one.name,
                    exposed: one.exposed,
                    order: order(one.group),
                    renamed: profile.and_then(|profile| profile.name_of(one)),
                })
                .collect();
            let names = names(&named, &rules.names, &servers.discovered, given);
            let nameless = offered.iter().zip(&names).filter(|(_, name)| name.is_none());
            left_out.extend(nameless.map(|(one, _)| format!("{}/{}", one.group, one.name)));
            listed(offered, names, "name", mark_of(list))
        };
        let by_uri = |offered: Vec<Offered<'_>>, key: &'static str, list: &str| {
            let uris: Vec<(&GroupId, &str, usize)> =
                offered.iter().map(|one| (one.group, &**one.name, order(one.group))).collect();
            let shown = uris::shown(&uris).into_iter().map(Some).collect();
            listed(offered, shown, key, mark_of(list))
        };
        let tools = catalogue.tools().filter(|tool| !needs_task(tool)).filter_map(|tool| {
            let offered = Offered {
                group: &tool.group,
                name: &tool.name,
                exposed: &tool.exposed,
                definition: &tool.definition,
                servers: &tool.servers,
            };
            shows(&offered, catalogue.effect(tool) == Effect::Reads).then_some(offered)
        });
        let prompts = catalogue.prompts().map(|prompt| Offered {
            group: &prompt.group,
            name: &prompt.name,
            exposed: &prompt.exposed,
            definition: &prompt.definition,
            servers: &prompt.servers,
        });
        let resources = catalogue.resources().map(|resource| Offered {
            group: &resource.group,
            name: &resource.uri,
            exposed: "",
            definition: &resource.definition,
            servers: &resource.servers,
        });
        let templates = catalogue.resource_templates().map(|template| Offered {
            group: &template.group,
            name: &template.template,
            exposed: "",
            definition: &template.definition,
            servers: &template.servers,
        });
        let tools = named(tools.collect(), &mut given.tools, "tools");
        let prompts = named(prompts.filter(|one| shows(one, true)).collect(), &mut given.prompts, "prompts");
        let resources = by_uri(resources.filter(|one| shows(one, true)).collect(), "uri", "resources");
        let templates =
            by_uri(templates.filter(|one| shows(one, true)).collect(), "uriTemplate", "resourceTemplates");
        let entries = resources.entries().iter().chain(templates.entries());
        let mut readers: Vec<GroupId> = entries.map(|entry| entry.group.clone()).collect();
        readers.sort();
        readers.dedup();
        readers.sort_by_key(order);
        Self { tools, prompts, resources, templates, readers, left_out }
    }

    /// One of the lists.
    pub(crate) fn list(&self, list: List) -> &Listed {
        match list {
            List::Tools => &self.tools,
            List::Prompts => &self.prompts,
            List::Resources => &self.resources,
            List::Templates => &self.templates,
        }
    }

    /// Tools and prompts that have no name here, since others have it, as `group/name`.
    pub(crate) fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Whether something of a group is shown.
    pub(crate) fn shows_group(&self, group: &GroupId) -> bool {
        let lists = [&self.tools, &self.prompts, &self.resources, &self.templates];
        lists.into_iter().any(|list| list.entries().iter().any(|entry| entry.group == *group))
    }

    /// Who may have a resource, each with its name there, best first: who lists it; else whose template it follows; else who lists
    /// something of the same scheme and authority. Nobody else is asked, since a URI may hold a secret.
    pub(crate) fn readers(&self, catalogue: &Catalogue, uri: &str) -> Vec<(GroupId, String)> {
        if let Some(entry) = self.resources.named(uri) {
            return vec![(entry.group.clone(), entry.name.to_string())];
        }
        let by_template = |group: &GroupId, uri: &str| {
            let found = catalogue.resolve_by_template(uri, Some(group.as_str()), |_| true);
            let Resolution::Found(template) = found else { return false };
            self.templates
                .entries()
                .iter()
                .any(|entry| entry.group == *group && entry.name == template.template)
        };
        let mut found: Vec<(GroupId, String)> = Vec::new();
        // What follows a template that stands under its group's name does so as well.
        let prefixed = self.readers.iter().find_map(|group| Some((group, uris::without(group, uri)?)));
        if let Some((group, own)) = prefixed.filter(|(group, own)| by_template(group, own)) {
            found.push((group.clone(), own.to_owned()));
        }
        let following = self.readers.iter().filter(|group| by_template(group, uri));
        found.extend(following.map(|group| (group.clone(), uri.to_owned())));
        if found.is_empty()
            && let Some(place) = uris::place(uri)
        {
            let lists = |group: &&GroupId| {
                let own = self.resources.entries().iter().filter(|entry| entry.group == **group);
                own.map(|entry| uris::place(&entry.name)).any(|of| of == Some(place))
            };
            found.extend(self.readers.iter().filter(lists).map(|group| (group.clone(), uri.to_owned())));
        }
        found
    }
}

/// The names that were given since the process began.
#[derive(Debug, Default)]
pub(crate) struct Given {
    tools: GivenNames,
    prompts: GivenNames,
}

/// The list of those that have a name here, which stands in their definitions under `key`.
fn listed(offered: Vec<Offered<'_>>, names: Vec<Option<String>>, key: &'static str, mark: u32) -> Listed {
    let entries = offered.into_iter().zip(names).filter_map(|(one, name)| {
        let shown: Arc<str> = name?.into();
        // A tool whose own name is not legal has another one in the catalogue than in its definition.
        let is_its_own = key != "name" && shown == *one.name;
        let definition =
            if is_its_own { one.definition.clone() } else { renamed(one.definition, key, &shown) };
        Some(Entry { group: one.group.clone(), name: one.name.clone(), shown, definition })
    });
    Listed::new(entries.collect(), mark)
}

/// Whether a tool can only be called as a task, which nobody can here.
fn needs_task(tool: &Tool) -> bool {
    let needs = || {
        let [execution] = members(tool.definition.as_str(), ["execution"]).ok()?;
        let [support] = members(execution?, ["taskSupport"]).ok()?;
        string(support?)
    };
    needs().as_deref() == Some("required")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::{Collisions, Prefix, ProfileSettings};
    use crate::id::ServerId;
    use crate::json::RawJson;
    use crate::policy::catalogue::{Definition, Offer, ServerOffer};

    fn definitions(key: &str, values: &[Value]) -> Arc<[Definition]> {
        let definition = |value: &Value| Definition {
            name: value[key].as_str().unwrap().to_owned(),
            definition: RawJson::from_value(value).unwrap(),
        };
        values.iter().map(definition).collect()
    }

    fn of(group: &str, order: usize, offer: Offer) -> ServerOffer {
        ServerOffer {
            server: ServerId::new(group).unwrap(),
            group: GroupId::new(group).unwrap(),
            order,
            trusted: false,
            confirmed: true,
            offer,
        }
    }

    fn view(catalogue: &Catalogue) -> View {
        seen(catalogue, &ViewRules::default())
    }

    fn seen(catalogue: &Catalogue, rules: &ViewRules) -> View {
        View::of(catalogue, rules, &Servers::default(), &mut Given::default())
    }

    #[test]
    fn a_profile_hides_and_renames_and_no_other_tool_gets_a_name_that_it_gives() {
        let catalogue = tools(&[json!({"name": "read"}), json!({"name": "write"}), json!({"name": "drop"})]);
        let settings = ProfileSettings {
            exclude: vec!["files/drop".to_owned()],
            rename: [("files/write".to_owned(), "files__read".to_owned())].into(),
            ..ProfileSettings::default()
        };
        let rules = ViewRules {
            names: NameSettings::default(),
            profile: Some(("p".to_owned(), Profile::of(&settings))),
        };
        let view = seen(&catalogue, &rules);
        let shown = view.list(List::Tools).entries().iter();
        let shown: Vec<(&str, &str)> = shown.map(|entry| (&*entry.name, &*entry.shown)).collect();
        assert_eq!(shown[1], ("write", "files__read"));
        assert!(shown.len() == 2 && shown[0].1.starts_with("files__read_"), "{shown:?}");
        assert!(view.list(List::Tools).named("files__drop").is_none());
        // Each view has cursors of its own.
        let other = seen(&catalogue, &ViewRules::default());
        assert_ne!(other.list(List::Tools).hash(), view.list(List::Tools).hash());
    }

    fn tools(tools: &[Value]) -> Catalogue {
        let offer = Offer { tools: definitions("name", tools), ..Offer::default() };
        Catalogue::merge(1, [of("files", 0, offer)], Collisions::Error)
    }

    #[test]
    fn a_tool_is_shown_under_its_name_here_and_found_by_that_alone() {
        let catalogue = tools(&[json!({"name": "read", "title": "Read"}), json!({"name": "write"})]);
        let view = view(&catalogue);
        let tools = view.list(List::Tools);
        let entry = tools.named("files__read").unwrap();
        assert_eq!((&*entry.name, entry.group.as_str()), ("read", "files"));
        assert_eq!(entry.definition.as_str(), r#"{"name":"files__read","title":"Read"}"#);
        assert!(tools.named("read").is_none() && tools.named("files/read").is_none());
    }

    #[test]
    fn of_two_tools_of_one_name_without_a_group_one_is_left_out_and_told() {
        let offer = || Offer { tools: definitions("name", &[json!({"name": "read"})]), ..Offer::default() };
        let catalogue = Catalogue::merge(1, [of("b", 0, offer()), of("a", 1, offer())], Collisions::Error);
        let names = NameSettings { prefix: Prefix::Never, ..NameSettings::default() };
        let view = seen(&catalogue, &ViewRules { names, profile: None });
        assert_eq!(view.list(List::Tools).named("read").unwrap().group.as_str(), "b");
        assert_eq!(view.left_out(), ["a/read"]);
    }

    #[test]
    fn a_tool_whose_own_name_is_not_legal_is_listed_under_one_that_is() {
        let definition = json!({"name": "read file"});
        let tools = [Definition {
            name: "read_file".to_owned(),
            definition: RawJson::from_value(&definition).unwrap(),
        }];
        let offer = Offer { tools: tools.into_iter().collect(), ..Offer::default() };
        let catalogue = Catalogue::merge(1, [of("a", 0, offer)], Collisions::Error);
        let names = NameSettings { prefix: Prefix::Never, ..NameSettings::default() };
        let view = seen(&catalogue, &ViewRules { names, profile: None });
        let shown = view.list(List::Tools).named("read_file").unwrap();
        assert_eq!(shown.definition.as_str(), r#"{"name":"read_file"}"#);
    }

    #[test]
    fn a_tool_that_needs_a_task_is_not_shown() {
        let task = |support: &str| json!({"name": support, "execution": {"taskSupport": support}});
        let catalogue = tools(&[task("required"), task("optional"), task("forbidden")]);
        let view = view(&catalogue);
        let shown: Vec<&str> = view.list(List::Tools).entries().iter().map(|entry| &*entry.name).collect();
        assert_eq!(shown, ["forbidden", "optional"]);
    }

    #[test]
    fn a_resource_is_read_where_it_is_listed_or_may_be_and_nowhere_else() {
        let offer = |resources: &[&str], templates: &[&str]| {
            let resources: Vec<Value> =
                resources.iter().map(|uri| json!({"uri": uri, "name": uri})).collect();
            let templates: Vec<Value> = templates.iter().map(|uri| json!({"uriTemplate": uri})).collect();
            let resources = definitions("uri", &resources);
            Offer {
                resources,
                templates: definitions("uriTemplate", &templates),
                reads: true,
                ..Offer::default()
            }
        };
        let servers = [
            of("z", 0, offer(&["db://h/a", "x:1"], &["t://{id}"])),
            of("a", 1, offer(&["db://h/a", "db://h/b"], &["t://{id}"])),
            of("m", 2, offer(&["http://h/a"], &[])),
        ];
        let catalogue = Catalogue::merge(1, servers, Collisions::Error);
        let view = view(&catalogue);
        let of = |uri: &str| {
            let readers = view.readers(&catalogue, uri);
            readers.iter().map(|(group, uri)| format!("{group} {uri}")).collect::<Vec<_>>().join(", ")
        };
        // The first in the configuration keeps the URI that both list.
        assert_eq!(of("db://h/a"), "z db://h/a");
        assert_eq!(of("a+db://h/a"), "a db://h/a");
        let listed = view.list(List::Resources).named("a+db://h/a").unwrap();
        assert_eq!(listed.definition.as_str(), r#"{"name":"db://h/a","uri":"a+db://h/a"}"#);
        // By template, then by scheme and authority.
        assert_eq!(of("t://7"), "z t://7, a t://7");
        assert_eq!(of("a+t://7"), "a t://7");
        assert_eq!(of("db://h/c"), "z db://h/c, a db://h/c");
        assert_eq!(of("http://h/b"), "m http://h/b");
        for unknown in ["db://other/c", "ftp://h/a", "x:2", "nothing", ""] {
            assert_eq!(of(unknown), "", "{unknown}");
        }
    }
}
