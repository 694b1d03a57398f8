//! What hosts see of a troupe at work: events, spans, metrics, and traces that go on at the servers.
//!
//! # Events
//! [`Troupe::events`](crate::Troupe::events) is a stream of typed [`Event`](crate::Event)s: what servers, connections, breakers,
//! sources and the troupe's own actors do. It is bounded, and says itself what it had to leave out
//! ([`Lagged`](crate::Event::Lagged)). Who wants those of the start as well begins with
//! [`start_with_events`](crate::TroupeBuilder::start_with_events). Single calls are no events: they are spans. The same events are written to the log, at the
//! level INFO, with the target `mcp_troupe::events`.
//!
//! Nothing that this library writes has a secret of the configuration in it. One that it is built on does: `tungstenite` logs
//! each WebSocket's upgrade request whole, with its tokens, through the crate `log` at the level TRACE. A host that forwards `log`
//! and logs everything keeps the target `tungstenite::handshake::client` at DEBUG.
//!
//! # Spans
//! Each call and each of its attempts is a [`tracing`] span, at the level INFO, with the target `mcp_troupe::call`. Where no
//! subscriber takes that target they are not made, and cost nothing. Names and fields are stable.
//!
//! | span | field | meaning |
//! | --- | --- | --- |
//! | `call` | | from [`Troupe::call`](crate::Troupe::call) to the answer; its parent is the span that is current there |
//! | | `tool` | the tool, resource or prompt as the host named it |
//! | | `request` | `tool`, `resource`, `prompt` or `completion` |
//! | | `request_id` | the id of the call, as its reply or error has it |
//! | | `group` | the group of the tool, where it was found |
//! | | `server` | the server that answered, or that of the last attempt |
//! | | `attempts` | attempts that may have reached a server |
//! | | `outcome` | `ok`, `cancelled`, or the [name](crate::CallErrorKind::name) of the error |
//! | `attempt` | | from the dispatch to the end, a child of its call's |
//! | | `server` | the server |
//! | | `number` | the number of the try, from 1 |
//! | | `outcome` | as above, or `not-taken`: the server's actor had no place, nothing was sent, and the call moved on |
//! | | `latency_us` | from the send to the end, in microseconds |
//!
//! For OpenTelemetry's layer there is `otel.status_code` on what failed, and `otel.kind` on attempts. Requests for leases
//! have no span; calls on a lease do. A call that is made again with answers to what its server asked stays one span. A call that
//! the host leaves knows no more than its `outcome`.
//!
//! # Metrics
//! With the feature `metrics`, figures go to the [`metrics`](https://docs.rs/metrics) facade, and so to whatever exporter the host
//! installs. It must be installed before the troupe starts, since handles are kept from then on. Names and labels follow
//! Prometheus; durations are in seconds. Labels are bounded: ids that the operator chose, names of tools as the catalogue has them
//! (at most 10,000; those beyond count without one), and words of this library.
//!
//! | metric | kind | labels | meaning |
//! | --- | --- | --- | --- |
//! | `mcp_troupe_calls_total` | counter | `request`, `group`, `tool`, `outcome` | calls that ended; `request` is `tool`, `resource`, `prompt` or `completion`; without a tool where it was not found, or none was asked for |
//! | `mcp_troupe_call_duration_seconds` | histogram | `request`, `group`, `tool` | from the call to its end, with queueing and retries |
//! | `mcp_troupe_shed_calls_total` | counter | `request`, `group`, `tool` | calls that were refused since too many waited |
//! | `mcp_troupe_attempts_total` | counter | `server`, `outcome` | attempts that ended |
//! | `mcp_troupe_attempt_duration_seconds` | histogram | `server` | of attempts that were sent: from the send to the end |
//! | `mcp_troupe_retries_total` | counter | | attempts after the first that may have been carried out twice |
//! | `mcp_troupe_hedges_total` | counter | | second attempts beside a slow first one |
//! | `mcp_troupe_hedges_won_total` | counter | | hedges that answered before the first attempt did |
//! | `mcp_troupe_retries_refused_total` | counter | | retries and hedges that the budget refused |
//! | `mcp_troupe_late_answers_total` | counter | `server` | answers that nobody waited for |
//! | `mcp_troupe_open_calls` | gauge | | calls without an answer |
//! | `mcp_troupe_queued_calls` | gauge | `priority` | those of them that wait for a server |
//! | `mcp_troupe_server_up` | gauge | `server` | 1 where it is ready, else 0; 0 as well while it is idle, which an alarm has to leave out by `status="idle"` of the next one |
//! | `mcp_troupe_server_status` | gauge | `server`, `status` | 1 for the status it has, 0 for the others |
//! | `mcp_troupe_server_restarts_total` | counter | `server` | ends of its actor that a restart follows |
//! | `mcp_troupe_connections` | gauge | `server` | usable connections, leased ones included |
//! | `mcp_troupe_breaker_state` | gauge | `server`, `state` | 1 for the state it has, 0 for the others |
//! | `mcp_troupe_breaker_transitions_total` | counter | `server`, `to`, `reason` | changes of its state |
//! | `mcp_troupe_router_restarts_total` | counter | | restarts of the router, those with the registry included |
//!
//! The gauges of calls are written ten times a second while something happens. The gauges of a server that left stay at 0. Two
//! troupes in one process share the metrics.
//!
//! # Traces that go on
//! A call carries W3C's trace context to its server, in the request's `_meta`, where the host gives it:
//! [`Call::traceparent`](crate::Call::traceparent), [`tracestate`](crate::Call::tracestate), [`baggage`](crate::Call::baggage). The
//! example `opentelemetry` takes it from the current context.

/// Bounds in seconds for histograms of durations, where an exporter asks for them: tools answer in milliseconds or in minutes.
pub const DURATION_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
