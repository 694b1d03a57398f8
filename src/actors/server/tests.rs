//! A server actor by itself, between ears that hear what it tells: which router and which life it listens to.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

use std::marker::PhantomData;
use std::time::Duration;

use ractor::Message;
use tokio::sync::{Semaphore, watch};

use super::*;
use crate::actors::events::EventsActor;
use crate::actors::numbers::{Numbers, PastNumbers};
use crate::actors::questions::HostHandlers;
use crate::actors::registry::registration::Registration;
use crate::actors::router::messages::RouterMsg;
use crate::actors::{CurrentActors, Tasks, ask};
use crate::call::{Call, Granted};
use crate::config::{Server, Settings};
use crate::event::{BreakerState, Origin, ServerStatus};
use crate::id::{CallId, RequestId};
use crate::policy::breaker::Admission;
use crate::policy::classify::Judge;
use crate::policy::demand::Begins;
use crate::policy::routing::{Dispatch, Interest, LeaseUpdate};
use crate::question::Handlers;
use crate::testkit::{Script, ScriptedServer};

/// Hears what an actor of its kind is told.
struct Ear<M>(PhantomData<fn(M)>);

impl<M: Message> Actor for Ear<M> {
    type Msg = M;
    type State = mpsc::Sender<M>;
    type Arguments = mpsc::Sender<M>;

    async fn pre_start(
        &self,
        _: ActorRef<M>,
        heard: mpsc::Sender<M>,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(heard)
    }

    async fn handle(
        &self,
        _: ActorRef<M>,
        message: M,
        heard: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        // A test that has heard enough.
        let _ = heard.try_send(message);
        Ok(())
    }
}

async fn ear<M: Message>() -> (ActorRef<M>, mpsc::Receiver<M>) {
    let (heard, messages) = mpsc::channel(1024);
    let (actor, _) = Actor::spawn(None, Ear(PhantomData), heard).await.unwrap();
    (actor, messages)
}

/// A server actor and those around it.
struct House {
    actor: ActorRef<ServerMsg>,
    registry: ActorRef<RegistryMsg>,
    told: mpsc::Receiver<RegistryMsg>,
    routed: mpsc::Receiver<RouterMsg>,
    root: mpsc::Receiver<RootMsg>,
    registration: Registration,
    numbers: Numbers,
    settings: Arc<Settings>,
    root_actor: ActorRef<RootMsg>,
    /// What was granted, and is held.
    leases: Vec<Granted>,
    _server: ScriptedServer,
    _current_actors: watch::Sender<CurrentActors>,
}

impl House {
    async fn new(tenure: impl FnOnce(Instant) -> Tenure) -> Self {
        let (server, connector) = ScriptedServer::builder().tool("echo", Script::Echo).start_in_memory();
        let settings = Arc::new(Settings::default());
        let tasks = Tasks::new();
        let (router, routed) = ear().await;
        let (registry, told) = ear().await;
        let (root_actor, root) = ear().await;
        let (events, _) = Actor::spawn(None, EventsActor, None).await.unwrap();
        let (current_actors, seen) =
            watch::channel(CurrentActors { router: Some(router), ..CurrentActors::default() });
        let context = Context {
            settings: settings.clone(),
            current_actors: seen,
            events,
            dial_gate: Arc::new(Semaphore::new(8)),
            pinning: None,
            judge: Judge::Standard,
            host_handlers: HostHandlers {
                handlers: Arc::new(Handlers::default()),
                server_requests_max: 1,
                timeout: Duration::from_secs(1),
            },
            tasks: tasks.clone(),
            seed: 7,
        };
        let origin = Origin::Registered;
        let connector: Arc<dyn Connector> = Arc::new(connector);
        let registration =
            Registration::of(Server::custom("s"), Some(connector), &settings, 0, origin, tasks.alive())
                .unwrap();
        let numbers = PastNumbers::default().joins(&registration.spec.id);
        let arguments = ServerArguments {
            context,
            spec: registration.spec.clone(),
            connector: registration.connector.clone(),
            incarnation: numbers.life(),
            numbers: numbers.clone(),
            newcomer: true,
            begins: Begins::Running,
            registry: registry.clone(),
            root: root_actor.clone(),
            ledger: Ledger::new(&registration, &settings),
            tenure: tenure(Instant::now()),
            offer: None,
            listed: false,
            known: None,
        };
        let (actor, _) = Actor::spawn(None, ServerActor, arguments).await.unwrap();
        Self {
            actor,
            registry,
            told,
            routed,
            root,
            registration,
            numbers,
            settings,
            root_actor,
            leases: Vec::new(),
            _server: server,
            _current_actors: current_actors,
        }
    }

