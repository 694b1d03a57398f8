//! Calls that the cache has to do with, and the host's face of it.
//!
//! ```text
//! of a tool whose results are kept:  ask ──▶ the answer, or an error that an equal call met
//!                                     │ ──▶ lead ──▶ the router ──▶ report, to those who wait as well
//!                                     └──▶ the router: no cache at the moment, or it would not help
//! of a tool that clears:             the router ──▶ clear, unless it was surely not carried out
//! ```
//!
//! What the cache holds is never needed: at every moment of its death a call goes on to the router, with the time it has left.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::Troupe;
use super::call_future::CallContext;
use crate::actors::cache::messages::{Asking, CacheMsg, CacheReply, Caching, Lead};
use crate::actors::registry::roster::Roster;
use crate::actors::{CurrentActors, ask};
use crate::call::{CacheUse, Call, Purpose, Reply, Request};
use crate::config::{CacheScope, ToolName};
use crate::duration::later;
use crate::error::{CallError, CallErrorKind, Deadline, Effect};
use crate::id::{GroupId, RequestId, ServerId};
use crate::json::canonical::canonical;
use crate::policy::catalogue::{Catalogue, Resolution, Tool};
use crate::policy::named_tools;
use crate::policy::response_cache::{
    CachedKind, Demand, Kept, Place, Question, Sweep, Terms, Wanted, Whose, excuses,
};
use crate::policy::routing::Answer;

crate::error::debug_as_display!(CacheError);

/// Calls with larger arguments are not looked up: they are hardly made twice, and to compare them costs more than a hop.
const ARGUMENTS_BYTES_MAX: usize = 64 << 10;

/// The way of a call that the cache has to do with.
pub(super) enum CachePath {
    /// Its result may be kept already.
    Read { wanted: Box<Wanted>, timeout: Duration, caching: Arc<Caching> },
    /// It clears.
    Write { clears: Clears, caching: Arc<Caching> },
}

/// What a call clears.
pub(super) enum Clears {
    /// These.
    These(Vec<Sweep>),
    /// Nobody offers its tool yet; what it was is known when it has ended.
    Unsure,
}

impl CachePath {
    /// None for a call that the cache has nothing to do with, which is found out without an allocation.
    pub(super) fn of(call: &Call, caching: &Arc<Caching>, current_actors: &CurrentActors) -> Option<Self> {
        match (&call.purpose, call.request) {
            (Purpose::Tool | Purpose::OnLease(_), Request::Tool) if caching.rules.is_empty() => return None,
            (Purpose::Tool | Purpose::OnLease(_), Request::Tool) => {}
            (Purpose::Tool, Request::Resource) => {
                return Self::declared(call, CachedKind::Resource, caching, current_actors);
            }
            (Purpose::Tool, Request::Prompt) => {
                return Self::declared(call, CachedKind::Prompt, caching, current_actors);
            }
            // A lease is no tool, and what is seen on one is its holder's.
            (Purpose::OpenLease, _)
            | (Purpose::OnLease(_), Request::Resource | Request::Prompt)
            | (_, Request::Completion(_)) => return None,
        }
        let roster = caching.roster.borrow();
        let resolved =
            roster.catalogue.resolve(&call.tool, call.options().selector.group.as_deref(), |_| true);
        if let Resolution::Found(tool) = &resolved
            && let Some(reading) = caching.rules.reading(tool, &roster.catalogue)
        {
            current_actors.cache.as_ref()?;
            let terms = Terms::of(CachedKind::Tool, Some(reading))?;
            let named = (CachedKind::Tool, &tool.group, &tool.name);
            let place = place(call, named, reading.scope)?;
            let named = Some((&tool.group, &*tool.name));
            let timeout = deadline(call, named, &tool.servers, caching, &roster);
            return Self::read(call, place, terms, timeout, caching);
        }
        let clears = match resolved {
            Resolution::Found(tool) => Clears::These(caching.rules.sweeps(tool, &roster.catalogue)),
            Resolution::Several(_) | Resolution::Ambiguous(_) | Resolution::Unknown => Clears::Unsure,
        };
        match &clears {
            Clears::These(sweeps) if sweeps.is_empty() => None,
            Clears::These(_) | Clears::Unsure => Some(Self::Write { clears, caching: caching.clone() }),
        }
    }

