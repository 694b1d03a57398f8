//! Which tools a host wants to see: by where they come from, and by what they say of their effects.

use super::catalogue::Tool;
use super::described::{Annotations, Described};
use crate::call::Selector;
use crate::id::{GroupId, ServerId};

/// What a tool says of its effects: MCP's tool annotations, with the specification's defaults where it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hint {
    /// It changes nothing (`readOnlyHint`). Unsaid, it may.
    ReadOnly,
    /// It may destroy something (`destructiveHint`). Unsaid, it may, unless it changes nothing.
    Destructive,
    /// Repeating it changes nothing more (`idempotentHint`). Unsaid, it may, unless it changes nothing at all.
    Idempotent,
    /// It reaches beyond its server, as into the web (`openWorldHint`). Unsaid, it may.
    OpenWorld,
}

impl Hint {
    pub(super) fn said_by(self, annotations: Annotations) -> bool {
        match self {
            Self::ReadOnly => annotations.read_only(),
            Self::Destructive => annotations.destructive(),
            Self::Idempotent => annotations.idempotent(),
            Self::OpenWorld => annotations.open_world(),
        }
    }
}

/// Which tools of the catalogue are wanted; see [`Troupe::tools_where`](crate::Troupe::tools_where). Everything that is asked for
/// must hold.
///
/// Hints are what servers say of themselves. They are untrusted: good for showing and sorting, never for deciding what
/// may be done without asking, unless the server is trusted. Of replicas those of the first one count.
///
/// ```
/// use mcp_troupe::{Hint, ToolFilter};
///
/// let filter = ToolFilter::new().tag("storage").says(Hint::ReadOnly).denies(Hint::OpenWorld);
/// # drop(filter);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolFilter {
    selector: Selector,
    says: Vec<Hint>,
    denies: Vec<Hint>,
}

impl ToolFilter {
    /// Every tool.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only tools of this group.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.selector.group = Some(group.into());
        self
    }

    /// Only tools that this server offers.
    #[must_use]
    pub fn server(mut self, server: impl Into<String>) -> Self {
        self.selector.server = Some(server.into());
        self
    }

    /// Only tools that a server with this tag offers; several calls ask for a server with several tags.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.selector.tags.push(tag.into());
        self
    }

    /// Only tools that say this of themselves.
    #[must_use]
    pub fn says(mut self, hint: Hint) -> Self {
        self.says.push(hint);
        self
    }

    /// Only tools that say the opposite of themselves.
    #[must_use]
    pub fn denies(mut self, hint: Hint) -> Self {
        self.denies.push(hint);
        self
    }

    /// Whether a tool is wanted. `server` gives the group and the tags of a server.
    pub(crate) fn admits<'a>(
        &self,
        tool: &Tool,
        server: impl Fn(&ServerId) -> Option<(&'a GroupId, &'a [String])>,
    ) -> bool {
        let picked = self.selector == Selector::default()
            || tool
                .servers
                .iter()
                .any(|id| server(id).is_some_and(|(group, tags)| self.selector.picks(id, group, tags)));
        picked && ((self.says.is_empty() && self.denies.is_empty()) || self.hints_hold(tool))
    }

    fn hints_hold(&self, tool: &Tool) -> bool {
        let annotations = Described::read(&tool.definition).annotations;
        self.says.iter().all(|hint| hint.said_by(annotations))
            && !self.denies.iter().any(|hint| hint.said_by(annotations))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Collisions;
    use crate::json::RawJson;
    use crate::policy::catalogue::{Catalogue, Definition, Offer, ServerOffer};

    /// Servers `a1` (tag eu) and `a2` (tag us) of group `a`, and `b1` (tags eu, fast) of group `b`.
    fn admitted(filter: &ToolFilter) -> Vec<String> {
        let tool = |name: &str, annotations: Value| Definition {
            name: name.to_owned(),
            definition: RawJson::from_value(&json!({"annotations": annotations})).unwrap(),
        };
        let (read, write) = (tool("read", json!({"readOnlyHint": true})), tool("write", json!({})));
        let add = tool("add", json!({"destructiveHint": false, "openWorldHint": false}));
        let offers =
            [("a1", "a", vec![read.clone(), write]), ("a2", "a", vec![read]), ("b1", "b", vec![add])];
        let offers = offers.into_iter().enumerate().map(|(order, (server, group, tools))| ServerOffer {
            server: ServerId::new(server).unwrap(),
            group: GroupId::new(group).unwrap(),
            trusted: false,
            confirmed: true,
            order,
            offer: Offer { tools: tools.into(), ..Offer::default() },
        });
        let catalogue = Catalogue::merge(1, offers, Collisions::Error);
        let (a, b) = (GroupId::new("a").unwrap(), GroupId::new("b").unwrap());
        let (eu, us, fast) = (["eu".to_owned()], ["us".to_owned()], ["eu".to_owned(), "fast".to_owned()]);
        let server = |id: &ServerId| match id.as_str() {
            "a1" => Some((&a, &eu[..])),
            "a2" => Some((&a, &us[..])),
            "b1" => Some((&b, &fast[..])),
            _ => None,
        };
        catalogue
            .tools()
            .filter(|tool| filter.admits(tool, server))
            .map(|tool| tool.name.to_string())
            .collect()
    }

    #[test]
    fn tools_are_picked_by_where_they_come_from() {
        assert_eq!(admitted(&ToolFilter::new()), ["read", "write", "add"]);
        assert_eq!(admitted(&ToolFilter::new().group("a")), ["read", "write"]);
        assert_eq!(admitted(&ToolFilter::new().server("a2")), ["read"]);
        assert_eq!(admitted(&ToolFilter::new().tag("eu").tag("fast")), ["add"]);
        assert_eq!(admitted(&ToolFilter::new().group("a").tag("eu")), ["read", "write"]);
        assert!(admitted(&ToolFilter::new().group("b").tag("us")).is_empty());
    }

    #[test]
    fn tools_are_picked_by_what_they_say_and_what_is_unsaid_is_feared() {
        assert_eq!(admitted(&ToolFilter::new().says(Hint::ReadOnly)), ["read"]);
        assert_eq!(admitted(&ToolFilter::new().denies(Hint::Destructive)), ["read", "add"]);
        assert_eq!(admitted(&ToolFilter::new().denies(Hint::OpenWorld)), ["add"]);
        assert_eq!(admitted(&ToolFilter::new().says(Hint::Destructive).denies(Hint::Idempotent)), ["write"]);
    }
}
