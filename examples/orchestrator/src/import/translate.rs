//! Turns a client's description of a server into the one of `servers.json`.

use std::path::{Path, PathBuf};

use mcp_troupe::{ConfigFile, Severity, Variables};
use serde_json::{Map, Value, json};

use super::entries::Written;
use super::own::Own;
use super::places::Client;

/// A server as `servers.json` has it.
pub type Entry = Map<String, Value>;

/// Keys that `servers.json` has, in the order in which they are written.
pub const KEYS: [&str; 31] = [
    "type",
    "url",
    "headers",
    "bearer",
    "command",
    "args",
    "env",
    "envFile",
    "cwd",
    "disabled",
    "includeTools",
    "disabledTools",
    "timeout",
    "pool",
    "group",
    "tags",
    "weight",
    "priority",
    "trusted",
    "dialect",
    "era",
    "stream",
    "subprotocol",
    "proxy",
    "tls",
    "breaker",
    "metadata",
    "description",
    "autoApprove",
    "alwaysAllow",
    "trust",
];

/// Keys that are noted with a server and change nothing of it.
pub const NOTES: [&str; 4] = ["description", "autoApprove", "alwaysAllow", "trust"];

/// Keys of which an empty list says nothing.
const LISTS: [&str; 7] =
    ["args", "disabledTools", "excludeTools", "disabled_tools", "autoApprove", "alwaysAllow", "tags"];

/// Keys whose texts may have references.
const WITH_REFERENCES: [&str; 9] =
    ["url", "headers", "bearer", "command", "args", "env", "envFile", "cwd", "tls"];

/// The old transport, as the reason why a server is left out.
const NO_SSE: &str =
    "it speaks the old HTTP+SSE transport, which is not supported: name its Streamable HTTP url";

/// Claude Code passes over a `timeout` below this, in milliseconds.
const CLAUDE_TIMEOUT_MIN: f64 = 1000.0;

/// The longest time that `servers.json` takes, a year, in milliseconds.
const TIME_MAX: f64 = 365.0 * 24.0 * 3_600_000.0;

/// The longest name, or key, of a file that is shown.
const SHOWN_CHARS_MAX: usize = 64;

/// The longest path of a file that is shown, as long as systems take.
const PATH_CHARS_MAX: usize = 4096;

/// What an entry is read against.
pub struct Surroundings<'a> {
    /// This program, which is not its own server.
    pub own: Own<'a>,
    /// What references mean where the file will be read.
    pub variables: &'a Variables,
    /// Whether a variable of the environment is set.
    pub is_set: &'a dyn Fn(&str) -> bool,
}

/// A server that is taken, and what there is to tell about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    pub entry: Entry,
    pub warnings: Vec<String>,
}

/// A name of a file as a terminal takes it.
pub fn shown(name: &str) -> String {
    cut(name, SHOWN_CHARS_MAX)
}

/// The same of a folder, whose end tells it from others.
pub fn shown_path(path: &str) -> String {
    cut(path, PATH_CHARS_MAX)
}

fn cut(text: &str, chars_max: usize) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut shown: String = text.chars().take(chars_max).map(plain).collect();
    if text.chars().nth(chars_max).is_some() {
        shown.push('…');
    }
    shown
}

/// The entry in the form of `servers.json`, or why it is left out.
pub fn translate(written: &Written, surroundings: &Surroundings<'_>) -> Result<Taken, String> {
    let Value::Object(entry) = &written.value else { return Err("it is no object".to_owned()) };
    let entry = entry.iter().filter(|(key, value)| !says_nothing(key, value));
    let entry = entry.map(|(key, value)| (key.clone(), value.clone())).collect();
    let entry: Entry = entry;
    if let Some(misspelt) = misspelt(&entry) {
        return Err(misspelt);
    }
    let mut work = Translation { written, surroundings, entry, warnings: Vec::new() };
    work.codex();
    work.address()?;
    work.switches();
    work.tools();
    work.timeouts();
    work.keys();
    if let Some(project) = &written.project {
        work.project(project);
    }
    if work.starts_this() {
        return Err("it starts this program itself".to_owned());
    }
    work.judge()?;
    Ok(Taken { entry: work.entry, warnings: work.warnings })
}

/// Likeness (Jaro-Winkler) below which a key is no slip of another.
const LIKENESS_MIN: f64 = 0.85;

