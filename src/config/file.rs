//! `servers.json`: the `mcpServers` file that MCP clients already use, with our keys beside it.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::expand::{Lookup, expand};
use super::mistakes::read_value;
#[cfg(feature = "schema")]
use super::schema::{self, Reference};
use super::source::WrittenSource;
use super::{
    BreakerSettings, ConfigError, Dialect, Endpoint, EraChoice, LoosePermissions, Place, PoolSettings,
    ProxyChoice, Server, Settings, SourceConfig, SubprotocolChoice, TlsOptions, duration, permissions, shown,
};
use crate::secret::Secret;

/// Where a mistake is that concerns the file as a whole.
pub(super) const WHOLE: &str = "servers.json";

/// What a `servers.json` says.
///
/// ```
/// let file = mcp_troupe::ConfigFile::parse(r#"{
///     "mcpServers": {
///         "files": { "url": "ws://127.0.0.1:3000", "tags": ["storage"] },
///         "db":    { "url": "ws://127.0.0.1:3001", "timeout": "5s" }
///     },
///     "troupe": { "strategy": "round-robin" }
/// }"#)?;
/// assert_eq!(file.servers.len(), 2);
/// # Ok::<(), mcp_troupe::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ConfigFile {
    /// The servers, in the file's order.
    pub servers: Vec<Server>,
    /// The sources of servers, in the file's order, which settles whose an id is that several name.
    pub sources: Vec<SourceConfig>,
    /// The settings; the defaults where the file has none.
    pub settings: Settings,
    /// What of it others than its owner may write, where it was read by a [`ConfigWatch`](crate::ConfigWatch): the troupe that
    /// is given it tells them ([`Event::LoosePermissions`](crate::Event::LoosePermissions)).
    pub loose: Vec<LoosePermissions>,
}

impl ConfigFile {
    /// Reads the text of a `servers.json`, and the secrets that it takes from elsewhere: `${env:NAME}` and `${file:PATH}` in
    /// `bearer` and in the values of `headers` and `env`. A secret that changes takes effect when the file is read again.
    ///
    /// # Errors
    /// The first mistake, with its key as a path and its line: unknown keys, wrong types, values out of range, an id
    /// that stands twice, a server without `url` or `command`, keys that belong to another kind of server, or a secret that
    /// is not there. Of values that may be a secret, in the right place or a wrong one, it says nothing; numbers, and names of
    /// strategies and sources, are told.
    ///
    /// Files that hold secrets are read on this thread, which waits for the disk: [`ConfigWatch`](crate::ConfigWatch) does it on
    /// another one.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Self::parse_with(text, &|name| std::env::var_os(name)).map_err(ConfigError::shown)
    }

    fn parse_with(text: &str, lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let written: Written = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let ConfigError { key, reason } = shown::mistake(error);
            ConfigError { key: if key.is_empty() { WHOLE.to_owned() } else { key }, reason }
        })?;
        deserializer.end().map_err(|error| ConfigError::new(WHOLE, shown::words(&error)))?;
        let keys: Keys =
            serde_json::from_str(text).map_err(|error| ConfigError::new(WHOLE, shown::words(&error)))?;
        written.troupe.check().map_err(|error| error.under("troupe"))?;
        let servers = written
            .servers
            .0
            .into_iter()
            .map(|(id, server)| {
                let said = keys.servers.get(&id).cloned().unwrap_or_default();
                let mut server = server.with_processes(said.names("max"));
                server
                    .expand(&id, lookup)
                    .and_then(|()| server.into_server(id))
                    .map_err(|error| error.under("mcpServers"))
            })
            .collect::<Result<Vec<_>, _>>()?;
        for (order, server) in servers.iter().enumerate() {
            let spec = server.clone().settle(&written.troupe.pool, &written.troupe.breaker, order);
            spec.map_err(|error| error.under("mcpServers"))?;
        }
        let mut sources: Vec<SourceConfig> = Vec::with_capacity(written.discovery.len());
        for (index, source) in written.discovery.into_iter().enumerate() {
            let at = format!("discovery[{index}]");
            let source = source.into_source().map_err(|error| error.under(&at))?;
            if sources.iter().any(|known| known.name == source.name) {
                let reason = format!("two sources are called {:?}: give one another name", source.name);
                return Err(ConfigError::new(format!("{at}.name"), reason));
            }
            sources.push(source);
        }
        Ok(Self { servers, sources, settings: written.troupe, loose: Vec::new() })
    }

    /// Files and folders that start commands and that others than their owners may write: the `servers.json` at `path`, the
    /// folder that it is in, and what its sources of files read. It waits for the disk.
    pub fn loose_permissions(&self, path: impl AsRef<Path>) -> Vec<LoosePermissions> {
        let of_sources = self.sources.iter().filter_map(|source| match &source.place {
            Place::File { path, .. } => permissions::of(path),
            Place::Dns { .. } | Place::Consul { .. } | Place::Etcd { .. } => None,
        });
        permissions::of_file(path.as_ref()).chain(of_sources).collect()
    }
}

