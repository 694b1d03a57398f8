//! The supervisor: the one task that owns a child process, from its start until it is reaped.
//!
//! ```text
//! running ──it ended──▶ what is left of its group is killed, its last words are told to the link ──▶ over
//!    │ the link closed in order:   stdin closed ──2 s──▶ SIGTERM ──2 s──▶ SIGKILL ──▶ reaped, over
//!    │ the link broke, or was dropped:                                    SIGKILL ──▶ reaped, over
//! ```
//!
//! It stands beside the link, since the link may be dropped at any moment, and a process must be waited for after that.
//! It ends by itself when its link is gone. When the whole runtime goes, the drop of the process kills.

use std::any::Any;
use std::pin::{Pin, pin};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::codec::{FramedRead, FramedWrite};

use super::super::redact::mask::Mask;
use super::process::Process;
use super::stderr::{LINE_BYTES_MAX, LINES_MAX, LogLines, Noted, StderrLog, last_line, readable};
use crate::secret::Secret;
use crate::transport::LinkError;
use crate::transport::lines::Lines;

/// How long a server may take to end after its stdin was closed, and again after it was asked to end: what the SDKs of
/// the protocol grant.
const STAGE: Duration = Duration::from_secs(2);

/// How long a killed process is waited for. It takes longer only while it hangs inside of the kernel.
const KILLED_WAIT: Duration = Duration::from_secs(5);

/// How long the stderr of a process that has ended is read for its last words. It is at its end at once, unless somebody
/// who left the group holds it open.
const LAST_WORDS_WAIT: Duration = Duration::from_millis(50);

/// Held while a process is on its way out.
pub(super) type Ending = watch::Receiver<()>;

/// What a link orders.
pub(super) enum Order {
    /// Keep this until all is over.
    Hold(Box<dyn Any + Send>),
    /// Let the server end, and see that it does.
    Close { stdin: FramedWrite<ChildStdin, Lines>, stdout: ChildStdout, ending: Ending },
    /// End it at once.
    Kill { ending: Ending },
}

/// How a process ended by itself.
#[derive(Debug)]
pub(super) struct Exit {
    /// Unknown if somebody else reaped it.
    pub status: Option<ExitStatus>,
    /// The last lines of its stderr.
    pub last_words: Option<String>,
}

impl Exit {
    /// The end of the link that it brings about.
    pub(super) fn error(&mut self) -> LinkError {
        #[cfg(unix)]
        let signal = self.status.and_then(|status| std::os::unix::process::ExitStatusExt::signal(&status));
        #[cfg(not(unix))]
        let signal = None;
        let code = self.status.and_then(|status| status.code());
        LinkError::Exited { code, signal, stderr: self.last_words.take() }
    }
}

/// Owns a child process; see the module's page.
pub(super) struct ChildSupervisor {
    process: Process,
    /// Until it is at its end.
    stderr: Option<FramedRead<ChildStderr, LogLines>>,
    log: StderrLog,
    /// Where its last line is shown, while somebody looks.
    said: watch::Sender<Option<String>>,
    /// What its lines are told without.
    mask: Arc<Mask>,
    /// With what of them the next line may begin.
    rests: Vec<Secret>,
    /// The server, as the log names it.
    server: String,
    orders: mpsc::Receiver<Order>,
    /// Where the end of the process is told.
    exit: Option<oneshot::Sender<Exit>>,
}

impl ChildSupervisor {
    pub(super) fn new(
        process: Process,
        (stderr, said): (ChildStderr, watch::Sender<Option<String>>),
        mask: Arc<Mask>,
        server: String,
        orders: mpsc::Receiver<Order>,
        exit: oneshot::Sender<Exit>,
    ) -> Self {
        let stderr = Some(FramedRead::new(stderr, LogLines::default()));
        let log = StderrLog::new(Instant::now());
        Self { process, stderr, log, said, mask, rests: Vec::new(), server, orders, exit: Some(exit) }
    }

    /// Runs until the process is reaped.
    pub(super) async fn run(mut self) {
        let held = self.keep().await;
        drop(self);
        drop(held);
    }

