//! What a server offers: when it is listed, what is taken of its lists and told of them, and what follows where one fails.
//!
//! ```text
//! planned (reached anew, told of changes, no longer fresh, failed before) ─▶ under way ─▶ listed
//!    ▲                                                                          │ failed, in part or as a whole
//!    └──────────────────────────────── backoff ─────────────────────────────────┘
//! ```
//!
//! A plan waits for an open connection and is never lost with one: what a listing does not bring is planned again. Each kind
//! has a plan of its own, so that one that cannot be listed delays no other.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use ractor::ActorRef;
use rand::RngExt;
use tokio::time::Instant;

use super::ServerState;
use super::pinned::compare;
use crate::actors::list_fetch::{self, Found, NotListed};
use crate::actors::registry::messages::RegistryMsg;
use crate::actors::server::messages::ServerMsg;
use crate::actors::tasks::OwnedTask;
use crate::config::{BackoffSettings, near, shown};
use crate::duration::later;
use crate::event::Event;
use crate::id::ConnectionId;
use crate::offer::{EntryKind, Kinds};
use crate::policy::backoff::Backoff;
use crate::policy::catalogue::{Definition, Offer, differences};
use crate::policy::pins::Differences;
use crate::policy::rate::{Allowance, Rate};
use crate::protocol::Declared;
use crate::protocol::listing::{Listed, ListedEntry, Listing, SkippedEntry, real_name};

/// How long `list_changed` notifications are gathered before the lists are fetched again.
const GATHER: Duration = Duration::from_millis(100);

/// How often lists may differ before the next ones are waited for as long as the interval: a change of every second is seen,
/// and each costs a new catalogue and events for everybody.
const CHANGES: Rate = Rate::per_second(1, 10);

/// The rest after a list that was fetched since the server told that it changed, and did not; doubled each time in a row up to
/// the second. Some servers tell so after each listing.
const ECHO_REST_MIN: Duration = Duration::from_secs(1);
const ECHO_REST_MAX: Duration = Duration::from_secs(30);

/// Bytes of lists of one kind that are read a second while known tools serve calls: far more than honest lists have that
/// change often, and a hundredth of what one core reads.
const BYTES_PER_SECOND: f64 = (4 << 20) as f64;

/// Bounds of the time after which a server that tells of no changes is listed again, whatever it says of its lists.
const AGAIN_AFTER_MIN: Duration = Duration::from_secs(30);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// Random share of that time on top of it, so that many servers are not listed as one.
const JITTER: f64 = 0.1;

/// Entries of one list that are told one by one; of the others their number is told. More would push what other servers do
/// out of the subscribers' sight.
pub(super) const TOLD_MAX: usize = 100;

/// Names of tools in a server's description that are told where it has none of them, and its tools that each is compared with:
/// more than one mistake has, and some milliseconds of work.
const NAMES_TOLD_MAX: usize = 5;
const NAMES_COMPARED_MAX: usize = 200;

/// Bytes of the names that one event tells: thousands of usual ones.
const NAMES_BYTES_MAX: usize = 64 << 10;

/// What a server actor knows of its server's lists.
pub(super) struct ListsState {
    under_way: Option<UnderWay>,
    /// The number of the last listing, so that the result of a former one is recognised.
    begun: u64,
    plans: [Plan; EntryKind::ALL.len()],
    changes: Allowance,
    /// A link was lost since the server was reached last: who answers next may be another process.
    lost_link: bool,
    /// The registry was told in this life what is listed.
    told: bool,
    /// Hashes of what each list left out when it was fetched last, which is not told again.
    skipped: [HashSet<u64>; EntryKind::ALL.len()],
    hasher: RandomState,
}

/// When one kind of list is fetched.
struct Plan {
    /// When it is next, if that is planned.
    at: Option<Instant>,
    /// Not before this, whatever is planned: the last one was large, or failed, or differs all the time.
    rests_until: Option<Instant>,
    /// Delays before it is fetched again where that failed.
    retry: Backoff,
    /// Calls wait for it, and so it does not rest.
    at_once: bool,
    /// The connection that it failed over: another one is tried first.
    failed_over: Option<ConnectionId>,
    /// How long the last one stays fresh, where it says so.
    fresh_for: Option<Duration>,
    /// The server has told that it changed.
    announced: bool,
    /// How often in a row that was told, and was not so.
    echoes: u32,
}

