//! Two real MCP servers, built on the official SDK, that speak MCP over WebSocket or stdio: files below one folder, and a
//! SQL database. `files_server` and `database_server` run them.

pub mod database;
pub mod files;
mod params;
mod refusal;
mod websocket;
mod weight;

use std::process::ExitCode;

use rmcp::{ServerHandler, ServiceExt};
use tokio::net::TcpListener;

pub use websocket::{Running, serve};

/// Logs to stderr; `RUST_LOG` says how much.
pub fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).init();
}

/// Serves the one client that started this process, over stdin and stdout, until it leaves.
pub async fn run_on_stdio(service: impl ServerHandler) -> ExitCode {
    let ended = match service.serve(rmcp::transport::stdio()).await {
        Ok(running) => running.waiting().await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match ended {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until Ctrl-C.
pub async fn run_until_interrupted<S: ServerHandler>(
    host: &str,
    port: u16,
    service: impl Fn() -> S + Send + 'static,
) -> ExitCode {
    let running = match TcpListener::bind((host, port)).await.and_then(|listener| serve(listener, service)) {
        Ok(running) => running,
        Err(error) => {
            eprintln!("{host}:{port}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("listening on {}", running.url());
    // Without the signal there is nothing to wait for but the end of the process.
    let _ = tokio::signal::ctrl_c().await;
    running.shutdown().await;
    ExitCode::SUCCESS
}
