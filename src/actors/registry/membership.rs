//! Who is a member, by order of the host or its sources: servers join, are described anew, rest, come back and leave.

use ractor::{ActorProcessingErr, ActorRef};
use tokio::time::Instant;

use super::lives::Beginning;
use super::member::{Member, Phase, Retiring};
use super::roster::Former;
use super::{Enrolment, Registration, RegistryState};
use crate::actors::ledger::Ledger;
use crate::actors::meters::RegistryMeters;
use crate::actors::numbers::DrainOrder;
use crate::actors::registry::messages::RegistryMsg;
use crate::actors::root::messages::RootMsg;
use crate::actors::router::messages::RouterMsg;
use crate::actors::server::messages::ServerMsg;
use crate::duration::later;
use crate::event::{Event, ServerStatus};
use crate::id::{Incarnation, ServerId};
use crate::policy::known_lists::Fingerprint;
use crate::policy::restart::RestartPolicy;
use crate::policy::routing::Standing;

impl RegistryState {
    pub(super) async fn register(
        &mut self,
        myself: &ActorRef<RegistryMsg>,
        enrolment: Enrolment,
        now: Instant,
    ) -> Result<(), ActorProcessingErr> {
        let Enrolment { registration, numbers, paused } = enrolment;
        let spec = registration.spec.clone();
        let settings = self.context.settings.clone();
        let settings = &settings;
        // What stood in the catalogue before stays there, with the description that it belongs to.
        let Former { offer, known } = self.former.remove(&spec.id).unwrap_or_default();
        let (offer, listed_as) = offer.unzip();
        let described = Fingerprint::of(&spec, &registration.connector.endpoint());
        let known = known.filter(|(_, of)| offer.is_none() && *of == described);
        let member = Member {
            incarnation: numbers.last_life(),
            phase: Phase::Waiting { until: now, ended_at: now, handed_over: true },
            ordered: true,
            restart: RestartPolicy::new(settings.restart.clone()),
            standing: Standing::beginning(),
            told: Standing::beginning().status,
            ran: false,
            settled: false,
            looking_up: settings.known_lists.is_some() && offer.is_none() && known.is_none(),
            offer,
            known,
            details: None,
            listed_as: listed_as.flatten(),
            listed: false,
            ledger: Ledger::new(&registration, settings),
            // No life has these numbers.
            ledger_from: Incarnation(0),
            buried: Incarnation(0),
            finish_by: now,
            heard_at: now,
            suspected: false,
            numbers,
            registration,
        };
        RegistryMeters::stands(&spec.id, member.standing.status);
        self.keep_or_look_up(myself, &member);
        // Names that begin with it are its own from now on.
        self.offers_changed |= !self.catalogue.knows_group(&spec.group);
        self.members.insert(spec.id.clone(), member);
        self.context.emit(Event::ServerRegistered { server: spec.id.clone(), group: spec.group.clone() });
        if let Some(order) = paused {
            self.rest(&spec.id, order, now);
            return Ok(());
        }
        self.start(myself, &spec.id, Beginning::Registered, now).await
    }

    /// Gives a server another description, and with it another life.
    pub(super) async fn replace(
        &mut self,
        myself: &ActorRef<RegistryMsg>,
        registration: Registration,
        now: Instant,
    ) -> Result<(), ActorProcessingErr> {
        let server = registration.spec.id.clone();
        let Some(member) = self.members.get_mut(&server) else { return Ok(()) };
        let described = member.fingerprint();
        let former = std::mem::replace(&mut member.registration, registration);
        (member.ordered, member.listed) = (true, false);
        self.offers_changed |= !self.catalogue.knows_group(&member.registration.spec.group);
        let another = member.fingerprint() != described;
        member.details.take_if(|_| another);
        if member.offer.is_none() && another {
            // What one of another description listed says nothing of it.
            self.offers_changed |= member.known.take().is_some();
            member.looking_up = self.context.settings.known_lists.is_some();
        }
        self.changed.insert(server.clone());
        if let Some(member) = self.members.get(&server).filter(|member| member.offer.is_none()) {
            self.keep_or_look_up(myself, member);
        }
        let Some(member) = self.members.get_mut(&server) else { return Ok(()) };
        let actor = match &mut member.phase {
            Phase::Alive(actor) => actor.clone(),
            Phase::Waiting { until, .. } => {
                // At once, when what the last life left is there.
                *until = now;
                return Ok(());
            }
            Phase::Ended => {
                let handed_over = member.buried == member.incarnation;
                member.phase = Phase::Waiting { until: now, ended_at: now, handed_over };
                self.offers_changed = true;
                return Ok(());
            }
            // One that rests begins with the new description when it is resumed.
            Phase::Paused { .. } | Phase::Leaving(_) => return Ok(()),
        };
        let until = later(now, self.context.settings.shutdown_drain);
        self.succeed(myself, &server, former, actor.clone(), until, now).await?;
        self.context.to_router(RouterMsg::Finish { actor, until });
        Ok(())
    }

