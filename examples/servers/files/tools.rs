//! Reading, writing and describing one file.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use cap_std::fs::{Dir, File, Metadata, OpenOptions};
use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::super::refusal::Refusal;
use super::super::{params, weight::RESULT_WEIGHT_MAX};
use super::encoding::Encoding;
use super::opened::{self, Target};
use super::rules::Rules;

/// Characters of content that one write may carry.
const CONTENT_CHARS_MAX: usize = 10 << 20;

/// Bytes that one read can bring at most: each takes two in the message, or more.
pub const PIECE_BYTES_MAX: u64 = RESULT_WEIGHT_MAX as u64 / 2;

/// Bytes that one read has to ask for at least: a character of UTF-8 has up to four.
pub const PIECE_BYTES_MIN: u64 = 4;

type Arguments = Option<Map<String, Value>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadParams {
    path: String,
    #[serde(default)]
    encoding: Encoding,
    #[serde(default)]
    offset: u64,
    #[serde(default = "as_much_as_fits")]
    length: u64,
}

fn as_much_as_fits() -> u64 {
    PIECE_BYTES_MAX
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WriteParams {
    path: String,
    content: String,
    #[serde(default)]
    encoding: Encoding,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    create_directories: bool,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Overwrite,
    Append,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PathParams {
    path: String,
}

/// `file.read`: a piece of the file, which is all of it where it fits.
pub fn read(root: &Dir, rules: &Rules, arguments: Arguments) -> Result<Value, Refusal> {
    let ReadParams { path: asked, encoding, offset, length } = params::read(arguments)?;
    params::range("length", length, PIECE_BYTES_MIN, PIECE_BYTES_MAX)?;
    let Target { root, path } = opened::locate(root, rules, &asked)?;
    let refuse = |error: std::io::Error| Rules::refuse(&asked, &error);
    let (mut file, metadata) = opened::open(&root, &path, &asked, OpenOptions::new().read(true))?;
    if metadata.len() > rules.file_bytes_max {
        let message = format!("{asked} has {} bytes; {} are allowed", metadata.len(), rules.file_bytes_max);
        return Err(Refusal::new("FILE_TOO_LARGE", message));
    }
    file.seek(SeekFrom::Start(offset)).map_err(refuse)?;
    let mut content = Vec::new();
    // One byte more than wanted tells whether the file goes on.
    file.take(length + 1).read_to_end(&mut content).map_err(refuse)?;
    let wanted = content.len().min(usize::try_from(length).unwrap_or(usize::MAX));
    let piece = encoding.decode(&content[..wanted], offset, content.len() > wanted, RESULT_WEIGHT_MAX)?;
    let next = offset + piece.length as u64;
    let mut result = json!({
        "content": piece.text,
        "encoding": encoding.name(),
        // It may have grown since it was looked at.
        "size": metadata.len().max(if content.is_empty() { 0 } else { offset + content.len() as u64 }),
        "offset": offset,
        "length": piece.length,
        "truncated": piece.length < content.len(),
        "modified": time(metadata.modified().ok().map(|time| time.into_std())),
        "created": time(metadata.created().ok().map(|time| time.into_std())),
    });
    if piece.length < content.len() {
        result["nextOffset"] = json!(next);
        result["advice"] = json!(format!("the file goes on: read again with offset {next}"));
    }
    Ok(result)
}

/// `file.write`.
pub fn write(root: &Dir, rules: &Rules, arguments: Arguments) -> Result<Value, Refusal> {
    let WriteParams { path: asked, content, encoding, mode, create_directories } = params::read(arguments)?;
    if rules.read_only {
        return Err(Refusal::new("READ_ONLY", "this server writes nothing"));
    }
    params::length("content", &content, 0, CONTENT_CHARS_MAX)?;
    let Target { root, path } = opened::locate(root, rules, &asked)?;
    let refuse = |error: std::io::Error| Rules::refuse(&asked, &error);
    let content = encoding.encode(&content)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if create_directories {
        root.create_dir_all(parent).map_err(refuse)?;
    }
    let folder = root.open_dir(parent).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Refusal::new("DIRECTORY_NOT_WRITABLE", format!("the directory of {asked} does not exist"))
        }
        _ => refuse(error),
    })?;
    let name = path
        .file_name()
        .ok_or_else(|| Refusal::new("INVALID_FILE_TYPE", format!("{asked} names no file")))?;
    let file = Named { folder: &folder, name: Path::new(name), asked: &asked };
    let mut written = match mode {
        Mode::Append => file.append(&content, rules.file_bytes_max)?,
        Mode::Overwrite => file.overwrite(&content, rules.file_bytes_max)?,
    };
    let metadata = written.metadata().map_err(refuse)?;
    Ok(json!({
        "path": asked,
        "size": metadata.len(),
        "modified": time(metadata.modified().ok().map(|time| time.into_std())),
        "hash": hash(&mut written).map_err(refuse)?,
    }))
}

