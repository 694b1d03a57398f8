//! The text of a configuration: JSON with comments and trailing commas, read once, each value with its position.

use std::collections::BTreeMap;

use jsonc_parser::ast::Value as Ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::errors::{ParseError, ParseErrorKind};
use jsonc_parser::{CollectOptions, ParseOptions, ParseStringErrorKind, parse_to_ast};
use serde_json::{Map, Value};

use super::shown;

/// What some editors put at the front of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Comments and trailing commas, which people write, and nothing else that is not JSON.
const DIALECT: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_trailing_commas: true,
    allow_loose_object_property_names: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// A range of bytes in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub start: usize,
    pub end: usize,
}

/// A value, and where it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub span: Span,
    pub content: Content,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// Null, a boolean, a number or a text.
    Scalar(Value),
    List(Vec<Node>),
    /// In the text's order. A key may stand twice.
    Object(Vec<Entry>),
}

/// A key of an object, and what stands under it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    /// The key itself.
    pub span: Span,
    pub node: Node,
}

/// Why a text is no JSON, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub span: Span,
    pub reason: String,
}

/// What is said of a text that has no beginning of an object.
pub(super) const EMPTY: &str = "is empty";
pub(super) const NO_OBJECT: &str = "is no JSON: it does not begin with {";

/// Reads a text.
pub(super) fn read(text: &str) -> Result<Node, Unreadable> {
    let body = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let skipped = text.len().saturating_sub(body.len());
    let parsed = parse_to_ast(body, &CollectOptions::default(), &DIALECT);
    match parsed.map_err(|error| unreadable(body, &error)).and_then(|parsed| {
        let empty = || Unreadable { span: Span { start: 0, end: 0 }, reason: EMPTY.to_owned() };
        parsed.value.ok_or_else(empty)
    }) {
        Ok(value) => node(&value, skipped),
        Err(Unreadable { span, reason }) => Err(Unreadable { span: moved(span, skipped), reason }),
    }
}

fn moved(span: Span, by: usize) -> Span {
    Span { start: span.start.saturating_add(by), end: span.end.saturating_add(by) }
}

/// How deep it nests is bounded by the parser.
fn node(value: &Ast<'_>, skipped: usize) -> Result<Node, Unreadable> {
    let range = value.range();
    let span = moved(Span { start: range.start, end: range.end }, skipped);
    let content = match value {
        Ast::StringLit(text) => Content::Scalar(Value::from(text.value.as_ref())),
        Ast::NumberLit(number) => Content::Scalar(
            serde_json::from_str(number.value)
                .map_err(|_| Unreadable { span, reason: "is a number that JSON does not have".to_owned() })?,
        ),
        Ast::BooleanLit(boolean) => Content::Scalar(boolean.value.into()),
        Ast::NullKeyword(_) => Content::Scalar(Value::Null),
        Ast::Array(list) => {
            let items = list.elements.iter().map(|item| node(item, skipped));
            Content::List(items.collect::<Result<_, _>>()?)
        }
        Ast::Object(object) => {
            let entries = object.properties.iter().map(|property| {
                let range = property.name.range();
                let span = moved(Span { start: range.start, end: range.end }, skipped);
                Ok(Entry {
                    key: property.name.as_str().to_owned(),
                    span,
                    node: node(&property.value, skipped)?,
                })
            });
            Content::Object(entries.collect::<Result<_, _>>()?)
        }
    };
    Ok(Node { span, content })
}

