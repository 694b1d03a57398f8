//! Events as people read them.

use std::fmt;
use std::time::Duration;

use super::{Event, ServerStatus};
use crate::duration::about;
use crate::stats::waits_for_turn;

/// Some of one thing, or of several.
struct Several(u64, &'static str);

impl fmt::Display for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

impl Event {
    /// The id of the server or source that it is about; none where it is about the troupe.
    pub fn about(&self) -> Option<&str> {
        match self {
            Self::ServerRegistered { server, .. }
            | Self::ServerUnregistered { server }
            | Self::ServerStatusChanged { server, .. }
            | Self::ServerDown { server, .. }
            | Self::ServerStarting { server, .. }
            | Self::ConnectionOpened { server, .. }
            | Self::ConnectionLost { server, .. }
            | Self::BreakerChanged { server, .. }
            | Self::CatalogueChanged { server, .. }
            | Self::EntrySkipped { server, .. }
            | Self::ResourceUpdated { server, .. }
            | Self::SubscriptionFailed { server, .. }
            | Self::PinBroken { server, .. }
            | Self::ToolUnpinned { server, .. }
            | Self::PinnedToolMissing { server, .. }
            | Self::KnownListsShown { server, .. }
            | Self::ProtocolViolation { server, .. }
            | Self::ServerLogged { server, .. }
            | Self::ServerOverloaded { server, .. }
            | Self::LateAnswers { server, .. }
            | Self::ServerDiscovered { server, .. }
            | Self::ServerMoved { server, .. }
            | Self::ServerWithdrawn { server, .. } => Some(server.as_str()),
            Self::ClaimConflict { claimed_by: source, .. }
            | Self::RecordSkipped { source, .. }
            | Self::DiscoveryFailed { source, .. }
            | Self::DiscoveryDoubted { source, .. }
            | Self::DiscoveryRecovered { source, .. }
            | Self::DiscoveryRestarted { source, .. } => Some(source.as_str()),
            Self::CallsShed { .. }
            | Self::RouterRestarted { .. }
            | Self::RegistryRestarted { .. }
            | Self::CacheRestarted { .. }
            | Self::CacheCleared { .. }
            | Self::NamedToolMissing { .. }
            | Self::LoosePermissions(_)
            | Self::KnownListsFailed { .. }
            | Self::ConfigurationApplied(_)
            | Self::StrategyChanged { .. }
            | Self::ShutdownStarted
            | Self::ShutdownCompleted { .. }
            | Self::Lagged { .. } => None,
        }
    }

    /// What happened, without whom it is about: as [`Display`](fmt::Display) says it behind the id.
    pub fn what(&self) -> impl fmt::Display {
        What(self)
    }
}

/// In one line, `ghost: connecting → disconnected: Connection refused`. Texts of peers in it are untrusted.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(about) = self.about() {
            write!(f, "{about}: ")?;
        }
        self.what().fmt(f)
    }
}

