//! A file of this program's own that only its owner may read or write, in a folder of the same kind.
//!
//! What is read from it is believed, so that nobody else may be able to write it, or to put another file in its place: on Unix the
//! folder is opened first, without following a link, and everything else is done in the folder that was opened. It is written as
//! a whole beside the old one, which it then replaces, so that whoever reads sees the one or the other.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::shown;

/// How the name of a file ends that is being written.
const UNFINISHED: &str = ".new";

/// A file that is still unfinished after this time was left behind by a process that was killed.
const LEFT_BEHIND_AFTER: Duration = Duration::from_secs(3600);

/// Names of the folder that are looked at for such files: a folder of this program's own has few.
const LOOKED_AT_MAX: usize = 1_000;

/// Why the file was not read or not written. It names the file, never what is in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrivateError {
    #[error("{} is a link, or not a {kind}: name another path", shown::path(path))]
    OfAnotherKind { path: PathBuf, kind: &'static str },
    #[cfg(unix)]
    #[error("{} belongs to another user: name another path", shown::path(.0))]
    OfAnotherUser(PathBuf),
    #[cfg(unix)]
    #[error(
        "{} lets others in (mode {mode:o}): name a path in a folder of its own, which is made with the right mode; or, where nobody else needs that folder, chmod go-rwx",
        shown::path(path)
    )]
    Loose { path: PathBuf, mode: u32 },
    #[error("{} is larger than {limit} bytes", shown::path(path))]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("cannot read {}: {source}", shown::path(path))]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", shown::path(path))]
    Unwritable { path: PathBuf, source: io::Error },
}

/// The folder and the name of a file.
fn parts(path: &Path) -> io::Result<(&Path, &std::ffi::OsStr)> {
    let name = path.file_name().ok_or_else(|| io::Error::other("it is no path of a file"))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    Ok((folder.unwrap_or(Path::new(".")), name))
}

/// Whether it could be written, with its folder where there is none. Nothing is changed.
pub(crate) fn check(path: &Path) -> Result<(), PrivateError> {
    let unwritable = |source| PrivateError::Unwritable { path: path.to_owned(), source };
    let (place, name) = parts(path).map_err(unwritable)?;
    match system::Folder::open(place)? {
        Some(folder) => {
            drop(folder.read(name, path)?);
            system::takes_names(place).map_err(unwritable)
        }
        None => could_be_made(place).map_err(unwritable),
    }
}

