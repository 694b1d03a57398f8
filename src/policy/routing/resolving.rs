//! What a call asks for, by the catalogue: which thing it names, and what it is called on its servers.

use std::sync::Arc;

use tokio::time::Instant;

use super::placing::{Lacking, NoRoute, selected};
use super::{Routing, Sought, View};
use crate::call::{Call, Completes, Purpose, Request, Selector};
use crate::error::{CallErrorKind, UnavailableServer};
use crate::event::ServerStatus;
use crate::id::{CallId, GroupId, ServerId};
use crate::offer::EntryKind;
use crate::policy::catalogue::{Resolution, Resource, ResourceTemplate};
use crate::policy::names;

/// Servers that are told of which nobody knows whether they offer what a call names: each is told with its reason, and an
/// invented name must not cost a line for each of thousands.
const MISSING_TOLD_MAX: usize = 32;

/// The servers that may offer what a call names, by the name alone.
#[derive(Clone, Copy)]
enum Scope<'a> {
    /// All of them.
    All,
    /// Those of this group: the name says it.
    Group(&'a str),
    /// Those whose group this exposed name begins with.
    Exposed(&'a str),
}

impl<'a> Scope<'a> {
    fn of(call: &'a Call) -> Self {
        match call.request {
            Request::Tool | Request::Prompt | Request::Completion(Completes::Prompt) => {
                match call.tool.split_once('/') {
                    Some((group, _)) => Self::Group(group),
                    None => Self::Exposed(&call.tool),
                }
            }
            Request::Resource | Request::Completion(Completes::Template) => Self::All,
        }
    }

    fn covers(self, group: &GroupId) -> bool {
        match self {
            Self::All => true,
            Self::Group(name) => *group == name,
            Self::Exposed(name) => names::is_of_group(name, group.as_str()),
        }
    }
}

/// A thing that was found, or things of one name that are balanced over groups; and its name on the servers.
type Resolved = Result<(Sought, Arc<str>), NoRoute>;

impl<P, S> Routing<P, S> {
    /// What a call asks for, of the servers that the selector picks.
    pub(super) fn resolve(&self, call: &Call, selector: &Selector) -> Resolved {
        let (name, group) = (call.tool.as_str(), selector.group.as_deref());
        match call.request {
            Request::Tool => {
                let found = self.catalogue.resolve(name, group, |tool| self.offered(&tool.servers, selector));
                match found {
                    Resolution::Found(tool)
                        if !is_full(name, &tool.exposed, &tool.group)
                            && self.may_be_shared(call, &tool.group, &tool.servers) =>
                    {
                        Err(NoRoute::NotYet(Lacking::Tool))
                    }
                    Resolution::Found(tool) => one(EntryKind::Tool, tool.index, &tool.name),
                    // By one own name tools may be offered under several: the call goes out by one.
                    Resolution::Several(tools)
                        if tools.iter().any(|tool| tool.name != tools[0].name)
                            && self.offered(&tools[0].servers, selector) =>
                    {
                        let candidates =
                            tools.iter().map(|tool| format!("{}/{}", tool.group, tool.name)).collect();
                        Err(NoRoute::Never(CallErrorKind::AmbiguousTool { candidates }))
                    }
                    Resolution::Several(tools) => {
                        let indexes = tools.iter().map(|tool| tool.index).collect();
                        Ok((Sought::Any(EntryKind::Tool, indexes), tools[0].name.clone()))
                    }
                    Resolution::Ambiguous(candidates) => {
                        Err(NoRoute::Never(CallErrorKind::AmbiguousTool { candidates }))
                    }
                    Resolution::Unknown => Err(NoRoute::NotYet(Lacking::Tool)),
                }
            }
            Request::Prompt | Request::Completion(Completes::Prompt) => {
                let found = self
                    .catalogue
                    .resolve_prompt(name, group, |prompt| self.offered(&prompt.servers, selector));
                match found {
                    Resolution::Found(prompt)
                        if !is_full(name, &prompt.exposed, &prompt.group)
                            && self.may_be_shared(call, &prompt.group, &prompt.servers) =>
                    {
                        Err(NoRoute::NotYet(Lacking::Prompt))
                    }
                    Resolution::Found(prompt) => one(EntryKind::Prompt, prompt.index, &prompt.name),
                    Resolution::Several(prompts) => {
                        let indexes = prompts.iter().map(|prompt| prompt.index).collect();
                        Ok((Sought::Any(EntryKind::Prompt, indexes), prompts[0].name.clone()))
                    }
                    Resolution::Ambiguous(candidates) => {
                        Err(NoRoute::Never(CallErrorKind::AmbiguousPrompt { candidates }))
                    }
                    Resolution::Unknown => Err(NoRoute::NotYet(Lacking::Prompt)),
                }
            }
            Request::Resource => self.resolve_resource(call, selector),
            Request::Completion(Completes::Template) => {
                let offered = |template: &ResourceTemplate| self.offered(&template.servers, selector);
                self.template(name, self.catalogue.resolve_template(name, group, offered))
            }
        }
    }

    /// The error of a call that nothing was found for. Only made when it fails: it may wait before, and look again and again.
    pub(super) fn lacking(&self, id: CallId, lacking: Lacking, now: Instant) -> CallErrorKind {
        let Some(call) = self.calls.get(id).map(|call| &call.call) else { return CallErrorKind::Closed };
        let blocked: Vec<UnavailableServer> = match lacking {
            Lacking::Tool => self.blocked(call).take(MISSING_TOLD_MAX).collect(),
            Lacking::Prompt | Lacking::Resource | Lacking::Other(_) => Vec::new(),
        };
        // Who is leased from is named by itself: that is no question of what servers offer.
        if call.purpose != Purpose::OpenLease {
            let selector = &call.options().selector;
            if *selector != Selector::default()
                && !self.views.iter().flatten().any(|view| selected(view, selector))
            {
                return CallErrorKind::NoMatch { selector: selector.describe() };
            }
            // The group that it names has servers, and the selector none of them.
            let scope = Scope::of(call);
            let of_scope = |view: &&View<S>| scope.covers(&view.spec.group);
            if *selector != Selector::default()
                && self.views.iter().flatten().any(|view| of_scope(&view))
                && !self.views.iter().flatten().any(|view| of_scope(&view) && selected(view, selector))
            {
                return CallErrorKind::NoMatch { selector: selector.describe() };
            }
            let offered = || match lacking {
                Lacking::Tool => {
                    let group = selector.group.as_deref();
                    !matches!(self.catalogue.resolve(&call.tool, group, |_| true), Resolution::Unknown)
                }
                Lacking::Prompt | Lacking::Resource | Lacking::Other(_) => false,
            };
            let prospects = self.prospects(call).take(MISSING_TOLD_MAX);
            let mut servers: Vec<UnavailableServer> = prospects.map(|view| view.unavailable(now)).collect();
            if !servers.is_empty() {
                servers.extend(blocked);
                return CallErrorKind::Unavailable { servers };
            }
            // Others offer it than those that the selector picks.
            if *selector != Selector::default() && blocked.is_empty() && offered() {
                return CallErrorKind::NoMatch { selector: selector.describe() };
            }
        }
        // Near names are found by whoever called, beside the router.
        match lacking {
            Lacking::Tool => CallErrorKind::UnknownTool { near: Vec::new(), blocked },
            Lacking::Prompt => CallErrorKind::UnknownPrompt { near: Vec::new() },
            Lacking::Resource => CallErrorKind::UnknownResource,
            Lacking::Other(kind) => kind,
        }
    }

    /// Servers that may turn out to offer what a call names: what they offer is not known, and name and selector admit them.
    pub(super) fn prospects<'a>(&'a self, call: &'a Call) -> impl Iterator<Item = &'a View<S>> {
        self.views.iter().flatten().filter(self.is_prospect(call))
    }

    /// Which servers these are.
    pub(super) fn is_prospect<'a>(&'a self, call: &'a Call) -> impl Fn(&&'a View<S>) -> bool {
        let scope = match Scope::of(call) {
            Scope::Exposed(name)
                if !self
                    .views
                    .iter()
                    .flatten()
                    .any(|view| names::is_of_group(name, view.spec.group.as_str())) =>
            {
                // A bare name, which any of them may have.
                Scope::All
            }
            // No group's, and somebody calls a tool so, or the call says itself who does: others may as well.
            Scope::Group(group)
                if (self.catalogue.offers(&call.tool, None) || call.options().selector.names_somebody())
                    && !self.views.iter().flatten().any(|view| view.spec.group == *group) =>
            {
                Scope::All
            }
            scope => scope,
        };
        let selector = &call.options().selector;
        move |view| !view.standing.listed && selected(view, selector) && scope.covers(&view.spec.group)
    }

    /// Whether a name that one group has may turn out to be another's as well: the call names no group, and servers of others
    /// that were there before this one had listed are about to list for the first time. Which lists first is chance, and a call
    /// must not go by that. A server that is added later finds the names of others settled.
    fn may_be_shared(&self, call: &Call, group: &GroupId, servers: &[ServerId]) -> bool {
        if !self.introduced {
            return true;
        }
        if self.naming.is_empty() {
            return false;
        }
        let is_prospect = self.is_prospect(call);
        let settled = |added: Instant| {
            let mut holders =
                servers.iter().filter_map(|server| self.views[*self.server_slots.get(server)?].as_ref());
            holders.any(|view| view.had_listed(added))
        };
        let views = self.naming.iter().filter_map(|(_, slot)| self.views[*slot].as_ref());
        views.filter(is_prospect).any(|view| view.spec.group != *group && !settled(view.added))
    }

    /// Servers that the call admits and that offer its tool, where it is left out since its pin is broken.
    fn blocked<'a>(&'a self, call: &'a Call) -> impl Iterator<Item = UnavailableServer> {
        let admitted =
            |server: &&ServerId| self.offered(std::slice::from_ref(*server), &call.options().selector);
        self.catalogue.blocked(&call.tool).filter(admitted).map(|server| {
            let reason = "what it says of the tool is not what its pin says";
            UnavailableServer::new(server.clone(), ServerStatus::Ready, Some(reason.to_owned()), None)
        })
    }

    /// Finds a resource by itself, by a template that its URI follows, or where the call says who has it.
    fn resolve_resource(&self, call: &Call, selector: &Selector) -> Resolved {
        let uri = call.tool.as_str();
        let group = selector.group.as_deref();
        let offered = |resource: &Resource| self.offered(&resource.servers, selector);
        match self.catalogue.resolve_resource(uri, group, offered) {
            Resolution::Found(resource) if self.may_be_shared(call, &resource.group, &resource.servers) => {
                Err(NoRoute::NotYet(Lacking::Resource))
            }
            Resolution::Found(resource) => one(EntryKind::Resource, resource.index, &resource.uri),
            Resolution::Several(resources) => {
                let indexes = resources.iter().map(|resource| resource.index).collect();
                Ok((Sought::Any(EntryKind::Resource, indexes), uri.into()))
            }
            Resolution::Ambiguous(groups) => Err(NoRoute::Never(CallErrorKind::AmbiguousResource { groups })),
            Resolution::Unknown if *selector != Selector::default() => Ok((Sought::Reader, uri.into())),
            Resolution::Unknown => {
                let offered = |template: &ResourceTemplate| self.offered(&template.servers, selector);
                self.template(uri, self.catalogue.resolve_by_template(uri, group, offered))
            }
        }
    }

    fn template(&self, name: &str, found: Resolution<'_, ResourceTemplate>) -> Resolved {
        match found {
            Resolution::Found(template) => {
                Ok((Sought::One(EntryKind::ResourceTemplate, template.index), name.into()))
            }
            Resolution::Several(templates) => {
                let indexes = templates.iter().map(|template| template.index).collect();
                Ok((Sought::Any(EntryKind::ResourceTemplate, indexes), name.into()))
            }
            Resolution::Ambiguous(groups) => Err(NoRoute::Never(CallErrorKind::AmbiguousResource { groups })),
            Resolution::Unknown => Err(NoRoute::NotYet(Lacking::Resource)),
        }
    }

    /// Whether one of these servers is among those that a call may go to.
    fn offered(&self, servers: &[ServerId], selector: &Selector) -> bool {
        let slots = servers.iter().filter_map(|server| self.server_slots.get(server));
        slots.filter_map(|slot| self.views[*slot].as_ref()).any(|view| selected(view, selector))
    }
}

/// Whether a name says which group is meant.
fn is_full(name: &str, exposed: &str, group: &GroupId) -> bool {
    name == exposed || name.split_once('/').is_some_and(|(within, _)| *group == within)
}

fn one(kind: EntryKind, index: usize, name: &Arc<str>) -> Resolved {
    Ok((Sought::One(kind, index), name.clone()))
}
