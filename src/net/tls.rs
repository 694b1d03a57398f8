//! How servers are verified and what is shown to them, by a cryptography provider of our own choice.
//!
//! Certificates may live for a day or an hour. So their files are looked at before a connection is opened, and read again when
//! one of them has changed: whoever renews them has nothing to tell. Connections that are open go on with what they began with.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::config::files::{self, PEM_BYTES_MAX, Stamp};
use crate::config::{TlsOptions, shown};
use crate::duration::later;

/// How long what was read is used without another look at the files: certificates that are renewed overlap for much longer.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// How long a new connection waits for such a look. A disk that takes longer is a network that hangs: what is known is used.
const LOOK_WAIT: Duration = Duration::from_secs(1);

/// The name of each file's key.
const CA_FILE: &str = "caFile";
const CERT_FILE: &str = "certFile";
const KEY_FILE: &str = "keyFile";

/// Why there is no TLS to a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TlsError {
    /// It cannot be set up.
    #[error("TLS: {0}")]
    Setup(String),
    /// A file that it needs cannot be used.
    #[error("{reason}")]
    File {
        /// The key in `tls` that names it.
        key: &'static str,
        /// What is wrong with it; never what is in it.
        reason: String,
    },
}

/// The TLS of one server: what its files said when they were last read. Its clones are one.
#[derive(Clone)]
pub(crate) struct Tls(Arc<Shared>);

struct Shared {
    options: TlsOptions,
    /// A snapshot for those who open connections. The one look that is under way replaces it.
    known: watch::Sender<Known>,
}

/// What is known of the files.
#[derive(Default)]
struct Known {
    config: Option<Arc<ClientConfig>>,
    /// Why there is none, from the last look.
    error: Option<TlsError>,
    /// The files as they were when they could be used.
    stamps: Stamps,
    /// When the next look may begin.
    look_at: Option<Instant>,
    /// One at a time: where the disk hangs it holds one thread, however often the server is dialled.
    looking: bool,
}

/// The states of the three files; none of one that is not named, or not there.
#[derive(Default, PartialEq, Eq)]
struct Stamps([Option<Stamp>; 3]);

impl Stamps {
    /// Asks the disk.
    fn of(TlsOptions { ca_file, cert_file, key_file }: &TlsOptions) -> Self {
        let stamp = |file: &Option<_>| files::stamp(file.as_deref()?).ok();
        Self([stamp(ca_file), stamp(cert_file), stamp(key_file)])
    }
}

impl Tls {
    /// The TLS that `options` describe. Files are read before the first connection, and not here.
    ///
    /// # Errors
    /// [`TlsError::Setup`] where it needs no file and cannot be set up.
    pub(crate) fn new(options: TlsOptions) -> Result<Self, TlsError> {
        let config = match options.is_default() {
            true => Some(Arc::new(config(&options)?)),
            false => None,
        };
        let known = Known { config, ..Known::default() };
        Ok(Self(Arc::new(Shared { options, known: watch::Sender::new(known) })))
    }

    /// What holds for a connection that is opened now.
    ///
    /// # Errors
    /// [`TlsError::File`] for a file that cannot be read or does not hold what it should, while none was right before.
    pub(crate) async fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let Self(shared) = self;
        if shared.options.is_default() {
            return shared.said();
        }
        let mut known = shared.known.subscribe();
        let (began, usable) = shared.look();
        let looked = async {
            // Its sender is here.
            let _ = known.wait_for(|known| !known.looking).await;
        };
        match (usable, began) {
            (true, false) => {}
            (true, true) => drop(timeout(LOOK_WAIT, looked).await),
            // Whoever dials sets the limit.
            (false, _) => looked.await,
        }
        shared.said()
    }
}

impl Shared {
    /// Begins to look at the files, if it is time and nobody does. Returns whether it began, and whether something is known.
    fn look(self: &Arc<Self>) -> (bool, bool) {
        let now = Instant::now();
        let (mut began, mut usable) = (false, false);
        self.known.send_if_modified(|known| {
            usable = known.config.is_some();
            // Without anything known the backoff of dials is the rate.
            began = !known.looking && (!usable || known.look_at.is_none_or(|at| at <= now));
            known.looking |= began;
            began
        });
        if began {
            let shared = self.clone();
            // It ends with the reading, and is not waited for: nobody can call a thread back from a disk.
            tokio::task::spawn_blocking(move || shared.read(now));
        }
        (began, usable)
    }