/// A file to be written.
struct Named<'a> {
    folder: &'a Dir,
    name: &'a Path,
    asked: &'a str,
}

impl Named<'_> {
    fn refuse(&self, error: &std::io::Error) -> Refusal {
        Rules::refuse(self.asked, error)
    }

    fn fits(&self, bytes: u64, bytes_max: u64) -> Result<(), Refusal> {
        if bytes <= bytes_max {
            return Ok(());
        }
        let message = format!("{} would have {bytes} bytes; {bytes_max} are allowed", self.asked);
        Err(Refusal::new("CONTENT_TOO_LARGE", message))
    }

    /// Writes behind what is there.
    fn append(&self, content: &[u8], bytes_max: u64) -> Result<File, Refusal> {
        let present = self.folder.metadata(self.name).map_or(0, |metadata| metadata.len());
        self.fits(content.len() as u64 + present, bytes_max)?;
        let options = &mut OpenOptions::new();
        options.append(true).create(true).read(true);
        let (mut file, _) = opened::open(self.folder, self.name, self.asked, options)?;
        let written = file.write_all(content).and_then(|()| file.sync_data());
        written.map_err(|error| self.refuse(&error))?;
        Ok(file)
    }

    /// Puts a new content in place of what is there.
    ///
    /// As one step where that is possible: a sibling is written and takes the name, so that a reader sees the old content
    /// or the new one. The sibling has the old one's permissions, and its owner has to be the same. A file with several
    /// names would lose all but one of them, so it is written in place, as is one of another owner.
    fn overwrite(&self, content: &[u8], bytes_max: u64) -> Result<File, Refusal> {
        self.fits(content.len() as u64, bytes_max)?;
        let present = match self.folder.metadata(self.name) {
            Ok(_) => {
                // Only who may write into a file may replace it.
                let options = &mut OpenOptions::new();
                options.read(true).write(true);
                Some(opened::open(self.folder, self.name, self.asked, options)?)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(self.refuse(&error)),
        };
        let replaced = self.replace(content, present.as_ref().map(|(_, metadata)| metadata));
        match (replaced.map_err(|error| self.refuse(&error))?, present) {
            (Some(file), _) => Ok(file),
            (None, Some((file, _))) => in_place(file, content).map_err(|error| self.refuse(&error)),
            (None, None) => Err(Refusal::internal(format!("{} was not written", self.asked))),
        }
    }

    /// Writes a sibling and renames it; the sibling does not stay. `None`: it cannot take the place of what is there.
    fn replace(&self, content: &[u8], present: Option<&Metadata>) -> std::io::Result<Option<File>> {
        if present.is_some_and(|present| names_of(present) > 1) {
            return Ok(None);
        }
        // Its name says nothing of the file's: that may be as long as names can be.
        let sibling = format!(".{}.tmp", nanoid::nanoid!(16));
        let written = self.sibling(&sibling, content, present);
        if !matches!(written, Ok(Some(_))) {
            // It may never have come to be.
            let _ = self.folder.remove_file(&sibling);
        }
        written
    }

    fn sibling(
        &self,
        sibling: &str,
        content: &[u8],
        present: Option<&Metadata>,
    ) -> std::io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        if present.is_some() {
            // What was for few is not for many meanwhile.
            for_its_owner_alone(&mut options);
        }
        let mut file = self.folder.open_with(sibling, &options)?;
        if let Some(present) = present {
            if !same_owner(present, &file.metadata()?) {
                return Ok(None);
            }
            file.set_permissions(permissions_of(present))?;
        }
        file.write_all(content)?;
        file.sync_data()?;
        self.folder.rename(sibling, self.folder, self.name)?;
        Ok(Some(file))
    }
}

