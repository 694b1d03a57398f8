//! Reads a `servers.json`: one parse, then each server for itself, so that what is wrong with one costs that one alone.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::expand::{Variables, looks_unexpanded};
use super::file::{NO_SSE, NO_SSE_ADVICE, WrittenServer};
use super::gateway::KEYS_TO_COME;
use super::mistakes::{
    DiagnosticKind, Finding, every_mistake, lists_for_objects, near, placed, read_value, remove, unknown_key,
    unknown_word,
};
use super::programs;
use super::source::WrittenSource;
use super::text::{Entry, Node, Span, Unreadable};
use super::{
    ConfigError, ConfigFile, Diagnostic, GatewaySettings, Knowing, Server, Settings, Severity, SourceConfig,
    Start, shown, text,
};
use crate::id::ID_BYTES_MAX;
use crate::secret::Secret;

/// Where a mistake is that concerns the file as a whole.
pub(super) const WHOLE: &str = "servers.json";

/// The program of a server whose own way to be reached cannot be read: it is judged, and never started.
const STAND_IN: &str = "stand-in";

/// The key of servers in the file that most clients share, and in that of VS Code.
const MCP_SERVERS: &str = "mcpServers";
const SERVERS: &str = "servers";

/// The same in files of Zed, opencode and Codex, whose servers may be written in another way.
const KEYS_OF_SERVERS: [&str; 3] = ["context_servers", "mcp", "mcp_servers"];

/// What a file looks like.
fn shape(verb: &str) -> String {
    format!("{verb} {{\"{MCP_SERVERS}\": {{\"NAME\": {{\"command\": …}}}}}}")
}

/// Whether a text that is no JSON is nothing like an object.
fn no_object(reason: &str) -> bool {
    reason == text::EMPTY || reason == text::NO_OBJECT
}

/// What else has a meaning beside the servers.
const SCHEMA: &str = "$schema";
const INPUTS: &str = "inputs";
const DISCOVERY: &str = "discovery";
const TROUPE: &str = "troupe";
const GATEWAY: &str = "gateway";
const APART: [&str; 5] = [SCHEMA, INPUTS, DISCOVERY, TROUPE, GATEWAY];

/// Keys of the settings that were renamed, and what they are called now.
const FORMER_KEYS: [(&str, &str); 2] =
    [("questionTimeout", "serverRequestTimeout"), ("limits.questionsMax", "limits.serverRequestsMax")];

/// The same of a source of servers.
const FORMER_KEYS_OF_SOURCES: [(&str, &str); 3] =
    [("tls.authority", "tls.caFile"), ("tls.certificate", "tls.certFile"), ("tls.key", "tls.keyFile")];

/// The largest number that is told of a `timeout`: a day in milliseconds. What is larger is none.
const TIMEOUT_TOLD_MAX: u64 = 100_000_000;

/// A `timeout` of fewer is seconds: in milliseconds no call would end in time. One of more than the other is milliseconds: that is
/// the longest that clients which mean seconds take.
const TIMEOUT_MILLISECONDS_MIN: u64 = 1_000;
const TIMEOUT_SECONDS_MAX: u64 = 3_600;

/// Keys of other clients' files that change nothing here.
pub(super) const IDLE_KEYS: [&str; 18] = [
    "gallery",
    "dev",
    "version",
    "icon",
    "icons",
    "iconPath",
    "iconUrl",
    "faviconUrl",
    "displayName",
    "name",
    "title",
    "source",
    "sourcePath",
    "sourceFile",
    "isDefaultServer",
    "remoteConfigured",
    "alwaysLoad",
    "chatMenu",
];

/// The keys that say how a server is reached, and what they take.
const KINDS_OF_KEYS: [&str; 3] = ["type", "transport", "transportType"];
const KINDS: &str = "`stdio`, `http`, `websocket`";

const NO_LOGIN: &str = "is not used: logins (OAuth) are not supported yet";
const LOGIN_ADVICE: &str = "give a bearer or headers where the server wants a login";
const HANDSHAKE_ADVICE: &str = "say how long its start may take by pool.handshakeTimeout, as \"60s\"";
const CALL_ADVICE: &str = "say how long a call may take by timeout, as \"60s\"";

/// Keys of other clients that mean something which is not done here: what is said of each, and what to write in its place.
pub(super) const FOREIGN_KEYS: [(&str, &str, &str); 20] = [
    // Cursor, Claude Code, Gemini, Kiro, Copilot.
    ("auth", NO_LOGIN, LOGIN_ADVICE),
    ("oauth", NO_LOGIN, LOGIN_ADVICE),
    ("oauthScopes", NO_LOGIN, LOGIN_ADVICE),
    ("oauthClientId", NO_LOGIN, LOGIN_ADVICE),
    ("oauthPublicClient", NO_LOGIN, LOGIN_ADVICE),
    ("requiresOAuth", NO_LOGIN, LOGIN_ADVICE),
    ("authProviderType", NO_LOGIN, LOGIN_ADVICE),
    ("targetAudience", NO_LOGIN, LOGIN_ADVICE),
    ("targetServiceAccount", NO_LOGIN, LOGIN_ADVICE),
    // Claude Code.
    ("headersHelper", "is not used: no program is asked for headers", "give a bearer or headers"),
    // Roo.
    (
        "watchPaths",
        "is not used: a server is not started anew when files change",
        "take it out, or start the host anew after a change",
    ),
    // Warp.
    ("start_on_launch", "is not used", "say when it is started by start, as \"on-demand\""),
    // VS Code.
    (
        "sandbox",
        "is not used: the server runs without a sandbox",
        "put a sandbox of your own before its command",
    ),
    (
        "sandboxEnabled",
        "is not used: the server runs without a sandbox",
        "put a sandbox of your own before its command",
    ),
    // Continue, LibreChat, Cline and others.
    ("connectionTimeout", "is not used", HANDSHAKE_ADVICE),
    ("connectTimeout", "is not used", HANDSHAKE_ADVICE),
    ("initTimeout", "is not used", HANDSHAKE_ADVICE),
    ("startupTimeout", "is not used", HANDSHAKE_ADVICE),
    ("requestTimeout", "is not used", CALL_ADVICE),
    ("toolTimeout", "is not used", CALL_ADVICE),
];

/// Digits of a hash that tell apart ids which were shortened.
const HASH_DIGITS: usize = 8;

/// A server that was read, by the id that it has here.
pub(crate) struct ReadServer {
    pub id: String,
    pub state: ServerState,
}

/// What became of a server's description.
pub(crate) enum ServerState {
    /// It can be played.
    Good(Box<Server>),
    /// It is switched off.
    Disabled,
    /// It has this mistake, and maybe others.
    Wrong(ConfigError),
    /// One of this id stands before it.
    Repeated(ConfigError),
}

/// Servers by the ids that the file gives them, or what is wrong with each. Those that are switched off are not among them.
pub(crate) type ServersOneByOne = Vec<(String, Result<Server, ConfigError>)>;

