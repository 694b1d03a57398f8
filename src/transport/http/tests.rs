use std::io;

use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::{Barrier, Notify, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::*;
use crate::net::tls;
use crate::net::tls::tests::{Authority, Clients, accept};
use crate::transport::{Failure, Head, Inbound, LinkError, Outbound};

const SECRET: &str = "s3cr3t";

fn wrong(options: HttpOptions) -> String {
    let error = HttpConnector::new(options).expect_err("the options are wrong");
    assert!(matches!(error, DialError::InvalidEndpoint { .. } | DialError::InvalidHeader { .. }), "{error}");
    error.to_string()
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    (listener, address.to_string())
}

fn request(id: u64) -> Outbound {
    Outbound::Request { id, head: Head::of("tools/list"), frame: "{}".into() }
}

#[test]
fn a_wrong_url_is_named_without_what_it_hides() {
    let cases = [
        ("ws://h/mcp?token=s3cr3t", "does not begin with http:// or https://"),
        ("files.example.com", "does not begin with http:// or https://"),
        ("https://user:s3cr3t@h/", "carries user info"),
        ("http://h ost/?s3cr3t", "invalid"),
        ("", "empty"),
    ];
    for (url, reason) in cases {
        let told = wrong(HttpOptions::new(url));
        assert!(told.contains(reason), "{url}: {told}");
        assert!(!told.contains(SECRET), "{told}");
    }
}

#[test]
fn a_header_that_is_malformed_or_the_transports_own_is_named_without_its_value() {
    let cases = [
        ("no header", SECRET, "no header name"),
        ("MCP-Protocol-Version", SECRET, "set by the transport itself"),
        ("mcp-param-x", SECRET, "set by the transport itself"),
        ("authorization", "s3cr3t\n", "forbidden characters"),
    ];
    for (name, value, reason) in cases {
        let headers = vec![(name.to_owned(), value.into())];
        let told = wrong(HttpOptions { headers, ..HttpOptions::new("http://h/") });
        assert!(told.contains(reason), "{told}");
        assert!(!told.contains(SECRET), "{told}");
    }
}

#[test]
fn nothing_secret_is_shown() {
    let headers = vec![("authorization".to_owned(), SECRET.into())];
    let options = HttpOptions { headers, ..HttpOptions::new("https://h:1/mcp?token=s3cr3t") };
    assert!(!format!("{options:?}").contains(SECRET));
    let connector = HttpConnector::new(options).expect("the options are right");
    assert!(!format!("{connector:?}").contains(SECRET));
    assert_eq!(connector.endpoint(), "https://h:1/mcp");
}

#[test]
fn a_proxy_of_an_unknown_kind_is_named_without_its_password() {
    let proxies = Matcher::builder().all("socks5://user:s3cr3t@proxy:1080").build();
    let tls = tls::config(&TlsOptions::default()).expect("a configuration");
    let error =
        HttpConnector::with(HttpOptions::new("http://h/"), tls, Some(&proxies)).expect_err("no such proxy");
    let told = error.to_string();
    assert!(
        told.contains("proxy:1080") && told.contains("no http:// proxy") && !told.contains(SECRET),
        "{told}"
    );
}

#[tokio::test]
async fn a_link_that_is_refused_says_so_once_and_that_nothing_was_sent() {
    let (listener, address) = listener().await;
    drop(listener);
    let connector = HttpConnector::new(HttpOptions::new(format!("http://{address}"))).expect("a right url");
    let mut link = connector.connect().await.expect("it reaches out later");
    link.send(request(1)).await.expect("there is room");
    link.send(request(2)).await.expect("there is room");
    let leaving = link.next().await;
    assert!(matches!(leaving, Some(Ok(Inbound::Leaving(LinkError::Unreachable(_))))), "{leaving:?}");
    for _ in 0..2 {
        let failed = link.next().await;
        let unsent =
            |failed: &Inbound| matches!(failed, Inbound::Failed { failure: Failure::NotCarriedOut(_), .. });
        assert!(matches!(&failed, Some(Ok(failed)) if unsent(failed)), "{failed:?}");
    }
    link.send(request(3)).await.expect("it is refused as a request, not as a link");
    assert!(matches!(link.next().await, Some(Ok(Inbound::Failed { id: 3, .. }))));
    link.close().await.expect("there is nothing to fail");
}

/// Takes one connection, reads the head of its request, and answers with `answer`.
async fn head_of_the_first(listener: TcpListener, answer: &'static str) -> io::Result<Vec<String>> {
    let (stream, _) = listener.accept().await?;
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 || line == "\r\n" {
            break;
        }
        head.push(line.trim().to_lowercase());
    }
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(head)
}

