//! `servers.json`: the `mcpServers` file that MCP clients already use, with our keys beside it.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::source::WrittenSource;
use super::{
    BreakerSettings, ConfigError, Dialect, Endpoint, EraChoice, PoolSettings, ProxyChoice, Server, Settings,
    SourceConfig, SubprotocolChoice, duration,
};

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
}

impl ConfigFile {
    /// Reads the text of a `servers.json`.
    ///
    /// # Errors
    /// The first mistake, with its key as a path and its line: unknown keys, wrong types, values out of range, an id
    /// that stands twice, a server without `url`.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let written: Written = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
            let path = error.path().to_string();
            let key = if path == "." { "servers.json".to_owned() } else { path };
            ConfigError::new(key, error.into_inner().to_string())
        })?;
        deserializer.end().map_err(|error| ConfigError::new("servers.json", error.to_string()))?;
        written.troupe.check().map_err(|error| error.under("troupe"))?;
        let servers = written
            .servers
            .0
            .into_iter()
            .map(|(id, server)| server.into_server(id).map_err(|error| error.under("mcpServers")))
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
        Ok(Self { servers, sources, settings: written.troupe })
    }
}

/// The servers of a file that has nothing else, each read for itself: what is wrong with one concerns that one alone.
///
/// # Errors
/// What is wrong with the file as a whole.
pub(crate) fn servers_one_by_one(
    text: &str,
) -> Result<Vec<(String, Result<Server, ConfigError>)>, ConfigError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Written {
        #[serde(rename = "mcpServers")]
        servers: InOrder<Box<serde_json::value::RawValue>>,
    }
    let written: Written =
        serde_json::from_str(text).map_err(|error| ConfigError::new("mcpServers", error.to_string()))?;
    let servers = written.servers.0.into_iter().map(|(id, written)| {
        let mut deserializer = serde_json::Deserializer::from_str(written.get());
        let server: Result<WrittenServer, _> = serde_path_to_error::deserialize(&mut deserializer);
        let server = server
            .map_err(|error| {
                let key = format!("{id}.{}", error.path());
                ConfigError::new(key, error.into_inner().to_string())
            })
            .and_then(|server| server.into_server(id.clone()));
        (id, server)
    });
    Ok(servers.collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "mcpServers")]
    servers: InOrder<WrittenServer>,
    #[serde(default)]
    discovery: Vec<WrittenSource>,
    #[serde(default)]
    troupe: Settings,
}

/// Servers in the file's order; a JSON map would silently keep the last of two equal ids.
struct InOrder<T>(Vec<(String, T)>);

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WrittenServer {
    #[serde(rename = "type")]
    kind: Option<Kind>,
    url: Option<String>,
    command: Option<String>,
    #[serde(default, rename = "args")]
    _args: Vec<String>,
    #[serde(default, rename = "env")]
    _env: BTreeMap<String, String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    subprotocol: Option<WrittenSubprotocol>,
    proxy: Option<ProxyChoice>,
    group: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    weight: Option<u32>,
    #[serde(default)]
    priority: u16,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    #[serde(default)]
    dialect: Dialect,
    #[serde(default)]
    era: EraChoice,
    #[serde(default, deserialize_with = "duration::optional")]
    timeout: Option<Duration>,
    pool: Option<PoolSettings>,
    breaker: Option<BreakerSettings>,
}

/// `"auto"`, `"none"`, one name or a list of names.
#[derive(Deserialize)]
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

impl WrittenServer {
    fn into_server(self, id: String) -> Result<Server, ConfigError> {
        let kind = match (self.kind, &self.url, &self.command) {
            (Some(kind), _, _) => kind,
            (None, Some(url), _) if url.starts_with("ws://") || url.starts_with("wss://") => Kind::WebSocket,
            (None, Some(_), _) => Kind::Http,
            (None, None, Some(_)) => Kind::Stdio,
            (None, None, None) => {
                return Err(ConfigError::new(format!("{id}.url"), "is missing: say where the server is"));
            }
        };
        let wrong = |key: &str, reason: &str| Err(ConfigError::new(format!("{id}.{key}"), reason));
        let headers = self.headers.into_iter().collect();
        let endpoint = match (kind, self.url) {
            (Kind::Stdio, _) => {
                return wrong("type", "stdio servers are not supported yet; use a url");
            }
            (Kind::Sse, _) => {
                let reason =
                    "the old HTTP+SSE transport is not supported: name the server's Streamable HTTP url";
                return wrong("type", reason);
            }
            (Kind::WebSocket, None) => return wrong("url", "is missing: a websocket server needs one"),
            (Kind::Http, None) => return wrong("url", "is missing: an http server needs one"),
            (Kind::WebSocket, Some(_)) if self.proxy.is_some() => {
                return wrong("proxy", "is for http servers");
            }
            (Kind::Http, Some(_)) if self.subprotocol.is_some() => {
                return wrong("subprotocol", "is for websocket servers");
            }
            (Kind::WebSocket, Some(url)) => {
                let subprotocol =
                    self.subprotocol.map_or(SubprotocolChoice::Auto, WrittenSubprotocol::choice);
                Endpoint::WebSocket { url, headers, subprotocol }
            }
            (Kind::Http, Some(url)) => Endpoint::Http { url, headers, proxy: self.proxy.unwrap_or_default() },
        };
        let mut server = Server::at(id, endpoint);
        server.group = self.group;
        server.tags = self.tags;
        server.weight = self.weight.unwrap_or(server.weight);
        server.priority = self.priority;
        server.metadata = self.metadata;
        server.dialect = self.dialect;
        server.era = self.era;
        server.timeout = self.timeout;
        server.pool = self.pool;
        server.breaker = self.breaker;
        Ok(server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(text: &str) -> ConfigError {
        ConfigFile::parse(text).unwrap_err()
    }

    #[test]
    fn the_file_of_other_clients_is_read_as_it_is() {
        let file = ConfigFile::parse(
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
    fn sources_are_read_in_their_order_with_their_kinds_as_names() {
        let file = ConfigFile::parse(
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
    fn a_transport_that_does_not_exist_yet_is_told() {
        let error = mistake(r#"{"mcpServers":{"a":{"command":"npx","args":["-y","x"]}}}"#);
        assert_eq!(error.key, "mcpServers.a.type");
        assert!(error.reason.contains("stdio"), "{error}");
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
            let file = ConfigFile::parse(&format!(r#"{{"mcpServers":{{"a":{written}}}}}"#)).unwrap();
            assert_eq!(file.servers, [Server::http("a", "https://h/mcp")], "{written}");
        }
        let file =
            ConfigFile::parse(r#"{"mcpServers":{"a":{"url":"http://h","proxy":"environment"}}}"#).unwrap();
        assert_eq!(file.servers, [Server::http("a", "http://h").proxy(ProxyChoice::Environment)]);
    }

    #[test]
    fn a_key_of_another_transport_is_a_mistake() {
        assert_eq!(
            mistake(r#"{"mcpServers":{"a":{"url":"http://h","subprotocol":"mcp"}}}"#).key,
            "mcpServers.a.subprotocol"
        );
        assert_eq!(
            mistake(r#"{"mcpServers":{"a":{"url":"ws://h","proxy":"none"}}}"#).key,
            "mcpServers.a.proxy"
        );
        assert_eq!(mistake(r#"{"mcpServers":{"a":{"type":"http"}}}"#).key, "mcpServers.a.url");
    }
}
