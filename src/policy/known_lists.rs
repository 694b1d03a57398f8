//! Known lists: what servers listed at their last run, as one file keeps it from one run to the next.
//!
//! An entry is found by the hash of its server's description. Neither the file nor the hash has anything of the values of variables
//! and headers, of tokens, and of what references in a command line stood for; and each file hashes with a number of its own, so
//! that hashes of two files cannot be compared. The server's id is part of it: two servers that differ in their credentials alone
//! do not see each other's lists.
//!
//! What is read is believed as a server is, and not more: it goes through the same checks as a list that a server sends, and
//! through the same pins.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::catalogue::{Definition, Offer};
use super::pins::Pinning;
use crate::config::{Endpoint, LimitSettings, ServerSpec};
use crate::id::ServerId;
use crate::json::RawJson;
use crate::offer::EntryKind;
use crate::protocol::listing::{Listed, Listing};

/// How a file of known lists begins. One that does not is somebody else's.
const BEGINNING: &str = "{\"format\":\"mcp-troupe known lists\",";

/// The version of the file's form.
const VERSION: u64 = 1;

/// The largest file: it is read at once at the start, and a thousand usual servers have a tenth of it.
pub(crate) const FILE_BYTES_MAX: usize = 16 << 20;

/// The most bytes of one server's lists: ten times what the largest usual servers have, and no more than a sixteenth of the
/// file, so that one server does not take the place of all others.
const SERVER_BYTES_MAX: usize = 1 << 20;

/// The most servers of one file.
pub(crate) const SERVERS_MAX: usize = 1_000;

/// A server that has not listed for this long is forgotten, in seconds: 30 days.
const AGE_MAX: u64 = 30 * DAY;

/// How old the time of an entry gets before it is written anew for that alone, in seconds.
const DAY: u64 = 24 * 3600;

/// The hash of what a server is started with, or where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a description. `endpoint` is what a connector of the host's says of itself.
    pub(crate) fn of(spec: &ServerSpec, endpoint: &str) -> Self {
        let mut hash = Fields(Sha256::new());
        hash.text(spec.id.as_str());
        let without_secrets = |text: &str| {
            let secrets = spec.looked_up.iter().map(|secret| secret.expose());
            secrets
                .filter(|secret| !secret.is_empty())
                .fold(text.to_owned(), |text, secret| text.replace(secret, "\0"))
        };
        match &spec.endpoint {
            Endpoint::Stdio { command, args, env, cwd } => {
                hash.text("stdio");
                hash.text(&without_secrets(command));
                hash.texts(args.iter().map(|arg| without_secrets(arg)));
                hash.texts(env.keys());
                let cwd = cwd.as_deref().map(Path::as_os_str);
                hash.texts(cwd.iter().map(|cwd| cwd.to_string_lossy()));
            }
            Endpoint::Http { url, headers, proxy: _ } => {
                hash.text("http");
                hash.text(&without_secrets(url));
                hash.texts(headers.iter().map(|(name, _)| name));
            }
            Endpoint::WebSocket { url, headers, subprotocol: _ } => {
                hash.text("websocket");
                hash.text(&without_secrets(url));
                hash.texts(headers.iter().map(|(name, _)| name));
            }
            Endpoint::Custom => {
                hash.text("custom");
                hash.text(endpoint);
            }
        }
        Self(hash.0.finalize().into())
    }
}

/// A hash of several texts, each with its length, so that no two rows of texts are alike.
struct Fields(Sha256);

impl Fields {
    fn number(&mut self, number: usize) {
        self.0.update((number as u64).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len());
        self.0.update(text);
    }

    fn texts<T: AsRef<str>>(&mut self, texts: impl ExactSizeIterator<Item = T>) {
        self.number(texts.len());
        texts.for_each(|text| self.text(text.as_ref()));
    }
}

/// Why a file was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotKnown {
    /// It is another program's, or a person's.
    #[error("it is no file of known lists: name another path, or remove it")]
    Foreign,
    /// A later version of this library has written it.
    #[error("its version is {0}, and only version {VERSION} is known: name another path, or remove it")]
    Newer(u64),
    /// It is a file of known lists that is broken.
    #[error("it is broken, and is written anew: {0}")]
    Broken(String),
}

