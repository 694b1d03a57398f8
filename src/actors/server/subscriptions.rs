//! What a server actor wants its server to tell unasked: that lists changed, and that resources did which hosts subscribed to.
//!
//! A legacy server tells of lists by itself and takes subscriptions one by one; a modern one tells what one request
//! (`subscriptions/listen`) asks for, for as long as that is open. Both go over one connection and are said again over
//! another one when that is lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::watch;
use tokio::time::Instant;

use super::ServerState;
use crate::actors::cache::messages::CacheMsg;
use crate::actors::pump::messages::{Listened, PumpMsg};
use crate::actors::pump::messages::{SUBSCRIPTIONS_MAX, Wanted};
use crate::actors::server::messages::SubscribeError;
use crate::duration::later;
use crate::event::Event;
use crate::id::ConnectionId;
use crate::offer::EntryKind;
use crate::peer_text;
use crate::policy::response_cache::{CachedKind, Sweep};
use crate::policy::updates::{Updated, Updates};
use crate::protocol::Era;

/// Bounds of the wait before a server that ended its telling is asked again.
const AGAIN_AFTER_MIN: Duration = Duration::from_secs(1);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(60);

/// How long a server is left alone that did not take a wish: it need not know the request, whatever it declares, and the
/// network may have been to blame.
const DEAF_FOR: Duration = Duration::from_secs(5 * 60);

/// Resources that the cache is told of one by one where a server begins to tell of them; of more it clears all of that server.
const SWEPT_APART_MAX: usize = 100;

/// Resources that are named where a server refuses to tell of them; of the others their number is told.
const REFUSED_NAMED_MAX: usize = 8;

/// Resources that a server does not tell of, of those that it was asked for together.
struct Refused {
    uris: Vec<String>,
    more: usize,
    /// What it said of the first.
    reason: String,
}

/// What a server was asked and has not answered yet.
#[derive(Default)]
struct Awaited {
    /// That it acknowledges what a modern server was asked.
    acknowledgement: bool,
    /// That it takes these subscriptions, in the legacy era.
    subscriptions: BTreeSet<String>,
    /// Then it counts as unanswered, and is asked again.
    until: Option<Instant>,
}

impl Awaited {
    /// An answer came, or is no longer wanted: the time ends with the last that is awaited.
    fn settle(&mut self) {
        if !self.acknowledgement && self.subscriptions.is_empty() {
            self.until = None;
        }
    }
}

/// What the server was asked to tell, and over which connection.
pub(super) struct ListeningState {
    told: Option<(ConnectionId, Wanted)>,
    /// What was asked for is what is wanted: to find that out anew after each message would cost more than most of them.
    settled: bool,
    /// It did not take `subscriptions/listen` when it was asked last.
    deaf: bool,
    /// How often in a row it ended its telling soon after it had begun.
    failures: u32,
    tells_since: Option<Instant>,
    again_at: Option<Instant>,
    /// What it was asked and has not answered.
    awaited: Awaited,
    /// What it refused meanwhile, which is told with the last answer.
    refused: Option<Refused>,
    /// What it was asked for over this connection, and refused.
    untold: BTreeSet<String>,
    /// What it has told of resources, and hosts and the cache have yet to learn.
    updates: Updates,
}

impl ListeningState {
    /// Nothing was asked for.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            told: None,
            settled: false,
            deaf: false,
            failures: 0,
            tells_since: None,
            again_at: None,
            awaited: Awaited::default(),
            refused: None,
            untold: BTreeSet::new(),
            updates: Updates::new(now),
        }
    }

    /// When it is asked again, or what it was asked counts as unanswered.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        [self.again_at, self.awaited.until].into_iter().flatten().min()
    }

    /// When hosts and the cache are told of resources that changed.
    pub(super) fn tells_at(&self) -> Option<Instant> {
        self.updates.due_at()
    }

    /// Another process may answer from now on, which may take what the former one did not.
    pub(super) fn reached_anew(&mut self) {
        if std::mem::take(&mut self.deaf) {
            self.again_at = None;
        }
        self.settled = false;
    }

    /// Whether the server has been asked to tell of a resource, and has nothing to answer to that any more.
    fn is_told_of(&self, uri: &str) -> bool {
        let asked = self.told.as_ref().is_some_and(|(_, told)| told.resources.contains(uri));
        let is_open = self.awaited.acknowledgement || self.awaited.subscriptions.contains(uri);
        asked && !is_open && !self.untold.contains(uri)
    }

    /// Whether nothing is heard of it though it declares to tell.
    pub(super) fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// A connection takes no more requests, or is over.
    pub(super) fn lost(&mut self, connection: ConnectionId) {
        if self.told.take_if(|(over, _)| *over == connection).is_some() {
            self.awaited = Awaited::default();
            self.untold.clear();
        }
        self.settled = false;
    }

    /// What is wanted may have changed.
    pub(super) fn reconsider(&mut self) {
        self.settled = false;
    }
}

