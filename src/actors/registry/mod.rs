//! RegistryActor: owns which servers there are, which life each is in, when the next begins, and the merged catalogue.
//!
//! ```text
//! Alive ──ended──▶ Waiting (backoff, or quarantine) ──due──▶ Alive
//!   │ │ drained
//!   │ └──▶ Paused ──resumed──▶ Alive
//!   │ unregistered
//!   ▼
//! Leaving ──ended──▶ forgotten
//! ```
//!
//! One that ends for good by its restart policy is *Ended*: it stays registered, and begins again when it is described anew.
//!
//! A server whose description changes begins another life at once; the one before *retires*: it finishes what it has.
//!
//! One server's crash concerns that server alone: it is restarted by its own policy, and one that crashes too often is
//! quarantined, never given up. The next life begins only when the last one's state is gone, which its ledger's arrival
//! proves.

mod lives;
mod member;
mod membership;
pub(crate) mod messages;
mod naming;
pub(crate) mod registration;
pub(crate) mod roster;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;

use self::lives::Beginning;
use self::member::{Member, Phase, Retiring};
use self::messages::{RegistryMsg, Taken};
use self::naming::Naming;
use self::registration::{Enrolment, Registration};
use self::roster::Former;
use self::roster::{Roster, RosterEntry};
use super::Context;
use super::alarm::Alarm;
use super::ledger::Legacy;
use super::meters::RegistryMeters;
use super::supervision::{STOP_GRACE, exit_of, stop_or_kill};
use crate::actors::cache::messages::CacheMsg;
use crate::actors::known_lists::messages::{KnownListsMsg, Lookup};
use crate::actors::numbers::DrainOrder;
use crate::actors::root::messages::Bequest;
use crate::actors::root::messages::RootMsg;
use crate::actors::router::messages::RouterMsg;
use crate::actors::server::messages::ServerMsg;
use crate::config::ToolName;
use crate::duration::later;
use crate::event::{Event, ServerStatus};
use crate::id::{GroupId, Incarnation, RouterLife, ServerId};
use crate::offer::EntryKind;
use crate::policy::catalogue::{Catalogue, Offer, ServerOffer, differences};
use crate::policy::known_lists::Fingerprint;
use crate::policy::named_tools::MissingTool;
use crate::policy::response_cache::{CachedKind, Sweep};
use crate::policy::search::SearchIndex;

/// How long the registry waits for a dead life's ledger. It comes when the state is dropped, within microseconds; a
/// state that is never dropped must not keep its server down.
const HANDOVER_WAIT_MAX: Duration = Duration::from_secs(1);

/// How long a life may take to end after its time to finish is over: longer than its stop in order takes. One that hangs is
/// killed then, so that nobody waits for it for ever.
const FINISH_GRACE: Duration = Duration::from_secs(2 * STOP_GRACE.as_secs());

/// What the registry is started with.
pub(crate) struct RegistryArguments {
    pub context: Context,
    pub root: ActorRef<RootMsg>,
    pub enrolments: Vec<Enrolment>,
    /// Whether these are all servers for now: no source has yet to answer.
    pub complete: bool,
    /// The configuration that they come from.
    pub configuration: Taken,
    pub roster: watch::Sender<Arc<Roster>>,
}

/// The registry's state.
pub(crate) struct RegistryState {
    context: Context,
    root: ActorRef<RootMsg>,
    members: BTreeMap<ServerId, Member>,
    /// What servers had listed when the registry before this one ended, of those that have yet to be registered here.
    former: BTreeMap<ServerId, Former>,
    /// Lives that were replaced and finish what they have.
    retiring: Vec<Retiring>,
    catalogue: Arc<Catalogue>,
    /// The index over it, if anybody has searched.
    index: Arc<OnceCell<Arc<SearchIndex>>>,
    configuration: Taken,
    /// Who keeps what servers list for the next run, if anybody does.
    known_lists: Option<ActorRef<KnownListsMsg>>,
    roster: watch::Sender<Arc<Roster>>,
    /// The settings that name tools, and which of these tools nobody offers.
    naming: Naming,
    /// Members whose standing changed since the last publication.
    changed: BTreeSet<ServerId>,
    offers_changed: bool,
    /// Servers whose last lists are shown since the last publication, and how many tools they have.
    known_shown: Vec<(ServerId, usize)>,
    /// Servers that rest by these orders, since the last publication.
    rested: Vec<(ServerId, DrainOrder)>,
    /// Every source has answered, or failed.
    complete: bool,
    /// The router waits to be told everything.
    introduce: bool,
    publishing: bool,
    next_ping: Instant,
    alarm: Alarm,
    rng: SmallRng,
}

