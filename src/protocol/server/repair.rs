//! What a server's result or definition lacks for this client, put in without reading the rest.

use super::handshake::SERVER_INFO;
use crate::json::RawJson;
use crate::json::members::{each_member, members};

/// The entry of a result's `_meta` that names the server.
const SERVER_INFO_KEY: &str = "io.modelcontextprotocol/serverInfo";

/// How long a result stays fresh, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// How long, in milliseconds.
    pub ttl_ms: u64,
    /// Whether it is the same for all clients.
    pub public: bool,
}

impl Freshness {
    /// What is said of something that is read, where its server says nothing.
    pub(crate) const UNSAID: Self = Self { ttl_ms: 0, public: false };

    fn scope(self) -> &'static str {
        if self.public { "public" } else { "private" }
    }

    /// The members of a result that say so.
    pub(crate) fn written(self) -> String {
        format!(r#""ttlMs":{},"cacheScope":"{}""#, self.ttl_ms, self.scope())
    }
}

/// A result is no JSON object: no result of the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoResult;

/// What a modern result has besides what it is asked for, where the gateway makes it itself: to be put before other members.
pub(crate) fn modern_members() -> String {
    format!(r#""resultType":"complete","_meta":{{"{SERVER_INFO_KEY}":{SERVER_INFO}}}"#)
}

/// Writes a server's result with what a legacy server leaves out and a modern client wants: its type, the server's name, and, if
/// `freshness` is given, for how long it holds.
///
/// # Errors
/// It is no object. Then nothing is written.
pub(crate) fn write_repaired(
    line: &mut String,
    result: &RawJson,
    freshness: Option<Freshness>,
) -> Result<(), NoResult> {
    let text = result.as_str().trim_ascii();
    let found = members(text, ["resultType", "_meta", "ttlMs", "cacheScope"]).map_err(|_| NoResult)?;
    let [kind, meta, ttl, scope] = found;
    let mut added = Vec::new();
    if kind.is_none() {
        added.push(r#""resultType":"complete""#.to_owned());
    }
    if let Some(freshness) = freshness {
        if ttl.is_none() {
            added.push(format!(r#""ttlMs":{}"#, freshness.ttl_ms));
        }
        if scope.is_none() {
            added.push(format!(r#""cacheScope":"{}""#, freshness.scope()));
        }
    }
    let info = format!(r#""{SERVER_INFO_KEY}":{SERVER_INFO}"#);
    let mut rest = &text[1..];
    let mut opened = None;
    match meta {
        None => added.push(format!(r#""_meta":{{{info}}}"#)),
        Some(meta) => {
            // One that names itself, or says something odd, is the client's to judge.
            if let Ok([None]) = members(meta, [SERVER_INFO_KEY]) {
                opened = Some(format!("{{{info}{}", separator(&meta[1..])));
            }
        }
    }
    line.push('{');
    line.push_str(&added.join(","));
    if !added.is_empty() {
        line.push_str(separator(rest));
    }
    if let (Some(opened), Some(meta)) = (opened, meta) {
        let at = place_in(rest, meta);
        line.push_str(&rest[..at]);
        line.push_str(&opened);
        // Behind the brace with which it begins.
        rest = &rest[at + 1..];
    }
    line.push_str(rest);
    Ok(())
}

/// What stands between new members and what follows the opening brace.
fn separator(rest: &str) -> &'static str {
    if rest.trim_ascii_start().starts_with('}') { "" } else { "," }
}

/// Where a part of a text begins in it.
fn place_in(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

/// A definition under another name, which stands under `key`; all else in it is as its server wrote it. A name that stands in it
/// twice is another one in both places.
pub(crate) fn renamed(definition: &RawJson, key: &str, name: &str) -> RawJson {
    let text = definition.as_str();
    let mut places = Vec::new();
    let read = each_member(text, |found, value| {
        if found == key {
            places.push((place_in(text, value), value.len()));
        }
    });
    debug_assert!(read.is_ok(), "it was listed with a name");
    let name = serde_json::Value::from(name).to_string();
    let (mut written, mut from) = (String::with_capacity(text.len().saturating_add(name.len())), 0);
    for (at, length) in places {
        written.push_str(&text[from..at]);
        written.push_str(&name);
        from = at.saturating_add(length);
    }
    written.push_str(&text[from..]);
    RawJson::trusted(written.into())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn repaired(result: &str, freshness: Option<Freshness>) -> Option<String> {
        let mut line = String::new();
        write_repaired(&mut line, &RawJson::from_text(result).unwrap(), freshness).ok()?;
        Some(line)
    }

    #[test]
    fn a_legacy_result_gets_what_a_modern_client_wants_and_keeps_the_rest_to_the_letter() {
        let result = repaired(r#"{"content":[ 1.00 ],"isError" : false}"#, None).unwrap();
        assert!(result.ends_with(r#","content":[ 1.00 ],"isError" : false}"#), "{result}");
        let value: Value = serde_json::from_str(&result).unwrap();
        assert_eq!(value["resultType"], "complete");
        assert_eq!(value["_meta"][SERVER_INFO_KEY]["name"], "mcp-troupe");
        assert!(value.get("ttlMs").is_none());
        for empty in ["{}", " { } ", "{\n}"] {
            let value: Value =
                serde_json::from_str(&repaired(empty, Some(Freshness::UNSAID)).unwrap()).unwrap();
            assert_eq!(value["cacheScope"], "private", "{empty}");
            assert_eq!(value["ttlMs"], 0);
        }
    }

    #[test]
    fn what_is_there_is_left_as_it_is() {
        let whole = format!(
            r#"{{"resultType":"input_required","ttlMs":5,"cacheScope":"public","_meta":{{"{SERVER_INFO_KEY}":{{"name":"x"}}}}}}"#
        );
        assert_eq!(repaired(&whole, Some(Freshness::UNSAID)).unwrap(), whole);
    }

    #[test]
    fn entries_of_meta_stay_beside_ours() {
        for meta in ["{}", "{ }", r#"{"a":{"b":[1]},"c":2}"#] {
            let value: Value =
                serde_json::from_str(&repaired(&format!(r#"{{"_meta":{meta},"x":[1]}}"#), None).unwrap())
                    .unwrap();
            assert_eq!(value["_meta"][SERVER_INFO_KEY]["name"], "mcp-troupe", "{meta}");
            assert_eq!(value["x"], serde_json::json!([1]));
            if meta.len() > 3 {
                assert_eq!(value["_meta"]["a"]["b"][0], 1);
            }
        }
        let odd: Value = serde_json::from_str(&repaired(r#"{"_meta":7}"#, None).unwrap()).unwrap();
        assert_eq!((&odd["_meta"], &odd["resultType"]), (&7.into(), &"complete".into()));
    }

    #[test]
    fn what_is_no_object_is_no_result() {
        for result in ["7", "null", "[1]", "\"{}\""] {
            assert_eq!(repaired(result, None), None, "{result}");
        }
    }

    #[test]
    fn a_definition_gets_another_name_and_nothing_else() {
        let definition =
            RawJson::from_text(r#"{ "x":{"name":"inner"}, "n\u0061me" : "read" ,"n":1.00}"#).unwrap();
        assert_eq!(
            renamed(&definition, "name", "files__read").as_str(),
            r#"{ "x":{"name":"inner"}, "n\u0061me" : "files__read" ,"n":1.00}"#
        );
        let twice = RawJson::from_text(r#"{"name":"a","name":"b"}"#).unwrap();
        assert_eq!(renamed(&twice, "name", "c").as_str(), r#"{"name":"c","name":"c"}"#);
    }
}