/// Servers by the ids that the file gives them, or what is wrong with each.
pub(crate) type ServersOneByOne = Vec<(String, Result<Server, ConfigError>)>;

/// The servers of a file that has nothing else, each read for itself: what is wrong with one concerns that one alone. It waits
/// for the disk where secrets stand in further files.
///
/// # Errors
/// What is wrong with the file as a whole.
pub(crate) fn servers_one_by_one(text: &str) -> Result<ServersOneByOne, ConfigError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Written {
        #[serde(rename = "$schema")]
        _schema: Option<String>,
        #[serde(rename = "mcpServers")]
        servers: InOrder<Box<serde_json::value::RawValue>>,
    }
    let written: Written =
        serde_json::from_str(text).map_err(|error| ConfigError::new("mcpServers", shown::words(&error)))?;
    let servers = written.servers.0.into_iter().map(|(id, written)| {
        let mut deserializer = serde_json::Deserializer::from_str(written.get());
        let server: Result<WrittenServer, _> = serde_path_to_error::deserialize(&mut deserializer);
        let server = server
            .map_err(|error| {
                let ConfigError { key, reason } = shown::mistake(error);
                ConfigError { key: if key.is_empty() { id.clone() } else { format!("{id}.{key}") }, reason }
            })
            .and_then(|server| {
                let keys: ServerKeys = serde_json::from_str(written.get()).unwrap_or_default();
                let mut server = server.with_processes(keys.names("max"));
                server.expand(&id, &|name| std::env::var_os(name))?;
                server.into_server(id.clone())
            });
        (id, server.map_err(ConfigError::shown))
    });
    Ok(servers.collect())
}

/// The `servers.json` of mcp-troupe: the `mcpServers` file of MCP clients, with keys of our own.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    /// Where the schema of this file is, for editors.
    #[serde(rename = "$schema")]
    _schema: Option<String>,
    /// The servers, by the ids that the operator gives them.
    #[serde(rename = "mcpServers")]
    servers: InOrder<WrittenServer>,
    /// The sources of servers; their order settles whose an id is that several name.
    #[serde(default)]
    discovery: Vec<WrittenSource>,
    /// The settings.
    #[serde(default)]
    troupe: Settings,
}

/// The keys that the servers' pools name: of a setting alone nobody can tell whether it was said or is the default.
#[derive(Deserialize)]
struct Keys {
    #[serde(rename = "mcpServers")]
    servers: BTreeMap<String, ServerKeys>,
}

#[derive(Clone, Default, Deserialize)]
struct ServerKeys {
    #[serde(default)]
    pool: Option<BTreeMap<String, IgnoredAny>>,
}

impl ServerKeys {
    fn names(&self, key: &str) -> bool {
        self.pool.as_ref().is_some_and(|pool| pool.contains_key(key))
    }
}

