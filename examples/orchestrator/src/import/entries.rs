//! What the text of a client's file says: its servers, as they are written there.

use std::path::{Path, PathBuf};

use mcp_troupe::ConfigFile;
use serde_json::{Map, Value};

use super::places::{Client, Place, Shape};

/// The most servers of one file: more than any client starts.
const SERVERS_MAX: usize = 1_000;

/// Keys that stand beside the servers of a file of servers alone.
const APART: [&str; 2] = ["$schema", "inputs"];

/// Keys of Claude Code that switch off servers: any, and those of a project's own file.
const DISABLED: &str = "disabledMcpServers";
const DISABLED_OF_PROJECT: &str = "disabledMcpjsonServers";

/// What is wrong with something else in the place of servers.
const NO_OBJECT: &str = "is no object";

/// A server as a client's file has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    pub client: Client,
    /// The name that people gave it.
    pub name: String,
    /// What stands under the name, which may be no object.
    pub value: Value,
    /// The folder of the project that it belongs to; none for one of all projects.
    pub project: Option<PathBuf>,
    /// The key outside of it that switches it off, if one does.
    pub switched_off: Option<&'static str>,
}

/// What a file says of servers.
#[derive(Debug, Default)]
pub struct Entries {
    pub servers: Vec<Written>,
    /// Parts of the file that cannot be read, each by its name, and why.
    pub passed_over: Vec<(String, String)>,
}

/// The servers of a file, or why it cannot be read. `here` is the project that one is in. What is wrong is told without the
/// file's text.
pub fn entries(place: &Place, text: &str, here: &Path) -> Result<Entries, String> {
    let root = match place.shape {
        Shape::Toml => toml(text)?,
        Shape::Servers | Shape::Settings | Shape::Projects | Shape::Switches => json(text)?,
    };
    let Value::Object(root) = root else { return Err(format!("it {NO_OBJECT}")) };
    let mut found = Entries::default();
    if place.shape == Shape::Switches {
        return Ok(found);
    }
    let (servers, wrong) = servers_of(place.shape, &root);
    let off = switched_off_here(place.shape, &root, here);
    let off = |name: &str| off.contains(&name).then_some(DISABLED);
    found.servers = listed(place.client, servers, place.project.as_deref(), &off);
    match wrong {
        // In the file of all projects those of each stand elsewhere.
        Some(key) if found.servers.is_empty() && place.shape != Shape::Projects => {
            return Err(format!("{key} {NO_OBJECT}"));
        }
        Some(key) => found.passed_over.push((key.to_owned(), format!("it {NO_OBJECT}"))),
        None => {}
    }
    match place.client {
        Client::Gemini => switch_off_by_lists(&root, &mut found.servers),
        Client::ClaudeCode if place.shape == Shape::Projects => of_projects(&root, &mut found),
        _ => {}
    }
    if found.servers.len() > SERVERS_MAX {
        return Err(format!("it has more than {SERVERS_MAX} servers"));
    }
    Ok(found)
}

/// Switches off what the lists of Gemini exclude or do not allow.
fn switch_off_by_lists(root: &Map<String, Value>, servers: &mut [Written]) {
    let names = |key: &str| names_of(root.get("mcp").and_then(|mcp| mcp.get(key)));
    let (allowed, excluded) = (names("allowed"), names("excluded"));
    for server in servers {
        let name = server.name.as_str();
        let unless_allowed = !(allowed.is_empty() || allowed.contains(&name));
        let excluded = excluded.contains(&name).then_some("mcp.excluded");
        server.switched_off = excluded.or(unless_allowed.then_some("mcp.allowed"));
    }
}

/// Adds the servers that Claude Code has of single projects. One project that is wrong costs no other.
fn of_projects(root: &Map<String, Value>, found: &mut Entries) {
    let projects = match object(root.get("projects")) {
        Ok(projects) => projects,
        Err(reason) => return found.passed_over.push(("projects".to_owned(), format!("it {reason}"))),
    };
    for (folder, settings) in projects.into_iter().flatten() {
        if !settings.is_object() {
            found.passed_over.push((folder.clone(), "it is no object".to_owned()));
            continue;
        }
        let off = names_of(settings.get(DISABLED));
        let off = |name: &str| off.contains(&name).then_some(DISABLED);
        match object(settings.get("mcpServers")) {
            Ok(servers) => {
                let (servers, folder) = (servers.into_iter().flatten(), Some(Path::new(folder)));
                found.servers.extend(listed(Client::ClaudeCode, servers, folder, &off));
            }
            Err(reason) => found.passed_over.push((folder.clone(), format!("its mcpServers {reason}"))),
        }
    }
}

