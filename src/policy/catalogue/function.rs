//! What a tool's definition says, and the forms in which model APIs take it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Tool;
use crate::policy::described::Described;
use crate::policy::filter::Hint;

/// The schema of a tool that gives none: any object.
const ANY_OBJECT: &str = r#"{"type":"object"}"#;

/// A tool as a function that a model may call.
///
/// Its `Serialize` gives `{"name", "description", "parameters"}`, which is what most APIs take, in one wrapping or another; the
/// methods are those wrappings. What a server says of its tools is untrusted text that a model will read: see [`Pins`](crate::Pins).
///
/// ```
/// # fn offer(troupe: mcp_troupe::Troupe) -> Result<(), serde_json::Error> {
/// let catalogue = troupe.catalogue();
/// let tools: Vec<_> = catalogue.tools().map(|tool| tool.function()).collect();
/// let request = serde_json::json!({
///     "model": "some-model",
///     "tools": tools.iter().map(|tool| tool.chat_completions()).collect::<Vec<_>>(),
/// });
/// # drop(request);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ToolFunction<'a> {
    /// Its name: [`Tool::exposed`]. A call by this name goes to this tool.
    pub name: &'a str,
    /// What it does, in its server's words; its title where there is no description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Cow<'a, str>>,
    /// The JSON schema of its arguments, as its server gave it. That of any object where there is none.
    pub parameters: &'a RawValue,
}

impl ToolFunction<'_> {
    /// In the form of OpenAI's Chat Completions, which most other servers of models take as well.
    pub fn chat_completions(&self) -> impl Serialize {
        #[derive(Serialize)]
        struct Within<'a> {
            r#type: &'static str,
            function: &'a ToolFunction<'a>,
        }
        Within { r#type: "function", function: self }
    }

    /// In the form of OpenAI's Responses.
    pub fn responses(&self) -> impl Serialize {
        #[derive(Serialize)]
        struct Flat<'a> {
            r#type: &'static str,
            name: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            description: Option<&'a str>,
            parameters: &'a RawValue,
        }
        let Self { name, description, parameters } = self;
        Flat { r#type: "function", name, description: description.as_deref(), parameters }
    }

    /// In the form of Anthropic's Messages.
    pub fn messages(&self) -> impl Serialize {
        #[derive(Serialize)]
        struct Form<'a> {
            name: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            description: Option<&'a str>,
            input_schema: &'a RawValue,
        }
        let Self { name, description, parameters } = self;
        Form { name, description: description.as_deref(), input_schema: parameters }
    }

    /// In the form of Gemini's function declarations.
    pub fn function_declaration(&self) -> impl Serialize {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Form<'a> {
            name: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            description: Option<&'a str>,
            parameters_json_schema: &'a RawValue,
        }
        let Self { name, description, parameters } = self;
        Form { name, description: description.as_deref(), parameters_json_schema: parameters }
    }
}

/// The schemas of a definition, each of any shape.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Schemas<'a> {
    #[serde(borrow)]
    input_schema: Option<&'a RawValue>,
    #[serde(borrow)]
    output_schema: Option<&'a RawValue>,
}

impl Tool {
    /// Its title for people, in its server's words.
    pub fn title(&self) -> Option<Cow<'_, str>> {
        Described::read(&self.definition).title
    }

    /// What it does, for models, in its server's words.
    pub fn description(&self) -> Option<Cow<'_, str>> {
        Described::read(&self.definition).description
    }

    /// The JSON schema of its arguments, as its server gave it.
    pub fn input_schema(&self) -> Option<&RawValue> {
        self.schemas().input_schema
    }

    /// The JSON schema of its structured results, as its server gave it.
    pub fn output_schema(&self) -> Option<&RawValue> {
        self.schemas().output_schema
    }

    /// Whether its server says this of its effects, or the protocol takes it for said.
    pub fn says(&self, hint: Hint) -> bool {
        hint.said_by(Described::read(&self.definition).annotations)
    }

    /// The tool as a function that a model may call.
    pub fn function(&self) -> ToolFunction<'_> {
        let Described { title, description, .. } = Described::read(&self.definition);
        ToolFunction {
            name: &self.exposed,
            description: description.or(title),
            parameters: self.input_schema().unwrap_or_else(any_object),
        }
    }

    fn schemas(&self) -> Schemas<'_> {
        let read = self.definition.parse_borrowed::<Schemas<'_>>();
        let Schemas { input_schema, output_schema } =
            read.unwrap_or(Schemas { input_schema: None, output_schema: None });
        // APIs refuse a whole request for one schema that is no object.
        let object = |schema: &&RawValue| schema.get().starts_with('{');
        Schemas { input_schema: input_schema.filter(object), output_schema: output_schema.filter(object) }
    }
}

