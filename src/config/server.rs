//! One server as the operator describes it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::settings::time;
use super::{
    BreakerSettings, ConfigError, Dialect, EraChoice, PoolSettings, Settings, Start, TlsOptions, ToolChoice,
    shown, shown_url,
};
use crate::id::{GroupId, ServerId};
use crate::secret::Secret;
use crate::token::{TokenProvider, TokenSource};

/// The most a weight may be: a spread of 1 to 1,000 says all that balancing can use.
pub const WEIGHT_MAX: u32 = 1000;

/// The header that carries credentials.
pub(super) const AUTHORIZATION: &str = "Authorization";

/// How a bearer token begins there.
pub(crate) const BEARER: &str = "Bearer ";

/// Which WebSocket subprotocol is offered.
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SubprotocolChoice {
    /// `mcp`; none where the server knows no subprotocols, which is remembered.
    #[default]
    Auto,
    /// None.
    None,
    /// Exactly these. Never shown: some servers take a token as one of them.
    Offer(Vec<String>),
}

impl fmt::Debug for SubprotocolChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("Auto"),
            Self::None => f.write_str("None"),
            Self::Offer(names) => write!(f, "Offer([{} of them])", names.len()),
        }
    }
}

/// Whether HTTP requests go through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ProxyChoice {
    /// They go to the server itself, whatever the environment says.
    #[default]
    None,
    /// As the environment says: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`.
    Environment,
}

/// How a server is reached.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// A WebSocket.
    WebSocket {
        /// `ws://` or `wss://`, without user info.
        url: String,
        /// Headers of the upgrade request: the place for tokens. Never shown.
        headers: Vec<(String, Secret)>,
        /// The subprotocol that is offered.
        subprotocol: SubprotocolChoice,
    },
    /// Streamable HTTP.
    Http {
        /// `http://` or `https://`, without user info.
        url: String,
        /// Headers of every request: the place for tokens. Never shown.
        headers: Vec<(String, Secret)>,
        /// Whether requests go through a proxy.
        proxy: ProxyChoice,
    },
    /// A child process, with one message per line on its stdin and stdout.
    Stdio {
        /// The program: a path, or a name that is looked up in `PATH`. No shell reads it. It is shown up to its first space.
        command: String,
        /// Its arguments. Never shown: some carry tokens.
        args: Vec<String>,
        /// Variables on top of the few that every server inherits. Their values are never shown.
        env: BTreeMap<String, Secret>,
        /// The folder it runs in; the host's own unless said.
        cwd: Option<PathBuf>,
    },
    /// Through a connector that the host gives beside the server.
    Custom,
}