/// Servers in the file's order; a JSON map would silently keep the last of two equal ids.
pub(super) struct InOrder<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for InOrder<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Servers<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Servers<T> {
            type Value = InOrder<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of servers by id")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut servers: Vec<(String, T)> = Vec::new();
                while let Some(id) = map.next_key::<String>()? {
                    if servers.iter().any(|(known, _)| *known == id) {
                        return Err(serde::de::Error::custom(format!("the id {id:?} stands twice")));
                    }
                    servers.push((id, map.next_value()?));
                }
                Ok(InOrder(servers))
            }
        }

        deserializer.deserialize_map(Servers(PhantomData))
    }
}

/// How a server is reached, where it is said and not told by `url` or `command`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
// The schema knows no aliases by itself, and nothing of what is read only to be refused with a reason.
#[cfg_attr(
    feature = "schema",
    schemars(
        rename = "ServerType",
        extend("enum" = ["websocket", "ws", "stdio", "http", "streamable-http", "streamableHttp"])
    )
)]
enum Kind {
    #[serde(rename = "websocket", alias = "ws")]
    WebSocket,
    #[serde(rename = "stdio")]
    Stdio,
    #[serde(rename = "http", alias = "streamable-http", alias = "streamableHttp")]
    Http,
    #[serde(rename = "sse")]
    Sse,
}

/// One server: where it is, and what differs from the troupe's settings.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Server", transform = schema::one_way_to_reach_it))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct WrittenServer {
    /// How it is reached; told by `url` or `command` unless said.
    #[serde(rename = "type")]
    kind: Option<Kind>,
    /// Where it is: `http://`, `https://`, `ws://` or `wss://`, without user info.
    url: Option<String>,
    /// Headers of the WebSocket upgrade request, or of every HTTP request. Values may be `${env:NAME}` or `${file:PATH}`.
    #[cfg_attr(feature = "schema", schemars(with = "Option<BTreeMap<String, Reference>>"))]
    headers: Option<BTreeMap<String, Secret>>,
    /// The token of their header `Authorization: Bearer`, such as `${env:NAME}` or `${file:PATH}`.
    #[cfg_attr(feature = "schema", schemars(with = "Option<Reference>"))]
    bearer: Option<Secret>,
    /// The WebSocket subprotocol that is offered: `auto`, `none`, a name or a list of names.
    subprotocol: Option<WrittenSubprotocol>,
    /// Whether HTTP requests go through a proxy.
    proxy: Option<ProxyChoice>,
    /// How a server at `wss` or `https` is verified, and the certificate that it is shown.
    tls: Option<TlsOptions>,
    /// Instead of `url`: the program of a stdio server, a path or a name in `PATH`.
    command: Option<String>,
    /// Its arguments; no shell reads them.
    args: Option<Vec<String>>,
    /// Variables on top of the few that it inherits. Values may be `${env:NAME}` or `${file:PATH}`.
    #[cfg_attr(feature = "schema", schemars(with = "Option<BTreeMap<String, Reference>>"))]
    env: Option<BTreeMap<String, Secret>>,
    /// The folder that it runs in; the host's unless said.
    cwd: Option<PathBuf>,
    /// Servers of one group are replicas of each other; its id unless said.
    group: Option<String>,
    /// Calls can select by them.
    #[serde(default)]
    tags: Vec<String>,
    /// Its share of the calls beside its replicas', 1 to 1000: 100.
    weight: Option<u32>,
    /// As in DNS: replicas of a higher number are asked only while all of a lower one are down.
    #[serde(default)]
    priority: u16,
    /// Whether what it says of its tools, such as that they only read, is believed.
    #[serde(default)]
    trusted: bool,
    /// Texts by name, shown with the server.
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    /// The vocabulary that it speaks.
    #[serde(default)]
    dialect: Dialect,
    /// The era of MCP that it speaks.
    #[serde(default)]
    era: EraChoice,
    /// Whether an HTTP server is asked for a stream of what it says unasked: yes, unless this is false.
    stream: Option<bool>,
    /// Deadline of calls to it.
    #[serde(default, with = "duration::OptionalText")]
    timeout: Option<Duration>,
    /// Pool settings of its own; what they leave out has its default, not what the troupe's say.
    pool: Option<PoolSettings>,
    /// Breaker settings of its own; what they leave out has its default, not what the troupe's say.
    breaker: Option<BreakerSettings>,
}

