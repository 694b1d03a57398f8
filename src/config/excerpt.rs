//! The line of a configuration that a mistake is in, as it may be shown.
//!
//! Secrets stand in such lines. So a line is shown without its texts: what stays are keys, the structure, and values that are none
//! by their key, such as the type of a server or the host of its URL. The line is read by itself, as a text that is no JSON has no
//! structure to go by.

use std::borrow::Cow;

use super::text::Span;
use super::{shown, shown_url};

/// The most of a line that is kept, in characters: files that a program wrote may be one line.
const KEPT_CHARS_MAX: usize = 160;

/// How far into a line a mark may be, and how much behind it is looked at, in bytes: a line of a megabyte is read once, not once
/// for each mistake in it.
const LOOKED_AT_BYTES_MAX: usize = 4 << 10;

/// Words that are no secrets under a key that names a transport.
const TRANSPORTS: [&str; 11] = [
    "websocket",
    "ws",
    "stdio",
    "local",
    "http",
    "streamable",
    "streamable-http",
    "streamableHttp",
    "sse",
    "file",
    "dns",
];

/// Keys that are shown in a line whose structure is not known.
const KNOWN_KEYS: [&str; 14] = [
    "mcpServers",
    "servers",
    "inputs",
    "troupe",
    "discovery",
    "url",
    "command",
    "args",
    "env",
    "headers",
    "type",
    "timeout",
    "bearer",
    "cwd",
];

/// A line without its texts, and what of it is marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Excerpt {
    pub line: String,
    /// In characters of `line`.
    pub start: usize,
    pub chars: usize,
}

/// The line in which a span begins. `read` says that the text is JSON: what looks like a key is one.
pub(super) fn excerpt(text: &str, span: Span, read: bool) -> Excerpt {
    let mut from = text[..span.start].rfind('\n').map_or(0, |newline| newline.saturating_add(1));
    if span.start.saturating_sub(from) > LOOKED_AT_BYTES_MAX {
        // A mark is where a text, a word or a sign begins: nothing is torn there.
        from = span.start;
    }
    let mut until = span.start.saturating_add(LOOKED_AT_BYTES_MAX).min(text.len());
    while !text.is_char_boundary(until) {
        until = until.saturating_sub(1);
    }
    let line = text[from..until].lines().next().unwrap_or_default();
    let (start, end) = (span.start.saturating_sub(from), span.end.saturating_sub(from).min(line.len()));
    let mut shown = String::new();
    let (mut chars, mut mark_start, mut mark_end) = (0_usize, None, None);
    let mut key = String::new();
    for (at, piece) in pieces(line) {
        let next = line[at..][piece.len()..].trim_start();
        let told = told(piece, &mut key, next.starts_with(':'), read);
        if at >= start && mark_start.is_none() {
            mark_start = Some(chars);
        }
        if at >= end && mark_end.is_none() {
            mark_end = Some(chars);
        }
        chars = chars.saturating_add(told.chars().count());
        shown.push_str(&told);
    }
    let mark = mark_start.unwrap_or(chars);
    let excerpt =
        Excerpt { line: shown, start: mark, chars: mark_end.unwrap_or(chars).saturating_sub(mark).max(1) };
    excerpt.within(KEPT_CHARS_MAX)
}

impl Excerpt {
    /// The same in at most so many characters, with what is marked in it.
    pub(super) fn within(&self, width: usize) -> Self {
        let length = self.line.chars().count();
        let end = length.max(self.start.saturating_add(1));
        if end <= width {
            return Self { line: self.line.trim_end().to_owned(), ..self.clone() };
        }
        // Both ends that are cut have a sign for it.
        let before = width / 3;
        let from = self.start.saturating_sub(before).min(end.saturating_sub(width));
        let rest = self.line.chars().skip(from);
        let mut line: String = rest.clone().take(width).collect();
        if from > 0 {
            line = std::iter::once('…').chain(line.chars().skip(1)).collect();
        }
        if rest.count() > width {
            line.pop();
            line.push('…');
        }
        let start = self.start.saturating_sub(from);
        Self {
            line: line.trim_end().to_owned(),
            start,
            chars: self.chars.min(width.saturating_sub(start)).max(1),
        }
    }
}

/// Texts, words, blanks and single signs, with their offsets. A comment is one piece.
fn pieces(line: &str) -> Vec<(usize, &str)> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(first) = line[at..].chars().next() {
        let rest = &line[at..];
        let of_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | '$');
        let length = if matches!(first, '"' | '\'') {
            text_end(rest).unwrap_or(rest.len())
        } else if rest.starts_with("//") {
            rest.len()
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end.saturating_add(2))
        } else if first.is_whitespace() {
            rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len())
        } else if of_word(first) {
            rest.find(|c| !of_word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        pieces.push((at, &rest[..length]));
        at = at.saturating_add(length);
    }
    pieces
}

/// The length of the text in quotes of either kind at the front. None where it has no end.
fn text_end(rest: &str) -> Option<usize> {
    let quote = rest.chars().next()?;
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            end if end == quote => return Some(at.saturating_add(1)),
            _ => {}
        }
    }
    None
}

