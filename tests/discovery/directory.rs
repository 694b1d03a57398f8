//! Real directories as child processes, on free loopback ports.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Where a program is, if it is installed.
pub fn installed(program: &str) -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    // The last is where `.ci/run` puts what is no package of this release.
    let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools");
    let folders = path.split(':').chain(["/usr/sbin", tools]);
    folders.map(|folder| format!("{folder}/{program}")).find(|path| Path::new(path).is_file())
}

/// Says that a test did not run, in a line that `.ci/run` counts.
pub fn skip(test: &str, program: &str, package: &str) {
    // Past the capture of the test runner, so that it is seen where the test passes.
    use std::io::Write;
    let line = format!("skipped: {test}: {program} is not installed (Debian's package {package})\n");
    let _ = std::fs::OpenOptions::new()
        .append(true)
        .open("/dev/stderr")
        .and_then(|mut stderr| stderr.write_all(line.as_bytes()));
}

/// Certificates of a directory and of who asks it, each trusted by itself.
#[cfg(any(feature = "consul", feature = "etcd"))]
pub struct Certificates(tempfile::TempDir);

#[cfg(any(feature = "consul", feature = "etcd"))]
impl Certificates {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, subject) in [("server", "127.0.0.1"), ("client", "troupe"), ("stranger", "127.0.0.1")] {
            let made = rcgen::generate_simple_self_signed([subject.to_owned()]).unwrap();
            std::fs::write(folder.path().join(format!("{name}.pem")), made.cert.pem()).unwrap();
            let key = made.signing_key.serialize_pem();
            std::fs::write(folder.path().join(format!("{name}.key")), key).unwrap();
        }
        Self(folder)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// What is right: trusts the server, shows the client's.
    pub fn tls(&self) -> mcp_troupe::discovery::Tls {
        self.trusting("server").identity(self.path("client.pem"), self.path("client.key"))
    }

    pub fn trusting(&self, name: &str) -> mcp_troupe::discovery::Tls {
        mcp_troupe::discovery::Tls::new().authority(self.path(&format!("{name}.pem")))
    }
}

/// A child process that ends with the test.
pub struct Program(Child);

impl Program {
    pub fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Ends it without a goodbye.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Stops it in its tracks: its sockets stay open, and nothing answers.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Lets it read its files again.
    pub fn reload(&self) {
        self.signal("-HUP");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until something is so.
pub async fn until<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what} did not happen");
}
