//! What wants a place in a client's list.

use std::sync::Arc;

use crate::id::{GroupId, ServerId};
use crate::json::RawJson;

/// One thing, as the catalogue has it.
pub(super) struct Offered<'c> {
    /// Its group.
    pub group: &'c GroupId,
    /// Its name on its servers, its URI or its template.
    pub name: &'c Arc<str>,
    /// Its name for models; none of what goes by its URI.
    pub exposed: &'c str,
    /// What its servers say of it.
    pub definition: &'c RawJson,
    /// Those servers.
    pub servers: &'c [ServerId],
}
