//! One call to several servers: the answer of each, or the first success.

use std::collections::BTreeMap;
use std::fmt;
use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use tokio::time::{Instant, timeout_at};

use super::Troupe;
use super::call_future::with_near_names;
use crate::actors::registry::roster::Roster;
use crate::call::{Call, Reply, Request};
use crate::duration::later;
use crate::error::{CallError, CallErrorKind, Deadline, UnavailableServer};
use crate::id::{RequestId, ServerId};
use crate::offer::EntryKind;
use crate::peer_text::OneLine;
use crate::policy::routing::Answer;
use crate::policy::selection::{Knowledge, Prospect, pick};
use crate::stats::ServerInfo;

crate::error::debug_as_display!(CallAnyError);

/// Calls of one fan-out that are open at once: a quarter of what may wait before the router, so that a fan-out to thousands
/// of servers leaves room for the calls of others; and many, since each server that is slow holds one until the deadline.
const OPEN_MAX: usize = 256;

/// Characters of a tool's own error that are shown in a sentence: a peer may send any number.
const SHOWN_MAX: usize = 200;

/// Each server's answer, by its id.
pub type Answers = BTreeMap<ServerId, Result<Reply, CallError>>;

/// How one server failed a [`Troupe::call_any`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AnyFailure {
    /// The call ended without a result.
    Call(CallError),
    /// The tool reported an error of its own: a reply with `isError`.
    Tool(Reply),
}

impl fmt::Display for AnyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => error.kind().fmt(f),
            Self::Tool(reply) => {
                let said = reply.text().err().map(|error| error.to_string()).unwrap_or_default();
                let beginning: String = said.chars().take(SHOWN_MAX).collect();
                OneLine(&beginning).fmt(f)
            }
        }
    }
}

/// Why no server's answer is that of a [`Troupe::call_any`].
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CallAnyError {
    /// Nobody was asked.
    #[error(transparent)]
    Nobody(#[from] CallError),
    /// Everybody was asked, and nobody succeeded.
    #[error("{tool}: none of {} servers succeeded ({})", failures.len(), joined(failures))]
    NoSuccess {
        /// The tool as the call named it.
        tool: String,
        /// How each of them failed.
        failures: BTreeMap<ServerId, AnyFailure>,
    },
}

fn joined(failures: &BTreeMap<ServerId, AnyFailure>) -> String {
    let each: Vec<String> = failures.iter().map(|(server, failure)| format!("{server}: {failure}")).collect();
    each.join("; ")
}

impl Troupe {
    /// Calls a tool on every server that the call's group, tags or server pick and that offers it, at once, and gives each
    /// one's answer. A bare name means the tools of that name in all groups.
    ///
    /// A server that is picked and is down has its own error among the answers; so has one whose tools nobody knows yet,
    /// since it could not be reached. All share one deadline: that of the call, of the tool or of the settings. At most 256
    /// are asked at the same time. Affinity does not apply. Dropping the future cancels every call.
    ///
    /// # Errors
    /// Nobody was asked: [`CallErrorKind::NoMatch`] with the selector where it picks nobody who offers the tool,
    /// [`CallErrorKind::UnknownTool`] where nobody offers it, [`CallErrorKind::InvalidOptions`] where no tool is asked for,
    /// [`CallErrorKind::TooLong`] where a name is longer than any could be.
    ///
    /// ```no_run
    /// # async fn example(troupe: mcp_troupe::Troupe) -> Result<(), mcp_troupe::CallError> {
    /// use mcp_troupe::Call;
    ///
    /// for (server, answer) in troupe.call_all(Call::tool("health").tag("storage")).await? {
    ///     match answer {
    ///         Ok(reply) => println!("{server}: {}", reply.result),
    ///         Err(error) => println!("{server}: {error}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn call_all(&self, call: Call) -> Result<Answers, CallError> {
        let fan = FanOut::new(self, call);
        let picked = fan.picked().await?;
        let answers: Answers = fan.answers(picked).collect().await;
        // Servers that came up meanwhile, and do not offer the tool.
        if answers.is_empty() { Err(fan.nobody().await) } else { Ok(answers) }
    }

    /// Calls a tool on every server as [`call_all`](Self::call_all) does, and gives the first success; the other calls are
    /// called off, and their servers told. So it is for tools that may be carried out more than once.
    ///
    /// A reply whose tool reports an error of its own (`isError`) is no success: another server may do what this one could not.
    ///
    /// # Errors
    /// [`CallAnyError::Nobody`] where nobody was asked; [`CallAnyError::NoSuccess`] with how each server failed.
    pub async fn call_any(&self, call: Call) -> Result<Reply, CallAnyError> {
        let fan = FanOut::new(self, call);
        let picked = fan.picked().await?;
        let mut answers = pin!(fan.answers(picked));
        let mut failures = BTreeMap::new();
        while let Some((server, answer)) = answers.next().await {
            let failure = match answer {
                Ok(reply) if reply.is_error() => AnyFailure::Tool(reply),
                Ok(reply) => return Ok(reply),
                Err(error) => AnyFailure::Call(error),
            };
            failures.insert(server, failure);
        }
        if failures.is_empty() {
            return Err(fan.nobody().await.into());
        }
        Err(CallAnyError::NoSuccess { tool: fan.call.tool.clone(), failures })
    }
}

/// One call to several servers.
struct FanOut<'a> {
    troupe: &'a Troupe,
    call: Call,
    begun: Instant,
    /// Of all its calls, from when it began.
    timeout: Duration,
}