/// What is wrong with an entry that says in no way where its server is, but by a key that is like one of those that do.
fn misspelt(entry: &Entry) -> Option<String> {
    let ways = ["command", "url", "serverUrl", "httpUrl"];
    if ways.iter().any(|way| entry.contains_key(*way)) {
        return None;
    }
    let slips = entry.keys().filter(|key| !KEYS.contains(&key.as_str()));
    let mut slips = slips.filter_map(|key| {
        let alike =
            |way: &&&str| strsim::jaro_winkler(&key.to_lowercase(), &way.to_lowercase()) >= LIKENESS_MIN;
        let way = ways.iter().find(alike)?;
        Some(format!("unknown key `{}`: did you mean `{way}`?", shown(key)))
    });
    slips.next()
}

/// Whether a key says no more than if it were not there.
fn says_nothing(key: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty() && LISTS.contains(&key),
        Value::Object(entries) => entries.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

struct Translation<'a> {
    written: &'a Written,
    surroundings: &'a Surroundings<'a>,
    entry: Entry,
    warnings: Vec<String>,
}

impl Translation<'_> {
    fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// Gives a key another name, unless one of that name is there.
    fn rename(&mut self, from: &str, to: &str) {
        if let Some(value) = self.entry.remove(from) {
            self.entry.entry(to).or_insert(value);
        }
    }

    /// Adds the names of tools under one key to those under another: no filter of them may be lost.
    fn names(&mut self, from: &str, to: &str) {
        let list = |value: Value| match value {
            Value::Array(names) => names,
            name => vec![name],
        };
        let Some(added) = self.entry.remove(from) else { return };
        let mut names = self.entry.remove(to).map(list).unwrap_or_default();
        for name in list(added) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        self.entry.insert(to.to_owned(), names.into());
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.entry.get(key).and_then(Value::as_str)
    }

    /// Codex has keys of its own, and looks nothing up in texts.
    fn codex(&mut self) {
        if self.written.client != Client::Codex {
            return;
        }
        for key in WITH_REFERENCES {
            if let Some(value) = self.entry.get_mut(key) {
                each_text(value, &mut |text| *text = text.replace("${", "$${"));
            }
        }
        if let Some(headers) = self.entry.get_mut("http_headers") {
            each_text(headers, &mut |text| *text = text.replace("${", "$${"));
        }
        self.rename("http_headers", "headers");
        if let Some(Value::Object(headers)) = self.entry.remove("env_http_headers") {
            for (header, name) in headers {
                let Value::String(name) = name else { continue };
                self.below("headers", header, format!("${{env:{name}}}"));
            }
        }
        if let Some(Value::String(name)) = self.entry.remove("bearer_token_env_var") {
            self.entry.insert("bearer".to_owned(), format!("${{env:{name}}}").into());
        }
        if let Some(Value::Array(names)) = self.entry.remove("env_vars") {
            for name in &names {
                let source = name.get("source").and_then(Value::as_str);
                let name = name.as_str().or_else(|| name.get("name").and_then(Value::as_str));
                let Some(name) = name else { continue };
                if source == Some("remote") {
                    self.warn(format!("{} is a variable of another machine: it is left out", shown(name)));
                } else if (self.surroundings.is_set)(name) {
                    self.below("env", name.to_owned(), format!("${{env:{name}}}"));
                } else {
                    // Codex passes on those that are set.
                    self.warn(format!("the variable {} is not set here: it is left out", shown(name)));
                }
            }
        }
        self.names("enabled_tools", "includeTools");
        self.names("disabled_tools", "disabledTools");
        let seconds = self.entry.remove("startup_timeout_sec").and_then(|value| value.as_f64());
        let milliseconds = self.entry.remove("startup_timeout_ms").and_then(|value| value.as_f64());
        let handshake = seconds.map(|seconds| seconds * 1000.0).or(milliseconds);
        if let Some(time) = handshake.and_then(time) {
            // An HTTP server has one session unless its own pool says more.
            self.entry.insert("pool".to_owned(), json!({"handshakeTimeout": time, "max": 1}));
        }
        self.rename("tool_timeout_sec", "timeout");
    }

    /// Puts a text into an object of the entry, unless its name is there.
    fn below(&mut self, key: &str, name: String, text: String) {
        let object = self.entry.entry(key).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(object) = object {
            object.entry(name).or_insert_with(|| text.into());
        }
    }

    /// Brings the spellings of a server's address and transport together.
    fn address(&mut self) -> Result<(), String> {
        let by_url = self.entry.contains_key("url");
        // Gemini takes `httpUrl` where both are given, Windsurf `serverUrl`.
        for spelling in ["serverUrl", "httpUrl"] {
            if let Some(url) = self.entry.remove(spelling)
                && self.entry.insert("url".to_owned(), url).is_some()
            {
                self.warn(format!("of its addresses {spelling} is taken"));
            }
        }
        let mut kind = None;
        for key in ["transportType", "transport", "type"] {
            match self.entry.remove(key) {
                Some(Value::String(text)) => kind = Some(text),
                Some(_) => return Err(format!("its {key} is no text")),
                None => {}
            }
        }
        let kind = kind.map(|kind| kind.to_ascii_lowercase().replace(['-', '_'], ""));
        let url = self.text("url").unwrap_or_default().to_owned();
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let of_sse = path.trim_end_matches('/').ends_with("/sse");
        let by_address = match url.starts_with("ws://") || url.starts_with("wss://") {
            _ if self.entry.contains_key("command") && url.is_empty() => "stdio",
            true => "websocket",
            false => "http",
        };
        match kind.as_deref() {
            Some("sse") => return Err(NO_SSE.to_owned()),
            Some(kind) => {
                let kind = match kind {
                    "stdio" | "local" => "stdio",
                    "http" | "streamable" | "streamablehttp" => "http",
                    "ws" | "websocket" => "websocket",
                    _ => {
                        return Err(
                            "its type is not known here, which has stdio, http and websocket".to_owned()
                        );
                    }
                };
                // It is written where the address says another, which is a mistake, and judged with the rest.
                if kind != by_address {
                    self.entry.insert("type".to_owned(), kind.into());
                }
            }
            None if url.is_empty() => {}
            None if self.written.client == Client::Cline && by_url => {
                return Err(format!(
                    "without a type {NO_SSE} (Cline means that transport where no type is given)"
                ));
            }
            None if self.written.client == Client::Gemini && by_url && of_sse => {
                return Err(NO_SSE.to_owned());
            }
            None if of_sse => self.warn(
                "its url ends with /sse, as those of the old HTTP+SSE transport do, which is not supported",
            ),
            None => {}
        }
        Ok(())
    }

    /// `enabled` of some clients is what others call `disabled`.
    fn switches(&mut self) {
        let enabled = self.entry.remove("enabled").and_then(|value| value.as_bool());
        let disabled = self.entry.get("disabled").and_then(Value::as_bool).unwrap_or_default();
        if disabled || enabled == Some(false) || self.written.switched_off.is_some() {
            self.entry.insert("disabled".to_owned(), true.into());
        } else if self.entry.get("disabled").is_some_and(Value::is_boolean) {
            self.entry.remove("disabled");
        }
    }

    fn tools(&mut self) {
        self.names("excludeTools", "disabledTools");
        // Codex has settings of each tool under this key.
        if self.written.client != Client::Codex {
            self.names("tools", "includeTools");
        }
        let all = |value: &Value| *value == json!(["*"]) || *value == json!("*");
        if self.entry.get("includeTools").is_some_and(all) {
            self.entry.remove("includeTools");
        }
        if self.entry.get("trust").and_then(Value::as_bool) == Some(false) {
            self.entry.remove("trust");
        }
    }

    /// A time that is a number has the unit that its client means.
    fn timeouts(&mut self) {
        let Some(number) = self.entry.get("timeout").and_then(Value::as_f64) else { return };
        self.entry.remove("timeout");
        let client = self.written.client;
        let milliseconds = match client {
            Client::ClaudeCode if number < CLAUDE_TIMEOUT_MIN => {
                return self.warn(format!("its timeout {number} is left out, as Claude Code passes over it"));
            }
            Client::ClaudeCode | Client::Gemini | Client::Kiro => number,
            Client::Cline | Client::Roo | Client::Codex => number * 1000.0,
            Client::ClaudeDesktop | Client::Cursor | Client::VsCode | Client::Windsurf => {
                let advice = "write it with its unit, as \"60s\"";
                return self.warn(format!(
                    "its timeout {number} is left out, which has no unit for {client}: {advice}"
                ));
            }
        };
        match time(milliseconds) {
            Some(time) => drop(self.entry.insert("timeout".to_owned(), time.into())),
            None => self.warn(format!("its timeout {number} is left out: it is none that a call can have")),
        }
    }

    /// Leaves out keys that `servers.json` does not have.
    fn keys(&mut self) {
        let foreign = self.entry.keys().filter(|key| !KEYS.contains(&key.as_str()));
        let foreign: Vec<String> = foreign.cloned().collect();
        foreign.iter().for_each(|key| drop(self.entry.remove(key)));
        if !foreign.is_empty() {
            let names: Vec<String> = foreign.iter().take(10).map(|key| shown(key)).collect();
            let more = if foreign.len() > names.len() { " and others" } else { "" };
            self.warn(format!("keys without a meaning here are left out: {}{more}", names.join(", ")));
        }
        if self.written.client == Client::Gemini {
            for key in WITH_REFERENCES {
                if let Some(value) = self.entry.get_mut(key) {
                    each_text(value, &mut |text| *text = in_braces(text));
                }
            }
        }
    }

    /// What depends on the folder of the project names that folder, since the file that is written is elsewhere.
    fn project(&mut self, project: &Path) {
        let folder = project.display().to_string();
        let name = project.file_name().unwrap_or_default().to_string_lossy();
        for key in WITH_REFERENCES {
            // Codex looks nothing up.
            let value = self.entry.get_mut(key).filter(|_| self.written.client != Client::Codex);
            let Some(value) = value else { continue };
            each_text(value, &mut |text| {
                let meant = text
                    .replace("${workspaceFolder}", &folder)
                    .replace("${workspaceFolderBasename}", &name)
                    .replace("${CLAUDE_PROJECT_DIR}", &folder);
                *text = without_default(&meant, "${CLAUDE_PROJECT_DIR:-", &folder);
            });
        }
        let is_relative = |text: &str| {
            // A drive of Windows, and variables as it writes them.
            let on_windows = text.contains('%') || text.get(1..2) == Some(":");
            let at_home = text == "~" || text.starts_with("~/");
            let elsewhere = text.is_empty() || text.contains("${") || at_home || on_windows;
            !elsewhere && Path::new(text).is_relative()
        };
        let is_there =
            |text: &str| is_relative(text) && (self.surroundings.own.resolve)(&project.join(text)).is_some();
        // What is written so is in the project, also where it is not built yet.
        let is_of_project = |text: &str| {
            let begins = ["./", "../", ".\\", "..\\"].iter().any(|begin| text.starts_with(begin));
            is_there(text) || begins && is_relative(text)
        };
        // A program without a folder before its name is looked up in `PATH`.
        let is_program_of_project = |text: &str| text.contains(['/', '\\']) && is_relative(text);
        let has_path = |text: &str| {
            let value = text.split_once('=').filter(|(option, _)| option.starts_with('-'));
            is_of_project(text) || value.is_some_and(|(_, value)| is_of_project(value))
        };
        let needs_folder =
            self.text("command").is_some_and(|text| is_program_of_project(text) || is_of_project(text))
                || texts(self.entry.get("args")).any(has_path);
        let joined = |text: &str| project.join(text).components().collect::<PathBuf>().display().to_string();
        let paths = [
            ("command", self.text("command").filter(|text| is_program_of_project(text)).map(joined)),
            ("cwd", self.text("cwd").filter(|text| is_relative(text)).map(joined)),
            ("envFile", self.text("envFile").filter(|text| is_relative(text)).map(joined)),
        ];
        for (key, path) in paths {
            if let Some(path) = path {
                self.entry.insert(key.to_owned(), path.into());
            }
        }
        if needs_folder && !self.entry.contains_key("cwd") {
            self.entry.insert("cwd".to_owned(), folder.into());
        }
    }

    fn starts_this(&self) -> bool {
        let args: Vec<&str> = texts(self.entry.get("args")).collect();
        self.text("command").is_some_and(|command| self.surroundings.own.starts(command, &args))
    }

    /// Has the entry read as `servers.json` is. What cannot be played at all is left out. What only lacks the value of a reference
    /// is switched off, so that the file has no mistake.
    fn judge(&mut self) -> Result<(), String> {
        let mistakes = mistakes(&self.entry, self.surroundings.variables);
        let lacking = self.lacking();
        if let Some(mistake) = mistakes.iter().find(|(_, reason)| !lacking.contains(reason)) {
            let (key, reason) = mistake;
            return Err(if key.is_empty() { reason.clone() } else { format!("{key} {reason}") });
        }
        if let Some((_, reason)) = mistakes.first()
            && self.entry.insert("disabled".to_owned(), true.into()).is_none()
        {
            self.warn(format!("switched off: {reason}, then take its \"disabled\" out"));
        }
        if self.written.project.is_none() && self.written.client != Client::Codex {
            let mut of_workspace = false;
            for key in WITH_REFERENCES {
                of_workspace |=
                    texts_below(self.entry.get(key)).iter().any(|text| text.contains("${workspaceFolder"));
            }
            if of_workspace {
                self.warn("its ${workspaceFolder} is the folder of the file that is written");
            }
        }
        Ok(())
    }

    /// Why references of the entry have no value here, each as the reader of `servers.json` says it.
    fn lacking(&self) -> Vec<String> {
        let texts = WITH_REFERENCES.iter().flat_map(|key| texts_below(self.entry.get(*key)));
        let texts = texts.filter(|text| text.contains("${"));
        let probes = texts.map(|text| {
            Map::from_iter([("command".to_owned(), Value::from("true")), ("args".to_owned(), json!([text]))])
        });
        probes
            .flat_map(|probe| mistakes(&probe, self.surroundings.variables))
            .map(|(_, reason)| reason)
            .collect()
    }
}

