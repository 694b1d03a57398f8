//! Fetching a list of what a server offers, page by page. One odd entry never fails a list.

mod legal;

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::marker::PhantomData;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

pub(crate) use self::legal::real_name;
use super::mirror::Mirrors;
use crate::json::RawJson;
use crate::offer::{EntryKind, NAME_BYTES_MAX, URI_BYTES_MAX};
use crate::peer_text::{beginning, reason};

/// The largest entry, in bytes: no honest schema or description comes near it, and ten thousand of them still fit into memory.
const ENTRY_BYTES_MAX: usize = 256 << 10;

/// The longest cursor, in bytes: as long as a URI may be. It is sent back whole with the next request.
const CURSOR_BYTES_MAX: usize = 8 << 10;

/// The most that all pages of a list may have, in bytes: four of the largest messages. What is kept of a list has no more,
/// and what has to be read of it within the time of a listing neither.
const LIST_BYTES_MAX: usize = 64 << 20;

/// The longest name of a tool that goes by another one, in bytes: it is sent with each call, and over HTTP as a header.
const REAL_NAME_BYTES_MAX: usize = 1 << 10;

/// Entries of one page that are looked at: ten times as many as are kept of a whole list by default. A page of the largest
/// size has room for millions of empty ones.
const PAGE_ENTRIES_MAX: usize = 100_000;

/// One entry as its server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedEntry {
    /// Its name, URI or template; of a tool whose name is not legal, the one that it goes by.
    pub name: String,
    /// The whole entry, unread. The bytes are its own and keep no page.
    pub definition: RawJson,
}

/// An entry that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SkippedEntry {
    /// Its name, or its place in the list.
    pub entry: String,
    /// Why.
    pub reason: String,
}

/// What all pages held.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Listed {
    /// The entries, in the server's order.
    pub entries: Vec<ListedEntry>,
    /// What was left out.
    pub skipped: Vec<SkippedEntry>,
    /// The shortest time that a page may be kept, where the server says so.
    pub ttl: Option<Duration>,
    /// The bytes of all pages.
    pub bytes: usize,
}

/// What follows a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Page {
    /// Another page, at this cursor.
    More(String),
    /// Nothing.
    Done,
}

/// A list that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ListingError {
    /// A page is no list.
    #[error("the list cannot be read: {0}")]
    Unreadable(String),
    /// Its first page is too large: nothing came before it that could be used.
    #[error(
        "the first page of the list has more than {} MiB, the most that a whole list may have whatever limits.messageBytesMax says",
        LIST_BYTES_MAX >> 20
    )]
    TooLarge,
}

/// The entries of a page, as many as are looked at.
struct Entries<'a> {
    taken: Vec<&'a RawValue>,
    /// How many more there are.
    more: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<'a>(PhantomData<&'a RawValue>);
        impl<'de: 'a, 'a> Visitor<'de> for Read<'a> {
            type Value = Entries<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Entries<'a>, A::Error> {
                let (mut taken, mut more) = (Vec::new(), 0);
                while taken.len() < PAGE_ENTRIES_MAX {
                    let Some(entry) = entries.next_element()? else { return Ok(Entries { taken, more }) };
                    taken.push(entry);
                }
                while entries.next_element::<IgnoredAny>()?.is_some() {
                    more += 1;
                }
                Ok(Entries { taken, more })
            }
        }
        deserializer.deserialize_seq(Read(PhantomData))
    }
}

/// A page: MCP's object, or the bare array of the tool-execute dialect.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenPage<'a> {
    #[serde(borrow, default)]
    tools: Option<Entries<'a>>,
    #[serde(borrow, default)]
    resources: Option<Entries<'a>>,
    #[serde(borrow, default)]
    resource_templates: Option<Entries<'a>>,
    #[serde(borrow, default)]
    prompts: Option<Entries<'a>>,
    #[serde(default)]
    next_cursor: Option<String>,
    #[serde(default)]
    ttl_ms: Option<f64>,
}

/// What is read of a page.
struct ReadPage<'a> {
    entries: Entries<'a>,
    next_cursor: Option<String>,
    ttl_ms: Option<f64>,
}

