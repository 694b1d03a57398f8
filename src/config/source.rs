//! Sources of servers as a `servers.json` names them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::settings::time;
use super::{ConfigError, DiscoverySettings, duration, shown, shown_endpoint, shown_url};
use crate::secret::Secret;

/// A source of servers: where it is, and what differs from the troupe's settings.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct SourceConfig {
    /// Its name; the kind of its place unless said.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// How far its answers are believed, unless as the troupe's settings say.
    pub rules: Option<DiscoverySettings>,
    /// What its records leave out, as a record.
    pub defaults: Option<serde_json::Value>,
    /// Headers that each of its servers is sent.
    pub headers: BTreeMap<String, Secret>,
}

impl fmt::Debug for SourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let defaults = self.defaults.as_ref().map(|defaults| match defaults {
            serde_json::Value::Object(said) => shown::names(said.keys()),
            _ => Vec::new(),
        });
        f.debug_struct("SourceConfig")
            .field("name", &self.name)
            .field("place", &self.place)
            .field("rules", &self.rules)
            .field("defaults", &defaults)
            .field("headers", &shown::names(self.headers.keys()))
            .finish()
    }
}

/// Where servers are named.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Place {
    /// A file, or a folder of files.
    File {
        /// Its path.
        path: PathBuf,
        /// How often it is read; a second unless said.
        interval: Option<Duration>,
    },
    /// A name of DNS.
    Dns {
        /// The name.
        name: String,
        /// The port of its addresses; none where its SRV records say.
        port: Option<u16>,
        /// Name servers, unless those of the system.
        name_servers: Vec<SocketAddr>,
    },
    /// A service of Consul.
    Consul {
        /// The agent, `http://…` or `https://…`.
        url: String,
        /// The service.
        service: String,
        /// The ACL token.
        token: Option<Secret>,
        /// The datacenter, unless the agent's.
        datacenter: Option<String>,
        /// Tags that its instances must have.
        tags: Vec<String>,
        /// How the agent is reached over TLS.
        tls: Option<TlsConfig>,
    },
    /// A prefix of etcd's keys.
    Etcd {
        /// The members of one cluster.
        endpoints: Vec<String>,
        /// The prefix.
        prefix: String,
        /// Who signs in.
        user: Option<(String, Secret)>,
        /// How it is reached over TLS.
        tls: Option<TlsConfig>,
    },
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, interval } => {
                f.debug_struct("File").field("path", path).field("interval", interval).finish()
            }
            Self::Dns { name, port, name_servers } => f
                .debug_struct("Dns")
                .field("name", name)
                .field("port", port)
                .field("name_servers", name_servers)
                .finish(),
            Self::Consul { url, service, token, datacenter, tags, tls } => f
                .debug_struct("Consul")
                .field("url", &shown_url(url))
                .field("service", service)
                .field("token", token)
                .field("datacenter", datacenter)
                .field("tags", tags)
                .field("tls", tls)
                .finish(),
            Self::Etcd { endpoints, prefix, user, tls } => f
                .debug_struct("Etcd")
                .field("endpoints", &endpoints.iter().map(|url| shown_endpoint(url)).collect::<Vec<_>>())
                .field("prefix", prefix)
                .field("user", user)
                .field("tls", tls)
                .finish(),
        }
    }
}

/// TLS to a directory.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct TlsConfig {
    /// The file with the authorities that are trusted, unless those that browsers trust.
    pub ca_file: Option<PathBuf>,
    /// The file with our certificate.
    pub cert_file: Option<PathBuf>,
    /// The file with its key.
    pub key_file: Option<PathBuf>,
    /// The name that the directory's certificate is for, unless its host's.
    pub server_name: Option<String>,
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |file: &Option<PathBuf>| file.as_deref().map(|file| shown::path(file).into_owned());
        f.debug_struct("TlsConfig")
            .field("ca_file", &shown(&self.ca_file))
            .field("cert_file", &shown(&self.cert_file))
            .field("key_file", &shown(&self.key_file))
            .field("server_name", &self.server_name)
            .finish()
    }
}

/// The kinds of places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "schema",
    schemars(rename = "SourceType", extend("enum" = ["file", "static", "dns", "consul", "etcd"]))
)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    #[serde(alias = "static")]
    File,
    Dns,
    Consul,
    Etcd,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Dns => "dns",
            Self::Consul => "consul",
            Self::Etcd => "etcd",
        }
    }

    /// The keys that say where it is.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::File => &["path", "interval"],
            Self::Dns => &["srv", "host", "port", "nameServers"],
            Self::Consul => &["url", "service", "token", "datacenter", "tags", "tls"],
            Self::Etcd => &["endpoints", "prefix", "user", "password", "tls"],
        }
    }
}

/// A source of servers.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Source", transform = keys_of_their_kind))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct WrittenSource {
    /// What kind of source it is.
    #[serde(rename = "type")]
    kind: Kind,
    /// Its name; its type unless said.
    name: Option<String>,
    /// `file`: a file of servers, or a folder of them.
    path: Option<PathBuf>,
    /// `file`: how often it is read; a second unless said.
    #[serde(default, with = "duration::OptionalText")]
    interval: Option<Duration>,
    /// `dns`: the name of SRV records.
    srv: Option<String>,
    /// `dns`: the name of addresses, with `port`.
    host: Option<String>,
    /// `dns`: the port of the addresses of `host`.
    port: Option<u16>,
    /// `dns`: name servers with their ports, unless those of the system.
    name_servers: Option<Vec<SocketAddr>>,
    /// `consul`: the agent, `http://` or `https://`.
    url: Option<String>,
    /// `consul`: the service.
    service: Option<String>,
    /// `consul`: the ACL token.
    token: Option<Secret>,
    /// `consul`: the datacenter, unless the agent's.
    datacenter: Option<String>,
    /// `consul`: tags that instances must have.
    tags: Option<Vec<String>>,
    /// `etcd`: the members of one cluster.
    endpoints: Option<Vec<String>>,
    /// `etcd`: the prefix of the keys.
    prefix: Option<String>,
    /// `etcd`: who signs in, with `password`.
    user: Option<String>,
    /// `etcd`: the password of `user`.
    password: Option<Secret>,
    /// `consul` and `etcd`: how the directory is reached over TLS.
    tls: Option<TlsConfig>,
    /// All but `file`: what records leave out, as a record.
    defaults: Option<serde_json::Value>,
    /// All but `file`: headers that each of its servers is sent.
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    /// How far its answers are believed, unless as `troupe.discovery` says.
    rules: Option<DiscoverySettings>,
}