    /// The way of a call whose result itself says how long it may be kept.
    fn declared(
        call: &Call,
        kind: CachedKind,
        caching: &Arc<Caching>,
        current_actors: &CurrentActors,
    ) -> Option<Self> {
        if !caching.settings.cache.declared {
            return None;
        }
        current_actors.cache.as_ref()?;
        let roster = caching.roster.borrow();
        let (catalogue, group) = (&roster.catalogue, call.options().selector.group.as_deref());
        let (name, group, servers): (Arc<str>, &GroupId, &[ServerId]) = match kind {
            CachedKind::Resource => match catalogue.holders(&call.tool, group).ok()?.as_slice() {
                [(group, servers)] => (call.tool.as_str().into(), *group, *servers),
                [] | [_, ..] => return None,
            },
            CachedKind::Prompt => match catalogue.resolve_prompt(&call.tool, group, |_| true) {
                Resolution::Found(prompt) => (prompt.name.clone(), &prompt.group, &prompt.servers),
                Resolution::Several(_) | Resolution::Ambiguous(_) | Resolution::Unknown => {
                    return None;
                }
            },
            CachedKind::Tool => return None,
        };
        let terms = Terms::of(kind, None)?;
        let mut place = place(call, (kind, group, &name), CacheScope::Shared)?;
        // Until its answer says otherwise it is the caller's own.
        place.whose = Whose::Identity(call.options().identity.clone());
        let timeout = deadline(call, None, servers, caching, &roster);
        Self::read(call, place, terms, timeout, caching)
    }

    fn read(
        call: &Call,
        place: Place,
        terms: Terms,
        timeout: Duration,
        caching: &Arc<Caching>,
    ) -> Option<Self> {
        let demand = match call.options().cache {
            CacheUse::Usual => Demand::Usual,
            CacheUse::Refresh => Demand::Fetched,
            CacheUse::Bypass => return None,
        };
        let wanted = Box::new(Wanted { place, terms, priority: call.priority, demand });
        Some(Self::Read { wanted, timeout, caching: caching.clone() })
    }

    /// The call's way to its answer.
    pub(super) async fn perform(self, trip: CallContext, call: Arc<Call>) -> Answer {
        match self {
            Self::Read { wanted, timeout, caching } => read(*wanted, timeout, caching, trip, call).await,
            Self::Write { clears, caching } => write(clears, caching, trip, call).await,
        }
    }
}

/// Where the result of a call is kept; none if it cannot be told from others.
fn place(
    call: &Call,
    (kind, group, name): (CachedKind, &GroupId, &Arc<str>),
    scope: CacheScope,
) -> Option<Place> {
    match call.purpose {
        Purpose::Tool => {}
        // What a lease sees is its holder's.
        Purpose::OnLease(_) | Purpose::OpenLease => return None,
    }
    // What is bound to one server alone neither takes what another has said nor speaks for those that are not.
    let strict = call.options().affinity.as_ref().is_some_and(|affinity| affinity.strict);
    let whose = match scope {
        CacheScope::Shared | CacheScope::Identity if strict => return None,
        CacheScope::Shared => Whose::Everyone,
        CacheScope::Affinity => Whose::Affinity(call.options().affinity.as_ref()?.key.clone()),
        CacheScope::Identity => Whose::Identity(Some(call.options().identity.clone()?)),
    };
    // It has the answers of one caller in it; or its caller wants to hear of the work, which a kept result has none of.
    if call.options().input.is_some() || call.streamed {
        return None;
    }
    // A call that is wrong is refused by the router.
    call.options().meta.as_ref().ok()?;
    let arguments = match call.args.as_ref().ok()? {
        None => String::new(),
        Some(args) if args.len() > ARGUMENTS_BYTES_MAX => return None,
        Some(args) => canonical(args).ok()?,
    };
    let question = Question {
        kind,
        group: group.clone(),
        name: name.clone(),
        selector: call.options().selector.clone(),
        arguments,
    };
    Some(Place { question: Arc::new(question), whose })
}

