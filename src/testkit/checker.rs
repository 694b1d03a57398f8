//! Checks the promise: every call has one answer, in time, and what its error says of its effect is true.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::ScriptedServer;
use crate::call::{Call, Reply};
use crate::error::{CallError, CallErrorKind, Effect};
use crate::json::RawJson;
use crate::{CallFuture, Lease, Settings, Troupe};

/// The entry of `_meta` under which a server finds a call's number.
const NUMBER: &str = "mcp-troupe/check";

/// Violations of each kind that are told; the rest is counted.
const TOLD_MAX: u64 = 10;

/// How much later than its deadline an answer may come: scheduling on a busy machine, and no more.
const LATENESS_MAX: Duration = Duration::from_secs(5);

/// Makes calls through a troupe and keeps account of them.
///
/// Each call carries its number to the server. Where the servers are [`ScriptedServer`]s they count arrivals, so that
/// the account also knows whether a call that failed with `not sent` never arrived, and that no call which was not
/// declared safe to repeat arrived twice.
#[derive(Debug, Clone)]
pub struct AnswerChecker {
    troupe: Troupe,
    default_timeout: Duration,
    book: watch::Sender<Book>,
}

/// Every call that was made, a few bytes each.
#[derive(Debug, Default)]
struct Book {
    /// By call number.
    entries: Vec<Entry>,
    open: usize,
    tally: Tally,
    violations: Violations,
}

/// What is known of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Open,
    /// Its caller left.
    Cancelled {
        repeatable: bool,
    },
    /// Answered with a result.
    Ok {
        repeatable: bool,
    },
    /// Answered with an error that says this of its effect.
    Error {
        repeatable: bool,
        delivery: Effect,
    },
}

/// What the calls came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Calls that were made and not cancelled by their caller.
    pub calls: u64,
    /// Results.
    pub ok: u64,
    /// Errors, by kind.
    pub errors: BTreeMap<&'static str, u64>,
    /// Calls beside those above whose callers left before they had an answer.
    pub cancelled: u64,
}

/// What must not happen, and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations {
    /// Calls without an answer.
    pub lost: u64,
    /// Calls that were answered twice.
    pub doubled: u64,
    /// Calls that were carried out twice and not declared safe to repeat.
    pub executed_twice: u64,
    /// Answers, or states of leases, that were another caller's.
    pub crossed: u64,
    /// Answers after their deadline.
    pub late: u64,
    /// Errors whose word on the call's effect was wrong.
    pub untrue: u64,
    /// The first of each kind, in words.
    pub told: Vec<String>,
}

impl Violations {
    /// Counts one more of a kind, and tells the first ones.
    fn note(&mut self, kind: impl FnOnce(&mut Self) -> &mut u64, what: impl FnOnce() -> String) {
        let count = kind(self);
        *count += 1;
        if *count <= TOLD_MAX {
            self.told.push(what());
        }
    }

    fn any(&self) -> bool {
        self.lost + self.doubled + self.executed_twice + self.crossed + self.late + self.untrue > 0
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lost, doubled, executed_twice, crossed, late, untrue, told } = self;
        write!(f, "{lost} calls lost, {doubled} doubled, {late} late, {untrue} untrue, ")?;
        write!(f, "{executed_twice} executed twice, {crossed} crossed")?;
        told.iter().try_for_each(|told| write!(f, "\n  {told}"))
    }
}

impl std::error::Error for Violations {}

/// Notes a call as cancelled unless it was settled.
struct OpenEntry<'a> {
    book: &'a watch::Sender<Book>,
    number: Option<usize>,
    repeatable: bool,
}

impl Drop for OpenEntry<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.book.send_modify(|book| {
                book.entries[number] = Entry::Cancelled { repeatable: self.repeatable };
                book.open -= 1;
                book.tally.cancelled += 1;
            });
        }
    }
}

impl AnswerChecker {
    /// Checks calls through this troupe. `settings` are the troupe's: the deadline of calls that name none is theirs.
    pub fn new(troupe: &Troupe, settings: &Settings) -> Self {
        Self {
            troupe: troupe.clone(),
            default_timeout: settings.call_timeout,
            book: watch::Sender::new(Book::default()),
        }
    }

    /// Makes a call and takes note of its answer.
    ///
    /// # Errors
    /// As [`Troupe::call`].
    pub async fn call(&self, call: Call) -> Result<Reply, CallError> {
        self.watch(call, |call| self.troupe.call(call)).await
    }

    /// Makes a call over a lease and takes note of its answer.
    ///
    /// # Errors
    /// As [`Lease::call`].
    pub async fn call_on(&self, lease: &Lease, call: Call) -> Result<Reply, CallError> {
        self.watch(call, |call| lease.call(call)).await
    }

