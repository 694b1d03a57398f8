//! Which of the servers that sources name are to play.
//!
//! ```text
//! answers ──▶ SourceView: what one source is believed ──┐
//! answers ──▶ SourceView                                ├──▶ claims, in the configured order ──▶ Step per server
//!             what the host registered, or sent away ───┘
//! ```
//!
//! A server that the host registered is the host's: no source touches it. One that several sources name belongs to the
//! first of them. What follows is decided by comparing what is wanted with what plays ([`Membership::step`]), not by
//! remembering what was ordered: a step that could not be carried out yet is simply found again.

mod source;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::DiscoverySettings;
use crate::event::Origin;
use crate::id::{ServerId, SourceId};

pub(crate) use source::Accepted;
use source::SourceView;

/// What plays under an id. `D` is the description of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Present<'a, D> {
    /// Nothing.
    Nobody,
    /// A server that was removed and finishes what it has.
    Leaving,
    /// A server that is no source's.
    Host,
    /// A server that this source found.
    Found(&'a SourceId, &'a D),
}

/// What has to happen to a server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a, D> {
    /// Nothing, or nothing yet.
    Nothing,
    /// It joins.
    Join(&'a SourceId, &'a D),
    /// It gets another description.
    Change(&'a SourceId, &'a D),
    /// It finishes what it has and leaves.
    Leave,
}

/// A server that a source names and that belongs to somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// The server.
    pub server: ServerId,
    /// The source whose server is passed over.
    pub source: SourceId,
    /// Whose it is.
    pub holder: Origin,
}

/// The servers that sources name, and whose they are.
#[derive(Debug)]
pub(crate) struct Membership<D> {
    /// In the configured order.
    sources: Vec<(SourceId, SourceView<D>)>,
    /// Servers that the host sent away; they stay away until no source names them any more.
    dismissed: BTreeSet<ServerId>,
    /// Conflicts that were told.
    told: BTreeMap<(ServerId, SourceId), Origin>,
}

impl<D: Clone + PartialEq> Membership<D> {
    /// Nothing is known yet. The sources stand in the order that settles their conflicts, each with its rules and how long
    /// it advises to keep a server that is missing.
    pub(crate) fn new(sources: impl IntoIterator<Item = (SourceId, DiscoverySettings, Duration)>) -> Self {
        let sources = sources.into_iter().map(|(id, rules, advised)| (id, SourceView::new(rules, advised)));
        Self { sources: sources.collect(), dismissed: BTreeSet::new(), told: BTreeMap::new() }
    }

    /// A source answered: these are all its servers; of those in `unread` it spoke, but not so that it could be understood.
    pub(crate) fn answered(
        &mut self,
        source: &SourceId,
        servers: BTreeMap<ServerId, D>,
        unread: &BTreeSet<ServerId>,
        now: Instant,
    ) -> Accepted {
        match self.view(source) {
            Some(view) => view.answered(servers, unread, now),
            None => Accepted::Yes,
        }
    }

    /// The servers that stand by a source's word.
    pub(crate) fn standing(&self, source: &SourceId) -> impl Iterator<Item = &ServerId> {
        let of = self.sources.iter().filter(move |(id, _)| id == source);
        of.flat_map(|(_, view)| view.standing().map(|(server, _)| server))
    }

    /// A source failed to answer: it changes nothing, and an answer without servers is no longer the last one.
    pub(crate) fn failed(&mut self, source: &SourceId) {
        if let Some(view) = self.view(source) {
            view.failed();
        }
    }

    /// The host took a server away that a source found.
    pub(crate) fn dismiss(&mut self, server: ServerId) {
        if self.claims(&server).next().is_some() {
            self.dismissed.insert(server);
        }
    }

    /// The servers for which there may be something to do: time passed, or answers came. Each is told once.
    pub(crate) fn touched(&mut self, now: Instant) -> BTreeSet<ServerId> {
        let touched: BTreeSet<ServerId> =
            self.sources.iter_mut().flat_map(|(_, view)| view.touched(now)).collect();
        for server in &touched {
            if self.claims(server).next().is_none() {
                self.dismissed.remove(server);
            }
        }
        touched
    }

