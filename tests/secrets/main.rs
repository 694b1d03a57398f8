//! What is secret is in no output: not in errors, events, figures, logs, nor in what the types show of themselves.
//!
//! | what | where |
//! | --- | --- |
//! | a troupe whose secrets are where they belong | here |
//! | secrets wherever people put them, right and wrong | `places`, `configurations` |

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
// With every source there is, since each has places for secrets.
#[cfg(all(feature = "consul", feature = "etcd"))]
mod configurations;
#[cfg(all(feature = "consul", feature = "etcd"))]
mod places;

use std::io;
use std::sync::mpsc;

use common::{child, echo, end, event};
use mcp_troupe::testkit::{Script, ScriptedServer};
use mcp_troupe::token::{Token, TokenError, TokenNeed, TokenProvider};
use mcp_troupe::transport::BoxFuture;
use mcp_troupe::{Call, Event, Readiness, Server, Troupe};
use tracing_subscriber::filter::LevelFilter;

const SECRET: &str = "s3cr3t";

/// Sends what is logged to the test.
struct Log(mpsc::Sender<Vec<u8>>);

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // The test may be over.
        let _ = self.0.send(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Giving;

impl TokenProvider for Giving {
    fn token(&self, _: TokenNeed) -> BoxFuture<'_, Result<Token, TokenError>> {
        Box::pin(async { Ok(Token::new(SECRET)) })
    }
}