    async fn watch(&self, call: Call, make: impl FnOnce(Call) -> CallFuture) -> Result<Reply, CallError> {
        let mut number = 0;
        self.book.send_modify(|book| {
            number = book.entries.len();
            book.entries.push(Entry::Open);
            book.open += 1;
        });
        let repeatable = call.idempotent;
        let mut entry = OpenEntry { book: &self.book, number: Some(number), repeatable };
        let limit = call.timeout.unwrap_or(self.default_timeout);
        let begun = Instant::now();
        let answer = make(numbered(call, number)).await;
        let took = Instant::now().saturating_duration_since(begun);
        entry.number = None;
        self.book.send_modify(|book| book.settle(number, repeatable, &answer, took, limit));
        answer
    }

    /// Takes note of an answer, or of the state of a lease, that was another caller's: only the callers know whose an answer
    /// is.
    pub fn note_crossed(&self, what: impl FnOnce() -> String) {
        self.book.send_modify(|book| {
            book.violations.note(|all| &mut all.crossed, what);
        });
    }

    /// Takes note of an error that said something untrue in another way than the account can see.
    pub fn note_untrue(&self, what: impl FnOnce() -> String) {
        self.book.send_modify(|book| {
            book.violations.note(|all| &mut all.untrue, what);
        });
    }

    /// Makes room for so many calls, so that the growth of the account disturbs no measurement of memory.
    pub fn reserve(&self, calls: usize) {
        self.book.send_modify(|book| book.entries.reserve_exact(calls));
    }

    /// Bytes that the account holds so far: a few per call.
    pub fn account_bytes(&self) -> usize {
        self.book.borrow().entries.len() * size_of::<Entry>()
    }

    /// Calls that were made so far.
    pub fn calls(&self) -> usize {
        self.book.borrow().entries.len()
    }

    /// Calls without an answer so far.
    pub fn open_calls(&self) -> usize {
        self.book.borrow().open
    }

    /// What the calls came to, once every caller is done. Servers that count arrivals are asked whether the answers were
    /// true.
    ///
    /// # Errors
    /// [`Violations`], if there were any.
    pub fn verdict<'a>(
        &self,
        servers: impl IntoIterator<Item = &'a ScriptedServer>,
    ) -> Result<Tally, Violations> {
        let servers: Vec<&ScriptedServer> = servers.into_iter().collect();
        if servers.is_empty() {
            return self.judge(None);
        }
        self.judge(Some(&|number| servers.iter().map(|server| server.executions(number)).sum()))
    }

    /// The same where others count the arrivals: `arrivals` says how often the call of a number arrived.
    ///
    /// # Errors
    /// [`Violations`], if there were any.
    pub fn verdict_by(&self, arrivals: impl Fn(u64) -> u32) -> Result<Tally, Violations> {
        self.judge(Some(&arrivals))
    }

    fn judge(&self, arrivals: Option<&dyn Fn(u64) -> u32>) -> Result<Tally, Violations> {
        let book = self.book.borrow();
        let mut violations = book.violations.clone();
        for (number, entry) in book.entries.iter().enumerate() {
            if *entry == Entry::Open {
                violations.note(|all| &mut all.lost, || format!("call {number} has no answer"));
            }
            let Some(arrivals) = arrivals.map(|arrivals| arrivals(number as u64)) else { continue };
            let (repeatable, untrue) = match entry {
                // Its answer might have said so.
                Entry::Open => (true, false),
                Entry::Cancelled { repeatable } => (*repeatable, false),
                Entry::Ok { repeatable } => (*repeatable, arrivals == 0),
                Entry::Error { repeatable, delivery } => (
                    *repeatable,
                    match delivery {
                        Effect::NotSent => arrivals > 0,
                        Effect::Rejected | Effect::Failed => arrivals == 0,
                        Effect::Unknown => false,
                    },
                ),
            };
            if arrivals > 1 && !repeatable {
                violations.note(|all| &mut all.executed_twice, || {
                    format!(
                        "call {number} arrived {arrivals} times, was not declared safe to repeat, and ended as \
                         {entry:?}"
                    )
                });
            }
            if untrue {
                violations.note(
                    |all| &mut all.untrue,
                    || format!("call {number} arrived {arrivals} times and ended as {entry:?}"),
                );
            }
        }
        if violations.any() { Err(violations) } else { Ok(book.tally.clone()) }
    }
}