/// Writes over what is there and cuts off what is left of it.
fn in_place(mut file: File, content: &[u8]) -> std::io::Result<File> {
    file.write_all(content)?;
    file.set_len(content.len() as u64)?;
    file.sync_data()?;
    Ok(file)
}

#[cfg(unix)]
fn names_of(metadata: &Metadata) -> u64 {
    cap_std::fs::MetadataExt::nlink(metadata)
}

#[cfg(unix)]
fn same_owner(one: &Metadata, other: &Metadata) -> bool {
    use cap_std::fs::MetadataExt;
    (one.uid(), one.gid()) == (other.uid(), other.gid())
}

#[cfg(unix)]
fn for_its_owner_alone(options: &mut OpenOptions) {
    cap_std::fs::OpenOptionsExt::mode(options, 0o600);
}

/// Who may read, write and run a file. What makes it run as its owner does not outlive its content, as with any write.
#[cfg(unix)]
fn permissions_of(metadata: &Metadata) -> cap_std::fs::Permissions {
    use cap_std::fs::PermissionsExt;
    let mut permissions = metadata.permissions();
    permissions.set_mode(permissions.mode() & 0o777);
    permissions
}

#[cfg(not(unix))]
fn names_of(_: &Metadata) -> u64 {
    1
}

#[cfg(not(unix))]
fn same_owner(_: &Metadata, _: &Metadata) -> bool {
    true
}

#[cfg(not(unix))]
fn for_its_owner_alone(_: &mut OpenOptions) {}

#[cfg(not(unix))]
fn permissions_of(metadata: &Metadata) -> cap_std::fs::Permissions {
    metadata.permissions()
}

/// `file.metadata`.
pub fn metadata(root: &Dir, rules: &Rules, arguments: Arguments) -> Result<Value, Refusal> {
    let PathParams { path: asked } = params::read(arguments)?;
    let Target { root, path } = opened::locate(root, rules, &asked)?;
    let metadata = root.metadata(&path).map_err(|error| Rules::refuse(&asked, &error))?;
    let mut described = describe(&metadata);
    described["path"] = json!(asked);
    described["readOnly"] = json!(rules.read_only || metadata.permissions().readonly());
    described["accessed"] = time(metadata.accessed().ok().map(|time| time.into_std()));
    Ok(described)
}

/// What lists and metadata say of an entry.
pub fn describe(metadata: &Metadata) -> Value {
    let kind = if metadata.is_dir() {
        "directory"
    } else if metadata.is_file() {
        "file"
    } else {
        "other"
    };
    json!({
        "type": kind,
        "size": metadata.len(),
        "modified": time(metadata.modified().ok().map(|time| time.into_std())),
        "created": time(metadata.created().ok().map(|time| time.into_std())),
    })
}

/// The SHA-256 of the file as it is now.
fn hash(file: &mut File) -> std::io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(HEXLOWER.encode(&digest.finalize())),
            read => digest.update(&buffer[..read]),
        }
    }
}

/// A time in ISO 8601; null where the system knows none.
fn time(time: Option<SystemTime>) -> Value {
    let known =
        time.filter(|time| time.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|age| age < YEAR_9999));
    known.map_or(Value::Null, |time| json!(humantime::format_rfc3339_millis(time).to_string()))
}

/// Later times have no four-digit year.
const YEAR_9999: Duration = Duration::from_secs(253_402_300_800);
