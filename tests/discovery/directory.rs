//! Real directories as child processes, on free loopback ports.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::common::skipping;

/// How often a directory is started on other ports, where somebody else took one of them in the meantime.
pub const STARTS: u32 = 5;

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// With this in the environment no program is installed: so that skipping can be tested.
pub const INSTALLED_NOWHERE: &str = "TEST_WITHOUT_PROGRAMS";

/// Where a program is, if it is installed.
pub fn installed(program: &str) -> Option<String> {
    if std::env::var_os(INSTALLED_NOWHERE).is_some() {
        return None;
    }
    let path = std::env::var("PATH").unwrap_or_default();
    // The last is where `.ci/run` puts what is no package of this release.
    let tools = super::common::repository().join("target/tools");
    let folders = path.split(':').chain(["/usr/sbin", tools.to_str()?]);
    folders.map(|folder| format!("{folder}/{program}")).find(|path| Path::new(path).is_file())
}

/// Says that a test does not run.
pub fn skip(test: &str, program: &str, package: &str) {
    skipping::skip("discovery", test, &format!("{program} is not installed (Debian's package {package})"));
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
        self.trusting("server").client_certificate(self.path("client.pem"), self.path("client.key"))
    }

    pub fn trusting(&self, name: &str) -> mcp_troupe::discovery::Tls {
        mcp_troupe::discovery::Tls::new().ca_file(self.path(&format!("{name}.pem")))
    }
}

/// A child process that ends with the test.
pub struct Program(Child);

impl Program {
    pub fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Whether it ended by itself, as a program does that finds its port taken.
    pub fn ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Waits until it serves. False where it ends before that. What answers in its place, at a port that it did not get, is
    /// somebody else.
    pub async fn serves<F: Future<Output = bool>>(
        &mut self,
        what: &str,
        mut serving: impl FnMut() -> F,
    ) -> bool {
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                if self.ended() {
                    return false;
                }
                if serving().await {
                    return !self.ended();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("{what} does not serve"))
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
