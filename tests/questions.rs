//! What servers ask the host, in both eras: who answers, what is declared, and what becomes of a handler that fails.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{echo, end, kind, ready};
use mcp_troupe::question::Root;
use mcp_troupe::testkit::{Script, ScriptedBuilder, ScriptedEra, ScriptedServer, Step, pair};
use mcp_troupe::{
    Call, CallErrorKind, ElicitResult, EraChoice, Readiness, RpcError, Server, ServerRequest, Troupe,
    TroupeBuilder,
};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

const FORM: &str = r#"{"message":"Who?","requestedSchema":{"type":"object","properties":{"name":{"type":"string","default":"Ada"}}}}"#;

fn asking(method: &str, params: &str) -> Script {
    Script::Ask { method: method.into(), params: params.into() }
}

fn legacy() -> ScriptedBuilder {
    ScriptedServer::builder().era(ScriptedEra::Legacy).tool("echo", Script::Echo)
}

/// The requests of a result that asks for a form, a completion and folders.
fn requests() -> String {
    format!(
        r#"{{"who":{{"method":"elicitation/create","params":{FORM}}},"what":{{"method":"sampling/createMessage","params":{{"messages":[]}}}},"where":{{"method":"roots/list"}}}}"#
    )
}

async fn accept(question: ServerRequest) -> Result<ElicitResult, RpcError> {
    let mut content = question.defaults();
    content.insert("asked by".into(), question.server.as_str().into());
    Ok(ElicitResult::Accept(Some(content)))
}

/// A host that answers everything.
fn host() -> TroupeBuilder {
    Troupe::builder()
        .on_elicitation(accept)
        .on_sampling(|_| async {
            Ok(json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "hello"}}))
        })
        .on_roots(|_| async { Ok(vec![Root { uri: "file:///work".into(), name: None }]) })
}

async fn playing(builder: TroupeBuilder, servers: impl IntoIterator<Item = Server>) -> Troupe {
    let troupe = servers.into_iter().fold(builder, TroupeBuilder::server).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    troupe
}

async fn answered(troupe: &Troupe, call: Call) -> Value {
    troupe.call(call).await.unwrap().structured().unwrap()
}

#[tokio::test]
async fn a_legacy_server_that_asks_in_the_middle_of_a_call_is_answered_over_a_socket_and_over_http() {
    let script = || {
        legacy().tool("form", asking("elicitation/create", FORM)).tool("folders", asking("roots/list", "{}"))
    };
    let (socket, http) = (script().start().await, script().http_events().sessions().start().await);
    let servers = [Server::websocket("socket", socket.url()), Server::http("http", http.url())];
    let troupe = playing(host(), servers).await;
    for server in ["socket", "http"] {
        let form = answered(&troupe, Call::tool(format!("{server}/form"))).await;
        let content = json!({"name": "Ada", "asked by": server});
        assert_eq!(form, json!({"result": {"action": "accept", "content": content}}));
        let folders = answered(&troupe, Call::tool(format!("{server}/folders"))).await;
        assert_eq!(folders, json!({"result": {"roots": [{"uri": "file:///work"}]}}));
    }
    let declared = json!({"elicitation": {"form": {}}, "sampling": {}, "roots": {}});
    assert_eq!(socket.observed().declared, Some(declared));
    end(troupe).await;
}

