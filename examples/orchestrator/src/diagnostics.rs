//! Tells what is wrong with a configuration, as compilers tell theirs.

use std::io::IsTerminal;
use std::path::Path;

use mcp_troupe::{ConfigFile, Diagnostic, Severity};

use crate::MISUSED;
use crate::configuration::{is_stream, name, text_of, variables};
use crate::output::{note, say};
use crate::waiting;

/// The width of a page where there is no terminal.
const WIDTH: usize = 80;

/// Tells each of them on stderr.
pub fn tell<'d>(path: &Path, found: impl IntoIterator<Item = &'d Diagnostic>) {
    let width = if std::io::stderr().is_terminal() { waiting::width() } else { WIDTH };
    for found in found {
        note!("{}", found.render(name(path), width));
    }
}

/// Tells all that is wrong with the configuration at `path`, and on stdout what it comes to.
pub fn check(path: &Path) -> u8 {
    let text = match text_of(path) {
        Ok(text) => text,
        Err(message) => {
            note!("{message}");
            return MISUSED;
        }
    };
    let variables = variables(path);
    let found = ConfigFile::diagnose(&text, &variables);
    tell(path, &found);
    let file = ConfigFile::parse_with(&text, &variables);
    // No mistake of the text, and no reason to fail: what is right on one machine may be loose on another.
    let on_disk = file.as_ref().ok().filter(|_| !is_stream(path));
    let loose = on_disk.map(|file| file.loose_permissions(path)).unwrap_or_default();
    loose.iter().for_each(|loose| note!("warning: {loose}"));
    if path.extension().is_some_and(|extension| extension == "toml") {
        note!("hint: `mcp-troupe import --from codex` reads the TOML of Codex");
    }
    let of = |severity| found.iter().filter(|found| found.severity == severity).count();
    let mistakes = of(Severity::Error);
    let warnings = of(Severity::Warning) + loose.len();
    // What reads a file for a host lets a host's own strategies pass, and pins that are about to be made.
    let refused = found.iter().any(|found| found.severity == Severity::Error && found.server.is_none());
    say!("{}", summary(file.ok().filter(|_| !refused).as_ref(), mistakes, warnings));
    if mistakes == 0 { 0 } else { MISUSED }
}

/// What a file comes to; without one it is refused as a whole.
fn summary(file: Option<&ConfigFile>, mistakes: usize, warnings: usize) -> String {
    let some = |count: usize, what: &str| match count {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let mut parts = match file {
        Some(file) => {
            let mut parts = vec![some(file.servers.len(), "server")];
            parts
                .extend((!file.disabled.is_empty()).then(|| format!("{} switched off", file.disabled.len())));
            let left_out = file.left_out.len() + file.repeated.len();
            parts.extend((left_out > 0).then(|| format!("{left_out} left out")));
            parts
        }
        None => vec!["refused".to_owned()],
    };
    parts.push(some(mistakes, "mistake"));
    parts.extend((warnings > 0).then(|| some(warnings, "warning")));
    parts.join(", ")
}
