//! References in a `servers.json`: `${NAME}`, `${NAME:-default}`, `${env:NAME}`, `${file:PATH}`, `${input:ID}`.
//!
//! They are looked up once, when the file is read. What was looked up may be a secret, wherever it is put: no text shows it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::{files, shown};
use crate::secret::Secret;

/// The largest file that holds one secret: more than any server takes as a header.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// The longest text that references may make of one value: beyond it no program takes its arguments.
const EXPANDED_BYTES_MAX: usize = 1 << 20;

/// Folders in which clients keep the configuration of a workspace begin with this.
const HIDDEN_FOLDER: char = '.';

type Environment = Arc<dyn Fn(&str) -> Option<OsString> + Send + Sync>;
type Inputs = Arc<dyn Fn(&str) -> Option<Secret> + Send + Sync>;

/// What the references of a `servers.json` mean: names that the host gives, and the environment.
///
/// A reference is looked up among the names that the host gives, then, where it looks like a variable of the environment, there.
/// `${env:NAME}` is looked up in the environment alone. With `:-` behind the name comes what holds where it is not set, or empty.
/// `${file:PATH}` is what is in a file, `${input:ID}` what the host's handler answers. `$${` stands for `${` itself.
///
/// ```
/// use mcp_troupe::{ConfigFile, Variables};
///
/// let text = r#"{"mcpServers": {"a": {"command": "${CLAUDE_PLUGIN_ROOT}/bin/a", "cwd": "${workspaceFolder}"}}}"#;
/// let variables = Variables::new().set("CLAUDE_PLUGIN_ROOT", "/srv/plugin").workspace("/srv/work");
/// assert_eq!(ConfigFile::parse_with(text, &variables)?.servers.len(), 1);
/// # Ok::<(), mcp_troupe::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Variables {
    names: BTreeMap<String, Secret>,
    environment: Environment,
    inputs: Option<Inputs>,
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variables").field("names", &shown::names(self.names.keys())).finish_non_exhaustive()
    }
}

impl Default for Variables {
    fn default() -> Self {
        Self::new()
    }
}

impl Variables {
    /// The environment of this process, and the names that mean the same in each file: `${userHome}`, `${pathSeparator}` and `${/}`.
    pub fn new() -> Self {
        let home = std::env::home_dir().map(|home| home.display().to_string());
        let new = Self {
            names: BTreeMap::new(),
            environment: Arc::new(|name| std::env::var_os(name)),
            inputs: None,
        };
        let separator = std::path::MAIN_SEPARATOR_STR;
        let new = new.set("pathSeparator", separator).set("/", separator);
        match home {
            Some(home) => new.set("userHome", home),
            None => new,
        }
    }