#[tokio::test]
async fn what_is_secret_is_in_no_output() {
    let (log, logged) = mpsc::channel();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || Log(log.clone()))
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let websocket = ScriptedServer::builder().tool("echo", Script::Echo).start().await;
    let http = ScriptedServer::builder().http().tool("echo", Script::Echo).start().await;
    let refusing = ScriptedServer::builder().http().tool("refused", Script::Echo).start().await;
    let rejecting = ScriptedServer::builder().refuse_upgrade(401).start().await;
    let good = [
        Server::websocket("websocket", websocket.url()).bearer(SECRET).header("X-Key", SECRET),
        Server::http("http", http.url()).tokens(Giving),
        Server::http("refusing", refusing.url()).bearer(SECRET),
        child("stdio", []).env("TOKEN", SECRET),
    ];
    let ids = good.clone().map(|server| server.id().to_owned());
    let bad = [
        Server::websocket("rejecting", rejecting.url()).tokens(Giving),
        Server::websocket("gone", "ws://127.0.0.1:1").bearer(SECRET),
        Server::http("gone-http", "http://127.0.0.1:1").bearer(SECRET),
        Server::stdio("no-command", "no-such-command", [SECRET]).env("TOKEN", SECRET),
    ];
    let mut outputs = vec![format!("{good:?} {bad:#?}")];

    let builder = Troupe::builder();
    let builder = good.into_iter().chain(bad).fold(builder, |builder, server| builder.server(server));
    let troupe = builder.start().await.unwrap();
    let mut events = troupe.events();
    troupe.ready(Readiness::Named(ids.map(Into::into).to_vec())).await.unwrap();
    for tool in ["websocket/echo", "http/echo", "stdio/echo"] {
        troupe.call(Call::tool(tool)).await.unwrap();
    }
    refusing.refuse_with(401, &[("www-authenticate", "Bearer")]);
    for call in [Call::tool("refused"), Call::tool("no-command/x"), Call::tool("none"), echo()] {
        let error = troupe.call(call).await.unwrap_err();
        outputs.push(format!("{error} {error:?} {}", serde_json::to_string(&error).unwrap()));
    }
    outputs.push(format!("{:?} {:?}", troupe.servers(), troupe.stats().await));
    outputs.push(serde_json::to_string(&troupe.stats().await).unwrap());
    let clash = Server::http("clash", "http://h").bearer(SECRET).header("Authorization", SECRET);
    outputs.push(format!("{:?}", troupe.register(clash).await.unwrap_err()));
    let malformed = Server::http("malformed", "http://h").header("X-Key", format!("{SECRET}\n"));
    outputs.push(format!("{:?}", troupe.register(malformed).await.unwrap_err()));
    end(troupe).await;
    event(&mut events, |event| {
        outputs.push(format!("{event:?} {}", serde_json::to_string(event).unwrap()));
        matches!(event, Event::ShutdownCompleted { .. })
    })
    .await;
    let lines: Vec<u8> = logged.try_iter().flatten().collect();
    assert!(!lines.is_empty());
    outputs.push(String::from_utf8_lossy(&lines).into_owned());
    for output in outputs {
        assert!(!output.contains(SECRET), "{output}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_child_that_tells_its_token_is_told_without_it() {
    let (log, logged) = mpsc::channel();
    let subscriber = tracing_subscriber::fmt().with_writer(move || Log(log.clone())).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let telling = Server::stdio("telling", "sh", ["-c", "echo \"no such token: $TOKEN\" >&2; exit 3"]);
    let troupe = common::start([telling.env("TOKEN", "s3cr3t-token")]).await;
    let mut events = troupe.events();
    let told = event(&mut events, |event| format!("{event:?}").contains("no such token")).await;
    assert!(format!("{told:?}").contains("no such token: ***"), "{told:?}");
    let error = troupe.call(Call::tool("telling/x")).await.unwrap_err();
    end(troupe).await;
    let lines: Vec<u8> = logged.try_iter().flatten().collect();
    let outputs = format!("{told:?} {error} {error:?} {}", String::from_utf8_lossy(&lines));
    assert!(outputs.contains("no such token: ***") && !outputs.contains(SECRET), "{outputs}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_child_that_tells_its_token_shortened_in_base64_or_out_of_a_list_is_told_without_it() {
    let (log, logged) = mpsc::channel();
    let subscriber = tracing_subscriber::fmt().with_writer(move || Log(log.clone())).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let script = "echo \"short: ${TOKEN%????}...\" >&2; echo \"word: ${TOKEN%??} is bad\" >&2; \
                  echo \"basic: $(printf %s \"bob:$TOKEN\" | base64)\" >&2; echo \"one: ${TOKENS##*:}\" >&2; exit 3";
    let telling = Server::stdio("telling", "sh", ["-c", script]);
    let telling = telling.env("TOKEN", "s3cr3t-token-9Vab").env("TOKENS", "a:another-one,b:s3cr3t-one");
    let troupe = common::start([telling]).await;
    troupe.settled().await;
    let error = troupe.call(Call::tool("telling/x")).await.unwrap_err();
    let told = format!("{error} {error:?} {:?}", troupe.servers());
    end(troupe).await;
    let lines: Vec<u8> = logged.try_iter().flatten().collect();
    let told = told + &String::from_utf8_lossy(&lines);
    for masked in ["short: ***...", "word: *** is bad", "basic: Ym9iO***", "one: ***"] {
        assert!(told.contains(masked), "{masked}: {told}");
    }
    assert!(!told.contains(SECRET), "{told}");
}

/// The variable that the server below is handed by its name.
#[cfg(unix)]
const HANDED_ON: &str = "CARGO_PKG_DESCRIPTION";

#[cfg(unix)]
#[tokio::test]
async fn a_child_that_tells_its_variables_on_stdout_or_in_its_answers_is_told_without_them() {
    let (log, logged) = mpsc::channel();
    let subscriber = tracing_subscriber::fmt().with_writer(move || Log(log.clone())).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let handed_on = std::env::var(HANDED_ON).unwrap();
    let refuses = |message: &str| {
        let answer = format!(
            r#"while read line; do id=$(echo "$line" | sed 's/.*"id":\([0-9]*\).*/\1/'); \
            echo "{{\"jsonrpc\":\"2.0\",\"id\":$id,\"error\":{{\"code\":-32000,\"message\":\"{message}\"}}}}"; done"#
        );
        answer
    };
    let servers = [
        ("noise", "echo \"no such token: $TOKEN\"; echo \"and $CARGO_PKG_DESCRIPTION\"; sleep 9".to_owned()),
        ("refuses", refuses("the token $TOKEN is refused, and $CARGO_PKG_DESCRIPTION")),
        ("ends", "echo \"{\\\"$TOKEN\\\": 1}\"; exit 3".to_owned()),
    ];
    let servers =
        servers.map(|(id, script)| Server::stdio(id, "sh", ["-c", &script]).env("TOKEN", "s3cr3t-token"));
    let inherits = |settings: &mut mcp_troupe::Settings| {
        settings.inherit_env = mcp_troupe::config::InheritEnv::Names(vec![HANDED_ON.to_owned()]);
        settings.pool.handshake_timeout = Some(std::time::Duration::from_secs(2));
    };
    let troupe = common::start_with(inherits, servers).await;
    let mut events = troupe.events();
    let mut outputs = Vec::new();
    while troupe.servers().iter().filter(|info| info.reason.is_some() && info.starting.is_none()).count() < 3
    {
        outputs.push(format!("{:?}", event(&mut events, |_| true).await));
    }
    for server in ["noise", "refuses", "ends"] {
        let error = troupe.call(Call::tool(format!("{server}/x"))).await.unwrap_err();
        outputs.push(format!("{error} {error:?}"));
    }
    outputs.push(format!("{:?}", troupe.servers()));
    end(troupe).await;
    let lines: Vec<u8> = logged.try_iter().flatten().collect();
    outputs.push(String::from_utf8_lossy(&lines).into_owned());
    assert!(outputs.iter().any(|output| output.contains("the token *** is refused")), "{outputs:#?}");
    for output in outputs {
        assert!(!output.contains(SECRET) && !output.contains(&handed_on), "{output}");
    }
}

/// The token of a provider: long enough to be masked.
const LENT: &str = "lent-s3cr3t-token";

struct Lending;

impl TokenProvider for Lending {
    fn token(&self, _: TokenNeed) -> BoxFuture<'_, Result<Token, TokenError>> {
        Box::pin(async { Ok(Token::new(LENT)) })
    }
}

/// A server that says the token that it was shown, in place of what it was asked for.
async fn telling(text: impl Fn(&str) -> String + Send + Sync + 'static) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let text = std::sync::Arc::new(text);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let text = text.clone();
            tokio::spawn(async move {
                let mut read = Vec::new();
                let mut piece = [0; 4096];
                loop {
                    let n = stream.read(&mut piece).await.unwrap_or(0);
                    if n == 0 {
                        return;
                    }
                    read.extend_from_slice(&piece[..n]);
                    let all = String::from_utf8_lossy(&read).into_owned();
                    let Some((head, body)) = all.split_once("\r\n\r\n") else { continue };
                    let value = |name: &str| {
                        let line = head.lines().find(|line| line.to_lowercase().starts_with(name));
                        line.and_then(|line| line.split_once(": ")).map(|(_, value)| value.to_owned())
                    };
                    let length = value("content-length:").and_then(|n| n.parse().ok()).unwrap_or(0usize);
                    if body.len() < length {
                        continue;
                    }
                    let shown = value("authorization:").unwrap_or_default();
                    let asked: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
                    let answer = serde_json::json!({"jsonrpc": "2.0", "id": asked["id"], "error": {
                        "code": -32000, "message": text(&shown)}});
                    let answer = answer.to_string();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
                        answer.len()
                    );
                    let _ = stream.write_all(head.as_bytes()).await;
                    read.clear();
                }
            });
        }
    });
    url
}

