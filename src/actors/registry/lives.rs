//! The lives of server actors: begun, watched, reported, ended, and what follows by each one's policy.

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::Instant;

use super::member::{Member, Phase};
use super::{FINISH_GRACE, HANDOVER_WAIT_MAX, RegistryState};
use crate::actors::ledger::{Legacy, Tenure};
use crate::actors::meters::RegistryMeters;
use crate::actors::registry::messages::RegistryMsg;
use crate::actors::root::messages::Bequest;
use crate::actors::router::messages::RouterMsg;
use crate::actors::server::messages::ServerMsg;
use crate::actors::server::{ServerActor, ServerArguments};
use crate::actors::supervision::SILENT;
use crate::duration::later;
use crate::event::{Event, ExitCause, ServerStatus};
use crate::id::{Incarnation, ServerId};
use crate::policy::demand::Begins;
use crate::policy::restart::Decision;
use crate::policy::routing::Standing;

/// How a life begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    /// The server was registered, here or with a registry that has ended.
    Registered,
    /// The last life is over.
    After,
    /// The last life retires.
    Beside,
}

impl RegistryState {
    /// Begins a life.
    pub(super) async fn start(
        &mut self,
        myself: &ActorRef<RegistryMsg>,
        server: &ServerId,
        beginning: Beginning,
        now: Instant,
    ) -> Result<(), ActorProcessingErr> {
        let Some(member) = self.members.get_mut(server) else { return Ok(()) };
        let awaited = match beginning {
            Beginning::Registered => member.numbers.have_begun(),
            Beginning::After => false,
            Beginning::Beside => true,
        };
        let incarnation = member.numbers.life();
        let (listed, looking_up) = (member.may_be_idle(), member.looking_up && member.offer.is_none());
        let begins = Begins::of(member.registration.spec.start, listed, looking_up, member.ran);
        member.ledger.described(&member.registration, &self.context.settings);
        member.settled &= !member.ordered;
        let arguments = ServerArguments {
            context: self.context.clone(),
            spec: member.registration.spec.clone(),
            connector: member.registration.connector.clone(),
            incarnation,
            numbers: member.numbers.clone(),
            newcomer: std::mem::take(&mut member.ordered),
            begins,
            registry: myself.clone(),
            root: self.root.clone(),
            ledger: member.ledger.passed_on(),
            tenure: if awaited { Tenure::Coming { by: later(now, HANDOVER_WAIT_MAX) } } else { Tenure::Held },
            offer: member.offer.clone(),
            listed: member.listed,
            known: member.known.as_ref().map(|(offer, _)| offer.clone()),
        };
        let (actor, _) = ServerActor::spawn_linked(None, ServerActor, arguments, myself.get_cell()).await?;
        let former = member.standing.status;
        member.incarnation = incarnation;
        member.phase = Phase::Alive(actor.clone());
        member.heard_at = now;
        member.suspected = false;
        member.standing = match begins {
            Begins::Idle => Standing::idle(),
            Begins::Running | Begins::Asking => Standing { listed: member.listed, ..Standing::beginning() },
        };
        let (spec, standing) = (member.registration.spec.clone(), member.standing.clone());
        self.context.to_router(match beginning {
            Beginning::Beside => RouterMsg::Replaced { spec, incarnation, actor: Some(actor), standing },
            Beginning::Registered | Beginning::After => {
                RouterMsg::Joined { spec, incarnation, actor: Some(actor), standing }
            }
        });
        let standing = member.standing.clone();
        self.tell_status(server, incarnation, former, &standing, now);
        self.changed.insert(server.clone());
        Ok(())
    }

    /// A life left something: it is the present one's, or kept for the next.
    pub(super) fn handed_over(&mut self, legacy: Legacy) {
        let Legacy { server, incarnation, whole, ledger } = legacy;
        // What was left by a server that had the id before is nobody's.
        let of_it = |member: &&mut Member| member.numbers.has(incarnation);
        let Some(member) = self.members.get_mut(&server).filter(of_it) else { return };
        // Of two that come late the breaker of the later life counts.
        let whole = whole && incarnation >= member.ledger_from;
        if whole {
            member.ledger.succeed(ledger);
            member.ledger_from = incarnation;
        } else {
            member.ledger.add(ledger);
        }
        let of_the_last = incarnation == member.incarnation;
        if of_the_last {
            member.buried = incarnation;
        }
        match &mut member.phase {
            Phase::Waiting { handed_over, .. } => *handed_over |= of_the_last,
            Phase::Alive(actor) if !of_the_last => {
                member.ledger.described(&member.registration, &self.context.settings);
                let ledger = member.ledger.passed_on();
                let bequest = Bequest::new(Legacy { server, incarnation, whole, ledger }, &self.root);
                // One that has just ended leaves it to its next life: the bequest comes back.
                let _ = actor.cast(ServerMsg::Inherit(bequest));
            }
            // It is kept for the next one.
            Phase::Alive(_) | Phase::Paused { .. } | Phase::Ended | Phase::Leaving(_) => {}
        }
    }

