//! Tables whose keys are numbers of our own.
//!
//! Their hash is fast and has no secret: whoever may choose the keys can choose them so that all meet in one place. Names come
//! from peers, callers and directories; tables of names are the standard library's.

// The one place that may name it; see `clippy.toml`.
#![expect(clippy::disallowed_types, reason = "kept to keys that nobody outside chooses")]

use std::hash::Hash;
use std::ops::{Deref, DerefMut};

use rustc_hash::FxHashMap;

use crate::id::{AttemptId, CallId, ConnectionId};
use crate::offer::EntryKind;

/// A key that the library itself counts up. Never to be implemented for what others choose, and not to be had for texts: none
/// of them is `Copy`.
pub(crate) trait OwnNumber: Copy + Eq + Hash + 'static {}

impl OwnNumber for u32 {}
impl OwnNumber for u64 {}
impl OwnNumber for CallId {}
impl OwnNumber for AttemptId {}
impl OwnNumber for ConnectionId {}
/// A thing by its place in the catalogue.
impl OwnNumber for (EntryKind, usize) {}

/// A hash table by numbers of our own.
#[derive(Debug, Clone)]
pub(crate) struct NumberMap<K: OwnNumber, V>(FxHashMap<K, V>);

impl<K: OwnNumber, V> Default for NumberMap<K, V> {
    fn default() -> Self {
        Self(FxHashMap::default())
    }
}

impl<K: OwnNumber, V> Deref for NumberMap<K, V> {
    type Target = FxHashMap<K, V>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<K: OwnNumber, V> DerefMut for NumberMap<K, V> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<K: OwnNumber, V> IntoIterator for NumberMap<K, V> {
    type Item = (K, V);
    type IntoIter = <FxHashMap<K, V> as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
