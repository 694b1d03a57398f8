//! `servers.json`: the configuration of servers that MCP clients already use, with our keys beside it.

use std::collections::BTreeMap;
#[cfg(feature = "schema")]
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::Deserializer;
use serde_json::{Map, Number, Value};

use super::expand::env_file;
#[cfg(feature = "schema")]
use super::schema::{self, Reference};
#[cfg(feature = "schema")]
use super::source::WrittenSource;
use super::{
    BreakerSettings, ConfigError, Diagnostic, Dialect, Endpoint, EraChoice, GatewaySettings,
    LoosePermissions, Place, PoolSettings, ProxyChoice, Server, Settings, Severity, SourceConfig, Start,
    SubprotocolChoice, TlsOptions, address, duration, files, permissions, reading, shown,
};
use crate::secret::Secret;

/// What a `servers.json` says.
///
/// It is JSON with comments and trailing commas. Its servers stand under `mcpServers`, under `servers` as in VS Code, or are the
/// whole of it. A server that has a mistake is left out and costs the others nothing, unless `troupe.strict` says otherwise.
///
/// ```
/// let file = mcp_troupe::ConfigFile::parse(r#"{
///     "mcpServers": {
///         "files": { "url": "ws://127.0.0.1:3000", "tags": ["storage"] },
///         "db":    { "url": "ws://127.0.0.1:3001", "timeout": "5s" },
///         "old":   { "url": "http://127.0.0.1:3002/sse", "type": "sse" },
///     },
///     "troupe": { "strategy": "round-robin" }
/// }"#)?;
/// assert_eq!((file.servers.len(), &*file.left_out), (2, &["old".to_owned()][..]));
/// assert!(file.diagnostics[0].to_string().contains("SSE transport is not supported"));
/// # Ok::<(), mcp_troupe::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ConfigFile {
    /// The servers, in the file's order.
    pub servers: Vec<Server>,
    /// Servers that are switched off by `disabled`, by their ids: they are not started.
    pub disabled: Vec<String>,
    /// Servers that have a mistake, by their ids: they are not started. Where one plays already,
    /// [`Troupe::apply`](crate::Troupe::apply) lets it go on by its former description.
    pub left_out: Vec<String>,
    /// Entries that are left out because another one of the same id plays, by that id: of two equal names the later one, of names
    /// that become one id the one that is no id as it stands.
    pub repeated: Vec<String>,
    /// The mistakes of servers that are left out, and warnings, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// The sources of servers, in the file's order, which settles whose an id is that several name.
    pub sources: Vec<SourceConfig>,
    /// The settings; the defaults where the file has none.
    pub settings: Settings,
    /// How the troupe is served as one MCP server, where somebody serves it; see [`guide::gateway`](crate::guide::gateway).
    pub gateway: GatewaySettings,
    /// What of it others than its owner may write, where it was read by a [`ConfigWatch`](crate::ConfigWatch): the troupe that
    /// is given it tells them ([`Event::LoosePermissions`](crate::Event::LoosePermissions)).
    pub loose: Vec<LoosePermissions>,
}

impl ConfigFile {
    /// Logs what is wrong with servers that are left out. A host that tells it itself takes [`diagnostics`](Self::diagnostics) out.
    pub(crate) fn log_mistakes(&self) {
        for found in self.diagnostics.iter().filter(|found| found.severity == Severity::Error) {
            tracing::warn!("servers.json:{found}");
        }
    }

    /// The text of a `servers.json` that was read as bytes.
    ///
    /// # Errors
    /// It is no UTF-8: which line is not, and what to do, in words for whoever wrote the file.
    pub fn decode(bytes: Vec<u8>) -> std::io::Result<String> {
        files::text(bytes)
    }

    /// Reads a text in the dialect of a `servers.json`, and says nothing of what it means: JSON with comments and trailing commas,
    /// with or without a byte order mark, for files of other programs that are written so. Of a key that stands twice the last
    /// counts.
    ///
    /// ```
    /// let value = mcp_troupe::ConfigFile::json("{ // theirs\n \"theme\": \"dark\", }").unwrap();
    /// assert_eq!(value["theme"], "dark");
    /// ```
    ///
    /// # Errors
    /// Why it is no JSON, with the place: one diagnostic, which quotes nothing of the text.
    pub fn json(text: &str) -> Result<Value, Vec<Diagnostic>> {
        reading::value(text)
    }

    /// Files and folders that start commands and that others than their owners may write: the `servers.json` at `path`, the
    /// folder that it is in, and what its sources of files read. It waits for the disk.
    pub fn loose_permissions(&self, path: impl AsRef<Path>) -> Vec<LoosePermissions> {
        let of_sources = self.sources.iter().filter_map(|source| match &source.place {
            Place::File { path, .. } => permissions::of(path),
            Place::Dns { .. } | Place::Consul { .. } | Place::Etcd { .. } => None,
        });
        let mut found: Vec<LoosePermissions> = Vec::new();
        for loose in permissions::of_file(path.as_ref()).chain(of_sources) {
            if !found.contains(&loose) {
                found.push(loose);
            }
        }
        found
    }
}

/// The `servers.json` of mcp-troupe, as its schema describes it.
#[cfg(feature = "schema")]
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = schema::several_forms)]
#[expect(dead_code, reason = "it is what the schema is made of")]
pub(super) struct Written {
    /// Where the schema of this file is, for editors.
    #[serde(rename = "$schema")]
    schema: Option<Value>,
    /// The servers, by the names that the operator gives them.
    #[serde(default)]
    #[schemars(with = "Servers<WrittenServer>")]
    mcp_servers: Option<Servers<WrittenServer>>,
    /// The servers, as the file of VS Code has them: in place of `mcpServers`.
    #[serde(default)]
    #[schemars(with = "Servers<WrittenServer>")]
    servers: Option<Servers<WrittenServer>>,
    /// What the file of VS Code has its user asked for; `${input:…}` is answered by the host.
    inputs: Option<Value>,
    /// The sources of servers; their order settles whose an id is that several name.
    #[serde(default)]
    discovery: Vec<WrittenSource>,
    /// The settings.
    #[serde(default)]
    troupe: Settings,
    /// How the troupe is served as one MCP server.
    #[serde(default)]
    gateway: GatewaySettings,
}

/// Servers by their names.
#[cfg(feature = "schema")]
pub(super) struct Servers<T>(PhantomData<T>);

#[cfg(feature = "schema")]
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Servers<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::<String, T>::deserialize(deserializer).map(|_| Self(PhantomData))
    }
}

/// What is wrong with a server of the transport that Streamable HTTP took the place of, and what to do about it.
pub(super) const NO_SSE: &str = "the old HTTP+SSE transport is not supported";
pub(super) const NO_SSE_ADVICE: &str = "name the server's Streamable HTTP url";

