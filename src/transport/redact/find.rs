//! Finds what is secret in a configuration: in arguments, variables, URLs, headers, JSON and connection strings.

use super::encodings::from_base64;
use super::forms::{LONE_BYTES_MIN, is_drawn, is_of_service, is_of_token, looks_random};
use crate::secret::Secret;

/// Words in the names of options whose values are secrets.
const SECRET_OPTIONS: [&str; 10] =
    ["key", "token", "secret", "pass", "pwd", "cred", "auth", "cookie", "signature", "connection-string"];

/// Words that have one of these in them and say nothing of secrets.
const OTHER_WORDS: [&str; 3] = ["keyboard", "keyword", "tokeniz"];

/// Schemes of credentials that stand before them.
const SCHEMES: [&str; 4] = ["bearer", "basic", "token", "apikey"];

/// How deep texts are looked for within texts: JSON in a URL in JSON, as far as people write it.
const TEXTS_WITHIN_MAX: u32 = 4;

/// Names that are short enough to stand in others.
const SECRET_NAMES: [&str; 8] = ["bearer", "jwt", "otp", "pat", "psk", "pw", "sig", "totp"];

/// Options that take `user:password`, as curl's do.
#[cfg(feature = "stdio")]
const USER_OPTIONS: [&str; 4] = ["-u", "-U", "--user", "--proxy-user"];

/// Labels of hosts, and segments of paths, behind which the rest of a path is as good as a password.
const WEBHOOKS: [&str; 5] = ["hook", "hooks", "webhook", "webhooks", "webhookb2"];

/// Whose hosts do not say that they have webhooks.
const WEBHOOK_HOSTS: [&str; 2] = ["discord.com", "discordapp.com"];

/// The words of a header's value, and what is within them.
fn words(value: &str) -> impl Iterator<Item = Secret> {
    let parts = |word: &str| -> Vec<Secret> {
        let parts = word.split([';', ',', '"', '=']).chain([word]);
        let behind = |part: &str| part.split_once(':').map(|(_, behind)| behind.to_owned());
        let behind: Vec<String> = parts.clone().filter_map(behind).collect();
        let behind = behind.into_iter().filter(|behind| !behind.starts_with("//"));
        parts.map(Secret::from).chain(behind.map(Secret::from)).collect()
    };
    let words = value.split_whitespace().flat_map(parts);
    words.chain(of_basic(value)).collect::<Vec<_>>().into_iter()
}

/// What `Basic` credentials say: the user with the password, and the password alone.
fn of_basic(value: &str) -> Vec<Secret> {
    let is_basic = |word: &str| {
        let scheme = word.rsplit([':', '"', '\'', '=']).next().unwrap_or_default();
        scheme.eq_ignore_ascii_case("basic")
    };
    let behind = value.split_whitespace().skip(1);
    let credentials = value.split_whitespace().zip(behind).filter(|(word, _)| is_basic(word));
    let said = credentials.filter_map(|(_, word)| from_base64(word.trim_matches(['"', '\''])));
    let parts = said.map(|said| {
        let password = said.split_once(':').map(|(_, password)| Secret::from(password));
        [Some(Secret::from(said)), password]
    });
    parts.flatten().flatten().collect()
}

/// Of a value whose name says that it is secret, the elements of a list, as in `github:…,gitlab:…`, and what stands behind the name of each, as in `session=…`.
fn elements<'v>(name: &str, value: &'v str) -> Vec<&'v str> {
    let value = value.trim_matches(['"', '\'']);
    // JSON is read as such. Of a connection string each part has a name of its own, and the host is no secret.
    if value.starts_with(['{', '['])
        || name.to_ascii_lowercase().replace('_', "-").contains("connection-string")
    {
        return vec![value];
    }
    let elements = value.split([',', ';']).map(str::trim);
    let pairs = elements.flat_map(|element| {
        let behind = element.split_once([':', '=']).map(|(_, behind)| behind.trim());
        [Some(element), behind.filter(|behind| !behind.starts_with("//") && !is_path(element))]
    });
    pairs.flatten().collect()
}

/// Whether a name of an option, or of a part of a query, says that its value is a secret.
fn names_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let whole = name.trim_start_matches('-');
    let is_short = |short: &&str| {
        whole.strip_suffix(*short).is_some_and(|before| matches!(before, "") || before.ends_with('-'))
    };
    let others = OTHER_WORDS.iter().fold(name.clone(), |name, word| name.replace(word, ""));
    SECRET_OPTIONS.iter().any(|word| others.contains(word)) || SECRET_NAMES.iter().any(is_short)
}

