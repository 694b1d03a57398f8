//! W3C trace context and baggage of a call: checked when they are given, written into the request's `_meta`.
//!
//! MCP reserves the keys `traceparent`, `tracestate` and `baggage` there, without a prefix. The values come from whatever
//! tracing the host uses, as text in their HTTP header form.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::RawJson;

/// List members that a `tracestate` may have, by its specification.
const STATE_MEMBERS_MAX: usize = 32;

/// Bytes of the key, and of the value, of a member of `tracestate`, by its specification.
const STATE_PART_BYTES_MAX: usize = 256;

/// Bytes of a `baggage`: what its specification has every platform carry. Longer ones would be cut on their way.
const BAGGAGE_BYTES_MAX: usize = 8192;

/// Members of a `baggage`, for the same reason.
const BAGGAGE_MEMBERS_MAX: usize = 64;

/// What a call says of the trace that it belongs to.
#[derive(Debug, Clone, Default)]
pub(crate) struct TraceContext {
    traceparent: Option<String>,
    tracestate: Option<String>,
    baggage: Option<String>,
    /// The first thing that is wrong; told when the call is made.
    wrong: Option<InvalidTraceContext>,
}

/// An entry that is not what W3C says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InvalidTraceContext {
    pub entry: &'static str,
    pub reason: &'static str,
}

impl TraceContext {
    pub(crate) fn set_traceparent(&mut self, value: String) {
        self.judge("traceparent", traceparent(&value));
        self.traceparent = Some(value);
    }

    pub(crate) fn set_tracestate(&mut self, value: String) {
        self.judge("tracestate", tracestate(&value));
        self.tracestate = Some(value);
    }

    pub(crate) fn set_baggage(&mut self, value: String) {
        self.judge("baggage", baggage(&value));
        self.baggage = Some(value);
    }

    fn judge(&mut self, entry: &'static str, checked: Result<(), &'static str>) {
        if let Err(reason) = checked {
            self.wrong.get_or_insert(InvalidTraceContext { entry, reason });
        }
    }

    /// What is wrong with it, if anything is.
    pub(crate) fn mistake(&self) -> Option<InvalidTraceContext> {
        let orphan = self.tracestate.is_some() && self.traceparent.is_none();
        let orphan = orphan.then_some(InvalidTraceContext {
            entry: "tracestate",
            reason: "it means nothing without a traceparent",
        });
        self.wrong.clone().or(orphan)
    }

    /// The entries for `_meta`: those of the host, which keep their order and their text, then these. A key that both
    /// name has the value that stands here.
    pub(crate) fn joined(&self, meta: Option<&RawJson>) -> Result<RawJson, serde_json::Error> {
        let ours = [
            ("traceparent", &self.traceparent),
            ("tracestate", &self.tracestate),
            ("baggage", &self.baggage),
        ];
        let ours = ours.map(|(key, value)| Some((key, value.as_ref()?)));
        let mut members: Vec<(Cow<'_, str>, Cow<'_, RawValue>)> = Vec::new();
        if let Some(meta) = meta {
            let Members(theirs) = meta.parse_borrowed()?;
            let replaced = |key: &str| ours.iter().flatten().any(|(ours, _)| *ours == key);
            let kept = theirs.into_iter().filter(|(key, _)| !replaced(key));
            members.extend(kept.map(|(key, value)| (key, Cow::Borrowed(value))));
        }
        for (key, value) in ours.into_iter().flatten() {
            members.push((key.into(), Cow::Owned(serde_json::value::to_raw_value(value)?)));
        }
        RawJson::from_value(&Written(&members))
    }
}

/// The members of an object, in their order, their values unread.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

/// A key, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Members as an object again.
struct Written<'a>(&'a [(Cow<'a, str>, Cow<'a, RawValue>)]);

impl serde::Serialize for Written<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

/// `version-trace-parent-flags`, in lower-case hexadecimal digits.
fn traceparent(value: &str) -> Result<(), &'static str> {
    const FORM: &str =
        "it must be version-trace-parent-flags of 2, 32, 16 and 2 lower-case hexadecimal digits";
    let mut parts = value.split('-');
    let mut part = |digits: usize| {
        let part = parts.next().ok_or(FORM)?;
        let hex = part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if hex && part.len() == digits { Ok(part) } else { Err(FORM) }
    };
    let (version, trace, parent) = (part(2)?, part(32)?, part(16)?);
    part(2)?;
    match version {
        "ff" => return Err("version ff is forbidden"),
        // A later version may have more parts.
        "00" if parts.next().is_some() => return Err(FORM),
        _ => {}
    }
    if trace.bytes().all(|digit| digit == b'0') {
        return Err("its trace id is all zeros");
    }
    if parent.bytes().all(|digit| digit == b'0') {
        return Err("its parent id is all zeros");
    }
    Ok(())
}

