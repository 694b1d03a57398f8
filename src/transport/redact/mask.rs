//! Takes secrets out of texts: whole, where a text was cut within one, and where a log wraps one into its next line.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::encodings::{in_json, in_urls};
#[cfg(feature = "stdio")]
use super::find::is_path;
use crate::news::{ELLIPSIS, OneLine};
use crate::secret::Secret;

/// Shorter values, such as `true` or `1`, stand in lines that have nothing to do with them, and are no secrets.
const VALUE_BYTES_MIN: usize = 8;

/// Shorter beginnings of a value tell nothing of it.
const PART_BYTES_MIN: usize = 4;

/// Where a value may be broken off by the end of a line, and how many such ways are remembered until the next line: no longer line is
/// read, and most values are unlike.
#[cfg(feature = "stdio")]
const BREAK_BYTES_MAX: usize = 4096;
#[cfg(feature = "stdio")]
const RESTS_MAX: usize = 64;

/// Stands in place of a value.
const MASKED: &[u8] = b"***";

/// What is taken out of lines, the longest first: one value may be a part of another.
#[derive(Debug, Default)]
pub(in crate::transport) struct Mask(Vec<Secret>);

impl Mask {
    /// Takes out these values; of one with several lines, each of them. The path of a file or folder that there is stays: what a
    /// program says of its files would tell nothing without it.
    pub(in crate::transport) fn of<'v>(values: impl IntoIterator<Item = &'v Secret>) -> Self {
        let is_path = |value: &str| value.starts_with(['/', '\\']) && Path::new(value).exists();
        let secrets = values.into_iter().map(Secret::expose).filter(|value| !is_path(value));
        let lines = secrets.flat_map(|value| value.lines().map(str::trim));
        let long = lines.filter(|line| line.len() >= VALUE_BYTES_MIN);
        // Reasons have their control characters written out, and programs that log JSON their quotes and slashes.
        let written = long.flat_map(|line| {
            let plain = [line.to_owned(), OneLine(line).to_string()];
            plain.into_iter().chain(in_json(line)).chain(in_urls(line))
        });
        let mut values: Vec<String> = written.collect();
        values.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        values.dedup();
        Self(values.into_iter().map(Secret::from).collect())
    }

    /// A text without them. Where it was cut off, as its ellipsis says, it ends with no part of one either.
    pub(in crate::transport) fn text(&self, text: String) -> String {
        let masked = self.apply(Bytes::from(text));
        // What is left, and what stands in place of the rest, are texts.
        let text = String::from_utf8_lossy(&masked).into_owned();
        let Some((cut, last)) = text.rsplit_once(ELLIPSIS) else { return text };
        let pieces = cut.split(ELLIPSIS).map(|piece| self.cut(Bytes::copy_from_slice(piece.as_bytes())));
        let pieces: Vec<String> = pieces
            .map(|piece| String::from_utf8_lossy(&piece).into_owned())
            .chain([last.to_owned()])
            .collect();
        pieces.join(ELLIPSIS)
    }

    /// A line that was cut off, without the part of a value that it may end with.
    pub(in crate::transport) fn cut(&self, line: Bytes) -> Bytes {
        // The cut may have fallen into a character, of which this is what was left.
        let whole = line.strip_suffix("\u{fffd}".as_bytes()).map_or(line.len(), <[u8]>::len);
        self.cut_from(line.slice(..whole), PART_BYTES_MIN)
    }

    /// A line without the beginning of a value that it ends with, from so many bytes on.
    fn cut_from(&self, line: Bytes, least: usize) -> Bytes {
        let part = |value: &Secret| {
            let value = value.expose().as_bytes();
            (least..value.len()).rev().find(|length| line.ends_with(&value[..*length]))
        };
        match self.0.iter().filter_map(part).max() {
            Some(length) => [&line[..line.len() - length], MASKED].concat().into(),
            None => line,
        }
    }

    /// Of a line that may break off within a value: with what the next line goes on then. A log that wraps its lines does so.
    #[cfg(feature = "stdio")]
    pub(in crate::transport) fn rests(&self, line: &[u8]) -> Vec<Secret> {
        rests_of(self.0.iter().map(Secret::expose), line, 1)
    }

    /// A line without the rests of values that it goes on with, and what is still to come of them.
    #[cfg(feature = "stdio")]
    pub(in crate::transport) fn without_rests(line: Bytes, rests: &[Secret]) -> (Bytes, Vec<Secret>) {
        let ends = ends(&line);
        let further = rests_of(rests.iter().map(Secret::expose), &line, PART_BYTES_MIN);
        let middle = rests
            .iter()
            .map(Secret::expose)
            .filter_map(|rest| broken_at(rest.as_bytes(), &line, ends, PART_BYTES_MIN));
        let line = match middle.max_by_key(std::ops::Range::len) {
            Some(part) => [&line[..part.start], MASKED, &line[part.end..]].concat().into(),
            None => line,
        };
        let line = rests.iter().fold(line, |line, rest| match rest.expose().len() {
            // Its log may write the time before it, or a frame.
            VALUE_BYTES_MIN.. => without(line, rest.expose().as_bytes()),
            // A shorter one counts where the line begins, with or without a frame.
            _ => match line[begin(&line)..].strip_prefix(rest.expose().as_bytes()) {
                Some(behind) => [MASKED, behind].concat().into(),
                None => line,
            },
        });
        (line, further)
    }

    /// A line that ends with the beginning of a value, without that, where it is long enough to tell something.
    #[cfg(feature = "stdio")]
    pub(in crate::transport) fn broken_off(&self, line: Bytes) -> Bytes {
        let ends = ends(&line);
        // What stands there of a path, or of an address, tells where something went wrong.
        let values = self.0.iter().map(Secret::expose).filter(|value| !is_path(value));
        let least = |value: &str| VALUE_BYTES_MIN.max(value.len() / 3);
        let parts = values.filter_map(|value| broken_at(value.as_bytes(), &line, ends, least(value)));
        match parts.max_by_key(std::ops::Range::len) {
            Some(part) => [&line[..part.start], MASKED, &line[part.end..]].concat().into(),
            None => line,
        }
    }

    /// The line without them.
    pub(in crate::transport) fn apply(&self, line: Bytes) -> Bytes {
        self.0.iter().fold(line, |line, value| without(line, value.expose().as_bytes()))
    }
}

