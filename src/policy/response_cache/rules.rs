//! What the settings say of each tool, in a shape that is quickly asked: most calls only learn here that they are none of the
//! cache's business.

use std::collections::HashMap;
use std::time::Duration;

use super::clearing::Sweep;
use super::key::CachedKind;
use crate::config::{CacheRule, CacheScope, CacheSettings, ToolName};
use crate::id::GroupId;
use crate::policy::catalogue::{Catalogue, Effect, Resolution, Tool};

/// How long an answer is kept, and what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lifetime {
    /// It is fresh for so long.
    pub ttl: Duration,
    /// For so long after that it is given out while it is fetched anew.
    pub while_revalidate: Duration,
    /// For so long after its freshness it is given out where no server can answer.
    pub if_error: Duration,
}

/// By whose word an answer is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Terms {
    /// The operator's rule for its tool.
    Ruled(Lifetime),
    /// The hint of a trusted server.
    Hinted(Lifetime),
    /// The answer's own.
    Declared,
}

impl Terms {
    /// By whose word answers of a kind are kept: those of tools by a rule or a hint, if there is one; others say it themselves.
    pub(crate) fn of(kind: CachedKind, reading: Option<Reading>) -> Option<Self> {
        match kind {
            CachedKind::Tool => reading.map(|reading| reading.terms),
            CachedKind::Resource | CachedKind::Prompt => Some(Self::Declared),
        }
    }
}

/// A tool whose results are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub terms: Terms,
    pub scope: CacheScope,
}

/// What is said of the tools of one bare name: of one group's, or of all.
type OfName<T> = Vec<(Option<GroupId>, T)>;

/// A rule for the tools of one bare name.
#[derive(Debug)]
struct Reader {
    reading: Reading,
    /// The rule's name, where it could be that of several tools: a result of another one must not be kept.
    name: Option<String>,
}

/// The cache settings of tools.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    readers: HashMap<String, OfName<Reader>>,
    writers: HashMap<String, OfName<Sweep>>,
    hinted: Option<Reading>,
}

/// What a rule says that is not written.
fn lifetime(rule: &CacheRule) -> Lifetime {
    Lifetime {
        ttl: rule.ttl,
        while_revalidate: rule.stale_while_revalidate.unwrap_or_default(),
        if_error: rule.stale_if_error.unwrap_or_default(),
    }
}

impl Rules {
    /// The rules of settings that were checked.
    pub(crate) fn new(settings: &CacheSettings) -> Self {
        let mut rules = Self::default();
        for (name, rule) in &settings.tools {
            let sweeps: Vec<Sweep> = ToolName::meant_by(name).map(Sweep::Tool).collect();
            for writer in rule.cleared_by.iter().flat_map(|writer| ToolName::meant_by(writer)) {
                let cleared = rules.writers.entry(writer.tool).or_default();
                cleared.extend(sweeps.iter().map(|sweep| (writer.group.clone(), sweep.clone())));
            }
            let reading = Reading { terms: Terms::Ruled(lifetime(rule)), scope: rule.scope };
            for meant in ToolName::meant_by(name) {
                let reader = Reader { reading, name: name.contains("__").then(|| name.clone()) };
                rules.readers.entry(meant.tool).or_default().push((meant.group, reader));
            }
        }
        rules.hinted = settings.trusted_ttl.map(|ttl| Reading {
            terms: Terms::Hinted(Lifetime { ttl, ..Lifetime::default() }),
            scope: CacheScope::Shared,
        });
        rules
    }