/// The time of a call, as the router would find it.
fn deadline(
    call: &Call,
    tool: Option<(&GroupId, &str)>,
    servers: &[ServerId],
    caching: &Caching,
    roster: &Roster,
) -> Duration {
    let settings = &caching.settings;
    let timeout = |(group, tool): (&GroupId, &str)| {
        named_tools::timeout(settings, &roster.catalogue, &call.tool, group.as_str(), tool)
    };
    let of_tool = || tool.and_then(timeout);
    let of_servers = || servers.iter().filter_map(|server| roster.entry(server)?.timeout).max();
    call.timeout.or_else(of_tool).or_else(of_servers).unwrap_or(settings.call_timeout)
}

async fn read(
    wanted: Wanted,
    timeout: Duration,
    caching: Arc<Caching>,
    trip: CallContext,
    call: Arc<Call>,
) -> Answer {
    let Some(cache) = trip.current_actors.borrow().cache.clone() else {
        return trip.perform(call, None).await;
    };
    let (place, terms, started) = (wanted.place.clone(), wanted.terms, trip.started);
    let current_actors = trip.current_actors.clone();
    let asking = Asking { wanted, call: (trip.id, call.clone()), caching: caching.clone() };
    let asked = ask(&cache, |port| CacheMsg::Ask { asking: Box::new(asking), port });
    let answer = match timeout_at(later(started, timeout), asked).await {
        Ok(Ok(CacheReply::Answer(kept))) => return Ok(reply(kept, started)),
        Ok(Ok(CacheReply::Failed(error))) => return Err(error.shared_with(&call.tool)),
        Ok(Ok(CacheReply::Lead(lead))) => lead_on(lead, &caching, &terms, trip, call).await,
        // It ended, or would not help.
        Ok(Ok(CacheReply::Alone) | Err(_)) => trip.perform(call, None).await,
        Err(_) => {
            // The request that it waited for was that of an equal call; of its own nothing was sent.
            let kind = CallErrorKind::DeadlineExceeded { deadline: Deadline::Total, timeout, sent: false };
            Err(CallError::new(kind, RequestId::random(), call.tool.clone(), None, 0))
        }
    };
    match answer {
        Err(error) if excuses(error.kind()) && excusable(&terms) => {
            match excuse(&current_actors, place, terms, error.clone()).await {
                Some(kept) => Ok(reply(kept, started)),
                None => Err(error),
            }
        }
        answer => answer,
    }
}

/// Makes the request that others may wait for. Dropped on the way, it passes the lead on.
async fn lead_on(lead: Lead, caching: &Caching, terms: &Terms, trip: CallContext, call: Arc<Call>) -> Answer {
    let answer = trip.perform(call, None).await;
    lead.report(caching, terms, &answer);
    answer
}

/// Whether a stale result may take the place of an error.
fn excusable(terms: &Terms) -> bool {
    match terms {
        Terms::Ruled(lifetime) | Terms::Hinted(lifetime) => !lifetime.if_error.is_zero(),
        Terms::Declared => false,
    }
}

async fn excuse(
    current_actors: &watch::Receiver<CurrentActors>,
    place: Place,
    terms: Terms,
    error: CallError,
) -> Option<Kept> {
    let cache = current_actors.borrow().cache.clone()?;
    ask(&cache, |port| CacheMsg::Excuse { place, terms, error, port }).await.ok()?
}

/// A fresh reply with a result that another call has fetched.
fn reply(kept: Kept, started: Instant) -> Reply {
    let Kept { server, group, tool, result } = kept;
    Reply {
        request_id: RequestId::random(),
        server,
        group,
        tool: tool.to_string(),
        result,
        duration: Instant::now().saturating_duration_since(started),
        attempts: 0,
        earlier_servers: Vec::new(),
        cached: true,
        lease: None,
    }
}

