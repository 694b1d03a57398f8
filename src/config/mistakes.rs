//! Every mistake of a `servers.json`, each with its place.
//!
//! A reader stops at the first mistake. So each server, and the settings, are read for themselves, and read again without the
//! key that was wrong, until nothing is. Places are found by the key's path in the text.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::file::{WHOLE, read_server};
use super::{ConfigError, ConfigFile, PinSettings, ServerSpec, Settings, shown};

/// Mistakes that are looked for in one server, or in the settings: more would help nobody.
const MISTAKES_MAX: usize = 50;

/// A mistake in a `servers.json`, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {error}")]
#[non_exhaustive]
pub struct Mistake {
    /// The line, counted from 1, of what stands under the key, or under the nearest key above it that is there.
    pub line: usize,
    /// The column in it, counted from 1 in characters.
    pub column: usize,
    /// The key, and what is wrong.
    pub error: ConfigError,
}

/// What can only be asked of those who know more than a configuration.
pub(crate) struct Knowing<'a> {
    /// Whether a server can be reached as it is described.
    pub server: &'a dyn Fn(&ServerSpec, &Settings) -> Result<(), ConfigError>,
    /// Whether there is such a strategy.
    pub strategy: &'a dyn Fn(&str) -> Result<(), ConfigError>,
    /// Whether the pins can be read.
    pub pins: &'a dyn Fn(&PinSettings) -> Result<(), ConfigError>,
}

/// Looks for every mistake. Without any, [`ConfigFile::parse`] takes the text.
pub(crate) fn mistakes(text: &str, knowing: &Knowing<'_>) -> Vec<Mistake> {
    let whole: Entries<'_> = match serde_json::from_str(text) {
        Ok(whole) => whole,
        Err(error) => {
            let (line, column) = (error.line().max(1), error.column().max(1));
            return vec![Mistake { line, column, error: ConfigError::new(WHOLE, shown::words(&error)) }];
        }
    };
    let mut found: Vec<ConfigError> = Vec::new();
    let settings = whole.get("troupe").map_or_else(Settings::default, |written| {
        let read = |value: &Value| {
            let settings: Settings = read_value(value)?;
            settings.check().map(|()| settings)
        };
        let (settings, wrong) = every_mistake(written, read);
        found.extend(wrong.into_iter().map(|error| error.under("troupe")));
        settings.unwrap_or_default()
    });
    if let Err(error) = (knowing.strategy)(&settings.strategy) {
        found.push(error.under("troupe"));
    }
    if let Some(Err(error)) = settings.pins.as_ref().map(knowing.pins) {
        found.push(error.under("troupe"));
    }
    let servers = whole.get("mcpServers").map(|servers| serde_json::from_str::<Entries<'_>>(servers.get()));
    for (id, written) in servers.into_iter().flatten().flat_map(|servers| servers.0) {
        let read = |value: &Value| {
            let server = read_server(&id, value)?;
            let spec = server.settle(&settings.pool, &settings.breaker, 0)?;
            (knowing.server)(&spec, &settings)
        };
        let (_, wrong) = every_mistake(written, |value| {
            read(value).map_err(|error| match error.key.strip_prefix(&format!("{id}.")) {
                Some(key) => ConfigError::new(key, error.reason),
                None => error,
            })
        });
        let at = format!("mcpServers.{id}");
        found.extend(wrong.into_iter().map(|error| match error.key.is_empty() || error.key == id {
            true => ConfigError::new(&at, error.reason),
            false => error.under(&at),
        }));
    }
    // What only the whole shows: an unknown key beside the two, an id or a key that stands twice.
    if let Err(error) = ConfigFile::parse(text)
        && !found.iter().any(|known| known.key == error.key)
    {
        found.push(error);
    }
    for error in literal_references(text) {
        if !found.iter().any(|known| known.key == error.key) {
            found.push(error);
        }
    }
    let mut mistakes: Vec<Mistake> = found
        .into_iter()
        .map(|error| {
            let (line, column) = line_and_column(text, place(text, &error.key));
            Mistake { line, column, error: error.shown() }
        })
        .collect();
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    mistakes.dedup();
    mistakes
}