/// How a server is reached, where it is said and not told by `url` or `command`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
// The schema knows no aliases by itself, and nothing of what is read only to be refused with a reason.
#[cfg_attr(
    feature = "schema",
    schemars(
        rename = "ServerType",
        extend("enum" = [
            "websocket", "ws", "stdio", "local", "http", "streamable", "streamable-http", "streamableHttp"
        ])
    )
)]
enum Kind {
    #[serde(rename = "websocket", alias = "ws")]
    WebSocket,
    #[serde(rename = "stdio", alias = "local")]
    Stdio,
    #[serde(rename = "http", alias = "streamable", alias = "streamable-http", alias = "streamableHttp")]
    Http,
    #[serde(rename = "sse")]
    Sse,
}

/// What is wrong with a URL that no kind of server has.
const NO_SCHEME: &str = "the URL does not begin with http://, https://, ws:// or wss://";
const SCHEMES: [&str; 4] = ["http", "https", "ws", "wss"];
const BARE_HOST: &str = "the URL begins with its host: write http:// or https:// before it";
const LARGE_LETTERS: &str = "the URL's scheme is written in small letters, as https://";

/// One server: where it is, and what differs from the troupe's settings.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Server", transform = schema::one_way_to_reach_it))]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct WrittenServer {
    /// How it is reached; told by `url` or `command` unless said.
    #[serde(rename = "type")]
    kind: Option<Kind>,
    /// The same, as some clients write it.
    transport: Option<Kind>,
    /// The same, as others write it.
    transport_type: Option<Kind>,
    /// Where it is: `http://`, `https://`, `ws://` or `wss://`, without user info.
    url: Option<String>,
    /// The same, as Gemini writes it.
    http_url: Option<String>,
    /// The same, as Windsurf writes it.
    server_url: Option<String>,
    /// Headers of the WebSocket upgrade request, or of every HTTP request. Values may be `${NAME}` or `${file:PATH}`; a null is
    /// left out.
    #[cfg_attr(feature = "schema", schemars(with = "Option<BTreeMap<String, schema::Variable>>"))]
    headers: Option<BTreeMap<String, TextValue>>,
    /// The token of their header `Authorization: Bearer`, such as `${NAME}` or `${file:PATH}`.
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
    /// Variables on top of the few that it inherits. Values may be `${NAME}` or `${file:PATH}`; a null is left out.
    #[cfg_attr(feature = "schema", schemars(with = "Option<BTreeMap<String, schema::Variable>>"))]
    env: Option<BTreeMap<String, TextValue>>,
    /// A file of further variables, lines of `NAME=value`. Those of `env` go before them.
    env_file: Option<PathBuf>,
    /// The folder that it runs in; the host's unless said.
    cwd: Option<PathBuf>,
    /// Whether it is switched off: it is not started, and its mistakes are warnings.
    #[expect(dead_code, reason = "it is asked for before the rest is read")]
    disabled: Option<bool>,
    /// The opposite of `disabled`, as other clients write it.
    #[expect(dead_code, reason = "it is asked for before the rest is read")]
    enabled: Option<bool>,
    /// Its tools that are not offered, by their names; `*` for all.
    disabled_tools: Option<Names>,
    /// The same, as Gemini writes it.
    exclude_tools: Option<Names>,
    /// The only tools of it that are offered, by their names; `*` for all.
    include_tools: Option<Names>,
    /// The same, as Copilot writes it.
    tools: Option<Names>,
    /// What it is for, shown with its metadata.
    description: Option<Value>,
    /// Tools that the host need not ask its user about: noted in its metadata, since asking is the host's business.
    auto_approve: Option<Value>,
    /// The same, as Roo writes it.
    always_allow: Option<Value>,
    /// The same for all of its tools, as Gemini writes it.
    trust: Option<Value>,
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
    /// When it is started: `at-once`, or `on-demand`, by the first call that needs it. The troupe's unless said.
    start: Option<Start>,
    /// It is stopped when nothing has needed it for so long, where it is started on demand. The troupe's unless said.
    #[serde(default, with = "duration::OptionalText")]
    idle_timeout: Option<Duration>,
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
#[serde(
    untagged,
    expecting = "invalid value: another one, expected a name, a list of names, `auto` or `none`"
)]
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

/// The value of a variable or a header: a text, or what is one by its look. Null leaves it out.
#[derive(Clone)]
struct TextValue(Option<Secret>);

impl<'de> Deserialize<'de> for TextValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A string's own error quotes a value of another type.
        match Value::deserialize(deserializer)? {
            Value::String(value) => Ok(Self(Some(value.into()))),
            Value::Number(number) => Ok(Self(Some(number.to_string().into()))),
            Value::Bool(boolean) => Ok(Self(Some(boolean.to_string().into()))),
            Value::Null => Ok(Self(None)),
            Value::Array(_) | Value::Object(_) => Err(serde::de::Error::custom(shown::NO_STRING)),
        }
    }
}

/// One name, or a list of names.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "invalid value: another one, expected a name or a list of names")]
enum Names {
    One(String),
    Several(Vec<String>),
}

impl Names {
    fn list(self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name],
            Self::Several(names) => names,
        }
    }
}

/// Keys of other clients that are noted with a server, and what they say. What they say decides nothing.
fn noted(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(boolean) => Some(boolean.to_string()),
        Value::Number(number) => Some(Number::to_string(number)),
        Value::Array(items) => {
            let names: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            (!names.is_empty()).then(|| names.join(", "))
        }
        Value::Null | Value::Object(_) => None,
    }
}

impl WrittenServer {
    /// More processes than one only where the file says so.
    pub(super) fn with_processes(mut self, written: &Map<String, Value>) -> Self {
        let names_max = written.get("pool").is_some_and(|pool| pool.get("max").is_some());
        if let Some(pool) = self.pool.as_mut().filter(|_| self.command.is_some() && !names_max) {
            pool.max = pool.min;
        }
        self
    }

