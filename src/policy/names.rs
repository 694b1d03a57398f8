//! Names of tools as models may see them: `group__tool`, at most 64 characters of `[A-Za-z0-9_-]`.

/// The longest exposed name: the limit of the common model APIs.
const EXPOSED_CHARS_MAX: usize = 64;

/// What stands between group and tool.
const SEPARATOR: &str = "__";

/// The exposed name of a tool. Other characters become `_`; a name that was cut, or that is `ambiguous` because
/// another original gives the same, ends in a hash of its original.
pub fn exposed(group: &str, tool: &str, ambiguous: bool) -> String {
    let original = format!("{group}{SEPARATOR}{tool}");
    let plain: String = original.chars().map(legal).collect();
    if plain.len() <= EXPOSED_CHARS_MAX && !ambiguous {
        return plain;
    }
    let hash = format!("_{:08x}", fold(fnv1a(format!("{group}/{tool}").as_bytes())));
    let kept = plain.len().min(EXPOSED_CHARS_MAX - hash.len());
    format!("{}{hash}", &plain[..kept])
}

/// Whether an exposed name begins with this group, so that it may be that of a tool of it.
pub fn is_of_group(exposed: &str, group: &str) -> bool {
    let mut rest = exposed.chars();
    group.chars().all(|c| rest.next() == Some(legal(c))) && rest.as_str().starts_with(SEPARATOR)
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
    fn names_are_the_same_in_every_version() {
        assert_eq!(exposed("files", "file.read", true), "files__file_read_c452f814");
    }

    proptest! {
        #[test]
        fn every_name_is_valid_for_models(group in "[A-Za-z0-9_.-]{1,64}", tool in "[A-Za-z0-9_.-]{1,128}", ambiguous in any::<bool>()) {
            let name = exposed(&group, &tool, ambiguous);
            prop_assert!(!name.is_empty() && name.len() <= EXPOSED_CHARS_MAX);
            prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')));
            prop_assert_eq!(name, exposed(&group, &tool, ambiguous));
        }
    }
}