/// Whether a character stands between a line and what is around it.
#[cfg(feature = "stdio")]
fn is_frame(c: char) -> bool {
    c.is_whitespace() || "|\u{2502}\u{2503}\u{2551}".contains(c)
}

/// Where a line begins within a frame.
#[cfg(feature = "stdio")]
fn begin(line: &[u8]) -> usize {
    let framed = |text: &str| text.len() - text.trim_start_matches(is_frame).len();
    std::str::from_utf8(line).map_or(0, framed)
}

/// Where a line may end that is wrapped: at its last character, before the frame around it, and before what says that it goes on.
#[cfg(feature = "stdio")]
fn ends(line: &[u8]) -> [usize; 2] {
    let text = String::from_utf8_lossy(line);
    // Bytes that are no text may be longer by then: such a line ends where it does.
    let text = if text.len() == line.len() { text.as_ref() } else { return [line.len(); 2] };
    let framed = text.trim_end_matches(is_frame);
    let goes_on = framed.strip_suffix(['-', '\\']).unwrap_or(framed);
    [framed.len(), goes_on.len()]
}

/// The beginning of a value, of so many bytes at least, with which a line breaks off.
#[cfg(feature = "stdio")]
fn broken_at(value: &[u8], line: &[u8], ends: [usize; 2], least: usize) -> Option<std::ops::Range<usize>> {
    let lengths = |end: usize| (least..value.len().min(BREAK_BYTES_MAX).min(end.saturating_add(1))).rev();
    let at = |end: usize| {
        lengths(end).find(|length| line[..end].ends_with(&value[..*length])).map(|length| end - length..end)
    };
    ends.into_iter().filter_map(at).max_by_key(std::ops::Range::len)
}

