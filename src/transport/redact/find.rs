//! Finds what is secret in a configuration: in arguments, variables, URLs, headers, JSON and connection strings.

use super::connections::{in_quotes, of_go, of_oracle};
use super::encodings::from_base64;
use super::forms::{LONE_BYTES_MIN, is_of_service, is_of_token, looks_random};
use super::lists::{AROUND, elements, of_basic, words};
#[cfg(any(feature = "http", feature = "websocket"))]
use super::names::is_plain_header;
use super::names::{is_headers, is_other_key, names_secret};
#[cfg(feature = "stdio")]
use super::paths::begins_as_path;
use super::paths::{drawn_parts, is_path};
#[cfg(any(feature = "http", feature = "websocket"))]
pub(in crate::transport) use super::urls::url_secrets;
use super::urls::{decoded, of_user, of_webhook, readings};
use crate::secret::Secret;

/// Schemes of credentials that stand before them.
const SCHEMES: [&str; 4] = ["bearer", "basic", "token", "apikey"];

/// How deep texts are looked for within texts: JSON in a URL in JSON, as far as people write it.
const TEXTS_WITHIN_MAX: u32 = 4;

/// Options that take `user:password`, as curl's do.
#[cfg(feature = "stdio")]
const USER_OPTIONS: [&str; 4] = ["-u", "-U", "--user", "--proxy-user"];

/// JSON in a text: as it is, with its quotes escaped once more, with quotes around it or without, and in base64.
pub(super) fn json_within(value: &str) -> Option<serde_json::Value> {
    let begins = |text: &str| text.trim_start().starts_with(['{', '[']);
    if begins(value)
        && let Ok(json) = serde_json::from_str(value)
    {
        return Some(json);
    }
    let quoted = if value.starts_with('"') { value.to_owned() } else { format!("\"{value}\"") };
    let unescaped = value.contains("\\\"").then(|| serde_json::from_str(&quoted).ok()).flatten();
    let text: String = unescaped.or_else(|| from_base64(value)).filter(|text| begins(text))?;
    serde_json::from_str(&text).ok()
}

