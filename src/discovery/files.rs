//! Servers in files: one, or a folder of them, that are looked at again and again.
//!
//! A file has the `mcpServers` object of a `servers.json` and nothing else; it belongs to the operator and may say of a server
//! all that a `servers.json` may. What is wrong with one server of it concerns that one alone. A file that cannot be read as a
//! whole, as one that is just being written, leaves its servers as they were.
//!
//! Files are read, not watched: a reading finds every change on every file system, also where a folder is mounted or swapped as
//! a whole, and some small files each second cost nothing that could be measured.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::{Answer, BoxFuture, Next, Skipped, Source, SourceError, Watch};
use crate::config::{servers_one_by_one, shown};
use crate::id::ServerId;

/// How often files are read unless another interval is said.
const INTERVAL: Duration = Duration::from_secs(1);

/// An answer is given this often, changed or not: so that who looks at the figures sees that the files are still there.
const ANSWER_AT_LATEST: Duration = Duration::from_secs(60);

/// The largest file, in bytes: some thousand servers.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Files of a folder that are read, by name; a folder with more is not one of servers.
const FILES_MAX: usize = 1_000;

/// A source of servers in a file, or in the `.json` files of a folder.
///
/// ```no_run
/// use std::time::Duration;
///
/// use mcp_troupe::Troupe;
/// use mcp_troupe::discovery::FileSource;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let files = FileSource::new("/etc/mcp/servers.d").every(Duration::from_secs(5));
/// let troupe = Troupe::builder().source("files", files).start().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FileSource {
    path: PathBuf,
    interval: Duration,
}

impl FileSource {
    /// The file, or the folder, at `path`, read every second.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), interval: INTERVAL }
    }

    /// Reads it at this interval, at most a thousand times a second.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(1));
        self
    }
}

impl Source for FileSource {
    fn watch(&self) -> Box<dyn Watch> {
        let FileSource { path, interval } = self.clone();
        Box::new(FileWatch { path, interval, last: None, known: BTreeMap::new() })
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

/// What was read.
#[derive(PartialEq)]
struct Reading {
    /// The path is a folder's.
    folder: bool,
    /// The text of each file, or why there is none.
    texts: BTreeMap<String, Result<String, String>>,
}

struct FileWatch {
    path: PathBuf,
    interval: Duration,
    /// What was read for the last answer.
    last: Option<Reading>,
    /// The servers of each file when it could be read.
    known: BTreeMap<String, Vec<ServerId>>,
}

impl Watch for FileWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<Answer, SourceError>> {
        Box::pin(async {
            let until = Instant::now() + ANSWER_AT_LATEST;
            loop {
                if self.last.is_some() {
                    tokio::time::sleep(self.interval).await;
                }
                let path = self.path.clone();
                let read = tokio::task::spawn_blocking(move || read(&path)).await;
                // It is aborted where the runtime ends.
                let reading = read.map_err(|_| SourceError::Ended)??;
                if self.last.as_ref() != Some(&reading) || until <= Instant::now() {
                    let answer = self.answer(&reading);
                    self.last = Some(reading);
                    return answer;
                }
            }
        })
    }
}

impl FileWatch {
    fn answer(&mut self, Reading { folder, texts }: &Reading) -> Result<Answer, SourceError> {
        let within = ANSWER_AT_LATEST + self.interval;
        let mut answer = Answer::of(Vec::<crate::Server>::new(), Next::OnChange { within });
        self.known.retain(|file, _| texts.contains_key(file));
        for (file, text) in texts {
            let text = text.as_ref().map_err(Clone::clone);
            let servers = text.and_then(|text| servers_one_by_one(text).map_err(|error| error.to_string()));
            let servers = match servers {
                Ok(servers) => servers,
                Err(reason) if !folder => {
                    return Err(SourceError::Unintelligible(format!("{file}: {reason}")));
                }
                Err(reason) => {
                    let known = self.known.get(file).into_iter().flatten();
                    let stay = known.map(|server| Skipped {
                        record: file.clone(),
                        server: Some(server.clone()),
                        reason: reason.clone(),
                    });
                    answer.skipped.extend(stay);
                    // Which servers it had was known to a watch before this one.
                    answer.partial |= !self.known.contains_key(file);
                    answer.skipped.push(Skipped { record: file.clone(), server: None, reason });
                    continue;
                }
            };
            let ids = servers.iter().filter_map(|(id, _)| ServerId::new(id).ok());
            self.known.insert(file.clone(), ids.collect());
            for (id, server) in servers {
                match server {
                    Ok(server) => answer.servers.push(server.into()),
                    Err(error) => answer.skipped.push(Skipped {
                        record: format!("{file}: {}", shown::name(&id)),
                        server: ServerId::new(&id).ok(),
                        reason: error.to_string(),
                    }),
                }
            }
        }
        Ok(answer)
    }
}

/// Reads the file, or all files of the folder.
fn read(path: &Path) -> Result<Reading, SourceError> {
    let unreadable = |error: std::io::Error| {
        let reason = format!("{}: {error}", path.display());
        match error.kind() {
            ErrorKind::NotFound => SourceError::NotFound(reason),
            ErrorKind::PermissionDenied => SourceError::Refused(reason),
            _ => SourceError::Unreachable(reason),
        }
    };
    if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        let text = text(path).map_err(unreadable)?;
        return Ok(Reading { folder: false, texts: BTreeMap::from([(name(path), text)]) });
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let hidden = name(&file).starts_with('.');
        if hidden || file.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let there = match std::fs::metadata(&file) {
            Ok(metadata) => metadata.is_file(),
            // A link to nothing is a file that is just being replaced, and one that cannot be looked at may be one: its
            // servers stay. What is not even a link was taken away meanwhile.
            Err(_) => file.symlink_metadata().is_ok(),
        };
        if there {
            files.push(file);
        }
    }
    files.sort();
    if files.len() > FILES_MAX {
        let reason = format!("{} has more than {FILES_MAX} files", path.display());
        return Err(SourceError::Unintelligible(reason));
    }
    let texts = files.iter().map(|file| {
        let text = text(file).unwrap_or_else(|error| Err(error.to_string()));
        (name(file), text)
    });
    Ok(Reading { folder: true, texts: texts.collect() })
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The text of a file, or what is wrong with it.
fn text(path: &Path) -> std::io::Result<Result<String, String>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Ok(Err(format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(String::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned()))
}
