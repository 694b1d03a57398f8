//! DiscoveryActor: owns the task that watches one source, and when the next begins.
//!
//! ```text
//! watching ──answers──▶ the root ──heard──▶ watching goes on
//!   │  │                 │ not believed
//!   │  │                 ▼
//!   │  └──failed──▶ waiting (backoff) ──due──▶ watching, from the beginning
//! ```
//!
//! A task watches the source, so that a source that hangs holds up nobody. One answer at a time is on its way: a source that has
//! many to tell waits until the last one was heard. What follows from an answer is the root's to carry out; this actor only
//! turns servers into registrations, and remembers them so that an answer like the last one costs little.

pub(crate) mod messages;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::oneshot;
use tokio::time::Instant;

use self::messages::{DiscoveryMsg, Snapshot};
use super::alarm::Alarm;
use super::tasks::{OwnedTask, Tasks};
use crate::actors::registry::registration::{Registration, wrong_files};
use crate::actors::root::messages::RootMsg;
use crate::config::{DiscoverySettings, Server, Settings, TlsOptions};
use crate::discovery::{Answer, Found, Next, Skipped, Source, SourceError, Watch};
use crate::duration::later;
use crate::event::Origin;
use crate::id::{ServerId, SourceId};
use crate::policy::backoff::Backoff;
use crate::transport::Connector;

/// The shortest time between two answers of one source. What changes within it comes in one answer: a storm of changes is at
/// most twenty answers a second.
const ANSWERS_APART: Duration = Duration::from_millis(50);

/// Skipped records that are told of one answer; there is always one more mistake.
const SKIPPED_MAX: usize = 1_000;

/// What a discovery actor is started with.
pub(crate) struct DiscoveryArguments {
    pub id: SourceId,
    pub source: Arc<dyn Source>,
    pub rules: DiscoverySettings,
    pub settings: Arc<Settings>,
    /// The place of its servers among all registrations.
    pub order: usize,
    pub root: ActorRef<RootMsg>,
    pub tasks: Tasks,
    pub seed: u64,
}

/// A server of the last answer, and what became of it.
struct Remembered {
    server: Server,
    connector: Option<Arc<dyn Connector>>,
    registration: Registration,
}

/// The actor's state.
pub(crate) struct DiscoveryState {
    id: SourceId,
    source: Arc<dyn Source>,
    rules: DiscoverySettings,
    settings: Arc<Settings>,
    order: usize,
    root: ActorRef<RootMsg>,
    tasks: Tasks,
    /// Numbers the tasks: what an earlier one still says is not heard.
    task: u64,
    watching: Option<OwnedTask>,
    /// When the next task begins, while none is under way.
    next_watch: Option<Instant>,
    last: BTreeMap<ServerId, Remembered>,
    backoff: Backoff,
    alarm: Alarm,
    rng: SmallRng,
}

/// Watches one source; see the module's page.
pub(crate) struct DiscoveryActor;

impl Actor for DiscoveryActor {
    type Msg = DiscoveryMsg;
    type State = DiscoveryState;
    type Arguments = DiscoveryArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<DiscoveryMsg>,
        arguments: DiscoveryArguments,
    ) -> Result<DiscoveryState, ActorProcessingErr> {
        let DiscoveryArguments { id, source, rules, settings, order, root, tasks, seed } = arguments;
        let mut hasher = DefaultHasher::new();
        (seed, &id).hash(&mut hasher);
        let mut state = DiscoveryState {
            backoff: Backoff::new(rules.backoff.clone()),
            alarm: Alarm::new(tasks.clone()),
            rng: SmallRng::seed_from_u64(hasher.finish()),
            task: 0,
            watching: None,
            next_watch: None,
            last: BTreeMap::new(),
            id,
            source,
            rules,
            settings,
            order,
            root,
            tasks,
        };
        state.begin(&myself);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<DiscoveryMsg>,
        message: DiscoveryMsg,
        state: &mut DiscoveryState,
    ) -> Result<(), ActorProcessingErr> {
        let now = Instant::now();
        match message {
            DiscoveryMsg::Answered { task, answer, heard } => {
                if task == state.task {
                    state.answered(answer, heard, now);
                }
            }
            DiscoveryMsg::Failed { task, error } => {
                if task == state.task {
                    state.failed(error, now);
                }
            }
            DiscoveryMsg::WatchAgain { after } => state.wait(later(now, after)),
            DiscoveryMsg::Settings(settings) => {
                state.settings = settings;
                state.last.clear();
            }
            DiscoveryMsg::Due => {
                state.alarm.rang();
                if state.next_watch.is_some_and(|at| at <= now) {
                    state.begin(&myself);
                }
            }
            #[cfg(feature = "testkit")]
            DiscoveryMsg::Panic => panic!("ordered by the testkit"),
        }
        state.alarm.set(state.next_watch, &myself, || DiscoveryMsg::Due);
        Ok(())
    }
}

