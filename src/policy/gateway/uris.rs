//! What resources and templates are called at the gateway: as their servers call them, so that links in results hold. Of several
//! groups that list the same one, those that were configured later have their name before it: `group+scheme:…`.

use std::collections::HashSet;

use crate::id::GroupId;

/// What each is called, given its group, its URI and its group's place in the configuration.
pub(super) fn shown(all: &[(&GroupId, &str, usize)]) -> Vec<String> {
    let mut in_order: Vec<usize> = (0..all.len()).collect();
    in_order.sort_by_key(|at| all[*at].2);
    let mut taken: HashSet<&str> = HashSet::with_capacity(all.len());
    let mut shown = vec![String::new(); all.len()];
    for at in in_order {
        let (group, uri, _) = all[at];
        let plain = taken.insert(uri);
        shown[at] = if plain { uri.to_owned() } else { format!("{}+{uri}", scheme(group)) };
    }
    shown
}

/// The URI without the group that stands before it; none if that is another one's.
pub(super) fn without<'u>(group: &GroupId, uri: &'u str) -> Option<&'u str> {
    uri.strip_prefix(&scheme(group))?.strip_prefix('+')
}

/// A group's name as a part of a scheme, where `_` is not legal.
fn scheme(group: &GroupId) -> String {
    group.as_str().replace('_', "-")
}

/// The scheme and the authority of a URI; none where it has no authority.
pub(super) fn place(uri: &str) -> Option<&str> {
    let begin = uri.find("://")?.saturating_add(3);
    let end = uri[begin..].find(['/', '?', '#']).map_or(uri.len(), |end| begin.saturating_add(end));
    Some(&uri[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_stays_unless_a_group_before_has_it() {
        let [a, b] = ["my_a", "b"].map(|group| GroupId::new(group).unwrap());
        let all = [(&a, "x:1", 1), (&a, "x:2", 1), (&b, "x:1", 0)];
        assert_eq!(shown(&all), ["my-a+x:1", "x:2", "x:1"]);
        assert_eq!(without(&a, "my-a+x:1"), Some("x:1"));
        assert_eq!((without(&a, "x:1"), without(&b, "my-a+x:1")), (None, None));
    }

    #[test]
    fn a_place_is_scheme_and_authority() {
        assert_eq!(place("db://h:1/a/b"), Some("db://h:1"));
        assert_eq!(place("db://h?q"), Some("db://h"));
        assert_eq!(place("file:///etc"), Some("file://"));
        assert_eq!(place("urn:x"), None);
    }
}
