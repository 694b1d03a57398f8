//! The token of one server: asked for when it is needed, lent to every request and dial, renewed before it expires.
//!
//! ```text
//! dials, requests ── lend, renew ──▶ token task ── one question at a time ──▶ the host's provider
//! ```
//!
//! The token belongs to the *token task*, which lives as long as the server's connector and ends with it: links and
//! requests, which are many and come and go, ask it by message. A renewal goes on when those who wait for it leave.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use super::BoxFuture;
use super::redact::mask::Mask;
use crate::config::BEARER;
use crate::duration::later;
use crate::secret::Secret;
use crate::token::{Token, TokenError, TokenNeed, TokenSource};

/// How long before its end a token is renewed: clocks differ, and a request is some time on its way.
const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// The share of a lifetime that this may be at most, so that a token of a minute is not renewed all the time.
const RENEW_SHARE: u32 = 5;

/// How long a provider may take: an authorization server that has not answered by then will not, and the dials that wait have
/// given up.
const FETCH_MAX: Duration = Duration::from_secs(30);

/// How long a provider is left alone after a failure, however many calls come.
const FAILURES_APART: Duration = Duration::from_secs(1);

/// How soon after a renewal that a refusal brought about the next refusal may bring about another one: a server that refuses
/// every token must not turn each call into a question to the provider.
const REFUSALS_APART: Duration = Duration::from_secs(5);

/// Questions that the task has not taken; whoever asks then waits.
const ASKS_MAX: usize = 64;

/// Requests that wait for one token. Links bound theirs to fewer; beyond it they wait before they ask.
const WAITING_MAX: usize = 1024;

/// A token for one use.
#[derive(Debug, Clone)]
pub(super) struct Lent {
    authorization: HeaderValue,
    /// Which of the task's tokens it is.
    number: u64,
}

impl Lent {
    /// Puts it among the headers of a request.
    pub(super) fn put(&self, headers: &mut HeaderMap) {
        headers.insert(AUTHORIZATION, self.authorization.clone());
    }
}

/// A token that the server would not have.
struct Refused {
    number: u64,
    challenge: Option<String>,
}

impl Refused {
    fn of(lent: &Lent, headers: &HeaderMap) -> Self {
        let challenge = headers.get(WWW_AUTHENTICATE).and_then(|challenge| challenge.to_str().ok());
        Self { number: lent.number, challenge: challenge.map(str::to_owned) }
    }
}

/// A question to the task.
struct Ask {
    refused: Option<Refused>,
    port: oneshot::Sender<Result<Lent, TokenError>>,
}

/// The way to the task, which ends when the last of these is gone.
#[derive(Clone)]
pub(super) struct Tokens {
    asks: mpsc::Sender<Ask>,
    /// What is taken out of texts: the last tokens, as the task has published them.
    mask: watch::Receiver<Arc<Mask>>,
}

/// Tokens that are taken out of what a server says: one that was replaced may still be in an answer that is on its way.
const MASKED_TOKENS: usize = 4;

impl Tokens {
    /// Starts the token task, in the runtime that this is called in. It holds `alive` until it has ended.
    pub(super) fn start(server: String, source: TokenSource, alive: Box<dyn Any + Send>) -> Self {
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let (masking, mask) = watch::channel(Arc::default());
        let task = TokenTask {
            server,
            masking,
            masked: VecDeque::new(),
            source,
            asks: asked,
            held: None,
            lent: 0,
            fetching: None,
            waiting: Vec::new(),
            failed: None,
            refused_at: None,
        };
        tokio::spawn(async move {
            task.run().await;
            drop(alive);
        });
        Self { asks, mask }
    }

    /// A text without the tokens that there were last.
    pub(super) fn redact(&self, text: String) -> String {
        let mask = self.mask.borrow().clone();
        mask.text(text)
    }

    /// A token that is good by now.
    pub(super) async fn lend(&self) -> Result<Lent, TokenError> {
        self.ask(None).await
    }

    /// Another token than `lent`, which the server refused with these headers. An error if there is none, or if that one was
    /// new itself.
    pub(super) async fn renew(&self, lent: &Lent, headers: &HeaderMap) -> Result<Lent, TokenError> {
        self.ask(Some(Refused::of(lent, headers))).await
    }

    /// Has `lent`, which the server refused with these headers, replaced for those who ask next.
    #[cfg(feature = "http")]
    pub(super) async fn refuse(&self, lent: &Lent, headers: &HeaderMap) {
        // Nobody waits for the answer. Where the task has ended nobody asks any more.
        let (port, _) = oneshot::channel();
        let _ = self.asks.send(Ask { refused: Some(Refused::of(lent, headers)), port }).await;
    }

