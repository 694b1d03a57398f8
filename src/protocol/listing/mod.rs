//! Fetching a tool list page by page. One odd entry never fails a list.

use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::envelope::slice_of;
use super::mirror::Mirrors;
use crate::json::RawJson;

/// The longest tool name, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// One tool as its server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTool {
    /// Its name.
    pub name: String,
    /// The whole entry, unread.
    pub definition: RawJson,
}

/// An entry that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedTool {
    /// Its name, or its place in the list.
    pub tool: String,
    /// Why.
    pub reason: String,
}

/// What all pages held.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listed {
    /// The tools, in the server's order.
    pub tools: Vec<ListedTool>,
    /// What was left out.
    pub skipped: Vec<SkippedTool>,
    /// The shortest time that a page may be kept, where the server says so.
    pub ttl: Option<Duration>,
}

/// What follows a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// Another page, at this cursor.
    More(String),
    /// Nothing.
    Done,
}

/// A list that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListingError {
    /// A page is no list.
    #[error("its tool list cannot be read: {0}")]
    Unreadable(String),
    /// The server leads in circles.
    #[error("its tool list repeats the cursor {0:?}")]
    Circle(String),
    /// The list does not end.
    #[error("its tool list has more than {0} pages")]
    TooManyPages(usize),
}

/// A page: MCP's object, or the bare array of the tool-execute dialect.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenPage<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
    #[serde(default)]
    next_cursor: Option<String>,
    #[serde(default)]
    ttl_ms: Option<f64>,
}

/// The members of an entry that are looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input_schema: Option<&'a RawValue>,
}

/// A listing under way.
#[derive(Debug)]
pub struct Listing {
    tools_max: usize,
    pages_max: usize,
    /// Tools that cannot be mirrored as they want are left out.
    mirrored: bool,
    pages: usize,
    entries: usize,
    cursors: HashSet<String>,
    names: HashSet<String>,
    listed: Listed,
    restarted: bool,
}

impl Listing {
    /// A listing of at most `tools_max` tools on at most `pages_max` pages.
    pub fn new(tools_max: usize, pages_max: usize) -> Self {
        Self {
            tools_max,
            pages_max,
            mirrored: false,
            pages: 0,
            entries: 0,
            cursors: HashSet::new(),
            names: HashSet::new(),
            listed: Listed::default(),
            restarted: false,
        }
    }

    /// Leaves out tools that break the rules of mirrored arguments: where requests have headers, those cannot be called.
    pub fn mirrored(self) -> Self {
        Self { mirrored: true, ..self }
    }

    /// Takes a page.
    ///
    /// # Errors
    /// [`ListingError`] if the page is none, or leads on without end.
    pub fn page(&mut self, result: &RawJson) -> Result<Page, ListingError> {
        self.pages += 1;
        if self.pages > self.pages_max {
            return Err(ListingError::TooManyPages(self.pages_max));
        }
        let page = self.read(result)?;
        for entry in page.tools {
            self.take(result, entry);
        }
        if let Some(ms) = page.ttl_ms {
            // Absent and negative mean that it may not be kept.
            let ttl = Duration::try_from_secs_f64(ms.max(0.0) / 1000.0).unwrap_or(Duration::MAX);
            self.listed.ttl = Some(self.listed.ttl.map_or(ttl, |known| known.min(ttl)));
        }
        match page.next_cursor {
            None => Ok(Page::Done),
            // The empty string is a cursor like any other.
            Some(cursor) if self.cursors.insert(cursor.clone()) => Ok(Page::More(cursor)),
            Some(cursor) => Err(ListingError::Circle(cursor)),
        }
    }