impl Plan {
    fn new(retry: BackoffSettings) -> Self {
        Self {
            at: None,
            rests_until: None,
            retry: Backoff::new(retry),
            at_once: false,
            failed_over: None,
            fresh_for: None,
            announced: false,
            echoes: 0,
        }
    }

    /// The list was fetched, since the server had told of a change if `announced`.
    fn fetched(&mut self, announced: bool, differs: bool, now: Instant) {
        if differs {
            self.echoes = 0;
        } else if announced {
            let rest = ECHO_REST_MIN.saturating_mul(2_u32.saturating_pow(self.echoes)).min(ECHO_REST_MAX);
            self.echoes = self.echoes.saturating_add(1);
            self.rests_until = self.rests_until.max(Some(later(now, rest)));
        }
    }

    fn due_at(&self) -> Option<Instant> {
        let rests_until = self.rests_until.filter(|_| !self.at_once);
        self.at.map(|at| rests_until.map_or(at, |until| until.max(at)))
    }

    /// At this time, or earlier where that is planned already.
    fn plan(&mut self, at: Instant) {
        self.at = Some(self.at.map_or(at, |planned| planned.min(at)));
    }
}

/// A listing under way.
struct UnderWay {
    number: u64,
    kinds: Kinds,
    /// Kinds that the server has told to have changed.
    announced: Kinds,
    /// Kinds that were to be listed, and that the server says it has none of.
    absent: Kinds,
    /// What the server declared when it began.
    declared: Declared,
    _task: OwnedTask,
}

impl ListsState {
    pub(super) fn new(retry: BackoffSettings, now: Instant) -> Self {
        Self {
            under_way: None,
            begun: 0,
            plans: EntryKind::ALL.map(|_| Plan::new(retry.clone())),
            changes: Allowance::new(CHANGES, now),
            lost_link: false,
            told: false,
            skipped: Default::default(),
            hasher: RandomState::new(),
        }
    }

    /// When the next listing begins, unless one is under way. Until the tools are known nothing is listed without them.
    pub(super) fn due_at(&self, tools_are_known: bool) -> Option<Instant> {
        if self.under_way.is_some() {
            return None;
        }
        let kinds = EntryKind::ALL.into_iter();
        let kinds = kinds.filter(|kind| tools_are_known || *kind == EntryKind::Tool);
        kinds.filter_map(|kind| self.plans[kind as usize].due_at()).min()
    }

    /// What is due.
    fn due(&self, now: Instant) -> Kinds {
        Kinds::all().only(|kind| self.plans[kind as usize].due_at().is_some_and(|at| at <= now))
    }

    /// These are listed now. Gives those of them that the server has told to have changed.
    fn begin(&mut self, kinds: Kinds) -> Kinds {
        for kind in kinds.iter() {
            let plan = &mut self.plans[kind as usize];
            (plan.at, plan.at_once) = (None, false);
        }
        let announced = kinds.only(|kind| self.plans[kind as usize].announced);
        announced.iter().for_each(|kind| self.plans[kind as usize].announced = false);
        announced
    }

    /// How long the last list of a kind stays fresh. One that does not say so is no fresher than the others.
    fn fresh_for(&self, kind: EntryKind) -> Option<Duration> {
        let said = self.plans[kind as usize].fresh_for;
        said.or_else(|| self.plans.iter().filter_map(|plan| plan.fresh_for).min())
    }

    /// Nobody waits any more for what is being listed.
    pub(super) fn give_up(&mut self) {
        self.under_way = None;
    }

    /// Whether a listing is under way: its connection would end in the middle of it.
    pub(super) fn are_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// A link was lost.
    pub(super) fn lost_link(&mut self) {
        self.lost_link = true;
    }

    /// Of what was left out of a list, what was not when it was fetched last.
    fn newly_skipped(&mut self, kind: EntryKind, skipped: Vec<SkippedEntry>) -> Vec<SkippedEntry> {
        let hashes =
            skipped.iter().map(|SkippedEntry { entry, reason }| self.hasher.hash_one((entry, reason)));
        let hashes: Vec<u64> = hashes.collect();
        let former = std::mem::replace(&mut self.skipped[kind as usize], hashes.iter().copied().collect());
        let new = skipped.into_iter().zip(hashes).filter(|(_, hash)| !former.contains(hash));
        new.map(|(entry, _)| entry).collect()
    }
}

