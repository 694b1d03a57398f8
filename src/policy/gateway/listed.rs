//! One list as a client is given it: in a fixed order, page by page.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::id::GroupId;
use crate::json::RawJson;

/// Entries of a page: what the larger servers give.
const PAGE_ENTRIES_MAX: usize = 500;

/// Bytes of a page's definitions, unless the first one alone is larger: a client parses a page at once.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// One thing that a client is shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// Its group.
    pub group: GroupId,
    /// Its name on its servers, its URI or its template.
    pub name: Arc<str>,
    /// What the client calls it.
    pub shown: Arc<str>,
    /// What the client is told of it.
    pub definition: RawJson,
}

/// One list: by group and name, so that it goes on where it was while it grows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listed {
    entries: Vec<Entry>,
    by_shown: HashMap<Arc<str>, usize>,
    /// What cursors of this list begin with.
    mark: u32,
    hash: u64,
}

/// One page of a list.
#[derive(Debug, PartialEq)]
pub(crate) struct Page<'l> {
    /// What is on it.
    pub entries: &'l [Entry],
    /// Where the next one begins, if there is more.
    pub next: Option<String>,
}

/// A cursor that is none of this list's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnknownCursor;

impl Listed {
    /// A list of these, which stand by group and name. Cursors of lists with another mark are not taken.
    pub(super) fn new(entries: Vec<Entry>, mark: u32) -> Self {
        debug_assert!(entries.is_sorted_by_key(|entry| (&entry.group, &entry.name)));
        let mut hasher = DefaultHasher::new();
        for Entry { shown, definition, .. } in &entries {
            (shown, definition.as_bytes()).hash(&mut hasher);
        }
        let by_shown = entries.iter().enumerate().map(|(at, entry)| (entry.shown.clone(), at)).collect();
        Self { entries, by_shown, mark, hash: hasher.finish() }
    }

    /// The one that the client calls so.
    pub(crate) fn named(&self, shown: &str) -> Option<&Entry> {
        self.by_shown.get(shown).map(|at| &self.entries[*at])
    }

    /// All of them.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The same for lists that say the same.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The page that a cursor names; the first without one.
    ///
    /// # Errors
    /// The cursor is none of this list's.
    pub(crate) fn page(&self, cursor: Option<&str>) -> Result<Page<'_>, UnknownCursor> {
        let from = match cursor {
            None => 0,
            Some(cursor) => {
                let (mark, last) = cursor.split_once('.').ok_or(UnknownCursor)?;
                let (group, name) = last.split_once('/').ok_or(UnknownCursor)?;
                if u32::from_str_radix(mark, 16) != Ok(self.mark) {
                    return Err(UnknownCursor);
                }
                self.entries.partition_point(|entry| (entry.group.as_str(), &*entry.name) <= (group, name))
            }
        };
        let mut bytes = 0_usize;
        let fits = |entry: &&Entry| {
            let first = bytes == 0;
            bytes = bytes.saturating_add(entry.definition.len());
            first || bytes <= PAGE_BYTES_MAX
        };
        let count = self.entries[from..].iter().take(PAGE_ENTRIES_MAX).take_while(fits).count();
        let entries = &self.entries[from..from.saturating_add(count)];
        let more = from.saturating_add(count) < self.entries.len();
        let last = entries.last().filter(|_| more);
        let next = last.map(|last| format!("{:08x}.{}/{}", self.mark, last.group, last.name));
        Ok(Page { entries, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: impl IntoIterator<Item = usize>, bytes: usize) -> Listed {
        let entries = names.into_iter().map(|n| {
            let name: Arc<str> = format!("tool/{n:05}").into();
            let definition = RawJson::from_value(&"x".repeat(bytes)).unwrap();
            Entry { group: GroupId::new("g").unwrap(), name: name.clone(), shown: name, definition }
        });
        Listed::new(entries.collect(), 7)
    }

    fn walk(list: &Listed) -> Vec<usize> {
        let (mut pages, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let page = list.page(cursor.as_deref()).unwrap();
            pages.push(page.entries.len());
            match page.next {
                Some(next) => cursor = Some(next),
                None => return pages,
            }
        }
    }

    #[test]
    fn a_page_ends_by_its_entries_or_by_its_bytes() {
        assert_eq!(walk(&list(0..0, 1)), [0]);
        assert_eq!(walk(&list(0..500, 1)), [500]);
        assert_eq!(walk(&list(0..1001, 1)), [500, 500, 1]);
        assert_eq!(walk(&list(0..3, PAGE_BYTES_MAX)), [1, 1, 1]);
        assert_eq!(walk(&list(0..5, PAGE_BYTES_MAX / 2 - 100)), [2, 2, 1]);
    }

    #[test]
    fn a_list_that_changes_between_two_pages_goes_on_behind_the_last_entry() {
        let first = list((0..1000).map(|n| 2 * n), 1);
        let cursor = first.page(None).unwrap().next.unwrap();
        // Others came, and the last one of the page went.
        let grown = list((0..2000).filter(|n| *n != 998), 1);
        let second = grown.page(Some(&cursor)).unwrap();
        assert_eq!(&*second.entries[0].name, "tool/00999");
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        let list = list(0..1000, 1);
        for cursor in ["", "x", "00000008.g/tool/00001", "00000007", "00000007.g", "zz.g/x"] {
            assert_eq!(list.page(Some(cursor)), Err(UnknownCursor), "{cursor}");
        }
    }
}
