//! Who may write what starts commands.
//!
//! A `servers.json`, and a folder of servers, start programs and name secrets: whoever may write them acts as the process that
//! reads them. OpenSSH and sudo refuse such files. Here it is told: operators have folders that a deployment's group writes.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Serialize, Serializer};

/// Who may write a file beside its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Writers {
    /// Its group, unless that has the owner's own number: most Linux systems give each user a group of that number alone.
    Group,
    /// Everyone on this machine.
    Everyone,
}

/// A file or a folder that starts commands and that others than its owner may write. Known on Unix only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct LoosePermissions {
    /// The file, or the folder.
    #[serde(serialize_with = "shown")]
    pub path: PathBuf,
    /// Who may write it.
    pub writers: Writers,
}

impl fmt::Display for LoosePermissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let writers = match self.writers {
            Writers::Group => "its group",
            Writers::Everyone => "everyone",
        };
        write!(
            f,
            "{} may be written by {writers}, and whoever writes it starts commands: take that right away (chmod go-w)",
            self.path.display()
        )
    }
}

/// Serialises a path as people read it.
pub(crate) fn shown<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// Whether others may write a file, or what is in a folder. It asks the disk; what cannot be asked is told by whoever reads it.
pub(crate) fn of(path: &Path) -> Option<LoosePermissions> {
    let writers = writers(&std::fs::metadata(path).ok()?, false)?;
    Some(LoosePermissions { path: path.to_owned(), writers })
}

/// The same of a file and of the folder that it is in: who may write that may put another file in its place.
pub(crate) fn of_file(path: &Path) -> impl Iterator<Item = LoosePermissions> {
    let folder = match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Some(Path::new(".")),
        folder => folder,
    };
    let folder = folder.and_then(|folder| {
        let writers = writers(&std::fs::metadata(folder).ok()?, true)?;
        Some(LoosePermissions { path: folder.to_owned(), writers })
    });
    of(path).into_iter().chain(folder)
}

/// Who may write it; of a folder with `sticky` on, who may replace what others have in it.
#[cfg(unix)]
fn writers(metadata: &std::fs::Metadata, sticky_guards: bool) -> Option<Writers> {
    use std::os::unix::fs::MetadataExt;
    let guarded = sticky_guards && metadata.mode() & 0o1000 != 0;
    writers_by(metadata.mode(), metadata.uid(), metadata.gid()).filter(|_| !guarded)
}

#[cfg(not(unix))]
fn writers(_: &std::fs::Metadata, _: bool) -> Option<Writers> {
    None
}

#[cfg(unix)]
fn writers_by(mode: u32, owner: u32, group: u32) -> Option<Writers> {
    match (mode & 0o002 != 0, mode & 0o020 != 0) {
        (true, _) => Some(Writers::Everyone),
        (false, true) if group != owner => Some(Writers::Group),
        (false, _) => None,
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_right_to_write_of_others_is_told_and_one_of_the_owners_own_group_is_none() {
        assert_eq!(writers_by(0o100_644, 1000, 50), None);
        assert_eq!(writers_by(0o100_664, 1000, 50), Some(Writers::Group));
        assert_eq!(writers_by(0o100_664, 1000, 1000), None);
        assert_eq!(writers_by(0o100_646, 1000, 1000), Some(Writers::Everyone));
    }

    #[test]
    fn the_folder_of_a_file_counts_unless_only_owners_may_replace_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("servers.json");
        std::fs::write(&file, "{}").unwrap();
        set(&file, 0o644);
        let found = || of_file(&file).map(|loose| loose.path).collect::<Vec<_>>();
        assert!(found().is_empty());
        set(folder.path(), 0o777);
        assert_eq!(found(), [folder.path()]);
        set(folder.path(), 0o1777);
        assert!(found().is_empty());
        // Anybody may add a file to such a folder all the same.
        assert!(of(folder.path()).is_some());
        set(&file, 0o666);
        assert_eq!(found(), [file.as_path()]);
        assert!(of(&file).unwrap().to_string().contains("everyone"));
    }
}
