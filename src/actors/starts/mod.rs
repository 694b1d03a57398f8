//! StartsActor: owns which processes may be starting at this moment, and who waits for a turn.
//!
//! ```text
//! connection ── Ask ──▶ StartsActor ── Turn ──▶ connection    it starts its process, and keeps the turn until that has
//!                            ▲                     │           answered the handshake or is gone
//!                            └──── Over ── drop ───┘           however it ends: answered, killed, aborted
//! ```
//!
//! It depends on nobody and nobody on it: who waits when it ends asks its successor. That one knows nothing of the starts
//! which run at that moment, so that for their time there may be twice as many. Judgement is [`Starts`]'s.

pub(crate) mod messages;

use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use self::messages::{StartsMsg, Turn};
use super::alarm::Alarm;
use super::{CurrentActors, Tasks, ask};
use crate::duration::later;
use crate::number_map::NumberMap;
use crate::policy::starts::{Attempt, StartId, Starts};

/// How often those that wait are told how many are before them.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What the actor is started with.
pub(crate) struct StartsArguments {
    /// How many processes may be starting at once.
    pub limit: usize,
    pub tasks: Tasks,
}

/// Who waits.
struct Waiting {
    before: watch::Sender<Option<usize>>,
    port: oneshot::Sender<Turn>,
}

/// The actor's state.
pub(crate) struct StartsState {
    starts: Starts,
    waiting: NumberMap<StartId, Waiting>,
    tell_at: Instant,
    alarm: Alarm,
}

/// Gives processes their turn to start; see the module's page.
pub(crate) struct StartsActor;

impl Actor for StartsActor {
    type Msg = StartsMsg;
    type State = StartsState;
    type Arguments = StartsArguments;

