//! What a configuration names and the troupe does not play: servers that are left out or switched off, and names that became ids.

use std::collections::{BTreeMap, BTreeSet};

use mcp_troupe::{
    CallError, CallErrorKind, ConfigFile, Diagnostic, DiagnosticKind, ServerInfo, Severity, Troupe,
};

use crate::Target;

/// The most servers left out that one error tells.
const LEFT_OUT_TOLD: usize = 32;

/// Servers that do not play, with the reason, by their ids.
#[derive(Default)]
pub struct Absent {
    left_out: BTreeMap<String, String>,
    disabled: Vec<String>,
    mistakes: Vec<Diagnostic>,
    /// Servers and groups that play.
    playing: BTreeSet<String>,
}

impl Absent {
    /// Those of a file, whose mistakes are still in it.
    pub fn of(file: &ConfigFile) -> Self {
        let mistakes = file.diagnostics.iter().filter(|found| found.severity == Severity::Error);
        let mistakes: Vec<Diagnostic> = mistakes.cloned().collect();
        let reason = |id: &String| {
            let own = mistakes.iter().find(|found| found.server.as_ref() == Some(id));
            own.map_or_else(|| "it has a mistake".to_owned(), |found| found.error.to_string())
        };
        // One whose id another server has is known by its name alone.
        let nameless = mistakes.iter().filter(|found| found.kind == DiagnosticKind::IdTaken);
        let nameless = nameless.filter_map(|found| Some((found.server.clone()?, found.error.to_string())));
        // These are printed as they stand.
        let nameless = nameless.filter(|(name, _)| !name.contains(char::is_control));
        let left_out = file.left_out.iter().map(|id| (id.clone(), reason(id))).chain(nameless).collect();
        let playing = file.servers.iter().flat_map(|server| [server.id(), server.group_name()]);
        let playing = playing.map(str::to_owned).collect();
        Self { left_out, disabled: file.disabled.clone(), mistakes, playing }
    }

    /// How many are switched off.
    pub fn switched_off(&self) -> usize {
        self.disabled.len()
    }

    /// The ids of those that are left out.
    pub fn left_out(&self) -> impl ExactSizeIterator<Item = &str> {
        self.left_out.keys().map(String::as_str)
    }

    /// Tells which servers that are left out a failed call may have meant. It is the one that it names; where nobody was found
    /// for it, it may be each.
    fn meant(&self, tool: &str, chosen: Option<&str>, error: &CallError) -> impl Fn(&str) -> bool {
        let says_whom = chosen.is_some() || tool.contains('/');
        let named = named(tool, chosen).filter(|id| says_whom || self.left_out.contains_key(*id));
        let named = named.map(str::to_owned);
        let nobody = matches!(
            error.kind(),
            CallErrorKind::UnknownTool { .. }
                | CallErrorKind::NoMatch { .. }
                | CallErrorKind::Unavailable { .. }
        );
        // A group that nobody of those who play has may be that of one which is left out.
        let known = |named: &String| self.left_out.contains_key(named) || self.playing.contains(named);
        let unknown = named.as_ref().is_some_and(|named| nobody && !known(named));
        move |id: &str| unknown || named.as_ref().map_or(nobody, |named| id == named)
    }

    /// The servers left out that a failed call may have meant, with reasons.
    pub fn left_out_of(&self, tool: &str, chosen: Option<&str>, error: &CallError) -> BTreeMap<&str, &str> {
        let meant = self.meant(tool, chosen, error);
        let left_out = self.left_out.iter().map(|(id, reason)| (id.as_str(), reason.as_str()));
        left_out.filter(|(id, _)| meant(id)).take(LEFT_OUT_TOLD).collect()
    }

    /// The mistakes of the configuration that a failed call may be about.
    pub fn mistakes_of(&self, tool: &str, chosen: Option<&str>, error: &CallError) -> Vec<&Diagnostic> {
        let meant = self.meant(tool, chosen, error);
        self.mistakes.iter().filter(|found| found.server.as_deref().is_some_and(&meant)).collect()
    }

    /// What to know of a call that found nobody: whoever it names may be here under another name, or not play.
    pub fn hint(&self, troupe: &Troupe, target: &Target, error: &CallError) -> Option<String> {
        let unknown = matches!(
            error.kind(),
            CallErrorKind::UnknownTool { .. }
                | CallErrorKind::UnknownPrompt { .. }
                | CallErrorKind::NoMatch { .. }
        );
        if !unknown {
            return None;
        }
        let Target { tool, server, group, .. } = target;
        let options = server.iter().chain(group).map(String::as_str);
        // Options name whom they mean; a tool may have two underscores in its own name.
        let of_tool = match target.chosen() {
            Some(_) => tool.split_once('/').map(|(group, _)| group),
            None => parts(tool).map(|(group, _)| group),
        };
        let named: Vec<&str> = options.chain(of_tool).filter(|named| !named.is_empty()).collect();
        let absent = named.iter().find_map(|named| self.does_not_play(named));
        absent.or_else(|| named.iter().find_map(|named| self.misnamed(troupe, named, target.chosen())))
    }

