//! Arguments that a tool wants mirrored into headers, so that what stands before its server can route by them.
//!
//! A tool says so in its input schema: `"region": {"type": "string", "x-mcp-header": "Region"}`. Names must be plain and
//! differ, the arguments text, whole numbers or truth values, and on a way of `properties` alone; a tool that breaks this
//! cannot be called over HTTP.

use std::sync::Arc;

use crate::json::RawJson;
use crate::json::members::{each_element, each_member, given, members, string};

/// The key of the annotation.
const ANNOTATION: &str = "x-mcp-header";

/// Headers of one tool: each costs every call a look into its arguments, and servers take some tens of headers in all.
const HEADERS_MAX: usize = 32;

/// The longest header name, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// How deep a schema is looked into: what nests deeper describes no header.
const DEPTH_MAX: usize = 64;

/// Keys of a schema that map names to schemas: a name in them is no keyword.
const MAPS: [&str; 5] = ["properties", "patternProperties", "dependentSchemas", "$defs", "definitions"];

/// Keys of a schema that hold data, in which no keyword means anything.
const DATA: [&str; 5] = ["const", "default", "enum", "example", "examples"];

/// One argument and its header.
#[derive(Debug, PartialEq, Eq)]
struct Mirror {
    /// The header's name, behind the prefix of all of them.
    header: Arc<str>,
    /// The way to the argument.
    path: Vec<String>,
}

/// What of a tool's arguments is mirrored. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirrors(Arc<[Mirror]>);

impl Mirrors {
    /// Reads the annotations of a tool's definition; `None` if it has none.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub(crate) fn of(definition: &str) -> Result<Option<Self>, String> {
        // Nearly no tool has any.
        if !definition.contains(ANNOTATION) {
            return Ok(None);
        }
        let Ok([Some(schema)]) = members(definition, ["inputSchema"]) else { return Ok(None) };
        let mut found = Vec::new();
        read(schema, &mut Vec::new(), Place::Reachable, 0, &mut found)?;
        Ok((!found.is_empty()).then(|| Self(found.into())))
    }

    /// The headers of a call with these arguments, each with its value. What is missing or null has none.
    pub(crate) fn headers(&self, args: Option<&RawJson>) -> Vec<(Arc<str>, String)> {
        let Some(args) = args else { return Vec::new() };
        let value = |mirror: &Mirror| Some((mirror.header.clone(), argument(args.as_str(), &mirror.path)?));
        self.0.iter().filter_map(value).collect()
    }
}

/// Where in a schema one is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Every argument that it describes stands at one place that is known.
    Reachable,
    /// It may describe several values, or none.
    Elsewhere,
}

/// Looks for annotations in a schema that describes what is at `path`.
fn read(
    schema: &str,
    path: &mut Vec<String>,
    place: Place,
    depth: usize,
    found: &mut Vec<Mirror>,
) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("its input schema nests deeper than {DEPTH_MAX} levels around an {ANNOTATION}"));
    }
    if !schema.contains(ANNOTATION) {
        return Ok(());
    }
    if schema.starts_with('[') {
        let mut read_all = Ok(());
        let _ = each_element(schema, |one| {
            if read_all.is_ok() {
                read_all = read(one, path, Place::Elsewhere, depth + 1, found);
            }
        });
        return read_all;
    }
    let mut read_all = Ok(());
    // What is no object is no schema.
    let _ = each_member(schema, |key, value| {
        if read_all.is_err() {
            return;
        }
        read_all = match key {
            ANNOTATION => annotation(schema, value, path, place).and_then(|mirror| add(mirror, found)),
            _ if DATA.contains(&key) => Ok(()),
            _ if MAPS.contains(&key) => {
                let within = if key == "properties" { place } else { Place::Elsewhere };
                let mut all = Ok(());
                let _ = each_member(value, |name, schema| {
                    if all.is_ok() {
                        path.push(name.to_owned());
                        all = read(schema, path, within, depth + 1, found);
                        path.pop();
                    }
                });
                all
            }
            _ => read(value, path, Place::Elsewhere, depth + 1, found),
        };
    });
    read_all
}

