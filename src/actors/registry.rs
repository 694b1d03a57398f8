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
//! A server whose description changes begins another life at once; the one before *retires*: it finishes what it has.
//!
//! One server's crash concerns that server alone: it is restarted by its own policy, and one that crashes too often is
//! quarantined, never given up. The next life begins only when the last one's state is gone, which its ledger's arrival
//! proves.

mod registration;
mod roster;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::{OnceCell, oneshot, watch};
use tokio::time::Instant;

pub(crate) use self::registration::Registration;
pub(crate) use self::roster::{Roster, RosterEntry};
use super::Context;
use super::alarm::Alarm;
use super::cache::CacheMsg;
use super::ledger::Ledger;
use super::meters::RegistryMeters;
use super::root::RootMsg;
use super::router::RouterMsg;
use super::server::{ServerActor, ServerArguments, ServerMsg};
use super::supervision::{STOP_GRACE, exit_of, stop_or_kill};
use crate::config::ToolName;
use crate::event::{Event, ExitCause, ServerStatus};
use crate::id::{GroupId, Incarnation, ServerId};
use crate::offer::OfferKind;
use crate::policy::catalogue::{Catalogue, Offer, ServerOffer, differences};
use crate::policy::response_cache::{CachedKind, Sweep};
use crate::policy::restart::{Decision, RestartPolicy};
use crate::policy::routing::Standing;
use crate::policy::search::SearchIndex;
use crate::stats::ServerInfo;

/// How long the registry waits for a dead life's ledger. It comes when the state is dropped, within microseconds; a
/// state that is never dropped must not keep its server down.
const HANDOVER_WAIT_MAX: Duration = Duration::from_secs(1);

/// What the registry is told.
pub(crate) enum RegistryMsg {
    /// By the root: a new server; its id is free. A paused one is not started.
    Register { registration: Registration, paused: bool },
    /// By the root: another description of a server.
    Replace(Registration),
    /// By the root: another description of a server, for which its connections are as good.
    Amend(Registration),
    /// By the root: what it ordered so far belongs to this configuration.
    Applied(u64),
    /// By the root: a server takes no new calls, finishes what it has until then, and rests. Answered when it does.
    Drain { server: ServerId, until: Instant, port: oneshot::Sender<()> },
    /// By the root: a server that rests is started again.
    Resume(ServerId),
    /// By the root: a server leaves.
    Unregister(ServerId),
    /// By the root: every source of servers has answered, or failed; those it knows are all there are.
    Complete,
    /// By the root: there is a new router, which knows nothing yet.
    RouterUp,
    /// By a server actor: where it stands.
    Report { server: ServerId, incarnation: Incarnation, standing: Standing },
    /// By a server actor: what it offers.
    Offer { server: ServerId, incarnation: Incarnation, offer: Offer },
    /// By a server actor's last breath: what its next life needs.
    Handover { server: ServerId, incarnation: Incarnation, ledger: Box<Ledger> },
    /// By a server actor: a sign of life.
    Pong { server: ServerId, incarnation: Incarnation },
    /// By itself: what has changed is published, once for all that came together.
    Publish,
    /// By the alarm.
    Due,
    /// By the testkit: panic in this handler.
    #[cfg(feature = "testkit")]
    Panic,
}

/// What the registry is started with.
pub(crate) struct RegistryArguments {
    pub context: Context,
    pub root: ActorRef<RootMsg>,
    /// Each with whether it rests.
    pub registrations: Vec<(Registration, bool)>,
    /// Whether these are all servers for now: no source has yet to answer.
    pub complete: bool,
    /// The number of the configuration that they come from.
    pub configuration: u64,
    pub roster: watch::Sender<Arc<Roster>>,
}

/// Where a member stands with its supervisor.
enum Phase {
    Alive(ActorRef<ServerMsg>),
    Waiting {
        until: Instant,
        ended_at: Instant,
        handed_over: bool,
    },
    /// Drained by order of the host; those who wait for its rest are told.
    Paused {
        actor: Option<ActorRef<ServerMsg>>,
        tell: Vec<oneshot::Sender<()>>,
    },
    Leaving(Option<ActorRef<ServerMsg>>),
}

