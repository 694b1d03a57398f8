//! Servers that flood, over each transport.

use futures_util::{FutureExt, SinkExt, StreamExt};
use mcp_troupe::testkit::{MemoryListener, MemoryPeer};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use super::kinds::Flood;

/// Where a flood begins once it is said.
pub type Begun = watch::Receiver<bool>;

async fn begun(mut begin: Begun) {
    // Whoever forgets to say it ends the flood's server as well.
    let _ = begin.wait_for(|begun| *begun).await;
}

/// In memory: it answers what it is asked between the messages of its flood, and so reads as fast as it sends.
pub async fn memory(mut listener: MemoryListener, flood: Flood, begin: Begun) {
    let mut guests = JoinSet::new();
    while let Some(peer) = listener.accept().await {
        guests.spawn(memory_guest(peer, flood, begin.clone()));
    }
}

async fn memory_guest(mut peer: MemoryPeer, flood: Flood, begin: Begun) {
    let frames = flood.frames();
    let mut begin = Box::pin(begun(begin));
    loop {
        tokio::select! { biased;
            received = peer.recv() => {
                let Some(frame) = received else { return };
                let answer = flood.answer(&serde_json::from_slice(&frame).unwrap());
                if let Some(answer) = answer && !peer.send(answer).await {
                    return;
                }
            }
            () = &mut begin => break,
        }
    }
    for frame in frames.into_iter().cycle() {
        while let Some(received) = peer.recv().now_or_never() {
            let Some(asked) = received else { return };
            let answer = flood.answer(&serde_json::from_slice(&asked).unwrap());
            if let Some(answer) = answer
                && !peer.send(answer).await
            {
                return;
            }
        }
        if !peer.send(frame).await {
            return;
        }
    }
}

/// A port that nobody else has, and where it is.
pub async fn port() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Over WebSocket: one task reads and answers, and the flood goes on in between.
pub async fn websocket(listener: TcpListener, flood: Flood, begin: Begun) {
    let mut guests = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        guests.spawn(websocket_guest(stream, flood, begin.clone()));
    }
}

async fn websocket_guest(stream: TcpStream, flood: Flood, begin: Begun) {
    // The signature is tungstenite's; its large error type is not ours to change.
    #[allow(clippy::result_large_err)]
    let accept = |_: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        response.headers_mut().insert("sec-websocket-protocol", "mcp".parse().unwrap());
        Ok(response)
    };
    let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, accept).await else { return };
    let (mut out, mut incoming) = socket.split();
    let (answers, mut answered) = tokio::sync::mpsc::channel::<String>(64);
    let reads = async move {
        while let Some(Ok(message)) = incoming.next().await {
            let Message::Text(text) = message else { continue };
            let answer = flood.answer(&serde_json::from_str(&text).unwrap());
            if let Some(answer) = answer
                && answers.send(answer).await.is_err()
            {
                return;
            }
        }
    };
    let writes = async move {
        let frames = flood.frames();
        let mut flooding = Box::pin(begun(begin));
        loop {
            tokio::select! { biased;
                Some(answer) = answered.recv() => {
                    if out.send(Message::text(answer)).await.is_err() {
                        return;
                    }
                }
                () = &mut flooding => break,
            }
        }
        for frame in frames.into_iter().cycle() {
            while let Ok(answer) = answered.try_recv() {
                if out.feed(Message::text(answer)).await.is_err() {
                    return;
                }
            }
            if out.feed(Message::text(frame)).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reads => {}
        () = writes => {}
    }
}

/// Over HTTP: what it says unasked comes on the stream for that, as fast as it is read.
pub async fn http(listener: TcpListener, flood: Flood, begin: Begun) {
    let mut guests = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        guests.spawn(http_guest(stream, flood, begin.clone()));
        while guests.try_join_next().is_some() {}
    }
}

/// Serves one connection. Nothing here is more than such a client needs.
async fn http_guest(stream: TcpStream, flood: Flood, begin: Begun) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            (stream.read_line(&mut head).await.ok()? > 0).then_some(())?;
        }
        if head.starts_with("GET") {
            return http_stream(stream, flood, begin).await;
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        let mut body = vec![0; length.unwrap_or_default()];
        stream.read_exact(&mut body).await.ok()?;
        let request: Value = serde_json::from_slice(&body).unwrap_or_default();
        let answer = match flood.answer(&request) {
            // The whole flood comes with the answer to a call, as one body.
            Some(answer) if request["method"] == "tools/call" && flood.is_of_messages() => {
                let mut messages = flood.frames();
                messages.truncate(64);
                messages = messages.iter().cycle().take(64).cloned().collect();
                messages.push(answer);
                Some(format!("[{}]", messages.join(",")))
            }
            answer => answer,
        };
        let answer = match answer {
            Some(body) => format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ),
            None => "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned(),
        };
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

async fn http_stream(mut stream: BufReader<TcpStream>, flood: Flood, begin: Begun) -> Option<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.ok()?;
    begun(begin).await;
    for frame in flood.frames().into_iter().cycle() {
        stream.write_all(format!("data: {frame}\n\n").as_bytes()).await.ok()?;
    }
    None
}

/// Over stdio: a shell that answers the requests of a start, waits for a file, and says the same until its stdin ends.
pub fn script(flood: Flood) -> String {
    let first = [
        "server/discover",
        "initialize",
        "tools/list",
        "resources/list",
        "resources/templates/list",
        "prompts/list",
    ];
    let answers = first.iter().zip(1..).map(|(method, id)| {
        let answer = flood.answer(&json!({"id": id, "method": method})).unwrap();
        // The end of the handshake is a line of its own.
        let again = if *method == "initialize" { "read -r line\n" } else { "" };
        format!("read -r line\necho '{answer}'\n{again}")
    });
    let begin = r#"
        while [ ! -e "$BEGIN" ]; do sleep 0.02; done
        yes "$FRAMES" &
        cat > /dev/null
        kill $!
    "#;
    answers.chain([begin.to_owned()]).collect()
}