    fn tell(&self, message: ServerMsg) {
        self.actor.cast(message).unwrap();
    }

    /// A router asks for a lease by this call.
    fn ask_for_lease(&self, router: u64, call: u64) {
        let dispatch = Dispatch {
            attempt: AttemptId { call: CallId(call), number: 1 },
            tool: "".into(),
            call: Arc::new(Call::tool("s")),
            bypass: false,
            over: Over::NewLease,
            interest: Interest::Result,
            request_id: RequestId::random(),
        };
        self.tell(ServerMsg::Dispatch { router: RouterLife(router), batch: vec![dispatch] });
    }

    fn announce(&self, router: u64) {
        self.tell(ServerMsg::CancelAll { router: RouterLife(router) });
    }

    /// The next lease that is granted: by which call it was asked for, and its connection.
    async fn granted(&mut self) -> (u64, ConnectionId) {
        loop {
            let told = self.routed.recv().await.expect("the actor goes on");
            if let RouterMsg::Leasing { attempt, update: LeaseUpdate::Granted(lease), .. } = told {
                let connection = lease.key().connection;
                self.leases.push(lease);
                return (attempt.call.0, connection);
            }
        }
    }

    /// Whether a lease takes another call.
    async fn takes(&mut self, over: ConnectionId, call: u64) -> bool {
        let dispatch = Dispatch {
            attempt: AttemptId { call: CallId(call), number: 1 },
            tool: "echo".into(),
            call: Arc::new(Call::tool("echo")),
            bypass: false,
            over: Over::Leased(over),
            interest: Interest::Result,
            request_id: RequestId::random(),
        };
        self.tell(ServerMsg::Dispatch { router: RouterLife(1), batch: vec![dispatch] });
        loop {
            match self.routed.recv().await.expect("the actor goes on") {
                RouterMsg::Completed { .. } => return true,
                RouterMsg::Leasing { update: LeaseUpdate::Ended { .. }, .. } => return false,
                _ => {}
            }
        }
    }

    async fn leased(&self) -> usize {
        ask(&self.actor, ServerMsg::Report).await.unwrap().pool.leased
    }

