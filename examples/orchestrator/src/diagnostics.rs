//! Tells what is wrong with a configuration, as compilers tell theirs.

use std::path::Path;

use mcp_troupe::{ConfigError, ConfigFile, Diagnostic, Severity};

use crate::MISUSED;
use crate::configuration::{is_stream, name, text_of, variables};
use crate::output::{note, say};
use crate::{output, waiting};

/// What a terminal is told for colours, and for the end of one.
const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const BLUE: &str = "\x1b[34m";
const PLAIN: &str = "\x1b[0m";

/// The width of a page where there is no terminal.
const WIDTH: usize = 80;

/// Tells each of them on stderr.
pub fn tell<'d>(path: &Path, found: impl IntoIterator<Item = &'d Diagnostic>) {
    let width = if output::for_people() { waiting::width() } else { WIDTH };
    for found in found {
        let text = found.render(name(path), width);
        match output::colours() {
            true => output::draw(format_args!("{}\n", painted(&output::harmless(&text), found.severity))),
            false => note!("{text}"),
        }
        if let Some(hint) = hint(&found.error) {
            note!("hint: {hint}");
        }
    }
}

/// Which command helps with a mistake.
pub fn hint(error: &ConfigError) -> Option<&'static str> {
    let reason = &error.reason;
    let no_pins = error.key == "troupe.pins.file"
        && (reason.starts_with("cannot read ") || reason.contains(" has no pins: "));
    (no_pins && !reason.contains("ermission"))
        .then_some("`mcp-troupe pin --output FILE` puts the pins of all tools into that file")
}

/// What to do with a file of another format.
pub fn of_format(path: &Path) -> Option<&'static str> {
    match path.extension()?.to_str()? {
        "toml" => Some(
            "TOML is not read as a configuration: `mcp-troupe import --from codex` makes one of that of Codex, where Codex keeps it",
        ),
        "yaml" | "yml" => Some(
            "YAML, as Goose and Continue write it, is not read, nor does `mcp-troupe import` read it: write the same as JSON, with or \
             without comments",
        ),
        _ => None,
    }
}

/// The same in colours, as compilers use them: the kind of what was found and its mark in one, what surrounds them in another.
fn painted(text: &str, severity: Severity) -> String {
    let colour = if severity == Severity::Error { RED } else { YELLOW };
    let kind = format!(": {severity}: ");
    let lines = text.lines().enumerate().map(|(n, line)| match line.split_once(" | ") {
        Some((gutter, mark)) if mark.trim_start().starts_with('^') => {
            format!("{BLUE}{gutter} |{PLAIN} {colour}{mark}{PLAIN}")
        }
        Some((gutter, excerpt)) if gutter.bytes().all(|b| b == b' ' || b.is_ascii_digit()) => {
            format!("{BLUE}{gutter} |{PLAIN} {excerpt}")
        }
        _ if n == 0 => line.replacen(&kind, &format!(": {colour}{severity}{PLAIN}: "), 1),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
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
    of_format(path).into_iter().for_each(|hint| output::account(&format!("hint: {hint}")));
    let of = |severity| found.iter().filter(|found| found.severity == severity).count();
    let mistakes = of(Severity::Error);
    let warnings = of(Severity::Warning) + loose.len();
    // What reads a file for a host lets a host's own strategies pass, and pins that are about to be made.
    let refused = found.iter().find(|found| found.severity == Severity::Error && found.server.is_none());
    // Where others cost a server each, the one that costs all is not plain to see.
    let others = found.iter().any(|found| found.severity == Severity::Error && found.server.is_some());
    let line = refused.filter(|_| others).map(|refused| refused.line);
    let file = file.ok().filter(|_| refused.is_none());
    say!("{}", summary(file.as_ref().ok_or(line), mistakes, warnings));
    if mistakes == 0 { 0 } else { MISUSED }
}

/// What a file comes to. One that is refused as a whole may be so for what one line says.
fn summary(file: Result<&ConfigFile, Option<usize>>, mistakes: usize, warnings: usize) -> String {
    let some = |count: usize, what: &str| match count {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let mut parts = match file {
        Ok(file) => {
            let (plays, off) = (file.servers.len(), file.disabled.len());
            let left_out = file.left_out.len() + file.repeated.len();
            let all = some(plays + off + left_out, "server");
            if plays + off + left_out == 0 && file.sources.is_empty() {
                vec!["no servers: the file names none".to_owned()]
            } else if plays > 0 && off + left_out == 0 {
                vec![all]
            } else {
                let verb = if plays == 1 { "plays" } else { "play" };
                let mut parts = vec![format!("{all}: {plays} {verb}")];
                parts.extend((off > 0).then(|| format!("{off} switched off")));
                parts.extend((left_out > 0).then(|| format!("{left_out} left out")));
                parts
            }
        }
        Err(Some(line)) => vec![format!("refused for line {line}")],
        Err(None) => vec!["refused".to_owned()],
    };
    parts.push(some(mistakes, "mistake"));
    parts.extend((warnings > 0).then(|| some(warnings, "warning")));
    parts.join(", ")
}
