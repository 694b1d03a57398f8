//! The file-system server alone: `cargo run -p mcp-troupe-examples --bin files_server -- --root some/folder`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use servers::files::{FileServer, Rules};

/// Serves the files below one folder as MCP tools over WebSocket, or stdio.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The folder.
    #[arg(long, env = "FS_BASE_PATH", default_value = ".")]
    root: PathBuf,
    /// Serve the program that started this one, over stdin and stdout, instead of listening.
    #[arg(long)]
    stdio: bool,
    /// The port; 0 for a free one.
    #[arg(long, env = "MCP_SERVER_PORT", default_value_t = 3000)]
    port: u16,
    /// The address.
    #[arg(long, env = "MCP_SERVER_HOST", default_value = "127.0.0.1")]
    host: String,
    /// Folders below the root that may be touched.
    #[arg(long, env = "FS_ALLOWED_PATHS", value_delimiter = ',', default_value = ".")]
    allowed_paths: Vec<PathBuf>,
    /// The largest file, in bytes.
    #[arg(long, env = "FS_MAX_FILE_SIZE", default_value_t = 10 << 20)]
    max_file_size: u64,
    /// Write nothing.
    #[arg(long, env = "FS_READ_ONLY")]
    read_only: bool,
    /// The only extensions, such as .md,.txt
    #[arg(long, env = "FS_ALLOWED_EXTENSIONS", value_delimiter = ',')]
    allowed_extensions: Vec<String>,
    /// Extensions that are refused, such as .exe,.sh
    #[arg(long, env = "FS_DENIED_EXTENSIONS", value_delimiter = ',')]
    denied_extensions: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    servers::log();
    let cli = Cli::parse();
    let lower =
        |extensions: Vec<String>| extensions.iter().map(|extension| extension.to_lowercase()).collect();
    let rules = Rules {
        allowed_paths: cli.allowed_paths,
        file_bytes_max: cli.max_file_size,
        read_only: cli.read_only,
        allowed_extensions: lower(cli.allowed_extensions),
        denied_extensions: lower(cli.denied_extensions),
    };
    let server = match FileServer::new(&cli.root, rules) {
        Ok(server) => server,
        Err(error) => {
            eprintln!("{}: {error}", cli.root.display());
            return ExitCode::FAILURE;
        }
    };
    if cli.stdio {
        return servers::run_on_stdio(server).await;
    }
    servers::run_until_interrupted(&cli.host, cli.port, move || server.clone()).await
}
