//! Files as they are opened here: found where their links lead, known by their handle, and never waited for.

use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, File, FileType, Metadata, OpenOptions};

use super::super::refusal::Refusal;
use super::rules::Rules;

/// Where a path leads that may not exist yet.
pub struct Target {
    /// The capability that the path is relative to.
    pub root: Dir,
    /// The path, with a link in its last place followed.
    pub path: PathBuf,
}

/// Finds the file that a request names. Where its name is a link, it is the file that the link leads to, which has to be
/// allowed as well: an extension that is denied is not to be had by another name. Folders have none that matters.
pub fn locate(root: &Dir, rules: &Rules, asked: &str) -> Result<Target, Refusal> {
    let (root, path) = rules.place(root, asked)?;
    if root.metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(Target { root, path });
    }
    rules.extension(&path)?;
    if !root.symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink()) {
        return Ok(Target { root, path });
    }
    let real = root.canonicalize(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Refusal::new("FILE_NOT_FOUND", format!("{asked} is a link to something that does not exist"))
        }
        _ => Rules::refuse(asked, &error),
    })?;
    rules.extension(&real)?;
    Ok(Target { root, path: real })
}

/// Opens a file. What is none is refused by what it is: whoever opens a FIFO waits for its other end, and a device does as
/// it likes. So the handle is looked at, which nobody can exchange, after it was opened without waiting; the name is
/// looked at before, since opening alone can set a device to work.
pub fn open(
    folder: &Dir,
    name: &Path,
    asked: &str,
    options: &mut OpenOptions,
) -> Result<(File, Metadata), Refusal> {
    let refuse = |error: std::io::Error| Rules::refuse(asked, &error);
    if let Ok(metadata) = folder.metadata(name) {
        regular(asked, metadata.file_type())?;
    }
    without_waiting(options);
    let file = folder.open_with(name, options).map_err(refuse)?;
    let metadata = file.metadata().map_err(refuse)?;
    regular(asked, metadata.file_type())?;
    Ok((file, metadata))
}

/// Refuses what is no regular file.
pub fn regular(asked: &str, kind: FileType) -> Result<(), Refusal> {
    if kind.is_file() {
        return Ok(());
    }
    Err(Refusal::new("INVALID_FILE_TYPE", format!("{asked} is {}, no file", name_of(kind))))
}

#[cfg(unix)]
fn without_waiting(options: &mut OpenOptions) {
    use cap_std::fs::OpenOptionsExt;
    use rustix::fs::OFlags;
    // The flags are small; a regular file does not heed this one.
    options.custom_flags(i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default());
}

#[cfg(not(unix))]
fn without_waiting(_: &mut OpenOptions) {}

fn name_of(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use cap_std::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a FIFO";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    if kind.is_dir() { "a directory" } else { "something else" }
}
