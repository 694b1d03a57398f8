//! Opening one link: the dial, then the handshake, each with its own deadline, a bounded number of both at once.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::CurrentActors;
use super::starts::turn;
use super::tasks::Alive;
use crate::actors::starts::messages::Turn;
use crate::config::{Dialect, EraChoice, PoolSettings};
use crate::duration::{later, rounded};
use crate::peer_text::{ELLIPSIS, OneLine, cut};
use crate::policy::starts::Attempt;
use crate::protocol::envelope::{Incoming, Malformed, Response, decode, decode_answer, decode_exchange};
use crate::protocol::handshake::{Finality, Greeting, Handshake, HandshakeError, Step, Wait};
use crate::protocol::{Era, Known, Session};
use crate::refusal::{Refusal, RefusalKind};
use crate::stats::Starting;
use crate::transport::{Connector, DialError, Failure, Head, Inbound, Link, LinkError, Outbound};

/// How long a peer that is turned away may take to hear it.
const GOODBYE_WAIT: Duration = Duration::from_secs(1);

/// Frames that are no messages before the handshake is given up: more than the banner of any start script, and soon over
/// where a peer floods.
const NOISE_MAX: u64 = 1_000;

/// How much of the first of them is told: the line of a log that says what the program is.
const NOISE_SHOWN_BYTES: usize = 80;

/// How much of it is looked through for secrets before.
const NOISE_KEPT_BYTES: usize = 4 << 10;

/// How often a process that is starting is looked at: what it writes is news for people.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Why a link could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// The link itself.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Nobody answered the dial.
    #[error("no connection within {} (pool.connectTimeout)", rounded(*.0))]
    ConnectTimeout(Duration),
    /// The link broke during the handshake.
    #[error("{}{noise}", in_handshake(.error))]
    Link { error: LinkError, noise: Box<Noise> },
    /// The peer closed during the handshake.
    #[error("the server closed the connection during the handshake{0}")]
    Closed(Box<Noise>),
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The server has no capacity, and said when to come again.
    #[error("{0}")]
    Overloaded(Refusal),
    /// The handshake took too long.
    #[error("no handshake within {} (pool.handshakeTimeout){noise}{}", rounded(*.limit), said(.last_line.as_deref()))]
    HandshakeTimeout { limit: Duration, noise: Box<Noise>, last_line: Option<String> },
    /// The troupe ended before the process was given its turn to start.
    #[error("the troupe has ended")]
    Ended,
    /// The peer speaks another language.
    #[error("no handshake{0}")]
    Noise(Box<Noise>),
}

impl From<LinkError> for OpenError {
    fn from(error: LinkError) -> Self {
        Self::Link { error, noise: Box::default() }
    }
}

impl OpenError {
    /// With what the peer said in the handshake that was no message: who ends may have said why. `redact` takes secrets out of what
    /// the peer said.
    fn after(mut self, noise: Noise, redact: impl Fn(String) -> String) -> Self {
        match &mut self {
            Self::Link { noise: said, .. } | Self::Closed(said) => **said = noise,
            _ => {}
        }
        if let Self::Link { noise: said, .. }
        | Self::Closed(said)
        | Self::Noise(said)
        | Self::HandshakeTimeout { noise: said, .. } = &mut self
        {
            // A secret that is cut is not found any more.
            let first = redact(std::mem::take(&mut said.first));
            said.first = cut(OneLine(&first).to_string(), NOISE_SHOWN_BYTES);
        }
        match self {
            Self::Handshake(error) => Self::Handshake(error.map_texts(redact)),
            other => other,
        }
    }
}

/// How a link ended before the handshake did, as one sentence. Who cannot be reached has begun no handshake.
fn in_handshake(error: &LinkError) -> String {
    match error {
        LinkError::Unreachable(_) | LinkError::Refused(_) => error.to_string(),
        LinkError::Closed { .. }
        | LinkError::Broken(_)
        | LinkError::SessionLost(_)
        | LinkError::SessionDoubted(_)
        | LinkError::Exited { .. }
        | LinkError::Protocol(_)
        | LinkError::TooLarge { .. } => format!("during the handshake {error}"),
    }
}

/// What a peer said in the handshake that was no message.
#[derive(Debug, Default)]
pub(super) struct Noise {
    frames: u64,
    /// What was wrong with the first one.
    fault: String,
    /// Its first line.
    first: String,
    /// Answers to ids that no request has.
    foreign: u64,
    /// The number that the last of these answered to, if it was one.
    stray: Option<u64>,
    /// Errors that name no request.
    unnamed: u64,
}

