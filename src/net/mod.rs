//! What everything that speaks over the network shares: TLS, and what is at the bottom of an error.

pub(crate) mod tls;

use std::error::Error;

/// What is at the bottom of an error: what is above only says that something went wrong.
#[cfg(feature = "http")]
pub(crate) fn root_of(error: &(dyn Error + 'static)) -> String {
    let mut root = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    tls::words(root)
}
