//! Passing over JSON text: where does this value end, and is it one?
//!
//! Every byte of every answer comes by here once, to find the few members that are acted on and to make sure that the rest
//! can be handed on unread. A parser made for building values takes half as long again, also where it builds none; so the
//! call path has its own, which knows the grammar (RFC 8259) and nothing else. It takes the same texts as serde_json does
//! where that passes over a value: the tests hold the two against each other.
//!
//! It does not recurse, so that no depth of nesting can exhaust the stack, and copies nothing.

use std::fmt;

/// Where a text is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It breaks off.
    End {
        /// Its length in bytes.
        at: usize,
    },
    /// Something stands there that must not.
    Syntax {
        /// The offset in bytes.
        at: usize,
    },
}

impl fmt::Display for Fault {
    /// The place is enough: the text may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End { at } => write!(f, "it breaks off after {at} bytes"),
            Self::Syntax { at } => write!(f, "syntax error at byte {at}"),
        }
    }
}

/// A place in a text, moved forward over what is there. After a fault it stands where that is.
pub(crate) struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    /// Begins at the first byte of `text`.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Passes white space, and this byte if it follows.
    #[inline]
    pub(crate) fn take(&mut self, wanted: u8) -> bool {
        self.at = behind_space(self.text.as_bytes(), self.at);
        let found = self.text.as_bytes().get(self.at) == Some(&wanted);
        self.at += usize::from(found);
        found
    }

    /// Passes white space and this byte.
    #[inline]
    pub(crate) fn expect(&mut self, wanted: u8) -> Result<(), Fault> {
        if self.take(wanted) { Ok(()) } else { Err(self.fault()) }
    }

    /// Makes sure that nothing but white space is left.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        self.at = behind_space(self.text.as_bytes(), self.at);
        if self.at == self.text.len() { Ok(()) } else { Err(self.fault()) }
    }

    /// Passes a string: its text between the quotes, as it is written.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<&'a str, Fault> {
        self.expect(b'"')?;
        let from = self.at;
        self.at = self.reached(behind_string(self.text.as_bytes(), from))?;
        Ok(&self.text[from..self.at - 1])
    }

    /// Passes a value: its text, without the white space around it.
    #[inline]
    pub(crate) fn value(&mut self) -> Result<&'a str, Fault> {
        let from = behind_space(self.text.as_bytes(), self.at);
        self.at = self.reached(behind_value(self.text.as_bytes(), from))?;
        Ok(&self.text[from..self.at])
    }

    /// The fault that is here.
    pub(crate) fn fault(&self) -> Fault {
        if self.at < self.text.len() { Fault::Syntax { at: self.at } } else { Fault::End { at: self.at } }
    }

    fn reached(&mut self, passed: Passed) -> Result<usize, Fault> {
        passed.map_err(|at| {
            self.at = at;
            self.fault()
        })
    }
}

/// The place behind what was passed, or the place of a fault.
type Passed = Result<usize, usize>;

#[inline]
fn behind_space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\t' | b'\r') = bytes.get(at) {
        at += 1;
    }
    at
}

/// Passes a value that begins at `at`.
fn behind_value(bytes: &[u8], mut at: usize) -> Passed {
    let mut open = Nesting::default();
    loop {
        at = match bytes.get(at).ok_or(at)? {
            b'"' => behind_string(bytes, at + 1)?,
            b'{' => {
                at = behind_space(bytes, at + 1);
                if bytes.get(at) == Some(&b'}') {
                    at + 1
                } else {
                    open.push(Container::Object);
                    at = behind_key(bytes, at)?;
                    continue;
                }
            }
            b'[' => {
                at = behind_space(bytes, at + 1);
                if bytes.get(at) == Some(&b']') {
                    at + 1
                } else {
                    open.push(Container::Array);
                    continue;
                }
            }
            b'-' | b'0'..=b'9' => behind_number(bytes, at)?,
            b't' => behind_word(bytes, at, b"true")?,
            b'f' => behind_word(bytes, at, b"false")?,
            b'n' => behind_word(bytes, at, b"null")?,
            _ => return Err(at),
        };
        // A value has ended, and perhaps what it stands in.
        loop {
            let Some(container) = open.last() else { return Ok(at) };
            at = behind_space(bytes, at);
            match (bytes.get(at).ok_or(at)?, container) {
                (b',', Container::Array) => {
                    at = behind_space(bytes, at + 1);
                    break;
                }
                (b',', Container::Object) => {
                    at = behind_key(bytes, behind_space(bytes, at + 1))?;
                    break;
                }
                (b']', Container::Array) | (b'}', Container::Object) => {
                    open.pop();
                    at += 1;
                }
                _ => return Err(at),
            }
        }
    }
}