/// What a proxy sees of a request to `url`.
async fn seen_by_a_proxy(url: &str) -> Vec<String> {
    let (listener, address) = listener().await;
    let proxies = Matcher::builder().all(format!("http://user:pass@{address}")).build();
    let tls = tls::config(&TlsOptions::default()).expect("a configuration");
    let connector = HttpConnector::with(HttpOptions::new(url), tls, Some(&proxies)).expect("right options");
    let proxy =
        tokio::spawn(head_of_the_first(listener, "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"));
    let mut link = connector.connect().await.expect("it reaches out later");
    link.send(request(1)).await.expect("there is room");
    let _ = link.next().await;
    proxy.await.expect("no panic").expect("a request")
}

#[tokio::test]
async fn a_proxy_passes_plain_requests_on_and_gives_encrypted_ones_a_tunnel() {
    let plain = seen_by_a_proxy("http://files.example.com/mcp").await;
    assert_eq!(plain[0], "post http://files.example.com/mcp http/1.1");
    assert!(plain.iter().any(|line| line.starts_with("proxy-authorization: basic ")));
    let tunnel = seen_by_a_proxy("https://files.example.com/mcp").await;
    assert_eq!(tunnel[0], "connect files.example.com:443 http/1.1");
    assert!(tunnel.iter().any(|line| line.starts_with("proxy-authorization: basic ")));
    assert!(!tunnel.iter().any(|line| line.contains("tools/list")));
}

/// What a server with a certificate does.
#[derive(Clone, Copy)]
enum Manner {
    /// Answers when so many requests are there.
    Together(usize),
    /// Takes a request, and from then on moves no more.
    Freezes,
}

/// A server that `authority` vouches for. It takes one connection. Gives its address, and its end.
async fn encrypted(authority: &Authority, clients: Clients, manner: Manner) -> (String, JoinHandle<()>) {
    let (listener, address) = listener().await;
    let port = address.rsplit_once(':').expect("a port").1.to_owned();
    let acceptor = authority.acceptor(clients, &[b"h2"]);
    let serving = tokio::spawn(async move {
        let Some(stream) = accept(&listener, &acceptor).await else { return };
        let asked = Arc::new(Notify::new());
        let barrier = match manner {
            Manner::Together(requests) => Some(Arc::new(Barrier::new(requests))),
            Manner::Freezes => None,
        };
        let seen = asked.clone();
        let service = service_fn(move |_: http::Request<hyper::body::Incoming>| {
            let (barrier, seen) = (barrier.clone(), seen.clone());
            async move {
                match barrier {
                    Some(barrier) => {
                        barrier.wait().await;
                    }
                    None => {
                        seen.notify_one();
                        std::future::pending::<()>().await;
                    }
                }
                let body = http_body_util::Full::new(bytes::Bytes::from_static(b"{}"));
                http::Response::builder().header("content-type", "application/json").body(body)
            }
        });
        let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let mut connection = std::pin::pin!(http2.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            // The client ends it.
            _ = &mut connection => {}
            () = asked.notified() => std::future::pending().await,
        }
    });
    (format!("https://localhost:{port}/"), serving)
}

/// A link to `url`, which reaches out with its first request.
async fn link(url: String, tls: TlsOptions) -> Box<dyn Link> {
    let connector = HttpConnector::new(HttpOptions { tls, ..HttpOptions::new(url) }).expect("right options");
    connector.connect().await.expect("it reaches out later")
}

#[tokio::test]
async fn over_tls_requests_share_one_http2_connection_and_end_with_their_link() {
    let authority = Authority::new("ours");
    let (url, serving) = encrypted(&authority, Clients::Any, Manner::Together(10)).await;
    let mut link = link(url, TlsOptions::new().ca_file(authority.file())).await;
    for id in 0..10 {
        link.send(request(id)).await.expect("there is room");
    }
    for _ in 0..10 {
        let answer = link.next().await;
        assert!(matches!(answer, Some(Ok(Inbound::Answer { .. }))), "{answer:?}");
    }
    link.close().await.expect("there is nothing to fail");
    serving.await.expect("the connection ended with the link");
}