    /// Sees the process to its end. Returns what is let go when nothing is left.
    async fn keep(&mut self) -> Vec<Box<dyn Any + Send>> {
        let mut held: Vec<Box<dyn Any + Send>> = Vec::new();
        loop {
            tokio::select! { biased;
                status = self.process.ended() => break self.tell(status.ok()).await,
                order = self.orders.recv() => match order {
                    Some(Order::Hold(token)) => held.push(token),
                    Some(Order::Close { stdin, stdout, ending }) => {
                        held.push(Box::new(ending));
                        break self.close(stdin, stdout).await;
                    }
                    Some(Order::Kill { ending }) => {
                        held.push(Box::new(ending));
                        break self.kill().await;
                    }
                    // The link's last order found no room.
                    None => break self.kill().await,
                },
                line = next_line(&mut self.stderr) => self.note(line).await,
            }
        }
        self.process.group_gone().await;
        let dropped = self.log.dropped();
        self.told_of(dropped);
        held
    }

    /// Tells the link how the process ended, and what it said last.
    async fn tell(&mut self, status: Option<ExitStatus>) {
        let rest = async {
            while self.stderr.is_some() {
                let line = next_line(&mut self.stderr).await;
                self.note(line).await;
            }
        };
        // What has been read by then must do.
        let _ = timeout(LAST_WORDS_WAIT, rest).await;
        if let Some(exit) = self.exit.take() {
            // A link that was dropped has no use for it.
            let _ = exit.send(Exit { status, last_words: self.log.last_words() });
        }
    }

    /// Lets the process end, in stages.
    async fn close(&mut self, mut stdin: FramedWrite<ChildStdin, Lines>, mut stdout: ChildStdout) {
        let finish = async move {
            // What a server does not read any more changes nothing.
            let _ = SinkExt::<Bytes>::flush(&mut stdin).await;
            drop(stdin);
        };
        // What it still says is read, so that it neither waits nor fails for that.
        let listen = async move { tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await };
        let goodbye = async { _ = tokio::join!(finish, listen) };
        let mut goodbye = pin!(goodbye.fuse());
        if self.ends_within(STAGE, goodbye.as_mut()).await {
            return;
        }
        if self.process.terminate() && self.ends_within(STAGE, goodbye).await {
            return;
        }
        self.kill().await;
    }

    /// Whether the process ends in time, while `beside` goes on.
    async fn ends_within(&mut self, limit: Duration, mut beside: Pin<&mut impl Future<Output = ()>>) -> bool {
        let ended = async {
            loop {
                tokio::select! { biased;
                    // Whether it was in order is its own business.
                    _ = self.process.ended() => return,
                    () = &mut beside => {}
                    line = next_line(&mut self.stderr) => self.note(line).await,
                }
            }
        };
        timeout(limit, ended).await.is_ok()
    }

    /// Kills the process and reaps it.
    async fn kill(&mut self) {
        self.process.kill();
        if timeout(KILLED_WAIT, self.process.ended()).await.is_err() {
            tracing::warn!(server = %self.server, "killed, and has not ended after {KILLED_WAIT:?}");
        }
    }

    /// Takes note of a line of stderr.
    async fn note(&mut self, line: Option<Bytes>) {
        let Some(line) = line else { return };
        // Colours first: a value that has some in it is one all the same.
        let shown = self.mask.apply(Bytes::from(readable(&line)));
        // Then what goes on from the line before it, and what goes on in the next one.
        let (shown, further) = Mask::without_rests(shown, &self.rests);
        self.rests = [further, self.mask.rests(&shown)].concat();
        let line =
            if line.len() < LINE_BYTES_MAX { self.mask.broken_off(shown) } else { self.mask.cut(shown) };
        // Last: what ends a line may go on in the next one.
        let line = self.mask.shortened(line);
        // One read brings many lines; a server that floods must not keep other tasks from their turn.
        tokio::task::consume_budget().await;
        let Noted { logged, dropped } = self.log.note(&line, Instant::now());
        if self.said.receiver_count() > 0 {
            self.said.send_replace(Some(last_line(&line)));
        }
        self.told_of(dropped);
        if logged {
            tracing::info!(target: "mcp_troupe::stderr", server = %self.server, "{}", String::from_utf8_lossy(&line));
        }
    }

    /// Tells of lines that were not logged.
    fn told_of(&self, dropped: u64) {
        if dropped > 0 {
            tracing::warn!(
                target: "mcp_troupe::stderr",
                server = %self.server,
                dropped,
                "it writes more than {LINES_MAX} lines a second: the others are not logged"
            );
        }
    }
}

/// The next line of stderr; `None` once, at its end.
async fn next_line(stderr: &mut Option<FramedRead<ChildStderr, LogLines>>) -> Option<Bytes> {
    let Some(lines) = stderr else { return std::future::pending().await };
    match lines.next().await {
        Some(Ok(line)) => Some(line),
        Some(Err(_)) | None => {
            *stderr = None;
            None
        }
    }
}
