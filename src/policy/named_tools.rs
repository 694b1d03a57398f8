//! Settings that name tools: what such a name can mean, and which of them name a tool that nobody offers.

use std::time::Duration;

use super::names::{SEPARATOR, exposed};
use crate::config::Settings;
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

/// Which tools a name can mean: the group, if it holds one, and the tool's own name. `a__b` is one tool's name, or that of `b` in `a`.
pub(crate) fn meanings(name: &str) -> impl Iterator<Item = (Option<&str>, &str)> {
    let whole = name.split_once('/').map_or((None, name), |(group, tool)| (Some(group), tool));
    let exposed = name.match_indices("__").map(|(at, _)| (Some(&name[..at]), &name[at + 2..]));
    std::iter::once(whole).chain(exposed).filter(|(group, tool)| *group != Some("") && !tool.is_empty())
}

/// A tool that a setting names.
pub(crate) struct Named<'a> {
    /// The setting, as a path below `troupe`.
    pub setting: String,
    /// The tool as the setting names it.
    pub tool: &'a str,
    /// Whether it may be named as models see it, with other characters than its own.
    exposed: bool,
}

/// The tools that settings name.
pub(crate) fn named(settings: &Settings) -> impl Iterator<Item = Named<'_>> {
    let one = |setting: &str, tool, exposed| Named { setting: setting.to_owned(), tool, exposed };
    let cached = settings.cache.tools.iter().flat_map(move |(tool, rule)| {
        let setting = format!("cache.tools.{tool}.clearedBy");
        let clearing = rule.cleared_by.iter().map(move |writer| one(&setting, writer, false));
        std::iter::once(one("cache.tools", tool, false)).chain(clearing)
    });
    let retry = &settings.retry;
    let idempotent = retry.idempotent_tools.iter().map(move |tool| one("retry.idempotentTools", tool, true));
    let hedged = retry.hedged_tools.iter().map(move |tool| one("retry.hedgedTools", tool, true));
    let timeouts = settings.tool_timeouts.keys().map(move |tool| one("toolTimeouts", tool, true));
    cached.chain(idempotent).chain(hedged).chain(timeouts)
}

impl Named<'_> {
    /// Whether somebody offers what the name means, or would if its definition were what its pin says.
    pub(crate) fn is_offered(&self, catalogue: &Catalogue) -> bool {
        meanings(self.tool).any(|(group, tool)| catalogue.offers(tool, group))
            || catalogue.blocked(self.tool).next().is_some()
            || self.exposed && !matches!(catalogue.resolve(self.tool, None, |_| true), Resolution::Unknown)
    }

    /// What is told of it where nobody does. Near names are looked for among all that there are.
    pub(crate) fn missing(self, catalogue: &Catalogue) -> MissingTool {
        let own = meanings(self.tool).next().map_or(self.tool, |(_, own)| own);
        let near = catalogue.near(EntryKind::Tool, own);
        MissingTool { setting: self.setting, tool: self.tool.to_owned(), near }
    }
}

/// Whether one of the names that an operator lists is that of a tool, which a call spells as `written`: bare, `group/tool`,
/// `group__tool`, or as models see it.
pub(crate) fn lists(names: &[String], written: &str, group: Option<&str>, tool: &str) -> bool {
    let is_whole = |name: &str, group: &str| {
        let rest = name.strip_prefix(group);
        let own = rest.and_then(|rest| rest.strip_prefix('/').or_else(|| rest.strip_prefix(SEPARATOR)));
        own == Some(tool) || name.contains(SEPARATOR) && name == exposed(group, tool, false)
    };
    names
        .iter()
        .any(|name| name == tool || name == written || group.is_some_and(|group| is_whole(name, group)))
}

/// The deadline that settings give a tool, which a call spells as `written`: by its whole name, else by its bare one.
pub(crate) fn timeout(settings: &Settings, written: &str, group: &str, tool: &str) -> Option<Duration> {
    if settings.tool_timeouts.is_empty() {
        return None;
    }
    let by = |name: &str| settings.tool_timeouts.get(name).copied();
    let whole = by(&format!("{group}/{tool}")).or_else(|| by(&format!("{group}{SEPARATOR}{tool}")));
    whole.or_else(|| by(written)).or_else(|| by(&exposed(group, tool, false))).or_else(|| by(tool))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Collisions;
    use crate::id::{GroupId, ServerId};
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
    fn a_name_with_underscores_is_one_tool_or_one_of_a_group() {
        let of = |name| meanings(name).collect::<Vec<_>>();
        assert_eq!(of("read"), [(None, "read")]);
        assert_eq!(of("files/read"), [(Some("files"), "read")]);
        assert_eq!(of("files__read"), [(None, "files__read"), (Some("files"), "read")]);
        assert_eq!(of("a__b__c"), [(None, "a__b__c"), (Some("a"), "b__c"), (Some("a__b"), "c")]);
        assert_eq!(of("__init"), [(None, "__init")]);
        assert_eq!(of("init__"), [(None, "init__")]);
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
                ("cache.tools", "files__file_stat"),
                ("cache.tools.files__read.clearedBy", "wriet"),
                ("cache.tools", "raed"),
                ("retry.idempotentTools", "stat"),
                ("retry.hedgedTools", "files__raed"),
                ("toolTimeouts", "db/read"),
                ("toolTimeouts", "raed"),
            ],
            "a rule of the cache names a tool by its own name, others may as models do"
        );
        let told: Vec<String> = missing.iter().map(ToString::to_string).collect();
        assert_eq!(
            told[1],
            "troupe.cache.tools.files__read.clearedBy names the tool \"wriet\", which no server offers, did you mean write?"
        );
        assert_eq!(
            told[6],
            "troupe.toolTimeouts names the tool \"raed\", which no server offers, did you mean read?"
        );
    }

    #[test]
    fn a_tool_is_known_by_each_of_its_names_and_by_none_of_another() {
        let second = Duration::from_secs(1);
        let written = |name: &str| if name == "as-it-was-called" { name } else { "file.stat" }.to_owned();
        for (name, is_its) in [
            ("file.stat", true),
            ("files/file.stat", true),
            ("files__file.stat", true),
            ("files__file_stat", true),
            ("as-it-was-called", true),
            ("file_stat", false),
            ("db/file.stat", false),
            ("db__file_stat", false),
            ("files", false),
            ("files/", false),
            ("files_file_stat", false),
        ] {
            let written = written(name);
            let settings =
                Settings { tool_timeouts: [(name.to_owned(), second)].into(), ..Settings::default() };
            let found = timeout(&settings, &written, "files", "file.stat");
            assert_eq!(found, is_its.then_some(second), "{name}");
            assert_eq!(lists(&[name.to_owned()], &written, Some("files"), "file.stat"), is_its, "{name}");
        }
    }
}