/// One server as its supervisor sees it.
struct Member {
    registration: Registration,
    incarnation: Incarnation,
    phase: Phase,
    restart: RestartPolicy,
    standing: Standing,
    offer: Option<Offer>,
    ledger: Ledger,
    /// When the life that is drained, or leaves, ends at the latest.
    finish_by: Instant,
    /// When its actor last showed a sign of life.
    heard_at: Instant,
    /// It was asked to stop because it was silent; the next time it is killed.
    suspected: bool,
}

impl Member {
    fn actor(&self) -> Option<&ActorRef<ServerMsg>> {
        match &self.phase {
            Phase::Alive(actor) | Phase::Leaving(Some(actor)) | Phase::Paused { actor: Some(actor), .. } => {
                Some(actor)
            }
            Phase::Waiting { .. } | Phase::Leaving(None) | Phase::Paused { actor: None, .. } => None,
        }
    }

    fn alive(&self) -> Option<&ActorRef<ServerMsg>> {
        match &self.phase {
            Phase::Alive(actor) => Some(actor),
            Phase::Waiting { .. } | Phase::Paused { .. } | Phase::Leaving(_) => None,
        }
    }

    fn info(&self) -> ServerInfo {
        let spec = &self.registration.spec;
        ServerInfo {
            id: spec.id.clone(),
            group: spec.group.clone(),
            tags: spec.tags.clone(),
            origin: self.registration.origin.clone(),
            metadata: spec.metadata.clone(),
            endpoint: self.registration.connector.endpoint(),
            status: self.standing.status,
            reason: self.standing.reason.clone(),
            retry_at: self.standing.retry_at,
            incarnation: self.incarnation,
            restarts: self.restart.total(),
            tools: self.offer.as_ref().map_or(0, |offer| offer.tools.len()),
        }
    }
}

/// A life that was replaced.
struct Retiring {
    server: ServerId,
    incarnation: Incarnation,
    actor: ActorRef<ServerMsg>,
    finish_by: Instant,
}

