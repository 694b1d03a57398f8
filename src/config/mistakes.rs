//! Mistakes in a `servers.json` and warnings about it, each with its place.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde::de::Deserialize;
use serde_json::Value;

use super::excerpt::{Excerpt, excerpt};
use super::reading::WHOLE;
use super::text::{Span, behind, indexed};
use super::{ConfigError, PinSettings, ServerSpec, Settings, SourceConfig, shown};

/// Mistakes that are looked for in one server, or in the settings: more would help nobody.
const MISTAKES_MAX: usize = 50;

/// Names that one is compared with have at most so many bytes: the comparison takes their product.
const NEAR_BYTES_MAX: usize = 128;

/// Diagnostics of one file: more than anybody reads.
const DIAGNOSTICS_MAX: usize = 1_000;

/// What is shown beside a line: its number, and what separates both.
const GUTTER: usize = 7;

/// The narrowest page that is written for; on a narrower one the terminal breaks the lines.
const WIDTH_MIN: usize = 40;

/// How much a diagnostic matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Severity {
    /// A mistake: what has it is not used.
    Error,
    /// Something that is not used, or not meant so, while the rest is.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// What a diagnostic tells, where somebody may do something about it by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DiagnosticKind {
    /// A server's name becomes the id that another one has: the server is known by its name alone.
    IdTaken,
    /// Anything else.
    Other,
}

/// A mistake in a `servers.json`, or a warning about it, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {severity}: {}", self.joined())]
#[non_exhaustive]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// What it tells.
    pub kind: DiagnosticKind,
    /// The line, counted from 1, of what stands under the key, or under the nearest key above it that is there.
    pub line: usize,
    /// The column in it, counted from 1 in characters.
    pub column: usize,
    /// The server that it is about, by its id, or by its name where another one has that id; none if it is about the file as a
    /// whole.
    pub server: Option<String>,
    /// The key, and what is wrong.
    pub error: ConfigError,
    /// What to do about it.
    pub advice: Option<String>,
    excerpt: Excerpt,
}

impl Diagnostic {
    /// The key, what is wrong, and what to do.
    pub(crate) fn joined(&self) -> ConfigError {
        joined(&self.error, self.advice.as_deref())
    }

    /// The diagnostic as compilers write theirs, in lines of at most `width` characters: the place in `file`, what is wrong, the
    /// line with a mark, and what to do. Texts in the line are left out, since any of them may be a secret.
    pub fn render(&self, file: &Path, width: usize) -> String {
        let width = width.max(WIDTH_MIN);
        let Self { severity, line, column, error, advice, .. } = self;
        // The file is named already, by its own name.
        let key = if error.key == WHOLE { String::new() } else { format!("{}: ", error.key) };
        let head = format!("{}:{line}:{column}: {severity}: {key}{}", file.display(), error.reason);
        let mut text = wrapped(&head, width, "    ");
        let excerpt = self.excerpt.within(width.saturating_sub(GUTTER));
        let mark = " ".repeat(excerpt.start) + &"^".repeat(excerpt.chars);
        text.push_str(&format!("\n{line:>4} | {}\n     | {mark}", excerpt.line));
        if let Some(advice) = advice {
            text.push('\n');
            text.push_str(&wrapped(&format!("     = {advice}"), width, "       "));
        }
        text
    }
}