/// What a text says, and all that was found about it.
pub(crate) struct Reading {
    /// None if there is a mistake that concerns the whole.
    pub file: Result<ConfigFile, ConfigError>,
    /// In the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

/// Puts what stands under a former key of the settings under the present one, unless something stands there.
fn renamed(value: &mut Value, former: &str, now: &str) {
    let (folder, former) = former.rsplit_once('.').unwrap_or(("", former));
    let now = now.rsplit_once('.').map_or(now, |(_, key)| key);
    let holder = if folder.is_empty() { Some(value) } else { value.get_mut(folder) };
    if let Some(holder) = holder.and_then(Value::as_object_mut)
        && let Some(said) = holder.remove(former)
    {
        holder.entry(now).or_insert(said);
    }
}

/// Reads a text in the dialect of a `servers.json`, whatever it says. Of a key that stands twice the last counts.
pub(super) fn value(text: &str) -> Result<Value, Vec<Diagnostic>> {
    let root = text::read(text).map_err(|unreadable| placed(vec![no_json(unreadable)], text, false))?;
    Ok(root.value())
}

fn no_json(Unreadable { span, reason }: Unreadable) -> Finding {
    let advice = no_object(&reason).then(|| shape("begin with"));
    let error = ConfigError::new(WHOLE, reason);
    Finding { severity: Severity::Error, kind: DiagnosticKind::Other, span, server: None, error, advice }
}

/// Reads the text of a `servers.json`.
pub(crate) fn read(text: &str, variables: &Variables, knowing: &Knowing<'_>) -> Reading {
    let mut reader = Reader { variables, start: None, searches: knowing.searches, findings: Vec::new() };
    let root = match text::read(text) {
        Ok(root) => root,
        Err(unreadable) => {
            let finding = no_json(unreadable);
            return Reading { file: Err(finding.joined()), diagnostics: placed(vec![finding], text, false) };
        }
    };
    let file = reader.file(&root, knowing);
    let mut findings = reader.findings;
    findings.sort_by_key(|finding| finding.span.start);
    let errors = || findings.iter().filter(|found| found.severity == Severity::Error);
    let whole = errors().find(|found| found.server.is_none());
    // What refuses all because of one server is told by the first mistake that there is.
    let refused = if file.settings.strict { errors().next() } else { whole };
    let refused = refused.map(Finding::joined);
    let diagnostics = placed(findings, text, true);
    let file = match refused {
        Some(refused) => Err(refused),
        None => Ok(ConfigFile { diagnostics: diagnostics.clone(), ..file }),
    };
    Reading { file, diagnostics }
}

/// The servers of a file that has nothing else, each read for itself: what is wrong with one concerns that one alone. It waits
/// for the disk where secrets stand in further files.
///
/// # Errors
/// What is wrong with the file as a whole.
pub(crate) fn servers_one_by_one(text: &str) -> Result<ServersOneByOne, ConfigError> {
    let variables = Variables::new();
    let mut reader = Reader { variables: &variables, start: None, searches: false, findings: Vec::new() };
    let root = text::read(text).map_err(|Unreadable { reason, .. }| ConfigError::new(MCP_SERVERS, reason))?;
    let found = reader.servers_of(&root);
    for key in [TROUPE, DISCOVERY, GATEWAY] {
        if root.get(key).is_some() {
            return Err(ConfigError::new(key, "has no meaning in a file of servers alone"));
        }
    }
    let whole = reader.findings.iter().find(|found| found.severity == Severity::Error);
    if let Some(whole) = whole {
        return Err(whole.joined());
    }
    let Some((top, servers)) = found else { return Ok(Vec::new()) };
    let mut one_by_one = Vec::new();
    for ReadServer { id, state } in reader.servers("", servers, top.is_empty(), &|_| Ok(())) {
        match state {
            ServerState::Good(server) => one_by_one.push((id, Ok(*server))),
            ServerState::Wrong(error) => one_by_one.push((id, Err(error))),
            // Nobody sees which of both is the mistake.
            ServerState::Repeated(error) => return Err(error),
            ServerState::Disabled => {}
        }
    }
    Ok(one_by_one)
}

/// The keys that say how a server is reached.
const WAYS: [&str; 4] = ["command", "url", "httpUrl", "serverUrl"];

/// Whether a value describes a server, rightly or not.
fn is_server(node: &Node) -> bool {
    WAYS.iter().any(|key| node.get(key).is_some_and(|way| way.entries().is_none()))
}

/// Whether it may be meant to, with its way misspelt or missing: what it is beside one that does.
fn may_be_server(node: &Node) -> bool {
    let Some(entries) = node.entries() else { return false };
    let meant =
        |entry: &Entry| near(&entry.key, WAYS).is_some() || ["args", "env", "headers"].contains(&&*entry.key);
    is_server(node) || entries.is_empty() || entries.iter().any(meant)
}

/// The key of another client that has servers, such as `amp.mcpServers`, or `mcpServers` within `amp`.
fn holder(entries: &[Entry]) -> Option<String> {
    let is_theirs = |key: &str| [MCP_SERVERS, SERVERS].into_iter().chain(KEYS_OF_SERVERS).any(|of| of == key);
    let has_some = |node: &Node| node.entries().is_some();
    let dotted = |entry: &Entry| {
        let last = entry.key.rsplit_once('.').map(|(_, last)| last);
        (last.is_some_and(is_theirs) && has_some(&entry.node)).then(|| shown::name(&entry.key).into_owned())
    };
    let within = |entry: &Entry| {
        let inner =
            entry.node.entries()?.iter().find(|inner| is_theirs(&inner.key) && has_some(&inner.node))?;
        Some(format!("{}.{}", shown::name(&entry.key), inner.key))
    };
    entries.iter().find_map(|entry| dotted(entry).or_else(|| within(entry)))
}

/// A server whose other keys are judged although one of those that shape it is wrong.
fn stand_in(key: &str) -> &'static str {
    if key == "command" { "true" } else { "http://127.0.0.1:1/" }
}

struct Reader<'a> {
    variables: &'a Variables,
    /// When servers are started that do not say so; none where the settings are another file's.
    start: Option<Start>,
    /// Whether this machine is searched for what servers need.
    searches: bool,
    findings: Vec<Finding>,
}