    /// Gives a name a value. It goes before a variable of the environment with the same name.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.names.insert(name.into(), value.into());
        self
    }

    /// The folder that the user works in: `${workspaceFolder}`, and its last part as `${workspaceFolderBasename}`.
    #[must_use]
    pub fn workspace(self, folder: impl AsRef<Path>) -> Self {
        let folder = folder.as_ref();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.set("workspaceFolder", folder.display().to_string()).set("workspaceFolderBasename", name)
    }

    /// The workspace of a configuration file: its folder, or the one above where that is a client's own, such as `.vscode`.
    #[must_use]
    pub fn workspace_of(self, file: impl AsRef<Path>) -> Self {
        let path = std::path::absolute(file.as_ref()).unwrap_or_else(|_| file.as_ref().to_owned());
        let folder = path.parent().unwrap_or(Path::new("/"));
        let of_client = |folder: &&Path| {
            folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(HIDDEN_FOLDER))
        };
        // `.kiro/settings/mcp.json` is one folder deeper.
        let of_client = folder.ancestors().take(2).find(of_client);
        let workspace = of_client.and_then(Path::parent).unwrap_or(folder).to_owned();
        self.workspace(workspace)
    }

    /// Answers `${input:ID}`, as with what the user was asked before. None leaves it unanswered, which is a mistake.
    #[must_use]
    pub fn on_input(mut self, answer: impl Fn(&str) -> Option<Secret> + Send + Sync + 'static) -> Self {
        self.inputs = Some(Arc::new(answer));
        self
    }

    /// Another environment than that of this process.
    #[must_use]
    pub fn environment(mut self, look_up: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static) -> Self {
        self.environment = Arc::new(look_up);
        self
    }

    /// A path with the user's home in place of a leading `~`. None where it has no such, or the home is not known.
    pub(super) fn at_home(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'))?;
        Some(format!("{}{rest}", self.names.get("userHome")?.expose()))
    }

    fn variable(&self, name: &str) -> Result<Option<String>, ExpandError> {
        let value = (self.environment)(name);
        let text = value.map(OsString::into_string).transpose();
        text.map_err(|_| ExpandError::VariableNotUtf8(shown::name(name).into_owned()))
    }

    /// Puts in what references stand for.
    pub(super) fn expand(&self, written: &str) -> Result<Expanded, ExpandError> {
        let mut text = String::new();
        let (mut rest, mut looked_up) = (written, Vec::new());
        while let Some(at) = rest.find("${") {
            let (before, from) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                text.push_str(before);
                text.push_str("${");
                rest = &from[2..];
                continue;
            }
            text.push_str(before);
            let (reference, after) = from[2..].split_once('}').ok_or(ExpandError::Unclosed)?;
            let value = self.value(reference)?;
            text.push_str(&value);
            if text.len() > EXPANDED_BYTES_MAX {
                return Err(ExpandError::TooLong);
            }
            looked_up.push(value);
            rest = after;
        }
        text.push_str(rest);
        Ok(Expanded { text, looked_up })
    }

    fn value(&self, reference: &str) -> Result<String, ExpandError> {
        if reference.contains("${") {
            return Err(ExpandError::Unknown);
        }
        let (name, otherwise) = match reference.split_once(":-") {
            Some((name, otherwise)) => (name, Some(otherwise.to_owned())),
            None => (reference, None),
        };
        let set = |value: Option<String>| value.filter(|value| otherwise.is_none() || !value.is_empty());
        let unset = |name: &str| ExpandError::Unset(shown::name(name).into_owned());
        match name.split_once(':') {
            Some(("env", name)) if !name.is_empty() => {
                set(self.variable(name)?).or(otherwise).ok_or_else(|| unset(name))
            }
            Some(("file", path)) if !path.is_empty() => {
                let content = files::read(Path::new(path), SECRET_BYTES_MAX)?;
                let text = String::from_utf8(content)
                    .map_err(|_| ExpandError::FileNotUtf8(shown::path(Path::new(path)).into_owned()))?;
                // Editors end a file with a line's end, which no secret has.
                Ok(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            Some(("input", id)) if !id.is_empty() => {
                let answer = self.inputs.as_ref().and_then(|inputs| inputs(id));
                let answer = set(answer.map(|answer| answer.expose().to_owned())).or(otherwise);
                answer.ok_or_else(|| ExpandError::Unanswered(shown::name(id).into_owned()))
            }
            Some(_) => Err(ExpandError::Unknown),
            None => {
                let given = self.names.get(name).map(|value| value.expose().to_owned());
                let value = match (given, is_variable(name)) {
                    (Some(given), _) => Some(given),
                    (None, true) => self.variable(name)?,
                    // Such as `${1}` or `${x%y}` of a shell.
                    (None, false) => return Err(ExpandError::Unknown),
                };
                set(value).or(otherwise).ok_or_else(|| unset(name))
            }
        }
    }
}

/// Whether a text looks like a variable that its writer expects a shell to look up: `$HOME`, `$HOME/bin`, `$PATH:/opt/bin`, also
/// as the token of a `Bearer`. Names of capital letters alone: any other text with a `$` may be a password.
pub(super) fn looks_unexpanded(text: &str) -> bool {
    let text = text.strip_prefix("Bearer ").unwrap_or(text);
    let Some(rest) = text.strip_prefix('$') else { return false };
    let end = rest.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
    let (name, behind) = rest.split_at(end.unwrap_or(rest.len()));
    name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && (behind.is_empty() || behind.starts_with(['/', ':']))
}

/// Whether this can be the name of a variable of the environment.
fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A value whose references were looked up.
#[derive(PartialEq)]
pub(super) struct Expanded {
    pub text: String,
    /// What was put in: each may be a secret.
    pub looked_up: Vec<String>,
}

/// Why a value was not expanded. It names the variable or the file, and shows nothing of the value.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExpandError {
    #[error("the variable {0} is not set: set it, or write ${{{0}:-…}} with what holds without it")]
    Unset(String),
    #[error("the environment variable {0} is not UTF-8")]
    VariableNotUtf8(String),
    #[error("${{input:{0}}} is not answered here: write ${{env:…}} or ${{file:…}} in its place")]
    Unanswered(String),
    #[error(transparent)]
    File(#[from] files::FileError),
    #[error("{0} is not UTF-8")]
    FileNotUtf8(String),
    #[error("its references make it longer than {EXPANDED_BYTES_MAX} bytes")]
    TooLong,
    #[error("has a ${{ without its }}: write $${{ for one that stands for itself")]
    Unclosed,
    #[error(
        "has a ${{…}} of an unknown kind: write ${{NAME}}, ${{NAME:-default}}, ${{env:NAME}} or ${{file:PATH}}, or $${{ for \
         one that stands for itself"
    )]
    Unknown,
}

