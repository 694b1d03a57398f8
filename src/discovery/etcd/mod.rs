//! Servers in etcd: the keys under a prefix.
//!
//! ```text
//! get the prefix ──▶ answer ──▶ watch from the next revision ──events──▶ answer
//!       ▲                            │ compacted, or a minute passed
//!       └────────────────────────────┘
//! ```
//!
//! A key is the prefix and the server's id, its value a [`Record`]. Keys with a lease vanish when who put them is gone. Each get
//! is linearizable and each watch wants a leader: a member that lost its cluster fails instead of telling old news.

mod post;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use etcd_client::{
    Certificate, Client, ConnectOptions, Error, EventType, GetOptions, Identity, TlsOptions, WatchOptions,
    WatchResponse, WatchStream,
};
use futures_util::FutureExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Answer, BoxFuture, Next, RECORD_BYTES_MAX, Record, Skipped, Source, SourceError, Template, Tls, Watch,
};
use crate::config::files::{self, PEM_BYTES_MAX};
use crate::config::{Address, shown_endpoint};
use crate::duration::later;
use crate::id::ServerId;

pub(super) use post::EtcdPost;

/// How long a step with etcd may take: to connect, to get, to begin a watch.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection on which nothing was heard this long is asked for a sign of life, and is dead if none comes: half as often as
/// etcd tolerates.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The prefix is got anew this often: whatever a watch may have missed is mended then.
const GET_AGAIN: Duration = Duration::from_secs(60);

/// Keys under the prefix; a place with more is not one of servers.
const KEYS_MAX: usize = 10_000;

/// A source of servers in etcd (version 3 of its interface).
///
/// ```no_run
/// use mcp_troupe::Troupe;
/// use mcp_troupe::discovery::EtcdSource;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // $ etcdctl put /mcp/servers/files-1 '{"url": "ws://10.0.0.7:3000", "group": "files"}'
/// let etcd = EtcdSource::new(["http://127.0.0.1:2379"], "/mcp/servers/");
/// let troupe = Troupe::builder().source("etcd", etcd).start().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EtcdSource {
    endpoints: Vec<String>,
    prefix: String,
    pub(super) template: Template,
    user: Option<(String, String)>,
    tls: Option<Tls>,
}

impl EtcdSource {
    /// The keys under `prefix`, which is taken for a folder: it ends with `/`, said or not. The endpoints are those of one
    /// cluster, `http://…` or `https://…`.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>, prefix: impl Into<String>) -> Self {
        let mut prefix = prefix.into();
        if !prefix.ends_with('/') {
            prefix.push('/');
        }
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            prefix,
            template: Template::default(),
            user: None,
            tls: None,
        }
    }

    /// What is added to each record.
    #[must_use]
    pub fn template(mut self, template: Template) -> Self {
        self.template = template;
        self
    }

    /// Signs in as this user.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = Some((name.into(), password.into()));
        self
    }

    /// How the endpoints are reached over TLS, unless the authorities that browsers trust suffice.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Checks the endpoints. One that is wrong is told by its number: it may have a password in it.
    fn check(&self) -> Result<(), SourceError> {
        for (n, endpoint) in self.endpoints.iter().enumerate() {
            let wrong = |what: String| SourceError::NotFound(format!("endpoint {}: {what}", n + 1));
            // A host and a port alone are taken for those of an http:// address.
            let whole = match endpoint.contains("://") {
                true => endpoint.clone(),
                false => format!("http://{endpoint}"),
            };
            let address = Address::read(&whole).map_err(|error| wrong(error.to_string()))?;
            if !matches!(address.scheme, "http" | "https") {
                return Err(wrong("the URL does not begin with http:// or https://".to_owned()));
            }
            if address.has_user_info {
                return Err(wrong("it carries user info: say user and password beside it".to_owned()));
            }
        }
        Ok(())
    }

    /// Opens a connection and signs in.
    async fn connect(&self) -> Result<Client, SourceError> {
        self.check()?;
        let mut options = ConnectOptions::new()
            .with_connect_timeout(STEP_TIMEOUT)
            .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE_TIMEOUT)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true);
        if let Some((name, password)) = &self.user {
            options = options.with_user(name, password);
        }
        if self.endpoints.iter().any(|endpoint| endpoint.starts_with("https://")) {
            options = options.with_tls(tls(self.tls.as_ref()).await?);
        }
        self.step(Client::connect(&self.endpoints, Some(options))).await
    }

    /// The endpoints as they may be shown.
    fn shown(&self) -> Vec<String> {
        self.endpoints.iter().map(|endpoint| shown_endpoint(endpoint)).collect()
    }

    /// Waits for a step with etcd.
    async fn step<T>(&self, step: impl Future<Output = Result<T, Error>>) -> Result<T, SourceError> {
        match timeout(STEP_TIMEOUT, step).await {
            Ok(done) => done.map_err(|error| said(&error)),
            Err(_) => {
                let endpoints = self.shown().join(", ");
                Err(SourceError::Unreachable(format!("no answer from {endpoints} within {STEP_TIMEOUT:?}")))
            }
        }
    }
}

