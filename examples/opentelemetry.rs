//! Calls and attempts as OpenTelemetry spans, and a trace that goes on at the server.
//!
//! ```sh
//! cargo run -p mcp-troupe-examples --bin opentelemetry
//! ```
//!
//! The exporter here prints; a real one (`opentelemetry-otlp`) takes its place without another change. The server loses the
//! first attempt, so the trace shows two of them under one call; between them stands a third, `not-taken`, if the call came
//! to the server's actor before the new connection did:
//!
//! ```text
//! agent step
//! └─ call              what the host asked for, with its outcome
//!    ├─ attempt        lost
//!    └─ attempt        answered
//! ```

use std::collections::HashMap;

use mcp_troupe::testkit::{Script, ScriptedServer};
use mcp_troupe::{Call, Readiness, Server, Troupe};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use serde_json::Value;
use tracing::{Instrument, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Prints each span in one line.
#[derive(Debug)]
struct Printer;

impl SpanExporter for Printer {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        for span in batch {
            let context = &span.span_context;
            print!(
                "{} {} parent {}: {}",
                context.trace_id(),
                context.span_id(),
                span.parent_span_id,
                span.name
            );
            // The code's place and thread are noted as well.
            let ours = ["tool", "group", "server", "attempts", "number", "outcome", "latency_us"];
            for field in span.attributes.iter().filter(|field| ours.contains(&field.key.as_str())) {
                print!(" {}={}", field.key, field.value);
            }
            println!();
        }
        Ok(())
    }
}

/// Gives a call the trace that is current: the server joins it as a child of the current span.
fn traced(call: Call) -> Call {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&tracing::Span::current().context(), &mut carrier);
    let mut call = call;
    if let Some(parent) = carrier.remove("traceparent") {
        call = call.traceparent(parent);
    }
    // Empty for most.
    if let Some(state) = carrier.remove("tracestate").filter(|state| !state.is_empty()) {
        call = call.tracestate(state);
    }
    call
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let provider = SdkTracerProvider::builder().with_simple_exporter(Printer).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("agent"));
    let filter = EnvFilter::new("warn,opentelemetry=info,mcp_troupe::call=info");
    tracing_subscriber::registry().with(filter).with(layer).init();

    let losing_the_first = Script::Sequence(vec![Script::Cut, Script::Meta]);
    let server = ScriptedServer::builder().tool("work", losing_the_first).start().await;
    let troupe = Troupe::builder().server(Server::websocket("worker", server.url())).start().await?;
    troupe.ready(Readiness::All).await?;

    let step = info_span!("agent step");
    let seen: Value = async {
        let call = traced(Call::tool("work").idempotent());
        troupe.call(call).await?.structured::<Value>().map_err(Box::<dyn std::error::Error>::from)
    }
    .instrument(step)
    .await?;
    println!("the server was told: traceparent {}", seen["traceparent"]);

    troupe.shutdown().await;
    provider.shutdown()?;
    Ok(())
}
