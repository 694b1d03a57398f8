//! What asks a command to end: Ctrl-C (SIGINT), SIGTERM, and the end of its terminal (SIGHUP). The first of them lets it end in
//! order, with the servers that it has started; the second ends it at once.

use std::time::Duration;

use tokio::sync::{oneshot, watch};

/// What a shell expects of a program that ended by SIGINT, by SIGTERM, and by SIGHUP: 128 and the signal's number.
const INTERRUPTED: u8 = 130;
#[cfg(unix)]
const TERMINATED: u8 = 143;
#[cfg(unix)]
const HUNG_UP: u8 = 129;

/// How long a command that was asked twice may take to drop what it has.
const FORCED_AFTER: Duration = Duration::from_secs(2);

/// Tells whether the command was asked to end, and with which exit code it does.
#[derive(Clone)]
pub struct Stop {
    asked: watch::Receiver<Option<u8>>,
    twice: watch::Receiver<Option<u8>>,
}

impl Stop {
    /// Listens from now on. To be called within the runtime. To some commands a hangup means something else.
    pub fn listen(hangup_ends: bool) -> Self {
        let (asked, once) = watch::channel(None);
        let (asked_again, twice) = watch::channel(None);
        tokio::spawn(async move {
            let mut signals = Signals::listen(hangup_ends);
            asked.send_replace(Some(signals.next().await));
            // The end of one terminal is told more than once, by the shell and by the system.
            signals.hang_up_no_more();
            let code = signals.next().await;
            asked_again.send_replace(Some(code));
            // What is held up where it cannot be dropped, as by a reader who takes nothing, holds up no longer.
            tokio::time::sleep(FORCED_AFTER).await;
            std::process::exit(code.into());
        });
        Self { asked: once, twice }
    }

    /// Waits until the command is asked to end. Returns its exit code.
    pub async fn asked(&self) -> u8 {
        first(self.asked.clone()).await
    }

    /// The same where it was asked twice.
    pub async fn asked_twice(&self) -> u8 {
        first(self.twice.clone()).await
    }

    /// The exit code, if the command was asked to end.
    pub fn code(&self) -> Option<u8> {
        *self.asked.borrow()
    }

    /// Does some work, unless the command is asked to end meanwhile: then the work is dropped.
    pub async fn unless<T>(&self, work: impl Future<Output = T>) -> Result<T, u8> {
        tokio::select! { biased;
            code = self.asked() => Err(code),
            done = work => Ok(done),
        }
    }
}

/// Waits until there is a code.
async fn first(mut asked: watch::Receiver<Option<u8>>) -> u8 {
    match asked.wait_for(Option::is_some).await.map(|code| *code) {
        Ok(Some(code)) => code,
        // Nobody listens any more: the runtime is ending.
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

/// Does what may wait for ever, such as to read stdin, unless the command is asked to end meanwhile. It has a thread of its
/// own: for one of the runtime's the end of the command would wait.
pub async fn aside<T: Send + 'static>(
    stop: &Stop,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, u8> {
    let (done, result) = oneshot::channel();
    std::thread::spawn(move || done.send(work()));
    match stop.unless(result).await? {
        Ok(result) => Ok(result),
        // It panicked, and has said so.
        Err(_) => Err(crate::FAILED),
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: Option<tokio::signal::unix::Signal>,
    terminate: Option<tokio::signal::unix::Signal>,
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    /// Where a signal cannot be heard it ends the program, as it does by itself.
    fn listen(hangup_ends: bool) -> Self {
        use tokio::signal::unix::{SignalKind, signal};

        let [interrupt, terminate] =
            [SignalKind::interrupt(), SignalKind::terminate()].map(|kind| signal(kind).ok());
        let hangup =
            (hangup_ends && !is_hangup_ignored()).then(|| signal(SignalKind::hangup()).ok()).flatten();
        Self { interrupt, terminate, hangup }
    }

    /// From now on a hangup ends nothing.
    fn hang_up_no_more(&mut self) {
        self.hangup = None;
    }

    async fn next(&mut self) -> u8 {
        async fn received(signal: &mut Option<tokio::signal::unix::Signal>) {
            match signal {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        }
        tokio::select! {
            () = received(&mut self.interrupt) => INTERRUPTED,
            () = received(&mut self.terminate) => TERMINATED,
            () = received(&mut self.hangup) => HUNG_UP,
        }
    }
}

/// Whether whoever started this program wants it to go on without its terminal, as `nohup` does. Seen where the system tells it.
#[cfg(unix)]
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen(_: bool) -> Self {
        Self
    }

    fn hang_up_no_more(&mut self) {}

    async fn next(&mut self) -> u8 {
        match tokio::signal::ctrl_c().await {
            Ok(()) => INTERRUPTED,
            Err(_) => std::future::pending().await,
        }
    }
}