#[tokio::test]
async fn a_modern_result_that_asks_is_answered_and_the_call_made_again_on_the_same_server() {
    let ask = Script::AskBack { requests: requests(), state: Some(r#""b3BhcXVl\u002b""#.into()) };
    let script = || ScriptedServer::builder().tool("ask", ask.clone());
    let (one, two) = (script().start().await, script().http().start().await);
    let servers = [Server::websocket("one", one.url()).group("g"), Server::http("two", two.url()).group("g")];
    let troupe = playing(host().strategy("round-robin"), servers).await;
    for _ in 0..4 {
        let reply = troupe.call(Call::tool("ask")).await.unwrap();
        let said: Value = reply.structured().unwrap();
        assert_eq!(reply.attempts, 2);
        assert_eq!(said["state"], "b3BhcXVl+");
        let who = &said["responses"]["who"]["content"];
        assert_eq!(who, &json!({"name": "Ada", "asked by": reply.server.as_str()}));
        assert_eq!(said["responses"]["what"]["content"]["text"], "hello");
        assert_eq!(said["responses"]["where"]["roots"][0]["uri"], "file:///work");
    }
    assert_eq!((one.observed().calls["ask"], two.observed().calls["ask"]), (4, 4));
    end(troupe).await;
}

#[tokio::test]
async fn without_handlers_nothing_is_declared_and_the_question_is_the_hosts_to_answer() {
    let modern = ScriptedServer::builder()
        .tool("ask", Script::AskBack { requests: requests(), state: Some("17".into()) })
        .start()
        .await;
    let old = legacy().tool("form", asking("elicitation/create", FORM)).start().await;
    let troupe =
        ready([Server::websocket("modern", modern.url()), Server::websocket("old", old.url())]).await;
    assert_eq!(modern.observed().declared, Some(json!({})));
    assert_eq!(answered(&troupe, Call::tool("form")).await["error"]["code"], -32601);

    let asked = troupe.call(Call::tool("ask")).await.unwrap().input_required().unwrap();
    assert_eq!(asked.requests.keys().collect::<Vec<_>>(), ["what", "where", "who"]);
    let call = Call::tool("ask").input(json!({"who": {"action": "decline"}}), asked.state);
    let said = answered(&troupe, call).await;
    assert_eq!(said, json!({"responses": {"who": {"action": "decline"}}, "state": 17}));
    end(troupe).await;
}

#[tokio::test]
async fn a_question_that_only_some_handlers_know_goes_to_the_host_whole() {
    let server = ScriptedServer::builder()
        .tool("ask", Script::AskBack { requests: requests(), state: None })
        .start()
        .await;
    let builder = Troupe::builder().on_elicitation(accept);
    let troupe = playing(builder, [Server::websocket("s", server.url())]).await;
    let reply = troupe.call(Call::tool("ask")).await.unwrap();
    assert_eq!(reply.input_required().map(|asked| asked.requests.len()), Some(3));
    end(troupe).await;
}

#[tokio::test]
async fn a_server_that_never_stops_asking_is_given_up_after_so_many_rounds() {
    let endless = r#"{"resultType":"input_required","requestState":"again"}"#;
    let server = ScriptedServer::builder().tool("ask", Script::Reply(endless.into())).start().await;
    let troupe = playing(host(), [Server::websocket("s", server.url())]).await;
    let error = troupe.call(Call::tool("ask")).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::Unanswered { .. }), "{error}");
    assert_eq!(server.observed().calls["ask"], 9, "the first call, and eight rounds");
    end(troupe).await;
}

#[tokio::test]
async fn a_handler_that_panics_or_hangs_is_the_asking_servers_error_and_nobody_elses() {
    let server = legacy()
        .tool("form", asking("elicitation/create", FORM))
        .tool("think", asking("sampling/createMessage", "{}"))
        .start()
        .await;
    let builder = Troupe::builder()
        .on_elicitation(|_| async { panic!("the host's fault") })
        .on_sampling(|_| std::future::pending::<Result<Value, RpcError>>());
    let troupe = playing(builder, [Server::websocket("s", server.url())]).await;
    let hanging = tokio::spawn(troupe.call(Call::tool("think").timeout(Duration::from_secs(600))));
    server.wait_for(|observed| observed.questions == 1).await;
    assert_eq!(answered(&troupe, Call::tool("form")).await["error"]["code"], -32603);
    for _ in 0..100 {
        troupe.call(echo()).await.unwrap();
    }
    hanging.abort();
    end(troupe).await;
}

#[tokio::test]
async fn a_modern_call_whose_handler_fails_is_an_error_that_says_so() {
    let server = ScriptedServer::builder()
        .tool("ask", Script::AskBack { requests: requests(), state: None })
        .start()
        .await;
    let builder = host().on_sampling(|_| async {
        Err::<Value, _>(RpcError { code: -1, message: "the user said no".into(), data: None })
    });
    let troupe = playing(builder, [Server::websocket("s", server.url())]).await;
    let kind = kind(troupe.call(Call::tool("ask")).await);
    assert_eq!(kind, CallErrorKind::Unanswered { reason: "the user said no".into() });
    end(troupe).await;
}

