//! Follows a `servers.json` on its disk.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use crate::config::files::{self, Content, Gate, Stamp};
use crate::config::{ConfigError, ConfigFile, Diagnostic, Reading as Said, Variables};

crate::error::debug_as_display!(ConfigFileError);

/// How often the file is looked at: a person who saves it sees what comes of it within two looks, and one `stat` a second
/// costs nothing. Change notices of operating systems differ too much, and get lost where files are mounted.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The largest file that is read: some ten thousand servers have room in it.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Why a `servers.json` could not be taken.
#[derive(thiserror::Error)]
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
    /// It has a mistake that concerns the whole.
    #[error("{}: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The mistake.
        source: ConfigError,
        /// All that is wrong with the file, and warnings about it, with their places.
        diagnostics: Vec<Diagnostic>,
    },
}

/// What one reading of the file brought.
struct Reading {
    stamp: Stamp,
    text: Arc<str>,
    /// What it says; none if it was not to be parsed, being the same text as before.
    said: Option<Said>,
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
    variables: Variables,
    disk: Gate,
    looks: Option<Interval>,
    /// The state at the last look; none while there is no such file.
    seen: Option<Stamp>,
    /// The state, and the text, that were given last.
    taken: Option<Stamp>,
    text: Option<Arc<str>>,
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
        let (path, variables) = (path.into(), Variables::new());
        Self { path, variables, disk: Gate::new(), looks: None, seen: None, taken: None, text: None }
    }

    /// Gives the names that references in the file may have, such as `${workspaceFolder}`.
    #[must_use]
    pub fn variables(mut self, variables: Variables) -> Self {
        self.variables = variables;
        self
    }

    /// Reads the file now, changed or not.
    ///
    /// # Errors
    /// The file cannot be read, or has a mistake that concerns the whole.
    pub async fn read(&mut self) -> Result<ConfigFile, ConfigFileError> {
        let said = self.take(false).await?;
        let unread =
            || Said { file: Err(ConfigError::new("servers.json", "was not read")), diagnostics: Vec::new() };
        self.given(said.unwrap_or_else(unread))
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
            let path = self.path.clone();
            let now = self.disk.aside(move || files::stamp(&path)).await.and_then(|stamp| stamp).ok();
            let settled = std::mem::replace(&mut self.seen, now) == now;
            if settled
                && now != self.taken
                && let Some(said) = self.take(true).await?
            {
                return self.given(said);
            }
        }
    }

    /// Reads the text, and what it says: on a thread that may wait, for it may name secrets in further files. Nothing is
    /// remembered before all of that is done. None if only another text was wanted and it is the same.
    async fn take(&mut self, only_another: bool) -> Result<Option<Said>, ConfigFileError> {
        let (path, former) = (self.path.clone(), self.text.clone().filter(|_| only_another));
        let variables = self.variables.clone();
        let read = self.disk.aside(move || {
            let Content { bytes, stamp } = files::read_stamped(&path, FILE_BYTES_MAX)?;
            let text = ConfigFile::decode(bytes)?;
            let said = (former.as_deref() != Some(&*text)).then(|| {
                let mut said = ConfigFile::read(&text, &variables);
                if let Ok(file) = &mut said.file {
                    file.loose = file.loose_permissions(&path);
                }
                said
            });
            Ok(Reading { stamp, text: text.into(), said })
        });
        match read.await.and_then(|read| read) {
            Ok(Reading { stamp, text, said }) => {
                self.taken = Some(stamp);
                self.text = Some(text);
                Ok(said)
            }
            Err(source) => {
                self.taken = self.seen;
                self.text = None;
                Err(ConfigFileError::Io { path: self.path.clone(), source })
            }
        }
    }

    fn given(&self, said: Said) -> Result<ConfigFile, ConfigFileError> {
        let Said { file, diagnostics } = said;
        file.map_err(|source| ConfigFileError::Config { path: self.path.clone(), source, diagnostics })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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

    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn a_pipe_in_the_place_of_the_file_is_told_and_holds_nothing_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("servers.json");
        files::tests::pipe(&path);
        let mut watch = ConfigWatch::new(&path);
        let told = watch.read().await.unwrap_err();
        assert!(told.to_string().contains("no regular file"), "{told}");
        write(&path, ONE);
        assert_eq!(watch.changed().await.unwrap().servers.len(), 1);
        // The runtime ends with the test, which it could not with a thread that waits for a writer.
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_was_read_while_nobody_waited_any_more_is_given_to_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("servers.json");
        write(&path, ONE);
        let mut watch = ConfigWatch::new(&path);
        watch.read().await.unwrap();
        write(&path, TWO);
        // Dropped at each of its waits.
        for polls in 0..20 {
            let mut changed = Box::pin(watch.changed());
            for _ in 0..polls {
                if let Some(given) = futures_util::FutureExt::now_or_never(&mut changed) {
                    assert_eq!(given.unwrap().servers.len(), 2);
                    return;
                }
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(watch.changed().await.unwrap().servers.len(), 2);
    }
}