impl Noise {
    /// Counts one more, until there is too much of it.
    fn hear(&mut self, malformed: Malformed, frame: &[u8]) -> Result<(), OpenError> {
        if self.frames == 0 {
            self.fault = malformed.reason;
            let begin = String::from_utf8_lossy(&frame[..frame.len().min(NOISE_KEPT_BYTES)]);
            let line = begin.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            self.first = line.trim().to_owned();
            if frame.len() > NOISE_KEPT_BYTES && !begin.trim_start().contains('\n') {
                // Whoever takes secrets out knows by that where one may be cut off.
                self.first.push_str(ELLIPSIS);
            }
        }
        self.frames += 1;
        if self.frames < NOISE_MAX { Ok(()) } else { Err(OpenError::Noise(Box::new(std::mem::take(self)))) }
    }
}

impl std::fmt::Display for Noise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.frames > 0 {
            match self.frames {
                1 => f.write_str("; it sent something that is no MCP message")?,
                frames => write!(f, "; it sent {frames} times something that is no MCP message")?,
            }
            match self.first.as_str() {
                "" => write!(f, " ({})", self.fault)?,
                first => write!(f, ", first \"{first}\" ({})", self.fault)?,
            }
        }
        if self.foreign > 0 {
            let times = if self.foreign == 1 { "once" } else { "several times" };
            write!(f, "; it answered {times} to ids that no request has")?;
            match self.stray {
                Some(stray) => write!(f, ", the last time to {stray}")?,
                None => f.write_str(", whose ids are numbers")?,
            }
        }
        if self.unnamed > 0 {
            let errors = if self.unnamed == 1 { "an error that names" } else { "errors that name" };
            write!(f, "; it sent {errors} no request")?;
        }
        Ok(())
    }
}

/// What a process last wrote to its stderr, as the end of a sentence.
fn said(last_line: Option<&str>) -> String {
    last_line.map(|line| format!("; its stderr ends with \"{line}\"")).unwrap_or_default()
}

impl OpenError {
    /// Whether the process that was started is of no use, where this is how its start ended.
    pub(super) fn start_failure(&self) -> Option<StartFailure> {
        match self {
            // A program that is not there is not there a moment later either.
            Self::Dial(DialError::Start { .. }) => Some(StartFailure { timed_out: false }),
            Self::Dial(_) | Self::ConnectTimeout(_) | Self::Ended => None,
            Self::HandshakeTimeout { .. } => Some(StartFailure { timed_out: true }),
            Self::Link { .. }
            | Self::Closed(_)
            | Self::Handshake(_)
            | Self::Overloaded(_)
            | Self::Noise(_) => Some(StartFailure { timed_out: false }),
        }
    }

    /// When the server wants to be asked again, if it said so.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded(refusal) => refusal.retry_after,
            Self::Link { error: LinkError::Refused(refusal), .. }
                if refusal.kind == RefusalKind::Overloaded =>
            {
                refusal.retry_after
            }
            // Of other statuses it says nothing that a new attempt would not find out.
            Self::Dial(DialError::Rejected { status: 429 | 503, retry_after }) => *retry_after,
            Self::Dial(_)
            | Self::ConnectTimeout(_)
            | Self::Link { .. }
            | Self::Closed(_)
            | Self::Handshake(_)
            | Self::HandshakeTimeout { .. }
            | Self::Ended
            | Self::Noise(_) => None,
        }
    }
}

/// A process was started and did not answer the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StartFailure {
    /// It was given up for the time that it took.
    pub timed_out: bool,
}

/// What is told of the start of a process.
pub(super) type Tell = Box<dyn Fn(Starting) + Send + Sync>;

/// What opening a link needs.
pub(super) struct Dial {
    pub connector: Arc<dyn Connector>,
    pub gate: Arc<Semaphore>,
    /// Names who gives processes their turn to start.
    pub current_actors: watch::Receiver<CurrentActors>,
    pub limits: PoolSettings,
    /// The limit of this handshake.
    pub handshake_limit: Duration,
    /// How long a process keeps its turn while it does not answer: as long as a first attempt may take.
    pub turn_limit: Duration,
    /// Whether the last attempt to start a process failed.
    pub attempt: Attempt,
    /// Is told how far the start of a process is, once a second at most.
    pub tell: Tell,
    pub dialect: Dialect,
    pub era: EraChoice,
    pub known: Option<Known>,
    /// How it is greeted where that is not known.
    pub greeting: Greeting,
    /// The JSON object of what this client answers when servers ask.
    pub capabilities: String,
    /// Counts the link among the troupe's tasks, for as long as something of it is left.
    pub alive: Alive,
}