impl Endpoint {
    /// The key of a server that says where it is.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::WebSocket { .. } | Self::Http { .. } => "url",
            Self::Stdio { .. } => "command",
            Self::Custom => "connector",
        }
    }

    /// Whether it is reached over TLS.
    fn is_encrypted(&self) -> bool {
        let scheme = |url: &str| url.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
        match self {
            Self::WebSocket { url, .. } => scheme(url).is_some_and(|scheme| scheme == "wss"),
            Self::Http { url, .. } => scheme(url).is_some_and(|scheme| scheme == "https"),
            Self::Stdio { .. } | Self::Custom => false,
        }
    }

    /// Checks what can be checked without trying it.
    fn check(&self) -> Result<(), ConfigError> {
        match self {
            // Its connector checks the rest.
            Self::WebSocket { headers, .. } | Self::Http { headers, .. } => {
                let mut authorizations = headers.iter().filter(|(name, _)| is_authorization(name));
                let (one, another) = (authorizations.next(), authorizations.next());
                if another.is_some() {
                    return Err(ConfigError::new("bearer", "stands beside another Authorization header"));
                }
                match one {
                    Some((_, value)) if value.expose() == BEARER => {
                        Err(ConfigError::new("bearer", "is empty"))
                    }
                    Some(_) | None => Ok(()),
                }
            }
            Self::Custom => Ok(()),
            Self::Stdio { command, args, env, cwd } => {
                let nul = "has a NUL character, which no program can be given";
                if command.trim().is_empty() {
                    return Err(ConfigError::new("command", "is empty: say which program to start"));
                }
                if command.contains('\0') {
                    return Err(ConfigError::new("command", nul));
                }
                if let Some(n) = args.iter().position(|arg| arg.contains('\0')) {
                    return Err(ConfigError::new(format!("args[{n}]"), nul));
                }
                for (name, value) in env {
                    if name.is_empty() || name.contains(['=', '\0']) {
                        let reason = format!(
                            "{:?} is no name of a variable: it is empty, or has a = or NUL",
                            shown::name(name)
                        );
                        return Err(ConfigError::new("env", reason));
                    }
                    if value.expose().contains('\0') {
                        return Err(ConfigError::new(format!("env.{}", shown::name(name)), nul));
                    }
                }
                match cwd {
                    Some(cwd) if cwd.as_os_str().is_empty() => Err(ConfigError::new("cwd", "is empty")),
                    Some(_) | None => Ok(()),
                }
            }
        }
    }

    /// The pool of a server that has none of its own. Each connection to a stdio server is a process, and more than one
    /// of them is more than its operator may expect; of HTTP sessions more than one would gain nothing, since each
    /// request travels alone.
    fn usual_pool(&self, pool: &PoolSettings) -> PoolSettings {
        match self {
            Self::WebSocket { .. } | Self::Custom => pool.clone(),
            Self::Http { .. } | Self::Stdio { .. } => PoolSettings { min: 1, max: 1, ..pool.clone() },
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WebSocket { url, headers, subprotocol } => f
                .debug_struct("WebSocket")
                .field("url", &shown_url(url))
                .field("headers", &shown::names(headers.iter().map(|(name, _)| name)))
                .field("subprotocol", subprotocol)
                .finish(),
            Self::Http { url, headers, proxy } => f
                .debug_struct("Http")
                .field("url", &shown_url(url))
                .field("headers", &shown::names(headers.iter().map(|(name, _)| name)))
                .field("proxy", proxy)
                .finish(),
            Self::Stdio { command, args, env, cwd } => f
                .debug_struct("Stdio")
                .field("command", &shown::command(command))
                .field("args", &format_args!("[{} of them]", args.len()))
                .field("env", &shown::names(env.keys()))
                .field("cwd", cwd)
                .finish(),
            Self::Custom => f.write_str("Custom"),
        }
    }
}

/// Whether a header is the one that carries credentials.
pub(super) fn is_authorization(name: &str) -> bool {
    name.eq_ignore_ascii_case(AUTHORIZATION)
}

/// One server: its id, how it is reached, and what differs from the troupe's settings.
///
/// ```
/// use mcp_troupe::Server;
///
/// let server = Server::websocket("files-1", "ws://127.0.0.1:3000").group("files").tag("storage").weight(200);
/// # drop(server);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a server does nothing until it is given to a troupe"]
pub struct Server {
    pub(crate) id: String,
    pub(crate) endpoint: Endpoint,
    pub(crate) tls: TlsOptions,
    pub(crate) tokens: Option<TokenSource>,
    pub(crate) group: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) weight: u32,
    pub(crate) priority: u16,
    pub(crate) trusted: bool,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) dialect: Dialect,
    pub(crate) era: EraChoice,
    pub(crate) stream: bool,
    pub(crate) start: Option<Start>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) pool: Option<PoolSettings>,
    pub(crate) breaker: Option<BreakerSettings>,
    pub(crate) tool_choice: ToolChoice,
    /// What references in its command line stood for: taken out of what it writes to stderr.
    pub(crate) looked_up: Vec<Secret>,
}

impl Server {
    /// A server behind a WebSocket, `ws://…` or `wss://…`.
    pub fn websocket(id: impl Into<String>, url: impl Into<String>) -> Self {
        Self::at(
            id,
            Endpoint::WebSocket {
                url: url.into(),
                headers: Vec::new(),
                subprotocol: SubprotocolChoice::default(),
            },
        )
    }

