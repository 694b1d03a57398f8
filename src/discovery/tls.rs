//! How a directory is reached over TLS.

use std::fmt;
use std::path::PathBuf;

use super::SourceError;
use crate::config::{TlsOptions, files};

/// TLS to a directory: whom to trust, and who we are.
///
/// Files are read whenever a watch begins, so that certificates may be renewed while the troupe plays.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tls {
    files: TlsOptions,
    name: Option<String>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).field("name", &self.name).finish()
    }
}

impl Tls {
    /// The authorities that browsers trust, and no certificate of our own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the authorities in this PEM file, and no others.
    #[must_use]
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.files = self.files.ca_file(file);
        self
    }

    /// Shows the certificate in this PEM file, whose key is in the other.
    #[must_use]
    pub fn client_certificate(mut self, cert_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        self.files = self.files.client_certificate(cert_file, key_file);
        self
    }

    /// Expects a certificate for this name instead of the host's.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The former name of [`ca_file`](Self::ca_file).
    #[must_use]
    #[deprecated(note = "is called `ca_file`")]
    pub fn authority(self, pem: impl Into<PathBuf>) -> Self {
        self.ca_file(pem)
    }

    /// The former name of [`client_certificate`](Self::client_certificate).
    #[must_use]
    #[deprecated(note = "is called `client_certificate`")]
    pub fn identity(self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.client_certificate(certificate, key)
    }

    /// The name that is expected.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Reads the files aside, by `read`.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&TlsOptions) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let files = self.files.clone();
        // It is aborted where the runtime ends.
        files::aside(move || read(&files)).await.unwrap_or(Err(SourceError::Ended))
    }
}
