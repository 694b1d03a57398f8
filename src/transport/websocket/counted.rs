//! A stream that counts what it takes and gives. The WebSocket above it moves a large message in many parts, and does not say
//! how far it has come.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much a stream has moved. The stream lies within the socket; its link reads the count beside it.
pub(super) struct Count(Arc<Moved>);

/// Bytes that a stream has moved.
#[derive(Debug, Default)]
struct Moved {
    written: AtomicU64,
    read: AtomicU64,
}

impl Count {
    /// Bytes that were written.
    pub(super) fn written(&self) -> u64 {
        self.0.written.load(Ordering::Relaxed)
    }

    /// Bytes that were read.
    pub(super) fn read(&self) -> u64 {
        self.0.read.load(Ordering::Relaxed)
    }
}

/// Passes everything on, and counts the bytes of each direction.
#[derive(Debug)]
pub(super) struct Counted<S> {
    stream: S,
    moved: Arc<Moved>,
}

impl<S> Counted<S> {
    pub(super) fn new(stream: S) -> (Self, Count) {
        let moved = Arc::<Moved>::default();
        (Self { stream, moved: moved.clone() }, Count(moved))
    }

    fn count(&self, written: usize) {
        self.moved.written.fetch_add(written as u64, Ordering::Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(poller, buffer))?;
        let read = buffer.filled().len().saturating_sub(before);
        self.moved.read.fetch_add(read as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(poller, bytes))?;
        self.count(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(poller)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(poller)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(poller, parts))?;
        self.count(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