/// The members of an entry that are looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    uri: Option<&'a RawValue>,
    #[serde(borrow, default)]
    uri_template: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input_schema: Option<&'a RawValue>,
}

/// A listing under way.
#[derive(Debug)]
pub(crate) struct Listing {
    kind: EntryKind,
    entries_max: usize,
    pages_max: usize,
    /// Tools that cannot be mirrored as they want are left out.
    mirrored: bool,
    pages: usize,
    entries: usize,
    /// Hashes of the cursors so far, to find circles by. A thousand cursors meet by chance once in 10^13 lists.
    cursors: HashSet<u64>,
    hasher: RandomState,
    names: HashSet<String>,
    listed: Listed,
    restarted: bool,
    /// The page that is asked for next is at the empty cursor.
    at_empty_cursor: bool,
}

impl Listing {
    /// A listing of at most `entries_max` entries on at most `pages_max` pages.
    pub(crate) fn new(kind: EntryKind, entries_max: usize, pages_max: usize) -> Self {
        Self {
            kind,
            entries_max,
            pages_max,
            mirrored: false,
            pages: 0,
            entries: 0,
            cursors: HashSet::new(),
            hasher: RandomState::new(),
            names: HashSet::new(),
            listed: Listed::default(),
            restarted: false,
            at_empty_cursor: false,
        }
    }

    /// Leaves out tools that break the rules of mirrored arguments: where requests have headers, those cannot be called.
    pub(crate) fn mirrored(self) -> Self {
        Self { mirrored: true, ..self }
    }

    /// What is listed.
    pub(crate) fn kind(&self) -> EntryKind {
        self.kind
    }

    /// Takes a page.
    ///
    /// # Errors
    /// [`ListingError`] if the page is none, or the first one is larger than a list may be.
    pub(crate) fn page(&mut self, result: &RawJson) -> Result<Page, ListingError> {
        self.pages += 1;
        let (skipped, listed) = (self.listed.skipped.len(), self.listed.entries.len());
        self.listed.bytes = self.listed.bytes.saturating_add(result.len());
        if self.listed.bytes > LIST_BYTES_MAX {
            if self.pages == 1 {
                return Err(ListingError::TooLarge);
            }
            self.end_early(&format!(
                "its pages have more than {} MiB together, which no setting changes",
                LIST_BYTES_MAX >> 20
            ));
            return Ok(Page::Done);
        }
        let page = self.read(result)?;
        let Entries { taken, more } = page.entries;
        for entry in taken {
            self.take(entry);
        }
        if more > 0 {
            self.entries += more;
            self.skip(format!("{more} more"), format!("a page has more than {PAGE_ENTRIES_MAX} entries"));
        }
        if let Some(ms) = page.ttl_ms {
            // Absent and negative mean that it may not be kept.
            let ttl = Duration::try_from_secs_f64(ms.max(0.0) / 1000.0).unwrap_or(Duration::MAX);
            self.listed.ttl = Some(self.listed.ttl.map_or(ttl, |known| known.min(ttl)));
        }
        let Some(cursor) = page.next_cursor else { return Ok(Page::Done) };
        // A list that leads nowhere is what was listed of it so far.
        if cursor.len() > CURSOR_BYTES_MAX {
            let bytes = cursor.len();
            self.end_early(&format!("it goes on at a cursor of {bytes} bytes, more than {CURSOR_BYTES_MAX}"));
        } else if !self.cursors.insert(self.hasher.hash_one(&cursor)) {
            if self.listed.entries.len() == listed {
                // It was a page that had come before, and what it holds is known.
                self.listed.skipped.truncate(skipped);
            }
            let cursor = beginning(&cursor, NAME_BYTES_MAX);
            self.end_early(&format!("it repeats the cursor {cursor:?}"));
        } else if self.pages >= self.pages_max {
            self.end_early(&format!("it has more than {} pages", self.pages_max));
        } else {
            // The empty string is a cursor like any other, by the protocol; to many servers it means that there is no more.
            self.at_empty_cursor = cursor.is_empty();
            return Ok(Page::More(cursor));
        }
        Ok(Page::Done)
    }

    /// Says why the rest of the list is not fetched.
    fn end_early(&mut self, reason: &str) {
        self.skip("the rest of the list".to_owned(), format!("{reason}: what came before that is used"));
    }

