//! What may be told of a configuration: its keys, and never the values under them.
//!
//! People put secrets where none belong: a whole command line into `args`, a token into a key that does not exist. What reads a
//! configuration tells such a mistake by quoting the value. So no word of serde's leaves this crate but by [`mistake`] and
//! [`words`], which keep what was expected and of which type the value is.

use std::borrow::Cow;
use std::path::Path;

use serde_json::error::Category;

use super::ConfigError;

/// Stands for what is not shown.
pub(crate) const HIDDEN: &str = "…";

/// The most of a name that is shown.
const NAME_BYTES_MAX: usize = 256;

/// The longest path that is shown: longer than any that systems take.
const PATH_BYTES_MAX: usize = 4096;

/// What our own types say of values. They quote none.
pub(crate) const NO_STRING: &str = "is no string";
pub(crate) const NO_DURATION: &str = "is no duration: write it with its unit, as \"30s\"";

/// What is said of a value by somebody who may quote it.
const UNUSABLE: &str = "has a value that cannot be used here";

/// A name, or a path of names, up to the first character that none has: `TOKEN=abc` is a name with a value behind it.
pub(crate) fn name(name: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '$' | '[' | ']');
    let end = name.find(|c| !plain(c)).unwrap_or(name.len()).min(NAME_BYTES_MAX);
    match end == name.len() {
        true => Cow::Borrowed(name),
        false => Cow::Owned(format!("{}{HIDDEN}", &name[..end])),
    }
}

/// The most characters of a server's name that are shown: what stands behind it matters more.
const SERVER_CHARS_MAX: usize = 64;

/// The name of a server as it stands in a file, in quotes. It is no secret; what would steer a terminal is escaped as in JSON.
pub(crate) fn server(name: &str) -> String {
    // Those that turn the direction of what follows are no control characters.
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::from("\"");
    for (n, character) in name.chars().enumerate() {
        match character {
            _ if n >= SERVER_CHARS_MAX => {
                shown.push_str(HIDDEN);
                break;
            }
            '"' | '\\' => shown.extend(['\\', character]),
            c if steers(c) => shown.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => shown.push(c),
        }
    }
    shown + "\""
}

/// Names, each as it may be shown.
pub(crate) fn names<'n>(names: impl IntoIterator<Item = &'n String>) -> Vec<Cow<'n, str>> {
    names.into_iter().map(|given| name(given)).collect()
}

/// A program, without the arguments and variables that some write into the same text.
pub(crate) fn command(command: &str) -> Cow<'_, str> {
    match command.find(|c: char| c.is_whitespace() || c == '=') {
        Some(end) => Cow::Owned(format!("{}{HIDDEN}", &command[..end])),
        None => Cow::Borrowed(command),
    }
}

/// The path of a file. One that is the content of a file, as where a key was pasted in place of its path, is not shown.
pub(crate) fn path(path: &Path) -> Cow<'_, str> {
    let text = path.to_string_lossy();
    let pasted =
        text.contains(char::is_control) || text.contains("-----BEGIN") || text.len() > PATH_BYTES_MAX;
    if pasted { Cow::Borrowed(HIDDEN) } else { text }
}

/// A mistake that serde found, with its key as a path; the key is empty where it is about the whole.
pub(crate) fn mistake(error: serde_path_to_error::Error<serde_json::Error>) -> ConfigError {
    let path = error.path().to_string();
    // It is unknown where a key itself cannot be read.
    let key = if path == "." || path == "?" { String::new() } else { path };
    ConfigError::new(key, words(error.inner()))
}

/// What is wrong, without the value: serde's own words quote it.
pub(crate) fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match error.classify() {
        // The reader's own words are the same whatever it reads.
        Category::Syntax | Category::Eof | Category::Io => text,
        Category::Data => {
            let place = match error.line() {
                0 => String::new(),
                line => format!(" at line {line} column {}", error.column()),
            };
            format!("{}{place}", without_value(text.strip_suffix(&place).unwrap_or(&text)))
        }
    }
}

/// The same for what is said without a place. What is not known to be free of values is not said.
fn without_value(said: &str) -> String {
    for wrong in ["invalid type", "invalid value"] {
        if let Some(rest) = said.strip_prefix(wrong).and_then(|rest| rest.strip_prefix(": "))
            // The last one: a value may have these words in it, what is expected has not.
            && let Some((found, expected)) = rest.rsplit_once(", expected ")
        {
            return format!("{wrong}: {}, expected {}", kind(found), in_json(expected));
        }
    }
    if let Some(rest) = said.strip_prefix("unknown variant `") {
        return match rest.rsplit_once("`, expected ") {
            Some((_, expected)) => format!("unknown variant, expected {expected}"),
            None => UNUSABLE.to_owned(),
        };
    }
    if let Some(rest) = said.strip_prefix("unknown field `") {
        return match rest.rsplit_once("`, expected ") {
            Some((field, expected)) => format!("unknown field `{}`, expected {expected}", name(field)),
            None => "unknown field".to_owned(),
        };
    }
    // These name what the types know, and numbers of entries.
    let of_types = [
        "missing field `",
        "duplicate field `",
        "invalid length ",
        "data did not match any variant",
        // Of the form of a file of pins, which is a number.
        "pins of version ",
    ];
    let twice = said.strip_prefix("the id \"").and_then(|rest| rest.strip_suffix("\" stands twice"));
    if let Some(id) = twice {
        return format!("the id \"{}\" stands twice", name(id));
    }
    let ours =
        [NO_STRING, NO_DURATION].contains(&said) || of_types.iter().any(|begin| said.starts_with(begin));
    if ours { said.to_owned() } else { UNUSABLE.to_owned() }
}

