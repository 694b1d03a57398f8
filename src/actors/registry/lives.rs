//! The lives of server actors: begun, watched, reported, ended, and what follows by each one's policy.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::Instant;

use super::member::Phase;
use super::{RegistryMsg, RegistryState};
use crate::actors::meters::RegistryMeters;
use crate::actors::router::RouterMsg;
use crate::actors::server::{ServerActor, ServerArguments, ServerMsg};
use crate::event::{Event, ExitCause, ServerStatus};
use crate::id::{Incarnation, ServerId};
use crate::policy::restart::Decision;
use crate::policy::routing::Standing;

impl RegistryState {
    /// Begins a life, in place of one that has ended or `beside` one that retires.
    pub(super) async fn start(
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

    pub(super) fn reported(
        &mut self,
        server: &ServerId,
        incarnation: Incarnation,
        standing: Standing,
        now: Instant,
    ) {
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

    pub(super) fn tell_status(
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
    pub(super) fn ended(&mut self, server: &ServerId, cause: ExitCause, now: Instant) {
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
            Decision::Restart { after } => {
                (ServerStatus::Restarting, Some(crate::duration::later(now, after)))
            }
            Decision::Quarantine { after } => {
                (ServerStatus::Quarantined, Some(crate::duration::later(now, after)))
            }
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

    /// Dead-man's switch: a server actor that shows no sign of life is stopped, then killed.
    pub(super) fn ping(&mut self, now: Instant) {
        let settings = &self.context.settings.restart;
        self.next_ping = crate::duration::later(now, settings.ping_interval);
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
}
