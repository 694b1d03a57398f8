//! The answer to an upgrade request, as the library below takes it.
//!
//! RFC 6455 wants `upgrade` among the tokens of `Connection`, and proxies write others beside it, or the header twice. The
//! library wants that token alone, and its maintainers leave it at that (snapview/tungstenite-rs#548). So the answer comes by
//! here before it gets there, and this one header is written as it is meant.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest head that is looked at, in bytes: twice what common servers send at most. A longer one passes as it is.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Passes everything on, but for the head of what is read first.
#[derive(Debug)]
pub(super) struct Upgrading<S> {
    stream: S,
    /// The head as far as it has come, until it is whole.
    head: Option<Vec<u8>>,
    /// What was read and is to be passed on.
    held: Bytes,
}

impl<S> Upgrading<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, head: Some(Vec::new()), held: Bytes::new() }
    }
}

/// The same head with `Connection: Upgrade`, if that is among what it says.
fn as_meant(head: Vec<u8>) -> Vec<u8> {
    let Some(end) = memmem::find(&head, b"\r\n\r\n") else { return head };
    let tokens = |line: &[u8]| -> Option<Vec<String>> {
        let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
        let tokens = value.split(',').map(|token| token.trim().to_ascii_lowercase());
        name.eq_ignore_ascii_case("connection").then(|| tokens.collect())
    };
    let lines = || {
        let mut rest = &head[..end];
        std::iter::from_fn(move || {
            let line = Some(rest).filter(|rest| !rest.is_empty())?;
            let at = memmem::find(line, b"\r\n");
            rest = at.map_or(&[][..], |at| &line[at + 2..]);
            Some(at.map_or(line, |at| &line[..at]))
        })
    };
    if !lines().filter_map(tokens).flatten().any(|token| token == "upgrade") {
        return head;
    }
    let mut meant = Vec::with_capacity(head.len());
    for line in lines().filter(|line| tokens(line).is_none()) {
        meant.extend_from_slice(line);
        meant.extend_from_slice(b"\r\n");
    }
    meant.extend_from_slice(b"Connection: Upgrade");
    meant.extend_from_slice(&head[end..]);
    meant
}

impl<S: AsyncRead + Unpin> AsyncRead for Upgrading<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        poller: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, head, held } = self.get_mut();
        while let Some(read) = head {
            let mut piece = [0; 1024];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut *stream).poll_read(poller, &mut piece))?;
            let ended = piece.filled().is_empty();
            read.extend_from_slice(piece.filled());
            // Its end may lie across two pieces.
            let from = read.len().saturating_sub(piece.filled().len() + 3);
            let whole = memmem::find(&read[from..], b"\r\n\r\n").is_some();
            if ended || whole || read.len() > HEAD_BYTES_MAX {
                *held = as_meant(std::mem::take(read)).into();
                *head = None;
            }
        }
        if held.is_empty() {
            return Pin::new(stream).poll_read(poller, buffer);
        }
        let piece = held.split_to(held.len().min(buffer.remaining()));
        buffer.put_slice(piece.chunk());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Upgrading<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(poller, bytes)
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
        Pin::new(&mut self.stream).poll_write_vectored(poller, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    const REST: &str = "Upgrade: websocket\r\nX: a:b\r\n";

    async fn read(head: &str, pieces: usize) -> String {
        let mut stream = tokio_test(head.as_bytes(), pieces);
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        String::from_utf8(read).unwrap()
    }

    /// A stream that gives these bytes in pieces of this size.
    fn tokio_test(bytes: &[u8], pieces: usize) -> Upgrading<tokio::io::DuplexStream> {
        let (ours, mut theirs) = tokio::io::duplex(pieces);
        let bytes = bytes.to_vec();
        tokio::spawn(async move {
            tokio::io::AsyncWriteExt::write_all(&mut theirs, &bytes).await.unwrap();
        });
        Upgrading::new(ours)
    }

    #[tokio::test]
    async fn upgrade_among_other_tokens_of_connection_is_all_that_it_says() {
        for connection in [
            "Connection: keep-alive, Upgrade\r\n",
            "connection:upgrade ,Keep-Alive\r\n",
            "Connection: keep-alive\r\nX-Between: 1\r\nConnection: UPGRADE\r\n",
            "Connection: Upgrade\r\n",
        ] {
            for pieces in [1, 5, 4096] {
                let head = format!("HTTP/1.1 101 Switching Protocols\r\n{connection}{REST}\r\nframes");
                let read = read(&head, pieces).await;
                let connections = read.to_lowercase().matches("connection:").count();
                assert!(read.contains("\r\nConnection: Upgrade\r\n\r\nframes") && connections == 1, "{read}");
                assert!(read.contains(REST), "{read}");
            }
        }
    }

    #[tokio::test]
    async fn everything_else_passes_as_it_is() {
        for head in [
            format!("HTTP/1.1 101 Switching Protocols\r\nConnection: keep-alive\r\n{REST}\r\n"),
            format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgraded\r\n{REST}\r\n"),
            "HTTP/1.1 404 Not Found\r\n\r\nConnection: keep-alive, Upgrade\r\n\r\n".to_owned(),
            "HTTP/1.1 101".to_owned(),
            format!("X: {}", "x".repeat(2 * HEAD_BYTES_MAX)),
            String::new(),
        ] {
            assert_eq!(read(&head, 4096).await, head);
        }
    }
}
