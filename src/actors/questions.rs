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
use crate::id::{RequestId, ServerId};
use crate::json::RawJson;
use crate::question::{Asker, Handlers, ServerRequest, ServerRequestKind};

/// Tasks for each question that may be asked at once, those included that are ending.
const TASKS_PER_QUESTION_MAX: usize = 4;

/// Questions on behalf of one call that may be asked at once: one that asks without end leaves room for others.
const ASKED_PER_CALL_MAX: usize = 4;

/// What the host says to a question.
pub(crate) type Answered = Result<RawJson, RpcError>;

/// Who answers, and within which limits.
#[derive(Clone)]
pub(crate) struct HostHandlers {
    pub handlers: Arc<Handlers>,
    /// Questions of one connection at once.
    pub server_requests_max: usize,
    /// How long the host may take for one.
    pub timeout: Duration,
}

impl HostHandlers {
    /// The host's answer to a question, whatever its handler does. Those of the call it is asked for come before the others.
    pub(crate) async fn answer(&self, question: ServerRequest, own: Option<&Handlers>) -> Answered {
        let handler = own.and_then(|own| own.of(question.kind)).or_else(|| self.handlers.of(question.kind));
        let Some(handler) = handler.cloned() else {
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
    pub(crate) fn question(
        &self,
        server: &ServerId,
        method: &str,
        params: Option<RawJson>,
        asker: Option<&Asker>,
    ) -> Result<ServerRequest, RpcError> {
        let params = params.unwrap_or_else(RawJson::empty_object);
        let own = |kind| asker.and_then(|asker| asker.handlers.as_ref()?.of(kind));
        match ServerRequestKind::of(method, &params) {
            Some(kind) if own(kind).or_else(|| self.handlers.of(kind)).is_some() => {
                let call = asker.map(|asker| asker.call.clone());
                Ok(ServerRequest { call, ..ServerRequest::new(server.clone(), kind, params) })
            }
            // The name is not said back: it is as long as the server likes.
            Some(_) | None => Err(refusal(RpcError::METHOD_NOT_FOUND, "this client has no such method")),
        }
    }
}

/// What a peer is told that asks on behalf of a call which has ended.
pub(super) fn over() -> RpcError {
    refusal(RpcError::INTERNAL_ERROR, "the call that this was asked for is over")
}

/// Whether a request with this method may ask the host.
pub(super) fn is_question(method: &str) -> bool {
    matches!(method, "elicitation/create" | "sampling/createMessage" | "roots/list")
}

fn refusal(code: i64, words: &str) -> RpcError {
    RpcError { code, message: words.to_owned(), data: None }
}

/// The questions of one link that are being answered.
pub(super) struct Questions {
    server: ServerId,
    host_handlers: HostHandlers,
    /// Counts the tasks among the troupe's.
    alive: Alive,
    running: JoinSet<(u64, Answered)>,
    /// How many were asked, which numbers them: of the peer's ids several may be the same.
    count: u64,
    asked: Vec<Asked>,
}

/// A question that the host has yet to answer.
struct Asked {
    /// As it is called here.
    number: u64,
    /// As the peer names it, so that it can take it back.
    id: RawJson,
    task: AbortHandle,
    /// The call that it is asked for, where that is known.
    call: Option<RequestId>,
    /// That call's own handlers answer it: it ends with the call.
    own: bool,
}

/// Where a peer takes a question back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TakenBackOn<'c> {
    /// On no stream of its own, as where all goes over one.
    NoStream,
    /// On the stream of the answer to this call.
    Call(&'c RequestId),
    /// On that of a request which is no call, of one that nobody may be asked for, or of one that has ended.
    AnotherRequest,
}

impl Questions {
    pub(super) fn new(server: ServerId, host_handlers: HostHandlers, alive: Alive) -> Self {
        Self { server, host_handlers, alive, running: JoinSet::new(), count: 0, asked: Vec::new() }
    }

    /// Who is asked on behalf of a call; nobody where neither the call nor the host has handlers.
    pub(super) fn asker(&self, call: &RequestId, own: Option<&Arc<Handlers>>) -> Option<Box<Asker>> {
        let somebody = own.is_some() || !self.host_handlers.handlers.is_empty();
        somebody.then(|| Box::new(Asker { call: call.clone(), handlers: own.cloned() }))
    }

    /// The peer asks, on behalf of `asker` where that is known. What is answered at once is returned; the rest comes out of
    /// [`poll`](Self::poll). Without `room` for more of the host's answers the host is not asked.
    pub(super) fn ask(
        &mut self,
        id: RawJson,
        method: &str,
        params: Option<RawJson>,
        asker: Option<&Asker>,
        room: bool,
    ) -> Option<(RawJson, Answered)> {
        if method == "ping" {
            return Some((id, Ok(RawJson::empty_object())));
        }
        let question = match self.host_handlers.question(&self.server, method, params, asker) {
            Ok(question) => question,
            Err(refusal) => return Some((id, Err(refusal))),
        };
        // One that was taken back still has its task for a moment: who asks and takes back in a row gathers those.
        let tasks_max = TASKS_PER_QUESTION_MAX.saturating_mul(self.host_handlers.server_requests_max);
        let of_call = question
            .call
            .as_ref()
            .map_or(0, |call| self.asked.iter().filter(|asked| asked.call.as_ref() == Some(call)).count());
        let many =
            self.asked.len() >= self.host_handlers.server_requests_max || of_call >= ASKED_PER_CALL_MAX;
        if !room || many || self.running.len() >= tasks_max {
            let words = "this client is busy with other questions of this server";
            return Some((id, Err(refusal(RpcError::INTERNAL_ERROR, words))));
        }
        // In bytes of its own: the answer may wait long, and would keep the whole frame.
        let id = id.detached();
        // The same of what it asks: the host may think for minutes.
        let question = ServerRequest { params: question.params.detached(), ..question };
        let (host_handlers, alive) = (self.host_handlers.clone(), self.alive.clone());
        self.count = self.count.saturating_add(1);
        let number = self.count;
        let call = question.call.clone();
        let own = asker.and_then(|asker| asker.handlers.clone());
        let own = own.filter(|own| own.of(question.kind).is_some());
        let is_own = own.is_some();
        let task = self.running.spawn(async move {
            let answered = host_handlers.answer(question, own.as_deref()).await;
            drop(alive);
            (number, answered)
        });
        self.asked.push(Asked { number, id, task, call, own: is_own });
        None
    }

    /// The peer takes a question back: nobody answers it. Where it uses an id for several, it means the one of the call on whose
    /// stream it says so. Else the only one may be meant, unless that is another call's.
    pub(super) fn take_back(&mut self, id: &str, on: TakenBackOn<'_>) {
        let mut named = self.asked.iter().enumerate().filter(|(_, asked)| asked.id.as_str() == id);
        let call = if let TakenBackOn::Call(call) = on { Some(call) } else { None };
        let own = named.clone().find(|(_, asked)| asked.call.as_ref() == call);
        let meant = own.or_else(|| match (named.next(), named.next()) {
            (Some(only), None) => {
                Some(only).filter(|(_, asked)| on == TakenBackOn::NoStream || asked.call.is_none())
            }
            _ => None,
        });
        if let Some((at, _)) = meant {
            self.asked.swap_remove(at).task.abort();
        }
    }

    /// A call is over. What its own handlers still work on is called off; the peer is told of each that it asked in vain.
    pub(super) fn call_ended(&mut self, call: &RequestId) -> Vec<(RawJson, Answered)> {
        let ended = self.asked.extract_if(.., |asked| asked.own && asked.call.as_ref() == Some(call));
        let refused = ended.map(|asked| {
            asked.task.abort();
            (asked.id, Err(over()))
        });
        refused.collect()
    }

    /// Nobody works on any of them any more.
    pub(super) fn end(&mut self) {
        self.running.abort_all();
        self.asked.clear();
    }

    /// Whether the host has yet to answer any.
    pub(super) fn are_open(&self) -> bool {
        !self.asked.is_empty()
    }

    /// The next answer that is ready.
    pub(super) fn poll(&mut self, poller: &mut Poller<'_>) -> Option<(RawJson, Answered)> {
        // Most servers ask nothing, and links turn often.
        if self.running.is_empty() {
            return None;
        }
        loop {
            match self.running.poll_join_next(poller) {
                Poll::Ready(Some(Ok((number, answered)))) => {
                    // One that was taken back when it was just done is not told.
                    if let Some(at) = self.asked.iter().position(|asked| asked.number == number) {
                        return Some((self.asked.swap_remove(at).id, answered));
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
        let host_handlers = HostHandlers {
            handlers: Arc::new(handlers),
            server_requests_max: 2,
            timeout: Duration::from_secs(60),
        };
        let tasks = Tasks::new();
        (Questions::new(ServerId::new("s").unwrap(), host_handlers, tasks.alive()), tasks)
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
        let (_, pong) = questions.ask(id(1), "ping", None, None, true).expect("at once");
        assert_eq!(pong.expect("no error").as_str(), "{}");
        assert_eq!(code(questions.ask(id(2), "elicitation/create", params(), None, true)), -32601);
        assert_eq!(code(questions.ask(id(3), "tools/list", None, None, true)), -32601);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_panics_or_hangs_is_an_error_to_the_server() {
        let mut handlers = Handlers::default();
        handlers.elicitation(|_| async { panic!("the host's fault") });
        handlers.sampling(|_| std::future::pending::<Result<(), RpcError>>());
        let (mut questions, _tasks) = questions(handlers);
        assert!(questions.ask(id(1), "elicitation/create", params(), None, true).is_none());
        assert!(questions.ask(id(2), "sampling/createMessage", params(), None, true).is_none());
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
        assert!(questions.ask(part(1..2), "elicitation/create", Some(part(3..18)), None, true).is_none());
        assert!(frame.is_unique());
    }

    #[tokio::test(start_paused = true)]
    async fn questions_are_bounded_and_can_be_taken_back() {
        let mut handlers = Handlers::default();
        handlers.elicitation(|_| std::future::pending::<Result<ElicitResult, RpcError>>());
        let (mut questions, tasks) = questions(handlers);
        for number in 1..=2 {
            assert!(questions.ask(id(number), "elicitation/create", params(), None, true).is_none());
        }
        assert_eq!(code(questions.ask(id(3), "elicitation/create", params(), None, true)), -32603);
        questions.take_back("1", TakenBackOn::NoStream);
        assert_eq!(
            code(questions.ask(id(3), "elicitation/create", params(), None, false)),
            -32603,
            "no room"
        );
        assert!(questions.ask(id(4), "elicitation/create", params(), None, true).is_none());
        drop(questions);
        tasks.ended().await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_call_that_asks_without_end_leaves_room_and_its_questions_end_with_it() {
        let mut handlers = Handlers::default();
        handlers.elicitation(|_| std::future::pending::<Result<ElicitResult, RpcError>>());
        let handlers = Arc::new(handlers);
        let (mut questions, tasks) = questions(Handlers::default());
        questions.host_handlers.server_requests_max = 16;
        let asker = |own| Asker { call: RequestId::random(), handlers: own };
        let (one, two) = (asker(Some(handlers.clone())), asker(Some(handlers)));
        let mut ask = |number: usize, of: &Asker| {
            questions.ask(id(number as u64), "elicitation/create", params(), Some(of), true)
        };
        for number in 1..=ASKED_PER_CALL_MAX {
            assert!(ask(number, &one).is_none());
        }
        assert_eq!(code(ask(10, &one)), -32603);
        assert!(ask(11, &two).is_none(), "there is room for others");
        // Who has no handler of that kind is not asked.
        assert_eq!(code(ask(12, &asker(None))), -32601);
        let ended: Vec<RawJson> = questions.call_ended(&one.call).into_iter().map(|(id, _)| id).collect();
        assert_eq!(ended, [1, 2, 3, 4].map(id));
        assert!(questions.are_open());
        questions.take_back("11", TakenBackOn::NoStream);
        assert!(!questions.are_open());
        drop(questions);
        tasks.ended().await;
    }

    #[tokio::test]
    async fn a_question_is_taken_back_on_the_stream_of_its_call_also_where_another_has_its_id() {
        let mut handlers = Handlers::default();
        handlers.elicitation(|_| std::future::pending::<Result<ElicitResult, RpcError>>());
        let handlers = Arc::new(handlers);
        let (mut questions, _tasks) = questions(Handlers::default());
        let asker = || Asker { call: RequestId::random(), handlers: Some(handlers.clone()) };
        let (one, two, other) = (asker(), asker(), RequestId::random());
        for asker in [&one, &two] {
            assert!(questions.ask(id(0), "elicitation/create", params(), Some(asker), true).is_none());
        }
        questions.take_back("0", TakenBackOn::NoStream);
        questions.take_back("0", TakenBackOn::Call(&other));
        questions.take_back("0", TakenBackOn::AnotherRequest);
        assert_eq!(questions.asked.len(), 2, "which of the two is meant nobody knows");
        questions.take_back("0", TakenBackOn::Call(&two.call));
        assert_eq!(
            questions.asked.iter().map(|asked| asked.call.as_ref()).collect::<Vec<_>>(),
            [Some(&one.call)]
        );
        questions.take_back("0", TakenBackOn::Call(&two.call));
        questions.take_back("0", TakenBackOn::Call(&other));
        questions.take_back("0", TakenBackOn::AnotherRequest);
        assert_eq!(questions.asked.len(), 1, "who crosses with an answer takes back nobody else's");
        questions.take_back("0", TakenBackOn::NoStream);
        assert!(questions.asked.is_empty(), "there is one of that id alone");
    }

    #[tokio::test]
    async fn questions_of_two_calls_under_one_id_are_kept_apart() {
        let (gone, mut left) = tokio::sync::mpsc::channel::<()>(1);
        let (mut ada, mut bob) = (Handlers::default(), Handlers::default());
        ada.elicitation(move |_| {
            let gone = gone.clone();
            async move {
                let _gone = gone;
                std::future::pending::<Result<ElicitResult, RpcError>>().await
            }
        });
        bob.elicitation(|_| async { Ok(ElicitResult::Cancel) });
        let asker = |own| Asker { call: RequestId::random(), handlers: Some(Arc::new(own)) };
        let (ada, bob) = (asker(ada), asker(bob));
        let (mut questions, _tasks) = questions(Handlers::default());
        assert!(questions.ask(id(0), "elicitation/create", params(), Some(&ada), true).is_none());
        assert!(questions.ask(id(0), "elicitation/create", params(), Some(&bob), true).is_none());
        assert!(next(&mut questions).await.1.is_ok());
        assert!(questions.call_ended(&bob.call).is_empty(), "bob's was answered already");
        assert_eq!(questions.call_ended(&ada.call).len(), 1, "ada's is still open");
        drop(ada);
        assert_eq!(left.recv().await, None, "her handler is gone with her call");
    }
}
