//! What hosts see of the catalogue.

use std::sync::Arc;

use super::shelf::{Entry, Merged};
use crate::id::{GroupId, ServerId};
use crate::json::RawJson;
use crate::offer::OfferKind;

/// One tool of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tool {
    /// Its place in the catalogue.
    pub(crate) index: usize,
    /// The group.
    pub group: GroupId,
    /// Its name on the servers.
    pub name: Arc<str>,
    /// Its name for models: `group__tool`, unique in the catalogue.
    pub exposed: String,
    /// The description by the first server of the group that offers it, unread.
    pub definition: RawJson,
    /// The servers that offer it, by id. One of them may be down: see [`ServerInfo`](crate::ServerInfo), and
    /// [`Troupe::is_available`](crate::Troupe::is_available).
    pub servers: Vec<ServerId>,
}

/// One resource of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resource {
    pub(crate) index: usize,
    /// The group.
    pub group: GroupId,
    /// Its URI.
    pub uri: Arc<str>,
    /// The description by the first server of the group that lists it, unread.
    pub definition: RawJson,
    /// The servers that list it, by id.
    pub servers: Vec<ServerId>,
}

/// The template of many resources of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceTemplate {
    pub(crate) index: usize,
    /// The group.
    pub group: GroupId,
    /// The URI template (RFC 6570).
    pub template: Arc<str>,
    /// The description by the first server of the group that lists it, unread.
    pub definition: RawJson,
    /// The servers that list it, by id.
    pub servers: Vec<ServerId>,
}

/// One prompt of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prompt {
    pub(crate) index: usize,
    /// The group.
    pub group: GroupId,
    /// Its name on the servers.
    pub name: Arc<str>,
    /// Its name for models and menus: `group__prompt`, unique in the catalogue.
    pub exposed: String,
    /// The description by the first server of the group that offers it, unread.
    pub definition: RawJson,
    /// The servers that offer it, by id.
    pub servers: Vec<ServerId>,
}

impl Entry for Tool {
    const KIND: OfferKind = OfferKind::Tool;

    fn of(merged: Merged) -> Self {
        let Merged { index, group, name, exposed, definition, servers } = merged;
        Self { index, group, name, exposed, definition, servers }
    }

    fn group(&self) -> &GroupId {
        &self.group
    }

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn exposed(&self) -> Option<&str> {
        Some(&self.exposed)
    }

    fn servers(&self) -> &[ServerId] {
        &self.servers
    }
}

impl Entry for Prompt {
    const KIND: OfferKind = OfferKind::Prompt;

    fn of(merged: Merged) -> Self {
        let Merged { index, group, name, exposed, definition, servers } = merged;
        Self { index, group, name, exposed, definition, servers }
    }

    fn group(&self) -> &GroupId {
        &self.group
    }

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn exposed(&self) -> Option<&str> {
        Some(&self.exposed)
    }

    fn servers(&self) -> &[ServerId] {
        &self.servers
    }
}

impl Entry for Resource {
    const KIND: OfferKind = OfferKind::Resource;

    fn of(merged: Merged) -> Self {
        let Merged { index, group, name, definition, servers, .. } = merged;
        Self { index, group, uri: name, definition, servers }
    }

    fn group(&self) -> &GroupId {
        &self.group
    }

    fn name(&self) -> &Arc<str> {
        &self.uri
    }

    fn exposed(&self) -> Option<&str> {
        None
    }

    fn servers(&self) -> &[ServerId] {
        &self.servers
    }
}

impl Entry for ResourceTemplate {
    const KIND: OfferKind = OfferKind::ResourceTemplate;

    fn of(merged: Merged) -> Self {
        let Merged { index, group, name, definition, servers, .. } = merged;
        Self { index, group, template: name, definition, servers }
    }

    fn group(&self) -> &GroupId {
        &self.group
    }

    fn name(&self) -> &Arc<str> {
        &self.template
    }

    fn exposed(&self) -> Option<&str> {
        None
    }

    fn servers(&self) -> &[ServerId] {
        &self.servers
    }
}
