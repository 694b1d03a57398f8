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
    pub fn new() -> Self {
        Self
    }

    pub fn settled(&mut self, _: &Settled<'_>) {}

    pub fn shed(&mut self, _: &Settled<'_>) {}

    pub fn late(&mut self, _: &ServerId, _: u64) {}

    pub fn turned(&mut self, _: Instant, _: impl FnOnce() -> Figures) {}

    pub fn due_at(&self) -> Option<Instant> {
        None
    }
}

pub(crate) struct ServerMeters;

impl ServerMeters {
    pub fn new(_: &ServerId, _: BreakerState) -> Self {
        Self
    }

    pub fn attempted(&mut self, _: &'static str, _: Option<Duration>) {}

    pub fn late(&self, _: u64) {}

    pub fn connected(&mut self, _: impl FnOnce() -> usize) {}

    pub fn shows(&self, _: BreakerState) {}

    pub fn transition(&self, _: &BreakerTransition, _: BreakerState) {}
}

pub(crate) struct RegistryMeters;

impl RegistryMeters {
    pub fn stands(_: &ServerId, _: ServerStatus) {}

    pub fn restarted(_: &ServerId) {}

    pub fn left(_: &ServerId) {}
}
