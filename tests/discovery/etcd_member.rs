//! A real etcd, as a child process.

use std::process::Command;
use std::time::Duration;

use mcp_troupe::discovery::{EtcdSource, Source};
use tempfile::TempDir;

use super::directory::{Certificates, Program, STARTS, free_port, installed, skip};

/// Below what key the tests announce servers.
pub const PREFIX: &str = "/mcp/servers/";

/// One member of etcd, a cluster by itself.
pub struct Etcd {
    program: Option<Program>,
    data: TempDir,
    port: u16,
    peer_port: u16,
    binary: String,
    pub certificates: Option<Certificates>,
}

impl Etcd {
    /// Starts it. None where it is not installed.
    pub async fn start(test: &str) -> Option<Self> {
        let mut etcd = Self::stopped(test)?;
        for _ in 0..STARTS {
            if etcd.try_run().await {
                return Some(etcd);
            }
            (etcd.port, etcd.peer_port) = (free_port(), free_port());
        }
        panic!("etcd does not start")
    }

    /// Not running yet.
    pub fn stopped(test: &str) -> Option<Self> {
        let Some(binary) = installed("etcd") else {
            skip(test, "etcd", "etcd-server");
            return None;
        };
        let data = tempfile::tempdir().unwrap();
        let (port, peer_port) = (free_port(), free_port());
        Some(Self { program: None, data, port, peer_port, binary, certificates: None })
    }

    pub fn url(&self) -> String {
        let scheme = if self.certificates.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Starts it on the same ports and, unless they were wiped, the same data.
    pub async fn run(&mut self) {
        assert!(self.try_run().await, "etcd ended at its start");
    }

    /// The same. False where it ends at once, as where somebody else has its ports.
    async fn try_run(&mut self) -> bool {
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let start = |url: &str| {
            let mut command = Command::new(&self.binary);
            command
                .args(["--name", "t", "--logger", "zap", "--log-level", "error"])
                .arg("--data-dir")
                .arg(self.data.path())
                .args(["--listen-client-urls", url, "--advertise-client-urls", url])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--initial-cluster", &format!("t={peer}")]);
            if let Some(made) = &self.certificates {
                let [certificate, key, client] =
                    ["server.pem", "server.key", "client.pem"].map(|name| made.path(name));
                command.args(["--cert-file", &certificate, "--key-file", &key]);
                command.args(["--client-cert-auth", "--trusted-ca-file", &client]);
            }
            Program::start(&mut command)
        };
        let (mut program, source) = (start(&self.url()), self.source());
        let serves = program.serves("etcd", || async {
            let looked =
                tokio::time::timeout(Duration::from_secs(1), async { source.watch().next().await.is_ok() });
            looked.await == Ok(true)
        });
        let serves = serves.await;
        self.program = Some(program);
        serves
    }

    pub fn kill(&mut self) {
        self.program = None;
    }

    /// Kills it and loses its data.
    pub fn wipe(&mut self) {
        self.kill();
        self.data = tempfile::tempdir().unwrap();
    }

    pub fn program(&self) -> &Program {
        self.program.as_ref().expect("it runs")
    }

    pub fn source(&self) -> EtcdSource {
        let source = EtcdSource::new([self.url()], PREFIX);
        match &self.certificates {
            Some(made) => source.tls(made.tls()),
            None => source,
        }
    }
}