    /// The page that was asked for next cannot be had. Whether the list is whole without it: it was at an empty cursor, with
    /// which the server may have meant that there is no more.
    pub(crate) fn ends_without(&mut self) -> bool {
        if self.at_empty_cursor {
            self.end_early("the page at its empty cursor cannot be had");
        }
        self.at_empty_cursor
    }

    fn read<'a>(&self, result: &'a RawJson) -> Result<ReadPage<'a>, ListingError> {
        let unreadable = |error: serde_json::Error| ListingError::Unreadable(reason(error));
        if result.as_str().trim_start().starts_with('[') {
            let entries = result.parse_borrowed().map_err(unreadable)?;
            return Ok(ReadPage { entries, next_cursor: None, ttl_ms: None });
        }
        let page: WrittenPage<'_> = result.parse_borrowed().map_err(unreadable)?;
        let (member, entries) = match self.kind {
            EntryKind::Tool => ("tools", page.tools),
            EntryKind::Resource => ("resources", page.resources),
            EntryKind::ResourceTemplate => ("resourceTemplates", page.resource_templates),
            EntryKind::Prompt => ("prompts", page.prompts),
        };
        let entries = entries.ok_or_else(|| ListingError::Unreadable(format!("it has no {member}")))?;
        Ok(ReadPage { entries, next_cursor: page.next_cursor, ttl_ms: page.ttl_ms })
    }

    fn take(&mut self, entry: &RawValue) {
        self.entries += 1;
        let place = format!("#{}", self.entries);
        let (shown, reason) = match self.judge(entry) {
            Ok(name) => {
                self.names.insert(name.clone());
                // A copy: a slice of the page would keep all of it for as long as the entry is listed.
                let definition = RawJson::trusted(entry.get().to_owned().into());
                self.listed.entries.push(ListedEntry { name, definition });
                return;
            }
            // An empty name says nothing where it is told.
            Err((name, reason)) => (name.filter(|name| !name.trim().is_empty()).unwrap_or(place), reason),
        };
        self.skip(shown, reason);
    }

    /// Leaves an entry out. What is left out is bounded like what is kept.
    fn skip(&mut self, entry: String, reason: String) {
        if self.listed.skipped.len() < self.entries_max {
            self.listed.skipped.push(SkippedEntry { entry, reason });
        }
    }

    /// The entry's name, or its name as far as it has one and why it is left out.
    fn judge(&self, entry: &RawValue) -> Result<String, (Option<String>, String)> {
        let unnamed = |reason: &str| (None, reason.to_owned());
        let definition = entry.get();
        // The tool-execute dialect may list bare names.
        let (name, schema) = if definition.starts_with('"') {
            (Some(entry), None)
        } else {
            let entry: Entry<'_> =
                serde_json::from_str(definition).map_err(|_| unnamed("it is no object"))?;
            let name = match self.kind {
                EntryKind::Tool | EntryKind::Prompt => entry.name,
                EntryKind::Resource => entry.uri,
                EntryKind::ResourceTemplate => entry.uri_template,
            };
            (name, entry.input_schema)
        };
        let name = name.ok_or_else(|| unnamed("it has no name"))?;
        let name: String = serde_json::from_str(name.get()).map_err(|_| unnamed("its name is no text"))?;
        let reason = if let Some(reason) = self.wrong_name(&name) {
            reason
        } else if self.names.contains(&name) {
            "another entry of this server has its name"
        } else if schema.is_some_and(|schema| !schema.get().starts_with('{')) {
            "its input schema is no object"
        } else if definition.len() > ENTRY_BYTES_MAX {
            "its description has more than 256 KiB"
        } else if self.listed.entries.len() >= self.entries_max {
            "the server offers more than the limit"
        } else {
            return match Mirrors::of(definition) {
                Err(reason) if self.mirrored => Err((Some(name), reason)),
                Ok(_) | Err(_) => Ok(name),
            };
        };
        Err((Some(beginning(&name, NAME_BYTES_MAX).to_owned()), reason.to_owned()))
    }

    /// What is wrong with a name.
    fn wrong_name(&self, name: &str) -> Option<&'static str> {
        match self.kind {
            EntryKind::Tool if name.is_empty() || name.len() > REAL_NAME_BYTES_MAX => {
                Some("its name is empty or longer than 1 KiB")
            }
            EntryKind::Tool if name.chars().any(char::is_control) => Some("its name has a control character"),
            EntryKind::Prompt if name.is_empty() || name.len() > NAME_BYTES_MAX => {
                Some("its name is empty or longer than 128 characters")
            }
            EntryKind::Prompt if name.chars().any(|c| c.is_control() || c == '/') => {
                Some("its name has a slash or a control character")
            }
            EntryKind::Resource | EntryKind::ResourceTemplate
                if name.is_empty() || name.len() > URI_BYTES_MAX =>
            {
                Some("its URI is empty or longer than 8 KiB")
            }
            EntryKind::Resource | EntryKind::ResourceTemplate if name.chars().any(char::is_control) => {
                Some("its URI has a control character")
            }
            EntryKind::Tool | EntryKind::Prompt | EntryKind::Resource | EntryKind::ResourceTemplate => None,
        }
    }

    /// The server no longer knows a cursor: begins again with the first page, once.
    pub(crate) fn restart(&mut self) -> bool {
        if std::mem::replace(&mut self.restarted, true) {
            return false;
        }
        let fresh = Self::new(self.kind, self.entries_max, self.pages_max);
        let fresh = Self { restarted: true, mirrored: self.mirrored, ..fresh };
        *self = fresh;
        true
    }

    /// What was listed. Tools whose names have other letters than the protocol allows go by legal ones.
    pub(crate) fn finish(mut self) -> Listed {
        if self.kind == EntryKind::Tool {
            let names = self.listed.entries.iter().map(|entry| entry.name.as_str());
            let legal = legal::names(names);
            for (entry, name) in self.listed.entries.iter_mut().zip(legal) {
                entry.name = name.unwrap_or_else(|| std::mem::take(&mut entry.name));
            }
        }
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
        let mut listing = Listing::new(EntryKind::Tool, 100, 10);
        for value in pages {
            listing.page(&page(value)).unwrap();
        }
        listing.finish()
    }

    fn names(listed: &Listed) -> Vec<&str> {
        listed.entries.iter().map(|tool| tool.name.as_str()).collect()
    }

    #[test]
    fn one_odd_entry_never_fails_a_list() {
        let listed = list(&[json!({"tools": [
            {"name": "a", "inputSchema": {"type": "object"}, "x": 1.5},
            7, {"title": "nameless"}, {"name": 5}, {"name": "b\u{7}c"}, {"name": ""}, {"name": "a"},
            {"name": "d", "inputSchema": "none"}, {"name": "e"},
        ]})]);
        assert_eq!(names(&listed), ["a", "e"]);
        assert_eq!(
            listed.entries[0].definition.as_str(),
            r#"{"inputSchema":{"type":"object"},"name":"a","x":1.5}"#
        );
        assert_eq!(listed.skipped.len(), 7);
        assert_eq!((listed.skipped[0].entry.as_str(), listed.skipped[3].entry.as_str()), ("#2", "b\u{7}c"));
        assert_eq!(listed.skipped[4].entry, "#6", "an empty name");
    }

    #[test]
    fn a_tool_that_cannot_be_mirrored_is_left_out_only_where_that_matters() {
        let annotated = |header| json!({"properties": {"a": {"type": "string", "x-mcp-header": header}}});
        let tools = json!({"tools": [
            {"name": "good", "inputSchema": annotated("A")}, {"name": "bad", "inputSchema": annotated("a b")}]});
        assert_eq!(names(&list(std::slice::from_ref(&tools))), ["good", "bad"]);
        let mut listing = Listing::new(EntryKind::Tool, 100, 10).mirrored();
        listing.page(&page(&tools)).unwrap();
        let listed = listing.finish();
        assert_eq!(names(&listed), ["good"]);
        assert!(listed.skipped[0].entry == "bad" && listed.skipped[0].reason.contains("no name of a header"));
    }

    #[test]
    fn resources_go_by_their_uri_templates_by_theirs_and_prompts_by_their_name() {
        let read = |kind, value: Value| {
            let mut listing = Listing::new(kind, 100, 10);
            listing.page(&page(&value)).unwrap();
            listing.finish()
        };
        let listed = read(
            EntryKind::Resource,
            json!({"resources": [{"uri": "file:///a b", "name": "a"}, {"name": "none"}, {"uri": "x\u{1}"}]}),
        );
        assert_eq!((names(&listed), listed.skipped.len()), (vec!["file:///a b"], 2));
        let listed = read(
            EntryKind::ResourceTemplate,
            json!({"resourceTemplates": [{"uriTemplate": "db:///{table}", "name": "rows"}]}),
        );
        assert_eq!(names(&listed), ["db:///{table}"]);
        let listed = read(EntryKind::Prompt, json!({"prompts": [{"name": "Review: code"}, {"name": "a/b"}]}));
        assert_eq!((names(&listed), listed.skipped.len()), (vec!["Review: code"], 1));
        let of_tools = page(&json!({"tools": []}));
        assert!(Listing::new(EntryKind::Prompt, 1, 1).page(&of_tools).is_err());
    }

    #[test]
    fn an_entry_as_large_as_a_book_is_left_out() {
        let book = "x".repeat(ENTRY_BYTES_MAX);
        let listed = list(&[json!({"tools": [{"name": "a", "description": book}, {"name": "b"}]})]);
        assert_eq!((names(&listed), listed.skipped[0].entry.as_str()), (vec!["b"], "a"));
    }

    #[test]
    fn only_an_absent_or_null_cursor_ends_a_list() {
        let mut listing = Listing::new(EntryKind::Tool, 100, 10);
        let more = |cursor: Value| page(&json!({"tools": [], "nextCursor": cursor}));
        assert_eq!(listing.page(&more(json!(""))).unwrap(), Page::More(String::new()));
        assert_eq!(listing.page(&more(Value::Null)).unwrap(), Page::Done);
    }

    /// What a list holds whose pages each have a tool of the same name and lead on to these cursors; and what is told of it.
    fn led_on(cursors: &[&str], pages_max: usize) -> (usize, Vec<String>) {
        let mut listing = Listing::new(EntryKind::Tool, 100, pages_max);
        for cursor in cursors {
            let said = page(&json!({"tools": [{"name": "a"}], "nextCursor": cursor}));
            if listing.page(&said).unwrap() == Page::Done {
                break;
            }
        }
        let Listed { entries, skipped, .. } = listing.finish();
        (entries.len(), skipped.into_iter().map(|skipped| skipped.reason).collect())
    }

    #[test]
    fn a_list_that_leads_in_circles_or_without_end_is_what_was_listed_so_far() {
        let (entries, told) = led_on(&["x", "x"], 100);
        assert_eq!((entries, told.len()), (1, 1), "the page that came twice is not told entry by entry");
        assert!(told[0].starts_with("it repeats the cursor \"x\""), "{told:?}");
        let (_, told) = led_on(&["", ""], 100);
        assert!(told[0].starts_with("it repeats the cursor \"\""), "{told:?}");
        let (entries, told) = led_on(&["x", "y", "x"], 100);
        assert_eq!((entries, told.len()), (1, 2));
        let (entries, told) = led_on(&["1", "2", "3", "4"], 3);
        assert_eq!(entries, 1);
        assert!(told.last().unwrap().starts_with("it has more than 3 pages"), "{told:?}");
    }

    #[test]
    fn a_cursor_that_is_too_long_to_be_sent_back_ends_a_list_and_none_is_kept() {
        let longest = "x".repeat(CURSOR_BYTES_MAX);
        let (_, told) = led_on(&[&longest, &longest], 1000);
        assert!(told[0].len() < 2 * NAME_BYTES_MAX, "{}", told[0].len());
        let long = longest.clone() + "x";
        let (entries, told) = led_on(&[&longest, &long], 1000);
        assert_eq!(entries, 1);
        assert!(told.last().unwrap().contains(&format!("a cursor of {} bytes", long.len())), "{told:?}");
    }

    #[test]
    fn a_list_is_whole_without_a_page_at_an_empty_cursor_and_no_other() {
        for (cursor, whole) in [("", true), ("x", false)] {
            let mut listing = Listing::new(EntryKind::Tool, 100, 10);
            let said = page(&json!({"tools": [{"name": "a"}], "nextCursor": cursor}));
            assert_eq!(listing.page(&said), Ok(Page::More(cursor.to_owned())));
            assert_eq!(listing.ends_without(), whole, "{cursor:?}");
            assert_eq!(listing.finish().entries.len(), 1);
        }
    }

    #[test]
    fn what_is_listed_keeps_no_page_and_all_pages_together_have_a_bound() {
        let pad = "x".repeat(15 << 20);
        let of = |n: usize| {
            page(&json!({"tools": [{"name": format!("t{n}")}], "nextCursor": n.to_string(), "_meta": pad}))
        };
        let mut listing = Listing::new(EntryKind::Tool, 100, 1000);
        for n in 0..4 {
            let page = of(n);
            listing.page(&page).unwrap();
            let (page, listed) = (page.as_bytes().as_ptr_range(), &listing.listed.entries[n].definition);
            assert!(!page.contains(&listed.as_bytes().as_ptr()), "it is a slice of its page");
        }
        assert!(listing.restart());
        for n in 0..4 {
            let more = listing.page(&of(n));
            assert_eq!(more, Ok(Page::More(n.to_string())), "a list that begins again has its own bound");
        }
        assert_eq!(listing.page(&of(4)), Ok(Page::Done));
        let listed = listing.finish();
        assert_eq!(names(&listed), ["t0", "t1", "t2", "t3"], "what came before the bound is used");
        assert_eq!(listed.skipped[0].entry, "the rest of the list");
        let reason = &listed.skipped[0].reason;
        assert!(reason.contains("more than 64 MiB together, which no setting changes"), "{reason}");
    }

    #[test]
    fn a_first_page_beyond_the_bound_of_a_list_is_an_error_that_names_the_limit_of_messages() {
        let page = page(&json!({"tools": [], "_meta": "x".repeat(LIST_BYTES_MAX)}));
        let error = Listing::new(EntryKind::Tool, 100, 10).page(&page).unwrap_err();
        assert_eq!(error, ListingError::TooLarge);
        assert!(error.to_string().contains("limits.messageBytesMax"), "{error}");
    }

    #[test]
    fn a_page_of_more_entries_than_are_looked_at_is_read_as_far_as_that() {
        let mut many = "7,".repeat(PAGE_ENTRIES_MAX);
        many.push_str(r#"{"name": "beyond"}"#);
        for text in [format!(r#"{{"tools": [{many}], "nextCursor": "x"}}"#), format!("[{many}]")] {
            let mut listing = Listing::new(EntryKind::Tool, 2 * PAGE_ENTRIES_MAX, 10);
            listing.page(&RawJson::from_text(text).unwrap()).unwrap();
            let listed = listing.finish();
            assert_eq!((listed.entries.len(), listed.skipped.len()), (0, PAGE_ENTRIES_MAX + 1));
            assert_eq!(listed.skipped[PAGE_ENTRIES_MAX].entry, "1 more");
        }
    }

    #[test]
    fn a_bad_cursor_begins_the_list_again_once() {
        let mut listing = Listing::new(EntryKind::Tool, 100, 10);
        listing.page(&page(&json!({"tools": [{"name": "a"}], "nextCursor": "x"}))).unwrap();
        assert!(listing.restart());
        listing.page(&page(&json!({"tools": [{"name": "a"}]}))).unwrap();
        assert!(!listing.restart());
        let listed = listing.finish();
        assert_eq!((names(&listed).len(), listed.skipped.len()), (1, 0));
    }

    #[test]
    fn tools_beyond_the_limit_are_left_out_and_told() {
        let mut listing = Listing::new(EntryKind::Tool, 2, 10);
        let tools: Vec<Value> = (0..5).map(|n| json!({"name": format!("t{n}")})).collect();
        listing.page(&page(&json!({"tools": tools}))).unwrap();
        let listed = listing.finish();
        assert_eq!((listed.entries.len(), listed.skipped.len()), (2, 2));
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
        assert!(Listing::new(EntryKind::Tool, 1, 1).page(&page(&json!({"oops": 1}))).is_err());
    }
}
