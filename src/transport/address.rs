//! Where a server is and what is sent along to it, checked and without showing what may be secret.

use http::Uri;
use http::header::{HeaderName, HeaderValue};

use super::DialError;
use crate::secret::Secret;

/// A URL without what may be secret.
pub(super) fn shown(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    match plain.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => plain.to_owned(),
    }
}

fn invalid(reason: String) -> DialError {
    DialError::InvalidEndpoint { reason }
}

/// Reads a URL of one of two schemes, with a host and without user info.
pub(super) fn parse(url: &str, schemes: [&str; 2]) -> Result<Uri, DialError> {
    let safe = shown(url);
    let uri: Uri = url.parse().map_err(|error| invalid(format!("{safe}: {error}")))?;
    if !uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme)) {
        let [one, other] = schemes;
        return Err(invalid(format!("{safe} does not begin with {one}:// or {other}://")));
    }
    let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty()) else {
        return Err(invalid(format!("{safe} names no host")));
    };
    if authority.as_str().contains('@') {
        return Err(invalid(format!(
            "{safe} carries user info: put credentials into an Authorization header"
        )));
    }
    Ok(uri)
}

/// Reads the operator's headers; those that are `reserved` are set by `owner`.
pub(super) fn headers(
    written: &[(String, Secret)],
    reserved: &[&str],
    owner: &str,
) -> Result<Vec<(HeaderName, HeaderValue)>, DialError> {
    let mut headers = Vec::with_capacity(written.len());
    for (name, value) in written {
        let header = HeaderName::try_from(name.as_str())
            .map_err(|_| invalid(format!("{name:?} is no header name")))?;
        if reserved.contains(&header.as_str()) {
            return Err(invalid(format!("the header {header} is set by {owner}")));
        }
        let mut value = HeaderValue::try_from(value.expose())
            .map_err(|_| invalid(format!("the value of header {header} has forbidden characters")))?;
        value.set_sensitive(true);
        headers.push((header, value));
    }
    Ok(headers)
}
