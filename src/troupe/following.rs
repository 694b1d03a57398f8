//! Follows a `servers.json` on its disk.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::{Interval, MissedTickBehavior};

use crate::config::{ConfigError, ConfigFile};

/// How often the file is looked at: a person who saves it sees what comes of it within two looks, and one `stat` a second
/// costs nothing. Change notices of operating systems differ too much, and get lost where files are mounted.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The largest file that is read: some ten thousand servers have room in it.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Why a `servers.json` could not be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigFileError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It has a mistake.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The mistake.
        source: ConfigError,
    },
}

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
}

/// Follows a `servers.json`: gives what it says, and again whenever that has changed.
///
/// ```no_run
/// use mcp_troupe::{ConfigWatch, Troupe};
///
/// # async fn host() -> Result<(), Box<dyn std::error::Error>> {
/// let mut watch = ConfigWatch::new("servers.json");
/// let troupe = Troupe::builder().config(watch.read().await?).start().await?;
/// loop {
///     // A broken file changes nothing, and is looked at again when it changes.
///     match watch.changed().await {
///         Ok(file) => match troupe.apply(file).await {
///             Ok(applied) => println!("{applied}"),
///             Err(refused) => eprintln!("{refused}"),
///         },
///         Err(broken) => eprintln!("{broken}"),
///     }
/// }
/// # }
/// ```
pub struct ConfigWatch {
    path: PathBuf,
    looks: Option<Interval>,
    /// The state at the last look; none while there is no such file.
    seen: Option<Stamp>,
    /// The state, and the text, that were given last.
    taken: Option<Stamp>,
    text: Option<String>,
}

impl fmt::Debug for ConfigWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the text, which may hold secrets.
        f.debug_struct("ConfigWatch").field("path", &self.path).finish_non_exhaustive()
    }
}

impl ConfigWatch {
    /// Will follow this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), looks: None, seen: None, taken: None, text: None }
    }

    /// Reads the file now, changed or not.
    ///
    /// # Errors
    /// The file cannot be read, or has a mistake.
    pub async fn read(&mut self) -> Result<ConfigFile, ConfigFileError> {
        self.take().await?;
        self.parsed()
    }

    /// Waits until the file says something else than when it was last read. It is looked at each second, and read when it
    /// was the same at two looks, so that one that is being written is not. May be dropped at any time.
    ///
    /// # Errors
    /// What the file says now cannot be read, or has a mistake; it is told once.
    pub async fn changed(&mut self) -> Result<ConfigFile, ConfigFileError> {
        loop {
            let looks = self.looks.get_or_insert_with(|| {
                let mut looks = tokio::time::interval(LOOK_INTERVAL);
                looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                looks
            });
            looks.tick().await;
            let now = on_disk(&self.path, stamp).await.ok();
            let settled = std::mem::replace(&mut self.seen, now) == now;
            if settled && now != self.taken && self.take().await? {
                return self.parsed();
            }
        }
    }

    /// Reads the text. Returns whether it is another one.
    async fn take(&mut self) -> Result<bool, ConfigFileError> {
        let read = on_disk(&self.path, |path| {
            // Before the text: what is written after it is seen as another change.
            let stamp = stamp(path)?;
            if stamp.bytes > FILE_BYTES_MAX {
                let reason = format!("has {} bytes, more than {FILE_BYTES_MAX}", stamp.bytes);
                return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, reason));
            }
            Ok((stamp, std::fs::read_to_string(path)?))
        });
        let (stamp, text) = match read.await {
            Ok((stamp, text)) => (Some(stamp), Some(text)),
            Err(source) => {
                self.taken = self.seen;
                self.text = None;
                return Err(ConfigFileError::Io { path: self.path.clone(), source });
            }
        };
        self.taken = stamp;
        let former = std::mem::replace(&mut self.text, text);
        Ok(former != self.text)
    }

    fn parsed(&self) -> Result<ConfigFile, ConfigFileError> {
        let text = self.text.as_deref().unwrap_or_default();
        ConfigFile::parse(text).map_err(|source| ConfigFileError::Config { path: self.path.clone(), source })
    }
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let metadata = std::fs::metadata(path)?;
    Ok(Stamp { modified: metadata.modified().ok(), bytes: metadata.len() })
}

/// Asks the disk on a thread that may wait for it.
async fn on_disk<T: Send + 'static>(
    path: &Path,
    ask: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    let path = path.to_owned();
    let asked = tokio::task::spawn_blocking(move || ask(&path));
    // It does not panic; it is cancelled where the runtime ends.
    asked.await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"mcpServers":{"a":{"url":"ws://h"}}}"#;
    const TWO: &str = r#"{"mcpServers":{"a":{"url":"ws://h"},"b":{"url":"ws://h"}}}"#;

    fn write(path: &Path, text: &str) {
        let half = path.with_extension("new");
        std::fs::write(&half, text).unwrap();
        std::fs::rename(half, path).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_given_once_and_a_broken_file_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("servers.json");
        write(&path, ONE);
        let mut watch = ConfigWatch::new(&path);
        assert_eq!(watch.read().await.unwrap().servers.len(), 1);
        let quiet = Duration::from_secs(60);
        assert!(tokio::time::timeout(quiet, watch.changed()).await.is_err());
        write(&path, TWO);
        assert_eq!(watch.changed().await.unwrap().servers.len(), 2);
        write(&path, "{");
        assert!(matches!(watch.changed().await, Err(ConfigFileError::Config { .. })));
        assert!(tokio::time::timeout(quiet, watch.changed()).await.is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(watch.changed().await, Err(ConfigFileError::Io { .. })));
        assert!(tokio::time::timeout(quiet, watch.changed()).await.is_err());
        write(&path, TWO);
        assert_eq!(watch.changed().await.unwrap().servers.len(), 2);
    }
}