/// A link that is ready for calls.
pub(super) struct Opened {
    pub link: Box<dyn Link>,
    /// Which opened it.
    pub connector: Arc<dyn Connector>,
    pub session: Session,
    /// The first request id that the handshake has not used.
    pub next_id: u64,
}

/// A link that could not be opened.
pub(super) struct NotOpened {
    pub error: OpenError,
    /// The server had got the probe by then, which it may not bear.
    pub probed: bool,
}

impl<E: Into<OpenError>> From<E> for NotOpened {
    fn from(error: E) -> Self {
        Self { error: error.into(), probed: false }
    }
}

impl Dial {
    /// Opens the link: a process when it is its turn, anything else with a place at the gate for as long as its connector
    /// says.
    pub(super) async fn open(mut self) -> Result<Opened, NotOpened> {
        if self.connector.starts_process() {
            let since = Instant::now();
            let Self { current_actors, attempt, tell, .. } = &mut self;
            let turn =
                turn(current_actors, *attempt, |before| tell(Starting::Waiting { before, since })).await;
            return self.dial_and_agree(Some(turn.ok_or(OpenError::Ended)?)).await;
        }
        // The gate is never closed.
        let place = self.gate.clone().acquire_owned().await.ok();
        let hold = self.connector.start_hold();
        let mut opening = pin!(self.dial_and_agree(None));
        if let Ok(opened) = timeout(hold, &mut opening).await {
            return opened;
        }
        drop(place);
        opening.await
    }

    /// Opens it as the server is greeted; and once again without the probe, if its link ended over that. A turn is kept until
    /// the handshake is done, or what was started is gone.
    async fn dial_and_agree(self, mut turn: Option<Turn>) -> Result<Opened, NotOpened> {
        let probes = self.greeting != Greeting::Initialize || self.known.is_some();
        let mut over_probe = self.greeting == Greeting::ProbeFirst;
        match self.greet(probes, &mut turn, &mut over_probe).await {
            Err(_) if over_probe => {
                let opened = self.greet(false, &mut turn, &mut false).await;
                opened.map_err(|NotOpened { error, .. }| NotOpened { error, probed: true })
            }
            opened => opened,
        }
    }

    /// Opens a link, whose handshake begins with the probe if that is wanted. Where `over_probe` allows for it, it stays set if
    /// the link ended before the probe was answered; then the turn stays for another link.
    async fn greet(
        &self,
        probes: bool,
        turn: &mut Option<Turn>,
        over_probe: &mut bool,
    ) -> Result<Opened, NotOpened> {
        let may_be_over_probe = std::mem::take(over_probe);
        let limit = self.limits.connect_timeout;
        let mut link = match timeout(limit, self.connector.connect()).await {
            Ok(dialled) => dialled?,
            Err(_) => return Err(OpenError::ConnectTimeout(limit).into()),
        };
        link.hold(Box::new(self.alive.clone()));
        let limit = self.handshake_limit;
        let mut noise = Noise::default();
        // A modern server needs no handshake, so it takes a question to see that it is there.
        let known = self.known.filter(|known| known.era == Era::Legacy || link.proves_life());
        let mut handshake = Handshake::new(self.dialect, self.era, known, self.capabilities.clone());
        if !probes {
            handshake = handshake.without_probe();
        }
        let shaken = {
            let mut shaking = pin!(timeout(limit, self.shake_hands(&mut handshake, &mut link, &mut noise)));
            match timeout(self.turn_limit, &mut shaking).await {
                Ok(shaken) => shaken,
                Err(_) => {
                    // It has more time since it failed before. Others need not wait for that too.
                    drop(turn.take());
                    shaking.await
                }
            }
        };
        let agreed = match shaken {
            Ok(agreed) => agreed,
            Err(_) => {
                let last_line = link.last_line();
                Err(OpenError::HandshakeTimeout {
                    limit,
                    noise: Box::new(std::mem::take(&mut noise)),
                    last_line,
                })
            }
        };
        match agreed {
            Ok((session, next_id)) => {
                Ok(Opened { link, connector: self.connector.clone(), session, next_id })
            }
            Err(error) => {
                let ended = matches!(error, OpenError::Link { .. } | OpenError::Closed(_));
                *over_probe = may_be_over_probe && ended && link.converses() && handshake.is_probing();
                let probed = link.converses() && handshake.has_probed();
                if !*over_probe {
                    // The next process starts when this one is gone, with what it takes of the machine.
                    turn.take().into_iter().for_each(|turn| link.hold(Box::new(turn)));
                }
                let error = error.after(noise, |text| link.redact(self.connector.redact(text)));
                // A peer that does not hear it loses nothing.
                let _ = timeout(GOODBYE_WAIT, link.close()).await;
                Err(NotOpened { error, probed })
            }
        }
    }