    /// Lives that finish what they have, and until when.
    pub(super) fn finishing(&self) -> impl Iterator<Item = (&ActorRef<ServerMsg>, Instant)> {
        let members = self.members.values().filter_map(|member| match &member.phase {
            Phase::Leaving(actor) | Phase::Paused { actor, .. } => Some((actor.as_ref()?, member.finish_by)),
            Phase::Alive(_) | Phase::Waiting { .. } | Phase::Ended => None,
        });
        members.chain(self.retiring.iter().map(|life| (&life.actor, life.finish_by)))
    }

    /// The same, with the moment at which each that has not ended is killed.
    pub(super) fn overdue(&self) -> impl Iterator<Item = (&ActorRef<ServerMsg>, Instant)> {
        // A time beyond all clocks does not end.
        self.finishing().filter_map(|(actor, until)| Some((actor, until.checked_add(FINISH_GRACE)?)))
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
        member.ran = standing.status != ServerStatus::Idle && !(member.looking_up && member.offer.is_none());
        member.settled |= standing.status != ServerStatus::Connecting || standing.attempts > 0;
        if standing.status == ServerStatus::Ready && former != ServerStatus::Ready {
            member.restart.ready(now);
        }
        self.tell_status(server, incarnation, former, &standing, now);
        self.changed.insert(server.clone());
    }

    /// Tells where a server stands, where that is another status than was told last. A server that is down is told once for
    /// each attempt that failed, with their number; that it is dialled once more says nothing new.
    pub(super) fn tell_status(
        &mut self,
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
        let Some(member) = self.members.get_mut(server) else { return };
        let (told, to) = (member.told, standing.status);
        if told == ServerStatus::Disconnected && to == ServerStatus::Connecting {
            return;
        }
        member.told = to;
        self.context.emit(Event::ServerStatusChanged {
            server: server.clone(),
            incarnation,
            from: told,
            to,
            // What begins anew has no reason of its own yet.
            reason: standing.reason.clone().filter(|_| to != ServerStatus::Connecting),
            retry_in: standing.retry_at.map(|at| at.saturating_duration_since(now)),
            attempts: standing.attempts,
        });
    }

    /// A server's actor ended: the router is told, and the policy decides what follows.
    pub(super) fn ended(&mut self, server: &ServerId, cause: ExitCause, now: Instant) {
        let Some(member) = self.members.get_mut(server) else { return };
        if let Phase::Leaving(_) = member.phase {
            return self.forget(server);
        }
        if let Phase::Paused { actor, order } = &mut member.phase {
            *actor = None;
            let order = *order;
            let (incarnation, standing) = (member.incarnation, member.standing.clone());
            self.context.to_router(RouterMsg::Down { server: server.clone(), incarnation, cause, standing });
            self.rests(server, order);
            return self.stand_aside(server, ServerStatus::Stopped, now);
        }
        let incarnation = member.incarnation;
        let decision = member.restart.decide(&cause, now, &mut self.rng);
        let (status, until) = match decision {
            Decision::Restart { after } => (ServerStatus::Restarting, Some(later(now, after))),
            Decision::Quarantine { after } => (ServerStatus::Quarantined, Some(later(now, after))),
            Decision::Leave => (ServerStatus::Stopped, None),
        };
        if until.is_some() {
            RegistryMeters::restarted(server);
        }
        let former = member.standing.status;
        member.settled = true;
        member.standing = Standing {
            status,
            // The first restarts follow within milliseconds.
            reconnecting_soon: matches!(decision, Decision::Restart { after } if after < Duration::from_secs(1)),
            listed: member.listed,
            slots: 0,
            reason: Some(format!("its actor ended: {cause}")),
            retry_at: until,
            ..Standing::beginning()
        };
        member.phase = match until {
            Some(until) => Phase::Waiting { until, ended_at: now, handed_over: member.buried == incarnation },
            None => {
                self.offers_changed = true;
                Phase::Ended
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
        self.next_ping = later(now, settings.ping_interval);
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
                    actor.stop(Some(SILENT.to_owned()));
                }
                (true, true) => actor.kill(),
            }
        }
    }
}
