//! What to do about a call that failed, or a server that is not there, where that can be told from what is known.

use std::path::Path;
use std::time::Duration;

use mcp_troupe::event::ServerStatus;
use mcp_troupe::stats::Starting;
use mcp_troupe::{CallError, CallErrorKind, ConfigFile, Deadline, RefusalKind, ServerInfo, Troupe};
use serde_json::Value;

use crate::absent::{Absent, listed, named, other_group, parts, plain};
use crate::configuration::{is_stream, text_of};
use crate::waiting::NAMES_SETTLE;
use crate::{CallArgs, Target};

/// What to do about a call that failed.
pub async fn of_call(args: &CallArgs, troupe: &Troupe, absent: &Absent, error: &CallError) -> Option<String> {
    let Target { tool, timeout, .. } = &args.target;
    let chosen = args.target.chosen();
    let hint = pinned_otherwise(error)
        .or_else(|| absent.hint(troupe, &args.target, error))
        .or_else(|| mixed_up(troupe, &args.target, error))
        .or_else(|| unknown_tag(troupe, &args.target, error))
        .or_else(|| near_with_tags(troupe, &args.target, error))
        .or_else(|| unoffered(&args.config.config, tool, chosen, error))
        .or_else(|| wrong_urls(troupe, error))
        .or_else(|| longer(troupe, error, *timeout));
    if hint.is_none() {
        let others = further_candidates(troupe, &args.target, error).await;
        if others.is_some() {
            return others;
        }
    }
    match hint {
        Some(hint) => Some(hint),
        None => failing_source(troupe, error).await.or_else(|| nobody(troupe, absent, error)),
    }
}

/// Who else offers a tool whose name is ambiguous: the error names those that had listed their tools by then.
async fn further_candidates(troupe: &Troupe, target: &Target, error: &CallError) -> Option<String> {
    let CallErrorKind::AmbiguousTool { candidates } = error.kind() else { return None };
    troupe.settled_within(NAMES_SETTLE).await;
    let servers = troupe.servers();
    let is_meant =
        |id| servers.iter().any(|info| info.id == id && target.tag.iter().all(|tag| info.tags.contains(tag)));
    let tools = troupe.tools();
    let others = tools.iter().filter(|tool| *tool.name == *target.tool);
    let others = others.filter(|tool| tool.servers.iter().any(|id| is_meant(id.clone())));
    let others: Vec<String> = others.map(|tool| format!("{}/{}", tool.group, tool.name)).collect();
    let others: Vec<&str> = others
        .iter()
        .map(String::as_str)
        .filter(|name| !candidates.iter().any(|known| known == name))
        .collect();
    match others.as_slice() {
        [] => None,
        [one] => Some(format!("{one} has it too")),
        _ => Some(format!("{} have it too", listed(others))),
    }
}

/// Where there is no server at all.
fn nobody(troupe: &Troupe, absent: &Absent, error: &CallError) -> Option<String> {
    let is_off = |info: &ServerInfo| info.status == ServerStatus::Disabled;
    let none = troupe.servers().iter().all(is_off) && absent.left_out().len() == 0;
    let unknown = matches!(error.kind(), CallErrorKind::UnknownTool { .. } | CallErrorKind::NoMatch { .. });
    (none && unknown).then(|| match absent.switched_off() {
        0 => "the configuration names no server".to_owned(),
        1 => "the one server of the configuration is switched off".to_owned(),
        all => format!("all {all} servers of the configuration are switched off"),
    })
}

/// Where `--server` names a group, or a server of another group than the tool's.
fn mixed_up(troupe: &Troupe, target: &Target, error: &CallError) -> Option<String> {
    let (CallErrorKind::UnknownTool { .. } | CallErrorKind::NoMatch { .. }) = error.kind() else {
        return None;
    };
    other_group(&troupe.servers(), &target.tool, target.server.as_deref(), target.group.as_deref())
}

/// What to do where a tool is not what was pinned.
fn pinned_otherwise(error: &CallError) -> Option<String> {
    let CallErrorKind::UnknownTool { blocked, .. } = error.kind() else { return None };
    let hint = "a tool that is blocked is in no catalogue: to look at what it says now, write \"onChange\": \"warn\" and have \
                `mcp-troupe tools --json` print it; if that is right, `mcp-troupe pin --output FILE` makes new pins";
    (!blocked.is_empty()).then(|| hint.to_owned())
}

