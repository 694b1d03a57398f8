//! What one source is believed.
//!
//! For each server the source *says* something (a description, or nothing), and something *stands*. What is said stands at
//! once, except that
//! - a server that is missing stands for a grace,
//! - one that changes too often stands as it is until it has not changed for a while,
//! - an answer without any server is not heard before it was repeated.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::DiscoverySettings;
use crate::duration::later;
use crate::id::ServerId;

/// The shortest time after which an answer that is not believed is asked for again.
const AGAIN_MIN: Duration = Duration::from_millis(100);

/// Servers that are gone and whose changes are still remembered: as many as a troupe may have by default. A directory that
/// invents ever new names is damped no more, and fills no memory.
const GONE_MAX: usize = 10_000;

/// Whether an answer was believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// It was, and each server's rules apply.
    Yes,
    /// It names no server, and some were known: it has to be repeated.
    NotYet {
        /// When to ask again.
        again_in: Duration,
        /// It is the first such answer.
        first: bool,
    },
}

/// Answers in a row that named no server.
#[derive(Debug)]
struct Doubt {
    since: Instant,
    answers: u32,
}

/// One server.
#[derive(Debug)]
struct Known<D> {
    stands: Option<D>,
    /// What is said, where something else stands.
    pending: Option<Pending<D>>,
    /// When what is said changed, within the window; never more than matter.
    changes: VecDeque<Instant>,
}

#[derive(Debug)]
struct Pending<D> {
    says: Option<D>,
    /// When it stands.
    due: Instant,
}

/// What one source says, and what stands of it.
#[derive(Debug)]
pub(super) struct SourceView<D> {
    rules: DiscoverySettings,
    grace: Duration,
    servers: BTreeMap<ServerId, Known<D>>,
    doubt: Option<Doubt>,
    /// Servers for which something else stands since it was last asked.
    touched: BTreeSet<ServerId>,
}

impl<D: Clone + PartialEq> SourceView<D> {
    /// Nothing was said yet. The grace for missing servers is `advised` unless the rules say another.
    pub(super) fn new(rules: DiscoverySettings, advised: Duration) -> Self {
        let grace = rules.removal_grace.unwrap_or(advised);
        Self { rules, grace, servers: BTreeMap::new(), doubt: None, touched: BTreeSet::new() }
    }

    /// Takes an answer.
    pub(super) fn answered(
        &mut self,
        servers: BTreeMap<ServerId, D>,
        unread: &BTreeSet<ServerId>,
        now: Instant,
    ) -> Accepted {
        self.pass(now);
        if servers.is_empty() && self.standing().next().is_some() {
            let first = self.doubt.is_none();
            let doubt = self.doubt.get_or_insert(Doubt { since: now, answers: 0 });
            doubt.answers = doubt.answers.saturating_add(1);
            let missing = self.rules.empty_answers.saturating_sub(doubt.answers);
            let remaining = later(doubt.since, self.rules.empty_after).saturating_duration_since(now);
            if missing > 0 || !remaining.is_zero() {
                let again_in = (remaining / missing.max(1)).max(AGAIN_MIN);
                return Accepted::NotYet { again_in, first };
            }
        }
        self.doubt = None;
        let missing: Vec<ServerId> = self
            .servers
            .keys()
            .filter(|server| !servers.contains_key(*server) && !unread.contains(*server))
            .cloned()
            .collect();
        for server in missing {
            self.say(server, None, now);
        }
        for (server, description) in servers {
            self.say(server, Some(description), now);
        }
        self.pass(now);
        Accepted::Yes
    }

    /// The source failed: answers without servers no longer stand in a row.
    pub(super) fn failed(&mut self) {
        self.doubt = None;
    }

    fn say(&mut self, server: ServerId, says: Option<D>, now: Instant) {
        let known = self.servers.entry(server).or_insert_with(|| Known {
            stands: None,
            pending: None,
            changes: VecDeque::new(),
        });
        let said = known.pending.as_ref().map_or(&known.stands, |pending| &pending.says);
        if *said == says {
            return;
        }
        forget_old(&mut known.changes, &self.rules, now);
        let flapping = known.changes.len() >= self.rules.flaps_max as usize;
        if flapping {
            // The oldest no longer matters: there are as many without it.
            known.changes.pop_front();
        }
        known.changes.push_back(now);
        if known.stands == says {
            known.pending = None;
            return;
        }
        let grace = if says.is_none() { self.grace } else { Duration::ZERO };
        let hold = if flapping { self.rules.flap_hold } else { Duration::ZERO };
        known.pending = Some(Pending { says, due: later(now, grace.max(hold)) });
    }