impl DiscoveryState {
    /// Begins to watch, from the beginning.
    fn begin(&mut self, myself: &ActorRef<DiscoveryMsg>) {
        self.task += 1;
        self.next_watch = None;
        let watch =
            WatchTask { number: self.task, actor: myself.clone(), usable: BTreeMap::new(), over: false };
        let (source, answer_timeout) = (self.source.clone(), self.rules.answer_timeout);
        self.watching = Some(self.tasks.spawn(watch.go_on(source, answer_timeout)));
    }

    /// Gives up the present task; the next begins at `at`.
    fn wait(&mut self, at: Instant) {
        self.task += 1;
        self.watching = None;
        self.next_watch = Some(at);
    }

    fn answered(&mut self, answer: Answer, heard: oneshot::Sender<()>, now: Instant) {
        self.backoff.good(now);
        let snapshot = self.snapshot(answer, now);
        // Without a root the whole troupe is ending.
        let _ = self.root.cast(RootMsg::Found { source: self.id.clone(), snapshot, heard });
    }

    fn failed(&mut self, error: SourceError, now: Instant) {
        let retry_at = later(now, self.backoff.next(now, &mut self.rng));
        self.wait(retry_at);
        // As above.
        let _ = self.root.cast(RootMsg::SourceFailed { source: self.id.clone(), error, retry_at });
    }

    /// Turns an answer into registrations. Whatever is wrong with one server concerns that one alone.
    fn snapshot(&mut self, answer: Answer, now: Instant) -> Snapshot {
        let Answer { servers, skipped, partial, loose, next } = answer;
        let next_watch = match next {
            Next::After(after) => Some(later(now, after)),
            Next::OnChange { .. } => None,
        };
        let limit = self.settings.limits.servers_max;
        let mut snapshot = Snapshot {
            servers: BTreeMap::new(),
            partial,
            unread: skipped.iter().filter_map(|skipped| skipped.server.clone()).collect(),
            skipped: BTreeMap::new(),
            loose,
            next_watch,
        };
        let mut skip = |record: String, reason: String| {
            if snapshot.skipped.len() < SKIPPED_MAX {
                snapshot.skipped.insert(record, reason);
            }
        };
        skipped.into_iter().for_each(|skipped| skip(skipped.record, skipped.reason));
        // Those that are known come first: what is new and has no room takes it from nobody.
        let is_known =
            |found: &Found| ServerId::new(found.server.id()).is_ok_and(|id| self.last.contains_key(&id));
        let (known, new): (Vec<Found>, Vec<Found>) = servers.into_iter().partition(is_known);
        let mut former = std::mem::take(&mut self.last);
        for (index, Found { server, connector }) in known.into_iter().chain(new).enumerate() {
            let name = server.id().to_owned();
            if index >= limit {
                skip(
                    name,
                    format!("the source names more than {limit} servers, which is the troupe's limit"),
                );
                continue;
            }
            let id = match ServerId::new(&name) {
                Ok(id) => id,
                Err(error) => {
                    skip(name, error.to_string());
                    continue;
                }
            };
            if self.last.contains_key(&id) {
                skip(name, "the id stands twice".to_owned());
                continue;
            }
            let remembered = former.remove(&id).filter(|former| {
                former.server == server && same_way(former.connector.as_ref(), connector.as_ref())
            });
            let remembered = match remembered {
                Some(remembered) => remembered,
                None => {
                    let origin = Origin::Source(self.id.clone());
                    let (given, way) = (server.clone(), connector.clone());
                    let alive = self.tasks.alive();
                    match Registration::of(given, way, &self.settings, self.order, origin, alive) {
                        Ok(registration) => Remembered { server, connector, registration },
                        Err(error) => {
                            snapshot.unread.insert(id);
                            skip(name, error.to_string());
                            continue;
                        }
                    }
                }
            };
            snapshot.servers.insert(id.clone(), remembered.registration.clone());
            self.last.insert(id, remembered);
        }
        snapshot
    }
}