/// A tag that a call wants and no server has.
fn unknown_tag(troupe: &Troupe, target: &Target, error: &CallError) -> Option<String> {
    let CallErrorKind::NoMatch { .. } = error.kind() else { return None };
    let (servers, wanted) = (troupe.servers(), &target.tag);
    // Of the others nothing is known: they were not started for it.
    let nobody = match named(&target.tool, target.chosen()) {
        Some(named) => format!("of the servers that {named} means none"),
        None => "no server".to_owned(),
    };
    let tags: Vec<&str> = servers.iter().flat_map(|info| &info.tags).map(String::as_str).collect();
    if let Some(unknown) = wanted.iter().find(|tag| !tags.contains(&tag.as_str())) {
        return Some(format!("{nobody} has the tag {unknown}: there are {}", listed(tags)));
    }
    let has_all = |info: &ServerInfo| wanted.iter().all(|tag| info.tags.contains(tag));
    (wanted.len() > 1 && !servers.iter().any(has_all))
        .then(|| format!("{nobody} has all of these tags: {}", wanted.join(", ")))
}

/// Which of the tools that may have been meant servers with these tags offer, where not all are.
fn near_with_tags(troupe: &Troupe, target: &Target, error: &CallError) -> Option<String> {
    let CallErrorKind::UnknownTool { near, .. } = error.kind() else { return None };
    let wanted = &target.tag;
    if wanted.is_empty() || near.is_empty() {
        return None;
    }
    let (servers, tools) = (troupe.servers(), troupe.tools());
    let has_all =
        |id| servers.iter().any(|info| info.id == id && wanted.iter().all(|tag| info.tags.contains(tag)));
    let mut offered: Vec<String> = Vec::new();
    for tool in tools.iter().filter(|tool| tool.servers.iter().any(|id| has_all(id.clone()))) {
        let whole = format!("{}/{}", tool.group, tool.name);
        if near.iter().any(|near| *near == *tool.name || *near == *tool.exposed || *near == whole) {
            offered.push(whole);
        }
    }
    let tags = wanted.join(", ");
    Some(match offered.is_empty() {
        true => format!("none of these is offered by a server with --tag {tags}"),
        false => {
            format!("with --tag {tags} there is {}", listed(offered.iter().map(String::as_str).collect()))
        }
    })
}

/// Keys of a server that name tools which it does not offer, and keys that name the only ones that it does.
const WITHOUT_TOOLS: [&str; 2] = ["disabledTools", "excludeTools"];
const ONLY_TOOLS: [&str; 2] = ["includeTools", "tools"];

/// What names all tools there.
const ALL_TOOLS: &str = "*";

/// What to know of a tool that nobody offers, since the configuration at `path` does not let a server do so.
fn unoffered(path: &Path, tool: &str, chosen: Option<&str>, error: &CallError) -> Option<String> {
    let (CallErrorKind::UnknownTool { .. } | CallErrorKind::NoMatch { .. }) = error.kind() else {
        return None;
    };
    // A stream cannot be read again.
    let text = if is_stream(path) { None } else { text_of(path).ok() };
    let file = ConfigFile::json(&text?).ok()?;
    let named = named(tool, chosen);
    let tool = parts(tool).map_or(tool, |(_, name)| name);
    let is_meant = |id: &str, server: &Value| {
        named.is_none_or(|named| plain(named) == plain(id) || server["group"].as_str() == Some(named))
    };
    let mut servers = file["mcpServers"].as_object()?.iter().filter(|(id, server)| is_meant(id, server));
    servers.find_map(|(id, server)| {
        let names = |key: &str, tool: &str| match &server[key] {
            Value::Array(names) => names.iter().any(|name| name == tool),
            name => name == tool,
        };
        if let Some(key) = WITHOUT_TOOLS.into_iter().find(|key| names(key, tool)) {
            return Some(format!("{tool} is switched off in the configuration ({key} of {id})"));
        }
        // What a server that nobody named would have is not known.
        let mut only = ONLY_TOOLS.into_iter().filter(|_| named.is_some());
        let only = only.find(|key| !server[*key].is_null() && !names(key, tool) && !names(key, ALL_TOOLS))?;
        Some(format!("{id} offers only the tools that the configuration names ({only} of {id})"))
    })
}