    async fn pre_start(
        &self,
        _: ActorRef<StartsMsg>,
        StartsArguments { limit, tasks }: StartsArguments,
    ) -> Result<StartsState, ActorProcessingErr> {
        Ok(StartsState {
            starts: Starts::new(limit),
            waiting: NumberMap::default(),
            tell_at: Instant::now(),
            alarm: Alarm::new(tasks),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<StartsMsg>,
        message: StartsMsg,
        state: &mut StartsState,
    ) -> Result<(), ActorProcessingErr> {
        let now = Instant::now();
        match message {
            StartsMsg::Ask { attempt, before, port } => {
                let ahead = state.starts.waiting().count();
                let id = state.starts.ask(attempt);
                state.waiting.insert(id, Waiting { before, port });
                state.admit(&myself);
                if let Some(waiting) = state.waiting.get(&id) {
                    waiting.before.send_replace(Some(ahead));
                }
            }
            StartsMsg::Over(id) => {
                state.starts.over(id);
                state.admit(&myself);
            }
            StartsMsg::Due => state.alarm.rang(),
            #[cfg(feature = "testkit")]
            StartsMsg::Panic => panic!("ordered by the testkit"),
        }
        if state.tell_at <= now {
            state.tell_at = later(now, TELL_EVERY);
            state.tell();
        }
        let next = (!state.waiting.is_empty()).then_some(state.tell_at);
        state.alarm.set(next, &myself, || StartsMsg::Due);
        Ok(())
    }
}

impl StartsState {
    /// Gives a turn to all that may have one.
    fn admit(&mut self, myself: &ActorRef<StartsMsg>) {
        while let Some(id) = self.starts.next() {
            let Some(Waiting { port, .. }) = self.waiting.remove(&id) else {
                self.starts.over(id);
                continue;
            };
            // Who has left drops its turn here, and so gives it back.
            let _ = port.send(Turn { id, starts: myself.clone() });
        }
    }

    /// Forgets who has left, and tells the others how many are before them.
    fn tell(&mut self) {
        let left: Vec<StartId> =
            self.waiting.iter().filter(|(_, waiting)| waiting.port.is_closed()).map(|(id, _)| *id).collect();
        for id in left {
            self.waiting.remove(&id);
            self.starts.over(id);
        }
        for (before, id) in self.starts.waiting().enumerate() {
            if let Some(waiting) = self.waiting.get(&id) {
                waiting.before.send_if_modified(|told| told.replace(before) != Some(before));
            }
        }
    }
}

/// Waits for a turn at whichever actor gives them, and tells meanwhile how many are before it. None if the troupe has ended.
pub(super) async fn turn(
    current_actors: &mut watch::Receiver<CurrentActors>,
    attempt: Attempt,
    mut told: impl FnMut(usize),
) -> Option<Turn> {
    loop {
        let starts = current_actors
            .wait_for(|current_actors| current_actors.starts.is_some())
            .await
            .ok()?
            .starts
            .clone()?;
        let (before, mut seen) = watch::channel(None);
        let mut asked = std::pin::pin!(ask(&starts, |port| StartsMsg::Ask { attempt, before, port }));
        let turn = loop {
            tokio::select! { biased;
                turn = &mut asked => break turn,
                Ok(()) = seen.changed() => {
                    if let Some(before) = *seen.borrow_and_update() {
                        told(before);
                    }
                }
            }
        };
        if let Ok(turn) = turn {
            return Some(turn);
        }
        // That one has ended; the root names the next.
        let ended = starts.get_id();
        let next = |current_actors: &CurrentActors| {
            current_actors.starts.as_ref().is_none_or(|starts| starts.get_id() != ended)
        };
        current_actors.wait_for(next).await.ok()?;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::task::JoinSet;

    use super::*;

    async fn start(limit: usize) -> ActorRef<StartsMsg> {
        let arguments = StartsArguments { limit, tasks: Tasks::new() };
        Actor::spawn(None, StartsActor, arguments).await.expect("it starts").0
    }

    fn current_actors(starts: &ActorRef<StartsMsg>) -> watch::Sender<CurrentActors> {
        watch::Sender::new(CurrentActors { starts: Some(starts.clone()), ..CurrentActors::default() })
    }

    async fn turn_at(current_actors: &watch::Sender<CurrentActors>) -> Turn {
        turn(&mut current_actors.subscribe(), Attempt::First, |_| {}).await.expect("a turn")
    }

    /// Whether all places are free again: so many turns are given at once.
    async fn all_free(current_actors: &watch::Sender<CurrentActors>, limit: usize) {
        let mut held = Vec::new();
        for _ in 0..limit {
            held.push(turn_at(current_actors).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_comes_back_however_its_holder_ends_and_also_where_nobody_took_it() {
        let starts = start(2).await;
        let current_actors = current_actors(&starts);
        let (one, two) = (turn_at(&current_actors).await, turn_at(&current_actors).await);
        let mut waiting = JoinSet::new();
        for _ in 0..10 {
            let mut current_actors = current_actors.subscribe();
            waiting.spawn(async move { turn(&mut current_actors, Attempt::First, |_| {}).await.is_some() });
        }
        // They have asked before this one.
        tokio::time::sleep(Duration::from_millis(1)).await;
        waiting.abort_all();
        drop(one);
        let panics = tokio::spawn(async move {
            let _held = two;
            panic!("while it starts");
        });
        assert!(panics.await.is_err());
        all_free(&current_actors, 2).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_told_how_many_are_before_it_once_a_second() {
        let starts = start(1).await;
        let current_actors = current_actors(&starts);
        let running = turn_at(&current_actors).await;
        let (told, mut seen) = mpsc::channel(100);
        let mut news = || {
            let mut news: Vec<(usize, usize)> = std::iter::from_fn(|| seen.try_recv().ok()).collect();
            news.sort_unstable();
            news
        };
        let mut waiting = JoinSet::new();
        let mut turns = Vec::new();
        for n in 0..4 {
            let (mut current_actors, told) = (current_actors.subscribe(), told.clone());
            let (turn_taken, taken) = oneshot::channel();
            turns.push(taken);
            waiting.spawn(async move {
                let tell = |before| told.try_send((n, before)).expect("room");
                let _ = turn_taken.send(turn(&mut current_actors, Attempt::First, tell).await);
            });
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(news(), [(0, 0), (1, 1), (2, 2), (3, 3)]);
        drop(running);
        let first = turns.remove(0).await;
        assert!(news().is_empty(), "the moves of a second are gathered");
        tokio::time::sleep(TELL_EVERY * 3).await;
        assert_eq!(news(), [(1, 0), (2, 1), (3, 2)]);
        drop(first);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_when_the_actor_ends_asks_its_successor() {
        let starts = start(1).await;
        let current_actors = current_actors(&starts);
        let running = turn_at(&current_actors).await;
        let mut waits = current_actors.subscribe();
        let waiting = tokio::spawn(async move { turn(&mut waits, Attempt::First, |_| {}).await.is_some() });
        tokio::time::sleep(Duration::from_millis(1)).await;
        starts.kill();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(!waiting.is_finished(), "there is no other one yet");
        let next = start(1).await;
        current_actors.send_modify(|current_actors| current_actors.starts = Some(next));
        assert!(waiting.await.expect("no panic"));
        drop(running);
        all_free(&current_actors, 1).await;
        drop(current_actors);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_when_the_troupe_ends_has_no_turn() {
        let starts = start(1).await;
        let current_actors = current_actors(&starts);
        let _running = turn_at(&current_actors).await;
        let mut waits = current_actors.subscribe();
        let waiting = tokio::spawn(async move { turn(&mut waits, Attempt::First, |_| {}).await.is_some() });
        tokio::time::sleep(Duration::from_millis(1)).await;
        current_actors.send_replace(CurrentActors::default());
        starts.stop(None);
        drop(current_actors);
        assert!(!waiting.await.expect("no panic"));
    }
}
