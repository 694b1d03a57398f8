//! What the servers offer beside tools, and the catalogue as a whole.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::{CallFuture, Troupe};
use crate::actors::ask;
use crate::actors::registry::roster::Roster;
use crate::actors::server::messages::{ServerMsg, SubscribeError};
use crate::call::Call;
use crate::duration::later;
use crate::event::ServerStatus;
use crate::id::ServerId;
use crate::offer::URI_BYTES_MAX;
use crate::policy::catalogue::{Catalogue, Prompt, Resource, ResourceTemplate};

impl Troupe {
    /// What the servers offer at this moment, as one immutable snapshot: tools, resources, templates and prompts. What a
    /// server offered last stays listed while it is down, see [`is_available`](Self::is_available).
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.0.roster.borrow().catalogue.clone()
    }

    /// Tells when the [`catalogue`](Self::catalogue) changes, from now on. Nothing is lost: several changes that nobody has waited for
    /// are one, and what is given is the catalogue of that moment.
    ///
    /// ```no_run
    /// # async fn follow(troupe: mcp_troupe::Troupe) {
    /// let mut changes = troupe.catalogue_changes();
    /// while let Some(catalogue) = changes.next().await {
    ///     println!("{} tools", catalogue.tools().count());
    /// }
    /// # }
    /// ```
    pub fn catalogue_changes(&self) -> CatalogueChanges {
        let roster = self.0.roster.clone();
        let seen = roster.borrow().catalogue.clone();
        CatalogueChanges { roster, seen }
    }

    /// The merged resources that servers list, by group and URI.
    pub fn resources(&self) -> Vec<Resource> {
        self.0.roster.borrow().catalogue.resources().cloned().collect()
    }

    /// The templates of further resources, by group and template.
    pub fn resource_templates(&self) -> Vec<ResourceTemplate> {
        self.0.roster.borrow().catalogue.resource_templates().cloned().collect()
    }

    /// The merged prompts, by group and name.
    pub fn prompts(&self) -> Vec<Prompt> {
        self.0.roster.borrow().catalogue.prompts().cloned().collect()
    }

    /// Whether one of these servers is ready, or idle and started by the next call: for something of the catalogue, whether it can
    /// be had now.
    pub fn is_available(&self, servers: &[ServerId]) -> bool {
        let roster = self.0.roster.borrow();
        roster
            .entries
            .iter()
            .filter(|entry| entry.info.is_ready())
            .any(|entry| servers.contains(&entry.info.id))
    }

    /// Reads a resource: the call [`Call::resource`], which takes options as any other.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn read_resource(&self, uri: impl Into<String>) -> CallFuture {
        self.call(Call::resource(uri))
    }

    /// Gets a prompt filled in with these arguments: the call [`Call::prompt`], which takes options as any other.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn get_prompt(&self, prompt: impl Into<String>, args: impl serde::Serialize) -> CallFuture {
        self.call(Call::prompt(prompt).args(args))
    }

    /// Subscribes to a resource: while the subscription is held, each change of it is an
    /// [`Event::ResourceUpdated`](crate::Event::ResourceUpdated), and ends the wait of [`Subscription::changed`]. It outlives connections and lives of its server, and ends
    /// with the registration of that. Changes while the server could not be reached may go untold.
    ///
    /// Of several servers that have the resource the first ready one is asked, by id; where none is ready, one that is idle is
    /// started.
    ///
    /// # Errors
    /// [`SubscribeError`] if no server has it or several groups do, or if that server takes no subscriptions. A server that
    /// refuses later is told as [`Event::SubscriptionFailed`](crate::Event::SubscriptionFailed).
    pub async fn subscribe(&self, uri: impl Into<String>) -> Result<Subscription, SubscribeError> {
        let uri = uri.into();
        self.subscribe_where(uri.clone(), |troupe| troupe.servers_of(&uri)).await
    }

    /// The same at a server of the host's choice, also for a resource that it does not list.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub async fn subscribe_at(
        &self,
        server: &str,
        uri: impl Into<String>,
    ) -> Result<Subscription, SubscribeError> {
        let server = ServerId::new(server).map_err(|_| SubscribeError::NoServer(server.to_owned()))?;
        self.subscribe_where(uri.into(), |_| Ok(vec![server.clone()])).await
    }

    async fn subscribe_where(
        &self,
        uri: String,
        servers: impl Fn(&Self) -> Result<Vec<ServerId>, SubscribeError>,
    ) -> Result<Subscription, SubscribeError> {
        if uri.len() > URI_BYTES_MAX {
            return Err(SubscribeError::TooLong { bytes: uri.len(), limit: URI_BYTES_MAX });
        }
        let until = later(Instant::now(), self.0.settings.borrow().call_timeout);
        let mut roster = self.0.roster.clone();
        loop {
            let wanted = servers(self)?;
            let actor = roster.borrow_and_update().entries.iter().find_map(|entry| {
                let ready = entry.info.status == ServerStatus::Ready && wanted.contains(&entry.info.id);
                Some((entry.info.id.clone(), entry.actor.clone().filter(|_| ready)?))
            });
            if let Some((server, actor)) = actor {
                let order = |port| ServerMsg::Subscribe { uri: uri.clone(), port };
                // An actor that ends at this moment is followed by another one.
                if let Ok(subscribed) = ask(&actor, order).await {
                    return subscribed.map(|changed| {
                        let changed = Some(changed);
                        Subscription { troupe: self.clone(), server, uri, changed }
                    });
                }
            }
            self.need_one_of(&wanted);
            match timeout_at(until, roster.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(SubscribeError::NoServer(uri)),
            }
        }
    }

    /// Has the first of these servers started that is idle, unless another one is starting.
    fn need_one_of(&self, wanted: &[ServerId]) {
        let roster = self.0.roster.borrow();
        let wanted = || roster.entries.iter().filter(|entry| wanted.contains(&entry.info.id));
        if wanted().any(|entry| entry.info.status == ServerStatus::Connecting) {
            return;
        }
        let idle = wanted().find(|entry| entry.info.status == ServerStatus::Idle);
        if let Some(actor) = idle.and_then(|entry| entry.actor.as_ref()) {
            // One that ends is followed by a life that tells where it stands.
            let _ = actor.cast(ServerMsg::Needed);
        }
    }

    /// The servers that list a resource, or a template that it follows.
    fn servers_of(&self, uri: &str) -> Result<Vec<ServerId>, SubscribeError> {
        let catalogue = self.catalogue();
        let ambiguous = |groups| SubscribeError::Ambiguous { uri: uri.to_owned(), groups };
        let holders = catalogue.holders(uri, None).map_err(ambiguous)?;
        Ok(holders.into_iter().flat_map(|(_, servers)| servers.to_vec()).collect())
    }
}

