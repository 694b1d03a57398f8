//! A channel on which each line is a message, as stdin and stdout are.

use std::collections::VecDeque;
use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::codec::FramedRead;

use crate::transport::lines::{Line, Lines};

/// The largest message of a client, in bytes: what servers are sent at most by default.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Bytes that wait to be written from which on no more is read: a client that reads nothing is not asked for more.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// Messages up to this size are gathered, so that many small ones are one write.
const GATHERED_BYTES_MAX: usize = 16 << 10;

/// What a client writes.
#[derive(Debug)]
pub(crate) struct LinesIn<R>(FramedRead<R, Lines>);

impl<R: AsyncRead + Unpin> LinesIn<R> {
    pub(crate) fn new(read: R) -> Self {
        Self(FramedRead::new(read, Lines::new(MESSAGE_BYTES_MAX)))
    }

    /// The next line; none at the end. May be dropped at any time without losing anything.
    pub(crate) async fn next(&mut self) -> Option<io::Result<Line>> {
        self.0.next().await
    }
}

/// What waits to be written to a client.
#[derive(Debug)]
pub(crate) struct LinesOut<W> {
    write: W,
    /// Pieces in their order, each of one line or more, the first of them maybe in part.
    pieces: VecDeque<Bytes>,
    /// The small lines behind them.
    gathered: BytesMut,
    waiting: usize,
    unflushed: bool,
}

impl<W: AsyncWrite + Unpin> LinesOut<W> {
    pub(crate) fn new(write: W) -> Self {
        let (pieces, gathered) = (VecDeque::new(), BytesMut::new());
        Self { write, pieces, gathered, waiting: 0, unflushed: false }
    }

    /// Takes a message, which is one line.
    pub(crate) fn push(&mut self, line: Bytes) {
        debug_assert!(!line.iter().any(|byte| matches!(byte, b'\n' | b'\r')), "a message is one line");
        self.waiting = self.waiting.saturating_add(line.len()).saturating_add(1);
        if line.len() > GATHERED_BYTES_MAX {
            self.seal();
            self.pieces.push_back(line);
        } else {
            self.gathered.put_slice(&line);
        }
        self.gathered.put_u8(b'\n');
        if self.gathered.len() >= GATHERED_BYTES_MAX {
            self.seal();
        }
    }

    fn seal(&mut self) {
        if !self.gathered.is_empty() {
            self.pieces.push_back(self.gathered.split().freeze());
        }
    }

    /// Bytes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether so much waits that nothing more should be brought about.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting > WAITING_BYTES_MAX
    }

    /// Whether all has been written.
    pub(crate) fn is_done(&self) -> bool {
        self.waiting == 0 && !self.unflushed
    }

    /// Writes some of what waits, and flushes when that was the last. May be dropped at any time without losing anything.
    ///
    /// # Errors
    /// The client takes nothing any more.
    pub(crate) async fn write_some(&mut self) -> io::Result<()> {
        if self.pieces.is_empty() {
            self.seal();
        }
        let Some(piece) = self.pieces.front_mut() else {
            self.write.flush().await?;
            self.unflushed = false;
            return Ok(());
        };
        let written = self.write.write(piece).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.unflushed = true;
        piece.advance(written);
        self.waiting = self.waiting.saturating_sub(written);
        if piece.is_empty() {
            self.pieces.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn lines_of_every_size_come_in_their_order_and_whole() {
        let sizes = [1, 10, GATHERED_BYTES_MAX, GATHERED_BYTES_MAX + 1, 3, 1 << 20, 2, 5];
        let line = |size: usize| Bytes::from(vec![b'a' + (size % 26) as u8; size]);
        let (ours, mut theirs) = tokio::io::duplex(1000);
        let mut out = LinesOut::new(ours);
        sizes.iter().for_each(|size| out.push(line(*size)));
        assert_eq!(out.waiting(), sizes.iter().map(|size| size + 1).sum::<usize>());
        let writing = async move {
            while !out.is_done() {
                out.write_some().await.unwrap();
            }
            drop(out);
        };
        let mut read = Vec::new();
        tokio::join!(writing, async { theirs.read_to_end(&mut read).await.unwrap() });
        let expected: Vec<u8> = sizes.iter().flat_map(|size| [&line(*size)[..], b"\n"].concat()).collect();
        assert!(read == expected);
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_fills_it_and_then_some_is_dropped_without_a_loss() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut out = LinesOut::new(ours);
        out.push(Bytes::from(vec![b'x'; WAITING_BYTES_MAX]));
        assert!(out.is_full());
        // What is under way is given up again and again.
        for _ in 0..100 {
            let _ = futures_util::poll!(std::pin::pin!(out.write_some()));
        }
        let mut byte = [0; 64];
        let mut read = 0;
        while read <= WAITING_BYTES_MAX {
            tokio::select! { biased;
                got = theirs.read(&mut byte) => read += got.unwrap(),
                written = out.write_some(), if !out.is_done() => written.unwrap(),
            }
        }
        assert_eq!(read, WAITING_BYTES_MAX + 1);
    }

    #[tokio::test]
    async fn a_client_that_is_gone_is_an_error() {
        let (ours, theirs) = tokio::io::duplex(64);
        drop(theirs);
        let mut out = LinesOut::new(ours);
        out.push(Bytes::from_static(b"{}"));
        assert!(out.write_some().await.is_err());
    }
}
