//! Makes one `servers.json` out of the configurations of the clients on this machine.

pub mod disk;
mod entries;
mod merge;
mod own;
mod places;
mod translate;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;
use mcp_troupe::Variables;

use crate::output::{account, note, stdout};
use crate::{FAILED, MISUSED, configuration};
use entries::Entries;
use merge::{Merge, Servers, Which};
use own::Own;
use places::{Client, Place, Shape, System, places};
use translate::{Surroundings, shown, shown_path, translate};

/// What is said where secrets may have been copied.
const SECRETS: &str = "; secrets may be in it, as they stand in those files";

/// What is said of the file, whose servers may get secrets later.
#[cfg(unix)]
const OWNERS_ALONE: &str = "; it has mode 0600: its owner alone may read it";
#[cfg(not(unix))]
const OWNERS_ALONE: &str = "; let nobody else read it";

/// Where the file goes, and whose servers it has.
#[derive(Args)]
pub struct ImportArgs {
    /// The file that is written, with mode 0600; it must not be there. Without it, or as -, the result goes to stdout.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file that is there.
    #[arg(long, requires = "output")]
    force: bool,
    /// Say what is found, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Only servers of this client; may be given more than once.
    #[arg(long, value_enum, value_name = "CLIENT")]
    from: Vec<Client>,
    /// The folder of the project whose files are read too.
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    project: PathBuf,
}

/// What is said where the shell has made the file that the result goes to.
const OPEN_STDOUT: &str =
    "stdout is a file that others may read: run chmod 600 on it, or write it with --output FILE";

/// Parts of one file that are passed over and told: more than anybody has.
const PASSED_OVER_TOLD: usize = 20;

/// What became of one file, or why it is passed over.
struct Report {
    place: Place,
    found: Result<Found, String>,
}

/// What became of each server of a file, and what of it is passed over.
struct Found {
    servers: Vec<Became>,
    passed_over: Vec<(String, String)>,
}

/// A server that was taken, or the name of one that is left out, and why.
type Became = Result<Taken, (String, String)>;

/// A server that was taken.
struct Taken {
    which: Which,
    warnings: Vec<String>,
    /// The key of another place that switches it off.
    off: Option<&'static str>,
}