    /// Begins another life beside one that retires, and has that one hand over what is the server's.
    async fn succeed(
        &mut self,
        myself: &ActorRef<RegistryMsg>,
        server: &ServerId,
        former: Registration,
        actor: ActorRef<ServerMsg>,
        finish_by: Instant,
        now: Instant,
    ) -> Result<(), ActorProcessingErr> {
        let Some(member) = self.members.get(server) else { return Ok(()) };
        // One that ends at this moment hands over by its end.
        let _ = actor.cast(ServerMsg::HandOver);
        let (spec, incarnation) = (former.spec, member.incarnation);
        self.retiring.push(Retiring { spec, incarnation, actor, finish_by });
        self.start(myself, server, Beginning::Beside, now).await
    }

    /// Gives a server another description and leaves its actor and its connections alone.
    pub(super) fn amend(&mut self, registration: Registration) {
        let server = registration.spec.id.clone();
        let Some(member) = self.members.get_mut(&server) else { return };
        let spec = registration.spec.clone();
        member.registration = registration;
        // Every life that is not over, also one that finishes what it has: it may still tell of the server's resources.
        let finishing = self.retiring.iter().filter(|life| life.spec.id == server).map(|life| &life.actor);
        for actor in member.actor().into_iter().chain(finishing) {
            let _ = actor.cast(ServerMsg::Amended(spec.clone()));
        }
        self.context.to_router(RouterMsg::Amended(spec));
        self.offers_changed = true;
        self.changed.insert(server);
    }

    /// A life that was replaced is over.
    pub(super) fn retired(&mut self, index: usize) {
        let Retiring { spec, incarnation, .. } = self.retiring.swap_remove(index);
        let server = spec.id.clone();
        self.context.to_router(RouterMsg::Retired { server: server.clone(), incarnation });
        if self.members.get(&server).is_some_and(|member| matches!(member.phase, Phase::Leaving(None))) {
            self.forget(&server);
        }
    }

    /// Takes a server out of service.
    pub(super) fn drain(&mut self, server: &ServerId, until: Instant, order: DrainOrder, now: Instant) {
        let Some(member) = self.members.get_mut(server) else { return };
        member.finish_by = until;
        let mut finishing = None;
        match &mut member.phase {
            Phase::Alive(actor) => {
                finishing = Some(actor.clone());
                member.phase = Phase::Paused { actor: Some(actor.clone()), order };
            }
            Phase::Paused { actor: Some(actor), order: present } => {
                let actor = actor.clone();
                *present = order;
                return self.context.to_router(RouterMsg::Finish { actor, until });
            }
            Phase::Waiting { .. } => {
                member.phase = Phase::Paused { actor: None, order };
                self.rests(server, order);
            }
            Phase::Paused { actor: None, order: present } => {
                *present = order;
                return self.rests(server, order);
            }
            // It does not begin again by another description either, before it is resumed.
            Phase::Ended => {
                member.phase = Phase::Paused { actor: None, order };
                self.offers_changed = true;
                self.rests(server, order);
            }
            // The root knows that it leaves.
            Phase::Leaving(_) => return self.rests(server, order),
        }
        let Some(member) = self.members.get(server) else { return };
        let status = if member.actor().is_some() { ServerStatus::Draining } else { ServerStatus::Stopped };
        self.stand_aside(server, status, now);
        if let Some(actor) = finishing {
            self.context.to_router(RouterMsg::Finish { actor, until });
        }
    }