    /// Looks at the files, and reads them if one has changed.
    fn read(&self, now: Instant) {
        let _over = LookOver(self);
        let stamps = Stamps::of(&self.options);
        let same = {
            let known = self.known.borrow();
            known.config.is_some() && known.stamps == stamps
        };
        let read = (!same).then(|| config(&self.options));
        self.known.send_modify(|known| {
            known.look_at = Some(later(now, LOOK_INTERVAL));
            match read {
                None => {}
                Some(Ok(config)) => {
                    known.stamps = stamps;
                    known.config = Some(Arc::new(config));
                    known.error = None;
                }
                Some(Err(error)) => {
                    // A renewal may be half done: what was right before is used, and the files are read again by the next look.
                    if known.config.is_some() {
                        tracing::warn!(%error, "files for TLS changed and cannot be used; the former ones are");
                    }
                    known.error = Some(error);
                }
            }
        });
    }

    fn said(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let known = self.known.borrow();
        match (&known.config, &known.error) {
            (Some(config), _) => Ok(config.clone()),
            (None, Some(error)) => Err(error.clone()),
            (None, None) => Err(TlsError::Setup("its files were not read".to_owned())),
        }
    }
}

/// However a look ends, the next may begin.
struct LookOver<'a>(&'a Shared);

impl Drop for LookOver<'_> {
    fn drop(&mut self) {
        self.0.known.send_modify(|known| known.looking = false);
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.0.options).finish()
    }
}

/// A configuration that no file is read for.
impl From<ClientConfig> for Tls {
    fn from(config: ClientConfig) -> Self {
        let known = Known { config: Some(Arc::new(config)), ..Known::default() };
        Self(Arc::new(Shared { options: TlsOptions::default(), known: watch::Sender::new(known) }))
    }
}

/// The web's authorities, for all servers that name none of their own: some hundred of them, which nothing changes while the
/// process runs. Made when the first of them is described.
#[expect(
    clippy::disallowed_types,
    reason = "a constant that must be put together: nothing of a troupe is in it"
)]
static WEB: std::sync::LazyLock<Arc<RootCertStore>> = std::sync::LazyLock::new(|| {
    #[cfg(test)]
    tests::BUILT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Arc::new(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
});

/// Verifies servers against the authorities of `options`, else against the web's, and shows them its certificate. It waits for
/// the disk.
///
/// # Errors
/// [`TlsError::File`] for a file that cannot be read or does not hold what it should.
pub(crate) fn config(options: &TlsOptions) -> Result<ClientConfig, TlsError> {
    let roots = match &options.ca_file {
        Some(file) => Arc::new(authorities(file)?),
        None => WEB.clone(),
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(error.to_string()))?
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

fn wrong(key: &'static str, reason: impl ToString) -> TlsError {
    TlsError::File { key, reason: reason.to_string() }
}

fn authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (n, certificate) in certificates(CA_FILE, file)?.into_iter().enumerate() {
        let unusable =
            |error| wrong(CA_FILE, format!("{}, certificate {}: {error}", shown::path(file), n + 1));
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(roots)
}

fn certificates(key: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
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

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = files::read(file, PEM_BYTES_MAX).map_err(|error| wrong(KEY_FILE, error))?;
    // The parser's own words quote the file.
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        wrong(KEY_FILE, format!("{} holds no unencrypted private key in PEM", shown::path(file)))
    })
}

/// The cryptography that the host has installed for its process, such as one that is certified; ring, where it has installed none. So
/// no default of the process is needed, and none is touched.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()))
}