    fn read<'a>(&self, result: &'a RawJson) -> Result<WrittenPage<'a>, ListingError> {
        let unreadable = |error: serde_json::Error| ListingError::Unreadable(error.to_string());
        if result.as_str().trim_start().starts_with('[') {
            let tools = result.parse_borrowed().map_err(unreadable)?;
            return Ok(WrittenPage { tools, next_cursor: None, ttl_ms: None });
        }
        result.parse_borrowed().map_err(unreadable)
    }

    fn take(&mut self, page: &RawJson, entry: &RawValue) {
        self.entries += 1;
        let place = format!("#{}", self.entries);
        let (tool, reason) = match self.judge(entry) {
            Ok(name) => {
                self.names.insert(name.clone());
                self.listed.tools.push(ListedTool { name, definition: slice_of(page.bytes(), entry.get()) });
                return;
            }
            Err((name, reason)) => (name.unwrap_or(place), reason),
        };
        // What is left out is bounded like what is kept.
        if self.listed.skipped.len() < self.tools_max {
            self.listed.skipped.push(SkippedTool { tool, reason });
        }
    }

    /// The entry's name, or its name as far as it has one and why it is left out.
    fn judge(&self, entry: &RawValue) -> Result<String, (Option<String>, String)> {
        let unnamed = |reason: &str| (None, reason.to_owned());
        let definition = entry.get();
        // The tool-execute dialect may list bare names.
        let (name, schema) = if entry.get().starts_with('"') {
            (Some(entry), None)
        } else {
            let entry: Entry<'_> =
                serde_json::from_str(entry.get()).map_err(|_| unnamed("it is no object"))?;
            (entry.name, entry.input_schema)
        };
        let name = name.ok_or_else(|| unnamed("it has no name"))?;
        let name: String = serde_json::from_str(name.get()).map_err(|_| unnamed("its name is no text"))?;
        let reason = if name.is_empty() || name.len() > NAME_BYTES_MAX {
            "its name is empty or longer than 128 characters"
        } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
            "its name has other characters than letters, digits, '_', '.' and '-'"
        } else if self.names.contains(&name) {
            "another tool of this server has its name"
        } else if schema.is_some_and(|schema| !schema.get().starts_with('{')) {
            "its input schema is no object"
        } else if self.listed.tools.len() >= self.tools_max {
            "the server has more tools than the limit"
        } else {
            return match Mirrors::of(definition) {
                Err(reason) if self.mirrored => Err((Some(name), reason)),
                Ok(_) | Err(_) => Ok(name),
            };
        };
        let shown = name.chars().take(NAME_BYTES_MAX).collect();
        Err((Some(shown), reason.to_owned()))
    }

    /// The server no longer knows a cursor: begins again with the first page, once.
    pub fn restart(&mut self) -> bool {
        if std::mem::replace(&mut self.restarted, true) {
            return false;
        }
        let fresh = Self::new(self.tools_max, self.pages_max);
        let fresh = Self { restarted: true, mirrored: self.mirrored, ..fresh };
        *self = fresh;
        true
    }

    /// What was listed.
    pub fn finish(self) -> Listed {
        self.listed
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn page(value: &Value) -> RawJson {
        RawJson::from_value(value).unwrap()
    }

    fn list(pages: &[Value]) -> Listed {
        let mut listing = Listing::new(100, 10);
        for value in pages {
            listing.page(&page(value)).unwrap();
        }
        listing.finish()
    }

    fn names(listed: &Listed) -> Vec<&str> {
        listed.tools.iter().map(|tool| tool.name.as_str()).collect()
    }

    #[test]
    fn one_odd_entry_never_fails_a_list() {
        let listed = list(&[json!({"tools": [
            {"name": "a", "inputSchema": {"type": "object"}, "x": 1.5},
            7, {"title": "nameless"}, {"name": 5}, {"name": "b c"}, {"name": ""}, {"name": "a"},
            {"name": "d", "inputSchema": "none"}, {"name": "e"},
        ]})]);
        assert_eq!(names(&listed), ["a", "e"]);
        assert_eq!(
            listed.tools[0].definition.as_str(),
            r#"{"inputSchema":{"type":"object"},"name":"a","x":1.5}"#
        );
        assert_eq!(listed.skipped.len(), 7);
        assert_eq!((listed.skipped[0].tool.as_str(), listed.skipped[3].tool.as_str()), ("#2", "b c"));
    }

    #[test]
    fn a_tool_that_cannot_be_mirrored_is_left_out_only_where_that_matters() {
        let annotated = |header| json!({"properties": {"a": {"type": "string", "x-mcp-header": header}}});
        let tools = json!({"tools": [
            {"name": "good", "inputSchema": annotated("A")}, {"name": "bad", "inputSchema": annotated("a b")}]});
        assert_eq!(names(&list(std::slice::from_ref(&tools))), ["good", "bad"]);
        let mut listing = Listing::new(100, 10).mirrored();
        listing.page(&page(&tools)).unwrap();
        let listed = listing.finish();
        assert_eq!(names(&listed), ["good"]);
        assert!(listed.skipped[0].tool == "bad" && listed.skipped[0].reason.contains("no name of a header"));
    }

    #[test]
    fn only_an_absent_or_null_cursor_ends_a_list() {
        let mut listing = Listing::new(100, 10);
        let more = |cursor: Value| page(&json!({"tools": [], "nextCursor": cursor}));
        assert_eq!(listing.page(&more(json!(""))).unwrap(), Page::More(String::new()));
        assert_eq!(listing.page(&more(Value::Null)).unwrap(), Page::Done);
    }

    #[test]
    fn a_list_that_leads_in_circles_or_without_end_is_an_error() {
        let mut listing = Listing::new(100, 3);
        let more = |cursor: &str| page(&json!({"tools": [], "nextCursor": cursor}));
        listing.page(&more("x")).unwrap();
        assert_eq!(listing.page(&more("x")), Err(ListingError::Circle("x".into())));
        listing.page(&more("y")).unwrap();
        assert_eq!(listing.page(&more("z")), Err(ListingError::TooManyPages(3)));
    }

    #[test]
    fn a_bad_cursor_begins_the_list_again_once() {
        let mut listing = Listing::new(100, 10);
        listing.page(&page(&json!({"tools": [{"name": "a"}], "nextCursor": "x"}))).unwrap();
        assert!(listing.restart());
        listing.page(&page(&json!({"tools": [{"name": "a"}]}))).unwrap();
        assert!(!listing.restart());
        let listed = listing.finish();
        assert_eq!((names(&listed).len(), listed.skipped.len()), (1, 0));
    }

    #[test]
    fn tools_beyond_the_limit_are_left_out_and_told() {
        let mut listing = Listing::new(2, 10);
        let tools: Vec<Value> = (0..5).map(|n| json!({"name": format!("t{n}")})).collect();
        listing.page(&page(&json!({"tools": tools}))).unwrap();
        let listed = listing.finish();
        assert_eq!((listed.tools.len(), listed.skipped.len()), (2, 2));
    }

    #[test]
    fn the_shortest_time_to_live_of_all_pages_counts() {
        let listed = list(&[
            json!({"tools": [], "ttlMs": 5000, "nextCursor": "x"}),
            json!({"tools": [], "ttlMs": 2000}),
        ]);
        assert_eq!(listed.ttl, Some(Duration::from_secs(2)));
        assert_eq!(list(&[json!({"tools": [], "ttlMs": -1})]).ttl, Some(Duration::ZERO));
    }

    #[test]
    fn the_bare_list_of_the_tool_execute_dialect_is_read_too() {
        let listed = list(&[json!([{"name": "file.read", "parameters": []}, "file.write"])]);
        assert_eq!(names(&listed), ["file.read", "file.write"]);
        assert!(Listing::new(1, 1).page(&page(&json!({"oops": 1}))).is_err());
    }
}
