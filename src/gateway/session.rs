//! The session of one channel: all that is known of its client, and the loop that owns it.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::asking::Asking;
use super::call::{Done, Number, Wanted, What, guarded, make, wait_for_change, wait_for_servers};
use super::changes::Changes;
use super::channel::{Ask, ClientChannel};
use super::lists::{Shown, freshness, of_method, page};
use super::{Gateway, ServeError};
use crate::call::Reply;
use crate::call_update::{CallUpdate, LogLevel, cut};
use crate::duration::later;
use crate::error::{CallError, RpcError};
use crate::json::RawJson;
use crate::listen::lines::{LinesIn, LinesOut, MESSAGE_BYTES_MAX};
use crate::policy::gateway::{List, merged};
use crate::protocol::server::{
    ClientId, ClientMessage, Completion, Freshness, NoResult, PassedOn, Refused, agree, answered_id, busy,
    cancelled, cursor, discover_result, error_line, failure, id_of_ends, initialize_result, level, log_line,
    lost, no_result, not_found, not_known_yet, notification_line, progress_line, read, read_meta,
    request_line, result_line, unanswered, write_repaired,
};
use crate::transport::lines::Line;

/// Requests of one client that may be open: more than any host makes, and each may hold an answer.
const OPEN_MAX: usize = 256;

/// Answers that wait to be written, in bytes, from which on the next is not kept: of a client that has stopped reading, whose
/// open calls go on to be answered.
const ANSWERS_BYTES_MAX: usize = 64 << 20;

/// What servers tell of calls and the loop has not passed on.
const UPDATES_MAX: usize = 256;

/// How long the last answers may take to be written when the client has closed its side.
const END_WAIT: Duration = Duration::from_millis(500);

/// Bytes of a name that is told back.
const NAME_BYTES_MAX: usize = 128;

/// A request that takes time.
struct Open {
    id: ClientId,
    modern: bool,
    /// What it asks for is read, and so may stay fresh.
    reads: bool,
    task: AbortHandle,
    hears: Hears,
}

/// What a client wants to hear of a call before its answer.
#[derive(Default)]
struct Hears {
    /// Under which token of its own it is told of progress, and how far that has come.
    progress: Option<(RawJson, f64)>,
    /// From which level on it is told what is logged.
    logs: Option<LogLevel>,
}

/// What holds for the messages of a legacy client.
#[derive(Default)]
struct Legacy {
    /// From which level on it hears what is logged; nothing unless it asks.
    logs: Option<LogLevel>,
}

/// One client.
pub(super) struct Session<W> {
    gateway: Gateway,
    out: LinesOut<W>,
    asking: Asking,
    /// The session that the last `initialize` has begun, if there was one.
    legacy: Option<Legacy>,
    /// When it is told that its lists are others.
    changes: Changes,
    shown: Shown,
    open: HashMap<Number, Open>,
    numbers: HashMap<ClientId, Number>,
    last: Number,
    tasks: JoinSet<(Number, Done)>,
    updates: (mpsc::Sender<(Number, CallUpdate)>, mpsc::Receiver<(Number, CallUpdate)>),
}

impl<W: AsyncWrite + Unpin> Session<W> {
    fn new(gateway: &Gateway, out: LinesOut<W>) -> Self {
        Self {
            gateway: gateway.clone(),
            out,
            asking: Asking::default(),
            legacy: None,
            changes: Changes::default(),
            shown: Shown::new(gateway.clone()),
            open: HashMap::new(),
            numbers: HashMap::new(),
            last: 0,
            tasks: JoinSet::new(),
            updates: mpsc::channel(UPDATES_MAX),
        }
    }

    /// Deals with what the client says, one message after the other, until it says no more.
    pub(super) async fn serve<R: AsyncRead + Unpin>(
        gateway: &Gateway,
        channel: ClientChannel<R, W>,
    ) -> Result<(), ServeError> {
        let ClientChannel { lines, out, first, asked, .. } = channel;
        let mut session = Self::new(gateway, out);
        match first {
            None => {}
            Some(None) => return Ok(()),
            Some(Some(line)) => session.line(line.map_err(ServeError::Read)?),
        }
        session.run(lines, asked).await
    }

