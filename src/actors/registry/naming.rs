//! Which tools that settings name nobody offers: each is told once.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::config::Settings;
use crate::policy::catalogue::Catalogue;
use crate::policy::named_tools::{self, MissingTool};

/// The settings of now, and what is known of the tools that they name.
pub(super) struct Naming {
    settings: Arc<Settings>,
    /// Tools that were offered once, or were told to be missing. One that leaves with its server is no mistake.
    settled: BTreeSet<(String, String)>,
    /// The catalogue that was looked in, and whether every server had listed by then: the roster changes with each connection.
    looked_in: Option<(Arc<Catalogue>, bool)>,
}

impl Naming {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        Self { settings, settled: BTreeSet::new(), looked_in: None }
    }

    /// Looks in a new catalogue; what is found is told once, where every server has listed.
    pub(super) fn look(&mut self, catalogue: &Arc<Catalogue>, all_listed: bool) -> Vec<MissingTool> {
        let former = self.looked_in.replace((catalogue.clone(), all_listed));
        if former.is_some_and(|(looked, all)| Arc::ptr_eq(&looked, catalogue) && all == all_listed) {
            return Vec::new();
        }
        let settings = self.settings.clone();
        let mut missing = Vec::new();
        for named in named_tools::named(&settings) {
            let offered = named.is_offered(catalogue);
            if !(offered || all_listed) {
                continue;
            }
            let new = self.settled.insert((named.setting.clone(), named.tool.to_owned()));
            if new && !offered {
                missing.push(named.missing(catalogue));
            }
        }
        missing
    }
}