impl Source for EtcdSource {
    fn watch(&self) -> Box<dyn Watch> {
        Box::new(EtcdWatch { source: self.clone(), view: None })
    }

    fn place(&self) -> String {
        format!("etcd {} {}", self.shown().join(","), self.prefix)
    }
}

async fn tls(tls: Option<&Tls>) -> Result<TlsOptions, SourceError> {
    let Some(tls) = tls else { return Ok(TlsOptions::new().with_webpki_roots()) };
    // The library reads PEM itself.
    let options = tls.read(|named| {
        let text = |file: &Path| {
            files::read(file, PEM_BYTES_MAX).map_err(|error| SourceError::Refused(error.to_string()))
        };
        let options = match &named.ca_file {
            Some(file) => TlsOptions::new().ca_certificate(Certificate::from_pem(text(file)?)),
            None => TlsOptions::new().with_webpki_roots(),
        };
        Ok(match (&named.cert_file, &named.key_file) {
            (Some(cert), Some(key)) => options.identity(Identity::from_pem(text(cert)?, text(key)?)),
            (Some(_) | None, _) => options,
        })
    });
    let options = options.await?;
    Ok(match tls.name() {
        Some(name) => options.domain_name(name),
        None => options,
    })
}

/// What is under the prefix, kept current by a watch.
struct View {
    client: Client,
    stream: WatchStream,
    prefix_len: usize,
    /// By key, without the prefix.
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Up to which revision they are current.
    revision: i64,
    get_again_at: Instant,
}

struct EtcdWatch {
    source: EtcdSource,
    view: Option<View>,
}

impl Watch for EtcdWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<Answer, SourceError>> {
        Box::pin(async {
            match &mut self.view {
                None => {
                    let client = self.source.connect().await?;
                    self.view = Some(View::begin(&self.source, client).await?);
                }
                Some(view) => {
                    if view.wait().await? == Waited::GetAgain {
                        *view = View::begin(&self.source, view.client.clone()).await?;
                    }
                }
            }
            Ok(self.answer())
        })
    }
}

/// What waiting for a change came to.
#[derive(PartialEq)]
enum Waited {
    Changed,
    GetAgain,
}

impl View {
    /// Gets all there is and begins to watch what follows.
    async fn begin(source: &EtcdSource, mut client: Client) -> Result<Self, SourceError> {
        let limit = i64::try_from(KEYS_MAX + 1).unwrap_or(i64::MAX);
        let options = GetOptions::new().with_prefix().with_limit(limit);
        let mut got = source.step(client.get(source.prefix.as_str(), Some(options))).await?;
        let kvs = got.take_kvs();
        if kvs.len() > KEYS_MAX || got.more() {
            let reason = format!("there are more than {KEYS_MAX} keys under {}", source.prefix);
            return Err(SourceError::Unintelligible(reason));
        }
        let revision = got.header().map_or(0, |header| header.revision());
        let records = kvs.into_iter().map(|kv| {
            let (key, value) = kv.into_key_value();
            (key[source.prefix.len().min(key.len())..].to_vec(), kept(&value))
        });
        let options = WatchOptions::new().with_prefix().with_start_revision(revision + 1);
        let stream = source.step(client.watch(source.prefix.as_str(), Some(options))).await?;
        let get_again_at = later(Instant::now(), GET_AGAIN);
        let prefix_len = source.prefix.len();
        Ok(Self { client, stream, prefix_len, records: records.collect(), revision, get_again_at })
    }