/// What is wrong, in words for whoever writes the file. Nothing of the text is quoted.
fn unreadable(text: &str, error: &ParseError) -> Unreadable {
    use ParseErrorKind as Kind;
    let range = error.range();
    let span = Span { start: range.start.min(text.len()), end: range.end.min(text.len()) };
    let begin = text.trim_start();
    let is_entry = matches!(error.kind(), Kind::MultipleRootJsonValues) && begin.starts_with('"');
    let is_json = begin.starts_with(['{', '/', '"', '}', ']', ',']);
    if is_entry || !is_json {
        // The whole is something else, such as TOML or YAML, or an entry whose outer braces are missing.
        let start = text.len().saturating_sub(begin.len());
        let reason = NO_OBJECT.to_owned();
        return Unreadable { span: Span { start, end: start }, reason };
    }
    let reason = match error.kind() {
        Kind::ExpectedComma => "is no JSON: a comma is missing here",
        Kind::ExpectedColonAfterObjectKey => "is no JSON: a : is missing behind this key",
        Kind::ExpectedObjectValue => "is no JSON: this key has no value",
        Kind::ExpectedStringObjectProperty => "is no JSON: a key is written in \"double quotes\"",
        Kind::SingleQuotedStringsNotAllowed => "is no JSON: texts are written in \"double quotes\"",
        Kind::UnterminatedObject => "is no JSON: the { that begins here is not closed by a }",
        Kind::UnterminatedArray => "is no JSON: the [ that begins here is not closed by a ]",
        Kind::UnterminatedCommentBlock => "is no JSON: the comment that begins here is not closed by a */",
        Kind::UnexpectedCloseBrace => match open_at(text, span.start) {
            Some(b'[') => "is no JSON: a [ before this } is not closed by a ]",
            Some(_) => "is no JSON: this key has no value",
            None => "is no JSON: nothing is open that this } could close",
        },
        Kind::UnexpectedCloseBracket => match open_at(text, span.start) {
            Some(b'{') => "is no JSON: a { before this ] is not closed by a }",
            _ => "is no JSON: nothing is open that this ] could close",
        },
        Kind::UnexpectedComma => "is no JSON: there is nothing before this comma",
        Kind::UnexpectedColon => "is no JSON: there is no key before this :",
        Kind::UnexpectedTokenInObject => "is no JSON: a key in \"double quotes\", or }, is expected here",
        Kind::UnexpectedWord | Kind::UnexpectedToken => no_value(&text[span.start..]),
        Kind::MultipleRootJsonValues => "is no JSON: the file goes on behind its last }",
        Kind::NestingDepthExceeded => "nests deeper than any configuration does",
        Kind::String(ParseStringErrorKind::UnterminatedStringLiteral) => {
            "is no JSON: this text is not closed"
        }
        Kind::String(_) => {
            "is no JSON: this text has a \\ that means nothing; write \\\\ for each, as in a path of Windows"
        }
        _ => "is no JSON: this is no number as JSON writes it",
    };
    Unreadable { span, reason: reason.to_owned() }
}

/// What is wrong with something that is no value.
fn no_value(found: &str) -> &'static str {
    let word = found.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    match word {
        _ if found.starts_with(['“', '”', '„', '«', '»']) => {
            "is no JSON: write straight quotes, as on a keyboard"
        }
        _ if found.starts_with('#') => "is no JSON: comments begin with // here",
        _ if found.starts_with(';') => "is no JSON: a comma is expected in place of this ;",
        _ if word.eq_ignore_ascii_case("true") => "is no JSON: write true in small letters",
        _ if word.eq_ignore_ascii_case("false") => "is no JSON: write false in small letters",
        _ if word.eq_ignore_ascii_case("null") || word == "None" => "is no JSON: write null",
        _ => "is no JSON: this is no value; texts are written in \"double quotes\"",
    }
}

/// The bracket that was opened last before this place, and not closed. Those in texts and comments are none.
fn open_at(text: &str, end: usize) -> Option<u8> {
    let mut open = Vec::new();
    let mut rest = text.as_bytes().get(..end)?;
    while let [byte, behind @ ..] = rest {
        rest = match (byte, behind) {
            (b'"', _) => behind_text(behind),
            (b'/', [b'/', ..]) => behind_first(behind, b"\n"),
            (b'/', [b'*', comment @ ..]) => behind_first(comment, b"*/"),
            _ => behind,
        };
        match byte {
            b'{' | b'[' => open.push(*byte),
            b'}' | b']' => drop(open.pop()),
            _ => {}
        }
    }
    open.pop()
}

/// What follows a text whose first quote is read.
fn behind_text(mut rest: &[u8]) -> &[u8] {
    loop {
        rest = match rest {
            [b'\\', _, behind @ ..] => behind,
            [b'"', behind @ ..] => return behind,
            [_, behind @ ..] => behind,
            [] => return rest,
        };
    }
}

