//! A stream with bad manners: it keeps pongs to itself, and breaks off in the middle of a frame when it is told to.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The opcode of a WebSocket pong.
const PONG: u8 = 0xA;

/// A server's end of a connection.
pub(super) struct Wire<S> {
    stream: S,
    pongs: bool,
    broken: Arc<AtomicBool>,
}

impl<S> Wire<S> {
    /// Passes everything on; without pongs if so said; and only a part once `broken` is set.
    pub(super) fn new(stream: S, pongs: bool, broken: Arc<AtomicBool>) -> Self {
        Self { stream, pongs, broken }
    }
}

/// The length of the pong that these bytes begin with, as a server writes it: unmasked, with a short payload.
fn pong(bytes: &[u8]) -> Option<usize> {
    let [first, length, ..] = bytes else { return None };
    (first & 0x0F == PONG && *length < 126)
        .then_some(2 + usize::from(*length))
        .filter(|whole| *whole <= bytes.len())
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(poller, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.broken.load(Ordering::Relaxed) {
            let half = &bytes[..bytes.len() / 2];
            let _ = std::task::ready!(Pin::new(&mut self.stream).poll_write(poller, half));
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        // The library writes what it has gathered at once, so a pong begins a write if it is the only frame.
        if !self.pongs
            && let Some(length) = pong(bytes)
        {
            return Poll::Ready(Ok(length));
        }
        Pin::new(&mut self.stream).poll_write(poller, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(poller)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(poller)
    }
}
