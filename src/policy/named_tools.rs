//! Settings that name tools: what such a name can mean, and which of them name a tool that nobody offers.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::Settings;
use crate::id::GroupId;
use crate::offer::EntryKind;
use crate::policy::catalogue::{Catalogue, Resolution};

/// A setting names a tool that no server offers; see [`Troupe::missing_tools`](crate::Troupe::missing_tools).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("troupe.{setting} names the tool {tool:?}, which no server offers{}", crate::error::near_names(near))]
#[non_exhaustive]
pub struct MissingTool {
    /// The setting, as a path below `troupe`: `retry.idempotentTools`, `cache.tools.read.clearedBy`.
    pub setting: String,
    /// The tool as the setting names it.
    pub tool: String,
    /// Names that look alike, best first.
    pub near: Vec<String>,
}

crate::error::debug_as_display!(MissingTool);

/// Whose tools are known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Listed {
    /// Those of all servers that there are.
    pub everything: bool,
    /// Those of all servers of these groups.
    pub groups: BTreeSet<GroupId>,
}

impl Listed {
    /// Whether nobody whose tools are not known can offer what the name means.
    pub(crate) fn settles(&self, name: &str) -> bool {
        self.everything || name.split_once('/').is_some_and(|(group, _)| self.groups.contains(group))
    }
}

/// A tool that a setting names.
pub(crate) struct Named<'a> {
    /// The setting, as a path below `troupe`.
    pub setting: String,
    /// The tool as the setting names it.
    pub tool: &'a str,
}

/// The tools that settings name.
pub(crate) fn named(settings: &Settings) -> impl Iterator<Item = Named<'_>> {
    let one = |setting: &str, tool| Named { setting: setting.to_owned(), tool };
    let cached = settings.cache.tools.iter().flat_map(move |(tool, rule)| {
        let setting = format!("cache.tools.{tool}.clearedBy");
        let clearing = rule.cleared_by.iter().map(move |writer| one(&setting, writer));
        std::iter::once(one("cache.tools", tool)).chain(clearing)
    });
    let retry = &settings.retry;
    let idempotent = retry.idempotent_tools.iter().map(move |tool| one("retry.idempotentTools", tool));
    let hedged = retry.hedged_tools.iter().map(move |tool| one("retry.hedgedTools", tool));
    let timeouts = settings.tool_timeouts.keys().map(move |tool| one("toolTimeouts", tool));
    cached.chain(idempotent).chain(hedged).chain(timeouts)
}

impl Named<'_> {
    /// Whether somebody offers what the name means, or would if its definition were what its pin says.
    pub(crate) fn is_offered(&self, catalogue: &Catalogue) -> bool {
        let name = self.tool;
        let of_group =
            |group: &str, own: &str| catalogue.offers(own, Some(group)) && catalogue.means(name, group, own);
        let mut exposed = name.match_indices("__").map(|(at, _)| (&name[..at], &name[at + 2..]));
        name.split_once('/').is_some_and(|(group, own)| of_group(group, own))
            || exposed.any(|(group, own)| of_group(group, own))
            || !catalogue.claims(name) && catalogue.offers(name, None)
            || catalogue.blocked(name).next().is_some()
            || !matches!(catalogue.resolve(name, None, |_| true), Resolution::Unknown)
    }

    /// What is told of it where nobody does. Near names are looked for among all that there are.
    pub(crate) fn missing(self, catalogue: &Catalogue) -> MissingTool {
        let own = self.tool.split_once('/').map_or(self.tool, |(_, own)| own);
        let near = catalogue.near(EntryKind::Tool, own);
        MissingTool { setting: self.setting, tool: self.tool.to_owned(), near }
    }
}

/// Whether an operator lists a group's tool.
pub(crate) fn lists(names: &[String], catalogue: &Catalogue, group: &str, tool: &str) -> bool {
    names.iter().any(|name| catalogue.means(name, group, tool))
}

