//! Two users who are told of changes of resources, whatever becomes of the servers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mcp_troupe::testkit::AnswerChecker;
use mcp_troupe::{Event, Subscription, Troupe};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::cast::{Cast, Member, User};

/// How long a change may take to be told before it is made again, while a subscription is said anew.
const TOLD_WITHIN: Duration = Duration::from_millis(200);

/// The subscriptions of both users, one to a resource of each server.
pub struct Subscribers {
    troupe: Troupe,
    /// By server.
    held: BTreeMap<String, Vec<Subscription>>,
    /// How often each resource was told of.
    heard: watch::Sender<BTreeMap<String, u64>>,
    /// Listens for as long as there are subscribers.
    _ear: JoinSet<()>,
}

impl Subscribers {
    /// Subscribes at every server that tells.
    pub async fn start(troupe: &Troupe, checker: &AnswerChecker, cast: &Cast) -> Result<Self, String> {
        let heard = watch::Sender::new(BTreeMap::new());
        let mut ear = JoinSet::new();
        ear.spawn(listen(troupe.clone(), checker.clone(), heard.clone()));
        let mut subscribers = Self { troupe: troupe.clone(), held: BTreeMap::new(), heard, _ear: ear };
        for member in &cast.members {
            subscribers.renew(member).await?;
        }
        Ok(subscribers)
    }

    /// Subscribes anew at a server whose registration has ended, and with it the subscriptions. These are let go of only
    /// afterwards: their end is none of the new ones.
    pub async fn renew(&mut self, member: &Member) -> Result<(), String> {
        let mut renewed = Vec::new();
        for resource in User::ALL.iter().filter_map(|user| member.resource(*user)) {
            let subscribed = self.troupe.subscribe_at(&member.id, resource).await;
            renewed.push(subscribed.map_err(|error| format!("subscription at {}: {error}", member.id))?);
        }
        drop(self.held.insert(member.id.clone(), renewed));
        Ok(())
    }

    /// Changes every resource until each change is told, for at most `patience`. Returns those of which nobody was told.
    pub async fn silent(&self, cast: &Cast, patience: Duration) -> BTreeSet<String> {
        let held = self.held.values().flatten();
        let mut silent: BTreeSet<String> = held.map(|subscription| subscription.uri().to_owned()).collect();
        let mut ear = self.heard.subscribe();
        self.heard.send_modify(BTreeMap::clear);
        let hear = async {
            while !silent.is_empty() {
                cast.members.iter().for_each(|member| member.update("the end"));
                let told = |heard: &BTreeMap<String, u64>| silent.iter().any(|uri| heard.contains_key(uri));
                // None was told meanwhile: the changes are made again.
                let _ = tokio::time::timeout(TOLD_WITHIN, ear.wait_for(told)).await;
                silent.retain(|uri| !self.heard.borrow().contains_key(uri));
            }
        };
        // Whoever is silent by then is told of.
        let _ = tokio::time::timeout(patience, hear).await;
        silent
    }
}

/// Counts what is told, and looks whether it is told of whom it concerns.
async fn listen(troupe: Troupe, checker: AnswerChecker, heard: watch::Sender<BTreeMap<String, u64>>) {
    let mut events = troupe.events();
    while let Some(event) = events.next().await {
        let Event::ResourceUpdated { server, uri } = event else { continue };
        if !uri.starts_with(&format!("note://{server}/")) {
            checker.note_crossed(|| format!("{server} told of {uri}"));
        }
        heard.send_modify(|heard| *heard.entry(uri).or_default() += 1);
    }
}