impl ServerState {
    /// A host subscribes to a resource, for as long as it holds what it gets.
    pub(super) fn subscribe(&mut self, uri: String) -> Result<watch::Receiver<u64>, SubscribeError> {
        let declared = self.ledger().known.map(|known| known.declared).unwrap_or_default();
        if !declared.subscribe {
            return Err(SubscribeError::Unsupported(self.spec.id.to_string()));
        }
        let subscriptions = &mut self.ledger().subscriptions;
        if subscriptions.len() >= SUBSCRIPTIONS_MAX && !subscriptions.contains_key(&uri) {
            return Err(SubscribeError::TooMany(SUBSCRIPTIONS_MAX));
        }
        let (changes, mut changed) = watch::channel(0);
        subscriptions.entry(uri.clone()).or_default().push(changes);
        if self.listening.is_told_of(&uri) {
            // Nothing will be asked, and so nothing answered, for this one.
            changed.mark_changed();
        }
        self.listening.reconsider();
        Ok(changed)
    }

    /// A host may hold a subscription no longer.
    pub(super) fn unsubscribe(&mut self) {
        if self.ledger().forget_ended_subscriptions() {
            self.listening.reconsider();
        }
    }

    /// What came unasked: resources changed. They are gathered; [`tell_updates`](Self::tell_updates) tells of them.
    /// Where there are more than were named (`beyond`), all of them may have.
    pub(super) fn updated(&mut self, uris: BTreeSet<String>, beyond: bool) {
        // Of a server that has none nobody reads any, and nothing is kept.
        if !self.offer.as_ref().is_some_and(|offer| offer.reads) {
            return;
        }
        if beyond {
            self.listening.updates.note_all();
        }
        for uri in uris {
            let subscribed = self.ledger().subscriptions.contains_key(&uri);
            self.listening.updates.note(uri, subscribed);
        }
    }

    /// Tells of resources that have changed, if it is time.
    pub(super) fn tell_updates(&mut self, now: Instant) {
        if let Some(updated) = self.listening.updates.take(now) {
            self.tell_updated(updated);
        }
    }

    /// Before answers are passed on the cache learns of what was told before them, so that who has one and reads next is not
    /// given what was kept before.
    pub(super) fn sweep_updated(&mut self) {
        if let Some(mut updated) = self.listening.updates.sweep() {
            let wholes = self.wholes_of(updated.subscribed.iter().chain(&updated.others));
            updated.subscribed.extend(wholes);
            self.tell_cache_updated(&updated);
        }
    }

