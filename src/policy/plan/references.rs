//! References to results inside a step's arguments: how they are written, found and filled in.

use serde_json::{Map, Value};

use crate::call::Call;

/// The key of a reference: the step whose result is taken.
const FROM: &str = "$from";

/// Its second key: where in that result.
const POINTER: &str = "pointer";

/// The key of a value that is taken as it is written.
const LITERAL: &str = "$literal";

/// A value of an earlier result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference<'a> {
    /// The step.
    pub from: &'a str,
    /// A JSON Pointer into its result.
    pub pointer: &'a str,
}

/// Why a step's arguments could not be filled in.
#[derive(Debug, PartialEq, Eq)]
pub enum Unfilled {
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

/// What an object of the arguments is.
enum Node<'a> {
    Reference(Reference<'a>),
    Literal(&'a Value),
    Object,
}

fn node(object: &Map<String, Value>) -> Result<Node<'_>, String> {
    if let Some(from) = object.get(FROM) {
        if let Some(other) = object.keys().find(|key| *key != FROM && *key != POINTER) {
            return Err(format!(
                "{other:?} stands beside {FROM:?}: a reference has only {POINTER:?} beside it; a value that has this key itself is \
                 written {{{LITERAL:?}: …}}"
            ));
        }
        let from = from.as_str().ok_or_else(|| format!("{FROM:?} must be the name of a step, not {from}"))?;
        let pointer = match object.get(POINTER) {
            None => "",
            Some(Value::String(pointer)) => pointer,
            Some(other) => return Err(format!("{POINTER:?} must be a JSON Pointer, not {other}")),
        };
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(format!("{pointer:?} is no JSON Pointer: one that is not empty begins with '/'"));
        }
        let mut escapes = pointer.split('~').skip(1);
        if escapes.any(|rest| !rest.starts_with(['0', '1'])) {
            return Err(format!("{pointer:?} is no JSON Pointer: after '~' stands 0 or 1"));
        }
        return Ok(Node::Reference(Reference { from, pointer }));
    }
    match object.get(LITERAL) {
        Some(_) if object.len() > 1 => Err(format!("{LITERAL:?} must stand alone in its object")),
        Some(literal) => Ok(Node::Literal(literal)),
        None => Ok(Node::Object),
    }
}

/// The arguments of a call, if they may hold references; those of others go out as they were written.
///
/// # Errors
/// What is wrong with them.
pub fn template(call: &Call) -> Result<Option<Value>, String> {
    let Some(args) = call.args.as_ref().map_err(String::clone)? else { return Ok(None) };
    let text = args.as_str();
    // A key may be written with escapes.
    if !text.contains('$') && !text.contains("\\u") {
        return Ok(None);
    }
    let value: Value = args.parse().map_err(|error| format!("the arguments cannot be read: {error}"))?;
    let mut found = false;
    check(&value, &mut found)?;
    Ok(found.then_some(value))
}

/// Looks at every node, and whether there is a reference or a literal.
fn check(value: &Value, found: &mut bool) -> Result<(), String> {
    match value {
        Value::Object(object) => match node(object)? {
            Node::Reference(_) | Node::Literal(_) => *found = true,
            Node::Object => object.values().try_for_each(|value| check(value, found))?,
        },
        Value::Array(values) => values.iter().try_for_each(|value| check(value, found))?,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    Ok(())
}

/// The references in a template that was checked.
pub fn of(template: &Value) -> Vec<Reference<'_>> {
    fn gather<'a>(value: &'a Value, found: &mut Vec<Reference<'a>>) {
        match value {
            Value::Object(object) => match node(object) {
                Ok(Node::Reference(reference)) => found.push(reference),
                Ok(Node::Object) => object.values().for_each(|value| gather(value, found)),
                Ok(Node::Literal(_)) | Err(_) => {}
            },
            Value::Array(values) => values.iter().for_each(|value| gather(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = Vec::new();
    gather(template, &mut found);
    found
}

/// Writes the arguments with each reference's value in its place, in at most `bytes_max` bytes. `result` gives the result of a
/// step by its name.
///
/// # Errors
/// A value that is not there, or arguments that grow too large.
pub fn fill<'a>(
    template: &Value,
    result: &impl Fn(&str) -> Option<&'a Value>,
    bytes_max: usize,
) -> Result<String, Unfilled> {
    let mut text = String::new();
    write(template, result, bytes_max, &mut text)?;
    Ok(text)
}

fn write<'a>(
    value: &Value,
    result: &impl Fn(&str) -> Option<&'a Value>,
    bytes_max: usize,
    text: &mut String,
) -> Result<(), Unfilled> {
    match value {
        Value::Object(object) => match node(object) {
            Ok(Node::Reference(Reference { from, pointer })) => {
                let missing = || Unfilled::Missing { from: from.to_owned(), pointer: pointer.to_owned() };
                let found = result(from).and_then(|result| result.pointer(pointer)).ok_or_else(missing)?;
                text.push_str(&found.to_string());
            }
            Ok(Node::Literal(literal)) => text.push_str(&literal.to_string()),
            Ok(Node::Object) | Err(_) => {
                text.push('{');
                for (index, (key, value)) in object.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    text.push_str(&Value::from(key.as_str()).to_string());
                    text.push(':');
                    write(value, result, bytes_max, text)?;
                }
                text.push('}');
            }
        },
        Value::Array(values) => {
            text.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(value, result, bytes_max, text)?;
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            text.push_str(&value.to_string());
        }
    }
    if text.len() > bytes_max { Err(Unfilled::TooLarge) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(args: Value, result: &Value) -> Result<Value, Unfilled> {
        let template = template(&Call::tool("t").args(args)).unwrap().unwrap();
        let text = fill(&template, &|step| (step == "s").then_some(result), 1000)?;
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
