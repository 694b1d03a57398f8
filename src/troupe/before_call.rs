//! What the host says of a call before it is made: it may change it, ask somebody, or deny it.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::Troupe;
use super::call_future::{CallFuture, UpdateSender, ended, unplaced};
use crate::call::{Call, Purpose, Request};
use crate::error::{CallError, CallErrorKind};
use crate::id::ServerId;
use crate::json::RawJson;
use crate::peer_text;
use crate::policy::catalogue::{Resolution, Tool};
use crate::spans::{CallSpan, SharedSpan};

/// A tool call that is about to be made, as [`TroupeBuilder::before_call`](crate::TroupeBuilder::before_call) sees it.
#[derive(Debug)]
pub struct ProposedCall {
    call: Call,
    tool: Option<Tool>,
    leased: Option<ServerId>,
}

impl ProposedCall {
    /// The tool as the caller names it.
    pub fn name(&self) -> &str {
        &self.call.tool
    }

    /// The tool as the catalogue has it at this moment: its group, servers, description and hints. None where no server offers it
    /// yet, or several groups do. Where the call may go to [one server](Self::server) alone it is described as that server does,
    /// else as the first of the group's.
    pub fn tool(&self) -> Option<&Tool> {
        self.tool.as_ref()
    }

    /// The arguments, a JSON object; none where there are none, or they are wrong, in which case the call fails by itself.
    pub fn arguments(&self) -> Option<&RawJson> {
        self.call.right_args()
    }

    /// The one server that it may go to: by the caller's choice, by a lease, or since it is one of the calls of a
    /// [`call_all`](crate::Troupe::call_all). Of several that offer the tool the troupe chooses when the call is made.
    pub fn server(&self) -> Option<&str> {
        self.leased.as_ref().map(ServerId::as_str).or(self.call.options().selector.server.as_deref())
    }

    /// For whom it is made, see [`Call::identity`].
    pub fn identity(&self) -> Option<&str> {
        self.call.options().identity.as_deref()
    }

    /// The call, to be made as it is or with other arguments and options.
    pub fn into_call(self) -> Call {
        self.call
    }
}

/// A call that the host does not want to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied(String);

impl Denied {
    /// With this reason, which the caller is told: the first 1 KiB of it.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self(peer_text::reason(reason))
    }
}

/// What a hook has no say in, whichever call it gives.
struct Kept {
    /// Over whose connection it goes.
    purpose: Purpose,
    /// Somebody listens to its progress.
    streamed: bool,
    /// Its place in the tree of spans.
    span: Option<SharedSpan>,
    /// The server that its answer is told of, and the deadline that it shares with the others, where it is one of several.
    one_of: Option<(String, Duration)>,
}

impl Kept {
    fn of(call: &Call) -> Self {
        let server = call.options().selector.server.clone().filter(|_| call.one_of_several);
        Self {
            purpose: call.purpose.clone(),
            streamed: call.streamed,
            span: call.span.clone(),
            one_of: server.zip(call.timeout),
        }
    }

    fn put_into(self, call: &mut Call) {
        (call.purpose, call.streamed, call.span) = (self.purpose, self.streamed, self.span);
        if let Some((server, shared)) = self.one_of {
            call.timeout = Some(call.timeout.map_or(shared, |own| own.min(shared)));
            let options = call.options_mut();
            (options.selector.server, options.affinity) = (Some(server), None);
        }
    }
}

/// What the host does with each proposed call.
type Hook = dyn Fn(ProposedCall) -> BoxFuture<'static, Result<Call, Denied>> + Send + Sync;

/// The host's hook, if it has one.
#[derive(Clone, Default)]
pub(super) struct BeforeCall(Option<Arc<Hook>>);

impl BeforeCall {
    /// This one.
    pub(super) fn new<F>(hook: impl Fn(ProposedCall) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Call, Denied>> + Send + 'static,
    {
        Self(Some(Arc::new(move |proposed| Box::pin(hook(proposed)))))
    }

    /// The hook, if the call is one that it is to see.
    fn of(&self, call: &Call) -> Option<Arc<Hook>> {
        let of_tool = call.request == Request::Tool && call.purpose != Purpose::OpenLease;
        self.0.clone().filter(|_| of_tool)
    }
}

impl Troupe {
    /// The call, after the host has agreed to it, where it wants to be asked.
    pub(super) fn propose(&self, mut call: Call, updates: UpdateSender) -> CallFuture {
        let span = CallSpan::begin(&mut call);
        let Some(hook) = self.0.before_call.of(&call) else { return self.begin(call, updates).under(span) };
        // The troupe ends with its last handle, also while somebody thinks about it.
        let (troupe, current_actors) = (Arc::downgrade(&self.0), self.0.current_actors.clone());
        let kept = Kept::of(&call);
        let proposed = self.proposed(call);
        let proposal = CallFuture::after(async move {
            let name = proposed.name().to_owned();
            let denied = |reason| unplaced(CallErrorKind::Denied { reason }, &name);
            let verdict = AssertUnwindSafe(async move { hook(proposed).await }).catch_unwind();
            let verdict = tokio::select! { biased;
                verdict = verdict => verdict,
                () = ended(current_actors) => return Err(unplaced(CallErrorKind::Closed, &name)),
            };
            let mut call = match verdict {
                Ok(Ok(call)) => call,
                Ok(Err(Denied(reason))) => return Err(denied(reason)),
                // What nobody has agreed to is not made.
                Err(_) => return Err(denied("the host's hook panicked".to_owned())),
            };
            kept.put_into(&mut call);
            let troupe = troupe.upgrade().map(Troupe);
            let troupe = troupe.ok_or_else(|| unplaced(CallErrorKind::Closed, &name))?;
            Ok::<_, CallError>(troupe.begin(call, updates))
        });
        proposal.under(span)
    }

    fn proposed(&self, call: Call) -> ProposedCall {
        let roster = self.0.roster.borrow().clone();
        let leased = match &call.purpose {
            Purpose::OnLease(key) => Some(key.server.clone()),
            Purpose::Tool | Purpose::OpenLease => None,
        };
        let mut proposed = ProposedCall { call, tool: None, leased };
        // One that is too long fails for it, without having been looked up.
        if proposed.call.too_long().is_none() {
            let (group, server) = (proposed.call.options().selector.group.as_deref(), proposed.server());
            let offers =
                |tool: &Tool| server.is_none_or(|server| tool.servers.iter().any(|id| id.as_str() == server));
            proposed.tool = match roster.catalogue.resolve(proposed.name(), group, offers) {
                Resolution::Found(tool) => offers(tool).then(|| roster.as_described(tool, server)),
                Resolution::Several(_) | Resolution::Ambiguous(_) | Resolution::Unknown => None,
            };
        }
        proposed
    }
}
