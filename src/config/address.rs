//! URLs as people write them: where their host begins and ends, and how much of them may be shown.
//!
//! Tokens live everywhere in a URL but in its scheme and host: in the user info, the query, the fragment, and in the path of
//! services that give each customer a path of its own. So a URL is shown as `https://host:port/first/…`. That is only safe where
//! nobody can doubt which part is the host: a password with a `/` in it ends the host of `https://user:pass/word@host` early.
//! What can be read in two ways is refused, and none of it is shown.

use super::shown::HIDDEN;

/// The fragment of a URL whose path is not shown at all: parts of it were looked up, and may be secrets. Fragments stay with the
/// client, so it is sent nowhere.
const PATH_IS_HIDDEN: &str = "#path-is-hidden";

/// The longest segment of a path that is shown. People's names for places are short; identifiers and tokens are not.
const SEGMENT_CHARS_MAX: usize = 24;

/// Why a text is no URL that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("the URL is empty")]
    Empty,
    #[error("the URL has no scheme before a ://")]
    NoScheme,
    #[error("the URL names no host")]
    NoHost,
    #[error(
        "the URL is invalid: its host has other characters than letters, digits, '.', '-' and '_' (write an international name \
         as xn--…), or its port is no number up to 65535; put credentials into headers"
    )]
    WrongHost,
    /// It may be a password: none of it is told.
    #[error(
        "the URL is invalid: what stands behind the colon after its host is no port, a number up to 65535; put credentials into \
         headers"
    )]
    WrongPort,
    /// It may be a password: none of it is told.
    #[error("the URL is invalid: its port is larger than 65535")]
    LargePort,
    /// It may be the end of user info that has a `/`, `?` or `#` in it.
    #[error(
        "the URL is ambiguous: an @ behind its host may end a user info: put credentials into headers, and write any other @ as %40"
    )]
    Ambiguous,
}

/// The parts of a URL whose host is beyond doubt.
#[derive(Clone, Copy)]
pub(crate) struct Address<'u> {
    pub scheme: &'u str,
    /// Its host and port.
    pub host: &'u str,
    /// Whether there is user info before the host.
    #[cfg_attr(
        not(any(feature = "http", feature = "websocket", feature = "etcd")),
        expect(dead_code, reason = "without a network nobody asks")
    )]
    pub has_user_info: bool,
    /// What is behind the host, without query and fragment.
    path: &'u str,
}

impl<'u> Address<'u> {
    /// Finds the parts of a URL.
    pub(crate) fn read(url: &'u str) -> Result<Self, AddressError> {
        if url.is_empty() {
            return Err(AddressError::Empty);
        }
        let (scheme, rest) = url.split_once("://").ok_or(AddressError::NoScheme)?;
        let of_scheme = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(of_scheme) {
            return Err(AddressError::NoScheme);
        }
        let (authority, behind) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (has_user_info, host) =
            authority.rsplit_once('@').map_or((false, authority), |(_, host)| (true, host));
        if host.is_empty() {
            return Err(AddressError::NoHost);
        }
        if !is_host(host) {
            return Err(wrong_host(host));
        }
        let path = &behind[..behind.find(['?', '#']).unwrap_or(behind.len())];
        if behind.match_indices('@').any(|(at, _)| !is_scope(host, path, at)) {
            return Err(AddressError::Ambiguous);
        }
        Ok(Self { scheme, host, has_user_info, path })
    }
}

/// Whether an @ in a path begins a name, as in `/@scope/server`: so some registries of servers write their paths. The host
/// before it is surely one, and the name behind it is none of a host.
fn is_scope(host: &str, path: &str, at: usize) -> bool {
    let sure = host.contains('.') || host.starts_with("localhost") || host.starts_with('[');
    let Some((before, behind)) = path.split_at_checked(at) else { return false };
    let name = behind[1..].split('/').next().unwrap_or_default();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    sure && before.ends_with('/') && !name.is_empty() && name.bytes().all(plain)
}