    /// A server behind Streamable HTTP, `http://…` or `https://…`.
    pub fn http(id: impl Into<String>, url: impl Into<String>) -> Self {
        let endpoint = Endpoint::Http { url: url.into(), headers: Vec::new(), proxy: ProxyChoice::default() };
        Self::at(id, endpoint)
    }

    /// A server that is started as a child process, and spoken to over its stdin and stdout. No shell reads the command;
    /// the environment is a minimal one, see [`env`](Self::env).
    ///
    /// Unless it gets a [`pool`](Self::pool) of its own it has one process.
    ///
    /// ```
    /// use mcp_troupe::Server;
    ///
    /// let server = Server::stdio("db", "my-db-server", ["--readonly"]).env("DB_TOKEN", "…").cwd("/srv/db");
    /// # drop(server);
    /// ```
    pub fn stdio(
        id: impl Into<String>,
        command: impl Into<String>,
        args: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let args = args.into_iter().map(Into::into).collect();
        Self::at(id, Endpoint::Stdio { command: command.into(), args, env: BTreeMap::new(), cwd: None })
    }

    /// A server that is reached through a connector of the host's own.
    pub fn custom(id: impl Into<String>) -> Self {
        Self::at(id, Endpoint::Custom)
    }

    pub(super) fn at(id: impl Into<String>, endpoint: Endpoint) -> Self {
        Self {
            id: id.into(),
            endpoint,
            tls: TlsOptions::default(),
            tokens: None,
            group: None,
            tags: Vec::new(),
            weight: 100,
            priority: 0,
            trusted: false,
            metadata: BTreeMap::new(),
            dialect: Dialect::default(),
            era: EraChoice::default(),
            stream: true,
            start: None,
            idle_timeout: None,
            timeout: None,
            pool: None,
            breaker: None,
            tool_choice: ToolChoice::default(),
            looked_up: Vec::new(),
        }
    }

    /// The group: servers of one group are replicas, and calls are balanced over them. Its own id unless said.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// A tag that calls can select by; several calls add several.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Its share of the calls beside its replicas', 1 to 1,000; 100 unless said.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Its rank among its replicas, as in DNS: the lower the sooner, 0 unless said. Calls go to those of the lowest number,
    /// and to others only while none of these is up.
    pub fn priority(mut self, priority: u16) -> Self {
        self.priority = priority;
        self
    }

    /// What it says of its tools (`readOnlyHint`) is believed where a setting asks for that, see
    /// [`CacheSettings::trusted_ttl`](super::CacheSettings::trusted_ttl). What other servers say decides nothing.
    pub fn trusted(mut self) -> Self {
        self.trusted = true;
        self
    }

    /// Something that the host wants to know of it; the troupe only shows it.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// The vocabulary it speaks.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// The era of the protocol that it speaks; found by a probe unless said.
    pub fn era(mut self, era: EraChoice) -> Self {
        self.era = era;
        self
    }

    /// Whether it is asked for a stream of what it says unasked, such as that its tools changed; it is unless said. Without one
    /// an HTTP server is sent nothing but requests and their notices, which some need that work on one request at a time. Such a
    /// server is mostly found out by itself.
    pub fn stream(mut self, wanted: bool) -> Self {
        self.stream = wanted;
        self
    }

