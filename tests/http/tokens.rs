//! Tokens that a host gives: on every request, renewed when the server refuses one, and never shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mcp_troupe::token::{Token, TokenError, TokenNeed, TokenProvider};
use mcp_troupe::transport::BoxFuture;
use mcp_troupe::{Call, CallErrorKind, Event, RefusalKind, Server, Troupe};
use serde_json::json;
use tokio::task::JoinSet;

use super::common::{end, event, ready, start};
use super::raw::{Asked, Do, RawServer, answer, json as whole, modern};

/// Gives `s3cret-1`, `s3cret-2` and so on, and counts.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicU32>);

impl Counting {
    fn given(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

impl TokenProvider for Counting {
    fn token(&self, _: TokenNeed) -> BoxFuture<'_, Result<Token, TokenError>> {
        let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        Box::pin(async move { Ok(Token::new(format!("s3cret-{number}"))) })
    }
}

/// Has no token to give.
struct Sealed;

impl TokenProvider for Sealed {
    fn token(&self, _: TokenNeed) -> BoxFuture<'_, Result<Token, TokenError>> {
        Box::pin(async { Err(TokenError::new("the vault is sealed")) })
    }
}

fn result(asked: &Asked) -> Do {
    let result = json!({"content": []});
    Do::Send(whole(&json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": result})))
}

/// A server that takes the token of this number alone. Calls that it takes are counted.
async fn guarded(good: Arc<AtomicU32>) -> (RawServer, Arc<AtomicU32>) {
    let taken = Arc::new(AtomicU32::new(0));
    let counted = taken.clone();
    let server = RawServer::start(move |asked| {
        let wanted = format!("Bearer s3cret-{}", good.load(Ordering::SeqCst));
        if asked.header("authorization") != Some(&wanted) {
            return Do::Send(answer("401 Unauthorized", &["www-authenticate: Bearer"], ""));
        }
        modern(asked).unwrap_or_else(|| {
            counted.fetch_add(1, Ordering::SeqCst);
            result(asked)
        })
    })
    .await;
    (server, taken)
}

async fn call(troupe: &Troupe) -> Result<(), CallErrorKind> {
    let answer = troupe.call(Call::tool("t").timeout(Duration::from_secs(20))).await;
    answer.map(|_| ()).map_err(|error| {
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        error.kind().clone()
    })
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_for_all_calls_and_each_is_carried_out_once() {
    let good = Arc::new(AtomicU32::new(1));
    let (server, taken) = guarded(good.clone()).await;
    let provider = Counting::default();
    let troupe = ready([server.server().tokens(provider.clone())]).await;
    call(&troupe).await.unwrap();
    assert_eq!(provider.given(), 1);
    good.store(2, Ordering::SeqCst);
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let troupe = troupe.clone();
        calls.spawn(async move { call(&troupe).await });
    }
    while let Some(called) = calls.join_next().await {
        called.unwrap().unwrap();
    }
    assert_eq!((provider.given(), taken.load(Ordering::SeqCst)), (2, 21));
    end(troupe).await;
}

#[tokio::test]
async fn a_call_that_a_refusal_of_its_token_names_is_made_once_and_the_next_one_has_another_token() {
    let made = Arc::new(AtomicU32::new(0));
    let counted = made.clone();
    let server = RawServer::start(move |asked| {
        modern(asked).unwrap_or_else(|| {
            counted.fetch_add(1, Ordering::SeqCst);
            if asked.header("authorization") != Some("Bearer s3cret-1") {
                return result(asked);
            }
            let error = json!({"code": -32000, "message": "charged, then the shop would not have the token"});
            let error = json!({"jsonrpc": "2.0", "id": asked.body["id"], "error": error});
            let headers = ["content-type: application/json", "www-authenticate: Bearer"];
            Do::Send(answer("401 Unauthorized", &headers, &error.to_string()))
        })
    })
    .await;
    let provider = Counting::default();
    let troupe = ready([server.server().tokens(provider.clone())]).await;
    let named = call(&troupe).await;
    assert!(matches!(named, Err(CallErrorKind::Rpc(_))), "{named:?}");
    assert_eq!(made.load(Ordering::SeqCst), 1);
    call(&troupe).await.unwrap();
    assert_eq!((made.load(Ordering::SeqCst), provider.given()), (2, 2));
    end(troupe).await;
}

#[tokio::test]
async fn a_call_that_a_refusal_of_its_token_may_answer_is_made_once_and_its_outcome_is_unknown() {
    for (content, more, cut) in
        [("application/json", 0, 20), ("application/json", 100_000, 0), ("text/event-stream", 0, 5)]
    {
        let made = Arc::new(AtomicU32::new(0));
        let counted = made.clone();
        let server = RawServer::start(move |asked| {
            modern(asked).unwrap_or_else(|| {
                counted.fetch_add(1, Ordering::SeqCst);
                let message = format!("charged the card {}", "x".repeat(more));
                let error = json!({"code": -32000, "message": message});
                let error = json!({"jsonrpc": "2.0", "id": asked.body["id"], "error": error}).to_string();
                let body = if content == "text/event-stream" { format!("data: {error}\n\n") } else { error };
                let content = format!("content-type: {content}");
                let whole = answer("401 Unauthorized", &[&content, "www-authenticate: Bearer"], &body);
                Do::Send(whole[..whole.len() - cut].to_owned())
            })
        })
        .await;
        let troupe = ready([server.server().tokens(Counting::default())]).await;
        let named = call(&troupe).await;
        assert!(matches!(named, Err(CallErrorKind::InvalidResponse { .. })), "{named:?}");
        assert_eq!(made.load(Ordering::SeqCst), 1, "{content}");
        end(troupe).await;
    }
}

#[tokio::test]
async fn a_server_that_refuses_every_token_is_unauthorized_and_does_not_wear_out_the_provider() {
    let good = Arc::new(AtomicU32::new(1));
    let (server, taken) = guarded(good.clone()).await;
    let provider = Counting::default();
    let troupe = ready([server.server().tokens(provider.clone())]).await;
    good.store(u32::MAX, Ordering::SeqCst);
    for _ in 0..10 {
        let Err(CallErrorKind::Refused(refusal)) = call(&troupe).await else { panic!("it was taken") };
        assert_eq!((refusal.kind, refusal.status), (RefusalKind::Unauthorized, 401));
    }
    assert_eq!(taken.load(Ordering::SeqCst), 0);
    // Ten calls take less than the pause between two renewals, or a few of them on a busy machine.
    assert!((2..6).contains(&provider.given()), "{}", provider.given());
    end(troupe).await;
}

#[tokio::test]
async fn a_server_without_a_token_is_asked_nothing_and_says_why() {
    let server = RawServer::start(|asked| modern(asked).unwrap_or_else(|| result(asked))).await;
    // Nobody listens there, which a dial would tell.
    let websocket = Server::websocket("w", "ws://127.0.0.1:1").tokens(Sealed);
    let troupe = start([server.server().tokens(Sealed), websocket]).await;
    let mut events = troupe.events();
    for id in ["s", "w"] {
        event(&mut events, |event| {
            matches!(event, Event::ServerStatusChanged { server, reason: Some(reason), .. }
                if *server == id && reason.contains("no token: the vault is sealed"))
        })
        .await;
    }
    assert!(server.asked().is_empty());
    end(troupe).await;
}
