//! Small files that a configuration points to: certificates, keys and secrets.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::shown;

/// Why a file was not read. It names the file, never what is in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("cannot read {}: {source}", shown::path(path))]
    Unreadable { path: PathBuf, source: io::Error },
    /// To open a pipe or a device may wait for ever.
    #[error("cannot read {}: it is no regular file", shown::path(.0))]
    NotAFile(PathBuf),
    #[error("{} is larger than {limit} bytes", shown::path(path))]
    TooLarge { path: PathBuf, limit: u64 },
}

/// Reads a regular file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let unreadable = |source| FileError::Unreadable { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(FileError::NotAFile(path.to_owned()));
    }
    let mut content = Vec::new();
    File::open(path).map_err(unreadable)?.take(limit + 1).read_to_end(&mut content).map_err(unreadable)?;
    if content.len() as u64 > limit {
        return Err(FileError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit_and_a_folder_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert!(matches!(read(&path, 4), Err(FileError::TooLarge { limit: 4, .. })));
        assert!(matches!(read(folder.path(), 5), Err(FileError::NotAFile(_))));
        let missing = read(&folder.path().join("none"), 5).unwrap_err();
        assert!(missing.to_string().contains("none"), "{missing}");
    }
}