impl Reader<'_> {
    fn find(
        &mut self,
        severity: Severity,
        span: Span,
        server: Option<&str>,
        error: ConfigError,
        advice: Option<String>,
    ) {
        // The key of a server's mistake has its name, which may be shown as it is.
        let error = if server.is_none() { error.shown() } else { error };
        let kind = DiagnosticKind::Other;
        self.findings.push(Finding {
            severity,
            kind,
            span,
            server: server.map(str::to_owned),
            error,
            advice,
        });
    }

    /// A mistake that concerns the whole.
    fn refuse(
        &mut self,
        span: Span,
        key: &str,
        reason: impl Into<String>,
        advice: impl Into<Option<String>>,
    ) {
        self.find(Severity::Error, span, None, ConfigError::new(key, reason), advice.into());
    }

    fn file(&mut self, root: &Node, knowing: &Knowing<'_>) -> ConfigFile {
        let settings = self.settings(root, knowing);
        let sources = self.sources(root, knowing);
        let gateway = self.gateway(root);
        let mut file = ConfigFile {
            servers: Vec::new(),
            disabled: Vec::new(),
            left_out: Vec::new(),
            repeated: Vec::new(),
            diagnostics: Vec::new(),
            sources,
            settings,
            gateway,
            loose: Vec::new(),
        };
        let Some((top, servers)) = self.servers_of(root) else { return file };
        let settings = &file.settings;
        self.start = Some(settings.start);
        let judge = |server: &Server| {
            let spec = server.clone().settle(settings, 0);
            (knowing.server)(&spec.map_err(|error| within(server.id(), error))?, settings)
        };
        for ReadServer { id, state } in self.servers(top, servers, top.is_empty(), &judge) {
            match state {
                ServerState::Good(server) => file.servers.push(*server),
                ServerState::Disabled => file.disabled.push(id),
                ServerState::Wrong(_) => file.left_out.push(id),
                // The other one plays, or is left out itself.
                ServerState::Repeated(_) => file.repeated.push(id),
            }
        }
        file
    }

    /// The servers, and the key that they stand under; the empty one where they are the whole file.
    fn servers_of<'n>(&mut self, root: &'n Node) -> Option<(&'static str, &'n Node)> {
        let Some(entries) = root.entries() else {
            self.refuse(root.find("", false), WHOLE, "is no object of servers", shape("write"));
            return None;
        };
        let top = match (root.get(MCP_SERVERS), root.get(SERVERS)) {
            (Some(_), Some(_)) => {
                let reason = "stands beside mcpServers, and both name servers";
                let advice = "put all servers under mcpServers".to_owned();
                self.refuse(root.find(SERVERS, true), SERVERS, reason, advice);
                return None;
            }
            (Some(_), None) => MCP_SERVERS,
            // One server of a file of servers alone may be called so.
            (None, Some(servers)) if !is_server(servers) => SERVERS,
            (None, _) => return self.whole_file_of_servers(root, entries),
        };
        self.foreign(entries, top);
        root.get(top).map(|servers| (top, servers))
    }

    /// The whole file, if it has nothing but servers.
    fn whole_file_of_servers<'n>(
        &mut self,
        root: &'n Node,
        entries: &[Entry],
    ) -> Option<(&'static str, &'n Node)> {
        let others = || entries.iter().filter(|entry| !APART.contains(&entry.key.as_str()));
        if others().any(|entry| is_server(&entry.node)) && others().all(|entry| may_be_server(&entry.node)) {
            return Some(("", root));
        }
        let is_slip = |entry: &&Entry| {
            near(&entry.key, [MCP_SERVERS]).is_some() && holder(std::slice::from_ref(*entry)).is_none()
        };
        match entries.iter().find(is_slip) {
            Some(entry) => {
                let key = shown::name(&entry.key).into_owned();
                let advice = format!("did you mean `{MCP_SERVERS}`?");
                self.refuse(entry.span, &key, format!("unknown key `{key}`"), advice);
            }
            None => {
                let of_others = KEYS_OF_SERVERS.iter().find(|key| root.get(key).is_some());
                let advice = match of_others {
                    Some(key) if root.get(key).is_some_and(|inner| inner.get(SERVERS).is_some()) => {
                        format!("put what stands under \"{key}.{SERVERS}\" under \"{MCP_SERVERS}\"")
                    }
                    Some(key) => format!("write \"{MCP_SERVERS}\" in place of \"{key}\""),
                    None => match holder(entries) {
                        Some(key) => format!("put what stands under \"{key}\" under \"{MCP_SERVERS}\""),
                        None => format!("put the servers into \"{MCP_SERVERS}\": {{ … }}"),
                    },
                };
                self.refuse(root.find("", false), WHOLE, format!("has no {MCP_SERVERS}"), advice);
            }
        }
        None
    }

    /// Keys that have no meaning here: one of ours that is misspelt is a mistake, all others together are one warning.
    fn foreign(&mut self, entries: &[Entry], top: &str) {
        let mut foreign: Vec<&Entry> = Vec::new();
        let mut known = BTreeSet::new();
        for entry in entries {
            let key = entry.key.as_str();
            if key == top || APART.contains(&key) {
                if !known.insert(key) {
                    self.refuse(entry.span, key, "stands twice", "put both into one".to_owned());
                }
            } else if let Some(near) = near(key, [TROUPE, DISCOVERY, GATEWAY, MCP_SERVERS]) {
                let key = shown::name(key).into_owned();
                self.refuse(
                    entry.span,
                    &key,
                    format!("unknown key `{key}`"),
                    format!("did you mean `{near}`?"),
                );
            } else if is_setting(key) {
                let error = ConfigError::new(key, "has no meaning here");
                let advice = Some(format!("write it within \"{TROUPE}\": {{…}}"));
                self.find(Severity::Warning, entry.span, None, error, advice);
            } else {
                foreign.push(entry);
            }
        }
        if let Some(first) = foreign.first() {
            let keys: Vec<_> = foreign.iter().take(10).map(|entry| shown::name(&entry.key)).collect();
            let more = if foreign.len() > keys.len() { " and others" } else { "" };
            let reason = match &keys[1..] {
                [] => "has no meaning here".to_owned(),
                others => format!("has no meaning here, nor have {}{more}", others.join(", ")),
            };
            let error = ConfigError::new(&*keys[0], reason);
            self.find(Severity::Warning, first.span, None, error, None);
        }
    }

    fn settings(&mut self, root: &Node, knowing: &Knowing<'_>) -> Settings {
        let node = root.get(TROUPE);
        let read = |value: &Value| {
            let settings: Settings = read_value(value)?;
            settings.check()?;
            (knowing.strategy)(&settings.strategy)?;
            settings.pins.as_ref().map_or(Ok(()), knowing.pins)?;
            Ok(settings)
        };
        let mut value = node.map_or_else(|| Value::Object(Map::new()), Node::value);
        let mut lists = Vec::new();
        let mut pattern = serde_json::to_value(Settings::default()).unwrap_or_default();
        pattern["pins"] = Value::Object(Map::new());
        lists_for_objects(&value, &pattern, "", &mut lists);
        for error in &lists {
            if !remove(&mut value, &error.key) {
                value = Value::Object(Map::new());
            }
        }
        for (former, now) in FORMER_KEYS {
            if node.is_some_and(|node| node.has(former)) {
                self.warn_of_former(root, &format!("{TROUPE}.{former}"), now);
                renamed(&mut value, former, now);
            }
        }
        for key in PATHS_OF_SETTINGS {
            let Some(path) = text_in(&mut value, key) else { continue };
            self.warn_of_shell_words(root, &format!("{TROUPE}.{key}"), path, None);
            // A path is told where something is wrong with it; what else is looked up may be a secret.
            let expanded = self.variables.expand(path).map_err(|error| error.to_string());
            let of_paths = expanded.and_then(|expanded| {
                let is_path = |value: &String| {
                    let path = std::path::Path::new(value);
                    path.is_absolute() || value.starts_with("~/") || value.len() < TOKEN_BYTES_MIN
                };
                let others = expanded.looked_up.iter().any(|value| !is_path(value));
                if others { Err(NO_PATH.to_owned()) } else { Ok(expanded.text) }
            });
            match of_paths {
                Ok(expanded) => *path = expanded,
                Err(reason) => {
                    lists.push(ConfigError::new(key, reason));
                    // Without the whole it is not told again as missing.
                    remove(&mut value, key.split('.').next().unwrap_or(key));
                }
            }
        }
        self.paths_at_home(&mut value, &PATHS_OF_SETTINGS);
        // Whether one mistake refuses the whole does not hang on another.
        let strict = value.get("strict").and_then(Value::as_bool).unwrap_or_default();
        let (settings, further) = every_mistake(value, read, |_| Ok(()));
        self.mistakes_of(root, TROUPE, lists.into_iter().chain(further).collect());
        self.repeated(node, TROUPE);
        if let Some(path) = settings.as_ref().and_then(|settings| settings.known_lists.as_deref())
            && let Err(reason) = (knowing.known_lists)(path)
        {
            let error = ConfigError::new(format!("{TROUPE}.knownLists"), format!("is not used: {reason}"));
            self.find(Severity::Warning, root.find(&error.key, false), None, error, None);
        }
        settings.unwrap_or_else(|| Settings { strict, ..Settings::default() })
    }

    fn gateway(&mut self, root: &Node) -> GatewaySettings {
        let Some(node) = root.get(GATEWAY) else { return GatewaySettings::default() };
        let mut value = node.value();
        let mut wrong = Vec::new();
        let pattern = serde_json::to_value(GatewaySettings::default()).unwrap_or_default();
        lists_for_objects(&value, &pattern, "", &mut wrong);
        for error in &wrong {
            if !remove(&mut value, &error.key) {
                value = Value::Object(Map::new());
            }
        }
        for key in KEYS_TO_COME {
            if remove(&mut value, key) {
                wrong.push(ConfigError::new(
                    key,
                    "is not built yet: this version serves one client over stdio",
                ));
            }
        }
        let read = |value: &Value| {
            let settings: GatewaySettings = read_value(value)?;
            settings.check().map(|()| settings)
        };
        let (settings, further) = every_mistake(value, read, |_| Ok(()));
        self.mistakes_of(root, GATEWAY, wrong.into_iter().chain(further).collect());
        self.repeated(Some(node), GATEWAY);
        settings.unwrap_or_default()
    }

    /// Warns of a key that has another name now.
    fn warn_of_former(&mut self, root: &Node, key: &str, now: &str) {
        let error = ConfigError::new(key, "has another name now");
        let advice = Some(format!("write `{now}`: the former name holds for one more version"));
        self.find(Severity::Warning, root.find(key, true), None, error, advice);
    }

    fn sources(&mut self, root: &Node, knowing: &Knowing<'_>) -> Vec<SourceConfig> {
        let Some(node) = root.get(DISCOVERY) else { return Vec::new() };
        let Value::Array(items) = node.value() else {
            let reason = "invalid type: expected a list of sources";
            self.refuse(root.find(DISCOVERY, false), DISCOVERY, reason, None);
            return Vec::new();
        };
        let mut sources: Vec<SourceConfig> = Vec::with_capacity(items.len());
        for (index, mut item) in items.into_iter().enumerate() {
            let at = format!("{DISCOVERY}[{index}]");
            let mut wrong = Vec::new();
            search_references("", &item, &mut wrong);
            let mut lists = Vec::new();
            let pattern = serde_json::json!({"rules": {}, "tls": {}});
            lists_for_objects(&item, &pattern, "", &mut lists);
            if item.is_array() {
                self.mistakes_of(root, &at, lists);
                continue;
            }
            for error in &lists {
                remove(&mut item, &error.key);
            }
            wrong.extend(lists);
            for (former, now) in FORMER_KEYS_OF_SOURCES {
                if text_in(&mut item, former).is_some() {
                    self.warn_of_former(root, &format!("{at}.{former}"), now);
                    renamed(&mut item, former, now);
                }
            }
            for key in PATHS_OF_SOURCES {
                if let Some(path) = text_in(&mut item, key) {
                    // No references are looked up there.
                    let advice = "write the whole path, or begin it with ~/ for your home folder";
                    self.warn_of_shell_words(root, &format!("{at}.{key}"), path, Some(advice));
                }
            }
            self.paths_at_home(&mut item, &PATHS_OF_SOURCES);
            let read = |value: &Value| read_value::<WrittenSource>(value)?.into_source();
            let (source, further) = every_mistake(item, read, |_| Ok(()));
            wrong.extend(further);
            if let Some(source) = source {
                if sources.iter().any(|known| known.name == source.name) {
                    let reason = format!("two sources are called {:?}: give one another name", source.name);
                    wrong.push(ConfigError::new("name", reason));
                }
                wrong.extend((knowing.source)(&source).err());
                sources.push(source);
            }
            self.mistakes_of(root, &at, wrong);
        }
        sources
    }

    /// Puts the home folder into paths that begin with `~/`.
    fn paths_at_home(&self, value: &mut Value, keys: &[&str]) {
        for key in keys {
            if let Some(path) = text_in(value, key) {
                self.put_at_home(path);
            }
        }
    }

    /// Warns of a path that begins with what only a shell looks up. `instead` is said of what to write, where that is not the usual.
    fn warn_of_shell_words(&mut self, root: &Node, key: &str, path: &str, instead: Option<&str>) {
        if let Some((reason, advice)) = shell_word(path).or_else(|| other_home(path)) {
            let error = ConfigError::new(key, reason);
            let advice = Some(instead.unwrap_or(advice).to_owned());
            self.find(Severity::Warning, root.find(key, false), None, error, advice);
        }
    }

    fn put_at_home(&self, path: &mut String) {
        if let Some(at_home) = self.variables.at_home(path) {
            *path = at_home;
        }
    }

    /// Mistakes that concern the whole, with their keys below `at`.
    fn mistakes_of(&mut self, root: &Node, at: &str, wrong: Vec<ConfigError>) {
        for error in wrong {
            let error =
                if error.key.is_empty() { ConfigError::new(at, error.reason) } else { error.under(at) };
            let (error, advice) = in_words(error, root);
            let span = root.find(&error.key, error.reason.starts_with("unknown key"));
            self.find(Severity::Error, span, None, error, advice);
        }
    }

    fn repeated(&mut self, node: Option<&Node>, at: &str) {
        for (path, span) in node.map(Node::repeated).unwrap_or_default() {
            self.refuse(span, &format!("{at}.{path}"), "stands twice", "keep one of both".to_owned());
        }
    }

    /// Reads each server. `top` is the key that they stand under, and `whole` says that they are the whole file.
    fn servers(
        &mut self,
        top: &str,
        servers: &Node,
        whole: bool,
        judge: &dyn Fn(&Server) -> Result<(), ConfigError>,
    ) -> Vec<ReadServer> {
        let Some(entries) = servers.entries() else {
            let span = servers.span;
            let advice = "write each as \"NAME\": {\"command\": …} or \"NAME\": {\"url\": …}".to_owned();
            self.refuse(span, top, "invalid type: expected an object of servers by name", advice);
            return Vec::new();
        };
        let mut read: Vec<ReadServer> = Vec::with_capacity(entries.len());
        // A name that is an id as it stands is that server's, also where another one before it would become the same.
        let as_written =
            entries.iter().map(|entry| entry.key.as_str()).filter(|name| legal_id(name) == *name);
        let as_written: BTreeSet<&str> = as_written.collect();
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| !whole || !APART.contains(&entry.key.as_str())) {
            let name = &entry.key;
            let id = legal_id(name);
            let display = server_key(top, name, &id);
            let taken = as_written.get(id.as_str()).filter(|own| *own != name).map(|own| (*own).to_owned());
            let meets = match taken {
                Some(own) => Some(own),
                None => names.insert(id.clone(), name.clone()),
            };
            if let Some(other) = meets {
                let (kind, of, reason, advice) = match other == *name {
                    true => {
                        let reason = format!("the name {} stands twice", shown::server(name));
                        (DiagnosticKind::Other, &id, reason, "give one another name")
                    }
                    false => {
                        let reason = format!("becomes the id {id}, as another name does");
                        (DiagnosticKind::IdTaken, name, reason, "rename one of them")
                    }
                };
                let error = ConfigError::new(display, reason);
                self.findings.push(Finding {
                    severity: Severity::Error,
                    kind,
                    span: entry.span,
                    server: Some(of.clone()),
                    error: error.clone(),
                    advice: Some(advice.to_owned()),
                });
                read.push(ReadServer { id, state: ServerState::Repeated(error) });
                continue;
            }
            let state = self.server(&id, &display, entry, judge);
            read.push(ReadServer { id, state });
        }
        read
    }

    /// Reads one server.
    fn server(
        &mut self,
        id: &str,
        display: &str,
        entry: &Entry,
        judge: &dyn Fn(&Server) -> Result<(), ConfigError>,
    ) -> ServerState {
        let Value::Object(mut value) = entry.node.value() else {
            let reason = "invalid type: expected an object that describes a server";
            let error = ConfigError::new(display, reason);
            let advice = Some("write {\"command\": …} or {\"url\": …}".to_owned());
            self.find(Severity::Error, entry.node.span, Some(id), error.clone(), advice);
            return ServerState::Wrong(error);
        };
        let flag = |key: &str| value.get(key).and_then(Value::as_bool);
        let (disabled, enabled) = (flag("disabled"), flag("enabled"));
        let contradict = disabled.is_some() && disabled == enabled;
        // What may be switched off is not started.
        let disabled = disabled == Some(true) || enabled == Some(false);
        let severity = if disabled { Severity::Warning } else { Severity::Error };
        let mut wrong: Vec<(ConfigError, Option<String>)> = Vec::new();
        let mut warnings: Vec<(ConfigError, Option<String>)> = Vec::new();
        for (path, _) in entry.node.repeated() {
            wrong.push((ConfigError::new(path, "stands twice"), Some("keep one of both".to_owned())));
        }
        if contradict {
            let reason = "contradicts disabled";
            warnings.push((ConfigError::new("enabled", reason), Some("write one of both".to_owned())));
        }
        let without_unit = match value.get("timeout") {
            Some(Value::Number(number)) => Some(number.as_u64()),
            Some(Value::String(text)) => text.trim().parse().ok().map(Some),
            _ => None,
        };
        if let Some(number) = without_unit {
            wrong.push(timeout_without_unit(number));
            value.remove("timeout");
        }
        spell_as_we_do(&mut value);
        forget_empty_ways(&mut value);
        for key in IDLE_KEYS {
            if value.remove(key).is_some() {
                warnings.push((ConfigError::new(key, "has no meaning here"), None));
            }
        }
        for (key, reason, advice) in FOREIGN_KEYS {
            if value.remove(key).is_some() {
                warnings.push((ConfigError::new(key, reason), Some(advice.to_owned())));
            }
        }
        if let Some(Value::String(command)) = value.get("command")
            && command.trim() != command
            && !command.trim().contains(char::is_whitespace)
        {
            let error = ConfigError::new("command", "begins or ends with a blank");
            warnings.push((error, Some("take it out".to_owned())));
        } else if let Some(Value::String(command)) = value.get("command")
            && command.trim().contains(char::is_whitespace)
            && !std::path::Path::new(command).exists()
        {
            let error = ConfigError::new("command", "has blanks in it, and no shell reads it");
            let advice = "what follows a program's name belongs into its args";
            warnings.push((error, Some(advice.to_owned())));
        }
        if let Some(Value::String(token)) = value.get("bearer")
            && token.get(..7).is_some_and(|begin| begin.eq_ignore_ascii_case("bearer "))
        {
            let error =
                ConfigError::new("bearer", "begins with the word Bearer, which is put before it anyway");
            warnings.push((error, Some("write the token alone".to_owned())));
        }
        warnings.extend(shell_words(&value));
        for key in ["pool", "breaker", "tls", "metadata"] {
            // serde would take a list as an object's values in their order.
            if value.get(key).is_some_and(Value::is_array) {
                wrong.push((ConfigError::new(key, "invalid type: a list, expected an object"), None));
                value.remove(key);
            }
        }
        let expanded = self.expand(&mut value, &mut wrong);
        for key in PATHS_OF_SERVERS {
            let (outer, inner) = key.split_once('.').unwrap_or((key, ""));
            if let Some(path) = value.get_mut(outer).and_then(|outer| text_in(outer, inner)) {
                self.put_at_home(path);
            }
        }
        if let Some(Value::String(path)) = value.get("envFile")
            && std::fs::metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        {
            // Whoever checks out a project has none yet: what it would say may not be needed.
            let error =
                ConfigError::new("envFile", format!("there is no file {}", shown::path(path.as_ref())));
            let advice = "create it, or take envFile out: the server starts without its variables";
            warnings.push((error, Some(advice.to_owned())));
            value.remove("envFile");
        }
        wrong.extend(wrong_headers(&mut value).into_iter().map(|error| {
            let colon = error.reason == NO_HEADER_NAME && error.key.ends_with(':');
            (error, colon.then(|| "take the colon out".to_owned()))
        }));
        let name = entry.key.as_str();
        let read = |value: &Value| {
            let written: WrittenServer = read_value(value)?;
            let empty = Map::new();
            let written = written.with_processes(value.as_object().unwrap_or(&empty));
            let mut server =
                written.into_server(id.to_owned(), expanded.url).map_err(|error| within(id, error))?;
            server.looked_up.clone_from(&expanded.values);
            if name != id {
                server.metadata.entry("name".to_owned()).or_insert_with(|| name.to_owned());
            }
            judge(&server).map(|()| server)
        };
        // Its other keys can be judged by themselves.
        let form = |value: &Value| {
            let written = read_value::<WrittenServer>(value)?;
            judge(&written.wherever(Server::stdio(id, STAND_IN, [""; 0])))
        };
        let (server, further) = every_mistake(Value::Object(value), read, form);
        for error in further {
            wrong.push(self.in_words_of_server(error, &entry.node));
        }
        // Of a key that is misspelt one need not be told again that it is missing.
        let meant =
            |advice: &str| ["command", "url"].iter().any(|key| advice == format!("did you mean `{key}`?"));
        if wrong.iter().any(|(_, advice)| advice.as_deref().is_some_and(meant)) {
            wrong.retain(|(error, _)| !error.reason.starts_with("is missing"));
        }
        if let Some(server) = &server
            && server.idle_timeout.is_some()
            && server.start.or(self.start) == Some(Start::AtOnce)
        {
            let error = ConfigError::new("idleTimeout", "has no effect on a server that is started at once");
            warnings.push((error, Some("write \"start\": \"on-demand\" beside it".to_owned())));
        }
        let written = entry.node.text_at("command");
        if self.searches
            && !disabled
            // A program that a reference stands for may be a secret, and is another one on each machine.
            && written.is_some_and(|command| !command.contains("${"))
            && !warnings.iter().any(|(error, _)| error.key == "command")
        {
            warnings.extend(server.as_ref().and_then(programs::missing));
        }
        let first = wrong.first().map(|(error, _)| {
            under(display, ConfigError::new(&*error.key, expanded.as_written(error.reason.clone())))
        });
        let found = wrong.into_iter().map(|found| (severity, found));
        for (severity, (mut error, advice)) in
            found.chain(warnings.into_iter().map(|found| (Severity::Warning, found)))
        {
            error.reason = expanded.as_written(error.reason);
            let of_key = error.reason.starts_with("unknown key") || error.reason == "stands twice";
            let span = if error.key.is_empty() { entry.span } else { self.span(entry, &error.key, of_key) };
            self.find(severity, span, Some(id), under(display, error), advice);
        }
        match (first, server) {
            _ if disabled => ServerState::Disabled,
            (None, Some(server)) => ServerState::Good(Box::new(server)),
            (Some(error), _) => ServerState::Wrong(error),
            (None, None) => ServerState::Wrong(ConfigError::new(display, "cannot be read")),
        }
    }

    /// Where a key of a server is; of a key that is missing, where the server's name is.
    fn span(&self, entry: &Entry, key: &str, of_key: bool) -> Span {
        let first = key.split(['.', '[']).next().unwrap_or(key);
        let there = entry
            .node
            .entries()
            .into_iter()
            .flatten()
            .any(|known| known.key == first || text::behind(key, &known.key).is_some());
        if there { entry.node.find(key, of_key) } else { entry.span }
    }

    /// What is wrong with a key of a server, and what to do.
    fn in_words_of_server(&self, error: ConfigError, node: &Node) -> (ConfigError, Option<String>) {
        let is_kind = KINDS_OF_KEYS.contains(&error.key.as_str());
        let (mut error, advice) = in_words(error, node);
        let advice = advice_of_server(&error).or(advice);
        if is_kind && error.reason.starts_with("unknown variant") {
            // It is read only to be refused.
            if advice.as_deref().is_some_and(|advice| advice.contains("\"sse\"")) {
                error.reason = NO_SSE.to_owned();
                return (error, Some(NO_SSE_ADVICE.to_owned()));
            }
            error.reason = format!("unknown variant, expected one of {KINDS}");
        }
        if error.reason == NO_SSE {
            let spelling = KINDS_OF_KEYS.into_iter().find(|key| node.get(key).is_some());
            error.key = spelling.unwrap_or("type").to_owned();
            return (error, Some(NO_SSE_ADVICE.to_owned()));
        }
        // The token is a header too.
        if error.key == "headers" && node.get("headers").is_none() && node.get("bearer").is_some() {
            error.key = "bearer".to_owned();
        }
        if error.key == "url" {
            let spelling = URL_KEYS.into_iter().find(|key| node.get(key).is_some());
            error.key = spelling.unwrap_or("url").to_owned();
        }
        (error, advice)
    }

    /// Looks up the references of a server. A key whose references are wrong is taken out, or gets a value that stands for it.
    fn expand(
        &self,
        value: &mut Map<String, Value>,
        wrong: &mut Vec<(ConfigError, Option<String>)>,
    ) -> LookedUp {
        let mut looked_up = LookedUp::default();
        for key in [
            "url",
            "httpUrl",
            "serverUrl",
            "command",
            "args",
            "cwd",
            "env",
            "envFile",
            "headers",
            "bearer",
            "tls",
        ] {
            let Some(inner) = value.get_mut(key) else { continue };
            let written = inner.clone();
            let mut found = Vec::new();
            let mut values = Vec::new();
            expand_all(key, inner, self.variables, &mut values, &mut found);
            if matches!(key, "cwd" | "envFile" | "tls") && !values.is_empty() {
                pair_texts(&written, inner, self.variables, &mut looked_up.paths);
            }
            let is_url = matches!(key, "url" | "httpUrl" | "serverUrl");
            looked_up.url |= is_url && !values.is_empty();
            if is_url {
                // Where a server is, is no secret, and what is said of it would tell nothing without that.
                let address = value.get(key).and_then(Value::as_str).unwrap_or_default();
                let address = address.split_once("://").map_or(address, |(_, rest)| rest);
                let host = address.split(['/', '?', '#']).next().unwrap_or_default();
                let host = host.rsplit_once('@').map_or(host, |(_, host)| host).to_owned();
                values.retain(|value| !host.contains(value.as_str()));
            }
            if matches!(key, "command" | "args" | "cwd" | "env") || is_url {
                looked_up.values.extend(values.into_iter().map(Secret::from));
            }
            for error in found {
                if is_url || key == "command" {
                    value.insert(key.to_owned(), stand_in(key).into());
                } else {
                    let mut whole = Value::Object(std::mem::take(value));
                    remove(&mut whole, &error.key);
                    if let Value::Object(rest) = whole {
                        *value = rest;
                    }
                }
                wrong.push((error, None));
            }
        }
        looked_up
    }
}