/// Breaks a line between words; those that follow begin with `indent`.
fn wrapped(text: &str, width: usize, indent: &str) -> String {
    let begin = text.len().saturating_sub(text.trim_start().len());
    let (mut lines, mut line) = (Vec::new(), text[..begin].to_owned());
    for (n, word) in text[begin..].split(' ').enumerate() {
        let length = line.chars().count().saturating_add(word.chars().count()).saturating_add(1);
        if n > 0 && length > width {
            lines.push(std::mem::replace(&mut line, format!("{indent}{word}")));
        } else {
            if n > 0 {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.push(line);
    lines.join("\n")
}

/// What can only be asked of those who know more than a configuration.
pub(crate) struct Knowing<'a> {
    /// Whether a server can be reached as it is described.
    pub server: &'a dyn Fn(&ServerSpec, &Settings) -> Result<(), ConfigError>,
    /// Whether there is such a strategy.
    pub strategy: &'a dyn Fn(&str) -> Result<(), ConfigError>,
    /// Whether this build has such a source, and it can be asked as it is described.
    pub source: &'a dyn Fn(&SourceConfig) -> Result<(), ConfigError>,
    /// Whether this machine is searched for the programs that servers are, and what is not there told as a warning.
    pub searches: bool,
    /// Whether the pins can be read.
    pub pins: &'a dyn Fn(&PinSettings) -> Result<(), ConfigError>,
    /// Whether the file of known lists can be used, or why not.
    pub known_lists: &'a dyn Fn(&Path) -> Result<(), String>,
}

/// Something that was found, before its place in lines and columns is known.
pub(super) struct Finding {
    pub severity: Severity,
    pub kind: DiagnosticKind,
    pub span: Span,
    pub server: Option<String>,
    /// Its key is one that may be shown.
    pub error: ConfigError,
    pub advice: Option<String>,
}

impl Finding {
    /// The key, what is wrong, and what to do.
    pub(super) fn joined(&self) -> ConfigError {
        joined(&self.error, self.advice.as_deref())
    }
}

/// What is wrong and what to do, in one sentence.
fn joined(error: &ConfigError, advice: Option<&str>) -> ConfigError {
    let reason = match advice {
        Some(advice) => format!("{}: {advice}", error.reason),
        None => error.reason.clone(),
    };
    ConfigError { key: error.key.clone(), reason }
}

/// Puts findings in the order of the text and gives them their places in it. `read` says that the text is JSON. Of very many the
/// first are kept.
pub(super) fn placed(mut findings: Vec<Finding>, text: &str, read: bool) -> Vec<Diagnostic> {
    findings.sort_by_key(|finding| finding.span.start);
    findings.truncate(DIAGNOSTICS_MAX);
    // One walk over the text, however many there are.
    let (mut at, mut line, mut column) = (0, 1_usize, 1_usize);
    let mut diagnostics: Vec<Diagnostic> = Vec::with_capacity(findings.len());
    for Finding { severity, kind, span, server, error, advice } in findings {
        for c in text[at..span.start].chars() {
            match c {
                '\n' => (line, column) = (line.saturating_add(1), 1),
                '\u{feff}' => {}
                _ => column = column.saturating_add(1),
            }
        }
        at = span.start;
        let excerpt = excerpt(text, span, read);
        diagnostics.push(Diagnostic { severity, kind, line, column, server, error, advice, excerpt });
    }
    diagnostics.dedup();
    diagnostics
}

/// Reads again and again, each time without the key that was wrong. How a server is reached shapes what else it may say: without
/// that the rest is judged by its `form` alone.
pub(super) fn every_mistake<T>(
    mut value: Value,
    read: impl Fn(&Value) -> Result<T, ConfigError>,
    form: impl Fn(&Value) -> Result<(), ConfigError>,
) -> (Option<T>, Vec<ConfigError>) {
    let mut wrong: Vec<ConfigError> = Vec::new();
    let mut shapeless = false;
    while wrong.len() < MISTAKES_MAX {
        let judged = if shapeless { form(&value).map(|()| None) } else { read(&value).map(Some) };
        match judged {
            Ok(read) => return (read, wrong),
            Err(error) => {
                let again = remove(&mut value, &error.key);
                shapeless |= matches!(error.key.as_str(), "url" | "command" | "type");
                if !lacks_what_was_taken_out(&error, &wrong) {
                    wrong.push(error);
                }
                if !again {
                    break;
                }
            }
        }
    }
    (None, wrong)
}

/// Whether a key is missing only because it was wrong, and so taken out.
fn lacks_what_was_taken_out(error: &ConfigError, wrong: &[ConfigError]) -> bool {
    let missing = error.reason.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    missing.is_some_and(|missing| {
        let key = if error.key.is_empty() { missing.to_owned() } else { format!("{}.{missing}", error.key) };
        wrong.iter().any(|wrong| wrong.key == key)
    })
}

/// Finds lists where objects belong, by a value that has an object at each of those places: serde would take them as an object's
/// values in their order.
pub(super) fn lists_for_objects(value: &Value, pattern: &Value, at: &str, found: &mut Vec<ConfigError>) {
    match (value, pattern) {
        (Value::Array(_), Value::Object(_)) => {
            found.push(ConfigError::new(at, "invalid type: a list, expected an object"));
        }
        (Value::Object(entries), Value::Object(known)) => {
            for (key, value) in entries {
                let Some(pattern) = known.get(key) else { continue };
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                lists_for_objects(value, pattern, &at, found);
            }
        }
        (_, _) => {}
    }
}

/// Reads a value; a mistake names its key as a path.
pub(super) fn read_value<'de, T: Deserialize<'de>>(value: &'de Value) -> Result<T, ConfigError> {
    serde_path_to_error::deserialize(value).map_err(shown::mistake)
}

/// Takes what stands under a path out of a value. `false` if nothing does.
pub(super) fn remove(value: &mut Value, path: &str) -> bool {
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
            // Without the item those behind it would be told with an index that is not theirs: the list goes as a whole.
            Some((_, "")) => false,
            Some((index, rest)) => items.get_mut(index).is_some_and(|item| remove(item, rest)),
            None => false,
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// What to do about an unknown key: the one that was meant, if one of those that there are is like it.
pub(crate) fn near<'k>(key: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let plain = |key: &str| -> String {
        key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
    };
    let given = plain(key);
    if given.is_empty() || given.len() > 64 {
        return None;
    }
    // Those of another length are not near, and need not be compared.
    let known = known.into_iter().filter(|known| known.len() <= NEAR_BYTES_MAX);
    let far = |known: &&str| strsim::damerau_levenshtein(&given, &plain(known));
    let nearest = known.min_by_key(far)?;
    (far(&nearest) <= 2.min(given.len() / 3)).then_some(nearest)
}

/// What serde says of an unknown key, as people write it.
pub(super) fn unknown_key(error: ConfigError) -> (ConfigError, Option<String>) {
    let Some(rest) = error.reason.strip_prefix("unknown field `") else { return (error, None) };
    let Some((key, expected)) = rest.split_once('`') else { return (error, None) };
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let within = key.split_once('.').filter(|(outer, _)| known.contains(outer));
    let within = within.or_else(|| Some((one_level_deeper(key, &known)?, key)));
    let advice = match (within, near(key, known.iter().copied())) {
        (Some((outer, inner)), _) => format!("write \"{outer}\": {{\"{inner}\": …}}"),
        (None, Some(near)) => format!("did you mean `{near}`?"),
        (None, None) if known.is_empty() || known.len() > 8 => {
            "remove it; the schema has the keys that there are".to_owned()
        }
        (None, None) => format!("remove it; the keys here are {}", known.join(", ")),
    };
    (ConfigError::new(error.key, format!("unknown key `{key}`")), Some(advice))
}

/// Of the keys that stand here, the one whose object has this key in the settings.
fn one_level_deeper<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let settings = serde_json::to_value(Settings::default()).ok()?;
    known.iter().copied().find(|outer| settings.get(outer).is_some_and(|inner| inner.get(key).is_some()))
}

