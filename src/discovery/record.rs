//! What a directory may say of a server.
//!
//! A record says where a server is, by `url` or by its parts, and what kind of server it is. Everything else is optional;
//! what it leaves out is taken from the source's own defaults, then from the troupe's. These two mean the same:
//!
//! ```json
//! { "url": "wss://10.0.0.7:3000/mcp" }
//! { "type": "websocket", "address": "10.0.0.7", "port": 3000, "secure": true, "path": "/mcp" }
//! ```
//!
//! and this is all that one may say:
//!
//! ```json
//! {
//!   "url": "ws://10.0.0.7:3000",
//!   "group": "files", "tags": ["storage", "eu"], "weight": 200, "priority": 0,
//!   "dialect": "mcp", "era": "modern",
//!   "metadata": { "version": "1.4.2" }
//! }
//! ```
//!
//! | key | meaning |
//! | --- | --- |
//! | `type` | `websocket` or `http`; as the `url` begins, and `websocket` without one |
//! | `url` | `ws://`, `wss://`, `http://` or `https://`, without user info; or its parts: |
//! | `address`, `port` | a host name or an IP address, and a port |
//! | `secure` | whether the connection is encrypted (TLS); not, unless said |
//! | `path` | begins with `/`; `/` unless said |
//! | `group`, `tags`, `weight`, `priority`, `dialect`, `era` | as in `servers.json` |
//! | `metadata` | texts by name: shown with the server, and not read |
//!
//! What belongs to the host is not for a directory to say: a program to start, headers and tokens, pools and breakers. An
//! unknown key is an error, since it may be a known one that is misspelt; what others want to note has its place in `metadata`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, Dialect, EraChoice, Server, shown, shown_url};
use crate::id::InvalidId;

/// The longest record, in bytes: some fifty times an ordinary one.
pub const RECORD_BYTES_MAX: usize = 16 << 10;

/// How a discovered server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RecordKind {
    /// A WebSocket.
    #[serde(alias = "ws")]
    Websocket,
    /// Streamable HTTP.
    #[serde(alias = "streamable-http")]
    Http,
}

