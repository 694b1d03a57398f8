//! What makes two requests the same request.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::call::Selector;
use crate::id::{GroupId, ServerId};
use crate::json::RawJson;

/// What is kept of an entry beside its texts, in bytes; about right is enough for a bound.
const ENTRY_BYTES: usize = 256;

/// Which requests a kept result can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CachedKind {
    /// Calls of tools.
    Tool,
    /// Readings of resources.
    Resource,
    /// Prompts.
    Prompt,
}

impl fmt::Display for CachedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tool => "tools",
            Self::Resource => "resources",
            Self::Prompt => "prompts",
        })
    }
}

/// What is asked, of whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub kind: CachedKind,
    /// Servers of one group answer alike.
    pub group: GroupId,
    /// The tool or the prompt by its name there, the resource by its URI.
    pub name: Arc<str>,
    pub selector: Selector,
    /// Canonical JSON; empty where there are none.
    pub arguments: String,
}

/// Who shares the answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Whose {
    /// Everyone.
    Everyone,
    /// Calls with this affinity key.
    Affinity(String),
    /// Calls with this identity, or those that name none, which are the host's own.
    Identity(Option<String>),
}

/// Where an answer is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub question: Arc<Question>,
    pub whose: Whose,
}

impl Place {
    /// The place of the same answer where everyone shares it.
    pub(crate) fn of_everyone(&self) -> Self {
        Self { question: self.question.clone(), whose: Whose::Everyone }
    }

    /// How many bytes it takes to keep `result` here.
    pub(crate) fn bytes_with(&self, result: &RawJson) -> usize {
        let Question { kind: _, group: _, name, selector, arguments } = &*self.question;
        let whose = match &self.whose {
            Whose::Everyone | Whose::Identity(None) => 0,
            Whose::Affinity(key) | Whose::Identity(Some(key)) => key.len(),
        };
        let tags = selector.tags.iter().map(String::len).sum::<usize>();
        ENTRY_BYTES + name.len() + arguments.len() + tags + whose + result.len()
    }
}

/// An answer that can be given to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub server: ServerId,
    pub group: GroupId,
    /// The tool's name on the server.
    pub tool: Arc<str>,
    pub result: RawJson,
}
