//! What hosts see of the catalogue.

use std::sync::Arc;

use super::name_index::{Entry, Merged};
use crate::id::{GroupId, ServerId};
use crate::json::RawJson;
use crate::offer::EntryKind;

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
    ///
    /// At most 64 characters of `A-Z`, `a-z`, `0-9`, `_` and `-`, which the common model APIs take as it is. It is the same in every
    /// process and version as long as group and tool are. A call by this name goes to this tool.
    pub exposed: String,
    /// The description by the first server of the group that offers it, unread.
    pub definition: RawJson,
    /// The servers that offer it, by id. One of them may be down: see [`ServerInfo`](crate::ServerInfo), and
    /// [`Troupe::is_available`](crate::Troupe::is_available).
    pub servers: Vec<ServerId>,
    /// One of those servers has listed it in this run. Else it is known from the last one
    /// ([`Settings::known_lists`](crate::Settings::known_lists)), and calls wait for its server.
    pub confirmed: bool,
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
    /// One of those servers has listed it in this run. Else it is known from the last one
    /// ([`Settings::known_lists`](crate::Settings::known_lists)), and calls wait for its server.
    pub confirmed: bool,
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
    /// One of those servers has listed it in this run. Else it is known from the last one
    /// ([`Settings::known_lists`](crate::Settings::known_lists)), and calls wait for its server.
    pub confirmed: bool,
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
    /// One of those servers has listed it in this run. Else it is known from the last one
    /// ([`Settings::known_lists`](crate::Settings::known_lists)), and calls wait for its server.
    pub confirmed: bool,
}

/// Makes a thing of the catalogue of a struct, which is called as its kind: its name stands in the field `$name`, its other
/// name, if it has one, in `$exposed`.
macro_rules! entry {
    ($kind:ident, $name:ident $(, $exposed:ident)?) => {
        impl Entry for $kind {
            const KIND: EntryKind = EntryKind::$kind;

            fn of(merged: Merged) -> Self {
                Self {
                    index: merged.index,
                    group: merged.group,
                    $name: merged.name,
                    $($exposed: merged.exposed,)?
                    definition: merged.definition,
                    servers: merged.servers,
                    confirmed: merged.confirmed,
                }
            }

            fn group(&self) -> &GroupId {
                &self.group
            }

            fn name(&self) -> &Arc<str> {
                &self.$name
            }

            fn exposed(&self) -> Option<&str> {
                None$(.or(Some(&*self.$exposed)))?
            }

            fn servers(&self) -> &[ServerId] {
                &self.servers
            }
        }
    };
}

entry!(Tool, name, exposed);
entry!(Prompt, name, exposed);
entry!(Resource, uri);
entry!(ResourceTemplate, template);