/// Whether this is a host, with a port or without.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, "")) => return ip.parse::<std::net::Ipv6Addr>().is_ok(),
        Some((ip, port)) => match port.strip_prefix(':') {
            Some(port) => return ip.parse::<std::net::Ipv6Addr>().is_ok() && port.parse::<u16>().is_ok(),
            None => return false,
        },
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !name.is_empty() && name.bytes().all(plain) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Whether this would be a URL with a scheme before it: it begins with a host that nobody takes for anything else.
pub(super) fn begins_with_host(text: &str) -> bool {
    let host = text.split(['/', '?', '#']).next().unwrap_or_default();
    is_host(host) && (host.contains(['.', ':']) || host == "localhost")
}

/// What is wrong with something that is no host.
fn wrong_host(text: &str) -> AddressError {
    match text.rsplit_once(':').filter(|(host, _)| is_host(&format!("{host}:0"))) {
        None => AddressError::WrongHost,
        Some((_, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            AddressError::LargePort
        }
        Some(_) => AddressError::WrongPort,
    }
}

/// The same URL, of whose path nothing is shown.
pub(super) fn without_path(mut url: String) -> String {
    url.truncate(url.find('#').unwrap_or(url.len()));
    url + PATH_IS_HIDDEN
}

/// As much of a URL as may be shown; of one that cannot be read, nothing.
pub(crate) fn shown(url: &str) -> String {
    match Address::read(url) {
        Ok(Address { scheme, host, path, .. }) if url.ends_with(PATH_IS_HIDDEN) => {
            let path = if path.len() > 1 { format!("/{HIDDEN}") } else { path.to_owned() };
            format!("{scheme}://{host}{path}")
        }
        Ok(Address { scheme, host, path, .. }) => format!("{scheme}://{host}{}", shown_path(path)),
        Err(_) => HIDDEN.to_owned(),
    }
}

/// The same for where a server points to, which may be a path on its own host.
#[cfg(feature = "http")]
pub(crate) fn shown_location(location: &str) -> String {
    match location.strip_prefix('/') {
        Some(rest) if !rest.starts_with('/') => {
            shown_path(location.split(['?', '#']).next().unwrap_or_default())
        }
        Some(_) | None => shown(location),
    }
}

/// The same for an endpoint of a directory, which may be a host and a port alone.
pub(crate) fn shown_endpoint(endpoint: &str) -> String {
    match is_host(endpoint) {
        true => endpoint.to_owned(),
        false => shown(endpoint),
    }
}

/// A path, with all behind its first segment cut off.
fn shown_path(path: &str) -> String {
    let Some(path) = path.strip_prefix('/') else { return String::new() };
    let (first, rest) = path.split_once('/').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '@');
    let kept = &first[..first.find(|c| !plain(c)).unwrap_or(first.len())];
    match (kept.chars().count() <= SEGMENT_CHARS_MAX, kept == first, rest) {
        (false, _, _) => format!("/{HIDDEN}"),
        (true, true, None) => format!("/{first}"),
        (true, true, Some("")) if !first.is_empty() => format!("/{first}/"),
        (true, true, Some(_)) if !first.is_empty() => format!("/{first}/{HIDDEN}"),
        (true, _, _) => format!("/{kept}{HIDDEN}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_url_is_shown_up_to_the_first_segment_of_its_path() {
        for (url, told) in [
            ("https://h", "https://h"),
            ("https://h/", "https://h/"),
            ("https://h:8443/mcp?key=s3cret#s3cret", "https://h:8443/mcp"),
            ("https://h/mcp/", "https://h/mcp/"),
            ("https://h/api/mcp/s/s3cret/mcp", "https://h/api/…"),
            ("https://h/mcp;key=s3cret", "https://h/mcp…"),
            ("https://h/mcp%2Fs3cret/x", "https://h/mcp…"),
            ("https://h//s3cret", "https://h/…"),
            ("https://h/s3crets3crets3crets3cret0/mcp", "https://h/…"),
            ("https://a.example/@scope/server/mcp", "https://a.example/@scope/…"),
            ("wss://alice:s3cret@h:1/mcp", "wss://h:1/mcp"),
            ("wss://alice:s3@cret@[::1]:1/mcp", "wss://[::1]:1/mcp"),
        ] {
            assert_eq!(shown(url), told, "{url}");
        }
    }

    #[test]
    fn of_a_path_with_parts_that_were_looked_up_nothing_is_shown() {
        for (url, told) in [
            ("https://h/s3cret", "https://h/…"),
            ("https://h/mcp/s3cret?s3cret#s3cret", "https://h/…"),
            ("https://h/", "https://h/"),
            ("https://h", "https://h"),
        ] {
            assert_eq!(shown(&without_path(url.to_owned())), told, "{url}");
        }
    }

    #[cfg(feature = "http")]
    #[test]
    fn where_a_server_points_to_may_be_a_path_alone() {
        for (location, told) in [
            ("/login?s3cret", "/login"),
            ("/login/s3cret", "/login/…"),
            ("//alice:s3cret@h/mcp", HIDDEN),
            ("https://h/login?s3cret", "https://h/login"),
            ("login/s3cret", HIDDEN),
        ] {
            assert_eq!(shown_location(location), told, "{location}");
        }
    }

    #[test]
    fn a_url_that_can_be_read_in_two_ways_is_refused_and_not_shown() {
        use AddressError::{Ambiguous, Empty, LargePort, NoHost, NoScheme, WrongHost, WrongPort};
        for (url, reason) in [
            ("", Empty),
            ("alice:s3cret@host/mcp", NoScheme),
            ("https:/alice:s3cret@host/mcp", NoScheme),
            ("https:alice:s3cret@host/mcp", NoScheme),
            ("https;//alice:s3cret@host/mcp", NoScheme),
            (r"https:\\alice:s3cret@host\mcp", NoScheme),
            (" https://alice:s3cret@host/mcp", NoScheme),
            ("alice:s3cret@https://host/mcp", NoScheme),
            ("/s3cret@host/mcp", NoScheme),
            ("//alice:s3cret@host/mcp", NoScheme),
            ("https://", NoHost),
            ("https://alice:s3cret@/mcp", NoHost),
            ("https://alice:s3/cret@host/mcp", WrongPort),
            ("https://alice:s3?cret@host/mcp", WrongPort),
            ("https://alice:s3#cret@host/mcp", WrongPort),
            (r"https://alice:s3\cret@host\mcp", WrongHost),
            ("https://host:s3cret/mcp", WrongPort),
            ("https://host:/mcp", WrongPort),
            ("https://[::1]:s3cret/mcp", WrongPort),
            ("https://host:-1/s3cret", WrongPort),
            ("https://host:s3cret:443/mcp", WrongHost),
            ("https://host:65536/s3cret", LargePort),
            ("https://h ost/s3cret", WrongHost),
            ("https://alice:12/34@host/mcp", Ambiguous),
            ("https://s3/cret@host/mcp", Ambiguous),
            ("https://s3?cret@host/mcp", Ambiguous),
            ("https://s3#cret@host/mcp", Ambiguous),
            ("https://alice:12/@34@host/mcp", Ambiguous),
            ("https://s3cret/@host/mcp", Ambiguous),
            ("https://s3.cret/@host.example/mcp", Ambiguous),
        ] {
            assert_eq!(Address::read(url).err(), Some(reason), "{url}");
            assert_eq!(shown(url), HIDDEN, "{url}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(url in "\\PC*", path in "[/@?#:.a-z%é]*") {
            let _ = (shown(&url), shown(&format!("https://{path}")), shown(&format!("https://h/{path}")));
        }

        /// Whatever a password has in it, and however the scheme before it is misspelt.
        #[test]
        fn no_user_info_is_shown(
            scheme in "https?(://|:/|:|//|:\\\\\\\\|;//|)",
            before in "[a-z0-9/?#@:.]{0,4}", after in "[a-z0-9/?#:.]{0,4}",
        ) {
            let url = format!("{scheme}alice:{before}S3CRET{after}@host/mcp");
            prop_assert!(!shown(&url).contains("S3CRET"), "{}: {}", url, shown(&url));
        }
    }
}
