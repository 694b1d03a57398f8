//! What a source adds to each record it finds.

use super::{Found, Record, RecordError};
use crate::config::shown;

/// What the operator says of all servers of a source: what their records leave out, and what no record may say.
///
/// ```
/// use mcp_troupe::discovery::{Record, Template};
///
/// let defaults = Record::parse(br#"{"group": "files", "secure": true, "path": "/mcp"}"#)?;
/// let template = Template::new(defaults).header("Authorization", "Bearer …");
/// # drop(template);
/// # Ok::<(), mcp_troupe::discovery::RecordError>(())
/// ```
#[derive(Clone, Default)]
pub struct Template {
    defaults: Record,
    headers: Vec<(String, String)>,
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template")
            .field("defaults", &self.defaults)
            .field("headers", &shown::names(self.headers.iter().map(|(name, _)| name)))
            .finish()
    }
}

impl Template {
    /// Records take what they leave out from `defaults`.
    pub fn new(defaults: Record) -> Self {
        Self { defaults, headers: Vec::new() }
    }

    /// Each server is sent this header. It goes to every address that the source names: who may write there may read it.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The server of a record.
    pub(super) fn found(&self, id: &str, record: Record) -> Result<Found, RecordError> {
        let mut server = record.or(&self.defaults).server(id)?;
        for (name, value) in &self.headers {
            server = server.header(name, value);
        }
        Ok(server.into())
    }

    /// The same, where the source has defaults of its own behind the operator's.
    #[cfg(any(feature = "consul", feature = "dns"))]
    pub(super) fn found_or(&self, id: &str, record: Record, behind: &Record) -> Result<Found, RecordError> {
        self.found(id, record.or(&self.defaults).or(behind))
    }

    /// Whether connections to its servers are encrypted unless a record says otherwise.
    #[cfg(feature = "dns")]
    pub(super) fn encrypts(&self) -> bool {
        self.defaults.secure == Some(true)
    }
}
