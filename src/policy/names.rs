//! Names of tools as models may see them: `group__tool`, at most 64 characters of `[A-Za-z0-9_-]`.
//!
//! Such a name belongs to the groups that it begins with, for as long as these are registered, whether their servers have
//! listed, are down or offer it no more. So what it means never passes to a server of another group, whatever that calls its
//! tools; and which tool gets a plain name does not depend on who has listed.

use std::collections::HashMap;

use crate::id::GroupId;

/// The longest exposed name: the limit of the common model APIs.
const EXPOSED_CHARS_MAX: usize = 64;

/// The characters of a hash at the end of a name, with what stands before them.
const HASH_CHARS: usize = 9;

/// What is left of a name that is cut.
const KEPT_CHARS: usize = EXPOSED_CHARS_MAX - HASH_CHARS;

/// What stands between group and tool.
const SEPARATOR: &str = "__";

/// The exposed name of a tool. Other characters become `_`; a name that was cut, or that is `ambiguous` because
/// another original gives the same, ends in a hash of its original.
pub(super) fn exposed(group: &str, tool: &str, ambiguous: bool) -> String {
    exposed_within(EXPOSED_CHARS_MAX, group, tool, ambiguous)
}

/// The same of at most so many characters, which are more than a hash takes.
pub(super) fn exposed_within(max: usize, group: &str, tool: &str, ambiguous: bool) -> String {
    within(max, &format!("{group}{SEPARATOR}{tool}"), (group, tool), ambiguous)
}

/// The name of a tool without its group, of at most so many characters.
#[cfg(feature = "gateway")]
pub(super) fn bare_within(max: usize, group: &str, tool: &str) -> String {
    within(max, tool, (group, tool), tool.is_empty())
}

fn within(max: usize, original: &str, (group, tool): (&str, &str), ambiguous: bool) -> String {
    let plain: String = original.chars().map(legal).collect();
    if plain.len() <= max && !ambiguous {
        return plain;
    }
    let hash = format!("_{:08x}", fold(fnv1a(format!("{group}/{tool}").as_bytes())));
    let kept = plain.len().min(max.saturating_sub(HASH_CHARS));
    format!("{}{hash}", &plain[..kept])
}

/// Names in one word, the same in every process and version: for what is compared with what an earlier one wrote.
#[cfg(feature = "gateway")]
pub(super) fn mark(names: &[&str]) -> u32 {
    fold(fnv1a(names.join("\0").as_bytes()))
}

/// Whether an exposed name begins with this group, so that it may be that of a tool of it.
pub(super) fn is_of_group(exposed: &str, group: &str) -> bool {
    let mut rest = exposed.chars();
    (group.chars().all(|c| rest.next() == Some(legal(c))) && rest.as_str().starts_with(SEPARATOR))
        || cut_of(group).is_some_and(|cut| is_cut_after(exposed, &cut))
}

/// What every name of this group begins with, where its names have no room for the whole group.
fn cut_of(group: &str) -> Option<String> {
    let whole: String = group.chars().map(legal).chain(SEPARATOR.chars()).collect();
    whole.get(..KEPT_CHARS).filter(|cut| cut.len() < whole.len()).map(str::to_owned)
}

/// Whether this is a name that was cut after these characters.
fn is_cut_after(exposed: &str, cut: &str) -> bool {
    exposed.len() == EXPOSED_CHARS_MAX && exposed.starts_with(cut)
}

/// The groups that are registered, by what their exposed names begin with.
#[derive(Debug, Clone, Default)]
pub(super) struct Prefixes {
    /// How many groups there are that are written so: other characters than the legal ones are told apart by nobody.
    whole: HashMap<String, usize>,
    /// The same of groups that have no room in their names.
    cut: HashMap<String, usize>,
}

