//! Questions of one peer that the host's handlers work on, each in a task of its own, so that one which blocks, hangs or
//! panics holds up neither the link nor another question.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::tasks::Alive;
use crate::duration::rounded;
use crate::error::RpcError;
use crate::id::ServerId;
use crate::json::RawJson;
use crate::question::{Handlers, ServerRequest, ServerRequestKind};

/// Tasks for each question that may be asked at once, those included that are ending.
const TASKS_PER_QUESTION_MAX: usize = 4;

/// What the host says to a question.
pub(crate) type Answered = Result<RawJson, RpcError>;

/// Who answers, and within which limits.
#[derive(Clone)]
pub(crate) struct Desk {
    pub handlers: Arc<Handlers>,
    /// Questions of one connection at once.
    pub server_requests_max: usize,
    /// How long the host may take for one.
    pub timeout: Duration,
}

impl Desk {
    /// The host's answer to a question, whatever its handler does.
    pub async fn answer(&self, question: ServerRequest) -> Answered {
        let Some(handler) = self.handlers.of(question.kind).cloned() else {
            return Err(refusal(RpcError::METHOD_NOT_FOUND, "this client answers no such question"));
        };
        let work = AssertUnwindSafe(async move { handler(question).await }).catch_unwind();
        match timeout(self.timeout, work).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) => Err(refusal(RpcError::INTERNAL_ERROR, "the host failed to answer")),
            Err(_) => {
                let words = format!("the host has not answered within {}", rounded(self.timeout));
                Err(refusal(RpcError::INTERNAL_ERROR, &words))
            }
        }
    }

    /// What a request of a server's asks the host.
    ///
    /// # Errors
    /// What it is answered with if it is no question, or one that nobody answers here.
    pub fn question(
        &self,
        server: &ServerId,
        method: &str,
        params: Option<RawJson>,
    ) -> Result<ServerRequest, RpcError> {
        let params = params.unwrap_or_else(RawJson::empty_object);
        match ServerRequestKind::of(method, &params) {
            Some(kind) if self.handlers.of(kind).is_some() => {
                Ok(ServerRequest::new(server.clone(), kind, params))
            }
            // The name is not said back: it is as long as the server likes.
            Some(_) | None => Err(refusal(RpcError::METHOD_NOT_FOUND, "this client has no such method")),
        }
    }
}

fn refusal(code: i64, words: &str) -> RpcError {
    RpcError { code, message: words.to_owned(), data: None }
}

/// The questions of one link that are being answered.
pub(super) struct Questions {
    server: ServerId,
    desk: Desk,
    /// Counts the tasks among the troupe's.
    alive: Alive,
    running: JoinSet<(RawJson, Answered)>,
    /// By the peer's id, so that it can take a question back.
    asked: Vec<(RawJson, AbortHandle)>,
}

impl Questions {
    pub fn new(server: ServerId, desk: Desk, alive: Alive) -> Self {
        Self { server, desk, alive, running: JoinSet::new(), asked: Vec::new() }
    }

    /// The peer asks. What is answered at once is returned; the rest comes out of [`poll`](Self::poll). Without `room` for
    /// more of the host's answers the host is not asked.
    pub fn ask(
        &mut self,
        id: RawJson,
        method: &str,
        params: Option<RawJson>,
        room: bool,
    ) -> Option<(RawJson, Answered)> {
        if method == "ping" {
            return Some((id, Ok(RawJson::empty_object())));
        }
        let question = match self.desk.question(&self.server, method, params) {
            Ok(question) => question,
            Err(refusal) => return Some((id, Err(refusal))),
        };
        // One that was taken back still has its task for a moment: who asks and takes back in a row gathers those.
        let tasks_max = TASKS_PER_QUESTION_MAX.saturating_mul(self.desk.server_requests_max);
        if !room || self.asked.len() >= self.desk.server_requests_max || self.running.len() >= tasks_max {
            let words = "this client is busy with other questions of this server";
            return Some((id, Err(refusal(RpcError::INTERNAL_ERROR, words))));
        }
        // In bytes of its own: the answer may wait long, and would keep the whole frame.
        let id = id.detached();
        // The same of what it asks: the host may think for minutes.
        let question = ServerRequest { params: question.params.detached(), ..question };
        let (desk, alive, asked_as) = (self.desk.clone(), self.alive.clone(), id.clone());
        let task = self.running.spawn(async move {
            let answered = desk.answer(question).await;
            drop(alive);
            (id, answered)
        });
        self.asked.push((asked_as, task));
        None
    }

    /// The peer takes a question back: nobody answers it.
    pub fn take_back(&mut self, id: &str) {
        if let Some(at) = self.asked.iter().position(|(asked, _)| asked.as_str() == id) {
            self.asked.swap_remove(at).1.abort();
        }
    }