/// Reads the clients' files and writes one of them all; says on stderr what was found.
pub fn run(args: &ImportArgs) -> u8 {
    let project = match std::fs::canonicalize(&args.project) {
        Ok(project) if project.is_dir() => project,
        Ok(_) => return misused(&args.project, "it is no folder"),
        Err(error) => return misused(&args.project, &error.to_string()),
    };
    let output = args.output.as_deref().filter(|output| *output != Path::new("-"));
    if let Some(output) = output.filter(|_| !args.dry_run) {
        if output.as_os_str().to_string_lossy().ends_with(std::path::is_separator) {
            return misused(output, "it names no file");
        }
        if !disk::folder_of(output).is_dir() {
            return misused(output, "the folder that it is to be in is not there");
        }
        // Before anything is read; one that comes meanwhile is kept as well.
        match std::fs::metadata(output) {
            Err(error) if error.kind() == ErrorKind::NotFound && output.is_symlink() => {
                return misused(
                    output,
                    "it is a link to a file that is not there: remove the link, or name that file",
                );
            }
            Ok(metadata) if !metadata.is_file() => {
                return misused(output, "it is no regular file; without --output the result goes to stdout");
            }
            _ if !args.force && std::fs::symlink_metadata(output).is_ok() => return is_there(output),
            _ => {}
        }
    }
    let home = std::env::home_dir().filter(|home| home.is_absolute());
    let variable = |name: &str| std::env::var_os(name);
    let mut places = places(System::here(), home.as_deref(), &project, &variable, &disk::inside);
    places.retain(|place| args.from.is_empty() || args.from.contains(&place.client));
    // What references mean where the file will be.
    let variables = configuration::variables(output.unwrap_or(Path::new("servers.json")));
    let (reports, merge) = collect(places, &project, &variables);
    let servers = merge.named();
    let mut named = BTreeSet::new();
    reports.iter().for_each(|report| report.tell(&servers, &mut named));
    if servers.len() == 0 {
        tell_nothing_found(args, home.as_deref(), &project);
        return FAILED;
    }
    let text = match servers.text() {
        Ok(text) => text,
        Err(error) => {
            note!("no JSON: {error}");
            return FAILED;
        }
    };
    let off = match servers.switched_off() {
        0 => String::new(),
        off => format!(", {off} of them switched off"),
    };
    let count = if servers.len() == 1 { "1 server".to_owned() } else { format!("{} servers", servers.len()) };
    let secrets = if servers.may_hold_secrets() { SECRETS } else { "" };
    match output {
        _ if args.dry_run => account(&format!("{count}{off}; nothing is written")),
        None => {
            stdout(format_args!("{text}"));
            account(&format!("{count}{off}{secrets}"));
            if disk::others_may_read_stdout() {
                account(OPEN_STDOUT);
            }
        }
        Some(output) => match disk::write(output, &text, args.force) {
            Ok(()) => {
                let output = output.display();
                account(&format!("{output}: {count}{off}{secrets}{OWNERS_ALONE}"));
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return is_there(output),
            Err(error) => {
                note!("{}: {error}", output.display());
                return FAILED;
            }
        },
    }
    0
}

/// Says where it was looked for servers, and what else leads to some.
fn tell_nothing_found(args: &ImportArgs, home: Option<&Path>, project: &Path) {
    let clients = match args.from.as_slice() {
        [] => "other clients".to_owned(),
        named => named.iter().map(|client| client.name()).collect::<Vec<_>>().join(", "),
    };
    account(&format!("no server is found in the configurations of {clients}"));
    let home = home.map(|home| format!("the home folder {} and ", home.display())).unwrap_or_default();
    let wider = if args.from.is_empty() { "" } else { ", and without --from at those of all clients" };
    account(&format!(
        "hint: {home}the project {} were looked through: --project FOLDER looks at another project{wider}",
        project.display()
    ));
    account(&format!("hint: or begin with one server in servers.json: {}", crate::ONE_SERVER));
}

fn misused(path: &Path, reason: &str) -> u8 {
    account(&format!("{}: {reason}", path.display()));
    MISUSED
}

fn is_there(output: &Path) -> u8 {
    misused(output, "it is there already: --force replaces it")
}

/// Reads each file that is there.
fn collect(places: Vec<Place>, project: &Path, variables: &Variables) -> (Vec<Report>, Merge) {
    let resolve = |path: &Path| std::fs::canonicalize(path).ok();
    let own = std::env::current_exe().ok();
    let own = own.as_deref().and_then(resolve).or(own).unwrap_or_default();
    let surroundings = Surroundings {
        own: Own { path: &own, resolve: &resolve },
        variables,
        is_set: &|name| std::env::var_os(name).is_some(),
    };
    let (mut reports, mut merge) = (Vec::new(), Merge::default());
    let mut off = BTreeMap::new();
    for place in places {
        let text = match disk::read(&place) {
            Ok(Some(text)) => Ok(text),
            Ok(None) => continue,
            Err(reason) => Err(reason),
        };
        let written = text.and_then(|text| {
            off.extend(entries::switched_off(&place, &text, project));
            entries::entries(&place, &text, project)
        });
        if place.shape == Shape::Switches && written.is_ok() {
            continue;
        }
        let found = written.map(|Entries { mut servers, passed_over }| {
            if place.client == Client::ClaudeCode && place.shape == Shape::Servers {
                servers.iter_mut().for_each(|server| server.switched_off = off.get(&server.name).copied());
            }
            let each = servers.iter().map(|written| match translate(written, &surroundings) {
                Ok(taken) => {
                    let which = merge.add(written, taken.entry);
                    Ok(Taken { which, warnings: taken.warnings, off: written.switched_off })
                }
                Err(reason) => Err((shown(&written.name), reason)),
            });
            Found { servers: each.collect(), passed_over }
        });
        reports.push(Report { place, found });
    }
    (reports, merge)
}

impl Report {
    /// A line for the file, and one for each server of it that there is more to tell about. `named` has the servers that files
    /// before this one gave.
    fn tell(&self, servers: &Servers, named: &mut BTreeSet<Which>) {
        let file = format!("{} ({})", self.place.path.display(), self.place.client);
        let found = match &self.found {
            Ok(found) => found,
            Err(reason) => return account(&format!("{file}: passed over: {reason}")),
        };
        account(&format!("{file}: {}", found.summary(servers, named)));
        found.tell(servers);
    }
}

impl Found {
    /// The names of the servers by what became of them.
    fn summary(&self, servers: &Servers, named: &mut BTreeSet<Which>) -> String {
        let (mut taken, mut known, mut left_out) = (Vec::new(), Vec::new(), 0_usize);
        for one in &self.servers {
            match one {
                Ok(Taken { which, off, .. }) if named.insert(*which) => {
                    let off = match off {
                        Some(key) => format!(" (switched off by {key})"),
                        None if servers.is_switched_off(*which) => " (switched off)".to_owned(),
                        None => String::new(),
                    };
                    taken.push(shown(servers.name(*which)) + &off);
                }
                Ok(Taken { which, .. }) => known.push(shown(servers.name(*which))),
                Err(_) => left_out += 1,
            }
        }
        let mut parts = Vec::new();
        for (what, names) in [("taken", taken), ("known already", known)] {
            parts.extend((!names.is_empty()).then(|| format!("{what}: {}", names.join(", "))));
        }
        parts.extend((left_out > 0).then(|| format!("left out: {left_out}")));
        if parts.is_empty() { "no servers".to_owned() } else { parts.join("; ") }
    }

    /// Prints what more there is to tell of servers, and what is passed over.
    fn tell(&self, servers: &Servers) {
        for one in &self.servers {
            match one {
                Ok(Taken { which, warnings, .. }) => {
                    let name = shown(servers.name(*which));
                    warnings.iter().for_each(|warning| account(&format!("  {name}: {warning}")));
                }
                Err((name, reason)) => account(&format!("  {name}: left out: {reason}")),
            }
        }
        for (name, reason) in self.passed_over.iter().take(PASSED_OVER_TOLD) {
            account(&format!("  {}: passed over: {reason}", shown_path(name)));
        }
        let more = self.passed_over.len().saturating_sub(PASSED_OVER_TOLD);
        if more > 0 {
            note!("  {more} more: passed over");
        }
    }
}