    /// Why a server of this name does not play.
    fn does_not_play(&self, named: &str) -> Option<String> {
        if let Some(reason) = self.left_out.get(named) {
            return Some(format!("{named} is left out of the configuration: {reason}"));
        }
        if self.disabled.iter().any(|id| id == named) {
            return Some(format!("{named} is switched off in the configuration (disabled)"));
        }
        None
    }

    /// What is called otherwise, or not there.
    fn misnamed(&self, troupe: &Troupe, named: &str, chosen: Option<&str>) -> Option<String> {
        let servers = troupe.servers();
        let within =
            servers.iter().find(|info| chosen.is_none() && info.id == *named && info.group != *named);
        if let Some(ServerInfo { group, .. }) = within {
            let hint =
                format!("{named} is a server of the group {group}: write {group}/TOOL, or --server {named}");
            return Some(hint);
        }
        let ids = servers.iter().flat_map(|info| [info.id.as_str(), info.group.as_str()]);
        let ids: Vec<&str> = ids.chain(self.left_out()).collect();
        if ids.contains(&named) {
            return None;
        }
        // A name with spaces and the like is an id in which they are replaced.
        match ids.iter().find(|id| plain(id) == plain(named)) {
            Some(id) => Some(format!("{named} is called {id} here")),
            None => {
                let near = ids.iter().map(|id| (strsim::jaro_winkler(named, id), *id));
                let near = near.filter(|(likeness, _)| *likeness >= LIKENESS_MIN);
                let hint = match near.max_by(|one, other| one.0.total_cmp(&other.0)) {
                    Some((_, nearest)) => {
                        format!("there is no server or group {named}: did you mean {nearest}?")
                    }
                    None => format!("there is no server or group {named}: there are {}", listed(ids)),
                };
                // It may be the group of one that does not play.
                let left_out = match self.left_out.len() {
                    0 => String::new(),
                    _ => format!(" (left out: {})", listed(self.left_out().collect())),
                };
                Some(hint + &left_out)
            }
        }
    }
}

/// Where options and the tool's name do not go together: a group in place of a server or the other way round, or a server of another
/// group.
pub fn other_group(
    servers: &[ServerInfo],
    tool: &str,
    server: Option<&str>,
    group: Option<&str>,
) -> Option<String> {
    if let Some(group) = group.filter(|group| servers.iter().all(|info| info.group != **group)) {
        let is_server = servers.iter().any(|info| info.id == *group);
        if is_server {
            return Some(format!("{group} is a server: write --server {group}"));
        }
    }
    if let (Some(option), Some((named, _))) = (group, parts(tool))
        && named != option
        && servers.iter().any(|info| info.group == *named)
    {
        return Some(format!("--group says {option}, and {tool} is one of {named}"));
    }
    let chosen = server?;
    let Some(server) = servers.iter().find(|info| info.id == *chosen) else {
        let is_group = servers.iter().any(|info| info.group == *chosen);
        return is_group.then(|| format!("{chosen} is a group: write --group {chosen}"));
    };
    if let Some(group) = group.filter(|group| server.group != **group) {
        return Some(format!("{chosen} is of the group {}, not of {group}", server.group));
    }
    let (group, _) = parts(tool)?;
    let is_group = servers.iter().any(|info| info.group == *group);
    (is_group && server.group != *group)
        .then(|| format!("{chosen} is of the group {}, and {tool} is one of {group}", server.group))
}

/// The server or group that a call names. An option does, or what stands before the name of its tool.
pub fn named<'c>(tool: &'c str, chosen: Option<&'c str>) -> Option<&'c str> {
    chosen.or_else(|| parts(tool).map(|(group, _)| group))
}

/// The group and the name that a tool's name may be made of.
pub fn parts(tool: &str) -> Option<(&str, &str)> {
    tool.split_once('/').or_else(|| tool.split_once("__"))
}

/// Names that are listed where none is like the one that was meant: as many as one line holds.
const NAMES_LISTED: usize = 8;

/// The first of some names, each once.
pub fn listed(mut names: Vec<&str>) -> String {
    names.sort_unstable();
    names.dedup();
    let more = names.len().saturating_sub(NAMES_LISTED);
    names.truncate(NAMES_LISTED);
    match (names.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    }
}

/// Likeness (Jaro-Winkler) below which a name is no suggestion.
const LIKENESS_MIN: f64 = 0.85;

/// Whether one name may be a slip of the other.
pub fn are_alike(one: &str, other: &str) -> bool {
    strsim::jaro_winkler(one, other) >= LIKENESS_MIN
}

/// A name without what an id does not tell apart.
pub fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}