#[tokio::test]
async fn a_question_that_is_taken_back_is_no_longer_worked_on() {
    let params = FORM.to_owned();
    let ask = Script::AskAndTakeBack { method: "elicitation/create".into(), params };
    let server = legacy().tool("ask", ask).start().await;
    let (gone, mut left) = mpsc::channel::<()>(1);
    let never = Arc::new(Notify::new());
    let builder = Troupe::builder().on_elicitation(move |_| {
        let (gone, never) = (gone.clone(), never.clone());
        async move {
            let _dropped_with_the_task = gone;
            never.notified().await;
            Ok(ElicitResult::Cancel)
        }
    });
    let troupe = playing(builder, [Server::websocket("s", server.url())]).await;
    troupe.call(Call::tool("ask")).await.unwrap();
    end(troupe).await;
    assert_eq!(left.recv().await, None, "every handler is gone");
    assert!(server.observed().answers.is_empty(), "nobody answers what was taken back");
}

/// A server of a single thread: it asks, writes a large message, and reads the answers only then.
#[cfg(all(unix, feature = "stdio"))]
const WRITES_BEFORE_IT_READS: &str = r#"
    $| = 1;
    while (my $line = <STDIN>) {
        my ($id) = $line =~ /"id":(\d+)/;
        next unless defined $id;
        if ($line =~ /"initialize"/) {
            print qq({"jsonrpc":"2.0","id":$id,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"s","version":"1"}}}\n);
        } elsif ($line =~ m{"tools/list"}) {
            print qq({"jsonrpc":"2.0","id":$id,"result":{"tools":[{"name":"t"}]}}\n);
        } elsif ($line =~ m{"tools/call"}) {
            print qq({"jsonrpc":"2.0","id":$_,"method":"sampling/createMessage","params":{"messages":[]}}\n) for 900, 901;
            # Part of an answer is here: the host's end has begun to write.
            my $ready = ""; vec($ready, fileno(STDIN), 1) = 1;
            select($ready, undef, undef, undef);
            print qq({"jsonrpc":"2.0","method":"notifications/x","params":{"x":") . ("x" x 4000000) . qq("}}\n);
            my $one = <STDIN>; my $two = <STDIN>;
            my $bytes = length($one) + length($two);
            print qq({"jsonrpc":"2.0","id":$id,"result":{"content":[],"structuredContent":$bytes}}\n);
        } else {
            print qq({"jsonrpc":"2.0","id":$id,"error":{"code":-32601,"message":"no such method"}}\n);
        }
    }"#;

