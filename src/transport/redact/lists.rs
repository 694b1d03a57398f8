//! The words and elements of a value that is secret as a whole.

use super::encodings::from_base64;
use super::names::is_connection;
use super::paths::{begins_as_path, is_path};
use crate::secret::Secret;

/// What may stand around an element of a list: quotes, which may be escaped, and brackets. ODBC has braces for quotes.
pub(super) const AROUND: [char; 9] = ['"', '\'', '\\', '[', ']', '{', '}', '(', ')'];

/// The words of a header's value, and what is within them.
pub(super) fn words(value: &str) -> impl Iterator<Item = Secret> {
    let parts = |word: &str| -> Vec<Secret> {
        let parts = word.split([';', ',', '|', '"', '\'', '=']).chain([word]);
        let behind = |part: &str| part.split_once(':').map(|(_, behind)| behind.to_owned());
        let behind: Vec<String> = parts.clone().filter_map(behind).collect();
        let behind = behind.into_iter().filter(|behind| !behind.starts_with("//"));
        parts.map(Secret::from).chain(behind.map(Secret::from)).collect()
    };
    let words = value.split_whitespace().flat_map(parts);
    words.chain(of_basic(value)).collect::<Vec<_>>().into_iter()
}

/// What `Basic` credentials say: the user with the password, and the password alone.
pub(super) fn of_basic(value: &str) -> Vec<Secret> {
    let is_basic = |word: &str| {
        let scheme = word.rsplit([':', '"', '\'', '=']).next().unwrap_or_default();
        scheme.eq_ignore_ascii_case("basic")
    };
    let behind = value.split_whitespace().skip(1);
    let credentials = value.split_whitespace().zip(behind).filter(|(word, _)| is_basic(word));
    let said = credentials.filter_map(|(_, word)| from_base64(word.trim_matches(['"', '\''])));
    let parts = said.map(|said| {
        let password = said.split_once(':').map(|(_, password)| Secret::from(password));
        [Some(Secret::from(said)), password]
    });
    parts.flatten().flatten().collect()
}

/// Of a value whose name says that it is secret, the elements of a list, as in `github:…,gitlab:…`, and what stands behind the name of
/// each, as in `session=…`.
pub(super) fn elements<'v>(name: &str, value: &'v str) -> Vec<&'v str> {
    let value = value.trim_matches(['"', '\'']);
    if is_connection(name) || is_path(value) {
        return vec![value];
    }
    let elements = value.split([',', ';', '|']).map(str::trim);
    let elements = elements.flat_map(|element| {
        // A lone name stands before its value.
        let words = element.split_whitespace().filter(|word| !word.ends_with([':', '=']));
        words.chain([element])
    });
    let parts = elements.flat_map(|element| {
        let bare = element.trim_matches(AROUND);
        let behind = bare.split_once([':', '=']).map(|(_, behind)| behind.trim_start());
        let behind = behind.filter(|behind| !behind.starts_with("//") && !begins_as_path(element));
        [Some(element), Some(bare), behind, behind.map(|behind| behind.trim_matches(AROUND))]
    });
    parts.flatten().collect()
}