/// Shorter paths, such as `.`, are no secrets, and stand in sentences that have nothing to do with them.
const SHOWN_AS_WRITTEN_MIN: usize = 4;

/// What was looked up in a server's description.
#[derive(Default)]
struct LookedUp {
    /// Parts of its URL.
    url: bool,
    /// What was put into its command line, its environment or its URL.
    values: Vec<Secret>,
    /// Paths with parts that were looked up, and each as it is written.
    paths: Vec<(String, String)>,
}

impl LookedUp {
    /// A reason without what was looked up: who mixes up two names has a token where a path should be.
    fn as_written(&self, reason: String) -> String {
        let mut paths: Vec<_> =
            self.paths.iter().filter(|(path, _)| path.len() >= SHOWN_AS_WRITTEN_MIN).collect();
        // One may begin as another one does.
        paths.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        paths.into_iter().fold(reason, |reason, (path, written)| reason.replace(path, written))
    }
}

/// Pairs each text that a reference changed with the text as it is written.
fn pair_texts(written: &Value, expanded: &Value, variables: &Variables, pairs: &mut Vec<(String, String)>) {
    match (written, expanded) {
        (Value::String(written), Value::String(expanded)) if written != expanded && !expanded.is_empty() => {
            // As it is read where it begins with the home folder.
            pairs.extend(variables.at_home(expanded).map(|path| (path, written.clone())));
            pairs.push((expanded.clone(), written.clone()));
        }
        (Value::Object(written), Value::Object(expanded)) => {
            for (key, written) in written {
                if let Some(expanded) = expanded.get(key) {
                    pair_texts(written, expanded, variables, pairs);
                }
            }
        }
        (Value::Array(written), Value::Array(expanded)) => {
            let both = written.iter().zip(expanded);
            both.for_each(|(written, expanded)| pair_texts(written, expanded, variables, pairs));
        }
        _ => {}
    }
}

