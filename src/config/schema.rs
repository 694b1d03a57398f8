//! The JSON schema of `servers.json`, for editors and checks.
//!
//! It is derived from the types that read the file, so a key that is read is in it, with its meaning and its default. What
//! serde reads by code of its own is told here. Where the schema cannot say what the parser knows (a sum of two keys, a strategy of
//! the host's) it lets pass; what it refuses the parser
//! refuses too, but for an object that is written as a list of its values.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::ConfigFile;
use super::file::{Servers, Written};
use super::reading::{FOREIGN_KEYS, IDLE_KEYS};
use crate::secret::Secret;

/// A value that may stand elsewhere: texts, `$${` for `${` itself, and `${…}`. Which names there are is the host's to say.
const REFERENCE: &str = r"^(?:[^$]|\$+[^${]|\$\$+\{|\$\{[^}]+\})*\$*$";

impl ConfigFile {
    /// The JSON schema (2020-12) of a `servers.json`, with the meaning of each key and its default. What it refuses,
    /// [`mistakes`](Self::mistakes) tells, save in servers that are switched off; it cannot tell every mistake.
    ///
    /// ```
    /// let schema = mcp_troupe::ConfigFile::schema();
    /// assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    /// assert_eq!(schema["properties"]["mcpServers"]["type"], "object");
    /// ```
    pub fn schema() -> serde_json::Value {
        let generator = SchemaSettings::draft2020_12().for_deserialize().into_generator();
        let mut schema = generator.into_root_schema_for::<Written>();
        RecursiveTransform(largest_number).transform(&mut schema);
        schema.insert("title".to_owned(), "servers.json of mcp-troupe".into());
        schema.to_value()
    }
}

/// Numbers of 32 bits have a largest one, as shorter ones have.
fn largest_number(schema: &mut Schema) {
    if schema.get("format").is_some_and(|format| format == "uint32") {
        schema.insert("maximum".to_owned(), u32::MAX.into());
    }
}

/// A server has a `url`, in one of its spellings, or a `command`. Some keys of other clients change nothing.
pub(super) fn one_way_to_reach_it(schema: &mut Schema) {
    // Null is the same as none.
    let ways = ["url", "httpUrl", "serverUrl", "command"]
        .map(|key| serde_json::json!({"required": [key], "properties": {key: {"type": "string"}}}));
    schema.insert("oneOf".to_owned(), ways.to_vec().into());
    let idle: Vec<&str> = IDLE_KEYS.into_iter().chain(FOREIGN_KEYS.map(|(key, _, _)| key)).collect();
    let idle = format!("^(?:{})$", idle.join("|"));
    schema.insert("patternProperties".to_owned(), serde_json::json!({idle: true}));
}

/// Servers stand under one of two keys, or are the whole file.
pub(super) fn several_forms(schema: &mut Schema) {
    let server = serde_json::json!({"$ref": "#/$defs/Server"});
    let apart = serde_json::json!({"$schema": true, "inputs": true, "discovery": true, "troupe": true, "gateway": true});
    let forms = serde_json::json!([
        {"required": ["mcpServers"], "not": {"required": ["servers"]}},
        {"required": ["servers"], "not": {"required": ["mcpServers"]}},
        {"properties": apart, "additionalProperties": server},
    ]);
    schema.insert("anyOf".to_owned(), forms);
}

/// A secret that may be written as a reference to where it stands.
pub(super) struct Reference;

impl JsonSchema for Reference {
    fn schema_name() -> Cow<'static, str> {
        "Reference".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let meaning = "A text in which ${NAME} and ${env:NAME} stand for a variable of the environment, ${NAME:-default} for \
                       one that may be missing, ${file:PATH} for what is in a file, and $${ for ${ itself.";
        json_schema!({"type": "string", "pattern": REFERENCE, "description": meaning})
    }
}

/// The value of a variable of a program's environment.
pub(super) struct Variable;

impl JsonSchema for Variable {
    fn schema_name() -> Cow<'static, str> {
        "Variable".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let meaning =
            "A text as in headers, or a number or boolean, which is its text. Null leaves the variable out.";
        let types = ["string", "number", "boolean", "null"];
        json_schema!({"type": types, "pattern": REFERENCE, "description": meaning})
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

impl<T: JsonSchema> JsonSchema for Servers<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Servers".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": generator.subschema_for::<T>(),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use jsonschema::Validator;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::config::file::Written;
    use crate::config::{Diagnostic, Severity, Variables, duration};

    pub(crate) fn validator() -> Validator {
        jsonschema::validator_for(&ConfigFile::schema()).unwrap()
    }

