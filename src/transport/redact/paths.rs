//! Paths of files and folders, which stay: what a program says of its files would tell nothing without them.

use std::path::Path;

use super::forms::{breaks, is_drawn_part, is_of_service};

/// What folders at the root of a system are called, whether this one has them or not: by the Filesystem Hierarchy Standard, on macOS,
/// and in containers.
const ROOTS: [&str; 34] = [
    "Applications",
    "Library",
    "System",
    "Users",
    "Volumes",
    "app",
    "bin",
    "boot",
    "cache",
    "config",
    "data",
    "dev",
    "etc",
    "home",
    "lib",
    "lib64",
    "media",
    "mnt",
    "nix",
    "opt",
    "private",
    "proc",
    "projects",
    "root",
    "run",
    "sbin",
    "secrets",
    "snap",
    "srv",
    "sys",
    "tmp",
    "usr",
    "var",
    "workspace",
];

/// Characters by which a value is more than a path: a line of a shell, a URL's query, a pair of a name and a value.
const OTHERS: [char; 13] = ['=', '?', '&', ';', '"', '\'', '<', '>', '|', '*', '#', '$', '%'];

/// In so many letters and digits the name of a folder changes once, as in `MyProject2024`, and what was drawn by chance in two.
const BYTES_PER_BREAK: usize = 6;

/// Whether a value begins as paths do.
pub(super) fn begins_as_path(value: &str) -> bool {
    value.starts_with(['/', '\\', '.', '~']) || has_drive(value)
}

/// Of a path the parts that look drawn by chance, which may be secrets; of a path that there is, none. `None` for what is no path.
pub(super) fn drawn_parts(value: &str) -> Option<Vec<&str>> {
    if value.starts_with('/') && Path::new(value).exists() {
        return Some(Vec::new());
    }
    let parts = value.split(['/', '\\', ':']).flat_map(drawn_in);
    is_path(value).then(|| parts.collect())
}

/// Whether a value is a path, or several with colons between. A secret in base64 may begin with a slash as well, so one that begins at
/// no known folder has to look like words.
pub(super) fn is_path(value: &str) -> bool {
    let is_other = |c: char| OTHERS.contains(&c) || c.is_control();
    let mut behind_colons = value.get(2..).filter(|_| has_drive(value)).unwrap_or(value).split(':').skip(1);
    if value.contains(is_other)
        || value.contains(" -")
        || value.contains("://")
        || !behind_colons.all(|path| path.starts_with(['/', '\\']))
    {
        return false;
    }
    let is_share = value.strip_prefix("\\\\").is_some_and(|share| share.contains('\\'));
    let is_relative = ["./", "../", "~/", ".\\", "..\\", "~\\"].iter().any(|begin| value.starts_with(begin));
    if is_share || is_relative || has_drive(value) {
        return true;
    }
    let Some(path) = value.strip_prefix('/') else { return false };
    let first = path.split('/').next().unwrap_or_default();
    // Names of one letter stand in secrets too.
    let is_known =
        |first: &str| ROOTS.contains(&first) || first.len() > 1 && Path::new("/").join(first).is_dir();
    is_known(first) || looks_like_words(path)
}

/// Whether a value begins with the letter of a drive, as `C:\` or `C:/`.
fn has_drive(value: &str) -> bool {
    value.starts_with(|c: char| c.is_ascii_alphabetic())
        && value.get(1..3).is_some_and(|begin| matches!(begin, ":\\" | ":/"))
        && value.get(3..4) != Some("/")
}