    /// A header of the WebSocket upgrade request, or of every HTTP request, such as `Authorization`. It is never shown.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        match &mut self.endpoint {
            Endpoint::WebSocket { headers, .. } | Endpoint::Http { headers, .. } => {
                headers.push((name.into(), value.into()));
            }
            Endpoint::Stdio { .. } | Endpoint::Custom => {}
        }
        self
    }

    /// The bearer token of the WebSocket upgrade request, or of every HTTP request: the header `Authorization: Bearer …`,
    /// which it must not have otherwise. It is never shown.
    pub fn bearer(self, token: impl Into<Secret>) -> Self {
        let token: Secret = token.into();
        self.header(AUTHORIZATION, format!("{BEARER}{}", token.expose()))
    }

    /// Where its bearer tokens come from, in place of one that stays the same: asked for when it is dialled (WebSocket) or sent a
    /// request (HTTP), renewed before they expire, and once when it refuses one. Another provider is another way to the server:
    /// where that is described anew, a clone of this description keeps its connections.
    pub fn tokens(mut self, provider: impl TokenProvider) -> Self {
        self.tokens = Some(TokenSource(Arc::new(provider)));
        self
    }

    /// How a server at `wss` or `https` is verified, and the certificate that it is shown. For another server it is a mistake.
    pub fn tls(mut self, tls: TlsOptions) -> Self {
        self.tls = tls;
        self
    }

    /// Whether HTTP requests go through a proxy.
    pub fn proxy(mut self, choice: ProxyChoice) -> Self {
        if let Endpoint::Http { proxy, .. } = &mut self.endpoint {
            *proxy = choice;
        }
        self
    }

    /// The WebSocket subprotocol that is offered.
    pub fn subprotocol(mut self, choice: SubprotocolChoice) -> Self {
        if let Endpoint::WebSocket { subprotocol, .. } = &mut self.endpoint {
            *subprotocol = choice;
        }
        self
    }

    /// A variable of the environment of a stdio server's process: the place for tokens. Its value is never shown. Of the
    /// host's environment the process inherits only what tells where things are, such as `PATH` and `HOME`.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        if let Endpoint::Stdio { env, .. } = &mut self.endpoint {
            env.insert(name.into(), value.into());
        }
        self
    }

    /// The folder that a stdio server's process runs in.
    pub fn cwd(mut self, folder: impl Into<PathBuf>) -> Self {
        if let Endpoint::Stdio { cwd, .. } = &mut self.endpoint {
            *cwd = Some(folder.into());
        }
        self
    }

    /// When it is started; as the troupe's settings say unless said here. With [`Start::OnDemand`] its process is started, or its
    /// connection opened, by the first call that needs it, where its tools are known: from its last run
    /// ([`Settings::known_lists`]), or since it has listed them in this one. Otherwise it is started once, to be listed.
    pub fn start(mut self, start: Start) -> Self {
        self.start = Some(start);
        self
    }

    /// How long nothing needs it before it is stopped, where it is started on demand; as the troupe's settings say unless said
    /// here.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// The deadline of calls to it that name none and whose tool names none.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Pool settings of its own. Of a stdio server each connection is a process.
    pub fn pool(mut self, pool: PoolSettings) -> Self {
        self.pool = Some(pool);
        self
    }

    /// Breaker settings of its own.
    pub fn breaker(mut self, breaker: BreakerSettings) -> Self {
        self.breaker = Some(breaker);
        self
    }

    /// Offers only these of its tools, by the names that the server gives them; `*` stands for all. A call of another is one of
    /// an unknown tool. Several calls add up.
    pub fn only_tools(mut self, tools: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tool_choice.add_only("only_tools", tools.into_iter().map(Into::into));
        self
    }

    /// Offers none of these of its tools, by the names that the server gives them; `*` stands for all. A call of one is a call of
    /// an unknown tool. Several calls add up, and go before [`only_tools`](Self::only_tools).
    pub fn without_tools(mut self, tools: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tool_choice.add_without("without_tools", tools.into_iter().map(Into::into));
        self
    }

    /// Its id as the operator wrote it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The group that it belongs to: one of its own, called as it is, unless it was given another.
    pub fn group_name(&self) -> &str {
        self.group.as_deref().unwrap_or(&self.id)
    }

    /// How it is reached.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What is noted of it under a key; see [`metadata`](Self::metadata). A `servers.json` notes `name`, where the id is not the
    /// name that the file gives it, `description`, `autoApprove`, `alwaysAllow` and `trust`.
    pub fn metadata_of(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// Checks it and settles what it leaves to the troupe. The error names the key, `<id>.<key>`.
    pub(crate) fn settle(self, settings: &Settings, order: usize) -> Result<ServerSpec, ConfigError> {
        let id = ServerId::new(&self.id).map_err(|error| ConfigError::new(&self.id, error.to_string()))?;
        let at = |key: &str| format!("{id}.{key}");
        let group = match &self.group {
            Some(group) => {
                GroupId::new(group).map_err(|error| ConfigError::new(at("group"), error.to_string()))?
            }
            None => GroupId::from(&id),
        };
        if !(1..=WEIGHT_MAX).contains(&self.weight) {
            let reason = format!("{} is not between 1 and {WEIGHT_MAX}", self.weight);
            return Err(ConfigError::new(at("weight"), reason));
        }
        if let Some(timeout) = self.timeout {
            time(&at("timeout"), timeout)?;
        }
        if let Some(timeout) = self.idle_timeout {
            time(&at("idleTimeout"), timeout)?;
        }
        if self.tags.iter().any(|tag| tag.is_empty() || tag.len() > crate::id::ID_BYTES_MAX) {
            return Err(ConfigError::new(at("tags"), "one of them is empty or longer than 64 characters"));
        }
        self.endpoint.check().map_err(|error| error.under(id.as_str()))?;
        self.tls.check().map_err(|error| error.under(&at("tls")))?;
        if !self.tls.is_default() && !self.endpoint.is_encrypted() {
            return Err(ConfigError::new(
                at("tls"),
                "has no meaning for a server that is not at wss or https",
            ));
        }
        if self.tokens.is_some() {
            match &self.endpoint {
                Endpoint::WebSocket { headers, .. } | Endpoint::Http { headers, .. } => {
                    if headers.iter().any(|(name, _)| is_authorization(name)) {
                        return Err(ConfigError::new(at("tokens"), "stands beside an Authorization header"));
                    }
                }
                Endpoint::Stdio { .. } | Endpoint::Custom => {
                    return Err(ConfigError::new(at("tokens"), "has no meaning for a server without a url"));
                }
            }
        }
        let pool = self.pool.unwrap_or_else(|| self.endpoint.usual_pool(&settings.pool));
        pool.check().map_err(|error| error.under(&at("pool")))?;
        let breaker = self.breaker.unwrap_or_else(|| settings.breaker.clone());
        breaker.check().map_err(|error| error.under(&at("breaker")))?;
        let mut tags = self.tags;
        tags.sort();
        tags.dedup();
        Ok(ServerSpec {
            id,
            group,
            endpoint: self.endpoint,
            tls: self.tls,
            tokens: self.tokens,
            tags,
            weight: self.weight,
            priority: self.priority,
            trusted: self.trusted,
            metadata: self.metadata,
            dialect: self.dialect,
            era: self.era,
            stream: self.stream,
            start: self.start.unwrap_or(settings.start),
            idle_timeout: self.idle_timeout.unwrap_or(settings.idle_timeout),
            timeout: self.timeout,
            pool,
            breaker,
            tool_choice: self.tool_choice,
            looked_up: self.looked_up,
            order,
        })
    }
}

