//! What is secret in a URL: its user info, its query, and the path of a webhook's.

#[cfg(any(feature = "http", feature = "websocket"))]
use super::find::{json_within, secret_parts};
use super::forms::{LONE_BYTES_MIN, is_drawn};
#[cfg(any(feature = "http", feature = "websocket"))]
use super::lists::{elements, words};
#[cfg(any(feature = "http", feature = "websocket"))]
use super::names::names_secret;
#[cfg(any(feature = "http", feature = "websocket"))]
use crate::secret::Secret;

/// Labels of hosts, and segments of paths, behind which the rest of a path is as good as a password.
const WEBHOOKS: [&str; 5] = ["hook", "hooks", "webhook", "webhooks", "webhookb2"];

/// Whose hosts, and those below them, do not say that they have webhooks.
const WEBHOOK_HOSTS: [&str; 2] = ["discord.com", "discordapp.com"];

/// What is as good as a password in the URL of a webhook, which is given without its scheme: whoever knows it may write there.
pub(super) fn of_webhook(url: &str) -> Vec<&str> {
    let mut segments = url.split(['?', '#']).next().unwrap_or_default().split('/');
    let authority = segments.next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default();
    let is_of_webhooks = |word: &str| WEBHOOKS.iter().any(|known| known.eq_ignore_ascii_case(word));
    let says_so = host.split('.').any(is_of_webhooks);
    let host = host.to_ascii_lowercase();
    let is_of = |known: &&str| {
        host.strip_suffix(*known).is_some_and(|label| matches!(label, "") || label.ends_with('.'))
    };
    let is_known = says_so || WEBHOOK_HOSTS.iter().any(is_of);
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

/// The password in the user info of a URL, which is given without its scheme. The name is a token where it stands alone, and where it
/// is long.
pub(super) fn of_user(url: &str) -> Vec<&str> {
    let authority = url.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((user, _)) = authority.rsplit_once('@') else { return Vec::new() };
    let (name, password) = user.split_once(':').unwrap_or(("", user));
    // GitHub takes a token with such a password, others with none.
    let is_token = matches!(password, "" | "x-oauth-basic") || name.len() >= LONE_BYTES_MIN;
    [password].into_iter().chain(Some(name).filter(|_| is_token)).collect()
}

/// A text without the encoding of URLs.
pub(super) fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// How a value may be read, each way once: as it is written, and decoded; in the query of a URL also with nothing decoded but what
/// separates its words, as in a form, in which a plus is a blank, and as one that was encoded once more.
pub(super) fn readings(value: &str, is_of_url: bool) -> Vec<String> {
    let mut readings = vec![value.to_owned(), decoded(value)];
    if is_of_url {
        let form = decoded(&value.replace('+', " "));
        let twice = decoded(&form);
        readings.extend([separated(value), form, twice]);
    }
    let mut known = Vec::new();
    readings.retain(|reading| {
        let is_new = !known.contains(reading);
        known.push(reading.clone());
        is_new
    });
    readings
}

/// A value as it is written, with what separates its words decoded.
fn separated(value: &str) -> String {
    let plus = value.replace('+', " ");
    let mut parts = plus.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let digits = part.get(..2).unwrap_or_default();
        let byte = u8::from_str_radix(digits, 16).ok().filter(|byte| b" ,;|:\"'=".contains(byte));
        match byte {
            Some(byte) => format!("{text}{}{}", char::from(byte), &part[2..]),
            None => format!("{text}%{part}"),
        }
    })
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
    let parts = user.into_iter().flat_map(|user| user.split(':').chain([user]));
    let query = rest.split_once('?').map(|(_, query)| query.split('#').next().unwrap_or_default());
    let pairs = query.into_iter().flat_map(|query| query.split(['&', ';']));
    // Some write a second question mark in place of `&`.
    let pairs = pairs.flat_map(|pair| {
        let several = pair.contains('?');
        pair.split('?').filter(move |_| several).chain([pair])
    });
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or(("", pair)));
    let of_query = pairs.flat_map(|(name, value)| secrets_of_query(&decoded(name), value));
    parts
        .flat_map(|part| {
            let whole = decoded(part);
            words(&whole).chain([Secret::from(part), Secret::from(whole.as_str())]).collect::<Vec<_>>()
        })
        .chain(of_query)
        .chain(secret_parts(url))
        .collect()
}

/// What may be secret in a value of a query: the whole, each word of it, and each text of JSON.
#[cfg(any(feature = "http", feature = "websocket"))]
fn secrets_of_query(name: &str, value: &str) -> Vec<Secret> {
    let is_named = names_secret(name);
    if !is_named && value.len() < QUERY_BYTES_MIN {
        return Vec::new();
    }
    // Names of features have no digits.
    let may_be_secret = |word: &Secret| {
        let word = word.expose().as_bytes();
        is_named || word.len() >= QUERY_BYTES_MIN || word.iter().any(u8::is_ascii_digit)
    };
    let mut secrets = Vec::new();
    for reading in readings(value, true) {
        let elements = elements(name, &reading).into_iter().map(Secret::from);
        secrets.extend(words(&reading).chain(elements).filter(may_be_secret));
        if let Some(json) = json_within(&reading) {
            texts_of_json(&json, &mut secrets);
        }
        secrets.push(reading.into());
    }
    secrets
}

/// Each text of JSON, and each word of it. How deep it nests is bounded by the parser.
#[cfg(any(feature = "http", feature = "websocket"))]
fn texts_of_json(json: &serde_json::Value, secrets: &mut Vec<Secret>) {
    match json {
        serde_json::Value::String(text) => secrets.extend(words(text).chain([text.as_str().into()])),
        serde_json::Value::Array(items) => items.iter().for_each(|item| texts_of_json(item, secrets)),
        serde_json::Value::Object(entries) => {
            entries.values().for_each(|value| texts_of_json(value, secrets));
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}