    /// Lets what is due stand.
    fn pass(&mut self, now: Instant) {
        for (server, known) in &mut self.servers {
            if let Some(pending) = known.pending.take_if(|pending| pending.due <= now) {
                known.stands = pending.says;
                self.touched.insert(server.clone());
            }
        }
        // Of a server that is gone nothing is kept but how often it changed, while that matters.
        let mut gone = 0;
        self.servers.retain(|_, known| {
            if known.stands.is_some() || known.pending.is_some() {
                return true;
            }
            forget_old(&mut known.changes, &self.rules, now);
            gone += 1;
            !known.changes.is_empty() && gone <= GONE_MAX
        });
    }

    /// The servers for which something else stands than when it was last asked.
    pub(super) fn touched(&mut self, now: Instant) -> BTreeSet<ServerId> {
        self.pass(now);
        std::mem::take(&mut self.touched)
    }

    /// When time alone changes what stands.
    pub(super) fn next_time(&self) -> Option<Instant> {
        self.servers.values().filter_map(|known| Some(known.pending.as_ref()?.due)).min()
    }

    /// What stands of a server.
    pub(super) fn stands(&self, server: &ServerId) -> Option<&D> {
        self.servers.get(server)?.stands.as_ref()
    }

    /// All that stands.
    pub(super) fn standing(&self) -> impl Iterator<Item = (&ServerId, &D)> {
        self.servers.iter().filter_map(|(server, known)| Some((server, known.stands.as_ref()?)))
    }
}

