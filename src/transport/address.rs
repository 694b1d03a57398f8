//! Where a server is and what is sent along to it, checked and without showing what may be secret.

use http::Uri;
use http::header::{HeaderName, HeaderValue};

use super::DialError;
use crate::config::{Address, AddressError, shown, shown_url};
use crate::secret::Secret;

fn invalid(reason: String) -> DialError {
    DialError::InvalidEndpoint { reason }
}

fn invalid_header(reason: String) -> DialError {
    DialError::InvalidHeader { reason }
}

/// Reads a URL of one of two schemes, with a host and without user info. What is wrong with one that can be read in several
/// ways is told without it.
pub(super) fn parse(url: &str, schemes: [&str; 2]) -> Result<Uri, DialError> {
    let [one, other] = schemes;
    let address = Address::read(url).map_err(|error| match error {
        AddressError::NoScheme => invalid(format!("the URL does not begin with {one}:// or {other}://")),
        _ => invalid(error.to_string()),
    })?;
    let safe = shown_url(url);
    // Its words name no part of the text.
    let uri: Uri = url.parse().map_err(|error| invalid(format!("{safe}: {error}")))?;
    if !uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme)) {
        return Err(invalid(format!("{safe} does not begin with {one}:// or {other}://")));
    }
    if address.has_user_info {
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
            .map_err(|_| invalid_header(format!("{:?} is no header name", shown::name(name))))?;
        if reserved.contains(&header.as_str()) {
            return Err(invalid_header(format!("the header {header} is set by {owner}")));
        }
        let mut value = HeaderValue::try_from(value.expose())
            .map_err(|_| invalid_header(format!("the value of header {header} has forbidden characters")))?;
        value.set_sensitive(true);
        headers.push((header, value));
    }
    Ok(headers)
}
