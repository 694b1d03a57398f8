//! Balancing strategies: which of the servers that admit a call gets it.
//!
//! Health, breakers, tools and selectors have been looked at before: a strategy sees [`Candidates`] and chooses one that
//! admits. What is known of a server ([`Load`], calls in flight) belongs to the server and is kept by the router whatever
//! strategy is active, so that switching at run time starts with true figures and leaves no count behind.
//!
//! | name | looks at | cost of a pick among n |
//! | --- | --- | --- |
//! | `round-robin` | whose turn it is | 1 while most admit |
//! | `least-connections` | calls in flight, weight | n |
//! | `weighted` | weight, error rate, mean latency | n |
//! | `peak-ewma` (default) | latency, failures, calls in flight, weight | 2 draws; n up to 8 servers |
//! | `rendezvous` | the call's affinity key, weight | n |

mod least_connections;
mod load;
mod peak_ewma;
mod rendezvous;
mod round_robin;
#[cfg(test)]
mod tests;
mod weighted;

use std::fmt;

use tokio::time::Instant;

use crate::id::ServerId;

pub use least_connections::LeastConnections;
pub use load::Load;
pub use peak_ewma::PeakEwma;
pub use rendezvous::Rendezvous;
pub(crate) use rendezvous::hash_key;
pub use round_robin::RoundRobin;
pub use weighted::Weighted;

crate::error::debug_as_display!(UnknownStrategy, DuplicateStrategy);

/// A server that takes a call now, as a strategy sees it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The server.
    pub server: &'a ServerId,
    /// Its configured weight, 1 to 1,000; 100 is usual.
    pub weight: u32,
    /// Calls that it works on.
    pub in_flight: usize,
    /// How fast and how reliable it was.
    pub load: &'a Load,
}

/// The servers of one set, in the stable order of their ids. They are looked at lazily, so that a strategy that needs
/// only a few of thousands pays only for those.
pub trait Candidates {
    /// How many servers the set has, admitting or not.
    fn len(&self) -> usize;

    /// The server at `index`; `None` if it takes no call now (down, breaker open, full or passed over) or if `index`
    /// is not below [`len`](Self::len).
    fn get(&self, index: usize) -> Option<Candidate<'_>>;

    /// Whether the set has no servers at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a strategy may use besides the candidates.
pub struct Pick<'a> {
    /// Identifies the set of servers, for strategies that remember something about each set. It is the same from call
    /// to call, but a process may see any number of sets: what is kept by set needs a bound.
    pub set: u64,
    /// A hash of the call's affinity key (the same in every process), if it has one.
    pub key: Option<u64>,
    /// This moment.
    pub now: Instant,
    /// The only source of randomness, so that a seeded troupe repeats its choices.
    pub rng: &'a mut dyn rand::Rng,
}

/// Chooses a server for each call.
///
/// One strategy object serves all calls of a troupe, one after the other; it may keep state. It must choose an admitting
/// candidate whenever there is one: a call for which it says `None` waits or fails.
///
/// ```
/// use mcp_troupe::strategy::{Candidates, Pick, Strategy};
///
/// /// All calls go to the heaviest server; the others are its stand-ins.
/// struct Heaviest;
///
/// impl Strategy for Heaviest {
///     fn name(&self) -> &str {
///         "heaviest"
///     }
///
///     fn pick(&mut self, candidates: &dyn Candidates, _: Pick<'_>) -> Option<usize> {
///         let heaviest = candidates.admitting().max_by_key(|(_, candidate)| candidate.weight);
///         heaviest.map(|(index, _)| index)
///     }
/// }
/// ```
pub trait Strategy: Send + 'static {
    /// The name by which it is selected.
    fn name(&self) -> &str;

    /// The index of an admitting candidate, or `None` if no candidate admits.
    fn pick(&mut self, candidates: &dyn Candidates, pick: Pick<'_>) -> Option<usize>;
}

/// The strategies of a troupe, by name, and the one that is active. There is always one: the set begins with the
/// built-in ones and only grows.
pub(crate) struct Strategies {
    entries: Vec<Entry>,
    /// Index of the active entry; entries are only added at the end.
    active: usize,
}

/// A strategy under the name that it had when it was added.
struct Entry {
    name: String,
    strategy: Box<dyn Strategy>,
}

/// Says that no strategy has the name.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("no strategy is called {name:?}; there are {}", known.join(", "))]
pub struct UnknownStrategy {
    /// The name that was asked for.
    pub name: String,
    /// All names, sorted.
    pub known: Vec<String>,
}

/// Says that the name is taken.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is already a strategy called {name:?}")]
pub struct DuplicateStrategy {
    /// The name.
    pub name: String,
}

impl dyn Candidates + '_ {
    /// All candidates that admit, with their indices.
    pub fn admitting(&self) -> impl Iterator<Item = (usize, Candidate<'_>)> {
        (0..self.len()).filter_map(|index| Some((index, self.get(index)?)))
    }
}

impl Strategies {
    /// The built-in strategies, with `peak-ewma` active.
    pub(crate) fn with_builtin() -> Self {
        let builtin: [Box<dyn Strategy>; 5] = [
            Box::new(PeakEwma),
            Box::new(RoundRobin::default()),
            Box::new(LeastConnections),
            Box::new(Weighted::default()),
            Box::new(Rendezvous),
        ];
        let entries =
            builtin.into_iter().map(|strategy| Entry { name: strategy.name().to_owned(), strategy });
        Self { entries: entries.collect(), active: 0 }
    }

    /// Adds a strategy under its name; fails if the name is taken.
    pub(crate) fn insert(&mut self, strategy: Box<dyn Strategy>) -> Result<(), DuplicateStrategy> {
        let name = strategy.name().to_owned();
        if self.contains(&name) {
            return Err(DuplicateStrategy { name });
        }
        self.entries.push(Entry { name, strategy });
        Ok(())
    }

    /// Whether a strategy has this name.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.name == name)
    }

    /// All names, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.entries.iter().map(|entry| entry.name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// Makes the strategy with this name the active one; fails, and changes nothing, if there is none.
    pub(crate) fn select(&mut self, name: &str) -> Result<(), UnknownStrategy> {
        let found = self.entries.iter().position(|entry| entry.name == name);
        self.active = found.ok_or_else(|| UnknownStrategy { name: name.to_owned(), known: self.names() })?;
        Ok(())
    }

    /// The active strategy.
    pub(crate) fn active(&mut self) -> &mut dyn Strategy {
        self.entries[self.active].strategy.as_mut()
    }

    /// The name of the active strategy.
    pub(crate) fn active_name(&self) -> &str {
        &self.entries[self.active].name
    }
}

impl fmt::Debug for Strategies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strategies")
            .field("names", &self.names())
            .field("active", &self.active_name())
            .finish()
    }
}