/// Passes a key that begins at `at`, its colon, and the white space before its value.
fn behind_key(bytes: &[u8], at: usize) -> Passed {
    if bytes.get(at) != Some(&b'"') {
        return Err(at);
    }
    let at = behind_space(bytes, behind_string(bytes, at + 1)?);
    if bytes.get(at) == Some(&b':') { Ok(behind_space(bytes, at + 1)) } else { Err(at) }
}

/// Passes the rest of a string, the closing quote included. Which character an escape stands for is the business of whoever
/// reads the string.
fn behind_string(bytes: &[u8], mut at: usize) -> Passed {
    loop {
        at = behind_plain(bytes, at);
        match bytes.get(at).ok_or(at)? {
            b'"' => return Ok(at + 1),
            b'\\' => at = behind_escape(bytes, at + 1)?,
            _ => return Err(at),
        }
    }
}

fn behind_escape(bytes: &[u8], at: usize) -> Passed {
    match bytes.get(at).ok_or(at)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 1),
        b'u' => (at + 1..at + 5).try_fold(at + 1, |_, at| match bytes.get(at) {
            Some(byte) if byte.is_ascii_hexdigit() => Ok(at + 1),
            Some(_) | None => Err(at),
        }),
        _ => Err(at),
    }
}

fn behind_number(bytes: &[u8], mut at: usize) -> Passed {
    if bytes.get(at) == Some(&b'-') {
        at += 1;
    }
    if bytes.get(at) == Some(&b'0') {
        at += 1;
        // No digit follows a leading zero.
        if bytes.get(at).is_some_and(u8::is_ascii_digit) {
            return Err(at);
        }
    } else {
        at = behind_digits(bytes, at)?;
    }
    if bytes.get(at) == Some(&b'.') {
        at = behind_digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = bytes.get(at) {
            at += 1;
        }
        at = behind_digits(bytes, at)?;
    }
    Ok(at)
}

/// Passes one digit or more.
fn behind_digits(bytes: &[u8], from: usize) -> Passed {
    let mut at = from;
    while bytes.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    if at > from { Ok(at) } else { Err(at) }
}

fn behind_word(bytes: &[u8], at: usize, word: &[u8]) -> Passed {
    let same = |wanted: &&u8, place: usize| bytes.get(place) == Some(*wanted);
    match word.iter().zip(at..).find(|(wanted, place)| !same(wanted, *place)) {
        None => Ok(at + word.len()),
        Some((_, place)) => Err(place),
    }
}

/// Passes the plain text of a string, up to a quote, a backslash or a control character.
#[inline]
fn behind_plain(bytes: &[u8], mut at: usize) -> usize {
    // Most strings are keys and words: eight bytes at once, in one register.
    if let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let found = special_bytes(u64::from_le_bytes(*word));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    behind_long_plain(bytes, at)
}

fn behind_long_plain(bytes: &[u8], mut at: usize) -> usize {
    let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    for lane in bytes[at..].chunks(LANE) {
        // Without a branch for each byte, the compiler looks at all of them at once.
        if lane.iter().fold(false, |found, byte| found | special(byte)) {
            return at + lane.iter().position(special).unwrap_or(lane.len());
        }
        at += lane.len();
    }
    at
}

/// Bytes that are looked at together where a string is long: as many as the vector registers of common processors hold.
const LANE: usize = 16;

/// The high bit of each byte that is special, as far as the first of them: what stands above it may be wrong, since each
/// subtraction borrows from there ("Determine if a word has a zero byte", Bit Twiddling Hacks, S. E. Anderson).
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    let less = |word: u64, than: u64| word.wrapping_sub(ONES * than) & !word & HIGH;
    let equal = |byte: u8| less(word ^ (ONES * u64::from(byte)), 1);
    less(word, 0x20) | equal(b'"') | equal(b'\\')
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

