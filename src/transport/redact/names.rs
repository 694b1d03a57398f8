//! What the names of options, variables and keys say of their values.

/// Words in the names of options whose values are secrets.
const SECRET_OPTIONS: [&str; 11] = [
    "key",
    "token",
    "secret",
    "pass",
    "pwd",
    "cred",
    "auth",
    "cookie",
    "signature",
    "connection-string",
    "mnemonic",
];

/// Words that have one of these in them and say nothing of secrets.
const OTHER_WORDS: [&str; 16] = [
    "bypass",
    "compass",
    "foreign-key",
    "hotkey",
    "keyboard",
    "keymap",
    "keyspace",
    "keyword",
    "max-token",
    "monkey",
    "partition-key",
    "passthrough",
    "primary-key",
    "sort-key",
    "token-limit",
    "tokeniz",
];

/// The same, where they are whole words: more of `author` is `authorization`.
const WHOLE_WORDS: [&str; 3] = ["author", "authors", "authority"];

/// Names that are short enough to stand in others.
const SECRET_NAMES: [&str; 9] = ["bearer", "jwt", "otp", "pat", "psk", "pw", "sas", "sig", "totp"];

/// Keys beside secrets, in JSON whose name says that it is secret: their values tell what kind it is of, and where it is good.
const OTHER_KEYS: [&str; 13] = [
    "alg",
    "algorithm",
    "host",
    "kind",
    "method",
    "provider",
    "region",
    "scheme",
    "scope",
    "scopes",
    "type",
    "uri",
    "url",
];

/// Headers that have no secrets.
#[cfg(any(feature = "http", feature = "websocket"))]
const PLAIN_HEADERS: [&str; 6] =
    ["accept", "accept-encoding", "accept-language", "content-type", "host", "origin"];

/// Whether a name of an option, or of a part of a query, says that its value is a secret.
pub(super) fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let whole = name.trim_start_matches('-');
    let is_short = |short: &&str| {
        whole.strip_suffix(*short).is_some_and(|before| matches!(before, "") || before.ends_with('-'))
    };
    let words: Vec<&str> = name.split('-').filter(|word| !WHOLE_WORDS.contains(word)).collect();
    let others = OTHER_WORDS.iter().fold(words.join("-"), |name, word| name.replace(word, ""));
    SECRET_OPTIONS.iter().any(|word| others.contains(word)) || SECRET_NAMES.iter().any(is_short)
}

/// Whether a name says that its value is a connection string, in which each part has a name of its own.
pub(super) fn is_connection(name: &str) -> bool {
    name.to_ascii_lowercase().replace('_', "-").contains("connection-string")
}

/// Whether headers stand under a name.
pub(super) fn is_headers(name: &str) -> bool {
    name.to_ascii_lowercase().contains("header")
}

/// Whether a header says what a client takes, or where it asks, which a server may tell.
#[cfg(any(feature = "http", feature = "websocket"))]
pub(super) fn is_plain_header(name: &str) -> bool {
    PLAIN_HEADERS.iter().any(|plain| plain.eq_ignore_ascii_case(name))
}

/// Whether what stands under a key is no secret, though the JSON around it is named as one.
pub(super) fn is_other_key(key: &str) -> bool {
    OTHER_KEYS.iter().any(|other| other.eq_ignore_ascii_case(key))
}
