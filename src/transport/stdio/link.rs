//! The link: the pipes of one child process.

use std::any::Any;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, Sink, Stream, StreamExt};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Sleep;
use tokio_util::codec::{FramedRead, FramedWrite};

use super::supervisor::{Exit, Order};
use crate::transport::lines::{Line, Lines};
use crate::transport::{Inbound, Link, LinkError, Outbound};

/// Bytes that are gathered before they are written without a flush: what a pipe holds.
const WRITE_BUFFER_BYTES: usize = 64 << 10;

/// A process ends by closing its pipes and by exiting. When the one is seen, the other is waited for this long: the exit
/// tells why, and the pipe may hold last answers. Both come within a millisecond where the process is really over.
const OTHER_END_WAIT: Duration = Duration::from_millis(100);

/// What is known of the end of the process.
#[derive(Debug)]
enum End {
    /// It goes on.
    Awaited(oneshot::Receiver<Exit>),
    Known(Exit),
    /// Its supervisor has gone without a word, as with its runtime.
    Untold,
}

/// The pipes of a child process. Dropping it kills the process; closing it lets the process end.
pub(super) struct StdioLink {
    /// Until it is closed.
    pipes: Option<(FramedWrite<ChildStdin, Lines>, FramedRead<ChildStdout, Lines>)>,
    message_bytes_max: usize,
    /// Bytes that were put into the buffer of stdin, ever.
    buffered: u64,
    /// What the process last wrote to its stderr, until that is of no interest any more.
    last_line: Option<watch::Receiver<Option<String>>>,
    /// The way to the supervisor.
    orders: mpsc::Sender<Order>,
    /// Who starts the next process of this server waits until it has no receiver.
    endings: watch::Sender<()>,

    end: End,
    stdout_ended: bool,
    /// Why nothing can be written any more.
    stdin_broke: Option<String>,
    /// Runs from the first sign of the end.
    other_end: Option<Pin<Box<Sleep>>>,
    /// Its end was told.
    over: bool,
}

impl StdioLink {
    pub(super) fn new(
        (stdin, stdout): (ChildStdin, ChildStdout),
        message_bytes_max: usize,
        orders: mpsc::Sender<Order>,
        (exit, last_line): (oneshot::Receiver<Exit>, watch::Receiver<Option<String>>),
        endings: watch::Sender<()>,
    ) -> Self {
        let mut stdin = FramedWrite::new(stdin, Lines::new(message_bytes_max));
        stdin.set_backpressure_boundary(WRITE_BUFFER_BYTES);
        let stdout = FramedRead::new(stdout, Lines::new(message_bytes_max));
        Self {
            pipes: Some((stdin, stdout)),
            message_bytes_max,
            buffered: 0,
            last_line: Some(last_line),
            orders,
            endings,
            end: End::Awaited(exit),
            stdout_ended: false,
            stdin_broke: None,
            other_end: None,
            over: false,
        }
    }

    /// Ready when the process is over, as far as a link can tell.
    fn poll_end(&mut self, poller: &mut Context<'_>) -> Poll<LinkError> {
        if let End::Awaited(exit) = &mut self.end
            && let Poll::Ready(told) = exit.poll_unpin(poller)
        {
            self.end = told.map_or(End::Untold, End::Known);
        }
        let exited = !matches!(self.end, End::Awaited(_));
        if !(exited || self.stdout_ended || self.stdin_broke.is_some()) {
            return Poll::Pending;
        }
        if !(exited && self.stdout_ended) {
            let wait = self.other_end.get_or_insert_with(|| Box::pin(tokio::time::sleep(OTHER_END_WAIT)));
            std::task::ready!(wait.as_mut().poll(poller));
        }
        self.over = true;
        Poll::Ready(match (&mut self.end, self.stdin_broke.take()) {
            (End::Known(exit), _) => exit.error(),
            (End::Awaited(_), None) => LinkError::Closed {
                code: None,
                reason: "its stdout has ended, its process has not".to_owned(),
            },
            (End::Awaited(_), Some(reason)) => LinkError::Broken(format!("its stdin: {reason}")),
            (End::Untold, _) => LinkError::Broken("nobody keeps its process".to_owned()),
        })
    }

    fn failed(&mut self, error: &io::Error) -> LinkError {
        self.over = true;
        LinkError::Broken(format!("its stdout: {error}"))
    }

    /// A write that failed is no news of its own: mostly the process has ended, and the reading side tells how.
    fn written(&mut self, poll: Poll<Result<(), io::Error>>) -> Poll<Result<(), LinkError>> {
        if let Poll::Ready(Err(error)) = poll {
            self.stdin_broke = Some(error.to_string());
            return Poll::Ready(Ok(()));
        }
        poll.map(|_| Ok(()))
    }

