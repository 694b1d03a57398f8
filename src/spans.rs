//! The spans of calls and of their attempts, for whoever listens; see [`observability`](crate::observability).
//!
//! A call's span is begun where the host makes the call, and is held by its future, which notes how the call ended. The
//! attempts are the router's: it begins a span for each, as a child of the call's, and notes how it ended. Where nobody
//! listens there are no spans, and what would hold them is empty.

use std::sync::Arc;
use std::time::Duration;

use tracing::field::Empty;
use tracing::{Span, dispatcher};

use crate::call::{Call, Purpose, Reply, head};
use crate::duration::micros;
use crate::error::CallError;
use crate::id::ServerId;
use crate::offer::URI_BYTES_MAX;

/// Field of OpenTelemetry's layer, and its value: a span that went wrong.
const STATUS: &str = "otel.status_code";
const STATUS_ERROR: &str = "ERROR";

/// The outcome of an attempt that its server would not take: nothing was sent.
pub(crate) const NOT_TAKEN: &str = "not-taken";

/// The span of a call, which its attempts share as their parent.
pub(crate) type SharedSpan = Arc<Span>;

/// The span of a call, for as long as its answer is waited for.
pub(crate) struct CallSpan(Option<SharedSpan>);

impl CallSpan {
    /// No span.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Begins the span of a call, and gives the call its share of it. A request for a lease has none.
    pub(crate) fn begin(call: &mut Call) -> Self {
        match call.purpose {
            Purpose::Tool | Purpose::OnLease(_) => {}
            Purpose::OpenLease => return Self(None),
        }
        let span = tracing::info_span!(
            target: "mcp_troupe::call",
            "call",
            tool = head(&call.tool, URI_BYTES_MAX),
            request = call.request.name(),
            request_id = Empty,
            group = Empty,
            server = Empty,
            attempts = Empty,
            outcome = Empty,
            otel.status_code = Empty,
        );
        if span.is_disabled() {
            return Self(None);
        }
        let span = Arc::new(span);
        call.span = Some(span.clone());
        Self(Some(span))
    }

    /// The span, which another future holds from now on.
    pub(crate) fn take(&mut self) -> Self {
        Self(self.0.take())
    }

    /// Notes the answer, and ends the span as far as the caller is concerned.
    pub(crate) fn end(&mut self, answer: &Result<Reply, CallError>) {
        let Some(span) = self.0.take() else { return };
        match answer {
            Ok(reply) => {
                span.record("request_id", reply.request_id.as_str());
                span.record("group", reply.group.as_str());
                span.record("server", reply.server.as_str());
                span.record("attempts", reply.attempts);
                span.record("outcome", "ok");
            }
            Err(error) => {
                span.record("request_id", error.request_id().as_str());
                if let Some(group) = error.group() {
                    span.record("group", group.as_str());
                }
                if let Some(server) = error.server() {
                    span.record("server", server.as_str());
                }
                span.record("attempts", error.attempts());
                span.record("outcome", error.kind().name());
                span.record(STATUS, STATUS_ERROR);
            }
        }
    }
}

/// A caller that leaves before the answer.
impl Drop for CallSpan {
    fn drop(&mut self) {
        if let Some(span) = self.0.take() {
            span.record("outcome", "cancelled");
        }
    }
}

/// The span of one attempt of a call, if the call has one: for the same subscriber, whichever thread it is begun on.
pub(crate) fn attempt(call: &Call, server: &ServerId, number: u32) -> Option<Span> {
    let begun = call.span.as_ref()?.with_subscriber(|(parent, subscriber)| {
        dispatcher::with_default(subscriber, || {
            tracing::info_span!(
                target: "mcp_troupe::call",
                parent: parent.clone(),
                "attempt",
                server = server.as_str(),
                number,
                outcome = Empty,
                latency_us = Empty,
                otel.kind = "client",
                otel.status_code = Empty,
            )
        })
    });
    begun.filter(|span| !span.is_disabled())
}

/// Ends the span of an attempt.
pub(crate) fn end_attempt(span: &Span, outcome: &'static str, latency: Duration) {
    span.record("outcome", outcome);
    span.record("latency_us", micros(latency));
    // An attempt that was called off, or not taken, is no error.
    if !matches!(outcome, "ok" | "cancelled" | NOT_TAKEN) {
        span.record(STATUS, STATUS_ERROR);
    }
}
