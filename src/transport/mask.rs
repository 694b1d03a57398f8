//! What is secret of a server's description, taken out of what it says of itself: some servers tell the token that they could not use,
//! and their words become part of an error.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use crate::secret::Secret;

/// Shorter values, such as `true` or `1`, stand in lines that have nothing to do with them, and are no secrets.
const VALUE_BYTES_MIN: usize = 8;

/// Shorter beginnings of a value tell nothing of it.
#[cfg(feature = "stdio")]
const PART_BYTES_MIN: usize = 4;

/// Stands in place of a value.
const MASKED: &[u8] = b"***";

/// What is taken out of lines, the longest first: one value may be a part of another.
#[derive(Debug, Default)]
pub(super) struct Mask(Vec<Secret>);

impl Mask {
    /// Takes out these values; of one with several lines, each of them. The path of a file or folder that there is stays: what a
    /// program says of its files would tell nothing without it.
    pub fn of<'v>(values: impl IntoIterator<Item = &'v Secret>) -> Self {
        let is_path = |value: &str| value.starts_with(['/', '\\']) && Path::new(value).exists();
        let secrets = values.into_iter().map(Secret::expose).filter(|value| !is_path(value));
        let lines = secrets.flat_map(|value| value.lines().map(str::trim));
        let mut values: Vec<&str> = lines.filter(|line| line.len() >= VALUE_BYTES_MIN).collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self(values.into_iter().map(Secret::from).collect())
    }

    /// A text without them. Of one that was cut off at its end, a part of a value may be left there: see [`cut`](Self::cut).
    pub fn text(&self, text: String) -> String {
        let masked = self.apply(Bytes::from(text));
        // What is left, and what stands in place of the rest, are texts.
        String::from_utf8_lossy(&masked).into_owned()
    }

    /// A line that was cut off, without the part of a value that it may end with.
    #[cfg(feature = "stdio")]
    pub fn cut(&self, line: Bytes) -> Bytes {
        let part = |value: &Secret| {
            let value = value.expose().as_bytes();
            (PART_BYTES_MIN..value.len()).rev().find(|length| line.ends_with(&value[..*length]))
        };
        match self.0.iter().filter_map(part).max() {
            Some(length) => [&line[..line.len() - length], MASKED].concat().into(),
            None => line,
        }
    }

    /// The line without them.
    pub fn apply(&self, line: Bytes) -> Bytes {
        self.0.iter().fold(line, |line, value| without(line, value.expose().as_bytes()))
    }
}

/// What is secret in headers: each word of a value by itself, since a server tells a token without the `Bearer` before it.
#[cfg(any(feature = "http", feature = "websocket"))]
pub(super) fn header_words(headers: &[(String, Secret)]) -> Vec<Secret> {
    let words = headers.iter().flat_map(|(_, value)| value.expose().split_whitespace());
    words.map(Secret::from).collect()
}

/// A line without one value. Almost none has it.
fn without(line: Bytes, value: &[u8]) -> Bytes {
    let finder = memmem::Finder::new(value);
    if finder.find(&line).is_none() {
        return line;
    }
    let mut masked = BytesMut::with_capacity(line.len());
    let mut rest = &line[..];
    while let Some(at) = finder.find(rest) {
        masked.extend_from_slice(&rest[..at]);
        masked.extend_from_slice(MASKED);
        rest = &rest[at + value.len()..];
    }
    masked.extend_from_slice(rest);
    masked.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_environment_are_taken_out_of_a_line_and_short_ones_stay() {
        let env = [
            ("TOKEN", "s3cret-token"),
            ("LONGER", "s3cret-token-and-more"),
            ("KEY", "-----BEGIN\n  line-of-a-key\n"),
            ("DEBUG", "true"),
            ("EMPTY", ""),
            ("HOME", "/"),
            ("FOLDER", env!("CARGO_MANIFEST_DIR")),
        ];
        let values = env.map(|(_, value)| value.into());
        let mask = Mask::of(&values);
        for (line, told) in [
            ("true: bad token s3cret-token, s3cret-token!", "true: bad token ***, ***!"),
            ("s3cret-token-and-more", "***"),
            ("key: line-of-a-key", "key: ***"),
            ("nothing of it", "nothing of it"),
            (concat!(env!("CARGO_MANIFEST_DIR"), "/x"), concat!(env!("CARGO_MANIFEST_DIR"), "/x")),
        ] {
            assert_eq!(mask.apply(Bytes::from(line)), told, "{line}");
        }
    }

    #[cfg(feature = "stdio")]
    #[test]
    fn a_line_that_was_cut_in_the_middle_of_a_value_shows_no_part_of_it() {
        let mask = Mask::of(&[Secret::from("s3cr3t-token"), Secret::from("other-value")]);
        for (line, told) in [
            ("no such token: s3cr3t-to", "no such token: ***"),
            ("no such token: s3cr", "no such token: ***"),
            ("no such token: s3c", "no such token: s3c"),
            ("nothing of the kind", "nothing of the kind"),
        ] {
            assert_eq!(mask.cut(Bytes::from(line)), told, "{line}");
        }
    }
}