    /// What these are parts of and somebody has subscribed to: a server may tell of the part alone.
    fn wholes_of<'u>(&mut self, parts: impl Iterator<Item = &'u String>) -> BTreeSet<String> {
        let ledger = self.ledger();
        parts.flat_map(|uri| ledger.wholes_of(uri)).collect()
    }

    /// This life ends: tells what was still to be told.
    pub(super) fn tell_last_updates(&mut self) {
        if let Some(updated) = self.listening.updates.rest() {
            self.tell_updated(updated);
        }
    }

    /// What is kept of resources that changed is no longer right. Hosts learn of those that somebody subscribed to, after the
    /// cache, so that who reads what has changed is not given what it was.
    fn tell_updated(&mut self, updated: Updated) {
        // Some may have ended meanwhile.
        self.unsubscribe();
        let parts = [&updated.subscribed, &updated.swept, &updated.others, &updated.swept_others];
        let wholes = self.wholes_of(parts.into_iter().flatten());
        self.tell_cache_updated(&updated);
        let Updated { mut subscribed, swept, all, swept_all, .. } = updated;
        if all || swept_all {
            // Those that were not named may be among them.
            self.note_changes();
        }
        // What is kept of the wholes is no longer right either.
        if !wholes.is_empty() {
            let all = wholes.len() > SWEPT_APART_MAX;
            self.tell_cache_updated(&Updated { subscribed: wholes.clone(), all, ..Updated::default() });
        }
        // The life that was given the subscriptions tells of them; each change is told once.
        let tells = self.speaks_for_the_server();
        subscribed.extend(swept.into_iter().chain(wholes));
        for uri in subscribed.into_iter().filter(|_| tells) {
            if self.ledger().subscriptions.contains_key(&uri) {
                self.ledger().note_change(&uri);
                self.context.emit(Event::ResourceUpdated { server: self.spec.id.clone(), uri });
            }
        }
    }

    /// Subscriptions came from another life. What changed between the two nobody was told of: of most that is noted when the
    /// server takes them, and at once of those that it took from this life before.
    pub(super) fn note_what_is_told_already(&mut self, mut brought: BTreeSet<String>) {
        brought.retain(|uri| self.listening.is_told_of(uri));
        let told = brought;
        if !told.is_empty() {
            self.taken(told);
        }
    }

    /// Each resource that is subscribed to may have changed.
    fn note_changes(&mut self) {
        let ledger = self.ledger();
        ledger.subscriptions.keys().for_each(|uri| ledger.note_change(uri));
    }

    /// The server tells of these resources from now on. They may have changed before: what is kept of them is no longer right,
    /// which the cache learns before those who then read.
    fn taken(&mut self, uris: BTreeSet<String>) {
        let all = uris.len() > SWEPT_APART_MAX;
        self.tell_cache_updated(&Updated { subscribed: uris.clone(), all, ..Updated::default() });
        uris.iter().for_each(|uri| self.ledger().note_change(uri));
    }

    fn tell_cache_updated(&self, updated: &Updated) {
        let Updated { subscribed, others, all, .. } = updated;
        let current_actors = self.context.current_actors.borrow();
        if current_actors.caching.is_none() {
            return;
        }
        let sweep = |name| Sweep::Of { kind: CachedKind::Resource, group: self.spec.group.clone(), name };
        let sweeps: Vec<Sweep> = if *all {
            vec![sweep(None)]
        } else {
            subscribed.iter().chain(others).map(|uri| sweep(Some(uri.as_str().into()))).collect()
        };
        if !sweeps.is_empty() {
            current_actors.tell_cache(CacheMsg::Changed(sweeps));
        }
    }

    /// The server took a wish, or refused it.
    pub(super) fn listened(&mut self, connection: ConnectionId, listened: Listened, now: Instant) {
        match listened {
            Listened::Acknowledged => {
                self.listening.tells_since = Some(now);
                let told = self.listening.told.as_ref().map(|(_, told)| (*told.resources).clone());
                self.taken(told.unwrap_or_default());
                self.listening.awaited.acknowledgement = false;
                self.listening.awaited.settle();
            }
            Listened::Ended { refused: false } => {
                self.listening.lost(connection);
                let since = self.listening.tells_since.take();
                if since.is_some_and(|since| now.saturating_duration_since(since) >= AGAIN_AFTER_MAX) {
                    self.listening.failures = 0;
                }
                self.listen_again_later(now);
            }
            Listened::Ended { refused: true } => {
                // Its lists are fetched again when they are no longer fresh.
                self.listening.lost(connection);
                self.listening.deaf = true;
                self.listening.again_at = Some(later(now, DEAF_FOR));
                self.list_by_time(now);
            }
            Listened::Subscribed { uri } => {
                self.listening.awaited.subscriptions.remove(&uri);
                self.taken(BTreeSet::from([uri]));
                self.listening.awaited.settle();
                if self.listening.awaited.until.is_none() {
                    self.listening.failures = 0;
                }
                self.tell_refused();
            }
            Listened::Refused { uri, reason } => {
                self.listening.awaited.subscriptions.remove(&uri);
                self.listening.awaited.settle();
                let refused = self.listening.refused.get_or_insert_with(|| Refused {
                    uris: Vec::new(),
                    more: 0,
                    reason: peer_text::reason(reason),
                });
                if refused.uris.len() < REFUSED_NAMED_MAX {
                    refused.uris.push(uri.clone());
                } else {
                    refused.more += 1;
                }
                self.listening.untold.insert(uri);
                self.tell_refused();
            }
        }
    }

    /// Tells what the server refused, when nothing that it was asked with that is awaited any more.
    fn tell_refused(&mut self) {
        if !self.listening.awaited.subscriptions.is_empty() {
            return;
        }
        if let Some(Refused { uris, more, reason }) = self.listening.refused.take() {
            let server = self.spec.id.clone();
            self.context.emit(Event::SubscriptionFailed { server, uris, more, reason });
        }
    }

    /// Plans to ask again, the later the more often it came to nothing.
    fn listen_again_later(&mut self, now: Instant) {
        let doubled = AGAIN_AFTER_MIN * 2_u32.pow(self.listening.failures.min(6));
        let wait = doubled.min(AGAIN_AFTER_MAX);
        self.listening.failures = self.listening.failures.saturating_add(1);
        let jitter = wait.mul_f64(self.rng.random_range(0.0..0.5));
        self.listening.again_at = Some(later(now, wait.saturating_add(jitter)));
    }

    /// What was not answered in its time counts as not asked: a request can get lost at a peer that goes on.
    fn ask_anew(&mut self, now: Instant) {
        if self.listening.awaited.until.is_none_or(|until| until > now) {
            return;
        }
        let Awaited { acknowledgement, subscriptions, until: _ } =
            std::mem::take(&mut self.listening.awaited);
        if acknowledgement {
            self.listening.told = None;
        } else if let Some((_, told)) = &mut self.listening.told {
            told.resources = Arc::new(told.resources.difference(&subscriptions).cloned().collect());
        }
        self.tell_refused();
        self.listening.settled = false;
        self.listen_again_later(now);
    }

    /// Asks for what is wanted, if that is not what was asked for last.
    pub(super) fn listen(&mut self, now: Instant) {
        self.ask_anew(now);
        // The connection may be gone over which the rest was awaited.
        self.tell_refused();
        let waits = self.listening.again_at.is_some_and(|at| at > now);
        if self.listening.settled || self.offer.is_none() || waits {
            return;
        }
        self.listening.again_at = None;
        self.listening.deaf = false;
        let Some(known) = self.ledger().known else { return };
        // Some may have ended between two lives.
        self.ledger().forget_ended_subscriptions();
        let mut wanted = Wanted {
            resources: Arc::new(self.ledger().subscriptions.keys().cloned().collect()),
            ..Wanted::default()
        };
        if known.era == Era::Modern && !self.spec.stream {
            // By a stream alone it could tell of anything.
            return self.listening.settled = true;
        }
        if known.era == Era::Modern {
            let told = EntryKind::ALL.into_iter().filter(|kind| known.declared.tells(*kind));
            told.for_each(|kind| wanted.changes.insert(kind));
        }
        let over = match &self.listening.told {
            Some((_, told)) if *told == wanted => return self.listening.settled = true,
            Some((over, _)) => Some(*over),
            None if wanted.is_empty() => return self.listening.settled = true,
            None => {
                let usable =
                    |held: &&super::Connection| held.queue.is_some() && !held.closing && !held.leased;
                let found = self.connections.iter().find(|(_, held)| usable(held));
                found.map(|(connection, _)| *connection)
            }
        };
        let Some(over) = over else { return };
        let Some(queue) = self.connections.get(&over).and_then(|held| held.queue.as_ref()) else { return };
        let former = match &self.listening.told {
            Some((_, told)) => told.clone(),
            None => Wanted::default(),
        };
        // All of it or nothing, and never a place of calls and their cancellations.
        let room = queue.capacity().saturating_sub(2 * self.spec.pool.in_flight_max);
        let said = match known.era {
            Era::Modern => room > 0 && queue.try_send(PumpMsg::Listen(wanted.clone())).is_ok(),
            Era::Legacy => {
                let ended = former.resources.difference(&wanted.resources).map(|uri| (uri, false));
                let begun = wanted.resources.difference(&former.resources).map(|uri| (uri, true));
                let mut said = ended.chain(begun);
                said.clone().count() <= room
                    && said.all(|(uri, wanted)| {
                        queue.try_send(PumpMsg::Subscribe { uri: uri.clone(), wanted }).is_ok()
                    })
            }
        };
        if said {
            let awaited = &mut self.listening.awaited;
            match known.era {
                Era::Modern => awaited.acknowledgement = true,
                Era::Legacy => {
                    awaited.subscriptions.retain(|uri| wanted.resources.contains(uri));
                    let begun = wanted.resources.difference(&former.resources);
                    awaited.subscriptions.extend(begun.cloned());
                }
            }
            awaited.until.get_or_insert(later(now, self.spec.pool.list_timeout));
            awaited.settle();
            // What is asked for once more may be taken this time.
            self.listening
                .untold
                .retain(|uri| former.resources.contains(uri) && wanted.resources.contains(uri));
            self.listening.told = Some((over, wanted));
            self.listening.settled = true;
        } else {
            // Its queue is full of calls: soon again.
            self.listening.again_at = Some(later(now, AGAIN_AFTER_MIN));
        }
    }
}
