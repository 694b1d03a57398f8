//! What servers offer to hosts.

use std::fmt;

use serde::Serialize;

/// The longest name of a tool or prompt, as in MCP.
pub(crate) const NAME_BYTES_MAX: usize = 128;

/// The longest URI or template: as long as HTTP servers commonly take.
pub(crate) const URI_BYTES_MAX: usize = 8 << 10;

/// The kinds of things that servers offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EntryKind {
    /// Something to call.
    Tool,
    /// Something to read, by its URI.
    Resource,
    /// Many things to read, whose URIs follow a template.
    ResourceTemplate,
    /// A prompt to fill in.
    Prompt,
}

impl EntryKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Tool, Self::Resource, Self::ResourceTemplate, Self::Prompt];

    /// Whether it goes by a name; what does not goes by its URI.
    pub(crate) fn is_named(self) -> bool {
        match self {
            Self::Tool | Self::Prompt => true,
            Self::Resource | Self::ResourceTemplate => false,
        }
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Kinds([bool; EntryKind::ALL.len()]);

impl Kinds {
    /// All of them.
    pub(crate) fn all() -> Self {
        Self([true; EntryKind::ALL.len()])
    }

    /// Adds one. Templates have no notification of their own: they may have changed whenever resources did.
    pub(crate) fn insert(&mut self, kind: EntryKind) {
        self.0[kind as usize] = true;
        if kind == EntryKind::Resource {
            self.0[EntryKind::ResourceTemplate as usize] = true;
        }
    }

    /// With this one, and nothing that goes with it.
    pub(crate) fn with(mut self, kind: EntryKind) -> Self {
        self.0[kind as usize] = true;
        self
    }

    /// Takes one out.
    pub(crate) fn remove(&mut self, kind: EntryKind) {
        self.0[kind as usize] = false;
    }

    /// Those of it for which this holds, and no others.
    pub(crate) fn only(mut self, holds: impl Fn(EntryKind) -> bool) -> Self {
        EntryKind::ALL.into_iter().filter(|kind| !holds(*kind)).for_each(|kind| self.remove(kind));
        self
    }

    /// Whether it has one.
    pub(crate) fn has(self, kind: EntryKind) -> bool {
        self.0[kind as usize]
    }

    /// Whether it has none.
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Those that it has, tools first.
    pub(crate) fn iter(self) -> impl Iterator<Item = EntryKind> {
        EntryKind::ALL.into_iter().filter(move |kind| self.0[*kind as usize])
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tool => "tool",
            Self::Resource => "resource",
            Self::ResourceTemplate => "resource template",
            Self::Prompt => "prompt",
        })
    }
}
