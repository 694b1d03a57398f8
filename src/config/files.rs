//! Files that a configuration names: `servers.json` itself, folders of servers, certificates, keys, secrets, pins.
//!
//! All of them are read here, by one rule: a file is opened without waiting, the open file is asked what it is, and at most so
//! much of it is read as it may hold. A name can mean another file from one moment to the next; an open file stays the same. So
//! a pipe or a device, which may never have anything to read, holds no thread, whenever it took the place of a file.
//!
//! Reading waits for the disk, or for a network: it is done on threads for that ([`aside`]), never in an actor.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Semaphore;

/// The largest file of certificates: all authorities of the web together are a quarter of it.
#[cfg(any(feature = "consul", feature = "etcd", feature = "http", feature = "websocket"))]
pub(crate) const PEM_BYTES_MAX: u64 = 1 << 20;

use super::shown;

/// Why a file was not read. It names the file, never what is in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("cannot read {}: {source}", shown::path(path))]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("cannot read {}: it is a folder: name a file in it", shown::path(.0))]
    Folder(PathBuf),
    /// To read a pipe or a device may wait for ever.
    #[error("cannot read {}: it is no regular file", shown::path(.0))]
    NotAFile(PathBuf),
    #[error("{} is larger than {limit} bytes", shown::path(path))]
    TooLarge { path: PathBuf, limit: u64 },
}

/// The text of a configuration, or why it cannot be read and what to do.
pub(super) fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let bytes = error.as_bytes();
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return io::Error::other("it is written in UTF-16: save it as UTF-8");
        }
        let before = &bytes[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1);
        io::Error::other(format!("line {line} is no text in UTF-8: save the file as UTF-8"))
    })
}

/// The same without the file's name, for those who tell it themselves.
impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Unreadable { source, .. } => source,
            FileError::Folder(_) => {
                Self::new(io::ErrorKind::IsADirectory, "it is a folder: name a file in it")
            }
            FileError::NotAFile(_) => Self::new(io::ErrorKind::InvalidInput, "it is no regular file"),
            FileError::TooLarge { limit, .. } => {
                Self::new(io::ErrorKind::FileTooLarge, format!("it is larger than {limit} bytes"))
            }
        }
    }
}

/// What tells one state of a file from another without reading it. A file that takes another's place has another number, however
/// alike their times and sizes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    #[cfg(unix)]
    number: (u64, u64),
}

impl Stamp {
    /// The state of what has this metadata.
    fn of(metadata: &Metadata) -> Self {
        Self {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
            #[cfg(unix)]
            number: {
                use std::os::unix::fs::MetadataExt;
                (metadata.dev(), metadata.ino())
            },
        }
    }
}

/// What a file held.
#[derive(Debug)]
pub(crate) struct Content {
    pub bytes: Vec<u8>,
    /// From before it was read: what is written after that is seen as another change.
    pub stamp: Stamp,
}

/// The state of a file, which is not opened for it.
pub(crate) fn stamp(path: &Path) -> io::Result<Stamp> {
    Ok(Stamp::of(&std::fs::metadata(path)?))
}

/// Reads a regular file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    read_stamped(path, limit).map(|content| content.bytes)
}

/// The same, with its state.
pub(crate) fn read_stamped(path: &Path, limit: u64) -> Result<Content, FileError> {
    let unreadable = |source| FileError::Unreadable { path: path.to_owned(), source };
    let file = open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(FileError::Folder(path.to_owned()));
    }
    if !metadata.is_file() {
        return Err(FileError::NotAFile(path.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(Content { bytes, stamp: Stamp::of(&metadata) })
}

/// Opens a file for reading. To open a pipe that nobody writes would wait otherwise.
#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Asks the disk on a thread that may wait for it.
///
/// # Errors
/// The runtime is ending and starts nothing more.
pub(crate) async fn aside<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(ask).await.map_err(io::Error::other)
}

/// Lets one at a time ask the disk. Where that hangs, one thread hangs with it, however often it is asked; the runtime has a
/// few hundred of them, and names of hosts are looked up by the same.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    /// A gate with nobody in it.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// The same as [`aside`], when nobody is left who asks. Whoever asks may leave; the thread stays at its question.
    ///
    /// # Errors
    /// As for [`aside`].
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        ask: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let place = self.0.clone().acquire_owned().await.map_err(io::Error::other)?;
        aside(move || {
            let answer = ask();
            drop(place);
            answer
        })
        .await
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Makes a pipe that nobody writes.
    #[cfg(unix)]
    pub(crate) fn pipe(path: &Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success());
    }

    #[test]
    fn a_file_is_read_up_to_its_limit_and_a_folder_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert!(matches!(read(&path, 4), Err(FileError::TooLarge { limit: 4, .. })));
        assert!(matches!(read(folder.path(), 5), Err(FileError::Folder(_))));
        let missing = read(&folder.path().join("none"), 5).unwrap_err();
        assert!(missing.to_string().contains("none"), "{missing}");
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_and_a_device_are_no_files_and_hold_no_thread() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        pipe(&path);
        for path in [path.as_path(), Path::new("/dev/zero"), Path::new("/dev/tty")] {
            let error = read(path, 5).unwrap_err();
            // Without a terminal there is none to open.
            let none = matches!(&error, FileError::Unreadable { .. } if path.ends_with("tty"));
            assert!(none || matches!(error, FileError::NotAFile(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn a_disk_that_hangs_holds_one_thread_however_often_it_is_asked() {
        let gate = Gate::new();
        let (hangs, hung) = std::sync::mpsc::channel::<()>();
        let (began, begun) = tokio::sync::oneshot::channel();
        let asked = tokio::spawn({
            let gate = gate.clone();
            async move {
                let hang = move || {
                    let _ = began.send(());
                    let _ = hung.recv();
                };
                gate.aside(hang).await
            }
        });
        begun.await.unwrap();
        // Who gave up waiting has left, its thread has not.
        asked.abort();
        let _ = asked.await;
        for _ in 0..3 {
            let mut again = Box::pin(gate.aside(|| ()));
            assert!(futures_util::poll!(&mut again).is_pending());
        }
        drop(hangs);
        gate.aside(|| ()).await.unwrap();
    }

    #[test]
    fn a_file_that_takes_the_place_of_another_has_another_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&path, "1").unwrap();
        std::fs::write(&other, "2").unwrap();
        let former = read_stamped(&path, 5).unwrap().stamp;
        assert_eq!(stamp(&path).unwrap(), former);
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        File::options().write(true).open(&other).unwrap().set_modified(time).unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(!cfg!(unix) || stamp(&path).unwrap() != former);
    }
}
