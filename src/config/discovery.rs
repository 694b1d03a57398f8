//! How far the answers of a source of servers are believed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::settings::{COUNT_MAX, bounded, number, time};
use super::{BackoffSettings, ConfigError, duration};

/// The rules for the servers that a source finds.
///
/// A source that fails changes nothing, however long: its servers have breakers and connections that know better whether
/// they live. So only an answer removes a server.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct DiscoverySettings {
    /// How long a server may be missing from the answers before it leaves. None: what its source advises, which is nothing
    /// for directories that answer in full, and 30 s for DNS, where an answer may name only some.
    #[serde(with = "duration::OptionalText")]
    pub removal_grace: Option<Duration>,
    /// Answers in a row that must name no server before the known ones leave: 3. A token that expired, a wrong prefix and
    /// a directory that was emptied by mistake look the same.
    pub empty_answers: u32,
    /// How long they must name none: 10 s.
    #[serde(with = "duration::Text")]
    pub empty_after: Duration,
    /// Changes of what is said of one server within the window; more are held back: 10.
    pub flaps_max: u32,
    /// That window: 60 s.
    #[serde(with = "duration::Text")]
    pub flap_window: Duration,
    /// How long a server that changes too often must stay as it is before the change is carried out: 30 s.
    #[serde(with = "duration::Text")]
    pub flap_hold: Duration,
    /// How long a source may take for an answer that it does not wait for: 10 s.
    #[serde(with = "duration::Text")]
    pub answer_timeout: Duration,
    /// Delays after failed answers: 500 ms to 30 s.
    pub backoff: BackoffSettings,
}

impl Default for DiscoverySettings {
    fn default() -> Self {
        Self {
            removal_grace: None,
            empty_answers: 3,
            empty_after: Duration::from_secs(10),
            flaps_max: 10,
            flap_window: Duration::from_secs(60),
            flap_hold: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(10),
            backoff: BackoffSettings { min: Duration::from_millis(500), ..BackoffSettings::default() },
        }
    }
}

impl DiscoverySettings {
    /// Checks every value; the error names the first key that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        bounded("removalGrace", self.removal_grace.unwrap_or_default())?;
        number("emptyAnswers", self.empty_answers, COUNT_MAX)?;
        bounded("emptyAfter", self.empty_after)?;
        number("flapsMax", self.flaps_max, COUNT_MAX)?;
        time("flapWindow", self.flap_window)?;
        bounded("flapHold", self.flap_hold)?;
        time("answerTimeout", self.answer_timeout)?;
        self.backoff.check().map_err(|error| error.under("backoff"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(DiscoverySettings::default().check(), Ok(()));
    }

    #[test]
    fn a_mistake_names_its_key() {
        let settings = DiscoverySettings { empty_answers: 0, ..DiscoverySettings::default() };
        assert_eq!(settings.check().unwrap_err().key, "emptyAnswers");
        let settings = DiscoverySettings { flap_window: Duration::ZERO, ..DiscoverySettings::default() };
        assert_eq!(settings.check().unwrap_err().key, "flapWindow");
    }
}