/// What a directory says of a server; see the [module's page](self).
///
/// ```
/// use mcp_troupe::discovery::Record;
///
/// let record = Record::parse(br#"{"address": "10.0.0.7", "port": 3000, "weight": 200}"#)?;
/// let defaults = Record::parse(br#"{"group": "files", "path": "/mcp"}"#)?;
/// let server = record.or(&defaults).server("files-1")?;
/// assert_eq!(server.id(), "files-1");
///
/// let error = Record::parse(br#"{"url": "ws://h", "wieght": 200}"#).unwrap_err();
/// assert!(error.to_string().starts_with("wieght: "));
/// # Ok::<(), mcp_troupe::discovery::RecordError>(())
/// ```
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct Record {
    /// How it is reached.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<RecordKind>,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where it is, in parts: its host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Whether the connection is encrypted. Its former name, `tls`, holds for one more version.
    #[serde(alias = "tls", skip_serializing_if = "Option::is_none")]
    pub secure: Option<bool>,
    /// The path of its URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Its weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Its priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u16>,
    /// Its vocabulary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<Dialect>,
    /// Its era.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub era: Option<EraChoice>,
    /// What else there is to say.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("url", &self.url.as_deref().map(shown_url))
            .field("address", &self.address.as_deref().map(shown::name))
            .field("port", &self.port)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It is longer than a record may be.
    #[error("it is longer than {RECORD_BYTES_MAX} bytes")]
    TooLong,
    /// It is no JSON, or no record.
    #[error("{key}: {reason}")]
    Unreadable {
        /// The key, as a path; `record` for the whole.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A key is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A value cannot be used.
    #[error("{key}: {reason}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Its name is no server id.
    #[error(transparent)]
    Id(#[from] InvalidId),
}

impl Record {
    /// A record that says only where the server is.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: Some(url.into()), ..Self::default() }
    }

    /// Reads the JSON of a record.
    ///
    /// # Errors
    /// The first mistake, with its key.
    pub fn parse(text: &[u8]) -> Result<Self, RecordError> {
        if text.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLong);
        }
        let unreadable = |ConfigError { key, reason }: ConfigError| {
            // Where the text ends too early there is no key to name.
            let whole = key.is_empty() || key == "?";
            let key = if whole { "record".to_owned() } else { shown::name(&key).into_owned() };
            RecordError::Unreadable { key, reason }
        };
        // A list would be taken for the values in their order.
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err(unreadable(ConfigError::new("", "it is no JSON object")));
        }
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let record: Self = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|error| unreadable(shown::mistake(error)))?;
        let end = deserializer.end();
        end.map_err(|error| unreadable(ConfigError::new("", shown::words(&error))))?;
        Ok(record)
    }

    /// The JSON of the record, as a directory keeps it.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a record has nothing that JSON cannot say")
    }

    /// The record, with what it leaves out taken from `defaults`. One with a `url` takes no part of an address.
    #[must_use]
    pub fn or(self, defaults: &Self) -> Self {
        let whole = self.url.is_some();
        let part = |own: Option<String>, default: &Option<String>| match whole {
            true => own,
            false => own.or_else(|| default.clone()),
        };
        let mut metadata = defaults.metadata.clone();
        metadata.extend(self.metadata);
        Self {
            kind: self.kind.or(if whole { None } else { defaults.kind }),
            address: part(self.address, &defaults.address),
            port: if whole { self.port } else { self.port.or(defaults.port) },
            secure: if whole { self.secure } else { self.secure.or(defaults.secure) },
            path: part(self.path, &defaults.path),
            url: self.url,
            group: self.group.or_else(|| defaults.group.clone()),
            tags: self.tags.or_else(|| defaults.tags.clone()),
            weight: self.weight.or(defaults.weight),
            priority: self.priority.or(defaults.priority),
            dialect: self.dialect.or(defaults.dialect),
            era: self.era.or(defaults.era),
            metadata,
        }
    }

    /// The server that it describes, under this id. What it says of group, tags and weight is checked as a configured
    /// server's is, when it joins.
    ///
    /// # Errors
    /// A part that is missing or contradicts another, or an id that is none.
    pub fn server(self, id: &str) -> Result<Server, RecordError> {
        crate::id::ServerId::new(id)?;
        let url = self.located()?;
        let mut server = match self.kind() {
            RecordKind::Websocket => Server::websocket(id, url),
            RecordKind::Http => Server::http(id, url),
        };
        server.group = self.group;
        server.tags = self.tags.unwrap_or_default();
        server.weight = self.weight.unwrap_or(server.weight);
        server.priority = self.priority.unwrap_or(server.priority);
        server.dialect = self.dialect.unwrap_or_default();
        server.era = self.era.unwrap_or_default();
        server.metadata = self.metadata;
        Ok(server)
    }

    /// What it says, or what its URL begins with.
    fn kind(&self) -> RecordKind {
        let by_url = || match self.url.as_deref().unwrap_or_default().split_once("://") {
            Some(("http" | "https", _)) => RecordKind::Http,
            Some(_) | None => RecordKind::Websocket,
        };
        self.kind.unwrap_or_else(by_url)
    }

    /// Its URL, given as it is or in parts.
    fn located(&self) -> Result<String, RecordError> {
        if let Some(url) = &self.url {
            let parts =
                [self.address.is_some(), self.port.is_some(), self.secure.is_some(), self.path.is_some()];
            if parts.contains(&true) {
                let reason =
                    "stands beside address, port, secure or path: say it whole or in parts".to_owned();
                return Err(RecordError::Invalid { key: "url", reason });
            }
            return Ok(url.clone());
        }
        let address = self.address.as_deref().ok_or(RecordError::Missing("address"))?;
        let port = self.port.ok_or(RecordError::Missing("port"))?;
        if port == 0 {
            return Err(RecordError::Invalid { key: "port", reason: "0 is no port".to_owned() });
        }
        let path = self.path.as_deref().unwrap_or("/");
        if !path.starts_with('/') {
            return Err(RecordError::Invalid { key: "path", reason: "does not begin with /".to_owned() });
        }
        let host = host(address)?;
        let scheme = match (self.kind(), self.secure.unwrap_or_default()) {
            (RecordKind::Websocket, false) => "ws",
            (RecordKind::Websocket, true) => "wss",
            (RecordKind::Http, false) => "http",
            (RecordKind::Http, true) => "https",
        };
        Ok(format!("{scheme}://{host}:{port}{path}"))
    }
}

/// A name that a directory chose, as an id: as it is where it is one, else what of it may stand in one and a sum that keeps
/// it apart from others.
#[cfg(any(feature = "consul", feature = "dns"))]
pub(super) fn fitted_id(name: &str) -> String {
    if crate::id::ServerId::new(name).is_ok() {
        return name.to_owned();
    }
    // FNV-1a: the same in every process, and nobody gains by a collision.
    let sum = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '-' };
    let kept: String = name.chars().map(plain).take(crate::id::ID_BYTES_MAX - 17).collect();
    format!("{kept}-{sum:016x}")
}

