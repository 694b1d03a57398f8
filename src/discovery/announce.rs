//! A server that is announced in a directory for as long as it is there.
//!
//! An announcement ends by itself when nobody keeps it up: the directory removes it after its time to live. One that was lost,
//! as with a directory that lost its data, is made anew.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

#[cfg(feature = "consul")]
use super::{ConsulSource, consul::ConsulPost};
#[cfg(feature = "etcd")]
use super::{EtcdSource, etcd::EtcdPost};
use super::{Record, SourceError, named};
use crate::config::{BackoffSettings, ConfigError, Place, SourceConfig};
use crate::policy::backoff::Backoff;

/// The shortest time to live: directories count in seconds, and a beat must fit into it twice.
const TTL_MIN: Duration = Duration::from_secs(3);

/// The longest time to live. For so long a server that died without a word would be found and tried.
const TTL_MAX: Duration = Duration::from_secs(24 * 3600);

/// Beats within the time to live: two may be lost.
const BEATS: u32 = 3;

/// What becomes of an announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnnouncementNews {
    /// The directory has it.
    Made,
    /// The directory may have lost it; it is made again.
    Lost {
        /// Why.
        error: SourceError,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// It was taken away, in the end.
    Withdrawn,
    /// It could not be taken away; it ends by itself after its time to live.
    Left(SourceError),
}

/// A server to announce.
///
#[cfg_attr(feature = "etcd", doc = "```no_run")]
#[cfg_attr(not(feature = "etcd"), doc = "```ignore")]
/// use std::time::Duration;
///
/// use mcp_troupe::discovery::{Announcement, EtcdSource, Record};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let etcd = EtcdSource::new(["http://127.0.0.1:2379"], "/mcp/servers/");
/// let record = Record::at("ws://10.0.0.7:3000");
/// let announcement = Announcement::in_etcd(etcd, "files-1", record, Duration::from_secs(10))?;
/// let until = std::future::pending(); // such as the end of the server
/// announcement.keep(until, |news| println!("{news:?}")).await;
/// # Ok(())
/// # }
/// ```
pub struct Announcement {
    directory: Directory,
    id: String,
    record: Record,
    ttl: Duration,
}

/// Where it is announced.
enum Directory {
    #[cfg(feature = "consul")]
    Consul(ConsulSource),
    #[cfg(feature = "etcd")]
    Etcd(EtcdSource),
}

/// A way to announce a server, and to take away what was announced.
enum Post {
    #[cfg(feature = "consul")]
    Consul(ConsulPost),
    #[cfg(feature = "etcd")]
    Etcd(Box<EtcdPost>),
}

impl Directory {
    /// Opens the way. Nothing is announced by that.
    #[cfg_attr(
        not(all(feature = "consul", feature = "etcd")),
        expect(unused_variables, reason = "each directory knows a post by one of them")
    )]
    async fn open(&self, id: &str, lease: i64) -> Result<Post, SourceError> {
        match self {
            #[cfg(feature = "consul")]
            Self::Consul(consul) => ConsulPost::open(consul, id).await.map(Post::Consul),
            #[cfg(feature = "etcd")]
            Self::Etcd(etcd) => Ok(Post::Etcd(Box::new(EtcdPost::open(etcd, lease).await?))),
        }
    }

    /// Announces the server. From the first moment on the directory may have it, whatever this comes to.
    #[cfg_attr(not(feature = "etcd"), expect(unused_variables, reason = "a way to Consul knows the id"))]
    async fn put(
        &self,
        post: &mut Post,
        id: &str,
        record: &Record,
        ttl: Duration,
    ) -> Result<(), SourceError> {
        match (self, post) {
            #[cfg(feature = "consul")]
            (Self::Consul(consul), Post::Consul(post)) => post.put(consul, record, ttl).await,
            #[cfg(feature = "etcd")]
            (Self::Etcd(_), Post::Etcd(post)) => post.put(id, record.to_json(), ttl).await,
            #[cfg(all(feature = "consul", feature = "etcd"))]
            (Self::Consul(_), Post::Etcd(_)) | (Self::Etcd(_), Post::Consul(_)) => {
                unreachable!("a way leads to the directory that opened it")
            }
        }
    }
}

impl Post {
    async fn beat(&mut self) -> Result<(), SourceError> {
        match self {
            #[cfg(feature = "consul")]
            Self::Consul(post) => post.beat().await,
            #[cfg(feature = "etcd")]
            Self::Etcd(post) => post.beat().await,
        }
    }

    async fn withdraw(&mut self) -> Result<(), SourceError> {
        match self {
            #[cfg(feature = "consul")]
            Self::Consul(post) => post.withdraw().await,
            #[cfg(feature = "etcd")]
            Self::Etcd(post) => post.withdraw().await,
        }
    }
}

