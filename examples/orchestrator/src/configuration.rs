//! The configuration that a command is given: a file, or a stream, as `-` for stdin and `<(…)` of a shell.

use std::fs::FileType;
use std::io::Read;
use std::path::Path;

use mcp_troupe::{ConfigFile, ConfigFileError, ConfigWatch, Diagnostic, Severity, StartError, Variables};
use serde_json::json;

use crate::diagnostics::{of_format, tell};
use crate::output::note;
use crate::signals::{Stop, aside};
use crate::{MISUSED, no_file, output};

/// Bytes that are read of a stream: as much as a `servers.json` may have.
const STREAM_BYTES_MAX: u64 = 16 << 20;

/// Mistakes that are told beside what a command is for: each has four lines.
const MISTAKES_TOLD: usize = 3;

/// What stdin is called on a command line.
const STDIN: &str = "-";

/// What references in the configuration at `path` mean. A stream has no folder: its workspace is the one that we are in.
pub fn variables(path: &Path) -> Variables {
    Variables::new().workspace_of(if is_stream(path) { Path::new("stdin") } else { path })
}

/// Follows the file at `path`.
pub fn watch(path: &Path) -> ConfigWatch {
    ConfigWatch::new(path).variables(variables(path))
}

/// How the configuration is called where something is said of it.
pub fn name(path: &Path) -> &Path {
    if is_stdin(path) { Path::new("stdin") } else { path }
}

/// Whether the configuration comes from stdin, of which nothing else can be read then.
pub fn is_stdin(path: &Path) -> bool {
    path == Path::new(STDIN) || path == Path::new("/dev/stdin")
}

/// Whether it can be read once only, and not followed.
pub fn is_stream(path: &Path) -> bool {
    path == Path::new(STDIN) || std::fs::metadata(path).is_ok_and(|metadata| once(metadata.file_type()))
}

#[cfg(unix)]
fn once(kind: FileType) -> bool {
    use std::os::unix::fs::FileTypeExt;
    kind.is_fifo() || kind.is_char_device()
}

#[cfg(not(unix))]
fn once(_: FileType) -> bool {
    false
}

/// For whom it is told why a configuration cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// People: each mistake with its place.
    People,
    /// A program that reads stderr: one line of JSON.
    Program,
}

impl Reader {
    /// Whoever reads the stderr of `call`.
    pub fn of_call() -> Self {
        if output::for_people() { Self::People } else { Self::Program }
    }

    /// Tells it, and gives the code that the command ends with. `message` is the whole in one text, with hints in lines of their own.
    pub fn told(self, message: &str, tell: impl FnOnce()) -> u8 {
        match self {
            Self::People => tell(),
            Self::Program => {
                let mut lines = message.lines();
                let reason = lines.next().unwrap_or_default();
                let hint = lines.find_map(|line| line.strip_prefix("hint: "));
                let mut error =
                    json!({"error": "invalid-configuration", "message": reason, "retryable": false});
                if let Some(hint) = hint {
                    error["hint"] = hint.into();
                }
                output::json_line_to_stderr(&error);
            }
        }
        MISUSED
    }
}

/// Reads the configuration at `path`, or tells people what is wrong with it.
pub async fn read(watch: &mut ConfigWatch, path: &Path, stop: &Stop) -> Result<ConfigFile, u8> {
    read_for(Reader::People, watch, path, stop).await
}

/// Reads the configuration at `path`, or tells what is wrong with it.
pub async fn read_for(
    reader: Reader,
    watch: &mut ConfigWatch,
    path: &Path,
    stop: &Stop,
) -> Result<ConfigFile, u8> {
    if !is_stream(path) {
        return stop.unless(watch.read()).await?.map_err(|error| {
            let message = match &error {
                ConfigFileError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                    no_file(path)
                }
                ConfigFileError::Config { diagnostics, .. } if !diagnostics.is_empty() => {
                    let format = of_format(path).map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
                    format!("{}; nothing is started{format}", first(path, diagnostics))
                }
                error => error.to_string(),
            };
            reader.told(&message, || {
                tell_refusal(path, &error);
                if matches!(&error, ConfigFileError::Config { diagnostics, .. } if !diagnostics.is_empty()) {
                    tell_refused(path);
                }
            })
        });
    }
    let stream = path.to_owned();
    let text = aside(stop, move || text_of(&stream)).await?;
    let text = text.map_err(|message| reader.told(&message, || note!("{message}")))?;
    let variables = variables(path);
    ConfigFile::parse_with(&text, &variables).map_err(|error| {
        let found = ConfigFile::diagnose(&text, &variables);
        let message = match found.is_empty() {
            true => format!("{}: {error}", name(path).display()),
            false => format!("{}; nothing is started", first(path, &found)),
        };
        reader.told(&message, || match found.is_empty() {
            true => note!("{message}"),
            false => {
                tell(path, &found);
                tell_refused(path);
            }
        })
    })
}