#[cfg(all(unix, feature = "stdio"))]
#[tokio::test]
async fn large_answers_of_the_host_hold_up_no_server_that_writes_before_it_reads() {
    const LARGE: usize = 3 << 20;
    let text = "y".repeat(LARGE);
    let builder =
        Troupe::builder().on_sampling(move |_| {
            let text = text.clone();
            async move {
                Ok(json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": text}}))
            }
        });
    let troupe = playing(builder, [Server::stdio("s", "perl", ["-e", WRITES_BEFORE_IT_READS])]).await;
    let bytes: usize = troupe.call(Call::tool("t")).await.unwrap().structured().unwrap();
    assert!(bytes > 2 * LARGE, "{bytes}");
    end(troupe).await;
}

#[tokio::test]
async fn a_small_question_in_a_large_frame_does_not_hold_the_frame_while_the_host_thinks() {
    let (link, mut listener) = pair(8);
    let (sent, mut frames) = mpsc::channel(8);
    let playing = tokio::spawn(async move {
        let mut peer = listener.accept().await.unwrap();
        while let Some(frame) = peer.recv().await {
            let message: Value = serde_json::from_slice(&frame).unwrap();
            let Some(id) = message["id"].as_u64() else { continue };
            let result = match message["method"].as_str().unwrap() {
                "server/discover" => {
                    json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}})
                }
                "tools/list" => json!({"tools": [{"name": "ask"}]}),
                _ if message["params"]["inputResponses"].is_object() => json!({"content": []}),
                _ => {
                    let requests =
                        json!({"who": {"method": "elicitation/create", "params": {"message": "Who?"}}});
                    let result = json!({"resultType": "input_required", "inputRequests": requests,
                        "requestState": "17"});
                    let large =
                        json!({"method": "notifications/large", "params": {"x": "x".repeat(1 << 20)}});
                    let frame = Bytes::from(json!([{"id": id, "result": result}, large]).to_string());
                    peer.send(frame.clone()).await;
                    sent.try_send(frame).unwrap();
                    continue;
                }
            };
            peer.send(json!({"id": id, "result": result}).to_string()).await;
        }
    });
    let (asked, think) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (asks, thinks) = (asked.clone(), think.clone());
    let host = Troupe::builder().on_elicitation(move |question| {
        let (asks, thinks) = (asks.clone(), thinks.clone());
        async move {
            asks.notify_one();
            thinks.notified().await;
            accept(question).await
        }
    });
    let troupe = host.server_via(Server::custom("s"), link).start().await.unwrap();
    troupe.ready(Readiness::All).await.unwrap();
    let call = tokio::spawn(troupe.call(Call::tool("ask")));
    asked.notified().await;
    let frame = frames.recv().await.unwrap();
    for looks in 0.. {
        if frame.is_unique() {
            break;
        }
        assert!(looks < 10_000, "a mebibyte is held for a question of a few bytes");
        tokio::task::yield_now().await;
    }
    think.notify_one();
    call.await.unwrap().unwrap();
    end(troupe).await;
    playing.abort();
}

#[tokio::test]
async fn a_call_whose_server_dies_between_two_rounds_is_not_told_as_never_sent() {
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let result = format!(
        r#"{{"resultType":"input_required","requestState":"s","inputRequests":{{"who":{{"method":"elicitation/create","params":{FORM}}}}}}}"#
    );
    let mut server = ScriptedServer::builder().tool("ask", Script::Reply(result)).start().await;
    let (says, waits) = (asked.clone(), go.clone());
    let builder = Troupe::builder().on_elicitation(move |question| {
        let (says, waits) = (says.clone(), waits.clone());
        async move {
            says.notify_one();
            waits.notified().await;
            accept(question).await
        }
    });
    let troupe = playing(builder, [Server::websocket("s", server.url())]).await;
    let call = tokio::spawn(troupe.call(Call::tool("ask").timeout(Duration::from_secs(8))));
    asked.notified().await;
    server.stop_listening().await;
    go.notify_one();
    let error = call.await.unwrap().unwrap_err();
    let calls = server.calls("ask");
    end(troupe).await;
    let told =
        format!("{error}; {:?}; retryable: {}; the server got {calls}", error.effect(), error.retryable());
    assert_eq!(calls, 1);
    assert_eq!(error.effect(), mcp_troupe::Effect::Unknown, "{told}");
}

/// Answers a form with the name of a user, and tells whom it was asked.
fn user(
    name: &'static str,
    asked: &mpsc::Sender<(&'static str, ServerRequest)>,
) -> impl Fn(ServerRequest) -> std::future::Ready<Result<ElicitResult, RpcError>> + Send + Sync + 'static {
    let asked = asked.clone();
    move |request| {
        asked.try_send((name, request)).unwrap();
        let content = json!({"name": name}).as_object().cloned();
        std::future::ready(Ok(ElicitResult::Accept(content)))
    }
}