    /// Whether the mistake is one of what keys there are and of which type: all of those are the schema's business.
    fn is_of_form(found: &Diagnostic) -> bool {
        let error = &found.error;
        // Beside the servers other keys may stand; that one is misspelt the schema cannot know.
        if found.server.is_none() && !error.key.contains('.') && error.reason.starts_with("unknown key") {
            return false;
        }
        let forms = [
            "unknown key",
            "without a unit",
            "unknown variant",
            "invalid type",
            "invalid value",
            "missing field",
            "did not match any variant",
            "is no duration",
            "is no string",
            "does not belong to a source",
        ];
        forms.iter().any(|form| error.reason.contains(form))
    }

    /// What the parser takes the schema takes; a key or a type that the parser refuses the schema refuses as well.
    pub(crate) fn agrees(schema: &Validator, text: &str) {
        let Ok(file) = serde_json::from_str::<Value>(text) else { return };
        let valid = schema.is_valid(&file);
        let found = ConfigFile::read(text, &Variables::new()).diagnostics;
        // In a server that is switched off mistakes are warnings.
        if found.iter().any(|found| found.severity == Severity::Warning && found.server.is_some()) {
            return;
        }
        let errors: Vec<_> = found.iter().filter(|found| found.severity == Severity::Error).collect();
        match errors.iter().find(|found| is_of_form(found)) {
            _ if errors.is_empty() => assert!(valid, "the schema alone refuses {text}"),
            Some(error) => assert!(!valid, "the parser alone refuses {text}: {error}"),
            None => {}
        }
    }