/// Finds what is secret within JSON: what stands under names of secrets, or below them, each word of what stands under `headers`, and
/// what is within other texts. How deep it nests is bounded by the parser.
fn secrets_of_json(name: &str, value: &serde_json::Value, depth: u32, secrets: &mut Vec<Secret>) {
    match value {
        serde_json::Value::String(text) if is_headers(name) => secrets.extend(words(text)),
        serde_json::Value::String(text) if names_secret(name) => secrets.extend(of_named(name, text, depth)),
        serde_json::Value::String(text) => secrets.extend(parts_within(text, depth)),
        serde_json::Value::Number(number) if names_secret(name) => secrets.push(number.to_string().into()),
        serde_json::Value::Array(items) => {
            // As the `args` of a server.
            #[cfg(feature = "stdio")]
            if items.iter().filter_map(serde_json::Value::as_str).any(|item| item.starts_with('-')) {
                let args = items.iter().map(|item| item.as_str().unwrap_or_default().to_owned());
                secrets.extend(arguments_within(&args.collect::<Vec<_>>(), depth));
            }
            items.iter().for_each(|item| secrets_of_json(name, item, depth, secrets));
        }
        serde_json::Value::Object(entries) => {
            for (key, value) in entries {
                let below = name_below(name, entries, key, value);
                secrets_of_json(below, value, depth, secrets);
            }
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

/// What says of an entry of a JSON object, which stands under a name itself, whether it is secret: its key, or the name that is nearest.
fn name_below<'n>(
    name: &'n str,
    entries: &'n serde_json::Map<String, serde_json::Value>,
    key: &'n str,
    value: &serde_json::Value,
) -> &'n str {
    // Kubernetes has its variables so: `{"name":"API_KEY","value":…}`.
    let texts = ["name", "key"].iter().filter_map(|key| entries.get(*key)?.as_str());
    let said = || texts.clone().find(|name| names_secret(name));
    let is_address = || value.as_str().is_some_and(|text| text.contains("://"));
    let says_more = || is_headers(key) || names_secret(key) || is_other_key(key) || is_address();
    match key {
        _ if is_headers(name) => name,
        "value" => said().unwrap_or(if names_secret(name) { name } else { key }),
        _ if names_secret(name) && !says_more() => name,
        _ => key,
    }
}

/// What is secret of a value whose name says so: the whole, each element of a list, and what is within.
fn of_named(name: &str, value: &str, depth: u32) -> Vec<Secret> {
    let mut secrets = vec![Secret::from(value)];
    match (depth.checked_sub(1), json_within(value.trim_matches('\''))) {
        (Some(depth), Some(json)) => secrets_of_json(name, &json, depth, &mut secrets),
        (Some(_), None) => {
            secrets.extend(elements(name, value).into_iter().map(Secret::from));
            secrets.extend(parts_within(value, depth));
        }
        (None, _) => {}
    }
    secrets
}

/// What is secret within a value: what stands behind `Bearer` and the like, the password in a URL and what its query names so, and
/// what a connection string does.
pub(in crate::transport) fn secret_parts(value: &str) -> Vec<Secret> {
    parts_within(value, TEXTS_WITHIN_MAX)
}

/// The same, with what is within texts in it, so many deep.
fn parts_within(value: &str, depth: u32) -> Vec<Secret> {
    let Some(depth) = depth.checked_sub(1) else { return Vec::new() };
    if let Some(json) = json_within(value) {
        let mut secrets = Vec::new();
        secrets_of_json("", &json, depth, &mut secrets);
        return secrets;
    }
    let mut within = of_basic(value);
    // Each of several URLs by itself.
    if value.matches("://").nth(1).is_some() {
        let pieces =
            value.split(|c: char| c.is_whitespace() || c == ',').filter(|piece| piece.len() < value.len());
        within.extend(
            pieces.filter(|piece| piece.contains("://")).flat_map(|piece| parts_within(piece, depth)),
        );
    }
    within.extend(in_quotes(value));
    let mut parts: Vec<&str> = of_oracle(value).into_iter().chain(of_go(value)).collect();
    // A scheme and what it takes, as `Bearer …`, or a header of its own, as `X-Key: …`.
    let mut pieces = value.split_whitespace();
    if let (Some(first), Some(second), None) = (pieces.next(), pieces.next(), pieces.next())
        && (first.ends_with(':')
            || second.len() >= LONE_BYTES_MIN
            || SCHEMES.contains(&&*first.to_ascii_lowercase()))
    {
        parts.push(second);
    }
    if let Some((name, rest)) = value.split_once(": ")
        && !name.contains(char::is_whitespace)
        && (names_secret(name) || is_headers(name))
    {
        parts.extend(rest.split_whitespace());
    }
    let pairs = match value.split_once("://") {
        Some((_, rest)) => {
            parts.extend(of_webhook(rest));
            parts.extend(of_user(rest));
            // Its query, and what some give in its fragment. Connection strings may have a URL within.
            if value.contains(';') {
                Some(value)
            } else {
                rest.split_once(['?', '#']).map(|(_, query)| query)
            }
        }
        None => Some(value),
    };
    // A password may have a number sign in it, and what stands before a fragment none.
    let is_url = value.contains("://") && !value.contains(';');
    let pairs = pairs
        .into_iter()
        .flat_map(|pairs| pairs.split(|c| matches!(c, '&' | ';' | '?') || is_url && c == '#'));
    // A connection string may have blanks between, and a shell's line has quotes.
    let pairs = pairs.flat_map(|pair| {
        let has_words = pair.contains(char::is_whitespace);
        pair.split_whitespace().filter(move |_| has_words).chain([pair])
    });
    let pairs = pairs.filter_map(|pair| pair.split_once('=')).chain(loose_pairs(value));
    let has_url = value.contains("://");
    within.extend(pairs.flat_map(|(name, value)| secrets_of_pair(name, value, has_url, depth)));
    within.extend(tokens(value));
    within.extend(parts.into_iter().flat_map(|part| [Secret::from(part), decoded(part).into()]));
    within
}

/// What is secret of a pair: its value where its name says so, else what is within that.
fn secrets_of_pair(name: &str, value: &str, is_of_url: bool, depth: u32) -> Vec<Secret> {
    let name = decoded(name.trim().trim_matches(AROUND));
    let read = readings(value, is_of_url);
    let secrets = read.iter().flat_map(|reading| match names_secret(&name) {
        true => of_named(&name, reading, depth),
        false if is_headers(&name) => match json_within(reading) {
            Some(json) => {
                let mut secrets = Vec::new();
                secrets_of_json(&name, &json, depth, &mut secrets);
                secrets
            }
            None => words(reading).collect(),
        },
        // As JSON, or another URL, in the query of a URL.
        false if json_within(reading).is_some() || reading.contains("://") => parts_within(reading, depth),
        false => Vec::new(),
    });
    secrets.collect()
}

/// The pairs of what is JSON but for its quotes, as `{apiKey: '…'}`, and of several lines of YAML or TOML.
fn loose_pairs(value: &str) -> impl Iterator<Item = (&str, &str)> {
    let value = Some(value.trim()).filter(|value| value.starts_with(['{', '[']) || value.contains('\n'));
    let pairs = value.into_iter().flat_map(|value| value.split(['{', '}', ',', '\n']));
    pairs.filter_map(|pair| pair.split_once([':', '=']))
}

/// The words in a value that look like tokens.
fn tokens(value: &str) -> Vec<Secret> {
    let words = value.split(|c: char| c.is_whitespace() || "=,;\"'()[]{}".contains(c));
    // Names of files and folders are none, but for what looks drawn by chance.
    let (paths, words): (Vec<&str>, Vec<&str>) = words.partition(|word| is_path(word));
    let drawn = paths.into_iter().filter_map(drawn_parts).flatten();
    let words = words.into_iter();
    let forms = words.clone().flat_map(|word| word.split(|c: char| !is_of_token(c) && c != '.'));
    let forms = forms.map(|word| word.trim_matches('.'));
    let words = words.flat_map(|word| word.split(|c: char| !is_of_token(c)));
    let words = words.flat_map(|word| word.split(['-', '_']).chain([word]));
    forms
        .filter(|word| is_of_service(word))
        .chain(words.filter(|word| looks_random(word)))
        .chain(drawn)
        .map(Secret::from)
        .collect()
}

/// What is secret within the value of a variable, whose name may say so.
#[cfg(feature = "stdio")]
pub(in crate::transport) fn secrets_of_variable(name: &str, value: &str) -> Vec<Secret> {
    match names_secret(name) {
        true => of_named(name, value, TEXTS_WITHIN_MAX),
        false => secret_parts(value),
    }
}

/// An option for a secret with its value behind a colon, as programs for Windows and PowerShell have it: `/token:…`, `-ApiKey:…`.
#[cfg(feature = "stdio")]
fn by_colon(argument: &str) -> Option<(&str, &str)> {
    let (option, value) = argument.split_once(':')?;
    let name = option.strip_prefix('/').unwrap_or_else(|| option.trim_start_matches('-'));
    let is_option = name.len() < option.len() && name.chars().all(is_of_token) && names_secret(name);
    Some((option, value)).filter(|(_, value)| is_option && !value.is_empty())
}

/// What is secret among the arguments of a program: what stands behind an option such as `--api-key`, or behind its `=` or colon, the
/// value of a header, and what is within each argument.
#[cfg(feature = "stdio")]
pub(in crate::transport) fn secret_arguments(args: &[String]) -> Vec<Secret> {
    arguments_within(args, TEXTS_WITHIN_MAX)
}

/// The same, with what is within texts among them, so many deep.
#[cfg(feature = "stdio")]
fn arguments_within(args: &[String], depth: u32) -> Vec<Secret> {
    let Some(within) = depth.checked_sub(1) else { return Vec::new() };
    let mut secrets: Vec<Secret> = args.iter().flat_map(|argument| parts_within(argument, depth)).collect();
    for argument in args.iter().filter(|argument| argument.contains(char::is_whitespace)) {
        // What a shell is given has arguments within, with quotes around some.
        let unquoted = |word: &str| word.trim_matches(['"', '\'', ';', '(', ')']).to_owned();
        let words: Vec<String> = argument.split_whitespace().map(unquoted).collect();
        secrets.extend(arguments_within(&words, within));
        if argument.contains(['"', '\'']) {
            secrets.extend(arguments_within(&words_of_shell(argument), within));
        }
    }
    for (n, argument) in args.iter().enumerate() {
        let behind = args.get(n.saturating_add(1)..).unwrap_or_default();
        // The option, its value, and what stands behind that.
        let (option, value, behind) = match by_colon(argument).or_else(|| argument.split_once('=')) {
            _ if argument.starts_with("-H") && argument.len() > 2 => ("-H", &argument[2..], behind),
            Some((option, value)) if !option.contains("://") => (option, value, behind),
            _ if argument.starts_with('-') => match behind.split_first() {
                Some((value, behind)) => (argument.as_str(), value.as_str(), behind),
                None => continue,
            },
            _ => continue,
        };
        let is_header = option == "-H" || is_headers(option);
        match value.split_once(':').filter(|(_, value)| is_header && !value.starts_with("//")) {
            // Its name is no secret. Where a shell's quotes were taken apart, its value is the next word, or has one before it.
            Some((_, value)) => {
                let apart = if value.trim().is_empty() { behind } else { &[] };
                let apart = apart.iter().take(2).map(String::as_str);
                secrets
                    .extend(apart.chain([value.trim()]).flat_map(|value| words(value).chain([value.into()])));
            }
            // Such as a host.
            None if option == "-H" => {}
            None if is_header => secrets.extend(words(value).chain([value.into()])),
            None if names_secret(option) => {
                secrets.extend(of_named(option, value, depth));
            }
            None => secrets.extend(parts_within(value, depth)),
        }
        // As `user:password`, too.
        if (names_secret(option) || USER_OPTIONS.contains(&option))
            && let Some((_, password)) = value.split_once(':').filter(|(_, behind)| !behind.starts_with("//"))
            && !begins_as_path(value)
        {
            secrets.extend([password.into(), value.into()]);
        }
    }
    secrets
}

/// The words of a shell's line, without the quotes around them.
#[cfg(feature = "stdio")]
fn words_of_shell(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, _) if c.is_whitespace() => words.push(String::new()),
            _ => words.last_mut().into_iter().for_each(|word| word.push(c)),
        }
    }
    words
}

