//! A TCP proxy that stands between a client and a real server, and makes the network bad in the ways networks are.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Bytes that are read at once. Small, so that a bandwidth is kept evenly.
const CHUNK_BYTES: usize = 4 << 10;

/// Chunks under way in one direction: what a long line holds. Beyond them the reader waits, and with it the sender.
const CHUNKS_MAX: usize = 256;

/// What the line does. All of it can change while connections are open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Line {
    /// Each byte arrives so much later, in each direction.
    pub latency: Duration,
    /// Bytes per second in each direction; unlimited if none.
    pub bandwidth: Option<u64>,
    /// Nothing gets through in either direction, and nothing is lost: it arrives when the line goes on.
    pub stalled: bool,
    /// The server vanished without a word: nothing gets through, nothing is ever said of it.
    pub half_open: bool,
    /// Nothing that the client sends is read.
    pub deaf: bool,
    /// Of so many chunks from the server one has a flipped bit; none if zero.
    pub corrupt_one_in: u64,
    /// New connections are closed at once.
    pub refusing: bool,
}

/// What connections read of the proxy.
#[derive(Debug, Clone, Default)]
struct State {
    line: Line,
    /// Connections of an earlier epoch are cut.
    epoch: u64,
}

/// A proxy in front of one server. It ends, with its connections, when it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    scheme: String,
    address: SocketAddr,
    state: watch::Sender<State>,
    tasks: JoinSet<()>,
}

impl FaultProxy {
    /// Starts a proxy, on a free port of 127.0.0.1, in front of the server at `upstream`: `host:port`, or a URL.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn start(upstream: &str) -> io::Result<Self> {
        let (scheme, upstream) = upstream.rsplit_once("://").unwrap_or(("ws", upstream));
        let scheme = scheme.to_owned();
        let upstream = upstream.split('/').next().unwrap_or_default().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = watch::Sender::new(State::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, upstream, state.subscribe()));
        Ok(Self { scheme, address, state, tasks })
    }

    /// Where it is, for a client of the server behind it.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Changes the line, for open connections as for new ones.
    pub fn change(&self, change: impl FnOnce(&mut Line)) {
        self.state.send_modify(|state| change(&mut state.line));
    }

    /// Makes the line good again.
    pub fn heal(&self) {
        self.change(|line| *line = Line::default());
    }

    /// Cuts every open connection.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.epoch += 1);
    }

    /// Ends the proxy; nothing listens there any more.
    pub async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }
}

async fn accept(listener: TcpListener, upstream: String, state: watch::Receiver<State>) {
    let mut guests = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if state.borrow().line.refusing {
            continue;
        }
        guests.spawn(carry(client, upstream.clone(), state.clone()));
        while guests.try_join_next().is_some() {}
    }
}

/// Carries one connection until either end leaves, or it is cut.
async fn carry(client: TcpStream, upstream: String, mut state: watch::Receiver<State>) {
    let epoch = state.borrow().epoch;
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    // Delays are the line's to make.
    let (_, _) = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let both = async {
        let up = Direction { from_server: false, state: state.clone() }.run(from_client, to_server);
        let down = Direction { from_server: true, state: state.clone() }.run(from_server, to_client);
        tokio::select! {
            () = up => {}
            () = down => {}
        }
        // An end that vanished without a word is not reported to the other.
        let mut state = state.clone();
        let _ = state.wait_for(|state| !state.line.half_open).await;
    };
    let mut cut = state.clone();
    tokio::select! {
        () = both => {}
        _ = cut.wait_for(|state| state.epoch != epoch) => {}
    }
    state.mark_unchanged();
}

/// One direction of one connection.
struct Direction {
    from_server: bool,
    state: watch::Receiver<State>,
}

impl Direction {
    async fn run(self, from: OwnedReadHalf, to: OwnedWriteHalf) {
        let (chunks, line) = mpsc::channel(CHUNKS_MAX);
        tokio::join!(self.read(from, chunks), self.write(to, line));
    }