/// A server whose description was checked and completed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ServerSpec {
    pub id: ServerId,
    pub group: GroupId,
    pub endpoint: Endpoint,
    pub tls: TlsOptions,
    pub tokens: Option<TokenSource>,
    /// Sorted, without repetitions.
    pub tags: Vec<String>,
    pub weight: u32,
    pub priority: u16,
    pub trusted: bool,
    pub metadata: BTreeMap<String, String>,
    pub dialect: Dialect,
    pub era: EraChoice,
    pub stream: bool,
    pub start: Start,
    pub idle_timeout: Duration,
    pub timeout: Option<Duration>,
    pub pool: PoolSettings,
    pub breaker: BreakerSettings,
    pub tool_choice: ToolChoice,
    /// What references in its command line stood for.
    pub looked_up: Vec<Secret>,
    /// Its place among the registrations; settles which of two equal tools is shown.
    pub order: usize,
}

impl ServerSpec {
    /// Whether it is reached through a connector of the host's own.
    pub(crate) fn is_custom(&self) -> bool {
        self.endpoint == Endpoint::Custom
    }

    /// Whether both descriptions name the same server, reached as the same client.
    pub(crate) fn is_at_the_same_address(&self, other: &Self) -> bool {
        (&self.endpoint, &self.tls, &self.tokens) == (&other.endpoint, &other.tls, &other.tokens)
    }

