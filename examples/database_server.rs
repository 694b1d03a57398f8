//! The database gateway alone: `cargo run -p mcp-troupe-examples --bin database_server -- --file some.db`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use servers::database::{Config, DatabaseServer, create_demo};

/// Serves a SQLite database as MCP tools over WebSocket, or stdio.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The database file; it is made, with demo data, where there is none.
    #[arg(long, env = "SQLITE_FILE", default_value = "mcp_demo.db")]
    file: PathBuf,
    /// Serve the program that started this one, over stdin and stdout, instead of listening.
    #[arg(long)]
    stdio: bool,
    /// The port; 0 for a free one.
    #[arg(long, env = "MCP_SERVER_PORT", default_value_t = 3001)]
    port: u16,
    /// The address.
    #[arg(long, env = "MCP_SERVER_HOST", default_value = "127.0.0.1")]
    host: String,
    /// Write nothing.
    #[arg(long, env = "QUERY_READ_ONLY")]
    read_only: bool,
    /// The only tables that may be touched.
    #[arg(long, env = "ALLOWED_TABLES", value_delimiter = ',')]
    allowed_tables: Vec<String>,
    /// Tables that may not be touched.
    #[arg(long, env = "DENIED_TABLES", value_delimiter = ',')]
    denied_tables: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    servers::log();
    let cli = Cli::parse();
    if !cli.file.exists()
        && let Err(error) = create_demo(&cli.file)
    {
        eprintln!("{}: {error}", cli.file.display());
        return ExitCode::FAILURE;
    }
    let mut config = Config::new(&cli.file);
    config.read_only = cli.read_only;
    config.limits.allowed_tables = cli.allowed_tables;
    config.limits.denied_tables = cli.denied_tables;
    let config = Arc::new(config);
    if cli.stdio {
        return servers::run_on_stdio(DatabaseServer::new(config)).await;
    }
    servers::run_until_interrupted(&cli.host, cli.port, move || DatabaseServer::new(config.clone())).await
}