/// The mistakes of an entry: the key below it, and what is wrong.
fn mistakes(entry: &Entry, variables: &Variables) -> Vec<(String, String)> {
    // What is switched off has warnings alone.
    let entry: Entry = entry
        .iter()
        .filter(|(key, value)| *key != "disabled" || !value.is_boolean())
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let text = json!({"mcpServers": {"s": entry}}).to_string();
    let found = ConfigFile::diagnose(&text, variables).into_iter();
    let errors = found.filter(|found| found.severity == Severity::Error);
    errors
        .map(|found| {
            let key = found.error.key.strip_prefix("mcpServers.s").unwrap_or(&found.error.key);
            (key.trim_start_matches('.').to_owned(), found.error.reason)
        })
        .collect()
}

/// The texts of a list.
fn texts(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn texts_below(value: Option<&Value>) -> Vec<String> {
    let (mut copy, mut texts) = (value.cloned().unwrap_or_default(), Vec::new());
    each_text(&mut copy, &mut |text| texts.push(text.clone()));
    texts
}

/// Changes each text that a value has. How deep it nests was bounded when it was read.
fn each_text(value: &mut Value, change: &mut dyn FnMut(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| each_text(item, change)),
        Value::Object(entries) => entries.values_mut().for_each(|value| each_text(value, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A time of so many milliseconds, as `servers.json` has it. Zero and less, and what is longer than a year, is none.
fn time(milliseconds: f64) -> Option<String> {
    if !(1.0..=TIME_MAX).contains(&milliseconds) {
        return None;
    }
    let whole = milliseconds.round() as u64;
    Some(if whole.is_multiple_of(1000) { format!("{}s", whole / 1000) } else { format!("{whole}ms") })
}

/// `$NAME` of Gemini as `${NAME}`.
fn in_braces(text: &str) -> String {
    let mut parts = text.split('$');
    let mut written = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(part.len());
        let is_name = part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let (name, rest) = part.split_at(end);
        match is_name && !written.ends_with('$') {
            true => written.push_str(&format!("${{{name}}}{rest}")),
            false => written.push_str(&format!("${part}")),
        }
    }
    written
}

/// A text in which a reference with any default is replaced by what it means.
fn without_default(text: &str, begin: &str, meant: &str) -> String {
    let mut written = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(begin) {
        let Some((_, behind)) = after.split_once('}') else { break };
        written.push_str(before);
        written.push_str(meant);
        rest = behind;
    }
    written + rest
}

/// A folder's last part, for the name of a server.
pub fn folder_name(project: Option<&PathBuf>) -> Option<String> {
    project?.file_name().map(|name| name.to_string_lossy().into_owned())
}