/// The schema of any object.
fn any_object<'a>() -> &'a RawValue {
    serde_json::from_str(ANY_OBJECT).expect("valid JSON")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Collisions;
    use crate::id::{GroupId, ServerId};
    use crate::json::RawJson;
    use crate::policy::catalogue::{Catalogue, Definition, Offer, ServerOffer};

    fn catalogue(definition: Value) -> Catalogue {
        let definition = RawJson::from_value(&definition).unwrap();
        let offer = ServerOffer {
            server: ServerId::new("files").unwrap(),
            group: GroupId::new("files").unwrap(),
            order: 0,
            trusted: false,
            confirmed: true,
            offer: Offer {
                tools: [Definition { name: "read".to_owned(), definition }].into(),
                ..Offer::default()
            },
        };
        Catalogue::merge(1, [offer], Collisions::Error)
    }

    fn written(form: impl Serialize) -> Value {
        serde_json::to_value(form).unwrap()
    }

    #[test]
    fn a_tool_is_a_function_in_the_form_of_each_api() {
        let schema = json!({"type": "object", "properties": {"path": {"type": "string"}}});
        let catalogue =
            catalogue(json!({"name": "read", "description": "Reads a file.", "inputSchema": schema}));
        let tool = catalogue.tools().next().unwrap();
        let function = tool.function();
        let plain = json!({"name": "files__read", "description": "Reads a file.", "parameters": schema});
        assert_eq!(written(&function), plain);
        assert_eq!(written(function.chat_completions()), json!({"type": "function", "function": plain}));
        assert_eq!(
            written(function.responses()),
            json!({"type": "function", "name": "files__read", "description": "Reads a file.", "parameters": schema})
        );
        assert_eq!(
            written(function.messages()),
            json!({"name": "files__read", "description": "Reads a file.", "input_schema": schema})
        );
        assert_eq!(
            written(function.function_declaration()),
            json!({"name": "files__read", "description": "Reads a file.", "parametersJsonSchema": schema})
        );
    }

    #[test]
    fn what_a_definition_lacks_or_has_in_another_shape_is_left_out_and_its_schema_is_any_object() {
        let bare = json!({"name": "files__read", "parameters": {"type": "object"}});
        for definition in [
            json!({"name": "read"}),
            json!({"name": "read", "description": 7, "title": [], "inputSchema": true, "annotations": "none"}),
            json!({"name": "read", "inputSchema": null}),
        ] {
            let catalogue = catalogue(definition);
            let tool = catalogue.tools().next().unwrap();
            assert_eq!(written(tool.function()), bare);
            assert_eq!((tool.title(), tool.description()), (None, None));
            assert!(tool.input_schema().is_none() && tool.output_schema().is_none());
            assert!(tool.says(Hint::Destructive) && !tool.says(Hint::ReadOnly), "as the protocol has it");
        }
    }

    #[test]
    fn a_title_stands_for_a_description_and_both_are_to_be_had() {
        let catalogue = catalogue(json!({
            "name": "read",
            "title": "Read",
            "outputSchema": {"type": "object"},
            "annotations": {"readOnlyHint": true},
        }));
        let tool = catalogue.tools().next().unwrap();
        assert_eq!(tool.title().as_deref(), Some("Read"));
        assert_eq!(tool.function().description.as_deref(), Some("Read"));
        assert_eq!(tool.output_schema().unwrap().get(), r#"{"type":"object"}"#);
        assert!(tool.says(Hint::ReadOnly));
    }
}