/// `"auto"`, `"none"`, one name or a list of names.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
enum WrittenSubprotocol {
    One(String),
    Several(Vec<String>),
}

impl WrittenSubprotocol {
    fn choice(self) -> SubprotocolChoice {
        match self {
            Self::One(name) => match name.as_str() {
                "auto" => SubprotocolChoice::Auto,
                "none" => SubprotocolChoice::None,
                _ => SubprotocolChoice::Offer(vec![name]),
            },
            Self::Several(names) => SubprotocolChoice::Offer(names),
        }
    }
}

/// Reads one server for itself. A mistake names its key, with or without the server's id before it.
pub(super) fn read_server(id: &str, value: &serde_json::Value) -> Result<Server, ConfigError> {
    let written: WrittenServer = read_value(value)?;
    let names_max = value.get("pool").is_some_and(|pool| pool.get("max").is_some());
    let mut written = written.with_processes(names_max);
    written.expand(id, &|name| std::env::var_os(name))?;
    written.into_server(id.to_owned())
}

impl WrittenServer {
    /// More processes than one only where the file says so.
    fn with_processes(mut self, names_max: bool) -> Self {
        if let Some(pool) = self.pool.as_mut().filter(|_| self.command.is_some() && !names_max) {
            pool.max = pool.min;
        }
        self
    }

    /// Puts the secrets in that stand elsewhere.
    fn expand(&mut self, id: &str, lookup: Lookup<'_>) -> Result<(), ConfigError> {
        let bearer = self.bearer.iter_mut().map(|value| ("bearer".to_owned(), value));
        let headers = self.headers.iter_mut().flatten();
        let headers = headers.map(|(name, value)| (format!("headers.{name}"), value));
        let env = self.env.iter_mut().flatten().map(|(name, value)| (format!("env.{name}"), value));
        for (key, value) in bearer.chain(headers).chain(env) {
            *value = expand(value, lookup)
                .map_err(|error| ConfigError::new(format!("{id}.{key}"), error.to_string()))?;
        }
        Ok(())
    }