/// What follows the first of these bytes; nothing where they are not there.
fn behind_first<'t>(rest: &'t [u8], bytes: &[u8]) -> &'t [u8] {
    let found = rest.windows(bytes.len()).position(|window| window == bytes);
    found.map_or(&[], |at| &rest[at + bytes.len()..])
}

impl Node {
    /// The entries, if it is an object.
    pub(super) fn entries(&self) -> Option<&[Entry]> {
        match &self.content {
            Content::Object(entries) => Some(entries),
            Content::List(_) | Content::Scalar(_) => None,
        }
    }

    /// What stands under a key; the last where it stands more than once.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entries()?.iter().rev().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The text at the end of a path, if there is one.
    pub(super) fn text_at(&self, path: &str) -> Option<&str> {
        let (mut node, mut rest) = (self, path);
        while !rest.is_empty() {
            (node, rest) = match &node.content {
                Content::Scalar(_) => return None,
                Content::Object(entries) => {
                    let on_the_way = entries.iter().filter(|entry| behind(rest, &entry.key).is_some());
                    let entry = on_the_way.max_by_key(|entry| entry.key.len())?;
                    (&entry.node, behind(rest, &entry.key)?)
                }
                Content::List(items) => {
                    let (index, after) = indexed(rest)?;
                    (items.get(index)?, after)
                }
            };
        }
        match &node.content {
            Content::Scalar(Value::String(text)) => Some(text),
            Content::Scalar(_) | Content::List(_) | Content::Object(_) => None,
        }
    }