impl Book {
    fn settle(
        &mut self,
        number: usize,
        repeatable: bool,
        answer: &Result<Reply, CallError>,
        took: Duration,
        limit: Duration,
    ) {
        self.tally.calls += 1;
        let settled = match answer {
            Ok(_) => {
                self.tally.ok += 1;
                Entry::Ok { repeatable }
            }
            Err(error) => {
                *self.tally.errors.entry(error.kind().name()).or_default() += 1;
                let delivery = match (error.kind(), error.effect()) {
                    // A status in place of a message comes from before the server's work: nothing may have arrived.
                    (CallErrorKind::Refused(_), Effect::Rejected) => Effect::NotSent,
                    (_, outcome) => outcome,
                };
                Entry::Error { repeatable, delivery }
            }
        };
        if std::mem::replace(&mut self.entries[number], settled) == Entry::Open {
            self.open -= 1;
        } else {
            self.violations.note(|all| &mut all.doubled, || format!("call {number} was answered twice"));
        }
        if took > limit + LATENESS_MAX {
            self.violations.note(
                |all| &mut all.late,
                || format!("call {number} was answered after {took:?}, its limit was {limit:?}"),
            );
        }
    }
}

/// The call, with its number for the server.
fn numbered(call: Call, number: usize) -> Call {
    let meta = match &call.options().meta {
        Ok(meta) => meta.as_ref().map(RawJson::parse::<serde_json::Map<_, _>>),
        // The call fails for it.
        Err(_) => return call,
    };
    let mut meta = meta.and_then(Result::ok).unwrap_or_default();
    meta.insert(NUMBER.to_owned(), number.into());
    call.meta(meta)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CallErrorKind;
    use crate::id::RequestId;
    use crate::testkit::Script;
    use crate::{Readiness, Server};

    fn book() -> Book {
        Book { entries: vec![Entry::Open; 2], open: 2, ..Book::default() }
    }

    fn refused() -> Result<Reply, CallError> {
        Err(CallError::new(CallErrorKind::Closed, RequestId::random(), "t", None, 0))
    }

    #[test]
    fn a_second_answer_and_a_late_one_are_violations() {
        let limit = Duration::from_secs(1);
        let mut book = book();
        book.settle(0, false, &refused(), limit, limit);
        assert!(!book.violations.any());
        book.settle(0, false, &refused(), limit, limit);
        book.settle(1, false, &refused(), limit + LATENESS_MAX * 2, limit);
        assert_eq!((book.violations.doubled, book.violations.late, book.open), (1, 1, 0));
    }

    #[tokio::test]
    async fn an_account_that_is_right_is_confirmed_and_one_that_is_wrong_is_not() {
        let server = ScriptedServer::builder().tool("t", Script::Echo).start().await;
        let troupe = Troupe::builder().server(Server::websocket("s", server.url())).start().await.unwrap();
        troupe.ready(Readiness::All).await.unwrap();
        let checker = AnswerChecker::new(&troupe, &Settings::default());
        for _ in 0..3 {
            checker.call(Call::tool("t").meta(serde_json::json!({"trace": "x"}))).await.unwrap();
        }
        let tally = checker.verdict([&server]).unwrap();
        assert_eq!((tally.calls, tally.ok), (3, 3));
        let stranger = ScriptedServer::builder().start().await;
        assert_eq!(checker.verdict([&stranger]).unwrap_err().untrue, 3, "no such call ever arrived there");
        let twice = checker.verdict_by(|_| 2).unwrap_err();
        assert_eq!((twice.executed_twice, twice.untrue), (3, 0), "none was declared safe to repeat");
        checker.book.send_modify(|book| book.entries[0] = Entry::Open);
        assert_eq!(checker.verdict([&server]).unwrap_err().lost, 1);
        checker.book.send_modify(|book| book.entries.clear());
        assert_eq!(checker.verdict([&server]).unwrap(), tally);
        checker.note_crossed(|| "an answer was another's".to_owned());
        let crossed = checker.verdict([&server]).unwrap_err();
        assert_eq!((crossed.crossed, crossed.told.len()), (1, 1));
        troupe.shutdown().await;
    }

    #[tokio::test]
    async fn a_caller_who_leaves_is_owed_no_answer() {
        let server = ScriptedServer::builder().tool("t", Script::Silence).start().await;
        let troupe = Troupe::builder().server(Server::websocket("s", server.url())).start().await.unwrap();
        let checker = AnswerChecker::new(&troupe, &Settings::default());
        let caller = tokio::spawn({
            let checker = checker.clone();
            async move { checker.call(Call::tool("t")).await }
        });
        server.wait_for(|seen| seen.calls.contains_key("t")).await;
        assert_eq!(checker.open_calls(), 1);
        caller.abort();
        assert!(caller.await.is_err());
        let tally = checker.verdict([&server]).unwrap();
        assert_eq!((checker.open_calls(), tally.calls, tally.cancelled), (0, 0, 1));
        assert_eq!(checker.verdict_by(|_| 2).unwrap_err().executed_twice, 1, "it counts all the same");
        troupe.shutdown().await;
    }
}