fn annotation(schema: &str, value: &str, path: &[String], place: Place) -> Result<Mirror, String> {
    let name = string(value).ok_or_else(|| format!("its {ANNOTATION} is no text"))?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(token) {
        let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
        return Err(format!("its {ANNOTATION} {shown:?} is no name of a header"));
    }
    if place == Place::Elsewhere || path.is_empty() {
        return Err(format!("its {ANNOTATION} {name:?} is not on a way of properties alone"));
    }
    let kind = members(schema, ["type"]).ok().and_then(|[kind]| kind);
    if !kind.is_some_and(|kind| matches!(kind, r#""string""# | r#""integer""# | r#""boolean""#)) {
        return Err(format!(
            "its {ANNOTATION} {name:?} is on an argument that is no string, integer or boolean"
        ));
    }
    Ok(Mirror { header: name.into(), path: path.to_vec() })
}

fn add(mirror: Mirror, found: &mut Vec<Mirror>) -> Result<(), String> {
    if found.iter().any(|known| known.header.eq_ignore_ascii_case(&mirror.header)) {
        return Err(format!("its {ANNOTATION} {:?} stands twice", mirror.header));
    }
    if found.len() >= HEADERS_MAX {
        return Err(format!("it has more than {HEADERS_MAX} arguments with an {ANNOTATION}"));
    }
    found.push(mirror);
    Ok(())
}

/// The argument at `path`, as a header says it.
fn argument(args: &str, path: &[String]) -> Option<String> {
    let (last, way) = path.split_last()?;
    let mut within = args;
    for name in way {
        let [next] = members(within, [name.as_str()]).ok()?;
        within = next?;
    }
    let [value] = members(within, [last.as_str()]).ok()?;
    let value = given(value)?;
    match value.as_bytes().first()? {
        b'"' => string(value),
        b't' | b'f' => Some(value.to_owned()),
        b'-' | b'0'..=b'9' => Some(whole(value)),
        // The server will refuse it by the schema.
        _ => None,
    }
}

/// A number as it is written, without a fraction that says nothing.
fn whole(number: &str) -> String {
    match number.split_once('.') {
        Some((whole, rest)) if rest.bytes().all(|byte| byte == b'0') => whole.to_owned(),
        Some(_) | None => number.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(schema: &Value) -> Result<Option<Mirrors>, String> {
        Mirrors::of(&json!({"name": "t", "inputSchema": schema}).to_string())
    }

    fn headers(schema: &Value, args: &Value) -> Vec<(String, String)> {
        let mirrors = of(schema).unwrap().unwrap();
        let args = RawJson::from_value(args).unwrap();
        mirrors.headers(Some(&args)).into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }

    fn wrong(schema: &Value) -> String {
        of(schema).expect_err("it breaks a rule")
    }

    #[test]
    fn annotated_arguments_are_mirrored_wherever_properties_lead() {
        let schema = json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "confirm": {"type": "boolean", "x-mcp-header": "Confirm"},
            "options": {"type": "object", "properties": {"limit": {"type": "integer", "x-mcp-header": "Limit"}}},
            "plain": {"type": "string"},
        }});
        let args = json!({"region": "us\u{e9}", "confirm": false, "options": {"limit": 42}, "plain": "x"});
        let mut told = headers(&schema, &args);
        told.sort();
        let expected = [("Confirm", "false"), ("Limit", "42"), ("Region", "us\u{e9}")];
        assert_eq!(told, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_is_missing_null_or_of_another_kind_has_no_header() {
        let schema = json!({"properties": {"a": {"type": "string", "x-mcp-header": "A"},
            "o": {"properties": {"b": {"type": "string", "x-mcp-header": "B"}}}}});
        for args in [json!({}), json!({"a": null}), json!({"a": {}, "o": 7}), json!({"o": {"b": []}})] {
            assert_eq!(headers(&schema, &args), [], "{args}");
        }
        assert_eq!(of(&schema).unwrap().unwrap().headers(None), []);
    }

    #[test]
    fn a_whole_number_is_written_without_a_fraction() {
        let schema = json!({"properties": {"n": {"type": "integer", "x-mcp-header": "N"}}});
        for (written, told) in [("42.0", "42"), ("-7", "-7"), ("9007199254740993", "9007199254740993")] {
            let args = RawJson::from_text(format!(r#"{{"n":{written}}}"#)).unwrap();
            assert_eq!(of(&schema).unwrap().unwrap().headers(Some(&args))[0].1, told);
        }
    }

    #[test]
    fn a_tool_that_breaks_a_rule_is_told_which() {
        let on = |name: Value, kind: &str| json!({"properties": {"a": {"type": kind, "x-mcp-header": name}}});
        for name in ["", "a b", "a:b", "gr\u{fc}n", "a\r\nb", &"x".repeat(65)] {
            assert!(wrong(&on(json!(name), "string")).contains("no name of a header"), "{name:?}");
        }
        assert!(wrong(&on(json!(7), "string")).contains("no text"));
        for kind in ["number", "object", "array", "null", ""] {
            assert!(wrong(&on(json!("A"), kind)).contains("no string, integer or boolean"), "{kind}");
        }
        let twice = json!({"properties": {"a": {"type": "string", "x-mcp-header": "A"},
            "b": {"type": "string", "x-mcp-header": "a"}}});
        assert!(wrong(&twice).contains("stands twice"));
        let annotated = json!({"type": "string", "x-mcp-header": "A"});
        for schema in [
            json!({"x-mcp-header": "A", "type": "string"}),
            json!({"properties": {"l": {"type": "array", "items": annotated}}}),
            json!({"oneOf": [{"properties": {"a": annotated}}]}),
            json!({"$defs": {"a": annotated}}),
            json!({"properties": {"o": {"additionalProperties": annotated}}}),
            json!({"patternProperties": {"^a": annotated}}),
        ] {
            assert!(wrong(&schema).contains("properties alone"), "{schema}");
        }
        let many: serde_json::Map<String, Value> = (0..33)
            .map(|n| (format!("a{n}"), json!({"type": "string", "x-mcp-header": format!("A{n}")})))
            .collect();
        assert!(wrong(&json!({"properties": many})).contains("more than 32"));
        let deep = (0..100).fold(annotated, |inner, _| json!({"properties": {"o": inner}}));
        assert!(wrong(&deep).contains("nests deeper"));
    }

    #[test]
    fn a_name_or_a_datum_that_looks_like_the_annotation_is_none() {
        for schema in [
            json!({"properties": {"x-mcp-header": {"type": "string"}}}),
            json!({"properties": {"a": {"type": "object", "default": {"x-mcp-header": 7}}}}),
            json!({"description": "x-mcp-header"}),
            json!(true),
            json!("x-mcp-header"),
        ] {
            assert_eq!(of(&schema), Ok(None), "{schema}");
        }
        assert_eq!(Mirrors::of(r#"{"description":"x-mcp-header"}"#), Ok(None));
    }
}