    async fn run<R: AsyncRead + Unpin>(
        mut self,
        mut lines: LinesIn<R>,
        mut asked: mpsc::Receiver<Ask>,
    ) -> Result<(), ServeError> {
        let mut changes = self.gateway.troupe.catalogue_changes();
        let mut troupe_ended = false;
        loop {
            if troupe_ended && self.open.is_empty() && self.out.is_done() {
                return Ok(());
            }
            tokio::select! { biased;
                written = self.out.write_some(), if !self.out.is_done() => written.map_err(ServeError::Write)?,
                Some((number, update)) = self.updates.1.recv() => self.update(number, &update),
                Some(ended) = self.tasks.join_next() => self.ended(ended.ok()),
                changed = changes.next(), if !troupe_ended => match changed {
                    Some(_) => self.catalogue_changed(),
                    None => troupe_ended = true,
                },
                () = until(self.changes.due()) => self.tell_of_changes(),
                id = self.asking.taken_back() => self.take_back(id),
                Some(ask) = asked.recv(), if self.asking.has_room() && !self.out.is_full() => self.ask(ask),
                line = lines.next(), if !self.out.is_full() => match line {
                    Some(line) => self.line(line.map_err(ServeError::Read)?),
                    None => break,
                },
            }
        }
        // Nobody reads answers any more but those that are there already.
        self.tasks.abort_all();
        let rest = async {
            while !self.out.is_done() {
                self.out.write_some().await?;
            }
            Ok::<(), io::Error>(())
        };
        // A client that has gone does not read, which is no fault of anybody's.
        let _ = timeout(END_WAIT, rest).await;
        Ok(())
    }

    fn line(&mut self, line: Line) {
        match line {
            Line::Whole(line) => self.message(line),
            Line::TooLong { beginning, end } => {
                let message = format!("the message has more than {MESSAGE_BYTES_MAX} bytes");
                let error = RpcError { code: RpcError::INVALID_REQUEST, message, data: None };
                self.out.push(error_line(id_of_ends(&beginning, &end).as_ref(), &error));
            }
        }
    }

    fn message(&mut self, line: Bytes) {
        match read(line) {
            Ok(ClientMessage::Request { id, method, params }) => {
                if let Err(error) = self.request(&id, &method, params.as_ref()) {
                    self.out.push(error_line(Some(&id), &error));
                }
            }
            Ok(ClientMessage::Notification { method, params }) => self.notification(&method, params.as_ref()),
            Ok(ClientMessage::Response { id, outcome }) => {
                if let Some(id) = answered_id(&id) {
                    self.asking.answered(id, outcome);
                }
            }
            Err(Refused { id, error }) => self.out.push(error_line(id.as_ref(), &error)),
        }
    }

    /// Deals with a request.
    ///
    /// # Errors
    /// What it is answered with where it can be answered with nothing else.
    fn request(&mut self, id: &ClientId, method: &str, params: Option<&RawJson>) -> Result<(), RpcError> {
        if self.numbers.contains_key(id) {
            return Err(wrong(RpcError::INVALID_REQUEST, "a request of this id is open"));
        }
        let meta = read_meta(params)?;
        let modern = meta.modern.is_some();
        match method {
            "server/discover" => {
                let result = discover_result(self.instructions().as_deref(), freshness(&self.gateway).ttl_ms);
                self.answer(id, &result);
            }
            "ping" if !modern => self.answer(id, "{}"),
            "initialize" if !modern => {
                let agreed = agree(params)?;
                let result = initialize_result(agreed.version, self.instructions().as_deref());
                self.legacy = Some(Legacy::default());
                self.answer(id, &result);
            }
            _ if !modern && self.legacy.is_none() => {
                return Err(wrong(
                    RpcError::INVALID_PARAMS,
                    "no initialize came before, and _meta names no protocolVersion: begin with either",
                ));
            }
            "logging/setLevel" if !modern => {
                let level = level(params)?;
                self.legacy.get_or_insert_default().logs = Some(level);
                self.answer(id, "{}");
            }
            _ => {
                if let Some(list) = of_method(method) {
                    return self.list(id, modern, list, cursor(params)?);
                }
                let what = match method {
                    "tools/call" => What::Tool(PassedOn::by_name(params)?),
                    "prompts/get" => What::Prompt(PassedOn::by_name(params)?),
                    "resources/read" => What::Resource(PassedOn::by_uri(params)?),
                    "completion/complete" => What::Completion(Completion::read(params)?),
                    _ => {
                        let method = cut(method.to_owned(), NAME_BYTES_MAX);
                        return Err(wrong(RpcError::METHOD_NOT_FOUND, &format!("unknown method: {method}")));
                    }
                };
                let until = later(Instant::now(), self.gateway.troupe.call_timeout());
                let number = self.admit(id)?;
                self.call(number, id, Box::new(Wanted { what, meta, until }))?;
            }
        }
        Ok(())
    }

    fn notification(&mut self, method: &str, params: Option<&RawJson>) {
        if method == "notifications/cancelled"
            && let Some(id) = cancelled(params)
            && let Some(number) = self.numbers.remove(&id)
            && let Some(open) = self.open.remove(&number)
        {
            // With its task the call is dropped, and so called off. Nobody answers it any more.
            open.task.abort();
        }
    }