/// Whether what stands behind a slash looks like names of folders, or the name of a file with its ending.
fn looks_like_words(path: &str) -> bool {
    let segments = path.trim_end_matches('/').split('/');
    let is_of_name = |c: char| c.is_alphanumeric() || "-_.@~ ".contains(c);
    let is_name = |segment: &str| {
        let runs = segment.split(|c: char| !c.is_alphanumeric());
        let mut breaks = runs.map(|run| (breaks(run), run.len()));
        !segment.is_empty()
            && segment.chars().all(is_of_name)
            && breaks.all(|(breaks, length)| breaks <= 1 + length / 4)
    };
    let all: usize = path.split(|c: char| !c.is_alphanumeric()).map(breaks).sum();
    let is_nested = path.contains('/') || path.contains('.');
    is_nested && all <= 1 + path.len() / BYTES_PER_BREAK && segments.into_iter().all(is_name)
}

/// What looks drawn by chance in the name of a folder or file, without its ending.
fn drawn_in(segment: &str) -> Vec<&str> {
    match is_of_service(segment) {
        true => vec![segment],
        false => segment.split('.').filter(|part| is_drawn_part(part)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::mask::Mask;
    use crate::secret::Secret;

    /// What a program's line tells of a value.
    fn told(value: &str) -> String {
        let mask = Mask::of(&[Secret::from(value)]);
        mask.text(format!("cannot open {value}")).strip_prefix("cannot open ").unwrap().to_owned()
    }

    #[test]
    fn a_path_stays_whether_there_is_such_a_file_or_not() {
        for path in [
            "/etc/ssl/private/nokey.pem",
            "/home/u/.config/gcloud/application_default_credentials.json",
            "/no/such/folder/of/data/app.db",
            "/no-such-folder/file",
            "/nofile.json",
            "/home/User1/AProjectWithALongName2024/index.js",
            "/AProjectWithALongName2024/index.js",
            "/models/qwen2.5-0.5b-instruct-q4_k_m.gguf",
            "/srv/postgresql-16.2/main/pg_hba.conf",
            "/Users/bob/Library/Application Support/Claude/config.json",
            "./h.json",
            "../keys/server-2024-01-31T10.pem",
            "~/secret.pem",
            "~/.ssh/id_ed25519",
            "C:\\Users\\bob\\key.pem",
            "C:/Users/bob/key.pem",
            "\\\\server\\share\\key.pem",
            "/opt/tools/bin:/usr/nowhere/bin",
            "/home/bob/\u{43f}\u{430}\u{43f}\u{43a}\u{430}/file.txt",
        ] {
            assert_eq!(told(path), path);
        }
    }

    #[test]
    fn of_a_path_what_looks_drawn_by_chance_is_taken_out_alone() {
        for (path, left) in [
            ("/home/u/Vab9CdE7xQ2mL5tR8wZ0/x.json", "/home/u/***/x.json"),
            ("./keys/Vab9CdE7xQ2mL5tR8wZ0.pem", "./keys/***.pem"),
            ("C:\\keys\\0123456789abcdef0123456789abcdef.key", "C:\\keys\\***.key"),
            ("/tmp/3f2504e0-4f89-11d3-9a0c-0305e82c3301/x", "/tmp/***/x"),
            ("~/ghp_q7w8e9r0t1y2u3i4o5p6a7s8d9f0g1h2", "~/***"),
        ] {
            assert_eq!(told(path), left);
        }
    }

    #[test]
    fn a_secret_that_begins_with_a_slash_is_no_path() {
        for secret in [
            "/JalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "/JalrXUtnFEMI+K7MDENG+bPxRfiCYEXAMPLEKEY",
            "/q7w8e9r0t1y2/u3i4o5p6a7s8d9f0g1h2",
            "/k3J/9xQ2mLw=",
            "/s3cret-value",
            "//s3cret/value",
            "/s3cret!/value",
            "./run.sh --token s3cret-value",
            "/usr/bin/run?token=s3cret-value",
            "/etc/token:s3cret-value",
            "\\s3cret-value",
            "~s3cret-value",
            ".s3cret-value",
            "C:s3cret-value",
            "s://s3cret-value",
        ] {
            assert_eq!(told(secret), "***", "{secret}");
        }
    }
}