    /// Takes in what is sent, unless the line is deaf to it.
    async fn read(&self, mut from: OwnedReadHalf, chunks: mpsc::Sender<(Instant, Vec<u8>)>) {
        let mut state = self.state.clone();
        let mut read = 0u64;
        loop {
            let hears = |state: &State| !(state.line.half_open || (state.line.deaf && !self.from_server));
            let Ok(line) = state.wait_for(hears).await.map(|state| state.line.clone()) else { return };
            let mut chunk = vec![0; CHUNK_BYTES];
            let taken = tokio::select! {
                taken = from.read(&mut chunk) => taken,
                // The line may have changed while nothing came.
                _ = state.changed() => continue,
            };
            let Ok(length @ 1..) = taken else { return };
            chunk.truncate(length);
            read += 1;
            if self.from_server && line.corrupt_one_in > 0 && read.is_multiple_of(line.corrupt_one_in) {
                chunk[length / 2] ^= 0x10;
            }
            if let Some(bandwidth) = line.bandwidth {
                let secs = length as f64 / bandwidth.max(1) as f64;
                tokio::time::sleep(Duration::from_secs_f64(secs)).await;
            }
            if chunks.send((crate::duration::later(Instant::now(), line.latency), chunk)).await.is_err() {
                return;
            }
        }
    }

    /// Lets out what has travelled long enough, unless the line is stalled.
    async fn write(&self, mut to: OwnedWriteHalf, mut chunks: mpsc::Receiver<(Instant, Vec<u8>)>) {
        let mut state = self.state.clone();
        while let Some((due, chunk)) = chunks.recv().await {
            tokio::time::sleep_until(due).await;
            let passes = |state: &State| !(state.line.stalled || state.line.half_open);
            if state.wait_for(passes).await.is_err() || to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets.
    async fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        tokio::spawn(async move {
            while let Ok((mut guest, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = guest.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    async fn through(proxy: &FaultProxy) -> TcpStream {
        TcpStream::connect(proxy.address).await.expect("it listens")
    }

    async fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(bytes).await?;
        let mut back = vec![0; bytes.len()];
        stream.read_exact(&mut back).await?;
        Ok(back)
    }

    #[tokio::test]
    async fn a_good_line_passes_everything_on() {
        let proxy = FaultProxy::start(&format!("ws://{}/mcp", echo().await)).await.expect("a free port");
        let bytes: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        let mut stream = through(&proxy).await;
        let (mut from, mut to) = stream.split();
        let mut back = vec![0; bytes.len()];
        let (written, read) = tokio::join!(to.write_all(&bytes), from.read_exact(&mut back));
        assert!(written.is_ok() && read.is_ok());
        assert_eq!(back, bytes);
    }

    #[tokio::test]
    async fn a_stalled_line_delivers_when_it_goes_on() {
        let proxy = FaultProxy::start(&echo().await).await.expect("a free port");
        let mut stream = through(&proxy).await;
        exchange(&mut stream, b"before").await.expect("the line is good");
        proxy.change(|line| line.stalled = true);
        stream.write_all(b"during").await.expect("it is open");
        let mut back = [0; 6];
        let silence = tokio::time::timeout(Duration::from_millis(20), stream.read_exact(&mut back)).await;
        assert!(silence.is_err());
        proxy.heal();
        stream.read_exact(&mut back).await.expect("it is open");
        assert_eq!(&back, b"during");
    }

    #[tokio::test]
    async fn a_cut_ends_open_connections_and_not_new_ones() {
        let proxy = FaultProxy::start(&echo().await).await.expect("a free port");
        let mut stream = through(&proxy).await;
        exchange(&mut stream, b"x").await.expect("the line is good");
        proxy.cut();
        assert!(exchange(&mut stream, b"y").await.is_err());
        assert!(exchange(&mut through(&proxy).await, b"z").await.is_ok());
        proxy.change(|line| line.refusing = true);
        assert!(exchange(&mut through(&proxy).await, b"z").await.is_err());
    }

    #[tokio::test]
    async fn a_corrupt_line_flips_a_bit() {
        let proxy = FaultProxy::start(&echo().await).await.expect("a free port");
        proxy.change(|line| line.corrupt_one_in = 1);
        let back = exchange(&mut through(&proxy).await, b"abc").await.expect("it is open");
        assert_ne!(back, b"abc");
    }

    #[tokio::test(start_paused = true)]
    async fn latency_and_bandwidth_are_kept() {
        let proxy = FaultProxy::start(&echo().await).await.expect("a free port");
        let mut stream = through(&proxy).await;
        proxy.change(|line| line.latency = Duration::from_millis(100));
        let begun = Instant::now();
        exchange(&mut stream, b"there and back").await.expect("it is open");
        assert!(Instant::now().saturating_duration_since(begun) >= Duration::from_millis(200));
        proxy.change(|line| *line = Line { bandwidth: Some(1000), ..Line::default() });
        let begun = Instant::now();
        exchange(&mut stream, &[7; 500]).await.expect("it is open");
        assert!(Instant::now().saturating_duration_since(begun) >= Duration::from_secs(1));
    }
}
