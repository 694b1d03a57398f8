//! What is secret of a server's description, taken out of what it says of itself: some servers tell the token that they could not use,
//! and their words become part of an error.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use crate::news::{ELLIPSIS, OneLine};
use crate::secret::Secret;

/// Shorter values, such as `true` or `1`, stand in lines that have nothing to do with them, and are no secrets.
const VALUE_BYTES_MIN: usize = 8;

/// Shorter beginnings of a value tell nothing of it.
const PART_BYTES_MIN: usize = 4;

/// Words in the names of options whose values are secrets.
#[cfg(feature = "stdio")]
const SECRET_OPTIONS: [&str; 9] =
    ["key", "header", "token", "secret", "password", "passwd", "credential", "auth", "connection-string"];

/// Stands in place of a value.
const MASKED: &[u8] = b"***";

/// What is taken out of lines, the longest first: one value may be a part of another.
#[derive(Debug, Default)]
pub(super) struct Mask(Vec<Secret>);

impl Mask {
    /// Takes out these values; of one with several lines, each of them. The path of a file or folder that there is stays: what a
    /// program says of its files would tell nothing without it.
    pub(super) fn of<'v>(values: impl IntoIterator<Item = &'v Secret>) -> Self {
        let is_path = |value: &str| value.starts_with(['/', '\\']) && Path::new(value).exists();
        let secrets = values.into_iter().map(Secret::expose).filter(|value| !is_path(value));
        let lines = secrets.flat_map(|value| value.lines().map(str::trim));
        let long = lines.filter(|line| line.len() >= VALUE_BYTES_MIN);
        // Reasons have their control characters written out, and programs that log JSON their quotes and slashes.
        let written = long.flat_map(|line| {
            let json = serde_json::Value::from(line).to_string();
            let json = json.trim_matches('"').to_owned();
            let slashes = json.replace('/', "\\/");
            let (ascii, html) = (escaped(&json, |c| !c.is_ascii()), escaped(&json, |c| "<>&".contains(c)));
            let [url, lower, form] = in_urls(line);
            [line.to_owned(), OneLine(line).to_string(), json, slashes, ascii, html, url, lower, form]
        });
        let mut values: Vec<String> = written.collect();
        values.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        values.dedup();
        Self(values.into_iter().map(Secret::from).collect())
    }

    /// A text without them. Where it was cut off, as its ellipsis says, it ends with no part of one either.
    pub(super) fn text(&self, text: String) -> String {
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
    pub(super) fn cut(&self, line: Bytes) -> Bytes {
        // The cut may have fallen into a character, of which this is what was left.
        let whole = line.strip_suffix("\u{fffd}".as_bytes()).map_or(line.len(), <[u8]>::len);
        let line = line.slice(..whole);
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
    pub(super) fn apply(&self, line: Bytes) -> Bytes {
        self.0.iter().fold(line, |line, value| without(line, value.expose().as_bytes()))
    }
}

/// A text of JSON in which these characters are escapes: Python writes all so that are not ASCII, Go those of HTML.
fn escaped(json: &str, is: impl Fn(char) -> bool) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if is(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        } else {
            text.push(c);
        }
    }
    text
}

/// A text as it stands in a URL, with digits in capitals or not, and as in a form, where a blank is a plus.
fn in_urls(line: &str) -> [String; 3] {
    let encoded = |digits: fn(u8) -> String| -> String {
        line.bytes()
            .map(|byte| match byte {
                b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
                byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
                byte => digits(byte),
            })
            .collect()
    };
    let url = encoded(|byte| format!("%{byte:02X}"));
    let form = url.replace("%20", "+");
    [url, encoded(|byte| format!("%{byte:02x}")), form]
}

/// The words of a header's value, and what is within them.
fn words(value: &str) -> impl Iterator<Item = Secret> {
    let parts = |word: &str| -> Vec<Secret> {
        word.split([';', ',', '"', '=']).chain([word]).map(Secret::from).collect()
    };
    value.split_whitespace().flat_map(parts).collect::<Vec<_>>().into_iter()
}

/// What is secret among the arguments of a program: what stands behind an option such as `--api-key` or `--header`, or behind its
/// `=`, and the user info of a URL.
#[cfg(feature = "stdio")]
pub(super) fn secret_arguments(args: &[String]) -> Vec<Secret> {
    let is_secret = |option: &str| {
        let option = option.to_ascii_lowercase();
        SECRET_OPTIONS.iter().any(|word| option.contains(word))
    };
    let mut secrets = Vec::new();
    for (n, argument) in args.iter().enumerate() {
        let value = match argument.split_once('=') {
            Some((option, value)) if is_secret(option) => Some(value),
            None if argument == "-H" || argument.starts_with('-') && is_secret(argument) => {
                args.get(n + 1).map(String::as_str)
            }
            Some(_) | None => None,
        };
        // A header has its name before it, which is no secret.
        let value = value.map(|value| value.split_once(": ").map_or(value, |(_, value)| value));
        secrets.extend(value.into_iter().flat_map(|value| words(value).chain([value.into()])));
        let authority = argument.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
        let user = authority.and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
        secrets.extend(user.into_iter().flat_map(|user| user.split(':').chain([user])).map(Secret::from));
    }
    secrets
}

/// What is secret in headers: each word of a value by itself, since a server tells a token without the `Bearer` before it, or what
/// stands in a cookie without its name.
#[cfg(any(feature = "http", feature = "websocket"))]
pub(super) fn header_words(headers: &[(String, Secret)]) -> Vec<Secret> {
    headers.iter().flat_map(|(_, value)| words(value.expose())).collect()
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
            (concat!(env!("CARGO_MANIFEST_DIR"), "/x"), concat!(env!("CARGO_MANIFEST_DIR"), "/x")),
        ] {
            assert_eq!(mask.apply(Bytes::from(line)), told, "{line}");
        }
    }

    #[cfg(feature = "stdio")]
    #[test]
    fn what_stands_behind_an_option_for_a_secret_is_taken_out() {
        let args = |args: &[&str]| args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>();
        for (given, told) in [
            (args(&["-y", "pkg", "--api-key", "s3cret-value"]), "bad ***"),
            (args(&["--token=s3cret-value"]), "bad ***"),
            (args(&["API_KEY=s3cret-value", "node"]), "bad ***"),
            (args(&["--header", "Authorization: Bearer s3cret-value"]), "bad ***"),
            (args(&["--header=X-Key: s3cret-value"]), "bad ***"),
            (args(&["-H", "X-Key: s3cret-value"]), "bad ***"),
            (args(&["postgres://user:s3cret-value@h/db"]), "bad ***"),
            (args(&["--folder", "s3cret-value"]), "bad s3cret-value"),
            (args(&["--config=s3cret-value"]), "bad s3cret-value"),
            (args(&["--token"]), "bad s3cret-value"),
        ] {
            assert_eq!(Mask::of(&secret_arguments(&given)).apply(Bytes::from("bad s3cret-value")), told);
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

    #[cfg(any(feature = "http", feature = "websocket"))]
    #[test]
    fn a_value_within_a_header_is_taken_out() {
        for (name, value) in
            [("Cookie", "sid=s3cret-session; lang=en"), ("Authorization", "Token token=\"s3cret-session\"")]
        {
            let mask = Mask::of(header_words(&[(name.to_owned(), Secret::from(value))]).iter());
            assert_eq!(
                mask.apply(Bytes::from("no such session: s3cret-session")),
                "no such session: ***",
                "{name}"
            );
        }
    }
}
