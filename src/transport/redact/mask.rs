//! Takes secrets out of texts: whole, in base64, shortened by who tells them, where a text was cut within one, and where a log wraps one
//! into its next line.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::encodings::{InBase64, in_base64, in_json, in_urls};
use super::forms::is_of_token;
use super::paths::drawn_parts;
use crate::peer_text::{ELLIPSIS, OneLine};
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

/// Where in a text the end of a value's beginning is looked for, from the end on: the beginning of a value that was drawn by chance
/// occurs once, and a text that repeats it must not cost more for that.
const HEADS_MAX: usize = 64;

/// What programs write in place of the rest of a value: three dots, stars, or an ellipsis, in JSON also by its number.
const SHORTENED: [&str; 5] = ["...", "\u{2026}", "**", "[...", "\\u2026"];

/// Stands in place of a value.
const MASKED: &[u8] = b"***";

/// What is taken out of texts.
#[derive(Debug, Default)]
pub(in crate::transport) struct Mask {
    /// The longest first: one value may be a part of another.
    values: Vec<Secret>,
    /// The same in base64.
    in_base64: Vec<InBase64>,
}

impl Mask {
    /// Takes out these values; of one with several lines, each of them. Of a path only what looks drawn by chance.
    pub(in crate::transport) fn of<'v>(values: impl IntoIterator<Item = &'v Secret>) -> Self {
        let lines = values.into_iter().flat_map(|value| value.expose().lines().map(str::trim));
        // Where variables have one line, keys have their line breaks written out.
        let written_out = |line: &'v str| line.split("\\n").filter(|part| part.len() < line.len());
        let lines = lines.flat_map(|line| written_out(line).chain([line]));
        let lines = lines.flat_map(|line| drawn_parts(line).unwrap_or_else(|| vec![line]));
        let mut long: Vec<&str> = lines.filter(|line| line.len() >= VALUE_BYTES_MIN).collect();
        long.sort_unstable();
        long.dedup();
        let in_base64 = long.iter().flat_map(|line| in_base64(line)).collect();
        // Reasons have their control characters written out, and programs that log JSON their quotes and slashes.
        let written = long.into_iter().flat_map(|line| {
            let plain = [line.to_owned(), OneLine(line).to_string()];
            plain.into_iter().chain(in_json(line)).chain(in_urls(line))
        });
        let mut values: Vec<String> = written.collect();
        values.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        values.dedup();
        Self { values: values.into_iter().map(Secret::from).collect(), in_base64 }
    }

    /// A text without them. Where it was cut off, as its ellipsis says, it ends with no part of one either.
    pub(in crate::transport) fn text(&self, text: String) -> String {
        let masked = self.shortened(self.apply(Bytes::from(text)));
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
        let part = |value: &Secret| beginning_at_end(value.expose().as_bytes(), &line, least);
        match self.values.iter().filter_map(part).max() {
            Some(length) => [&line[..line.len() - length], MASKED].concat().into(),
            None => line,
        }
    }

    /// Of a line that may break off within a value: with what the next line goes on then. A log that wraps its lines does so.
    #[cfg(feature = "stdio")]
    pub(in crate::transport) fn rests(&self, line: &[u8]) -> Vec<Secret> {
        rests_of(self.values.iter().map(Secret::expose), line, 1)
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
        let line = match middle.max_by_key(Range::len) {
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
        let values = self.values.iter().map(Secret::expose);
        let parts = values.filter_map(|value| broken_at(value.as_bytes(), &line, ends, telling(value)));
        match parts.max_by_key(Range::len) {
            Some(part) => [&line[..part.start], MASKED, &line[part.end..]].concat().into(),
            None => line,
        }
    }

    /// A line without the beginnings of values that somebody shortened, where they are long enough to tell something.
    pub(in crate::transport) fn shortened(&self, line: Bytes) -> Bytes {
        // A URL begins as others do; what is secret in it is a value of its own.
        let values = self.values.iter().map(Secret::expose).filter(|value| !value.contains("://"));
        values.fold(line, without_beginnings)
    }

    /// The line without them.
    pub(in crate::transport) fn apply(&self, line: Bytes) -> Bytes {
        let line = self.values.iter().fold(line, |line, value| without(line, value.expose().as_bytes()));
        self.in_base64.iter().fold(line, without_base64)
    }
}