impl ServerState {
    /// A connection of the pool is open; the `first` while it has no other.
    pub(super) fn reached(&mut self, first: bool, now: Instant) {
        if std::mem::take(&mut self.lists.lost_link) || first {
            // A new process behind the same address may offer other tools, and tell of what the former one did not.
            self.listening.reached_anew();
            if first {
                // How often a server is reached has a backoff of its own.
                self.lists.plans.iter_mut().for_each(|plan| (plan.rests_until, plan.echoes) = (None, 0));
            }
            self.plan_listing(Kinds::all(), if first { now } else { later(now, GATHER) });
        }
    }

    /// The server tells that lists changed.
    pub(super) fn lists_changed(&mut self, kinds: Kinds, now: Instant) {
        if !kinds.is_empty() {
            kinds.iter().for_each(|kind| self.lists.plans[kind as usize].announced = true);
            self.plan_listing(kinds, later(now, GATHER));
        }
    }

    /// Plans to list each of these; where that is planned already, at the earlier of both times.
    pub(super) fn plan_listing(&mut self, kinds: Kinds, at: Instant) {
        for kind in kinds.iter() {
            self.lists.plans[kind as usize].plan(at);
        }
    }

    /// Calls wait for a new list of the tools: it is fetched whatever rest it has. Each call waits once, so that it is their
    /// callers who bound how often.
    pub(super) fn list_tools_at_once(&mut self, now: Instant) {
        let plan = &mut self.lists.plans[EntryKind::Tool as usize];
        (plan.at, plan.at_once) = (Some(now), true);
    }

    /// Begins the listing that is due, if a connection is open for it.
    pub(super) fn list_due(&mut self, myself: &ActorRef<ServerMsg>, now: Instant) {
        if self.lists.due_at(self.offer.is_some()).is_none_or(|at| at > now) {
            return;
        }
        // The newest one reaches the server as it is now. A lease's connection is its user's.
        let open = self.connections.iter().rev().filter(|(_, held)| !held.closing && !held.leased);
        let mut open = open.filter_map(|(connection, held)| Some((*connection, held.queue.as_ref()?)));
        let Some(newest) = open.next() else { return };
        let due = self.lists.due(now);
        let failed = |over| due.iter().any(|kind| self.lists.plans[kind as usize].failed_over == Some(over));
        let (connection, queue) = if failed(newest.0) { open.next().unwrap_or(newest) } else { newest };
        let queue = queue.clone();
        let declared = self.ledger().known.map(|known| known.declared).unwrap_or_default();
        let limits = &self.context.settings.limits;
        let mirrors = self.mirrors();
        let announced = self.lists.begin(due);
        let kinds = due.only(|kind| declared.offers(kind));
        let absent = due.only(|kind| !declared.offers(kind));
        let listings = kinds.iter().map(|kind| {
            let listing = Listing::new(kind, limits.tools_max, limits.pages_max);
            if mirrors && kind == EntryKind::Tool { listing.mirrored() } else { listing }
        });
        let fetch = list_fetch::fetch(queue, listings.collect(), self.spec.pool.list_timeout);
        if kinds.has(EntryKind::Tool) {
            self.mirroring.listing();
        }
        self.lists.begun += 1;
        let number = self.lists.begun;
        let (server, pinning) = (self.spec.id.clone(), self.context.pinning.clone());
        let myself = myself.clone();
        let task = self.context.tasks.spawn(async move {
            // A listing that ended without a word would be the last one.
            let fetched = AssertUnwindSafe(fetch).catch_unwind().await;
            let panicked = |kind| (kind, Err("their listing panicked".to_owned().into()));
            let fetched = fetched.unwrap_or_else(|_| kinds.iter().map(panicked).collect());
            let (found, unlike_pins) = compare(fetched, server, pinning).await;
            // A server actor that has ended lists again in its next life.
            let _ = myself.cast(ServerMsg::Listed { number, connection, found, unlike_pins });
        });
        self.lists.under_way = Some(UnderWay { number, kinds, announced, absent, declared, _task: task });
    }