impl Announcement {
    /// A server in etcd, which forgets it `ttl` after it was last kept up.
    ///
    /// # Errors
    /// An id or a record that no troupe would take, or a time of less than 3 s or more than a day.
    #[cfg(feature = "etcd")]
    pub fn in_etcd(
        etcd: EtcdSource,
        id: impl Into<String>,
        record: Record,
        ttl: Duration,
    ) -> Result<Self, ConfigError> {
        let id = id.into();
        // What every reader of it would find.
        let found = etcd.template.found(&id, record.clone());
        found.map_err(|error| ConfigError::new("record", error.to_string()))?;
        Self::checked(Directory::Etcd(etcd), id, record, ttl)
    }

    /// A server at an agent of Consul, as an instance of the source's service. It is critical `ttl` after it was last kept up,
    /// and removed a minute later. Consul keeps address and port: the record says them instead of a `url`.
    ///
    /// # Errors
    /// As [`in_etcd`](Self::in_etcd).
    #[cfg(feature = "consul")]
    pub fn in_consul(
        consul: ConsulSource,
        id: impl Into<String>,
        record: Record,
        ttl: Duration,
    ) -> Result<Self, ConfigError> {
        let id = id.into();
        if record.url.is_some() {
            return Err(ConfigError::new("record", "url: Consul has an address and a port: say these"));
        }
        let found = consul.template.found(&id, record.clone());
        found.map_err(|error| ConfigError::new("record", error.to_string()))?;
        Self::checked(Directory::Consul(consul), id, record, ttl)
    }

    fn checked(directory: Directory, id: String, record: Record, ttl: Duration) -> Result<Self, ConfigError> {
        if ttl < TTL_MIN {
            return Err(ConfigError::new("ttl", format!("{ttl:?} is less than {TTL_MIN:?}")));
        }
        if ttl > TTL_MAX {
            return Err(ConfigError::new("ttl", "must be a day at most: for so long a dead server is found"));
        }
        Ok(Self { directory, id, record, ttl })
    }

    /// A server in the directory that a configuration names.
    ///
    /// # Errors
    /// An id or a record that no troupe would take, too short or too long a time, or a source in which nothing can be announced.
    pub fn named(
        config: &SourceConfig,
        id: impl Into<String>,
        record: Record,
        ttl: Duration,
    ) -> Result<Self, ConfigError> {
        match &config.place {
            #[cfg(feature = "consul")]
            Place::Consul { .. } => Self::in_consul(named::consul(config)?, id, record, ttl),
            #[cfg(feature = "etcd")]
            Place::Etcd { .. } => Self::in_etcd(named::etcd(config)?, id, record, ttl),
            #[cfg(not(feature = "consul"))]
            Place::Consul { .. } => Err(named::not_built("consul")),
            #[cfg(not(feature = "etcd"))]
            Place::Etcd { .. } => Err(named::not_built("etcd")),
            Place::File { .. } | Place::Dns { .. } => {
                let reason = format!("nothing can be announced in the source {}", config.name);
                Err(ConfigError::new("source", reason))
            }
        }
    }

    /// Announces the server and keeps it up `until` that has come, then takes away whatever the directory may have of it. `told`
    /// hears what becomes of it; where anything was announced, that it was taken away comes last, or that it could not be. An
    /// announcement that is being made is made first: nobody could say whether one that was given up arrived.
    pub async fn keep(self, until: impl Future<Output = ()>, mut told: impl FnMut(AnnouncementNews)) {
        tokio::pin!(until);
        let mut backoff = Backoff::new(BackoffSettings::default());
        let mut rng = SmallRng::from_rng(&mut rand::rng());
        // One for all its lives, so that the last one can take away what any of them left.
        let lease = rng.random_range(1..i64::MAX);
        // The way by which the directory may have something of ours.
        let mut post: Option<Post> = None;
        loop {
            let opened = tokio::select! { biased;
                () = &mut until => break,
                opened = self.directory.open(&self.id, lease) => opened,
            };
            let error = match opened {
                Err(error) => error,
                Ok(opened) => {
                    let post = post.insert(opened);
                    match self.directory.put(post, &self.id, &self.record, self.ttl).await {
                        Err(error) => error,
                        Ok(()) => {
                            told(AnnouncementNews::Made);
                            backoff.good(Instant::now());
                            tokio::select! { biased;
                                () = &mut until => break,
                                error = self.beats(post) => error,
                            }
                        }
                    }
                }
            };
            let retry_in = backoff.next(Instant::now(), &mut rng);
            told(AnnouncementNews::Lost { error, retry_in });
            tokio::select! { biased;
                () = &mut until => break,
                () = tokio::time::sleep(retry_in) => {}
            }
        }
        if let Some(mut post) = post {
            told(match post.withdraw().await {
                Ok(()) => AnnouncementNews::Withdrawn,
                Err(error) => AnnouncementNews::Left(error),
            });
        }
    }

    /// Keeps the announcement up until that fails.
    async fn beats(&self, post: &mut Post) -> SourceError {
        loop {
            tokio::time::sleep(self.ttl / BEATS).await;
            if let Err(error) = post.beat().await {
                return error;
            }
        }
    }
}