struct What<'a>(&'a Event);

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Event::ServerRegistered { group, .. } => write!(f, "joined, of group {group}"),
            Event::ServerUnregistered { .. } => f.write_str("left"),
            Event::ServerStatusChanged { from, to, reason, attempts, .. } => {
                if from == to && *to == ServerStatus::Disconnected {
                    write!(f, "not reached, {attempts} times in a row")?;
                } else {
                    write!(f, "{from} → {to}")?;
                }
                reason.iter().try_for_each(|reason| write!(f, ": {reason}"))
            }
            Event::ServerDown { incarnation, cause, .. } => write!(f, "life {incarnation} is over, {cause}"),
            Event::ServerStarting { before: Some(before), .. } => f.write_str(&waits_for_turn(*before)),
            Event::ServerStarting { elapsed, last_line, .. } => {
                let seconds = Duration::from_secs(elapsed.as_secs());
                write!(f, "starting for {}", humantime::format_duration(seconds))?;
                last_line.iter().try_for_each(|line| write!(f, ": {line}"))
            }
            Event::ConnectionOpened { version, .. } if version.is_empty() => f.write_str("connection opened"),
            Event::ConnectionOpened { version, .. } => write!(f, "connection opened {version}"),
            Event::ConnectionLost { reason, .. } => write!(f, "connection lost: {reason}"),
            Event::BreakerChanged { transition, .. } => {
                write!(f, "breaker {} → {}: {}", transition.from, transition.to, transition.reason)
            }
            Event::CatalogueChanged { kind, added, removed, changed, more, .. } => {
                write!(f, "{kind}s:")?;
                let numbers = [("new", added.len()), ("gone", removed.len()), ("changed", changed.len())];
                let numbers = numbers.into_iter().chain([("more", *more)]).filter(|(_, number)| *number > 0);
                numbers.enumerate().try_for_each(|(index, (what, number))| {
                    write!(f, "{} {number} {what}", if index == 0 { "" } else { "," })
                })
            }
            Event::EntrySkipped { kind, entry, reason, .. } => write!(f, "{kind} {entry} left out: {reason}"),
            Event::ResourceUpdated { uri, .. } => write!(f, "resource {uri} changed"),
            Event::SubscriptionFailed { uris, more, reason, .. } => {
                write!(f, "does not tell of changes of {}", uris.join(", "))?;
                if *more > 0 {
                    write!(f, " and {more} more")?;
                }
                write!(f, ": {reason}")
            }
            Event::PinBroken { tool, .. } => write!(f, "tool {tool} is not what it was pinned to"),
            Event::ToolUnpinned { tool, .. } => write!(f, "tool {tool} is not pinned"),
            Event::PinnedToolMissing { tool, .. } => write!(f, "the pinned tool {tool} is missing"),
            Event::ProtocolViolation { reason, violations, .. } => {
                write!(f, "{}: {reason}", Several(*violations, "violation"))
            }
            Event::ServerLogged { level, text, missed, .. } => {
                if *missed > 0 {
                    write!(f, "{} left out; ", Several(*missed, "log message"))?;
                }
                write!(f, "logs {level}: {text}")
            }
            Event::ServerOverloaded { retry_after, .. } => {
                write!(f, "has no capacity, and takes no calls for {}", about(*retry_after))
            }
            Event::CallsShed { tool, calls, limit, .. } => {
                let of = tool.as_deref().unwrap_or("several tools");
                write!(f, "{} of {of} shed: {limit} wait", Several(*calls, "call"))
            }
            Event::LateAnswers { answers, .. } => {
                write!(f, "{} that nobody waited for", Several(*answers, "answer"))
            }
            Event::RouterRestarted { cause, interrupted, .. } => {
                let interrupted = Several(*interrupted as u64, "call");
                write!(f, "router restarted: {cause}; {interrupted} interrupted")
            }
            Event::RegistryRestarted { cause, interrupted, .. } => {
                let interrupted = Several(*interrupted as u64, "call");
                write!(f, "registry restarted: {cause}; {interrupted} interrupted")
            }
            Event::CacheRestarted { cause } => write!(f, "cache restarted: {cause}"),
            Event::CacheCleared { what, entries } => {
                write!(f, "cache: {} cleared, of {what}", Several(*entries as u64, "result"))
            }
            Event::NamedToolMissing { setting, tool, .. } => {
                write!(f, "nobody offers the tool {tool}, which troupe.{setting} names")
            }
            Event::ServerDiscovered { source, endpoint, .. } => write!(f, "found by {source} at {endpoint}"),
            Event::ServerMoved { source, to, .. } => write!(f, "moved to {to}, says {source}"),
            Event::ServerWithdrawn { source, .. } => write!(f, "withdrawn by {source}"),
            Event::ClaimConflict { server, holder, .. } => {
                write!(f, "names {server}, which is that of {holder}")
            }
            Event::RecordSkipped { record, reason, .. } => write!(f, "record {record} skipped: {reason}"),
            Event::DiscoveryFailed { reason, .. } => write!(f, "no answer: {reason}"),
            Event::DiscoveryDoubted { known, .. } => {
                write!(f, "names none of the {known} that are known; not believed yet")
            }
            Event::DiscoveryRecovered { servers, .. } => {
                write!(f, "answers again, names {}", Several(*servers as u64, "server"))
            }
            Event::DiscoveryRestarted { cause, .. } => write!(f, "restarted: {cause}"),
            Event::LoosePermissions(loose) => write!(f, "{loose}"),
            Event::KnownListsShown { tools, .. } => {
                write!(f, "shown with {} of its last run", Several(*tools as u64, "tool"))
            }
            Event::KnownListsFailed { path, reason } => {
                write!(f, "known lists {}: {reason}", path.display())
            }
            Event::ConfigurationApplied(applied) => write!(f, "configuration applied: {applied}"),
            Event::StrategyChanged { strategy } => write!(f, "strategy {strategy}"),
            Event::ShutdownStarted => f.write_str("shutdown started"),
            Event::ShutdownCompleted { .. } => f.write_str("shutdown completed"),
            Event::Lagged { missed } => write!(f, "{} missed", Several(*missed, "event")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Incarnation, ServerId};

    fn changed(from: ServerStatus, attempts: u32) -> Event {
        Event::ServerStatusChanged {
            server: ServerId::new("ghost").unwrap(),
            incarnation: Incarnation(1),
            from,
            to: ServerStatus::Disconnected,
            reason: Some("Connection refused".to_owned()),
            retry_in: None,
            attempts,
        }
    }

    #[test]
    fn an_event_is_one_line_that_says_whom_it_is_about() {
        let lost = changed(ServerStatus::Ready, 1);
        assert_eq!(lost.to_string(), "ghost: ready → disconnected: Connection refused");
        assert_eq!(
            (lost.about(), lost.what().to_string()),
            (Some("ghost"), lost.to_string()[7..].to_owned())
        );
        let again = changed(ServerStatus::Disconnected, 3).to_string();
        assert_eq!(again, "ghost: not reached, 3 times in a row: Connection refused");
        assert_eq!(Event::Lagged { missed: 1 }.to_string(), "1 event missed");
        assert_eq!(Event::ShutdownStarted.about(), None);
    }
}
