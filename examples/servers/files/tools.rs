//! Reading, writing and describing one file.

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use cap_std::fs::{Dir, Metadata, OpenOptions};
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::super::params;
use super::super::refusal::Refusal;
use super::rules::Rules;

/// Characters of content that one write may carry.
const CONTENT_CHARS_MAX: usize = 10 << 20;

type Arguments = Option<Map<String, Value>>;

#[derive(Deserialize, Default, Clone, Copy)]
enum Encoding {
    #[default]
    #[serde(rename = "utf8", alias = "utf-8")]
    Utf8,
    #[serde(rename = "ascii")]
    Ascii,
    #[serde(rename = "base64")]
    Base64,
    #[serde(rename = "hex")]
    Hex,
    #[serde(rename = "latin1", alias = "binary")]
    Latin1,
}

impl Encoding {
    fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Ascii => "ascii",
            Self::Base64 => "base64",
            Self::Hex => "hex",
            Self::Latin1 => "latin1",
        }
    }

    fn decode(self, bytes: &[u8]) -> Result<String, Refusal> {
        let not = |name: &str| {
            Refusal::new("INVALID_PARAMETERS", format!("the file is not {name}: ask for base64"))
        };
        match self {
            Self::Utf8 => String::from_utf8(bytes.to_vec()).map_err(|_| not("UTF-8")),
            Self::Ascii if bytes.is_ascii() => Ok(bytes.iter().map(|byte| char::from(*byte)).collect()),
            Self::Ascii => Err(not("ASCII")),
            Self::Base64 => Ok(BASE64.encode(bytes)),
            Self::Hex => Ok(HEXLOWER.encode(bytes)),
            Self::Latin1 => Ok(bytes.iter().map(|byte| char::from(*byte)).collect()),
        }
    }

    fn encode(self, text: &str) -> Result<Vec<u8>, Refusal> {
        let not = |name: &str| Refusal::new("INVALID_PARAMETERS", format!("the content is not {name}"));
        match self {
            Self::Utf8 => Ok(text.as_bytes().to_vec()),
            Self::Ascii if text.is_ascii() => Ok(text.as_bytes().to_vec()),
            Self::Ascii => Err(not("ASCII")),
            Self::Base64 => BASE64.decode(text.as_bytes()).map_err(|_| not("base64")),
            Self::Hex => HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| not("hex")),
            Self::Latin1 => {
                text.chars().map(|c| u8::try_from(u32::from(c)).map_err(|_| not("latin1"))).collect()
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadParams {
    path: String,
    #[serde(default)]
    encoding: Encoding,
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

/// `file.read`.
pub fn read(root: &Dir, rules: &Rules, arguments: Arguments) -> Result<Value, Refusal> {
    let ReadParams { path: asked, encoding } = params::read(arguments)?;
    let (root, path) = rules.place(root, &asked)?;
    let refuse = |error: std::io::Error| Rules::refuse(&asked, &error);
    let metadata = root.metadata(&path).map_err(refuse)?;
    if !metadata.is_file() {
        return Err(Refusal::new("INVALID_FILE_TYPE", format!("{asked} is no file")));
    }
    rules.extension(&path)?;
    let mut content = Vec::new();
    // One byte more than allowed, so that a file that grows meanwhile is noticed.
    let file = root.open(&path).map_err(refuse)?;
    file.take(rules.file_bytes_max + 1).read_to_end(&mut content).map_err(refuse)?;
    if content.len() as u64 > rules.file_bytes_max {
        let message = format!("{asked} has more than {} bytes", rules.file_bytes_max);
        return Err(Refusal::new("FILE_TOO_LARGE", message));
    }
    Ok(json!({
        "content": encoding.decode(&content)?,
        "encoding": encoding.name(),
        "size": content.len(),
        "modified": time(metadata.modified().ok().map(|time| time.into_std())),
        "created": time(metadata.created().ok().map(|time| time.into_std())),
    }))
}

/// `file.write`.
pub fn write(root: &Dir, rules: &Rules, arguments: Arguments) -> Result<Value, Refusal> {
    let WriteParams { path: asked, content, encoding, mode, create_directories } = params::read(arguments)?;
    if rules.read_only {
        return Err(Refusal::new("READ_ONLY", "this server writes nothing"));
    }
    params::length("content", &content, 0, CONTENT_CHARS_MAX)?;
    let (root, path) = rules.place(root, &asked)?;
    rules.extension(&path)?;
    let refuse = |error: std::io::Error| Rules::refuse(&asked, &error);
    if root.metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
        return Err(Refusal::new("INVALID_FILE_TYPE", format!("{asked} is a directory")));
    }
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
    let name = Path::new(name);
    let present = folder.metadata(name).map(|metadata| metadata.len()).unwrap_or(0);
    let total = content.len() as u64 + if mode == Mode::Append { present } else { 0 };
    if total > rules.file_bytes_max {
        let message = format!("{asked} would have {total} bytes; {} are allowed", rules.file_bytes_max);
        return Err(Refusal::new("CONTENT_TOO_LARGE", message));
    }
    match mode {
        Mode::Append => {
            let mut file =
                folder.open_with(name, OpenOptions::new().append(true).create(true)).map_err(refuse)?;
            file.write_all(&content).and_then(|()| file.sync_data()).map_err(refuse)?;
        }
        Mode::Overwrite => replace(&folder, name, &content).map_err(refuse)?,
    }
    let metadata = folder.metadata(name).map_err(refuse)?;
    Ok(json!({
        "path": asked,
        "size": metadata.len(),
        "modified": time(metadata.modified().ok().map(|time| time.into_std())),
        "hash": hash(&folder, name).map_err(refuse)?,
    }))
}

/// Writes a sibling and renames it, so that a reader sees the old file or the new one. The sibling does not stay.
fn replace(folder: &Dir, name: &Path, content: &[u8]) -> std::io::Result<()> {
    let sibling = format!(".{}.{}.tmp", name.display(), nanoid::nanoid!(8));
    let written = folder
        .open_with(&sibling, OpenOptions::new().write(true).create_new(true))
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_data()))
        .and_then(|()| folder.rename(&sibling, folder, name));
    if written.is_err() {
        // It may never have come to be.
        let _ = folder.remove_file(&sibling);
    }
    written
}

/// `file.metadata`.
pub fn metadata(root: &Dir, rules: &Rules, arguments: Arguments) -> Result<Value, Refusal> {
    let PathParams { path: asked } = params::read(arguments)?;
    let (root, path) = rules.place(root, &asked)?;
    let metadata = root.metadata(&path).map_err(|error| Rules::refuse(&asked, &error))?;
    if metadata.is_file() {
        rules.extension(&path)?;
    }
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
fn hash(folder: &Dir, name: &Path) -> std::io::Result<String> {
    let mut file = folder.open(name)?;
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
