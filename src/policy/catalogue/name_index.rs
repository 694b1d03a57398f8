//! The things of one kind, merged over all servers, and what a name means among them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::near::{NEAR_MAX, Outline, near};
use super::{Resolution, ServerOffer};
use crate::config::Collisions;
use crate::id::{GroupId, ServerId};
use crate::json::RawJson;
use crate::offer::EntryKind;
use crate::policy::names::{self, Prefixes};
use crate::protocol::listing::real_name;

/// Signs in a name that nobody knows at which a group's name may end: few names have more.
const SIGNS_MAX: usize = 16;

/// One thing of one group.
pub(super) struct Merged {
    pub index: usize,
    pub group: GroupId,
    pub name: Arc<str>,
    pub exposed: String,
    pub definition: RawJson,
    pub servers: Vec<ServerId>,
    pub confirmed: bool,
    /// All its servers know it by one name.
    pub one_name: bool,
}

/// A thing as hosts see it.
pub(super) trait Entry: Sized {
    const KIND: EntryKind;

    fn of(merged: Merged) -> Self;
    fn group(&self) -> &GroupId;
    fn name(&self) -> &Arc<str>;
    /// Its other name; none where names are URIs, which are no qualified names either.
    fn exposed(&self) -> Option<&str>;
    fn servers(&self) -> &[ServerId];
}

/// The name of a thing with its group.
pub(super) fn qualified(entry: &impl Entry) -> String {
    match entry.exposed() {
        Some(_) => format!("{}/{}", entry.group(), entry.name()),
        None => entry.group().to_string(),
    }
}

/// The things of one kind.
#[derive(Debug, Clone)]
pub(super) struct NameIndex<E> {
    entries: Vec<E>,
    /// Of the names, in the same order; none where entries go by their URIs.
    outlines: Vec<Outline>,
    /// Places by bare name; the group that was configured first comes first.
    by_name: HashMap<Arc<str>, Vec<usize>>,
    /// Places by group and bare name.
    by_group: HashMap<GroupId, HashMap<Arc<str>, usize>>,
    /// Places by exposed name.
    by_exposed: HashMap<String, usize>,
    /// The groups' places among the registrations.
    group_order: HashMap<GroupId, usize>,
    /// The groups that are registered, whether they have listed or not.
    prefixes: Arc<Prefixes>,
}

impl<E> Default for NameIndex<E> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            outlines: Vec::new(),
            by_name: HashMap::new(),
            by_group: HashMap::new(),
            by_exposed: HashMap::new(),
            group_order: HashMap::new(),
            prefixes: Arc::default(),
        }
    }
}

impl<E: Entry> NameIndex<E> {
    /// Merges what the servers offer, which stand in the order of their registrations. An exposed name that begins with more
    /// than one of the groups that are registered belongs to nobody: the tools of that name get another one.
    pub(super) fn merge(servers: &[ServerOffer], prefixes: &Arc<Prefixes>) -> Self {
        let mut merged: BTreeMap<(GroupId, Arc<str>), Merged> = BTreeMap::new();
        let mut group_order: HashMap<GroupId, usize> = HashMap::new();
        for (order, offer) in servers.iter().enumerate() {
            group_order.entry(offer.group.clone()).or_insert(order);
            for definition in offer.offer.of(E::KIND).iter() {
                let name: Arc<str> = definition.name.as_str().into();
                let entry = merged.entry((offer.group.clone(), name.clone())).or_insert_with(|| Merged {
                    index: 0,
                    group: offer.group.clone(),
                    name,
                    exposed: String::new(),
                    definition: definition.definition.clone(),
                    servers: Vec::new(),
                    confirmed: false,
                    one_name: true,
                });
                if entry.definition != definition.definition {
                    let own = |definition| own_name(E::KIND, &entry.name, definition);
                    entry.one_name &= own(&entry.definition) == own(&definition.definition);
                }
                // What a server says now goes before what another one said at its last run.
                if offer.confirmed && !entry.confirmed {
                    entry.confirmed = true;
                    entry.definition = definition.definition.clone();
                }
                // Each offer is one server's.
                if entry.servers.last() != Some(&offer.server) {
                    entry.servers.push(offer.server.clone());
                }
            }
        }
        let mut seen: HashMap<String, usize> = HashMap::new();
        for entry in merged.values().filter(|_| E::KIND.is_named()) {
            *seen.entry(names::exposed(entry.group.as_str(), &entry.name, false)).or_default() += 1;
        }
        let (entries, mut own_names) = (Vec::with_capacity(merged.len()), Vec::new());
        let mut name_index = Self { group_order, entries, prefixes: prefixes.clone(), ..Self::default() };
        for (index, mut merged) in merged.into_values().enumerate() {
            merged.index = index;
            merged.servers.sort();
            merged.servers.shrink_to_fit();
            if E::KIND.is_named() {
                let plain = names::exposed(merged.group.as_str(), &merged.name, false);
                let shared = seen.get(&plain).is_some_and(|count| *count > 1);
                let ambiguous = shared || prefixes.claims(&plain) > 1;
                merged.exposed =
                    if ambiguous { names::exposed(merged.group.as_str(), &merged.name, true) } else { plain };
            }
            // Where its servers differ, what one of them calls so is another tool of another one.
            let own = merged.one_name.then(|| own_name(E::KIND, &merged.name, &merged.definition)).flatten();
            let entry = E::of(merged);
            if let Some(own) = own {
                own_names.push((own, index));
            }
            name_index.by_name.entry(entry.name().clone()).or_default().push(index);
            name_index.by_group.entry(entry.group().clone()).or_default().insert(entry.name().clone(), index);
            if let Some(exposed) = entry.exposed() {
                name_index.by_exposed.insert(exposed.to_owned(), index);
            }
            name_index.outlines.extend(E::KIND.is_named().then(|| Outline::of(entry.name())));
            name_index.entries.push(entry);
        }
        name_index.outlines.shrink_to_fit();
        for (own, index) in own_names {
            name_index.by_name.entry(own.clone()).or_default().push(index);
            let group = name_index.by_group.entry(name_index.entries[index].group().clone()).or_default();
            group.entry(own).or_insert(index);
        }
        let (entries, group_order) = (&name_index.entries, &name_index.group_order);
        for places in name_index.by_name.values_mut() {
            places.sort_by_key(|place| group_order.get(entries[*place].group()));
        }
        name_index
    }