impl NotKnown {
    /// Whether another file may take its place.
    pub(crate) fn may_be_replaced(&self) -> bool {
        match self {
            Self::Broken(_) => true,
            Self::Foreign | Self::Newer(_) => false,
        }
    }
}

/// What servers listed at their last run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownLists {
    /// What this file hashes descriptions with.
    salt: [u8; 32],
    servers: BTreeMap<String, Entry>,
}

/// What one server listed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// When it did last, in seconds since 1970.
    at: u64,
    /// One object with a member for each kind that it listed.
    lists: RawJson,
}

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read<'a> {
    #[serde(rename = "format")]
    _format: String,
    #[serde(rename = "version")]
    _version: u64,
    salt: String,
    #[serde(borrow)]
    servers: BTreeMap<String, ReadEntry<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadEntry<'a> {
    at: u64,
    #[serde(borrow)]
    lists: &'a RawValue,
}

#[derive(Serialize)]
struct WrittenEntry<'a> {
    at: u64,
    lists: &'a RawJson,
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

/// Of the lists of a server, what is no list.
#[derive(Deserialize)]
struct Beside {
    #[serde(default)]
    reads: bool,
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // A text takes all that is written to it.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |place: usize| char::from(pair[place]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(bytes)
}

impl KnownLists {
    /// None; `salt` is a random number.
    pub(crate) fn none(salt: [u8; 32]) -> Self {
        Self { salt, servers: BTreeMap::new() }
    }

    /// Takes a file.
    ///
    /// # Errors
    /// [`NotKnown`]; nothing of such a file is used.
    pub(crate) fn read(file: &[u8], now: u64) -> Result<Self, NotKnown> {
        // A disk that was full or a machine that failed leaves the beginning of it, or nothing.
        if BEGINNING.as_bytes().starts_with(file.trim_ascii_end()) {
            return Err(NotKnown::Broken("it ends early".to_owned()));
        }
        if !file.starts_with(BEGINNING.as_bytes()) {
            return Err(NotKnown::Foreign);
        }
        // What serde says of values may quote them.
        let broken = |error: serde_json::Error| {
            NotKnown::Broken(format!("line {}, column {}", error.line(), error.column()))
        };
        let Version { version } = serde_json::from_slice(file).map_err(broken)?;
        if version != VERSION {
            return Err(NotKnown::Newer(version));
        }
        let Read { salt, servers, .. } = serde_json::from_slice(file).map_err(broken)?;
        let salt = unhex(&salt).ok_or_else(|| NotKnown::Broken("its salt is no number".to_owned()))?;
        let servers = servers.into_iter().map(|(key, ReadEntry { at, lists })| {
            // A copy: a slice would keep all of the file. A clock that was wrong makes nothing stay for ever.
            let lists = RawJson::trusted(lists.get().to_owned().into());
            (key, Entry { at: at.min(now), lists })
        });
        let mut known = Self { salt, servers: servers.collect() };
        known.keep_within_bounds(now);
        Ok(known)
    }

    /// The file.
    pub(crate) fn written(&self) -> Vec<u8> {
        let servers: BTreeMap<&String, WrittenEntry<'_>> = self
            .servers
            .iter()
            .map(|(key, Entry { at, lists })| (key, WrittenEntry { at: *at, lists }))
            .collect();
        let servers = serde_json::to_string(&servers).expect("lists are JSON under keys that are text");
        let salt = hex(&self.salt);
        format!("{BEGINNING}\"version\":{VERSION},\"salt\":\"{salt}\",\"servers\":{servers}}}\n").into_bytes()
    }

    fn key(&self, fingerprint: &Fingerprint) -> String {
        hex(&Sha256::new().chain_update(self.salt).chain_update(fingerprint.0).finalize())
    }