/// The names of servers in the `.mcp.json` of a project that a file of Claude Code switches off, and by which key.
pub fn switched_off(place: &Place, text: &str, project: &Path) -> Vec<(String, &'static str)> {
    if !matches!(place.shape, Shape::Projects | Shape::Switches) {
        return Vec::new();
    }
    let root = json(text).unwrap_or_default();
    let settings = settings_of(root.get("projects"), project);
    let lists = [
        (DISABLED_OF_PROJECT, root.get(DISABLED_OF_PROJECT)),
        (DISABLED_OF_PROJECT, settings.and_then(|settings| settings.get(DISABLED_OF_PROJECT))),
        (DISABLED, settings.and_then(|settings| settings.get(DISABLED))),
    ];
    let named = |(key, list)| names_of(list).into_iter().map(move |name| (name.to_owned(), key));
    lists.into_iter().flat_map(named).collect()
}

/// The names of a user's own servers that Claude Code switches off in this project.
fn switched_off_here<'v>(shape: Shape, root: &'v Map<String, Value>, here: &Path) -> Vec<&'v str> {
    let settings = settings_of(root.get("projects"), here).filter(|_| shape == Shape::Projects);
    names_of(settings.and_then(|settings| settings.get(DISABLED)))
}

/// What Claude Code keeps of a project.
fn settings_of<'v>(projects: Option<&'v Value>, project: &Path) -> Option<&'v Value> {
    projects?.get(&*project.to_string_lossy())
}

/// The servers of a file, and the key that has something else.
fn servers_of(shape: Shape, root: &Map<String, Value>) -> (Vec<(&String, &Value)>, Option<&'static str>) {
    let is_toml = shape == Shape::Toml;
    let keys: &[&'static str] = if is_toml { &["mcp_servers"] } else { &["mcpServers", "servers"] };
    let mut wrong = None;
    for key in keys {
        // One server of a file of servers alone may be called so.
        match object(root.get(*key).filter(|servers| is_toml || !is_server(servers))) {
            Ok(Some(servers)) => return (servers.iter().collect(), wrong),
            Ok(None) => {}
            Err(_) => wrong = wrong.or(Some(*key)),
        }
    }
    // One that is wrong stands beside others, and is told.
    let is_bare = shape == Shape::Servers && wrong.is_none() && root.values().any(is_server);
    let servers = root.iter().filter(|(key, _)| is_bare && !APART.contains(&key.as_str()));
    (servers.collect(), wrong)
}

/// The object that stands there, if anything does, or what is wrong with it.
fn object(value: Option<&Value>) -> Result<Option<&Map<String, Value>>, &'static str> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(entries)) => Ok(Some(entries)),
        Some(_) => Err(NO_OBJECT),
    }
}

/// Whether a value describes a server.
fn is_server(value: &Value) -> bool {
    ["command", "url", "httpUrl", "serverUrl"].iter().any(|key| value.get(key).is_some_and(Value::is_string))
}

fn names_of(list: Option<&Value>) -> Vec<&str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

fn listed<'v>(
    client: Client,
    servers: impl IntoIterator<Item = (&'v String, &'v Value)>,
    project: Option<&Path>,
    off: &dyn Fn(&str) -> Option<&'static str>,
) -> Vec<Written> {
    let written = |(name, value): (&String, &Value)| Written {
        client,
        name: name.clone(),
        value: value.clone(),
        project: project.map(Path::to_owned),
        switched_off: off(name),
    };
    servers.into_iter().map(written).collect()
}

fn toml(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        format!("line {}: it is no TOML", before.matches('\n').count() + 1)
    })
}

fn json(text: &str) -> Result<Value, String> {
    ConfigFile::json(text).map_err(|found| {
        let told = found.first().map(|found| format!("line {}: {}", found.line, found.error.reason));
        told.unwrap_or_else(|| "it is no JSON".to_owned())
    })
}
