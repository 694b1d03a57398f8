//! Opening one link: the dial under a bounded number at once, then the handshake, each with its own deadline.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::{Dialect, EraChoice, PoolSettings};
use crate::duration::rounded;
use crate::protocol::envelope::{decode, decode_answer};
use crate::protocol::handshake::{Finality, Handshake, HandshakeError, Step, Wait};
use crate::protocol::{Era, Session};
use crate::refusal::RefusalKind;
use crate::transport::{Connector, DialError, Failure, Head, Inbound, Link, LinkError, Outbound};

/// How long one dial may hold its place at the gate. Servers that never answer must not keep the others waiting: with
/// the default of 32 places, a hundred of them delay the last start by 1.5 s.
const GATE_HOLD_MAX: Duration = Duration::from_millis(500);

/// Why a link could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// The link itself.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Nobody answered the dial.
    #[error("no connection within {}", rounded(*.0))]
    ConnectTimeout(Duration),
    /// The link broke during the handshake.
    #[error("the link broke during the handshake: {0}")]
    Link(#[from] LinkError),
    /// The peer closed during the handshake.
    #[error("the server closed the connection during the handshake")]
    Closed,
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The handshake took too long.
    #[error("no handshake within {}", rounded(*.0))]
    HandshakeTimeout(Duration),
}

/// What opening a link needs.
pub(super) struct Dial {
    pub connector: Arc<dyn Connector>,
    pub gate: Arc<Semaphore>,
    pub limits: PoolSettings,
    pub dialect: Dialect,
    pub era: EraChoice,
    pub known_era: Option<Era>,
}

/// A link that is ready for calls.
pub(super) struct Opened {
    pub link: Box<dyn Link>,
    pub session: Session,
    /// The first request id that the handshake has not used.
    pub next_id: u64,
}

impl Dial {
    /// Opens the link.
    pub async fn open(self) -> Result<Opened, OpenError> {
        // The gate is never closed.
        let mut place = self.gate.clone().acquire_owned().await.ok();
        let connect_limit = self.limits.connect_timeout;
        let connecting = timeout(connect_limit, self.connector.connect());
        let Ok(link) = hold(&mut place, connecting).await else {
            return Err(OpenError::ConnectTimeout(connect_limit));
        };
        let link = link?;
        if link.met() {
            drop(place.take());
        }
        let limit = self.limits.handshake_timeout;
        // A link that reaches out with its first request dials now.
        match hold(&mut place, timeout(limit, self.shake_hands(link))).await {
            Ok(opened) => opened,
            Err(_) => Err(OpenError::HandshakeTimeout(limit)),
        }
    }

    /// Drives the handshake over the link.
    async fn shake_hands(&self, mut link: Box<dyn Link>) -> Result<Opened, OpenError> {
        // A peer that was never met is asked also what is known of it: whether it is there.
        let known = self.known_era.filter(|era| link.met() || *era == Era::Legacy);
        let mut handshake = Handshake::new(self.dialect, self.era, known);
        let mut probe_until = None;
        let mut step = handshake.start();
        loop {
            match step {
                Step::Send { method, frame, id, wait } => {
                    probe_until = match wait {
                        Wait::Probe => Some(Instant::now() + self.limits.probe_timeout),
                        Wait::Answer => None,
                    };
                    link.send(Outbound::Request { id, head: Head::of(method), frame }).await?;
                }
                Step::Wait => {}
                Step::Answer(frame) => link.send(Outbound::Notice(frame)).await?,
                Step::Done { session, farewell, next_id } => {
                    link.agreed(session.version());
                    if let Some(frame) = farewell {
                        link.send(Outbound::Notice(frame)).await?;
                    }
                    return Ok(Opened { link, session, next_id });
                }
                Step::Failed(error) => return Err(error.into()),
            }
            step = self.next_step(&mut handshake, &mut link, probe_until).await?;
        }
    }

    /// Waits for what moves the handshake on: a message, or the probe's timeout.
    async fn next_step(
        &self,
        handshake: &mut Handshake,
        link: &mut Box<dyn Link>,
        probe_until: Option<Instant>,
    ) -> Result<Step, OpenError> {
        loop {
            let received = match probe_until {
                Some(until) => match timeout_at(until, link.next()).await {
                    Ok(received) => received,
                    Err(_) => return Ok(handshake.timed_out()),
                },
                None => link.next().await,
            };
            match received {
                None => return Err(OpenError::Closed),
                Some(Err(error) | Ok(Inbound::Leaving(error))) => return Err(error.into()),
                Some(Ok(Inbound::Alive)) => {}
                Some(Ok(Inbound::Message(frame))) => {
                    let mut step = Step::Wait;
                    // A frame that is no message cannot move the handshake on; the timeout decides.
                    let _ = decode(frame, |incoming| {
                        if matches!(step, Step::Wait) {
                            step = handshake.receive(incoming);
                        }
                    });
                    return Ok(step);
                }
                Some(Ok(Inbound::Answer { id, frame })) => {
                    let mut step = Step::Wait;
                    let decoded = decode_answer(frame, id, |incoming| {
                        if matches!(step, Step::Wait) {
                            step = handshake.receive(incoming);
                        }
                    });
                    let words =
                        decoded.err().map_or("its answer holds no response".to_owned(), |e| e.to_string());
                    return Ok(match step {
                        Step::Wait => handshake.failed(id, words, Finality::ThisRequest),
                        moved => moved,
                    });
                }
                Some(Ok(Inbound::Failed { id, failure })) => {
                    let finality = finality(&failure);
                    return Ok(handshake.failed(id, failure.to_string(), finality));
                }
            }
        }
    }
}

/// Awaits `dialling` while holding a place at the gate for a bounded time.
async fn hold<T>(place: &mut Option<OwnedSemaphorePermit>, dialling: impl Future<Output = T>) -> T {
    let mut dialling = std::pin::pin!(dialling);
    if place.is_some()
        && let Ok(dialled) = timeout(GATE_HOLD_MAX, &mut dialling).await
    {
        return dialled;
    }
    drop(place.take());
    dialling.await
}

/// Whether another request would meet the same as one that came to nothing.
fn finality(failure: &Failure) -> Finality {
    match failure {
        Failure::NotCarriedOut(_) => Finality::AllRequests,
        Failure::Refused(refusal) => match refusal.kind {
            RefusalKind::Unauthorized | RefusalKind::Overloaded => Finality::AllRequests,
            RefusalKind::WrongAddress if refusal.location.is_some() => Finality::AllRequests,
            // Servers of the other era say so in many ways.
            RefusalKind::WrongAddress | RefusalKind::Rejected | RefusalKind::Failed => Finality::ThisRequest,
        },
        Failure::Invalid(_) | Failure::BrokenOff(_) => Finality::ThisRequest,
    }
}