async fn write(clears: Clears, caching: Arc<Caching>, trip: CallContext, call: Arc<Call>) -> Answer {
    let current_actors = trip.current_actors.clone();
    let mut guard = ClearOnDrop { clears, caching, call: call.clone(), current_actors, harmless: false };
    let answer = trip.perform(call, None).await;
    guard.harmless = match &answer {
        Ok(_) => false,
        Err(error) => match error.effect() {
            Effect::NotSent | Effect::Rejected => true,
            Effect::Unknown | Effect::Failed => false,
        },
    };
    answer
}

/// Clears what a call has made wrong, before its caller learns that it has ended. A caller who leaves does not know whether
/// it was carried out, so then it clears as well.
struct ClearOnDrop {
    clears: Clears,
    caching: Arc<Caching>,
    call: Arc<Call>,
    current_actors: watch::Receiver<CurrentActors>,
    /// It was surely not carried out.
    harmless: bool,
}

impl Drop for ClearOnDrop {
    fn drop(&mut self) {
        if self.harmless {
            return;
        }
        let sweeps = match std::mem::replace(&mut self.clears, Clears::Unsure) {
            Clears::These(sweeps) => sweeps,
            Clears::Unsure => self.sweeps_of_all_meant(),
        };
        if !sweeps.is_empty() {
            self.current_actors.borrow().tell_cache(CacheMsg::Wrote(sweeps));
        }
    }
}

impl ClearOnDrop {
    /// What all tools clear that the call may have meant.
    fn sweeps_of_all_meant(&self) -> Vec<Sweep> {
        let (Caching { rules, roster, .. }, call) = (&*self.caching, &self.call);
        let (roster, group) = (roster.borrow(), call.options().selector.group.as_deref());
        let mut sweeps = Vec::new();
        let catalogue: &Catalogue = &roster.catalogue;
        let of = |tool: &Tool| rules.sweeps(tool, catalogue);
        match catalogue.resolve(&call.tool, group, |_| true) {
            Resolution::Found(tool) => sweeps.extend(of(tool)),
            Resolution::Several(tools) => sweeps.extend(tools.into_iter().flat_map(of)),
            Resolution::Ambiguous(names) => {
                for name in names {
                    if let Resolution::Found(tool) = catalogue.resolve(&name, None, |_| true) {
                        sweeps.extend(of(tool));
                    }
                }
            }
            // Its server may be gone by now.
            Resolution::Unknown => {
                if let Ok(name) = ToolName::parse(&call.tool) {
                    sweeps.extend(rules.sweeps_of_name(&name.tool, name.group.as_ref(), catalogue));
                }
            }
        }
        sweeps
    }
}

/// What is kept and may be cleared by order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cached {
    /// Everything.
    Everything,
    /// All results of requests of this kind.
    Kind(CachedKind),
    /// The results of this group's servers.
    Group(String),
    /// The results of this tool: its bare name, for all groups, or `group/tool`.
    Tool(String),
}

/// Why nothing was cleared.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// What was named can be no group or tool.
    #[error("{0}")]
    NoName(String),
    /// There is no cache at the moment: it is restarted and has nothing, or the troupe has ended.
    #[error("there is no cache at the moment, and so nothing kept")]
    Gone,
}

/// Orders to the response cache.
#[derive(Debug)]
pub struct CacheControl<'a> {
    pub(super) troupe: &'a Troupe,
}

impl CacheControl<'_> {
    /// Drops kept results, and says how many. Requests that are under way are answered and not kept.
    ///
    /// # Errors
    /// A name that can be none, or no cache at the moment.
    pub async fn clear(&self, what: Cached) -> Result<usize, CacheError> {
        let sweep = match what {
            Cached::Everything => Sweep::Everything,
            Cached::Kind(kind) => Sweep::Kind(kind),
            Cached::Group(group) => {
                let group = GroupId::new(group).map_err(|error| CacheError::NoName(error.to_string()))?;
                Sweep::Group(group)
            }
            Cached::Tool(tool) => Sweep::Tool(ToolName::parse(&tool).map_err(CacheError::NoName)?),
        };
        let cache = self.troupe.0.current_actors.borrow().cache.clone().ok_or(CacheError::Gone)?;
        ask(&cache, |port| CacheMsg::Clear { sweep, port }).await.map_err(|_| CacheError::Gone)
    }
}