async fn what_is_told(server: Server) -> String {
    let (log, logged) = mpsc::channel();
    let subscriber = tracing_subscriber::fmt().with_writer(move || Log(log.clone())).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let id = server.id().to_owned();
    let troupe = common::start([server]).await;
    troupe.settled().await;
    let error = troupe.call(Call::tool(format!("{id}/x"))).await.unwrap_err();
    let told = format!("{error} {error:?} {:?}", troupe.servers());
    end(troupe).await;
    let lines: Vec<u8> = logged.try_iter().flatten().collect();
    told + &String::from_utf8_lossy(&lines)
}

#[tokio::test]
async fn a_server_that_tells_its_fixed_bearer_is_told_without_it() {
    let url = telling(|shown| format!("no such token: {shown}")).await;
    let told = what_is_told(Server::http("s", url).bearer(LENT)).await;
    assert!(told.contains("no such token") && !told.contains(LENT), "{told}");
}

#[tokio::test]
async fn a_server_that_tells_a_providers_token_is_told_without_it() {
    let url = telling(|shown| format!("no such token: {shown}")).await;
    let told = what_is_told(Server::http("s", url).tokens(Lending)).await;
    assert!(told.contains("no such token") && !told.contains(LENT), "{told}");
}

#[tokio::test]
async fn of_a_refusal_that_is_cut_in_a_long_token_no_part_of_it_is_told() {
    // As long as tokens of large authorization servers are.
    let token: String = std::iter::repeat_n("Q7391S3CRET4602Z", 100).collect();
    let url = telling(|shown| format!("no such token: {shown}")).await;
    let told = what_is_told(Server::http("s", url).bearer(token)).await;
    assert!(!told.contains("Q7391S3CRET4602Z"), "{told}");
}

#[tokio::test]
async fn of_a_list_that_fails_and_is_cut_in_a_long_token_no_part_of_it_is_told() {
    let token: String = std::iter::repeat_n("Q7391S3CRET4602Z", 100).collect();
    let script = r#"while read line; do id=$(echo "$line" | sed 's/.*"id":\([0-9]*\).*/\1/');
        case "$line" in
        *initialize\"*) echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"x\",\"version\":\"1\"}}}";;
        *tools/list*) echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"error\":{\"code\":-32000,\"message\":\"no such token: $TOKEN\"}}";;
        *notifications*) ;;
        *) echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"error\":{\"code\":-32601,\"message\":\"no\"}}";;
        esac; done"#;
    let told = what_is_told(Server::stdio("s", "sh", ["-c", script]).env("TOKEN", token)).await;
    assert!(told.contains("no such token"), "{told}");
    assert!(!told.contains("Q7391S3CRET4602Z"), "{told}");
}