/// What is wrong with a session, in words. Who answers without TLS has no words for that.
pub(crate) fn words(error: &(dyn std::error::Error + 'static)) -> String {
    // An error of a socket has that of the session in it, and may have been put into another one.
    let mut inner = error;
    while let Some(next) = inner.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        inner = next;
    }
    match inner.downcast_ref() {
        Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
            "it does not speak TLS here: write http:// or ws:// in its URL".to_owned()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering};

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

    /// How often the web's authorities were put together.
    pub(crate) static BUILT: AtomicUsize = AtomicUsize::new(0);

    #[test]
    fn servers_that_name_no_authority_share_those_of_the_web() {
        let all: Vec<Tls> = (0..100).map(|_| Tls::new(TlsOptions::new()).expect("no files")).collect();
        let ours = Authority::new("ours");
        let (cert, key) = ours.client();
        config(&TlsOptions::new().client_certificate(cert, key))
            .expect("its own certificate, the web's authorities");
        assert_eq!(BUILT.load(Ordering::Relaxed), 1);
        assert!(Arc::strong_count(&WEB) > all.len(), "each has them");
    }

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
        pub(crate) fn new(name: &str) -> Self {
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

        pub(crate) fn file(&self) -> PathBuf {
            self.write("ca.pem", &pem("CERTIFICATE", self.der()))
        }

        fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
            let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate().expect("a key");
            (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
        }

        /// The files of a client's certificate and its key.
        pub(crate) fn client(&self) -> (PathBuf, PathBuf) {
            let (certificate, key) = self.issue("client", ExtendedKeyUsagePurpose::ClientAuth);
            let cert_file = self.write("client.pem", &pem("CERTIFICATE", certificate.der()));
            (cert_file, self.write("client.key", &pem("PRIVATE KEY", &key.serialize_der())))
        }

        /// The server `localhost`, speaking these protocols.
        pub(crate) fn acceptor(&self, clients: Clients, protocols: &[&[u8]]) -> TlsAcceptor {
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
            Err(TlsError::File { key, reason }) => (key, reason),
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

    /// Whether a server that asks for a certificate takes what `tls` has for it now.
    async fn is_welcome(tls: &Tls, acceptor: &TlsAcceptor) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let config = tls.config().await.expect("the files are right");
        let dialled = async {
            let stream = TcpStream::connect(address).await.expect("it listens");
            let name = "localhost".try_into().expect("a name");
            // Whether it is taken the server says after the client's last word.
            let mut session =
                tokio_rustls::TlsConnector::from(config).connect(name, stream).await.expect("ours");
            let _ = session.shutdown().await;
            let _ = session.read_to_end(&mut Vec::new()).await;
        };
        let accepted = async { accept(&listener, acceptor).await.is_some() };
        tokio::join!(dialled, accepted).1
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_that_was_renewed_is_shown_to_the_next_connection_but_looked_for_once_a_minute() {
        let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
        let acceptor = ours.acceptor(Clients::Certified, &[]);
        let (cert, key) = foreign.client();
        let options = TlsOptions::new().ca_file(ours.file()).client_certificate(&cert, &key);
        let tls = Tls::new(options).expect("no file is read yet");
        assert!(!is_welcome(&tls, &acceptor).await, "nobody vouches for it");
        let (renewed_cert, renewed_key) = ours.client();
        std::fs::copy(renewed_cert, &cert).expect("it is written");
        std::fs::copy(renewed_key, &key).expect("it is written");
        assert!(!is_welcome(&tls, &acceptor).await, "nobody has looked yet");
        tokio::time::advance(LOOK_INTERVAL).await;
        assert!(is_welcome(&tls, &acceptor).await, "it was renewed");
        let shown = tls.config().await.expect("the files are right");
        tokio::time::advance(LOOK_INTERVAL).await;
        let again = tls.config().await.expect("the files are right");
        assert!(Arc::ptr_eq(&shown, &again), "what has not changed is not read again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_is_half_done_leaves_the_former_certificate_in_force() {
        let ours = Authority::new("ours");
        let (cert, key) = ours.client();
        let tls = Tls::new(TlsOptions::new().client_certificate(&cert, &key)).expect("no file is read yet");
        let former = tls.config().await.expect("the files are right");
        let half = std::fs::read(&key).expect("it is there");
        let _ = ours.client();
        let whole = std::fs::read(&key).expect("it is there");
        std::fs::write(&key, half).expect("it is written");
        tokio::time::advance(LOOK_INTERVAL).await;
        assert!(Arc::ptr_eq(&former, &tls.config().await.expect("the former files")));
        std::fs::write(&key, whole).expect("it is written");
        tokio::time::advance(LOOK_INTERVAL).await;
        assert!(!Arc::ptr_eq(&former, &tls.config().await.expect("the files are right")));
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_were_never_right_are_read_again_by_the_next_dial() {
        let ours = Authority::new("ours");
        let file = ours.file();
        std::fs::remove_file(&file).expect("it was there");
        let tls = Tls::new(TlsOptions::new().ca_file(&file)).expect("no file is read yet");
        let missing = tls.config().await.expect_err("there is no file");
        assert!(matches!(missing, TlsError::File { key: CA_FILE, .. }), "{missing}");
        ours.file();
        tls.config().await.expect("there is one now");
    }
}
