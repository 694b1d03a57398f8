//! Tools that are not what their pins say: how they are found when they are listed, and told.

use std::sync::Arc;

use super::lists::TOLD_MAX;
use crate::actors::Context;
use crate::actors::list_fetch::Found;
use crate::config::OnChange;
use crate::event::Event;
use crate::id::ServerId;
use crate::offer::EntryKind;
use crate::policy::pins::{Differences, Pinning};

/// Compares the tools that were listed with their pins, if there are any. Beside the actors, since each is hashed.
pub(super) async fn compare(
    found: Found,
    server: ServerId,
    pinning: Option<Arc<Pinning>>,
) -> (Found, Option<Differences>) {
    let Some(pinning) = pinning else { return (found, None) };
    let compared = tokio::task::spawn_blocking(move || {
        let tools = found
            .iter()
            .find(|(kind, _)| *kind == EntryKind::Tool)
            .and_then(|(_, listed)| listed.as_ref().ok());
        let differences = tools.map(|listed| {
            let entries = listed.entries.iter().map(|entry| (entry.name.as_str(), &entry.definition));
            pinning.check(&server, entries)
        });
        (found, differences)
    });
    compared.await.unwrap_or_else(|error| {
        let reason = format!("its tools could not be compared with their pins: {error}");
        (vec![(EntryKind::Tool, Err(reason.into()))], None)
    })
}

/// What was told in this life; it is not told again with each listing.
#[derive(Default)]
pub(super) struct ToldOfPins(Differences);

impl ToldOfPins {
    /// Tells what is new.
    pub(super) fn told(&mut self, context: &Context, server: &ServerId, differences: Differences) {
        let Some(pinning) = &context.pinning else { return };
        let on_change = pinning.on_change;
        let Differences { broken, unpinned, missing } = differences.beyond(&self.0);
        for (tool, (pinned, now)) in broken {
            match on_change {
                OnChange::Warn | OnChange::Block => {
                    tracing::warn!(%server, %tool, %pinned, %now, "a pinned tool has changed");
                }
                OnChange::Allow => {}
            }
            context.emit(Event::PinBroken { server: server.clone(), tool, pinned, now, on_change });
        }
        // Whose names these are, the server alone decides.
        let untold = unpinned.len().saturating_sub(TOLD_MAX);
        if untold > 0 {
            tracing::warn!(%server, untold, "more tools than are told one by one are not pinned");
        }
        for tool in unpinned.into_iter().take(TOLD_MAX) {
            context.emit(Event::ToolUnpinned { server: server.clone(), tool });
        }
        for tool in missing {
            context.emit(Event::PinnedToolMissing { server: server.clone(), tool });
        }
        self.0 = differences;
    }

    /// Whether a tool is left out.
    pub(super) fn blocks(&self, context: &Context, tool: &str) -> bool {
        context.pinning.as_ref().is_some_and(|pinning| pinning.blocks()) && self.0.broken.contains_key(tool)
    }
}
