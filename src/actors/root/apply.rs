//! A new configuration while the troupe plays.
//!
//! Everything in it is checked before anything is changed, so that a broken one changes nothing. The root takes one
//! message after the other: of two configurations that come together the later one is compared with what the earlier one
//! has made.

use std::sync::Arc;

use super::{Ending, RootState};
use crate::actors::cache::messages::{CacheMsg, Caching};
use crate::actors::registry::messages::{RegistryMsg, Taken};
use crate::actors::registry::registration::{Registration, WrongFiles};
use crate::actors::root::messages::ApplyError;
use crate::actors::router::messages::RouterMsg;
use crate::config::{Applied, ConfigError, ConfigFile, ServerSpec, Settings};
use crate::event::{Event, Origin};
use crate::id::ServerId;
use crate::policy::reload::{Changes, changes};
use crate::policy::strategy::UnknownStrategy;

/// A configuration that was checked.
struct Checked {
    settings: Settings,
    added: Vec<Registration>,
    replaced: Vec<Registration>,
    amended: Vec<ServerSpec>,
    removed: Vec<ServerId>,
    applied: Applied,
}

impl RootState {
    /// Takes a configuration. Files that it names were read by whoever asks: what is `wrong` with them counts for servers that
    /// would be reached anew.
    pub(super) fn apply(
        &mut self,
        file: ConfigFile,
        wrong: &WrongFiles,
    ) -> Result<(Applied, u64), ApplyError> {
        let (loose, disabled) = (file.loose.clone(), file.disabled.clone());
        let left_out = !file.left_out.is_empty();
        let Checked { settings, added, replaced, amended, removed, applied } = self.checked(file, wrong)?;
        self.configuration = Taken {
            number: self.configuration.number.saturating_add(1),
            disabled: disabled.iter().filter_map(|id| ServerId::new(id).ok()).collect(),
            left_out,
        };
        self.tell_loose(loose);
        self.change_settings(settings);
        let touched: Vec<ServerId> =
            [&applied.added, &applied.removed, &applied.amended].into_iter().flatten().cloned().collect();
        // First those that come: where a group is taken over by others, calls wait for these.
        for registration in added {
            match self.registered.get_mut(&registration.spec.id) {
                Some(leaving) => leaving.next = Some(registration),
                None => self.enrol(registration),
            }
        }
        for registration in replaced {
            match self.coming(&registration.spec.id) {
                Some(next) => *next = registration,
                None => {
                    self.replace(registration);
                }
            }
        }
        for spec in amended {
            self.amend(spec);
        }
        for server in removed {
            self.unregister(server);
        }
        // What sources say of them may have come to count, or no longer does.
        touched.iter().for_each(|server| self.reconcile(server));
        // A registry that has just ended is replaced by one that is given all of it.
        let _ = self.children.registry.cast(RegistryMsg::Applied(self.configuration.clone()));
        self.children.context.emit(Event::ConfigurationApplied(Box::new(applied.clone())));
        Ok((applied, self.configuration.number))
    }

