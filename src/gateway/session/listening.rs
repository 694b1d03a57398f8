//! Who is told that lists have changed: the legacy session, and modern requests to listen.

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::Session;
use crate::error::RpcError;
use crate::gateway::changes::Changes;
use crate::json::RawJson;
use crate::policy::gateway::List;
use crate::protocol::server::{
    ClientId, Listened, acknowledged_line, busy, changed_line, listen_result, notification_line,
};

/// Requests to listen that one client may have open: more than any has use for.
const LISTENS_MAX: usize = 16;

/// A modern request that is open for as long as its client wants to be told.
pub(super) struct Listen {
    pub id: ClientId,
    changes: Changes,
}

impl<W: AsyncWrite + Unpin> Session<W> {
    /// A client wants to be told of changes, from now on.
    pub(super) fn listen(&mut self, id: &ClientId, params: Option<&RawJson>) -> Result<(), RpcError> {
        let wanted = Listened::read(params)?;
        if self.listens.len() >= LISTENS_MAX {
            return Err(busy(LISTENS_MAX));
        }
        let mut changes = Changes::default();
        let view = self.shown.view();
        let kinds = [
            (wanted.tools, List::Tools),
            (wanted.prompts, List::Prompts),
            (wanted.resources, List::Resources),
        ];
        kinds.into_iter().filter(|(wanted, _)| *wanted).for_each(|(_, list)| changes.listed(list, view));
        self.listens.push(Listen { id: id.clone(), changes });
        self.out.push(acknowledged_line(id, wanted));
        Ok(())
    }

    /// The servers offer something else than before.
    pub(super) fn catalogue_changed(&mut self) {
        let listening = self.listens.iter_mut().map(|listen| &mut listen.changes);
        let mut concerned: Vec<&mut Changes> = std::iter::once(&mut self.changes).chain(listening).collect();
        // Before its first list no client has anything to compare with.
        concerned.retain(|changes| changes.concern_somebody());
        if !concerned.is_empty() {
            let (view, now) = (self.shown.view(), Instant::now());
            concerned.into_iter().for_each(|changes| changes.changed(view, now));
        }
    }

    /// When somebody is next to be told.
    pub(super) fn notice_due(&self) -> Option<Instant> {
        let listening = self.listens.iter().map(|listen| &listen.changes);
        std::iter::once(&self.changes).chain(listening).filter_map(Changes::due).min()
    }

    /// Tells whoever is to be told now.
    pub(super) fn tell_of_changes(&mut self) {
        let (view, now) = (self.shown.view(), Instant::now());
        for method in self.changes.take(view, now) {
            self.out.push(notification_line(method, None));
        }
        for Listen { id, changes } in &mut self.listens {
            for method in changes.take(view, now) {
                self.out.push(changed_line(method, id));
            }
        }
    }

    /// Nothing changes any more.
    pub(super) fn end_listening(&mut self) {
        for Listen { id, .. } in std::mem::take(&mut self.listens) {
            self.answer(&id, &listen_result(&id));
        }
    }
}