/// What looks like a reference to a secret where none is looked up. It is sent as it is, which nobody means.
fn literal_references(text: &str) -> Vec<ConfigError> {
    let Ok(whole) = serde_json::from_str::<Value>(text) else { return Vec::new() };
    let mut found = Vec::new();
    for (id, server) in whole["mcpServers"].as_object().into_iter().flatten() {
        for key in ["url", "command", "args", "cwd", "tls"] {
            search(&format!("mcpServers.{id}.{key}"), &server[key], key == "url", &mut found);
        }
    }
    for (n, source) in whole["discovery"].as_array().into_iter().flatten().enumerate() {
        search(&format!("discovery[{n}]"), source, false, &mut found);
    }
    found
}

/// Looks for references in a value and all that is in it. In a URL any `${…}` is meant for one; elsewhere it may be a shell's.
fn search(key: &str, value: &Value, any: bool, found: &mut Vec<ConfigError>) {
    const KINDS: [&str; 3] = ["env:", "file:", "input:"];
    let is_reference = |(before, behind): (&str, &str)| {
        let closed = behind.contains('}') && !before.ends_with('$');
        closed && (any || KINDS.iter().any(|kind| behind.starts_with(kind)))
    };
    match value {
        Value::String(text) => {
            let mut begins =
                text.match_indices("${").map(|(at, begin)| (&text[..at], &text[at + begin.len()..]));
            if found.len() < MISTAKES_MAX && begins.any(is_reference) {
                let reason = "has a ${…} that is looked up nowhere and sent as it is: references stand in a server's bearer, \
                              headers and env alone";
                found.push(ConfigError::new(key, reason));
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                search(&format!("{key}[{n}]"), item, any, found);
            }
        }
        Value::Object(entries) => {
            for (name, value) in entries {
                search(&format!("{key}.{name}"), value, any, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Reads again and again, each time without the key that was wrong.
fn every_mistake<T>(
    written: &RawValue,
    read: impl Fn(&Value) -> Result<T, ConfigError>,
) -> (Option<T>, Vec<ConfigError>) {
    let mut wrong: Vec<ConfigError> = Vec::new();
    let Ok(mut value) = serde_json::from_str::<Value>(written.get()) else { return (None, wrong) };
    while wrong.len() < MISTAKES_MAX {
        match read(&value) {
            Ok(read) => return (Some(read), wrong),
            Err(error) => {
                let again = remove(&mut value, &error.key);
                // How a server is reached shapes what else it may say: without it the rest cannot be judged.
                let shaping = matches!(error.key.as_str(), "url" | "command" | "type");
                wrong.push(error);
                if !again || shaping {
                    break;
                }
            }
        }
    }
    (None, wrong)
}

/// Reads a value; a mistake names its key as a path.
pub(super) fn read_value<'de, T: Deserialize<'de>>(value: &'de Value) -> Result<T, ConfigError> {
    serde_path_to_error::deserialize(value).map_err(shown::mistake)
}

/// An object's entries in their order, unread.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Entries<'a> {
    fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| *value)
    }
}

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry::<String, &'de RawValue>()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

/// What is left of a path behind one of its keys, which may have dots of their own. A path may end with a key that is not
/// shown whole.
fn behind<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(key).or_else(|| path.strip_prefix(&*shown::name(key)))?;
    match rest.chars().next() {
        None => Some(rest),
        Some('.') => Some(&rest[1..]),
        Some('[') => Some(rest),
        Some(_) => None,
    }
}

/// The index at the front of a path, and what is left behind it.
fn indexed(path: &str) -> Option<(usize, &str)> {
    let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, rest.strip_prefix('.').unwrap_or(rest)))
}

