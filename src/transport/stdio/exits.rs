//! When to look whether a child has ended, without reaping it: tokio's own wait reaps at once.

#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;

use rustix::process::Pid;
#[cfg(target_os = "linux")]
use rustix::process::{PidfdFlags, pidfd_open};
#[cfg(target_os = "linux")]
use tokio::io::{Interest, unix::AsyncFd};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What tells that it is time to look.
pub(super) enum Exits {
    /// The descriptor of the child, which can be read when it has ended.
    #[cfg(target_os = "linux")]
    Own(AsyncFd<OwnedFd>),
    /// The signal for all children of this process. Where there are no descriptors of processes, tokio listens to it as
    /// well, so that it changes nothing for the host.
    All(Signal),
}

impl Exits {
    /// What tells it of the child `leader`. Who looks at once, and then waits for it, misses nothing.
    pub(super) fn of(leader: Option<Pid>) -> std::io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Some(descriptor) = leader.and_then(|leader| pidfd_open(leader, PidfdFlags::NONBLOCK).ok()) {
            return own(descriptor);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = leader;
        signal(SignalKind::child()).map(Self::All)
    }

    /// Waits until it is time to look. May be dropped and asked again.
    pub(super) async fn next(&mut self) {
        let tells = match self {
            #[cfg(target_os = "linux")]
            // It stays readable: whoever looks too early looks again.
            Self::Own(descriptor) => descriptor.readable().await.is_ok(),
            Self::All(signals) => signals.recv().await.is_some(),
        };
        if !tells {
            // The runtime ends, and the child with it.
            std::future::pending::<()>().await;
        }
        tokio::task::yield_now().await;
    }
}

/// Watches a descriptor that is ours.
#[cfg(target_os = "linux")]
#[expect(deprecated, reason = "it was sound only for types that keep one open descriptor, as this one does")]
fn own(descriptor: OwnedFd) -> std::io::Result<Exits> {
    AsyncFd::with_interest(descriptor, Interest::READABLE).map(Exits::Own)
}