    /// What a server listed at its last run, as far as it passes the checks of what servers send. A tool that is not what its pin
    /// says is left out. `mirrored` where arguments of its tools go into headers.
    pub(crate) fn offer(
        &self,
        fingerprint: &Fingerprint,
        server: &ServerId,
        mirrored: bool,
        limits: &LimitSettings,
        pinning: Option<&Pinning>,
    ) -> Option<Offer> {
        let Entry { lists, .. } = self.servers.get(&self.key(fingerprint))?;
        let mut offer = Offer { reads: lists.parse_borrowed::<Beside>().ok()?.reads, ..Offer::default() };
        for kind in EntryKind::ALL {
            let mut listing = Listing::new(kind, limits.tools_max, limits.pages_max);
            if mirrored && kind == EntryKind::Tool {
                listing = listing.mirrored();
            }
            // A kind that is not there was not kept.
            if listing.page(lists).is_err() {
                continue;
            }
            let Listed { entries, .. } = listing.finish();
            let entries = entries.into_iter();
            let entries = entries.map(|entry| Definition { name: entry.name, definition: entry.definition });
            *offer.of_mut(kind) = entries.collect();
        }
        if let Some(pinning) = pinning {
            let tools = offer.tools.iter().map(|tool| (tool.name.as_str(), &tool.definition));
            let broken = pinning.check(server, tools).broken;
            let (unlike, like): (Vec<_>, Vec<_>) =
                offer.tools.iter().cloned().partition(|tool| broken.contains_key(&tool.name));
            offer.tools = like.into();
            if pinning.blocks() {
                offer.blocked = unlike.into();
            }
        }
        Some(offer)
    }

    /// Takes what servers list now. Says whether that makes another file.
    pub(crate) fn keep<'a>(
        &mut self,
        listed: impl IntoIterator<Item = (&'a Fingerprint, &'a Offer)>,
        now: u64,
    ) -> bool {
        let mut changed = false;
        for (fingerprint, offer) in listed {
            let key = self.key(fingerprint);
            let Some(lists) = lists_of(offer) else {
                changed |= self.servers.remove(&key).is_some();
                continue;
            };
            let as_before = |entry: &Entry| entry.lists == lists && now.saturating_sub(entry.at) < DAY;
            if !self.servers.get(&key).is_some_and(as_before) {
                self.servers.insert(key, Entry { at: now, lists });
                changed = true;
            }
        }
        self.keep_within_bounds(now);
        changed
    }

    /// Forgets what is too old, then the oldest of what is too much.
    fn keep_within_bounds(&mut self, now: u64) {
        let recent =
            |entry: &Entry| now.saturating_sub(entry.at) <= AGE_MAX && entry.lists.len() <= SERVER_BYTES_MAX;
        self.servers.retain(|_, entry| recent(entry));
        // What stands around the lists of one server, and around those of all.
        let size = |entry: &Entry| entry.lists.len() + 128;
        let mut bytes = 256 + self.servers.values().map(size).sum::<usize>();
        let mut by_age: Vec<(u64, String)> =
            self.servers.iter().map(|(key, entry)| (entry.at, key.clone())).collect();
        by_age.sort_unstable();
        for (_, key) in by_age {
            if bytes <= FILE_BYTES_MAX && self.servers.len() <= SERVERS_MAX {
                return;
            }
            bytes = bytes.saturating_sub(self.servers.remove(&key).map_or(0, |entry| size(&entry)));
        }
    }
}

