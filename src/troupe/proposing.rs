//! What the host says of a call before it is made: it may change it, ask somebody, or deny it.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::Troupe;
use super::calling::{CallFuture, NewsSender, unplaced};
use crate::call::{Call, Errand, Request};
use crate::error::{CallError, CallErrorKind};
use crate::id::ServerId;
use crate::json::RawJson;
use crate::news;
use crate::policy::catalogue::{Resolution, Tool};

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
    /// yet, or several groups do.
    pub fn tool(&self) -> Option<&Tool> {
        self.tool.as_ref()
    }

    /// The arguments, a JSON object; none where there are none, or they are wrong, in which case the call fails by itself.
    pub fn arguments(&self) -> Option<&RawJson> {
        self.call.right_args()
    }

    /// The one server that it may go to, by the caller's choice or by a lease. Of several that offer the tool the troupe chooses
    /// when the call is made.
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
        Self(news::reason(reason))
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
        let of_tool = call.request == Request::Tool && call.errand != Errand::Lease;
        self.0.clone().filter(|_| of_tool)
    }
}

impl Troupe {
    /// The call, after the host has agreed to it, where it wants to be asked.
    pub(super) fn propose(&self, call: Call, news: NewsSender) -> CallFuture {
        let Some(hook) = self.0.before_call.of(&call) else { return self.begin(call, news) };
        // The troupe ends with its last handle, also while somebody thinks about it.
        let troupe = Arc::downgrade(&self.0);
        let proposed = self.proposed(call);
        CallFuture::after(async move {
            let (name, errand) = (proposed.name().to_owned(), proposed.call.errand.clone());
            let streamed = proposed.call.streamed;
            let denied = |reason| unplaced(CallErrorKind::Denied { reason }, &name);
            let verdict = AssertUnwindSafe(async move { hook(proposed).await }).catch_unwind().await;
            let mut call = match verdict {
                Ok(Ok(call)) => call,
                Ok(Err(Denied(reason))) => return Err(denied(reason)),
                // What nobody has agreed to is not made.
                Err(_) => return Err(denied("the host's hook panicked".to_owned())),
            };
            // Over whose connection it goes, and who listens to its progress, is no matter of the hook's.
            (call.errand, call.streamed) = (errand, streamed);
            let troupe = troupe.upgrade().map(Troupe);
            let troupe = troupe.ok_or_else(|| unplaced(CallErrorKind::Closed, &name))?;
            Ok::<_, CallError>(troupe.begin(call, news))
        })
    }

    fn proposed(&self, call: Call) -> ProposedCall {
        let roster = self.0.roster.borrow().clone();
        let group = call.options().selector.group.as_deref();
        let tool = match call.too_long() {
            None => match roster.catalogue.resolve(&call.tool, group, |_| true) {
                Resolution::Found(tool) => Some(tool.clone()),
                Resolution::Several(_) | Resolution::Ambiguous(_) | Resolution::Unknown => None,
            },
            // The call fails for it, without having been looked up.
            Some(_) => None,
        };
        let leased = match &call.errand {
            Errand::Leased(key) => Some(key.server.clone()),
            Errand::Tool | Errand::Lease => None,
        };
        ProposedCall { call, tool, leased }
    }
}