impl Prefixes {
    /// The prefixes of these groups, each of which is given once.
    pub(super) fn of<'a>(groups: impl IntoIterator<Item = &'a GroupId>) -> Self {
        let mut prefixes = Self::default();
        for group in groups {
            let group = group.as_str();
            *prefixes.whole.entry(group.chars().map(legal).collect()).or_default() += 1;
            if let Some(cut) = cut_of(group) {
                *prefixes.cut.entry(cut).or_default() += 1;
            }
        }
        prefixes
    }

    /// Whether there is a group that is written so.
    pub(super) fn has(&self, group: &str) -> bool {
        self.whole.contains_key(&group.chars().map(legal).collect::<String>())
    }

    /// How many groups an exposed name begins with. Its length bounds the work.
    pub(super) fn claims(&self, exposed: &str) -> usize {
        let ends =
            exposed.char_indices().map(|(at, _)| at).filter(|at| exposed[*at..].starts_with(SEPARATOR));
        let whole: usize = ends.filter_map(|at| self.whole.get(&exposed[..at])).sum();
        let cut = exposed.get(..KEPT_CHARS).filter(|cut| is_cut_after(exposed, cut));
        whole + cut.and_then(|cut| self.cut.get(cut)).copied().unwrap_or_default()
    }
}

/// Whether a name has characters of the protocol's alone, so that it is a tool's own name as it stands.
pub(super) fn is_legal(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// The character that stands for another one in an exposed name.
fn legal(c: char) -> char {
    if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): the same in every process and version, as a name that models learn must be.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// 64 bits folded to 32.
fn fold(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_name_is_shown_plainly() {
        assert_eq!(exposed("files", "file.read", false), "files__file_read");
    }

    #[test]
    fn a_name_is_of_the_group_that_it_begins_with() {
        assert!(is_of_group("my_files__read", "my.files") && is_of_group("a__b__c", "a__b"));
        assert!(!is_of_group("files__read", "file") && !is_of_group("files", "files"));
    }

    #[test]
    fn a_name_that_was_cut_is_of_the_group_that_it_was_cut_from() {
        let (long, other) = ("g".repeat(64), format!("{}x", "g".repeat(54)));
        let name = exposed(&long, "read", false);
        assert_eq!(name.len(), EXPOSED_CHARS_MAX);
        assert!(is_of_group(&name, &long) && !is_of_group(&name, &other) && !is_of_group("read", &long));
        assert!(!is_of_group(&"g".repeat(64), "g"));
        let groups = [long, other, "g".to_owned()].map(|group| GroupId::new(group).unwrap());
        assert_eq!(Prefixes::of(&groups).claims(&name), 1);
    }

    #[test]
    fn a_name_is_claimed_by_every_group_that_it_begins_with() {
        let groups = ["my.files", "my_files", "a", "a__b", "c_"].map(|group| GroupId::new(group).unwrap());
        let prefixes = Prefixes::of(&groups);
        for (name, claims) in [
            ("my_files__read", 2),
            ("a__b__c", 2),
            ("a__c", 1),
            ("c___x", 1),
            ("files__read", 0),
            ("read", 0),
            ("__", 0),
            ("grüße__a", 0),
            ("", 0),
        ] {
            assert_eq!(prefixes.claims(name), claims, "{name}");
        }
    }

    #[test]
    fn names_are_the_same_in_every_version() {
        assert_eq!(exposed("files", "file.read", true), "files__file_read_c452f814");
    }

    proptest! {
        #[test]
        fn every_name_is_valid_for_models(group in "[A-Za-z0-9_.-]{1,64}", tool in "[A-Za-z0-9_.-]{1,128}", ambiguous in any::<bool>()) {
            let name = exposed(&group, &tool, ambiguous);
            prop_assert!(!name.is_empty() && name.len() <= EXPOSED_CHARS_MAX);
            prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')));
            prop_assert_eq!(&name, &exposed(&group, &tool, ambiguous));
            prop_assert!(is_of_group(&name, &group));
            prop_assert_eq!(Prefixes::of([&GroupId::new(group).unwrap()]).claims(&name) > 0, true);
        }
    }
}