/// Turns the spellings of a kind of server that other programs write into ours.
fn spell_as_we_do(value: &mut Map<String, Value>) {
    let has_url = URL_KEYS.iter().any(|key| value.get(*key).is_some_and(Value::is_string));
    for key in KINDS_OF_KEYS {
        let Some(Value::String(kind)) = value.get_mut(key) else { continue };
        let plain: String = kind.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
        let ours = match plain.to_ascii_lowercase().as_str() {
            "http" | "streamable" | "streamablehttp" | "httpstream" => "http",
            "stdio" | "local" => "stdio",
            "ws" | "websocket" => "websocket",
            "sse" => "sse",
            // The URL says which.
            "remote" if has_url => {
                value.remove(key);
                continue;
            }
            _ => continue,
        };
        ours.clone_into(kind);
    }
}

const NO_HEADER_NAME: &str =
    "is no name of a header: such names have letters, digits and hyphens, and no blanks";

/// Takes out the headers that cannot be sent, and says of each why.
fn wrong_headers(value: &mut Map<String, Value>) -> Vec<ConfigError> {
    let Some(Value::Object(headers)) = value.get_mut("headers") else { return Vec::new() };
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let mut wrong = Vec::new();
    headers.retain(|name, value| {
        let steers = |value: &str| value.contains(|c: char| c.is_ascii_control() && c != '\t');
        let reason = if name.is_empty() || !name.chars().all(is_of_name) {
            NO_HEADER_NAME
        } else if value.as_str().is_some_and(steers) {
            "has a line break or another control character, which the value of no header may have"
        } else {
            return true;
        };
        wrong.push(ConfigError::new(format!("headers.{name}"), reason));
        false
    });
    wrong
}