    /// Whether the same connections serve both descriptions. Each field is named, so that a new one is given its place here.
    pub(crate) fn reaches_alike(&self, other: &Self) -> bool {
        let Self {
            id,
            endpoint,
            tls,
            tokens,
            dialect,
            era,
            stream,
            pool,
            breaker,
            // What the router, the registry and the handles go by, who are told.
            group: _,
            tags: _,
            weight: _,
            priority: _,
            trusted: _,
            metadata: _,
            timeout: _,
            tool_choice: _,
            // What its actor goes by, which is told.
            start: _,
            idle_timeout: _,
            order: _,
            // Part of the endpoint as well.
            looked_up: _,
        } = self;
        (id, endpoint, tls, tokens) == (&other.id, &other.endpoint, &other.tls, &other.tokens)
            && (dialect, era, stream) == (&other.dialect, &other.era, &other.stream)
            && (pool, breaker) == (&other.pool, &other.breaker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(server: Server) -> Result<ServerSpec, ConfigError> {
        server.settle(&Settings::default(), 0)
    }

    #[test]
    fn a_server_is_a_group_of_its_own_unless_it_names_one() {
        let spec = settle(Server::websocket("a", "ws://h")).unwrap();
        assert_eq!(spec.group.as_str(), "a");
        let spec = settle(Server::websocket("a", "ws://h").group("g")).unwrap();
        assert_eq!(spec.group.as_str(), "g");
    }

    #[test]
    fn a_mistake_names_the_server_and_the_key() {
        let error = settle(Server::websocket("a", "ws://h").weight(0)).unwrap_err();
        assert_eq!(error.key, "a.weight");
        let error = settle(Server::websocket("a", "ws://h").group("g/1")).unwrap_err();
        assert_eq!(error.key, "a.group");
        let pool = PoolSettings { max: 0, ..PoolSettings::default() };
        assert_eq!(settle(Server::custom("a").pool(pool)).unwrap_err().key, "a.pool.max");
    }

    #[test]
    fn a_token_is_never_shown() {
        for server in
            [Server::websocket("a", "ws://h/p?token=s3cret"), Server::http("a", "http://h/p?token=s3cret")]
        {
            let shown = format!("{:?}", server.header("Authorization", "Bearer s3cret"));
            assert!(!shown.contains("s3cret") && shown.contains("Authorization"), "{shown}");
        }
        let server = Server::stdio("a", "db-server", ["--token=s3cret"]).env("DB_TOKEN", "s3cret");
        let shown = format!("{server:?}");
        assert!(!shown.contains("s3cret") && shown.contains("db-server"), "{shown}");
        assert!(shown.contains("DB_TOKEN"), "{shown}");
        let none: [&str; 0] = [];
        for misplaced in [
            Server::stdio("a", "npx server --token s3cret", none),
            Server::stdio("a", "npx", none).env("TOKEN=s3cret", ""),
            Server::http("a", "http://h").header("Authorization: Bearer s3.s3cret", ""),
            Server::http("a", "http://alice:s3/cret@h"),
            Server::http("a", "http://h/api/s3cret/mcp"),
            Server::websocket("a", "ws://h").subprotocol(SubprotocolChoice::Offer(vec!["s3cret".to_owned()])),
            Server::websocket("a", "wss://h").tls(TlsOptions::new().ca_file("-----BEGIN KEY-----\ns3cret")),
        ] {
            let shown = format!("{misplaced:?}");
            assert!(!shown.contains("s3cret") && !shown.contains("cret@"), "{shown}");
        }
    }

    #[test]
    fn a_bearer_token_is_the_one_authorization_or_a_mistake() {
        let server = Server::http("a", "http://h").bearer("t");
        assert_eq!(server, Server::http("a", "http://h").header("Authorization", "Bearer t"));
        settle(server.clone()).unwrap();
        for wrong in [server.header("authorization", "Basic x"), Server::websocket("a", "ws://h").bearer("")]
        {
            assert_eq!(settle(wrong).unwrap_err().key, "a.bearer");
        }
    }

    #[test]
    fn a_provider_of_tokens_needs_a_place_to_put_them() {
        struct None;
        impl TokenProvider for None {
            fn token(
                &self,
                _: crate::token::TokenNeed,
            ) -> futures_util::future::BoxFuture<'_, Result<crate::token::Token, crate::token::TokenError>>
            {
                Box::pin(std::future::pending())
            }
        }
        settle(Server::http("a", "http://h").header("X-Key", "k").tokens(None)).unwrap();
        let beside = Server::websocket("a", "ws://h").bearer("t").tokens(None);
        for wrong in [beside, Server::custom("a").tokens(None)] {
            assert_eq!(settle(wrong).unwrap_err().key, "a.tokens");
        }
    }

    #[test]
    fn one_process_and_one_http_session_are_enough_unless_the_server_says_otherwise() {
        let many = PoolSettings { min: 2, max: 7, ..PoolSettings::default() };
        let settings = Settings { pool: many.clone(), ..Settings::default() };
        let none: [&str; 0] = [];
        let settle = |server: Server| server.settle(&settings, 0).unwrap().pool;
        for server in [Server::stdio("a", "db", none), Server::http("a", "http://h")] {
            let pool = settle(server.clone());
            assert_eq!((pool.min, pool.max), (1, 1));
            let pool = settle(server.pool(many.clone()));
            assert_eq!((pool.min, pool.max), (2, 7));
        }
    }

    #[test]
    fn a_server_starts_as_the_troupe_says_unless_it_says_otherwise() {
        let minute = Duration::from_secs(60);
        let settings = Settings { start: Start::OnDemand, idle_timeout: minute, ..Settings::default() };
        let settled = |server: Server| {
            let spec = server.settle(&settings, 0).unwrap();
            (spec.start, spec.idle_timeout)
        };
        let server = || Server::custom("a");
        assert_eq!(settled(server()), (Start::OnDemand, minute));
        let own = server().start(Start::AtOnce).idle_timeout(2 * minute);
        assert_eq!(settled(own), (Start::AtOnce, 2 * minute));
        let usual = server().settle(&Settings::default(), 0).unwrap();
        assert_eq!((usual.start, usual.idle_timeout), (Start::AtOnce, 10 * minute));
        let wrong = server().idle_timeout(Duration::ZERO).settle(&settings, 0).unwrap_err();
        assert_eq!(wrong.key, "a.idleTimeout");
    }

    #[test]
    fn tls_that_would_not_be_used_is_a_mistake() {
        let tls = TlsOptions::new().ca_file("ca.pem");
        let none: [&str; 0] = [];
        for server in [
            Server::http("a", "http://h"),
            Server::websocket("a", "ws://h"),
            Server::stdio("a", "db", none),
            Server::custom("a"),
        ] {
            assert_eq!(settle(server.tls(tls.clone())).unwrap_err().key, "a.tls");
        }
        assert_eq!(settle(Server::websocket("a", "wss://h").tls(tls.clone())).unwrap().tls, tls);
    }

    #[test]
    fn what_no_program_can_be_given_is_told_with_its_key() {
        let cases = [
            (Server::stdio("a", " ", ["x"]), "a.command"),
            (Server::stdio("a", "d\0b", ["x"]), "a.command"),
            (Server::stdio("a", "db", ["x", "y\0"]), "a.args[1]"),
            (Server::stdio("a", "db", ["x"]).env("", "x"), "a.env"),
            (Server::stdio("a", "db", ["x"]).env("A=B", "x"), "a.env"),
            (Server::stdio("a", "db", ["x"]).env("A", "s3cret\0"), "a.env.A"),
            (Server::stdio("a", "db", ["x"]).cwd(""), "a.cwd"),
        ];
        for (server, key) in cases {
            let error = settle(server).unwrap_err();
            assert_eq!(error.key, key);
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
