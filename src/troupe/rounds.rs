//! Calls whose result asks back: the host's handlers answer, and the call is made again with what they say.
//!
//! ```text
//! call ──▶ result ──complete──▶ the reply
//!   ▲         │ it asks, and everything that it asks has a handler
//!   └─────────┘ at most `limits.roundsMax` times, on the server that asked
//! ```

use std::sync::{Arc, Weak};

use tokio::sync::watch;
use tokio::time::Instant;

use super::call_future::{UpdateSender, ended};
use super::{Inner, Troupe};
use crate::actors::CurrentActors;
use crate::call::{Call, InputRequired, Reply};
use crate::error::{CallError, CallErrorKind, RpcError};
use crate::id::RequestId;
use crate::json::RawJson;
use crate::policy::routing::Answer;
use crate::question::{Asker, ServerRequest};

/// What a call keeps that may be asked back.
pub(super) struct Rounds {
    /// The troupe ends with its last handle, also where a call is under way.
    troupe: Weak<Inner>,
    current_actors: watch::Receiver<CurrentActors>,
    call: Arc<Call>,
    /// Where the updates of it go, in each round.
    updates: UpdateSender,
}

impl Rounds {
    /// Of this call.
    pub(super) fn new(troupe: &Troupe, call: Arc<Call>, updates: UpdateSender) -> Self {
        Self {
            troupe: Arc::downgrade(&troupe.0),
            current_actors: troupe.0.current_actors.clone(),
            call,
            updates,
        }
    }

    /// On whose behalf it is asked: all rounds are one call.
    fn asker(&self, request_id: &RequestId) -> Asker {
        Asker { call: request_id.clone(), handlers: self.call.options().handlers.clone() }
    }

    /// What a reply asks, if the host's handlers can answer all of it.
    pub(super) fn asked(&self, reply: &Reply) -> Option<InputRequired> {
        let asked = reply.input_required()?;
        let troupe = self.troupe.upgrade()?;
        let asker = self.asker(&reply.request_id);
        let known = |request: &RawJson| question(&troupe, reply, request, &asker).is_ok();
        // In bytes of its own: the host may think for minutes, and a small question would keep its whole frame that long.
        asked.requests.values().all(known).then(|| InputRequired {
            requests: asked.requests.iter().map(|(key, request)| (key.clone(), request.detached())).collect(),
            state: asked.state.as_ref().map(RawJson::detached),
        })
    }

    /// Makes the call again with the handlers' answers, until a reply asks nothing more that they can answer.
    pub(super) async fn go_on(self, started: Instant, mut reply: Reply, mut asked: InputRequired) -> Answer {
        let Some(limit) = self.troupe.upgrade().map(|troupe| troupe.settings.borrow().limits.rounds_max)
        else {
            return Err(failed(&reply, CallErrorKind::Closed));
        };
        for _ in 0..limit {
            // As above: what is asked has been copied out of it.
            reply.result = RawJson::empty_object();
            let next = self.next_call(started, &reply, asked).await?;
            let Some(troupe) = self.troupe.upgrade() else {
                return Err(failed(&reply, CallErrorKind::Closed));
            };
            // What the rounds before it did stays done, however this one ends.
            let answer = Troupe(troupe).call_once(Arc::new(next), self.updates.clone()).await;
            let answer = answer.map_err(|error| error.after_attempts(reply.attempts))?;
            reply = Reply {
                duration: Instant::now().saturating_duration_since(started),
                attempts: reply.attempts + answer.attempts,
                ..answer
            };
            match self.asked(&reply) {
                Some(more) => asked = more,
                None => return Ok(reply),
            }
        }
        let reason = format!("it asked back more than {limit} times");
        Err(failed(&reply, CallErrorKind::Unanswered { reason }))
    }

    /// The call once more, with an answer to each question.
    async fn next_call(
        &self,
        started: Instant,
        reply: &Reply,
        asked: InputRequired,
    ) -> Result<Call, CallError> {
        let asker = self.asker(&reply.request_id);
        let mut responses = String::from("{");
        for (key, request) in &asked.requests {
            let Some(troupe) = self.troupe.upgrade() else {
                return Err(failed(reply, CallErrorKind::Closed));
            };
            let unanswered =
                |error: RpcError| failed(reply, CallErrorKind::Unanswered { reason: error.message });
            let question = question(&troupe, reply, request, &asker).map_err(unanswered)?;
            let host_handlers = troupe.host_handlers.clone();
            // While somebody thinks about it the troupe may end.
            drop(troupe);
            let answer = tokio::select! { biased;
                answer = host_handlers.answer(question, asker.handlers.as_deref()) => answer.map_err(unanswered)?,
                () = ended(self.current_actors.clone()) => return Err(failed(reply, CallErrorKind::Closed)),
            };
            if responses.len() > 1 {
                responses.push(',');
            }
            let key = RawJson::from_value(key)
                .map_err(|error| failed(reply, CallErrorKind::Unanswered { reason: error.to_string() }))?;
            responses.push_str(key.as_str());
            responses.push(':');
            responses.push_str(answer.as_str());
        }
        responses.push('}');
        let mut call = (*self.call).clone();
        call = call.server(reply.server.as_str()).answering(RawJson::trusted(responses.into()), asked.state);
        call = call.named(reply.request_id.clone());
        if let Some(timeout) = call.timeout {
            call.timeout = Some(timeout.saturating_sub(Instant::now().saturating_duration_since(started)));
        }
        Ok(call)
    }
}

/// The question that an input request of a reply is.
fn question(
    troupe: &Inner,
    reply: &Reply,
    request: &RawJson,
    asker: &Asker,
) -> Result<ServerRequest, RpcError> {
    #[derive(serde::Deserialize)]
    struct Written<'a> {
        method: String,
        #[serde(borrow, default)]
        params: Option<&'a serde_json::value::RawValue>,
    }
    let unreadable = |error: serde_json::Error| RpcError {
        code: RpcError::INVALID_PARAMS,
        message: format!("an input request cannot be read: {error}"),
        data: None,
    };
    let Written { method, params } = request.parse_borrowed().map_err(unreadable)?;
    let params = params.map(|params| RawJson::from_text(params.get())).transpose().map_err(unreadable)?;
    troupe.host_handlers.question(&reply.server, &method, params, Some(asker))
}

fn failed(reply: &Reply, kind: CallErrorKind) -> CallError {
    let Reply { request_id, tool, server, attempts, .. } = reply;
    CallError::new(kind, request_id.clone(), tool.clone(), Some(server.clone()), *attempts)
}