/// Whether a folder that is not there could be made, in the nearest one above it that is.
fn could_be_made(folder: &Path) -> io::Result<()> {
    for above in folder.ancestors().skip(1) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match std::fs::metadata(above) {
            Ok(metadata) if metadata.is_dir() => return system::takes_names(above),
            Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
            // A link that leads nowhere is in the way.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !above.is_symlink() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads the file, if there is one, of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, PrivateError> {
    let unreadable = |source| PrivateError::Unreadable { path: path.to_owned(), source };
    let (folder, name) = parts(path).map_err(unreadable)?;
    let Some(folder) = system::Folder::open(folder)? else { return Ok(None) };
    let Some(file) = folder.read(name, path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(PrivateError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(Some(bytes))
}

/// Puts a file of these bytes in the place of the one that is there, if any. The folder is made where there is none.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), PrivateError> {
    let unwritable = |source| PrivateError::Unwritable { path: path.to_owned(), source };
    let (place, name) = parts(path).map_err(unwritable)?;
    let folder = match system::Folder::open(place)? {
        Some(folder) => folder,
        None => {
            system::make(place).map_err(unwritable)?;
            let gone = || unwritable(io::ErrorKind::NotFound.into());
            system::Folder::open(place)?.ok_or_else(gone)?
        }
    };
    // What stands there must be such a file as well: a link is not replaced either.
    drop(folder.read(name, path)?);
    let beginning = format!(".{}.", name.to_string_lossy());
    tidy(place, &beginning);
    let unfinished = format!("{beginning}{}-{:016x}{UNFINISHED}", std::process::id(), rand::random::<u64>());
    let written = folder.create(&unfinished).and_then(|mut file| {
        file.write_all(bytes)?;
        // Else a machine that fails may keep the new name without what was written.
        file.sync_all()?;
        drop(file);
        folder.rename(&unfinished, name)
    });
    written.map_err(|source| {
        folder.remove(&unfinished);
        unwritable(source)
    })
}

/// Removes what killed processes have left behind. No two files have had one name, so that none is removed in place of another.
fn tidy(folder: &Path, beginning: &str) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.take(LOOKED_AT_MAX).flatten() {
        let name = entry.file_name();
        let unfinished =
            name.to_str().is_some_and(|name| name.starts_with(beginning) && name.ends_with(UNFINISHED));
        let modified = || entry.metadata().ok()?.modified().ok();
        let old =
            |modified| SystemTime::now().duration_since(modified).is_ok_and(|age| age > LEFT_BEHIND_AFTER);
        if unfinished && modified().is_some_and(old) {
            // What cannot be removed now is looked at the next time.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(unix)]
mod system {
    use std::ffi::OsStr;
    use std::fs::{DirBuilder, File};
    use std::io;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::DirBuilderExt;
    use std::path::{Path, PathBuf};

    use rustix::fs::{
        Access, AtFlags, FileType, Mode, OFlags, Stat, access, fstat, open, openat, renameat, statat,
        unlinkat,
    };
    use rustix::io::Errno;

    use super::PrivateError;

    /// What others than the owner may do.
    const OTHERS: u32 = 0o077;

    /// A folder that was opened, and is its owner's alone.
    pub(super) struct Folder(OwnedFd);

    /// Makes a folder, and those that it is in.
    pub(super) fn make(folder: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)
    }

    /// Whether this user may put files and folders into a folder.
    pub(super) fn takes_names(folder: &Path) -> io::Result<()> {
        // Those of the kernel's own take none, whatever their mode says to the user root.
        #[cfg(target_os = "linux")]
        if KERNEL_FILE_SYSTEMS.contains(&(rustix::fs::statfs(folder)?.f_type as u64)) {
            return Err(io::Error::other("nothing can be made in that folder"));
        }
        Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
    }

    /// What `statfs` calls `/proc` and `/sys`.
    #[cfg(target_os = "linux")]
    const KERNEL_FILE_SYSTEMS: [u64; 2] = [0x9fa0, 0x6265_6572];

    impl Folder {
        /// Opens it, if there is one.
        pub(super) fn open(folder: &Path) -> Result<Option<Self>, PrivateError> {
            let unreadable =
                |errno: Errno| PrivateError::Unreadable { path: folder.to_owned(), source: errno.into() };
            let other = || PrivateError::OfAnotherKind { path: folder.to_owned(), kind: "folder" };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = match open(folder, flags, Mode::empty()) {
                Ok(opened) => opened,
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::NOTDIR | Errno::LOOP) => return Err(other()),
                Err(errno) => return Err(unreadable(errno)),
            };
            let stat = fstat(&opened).map_err(unreadable)?;
            ours(&stat, folder.to_owned())?;
            Ok(Some(Self(opened)))
        }

        /// Opens a file for reading, if there is one. A pipe is not waited for.
        pub(super) fn read(&self, name: &OsStr, path: &Path) -> Result<Option<File>, PrivateError> {
            let unreadable =
                |errno: Errno| PrivateError::Unreadable { path: path.to_owned(), source: errno.into() };
            let other = || PrivateError::OfAnotherKind { path: path.to_owned(), kind: "regular file" };
            let is_file = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            // A device may do something by being opened.
            match statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if is_file(&stat) => {}
                Ok(_) => return Err(other()),
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(unreadable(errno)),
            }
            let flags =
                OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let opened = match openat(&self.0, name, flags, Mode::empty()) {
                Ok(opened) => opened,
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::LOOP) => return Err(other()),
                Err(errno) => return Err(unreadable(errno)),
            };
            let stat = fstat(&opened).map_err(unreadable)?;
            if !is_file(&stat) {
                return Err(other());
            }
            ours(&stat, path.to_owned())?;
            Ok(Some(File::from(opened)))
        }

        /// Makes a file that is not there yet.
        pub(super) fn create(&self, name: &str) -> io::Result<File> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            Ok(File::from(openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)?))
        }

        pub(super) fn rename(&self, from: &str, to: &OsStr) -> io::Result<()> {
            Ok(renameat(&self.0, from, &self.0, to)?)
        }

        pub(super) fn remove(&self, name: &str) {
            // It may not have been made.
            let _ = unlinkat(&self.0, name, AtFlags::empty());
        }
    }

    /// Whether it is this user's, and nobody else may do anything with it.
    fn ours(stat: &Stat, path: PathBuf) -> Result<(), PrivateError> {
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(PrivateError::OfAnotherUser(path));
        }
        // Its type differs in width between systems.
        #[allow(clippy::unnecessary_cast)]
        let mode = stat.st_mode as u32 & 0o777;
        if mode & OTHERS == 0 { Ok(()) } else { Err(PrivateError::Loose { path, mode }) }
    }
}