/// Supervises the server actors; see the module's page.
pub(crate) struct RegistryActor;

impl Actor for RegistryActor {
    type Msg = RegistryMsg;
    type State = RegistryState;
    type Arguments = RegistryArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<RegistryMsg>,
        arguments: RegistryArguments,
    ) -> Result<RegistryState, ActorProcessingErr> {
        let RegistryArguments { context, root, enrolments, complete, configuration, roster } = arguments;
        // A server that comes later under an id of then is another one.
        let enrolled: BTreeSet<ServerId> =
            enrolments.iter().map(|enrolment| enrolment.registration.spec.id.clone()).collect();
        for enrolment in enrolments {
            myself.cast(RegistryMsg::Register(enrolment))?;
        }
        let former = roster.borrow().clone();
        let mut seed = DefaultHasher::new();
        (context.seed, "registry").hash(&mut seed);
        Ok(RegistryState {
            next_ping: later(Instant::now(), context.settings.restart.ping_interval),
            members: BTreeMap::new(),
            retiring: Vec::new(),
            // What the servers offered last stays listed until they say otherwise, whatever became of a registry.
            catalogue: former.catalogue.clone(),
            former: former
                .entries
                .iter()
                .map(RosterEntry::left)
                .filter(|(id, _)| enrolled.contains(id))
                .collect(),
            index: Arc::default(),
            configuration,
            known_lists: None,
            naming: Naming::new(context.settings.clone()),
            roster,
            changed: BTreeSet::new(),
            offers_changed: true,
            known_shown: Vec::new(),
            rested: Vec::new(),
            complete,
            introduce: false,
            publishing: false,
            alarm: Alarm::new(context.tasks.clone()),
            rng: SmallRng::seed_from_u64(seed.finish()),
            context,
            root,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<RegistryMsg>,
        message: RegistryMsg,
        state: &mut RegistryState,
    ) -> Result<(), ActorProcessingErr> {
        let now = Instant::now();
        match message {
            RegistryMsg::Register(enrolment) => state.register(&myself, enrolment, now).await?,
            RegistryMsg::Replace(registration) => state.replace(&myself, registration, now).await?,
            RegistryMsg::Amend(registration) => state.amend(registration),
            RegistryMsg::Applied(configuration) => {
                state.configuration = configuration;
                // The handles are told.
                state.offers_changed = true;
            }
            RegistryMsg::Drain { server, until, order } => state.drain(&server, until, order, now),
            RegistryMsg::Resume(server) => state.resume(&myself, &server, now).await?,
            RegistryMsg::Unregister(server) => state.unregister(&server, now),
            RegistryMsg::Complete => {
                state.complete = true;
                // The handles are told as well.
                state.offers_changed = true;
            }
            RegistryMsg::Settings(settings) => {
                state.naming = Naming::new(settings);
                state.tell_missing_tools();
            }
            RegistryMsg::RouterUp(router) => state.router_up(router),
            RegistryMsg::Report { server, incarnation, standing } => {
                state.reported(&server, incarnation, standing, now);
            }
            RegistryMsg::Offer { server, incarnation, offer } => {
                state.offers(server, incarnation, offer);
            }
            RegistryMsg::Details { server, incarnation, details } => {
                if let Some(member) = state.current(&server, incarnation)
                    && member.details.as_ref() != Some(&details)
                {
                    member.details = Some(details);
                    state.changed.insert(server);
                }
            }
            RegistryMsg::KnownListsUp(actor) => {
                state.known_lists = Some(actor);
                state.members.values().for_each(|member| state.keep_or_look_up(&myself, member));
            }
            RegistryMsg::Known { server, fingerprint, offer } => state.known(&server, fingerprint, offer),
            RegistryMsg::Handover(bequest) => state.handed_over(bequest.open()),
            RegistryMsg::Pong { server, incarnation } => {
                if let Some(member) = state.current(&server, incarnation) {
                    member.heard_at = now;
                    member.suspected = false;
                }
            }
            RegistryMsg::Publish => state.publish(),
            RegistryMsg::Due => state.alarm.rang(),
            #[cfg(feature = "testkit")]
            RegistryMsg::Panic => panic!("ordered by the testkit"),
        }
        state.tend(&myself, now).await
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<RegistryMsg>,
        event: SupervisionEvent,
        state: &mut RegistryState,
    ) -> Result<(), ActorProcessingErr> {
        let Some((child, cause)) = exit_of(event) else { return Ok(()) };
        let now = Instant::now();
        let found = state.members.iter().find(|(_, m)| m.actor().is_some_and(|a| a.get_id() == child));
        if let Some(server) = found.map(|(server, _)| server.clone()) {
            state.ended(&server, cause, now);
        } else if let Some(index) = state.retiring.iter().position(|life| life.actor.get_id() == child) {
            state.retired(index);
        }
        state.tend(&myself, now).await
    }

    async fn post_stop(
        &self,
        _: ActorRef<RegistryMsg>,
        state: &mut RegistryState,
    ) -> Result<(), ActorProcessingErr> {
        let retiring = state.retiring.iter().map(|life| &life.actor);
        let actors = state.members.values().filter_map(Member::actor).chain(retiring);
        let actors = actors.map(|actor| actor.get_cell());
        // A server stops its connections within its own grace.
        join_all(actors.map(|actor| stop_or_kill(actor, 2 * STOP_GRACE))).await;
        for (server, member) in &mut state.members {
            member.standing.status = ServerStatus::Stopped;
            RegistryMeters::stands(server, ServerStatus::Stopped);
        }
        state.show();
        Ok(())
    }
}

/// What members have that rest, or wait for their next life, is no life's; it goes to the next registry.
impl Drop for RegistryState {
    fn drop(&mut self) {
        for (server, member) in std::mem::take(&mut self.members) {
            if member.alive().is_none() {
                let whole = member.buried == member.incarnation;
                let (incarnation, ledger) = (member.incarnation, member.ledger);
                drop(Bequest::new(Legacy { server, incarnation, whole, ledger }, &self.root));
            }
        }
    }
}

impl RegistryState {
    /// The member, if `incarnation` is its current life.
    fn current(&mut self, server: &ServerId, incarnation: Incarnation) -> Option<&mut Member> {
        self.members.get_mut(server).filter(|member| member.incarnation == incarnation)
    }

    /// A server tells what it offers.
    fn offers(&mut self, server: ServerId, incarnation: Incarnation, offer: Offer) {
        let Some(member) = self.current(&server, incarnation) else { return };
        let former = member.offer.replace(offer.clone());
        (member.known, member.looking_up) = (None, false);
        let (group, fingerprint) = (member.registration.spec.group.clone(), member.fingerprint());
        member.listed_as = Some(fingerprint);
        member.listed = true;
        if former.as_ref() != Some(&offer) {
            if let Some(former) = former {
                self.clear_changed(&group, &former, &offer);
            }
            self.offers_changed = true;
            self.changed.insert(server);
        }
        if let Some(known_lists) = &self.known_lists {
            // The successor of one that has ended is told by all.
            let _ = known_lists.cast(KnownListsMsg::Keep { fingerprint, offer });
        }
    }

    /// What a member lists is kept for the next run. One that has yet to list is shown with what it listed at its last one.
    fn keep_or_look_up(&self, myself: &ActorRef<RegistryMsg>, member: &Member) {
        let Some(known_lists) = &self.known_lists else { return };
        let Registration { spec, connector, .. } = &member.registration;
        let fingerprint = member.fingerprint();
        let message = match &member.offer {
            Some(offer) if member.listed_as == Some(fingerprint) => {
                KnownListsMsg::Keep { fingerprint, offer: offer.clone() }
            }
            // It has yet to list as it is described now, or is shown.
            Some(_) => return,
            None if member.known.is_some() => return,
            None => {
                let (server, registry) = (spec.id.clone(), myself.clone());
                let of = server.clone();
                let found = Box::new(move |offer| {
                    // The next registry asks for itself.
                    let _ = registry.cast(RegistryMsg::Known { server: of.clone(), fingerprint, offer });
                });
                KnownListsMsg::LookUp(Lookup { server, fingerprint, mirrored: connector.mirrors(), found })
            }
        };
        // As above.
        let _ = known_lists.cast(message);
    }

    /// This is what a server of this description listed at its last run, if that is known.
    fn known(&mut self, server: &ServerId, fingerprint: Fingerprint, offer: Option<Offer>) {
        let Some(member) = self.members.get_mut(server) else { return };
        // It has listed meanwhile, or is described anew.
        if member.offer.is_some() || member.fingerprint() != fingerprint {
            return;
        }
        self.changed.insert(server.clone());
        member.looking_up = false;
        if let Some(actor) = member.alive() {
            // Its next life begins with it.
            let _ = actor.cast(ServerMsg::Known(offer.clone()));
        }
        let Some(offer) = offer else { return };
        self.known_shown
            .push((server.clone(), offer.clone().chosen(&member.registration.spec.tool_choice).tools.len()));
        member.known = Some((offer, fingerprint));
        self.offers_changed = true;
    }

    /// What a server of a group offers is not what it was: what it answered may not be either.
    fn clear_changed(&self, group: &GroupId, former: &Offer, offer: &Offer) {
        let (_, removed, changed) = differences(&former.tools, &offer.tools);
        let stale = removed.into_iter().chain(changed);
        let tools = stale.map(|tool| Sweep::Tool(ToolName { group: Some(group.clone()), tool }));
        let others = [(CachedKind::Resource, EntryKind::Resource), (CachedKind::Prompt, EntryKind::Prompt)];
        let others = others.into_iter().filter(|(_, of)| former.of(*of) != offer.of(*of));
        let others = others.map(|(kind, _)| Sweep::Of { kind, group: group.clone(), name: None });
        let sweeps = tools.chain(others);
        self.context.current_actors.borrow().tell_cache(CacheMsg::Changed(sweeps.collect()));
    }

    /// A new router: it is told every member at once, and the rest with the next publication.
    fn router_up(&mut self, router: RouterLife) {
        self.introduce = true;
        self.offers_changed = true;
        // What the former router asked for has been answered by its end. This comes before anything that the new one can
        // ask for, and says which one it is, since that may have heard of a server already.
        let retiring = self.retiring.iter().map(|life| &life.actor);
        for actor in self.members.values().filter_map(Member::actor).chain(retiring) {
            let _ = actor.cast(ServerMsg::CancelAll { router });
        }
        for member in self.members.values() {
            if let Phase::Ended | Phase::Leaving(_) = member.phase {
                continue;
            }
            self.context.to_router(RouterMsg::Joined {
                spec: member.registration.spec.clone(),
                incarnation: member.incarnation,
                // One that is drained gets no new calls by its standing, and those on its leases go on.
                actor: member.actor().cloned(),
                standing: member.standing.clone(),
            });
        }
        for Retiring { spec, incarnation, actor, .. } in &self.retiring {
            let (spec, incarnation, actor) = (spec.clone(), *incarnation, actor.clone());
            self.context.to_router(RouterMsg::Retiring { spec, incarnation, actor });
        }
        // What the former router was to tell them, it may have taken with it; this one asks nothing of them.
        for (actor, until) in self.finishing() {
            let _ = actor.cast(ServerMsg::Drain { until });
        }
    }

    async fn tend(&mut self, myself: &ActorRef<RegistryMsg>, now: Instant) -> Result<(), ActorProcessingErr> {
        let due: Vec<ServerId> = self
            .members
            .iter()
            .filter(|(_, member)| match member.phase {
                Phase::Waiting { until, ended_at, handed_over } => {
                    until <= now && (handed_over || later(ended_at, HANDOVER_WAIT_MAX) <= now)
                }
                Phase::Alive(_) | Phase::Paused { .. } | Phase::Ended | Phase::Leaving(_) => false,
            })
            .map(|(server, _)| server.clone())
            .collect();
        for server in due {
            self.start(myself, &server, Beginning::After, now).await?;
        }
        self.overdue().filter(|(_, by)| *by <= now).for_each(|(actor, _)| actor.kill());
        if self.next_ping <= now {
            self.ping(now);
        }
        if !self.publishing
            && (self.complete && self.introduce || self.offers_changed || !self.changed.is_empty())
        {
            self.publishing = true;
            myself.cast(RegistryMsg::Publish)?;
        }
        let restarts = self.members.values().filter_map(|member| match member.phase {
            Phase::Waiting { until, ended_at, handed_over } => {
                Some(if handed_over || until > now { until } else { later(ended_at, HANDOVER_WAIT_MAX) })
            }
            Phase::Alive(_) | Phase::Paused { .. } | Phase::Ended | Phase::Leaving(_) => None,
        });
        let finishing = self.overdue().map(|(_, by)| by).filter(|by| *by > now);
        let next = restarts.chain(finishing).chain([self.next_ping]).min();
        self.alarm.set(next, myself, || RegistryMsg::Due);
        Ok(())
    }

    /// Tells the router and the handles what has changed: the catalogue first, so that a server never stands ready
    /// with tools that nobody knows.
    fn publish(&mut self) {
        self.publishing = false;
        // Those that are registered again have been: what comes later under such an id is another server.
        self.former.clear();
        if std::mem::take(&mut self.offers_changed) {
            let version = self.catalogue.version() + 1;
            let listed = self.members.values().filter_map(|member| {
                let spec = &member.registration.spec;
                let offer = match member.phase {
                    Phase::Ended | Phase::Leaving(_) => None,
                    Phase::Alive(_) | Phase::Paused { .. } | Phase::Waiting { .. } => member.shown(),
                }?;
                Some(ServerOffer {
                    server: spec.id.clone(),
                    group: spec.group.clone(),
                    order: spec.order,
                    trusted: spec.trusted,
                    confirmed: member.listed,
                    offer: offer.clone().chosen(&spec.tool_choice),
                })
            });
            let groups = self.members.values().map(|member| member.registration.spec.group.clone());
            let collisions = self.context.settings.collisions;
            self.catalogue = Arc::new(Catalogue::merge_among(version, listed, groups, collisions));
            self.index = Arc::default();
            self.context.to_router(RouterMsg::Catalogue(self.catalogue.clone()));
        }
        for server in std::mem::take(&mut self.changed) {
            let Some(member) = self.members.get(&server).filter(|member| member.alive().is_some()) else {
                continue;
            };
            let (incarnation, standing) = (member.incarnation, member.standing.clone());
            self.context.to_router(RouterMsg::Standing { server, incarnation, standing });
        }
        if self.complete && std::mem::take(&mut self.introduce) {
            self.context.to_router(RouterMsg::Introduced);
        }
        self.show();
        self.tell_missing_tools();
        for (server, tools) in self.known_shown.drain(..) {
            self.context.emit(Event::KnownListsShown { server, tools });
        }
        for (server, order) in self.rested.drain(..) {
            // Without a root the whole troupe is ending.
            let _ = self.root.cast(RootMsg::Rested { server, order });
        }
    }

    /// Tells settings that name tools that nobody offers, once each server that could has listed.
    fn tell_missing_tools(&mut self) {
        let listed = self.roster.borrow().listed();
        for missing in self.naming.look(&self.catalogue, listed) {
            let MissingTool { setting, tool, near } = missing;
            self.context.emit(Event::NamedToolMissing { setting, tool, near });
        }
    }

    /// Publishes the roster to the handles.
    fn show(&self) {
        let entries = self.members.values().map(|member| RosterEntry {
            info: member.info(),
            actor: member.alive().cloned(),
            offer: member.offer.clone().map(|offer| (offer, member.listed_as)),
            known: member.known.clone(),
            listed: member.lists_are_known(),
            settled: member.settled && !member.looking_up,
            leaving: matches!(member.phase, Phase::Ended | Phase::Leaving(_)),
            timeout: member.registration.spec.timeout,
        });
        let mut entries: Vec<RosterEntry> = entries.collect();
        let Taken { number: configuration, disabled, left_out } = &self.configuration;
        // One that somebody has registered under such an id plays.
        let disabled = disabled.iter().filter(|server| !self.members.contains_key(*server));
        entries.extend(disabled.map(RosterEntry::disabled));
        entries.sort_by(|one, other| one.info.id.cmp(&other.info.id));
        let (complete, configuration, left_out) = (self.complete, *configuration, *left_out);
        let (catalogue, index) = (self.catalogue.clone(), self.index.clone());
        let roster = Roster { told: true, complete, configuration, left_out, entries, catalogue, index };
        self.roster.send_replace(Arc::new(roster));
    }
}