/// A piece as it may be shown. `key` is the key that it stands under, if it does.
fn told<'p>(piece: &'p str, key: &mut String, is_key: bool, read: bool) -> Cow<'p, str> {
    let first = piece.chars().next().unwrap_or(' ');
    if piece.starts_with("//") || piece.starts_with("/*") {
        return Cow::Borrowed("");
    }
    if first.is_whitespace() {
        return Cow::Owned(" ".repeat(piece.chars().count()));
    }
    if matches!(first, '"' | '\'') {
        let quoted = |text: &str| Cow::Owned(format!("{first}{text}{first}"));
        // What is cut off may have begun with a user's name or a password.
        if text_end(piece).is_none() {
            return quoted(shown::HIDDEN);
        }
        let inner = piece[1..].strip_suffix(first).unwrap_or(&piece[1..]);
        if is_key {
            inner.clone_into(key);
        }
        if is_key && (read || KNOWN_KEYS.contains(&inner)) {
            return quoted(&shown::name(inner));
        }
        // A key that is not known may as well be a text in the wrong place.
        let under = if is_key { String::new() } else { std::mem::take(key) };
        // What stands behind a value is none of its key.
        return quoted(&value(&under, inner));
    }
    if matches!(piece, "{" | "}" | "[" | "]" | ":" | ",") {
        if matches!(piece, "[" | "{" | ",") {
            key.clear();
        }
        return Cow::Borrowed(piece);
    }
    let plain = matches!(piece, "true" | "false" | "null");
    let of_time = key == "timeout" && piece.len() <= 9 && piece.bytes().all(|b| b.is_ascii_digit());
    if plain || of_time { Cow::Borrowed(piece) } else { Cow::Borrowed(shown::HIDDEN) }
}

/// A text as it may be shown under its key.
fn value<'v>(key: &str, text: &'v str) -> Cow<'v, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '~' | '…' | '\\');
    match key {
        "type" | "transport" | "transportType" if TRANSPORTS.contains(&text) => Cow::Borrowed(text),
        "url" | "httpUrl" | "serverUrl" if !text.contains(['\\', '$', '{']) => Cow::Owned(shown_url(text)),
        "command" => {
            let command = shown::command(text);
            if command.chars().all(plain) { command } else { Cow::Borrowed(shown::HIDDEN) }
        }
        _ => Cow::Borrowed(shown::HIDDEN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, marked: &str) -> (String, String) {
        let start = text.find(marked).unwrap();
        let excerpt = excerpt(text, Span { start, end: start + marked.len() }, true);
        let mark = " ".repeat(excerpt.start) + &"^".repeat(excerpt.chars);
        (excerpt.line, mark)
    }

    #[test]
    fn a_line_is_shown_without_its_texts_and_marked_where_the_mistake_is() {
        for (text, marked, line, mark) in [
            (
                "{\n  \"old\": { \"type\": \"sse\", \"bearer\": \"s3cret\" }, // s3cret\n}",
                "\"sse\"",
                "  \"old\": { \"type\": \"sse\", \"bearer\": \"…\" },",
                "                   ^^^^^",
            ),
            (
                r#"{"timeout": 60, "env": {"PIN": 7391}}"#,
                "60",
                r#"{"timeout": 60, "env": {"PIN": …}}"#,
                "            ^^",
            ),
            (
                r#"{"url": "https://h/mcp?key=s3cret", "x": 1}"#,
                "\"x\"",
                r#"{"url": "https://h/mcp", "x": …}"#,
                r#"                         ^^^"#,
            ),
            (
                r#"{"command": "npx -y s3cret"}"#,
                "\"npx -y s3cret\"",
                r#"{"command": "npx…"}"#,
                "            ^^^^^^",
            ),
            (
                r#"{"type": "s3cret", "a\"b": "c"}"#,
                "\"c\"",
                r#"{"type": "…", "a…": "…"}"#,
                r#"                    ^^^"#,
            ),
            ("s3cret [[ x = \"s3cret", "x", "… [[ … … \"…\"", "     ^"),
            (
                "{'mcpServers': {'s3cret': 's3'}}",
                "'mcpServers'",
                "{'mcpServers': {'s3cret': '…'}}",
                " ^^^^^^^^^^^^",
            ),
            ("{'mcpServers': 's3cret", "'mcpServers'", "{'mcpServers': '…'", " ^^^^^^^^^^^^"),
        ] {
            assert_eq!(of(text, marked), (line.to_owned(), mark.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_long_line_is_cut_around_the_mark() {
        let text = format!("{{{} \"here\": 1, {}}}", "\"a\": 1,".repeat(100), "\"b\": 1,".repeat(100));
        let (line, mark) = of(&text, "\"here\"");
        assert_eq!(line.chars().count(), KEPT_CHARS_MAX);
        let marked: String =
            line.chars().zip(mark.chars()).filter(|(_, m)| *m == '^').map(|(c, _)| c).collect();
        assert_eq!(marked, "\"here\"");
        let start = text.find("\"here\"").unwrap();
        let narrow = excerpt(&text, Span { start, end: start + 6 }, true).within(40);
        assert!(narrow.line.chars().count() <= 40 && narrow.start + narrow.chars <= 40, "{narrow:?}");
        assert!(narrow.line.starts_with('…') && narrow.line.ends_with('…'), "{narrow:?}");
    }

    #[test]
    fn in_a_text_that_is_no_json_only_known_keys_are_shown() {
        for text in [
            r#"{"bearer" "s3cret": "#,
            r#"{'bearer' 's3cret': 's3cret'"#,
            r#"{"bearer" 's3cret"s3cret"#,
            r#"{"command": "x" "s3cret"}"#,
            r#"{'command': 'x' 's3cret'}"#,
            r#"{"type": "http" "url" "http://s3cret/"}"#,
            r#"{"command": "x", "token": "s3cret"#,
            r#"{"command": "x", "s3cret": {"#,
            r#"{"command" "s3cret": "s3cret""#,
            r#"{"command": "x", "url": "http://s3cret"#,
            r#"{"command": "x", "url": "http://s3cret\""#,
        ] {
            let shown = excerpt(text, Span { start: 10, end: 11 }, false);
            assert!(!shown.line.contains("s3cret"), "{shown:?}");
        }
    }
}
