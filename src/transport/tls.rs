//! How servers are verified and what is shown to them, by a cryptography provider of our own choice.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::DialError;
use crate::config::{TlsOptions, files, shown};

/// The largest file of certificates: all authorities of the web together are a quarter of it.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// The name of each file's key.
const CA_FILE: &str = "caFile";
const CERT_FILE: &str = "certFile";
const KEY_FILE: &str = "keyFile";

/// Verifies servers against the authorities of `options`, else against the web's, and shows them its certificate.
///
/// # Errors
/// [`DialError::TlsFile`] for a file that cannot be read or does not hold what it should.
pub(super) fn config(options: &TlsOptions) -> Result<ClientConfig, DialError> {
    let roots = match &options.ca_file {
        Some(file) => authorities(file)?,
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    // Named here, so that no process-wide default is needed or touched.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| DialError::Tls(error.to_string()))?
        .with_root_certificates(roots);
    let (Some(cert_file), Some(key_file)) = (&options.cert_file, &options.key_file) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(CERT_FILE, cert_file)?;
    let key = private_key(key_file)?;
    builder.with_client_auth_cert(chain, key).map_err(|error| {
        let words = match error {
            rustls::Error::InconsistentKeys(_) => {
                format!("{} is not the key of {}", shown::path(key_file), shown::path(cert_file))
            }
            // What else is wrong is a kind, never a part of the key.
            other => format!("{}: {other}", shown::path(key_file)),
        };
        wrong(KEY_FILE, words)
    })
}

fn wrong(key: &'static str, reason: impl ToString) -> DialError {
    DialError::TlsFile { key, reason: reason.to_string() }
}

fn authorities(file: &Path) -> Result<RootCertStore, DialError> {
    let mut roots = RootCertStore::empty();
    for (n, certificate) in certificates(CA_FILE, file)?.into_iter().enumerate() {
        let unusable =
            |error| wrong(CA_FILE, format!("{}, certificate {}: {error}", shown::path(file), n + 1));
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(roots)
}

fn certificates(key: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, DialError> {
    let pem = files::read(file, PEM_BYTES_MAX).map_err(|error| wrong(key, error))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err(wrong(key, format!("{} holds no certificate in PEM", shown::path(file))))
        }
        Ok(found) => Ok(found),
        // The parser's own words quote the file.
        Err(_) => Err(wrong(key, format!("{} is no well-formed PEM", shown::path(file)))),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, DialError> {
    let pem = files::read(file, PEM_BYTES_MAX).map_err(|error| wrong(KEY_FILE, error))?;
    // The parser's own words quote the file.
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        wrong(KEY_FILE, format!("{} holds no unencrypted private key in PEM", shown::path(file)))
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::PathBuf;

    use base64::Engine;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    };
    use rustls::ServerConfig;
    use rustls::server::WebPkiClientVerifier;
    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::server::TlsStream;

    use super::*;

    /// A certificate authority with a folder for what it makes.
    pub(crate) struct Authority {
        issuer: CertifiedIssuer<'static, KeyPair>,
        folder: TempDir,
    }

    /// Whether a server asks its clients for a certificate.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Clients {
        Any,
        Certified,
    }

    impl Authority {
        pub fn new(name: &str) -> Self {
            let mut params = CertificateParams::new(Vec::new()).expect("no names");
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().expect("a key");
            let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
            Self { issuer, folder: tempfile::tempdir().expect("a folder") }
        }

        fn der(&self) -> &CertificateDer<'static> {
            self.issuer.as_ref().der()
        }

        fn write(&self, name: &str, content: &str) -> PathBuf {
            let path = self.folder.path().join(name);
            std::fs::write(&path, content).expect("it is written");
            path
        }

        pub fn file(&self) -> PathBuf {
            self.write("ca.pem", &pem("CERTIFICATE", self.der()))
        }

        fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
            let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate().expect("a key");
            (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
        }

        /// The files of a client's certificate and its key.
        pub fn client(&self) -> (PathBuf, PathBuf) {
            let (certificate, key) = self.issue("client", ExtendedKeyUsagePurpose::ClientAuth);
            let cert_file = self.write("client.pem", &pem("CERTIFICATE", certificate.der()));
            (cert_file, self.write("client.key", &pem("PRIVATE KEY", &key.serialize_der())))
        }

        /// The server `localhost`, speaking these protocols.
        pub fn acceptor(&self, clients: Clients, protocols: &[&[u8]]) -> TlsAcceptor {
            let (certificate, key) = self.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth);
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let mut roots = RootCertStore::empty();
            roots.add(self.der().clone()).expect("an authority");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
            let builder = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("versions");
            let builder = match clients {
                Clients::Any => builder.with_no_client_auth(),
                Clients::Certified => {
                    builder.with_client_cert_verifier(verifier.build().expect("an authority"))
                }
            };
            let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
            let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).expect("a pair");
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            TlsAcceptor::from(Arc::new(config))
        }
    }

    /// Takes one client and gives its session. To one that it will not have it says so, and waits until that was read: a
    /// reset could overtake the alert.
    pub(crate) async fn accept(
        listener: &TcpListener,
        acceptor: &TlsAcceptor,
    ) -> Option<TlsStream<TcpStream>> {
        let (stream, _) = listener.accept().await.expect("a client");
        match acceptor.accept(stream).into_fallible().await {
            Ok(session) => Some(session),
            Err((_, mut stream)) => {
                // The client may be gone already.
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
                None
            }
        }
    }

    /// PEM by hand: rcgen's own would bring a crate along.
    fn pem(label: &str, der: &[u8]) -> String {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    }

    fn mistake(options: TlsOptions) -> (&'static str, String) {
        match config(&options) {
            Err(DialError::TlsFile { key, reason }) => (key, reason),
            other => panic!("no mistake: {:?}", other.map(|_| ())),
        }
    }

    #[test]
    fn each_wrong_file_is_told_by_its_key_and_path_and_without_its_content() {
        let authority = Authority::new("ours");
        let (cert, key) = authority.client();
        let ca = authority.file();
        let no_pem = authority.write("none.pem", "s3cr3t");
        let torn = authority.write("torn.pem", "-----BEGIN CERTIFICATE-----\ns3cr3t\n");
        let no_x509 = authority
            .write("garbage.pem", "-----BEGIN CERTIFICATE-----\nczNjcjN0\n-----END CERTIFICATE-----\n");
        let encrypted = authority.write(
            "encrypted.key",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nczNjcjN0\n-----END ENCRYPTED PRIVATE KEY-----\n",
        );
        let (_, foreign) = Authority::new("foreign").issue("client", ExtendedKeyUsagePurpose::ClientAuth);
        let foreign = authority.write("foreign.key", &pem("PRIVATE KEY", &foreign.serialize_der()));
        let tls = TlsOptions::new;
        let cases = [
            (tls().ca_file("/nowhere/ca.pem"), "caFile", "/nowhere/ca.pem"),
            (tls().ca_file(&no_pem), "caFile", "holds no certificate"),
            (tls().ca_file(&torn), "caFile", "no well-formed PEM"),
            (tls().ca_file(&no_x509), "caFile", "certificate 1"),
            (tls().ca_file(&ca).client_certificate(&no_pem, &key), "certFile", "holds no certificate"),
            (tls().client_certificate(&cert, &ca), "keyFile", "no unencrypted private key"),
            (tls().client_certificate(&cert, &encrypted), "keyFile", "no unencrypted private key"),
            (tls().client_certificate(&cert, &foreign), "keyFile", "foreign.key is not the key of"),
        ];
        for (options, key, words) in cases {
            let shown = format!("{options:?}");
            let (named, reason) = mistake(options);
            assert_eq!(named, key, "{shown}: {reason}");
            assert!(reason.contains(words) && !reason.contains("s3cr3t"), "{shown}: {reason}");
        }
        config(&tls().ca_file(&ca).client_certificate(&cert, &key)).expect("all is right");
    }
}
