//! What a tool's definition says of it, as far as search and filters read it. It is a server's word: untrusted, of any shape and
//! any length.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::RawJson;

/// Parameters of a tool that are read. A tool with more is described by its first ones well enough.
const PARAMETERS_MAX: usize = 32;

/// A name, and its description if there is one.
pub(super) type NamedText<'a> = (Cow<'a, str>, Option<Cow<'a, str>>);

/// What a definition says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Described<'a> {
    /// The title, for people.
    pub title: Option<Cow<'a, str>>,
    /// The description, for models.
    pub description: Option<Cow<'a, str>>,
    /// The parameters' names with their descriptions.
    pub parameters: Vec<NamedText<'a>>,
    /// What it says of its effects.
    pub annotations: Annotations,
}

/// What a tool says of its effects; MCP's tool annotations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Annotations {
    read_only_hint: Option<bool>,
    destructive_hint: Option<bool>,
    idempotent_hint: Option<bool>,
    open_world_hint: Option<bool>,
}

impl Annotations {
    /// It changes nothing. Unsaid, it may.
    pub(super) fn read_only(self) -> bool {
        self.read_only_hint.unwrap_or(false)
    }

    /// It may destroy something. Unsaid, it may, unless it changes nothing.
    pub(super) fn destructive(self) -> bool {
        !self.read_only() && self.destructive_hint.unwrap_or(true)
    }

    /// Repeating it changes nothing more. Unsaid, it may, unless it changes nothing at all.
    pub(super) fn idempotent(self) -> bool {
        self.read_only() || self.idempotent_hint.unwrap_or(false)
    }

    /// It reaches beyond its server, as into the web. Unsaid, it may.
    pub(super) fn open_world(self) -> bool {
        self.open_world_hint.unwrap_or(true)
    }
}

/// The members of a definition that are read, each of any shape.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    #[serde(borrow)]
    title: Option<&'a RawValue>,
    #[serde(borrow)]
    description: Option<&'a RawValue>,
    #[serde(borrow)]
    input_schema: Option<&'a RawValue>,
    #[serde(borrow)]
    annotations: Option<&'a RawValue>,
    /// Of the tool-execute dialect.
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
}

impl<'a> Described<'a> {
    /// Reads a definition. What has another shape is passed over.
    pub(super) fn read(definition: &'a RawJson) -> Self {
        let Ok(members) = definition.parse_borrowed::<Members<'_>>() else { return Self::default() };
        let parameters = members.input_schema.and_then(of_schema);
        Self {
            title: members.title.and_then(text),
            description: members.description.and_then(text),
            parameters: parameters.or_else(|| members.parameters.and_then(of_list)).unwrap_or_default(),
            annotations: members.annotations.and_then(read).unwrap_or_default(),
        }
    }
}

fn read<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

/// A text that borrows where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    read(value).map(|Text(text)| text)
}

/// A parameter, as a schema or the tool-execute dialect describes it.
#[derive(Deserialize)]
struct Parameter<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    description: Option<&'a RawValue>,
}

fn of_schema(schema: &RawValue) -> Option<Vec<NamedText<'_>>> {
    #[derive(Deserialize)]
    struct Schema<'a> {
        #[serde(borrow)]
        properties: Option<&'a RawValue>,
    }
    let Schema { properties } = read(schema)?;
    let First(properties) = read(properties?)?;
    let described = |property| read::<Parameter<'_>>(property)?.description.and_then(text);
    Some(properties.into_iter().map(|(name, property)| (name, described(property))).collect())
}

fn of_list(list: &RawValue) -> Option<Vec<NamedText<'_>>> {
    let parameters: Vec<&RawValue> = read(list)?;
    let parameters = parameters.into_iter().take(PARAMETERS_MAX).filter_map(read::<Parameter<'_>>);
    Some(parameters.filter_map(|p| Some((p.name.and_then(text)?, p.description.and_then(text)))).collect())
}

/// The first members of an object; the others are read over.
struct First<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for First<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = First<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut first = Vec::new();
                while first.len() < PARAMETERS_MAX {
                    let Some((Text(name), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? else {
                        return Ok(First(first));
                    };
                    first.push((name, value));
                }
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;

    fn definition(value: &Value) -> RawJson {
        RawJson::from_value(value).unwrap()
    }

    #[test]
    fn title_description_and_parameters_are_read_in_both_dialects() {
        let mcp = definition(
            &json!({"name": "t", "title": "T", "description": "says \"x\"", "inputSchema": {
            "properties": {"path": {"type": "string", "description": "which"}, "limit": {"type": "number"}}}}),
        );
        let described = Described::read(&mcp);
        assert_eq!(
            (described.title.as_deref(), described.description.as_deref()),
            (Some("T"), Some("says \"x\""))
        );
        assert_eq!(described.parameters, [("limit".into(), None), ("path".into(), Some("which".into()))]);
        let other =
            definition(&json!({"name": "t", "parameters": [{"name": "path", "description": "which"}, 7]}));
        assert_eq!(Described::read(&other).parameters, [("path".into(), Some("which".into()))]);
    }

    #[test]
    fn what_has_another_shape_is_passed_over() {
        for odd in [
            json!("file.read"),
            json!({"title": 7, "description": ["x"], "inputSchema": true, "annotations": [], "parameters": "x"}),
            json!({"inputSchema": {"properties": [1]}, "annotations": {"readOnlyHint": "yes"}}),
        ] {
            assert_eq!(Described::read(&definition(&odd)), Described::default(), "{odd}");
        }
    }

    #[test]
    fn only_the_first_parameters_are_kept() {
        let many: Map<String, Value> = (0..10_000).map(|n| (format!("p{n:05}"), json!({}))).collect();
        let wide = definition(&json!({"inputSchema": {"properties": many}, "description": "x"}));
        let described = Described::read(&wide);
        assert_eq!(described.parameters.len(), PARAMETERS_MAX);
        assert_eq!(described.description.as_deref(), Some("x"));
    }

    #[test]
    fn unsaid_annotations_are_those_of_the_specification() {
        let effects = |annotations: Value| {
            let definition = definition(&json!({"annotations": annotations}));
            let said = Described::read(&definition).annotations;
            (said.read_only(), said.destructive(), said.idempotent(), said.open_world())
        };
        assert_eq!(effects(json!({})), (false, true, false, true));
        assert_eq!(effects(json!({"readOnlyHint": true})), (true, false, true, true));
        assert_eq!(
            effects(json!({"destructiveHint": false, "openWorldHint": false})),
            (false, false, false, false)
        );
        assert_eq!(effects(json!({"idempotentHint": true})), (false, true, true, true));
    }
}