fn forget_old(changes: &mut VecDeque<Instant>, rules: &DiscoverySettings, now: Instant) {
    while changes.front().is_some_and(|at| now.saturating_duration_since(*at) >= rules.flap_window) {
        changes.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn rules() -> DiscoverySettings {
        DiscoverySettings { removal_grace: Some(S(5)), ..DiscoverySettings::default() }
    }

    struct Test {
        view: SourceView<u32>,
        now: Instant,
    }

    impl Test {
        fn new(rules: DiscoverySettings) -> Self {
            Self { view: SourceView::new(rules, Duration::ZERO), now: Instant::now() }
        }

        fn says(&mut self, servers: &[(&str, u32)]) -> Accepted {
            self.says_beside(servers, &[])
        }

        fn says_beside(&mut self, servers: &[(&str, u32)], unread: &[&str]) -> Accepted {
            let id = |server: &&str| ServerId::new(server).unwrap();
            let servers = servers.iter().map(|(server, n)| (id(server), *n)).collect();
            self.view.answered(servers, &unread.iter().map(id).collect(), self.now)
        }

        fn after(&mut self, seconds: u64) -> &mut Self {
            self.now += S(seconds);
            self.view.touched(self.now);
            self
        }

        fn stands(&self) -> Vec<(&str, u32)> {
            self.view.standing().map(|(server, n)| (server.as_str(), *n)).collect()
        }
    }

    #[test]
    fn what_joins_or_moves_stands_at_once() {
        let mut test = Test::new(rules());
        assert_eq!(test.says(&[("a", 1), ("b", 1)]), Accepted::Yes);
        assert_eq!(test.stands(), [("a", 1), ("b", 1)]);
        test.says(&[("a", 2), ("b", 1)]);
        assert_eq!(test.stands(), [("a", 2), ("b", 1)]);
    }

    #[test]
    fn a_missing_server_stands_for_its_grace_however_often_it_is_missing() {
        let mut test = Test::new(rules());
        test.says(&[("a", 1), ("b", 1)]);
        test.says(&[("a", 1)]);
        test.after(4).says(&[("a", 1)]);
        assert_eq!(test.stands(), [("a", 1), ("b", 1)]);
        assert_eq!(test.after(1).stands(), [("a", 1)]);
    }

    #[test]
    fn one_that_returns_within_its_grace_was_never_gone() {
        let mut test = Test::new(rules());
        test.says(&[("a", 1), ("b", 1)]);
        test.says(&[("a", 1)]);
        test.after(4).says(&[("a", 1), ("b", 1)]);
        assert_eq!(test.after(10).stands(), [("a", 1), ("b", 1)]);
    }

    #[test]
    fn the_source_advises_the_grace_where_the_rules_say_none() {
        let view: SourceView<u32> = SourceView::new(DiscoverySettings::default(), S(30));
        assert_eq!(view.grace, S(30));
        assert_eq!(SourceView::<u32>::new(rules(), S(30)).grace, S(5));
    }

    #[test]
    fn an_answer_without_servers_wipes_nothing_before_it_is_repeated_for_long_enough() {
        let mut test = Test::new(DiscoverySettings::default());
        test.says(&[("a", 1)]);
        assert_eq!(test.says(&[]), Accepted::NotYet { again_in: S(5), first: true });
        assert_eq!(test.after(5).says(&[]), Accepted::NotYet { again_in: S(5), first: false });
        assert_eq!(test.stands(), [("a", 1)]);
        assert_eq!(test.after(5).says(&[]), Accepted::Yes);
        assert_eq!(test.stands(), []);
    }

    #[test]
    fn an_answer_with_servers_or_a_failure_between_them_begins_anew() {
        let mut test = Test::new(DiscoverySettings::default());
        test.says(&[("a", 1)]);
        test.says(&[]);
        test.says(&[]);
        test.after(20).says(&[("a", 1)]);
        assert!(matches!(test.says(&[]), Accepted::NotYet { first: true, .. }));
        test.after(20).view.failed();
        for _ in 0..2 {
            assert!(matches!(test.says(&[]), Accepted::NotYet { .. }));
        }
        assert_eq!(test.stands(), [("a", 1)]);
    }

    #[test]
    fn an_answer_without_servers_is_believed_where_none_was_known() {
        assert_eq!(Test::new(rules()).says(&[]), Accepted::Yes);
    }

    #[test]
    fn a_server_whose_record_cannot_be_read_stays_as_it_was() {
        let mut test = Test::new(DiscoverySettings::default());
        test.says(&[("a", 1), ("b", 1)]);
        assert_eq!(test.says_beside(&[("b", 2)], &["a"]), Accepted::Yes);
        assert_eq!(test.stands(), [("a", 1), ("b", 2)]);
        assert!(matches!(test.says_beside(&[], &["a", "b"]), Accepted::NotYet { .. }));
    }

    #[test]
    fn what_changes_too_often_is_left_alone_until_it_rests() {
        let rules = DiscoverySettings { flaps_max: 4, ..DiscoverySettings::default() };
        let mut test = Test::new(rules);
        test.says(&[("a", 1), ("b", 0)]);
        for address in [2, 3, 4] {
            test.after(1).says(&[("a", address), ("b", 0)]);
            assert_eq!(test.stands(), [("a", address), ("b", 0)]);
        }
        for address in [5, 6, 7] {
            test.after(1).says(&[("a", address), ("b", 0)]);
            assert_eq!(test.stands(), [("a", 4), ("b", 0)]);
        }
        // A rest of less than the hold is none.
        assert_eq!(test.after(29).stands(), [("a", 4), ("b", 0)]);
        assert_eq!(test.after(1).stands(), [("a", 7), ("b", 0)]);
    }

    #[test]
    fn coming_and_going_is_damped_too_and_forgiven_after_the_window() {
        let rules = DiscoverySettings { flaps_max: 2, ..DiscoverySettings::default() };
        let mut test = Test::new(rules);
        test.says(&[("a", 1), ("b", 0)]);
        test.says(&[("b", 0)]);
        test.says(&[("a", 1), ("b", 0)]);
        assert_eq!(test.stands(), [("b", 0)]);
        assert_eq!(test.after(30).stands(), [("a", 1), ("b", 0)]);
        test.after(60).says(&[("b", 0)]);
        assert_eq!(test.stands(), [("b", 0)]);
    }

    #[test]
    fn nothing_is_kept_of_servers_that_are_gone_for_long() {
        let mut test = Test::new(DiscoverySettings::default());
        for n in 0..1000 {
            test.says(&[(&format!("server-{n}"), 1)]);
        }
        assert_eq!(test.after(60).view.servers.len(), 1);
    }
}