    /// Whether the host has yet to answer any.
    pub fn are_open(&self) -> bool {
        !self.asked.is_empty()
    }

    /// The next answer that is ready.
    pub fn poll(&mut self, poller: &mut Poller<'_>) -> Option<(RawJson, Answered)> {
        // Most servers ask nothing, and links turn often.
        if self.running.is_empty() {
            return None;
        }
        loop {
            match self.running.poll_join_next(poller) {
                Poll::Ready(Some(Ok((id, answered)))) => {
                    // One that was taken back when it was just done is not told.
                    if let Some(at) = self.asked.iter().position(|(asked, _)| *asked == id) {
                        self.asked.swap_remove(at);
                        return Some((id, answered));
                    }
                }
                // It was taken back.
                Poll::Ready(Some(Err(_))) => {}
                Poll::Ready(None) | Poll::Pending => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::actors::Tasks;
    use crate::question::ElicitResult;

    fn questions(handlers: Handlers) -> (Questions, Tasks) {
        let desk =
            Desk { handlers: Arc::new(handlers), server_requests_max: 2, timeout: Duration::from_secs(60) };
        let tasks = Tasks::new();
        (Questions::new(ServerId::new("s").unwrap(), desk, tasks.alive()), tasks)
    }

    fn id(id: u64) -> RawJson {
        RawJson::from_value(&id).unwrap()
    }

    fn params() -> Option<RawJson> {
        Some(RawJson::from_text(r#"{"message":"?"}"#).unwrap())
    }

    async fn next(questions: &mut Questions) -> (RawJson, Answered) {
        poll_fn(|poller| questions.poll(poller).map_or(Poll::Pending, Poll::Ready)).await
    }

    fn code(answered: Option<(RawJson, Answered)>) -> i64 {
        answered.expect("it is answered at once").1.expect_err("it is refused").code
    }

    #[tokio::test]
    async fn a_ping_is_answered_and_what_is_unknown_refused_at_once() {
        let (mut questions, _tasks) = questions(Handlers::default());
        let (_, pong) = questions.ask(id(1), "ping", None, true).expect("at once");
        assert_eq!(pong.expect("no error").as_str(), "{}");
        assert_eq!(code(questions.ask(id(2), "elicitation/create", params(), true)), -32601);
        assert_eq!(code(questions.ask(id(3), "tools/list", None, true)), -32601);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_panics_or_hangs_is_an_error_to_the_server() {
        let mut handlers = Handlers::default();
        handlers.elicitation(|_| async { panic!("the host's fault") });
        handlers.sampling(|_| std::future::pending::<Result<(), RpcError>>());
        let (mut questions, _tasks) = questions(handlers);
        assert!(questions.ask(id(1), "elicitation/create", params(), true).is_none());
        assert!(questions.ask(id(2), "sampling/createMessage", params(), true).is_none());
        let (first, answered) = next(&mut questions).await;
        assert_eq!((first, answered.expect_err("it panicked").code), (id(1), -32603));
        let (second, answered) = next(&mut questions).await;
        let told = answered.expect_err("it hangs").message;
        assert_eq!((second, told.as_str()), (id(2), "the host has not answered within 1m"));
    }

    #[tokio::test]
    async fn a_question_does_not_hold_the_frame_that_it_came_in() {
        let mut handlers = Handlers::default();
        handlers.elicitation(|_| std::future::pending::<Result<ElicitResult, RpcError>>());
        let (mut questions, _tasks) = questions(handlers);
        let frame = bytes::Bytes::from(format!(r#"[7,{{"message":"?"}},"{}"]"#, "x".repeat(1 << 20)));
        let part = |range: std::ops::Range<usize>| RawJson::trusted(frame.slice(range));
        assert!(questions.ask(part(1..2), "elicitation/create", Some(part(3..18)), true).is_none());
        assert!(frame.is_unique());
    }

    #[tokio::test(start_paused = true)]
    async fn questions_are_bounded_and_can_be_taken_back() {
        let mut handlers = Handlers::default();
        handlers.elicitation(|_| std::future::pending::<Result<ElicitResult, RpcError>>());
        let (mut questions, tasks) = questions(handlers);
        for number in 1..=2 {
            assert!(questions.ask(id(number), "elicitation/create", params(), true).is_none());
        }
        assert_eq!(code(questions.ask(id(3), "elicitation/create", params(), true)), -32603);
        questions.take_back("1");
        assert_eq!(code(questions.ask(id(3), "elicitation/create", params(), false)), -32603, "no room");
        assert!(questions.ask(id(4), "elicitation/create", params(), true).is_none());
        drop(questions);
        tasks.ended().await;
    }
}
