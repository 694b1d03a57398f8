//! The pump: the one task that owns a link. It moves requests to the peer and answers to the router.
//!
//! Each turn takes what is queued, writes it all, flushes once, reads every frame that is already there, and reports
//! them in one message to the server actor, which passes the answers on to the router. Results are not parsed: the id is
//! read, the result stays a slice of its frame.
//!
//! Where each request travels alone, one may fail while the link goes on; and a link that is leaving takes no more of them,
//! but those under way come to their own ends before the pump ends. One that was asked to close waits for its calls
//! alone: each of them ends, since it has a deadline and can be called off until then. Everything else that is open
//! may never be answered, and is let go.
//!
//! It ends by closing its queue and draining it, so that every attempt it was given is reported: as lost, and whether
//! it may have been sent.
//!
//! | what a peer makes grow | how far |
//! | --- | --- |
//! | replies to what it asks | reading stops ([`notices`]); so many of one frame |
//! | answers of the host | further questions are refused ([`notices`]) |
//! | oddities, answers to nothing | a count and the first words ([`oddities`]) |
//! | reports of what came unasked | so many a second ([`unasked`]) |
//! | names of resources that changed | so many, then *more* |
//! | progress, log messages | so many a second ([`notifications`]) |
//! | requests that it never answers | calls have deadlines; of listings and subscriptions old ones are forgotten |

pub(crate) mod messages;
mod notices;
mod notifications;
mod oddities;
mod put_off;
mod stall;
mod unasked;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep};

use self::messages::SUBSCRIPTIONS_MAX;
use self::messages::Updated;
use self::messages::{Finished, Leaving, ListFailure, ListPort, Listened, Mirroring, PumpMsg, Report, Stale};
use self::notices::{Cause, Notices};
use self::notifications::{Hearing, Suppressed};
use self::oddities::Noise;
use self::put_off::PutOff;
use self::stall::{Reading, Stall};
use self::unasked::Unasked;
use super::dial::Opened;
use super::questions::{self, Answered, Questions, TakenBackOn};
use crate::call::{AttemptEnd, OutcomeClass, Request};
use crate::config::LivenessSettings;
use crate::duration::{later, rounded};
use crate::error::RpcError;
use crate::id::{AttemptId, RequestId};
use crate::json::RawJson;
use crate::number_map::NumberMap;
use crate::peer_text::{TEXT_BYTES_MAX, cut, reason};
use crate::policy::breaker::Permit;
use crate::policy::classify::Judge;
use crate::policy::routing::{CancelReason, Completion, Dispatch, Over};
use crate::protocol::envelope::{
    FrameMemory, Incoming, Malformed, Response, answered_by_ends, answered_by_unreadable, decode,
    decode_answer,
};
use crate::protocol::{
    LISTEN_METHOD, Notice, Session, cancelled_id, encode_answer, own_request, subscribe_method, updated_uri,
};
use crate::question::Asker;
use crate::transport::{Connector, Failure, Head, Inbound, Link, LinkError, Outbound};

/// Frames that are read before written ones get their turn again: neither side can starve the other.
const FRAMES_PER_TURN: usize = 256;

/// What tokio's timers tell apart.
const TIMER_TICK: Duration = Duration::from_millis(1);

/// Turns before the task yields to others on its thread.
const TURNS_PER_POLL: usize = 8;

/// Requests in one frame that are answered. A batch that holds more is no way to ask: one frame could fill the memory
/// with answers.
const ASKED_PER_FRAME_MAX: usize = 256;

/// The longest id of a peer's request, in bytes: it is said back with the answer, and common ones have some dozens.
const ASKED_ID_BYTES_MAX: usize = 4 << 10;

/// Subscriptions under way, each to be told of a resource or no longer. Of older ones no answer is to be expected.
const SUBSCRIBING_MAX: usize = 2 * SUBSCRIPTIONS_MAX;

/// A request that waits for its answer.
enum InFlight {
    Call {
        attempt: AttemptId,
        permit: Permit,
        sent_at: Instant,
        spare: Option<Box<Dispatch>>,
        /// What is heard of it beside its answer, if that is wanted.
        hearing: Option<Box<Hearing>>,
        /// On whose behalf the peer asks while it works on it, if anybody answers.
        asker: Option<Box<Asker>>,
        /// Nobody else's calls go over this link.
        leased: bool,
    },
    List {
        port: ListPort,
    },
    /// Open for as long as the peer tells of changes.
    Listen {
        acknowledged: bool,
    },
    /// To be told of a resource, or no longer.
    Subscribe {
        uri: String,
        wanted: bool,
    },
}

/// Where a frame came from.
#[derive(Clone, Copy)]
enum Origin {
    /// Where all frames come.
    Shared,
    /// On a stream of what the peer says unasked.
    Unasked,
    /// On the stream of the answer to this request.
    StreamOf(u64),
    /// As all that the peer has to say to this request.
    AnswerTo(u64),
    /// The same, and the transport says that the peer would not have the request as it came.
    RefusalOf(u64),
}

impl Origin {
    /// Whether an answer to the request `named` may come here. Ids are small and equal on all links: what a confused server
    /// or proxy sends on another request's exchange may be the answer to another caller's request.
    fn admits(self, named: u64) -> bool {
        match self {
            Self::Shared => true,
            Self::Unasked => false,
            Self::StreamOf(id) | Self::AnswerTo(id) | Self::RefusalOf(id) => id == named,
        }
    }
}

/// The answer to a question of the peer's, on its way.
fn answer_of(id: &RawJson, answered: &Answered) -> Outbound {
    Outbound::Notice(encode_answer(id, answered))
}