#[tokio::test]
async fn over_http_each_user_is_asked_what_the_server_wants_for_their_own_call() {
    let script = legacy().tool("form", asking("elicitation/create", FORM));
    let server = script.http_events().sessions().start().await;
    let (asked, mut told) = mpsc::channel(8);
    let builder = Troupe::builder().on_elicitation(user("nobody's", &asked));
    let troupe = playing(builder, [Server::http("s", server.url())]).await;
    let call = |name| troupe.call(Call::tool("form").on_elicitation(user(name, &asked)));
    let answers = futures_util::future::join_all(["ada", "bob", "cyd"].map(call)).await;
    let mut expected: Vec<(String, String)> = Vec::new();
    for (name, answer) in ["ada", "bob", "cyd"].into_iter().zip(answers) {
        let reply = answer.unwrap();
        let said: Value = reply.structured().unwrap();
        assert_eq!(said["result"]["content"], json!({"name": name}));
        expected.push((name.to_owned(), reply.request_id.to_string()));
    }
    let mut seen = Vec::new();
    while let Ok((name, request)) = told.try_recv() {
        seen.push((name.to_owned(), request.call.expect("its call is certain").to_string()));
    }
    seen.sort();
    assert_eq!(seen, expected);
    end(troupe).await;
}

#[tokio::test]
async fn over_a_shared_socket_nobody_guesses_whose_call_it_is() {
    let server = legacy().tool("form", asking("elicitation/create", FORM)).start().await;
    let (asked, mut told) = mpsc::channel(8);
    let builder = Troupe::builder().on_elicitation(user("everybody's", &asked));
    let troupe = playing(builder, [Server::websocket("s", server.url())]).await;
    let said = answered(&troupe, Call::tool("form").on_elicitation(user("ada", &asked))).await;
    assert_eq!(said["result"]["content"], json!({"name": "everybody's"}));
    assert!(told.recv().await.unwrap().1.call.is_none());

    // A leased connection has no other user.
    let lease = troupe.lease("s").await.unwrap();
    let reply = lease.call(Call::tool("form").on_elicitation(user("ada", &asked))).await.unwrap();
    let said: Value = reply.structured().unwrap();
    assert_eq!(said["result"]["content"], json!({"name": "ada"}));
    let (name, request) = told.recv().await.unwrap();
    assert_eq!((name, request.call), ("ada", Some(reply.request_id)));
    drop(lease);
    end(troupe).await;
}

