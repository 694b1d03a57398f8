//! References to results inside a step's arguments: how they are written, found and filled in.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::call::Call;
use crate::json::RawJson;

/// The key of a reference: the step whose result is taken.
const FROM: &str = "$from";

/// Its second key: where in that result.
const POINTER: &str = "pointer";

/// The key of a value that is taken as it is written.
const LITERAL: &str = "$literal";

/// How deep arguments with references may nest: as deep as whatever reads them later takes JSON to be.
const DEPTH_MAX: usize = 127;

/// A value of an earlier result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    /// The step.
    pub from: &'a str,
    /// A JSON Pointer into its result.
    pub pointer: &'a str,
}

/// Why a step's arguments could not be filled in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfilled {
    /// There is no such value.
    Missing {
        /// The step whose result it is.
        from: String,
        /// The place.
        pointer: String,
    },
    /// The arguments exceed the limit.
    TooLarge,
}

/// Arguments with references. All else is kept as it is written: a number may have more digits than any type here holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Template {
    /// A value of an earlier result stands here.
    Reference {
        /// The step.
        from: String,
        /// A JSON Pointer into its result.
        pointer: String,
    },
    /// This text.
    Raw(String),
    /// An object: keys as they are written, quotes and all.
    Object(Vec<(String, Template)>),
    /// A list.
    List(Vec<Template>),
}

/// The entries of an object, in their order, their values unread.
struct Entries<'j>(Vec<(&'j RawValue, &'j RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries<'de>, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

fn unreadable(error: &serde_json::Error) -> String {
    format!("the arguments cannot be read: {error}")
}

fn text_of(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

impl Template {
    /// Reads a value, and whether there is a reference or a literal in it.
    fn read(raw: &RawValue, depth: usize, found: &mut bool) -> Result<Self, String> {
        let text = raw.get();
        if depth > DEPTH_MAX {
            return Err(format!("the arguments nest deeper than {DEPTH_MAX}"));
        }
        match text.as_bytes().first() {
            Some(b'{') => {
                let Entries(entries) = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
                Self::of_object(&entries, depth, found)
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
                let items = items.into_iter().map(|item| Self::read(item, depth + 1, found));
                items.collect::<Result<_, _>>().map(Self::List)
            }
            _ => Ok(Self::Raw(text.to_owned())),
        }
    }

    fn of_object(entries: &[(&RawValue, &RawValue)], depth: usize, found: &mut bool) -> Result<Self, String> {
        let named = |name: &str| {
            // Of a key that stands twice the last counts.
            let mut same =
                entries.iter().rev().filter(|(key, _)| text_of(key).is_some_and(|key| key == name));
            same.next().map(|(_, value)| *value)
        };
        if let Some(from) = named(FROM) {
            let other =
                entries.iter().filter_map(|(key, _)| text_of(key)).find(|key| key != FROM && key != POINTER);
            if let Some(other) = other {
                return Err(format!(
                    "{other:?} stands beside {FROM:?}: a reference has only {POINTER:?} beside it; a value that has this key itself is \
                     written {{{LITERAL:?}: …}}"
                ));
            }
            let from = text_of(from)
                .ok_or_else(|| format!("{FROM:?} must be the name of a step, not {}", from.get()))?;
            let pointer = match named(POINTER) {
                None => String::new(),
                Some(pointer) => text_of(pointer)
                    .ok_or_else(|| format!("{POINTER:?} must be a JSON Pointer, not {}", pointer.get()))?,
            };
            if !pointer.is_empty() && !pointer.starts_with('/') {
                return Err(format!("{pointer:?} is no JSON Pointer: one that is not empty begins with '/'"));
            }
            let mut escapes = pointer.split('~').skip(1);
            if escapes.any(|rest| !rest.starts_with(['0', '1'])) {
                return Err(format!("{pointer:?} is no JSON Pointer: after '~' stands 0 or 1"));
            }
            *found = true;
            return Ok(Self::Reference { from, pointer });
        }
        match named(LITERAL) {
            Some(_) if entries.len() > 1 => Err(format!("{LITERAL:?} must stand alone in its object")),
            Some(literal) => {
                *found = true;
                Ok(Self::Raw(literal.get().to_owned()))
            }
            None => {
                let read = |(key, value): &(&RawValue, &RawValue)| {
                    Ok((key.get().to_owned(), Self::read(value, depth + 1, found)?))
                };
                entries.iter().map(read).collect::<Result<_, String>>().map(Self::Object)
            }
        }
    }
}

/// The arguments of a call, if they may hold references; those of others go out as they were written.
///
/// # Errors
/// What is wrong with them.
pub(super) fn template(call: &Call) -> Result<Option<Template>, String> {
    let Some(args) = call.args.as_ref().map_err(String::clone)? else { return Ok(None) };
    let text = args.as_str();
    // A key may be written with escapes.
    if !text.contains('$') && !text.contains("\\u") {
        return Ok(None);
    }
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
    let mut found = false;
    let template = Template::read(raw, 0, &mut found)?;
    Ok(found.then_some(template))
}

/// The references in a template.
pub(super) fn of(template: &Template) -> Vec<Reference<'_>> {
    fn gather<'a>(template: &'a Template, found: &mut Vec<Reference<'a>>) {
        match template {
            Template::Reference { from, pointer } => found.push(Reference { from, pointer }),
            Template::Object(entries) => entries.iter().for_each(|(_, template)| gather(template, found)),
            Template::List(items) => items.iter().for_each(|template| gather(template, found)),
            Template::Raw(_) => {}
        }
    }
    let mut found = Vec::new();
    gather(template, &mut found);
    found
}