/// From how many bytes on the beginning of a value tells something of it. Shorter ones often name its kind, as `sk-live-` does, or are
/// what services show of a key for people to know it by; of a value as long as tokens are, the rest is still too much to guess.
fn telling(value: &str) -> usize {
    VALUE_BYTES_MIN.max(value.len() / 3)
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

/// How long the beginning of a value is, of so many bytes at least, that a line ends with. Almost none has any.
fn beginning_at_end(value: &[u8], line: &[u8], least: usize) -> Option<usize> {
    let head = value.get(..least)?;
    let lengths = memmem::rfind_iter(line, head).take(HEADS_MAX).map(|at| line.len() - at);
    lengths.filter(|length| *length < value.len() && line.ends_with(&value[..*length])).max()
}

/// The beginning of a value, of so many bytes at least, with which a line breaks off.
#[cfg(feature = "stdio")]
fn broken_at(value: &[u8], line: &[u8], ends: [usize; 2], least: usize) -> Option<Range<usize>> {
    let at = |end: usize| beginning_at_end(value, &line[..end], least).map(|length| end - length..end);
    ends.into_iter().filter_map(at).max_by_key(Range::len)
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

/// A line without the beginnings of a value that end within it, as a mark or the end of a word shows. Almost none has any.
fn without_beginnings(line: Bytes, value: &str) -> Bytes {
    let Some(head) = value.as_bytes().get(..telling(value)) else { return line };
    let (finder, mut from) = (memmem::Finder::new(head), 0);
    // Each byte of the line is compared once: what was the same is not looked at again.
    let beginnings = std::iter::from_fn(|| {
        let at = from + finder.find(&line[from..])?;
        let same = line[at..].iter().zip(value.as_bytes()).take_while(|(one, other)| one == other).count();
        from = at + same;
        Some((at, same))
    });
    let shortened = beginnings.filter(|(at, same)| is_shortened(&line, *at, value, *same));
    let ranges = shortened.map(|(at, same)| at..at + same);
    replaced(&line, ranges).unwrap_or(line)
}

/// Whether so many bytes of a value, which a line has at a place, are one that somebody shortened: with a mark behind, or as a word. A
/// value that is none but a name, such as that of a model, begins with other names; these end where one of its words does, or have no
/// digit.
fn is_shortened(line: &[u8], at: usize, value: &str, same: usize) -> bool {
    let is_plain = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let has_digit = value.as_bytes()[..same].iter().any(u8::is_ascii_digit);
    let is_within_word = is_plain(value.as_bytes()[..same].last()) && is_plain(value.as_bytes().get(same));
    let is_marked = SHORTENED.iter().any(|mark| line[at + same..].starts_with(mark.as_bytes()));
    let may_go_on = |byte: Option<&u8>| byte.is_some_and(|byte| is_of_token(char::from(*byte)));
    let is_word = !may_go_on(line[..at].last()) && !may_go_on(line.get(at + same));
    is_marked && (has_digit || is_within_word) || is_word && has_digit && is_within_word
}

/// A line without one value in base64, with the characters that have the edges of it.
fn without_base64(line: Bytes, value: &InBase64) -> Bytes {
    let middle = value.middle.expose().as_bytes();
    let is_of_it = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
    let ranges = memmem::find_iter(&line, middle).map(|at| {
        let end = at + middle.len();
        let before = line[..at].iter().rev().take(value.before).take_while(|byte| is_of_it(byte)).count();
        let after = line[end..].iter().take(value.after).take_while(|byte| is_of_it(byte)).count();
        at - before..end + after
    });
    replaced(&line, ranges).unwrap_or(line)
}

/// A line without one value. Almost none has it.
fn without(line: Bytes, value: &[u8]) -> Bytes {
    let ranges = memmem::find_iter(&line, value).map(|at| at..at + value.len());
    replaced(&line, ranges).unwrap_or(line)
}

/// A line with these parts of it masked, which are in order; `None` where there are none.
fn replaced(line: &[u8], ranges: impl Iterator<Item = Range<usize>>) -> Option<Bytes> {
    let mut ranges = ranges.peekable();
    ranges.peek()?;
    let mut masked = BytesMut::with_capacity(line.len());
    let mut told = 0;
    for range in ranges {
        // Two that meet may share a character.
        masked.extend_from_slice(line.get(told..range.start).unwrap_or_default());
        masked.extend_from_slice(MASKED);
        told = range.end;
    }
    masked.extend_from_slice(&line[told..]);
    Some(masked.freeze())
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
            ("ONE_LINE", "-----BEGIN\\nline-of-another-key\\n"),
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
            ("key: line-of-another-key", "key: ***"),
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
    fn a_long_beginning_of_a_value_is_taken_out_where_it_was_shortened_and_words_of_names_stay() {
        let values = [
            "sk-live-aB3dE5gH7jK9mN1pQ3rS5tU7",
            "correct-horse-battery",
            "https://api2.example.com/v1",
            "claude-3-5-sonnet-20241022",
            "/srv/data2/of/it",
        ];
        let mask = Mask::of(&values.map(Secret::from));
        for (line, told) in [
            ("bad key sk-live-aB3dE5gH7jK9mN1p..., sorry", "bad key ***..., sorry"),
            ("bad key sk-live-aB3dE5gH7jK9mN1p\u{2026}, sorry", "bad key ***\u{2026}, sorry"),
            (r#"{"key":"sk-live-aB3dE5gH\u2026"}"#, r#"{"key":"***\u2026"}"#),
            ("bad key sk-live-aB3dE5gH****5tU7", "bad key *******5tU7"),
            ("bad key sk-live-aB3d[...]", "bad key ***[...]"),
            ("bad key sk-live-aB3dE5gH7j, sorry", "bad key ***, sorry"),
            ("two: sk-live-aB3dE5gH... (sk-live-aB3dE5gH7j)", "two: ***... (***)"),
            ("bad key sk-live-aB3d", "bad key ***"),
            ("a key begins with sk-live-...", "a key begins with sk-live-..."),
            ("sk-live-aB3dE5gH9 is another", "sk-live-aB3dE5gH9 is another"),
            ("bad words correct-hor...", "bad words ***..."),
            ("correct-horse-riding", "correct-horse-riding"),
            ("that is correct-hor", "that is correct-hor"),
            ("no https://api2.example.com, sorry", "no https://api2.example.com, sorry"),
            ("cannot reach https://api2 now", "cannot reach https://api2 now"),
            ("claude-3-5-sonnet is no model", "claude-3-5-sonnet is no model"),
            ("cannot open /srv/data2/o...", "cannot open /srv/data2/o..."),
        ] {
            assert_eq!(mask.text(line.to_owned()), told, "{line}");
        }
    }

    #[test]
    fn a_value_in_base64_is_taken_out_with_whatever_stands_around_it() {
        use base64::Engine;
        use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
        for value in
            ["s3cret-value", "s3cret-values", "s3cret-values?>", "8-bytes!", "p\u{e4}ssw\u{f6}rter?>?>"]
        {
            let mask = Mask::of(&[Secret::from(value)]);
            for (before, after) in
                [("", ""), ("bob:", ""), ("u:", ""), ("me:", "\n"), ("Robin:", ":x"), ("k=", "&yz")]
            {
                let plain = [before, value, after].concat();
                for text in [STANDARD.encode(&plain), STANDARD_NO_PAD.encode(&plain), URL_SAFE.encode(&plain)]
                {
                    let told = mask.text(format!("Basic {text} is bad"));
                    let left =
                        told.strip_prefix("Basic ").and_then(|told| told.strip_suffix(" is bad")).unwrap();
                    let (left, right) = left.split_once("***").unwrap_or_else(|| panic!("{plain}: {told}"));
                    // The characters that are left have no bit of the value.
                    let (right, filled) = (right.trim_end_matches('='), (6 - plain.len() * 8 % 6) % 6);
                    assert!(left.len() * 6 <= before.len() * 8, "{plain}: {told}");
                    assert!(right.len() * 6 <= after.len() * 8 + filled, "{plain}: {told}");
                }
            }
            let other = STANDARD.encode("something else of the same kind");
            assert_eq!(mask.text(other.clone()), other);
        }
    }

    #[test]
    fn a_cut_in_a_value_that_is_longer_than_any_line_shows_no_part_of_it() {
        let value: String = (0..20_000).map(|n| format!("{n:x}-")).collect();
        let mask = Mask::of(&[Secret::from(value.as_str())]);
        let told = mask.text(format!("bad {}\u{2026}", &value[..50_000]));
        assert_eq!(told, "bad ***\u{2026}");
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