/// What is open around a place, the innermost last: a bit for each. The first 64 need no memory of their own.
#[derive(Default)]
struct Nesting {
    /// The innermost ones; the last in the lowest bit, which is set for an object.
    near: u64,
    depth: usize,
    /// Sixty-four each, of those around them.
    far: Vec<u64>,
}

impl Nesting {
    fn push(&mut self, container: Container) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.far.push(self.near);
        }
        self.near = self.near << 1 | u64::from(container == Container::Object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.near >>= 1;
        self.depth -= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.near = self.far.pop().unwrap_or_default();
        }
    }

    fn last(&self) -> Option<Container> {
        let innermost = if self.near & 1 == 1 { Container::Object } else { Container::Array };
        (self.depth > 0).then_some(innermost)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    /// The one value that is the whole text.
    fn whole(text: &str) -> Result<&str, Fault> {
        let mut scan = Scan::new(text);
        let value = scan.value()?;
        scan.end().map(|()| value)
    }

    fn agrees_with_serde(text: &str) {
        let theirs = serde_json::from_str::<&RawValue>(text).map(RawValue::get);
        assert_eq!(whole(text).ok(), theirs.as_ref().ok().copied(), "{text:?}: {theirs:?}");
    }

    #[test]
    fn a_value_ends_where_it_ends() {
        for (text, value) in [
            (" {\"a\" : [1, {} ,[]]} ", "{\"a\" : [1, {} ,[]]}"),
            ("\t\"x\\\"y\"\n", "\"x\\\"y\""),
            ("-0.5e+7", "-0.5e+7"),
            ("null", "null"),
        ] {
            assert_eq!(whole(text), Ok(value));
        }
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        for (text, fault) in [
            ("", Fault::End { at: 0 }),
            ("[1,", Fault::End { at: 3 }),
            ("\"abc", Fault::End { at: 4 }),
            ("tru", Fault::End { at: 3 }),
            ("[1,]", Fault::Syntax { at: 3 }),
            ("{\"a\" 1}", Fault::Syntax { at: 5 }),
            ("01", Fault::Syntax { at: 1 }),
            ("\"\u{1}\"", Fault::Syntax { at: 1 }),
            ("1 2", Fault::Syntax { at: 2 }),
            ("[}", Fault::Syntax { at: 1 }),
        ] {
            assert_eq!(whole(text), Err(fault), "{text:?}");
        }
    }

    #[test]
    fn a_string_is_given_as_it_is_written() {
        assert_eq!(Scan::new(" \"id\"").string(), Ok("id"));
        assert_eq!(Scan::new("\"i\\u0064\"").string(), Ok("i\\u0064"));
    }

    #[test]
    fn every_length_of_a_string_is_passed_whole() {
        for length in 0..100 {
            for end in ["\"", "\\n\"", "\u{1}\"", "", "ü\""] {
                agrees_with_serde(&format!("\"{}{end}", "x".repeat(length)));
            }
        }
    }

    #[test]
    fn any_depth_is_passed_and_every_bracket_must_match() {
        for depth in [1, 63, 64, 65, 127, 128, 129, 1000] {
            let open: String = (0..depth).map(|n| if n % 3 == 0 { "{\"k\":" } else { "[" }).collect();
            let close: String = (0..depth).rev().map(|n| if n % 3 == 0 { "}" } else { "]" }).collect();
            assert!(whole(&format!("{open}7{close}")).is_ok(), "{depth}");
            assert!(whole(&format!("{open}7{}", close.replacen('}', "]", 1))).is_err(), "{depth}");
        }
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert!(whole(&deep).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn it_takes_what_serde_takes(text in r#"([\[\]{},: "\\]|"[a-z]{0,3}"|\\u[0-9a-f]{3,4}|\\[a-z]|-?[0-9]{1,2}|[.eE+-]|true|null|fals|[\x01ü\n]){0,12}"#) {
            agrees_with_serde(&text);
        }
    }

    proptest! {
        #[test]
        fn it_takes_every_value_that_serde_writes(value in any_value()) {
            agrees_with_serde(&value.to_string());
            agrees_with_serde(&serde_json::to_string_pretty(&value).unwrap());
        }
    }

    fn any_value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            ".*".prop_map(Into::into),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(serde_json::Value::from),
                prop::collection::btree_map(".*", inner, 0..8)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }
}
