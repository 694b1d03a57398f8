//! Which server the calls with an affinity key go to.
//!
//! A binding belongs to a key *and* a group: one key used for files and for a database means a server of each, and
//! neither call may unbind the other's. It is written when a call succeeded, so that a bad choice is not pinned, and is
//! forgotten when it was not used for the time to live, when its server leaves, or when the table is full and no other
//! binding was unused for longer.
//!
//! Whether the bound server takes calls at this moment is the router's question, not the table's.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::AffinitySettings;
use crate::id::{GroupId, ServerId};

/// Bindings of affinity keys to servers. All operations take at most logarithmic time; forgetting a server takes that for
/// each of its bindings.
#[derive(Debug)]
pub(crate) struct AffinityTable {
    ttl: Duration,
    capacity: usize,
    /// By group first, so that a lookup needs no copy of the key.
    bindings: HashMap<GroupId, HashMap<Arc<str>, Binding>>,
    /// Every binding by its last use, the longest unused first.
    by_use: BTreeMap<u64, Place>,
    /// The bindings of each server.
    by_server: HashMap<ServerId, HashSet<Place>>,
    /// Uses, ever.
    uses: u64,
}

/// What identifies a binding.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    group: GroupId,
    key: Arc<str>,
}

#[derive(Debug)]
struct Binding {
    server: ServerId,
    used_at: Instant,
    /// Its key in `by_use`.
    used: u64,
}

impl AffinityTable {
    /// A table without bindings.
    pub(crate) fn new(settings: &AffinitySettings) -> Self {
        Self {
            ttl: settings.ttl,
            capacity: settings.capacity,
            bindings: HashMap::new(),
            by_use: BTreeMap::new(),
            by_server: HashMap::new(),
            uses: 0,
        }
    }

    /// The server that a key is bound to in a group. Being asked for is a use: the binding's time begins anew.
    pub(crate) fn bound(&mut self, key: &str, group: &GroupId, now: Instant) -> Option<ServerId> {
        self.expire(now);
        let binding = self.bindings.get_mut(group)?.get_mut(key)?;
        let used = std::mem::replace(&mut binding.used, self.uses);
        binding.used_at = now;
        if let Some(place) = self.by_use.remove(&used) {
            self.by_use.insert(self.uses, place);
        }
        self.uses += 1;
        Some(binding.server.clone())
    }

    /// Binds a key in a group to a server, in place of the one before.
    pub(crate) fn bind(&mut self, key: &str, group: &GroupId, server: &ServerId, now: Instant) {
        if self.bound(key, group, now).as_ref() == Some(server) {
            return;
        }
        self.remove(key, group);
        let place = Place { group: group.clone(), key: Arc::from(key) };
        let binding = Binding { server: server.clone(), used_at: now, used: self.uses };
        self.bindings.entry(group.clone()).or_default().insert(place.key.clone(), binding);
        self.by_server.entry(server.clone()).or_default().insert(place.clone());
        self.by_use.insert(self.uses, place);
        self.uses += 1;
        while self.by_use.len() > self.capacity {
            self.forget_longest_unused();
        }
    }

    /// Forgets every binding to a server.
    pub(crate) fn forget_server(&mut self, server: &ServerId) {
        for Place { group, key } in self.by_server.remove(server).unwrap_or_default() {
            self.remove(&key, &group);
        }
    }

    /// How many bindings there are.
    pub(crate) fn len(&mut self, now: Instant) -> usize {
        self.expire(now);
        self.by_use.len()
    }

    /// Forgets what was unused for too long. Each binding pays for its own removal, once.
    fn expire(&mut self, now: Instant) {
        while let Some(Place { group, key }) = self.by_use.values().next() {
            let binding = self.bindings.get(group).and_then(|keys| keys.get(key));
            if binding.is_some_and(|binding| now.saturating_duration_since(binding.used_at) < self.ttl) {
                return;
            }
            self.forget_longest_unused();
        }
    }

    fn forget_longest_unused(&mut self) {
        if let Some((_, Place { group, key })) = self.by_use.pop_first() {
            self.remove(&key, &group);
        }
    }

