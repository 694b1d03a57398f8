//! Whom a server's certificate is checked against, and the certificate of our own that it may ask for.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use super::{ConfigError, shown};

/// TLS of one server, for `wss` and `https`. The files are PEM. They are read when the server is registered, replaced or
/// applied, which tells what is wrong with them, and looked at again before a connection is opened, at most once a minute: those
/// that have changed are read anew, and hold for connections that are opened from then on. So certificates may be as short-lived
/// as they like. Open connections go on with what they began with. Files that have changed and cannot be used leave the former
/// ones in force, and a warning in the log.
///
/// ```
/// use mcp_troupe::Server;
/// use mcp_troupe::config::TlsOptions;
///
/// let tls = TlsOptions::new().ca_file("ca.pem").client_certificate("client.pem", "client.key");
/// let server = Server::http("db", "https://db.internal/mcp").tls(tls);
/// # drop(server);
/// ```
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct TlsOptions {
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) cert_file: Option<PathBuf>,
    pub(crate) key_file: Option<PathBuf>,
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |file: &Option<PathBuf>| file.as_deref().map(|file| shown::path(file).into_owned());
        f.debug_struct("TlsOptions")
            .field("ca_file", &shown(&self.ca_file))
            .field("cert_file", &shown(&self.cert_file))
            .field("key_file", &shown(&self.key_file))
            .finish()
    }
}

impl TlsOptions {
    /// The web's certificate authorities, and no certificate of our own.
    pub fn new() -> Self {
        Self::default()
    }

    /// The certificate authorities that may vouch for the server, one or several, *instead of* the web's: no other can
    /// pass off somebody else as it.
    #[must_use]
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// The certificate that is shown to a server that asks for one (mutual TLS), with what it needs of its chain, and its
    /// unencrypted private key.
    #[must_use]
    pub fn client_certificate(mut self, cert_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        self.cert_file = Some(cert_file.into());
        self.key_file = Some(key_file.into());
        self
    }

    /// Whether it says nothing.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Checks what can be seen without reading the files.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let alone = |key, other| {
            Err(ConfigError::new(key, format!("is missing: {other} is given, and they belong together")))
        };
        match (&self.cert_file, &self.key_file) {
            (Some(_), None) => alone("keyFile", "certFile"),
            (None, Some(_)) => alone("certFile", "keyFile"),
            (Some(_), Some(_)) | (None, None) => Ok(()),
        }
    }
}