    fn into_server(self, id: String) -> Result<Server, ConfigError> {
        let at = |key: &str| format!("{id}.{key}");
        let kind = match (self.kind, &self.url, &self.command) {
            (Some(kind), _, _) => kind,
            (None, Some(_), Some(_)) => {
                let reason = "stands beside command: a server is reached by one of them";
                return Err(ConfigError::new(at("url"), reason));
            }
            (None, Some(url), None) if url.starts_with("ws://") || url.starts_with("wss://") => {
                Kind::WebSocket
            }
            (None, Some(_), None) => Kind::Http,
            (None, None, Some(_)) => Kind::Stdio,
            (None, None, None) => {
                let (key, given) = match (&self.args, &self.env, &self.cwd) {
                    (None, None, None) => ("url", "say where the server is, by url or command"),
                    (_, _, _) => ("command", "args, env and cwd are those of a command"),
                };
                return Err(ConfigError::new(at(key), format!("is missing: {given}")));
            }
        };
        self.reject_keys_of_others(kind).map_err(|error| error.under(&id))?;
        let missing =
            |key: &str, kind: &str| ConfigError::new(at(key), format!("is missing: {kind} server needs one"));
        let headers = self.headers.unwrap_or_default().into_iter().collect();
        let endpoint = match kind {
            Kind::WebSocket => {
                let url = self.url.ok_or_else(|| missing("url", "a websocket"))?;
                let subprotocol =
                    self.subprotocol.map_or(SubprotocolChoice::Auto, WrittenSubprotocol::choice);
                Endpoint::WebSocket { url, headers, subprotocol }
            }
            Kind::Http => {
                let url = self.url.ok_or_else(|| missing("url", "an http"))?;
                Endpoint::Http { url, headers, proxy: self.proxy.unwrap_or_default() }
            }
            Kind::Sse => {
                let reason =
                    "the old HTTP+SSE transport is not supported: name the server's Streamable HTTP url";
                return Err(ConfigError::new(at("type"), reason));
            }
            Kind::Stdio => {
                let command = self.command.ok_or_else(|| missing("command", "a stdio"))?;
                let (args, env) = (self.args.unwrap_or_default(), self.env.unwrap_or_default());
                Endpoint::Stdio { command, args, env, cwd: self.cwd }
            }
        };
        let mut server = Server::at(id, endpoint);
        if let Some(token) = self.bearer {
            server = server.bearer(token);
        }
        server.tls = self.tls.unwrap_or_default();
        server.group = self.group;
        server.tags = self.tags;
        server.weight = self.weight.unwrap_or(server.weight);
        server.priority = self.priority;
        server.trusted = self.trusted;
        server.metadata = self.metadata;
        server.dialect = self.dialect;
        server.era = self.era;
        server.stream = self.stream.unwrap_or(true);
        server.timeout = self.timeout;
        server.pool = self.pool;
        server.breaker = self.breaker;
        Ok(server)
    }