    /// Checks everything and changes nothing.
    fn checked(&self, file: ConfigFile, wrong: &WrongFiles) -> Result<Checked, ApplyError> {
        match self.ending {
            Ending::No => {}
            Ending::Draining | Ending::Drained { .. } => return Err(ApplyError::Closed),
        }
        let ConfigFile {
            mut servers,
            disabled: _,
            mut left_out,
            repeated: _,
            diagnostics: _,
            sources,
            settings: wanted,
            gateway: _,
            loose: _,
        } = file;
        wanted.check().map_err(|error| error.under("troupe"))?;
        if !wanted.strict {
            // A file that was there when the configuration was read may be gone by now. That costs its server alone.
            servers.retain(|server| {
                let Some(error) = wrong.get(server.id()) else { return true };
                tracing::warn!(server = server.id(), "left out: {}", error.clone().under("mcpServers"));
                left_out.push(server.id().to_owned());
                false
            });
        }
        (self.strategies)().select(&wanted.strategy)?;
        let settings = self.settings.turned_into(&wanted);
        let mut specs: Vec<ServerSpec> = Vec::with_capacity(servers.len());
        let mut ids = std::collections::BTreeSet::new();
        for (order, server) in servers.into_iter().enumerate() {
            let spec = server.settle(&settings, order);
            let spec = spec.map_err(|error| error.under("mcpServers"))?;
            if !ids.insert(spec.id.clone()) {
                return Err(ConfigError::new(format!("mcpServers.{}", spec.id), "stands twice").into());
            }
            specs.push(spec);
        }
        let playing = self.registered.values().filter_map(|registered| {
            let stays = (!registered.leaving).then_some(&registered.registration);
            let Registration { spec, origin, .. } = stays.or(registered.next.as_ref())?;
            // What the configuration says of it now cannot be played: what it said before goes on.
            (!left_out.iter().any(|id| spec.id == *id.as_str())).then_some((&**spec, origin))
        });
        let Changes { added, removed, replaced, amended, unchanged, kept } = changes(playing.clone(), specs);
        let names = |specs: &[ServerSpec]| specs.iter().map(|spec| spec.id.clone()).collect();
        // Whose place in the file alone is another one is as it was.
        let (moved, told): (Vec<_>, Vec<_>) =
            amended.iter().map(|spec| (spec, spec.id.clone())).partition(|(spec, _)| {
                playing
                    .clone()
                    .any(|(present, _)| ServerSpec { order: spec.order, ..present.clone() } == **spec)
            });
        let ids =
            |specs: Vec<(&ServerSpec, ServerId)>| specs.into_iter().map(|(_, id)| id).collect::<Vec<_>>();
        let (moved, told) = (ids(moved), ids(told));
        let mut pending = settings.differing_keys(&wanted);
        if sources != self.described {
            pending.push("discovery".to_owned());
        }
        let applied = Applied {
            added: names(&added),
            removed: removed.clone(),
            replaced: names(&replaced),
            amended: told,
            unchanged: unchanged.into_iter().chain(moved).collect(),
            kept,
            left_out: left_out.iter().filter_map(|id| ServerId::new(id).ok()).collect(),
            settings: self.settings.differing_keys(&settings),
            pending,
        };
        let joining = added.iter().filter(|spec| !self.registered.contains_key(&spec.id)).count();
        if self.registered.len() + joining > settings.limits.servers_max {
            return Err(ApplyError::TooMany(settings.limits.servers_max));
        }
        let reached = |specs: Vec<ServerSpec>| -> Result<Vec<Registration>, ConfigError> {
            let reached = |spec: ServerSpec| {
                if let Some(error) = wrong.get(spec.id.as_str()) {
                    return Err(error.clone());
                }
                let alive = self.children.context.tasks.alive();
                Registration::reached(spec, &settings, Origin::Configured, alive)
            };
            specs.into_iter().map(|spec| reached(spec).map_err(|error| error.under("mcpServers"))).collect()
        };
        let (added, replaced) = (reached(added)?, reached(replaced)?);
        Ok(Checked { settings, added, replaced, amended, removed, applied })
    }

    /// What takes the place of a server that is leaving.
    fn coming(&mut self, server: &ServerId) -> Option<&mut Registration> {
        self.registered.get_mut(server)?.next.as_mut()
    }

    fn amend(&mut self, spec: ServerSpec) {
        if let Some(next) = self.coming(&spec.id) {
            next.spec = Arc::new(spec);
            return;
        }
        let Some(registered) = self.staying(&spec.id) else { return };
        let former = std::mem::replace(&mut registered.registration.spec, Arc::new(spec));
        // A server that a source found is the configuration's from now on.
        registered.registration.origin = Origin::Configured;
        let registration = registered.registration.clone();
        self.clear_group(&former.group);
        // As above.
        let _ = self.children.registry.cast(RegistryMsg::Amend(registration));
    }

    pub(super) fn set_strategy(&mut self, name: String) -> Result<(), UnknownStrategy> {
        (self.strategies)().select(&name)?;
        self.change_settings(Settings { strategy: name, ..(*self.settings).clone() });
        Ok(())
    }

    /// Settings that were checked hold from now on, in this life of every actor and in those that follow.
    fn change_settings(&mut self, settings: Settings) {
        if settings == *self.settings {
            return;
        }
        let rules = settings.cache != self.settings.cache;
        let room = settings.limits.servers_max > self.settings.limits.servers_max;
        let strategy = (settings.strategy != self.settings.strategy).then(|| settings.strategy.clone());
        self.settings = Arc::new(settings);
        self.children.context.settings = self.settings.clone();
        self.settings_shown.send_replace(self.settings.clone());
        // A router that has just ended is replaced by one that is given them.
        let _ = self.children.router.cast(RouterMsg::Settings(self.settings.clone()));
        let _ = self.children.registry.cast(RegistryMsg::Settings(self.settings.clone()));
        self.sources.settings(&self.settings);
        // Deadlines are among what it tells.
        self.caching = Caching::new(&self.settings, self.roster.subscribe());
        self.publish();
        if room {
            self.try_unplaced();
        }
        if rules {
            let _ = self.children.cache.cast(CacheMsg::Rules);
        }
        if let Some(strategy) = strategy {
            self.children.context.emit(Event::StrategyChanged { strategy });
        }
    }
}