    async fn ask(&self, refused: Option<Refused>) -> Result<Lent, TokenError> {
        let gone = || TokenError::new("whoever keeps it has ended");
        let (port, answer) = oneshot::channel();
        self.asks.send(Ask { refused, port }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// The token that the server is shown.
struct Held {
    lent: Lent,
    renew_at: Option<Instant>,
    expires_at: Option<Instant>,
}

/// Owns the token; see the module's page.
struct TokenTask {
    server: String,
    masking: watch::Sender<Arc<Mask>>,
    /// The tokens that are masked, the latest last.
    masked: VecDeque<Secret>,
    source: TokenSource,
    asks: mpsc::Receiver<Ask>,
    held: Option<Held>,
    /// How many tokens there were.
    lent: u64,
    /// The question to the provider that is under way; there is one while anybody waits.
    fetching: Option<BoxFuture<'static, Result<Token, TokenError>>>,
    waiting: Vec<oneshot::Sender<Result<Lent, TokenError>>>,
    /// When the provider failed last, and how.
    failed: Option<(Instant, TokenError)>,
    /// When a refusal brought about a renewal last.
    refused_at: Option<Instant>,
}

impl TokenTask {
    async fn run(mut self) {
        loop {
            tokio::select! { biased;
                fetched = fetched(&mut self.fetching) => self.settle(fetched, Instant::now()),
                ask = self.asks.recv(), if self.waiting.len() < WAITING_MAX => match ask {
                    Some(ask) => self.take(ask, Instant::now()),
                    None => return,
                },
            }
        }
    }

    fn take(&mut self, Ask { refused, port }: Ask, now: Instant) {
        let mut need = if self.lent == 0 { TokenNeed::First } else { TokenNeed::Expiry };
        // Of those that were refused with one token the first brings about another one, and all of them get it.
        if let Some(refused) = refused
            && self.held.as_ref().is_some_and(|held| held.lent.number == refused.number)
        {
            if self.refused_at.is_some_and(|at| now < later(at, REFUSALS_APART)) {
                return answer(port, Err(TokenError::new("the server refused a new one as well")));
            }
            self.refused_at = Some(now);
            self.held = None;
            need = TokenNeed::Rejected { challenge: refused.challenge };
        }
        let good = self.held.as_ref().filter(|held| held.expires_at.is_none_or(|at| now < at));
        match (good, self.recent_failure(now)) {
            (Some(held), failure) => {
                let renew = held.renew_at.is_some_and(|at| at <= now) && failure.is_none();
                answer(port, Ok(held.lent.clone()));
                if renew {
                    self.fetch(need);
                }
            }
            (None, Some(failure)) => answer(port, Err(failure.clone())),
            (None, None) => {
                self.waiting.push(port);
                self.fetch(need);
            }
        }
    }

    fn recent_failure(&self, now: Instant) -> Option<&TokenError> {
        self.failed.as_ref().filter(|(at, _)| now < later(*at, FAILURES_APART)).map(|(_, error)| error)
    }

    /// Asks the provider, unless that is under way.
    fn fetch(&mut self, need: TokenNeed) {
        if self.fetching.is_some() {
            return;
        }
        let source = self.source.clone();
        let asked = AssertUnwindSafe(async move { source.0.token(need).await }).catch_unwind();
        self.fetching = Some(Box::pin(async move {
            match timeout(FETCH_MAX, asked).await {
                Ok(Ok(fetched)) => fetched,
                Ok(Err(_)) => Err(TokenError::new("its provider panicked")),
                Err(_) => Err(TokenError::new("its provider did not answer in time")),
            }
        }));
    }

    fn settle(&mut self, fetched: Result<Token, TokenError>, now: Instant) {
        self.fetching = None;
        let outcome = fetched.and_then(|token| self.hold(token, now));
        self.failed = outcome.as_ref().err().map(|error| (now, error.clone()));
        if let Err(error) = &outcome {
            tracing::warn!(server = %self.server, "no token: {error}");
        }
        for port in self.waiting.drain(..) {
            answer(port, outcome.clone());
        }
    }

    fn hold(&mut self, token: Token, now: Instant) -> Result<Lent, TokenError> {
        let Token { secret, lifetime } = token;
        if secret.expose().is_empty() || lifetime == Some(Duration::ZERO) {
            return Err(TokenError::new("its provider gave one that is empty or has expired"));
        }
        let mut authorization = HeaderValue::try_from(format!("{BEARER}{}", secret.expose()))
            .map_err(|_| TokenError::new("its provider gave one with characters that no header may have"))?;
        authorization.set_sensitive(true);
        if self.masked.len() == MASKED_TOKENS {
            self.masked.pop_front();
        }
        self.masked.push_back(secret);
        self.masking.send_replace(Arc::new(Mask::of(&self.masked)));
        self.lent += 1;
        let lent = Lent { authorization, number: self.lent };
        // A lifetime beyond the clock has no end.
        let after = |lifetime: Duration| now.checked_add(lifetime);
        self.held = Some(Held {
            lent: lent.clone(),
            renew_at: lifetime.and_then(|lifetime| {
                after(lifetime.saturating_sub(RENEW_BEFORE.min(lifetime / RENEW_SHARE)))
            }),
            expires_at: lifetime.and_then(after),
        });
        Ok(lent)
    }
}

/// Answers somebody, who may have left.
fn answer(port: oneshot::Sender<Result<Lent, TokenError>>, outcome: Result<Lent, TokenError>) {
    let _ = port.send(outcome);
}

/// What the provider says, if it is asked.
async fn fetched(
    fetching: &mut Option<BoxFuture<'static, Result<Token, TokenError>>>,
) -> Result<Token, TokenError> {
    match fetching {
        Some(fetching) => fetching.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use futures_util::future::join_all;
    use tokio::time::advance;

    use super::*;
    use crate::token::TokenProvider;

    type Answer = Result<Token, TokenError>;

    /// A provider that asks the test.
    struct Asking(mpsc::Sender<(TokenNeed, oneshot::Sender<Answer>)>);

    impl TokenProvider for Asking {
        fn token(&self, need: TokenNeed) -> BoxFuture<'_, Answer> {
            Box::pin(async move {
                let (port, answer) = oneshot::channel();
                self.0.send((need, port)).await.expect("the test goes on");
                // A test that drops the question lets the provider panic.
                answer.await.expect("an answer")
            })
        }
    }

    /// The other end of a provider.
    pub(crate) struct Provider(mpsc::Receiver<(TokenNeed, oneshot::Sender<Answer>)>);

    impl Provider {
        async fn asked(&mut self) -> (TokenNeed, oneshot::Sender<Answer>) {
            self.0.recv().await.expect("the task goes on")
        }

        /// Gives `token` for the next question, and says what the need was.
        pub(crate) async fn give(&mut self, token: Token) -> TokenNeed {
            let (need, port) = self.asked().await;
            port.send(Ok(token)).expect("it is waited for");
            need
        }

        pub(crate) fn idle(&mut self) -> bool {
            self.0.try_recv().is_err()
        }
    }

    pub(crate) fn tokens() -> (Tokens, Provider) {
        let (asks, asked) = mpsc::channel(1);
        let source = TokenSource(Arc::new(Asking(asks)));
        (Tokens::start("s".to_owned(), source, Box::new(())), Provider(asked))
    }

    fn shown(lent: Result<Lent, TokenError>) -> Result<String, String> {
        let shown = |lent: Lent| lent.authorization.to_str().expect("plain text").to_owned();
        lent.map(shown).map_err(|error| error.to_string())
    }

    fn bearer(token: &str) -> Result<String, String> {
        Ok(format!("Bearer {token}"))
    }

    fn hour(token: &str) -> Token {
        Token::new(token).expires_in(Duration::from_secs(3600))
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_get_the_one_token_that_is_asked_for() {
        let (tokens, mut provider) = tokens();
        let lent = join_all((0..WAITING_MAX + 100).map(|_| tokens.lend()));
        let (lent, need) = tokio::join!(lent, provider.give(Token::new("t")));
        assert_eq!(need, TokenNeed::First);
        assert!(lent.into_iter().all(|lent| shown(lent) == bearer("t")));
        assert!(provider.idle());
        assert!(!format!("{:?}", tokens.lend().await).contains("Bearer"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_tokens_are_taken_out_of_what_a_server_says() {
        let (tokens, mut provider) = tokens();
        let (lent, _) = tokio::join!(tokens.lend(), provider.give(hour("former-token")));
        let (lent, headers) = (lent.unwrap(), HeaderMap::new());
        let (renewed, _) = tokio::join!(tokens.renew(&lent, &headers), provider.give(hour("present-token")));
        renewed.unwrap();
        let said = "neither former-token nor present-token, and present-to…";
        assert_eq!(tokens.redact(said.to_owned()), "neither *** nor ***, and ***…");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_before_it_expires_and_one_that_has_expired_is_not_lent() {
        let (tokens, mut provider) = tokens();
        let (lent, _) = tokio::join!(tokens.lend(), provider.give(hour("1")));
        assert_eq!(shown(lent), bearer("1"));
        advance(Duration::from_secs(3600) - RENEW_BEFORE - Duration::from_secs(1)).await;
        assert_eq!(shown(tokens.lend().await), bearer("1"));
        assert!(provider.idle());
        advance(Duration::from_secs(1)).await;
        assert_eq!(shown(tokens.lend().await), bearer("1"), "nobody waits while it is good");
        assert_eq!(provider.give(hour("2")).await, TokenNeed::Expiry);
        // The task hears of it before it is asked again.
        assert_eq!(shown(tokens.lend().await), bearer("2"));
        advance(Duration::from_secs(3600)).await;
        let (lent, need) = tokio::join!(tokens.lend(), provider.give(hour("3")));
        assert_eq!((shown(lent), need), (bearer("3"), TokenNeed::Expiry));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_renewed_once_for_all_and_a_new_one_that_is_refused_is_not() {
        let (tokens, mut provider) = tokens();
        let (first, _) = tokio::join!(tokens.lend(), provider.give(hour("1")));
        let first = first.expect("a token");
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer scope=\"x\""));
        let renewals = join_all((0..10).map(|_| tokens.renew(&first, &headers)));
        let (renewed, need) = tokio::join!(renewals, provider.give(hour("2")));
        assert_eq!(need, TokenNeed::Rejected { challenge: Some("Bearer scope=\"x\"".to_owned()) });
        let second = renewed[0].clone().expect("a token");
        assert!(renewed.into_iter().all(|lent| shown(lent) == bearer("2")));
        let refused = tokens.renew(&second, &headers).await;
        assert!(shown(refused).is_err_and(|words| words.contains("refused a new one")));
        assert_eq!(shown(tokens.renew(&first, &headers).await), bearer("2"));
        assert!(provider.idle());
        advance(REFUSALS_APART).await;
        let (renewed, _) = tokio::join!(tokens.renew(&second, &headers), provider.give(hour("3")));
        assert_eq!(shown(renewed), bearer("3"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_fails_panics_or_hangs_is_told_and_asked_again_after_a_pause() {
        let (tokens, mut provider) = tokens();
        let failing = async {
            let (_, port) = provider.asked().await;
            port.send(Err(TokenError::new("the vault is sealed"))).expect("it is waited for");
        };
        let (lent, ()) = tokio::join!(tokens.lend(), failing);
        assert_eq!(shown(lent), Err("the vault is sealed".to_owned()));
        assert_eq!(shown(tokens.lend().await), Err("the vault is sealed".to_owned()), "without a question");
        assert!(provider.idle());
        advance(FAILURES_APART).await;
        let (lent, asked) = tokio::join!(tokens.lend(), async { drop(provider.asked().await) });
        assert_eq!((shown(lent), asked), (Err("its provider panicked".to_owned()), ()));
        advance(FAILURES_APART).await;
        let (lent, _held) = tokio::join!(tokens.lend(), provider.asked());
        assert_eq!(shown(lent), Err("its provider did not answer in time".to_owned()));
        advance(FAILURES_APART).await;
        for wrong in [Token::new(""), Token::new("a\nb"), Token::new("t").expires_in(Duration::ZERO)] {
            let (lent, _) = tokio::join!(tokens.lend(), provider.give(wrong));
            assert!(shown(lent).is_err_and(|words| words.contains("its provider gave")));
            advance(FAILURES_APART).await;
        }
        let (lent, _) = tokio::join!(tokens.lend(), provider.give(Token::new("t")));
        assert_eq!(shown(lent), bearer("t"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_ends_with_the_last_who_could_ask_it_even_while_the_provider_is_asked() {
        let (asks, mut asked) = mpsc::channel(1);
        let (alive, ended) = oneshot::channel::<()>();
        let tokens = Tokens::start("s".to_owned(), TokenSource(Arc::new(Asking(asks))), Box::new(alive));
        let waiting = tokio::spawn(async move { tokens.lend().await.map(|_| ()) });
        let _held = asked.recv().await.expect("a question");
        waiting.abort();
        ended.await.expect_err("nothing is sent");
    }
}