    /// A key that has no meaning for this kind of server is a mistake of somebody who thinks that it has.
    fn reject_keys_of_others(&self, kind: Kind) -> Result<(), ConfigError> {
        let of_command = [
            ("command", self.command.is_some()),
            ("args", self.args.as_ref().is_some_and(|args| !args.is_empty())),
            ("env", self.env.as_ref().is_some_and(|env| !env.is_empty())),
            ("cwd", self.cwd.is_some()),
        ];
        let of_url = [
            ("url", self.url.is_some()),
            ("headers", self.headers.as_ref().is_some_and(|headers| !headers.is_empty())),
            ("bearer", self.bearer.is_some()),
            ("tls", self.tls.is_some()),
        ];
        let of_websocket = [("subprotocol", self.subprotocol.is_some())];
        let of_http = [("proxy", self.proxy.is_some()), ("stream", self.stream.is_some())];
        let (kind, others): (_, [&[(&str, bool)]; 3]) = match kind {
            Kind::WebSocket => ("websocket", [&of_command, &of_http, &[]]),
            Kind::Http | Kind::Sse => ("http", [&of_command, &of_websocket, &[]]),
            Kind::Stdio => ("stdio", [&of_url, &of_websocket, &of_http]),
        };
        match others.concat().iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(ConfigError::new(*key, format!("has no meaning for a {kind} server"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a file of the tests, which the schema judges as the parser does.
    fn parse(text: &str) -> Result<ConfigFile, ConfigError> {
        #[cfg(feature = "schema")]
        schema::tests::agrees(&schema::tests::validator(), text);
        ConfigFile::parse(text)
    }

    fn mistake(text: &str) -> ConfigError {
        parse(text).unwrap_err()
    }

    #[test]
    fn the_file_of_other_clients_is_read_as_it_is() {
        let file = parse(
            r#"{"mcpServers":{"b":{"url":"ws://h:1","headers":{"Authorization":"Bearer x"}},"a":{"url":"wss://h"}}}"#,
        )
        .unwrap();
        assert_eq!(file.servers.iter().map(Server::id).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(file.settings, Settings::default());
    }

    #[test]
    fn a_mistake_names_its_key_as_a_path() {
        assert_eq!(mistake(r#"{"mcpServers":{"a":{"url":"ws://h","wieght":1}}}"#).key, "mcpServers.a.wieght");
        assert_eq!(mistake(r#"{"mcpServers":{"a":{}}}"#).key, "mcpServers.a.url");
        assert_eq!(mistake(r#"{"mcpServers":{"a":{"url":"ws://h","weight":0}}}"#).key, "mcpServers.a.weight");
        assert_eq!(
            mistake(r#"{"mcpServers":{},"troupe":{"pool":{"idleTimeout":"soon"}}}"#).key,
            "troupe.pool.idleTimeout"
        );
        assert_eq!(mistake(r#"{"mcpServers":{},"troupe":{"pool":{"min":9}}}"#).key, "troupe.pool.min");
        assert_eq!(mistake("[]").key, "servers.json");
    }

    #[test]
    fn a_value_of_a_wrong_type_is_told_by_its_type_alone() {
        for (server, key, says) in [
            (r#"{"command":"npx","args":"--token s3cret"}"#, "args", "a string, expected a list"),
            (r#"{"command":"npx","env":"TOKEN=s3cret"}"#, "env", "a string, expected an object"),
            (r#"{"url":"https://h","headers":"X-Key: s3cret"}"#, "headers", "a string, expected an object"),
            (r#"{"url":["https://h/s3cret"]}"#, "url", "a list, expected a string"),
            (r#"{"url":"https://h","bearer":{"token":"s3cret"}}"#, "bearer", "is no string"),
            (r#"{"url":"https://h","timeout":"s3cret"}"#, "timeout", "is no duration"),
            (r#"{"url":"https://h","type":"s3cret"}"#, "type", "unknown variant, expected one of"),
            (r#"{"url":"https://h","apiKey":"s3cret"}"#, "apiKey", "unknown field `apiKey`"),
            (r#"{"command":"npx","env":{"TOKEN=s3cret":1}}"#, "env.TOKEN…", "is no string"),
        ] {
            let text = format!(r#"{{"mcpServers":{{"a":{server}}}}}"#);
            let error = mistake(&text);
            assert_eq!(error.key, format!("mcpServers.a.{key}"), "{server}");
            assert!(
                error.reason.contains(says) && !error.to_string().contains("s3cret"),
                "{server}: {error}"
            );
            let (_, read) = servers_one_by_one(&text).unwrap().remove(0);
            assert!(read.is_err_and(|error| !error.to_string().contains("s3cret")), "{server}");
        }
    }

    #[test]
    fn sources_are_read_in_their_order_with_their_kinds_as_names() {
        let file = parse(
            r#"{"mcpServers":{}, "discovery":[
                {"type":"file","path":"servers.d","interval":"5s"},
                {"type":"etcd","endpoints":["http://h:1"],"prefix":"/p/","user":"u","password":"s3cret",
                 "headers":{"Authorization":"s3cret"}, "rules":{"removalGrace":"1s"}},
                {"type":"consul","url":"http://h:8500","service":"files","token":"s3cret","tags":["mcp"]},
                {"type":"dns","name":"internal","srv":"_mcp._tcp.h","nameServers":["127.0.0.1:53"]}]}"#,
        )
        .unwrap();
        let names: Vec<&str> = file.sources.iter().map(|source| source.name.as_str()).collect();
        assert_eq!(names, ["file", "etcd", "consul", "internal"]);
        assert!(!format!("{file:?}").contains("s3cret"));
    }

    #[test]
    fn a_mistake_in_a_source_names_its_key() {
        let at = |source: &str| {
            let error = mistake(&format!(r#"{{"mcpServers":{{}},"discovery":[{source}]}}"#));
            (error.key, error.reason)
        };
        let (key, reason) = at(r#"{"type":"dns","srv":"h","prefix":"/p"}"#);
        assert_eq!(key, "discovery[0].prefix");
        assert!(reason.contains("type dns, which has srv, host, port, nameServers"), "{reason}");
        for (source, key) in [
            (r#"{"type":"file"}"#, "path"),
            (r#"{"type":"file","path":"p","interval":"0s"}"#, "interval"),
            (r#"{"type":"file","path":"p","headers":{"a":"b"}}"#, "headers"),
            (r#"{"type":"dns"}"#, "srv"),
            (r#"{"type":"dns","host":"h"}"#, "port"),
            (r#"{"type":"dns","srv":"h","port":1}"#, "port"),
            (r#"{"type":"etcd","endpoints":[],"prefix":"/p"}"#, "endpoints"),
            (r#"{"type":"etcd","endpoints":["h"],"prefix":"/p","user":"u"}"#, "password"),
            (r#"{"type":"etcd","endpoints":["h"],"prefix":"/p","tls":{"ca":"f"}}"#, "tls.ca"),
            (r#"{"type":"file","path":"p","rules":{"emptyAnswers":0}}"#, "rules.emptyAnswers"),
            (r#"{"type":"consul","url":"http://h"}"#, "service"),
            (r#"{"type":"consul","service":"s"}"#, "url"),
            (r#"{"type":"zookeeper"}"#, "type"),
            (r#"{"type":"file","path":"p"},{"type":"file","path":"q"}"#, "name"),
        ] {
            let (found, reason) = at(source);
            assert!(found.ends_with(&format!("].{key}")), "{source}: {found}: {reason}");
        }
    }

    #[test]
    fn an_id_that_stands_twice_is_an_error() {
        let error = mistake(r#"{"mcpServers":{"a":{"url":"ws://h"},"a":{"url":"ws://i"}}}"#);
        assert!(error.reason.contains("\"a\" stands twice"), "{error}");
    }

    #[test]
    fn a_command_makes_a_stdio_server_with_one_process() {
        let file = parse(
            r#"{"mcpServers":{
                "a": {"command": "npx", "args": ["-y", "x"], "env": {"TOKEN": "t"}, "cwd": "/srv"},
                "b": {"type": "stdio", "command": "b", "pool": {"handshakeTimeout": "60s"}},
                "c": {"command": "c", "pool": {"min": 2}},
                "d": {"command": "d", "pool": {"max": 3}}
            }}"#,
        )
        .unwrap();
        let expected = Server::stdio("a", "npx", ["-y", "x"]).env("TOKEN", "t").cwd("/srv");
        assert_eq!(file.servers[0], expected);
        let pools = file.servers.iter().filter_map(|server| server.pool.as_ref());
        assert_eq!(pools.map(|pool| (pool.min, pool.max)).collect::<Vec<_>>(), [(1, 1), (2, 2), (1, 3)]);
    }

    #[test]
    fn keys_that_do_not_belong_together_are_told() {
        for (server, key) in [
            (r#"{"command":"x","url":"ws://h"}"#, "url"),
            (r#"{"args":["x"]}"#, "command"),
            (r#"{"env":{"A":"b"}}"#, "command"),
            (r#"{"type":"stdio"}"#, "command"),
            (r#"{"type":"stdio","url":"ws://h"}"#, "url"),
            (r#"{"type":"websocket","command":"x"}"#, "command"),
            (r#"{"url":"ws://h","args":["x"]}"#, "args"),
            (r#"{"command":"x","headers":{"A":"b"}}"#, "headers"),
            (r#"{"command":"x","subprotocol":"mcp"}"#, "subprotocol"),
            (r#"{"command":"x","proxy":"none"}"#, "proxy"),
            (r#"{"command":"x","bearer":"t"}"#, "bearer"),
            (r#"{"url":"ws://h","bearer":""}"#, "bearer"),
            (r#"{"url":"ws://h","bearer":"t","headers":{"authorization":"x"}}"#, "bearer"),
            (r#"{"command":"x","tls":{}}"#, "tls"),
            (r#"{"url":"http://h","tls":{"caFile":"ca.pem"}}"#, "tls"),
            (r#"{"url":"https://h","tls":{"certFile":"c.pem"}}"#, "tls.keyFile"),
            (r#"{"url":"https://h","tls":{"ca":"ca.pem"}}"#, "tls.ca"),
            (r#"{"url":"http://h","subprotocol":"mcp"}"#, "subprotocol"),
            (r#"{"url":"ws://h","proxy":"none"}"#, "proxy"),
            (r#"{"type":"http"}"#, "url"),
            (r#"{"command":""}"#, "command"),
            (r#"{"command":"x","env":{"A=B":"c"}}"#, "env"),
            (r#"{"command":"x","env":{"A":1}}"#, "env.A"),
            (r#"{"command":"x","args":"y"}"#, "args"),
        ] {
            let error = mistake(&format!(r#"{{"mcpServers":{{"a":{server}}}}}"#));
            assert_eq!(error.key, format!("mcpServers.a.{key}"), "{server}: {error}");
        }
    }

    #[test]
    fn the_old_sse_transport_is_told() {
        let error = mistake(r#"{"mcpServers":{"a":{"type":"sse","url":"http://h"}}}"#);
        assert!(error.key == "mcpServers.a.type" && error.reason.contains("HTTP+SSE"), "{error}");
    }

    #[test]
    fn an_http_server_is_told_by_its_url_or_its_type() {
        for written in [
            r#"{"url":"https://h/mcp"}"#,
            r#"{"url":"https://h/mcp","type":"http"}"#,
            r#"{"url":"https://h/mcp","type":"streamable-http","proxy":"none"}"#,
        ] {
            let file = parse(&format!(r#"{{"mcpServers":{{"a":{written}}}}}"#)).unwrap();
            assert_eq!(file.servers, [Server::http("a", "https://h/mcp")], "{written}");
        }
        let file = parse(r#"{"mcpServers":{"a":{"url":"http://h","proxy":"environment"}}}"#).unwrap();
        assert_eq!(file.servers, [Server::http("a", "http://h").proxy(ProxyChoice::Environment)]);
    }

    #[test]
    fn secrets_come_from_the_environment_and_what_is_missing_is_told_by_its_key() {
        let lookup = |name: &str| (name == "TOKEN").then(|| "s3cr3t".into());
        let parse =
            |servers: &str| ConfigFile::parse_with(&format!(r#"{{"mcpServers":{servers}}}"#), &lookup);
        let file = parse(
            r#"{
                "a": {"url": "ws://h", "bearer": "${env:TOKEN}"},
                "b": {"url": "http://h", "headers": {"X-Key": "k ${env:TOKEN}"}},
                "c": {"command": "c", "env": {"DB_TOKEN": "${env:TOKEN}", "HOME": "$${HOME}"}}
            }"#,
        )
        .unwrap();
        let none: [&str; 0] = [];
        let expected = [
            Server::websocket("a", "ws://h").bearer("s3cr3t"),
            Server::http("b", "http://h").header("X-Key", "k s3cr3t"),
            Server::stdio("c", "c", none).env("DB_TOKEN", "s3cr3t").env("HOME", "${HOME}"),
        ];
        assert!(file.servers[..2] == expected[..2], "{file:?}");
        assert_eq!(file.servers[2].endpoint, expected[2].endpoint);
        assert!(!format!("{file:?}").contains("s3cr3t"));
        for (server, key) in [
            (r#"{"url":"ws://h","bearer":"${env:NONE}"}"#, "bearer"),
            (r#"{"url":"http://h","headers":{"X-Key":"${env:NONE}"}}"#, "headers.X-Key"),
            (r#"{"command":"c","env":{"T":"${env:NONE}"}}"#, "env.T"),
        ] {
            let error = parse(&format!(r#"{{"a":{server}}}"#)).unwrap_err();
            assert_eq!(error.key, format!("mcpServers.a.{key}"));
            assert!(error.reason.contains("NONE"), "{error}");
        }
    }
}