    /// Drives the handshake over the link. Gives what was agreed, and the first request id that is free.
    async fn shake_hands(
        &self,
        handshake: &mut Handshake,
        link: &mut Box<dyn Link>,
        noise: &mut Noise,
    ) -> Result<(Session, u64), OpenError> {
        let mut report =
            self.connector.starts_process().then(|| StartReport::begin(self.handshake_limit, &self.tell));
        let mut probe_until = None;
        let mut step = handshake.start();
        loop {
            match step {
                Step::Send { method, frame, id, wait } => {
                    probe_until = match wait {
                        Wait::Probe => {
                            Some(later(Instant::now(), self.limits.probe_limit(self.handshake_limit)))
                        }
                        Wait::Answer => None,
                    };
                    link.send(Outbound::Request { id, head: Head::of(method), frame }).await?;
                }
                Step::Wait => {}
                Step::WaitForProbe => {
                    probe_until = Some(later(Instant::now(), self.limits.probe_limit(self.handshake_limit)));
                }
                Step::Answer(frame) => link.send(Outbound::Notice(frame)).await?,
                Step::Done { session, farewell, next_id } => {
                    link.agreed(session.version());
                    if let Some(frame) = farewell {
                        link.send(Outbound::Notice(frame)).await?;
                    }
                    return Ok((session, next_id));
                }
                Step::Failed(error) => return Err(error.into()),
            }
            step = next_step(handshake, link, probe_until, &mut report, noise).await?;
        }
    }
}

/// Tells how far a process that is starting has come.
struct StartReport<'a> {
    since: Instant,
    limit: Duration,
    tell: &'a Tell,
    /// When it is looked at again.
    at: Instant,
    /// What was told of it last.
    last_line: Option<String>,
}

impl<'a> StartReport<'a> {
    /// Tells that it was started.
    fn begin(limit: Duration, tell: &'a Tell) -> Self {
        let since = Instant::now();
        let report = Self { since, limit, tell, at: later(since, REPORT_EVERY), last_line: None };
        report.tell();
        report
    }

    fn tell(&self) {
        let Self { since, limit, ref last_line, .. } = *self;
        (self.tell)(Starting::Running { since, limit, last_line: last_line.clone() });
    }

    /// Tells what the process last wrote, if that is new.
    fn refresh(&mut self, link: &dyn Link) {
        self.at = later(Instant::now(), REPORT_EVERY);
        let last_line = link.last_line();
        if self.last_line != last_line {
            self.last_line = last_line;
            self.tell();
        }
    }
}

