//! A server's key in etcd, held by a lease.

use std::time::Duration;

use etcd_client::{Client, LeaseKeepAliveStream, LeaseKeeper, PutOptions};

use super::EtcdSource;
use crate::discovery::SourceError;

/// A key that etcd removes unless its lease is kept alive.
pub struct EtcdPost {
    source: EtcdSource,
    client: Client,
    lease: i64,
    keeper: LeaseKeeper,
    answers: LeaseKeepAliveStream,
}

impl EtcdPost {
    /// Puts `record` under the source's prefix and `id`, with a lease of `ttl`.
    pub async fn put(
        source: &EtcdSource,
        id: &str,
        record: String,
        ttl: Duration,
    ) -> Result<Self, SourceError> {
        let mut client = source.connect().await?;
        // Whole seconds are what etcd knows.
        let seconds = i64::try_from(ttl.as_secs().max(1)).unwrap_or(i64::MAX);
        let lease = source.step(client.lease_grant(seconds, None)).await?.id();
        let options = PutOptions::new().with_lease(lease);
        source.step(client.put(format!("{}{id}", source.prefix), record, Some(options))).await?;
        let (keeper, answers) = source.step(client.lease_keep_alive(lease)).await?;
        Ok(Self { source: source.clone(), client, lease, keeper, answers })
    }

    /// Keeps the lease alive.
    pub async fn beat(&mut self) -> Result<(), SourceError> {
        let beat = async {
            self.keeper.keep_alive().await?;
            self.answers.message().await
        };
        match self.source.step(beat).await? {
            Some(answer) if answer.ttl() > 0 => Ok(()),
            Some(_) => Err(SourceError::NotFound("the lease ran out".to_owned())),
            None => Err(SourceError::Unreachable("the lease is no longer kept alive".to_owned())),
        }
    }

    /// Takes the key away.
    pub async fn withdraw(&mut self) -> Result<(), SourceError> {
        self.source.step(self.client.lease_revoke(self.lease)).await.map(|_| ())
    }
}
