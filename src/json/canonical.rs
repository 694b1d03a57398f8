//! One text for all ways to write the same JSON value: for keys and hashes.
//!
//! - Members are sorted by their keys (as UTF-8) at every level; there is no white space.
//! - Strings are escaped only where they must be.
//! - Numbers are digits without leading or trailing zeros and a power of ten: `1`, `1.0` and `1e0` are `1`, `0.50` is `5e-1`.
//!   They are never turned into floats, so none loses a digit. `-0` is `0`.
//!
//! It is not RFC 8785, which writes numbers as doubles and so makes one of two large ones.

use super::RawJson;
use super::scan::{Fault, Scan};

/// Levels of nesting that are followed: as many as serde_json reads.
const DEPTH_MAX: usize = 128;

/// Why a value has no canonical text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CanonicalError {
    /// A key stands twice in one object, and readers differ in which of the two counts.
    #[error("the key {0:?} stands twice in one object")]
    DuplicateKey(String),
    /// The nesting is too deep.
    #[error("it is nested more than {DEPTH_MAX} levels deep")]
    TooDeep,
    /// A string is no Unicode text: half of a surrogate pair.
    #[error("a string is no text: {0}")]
    NoText(String),
    /// An exponent that nobody can calculate with.
    #[error("the number {0} has an exponent beyond all bounds")]
    Exponent(String),
    /// No JSON.
    #[error("it is no JSON: {0}")]
    NoJson(Fault),
}

impl From<Fault> for CanonicalError {
    fn from(fault: Fault) -> Self {
        Self::NoJson(fault)
    }
}

/// The canonical text of a value.
///
/// # Errors
/// [`CanonicalError`]: a value that readers may understand in more than one way has none.
pub(crate) fn canonical(json: &RawJson) -> Result<String, CanonicalError> {
    let text = json.as_str();
    let mut written = String::with_capacity(text.len());
    let mut scan = Scan::new(text);
    value(&mut scan, 0, &mut written)?;
    scan.end()?;
    Ok(written)
}

fn value(scan: &mut Scan<'_>, depth: usize, out: &mut String) -> Result<(), CanonicalError> {
    if depth > DEPTH_MAX {
        return Err(CanonicalError::TooDeep);
    }
    if scan.take(b'{') {
        return object(scan, depth, out);
    }
    if scan.take(b'[') {
        return array(scan, depth, out);
    }
    let written = scan.value()?;
    match written.as_bytes().first() {
        Some(b'"') => string(&text(&written[1..written.len() - 1])?, out),
        Some(b'-' | b'0'..=b'9') => number(written, out)?,
        // true, false and null have one way to be written.
        Some(_) | None => out.push_str(written),
    }
    Ok(())
}

fn array(scan: &mut Scan<'_>, depth: usize, out: &mut String) -> Result<(), CanonicalError> {
    out.push('[');
    let mut first = true;
    while !scan.take(b']') {
        if !std::mem::take(&mut first) {
            scan.expect(b',')?;
            out.push(',');
        }
        value(scan, depth + 1, out)?;
    }
    out.push(']');
    Ok(())
}

fn object(scan: &mut Scan<'_>, depth: usize, out: &mut String) -> Result<(), CanonicalError> {
    let mut members: Vec<(String, String)> = Vec::new();
    while !scan.take(b'}') {
        if !members.is_empty() {
            scan.expect(b',')?;
        }
        let key = text(scan.string()?)?;
        scan.expect(b':')?;
        let mut member = String::new();
        value(scan, depth + 1, &mut member)?;
        members.push((key, member));
    }
    members.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(twice) = members.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(CanonicalError::DuplicateKey(twice[0].0.clone()));
    }
    out.push('{');
    for (index, (key, member)) in members.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        string(key, out);
        out.push(':');
        out.push_str(member);
    }
    out.push('}');
    Ok(())
}

