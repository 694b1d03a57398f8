//! Reads the files of clients, and writes the one that is made of them.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use super::places::Place;

/// The largest file that is read. That of Claude Code has all its user's projects and what was asked in them.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The text of a file, none where it is not there, or why it is not read.
pub fn read(place: &Place) -> Result<Option<String>, String> {
    match std::fs::symlink_metadata(&place.path) {
        Ok(_) => text_of(place).map(Some),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn text_of(place: &Place) -> Result<String, String> {
    let told = |error: io::Error| error.to_string();
    let real = std::fs::canonicalize(&place.path).map_err(told)?;
    let root = std::fs::canonicalize(&place.root).map_err(told)?;
    if !real.starts_with(&root) {
        return Err(format!("it is a link that leads out of {}", place.root.display()));
    }
    let file = open(&real).map_err(told)?;
    // An open file stays the same, whatever its name means from now on.
    if !file.metadata().map_err(told)?.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is larger than {FILE_BYTES_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is no text in UTF-8".to_owned())
}

/// Opens a file. To open a pipe that nobody writes would wait otherwise.
#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// The most names of one folder that are read.
const NAMES_MAX: usize = 10_000;

/// The names in a folder; none where it cannot be read.
pub fn inside(folder: &Path) -> Vec<OsString> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().take(NAMES_MAX);
    entries.filter_map(Result::ok).map(|entry| entry.file_name()).collect()
}

/// Whether stdout is a regular file that others than its owner may read.
#[cfg(unix)]
pub fn others_may_read_stdout() -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;
    let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    let metadata = stdout.and_then(|file| file.metadata());
    metadata.is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o044 != 0)
}

#[cfg(not(unix))]
pub fn others_may_read_stdout() -> bool {
    false
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a file that its owner alone may read, whole or not at all. One that is there is replaced where `force` says so; where
/// a link to one is there, the link stays and that file is replaced. What is no regular file is never replaced.
pub fn write(path: &Path, text: &str, force: bool) -> io::Result<()> {
    let real = match std::fs::canonicalize(path) {
        Ok(real) if force && !std::fs::metadata(&real)?.is_file() => {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(real) if force => real,
        Ok(_) => path.to_owned(),
        Err(error) if std::fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink()) => return Err(error),
        Err(_) => path.to_owned(),
    };
    let path = real.as_path();
    let folder = folder_of(path);
    // Temporary files have mode 0600.
    let mut file = tempfile::Builder::new().prefix(".servers-").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    let kept = if force { file.persist(path) } else { file.persist_noclobber(path) };
    kept.map(drop).map_err(|error| error.error)
}