/// What is said of an answer to the request `named` that came on the exchange of another one, or on none.
fn misplacement(named: u64, on: Option<u64>) -> String {
    match on {
        Some(on) => format!("an answer to request {named} came on the exchange of request {on}"),
        None => format!("an answer to request {named} came among what is told unasked"),
    }
}

/// The task's state.
pub(super) struct Pump<R> {
    link: Box<dyn Link>,
    session: Session,
    /// Takes out of what the server says of itself what is secret of its description.
    redacts: Arc<dyn Connector>,
    queue: mpsc::Receiver<PumpMsg>,
    judge: Judge,
    liveness: LivenessSettings,
    /// What the peer asks.
    questions: Questions,
    /// Some of them wait for the host, as was last reported.
    asks: bool,
    message_bytes_max: usize,
    report_to: R,

    next_id: u64,
    /// Requests of the handshake, of which one or the other may be answered after it: each once, and that is no answer to
    /// nothing.
    of_handshake: Vec<u64>,
    frames: FrameMemory,
    in_flight: NumberMap<u64, InFlight>,
    /// Taken from the queue, not yet written.
    outbox: VecDeque<PumpMsg>,
    /// Frames of our own that go before the outbox.
    notices: Notices,
    /// Requests to subscribe that may be in flight.
    subscribing: usize,
    /// The queue's senders are gone.
    queue_ended: bool,
    /// It was asked to close, or nobody is left who could ask: it ends with its last call.
    closing: bool,
    /// The link takes no more requests, for this reason: it closes when the last call has come to its end.
    leaving: Option<String>,
    /// Requests before this one were on their way when one was last lost by itself.
    incident: u64,
    /// The first request after the last message of ours that has no answer.
    noticed: u64,
    /// The latest request that was answered.
    answered: Option<u64>,
    /// The peer may still work on a call that has ended here without its answer, and ask on its behalf.
    leaves_work: bool,
    /// Something was written since the last flush.
    dirty: bool,
    /// The link had nothing more when it was asked last, and wakes the task when it has.
    link_waits: bool,
    /// Messages that the link took.
    written: u64,
    stall: Stall,
    ping: Interval,
    heard: bool,
    /// What had arrived at the last tick of the pings.
    arrived: u64,
    misses: u32,
    noise: Noise,
    suppressed: Suppressed,
    /// When updates are told that were held back.
    held: Option<Pin<Box<Sleep>>>,
    unasked: Unasked,
    put_off: PutOff,
    report: Report,
}

/// Why a link ended. That it broke is said by whoever tells of a lost connection.
fn words_of(error: LinkError) -> String {
    match error {
        LinkError::Broken(words) => words,
        error @ (LinkError::Closed { .. }
        | LinkError::Unreachable(_)
        | LinkError::SessionLost(_)
        | LinkError::SessionDoubted(_)
        | LinkError::Exited { .. }
        | LinkError::Refused(_)
        | LinkError::Protocol(_)
        | LinkError::TooLarge { .. }) => error.to_string(),
    }
}

