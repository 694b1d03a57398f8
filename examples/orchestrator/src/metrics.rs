//! `--metrics`: the troupe's figures where Prometheus scrapes them, for commands that run long.

use std::net::{SocketAddr, TcpListener};

use clap::Args;
use mcp_troupe::observability::DURATION_BUCKETS;
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::FAILED;
use crate::output::note;

#[derive(Args, Clone)]
pub struct MetricsArgs {
    /// Serve metrics to Prometheus at this address while the command runs, such as 127.0.0.1:9100; port 0 finds a free one.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
}

impl MetricsArgs {
    /// Serves them if that is wanted, and says where. To be called within the runtime, before the troupe starts.
    pub fn serve(&self) -> Result<(), u8> {
        let Some(wanted) = self.metrics else { return Ok(()) };
        let failed = |error: String| {
            note!("no metrics at {wanted}: {error}");
            FAILED
        };
        // The exporter does not say which port it got.
        let free = TcpListener::bind(wanted).and_then(|listener| listener.local_addr());
        let address = free.map_err(|error| failed(error.to_string()))?;
        PrometheusBuilder::new()
            .with_http_listener(address)
            .set_buckets(&DURATION_BUCKETS)
            .and_then(PrometheusBuilder::install)
            .map_err(|error| failed(error.to_string()))?;
        note!("metrics at http://{address}/metrics");
        Ok(())
    }
}
