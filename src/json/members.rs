//! Reading the few members of a JSON object that are acted on, and nothing else of it.
//!
//! A derived struct would be stricter than peers are: it refuses a member that is given twice, takes an array for an
//! object, and fails as a whole for one member of another type. Here each member is its own raw text, and who reads it
//! decides what an odd one means.

use std::borrow::Cow;

use crate::json::scan::{Fault, Scan};

/// The members of the object `text` that are called `names`, each unread; of one that is given twice, the last.
///
/// # Errors
/// If `text` is no JSON object.
pub(crate) fn members<'a, const N: usize>(
    text: &'a str,
    names: [&str; N],
) -> Result<[Option<&'a str>; N], Fault> {
    let mut found = [None; N];
    each_written_member(text, |key, value| {
        let place = |key: &str| names.iter().position(|name| *name == key);
        // Names have no escapes: a key that is one of them to the letter means it.
        let place = match place(key) {
            None if key.contains('\\') => place(&meant(key)?),
            place => place,
        };
        if let Some(place) = place {
            found[place] = Some(value);
        }
        Some(())
    })?;
    Ok(found)
}

/// Why the members of a text cannot be told.
#[cfg(feature = "gateway")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotOnce {
    /// It is no JSON object.
    NoObject,
    /// A member that was asked for is given twice, and readers differ in which of the two counts.
    Twice(&'static str),
}

/// The same as [`members`] where each may be given once: who reads another one than somebody who has judged the text before would
/// do what that one has not seen.
///
/// # Errors
/// If `text` is no JSON object, or one of the `names` stands twice in it.
#[cfg(feature = "gateway")]
pub(crate) fn members_once<'a, const N: usize>(
    text: &'a str,
    names: [&'static str; N],
) -> Result<[Option<&'a str>; N], NotOnce> {
    let mut found = [None; N];
    let mut twice = None;
    let read = each_written_member(text, |key, value| {
        let key = meant(key)?;
        if let Some(place) = names.iter().position(|name| *name == key)
            && found[place].replace(value).is_some()
        {
            twice = Some(names[place]);
        }
        Some(())
    });
    read.map_err(|_| NotOnce::NoObject)?;
    twice.map_or(Ok(found), |twice| Err(NotOnce::Twice(twice)))
}

/// Gives every member of the object `text` to `each`, in order.
///
/// # Errors
/// If `text` is no JSON object.
pub(crate) fn each_member<'a>(text: &'a str, mut each: impl FnMut(&str, &'a str)) -> Result<(), Fault> {
    each_written_member(text, |key, value| {
        each(&meant(key)?, value);
        Some(())
    })
}

/// The same with the keys as they are written. What `each` cannot read is a fault.
fn each_written_member<'a>(
    text: &'a str,
    mut each: impl FnMut(&'a str, &'a str) -> Option<()>,
) -> Result<(), Fault> {
    let mut scan = Scan::new(text);
    scan.expect(b'{')?;
    if !scan.take(b'}') {
        loop {
            let key = scan.string()?;
            scan.expect(b':')?;
            each(key, scan.value()?).ok_or_else(|| scan.fault())?;
            if !scan.take(b',') {
                break scan.expect(b'}')?;
            }
        }
    }
    scan.end()
}

/// The text that a key stands for; none if an escape in it stands for no character.
fn meant(written: &str) -> Option<Cow<'_, str>> {
    if written.contains('\\') {
        string(&format!("\"{written}\"")).map(Cow::Owned)
    } else {
        Some(written.into())
    }
}

/// Gives every element of the array `text` to `each`, in order and as it goes: one that comes before a fault is given.
///
/// # Errors
/// If `text` is no JSON array.
pub(crate) fn each_element<'a>(text: &'a str, mut each: impl FnMut(&'a str)) -> Result<(), Fault> {
    let mut scan = Scan::new(text);
    scan.expect(b'[')?;
    if !scan.take(b']') {
        loop {
            each(scan.value()?);
            if !scan.take(b',') {
                break scan.expect(b']')?;
            }
        }
    }
    scan.end()
}

/// The string that `raw` is, if it is one.
pub(crate) fn string(raw: &str) -> Option<String> {
    serde_json::from_str(raw).ok()
}

/// A member that says something: neither missing nor null.
pub(crate) fn given(member: Option<&str>) -> Option<&str> {
    member.filter(|raw| *raw != "null")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<[Option<&str>; 2]> {
        members(text, ["a", "b"]).ok()
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

    #[cfg(feature = "gateway")]
    #[test]
    fn a_member_that_is_given_twice_is_told_however_it_is_written() {
        let read = |text| members_once(text, ["a", "b"]);
        assert_eq!(read(r#"{"a":1,"x":2,"x":3}"#), Ok([Some("1"), None]));
        assert_eq!(read(r#"{"b":1,"\u0062":1}"#), Err(NotOnce::Twice("b")));
        assert_eq!(read("[1]"), Err(NotOnce::NoObject));
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