#[tokio::test]
async fn all_rounds_of_a_modern_call_ask_its_own_user_under_one_id() {
    let ask = Script::AskBack {
        requests: format!(r#"{{"who":{{"method":"elicitation/create","params":{FORM}}}}}"#),
        state: None,
    };
    let script = || ScriptedServer::builder().tool("ask", ask.clone());
    let (socket, http) = (script().start().await, script().http().start().await);
    let servers = [Server::websocket("socket", socket.url()), Server::http("http", http.url())];
    let (asked, mut told) = mpsc::channel(8);
    // Nobody answers for all calls.
    let troupe = playing(Troupe::builder(), servers).await;
    for server in ["socket", "http"] {
        let call = Call::tool(format!("{server}/ask")).on_elicitation(user("ada", &asked));
        let reply = troupe.call(call).await.unwrap();
        let said: Value = reply.structured().unwrap();
        assert_eq!(said["responses"]["who"]["content"], json!({"name": "ada"}));
        assert_eq!(told.recv().await.unwrap().1.call, Some(reply.request_id));
        // Without a handler it is the caller's to answer.
        let raw = troupe.call(Call::tool(format!("{server}/ask"))).await.unwrap();
        assert!(raw.input_required().is_some());
    }
    end(troupe).await;
}

#[tokio::test]
async fn a_call_whose_question_the_host_thinks_about_ends_with_the_troupe() {
    let ask = Script::AskBack {
        requests: format!(r#"{{"who":{{"method":"elicitation/create","params":{FORM}}}}}"#),
        state: None,
    };
    let server = ScriptedServer::builder().tool("ask", ask).start().await;
    let (asked, mut thinks) = mpsc::channel(1);
    let troupe = playing(Troupe::builder(), [Server::websocket("s", server.url())]).await;
    let call = Call::tool("ask").timeout(Duration::from_secs(3600)).on_elicitation(move |_| {
        let _ = asked.try_send(());
        std::future::pending::<Result<ElicitResult, RpcError>>()
    });
    let call = tokio::spawn(troupe.call(call));
    thinks.recv().await.unwrap();
    end(troupe).await;
    assert_eq!(call.await.unwrap().unwrap_err().kind(), &CallErrorKind::Closed);
}

#[tokio::test]
async fn a_modern_server_is_told_with_each_call_what_its_caller_can() {
    let server = ScriptedServer::builder().tool("meta", Script::Meta).start().await;
    let builder = Troupe::builder().on_roots(|_| async { Ok(Vec::new()) });
    let troupe = playing(builder, [Server::websocket("s", server.url())]).await;
    let declared = async |call: Call| {
        answered(&troupe, call).await["io.modelcontextprotocol/clientCapabilities"].clone()
    };
    assert_eq!(declared(Call::tool("meta")).await, json!({"roots": {}}));
    let own = Call::tool("meta").on_elicitation(accept);
    assert_eq!(declared(own.clone()).await, json!({"elicitation": {"form": {}}, "roots": {}}));
    let said = json!({"sampling": {"tools": {}}, "extensions": {"x.y/z": {}}});
    assert_eq!(declared(own.capabilities(&said)).await, said);
    // The next caller's are not touched by that.
    assert_eq!(declared(Call::tool("meta")).await, json!({"roots": {}}));

    // Keys of extensions are the host's; those that this client writes are written once.
    let meta =
        json!({"io.modelcontextprotocol/ui": 1, "io.modelcontextprotocol/clientCapabilities": {"all": {}}});
    let seen = answered(&troupe, Call::tool("meta").meta(meta)).await;
    assert_eq!(seen["io.modelcontextprotocol/ui"], 1);
    assert_eq!(seen["io.modelcontextprotocol/clientCapabilities"], json!({"roots": {}}));

    let wrong = kind(troupe.call(Call::tool("meta").capabilities([1])).await);
    let CallErrorKind::InvalidArguments { reason } = wrong else { panic!("{wrong:?}") };
    assert_eq!(reason, "the capabilities must be a JSON object, not [1]");
    end(troupe).await;
}

#[tokio::test]
async fn when_a_call_is_dropped_nobody_works_on_what_its_own_handler_was_asked() {
    let script = legacy().tool("form", asking("elicitation/create", FORM));
    let server = script.http_events().sessions().start().await;
    let builder = Troupe::builder().on_elicitation(accept);
    let troupe = playing(builder, [Server::http("s", server.url())]).await;
    let (begun, mut began) = mpsc::channel(8);
    let (gone, mut left) = mpsc::channel::<()>(1);
    let never = Arc::new(Notify::new());
    let call = troupe.call(Call::tool("form").on_elicitation(move |_| {
        let (begun, gone, never) = (begun.clone(), gone.clone(), never.clone());
        async move {
            let _dropped_with_the_task = gone;
            begun.try_send(()).unwrap();
            never.notified().await;
            Ok(ElicitResult::Cancel)
        }
    }));
    let mut call = Box::pin(call);
    tokio::select! {
        answer = &mut call => panic!("{answer:?}"),
        begun = began.recv() => begun.unwrap(),
    }
    drop(call);
    assert_eq!(left.recv().await, None, "the handler is gone with its call");
    end(troupe).await;
}

#[tokio::test]
async fn over_a_lease_a_late_form_of_a_call_that_was_given_up_is_not_shown_for_the_next_one() {
    let late = Script::Tell { steps: vec![Step::Hold], next: Box::new(asking("elicitation/create", FORM)) };
    let server = legacy().tool("late", late).tool("hold", Script::Silence).start().await;
    let (asked, mut told) = mpsc::channel(8);
    let builder = Troupe::builder().on_elicitation(user("everybody's", &asked));
    let troupe = playing(builder, [Server::websocket("s", server.url())]).await;
    let lease = troupe.lease("s").await.unwrap();
    let mut ada = Box::pin(lease.call(Call::tool("late").on_elicitation(user("ada", &asked))));
    tokio::select! {
        answer = &mut ada => panic!("{answer:?}"),
        _ = server.wait_for(|seen| seen.calls.contains_key("late")) => {}
    }
    drop(ada);
    let mut bob = Box::pin(lease.call(Call::tool("hold").on_elicitation(user("bob", &asked))));
    tokio::select! {
        answer = &mut bob => panic!("{answer:?}"),
        _ = server.wait_for(|seen| seen.calls.contains_key("hold")) => {}
    }
    server.release();
    let (name, request) = tokio::select! {
        answer = &mut bob => panic!("{answer:?}"),
        told = told.recv() => told.unwrap(),
    };
    assert_eq!((name, request.call), ("everybody's", None), "it was asked for ada's call");
    drop(bob);
    drop(lease);
    end(troupe).await;
}

#[tokio::test]
async fn over_a_lease_an_answer_that_cannot_be_read_leaves_the_next_call_its_own_questions() {
    let script = legacy().tool("hollow", Script::Hollow).tool("ask", asking("elicitation/create", FORM));
    let server = script.start().await;
    let (asked, mut told) = mpsc::channel(8);
    let builder = Troupe::builder().on_elicitation(user("everybody's", &asked));
    let troupe = playing(builder, [Server::websocket("s", server.url())]).await;
    let lease = troupe.lease("s").await.unwrap();
    let error = lease.call(Call::tool("hollow")).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::InvalidResponse { .. }), "{error}");
    lease.call(Call::tool("ask").on_elicitation(user("bob", &asked))).await.unwrap();
    assert_eq!(told.recv().await.unwrap().0, "bob");
    drop(lease);
    end(troupe).await;
}

