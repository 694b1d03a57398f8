//! What the text of a client's file says: its servers, as they are written there.

use std::path::{Path, PathBuf};

use mcp_troupe::ConfigFile;
use serde_json::{Map, Value};

use super::places::{Client, Place, Shape};

/// The most servers of one file: more than any client starts.
const SERVERS_MAX: usize = 1_000;

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
    /// Whether another key of the file switches it off.
    pub switched_off: bool,
}

/// The servers of a file, or why it cannot be read. What is wrong is told without the file's text.
pub fn entries(place: &Place, text: &str) -> Result<Vec<Written>, String> {
    let root = match place.shape {
        Shape::Toml => toml(text)?,
        Shape::Servers | Shape::Settings | Shape::Projects | Shape::Switches => json(text)?,
    };
    let Value::Object(root) = root else { return Err("it is no object".to_owned()) };
    if place.shape == Shape::Switches {
        return Ok(Vec::new());
    }
    let project = place.project.as_deref();
    let mut found = listed(place.client, servers_of(place.shape, &root)?, project, &|_| false);
    match place.client {
        Client::Gemini => {
            let names = |key: &str| names_of(root.get("mcp").and_then(|mcp| mcp.get(key)));
            let (allowed, excluded) = (names("allowed"), names("excluded"));
            for server in &mut found {
                let name = server.name.as_str();
                server.switched_off =
                    excluded.contains(&name) || !(allowed.is_empty() || allowed.contains(&name));
            }
        }
        Client::ClaudeCode if place.shape == Shape::Projects => {
            for (folder, settings) in root.get("projects").and_then(Value::as_object).into_iter().flatten() {
                let off = names_of(settings.get("disabledMcpServers"));
                let servers = object(settings.get("mcpServers"), "mcpServers of a project")?;
                let off = |name: &str| off.contains(&name);
                found.extend(listed(place.client, servers, Some(Path::new(folder)), &off));
            }
        }
        _ => {}
    }
    if found.len() > SERVERS_MAX {
        return Err(format!("it has more than {SERVERS_MAX} servers"));
    }
    Ok(found)
}

/// The names of servers in the `.mcp.json` of a project that a file of Claude Code switches off.
pub fn switched_off(place: &Place, text: &str, project: &Path) -> Vec<String> {
    if !matches!(place.shape, Shape::Projects | Shape::Switches) {
        return Vec::new();
    }
    let root = json(text).unwrap_or_default();
    let of_project = root.get("projects").and_then(|projects| projects.get(&*project.to_string_lossy()));
    let lists = [
        root.get("disabledMcpjsonServers"),
        of_project.and_then(|settings| settings.get("disabledMcpjsonServers")),
        of_project.and_then(|settings| settings.get("disabledMcpServers")),
    ];
    lists.into_iter().flat_map(names_of).map(str::to_owned).collect()
}

/// The object of a file's servers.
fn servers_of(shape: Shape, root: &Map<String, Value>) -> Result<Option<&Map<String, Value>>, String> {
    if shape == Shape::Toml {
        return object(root.get("mcp_servers"), "mcp_servers");
    }
    for key in ["mcpServers", "servers"] {
        // One server of a file of servers alone may be called so.
        if let Some(servers) = root.get(key).filter(|servers| !is_server(servers)) {
            return object(Some(servers), key);
        }
    }
    let is_bare = shape == Shape::Servers && !root.is_empty() && root.values().all(is_server);
    Ok(is_bare.then_some(root))
}

fn object<'v>(value: Option<&'v Value>, key: &str) -> Result<Option<&'v Map<String, Value>>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(servers)) => Ok(Some(servers)),
        Some(_) => Err(format!("{key} is no object")),
    }
}

/// Whether a value describes a server.
fn is_server(value: &Value) -> bool {
    ["command", "url", "httpUrl", "serverUrl"].iter().any(|key| value.get(key).is_some_and(Value::is_string))
}

fn names_of(list: Option<&Value>) -> Vec<&str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

fn listed(
    client: Client,
    servers: Option<&Map<String, Value>>,
    project: Option<&Path>,
    off: &dyn Fn(&str) -> bool,
) -> Vec<Written> {
    let written = |(name, value): (&String, &Value)| Written {
        client,
        name: name.clone(),
        value: value.clone(),
        project: project.map(Path::to_owned),
        switched_off: off(name),
    };
    servers.into_iter().flatten().map(written).collect()
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