    pub(super) fn listed(
        &mut self,
        number: u64,
        connection: ConnectionId,
        found: Found,
        unlike_pins: Option<Differences>,
        now: Instant,
    ) {
        let under_way = self.lists.under_way.take_if(|under_way| under_way.number == number);
        let Some(UnderWay { kinds: mut missing, announced, absent, declared, .. }) = under_way else {
            return;
        };
        if let Some(differences) = unlike_pins {
            self.pins.told(&self.context, &self.spec.id, differences);
        }
        let first = self.offer.is_none();
        let mut offer = self.offer.clone().or_else(|| self.known.clone()).unwrap_or_default();
        offer.reads = declared.resources;
        let (mut failed, mut differing, mut tried) = (None, Kinds::default(), Kinds::default());
        let mut stale_by_time = Kinds::default();
        for (kind, listed) in found {
            tried = tried.with(kind);
            match listed {
                Ok(listed) => {
                    missing.remove(kind);
                    let plan = &mut self.lists.plans[kind as usize];
                    plan.retry.good(now);
                    plan.failed_over = None;
                    plan.fresh_for = listed.ttl;
                    let rest = Duration::from_secs_f64(listed.bytes as f64 / BYTES_PER_SECOND);
                    plan.rests_until = Some(later(now, rest));
                    if !declared.tells(kind) || self.listening.is_deaf() || !self.spec.stream {
                        stale_by_time = stale_by_time.with(kind);
                    }
                    let differs = self.take_list(kind, listed, &mut offer);
                    self.lists.plans[kind as usize].fetched(announced.has(kind), differs, now);
                    if differs {
                        differing = differing.with(kind);
                    }
                }
                Err(error) if kind == EntryKind::Tool => failed = Some(error),
                // What is known of them stays.
                Err(NotListed { reason, .. }) => {
                    let reason = self.connector.redact(reason);
                    tracing::warn!(server = %self.spec.id, %reason, "not listed");
                }
            }
        }
        for kind in missing.only(|kind| tried.has(kind)).iter() {
            let ServerState { lists, rng, .. } = self;
            let plan = &mut lists.plans[kind as usize];
            let again_at = later(now, plan.retry.next(now, rng));
            plan.rests_until = Some(again_at);
            plan.failed_over = Some(connection);
            plan.plan(again_at);
        }
        if !differing.is_empty() && !self.lists.changes.take(now) {
            let until = Some(later(now, CHANGES.interval));
            for kind in differing.iter() {
                let plan = &mut self.lists.plans[kind as usize];
                plan.rests_until = plan.rests_until.max(until);
            }
        }
        if let Some(error) = failed {
            // The others were not tried, and what is absent is not taken. Where the tools are known, they do without them.
            let untried = Kinds::all().only(|kind| absent.has(kind) || missing.has(kind) && !tried.has(kind));
            self.plan_listing(untried, later(now, GATHER));
            return self.not_listed(connection, error, now);
        }
        // It may have had some when it was reached before, or at its last run; what it had then says nothing of what it has now.
        let unknown = missing.only(|_| first);
        for kind in Kinds::all().only(|kind| absent.has(kind) || unknown.has(kind)).iter() {
            self.take_list(kind, Listed::default(), &mut offer);
        }
        self.real_names = real_names(&offer.tools);
        if first || differing.has(EntryKind::Tool) {
            self.tell_of_names_without_a_tool(&offer);
        }
        if self.connector.mirrors() {
            self.mirroring.listed(&offer.tools);
        }
        if self.offer.as_ref() != Some(&offer) || !std::mem::replace(&mut self.lists.told, true) {
            let (server, incarnation) = (self.spec.id.clone(), self.incarnation);
            // Without a registry this life is ending.
            let _ = self.registry.cast(RegistryMsg::Offer { server, incarnation, offer: offer.clone() });
        }
        self.offer = Some(offer);
        self.listed = true;
        self.known = None;
        self.ledger().reconnect.good(now);
        self.listening.reconsider();
        self.list_again(stale_by_time, now);
        self.dispatch_stale(now);
    }

    /// Tells of names by which tools are chosen and that none has: a misspelt one leaves out what is wanted, or the other way round.
    fn tell_of_names_without_a_tool(&self, offer: &Offer) {
        let known = offer.tools.iter().chain(offer.blocked.iter()).map(|tool| &*tool.name);
        let known: HashSet<&str> = known.chain(self.real_names.values().map(|name| &**name)).collect();
        let mut unmet = self.spec.tool_choice.names().filter(|(_, name)| !known.contains(name));
        let server = &self.spec.id;
        let mut compared: Vec<&str> = known.iter().copied().collect();
        compared.sort_unstable();
        compared.truncate(NAMES_COMPARED_MAX);
        for (key, name) in unmet.by_ref().take(NAMES_TOLD_MAX) {
            let near = near(name, compared.iter().copied());
            let near = near.map(|near| format!(": did you mean {}?", shown::name(near))).unwrap_or_default();
            tracing::warn!(
                %server,
                "{key} of {server} names the tool {}, which it does not have{near}",
                shown::name(name)
            );
        }
        let more = unmet.count();
        if more > 0 {
            tracing::warn!(%server, "{server} does not have {more} more of the tools that are named for it");
        }
    }