/// What serde says of a word that is none of those which a key takes, with the one that was probably meant. `given` is that word,
/// which is not told: it may stand at the wrong key.
pub(super) fn unknown_word(error: ConfigError, given: Option<&str>) -> (ConfigError, Option<String>) {
    let Some(expected) = error.reason.strip_prefix("unknown variant, expected ") else {
        return (error, None);
    };
    let known = expected.split('`').skip(1).step_by(2);
    let meant = given.and_then(|given| near(given, known));
    let advice = meant.map(|meant| format!("did you mean \"{meant}\"?"));
    (error, advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigFile;

    fn found(text: &str) -> Vec<(usize, usize, String)> {
        let found = ConfigFile::mistakes(text).into_iter();
        found.map(|mistake| (mistake.line, mistake.column, mistake.error.key)).collect()
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let text = r#"{
  "mcpServers": {
    "a": { "url": "ws://h", "wieght": 1, "weight": 0,
           "tags": [""], "pool": { "max": "x", "min": 0 } },
    "b.c": { "args": ["x"] },
    "d": { "url": 7, "timeout": 3, "weight": 0, "tags": [""], "pool": { "max": 0 }, "group": "a b", "tls": {} }
  },
  "troupe": { "callTimeout": 30, "toolTimeouts": { "file.read": "0s" }, "colour": 1 },
  "discovery": [{ "type": "file", "path": "p" }, { "type": "dns", "srv": "h", "port": 1, "x": 2 }]
}"#;
        let expected = [
            (3, 29, "mcpServers.a.wieght"),
            (3, 52, "mcpServers.a.weight"),
            (4, 12, "mcpServers.a.tags"),
            (4, 43, "mcpServers.a.pool.max"),
            (4, 55, "mcpServers.a.pool.min"),
            (5, 5, "mcpServers.b.c.command"),
            (6, 19, "mcpServers.d.url"),
            (6, 33, "mcpServers.d.timeout"),
            (6, 46, "mcpServers.d.weight"),
            (6, 49, "mcpServers.d.tags"),
            (6, 80, "mcpServers.d.pool.max"),
            (6, 94, "mcpServers.d.group"),
            (8, 30, "troupe.callTimeout"),
            (8, 65, "troupe.toolTimeouts.file.read"),
            (8, 73, "troupe.colour"),
            (9, 87, "discovery[1].port"),
            (9, 90, "discovery[1].x"),
        ];
        let found = found(text);
        let found: Vec<_> = found.iter().map(|(line, column, key)| (*line, *column, key.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_only_the_whole_shows_is_told_as_well() {
        for (text, line, key) in [
            ("{", 1, "servers.json"),
            ("[]", 1, "servers.json"),
            ("{\"mcpServers\":{},\n\"servers\":{}}", 2, "servers"),
            ("{\"troupe\":{}}", 1, "servers.json"),
            ("{\"mcpServers\":{},\n\"troup\":{}}", 2, "troup"),
            ("{\"mcpServers\":{},\n\"mcpservers\":{}}", 2, "mcpservers"),
            ("{\"mcpServers\":{\"a\":{\"url\":\"ws://h\"},\n\"a\":{\"url\":\"ws://h\"}}}", 2, "mcpServers.a"),
        ] {
            let found = found(text);
            assert_eq!((found.len(), found[0].0, found[0].2.as_str()), (1, line, key), "{text}");
        }
        assert_eq!(found("{\"mcpServers\":{\"a\":{\"url\":\"ws://h\"}}}"), []);
    }

    #[test]
    fn of_very_many_mistakes_the_first_are_told_and_each_server_is_left_out() {
        let servers: Vec<String> = (0..2_000).map(|n| format!(r#""s{n}":{{"url":7,"é":1}}"#)).collect();
        let text = format!("{{\"mcpServers\":{{{}}}}}", servers.join(","));
        let file = ConfigFile::parse(&text).unwrap();
        assert_eq!((file.left_out.len(), file.diagnostics.len()), (2_000, DIAGNOSTICS_MAX));
        let last = file.diagnostics.last().unwrap();
        let found = text.split('\n').nth(last.line - 1).unwrap().chars().skip(last.column - 1);
        assert!(matches!(found.collect::<String>().chars().next(), Some('7' | '"')), "{last}");
    }

    #[test]
    fn an_unknown_key_is_told_with_the_one_that_was_meant() {
        for (key, near) in [
            ("comand", Some("command")),
            ("wieght", Some("weight")),
            ("URL", Some("url")),
            ("apiKey", None),
            ("x", None),
        ] {
            let text = format!(r#"{{"mcpServers":{{"a":{{"command":"x","{key}":1}}}}}}"#);
            let found = ConfigFile::mistakes(&text);
            assert_eq!(found.len(), 1, "{found:?}");
            let advice = found[0].advice.as_deref().unwrap();
            assert_eq!(advice.contains("did you mean"), near.is_some(), "{advice}");
            assert!(near.is_none_or(|near| advice.contains(near)) && advice.len() < 80, "{advice}");
        }
    }

    #[test]
    fn a_key_that_stands_one_level_too_high_is_told_with_its_place() {
        for (key, advice) in [
            ("idempotentTools", r#"write "retry": {"idempotentTools": …}"#),
            ("failureThreshold", r#"write "breaker": {"failureThreshold": …}"#),
            ("handshakeTimeout", r#"write "pool": {"handshakeTimeout": …}"#),
        ] {
            let text = format!(r#"{{"mcpServers":{{"a":{{"url":"ws://h"}}}},"troupe":{{"{key}":1}}}}"#);
            let told: Vec<_> = ConfigFile::mistakes(&text).into_iter().collect();
            assert_eq!(told[0].advice.as_deref(), Some(advice), "{told:?}");
        }
    }

    #[test]
    fn all_keys_of_a_server_are_judged_though_the_one_that_shapes_it_is_wrong() {
        for (server, keys) in [
            (
                r#"{"command":["python3","x"],"environment":{},"workingDirectory":"/"}"#,
                vec!["command", "environment", "workingDirectory"],
            ),
            (r#"{"url":7,"wieght":1,"pool":{"max":"x"}}"#, vec!["url", "wieght", "pool.max"]),
            (r#"{"type":"ftp","url":7,"command":[],"x":1}"#, vec!["type", "url", "command", "x"]),
            (r#"{"url":"ws://h","command":"x","tags":7,"x":1}"#, vec!["url", "tags", "x"]),
        ] {
            let found = found(&format!(r#"{{"mcpServers":{{"a":{server}}}}}"#));
            let told: Vec<_> =
                found.iter().filter_map(|(_, _, key)| key.strip_prefix("mcpServers.a.")).collect();
            assert_eq!(told, keys, "{server}");
        }
        let keys: Vec<String> = (0..60).map(|n| format!(r#""x{n}":1"#)).collect();
        let text = format!(r#"{{"mcpServers":{{"a":{{"command":[],{}}}}}}}"#, keys.join(","));
        assert_eq!(found(&text).len(), MISTAKES_MAX);
    }

    #[test]
    fn a_server_is_told_by_the_name_that_stands_in_the_file() {
        for (name, shown) in [
            ("my server", r#"mcpServers."my server".x"#),
            ("Müller (prod)", r#"mcpServers."Müller (prod)".x"#),
            ("a.b", "mcpServers.a.b.x"),
            (r#"a\u001b[1m\u202eb\""#, r#"mcpServers."a\u001b[1m\u202eb\"".x"#),
        ] {
            let found = found(&format!(r#"{{"mcpServers":{{"{name}":{{"command":"c","x":1}}}}}}"#));
            assert_eq!(found[0].2, shown);
        }
        let long = "ü".repeat(1_000);
        let found = found(&format!(r#"{{"mcpServers":{{"{long}":{{"command":"c","TOKEN=x y":1}}}}}}"#));
        assert!(found[0].2.chars().count() < 100 && found[0].2.ends_with(r#"…".TOKEN…"#), "{}", found[0].2);
    }

    #[test]
    fn keys_of_other_clients_lead_to_what_is_meant() {
        let advice = |text: &str| ConfigFile::mistakes(text)[0].advice.clone().unwrap_or_default();
        for (text, key) in [
            (r#"{"amp.mcpServers":{"a":{"command":"x"}}}"#, "amp.mcpServers"),
            (r#"{"amp":{"mcpServers":{"a":{"command":"x"}}}}"#, "amp.mcpServers"),
            (r#"{"theme":"x","app.servers":{}}"#, "app.servers"),
        ] {
            assert_eq!(
                advice(text),
                format!(r#"put what stands under "{key}" under "mcpServers""#),
                "{text}"
            );
        }
        let warp = r#"{"mcpServers":{"a":{"command":"x","working_directory":"/","start_on_launch":true}}}"#;
        assert_eq!(advice(warp), "did you mean `cwd`?");
        assert_eq!(found(warp).len(), 1, "the other is a warning");
    }

    #[test]
    fn an_item_of_a_list_is_told_with_its_own_index() {
        let found = found(r#"{"mcpServers":{"a":{"command":"x","args":["y",1,true],"weight":0}}}"#);
        let keys: Vec<_> = found.iter().map(|(_, _, key)| key.as_str()).collect();
        assert_eq!(keys, ["mcpServers.a.args[1]", "mcpServers.a.weight"]);
    }

    #[test]
    fn a_diagnostic_about_the_whole_file_names_that_file_alone() {
        for text in ["", "[]", "{\"x\":1}", "{\"mcpServers\":{"] {
            let rendered = ConfigFile::mistakes(text)[0].render(Path::new("mcp.json"), 80);
            assert!(!rendered.contains("servers.json"), "{rendered}");
        }
    }

    #[test]
    fn a_diagnostic_is_written_as_compilers_do_within_the_width() {
        let text =
            "{\n  \"mcpServers\": {\n    \"old\": { \"type\": \"sse\", \"url\": \"http://h/sse\" }\n  }\n}";
        let found = ConfigFile::mistakes(text);
        let rendered = found[0].render(Path::new("mcp.json"), 80);
        let expected = "\
mcp.json:3:22: error: mcpServers.old.type: the old HTTP+SSE transport is not
    supported
   3 |     \"old\": { \"type\": \"sse\", \"url\": \"http://h/sse\" }
     |                      ^^^^^
     = name the server's Streamable HTTP url";
        assert_eq!(rendered, expected);
        for width in [0, 40, 60, 80, 200] {
            let rendered = found[0].render(Path::new("mcp.json"), width);
            let widest = rendered.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= width.max(WIDTH_MIN), "{width}: {widest}\n{rendered}");
        }
    }
    #[test]
    fn a_misspelt_word_is_told_with_the_one_that_was_meant_and_none_that_is_refused() {
        for (text, key, advice) in [
            (r#"{"mcpServers":{"a":{"command":"c","type":"stido"}}}"#, "mcpServers.a.type", Some("stdio")),
            (
                r#"{"mcpServers":{"a":{"url":"http://h","transport":"htpp"}}}"#,
                "mcpServers.a.transport",
                Some("http"),
            ),
            (
                r#"{"mcpServers":{"a":{"url":"http://h","type":"streamable-htp"}}}"#,
                "mcpServers.a.type",
                Some("streamable-http"),
            ),
            (r#"{"mcpServers":{"a":{"url":"http://h","type":"s3cret"}}}"#, "mcpServers.a.type", None),
            (r#"{"mcpServers":{"a":{"url":"http://h","era":"legasy"}}}"#, "mcpServers.a.era", Some("legacy")),
            (r#"{"mcpServers":{},"troupe":{"collisions":"balence"}}"#, "troupe.collisions", Some("balance")),
            (
                r#"{"mcpServers":{},"troupe":{"breaker":{"mode":"disable"}}}"#,
                "troupe.breaker.mode",
                Some("disabled"),
            ),
        ] {
            let found = ConfigFile::mistakes(text);
            assert_eq!((found.len(), found[0].error.key.as_str()), (1, key), "{found:?}");
            let meant = advice.map(|meant| format!("did you mean \"{meant}\"?"));
            assert_eq!(found[0].advice, meant, "{text}");
            let told = found[0].to_string();
            assert!(told.contains("unknown variant, expected") && !told.contains("`sse`"), "{told}");
            assert!(!told.contains("s3cret"), "{told}");
        }
        for old in ["SSE", "ssse"] {
            let found = ConfigFile::mistakes(&format!(
                r#"{{"mcpServers":{{"a":{{"url":"http://h","type":"{old}"}}}}}}"#
            ));
            assert!(found[0].to_string().contains("HTTP+SSE"), "{found:?}");
        }
    }
    #[test]
    fn a_file_that_is_no_object_of_servers_is_told_with_what_one_looks_like() {
        for (text, advice) in [
            ("", "begin with {\"mcpServers\": {\"NAME\": {\"command\": …}}}"),
            ("mcpServers:\n  a: b", "begin with {\"mcpServers\""),
            ("[]", "write {\"mcpServers\""),
            ("[{\"command\": \"x\"}]", "write {\"mcpServers\""),
            ("\"text\"", "write {\"mcpServers\""),
            ("7", "write {\"mcpServers\""),
            ("null", "write {\"mcpServers\""),
            ("{\"context_servers\": {}}", "write \"mcpServers\" in place of \"context_servers\""),
            ("{\"x\": 1}", "put the servers into \"mcpServers\""),
            ("{\"mcpServers\": [{\"name\": \"a\"}]}", "write each as \"NAME\": {\"command\""),
        ] {
            let found = ConfigFile::mistakes(text);
            let told = found[0].advice.as_deref().unwrap_or_default();
            assert!(found.len() == 1 && told.starts_with(advice), "{text}: {found:?}");
            let refused = ConfigFile::parse(text).unwrap_err();
            assert!(refused.reason.ends_with(told), "{text}: {refused}");
        }
    }
    #[test]
    fn a_key_that_is_wrong_is_not_told_again_as_missing() {
        for (text, keys) in [
            (r#"{"mcpServers":{},"troupe":{"pins":{"file":"/no/such/file"}}}"#, vec!["troupe.pins.file"]),
            (
                r#"{"mcpServers":{},"troupe":{"pins":{"file":7},"colour":1}}"#,
                vec!["troupe.pins.file", "troupe.colour"],
            ),
            (r#"{"mcpServers":{},"troupe":{"pins":{}}}"#, vec!["troupe.pins"]),
            (r#"{"mcpServers":{},"discovery":[{"type":"fiel","path":"p"}]}"#, vec!["discovery[0].type"]),
            (r#"{"mcpServers":{},"discovery":[{"type":7}]}"#, vec!["discovery[0].type"]),
        ] {
            let found: Vec<String> = found(text).into_iter().map(|(_, _, key)| key).collect();
            assert_eq!(found, keys, "{text}");
        }
    }
}
