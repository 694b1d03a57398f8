//! How a directory is reached over TLS.

use std::fmt;
use std::path::{Path, PathBuf};

use super::SourceError;
use crate::config::files::{self, PEM_BYTES_MAX};
use crate::config::shown;

/// TLS to a directory: whom to trust, and who we are.
///
/// Files are read whenever a watch begins, so that certificates may be renewed while the troupe plays.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tls {
    authority: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
    name: Option<String>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |file: &Path| shown::path(file).into_owned();
        let identity = self.identity.as_ref().map(|(certificate, key)| (shown(certificate), shown(key)));
        f.debug_struct("Tls")
            .field("authority", &self.authority.as_deref().map(shown))
            .field("identity", &identity)
            .field("name", &self.name)
            .finish()
    }
}

/// The texts of the files.
pub(super) struct Material {
    pub authority: Option<Vec<u8>>,
    /// Certificate and key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    #[cfg(feature = "etcd")]
    pub name: Option<String>,
}

impl Tls {
    /// The authorities that browsers trust, and no certificate of our own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the authorities in this PEM file, and no others.
    #[must_use]
    pub fn authority(mut self, pem: impl Into<PathBuf>) -> Self {
        self.authority = Some(pem.into());
        self
    }

    /// Shows the certificate in this PEM file, whose key is in the other.
    #[must_use]
    pub fn identity(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.identity = Some((certificate.into(), key.into()));
        self
    }

    /// Expects a certificate for this name instead of the host's.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The name that is expected.
    #[cfg(feature = "consul")]
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Reads the files.
    pub(super) async fn read(&self) -> Result<Material, SourceError> {
        let this = self.clone();
        let read = files::aside(move || {
            Ok(Material {
                authority: this.authority.as_deref().map(text).transpose()?,
                identity: match &this.identity {
                    Some((certificate, key)) => Some((text(certificate)?, text(key)?)),
                    None => None,
                },
                #[cfg(feature = "etcd")]
                name: this.name,
            })
        });
        // It is aborted where the runtime ends.
        read.await.unwrap_or(Err(SourceError::Ended))
    }
}

fn text(path: &Path) -> Result<Vec<u8>, SourceError> {
    files::read(path, PEM_BYTES_MAX).map_err(|error| SourceError::Refused(error.to_string()))
}
