//! A server to play, and what makes another one of it.

use std::sync::{Arc, Weak};

use crate::actors::Alive;
use crate::actors::numbers::Numbers;
use crate::actors::root::DrainOrder;
use crate::config::{ConfigError, Endpoint, Server, ServerSpec, Settings};
use crate::event::Origin;
use crate::transport::{self, Connector};

/// A server to play: its description, the way to it, and where it comes from.
#[derive(Clone)]
pub(crate) struct Registration {
    pub spec: Arc<ServerSpec>,
    pub connector: Arc<dyn Connector>,
    pub origin: Origin,
}

/// How a server is reached, for comparison: it keeps nothing alive that the way has of its own.
#[derive(Clone)]
pub(crate) struct Way {
    spec: Arc<ServerSpec>,
    connector: Weak<dyn Connector>,
}

/// A server that the root has the registry play.
pub(crate) struct Enrolment {
    pub registration: Registration,
    pub numbers: Numbers,
    /// The order by which it rests, if it does.
    pub paused: Option<DrainOrder>,
}

impl Registration {
    /// Checks a server and finds the way to it, unless the host gives one. A task that the way has of its own counts as `alive`.
    pub fn of(
        server: Server,
        connector: Option<Arc<dyn Connector>>,
        settings: &Settings,
        order: usize,
        origin: Origin,
        alive: Alive,
    ) -> Result<Self, ConfigError> {
        let spec = server.settle(&settings.pool, &settings.breaker, order)?;
        match connector {
            Some(connector) => Ok(Self { spec: Arc::new(spec), connector, origin }),
            None => Self::reached(spec, settings, origin, alive),
        }
    }

    /// Finds the way to a server. A task that the way has of its own counts as `alive`.
    pub fn reached(
        spec: ServerSpec,
        settings: &Settings,
        origin: Origin,
        alive: Alive,
    ) -> Result<Self, ConfigError> {
        let connector = transport::connector(&spec, settings, Box::new(alive)).map_err(|error| {
            ConfigError::new(format!("{}.{}", spec.id, error.key(&spec)), error.to_string())
        })?;
        Ok(Self { spec: Arc::new(spec), connector, origin })
    }

    /// How it is reached.
    pub fn way(&self) -> Way {
        Way { spec: self.spec.clone(), connector: Arc::downgrade(&self.connector) }
    }

    /// Whether connections that were opened for the one serve the other.
    pub fn reaches_alike(&self, other: &Self) -> bool {
        self.way().is_as_good_as(&other.way())
    }
}

impl Way {
    /// Whether connections that were opened by the one serve the other.
    pub fn is_as_good_as(&self, other: &Self) -> bool {
        let same = match (&self.spec.endpoint, &other.spec.endpoint) {
            (Endpoint::Custom, Endpoint::Custom) => Weak::ptr_eq(&self.connector, &other.connector),
            (one, another) => one == another,
        };
        same && self.spec.reaches_alike(&other.spec)
    }
}

impl PartialEq for Registration {
    fn eq(&self, other: &Self) -> bool {
        self.origin == other.origin && self.spec == other.spec && self.reaches_alike(other)
    }
}