    /// The next standing that is as it is wanted.
    async fn stands(&mut self, mut wanted: impl FnMut(&Standing) -> bool) -> Standing {
        loop {
            let told = self.told.recv().await.expect("the actor goes on");
            if let RegistryMsg::Report { standing, .. } = told
                && wanted(&standing)
            {
                return standing;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_router_asks_before_it_is_announced_goes_on() {
    let mut house = House::new(|_| Tenure::Held).await;
    house.ask_for_lease(1, 1);
    house.ask_for_lease(2, 2);
    house.announce(2);
    house.ask_for_lease(2, 3);
    assert_eq!((house.granted().await.0, house.granted().await.0), (2, 3));
    assert_eq!(house.leased().await, 2);
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_router_asked_is_called_off_and_what_it_asks_late_is_not_done() {
    let mut house = House::new(|_| Tenure::Held).await;
    house.ask_for_lease(1, 1);
    house.announce(2);
    house.ask_for_lease(1, 2);
    house.ask_for_lease(2, 3);
    assert_eq!(house.granted().await.0, 3);
    assert_eq!(house.leased().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_release_of_another_life_ends_no_lease() {
    let mut house = House::new(|_| Tenure::Held).await;
    house.ask_for_lease(1, 1);
    let (_, connection) = house.granted().await;
    house.tell(ServerMsg::Release { incarnation: Incarnation(9), connection });
    // One that ends is counted until its connection is closed, and takes no more calls.
    assert!(house.takes(connection, 2).await);
    house.tell(ServerMsg::Release { incarnation: Incarnation::FIRST, connection });
    assert!(!house.takes(connection, 3).await);
    while house.leased().await > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_where_its_grant_is_dropped_unread() {
    let mut house = House::new(|_| Tenure::Held).await;
    house.ask_for_lease(1, 1);
    house.granted().await;
    assert_eq!(house.leased().await, 1);
    // As the mailbox of a router that has ended does.
    house.leases.clear();
    while house.leased().await > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_life_is_ready_when_it_has_what_the_one_before_left() {
    let begun = Instant::now();
    let mut house = House::new(|now| Tenure::Coming { by: now + Duration::from_secs(60) }).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    while let Ok(told) = house.told.try_recv() {
        let RegistryMsg::Report { standing, .. } = told else { continue };
        assert_ne!(standing.status, ServerStatus::Ready);
    }
    let mut left = Ledger::new(&house.registration, &house.settings);
    left.count("ok");
    left.breaker.force_open();
    house.numbers.hold_open(true);
    let (server, incarnation) = (house.registration.spec.id.clone(), Incarnation(0));
    let legacy = Legacy { server, incarnation, whole: true, ledger: left };
    house.tell(ServerMsg::Inherit(Bequest::new(legacy, &house.root_actor)));
    let standing = house.stands(|standing| standing.status == ServerStatus::Ready).await;
    assert_eq!(standing.admission, Admission::Rejecting { retry_after: None });
    let figures = ask(&house.actor, ServerMsg::Report).await.unwrap();
    assert_eq!((figures.breaker.state, figures.outcomes["ok"]), (BreakerState::ForcedOpen, 1));
    assert!(Instant::now().saturating_duration_since(begun) < Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn an_order_that_a_life_carried_out_late_is_the_next_ones_too() {
    let mut house = House::new(|now| Tenure::Coming { by: now + Duration::from_secs(1) }).await;
    house.stands(|standing| standing.status == ServerStatus::Ready).await;
    for (held_open, state) in [(true, BreakerState::ForcedOpen), (false, BreakerState::Closed)] {
        // By the life before, which had hung with the order in its mailbox, and leaves what it has.
        house.numbers.hold_open(held_open);
        let mut left = Ledger::new(&house.registration, &house.settings);
        left.count("ok");
        let (server, incarnation) = (house.registration.spec.id.clone(), Incarnation(0));
        let legacy = Legacy { server, incarnation, whole: true, ledger: left };
        house.tell(ServerMsg::Inherit(Bequest::new(legacy, &house.root_actor)));
        assert_eq!(ask(&house.actor, ServerMsg::Report).await.unwrap().breaker.state, state);
    }
}

#[tokio::test(start_paused = true)]
async fn a_life_makes_do_with_what_it_has_where_nothing_comes() {
    let begun = Instant::now();
    let mut house = House::new(|now| Tenure::Coming { by: now + Duration::from_secs(1) }).await;
    house.stands(|standing| standing.status == ServerStatus::Ready).await;
    assert!(Instant::now().saturating_duration_since(begun) >= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_life_that_has_handed_over_speaks_for_its_server_no_longer() {
    let mut house = House::new(|_| Tenure::Held).await;
    house.tell(ServerMsg::HandOver);
    let left = loop {
        if let RegistryMsg::Handover(bequest) = house.told.recv().await.unwrap() {
            break bequest.open();
        }
    };
    assert!(left.whole);
    let order = |port| ServerMsg::Breaker { order: BreakerOrder::ForceOpen, port };
    assert!(ask(&house.actor, order).await.is_err());
    assert!(ask(&house.actor, ServerMsg::Report).await.is_err());
    let subscribed = |port| ServerMsg::Subscribe { uri: "file:///a".to_owned(), port };
    assert!(ask(&house.actor, subscribed).await.is_err());
    house.actor.stop(None);
    let rest = loop {
        if let RegistryMsg::Handover(bequest) = house.told.recv().await.unwrap() {
            break bequest.open();
        }
    };
    assert!(!rest.whole, "the breaker was handed on");
}

#[tokio::test(start_paused = true)]
async fn what_a_life_left_comes_to_the_root_where_its_registry_has_ended() {
    let mut house = House::new(|_| Tenure::Held).await;
    house.registry.stop_and_wait(None, None).await.unwrap();
    house.actor.stop(None);
    let RootMsg::Bequest(bequest) = house.root.recv().await.unwrap() else { panic!("another message") };
    // Unread it comes back.
    drop(bequest);
    let RootMsg::Bequest(bequest) = house.root.recv().await.unwrap() else { panic!("another message") };
    assert!(deliver(bequest, &house.registry).is_some(), "a registry that has ended takes nothing");
    house.root_actor.stop_and_wait(None, None).await.unwrap();
}