/// What may be wrong with the address of a server that is down, where it says so by what it answers, or nobody does.
pub fn of_address(server: &ServerInfo, reason: Option<&str>) -> Option<String> {
    let ServerInfo { id, endpoint, .. } = server;
    let reason = reason.filter(|_| ["http", "ws"].iter().any(|scheme| endpoint.starts_with(scheme)))?;
    if reason.contains("onnection refused") {
        return Some(format!("is {id} running? Are host and port in its url right?"));
    }
    if reason.contains("unauthorized") || reason.contains("HTTP status 401") {
        return Some(format!(
            "give {id} a token that it takes, by its bearer or headers; this program logs in nowhere (OAuth)"
        ));
    }
    if !endpoint.starts_with("http") {
        None
    } else if reason.contains("no MCP server at this address") {
        Some(format!("is the path in the url of {id} right? Often it ends in /mcp"))
    } else if reason.contains("connection closed before message completed") {
        Some(format!("is {id} a WebSocket server? Then its url begins with ws:// or wss://"))
    } else {
        None
    }
}

/// The same of the servers that a call could have gone to.
fn wrong_urls(troupe: &Troupe, error: &CallError) -> Option<String> {
    let servers = troupe.servers();
    let down = match error.kind() {
        CallErrorKind::Unavailable { servers } => servers,
        CallErrorKind::Refused(refusal) if refusal.kind == RefusalKind::Unauthorized => {
            let server = servers.iter().find(|info| Some(&info.id) == error.server())?;
            return of_address(server, Some("unauthorized"));
        }
        _ => return None,
    };
    down.iter().find_map(|down| {
        let server = servers.iter().find(|info| info.id == down.server)?;
        of_address(server, Some(down.reason.as_str()))
    })
}

/// A source that has no answer, where a call found nobody: the server that it means may be named there.
async fn failing_source(troupe: &Troupe, error: &CallError) -> Option<String> {
    let unknown = matches!(error.kind(), CallErrorKind::UnknownTool { .. } | CallErrorKind::NoMatch { .. });
    let sources = if unknown { troupe.stats().await.sources } else { Vec::new() };
    sources.into_iter().find_map(|source| match (source.reason, source.skipped) {
        (Some(reason), _) => Some(format!("source {} is {}: {reason}", source.id, source.status)),
        (None, 0) => None,
        (None, skipped) => Some(format!(
            "source {}: {skipped} of its records are left out; RUST_LOG=info says which",
            source.id
        )),
    })
}

/// What to do where the call's time was too short. `given` is what the command line gave it.
fn longer(troupe: &Troupe, error: &CallError, given: Option<Duration>) -> Option<String> {
    let CallErrorKind::DeadlineExceeded { sent, deadline: Deadline::Total, .. } = error.kind() else {
        return None;
    };
    let starting = error.awaited().iter().any(|server| server.status == ServerStatus::Connecting);
    let servers = troupe.servers();
    let waits = |id| {
        servers.iter().any(|info| info.id == id && matches!(info.starting, Some(Starting::Waiting { .. })))
    };
    match (sent, given) {
        (false, _) if error.awaited().iter().any(|server| waits(server.server.clone())) => {
            let hint = "other servers are still starting, and not all start at once: name its group (GROUP/TOOL), or --server ID, so \
                        that only this one is started, or give the call more time, as --timeout 2m";
            Some(hint.to_owned())
        }
        // The name is the likelier mistake, and is told.
        (false, _) if starting && !error.near_names().is_empty() => None,
        (false, _) if starting => {
            Some("it may need longer to start: give the call more time, as --timeout 2m".to_owned())
        }
        (_, None) => {
            let hint = "--timeout gives one call another time; toolTimeouts, timeout of its server and callTimeout set it \
                        in the configuration";
            Some(hint.to_owned())
        }
        _ => None,
    }
}
