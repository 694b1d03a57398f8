//! The content of a result, block by block.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

/// One block of a result's content. It borrows from the result.
///
/// Its `Display` is for models and people that read text alone: what is no text is one line that says what it is, so that nothing
/// is left out without a word.
///
/// ```
/// # fn show(reply: mcp_troupe::Reply) -> Result<(), mcp_troupe::ReplyError> {
/// use mcp_troupe::Content;
///
/// for block in reply.content()? {
///     match block {
///         Content::Image { data, mime_type } => println!("{mime_type}: {} characters of base64", data.len()),
///         other => println!("{other}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content<'a> {
    /// Text.
    Text {
        /// The text.
        text: Cow<'a, str>,
    },
    /// An image.
    Image {
        /// Its bytes, in base64.
        data: Cow<'a, str>,
        /// Its media type, such as `image/png`.
        mime_type: Cow<'a, str>,
    },
    /// A sound.
    Audio {
        /// Its bytes, in base64.
        data: Cow<'a, str>,
        /// Its media type, such as `audio/wav`.
        mime_type: Cow<'a, str>,
    },
    /// A resource that can be read at its server: [`Troupe::read_resource`](crate::Troupe::read_resource).
    Link {
        /// Its URI.
        uri: Cow<'a, str>,
        /// Its name.
        name: Option<Cow<'a, str>>,
        /// What it is, for people and models.
        description: Option<Cow<'a, str>>,
        /// Its media type.
        mime_type: Option<Cow<'a, str>>,
    },
    /// A resource that came along, or that was read.
    Resource {
        /// Its URI.
        uri: Cow<'a, str>,
        /// Its media type.
        mime_type: Option<Cow<'a, str>>,
        /// What is in it.
        body: ResourceBody<'a>,
    },
    /// A block of another kind, or one that lacks what its kind must have.
    Other {
        /// Its `type`, where it has one.
        kind: Option<Cow<'a, str>>,
        /// The whole block, as JSON.
        json: &'a str,
    },
}

/// What is in a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResourceBody<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes, in base64.
    Blob(Cow<'a, str>),
}

/// The members of a block that are read, each of any shape.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    mime_type: Option<&'a RawValue>,
    #[serde(borrow)]
    uri: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    description: Option<&'a RawValue>,
    #[serde(borrow)]
    blob: Option<&'a RawValue>,
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
}

/// A text that borrows where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn text(value: Option<&RawValue>) -> Option<Cow<'_, str>> {
    serde_json::from_str(value?.get()).ok().map(|Text(text)| text)
}

impl<'a> Content<'a> {
    /// Reads a block of a tool's result or of a prompt's message.
    pub(super) fn block(json: &'a RawValue) -> Self {
        Self::read(json, Self::typed)
    }

    /// Reads one of the contents of a resource that was read. They have no `type`.
    pub(super) fn of_resource(json: &'a RawValue) -> Self {
        Self::read(json, |_, members| Self::resource(members))
    }

    fn read(json: &'a RawValue, of: impl FnOnce(&str, &Members<'a>) -> Option<Self>) -> Self {
        let json = json.get();
        let Ok(members) = serde_json::from_str::<Members<'a>>(json) else {
            return Self::Other { kind: None, json };
        };
        let kind = text(members.kind);
        of(kind.as_deref().unwrap_or_default(), &members).unwrap_or(Self::Other { kind, json })
    }

    fn typed(kind: &str, members: &Members<'a>) -> Option<Self> {
        match kind {
            "text" => Some(Self::Text { text: text(members.text)? }),
            "image" => Some(Self::Image { data: text(members.data)?, mime_type: text(members.mime_type)? }),
            "audio" => Some(Self::Audio { data: text(members.data)?, mime_type: text(members.mime_type)? }),
            "resource_link" => Some(Self::Link {
                uri: text(members.uri)?,
                name: text(members.name),
                description: text(members.description),
                mime_type: text(members.mime_type),
            }),
            "resource" => Self::resource(&serde_json::from_str(members.resource?.get()).ok()?),
            _ => None,
        }
    }

    fn resource(members: &Members<'a>) -> Option<Self> {
        let body = match (text(members.text), text(members.blob)) {
            (Some(text), _) => ResourceBody::Text(text),
            (None, Some(blob)) => ResourceBody::Blob(blob),
            (None, None) => return None,
        };
        Some(Self::Resource { uri: text(members.uri)?, mime_type: text(members.mime_type), body })
    }
}

