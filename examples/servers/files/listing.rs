//! Listing and searching folders.

use std::io::Read;
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;
use globset::{Glob, GlobMatcher};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::params;
use super::super::refusal::Refusal;
use super::rules::Rules;
use super::tools::describe;

/// Entries that one list may hold.
const ENTRIES_MAX: usize = 10_000;

type Arguments = Option<Map<String, Value>>;

fn anything() -> String {
    "*".to_owned()
}

fn here() -> String {
    ".".to_owned()
}

fn three() -> u64 {
    3
}

fn hundred() -> u64 {
    100
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ListParams {
    path: String,
    #[serde(default = "anything")]
    pattern: String,
    #[serde(default)]
    recursive: bool,
    #[serde(default)]
    include_hidden: bool,
    #[serde(default = "three")]
    max_depth: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SearchParams {
    #[serde(default = "here")]
    path: String,
    #[serde(default = "anything")]
    pattern: String,
    #[serde(default = "three")]
    max_depth: u64,
    #[serde(default)]
    text: Option<String>,
    #[serde(default = "hundred")]
    limit: u64,
}

/// `directory.list`.
pub fn list(root: &Dir, rules: &Rules, arguments: Arguments) -> Result<Value, Refusal> {
    let ListParams { path, pattern, recursive, include_hidden, max_depth } = params::read(arguments)?;
    params::range("maxDepth", max_depth, 1, 10)?;
    let mut walk = Walk {
        pattern: matcher(&pattern)?,
        hidden: include_hidden,
        depth_max: if recursive { max_depth } else { 1 },
        entries_max: ENTRIES_MAX,
        keep: |_: &Dir, _: &Path, _: bool| true,
        entries: Vec::new(),
        more: false,
    };
    walk.folder(&open(root, rules, &path)?, Path::new(""), 1);
    Ok(json!({"entries": walk.entries, "truncated": walk.more}))
}

/// `file.search`.
pub fn search(root: &Dir, rules: &Rules, arguments: Arguments) -> Result<Value, Refusal> {
    let SearchParams { path, pattern, max_depth, text, limit } = params::read(arguments)?;
    params::range("maxDepth", max_depth, 1, 10)?;
    params::range("limit", limit, 1, 1000)?;
    if let Some(text) = &text {
        params::length("text", text, 1, 1000)?;
    }
    let mut walk = Walk {
        pattern: matcher(&pattern)?,
        hidden: false,
        depth_max: max_depth,
        entries_max: limit as usize,
        keep: |folder: &Dir, name: &Path, file: bool| {
            file && rules.extension(name).is_ok()
                && text
                    .as_ref()
                    .is_none_or(|text| contains(folder, name, rules.file_bytes_max, text.as_bytes()))
        },
        entries: Vec::new(),
        more: false,
    };
    walk.folder(&open(root, rules, &path)?, Path::new(""), 1);
    Ok(json!({"entries": walk.entries, "truncated": walk.more}))
}

fn matcher(pattern: &str) -> Result<GlobMatcher, Refusal> {
    params::length("pattern", pattern, 1, 100)?;
    let glob = Glob::new(pattern)
        .map_err(|error| Refusal::new("INVALID_PARAMETERS", format!("pattern: {}", error.kind())))?;
    Ok(glob.compile_matcher())
}

fn open(root: &Dir, rules: &Rules, asked: &str) -> Result<Dir, Refusal> {
    let (root, path) = rules.place(root, asked)?;
    let metadata = root.metadata(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Refusal::new("DIRECTORY_NOT_FOUND", format!("{asked} does not exist"))
        }
        _ => Rules::refuse(asked, &error),
    })?;
    if !metadata.is_dir() {
        return Err(Refusal::new("INVALID_DIRECTORY", format!("{asked} is no directory")));
    }
    root.open_dir(&path).map_err(|error| Rules::refuse(asked, &error))
}

/// Whether a file holds a text. One that cannot be read holds nothing.
fn contains(folder: &Dir, name: &Path, bytes_max: u64, text: &[u8]) -> bool {
    let mut content = Vec::new();
    let read = folder.open(name).and_then(|file| file.take(bytes_max).read_to_end(&mut content));
    read.is_ok() && content.windows(text.len()).any(|window| window == text)
}

/// A walk through folders.
struct Walk<K> {
    pattern: GlobMatcher,
    hidden: bool,
    depth_max: u64,
    entries_max: usize,
    /// Whether an entry that matches is kept.
    keep: K,
    entries: Vec<Value>,
    /// There is more than was kept.
    more: bool,
}

impl<K: Fn(&Dir, &Path, bool) -> bool> Walk<K> {
    /// Takes the entries of a folder, and of those below it. An entry that cannot be looked at, such as a dangling
    /// link, is listed as far as it is known; it never fails the list.
    fn folder(&mut self, folder: &Dir, relative: &Path, depth: u64) {
        let Ok(entries) = folder.entries() else { return };
        let mut names: Vec<PathBuf> =
            entries.flatten().map(|entry| PathBuf::from(entry.file_name())).collect();
        names.sort();
        for name in names {
            let text = name.to_string_lossy();
            if !self.hidden && text.starts_with('.') {
                continue;
            }
            if self.entries.len() >= self.entries_max {
                self.more = true;
                return;
            }
            let metadata = folder.metadata(&name).ok();
            let is_dir = metadata.as_ref().is_some_and(|metadata| metadata.is_dir());
            let is_file = metadata.as_ref().is_some_and(|metadata| metadata.is_file());
            let path = relative.join(&name);
            if self.pattern.is_match(&name) && (self.keep)(folder, &name, is_file) {
                let mut entry =
                    metadata.map_or_else(|| json!({"type": "other"}), |metadata| describe(&metadata));
                entry["name"] = json!(text);
                entry["path"] = json!(path.to_string_lossy().replace('\\', "/"));
                self.entries.push(entry);
            }
            // A folder is entered also where its own name does not match.
            if is_dir
                && depth < self.depth_max
                && let Ok(below) = folder.open_dir(&name)
            {
                self.folder(&below, &path, depth + 1);
            }
        }
    }
}
