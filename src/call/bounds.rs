//! How long the texts of a call may be by which the troupe looks things up.
//!
//! Names come from language models, which invent them, and from users of a gateway. Each is compared, hashed, kept or told
//! somewhere, also where others' calls wait for it; so what can be nobody's name is refused before any of that. Each look is at
//! a length alone.

use super::{Affinity, Call, Completes, Options, Purpose, Request, Selector};
use crate::error::CallErrorKind;
use crate::id::ID_BYTES_MAX;
use crate::offer::{NAME_BYTES_MAX, URI_BYTES_MAX};

/// The longest name of a tool or prompt, which is that with its group: `group/tool`. Exposed names are shorter.
pub(crate) const QUALIFIED_BYTES_MAX: usize = ID_BYTES_MAX + 1 + NAME_BYTES_MAX;

/// The longest affinity key or identity: room for any session id or address, while a full table of them has 10 MiB.
const KEY_BYTES_MAX: usize = 1 << 10;

/// The most tags that a call may ask for: each is compared with those of each server.
const TAGS_MAX: usize = 64;

/// The beginning of a text, of so many bytes at most.
pub(crate) fn head(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

impl Call {
    /// What about it is longer than anything that could be meant.
    pub(crate) fn too_long(&self) -> Option<CallErrorKind> {
        // Nearly every call: a short name, and nothing else by which it is looked up.
        if self.tool.len() <= ID_BYTES_MAX && self.options.is_none() {
            return None;
        }
        self.first_too_long()
    }

    #[cold]
    fn first_too_long(&self) -> Option<CallErrorKind> {
        let Options { selector, affinity, identity, .. } = self.options();
        let Selector { server, group, tags } = selector;
        let catalogue = "use a name from the catalogue";
        let (what, limit, remedy) = match (&self.purpose, self.request) {
            (Purpose::OpenLease, _) => {
                ("bytes of the name of a server or group", ID_BYTES_MAX, "use an id from the configuration")
            }
            (Purpose::Tool | Purpose::OnLease(_), Request::Tool) => {
                ("bytes of the tool's name", QUALIFIED_BYTES_MAX, catalogue)
            }
            (
                Purpose::Tool | Purpose::OnLease(_),
                Request::Prompt | Request::Completion(Completes::Prompt),
            ) => ("bytes of the prompt's name", QUALIFIED_BYTES_MAX, catalogue),
            (Purpose::Tool | Purpose::OnLease(_), Request::Resource) => {
                ("bytes of the resource's URI", URI_BYTES_MAX, "use a URI that a server lists or links to")
            }
            (Purpose::Tool | Purpose::OnLease(_), Request::Completion(Completes::Template)) => {
                ("bytes of the resource template", URI_BYTES_MAX, "use a template from the catalogue")
            }
        };
        let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let id = "select by an id from the configuration";
        let tag = "select by a tag from the configuration";
        let hash = "use a hash of it";
        [
            (what, self.tool.len(), limit, remedy),
            ("bytes of the selected server", of(server), ID_BYTES_MAX, id),
            ("bytes of the selected group", of(group), ID_BYTES_MAX, id),
            ("tags", tags.len(), TAGS_MAX, "ask for fewer"),
            ("bytes of a tag", tags.iter().map(String::len).max().unwrap_or_default(), ID_BYTES_MAX, tag),
            ("bytes of the affinity key", affinity.as_ref().map_or(0, Affinity::len), KEY_BYTES_MAX, hash),
            ("bytes of the identity", of(identity), KEY_BYTES_MAX, hash),
        ]
        .into_iter()
        .find(|(_, length, limit, _)| length > limit)
        .map(|(what, length, limit, remedy)| CallErrorKind::TooLong { what, length, limit, remedy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(call: &Call) -> Option<String> {
        call.too_long().map(|kind| kind.to_string())
    }

    #[test]
    fn what_is_too_long_is_named_with_its_limit_and_what_to_do() {
        let of = |bytes: usize| "x".repeat(bytes);
        let at_most = |bytes: usize| [bytes, bytes + 1];
        let calls = [
            (at_most(193).map(|n| Call::tool(of(n))), "bytes of the tool's name"),
            (at_most(193).map(|n| Call::prompt(of(n))), "bytes of the prompt's name"),
            (at_most(8 << 10).map(|n| Call::resource(of(n))), "bytes of the resource's URI"),
            (at_most(64).map(|n| Call::tool("t").server(of(n))), "bytes of the selected server"),
            (at_most(64).map(|n| Call::tool("t").group(of(n))), "bytes of the selected group"),
            (at_most(64).map(|n| Call::tool("t").tag(of(n))), "bytes of a tag"),
            (at_most(64).map(|n| (0..n).fold(Call::tool("t"), |call, n| call.tag(n.to_string()))), "tags"),
            (at_most(1024).map(|n| Call::tool("t").affinity(of(n))), "bytes of the affinity key"),
            (at_most(1024).map(|n| Call::tool("t").strict_affinity(of(n))), "bytes of the affinity key"),
            (at_most(1024).map(|n| Call::tool("t").identity(of(n))), "bytes of the identity"),
        ];
        for ([longest, too_long], what) in calls {
            assert_eq!(told(&longest), None, "{what}");
            assert!(told(&too_long).is_some_and(|told| told.contains(what)), "{:?}", told(&too_long));
        }
        assert_eq!(
            told(&Call::tool("x".repeat(20_000))).as_deref(),
            Some("too long: 20000 bytes of the tool's name, the limit is 193; use a name from the catalogue")
        );
    }

    #[test]
    fn a_tag_that_is_asked_for_twice_is_one() {
        let call = ["b", "a", "b", "a"].into_iter().fold(Call::tool("t"), Call::tag);
        assert_eq!(call.options().selector.tags, ["a", "b"]);
    }

    #[test]
    fn the_head_of_a_text_ends_between_characters() {
        assert_eq!((head("abc", 9), head("abc", 2), head("äb", 1), head("", 0)), ("abc", "ab", "", ""));
    }
}