    /// Takes what one list held, and tells how it differs from before. Says whether it does.
    fn take_list(&mut self, kind: EntryKind, listed: Listed, offer: &mut Offer) -> bool {
        let server = self.spec.id.clone();
        let skipped = self.lists.newly_skipped(kind, listed.skipped);
        let mut differs = !skipped.is_empty();
        let untold = skipped.len().saturating_sub(TOLD_MAX);
        for SkippedEntry { entry, reason } in skipped.into_iter().take(TOLD_MAX) {
            let (entry, reason) = (self.connector.redact(entry), self.connector.redact(reason));
            self.context.emit(Event::EntrySkipped { server: server.clone(), kind, entry, reason });
        }
        if untold > 0 {
            let (entry, reason) = (format!("{untold} more"), "they are left out as well".to_owned());
            self.context.emit(Event::EntrySkipped { server: server.clone(), kind, entry, reason });
        }
        let entries = listed.entries.into_iter();
        let entries = entries.map(|ListedEntry { name, definition }| Definition { name, definition });
        let (blocked, new): (Vec<_>, Vec<_>) = entries
            .partition(|entry| kind == EntryKind::Tool && self.pins.blocks(&self.context, &entry.name));
        if kind == EntryKind::Tool {
            offer.blocked = blocked.into();
        }
        let new: Arc<[Definition]> = new.into();
        let chosen = |offer: &Offer| offer.clone().chosen(&self.spec.tool_choice);
        let offered = chosen(offer);
        differs |= differences(offer.of(kind), &new) != Default::default();
        *offer.of_mut(kind) = new;
        // What the operator leaves out is not offered, so that no event names how it changes.
        let (added, removed, changed) = differences(offered.of(kind), chosen(offer).of(kind));
        if !(added.is_empty() && removed.is_empty() && changed.is_empty()) {
            let mut names = ToldNames { room: NAMES_BYTES_MAX, more: 0 };
            let (added, removed, changed) = (names.tell(added), names.tell(removed), names.tell(changed));
            let more = names.more;
            self.context.emit(Event::CatalogueChanged { server, kind, added, removed, changed, more });
        }
        differs
    }

    /// The tools could not be listed.
    fn not_listed(&mut self, connection: ConnectionId, error: NotListed, now: Instant) {
        let NotListed { reason, retry_after } = error;
        let reason = self.connector.redact(reason);
        // Of a server without any tools this is why it is not ready, which is told as that.
        if self.offer.is_some() {
            tracing::warn!(server = %self.spec.id, %reason, "tools not listed");
        }
        self.fail_stale();
        // Known tools stay; without any the connection is of no use and is made anew, with backoff.
        let held = self.connections.get(&connection).filter(|held| !held.closing);
        if self.offer.is_none() && held.is_some() {
            self.dismiss(connection);
            self.failed_attempt(connection, reason, retry_after, None, now);
        }
    }

    /// Plans to list these again when they are no longer fresh, since the server does not tell of their changes. Not at
    /// once, however short-lived it says that its lists are: nobody asked, and all servers would be asked for ever.
    fn list_again(&mut self, kinds: Kinds, now: Instant) {
        // The same for all, so that those that are fresh for as long are listed together.
        let jitter = self.rng.random_range(0.0..JITTER);
        for kind in kinds.iter() {
            if let Some(ttl) = self.lists.fresh_for(kind) {
                let wait = ttl.max(AGAIN_AFTER_MIN).min(AGAIN_AFTER_MAX);
                let at = later(now, wait.saturating_add(wait.mul_f64(jitter)));
                self.plan_listing(Kinds::default().with(kind), at);
            }
        }
    }

    /// The server tells of no changes after all.
    pub(super) fn list_by_time(&mut self, now: Instant) {
        self.list_again(Kinds::all(), now);
    }
}

/// The names that a server knows those of these tools by which go by others.
pub(super) fn real_names(tools: &[Definition]) -> HashMap<String, Arc<str>> {
    let real = |tool: &Definition| Some((tool.name.clone(), real_name(&tool.name, &tool.definition)?.into()));
    tools.iter().filter_map(real).collect()
}

/// Names that one event tells, as far as there is room.
struct ToldNames {
    room: usize,
    /// Those beyond it.
    more: usize,
}

