//! The registry's figures, and the root's. They change seldom, so no handle is kept.

use metrics::{counter, gauge};

use super::names;
use super::server::show_breaker;
use crate::event::ServerStatus;
use crate::id::ServerId;

/// The router was replaced.
pub(crate) fn router_restarted() {
    counter!(names::ROUTER_RESTARTS).increment(1);
}

/// What the registry writes.
pub(crate) struct RegistryMeters;

impl RegistryMeters {
    /// A server stands there.
    pub(crate) fn stands(server: &ServerId, status: ServerStatus) {
        show(server, Some(status));
    }

    /// A server's actor ended, and is restarted.
    pub(crate) fn restarted(server: &ServerId) {
        counter!(names::SERVER_RESTARTS, "server" => server.to_string()).increment(1);
    }

    /// A server is gone.
    pub(crate) fn left(server: &ServerId) {
        show(server, None);
        show_breaker(server, None);
    }
}

fn show(server: &ServerId, status: Option<ServerStatus>) {
    let up = gauge!(names::SERVER_UP, "server" => server.to_string());
    up.set(if status == Some(ServerStatus::Ready) { 1.0 } else { 0.0 });
    for other in ServerStatus::ALL {
        let gauge =
            gauge!(names::SERVER_STATUS, "server" => server.to_string(), "status" => other.to_string());
        gauge.set(if status == Some(other) { 1.0 } else { 0.0 });
    }
}
