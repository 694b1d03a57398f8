//! An echo server in a process of its own, so that only the client is counted in this one.
//!
//! The process is this program once more, with other arguments: a bench calls [`serve_if_asked`] first of all.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, Stdio};

use tokio::net::TcpListener;

use super::echo::{Answers, serve};

/// The first argument of a process that is to serve.
const ASKED: &str = "--serve-echo";

/// An echo server that ends when this is dropped, or this process ends.
pub struct EchoProcess {
    pub port: u16,
    process: Child,
    /// Its end is the order to go.
    _order: ChildStdin,
}

impl EchoProcess {
    /// Starts one with results of so many bytes, from so many tools.
    pub fn start(result_bytes: usize, tools: usize) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut process = Command::new(program)
            .args([ASKED, &result_bytes.to_string(), &tools.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts once more");
        let order = process.stdin.take().expect("piped");
        let mut said = String::new();
        BufReader::new(process.stdout.take().expect("piped"))
            .read_line(&mut said)
            .expect("it tells its port");
        let port = said.trim().parse().expect("it tells its port");
        Self { port, process, _order: order }
    }
}

impl Drop for EchoProcess {
    fn drop(&mut self) {
        // One that is gone already needs no end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves, and does not return, in a process that was started for it.
pub fn serve_if_asked() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(ASKED) {
        return;
    }
    let mut number = || arguments.next().and_then(|number| number.parse().ok()).expect("a number");
    let answers = Answers::new(number(), number());
    std::thread::spawn(|| {
        // Nothing is ever said: it returns when the parent is gone.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let error = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        println!("{}", listener.local_addr().expect("bound").port());
        serve(listener, answers).await
    });
    eprintln!("the echo server ended: {error}");
    std::process::exit(1);
}