/// The deadline that settings give a group's tool, which a call spells as `written`: by its whole name, else by its bare one.
pub(crate) fn timeout(
    settings: &Settings,
    catalogue: &Catalogue,
    written: &str,
    group: &str,
    tool: &str,
) -> Option<Duration> {
    let timeouts = &settings.tool_timeouts;
    if timeouts.is_empty() {
        return None;
    }
    let by = |name: &str| timeouts.get(name).filter(|_| catalogue.means(name, group, tool)).copied();
    let exposed = || timeouts.keys().find(|name| **name != *tool && catalogue.means(name, group, tool));
    let whole = by(&format!("{group}/{tool}")).or_else(|| by(&format!("{group}__{tool}")));
    whole.or_else(|| by(written)).or_else(|| exposed().and_then(|name| by(name))).or_else(|| by(tool))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Collisions;
    use crate::id::ServerId;
    use crate::json::RawJson;
    use crate::policy::catalogue::{Definition, Offer, ServerOffer};

    fn catalogue(tools: &[(&str, &str)]) -> Catalogue {
        let offers = tools.iter().enumerate().map(|(order, (group, tool))| ServerOffer {
            server: ServerId::new(format!("s{order}")).unwrap(),
            group: GroupId::new(group).unwrap(),
            order,
            trusted: false,
            confirmed: true,
            offer: Offer {
                tools: vec![Definition {
                    name: (*tool).to_owned(),
                    definition: RawJson::from_value(&json!({"name": tool})).unwrap(),
                }]
                .into(),
                ..Offer::default()
            },
        });
        Catalogue::merge(1, offers, Collisions::default())
    }

    #[test]
    fn every_setting_that_names_a_tool_that_nobody_offers_is_found_and_no_other() {
        let settings: Settings = serde_json::from_value(json!({
            "toolTimeouts": {"read": "1s", "files__file_stat": "1s", "files/read": "1s", "files__read": "1s", "raed": "1s", "db/read": "1s"},
            "retry": {"idempotentTools": ["read", "stat"], "hedgedTools": ["files__raed", "files/read", "files__file_stat"]},
            "cache": {"tools": {"files__read": {"clearedBy": ["wriet", "files__write"]}, "raed": {}, "files__file_stat": {}}},
        }))
        .unwrap();
        let catalogue = catalogue(&[("files", "read"), ("files", "write"), ("files", "file.stat")]);
        let missing = named(&settings).filter(|named| !named.is_offered(&catalogue));
        let missing: Vec<MissingTool> = missing.map(|named| named.missing(&catalogue)).collect();
        assert_eq!(
            missing.iter().map(|one| (one.setting.as_str(), one.tool.as_str())).collect::<Vec<_>>(),
            [
                ("cache.tools.files__read.clearedBy", "wriet"),
                ("cache.tools", "raed"),
                ("retry.idempotentTools", "stat"),
                ("retry.hedgedTools", "files__raed"),
                ("toolTimeouts", "db/read"),
                ("toolTimeouts", "raed"),
            ],
            "each may be named as models do"
        );
        let told: Vec<String> = missing.iter().map(ToString::to_string).collect();
        assert_eq!(
            told[0],
            "troupe.cache.tools.files__read.clearedBy names the tool \"wriet\", which no server offers, did you mean write?"
        );
        assert_eq!(
            told[5],
            "troupe.toolTimeouts names the tool \"raed\", which no server offers, did you mean read?"
        );
    }

    #[test]
    fn a_tool_is_known_by_each_of_its_names_and_by_none_of_another() {
        let own = catalogue(&[("files", "file.stat")]);
        let meeting = catalogue(&[("files", "file.stat"), ("files", "file_stat")]);
        let hashed = meeting.tools().find(|tool| &*tool.name == "file.stat").unwrap().exposed.clone();
        assert_ne!(hashed, "files__file_stat", "another tool of the group would be called so as well");
        let like_a_group = catalogue(&[("files", "write"), ("db", "files__write")]);
        let two_groups = catalogue(&[("a", "b__c"), ("a__b", "c")]);
        let second = Duration::from_secs(1);
        for (catalogue, name, (group, tool), is_its) in [
            (&own, "file.stat", ("files", "file.stat"), true),
            (&own, "files/file.stat", ("files", "file.stat"), true),
            (&own, "files__file.stat", ("files", "file.stat"), true),
            (&own, "files__file_stat", ("files", "file.stat"), true),
            (&own, "file_stat", ("files", "file.stat"), false),
            (&own, "db/file.stat", ("files", "file.stat"), false),
            (&own, "db__file_stat", ("files", "file.stat"), false),
            (&own, "files", ("files", "file.stat"), false),
            (&own, "files/", ("files", "file.stat"), false),
            (&own, "files_file_stat", ("files", "file.stat"), false),
            (&meeting, "files__file_stat", ("files", "file.stat"), false),
            (&meeting, "files__file_stat", ("files", "file_stat"), true),
            (&meeting, &*hashed, ("files", "file.stat"), true),
            (&meeting, &*hashed, ("files", "file_stat"), false),
            (&like_a_group, "files__write", ("files", "write"), true),
            (&like_a_group, "files__write", ("db", "files__write"), false),
            (&like_a_group, "db/files__write", ("db", "files__write"), true),
            (&two_groups, "a__b__c", ("a", "b__c"), false),
            (&two_groups, "a__b__c", ("a__b", "c"), false),
            (&two_groups, "a/b__c", ("a", "b__c"), true),
            (&two_groups, "a__b/c", ("a__b", "c"), true),
        ] {
            let settings =
                Settings { tool_timeouts: [(name.to_owned(), second)].into(), ..Settings::default() };
            let found = timeout(&settings, catalogue, tool, group, tool);
            assert_eq!(found, is_its.then_some(second), "{name} of {group}/{tool}");
            assert_eq!(lists(&[name.to_owned()], catalogue, group, tool), is_its, "{name} of {group}/{tool}");
        }
    }
}
