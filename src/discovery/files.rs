//! Servers in files: one, or a folder of them, that are looked at again and again.
//!
//! A file has the `mcpServers` object of a `servers.json` and nothing else; it belongs to the operator and may say of a server
//! all that a `servers.json` may. What is wrong with one server of it concerns that one alone. A file that cannot be read as a
//! whole, as one that is just being written, leaves its servers as they were.
//!
//! Files are read, not watched: a reading finds every change on every file system, also where a folder is mounted or swapped as
//! a whole, and some small files each second cost nothing that could be measured.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::{Answer, BoxFuture, Next, Skipped, Source, SourceError, Watch};
use crate::config::files::{self, FileError, Gate};
use crate::config::{LoosePermissions, ServersOneByOne, permissions, servers_one_by_one, shown};
use crate::duration::{TIME_MAX, later};
use crate::id::ServerId;

/// How often files are read unless another interval is said.
const INTERVAL: Duration = Duration::from_secs(1);

/// An answer is given this often, changed or not: so that who looks at the figures sees that the files are still there.
const ANSWER_AT_LATEST: Duration = Duration::from_secs(60);

/// The largest file, in bytes: some thousand servers.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The files of a folder together, in bytes: as much as a `servers.json` may have.
const FOLDER_BYTES_MAX: usize = 16 << 20;

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
    disk: Gate,
}

impl FileSource {
    /// The file, or the folder, at `path`, read every second.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), interval: INTERVAL, disk: Gate::new() }
    }

    /// Reads it at this interval: at most a thousand times a second, and once a year at least.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = interval.clamp(Duration::from_millis(1), TIME_MAX);
        self
    }
}

impl Source for FileSource {
    fn watch(&self) -> Box<dyn Watch> {
        let FileSource { path, interval, disk } = self.clone();
        Box::new(FileWatch { path, interval, disk, last: None, known: BTreeMap::new() })
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
    /// What of it others may write.
    loose: Vec<LoosePermissions>,
}

struct FileWatch {
    path: PathBuf,
    interval: Duration,
    /// The source's: a watch that begins anew asks no disk that still hangs.
    disk: Gate,
    /// What was read for the last answer.
    last: Option<Reading>,
    /// The servers of each file when it could be read.
    known: BTreeMap<String, Vec<ServerId>>,
}

impl Watch for FileWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<Answer, SourceError>> {
        Box::pin(async {
            let until = later(Instant::now(), ANSWER_AT_LATEST);
            loop {
                if self.last.is_some() {
                    tokio::time::sleep(self.interval).await;
                }
                let (path, last, late) = (self.path.clone(), self.last.take(), until <= Instant::now());
                let look = move || {
                    let reading = read(&path)?;
                    let tells = late || last.is_none_or(|last| last != reading);
                    // Here, since servers may have secrets in further files.
                    let servers = tells.then(|| reading.servers());
                    Ok((reading, servers))
                };
                // It is aborted where the runtime ends.
                let (reading, servers) = self.disk.aside(look).await.map_err(|_| SourceError::Ended)??;
                let answer = servers.map(|servers| self.answer(&reading, servers));
                self.last = Some(reading);
                if let Some(answer) = answer {
                    return answer;
                }
            }
        })
    }
}

impl FileWatch {
    fn answer(&mut self, reading: &Reading, servers: ServersByFile) -> Result<Answer, SourceError> {
        let Reading { folder, texts: _, loose } = reading;
        let within = ANSWER_AT_LATEST.saturating_add(self.interval);
        let mut answer = Answer::of(Vec::<crate::Server>::new(), Next::OnChange { within });
        answer.loose = loose.clone();
        self.known.retain(|file, _| servers.contains_key(file));
        for (file, servers) in servers {
            let servers = match servers {
                Ok(servers) => servers,
                Err(reason) if !folder => {
                    return Err(SourceError::Unintelligible(format!("{file}: {reason}")));
                }
                Err(reason) => {
                    let known = self.known.get(&file).into_iter().flatten();
                    let stay = known.map(|server| Skipped {
                        record: file.clone(),
                        server: Some(server.clone()),
                        reason: reason.clone(),
                    });
                    answer.skipped.extend(stay);
                    // Which servers it had was known to a watch before this one.
                    answer.partial |= !self.known.contains_key(&file);
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

/// The servers of each file, or what is wrong with the file.
type ServersByFile = BTreeMap<String, Result<ServersOneByOne, String>>;

impl Reading {
    /// What the files say, and the secrets that they name.
    fn servers(&self) -> ServersByFile {
        let servers = self.texts.iter().map(|(file, text)| {
            let text = text.as_ref().map_err(Clone::clone);
            let servers = text.and_then(|text| servers_one_by_one(text).map_err(|error| error.to_string()));
            (file.clone(), servers)
        });
        servers.collect()
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
        let loose = permissions::of_file(path).collect();
        return Ok(Reading { folder: false, texts: BTreeMap::from([(name(path), text)]), loose });
    }
    let mut files: Vec<PathBuf> = Vec::new();
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
        if files.len() > FILES_MAX {
            let reason = format!("{} has more than {FILES_MAX} files", path.display());
            return Err(SourceError::Unintelligible(reason));
        }
    }
    files.sort();
    let mut room = FOLDER_BYTES_MAX;
    let mut texts = BTreeMap::new();
    for file in &files {
        let text = text(file).unwrap_or_else(|error| Err(error.to_string()));
        let bytes = text.as_ref().map_or(0, |text| text.len());
        room = room.checked_sub(bytes).ok_or_else(|| {
            let reason =
                format!("{} has files of more than {FOLDER_BYTES_MAX} bytes together", path.display());
            SourceError::Unintelligible(reason)
        })?;
        texts.insert(name(file), text);
    }
    let loose =
        permissions::of(path).into_iter().chain(files.iter().filter_map(|file| permissions::of(file)));
    Ok(Reading { folder: true, texts, loose: loose.collect() })
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The text of a file, or what is wrong with it.
fn text(path: &Path) -> std::io::Result<Result<String, String>> {
    match files::read(path, FILE_BYTES_MAX) {
        Ok(bytes) => Ok(String::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned())),
        Err(FileError::Unreadable { source, .. }) => Err(source),
        Err(error) => Ok(Err(std::io::Error::from(error).to_string())),
    }
}
