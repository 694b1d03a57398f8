//! When a client is told that its lists are others, kind by kind.

use tokio::time::Instant;

use crate::policy::gateway::{List, Notices, View};

/// The kinds of which clients are told: templates with the resources.
const KINDS: [(List, &str); 3] = [
    (List::Tools, "notifications/tools/list_changed"),
    (List::Prompts, "notifications/prompts/list_changed"),
    (List::Resources, "notifications/resources/list_changed"),
];

/// The notices about the lists of one client.
#[derive(Default)]
pub(super) struct Changes([Notices; KINDS.len()]);

impl Changes {
    /// The client was given a list.
    pub(super) fn listed(&mut self, list: List, view: &View) {
        let kind = if list == List::Templates { List::Resources } else { list };
        for (notices, (of, _)) in self.0.iter_mut().zip(KINDS) {
            if of == kind {
                notices.listed(hash(kind, view));
            }
        }
    }

    /// Whether the client has asked for a list.
    pub(super) fn concern_somebody(&self) -> bool {
        self.0.iter().any(Notices::has_listed)
    }

    /// The lists may be others now.
    pub(super) fn changed(&mut self, view: &View, now: Instant) {
        for (notices, (kind, _)) in self.0.iter_mut().zip(KINDS) {
            notices.changed(hash(kind, view), now);
        }
    }

    /// When the next notice is due, if there is one.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.iter().filter_map(Notices::due).min()
    }

    /// What the client is to be told now.
    pub(super) fn take(&mut self, view: &View, now: Instant) -> Vec<&'static str> {
        let due = self.0.iter_mut().zip(KINDS).filter_map(|(notices, (kind, method))| {
            let is_told = notices.due().is_some_and(|due| due <= now) && notices.take(hash(kind, view), now);
            is_told.then_some(method)
        });
        due.collect()
    }
}

fn hash(kind: List, view: &View) -> u64 {
    match kind {
        List::Resources | List::Templates => {
            view.list(List::Resources).hash() ^ view.list(List::Templates).hash().rotate_left(1)
        }
        List::Tools | List::Prompts => view.list(kind).hash(),
    }
}