/// Takes what stands under a path out of a value. `false` if nothing does.
fn remove(value: &mut Value, path: &str) -> bool {
    match value {
        Value::Object(entries) => {
            let keys = entries.keys().filter(|key| behind(path, key).is_some());
            let Some(key) = keys.max_by_key(|key| key.len()).cloned() else { return false };
            match behind(path, &key) {
                Some("") => entries.remove(&key).is_some(),
                Some(rest) if entries[&key].is_object() || entries[&key].is_array() => {
                    let inner = entries.get_mut(&key).is_some_and(|inner| remove(inner, rest));
                    inner || entries.remove(&key).is_some()
                }
                Some(_) | None => false,
            }
        }
        Value::Array(items) => match indexed(path) {
            Some((index, "")) if index < items.len() => {
                items.remove(index);
                true
            }
            Some((index, rest)) => items.get_mut(index).is_some_and(|item| remove(item, rest)),
            None => false,
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Where what stands under a path begins; of a path that leads nowhere, the last thing on the way.
fn place(text: &str, path: &str) -> usize {
    let offset = |raw: &str| raw.as_ptr() as usize - text.as_ptr() as usize;
    let (mut raw, mut path) = (text.trim(), path);
    while !path.is_empty() {
        if let Ok(Entries(entries)) = serde_json::from_str::<Entries<'_>>(raw) {
            let on_the_way = entries.iter().filter(|(key, _)| behind(path, key).is_some());
            // Of two equal keys the later one is the mistake.
            let Some((key, value)) = on_the_way.max_by_key(|(key, _)| key.len()) else { break };
            (raw, path) = (value.get(), behind(path, key).unwrap_or_default());
        } else if let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(raw) {
            let Some((index, rest)) = indexed(path) else { break };
            let Some(item) = items.get(index) else { break };
            (raw, path) = (item.get(), rest);
        } else {
            break;
        }
    }
    offset(raw)
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(usize, usize, String)> {
        let knowing = Knowing { server: &|_, _| Ok(()), strategy: &|_| Ok(()), pins: &|_| Ok(()) };
        let mistakes = mistakes(text, &knowing).into_iter();
        mistakes.map(|mistake| (mistake.line, mistake.column, mistake.error.key)).collect()
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let text = r#"{
  "mcpServers": {
    "a": { "url": "ws://h", "wieght": 1, "weight": 0,
           "tags": [""], "pool": { "max": "x", "min": 0 } },
    "b.c": { "args": ["x"] },
    "d": { "url": 7, "timeout": 3 }
  },
  "troupe": { "callTimeout": 30, "toolTimeouts": { "file.read": "0s" }, "colour": 1 }
}"#;
        let expected = [
            (3, 39, "mcpServers.a.wieght"),
            (3, 52, "mcpServers.a.weight"),
            (4, 20, "mcpServers.a.tags"),
            (4, 43, "mcpServers.a.pool.max"),
            (4, 55, "mcpServers.a.pool.min"),
            (5, 12, "mcpServers.b.c.command"),
            (6, 19, "mcpServers.d.url"),
            (6, 33, "mcpServers.d.timeout"),
            (8, 30, "troupe.callTimeout"),
            (8, 65, "troupe.toolTimeouts.file.read"),
            (8, 83, "troupe.colour"),
        ];
        let found = found(text);
        let found: Vec<_> = found.iter().map(|(line, column, key)| (*line, *column, key.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_reference_that_stays_as_it_is_written_is_told() {
        let text = r#"{"mcpServers": {
            "a": { "url": "https://h/mcp?key=${KEY}", "bearer": "${env:PATH}" },
            "b": { "command": "x", "args": ["--token", "${env:T}", "${HOME}", "$${env:T}"], "env": { "T": "$${env:T}" } }
        }, "discovery": [
            { "type": "consul", "url": "http://h", "service": "s", "token": "${file:/run/token}", "headers": { "A": "${env:T}" } }
        ]}"#;
        let keys: Vec<String> = found(text).into_iter().map(|(_, _, key)| key).collect();
        let expected =
            ["mcpServers.a.url", "mcpServers.b.args[1]", "discovery[0].token", "discovery[0].headers.A"];
        assert_eq!(keys, expected);
        assert!(ConfigFile::parse(text).is_ok(), "they are no mistakes of the text");
    }

    #[test]
    fn what_only_the_whole_shows_is_told_as_well() {
        for (text, line, key) in [
            ("{", 1, "servers.json"),
            ("[]", 1, "servers.json"),
            ("{\"mcpServers\":{},\n\"servers\":{}}", 2, "servers"),
            ("{\"troupe\":{}}", 1, "servers.json"),
        ] {
            let found = found(text);
            assert_eq!((found.len(), found[0].0, found[0].2.as_str()), (1, line, key), "{text}");
        }
        let twice = "{\"mcpServers\":{\"a\":{\"url\":\"ws://h\"},\n\"a\":{\"url\":\"ws://h\"}}}";
        assert_eq!(found(twice).len(), 1);
        assert_eq!(found("{\"mcpServers\":{\"a\":{\"url\":\"ws://h\"}}}"), []);
    }
}