/// Who may read a file is its folder's business here, as that of a user's profile.
#[cfg(not(unix))]
mod system {
    use std::ffi::OsStr;
    use std::fs::File;
    use std::io;
    use std::path::{Path, PathBuf};

    use super::PrivateError;

    pub struct Folder(PathBuf);

    pub fn make(folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)
    }

    /// Whether this user may put files into a folder: as far as can be told without making one.
    pub fn takes_names(folder: &Path) -> io::Result<()> {
        match std::fs::metadata(folder)?.is_dir() {
            true => Ok(()),
            false => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// Whether it is there, and of its kind.
    fn is(
        path: &Path,
        kind: &'static str,
        of: impl Fn(&std::fs::Metadata) -> bool,
    ) -> Result<bool, PrivateError> {
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if of(&metadata) => Ok(true),
            Ok(_) => Err(PrivateError::OfAnotherKind { path: path.to_owned(), kind }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(PrivateError::Unreadable { path: path.to_owned(), source }),
        }
    }

    impl Folder {
        pub fn open(folder: &Path) -> Result<Option<Self>, PrivateError> {
            let there = is(folder, "folder", std::fs::Metadata::is_dir)?;
            Ok(there.then(|| Self(folder.to_owned())))
        }

        pub fn read(&self, _: &OsStr, path: &Path) -> Result<Option<File>, PrivateError> {
            if !is(path, "regular file", std::fs::Metadata::is_file)? {
                return Ok(None);
            }
            let unreadable = |source| PrivateError::Unreadable { path: path.to_owned(), source };
            File::open(path).map(Some).map_err(unreadable)
        }

        pub fn create(&self, name: &str) -> io::Result<File> {
            File::options().write(true).create_new(true).open(self.0.join(name))
        }

        pub fn rename(&self, from: &str, to: &OsStr) -> io::Result<()> {
            std::fs::rename(self.0.join(from), self.0.join(to))
        }

        pub fn remove(&self, name: &str) {
            // It may not have been made.
            let _ = std::fs::remove_file(self.0.join(name));
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        set(folder.path(), 0o700);
        folder
    }

    #[test]
    fn what_is_written_is_read_and_is_its_owners_alone() {
        let folder = folder();
        let path = folder.path().join("a/b/known.json");
        assert_eq!(read(&path, 100).unwrap(), None);
        for text in ["one", "another"] {
            replace(&path, text.as_bytes()).unwrap();
            assert_eq!(read(&path, 100).unwrap().unwrap(), text.as_bytes());
        }
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left behind");
        assert!(matches!(read(&path, 6), Err(PrivateError::TooLarge { limit: 6, .. })));
    }

    #[test]
    fn no_link_is_followed_neither_of_the_file_nor_of_its_folder() {
        let folder = folder();
        let (other, path) = (folder.path().join("other"), folder.path().join("known.json"));
        std::fs::write(&other, "theirs").unwrap();
        set(&other, 0o600);
        symlink(&other, &path).unwrap();
        let linked = |result| matches!(result, Err(PrivateError::OfAnotherKind { .. }));
        assert!(linked(read(&path, 100).map(drop)) && linked(replace(&path, b"ours")));
        assert_eq!(std::fs::read(&other).unwrap(), b"theirs");
        assert!(path.is_symlink(), "the link stays");
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::create_dir(&real).unwrap();
        set(&real, 0o700);
        symlink(&real, &link).unwrap();
        assert!(linked(read(&link.join("k"), 100).map(drop)) && linked(replace(&link.join("k"), b"ours")));
        assert_eq!(std::fs::read_dir(&real).unwrap().count(), 0);
        let pipe = folder.path().join("pipe");
        super::super::files::tests::pipe(&pipe);
        assert!(linked(read(&pipe, 100).map(drop)), "and no pipe is waited for");
        assert!(linked(read(&folder.path().join("real"), 100).map(drop)));
    }

    #[test]
    fn what_others_may_touch_is_neither_believed_nor_written() {
        let folder = folder();
        let path = folder.path().join("known.json");
        replace(&path, b"ours").unwrap();
        let open = |result: Result<(), PrivateError>| matches!(result, Err(PrivateError::Loose { .. }));
        for loose in [0o644, 0o660, 0o602] {
            set(&path, loose);
            assert!(open(read(&path, 100).map(drop)) && open(replace(&path, b"more")), "{loose:o}");
        }
        set(&path, 0o600);
        set(folder.path(), 0o755);
        let error = read(&path, 100).unwrap_err();
        assert!(error.to_string().contains("chmod go-rwx"), "{error}");
        assert!(open(replace(&path, b"more")));
        set(folder.path(), 0o700);
        assert_eq!(read(&path, 100).unwrap().unwrap(), b"ours");
    }

    #[test]
    fn a_file_whose_folder_could_not_be_made_is_found_and_nothing_is_made() {
        let folder = folder();
        check(&folder.path().join("known.json")).unwrap();
        check(&folder.path().join("a/b/known.json")).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        std::fs::write(folder.path().join("file"), "").unwrap();
        symlink(folder.path().join("nothing"), folder.path().join("link")).unwrap();
        for wrong in ["file/known.json", "file/a/known.json", "link/a/known.json"] {
            assert!(check(&folder.path().join(wrong)).is_err(), "{wrong}");
        }
        #[cfg(target_os = "linux")]
        for wrong in ["/proc/x/known.json", "/sys/x/known.json"] {
            let told = check(Path::new(wrong)).unwrap_err().to_string();
            assert!(told.starts_with(&format!("cannot write {wrong}: ")), "{told}");
        }
        // Root may write everywhere.
        if !rustix::process::geteuid().is_root() {
            set(folder.path(), 0o500);
            assert!(check(&folder.path().join("known.json")).is_err());
            assert!(check(&folder.path().join("a/known.json")).is_err());
            set(folder.path(), 0o700);
        }
    }

    #[test]
    fn what_a_killed_process_left_behind_goes_after_an_hour_and_nothing_else() {
        let folder = folder();
        let path = folder.path().join("known.json");
        let made = |name: &str, age: Duration| {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(SystemTime::now().checked_sub(age).unwrap()).unwrap();
        };
        let (hours, minute) = (Duration::from_secs(7200), Duration::from_secs(60));
        made(".known.json.1-0.new", hours);
        made(".known.json.2-0.new", minute);
        made(".other.json.1-0.new", hours);
        replace(&path, b"ours").unwrap();
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, [".known.json.2-0.new", ".other.json.1-0.new", "known.json"]);
    }

    /// Two writers at once, and one who reads all the time: it sees one of the whole texts.
    #[test]
    fn writers_at_once_never_tear_it() {
        let folder = folder();
        let path = &folder.path().join("known.json");
        let text = |byte: u8| vec![byte; 100_000];
        replace(path, &text(b'a')).unwrap();
        std::thread::scope(|scope| {
            let writers = [b'a', b'b']
                .map(|byte| scope.spawn(move || (0..20).for_each(|_| replace(path, &text(byte)).unwrap())));
            while writers.iter().any(|writer| !writer.is_finished()) {
                let seen = read(path, 1 << 20).unwrap().unwrap();
                assert!(seen == text(b'a') || seen == text(b'b'), "{} bytes", seen.len());
            }
        });
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