    /// Takes a binding out of all three maps, and drops the maps that have become empty.
    fn remove(&mut self, key: &str, group: &GroupId) {
        let Some(keys) = self.bindings.get_mut(group) else { return };
        let Some((key, binding)) = keys.remove_entry(key) else { return };
        if keys.is_empty() {
            self.bindings.remove(group);
        }
        self.by_use.remove(&binding.used);
        if let Some(places) = self.by_server.get_mut(&binding.server) {
            places.remove(&Place { group: group.clone(), key });
            if places.is_empty() {
                self.by_server.remove(&binding.server);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECS: fn(u64) -> Duration = Duration::from_secs;

    fn table(ttl: u64, capacity: usize) -> AffinityTable {
        AffinityTable::new(&AffinitySettings { ttl: SECS(ttl), capacity })
    }

    fn group(name: &str) -> GroupId {
        GroupId::new(name).unwrap()
    }

    fn server(name: &str) -> ServerId {
        ServerId::new(name).unwrap()
    }

    #[test]
    fn fault_c12_a_key_is_bound_in_each_group_by_itself() {
        let (mut table, now) = (table(60, 10), Instant::now());
        table.bind("user", &group("files"), &server("f1"), now);
        table.bind("user", &group("db"), &server("d1"), now);
        assert_eq!(table.bound("user", &group("files"), now), Some(server("f1")));
        assert_eq!(table.bound("user", &group("db"), now), Some(server("d1")));
        assert_eq!(table.bound("other", &group("db"), now), None);
    }

    #[test]
    fn fault_c9_an_unused_binding_is_forgotten_and_a_used_one_is_not() {
        let (mut table, now) = (table(60, 10), Instant::now());
        table.bind("used", &group("g"), &server("s"), now);
        table.bind("unused", &group("g"), &server("s"), now);
        assert!(table.bound("used", &group("g"), now + SECS(59)).is_some());
        assert_eq!(table.bound("unused", &group("g"), now + SECS(60)), None);
        assert!(table.bound("used", &group("g"), now + SECS(118)).is_some());
        assert_eq!(table.len(now + SECS(118)), 1);
        assert_eq!(table.len(now + SECS(178)), 0);
    }

    #[test]
    fn fault_c9_a_full_table_forgets_the_longest_unused() {
        let (mut table, now) = (table(60, 2), Instant::now());
        table.bind("a", &group("g"), &server("s"), now);
        table.bind("b", &group("g"), &server("s"), now);
        assert!(table.bound("a", &group("g"), now).is_some());
        table.bind("c", &group("g"), &server("s"), now);
        assert_eq!(table.bound("b", &group("g"), now), None);
        assert!(table.bound("a", &group("g"), now).is_some() && table.bound("c", &group("g"), now).is_some());
    }

    #[test]
    fn fault_c9_a_server_that_left_has_no_bindings() {
        let (mut table, now) = (table(60, 10), Instant::now());
        table.bind("a", &group("g"), &server("s"), now);
        table.bind("b", &group("g"), &server("t"), now);
        table.forget_server(&server("s"));
        assert_eq!(table.bound("a", &group("g"), now), None);
        assert_eq!(table.bound("b", &group("g"), now), Some(server("t")));
    }

    #[test]
    fn a_new_binding_replaces_the_old_one() {
        let (mut table, now) = (table(60, 10), Instant::now());
        table.bind("a", &group("g"), &server("s"), now);
        table.bind("a", &group("g"), &server("t"), now);
        table.forget_server(&server("s"));
        assert_eq!(table.bound("a", &group("g"), now), Some(server("t")));
        assert_eq!(table.len(now), 1);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Bind(u8, u8, u8),
        Bound(u8, u8),
        Forget(u8),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0u8..6, 0u8..3, 0u8..4).prop_map(|(k, g, s)| Step::Bind(k, g, s)),
            4 => (0u8..6, 0u8..3).prop_map(|(k, g)| Step::Bound(k, g)),
            1 => (0u8..4).prop_map(Step::Forget),
            2 => (0u64..40).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn a_table_behaves_as_a_list_in_order_of_use(
            steps in prop::collection::vec(step(), 1..150),
            capacity in 1usize..10,
        ) {
            const TTL: u64 = 60;
            let (mut table, mut now) = (table(TTL, capacity), Instant::now());
            // Key, group, server and last use of each binding, the longest unused first.
            let mut model: Vec<(u8, u8, u8, Instant)> = Vec::new();
            let id = |n: u8| n.to_string();
            for step in steps {
                model.retain(|(.., used)| now.saturating_duration_since(*used) < SECS(TTL));
                match step {
                    Step::Bind(k, g, s) => {
                        table.bind(&id(k), &group(&id(g)), &server(&id(s)), now);
                        model.retain(|(key, group, ..)| (*key, *group) != (k, g));
                        model.push((k, g, s, now));
                        if model.len() > capacity {
                            model.remove(0);
                        }
                    }
                    Step::Bound(k, g) => {
                        let found = model.iter().position(|(key, group, ..)| (*key, *group) == (k, g));
                        let expected = found.map(|at| {
                            let (k, g, s, _) = model.remove(at);
                            model.push((k, g, s, now));
                            server(&id(s))
                        });
                        prop_assert_eq!(table.bound(&id(k), &group(&id(g)), now), expected);
                    }
                    Step::Forget(s) => {
                        table.forget_server(&server(&id(s)));
                        model.retain(|(_, _, bound, _)| *bound != s);
                    }
                    Step::Wait(secs) => {
                        now += SECS(secs);
                        continue;
                    }
                }
                prop_assert_eq!(table.len(now), model.len());
                // Nothing is left in any of the maps that is not in all of them.
                prop_assert_eq!(table.bindings.values().map(HashMap::len).sum::<usize>(), model.len());
                prop_assert_eq!(table.by_server.values().map(HashSet::len).sum::<usize>(), model.len());
                prop_assert!(table.bindings.values().all(|keys| !keys.is_empty()));
                prop_assert!(table.by_server.values().all(|places| !places.is_empty()));
            }
        }
    }
}
