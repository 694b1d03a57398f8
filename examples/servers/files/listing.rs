//! Listing and searching folders.

use std::io::Read;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, OpenOptions};
use globset::{Glob, GlobMatcher};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::params;
use super::super::refusal::Refusal;
use super::super::weight::{self, RESULT_WEIGHT_MAX};
use super::opened;
use super::rules::Rules;
use super::tools::describe;

/// Entries that one list may hold.
const ENTRIES_MAX: usize = 10_000;

/// Entries that one walk looks at: a folder that links to itself, or a tree in which little matches, is walked for ever.
const VISITED_MAX: usize = 100_000;

/// Bytes that one search looks through: some tenths of a second. Others wait for its place.
const SEARCHED_BYTES_MAX: u64 = 256 << 20;

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
    #[serde(default)]
    offset: usize,
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
    #[serde(default)]
    offset: usize,
}

/// `directory.list`.
pub fn list(root: &Dir, rules: &Rules, arguments: Arguments) -> Result<Value, Refusal> {
    let ListParams { path, pattern, recursive, include_hidden, max_depth, offset } = params::read(arguments)?;
    params::range("maxDepth", max_depth, 1, 10)?;
    let mut walk = Walk {
        pattern: matcher(&pattern)?,
        hidden: include_hidden,
        depth_max: if recursive { max_depth } else { 1 },
        entries_max: ENTRIES_MAX,
        keep: |_: &Dir, _: &Path, _: bool| Ok(true),
        gathered: Gathered::after(offset),
    };
    let outcome = walk.folder(&open(root, rules, &path)?, Path::new(""), 1);
    Ok(walk.gathered.result(outcome))
}

/// `file.search`.
pub fn search(root: &Dir, rules: &Rules, arguments: Arguments) -> Result<Value, Refusal> {
    let SearchParams { path, pattern, max_depth, text, limit, offset } = params::read(arguments)?;
    params::range("maxDepth", max_depth, 1, 10)?;
    params::range("limit", limit, 1, 1000)?;
    if let Some(text) = &text {
        params::length("text", text, 1, 1000)?;
    }
    let mut budget = SEARCHED_BYTES_MAX;
    let mut walk = Walk {
        pattern: matcher(&pattern)?,
        hidden: false,
        depth_max: max_depth,
        entries_max: usize::try_from(limit).unwrap_or(ENTRIES_MAX),
        keep: |folder: &Dir, name: &Path, file: bool| {
            if !file || !allowed(folder, name, rules) {
                return Ok(false);
            }
            let Some(text) = &text else { return Ok(true) };
            let content = content(folder, name, rules.file_bytes_max);
            budget = budget.checked_sub(content.len() as u64).ok_or(Cut::Searched)?;
            Ok(content.windows(text.len()).any(|window| window == text.as_bytes()))
        },
        gathered: Gathered::after(offset),
    };
    let outcome = walk.folder(&open(root, rules, &path)?, Path::new(""), 1);
    Ok(walk.gathered.result(outcome))
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

/// Whether a file may be searched: by its own name, and by that of the file to which it may be a link.
fn allowed(folder: &Dir, name: &Path, rules: &Rules) -> bool {
    let link = folder.symlink_metadata(name).is_ok_and(|metadata| metadata.is_symlink());
    let real = || folder.canonicalize(name).is_ok_and(|real| rules.extension(&real).is_ok());
    rules.extension(name).is_ok() && (!link || real())
}

/// What a file holds. One that cannot be read holds nothing.
fn content(folder: &Dir, name: &Path, bytes_max: u64) -> Vec<u8> {
    let mut content = Vec::new();
    let opened = opened::open(folder, name, "", OpenOptions::new().read(true));
    let read = opened.is_ok_and(|(file, _)| file.take(bytes_max).read_to_end(&mut content).is_ok());
    if read { content } else { Vec::new() }
}

/// Why a list ends before its folder does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// There are more entries than were asked for.
    Entries,
    /// More would not fit into a message.
    Weight,
    /// Enough entries were looked at.
    Visited,
    /// Enough content was looked through.
    Searched,
}

/// What a walk has found.
struct Gathered {
    entries: Vec<Value>,
    /// Entries that match and are left out, since the caller has them.
    skip: usize,
    offset: usize,
    /// What more entries may weigh.
    room: usize,
    visited: usize,
}

