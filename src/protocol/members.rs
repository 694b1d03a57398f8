//! Reading the few members of a JSON object that are acted on, and nothing else of it.
//!
//! A derived struct would be stricter than peers are: it refuses a member that is given twice, takes an array for an
//! object, and fails as a whole for one member of another type. Here each member is its own raw slice, and who reads it
//! decides what an odd one means.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of the object `text` that are called `names`, each unread; of one that is given twice, the last.
///
/// # Errors
/// If `text` is no JSON object.
pub(super) fn members<'a, const N: usize>(
    text: &'a str,
    names: [&str; N],
) -> Result<[Option<&'a RawValue>; N], serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = reader.deserialize_map(Members(names))?;
    reader.end()?;
    Ok(found)
}

/// Gives every member of the object `text` to `each`, in order.
///
/// # Errors
/// If `text` is no JSON object.
pub(super) fn each_member(text: &str, each: impl FnMut(&str, &RawValue)) -> Result<(), serde_json::Error> {
    serde_json::Deserializer::from_str(text).deserialize_map(EachMember(each))
}

/// The string that `raw` is, if it is one.
pub(super) fn string(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// A member that says something: neither missing nor null.
pub(super) fn given(member: Option<&RawValue>) -> Option<&RawValue> {
    member.filter(|raw| raw.get() != "null")
}

struct Members<'n, const N: usize>([&'n str; N]);

impl<'de, const N: usize> Visitor<'de> for Members<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(place) = map.next_key_seed(Place(&self.0))? {
            match place {
                Some(place) => found[place] = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

/// Finds a key's place among the names, without a copy of it.
struct Place<'n>(&'n [&'n str]);

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Place<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| *name == key))
    }
}

struct EachMember<F>(F);

impl<'de, F: FnMut(&str, &RawValue)> Visitor<'de> for EachMember<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
            (self.0)(&key, value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<[Option<&str>; 2]> {
        members(text, ["a", "b"]).ok().map(|found| found.map(|raw| raw.map(RawValue::get)))
    }

    #[test]
    fn members_are_exact_slices_in_any_order_and_between_others() {
        assert_eq!(
            read(r#" { "x":[1,{"a":9}], "b" :  1.00 , "a":{"b":2} } "#),
            Some([Some(r#"{"b":2}"#), Some("1.00")])
        );
        assert_eq!(read("{}"), Some([None, None]));
    }

    #[test]
    fn a_key_may_be_escaped_and_of_two_equal_ones_the_last_counts() {
        assert_eq!(read(r#"{"a":1,"\u0061":2}"#), Some([Some("2"), None]));
    }

    #[test]
    fn null_is_a_member_that_says_nothing() {
        assert_eq!(read(r#"{"a":null}"#), Some([Some("null"), None]));
        assert!(given(members(r#"{"a":null}"#, ["a"]).unwrap()[0]).is_none());
    }

    #[test]
    fn only_one_whole_object_is_read() {
        for text in ["", "[1,2]", "7", "null", r#"{"a":1}}"#, r#"{"a":1"#, r#"{"a":1} {}"#, "{1:2}"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_passed_over_and_not_climbed() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let text = format!(r#"{{"x":{deep},"a":{deep}}}"#);
        assert_eq!(read(&text), Some([Some(deep.as_str()), None]));
    }
}