    /// When time alone may change something.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        self.sources.iter().filter_map(|(_, view)| view.next_time()).min()
    }

    /// What has to happen to a server, of which `present` plays.
    pub(crate) fn step<'a>(&'a self, server: &ServerId, present: &Present<'_, D>) -> Step<'a, D> {
        let wanted = match self.dismissed.contains(server) {
            true => None,
            false => self.claims(server).next(),
        };
        match (present, wanted) {
            (Present::Nobody, Some((source, description))) => Step::Join(source, description),
            (Present::Found(_, _), None) => Step::Leave,
            (Present::Found(of, as_is), Some((source, description))) => {
                if *of == source && *as_is == description {
                    Step::Nothing
                } else {
                    Step::Change(source, description)
                }
            }
            // What leaves is looked at again when it has left.
            (Present::Leaving | Present::Host, _) | (Present::Nobody, None) => Step::Nothing,
        }
    }

    /// The conflicts over a server that were not told yet, now that it belongs to `holder`.
    pub(crate) fn conflicts(&mut self, server: &ServerId, holder: Option<&Origin>) -> Vec<Conflict> {
        let refused: BTreeMap<(ServerId, SourceId), Origin> = match holder {
            Some(holder) => self
                .claims(server)
                .filter(|(source, _)| *holder != Origin::Source((*source).clone()))
                .map(|(source, _)| ((server.clone(), source.clone()), holder.clone()))
                .collect(),
            None => BTreeMap::new(),
        };
        self.told.retain(|key, holder| key.0 != *server || refused.get(key) == Some(holder));
        let mut new = Vec::new();
        for (key, holder) in refused {
            if let Entry::Vacant(untold) = self.told.entry(key) {
                let (server, source) = untold.key().clone();
                new.push(Conflict { server, source, holder: holder.clone() });
                untold.insert(holder);
            }
        }
        new
    }

    /// How many servers a source is believed to have.
    pub(crate) fn known(&self, source: &SourceId) -> usize {
        self.sources.iter().find(|(id, _)| id == source).map_or(0, |(_, view)| view.standing().count())
    }

    /// The sources that name a server, in their order.
    fn claims(&self, server: &ServerId) -> impl Iterator<Item = (&SourceId, &D)> {
        self.sources.iter().filter_map(move |(source, view)| Some((source, view.stands(server)?)))
    }

    fn view(&mut self, source: &SourceId) -> Option<&mut SourceView<D>> {
        self.sources.iter_mut().find(|(id, _)| id == source).map(|(_, view)| view)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: &str) -> ServerId {
        ServerId::new(id).unwrap()
    }

    fn source(id: &str) -> SourceId {
        SourceId::new(id).unwrap()
    }

    fn membership(sources: &[&str]) -> Membership<u32> {
        let rules = DiscoverySettings { empty_answers: 1, empty_after: Duration::ZERO, ..Default::default() };
        Membership::new(sources.iter().map(|name| (source(name), rules.clone(), Duration::ZERO)))
    }

    fn says(membership: &mut Membership<u32>, name: &str, servers: &[(&str, u32)]) {
        let servers = servers.iter().map(|(server, description)| (id(server), *description)).collect();
        membership.answered(&source(name), servers, &BTreeSet::new(), Instant::now());
        membership.touched(Instant::now());
    }

    #[test]
    fn a_server_that_a_source_names_joins_changes_and_leaves() {
        let mut membership = membership(&["s"]);
        says(&mut membership, "s", &[("a", 1)]);
        assert_eq!(membership.step(&id("a"), &Present::Nobody), Step::Join(&source("s"), &1));
        assert_eq!(membership.step(&id("a"), &Present::Found(&source("s"), &1)), Step::Nothing);
        says(&mut membership, "s", &[("a", 2)]);
        assert_eq!(
            membership.step(&id("a"), &Present::Found(&source("s"), &1)),
            Step::Change(&source("s"), &2)
        );
        says(&mut membership, "s", &[]);
        assert_eq!(membership.step(&id("a"), &Present::Found(&source("s"), &2)), Step::Leave);
    }

    #[test]
    fn a_server_of_the_hosts_is_never_touched() {
        let mut membership = membership(&["s"]);
        for servers in [&[("a", 1)][..], &[("a", 2)], &[]] {
            says(&mut membership, "s", servers);
            assert_eq!(membership.step(&id("a"), &Present::Host), Step::Nothing);
        }
    }

    #[test]
    fn what_returns_while_it_leaves_joins_when_it_has_left() {
        let mut membership = membership(&["s"]);
        says(&mut membership, "s", &[("a", 1)]);
        assert_eq!(membership.step(&id("a"), &Present::Leaving), Step::Nothing);
        assert_eq!(membership.step(&id("a"), &Present::Nobody), Step::Join(&source("s"), &1));
    }

    #[test]
    fn an_id_that_two_sources_name_belongs_to_the_first_and_falls_to_the_second() {
        let mut membership = membership(&["s", "t"]);
        says(&mut membership, "t", &[("a", 2)]);
        assert_eq!(membership.step(&id("a"), &Present::Nobody), Step::Join(&source("t"), &2));
        says(&mut membership, "s", &[("a", 1)]);
        assert_eq!(
            membership.step(&id("a"), &Present::Found(&source("t"), &2)),
            Step::Change(&source("s"), &1)
        );
        says(&mut membership, "s", &[]);
        assert_eq!(
            membership.step(&id("a"), &Present::Found(&source("s"), &1)),
            Step::Change(&source("t"), &2)
        );
    }

    #[test]
    fn a_conflict_is_told_once_until_it_changes() {
        let mut membership = membership(&["s", "t"]);
        says(&mut membership, "s", &[("a", 1)]);
        says(&mut membership, "t", &[("a", 2)]);
        let of_s = Origin::Source(source("s"));
        let conflict =
            |holder: &Origin| Conflict { server: id("a"), source: source("t"), holder: holder.clone() };
        assert_eq!(membership.conflicts(&id("a"), Some(&of_s)), [conflict(&of_s)]);
        assert_eq!(membership.conflicts(&id("a"), Some(&of_s)), []);
        says(&mut membership, "t", &[]);
        assert_eq!(membership.conflicts(&id("a"), Some(&of_s)), []);
        says(&mut membership, "t", &[("a", 2)]);
        assert_eq!(membership.conflicts(&id("a"), Some(&of_s)), [conflict(&of_s)]);
        let host = Origin::Registered;
        assert_eq!(membership.conflicts(&id("a"), Some(&host)).len(), 2);
    }

    #[test]
    fn what_the_host_sent_away_stays_away_until_no_source_names_it() {
        let mut membership = membership(&["s"]);
        says(&mut membership, "s", &[("a", 1)]);
        membership.dismiss(id("a"));
        says(&mut membership, "s", &[("a", 2)]);
        assert_eq!(membership.step(&id("a"), &Present::Nobody), Step::Nothing);
        says(&mut membership, "s", &[]);
        says(&mut membership, "s", &[("a", 2)]);
        assert_eq!(membership.step(&id("a"), &Present::Nobody), Step::Join(&source("s"), &2));
    }
}
