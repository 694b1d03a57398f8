//! The values of a server's environment, taken out of what it writes to its stderr: some servers tell the token that they could
//! not use, and their last words become part of an error.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use crate::secret::Secret;

/// Shorter values, such as `true` or `1`, stand in lines that have nothing to do with them, and are no secrets.
const VALUE_BYTES_MIN: usize = 8;

/// Stands in place of a value.
const MASKED: &[u8] = b"***";

/// What is taken out of lines, the longest first: one value may be a part of another.
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

    /// The line without them.
    pub fn apply(&self, line: Bytes) -> Bytes {
        self.0.iter().fold(line, |line, value| without(line, value.expose().as_bytes()))
    }
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
}
