//! JSON that passes through unread.

use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

pub(crate) mod canonical;
pub(crate) mod members;
pub(crate) mod scan;

use scan::Scan;

/// One JSON value as the bytes that a peer or the host wrote: a cheap, shared slice, never parsed on its way.
///
/// Cloning shares the bytes. Unknown fields, the order of keys and the precision of numbers survive.
#[derive(Clone, PartialEq, Eq)]
pub struct RawJson(Bytes);

impl RawJson {
    /// Serialises `value`.
    pub fn from_value(value: &(impl Serialize + ?Sized)) -> Result<Self, serde_json::Error> {
        serde_json::to_vec(value).map(|bytes| Self(bytes.into()))
    }

    /// Takes text after checking that it is one JSON value.
    pub fn from_text(text: impl Into<String>) -> Result<Self, serde_json::Error> {
        let text = text.into();
        let mut scan = Scan::new(&text);
        if scan.value().and_then(|_| scan.end()).is_err() {
            // What is wrong is told as for every other text of the host's.
            serde_json::from_str::<&RawValue>(&text)?;
        }
        Ok(Self(text.into()))
    }

    /// JSON's `{}`.
    pub(crate) fn empty_object() -> Self {
        Self::trusted(Bytes::from_static(b"{}"))
    }

    /// JSON's `null`.
    pub(crate) fn null() -> Self {
        Self::trusted(Bytes::from_static(b"null"))
    }

    /// Takes bytes that a parser has already recognised as one JSON value.
    pub(crate) fn trusted(bytes: Bytes) -> Self {
        debug_assert!(serde_json::from_slice::<&RawValue>(&bytes).is_ok());
        Self(bytes)
    }

    /// The same text in bytes of its own: a slice keeps the whole frame in memory that it was taken from.
    pub(crate) fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("JSON that was parsed or serialised here is UTF-8")
    }

    /// The JSON text as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The shared bytes of the text.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The size of the text in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the text has no bytes; a JSON value always has some.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Parses the value into a type of the host's.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }

    /// Parses the value into a type that borrows from the text.
    pub fn parse_borrowed<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }

    /// Whether the value is a JSON object, told by its first character.
    pub(crate) fn is_object(&self) -> bool {
        self.0.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{')
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_slice(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_passes_through_unchanged() {
        let text = r#"{"b":1.10000000000000000001,  "a":[1e400]}"#;
        assert_eq!(RawJson::from_text(text).unwrap().as_str(), text);
    }

    #[test]
    fn text_that_is_no_json_is_refused() {
        assert!(RawJson::from_text("{").is_err());
        assert!(RawJson::from_text("1 2").is_err());
    }
}
