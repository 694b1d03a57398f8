//! What a server says of itself in the handshake.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::offer::EntryKind;

/// What a server declared. It need not be true: what is missing answers with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Declared {
    /// It has resources, and their templates.
    pub resources: bool,
    /// It has prompts.
    pub prompts: bool,
    /// It takes subscriptions to resources.
    pub subscribe: bool,
    /// It tells when its tools change.
    pub tools_changed: bool,
    /// It tells when its resources or their templates change.
    pub resources_changed: bool,
    /// It tells when its prompts change.
    pub prompts_changed: bool,
}

impl Declared {
    /// Whether this is to be listed. Tools always: servers that forget to declare them are not rare.
    pub(crate) fn offers(&self, kind: EntryKind) -> bool {
        match kind {
            EntryKind::Tool => true,
            EntryKind::Resource | EntryKind::ResourceTemplate => self.resources,
            EntryKind::Prompt => self.prompts,
        }
    }

    /// Whether it tells when this changes.
    pub(crate) fn tells(&self, kind: EntryKind) -> bool {
        match kind {
            EntryKind::Tool => self.tools_changed,
            EntryKind::Resource | EntryKind::ResourceTemplate => self.resources_changed,
            EntryKind::Prompt => self.prompts_changed,
        }
    }
}

/// The capabilities as servers write them. An odd one declares nothing, and hides no other.
#[derive(Deserialize, Default)]
pub(super) struct WrittenCapabilities<'a> {
    #[serde(borrow, default)]
    tools: Option<&'a RawValue>,
    #[serde(borrow, default)]
    resources: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompts: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(default)]
    list_changed: bool,
    #[serde(default)]
    subscribe: bool,
}

impl WrittenCapabilities<'_> {
    pub(super) fn declared(self) -> Declared {
        let written = |raw: Option<&RawValue>| {
            raw.filter(|raw| raw.get().starts_with('{'))
                .map(|raw| serde_json::from_str::<Written>(raw.get()).unwrap_or_default())
        };
        let (tools, resources, prompts) =
            (written(self.tools), written(self.resources), written(self.prompts));
        Declared {
            resources: resources.is_some(),
            prompts: prompts.is_some(),
            subscribe: resources.as_ref().is_some_and(|resources| resources.subscribe),
            tools_changed: tools.is_some_and(|tools| tools.list_changed),
            resources_changed: resources.is_some_and(|resources| resources.list_changed),
            prompts_changed: prompts.is_some_and(|prompts| prompts.list_changed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(text: &str) -> Declared {
        serde_json::from_str::<WrittenCapabilities<'_>>(text).unwrap().declared()
    }

    #[test]
    fn what_is_declared_is_read_and_what_is_odd_declares_nothing() {
        let all =
            declared(r#"{"tools":{"listChanged":true},"resources":{"subscribe":true},"prompts":{},"x":1}"#);
        let expected = Declared {
            resources: true,
            prompts: true,
            subscribe: true,
            tools_changed: true,
            ..Declared::default()
        };
        assert_eq!(all, expected);
        assert_eq!(declared(r#"{"resources":null,"prompts":true}"#), Declared::default());
        assert!(declared(r#"{"resources":{"listChanged":"yes"}}"#).resources);
    }
}