/// `key=value` members with commas between them; a member may be empty.
fn tracestate(value: &str) -> Result<(), &'static str> {
    let members = value.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|m| !m.is_empty());
    let mut seen: Vec<&str> = Vec::new();
    for member in members {
        let (key, text) = member.split_once('=').ok_or("a member must be key=value")?;
        if !state_key(key) {
            return Err(
                "a key must begin with a letter or a digit, and have only a-z, 0-9, _ - * / and one @",
            );
        }
        let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=');
        if text.is_empty() || text.len() > STATE_PART_BYTES_MAX || !printable {
            return Err("a value must be 1 to 256 printable ASCII characters without comma and equals sign");
        }
        if seen.contains(&key) {
            return Err("a key stands twice");
        }
        seen.push(key);
        if seen.len() > STATE_MEMBERS_MAX {
            return Err("it may have 32 members");
        }
    }
    if seen.is_empty() { Err("it is empty") } else { Ok(()) }
}

fn state_key(key: &str) -> bool {
    let plain = |part: &str| {
        part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'))
            && part.starts_with(|first: char| first.is_ascii_alphanumeric())
    };
    let parts = match key.split_once('@') {
        None => plain(key),
        Some((tenant, system)) => plain(tenant) && plain(system),
    };
    parts && key.len() <= STATE_PART_BYTES_MAX
}

/// `key=value;properties` members with commas between them, percent-encoded.
fn baggage(value: &str) -> Result<(), &'static str> {
    if value.len() > BAGGAGE_BYTES_MAX {
        return Err("it may have 8192 bytes");
    }
    let mut members = 0;
    for member in value.split(',') {
        members += 1;
        if members > BAGGAGE_MEMBERS_MAX {
            return Err("it may have 64 members");
        }
        let mut parts = member.split(';');
        let (key, text) =
            parts.next().and_then(|entry| entry.split_once('=')).ok_or("a member must be key=value")?;
        if !baggage_key(key) || !baggage_value(text) {
            return Err(
                "a key must be a token, and a value percent-encoded ASCII without spaces, quotes and \\",
            );
        }
        let property = |property: &str| match property.split_once('=') {
            None => baggage_key(property),
            Some((key, text)) => baggage_key(key) && baggage_value(text),
        };
        if !parts.all(property) {
            return Err("a property must be key or key=value");
        }
    }
    Ok(())
}

/// A token of HTTP, with optional white space around it.
fn baggage_key(key: &str) -> bool {
    let key = key.trim_matches([' ', '\t']);
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !key.is_empty() && key.bytes().all(token)
}

fn baggage_value(value: &str) -> bool {
    let value = value.trim_matches([' ', '\t']);
    value.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_examples_of_the_specifications_are_taken() {
        assert_eq!(traceparent(PARENT), Ok(()));
        assert_eq!(traceparent("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes"), Ok(()));
        assert_eq!(tracestate("rojo=00f067aa0ba902b7, congo=t61rcWkgMzE,,fw529a3039@dt=FfJ;x y"), Ok(()));
        assert_eq!(baggage("userId=alice,serverNode=DF%2028,isProduction=false;ttl=3 ; public"), Ok(()));
        assert_eq!(baggage("empty="), Ok(()));
    }

    #[test]
    fn what_is_no_traceparent_is_refused() {
        for wrong in [
            "",
            "00",
            &PARENT.to_uppercase(),
            &PARENT[..54],
            &format!("{PARENT}-00"),
            &format!("ff{}", &PARENT[2..]),
            &format!(" {PARENT}"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
        ] {
            assert!(traceparent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_tracestate_or_baggage_is_refused() {
        let many = |members: usize| (0..members).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        for wrong in ["", "Rojo=1", "rojo", "a=1,a=2", "a=", "a=b=c", "a=ü", "@b=1", "a@=1", &many(33)] {
            assert!(tracestate(wrong).is_err(), "{wrong}");
        }
        for wrong in
            ["", "a", "a=b c", "a=\"b\"", "=b", "a=b,", "a=b;", "ä=b", &many(65), &"a=b,".repeat(4096)]
        {
            assert!(baggage(wrong).is_err(), "{wrong}");
        }
        assert_eq!((tracestate(&many(32)), baggage(&many(64))), (Ok(()), Ok(())));
    }

    #[test]
    fn the_first_mistake_is_told_and_a_state_without_a_parent_is_one() {
        let mut trace = TraceContext::default();
        trace.set_tracestate("rojo=1".into());
        assert_eq!(trace.mistake().map(|mistake| mistake.entry), Some("tracestate"));
        trace.set_traceparent(PARENT.into());
        assert_eq!(trace.mistake(), None);
        trace.set_baggage("?".into());
        trace.set_traceparent("?".into());
        assert_eq!(trace.mistake().map(|mistake| mistake.entry), Some("baggage"));
    }

    #[test]
    fn entries_join_those_of_the_host_whose_text_is_kept() {
        let mut trace = TraceContext::default();
        trace.set_traceparent(PARENT.into());
        let alone = format!(r#"{{"traceparent":"{PARENT}"}}"#);
        assert_eq!(trace.joined(None).unwrap().as_str(), alone);
        let meta = RawJson::from_text(r#" {"z":1.50, "traceparent":"old","a\n":[1e400] }"#).unwrap();
        let joined = format!(r#"{{"z":1.50,"a\n":[1e400],"traceparent":"{PARENT}"}}"#);
        assert_eq!(trace.joined(Some(&meta)).unwrap().as_str(), joined);
    }
}