impl<R: FnMut(Report)> Pump<R> {
    pub(super) fn new(
        opened: Opened,
        queue: mpsc::Receiver<PumpMsg>,
        judge: Judge,
        liveness: LivenessSettings,
        questions: Questions,
        message_bytes_max: usize,
        report_to: R,
    ) -> Self {
        let now = Instant::now();
        // One that is shorter than the timers tell apart would be made up for, again and again.
        let interval = liveness.ping_interval.max(TIMER_TICK);
        let mut ping = tokio::time::interval_at(later(now, interval), interval);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            link: opened.link,
            session: opened.session,
            redacts: opened.connector,
            queue,
            judge,
            liveness,
            questions,
            asks: false,
            message_bytes_max,
            report_to,
            of_handshake: (1..opened.next_id).collect(),
            next_id: opened.next_id,
            frames: FrameMemory::default(),
            in_flight: NumberMap::default(),
            outbox: VecDeque::new(),
            notices: Notices::default(),
            subscribing: 0,
            queue_ended: false,
            closing: false,
            leaving: None,
            incident: 0,
            // The end of a handshake is told without an answer.
            noticed: opened.next_id,
            answered: None,
            leaves_work: false,
            dirty: false,
            link_waits: false,
            written: 0,
            stall: Stall::default(),
            ping,
            heard: true,
            arrived: 0,
            misses: 0,
            noise: Noise::new(now),
            suppressed: Suppressed::new(now),
            held: None,
            unasked: Unasked::new(now),
            put_off: PutOff::default(),
            report: Report::default(),
        }
    }

    /// Runs until the link ends, and says how it ended. Everything it was given is reported by then.
    pub(super) async fn run(mut self) -> String {
        // It is copied for each call that is lost, and may be in the peer's words.
        let ending = std::future::poll_fn(|poller| self.poll(poller)).await;
        let ending = reason(self.redact(ending));
        self.lose_everything(&ending).await;
        // The peer may be gone; a close that fails changes nothing.
        let _ = tokio::time::timeout(self.liveness.write_timeout, self.link.close()).await;
        ending
    }

    fn poll(&mut self, poller: &mut Poller<'_>) -> Poll<String> {
        self.link_waits = false;
        for _ in 0..TURNS_PER_POLL {
            match self.turn(poller) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(ending) => return Poll::Ready(ending),
            }
        }
        poller.waker().wake_by_ref();
        Poll::Pending
    }

    /// One turn. Says whether another one may get any further, or how the link ended.
    fn turn(&mut self, poller: &mut Poller<'_>) -> Result<bool, String> {
        let taken = self.take_requests(poller);
        while let Some((id, answered)) = self.questions.poll(poller) {
            self.notices.push(Cause::Host, answer_of(&id, &answered));
        }
        let written = self.write(poller)?;
        self.flush(poller)?;
        // What was written may have to be set going.
        self.link_waits &= !written;
        let read = self.read(poller);
        let asks = self.questions.are_open();
        if std::mem::replace(&mut self.asks, asks) != asks {
            self.report.asks = Some(asks);
        }
        self.tell_held(poller);
        self.report(poller);
        let unfinished = read?;
        self.check_liveness(poller)?;
        if self.closing && self.outbox.is_empty() && self.has_answered() {
            return Err("closed in order".to_owned());
        }
        if let Some(reason) = &self.leaving
            && self.has_answered()
        {
            return Err(reason.clone());
        }
        Ok(taken || written || unfinished)
    }

    /// Whether nothing is in flight that ends by itself.
    fn has_answered(&self) -> bool {
        self.in_flight.values().all(|request| matches!(request, InFlight::Listen { .. }))
    }

    /// Takes what is queued, unless earlier requests still wait for the peer to read.
    fn take_requests(&mut self, poller: &mut Poller<'_>) -> bool {
        if self.queue_ended || !self.outbox.is_empty() {
            return false;
        }
        // It is empty: only its memory is moved.
        let mut batch = Vec::from(std::mem::take(&mut self.outbox));
        let taken = self.queue.poll_recv_many(poller, &mut batch, FRAMES_PER_TURN);
        self.outbox = batch.into();
        if taken == Poll::Ready(0) {
            self.queue_ended = true;
            self.close();
        }
        taken.is_ready()
    }

    /// Ends with the last call that is under way.
    fn close(&mut self) {
        self.closing = true;
        self.let_go_of_all_but_calls();
    }

    /// What is no call may never be answered, and is begun anew over another link.
    fn let_go_of_all_but_calls(&mut self) {
        self.in_flight.retain(|_, request| matches!(request, InFlight::Call { .. }));
        self.subscribing = 0;
        self.forget_put_off();
    }

    /// Writes notices, then requests, for as long as the link takes them.
    fn write(&mut self, poller: &mut Poller<'_>) -> Result<bool, String> {
        if self.notices.is_empty() && self.outbox.is_empty() {
            return Ok(false);
        }
        let now = Instant::now();
        let mut moved = false;
        while !(self.notices.is_empty() && self.outbox.is_empty()) {
            match self.link.poll_ready_unpin(poller) {
                Poll::Pending => {
                    self.dirty = true;
                    break;
                }
                Poll::Ready(ready) => ready.map_err(words_of)?,
            }
            let outbound = match self.notices.pop() {
                Some(notice) => Some(notice),
                None => self.outbox.pop_front().and_then(|message| self.encode(message, now)),
            };
            if let Some(outbound) = outbound {
                if !matches!(outbound, Outbound::Request { .. } | Outbound::Ping) {
                    self.noticed = self.next_id;
                }
                self.link.start_send_unpin(outbound).map_err(words_of)?;
                self.written += 1;
                self.dirty = true;
            }
            moved = true;
        }
        Ok(moved)
    }

    /// Turns a request into its frame and notes it as in flight.
    fn encode(&mut self, message: PumpMsg, now: Instant) -> Option<Outbound> {
        match message {
            PumpMsg::Call { dispatch, permit, mirroring } => {
                let hearing = Hearing::of(&dispatch, now);
                let Dispatch { attempt, tool, call, bypass: _, over, interest: _, request_id } = dispatch;
                if let Some(reason) = &self.leaving {
                    let end = AttemptEnd::ConnectionLost { reason: reason.clone(), sent: false };
                    self.finish(attempt, permit, end, Duration::ZERO);
                    return None;
                }
                let id = self.next_id;
                let token = hearing.is_some().then_some(id);
                let frame = self.session.encode_call(&mut self.frames, id, &tool, &call, token);
                if frame.len() > self.message_bytes_max {
                    let end = AttemptEnd::TooLarge { bytes: frame.len(), limit: self.message_bytes_max };
                    self.finish(attempt, permit, end, Duration::ZERO);
                    return None;
                }
                self.next_id += 1;
                let mut head = Head::of(self.session.call_method(call.request));
                // What a completion is of is none of the headers' business.
                head.name = (!matches!(call.request, Request::Completion(_))).then_some(tool);
                let mut spare = None;
                if let Some(mirroring) = mirroring {
                    let Mirroring { mirrors, spare: again } = *mirroring;
                    head.mirrored =
                        mirrors.map(|mirrors| mirrors.headers(call.right_args())).unwrap_or_default();
                    spare = again.map(Box::new);
                }
                let asker = self.questions.asker(&request_id, call.options().handlers.as_ref());
                let leased = matches!(over, Over::Leased(_));
                let request = InFlight::Call { attempt, permit, sent_at: now, spare, hearing, asker, leased };
                self.in_flight.insert(id, request);
                Some(Outbound::Request { id, head, frame })
            }
            PumpMsg::Close => {
                self.close();
                None
            }
            // They are said again over another link.
            PumpMsg::Listen(_) | PumpMsg::Subscribe { .. } if self.closing || self.leaving.is_some() => None,
            PumpMsg::Listen(wanted) => {
                self.stop_listening();
                let id = self.next_id;
                self.next_id += 1;
                self.in_flight.insert(id, InFlight::Listen { acknowledged: false });
                let frame = self.session.encode_listen(id, wanted.changes, wanted.resources.iter());
                Some(Outbound::Request { id, head: Head::of(LISTEN_METHOD), frame })
            }
            PumpMsg::Subscribe { uri, wanted } => {
                self.forget_subscribing();
                let id = self.next_id;
                self.next_id += 1;
                let frame = self.session.encode_subscribe(id, &uri, wanted);
                self.in_flight.insert(id, InFlight::Subscribe { uri, wanted });
                Some(Outbound::Request { id, head: Head::of(subscribe_method(wanted)), frame })
            }
            PumpMsg::List { port, .. } if self.closing || self.leaving.is_some() => {
                // Without an answer the listing fails as it does for a lost connection.
                drop(port);
                None
            }
            PumpMsg::List { kind, cursor, port } => {
                self.forget_listings();
                let id = self.next_id;
                self.next_id += 1;
                self.in_flight.insert(id, InFlight::List { port });
                let head = Head::of(self.session.list_method(kind));
                let frame = self.session.encode_list(id, kind, cursor.as_deref());
                Some(Outbound::Request { id, head, frame })
            }
            PumpMsg::Cancel { attempt, reason } => {
                let id = self.in_flight.iter().find_map(|(id, request)| match request {
                    InFlight::Call { attempt: other, .. } if *other == attempt => Some(*id),
                    InFlight::Call { .. }
                    | InFlight::List { .. }
                    | InFlight::Listen { .. }
                    | InFlight::Subscribe { .. } => None,
                })?;
                Some(self.call_off(id, reason, now))
            }
            PumpMsg::CancelAll => {
                let calls =
                    self.in_flight.iter().filter(|(_, request)| matches!(request, InFlight::Call { .. }));
                let mut ids: Vec<u64> = calls.map(|(id, _)| *id).collect();
                ids.sort_unstable();
                for id in ids {
                    let cancel = self.call_off(id, CancelReason::CallerLeft, now);
                    self.notices.push(Cause::Own, cancel);
                }
                None
            }
        }
    }

    /// Calls off pages that nobody waits for any more, so that a server that never answers them gathers none.
    fn forget_listings(&mut self) {
        let over = |request: &InFlight| matches!(request, InFlight::List { port } if port.is_closed());
        for (id, _) in self.in_flight.extract_if(|_, request| over(request)) {
            self.notices.push(Cause::Own, Outbound::Cancel { id, frame: None });
        }
        self.forget_put_off();
    }

    /// Requests were taken out of flight without their answers.
    fn forget_put_off(&mut self) {
        self.put_off.keep(|id| self.in_flight.contains_key(&id));
    }

    /// Counts one more request to subscribe. Of a server that answers none, no more are kept than hosts can want.
    fn forget_subscribing(&mut self) {
        if self.subscribing >= SUBSCRIBING_MAX {
            let subscribing = |request: &InFlight| matches!(request, InFlight::Subscribe { .. });
            for (id, _) in self.in_flight.extract_if(|_, request| subscribing(request)) {
                self.notices.push(Cause::Own, Outbound::Cancel { id, frame: None });
            }
            self.subscribing = 0;
            self.forget_put_off();
        }
        self.subscribing += 1;
    }

    /// Calls off what the peer was asked to tell.
    fn stop_listening(&mut self) {
        let telling = |request: &InFlight| matches!(request, InFlight::Listen { .. });
        for (id, _) in self.in_flight.extract_if(|_, request| telling(request)) {
            let frame = self.session.encode_cancel(id, "another subscription takes its place");
            self.notices.push(Cause::Own, Outbound::Cancel { id, frame });
        }
        self.forget_put_off();
    }

    /// A wish to be told of changes came to its end.
    fn listen_ended(&mut self, refused: bool) {
        self.report.listened.push(Listened::Ended { refused });
    }

    /// A subscription was answered.
    fn subscribed(&mut self, uri: String, wanted: bool, outcome: Result<(), String>) {
        if !wanted {
            return;
        }
        self.report.listened.push(match outcome {
            Ok(()) => Listened::Subscribed { uri },
            Err(reason) => Listened::Refused { uri, reason: cut(self.redact(reason), TEXT_BYTES_MAX) },
        });
    }

    /// Takes a call out of flight and makes the frame that tells the peer. Its late answer will meet no entry.
    fn call_off(&mut self, id: u64, reason: CancelReason, now: Instant) -> Outbound {
        let (end, words) = match reason {
            CancelReason::CallerLeft => (AttemptEnd::Cancelled, "the caller left"),
            CancelReason::AnsweredElsewhere => (AttemptEnd::Cancelled, "another server answered first"),
            CancelReason::DeadlineExceeded => (AttemptEnd::DeadlineExceeded, "deadline exceeded"),
        };
        if let Some(InFlight::Call { attempt, permit, sent_at, .. }) = self.remove_in_flight(id) {
            self.leaves_work = true;
            self.finish(attempt, permit, end, now.saturating_duration_since(sent_at));
        }
        Outbound::Cancel { id, frame: self.session.encode_cancel(id, words) }
    }

    /// Flushes what was written, and watches the time that the peer takes for it.
    fn flush(&mut self, poller: &mut Poller<'_>) -> Result<(), String> {
        if !self.dirty {
            return Ok(());
        }
        match self.link.poll_flush_unpin(poller) {
            Poll::Ready(flushed) => {
                flushed.map_err(words_of)?;
                self.dirty = false;
                self.stall.over();
                Ok(())
            }
            Poll::Pending => {
                let limit = self.liveness.write_timeout;
                let taken = self.link.taken().unwrap_or(self.written);
                match self.stall.watch(taken, limit, poller) {
                    // A ping that waits behind all this has not been heard by anybody yet.
                    Reading::Moves => self.heard = true,
                    Reading::Rests => {}
                    Reading::Stopped => {
                        return Err(format!("the server has read nothing for {}", rounded(limit)));
                    }
                }
                Ok(())
            }
        }
    }

    /// Reads every frame that is already there, up to the turn's share. Says whether the next turn has to go on with what
    /// was read: with everything but answers, and where there may be more.
    fn read(&mut self, poller: &mut Poller<'_>) -> Result<bool, String> {
        // Who does not read the replies to what it asks is not asked what more it wants.
        if self.link_waits || self.notices.are_many() {
            return Ok(false);
        }
        let mut now = None;
        let mut unfinished = false;
        for _ in 0..FRAMES_PER_TURN {
            match self.link.poll_next_unpin(poller) {
                Poll::Pending => {
                    self.link_waits = true;
                    return Ok(unfinished);
                }
                Poll::Ready(None) => return Err("the server closed the connection".to_owned()),
                Poll::Ready(Some(Err(error))) => return Err(words_of(error)),
                Poll::Ready(Some(Ok(inbound))) => {
                    self.heard = true;
                    let now = *now.get_or_insert_with(Instant::now);
                    unfinished |= match inbound {
                        Inbound::Alive => false,
                        Inbound::Message(frame) => self.receive(frame, Origin::Shared, now)?,
                        Inbound::TooLarge { beginning, end, limit } => {
                            let named = answered_by_ends(&beginning, &end);
                            let words = format!("it is over the limit of {limit} bytes");
                            self.unreadable(named, &words, now)?;
                            true
                        }
                        Inbound::Unasked(frame) => self.receive(frame, Origin::Unasked, now)?,
                        Inbound::Beside { id, frame } => self.receive(frame, Origin::StreamOf(id), now)?,
                        Inbound::Answer { id, frame } => self.receive(frame, Origin::AnswerTo(id), now)?,
                        Inbound::Refused { id, frame } => self.receive(frame, Origin::RefusalOf(id), now)?,
                        Inbound::Failed { id, failure } => {
                            self.failed(id, failure, now);
                            true
                        }
                        Inbound::PutOff { id } => {
                            if self.in_flight.contains_key(&id)
                                && let Some(response) = self.put_off.put_off(id)
                            {
                                self.answer(response, Origin::Unasked, now);
                            }
                            true
                        }
                        Inbound::Leaving(error) => {
                            let blameless = matches!(error, LinkError::SessionDoubted(_));
                            self.leave(words_of(error), blameless);
                            true
                        }
                    };
                    if self.notices.are_many() {
                        break;
                    }
                }
            }
        }
        Ok(true)
    }

    /// Reads a frame; one that is all the peer has to say to a request ends it. Says whether there was anything but answers
    /// in it. Its messages are taken as they are read: a vector of them could be many times larger than the frame.
    fn receive(&mut self, frame: Bytes, origin: Origin, now: Instant) -> Result<bool, String> {
        let (to, on) = match origin {
            Origin::Shared | Origin::Unasked => (None, None),
            Origin::StreamOf(id) => (None, Some(id)),
            Origin::AnswerTo(id) | Origin::RefusalOf(id) => (Some(id), Some(id)),
        };
        let (bytes, given) = (frame.len(), self.next_id);
        let mut asked = 0;
        let mut more = false;
        let each = |incoming: Incoming| {
            if let Some(named) = incoming.answered().filter(|named| !origin.admits(*named)) {
                // Its request, if there is one, goes on: its own answer is still to come.
                self.report.violations.note(|| misplacement(named, on));
                if let (Incoming::Response(response), Origin::Unasked) = (incoming, origin)
                    && self.in_flight.contains_key(&named)
                    && let Some(response) = self.put_off.answered(named, response, bytes)
                {
                    self.answer(response, origin, now);
                }
                return;
            }
            match incoming {
                Incoming::Response(response) => self.answer(response, origin, now),
                Incoming::MissingOutcome { id } => self.invalid(id, "it has neither result nor error", now),
                Incoming::Foreign { id, outcome: _ } => {
                    self.report.unmatched += 1;
                    self.report.violations.note(|| oddities::foreign_answer(&id));
                }
                Incoming::Request { id, method, params } => {
                    more = true;
                    asked += 1;
                    self.asked(asked, id, &method, params, origin);
                }
                Incoming::Notification { method, params } => {
                    more = true;
                    self.told(&method, params.as_ref(), on, now);
                }
            }
        };
        let decoded = match on {
            None => decode(frame.clone(), each),
            Some(id) => decode_answer(frame.clone(), id, |named| named < given, each),
        };
        if let Some(id) = to.filter(|id| self.in_flight.contains_key(id)) {
            let none = "it holds no response to this request".to_owned();
            let reason = decoded.as_ref().err().map_or(none, Malformed::to_string);
            self.invalid(id, &reason, now);
        }
        match decoded {
            Ok(()) => self.noise.message_came(),
            // Its request has ended with it.
            Err(_) if to.is_some() => {}
            Err(malformed) => {
                let named = answered_by_unreadable(&frame).filter(|named| origin.admits(*named));
                // What is said on a call's stream in place of its answer.
                let named = named.or(on.filter(|_| malformed.words().is_some()));
                self.unreadable(named, &malformed.to_string(), now)?;
            }
        }
        Ok(more)
    }

    /// A frame came that cannot be read. The request that it answers, where that is known, ends with it: nothing else will
    /// come. It is told in any case.
    fn unreadable(&mut self, named: Option<u64>, words: &str, now: Instant) -> Result<(), String> {
        let (link, redacts) = (&self.link, &self.redacts);
        self.report.violations.note(|| link.redact(redacts.redact(words.to_owned())));
        match named.filter(|id| self.in_flight.contains_key(id)) {
            Some(id) => {
                self.link.answered(id);
                self.invalid(id, words, now);
                self.noise.message_came();
                Ok(())
            }
            None => self.noise.hear(now),
        }
    }

    /// The one call that an error which names no request can be about: it alone waits, and everything that was written before
    /// it, and may be what the peer complains about, lies before a request that was answered.
    fn only_call(&self) -> Option<u64> {
        let settled = self.answered.is_some_and(|answered| answered >= self.noticed);
        let mut waiting =
            self.in_flight.iter().filter(|(_, request)| !matches!(request, InFlight::Listen { .. }));
        match (waiting.next(), waiting.next()) {
            (Some((id, InFlight::Call { .. })), None) if settled => Some(*id),
            _ => None,
        }
    }

    /// The call on whose behalf the peer asks: that on whose exchange it does, and on a leased connection the only one that is
    /// open, unless the peer may still work on one that was given up. Anywhere else it may be any call's.
    ///
    /// # Errors
    /// What it is answered with where it asks on behalf of a call that is over: nobody is left who could be asked.
    fn asker(&self, origin: Origin) -> Result<Option<&Asker>, RpcError> {
        match origin {
            Origin::StreamOf(id) | Origin::AnswerTo(id) | Origin::RefusalOf(id) => {
                match self.in_flight.get(&id) {
                    Some(InFlight::Call { asker, .. }) => Ok(asker.as_deref()),
                    Some(InFlight::List { .. } | InFlight::Listen { .. } | InFlight::Subscribe { .. }) => {
                        Ok(None)
                    }
                    None => Err(questions::over()),
                }
            }
            Origin::Unasked => Ok(None),
            Origin::Shared => {
                let mut open = self.in_flight.values().filter_map(|request| match request {
                    InFlight::Call { asker, leased, .. } => Some((asker.as_deref(), *leased)),
                    InFlight::List { .. } | InFlight::Listen { .. } | InFlight::Subscribe { .. } => None,
                });
                match (open.next(), open.next()) {
                    (Some((asker, true)), None) if !self.leaves_work => Ok(asker),
                    _ => Ok(None),
                }
            }
        }
    }

    /// The call that this request is, if it is one that somebody may be asked for.
    fn call_of(&self, request: u64) -> Option<&RequestId> {
        match self.in_flight.get(&request)? {
            InFlight::Call { asker, .. } => asker.as_ref().map(|asker| &asker.call),
            InFlight::List { .. } | InFlight::Listen { .. } | InFlight::Subscribe { .. } => None,
        }
    }

    /// The peer asks, in its frame as the `nth`, from there.
    fn asked(&mut self, nth: usize, id: RawJson, method: &str, params: Option<RawJson>, origin: Origin) {
        if nth > ASKED_PER_FRAME_MAX {
            let words =
                || format!("more than {ASKED_PER_FRAME_MAX} requests in one frame: they are not answered");
            return self.report.violations.note(words);
        }
        if id.len() > ASKED_ID_BYTES_MAX {
            let words =
                || format!("a request whose id is over {ASKED_ID_BYTES_MAX} bytes: it is not answered");
            return self.report.violations.note(words);
        }
        let room = !self.notices.hold_many_answers();
        let asker = match self.asker(origin) {
            Ok(asker) => asker.cloned(),
            Err(over) if questions::is_question(method) => {
                return self.notices.push(Cause::Peer, answer_of(&id, &Err(over)));
            }
            Err(_) => None,
        };
        if let Some((id, answered)) = self.questions.ask(id, method, params, asker.as_ref(), room) {
            self.notices.push(Cause::Peer, answer_of(&id, &answered));
        }
    }

    /// The peer tells something, on the stream of the answer to the request `on` or on none.
    fn told(&mut self, method: &str, params: Option<&RawJson>, on: Option<u64>, now: Instant) {
        match Notice::of(method) {
            Notice::ListChanged(kind) => self.report.changed.insert(kind),
            Notice::ResourceUpdated => {
                if let Some(uri) = params.and_then(updated_uri) {
                    self.report.note_update(uri);
                }
            }
            Notice::Acknowledged => {
                // A peer tells one thing at a time, and bridges rewrite the id that it names.
                for request in self.in_flight.values_mut() {
                    if let InFlight::Listen { acknowledged: acknowledged @ false } = request {
                        *acknowledged = true;
                        self.report.listened.push(Listened::Acknowledged);
                    }
                }
            }
            Notice::Cancelled => {
                if let Some(id) = params.and_then(cancelled_id) {
                    let call = on.map(|on| self.call_of(on).cloned());
                    self.questions.take_back(
                        id,
                        match &call {
                            None => TakenBackOn::NoStream,
                            Some(Some(call)) => TakenBackOn::Call(call),
                            Some(None) => TakenBackOn::AnotherRequest,
                        },
                    );
                    self.given_up(id);
                }
            }
            Notice::Progress => self.hear_progress(params, now),
            Notice::Log => self.hear_log(params, on, now),
            Notice::Other => {}
        }
    }

    /// The peer gives up a request of ours: it may do so with what it was asked to tell, and answers all others.
    fn given_up(&mut self, id: &str) {
        let Some(id) = own_request(id) else { return };
        if let Some(InFlight::Listen { acknowledged }) = self.in_flight.get(&id) {
            let acknowledged = *acknowledged;
            self.in_flight.remove(&id);
            self.listen_ended(!acknowledged);
        }
    }

    fn answer(&mut self, response: Response, origin: Origin, now: Instant) {
        let Some(id) = response.id else {
            // An error without an id answers nobody in particular; a welcome is no error.
            if let Err(error) = response.outcome {
                let words = oddities::error_to_nobody(error);
                // Where each request travels alone, one comes with what it is about.
                let about = self.only_call().filter(|_| matches!(origin, Origin::Shared));
                if let Some(id) = about {
                    // It may as well be about something else.
                    self.leaves_work = true;
                    self.link.answered(id);
                    self.invalid(id, &format!("{words}, while no other waits"), now);
                }
                self.report.violations.note(|| words);
            }
            return;
        };
        let request = self.remove_in_flight(id);
        if request.is_some() {
            self.answered = self.answered.max(Some(id));
        }
        match request {
            None => self.answered_nothing(id),
            Some(InFlight::Call { attempt, permit, sent_at, spare, hearing: _, asker: _, leased: _ }) => {
                self.link.answered(id);
                let end = match (response.outcome, spare) {
                    // A tool's own error may have that code too, after it has done something.
                    (Err(error), Some(spare))
                        if error.code == RpcError::HEADER_MISMATCH
                            && matches!(origin, Origin::RefusalOf(_)) =>
                    {
                        return self.report.stale.push(Stale { dispatch: *spare, permit, error });
                    }
                    (outcome, _) => outcome,
                };
                let end = match end {
                    Err(error) => AttemptEnd::Rpc(error),
                    Ok(result) => match self.session.unwrap_result(result) {
                        Some(result) => AttemptEnd::Result(result),
                        None => AttemptEnd::InvalidResponse("its result is no object".to_owned()),
                    },
                };
                self.finish(attempt, permit, end, now.saturating_duration_since(sent_at));
            }
            Some(InFlight::List { port }) => {
                self.link.answered(id);
                // The listing may have been given up.
                let redacted = |error: RpcError| RpcError { message: self.redact(error.message), ..error };
                let _ = port.send(response.outcome.map_err(|error| ListFailure::Rpc(redacted(error))));
            }
            Some(InFlight::Listen { acknowledged }) => {
                self.link.answered(id);
                self.listen_ended(!acknowledged);
            }
            Some(InFlight::Subscribe { uri, wanted }) => {
                self.link.answered(id);
                let outcome = response.outcome.map(|_| ()).map_err(|error| error.to_string());
                self.subscribed(uri, wanted, outcome);
            }
        }
    }

    /// A text in the server's words without what is secret in it.
    fn redact(&self, text: String) -> String {
        self.link.redact(self.redacts.redact(text))
    }

    /// A request came to nothing while the link goes on.
    fn failed(&mut self, id: u64, failure: Failure, now: Instant) {
        let Some(request) = self.remove_in_flight(id) else { return };
        let failure = failure.map_texts(|text| self.redact(text));
        let (attempt, permit, sent_at) = match request {
            InFlight::Call { attempt, permit, sent_at, .. } => {
                self.leaves_work = true;
                (attempt, permit, sent_at)
            }
            InFlight::List { port } => {
                // The listing may have been given up.
                let _ = port.send(Err(ListFailure::Failed(failure)));
                return;
            }
            // What broke says nothing of what the peer knows: the wish is said again.
            InFlight::Listen { acknowledged } => {
                return self.listen_ended(!acknowledged && failure.is_an_answer());
            }
            InFlight::Subscribe { uri, wanted } => {
                // One that broke is said again when it is not answered in time.
                if failure.is_an_answer() {
                    self.subscribed(uri, wanted, Err(failure.to_string()));
                }
                return;
            }
        };
        let latency = now.saturating_duration_since(sent_at);
        let end = match failure {
            Failure::NotCarriedOut(reason) => AttemptEnd::ConnectionLost { reason, sent: false },
            Failure::SessionLost(reason) => AttemptEnd::SessionLost { reason },
            Failure::Refused(refusal) => AttemptEnd::Refused(refusal),
            Failure::Invalid(reason) => AttemptEnd::InvalidResponse(reason),
            Failure::BrokenOff(reason) => {
                let end = AttemptEnd::ConnectionLost { reason, sent: true };
                // What was on its way together and breaks together is one failure for the breaker.
                let alone = id >= self.incident;
                if alone {
                    self.incident = self.next_id;
                }
                let class = self.judge.class(&end);
                let counts = if alone { class } else { OutcomeClass::Ignored };
                let completion = Completion { attempt, end, class, latency };
                return self.report.finished.push(Finished { permit, counts, completion });
            }
        };
        self.finish(attempt, permit, end, latency);
    }

    /// The link takes no more requests. Calls that are under way come to their own ends; listings are begun anew on
    /// another one.
    fn leave(&mut self, reason: String, blameless: bool) {
        if self.leaving.is_none() {
            let reason = self.redact(reason);
            self.let_go_of_all_but_calls();
            self.report.leaving = Some(Leaving { reason: reason.clone(), blameless });
            self.leaving = Some(reason);
        }
    }

    /// An answer to a request that is not open.
    fn answered_nothing(&mut self, id: u64) {
        match self.of_handshake.iter().position(|request| *request == id) {
            Some(place) => _ = self.of_handshake.swap_remove(place),
            None => self.report.unmatched += 1,
        }
    }

    fn invalid(&mut self, id: u64, reason: &str, now: Instant) {
        let reason = self.redact(reason.to_owned());
        match self.remove_in_flight(id) {
            None => self.answered_nothing(id),
            Some(InFlight::Call { attempt, permit, sent_at, .. }) => {
                let end = AttemptEnd::InvalidResponse(reason);
                self.finish(attempt, permit, end, now.saturating_duration_since(sent_at));
            }
            Some(InFlight::List { port }) => {
                // The listing may have been given up.
                let _ = port.send(Err(ListFailure::Failed(Failure::Invalid(reason))));
            }
            Some(InFlight::Listen { acknowledged }) => self.listen_ended(!acknowledged),
            Some(InFlight::Subscribe { uri, wanted }) => self.subscribed(uri, wanted, Err(reason)),
        }
    }

    /// Notes the end of an attempt for the next report.
    fn finish(&mut self, attempt: AttemptId, permit: Permit, end: AttemptEnd, latency: Duration) {
        let class = self.judge.class(&end);
        // A broken link counts once for the breaker, not once for each call that was on it.
        let counts = match end {
            AttemptEnd::ConnectionLost { .. } | AttemptEnd::SessionLost { .. } => OutcomeClass::Ignored,
            AttemptEnd::Result(_)
            | AttemptEnd::Rpc(_)
            | AttemptEnd::Refused(_)
            | AttemptEnd::InvalidResponse(_)
            | AttemptEnd::TooLarge { .. }
            | AttemptEnd::DeadlineExceeded
            | AttemptEnd::Cancelled => class,
        };
        let completion = Completion { attempt, end, class, latency };
        self.report.finished.push(Finished { permit, counts, completion });
    }

    /// Sends what there is to report, as far as it may be told now; the rest goes with a later one.
    fn report(&mut self, poller: &mut Poller<'_>) {
        self.suppressed.add_to(&mut self.report);
        if self.report.is_empty() {
            return;
        }
        if !self.report.is_asked_for() {
            if self.unasked.may_pass(poller) {
                self.send_report();
            }
            return;
        }
        // Counts may go along: they are gathered. Each resource that changed is work for others. But an answer carries what
        // was told before it: who has it and reads next must not be given what was kept before.
        let answers = !self.report.finished.is_empty();
        let held = if answers || self.report.updated.is_empty() || self.unasked.may_pass(poller) {
            Updated::default()
        } else {
            std::mem::take(&mut self.report.updated)
        };
        self.send_report();
        self.report.updated = held;
    }

    fn send_report(&mut self) {
        self.suppressed.add_to(&mut self.report);
        if !self.report.is_empty() {
            // Turns under load are alike.
            let next = Report::with_room(self.report.finished.len());
            (self.report_to)(std::mem::replace(&mut self.report, next));
        }
    }

    /// Pings a silent peer, and gives up one that stays silent.
    fn check_liveness(&mut self, poller: &mut Poller<'_>) -> Result<(), String> {
        while self.ping.poll_tick(poller).is_ready() {
            self.forget_listings();
            if !self.notices.is_empty() {
                poller.waker().wake_by_ref();
            }
            if !self.link.pings() {
                continue;
            }
            // The pong comes behind a large message that is still on its way.
            let arrived = self.link.arrived();
            let moves = std::mem::replace(&mut self.arrived, arrived) != arrived;
            if std::mem::take(&mut self.heard) || moves {
                self.misses = 0;
            } else {
                self.misses += 1;
            }
            if self.misses >= self.liveness.misses_max {
                let silent = self.liveness.ping_interval.saturating_mul(self.misses.saturating_add(1));
                return Err(format!("the server has not answered pings for {}", rounded(silent)));
            }
            // While others wait, the time that the peer takes for them is watched.
            if self.notices.is_empty() {
                self.notices.push(Cause::Own, Outbound::Ping);
            }
            poller.waker().wake_by_ref();
        }
        Ok(())
    }

    /// Reports everything that was given to this link as lost.
    async fn lose_everything(&mut self, ending: &str) {
        let now = Instant::now();
        // Nobody can be told any more what is answered.
        self.questions.end();
        // The link may take its time to close: until then the server actor would offer it calls, which it cannot take.
        if !self.closing && self.leaving.is_none() {
            self.report.leaving = Some(Leaving { reason: ending.to_owned(), blameless: false });
        }
        let mut in_flight: Vec<(u64, InFlight)> = std::mem::take(&mut self.in_flight).into_iter().collect();
        in_flight.sort_unstable_by_key(|(id, _)| *id);
        for (_, mut request) in in_flight {
            self.tell_missed(&mut request);
            if let InFlight::Call { attempt, permit, sent_at, .. } = request {
                let end = AttemptEnd::ConnectionLost { reason: ending.to_owned(), sent: true };
                self.finish(attempt, permit, end, now.saturating_duration_since(sent_at));
            }
        }
        let mut unsent: Vec<PumpMsg> = self.outbox.drain(..).collect();
        // Close, then drain: a message that is being pushed right now is still received.
        self.queue.close();
        while let Some(message) = self.queue.recv().await {
            unsent.push(message);
        }
        for message in unsent {
            if let PumpMsg::Call { dispatch, permit, .. } = message {
                let end = AttemptEnd::ConnectionLost { reason: ending.to_owned(), sent: false };
                self.finish(dispatch.attempt, permit, end, Duration::ZERO);
            }
        }
        self.send_report();
    }
}
