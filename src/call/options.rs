//! What a call says beside what it asks for.

use std::sync::Arc;
use std::time::Duration;

use crate::call_update::LogLevel;
use crate::id::{GroupId, RequestId, ServerId};
use crate::json::RawJson;
use crate::question::Handlers;
use crate::trace_context::TraceContext;

/// What most calls leave as it is.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub selector: Selector,
    pub affinity: Option<Affinity>,
    pub idle_timeout: Option<Duration>,
    pub log_level: Option<LogLevel>,
    pub cache: CacheUse,
    pub identity: Option<String>,
    /// Entries for `_meta`, or what is wrong with them; told when the call is made.
    pub meta: Result<Option<RawJson>, String>,
    /// Answers to what an earlier result asked.
    pub input: Option<Input>,
    /// Joins `meta` when the call is made.
    pub trace: Option<TraceContext>,
    /// Who answers what its server asks on its behalf, before those who answer for all calls.
    pub handlers: Option<Arc<Handlers>>,
    /// What its caller can, a JSON object, in place of what follows from the handlers; or what is wrong with it.
    pub capabilities: Result<Option<RawJson>, String>,
    /// What a modern server is told of that; `None` where it is what is told for all calls.
    pub declared: Option<Arc<str>>,
    /// Its public id, where it goes on with an earlier round.
    pub request_id: Option<RequestId>,
}

impl Options {
    /// Nothing is said.
    pub(crate) const USUAL: Self = Self {
        selector: Selector { server: None, group: None, tags: Vec::new() },
        affinity: None,
        idle_timeout: None,
        log_level: None,
        cache: CacheUse::Usual,
        identity: None,
        meta: Ok(None),
        input: None,
        trace: None,
        handlers: None,
        capabilities: Ok(None),
        declared: None,
        request_id: None,
    };

    /// What is wrong with what the host gave as JSON.
    pub(crate) fn mistake(&self) -> Option<&String> {
        self.meta.as_ref().err().or(self.capabilities.as_ref().err())
    }
}

/// Keeps calls with one key on one server of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Affinity {
    pub key: String,
    pub strict: bool,
}

impl Affinity {
    /// The size of its key in bytes.
    pub(crate) fn len(&self) -> usize {
        self.key.len()
    }
}

/// What a call has to do with the response cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheUse {
    /// As its tool's rule says.
    Usual,
    /// Its result is fetched, and kept.
    Refresh,
    /// None.
    Bypass,
}

/// Which servers a call may go to, besides offering the tool.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Selector {
    pub server: Option<String>,
    pub group: Option<String>,
    /// All of them must be among the server's tags.
    pub tags: Vec<String>,
}

impl Selector {
    /// Only this server.
    pub(crate) fn server(server: &ServerId) -> Self {
        Self { server: Some(server.as_str().to_owned()), ..Self::default() }
    }

    /// Whether it picks a server of this id, this group and these tags.
    pub(crate) fn picks(&self, id: &ServerId, group: &GroupId, tags: &[String]) -> bool {
        self.server.as_ref().is_none_or(|server| id.as_str() == server)
            && self.group.as_ref().is_none_or(|wanted| group.as_str() == wanted)
            && self.tags.iter().all(|tag| tags.contains(tag))
    }

    /// Whether it says by name who is meant.
    pub(crate) fn names_somebody(&self) -> bool {
        self.server.is_some() || self.group.is_some()
    }

    /// The selector in words, for errors.
    pub(crate) fn describe(&self) -> String {
        let mut parts = Vec::new();
        if let Some(server) = &self.server {
            parts.push(format!("server {server}"));
        }
        if let Some(group) = &self.group {
            parts.push(format!("group {group}"));
        }
        if !self.tags.is_empty() {
            parts.push(format!("tags {}", self.tags.join(", ")));
        }
        if parts.is_empty() { "any server".to_owned() } else { parts.join(", ") }
    }
}

/// Answers to what a result asked, sent with the call that is made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    /// By the keys of what was asked.
    pub responses: RawJson,
    /// What the server wants back as it gave it.
    pub state: Option<RawJson>,
}

impl Input {
    /// The size of its text in bytes.
    pub(crate) fn len(&self) -> usize {
        self.responses.len() + self.state.as_ref().map_or(0, RawJson::len)
    }
}
