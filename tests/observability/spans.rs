//! The spans of calls and attempts, as a subscriber of the host's sees them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use mcp_troupe::testkit::{Script, ScriptedServer};
use mcp_troupe::{Call, Denied, ProposedCall, Readiness, Server, Troupe};
use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Instrument, Subscriber, info_span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Registry};

use super::common::end;
use super::in_memory;

/// A span as it was seen.
#[derive(Debug, Clone, Default)]
struct Seen {
    name: &'static str,
    parent: Option<u64>,
    fields: BTreeMap<&'static str, String>,
    /// Fields that were given twice.
    twice: Vec<&'static str>,
    closed: bool,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.fields.insert(field.name(), format!("{value:?}")).is_some() {
            self.twice.push(field.name());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// Notes spans, by their ids.
#[derive(Clone)]
struct Notes(Arc<watch::Sender<BTreeMap<u64, Seen>>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Notes {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        let parent = span.parent().map(|parent| parent.id().into_u64());
        let mut seen = Seen { name: span.name(), parent, ..Seen::default() };
        attributes.record(&mut seen);
        self.0.send_modify(|spans| drop(spans.insert(id.into_u64(), seen)));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.0.send_modify(|spans| {
            if let Some(seen) = spans.get_mut(&id.into_u64()) {
                values.record(seen);
            }
        });
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.0.send_modify(|spans| {
            if let Some(seen) = spans.get_mut(&id.into_u64()) {
                seen.closed = true;
            }
        });
    }
}

impl Notes {
    /// Listens to what passes `filter`, on this thread.
    fn listen(filter: &str) -> (Self, DefaultGuard) {
        let notes = Self(Arc::new(watch::Sender::default()));
        let subscriber = Registry::default().with(EnvFilter::new(filter)).with(notes.clone());
        (notes, tracing::subscriber::set_default(subscriber))
    }

    /// The spans of that name, in order, with their ids.
    fn named(&self, name: &str) -> Vec<(u64, Seen)> {
        let spans = self.0.borrow();
        let named = spans.iter().filter(|(_, seen)| seen.name == name);
        let mut named: Vec<(u64, Seen)> = named.map(|(id, seen)| (*id, seen.clone())).collect();
        named.sort_by_key(|(_, seen)| seen.fields.get("number").cloned());
        named
    }

    /// The one call's span, and those of its attempts.
    fn call(&self) -> (Seen, Vec<Seen>) {
        let calls = self.named("call");
        let [(id, call)] = &calls[..] else { panic!("{calls:?}") };
        let attempts = self.named("attempt").into_iter().map(|(_, attempt)| attempt);
        let attempts: Vec<Seen> = attempts.inspect(|seen| assert_eq!(seen.parent, Some(*id))).collect();
        for seen in attempts.iter().chain([call]) {
            assert!(seen.closed && seen.twice.is_empty(), "{seen:?}");
        }
        (call.clone(), attempts)
    }
}

impl Seen {
    #[track_caller]
    fn has<const N: usize>(&self, fields: [(&str, &str); N]) {
        for (field, value) in fields {
            assert_eq!(self.fields.get(field).map(String::as_str), Some(value), "{field} of {self:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_a_span_under_the_hosts_and_its_attempt_a_span_under_it() {
    let (_server, troupe) = in_memory([("echo", Script::Echo)], |_| ()).await;
    let (notes, listening) = Notes::listen("info");
    let host = info_span!("host");
    let host_id = host.id().unwrap().into_u64();
    let reply = async { troupe.call(Call::tool("group/echo")).await.unwrap() }.instrument(host).await;
    let (call, attempts) = notes.call();
    assert_eq!(call.parent, Some(host_id));
    call.has([("tool", "group/echo"), ("group", "group"), ("server", "s"), ("attempts", "1")]);
    call.has([("outcome", "ok"), ("request_id", reply.request_id.as_str())]);
    assert_eq!(attempts.len(), 1);
    attempts[0].has([("server", "s"), ("number", "1"), ("outcome", "ok"), ("otel.kind", "client")]);
    assert!(attempts[0].fields["latency_us"].parse::<u64>().is_ok());
    assert!(!call.fields.contains_key("otel.status_code"));
    drop(listening);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_retried_call_has_a_span_for_each_attempt() {
    let script = Script::Sequence(vec![Script::Cut, Script::Echo]);
    let (_server, troupe) = in_memory([("echo", script)], |_| ()).await;
    let (notes, listening) = Notes::listen("info");
    troupe.call(Call::tool("echo").idempotent()).await.unwrap();
    let (call, attempts) = notes.call();
    call.has([("attempts", "2"), ("outcome", "ok")]);
    // Between them it may be offered to the server that has just lost its connection, which does not take it.
    let taken: Vec<&Seen> = attempts.iter().filter(|seen| seen.fields["outcome"] != "not-taken").collect();
    assert_eq!(taken.len(), 2);
    taken[0].has([("number", "1"), ("outcome", "connection-lost"), ("otel.status_code", "ERROR")]);
    taken[1].has([("outcome", "ok")]);
    drop(listening);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_has_the_name_of_its_error() {
    let broken = Script::Error { code: -32603, message: "broken".into() };
    let (_server, troupe) = in_memory([("broken", broken)], |_| ()).await;
    let (notes, listening) = Notes::listen("info");
    troupe.call(Call::tool("broken")).await.unwrap_err();
    let (call, attempts) = notes.call();
    call.has([("outcome", "rpc-error"), ("group", "group"), ("server", "s"), ("otel.status_code", "ERROR")]);
    attempts[0].has([("outcome", "rpc-error")]);
    drop(listening);
    let (notes, listening) = Notes::listen("info");
    troupe.call(Call::tool("nobody-has-it")).await.unwrap_err();
    let (call, attempts) = notes.call();
    call.has([("outcome", "unknown-tool"), ("attempts", "0")]);
    assert!(attempts.is_empty() && !call.fields.contains_key("server"));
    drop(listening);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_the_host_denies_or_gives_anew_is_one_span() {
    let (_server, connector) = ScriptedServer::builder().tool("echo", Script::Echo).start_in_memory();
    let hook = |proposed: ProposedCall| async move {
        if proposed.name() == "echo" { Ok(Call::tool("s/echo")) } else { Err(Denied::new("not this one")) }
    };
    let troupe = Troupe::builder().before_call(hook).server_via(Server::custom("s"), connector);
    let troupe = troupe.start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let (notes, listening) = Notes::listen("info");
    troupe.call(Call::tool("other")).await.unwrap_err();
    let (call, attempts) = notes.call();
    call.has([("tool", "other"), ("outcome", "denied"), ("otel.status_code", "ERROR")]);
    assert!(attempts.is_empty());
    drop(listening);
    let (notes, listening) = Notes::listen("info");
    troupe.call(Call::tool("echo")).await.unwrap();
    let (call, attempts) = notes.call();
    call.has([("tool", "echo"), ("outcome", "ok"), ("attempts", "1")]);
    assert_eq!(attempts.len(), 1, "it is the call's");
    drop(listening);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_its_caller_left_and_one_past_its_deadline_say_so() {
    let (server, troupe) = in_memory([("hold", Script::Hold)], |_| ()).await;
    let (notes, listening) = Notes::listen("info");
    let left = tokio::spawn(troupe.call(Call::tool("hold")));
    server.wait_for(|seen| seen.calls.contains_key("hold")).await;
    left.abort();
    server.wait_for(|seen| seen.cancelled.len() == 1).await;
    let (call, attempts) = notes.call();
    call.has([("outcome", "cancelled")]);
    attempts[0].has([("outcome", "cancelled")]);
    drop(listening);
    let (notes, listening) = Notes::listen("info");
    troupe.call(Call::tool("hold")).await.unwrap_err();
    let (call, attempts) = notes.call();
    call.has([("outcome", "deadline-exceeded"), ("attempts", "1")]);
    attempts[0].has([("outcome", "deadline-exceeded"), ("latency_us", "30000000")]);
    drop(listening);
    end(troupe).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_listen_to_calls_sees_none() {
    let (_server, troupe) = in_memory([("echo", Script::Echo)], |_| ()).await;
    let (notes, listening) = Notes::listen("trace,mcp_troupe::call=warn");
    troupe.call(Call::tool("echo")).await.unwrap();
    assert!(notes.named("call").is_empty() && notes.named("attempt").is_empty());
    drop(listening);
    end(troupe).await;
}
