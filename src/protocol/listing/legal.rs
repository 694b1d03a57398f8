//! Legal names for tools whose own have other letters than the protocol allows.
//!
//! Since 2025-11-25 a tool's name should have ASCII letters, digits, `_`, `.` and `-` alone, and models take no others; before
//! that nothing was said, and servers use slashes, spaces and letters of every alphabet. Such a tool goes by a legal name, and
//! is called by its own. A name depends on the names in the list alone and not on their order.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::json::RawJson;
use crate::json::members::{members, string};
use crate::offer::NAME_BYTES_MAX;

/// Digits of the mark that tells names apart which would be equal.
const MARK_BYTES: usize = 4;

fn is_legal(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(legal)
}

/// The name with `_` for each character that is not legal; without a mark where nothing else needs one.
fn plain(name: &str) -> Option<String> {
    let legal = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '_' };
    let plain: String = name.chars().map(legal).collect();
    let says_something = plain.bytes().any(|b| b.is_ascii_alphanumeric());
    Some(plain).filter(|plain| says_something && is_legal(plain))
}

/// The name with a mark that is made of it.
fn marked(name: &str) -> String {
    let mark: String =
        Sha256::digest(name.as_bytes()).iter().take(MARK_BYTES).map(|byte| format!("{byte:02x}")).collect();
    let legal = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '_' };
    let room = NAME_BYTES_MAX - mark.len() - 1;
    let beginning: String = name.chars().map(legal).take(room).collect();
    let beginning =
        if beginning.bytes().any(|b| b.is_ascii_alphanumeric()) { beginning } else { "tool".into() };
    format!("{beginning}_{mark}")
}

/// For each of these different names the one that it goes by, if that is another. Legal names stay; of the others none takes
/// one of these, or that of another.
pub(super) fn names<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<Option<String>> {
    if names.clone().all(is_legal) {
        return names.map(|_| None).collect();
    }
    // How many would go by each name.
    let mut wanted: HashMap<String, usize> = HashMap::new();
    for name in names.clone() {
        let goes_by = if is_legal(name) { Some(name.to_owned()) } else { plain(name) };
        if let Some(goes_by) = goes_by {
            *wanted.entry(goes_by).or_default() += 1;
        }
    }
    let alone = |goes_by: &String| wanted.get(goes_by) == Some(&1);
    names
        .map(|name| (!is_legal(name)).then(|| plain(name).filter(alone).unwrap_or_else(|| marked(name))))
        .collect()
}

/// The name that the server knows a tool by, where it goes by another: it stands in its definition.
pub(crate) fn real_name(goes_by: &str, definition: &RawJson) -> Option<String> {
    let written = definition.as_str();
    let name = if written.starts_with('"') {
        string(written)
    } else {
        members(written, ["name"]).ok().and_then(|[name]| string(name?))
    };
    name.filter(|name| name != goes_by)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(list: &[&str]) -> Vec<String> {
        let legal = names(list.iter().copied());
        legal.into_iter().zip(list).map(|(legal, name)| legal.unwrap_or_else(|| (*name).to_owned())).collect()
    }

    #[test]
    fn other_letters_become_underscores_and_legal_names_stay() {
        assert_eq!(
            of(&["user-profile/update", "Create CIFS Share", "a.b_c-D9"]),
            ["user-profile_update", "Create_CIFS_Share", "a.b_c-D9"]
        );
    }

    #[test]
    fn names_that_would_be_equal_or_say_nothing_or_are_too_long_get_a_mark() {
        let long = format!("x {}", "y".repeat(500));
        let names = of(&["a b", "a_b", "c/d", "c d", "搜索", "检索", &long]);
        assert_eq!(names[1], "a_b", "whoever has the legal name keeps it");
        assert!(names[0].starts_with("a_b_") && names[2].starts_with("c_d_") && names[3].starts_with("c_d_"));
        assert!(names[4].starts_with("tool_") && names[5].starts_with("tool_"), "{names:?}");
        assert!(names[6].len() <= NAME_BYTES_MAX);
        let mut backwards = of(&[&long, "检索", "搜索", "c d", "c/d", "a_b", "a b"]);
        backwards.reverse();
        assert_eq!(names, backwards, "the order changes nothing");
    }

    #[test]
    fn the_real_name_is_that_of_the_definition() {
        let definition = |text: &str| RawJson::from_text(text).unwrap();
        assert_eq!(real_name("a_b", &definition(r#"{"name":"a b"}"#)), Some("a b".into()));
        assert_eq!(real_name("a_b", &definition(r#""a/b""#)), Some("a/b".into()));
        assert_eq!(real_name("a", &definition(r#"{"name":"a","x":1}"#)), None);
    }

    proptest! {
        #[test]
        fn every_name_is_legal_and_nobody_elses(list in prop::collection::hash_set("[a_ /é]{1,4}|.{1,8}", 1..20)) {
            let list: Vec<&str> = list.iter().map(String::as_str).collect();
            let names = of(&list);
            let different: std::collections::HashSet<_> = names.iter().collect();
            prop_assert_eq!(different.len(), list.len());
            prop_assert!(names.iter().all(|name| is_legal(name)), "{:?}", names);
        }
    }
}