    /// Whether no tool's results are kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.readers.is_empty() && self.hinted.is_none()
    }

    /// Whether, and how, the results of a tool are kept. A rule for its group goes before one for all, and both before hints.
    pub(crate) fn reading(&self, tool: &Tool, catalogue: &Catalogue) -> Option<Reading> {
        let named = |name: &str| self.readers.get(name).map(Vec::as_slice).unwrap_or_default();
        // By its own name, and by the one that models know.
        let (own, exposed) = (named(&tool.name), named(&tool.exposed));
        let means = |name: &String| catalogue.means(name, tool.group.as_str(), &tool.name);
        let of = |wanted: Option<&GroupId>| {
            let mut readers = own
                .iter()
                .chain(exposed)
                .filter(|(group, _)| group.as_ref() == wanted)
                .map(|(_, reader)| reader);
            readers.find(|reader| reader.name.as_ref().is_none_or(means)).map(|reader| reader.reading)
        };
        let ruled = of(Some(&tool.group)).or_else(|| of(None));
        ruled.or_else(|| self.hinted.filter(|_| catalogue.effect(tool) == Effect::Reads))
    }

    /// What a call of a tool clears.
    pub(crate) fn sweeps(&self, tool: &Tool, catalogue: &Catalogue) -> Vec<Sweep> {
        if self.reading(tool, catalogue).is_some() {
            return Vec::new();
        }
        let mut sweeps = self.sweeps_of_name(&tool.name, Some(&tool.group), catalogue);
        sweeps.extend(self.sweeps_of_name(&tool.exposed, Some(&tool.group), catalogue));
        if catalogue.effect(tool) == Effect::Writes && self.hinted.is_some() {
            sweeps.push(Sweep::Hinted(tool.group.clone()));
        }
        sweeps
    }

    /// What a call clears of which only the name is known, and the group, if the call named it. Where a name can mean several tools,
    /// all of them: what is cleared too often is fetched once more.
    pub(crate) fn sweeps_of_name(
        &self,
        tool: &str,
        group: Option<&GroupId>,
        catalogue: &Catalogue,
    ) -> Vec<Sweep> {
        let writers = self.writers.get(tool).map(Vec::as_slice).unwrap_or_default();
        let meant = writers.iter().filter(|(of, _)| {
            let (Some(of), Some(group)) = (of, group) else { return true };
            of == group
        });
        let mut sweeps: Vec<Sweep> = meant.map(|(_, sweep)| sweep.clone()).collect();
        let by_exposed_name = sweeps.iter().filter_map(|sweep| match sweep {
            Sweep::Tool(ToolName { group: None, tool }) => match catalogue.resolve(tool, None, |_| true) {
                Resolution::Found(found) if *found.name != **tool => Some(Sweep::Tool(ToolName {
                    group: Some(found.group.clone()),
                    tool: found.name.to_string(),
                })),
                _ => None,
            },
            _ => None,
        });
        let by_exposed_name: Vec<Sweep> = by_exposed_name.collect();
        sweeps.extend(by_exposed_name);
        sweeps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Collisions;
    use crate::id::ServerId;
    use crate::json::RawJson;
    use crate::policy::catalogue::{Definition, Offer, ServerOffer};

    /// Tools whose names begin with `get` are read-only by their own word.
    fn offer(group: &str, trusted: bool, tools: &[&str]) -> ServerOffer {
        let tools = tools.iter().map(|name| Definition {
            name: (*name).to_owned(),
            definition: RawJson::from_text(format!(
                r#"{{"annotations":{{"readOnlyHint":{}}}}}"#,
                name.starts_with("get")
            ))
            .unwrap(),
        });
        ServerOffer {
            server: ServerId::new(group).unwrap(),
            group: GroupId::new(group).unwrap(),
            order: 0,
            trusted,
            confirmed: true,
            offer: Offer { tools: tools.collect(), ..Offer::default() },
        }
    }

    fn catalogue() -> Catalogue {
        let offers = [
            offer("files", false, &["file.read", "file.write", "get.size"]),
            offer("db", true, &["get.rows", "insert", "file.read"]),
        ];
        Catalogue::merge(1, offers, Collisions::Error)
    }

    fn tool(name: &str) -> (Tool, Catalogue) {
        let catalogue = catalogue();
        let tool = match catalogue.resolve(name, None, |_| true) {
            Resolution::Found(tool) => tool.clone(),
            other => panic!("{other:?}"),
        };
        (tool, catalogue)
    }

    fn reading(rules: &Rules, name: &str) -> Option<Reading> {
        let (tool, catalogue) = tool(name);
        rules.reading(&tool, &catalogue)
    }

    fn sweeps(rules: &Rules, name: &str) -> Vec<Sweep> {
        let (tool, catalogue) = tool(name);
        rules.sweeps(&tool, &catalogue)
    }

    fn rules(json: &str) -> Option<Rules> {
        let settings: CacheSettings = serde_json::from_str(json).unwrap();
        settings.check().unwrap();
        Some(Rules::new(&settings)).filter(|rules| !rules.is_empty())
    }

    fn ttl(reading: Option<Reading>) -> Option<u64> {
        match reading?.terms {
            Terms::Ruled(lifetime) | Terms::Hinted(lifetime) => Some(lifetime.ttl.as_secs()),
            Terms::Declared => None,
        }
    }

    #[test]
    fn fault_e1_nothing_is_kept_that_was_not_named() {
        assert!(rules("{}").is_none());
        let rules = rules(r#"{"tools":{"file.read":{}}}"#).unwrap();
        assert!(reading(&rules, "files/file.read").is_some());
        for name in ["files/file.write", "files/get.size", "db/get.rows", "db/insert"] {
            assert_eq!(reading(&rules, name), None, "{name}");
        }
    }

    #[test]
    fn a_rule_for_one_group_goes_before_that_for_all_and_both_before_hints() {
        let rules = rules(
            r#"{"trustedTtl":"9s","tools":{"file.read":{"ttl":"1s"},"db/file.read":{"ttl":"2s"},
                "db/get.rows":{"ttl":"3s"}}}"#,
        )
        .unwrap();
        assert_eq!(ttl(reading(&rules, "files/file.read")), Some(1));
        assert_eq!(ttl(reading(&rules, "db/file.read")), Some(2));
        assert_eq!(ttl(reading(&rules, "db/get.rows")), Some(3));
    }

    #[test]
    fn hints_count_where_the_server_is_trusted_and_others_clear() {
        let rules = rules(r#"{"trustedTtl":"9s"}"#).unwrap();
        assert_eq!(ttl(reading(&rules, "db/get.rows")), Some(9));
        assert_eq!(reading(&rules, "files/get.size"), None);
        let db = GroupId::new("db").unwrap();
        assert_eq!(sweeps(&rules, "db/insert"), [Sweep::Hinted(db)]);
        assert_eq!(sweeps(&rules, "db/get.rows"), []);
        assert_eq!(sweeps(&rules, "files/file.write"), []);
    }

    #[test]
    fn fault_e2_a_tool_clears_what_names_it() {
        let rules = rules(
            r#"{"tools":{"files/file.read":{"clearedBy":["file.write"]},"size":{"clearedBy":["db/file.write"]}}}"#,
        )
        .unwrap();
        let swept = Sweep::Tool(ToolName::parse("files/file.read").unwrap());
        assert_eq!(sweeps(&rules, "files/file.write"), std::slice::from_ref(&swept));
        assert_eq!(sweeps(&rules, "db/insert"), []);
        // Whoever it was may have been the one.
        assert_eq!(rules.sweeps_of_name("file.write", None, &catalogue()).len(), 2);
        assert_eq!(
            rules.sweeps_of_name("file.write", Some(&GroupId::new("x").unwrap()), &catalogue()),
            [swept]
        );
    }

    #[test]
    fn a_rule_may_name_its_tool_as_models_do() {
        for (reader, writer) in [
            ("files/file.read", "files/file.write"),
            ("files__file.read", "files/file.write"),
            ("files/file.read", "files__file.write"),
            ("files__file.read", "files__file.write"),
            ("files__file_read", "files__file_write"),
            ("file.read", "files__file_write"),
        ] {
            let rules =
                rules(&format!(r#"{{"tools":{{"{reader}":{{"clearedBy":["{writer}"]}}}}}}"#)).unwrap();
            assert!(reading(&rules, "files/file.read").is_some(), "{reader}");
            let others = reading(&rules, "db/file.read");
            assert_eq!(others.is_some(), reader == "file.read", "{reader}: another group's");
            let swept = if reader == "file.read" { reader } else { "files/file.read" };
            let swept = Sweep::Tool(ToolName::parse(swept).unwrap());
            assert!(sweeps(&rules, "files/file.write").contains(&swept), "{reader} by {writer}");
        }
    }
}
