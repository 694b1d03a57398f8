//! Pins: what tools were when somebody looked at them, to notice when a server changes what it says of one afterwards.
//!
//! A pin is the SHA-256 of a definition's canonical form. It guards against a server that is harmless while it is tried out and
//! tells models something else later. A tool under another name gets around its pin, so new and missing tools are told too.

mod canonical;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::canonical::canonical_definition;
use super::catalogue::Definition;
use crate::config::OnChange;
use crate::id::ServerId;
use crate::json::RawJson;
use crate::pin::Pin;

/// The version of the file's form.
const VERSION: u32 = 1;

/// The pin of a definition.
fn pin_of(definition: &RawJson) -> Pin {
    Pin::new(Sha256::digest(canonical_definition(definition)).into())
}

/// What the tools of each pinned server were. A plain value: written and read as JSON, with a version. A server that it does not
/// name is not pinned.
///
/// ```
/// let text = r#"{"version": 1, "servers": {"files": {
///     "read": "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
/// }}}"#;
/// let pins: mcp_troupe::Pins = serde_json::from_str(text)?;
/// assert!(pins.get("files", "read").is_some());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct Pins {
    servers: BTreeMap<ServerId, BTreeMap<String, Pin>>,
}

/// Pins as a file has them.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    servers: BTreeMap<ServerId, BTreeMap<String, Pin>>,
}

impl From<Pins> for Written {
    fn from(Pins { servers }: Pins) -> Self {
        Self { version: VERSION, servers }
    }
}

impl TryFrom<Written> for Pins {
    type Error = String;

    fn try_from(Written { version, servers }: Written) -> Result<Self, String> {
        if version == VERSION {
            Ok(Self { servers })
        } else {
            Err(format!("pins of version {version} are not known, only those of version {VERSION}"))
        }
    }
}

impl Pins {
    /// Those of what servers offer.
    pub(crate) fn of<'a>(
        servers: impl Iterator<Item = (&'a ServerId, impl Iterator<Item = &'a Definition>)>,
    ) -> Self {
        let servers = servers.map(|(server, tools)| {
            (server.clone(), tools.map(|tool| (tool.name.clone(), pin_of(&tool.definition))).collect())
        });
        Self { servers: servers.collect() }
    }

    /// The pin of a tool.
    pub fn get(&self, server: &str, tool: &str) -> Option<Pin> {
        self.servers.get(server)?.get(tool).copied()
    }

    /// Keeps the pins that `former` has of a server, where there are none here.
    pub fn keep(&mut self, server: &str, former: &Self) {
        if let Some((server, tools)) = former.servers.get_key_value(server) {
            self.servers.entry(server.clone()).or_insert_with(|| tools.clone());
        }
    }

    /// The servers that are pinned, by id, each with its tools' pins, by name.
    pub fn servers(&self) -> impl ExactSizeIterator<Item = (&ServerId, &BTreeMap<String, Pin>)> {
        self.servers.iter()
    }
}

/// Pins, and what follows where a tool is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pinning {
    pub pins: Pins,
    pub on_change: OnChange,
}

/// Where the tools of a server differ from their pins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    /// Tools whose definition is another one: their names, the pin and what it would be now.
    pub broken: BTreeMap<String, (Pin, Pin)>,
    /// Tools that have no pin.
    pub unpinned: BTreeSet<String>,
    /// Pinned tools that are not offered.
    pub missing: BTreeSet<String>,
}

impl Differences {
    /// Those that `former` did not have.
    #[must_use]
    pub(crate) fn beyond(&self, former: &Self) -> Self {
        let broken = self.broken.iter().filter(|(tool, pins)| former.broken.get(*tool) != Some(pins));
        Self {
            broken: broken.map(|(tool, pins)| (tool.clone(), *pins)).collect(),
            unpinned: self.unpinned.difference(&former.unpinned).cloned().collect(),
            missing: self.missing.difference(&former.missing).cloned().collect(),
        }
    }
}