/// The largest file of variables.
const ENV_FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads a file of variables: lines of `NAME=value`, with `#` before comments, quotes around a value, and `export` before a name
/// where people have them. What is wrong with it is told without its text.
pub(super) fn env_file(path: &Path) -> Result<Vec<(String, Secret)>, String> {
    let content = files::read(path, ENV_FILE_BYTES_MAX).map_err(|error| error.to_string())?;
    let text = String::from_utf8(content).map_err(|_| format!("{} is not UTF-8", shown::path(path)))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut variables = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let variable = line.split_once('=').filter(|(name, _)| is_variable(name.trim()));
        let Some((name, value)) = variable else {
            let line = n.saturating_add(1);
            return Err(format!("line {line} of {} is no NAME=value", shown::path(path)));
        };
        variables.push((name.trim().to_owned(), unquoted(value.trim()).into()));
    }
    Ok(variables)
}

/// A value without the quotes around it, and without the comment behind it.
fn unquoted(value: &str) -> String {
    for quote in ['"', '\''] {
        let Some(inner) = value.strip_prefix(quote).and_then(|rest| quoted(rest, quote)) else { continue };
        return match quote {
            '"' => inner.replace("\\n", "\n").replace("\\\"", "\""),
            _ => inner.to_owned(),
        };
    }
    value.split(" #").next().unwrap_or(value).trim_end().to_owned()
}

