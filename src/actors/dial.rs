//! Opening one link: the dial under a bounded number at once, then the handshake, each with its own deadline.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::{Dialect, EraChoice, PoolSettings};
use crate::duration::rounded;
use crate::protocol::envelope::decode;
use crate::protocol::handshake::{Handshake, HandshakeError, Step, Wait};
use crate::protocol::{Era, Session};
use crate::transport::{Connector, DialError, Inbound, Link, LinkError, Outbound};

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
        let link = self.connect().await?;
        let limit = self.limits.handshake_timeout;
        match timeout(limit, self.shake_hands(link)).await {
            Ok(opened) => opened,
            Err(_) => Err(OpenError::HandshakeTimeout(limit)),
        }
    }

    /// Dials, holding a place at the gate for a bounded time.
    async fn connect(&self) -> Result<Box<dyn Link>, OpenError> {
        // The gate is never closed.
        let mut place = self.gate.clone().acquire_owned().await.ok();
        let limit = self.limits.connect_timeout;
        let deadline = Instant::now() + limit;
        let mut dial = self.connector.connect();
        if let Ok(dialled) = timeout(GATE_HOLD_MAX.min(limit), &mut dial).await {
            return Ok(dialled?);
        }
        drop(place.take());
        match timeout_at(deadline, dial).await {
            Ok(dialled) => Ok(dialled?),
            Err(_) => Err(OpenError::ConnectTimeout(limit)),
        }
    }

    /// Drives the handshake over the link.
    async fn shake_hands(&self, mut link: Box<dyn Link>) -> Result<Opened, OpenError> {
        let mut handshake = Handshake::new(self.dialect, self.era, self.known_era);
        let mut probe_until = None;
        let mut step = handshake.start();
        loop {
            match step {
                Step::Send { frame, id, wait } => {
                    probe_until = match wait {
                        Wait::Probe => Some(Instant::now() + self.limits.probe_timeout),
                        Wait::Answer => None,
                    };
                    link.send(outbound(id, frame)).await?;
                }
                Step::Wait => {}
                Step::Answer(frame) => link.send(Outbound::Notice(frame)).await?,
                Step::Done { session, farewell, next_id } => {
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
        let frame = loop {
            let received = match probe_until {
                Some(until) => match timeout_at(until, link.next()).await {
                    Ok(received) => received,
                    Err(_) => return Ok(handshake.timed_out()),
                },
                None => link.next().await,
            };
            match received {
                None => return Err(OpenError::Closed),
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(Inbound::Alive)) => {}
                Some(Ok(Inbound::Message(frame))) => break frame,
            }
        };
        let mut step = Step::Wait;
        // A frame that is no message cannot move the handshake on; the timeout decides.
        let _ = decode(frame, |incoming| {
            if matches!(step, Step::Wait) {
                step = handshake.receive(incoming);
            }
        });
        Ok(step)
    }
}

fn outbound(id: Option<u64>, frame: bytes::Bytes) -> Outbound {
    match id {
        Some(id) => Outbound::Request { id, frame },
        None => Outbound::Notice(frame),
    }
}
