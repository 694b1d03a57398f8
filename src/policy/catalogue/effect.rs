//! What tools do to what others read, as far as it is believed: only what trusted servers say of theirs.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::name_index::NameIndex;
use super::{ServerOffer, Tool};
use crate::id::GroupId;
use crate::json::RawJson;

/// What is believed of a tool's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Effect {
    /// Nothing, and of no other tool of its group either.
    #[default]
    Unsaid,
    /// It changes nothing: all servers that offer it are trusted and say so (`readOnlyHint`).
    Reads,
    /// It may change what tools of its group read.
    Writes,
}

/// What is believed of each tool, by its place. Empty where no server is trusted.
pub(super) fn of(tools: &NameIndex<Tool>, servers: &[ServerOffer]) -> Vec<Effect> {
    if servers.iter().all(|offer| !offer.trusted) {
        return Vec::new();
    }
    // By group and tool: whether all say so.
    let mut reads: HashMap<(&GroupId, &str), bool> = HashMap::new();
    // What a server listed at its last run it has yet to say in this one, and until then it answers nothing.
    for offer in servers.iter().filter(|offer| offer.confirmed) {
        for tool in offer.offer.tools.iter() {
            let said = offer.trusted && is_read_only(&tool.definition);
            *reads.entry((&offer.group, tool.name.as_str())).or_insert(true) &= said;
        }
    }
    let reading: HashSet<&GroupId> =
        reads.iter().filter(|(_, reads)| **reads).map(|((group, _), _)| *group).collect();
    let effect = |tool: &Tool| match reads.get(&(&tool.group, &*tool.name)) {
        Some(true) => Effect::Reads,
        Some(false) | None if reading.contains(&tool.group) => Effect::Writes,
        Some(false) | None => Effect::Unsaid,
    };
    tools.entries().map(effect).collect()
}

/// Whether a tool's definition says that it changes nothing. Odd annotations say nothing.
fn is_read_only(definition: &RawJson) -> bool {
    #[derive(Deserialize)]
    struct Said {
        annotations: Annotations,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Annotations {
        read_only_hint: bool,
    }
    // Few have it, and to look for it costs less than to parse.
    definition.as_str().contains("readOnlyHint")
        && definition.parse_borrowed::<Said>().is_ok_and(|said| said.annotations.read_only_hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Collisions;
    use crate::id::ServerId;
    use crate::policy::catalogue::{Catalogue, Definition, Offer};

    fn offer(server: &str, group: &str, trusted: bool, tools: &[(&str, &str)]) -> ServerOffer {
        let tools = tools.iter().map(|(name, definition)| Definition {
            name: (*name).to_owned(),
            definition: RawJson::from_text(*definition).unwrap(),
        });
        ServerOffer {
            server: ServerId::new(server).unwrap(),
            group: GroupId::new(group).unwrap(),
            order: 0,
            trusted,
            confirmed: true,
            offer: Offer { tools: tools.collect(), ..Offer::default() },
        }
    }

    const READS: &str = r#"{"annotations":{"readOnlyHint":true,"title":"t"}}"#;

    fn effects(offers: Vec<ServerOffer>) -> Vec<Effect> {
        let catalogue = Catalogue::merge(1, offers, Collisions::Error);
        catalogue.tools().map(|tool| catalogue.effect(tool)).collect()
    }

    #[test]
    fn what_a_tool_does_is_believed_where_all_its_servers_are_trusted() {
        let offers = vec![
            offer("a1", "a", true, &[("read", READS), ("write", "{}")]),
            offer("a2", "a", true, &[("read", READS)]),
            offer("b1", "b", true, &[("read", READS), ("write", "{}")]),
            offer("b2", "b", false, &[("read", READS)]),
        ];
        assert_eq!(effects(offers), [Effect::Reads, Effect::Writes, Effect::Unsaid, Effect::Unsaid]);
        assert_eq!(effects(vec![offer("a", "a", false, &[("read", READS)])]), [Effect::Unsaid]);
    }

    #[test]
    fn a_hint_is_read_where_it_is_one() {
        for odd in [
            r#"{"annotations":{"readOnlyHint":"true"}}"#,
            r#"{"annotations":{"readOnlyHint":false}}"#,
            r#"{"annotations":7,"readOnlyHint":true}"#,
            r#"{"description":"readOnlyHint"}"#,
            "\"read\"",
        ] {
            assert_eq!(effects(vec![offer("a", "a", true, &[("read", odd)])]), [Effect::Unsaid], "{odd}");
        }
    }
}