/// What is in quotes, behind the first of them: up to one that has nothing behind it, or a comment, which may have quotes too.
fn quoted(rest: &str, quote: char) -> Option<&str> {
    let mut closing =
        rest.match_indices(quote).filter(|(at, _)| quote == '\'' || !rest[..*at].ends_with('\\'));
    let ends = |at: usize| {
        let behind = rest[at..].strip_prefix(quote).unwrap_or_default().trim_start();
        behind.is_empty() || behind.starts_with('#')
    };
    closing.find(|(at, _)| ends(*at)).map(|(at, _)| &rest[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        let environment = |name: &str| match name {
            "TOKEN" => Some("s3cr3t".into()),
            "NESTED" => Some("${env:TOKEN}".into()),
            "EMPTY" => Some("".into()),
            "NAMED" => Some("by the environment".into()),
            _ => None,
        };
        Variables::new().environment(environment).set("NAMED", "by the host").set("extensionPath", "/ext")
    }

    fn expanded(written: &str) -> Result<String, String> {
        variables().expand(written).map(|expanded| expanded.text).map_err(|error| error.to_string())
    }

    #[test]
    fn references_are_replaced_once_and_what_is_escaped_stands_for_itself() {
        for (written, value) in [
            ("plain $5 {x} $", "plain $5 {x} $"),
            ("", ""),
            ("a ${env:TOKEN}-${env:TOKEN} z", "a s3cr3t-s3cr3t z"),
            ("${env:NESTED}", "${env:TOKEN}"),
            ("$${env:TOKEN}", "${env:TOKEN}"),
            ("$$ $${ ${env:TOKEN}", "$$ ${ s3cr3t"),
            ("${TOKEN}/x", "s3cr3t/x"),
            ("${TOKEN:-other}", "s3cr3t"),
            ("${NONE:-https://h:1}/mcp", "https://h:1/mcp"),
            ("${env:NONE:-}", ""),
            ("${EMPTY}|${EMPTY:-full}", "|full"),
            ("${NAMED} ${env:NAMED}", "by the host by the environment"),
            ("${extensionPath}x", "/extx"),
        ] {
            assert_eq!(expanded(written).as_deref(), Ok(value), "{written}");
        }
        let looked_up = |written: &str| variables().expand(written).ok().map(|it| it.looked_up);
        assert_eq!(looked_up("$${X}"), Some(vec![]));
        assert_eq!(looked_up("a ${TOKEN}"), Some(vec!["s3cr3t".to_owned()]));
    }

    #[test]
    fn a_file_is_read_without_the_end_of_its_last_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "s3cr3t\r\n").unwrap();
        assert_eq!(expanded(&format!("Bearer ${{file:{}}}", path.display())).unwrap(), "Bearer s3cr3t");
        std::fs::write(&path, b"\xff\xfes3cr3t").unwrap();
        let error = expanded(&format!("${{file:{}}}", path.display())).unwrap_err();
        assert!(error.contains("token is not UTF-8") && !error.contains("s3cr3t"), "{error}");
    }

    #[test]
    fn what_is_missing_or_malformed_is_told_without_the_value() {
        for (written, words) in [
            ("p4ss ${env:MISSING}", "variable MISSING is not set"),
            ("p4ss ${MISSING}", "variable MISSING is not set"),
            ("p4ss ${workspaceFolder}", "variable workspaceFolder is not set"),
            ("p4ss ${file:/nowhere/token}", "/nowhere/token"),
            ("p4ss ${env:TOKEN", "without its }"),
            ("p4ss ${input:key}", "${input:key} is not answered"),
            ("p4ss ${1} ${x%y}", "unknown kind"),
            ("p4ss ${env:}", "unknown kind"),
            ("p4ss ${p4ss:x}", "unknown kind"),
            ("p4ss ${A:-${TOKEN}}", "unknown kind"),
        ] {
            let error = expanded(written).unwrap_err();
            assert!(error.contains(words) && !error.contains("p4ss"), "{written}: {error}");
        }
        assert!(variables().expand(&"${NESTED}".repeat(200_000)).is_err(), "it is bounded");
    }

    #[test]
    fn inputs_are_answered_by_the_host() {
        let asked = variables().on_input(|id| (id == "key").then(|| "s3cr3t".into()));
        assert_eq!(asked.expand("k ${input:key}").ok().map(|it| it.text).as_deref(), Some("k s3cr3t"));
        assert!(asked.expand("${input:other}").is_err());
    }

    #[test]
    fn the_workspace_of_a_file_is_its_folder_or_the_one_above_a_clients_own() {
        for (file, workspace) in [
            ("/w/servers.json", "/w"),
            ("/w/.mcp.json", "/w"),
            ("/w/.vscode/mcp.json", "/w"),
            ("/w/.kiro/settings/mcp.json", "/w"),
        ] {
            let variables = variables().workspace_of(file);
            let found = variables.expand("${workspaceFolder}").ok().map(|it| it.text);
            assert_eq!(found.as_deref(), Some(workspace), "{file}");
        }
    }

    #[test]
    fn a_file_of_variables_is_read_as_people_write_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        std::fs::write(&path, "# c\n\nA=1\nexport B = two # c\nC=\"th ree\\n\"\nD='f#our'\nE=\n").unwrap();
        let read: Vec<(String, String)> = env_file(&path)
            .unwrap()
            .into_iter()
            .map(|(name, value)| (name, value.expose().to_owned()))
            .collect();
        let expected = [("A", "1"), ("B", "two"), ("C", "th ree\n"), ("D", "f#our"), ("E", "")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for (written, value) in [
            ("'abc' # don't", "abc"),
            ("\"a b\" # say \"please\"", "a b"),
            ("\"a \\\"#\\\" b\"", "a \"#\" b"),
            ("'it's'", "it's"),
            ("'{\"a\": \"#\"}'", "{\"a\": \"#\"}"),
            ("'open", "'open"),
        ] {
            assert_eq!(unquoted(written), value, "{written}");
        }
        std::fs::write(&path, "A=1\ns3cret\n").unwrap();
        let told = env_file(&path).unwrap_err();
        assert!(told.contains("line 2 of") && !told.contains("s3cret"), "{told}");
        assert!(env_file(&folder.path().join("none")).is_err());
    }
}