/// Waits for what moves the handshake on: a message, the end of a request, or the probe's timeout.
async fn next_step(
    handshake: &mut Handshake,
    link: &mut Box<dyn Link>,
    probe_until: Option<Instant>,
    report: &mut Option<StartReport<'_>>,
    noise: &mut Noise,
) -> Result<Step, OpenError> {
    loop {
        let report_at = report.as_ref().map(|report| report.at);
        let received = match probe_until.into_iter().chain(report_at).min() {
            Some(until) => match timeout_at(until, link.next()).await {
                Ok(received) => received,
                Err(_) if probe_until.is_some_and(|probe| probe <= until) => {
                    return Ok(handshake.timed_out());
                }
                Err(_) => {
                    report.iter_mut().for_each(|report| report.refresh(&**link));
                    continue;
                }
            },
            None => link.next().await,
        };
        let mut step = Step::Wait;
        let Noise { foreign, stray, unnamed, .. } = noise;
        let mut receive = |incoming: Incoming| {
            match &incoming {
                Incoming::Foreign { .. } => (*foreign, *stray) = (*foreign + 1, None),
                Incoming::Response(Response { id: None, outcome: Err(_) }) => *unnamed += 1,
                other => {
                    if let Some(id) = other.answered().filter(|id| !handshake.has_asked(*id)) {
                        (*foreign, *stray) = (*foreign + 1, Some(id));
                    }
                }
            }
            if matches!(step, Step::Wait) {
                step = handshake.receive(incoming);
            }
        };
        match received {
            None => return Err(OpenError::Closed(Box::default())),
            Some(Err(error) | Ok(Inbound::Leaving(error))) => return Err(error.into()),
            Some(Ok(Inbound::Alive)) => {}
            // What is told unasked answers nothing that the handshake asks.
            Some(Ok(Inbound::Unasked(_) | Inbound::PutOff { .. })) => {}
            Some(Ok(Inbound::Message(frame))) => {
                // A frame that is no message cannot move the handshake on; the timeout decides.
                if let Err(malformed) = decode(frame.clone(), receive) {
                    noise.hear(malformed, &frame)?;
                }
                return Ok(step);
            }
            Some(Ok(Inbound::TooLarge { limit, .. })) => {
                noise.hear(Malformed { reason: format!("over the limit of {limit} bytes") }, b"")?;
            }
            Some(Ok(Inbound::Beside { id, frame })) => {
                let answers = answers_to(id, &mut receive);
                if let Err(malformed) = decode_exchange(frame.clone(), Some(id), |_| false, answers) {
                    let words = malformed.words().is_some().then(|| malformed.to_string());
                    noise.hear(malformed, &frame)?;
                    // Somebody says it in place of the answer.
                    if let Some(words) = words.filter(|_| matches!(step, Step::Wait)) {
                        link.answered(id);
                        return Ok(handshake.failed(id, words, Finality::ThisRequest));
                    }
                }
                return Ok(step);
            }
            Some(Ok(Inbound::Answer { id, frame } | Inbound::Refused { id, frame })) => {
                let decoded = decode_answer(frame, id, |_| false, answers_to(id, &mut receive));
                let Step::Wait = step else { return Ok(step) };
                let words =
                    decoded.err().map_or("its answer holds no response".to_owned(), |e| e.to_string());
                return Ok(handshake.failed(id, words, Finality::ThisRequest));
            }
            Some(Ok(Inbound::Failed { failure: Failure::Refused(refusal), .. }))
                if refusal.kind == RefusalKind::Overloaded =>
            {
                return Err(OpenError::Overloaded(refusal));
            }
            Some(Ok(Inbound::Failed { id, failure })) => {
                return Ok(handshake.failed(id, failure.to_string(), finality(&failure)));
            }
        }
    }
}

/// Leaves out answers to other requests than `id`, on whose exchange they came.
fn answers_to(id: u64, mut receive: impl FnMut(Incoming)) -> impl FnMut(Incoming) {
    move |incoming| {
        if incoming.answered().is_none_or(|named| named == id) {
            receive(incoming);
        }
    }
}

/// Whether another request would meet the same as one that came to nothing.
fn finality(failure: &Failure) -> Finality {
    match failure {
        Failure::NotCarriedOut(_) | Failure::SessionLost(_) => Finality::AllRequests,
        Failure::Refused(refusal) => match refusal.kind {
            RefusalKind::Unauthorized | RefusalKind::Overloaded => Finality::AllRequests,
            RefusalKind::WrongAddress | RefusalKind::Redirected if refusal.location.is_some() => {
                Finality::AllRequests
            }
            // Servers of the other era say so in many ways.
            RefusalKind::WrongAddress
            | RefusalKind::Redirected
            | RefusalKind::Rejected
            | RefusalKind::Failed => Finality::ThisRequest,
        },
        Failure::Invalid(_) | Failure::BrokenOff(_) => Finality::ThisRequest,
    }
}