/// A legacy server that answers each call with its result and a form in one batch, and gives the answers that it gets to `answers`.
async fn asks_when_it_is_over(listener: tokio::net::TcpListener, answers: mpsc::Sender<Value>) {
    use tokio::io::AsyncWriteExt;
    while let Ok((mut socket, _)) = listener.accept().await {
        let Some(asked) = request_of(&mut socket).await else { continue };
        let (id, none) = (&asked["id"], asked.is_null());
        let result = |result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result});
        let said = match asked["method"].as_str() {
            Some("initialize") => {
                result(json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}))
            }
            Some("tools/list") => result(json!({"tools": [{"name": "form"}]})),
            Some("tools/call") => {
                let params: Value = serde_json::from_str(FORM).unwrap();
                let form =
                    json!({"jsonrpc": "2.0", "id": "late", "method": "elicitation/create", "params": params});
                json!([result(json!({"content": []})), form])
            }
            Some(_) if !id.is_null() => {
                json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no"}})
            }
            None if !id.is_null() => {
                answers.send(asked.clone()).await.unwrap();
                Value::Null
            }
            Some(_) | None => Value::Null,
        };
        let (status, body) = match (none, said) {
            (true, _) => ("405 Method Not Allowed", String::new()),
            (false, Value::Null) => ("202 Accepted", String::new()),
            (false, said) => ("200 OK", said.to_string()),
        };
        let bytes = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {bytes}\r\nconnection: close\r\n\r\n"
        );
        let _ = socket.write_all((head + &body).as_bytes()).await;
    }
}

/// The JSON of an HTTP request; null where it has none. None if the peer leaves before.
async fn request_of(socket: &mut tokio::net::TcpStream) -> Option<Value> {
    use tokio::io::AsyncReadExt;
    let mut seen = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let read = socket.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        seen.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&seen);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(serde_json::from_str(body).unwrap_or_default());
        }
    }
}

#[tokio::test]
async fn what_is_asked_on_the_stream_of_a_call_that_is_over_is_shown_to_nobody() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (answers, mut answer) = mpsc::channel(8);
    let server = tokio::spawn(asks_when_it_is_over(listener, answers));
    let (asked, mut told) = mpsc::channel(8);
    let builder = Troupe::builder().on_elicitation(user("everybody's", &asked));
    let troupe = playing(builder, [Server::http("s", url).era(EraChoice::Legacy)]).await;
    troupe.call(Call::tool("form").on_elicitation(user("ada", &asked))).await.unwrap();
    let answer = answer.recv().await.unwrap();
    assert_eq!(answer["error"]["message"], "the call that this was asked for is over", "{answer}");
    assert!(told.try_recv().is_err(), "her call is over: nobody sees her form");
    end(troupe).await;
    server.abort();
}
