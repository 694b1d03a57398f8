//! Whom a call to several servers concerns: each server that its selector picks and that offers the tool, or may offer it,
//! since its tools are not known yet.

use std::collections::BTreeSet;

use super::catalogue::{Catalogue, Resolution};
use super::names;
use crate::call::Selector;
use crate::error::CallErrorKind;
use crate::id::ServerId;
use crate::stats::ServerInfo;

/// What is known of a server's tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Knowledge {
    /// They are listed.
    Listed,
    /// It could not be reached yet.
    Unlisted,
}

/// What a picked server is to the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prospect {
    /// It offers the tool.
    Offers,
    /// Its tools are not known yet.
    MayOffer,
}

/// The servers that a call of `tool` to several concerns, in the order of `servers`. A bare name means the tools of that
/// name in all groups: nothing is chosen among them, so they do not collide.
///
/// # Errors
/// [`CallErrorKind::NoMatch`] where the selector picks nobody who offers the tool, [`CallErrorKind::UnknownTool`] where nobody
/// offers it at all; the names that look like it are left to whoever says so to the caller.
pub(crate) fn pick<'a>(
    catalogue: &Catalogue,
    servers: impl Iterator<Item = (&'a ServerInfo, Knowledge)>,
    tool: &str,
    selector: &Selector,
) -> Result<Vec<(ServerId, Prospect)>, CallErrorKind> {
    let tools = catalogue.meanings(tool, selector.group.as_deref());
    let offering: BTreeSet<&ServerId> = tools.iter().flat_map(|tool| &tool.servers).collect();
    let exposed = tools.iter().find(|known| known.exposed == tool).map(|known| known.group.as_str());
    let within = tool.split_once('/').map(|(group, _)| group).or(exposed);
    // One that begins as the exposed names of some groups do means tools of these alone.
    let claimed = within.is_none() && selector.group.is_none() && catalogue.claims(tool);
    let (mut picked, mut matching) = (Vec::new(), false);
    for (info, knowledge) in servers.filter(|(info, _)| selector.picks(&info.id, &info.group, &info.tags)) {
        matching = true;
        let in_group = within.is_none_or(|group| info.group.as_str() == group)
            && (!claimed || names::is_of_group(tool, info.group.as_str()));
        match knowledge {
            Knowledge::Listed if offering.contains(&info.id) => {
                picked.push((info.id.clone(), Prospect::Offers));
            }
            Knowledge::Unlisted if in_group => picked.push((info.id.clone(), Prospect::MayOffer)),
            Knowledge::Listed | Knowledge::Unlisted => {}
        }
    }
    if !picked.is_empty() {
        return Ok(picked);
    }
    match catalogue.resolve(tool, selector.group.as_deref(), |_| true) {
        Resolution::Unknown if matching => {
            Err(CallErrorKind::UnknownTool { near: Vec::new(), blocked: Vec::new() })
        }
        Resolution::Unknown | Resolution::Found(_) | Resolution::Several(_) | Resolution::Ambiguous(_) => {
            Err(CallErrorKind::NoMatch { selector: selector.describe() })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::call::Call;
    use crate::config::Collisions;
    use crate::event::{Origin, ServerStatus};
    use crate::id::{GroupId, Incarnation};
    use crate::json::RawJson;
    use crate::policy::catalogue::{Definition, Offer, ServerOffer};

    /// A server: its id, its group, its one tag, and its tools if they are known.
    type Given = (&'static str, &'static str, &'static str, Option<&'static [&'static str]>);

    const SERVERS: [Given; 4] = [
        ("a1", "alpha", "eu", Some(&["read", "write"])),
        ("a2", "alpha", "us", Some(&["read"])),
        ("b1", "beta", "eu", Some(&["read"])),
        ("c1", "gamma", "eu", None),
    ];

    fn info((id, group, tag, tools): &Given) -> ServerInfo {
        ServerInfo {
            id: ServerId::new(id).unwrap(),
            group: GroupId::new(group).unwrap(),
            tags: vec![(*tag).to_owned()],
            origin: Origin::Configured,
            metadata: BTreeMap::new(),
            endpoint: String::new(),
            status: ServerStatus::Ready,
            reason: None,
            starting: None,
            retry_at: None,
            incarnation: Incarnation::FIRST,
            restarts: 0,
            tools: tools.map_or(0, <[_]>::len),
            details: None,
        }
    }

    fn picked(call: &Call) -> Result<Vec<(String, Prospect)>, CallErrorKind> {
        let definition = RawJson::from_text("{}").unwrap();
        let offers = SERVERS.iter().enumerate().filter_map(|(order, given)| {
            let tools = given
                .3?
                .iter()
                .map(|name| Definition { name: (*name).to_owned(), definition: definition.clone() });
            let ServerInfo { id, group, .. } = info(given);
            let offer = Offer { tools: tools.collect(), ..Offer::default() };
            Some(ServerOffer { server: id, group, order, trusted: false, confirmed: true, offer })
        });
        let groups = SERVERS.iter().map(|given| info(given).group);
        let catalogue = Catalogue::merge_among(1, offers, groups, Collisions::Error);
        let infos: Vec<_> = SERVERS
            .iter()
            .map(|given| {
                (info(given), if given.3.is_some() { Knowledge::Listed } else { Knowledge::Unlisted })
            })
            .collect();
        let servers = infos.iter().map(|(info, knowledge)| (info, *knowledge));
        let picked = pick(&catalogue, servers, &call.tool, &call.options().selector)?;
        Ok(picked.into_iter().map(|(id, prospect)| (id.to_string(), prospect)).collect())
    }

    fn ids(call: &Call) -> Vec<String> {
        picked(call).unwrap().into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn a_bare_name_means_that_tool_in_every_group() {
        assert_eq!(ids(&Call::tool("read")), ["a1", "a2", "b1", "c1"]);
        assert_eq!(ids(&Call::tool("read").tag("eu")), ["a1", "b1", "c1"]);
        assert_eq!(ids(&Call::tool("write").group("alpha")), ["a1"]);
    }

    #[test]
    fn a_qualified_or_exposed_name_means_its_group_alone() {
        assert_eq!(ids(&Call::tool("alpha/read")), ["a1", "a2"]);
        assert_eq!(ids(&Call::tool("alpha__read")), ["a1", "a2"]);
        assert_eq!(ids(&Call::tool("gamma/read")), ["c1"]);
    }

    #[test]
    fn a_server_whose_tools_are_unknown_is_a_prospect() {
        assert_eq!(
            picked(&Call::tool("write")).unwrap(),
            [("a1".to_owned(), Prospect::Offers), ("c1".to_owned(), Prospect::MayOffer)]
        );
    }

    #[test]
    fn a_server_whose_tools_are_unknown_is_asked_for_no_name_of_another_group() {
        assert_eq!(ids(&Call::tool("gamma__read")), ["c1"]);
        assert!(matches!(picked(&Call::tool("alpha__gone")), Err(CallErrorKind::UnknownTool { .. })));
    }

    #[test]
    fn a_selection_of_nobody_names_its_selector_and_an_unknown_tool_is_another_error() {
        let nobody = CallErrorKind::NoMatch { selector: "group alpha, tags mars".to_owned() };
        assert_eq!(picked(&Call::tool("read").group("alpha").tag("mars")), Err(nobody.clone()));
        assert_eq!(picked(&Call::tool("raed").group("alpha").tag("mars")), Err(nobody));
        let elsewhere = CallErrorKind::NoMatch { selector: "server a2".to_owned() };
        assert_eq!(picked(&Call::tool("write").server("a2")), Err(elsewhere));
        let unknown = picked(&Call::tool("wirte").tag("us"));
        assert_eq!(unknown, Err(CallErrorKind::UnknownTool { near: vec![], blocked: vec![] }));
    }
}