impl Gathered {
    fn after(offset: usize) -> Self {
        Self { entries: Vec::new(), skip: offset, offset, room: RESULT_WEIGHT_MAX, visited: 0 }
    }

    fn visit(&mut self) -> Result<(), Cut> {
        self.visited += 1;
        if self.visited > VISITED_MAX { Err(Cut::Visited) } else { Ok(()) }
    }

    fn take(&mut self, entry: Value, entries_max: usize) -> Result<(), Cut> {
        if self.entries.len() == entries_max {
            return Err(Cut::Entries);
        }
        // Each entry is followed by a comma, in the structure and in the text.
        self.room = self.room.checked_sub(weight::of(&entry) + 2).ok_or(Cut::Weight)?;
        self.entries.push(entry);
        Ok(())
    }

    fn result(self, outcome: Result<(), Cut>) -> Value {
        let next = self.offset + self.entries.len();
        let mut result = json!({"entries": self.entries, "truncated": outcome.is_err()});
        match outcome {
            Ok(()) => {}
            Err(Cut::Entries | Cut::Weight) => {
                result["nextOffset"] = json!(next);
                result["advice"] = json!(format!("there are more entries: ask again with offset {next}"));
            }
            Err(Cut::Visited) => {
                let advice = format!("the walk ended after {VISITED_MAX} entries: ask for a folder below");
                result["advice"] = json!(advice);
            }
            Err(Cut::Searched) => {
                let advice = format!(
                    "the search ended after {SEARCHED_BYTES_MAX} bytes: ask for a folder below, or with a pattern"
                );
                result["advice"] = json!(advice);
            }
        }
        result
    }
}

/// A walk through folders.
struct Walk<K> {
    pattern: GlobMatcher,
    hidden: bool,
    depth_max: u64,
    entries_max: usize,
    /// Whether an entry that matches is kept.
    keep: K,
    gathered: Gathered,
}

impl<K: FnMut(&Dir, &Path, bool) -> Result<bool, Cut>> Walk<K> {
    /// Takes the entries of a folder, and of those below it. An entry that cannot be looked at, such as a dangling
    /// link, is listed as far as it is known; it never fails the list.
    fn folder(&mut self, folder: &Dir, relative: &Path, depth: u64) -> Result<(), Cut> {
        let Ok(entries) = folder.entries() else { return Ok(()) };
        // One more than can be looked at, so that it is noticed; a folder may hold millions.
        let entries = entries.take(VISITED_MAX + 1).flatten();
        let mut names: Vec<PathBuf> = entries.map(|entry| PathBuf::from(entry.file_name())).collect();
        names.sort();
        for name in names {
            self.gathered.visit()?;
            if !self.hidden && name.as_os_str().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let metadata = folder.metadata(&name).ok();
            let is_dir = metadata.as_ref().is_some_and(|metadata| metadata.is_dir());
            let is_file = metadata.as_ref().is_some_and(|metadata| metadata.is_file());
            let path = relative.join(&name);
            if self.pattern.is_match(&name) && (self.keep)(folder, &name, is_file)? {
                if self.gathered.skip > 0 {
                    self.gathered.skip -= 1;
                } else {
                    let mut entry =
                        metadata.map_or_else(|| json!({"type": "other"}), |metadata| describe(&metadata));
                    name_entry(&mut entry, &name, &path);
                    self.gathered.take(entry, self.entries_max)?;
                }
            }
            // A folder is entered also where its own name does not match.
            if is_dir
                && depth < self.depth_max
                && let Ok(below) = folder.open_dir(&name)
            {
                self.folder(&below, &path, depth + 1)?;
            }
        }
        Ok(())
    }
}

/// Writes an entry's name and path. One that is not UTF-8 is shown as far as it can be, and says that no request can
/// name it, as none can name one with a backslash.
fn name_entry(entry: &mut Value, name: &Path, path: &Path) {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    entry["name"] = json!(name.to_string_lossy());
    entry["path"] = json!(parts.join("/"));
    if path.to_str().is_none() || parts.iter().any(|part| part.contains('\\')) {
        entry["unreachable"] = json!("no request can name it: its name is not UTF-8, or has a backslash");
    }
}
