//! Those who call, and what they see.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use mcp_troupe::testkit::AnswerChecker;
use mcp_troupe::{Call, CallError, CallErrorKind, Priority, Reply};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Chaos;
use super::cast::User;
use super::memory;

/// The share of the calls after which the memory is measured for the first time: by then everything was killed once, and
/// what stays allocated for good is there.
const WARM_UP: f64 = 0.3;

/// How long a caller waits after an error. Without a pause a moment in which nothing plays would use up all calls.
const AFTER_ERROR: Duration = Duration::from_millis(1);

/// The shortest deadline, and the shortest patience: some calls end by it, and some do not.
const HASTE: Duration = Duration::from_millis(2);

/// What a call says, which its answer must carry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// The user whose call it is.
    pub user: String,
    /// The number of the call.
    pub n: u64,
    /// The lease that it is made on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
}

/// What the tools `keep` and `kept` answer.
#[derive(Debug, Deserialize)]
pub struct Kept {
    pub now: Mark,
    /// What was kept for this connection before.
    pub before: Option<Mark>,
}

/// What the callers saw.
pub struct Account {
    /// From the last strike to each error that it may have caused, in microseconds.
    pub kill_to_error_us: Histogram<u64>,
    /// How long the calls took, in microseconds.
    pub latency_us: Histogram<u64>,
    pub elapsed: Duration,
    /// Resident bytes, without the account, after the warm-up.
    pub warm_bytes: Option<u64>,
}

impl Account {
    fn new() -> Self {
        let histogram = Histogram::new(3).expect("three significant digits are within hdrhistogram's 0 to 5");
        Self {
            kill_to_error_us: histogram.clone(),
            latency_us: histogram,
            elapsed: Duration::ZERO,
            warm_bytes: None,
        }
    }
}

/// The numbers of calls, which all who call take from one place.
#[derive(Clone)]
pub struct Numbers {
    next: Arc<AtomicU64>,
    end: u64,
}

impl Numbers {
    pub fn new(end: u64) -> Self {
        Self { next: Arc::default(), end }
    }

    /// The next one, if there are more calls to make.
    pub fn take(&self) -> Option<u64> {
        let claim = |n: u64| (n < self.end).then_some(n + 1);
        self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim).ok()
    }

    pub fn taken(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    pub fn end(&self) -> u64 {
        self.end
    }
}

/// The callers of one run.
pub struct Callers {
    checker: AnswerChecker,
    numbers: Numbers,
    concurrency: u32,
    servers: u32,
    /// When something was struck last.
    strikes: watch::Sender<Option<Instant>>,
    /// One for all callers: histograms of their own would be most of the memory that is measured.
    account: watch::Sender<Account>,
}

impl Callers {
    pub fn new(checker: &AnswerChecker, numbers: &Numbers, chaos: &Chaos) -> Self {
        Self {
            checker: checker.clone(),
            numbers: numbers.clone(),
            concurrency: chaos.concurrency,
            servers: chaos.servers,
            strikes: watch::Sender::new(None),
            account: watch::Sender::new(Account::new()),
        }
    }

    /// Where the schedule notes its strikes.
    pub fn strikes(&self) -> watch::Sender<Option<Instant>> {
        self.strikes.clone()
    }

    /// Begins to make calls.
    pub fn start(&self) -> JoinSet<()> {
        let warm = (self.numbers.end() as f64 * WARM_UP) as u64;
        let mut callers = JoinSet::new();
        for _ in 0..self.concurrency {
            let (checker, numbers) = (self.checker.clone(), self.numbers.clone());
            let (strikes, account) = (self.strikes.subscribe(), self.account.clone());
            callers.spawn(one_caller(checker, numbers, self.servers, warm, strikes, account));
        }
        callers
    }

    /// What they saw, when they have made all calls since `begun`.
    pub fn account(&self, begun: Instant) -> Account {
        let mut account = self.account.send_replace(Account::new());
        account.elapsed = Instant::now().saturating_duration_since(begun);
        account
    }
}