    /// A server that was drained rests. The root is told when the handles see it.
    pub(super) fn rests(&mut self, server: &ServerId, order: DrainOrder) {
        self.rested.push((server.clone(), order));
        self.changed.insert(server.clone());
    }

    /// Sets a server aside: the router is told at once, since no actor of it will.
    pub(super) fn stand_aside(&mut self, server: &ServerId, status: ServerStatus, now: Instant) {
        let Some(member) = self.members.get_mut(server) else { return };
        let reason = match member.phase {
            Phase::Leaving(_) => "it was removed",
            Phase::Alive(_) | Phase::Waiting { .. } | Phase::Paused { .. } | Phase::Ended => "it was drained",
        };
        let former = member.standing.status;
        member.standing = Standing {
            status,
            reconnecting_soon: false,
            listed: member.listed,
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
    fn rest(&mut self, server: &ServerId, order: DrainOrder, now: Instant) {
        let Some(member) = self.members.get_mut(server) else { return };
        member.phase = Phase::Paused { actor: None, order };
        self.context.to_router(RouterMsg::Joined {
            spec: member.registration.spec.clone(),
            incarnation: member.incarnation,
            actor: None,
            standing: member.standing.clone(),
        });
        self.stand_aside(server, ServerStatus::Stopped, now);
    }

    /// Puts a server that rests, or is about to, back into service.
    pub(super) async fn resume(
        &mut self,
        myself: &ActorRef<RegistryMsg>,
        server: &ServerId,
        now: Instant,
    ) -> Result<(), ActorProcessingErr> {
        let Some(member) = self.members.get_mut(server) else { return Ok(()) };
        let actor = match &member.phase {
            Phase::Paused { actor, .. } => actor.clone(),
            // It was over for good when it was drained, and begins anew by this order.
            Phase::Ended => {
                self.offers_changed = true;
                None
            }
            Phase::Alive(_) | Phase::Waiting { .. } | Phase::Leaving(_) => return Ok(()),
        };
        member.ordered = true;
        // One that was drained does not run.
        member.ran = false;
        match actor {
            Some(actor) => {
                let (former, finish_by) = (member.registration.clone(), member.finish_by);
                self.succeed(myself, server, former, actor, finish_by, now).await
            }
            None => self.start(myself, server, Beginning::After, now).await,
        }
    }

    pub(super) fn unregister(&mut self, server: &ServerId, now: Instant) {
        let Some(member) = self.members.get_mut(server) else { return };
        let alive = member.alive().cloned();
        let actor = member.actor().cloned();
        let gone = actor.is_none();
        member.phase = Phase::Leaving(actor);
        self.offers_changed = true;
        self.context.to_router(RouterMsg::Leaving(server.clone()));
        if let Some(actor) = alive {
            let until = later(now, self.context.settings.shutdown_drain);
            member.finish_by = until;
            self.context.to_router(RouterMsg::Finish { actor, until });
        }
        if gone {
            self.forget(server);
        } else {
            self.stand_aside(server, ServerStatus::Draining, now);
        }
    }

    pub(super) fn forget(&mut self, server: &ServerId) {
        if self.retiring.iter().any(|life| life.spec.id == *server) {
            // Its id is free when the last of its lives is over.
            if let Some(member) = self.members.get_mut(server) {
                member.phase = Phase::Leaving(None);
            }
            return;
        }
        let Some(member) = self.members.remove(server) else { return };
        RegistryMeters::left(server);
        let registration = member.numbers.registration();
        // Without a root the whole troupe is ending.
        let _ = self.root.cast(RootMsg::Forgotten { server: server.clone(), registration });
        self.changed.remove(server);
        self.context.to_router(RouterMsg::Left(server.clone()));
        self.context.emit(Event::ServerUnregistered { server: server.clone() });
        self.offers_changed = true;
    }
}
