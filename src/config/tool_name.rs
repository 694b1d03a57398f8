//! Names of tools as operators write them.

use crate::id::GroupId;
use crate::offer::NAME_BYTES_MAX;

/// A tool as the operator names it: in one group, or in all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ToolName {
    pub group: Option<GroupId>,
    pub tool: String,
}

impl ToolName {
    /// Reads `tool` or `group/tool`; says what is wrong with anything else.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        let (group, tool) = match name.split_once('/') {
            Some((group, tool)) => (Some(GroupId::new(group).map_err(|error| error.to_string())?), tool),
            None => (None, name),
        };
        if tool.is_empty() || tool.len() > NAME_BYTES_MAX {
            return Err(format!("{name:?} names no tool: its name is empty or longer than 128 characters"));
        }
        if !tool.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
            return Err(format!(
                "{name:?} names no tool: only letters, digits, '_', '.' and '-' are allowed"
            ));
        }
        Ok(Self { group, tool: tool.to_owned() })
    }

    /// Each tool that a name can mean: `a__b` is one tool's own name, or that of `b` in the group `a`. None for what can be none.
    pub(crate) fn meant_by(name: &str) -> impl Iterator<Item = Self> {
        let within = |at: usize| Self::parse(&format!("{}/{}", &name[..at], &name[at + 2..])).ok();
        let exposed = name.match_indices("__").filter_map(move |(at, _)| within(at));
        Self::parse(name).ok().into_iter().chain(exposed)
    }

    /// Whether both can mean the same tool.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let alike = self.group == other.group || self.group.is_none() || other.group.is_none();
        alike && self.tool == other.tool
    }
}

impl std::fmt::Display for ToolName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.group {
            Some(group) => write!(f, "{group}/{}", self.tool),
            None => f.write_str(&self.tool),
        }
    }
}
