//! The ids of clients' requests: kept as they were written, since a client knows its own by type and digits.

use std::fmt;

use crate::json::RawJson;
use crate::json::members::members;
use crate::json::scan::Scan;

/// The longest id that is kept, in bytes: several times a UUID in quotes.
pub(crate) const ID_BYTES_MAX: usize = 256;

/// The id of a client's request: a string or a number, to the letter.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClientId(Box<str>);

impl ClientId {
    /// The id that is written so.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(written: &str) -> Result<Self, &'static str> {
        match written.as_bytes() {
            [b'"' | b'-' | b'0'..=b'9', ..] if written.len() <= ID_BYTES_MAX => Ok(Self(written.into())),
            [b'"' | b'-' | b'0'..=b'9', ..] => Err("the id has more than 256 bytes"),
            _ => Err("the id is neither a string nor a number"),
        }
    }

    /// As it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of a request of which only both ends are there: one that is too long. Clients write it before the params, or last.
pub(crate) fn id_of_ends(beginning: &[u8], end: &[u8]) -> Option<ClientId> {
    let (beginning, end) = (String::from_utf8_lossy(beginning), String::from_utf8_lossy(end));
    id_at_beginning(&beginning).or_else(|| id_at_end(&end))
}

fn id_at_beginning(text: &str) -> Option<ClientId> {
    let mut scan = Scan::new(text);
    scan.expect(b'{').ok()?;
    loop {
        let key = scan.string().ok()?;
        scan.expect(b':').ok()?;
        let value = scan.value().ok()?;
        // One that ends with the text may go on behind it.
        scan.expect(b',').ok()?;
        if key == "id" {
            return ClientId::read(value).ok();
        }
    }
}

/// The last member of the message, where that is its id: behind it only the end of the message's object is left.
fn id_at_end(text: &str) -> Option<ClientId> {
    let at = text.rfind("\"id\"")?;
    let last = RawJson::from_text(format!("{{{}", &text[at..])).ok()?;
    let [id] = members(last.as_str(), ["id"]).ok()?;
    ClientId::read(id?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_type_and_its_digits() {
        for written in ["7", "\"7\"", "9007199254740993", "-1", "1.50", "\"\\u00e9\""] {
            assert_eq!(ClientId::read(written).unwrap().as_str(), written);
        }
        for wrong in ["null", "true", "{}", "[1]"] {
            assert!(ClientId::read(wrong).is_err(), "{wrong}");
        }
        let id = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
        assert!(ClientId::read(&id(ID_BYTES_MAX)).is_ok() && ClientId::read(&id(ID_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn the_id_of_a_message_that_is_cut_is_found_at_either_end_and_nowhere_else() {
        let found = |beginning: &str, end: &str| {
            id_of_ends(beginning.as_bytes(), end.as_bytes()).map(|id| id.as_str().to_owned())
        };
        let params = r#"{"name":"a","arguments":{"text":"xxx"#;
        assert_eq!(found(&format!(r#"{{"id":7,"params":{params}"#), "xx\"}}}").as_deref(), Some("7"));
        assert_eq!(found(&format!(r#"{{"params":{params}"#), r#"xx"}},"id":"k"}"#).as_deref(), Some("\"k\""));
        // The id of something within.
        assert_eq!(found(&format!(r#"{{"params":{params}"#), r#"xx","id":7}}}"#), None);
        assert_eq!(found(r#"{"id":7"#, "8}"), None, "it may go on");
    }
}