    /// The pipe that can be written to.
    fn stdin(&mut self) -> Option<Pin<&mut FramedWrite<ChildStdin, Lines>>> {
        let usable = self.stdin_broke.is_none() && !self.over;
        self.pipes.as_mut().filter(|_| usable).map(|(stdin, _)| Pin::new(stdin))
    }

    /// Gives the process to its supervisor to be ended.
    fn give_up(&mut self) {
        let Some((stdin, stdout)) = self.pipes.take() else { return };
        let ending = self.endings.subscribe();
        let order = if self.over || self.stdin_broke.is_some() {
            Order::Kill { ending }
        } else {
            Order::Close { stdin, stdout: stdout.into_inner(), ending }
        };
        // A supervisor that has ended has ended the process.
        let _ = self.orders.try_send(order);
    }
}

impl Drop for StdioLink {
    fn drop(&mut self) {
        // Who does not close it has no time to wait for a process.
        self.over = true;
        self.give_up();
    }
}

impl Link for StdioLink {
    fn pings(&self) -> bool {
        // The end of a process is noticed at once.
        false
    }

    fn proves_life(&self) -> bool {
        // A process that was started may be about to fail.
        false
    }

    fn taken(&self) -> Option<u64> {
        let waiting = self.pipes.as_ref().map_or(0, |(stdin, _)| stdin.write_buffer().len());
        Some(self.buffered.saturating_sub(waiting as u64))
    }

    fn agreed(&mut self, _: &str) {
        // The supervisor writes lines for nobody.
        self.last_line = None;
    }

    fn last_line(&self) -> Option<String> {
        self.last_line.as_ref()?.borrow().clone()
    }

    fn hold(&mut self, token: Box<dyn Any + Send>) {
        // A supervisor that has ended leaves nothing to wait for.
        let _ = self.orders.try_send(Order::Hold(token));
    }
}

impl Stream for StdioLink {
    type Item = Result<Inbound, LinkError>;

    fn poll_next(self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let link = self.get_mut();
        if link.over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(error) = link.poll_end(poller) {
            return Poll::Ready(Some(Err(error)));
        }
        let Some((_, stdout)) = link.pipes.as_mut() else { return Poll::Ready(None) };
        if link.stdout_ended {
            return Poll::Pending;
        }
        match std::task::ready!(stdout.poll_next_unpin(poller)) {
            Some(Ok(Line::Whole(line))) => Poll::Ready(Some(Ok(Inbound::Message(line)))),
            Some(Ok(Line::TooLong { beginning, end })) => {
                let limit = link.message_bytes_max;
                Poll::Ready(Some(Ok(Inbound::TooLarge { beginning, end, limit })))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(link.failed(&error)))),
            None => {
                link.stdout_ended = true;
                link.poll_end(poller).map(|error| Some(Err(error)))
            }
        }
    }
}

impl Sink<Outbound> for StdioLink {
    type Error = LinkError;

    fn poll_ready(self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        let link = self.get_mut();
        if let Some(stdin) = link.stdin() {
            let ready = Sink::<Bytes>::poll_ready(stdin, poller);
            std::task::ready!(link.written(ready))?;
        }
        if link.stdin_broke.is_some() && !link.over {
            // What cannot be written is not taken: unsent, it may go elsewhere.
            return link.poll_end(poller).map(Err);
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, item: Outbound) -> Result<(), LinkError> {
        let link = self.get_mut();
        let frame = match item {
            Outbound::Request { frame, .. }
            | Outbound::Notice(frame)
            | Outbound::Cancel { frame: Some(frame), .. } => frame,
            Outbound::Cancel { frame: None, .. } | Outbound::Ping => return Ok(()),
        };
        let Some(mut stdin) = link.stdin() else { return Ok(()) };
        let before = stdin.write_buffer().len();
        let sent = Poll::Ready(stdin.as_mut().start_send(frame));
        let added = stdin.write_buffer().len().saturating_sub(before);
        link.buffered += added as u64;
        // It is only buffered; what fails is told by the reading side.
        let _ = link.written(sent);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        let link = self.get_mut();
        let Some(stdin) = link.stdin() else { return Poll::Ready(Ok(())) };
        let flushed = Sink::<Bytes>::poll_flush(stdin, poller);
        link.written(flushed)
    }

    /// Ready at once: the supervisor sees to the rest.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        self.get_mut().give_up();
        Poll::Ready(Ok(()))
    }
}