/// The value at a JSON Pointer (RFC 6901), as it is written.
fn at<'j>(json: &'j str, pointer: &str) -> Option<&'j str> {
    let mut value: &RawValue = serde_json::from_str(json).ok()?;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        value = match value.get().as_bytes().first()? {
            b'{' => {
                let Entries(entries) = serde_json::from_str(value.get()).ok()?;
                entries.into_iter().rev().find(|(key, _)| text_of(key).is_some_and(|key| key == token))?.1
            }
            b'[' => {
                let is_index = token == "0" || !token.starts_with(['0', '+']);
                let index: usize = token.parse().ok().filter(|_| is_index)?;
                let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
                items.get(index).copied()?
            }
            _ => return None,
        };
    }
    Some(value.get())
}

/// Writes the arguments with each reference's value in its place, in at most `bytes_max` bytes. `result` gives the result of a
/// step by its name.
///
/// # Errors
/// A value that is not there, or arguments that grow too large.
pub(super) fn fill<'a>(
    template: &Template,
    result: &impl Fn(&str) -> Option<&'a RawJson>,
    bytes_max: usize,
) -> Result<String, Unfilled> {
    let mut text = String::new();
    write(template, result, bytes_max, &mut text)?;
    Ok(text)
}

fn write<'a>(
    template: &Template,
    result: &impl Fn(&str) -> Option<&'a RawJson>,
    bytes_max: usize,
    text: &mut String,
) -> Result<(), Unfilled> {
    match template {
        Template::Reference { from, pointer } => {
            let missing = || Unfilled::Missing { from: from.clone(), pointer: pointer.clone() };
            let found = result(from).and_then(|result| at(result.as_str(), pointer)).ok_or_else(missing)?;
            text.push_str(found);
        }
        Template::Raw(raw) => text.push_str(raw),
        Template::Object(entries) => {
            text.push('{');
            for (index, (key, template)) in entries.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(key);
                text.push(':');
                write(template, result, bytes_max, text)?;
            }
            text.push('}');
        }
        Template::List(items) => {
            text.push('[');
            for (index, template) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(template, result, bytes_max, text)?;
            }
            text.push(']');
        }
    }
    if text.len() > bytes_max { Err(Unfilled::TooLarge) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn filled(args: Value, result: &Value) -> Result<Value, Unfilled> {
        let template = template(&Call::tool("t").args(args)).unwrap().unwrap();
        let result = RawJson::from_value(result).unwrap();
        let text = fill(&template, &|step| (step == "s").then_some(&result), 1000)?;
        Ok(serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn a_reference_stands_for_a_value_of_any_kind() {
        let result = json!({"a": [{"b/c": "x\"y"}, null], "n": 18446744073709551615u64});
        let args = json!({
            "text": {"$from": "s", "pointer": "/a/0/b~1c"}, "null": {"$from": "s", "pointer": "/a/1"},
            "in": [{"deep": {"$from": "s", "pointer": "/n"}}], "all": {"$from": "s"}, "plain\n": 1});
        let wanted = json!({
            "text": "x\"y", "null": null, "in": [{"deep": 18446744073709551615u64}], "all": result, "plain\n": 1});
        assert_eq!(filled(args, &result), Ok(wanted));
    }

    #[test]
    fn numbers_arrive_as_they_were_written() {
        let account = "123456789012345678901234567890";
        let call = Call::tool("t")
            .raw_args(format!(r#"{{"account": {account}, "to": {{"$from": "s", "pointer": "/ids/1"}}}}"#));
        let template = template(&call).unwrap().unwrap();
        let result = RawJson::from_text(format!(r#"{{"ids": [1, {account}.50]}}"#)).unwrap();
        let text = fill(&template, &|_| Some(&result), 1000).unwrap();
        assert_eq!(text, format!(r#"{{"account":{account},"to":{account}.50}}"#));
    }

    #[test]
    fn arguments_that_nest_without_end_are_refused() {
        let deep = |levels: usize| {
            format!(r#"{{"x": {}{{"$from": "s"}}{}}}"#, "[".repeat(levels), "]".repeat(levels))
        };
        assert!(template(&Call::tool("t").raw_args(deep(DEPTH_MAX - 1))).unwrap().is_some());
        assert!(template(&Call::tool("t").raw_args(deep(1 << 20))).unwrap_err().contains("deeper"));
    }

    #[test]
    fn a_pointer_leads_where_rfc_6901_says() {
        let json = r#"{"": 0, "a/b": 1, "m~n": 2, "l": [{"x": 3}, 4], "k": 5, "k": 6}"#;
        for (pointer, value) in [
            ("/", "0"),
            ("/a~1b", "1"),
            ("/m~0n", "2"),
            ("/l/0/x", "3"),
            ("/l/1", "4"),
            ("/k", "6"),
            ("", json),
        ] {
            assert_eq!(at(json, pointer), Some(value), "{pointer}");
        }
        for pointer in ["/l/01", "/l/+1", "/l/-", "/l/2", "/k/x", "/none", "/l/0/x/y"] {
            assert_eq!(at(json, pointer), None, "{pointer}");
        }
    }

    #[test]
    fn a_literal_is_never_read() {
        let args = json!({"x": {"$literal": {"$from": "s"}}, "y": {"$literal": {"$literal": 1}}});
        assert_eq!(filled(args, &json!(1)), Ok(json!({"x": {"$from": "s"}, "y": {"$literal": 1}})));
    }

    #[test]
    fn what_a_server_sent_is_never_read_as_a_reference() {
        let evil = json!({"v": {"$from": "secret", "pointer": "/key"}});
        let args = json!({"x": {"$from": "s", "pointer": "/v"}});
        assert_eq!(filled(args, &evil), Ok(json!({"x": {"$from": "secret", "pointer": "/key"}})));
    }

    #[test]
    fn a_value_that_is_not_there_is_named() {
        let missing = |from: &str, pointer: &str| {
            Err(Unfilled::Missing { from: from.to_owned(), pointer: pointer.to_owned() })
        };
        let result = json!({"a": [1]});
        assert_eq!(filled(json!({"x": {"$from": "s", "pointer": "/a/1"}}), &result), missing("s", "/a/1"));
        assert_eq!(filled(json!({"x": {"$from": "s", "pointer": "/a/-"}}), &result), missing("s", "/a/-"));
        assert_eq!(filled(json!({"x": {"$from": "other"}}), &result), missing("other", ""));
    }

    #[test]
    fn arguments_that_grow_too_large_are_refused() {
        let one = json!({"$from": "s"});
        let result = json!("x".repeat(400));
        assert!(filled(json!({"x": [one, one]}), &result).is_ok());
        assert_eq!(filled(json!({"x": [one, one, one]}), &result), Err(Unfilled::TooLarge));
    }

    #[test]
    fn arguments_without_references_go_out_as_they_were_written() {
        let plain = Call::tool("t").raw_args(r#"{"n": 1e400, "$": "\u00e9"}"#.replace("1e400", "1.50"));
        assert_eq!(template(&plain), Ok(None));
        assert_eq!(template(&Call::tool("t").raw_args(r#"{"n": 1e400}"#)), Ok(None));
        assert_eq!(template(&Call::tool("t")), Ok(None));
        let escaped = Call::tool("t").raw_args(r#"{"x": {"\u0024from": "s"}}"#);
        assert!(template(&escaped).unwrap().is_some());
    }
}