/// What is secret in headers: each word of a value by itself, since a server tells a token without the `Bearer` before it, or what
/// stands in a cookie without its name. Some headers say what a client takes, and where it asks.
#[cfg(any(feature = "http", feature = "websocket"))]
pub(in crate::transport) fn header_words(headers: &[(String, Secret)]) -> Vec<Secret> {
    let headers = headers.iter().filter(|(name, _)| !is_plain_header(name));
    headers.flat_map(|(_, value)| words(value.expose())).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::forms::FORMS;
    use super::super::mask::Mask;
    use super::*;

    #[cfg(any(feature = "http", feature = "websocket"))]
    #[test]
    fn what_may_be_secret_in_a_url_is_taken_out_of_a_line() {
        for (url, line, told) in [
            (
                "https://h/mcp?api_key=s3cret-value&x=1",
                "bad token /mcp?api_key=s3cret-value&x=1",
                "bad token /mcp?api_key=***&x=1",
            ),
            ("https://h/mcp?s3cret%2Fvalue-of", "bad s3cret/value-of or s3cret%2fvalue-of", "bad *** or ***"),
            (
                "https://h/mcp?features=database&version=2025-06-18",
                "database 2025-06-18",
                "database 2025-06-18",
            ),
            ("https://user:s3cret-value@h/mcp", "user:s3cret-value", "***"),
            ("https://host-of-it/mcp/path-of-it", "host-of-it/mcp/path-of-it", "host-of-it/mcp/path-of-it"),
            ("https://h/mcp?token=Bearer%20s3cret-value", "bad s3cret-value", "bad ***"),
            ("https://h/mcp?authorization=Bearer+s3cret-value", "bad s3cret-value", "bad ***"),
            ("https://h/mcp?t=aaaaaaaa%20s3cret-value", "bad s3cret-value", "bad ***"),
            ("https://h/mcp?t=aaaaaaaa|s3cret-value", "bad s3cret-value", "bad ***"),
            ("https://h/mcp?keys=aaaaaaaa1%2Cs3cret-value", "bad s3cret-value", "bad ***"),
            ("https://h/mcp?keys=aaaaaaaa1%3Bs3cret-value", "bad s3cret-value", "bad ***"),
            ("https://h/mcp?auth=bob%3As3cret-value", "bad s3cret-value", "bad ***"),
            ("https://h/mcp?auth=Basic%20Ym9iOnMzY3JldC12YWx1ZQ%3D%3D", "bad s3cret-value", "bad ***"),
            ("https://h/mcp?cfg=%7B%22a%22%3A%22s3cret-value%22%7D", "bad s3cret-value", "bad ***"),
            (
                "https://h/mcp?cfg=%7B%22a%22%3A%5B%22x%22,%22s3cret-value%22%5D%7D",
                "bad s3cret-value",
                "bad ***",
            ),
            ("https://h/mcp?cfg=eyJhIjoiczNjcmV0LXZhbHVlIn0=", "bad s3cret-value", "bad ***"),
            ("https://h/mcp?api%5Fkey=s3cret-value", "bad s3cret-value", "bad ***"),
            ("https://h/mcp?x=(another,s3cret-value)", "bad s3cret-value", "bad ***"),
            ("https://h/mcp?x?token=s3cret-value", "bad s3cret-value", "bad ***"),
            ("https://h/mcp?x=another%2520s3cret-value", "bad s3cret-value", "bad ***"),
            ("https://bob%3As3cret-value@h/mcp", "bad s3cret-value", "bad ***"),
            ("https://h/mcp?to=https%3A%2F%2Fo%2F%3Ftoken%3Ds3cret-value", "bad s3cret-value", "bad ***"),
            ("https://h/mcp?token=Bearer%20s3cret%2Dvalue", "bad s3cret%2Dvalue", "bad ***"),
            (
                "https://h/mcp?token=s3cret+value-of",
                "bad s3cret+value-of or s3cret value-of",
                "bad *** or ***",
            ),
            (
                "https://h/mcp?features=account,database,functions",
                "no database functions",
                "no database functions",
            ),
        ] {
            assert_eq!(Mask::of(&url_secrets(url)).apply(Bytes::from(line)), told, "{url}");
        }
    }

    #[cfg(feature = "stdio")]
    #[test]
    fn what_stands_behind_an_option_for_a_secret_is_taken_out() {
        let args = |args: &[&str]| args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>();
        for (given, told) in [
            (args(&["-y", "pkg", "--api-key", "s3cret-value"]), "bad ***"),
            (args(&["--token=s3cret-value"]), "bad ***"),
            (args(&["API_KEY=s3cret-value", "node"]), "bad ***"),
            (args(&["--header", "Authorization: Bearer s3cret-value"]), "bad ***"),
            (args(&["--header=X-Key: s3cret-value"]), "bad ***"),
            (args(&["-H", "X-Key: s3cret-value"]), "bad ***"),
            (args(&["postgres://user:s3cret-value@h/db"]), "bad ***"),
            (args(&["--header", "X-Key:s3cret-value"]), "bad ***"),
            (args(&["--header=Authorization:Bearer s3cret-value"]), "bad ***"),
            (args(&["-HX-Key: s3cret-value"]), "bad ***"),
            (args(&["https://h/mcp?profile=x&api_key=s3cret-value#x"]), "bad ***"),
            (args(&["https://h/mcp?api_key=s3cret-value&profile=x"]), "bad ***"),
            (args(&["https://h/mcp?api_key=s3cret%2Dvalue"]), "bad ***"),
            (args(&["postgres://u:s3cret%2dvalue@h/db"]), "bad ***"),
            (args(&["https://s3cret-value@h/repo"]), "bad ***"),
            (args(&["--db", "Server=h;Password=s3cret-value;Database=x"]), "bad ***"),
            (args(&["Bearer s3cret-value"]), "bad ***"),
            (args(&["--bearer", "s3cret-value"]), "bad ***"),
            (args(&["MY_PAT=s3cret-value"]), "bad ***"),
            (args(&["--env=API_KEY=s3cret-value"]), "bad ***"),
            (args(&["--auth", "user:s3cret-value"]), "bad ***"),
            (args(&["-c", "node x --api-key s3cret-value"]), "bad ***"),
            (args(&["-c", "exec node x --header 'X-Key: s3cret-value' y"]), "bad ***"),
            (args(&["--config", r#"{"apiKey":"s3cret-value","deep":[{"a":1}]}"#]), "bad ***"),
            (args(&[r#"{"headers":{"Authorization":"Bearer s3cret-value"}}"#]), "bad ***"),
            (args(&[r#"{"url":"https://h/?token=s3cret-value"}"#]), "bad ***"),
            (args(&[r#"{"Authorization":"Bearer s3cret-value","Notion-Version":"2022-06-28"}"#]), "bad ***"),
            (args(&[r#"{"httpHeaders":{"X":"s3cret-value"}}"#]), "bad ***"),
            (args(&["Authorization: ApiKey s3cret-value"]), "bad ***"),
            (args(&["X-Key: s3cret-value"]), "bad ***"),
            (args(&["--cookie", "s3cret-value"]), "bad ***"),
            (args(&["--passphrase=s3cret-value"]), "bad ***"),
            (args(&["--cookie", "session=s3cret-value"]), "bad ***"),
            (args(&["--cookie", "lang=en; session=s3cret-value"]), "bad ***"),
            (args(&["--user", "bob:s3cret-value"]), "bad ***"),
            (args(&["-u", "bob:s3cret-value"]), "bad ***"),
            (args(&["--proxy-user=bob:s3cret-value"]), "bad ***"),
            (args(&["-c", "curl -u bob:s3cret-value https://h"]), "bad ***"),
            (args(&["-ApiKey:s3cret-value"]), "bad ***"),
            (args(&["--token:s3cret-value"]), "bad ***"),
            (args(&["/token:s3cret-value"]), "bad ***"),
            (args(&["--pw", "s3cret-value"]), "bad ***"),
            (args(&["--otp", "s3cret-value"]), "bad ***"),
            (args(&["--totp", "s3cret-value"]), "bad ***"),
            (args(&["--passphrase", "s3cret-value"]), "bad ***"),
            (args(&["--api-keys", "another-one,s3cret-value"]), "bad ***"),
            (args(&["TOKENS=github:s3cret-value,gitlab:another-one"]), "bad ***"),
            (args(&["--config", r#"{"tokens":"another-one, s3cret-value"}"#]), "bad ***"),
            (args(&["https://h/mcp?keys=another-one,s3cret-value"]), "bad ***"),
            (args(&["postgres://u:another-one@h/a,postgres://u:s3cret-value@h/b"]), "bad ***"),
            (args(&["https://hooks.slack.com/services/T00/B00/s3cret-value"]), "bad ***"),
            (args(&["--notify=https://discord.com/api/webhooks/1234/s3cret-value"]), "bad ***"),
            (args(&["https://discord.com/api/webhooks/1234/s3cret-value/slack?wait=true"]), "bad ***"),
            (args(&["https://t.webhook.office.com/webhookb2/a@b/IncomingWebhook/s3cret-value/c"]), "bad ***"),
            (args(&["jdbc:oracle:thin:scott/s3cret-value@//h:1521/x"]), "bad ***"),
            (args(&["--db=jdbc:oracle:oci:scott/\"s3cret-value\"@h:1521:x"]), "bad ***"),
            (args(&["Authorization: Basic Ym9iOnMzY3JldC12YWx1ZQ=="]), "bad ***"),
            (args(&["mcp-remote", "https://h/mcp?token=Bearer%20s3cret-value"]), "bad ***"),
            (args(&["mcp-remote", "https://h/mcp?authorization=Bearer+s3cret-value"]), "bad ***"),
            (args(&["https://h/mcp?auth=bob%3As3cret-value"]), "bad ***"),
            (args(&["https://h/mcp?api%5Fkeys=aaaaaaaa1%2Cs3cret-value"]), "bad ***"),
            (args(&["https://h/mcp?tokens=%5B%22s3cret-value%22%5D"]), "bad ***"),
            (args(&["https://h/mcp?auth=Basic%20Ym9iOnMzY3JldC12YWx1ZQ%3D%3D"]), "bad ***"),
            (args(&["https://h/mcp?to=https%3A%2F%2Fo%2F%3Ftoken%3Ds3cret-value"]), "bad ***"),
            (args(&["https://h/mcp?config=eyJhcGlLZXkiOiJzM2NyZXQtdmFsdWUifQ"]), "bad ***"),
            (args(&["https://h/mcp?x=aaaaaaaa1%2Cs3cret-value"]), "bad s3cret-value"),
            (args(&["https://h/mcp?headers=X:s3cret-value"]), "bad ***"),
            (args(&["https://h/mcp?headers=%7B%22X%22%3A%22s3cret-value%22%7D"]), "bad ***"),
            (args(&["https://h/mcp?token=Bearer%2520s3cret-value"]), "bad ***"),
            (args(&["https://s3cret-value:x-oauth-basic@h/repo"]), "bad ***"),
            (args(&["https://s3cret-value:@h/repo"]), "bad ***"),
            (args(&["-c", r#"node x --api-keys '["a", "s3cret-value"]'"#]), "bad ***"),
            (args(&["-c", "node x --api-keys 'another-one s3cret-value' y"]), "bad ***"),
            (args(&["-c", r#"sh -c "node x --api-keys 'another-one s3cret-value'""#]), "bad ***"),
            (args(&["--config", r#"{"a":{"args":["--token","s3cret-value"]}}"#]), "bad ***"),
            (args(&["--config", r#"{"a":{"args":["--folder","s3cret-value"]}}"#]), "bad s3cret-value"),
            (args(&["--config", r#"[{"key":"API_KEY","value":"s3cret-value"}]"#]), "bad ***"),
            (args(&["--config", r#"[{"name":"FOLDER","value":"s3cret-value"}]"#]), "bad s3cret-value"),
            (args(&[r#"--api-keys=["aaaaaaaa1","s3cret-value"]"#]), "bad ***"),
            (args(&["--api-keys", r#"["aaaaaaaa1", "s3cret-value"]"#]), "bad ***"),
            (args(&["--api-keys", r#"{"github":"s3cret-value"}"#]), "bad ***"),
            (args(&["--api-keys", r#"{"github":{"main":["s3cret-value"]}}"#]), "bad ***"),
            (args(&["--api-keys", "['aaaaaaaa1','s3cret-value']"]), "bad ***"),
            (args(&["--api-keys", "{github: 's3cret-value'}"]), "bad ***"),
            (args(&["--api-keys", r#"[\"s3cret-value\"]"#]), "bad ***"),
            (args(&["--api-keys", "aaaaaaaa1|s3cret-value"]), "bad ***"),
            (args(&["--api-keys", "aaaaaaaa1 s3cret-value"]), "bad ***"),
            (args(&["--config", r#"{"apiKeys":{"github":"s3cret-value"}}"#]), "bad ***"),
            (args(&["--config", r#"{"apiKeys":"[\"s3cret-value\"]"}"#]), "bad ***"),
            (args(&["--config", r#"{"apiKeys":[{"value":"s3cret-value"}]}"#]), "bad ***"),
            (args(&["--config", r#"[{"name":"API_KEY","value":"s3cret-value"}]"#]), "bad ***"),
            (args(&["--config", "{'api_key':'s3cret-value'}"]), "bad ***"),
            (args(&["--config", r#"{apiKey:"s3cret-value"}"#]), "bad ***"),
            (args(&["--config", r#"apiKey = "s3cret-value""#]), "bad ***"),
            (args(&["--config", "region = \"x\"\napi_key = \"s3cret-value\"\n"]), "bad ***"),
            (args(&["--config", "region: x\nauth:\n  token: s3cret-value\n"]), "bad ***"),
            (args(&["--config", "region: s3cret-value\ntoken: another-one\n"]), "bad s3cret-value"),
            (args(&["https://h/mcp?a=b;token=Bearer+s3cret-value"]), "bad ***"),
            (args(&["--config", r#"{"auth":{"headers":{"X":"Foo s3cret-value"}}}"#]), "bad ***"),
            (args(&["--config", r#"{"auth":{"type":"s3cret-value"}}"#]), "bad s3cret-value"),
            (args(&["--config", r#"{"auth":{"issuer":"https://s3cret-value"}}"#]), "bad s3cret-value"),
            (args(&["--notify=https://ptb.discord.com/api/webhooks/1234/s3cret-value"]), "bad ***"),
            (args(&["--notify=https://canary.discord.com/api/webhooks/1234/s3cret-value"]), "bad ***"),
            (args(&["--notify=https://PTB.discordapp.com/api/webhooks/1234/s3cret-value"]), "bad ***"),
            (args(&["--notify=https://nodiscord.com/api/webhooks/1234/s3cret-value"]), "bad s3cret-value"),
            (args(&["Driver={X};Server=h;UID=u;PWD={s3cret-value}"]), "bad ***"),
            (args(&["--connection-string", "Driver={X};Server=h;UID=u;PWD={s3cret-value}"]), "bad ***"),
            (args(&["Driver={s3cret-value};Server=h;PWD={another-one}"]), "bad s3cret-value"),
            (args(&["u:s3cret-value@tcp(h:3306)/db"]), "bad ***"),
            (args(&["--mnemonic", "s3cret-value"]), "bad ***"),
            (args(&["--author", "s3cret-value"]), "bad s3cret-value"),
            (args(&["--keymap", "s3cret-value"]), "bad s3cret-value"),
            (args(&["--primary-key", "s3cret-value"]), "bad s3cret-value"),
            (args(&["--passthrough", "s3cret-value"]), "bad s3cret-value"),
            (args(&["--authorization", "s3cret-value"]), "bad ***"),
            (args(&["--keymap-token", "s3cret-value"]), "bad ***"),
            (args(&["--user", "https://h/s3cret-value"]), "bad s3cret-value"),
            (args(&["--user", "s3cret-value"]), "bad s3cret-value"),
            (args(&["--url:s3cret-value"]), "bad s3cret-value"),
            (args(&["--tokenizer:s3cret-value"]), "bad s3cret-value"),
            (args(&["--keywords", "another-one,s3cret-value"]), "bad s3cret-value"),
            (args(&["--keyword-token", "s3cret-value"]), "bad ***"),
            (args(&["--key-file", "C:s3cret-value"]), "bad ***"),
            (args(&["--key-file", "C:/s3cret-value"]), "bad s3cret-value"),
            (args(&["/etc/token:s3cret-value"]), "bad s3cret-value"),
            (args(&["https://h/services/T00/B00/s3cret-value"]), "bad s3cret-value"),
            (args(&["https://h/docs/webhooks/s3cret-value.html"]), "bad s3cret-value"),
            (args(&["jdbc:postgresql://s3cret-value/x@y"]), "bad s3cret-value"),
            (args(&["--folders", "a,s3cret-value"]), "bad s3cret-value"),
            (args(&["--connection-string", "Server=s3cret-value;Password=another-one"]), "bad s3cret-value"),
            (args(&["--config", r#"{"folder":"s3cret-value"}"#]), "bad s3cret-value"),
            (args(&["--path", "s3cret-value"]), "bad s3cret-value"),
            (args(&["-header", "Authorization: Bearer s3cret-value"]), "bad ***"),
            (args(&["--extra-header", "X:s3cret-value"]), "bad ***"),
            (args(&["HEADERS=Authorization: Bearer s3cret-value"]), "bad ***"),
            (args(&["--header=X-Custom=s3cret-value"]), "bad ***"),
            (args(&["-c", "x --header='X-Key: s3cret-value'"]), "bad ***"),
            (args(&["-c", "x -H'X-Key: s3cret-value'"]), "bad ***"),
            (args(&[r#"[{"token":"s3cret-value"}]"#]), "bad ***"),
            (args(&["-c", "export TOKEN='s3cret-value'; node x"]), "bad ***"),
            (args(&["-c", "(node x --api-key s3cret-value; true)"]), "bad ***"),
            (args(&["host=h password=s3cret-value dbname=d"]), "bad ***"),
            (args(&["https://h/mcp?config=%7B%22apiKey%22%3A%22s3cret-value%22%7D&x=1"]), "bad ***"),
            (args(&["https://h/back#access_token=s3cret-value&x=1"]), "bad ***"),
            (args(&["-e", r#"X={"token":"s3cret-value"}"#]), "bad ***"),
            (
                args(&["jdbc:sqlserver://h:1433;databaseName=x;user=sa;password=s3cret-value;encrypt=true"]),
                "bad ***",
            ),
            (args(&["Endpoint=sb://x/;SharedAccessKeyName=R;SharedAccessKey=s3cret-value"]), "bad ***"),
            (args(&["--connection-string", "Endpoint=sb://x/;SharedAccessKey=s3cret-value"]), "bad ***"),
            (args(&["Server=h;Password=s3cret-value#x;Database=x"]), "bad s3cret-value"),
            (args(&["https://x.blob/c?sv=2020&sig=s3cret-value"]), "bad ***"),
            (args(&["--config", r#""{\"apiToken\":\"s3cret-value\"}""#]), "bad ***"),
            (args(&["--config", r#"{\"apiToken\":\"s3cret-value\"}"#]), "bad ***"),
            (args(&["-H", "tcp://s3cret-value"]), "bad s3cret-value"),
            (args(&["-H", "s3cret-value"]), "bad s3cret-value"),
            (args(&["--keyword", "s3cret-value and more"]), "bad s3cret-value"),
            (args(&["postgres://s3cret-value:password@h/db"]), "bad s3cret-value"),
            (args(&["--folder", "s3cret-value"]), "bad s3cret-value"),
            (args(&["--config=s3cret-value"]), "bad s3cret-value"),
            (args(&["--token"]), "bad s3cret-value"),
        ] {
            assert_eq!(
                Mask::of(&secret_arguments(&given)).apply(Bytes::from("bad s3cret-value")),
                told,
                "{given:?}"
            );
        }
    }

    #[test]
    fn what_looks_like_a_token_is_taken_out_wherever_it_stands_and_names_stay() {
        const TOKEN: &str = "Vab9CdE7xQ2mL5tR8wZ0";
        for value in [
            format!("https://h/mcp/{TOKEN}/x"),
            format!("sk-{TOKEN}"),
            format!("tokens: github:{TOKEN},gitlab:none"),
            format!(r#"{{"a":[{{"b":"{TOKEN}"}}]}}"#),
            format!("{{'a': '{TOKEN}',}}"),
        ] {
            let told = Mask::of(&secret_parts(&value)).text(format!("bad {TOKEN}!"));
            assert!(!told.contains(TOKEN), "{value}: {told}");
        }
        for (name, is_token) in [
            ("@modelcontextprotocol/server-everything@2025.11.25", false),
            ("claude-3-5-sonnet-20241022", false),
            ("/home/User1/AProjectWithALongName2024/index.js", false),
            ("--config=/home/User1/AProjectWithALongName2024/index.js", false),
            ("com.example.MyServerApplication", false),
            ("https://mcp.example.com/v1/streamable-http", false),
            ("meta-llama/Llama-3.3-70B-Instruct-Turbo", false),
            ("@scope/My-Package2-WithCaps", false),
            ("/home/u/Vab9CdE7xQ2mL5tR8wZ0/x.json", true),
            ("3f2504e0-4f89-11d3-9a0c-0305e82c3301", true),
            ("ctx7sk-3f2504e0-4f89-11d3-9a0c-0305e82c3301", true),
            ("0123456789abcdef0123456789abcdef", true),
        ] {
            assert_eq!(!secret_parts(name).is_empty(), is_token, "{name}");
        }
    }

    #[cfg(feature = "stdio")]
    #[test]
    fn each_element_of_a_variable_whose_name_says_so_is_taken_out() {
        for (name, value, told) in [
            ("TOKENS", "github:s3cret-value,gitlab:another-one", "bad ***"),
            ("API_KEYS", "another-one, s3cret-value", "bad ***"),
            ("SESSION_COOKIE", "lang=en; session=s3cret-value", "bad ***"),
            ("GITHUB_AUTH", "bob:s3cret-value", "bad ***"),
            ("BACKENDS", "postgres://u:another-one@h/a postgres://u:s3cret-value@h/b", "bad ***"),
            ("API_KEYS", r#"["aaaaaaaa1","s3cret-value"]"#, "bad ***"),
            ("API_KEYS", r#"["s3cret-value"]"#, "bad ***"),
            ("GITHUB_TOKENS", r#"["s3cret-value","b"]"#, "bad ***"),
            ("API_KEYS", r#"{"github":"s3cret-value"}"#, "bad ***"),
            ("API_KEYS", "aaaaaaaa1 s3cret-value", "bad ***"),
            ("API_KEYS", "aaaaaaaa1|s3cret-value", "bad ***"),
            ("API_KEYS", "github:aaaaaaaa1 gitlab:s3cret-value", "bad ***"),
            ("FEATURES", r#"["another-one","s3cret-value"]"#, "bad s3cret-value"),
            ("DSN", "Driver={X};Server=h;UID=u;PWD={s3cret-value}", "bad ***"),
            ("MCP_URL", "https://h/mcp?token=Bearer%20s3cret-value", "bad ***"),
            ("FEATURES", "another-one,s3cret-value", "bad s3cret-value"),
            ("DB_CONNECTION_STRING", "Server=s3cret-value;Password=another-one", "bad s3cret-value"),
        ] {
            let mask = Mask::of(&secrets_of_variable(name, value));
            assert_eq!(mask.apply(Bytes::from("bad s3cret-value")), told, "{name}");
        }
    }

    #[test]
    fn what_has_the_form_of_a_services_tokens_is_taken_out_and_what_only_begins_so_stays() {
        let (small, letters) = ("q7w8e9r0t1y2u3i4o5p6a7s8d9f0g1h2", "qWeRtYuIoPaSdFgHjKlZxCvBnMqWeRtYuI");
        for (begin, rest) in [
            ("AKIA", "IOSFODNN7EXAMPLE"),
            ("ASIA", "IOSFODNN7EXAMPLE"),
            ("hf_", letters),
            ("xoxe.xoxp-1-", small),
            ("eyJ", "hbGciOiJub25lIn0.eyJzdWIiOiJib2IifQ.c2lnbmF0dXJl"),
        ]
        .into_iter()
        .chain(FORMS.map(|begin| (begin, small)))
        {
            // Put together here: what looks for tokens in sources would find them.
            let token = [begin, rest].concat();
            for value in
                [token.clone(), format!("x={token}"), format!("https://h/{token}/x"), format!("'{token}'.")]
            {
                let told = Mask::of(&secret_parts(&value)).text(format!("bad {token}!"));
                assert_eq!(told, "bad ***!", "{value}");
            }
        }
        for name in [
            "AKIAIOSFODNN7EXAMPLES",
            "akiaiosfodnn7example",
            "ASIAPACIFICSOUTHEAST",
            "secret_manager_of_the_other_account",
            "npm_config_registry_of_a_mirror_2024",
            "sk-learn-model-of-the-year-2024",
            "hf_transfer_of_large_files",
            "pat-of-none",
        ] {
            assert!(secret_parts(name).is_empty(), "{name}");
        }
    }

    #[cfg(feature = "stdio")]
    #[test]
    fn texts_within_texts_cost_no_more_than_a_few_readings_and_a_number_sign_ends_no_password() {
        let nested = "%7Bx=".repeat(200);
        let spaced = "%7Bx=%20".repeat(5_000);
        for value in [format!("https://h/mcp?x={nested}"), format!("https://h/mcp?x={spaced}"), nested] {
            assert!(secret_parts(&value).len() < 100_000);
        }
        let mask = Mask::of(&secret_parts("Server=h;Password=s3cr#t-value-1;Database=x"));
        assert_eq!(mask.text("bad s3cr#t-value-1".to_owned()), "bad ***");
        let mask = Mask::of(&[Secret::from("/no/such/folder/of/data/app.db")]);
        assert_eq!(
            mask.broken_off(Bytes::from("cannot create /no/such/folder/of")),
            "cannot create /no/such/folder/of"
        );
    }

    #[cfg(any(feature = "http", feature = "websocket"))]
    #[test]
    fn a_value_within_a_header_is_taken_out() {
        for (name, value) in [
            ("Cookie", "sid=s3cret-session; lang=en"),
            ("Authorization", "Token token=\"s3cret-session\""),
            ("X-Keys", "a:another-one,b:s3cret-session"),
            ("Authorization", "Basic Ym9iOnMzY3JldC1zZXNzaW9u"),
            ("Authorization", "basic Ym9iOnMzY3JldC1zZXNzaW9uCg"),
            ("X-Keys", "another-one|s3cret-session"),
            ("X-Config", r#"{"apiKey":"s3cret-session"}"#),
        ] {
            let mask = Mask::of(header_words(&[(name.to_owned(), Secret::from(value))]).iter());
            assert_eq!(
                mask.apply(Bytes::from("no such session: s3cret-session")),
                "no such session: ***",
                "{name}"
            );
        }
    }
}