    /// All of them, by group and name.
    pub(super) fn entries(&self) -> impl ExactSizeIterator<Item = &E> {
        self.entries.iter()
    }

    /// The place of a group among the registrations.
    #[cfg(feature = "gateway")]
    pub(super) fn order_of(&self, group: &GroupId) -> Option<usize> {
        self.group_order.get(group).copied()
    }

    /// The one at a place.
    pub(super) fn at(&self, index: usize) -> &E {
        &self.entries[index]
    }

    /// The servers of the one at a place.
    pub(super) fn servers_of(&self, index: usize) -> &[ServerId] {
        self.entries[index].servers()
    }

    /// What `name` means, see [`Catalogue::resolve`](super::Catalogue::resolve).
    pub(super) fn resolve(
        &self,
        name: &str,
        group: Option<&str>,
        collisions: Collisions,
        admits: impl Fn(&E) -> bool,
    ) -> Resolution<'_, E> {
        let Some((bare, group)) = self.parts(name, group) else { return Resolution::Unknown };
        if let Some(exposed) = self.exposed(name, group) {
            return Resolution::Found(exposed);
        }
        if let Some(group) = group {
            let place = self.by_group.get(group).and_then(|entries| entries.get(bare));
            return place.map_or(Resolution::Unknown, |place| Resolution::Found(&self.entries[*place]));
        }
        let mut entries = self.called(bare);
        let Some(first) = entries.next() else { return Resolution::Unknown };
        let others: Vec<&E> = entries.collect();
        if others.is_empty() {
            return Resolution::Found(first);
        }
        settle(std::iter::once(first).chain(others).collect(), collisions, admits)
    }

    /// The bare name in a name, and the group that it is of. None where it names another group than `group`.
    fn parts<'n>(&self, name: &'n str, group: Option<&'n str>) -> Option<(&'n str, Option<&'n str>)> {
        let Some((within, bare)) = name.split_once('/').filter(|_| E::KIND.is_named()) else {
            return Some((name, group));
        };
        // A tool's own name may have a slash. Where there is a group of that name it means that group's tools alone, also while it
        // offers none of them: else the call would reach another server.
        if self.by_name.contains_key(name) && !self.prefixes.has(within) {
            return Some((name, group));
        }
        group.is_none_or(|group| group == within).then_some((bare, Some(within)))
    }

    /// What those mean that `wanted` picks, of `group` if that is given.
    pub(super) fn resolve_those(
        &self,
        mut wanted: impl FnMut(&E) -> bool,
        group: Option<&str>,
        collisions: Collisions,
        admits: impl Fn(&E) -> bool,
    ) -> Resolution<'_, E> {
        let within = |entry: &&E| group.is_none_or(|group| *entry.group() == group);
        let mut found: Vec<&E> = self.entries.iter().filter(within).filter(|entry| wanted(entry)).collect();
        found.sort_by_key(|entry| self.group_order.get(entry.group()));
        // Within one group the first will do: its servers are replicas.
        found.dedup_by(|later, earlier| later.group() == earlier.group());
        match found.as_slice() {
            [] => Resolution::Unknown,
            [only] => Resolution::Found(only),
            [_, ..] => settle(found, collisions, admits),
        }
    }

    /// Everything that `name` may mean, one for each group that offers it, see
    /// [`Catalogue::meanings`](super::Catalogue::meanings).
    pub(super) fn meanings(&self, name: &str, group: Option<&str>) -> Vec<&E> {
        let Some((bare, group)) = self.parts(name, group) else { return Vec::new() };
        if let Some(exposed) = self.exposed(name, group) {
            return vec![exposed];
        }
        let within = group.map(|group| self.by_group.get(group).and_then(|entries| entries.get(bare)));
        if let Some(place) = within {
            return place.map(|place| &self.entries[*place]).into_iter().collect();
        }
        self.called(bare).collect()
    }

    /// Those that a bare name may mean, in the order of their groups. One that begins as the exposed names of some groups do
    /// is theirs, also while they offer nothing of that name: else a call that is meant for one of them would reach whoever
    /// else calls a tool so.
    fn called<'a>(&'a self, bare: &str) -> impl Iterator<Item = &'a E> {
        let places = self.by_name.get(bare).map(Vec::as_slice).unwrap_or_default();
        let claimed = !places.is_empty() && E::KIND.is_named() && self.claims(bare);
        let entries = places.iter().map(|place| &self.entries[*place]);
        entries.filter(move |entry| !claimed || names::is_of_group(bare, entry.group().as_str()))
    }

    /// Whether there is one whose own name this is, in `group` if that is given.
    pub(super) fn offers(&self, name: &str, group: Option<&str>) -> bool {
        match group {
            Some(group) => self.by_group.get(group).is_some_and(|entries| entries.contains_key(name)),
            None => self.by_name.contains_key(name),
        }
    }

    /// Whether a name begins as the exposed names of a registered group do.
    pub(super) fn claims(&self, name: &str) -> bool {
        self.prefixes.claims(name) > 0
    }

    /// Whether a name that an operator writes means what a group calls `own`. It means what a call by that name would; a bare one
    /// means what any group calls so.
    pub(super) fn means(&self, name: &str, group: &str, own: &str) -> bool {
        let whole = |separator| {
            name.strip_prefix(group)
                .and_then(|rest| rest.strip_prefix(separator))
                .is_some_and(|rest| rest == own)
        };
        let by_call = || {
            let found = self.resolve(name, None, Collisions::default(), |_| true);
            matches!(found, Resolution::Found(entry) if *entry.group() == group && **entry.name() == *own)
        };
        if whole("/") {
            return true;
        }
        if name.contains('/') || !names::is_legal(name) {
            return by_call();
        }
        match self.prefixes.claims(name) {
            0 => name == own,
            1 => whole("__") || by_call(),
            _ => by_call(),
        }
    }

    /// The one that models see by this name, of `group` if that is given. It goes before any other that has the name as its own:
    /// each server gives its tools the names that it likes, and would get what models ask of others.
    fn exposed(&self, name: &str, group: Option<&str>) -> Option<&E> {
        let exposed = self.by_exposed.get(name).map(|place| &self.entries[*place]);
        exposed.filter(|entry| group.is_none_or(|group| *entry.group() == group))
    }

    /// Names that look like one that nobody knows, best first.
    pub(super) fn near(&self, name: &str) -> Vec<String> {
        let shared = |entry: &E| self.by_name.get(entry.name()).is_some_and(|places| places.len() > 1);
        let alike = near(name, &self.entries, &self.outlines, shared);
        let joined = self.joined(name);
        let others = alike.into_iter().filter(|name| Some(name) != joined.as_ref());
        joined.iter().cloned().chain(others).take(NEAR_MAX).collect()
    }

    /// The name of a group and one of its own, where they were joined by another sign than a slash: `files.read`.
    fn joined(&self, name: &str) -> Option<String> {
        let signs = name.match_indices(|c: char| !c.is_alphanumeric()).take(SIGNS_MAX);
        signs
            .map(|(at, sign)| (&name[..at], &name[at + sign.len()..]))
            .find_map(|(group, own)| self.offers(own, Some(group)).then(|| format!("{group}/{own}")))
    }
}

/// The name that its server knows a tool by, where it goes by another since its own is not legal.
fn own_name(kind: EntryKind, name: &str, definition: &RawJson) -> Option<Arc<str>> {
    // Almost all stand in their definition as they are.
    let written = definition.as_str();
    let stands = |begin: &&str| written.contains(&format!("{begin}{name}\""));
    if kind != EntryKind::Tool || ["\"name\":\"", "\"name\": \""].iter().any(stands) {
        return None;
    }
    real_name(name, definition).map(Arc::from)
}

/// What several things of one name mean, of which those count that `admits` picks, if it picks any.
fn settle<E: Entry>(all: Vec<&E>, collisions: Collisions, admits: impl Fn(&E) -> bool) -> Resolution<'_, E> {
    let picked: Vec<&E> = all.iter().copied().filter(|entry| admits(entry)).collect();
    match (collisions, picked.as_slice()) {
        (_, []) => Resolution::Several(all),
        (_, [only]) => Resolution::Found(only),
        (Collisions::First, [first, ..]) => Resolution::Found(first),
        (Collisions::Balance, _) => Resolution::Several(picked),
        (Collisions::Error, _) => Resolution::Ambiguous(picked.into_iter().map(qualified).collect()),
    }
}