impl ToldNames {
    fn tell(&mut self, mut names: Vec<String>) -> Vec<String> {
        let fit = names.iter().take_while(|name| {
            let fits = name.len() <= self.room;
            self.room -= if fits { name.len() } else { 0 };
            fits
        });
        let fit = fit.count();
        self.more += names.len() - fit;
        names.truncate(fit);
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_what_it_has_room_for_and_counts_the_rest() {
        let name = |n: usize| format!("{n:0>1000}");
        let mut names = ToldNames { room: 3_500, more: 0 };
        assert_eq!(names.tell(vec![name(1)]), [name(1)]);
        assert_eq!(names.tell(vec![name(2), name(3), name(4), name(5)]), [name(2), name(3)]);
        assert_eq!(names.tell(vec!["short".into()]), ["short"]);
        assert_eq!(names.more, 2);
    }

    #[test]
    fn large_lists_are_read_again_later_than_is_planned() {
        let now = Instant::now();
        let mut lists = ListsState::new(BackoffSettings::default(), now);
        lists.plans[0].rests_until = Some(now + Duration::from_secs(4));
        assert_eq!(lists.due_at(true), None);
        lists.plans[0].at = Some(now);
        assert_eq!(lists.due_at(true), Some(now + Duration::from_secs(4)));
        lists.plans[0].at = Some(now + GATHER + Duration::from_secs(4));
        assert_eq!(lists.due_at(true), lists.plans[0].at);
    }

    #[test]
    fn a_kind_that_rests_delays_no_other_and_none_comes_before_the_first_tools() {
        let (now, rest) = (Instant::now(), Duration::from_secs(4));
        let mut lists = ListsState::new(BackoffSettings::default(), now);
        for kind in [EntryKind::Tool, EntryKind::Prompt] {
            lists.plans[kind as usize].at = Some(now);
        }
        lists.plans[EntryKind::Tool as usize].rests_until = Some(now + rest);
        assert_eq!((lists.due_at(true), lists.due_at(false)), (Some(now), Some(now + rest)));
        assert_eq!(lists.due(now), Kinds::default().with(EntryKind::Prompt));
        lists.begin(lists.due(now));
        assert_eq!(lists.due_at(true), Some(now + rest));
        lists.plans[EntryKind::Tool as usize].at_once = true;
        assert_eq!(lists.due_at(true), Some(now), "calls wait for it");
    }

    #[test]
    fn a_list_that_is_told_to_have_changed_and_has_not_rests_longer_each_time_until_it_has() {
        let now = Instant::now();
        let mut plan = Plan::new(BackoffSettings::default());
        let mut rest = |announced, differs| {
            plan.rests_until = None;
            plan.fetched(announced, differs, now);
            plan.rests_until.map(|until| until.saturating_duration_since(now).as_secs())
        };
        assert_eq!([rest(false, true), rest(false, false)], [None, None]);
        let rests: Vec<_> = (0..7).map(|_| rest(true, false)).collect();
        assert_eq!(rests, [1, 2, 4, 8, 16, 30, 30].map(Some));
        assert_eq!(rest(false, false), None, "nobody has told anything");
        assert_eq!([rest(true, true), rest(true, false)], [None, Some(1)]);
        let mut lists = ListsState::new(BackoffSettings::default(), now);
        lists.plans[EntryKind::Tool as usize].announced = true;
        assert_eq!(lists.begin(Kinds::all()), Kinds::default().with(EntryKind::Tool));
        assert_eq!(lists.begin(Kinds::all()), Kinds::default());
    }

    #[test]
    fn what_a_list_leaves_out_again_is_not_new() {
        let mut lists = ListsState::new(BackoffSettings::default(), Instant::now());
        let entry = |n: u32| SkippedEntry { entry: format!("a b{n}"), reason: "its name".into() };
        let mut told = |numbers: &[u32]| {
            let new = lists.newly_skipped(EntryKind::Tool, numbers.iter().map(|n| entry(*n)).collect());
            new.len()
        };
        assert_eq!(told(&[1, 2, 3]), 3);
        assert_eq!(told(&[1, 2, 3]), 0);
        assert_eq!(told(&[2, 3, 4]), 1);
        assert_eq!(told(&[1]), 1, "it was gone");
        assert_eq!(lists.newly_skipped(EntryKind::Prompt, vec![entry(1)]).len(), 1, "each list by itself");
    }
}
