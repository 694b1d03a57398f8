//! How servers are verified: against the web's root certificates, by a provider of our own choice.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::DialError;

/// Verifies servers against the web's root certificates.
pub(super) fn config() -> Result<ClientConfig, DialError> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    // Named here, so that no process-wide default is needed or touched.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| DialError::Tls(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