impl<'a> FanOut<'a> {
    /// Its time begins.
    fn new(troupe: &'a Troupe, mut call: Call) -> Self {
        let timeout = {
            let settings = troupe.0.settings.borrow();
            let of_tool = || settings.tool_timeouts.get(&call.tool).copied();
            call.timeout.or_else(of_tool).unwrap_or(settings.call_timeout)
        };
        call.timeout = Some(timeout);
        call.options_mut().affinity = None;
        Self { troupe, call, begun: Instant::now(), timeout }
    }

    /// Whom it concerns, as soon as that can be told.
    async fn picked(&self) -> Result<Vec<(ServerId, Prospect)>, CallError> {
        if let Some(kind) = self.call.too_long() {
            return Err(self.error(kind, None));
        }
        let mut roster = self.troupe.0.roster.clone();
        // Sources that have yet to answer may name somebody.
        let told = roster.wait_for(|roster| roster.told && (roster.complete || self.pick(roster).is_ok()));
        // A deadline that passes, or a troupe that ends, leaves what is known.
        let _ = timeout_at(later(self.begun, self.timeout), told).await;
        let roster = roster.borrow().clone();
        match self.pick(&roster) {
            Ok(picked) => Ok(picked),
            Err(kind) => Err(self.unasked(kind, &roster).await),
        }
    }

    /// The error of a call that nobody is asked, for this reason.
    async fn unasked(&self, kind: CallErrorKind, roster: &Roster) -> CallError {
        let unknown = matches!(kind, CallErrorKind::UnknownTool { .. });
        let error = self.error(kind, None);
        if unknown { with_near_names(error, EntryKind::Tool, roster.catalogue.clone()).await } else { error }
    }

    fn pick(&self, roster: &Roster) -> Result<Vec<(ServerId, Prospect)>, CallErrorKind> {
        match self.call.request {
            Request::Tool => {}
            Request::Resource | Request::Prompt | Request::Completion(_) => {
                let reason = "only tools are called on several servers at once".to_owned();
                return Err(CallErrorKind::InvalidOptions { reason });
            }
        }
        let staying = roster.entries.iter().filter(|entry| !entry.leaving);
        let servers = staying
            .map(|entry| (&entry.info, if entry.listed { Knowledge::Listed } else { Knowledge::Unlisted }));
        pick(&roster.catalogue, servers, &self.call.tool, &self.call.options().selector)
    }

    /// Why nobody was asked, by what is known now.
    async fn nobody(&self) -> CallError {
        let roster = self.roster();
        let selector = self.call.options().selector.describe();
        let kind = self.pick(&roster).err().unwrap_or(CallErrorKind::NoMatch { selector });
        self.unasked(kind, &roster).await
    }

    /// The answers as they come. Dropped, it cancels the calls that are open.
    fn answers(
        &self,
        picked: Vec<(ServerId, Prospect)>,
    ) -> impl Stream<Item = (ServerId, Answer)> + use<'_, 'a> {
        let asked = picked.into_iter().map(move |(server, prospect)| async move {
            let answer = self.ask(&server).await;
            (server, prospect, answer)
        });
        stream::iter(asked).buffer_unordered(OPEN_MAX).filter_map(|(server, prospect, answer)| {
            let answer = match prospect {
                Prospect::Offers => Some(answer),
                Prospect::MayOffer => self.of_prospect(&server, answer),
            };
            ready(answer.map(|answer| (server, answer)))
        })
    }

    async fn ask(&self, server: &ServerId) -> Answer {
        if later(self.begun, self.timeout) <= Instant::now() {
            let kind = CallErrorKind::DeadlineExceeded {
                deadline: Deadline::Total,
                timeout: self.timeout,
                sent: false,
            };
            return Err(self.error(kind, Some(server.clone())));
        }
        self.troupe.call(self.call.clone().server(server.as_str()).one_of_several()).begun(self.begun).await
    }

    /// The answer of a server whose tools were not known: none where it turned out that it does not offer the tool, and why it
    /// could not be reached where it could not.
    fn of_prospect(&self, server: &ServerId, answer: Answer) -> Option<Answer> {
        let not_offered = |kind: &CallErrorKind| {
            matches!(kind, CallErrorKind::NoMatch { .. } | CallErrorKind::UnknownTool { .. })
        };
        match answer {
            Err(error) if not_offered(error.kind()) => {
                let roster = self.roster();
                let entry = roster.entries.iter().find(|entry| entry.info.id == *server)?;
                if entry.listed {
                    return None;
                }
                let kind =
                    CallErrorKind::Unavailable { servers: vec![unavailable(&entry.info_at(Instant::now()))] };
                Some(Err(self.error(kind, Some(server.clone()))))
            }
            answer => Some(answer),
        }
    }

    fn roster(&self) -> Arc<Roster> {
        self.troupe.0.roster.borrow().clone()
    }

    fn error(&self, kind: CallErrorKind, server: Option<ServerId>) -> CallError {
        CallError::new(kind, RequestId::random(), &*self.call.tool, server, 0)
    }
}

/// Why a server takes no calls, as the roster knows it.
fn unavailable(info: &ServerInfo) -> UnavailableServer {
    let next_attempt = info.retry_at.map(|at| at.saturating_duration_since(Instant::now()));
    UnavailableServer::new(info.id.clone(), info.status, info.reason.clone(), next_attempt)
}
