//! No metrics: what would record them is empty, and is compiled away.

use std::time::Duration;

use tokio::time::Instant;

use crate::event::{BreakerState, BreakerTransition, ServerStatus};
use crate::id::ServerId;
use crate::policy::routing::{Figures, Settled};

pub(crate) fn describe() {}

pub(crate) fn router_restarted() {}

pub(crate) struct RouterMeters;

impl RouterMeters {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn settled(&mut self, _: &Settled<'_>) {}

    pub(crate) fn shed(&mut self, _: &Settled<'_>) {}

    pub(crate) fn late(&mut self, _: &ServerId, _: u64) {}

    pub(crate) fn turned(&mut self, _: Instant, _: impl FnOnce() -> Figures) {}

    pub(crate) fn due_at(&self) -> Option<Instant> {
        None
    }
}

pub(crate) struct ServerMeters;

impl ServerMeters {
    pub(crate) fn new(_: &ServerId, _: BreakerState) -> Self {
        Self
    }

    pub(crate) fn attempted(&mut self, _: &'static str, _: Option<Duration>) {}

    pub(crate) fn late(&self, _: u64) {}

    pub(crate) fn connected(&mut self, _: impl FnOnce() -> usize) {}

    pub(crate) fn shows(&self, _: BreakerState) {}

    pub(crate) fn transition(&self, _: &BreakerTransition, _: BreakerState) {}
}

pub(crate) struct RegistryMeters;

impl RegistryMeters {
    pub(crate) fn stands(_: &ServerId, _: ServerStatus) {}

    pub(crate) fn restarted(_: &ServerId) {}

    pub(crate) fn left(_: &ServerId) {}
}
