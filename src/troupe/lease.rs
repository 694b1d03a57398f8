//! A leased connection, as its user holds it.

use std::sync::Arc;

use super::{CallFuture, CallStream, Troupe};
use crate::call::{Call, Granted, Purpose};
use crate::error::{CallError, CallErrorKind};
use crate::id::{RequestId, ServerId};

/// One connection of one server, for its holder alone; see [`Troupe::lease`].
///
/// The lease ends when it is dropped, when it was unused for `pool.leaseIdleTimeout`, or when its connection is lost.
/// Calls on it then end with [`CallErrorKind::LeaseEnded`]; they are never sent over another connection.
#[derive(Debug)]
pub struct Lease {
    troupe: Troupe,
    /// Ends the lease when it is dropped, as did the answer that it came with.
    granted: Arc<Granted>,
}

impl Lease {
    /// Asks for a lease, as a call that the router places like any other.
    pub(super) async fn take(troupe: &Troupe, of: String) -> Result<Self, CallError> {
        let mut call = Call::tool(of.clone());
        call.purpose = Purpose::OpenLease;
        let reply = troupe.call(call).await?;
        match reply.lease {
            Some(granted) => Ok(Self { troupe: troupe.clone(), granted }),
            // No router answers so; an error is better than a lease of nothing.
            None => Err(CallError::new(CallErrorKind::Interrupted, RequestId::random(), of, None, 0)),
        }
    }

    /// The server.
    pub fn server(&self) -> &ServerId {
        &self.granted.key().server
    }

    /// Calls a tool over the leased connection. Selector, affinity, priority, hedges and retries do not apply.
    ///
    /// # Errors
    /// As [`Troupe::call`]; [`CallErrorKind::LeaseEnded`] when the lease is over, in which case nothing was sent.
    pub fn call(&self, mut call: Call) -> CallFuture {
        call.purpose = self.purpose();
        self.troupe.call(call)
    }

    /// Calls a tool over the leased connection, as [`call`](Self::call), and tells what is told of it, as
    /// [`Troupe::call_stream`].
    pub fn call_stream(&self, mut call: Call) -> CallStream {
        call.purpose = self.purpose();
        self.troupe.call_stream(call)
    }

    fn purpose(&self) -> Purpose {
        Purpose::OnLease(Box::new(self.granted.key().clone()))
    }
}
