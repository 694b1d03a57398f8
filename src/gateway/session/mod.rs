//! The session of one channel: all that is known of its client, and the loop that owns it.

mod listening;
mod requests;

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use crate::call::Reply;
use crate::call_update::{CallUpdate, LogLevel};
use crate::error::{CallError, RpcError};
use crate::gateway::asking::Asking;
use crate::gateway::call::{Done, Number, Told};
use crate::gateway::changes::Changes;
use crate::gateway::channel::{Ask, ClientChannel};
use crate::gateway::lists::Shown;
use crate::gateway::{Gateway, ServeError};
use crate::json::RawJson;
use crate::listen::lines::{LinesIn, LinesOut, MESSAGE_BYTES_MAX};
use crate::policy::gateway::merged;
use crate::protocol::server::{
    ClientId, ClientMessage, Freshness, NoResult, Refused, answered_id, error_line, failure, id_of_ends,
    log_line, lost, no_result, notification_line, progress_line, read, request_line, result_line, unanswered,
    write_repaired,
};
use crate::transport::lines::Line;
use listening::Listen;

/// Answers that wait to be written, in bytes, from which on the next is not kept: no client that reads, however slowly, has so many,
/// and the open calls of one that has stopped go on to be answered.
const ANSWERS_BYTES_MAX: usize = 256 << 20;

/// What servers tell of calls and the loop has not passed on.
const UPDATES_MAX: usize = 256;

/// How long the last answers may take to be written when the client has closed its side.
const END_WAIT: Duration = Duration::from_millis(500);

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
    /// It has taken the answer to its `initialize`: before that it is asked nothing.
    initialized: bool,
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
    /// Modern requests that are open to be told the same.
    listens: Vec<Listen>,
    shown: Shown,
    open: HashMap<Number, Open>,
    numbers: HashMap<ClientId, Number>,
    last: Number,
    tasks: JoinSet<(Number, Done)>,
    updates: (mpsc::Sender<Told>, mpsc::Receiver<Told>),
}

impl<W: AsyncWrite + Unpin> Session<W> {
    fn new(gateway: &Gateway, out: LinesOut<W>) -> Self {
        Self {
            gateway: gateway.clone(),
            out,
            asking: Asking::default(),
            legacy: None,
            changes: Changes::default(),
            listens: Vec::new(),
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
            let notice_due = self.notice_due();
            tokio::select! { biased;
                written = self.out.write_some(), if !self.out.is_done() => written.map_err(ServeError::Write)?,
                Some((number, update)) = self.updates.1.recv() => self.update(number, &update),
                Some(ended) = self.tasks.join_next() => self.ended(ended.ok()),
                changed = changes.next(), if !troupe_ended => match changed {
                    Some(_) => self.catalogue_changed(),
                    None => {
                        troupe_ended = true;
                        self.end_listening();
                    }
                },
                () = until(notice_due) => self.tell_of_changes(),
                id = self.asking.taken_back() => self.take_back(id),
                Some(ask) = asked.recv(), if self.may_be_asked() => self.ask(ask),
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

    /// Whether the client can take a server's request now, or will never.
    fn may_be_asked(&self) -> bool {
        let initialized = self.legacy.as_ref().is_none_or(|legacy| legacy.initialized);
        initialized && self.asking.has_room() && !self.out.is_full()
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