/// The registry's state.
pub(crate) struct RegistryState {
    context: Context,
    root: ActorRef<RootMsg>,
    members: BTreeMap<ServerId, Member>,
    /// Lives that were replaced and finish what they have.
    retiring: Vec<Retiring>,
    catalogue: Arc<Catalogue>,
    /// The index over it, if anybody has searched.
    index: Arc<OnceCell<Arc<SearchIndex>>>,
    configuration: u64,
    roster: watch::Sender<Arc<Roster>>,
    /// Members whose standing changed since the last publication.
    changed: BTreeSet<ServerId>,
    offers_changed: bool,
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
        let RegistryArguments { context, root, registrations, complete, configuration, roster } = arguments;
        for (registration, paused) in registrations {
            myself.cast(RegistryMsg::Register { registration, paused })?;
        }
        let mut seed = DefaultHasher::new();
        (context.seed, "registry").hash(&mut seed);
        Ok(RegistryState {
            next_ping: Instant::now() + context.settings.restart.ping_interval,
            members: BTreeMap::new(),
            retiring: Vec::new(),
            catalogue: Arc::new(Catalogue::empty()),
            index: Arc::default(),
            configuration,
            roster,
            changed: BTreeSet::new(),
            offers_changed: true,
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
            RegistryMsg::Register { registration, paused } => {
                state.register(&myself, registration, paused, now).await?;
            }
            RegistryMsg::Replace(registration) => state.replace(&myself, registration, now).await?,
            RegistryMsg::Amend(registration) => state.amend(registration),
            RegistryMsg::Applied(configuration) => {
                state.configuration = configuration;
                // The handles are told.
                state.offers_changed = true;
            }
            RegistryMsg::Drain { server, until, port } => state.drain(&server, until, port, now),
            RegistryMsg::Resume(server) => state.resume(&myself, &server, now).await?,
            RegistryMsg::Unregister(server) => state.unregister(&server, now),
            RegistryMsg::Complete => {
                state.complete = true;
                // The handles are told as well.
                state.offers_changed = true;
            }
            RegistryMsg::RouterUp => state.router_up(),
            RegistryMsg::Report { server, incarnation, standing } => {
                state.reported(&server, incarnation, standing, now);
            }
            RegistryMsg::Offer { server, incarnation, offer } => {
                if let Some(member) = state.current(&server, incarnation) {
                    let former = member.offer.replace(offer.clone());
                    let group = member.registration.spec.group.clone();
                    if let Some(former) = former {
                        state.clear_changed(&group, &former, &offer);
                    }
                    state.offers_changed = true;
                    state.changed.insert(server);
                }
            }
            RegistryMsg::Handover { server, incarnation, ledger } => {
                if let Some(member) = state.current(&server, incarnation) {
                    member.ledger = *ledger;
                    if let Phase::Waiting { handed_over, .. } = &mut member.phase {
                        *handed_over = true;
                    }
                }
            }
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

impl RegistryState {
    /// The member, if `incarnation` is its current life.
    fn current(&mut self, server: &ServerId, incarnation: Incarnation) -> Option<&mut Member> {
        self.members.get_mut(server).filter(|member| member.incarnation == incarnation)
    }

    async fn register(
        &mut self,
        myself: &ActorRef<RegistryMsg>,
        registration: Registration,
        paused: bool,
        now: Instant,
    ) -> Result<(), ActorProcessingErr> {
        let spec = registration.spec.clone();
        let settings = &self.context.settings;
        let member = Member {
            incarnation: Incarnation::FIRST,
            phase: Phase::Waiting { until: now, ended_at: now, handed_over: true },
            restart: RestartPolicy::new(settings.restart.clone()),
            standing: Standing::beginning(),
            offer: None,
            ledger: Ledger::new(&spec, settings),
            finish_by: now,
            heard_at: now,
            suspected: false,
            registration,
        };
        RegistryMeters::stands(&spec.id, member.standing.status);
        self.members.insert(spec.id.clone(), member);
        self.context.emit(Event::ServerRegistered { server: spec.id.clone(), group: spec.group.clone() });
        if paused {
            return self.rest(&spec.id, now);
        }
        self.start(myself, &spec.id, Incarnation::FIRST, false, now).await
    }

    /// Gives a server another description, and with it another life.
    async fn replace(
        &mut self,
        myself: &ActorRef<RegistryMsg>,
        registration: Registration,
        now: Instant,
    ) -> Result<(), ActorProcessingErr> {
        let server = registration.spec.id.clone();
        let Some(member) = self.members.get_mut(&server) else { return Ok(()) };
        let fresh = Ledger::new(&registration.spec, &self.context.settings);
        // The figures are the server's; what was learned of the former endpoint is not.
        let Ledger { outcomes, latency, next_connection, subscriptions, .. } = member.ledger.clone();
        member.ledger = Ledger { outcomes, latency, next_connection, subscriptions, ..fresh };
        member.registration = registration;
        self.changed.insert(server.clone());
        let retiring = match &member.phase {
            Phase::Alive(actor) => Some((actor.clone(), member.incarnation)),
            Phase::Waiting { .. } => None,
            // One that rests begins with the new description when it is resumed.
            Phase::Paused { .. } | Phase::Leaving(_) => return Ok(()),
        };
        let next = member.incarnation.next();
        let until = now + self.context.settings.shutdown_drain;
        let beside = retiring.is_some();
        if let Some((actor, incarnation)) = retiring.clone() {
            self.retiring.push(Retiring { server: server.clone(), incarnation, actor, finish_by: until });
        }
        self.start(myself, &server, next, beside, now).await?;
        if let Some((actor, _)) = retiring {
            self.context.to_router(RouterMsg::Finish { actor, until });
        }
        Ok(())
    }

    /// Gives a server another description and leaves its actor and its connections alone.
    fn amend(&mut self, registration: Registration) {
        let server = registration.spec.id.clone();
        let Some(member) = self.members.get_mut(&server) else { return };
        let spec = registration.spec.clone();
        member.registration = registration;
        self.context.to_router(RouterMsg::Amended(spec));
        self.offers_changed = true;
        self.changed.insert(server);
    }

    /// What a server of a group offers is not what it was: what it answered may not be either.
    fn clear_changed(&self, group: &GroupId, former: &Offer, offer: &Offer) {
        let (_, removed, changed) = differences(&former.tools, &offer.tools);
        let stale = removed.into_iter().chain(changed);
        let tools = stale.map(|tool| Sweep::Tool(ToolName { group: Some(group.clone()), tool }));
        let others = [(CachedKind::Resource, OfferKind::Resource), (CachedKind::Prompt, OfferKind::Prompt)];
        let others = others.into_iter().filter(|(_, of)| former.of(*of) != offer.of(*of));
        let others = others.map(|(kind, _)| Sweep::Of { kind, group: group.clone(), name: None });
        let sweeps = tools.chain(others);
        self.context.stage.borrow().tell_cache(CacheMsg::Changed(sweeps.collect()));
    }

    /// A life that was replaced is over.
    fn retired(&mut self, index: usize) {
        let Retiring { server, incarnation, .. } = self.retiring.swap_remove(index);
        self.context.to_router(RouterMsg::Retired { server: server.clone(), incarnation });
        if self.members.get(&server).is_some_and(|member| matches!(member.phase, Phase::Leaving(None))) {
            self.forget(&server);
        }
    }

    /// Takes a server out of service.
    fn drain(&mut self, server: &ServerId, until: Instant, port: oneshot::Sender<()>, now: Instant) {
        let Some(member) = self.members.get_mut(server) else { return };
        member.finish_by = until;
        let mut finishing = None;
        match &mut member.phase {
            Phase::Alive(actor) => {
                finishing = Some(actor.clone());
                member.phase = Phase::Paused { actor: Some(actor.clone()), tell: vec![port] };
            }
            Phase::Paused { actor: Some(actor), tell } => {
                let actor = actor.clone();
                tell.push(port);
                return self.context.to_router(RouterMsg::Finish { actor, until });
            }
            Phase::Waiting { .. } => {
                member.phase = Phase::Paused { actor: None, tell: Vec::new() };
                let _ = port.send(());
            }
            // It rests already, or is leaving: the port's end says so.
            Phase::Paused { actor: None, .. } | Phase::Leaving(_) => {
                let _ = port.send(());
                return;
            }
        }
        let status = if member.actor().is_some() { ServerStatus::Draining } else { ServerStatus::Stopped };
        self.stand_aside(server, status, now);
        if let Some(actor) = finishing {
            self.context.to_router(RouterMsg::Finish { actor, until });
        }
    }

    /// Sets a server aside: the router is told at once, since no actor of it will.
    fn stand_aside(&mut self, server: &ServerId, status: ServerStatus, now: Instant) {
        let Some(member) = self.members.get_mut(server) else { return };
        let reason = match member.phase {
            Phase::Leaving(_) => "it was removed",
            Phase::Alive(_) | Phase::Waiting { .. } | Phase::Paused { .. } => "it was drained",
        };
        let former = member.standing.status;
        member.standing = Standing {
            status,
            hopeful: false,
            listed: member.offer.is_some(),
            slots: 0,
            reason: Some(reason.to_owned()),
            ..Standing::beginning()
        };
        let (incarnation, standing) = (member.incarnation, member.standing.clone());
        self.context.to_router(RouterMsg::Standing {
            server: server.clone(),
            incarnation,
            standing: standing.clone(),
        });
        self.tell_status(server, incarnation, former, &standing, now);
        self.changed.insert(server.clone());
    }

    /// Registers a server that rests.
    fn rest(&mut self, server: &ServerId, now: Instant) -> Result<(), ActorProcessingErr> {
        let Some(member) = self.members.get_mut(server) else { return Ok(()) };
        member.phase = Phase::Paused { actor: None, tell: Vec::new() };
        self.context.to_router(RouterMsg::Joined {
            spec: member.registration.spec.clone(),
            incarnation: member.incarnation,
            actor: None,
            standing: member.standing.clone(),
        });
        self.stand_aside(server, ServerStatus::Stopped, now);
        Ok(())
    }

    /// Puts a server that rests, or is about to, back into service.
    async fn resume(
        &mut self,
        myself: &ActorRef<RegistryMsg>,
        server: &ServerId,
        now: Instant,
    ) -> Result<(), ActorProcessingErr> {
        let Some(member) = self.members.get_mut(server) else { return Ok(()) };
        let Phase::Paused { actor, .. } = &member.phase else { return Ok(()) };
        let beside = actor.is_some();
        if let Some(actor) = actor.clone() {
            let (incarnation, finish_by) = (member.incarnation, member.finish_by);
            self.retiring.push(Retiring { server: server.clone(), incarnation, actor, finish_by });
        }
        let next = member.incarnation.next();
        self.start(myself, server, next, beside, now).await
    }

    /// Begins a life, in place of one that has ended or `beside` one that retires.
    async fn start(
        &mut self,
        myself: &ActorRef<RegistryMsg>,
        server: &ServerId,
        incarnation: Incarnation,
        beside: bool,
        now: Instant,
    ) -> Result<(), ActorProcessingErr> {
        let Some(member) = self.members.get_mut(server) else { return Ok(()) };
        let arguments = ServerArguments {
            context: self.context.clone(),
            spec: member.registration.spec.clone(),
            connector: member.registration.connector.clone(),
            incarnation,
            registry: myself.clone(),
            ledger: member.ledger.clone(),
            offer: member.offer.clone(),
        };
        let (actor, _) = ServerActor::spawn_linked(None, ServerActor, arguments, myself.get_cell()).await?;
        let former = member.standing.status;
        member.incarnation = incarnation;
        member.phase = Phase::Alive(actor.clone());
        member.heard_at = now;
        member.suspected = false;
        member.standing = Standing { listed: member.offer.is_some(), ..Standing::beginning() };
        let (spec, standing) = (member.registration.spec.clone(), member.standing.clone());
        self.context.to_router(if beside {
            RouterMsg::Replaced { spec, incarnation, actor: Some(actor), standing }
        } else {
            RouterMsg::Joined { spec, incarnation, actor: Some(actor), standing }
        });
        let standing = member.standing.clone();
        self.tell_status(server, incarnation, former, &standing, now);
        self.changed.insert(server.clone());
        Ok(())
    }

    fn unregister(&mut self, server: &ServerId, now: Instant) {
        let Some(member) = self.members.get_mut(server) else { return };
        let alive = member.alive().cloned();
        let actor = member.actor().cloned();
        let gone = actor.is_none();
        member.phase = Phase::Leaving(actor);
        self.offers_changed = true;
        self.context.to_router(RouterMsg::Leaving(server.clone()));
        if let Some(actor) = alive {
            let until = now + self.context.settings.shutdown_drain;
            member.finish_by = until;
            self.context.to_router(RouterMsg::Finish { actor, until });
        }
        if gone {
            self.forget(server);
        } else {
            self.stand_aside(server, ServerStatus::Draining, now);
        }
    }

    fn forget(&mut self, server: &ServerId) {
        if self.retiring.iter().any(|life| life.server == *server) {
            // Its id is free when the last of its lives is over.
            if let Some(member) = self.members.get_mut(server) {
                member.phase = Phase::Leaving(None);
            }
            return;
        }
        self.members.remove(server);
        RegistryMeters::left(server);
        // Without a root the whole troupe is ending.
        let _ = self.root.cast(RootMsg::Forgotten(server.clone()));
        self.changed.remove(server);
        self.context.to_router(RouterMsg::Left(server.clone()));
        self.context.emit(Event::ServerUnregistered { server: server.clone() });
        self.offers_changed = true;
    }

    /// A new router: it is told every member at once, and the rest with the next publication.
    fn router_up(&mut self) {
        self.introduce = true;
        self.offers_changed = true;
        for member in self.members.values() {
            if let Phase::Leaving(_) = member.phase {
                continue;
            }
            self.context.to_router(RouterMsg::Joined {
                spec: member.registration.spec.clone(),
                incarnation: member.incarnation,
                actor: member.alive().cloned(),
                standing: member.standing.clone(),
            });
        }
        // What the former router was to tell them, it may have taken with it; this one asks nothing of them.
        let finishing = self.members.values().filter_map(|member| match &member.phase {
            Phase::Leaving(actor) | Phase::Paused { actor, .. } => Some((actor.as_ref()?, member.finish_by)),
            Phase::Alive(_) | Phase::Waiting { .. } => None,
        });
        let retiring = self.retiring.iter().map(|life| (&life.actor, life.finish_by));
        for (actor, until) in finishing.chain(retiring) {
            let _ = actor.cast(ServerMsg::Drain { until });
        }
        // What the former router asked for has been answered by its end.
        let retiring = self.retiring.iter().map(|life| &life.actor);
        for actor in self.members.values().filter_map(Member::actor).chain(retiring) {
            let _ = actor.cast(ServerMsg::CancelAll);
        }
    }

    fn reported(&mut self, server: &ServerId, incarnation: Incarnation, standing: Standing, now: Instant) {
        let Some(member) = self.current(server, incarnation) else { return };
        if member.alive().is_none() {
            return;
        }
        let former = std::mem::replace(&mut member.standing, standing.clone()).status;
        if standing.status == ServerStatus::Ready && former != ServerStatus::Ready {
            member.restart.ready(now);
        }
        self.tell_status(server, incarnation, former, &standing, now);
        self.changed.insert(server.clone());
    }

    fn tell_status(
        &self,
        server: &ServerId,
        incarnation: Incarnation,
        from: ServerStatus,
        standing: &Standing,
        now: Instant,
    ) {
        if from == standing.status {
            return;
        }
        RegistryMeters::stands(server, standing.status);
        self.context.emit(Event::ServerStatusChanged {
            server: server.clone(),
            incarnation,
            from,
            to: standing.status,
            reason: standing.reason.clone(),
            retry_in: standing.retry_at.map(|at| at.saturating_duration_since(now)),
        });
    }

    /// A server's actor ended: the router is told, and the policy decides what follows.
    fn ended(&mut self, server: &ServerId, cause: ExitCause, now: Instant) {
        let Some(member) = self.members.get_mut(server) else { return };
        if let Phase::Leaving(_) = member.phase {
            return self.forget(server);
        }
        if let Phase::Paused { actor, tell } = &mut member.phase {
            *actor = None;
            for port in std::mem::take(tell) {
                // Whoever waited may have left.
                let _ = port.send(());
            }
            let (incarnation, standing) = (member.incarnation, member.standing.clone());
            self.context.to_router(RouterMsg::Down { server: server.clone(), incarnation, cause, standing });
            return self.stand_aside(server, ServerStatus::Stopped, now);
        }
        let incarnation = member.incarnation;
        let decision = member.restart.decide(&cause, now, &mut self.rng);
        let (status, until) = match decision {
            Decision::Restart { after } => (ServerStatus::Restarting, Some(now + after)),
            Decision::Quarantine { after } => (ServerStatus::Quarantined, Some(now + after)),
            Decision::Leave => (ServerStatus::Stopped, None),
        };
        if until.is_some() {
            RegistryMeters::restarted(server);
        }
        let former = member.standing.status;
        member.standing = Standing {
            status,
            // The first restarts follow within milliseconds.
            hopeful: matches!(decision, Decision::Restart { after } if after < Duration::from_secs(1)),
            listed: member.offer.is_some(),
            slots: 0,
            reason: Some(format!("its actor ended: {cause}")),
            retry_at: until,
            ..Standing::beginning()
        };
        member.phase = match until {
            Some(until) => Phase::Waiting { until, ended_at: now, handed_over: false },
            None => {
                self.offers_changed = true;
                Phase::Leaving(None)
            }
        };
        let standing = member.standing.clone();
        let restarts_in_window = member.restart.in_window(now);
        self.context.to_router(RouterMsg::Down {
            server: server.clone(),
            incarnation,
            cause: cause.clone(),
            standing: standing.clone(),
        });
        self.context.emit(Event::ServerDown {
            server: server.clone(),
            incarnation,
            cause,
            restarts_in_window,
            restart_in: until.map(|until| until.saturating_duration_since(now)),
        });
        self.tell_status(server, incarnation, former, &standing, now);
        self.changed.insert(server.clone());
    }

    // === upkeep ===

    async fn tend(&mut self, myself: &ActorRef<RegistryMsg>, now: Instant) -> Result<(), ActorProcessingErr> {
        let due: Vec<(ServerId, Incarnation)> = self
            .members
            .iter()
            .filter(|(_, member)| match member.phase {
                Phase::Waiting { until, ended_at, handed_over } => {
                    until <= now && (handed_over || ended_at + HANDOVER_WAIT_MAX <= now)
                }
                Phase::Alive(_) | Phase::Paused { .. } | Phase::Leaving(_) => false,
            })
            .map(|(server, member)| (server.clone(), member.incarnation.next()))
            .collect();
        for (server, incarnation) in due {
            self.start(myself, &server, incarnation, false, now).await?;
        }
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
                Some(if handed_over || until > now { until } else { ended_at + HANDOVER_WAIT_MAX })
            }
            Phase::Alive(_) | Phase::Paused { .. } | Phase::Leaving(_) => None,
        });
        let next = restarts.chain([self.next_ping]).min();
        self.alarm.set(next, myself, || RegistryMsg::Due);
        Ok(())
    }