    /// Waits until something has changed, or is to be got anew.
    async fn wait(&mut self) -> Result<Waited, SourceError> {
        loop {
            let Ok(message) = timeout_at(self.get_again_at, self.stream.message()).await else {
                return Ok(Waited::GetAgain);
            };
            let mut changed = match self.take(message)? {
                Some(Waited::GetAgain) => return Ok(Waited::GetAgain),
                Some(Waited::Changed) => true,
                None => false,
            };
            // What has come meanwhile goes into the same answer.
            while let Some(message) = self.stream.message().now_or_never() {
                match self.take(message)? {
                    Some(Waited::GetAgain) => return Ok(Waited::GetAgain),
                    Some(Waited::Changed) => changed = true,
                    None => {}
                }
            }
            if changed {
                return Ok(Waited::Changed);
            }
        }
    }

    /// Takes a message of the watch. None if it says nothing new.
    fn take(&mut self, message: Result<Option<WatchResponse>, Error>) -> Result<Option<Waited>, SourceError> {
        let Some(response) = message.map_err(|error| said(&error))? else {
            return Err(SourceError::Unreachable("the watch ended".to_owned()));
        };
        if response.canceled() {
            // What lies between is gone: only a get tells what there is.
            if response.compact_revision() > 0 {
                return Ok(Some(Waited::GetAgain));
            }
            let reason = format!("the watch was cancelled: {}", response.cancel_reason());
            return Err(SourceError::Unavailable(reason));
        }
        let prefix = self.prefix_len;
        let mut changed = None;
        for event in response.events() {
            let Some(kv) = event.kv().filter(|kv| kv.mod_revision() > self.revision) else { continue };
            let key = kv.key()[prefix.min(kv.key().len())..].to_vec();
            match event.event_type() {
                EventType::Put => self.records.insert(key, kept(kv.value())),
                EventType::Delete => self.records.remove(&key),
            };
            changed = Some(Waited::Changed);
        }
        if self.records.len() > KEYS_MAX {
            return Err(SourceError::Unintelligible(format!("there are more than {KEYS_MAX} keys")));
        }
        Ok(changed)
    }
}

/// As much of a value as tells whether it is a record.
fn kept(value: &[u8]) -> Vec<u8> {
    value[..value.len().min(RECORD_BYTES_MAX + 1)].to_vec()
}

impl EtcdWatch {
    fn answer(&self) -> Answer {
        let within = GET_AGAIN.saturating_add(STEP_TIMEOUT);
        let mut answer = Answer::of(Vec::<crate::Server>::new(), Next::OnChange { within });
        for (key, value) in self.view.iter().flat_map(|view| &view.records) {
            let id = String::from_utf8_lossy(key);
            match Record::parse(value).and_then(|record| self.source.template.found(&id, record)) {
                Ok(found) => answer.servers.push(found),
                Err(error) => answer.skipped.push(Skipped {
                    record: format!("{}{id}", self.source.prefix),
                    server: ServerId::new(&id).ok(),
                    reason: error.to_string(),
                }),
            }
        }
        answer
    }
}

/// What an error of etcd's means.
fn said(error: &Error) -> SourceError {
    let Error::GRpcStatus(status) = error else {
        return match error {
            Error::InvalidArgs(_) | Error::InvalidUri(_) => SourceError::NotFound(error.to_string()),
            _ => SourceError::Unreachable(error.to_string()),
        };
    };
    let message = status.message();
    if !message.starts_with("etcdserver:") {
        // The transport's own words: etcd never saw the request, or its answer was lost.
        return SourceError::Unreachable(with_cause(status));
    }
    // By number, since their type is of another crate: the codes of gRPC do not change.
    const INVALID_ARGUMENT: i32 = 3;
    const PERMISSION_DENIED: i32 = 7;
    const FAILED_PRECONDITION: i32 = 9;
    const UNAUTHENTICATED: i32 = 16;
    match i32::from(status.code()) {
        // The first and the third: a missing user, a wrong password, and a user where there are none.
        INVALID_ARGUMENT | PERMISSION_DENIED | FAILED_PRECONDITION | UNAUTHENTICATED => {
            SourceError::Refused(message.to_owned())
        }
        _ => SourceError::Unavailable(message.to_owned()),
    }
}

/// An error with what caused it: a transport says "transport error", and its cause that the connection was refused.
fn with_cause(error: &dyn std::error::Error) -> String {
    let mut words = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if words.last() != Some(&text) {
            words.push(text);
        }
        cause = error.source();
    }
    if words.is_empty() { error.to_string() } else { words.join(": ") }
}
