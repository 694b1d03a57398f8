//! A server's key in etcd, held by a lease.

use std::time::Duration;

use etcd_client::{Client, Error, LeaseGrantOptions, LeaseKeepAliveStream, LeaseKeeper, PutOptions};

use super::EtcdSource;
use crate::discovery::SourceError;

/// A key that etcd removes unless its lease is kept alive.
pub(crate) struct EtcdPost {
    source: EtcdSource,
    client: Client,
    lease: i64,
    kept: Option<(LeaseKeeper, LeaseKeepAliveStream)>,
}

impl EtcdPost {
    /// Opens the way to etcd. The lease will be this one: who knows it before etcd does can take away what etcd has, whether
    /// etcd's answer came or not.
    pub(crate) async fn open(source: &EtcdSource, lease: i64) -> Result<Self, SourceError> {
        let client = source.connect().await?;
        Ok(Self { source: source.clone(), client, lease, kept: None })
    }

    /// Puts `record` under the source's prefix and `id`, with a lease of `ttl`.
    pub(crate) async fn put(&mut self, id: &str, record: String, ttl: Duration) -> Result<(), SourceError> {
        let Self { source, client, lease, kept } = self;
        // Whole seconds are what etcd knows.
        let seconds = i64::try_from(ttl.as_secs().max(1)).unwrap_or(i64::MAX);
        let granted = async {
            let options = LeaseGrantOptions::new().with_id(*lease);
            match client.lease_grant(seconds, Some(options)).await {
                // By an attempt before this one.
                Err(error) if says(&error, "lease already exists") => Ok(()),
                granted => granted.map(drop),
            }
        };
        source.step(granted).await?;
        let options = PutOptions::new().with_lease(*lease);
        source.step(client.put(format!("{}{id}", source.prefix), record, Some(options))).await?;
        *kept = Some(source.step(client.lease_keep_alive(*lease)).await?);
        Ok(())
    }

    /// Keeps the lease alive.
    pub(crate) async fn beat(&mut self) -> Result<(), SourceError> {
        let gone = || SourceError::Unreachable("the lease is no longer kept alive".to_owned());
        let (keeper, answers) = self.kept.as_mut().ok_or_else(gone)?;
        let beat = async {
            keeper.keep_alive().await?;
            answers.message().await
        };
        match self.source.step(beat).await? {
            Some(answer) if answer.ttl() > 0 => Ok(()),
            Some(_) => Err(SourceError::NotFound("the lease ran out".to_owned())),
            None => Err(gone()),
        }
    }

    /// Takes the key away.
    pub(crate) async fn withdraw(&mut self) -> Result<(), SourceError> {
        let Self { source, client, lease, .. } = self;
        let revoked = async {
            match client.lease_revoke(*lease).await {
                // It has run out, or was never granted: the key is gone with it.
                Err(error) if says(&error, "requested lease not found") => Ok(()),
                revoked => revoked.map(drop),
            }
        };
        source.step(revoked).await
    }
}

/// Whether etcd itself answered with this error.
fn says(error: &Error, words: &str) -> bool {
    matches!(error, Error::GRpcStatus(status) if status.message().starts_with("etcdserver:") && status.message().contains(words))
}