    /// Dead-man's switch: a server actor that shows no sign of life is stopped, then killed.
    fn ping(&mut self, now: Instant) {
        let settings = &self.context.settings.restart;
        self.next_ping = now + settings.ping_interval;
        for member in self.members.values_mut() {
            let Phase::Alive(actor) = &member.phase else { continue };
            let silent = now.saturating_duration_since(member.heard_at) > settings.ping_timeout;
            match (silent, member.suspected) {
                (false, _) => {
                    // One that has just ended is about to be restarted.
                    let _ = actor.cast(ServerMsg::Ping);
                }
                (true, false) => {
                    tracing::error!(server = %member.registration.spec.id, "silent: stopped");
                    member.suspected = true;
                    actor.stop(None);
                }
                (true, true) => actor.kill(),
            }
        }
    }

    /// Tells the router and the handles what has changed: the catalogue first, so that a server never stands ready
    /// with tools that nobody knows.
    fn publish(&mut self) {
        self.publishing = false;
        if std::mem::take(&mut self.offers_changed) {
            let version = self.catalogue.version() + 1;
            let listed = self.members.values().filter_map(|member| {
                let spec = &member.registration.spec;
                let offer = match member.phase {
                    Phase::Leaving(_) => None,
                    Phase::Alive(_) | Phase::Paused { .. } | Phase::Waiting { .. } => member.offer.clone(),
                }?;
                Some(ServerOffer {
                    server: spec.id.clone(),
                    group: spec.group.clone(),
                    order: spec.order,
                    trusted: spec.trusted,
                    offer,
                })
            });
            self.catalogue = Arc::new(Catalogue::merge(version, listed, self.context.settings.collisions));
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
    }

    /// Publishes the roster to the handles.
    fn show(&self) {
        let entries = self.members.values().map(|member| RosterEntry {
            info: member.info(),
            actor: member.alive().cloned(),
            offer: member.offer.clone(),
            leaving: matches!(member.phase, Phase::Leaving(_)),
            timeout: member.registration.spec.timeout,
        });
        let (complete, configuration) = (self.complete, self.configuration);
        let (entries, catalogue, index) = (entries.collect(), self.catalogue.clone(), self.index.clone());
        let roster = Roster { told: true, complete, configuration, entries, catalogue, index };
        self.roster.send_replace(Arc::new(roster));
    }
}
