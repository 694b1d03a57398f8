//! What the file server allows, besides staying below its root.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use cap_std::fs::Dir;

use super::super::params;
use super::super::refusal::Refusal;

/// The encodings of file content.
pub const ENCODINGS: [&str; 7] = ["utf8", "utf-8", "ascii", "base64", "hex", "binary", "latin1"];

/// The rules.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Folders below the root that may be touched; `.` is all of it.
    pub allowed_paths: Vec<PathBuf>,
    /// The largest file that is read or written: 10 MiB.
    pub file_bytes_max: u64,
    /// Nothing is written.
    pub read_only: bool,
    /// Only files with one of these extensions (lower case, with the dot), if there are any.
    pub allowed_extensions: Vec<String>,
    /// No files with one of these extensions.
    pub denied_extensions: Vec<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            allowed_paths: vec![PathBuf::from(".")],
            file_bytes_max: 10 << 20,
            read_only: false,
            allowed_extensions: Vec::new(),
            denied_extensions: Vec::new(),
        }
    }
}

impl Rules {
    /// Where the path that a request names lies: the capability for its allowed folder, and the rest, made plain.
    ///
    /// Links are not looked at here: a capability follows none that leads out of its folder.
    pub fn place(&self, root: &Dir, asked: &str) -> Result<(Dir, PathBuf), Refusal> {
        params::length("path", asked, 1, 1000)?;
        let outside = || Refusal::new("PATH_TRAVERSAL", "Access denied: Path outside allowed directories");
        // A backslash is a separator to a caller on Windows, and never part of a name that is meant well.
        if asked.contains('\\') || asked.contains('\0') {
            return Err(outside());
        }
        let mut plain = PathBuf::new();
        for component in Path::new(asked).components() {
            match component {
                Component::Normal(part) => plain.push(part),
                Component::CurDir => {}
                Component::ParentDir => {
                    if !plain.pop() {
                        return Err(outside());
                    }
                }
                Component::RootDir | Component::Prefix(_) => return Err(outside()),
            }
        }
        let whole = |folder: &PathBuf| folder.as_path() == Path::new(".");
        let allowed = self.allowed_paths.iter().find(|folder| whole(folder) || plain.starts_with(folder));
        let folder = allowed.ok_or_else(outside)?;
        let rest = if whole(folder) { plain.as_path() } else { plain.strip_prefix(folder).unwrap_or(&plain) };
        let rest = if rest.as_os_str().is_empty() { PathBuf::from(".") } else { rest.to_owned() };
        let place = root.open_dir(folder).map_err(|error| Self::refuse(asked, &error))?;
        Ok((place, rest))
    }

    /// Checks the extension of a file; folders have none that matters.
    pub fn extension(&self, path: &Path) -> Result<(), Refusal> {
        let extension = path.extension().map(|e| format!(".{}", e.to_string_lossy().to_lowercase()));
        let extension = extension.unwrap_or_default();
        if self.denied_extensions.contains(&extension) {
            let message = format!("files with the extension {extension} are denied");
            return Err(Refusal::new("DENIED_EXTENSION", message));
        }
        if !self.allowed_extensions.is_empty() && !self.allowed_extensions.contains(&extension) {
            let message = format!("files with the extension {extension:?} are not allowed");
            return Err(Refusal::new("INVALID_EXTENSION", message));
        }
        Ok(())
    }

    /// What an error of the operating system means to the caller. It names the path as the caller did.
    pub fn refuse(asked: &str, error: &std::io::Error) -> Refusal {
        match error.kind() {
            ErrorKind::NotFound => Refusal::new("FILE_NOT_FOUND", format!("{asked} does not exist")),
            // The system's own refusal has a number; the other is how the capability refuses to leave its folder.
            ErrorKind::PermissionDenied if error.raw_os_error().is_some() => {
                Refusal::denied("PERMISSION_DENIED", format!("{asked}: this server is not permitted to"))
            }
            ErrorKind::PermissionDenied => {
                Refusal::new("PATH_TRAVERSAL", "Access denied: Path outside allowed directories")
            }
            ErrorKind::NotADirectory => {
                Refusal::new("INVALID_DIRECTORY", format!("a part of {asked} is no directory"))
            }
            kind => Refusal::internal(format!("{asked}: {kind}")),
        }
    }
}
