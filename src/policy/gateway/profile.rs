//! What a profile lets be seen of what servers offer. What it hides is unknown to the client, in every way.

use std::collections::{BTreeMap, HashMap};

use super::offered::Offered;
use crate::config::ProfileSettings;
use crate::id::ServerId;

/// How a pattern begins that means servers by a tag.
const TAG: &str = "tag:";

/// A profile, read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Profile {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    read_only: bool,
    rename: BTreeMap<String, String>,
}

/// What `include` and `exclude` name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    /// All of servers with this tag.
    Tag(String),
    /// All of the groups that match.
    Group(String),
    /// What matches as `group/name`.
    Entry(String),
}

/// The tags of each server.
pub(crate) type Tags = HashMap<ServerId, Vec<String>>;

impl Profile {
    /// The profile of these settings.
    pub(crate) fn of(settings: &ProfileSettings) -> Self {
        let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::of(text)).collect();
        Self {
            include: patterns(&settings.include),
            exclude: patterns(&settings.exclude),
            read_only: settings.read_only,
            rename: settings.rename.clone(),
        }
    }

    /// Whether something is shown. `reads` says that it is believed to change nothing.
    pub(super) fn shows(&self, offered: &Offered<'_>, tags: &Tags, reads: bool) -> bool {
        let matched = |pattern: &Pattern| pattern.matches(offered, tags);
        let included = self.include.is_empty() || self.include.iter().any(matched);
        // Somebody who has looked at it has named it.
        let named = || self.include.iter().any(|pattern| pattern.names(offered));
        included && !self.exclude.iter().any(matched) && (!self.read_only || reads || named())
    }

    /// What a tool or prompt is called in place of its usual name.
    pub(super) fn name_of(&self, offered: &Offered<'_>) -> Option<&str> {
        if self.rename.is_empty() {
            return None;
        }
        self.rename.get(&format!("{}/{}", offered.group, offered.name)).map(String::as_str)
    }
}

impl Pattern {
    fn of(text: &str) -> Self {
        match text.strip_prefix(TAG) {
            Some(tag) => Self::Tag(tag.to_owned()),
            None if text.contains('/') => Self::Entry(text.to_owned()),
            None => Self::Group(text.to_owned()),
        }
    }

    fn matches(&self, offered: &Offered<'_>, tags: &Tags) -> bool {
        match self {
            Self::Tag(tag) => {
                let has_it = |server: &ServerId| tags.get(server).is_some_and(|tags| tags.contains(tag));
                offered.servers.iter().any(has_it)
            }
            Self::Group(pattern) => matches(pattern, offered.group.as_str()),
            Self::Entry(pattern) => matches(pattern, &format!("{}/{}", offered.group, offered.name)),
        }
    }

    /// Whether it means this one alone.
    fn names(&self, offered: &Offered<'_>) -> bool {
        match self {
            Self::Entry(pattern) => *pattern == format!("{}/{}", offered.group, offered.name),
            Self::Tag(_) | Self::Group(_) => false,
        }
    }
}

/// Whether a text follows a pattern, in which `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        // The first place leaves the most for those that follow.
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at.saturating_add(part.len())..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::GroupId;
    use crate::json::RawJson;

    fn shows(profile: &ProfileSettings, group: &str, name: &str, reads: bool) -> bool {
        let (group, name, definition) = (GroupId::new(group).unwrap(), name.into(), RawJson::empty_object());
        let server = ServerId::new(group.as_str()).unwrap();
        let tags = Tags::from([(ServerId::new("db").unwrap(), vec!["storage".to_owned()])]);
        let servers = [server];
        let offered =
            Offered { group: &group, name: &name, exposed: "", definition: &definition, servers: &servers };
        Profile::of(profile).shows(&offered, &tags, reads)
    }

    fn profile(include: &[&str], exclude: &[&str], read_only: bool) -> ProfileSettings {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        ProfileSettings {
            include: owned(include),
            exclude: owned(exclude),
            read_only,
            ..ProfileSettings::default()
        }
    }

    #[test]
    fn what_is_included_and_not_excluded_is_shown() {
        for (include, exclude, shown) in [
            (&[][..], &[][..], true),
            (&["files"], &[], true),
            (&["other"], &[], false),
            (&["fi*"], &[], true),
            (&["files/read_*"], &[], true),
            (&["files/write_*", "*/read*"], &[], true),
            (&["files"], &["files/*_file"], false),
            (&[], &["files"], false),
            (&["tag:storage"], &[], false),
        ] {
            assert_eq!(
                shows(&profile(include, exclude, false), "files", "read_file", false),
                shown,
                "{include:?} {exclude:?}"
            );
        }
        assert!(shows(&profile(&["tag:storage"], &[], false), "db", "query", false));
    }

    #[test]
    fn of_a_profile_that_only_reads_is_shown_what_is_believed_or_named() {
        assert!(!shows(&profile(&[], &[], true), "files", "read", false));
        assert!(shows(&profile(&[], &[], true), "files", "read", true));
        assert!(!shows(&profile(&["files", "files/re*"], &[], true), "files", "read", false));
        assert!(shows(&profile(&["files/read"], &[], true), "files", "read", false));
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*a", "a", false),
            ("a*b*c", "axbxbxc", true),
            ("a**c", "ac", true),
            ("*ü*", "grün", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_as_the_plain_recursion_says(pattern in "[ab*]{0,8}", text in "[ab]{0,8}") {
            fn plain(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern, text) {
                    ([], []) => true,
                    ([b'*', rest @ ..], _) => plain(rest, text) || (!text.is_empty() && plain(pattern, &text[1..])),
                    ([a, rest @ ..], [b, text @ ..]) => a == b && plain(rest, text),
                    _ => false,
                }
            }
            prop_assert_eq!(matches(&pattern, &text), plain(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