/// What a string says, given what stands between its quotes.
fn text(written: &str) -> Result<String, CanonicalError> {
    if !written.contains('\\') {
        return Ok(written.to_owned());
    }
    serde_json::from_str(&format!("\"{written}\"")).map_err(|error| CanonicalError::NoText(error.to_string()))
}

fn string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
}

fn number(written: &str, out: &mut String) -> Result<(), CanonicalError> {
    let (sign, unsigned) = written.strip_prefix('-').map_or(("", written), |rest| ("-", rest));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        out.push('0');
        return Ok(());
    }
    let shift = digits.len() - digits.trim_end_matches('0').len();
    let beyond = || CanonicalError::Exponent(written.to_owned());
    let exponent: i64 = exponent.parse().map_err(|_| beyond())?;
    // A text is shorter than 2^63 bytes.
    let exponent =
        exponent.checked_add(shift as i64).and_then(|exponent| exponent.checked_sub(fraction.len() as i64));
    let exponent = exponent.ok_or_else(beyond)?;
    out.push_str(sign);
    out.push_str(significant);
    if exponent != 0 {
        out.push('e');
        out.push_str(&exponent.to_string());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn of(text: &str) -> Result<String, CanonicalError> {
        canonical(&RawJson::from_text(text).unwrap())
    }

    #[test]
    fn keys_are_sorted_at_all_levels_and_white_space_is_dropped() {
        let text =
            r#" { "b" : [ { "z" : null , "a" : true } ] , "a" : { "d" : "x y" , "c" : { } } , "" : [ ] } "#;
        assert_eq!(of(text).unwrap(), r#"{"":[],"a":{"c":{},"d":"x y"},"b":[{"a":true,"z":null}]}"#);
    }

    #[test]
    fn equal_numbers_are_written_alike_and_none_loses_a_digit() {
        for (written, expected) in [
            ("1", "1"),
            ("1.0", "1"),
            ("1e0", "1"),
            ("10E-1", "1"),
            ("100", "1e2"),
            ("0.50", "5e-1"),
            ("-0", "0"),
            ("0.000e99999999999999999999", "0"),
            ("-12.30e+2", "-123e1"),
            ("1e400", "1e400"),
            ("9007199254740993", "9007199254740993"),
            ("9007199254740992", "9007199254740992"),
            ("0.1000000000000000055511151231257827", "1000000000000000055511151231257827e-34"),
        ] {
            assert_eq!(of(written).unwrap(), expected, "{written}");
        }
        assert!(matches!(of("1e99999999999999999999"), Err(CanonicalError::Exponent(_))));
    }

    #[test]
    fn a_string_is_one_text_however_it_is_escaped() {
        assert_eq!(of(r#""\u00e9\/\n\"\\\ud83d\ude00""#).unwrap(), "\"é/\\u000a\\\"\\\\😀\"");
        assert_eq!(of("\"é/\\u000A\\u0022\\u005c😀\"").unwrap(), "\"é/\\u000a\\\"\\\\😀\"");
        assert!(matches!(of(r#""\ud800""#), Err(CanonicalError::NoText(_))));
    }

    #[test]
    fn what_readers_may_understand_differently_has_no_canonical_text() {
        let twice = Err(CanonicalError::DuplicateKey("a".into()));
        assert_eq!(of(r#"{"a":1,"b":2,"\u0061":1}"#), twice);
        assert_eq!(of(r#"[{"x":{"a":1,"a":1}}]"#), twice);
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(of(&deep(DEPTH_MAX)).is_ok());
        assert_eq!(of(&deep(100_000)), Err(CanonicalError::TooDeep));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e6..1e6f64).prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_are_equal_where_their_canonical_texts_are(one in any_json(), other in any_json()) {
            let (pretty, plain) = (serde_json::to_string_pretty(&one).unwrap(), one.to_string());
            let text = of(&pretty).unwrap();
            prop_assert_eq!(&text, &of(&plain).unwrap());
            // It is its own canonical text.
            prop_assert_eq!(&text, &of(&text).unwrap());
            prop_assert_eq!(text == of(&other.to_string()).unwrap(), one == other);
        }
    }
}