/// Tells the schema which keys belong to which kind.
#[cfg(feature = "schema")]
fn keys_of_their_kind(schema: &mut schemars::Schema) {
    let kinds = [Kind::File, Kind::Dns, Kind::Consul, Kind::Etcd];
    let keys: std::collections::BTreeSet<&str> = kinds.iter().flat_map(|kind| kind.keys()).copied().collect();
    let rules = kinds.map(|kind| {
        let strangers = keys.iter().filter(|key| !kind.keys().contains(key));
        // Null is the same as none.
        let refused: serde_json::Map<_, _> =
            strangers.map(|key| (key.to_string(), serde_json::json!({"type": "null"}))).collect();
        serde_json::json!({
            "if": {"properties": {"type": {"const": kind.name()}}},
            "then": {"properties": refused},
        })
    });
    schema.insert("allOf".to_owned(), rules.to_vec().into());
}

impl WrittenSource {
    pub(super) fn into_source(self) -> Result<SourceConfig, ConfigError> {
        self.refuse_strangers()?;
        let missing = |key: &str| {
            ConfigError::new(key, format!("is missing: a source of type {} needs it", self.kind.name()))
        };
        let place = match self.kind {
            Kind::File => {
                if let Some(interval) = self.interval {
                    time("interval", interval)?;
                }
                Place::File { path: self.path.ok_or_else(|| missing("path"))?, interval: self.interval }
            }
            Kind::Dns => {
                let name_servers = self.name_servers.unwrap_or_default();
                match (self.srv, self.host) {
                    (Some(name), None) if self.port.is_none() => {
                        Place::Dns { name, port: None, name_servers }
                    }
                    (Some(_), None) => {
                        return Err(ConfigError::new("port", "belongs to host: SRV records have their own"));
                    }
                    (None, Some(name)) => {
                        let port = self.port.filter(|port| *port > 0).ok_or_else(|| missing("port"))?;
                        Place::Dns { name, port: Some(port), name_servers }
                    }
                    (None, None) => return Err(missing("srv")),
                    (Some(_), Some(_)) => {
                        return Err(ConfigError::new("host", "stands beside srv: say one of them"));
                    }
                }
            }
            Kind::Consul => Place::Consul {
                url: self.url.ok_or_else(|| missing("url"))?,
                service: self.service.filter(|name| !name.is_empty()).ok_or_else(|| missing("service"))?,
                token: self.token,
                datacenter: self.datacenter,
                tags: self.tags.unwrap_or_default(),
                tls: self.tls,
            },
            Kind::Etcd => Place::Etcd {
                endpoints: self
                    .endpoints
                    .filter(|endpoints| !endpoints.is_empty())
                    .ok_or_else(|| missing("endpoints"))?,
                prefix: self.prefix.ok_or_else(|| missing("prefix"))?,
                user: match (self.user, self.password) {
                    (Some(user), Some(password)) => Some((user, password)),
                    (Some(_), None) => return Err(missing("password")),
                    (None, Some(_)) => return Err(missing("user")),
                    (None, None) => None,
                },
                tls: self.tls,
            },
        };
        if let Some(rules) = &self.rules {
            rules.check().map_err(|error| error.under("rules"))?;
        }
        if self.kind == Kind::File && (self.defaults.is_some() || !self.headers.is_empty()) {
            let key = if self.defaults.is_some() { "defaults" } else { "headers" };
            return Err(ConfigError::new(
                key,
                "belongs to directories: a file says all of its servers itself",
            ));
        }
        let name = self.name.unwrap_or_else(|| self.kind.name().to_owned());
        Ok(SourceConfig { name, place, rules: self.rules, defaults: self.defaults, headers: self.headers })
    }

    /// Refuses keys of other kinds of sources.
    fn refuse_strangers(&self) -> Result<(), ConfigError> {
        let given = [
            ("path", self.path.is_some()),
            ("interval", self.interval.is_some()),
            ("srv", self.srv.is_some()),
            ("host", self.host.is_some()),
            ("port", self.port.is_some()),
            ("nameServers", self.name_servers.is_some()),
            ("url", self.url.is_some()),
            ("service", self.service.is_some()),
            ("token", self.token.is_some()),
            ("datacenter", self.datacenter.is_some()),
            ("tags", self.tags.is_some()),
            ("endpoints", self.endpoints.is_some()),
            ("prefix", self.prefix.is_some()),
            ("user", self.user.is_some()),
            ("password", self.password.is_some()),
            ("tls", self.tls.is_some()),
        ];
        match given.iter().find(|(key, given)| *given && !self.kind.keys().contains(key)) {
            Some((key, _)) => {
                let (kind, keys) = (self.kind.name(), self.kind.keys().join(", "));
                Err(ConfigError::new(
                    *key,
                    format!("does not belong to a source of type {kind}, which has {keys}"),
                ))
            }
            None => Ok(()),
        }
    }
}