/// What is left of each value whose beginning, of so many bytes at least, a line breaks off with.
#[cfg(feature = "stdio")]
fn rests_of<'v>(values: impl Iterator<Item = &'v str>, line: &[u8], least: usize) -> Vec<Secret> {
    let ends = ends(line);
    let rests = values.flat_map(|value| {
        let places =
            value.char_indices().map(|(at, _)| at).take_while(|at| *at <= BREAK_BYTES_MAX.min(line.len()));
        let is_break = |at: &usize| ends.iter().any(|end| line[..*end].ends_with(&value.as_bytes()[..*at]));
        places.filter(move |at| *at >= least).filter(is_break).map(|at| &value[at..]).collect::<Vec<_>>()
    });
    rests.filter(|rest| rest.len() >= PART_BYTES_MIN).take(RESTS_MAX).map(Secret::from).collect()
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
            ("PATHLIKE", "a\"quoted/s3cret"),
            ("ACCENTS", "pässwörter&geheim"),
            ("WORDS", "two words/s3cret"),
            ("SIGNS", "p@ss!word1+<x>"),
        ];
        let values = env.map(|(_, value)| value.into());
        let mask = Mask::of(&values);
        for (line, told) in [
            ("true: bad token s3cret-token, s3cret-token!", "true: bad token ***, ***!"),
            ("s3cret-token-and-more", "***"),
            ("key: line-of-a-key", "key: ***"),
            ("nothing of it", "nothing of it"),
            (r#"{"error":"a\"quoted/s3cret"}"#, r#"{"error":"***"}"#),
            (r#"{"error":"a\"quoted\/s3cret"}"#, r#"{"error":"***"}"#),
            (r#"{"error":"p\u00e4ssw\u00f6rter&geheim"}"#, r#"{"error":"***"}"#),
            (r#"{"error":"pässwörter\u0026geheim"}"#, r#"{"error":"***"}"#),
            ("GET /?q=p%C3%A4ssw%C3%B6rter%26geheim&x=1", "GET /?q=***&x=1"),
            ("GET /?q=a%22quoted%2fs3cret", "GET /?q=***"),
            ("GET /?q=two+words%2Fs3cret or two%20words%2Fs3cret", "GET /?q=*** or ***"),
            ("GET /?q=two%20words/s3cret", "GET /?q=***"),
            ("GET /?q=p%40ss!word1%2B%3Cx%3E or p%40ss%21word1%2b%3cx%3e", "GET /?q=*** or ***"),
            (r#"{"error":"p@ss!word1\u002B\u003Cx\u003E"}"#, r#"{"error":"***"}"#),
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

    #[test]
    fn a_line_that_was_cut_within_a_character_of_a_value_shows_no_part_of_it() {
        let mask = Mask::of(&[Secret::from("geheim-pässwörter")]);
        // As the supervisor has it: cut at a byte, then made text.
        let whole = "no such token: geheim-pä".as_bytes();
        let shown = String::from_utf8_lossy(&whole[..whole.len() - 1]).into_owned();
        assert_eq!(mask.cut(Bytes::from(shown)), "no such token: ***");
    }

    #[cfg(feature = "stdio")]
    #[test]
    fn a_value_that_goes_on_in_the_next_line_is_taken_out_of_both() {
        let mask = Mask::of(&[Secret::from("s3cret-Vab9CdE7xQ2mL5tR8wZ0")]);
        for (first, second, told) in [
            ("bad s3cret-Vab9", "CdE7xQ2mL5tR8wZ0, sorry", ["bad ***", "***, sorry"]),
            ("bad s3c", "  ret-Vab9CdE7xQ2mL5tR8wZ0", ["bad s3c", "  ***"]),
            ("bad s3cret-Vab9", "CdE7 is another", ["bad ***", "CdE7 is another"]),
            ("good", "CdE7xQ2mL5tR8wZ0", ["good", "CdE7xQ2mL5tR8wZ0"]),
        ] {
            let rests = mask.rests(first.as_bytes());
            let (second, _) = Mask::without_rests(Bytes::from(second), &rests);
            assert_eq!([mask.broken_off(Bytes::from(first)), second], told, "{first}");
        }
        for lines in [
            &["bad s3cret-Vab9", "CdE7xQ2mL", "5tR8wZ0 given"][..],
            &["\u{2502} bad s3cret-Vab9  \u{2502}", "\u{2502} CdE7xQ2mL5tR8wZ0 \u{2502}"],
            &["| bad s3cret-Vab9 |", "| CdE7xQ2mL |", "| 5tR8wZ0 |"],
            &["bad s3cret-Vab9-", "CdE7xQ2mL5tR8wZ0"],
            &["bad s3cret-Vab9\\", "CdE7xQ2mL5tR8wZ0"],
            &["10:00 ERROR s3cret-Vab9", "10:00 ERROR CdE7xQ2mL5tR8wZ0"],
        ] {
            let mut rests = Vec::new();
            for line in lines {
                let (told, further) = Mask::without_rests(Bytes::from(*line), &rests);
                rests = [further, mask.rests(&told)].concat();
                let told = String::from_utf8_lossy(&mask.broken_off(told)).into_owned();
                assert!(!["ab9", "mL", "wZ0"].iter().any(|part| told.contains(part)), "{lines:?}: {told}");
            }
        }
    }
}
