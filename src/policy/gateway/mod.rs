//! What a client of the gateway is shown, and when it is told that this has changed.

mod instructions;
mod listed;
mod naming;
mod notices;
mod offered;
mod profile;
mod uris;
mod view;

pub(crate) use instructions::merged;
pub(crate) use listed::Entry;
pub(crate) use notices::Notices;
pub(crate) use profile::Profile;
pub(crate) use view::{Given, List, Servers, View, ViewRules};
