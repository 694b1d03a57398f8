//! Secrets that a `servers.json` does not hold itself: `${env:NAME}` and `${file:PATH}`.
//!
//! Only values that are meant for secrets are expanded: `bearer`, those of `headers` and those of `env`. They are read once,
//! when the file is.

use std::ffi::OsString;
use std::path::Path;

use super::{files, shown};
use crate::secret::Secret;

/// The largest file that holds one secret: more than any server takes as a header.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Looks up a variable of the environment.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Why a value was not expanded. It names the variable or the file, and shows nothing of the value.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExpandError {
    #[error("the environment variable {0} is not set")]
    Unset(String),
    #[error("the environment variable {0} is not UTF-8")]
    VariableNotUtf8(String),
    #[error(transparent)]
    File(#[from] files::FileError),
    #[error("{0} is not UTF-8")]
    FileNotUtf8(String),
    #[error("has a ${{ without its }}: write $${{ for one that stands for itself")]
    Unclosed,
    #[error(
        "has a ${{…}} of an unknown kind: write ${{env:NAME}} or ${{file:PATH}}, or $${{ for one that stands for itself"
    )]
    Unknown,
}

/// Puts the secrets in.
pub(super) fn expand(written: &Secret, lookup: Lookup<'_>) -> Result<Secret, ExpandError> {
    let mut expanded = String::new();
    let mut rest = written.expose();
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = &from[2..];
            continue;
        }
        expanded.push_str(before);
        let (reference, after) = from[2..].split_once('}').ok_or(ExpandError::Unclosed)?;
        expanded.push_str(&value(reference, lookup)?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded.into())
}

fn value(reference: &str, lookup: Lookup<'_>) -> Result<String, ExpandError> {
    match reference.split_once(':') {
        Some(("env", name)) if !name.is_empty() => lookup(name)
            .ok_or_else(|| ExpandError::Unset(shown::name(name).into_owned()))?
            .into_string()
            .map_err(|_| ExpandError::VariableNotUtf8(shown::name(name).into_owned())),
        Some(("file", path)) if !path.is_empty() => {
            let content = files::read(Path::new(path), SECRET_BYTES_MAX)?;
            let text = String::from_utf8(content)
                .map_err(|_| ExpandError::FileNotUtf8(shown::path(Path::new(path)).into_owned()))?;
            // Editors end a file with a line's end, which no secret has.
            Ok(text.trim_end_matches(['\r', '\n']).to_owned())
        }
        Some(_) | None => Err(ExpandError::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<OsString> {
        match name {
            "TOKEN" => Some("s3cr3t".into()),
            "NESTED" => Some("${env:TOKEN}".into()),
            _ => None,
        }
    }

    fn expanded(written: &str) -> Result<String, String> {
        expand(&written.into(), &lookup)
            .map(|secret| secret.expose().to_owned())
            .map_err(|error| error.to_string())
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
        ] {
            assert_eq!(expanded(written).as_deref(), Ok(value), "{written}");
        }
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
            ("p4ss ${file:/nowhere/token}", "/nowhere/token"),
            ("p4ss ${env:TOKEN", "without its }"),
            ("p4ss ${TOKEN}", "unknown kind"),
            ("p4ss ${env:}", "unknown kind"),
            ("p4ss ${p4ss:x}", "unknown kind"),
        ] {
            let error = expanded(written).unwrap_err();
            assert!(error.contains(words) && !error.contains("p4ss"), "{written}: {error}");
        }
    }
}
