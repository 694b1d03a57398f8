//! What of a tool's definition a pin is about, as one text for one meaning.

use crate::json::RawJson;
use crate::json::canonical::canonical;
use crate::json::members::{given, members};

/// The members that a pin is about, sorted: what a model or a host goes by.
const PINNED: [&str; 5] = ["annotations", "description", "inputSchema", "name", "outputSchema"];

/// The text that stands for a definition: the canonical one of what a pin is about, where members without a value are as those
/// that are not there. What readers may understand differently (a key that stands twice) has no canonical text: it stands for
/// itself, letter by letter.
pub(super) fn canonical_definition(definition: &RawJson) -> String {
    let as_written = || definition.as_str().to_owned();
    let Ok(whole) = canonical(definition) else { return as_written() };
    let Ok(found) = members(&whole, PINNED) else { return as_written() };
    let pinned = PINNED.into_iter().zip(found);
    let pinned = pinned.filter_map(|(name, value)| Some(format!("\"{name}\":{}", given(value)?)));
    format!("{{{}}}", pinned.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> String {
        canonical_definition(&RawJson::from_text(text).unwrap())
    }

    #[test]
    fn the_order_of_keys_does_not_count_however_deep_they_are() {
        let one = r#"{"name":"t","inputSchema":{"type":"object","properties":{"b":{"x":1,"y":[{"p":1,"q":2}]},"a":{}}}}"#;
        let other = r#"{ "inputSchema" : {"properties":{"a":{},"b":{"y":[{"q":2,"p":1}],"x":1}},"type":"object"}, "name":"t" }"#;
        assert_eq!(form(one), form(other));
        assert_eq!(
            form(one),
            r#"{"inputSchema":{"properties":{"a":{},"b":{"x":1,"y":[{"p":1,"q":2}]}},"type":"object"},"name":"t"}"#
        );
        // The order of a list does.
        assert_ne!(form(r#"{"inputSchema":{"enum":[1,2]}}"#), form(r#"{"inputSchema":{"enum":[2,1]}}"#));
    }

    #[test]
    fn a_number_has_one_spelling() {
        let written = |number: &str| form(&format!(r#"{{"inputSchema":{{"minimum":{number}}}}}"#));
        for number in ["1", "1.0", "1e0", "10E-1", "0.1e1"] {
            assert_eq!(written(number), r#"{"inputSchema":{"minimum":1}}"#, "{number}");
        }
        assert_eq!(written("-0.0"), written("0"));
        assert_ne!(written("1"), written("\"1\""));
    }

    #[test]
    fn a_character_has_one_spelling() {
        assert_eq!(form(r#"{"description":"\u00e9\/\u0041\n"}"#), form("{\"description\":\"é/A\\u000a\"}"));
        assert_eq!(form(r#"{"description":"\ud83d\ude00"}"#), form(r#"{"description":"😀"}"#));
        assert_eq!(form(r#"{"\u006eame":"t"}"#), r#"{"name":"t"}"#);
    }

    #[test]
    fn only_what_models_and_hosts_go_by_counts() {
        let plain = form(r#"{"name":"t","description":"d"}"#);
        assert_eq!(form(r#"{"name":"t","description":"d","title":"T","icons":[],"_meta":{"x":1}}"#), plain);
        assert_eq!(form(r#"{"name":"t","description":"d","annotations":null}"#), plain);
        for change in
            [r#""outputSchema":{}"#, r#""annotations":{"readOnlyHint":true}"#, r#""inputSchema":{}"#]
        {
            assert_ne!(form(&format!(r#"{{"name":"t","description":"d",{change}}}"#)), plain);
        }
    }

    #[test]
    fn what_readers_may_understand_differently_stands_for_itself() {
        for odd in [
            r#"{"description":"good","description":"evil"}"#,
            r#"{"inputSchema":{"a":{"description":"evil","description":"good"}}}"#,
            r#""file.read""#,
        ] {
            assert_eq!(form(odd), odd);
        }
    }
}