    /// A number for a request that takes time.
    fn admit(&mut self, id: &ClientId) -> Result<Number, RpcError> {
        debug_assert!(!self.numbers.contains_key(id), "it was looked up");
        if self.open.len() >= OPEN_MAX {
            return Err(busy(OPEN_MAX));
        }
        self.last = self.last.saturating_add(1);
        Ok(self.last)
    }

    /// Lets a task work on a request.
    fn open(
        &mut self,
        number: Number,
        id: &ClientId,
        (modern, reads): (bool, bool),
        hears: Hears,
        work: impl Future<Output = Done> + Send + 'static,
    ) {
        let task = self.tasks.spawn(guarded(number, work));
        self.numbers.insert(id.clone(), number);
        self.open.insert(number, Open { id: id.clone(), modern, reads, task, hears });
    }

    /// Makes a call, or waits for somebody to offer what it wants.
    fn call(&mut self, number: Number, id: &ClientId, wanted: Box<Wanted>) -> Result<(), RpcError> {
        let troupe = self.gateway.troupe.clone();
        // From before the look on, so that nothing is missed.
        let changes = troupe.roster_changes();
        let may_still_come = troupe.may_still_tell();
        let kind = (wanted.meta.modern.is_some(), matches!(wanted.what, What::Resource(_)));
        let of_session = self.legacy.as_ref().and_then(|legacy| legacy.logs);
        let logs = wanted.meta.modern.as_ref().map_or(of_session, |modern| modern.log_level);
        let (view, catalogue) = self.shown.now();
        let calls = wanted.calls(view, &catalogue, logs);
        if !calls.is_empty() {
            // The first report may be of 0.
            let progress = wanted.meta.progress_token.clone().map(|token| (token, f64::NEG_INFINITY));
            let hears = Hears { progress, logs };
            let wants_updates = hears.progress.is_some() || hears.logs.is_some();
            let updates = wants_updates.then(|| (number, self.updates.0.clone()));
            self.open(number, id, kind, hears, make(troupe, calls, updates));
            return Ok(());
        }
        if may_still_come && Instant::now() < wanted.until {
            self.open(number, id, kind, Hears::default(), wait_for_change(changes, wanted));
            return Ok(());
        }
        Err(self.unknown(&wanted))
    }

    /// What is said of something that nobody offers: it is unknown only where all have told what they offer.
    fn unknown(&self, wanted: &Wanted) -> RpcError {
        let name = cut(wanted.name().to_owned(), NAME_BYTES_MAX);
        let silent = self.gateway.troupe.not_listed();
        if !silent.is_empty() {
            return not_known_yet(&name, &silent.join(", "));
        }
        match &wanted.what {
            What::Tool(_) => wrong(RpcError::INVALID_PARAMS, &format!("unknown tool: {name}")),
            What::Prompt(_) => wrong(RpcError::INVALID_PARAMS, &format!("unknown prompt: {name}")),
            What::Resource(passed_on) => not_found(&passed_on.name, wanted.meta.modern.is_some()),
            What::Completion(_) => {
                wrong(RpcError::INVALID_PARAMS, &format!("unknown prompt or template: {name}"))
            }
        }
    }

    /// Answers with a list, or waits for servers that have just been started.
    fn list(
        &mut self,
        id: &ClientId,
        modern: bool,
        list: List,
        cursor: Option<String>,
    ) -> Result<(), RpcError> {
        let troupe = self.gateway.troupe.clone();
        let until = later(self.gateway.started, self.gateway.settings.start_wait);
        if Instant::now() < until && troupe.has_newcomers() {
            let number = self.admit(id)?;
            let work = wait_for_servers(troupe, until, list, cursor);
            self.open(number, id, (modern, false), Hears::default(), work);
            return Ok(());
        }
        self.list_now(id, modern, list, cursor.as_deref())
    }

    fn list_now(
        &mut self,
        id: &ClientId,
        modern: bool,
        list: List,
        cursor: Option<&str>,
    ) -> Result<(), RpcError> {
        let freshness = modern.then(|| freshness(&self.gateway));
        let view = self.shown.view();
        let result = page(view, list, cursor, freshness);
        let result =
            result.ok_or_else(|| wrong(RpcError::INVALID_PARAMS, "the cursor is none of this list's"))?;
        if cursor.is_none() && !modern {
            self.changes.listed(list, view);
        }
        self.answer(id, &result);
        Ok(())
    }