impl fmt::Display for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { text } | Self::Resource { body: ResourceBody::Text(text), .. } => f.write_str(text),
            Self::Image { data, mime_type } | Self::Audio { data, mime_type } => {
                write!(f, "[{mime_type}, {}]", Size::of_base64(data))
            }
            Self::Link { uri, name, description: _, mime_type } => {
                f.write_str("[")?;
                if let Some(name) = name {
                    write!(f, "{name}: ")?;
                }
                write!(f, "{uri}")?;
                match mime_type {
                    Some(mime_type) => write!(f, " ({mime_type})]"),
                    None => f.write_str("]"),
                }
            }
            Self::Resource { uri, mime_type, body: ResourceBody::Blob(blob) } => {
                let mime_type = mime_type.as_deref().unwrap_or("of no known type");
                write!(f, "[{uri} ({mime_type}), {}]", Size::of_base64(blob))
            }
            Self::Other { kind, json } => {
                write!(f, "[{}, {}]", kind.as_deref().unwrap_or("content of no known type"), Size(json.len()))
            }
        }
    }
}

/// A number of bytes, for people.
struct Size(usize);

impl Size {
    /// Of what is written in base64: three bytes in four characters.
    fn of_base64(data: &str) -> Self {
        Self(data.trim_end_matches('=').len() / 4 * 3 + data.trim_end_matches('=').len() % 4 * 3 / 4)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes @ ..1024 => write!(f, "{bytes} bytes"),
            bytes if bytes < 1 << 20 => write!(f, "{} KiB", bytes.div_ceil(1 << 10)),
            bytes => write!(f, "{} MiB", bytes.div_ceil(1 << 20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(json: &str) -> Content<'_> {
        Content::block(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn each_kind_of_the_protocol_is_read_and_said_in_a_line() {
        let said = [
            (r#"{"type": "text", "text": "two\nlines"}"#, "two\nlines"),
            (r#"{"type": "image", "data": "AAAA", "mimeType": "image/png"}"#, "[image/png, 3 bytes]"),
            (r#"{"type": "audio", "data": "AAA=", "mimeType": "audio/wav"}"#, "[audio/wav, 2 bytes]"),
            (
                r#"{"type": "resource_link", "uri": "demo://1", "name": "one", "mimeType": "text/plain"}"#,
                "[one: demo://1 (text/plain)]",
            ),
            (r#"{"type": "resource_link", "uri": "demo://1"}"#, "[demo://1]"),
            (r#"{"type": "resource", "resource": {"uri": "demo://1", "text": "inside"}}"#, "inside"),
            (
                r#"{"type": "resource", "resource": {"uri": "demo://1", "mimeType": "a/b", "blob": "AAAAAAAA"}}"#,
                "[demo://1 (a/b), 6 bytes]",
            ),
        ];
        for (json, line) in said {
            let block = block(json);
            assert!(!matches!(block, Content::Other { .. }), "{json}");
            assert_eq!(block.to_string(), line);
        }
    }

    #[test]
    fn what_is_of_no_known_kind_or_lacks_a_part_is_kept_whole_and_named() {
        let said = [
            (r#"{"type": "hologram", "data": 1}"#, "[hologram, 31 bytes]"),
            (r#"{"type": "image", "data": "AAAA"}"#, "[image, 33 bytes]"),
            (r#"{"type": "text", "text": 7}"#, "[text, 27 bytes]"),
            (r#"{"type": "resource", "resource": {"uri": "demo://1"}}"#, "[resource, 53 bytes]"),
            (r#"{"text": "untyped"}"#, "[content of no known type, 19 bytes]"),
            ("7", "[content of no known type, 1 bytes]"),
        ];
        for (json, line) in said {
            let block = block(json);
            assert!(matches!(&block, Content::Other { json: kept, .. } if *kept == json), "{json}");
            assert_eq!(block.to_string(), line);
        }
    }

    #[test]
    fn text_and_data_without_escapes_are_borrowed() {
        let Content::Image { data: Cow::Borrowed(data), .. } =
            block(r#"{"type": "image", "data": "AAAA", "mimeType": "image/png"}"#)
        else {
            panic!("it was copied")
        };
        assert_eq!(data, "AAAA");
    }

    #[test]
    fn sizes_are_told_in_the_unit_that_fits() {
        let said = [0, 1023, 1024, 1025, 1 << 20, (1 << 20) + 1].map(|bytes| Size(bytes).to_string());
        assert_eq!(said, ["0 bytes", "1023 bytes", "1 KiB", "2 KiB", "1 MiB", "2 MiB"]);
    }

    proptest! {
        #[test]
        fn the_size_is_that_of_the_bytes(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let data = data_encoding::BASE64.encode(&bytes);
            prop_assert_eq!(Size::of_base64(&data).0, bytes.len());
        }

        #[test]
        fn any_json_is_some_block(value in "\\{(\"(type|text|data|uri|resource)\": ?(\"[a-z_]{0,13}\"|7|\\[\\]|\\{\\}),? ?){0,3}\\}") {
            if let Ok(json) = serde_json::from_str::<&RawValue>(&value) {
                let _ = Content::block(json).to_string();
                let _ = Content::of_resource(json).to_string();
            }
        }
    }
}