impl Pinning {
    /// Compares what a server offers with its pins. A server that has none differs in nothing.
    pub(crate) fn check<'a>(
        &self,
        server: &ServerId,
        tools: impl Iterator<Item = (&'a str, &'a RawJson)>,
    ) -> Differences {
        let Some(pins) = self.pins.servers.get(server) else { return Differences::default() };
        let mut differences =
            Differences { missing: pins.keys().cloned().collect(), ..Differences::default() };
        for (tool, definition) in tools {
            differences.missing.remove(tool);
            match pins.get(tool) {
                None => {
                    differences.unpinned.insert(tool.to_owned());
                }
                Some(pinned) => {
                    let now = pin_of(definition);
                    if now != *pinned {
                        differences.broken.insert(tool.to_owned(), (*pinned, now));
                    }
                }
            }
        }
        differences
    }

    /// Whether tools whose pin is broken leave the catalogue.
    pub(crate) fn blocks(&self) -> bool {
        match self.on_change {
            OnChange::Block => true,
            OnChange::Warn | OnChange::Allow => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn tool(name: &str, description: &str) -> Definition {
        let definition = RawJson::from_value(&json!({"name": name, "description": description})).unwrap();
        Definition { name: name.to_owned(), definition }
    }

    fn pinning(tools: &[Definition]) -> (Pinning, ServerId) {
        let server = ServerId::new("s").unwrap();
        let pins = Pins::of([(&server, tools.iter())].into_iter());
        (Pinning { pins, on_change: OnChange::Block }, server)
    }

    fn check(pinning: &Pinning, server: &ServerId, tools: &[Definition]) -> Differences {
        pinning.check(server, tools.iter().map(|tool| (tool.name.as_str(), &tool.definition)))
    }

    #[test]
    fn changed_new_and_missing_tools_are_told_apart() {
        let (pinning, server) = pinning(&[tool("same", "x"), tool("changed", "x"), tool("gone", "x")]);
        let now = [tool("same", "x"), tool("changed", "y"), tool("new", "x")];
        let differences = check(&pinning, &server, &now);
        let broken = (pin_of(&tool("changed", "x").definition), pin_of(&tool("changed", "y").definition));
        assert_eq!(differences.broken, BTreeMap::from([("changed".to_owned(), broken)]));
        assert_eq!(differences.unpinned, BTreeSet::from(["new".to_owned()]));
        assert_eq!(differences.missing, BTreeSet::from(["gone".to_owned()]));
        let same = check(&pinning, &server, &[tool("gone", "x"), tool("changed", "x"), tool("same", "x")]);
        assert_eq!(same, Differences::default());
    }

    #[test]
    fn a_server_without_pins_is_not_pinned() {
        let (pinning, _) = pinning(&[tool("a", "x")]);
        let other = ServerId::new("other").unwrap();
        assert_eq!(check(&pinning, &other, &[tool("a", "y")]), Differences::default());
    }

    #[test]
    fn what_was_told_is_not_told_again_until_it_changes() {
        let (pinning, server) = pinning(&[tool("a", "x"), tool("b", "x")]);
        let first = check(&pinning, &server, &[tool("a", "y"), tool("b", "x")]);
        assert_eq!(first.beyond(&Differences::default()), first);
        assert_eq!(first.beyond(&first), Differences::default());
        let second = check(&pinning, &server, &[tool("a", "z"), tool("c", "x")]);
        let news = second.beyond(&first);
        assert!(news.broken.contains_key("a") && news.missing.contains("b") && news.unpinned.contains("c"));
    }

    #[test]
    fn pins_are_written_as_they_are_read() {
        let (Pinning { pins, .. }, _) = pinning(&[tool("a", "x")]);
        let written = serde_json::to_value(&pins).unwrap();
        let pin = "sha256:2f1d0b0f2a2d5b0a";
        assert_eq!(written["version"], 1);
        assert!(written["servers"]["s"]["a"].as_str().unwrap().starts_with(&pin[..7]), "{written}");
        assert_eq!(serde_json::from_value::<Pins>(written).unwrap(), pins);
    }

    #[test]
    fn a_pin_is_the_same_in_every_version() {
        // printf '{"description":"x","name":"a"}' | sha256sum
        let pin = pin_of(&tool("a", "x").definition).to_string();
        assert_eq!(pin, "sha256:65fb4710c03bd0916615858be11197c36702700ae8938d6578ecf373a15550de");
        assert_eq!(pin.parse::<Pin>().unwrap().to_string(), pin);
    }

    #[test]
    fn a_file_that_is_not_understood_is_refused() {
        let mistake = |value: Value| serde_json::from_value::<Pins>(value).unwrap_err().to_string();
        assert!(mistake(json!({"version": 2, "servers": {}})).contains("version 2"));
        assert!(mistake(json!({"servers": {}})).contains("version"));
        assert!(mistake(json!({"version": 1, "servers": {}, "tools": {}})).contains("tools"));
        assert!(mistake(json!({"version": 1, "servers": {"s": {"a": "abc"}}})).contains("is no pin"));
        let digits = format!("sha256:{}", "é".repeat(32));
        assert!(mistake(json!({"version": 1, "servers": {"s": {"a": digits}}})).contains("is no pin"));
    }
}