/// What serde expects, by the names that JSON has for it: whoever writes a file need not know Rust's.
fn in_json(expected: &str) -> &str {
    match expected {
        "a sequence" => "a list",
        "a map" => "an object",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0 on, of 64 bits at most",
        "f32" | "f64" => "a number",
        "string or map" => "a name, or an object with one key",
        "map with a single key" => "an object with one key",
        "path string" => "a path, as text",
        _ if expected.starts_with("struct ") => "an object",
        _ => expected,
    }
}

/// The type of a value that serde quotes.
fn kind(found: &str) -> &'static str {
    let kinds = [
        ("string", "a string"),
        ("character", "a string"),
        ("integer", "a number"),
        ("floating point", "a number"),
        ("boolean", "a boolean"),
        ("map", "an object"),
        ("sequence", "a list"),
        ("null", "null"),
        ("unit value", "null"),
    ];
    kinds.iter().find(|(begin, _)| found.starts_with(begin)).map_or("something else", |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "they are read to see what is said where that fails")]
    struct Known {
        list: Option<Vec<String>>,
        map: Option<BTreeMap<String, String>>,
        small: Option<u8>,
        choice: Option<Choice>,
        address: Option<SocketAddr>,
        id: Option<crate::id::ServerId>,
        flag: Option<bool>,
    }

    #[derive(Debug, Deserialize)]
    enum Choice {
        One,
        Other,
    }

    fn told(value: &Value) -> Option<String> {
        let text = serde_json::to_string_pretty(value).unwrap();
        let by_text = serde_json::from_str::<Known>(&text).err().map(|error| words(&error));
        let by_value = serde_path_to_error::deserialize::<_, Known>(value).err().map(mistake);
        assert_eq!(by_text.is_some(), by_value.is_some());
        by_text.map(|by_text| {
            format!("{by_text}; {}", by_value.map(|error| error.to_string()).unwrap_or_default())
        })
    }

    #[test]
    fn a_mistake_says_what_was_expected_and_of_which_type_the_value_is() {
        for (value, says) in [
            (json!({"list": "s3cret"}), "invalid type: a string, expected a list at line 2"),
            (json!({"map": ["s3cret"]}), "invalid type: a list, expected an object"),
            (json!({"small": 31_415_926}), "invalid value: a number, expected a whole number from 0 to 255"),
            (json!({"choice": "s3cret"}), "unknown variant, expected `One` or `Other`"),
            (json!({"s3cret": 1}), "unknown field `s3cret`, expected one of `list`"),
            (json!({"key: s3cret": 1}), "unknown field `key…`, expected one of `list`"),
            (json!({"id": "s3 cret"}), UNUSABLE),
            (json!({"flag": null, "list": {"s3cret": 1}}), "invalid type: an object, expected a list"),
        ] {
            let told = told(&value).unwrap();
            assert!(told.contains(says), "{value}: {told}");
        }
    }

    #[test]
    fn names_and_programs_are_shown_without_what_was_put_behind_them() {
        for (given, shown) in [
            ("mcpServers.b.c.args[1]", "mcpServers.b.c.args[1]"),
            ("TOKEN=s3cret", "TOKEN…"),
            ("Authorization: Bearer a.b.c", "Authorization…"),
            ("--token s3cret", "--token…"),
            ("grün", "gr…"),
        ] {
            assert_eq!(name(given), shown);
        }
        assert_eq!(name(&"x".repeat(1000)).chars().count(), NAME_BYTES_MAX + 1);
        for (given, shown) in [
            ("/usr/bin/npx", "/usr/bin/npx"),
            ("npx -y server --token s3cret", "npx…"),
            ("TOKEN=s3cret npx", "TOKEN…"),
        ] {
            assert_eq!(command(given), shown);
        }
        assert_eq!(path(Path::new("/run/secrets/a key.pem")), "/run/secrets/a key.pem");
        assert_eq!(path(Path::new("-----BEGIN PRIVATE KEY-----\ns3cret")), HIDDEN);
    }

    fn any_json(leaf: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-z]{1,3}", inner, 0..4).prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_value_is_told_whatever_its_type_and_place(
            key in "list|map|small|choice|address|id|flag|none",
            value in any_json(prop_oneof![
                "[a-z`,\" ]{0,9}(, expected |` at line |` or )?S3CRET(`, expected |`, )?[a-z`,\" ]{0,3}".prop_map(Value::from),
                Just(json!(3_141_592_653_u64)),
                Just(json!(-3_141_592_653_i64)),
                Just(json!(31_415.926_53)),
                Just(json!(true)),
                Just(json!(null)),
            ]),
        ) {
            let mut object = serde_json::Map::new();
            object.insert(key, value);
            if let Some(told) = told(&object.into()) {
                prop_assert!(!told.contains("S3CRET") && !told.contains("31415"), "{}", told);
            }
        }
    }
}