/// The first mistake with its place.
pub fn first(path: &Path, found: &[Diagnostic]) -> String {
    let mistake = found.iter().find(|found| found.severity == Severity::Error).or(found.first());
    let told = mistake.map(|mistake| format!("{}:{mistake}", name(path).display())).unwrap_or_default();
    // What is wrong with the whole is told under the usual name, which is not this file's.
    told.replacen(": servers.json: ", ": ", 1)
}

/// The text of a configuration, or what is wrong with it. A stream is read to its end.
pub fn text_of(path: &Path) -> Result<String, String> {
    let shown = name(path).display();
    let told = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => no_file(path),
        _ => format!("{shown}: {error}"),
    };
    let bytes = if path == Path::new(STDIN) {
        up_to_limit(std::io::stdin().lock()).map_err(told)?
    } else {
        let metadata = std::fs::metadata(path).map_err(told)?;
        if metadata.is_dir() {
            return Err(format!("{shown}: it is a folder: name the file in it"));
        }
        if !metadata.is_file() && !once(metadata.file_type()) {
            return Err(format!("{shown}: it is no regular file"));
        }
        up_to_limit(std::fs::File::open(path).map_err(told)?).map_err(told)?
    };
    if bytes.len() as u64 > STREAM_BYTES_MAX {
        return Err(format!("{shown}: it is larger than {STREAM_BYTES_MAX} bytes"));
    }
    ConfigFile::decode(bytes).map_err(told)
}

/// One byte more than the limit where there is more.
fn up_to_limit(reader: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(STREAM_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Tells the mistakes of servers that are left out. The troupe then need not log them.
pub fn tell_mistakes(path: &Path, file: &mut ConfigFile) {
    let found = std::mem::take(&mut file.diagnostics);
    let mistakes = found.iter().filter(|found| found.severity == Severity::Error);
    tell_first(path, &mistakes.collect::<Vec<_>>());
}

/// Tells the first of some mistakes. They are enough for who wants something else than to mend them.
pub fn tell_first(path: &Path, mistakes: &[&Diagnostic]) {
    let more = mistakes.len().saturating_sub(MISTAKES_TOLD);
    let told = if more > 0 { MISTAKES_TOLD - 1 } else { MISTAKES_TOLD };
    tell(path, mistakes.iter().copied().take(told));
    if more > 0 {
        note!("hint: `mcp-troupe check {}` shows {} more mistakes", path.display(), more + 1);
    }
}

/// Tells why a configuration that could be read cannot be played, with the place if it is known.
pub fn tell_unplayable(path: &Path, error: &StartError) {
    let text = if is_stream(path) { None } else { text_of(path).ok() };
    let mut found = text.map(|text| ConfigFile::diagnose(&text, &variables(path))).unwrap_or_default();
    found.retain(|found| found.severity == Severity::Error && found.server.is_none());
    if found.is_empty() {
        note!("{}: {error}", name(path).display());
    }
    tell(path, &found);
}

/// Tells below the mistakes of a file what they come to.
fn tell_refused(path: &Path) {
    note!("{}: nothing is started: the file is refused as a whole", name(path).display());
    of_format(path).into_iter().for_each(|hint| output::account(&format!("hint: {hint}")));
}

/// Tells why a file cannot be taken.
pub fn tell_refusal(path: &Path, error: &ConfigFileError) {
    match error {
        ConfigFileError::Config { diagnostics, .. } if !diagnostics.is_empty() => {
            tell(path, diagnostics);
        }
        ConfigFileError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            note!("{}", no_file(path))
        }
        error => note!("{error}"),
    }
}
