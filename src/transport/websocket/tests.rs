use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{Request as Upgrade, Response as Accepted};

use super::*;
use crate::net::tls::tests::{Authority, Clients, accept as accept_tls};
use crate::token::Token;
use crate::transport::tokens::tests::tokens;

const SECRET: &str = "s3cr3t";

fn options(url: &str) -> WebSocketOptions {
    WebSocketOptions { message_bytes_max: 1 << 20, ..WebSocketOptions::new(url) }
}

fn connector(url: &str) -> WebSocketConnector {
    WebSocketConnector::new(options(url)).expect("the options are right")
}

fn wrong(options: WebSocketOptions) -> String {
    let error = WebSocketConnector::new(options).expect_err("the options are wrong");
    assert!(matches!(error, DialError::InvalidEndpoint { .. } | DialError::InvalidHeader { .. }), "{error}");
    error.to_string()
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    (listener, address.to_string())
}

/// A server that answers the first bytes of its one guest with `answer` and goes.
async fn answering(answer: &'static [u8]) -> String {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        let (mut guest, _) = listener.accept().await?;
        guest.read_u8().await?;
        guest.write_all(answer).await?;
        guest.shutdown().await?;
        // What the guest still has to say is read, else the answer may be lost to a reset.
        guest.read_to_end(&mut Vec::new()).await
    });
    address
}

/// Accepts one guest; gives its request headers and its socket.
// The signature is tungstenite's; its large error type is not ours to change.
#[allow(clippy::result_large_err)]
async fn accept(
    listener: &TcpListener,
    subprotocol: bool,
) -> Result<(http::HeaderMap, WebSocketStream<TcpStream>), WsError> {
    let (guest, _) = listener.accept().await?;
    let mut seen = http::HeaderMap::new();
    let socket = accept_hdr_async(guest, |request: &Upgrade, mut response: Accepted| {
        seen = request.headers().clone();
        if subprotocol {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        }
        Ok(response)
    })
    .await?;
    Ok((seen, socket))
}

async fn failed(connector: &WebSocketConnector) -> DialError {
    match connector.connect().await {
        Ok(_) => panic!("the dial succeeded"),
        Err(error) => error,
    }
}

#[test]
fn a_wrong_url_is_named_without_what_it_hides() {
    let cases = [
        ("http://h/mcp?token=s3cr3t", "does not begin with ws:// or wss://"),
        ("files.example.com", "does not begin with ws:// or wss://"),
        ("ws://user:s3cr3t@h/", "carries user info"),
        ("ws://h ost/?s3cr3t", "invalid"),
        ("", "empty"),
    ];
    for (url, reason) in cases {
        let told = wrong(options(url));
        assert!(told.contains(reason), "{url}: {told}");
        assert!(!told.contains(SECRET), "{told}");
    }
}

#[test]
fn a_header_that_is_malformed_or_the_handshakes_own_is_named_without_its_value() {
    let cases = [
        ("no header", SECRET, "no header name"),
        ("Sec-WebSocket-Key", SECRET, "set by the handshake itself"),
        ("authorization", "s3cr3t\n", "forbidden characters"),
    ];
    for (name, value, reason) in cases {
        let headers = vec![(name.to_owned(), value.into())];
        let told = wrong(WebSocketOptions { headers, ..options("ws://h/") });
        assert!(told.contains(reason), "{told}");
        assert!(!told.contains(SECRET), "{told}");
    }
}

#[test]
fn nothing_secret_is_shown() {
    let headers = vec![("authorization".to_owned(), SECRET.into())];
    let options = WebSocketOptions { headers, ..options("ws://h:1/mcp?token=s3cr3t") };
    assert!(!format!("{options:?}").contains(SECRET));
    let connector = WebSocketConnector::new(options).expect("the options are right");
    assert!(!format!("{connector:?}").contains(SECRET));
    assert_eq!(connector.endpoint(), "ws://h:1/mcp");
}