#[cfg(all(test, feature = "testkit"))]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_cannot_be_started_is_a_start_that_failed_and_a_refused_dial_is_none() {
        let source = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let program = DialError::Start { command: "x".to_owned(), source: source() };
        assert!(OpenError::Dial(program).start_failure().is_some_and(|failure| !failure.timed_out));
        assert!(OpenError::Dial(DialError::Io(source())).start_failure().is_none());
    }
    use crate::actors::Tasks;
    use crate::testkit::{MemoryPeer, pair};

    fn dial(connector: &Arc<dyn Connector>, gate: &Arc<Semaphore>) -> Dial {
        Dial {
            connector: connector.clone(),
            gate: gate.clone(),
            current_actors: watch::Sender::new(CurrentActors::default()).subscribe(),
            limits: PoolSettings::default(),
            handshake_limit: Duration::from_secs(10),
            turn_limit: Duration::from_secs(10),
            attempt: Attempt::First,
            tell: Box::new(|_| {}),
            dialect: Dialect::Mcp,
            era: EraChoice::Auto,
            known: None,
            greeting: Greeting::default(),
            capabilities: "{}".to_owned(),
            alive: Tasks::new().alive(),
        }
    }

    async fn answer(peer: &mut MemoryPeer) {
        peer.recv().await.expect("the probe");
        assert!(peer.send(r#"{"id":1,"result":{"supportedVersions":["2026-07-28"]}}"#).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_counts_until_its_handshake_is_done_but_not_for_long() {
        let (connector, mut listener) = pair(16);
        let hold = connector.start_hold();
        let (connector, gate): (Arc<dyn Connector>, _) = (Arc::new(connector), Arc::new(Semaphore::new(2)));
        let dials: Vec<_> = (0..4).map(|_| tokio::spawn(dial(&connector, &gate).open())).collect();
        let begun = Instant::now();
        let mut first = listener.accept().await.expect("a link");
        let _second = listener.accept().await.expect("a link");
        assert!(timeout(hold / 2, listener.accept()).await.is_err(), "two are allowed at once");
        answer(&mut first).await;
        let _third = timeout(hold / 4, listener.accept()).await.expect("the first is done");
        assert!(timeout(hold / 8, listener.accept()).await.is_err());
        // The second never answers.
        let _fourth = listener.accept().await.expect("a link");
        assert_eq!(Instant::now().saturating_duration_since(begun), hold);
        drop(dials);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_peer_says_instead_of_an_answer_is_told() {
        let (connector, mut listener) = pair(16);
        let (connector, gate): (Arc<dyn Connector>, _) = (Arc::new(connector), Arc::new(Semaphore::new(1)));
        let opening = tokio::spawn(dial(&connector, &gate).open());
        let mut peer = listener.accept().await.expect("a link");
        assert!(peer.send("npm notice").await && peer.send("listening on stdio").await);
        let NotOpened { error, .. } = opening.await.expect("no panic").map(|_| ()).expect_err("no handshake");
        let told = error.to_string();
        assert!(
            told.starts_with(
                "no handshake within 10s (pool.handshakeTimeout); it sent 2 times something that is no MCP message, \
                 first \"npm notice\" ("
            ),
            "{told}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_whose_id_is_written_as_a_text_is_the_answer() {
        let (connector, mut listener) = pair(16);
        let (connector, gate): (Arc<dyn Connector>, _) = (Arc::new(connector), Arc::new(Semaphore::new(1)));
        let opening = tokio::spawn(dial(&connector, &gate).open());
        let mut peer = listener.accept().await.expect("a link");
        assert!(peer.send(r#"{"id":"1","result":{"supportedVersions":["2026-07-28"]}}"#).await);
        let opened = opening.await.expect("no panic").map_err(|refused| refused.error).expect("a handshake");
        assert_eq!(opened.session.era(), Some(Era::Modern));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_to_no_request_are_told_where_the_handshake_waits_in_vain() {
        for (said, told_of) in [
            (
                r#"{"id":"a1","result":{}}"#,
                "it answered once to ids that no request has, whose ids are numbers",
            ),
            (r#"{"id":0,"result":{}}"#, "it answered once to ids that no request has, the last time to 0"),
            (r#"{"id":null,"error":{"code":-32600}}"#, "it sent an error that names no request"),
        ] {
            let (connector, mut listener) = pair(16);
            let connector: Arc<dyn Connector> = Arc::new(connector);
            let gate = Arc::new(Semaphore::new(1));
            let opening = tokio::spawn(dial(&connector, &gate).open());
            let mut peer = listener.accept().await.expect("a link");
            assert!(peer.send(said).await);
            let NotOpened { error, probed } =
                opening.await.expect("no panic").map(|_| ()).expect_err("no handshake");
            assert!(error.to_string().contains(told_of), "{error}");
            assert!(probed);
        }
    }

    /// Ends each link at a request of this method, and answers `initialize`. Gives the methods of all requests, in order.
    fn play(
        mut listener: crate::testkit::MemoryListener,
        ends_at: &'static str,
    ) -> tokio::task::JoinHandle<Vec<String>> {
        tokio::spawn(async move {
            let mut methods = Vec::new();
            while let Some(mut peer) = listener.accept().await {
                while let Some(frame) = peer.recv().await {
                    let asked: serde_json::Value = serde_json::from_slice(&frame).expect("JSON");
                    let method = asked["method"].as_str().unwrap_or_default().to_owned();
                    methods.push(method.clone());
                    if method == ends_at || ends_at.is_empty() {
                        break;
                    }
                    if method == "initialize" {
                        let result = serde_json::json!({"protocolVersion": "2025-06-18", "capabilities": {}});
                        peer.send(serde_json::json!({"id": asked["id"], "result": result}).to_string()).await;
                    }
                }
            }
            methods
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_ends_over_the_probe_is_initialized_over_another_link_of_the_same_attempt() {
        let (connector, listener) = pair(16);
        let played = play(listener, "server/discover");
        let connector: Arc<dyn Connector> = Arc::new(connector);
        let opened = dial(&connector, &Arc::new(Semaphore::new(1))).open().await;
        let opened = opened.map_err(|refused| refused.error).expect("a handshake");
        assert_eq!(opened.session.era(), Some(Era::Legacy));
        drop((opened, connector));
        let methods = played.await.expect("no panic");
        assert_eq!(methods, ["server/discover", "initialize", "notifications/initialized"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_ends_over_everything_gets_each_greeting_by_turns_and_one_link_an_attempt() {
        let (connector, listener) = pair(16);
        let played = play(listener, "");
        let connector: Arc<dyn Connector> = Arc::new(connector);
        let mut greeting = Greeting::default();
        for _ in 0..4 {
            let dial = Dial { greeting, ..dial(&connector, &Arc::new(Semaphore::new(1))) };
            let NotOpened { probed, .. } = dial.open().await.map(|_| ()).expect_err("no handshake");
            greeting = greeting.after_failure(probed);
        }
        drop(connector);
        let methods = played.await.expect("no panic");
        let discover = "server/discover";
        assert_eq!(methods, [discover, "initialize", "initialize", discover, "initialize"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_hangs_after_the_probe_is_greeted_without_it_the_next_time() {
        let (connector, mut listener) = pair(16);
        let connector: Arc<dyn Connector> = Arc::new(connector);
        let opening = tokio::spawn(dial(&connector, &Arc::new(Semaphore::new(1))).open());
        let peer = listener.accept().await.expect("a link");
        let NotOpened { probed, .. } =
            opening.await.expect("no panic").map(|_| ()).expect_err("no handshake");
        drop(peer);
        let greeting = Greeting::default().after_failure(probed);
        let dial = Dial { greeting, ..dial(&connector, &Arc::new(Semaphore::new(1))) };
        let played = play(listener, "server/discover");
        let opened = dial.open().await.map_err(|refused| refused.error).expect("a handshake");
        drop((opened, connector));
        assert_eq!(played.await.expect("no panic")[0], "initialize");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_floods_instead_of_answering_is_given_up() {
        let (connector, mut listener) = pair(16);
        let (connector, gate): (Arc<dyn Connector>, _) = (Arc::new(connector), Arc::new(Semaphore::new(1)));
        let opening = tokio::spawn(dial(&connector, &gate).open());
        let mut peer = listener.accept().await.expect("a link");
        while peer.send("yes").await {}
        let NotOpened { error, .. } = opening.await.expect("no panic").map(|_| ()).expect_err("no handshake");
        let told = error.to_string();
        assert!(
            told.starts_with(
                "no handshake; it sent 1000 times something that is no MCP message, first \"yes\" ("
            ),
            "{told}"
        );
    }
    #[test]
    fn a_link_that_ends_in_the_handshake_is_told_in_one_sentence() {
        let exited = LinkError::Exited { code: Some(7), signal: None, stderr: None };
        for (error, told) in [
            (LinkError::Unreachable("refused".into()), "the server cannot be reached: refused"),
            (LinkError::Broken("reset".into()), "during the handshake the connection broke: reset"),
            (exited, "during the handshake the server's process exited with code 7"),
        ] {
            assert_eq!(OpenError::from(error).to_string(), told);
        }
    }
}
