//! Links in memory: for tests under paused time, where real sockets would time out at once.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_channel::mpsc::{Receiver, Sender, channel};
use futures_util::{Sink, SinkExt, Stream, StreamExt};

use crate::transport::{BoxFuture, Connector, DialError, Inbound, Link, LinkError, Outbound};

/// A connector whose links end at a [`MemoryListener`]; each direction of a link holds `capacity` messages.
pub fn pair(capacity: usize) -> (MemoryConnector, MemoryListener) {
    let (dials, accepted) = channel(capacity);
    (MemoryConnector { dials, capacity }, MemoryListener { accepted })
}

/// Opens links in memory. A dial is refused when the listener is gone.
#[derive(Debug, Clone)]
pub struct MemoryConnector {
    dials: Sender<MemoryPeer>,
    capacity: usize,
}

impl Connector for MemoryConnector {
    fn connect(&self) -> BoxFuture<'_, Result<Box<dyn Link>, DialError>> {
        let mut dials = self.dials.clone();
        Box::pin(async move {
            let (to_peer, from_host) = channel(self.capacity);
            let (to_host, from_peer) = channel(self.capacity);
            let refused = |_| DialError::Io(std::io::ErrorKind::ConnectionRefused.into());
            dials.send(MemoryPeer { incoming: from_host, outgoing: to_host }).await.map_err(refused)?;
            Ok(Box::new(MemoryLink { incoming: from_peer, outgoing: to_peer }) as Box<dyn Link>)
        })
    }

    fn endpoint(&self) -> String {
        "memory".to_owned()
    }
}

/// The other end of a [`MemoryConnector`].
#[derive(Debug)]
pub struct MemoryListener {
    accepted: Receiver<MemoryPeer>,
}

impl MemoryListener {
    /// The next link; `None` when every connector is gone.
    pub async fn accept(&mut self) -> Option<MemoryPeer> {
        self.accepted.next().await
    }
}

/// The server's end of a link. Dropping it ends the link.
#[derive(Debug)]
pub struct MemoryPeer {
    incoming: Receiver<Outbound>,
    outgoing: Sender<Inbound>,
}

impl MemoryPeer {
    /// The next message. `None` when the host's end is gone.
    pub async fn recv(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = frame(self.incoming.next().await?) {
                return Some(frame);
            }
        }
    }

    /// Sends a message. `false` if the host's end is gone.
    pub async fn send(&mut self, message: impl Into<Bytes>) -> bool {
        self.outgoing.send(Inbound::Message(message.into())).await.is_ok()
    }
}

/// The message that is sent, if there is one.
fn frame(outbound: Outbound) -> Option<Bytes> {
    match outbound {
        Outbound::Request { frame, .. } | Outbound::Notice(frame) => Some(frame),
        Outbound::Cancel { frame, .. } => frame,
        Outbound::Ping => None,
    }
}

impl MemoryPeer {
    /// The two directions as a stream and a sink of messages.
    pub(super) fn split(self) -> (impl Stream<Item = Bytes>, impl Sink<Bytes>) {
        let Self { incoming, outgoing } = self;
        let messages = incoming.filter_map(|outbound| std::future::ready(frame(outbound)));
        let answers = outgoing.with(|frame: Bytes| {
            std::future::ready(Ok::<_, futures_channel::mpsc::SendError>(Inbound::Message(frame)))
        });
        (messages, answers)
    }
}

/// The host's end of a link.
struct MemoryLink {
    incoming: Receiver<Inbound>,
    outgoing: Sender<Outbound>,
}

impl Link for MemoryLink {
    fn pings(&self) -> bool {
        // Memory does not get lost half-way: an end that is gone is noticed at once.
        false
    }
}

impl Stream for MemoryLink {
    type Item = Result<Inbound, LinkError>;

    fn poll_next(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.incoming.poll_next_unpin(poller).map(|received| received.map(Ok))
    }
}

fn broken(_: futures_channel::mpsc::SendError) -> LinkError {
    LinkError::Broken("the other end is gone".to_owned())
}

impl Sink<Outbound> for MemoryLink {
    type Error = LinkError;

    fn poll_ready(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        self.outgoing.poll_ready_unpin(poller).map_err(broken)
    }

    fn start_send(mut self: Pin<&mut Self>, item: Outbound) -> Result<(), LinkError> {
        self.outgoing.start_send_unpin(item).map_err(broken)
    }

    fn poll_flush(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        self.outgoing.poll_flush_unpin(poller).map_err(broken)
    }

    fn poll_close(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        self.outgoing.poll_close_unpin(poller).map_err(broken)
    }
}
