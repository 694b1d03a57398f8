//! Fetching a server's tools, all pages, over a connection that serves calls meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::pump::{ListFailure, PumpMsg};
use crate::duration::rounded;
use crate::error::RpcError;
use crate::policy::catalogue::ToolDefinition;
use crate::protocol::listing::{Listed, Listing, Page, SkippedTool};

/// What a listing found.
pub(crate) struct Tools {
    pub tools: Arc<[ToolDefinition]>,
    pub skipped: Vec<SkippedTool>,
}

/// Fetches the tools within `limit`. The error is a sentence for people.
pub(super) async fn fetch(
    queue: mpsc::Sender<PumpMsg>,
    listing: Listing,
    limit: Duration,
) -> Result<Tools, String> {
    match tokio::time::timeout(limit, pages(queue, listing)).await {
        Ok(fetched) => fetched,
        Err(_) => Err(format!("its tools were not listed within {}", rounded(limit))),
    }
}

async fn pages(queue: mpsc::Sender<PumpMsg>, mut listing: Listing) -> Result<Tools, String> {
    let mut cursor = None;
    loop {
        let (port, answer) = oneshot::channel();
        let lost = "the connection was lost while its tools were listed";
        queue.send(PumpMsg::List { cursor: cursor.take(), port }).await.map_err(|_| lost)?;
        match answer.await.map_err(|_| lost)? {
            Ok(result) => match listing.page(&result).map_err(|error| error.to_string())? {
                Page::More(next) => cursor = Some(next),
                Page::Done => return Ok(tools(listing.finish())),
            },
            // A server without tools need not know the method.
            Err(ListFailure::Rpc(error)) if error.code == RpcError::METHOD_NOT_FOUND => {
                return Ok(tools(listing.finish()));
            }
            Err(ListFailure::Rpc(error)) if error.code == RpcError::INVALID_PARAMS && listing.restart() => {}
            Err(error) => return Err(format!("its tools could not be listed: {error}")),
        }
    }
}

fn tools(listed: Listed) -> Tools {
    let tools = listed.tools.into_iter();
    Tools {
        tools: tools.map(|tool| ToolDefinition { name: tool.name, definition: tool.definition }).collect(),
        skipped: listed.skipped,
    }
}
