//! Brings the servers of several clients together under names that differ.

use std::collections::{BTreeMap, BTreeSet};

use mcp_troupe::ConfigFile;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::entries::Written;
use super::translate::{Entry, KEYS, NOTES, folder_name};

/// Servers that were taken, in the order in which they were found.
#[derive(Default)]
pub struct Merge {
    found: Vec<Found>,
    /// Those of one id, which people may write with other capitals.
    by_id: BTreeMap<String, Vec<usize>>,
}

struct Found {
    name: String,
    client: &'static str,
    folder: Option<String>,
    entry: Entry,
}

/// Which of the servers an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Which(usize);

impl Merge {
    /// Adds an entry, unless one of the same name says the same.
    pub fn add(&mut self, written: &Written, entry: Entry) -> Which {
        let known = self.by_id.entry(id_of(&written.name).to_lowercase()).or_default();
        let same = |index: &&usize| says_the_same(&self.found[**index].entry, &entry);
        if let Some(index) = known.iter().find(same) {
            return Which(*index);
        }
        let index = self.found.len();
        known.push(index);
        let folder = folder_name(written.project.as_ref());
        let client = written.client.name();
        self.found.push(Found { name: written.name.clone(), client, folder, entry });
        Which(index)
    }

    /// Gives each server a name of its own: different ones of one name have their client's in it.
    pub fn named(self) -> Servers {
        let mut taken = BTreeSet::new();
        let mut names = vec![String::new(); self.found.len()];
        for index in self.by_id.values().filter(|several| several.len() == 1).flatten() {
            let name = &self.found[*index].name;
            taken.insert(id_of(name));
            names[*index].clone_from(name);
        }
        for (index, found) in self.found.iter().enumerate() {
            if names[index].is_empty() {
                let Found { name, client, folder, .. } = found;
                let of_client = format!("{name}-{client}");
                let of_folder = folder.iter().map(|folder| format!("{of_client}-{folder}"));
                let numbered = (2..).map(|number| format!("{of_client}-{number}"));
                let candidates = [of_client.clone()].into_iter().chain(of_folder).chain(numbered);
                names[index] = { candidates }.find(|name| taken.insert(id_of(name))).unwrap_or_default();
            }
        }
        Servers(names.into_iter().zip(self.found.into_iter().map(|found| found.entry)).collect())
    }
}

/// The id that a server of this name has.
fn id_of(name: &str) -> String {
    let text = json!({"mcpServers": {name: {"command": "true"}}}).to_string();
    let file = ConfigFile::parse(&text).ok();
    let id = file.and_then(|file| Some(file.servers.first()?.id().to_owned()));
    id.unwrap_or_else(|| name.to_owned())
}

/// Whether two entries say the same but for notes, which change nothing of a server.
fn says_the_same(one: &Entry, another: &Entry) -> bool {
    let says = |entry: &Entry| -> Entry {
        let counts = entry.iter().filter(|(key, _)| !NOTES.contains(&key.as_str()));
        counts.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    says(one) == says(another)
}

/// Servers by their names, as `servers.json` has them.
pub struct Servers(Vec<(String, Entry)>);

impl Servers {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// How many of them are switched off.
    pub fn switched_off(&self) -> usize {
        (0..self.len()).filter(|index| self.is_switched_off(Which(*index))).count()
    }

    /// Whether this one is.
    pub fn is_switched_off(&self, which: Which) -> bool {
        self.0[which.0].1.contains_key("disabled")
    }

    /// Whether a text in them may be a secret: one that stands where secrets do, and is more than references.
    pub fn may_hold_secrets(&self) -> bool {
        let of_key = |entry: &Entry, key: &str| {
            let texts: Vec<&str> = match entry.get(key) {
                Some(Value::Object(entries)) => entries.values().filter_map(Value::as_str).collect(),
                Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
                text => text.and_then(Value::as_str).into_iter().collect(),
            };
            match key {
                "url" => texts.iter().any(|url| url.contains(['?', '@'])),
                "args" => texts.iter().any(|argument| names_secret(argument)),
                _ => texts.iter().any(|text| !is_of_references(text)),
            }
        };
        let keys = ["env", "headers", "bearer", "url", "args"];
        self.0.iter().any(|(_, entry)| keys.iter().any(|key| of_key(entry, key)))
    }

    /// The name that a server has got.
    pub fn name(&self, which: Which) -> &str {
        &self.0[which.0].0
    }

    /// The text of the file.
    pub fn text(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(&Top(self)).map(|text| text + "\n")
    }
}

/// Whether a text is made of references alone, such as `${TOKEN}`, none of which says what holds where its variable is not set.
fn is_of_references(text: &str) -> bool {
    let mut rest = text;
    while let Some((reference, behind)) = rest.strip_prefix("${").and_then(|rest| rest.split_once('}')) {
        if reference.contains(":-") {
            return false;
        }
        rest = behind;
    }
    rest.is_empty()
}

/// Whether an argument of a program has a secret, or names the next one as such: `--api-key`, `https://user:password@host`.
fn names_secret(argument: &str) -> bool {
    let argument = argument.to_ascii_lowercase();
    let words = ["key", "token", "secret", "passw", "header", "auth", "credential", "connection-string"];
    words.iter().any(|word| argument.contains(word)) || argument.contains("://") && argument.contains('@')
}

/// The file as a whole.
struct Top<'a>(&'a Servers);

impl Serialize for Top<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("mcpServers", self.0)?;
        map.end()
    }
}

impl Serialize for Servers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, entry)| (name, Ordered(entry))))
    }
}

/// An entry with its keys in the order in which people write them.
struct Ordered<'a>(&'a Entry);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(KEYS.iter().filter_map(|key| Some((key, self.0.get(*key)?))))
    }
}
