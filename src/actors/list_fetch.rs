//! Fetching what a server offers, all pages, over a connection that serves calls meanwhile.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::actors::pump::messages::{ListFailure, PumpMsg};
use crate::duration::{later, rounded};
use crate::error::RpcError;
use crate::offer::EntryKind;
use crate::peer_text::reason;
use crate::protocol::listing::{Listed, Listing, Page};
use crate::refusal::RefusalKind;
use crate::transport::Failure;

/// What the listings of one time found, one by one.
pub(crate) type Found = Vec<(EntryKind, Result<Listed, NotListed>)>;

/// Why there is no list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotListed {
    /// A sentence for people.
    pub reason: String,
    /// When the server wants to be asked again, if it has no capacity and said so.
    pub retry_after: Option<Duration>,
}

impl From<String> for NotListed {
    fn from(reason: String) -> Self {
        Self { reason, retry_after: None }
    }
}

/// Fetches lists, all within `limit`: the tools, then the others at the same time, so that one that is never answered takes
/// no time from another. Tools that are not listed end it: without them the rest is of no
/// use.
pub(super) async fn fetch(queue: mpsc::Sender<PumpMsg>, listings: Vec<Listing>, limit: Duration) -> Found {
    let until = later(Instant::now(), limit);
    let list = |listing: Listing| {
        let (kind, queue) = (listing.kind(), queue.clone());
        async move {
            let listed = tokio::time::timeout_at(until, pages(queue, listing)).await;
            let late = |_| {
                let words =
                    format!("its {kind}s were not listed within {} (pool.listTimeout)", rounded(limit));
                Err(words.into())
            };
            (kind, listed.unwrap_or_else(late))
        }
    };
    let (tools, others): (Vec<_>, Vec<_>) =
        listings.into_iter().partition(|listing| listing.kind() == EntryKind::Tool);
    let mut found = join_all(tools.into_iter().map(&list)).await;
    if found.iter().all(|(_, listed)| listed.is_ok()) {
        found.extend(join_all(others.into_iter().map(&list)).await);
    }
    found
}

async fn pages(queue: mpsc::Sender<PumpMsg>, mut listing: Listing) -> Result<Listed, NotListed> {
    let kind = listing.kind();
    let lost = || NotListed::from(format!("the connection was lost while its {kind}s were listed"));
    let mut cursor = None;
    loop {
        let (port, answer) = oneshot::channel();
        let cursor_now = cursor.take();
        queue.send(PumpMsg::List { kind, cursor: cursor_now, port }).await.map_err(|_| lost())?;
        match answer.await.map_err(|_| lost())? {
            Ok(result) => {
                match listing.page(&result).map_err(|e| reason(format_args!("its {kind}s: {e}")))? {
                    Page::More(next) => cursor = Some(next),
                    Page::Done => return Ok(listing.finish()),
                }
            }
            // It led to an empty cursor, and does not know it.
            Err(ListFailure::Rpc(_) | ListFailure::Failed(Failure::Refused(_) | Failure::Invalid(_)))
                if listing.ends_without() =>
            {
                return Ok(listing.finish());
            }
            // A server without any need not know the method.
            Err(ListFailure::Rpc(error)) if error.code == RpcError::METHOD_NOT_FOUND => {
                return Ok(listing.finish());
            }
            Err(ListFailure::Rpc(error)) if error.code == RpcError::INVALID_PARAMS && listing.restart() => {}
            // In the server's own words, of any length.
            Err(error) => {
                let retry_after = match &error {
                    ListFailure::Failed(Failure::Refused(refusal))
                        if refusal.kind == RefusalKind::Overloaded =>
                    {
                        refusal.retry_after
                    }
                    ListFailure::Failed(_) | ListFailure::Rpc(_) => None,
                };
                let reason = reason(format_args!("its {kind}s could not be listed: {error}"));
                return Err(NotListed { reason, retry_after });
            }
        }
    }
}