#[tokio::test]
async fn each_way_to_be_turned_away_is_told_apart() {
    let (listener, address) = listener().await;
    drop(listener);
    let refused = failed(&connector(&format!("ws://{address}"))).await;
    assert!(
        matches!(&refused, DialError::Io(e) if e.kind() == io::ErrorKind::ConnectionRefused),
        "{refused}"
    );

    let address = answering(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await;
    let rejected = failed(&connector(&format!("ws://{address}"))).await;
    assert!(matches!(rejected, DialError::Rejected { status: 503, retry_after: None }), "{rejected}");

    let address = answering(b"HTTP/1.1 429 Slow\r\nretry-after: 30\r\ncontent-length: 0\r\n\r\n").await;
    let rejected = failed(&connector(&format!("ws://{address}"))).await;
    let half_a_minute = Some(Duration::from_secs(30));
    assert!(
        matches!(rejected, DialError::Rejected { status: 429, retry_after } if retry_after == half_a_minute),
        "{rejected}"
    );

    let address = answering(b"220 mail.example.com ready\r\n\r\n").await;
    let stranger = failed(&connector(&format!("ws://{address}"))).await;
    assert!(matches!(stranger, DialError::Handshake(_)), "{stranger}");

    let address = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let plain = failed(&connector(&format!("wss://{address}"))).await;
    assert!(matches!(plain, DialError::Tls(_)), "{plain}");
}

#[tokio::test]
async fn headers_and_the_subprotocol_reach_the_server() {
    let (listener, address) = listener().await;
    let headers = vec![("Authorization".to_owned(), "Bearer t".into())];
    let connector =
        WebSocketConnector::new(WebSocketOptions { headers, ..options(&format!("ws://{address}/mcp")) });
    let connector = connector.expect("the options are right");
    let (dialled, accepted) = tokio::join!(connector.connect(), accept(&listener, true));
    dialled.expect("it is open");
    let (seen, _) = accepted.expect("it is open");
    assert_eq!(seen["authorization"], "Bearer t");
    assert_eq!(seen[SEC_WEBSOCKET_PROTOCOL], "mcp");
}

#[tokio::test]
async fn a_server_without_subprotocols_is_dialled_twice_once() {
    let (listener, address) = listener().await;
    let connector = connector(&format!("ws://{address}"));
    let offers = async {
        let mut offers = Vec::new();
        for _ in 0..3 {
            // The client leaves the first in the middle, since nothing was chosen of what it offered.
            if let Ok((seen, _)) = accept(&listener, false).await {
                offers.push(seen.contains_key(SEC_WEBSOCKET_PROTOCOL));
            }
        }
        offers
    };
    let dials = async {
        connector.connect().await.expect("the second dial succeeds");
        connector.connect().await.expect("the third dial succeeds");
    };
    let (offers, ()) = tokio::join!(offers, dials);
    assert_eq!(offers, [true, false, false]);
}

#[tokio::test]
async fn a_binary_frame_ends_the_link_with_code_1003() {
    let (listener, address) = listener().await;
    let connector = connector(&format!("ws://{address}"));
    let (dialled, accepted) = tokio::join!(connector.connect(), accept(&listener, true));
    let (mut link, (_, mut peer)) = (dialled.expect("it is open"), accepted.expect("it is open"));
    peer.send(Message::Binary(Bytes::from_static(b"{}"))).await.expect("it is open");
    let ended = link.next().await.expect("a word").expect_err("a binary frame is no message");
    assert!(matches!(ended, LinkError::Protocol(_)), "{ended}");
    let Some(Ok(Message::Close(Some(frame)))) = peer.next().await else { panic!("no goodbye") };
    assert_eq!(frame.code, CloseCode::Unsupported);
}

#[tokio::test]
async fn a_message_over_the_limit_is_told_with_the_limit() {
    let (listener, address) = listener().await;
    let connector = WebSocketConnector::new(WebSocketOptions {
        message_bytes_max: 100,
        ..options(&format!("ws://{address}"))
    });
    let connector = connector.expect("the options are right");
    let (dialled, accepted) = tokio::join!(connector.connect(), accept(&listener, true));
    let (mut link, (_, mut peer)) = (dialled.expect("it is open"), accepted.expect("it is open"));
    peer.send(Message::text("x".repeat(101))).await.expect("it is open");
    let ended = link.next().await.expect("a word").expect_err("it is too large");
    assert!(matches!(ended, LinkError::TooLarge { limit: 100 }), "{ended}");
}

#[tokio::test]
async fn a_goodbye_keeps_its_code_and_a_link_that_breaks_has_none() {
    let (listener, address) = listener().await;
    let connector = connector(&format!("ws://{address}"));
    for polite in [true, false] {
        let (dialled, accepted) = tokio::join!(connector.connect(), accept(&listener, true));
        let (mut link, (_, mut peer)) = (dialled.expect("it is open"), accepted.expect("it is open"));
        if polite {
            let frame =
                CloseFrame { code: CloseCode::Restart, reason: Utf8Bytes::from_static("new version") };
            peer.close(Some(frame)).await.expect("it is open");
        } else {
            drop(peer);
        }
        let ended = link.next().await.expect("a word").expect_err("it is over");
        match ended {
            LinkError::Closed { code: Some(1012), reason } if polite => assert_eq!(reason, "new version"),
            LinkError::Broken(_) if !polite => {}
            other => panic!("{other}"),
        }
    }
}

/// How a dial ends at a server of `authority` that asks for a certificate or not.
async fn dialled(authority: &Authority, clients: Clients, tls: TlsOptions) -> Result<(), DialError> {
    let (listener, address) = listener().await;
    let port = address.rsplit_once(':').expect("a port").1;
    let connector =
        WebSocketConnector::new(WebSocketOptions { tls, ..options(&format!("wss://localhost:{port}")) })
            .expect("the options are right");
    let acceptor = authority.acceptor(clients, &[]);
    let serving = async {
        let session = accept_tls(&listener, &acceptor).await?;
        // The signature is tungstenite's; its large error type is not ours to change.
        #[allow(clippy::result_large_err)]
        let echo = |_: &Upgrade, mut response: Accepted| {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
            Ok(response)
        };
        accept_hdr_async(session, echo).await.ok()
    };
    let (dialled, _) = tokio::join!(connector.connect(), serving);
    dialled.map(|_| ())
}

#[tokio::test]
async fn a_private_authority_vouches_for_its_own_servers_alone() {
    let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    let trusting = || TlsOptions::new().ca_file(ours.file());
    dialled(&ours, Clients::Any, trusting()).await.expect("the authority vouches for it");
    for (server, tls) in [(&foreign, trusting()), (&ours, TlsOptions::new())] {
        let refused = dialled(server, Clients::Any, tls).await.expect_err("nobody vouches for it");
        assert!(matches!(&refused, DialError::Tls(words) if words.contains("UnknownIssuer")), "{refused}");
    }
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_is_shown_it_and_else_says_that_it_needs_one() {
    let ours = Authority::new("ours");
    let (cert, key) = ours.client();
    let tls = TlsOptions::new().ca_file(ours.file());
    let refused = dialled(&ours, Clients::Certified, tls.clone()).await.expect_err("no certificate");
    assert!(matches!(&refused, DialError::Tls(words) if words.contains("CertificateRequired")), "{refused}");
    let tls = tls.client_certificate(cert, key);
    dialled(&ours, Clients::Certified, tls).await.expect("it was shown the certificate");
}

#[tokio::test]
async fn files_for_tls_are_read_when_it_connects_and_told_by_their_names() {
    let tls = TlsOptions::new().ca_file("/nowhere/ca.pem");
    let options = WebSocketOptions { tls, ..options("wss://localhost:1") };
    let connector = WebSocketConnector::new(options).expect("no file is read yet");
    let Err(refused) = connector.connect().await else { panic!("it connected") };
    assert!(refused.to_string().contains("/nowhere/ca.pem"), "{refused}");
}

#[tokio::test]
async fn an_upgrade_that_is_refused_for_its_token_is_asked_for_once_more_with_another() {
    for (status, refusals) in [("401 Unauthorized", 1), ("403 Forbidden", 1), ("401 Unauthorized", 2)] {
        let (listener, address) = listener().await;
        let (tokens, mut provider) = tokens();
        let connector = connector(&format!("ws://{address}")).with_tokens(Some(tokens));
        let server = async {
            let mut shown = Vec::new();
            for _ in 0..refusals {
                let (mut guest, _) = listener.accept().await?;
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(guest.read_u8().await?);
                }
                let head = String::from_utf8_lossy(&head).to_lowercase();
                shown.extend(head.lines().find(|line| line.starts_with("authorization")).map(str::to_owned));
                guest.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await?;
                guest.shutdown().await?;
            }
            if refusals == 1 {
                let (seen, _) = accept(&listener, true).await.expect("it is open");
                assert_eq!(seen["authorization"], "Bearer 2");
            }
            io::Result::Ok(shown)
        };
        let giving = async {
            provider.give(Token::new("1")).await;
            provider.give(Token::new("2")).await;
        };
        let (dialled, shown, ()) = tokio::join!(connector.connect(), server, giving);
        let shown = shown.expect("no guest breaks off");
        assert_eq!(shown, ["authorization: bearer 1", "authorization: bearer 2"][..refusals]);
        match dialled {
            Ok(_) => assert_eq!(refusals, 1),
            Err(error) => assert!(matches!(error, DialError::Rejected { status: 401, .. }), "{error}"),
        }
        assert!(provider.idle());
    }
}