/// What changes of the catalogue come to; see [`Troupe::catalogue_changes`].
pub struct CatalogueChanges {
    roster: watch::Receiver<Arc<Roster>>,
    /// The catalogue that was given last.
    seen: Arc<Catalogue>,
}

impl CatalogueChanges {
    /// Waits until there is another catalogue than was given last, and gives it; none when the troupe has ended. May be dropped
    /// at any time.
    pub async fn next(&mut self) -> Option<Arc<Catalogue>> {
        let seen = &self.seen;
        let roster = self.roster.wait_for(|roster| !Arc::ptr_eq(&roster.catalogue, seen)).await.ok()?;
        let catalogue = roster.catalogue.clone();
        drop(roster);
        self.seen = catalogue.clone();
        Some(catalogue)
    }
}

impl fmt::Debug for CatalogueChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CatalogueChanges(after {})", self.seen.version())
    }
}

/// A subscription to a resource; see [`Troupe::subscribe`]. It ends when it is dropped.
#[must_use = "a subscription ends when it is dropped"]
pub struct Subscription {
    troupe: Troupe,
    server: ServerId,
    uri: String,
    /// None once it ends.
    changed: Option<watch::Receiver<u64>>,
}

/// A subscription has ended: its server was unregistered, or the troupe has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the subscription has ended with its server")]
pub struct SubscriptionEnded;

impl Subscription {
    /// The server that tells.
    pub fn server(&self) -> &ServerId {
        &self.server
    }

    /// The resource.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Waits until the resource has changed, or may have, since this was last waited for. May be dropped at any time.
    ///
    /// No change is lost, unlike with [`events`](Troupe::events), whose readers may lag: several changes that nobody has waited for
    /// are one. It counts as a change when the server takes the subscription, at first and again after a connection was lost,
    /// since nobody was told of what changed before. So a loop that waits and then reads has what the resource says now.
    ///
    /// ```no_run
    /// # async fn follow(troupe: mcp_troupe::Troupe) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut subscription = troupe.subscribe("file:///etc/hosts").await?;
    /// while subscription.changed().await.is_ok() {
    ///     println!("{}", troupe.read_resource(subscription.uri()).await?.result);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SubscriptionEnded`] when its server is unregistered or the troupe ends.
    pub async fn changed(&mut self) -> Result<(), SubscriptionEnded> {
        let changed = self.changed.as_mut().ok_or(SubscriptionEnded)?;
        changed.changed().await.map_err(|_| SubscriptionEnded)
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subscription({} at {})", self.uri, self.server)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // First, so that whoever looks sees it.
        self.changed = None;
        if let Some(actor) = self.troupe.server_actor(self.server.as_str()) {
            // A life that is over is followed by one that looks by itself.
            let _ = actor.cast(ServerMsg::Unsubscribe);
        }
    }
}
