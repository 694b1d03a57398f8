//! What a connection is told, and the end that it tells.

use std::fmt::Display;
use std::time::Duration;

use crate::actors::dial::StartFailure;
use crate::peer_text::reason;

/// What a connection is told. It needs no orders: closing its queue ends it in order.
pub(crate) enum ConnectionMsg {
    /// By the testkit: panic in this handler.
    #[cfg(feature = "testkit")]
    Panic,
}

/// How a connection ended, or why it never came to be.
pub(crate) struct Ending {
    pub(super) reason: String,
    pub(super) retry_after: Option<Duration>,
    pub(super) start_failure: Option<StartFailure>,
    /// It never came to be, and the server had got the probe.
    pub(super) probed: bool,
}

/// What a server actor is told of the end of a connection.
pub(crate) struct EndingParts {
    /// Why it ended.
    pub reason: String,
    /// When the server wants to be asked again, if it said so.
    pub retry_after: Option<Duration>,
    /// A process was started for it, and did not answer the handshake.
    pub start_failure: Option<StartFailure>,
    /// It never came to be, and the server had got the probe.
    pub probed: bool,
}

impl Ending {
    /// For this reason. It may be in the server's own words, of any length: its beginning is kept.
    pub(crate) fn new(why: impl Display) -> Self {
        Self { reason: reason(why), retry_after: None, start_failure: None, probed: false }
    }

    /// All that there is to say of it.
    pub(crate) fn into_parts(self) -> EndingParts {
        let Self { reason, retry_after, start_failure, probed } = self;
        EndingParts { reason, retry_after, start_failure, probed }
    }
}
