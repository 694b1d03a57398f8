//! A server to play, and what makes another one of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use crate::actors::Alive;
use crate::actors::numbers::DrainOrder;
use crate::actors::numbers::Numbers;
use crate::config::{ConfigError, Endpoint, Server, ServerSpec, Settings, TlsOptions, files};
use crate::event::Origin;
use crate::transport::{self, Connector};

/// What is wrong with the files that servers' descriptions name, by the servers' ids.
pub(crate) type WrongFiles = BTreeMap<String, ConfigError>;

/// Reads the files of these servers on a thread that may wait for them, before an actor is told of the servers: a disk that
/// hangs holds up whoever names its files, and nobody else. The way to a server reads them again when it is dialled.
pub(crate) async fn wrong_files(servers: impl IntoIterator<Item = &Server>) -> WrongFiles {
    let with_files = servers.into_iter().filter(|server| !server.tls.is_default());
    let named: Vec<(String, TlsOptions)> =
        with_files.map(|server| (server.id.clone(), server.tls.clone())).collect();
    if named.is_empty() {
        return WrongFiles::new();
    }
    let look = move || {
        let wrong = named.into_iter().filter_map(|(id, tls)| {
            let error = transport::check_files(&tls).err()?;
            let key = error.tls_key().map_or_else(|| format!("{id}.tls"), |key| format!("{id}.tls.{key}"));
            Some((id, ConfigError::new(key, error.to_string())))
        });
        wrong.collect()
    };
    // A runtime that is ending reads nothing more, and plays nothing more.
    files::aside(look).await.unwrap_or_default()
}

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
    /// Checks a server and finds the way to it, unless the host gives one. It reads no file: what is wrong with those is asked
    /// before, by [`wrong_files`]. A task that the way has of its own counts as `alive`.
    pub(crate) fn of(
        server: Server,
        connector: Option<Arc<dyn Connector>>,
        settings: &Settings,
        order: usize,
        origin: Origin,
        alive: Alive,
    ) -> Result<Self, ConfigError> {
        let spec = server.settle(settings, order)?;
        match connector {
            Some(connector) => Ok(Self { spec: Arc::new(spec), connector, origin }),
            None => Self::reached(spec, settings, origin, alive),
        }
    }

    /// Finds the way to a server. A task that the way has of its own counts as `alive`.
    pub(crate) fn reached(
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
    pub(crate) fn way(&self) -> Way {
        Way { spec: self.spec.clone(), connector: Arc::downgrade(&self.connector) }
    }

    /// Whether connections that were opened for the one serve the other.
    pub(crate) fn reaches_alike(&self, other: &Self) -> bool {
        self.way().is_as_good_as(&other.way())
    }
}

impl Way {
    /// Whether both lead to the same server, whatever connections of what kind it is reached over.
    pub(crate) fn leads_to_the_same(&self, other: &Self) -> bool {
        let same = match (&self.spec.endpoint, &other.spec.endpoint) {
            (Endpoint::Custom, Endpoint::Custom) => Weak::ptr_eq(&self.connector, &other.connector),
            (one, another) => one == another,
        };
        same && self.spec.is_at_the_same_address(&other.spec)
    }

    /// Whether connections that were opened by the one serve the other.
    pub(crate) fn is_as_good_as(&self, other: &Self) -> bool {
        self.leads_to_the_same(other) && self.spec.reaches_alike(&other.spec)
    }
}

impl PartialEq for Registration {
    fn eq(&self, other: &Self) -> bool {
        self.origin == other.origin && self.spec == other.spec && self.reaches_alike(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::Tasks;

    #[tokio::test]
    async fn a_registration_reads_no_file_and_what_is_wrong_with_one_is_asked_beside_the_actors() {
        let tls = TlsOptions::new().ca_file("/nowhere/ca.pem");
        let server = Server::http("a", "https://h").tls(tls.clone());
        let (settings, tasks) = (Settings::default(), Tasks::new());
        for server in [server.clone(), Server::websocket("b", "wss://h").tls(tls)] {
            let registered = Registration::of(server, None, &settings, 0, Origin::Registered, tasks.alive());
            assert!(registered.is_ok(), "it is not read");
        }
        let wrong = wrong_files([&server, &Server::http("c", "https://h")]).await;
        let wrong: Vec<&str> = wrong.values().map(|error| error.key.as_str()).collect();
        assert_eq!(wrong, ["a.tls.caFile"]);
    }
}
