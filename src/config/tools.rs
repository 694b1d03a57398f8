//! Which tools of a server its operator wants to be offered.

use std::collections::BTreeSet;

/// Stands for all tools of a server.
const ALL: &str = "*";

/// Which tools of a server are offered, by the names that the server gives them: all, unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ToolChoice {
    /// The only ones, if there is such a list.
    only: Option<BTreeSet<String>>,
    without: BTreeSet<String>,
}

impl ToolChoice {
    /// Only those of the one list, if there is one, and none of the other. `*` is all of them.
    pub(crate) fn new(only: Option<Vec<String>>, without: Vec<String>) -> Self {
        // Some clients let arguments follow a name, which choose commands of a shell.
        let name =
            |name: String| name.split('(').next().map(|name| name.trim().to_owned()).unwrap_or_default();
        let only: Option<BTreeSet<String>> = only.map(|names| names.into_iter().map(name).collect());
        Self {
            only: only.filter(|names| !names.contains(ALL)),
            without: without.into_iter().map(|name| name.trim().to_owned()).collect(),
        }
    }

    /// Whether all are offered.
    pub(crate) fn is_all(&self) -> bool {
        self.only.is_none() && self.without.is_empty()
    }

    /// Whether this tool is offered.
    pub(crate) fn offers(&self, tool: &str) -> bool {
        self.offers_either(tool, tool)
    }

    /// The same of a tool that has two names: it is meant by each of them.
    pub(crate) fn offers_either(&self, one: &str, other: &str) -> bool {
        let is_in = |names: &BTreeSet<String>| names.contains(one) || names.contains(other);
        let without = is_in(&self.without) || self.without.contains(ALL);
        !without && self.only.as_ref().is_none_or(is_in)
    }

    /// The names that the lists have, as people wrote them.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.only.iter().flatten().chain(&self.without);
        names.map(String::as_str).filter(|name| *name != ALL)
    }

    /// Adds to the only tools that are offered.
    pub(crate) fn add_only(&mut self, tools: impl IntoIterator<Item = String>) {
        self.only.get_or_insert_default().extend(tools);
    }

    /// Adds to the tools that are not offered.
    pub(crate) fn add_without(&mut self, tools: impl IntoIterator<Item = String>) {
        self.without.extend(tools);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_offered_as_the_lists_say() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (only, without, offered) in [
            (None, &[][..], "a b"),
            (None, &["a"], "b"),
            (Some(&["a"][..]), &[], "a"),
            (Some(&["a", "b"]), &["b"], "a"),
            (Some(&["*"]), &["b"], "a"),
            (Some(&["a(x)"]), &[], "a"),
            (Some(&[]), &[], ""),
            (None, &["*"], ""),
        ] {
            let choice = ToolChoice::new(only.map(names), names(without));
            let found: Vec<&str> = ["a", "b"].into_iter().filter(|tool| choice.offers(tool)).collect();
            assert_eq!(found.join(" "), offered, "{only:?} {without:?}");
        }
    }
}