    /// The value without positions. Of a key that stands twice the last counts.
    pub(super) fn value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => items.iter().map(Self::value).collect(),
            Content::Object(entries) => {
                let entries = entries.iter().map(|entry| (entry.key.clone(), entry.node.value()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    /// The paths of keys that stand more than once in one object, here or anywhere below.
    pub(super) fn repeated(&self) -> Vec<(String, Span)> {
        let mut found = Vec::new();
        self.search_repeated("", &mut found);
        found
    }

    fn search_repeated(&self, path: &str, found: &mut Vec<(String, Span)>) {
        match &self.content {
            Content::Scalar(_) => {}
            Content::List(items) => {
                for (n, item) in items.iter().enumerate() {
                    item.search_repeated(&format!("{path}[{n}]"), found);
                }
            }
            Content::Object(entries) => {
                let mut known: BTreeMap<&str, ()> = BTreeMap::new();
                for Entry { key, span, node } in entries {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    if known.insert(key, ()).is_some() {
                        found.push((path.clone(), *span));
                    }
                    node.search_repeated(&path, found);
                }
            }
        }
    }

    /// Whether there is something at the end of this path of keys.
    pub(super) fn has(&self, path: &str) -> bool {
        path.split('.').try_fold(self, |node, key| node.get(key)).is_some()
    }

    /// Where the text, number or word at the end of a path is; of an object, a list, and where the key itself is the mistake,
    /// where the key is. Of a path that leads nowhere, the last thing on the way.
    pub(super) fn find(&self, path: &str, of_key: bool) -> Span {
        let (mut node, mut rest, mut found) = (self, path, self.span);
        // What is wrong with a whole object is shown where it begins.
        if matches!(self.content, Content::Object(_) | Content::List(_)) {
            found.end = found.start.saturating_add(1).min(found.end);
        }
        while !rest.is_empty() {
            match &node.content {
                Content::Scalar(_) => break,
                Content::Object(entries) => {
                    let on_the_way = entries.iter().filter(|entry| behind(rest, &entry.key).is_some());
                    // Of two equal keys the later one is the mistake.
                    let Some(entry) = on_the_way.max_by_key(|entry| entry.key.len()) else { break };
                    rest = behind(rest, &entry.key).unwrap_or_default();
                    (node, found) = (&entry.node, entry.span);
                    if matches!(node.content, Content::Scalar(_)) && rest.is_empty() && !of_key {
                        found = node.span;
                    }
                }
                Content::List(items) => {
                    let Some((index, after)) = indexed(rest) else { break };
                    let Some(item) = items.get(index) else { break };
                    (node, rest, found) = (item, after, item.span);
                }
            }
        }
        found
    }
}

/// What is left of a path behind one of its keys, which may have dots of their own. A path may end with a key that is not
/// shown whole.
pub(super) fn behind<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(key).or_else(|| path.strip_prefix(&*shown::name(key)))?;
    match rest.chars().next() {
        None => Some(rest),
        Some('.') => Some(&rest[1..]),
        Some('[') => Some(rest),
        Some(_) => None,
    }
}

/// The index at the front of a path, and what is left behind it.
pub(super) fn indexed(path: &str) -> Option<(usize, &str)> {
    let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, rest.strip_prefix('.').unwrap_or(rest)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn comments_trailing_commas_and_a_byte_order_mark_are_read_over() {
        let text = "\u{feff}{ // one\n \"a\": [1, /* two */ \"x\",],\n}";
        let node = read(text).unwrap();
        assert_eq!(node.value(), json!({"a": [1, "x"]}));
        let Span { start, end } = node.find("a[1]", false);
        assert_eq!(&text[start..end], "\"x\"");
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place_and_without_its_text() {
        for (text, at, says) in [
            ("", 0, "is empty"),
            ("  // nothing", 0, "is empty"),
            ("[mcp_servers.s3cret]\ncommand = \"s3cret\"", 0, "does not begin with {"),
            ("mcpServers:\n  a: s3cret", 0, "does not begin with {"),
            ("{\"a\": 1 \"b\": 2}", 7, "a comma is missing"),
            ("{\"a\" 1}", 5, "a : is missing"),
            ("\"mcpServers\": {}", 0, "does not begin with {"),
            ("{\"a\": }", 6, "no value"),
            ("{\"a\": [1, 2}", 11, "a [ before this } is not closed"),
            ("{\"a\": [\"]\\\"]\", // ]\n/* ] */ 2}", 29, "a [ before this } is not closed"),
            ("{\"a\": {\"b\": 1]", 13, "or }, is expected"),
            ("{\"a\": 1", 0, "is not closed by a }"),
            ("{a: 1}", 1, "double quotes"),
            ("{'a': 1}", 1, "double quotes"),
            ("{\"a\": s3cret}", 6, "no value"),
            ("{\"a\": \"s3cret}", 6, "not closed"),
            ("{} {}", 3, "goes on behind"),
            ("{\"a\": 0x10}", 6, "no number"),
            ("{\"a\": 1 /* s3cret", 8, "comment"),
            ("{\"a\": False}", 6, "write false"),
            ("{\"a\": None}", 6, "write null"),
            ("{\"a\": [1; 2]}", 8, "in place of this ;"),
            ("{\"a\": \"C:\\Users\"}", 9, "write \\\\ for each"),
            ("{\"a\": 1, # s3cret\n}", 9, "begin with //"),
        ] {
            let Unreadable { span, reason } = read(text).unwrap_err();
            assert_eq!((span.start, reason.contains(says)), (at, true), "{text}: {span:?} {reason}");
            assert!(!reason.contains("s3cret"), "{text}: {reason}");
        }
    }

    #[test]
    fn depth_is_bounded_on_a_small_stack() {
        let deep = "{\"a\":".to_owned() + &"[".repeat(1 << 20);
        let lists = format!("{{\"a\":{}{}}}", "[".repeat(400), "]".repeat(400));
        let objects = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
        std::thread::Builder::new()
            .stack_size(2 << 20)
            .spawn(move || {
                assert!(read(&deep).is_err());
                for text in [lists, objects] {
                    if let Ok(node) = read(&text) {
                        let _ = (node.value(), node.repeated());
                    }
                }
            })
            .unwrap()
            .join()
            .unwrap();
    }

    #[test]
    fn keys_that_stand_twice_are_found_wherever_they_are() {
        let node = read(r#"{"a": {"b": 1, "b": 2}, "c": [{"d": 1, "d": 1}], "a": 0}"#).unwrap();
        let paths: Vec<String> = node.repeated().into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["a.b", "c[0].d", "a"]);
    }
}
