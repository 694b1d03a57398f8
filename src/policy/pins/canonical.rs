//! The canonical form of a tool's definition: the same bytes for the same meaning (RFC 8785, JSON Canonicalization Scheme).

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::json::RawJson;

/// The members that a pin is about: what a model or a host goes by.
const PINNED: [&str; 5] = ["name", "description", "inputSchema", "outputSchema", "annotations"];

/// The bytes that stand for a definition. Keys are sorted, numbers and characters have one spelling; members without a value are as
/// those that are not there. What readers may understand differently has no canonical form (a key that stands twice, a number
/// beyond 64 bits): it stands for itself, letter by letter.
pub fn canonical(definition: &RawJson) -> Vec<u8> {
    let as_written = || definition.as_bytes().to_vec();
    let Ok(Strict(Value::Object(mut members))) = definition.parse::<Strict>() else { return as_written() };
    members.retain(|member, value| PINNED.contains(&member.as_str()) && !value.is_null());
    serde_json_canonicalizer::to_vec(&members).unwrap_or_else(|_| as_written())
}

/// A value without a key that stands twice in one object: of those a parser takes one, and another parser the other.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Strict;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Strict, E> {
                Ok(Strict(Value::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Strict, E> {
                Ok(Strict(value.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Strict, A::Error> {
                let mut read = Vec::new();
                while let Some(Strict(value)) = values.next_element()? {
                    read.push(value);
                }
                Ok(Strict(Value::Array(read)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Strict, A::Error> {
                let mut read = Map::new();
                while let Some((key, Strict(value))) = members.next_entry::<String, Strict>()? {
                    if read.insert(key, value).is_some() {
                        return Err(A::Error::custom("a key stands twice"));
                    }
                }
                Ok(Strict(Value::Object(read)))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> String {
        String::from_utf8(canonical(&RawJson::from_text(text).unwrap())).unwrap()
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
        assert_eq!(written("1e21"), r#"{"inputSchema":{"minimum":1e+21}}"#);
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
            r#"{"inputSchema":{"minimum":1e400}}"#,
            r#""file.read""#,
        ] {
            assert_eq!(form(odd), odd);
        }
    }
}