/// An address as it stands in a URL.
fn host(address: &str) -> Result<String, RecordError> {
    if let Ok(ip) = address.parse::<std::net::Ipv6Addr>() {
        return Ok(format!("[{ip}]"));
    }
    // A final dot says that a name is complete; certificates do not have it.
    let name = address.strip_suffix('.').unwrap_or(address);
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if name.is_empty() || !name.bytes().all(plain) {
        let reason = "is no host name and no IP address".to_owned();
        return Err(RecordError::Invalid { key: "address", reason });
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Endpoint;

    fn url(text: &str) -> String {
        let server = Record::parse(text.as_bytes()).unwrap().server("s").unwrap();
        match server.endpoint {
            Endpoint::WebSocket { url, .. } | Endpoint::Http { url, .. } => url,
            Endpoint::Stdio { .. } | Endpoint::Custom => panic!("a record names neither"),
        }
    }

    fn mistake(text: &str) -> String {
        let record = Record::parse(text.as_bytes());
        record.and_then(|record| record.server("s")).unwrap_err().to_string()
    }

    #[test]
    fn a_place_is_said_whole_or_in_parts() {
        assert_eq!(url(r#"{"url":"wss://h:1/mcp?k=v"}"#), "wss://h:1/mcp?k=v");
        assert_eq!(url(r#"{"address":"10.0.0.7","port":3000}"#), "ws://10.0.0.7:3000/");
        for secure in ["secure", "tls"] {
            let record = format!(r#"{{"address":"a.example.","port":1,"{secure}":true,"path":"/p"}}"#);
            assert_eq!(url(&record), "wss://a.example:1/p");
        }
        assert_eq!(url(r#"{"address":"fe80::1","port":1,"type":"websocket"}"#), "ws://[fe80::1]:1/");
        assert_eq!(url(r#"{"address":"h","port":1,"type":"http","path":"/mcp"}"#), "http://h:1/mcp");
        let server = Record::at("https://h/mcp").server("s").unwrap();
        assert!(matches!(server.endpoint, Endpoint::Http { .. }));
    }

    #[test]
    fn a_mistake_is_one_error_that_names_the_key() {
        for (text, begins) in [
            ("", "record: it is no JSON object"),
            ("[]", "record: it is no JSON object"),
            ("{", "record: EOF"),
            ("{}x", "record: trailing"),
            ("{}", "address is missing"),
            (r#"{"address":"h"}"#, "port is missing"),
            (r#"{"address":"h","port":0}"#, "port: 0"),
            (r#"{"address":"h","port":70000}"#, "port: invalid value"),
            (r#"{"address":"user@h","port":1}"#, "address: is no host name"),
            (r#"{"address":"h","port":1,"path":"p"}"#, "path: does not begin"),
            (r#"{"url":"ws://h","port":1}"#, "url: stands beside"),
            (r#"{"url":"ws://h","command":"rm"}"#, "command: unknown field"),
            (r#"{"type":"stdio"}"#, "type: unknown variant"),
            (r#"{"url":"ws://h","metadata":{"n":1}}"#, "metadata.n: invalid type"),
        ] {
            assert!(mistake(text).starts_with(begins), "{text}: {}", mistake(text));
        }
        assert!(matches!(Record::at("ws://h").server("a/b"), Err(RecordError::Id(_))));
        let long = vec![b' '; RECORD_BYTES_MAX + 1];
        assert_eq!(Record::parse(&long), Err(RecordError::TooLong));
    }

    #[test]
    fn what_a_record_leaves_out_comes_from_the_defaults() {
        let defaults =
            r#"{"path":"/mcp","secure":true,"group":"g","tags":["t"],"metadata":{"a":"1","b":"1"}}"#;
        let defaults = Record::parse(defaults.as_bytes()).unwrap();
        let record =
            Record::parse(br#"{"address":"h","port":1,"group":"own","metadata":{"b":"2"}}"#).unwrap();
        let server = record.or(&defaults).server("s").unwrap();
        let expected = Server::websocket("s", "wss://h:1/mcp").group("own").tag("t");
        assert_eq!(server, expected.metadata("a", "1").metadata("b", "2"));
        // A whole URL is not mixed with the parts of another.
        let whole = Record::at("ws://h:1/x").or(&defaults).server("s").unwrap();
        assert!(matches!(whole.endpoint, Endpoint::WebSocket { url, .. } if url == "ws://h:1/x"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was(
            address in "[a-z]{1,9}", port in 1u16.., weight in proptest::option::of(1u32..1000),
            tags in proptest::option::of(proptest::collection::vec("[a-z]{1,5}", 0..3)),
            metadata in proptest::collection::btree_map("[a-z]{1,5}", ".*", 0..3),
        ) {
            let record = Record {
                address: Some(address), port: Some(port), weight, tags, metadata,
                dialect: Some(Dialect::ToolExecute), era: Some(EraChoice::Legacy), ..Record::default()
            };
            prop_assert_eq!(Record::parse(record.to_json().as_bytes()), Ok(record));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = Record::parse(text.as_bytes()).map(|record| record.server("s"));
        }
    }
}
