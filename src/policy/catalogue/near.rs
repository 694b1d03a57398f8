//! Names that look like one that nobody knows.
//!
//! To compare two names for likeness takes as long as to place a call, or ten times as long where they are long; and names
//! come from whoever invents them. So only few are compared, those of like length that share the most letters with the one
//! that was asked for, and no more than a fixed amount of work is done. It is done beside the actors, see `troupe::call_future`.

use std::collections::BinaryHeap;

use super::name_index::{Entry, qualified};
use crate::call::head;

/// Near names that an unknown one is answered with.
pub(super) const NEAR_MAX: usize = 5;

/// Names that are compared for likeness, at most.
const COMPARED_MAX: usize = 32;

/// Of a name, that is compared: most names end before that.
const COMPARED_BYTES_MAX: usize = 64;

/// Pairs of bytes that are looked at for one name, some tens of microseconds: enough for all of the names above where they have
/// twenty characters.
const PAIRS_MAX: usize = 16 << 10;

/// Likeness (Jaro-Winkler) below which a name is no suggestion.
const LIKENESS_MIN: f64 = 0.8;

/// What is seen of a name at a glance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outline {
    /// A bit for each letter, digit or sign that is in it.
    signs: u64,
    bytes: u8,
}

impl Outline {
    /// Of a name without its group.
    pub(super) fn of(name: &str) -> Self {
        let name = &name.as_bytes()[..name.len().min(COMPARED_BYTES_MAX)];
        let signs = name.iter().fold(0, |signs, byte| signs | 1 << (byte.to_ascii_lowercase() % 64));
        Self { signs, bytes: name.len() as u8 }
    }

    /// How different two names must be at least, by signs and length. None where one is more than twice as long: that is no
    /// slip of the pen.
    fn apart(self, other: Self) -> Option<u32> {
        let (shorter, longer) = (self.bytes.min(other.bytes), self.bytes.max(other.bytes));
        let alike = u32::from(longer) <= 2 * u32::from(shorter);
        alike.then(|| (self.signs ^ other.signs).count_ones() + u32::from(longer - shorter))
    }
}

/// The names among `entries` that look like `name`, best first; `outlines` are those of the entries' bare names.
pub(super) fn near<E: Entry>(
    name: &str,
    entries: &[E],
    outlines: &[Outline],
    shared: impl Fn(&E) -> bool,
) -> Vec<String> {
    let (of_group, exposed) = (name.rsplit_once('/'), name.rsplit_once("__"));
    let bare = of_group.map_or(name, |(_, bare)| bare);
    let wanted = Outline::of(bare);
    let wanted_exposed = exposed.map(|(_, bare)| Outline::of(bare));
    let mut likely: BinaryHeap<(u32, usize)> = BinaryHeap::with_capacity(COMPARED_MAX + 1);
    for (place, outline) in outlines.iter().enumerate() {
        let apart = wanted.apart(*outline).into_iter();
        let apart = apart.chain(wanted_exposed.and_then(|wanted| wanted.apart(*outline))).min();
        let Some(candidate) = apart.map(|apart| (apart, place)) else { continue };
        if likely.len() < COMPARED_MAX {
            likely.push(candidate);
        } else if let Some(mut worst) = likely.peek_mut()
            && candidate < *worst
        {
            *worst = candidate;
        }
    }
    let mut pairs_left = PAIRS_MAX;
    let mut compare = |name: &str, known: &str| {
        let (name, known) = (head(name, COMPARED_BYTES_MAX), head(known, COMPARED_BYTES_MAX));
        match pairs_left.checked_sub(name.len() * known.len()) {
            Some(left) => {
                pairs_left = left;
                likeness(name, known)
            }
            None => 0.0,
        }
    };
    let mut near: Vec<(f64, String)> = Vec::new();
    for (_, place) in likely.into_sorted_vec() {
        let entry = &entries[place];
        // Each by the form of name that was asked for, and told in it: that is the form which whoever asked has a list of.
        let (best, exposes) = match (of_group, exposed) {
            (Some(_), _) => (compare(name, &qualified(entry)), false),
            (None, Some(_)) => {
                let by_name = compare(name, entry.name());
                let by_exposed = compare(name, entry.exposed().unwrap_or_default());
                (by_name.max(by_exposed), by_exposed >= by_name)
            }
            (None, None) => (compare(name, entry.name()), false),
        };
        if best >= LIKENESS_MIN {
            let told = match entry.exposed().filter(|_| exposes) {
                Some(exposed) => exposed.to_owned(),
                None if of_group.is_some() || shared(entry) => qualified(entry),
                None => entry.name().to_string(),
            };
            near.push((best, told));
        }
    }
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    near.truncate(NEAR_MAX);
    near.into_iter().map(|(_, name)| name).collect()
}

fn likeness(a: &str, b: &str) -> f64 {
    #[cfg(test)]
    work::COMPARED.set(work::compared() + 1);
    strsim::jaro_winkler(a, b)
}

/// How much was compared, for tests that say who does not.
#[cfg(test)]
pub(super) mod work {
    use std::cell::Cell;

    thread_local! {
        pub(super) static COMPARED: Cell<u64> = const { Cell::new(0) };
    }

    /// Names that this thread has compared so far.
    pub(crate) fn compared() -> u64 {
        COMPARED.get()
    }
}