    #[test]
    fn the_configurations_of_the_guide_are_valid() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide")).unwrap();
        let pages = folder.map(|page| std::fs::read_to_string(page.unwrap().path()).unwrap());
        let pages = pages.collect::<Vec<_>>().join("\n");
        let blocks = pages.split("```json\n").skip(1).filter_map(|block| block.split("```").next());
        let files: Vec<Value> = blocks
            // Some show one key beside `mcpServers`.
            .map(|block| match block.trim_start().starts_with('{') {
                true => serde_json::from_str::<Value>(block).unwrap(),
                false => serde_json::from_str(&format!("{{\"mcpServers\":{{}},{block}}}")).unwrap(),
            })
            .filter(|file| file.get("mcpServers").is_some())
            .collect();
        assert!(files.len() >= 2, "they are no longer found");
        for file in files {
            assert!(validator().is_valid(&file), "{file}");
        }
    }

    #[test]
    fn the_defaults_are_valid_and_all_of_them_are_told() {
        let schema = ConfigFile::schema();
        let defaults = serde_json::to_value(crate::config::Settings::default()).unwrap();
        assert!(validator().is_valid(&json!({"mcpServers": {}, "troupe": defaults})));
        assert_eq!(schema["properties"]["troupe"]["default"], defaults);
    }

    /// What a place of a file may hold.
    struct Walk<'a> {
        schema: &'a Value,
        validator: Validator,
        places: usize,
    }

    impl Walk<'_> {
        /// Follows references, and passes by the null of what may be absent.
        fn resolved<'s>(&'s self, mut node: &'s Value) -> &'s Value {
            loop {
                let present = node["anyOf"].as_array().and_then(|ways| {
                    let mut present = ways.iter().filter(|way| way["type"] != "null");
                    present.next().filter(|_| present.next().is_none())
                });
                node = match (node["$ref"].as_str(), present) {
                    (Some(reference), _) => self.schema.pointer(&reference[1..]).unwrap(),
                    (None, Some(present)) => present,
                    (None, None) => return node,
                };
            }
        }

        /// Holds a place against the parser, and all places below it. `file` puts a value there.
        fn compare(&mut self, node: &Value, file: &dyn Fn(Value) -> Value) {
            self.places += 1;
            let node = self.resolved(node).clone();
            for value in [
                json!(null),
                json!(true),
                json!(1.5),
                json!(-1),
                json!(1),
                json!(1_u64 << 33),
                json!("?"),
                json!("1s"),
                json!([]),
                json!([0]),
                json!(["?"]),
                json!({}),
                json!({"?": 0}),
            ] {
                // serde takes a list of its values for an object.
                if value.is_array() && !node["properties"].is_null() {
                    continue;
                }
                agrees(&self.validator, &file(value).to_string());
            }
            if let Some(properties) = node["properties"].as_object() {
                let told: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
                // Beside the servers any other key may stand.
                let closed = !told.contains("mcpServers");
                assert!(
                    !closed
                        || expected(&file(json!({"?": 0})))
                            == told.iter().map(|key| (*key).to_owned()).collect()
                );
                for base in bases(properties) {
                    for (key, property) in properties {
                        let within = |value: Value| {
                            let mut object = base.clone();
                            object.insert(key.clone(), value);
                            file(object.into())
                        };
                        self.compare(property, &within);
                    }
                }
            } else if node["additionalProperties"].is_object() {
                self.compare(&node["additionalProperties"], &|value| file(json!({"a": value})));
            }
            if node["items"].is_object() {
                self.compare(&node["items"], &|value| file(json!([value])));
            }
            let variants = node["oneOf"].as_array().into_iter().flatten().map(|variant| &variant["const"]);
            let variants: BTreeSet<String> = variants
                .chain(node["enum"].as_array().into_iter().flatten())
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect();
            if !variants.is_empty() {
                // Read only to be refused with a reason.
                let known = expected(&file(json!("?"))).into_iter().filter(|name| name != "sse");
                assert_eq!(known.collect::<BTreeSet<_>>(), variants);
            }
        }
    }

    /// What the parser says that it would have known there.
    fn expected(file: &Value) -> BTreeSet<String> {
        let error = serde_json::from_value::<Written>(file.clone()).err().unwrap().to_string();
        let (_, names) = error.split_once("expected").unwrap();
        names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    /// What an object needs beside the key that is looked at: one of each kind that there is.
    fn bases(properties: &Map<String, Value>) -> Vec<Map<String, Value>> {
        let bases = if properties.contains_key("mcpServers") {
            vec![json!({"mcpServers": {}}), json!({})]
        } else if properties.contains_key("command") {
            vec![json!({"url": "ws://h"}), json!({"url": "https://h"}), json!({"command": "x"})]
        } else if properties.contains_key("srv") {
            vec![
                json!({"type": "file", "path": "p"}),
                json!({"type": "dns", "srv": "h"}),
                json!({"type": "dns", "host": "h", "port": 1}),
                json!({"type": "consul", "url": "http://h", "service": "s"}),
                json!({"type": "etcd", "endpoints": ["http://h"], "prefix": "p"}),
            ]
        } else if properties.contains_key("onChange") {
            vec![json!({"file": "pins.json"})]
        } else {
            vec![json!({})]
        };
        bases.into_iter().filter_map(|base| base.as_object().cloned()).collect()
    }

    #[test]
    fn the_schema_has_each_key_that_the_parser_knows_and_agrees_with_it_on_every_type() {
        let schema = ConfigFile::schema();
        let mut walk = Walk { schema: &schema, validator: validator(), places: 0 };
        walk.compare(&schema, &|file| file);
        assert!(walk.places > 300, "only {} places were seen", walk.places);
    }

    #[test]
    fn references_to_secrets_are_told_from_what_is_none() {
        let pattern = regex_of(REFERENCE);
        for (text, good) in [
            ("", true),
            ("plain $5 and {}", true),
            ("Bearer ${env:TOKEN}", true),
            ("${file:/run/secrets/a}${env:B}$", true),
            ("$${HOME} $$${", true),
            ("${TOKEN} ${TOKEN:-x}", true),
            ("${}", false),
            ("${env:TOKEN", false),
        ] {
            assert_eq!(pattern(text), good, "{text}");
        }
    }

    fn regex_of(pattern: &'static str) -> impl Fn(&str) -> bool {
        let schema = json!({"pattern": pattern});
        let validator = jsonschema::validator_for(&schema).unwrap();
        move |text| validator.is_valid(&json!(text))
    }

    proptest! {
        #[test]
        fn a_text_that_looks_like_a_duration_is_one(
            text in "[ 0-9.]{0,3}([0-9]{1,3} ?(ns|µs|ms|sec?|min|mns|h|hrs?|days?|wks?|M|yr|y|x|) ?){0,3}",
        ) {
            match humantime::parse_duration(text.trim()) {
                // How large a number and how exact a fraction may be is beyond a pattern.
                Ok(_) | Err(humantime::DurationError::NumberOverflow) => {}
                Err(error) => prop_assert!(!regex_of(duration::PATTERN)(&text), "{text:?}: {error}"),
            }
        }
    }

    #[test]
    fn durations_as_people_write_them_are_valid() {
        let looks_right = regex_of(duration::PATTERN);
        for unit in [
            "nanos", "nsec", "ns", "usec", "us", "µs", "millis", "msec", "ms", "seconds", "second", "secs",
            "sec", "s", "minutes", "minute", "min", "mins", "m", "hours", "hour", "hr", "hrs", "h", "days",
            "day", "d", "weeks", "week", "wk", "wks", "w", "months", "month", "M", "years", "year", "yr",
            "yrs", "y",
        ] {
            for text in
                [format!("3{unit}"), format!("3 {unit} "), format!("1h 2{unit}"), format!("1h20{unit}")]
            {
                assert!(humantime::parse_duration(&text).is_ok() && looks_right(&text), "{text}");
            }
        }
        for text in ["", "3", "s", "3 apples", "-3s", "3s4", "1.s", "0x3s"] {
            assert!(humantime::parse_duration(text).is_err() && !looks_right(text), "{text}");
        }
    }

    /// The settings as a page: each key with its default, what it does, and the values that there are.
    fn settings_page(schema: &Value) -> String {
        let mut rows = Vec::new();
        rows_of(
            schema,
            &schema["$defs"]["Settings"],
            "",
            &schema["properties"]["troupe"]["default"],
            &mut rows,
        );
        rows.sort();
        let mut page = SETTINGS_INTRODUCTION.to_owned();
        for (key, default, about) in rows {
            page.push_str(&format!("| `{key}` | {default} | {about} |\n"));
        }
        page
    }

    const SETTINGS_INTRODUCTION: &str = "# Settings\n\n\
        All keys of `troupe` in a `servers.json`, in alphabetical order; `NAME` is the name of a tool. Made of the schema (`mcp-troupe schema`), which editors show as well.\n\
        `pool`, `breaker`, `start` and `idleTimeout` may also stand in a server, and then hold for that server alone.\n\n\
        | key | default | what it does |\n| --- | --- | --- |\n";

    fn rows_of(
        schema: &Value,
        described: &Value,
        prefix: &str,
        defaults: &Value,
        rows: &mut Vec<(String, String, String)>,
    ) {
        for (key, property) in described["properties"].as_object().unwrap() {
            let options = ["anyOf", "allOf", "oneOf"].into_iter().filter_map(|of| property[of].as_array());
            let mut references = options.flatten().chain([property]).filter_map(|one| one["$ref"].as_str());
            let meant = references.next().map_or(property, |reference| {
                schema.pointer(reference.trim_start_matches('#')).expect("it is in the schema")
            });
            // What stands within something that there is none of by default has a default of its own.
            let default = Some(&defaults[key]).filter(|default| !default.is_null());
            let (key, default) = (format!("{prefix}{key}"), default.unwrap_or(&property["default"]));
            if meant["properties"].is_object() {
                rows_of(schema, meant, &format!("{key}."), default, rows);
                continue;
            }
            let about =
                property["description"].as_str().or(meant["description"].as_str()).unwrap_or_default();
            let values = meant["oneOf"].as_array().into_iter().flatten();
            let values: Vec<String> =
                values.filter_map(|one| Some(format!("`{}`", one["const"].as_str()?))).collect();
            let values =
                if values.is_empty() { String::new() } else { format!(" One of {}.", values.join(", ")) };
            let each = meant["additionalProperties"]["$ref"].as_str();
            let each = each.and_then(|reference| schema.pointer(reference.trim_start_matches('#')));
            rows.push((key.clone(), shown_default(default), plain(about) + &values));
            if let Some(each) = each.filter(|each| each["properties"].is_object()) {
                rows_of(schema, each, &format!("{key}.NAME."), &Value::Null, rows);
            }
        }
    }

    fn shown_default(default: &Value) -> String {
        match default {
            // None, or one that is found out: the text says which.
            Value::Null => "–".to_owned(),
            Value::String(text) => text.clone(),
            Value::Array(items) if items.is_empty() => "none".to_owned(),
            Value::Object(members) if members.is_empty() => "none".to_owned(),
            other => other.to_string(),
        }
    }

    /// A description in one line of a table, whose links into the code are their texts alone.
    fn plain(about: &str) -> String {
        let mut line = about.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        while let Some(link) = line.find("](crate::") {
            let begin = line[..link].rfind('[').expect("a link has a text");
            let end = link + line[link..].find(')').expect("a link has an end");
            line = format!("{}{}{}", &line[..begin], &line[begin + 1..link], &line[end + 1..]);
        }
        line
    }

    /// `UPDATE_PAGES=1 cargo test --all-features --lib the_page_of_settings` writes it anew.
    #[test]
    fn the_page_of_settings_is_that_of_the_schema() {
        let page = settings_page(&serde_json::to_value(ConfigFile::schema()).unwrap());
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/settings.md");
        if std::env::var_os("UPDATE_PAGES").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), page, "see the comment of this test");
    }
}
