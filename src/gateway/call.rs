//! What a request of a client's that takes time is done by.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::call::{Call, Reply};
use crate::call_update::{CallUpdate, LogLevel};
use crate::error::{CallError, CallErrorKind, RpcError};
use crate::json::RawJson;
use crate::policy::catalogue::Catalogue;
use crate::policy::gateway::{Entry, List, View};
use crate::protocol::server::{ClientMeta, Completion, PassedOn};
use crate::troupe::{CallStream, RosterChanges, Troupe};

/// A request of a client's, by the number that it has in its session.
pub(super) type Number = u64;

/// What a server tells of a call, with the call's number.
pub(super) type Told = (Number, CallUpdate);

/// What a client asks of servers.
#[derive(Debug)]
pub(super) enum What {
    Tool(PassedOn),
    Prompt(PassedOn),
    Resource(PassedOn),
    Completion(Completion),
}

/// A call that a client asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub what: What,
    pub meta: ClientMeta,
    /// Until when somebody is waited for to offer it.
    pub until: Instant,
}

/// How the work on a request ended.
#[derive(Debug)]
pub(super) enum Done {
    /// The call was answered.
    Answered(Result<Reply, CallError>),
    /// What it waited for is there, or its time is over: it is looked at anew.
    Again(Box<Wanted>),
    /// The servers that a list waited for have come, or its time is over.
    ListNow(List, Option<String>),
    /// A fault of ours.
    Panicked,
}

impl Wanted {
    /// What it is called by the client.
    pub(super) fn name(&self) -> &str {
        match &self.what {
            What::Tool(passed_on) | What::Prompt(passed_on) | What::Resource(passed_on) => &passed_on.name,
            What::Completion(completion) => &completion.name,
        }
    }

    /// The calls that may give what the client wants, to be made one after the other until one finds it; none where nobody offers
    /// it. A read alone may have several.
    pub(super) fn calls(&self, view: &View, catalogue: &Catalogue, log_level: Option<LogLevel>) -> Vec<Call> {
        // By its group and its own name, which mean no other one.
        let qualified = |entry: &Entry| format!("{}/{}", entry.group, entry.name);
        let name = self.name();
        let calls = match &self.what {
            What::Tool(_) => view
                .list(List::Tools)
                .named(name)
                .map(|tool| Call::tool(qualified(tool)))
                .into_iter()
                .collect(),
            What::Prompt(_) => {
                let prompt = view.list(List::Prompts).named(name);
                prompt.map(|prompt| Call::prompt(qualified(prompt))).into_iter().collect()
            }
            What::Resource(_) => {
                let readers = view.readers(catalogue, name).into_iter();
                readers.map(|(group, uri)| Call::resource(uri).group(group.as_str())).collect()
            }
            What::Completion(Completion { of_prompt: true, .. }) => {
                let prompt = view.list(List::Prompts).named(name);
                prompt.map(|prompt| Call::complete_prompt(qualified(prompt), "", "")).into_iter().collect()
            }
            What::Completion(_) => {
                let template = view.list(List::Templates).named(name);
                let call = |template: &Entry| {
                    Call::complete_template(&*template.name, "", "").group(template.group.as_str())
                };
                template.map(call).into_iter().collect::<Vec<_>>()
            }
        };
        calls.into_iter().map(|call| self.with_what_is_passed_on(call, log_level)).collect()
    }

    /// The call with what the client wrote.
    fn with_what_is_passed_on(&self, mut call: Call, log_level: Option<LogLevel>) -> Call {
        let (arguments, input) = match &self.what {
            What::Tool(passed_on) | What::Prompt(passed_on) => {
                (passed_on.arguments.as_ref(), passed_on.input.as_ref())
            }
            What::Resource(passed_on) => (None, passed_on.input.as_ref()),
            What::Completion(completion) => (Some(&completion.rest), None),
        };
        if let Some(arguments) = arguments {
            call = call.passing_on(arguments.clone());
        }
        if let Some((responses, state)) = input {
            call = call.answering(responses.clone(), state.clone());
        }
        if let Some(level) = log_level {
            call = call.log_level(level);
        }
        if let Some(rest) = &self.meta.rest {
            call = call.meta(rest);
        }
        if let Some(modern) = &self.meta.modern {
            // What is empty is what is declared anyway.
            if !is_empty_object(&modern.capabilities) {
                call = call.capabilities(&modern.capabilities);
            }
        }
        call
    }
}

fn is_empty_object(json: &RawJson) -> bool {
    json.as_bytes().iter().filter(|byte| !byte.is_ascii_whitespace()).eq(b"{}")
}

/// Does some work, whatever it does.
pub(super) async fn guarded(number: Number, work: impl Future<Output = Done>) -> (Number, Done) {
    let done = AssertUnwindSafe(work).catch_unwind().await;
    (number, done.unwrap_or(Done::Panicked))
}

/// Makes calls until one of them finds what is wanted, and tells what servers tell of them to `updates`: as much as there is room
/// for.
pub(super) async fn make(
    troupe: Troupe,
    calls: Vec<Call>,
    updates: Option<(Number, mpsc::Sender<Told>)>,
) -> Done {
    let mut calls = calls.into_iter().peekable();
    loop {
        // It is called with one at least.
        let Some(call) = calls.next() else { return Done::Panicked };
        let answer = match &updates {
            None => troupe.call(call).await,
            Some(updates) => heard(troupe.call_stream(call), updates).await,
        };
        match answer {
            Err(error) if calls.peek().is_some() && is_not_there(&error) => {}
            answer => return Done::Answered(answer),
        }
    }
}

/// Whether a server says that it has no such thing.
fn is_not_there(error: &CallError) -> bool {
    match error.kind() {
        CallErrorKind::Rpc(RpcError { code, .. }) => matches!(code, -32602 | -32002),
        CallErrorKind::UnknownResource | CallErrorKind::NoMatch { .. } => true,
        _ => false,
    }
}

/// The answer of a call, whose updates are passed on.
async fn heard(
    mut stream: CallStream,
    (number, updates): &(Number, mpsc::Sender<Told>),
) -> Result<Reply, CallError> {
    loop {
        match stream.next().await {
            Some(CallUpdate::Answer(answer)) => return answer,
            // A client that reads slowly loses these and no answer.
            Some(told) => drop(updates.try_send((*number, told))),
            None => unreachable!("a stream ends with its answer"),
        }
    }
}

/// Waits for something to change that may bring what is wanted.
pub(super) async fn wait_for_change(mut changes: RosterChanges, mut wanted: Box<Wanted>) -> Done {
    if !changes.next_until(wanted.until).await {
        // Nobody comes any more.
        wanted.until = Instant::now();
    }
    Done::Again(wanted)
}

/// Waits for servers in their first attempt.
pub(super) async fn wait_for_servers(
    troupe: Troupe,
    until: Instant,
    list: List,
    cursor: Option<String>,
) -> Done {
    troupe.without_newcomers(until).await;
    Done::ListNow(list, cursor)
}
