//! Tools by what they do and where they come from, for hosts with more of them than a model can be shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Troupe;
use crate::actors::registry::roster::Roster;
use crate::id::{GroupId, ServerId};
use crate::policy::catalogue::Tool;
use crate::policy::filter::ToolFilter;
use crate::policy::search::{SearchIndex, ToolMatch};

impl Troupe {
    /// The tools of the catalogue that pass a filter, by group and name.
    ///
    /// ```no_run
    /// # fn example(troupe: mcp_troupe::Troupe) {
    /// use mcp_troupe::{Hint, ToolFilter};
    ///
    /// let readers = troupe.tools_where(&ToolFilter::new().group("files").says(Hint::ReadOnly));
    /// # drop(readers);
    /// # }
    /// ```
    pub fn tools_where(&self, filter: &ToolFilter) -> Vec<Tool> {
        let roster = self.0.roster.borrow().clone();
        let servers = Origins::of(&roster);
        roster.catalogue.tools().filter(|tool| servers.admits(filter, tool)).cloned().collect()
    }

    /// The tools that a question in plain words may mean, at most `limit` of them, the best first: `"read a csv file"` finds
    /// `read_csv` and `csv.readFile`. What is searched are names, titles, descriptions and parameters.
    ///
    /// The first search after a change of the catalogue makes an index over it, beside the calls; ten thousand tools take some
    /// two hundred milliseconds. Each search takes about one.
    pub async fn search(&self, query: &str, limit: usize) -> Vec<ToolMatch> {
        self.search_where(query, limit, &ToolFilter::new()).await
    }

    /// The same among the tools that pass a filter.
    pub async fn search_where(&self, query: &str, limit: usize, filter: &ToolFilter) -> Vec<ToolMatch> {
        let roster = self.0.roster.borrow().clone();
        let index = index_of(&roster).await;
        let servers = Origins::of(&roster);
        let found =
            index.search(query).into_iter().map(|(place, score)| (roster.catalogue.tool(place), score));
        let admitted = found.filter(|(tool, _)| servers.admits(filter, tool)).take(limit);
        admitted.map(|(tool, score)| ToolMatch { tool: tool.clone(), score }).collect()
    }
}

/// The index over the roster's catalogue, made when it is first asked for.
async fn index_of(roster: &Roster) -> Arc<SearchIndex> {
    let make = || async {
        let catalogue = roster.catalogue.clone();
        let made = tokio::task::spawn_blocking(move || SearchIndex::of(&catalogue)).await;
        // A runtime that is ending starts nothing more.
        Arc::new(made.unwrap_or_else(|_| SearchIndex::of(&roster.catalogue)))
    };
    roster.index.get_or_init(make).await.clone()
}

/// Where servers belong.
struct Origins<'a>(BTreeMap<&'a ServerId, (&'a GroupId, &'a [String])>);

impl<'a> Origins<'a> {
    fn of(roster: &'a Roster) -> Self {
        let infos = roster.entries.iter().map(|entry| &entry.info);
        Self(infos.map(|info| (&info.id, (&info.group, info.tags.as_slice()))).collect())
    }

    fn admits(&self, filter: &ToolFilter, tool: &Tool) -> bool {
        filter.admits(tool, |server| self.0.get(server).copied())
    }
}