    /// The servers offer something else than before.
    fn catalogue_changed(&mut self) {
        // Before its first list no client has anything to compare with.
        if self.changes.concern_somebody() {
            self.changes.changed(self.shown.view(), Instant::now());
        }
    }

    fn tell_of_changes(&mut self) {
        for method in self.changes.take(self.shown.view(), Instant::now()) {
            self.out.push(notification_line(method, None));
        }
    }

    /// Passes on what a server tells of a call, while that is open and its client reads.
    fn update(&mut self, number: Number, update: &CallUpdate) {
        let Some(Open { hears, .. }) = self.open.get_mut(&number) else { return };
        if self.out.is_full() {
            return;
        }
        match update {
            CallUpdate::Progress(told) => {
                // Where a call is made once more its progress begins anew, which clients take for a fault.
                if let Some((token, last)) = &mut hears.progress
                    && told.progress > *last
                {
                    *last = told.progress;
                    self.out.push(progress_line(token, told));
                }
            }
            CallUpdate::Log(told) if hears.logs.is_some_and(|from| told.level >= from) => {
                self.out.push(log_line(told));
            }
            CallUpdate::Log(_) | CallUpdate::Lagged(_) | CallUpdate::Answer(_) => {}
        }
    }

    /// A server asks the client, who has said in its session that it answers such requests.
    fn ask(&mut self, Ask { request, port }: Ask) {
        if self.legacy.is_none() {
            // Whoever asked may have gone.
            let _ = port.send(Err(wrong(RpcError::METHOD_NOT_FOUND, "this client answers no such request")));
            return;
        }
        let id = self.asking.asked(port);
        self.out.push(request_line(id, &request));
    }

    /// A server takes its request back, or its time is over.
    fn take_back(&mut self, id: u64) {
        let params = format!(r#"{{"requestId":{id}}}"#);
        self.out.push(notification_line("notifications/cancelled", Some(&params)));
    }

    /// The work on a request has ended; none where that was called off.
    fn ended(&mut self, ended: Option<(Number, Done)>) {
        // What was told before the answer is passed on before it.
        while let Ok((number, update)) = self.updates.1.try_recv() {
            self.update(number, &update);
        }
        let Some((number, done)) = ended else { return };
        // One that was called off may have ended before.
        let Some(Open { id, modern, reads, .. }) = self.open.remove(&number) else { return };
        self.numbers.remove(&id);
        let answered = match done {
            Done::Answered(answer) => self.answered(&id, modern, reads, answer),
            Done::Again(wanted) => self.call(number, &id, wanted),
            Done::ListNow(list, cursor) => self.list_now(&id, modern, list, cursor.as_deref()),
            Done::Panicked => {
                Err(wrong(RpcError::INTERNAL_ERROR, "the gateway failed; the call may have been carried out"))
            }
        };
        if let Err(error) = answered {
            self.out.push(error_line(Some(&id), &error));
        }
    }

    fn answered(
        &mut self,
        id: &ClientId,
        modern: bool,
        reads: bool,
        answer: Result<Reply, CallError>,
    ) -> Result<(), RpcError> {
        let reply = answer.map_err(|error| failure(&error, modern))?;
        if self.out.waiting() > ANSWERS_BYTES_MAX {
            return Err(lost(&reply));
        }
        if !modern && reply.input_required().is_some() {
            return Err(unanswered(&reply));
        }
        let mut repaired = Ok(());
        let line = result_line(id, reply.result.len().saturating_add(256), |line| match modern {
            true => repaired = write_repaired(line, &reply.result, reads.then_some(Freshness::UNSAID)),
            false if reply.result.is_object() => line.push_str(reply.result.as_str()),
            false => repaired = Err(NoResult),
        });
        repaired.map_err(|NoResult| no_result(&reply))?;
        self.out.push(line);
        Ok(())
    }

    fn answer(&mut self, id: &ClientId, result: &str) {
        self.out.push(result_line(id, result.len(), |line| line.push_str(result)));
    }

    /// How the servers want to be used, as far as they have said so.
    fn instructions(&mut self) -> Option<String> {
        if !self.gateway.settings.instructions {
            return None;
        }
        let servers = self.gateway.troupe.servers();
        // Of whom a profile shows nothing the client hears nothing.
        let all = self.gateway.rules.profile.is_none();
        let view = self.shown.view();
        let said = servers.iter().filter(|info| all || view.shows_group(&info.group)).filter_map(|info| {
            let details = info.details.as_ref()?;
            Some((info.group.as_str(), details.instructions.as_deref()?))
        });
        merged(said)
    }
}

/// Waits for this moment; for ever, if there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn wrong(code: i64, message: &str) -> RpcError {
    RpcError { code, message: message.to_owned(), data: None }
}