/// Takes out what programs write that write every key: an empty `url` of a server with a `command`, and the other way round.
fn forget_empty_ways(value: &mut Map<String, Value>) {
    let is = |key: &&str, empty: bool| {
        value.get(*key).and_then(Value::as_str).is_some_and(|text| text.trim().is_empty() == empty)
    };
    let (of_url, of_command) = ([&URL_KEYS[..], &["bearer"]].concat(), ["command", "cwd", "envFile"]);
    let others: Vec<&str> = if is(&"command", false) {
        of_url.into_iter().filter(|key| is(key, true)).collect()
    } else if URL_KEYS.iter().any(|key| is(key, false)) {
        of_command.into_iter().filter(|key| is(key, true)).collect()
    } else {
        Vec::new()
    };
    for key in others {
        value.remove(key);
    }
}

/// What stands for a part of a path and is longer may be a token.
const TOKEN_BYTES_MIN: usize = 32;

const NO_PATH: &str =
    "has a ${…} that stands for no absolute path, as ${userHome} does, and is too long for a name";

/// The text under a key such as `pins.file`; under the empty one the value itself.
fn text_in<'v>(value: &'v mut Value, key: &str) -> Option<&'v mut String> {
    match (value, key.split_once('.').unwrap_or((key, ""))) {
        (Value::String(text), ("", _)) => Some(text),
        (Value::Object(entries), (outer, inner)) => text_in(entries.get_mut(outer)?, inner),
        _ => None,
    }
}