#[tokio::test]
async fn a_peer_that_vanished_from_an_http2_connection_is_noticed_by_its_missing_pings() {
    let authority = Authority::new("ours");
    let (url, serving) = encrypted(&authority, Clients::Any, Manner::Freezes).await;
    let mut options =
        HttpOptions { tls: TlsOptions::new().ca_file(authority.file()), ..HttpOptions::new(url) };
    options.liveness.ping_interval = Duration::from_millis(50);
    let connector = HttpConnector::new(options).expect("right options");
    let mut link = connector.connect().await.expect("it reaches out later");
    link.send(request(1)).await.expect("there is room");
    let failed = link.next().await;
    let lost = matches!(&failed, Some(Ok(Inbound::Failed { failure: Failure::BrokenOff(_), .. })));
    assert!(lost, "{failed:?}");
    serving.abort();
}

/// One HTTP/2 frame.
fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    [&length[1..], &[kind, 0], &stream.to_be_bytes(), payload].concat()
}

/// A server over HTTP/2 that takes one whole request, writes these frames, and ends the connection.
async fn ends_with(authority: &Authority, frames: Vec<u8>) -> (String, JoinHandle<io::Result<()>>) {
    const PREFACE_BYTES: usize = 24;
    const SETTINGS: u8 = 4;
    const END_STREAM: u8 = 1;
    let (listener, address) = listener().await;
    let port = address.rsplit_once(':').expect("a port").1.to_owned();
    let acceptor = authority.acceptor(Clients::Any, &[b"h2"]);
    let serving = tokio::spawn(async move {
        let mut stream = accept(&listener, &acceptor).await.ok_or(io::ErrorKind::NotConnected)?;
        stream.read_exact(&mut [0; PREFACE_BYTES]).await?;
        stream.write_all(&frame(SETTINGS, 0, &[])).await?;
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            stream.read_exact(&mut vec![0; length as usize]).await?;
            // Headers or data that end the request.
            if matches!(head[3], 0 | 1) && head[4] & END_STREAM != 0 {
                break;
            }
        }
        stream.write_all(&frames).await?;
        stream.shutdown().await
    });
    (format!("https://localhost:{port}/"), serving)
}