/// Whether headers stand under a name.
fn is_headers(name: &str) -> bool {
    name.to_ascii_lowercase().contains("header")
}

/// Finds what is secret within JSON: what stands under names of secrets, each word of what stands under `headers`, and what is within
/// other texts. How deep it nests is bounded by the parser.
fn secrets_of_json(name: &str, value: &serde_json::Value, depth: u32, secrets: &mut Vec<Secret>) {
    match value {
        serde_json::Value::String(text) if is_headers(name) => secrets.extend(words(text)),
        serde_json::Value::String(text) => {
            if names_secret(name) {
                secrets.extend([text.as_str()].into_iter().chain(elements(name, text)).map(Secret::from));
            }
            secrets.extend(parts_within(text, depth));
        }
        serde_json::Value::Number(number) if names_secret(name) => secrets.push(number.to_string().into()),
        serde_json::Value::Array(items) => {
            items.iter().for_each(|item| secrets_of_json(name, item, depth, secrets))
        }
        serde_json::Value::Object(entries) => {
            let below = |key: &str| if is_headers(name) { name.to_owned() } else { key.to_owned() };
            entries.iter().for_each(|(key, value)| secrets_of_json(&below(key), value, depth, secrets));
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

/// What is secret within a value: what stands behind `Bearer` and the like, the password in a URL and what its query names so, and
/// what a connection string does.
pub(in crate::transport) fn secret_parts(value: &str) -> Vec<Secret> {
    parts_within(value, TEXTS_WITHIN_MAX)
}

/// The same, with what is within texts in it, so many deep.
fn parts_within(value: &str, depth: u32) -> Vec<Secret> {
    let Some(depth) = depth.checked_sub(1) else { return Vec::new() };
    if value.trim_start().starts_with(['{', '['])
        && let Ok(json) = serde_json::from_str(value)
    {
        let mut secrets = Vec::new();
        secrets_of_json("", &json, depth, &mut secrets);
        return secrets;
    }
    // JSON whose quotes are escaped once more, with quotes around it or without.
    let quoted = if value.starts_with('"') { value.to_owned() } else { format!("\"{value}\"") };
    if value.contains("\\\"")
        && let Ok(inner) = serde_json::from_str::<String>(&quoted)
        && inner.starts_with(['{', '['])
    {
        return parts_within(&inner, depth);
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
    let mut parts: Vec<&str> = of_oracle(value).into_iter().collect();
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
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            if let Some((user, _)) = authority.rsplit_once('@') {
                // Alone it is a token, and where it is long.
                let (name, password) = user.split_once(':').unwrap_or(("", user));
                parts.extend(
                    [password].into_iter().chain(Some(name).filter(|name| name.len() >= LONE_BYTES_MIN)),
                );
            }
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
    let pairs = pairs.filter_map(|pair| pair.split_once('='));
    let (named, others): (Vec<_>, Vec<_>) = pairs.partition(|(name, _)| names_secret(name));
    parts
        .extend(named.into_iter().flat_map(|(name, value)| [value].into_iter().chain(elements(name, value))));
    // As JSON in the query of a URL.
    let json =
        others.into_iter().map(|(_, value)| percent_encoding::percent_decode_str(value).decode_utf8_lossy());
    let json = json.filter(|text| text.trim_start().starts_with(['{', '[']));
    within.extend(json.flat_map(|text| parts_within(&text, depth)));
    within.extend(tokens(value));
    let decoded = |part: &&str| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
    let decoded: Vec<String> = parts.iter().map(decoded).collect();
    within.extend(parts.into_iter().map(Secret::from).chain(decoded.into_iter().map(Secret::from)));
    within
}

/// The words in a value that look like tokens.
fn tokens(value: &str) -> Vec<Secret> {
    // The names of files and folders are none.
    let words =
        value.split(|c: char| c.is_whitespace() || "=,;\"'()[]{}".contains(c)).filter(|word| !is_path(word));
    let forms = words.clone().flat_map(|word| word.split(|c: char| !is_of_token(c) && c != '.'));
    let forms = forms.map(|word| word.trim_matches('.'));
    let words = words.flat_map(|word| word.split(|c: char| !is_of_token(c)));
    let words = words.flat_map(|word| word.split(['-', '_']).chain([word]));
    forms
        .filter(|word| is_of_service(word))
        .chain(words.filter(|word| looks_random(word)))
        .map(Secret::from)
        .collect()
}

/// What is as good as a password in the URL of a webhook, which is given without its scheme: whoever knows it may write there.
fn of_webhook(url: &str) -> Vec<&str> {
    let mut segments = url.split(['?', '#']).next().unwrap_or_default().split('/');
    let authority = segments.next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default();
    let is_of_webhooks = |word: &str| WEBHOOKS.iter().any(|known| known.eq_ignore_ascii_case(word));
    let says_so = host.split('.').any(is_of_webhooks);
    let is_known = says_so || WEBHOOK_HOSTS.iter().any(|known| known.eq_ignore_ascii_case(host));
    // Words of the path itself, such as `services`, have neither digits nor the length of tokens.
    let is_secret = |segment: &&str| match is_known {
        true => {
            let is_name = segment.to_ascii_lowercase().contains("hook");
            let has_digit = segment.bytes().any(|byte| byte.is_ascii_digit());
            !is_name && (has_digit || segment.len() >= LONE_BYTES_MIN)
        }
        false => is_drawn(segment),
    };
    segments.skip_while(|segment| !says_so && !is_of_webhooks(segment)).filter(is_secret).collect()
}

/// The password in a URL of Oracle's driver, which has it behind a slash: `jdbc:oracle:thin:user/password@…`.
fn of_oracle(value: &str) -> Option<&str> {
    let (_, rest) = value.split_once("jdbc:oracle:")?;
    let (user, _) = rest.split(['?', '(']).next()?.split_whitespace().next()?.rsplit_once('@')?;
    let (_, password) = user.split_once('/')?;
    Some(password.trim_matches('"'))
}

/// Whether a value is the path of a file or folder.
pub(super) fn is_path(value: &str) -> bool {
    value.starts_with(['/', '\\', '.', '~'])
        || value.get(1..3).is_some_and(|begin| matches!(begin, ":\\" | ":/"))
}

/// What is secret within the value of a variable, whose name may say so.
#[cfg(feature = "stdio")]
pub(in crate::transport) fn secrets_of_variable(name: &str, value: &str) -> Vec<Secret> {
    let elements = if names_secret(name) { elements(name, value) } else { Vec::new() };
    secret_parts(value).into_iter().chain(elements.into_iter().map(Secret::from)).collect()
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
    let mut secrets: Vec<Secret> = args.iter().flat_map(|argument| secret_parts(argument)).collect();
    for argument in args.iter().filter(|argument| argument.contains(char::is_whitespace)) {
        // What a shell is given has arguments within.
        let unquoted = |word: &str| word.trim_matches(['"', '\'', ';', '(', ')']).to_owned();
        let words: Vec<String> = argument.split_whitespace().map(unquoted).collect();
        secrets.extend(secret_arguments(&words));
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
                secrets.extend([value].into_iter().chain(elements(option, value)).map(Secret::from));
            }
            None => secrets.extend(secret_parts(value)),
        }
        // As `user:password`, too.
        if (names_secret(option) || USER_OPTIONS.contains(&option))
            && let Some((_, password)) = value.split_once(':').filter(|(_, behind)| !behind.starts_with("//"))
            && !is_path(value)
        {
            secrets.extend([password.into(), value.into()]);
        }
    }
    secrets
}

/// What is secret in headers: each word of a value by itself, since a server tells a token without the `Bearer` before it, or what
/// stands in a cookie without its name.
#[cfg(any(feature = "http", feature = "websocket"))]
pub(in crate::transport) fn header_words(headers: &[(String, Secret)]) -> Vec<Secret> {
    headers.iter().flat_map(|(_, value)| words(value.expose())).collect()
}

/// Values of a query that are shorter are no secrets, unless their names say so: they are versions, and names of features.
#[cfg(any(feature = "http", feature = "websocket"))]
const QUERY_BYTES_MIN: usize = 16;

/// What may be secret in a URL: its user info, values of its query, and what looks like a token.
#[cfg(any(feature = "http", feature = "websocket"))]
pub(in crate::transport) fn url_secrets(url: &str) -> Vec<Secret> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    let query = rest.split_once('?').map(|(_, query)| query.split('#').next().unwrap_or_default());
    let values = query.into_iter().flat_map(|query| query.split(['&', ';']));
    let values = values.filter_map(|pair| match pair.split_once('=') {
        Some((name, value)) => (names_secret(name) || value.len() >= QUERY_BYTES_MIN).then_some(value),
        None => Some(pair).filter(|pair| pair.len() >= QUERY_BYTES_MIN),
    });
    let parts = user.into_iter().flat_map(|user| user.split(':').chain([user])).chain(values);
    parts
        .flat_map(|part| {
            let decoded = percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
            [Secret::from(part), Secret::from(decoded)]
        })
        .chain(secret_parts(url))
        .collect()
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
            ("3f2504e0-4f89-11d3-9a0c-0305e82c3301", true),
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