    /// The spelling of a kind, or of an address, that is given; two are a mistake.
    fn one_of<T>(
        spellings: [(&'static str, Option<T>); 3],
    ) -> Result<Option<(&'static str, T)>, ConfigError> {
        let mut given = spellings.into_iter().filter_map(|(key, value)| Some((key, value?)));
        let first = given.next();
        match (&first, given.next()) {
            (Some((first, _)), Some((second, _))) => {
                let reason = format!("stands beside {first}, which says the same: write one of them");
                Err(ConfigError::new(second, reason))
            }
            (_, _) => Ok(first),
        }
    }

    /// Brings the spellings of other clients together.
    fn in_one_spelling(mut self) -> Result<Self, ConfigError> {
        let kinds = [
            ("type", self.kind.take()),
            ("transport", self.transport.take()),
            ("transportType", self.transport_type.take()),
        ];
        let same = kinds.iter().filter_map(|(_, kind)| *kind).collect::<Vec<_>>();
        self.kind = match same.as_slice() {
            [kind, rest @ ..] if rest.iter().all(|other| other == kind) => Some(*kind),
            _ => Self::one_of(kinds)?.map(|(_, kind)| kind),
        };
        let urls = [
            ("url", self.url.take()),
            ("httpUrl", self.http_url.take()),
            ("serverUrl", self.server_url.take()),
        ];
        if let Some((key, url)) = Self::one_of(urls)? {
            // By its name it is no WebSocket's.
            if key == "httpUrl" && self.kind.is_none() {
                self.kind = Some(Kind::Http);
            }
            self.url = Some(url);
        }
        Ok(self)
    }

    /// The variables of the file that it names, and those beside it, which go before them.
    fn variables(
        env_path: Option<&PathBuf>,
        env: BTreeMap<String, TextValue>,
    ) -> Result<BTreeMap<String, Secret>, ConfigError> {
        let of_file = env_path.map_or_else(|| Ok(Vec::new()), |path| env_file(path));
        let of_file = of_file.map_err(|reason| ConfigError::new("envFile", reason))?;
        let given = env.into_iter().filter_map(|(name, value)| Some((name, value.0?)));
        Ok(of_file.into_iter().chain(given).collect())
    }

    /// The server that is described. `looked_up` says that its URL has parts which may be secrets wherever they are.
    pub(super) fn into_server(self, id: String, looked_up: bool) -> Result<Server, ConfigError> {
        let at = |key: &str| format!("{id}.{key}");
        let mut this = self.in_one_spelling().map_err(|error| error.under(&id))?;
        this.url = this.url.map(|url| if looked_up { address::without_path(url) } else { url });
        this.described(id.clone(), at)
    }

    fn described(mut self, id: String, at: impl Fn(&str) -> String) -> Result<Server, ConfigError> {
        let kind = match (self.kind, &self.url, &self.command) {
            (Some(kind), _, _) => kind,
            (None, Some(_), Some(_)) => {
                let reason = "stands beside command: a server is reached by one of them";
                return Err(ConfigError::new(at("url"), reason));
            }
            (None, Some(url), None) if url.starts_with("ws://") || url.starts_with("wss://") => {
                Kind::WebSocket
            }
            (None, Some(url), None) if url.trim() != url => {
                return Err(ConfigError::new(at("url"), "begins or ends with a blank: take it out"));
            }
            (None, Some(url), None) if Self::is_of_no_kind(url) => {
                let reason = match url.split_once("://") {
                    Some((scheme, _)) if SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme)) => {
                        LARGE_LETTERS
                    }
                    None if address::begins_with_host(url) => BARE_HOST,
                    Some(_) | None => NO_SCHEME,
                };
                return Err(ConfigError::new(at("url"), reason));
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
        let headers = self.headers.take().unwrap_or_default().into_iter();
        let headers = headers.filter_map(|(name, value)| Some((name, value.0?))).collect();
        let endpoint = match kind {
            Kind::WebSocket => {
                let url = self.url.take().ok_or_else(|| missing("url", "a websocket"))?;
                let subprotocol =
                    self.subprotocol.take().map_or(SubprotocolChoice::Auto, WrittenSubprotocol::choice);
                Endpoint::WebSocket { url, headers, subprotocol }
            }
            Kind::Http => {
                let url = self.url.take().ok_or_else(|| missing("url", "an http"))?;
                Endpoint::Http { url, headers, proxy: self.proxy.take().unwrap_or_default() }
            }
            Kind::Sse => {
                return Err(ConfigError::new(at("type"), NO_SSE));
            }
            Kind::Stdio => {
                let command = self.command.take().ok_or_else(|| missing("command", "a stdio"))?;
                let args = self.args.take().unwrap_or_default();
                let env = Self::variables(self.env_file.as_ref(), self.env.take().unwrap_or_default());
                let env = env.map_err(|error| error.under(&id))?;
                Endpoint::Stdio { command, args, env, cwd: self.cwd.take() }
            }
        };
        let (bearer, tls) = (self.bearer.take(), self.tls.take());
        let mut server = self.wherever(Server::at(id, endpoint));
        if let Some(token) = bearer {
            server = server.bearer(token);
        }
        server.tls = tls.unwrap_or_default();
        Ok(server)
    }

    /// The server with what is said of it wherever it is and however it is reached.
    pub(super) fn wherever(self, mut server: Server) -> Server {
        server.group = self.group;
        server.tags = self.tags;
        server.weight = self.weight.unwrap_or(server.weight);
        server.priority = self.priority;
        server.trusted = self.trusted;
        let notes = [
            ("description", &self.description),
            ("autoApprove", &self.auto_approve),
            ("alwaysAllow", &self.always_allow),
            ("trust", &self.trust),
        ];
        for (key, value) in notes {
            if let Some(note) = value.as_ref().and_then(noted) {
                server.metadata.insert(key.to_owned(), note);
            }
        }
        server.metadata.extend(self.metadata);
        for (key, only) in [("includeTools", self.include_tools), ("tools", self.tools)] {
            // Some clients let arguments follow a name, which choose commands of a shell.
            let name = |name: String| name.split('(').next().map(|name| name.trim().to_owned());
            only.into_iter().for_each(|names| {
                server.tool_choice.add_only(key, names.list().into_iter().filter_map(name))
            });
        }
        for (key, without) in [("disabledTools", self.disabled_tools), ("excludeTools", self.exclude_tools)] {
            let names = |names: Names| names.list().into_iter().map(|name| name.trim().to_owned());
            without.into_iter().for_each(|list| server.tool_choice.add_without(key, names(list)));
        }
        server.dialect = self.dialect;
        server.era = self.era;
        server.stream = self.stream.unwrap_or(true);
        server.start = self.start;
        server.idle_timeout = self.idle_timeout;
        server.timeout = self.timeout;
        server.pool = self.pool;
        server.breaker = self.breaker;
        server
    }

    /// Whether a URL says by itself that nothing reaches it. What it says instead may be secret.
    fn is_of_no_kind(url: &str) -> bool {
        match address::Address::read(url) {
            Ok(address) => !SCHEMES.contains(&address.scheme),
            Err(error) => matches!(error, address::AddressError::NoScheme),
        }
    }

    /// A key that has no meaning for this kind of server is a mistake of somebody who thinks that it has.
    fn reject_keys_of_others(&self, kind: Kind) -> Result<(), ConfigError> {
        let of_command = [
            ("command", self.command.is_some()),
            ("args", self.args.as_ref().is_some_and(|args| !args.is_empty())),
            ("env", self.env.as_ref().is_some_and(|env| !env.is_empty())),
            ("cwd", self.cwd.is_some()),
            ("envFile", self.env_file.is_some()),
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
            Some((key, _)) => {
                let article = if kind == "http" { "an" } else { "a" };
                Err(ConfigError::new(*key, format!("has no meaning for {article} {kind} server")))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Severity, Variables, servers_one_by_one};

    /// Reads a file of the tests, which the schema judges as the parser does.
    fn parse(text: &str) -> Result<ConfigFile, ConfigError> {
        #[cfg(feature = "schema")]
        schema::tests::agrees(&schema::tests::validator(), text);
        ConfigFile::parse(text)
    }

    /// The first mistake, which is that of one server unless it concerns the whole.
    fn mistake(text: &str) -> ConfigError {
        match parse(text) {
            Ok(file) => file.diagnostics.first().unwrap().joined(),
            Err(error) => error,
        }
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
            (r#"{"url":"https://h","apiKey":"s3cret"}"#, "apiKey", "unknown key `apiKey`"),
            (r#"{"command":"npx","env":{"TOKEN=s3cret":[]}}"#, "env.TOKEN…", "is no string"),
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
        let text = r#"{"mcpServers":{"a":{"url":"ws://h"},"a":{"url":"ws://i"}}}"#;
        let error = mistake(text);
        assert!(error.reason.contains("\"a\" stands twice"), "{error}");
        let file = parse(text).unwrap();
        assert_eq!(file.servers, [Server::websocket("a", "ws://h")], "the first one plays");
        assert_eq!((file.repeated, file.left_out), (vec!["a".to_owned()], Vec::new()));
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
            (r#"{"command":"x","env":{"A":[]}}"#, "env.A"),
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
        let variables = Variables::new().environment(|name| (name == "TOKEN").then(|| "s3cr3t".into()));
        let parse =
            |servers: &str| ConfigFile::parse_with(&format!(r#"{{"mcpServers":{servers}}}"#), &variables);
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
            let file = parse(&format!(r#"{{"a":{server}}}"#)).unwrap();
            let error = &file.diagnostics[0].error;
            assert_eq!(
                (&*error.key, &*file.left_out),
                (&*format!("mcpServers.a.{key}"), &["a".to_owned()][..])
            );
            assert!(error.reason.contains("NONE"), "{error}");
        }
    }

    #[test]
    fn a_mistake_costs_its_server_alone_unless_the_file_is_strict() {
        let text = |troupe: &str| {
            format!(
                r#"{{"mcpServers":{{
                    "good":{{"command":"cat"}}, "typo":{{"comand":"cat"}}, "old":{{"type":"sse","url":"http://h/sse"}},
                    "off":{{"disabled":true,"type":"sse","comand":1}}, "port":{{"url":"http://h:99999/mcp"}},
                    "secret":{{"url":"http://h","bearer":"${{env:NO_SUCH_VARIABLE}}"}}, "number":5,
                    "also good":{{"url":"ws://h"}}
                }},"troupe":{troupe}}}"#
            )
        };
        let file = ConfigFile::parse(&text("{}")).unwrap();
        assert_eq!(file.servers.iter().map(Server::id).collect::<Vec<_>>(), ["good", "also-good"]);
        assert_eq!(file.servers[1].metadata["name"], "also good");
        assert_eq!(file.left_out, ["typo", "old", "port", "secret", "number"]);
        assert_eq!(file.disabled, ["off"]);
        let of = |severity| {
            let found = file.diagnostics.iter().filter(move |found| found.severity == severity);
            found.map(|found| found.server.as_deref().unwrap()).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(of(Severity::Error), file.left_out.iter().map(String::as_str).collect());
        assert_eq!(of(Severity::Warning), ["off"].into());
        let refused = ConfigFile::parse(&text(r#"{"strict":true}"#)).unwrap_err();
        assert_eq!(refused.key, "mcpServers.typo.comand");
        let refused = ConfigFile::parse(&text(r#"{"callTimeout":"0s"}"#)).unwrap_err();
        assert_eq!(refused.key, "troupe.callTimeout");
    }

    #[test]
    fn the_files_of_other_clients_are_read_in_their_spellings() {
        let none: [&str; 0] = [];
        let one = |server: &str| {
            let file = parse(&format!(r#"{{"mcpServers":{{"a":{server}}}}}"#)).unwrap();
            assert_eq!(file.diagnostics, [], "{server}");
            file.servers.into_iter().next().unwrap()
        };
        for server in [
            r#"{"url":"http://h/mcp"}"#,
            r#"{"httpUrl":"http://h/mcp"}"#,
            r#"{"serverUrl":"http://h/mcp"}"#,
            r#"{"url":"http://h/mcp","type":"streamable","transport":"http"}"#,
            r#"{"url":"http://h/mcp","transportType":"streamableHttp"}"#,
            r#"{"url":"http://h/mcp","disabled":false,"disabledTools":[],"tools":["*"],"autoApprove":[]}"#,
        ] {
            assert_eq!(one(server), Server::http("a", "http://h/mcp"), "{server}");
        }
        assert_eq!(one(r#"{"command":"c","type":"local"}"#), Server::stdio("a", "c", none));
        let env = r#"{"command":"c","env":{"A":1,"B":true,"C":null,"D":"x"}}"#;
        let expected = Server::stdio("a", "c", none).env("A", "1").env("B", "true").env("D", "x");
        assert_eq!(one(env), expected);
        let tools = r#"{"command":"c","includeTools":["x","y"],"excludeTools":"y"}"#;
        assert_eq!(one(tools), Server::stdio("a", "c", none).only_tools(["x", "y"]).without_tools(["y"]));
        let noted = one(r#"{"command":"c","description":"d","alwaysAllow":["x","y"],"trust":true}"#);
        let metadata = [("alwaysAllow", "x, y"), ("description", "d"), ("trust", "true")];
        assert_eq!(noted.metadata, metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        for (server, key) in [
            (r#"{"url":"http://h","httpUrl":"http://h"}"#, "httpUrl"),
            (r#"{"url":"http://h","type":"http","transport":"ws"}"#, "transport"),
            (r#"{"transport":"sse","url":"http://h"}"#, "transport"),
            (r#"{"httpUrl":"http://h:99999"}"#, "httpUrl"),
        ] {
            let error = mistake(&format!(r#"{{"mcpServers":{{"a":{server}}}}}"#));
            assert_eq!(error.key, format!("mcpServers.a.{key}"), "{error}");
        }
    }

    #[test]
    fn servers_stand_under_either_key_or_are_the_whole_file() {
        for text in [
            "\u{feff}{\"mcpServers\":{\"a\":{\"command\":\"c\"}}}",
            r#"{"servers":{"a":{"command":"c"}},"inputs":[]}"#,
            r#"{"a":{"command":"c"}}"#,
            "{ // ours\n\"mcpServers\": { \"a\": { \"command\": \"c\", }, /* no more */ }, }",
        ] {
            let file = parse(text).unwrap();
            assert_eq!((file.servers.len(), file.diagnostics.len()), (1, 0), "{text}");
        }
        for (text, key, says) in [
            (r#"{"mcpServers":{},"servers":{}}"#, "servers", "stands beside mcpServers"),
            (
                r#"{"a":{"command":"c"},"b":{"x":1}}"#,
                "servers.json",
                "has no mcpServers: put the servers into",
            ),
            (r#"{"mcpservers":{"a":{"command":"c"}}}"#, "mcpservers", "did you mean `mcpServers`?"),
            (r#"{"mcpServers":{},"troup":{}}"#, "troup", "did you mean `troupe`?"),
            ("{}", "servers.json", "has no mcpServers"),
        ] {
            let error = mistake(text);
            assert!(error.key == key && error.reason.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn keys_of_other_programs_beside_the_servers_are_one_warning() {
        let text = r#"{"theme":"dark","mcpServers":{"a":{"command":"c"}},"preferences":{"x":1},"hooks":[]}"#;
        let file = parse(text).unwrap();
        let told: Vec<String> = file.diagnostics.iter().map(ToString::to_string).collect();
        let expected = "1:2: warning: theme: has no meaning here, nor have preferences, hooks";
        assert_eq!((file.servers.len(), told), (1, vec![expected.to_owned()]));
    }

    #[test]
    fn a_timeout_without_a_unit_is_told_with_what_it_probably_means() {
        for (timeout, says) in [
            ("60", "write \"60s\": 60 is probably meant in seconds"),
            ("999", "write \"999s\": "),
            ("1000", "write \"1000s\" for seconds, or \"1s\" for milliseconds"),
            ("3600", "write \"3600s\" for seconds, or \"3600ms\" for milliseconds"),
            ("3601", "write \"3601ms\": 3601 is probably meant in milliseconds"),
            ("120000", "write \"120s\": 120000 is probably meant in milliseconds"),
            ("0", "as \"60s\""),
            ("73914602331", "as \"60s\""),
            ("1.5", "as \"60s\""),
        ] {
            let error =
                mistake(&format!(r#"{{"mcpServers":{{"a":{{"command":"c","timeout":{timeout}}}}}}}"#));
            assert!(error.key == "mcpServers.a.timeout" && error.reason.contains(says), "{error}");
            assert!(error.reason.contains("some clients mean seconds, some milliseconds"), "{error}");
        }
    }

    #[test]
    fn references_are_looked_up_in_each_key_that_goes_out() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".env"), "FILE=1\nBOTH=file\n").unwrap();
        let variables = Variables::new()
            .environment(|name| (name == "KEY").then(|| "s3cr3t".into()))
            .workspace(folder.path());
        let text = r#"{"mcpServers":{
            "a":{"command":"${workspaceFolder}/bin","args":["--key","${KEY}","${NONE:-x}"],"cwd":"${workspaceFolder}",
                 "env":{"K":"${env:KEY}","BOTH":"env"},"envFile":"${workspaceFolder}/.env"},
            "b":{"url":"http://h/${KEY}/mcp","headers":{"X":"${KEY}"}},
            "c":{"url":"http://${KEY}.h/mcp","bearer":"${KEY}"}
        }}"#;
        let file = ConfigFile::parse_with(text, &variables).unwrap();
        assert_eq!(file.diagnostics, []);
        let workspace = folder.path().display();
        let expected = Server::stdio("a", format!("{workspace}/bin"), ["--key", "s3cr3t", "x"])
            .env("K", "s3cr3t")
            .env("FILE", "1")
            .env("BOTH", "env")
            .cwd(folder.path());
        assert_eq!(file.servers[0].endpoint, expected.endpoint);
        assert!(!format!("{:?}", file.servers[..2].to_vec()).contains("s3cr3t"), "{file:?}");
        for (server, key) in [
            (r#"{"url":"http://h/${NONE}/mcp","weight":0}"#, "url"),
            (r#"{"command":"${NONE}","weight":0}"#, "command"),
            (r#"{"command":"c","args":["a","${input:x}"]}"#, "args[1]"),
            (r#"{"command":"c","cwd":"${NONE}"}"#, "cwd"),
            (r#"{"url":"https://h","tls":{"caFile":"${NONE}"}}"#, "tls.caFile"),
        ] {
            let text = format!(r#"{{"mcpServers":{{"a":{server}}}}}"#);
            let file = ConfigFile::parse_with(&text, &variables).unwrap();
            let found = &file.diagnostics;
            assert_eq!(found[0].error.key, format!("mcpServers.a.{key}"), "{found:?}");
            assert_eq!(found.len(), 1 + usize::from(server.contains("weight")), "{found:?}");
        }
    }

    #[test]
    fn what_other_programs_write_of_each_key_and_kind_is_taken() {
        for server in [
            r#"{"type":"stdio","url":"","headers":{},"bearer":"","command":"uvx","args":["x"],"env":{}}"#,
            r#"{"url":"http://h","command":"","args":[],"env":{},"cwd":""}"#,
            r#"{"url":"http://h","transport":"streamable_http"}"#,
            r#"{"url":"http://h","transportType":"StreamableHttp"}"#,
            r#"{"url":"ws://h","type":"remote"}"#,
            r#"{"command":"uvx","type":"STDIO"}"#,
            r#"{"url":"http://h","headers":{"A":1,"B":null,"C":true}}"#,
        ] {
            // The schema asks for our own spellings, in editors.
            let text = format!(r#"{{"mcpServers":{{"a":{server}}}}}"#);
            let file = ConfigFile::parse_with(&text, &Variables::new()).unwrap();
            assert_eq!((file.diagnostics, file.servers.len()), (vec![], 1), "{server}");
        }
    }

    #[test]
    fn a_mistake_tells_paths_as_they_are_written_and_nothing_that_was_looked_up() {
        let variables = Variables::new().environment(|name| (name == "KEY").then(|| "s3cr3t".into()));
        for server in [
            r#"{"command":"sh","envFile":"${KEY}/x"}"#,
            r#"{"command":"sh","envFile":"/dev/null/${KEY}"}"#,
            r#"{"url":"https://h","tls":{"caFile":"${KEY}"}}"#,
            r#"{"url":"https://h","tls":{"certFile":"${KEY}","keyFile":"x${KEY}"}}"#,
        ] {
            let text = format!(r#"{{"mcpServers":{{"a":{server}}}}}"#);
            let file = ConfigFile::parse_with(&text, &variables).unwrap();
            let told = format!("{:?} {:?}", file.diagnostics, file.left_out);
            assert!(told.contains("${KEY}") && !told.contains("s3cr3t"), "{told}");
        }
    }

    #[test]
    fn a_file_of_variables_that_is_not_there_is_a_warning_and_a_broken_one_a_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        let text = serde_json::json!({"mcpServers": {"a": {"command": "c", "envFile": path}}}).to_string();
        let file = parse(&text).unwrap();
        assert_eq!((file.servers.len(), file.diagnostics[0].severity), (1, Severity::Warning));
        let told = file.diagnostics[0].to_string();
        let named = format!("mcpServers.a.envFile: there is no file {}: create it", path.display());
        assert!(told.contains(&named), "{told}");
        std::fs::write(&path, "no variable").unwrap();
        let file = parse(&text).unwrap();
        assert_eq!((file.left_out.len(), &*file.diagnostics[0].error.key), (1, "mcpServers.a.envFile"));
        let told = file.diagnostics[0].to_string();
        assert!(told.contains(&format!("line 1 of {} is no NAME=value", path.display())), "{told}");
    }

    #[test]
    fn names_that_meet_in_one_id_are_a_mistake_of_the_later_one() {
        let file = parse(r#"{"mcpServers":{"a b":{"command":"c"},"a/b":{"command":"d"}}}"#).unwrap();
        assert_eq!((file.servers.len(), file.servers[0].id()), (1, "a-b"));
        assert!(file.diagnostics[0].to_string().contains("becomes the id a-b, as another name does"));
    }

    #[test]
    fn a_name_that_is_an_id_as_it_stands_is_taken_by_no_other_wherever_that_stands() {
        let servers = r#""a b":{"command":"d"},"a-b":{"command":"c"},"a/b":{"command":"e"}"#;
        let file = parse(&format!(r#"{{"mcpServers":{{{servers}}}}}"#)).unwrap();
        let ids: Vec<&str> = file.servers.iter().map(Server::id).collect();
        assert_eq!((ids.as_slice(), file.servers[0].metadata.get("name")), (&["a-b"][..], None));
        assert_eq!((file.diagnostics.len(), file.left_out.len()), (2, 0), "{:?}", file.diagnostics);
        assert_eq!(file.repeated, ["a-b", "a-b"]);
    }

    #[test]
    fn a_command_line_in_command_is_a_warning() {
        let file = parse(r#"{"mcpServers":{"a":{"command":"npx -y foo"}}}"#).unwrap();
        assert_eq!((file.servers.len(), file.diagnostics[0].severity), (1, Severity::Warning));
        assert!(file.diagnostics[0].to_string().contains("belongs into its args"));
    }
    #[test]
    fn a_mistake_is_told_at_its_own_key_whatever_the_server_is_called() {
        for (name, server, key) in [
            ("command", r#"{"command":["npx"]}"#, "command"),
            ("args", r#"{"command":"x","args":[1]}"#, "args[0]"),
            ("args", r#"{"command":"x","args":"y"}"#, "args"),
            ("env", r#"{"command":"x","env":{"A":[]}}"#, "env.A"),
            ("env", r#"{"command":"x","env":{"A=":"b"}}"#, "env"),
            ("pool", r#"{"command":"x","pool":{"max":"y"}}"#, "pool.max"),
            ("pool", r#"{"command":"x","pool":{"min":9,"max":2}}"#, "pool.min"),
            ("weight", r#"{"command":"x","weight":0}"#, "weight"),
            ("url", r#"{"url":"http://h:99999"}"#, "url"),
            ("url", r#"{"url":7}"#, "url"),
            ("tls", r#"{"url":"https://h","tls":{"caFile":"/no/such/file"}}"#, "tls.caFile"),
            ("tls", r#"{"url":"https://h","tls":{"certFile":"c.pem"}}"#, "tls.keyFile"),
            ("type", r#"{"type":"sse","url":"http://h"}"#, "type"),
            ("comand", r#"{"comand":"x"}"#, "comand"),
            ("a.b", r#"{"command":"x","a":{"b":1}}"#, "a"),
        ] {
            let error = mistake(&format!(r#"{{"mcpServers":{{"{name}":{server}}}}}"#));
            assert_eq!(error.key, format!("mcpServers.{name}.{key}"), "{error}");
        }
    }
    #[test]
    fn what_other_clients_say_and_is_not_done_here_is_a_warning_and_the_server_is_kept() {
        for (key, value, says) in [
            (
                "auth",
                r#"{"CLIENT_ID":"s3cret"}"#,
                "logins (OAuth) are not supported yet: give a bearer or headers",
            ),
            ("oauth", r#"{"clientId":"s3cret","callbackPort":8080}"#, "logins (OAuth) are not supported yet"),
            ("oauth", "false", "logins (OAuth) are not supported yet"),
            ("authProviderType", r#""google_credentials""#, "logins (OAuth) are not supported yet"),
            ("headersHelper", r#""/opt/s3cret.sh""#, "no program is asked for headers"),
            ("watchPaths", r#"["build/s3cret.js"]"#, "not started anew when files change"),
            ("sandboxEnabled", "true", "runs without a sandbox"),
            ("sandbox", r#"{"network":{}}"#, "runs without a sandbox"),
            ("connectionTimeout", "30", "pool.handshakeTimeout"),
            ("alwaysLoad", "true", "has no meaning here"),
            ("isDefaultServer", "true", "has no meaning here"),
        ] {
            let text = format!(r#"{{"mcpServers":{{"a":{{"url":"https://h/mcp","{key}":{value}}}}}}}"#);
            let file = parse(&text).unwrap();
            assert_eq!(file.servers, [Server::http("a", "https://h/mcp")], "{key}");
            let told: Vec<String> = file.diagnostics.iter().map(ToString::to_string).collect();
            assert_eq!((told.len(), file.diagnostics[0].severity), (1, Severity::Warning), "{told:?}");
            assert!(told[0].contains(&format!("mcpServers.a.{key}: ")) && told[0].contains(says), "{told:?}");
            assert!(!told[0].contains("s3cret"), "{told:?}");
        }
    }

    #[test]
    fn arguments_that_clients_write_behind_a_tools_name_are_left_out_and_names_of_hosts_are_as_they_are() {
        let text = r#"{"mcpServers":{"a":{"command":"c","includeTools":["run(ls)"," read "],"disabledTools":[" x "]}}}"#;
        let file = ConfigFile::parse(text).unwrap();
        let offers = |server: &Server| {
            let tools = ["run", "read", "run(ls)", "x"];
            tools.into_iter().filter(|tool| server.tool_choice.offers(tool)).collect::<Vec<_>>()
        };
        assert_eq!(offers(&file.servers[0]), ["run", "read"]);
        assert_eq!(offers(&Server::stdio("a", "c", [""; 0]).only_tools(["run(ls)"])), ["run(ls)"]);
    }

    #[test]
    fn former_names_of_settings_hold_with_a_warning() {
        let text = r#"{"mcpServers":{},"troupe":{"questionTimeout":"9s","limits":{"questionsMax":3}}}"#;
        let file = ConfigFile::parse(text).unwrap();
        assert_eq!(file.settings.server_request_timeout.as_secs(), 9);
        assert_eq!(file.settings.limits.server_requests_max, 3);
        let told: Vec<&str> = file.diagnostics.iter().map(|found| found.error.key.as_str()).collect();
        assert_eq!(told, ["troupe.questionTimeout", "troupe.limits.questionsMax"]);
        assert!(file.diagnostics.iter().all(|found| found.severity == Severity::Warning));
    }

    #[test]
    fn former_names_of_a_sources_tls_hold_with_a_warning() {
        let former = r#"{"authority":"a.pem","certificate":"c.pem","key":"k.pem","serverName":"n"}"#;
        let now = r#"{"caFile":"a.pem","certFile":"c.pem","keyFile":"k.pem","serverName":"n"}"#;
        let [former, now] = [former, now].map(|tls| {
            let source = format!(r#"{{"type":"etcd","endpoints":["https://e"],"prefix":"/p/","tls":{tls}}}"#);
            ConfigFile::parse(&format!(r#"{{"mcpServers":{{}},"discovery":[{source}]}}"#)).unwrap()
        });
        assert_eq!(former.sources, now.sources);
        let told: Vec<&str> = former.diagnostics.iter().map(|found| found.error.key.as_str()).collect();
        let keys = ["authority", "certificate", "key"].map(|key| format!("discovery[0].tls.{key}"));
        assert_eq!(told, keys);
        assert!(former.diagnostics.iter().all(|found| found.severity == Severity::Warning));
        assert!(now.diagnostics.is_empty(), "{:?}", now.diagnostics);
    }

    #[test]
    fn a_server_is_switched_off_by_either_spelling() {
        for (keys, disabled, told) in [
            (r#""enabled":false"#, true, 0),
            (r#""enabled":true"#, false, 0),
            (r#""disabled":true,"enabled":true"#, true, 1),
            (r#""disabled":false,"enabled":false"#, true, 1),
            (r#""disabled":true,"enabled":false"#, true, 0),
        ] {
            let file = parse(&format!(r#"{{"mcpServers":{{"a":{{"command":"c",{keys}}}}}}}"#)).unwrap();
            assert_eq!(
                (file.disabled.len(), file.servers.len()),
                (usize::from(disabled), usize::from(!disabled))
            );
            assert_eq!(file.diagnostics.len(), told, "{keys}: {:?}", file.diagnostics);
        }
    }
    #[test]
    fn a_home_is_put_into_paths_and_what_a_shell_would_look_up_elsewhere_is_a_warning() {
        let variables = Variables::new().environment(|_| None).set("userHome", "/home/me");
        let read = |server: &str| {
            ConfigFile::parse_with(&format!(r#"{{"mcpServers":{{"a":{server}}}}}"#), &variables).unwrap()
        };
        let none: [&str; 0] = [];
        let file = read(r#"{"command":"~/bin/server","cwd":"~"}"#);
        assert_eq!(file.diagnostics, []);
        assert_eq!(
            file.servers[0].endpoint,
            Server::stdio("a", "/home/me/bin/server", none).cwd("/home/me").endpoint
        );
        let missing = read(r#"{"command":"c","envFile":"~/.no-such-env"}"#);
        assert!(
            missing.diagnostics[0].to_string().contains("/home/me/.no-such-env"),
            "{:?}",
            missing.diagnostics
        );
        for (server, key) in [
            (r#"{"command":"c","args":["x","~/notes"]}"#, "args[1]"),
            (r#"{"command":"c","args":["$HOME/notes"]}"#, "args[0]"),
            (r#"{"command":"c","args":["$HOME"]}"#, "args[0]"),
            (r#"{"command":"$HOME/bin/c"}"#, "command"),
            (r#"{"command":"c","cwd":"$PROJECT_DIR"}"#, "cwd"),
            (r#"{"command":"c","env":{"PATH":"$PATH:/opt/s3cret"}}"#, "env.PATH"),
            (r#"{"command":"c","env":{"DATA":"~/s3cret"}}"#, "env.DATA"),
            (r#"{"url":"http://h","headers":{"Authorization":"Bearer $TOKEN"}}"#, "headers.Authorization"),
            (r#"{"url":"http://h","bearer":"$TOKEN"}"#, "bearer"),
        ] {
            let file = read(server);
            let found = &file.diagnostics;
            assert_eq!((file.servers.len(), found.len()), (1, 1), "{server}: {found:?}");
            assert_eq!(
                (found[0].severity, &*found[0].error.key),
                (Severity::Warning, &*format!("mcpServers.a.{key}"))
            );
            let told = found[0].to_string();
            assert!(told.contains("goes out as it stands") && told.contains("write ${"), "{told}");
            assert!(!told.contains("s3cret"), "{told}");
        }
        for server in [
            r#"{"command":"c","args":["$5","$x","$Name","a$HOME","$HOME-x","--dir=~/x","~","$${HOME}","$"]}"#,
            r#"{"command":"/bin/sh","args":["-c","$HOME/server"]}"#,
            r#"{"url":"http://h","bearer":"$aB3"}"#,
        ] {
            assert_eq!(read(server).diagnostics, [], "{server}");
        }
    }
    #[test]
    fn a_header_that_is_wrong_is_told_at_the_headers_and_not_at_the_url() {
        for (server, key) in [
            (r#"{"url":"http://h","headers":{"A b":"s3cret"}}"#, "headers.A…"),
            (r#"{"url":"ws://h","headers":{"A":"s3cret\n"}}"#, "headers.A"),
            (r#"{"url":"http://h","headers":{"MCP-Session-Id":"s3cret"}}"#, "headers"),
            (r#"{"url":"http://h","bearer":"s3cret\n"}"#, "bearer"),
        ] {
            let error = mistake(&format!(r#"{{"mcpServers":{{"a":{server}}}}}"#));
            assert_eq!(error.key, format!("mcpServers.a.{key}"), "{error}");
            assert!(error.reason.contains("header") && !error.reason.contains("s3cret"), "{error}");
        }
    }
    #[test]
    fn each_header_that_is_wrong_is_told_at_its_own_place() {
        let found = ConfigFile::mistakes(
            "{\"mcpServers\":{\"a\":{\"url\":\"http://h\",\"headers\":{\n\"Auth orization\":\"t\",\n\"X\":\"a\\nb\"}}}}",
        );
        let told: Vec<_> = found.iter().map(|found| (found.line, &*found.error.key)).collect();
        assert_eq!(told, [(2, "mcpServers.a.headers.Auth…"), (3, "mcpServers.a.headers.X")], "{found:?}");
    }
    #[test]
    fn a_list_in_place_of_an_object_is_a_mistake_at_any_depth() {
        for (text, key) in [
            (r#"{"mcpServers":{},"troupe":[]}"#, "troupe"),
            (r#"{"mcpServers":{},"troupe":{"pool":[]}}"#, "troupe.pool"),
            (r#"{"mcpServers":{},"troupe":{"restart":{"backoff":["1s"]}}}"#, "troupe.restart.backoff"),
            (r#"{"mcpServers":{},"discovery":[["file"]]}"#, "discovery[0]"),
            (
                r#"{"mcpServers":{},"discovery":[{"type":"file","path":"p","rules":[]}]}"#,
                "discovery[0].rules",
            ),
            (r#"{"mcpServers":{"a":{"command":"c","pool":[1,2]}}}"#, "mcpServers.a.pool"),
            (r#"{"mcpServers":{"a":{"command":"c","breaker":[]}}}"#, "mcpServers.a.breaker"),
            (r#"{"mcpServers":{"a":{"url":"https://h","tls":[]}}}"#, "mcpServers.a.tls"),
        ] {
            let found = ConfigFile::mistakes(text);
            let told: Vec<_> = found.iter().map(|found| (&*found.error.key, &*found.error.reason)).collect();
            assert_eq!(told, [(key, "invalid type: a list, expected an object")], "{text}");
        }
    }

    #[test]
    fn mistakes_that_many_make_are_told_with_what_to_write() {
        for (server, advice) in [
            (r#"{"command":["npx","-y","x"]}"#, "its first item alone, and the others into args"),
            (r#"{"command":"npx","args":"-y x"}"#, "each argument as an item of a list"),
            (r#"{"command":"npx","env":["A=B"]}"#, r#"write {"NAME": "value"}"#),
            (r#"{"url":"http://h","headers":"A: b"}"#, r#"write {"NAME": "value"}"#),
            (r#"{"command":"npx","environment":{"A":"b"}}"#, "did you mean `env`?"),
            (r#"{"cmd":"npx"}"#, "did you mean `command`?"),
            (r#"{"command":"npx","disabled":"true"}"#, "true or false, without quotes"),
            (r#"{"command":"npx","tools":{"a":true}}"#, "a list of their names"),
            (r#"{"command":"npx","type":"http"}"#, r#"write "type": "stdio""#),
            (r#"{"command":"npx","bearer":"s3cret"}"#, "or the command"),
            (r#"{"command":"npx","timeout":"60"}"#, r#"write "60s""#),
            (r#""npx""#, r#"write {"command": …} or {"url": …}"#),
            (r#"{"command":"npx","args":["-p",8080]}"#, "write it in quotes"),
            (r#"{"command":"npx","args":[true]}"#, "write it in quotes"),
            (r#"{"url":"http://h","headers":{"Authorization:":"s3cret"}}"#, "take the colon out"),
            (r#"{"command":"c","pool.handshakeTimeout":"60s"}"#, r#"write "pool": {"handshakeTimeout": …}"#),
            (r#"{"command":"c","callTimeout":"60s"}"#, "did you mean `timeout`?"),
            (r#"{"command":"c","knownLists":"x"}"#, r#"write it within "troupe": {…} beside mcpServers"#),
        ] {
            let found = ConfigFile::mistakes(&format!(r#"{{"mcpServers":{{"a":{server}}}}}"#));
            let told = found[0].advice.as_deref().unwrap_or_default();
            assert!(found.len() == 1 && told.contains(advice), "{server}: {found:?}");
        }
        let file = parse(r#"{"mcpServers":{"a":{"url":"http://h","bearer":"Bearer s3cret"}}}"#).unwrap();
        let told = file.diagnostics[0].to_string();
        assert!(file.servers.len() == 1 && told.contains("write the token alone"), "{told}");
        assert!(!told.contains("s3cret"), "{told}");
        let nested = mistake(r#"{"mcp":{"servers":{"a":{"command":"x"}}}}"#);
        assert!(
            nested.reason.contains(r#"put what stands under "mcp.servers" under "mcpServers""#),
            "{nested}"
        );
    }
    #[test]
    fn a_setting_that_stands_in_the_wrong_place_is_told_with_its_own() {
        let text =
            r#"{"mcpServers":{},"callTimeout":"9s","foreign":1,"troupe":{"pool.handshakeTimeout":"9s"}}"#;
        let told: Vec<String> =
            ConfigFile::diagnose(text, &Variables::new()).iter().map(ToString::to_string).collect();
        let expected = [
            r#"1:18: warning: callTimeout: has no meaning here: write it within "troupe": {…}"#,
            "1:37: warning: foreign: has no meaning here",
            r#"1:59: error: troupe.pool.handshakeTimeout: unknown key `pool.handshakeTimeout`: write "pool": {"handshakeTimeout": …}"#,
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn paths_of_settings_and_sources_know_the_home_and_no_folder_is_called_like_a_reference() {
        let variables = Variables::new().environment(|_| None).set("userHome", "/home/me");
        let read =
            |rest: &str| ConfigFile::parse_with(&format!(r#"{{"mcpServers":{{}},{rest}}}"#), &variables);
        for written in ["~/lists.json", "${userHome}/lists.json"] {
            let file = read(&format!(r#""troupe":{{"knownLists":"{written}"}}"#)).unwrap();
            assert_eq!(
                file.settings.known_lists.as_deref(),
                Some(Path::new("/home/me/lists.json")),
                "{written}"
            );
        }
        for odd in ["$HOME/lists.json", "%APPDATA%/lists.json", "~bob/lists.json"] {
            for (key, troupe) in [
                ("troupe.knownLists", format!(r#"{{"knownLists":"{odd}"}}"#)),
                ("troupe.pins.file", format!(r#"{{"pins":{{"file":"{odd}"}}}}"#)),
            ] {
                let file = read(&format!(r#""troupe":{troupe}"#)).unwrap();
                let warned: Vec<_> = file.diagnostics.iter().map(|found| found.error.key.as_str()).collect();
                assert_eq!(warned, [key], "{odd}");
                assert!(file.diagnostics[0].advice.is_some());
            }
        }
        let refused = read(r#""troupe":{"knownLists":"${NOT_SET}/lists.json"}"#).unwrap_err();
        assert!(
            refused.to_string().starts_with("troupe.knownLists: the variable NOT_SET is not set"),
            "{refused}"
        );
        let secret = Variables::new()
            .environment(|name| (name == "KEY").then(|| "s3cret-of-more-than-thirty-bytes-".into()));
        for settings in
            [r#"{"pins":{"file":"${KEY}/x"}}"#, r#"{"knownLists":"${KEY}"}"#, r#"{"pins":{"file":"${NO}"}}"#]
        {
            let text = format!(r#"{{"mcpServers":{{}},"troupe":{settings}}}"#);
            let found = ConfigFile::diagnose(&text, &secret);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(!format!("{found:?}").contains("s3cret"), "{found:?}");
        }
        for (written, path) in [
            ("${XDG_CACHE_HOME:-~/.cache}/l", "/home/me/.cache/l"),
            ("/var/${APP:-mcp}/l", "/var/mcp/l"),
            ("${PINS:-lists.json}", "lists.json"),
        ] {
            let file = read(&format!(r#""troupe":{{"knownLists":"{written}"}}"#)).unwrap();
            assert_eq!(file.settings.known_lists.as_deref(), Some(Path::new(path)), "{written}");
        }
        let file = read(r#""troupe":{"pins":{"file":"~/pins.json"}}"#).unwrap();
        assert_eq!(file.settings.pins.unwrap().file, Path::new("/home/me/pins.json"));
        let file = read(r#""discovery":[{"type":"file","path":"~/servers"}]"#).unwrap();
        assert!(format!("{:?}", file.sources).contains("/home/me/servers"), "{:?}", file.sources);
        let file = read(r#""discovery":[]"#).unwrap();
        assert_eq!(file.settings.known_lists, None);
        let found = ConfigFile::parse_with(
            r#"{"mcpServers":{"a":{"url":"https://h","tls":{"caFile":"~/no-such-ca.pem"}}}}"#,
            &variables,
        );
        assert!(format!("{:?}", found.unwrap().diagnostics).contains("/home/me/no-such-ca.pem"));
    }

    #[test]
    fn what_may_be_written_in_several_ways_is_told_with_each_of_them() {
        for (text, key, says) in [
            (
                r#"{"mcpServers":{"a":{"url":"ws://h","subprotocol":7}}}"#,
                "mcpServers.a.subprotocol",
                "a name, a list of",
            ),
            (
                r#"{"mcpServers":{"a":{"command":"c","tools":{"x":1}}}}"#,
                "mcpServers.a.tools",
                "a name or a list of names",
            ),
            (
                r#"{"mcpServers":{},"troupe":{"inheritEnv":"s3cret"}}"#,
                "troupe.inheritEnv",
                "a list of names, or `all`",
            ),
        ] {
            let error = mistake(text);
            assert_eq!(error.key, key, "{error}");
            assert!(error.reason.contains(says) && !error.reason.contains("untagged"), "{error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
