//! The channel of one client, and what servers ask of it.
//!
//! What a client can answer has to be known before the first server is reached: a legacy server is told once, when its connection is
//! opened, what may be asked. So the first message of the client is read before the troupe is started.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::error::RpcError;
use crate::json::RawJson;
use crate::listen::lines::{LinesIn, LinesOut};
use crate::protocol::server::{ClientMessage, agree, answered_kinds, read, read_meta};
use crate::question::{ServerRequest, ServerRequestKind};
use crate::transport::lines::Line;
use crate::troupe::TroupeBuilder;

/// How long the first message is waited for: clients write it as soon as they have started the gateway.
const FIRST_MESSAGE_WAIT: Duration = Duration::from_millis(500);

/// Requests of servers that wait for the client's turn, or for its answer: as many as one connection of a server may have.
pub(super) const ASKED_MAX: usize = 16;

/// What a client answers.
pub(super) type Answered = Result<RawJson, RpcError>;

/// What a server asks of the client, and where the answer goes.
#[derive(Debug)]
pub(super) struct Ask {
    pub request: ServerRequest,
    pub port: oneshot::Sender<Answered>,
}

/// The channel of one client, whose first message has been read.
///
/// Servers of a troupe that is built by [`asked_by`](Self::asked_by) may ask this client, and nobody else: it is the one client of
/// every call. A troupe that serves several must not be built so.
#[derive(Debug)]
pub struct ClientChannel<R, W> {
    pub(super) lines: LinesIn<R>,
    pub(super) out: LinesOut<W>,
    /// What was read of it already; `None` within where it has ended.
    pub(super) first: Option<Option<std::io::Result<Line>>>,
    /// What it answers, by its `initialize`.
    kinds: Vec<ServerRequestKind>,
    asks: mpsc::Sender<Ask>,
    pub(super) asked: mpsc::Receiver<Ask>,
}

impl<R: AsyncRead + Unpin + Send, W: AsyncWrite + Unpin + Send> ClientChannel<R, W> {
    /// Waits for the client's first message, for half a second at most. Without it nothing is asked of the client.
    pub async fn open(read: R, write: W) -> Self {
        let mut channel = Self::without_waiting(read, write);
        channel.first = timeout(FIRST_MESSAGE_WAIT, channel.lines.next()).await.ok();
        if let Some(Some(Ok(Line::Whole(line)))) = &channel.first {
            channel.kinds = kinds_of(line.clone());
        }
        channel
    }

    /// The channel of a client of whom nothing is asked.
    pub(super) fn without_waiting(read: R, write: W) -> Self {
        let (asks, asked) = mpsc::channel(ASKED_MAX);
        let (lines, out) = (LinesIn::new(read), LinesOut::new(write));
        Self { lines, out, first: None, kinds: Vec::new(), asks, asked }
    }

    /// Has the servers of a troupe ask this client. They may ask what it has declared to answer: forms and pages (elicitation),
    /// completions (sampling), folders (roots). Handlers for these that the builder has are replaced.
    pub fn asked_by(&self, builder: TroupeBuilder) -> TroupeBuilder {
        let asks = self.asks.clone();
        builder.asking(&self.kinds, move |request| {
            let asks = asks.clone();
            async move {
                let gone = || RpcError {
                    code: RpcError::INTERNAL_ERROR,
                    message: "the client has gone".to_owned(),
                    data: None,
                };
                let (port, answer) = oneshot::channel();
                asks.send(Ask { request, port }).await.map_err(|_| gone())?;
                answer.await.unwrap_or_else(|_| Err(gone()))
            }
        })
    }
}

/// What a legacy client answers, if this is how it begins.
fn kinds_of(line: bytes::Bytes) -> Vec<ServerRequestKind> {
    let Ok(ClientMessage::Request { method, params, .. }) = read(line) else { return Vec::new() };
    let is_legacy =
        method == "initialize" && read_meta(params.as_ref()).is_ok_and(|meta| meta.modern.is_none());
    let agreed = agree(params.as_ref()).ok().filter(|_| is_legacy);
    agreed.map(|agreed| answered_kinds(&agreed.capabilities)).unwrap_or_default()
}