/// Whether a key is one of the settings, which stand within an object of their own.
#[expect(
    clippy::disallowed_types,
    reason = "a constant that must be put together: nothing of a troupe is in it"
)]
fn is_setting(key: &str) -> bool {
    // A file may have very many keys.
    static KEYS: std::sync::LazyLock<Value> =
        std::sync::LazyLock::new(|| serde_json::to_value(Settings::default()).unwrap_or_default());
    KEYS.get(key).is_some()
}

/// Puts in what references stand for, wherever they are.
fn expand_all(
    key: &str,
    value: &mut Value,
    variables: &Variables,
    values: &mut Vec<String>,
    wrong: &mut Vec<ConfigError>,
) {
    match value {
        Value::String(text) if text.contains("${") => match variables.expand(text) {
            Ok(expanded) => {
                *text = expanded.text;
                values.extend(expanded.looked_up);
            }
            Err(error) => wrong.push(ConfigError::new(key, error.to_string())),
        },
        Value::Array(items) => {
            for (n, item) in items.iter_mut().enumerate() {
                expand_all(&format!("{key}[{n}]"), item, variables, values, wrong);
            }
        }
        Value::Object(entries) => {
            for (name, value) in entries {
                expand_all(&format!("{key}.{name}"), value, variables, values, wrong);
            }
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Where a server is, by the keys of this and other clients.
const URL_KEYS: [&str; 3] = ["url", "httpUrl", "serverUrl"];

/// Keys whose values are paths and nothing else, of servers, sources and settings: a leading `~/` is the user's home, as VS Code and
/// others read it.
const PATHS_OF_SERVERS: [&str; 6] =
    ["command", "cwd", "envFile", "tls.caFile", "tls.certFile", "tls.keyFile"];
const PATHS_OF_SOURCES: [&str; 4] = ["path", "tls.caFile", "tls.certFile", "tls.keyFile"];
const PATHS_OF_SETTINGS: [&str; 2] = ["knownLists", "pins.file"];

/// Programs that look up variables and homes in their arguments themselves.
const SHELLS: [&str; 9] = ["sh", "bash", "zsh", "dash", "ksh", "fish", "ash", "cmd", "cmd.exe"];

/// What is said of a home folder where no path is expected.
const HOME_ELSEWHERE: (&str, &str) = (
    "begins with ~/, which goes out as it stands: no shell reads it",
    "write ${userHome}/ for the home folder",
);

/// A variable as a shell writes it at the beginning of a text: what is wrong, and what to do.
fn shell_word(text: &str) -> Option<(&'static str, &'static str)> {
    const ADVICE: &str = "write ${NAME} for the variable's value";
    if looks_unexpanded(text) {
        return Some(("has a $NAME without braces, which goes out as it stands: no shell reads it", ADVICE));
    }
    let (name, behind) = text.strip_prefix('%')?.split_once('%')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let of_windows = is_name && (behind.is_empty() || behind.starts_with(['/', '\\']));
    of_windows.then_some(("begins with a %NAME%, which goes out as it stands: no shell reads it", ADVICE))
}

/// The same of a path in another user's home.
fn other_home(path: &str) -> Option<(&'static str, &'static str)> {
    (path.len() > 1 && path.starts_with('~') && !path.starts_with("~/")).then_some((
        "begins with ~, and only ~/ is a home folder here",
        "write ~/ for your own home folder, or the whole path",
    ))
}

/// Texts of a server that a shell would change, and that go out as they stand.
fn shell_words(value: &Map<String, Value>) -> Vec<(ConfigError, Option<String>)> {
    let command = value.get("command").and_then(Value::as_str).unwrap_or_default();
    let is_shell = std::path::Path::new(command)
        .file_name()
        .is_some_and(|name| SHELLS.iter().any(|shell| name.eq_ignore_ascii_case(shell)));
    let mut found = Vec::new();
    for key in ["command", "args", "cwd", "env", "envFile", "headers", "bearer"] {
        if key == "args" && is_shell {
            continue;
        }
        if let Some(inner) = value.get(key) {
            search_shell_words(key, inner, &mut found);
        }
    }
    found
}

fn search_shell_words(key: &str, value: &Value, found: &mut Vec<(ConfigError, Option<String>)>) {
    match value {
        Value::String(text) => {
            let word = shell_word(text).or_else(|| match PATHS_OF_SERVERS.contains(&key) {
                true => other_home(text),
                false => text.starts_with("~/").then_some(HOME_ELSEWHERE),
            });
            if let Some((reason, advice)) = word {
                found.push((ConfigError::new(key, reason), Some(advice.to_owned())));
            }
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(n, item)| search_shell_words(&format!("{key}[{n}]"), item, found));
        }
        Value::Object(entries) => {
            entries
                .iter()
                .for_each(|(name, value)| search_shell_words(&format!("{key}.{name}"), value, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Finds references where none is looked up: in sources of servers.
fn search_references(key: &str, value: &Value, found: &mut Vec<ConfigError>) {
    let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match value {
        Value::String(text) => {
            let begins = ["${env:", "${file:", "${input:"];
            if begins.iter().any(|begin| text.match_indices(begin).any(|(at, _)| !text[..at].ends_with('$')))
            {
                let reason = "has a ${…}, which is looked up in the descriptions of servers alone";
                found.push(ConfigError::new(key, reason));
            }
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(n, item)| search_references(&format!("{key}[{n}]"), item, found));
        }
        Value::Object(entries) => {
            entries.iter().for_each(|(name, value)| search_references(&below(name), value, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A mistake of a server by its key there, of what names its keys as `<id>.<key>`.
fn within(id: &str, error: ConfigError) -> ConfigError {
    let key =
        error.key.strip_prefix(id).and_then(|rest| rest.strip_prefix('.').or(rest.is_empty().then_some("")));
    match key {
        Some(key) => ConfigError::new(key, error.reason),
        None => error,
    }
}

/// What other programs call a key of a server.
const OTHER_NAMES: [(&str, &str); 10] = [
    ("callTimeout", "timeout"),
    ("cmd", "command"),
    ("arguments", "args"),
    ("environment", "env"),
    ("envVars", "env"),
    ("workingDirectory", "cwd"),
    ("workdir", "cwd"),
    ("uri", "url"),
    ("baseUrl", "url"),
    ("endpoint", "url"),
];

/// What to do about a mistake that many make in the description of a server.
fn advice_of_server(error: &ConfigError) -> Option<String> {
    let ConfigError { key, reason } = error;
    let of_type = |found: &str| reason.starts_with(&format!("invalid type: {found}, expected "));
    let advice = match key.as_str() {
        "command" if of_type("a list") => "write its first item alone, and the others into args",
        "args" if of_type("a string") => "write each argument as an item of a list: [\"-y\", \"NAME\"]",
        "env" | "headers" | "metadata" if of_type("a list") || of_type("a string") => {
            "write {\"NAME\": \"value\"}"
        }
        _ if key.starts_with("args[") && (of_type("a number") || of_type("a boolean")) => {
            "write it in quotes"
        }
        "disabled" | "enabled" if of_type("a string") => "write true or false, without quotes",
        "tools" | "includeTools" | "excludeTools" | "disabledTools" if reason.starts_with("invalid ") => {
            r#"write a list of their names: ["one", "two"]"#
        }
        _ if reason.starts_with("has no meaning for a stdio server") => {
            "take it out, or the command, if the server is to be reached by its url"
        }
        "command" | "args" | "env" | "cwd" | "envFile" if reason.starts_with("has no meaning for a") => {
            "take it out, or write \"type\": \"stdio\" if this program is the server"
        }
        _ if reason.starts_with("unknown key") => {
            // In any of the ways to write several words as one.
            let plain = |key: &str| key.replace(['_', '-'], "").to_ascii_lowercase();
            if let Some((_, meant)) = OTHER_NAMES.iter().find(|(other, _)| plain(other) == plain(key)) {
                return Some(format!("did you mean `{meant}`?"));
            }
            let of_all =
                format!("it holds for all servers: write it within \"{TROUPE}\": {{…}} beside {MCP_SERVERS}");
            return Some(of_all).filter(|_| is_setting(key));
        }
        _ => return None,
    };
    Some(advice.to_owned())
}

/// What is wrong, as people write it, and what was probably meant. Keys are those below `node`.
fn in_words(error: ConfigError, node: &Node) -> (ConfigError, Option<String>) {
    match unknown_key(error) {
        (error, None) => {
            let given = node.text_at(&error.key);
            unknown_word(error, given)
        }
        told => told,
    }
}

/// A mistake of a server, whose own key is `display`.
fn under(display: &str, error: ConfigError) -> ConfigError {
    let error = error.shown();
    if error.key.is_empty() { ConfigError::new(display, error.reason) } else { error.under(display) }
}

/// The key of a server as mistakes have it: by the name that stands in the file, in quotes where it is no id.
fn server_key(top: &str, name: &str, id: &str) -> String {
    let name = if name == id { name.to_owned() } else { shown::server(name) };
    if top.is_empty() { name } else { format!("{top}.{name}") }
}

/// What is said of a `timeout` that is a number: what it means in the unit that it most probably has. Clients that mean seconds
/// take an hour at most, and none waits for less than a second.
fn timeout_without_unit(number: Option<u64>) -> (ConfigError, Option<String>) {
    let reason = "is a number without a unit: some clients mean seconds, some milliseconds";
    let milliseconds = |number: u64| match number.is_multiple_of(1_000) {
        true => format!("{}s", number / 1_000),
        false => format!("{number}ms"),
    };
    let advice = match number.filter(|number| (1..TIMEOUT_TOLD_MAX).contains(number)) {
        Some(number) if number < TIMEOUT_MILLISECONDS_MIN => {
            format!("write \"{number}s\": {number} is probably meant in seconds")
        }
        Some(number) if number <= TIMEOUT_SECONDS_MAX => {
            format!("write \"{number}s\" for seconds, or \"{}\" for milliseconds", milliseconds(number))
        }
        Some(number) => {
            format!("write \"{}\": {number} is probably meant in milliseconds", milliseconds(number))
        }
        None => "write it with its unit, as \"60s\"".to_owned(),
    };
    (ConfigError::new("timeout", reason), Some(advice))
}

/// The id of a server that people call by any name: what no id has is replaced, and what is too long cut.
fn legal_id(name: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let id: String = name.trim().chars().map(|c| if legal(c) { c } else { '-' }).collect();
    let has_letters = id.contains(|c: char| c.is_ascii_alphanumeric());
    if has_letters && id.len() <= ID_BYTES_MAX {
        return id;
    }
    let hash: String =
        Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).take(HASH_DIGITS / 2).collect();
    let kept = if has_letters {
        &id[..ID_BYTES_MAX.saturating_sub(HASH_DIGITS).saturating_sub(1)]
    } else {
        "server"
    };
    format!("{kept}-{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_becomes_an_id() {
        for (name, id) in [
            ("a.b_c-1", "a.b_c-1"),
            ("my server", "my-server"),
            ("github.com/owner/repo/tree/main/src/fetch", "github.com-owner-repo-tree-main-src-fetch"),
            (" grün ", "gr-n"),
        ] {
            assert_eq!(legal_id(name), id);
        }
        let long = "x".repeat(100);
        let ids: BTreeSet<String> = ["", "数据库", "天气", &long, &format!("{long}y"), "!"]
            .iter()
            .map(|name| legal_id(name))
            .collect();
        assert_eq!(ids.len(), 6, "{ids:?}");
        assert!(ids.iter().all(|id| crate::id::ServerId::new(id).is_ok()), "{ids:?}");
    }
}