async fn one_caller(
    checker: AnswerChecker,
    numbers: Numbers,
    servers: u32,
    warm: u64,
    strikes: watch::Receiver<Option<Instant>>,
    account: watch::Sender<Account>,
) {
    while let Some(n) = numbers.take() {
        if n == warm {
            let warm_bytes = memory::resident_without(memory::account(&checker, servers));
            account.send_modify(|account| account.warm_bytes = warm_bytes);
        }
        let begun = Instant::now();
        let plan = CallPlan::of(n, servers);
        let answer = checker.call(plan.call());
        let answer = if plan.leaves {
            match tokio::time::timeout(HASTE, answer).await {
                Ok(answer) => answer,
                // Nobody waits for the answer.
                Err(_) => continue,
            }
        } else {
            answer.await
        };
        let now = Instant::now();
        let latency = now.saturating_duration_since(begun);
        let since_strike = match &answer {
            Ok(reply) => {
                plan.check(reply, &checker);
                None
            }
            Err(error) => strikes.borrow().filter(|_| is_of_a_strike(error)),
        };
        account.send_modify(|account| {
            // Histograms that resize by themselves take every value.
            let _ = account.latency_us.record(us(latency));
            if let Some(strike) = since_strike {
                let _ = account.kill_to_error_us.record(us(now.saturating_duration_since(strike)));
            }
        });
        if answer.is_err() {
            tokio::time::sleep(AFTER_ERROR).await;
        }
    }
}

/// Whether an error is what a strike causes.
fn is_of_a_strike(error: &CallError) -> bool {
    matches!(
        error.kind(),
        CallErrorKind::ConnectionLost { .. } | CallErrorKind::ServerDown { .. } | CallErrorKind::Interrupted
    )
}

/// What the n-th call is like: so that all sorts of calls meet all sorts of strikes.
struct CallPlan {
    n: u64,
    tool: &'static str,
    user: User,
    /// The one server that is to answer it.
    server: Option<u64>,
    repeatable: bool,
    hedged: bool,
    sticky: bool,
    hasty: bool,
    /// Its caller leaves if it takes long.
    leaves: bool,
}

impl CallPlan {
    fn of(n: u64, servers: u32) -> Self {
        let once_in = |calls: u64, place: u64| n % calls == place;
        // Primes, so that all of it meets all of it.
        let tool = if once_in(20_011, 7) {
            "cut"
        } else if once_in(20_011, 11) {
            "break"
        } else if once_in(997, 3) {
            "fail"
        } else if once_in(31, 5) {
            "kept"
        } else if once_in(13, 2) {
            "slow"
        } else {
            "echo"
        };
        Self {
            n,
            tool,
            user: User::ALL[usize::from(!n.is_multiple_of(3))],
            server: once_in(5, 1).then(|| n / 5 % u64::from(servers)),
            repeatable: n.is_multiple_of(2),
            hedged: once_in(53, 9),
            sticky: once_in(7, 4),
            hasty: once_in(101, 15),
            leaves: once_in(103, 17),
        }
    }

    fn mark(&self) -> Mark {
        Mark { user: self.user.mark().to_owned(), n: self.n, lease: None }
    }

    fn call(&self) -> Call {
        let priority = Priority::ALL[(self.n % 3) as usize];
        let mut call = Call::tool(self.tool).args(self.mark()).priority(priority).identity(self.user.mark());
        if let Some(server) = self.server {
            call = call.server(format!("s{server}"));
        }
        if self.repeatable {
            call = call.idempotent();
        }
        if self.hedged {
            call = call.hedged();
        }
        if self.sticky {
            call = call.affinity(self.user.mark());
        }
        if self.hasty { call.timeout(HASTE) } else { call }
    }

    /// Whether an answer is this call's, and nothing that was kept for a lease meets it.
    fn check(&self, reply: &Reply, checker: &AnswerChecker) {
        let mine = match self.tool {
            "kept" => {
                let kept = reply.structured::<Kept>();
                kept.is_ok_and(|kept| kept.now == self.mark() && kept.before.is_none())
            }
            _ => reply.structured::<Mark>().is_ok_and(|mark| mark == self.mark()),
        };
        if !mine {
            checker.note_crossed(|| {
                let answer: Result<Value, _> = reply.structured();
                format!("{:?} was answered by {} with {answer:?}", self.mark(), reply.server)
            });
        }
    }
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