/// Whether two ways to a server are the same one.
fn same_way(one: Option<&Arc<dyn Connector>>, other: Option<&Arc<dyn Connector>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Watches a source. However it ends, its actor is told.
struct WatchTask {
    number: u64,
    actor: ActorRef<DiscoveryMsg>,
    /// The files that servers of the last answer name and that can be used: an answer like the last one reads none again.
    usable: BTreeMap<String, TlsOptions>,
    over: bool,
}

impl WatchTask {
    /// Reports answers until there is none.
    async fn go_on(mut self, source: Arc<dyn Source>, answer_timeout: Duration) {
        let mut watch = source.watch();
        let mut waits = Duration::ZERO;
        let error = loop {
            match self.next(watch.as_mut(), waits.saturating_add(answer_timeout)).await {
                Ok(Some(Next::After(after))) => {
                    waits = Duration::ZERO;
                    tokio::time::sleep(after.max(ANSWERS_APART)).await;
                }
                Ok(Some(Next::OnChange { within })) => {
                    waits = within;
                    tokio::time::sleep(ANSWERS_APART).await;
                }
                Ok(None) => return,
                Err(error) => break error,
            }
        };
        self.fail(error);
    }

    /// The next answer, heard. None if nobody is there to hear it.
    async fn next(
        &mut self,
        watch: &mut dyn Watch,
        answer_timeout: Duration,
    ) -> Result<Option<Next>, SourceError> {
        let answered = tokio::time::timeout(answer_timeout, watch.next()).await;
        let mut answer = answered.map_err(|_| SourceError::Silent(answer_timeout))??;
        let next = answer.next;
        let checked = tokio::time::timeout(answer_timeout, self.check_files(&mut answer)).await;
        checked.map_err(|_| SourceError::Silent(answer_timeout))?;
        let (heard, hearing) = oneshot::channel();
        let message = DiscoveryMsg::Answered { task: self.number, answer, heard };
        if self.actor.cast(message).is_err() {
            self.over = true;
            return Ok(None);
        }
        // It is dropped when it was heard.
        let _ = hearing.await;
        Ok(Some(next))
    }

    /// Passes over servers whose files cannot be used. This is a task and may wait for a disk; the actor may not.
    async fn check_files(&mut self, answer: &mut Answer) {
        let with_files = answer.servers.iter().filter(|found| found.connector.is_none());
        let with_files = with_files.map(|found| &found.server).filter(|server| !server.tls.is_default());
        let named: BTreeMap<&str, &Server> = with_files.map(|server| (server.id(), server)).collect();
        let unknown =
            named.values().copied().filter(|server| self.usable.get(server.id()) != Some(&server.tls));
        let wrong = wrong_files(unknown).await;
        let usable = named.into_iter().filter(|(id, _)| !wrong.contains_key(*id));
        self.usable = usable.map(|(id, server)| (id.to_owned(), server.tls.clone())).collect();
        answer.servers.retain(|found| {
            let reached = found.connector.is_none();
            let Some(error) = wrong.get(found.server.id()).filter(|_| reached) else { return true };
            let (record, reason) = (found.server.id().to_owned(), error.to_string());
            answer.skipped.push(Skipped { server: ServerId::new(&record).ok(), record, reason });
            false
        });
    }

    fn fail(&mut self, error: SourceError) {
        if !std::mem::replace(&mut self.over, true) {
            // An actor that has ended needs no answer.
            let _ = self.actor.cast(DiscoveryMsg::Failed { task: self.number, error });
        }
    }
}

/// A source of the host's may panic, and nobody would ever watch it again.
impl Drop for WatchTask {
    fn drop(&mut self) {
        self.fail(SourceError::Ended);
    }
}