#[tokio::test]
async fn a_request_that_was_written_is_never_told_as_unsent_however_its_http2_connection_ends() {
    const RST_STREAM: u8 = 3;
    const GOAWAY: u8 = 7;
    let authority = Authority::new("ours");
    let goaway = |last: u32, code: u32| frame(GOAWAY, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat());
    let reset = |code: u32| frame(RST_STREAM, 1, &code.to_be_bytes());
    for frames in [
        Vec::new(),
        // Worked on, by its word, and then gone in order, with a protocol error, with an internal error.
        goaway(1, 0),
        goaway(1, 1),
        goaway(1, 2),
        // Not looked at, by its word: that could be believed, and need not be.
        goaway(0, 0),
        reset(7),
        // Given up, for an error of its own or because it was called off.
        reset(2),
        reset(8),
    ] {
        let (url, serving) = ends_with(&authority, frames.clone()).await;
        let mut link = link(url, TlsOptions::new().ca_file(authority.file())).await;
        link.send(request(1)).await.expect("there is room");
        let failed = link.next().await;
        let unknown = matches!(&failed, Some(Ok(Inbound::Failed { id: 1, failure: Failure::BrokenOff(_) })));
        assert!(unknown, "{frames:?}: {failed:?}");
        link.close().await.expect("there is nothing to fail");
        // The client may have gone first.
        let _ = serving.await.expect("no panic");
    }
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_not_spoken_to() {
    let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    for tls in [TlsOptions::new(), TlsOptions::new().ca_file(ours.file())] {
        let (url, serving) = encrypted(&foreign, Clients::Any, Manner::Together(1)).await;
        let mut link = link(url, tls).await;
        link.send(request(1)).await.expect("there is room");
        let Some(Ok(Inbound::Leaving(error))) = link.next().await else { panic!("it was spoken to") };
        assert!(error.to_string().contains("certificate"), "{error}");
        serving.await.expect("the handshake failed there too");
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_is_shown_it_and_else_says_that_it_needs_one() {
    let ours = Authority::new("ours");
    let (cert, key) = ours.client();
    let tls = TlsOptions::new().ca_file(ours.file());
    for (tls, welcome) in [(tls.clone(), false), (tls.client_certificate(cert, key), true)] {
        let (url, serving) = encrypted(&ours, Clients::Certified, Manner::Together(1)).await;
        let mut link = link(url, tls).await;
        link.send(request(1)).await.expect("there is room");
        match link.next().await {
            Some(Ok(Inbound::Answer { .. })) if welcome => {}
            Some(Ok(Inbound::Failed { failure, .. })) if !welcome => {
                assert!(failure.to_string().contains("CertificateRequired"), "{failure}");
            }
            other => panic!("{other:?}"),
        }
        link.close().await.expect("there is nothing to fail");
        serving.await.expect("it ended");
    }
}

#[tokio::test]
async fn a_certificate_that_was_renewed_is_shown_by_the_next_connection() {
    let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    let acceptor = ours.acceptor(Clients::Certified, &[]);
    let (listener, address) = listener().await;
    let port = address.rsplit_once(':').expect("a port").1.to_owned();
    let serving = tokio::spawn(async move {
        assert!(accept(&listener, &acceptor).await.is_none(), "nobody vouches for it");
        let stream = accept(&listener, &acceptor).await.expect("it was renewed");
        let service = service_fn(|_: http::Request<hyper::body::Incoming>| async {
            let body = http_body_util::Full::new(bytes::Bytes::from_static(b"{}"));
            http::Response::builder().header("content-type", "application/json").body(body)
        });
        let _ =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    });
    let (cert, key) = foreign.client();
    let tls = TlsOptions::new().ca_file(ours.file()).client_certificate(&cert, &key);
    let options = HttpOptions { tls, ..HttpOptions::new(format!("https://localhost:{port}/")) };
    let connector = HttpConnector::new(options).expect("right options");
    for welcome in [false, true] {
        let mut link = connector.connect().await.expect("it reaches out later");
        link.send(request(1)).await.expect("there is room");
        let heard = link.next().await;
        assert_eq!(matches!(heard, Some(Ok(Inbound::Answer { .. }))), welcome, "{heard:?}");
        link.close().await.expect("there is nothing to fail");
        let (renewed_cert, renewed_key) = ours.client();
        std::fs::copy(renewed_cert, &cert).expect("it is written");
        std::fs::copy(renewed_key, &key).expect("it is written");
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(60)).await;
        tokio::time::resume();
    }
    serving.await.expect("it was told what it waited for");
}

/// A server that answers the request 2 when the stream of what it says unasked was asked for, and after that nothing. Gives its
/// address, and what it was asked, in order.
async fn held_up_by_its_stream() -> (String, mpsc::Receiver<String>, JoinHandle<()>) {
    let (listener, address) = listener().await;
    let (asked, told) = mpsc::channel(64);
    let listened = watch::Sender::new(false);
    let serving = tokio::spawn(async move {
        let mut guests = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (asked, listened) = (asked.clone(), listened.clone());
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let (asked, listened) = (asked.clone(), listened.clone());
                async move {
                    let listens = request.method() == http::Method::GET;
                    let body = request.into_body().collect().await.expect("a whole request").to_bytes();
                    let body = String::from_utf8(body.to_vec()).expect("JSON");
                    // The test may be over.
                    let _ = asked.try_send(if listens { "stream".to_owned() } else { body.clone() });
                    if listens {
                        listened.send_replace(true);
                        std::future::pending::<()>().await;
                    }
                    match body.as_str() {
                        "1" => {}
                        "2" => drop(listened.subscribe().wait_for(|listened| *listened).await),
                        "notice" => {}
                        _ => std::future::pending().await,
                    }
                    let answer = http_body_util::Full::new(bytes::Bytes::from_static(b"{}"));
                    http::Response::builder().header("content-type", "application/json").body(answer)
                }
            });
            let http1 = hyper::server::conn::http1::Builder::new();
            guests.spawn(http1.serve_connection(TokioIo::new(stream), service));
        }
    });
    (format!("http://{address}"), told, serving)
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_what_was_asked_before_the_stream_does_not_hide_that_the_stream_holds_up_the_rest() {
    let (url, mut asked, serving) = held_up_by_its_stream().await;
    let mut link = link(url, TlsOptions::new()).await;
    link.agreed("2025-11-25");
    let numbered =
        |id: u64| Outbound::Request { id, head: Head::of("tools/list"), frame: id.to_string().into() };
    link.send(Outbound::Notice("notice".into())).await.expect("the end of the handshake is taken");
    for id in [1, 2] {
        link.send(numbered(id)).await.expect("there is room");
    }
    for id in [1, 2] {
        let answer = link.next().await;
        assert!(matches!(answer, Some(Ok(Inbound::Answer { id: of, .. })) if of == id), "{answer:?}");
    }
    link.send(numbered(3)).await.expect("there is room");
    let pinged = async { while !asked.recv().await.expect("it serves").contains("ping") {} };
    tokio::select! {
        () = pinged => {}
        heard = link.next() => panic!("{heard:?}"),
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("the stream was taken for harmless"),
    }
    serving.abort();
}
