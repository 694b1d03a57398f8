//! Who is a member, by order of the host or its sources: servers join, are described anew, rest, come back and leave.

use ractor::{ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::member::{Member, Phase, Retiring};
use super::{Registration, RegistryMsg, RegistryState};
use crate::actors::ledger::Ledger;
use crate::actors::meters::RegistryMeters;
use crate::actors::root::RootMsg;
use crate::actors::router::RouterMsg;
use crate::event::{Event, ServerStatus};
use crate::id::{Incarnation, ServerId};
use crate::policy::restart::RestartPolicy;
use crate::policy::routing::Standing;

impl RegistryState {
    pub(super) async fn register(
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
    pub(super) async fn replace(
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
        let until = crate::duration::later(now, self.context.settings.shutdown_drain);
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
    pub(super) fn amend(&mut self, registration: Registration) {
        let server = registration.spec.id.clone();
        let Some(member) = self.members.get_mut(&server) else { return };
        let spec = registration.spec.clone();
        member.registration = registration;
        self.context.to_router(RouterMsg::Amended(spec));
        self.offers_changed = true;
        self.changed.insert(server);
    }

    /// A life that was replaced is over.
    pub(super) fn retired(&mut self, index: usize) {
        let Retiring { server, incarnation, .. } = self.retiring.swap_remove(index);
        self.context.to_router(RouterMsg::Retired { server: server.clone(), incarnation });
        if self.members.get(&server).is_some_and(|member| matches!(member.phase, Phase::Leaving(None))) {
            self.forget(&server);
        }
    }

    /// Takes a server out of service.
    pub(super) fn drain(
        &mut self,
        server: &ServerId,
        until: Instant,
        port: oneshot::Sender<()>,
        now: Instant,
    ) {
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
    pub(super) fn stand_aside(&mut self, server: &ServerId, status: ServerStatus, now: Instant) {
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
    pub(super) fn rest(&mut self, server: &ServerId, now: Instant) -> Result<(), ActorProcessingErr> {
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
    pub(super) async fn resume(
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

    pub(super) fn unregister(&mut self, server: &ServerId, now: Instant) {
        let Some(member) = self.members.get_mut(server) else { return };
        let alive = member.alive().cloned();
        let actor = member.actor().cloned();
        let gone = actor.is_none();
        member.phase = Phase::Leaving(actor);
        self.offers_changed = true;
        self.context.to_router(RouterMsg::Leaving(server.clone()));
        if let Some(actor) = alive {
            let until = crate::duration::later(now, self.context.settings.shutdown_drain);
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
}
