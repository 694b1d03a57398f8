//! Which tools of a server its operator wants to be offered.

use std::collections::BTreeMap;

/// Stands for all tools of a server.
const ALL: &str = "*";

/// Which tools of a server are offered, by the names that the server gives them: all, unless it says otherwise.
#[derive(Debug, Clone, Default)]
pub(crate) struct ToolChoice {
    /// The only ones, if there is such a list, each with the key that names it.
    only: Option<BTreeMap<String, &'static str>>,
    /// Those that are not, in the same way.
    without: BTreeMap<String, &'static str>,
}

/// Two are the same that choose the same tools, whichever keys name them.
impl PartialEq for ToolChoice {
    fn eq(&self, other: &Self) -> bool {
        let chosen = |choice: &Self| {
            let only = choice.only().map(|only| only.keys().cloned().collect::<Vec<_>>());
            (only, choice.without.keys().cloned().collect::<Vec<_>>())
        };
        chosen(self) == chosen(other)
    }
}

impl Eq for ToolChoice {}

impl ToolChoice {
    /// Whether all are offered.
    pub(crate) fn is_all(&self) -> bool {
        self.only().is_none() && self.without.is_empty()
    }

    /// The only ones, unless they are all.
    fn only(&self) -> Option<&BTreeMap<String, &'static str>> {
        self.only.as_ref().filter(|names| !names.contains_key(ALL))
    }

    /// Whether this tool is offered.
    pub(crate) fn offers(&self, tool: &str) -> bool {
        self.offers_either(tool, tool)
    }

    /// The same of a tool that has two names: it is meant by each of them.
    pub(crate) fn offers_either(&self, one: &str, other: &str) -> bool {
        let is_in = |names: &BTreeMap<String, _>| names.contains_key(one) || names.contains_key(other);
        let without = is_in(&self.without) || self.without.contains_key(ALL);
        !without && self.only().is_none_or(is_in)
    }

    /// The names that the lists have, each after the key that has it.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let names = self.only().into_iter().flatten().chain(&self.without);
        names.map(|(name, key)| (*key, name.as_str())).filter(|(_, name)| *name != ALL)
    }

    /// Adds to the only tools that are offered. `key` is where they are named.
    pub(crate) fn add_only(&mut self, key: &'static str, tools: impl IntoIterator<Item = String>) {
        self.only.get_or_insert_default().extend(tools.into_iter().map(|name| (name, key)));
    }

    /// Adds to the tools that are not offered. `key` is where they are named.
    pub(crate) fn add_without(&mut self, key: &'static str, tools: impl IntoIterator<Item = String>) {
        self.without.extend(tools.into_iter().map(|name| (name, key)));
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
            (Some(&["a(x)"]), &[], ""),
            (Some(&[]), &[], ""),
            (None, &["*"], ""),
        ] {
            let mut choice = ToolChoice::default();
            only.into_iter().for_each(|only| choice.add_only("tools", names(only)));
            choice.add_without("disabledTools", names(without));
            let found: Vec<&str> = ["a", "b"].into_iter().filter(|tool| choice.offers(tool)).collect();
            assert_eq!(found.join(" "), offered, "{only:?} {without:?}");
        }
    }
}
