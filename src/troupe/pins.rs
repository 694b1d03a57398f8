//! Pins of what servers offer, taken and read.

use super::Troupe;
use crate::config::{ConfigError, PinSettings, files, shown};
use crate::policy::pins::{Pinning, Pins};

/// The largest file of pins, in bytes: each pin takes about a hundred, and a troupe has at most some ten thousand tools.
const FILE_BYTES_MAX: u64 = 16 << 20;

impl Troupe {
    /// The pins of all tools that servers offer now, those included that are blocked: to be looked at, kept, and given to the next
    /// [`TroupeBuilder::pins`](crate::TroupeBuilder::pins). A server whose tools are not known yet is not among them: wait for
    /// [`ready`](Self::ready). Nor is one that is started on demand and has not been needed in this run.
    ///
    /// Whoever keeps them says that these definitions are good; nothing here judges that.
    pub async fn pins(&self) -> Pins {
        let roster = self.0.roster.borrow().clone();
        let of_roster = move || {
            let staying = roster.entries.iter().filter(|entry| !entry.leaving);
            let listed = staying.filter_map(|entry| Some((&entry.info.id, &entry.offer.as_ref()?.0)));
            Pins::of(listed.map(|(server, offer)| (server, offer.tools.iter().chain(offer.blocked.iter()))))
        };
        // Hashed beside the actors. A runtime that is ending starts nothing more.
        tokio::task::spawn_blocking(of_roster).await.unwrap_or_default()
    }
}

/// Reads the pins that the settings name.
///
/// # Errors
/// Their file cannot be read, or has no pins.
pub(super) fn read(settings: &PinSettings) -> Result<Pinning, ConfigError> {
    let wrong = |reason: String| ConfigError::new("pins.file", reason);
    let text = files::read(&settings.file, FILE_BYTES_MAX).map_err(|error| wrong(error.to_string()))?;
    let pins = serde_json::from_slice(&text).map_err(|error| {
        wrong(format!("{} has no pins: {}", shown::path(&settings.file), shown::words(&error)))
    })?;
    Ok(Pinning { pins, on_change: settings.on_change })
}

/// The same, beside the runtime's threads.
pub(super) async fn read_aside(settings: &PinSettings) -> Result<Pinning, ConfigError> {
    let settings = settings.clone();
    let asked = files::aside(move || read(&settings)).await;
    asked.unwrap_or_else(|error| Err(ConfigError::new("pins.file", format!("was not read: {error}"))))
}