/// The lists of a server as one object, in the order in which they matter, as far as there is room. Without room for its tools
/// there is none. Tools that are blocked are kept as well: they may not be at the next run.
fn lists_of(offer: &Offer) -> Option<RawJson> {
    let mut text = format!("{{\"reads\":{}", offer.reads);
    for (kind, member) in [
        (EntryKind::Tool, "tools"),
        (EntryKind::Prompt, "prompts"),
        (EntryKind::ResourceTemplate, "resourceTemplates"),
        (EntryKind::Resource, "resources"),
    ] {
        let blocked = if kind == EntryKind::Tool { &*offer.blocked } else { &[] };
        let entries = || offer.of(kind).iter().chain(blocked).map(|entry| entry.definition.as_str());
        // With the brackets, the commas, and the name.
        let bytes: usize = entries().map(|entry| entry.len() + 1).sum::<usize>() + member.len() + 6;
        if text.len() + bytes > SERVER_BYTES_MAX {
            match kind {
                EntryKind::Tool => return None,
                EntryKind::Prompt | EntryKind::Resource | EntryKind::ResourceTemplate => continue,
            }
        }
        text.push_str(",\"");
        text.push_str(member);
        text.push_str("\":[");
        for (n, entry) in entries().enumerate() {
            if n > 0 {
                text.push(',');
            }
            text.push_str(entry);
        }
        text.push(']');
    }
    text.push('}');
    Some(RawJson::trusted(text.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{OnChange, Server, Settings};
    use crate::policy::pins::Pins;
    use crate::secret::Secret;

    const NOW: u64 = 1_800_000_000;

    fn spec(server: Server) -> ServerSpec {
        server.settle(&Settings::default(), 0).unwrap()
    }

    fn fingerprint(server: Server) -> Fingerprint {
        Fingerprint::of(&spec(server), "")
    }

    fn number(n: u64) -> Fingerprint {
        fingerprint(Server::stdio(format!("s{n}"), "a", [""; 0]))
    }

    fn definition(name: &str, says: &str) -> Definition {
        let definition = RawJson::from_value(&json!({"name": name, "description": says})).unwrap();
        Definition { name: name.to_owned(), definition }
    }

    fn offer(tools: &[&str]) -> Offer {
        let tools = tools.iter().map(|name| definition(name, "x")).collect();
        Offer { tools, ..Offer::default() }
    }

    fn looked(known: &KnownLists, fingerprint: Fingerprint, pinning: Option<&Pinning>) -> Option<Offer> {
        let server = ServerId::new("s").unwrap();
        known.offer(&fingerprint, &server, false, &LimitSettings::default(), pinning)
    }

    fn reread(known: &KnownLists, now: u64) -> KnownLists {
        KnownLists::read(&known.written(), now).unwrap()
    }

    #[test]
    fn what_is_kept_is_read_again_of_every_kind_and_with_real_names() {
        let listed = Offer {
            tools: [definition("a", "x"), definition("b", "x")].into(),
            prompts: [definition("ask", "x")].into(),
            reads: true,
            ..Offer::default()
        };
        let uri = |member: &str, uri: &str| Definition {
            name: uri.to_owned(),
            definition: RawJson::from_value(&json!({member: uri, "name": "n"})).unwrap(),
        };
        let listed = Offer {
            resources: [uri("uri", "file:///a")].into(),
            templates: [uri("uriTemplate", "file:///{a}")].into(),
            ..listed
        };
        let mut known = KnownLists::none([7; 32]);
        assert!(known.keep([(&number(1), &listed), (&number(2), &Offer::default())], NOW));
        let known = reread(&known, NOW);
        assert_eq!(looked(&known, number(1), None), Some(listed));
        assert_eq!(looked(&known, number(2), None), Some(Offer::default()), "it is known to have none");
        assert_eq!(looked(&known, number(3), None), None);
        assert_eq!(reread(&known, NOW), known);
        // A tool that goes by a legal name does so again.
        let mut odd = definition("files/read", "x");
        odd.name = "files_read".to_owned();
        let listed = Offer { tools: [odd].into(), ..Offer::default() };
        let mut known = KnownLists::none([7; 32]);
        known.keep([(&number(1), &listed)], NOW);
        assert_eq!(looked(&reread(&known, NOW), number(1), None), Some(listed));
    }

    #[test]
    fn a_description_is_what_a_server_is_started_with_and_no_credentials() {
        let base = || Server::stdio("s", "npx", ["-y", "server"]);
        let same = [
            base().env("A", "1"),
            base().env("A", "2"),
            base().env("A", "2").group("g").weight(3).tag("t").timeout(std::time::Duration::from_secs(1)),
        ];
        assert!(same.map(fingerprint).windows(2).all(|pair| pair[0] == pair[1]));
        let http = |url| Server::http("s", url).header("X-Key", "1");
        let others = [
            base(),
            base().env("A", "1"),
            base().cwd("/"),
            Server::stdio("s", "npx", ["-y", "server", ""]),
            Server::stdio("s", "npx", ["-yserver"]),
            Server::stdio("t", "npx", ["-y", "server"]),
            http("http://h/a"),
            http("http://h/b"),
            Server::http("s", "http://h/a"),
            Server::websocket("s", "ws://h/a"),
        ];
        let different: std::collections::BTreeSet<Fingerprint> = others.map(fingerprint).into();
        assert_eq!(different.len(), 10);
        let bearer = |token: &str| fingerprint(Server::http("s", "http://h").bearer(token));
        assert_eq!(bearer("one"), bearer("another"));
        let looked_up = |token: &str| {
            let mut server = Server::stdio("s", "npx", [format!("--key={token}")]);
            server.looked_up = vec![Secret::from(token), Secret::from("")];
            fingerprint(server)
        };
        assert_eq!(looked_up("one"), looked_up("another"));
        let custom = spec(Server::custom("s"));
        assert_ne!(Fingerprint::of(&custom, "a"), Fingerprint::of(&custom, "b"));
    }

    #[test]
    fn two_files_hash_one_description_to_different_keys_and_show_nothing_of_it() {
        let of = |salt| {
            let mut known = KnownLists::none([salt; 32]);
            known.keep(
                [(&fingerprint(Server::stdio("files", "npx", ["--key", "s3cr3t"])), &offer(&["a"]))],
                NOW,
            );
            known
        };
        let keys = |known: &KnownLists| known.servers.keys().cloned().collect::<Vec<_>>();
        assert_ne!(keys(&of(1)), keys(&of(2)));
        let text = String::from_utf8(of(1).written()).unwrap();
        assert!(!["files", "npx", "--key", "s3cr3t"].iter().any(|word| text.contains(word)), "{text}");
    }

    #[test]
    fn a_file_that_is_not_ours_is_told_from_one_that_is_broken() {
        let written = {
            let mut known = KnownLists::none([7; 32]);
            known.keep([(&number(1), &offer(&["a"]))], NOW);
            String::from_utf8(known.written()).unwrap()
        };
        let read = |text: &str| KnownLists::read(text.as_bytes(), NOW).unwrap_err();
        for foreign in ["{}", "[1]", "{\"mcpServers\":{}}", " {\"format\":\"mcp-troupe known lists\","] {
            assert_eq!(read(foreign), NotKnown::Foreign);
        }
        assert_eq!(read(&written.replace("\"version\":1", "\"version\":2")), NotKnown::Newer(2));
        let cut = &written[..written.len() - 20];
        let salt = written.replace("0707", "07z7");
        let deep = written.replace("[{", &"[".repeat(100_000));
        for broken in [
            "",
            "{",
            " \n",
            &written[..20],
            cut,
            &salt,
            &deep,
            &written.replace("\"at\"", "\"since\""),
            &written.replace("1,", "true,"),
        ] {
            let error = read(broken);
            assert!(matches!(error, NotKnown::Broken(_)) && error.may_be_replaced(), "{error}");
        }
        let mut bytes = written.into_bytes();
        let last = bytes.len() - 30;
        bytes[last] = 0xff;
        assert!(matches!(KnownLists::read(&bytes, NOW), Err(NotKnown::Broken(_))));
        assert!(!NotKnown::Foreign.may_be_replaced() && !NotKnown::Newer(2).may_be_replaced());
    }

    #[test]
    fn what_is_read_passes_the_checks_of_what_servers_send() {
        let mut known = KnownLists::none([7; 32]);
        known.keep([(&number(1), &offer(&["a", "b", "c"]))], NOW);
        let text = String::from_utf8(known.written()).unwrap();
        let text = text.replacen(r#""name":"b""#, r#""name":"a""#, 1).replacen(
            r#""name":"c""#,
            r#""name":"c\u0007""#,
            1,
        );
        let known = KnownLists::read(text.as_bytes(), NOW).unwrap();
        let names: Vec<_> =
            looked(&known, number(1), None).unwrap().tools.iter().map(|tool| tool.name.clone()).collect();
        assert_eq!(names, ["a"]);
        let limits = LimitSettings { tools_max: 2, ..LimitSettings::default() };
        let mut known = KnownLists::none([7; 32]);
        known.keep([(&number(1), &offer(&["a", "b", "c"]))], NOW);
        let few = known.offer(&number(1), &ServerId::new("s").unwrap(), false, &limits, None);
        assert_eq!(few.unwrap().tools.len(), 2);
    }

    #[test]
    fn a_tool_that_breaks_its_pin_is_left_out_and_one_that_was_blocked_is_kept() {
        let server = ServerId::new("s").unwrap();
        let pinned = [definition("a", "x"), definition("b", "x")];
        let pinning =
            |on_change| Pinning { pins: Pins::of([(&server, pinned.iter())].into_iter()), on_change };
        let listed = Offer {
            tools: [definition("a", "x")].into(),
            blocked: [definition("b", "changed")].into(),
            ..Offer::default()
        };
        let mut known = KnownLists::none([7; 32]);
        known.keep([(&number(1), &listed)], NOW);
        let names = |tools: &[Definition]| tools.iter().map(|tool| tool.name.clone()).collect::<Vec<_>>();
        let of = |on_change| {
            let offer = looked(&known, number(1), Some(&pinning(on_change))).unwrap();
            (names(&offer.tools), names(&offer.blocked))
        };
        let (a, b) = (vec!["a".to_owned()], vec!["b".to_owned()]);
        assert_eq!(of(OnChange::Block), (a.clone(), b));
        assert_eq!([of(OnChange::Warn), of(OnChange::Allow)], [(a.clone(), vec![]), (a, vec![])]);
        assert_eq!(looked(&known, number(1), None).unwrap().tools.len(), 2, "nothing is pinned any more");
    }

    #[test]
    fn what_is_the_same_makes_no_other_file_for_a_day() {
        let mut known = KnownLists::none([7; 32]);
        let lists = |tools: &[&str]| [(number(1), offer(tools))];
        let mut keep =
            |tools: &[&str], now| known.keep(lists(tools).iter().map(|(of, offer)| (of, offer)), now);
        assert!(keep(&["a"], NOW));
        assert!(!keep(&["a"], NOW + DAY - 1));
        assert!(keep(&["a"], NOW + DAY));
        assert!(keep(&["a", "b"], NOW + DAY));
        assert!(!keep(&["a", "b"], NOW), "a clock that goes back");
    }

    #[test]
    fn what_is_old_or_too_much_is_forgotten_the_oldest_first() {
        let mut known = KnownLists::none([7; 32]);
        known.keep([(&number(1), &offer(&["a"]))], NOW);
        known.keep([(&number(2), &offer(&["a"]))], NOW + AGE_MAX);
        assert!(looked(&reread(&known, NOW + AGE_MAX), number(1), None).is_some());
        assert!(looked(&reread(&known, NOW + AGE_MAX + 1), number(1), None).is_none());
        // A time that has yet to come is this one.
        assert!(looked(&reread(&reread(&known, NOW), NOW + AGE_MAX), number(2), None).is_some());
        for n in 0..SERVERS_MAX as u64 + 10 {
            known.keep([(&number(100 + n), &offer(&["a"]))], NOW + AGE_MAX + n);
        }
        assert_eq!(known.servers.len(), SERVERS_MAX);
        assert!(looked(&known, number(109), None).is_none() && looked(&known, number(110), None).is_some());
        // Large ones.
        let large =
            |bytes: usize| Offer { tools: [definition("a", &"x".repeat(bytes))].into(), ..Offer::default() };
        let mut known = KnownLists::none([7; 32]);
        for n in 0..20 {
            known.keep([(&number(n), &large(SERVER_BYTES_MAX - 200))], NOW + n);
        }
        assert!(
            known.written().len() <= FILE_BYTES_MAX && known.servers.len() >= 15,
            "{}",
            known.servers.len()
        );
        assert!(looked(&known, number(19), None).is_some() && looked(&known, number(0), None).is_none());
    }

    #[test]
    fn lists_beyond_their_room_are_not_kept_and_tools_matter_most() {
        let large = |kind: EntryKind| {
            let mut offer = offer(&["a"]);
            let text = "x".repeat(SERVER_BYTES_MAX);
            let definition = RawJson::from_value(&json!({"uri": "x:y", "name": "n", "d": text})).unwrap();
            *offer.of_mut(kind) = [Definition { name: "x:y".to_owned(), definition }].into();
            offer
        };
        let mut known = KnownLists::none([7; 32]);
        assert!(known.keep([(&number(1), &large(EntryKind::Resource))], NOW));
        let kept = looked(&reread(&known, NOW), number(1), None).unwrap();
        assert_eq!((kept.tools.len(), kept.resources.len()), (1, 0));
        assert!(
            known.keep([(&number(1), &large(EntryKind::Tool))], NOW),
            "what it listed before is no longer so"
        );
        assert!(looked(&known, number(1), None).is_none());
        assert!(!known.keep([(&number(1), &large(EntryKind::Tool))], NOW));
    }
}
