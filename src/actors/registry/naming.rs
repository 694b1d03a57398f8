//! Which tools that settings name nobody offers: each is told once.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::Settings;
use crate::policy::catalogue::Catalogue;
use crate::policy::named_tools::{self, Listed, MissingTool};

/// The settings of now, and what is known of the tools that they name.
pub(super) struct Naming {
    settings: Arc<Settings>,
    /// Tools that were offered once, or were told to be missing. One that leaves with its server is no mistake.
    settled: BTreeSet<(String, String)>,
    /// The catalogue that was looked in, and whose tools were known by then: the roster changes with each connection.
    looked_in: Option<(Arc<Catalogue>, Listed)>,
}

impl Naming {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        Self { settings, settled: BTreeSet::new(), looked_in: None }
    }

    /// Looks in a new catalogue; what is missing there is told once.
    pub(super) fn look(&mut self, catalogue: &Arc<Catalogue>, listed: Listed) -> Vec<MissingTool> {
        if self.looked_in.as_ref().is_some_and(|(looked, by)| Arc::ptr_eq(looked, catalogue) && *by == listed)
        {
            return Vec::new();
        }
        let settings = self.settings.clone();
        let mut missing = Vec::new();
        for named in named_tools::named(&settings) {
            let offered = named.is_offered(catalogue);
            if !(offered || listed.settles(named.tool)) {
                continue;
            }
            let new = self.settled.insert((named.setting.clone(), named.tool.to_owned()));
            if new && !offered {
                missing.push(named.missing(catalogue));
            }
        }
        self.looked_in = Some((catalogue.clone(), listed));
        missing
    }
}
