//! Takes changed configurations while a command runs.

use std::path::{Path, PathBuf};

use mcp_troupe::id::ServerId;
use mcp_troupe::{Applied, ConfigFile, ConfigFileError, ConfigWatch, ServerInfo, Troupe};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::configuration;
use crate::output::{account, note};

/// A configuration file that is followed.
pub struct Reloading {
    stop: oneshot::Sender<()>,
    task: JoinHandle<u64>,
}

impl Reloading {
    /// Takes the file whenever it has changed, and on SIGHUP as it is. What comes of it goes to stderr.
    pub fn begin(troupe: &Troupe, mut watch: ConfigWatch, path: PathBuf) -> std::io::Result<Self> {
        let (stop, mut stopped) = oneshot::channel();
        let mut hangups = Hangups::listen()?;
        let troupe = troupe.clone();
        let task = tokio::spawn(async move {
            let mut taken = 0;
            loop {
                let file = tokio::select! { biased;
                    _ = &mut stopped => return taken,
                    () = hangups.next() => watch.read().await,
                    file = watch.changed() => file,
                };
                taken += u64::from(take(&troupe, file, &path).await);
            }
        });
        Ok(Self { stop, task })
    }

    /// Stops. Returns how many configurations were taken.
    pub async fn end(self) -> u64 {
        drop(self.stop);
        match self.task.await {
            Ok(taken) => taken,
            Err(error) => {
                note!("the configuration was not followed to the end: {error}");
                0
            }
        }
    }
}

async fn take(troupe: &Troupe, file: Result<ConfigFile, ConfigFileError>, path: &Path) -> bool {
    let refused = |reason: String| {
        account(&format!("not reloaded, the old configuration goes on: {reason}"));
        false
    };
    match file {
        Ok(mut file) => {
            configuration::tell_mistakes(path, &mut file);
            match troupe.apply(file).await {
                Ok(applied) => {
                    account(&format!("reloaded: {}", told(applied, &troupe.servers())));
                    true
                }
                Err(error) => refused(error.to_string()),
            }
        }
        // What to begin with helps nobody whose troupe plays.
        Err(ConfigFileError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            refused(format!("{}: there is no such file", path.display()))
        }
        Err(error) => {
            let refused = refused(format!("{} cannot be taken", path.display()));
            configuration::tell_refusal(path, &error);
            refused
        }
    }
}

/// What became of a configuration. Of those that it has with a mistake some play, as they did before.
fn told(mut applied: Applied, playing: &[ServerInfo]) -> String {
    let plays = |id: &ServerId| playing.iter().any(|info| info.id == *id);
    let (kept, left_out) = std::mem::take(&mut applied.left_out).into_iter().partition::<Vec<_>, _>(plays);
    applied.left_out = left_out;
    let kept: Vec<&str> = kept.iter().map(ServerId::as_str).collect();
    match kept.is_empty() {
        true => applied.to_string(),
        false => format!("{applied}; kept as they were for their mistakes: {}", kept.join(", ")),
    }
}

/// The signals that ask for the file to be read again.
#[cfg(unix)]
struct Hangups(tokio::signal::unix::Signal);

#[cfg(unix)]
impl Hangups {
    fn listen() -> std::io::Result<Self> {
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).map(Self)
    }

    async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

/// There are none.
#[cfg(not(unix))]
struct Hangups;

#[cfg(not(unix))]
impl Hangups {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        std::future::pending().await
    }
}
