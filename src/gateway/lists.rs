//! What one client is shown, and its lists.

use std::sync::Arc;

use super::Gateway;
use crate::event::Origin;
use crate::policy::catalogue::Catalogue;
use crate::policy::gateway::{Given, List, Servers, View};
use crate::protocol::server::{Freshness, modern_members};
use crate::troupe::Troupe;

/// How long a list stays fresh while servers are on their way, and afterwards, in milliseconds: some hosts keep a list for as long
/// as they run.
const FRESH_AT_START_MS: u64 = 1_000;
const FRESH_MS: u64 = 60_000;

/// What one client is shown of the catalogue of this moment.
pub(super) struct Shown {
    gateway: Gateway,
    /// Of which the view was made; none yet.
    catalogue: Option<Arc<Catalogue>>,
    view: View,
    given: Given,
}

impl Shown {
    pub(super) fn new(gateway: Gateway) -> Self {
        Self { gateway, catalogue: None, view: View::default(), given: Given::default() }
    }

    /// The view of the catalogue of this moment, and that.
    pub(super) fn now(&mut self) -> (&View, Arc<Catalogue>) {
        let catalogue = self.gateway.troupe.catalogue();
        if self.catalogue.as_ref().is_none_or(|of| !Arc::ptr_eq(of, &catalogue)) {
            let servers = servers(&self.gateway.troupe);
            let view = View::of(&catalogue, &self.gateway.rules, &servers, &mut self.given);
            if !view.left_out().is_empty() && view.left_out() != self.view.left_out() {
                let (first, count) = (&view.left_out()[0], view.left_out().len());
                tracing::warn!(
                    "{first} is not offered, since another one has its name; {count} of them in all"
                );
            }
            self.view = view;
            self.catalogue = Some(catalogue.clone());
        }
        (&self.view, catalogue)
    }

    /// The same alone.
    pub(super) fn view(&mut self) -> &View {
        self.now().0
    }
}

/// What is known of the servers beside what they offer.
fn servers(troupe: &Troupe) -> Servers {
    let mut servers = Servers::default();
    for info in troupe.servers() {
        if matches!(info.origin, Origin::Source(_)) {
            servers.discovered.insert(info.group);
        }
        servers.tags.insert(info.id, info.tags);
    }
    servers
}

/// How long lists of this moment stay fresh.
pub(super) fn freshness(gateway: &Gateway) -> Freshness {
    let ttl_ms = if gateway.troupe.has_newcomers() { FRESH_AT_START_MS } else { FRESH_MS };
    // With profiles not all clients see the same.
    Freshness { ttl_ms, public: gateway.settings.profiles.is_empty() }
}

/// The list of this method, if it is one.
pub(super) fn of_method(method: &str) -> Option<List> {
    match method {
        "tools/list" => Some(List::Tools),
        "prompts/list" => Some(List::Prompts),
        "resources/list" => Some(List::Resources),
        "resources/templates/list" => Some(List::Templates),
        _ => None,
    }
}

/// What a list is called in its result.
fn member(list: List) -> &'static str {
    match list {
        List::Tools => "tools",
        List::Prompts => "prompts",
        List::Resources => "resources",
        List::Templates => "resourceTemplates",
    }
}

/// One list, as a result of this era; none where the cursor is none of it.
pub(super) fn page(
    view: &View,
    list: List,
    cursor: Option<&str>,
    freshness: Option<Freshness>,
) -> Option<String> {
    let page = view.list(list).page(cursor).ok()?;
    let member = member(list);
    let mut result = String::from("{");
    if let Some(freshness) = freshness {
        result.push_str(&modern_members());
        result.push(',');
        result.push_str(&freshness.written());
        result.push(',');
    }
    result.push_str(&format!("\"{member}\":["));
    for (at, entry) in page.entries.iter().enumerate() {
        if at > 0 {
            result.push(',');
        }
        result.push_str(entry.definition.as_str());
    }
    result.push(']');
    if let Some(next) = page.next {
        result.push_str(&format!(r#","nextCursor":{}"#, serde_json::Value::from(next)));
    }
    result.push('}');
    Some(result)
}
