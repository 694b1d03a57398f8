//! What the session does with each request and notification of its client.

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::{Hears, Legacy, Open, Session, wrong};
use crate::duration::later;
use crate::error::RpcError;
use crate::gateway::call::{Done, Number, Wanted, What, guarded, make, wait_for_change, wait_for_servers};
use crate::gateway::lists::{freshness, of_method, page};
use crate::json::RawJson;
use crate::peer_text::cut;
use crate::policy::gateway::List;
use crate::protocol::server::{
    ClientId, Completion, PassedOn, agree, busy, cancelled, cursor, discover_result, initialize_result,
    level, not_found, not_known_yet, read_meta,
};

/// Requests of one client that may be open: more than any host makes, and each may hold an answer.
const OPEN_MAX: usize = 256;

/// Bytes of a name that is told back.
const NAME_BYTES_MAX: usize = 128;

impl<W: AsyncWrite + Unpin> Session<W> {
    /// Deals with a request.
    ///
    /// # Errors
    /// What it is answered with where it can be answered with nothing else.
    pub(super) fn request(
        &mut self,
        id: &ClientId,
        method: &str,
        params: Option<&RawJson>,
    ) -> Result<(), RpcError> {
        if self.numbers.contains_key(id) || self.listens.iter().any(|listen| listen.id == *id) {
            return Err(wrong(RpcError::INVALID_REQUEST, "a request of this id is open"));
        }
        let meta = read_meta(params)?;
        let modern = meta.modern.is_some();
        match method {
            "server/discover" => {
                let result = discover_result(self.instructions().as_deref(), freshness(&self.gateway).ttl_ms);
                self.answer(id, &result);
            }
            "subscriptions/listen" if modern => self.listen(id, params)?,
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

    pub(super) fn notification(&mut self, method: &str, params: Option<&RawJson>) {
        if let Some(legacy) = &mut self.legacy {
            legacy.initialized |= method == "notifications/initialized";
        }
        let id = cancelled(params).filter(|_| method == "notifications/cancelled");
        let Some(id) = id else { return };
        self.listens.retain(|listen| listen.id != id);
        if let Some(open) = self.numbers.remove(&id).and_then(|number| self.open.remove(&number)) {
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
    pub(super) fn call(
        &mut self,
        number: Number,
        id: &ClientId,
        wanted: Box<Wanted>,
    ) -> Result<(), RpcError> {
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

    pub(super) fn list_now(
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
}
